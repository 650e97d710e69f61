//! What is said of a statement that is not run.

use lambda_rds_core::backend::State;
use lambda_rds_core::describe::{Described, Description, Form, JsonType, Writes};

use crate::fixture::{Live, query};

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL, note text, tags int[] NOT NULL, \
    at timestamptz NOT NULL, place point); GRANT ALL ON t TO PUBLIC; \
    CREATE VIEW v AS SELECT x.id, y.name FROM t x LEFT JOIN t y ON y.id = x.id + 1; GRANT ALL ON v TO PUBLIC; \
    CREATE SEQUENCE s; CREATE FUNCTION bump() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
    CREATE FUNCTION look() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'; \
    CREATE TABLE log (what text); GRANT ALL ON log TO PUBLIC; \
    CREATE FUNCTION log_it(text) RETURNS text LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING what'; \
    CREATE FUNCTION mark(n int) RETURNS int LANGUAGE sql \
        BEGIN ATOMIC UPDATE t SET note = '' WHERE id = n RETURNING n; END; \
    CREATE FUNCTION forget(n int) RETURNS int LANGUAGE plpgsql \
        AS 'DECLARE gone int; BEGIN DELETE FROM log; GET DIAGNOSTICS gone = ROW_COUNT; RETURN gone; END'; \
    CREATE FUNCTION maybe(n int) RETURNS int LANGUAGE plpgsql \
        AS 'BEGIN IF n > 1 THEN DELETE FROM log; END IF; RETURN n; END'; \
    CREATE FUNCTION two(int) RETURNS int LANGUAGE sql AS 'DELETE FROM log; SELECT 1'; \
    CREATE FUNCTION two(text) RETURNS int LANGUAGE sql AS 'SELECT 1'";

fn taken(live: &mut Live, sql: &str, params: &[(&str, &str)]) -> Description {
    let statement = query(sql, params);
    match live.block_on(|session| session.describe(&statement)).unwrap() {
        Described::Statement(description) => description,
        Described::Refused(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn columns_are_told_with_their_types() {
    let mut live = Live::new(TABLE);
    let description = taken(&mut live, "SELECT t.*, id + 1 AS next FROM t", &[]);
    let columns: Vec<_> = description
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.type_name.as_str(), column.form.clone(), column.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "int8", Form::Value(JsonType::Int64), Some(false)),
            ("name", "text", Form::Value(JsonType::Text), Some(false)),
            ("note", "text", Form::Value(JsonType::Text), Some(true)),
            ("tags", "int4[]", Form::Array(JsonType::Int32), Some(false)),
            ("at", "timestamptz", Form::Value(JsonType::Timestamptz), Some(false)),
            ("place", "point", Form::Value(JsonType::Text), Some(true)),
            ("next", "int8", Form::Value(JsonType::Int64), None),
        ]
    );
    // A view's columns say nothing, whatever those of its tables do.
    let view = taken(&mut live, "SELECT id, name FROM v", &[]);
    assert!(view.columns.iter().all(|column| column.nullable != Some(false)), "{view:?}");
}

#[test]
fn parameters_are_told_with_what_the_server_takes_them_for() {
    let mut live = Live::new(TABLE);
    let sql = "SELECT id FROM t WHERE name = :a AND id = :b AND at = :c";
    let description = taken(&mut live, sql, &[("a text", "null"), ("b int", "null"), ("c text", "null")]);
    let parameters: Vec<_> = description
        .parameters
        .iter()
        .map(|parameter| (&*parameter.name, parameter.type_name.as_str(), parameter.trouble.is_some()))
        .collect();
    assert_eq!(parameters, [("a", "text", false), ("b", "int8", false), ("c", "timestamptz", false)]);
}

#[test]
fn calls_that_write_or_may_are_told() {
    let mut live = Live::new(TABLE);
    let mut writes = |sql: &str| taken(&mut live, sql, &[]).writes;
    assert_eq!(writes("SELECT look() AS a"), Writes::Unknown);
    assert!(matches!(writes("SELECT bump() AS a"), Writes::Perhaps(why) if why.contains("function bump")));
    let always = "the function log_it, which always writes (INSERT)";
    for sql in ["SELECT log_it('a') AS a", "SELECT id FROM t WHERE log_it(name) IS NULL"] {
        assert!(matches!(writes(sql), Writes::Yes(how) if how.contains(always)), "{sql}");
    }
    for (sql, word) in [("SELECT mark(1) AS a", "UPDATE"), ("SELECT forget(1) AS a", "DELETE")] {
        assert!(matches!(writes(sql), Writes::Yes(how) if how.contains(word)), "{sql}");
    }
    // One of the two of this name only looks, and the other may go another way.
    for sql in ["SELECT two(1) AS a", "SELECT maybe(1) AS a"] {
        assert!(matches!(writes(sql), Writes::Perhaps(_)), "{sql}");
    }
    // What is proven is what the server then does.
    for (sql, refused) in [
        ("SELECT log_it('a') AS a", true),
        ("SELECT mark(1) AS a", true),
        ("SELECT forget(1) AS a", true),
        ("SELECT two(1) AS a", true),
        ("SELECT two('a') AS a", false),
        ("SELECT maybe(1) AS a", false),
        ("SELECT maybe(2) AS a", true),
    ] {
        let read = live.read(sql, &[]);
        let refusal = read.as_ref().err().and_then(|error| error.sqlstate());
        assert_eq!(refusal, refused.then_some("25006"), "{sql}: {read:?}");
    }
    let mut writes = |sql: &str| taken(&mut live, sql, &[]).writes;
    assert!(matches!(writes("SELECT setval('s', 1) FROM pg_class WHERE false"), Writes::Yes(_)));
}

#[test]
fn what_is_refused_is_told_with_its_line_and_leaves_the_session_usable() {
    let mut live = Live::new(TABLE);
    for (sql, code, line) in [
        ("SELECT id,\n  missing\nFROM t", "42703", 2),
        ("SELECT 1\nFROM nowhere", "42P01", 2),
        ("SELECT id FROM t WHERE", "42601", 1),
    ] {
        let statement = query(sql, &[]);
        let described = live.block_on(|session| session.describe(&statement)).unwrap();
        let Described::Refused(refused) = described else { panic!("{sql} was taken") };
        assert_eq!((refused.code.as_deref(), refused.line), (Some(code), Some(line)), "{sql}");
        assert_eq!(live.session().state(), State::Idle);
    }
    taken(&mut live, "SELECT 1 AS one", &[]);
}
