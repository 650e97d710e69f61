//! Several invocations at once in one environment, as on Lambda Managed Instances.

use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use lambda_rds_testbed::unless_stalled;
use serde_json::{Value, json};

use crate::world::{CANCEL, Engine, PATIENCE, Setup, World, until};
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
    // A cluster's readers are asked as well where its writer has not answered after four tenths of a second, and a read
    // makes do with one of them for a while: then the writer is connected to once more later.
    unless_stalled(Duration::from_millis(400), async || eight_on_eight(engine).await).await;
}

async fn eight_on_eight(engine: Engine) -> Result<(), String> {
    let world = long(engine).start().await;
    world.api.idle(8, PATIENCE).await.unwrap();
    // Two rounds: with eight sessions to open, and with eight at hand.
    for _ in 0..2 {
        eight_at_once(&world).await;
    }
    // Twice as many wait for their turn, and get it.
    join_all((0..16).map(|n| world.rows("sleep", json!({"seconds": 0.2, "n": n})))).await;
    assert_eq!(world.sessions(), 8);
    assert_eq!(world.secrets.count(), 1);
    let connections = world.wire().connections();
    if connections == 8 { Ok(()) } else { Err(format!("{connections} connections")) }
}

/// Eight calls that wait on the server for a table, and end when all of them do.
async fn eight_at_once(world: &World) {
    let gate = Gate::close(world).await;
    let calls = join_all((0..8).map(|n| world.rows("through", json!({ "n": n }))));
    let all_wait = async {
        until("eight at once", || world.running_that("gate") == 8).await;
        gate.open();
    };
    let (bodies, ()) = tokio::join!(calls, all_wait);
    assert_eq!(bodies, (0..8).map(|n| json!({ "n": n })).collect::<Vec<_>>());
}

/// A table that nobody can read.
struct Gate<'a> {
    world: &'a World,
    holder: JoinHandle<bool>,
}

impl<'a> Gate<'a> {
    async fn close(world: &'a World) -> Self {
        let postgres = world.engine.plain() == Engine::Postgres;
        let script = if postgres {
            "BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(100)"
        } else {
            "LOCK TABLES gate WRITE;\nSELECT SLEEP(100)"
        };
        let holder = world.meanwhile(script);
        until("the lock", || world.anybody_running("sleep(100)") == 1).await;
        Self { world, holder }
    }

    fn open(self) {
        self.world.end_who_runs("sleep(100)");
        assert!(!self.holder.join().unwrap(), "it has opened by itself");
    }
}

async fn a_slow_one_does_not_delay_the_rest(engine: Engine) {
    let world = long(engine).start().await;
    let slow = world.call(json!({"query": "sleep", "params": {"seconds": 80, "n": 0}}));
    let fast = async {
        until("the slow one", || world.running() == 1).await;
        for n in 0..50 {
            world.rows("echo", json!({"n": n, "text": ""})).await;
        }
    };
    tokio::select! {
        slow = slow => panic!("the fast ones waited for the slow one: {slow:?}"),
        () = fast => {}
    }
    world.hang_up();
}

/// A function whose statements and calls have more time than they take.
fn long(engine: Engine) -> Setup {
    world(engine).env("DB_QUERY_TIMEOUT", "90s").timeout(Duration::from_secs(100))
}

/// Lambda stops nobody there, so each invocation stops by itself, and what it ran on the server stops with it: by our
/// cancel, for the server's own limit is longer than anybody here waits.
async fn deadlines_are_our_own(engine: Engine) {
    let world = world(engine).env("DB_QUERY_TIMEOUT", "600s").timeout(Duration::from_secs(100)).start().await;
    // A session for each, so that the time goes to the statements.
    eight_at_once(&world).await;
    unless_stalled(CANCEL, async || {
        // One after the other: eight cancels at once would have to share the machine.
        let calls = (0..8).map(async |n| {
            let timeout = Duration::from_millis(2_000 + 300 * n);
            let event = json!({"query": "sleep", "params": {"seconds": 600, "n": n}});
            let outcome = world.invoke_within(timeout, event).await;
            let (status, body) = outcome.reply().unwrap();
            assert_eq!((status, &body["error"]["code"]), (504, &json!("timeout")), "{body}");
            if outcome.elapsed < timeout { Ok(()) } else { Err(format!("{:?}", outcome.elapsed)) }
        });
        let in_time: Result<Vec<()>, String> = join_all(calls).await.into_iter().collect();
        world.at_rest().await?;
        in_time
    })
    .await;
    // The environment goes on.
    assert_eq!(world.rows("echo", json!({"n": 1, "text": ""})).await["n"], 1);
}

/// More invocations than sessions: they share, and one that gets none in time is told to come back.
async fn fewer_sessions_than_invocations_are_shared(engine: Engine) {
    let world =
        long(engine).env("DB_MAX_CONNECTIONS", "2").env("LAMBDA_RDS_HTTP_TIMEOUT", "500ms").start().await;
    join_all((0..8).map(|n| world.rows("sleep", json!({"seconds": 0.2, "n": n})))).await;
    assert_eq!(world.sessions(), 2);

    let held = (0..2).map(|n| world.call(json!({"query": "sleep", "params": {"seconds": 80, "n": n}})));
    let waiting = async {
        until("both to run", || world.running() == 2).await;
        let request = json!({
            "version": "2.0", "rawPath": "/echo", "rawQueryString": "n=1&text=", "headers": {},
            "requestContext": {"http": {"method": "GET"}, "stage": "$default"},
        });
        world.invoke(request).await
    };
    let waited = tokio::select! {
        held = join_all(held) => panic!("nobody held a session: {held:?}"),
        waited = waiting => waited,
    };
    let (status, body) = waited.reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("database_busy")));
    assert!(waited.json().unwrap()["headers"]["retry-after"].is_string());
    world.hang_up();
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES).env("AWS_LAMBDA_MAX_CONCURRENCY", "8")
}

const SCHEMA: &str = "CREATE TABLE gate (n INTEGER NOT NULL);";

const QUERIES: &str = "
-- name: echo :one
-- http: GET
-- param: n int
-- param: text text
SELECT :n AS n, :text AS text;

-- name: request :one
-- param: id text from context.requestId
SELECT :id AS id;

-- name: through :one
-- param: n int
SELECT :n + count(*) AS n FROM gate;

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
