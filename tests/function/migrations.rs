//! A database that changes under a warm function.

use serde_json::{Value, json};

use crate::world::{Engine, Setup, World};

const SCHEMA: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a');";

const QUERIES: &str = "
-- name: everything :many
SELECT * FROM t ORDER BY id;

-- name: add :one
-- write
-- param: id int
-- param: name text
INSERT INTO t (id, name) VALUES (:id, :name) RETURNING *;

-- name: add_alone :one
-- write
-- transaction: none
-- param: id int
INSERT INTO t (id, name) VALUES (:id, 'alone') RETURNING *;

-- name: forget :exec
-- transaction: none
DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$;

-- name: pid :one
SELECT pg_backend_pid() AS pid;
";

async fn warm() -> World {
    let world = Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).start().await;
    world.rows("everything", json!({})).await;
    world.rows("add", json!({"id": 2, "name": "b"})).await;
    world.rows("add_alone", json!({"id": 3})).await;
    world
}

/// Calls a query and gives its reply and how many times it was tried again, by the log.
async fn call(world: &World, query: &str, params: Value) -> (Value, u64) {
    let outcome = world.invoke(json!({"query": query, "params": params})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!(status, 200, "{body}");
    let retries = world.last_log(&outcome.request_id).await["retries"].as_u64().unwrap();
    (body, retries)
}

/// "cached plan must not change result type", 0A000.
#[tokio::test]
async fn a_migration_between_two_calls_is_not_noticed() {
    let world = warm().await;
    for (change, key) in [
        ("ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7", Some("extra")),
        ("ALTER TABLE t ALTER COLUMN extra TYPE TEXT", Some("extra")),
        ("ALTER TABLE t DROP COLUMN extra", None),
    ] {
        world.sql(change);
        let (rows, retries) = call(&world, "everything", json!({})).await;
        assert_eq!(
            (rows[0].as_object().unwrap().len(), retries),
            (2 + usize::from(key.is_some()), 0),
            "{change}"
        );
        // Warm again.
        assert_eq!(call(&world, "everything", json!({})).await.1, 0, "{change}");
    }
    world.sql("ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7");
    let (row, retries) = call(&world, "everything", json!({})).await;
    assert_eq!((&row[0]["extra"], retries), (&json!(7), 0));
}

#[tokio::test]
async fn nor_by_a_write() {
    let world = warm().await;
    world.sql("ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7");
    let (row, retries) = call(&world, "add", json!({"id": 10, "name": "x"})).await;
    assert_eq!((row, retries), (json!({"id": 10, "name": "x", "extra": 7}), 0));

    // The statement that commits by itself was refused before it began, so it may run again too.
    world.rows("add_alone", json!({"id": 11})).await;
    world.sql("ALTER TABLE t DROP COLUMN extra");
    let (row, retries) = call(&world, "add_alone", json!({"id": 12})).await;
    assert_eq!((row, retries), (json!({"id": 12, "name": "alone"}), 0));
    assert_eq!(world.sql("SELECT count(*) FROM t WHERE id >= 10"), "3");

    // Several in one transaction, of which only the second is stale: all of it runs again.
    world.rows("add", json!({"id": 20, "name": "x"})).await;
    world.sql("ALTER TABLE t ADD COLUMN again TEXT");
    let steps = json!([
        {"query": "pid"},
        {"query": "add", "params": {"id": 21, "name": "y"}},
    ]);
    let (status, body) = world.call(json!({"transaction": steps})).await;
    assert_eq!((status, &body[1]), (200, &json!({"id": 21, "name": "y", "again": null})), "{body}");
    assert_eq!(world.sql("SELECT count(*) FROM t WHERE id IN (20, 21)"), "2");
}

/// "prepared statement does not exist", 26000: somebody dropped them, as a pooler between may.
#[tokio::test]
async fn dropped_statements_are_prepared_again() {
    let world = warm().await;
    for (query, warming, params) in [
        ("everything", json!({}), json!({})),
        ("add", json!({"id": 10, "name": "x"}), json!({"id": 11, "name": "x"})),
        ("add_alone", json!({"id": 12}), json!({"id": 13})),
    ] {
        world.rows(query, warming).await;
        world.rows("forget", json!({})).await;
        assert_eq!(call(&world, query, params).await.1, 0, "{query}");
    }
    assert_eq!(world.sql("SELECT count(*) FROM t WHERE id >= 10"), "4");
}

/// "cache lookup failed for type", XX000: an enum's values are changed by making the type anew, and what was prepared
/// with the old one failed for as long as its environment lived.
#[tokio::test]
async fn a_type_that_is_made_anew() {
    for pooled in [false, true] {
        let schema = "CREATE TYPE mood AS ENUM ('happy', 'sad');
                      CREATE TABLE notes (id INTEGER PRIMARY KEY, mood mood); INSERT INTO notes VALUES (1, 'sad');";
        let queries = "
            -- name: of :many
            -- param: mood text
            SELECT id, mood FROM notes WHERE mood = :mood;
            -- name: set :exec
            -- param: mood text
            UPDATE notes SET mood = :mood;
            -- name: alone :exec
            -- transaction: none
            -- param: mood text
            UPDATE notes SET mood = :mood;
            -- name: bare :one
            SELECT 'sad'::mood AS mood;";
        let setup = Setup::new(Engine::Postgres).schema(schema).queries(queries.replace("            ", ""));
        let world = if pooled { setup.pooler(1) } else { setup }.start().await;
        for (query, params) in [
            ("of", json!({"mood": "sad"})),
            ("set", json!({"mood": "sad"})),
            ("alone", json!({"mood": "sad"})),
            ("bare", json!({})),
        ] {
            let before = world.rows(query, params.clone()).await;
            world.sql(
                "ALTER TABLE notes ALTER mood TYPE text; DROP TYPE mood;
                 CREATE TYPE mood AS ENUM ('calm', 'happy', 'sad');
                 ALTER TABLE notes ALTER mood TYPE mood USING mood::mood;",
            );
            assert_eq!(call(&world, query, params.clone()).await.0, before, "{query} pooled {pooled}");
            assert_eq!(call(&world, query, params).await, (before, 0), "{query} pooled {pooled}");
        }
    }
}

/// The server infers the types of `text` and `json` by where they stand, once per session: a column that becomes an
/// enum, or jsonb, wants them inferred anew.
#[tokio::test]
async fn a_column_that_becomes_another_type() {
    for pooled in [false, true] {
        let schema = "CREATE TYPE mood AS ENUM ('happy', 'sad');
                      CREATE TABLE notes (id INTEGER PRIMARY KEY, mood varchar(10), doc text);
                      INSERT INTO notes VALUES (1, 'sad', '{}');";
        let queries = "
            -- name: of :many
            -- param: mood text
            SELECT id FROM notes WHERE mood = :mood;
            -- name: set :one
            -- write
            -- param: mood text
            UPDATE notes SET mood = :mood RETURNING mood;
            -- name: alone :exec
            -- transaction: none
            -- param: mood text
            UPDATE notes SET mood = :mood;
            -- name: doc :exec
            -- param: doc json
            UPDATE notes SET doc = :doc;";
        let setup = Setup::new(Engine::Postgres).schema(schema).queries(queries.replace("            ", ""));
        let world = if pooled { setup.pooler(1) } else { setup }.start().await;
        for (query, params) in [
            ("of", json!({"mood": "sad"})),
            ("set", json!({"mood": "sad"})),
            ("alone", json!({"mood": "sad"})),
            ("doc", json!({"doc": {"a": 1}})),
        ] {
            let before = world.rows(query, params.clone()).await;
            world.sql("ALTER TABLE notes ALTER mood TYPE mood USING mood::mood, ALTER doc TYPE jsonb USING doc::jsonb");
            assert_eq!(
                call(&world, query, params.clone()).await,
                (before.clone(), 0),
                "{query} pooled {pooled}"
            );
            assert_eq!(
                call(&world, query, params.clone()).await,
                (before.clone(), 0),
                "{query} pooled {pooled}"
            );
            world.sql("ALTER TABLE notes ALTER mood TYPE varchar(10), ALTER doc TYPE text");
            assert_eq!(call(&world, query, params).await.0, before, "{query} pooled {pooled}");
        }
        // A value that does not fit any more is told so, and keeps its session.
        world.rows("of", json!({"mood": "sad"})).await;
        world.sql("ALTER TABLE notes ALTER mood TYPE integer USING 1");
        for _ in 0..2 {
            assert_eq!(world.failure("of", json!({"mood": "sad"})).await, (400, "bad_parameter".into()));
        }
    }
}

/// A column that takes more than it did: what a warm statement takes its parameter for is old, and refuses a text that is
/// right by now.
#[tokio::test]
async fn a_column_that_takes_what_it_did_not_take() {
    for pooled in [false, true] {
        let schema =
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, v integer); INSERT INTO notes VALUES (1, 7);";
        let queries = "
            -- name: of :many
            -- param: v text
            SELECT id FROM notes WHERE v = :v;
            -- name: set :exec
            -- param: v text
            UPDATE notes SET v = :v;
            -- name: alone :exec
            -- transaction: none
            -- param: v text
            UPDATE notes SET v = :v;";
        let setup = Setup::new(Engine::Postgres).schema(schema).queries(queries.replace("            ", ""));
        let world = if pooled { setup.pooler(1) } else { setup }.start().await;
        for query in ["of", "set", "alone"] {
            let given = |v: &str| json!({ "v": v });
            let before = world.rows(query, given("7")).await;
            assert_eq!(world.failure(query, given("seven")).await, (400, "bad_parameter".into()), "{query}");
            world.sql("ALTER TABLE notes ALTER v TYPE text USING 'seven'");
            let (after, retries) = call(&world, query, given("seven")).await;
            assert_eq!((after, retries), (before, 0), "{query} pooled {pooled}");
            world.sql("ALTER TABLE notes ALTER v TYPE integer USING 7");
        }
        // As the second step, where the first one has been done: all of it runs again.
        let both = |v: &str| {
            let step = |query: &str| json!({"query": query, "params": {"v": v}});
            json!({"transaction": [step("of"), step("set")]})
        };
        let first = world.call(both("7")).await;
        assert_eq!(first.0, 200, "{}", first.1);
        world.sql("ALTER TABLE notes ALTER v TYPE text USING 'seven'");
        let done = world.call(both("seven")).await;
        assert_eq!(done, (200, json!([[{"id": 1}], {"rowsAffected": 1}])), "pooled {pooled}");
    }
}

/// A column whose old type takes the value, too, and makes another one of it: a number has lost its zeros before it
/// becomes a text, a time its offset. What counts is the row that the server has then.
#[tokio::test]
async fn a_column_of_which_the_old_type_would_take_another_value() {
    for pooled in [false, true] {
        let schema = "CREATE EXTENSION citext;
                      CREATE TABLE notes (id INTEGER PRIMARY KEY, v integer); INSERT INTO notes VALUES (1, NULL);";
        let queries = "
            -- name: set :exec
            -- param: v text
            UPDATE notes SET v = :v;
            -- name: alone :exec
            -- transaction: none
            -- param: v text
            UPDATE notes SET v = :v;
            -- name: add :exec
            -- param: id int
            -- param: v text
            INSERT INTO notes VALUES (:id, :v);
            -- name: of :many
            -- param: v text
            SELECT id FROM notes WHERE v = :v;";
        let setup = Setup::new(Engine::Postgres).schema(schema).queries(queries.replace("            ", ""));
        let world = if pooled { setup.pooler(1) } else { setup }.start().await;
        let stored = |id: u32| {
            world.sql(&format!(
                "SET timezone = 'UTC'; SELECT '[' || v::text || ']' FROM notes WHERE id = {id}"
            ))
        };
        for (old, new, first, given, is) in [
            ("integer", "text", "7", "007", "007"),
            ("integer", "numeric", "7", " 7", "7"),
            ("date", "timestamp", "2026-01-31", "2026-01-31 12:30", "2026-01-31 12:30:00"),
            ("timestamp", "timestamptz", "2026-01-31 12:00", "2026-01-31 12:00+05", "2026-01-31 07:00:00+00"),
            ("jsonb", "json", "{}", "{\"b\": 1.0, \"a\":2}", "{\"b\": 1.0, \"a\":2}"),
            ("char(4)", "text", "a", "a ", "a "),
        ] {
            let steps = |v: &str| {
                let step = json!({"query": "set", "params": {"v": v}});
                json!({"transaction": [step, {"query": "add", "params": {"id": 2, "v": v}}, step]})
            };
            let sets = |v: &str| {
                let set = |id: u32| json!({"id": id, "v": v});
                json!({"batch": {"query": "add", "params": [set(3), set(4), set(5)]}})
            };
            for way in ["set", "alone", "transaction", "batch", "another session"] {
                let case = format!("{old} to {new} by {way}, pooled {pooled}");
                world.sql(&format!("TRUNCATE notes; ALTER TABLE notes DROP v, ADD v {old}; INSERT INTO notes VALUES (1, NULL)"));
                let call = async |v: &str| match way {
                    "transaction" => world.call(steps(v)).await,
                    "batch" => world.call(sets(v)).await,
                    "alone" => world.call(json!({"query": "alone", "params": {"v": v}})).await,
                    _ => world.call(json!({"query": "set", "params": {"v": v}})).await,
                };
                for _ in 0..2 {
                    let (status, body) = call(first).await;
                    assert_eq!(status, 200, "{case}: {body}");
                    world.sql("DELETE FROM notes WHERE id > 1");
                }
                world.sql(&format!("ALTER TABLE notes ALTER v TYPE {new} USING NULL::{new}"));
                if way == "another session" {
                    world.hang_up();
                }
                let (status, body) = call(given).await;
                assert_eq!(status, 200, "{case}: {body}");
                for id in match way {
                    "transaction" => vec![1, 2],
                    "batch" => vec![3, 4, 5],
                    _ => vec![1],
                } {
                    assert_eq!(stored(id), format!("[{is}]"), "{case}, row {id}");
                }
            }
        }
        // And a read finds what it would find.
        world.sql("TRUNCATE notes; ALTER TABLE notes ALTER v TYPE text; INSERT INTO notes VALUES (1, 'Ada')");
        for _ in 0..2 {
            assert_eq!(world.rows("of", json!({"v": "ADA"})).await, json!([]));
        }
        world.sql("ALTER TABLE notes ALTER v TYPE citext");
        let (rows, retries) = call(&world, "of", json!({"v": "ADA"})).await;
        assert_eq!((rows, retries), (json!([{"id": 1}]), 0), "pooled {pooled}");
    }
}

/// What changes a table between two equal steps of one transaction, said or hidden: the second one is another statement than
/// the first, and is prepared where it stands.
#[tokio::test]
async fn a_migration_between_two_equal_steps() {
    for pooled in [false, true] {
        let schema = "
            CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a');
            CREATE FUNCTION widen() RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7; RETURN 'wide'; END $$;
            CREATE PROCEDURE widen_by_call() LANGUAGE sql AS $$ SELECT widen() $$;
            CREATE FUNCTION remake() RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN DROP TABLE t; CREATE TABLE t (id INTEGER, extra TEXT, name TEXT);
                INSERT INTO t VALUES (1, '7', 'a'); RETURN 'made'; END $$;
            CREATE FUNCTION retype() RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN ALTER TABLE t ALTER id TYPE text; RETURN 'typed'; END $$;
            CREATE SCHEMA other; CREATE TABLE other.t (id TEXT, extra DATE);
            INSERT INTO other.t VALUES ('one', '2026-01-31');
            CREATE FUNCTION turn() RETURNS text LANGUAGE sql AS
                $$ SELECT set_config('search_path', 'other', true) $$;
        ";
        let queries = "
            -- name: all :many
            SELECT * FROM t;
            -- name: named :many
            -- param: id text
            SELECT * FROM t WHERE id = :id;
            -- name: alter :exec
            ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 7;
            -- name: called :exec
            CALL widen_by_call();
            -- name: block :exec
            DO $$ BEGIN PERFORM widen(); END $$;
            -- name: widen :one
            -- write
            SELECT widen() AS v;
            -- name: remake :one
            -- write
            SELECT remake() AS v;
            -- name: retype :one
            -- write
            SELECT retype() AS v;
            -- name: turn :one
            SELECT turn() AS v;";
        let narrow = json!([{"id": 1, "name": "a"}]);
        let wide = json!([{"id": 1, "name": "a", "extra": 7}]);
        for (change, after) in [
            ("alter", wide.clone()),
            ("called", wide.clone()),
            ("block", wide.clone()),
            ("widen", wide.clone()),
            ("remake", json!([{"id": 1, "extra": "7", "name": "a"}])),
            ("retype", json!([{"id": "1", "name": "a"}])),
            ("turn", json!([{"id": "one", "extra": "2026-01-31"}])),
        ] {
            if pooled && !["widen", "turn"].contains(&change) {
                continue;
            }
            let setup =
                Setup::new(Engine::Postgres).schema(schema).queries(queries.replace("            ", ""));
            let world = if pooled { setup.pooler(1) } else { setup }.start().await;
            let id = if change == "turn" { "one" } else { "1" };
            let one = json!({"query": "named", "params": {"id": "1"}});
            let again = json!({"query": "named", "params": {"id": id}});
            let steps =
                json!({"transaction": [{"query": "all"}, one, {"query": change}, {"query": "all"}, again]});
            // Warm, so that all of it goes out in one flight.
            world.rows("all", json!({})).await;
            world.rows("named", json!({"id": "1"})).await;
            let (status, body) = world.call(steps.clone()).await;
            assert_eq!(status, 200, "{change} pooled {pooled}: {body}");
            assert_eq!(
                [&body[0], &body[1], &body[3], &body[4]],
                [&narrow, &narrow, &after, &after],
                "{change}"
            );
            // What is outside of it is as it was, or as it has become.
            let now = if change == "turn" { narrow.clone() } else { after.clone() };
            assert_eq!(world.rows("all", json!({})).await, now, "{change} pooled {pooled}");
            if change == "turn" {
                // And again, as often as it comes, in this environment and with one statement for each.
                for _ in 0..3 {
                    let (status, body) = world.call(steps.clone()).await;
                    assert_eq!(
                        (status, &body[1], &body[4]),
                        (200, &narrow, &after),
                        "{change} pooled {pooled}"
                    );
                    assert_eq!(world.rows("all", json!({})).await, narrow);
                }
            }
        }
    }
}
