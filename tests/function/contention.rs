//! What stands in a write's way on the server: it takes no writes, another transaction wants the same, or has it.

use std::time::Duration;

use lambda_rds_testbed::{Function, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, Setup, World, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    a_server_that_takes_no_writes,
    transactions_that_collide,
    faults_of_several_kinds_in_one_call_are_counted_apart,
    a_lock_that_is_not_released,
);
on_clusters!(
    transactions_that_collide,
    faults_of_several_kinds_in_one_call_are_counted_apart,
    a_lock_that_is_not_released,
);

const SCHEMA: &str = "
CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO numbers (id, n) VALUES (1, 0), (2, 0);
";

const QUERIES: &str = "
-- name: get :one
-- param: id int
SELECT n FROM numbers WHERE id = :id;

-- name: sum :one
SELECT sum(n) AS n FROM numbers;

-- name: add :exec
-- param: id int
UPDATE numbers SET n = n + 1 WHERE id = :id;

-- name: nap :one
-- engine: postgres
-- param: seconds float
SELECT 1 AS x FROM pg_sleep(:seconds);

-- name: nap :one
-- engine: mysql
-- param: seconds float
SELECT SLEEP(:seconds) AS x;
";

fn setup(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES)
}

/// Its reads go on, its writes wait for a writer and then say so; once it takes them again, they succeed, on the same
/// environment.
async fn a_server_that_takes_no_writes(engine: Engine) {
    let world = setup(engine).own_server().start().await;
    world.rows("add", json!({"id": 1})).await;
    world.read_only(true);
    for _ in 0..2 {
        let outcome = world.invoke(json!({"query": "add", "params": {"id": 1}})).await;
        let (status, body) = outcome.reply().unwrap();
        assert_eq!(
            (status, &body["error"]["code"], &body["error"]["retryable"]),
            (503, &json!("failing_over"), &json!(true))
        );
        let log = world.last_log(&outcome.request_id).await;
        let codes: &[&str] = if engine == Engine::Postgres { &["0A000", "25006"] } else { &["1290", "1836"] };
        assert!(codes.contains(&log["sqlstate"].as_str().unwrap()), "{log}");
        assert_eq!(log["retries"], 3, "{log}");
        assert_eq!(world.rows("get", json!({"id": 1})).await, json!({"n": 1}));
    }
    // A write that meets it in the middle of the change is done when it is over, or says that it is not.
    world.read_only(false);
    world.rows("add", json!({"id": 1})).await;
    assert_eq!(world.rows("get", json!({"id": 1})).await, json!({"n": 2}));
}

/// Two transactions take the same two rows in opposite order; and then, strictly isolated, read what the other one
/// changes. The server ends one of each two, and it runs again as a whole.
async fn transactions_that_collide(engine: Engine) {
    let world = setup(engine).own_server().start().await;
    let add = |id: u32| json!({"query": "add", "params": {"id": id}});
    let nap = json!({"query": "nap", "params": {"seconds": 1}});
    let crossing = |first: u32| json!({"transaction": [add(first), nap, add(3 - first)]});
    collide(&world, 0, crossing(1), crossing(2)).await;

    let level = match engine.plain() {
        // The role's and not the database's: a standby knows no such level, and refuses whoever has it.
        Engine::Postgres => format!(
            "ALTER ROLE \"{}\" SET default_transaction_isolation = 'serializable'",
            world.database().user
        ),
        _ => "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE".to_owned(),
    };
    world.sql(&level);
    // It holds for sessions that begin now.
    world.hang_up();
    until("the end of the session", || world.sessions() == 0).await;
    let before = world.rows("sum", json!({})).await["n"].clone();
    let sum = json!({"query": "sum", "params": {}});
    let skewed = |id: u32| json!({"transaction": [sum, nap, add(id), add(3 - id)]});
    let before = before.as_str().and_then(|n| n.parse().ok()).or(before.as_u64()).unwrap();
    collide(&world, before, skewed(1), skewed(1)).await;
}

/// Runs both transactions at once, each in an environment of its own, until one of them had to run again. Both
/// succeed, and each has added two.
async fn collide(world: &World, before: u64, one: Value, other: Value) {
    let another = world.another().await;
    for round in 1..=5 {
        let (one, other) = tokio::join!(run(&world.function, &one), run(&another, &other));
        assert_eq!(world.sql("SELECT sum(n) FROM numbers"), (before + 4 * round).to_string());
        if one + other > 0 {
            return;
        }
    }
    panic!("they have not met in five rounds");
}

/// Runs a transaction, which succeeds, and says how often it had to run again.
async fn run(function: &Function, event: &Value) -> u64 {
    let outcome = function.invoke(event).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    assert_eq!(status, 200, "{body}\n{}", function.logs().join("\n"));
    crate::world::last_log(function, &outcome.request_id).await["retries"].as_u64().unwrap()
}

/// Each fault has its own tries: three conflicts leave those of a server that goes down untouched.
async fn faults_of_several_kinds_in_one_call_are_counted_apart(engine: Engine) {
    // What counts the tries is not undone with their transaction: a sequence, or the number of the next row.
    let (schema, stumble, again) = match engine.plain() {
        Engine::Postgres => (
            "CREATE SEQUENCE tries;
             CREATE FUNCTION stumble(conflicts integer, ends integer) RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE try bigint := nextval('tries');
             BEGIN
                 IF try <= conflicts THEN RAISE EXCEPTION 'a conflict' USING ERRCODE = '40001'; END IF;
                 IF try <= conflicts + ends THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                 RETURN try;
             END $$;",
            "SELECT stumble(:conflicts::int, :ends::int) AS tries;",
            "ALTER SEQUENCE tries RESTART",
        ),
        // A server that stops could say so once, so the function says it.
        _ => (
            "CREATE TABLE tries (id BIGINT AUTO_INCREMENT PRIMARY KEY);
             CREATE FUNCTION stumble(conflicts INT, ends INT) RETURNS BIGINT MODIFIES SQL DATA BEGIN \
             DECLARE try BIGINT; INSERT INTO tries VALUES (NULL); SET try = LAST_INSERT_ID(); \
             IF try <= conflicts THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'a conflict'; END IF; \
             IF try <= conflicts + ends THEN SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = 1053, MESSAGE_TEXT = 'the end'; END IF; \
             RETURN try; END;",
            "SELECT stumble(:conflicts, :ends) AS tries;",
            "TRUNCATE tries",
        ),
    };
    let queries =
        format!("-- name: stumble :one\n-- write\n-- param: conflicts int\n-- param: ends int\n{stumble}");
    let world = Setup::new(engine).schema(schema).queries(queries).start().await;
    for (conflicts, ends, told) in [
        (3, 0, Ok(4)),
        (0, 3, Ok(4)),
        (3, 3, Ok(7)),
        (4, 0, Err((409, "conflict"))),
        (0, 4, Err((503, "database_unavailable"))),
    ] {
        world.sql(again);
        let event = json!({"query": "stumble", "params": {"conflicts": conflicts, "ends": ends}});
        let (status, body) = world.call(event).await;
        let found = match body["error"]["code"].as_str() {
            None => Ok(body["tries"].as_u64().unwrap()),
            Some(code) => Err((status, code)),
        };
        assert_eq!(found, told, "{conflicts} conflicts, {ends} ends");
    }
}

/// Somebody holds the row for longer than anybody waits. The write is told so, in its time, and leaves nothing: on
/// PostgreSQL by the statement's limit, on MySQL by that of the wait for a lock, which ends a second before it.
async fn a_lock_that_is_not_released(engine: Engine) {
    let setup = setup(engine).timeout(Duration::from_secs(200));
    let world = setup.env("DB_QUERY_TIMEOUT", "2s").start().await;
    let patient = world.another_with(&[("DB_QUERY_TIMEOUT", "190s")]).await;
    let hold = json!({"transaction": [
        {"query": "add", "params": {"id": 1}},
        {"query": "nap", "params": {"seconds": 180}},
    ]});
    let meanwhile = async {
        // By then the holder has written.
        let nap = if engine.plain() == Engine::Postgres { "pg_sleep" } else { "SLEEP" };
        until("the lock", || world.running_that(nap) == 1).await;
        // Nine tenths of a second lie between the server's limit for the lock and ours.
        unless_stalled(Duration::from_millis(900), async || {
            let outcome = world.invoke(json!({"query": "add", "params": {"id": 1}})).await;
            let (status, body) = outcome.reply().unwrap();
            let told = (status, body["error"]["code"].as_str().unwrap());
            let expected =
                if engine.plain() == Engine::Postgres { (504, "timeout") } else { (409, "conflict") };
            until("the end of the write", || world.running() == 1).await;
            // Two waits of two seconds at most.
            let in_time = outcome.elapsed < Duration::from_secs(5);
            if told == expected && in_time { Ok(()) } else { Err(format!("{:?}: {body}", outcome.elapsed)) }
        })
        .await;
        world.rows("add", json!({"id": 2})).await;
        patient.kill().unwrap();
    };
    let (held, ()) = tokio::join!(patient.invoke(hold), meanwhile);
    assert!(held.is_err(), "{held:?}");
    world.hang_up();
    until("the end of the sessions", || world.sessions() == 0).await;
    world.rows("add", json!({"id": 1})).await;
    assert_eq!(world.rows_of("SELECT n FROM numbers ORDER BY id"), ["1", "1"]);
}
