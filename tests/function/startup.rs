//! INIT: what is wrong is told once, completely, and with what to do; a database that is down is not wrong.

use std::time::Duration;

use insta::{allow_duplicates, assert_snapshot};
use lambda_rds_testbed::{Function, Proxy, RuntimeApi, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, PATIENCE, Setup, last_log, mysql, postgres, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    broken_queries,
    a_get_of_a_write,
    a_default_query_that_does_not_exist,
    no_queries,
    bad_values,
    unknown_keys,
    a_broken_file,
    doubtful_keys_are_warned_of,
);
on_clusters!(
    broken_queries,
    a_get_of_a_write,
    a_default_query_that_does_not_exist,
    no_queries,
    bad_values,
    unknown_keys,
    a_broken_file,
    doubtful_keys_are_warned_of,
    a_cluster_that_is_down_at_init_is_reported_and_used_once_it_is_up,
);

async fn broken_queries(engine: Engine) {
    let queries = "\
-- name: twice :many
SELECT 1 AS id;

-- name: twice :one
SELECT :id AS id;

-- name: active_users :all
SELECT 1 AS id;

-- name: users :many
-- param: active boolean
-- param: limit int = 5000 in 1..=500
-- param: unused int
SELECT 'it''s :not a parameter' AS x FROM users WHERE active = :active LIMIT :limit;

-- name: two :exec
DELETE FROM users; DELETE FROM users;

-- name: sessions :exec
SET search_path = x;

-- name: open :one
SELECT 'never closed;
";
    let told = init_fails(Setup::new(engine).queries(queries)).await;
    allow_duplicates! { assert_snapshot!(told, @"
        queries/queries.sql:4: `twice` is already the name of the query at queries/queries.sql:1
        queries/queries.sql:5: `:id` is not declared; add `-- param: id type` below the `-- name:` line
        queries/queries.sql:7: behind the name `active_users` belongs `:many`, `:one` or `:exec`
        queries/queries.sql:11: `active`: `boolean` is no type; did you mean `bool`?
        queries/queries.sql:12: `limit`: the default must be between 1 and 500
        queries/queries.sql:13: `unused` is declared, but the SQL does not use `:unused`
        queries/queries.sql:17: a second statement; an entry has one, and another one needs its own `-- name:` line
        queries/queries.sql:20: SET is refused, because session state does not survive a call: each call may meet another session
        queries/queries.sql:23: the quote is never closed
        "); }
}

async fn a_get_of_a_write(engine: Engine) {
    let queries = "\
-- name: rename :exec
-- http: GET
UPDATE users SET name = 'x';

-- name: create :one
-- http: GET, POST
-- write
INSERT INTO users (id, name, email, active) VALUES (4, 'x', 'y', TRUE) RETURNING id;
";
    let told = init_fails(Setup::new(engine).queries(queries)).await;
    allow_duplicates! { assert_snapshot!(told, @"
        queries/queries.sql:2: GET is for reads, and this query writes: say `-- http: POST`, or `-- read`
        queries/queries.sql:6: GET is for reads, and this query writes: say `-- http: POST`, or `-- read`
        "); }
}

async fn a_default_query_that_does_not_exist(engine: Engine) {
    let told = init_fails(Setup::new(engine).env("LAMBDA_RDS_DEFAULT_QUERY", "active_user")).await;
    allow_duplicates! { assert_snapshot!(told, @"LAMBDA_RDS_DEFAULT_QUERY names `active_user`, and there is no such query. Allowed: `active_users`, `add_user`, `rename_user`, `user`"); }
}

async fn no_queries(engine: Engine) {
    let told = init_fails(Setup::new(engine).env("LAMBDA_RDS_QUERIES", "missing")).await;
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    let none =
        init_fails(Setup::new(engine).env("LAMBDA_RDS_QUERIES", folder)).await.replace(folder, "empty");
    allow_duplicates! {
        assert_snapshot!(told, @"missing:1: cannot be read: No such file or directory (os error 2); LAMBDA_RDS_QUERIES names the folder with the queries");
        assert_snapshot!(none, @"empty:1: holds no *.sql file; LAMBDA_RDS_QUERIES names the folder with the queries");
    }
}

async fn bad_values(engine: Engine) {
    let told = init_fails(
        Setup::new(engine)
            .env("DB_PORT", "543210")
            .env("DB_TLS", "yes")
            .env("DB_QUERY_TIMEOUT", "10")
            .env("DB_AUTH", "kerberos")
            .env("DB_HOST", "https://db.example.com")
            .env("LAMBDA_RDS_INT64", "float")
            .env("LAMBDA_RDS_LOG_VALUES", "maybe"),
    )
    .await;
    let other = init_fails(Setup::new(engine).env("DB_ENGINE", "oracle")).await;
    allow_duplicates! {
        assert_snapshot!(told, @r#"
            The configuration has 7 mistakes:
            - DB_HOST (environment) is "https://db.example.com". Allowed: a host name or an address, without scheme and port.
            - DB_PORT (environment) is "543210". Allowed: a whole number from 1 to 65535.
            - DB_AUTH (environment) is "kerberos". Allowed: secret · iam · password.
            - DB_TLS (environment) is "yes". Allowed: verify-full · verify-ca · require · disable.
            - DB_QUERY_TIMEOUT (environment) is "10". Allowed: a duration from 1ms to 24h, such as 5s, 500ms or 1m.
            - LAMBDA_RDS_INT64 (environment) is "float". Allowed: number · string.
            - LAMBDA_RDS_LOG_VALUES (environment) is "maybe". Allowed: true · false · 1 · 0.
            "#);
        assert_snapshot!(other, @r#"The configuration is wrong: DB_ENGINE (environment) is "oracle". Allowed: postgres · mysql · aurora-postgres · aurora-mysql · sqlite."#);
    }
}

async fn unknown_keys(engine: Engine) {
    let setup = Setup::new(engine).env("LAMBDA_RDS_QUERRIES", "sql/").env("LAMBDA_RDS_COLOUR", "red");
    let told = init_fails(setup).await;
    allow_duplicates! { assert_snapshot!(told, @"
        The configuration has 2 mistakes:
        - LAMBDA_RDS_COLOUR (environment) is unknown. Allowed: LAMBDA_RDS_QUERIES, LAMBDA_RDS_DEFAULT_QUERY, LAMBDA_RDS_BASE_PATH, LAMBDA_RDS_HTTP_TIMEOUT, LAMBDA_RDS_HTTP_BATCH, LAMBDA_RDS_CORS_ORIGIN, LAMBDA_RDS_DIRECT_ERRORS, LAMBDA_RDS_INT64, LAMBDA_RDS_OPENAPI, LAMBDA_RDS_MCP, LAMBDA_RDS_MCP_AUTHORIZATION_SERVER, LAMBDA_RDS_TOOL_BYTES, LAMBDA_RDS_COMPRESS, LAMBDA_RDS_STREAM, LAMBDA_RDS_STREAM_BYTES, LAMBDA_RDS_SET, LAMBDA_RDS_ROLE, LAMBDA_RDS_DIAGNOSE, LAMBDA_RDS_LOG, LAMBDA_RDS_LOG_VALUES.
        - LAMBDA_RDS_QUERRIES (environment) is unknown. Did you mean LAMBDA_RDS_QUERIES?
        "); }
}

async fn a_broken_file(engine: Engine) {
    let toml = "\
[db]
query_timeout = 10
pasword = \"hunter2\"
tls = \"yes\"
port = true

[function]
cors_origin = \"*\"
default = \"active_users\"

[functions]
x = 1
";
    let mistakes = init_fails(Setup::new(engine).file("lambda-rds.toml", toml)).await;
    let no_toml = init_fails(Setup::new(engine).file("lambda-rds.toml", "[db]\nname = hunter2\n")).await;
    allow_duplicates! {
        assert_snapshot!(mistakes, @r#"
            The configuration has 6 mistakes:
            - lambda-rds.toml: unknown key `pasword` in [db]. Did you mean `password`?
            - lambda-rds.toml: unknown key `default` in [function]. Did you mean `default_query`?
            - lambda-rds.toml: unknown key `functions`. Keys stand in [db] and [function].
            - DB_PORT (lambda-rds.toml: [db] port) is "true". Allowed: a whole number from 1 to 65535.
            - DB_TLS (lambda-rds.toml: [db] tls) is "yes". Allowed: verify-full · verify-ca · require · disable.
            - DB_QUERY_TIMEOUT (lambda-rds.toml: [db] query_timeout) is "10". Allowed: a duration from 1ms to 24h, such as 5s, 500ms or 1m.
            "#);
        assert_snapshot!(no_toml, @r#"The configuration is wrong: lambda-rds.toml is no TOML: TOML parse error at line 2, column 8: invalid string: expected `"`, `'`."#);
    }
    assert!(!mistakes.contains("hunter2") && !no_toml.contains("hunter2"));
}

async fn doubtful_keys_are_warned_of(engine: Engine) {
    let world = Setup::new(engine)
        .env("DB_PASWORD", "hunter2")
        .env("DB_TLS", "require")
        .env("DB_COLOUR", "red")
        .start()
        .await;
    let outcome = world.invoke(json!({"query": "active_users"})).await;
    assert_eq!(outcome.reply().unwrap().0, 200);
    // The call's own line comes after all of INIT's.
    world.last_log(&outcome.request_id).await;
    let warnings: Vec<Value> = world
        .function
        .logs()
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["level"] == "WARN")
        .collect();
    let warned = |what: &str| {
        warnings
            .iter()
            .filter(|line| line["message"].as_str().unwrap().contains(what))
            .collect::<Vec<_>>()
            .len()
    };
    assert_eq!(warned("DB_PASWORD"), 1, "{warnings:?}");
    assert_eq!(warned("Did you mean DB_PASSWORD"), 1, "{warnings:?}");
    assert_eq!(warned("DB_COLOUR"), 1, "{warnings:?}");
    assert_eq!(
        warned("DB_TLS (environment) is require"),
        usize::from(engine != Engine::Sqlite),
        "{warnings:?}"
    );
    assert!(!format!("{warnings:?}").contains("hunter2"));
}

#[tokio::test]
async fn everything_may_stand_in_the_file_beside_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("app.db");
    std::fs::write(&database, "").unwrap();
    let toml = format!(
        "[db]\nengine = \"sqlite\"\nname = \"{}\"\n\n[function]\nqueries = \"sql/\"\ndefault_query = \"one\"\n\
         int64 = \"string\"\n",
        database.display()
    );
    let program = Function::builder(env!("CARGO_BIN_EXE_bootstrap"))
        .file("lambda-rds.toml", toml)
        .file("sql/numbers.sql", "-- name: one :one\nSELECT 1 AS n;\n-- name: two :one\nSELECT 2 AS n;\n");

    let api = RuntimeApi::start().unwrap();
    let function = program.clone().start(&api).unwrap();
    assert_eq!(function.invoke(json!({})).await.unwrap().reply().unwrap(), (200, json!({"n": "1"})));

    // The environment wins, key by key.
    let api = RuntimeApi::start().unwrap();
    let function = program.env("LAMBDA_RDS_DEFAULT_QUERY", "two").start(&api).unwrap();
    assert_eq!(function.invoke(json!({})).await.unwrap().reply().unwrap(), (200, json!({"n": "2"})));
}

mod without_a_server {
    use super::{
        a_server_that_is_down_at_init_is_reported_by_the_first_call_and_used_once_it_is_up,
        a_server_that_is_silent_at_init_is_not_waited_for_any_longer_than_it_may_take_to_connect,
        what_init_opened_ahead_leaves_half_of_the_places_to_those_who_are_called,
    };

    crate::on_every_server!(
        what_init_opened_ahead_leaves_half_of_the_places_to_those_who_are_called,
        a_server_that_is_down_at_init_is_reported_by_the_first_call_and_used_once_it_is_up,
        a_server_that_is_silent_at_init_is_not_waited_for_any_longer_than_it_may_take_to_connect,
    );
}

/// Environments for which INIT ran ahead hold half of what the server has for them, and no more, until somebody calls
/// them: so those who are called find a place at once.
async fn what_init_opened_ahead_leaves_half_of_the_places_to_those_who_are_called(engine: Engine) {
    const PLACES: u64 = 8;
    let world = Setup::new(engine).env("DB_CONNECT_AT", "init").start().await;
    world.sessions_at_most(PLACES).await;
    for how in ["provisioned-concurrency", "lambda-managed-instances"] {
        let mut environments = Vec::new();
        for _ in 0..PLACES + 2 {
            environments.push(world.another_with(&[("AWS_LAMBDA_INITIALIZATION_TYPE", how)]).await);
        }
        until("the end of what was given back", || world.sessions() <= PLACES / 2).await;
        assert_eq!(world.sessions(), PLACES / 2, "{how}");
        // Those that came too late for half of the places find the other half, and those that have one use it.
        for (environment, connects) in
            environments.iter().rev().zip([true; 4]).chain(environments.iter().zip([false; 4]))
        {
            let called = environment.invoke(json!({"query": "active_users"})).await.unwrap();
            assert_eq!(called.reply().unwrap().0, 200, "{how}");
            let log = last_log(environment, &called.request_id).await;
            assert_eq!(log["connectMillis"].is_number(), connects, "{how} {log}");
        }
        drop(environments);
        until("the end of their sessions", || world.sessions() == 0).await;
    }

    // Where the call follows, nothing is given back.
    let mut environments = Vec::new();
    for _ in 0..PLACES {
        environments.push(world.another_with(&[("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")]).await);
    }
    assert_eq!(world.sessions(), PLACES);
}

/// A way to the server of this kind that all tests share.
fn door(engine: Engine) -> Proxy {
    let address = match engine {
        Engine::Postgres => postgres().address(),
        _ => mysql(engine).address(),
    };
    Proxy::start(address).unwrap()
}

async fn a_server_that_is_down_at_init_is_reported_by_the_first_call_and_used_once_it_is_up(engine: Engine) {
    let door = door(engine);
    door.refuse().await.unwrap();
    let world = Setup::new(engine).env("DB_PORT", door.port().to_string()).start().await;
    let warned = |line: &str| line.contains("no session at INIT");
    world.function.wait_for_log(warned, PATIENCE).await.unwrap();

    let outcome = world.invoke(json!({"query": "active_users"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unreachable")));
    assert_eq!(body["error"]["retryable"], true);
    assert_eq!(world.last_log(&outcome.request_id).await["phase"], "tcp");

    door.accept().await.unwrap();
    assert_eq!(world.call(json!({"query": "active_users"})).await.0, 200);
}

async fn a_cluster_that_is_down_at_init_is_reported_and_used_once_it_is_up(engine: Engine) {
    let world = Setup::new(engine).env("DB_CONNECT_TIMEOUT", "1s").start().await;
    let wire = world.another_wire();
    for wire in wire.all() {
        wire.refuse().await.unwrap();
    }
    let function = world.another_with(&[("DB_PORT", &wire.to())]).await;
    let warned = |line: &str| line.contains("no session at INIT");
    function.wait_for_log(warned, PATIENCE).await.unwrap();
    let outcome = function.invoke(json!({"query": "active_users"})).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unreachable")));
    assert_eq!(last_log(&function, &outcome.request_id).await["phase"], "tcp");
    for wire in wire.all() {
        wire.accept().await.unwrap();
    }
    unless_stalled(Duration::from_secs(1), async || {
        let (status, body) =
            function.invoke(json!({"query": "active_users"})).await.unwrap().reply().unwrap();
        if status == 200 { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
}

async fn a_server_that_is_silent_at_init_is_not_waited_for_any_longer_than_it_may_take_to_connect(
    engine: Engine,
) {
    let door = door(engine);
    door.black_hole();
    let world = Setup::new(engine)
        .env("DB_PORT", door.port().to_string())
        .env("DB_CONNECT_TIMEOUT", "300ms")
        .start()
        .await;
    let limit = Duration::from_millis(300);
    unless_stalled(limit, async || {
        let outcome = world.invoke(json!({"query": "active_users"})).await;
        let (status, body) = outcome.reply().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unreachable")));
        let log = world.last_log(&outcome.request_id).await;
        if log["phase"] == "tls" { Ok(()) } else { Err(log.to_string()) }
    })
    .await;

    door.flow();
    unless_stalled(limit, async || {
        let (status, body) = world.call(json!({"query": "active_users"})).await;
        if status == 200 { Ok(()) } else { Err(format!("the server is up, and not used: {body}")) }
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_missing_at_init_is_reported_by_the_first_call_and_used_once_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.db");
    let queries = "-- name: one :one\nSELECT 1 AS n;\n";
    let world =
        Setup::new(Engine::Sqlite).queries(queries).env("DB_NAME", file.to_str().unwrap()).start().await;
    assert_eq!(world.failure("one", json!({})).await, (503, "unreachable".into()));
    std::fs::write(&file, "").unwrap();
    assert_eq!(world.rows("one", json!({})).await, json!({"n": 1}));
}

/// What INIT fails with: posted to Lambda, printed once, and the end of the process.
async fn init_fails(setup: Setup) -> String {
    let world = setup.start_unchecked();
    let error = world.function.init_error().await.unwrap();
    let exit = world.function.wait_exit(PATIENCE).await.unwrap();
    assert!(!exit.success());
    assert_eq!(error.error_type.as_deref(), Some("Runtime.InitError"));
    let posted: Value = serde_json::from_str(&error.body).unwrap();
    assert_eq!(posted["errorType"], "Runtime.InitError");
    let told = posted["errorMessage"].as_str().unwrap();

    // Waits for the end of the output.
    let _ = world.function.wait_for_log(|_| false, PATIENCE).await;
    let logged = world.function.logs().join("\n");
    assert_eq!(logged.matches(told).count(), 1, "{told}\n--\n{logged}");
    for line in told.lines() {
        assert_eq!(logged.matches(line).count(), 1, "{line}\n--\n{logged}");
    }
    without_folder(&told.replace(world.queries().to_str().unwrap(), "queries"))
}

/// The text without the folder of the configuration file.
fn without_folder(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(end) = text.find("/lambda-rds.toml") {
        let start = text[..end].rfind([' ', '(']).map_or(0, |at| at + 1);
        text.replace_range(start..=end, "");
    }
    text
}
