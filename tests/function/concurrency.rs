//! Several invocations at once in one environment, as on Lambda Managed Instances.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{Engine, Setup};
use crate::{on_clusters, on_every_engine};

on_every_engine!(nobody_sees_the_parameters_of_another);
on_clusters!(nobody_sees_the_parameters_of_another,);

mod where_there_is_a_server {
    use super::*;

    crate::on_every_server!(
        eight_run_at_once_on_eight_sessions_at_most,
        a_slow_one_does_not_delay_the_rest,
        deadlines_are_our_own,
        fewer_sessions_than_invocations_are_shared,
    );
    crate::on_clusters!(
        eight_run_at_once_on_eight_sessions_at_most,
        a_slow_one_does_not_delay_the_rest,
        deadlines_are_our_own,
        fewer_sessions_than_invocations_are_shared,
    );
}

/// Many calls of many kinds at once; each gets what it asked for.
async fn nobody_sees_the_parameters_of_another(engine: Engine) {
    const CALLERS: u64 = 16;
    const CALLS: u64 = 30;
    let world = world(engine).start().await;
    let caller = async |caller: u64| {
        for call in 0..CALLS {
            let mine = caller * 1_000 + call;
            // Mixed without a plan, but the same on every run.
            match mine.wrapping_mul(2_654_435_761) % 4 {
                0 => {
                    let text = format!("caller {caller}, call {call}");
                    let echo = world.rows("echo", json!({"n": mine, "text": text})).await;
                    assert_eq!(echo, json!({"n": mine, "text": text}));
                }
                1 => {
                    let list: Vec<Value> = (0..call).map(|n| json!({"n": mine + n, "text": "x"})).collect();
                    let event = json!({"batch": {"query": "echo", "params": list}});
                    assert_eq!(world.call(event).await, (200, json!(list)));
                }
                2 => {
                    let missing = json!({"text": format!("{caller}")});
                    assert_eq!(world.failure("echo", missing).await, (400, "bad_parameter".into()));
                }
                _ => {
                    let outcome = world.invoke(json!({"query": "request"})).await;
                    assert_eq!(outcome.reply().unwrap(), (200, json!({"id": outcome.request_id})));
                }
            }
        }
    };
    join_all((0..CALLERS).map(caller)).await;
}

async fn eight_run_at_once_on_eight_sessions_at_most(engine: Engine) {
    let world = world(engine).start().await;
    world.api.idle(8, Duration::from_secs(10)).await.unwrap();
    // Two rounds: with eight sessions to open, and with eight at hand.
    for _ in 0..2 {
        let started = Instant::now();
        let bodies = join_all((0..8).map(|n| world.rows("sleep", json!({"seconds": 1, "n": n})))).await;
        // One after the other they take eight seconds; the rest is for a machine with other things to do.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(bodies, (0..8).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    }
    // Twice as many wait for their turn, and get it.
    join_all((0..16).map(|n| world.rows("sleep", json!({"seconds": 0.2, "n": n})))).await;
    assert_eq!(world.sessions(), 8);
    assert_eq!(world.wire().connections(), 8);
    assert_eq!(world.secrets.count(), 1);
}

async fn a_slow_one_does_not_delay_the_rest(engine: Engine) {
    let world = world(engine).start().await;
    let slow = world.rows("sleep", json!({"seconds": 4, "n": 0}));
    let fast = async {
        for n in 0..50 {
            world.rows("echo", json!({"n": n, "text": ""})).await;
        }
        Instant::now()
    };
    let ended = async {
        slow.await;
        Instant::now()
    };
    let (slow_ended, fast_ended) = tokio::join!(ended, fast);
    assert!(fast_ended < slow_ended, "the fast ones waited for the slow one");
}

/// Lambda stops nobody there, so each invocation stops by itself, and what it ran on the server stops with it.
async fn deadlines_are_our_own(engine: Engine) {
    let world = world(engine)
        .env("DB_QUERY_TIMEOUT", "60s")
        .env("DB_CONNECT_TIMEOUT", "2s")
        .timeout(Duration::from_secs(3))
        .start()
        .await;
    let calls = (0..8).map(|n| world.failure("sleep", json!({"seconds": 60, "n": n})));
    for failure in join_all(calls).await {
        assert_eq!(failure, (504, "timeout".to_owned()));
    }
    let until = Instant::now() + Duration::from_secs(10);
    while world.running() > 0 {
        assert!(Instant::now() < until, "something still runs on the server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The environment goes on.
    assert_eq!(world.rows("echo", json!({"n": 1, "text": ""})).await["n"], 1);
}

/// More invocations than sessions: they share, and one that gets none in time is told to come back.
async fn fewer_sessions_than_invocations_are_shared(engine: Engine) {
    let world =
        world(engine).env("DB_MAX_CONNECTIONS", "2").env("LAMBDA_RDS_HTTP_TIMEOUT", "500ms").start().await;
    join_all((0..8).map(|n| world.rows("sleep", json!({"seconds": 0.2, "n": n})))).await;
    assert_eq!(world.sessions(), 2);

    let held = (0..2).map(|n| world.rows("sleep", json!({"seconds": 4, "n": n})));
    let waiting = async {
        while world.running() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let request = json!({
            "version": "2.0", "rawPath": "/echo", "rawQueryString": "n=1&text=", "headers": {},
            "requestContext": {"http": {"method": "GET"}, "stage": "$default"},
        });
        world.invoke(request).await
    };
    let (held, waited) = tokio::join!(join_all(held), waiting);
    assert_eq!(held, [json!({"n": 0}), json!({"n": 1})]);
    let (status, body) = waited.reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("database_busy")));
    assert!(waited.json().unwrap()["headers"]["retry-after"].is_string());
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).queries(QUERIES).env("AWS_LAMBDA_MAX_CONCURRENCY", "8")
}

const QUERIES: &str = "
-- name: echo :one
-- http: GET
-- param: n int
-- param: text text
SELECT :n AS n, :text AS text;

-- name: request :one
-- param: id text from context.requestId
SELECT :id AS id;

-- name: sleep :one
-- engine: postgres
-- param: seconds float
-- param: n int
SELECT :n AS n FROM pg_sleep(:seconds);

-- name: sleep :one
-- engine: mysql
-- param: seconds float
-- param: n int
SELECT :n AS n FROM (SELECT SLEEP(:seconds) AS slept) AS s;
";
