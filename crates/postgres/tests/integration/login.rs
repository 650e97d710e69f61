//! Passwords: what the server takes them for.

use std::time::Duration;

use lambda_rds_core::backend::{Backend as _, Phases, Target};
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Fault;

use crate::fixture::{server, target};

/// A target for a role of this name with this password.
fn with_password(to: &Target, password: &str) -> Target {
    let login = Login { password: password.into(), ..to.login.clone() };
    let (relogin, by) = (Relogin::fixed(login.clone()), Deadline::after(Duration::from_secs(30)));
    Target { relogin, login, by, progress: Phases::default(), ..to.clone() }
}

#[tokio::test]
async fn a_password_is_what_the_server_takes_it_for() {
    let own = server().database("passwords").unwrap();
    let to = target(&own);
    let backend = lambda_rds_postgres::Postgres::default();
    let cases = [
        "plain",
        " spaces at both ends ",
        "ä ö ü ß",
        // The same letter in two pieces: SASLprep makes one of it.
        "a\u{308}",
        // Compatibility forms, which it makes plain: `ﬁ`, `①`, `Ａ`, a no-break space, a soft hyphen.
        "\u{fb01} \u{2460} \u{ff21} a\u{a0}b soft\u{ad}hyphen",
        // Prohibited: an emoji that Unicode 3.2 does not have, a private use, a control, a tag.
        "Zx9-🦀-pass",
        "\u{e000}",
        "tab\tand\u{7}bell",
        "\u{e0041}",
        "\u{fffd}",
        // Both directions of writing.
        "\u{627}1",
        "\u{5d0}\u{5d1}",
        // All of it is ignored, and nothing is left.
        "\u{ad}",
        "it's \"quoted\" \\ and % $ {}",
        &"x".repeat(900),
    ];
    for password in cases {
        // Standard strings: a backslash is one.
        let quoted = password.replace('\'', "''");
        server().psql(&own.name, &format!("ALTER ROLE {} PASSWORD '{quoted}'", own.user)).unwrap();
        // Once by hashing, and once by what was kept.
        for _ in 0..2 {
            let outcome = backend.connect(&with_password(&to, password)).await;
            outcome.unwrap_or_else(|error| panic!("{password:?}: {error}")).close().await;
        }
        let error = backend.connect(&with_password(&to, "other")).await.unwrap_err();
        assert_eq!(error.fault(), Fault::CredentialsRejected, "{password:?}: {error}");
        assert!(!error.to_string().contains(password), "{error}");
    }
}

#[tokio::test]
async fn every_part_of_unicode_is_prepared_as_the_server_does_it() {
    let own = server().database("unicode").unwrap();
    let to = target(&own);
    let backend = lambda_rds_postgres::Postgres::default();
    // Densely where SASLprep has its rules, and here and there beyond.
    let dense = [
        0x80..0x82,
        0xa0..0xa1,
        0xad..0xae,
        0x340..0x345,
        0x627..0x629,
        0x1fc1..0x1fc3,
        0x2000..0x2010,
        0x2028..0x2030,
        0x2060..0x2066,
        0x2ff0..0x2ff1,
        0xfb00..0xfb04,
        0xfff9..0x1_0000,
        0x1_d173..0x1_d175,
        0xe_0001..0xe_0002,
    ];
    let sparse = (0x100..0x11_0000).step_by(0x5fd3);
    let letters: Vec<char> = dense.into_iter().flatten().chain(sparse).filter_map(char::from_u32).collect();
    let role = |at: usize| format!("unicode_{at}");
    let passwords: Vec<String> = letters.iter().map(|letter| format!("a{letter}b{letter}")).collect();
    let mut script = String::new();
    for (at, password) in passwords.iter().enumerate() {
        script.push_str(&format!("CREATE ROLE {} LOGIN PASSWORD '{password}';", role(at)));
        script.push_str(&format!("GRANT CONNECT ON DATABASE {} TO {};", own.name, role(at)));
    }
    server().psql(&own.name, &script).unwrap();
    for (at, password) in passwords.iter().enumerate() {
        let as_role = |password: &str| {
            let mut to = with_password(&to, password);
            to.login.user = role(at);
            to
        };
        let outcome = backend.connect(&as_role(password)).await;
        outcome.unwrap_or_else(|error| panic!("{}: {error}", password.escape_unicode())).close().await;
    }
}

#[tokio::test]
async fn a_verifier_of_many_rounds_is_one_too() {
    let own = server().database("rounds").unwrap();
    // `more rounds`, hashed 600,000 times by Python's hashlib.
    let verifier = "SCRAM-SHA-256$600000:MDEyMzQ1Njc4OWFiY2RlZg==$Ex72/1cttYZ/3spLtIANu7q4uJDxWl2TkJOw539V+Us=\
                    :Krd12M8yooq+eUlR+PTqTQaFfhBIb9mhantmYxJYUNk=";
    server().psql(&own.name, &format!("ALTER ROLE {} PASSWORD '{verifier}'", own.user)).unwrap();
    let backend = lambda_rds_postgres::Postgres::default();
    backend.connect(&with_password(&target(&own), "more rounds")).await.unwrap().close().await;
    let error = backend.connect(&with_password(&target(&own), "more round")).await.unwrap_err();
    assert_eq!(error.fault(), Fault::CredentialsRejected, "{error}");
}
