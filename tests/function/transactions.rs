//! Several steps as one: all of them or none, also where the wire is cut in between, and never twice.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_rds_testbed::{After, Cut, Direction, Fault, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, Setup, World, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    results_are_listed,
    a_failing_step_is_named_and_undoes_all,
    a_batch_of_a_thousand_is_all_or_nothing,
    nothing_to_do_is_done,
    what_cannot_run_in_a_transaction_is_refused,
);
on_clusters!(
    results_are_listed,
    a_failing_step_is_named_and_undoes_all,
    a_batch_of_a_thousand_is_all_or_nothing,
    nothing_to_do_is_done,
    what_cannot_run_in_a_transaction_is_refused,
);

async fn results_are_listed(engine: Engine) {
    let world = world(engine).start().await;
    let transaction = json!({"transaction": [
        {"query": "set", "params": {"id": 1, "n": 10}},
        {"query": "get", "params": {"id": 1}},
        {"query": "from", "params": {"n": 100}},
        {"query": "set", "params": {"id": 99, "n": 10}},
        {"query": "from", "params": {"n": 2}},
    ]});
    let results = json!([
        {"rowsAffected": 1},
        {"id": 1, "n": 10},
        [],
        {"rowsAffected": 0},
        [{"id": 1, "n": 10}, {"id": 2, "n": 2}, {"id": 3, "n": 3}],
    ]);
    assert_eq!(world.call(transaction).await, (200, results));

    let batch = json!({"batch": {"query": "get", "params": [{"id": 3}, {"id": 1}]}, "reply": "raw"});
    let results = json!([{"id": 3, "n": 3}, {"id": 1, "n": 10}]);
    assert_eq!(world.invoke(batch).await.json().unwrap(), results);
    let one = json!({"batch": {"query": "from", "params": [{"n": 100}]}});
    assert_eq!(world.call(one).await, (200, json!([[]])));
}

async fn a_failing_step_is_named_and_undoes_all(engine: Engine) {
    let world = world(engine).start().await;
    let set = |id: u32| json!({"query": "set", "params": {"id": id, "n": 77}});
    let add = |id: u32| json!({"query": "add", "params": {"id": id}});
    let before = world.rows("from", json!({"n": 0})).await;
    for (steps, status, code, step) in [
        (json!([set(1), {"query": "set", "params": {"id": 2}}]), 400, "bad_parameter", 1),
        (json!([set(1), {"query": "set", "params": {"id": 2, "n": "x"}}]), 400, "bad_parameter", 1),
        (json!([set(1), set(2), {"query": "unheard_of"}]), 404, "unknown_query", 2),
        (json!([set(1), {"params": {}}]), 400, "bad_event", 1),
        (json!([7, set(1)]), 400, "bad_event", 0),
        (json!([set(1), set(2), add(1)]), 409, "constraint", 2),
        (json!([add(1), set(1)]), 409, "constraint", 0),
        (json!([set(1), add(7), {"query": "get", "params": {"id": 8}}, set(2)]), 404, "not_found", 2),
        (json!([set(1), {"query": "any"}]), 500, "not_unique", 1),
        (json!([set(1), set(2), {"query": "broken"}]), 500, "query_failed", 2),
    ] {
        let (found, body) = world.call(json!({ "transaction": steps })).await;
        let error = &body["error"];
        assert_eq!((found, &error["code"], &error["step"]), (status, &json!(code), &json!(step)), "{steps}");
        assert_eq!(world.rows("from", json!({"n": 0})).await, before, "{steps} left something behind");
    }
}

async fn a_batch_of_a_thousand_is_all_or_nothing(engine: Engine) {
    let world = world(engine).start().await;
    let batch = |ids: std::ops::Range<u32>, last: u32| {
        let sets: Vec<Value> = ids.chain([last]).map(|id| json!({"id": id})).collect();
        json!({"batch": {"query": "add", "params": sets}})
    };
    if engine == Engine::Postgres {
        world.wire().reset();
    }
    // The thousandth is there already.
    let (status, body) = world.call(batch(1_000..1_999, 1)).await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["step"]),
        (409, &json!("constraint"), &json!(999))
    );
    assert_eq!(world.rows("count", json!({})).await["n"], 3);

    if engine == Engine::Postgres {
        // One to prepare, all together, ROLLBACK; and two for the count, which is prepared as well.
        assert!(world.wire().flights() <= 8, "{}", world.wire().flights());
    }
    if let Some(wire) = world.own_wire() {
        wire.reset();
    }
    let (status, body) = world.call(batch(1_000..1_999, 1_999)).await;
    assert_eq!((status, body.as_array().map(Vec::len)), (200, Some(1_000)));
    if let Some(wire) = world.own_wire() {
        // All together behind BEGIN, and COMMIT: it was prepared by the batch before. A few more where the server has
        // begun to answer before all is said.
        assert!((2..=6).contains(&wire.flights()), "{}", wire.flights());
    }
    assert_eq!(world.rows("count", json!({})).await["n"], 1_003);
}

async fn nothing_to_do_is_done(engine: Engine) {
    let world = world(engine).env("DB_CONNECT_AT", "first-use").start().await;
    let nothing = (200, json!([]));
    assert_eq!(world.call(json!({"transaction": []})).await, nothing);
    assert_eq!(world.call(json!({"batch": {"query": "add", "params": []}})).await, nothing);
    let (status, body) = world.call(json!({"batch": {"query": "unheard_of", "params": []}})).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("unknown_query")));
    if let Some(wire) = world.own_wire() {
        assert_eq!(wire.connections(), 0);
    }
}

async fn what_cannot_run_in_a_transaction_is_refused(engine: Engine) {
    let world = world(engine).start().await;
    let add = json!({"query": "add", "params": {"id": 7}});
    for (event, step) in [
        (json!({"transaction": [add, {"query": "tidy"}]}), 1),
        (json!({"batch": {"query": "tidy", "params": [{}]}}), 0),
    ] {
        let (status, body) = world.call(event).await;
        let error = &body["error"];
        assert_eq!((status, &error["code"], &error["step"]), (400, &json!("bad_event"), &json!(step)));
        assert_eq!(error["message"], "The query `tidy` cannot be part of a transaction. Call it by itself.");
    }
    assert_eq!(world.call(json!({"query": "tidy"})).await.0, 200);
    assert_eq!(world.rows("count", json!({})).await["n"], 3);
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_commit_undoes_all() {
    let schema = format!(
        "{SCHEMA}CREATE TABLE parts (id INTEGER PRIMARY KEY, whole INTEGER NOT NULL \
         REFERENCES numbers (id) DEFERRABLE INITIALLY DEFERRED);"
    );
    let queries = format!(
        "{QUERIES}\n-- name: part :exec\n-- param: id int\n-- param: whole int\n\
         INSERT INTO parts (id, whole) VALUES (:id, :whole);"
    );
    let world = Setup::new(Engine::Postgres).schema(schema).queries(queries).start().await;
    let steps = |whole: u32| {
        json!({"transaction": [
            {"query": "part", "params": {"id": 1, "whole": whole}},
            {"query": "add", "params": {"id": 4}},
        ]})
    };
    let (status, body) = world.call(steps(5)).await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["step"]),
        (409, &json!("constraint"), &Value::Null)
    );
    assert_eq!(world.rows("count", json!({})).await["n"], 3);
    assert_eq!(world.call(steps(4)).await.0, 200);
}

mod of_servers {
    use super::{
        a_cut_anywhere_leaves_all_or_nothing, a_cut_that_comes_again_leaves_nothing_but_what_is_said,
        a_session_that_died_while_it_was_idle_is_not_noticed, a_step_that_takes_too_long_undoes_all,
    };

    crate::on_every_server!(
        a_step_that_takes_too_long_undoes_all,
        a_session_that_died_while_it_was_idle_is_not_noticed,
        a_cut_anywhere_leaves_all_or_nothing,
        a_cut_that_comes_again_leaves_nothing_but_what_is_said,
    );
}

async fn a_step_that_takes_too_long_undoes_all(engine: Engine) {
    let world = world(engine).start().await;
    let event = json!({"transaction": [
        {"query": "add", "params": {"id": 4}},
        {"query": "sleep", "params": {"seconds": 30}},
    ]});
    let (status, body) = world.call(event).await;
    assert_eq!((status, &body["error"]["code"], &body["error"]["step"]), (504, &json!("timeout"), &json!(1)));
    quiet(&world).await;
    assert_eq!(world.rows("count", json!({})).await["n"], 3);
}

async fn a_session_that_died_while_it_was_idle_is_not_noticed(engine: Engine) {
    let world = world(engine).start().await;
    for id in 10..13 {
        assert_eq!(world.sessions(), 1);
        world.hang_up();
        until("the end of the session", || world.sessions() == 0).await;
        let done = json!([{"rowsAffected": 1}, {"rowsAffected": 1}]);
        let event = json!({"transaction": [
            {"query": "add", "params": {"id": id}},
            {"query": "set", "params": {"id": id, "n": 1}},
        ]});
        assert_eq!(world.call(event).await, (200, done));
    }
}

/// Two functions want what the other one has. The server ends one transaction, which runs again as a whole.
#[tokio::test]
async fn a_deadlock_is_resolved_by_running_again() {
    let steps = |first: u32, second: u32| {
        json!({"transaction": [
            {"query": "add_to", "params": {"id": first}},
            {"query": "meet"},
            {"query": "add_to", "params": {"id": second}},
        ]})
    };
    conflict(world(Engine::Postgres), steps(1, 2), steps(2, 1), "40P01").await;
}

/// Both read what the other one changes.
#[tokio::test]
async fn a_serialization_failure_is_resolved_by_running_again() {
    let steps = |id: u32| {
        json!({"transaction": [
            {"query": "from", "params": {"n": 0}},
            {"query": "meet"},
            {"query": "add_to", "params": {"id": id}},
            {"query": "add_to", "params": {"id": 3 - id}},
        ]})
    };
    let strict = world(Engine::Postgres).env("DB_CONNECT_AT", "first-use");
    conflict(strict, steps(1), steps(1), "40001").await;
}

/// Runs both transactions at once, each in a function of its own, and sees both done, each once.
async fn conflict(setup: Setup, one: Value, other: Value, sqlstate: &str) {
    let world = setup.start().await;
    if sqlstate == "40001" {
        let level = "ALTER DATABASE \"{}\" SET default_transaction_isolation = 'repeatable read'";
        world.sql(&level.replace("{}", &world.database().name));
    }
    let another = world.another().await;
    let (one, other) = tokio::join!(world.function.invoke(one), another.invoke(other));
    let (one, other) = (one.unwrap(), other.unwrap());
    for outcome in [&one, &other] {
        assert_eq!(outcome.reply().unwrap().0, 200, "{outcome:?}");
    }
    // Each of the two has added one to both.
    assert_eq!(world.sql("SELECT string_agg(n::text, ' ' ORDER BY id) FROM numbers WHERE id < 3"), "3 4");
    let retries = |function: &lambda_rds_testbed::Function| {
        let lines = function.logs();
        let line = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        line.filter_map(|line| line["retries"].as_u64()).sum::<u64>()
    };
    assert_eq!(retries(&world.function) + retries(&another), 1);
}

/// Cuts the wire at every flight, and at bytes all along the way, in both directions and in both manners, under a
/// transaction and under a batch. Each leaves all of its rows or none, never any twice, and the reply says which:
/// 200 is all, `outcome_unknown` is either, everything else is none.
///
/// The wire is encrypted, so that flights and bytes are all that can be aimed at. They include all messages of the
/// protocol: each is in some flight, and ends at some byte.
async fn a_cut_anywhere_leaves_all_or_nothing(engine: Engine) {
    let world = world(engine).start().await;
    let steps = |token: u64, batch: bool| {
        let sets: Vec<Value> = (0..3).map(|step| json!({"token": token, "step": step})).collect();
        if batch {
            return json!({"batch": {"query": "note", "params": sets}});
        }
        let steps: Vec<Value> = sets.iter().map(|set| json!({"query": "note", "params": set})).collect();
        json!({ "transaction": steps })
    };
    // What one costs on the wire, once everything is prepared.
    world.call(steps(0, false)).await;
    world.wire().reset();
    world.call(steps(1, true)).await;
    let flights = world.wire().flights();
    let bytes = [Direction::ToServer, Direction::ToClient].map(|direction| world.wire().bytes(direction));
    assert_eq!(flights, engine.flights_of_a_write());

    let mut faults = Vec::new();
    for (direction, bytes) in [Direction::ToServer, Direction::ToClient].into_iter().zip(bytes) {
        for cut in [Cut::Fin, Cut::Rst] {
            // One more than there are: a cut that does not come.
            let at_flights = (0..=flights).map(After::Flights);
            // Coprime to the length of whatever record, so that all parts of one are hit.
            let at_bytes = (0..=bytes).step_by(17).map(After::Bytes);
            let near_the_end = (bytes.saturating_sub(8)..=bytes).map(After::Bytes);
            for after in at_flights.chain(at_bytes).chain(near_the_end) {
                faults.push(Fault::cut(direction, after, cut));
            }
        }
    }
    let mut replies = BTreeMap::new();
    for (token, fault) in (2_u64..).zip(faults) {
        // A session to begin with, whatever the fault before has left.
        assert_eq!(world.call(json!({"query": "count"})).await.0, 200);
        world.wire().inject(fault);
        let (status, body) = world.call(steps(token, token % 2 == 0)).await;
        world.wire().disarm();
        let said = if status == 200 { "done" } else { body["error"]["code"].as_str().unwrap() };
        replies.insert(token, (said.to_owned(), fault));
    }

    quiet(&world).await;
    let mut left: BTreeMap<u64, String> = BTreeMap::new();
    for row in world.rows_of("SELECT token, step FROM notes ORDER BY token, step") {
        let (token, step) = row.split_once('|').unwrap();
        left.entry(token.parse().unwrap()).or_default().push_str(step);
    }
    let mut seen = BTreeMap::new();
    for (token, (said, fault)) in &replies {
        let left = left.get(token).map_or("", String::as_str);
        *seen.entry((said.as_str(), left)).or_insert(0) += 1;
        let right = match said.as_str() {
            "done" => left == "012",
            "outcome_unknown" => left == "012" || left.is_empty(),
            _ => left.is_empty(),
        };
        assert!(right, "{fault:?}: said {said}, left {left:?}");
    }
    // The sweep has been everywhere: before COMMIT, where it runs again; between COMMIT and the server; behind it.
    for outcome in [("done", "012"), ("outcome_unknown", ""), ("outcome_unknown", "012")] {
        assert!(seen.contains_key(&outcome), "{outcome:?} is not among {seen:?}");
    }
    assert!(seen.keys().all(|(said, _)| ["done", "outcome_unknown"].contains(said)), "{seen:?}");
}

/// The same where every connection is cut, so that running again does not help.
async fn a_cut_that_comes_again_leaves_nothing_but_what_is_said(engine: Engine) {
    let world = world(engine).env("DB_CONNECT_TIMEOUT", "1s").start().await;
    for (token, flights) in (0_u64..).zip([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
        unless_stalled(Duration::from_secs(1), async || {
            let (status, body) = world.call(json!({"query": "count"})).await;
            if status == 200 { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
        world.wire().inject(Fault::cut(Direction::ToServer, After::Flights(flights), Cut::Rst).always());
        let sets: Vec<Value> = (0..3).map(|step| json!({"token": token, "step": step})).collect();
        let (status, body) = world.call(json!({"batch": {"query": "note", "params": sets}})).await;
        world.wire().disarm();
        quiet(&world).await;
        let left = world.count(&format!("notes WHERE token = {token}"));
        match (status, body["error"]["code"].as_str()) {
            (200, None) => assert_eq!(left, 3, "{flights}"),
            (500, Some("outcome_unknown")) => assert!([0, 3].contains(&left), "{flights}: {left}"),
            (503, Some("connection_lost" | "unreachable")) => assert_eq!(left, 0, "{flights}"),
            other => panic!("{flights}: {other:?}"),
        }
    }
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine)
        .schema(if engine == Engine::Postgres { format!("{SCHEMA}{MEET}") } else { SCHEMA.into() })
        .queries(QUERIES)
}

/// Waits until nothing runs in the function's database any more, transactions that are being undone included: at most
/// one session is left, and it is idle.
async fn quiet(world: &World) {
    let busy =
        || match world.engine {
            Engine::Postgres => world.sql(
                "SELECT count(*) FILTER (WHERE state <> 'idle') = 0 AND count(*) <= 1 FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            ) != "t",
            _ => world.sessions() > 1 || world.running() > 0,
        };
    until("the end of what runs on the server", || !busy()).await;
}

const SCHEMA: &str = "
CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO numbers (id, n) VALUES (1, 1), (2, 2), (3, 3);
CREATE TABLE notes (token INTEGER NOT NULL, step INTEGER NOT NULL);
";

/// Waits for another transaction that has come this far: for three seconds, as after a conflict there is none.
const MEET: &str = "
CREATE FUNCTION meet() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    met integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7);
    FOR try IN 1..150 LOOP
        SELECT count(*) INTO met FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
            WHERE l.locktype = 'advisory' AND d.datname = current_database();
        EXIT WHEN met > 1;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN met;
END $$;
";

const QUERIES: &str = "
-- name: get :one
-- param: id int
SELECT id, n FROM numbers WHERE id = :id;

-- name: any :one
SELECT id, n FROM numbers;

-- name: from :many
-- param: n int
SELECT id, n FROM numbers WHERE n >= :n ORDER BY id;

-- name: count :one
SELECT count(*) AS n FROM numbers;

-- name: set :exec
-- param: id int
-- param: n int
UPDATE numbers SET n = :n WHERE id = :id;

-- name: add :exec
-- param: id int
INSERT INTO numbers (id, n) VALUES (:id, 0);

-- name: add_to :exec
-- param: id int
UPDATE numbers SET n = n + 1 WHERE id = :id;

-- name: note :exec
-- param: token int
-- param: step int
INSERT INTO notes (token, step) VALUES (:token, :step);

-- name: broken :many
SELECT nothing FROM nowhere;

-- name: tidy :exec
-- transaction: none
-- engine: postgres
VACUUM numbers;

-- name: tidy :exec
-- engine: mysql
ANALYZE TABLE numbers;

-- name: tidy :exec
-- transaction: none
-- engine: sqlite
VACUUM;

-- name: sleep :many
-- engine: postgres
-- timeout: 300ms
-- param: seconds float
SELECT 1 AS slept FROM pg_sleep(:seconds);

-- name: sleep :many
-- engine: mysql
-- timeout: 300ms
-- param: seconds float
SELECT 1 + SLEEP(:seconds) AS slept;

-- name: meet :one
-- engine: postgres
SELECT meet() AS met;
";
