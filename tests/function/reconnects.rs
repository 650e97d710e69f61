//! What a function keeps of the connections that it has lost: nothing.

use std::time::{Duration, Instant};

use lambda_rds_testbed::{After, Cut, Direction, Fault};
use serde_json::json;

use crate::on_every_server;
use crate::world::{Engine, PATIENCE, Setup, World, until};

on_every_server!(a_session_that_is_ended_while_its_first_statement_is_on_its_way);

const QUERIES: &str = "
-- name: one :one
SELECT 1 AS x;

-- name: many :many
-- max_rows: 10
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT REPEAT('x', 1000) AS x FROM n;

-- name: nap :one
-- engine: postgres
-- timeout: 50ms
SELECT 1 AS x FROM pg_sleep(60);

-- name: nap :one
-- engine: mysql
-- timeout: 50ms
SELECT 1 AS x FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(60) = 0 LIMIT 1;
";

/// Descriptors, threads and files of the function, and its sessions on the server.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    files: usize,
    sessions: u64,
}

fn held(world: &World) -> Held {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    let process = format!("/proc/{}", world.function.pid());
    Held {
        descriptors: entries(&format!("{process}/fd")),
        threads: entries(&format!("{process}/task")),
        files: std::fs::read_dir(world.function.folder()).unwrap().count(),
        sessions: world.sessions(),
    }
}

#[tokio::test]
async fn two_hundred_reconnects_leave_nothing_behind() {
    reconnect(Engine::Postgres, 200).await;
}

#[tokio::test]
async fn nor_do_they_on_mysql() {
    reconnect(Engine::Mysql, 80).await;
}

#[tokio::test]
async fn nor_do_they_on_mariadb() {
    reconnect(Engine::MariaDb, 80).await;
}

#[tokio::test]
async fn nor_do_they_in_a_cluster_of_postgres() {
    reconnect(Engine::AuroraPostgres, 80).await;
}

#[tokio::test]
async fn nor_do_they_in_a_cluster_of_mysql() {
    reconnect(Engine::AuroraMysql, 80).await;
}

async fn reconnect(engine: Engine, rounds: u64) {
    let world = Setup::new(engine).queries(QUERIES).start().await;
    let one = json!({"x": 1});
    assert_eq!(world.rows("one", json!({})).await, one);
    let before = held(&world);
    assert_eq!((before.files, before.sessions), (0, 1));

    let answers = engine.answers_to_a_connect();
    for round in 0..rounds {
        match round % 8 {
            0 | 4 => world.wire().cut(Cut::Fin),
            1 | 5 => world.wire().cut(Cut::Rst),
            // Hung up on while connecting, at each of the server's answers.
            2 => {
                world.wire().cut(Cut::Rst);
                world.wire().inject(Fault::cut(
                    Direction::ToClient,
                    After::Flights(round / 8 % answers),
                    Cut::Fin,
                ));
            }
            // In the middle of a statement.
            3 => world.wire().inject(Fault::cut(Direction::ToClient, After::Flights(0), Cut::Rst)),
            // Left by us, with rows unread, or with the statement running.
            6 => assert_eq!(world.failure("many", json!({})).await, (413, "result_too_large".into())),
            _ => assert_eq!(world.failure("nap", json!({})).await, (504, "timeout".into())),
        }
        assert_eq!(world.rows("one", json!({})).await, one, "round {round}");
    }

    // What was closed a moment ago may still be on its way out, here and on the server.
    let end = Instant::now() + PATIENCE;
    loop {
        let after = held(&world);
        if after.descriptors <= before.descriptors && after.threads <= before.threads && after.sessions == 1 {
            assert_eq!(after.files, 0);
            break;
        }
        assert!(Instant::now() < end, "before {before:?}, after {after:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server says goodbye to a session whose end the function does not know yet, in the middle of what it asks about a
/// statement that is new to it: nothing has run, so it runs on another session, once.
async fn a_session_that_is_ended_while_its_first_statement_is_on_its_way(engine: Engine) {
    for query in ["read", "write", "alone"] {
        let world = Setup::new(engine)
            .queries(
                "-- name: read :one\nSELECT 1 AS x;\n
                 -- name: write :exec\n-- write\nINSERT INTO marks (id) VALUES (1);\n
                 -- name: alone :exec\n-- write\n-- transaction: none\nINSERT INTO marks (id) VALUES (1);",
            )
            .schema("CREATE TABLE marks (id INT PRIMARY KEY)")
            .start()
            .await;
        until("the session of INIT", || world.sessions() == 1).await;
        world.wire().delay(Direction::ToClient, Duration::from_millis(300));
        world.wire().delay(Direction::ToServer, Duration::from_millis(1_000));
        world.hang_up();
        let call = world.invoke(json!({"query": query}));
        let release = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            for direction in [Direction::ToClient, Direction::ToServer] {
                world.wire().delay(direction, Duration::ZERO);
            }
        };
        let (outcome, ()) = tokio::join!(call, release);
        let told = outcome.json().unwrap();
        assert_eq!(told["error"], json!(null), "{query}: {:?}", world.function.logs());
        if query != "read" {
            assert_eq!(world.count("marks"), 1, "{query}: {told} {:?}", world.function.logs());
        }
    }
}
