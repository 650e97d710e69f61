//! Behind PgBouncer in transaction mode: nothing of one call is met by another, whoever makes it.

use std::sync::Arc;
use std::time::Duration;

use lambda_rds_testbed::{Function, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, SECRET, Setup, until};

const SCHEMA: &str = "
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    writer integer NOT NULL,
    mood mood NOT NULL,
    text varchar(100) UNIQUE
);
";

/// `state` is what a call could find of another: its limit, its name, its prepared statements, its right to write.
const QUERIES: &str = "
-- name: state :one
SELECT current_setting('statement_timeout') AS timeout, current_setting('application_name') AS name,
       current_setting('TimeZone') AS zone, current_setting('transaction_read_only') AS read_only,
       (SELECT count(*) FROM pg_prepared_statements) AS prepared, pg_backend_pid() AS pid;

-- name: mine :one
-- param: writer int
-- param: mood text
SELECT count(*) AS notes FROM notes WHERE writer = :writer AND mood = :mood;

-- name: echo :one
-- param: text text?
-- param: n int
-- param: when timestamptz
-- param: tags text[]
SELECT concat(:text) AS text, :n AS n, :when AS at, :tags AS tags, 0.1::float8 AS tenth;

-- name: write :exec
-- param: writer int
-- param: mood text
-- param: text text?
INSERT INTO notes (writer, mood, text) VALUES (:writer, :mood, :text);

-- name: broken :one
-- param: by int
SELECT 1 / :by AS never;

-- name: sly :one
-- read
WITH written AS (INSERT INTO notes (writer, mood) VALUES (0, 'sad') RETURNING id) SELECT id FROM written;

-- name: analyze :exec
-- write
-- transaction: none
ANALYZE notes;

-- name: analyze_mine :exec
-- write
-- transaction: none
-- param: writer int
DELETE FROM notes WHERE writer = :writer;

-- name: slow :one
-- timeout: 300ms
SELECT pg_sleep(60)::text AS never;
";

const ENVIRONMENTS: u64 = 3;
const CALLS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_environments_share_two_connections_and_nothing_else() {
    // The first environment, which the world starts, stays idle.
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(2).start().await;
    let mut callers = Vec::new();
    for writer in 1..=ENVIRONMENTS {
        let timeout = format!("{}s", 10 + writer);
        let version = writer.to_string();
        let vars =
            [("DB_QUERY_TIMEOUT", timeout.as_str()), ("AWS_LAMBDA_FUNCTION_VERSION", version.as_str())];
        let function = Arc::new(world.another_with(&vars).await);
        callers.push(tokio::spawn(async move {
            let mut written = 0;
            for n in 0..CALLS {
                written += one_call(&function, writer, n, written).await;
            }
            written
        }));
    }
    for (writer, caller) in (1..).zip(callers) {
        let written = caller.await.unwrap();
        let stored = world.sql(&format!("SELECT count(*) FROM notes WHERE writer = {writer}"));
        assert_eq!(stored, written.to_string());
    }
    assert_eq!(world.sql("SELECT count(*) FROM notes WHERE writer = 0"), "0");
    let pids = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
                AND datname = current_database() AND pid <> pg_backend_pid()";
    assert!(["1", "2"].contains(&world.sql(pids).as_str()));
}

/// The nth call of an environment; gives the number of rows that it has written.
async fn one_call(function: &Function, writer: u64, n: u64, written: u64) -> u64 {
    let text = format!("{writer}-{n}");
    let note =
        json!({"writer": writer, "mood": if n.is_multiple_of(2) { "happy" } else { "sad" }, "text": text});
    match n % 8 {
        0 => {
            let state = rows(function, "state", json!({})).await;
            let pid = state["pid"].clone();
            let want = json!({
                "timeout": format!("{}s", 10 + writer),
                "name": format!("lambda-rds-test:{writer}"),
                "zone": "UTC",
                "read_only": "on",
                "prepared": 0,
                "pid": pid,
            });
            assert_eq!(state, want);
            0
        }
        1 => {
            assert_eq!(rows(function, "write", note).await["rowsAffected"], 1);
            1
        }
        2 => {
            let params = json!({"text": text, "n": n, "when": "2026-01-31T13:37:00Z", "tags": ["a", text]});
            let want = json!({"text": text, "n": n, "at": "2026-01-31T13:37:00Z", "tags": ["a", text], "tenth": 0.1});
            assert_eq!(rows(function, "echo", params).await, want);
            0
        }
        3 => {
            let mut count = 0;
            for mood in ["happy", "sad"] {
                let mine = rows(function, "mine", json!({"writer": writer, "mood": mood})).await;
                count += mine["notes"].as_u64().unwrap();
            }
            assert_eq!(count, written);
            0
        }
        4 => {
            let (params, step) =
                (json!({"writer": writer, "mood": "happy"}), json!({"query": "write", "params": note}));
            let event = json!({"transaction": [step, {"query": "mine", "params": params}]});
            let (status, body) = call(function, event).await;
            assert_eq!((status, &body[0]["rowsAffected"]), (200, &json!(1)), "{body}");
            1
        }
        // Both undo a transaction.
        5 if n % 16 < 8 => {
            assert_eq!(failure(function, "broken", json!({"by": 0})).await, (400, "bad_parameter".into()));
            0
        }
        5 => {
            assert_eq!(failure(function, "sly", json!({})).await, (500, "query_failed".into()));
            0
        }
        6 => {
            let again = json!({"query": "write", "params": note});
            let (status, body) = call(function, json!({"transaction": [again, again]})).await;
            assert_eq!((status, &body["error"]["code"]), (409, &json!("constraint")), "{body}");
            0
        }
        _ => {
            assert_eq!(rows(function, "analyze", json!({})).await["rowsAffected"], 0);
            0
        }
    }
}

#[tokio::test]
async fn a_read_takes_one_flight_and_a_write_two() {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1).start().await;
    let write = |text: &str| json!({"writer": 1, "mood": "happy", "text": text});
    for (query, first, again, flights) in [
        ("mine", json!({"writer": 1, "mood": "sad"}), json!({"writer": 1, "mood": "sad"}), 1),
        ("write", write("a"), write("b"), 2),
    ] {
        world.rows(query, first).await;
        world.wire().reset();
        world.rows(query, again).await;
        // BEGIN with the limits, the statement, and COMMIT, which a write sends when it knows the rest.
        assert_eq!(world.wire().flights(), flights, "{query}");
    }
}

#[tokio::test]
async fn a_statement_is_cancelled_through_the_pooler() {
    let world = Setup::new(Engine::Postgres)
        .schema(SCHEMA)
        .queries(QUERIES)
        .env("DB_QUERY_TIMEOUT", "100s")
        .pooler(1)
        .timeout(Duration::from_secs(200))
        .start()
        .await;
    assert_eq!(world.failure("slow", json!({})).await, (504, "timeout".into()));
    // The only connection is free again, long before the server's own limit.
    let started = std::time::Instant::now();
    assert_eq!(
        world.rows("echo", json!({"text": null, "n": 1, "when": "2026-01-31T00:00:00Z", "tags": []})).await["n"],
        1
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_statement_outside_a_transaction_is_one_flight_with_its_parameters() {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1).start().await;
    world.rows("analyze_mine", json!({"writer": 1})).await;
    world.wire().reset();
    world.rows("analyze_mine", json!({"writer": 1})).await;
    assert_eq!(world.wire().flights(), 1);
}

/// A pooler that passes the session's settings over, and of which the configuration does not know: nothing would be
/// read-only, nothing have a limit, and statements of one name would meet.
#[tokio::test]
async fn a_pooler_that_passes_settings_over_is_a_failed_connect_that_says_so() {
    let setup = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1);
    let setup = setup.pooler_setting("ignore_startup_parameters", "extra_float_digits,options");
    let world = setup.env("DB_POOLER", "none").start().await;
    let outcome = world.invoke(json!({"query": "state"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("unreachable")), "{body}");
    let line = world.last_log(&outcome.request_id).await;
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains("DB_POOLER=transaction") && detail.contains("default_transaction_read_only"),
        "{line}"
    );
}

/// PgBouncer does not ask the server to stop: it hangs up on it, and the server commits or does not.
#[tokio::test]
async fn a_commit_that_the_pooler_hangs_up_on_has_an_unknown_outcome() {
    let schema = "
        CREATE TABLE slow (id integer);
        CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION linger();";
    let queries = "-- name: insert :exec\nINSERT INTO slow (id) VALUES (1);\n\
                   -- name: doze :one\nSELECT pg_sleep(60)::text AS never;\n\
                   -- name: doze_writing :exec\n-- write\nSELECT pg_sleep(60);\n";
    let setup = Setup::new(Engine::Postgres).schema(schema).queries(queries).pooler(1);
    let setup = setup.pooler_setting("query_timeout", "1").env("DB_QUERY_TIMEOUT", "20s");
    let world = setup.start().await;
    // The pooler may hang up on the statement before, if that takes a second.
    let mut attempts = 0;
    unless_stalled(Duration::from_secs(1), async || {
        attempts += 1;
        let told = failure(&world.function, "insert", json!({})).await;
        if told == (500, "outcome_unknown".into()) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    // Before COMMIT, a server that is hung up on undoes all.
    for query in ["doze", "doze_writing"] {
        let told = failure(&world.function, query, json!({})).await;
        assert_eq!(told, (504, "timeout".into()), "{query}\n{}", world.function.logs().join("\n"));
    }
    until("the end of the transaction", || world.running() == 0).await;
    assert!(world.count("slow") <= attempts);
}

async fn rows(function: &Function, query: &str, params: Value) -> Value {
    let (status, body) = call(function, json!({"query": query, "params": params})).await;
    assert_eq!(status, 200, "{query}: {body}\n{}", function.logs().join("\n"));
    body
}

async fn failure(function: &Function, query: &str, params: Value) -> (u64, String) {
    let (status, body) = call(function, json!({"query": query, "params": params})).await;
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

async fn call(function: &Function, event: Value) -> (u64, Value) {
    function.invoke(event).await.unwrap().reply().unwrap()
}

#[tokio::test]
async fn a_password_that_the_pooler_rejects_is_rejected() {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1).start().await;
    let mut secret = world.database().secret("127.0.0.1", world.wire().port());
    secret["password"] = json!("wrong");
    world.secrets.put(SECRET, secret);
    let function = world.another().await;
    let outcome = function.invoke(json!({"query": "state"})).await.unwrap();
    let code = outcome.reply().unwrap().1["error"]["code"].clone();
    assert_eq!(code, "credentials_rejected", "{}", function.logs().join("\n"));
}

#[tokio::test]
async fn a_connection_that_the_pooler_loses_costs_no_read() {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1).start().await;
    for n in 0..20 {
        world.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let mine = rows(&world.function, "mine", json!({"writer": n, "mood": "sad"})).await;
        assert_eq!(mine, json!({"notes": 0}));
    }
}

/// Of a type that it does not know the driver asks the catalog, between preparing a statement and running it: then the
/// server had forgotten the statement, and whatever gave an enum or a citext was `connection_lost`, each time.
#[tokio::test]
async fn types_of_the_databases_own() {
    let schema = "
        CREATE TYPE mood AS ENUM ('happy', 'sad');
        CREATE TYPE times AS RANGE (subtype = time);
        CREATE TABLE notes (id integer PRIMARY KEY, mood mood, moods mood[], open times);
        INSERT INTO notes VALUES (1, 'sad', '{happy,sad}', '[10:00,11:00)');";
    let queries = "-- name: all :many\nSELECT mood, moods, open FROM notes;\n\
                   -- name: by_id :one\n-- param: id int\nSELECT mood FROM notes WHERE id = :id;\n\
                   -- name: cheer :many\n-- write\n-- param: id int\n\
                   UPDATE notes SET mood = 'happy' WHERE id = :id RETURNING mood;\n\
                   -- name: touch :exec\n-- param: id int\nUPDATE notes SET id = id WHERE id = :id RETURNING mood;\n";
    for (query, params, expected) in [
        (
            "all",
            json!({}),
            json!([{"mood": "sad", "moods": ["happy", "sad"], "open": "[10:00:00,11:00:00)"}]),
        ),
        ("by_id", json!({"id": 1}), json!({"mood": "sad"})),
        ("cheer", json!({"id": 1}), json!([{"mood": "happy"}])),
        ("touch", json!({"id": 1}), json!({"rowsAffected": 1})),
    ] {
        // A session knows no type yet.
        let world = Setup::new(Engine::Postgres).schema(schema).queries(queries).pooler(1).start().await;
        for _ in 0..2 {
            assert_eq!(world.rows(query, params.clone()).await, expected, "{query}");
        }
        let steps = json!({"transaction": [{"query": query, "params": params}, {"query": "all"}]});
        assert_eq!(world.call(steps).await.0, 200, "{query}");
    }
}

/// An environment vanishes while the server tells it of the second of two statements that it has not met, and has told of the
/// first. The pooler lends the connection to the next one only once nothing is under way on it: that one would be told of
/// statements that are not its own.
#[tokio::test]
async fn who_vanishes_leaves_no_answers_to_the_next_one() {
    let queries = "-- name: write :exec\nINSERT INTO notes (writer, mood) VALUES (1, 'happy');\n\
                   -- name: held :exec\nDELETE FROM held;\n-- name: count :one\nSELECT count(*) AS notes FROM notes;\n";
    let world = Setup::new(Engine::Postgres)
        .schema(format!("{SCHEMA}CREATE TABLE held (id integer);"))
        .queries(queries)
        .env("DB_QUERY_TIMEOUT", "100s")
        .timeout(Duration::from_secs(200))
        .pooler(1)
        .start()
        .await;
    let vanishing = world.another().await;
    let holder = world.meanwhile("BEGIN; LOCK TABLE held; SELECT pg_sleep(100)");
    until("the lock", || world.anybody_running("pg_sleep(100)") == 1).await;
    let list = json!({"transaction": [{"query": "write"}, {"query": "held"}]});
    tokio::select! {
        outcome = vanishing.invoke(list) => panic!("{outcome:?}"),
        () = until("the second statement", || world.running_that("DELETE FROM held") == 1) => {}
    }
    vanishing.kill().unwrap();
    let outcome = world.invoke(json!({"query": "count"})).await;
    assert_eq!(outcome.reply().unwrap(), (200, json!({"notes": 0})));
    let line = world.last_log(&outcome.request_id).await;
    assert_eq!(line["retries"], 0, "{line}");
    assert_eq!(world.anybody_running("pg_sleep(100)"), 1, "the lock is held no more");
    world.end_who_runs("pg_sleep(100)");
    assert!(!holder.join().unwrap());
}

/// What is refused in that flight passes over what follows it, which is then asked about again.
#[tokio::test]
async fn one_statement_that_is_refused_hides_none_of_the_others() {
    let queries = "-- name: write :exec\nINSERT INTO notes (writer, mood) VALUES (1, 'happy');\n\
                   -- name: make :exec\nCREATE TABLE made (id integer);\n\
                   -- name: fill :exec\n-- param: id int\nINSERT INTO made (id) VALUES (:id);\n\
                   -- name: made :many\nSELECT id FROM made;\n\
                   -- name: mine :one\n-- param: writer int\nSELECT count(*) AS notes FROM notes WHERE writer = :writer;\n";
    for pipeline in ["auto", "off"] {
        let setup = Setup::new(Engine::Postgres).schema(SCHEMA).queries(queries).pooler(1);
        let world = setup.env("DB_PIPELINE", pipeline).start().await;
        let fill = |id: u64| json!({"query": "fill", "params": {"id": id}});
        let write = json!({"query": "write"});
        let list = json!({"transaction": [
            write, {"query": "make"}, fill(1), {"query": "made"}, write, fill(2), {"query": "made"},
            {"query": "mine", "params": {"writer": 1}},
        ]});
        let (status, body) = world.call(list).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body[3], &body[6]), (&json!([{"id": 1}]), &json!([{"id": 1}, {"id": 2}])));
        assert_eq!(body[7], json!({"notes": 2}));
    }
}

/// What an environment has not met is asked about in one flight, however many statements that are.
#[tokio::test]
async fn statements_are_learned_in_one_flight() {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).pooler(1).start().await;
    let note = json!({"writer": 1, "mood": "happy", "text": null});
    let list = json!({"transaction": [
        {"query": "write", "params": note},
        {"query": "mine", "params": {"writer": 1, "mood": "happy"}},
        {"query": "broken", "params": {"by": 1}},
        {"query": "state"},
    ]});
    world.rows("state", json!({})).await;
    for flights in [3, 2] {
        world.wire().reset();
        let (status, body) = world.call(list.clone()).await;
        assert_eq!((status, &body[2]), (200, &json!({"never": 1})), "{body}");
        assert_eq!(world.wire().flights(), flights);
    }
}
