//! What takes too long, and what breaks: between calls and in the middle of one. A caller gets an answer before the
//! invocation's deadline, and sees nothing of what a fresh session can mend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_rds_testbed::{After, Cut, Direction, Fault, Outcome, Postgres, Stop, Unanswered};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Engine, Setup, World};

const SCHEMA: &str = "CREATE TABLE marks (id INTEGER NOT NULL);";

const QUERIES: &str = "
-- name: pid :one
SELECT pg_backend_pid() AS pid;

-- name: nap :one
-- param: seconds float
SELECT 1 AS x FROM pg_sleep(:seconds);

-- name: short_nap :one
-- timeout: 300ms
SELECT 1 AS x FROM pg_sleep(60);

-- name: mark :exec
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: slow_mark :one
-- write
-- timeout: 300ms
WITH marked AS (INSERT INTO marks (id) VALUES (1) RETURNING id) SELECT id FROM marked, pg_sleep(60);
";

/// Every session of the database logs its statements, and is ended when idle for longer than this.
fn traced(idle_limit: &str) -> String {
    format!(
        "{SCHEMA}
         RESET ROLE;
         DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET log_statement = ''all''', current_database());
             EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = ''{idle_limit}''', current_database());
         END $$;"
    )
}

fn setup() -> Setup {
    Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES)
}

/// A function with a second for its work, and another until its deadline: a busy machine is late by itself.
fn impatient() -> Setup {
    let setup = setup().timeout(IMPATIENT).env("DB_CONNECT_AT", "first-use");
    setup.env("DB_DEADLINE_RESERVE", "1s")
}

const IMPATIENT: Duration = Duration::from_secs(2);

fn server(config: &[(&str, &str)]) -> Arc<Postgres> {
    Arc::new(Postgres::builder().config(config).start().unwrap())
}

/// Waits for a condition; generous, for machines are busy.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The sessions of the function's role that the server has, busy or not.
fn sessions(world: &World) -> String {
    let user = &world.database().user;
    world.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}'"))
}

fn marks(world: &World) -> String {
    world.sql("SELECT count(*) FROM marks")
}

fn code(outcome: &Outcome) -> (u64, String) {
    let (status, body) = outcome.reply().unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_else(|| panic!("no failure: {body}")).to_owned())
}

fn failure(status: u64, code: &str) -> (u64, String) {
    (status, code.to_owned())
}

/// The time of day of a line of the server's log, in milliseconds: `2026-01-31 13:37:00.123 UTC [pid] …`.
fn millis(line: &str) -> u64 {
    let digits: Vec<u64> = line[11..23].split([':', '.']).map(|part| part.parse().unwrap()).collect();
    ((digits[0] * 60 + digits[1]) * 60 + digits[2]) * 1000 + digits[3]
}

#[tokio::test]
async fn a_query_over_its_time_is_stopped_on_the_server_within_200_ms() {
    let world = setup().schema(traced("0")).start().await;
    for query in ["short_nap", "slow_mark"] {
        let pid = world.rows("pid", json!({})).await["pid"].clone();
        let outcome = world.invoke(json!({"query": query})).await;
        assert_eq!(code(&outcome), failure(504, "timeout"));
        // The server's own clock: ours may be late for many reasons on a busy machine.
        let process = format!("[{pid}]");
        let process = process.as_str();
        let find = |word: &str, text: &str| {
            let log = world.server().log().unwrap();
            let wanted = |line: &&str| [process, word, text].iter().all(|part| line.contains(part));
            log.lines().rfind(wanted).map(millis)
        };
        let stopped = || find("ERROR:", "canceling statement due to user request");
        until("the end of the statement", || stopped().is_some()).await;
        let (started, stopped) = (find("LOG:", "pg_sleep(60)").unwrap(), stopped().unwrap());
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let ran = (stopped + DAY - started) % DAY;
        // The timeout and 200 ms; and as much again for a timer that is late because the machine is busy.
        assert!((300..700).contains(&ran), "{query} ran for {ran} ms");
        until("the end of its session", || sessions(&world) == "0").await;
    }
    assert_eq!(marks(&world), "0", "a write that timed out is undone");
}

/// Before a write's transaction there is a round trip that learns what a text is taken for, and it may wait too.
#[tokio::test]
async fn a_write_that_waits_before_its_transaction_is_stopped_in_its_time() {
    let queries = "-- name: label :exec\n-- timeout: 300ms\n-- param: label text\n\
                   UPDATE labels SET label = :label;\n";
    let schema = "CREATE TABLE labels (label TEXT NOT NULL);";
    let world = setup().schema(schema).queries(queries).start().await;
    let name = world.database().name.clone();
    let holder = std::thread::spawn(move || {
        let script = "BEGIN; LOCK TABLE labels IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
        // Ended by the test, in whatever way psql tells of that.
        drop(crate::world::postgres().psql(&name, script));
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE ";
    until("the lock", || world.sql(&format!("{waiting}'%pg_sleep(60)%' AND state = 'active'")) != "0").await;
    let outcome = world.invoke(json!({"query": "label", "params": {"label": "x"}})).await;
    assert_eq!(code(&outcome), failure(504, "timeout"));
    // Far from DB_QUERY_TIMEOUT, however busy the machine.
    assert!(outcome.elapsed < Duration::from_secs(5), "{:?}", outcome.elapsed);
    until("the end of its session", || sessions(&world) == "0").await;
    let holders = "datname = current_database() AND pid <> pg_backend_pid()";
    world.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {holders}"));
    holder.join().unwrap();
}

#[tokio::test]
async fn the_configured_query_timeout_holds_for_queries_without_one() {
    let world = setup().env("DB_QUERY_TIMEOUT", "300ms").start().await;
    let outcome = world.invoke(json!({"query": "nap", "params": {"seconds": 60}})).await;
    assert_eq!(code(&outcome), failure(504, "timeout"));
    assert_eq!(world.last_log(&outcome.request_id).await["phase"], "query");
    assert_eq!(world.rows("nap", json!({"seconds": 0})).await, json!({"x": 1}));
}

#[tokio::test]
async fn the_invocations_deadline_less_the_reserve_wins() {
    let world = impatient().start().await;
    let outcome = world.invoke(json!({"query": "nap", "params": {"seconds": 60}})).await;
    assert_eq!(code(&outcome), failure(504, "timeout"));
    assert!(outcome.elapsed < IMPATIENT, "{:?}", outcome.elapsed);
    until("the end of its session", || sessions(&world) == "0").await;
}

/// The call ends before the deadline, unreachable in this phase; gives the log's detail.
async fn unreachable(world: &World, phase: &str) -> String {
    let outcome = world.invoke(json!({"query": "pid"})).await;
    let log = world.last_log(&outcome.request_id).await;
    assert_eq!(code(&outcome), failure(503, "unreachable"), "{log}");
    assert_eq!(log["phase"], phase, "{log}");
    assert!(outcome.elapsed < IMPATIENT, "{:?}", outcome.elapsed);
    log["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn silence_while_connecting_is_answered_in_time_and_names_the_phase() {
    let mut all = JoinSet::new();
    // The server's answers: to the TLS request, the client's hello, the startup message, and SCRAM's two.
    for (answer, phase) in ["tls", "tls", "auth", "auth", "auth"].into_iter().enumerate() {
        let world = impatient().start().await;
        all.spawn(async move {
            world.wire().inject(Fault::stall(Direction::ToClient, After::Flights(answer as u64)).always());
            let detail = unreachable(&world, phase).await;
            assert!(detail.contains("did not answer"), "{detail}");
            world.wire().disarm();
            world.rows("pid", json!({})).await;
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn a_port_where_nobody_answers() {
    let hole = Unanswered::start().await.unwrap();
    let port = hole.address().unwrap().port();
    let world = impatient().env("DB_PORT", port.to_string()).start().await;
    let detail = unreachable(&world, "tcp").await;
    assert!(detail.contains("security groups"), "{detail}");
}

#[tokio::test]
async fn a_refused_port_and_an_unknown_name_are_told_at_once() {
    let world = impatient().start().await;
    world.wire().refuse().await.unwrap();
    let detail = unreachable(&world, "tcp").await;
    assert!(detail.contains("refuses connections"), "{detail}");
    world.wire().accept().await.unwrap();
    world.rows("pid", json!({})).await;

    let world = impatient().env("DB_HOST", "no-such-host.invalid").start().await;
    let detail = unreachable(&world, "resolve").await;
    assert!(detail.contains("no-such-host.invalid"), "{detail}");
}

#[tokio::test]
async fn silence_during_a_query_is_answered_in_time() {
    let mut all = JoinSet::new();
    for query in ["pid", "mark"] {
        let world = impatient().start().await;
        all.spawn(async move {
            world.rows("pid", json!({})).await;
            world.rows("mark", json!({"id": 1})).await;
            world.wire().black_hole();
            let params = if query == "mark" { json!({"id": 2}) } else { json!({}) };
            let outcome = world.invoke(json!({"query": query, "params": params})).await;
            assert_eq!(code(&outcome), failure(504, "timeout"));
            assert_eq!(world.last_log(&outcome.request_id).await["phase"], "query");
            assert!(outcome.elapsed < IMPATIENT, "{:?}", outcome.elapsed);
            world.wire().flow();
            world.rows("pid", json!({})).await;
            assert_eq!(world.sql("SELECT count(*) FROM marks WHERE id = 2"), "0");
        });
    }
    all.join_all().await;
}

#[tokio::test]
async fn a_busy_server_is_waited_for_inside_the_deadline() {
    // One place beside the superuser's.
    let server = server(&[("max_connections", "4"), ("superuser_reserved_connections", "3")]);
    let holder = setup().on(&server).start().await;
    let waiter = setup().on(&server).env("DB_CONNECT_AT", "first-use").env("DB_CONNECT_TIMEOUT", "1s");
    let waiter = waiter.start().await;
    let outcome = waiter.invoke(json!({"query": "pid"})).await;
    assert_eq!(code(&outcome), failure(503, "database_busy"));
    assert_eq!(outcome.json().unwrap()["headers"]["retry-after"], "1");
    let log = waiter.last_log(&outcome.request_id).await;
    assert_eq!(log["sqlstate"], "53300");
    assert!(log["retries"].as_u64().unwrap() >= 2, "{log}");
    drop(waiter);

    let waiter = setup().on(&server).env("DB_CONNECT_AT", "first-use").env("DB_CONNECT_TIMEOUT", "20s");
    let waiter = waiter.start().await;
    let free = async {
        until("a second try", || waiter.wire().connections() >= 2).await;
        drop(holder);
    };
    let (outcome, ()) = tokio::join!(waiter.invoke(json!({"query": "pid"})), free);
    assert_eq!(outcome.reply().unwrap().0, 200);
}

#[tokio::test]
async fn a_server_on_its_way_down_and_up_is_waited_for_inside_the_deadline() {
    let server = server(&[]);
    let holder = setup().on(&server).start().await;
    let waiter = |limit| {
        let setup = setup().on(&server).env("DB_CONNECT_AT", "first-use");
        setup.env("DB_CONNECT_TIMEOUT", limit)
    };
    let (hasty, patient) = (waiter("1s").start().await, waiter("25s").start().await);
    // A smart stop waits for the one who is in, and refuses everybody else with 57P03.
    let stopping = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.stop(Stop::Smart).unwrap())
    };
    until("the stop", || server.log().unwrap().contains("received smart shutdown request")).await;

    let outcome = hasty.invoke(json!({"query": "pid"})).await;
    assert_eq!(code(&outcome), failure(503, "database_unavailable"));
    assert_eq!(hasty.last_log(&outcome.request_id).await["sqlstate"], "57P03");

    let restart = async {
        until("a second try", || patient.wire().connections() >= 2).await;
        drop(holder);
        let server = Arc::clone(&server);
        let restarting = tokio::task::spawn_blocking(move || {
            stopping.join().unwrap();
            server.start_again().unwrap();
        });
        restarting.await.unwrap();
    };
    let (outcome, ()) = tokio::join!(patient.invoke(json!({"query": "pid"})), restart);
    assert_eq!(outcome.reply().unwrap().0, 200, "{:?}", outcome.answer);
}

/// Each way to lose the session between two calls: the next read and the next write work all the same, on one new
/// connection each.
async fn unnoticed(world: &World, lose: impl AsyncFn()) {
    for query in ["pid", "mark"] {
        // Warm, and prepared.
        world.rows("pid", json!({})).await;
        world.rows("mark", json!({"id": 1})).await;
        world.sql("TRUNCATE marks");
        let connections = world.wire().connections();
        lose().await;
        let params = if query == "mark" { json!({"id": 2}) } else { json!({}) };
        world.rows(query, params).await;
        assert_eq!(world.wire().connections(), connections + 1);
        assert_eq!(marks(world), if query == "mark" { "1" } else { "0" });
    }
}

#[tokio::test]
async fn a_session_that_was_killed_between_calls() {
    let world = setup().start().await;
    unnoticed(&world, async || {
        let user = &world.database().user;
        world
            .sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"));
        until("the end of the session", || sessions(&world) == "0").await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_idle_for_too_long() {
    let world = setup().schema(traced("500ms")).start().await;
    unnoticed(&world, async || until("the end of the session", || sessions(&world) == "0").await).await;
}

#[tokio::test]
async fn a_connection_that_was_cut_between_calls() {
    let world = setup().start().await;
    for cut in [Cut::Fin, Cut::Rst] {
        unnoticed(&world, async || {
            world.wire().cut(cut);
            until("the cut", || world.wire().open_connections() == 0 || sessions(&world) == "0").await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_between_calls_and_while_the_function_was_frozen() {
    let server = server(&[]);
    let world = setup().on(&server).start().await;
    unnoticed(&world, async || server.restart().unwrap()).await;
    unnoticed(&world, async || {
        world.function.pause().unwrap();
        server.restart().unwrap();
        world.function.resume().unwrap();
    })
    .await;
}

/// A function that has run a write, so that the next one is three flights: BEGIN, INSERT, COMMIT.
async fn warm() -> World {
    let world = setup().start().await;
    world.rows("mark", json!({"id": 1})).await;
    world.sql("TRUNCATE marks");
    world.wire().reset();
    world
}

#[tokio::test]
async fn a_write_that_is_cut_before_commit_runs_again_and_is_applied_once() {
    let world = warm().await;
    let mut written = 0;
    for cut in [Cut::Fin, Cut::Rst] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            for flight in 0..2 {
                world.wire().inject(Fault::cut(direction, After::Flights(flight), cut));
                let outcome = world.invoke(json!({"query": "mark", "params": {"id": written}})).await;
                let at = format!("{cut:?} {direction:?} {flight}");
                assert_eq!(outcome.reply().unwrap(), (200, json!({"rowsAffected": 1})), "{at}");
                assert_eq!(world.last_log(&outcome.request_id).await["retries"], 1, "{at}");
                written += 1;
                assert_eq!(marks(&world), written.to_string(), "{at}");
                // Prepared again on the new session.
                world.rows("mark", json!({"id": -1})).await;
                world.sql("DELETE FROM marks WHERE id = -1");
            }
        }
    }
}

#[tokio::test]
async fn a_write_whose_commit_is_cut_is_never_run_again() {
    let world = warm().await;
    for cut in [Cut::Fin, Cut::Rst] {
        for (direction, applied) in [(Direction::ToServer, "0"), (Direction::ToClient, "1")] {
            world.wire().inject(Fault::cut(direction, After::Flights(2), cut));
            let outcome = world.invoke(json!({"query": "mark", "params": {"id": 1}})).await;
            let at = format!("{cut:?} {direction:?}");
            let (status, body) = outcome.reply().unwrap();
            let error = &body["error"];
            assert_eq!((status, &error["code"]), (500, &json!("outcome_unknown")), "{at}");
            assert_eq!(error["retryable"], false);
            assert_eq!(world.last_log(&outcome.request_id).await["retries"], 0, "{at}");
            assert_eq!(marks(&world), applied, "{at}");
            world.rows("mark", json!({"id": 1})).await;
            world.sql("TRUNCATE marks");
        }
    }
}

#[tokio::test]
async fn a_commit_without_an_answer_is_an_unknown_outcome_in_time() {
    let world = impatient().start().await;
    world.rows("mark", json!({"id": 1})).await;
    world.wire().inject(Fault::stall(Direction::ToClient, After::Flights(2)));
    let outcome = world.invoke(json!({"query": "mark", "params": {"id": 1}})).await;
    assert_eq!(code(&outcome), failure(500, "outcome_unknown"));
    assert!(outcome.elapsed < IMPATIENT, "{:?}", outcome.elapsed);
    assert_eq!(marks(&world), "2");
}

#[tokio::test]
async fn a_read_that_is_cut_runs_again_once() {
    let world = setup().start().await;
    let one: Value = json!({"x": 1});
    for direction in [Direction::ToServer, Direction::ToClient] {
        assert_eq!(world.rows("nap", json!({"seconds": 0})).await, one);
        world.wire().inject(Fault::cut(direction, After::Flights(0), Cut::Rst));
        assert_eq!(world.rows("nap", json!({"seconds": 0})).await, one);
    }
    // Twice in one call is once too often.
    world.wire().inject(Fault::cut(Direction::ToClient, After::Flights(5), Cut::Rst).always());
    world.wire().cut(Cut::Rst);
    assert_eq!(world.failure("nap", json!({"seconds": 0})).await, failure(503, "connection_lost"));
}
