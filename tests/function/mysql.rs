//! What is of MySQL and MariaDB alone, beside what the other modules show on every server.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lambda_rds_testbed::unless_stalled;
use serde_json::json;

use crate::world::{CANCEL, Engine, Setup, until};

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

on_both_servers!(
    a_write_is_read_back_and_tells_its_id,
    a_timeout_leaves_nothing_running_on_the_server,
    ddl_commits_by_itself_and_is_refused_beside_others,
    a_wait_for_a_lock_ends_before_its_query_does,
    a_migration_between_two_calls_is_not_noticed,
    what_is_reckoned_of_parameters_alone_is_exact,
);

const SCHEMA: &str = "
CREATE TABLE products (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL, in_stock BOOLEAN NOT NULL);
INSERT INTO products (name, in_stock) VALUES ('Lamp', TRUE), ('Desk', FALSE), ('Chair', TRUE);
";

const QUERIES: &str = "
-- name: products :many
-- param: in_stock bool = true
SELECT id, name FROM products WHERE in_stock = :in_stock;

-- name: add :exec
-- param: name text
INSERT INTO products (name, in_stock) VALUES (:name, TRUE);

-- name: clear :exec
UPDATE products SET in_stock = FALSE;

-- name: slow :one
-- timeout: 400ms
SELECT 1 AS n FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(10) = 0 LIMIT 1;

-- name: slow_write :exec
-- timeout: 400ms
INSERT INTO products (name, in_stock) SELECT a.collation_name, SLEEP(5) FROM information_schema.collations a;

-- name: hold :exec
-- timeout: 90s
UPDATE products SET in_stock = TRUE WHERE id = 1 AND SLEEP(80) = 0;

-- name: touch :exec
-- timeout: 1900ms
-- param: id int
UPDATE products SET in_stock = FALSE WHERE id = :id;

-- name: everything :many
SELECT * FROM products ORDER BY id;

-- name: shelf :exec
CREATE TABLE IF NOT EXISTS shelves (id INT PRIMARY KEY);
";

fn shop(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES)
}

async fn a_write_is_read_back_and_tells_its_id(engine: Engine) {
    let world = shop(engine).start().await;
    let in_stock = json!([{"id": 1, "name": "Lamp"}, {"id": 3, "name": "Chair"}]);
    assert_eq!(world.rows("products", json!({"in_stock": true})).await, in_stock);
    let added = world.rows("add", json!({"name": "Sofa"})).await;
    assert_eq!(added, json!({"rowsAffected": 1, "lastInsertId": 4}));
    assert_eq!(world.rows("products", json!({})).await[2], json!({"id": 4, "name": "Sofa"}));
    // Rows that match count, also those that had the value already.
    assert_eq!(world.rows("clear", json!({})).await, json!({"rowsAffected": 4}));
    assert_eq!(world.rows("clear", json!({})).await, json!({"rowsAffected": 4}));
}

async fn a_timeout_leaves_nothing_running_on_the_server(engine: Engine) {
    let world = shop(engine).start().await;
    for query in ["slow", "slow_write"] {
        unless_stalled(CANCEL, async || {
            assert_eq!(world.failure(query, json!({})).await, (504, "timeout".into()), "{query}");
            let answered = Instant::now();
            while world.running() > 0 && answered.elapsed() < Duration::from_secs(2) {}
            let took = answered.elapsed();
            world.hang_up();
            if took < CANCEL { Ok(()) } else { Err(format!("{query}: {took:?}")) }
        })
        .await;
        until("the end of the statements", || world.running() == 0).await;
        assert_eq!(world.count("products"), 3);
    }
    assert_eq!(world.rows("products", json!({"in_stock": false})).await[0]["name"], "Desk");
}

async fn ddl_commits_by_itself_and_is_refused_beside_others(engine: Engine) {
    let world = shop(engine).start().await;
    assert_eq!(world.rows("shelf", json!({})).await["rowsAffected"], 0);
    assert_eq!(world.count("shelves"), 0);
    let steps = json!({"transaction": [{"query": "add", "params": {"name": "x"}}, {"query": "shelf"}]});
    let (status, body) = world.call(steps).await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["step"]),
        (400, &json!("bad_event"), &json!(1))
    );
    assert_eq!(world.count("products"), 3);
}

/// The session's own limit is that of its longest query, and the server's for locks is told for each transaction.
async fn a_wait_for_a_lock_ends_before_its_query_does(engine: Engine) {
    let world = shop(engine).timeout(Duration::from_secs(100)).start().await;
    let holder = world.another().await;
    let held = holder.invoke(json!({"query": "hold"}));
    let waiting = async {
        until("the lock", || world.running_that("SLEEP") == 1).await;
        // The server's wait ends nine tenths of a second before ours.
        unless_stalled(Duration::from_millis(900), async || {
            // Prepared, and what is to be known of tables known.
            world.rows("touch", json!({"id": 2})).await;
            world.wire().reset();
            let outcome = world.invoke(json!({"query": "touch", "params": {"id": 1}})).await;
            let line = world.last_log(&outcome.request_id).await;
            let (status, body) = outcome.reply().unwrap();
            if line["sqlstate"] != "1205" {
                return Err(line.to_string());
            }
            assert_eq!((status, &body["error"]["code"]), (409, &json!("conflict")), "{body}");
            assert_eq!(line["retries"], 1, "{line}");
            // BEGIN with the limit and the statement, ROLLBACK; and once more.
            assert_eq!(world.wire().flights(), 4);
            Ok(())
        })
        .await;
    };
    tokio::select! {
        held = held => panic!("the lock was not held as long: {held:?}"),
        () = waiting => {}
    }
    world.hang_up();
}

async fn a_migration_between_two_calls_is_not_noticed(engine: Engine) {
    let world = shop(engine).start().await;
    for (change, columns) in [
        ("SELECT 1", 3),
        ("ALTER TABLE products ADD COLUMN extra INT DEFAULT 7", 4),
        ("ALTER TABLE products MODIFY COLUMN extra VARCHAR(10)", 4),
        ("ALTER TABLE products DROP COLUMN extra", 3),
    ] {
        world.sql(change);
        let rows = world.rows("everything", json!({})).await;
        assert_eq!(rows[0].as_object().unwrap().len(), columns, "{change}: {rows}");
        world.rows("add", json!({"name": change})).await;
    }
    assert_eq!(world.count("products"), 7);
}

/// MySQL takes parameters that stand among themselves for doubles, before it knows what is sent.
async fn what_is_reckoned_of_parameters_alone_is_exact(engine: Engine) {
    let cases = [
        (":p * :n", "0.30"),
        (":n * :p", "0.30"),
        (":p*:n", "0.30"),
        ("(:p) * (:n)", "0.30"),
        ("((:p)) /* times */ * ((:n))", "0.30"),
        (":p + :p + :p", "0.30"),
        (":n + :p * :p", "3.01"),
        ("(:p + :n) * (:n - :p)", "8.99"),
        ("ROUND(:p * :n, 2)", "0.30"),
        ("COALESCE(:p * :n, 0)", "0.30"),
        ("IF(:p * :n = 0.3, 1, 0)", "1"),
        (":p * -:n", "-0.30"),
        ("-:p * :n", "-0.30"),
        (":n - -:p", "3.10"),
        (":p * COALESCE(:n, :p)", "0.30"),
        (":p * (2 + :n)", "0.50"),
        ("(SELECT :p * :n)", "0.30"),
        (":big", "9007199254740993"),
        ("-:big", "-9007199254740993"),
        (":big * :one", "9007199254740993"),
        (":big + :one", "9007199254740994"),
        (":big - :one", "9007199254740992"),
        (":big % :n", "0"),
        (":big MOD :n", "0"),
        ("MOD(:big, :n)", "0"),
        (":big DIV :n", "3002399751580331"),
        ("ABS(:big)", "9007199254740993"),
        ("FLOOR(:big)", "9007199254740993"),
        ("CEIL(:big)", "9007199254740993"),
        ("CEILING(:wide)", "90071992547409932"),
        ("SUM(:big)", "9007199254740993"),
        ("SUM(DISTINCT :wide)", "90071992547409931.1"),
        ("AVG(:wide)", "90071992547409931.1"),
        ("ABS(-:wide)", "90071992547409931.1"),
        (":wide + :wide", "180143985094819862.2"),
        (":wide * :one", "90071992547409931.1"),
        (":one * :wide", "90071992547409931.1"),
        (":wide - :p", "90071992547409931"),
        ("CASE WHEN :p < :n THEN :wide + :p ELSE :wide - :p END", "90071992547409931.2"),
    ];
    let values = json!({"p": "0.10", "n": 3, "big": 9_007_199_254_740_993_i64, "one": 1, "wide": "90071992547409931.10"});
    let kind = |name: &str| if matches!(name, "p" | "wide") { "decimal" } else { "int" };
    let names = ["p", "n", "big", "one", "wide"];
    let uses = |sql: &str, name: &str| {
        sql.split(':')
            .skip(1)
            .any(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next() == Some(name))
    };
    let mut queries = String::new();
    for (index, (sql, _)) in cases.iter().enumerate() {
        let _ = writeln!(queries, "-- name: q{index} :one");
        for name in names.iter().filter(|name| uses(sql, name)) {
            let _ = writeln!(queries, "-- param: {name} {}", kind(name));
        }
        let _ = writeln!(queries, "SELECT {sql} AS v;\n");
    }
    let world = Setup::new(engine).queries(&queries).start().await;
    for (index, (sql, want)) in cases.iter().enumerate() {
        let params: serde_json::Map<_, _> =
            values.as_object().unwrap().clone().into_iter().filter(|(name, _)| uses(sql, name)).collect();
        let row = world.rows(&format!("q{index}"), params.into()).await;
        let value = match &row["v"] {
            serde_json::Value::String(value) => value.clone(),
            value => value.to_string(),
        };
        let plain = |text: &str| match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        };
        assert_eq!(plain(&value), plain(want), "{sql}: {value}");
    }
}
