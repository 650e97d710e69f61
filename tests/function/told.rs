//! Every fault told as what it is: what a function raises is not the connection's, what a caller typed is not the
//! query's, and of neither is a value in the log. On every kind of server, with neighbours.

use serde_json::{Value, json};

use crate::on_every_server;
use crate::world::{Engine, PATIENCE, Setup, World, last_log};

on_every_server!(
    each_fault_is_told_as_what_it_is,
    no_value_of_a_callers_is_in_the_log,
    what_is_raised_runs_once_and_keeps_its_session,
);

/// The same through PgBouncer, which passes on what the server says, and has words of its own.
mod behind_pgbouncer {
    use crate::world::Engine;

    #[tokio::test]
    async fn each_fault_is_told_as_what_it_is() {
        super::told(super::setup(Engine::Postgres).pooler(1), Engine::Postgres).await;
    }

    #[tokio::test]
    async fn no_value_of_a_callers_is_in_the_log() {
        super::hidden(super::setup(Engine::Postgres).pooler(1), Engine::Postgres).await;
    }

    #[tokio::test]
    async fn what_is_raised_runs_once_and_keeps_its_session() {
        super::once(super::setup(Engine::Postgres).pooler(1), Engine::Postgres).await;
    }
}

mod sqlite {
    use crate::world::Engine;

    #[tokio::test]
    async fn each_fault_is_told_as_what_it_is() {
        super::each_fault_is_told_as_what_it_is(Engine::Sqlite).await;
    }

    #[tokio::test]
    async fn no_value_of_a_callers_is_in_the_log() {
        super::no_value_of_a_callers_is_in_the_log(Engine::Sqlite).await;
    }
}

/// A query, its parameters, and the code that its failure has.
type Case = (&'static str, Value, &'static str);

async fn each_fault_is_told_as_what_it_is(engine: Engine) {
    told(setup(engine), engine).await;
}

async fn no_value_of_a_callers_is_in_the_log(engine: Engine) {
    hidden(setup(engine), engine).await;
}

async fn what_is_raised_runs_once_and_keeps_its_session(engine: Engine) {
    once(setup(engine), engine).await;
}

async fn told(setup: Setup, engine: Engine) {
    let world = setup.start().await;
    for (query, params, code) in cases(engine) {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        let (status, body) = outcome.reply().unwrap();
        let line = last_log(&world.function, &outcome.request_id).await;
        assert_eq!(
            (status, body["error"]["code"].as_str()),
            (status_of(code), Some(code)),
            "{query}: {line}"
        );
        let retryable = matches!(code, "conflict" | "database_busy");
        assert_eq!(body["error"]["retryable"], retryable, "{query}: {line}");
        if code == "rejected" {
            assert_eq!(body["error"]["message"], format!("Refused: {}", params["x"].as_str().unwrap()));
        }
        // Nothing that a caller typed is for somebody to mend.
        let faults = metric(&world, &outcome.request_id, "Faults").await;
        assert_eq!(faults, u64::from(status >= 500), "{query}: {line}");
    }
}

async fn hidden(setup: Setup, engine: Engine) {
    const FAILURES: usize = 2_000;
    let world = setup.start().await;
    let cases = cases(engine);
    let mut last = String::new();
    for (query, params, _) in cases.iter().cycle().take(FAILURES) {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        assert!(outcome.reply().unwrap().0 >= 400, "{query}");
        last = outcome.request_id;
    }
    last_log(&world.function, &last).await;
    let logged = world.function.logs();
    let lines = logged.iter().filter(|line| line.contains("\"outcome\"")).count();
    assert_eq!(lines, FAILURES);
    for line in &logged {
        let line = without_numbers_of_ours(line).to_lowercase();
        for marked in ["v4lue", "4711", "😅", "\\ud83d", "f09f9885"] {
            assert!(!line.contains(marked), "{marked} in {line}");
        }
    }
}

/// A line of the log without the times and the numbers of requests, any of which may have the marked digits in it.
fn without_numbers_of_ours(line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return line.to_owned() };
    fields.retain(|name, value| {
        let ours = ["timestamp", "requestId", "traceId", "_aws"].contains(&name.as_str());
        !ours && !(value.is_number() && (name.ends_with("Millis") || name.ends_with("Ms")))
    });
    Value::Object(fields).to_string()
}

/// A connection's own failure would run a read again, on another connection.
async fn once(setup: Setup, engine: Engine) {
    let world = setup.start().await;
    world.one_session().await;
    let before = world.sql("SELECT count(*) FROM calls");
    let mut raised: u64 = 0;
    for (query, params, code) in cases(engine) {
        if query != "raise" || code == "conflict" {
            continue;
        }
        raised += 1;
        assert_eq!(
            world.failure("write", params.clone()).await,
            (status_of(code), code.to_owned()),
            "{params}"
        );
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        let line = last_log(&world.function, &outcome.request_id).await;
        assert_eq!((line["retries"].as_u64(), line.get("connectMillis")), (Some(0), None), "{line}");
    }
    assert!(raised >= 6, "{raised}");
    assert_eq!(world.sql("SELECT count(*) FROM calls"), before, "each write is undone");
}

fn status_of(code: &str) -> u64 {
    match code {
        "bad_parameter" => 400,
        "constraint" | "conflict" => 409,
        "rejected" => 422,
        "query_failed" => 500,
        other => panic!("{other}"),
    }
}

/// What an invocation's line of metrics has.
pub(crate) async fn metric(world: &World, request_id: &str, name: &str) -> u64 {
    let mine = |line: &str| line.contains("\"_aws\"") && line.contains(request_id);
    let line = world.function.wait_for_log(mine, PATIENCE).await.unwrap();
    serde_json::from_str::<Value>(&line).unwrap()[name].as_u64().unwrap()
}

fn cases(engine: Engine) -> Vec<Case> {
    let x = |text: &str| json!({"x": text});
    if engine == Engine::Sqlite {
        return vec![
            ("rows", json!({"n": -4711}), "bad_parameter"),
            ("checked", json!({"n": 47_110}), "constraint"),
            ("text_alone", x("v4lue"), "query_failed"),
            ("json", x("{v4lue"), "bad_parameter"),
            ("path", x("v4lue["), "bad_parameter"),
            ("raise", x("v4lue 4711"), "rejected"),
            ("escape", x("v4lue"), "bad_parameter"),
            ("absolute", json!({"n": i64::MIN}), "bad_parameter"),
            ("words", x("v4lue AND"), "bad_parameter"),
            ("words", x("v4lue : v4lue"), "bad_parameter"),
            ("words", x("v4lue*^\""), "bad_parameter"),
            ("strict", x("v4lue"), "bad_parameter"),
            ("mismatch", x("v4lue"), "bad_parameter"),
            ("twice", x("v4lue"), "constraint"),
            ("large", json!({"n": 2_000_004_711}), "bad_parameter"),
        ];
    }
    let mut cases: Vec<Case> = vec![
        ("rows", json!({"n": -4711}), "bad_parameter"),
        ("regex", x("v4lue("), "bad_parameter"),
        ("regex", x("[v4lue"), "bad_parameter"),
        ("checked", json!({"n": 47_110}), "constraint"),
        ("dynamic", x("v4lue"), "query_failed"),
        ("dynamic", x("v4lue v4lue"), "query_failed"),
        ("text_alone", x("v4lue"), "query_failed"),
        ("divide", json!({"n": 4_711}), "bad_parameter"),
        ("json", x("{v4lue"), "bad_parameter"),
        ("path", x("v4lue["), "bad_parameter"),
        ("raise", json!({"c": "0", "x": "v4lue 4711"}), "rejected"),
    ];
    let raised: &[&str] = if engine.plain() == Engine::Postgres {
        &[
            "28P01", "28000", "53300", "08P01", "3D000", "08000", "08001", "08003", "08006", "57P05",
            "25P03", "57P01", "57P03", "25006", "U0001", "0A000", "26000",
        ]
    } else {
        &["1045", "1040", "1053", "1213", "1792", "1203", "1927", "4031", "5001", "1461"]
    };
    for code in raised {
        cases.push(("raise", json!({"c": code, "x": "v4lue"}), "rejected"));
    }
    if engine.plain() == Engine::Postgres {
        cases.push(("like", x("v4lue\\"), "bad_parameter"));
        for query in
            ["zone", "unit", "tsquery", "regclass", "regconfig", "setting", "role", "hex", "interval"]
        {
            cases.push((query, x("v4lue v4lue"), "bad_parameter"));
        }
        for query in ["regclass", "sequence"] {
            cases.push((query, x("v4.l.u.e.v4lue"), "bad_parameter"));
        }
        cases.push(("character", json!({"n": 47_114_711}), "bad_parameter"));
        cases.push(("byte", json!({"n": 4_711}), "bad_parameter"));
        cases.push(("small", json!({"n": 4_711}), "constraint"));
        cases.push(("warn", x("v4lue"), "rejected"));
        cases.push(("assert", x("v4lue"), "query_failed"));
        cases.push(("raise", json!({"c": "22023", "x": "v4lue"}), "bad_parameter"));
        cases.push(("raise", json!({"c": "23514", "x": "v4lue"}), "constraint"));
        cases.push(("raise", json!({"c": "40001", "x": "v4lue"}), "conflict"));
    } else {
        for query in ["latin", "old_unicode"] {
            cases.push((query, x("v4lue 😅"), "bad_parameter"));
        }
        // MariaDB makes NULL of it.
        if engine == Engine::Mysql {
            cases.push(("geometry", x("v4lue"), "bad_parameter"));
        }
        cases.push(("boolean_mode", x("+-v4lue ("), "bad_parameter"));
        cases.push(("column", x("v4lue"), "bad_parameter"));
        cases.push(("long", x("v4lue v4lue v4lue v4lue"), "bad_parameter"));
    }
    cases
}

fn setup(engine: Engine) -> Setup {
    let (schema, queries) = match engine.plain() {
        Engine::Postgres => (IN_POSTGRES, QUERIES_IN_POSTGRES),
        Engine::Sqlite => (IN_SQLITE, QUERIES_IN_SQLITE),
        _ => (IN_MYSQL, QUERIES_IN_MYSQL),
    };
    Setup::new(engine).schema(schema).queries(format!("{QUERIES}{queries}"))
}

const IN_POSTGRES: &str = "
CREATE TABLE t (n integer, v varchar(8));
INSERT INTO t VALUES (1, 'one');
CREATE TABLE calls (x text);
CREATE VIEW few AS SELECT n FROM t WHERE n < 10 WITH CHECK OPTION;
CREATE DOMAIN small AS integer CHECK (VALUE < 10);
CREATE FUNCTION refuse(c text, x text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'Refused: %', x USING ERRCODE = CASE c WHEN '0' THEN 'P0001' ELSE c END; END $$;
CREATE FUNCTION loud(x text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'got %', x; RAISE WARNING 'got %', x; RAISE 'Refused: %', x; END $$;
CREATE FUNCTION sure(x text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN ASSERT x = '', 'got ' || x; RETURN x; END $$;
CREATE FUNCTION dynamic(x text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE n integer; BEGIN EXECUTE 'SELECT n FROM ' || x || ' WHERE' INTO n; RETURN n; END $$;
CREATE FUNCTION refuse_write(c text, x text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN INSERT INTO calls VALUES (x); RETURN refuse(c, x); END $$;
";

const IN_MYSQL: &str = "
CREATE TABLE t (
    n INT, v VARCHAR(8), l VARCHAR(80) CHARACTER SET latin1, u VARCHAR(80) CHARACTER SET utf8mb3,
    b VARCHAR(80), FULLTEXT (b)
);
INSERT INTO t VALUES (1, 'one', 'l', 'u', 'some words');
CREATE TABLE calls (x TEXT);
CREATE VIEW few AS SELECT n FROM t WHERE n < 10 WITH CHECK OPTION;
CREATE FUNCTION refuse(c INT, x TEXT) RETURNS TEXT DETERMINISTIC
BEGIN DECLARE said TEXT DEFAULT CONCAT('Refused: ', x); IF c = 0 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = said; \
END IF; SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = c, MESSAGE_TEXT = said; RETURN x; END;
CREATE FUNCTION refuse_write(c INT, x TEXT) RETURNS TEXT DETERMINISTIC
BEGIN INSERT INTO calls VALUES (x); RETURN refuse(c, x); END;
CREATE PROCEDURE dynamic(x TEXT)
BEGIN SET @statement = CONCAT('SELECT n FROM ', x, ' WHERE'); PREPARE s FROM @statement; EXECUTE s; END;
";

const IN_SQLITE: &str = "
CREATE TABLE t (n INTEGER, v TEXT);
INSERT INTO t VALUES (1, 'one');
CREATE TABLE few (n INTEGER CHECK (n < 10));
CREATE TABLE exact (n INTEGER UNIQUE, v TEXT UNIQUE) STRICT;
INSERT INTO exact VALUES (1, 'v4lue');
CREATE TABLE numbered (id INTEGER PRIMARY KEY);
CREATE TABLE refused (x TEXT);
CREATE TRIGGER refuse BEFORE INSERT ON refused BEGIN SELECT RAISE(ABORT, 'Refused: ' || NEW.x); END;
CREATE VIRTUAL TABLE words USING fts5 (b);
INSERT INTO words VALUES ('some words');
";

const QUERIES: &str = "\
-- name: rows :many
-- param: n int
SELECT n FROM t LIMIT :n;

-- name: checked :exec
-- param: n int
INSERT INTO few (n) VALUES (:n);
";

const QUERIES_IN_POSTGRES: &str = "
-- name: regex :one
-- param: x text
SELECT v ~ :x AS found FROM t;

-- name: divide :one
-- param: n int
SELECT :n / (n - 1) AS r FROM t;

-- name: json :one
-- param: x text
SELECT CAST(CAST(:x AS text) AS jsonb) AS j;

-- name: path :one
-- param: x text
SELECT jsonb_path_exists('{}', CAST(CAST(:x AS text) AS jsonpath)) AS p;

-- name: like :one
-- param: x text
SELECT CAST(:x AS text) LIKE CAST(:x AS text) AS found;

-- name: zone :one
-- param: x text
SELECT now() AT TIME ZONE :x AS at;

-- name: unit :one
-- param: x text
SELECT date_trunc(:x, now()) AS at;

-- name: tsquery :one
-- param: x text
SELECT to_tsquery('simple', :x)::text AS q;

-- name: regclass :one
-- param: x text
SELECT CAST(CAST(:x AS text) AS regclass)::text AS c;

-- name: regconfig :one
-- param: x text
SELECT to_tsvector(CAST(CAST(:x AS text) AS regconfig), 'a')::text AS v;

-- name: setting :one
-- param: x text
SELECT current_setting(:x) AS s;

-- name: role :one
-- param: x text
SELECT pg_has_role(CAST(:x AS name), 'USAGE') AS r;

-- name: sequence :one
-- param: x text
SELECT currval(CAST(CAST(:x AS text) AS regclass)) AS n;

-- name: hex :one
-- param: x text
SELECT decode(:x, 'hex') AS b;

-- name: interval :one
-- param: x text
SELECT CAST(CAST(:x AS text) AS interval) AS i;

-- name: character :one
-- param: n int
SELECT chr(CAST(:n AS integer)) AS c;

-- name: byte :one
-- param: n int
SELECT get_byte('\\x00'::bytea, CAST(:n AS integer)) AS b;

-- name: small :one
-- param: n int
SELECT CAST(CAST(:n AS integer) AS small) AS n;

-- name: text_alone :one
-- param: x text = 'v4lue'
SELECT CASE WHEN v IS NULL THEN :x ELSE missing(v) END AS r FROM t;

-- name: raise :one
-- param: c text
-- param: x text
SELECT refuse(:c, :x) AS r;

-- name: write :one
-- write
-- param: c text
-- param: x text
SELECT refuse_write(:c, :x) AS r;

-- name: warn :one
-- param: x text
SELECT loud(:x) AS r;

-- name: assert :one
-- param: x text
SELECT sure(:x) AS r;

-- name: dynamic :one
-- param: x text
SELECT dynamic(:x) AS r;
";

const QUERIES_IN_MYSQL: &str = "
-- name: regex :one
-- param: x text
SELECT v REGEXP :x AS found FROM t;

-- name: divide :exec
-- param: n int
UPDATE t SET n = :n / (n - 1) WHERE v = 'one';

-- name: json :exec
-- param: x text
UPDATE t SET b = JSON_SET(:x, '$.a', 1);

-- name: path :exec
-- param: x text
UPDATE t SET b = JSON_EXTRACT('{}', :x);

-- name: latin :many
-- param: x text
SELECT n FROM t WHERE l = :x;

-- name: old_unicode :exec
-- param: x text
UPDATE t SET u = :x;

-- name: geometry :one
-- param: x text
SELECT ST_AsText(ST_GeomFromText(:x)) AS g;

-- name: boolean_mode :many
-- param: x text
SELECT n FROM t WHERE MATCH (b) AGAINST (:x IN BOOLEAN MODE);

-- name: column :exec
-- param: x text
UPDATE t SET n = :x;

-- name: long :exec
-- param: x text
UPDATE t SET v = :x;

-- name: text_alone :one
-- param: x text
SELECT :x AS x, missing(v) AS r FROM t;

-- name: raise :one
-- param: c int
-- param: x text
SELECT refuse(:c, :x) AS r;

-- name: write :one
-- write
-- param: c int
-- param: x text
SELECT refuse_write(:c, :x) AS r;

-- name: dynamic :many
-- write
-- param: x text
CALL dynamic(:x);
";

const QUERIES_IN_SQLITE: &str = "
-- name: json :one
-- param: x text
SELECT json_array_length(:x) AS n;

-- name: path :one
-- param: x text
SELECT json_extract('{}', :x) AS p;

-- name: raise :exec
-- param: x text
INSERT INTO refused (x) VALUES (:x);

-- name: escape :one
-- param: x text
SELECT v LIKE 'a' ESCAPE :x AS found FROM t;

-- name: absolute :one
-- param: n int
SELECT abs(:n) AS n;

-- name: words :many
-- param: x text
SELECT b FROM words WHERE words MATCH :x;

-- name: strict :exec
-- param: x text
INSERT INTO exact (n) VALUES (:x);

-- name: mismatch :exec
-- param: x text
INSERT INTO numbered (id) VALUES (:x);

-- name: twice :exec
-- param: x text
INSERT INTO exact (v) VALUES (:x);

-- name: large :one
-- param: n int
SELECT zeroblob(:n) AS b;

-- name: text_alone :one
-- param: x text
SELECT :x AS x, missing(v) AS r FROM t;
";
