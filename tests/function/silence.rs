//! Nobody answers: before a connection, while it is opened, under a statement. The caller is told before the
//! invocation's deadline, the log which phase it was, and what the server can still be told to stop is stopped.

use std::cell::Cell;
use std::time::{Duration, Instant};

use lambda_rds_testbed::{After, Direction, Fault, Function, Proxy, Unanswered, unless_stalled};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{CANCEL, Engine, Setup, last_log, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    where_nobody_answers,
    where_nobody_answers_and_the_processor_is_a_fourteenth,
    while_a_session_is_opened,
    under_a_statement_that_can_be_stopped,
    under_a_statement_that_cannot_be_stopped,
    a_server_that_reads_nothing_for_a_while_is_waited_for,
);
on_clusters!(
    where_nobody_answers,
    while_a_session_is_opened,
    under_a_statement_that_can_be_stopped,
    under_a_statement_that_cannot_be_stopped,
);

const SCHEMA: &str = "CREATE TABLE marks (id INTEGER NOT NULL);";

const QUERIES: &str = "
-- name: one :one
SELECT 1 AS x;

-- name: long :one
-- param: v text
SELECT length(:v) AS n;

-- name: mark :exec
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: slow :one
-- engine: postgres
-- timeout: 1s
SELECT 1 AS x FROM pg_sleep(60);

-- name: slow :one
-- engine: mysql
-- timeout: 1s
SELECT 1 AS x FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(60) = 0 LIMIT 1;

-- name: slow_mark :exec
-- engine: postgres
-- timeout: 1s
INSERT INTO marks (id) SELECT 1 FROM pg_sleep(60);

-- name: slow_mark :exec
-- engine: mysql
-- timeout: 1s
INSERT INTO marks (id) SELECT SLEEP(60);
";

/// The time of a call that meets silence, of which a second is for its work. The other calls have the time that they need.
const TIMEOUT: Duration = Duration::from_secs(4);
const WORK: Duration = Duration::from_secs(1);

fn setup(engine: Engine) -> Setup {
    let setup = Setup::new(engine).schema(SCHEMA).queries(QUERIES).timeout(Duration::from_secs(60));
    setup.env("DB_CONNECT_AT", "first-use").env("DB_DEADLINE_RESERVE", "3s")
}

async fn where_nobody_answers(engine: Engine) {
    let hole = Unanswered::start().await.unwrap();
    let world = setup(engine).start().await;
    let port = hole.address().unwrap().port().to_string();
    let function = world.another_with(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", &port)]).await;
    unless_stalled(WORK, async || {
        let (told, log) = ask(&function, "one", json!({})).await?;
        if (told.0, told.1.as_str(), log["phase"].as_str()) != (503, "unreachable", Some("tcp")) {
            return Err(log.to_string());
        }
        assert!(log["detail"].as_str().unwrap().contains("security groups"), "{log}");
        Ok(())
    })
    .await;
}

/// With 128 MB a function has 7 % of a processor: of each 100 ms the process runs 7.
async fn where_nobody_answers_and_the_processor_is_a_fourteenth(engine: Engine) {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let hole = Unanswered::start().await.unwrap();
    let port = hole.address().unwrap().port().to_string();
    // The reserve is the default.
    const RESERVE: Duration = Duration::from_millis(250);
    let world = Setup::new(engine).queries(QUERIES).schema(SCHEMA).timeout(TIMEOUT).start().await;
    let function = world.another_with(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", &port)]).await;
    let duty = async || {
        loop {
            function.pause().unwrap();
            tokio::time::sleep(Duration::from_millis(93)).await;
            function.resume().unwrap();
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    };
    // Of the reserve, which is what the processor's share leaves for being late, the machine may have taken a part.
    unless_stalled(RESERVE, async || {
        let asked = function.invoke(json!({"query": "one"}));
        let outcome = tokio::select! { outcome = asked => outcome.unwrap(), () = duty() => unreachable!() };
        function.resume().unwrap();
        assert_eq!(outcome.reply().unwrap().0, 503);
        if outcome.elapsed < TIMEOUT { Ok(()) } else { Err(format!("{:?}", outcome.elapsed)) }
    })
    .await;
}

/// The server falls silent at each of its answers in turn.
async fn while_a_session_is_opened(engine: Engine) {
    let world = setup(engine).start().await;
    world.rows("one", json!({})).await;
    // MySQL greets before anything is asked, and the last answers are those to the statement.
    let answers = world.wire().flights() + 1;
    let clustered = engine != engine.plain();
    unless_stalled(WORK, async || {
        let mut all = JoinSet::new();
        for answer in 0..answers {
            let wire = world.another_wire();
            for wire in wire.all() {
                wire.inject(Fault::stall(Direction::ToClient, After::Flights(answer)).always());
            }
            let function = world.another_with(&[("DB_PORT", &wire.to())]).await;
            all.spawn(async move {
                let asked = ask(&function, "one", json!({})).await;
                // Mended, without a restart.
                for wire in wire.all() {
                    wire.disarm();
                }
                let mended = function.invoke(json!({"query": "one"})).await.unwrap();
                assert_eq!(mended.reply().unwrap().0, 200, "{:?}", mended.answer);
                (answer, asked)
            });
        }
        let mut all = all.join_all().await;
        all.sort_unstable_by_key(|(answer, _)| *answer);
        let mut phases = Vec::new();
        for (answer, asked) in all {
            let (told, log) = asked?;
            let phase = log["phase"].as_str().unwrap_or_default();
            let expected = match phase {
                // Behind the last answer there is nothing to be silent about.
                "" if answer + 1 == answers => (200, ""),
                "query" => (504, "timeout"),
                // As an Aurora does that was paused: it accepts connections and says nothing.
                "tls" | "auth" | "ready" if clustered => (503, "resuming"),
                "tls" | "auth" | "ready" => (503, "unreachable"),
                _ => return Err(format!("answer {answer} of {answers}: {log}")),
            };
            assert_eq!((told.0, told.1.as_str()), expected, "answer {answer}: {log}");
            phases.push(phase.to_owned());
        }
        phases.dedup();
        phases.retain(|phase| !phase.is_empty());
        // In this order. PostgreSQL is asked nothing between the login and the statement, unless it has a cluster.
        let asked = if engine == Engine::Postgres { &["tls", "auth", "query"][..] } else { &PHASES };
        if phases == asked { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await;
}

/// Of a session that is opened and used.
const PHASES: [&str; 4] = ["tls", "auth", "ready", "query"];

/// Only this one connection has fallen silent: the server can be told by another.
async fn under_a_statement_that_can_be_stopped(engine: Engine) {
    let world = setup(engine).start().await;
    for query in ["slow", "slow_mark"] {
        unless_stalled(CANCEL, async || {
            world.rows("mark", json!({"id": 0})).await;
            // The statement reaches the server, and then nothing passes any more.
            let over = Cell::new(false);
            let asked = async {
                let asked = ask(&world.function, query, json!({})).await;
                over.set(true);
                asked
            };
            let met = async {
                while world.running() == 0 && !over.get() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                world.wires().into_iter().for_each(Proxy::forget);
                !over.get()
            };
            let (asked, met) = tokio::join!(asked, met);
            let answered = Instant::now();
            if !met {
                world.hang_up();
                return Err(format!("{query} ended before it was seen to run"));
            }
            // What is not told to stop ends a minute later, or when the server hears nothing of us, or at its own limit.
            while world.running() > 0 && answered.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let took = answered.elapsed();
            world.hang_up();
            let (told, log) = asked?;
            assert_eq!((told, log["phase"].as_str()), ((504, "timeout".to_owned()), Some("query")), "{log}");
            if took < CANCEL { Ok(()) } else { Err(format!("{query}: {took:?}")) }
        })
        .await;
    }
    assert_eq!(world.count("marks WHERE id <> 0"), 0);
}

/// Nothing reaches the server any more, whichever connection it takes.
async fn under_a_statement_that_cannot_be_stopped(engine: Engine) {
    let world = setup(engine).start().await;
    for query in ["one", "mark"] {
        unless_stalled(WORK, async || {
            world.rows("one", json!({})).await;
            world.rows("mark", json!({"id": 0})).await;
            world.wires().into_iter().for_each(Proxy::black_hole);
            let params = if query == "mark" { json!({"id": 1}) } else { json!({}) };
            let asked = ask(&world.function, query, params).await;
            world.wires().into_iter().for_each(Proxy::flow);
            world.rows("one", json!({})).await;
            until("the end of what was held back", || world.running() == 0).await;
            assert_eq!(world.count("marks WHERE id = 1"), 0);
            let (told, log) = asked?;
            assert_eq!((told, log["phase"].as_str()), ((504, "timeout".to_owned()), Some("query")), "{log}");
            assert!(log["detail"].as_str().unwrap().contains("may still run"), "{log}");
            Ok(())
        })
        .await;
    }
}

/// One that is stopped under a parameter of 5 MB has no room for more, and its kernel says so, for longer than a peer may be silent
/// that has vanished (three seconds): it lives, and the call is answered on the same connection.
async fn a_server_that_reads_nothing_for_a_while_is_waited_for(engine: Engine) {
    const STOPPED: Duration = Duration::from_secs(6);
    let setup = Setup::new(engine).schema(SCHEMA).queries(QUERIES).own_server();
    let world = setup.env("DB_QUERY_TIMEOUT", "100s").timeout(Duration::from_secs(120)).start().await;
    world.rows("long", json!({"v": "short"})).await;
    let connections = world.wire().connections();
    let stop = |stop: bool| match (engine, stop) {
        (Engine::Postgres, true) => world.server().pause().unwrap(),
        (Engine::Postgres, false) => world.server().resume().unwrap(),
        (_, true) => world.mysql().pause().unwrap(),
        (_, false) => world.mysql().resume().unwrap(),
    };
    stop(true);
    let long = world.invoke(json!({"query": "long", "params": {"v": "x".repeat(5_000_000)}}));
    let (outcome, ()) = tokio::join!(long, async {
        tokio::time::sleep(STOPPED).await;
        stop(false);
    });
    let line = world.last_log(&outcome.request_id).await;
    assert_eq!(outcome.reply().unwrap(), (200, json!({"n": 5_000_000})), "{line}");
    assert_eq!((line["retries"].as_u64(), line.get("connectMillis")), (Some(0), None), "{line}");
    assert_eq!(world.wire().connections(), connections, "{line}");
}

/// Status and code of a call's answer, and its line in the log; or that it did not come before the deadline.
async fn ask(function: &Function, query: &str, params: Value) -> Result<((u64, String), Value), String> {
    let outcome = function.invoke_within(TIMEOUT, json!({"query": query, "params": params})).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    if outcome.elapsed >= TIMEOUT {
        return Err(format!("{body} after {:?}", outcome.elapsed));
    }
    let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
    Ok(((status, code), last_log(function, &outcome.request_id).await))
}
