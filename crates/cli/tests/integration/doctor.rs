//! `lambda-rds doctor`, in the broken set-ups that the function's own tests go through.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::broken::{Broken, Kind, Outcome, QUERIES, Scene};

/// What a run gave.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the command with these settings, in a folder with the queries.
fn doctor(env: &[(String, String)], args: &[&str]) -> Run {
    let home = queries();
    let output = Command::new(env!("CARGO_BIN_EXE_lambda-rds"))
        .arg("doctor")
        .args(args)
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "ASIATESTBEDTESTBED00")
        .env("AWS_SECRET_ACCESS_KEY", "testbed-secret-access-key-that-opens-nothing")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(env.iter().map(|(key, value)| (key, value)))
        .current_dir(home.path())
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn queries() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("queries")).unwrap();
    std::fs::write(home.path().join("queries/queries.sql"), QUERIES).unwrap();
    home
}

/// In every broken set-up the command ends where it must, with the words that it must.
fn broken(kind: Kind) {
    let scene = Scene::new(kind);
    let mut wrong = Vec::new();
    for broken in Broken::on(kind) {
        let setup = broken.set_up(&scene);
        let run = doctor(&setup.env, &["--json"]);
        let walk: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        wrong.extend(broken.judge(&walk));
        let code = if broken.outcome == Outcome::Warns { 0 } else { 1 };
        if (run.code, run.stderr.as_str()) != (code, "") {
            wrong.push(format!("{}: exit code {}, stderr {}", broken.name, run.code, run.stderr));
        }
        setup.check_silence(&run.stdout);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn broken_postgres() {
    broken(Kind::Postgres);
}

#[test]
fn broken_mysql() {
    broken(Kind::Mysql);
}

#[test]
fn a_line_per_step_and_no_colours_into_a_pipe() {
    let scene = Scene::new(Kind::Postgres);
    let setup = scene.base();
    let run = doctor(&setup.env, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    for step in ["config", "credentials", "resolve", "tcp", "tls", "auth", "query"] {
        assert!(run.stdout.contains(&format!("✓ {step}")), "{}", run.stdout);
    }
    assert!(run.stdout.contains("! no statement limit on the server"), "{}", run.stdout);
    assert!(run.stdout.contains("server  PostgreSQL 1"), "{}", run.stdout);
    assert!(run.stdout.contains("\nok: postgres at 127.0.0.1:"), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'));
    setup.check_silence(&run.stdout);

    let closed: Vec<_> = setup.env.iter().cloned().chain([("DB_PORT".into(), "1".into())]).collect();
    let run = doctor(&closed, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
    assert!(run.stdout.contains("✗ tcp") && run.stdout.contains("→ the port (DB_PORT"), "{}", run.stdout);
    assert!(run.stdout.contains("· tls") && run.stdout.contains("not reached"), "{}", run.stdout);
    assert!(run.stdout.contains("\nfailed: postgres at 127.0.0.1:1, at the step tcp\n"), "{}", run.stdout);
}

#[test]
fn wrong_settings_are_a_step_that_fails_and_exit_code_2() {
    let wrong = [("DB_ENGINE", "postgres"), ("DB_QUERY_TIMEOUT", "soon")];
    let wrong = wrong.map(|(key, value)| (key.to_owned(), value.to_owned()));
    for args in [&[][..], &["--json"]] {
        let run = doctor(&wrong, args);
        assert_eq!((run.code, run.stderr.as_str()), (2, ""), "{}", run.stdout);
        assert!(
            run.stdout.contains("DB_QUERY_TIMEOUT") && run.stdout.contains("not reached") == args.is_empty()
        );
    }
    // Nothing names a database: no sample is made up for it.
    assert_eq!(doctor(&[], &["--json"]).code, 2);
    assert_eq!(doctor(&[], &["--url", "nonsense"]).code, 2);
}

#[test]
fn a_url_and_no_queries_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    std::fs::write(&file, "").unwrap();
    let url = format!("sqlite:{}", file.display());
    let nowhere = [("LAMBDA_RDS_QUERIES".to_owned(), "nowhere".to_owned())];
    let run = doctor(&nowhere, &["--url", &url, "--json"]);
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    let walk: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(walk["engine"], "sqlite");
    assert!(walk["warnings"].to_string().contains("its queries cannot be read"), "{walk:#}");

    let gone = format!("sqlite:{}", folder.path().join("gone.db").display());
    let run = doctor(&[], &["--url", &gone, "--json"]);
    let walk: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &walk["steps"][2]["step"]), (1, &Value::from("resolve")));
    assert!(walk["steps"][2]["hint"].as_str().unwrap().contains("DB_NAME"), "{walk:#}");
}
