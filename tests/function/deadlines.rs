//! What takes too long, and what breaks: between calls and in the middle of one. A caller gets an answer before the
//! invocation's deadline, and sees nothing of what a fresh session can mend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lambda_rds_testbed::{After, Cut, Direction, Fault, Outcome, Postgres, Stop, Unanswered, unless_stalled};
use serde_json::{Value, json};

use crate::world::{CANCEL, Engine, Setup, World, last_log, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    a_query_over_its_time_is_stopped_on_the_server_within_200_ms,
    a_write_that_waits_before_its_transaction_is_stopped_in_its_time,
    the_configured_query_timeout_holds_for_queries_without_one,
    the_invocations_deadline_less_the_reserve_wins,
    silence_while_connecting_is_answered_in_time_and_names_the_phase,
    a_port_where_nobody_answers,
    a_refused_port_and_an_unknown_name_are_told_at_once,
    silence_during_a_query_is_answered_in_time,
    a_busy_server_is_waited_for_inside_the_deadline,
    a_session_that_was_killed_between_calls,
    a_session_that_was_idle_for_too_long,
    a_connection_that_was_cut_between_calls,
    a_server_that_was_restarted_between_calls_and_while_the_function_was_frozen,
    a_write_that_is_cut_before_commit_runs_again_and_is_applied_once,
    a_write_whose_commit_is_cut_is_never_run_again,
    a_commit_without_an_answer_is_an_unknown_outcome_in_time,
    a_read_that_is_cut_runs_again_once,
);

// Silence and a port where nobody answers are those of all members there, and told as what they may be: see
// [`crate::silence`]. A restart is in [`crate::frozen`], one in order takes a cluster's writer as long as three failovers.
on_clusters!(
    a_query_over_its_time_is_stopped_on_the_server_within_200_ms,
    a_write_that_waits_before_its_transaction_is_stopped_in_its_time,
    the_configured_query_timeout_holds_for_queries_without_one,
    the_invocations_deadline_less_the_reserve_wins,
    a_refused_port_and_an_unknown_name_are_told_at_once,
    silence_during_a_query_is_answered_in_time,
    a_busy_server_is_waited_for_inside_the_deadline,
    a_session_that_was_killed_between_calls,
    a_session_that_was_idle_for_too_long,
    a_connection_that_was_cut_between_calls,
    a_write_that_is_cut_before_commit_runs_again_and_is_applied_once,
    a_write_whose_commit_is_cut_is_never_run_again,
    a_commit_without_an_answer_is_an_unknown_outcome_in_time,
    a_read_that_is_cut_runs_again_once,
);

const SCHEMA: &str = "CREATE TABLE marks (id INTEGER NOT NULL);\n";

/// MySQL's SLEEP in a condition: as a column it is 1 when the server's own limit ends it, and no error. That limit and ours
/// are the same, and either may be the first.
const QUERIES: &str = "
-- name: pid :one
-- engine: postgres
SELECT pg_backend_pid() AS pid;

-- name: pid :one
-- engine: mysql
SELECT CONNECTION_ID() AS pid;

-- name: nap :one
-- engine: postgres
-- param: seconds float
SELECT 1 AS x FROM pg_sleep(:seconds);

-- name: nap :one
-- engine: mysql
-- param: seconds float
SELECT 1 AS x FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(:seconds) = 0 LIMIT 1;

-- name: short_nap :one
-- engine: postgres
-- timeout: 300ms
SELECT 1 AS x FROM pg_sleep(60);

-- name: short_nap :one
-- engine: mysql
-- timeout: 300ms
SELECT 1 AS x FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(60) = 0 LIMIT 1;

-- name: mark :exec
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: slow_mark :one
-- engine: postgres
-- write
-- timeout: 300ms
WITH marked AS (INSERT INTO marks (id) VALUES (1) RETURNING id) SELECT id FROM marked, pg_sleep(60);

-- name: slow_mark :exec
-- engine: mysql
-- timeout: 300ms
INSERT INTO marks (id) VALUES (1), (SLEEP(60));

-- name: label :exec
-- timeout: 300ms
-- param: label text
UPDATE labels SET label = :label;
";

fn setup(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES).timeout(Duration::from_secs(60))
}

/// A server that keeps a record of what it runs, and for how long.
fn traced(engine: Engine) -> Setup {
    match engine.plain() {
        Engine::Postgres => setup(engine).schema(format!(
            "{SCHEMA}
             RESET ROLE;
             DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET log_statement = ''all''', current_database());
             END $$;"
        )),
        _ => setup(engine).own_server().schema(format!(
            "{SCHEMA}SET GLOBAL log_output = 'TABLE', long_query_time = 0, slow_query_log = ON;"
        )),
    }
}

/// For how many milliseconds a process of the server ran its statement with the sleep of a minute, once *we* have had it
/// stopped; `kills` is the count from before. By the server's own clock, for ours may be late for many reasons on a busy
/// machine; and by its own word for why, for its limit for statements ends them, too.
async fn stopped(world: &World, process: u64, kills: u64) -> Result<u64, String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let ran = match world.engine.plain() {
            Engine::Postgres => {
                let log = world.server_log();
                let process = format!("[{process}]");
                let find = |word: &str, text: &str| {
                    let wanted = |line: &&str| [&process, word, text].iter().all(|part| line.contains(part));
                    log.lines().rfind(wanted)
                };
                const DAY: u64 = 24 * 60 * 60 * 1000;
                find("ERROR:", "").map(|stopped| {
                    assert!(stopped.contains("canceling statement due to user request"), "{stopped}");
                    (millis(stopped) + DAY - millis(find("LOG:", "pg_sleep(60)").unwrap())) % DAY
                })
            }
            _ => {
                // Not by TIME_TO_SEC, in which MariaDB has the fraction, too.
                let ran = world.sql(&format!(
                    "SELECT (60 * MINUTE(query_time) + SECOND(query_time)) * 1000 + MICROSECOND(query_time) DIV 1000
                     FROM mysql.slow_log WHERE thread_id = {process} AND sql_text LIKE '%SLEEP(60)%'
                     ORDER BY start_time, query_time"
                ));
                let ran = ran.parse().ok();
                if ran.is_some() {
                    assert_eq!(world.kills() - kills, 1, "what has ended it was no KILL QUERY");
                }
                ran
            }
        };
        if let Some(ran) = ran {
            return Ok(ran);
        }
        if Instant::now() > end {
            return Err("it runs on".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A function whose calls may be impatient; the others have the time that they need.
fn impatient(engine: Engine) -> Setup {
    setup(engine).env("DB_CONNECT_AT", "first-use")
}

/// The time of a call that is impatient.
const IMPATIENT: Duration = Duration::from_secs(2);
/// What of it is reserved: a machine that stalls for a part of it may be late.
const RESERVE: Duration = Duration::from_millis(250);
/// That an answer came before the deadline.
fn in_time(outcome: &Outcome) -> Result<(), String> {
    if outcome.elapsed < IMPATIENT { Ok(()) } else { Err(format!("{:?}", outcome.elapsed)) }
}

/// The server's limit for statements is longer than anybody here waits, so that what ends is what we have had stopped.
const NO_LIMIT: (&str, &str) = ("DB_QUERY_TIMEOUT", "600s");

fn marks(world: &World) -> u64 {
    world.count("marks")
}

fn code(outcome: &Outcome) -> (u64, String) {
    let (status, body) = outcome.reply().unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_else(|| panic!("no failure: {body}")).to_owned())
}

fn failure(status: u64, code: &str) -> (u64, String) {
    (status, code.to_owned())
}

/// The time of day of a line of PostgreSQL's log, in milliseconds: `2026-01-31 13:37:00.123 UTC [pid] …`.
fn millis(line: &str) -> u64 {
    let digits: Vec<u64> = line[11..23].split([':', '.']).map(|part| part.parse().unwrap()).collect();
    ((digits[0] * 60 + digits[1]) * 60 + digits[2]) * 1000 + digits[3]
}

async fn a_query_over_its_time_is_stopped_on_the_server_within_200_ms(engine: Engine) {
    let world = traced(engine).start().await;
    for query in ["short_nap", "slow_mark"] {
        unless_stalled(CANCEL, async || {
            // A process of its own for each attempt, so that the record is of this one.
            world.hang_up();
            let pid = world.rows("pid", json!({})).await["pid"].as_u64().unwrap();
            let kills = if engine.plain() == Engine::Postgres { 0 } else { world.kills() };
            let outcome = world.invoke(json!({"query": query})).await;
            assert_eq!(code(&outcome), failure(504, "timeout"));
            let ran = stopped(&world, pid, kills).await;
            // Its session has heard of it in time, and goes on, or is closed; nothing is open on the server either way.
            let at_rest = world.at_rest().await;
            // The timeout, of which preparing takes a part, and 200 ms.
            match ran? {
                150..500 => at_rest,
                ran => Err(format!("{query} ran for {ran} ms")),
            }
        })
        .await;
    }
    assert_eq!(marks(&world), 0, "a write that timed out is undone");
}

/// Before a write's first statement there may be a round trip that looks at its tables, and so waits for one that is
/// locked: on PostgreSQL it learns what a text is taken for, on MySQL it prepares the statement.
async fn a_write_that_waits_before_its_transaction_is_stopped_in_its_time(engine: Engine) {
    let setup = setup(engine).env(NO_LIMIT.0, NO_LIMIT.1);
    let world = setup.schema("CREATE TABLE labels (label TEXT NOT NULL);").start().await;
    unless_stalled(CANCEL, async || {
        // For longer than is waited for the end of what waits for it.
        let holder = world.meanwhile(match engine.plain() {
            Engine::Postgres => "BEGIN; LOCK TABLE labels IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(100)",
            _ => "LOCK TABLES labels WRITE;\nSELECT SLEEP(100)",
        });
        until("the lock", || world.anybody_running("sleep(100)") == 1).await;
        let outcome = world.invoke(json!({"query": "label", "params": {"label": "x"}})).await;
        assert_eq!(code(&outcome), failure(504, "timeout"));
        let at_rest = world.at_rest().await;
        world.hang_up();
        assert!(!holder.join().unwrap(), "it was to hold the lock for longer");
        // Its 300 ms, what a cancel may take, and what the invocation is beside that.
        let in_time = outcome.elapsed < Duration::from_millis(300) + 2 * CANCEL;
        if in_time { at_rest } else { Err(format!("{:?}", outcome.elapsed)) }
    })
    .await;
}

async fn the_configured_query_timeout_holds_for_queries_without_one(engine: Engine) {
    let world = setup(engine).env("DB_QUERY_TIMEOUT", "300ms").start().await;
    unless_stalled(CANCEL, async || {
        let outcome = world.invoke(json!({"query": "nap", "params": {"seconds": 60}})).await;
        assert_eq!(code(&outcome), failure(504, "timeout"));
        assert_eq!(world.last_log(&outcome.request_id).await["phase"], "query");
        let in_time = outcome.elapsed < Duration::from_millis(300) + 2 * CANCEL;
        if in_time { Ok(()) } else { Err(format!("{:?}", outcome.elapsed)) }
    })
    .await;
    assert_eq!(world.rows("nap", json!({"seconds": 0})).await, json!({"x": 1}));
}

async fn the_invocations_deadline_less_the_reserve_wins(engine: Engine) {
    let world = impatient(engine).env(NO_LIMIT.0, NO_LIMIT.1).start().await;
    unless_stalled(CANCEL, async || {
        let outcome =
            world.invoke_within(IMPATIENT, json!({"query": "nap", "params": {"seconds": 600}})).await;
        assert_eq!(code(&outcome), failure(504, "timeout"));
        in_time(&outcome)?;
        world.at_rest().await
    })
    .await;
}

/// The call ends before the deadline, unreachable in this phase, and the log says why.
async fn unreachable(world: &World, phase: &str, says: &str) {
    unless_stalled(RESERVE, async || {
        let outcome = world.invoke_within(IMPATIENT, json!({"query": "pid"})).await;
        let log = world.last_log(&outcome.request_id).await;
        in_time(&outcome)?;
        if log["phase"] != phase || !log["detail"].as_str().unwrap().contains(says) {
            return Err(format!("not {phase} with `{says}`: {log}"));
        }
        assert_eq!(code(&outcome), failure(503, "unreachable"), "{log}");
        Ok(())
    })
    .await;
}

async fn silence_while_connecting_is_answered_in_time_and_names_the_phase(engine: Engine) {
    let phases: &[&str] = match engine {
        // The server's answers: to the TLS request, the client's hello, the startup message, and SCRAM's two.
        Engine::Postgres => &["tls", "tls", "auth", "auth", "auth"],
        // Its greeting, and its answers to the client's hello, the login, the password, which it wants to see once,
        // and the settings.
        Engine::Mysql => &["tls", "tls", "auth", "auth", "ready"],
        _ => &["tls", "tls", "auth", "ready"],
    };
    let all = (0_u64..).zip(phases).map(async |(answer, phase)| {
        let world = impatient(engine).start().await;
        world.wire().inject(Fault::stall(Direction::ToClient, After::Flights(answer)).always());
        unreachable(&world, phase, "did not").await;
        world.wire().disarm();
        world.rows("pid", json!({})).await;
    });
    join_all(all).await;
}

async fn a_port_where_nobody_answers(engine: Engine) {
    let hole = Unanswered::start().await.unwrap();
    let port = hole.address().unwrap().port();
    let world = impatient(engine).env("DB_PORT", port.to_string()).start().await;
    unreachable(&world, "tcp", "security groups").await;
}

async fn a_refused_port_and_an_unknown_name_are_told_at_once(engine: Engine) {
    let world = impatient(engine).start().await;
    for wire in world.wires() {
        wire.refuse().await.unwrap();
    }
    unreachable(&world, "tcp", "refuses connections").await;
    for wire in world.wires() {
        wire.accept().await.unwrap();
    }
    world.rows("pid", json!({})).await;

    let mut setup = impatient(engine).env("DB_HOST", "no-such-host.invalid");
    if engine != engine.plain() {
        // Else a reader tells who the members are.
        setup = setup.env("DB_READER_HOST", "no-such-host.invalid");
    }
    let world = setup.start().await;
    unreachable(&world, "resolve", "no-such-host.invalid").await;
}

async fn silence_during_a_query_is_answered_in_time(engine: Engine) {
    let all = ["pid", "mark"].map(async |query| {
        let world = impatient(engine).start().await;
        unless_stalled(RESERVE, async || {
            world.rows("pid", json!({})).await;
            world.rows("mark", json!({"id": 1})).await;
            world.wire().black_hole();
            let params = if query == "mark" { json!({"id": 2}) } else { json!({}) };
            let event = json!({"query": query, "params": params});
            let outcome = world.invoke_within(IMPATIENT, event).await;
            world.wire().flow();
            assert_eq!(code(&outcome), failure(504, "timeout"));
            assert_eq!(world.last_log(&outcome.request_id).await["phase"], "query");
            world.rows("pid", json!({})).await;
            assert_eq!(world.count("marks WHERE id = 2"), 0);
            in_time(&outcome)
        })
        .await;
    });
    join_all(all).await;
}

async fn a_busy_server_is_waited_for_inside_the_deadline(engine: Engine) {
    let world = setup(engine).start().await;
    world.one_session().await;
    world.rows("pid", json!({})).await;
    let clustered = engine != engine.plain();
    // There a writer that has not answered by then may be gone.
    let limit = Duration::from_secs(if clustered { 3 } else { 1 });
    // A read would be given a reader.
    let event =
        if clustered { json!({"query": "mark", "params": {"id": 1}}) } else { json!({"query": "pid"}) };
    let text = format!("{}s", limit.as_secs());
    let waiter = world.another_with(&[("DB_CONNECT_AT", "first-use"), ("DB_CONNECT_TIMEOUT", &text)]).await;
    unless_stalled(limit, async || {
        let outcome = waiter.invoke(event.clone()).await.unwrap();
        let log = last_log(&waiter, &outcome.request_id).await;
        // The search for the writer asks again by itself, which is one try.
        let tried = clustered || log["retries"].as_u64().unwrap() >= 2;
        if code(&outcome) != failure(503, "database_busy") || !tried {
            return Err(log.to_string());
        }
        assert_eq!(outcome.json().unwrap()["headers"]["retry-after"], "1");
        assert_eq!(log["sqlstate"], if engine.plain() == Engine::Postgres { "53300" } else { "1226" });
        Ok(())
    })
    .await;

    let waiter = world.another_with(&[("DB_CONNECT_AT", "first-use"), ("DB_CONNECT_TIMEOUT", "50s")]).await;
    let before = world.wire().connections();
    let free = async {
        until("a second try", || world.wire().connections() >= before + 2).await;
        world.function.kill().unwrap();
    };
    let (outcome, ()) = tokio::join!(waiter.invoke(event), free);
    assert_eq!(outcome.unwrap().reply().unwrap().0, 200);
}

/// Of PostgreSQL alone, which goes on answering while it stops and starts. MySQL closes its port first and opens it
/// last: to us that is a refused one.
#[tokio::test]
async fn a_server_on_its_way_down_and_up_is_waited_for_inside_the_deadline() {
    let server = Arc::new(Postgres::start().unwrap());
    let holder = setup(Engine::Postgres).on(&server).start().await;
    let waiter = |limit| {
        let setup = setup(Engine::Postgres).on(&server).env("DB_CONNECT_AT", "first-use");
        setup.env("DB_CONNECT_TIMEOUT", limit)
    };
    let (hasty, patient) = (waiter("1s").start().await, waiter("50s").start().await);
    // A smart stop waits for the one who is in, and refuses everybody else with 57P03.
    let stopping = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.stop(Stop::Smart).unwrap())
    };
    until("the stop", || server.log().unwrap().contains("received smart shutdown request")).await;

    unless_stalled(Duration::from_secs(1), async || {
        let outcome = hasty.invoke(json!({"query": "pid"})).await;
        let log = hasty.last_log(&outcome.request_id).await;
        if log["sqlstate"] != "57P03" {
            return Err(log.to_string());
        }
        assert_eq!(code(&outcome), failure(503, "database_unavailable"), "{log}");
        Ok(())
    })
    .await;

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
        assert_eq!(marks(world), u64::from(query == "mark"));
    }
}

async fn a_session_that_was_killed_between_calls(engine: Engine) {
    let world = setup(engine).start().await;
    unnoticed(&world, async || {
        world.hang_up();
        until("the end of the session", || world.sessions() == 0).await;
    })
    .await;
}

async fn a_session_that_was_idle_for_too_long(engine: Engine) {
    let setup = match engine.plain() {
        Engine::Postgres => setup(engine).schema(format!(
            "{SCHEMA}
             RESET ROLE;
             DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = ''2s''', current_database());
             END $$;"
        )),
        _ => setup(engine).own_server().schema(format!("{SCHEMA}SET GLOBAL wait_timeout = 1;")),
    };
    let world = setup.start().await;
    unnoticed(&world, async || until("the end of the session", || world.sessions() == 0).await).await;
}

async fn a_connection_that_was_cut_between_calls(engine: Engine) {
    let world = setup(engine).start().await;
    for cut in [Cut::Fin, Cut::Rst] {
        unnoticed(&world, async || {
            world.wire().cut(cut);
            until("the cut", || world.wire().open_connections() == 0 || world.sessions() == 0).await;
        })
        .await;
    }
}

async fn a_server_that_was_restarted_between_calls_and_while_the_function_was_frozen(engine: Engine) {
    let world = setup(engine).own_server().start().await;
    unnoticed(&world, async || world.restart()).await;
    unnoticed(&world, async || {
        world.function.pause().unwrap();
        world.restart();
        world.function.resume().unwrap();
    })
    .await;
}

/// A function that has run a write, so that the next one is as few flights as may be; the last of them is COMMIT.
async fn warm(engine: Engine) -> World {
    let world = setup(engine).start().await;
    world.rows("mark", json!({"id": 1})).await;
    world.sql("TRUNCATE marks");
    world.wire().reset();
    world
}

async fn a_write_that_is_cut_before_commit_runs_again_and_is_applied_once(engine: Engine) {
    let world = warm(engine).await;
    let mut written = 0;
    for cut in [Cut::Fin, Cut::Rst] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            for flight in 0..engine.flights_of_a_write() - 1 {
                world.wire().inject(Fault::cut(direction, After::Flights(flight), cut));
                let outcome = world.invoke(json!({"query": "mark", "params": {"id": written}})).await;
                let at = format!("{cut:?} {direction:?} {flight}");
                assert_eq!(outcome.reply().unwrap(), (200, json!({"rowsAffected": 1})), "{at}");
                assert_eq!(world.last_log(&outcome.request_id).await["retries"], 1, "{at}");
                written += 1;
                assert_eq!(marks(&world), written, "{at}");
                // Prepared again on the new session.
                world.rows("mark", json!({"id": -1})).await;
                world.sql("DELETE FROM marks WHERE id = -1");
            }
        }
    }
}

async fn a_write_whose_commit_is_cut_is_never_run_again(engine: Engine) {
    let world = warm(engine).await;
    for cut in [Cut::Fin, Cut::Rst] {
        for (direction, applied) in [(Direction::ToServer, 0), (Direction::ToClient, 1)] {
            world.wire().inject(Fault::cut(direction, After::Flights(engine.flights_of_a_write() - 1), cut));
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

async fn a_commit_without_an_answer_is_an_unknown_outcome_in_time(engine: Engine) {
    let world = impatient(engine).start().await;
    unless_stalled(RESERVE, async || {
        world.sql("TRUNCATE marks");
        world.rows("mark", json!({"id": 1})).await;
        world
            .wire()
            .inject(Fault::stall(Direction::ToClient, After::Flights(engine.flights_of_a_write() - 1)));
        let outcome = world.invoke_within(IMPATIENT, json!({"query": "mark", "params": {"id": 1}})).await;
        assert_eq!(code(&outcome), failure(500, "outcome_unknown"));
        assert_eq!(marks(&world), 2);
        in_time(&outcome)
    })
    .await;
}

async fn a_read_that_is_cut_runs_again_once(engine: Engine) {
    let world = setup(engine).start().await;
    let one: Value = json!({"x": 1});
    for direction in [Direction::ToServer, Direction::ToClient] {
        assert_eq!(world.rows("nap", json!({"seconds": 0})).await, one);
        world.wire().inject(Fault::cut(direction, After::Flights(0), Cut::Rst));
        assert_eq!(world.rows("nap", json!({"seconds": 0})).await, one);
    }
    // Twice in one call is once too often. In a cluster a new session is first asked what its server is.
    let asked = u64::from(engine != engine.plain());
    let connected = After::Flights(engine.answers_to_a_connect() + asked);
    for wire in world.wires() {
        wire.inject(Fault::cut(Direction::ToClient, connected, Cut::Rst).always());
    }
    world.wire().cut(Cut::Rst);
    assert_eq!(world.failure("nap", json!({"seconds": 0})).await, failure(503, "connection_lost"));
}
