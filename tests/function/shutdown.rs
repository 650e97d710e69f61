//! SIGTERM: what the server has of us is gone at once.
//!
//! Times are taken on the server's side, from its log, where it has any: a test's own clock counts how busy the machine
//! is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lambda_rds_testbed::{Function, unless_stalled};
use serde_json::json;

use crate::world::{Engine, PATIENCE, Setup, World, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(it_ends_with_success_and_without_a_word);
on_clusters!(it_ends_with_success_and_without_a_word);

mod with_sessions {
    use super::{an_idle_session_is_closed_with_a_goodbye, what_the_server_has_of_us_is_gone_at_once};

    crate::on_every_server!(
        an_idle_session_is_closed_with_a_goodbye,
        what_the_server_has_of_us_is_gone_at_once,
    );
    crate::on_clusters!(an_idle_session_is_closed_with_a_goodbye, what_the_server_has_of_us_is_gone_at_once,);
}

/// From SIGTERM until the server has seen the end. The contract gives us 300 ms to close, the server the rest.
const LIMIT: Duration = Duration::from_millis(500);

/// PostgreSQL tells of a client that went without a word in its log, the others count them.
async fn an_idle_session_is_closed_with_a_goodbye(engine: Engine) {
    if engine.plain() != Engine::Postgres {
        let world = Setup::new(engine).own_server().start().await;
        world.rows("user", json!({"id": 1})).await;
        let aborted = || {
            let status = world.rows_of("SHOW GLOBAL STATUS LIKE 'Aborted_clients'");
            status[0].split('|').nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = aborted();
        world.function.terminate().unwrap();
        world.function.wait_exit(PATIENCE).await.unwrap();
        until("the end of the session", || world.sessions() == 0).await;
        assert_eq!(aborted(), before);
        // They do count one.
        let rude = world.another().await;
        rude.kill().unwrap();
        until("the count", || aborted() == before + 1).await;
        return;
    }
    unless_stalled(LIMIT, async || {
        let world = Setup::new(engine).start().await;
        world.rows("user", json!({"id": 1})).await;
        let took = terminate(&world).await;
        let log = world.server_log();
        let pid = pid_of(&log, &world);
        let farewell = log.lines().filter(|line| line.contains(&format!("[{pid}]")));
        let abrupt: Vec<_> =
            farewell.filter(|line| !line.contains(" LOG:  ") || line.contains("EOF")).collect();
        assert!(abrupt.is_empty() || took >= LIMIT, "{abrupt:?}");
        in_time("idle", took)
    })
    .await;
}

fn in_time(query: &str, took: Duration) -> Result<(), String> {
    if took < LIMIT { Ok(()) } else { Err(format!("{query}: {took:?}")) }
}

/// By PostgreSQL's own clock; [`what_the_server_has_of_us_is_gone_at_once`] is the same by ours, on every server.
#[tokio::test]
async fn a_running_statement_is_cancelled_and_its_session_closed() {
    let queries = "-- name: slow :one\nSELECT pg_sleep(60)::text AS slept;\n\
                   -- name: slow_write :exec\n-- write\nUPDATE users SET name = pg_sleep(60)::text;\n";
    for query in ["slow", "slow_write"] {
        unless_stalled(LIMIT, async || {
            let world = Setup::new(Engine::Postgres)
                .queries(queries)
                .env("DB_QUERY_TIMEOUT", "20s")
                .timeout(Duration::from_secs(100))
                .start()
                .await;
            let event = json!({"query": query});
            let ended = async {
                until("the statement", || world.running() == 1).await;
                terminate(&world).await
            };
            // The call itself ends with the function.
            let (_, took) = tokio::join!(world.function.invoke(event), ended);
            assert_eq!(world.count("users WHERE name = ''"), 0);
            in_time(query, took)
        })
        .await;
    }
}

async fn it_ends_with_success_and_without_a_word(engine: Engine) {
    let world = Setup::new(engine).start().await;
    let lines = world.function.logs().len();
    world.function.terminate().unwrap();
    let status = world.function.wait_exit(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(world.function.logs().len(), lines, "{:?}", world.function.logs());
}

/// A server notices that a client is gone only when it has something to tell it: without a cancel the statements would
/// run for their whole minute. MySQL's log has no times, so ours counts.
async fn what_the_server_has_of_us_is_gone_at_once(engine: Engine) {
    let sleep = if engine.plain() == Engine::Postgres { "pg_sleep(60)::text" } else { "SLEEP(60)" };
    let queries = format!(
        "-- name: nothing :one\nSELECT 1 AS n;\n\
         -- name: slow :one\nSELECT {sleep} AS n;\n\
         -- name: slow_write :exec\n-- write\nUPDATE users SET name = {sleep};\n"
    );
    let world = Setup::new(engine)
        .queries(queries)
        .env("DB_QUERY_TIMEOUT", "60s")
        .timeout(Duration::from_secs(100))
        .start()
        .await;
    world.rows("nothing", json!({})).await;
    // The world's own environment keeps its session.
    assert_eq!(world.sessions(), 1);
    for query in ["nothing", "slow", "slow_write"] {
        unless_stalled(LIMIT, async || {
            let function = world.another().await;
            let took = if query == "nothing" {
                until("the session", || world.sessions() == 2).await;
                gone(&world, &function).await
            } else {
                let ended = async {
                    until("the statement", || world.running() == 1).await;
                    gone(&world, &function).await
                };
                // The call itself ends with the function.
                tokio::join!(function.invoke(json!({"query": query})), ended).1
            };
            let status = function.wait_exit(PATIENCE).await.unwrap();
            assert!(status.success(), "{status}");
            if took >= LIMIT {
                // What was not cancelled in time; the world's own environment opens its session again.
                world.hang_up();
                world.rows("nothing", json!({})).await;
                until("the session", || world.sessions() == 1).await;
            }
            in_time(query, took)
        })
        .await;
        assert_eq!(world.count("users WHERE name IN ('', '0', '1')"), 0);
    }
}

/// Sends SIGTERM and gives the time until the server has only the session of the world's own environment, or five seconds.
async fn gone(world: &World, function: &Function) -> Duration {
    let sent = Instant::now();
    function.terminate().unwrap();
    while world.sessions() > 1 && sent.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent.elapsed()
}

/// Sends SIGTERM, waits for the end, and gives the time from the one until the server has logged the end of the
/// function's session.
async fn terminate(world: &World) -> Duration {
    let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    world.function.terminate().unwrap();
    let status = world.function.wait_exit(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
                    AND datname = current_database() AND pid <> pg_backend_pid()";
    until("the end of the session", || world.sql(sessions) == "0").await;
    let mut ended = None;
    until("the server's log", || {
        ended = end_of(&world.server_log(), world);
        ended.is_some()
    })
    .await;
    // The log's times are whole milliseconds.
    (ended.unwrap() + Duration::from_millis(1)).saturating_sub(sent)
}

/// When the function's session ended, after 1970, as the server's log has it.
fn end_of(log: &str, world: &World) -> Option<Duration> {
    let user = format!("user={} ", world.database().user);
    let line =
        log.lines().rfind(|line| line.contains("disconnection: session time") && line.contains(&user))?;
    // `2026-01-31 12:34:56.789 UTC [pid] LOG: …`; psql, which takes the words, is the superuser.
    let time: Vec<&str> = line.split_whitespace().take(3).collect();
    let seconds = world.sql(&format!("SELECT extract(epoch FROM timestamptz '{}')", time.join(" ")));
    Some(Duration::from_secs_f64(seconds.trim().parse().unwrap()))
}

/// The process that served the function.
fn pid_of(log: &str, world: &World) -> String {
    let user = format!("user={} ", world.database().user);
    let line = log.lines().rfind(|line| line.contains("disconnection: session time") && line.contains(&user));
    line.and_then(|line| line.split(['[', ']']).nth(1)).unwrap().to_owned()
}
