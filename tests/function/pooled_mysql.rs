//! Before MySQL, a pooler that lends a connection per transaction, as RDS Proxy and ProxySQL do. Neither can be had
//! here: what matters is what the server is told, and its general log has every command of it.

use lambda_rds_testbed::{Cut, Mysql, MysqlKind, unless_stalled};
use serde_json::json;
use std::sync::Arc;

use crate::world::{CANCEL, Engine, Setup, World, last_log, until};

macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod of_mysql {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Mysql).await; })+
        }
        mod of_mariadb {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::MariaDb).await; })+
        }
    };
}

on_both_servers!(what_a_pooler_is_told_outlives_no_transaction);

const SCHEMA: &str = "CREATE TABLE marks (id INT NOT NULL);";

const QUERIES: &str = "
-- name: marks :many
-- param: least int
SELECT id FROM marks WHERE id >= :least;

-- name: mark :exec
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: sly :one
-- read
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: alone :exec
-- transaction: none
-- param: id int
DELETE FROM marks WHERE id = :id;

-- name: slow :one
-- timeout: 300ms
SELECT 1 AS n FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(60) = 0 LIMIT 1;
";

async fn what_a_pooler_is_told_outlives_no_transaction(engine: Engine) {
    let kind = if engine == Engine::Mysql { MysqlKind::Mysql } else { MysqlKind::MariaDb };
    let server = Arc::new(Mysql::start(kind).unwrap());
    server.sql("SET GLOBAL log_output = 'TABLE'").unwrap();
    let setup = Setup::new(engine).on_mysql(&server).schema(SCHEMA).queries(QUERIES);
    let world = setup.env("DB_POOLER", "transaction").env("DB_CONNECT_AT", "first-use").start().await;

    server.sql("SET GLOBAL general_log = 1").unwrap();
    assert_eq!(world.rows("marks", json!({"least": 0})).await, json!([]));
    assert_eq!(world.rows("mark", json!({"id": 1})).await["rowsAffected"], 1);
    assert_eq!(world.rows("marks", json!({"least": 1})).await, json!([{"id": 1}]));
    assert_eq!(world.failure("sly", json!({"id": 2})).await, (500, "query_failed".into()));
    assert_eq!(world.rows("alone", json!({"id": 1})).await["rowsAffected"], 1);
    // The only thing that has no end of its own is stopped by KILL, which ProxySQL takes. There is a fifth of a second for it,
    // and then the server's own limit.
    let kills = || told(&world).iter().filter(|command| command.contains("KILL QUERY")).count();
    unless_stalled(CANCEL, async || {
        let before = kills();
        assert_eq!(world.failure("slow", json!({})).await, (504, "timeout".into()));
        until("the end of the statement", || world.running() == 0).await;
        if kills() == before + 1 { Ok(()) } else { Err(format!("{:#?}", told(&world))) }
    })
    .await;
    server.sql("SET GLOBAL general_log = 0").unwrap();

    let told = told(&world);
    let settings = "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', \
                    sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'";
    let sets: Vec<&String> = told.iter().filter(|command| command.contains("SET ")).collect();
    assert!(sets.iter().all(|command| *command == &format!("Query {settings}")), "{sets:?}");
    assert!(!told.iter().any(|command| command.contains("/*")), "{told:?}");
    let told: Vec<&str> =
        told.iter().map(String::as_str).filter(|command| !command.contains("SET ")).collect();
    let sent = |id: u32| format!("Execute INSERT INTO marks (id) VALUES ({id})");
    let (mark, sly) = (sent(1), sent(2));
    let inside = |what: &str, begin: &str, end: &str| {
        let at =
            told.iter().position(|command| *command == what).unwrap_or_else(|| panic!("{what}: {told:#?}"));
        let before = told[..at].iter().rev().find(|command| !command.starts_with("Prepare")).unwrap();
        assert_eq!((*before, told[at + 1]), (begin, end), "{told:#?}");
    };
    let read = "Query START TRANSACTION READ ONLY";
    inside("Execute SELECT id FROM marks WHERE id >= 0", read, "Query COMMIT");
    inside("Execute SELECT id FROM marks WHERE id >= 1", read, "Query COMMIT");
    inside(&mark, "Query START TRANSACTION READ WRITE", "Query COMMIT");
    inside(&sly, read, "Query ROLLBACK");
    assert_eq!(world.count("marks"), 0);

    // A call of either kind is three round trips, once it is prepared.
    for (query, params) in [("marks", json!({"least": 0})), ("mark", json!({"id": 3}))] {
        world.rows(query, params.clone()).await;
        world.wire().reset();
        world.rows(query, params).await;
        assert_eq!(world.wire().flights(), 3, "{query}");
    }
    // Lost before COMMIT, it runs again, and is done once.
    world.wire().cut(Cut::Rst);
    assert_eq!(world.rows("mark", json!({"id": 4})).await["rowsAffected"], 1);
    assert_eq!(world.count("marks WHERE id = 4"), 1);
    pins(&world).await;
}

/// Nothing pins on ProxySQL, and no metric says so.
async fn pins(world: &World) {
    let outcome = world.invoke(json!({"query": "marks", "params": {"least": 0}})).await;
    let line = last_log(&world.function, &outcome.request_id).await;
    assert_eq!(line.get("pinned"), None, "{line}");
    assert!(!world.function.logs().iter().any(|line| line.contains("RDS Proxy keeps")));
}

/// What the function's user has told the server, in order: the kind of the command, and its text.
fn told(world: &World) -> Vec<String> {
    let user = &world.database().user;
    let commands = "command_type IN ('Query', 'Prepare', 'Execute')";
    let log = format!(
        "SELECT CONCAT(command_type, ' ', CONVERT(argument USING utf8mb4)) FROM mysql.general_log \
         WHERE user_host LIKE '{user}[%' AND {commands} ORDER BY event_time"
    );
    world.rows_of(&log)
}
