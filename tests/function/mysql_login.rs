//! Logging in to MySQL and MariaDB beyond a secret that stays as it is: IAM's tokens, and a cancel after a rotation.
//!
//! Tokens are asked for by a door before the real server ([`MysqlTokens`]), since no server that can be had does.

use std::time::Duration;

use lambda_rds_testbed::{Database, MysqlTokens, unless_stalled};
use serde_json::{Value, json};

use crate::world::{CANCEL, Engine, SECRET, Setup, USERS, World, mysql, until};

macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod of_mysql {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Mysql).await; })+
        }
        mod of_mariadb {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::MariaDb).await; })+
        }
    };
}

on_both_servers!(
    each_session_logs_in_with_a_token_of_its_own_and_no_secret,
    a_token_that_is_rejected_says_what_to_look_at,
    a_cancel_after_a_rotation_logs_in_with_the_new_password,
);

async fn each_session_logs_in_with_a_token_of_its_own_and_no_secret(engine: Engine) {
    let own = token_user(engine, "token");
    let door = MysqlTokens::start(mysql(engine), true).unwrap();
    let world = by_token(engine, &own, &door).start().await;
    let active = world.rows("active_users", json!({})).await;
    assert_eq!(active[0]["name"], "Ada");
    for _ in 0..2 {
        hang_up(engine, &own).await;
        assert_eq!(world.rows("active_users", json!({})).await, active);
    }

    let seen = door.seen();
    assert_eq!(seen.len(), 3);
    for (user, token) in &seen {
        assert_eq!(user, &own.user);
        let start = format!("127.0.0.1:{}/?Action=connect&DBUser={user}&X-Amz-", door.address().port());
        assert!(token.starts_with(&start), "{token}");
        for part in [
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "%2Feu-central-1%2Frds-db%2Faws4_request",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Security-Token=testbed-session-token-that-opens-nothing",
            "X-Amz-Signature=",
        ] {
            assert!(token.contains(part), "{part} is not in {token}");
        }
    }
    assert_eq!(world.secrets.count(), 0);
    assert!(!world.function.logs().join("\n").contains("X-Amz-Signature"), "a token is in the log");
}

async fn a_token_that_is_rejected_says_what_to_look_at(engine: Engine) {
    let own = token_user(engine, "rejected_token");
    let door = MysqlTokens::start(mysql(engine), false).unwrap();
    let world = by_token(engine, &own, &door).start().await;
    let outcome = world.invoke(json!({"query": "active_users"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("credentials_rejected")), "{body}");
    let line = world.last_log(&outcome.request_id).await;
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains("rds-db:connect") && detail.contains("AWSAuthenticationPlugin"), "{detail}");
    assert!(!world.function.logs().join("\n").contains("X-Amz-Signature"), "a token is in the log");
}

/// A database whose user has no password on the server: the door judges.
fn token_user(engine: Engine, name: &str) -> Database {
    let own = mysql(engine).database(name).unwrap();
    mysql(engine).sql(&format!("ALTER USER '{}'@'%' IDENTIFIED BY ''", own.user)).unwrap();
    mysql(engine).script(&own.name, USERS).unwrap();
    own
}

fn by_token(engine: Engine, own: &Database, door: &MysqlTokens) -> Setup {
    Setup::new(engine)
        .env("DB_AUTH", "iam")
        .env("DB_HOST", "127.0.0.1")
        .env("DB_PORT", door.address().port().to_string())
        .env("DB_NAME", &own.name)
        .env("DB_USER", &own.user)
        .env("DB_TLS_CA", door.ca_pem_path().to_str().unwrap())
}

/// Ends the sessions of this user, as a restart does.
async fn hang_up(engine: Engine, own: &Database) {
    let of_user = format!("FROM information_schema.processlist WHERE user = '{}'", own.user);
    for thread in mysql(engine).sql(&format!("SELECT id {of_user}")).unwrap().lines() {
        mysql(engine).sql(&format!("KILL {thread}")).unwrap();
    }
    // KILL only marks a session: whoever is quick would be lent one that ends under its statement.
    until("the end of the sessions", || {
        mysql(engine).sql(&format!("SELECT COUNT(*) {of_user}")).unwrap() == "0"
    })
    .await;
}

/// The session keeps the login that it was opened with; the connection that stops what it runs cannot.
async fn a_cancel_after_a_rotation_logs_in_with_the_new_password(engine: Engine) {
    let world = Setup::new(engine)
        .queries("-- name: slow :one\n-- timeout: 400ms\nSELECT 1 AS n FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(60) = 0 LIMIT 1;\n\n-- name: one :one\nSELECT 1 AS n;\n")
        .env("DB_QUERY_TIMEOUT", "60s")
        .timeout(Duration::from_secs(100))
        .start()
        .await;
    let mut rotation = 0;
    unless_stalled(CANCEL, async || {
        // The session logs in by the secret of the rotation before.
        hang_up(engine, world.database()).await;
        assert_eq!(world.rows("one", json!({})).await, json!({"n": 1}));
        rotation += 1;
        rotate(&world, &format!("rotated-{rotation}"));
        let asked = world.secrets.count();
        let (status, body) = world.call(json!({"query": "slow"})).await;
        let at_rest = world.at_rest().await;
        assert_eq!((status, body["error"]["code"].as_str()), (504, Some("timeout")), "{body}");
        at_rest?;
        // Told by the rejection, not by the clock: AWSCURRENT, after AWSPENDING if it was told a moment ago.
        let asked = world.secrets.count() - asked;
        assert!((1..=2).contains(&asked), "{asked}");
        Ok(())
    })
    .await;
}

fn rotate(world: &World, password: &str) {
    let user = &world.database().user;
    world.sql(&format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'"));
    let mut secret: Value = world.database().secret("127.0.0.1", world.wire().port());
    secret["password"] = json!(password);
    world.secrets.put(SECRET, secret);
}
