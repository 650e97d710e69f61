//! What the server says of a session after each kind of outcome: nothing is open on it, nothing of one call is there for
//! the next one. All of it is looked at on the server.

use serde_json::json;

use crate::world::{Engine, Setup, World, until};

crate::on_every_server!(
    a_read_frees_no_other,
    a_setting_does_not_outlive_its_call,
    what_has_committed_by_itself_is_told_as_done,
    nothing_is_open_after_any_outcome,
    what_a_lost_connection_left_running_is_stopped_before_it_runs_again,
);

fn schema(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => {
            "CREATE TABLE marks (id integer PRIMARY KEY, n integer NOT NULL DEFAULT 0);
             CREATE TABLE control (seconds integer NOT NULL);
             INSERT INTO marks (id) VALUES (1), (2); INSERT INTO control VALUES (0);
             CREATE FUNCTION set_free() RETURNS text LANGUAGE sql
                 AS $$ SELECT set_config('default_transaction_read_only', 'off', false) $$;
             CREATE FUNCTION go_east() RETURNS text LANGUAGE sql
                 AS $$ SELECT set_config('TimeZone', 'Asia/Tokyo', false) $$;
             CREATE FUNCTION sneak(i integer) RETURNS integer LANGUAGE sql
                 AS $$ INSERT INTO marks (id) VALUES (i) RETURNING id $$;"
        }
        _ => {
            "CREATE TABLE marks (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0) ENGINE=InnoDB;
             CREATE TABLE control (seconds INT NOT NULL) ENGINE=InnoDB;
             INSERT INTO marks (id) VALUES (1), (2);
             INSERT INTO control VALUES (0);
             CREATE FUNCTION set_free() RETURNS TEXT NOT DETERMINISTIC
             BEGIN SET SESSION TRANSACTION READ WRITE; RETURN 'free'; END;
             CREATE FUNCTION go_east() RETURNS TEXT NOT DETERMINISTIC
             BEGIN SET SESSION time_zone = '+09:00'; RETURN 'east'; END;
             CREATE FUNCTION sneak(i INT) RETURNS INT NOT DETERMINISTIC MODIFIES SQL DATA
             BEGIN INSERT INTO marks (id) VALUES (i); RETURN i; END;"
        }
    }
}

const QUERIES: &str = "
-- name: free :one
SELECT set_free() AS r;

-- name: east :one
SELECT go_east() AS r;

-- name: sneak :one
-- param: id int
-- engine: postgres
SELECT sneak(CAST(:id AS integer)) AS r;

-- name: sneak :one
-- param: id int
-- engine: mysql
SELECT sneak(:id) AS r;

-- name: zone :one
-- engine: postgres
SELECT current_setting('TimeZone') AS zone;

-- name: zone :one
-- engine: mysql
SELECT @@session.time_zone AS zone;

-- name: two :one
-- write
-- transaction: none
-- engine: postgres
UPDATE marks SET n = n + 1 WHERE id <= 2 RETURNING id;

-- name: mark :exec
-- param: id int
INSERT INTO marks (id) VALUES (:id);

-- name: add :exec
-- timeout: 20s
-- engine: postgres
UPDATE marks SET n = n + 1 WHERE id = 1 AND (SELECT count(pg_sleep(seconds)) FROM control) >= 0;

-- name: add :exec
-- timeout: 20s
-- engine: mysql
UPDATE marks SET n = n + 1 WHERE id = 1 AND (SELECT SUM(SLEEP(seconds)) FROM control) >= 0;

-- name: nap :one
-- timeout: 300ms
-- engine: postgres
SELECT 1 AS x FROM pg_sleep(30);

-- name: nap :one
-- timeout: 300ms
-- engine: mysql
SELECT 1 AS x FROM (SELECT 1 UNION ALL SELECT 2) AS two WHERE SLEEP(30) = 0 LIMIT 1;

-- name: one_of_many :one
SELECT id FROM marks;

-- name: none :one
SELECT id FROM marks WHERE id < 0;

-- name: broken :one
SELECT id FROM nowhere;

-- name: too_many :many
-- max_rows: 1
SELECT id FROM marks;
";

async fn world(engine: Engine) -> World {
    Setup::new(engine).schema(schema(engine)).queries(QUERIES).start().await
}

async fn a_read_frees_no_other(engine: Engine) {
    let world = world(engine).await;
    world.rows("free", json!({})).await;
    assert_eq!(world.failure("sneak", json!({"id": 7})).await, (500, "query_failed".into()));
    assert_eq!(world.count("marks WHERE id = 7"), 0);
}

async fn a_setting_does_not_outlive_its_call(engine: Engine) {
    let world = world(engine).await;
    let before = world.rows("zone", json!({})).await;
    world.rows("east", json!({})).await;
    assert_eq!(world.rows("zone", json!({})).await, before);
}

async fn what_has_committed_by_itself_is_told_as_done(engine: Engine) {
    if engine != Engine::Postgres {
        // MySQL has no RETURNING; a CALL that commits is tried in `lasting`.
        return;
    }
    let world = world(engine).await;
    assert_eq!(world.failure("two", json!({})).await, (500, "done_unread".into()));
    assert_eq!(world.count("marks WHERE n = 1"), 2, "it has been done, and once");
    quiet(&world).await;
    assert_eq!(world.sessions(), 1, "its session goes on");
}

async fn nothing_is_open_after_any_outcome(engine: Engine) {
    let world = world(engine).await;
    let mark = |id: u32| json!({"query": "mark", "params": {"id": id}});
    let one = |query: &str| json!({ "query": query });
    for (event, status) in [
        (one("none"), 404),
        (one("one_of_many"), 500),
        (one("too_many"), 413),
        (one("broken"), 500),
        (one("nap"), 504),
        (mark(1), 409),
        (mark(3), 200),
        (json!({"transaction": [mark(4), one("none")]}), 404),
        (json!({"transaction": [mark(4), one("one_of_many"), mark(5)]}), 500),
        (json!({"transaction": [mark(4), mark(1), mark(5)]}), 409),
        (json!({"transaction": [mark(4), one("nap"), mark(5)]}), 504),
        (json!({"transaction": [mark(4), one("broken")]}), 500),
        (json!({"batch": {"query": "mark", "params": [{"id": 4}, {"id": 4}, {"id": 5}]}}), 409),
    ] {
        let (told, body) = world.call(event.clone()).await;
        assert_eq!(told, status, "{event}: {body}");
        quiet(&world).await;
    }
    assert_eq!(world.count("marks"), 3);
}

async fn what_a_lost_connection_left_running_is_stopped_before_it_runs_again(engine: Engine) {
    // MariaDB locks what an UPDATE's subquery reads, unless only what is committed is read; then it could not be changed.
    let world = match engine {
        Engine::MariaDb => {
            let committed = "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED;";
            let schema = format!("{}\n{committed}\n", schema(engine));
            Setup::new(engine).own_server().schema(schema).queries(QUERIES).start().await
        }
        _ => world(engine).await,
    };
    world.rows("add", json!({})).await;
    world.sql("UPDATE control SET seconds = 15");
    let (reply, ()) = tokio::join!(world.call(json!({"query": "add"})), async {
        until("the statement", || world.running() > 0).await;
        world.sql("UPDATE control SET seconds = 0");
        // The function learns that its connection is gone; the server does not, as it is busy.
        world.wire().cut(lambda_rds_testbed::Cut::Rst);
    });
    // The first one holds the row for longer than the second may take: if it ran on, this would be a timeout.
    assert_eq!(reply, (200, json!({"rowsAffected": 1})));
    quiet(&world).await;
    assert_eq!(world.sql("SELECT n FROM marks WHERE id = 1"), "2");
}

/// The server has no statement and no transaction of the function's.
async fn quiet(world: &World) {
    until("the end of all transactions", || world.running() == 0 && world.in_transaction() == 0).await;
}
