//! What the server takes a `text` or `json` parameter for: what stands beside it, at each of its places.

use lambda_rds_core::backend::Access;
use lambda_rds_core::config::Int64;
use lambda_rds_core::error::{Fault, Result};
use lambda_rds_core::queries::Verb;
use lambda_rds_core::rows::{Limits, RowWriter};

use crate::fixture::{Live, query};

const SCHEMA: &str = "
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN email AS citext;
CREATE TABLE t (
    id integer PRIMARY KEY, name text, short varchar(10), fixed char(3), address citext, work email, mood mood,
    doc jsonb, raw json, at timestamptz, code \"char\", page xml, ip inet, key uuid, span interval, data bytea,
    born date, place point, tags text[], labels citext[]
);
INSERT INTO t (id, name, short, fixed, address, work, mood, doc, raw, at) VALUES
    (1, 'Ada', 'ada', 'abc', 'Ada@Example.com', 'ADA@work.com', 'happy', '{\"a\": 1}', '{\"a\": 1}', '2026-01-31'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
GRANT ALL ON t TO PUBLIC;
";

/// Runs a query where an error would be final, inside a transaction and without a word before, so that each one
/// shows that the server has to be asked only once; gives the reply.
fn run(live: &mut Live, sql: &str, params: &[(&str, &str)]) -> Result<String> {
    let statement = query(sql, params);
    let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
    let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
    live.block_on(|session| session.begin(Access::Write)).unwrap();
    let outcome = live.block_on(|session| session.run(&statement, &mut rows));
    live.block_on(|session| session.rollback()).unwrap();
    rows.end_result(outcome?)?;
    Ok(String::from_utf8(rows.finish()?).unwrap())
}

#[track_caller]
fn check(live: &mut Live, sql: &str, params: &[(&str, &str)], reply: &str) {
    let outcome = run(live, sql, params).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(outcome, reply, "{sql} {params:?}");
}

#[test]
fn text_goes_into_whatever_is_text() {
    let mut live = Live::new(SCHEMA);
    for (column, given, reply) in [
        ("name", "\"Zoë\"", "\"Zoë\""),
        ("short", "\"a\"", "\"a\""),
        ("fixed", "\"a\"", "\"a  \""),
        ("address", "\"AbC\"", "\"AbC\""),
        ("work", "\"AbC\"", "\"AbC\""),
        ("mood", "\"sad\"", "\"sad\""),
        ("page", "\"<a/>\"", "\"<a/>\""),
        ("raw", "\"[1]\"", "[1]"),
        ("mood", "null", "null"),
    ] {
        let sql = format!("INSERT INTO t (id, {column}) VALUES (9, :v) RETURNING {column} AS v");
        check(&mut live, &sql, &[("v text", given)], &format!("[{{\"v\":{reply}}}]"));
    }
    for (column, given) in [
        ("address", "\"ADA@EXAMPLE.COM\""),
        ("work", "\"ada@WORK.com\""),
        ("mood", "\"happy\""),
        ("fixed", "\"abc\""),
        ("short", "\"ada\""),
    ] {
        let sql = format!("SELECT id FROM t WHERE {column} = :v");
        check(&mut live, &sql, &[("v text", given)], "[{\"id\":1}]");
    }
}

#[test]
fn json_goes_into_both_kinds_of_it() {
    let mut live = Live::new(SCHEMA);
    let given = [("v json", "{\"a\" : 1.0, \"a\": 2}")];
    for (sql, reply) in [
        ("INSERT INTO t (id, raw) VALUES (9, :v) RETURNING raw AS v", "{\"a\":1.0,\"a\":2}"),
        ("INSERT INTO t (id, doc) VALUES (9, :v) RETURNING doc AS v", "{\"a\":2}"),
        (
            "INSERT INTO t (id, name) VALUES (9, :v) RETURNING name AS v",
            "\"{\\\"a\\\" : 1.0, \\\"a\\\": 2}\"",
        ),
        ("SELECT jsonb_typeof(:v) AS v", "\"object\""),
        ("SELECT json_typeof(:v) AS v", "\"object\""),
        ("SELECT :v::jsonb || '{\"b\": 1}' AS v", "{\"a\":2,\"b\":1}"),
        ("SELECT doc || :v AS v FROM t WHERE id = 1", "{\"a\":2}"),
        ("SELECT :v::json ->> 'a' AS v", "\"2\""),
    ] {
        check(&mut live, sql, &given, &format!("[{{\"v\":{reply}}}]"));
    }
}

/// The weak spot of one type per placeholder: the first place decided, or nothing did.
#[test]
fn a_parameter_that_may_be_null_is_prepared_once() {
    let mut live = Live::new(SCHEMA);
    for column in ["name", "short", "fixed", "address", "work", "mood"] {
        let value = match column {
            "name" => "\"Ada\"",
            "short" => "\"ada\"",
            "fixed" => "\"abc\"",
            "address" => "\"ADA@example.com\"",
            "work" => "\"ada@work.com\"",
            _ => "\"happy\"",
        };
        let sql = format!("SELECT id FROM t WHERE (:v IS NULL OR {column} = :v) ORDER BY id");
        check(&mut live, &sql, &[("v text", value)], "[{\"id\":1}]");
        check(&mut live, &sql, &[("v text", "null")], "[{\"id\":1},{\"id\":2}]");
        let sql = format!("SELECT id FROM t WHERE ({column} = :v OR :v IS NULL) AND :v IS NOT NULL");
        check(&mut live, &sql, &[("v text", value)], "[{\"id\":1}]");
        check(&mut live, &sql, &[("v text", "null")], "[]");
        let sql = format!("SELECT id FROM t WHERE {column} IS NOT DISTINCT FROM :v");
        check(&mut live, &sql, &[("v text", value)], "[{\"id\":1}]");
        check(&mut live, &sql, &[("v text", "null")], "[{\"id\":2}]");
    }
    let sql = "SELECT id FROM t WHERE (:v IS NULL OR doc @> :v) ORDER BY id";
    check(&mut live, sql, &[("v json", "{\"a\": 1}")], "[{\"id\":1}]");
    check(&mut live, sql, &[("v json", "null")], "[{\"id\":1},{\"id\":2}]");
    check(
        &mut live,
        "SELECT :v IS NULL AS a, CASE WHEN :w IS NOT NULL THEN 1 ELSE 0 END AS b",
        &[("v text", "null"), ("w json", "{}")],
        "[{\"a\":true,\"b\":1}]",
    );
    // Of other types the server knows all there is to know.
    let sql = "SELECT count(*) AS n FROM t WHERE (:id IS NULL OR id = :id) AND (:at IS NULL OR at >= :at)";
    check(&mut live, sql, &[("id int", "1"), ("at timestamptz", "null")], "[{\"n\":1}]");
}

#[test]
fn each_place_has_its_own_type() {
    let mut live = Live::new(SCHEMA);
    // Compared as text, as the first place is, the citext would not match.
    let sql = "SELECT id FROM t WHERE name = :v OR address = :v OR work = :v";
    check(&mut live, sql, &[("v text", "\"ada@EXAMPLE.com\"")], "[{\"id\":1}]");
    check(&mut live, sql, &[("v text", "\"ADA@WORK.COM\"")], "[{\"id\":1}]");
    check(&mut live, sql, &[("v text", "\"ada\"")], "[]");
    // text and varchar: "inconsistent types deduced", 42P08.
    let sql = "INSERT INTO t (id, short) SELECT :id, :v WHERE NOT EXISTS (SELECT FROM t WHERE short = :v) \
               RETURNING short";
    let params = |value| [("id int", "3"), ("v text", value)];
    check(&mut live, sql, &params("\"new\""), "[{\"short\":\"new\"}]");
    check(&mut live, sql, &params("\"ada\""), "[]");
    let sql = "UPDATE t SET short = :v WHERE short <> :v RETURNING id";
    check(&mut live, sql, &[("v text", "\"x\"")], "[{\"id\":1}]");
    let sql = "INSERT INTO t (id, name, short, address, mood) VALUES (3, :v, :v, :v, :v) \
               RETURNING name, short, address, mood";
    let reply = "[{\"name\":\"sad\",\"short\":\"sad\",\"address\":\"sad\",\"mood\":\"sad\"}]";
    check(&mut live, sql, &[("v text", "\"sad\"")], reply);
    check(&mut live, "SELECT :v AS a, :v || :v AS b", &[("v text", "\"x\"")], "[{\"a\":\"x\",\"b\":\"xx\"}]");
}

#[test]
fn a_statement_that_groups_has_one_placeholder_for_all_places() {
    let mut live = Live::new(SCHEMA);
    let sql = "SELECT date_trunc(:unit, at) AS v, count(*) AS n FROM t WHERE (:name IS NULL OR name = :name) \
               GROUP BY date_trunc(:unit, at) HAVING count(date_trunc(:unit, at)) > 0";
    let params = [("unit text", "\"year\""), ("name text", "null")];
    check(&mut live, sql, &params, "[{\"v\":\"2026-01-01T00:00:00Z\",\"n\":1}]");
    let sql = "SELECT DISTINCT name || :v AS v FROM t WHERE name IS NOT NULL ORDER BY name || :v";
    check(&mut live, sql, &[("v text", "\"!\"")], "[{\"v\":\"Ada!\"}]");
    let sql =
        "SELECT DISTINCT ON (date_trunc(:v, at)) id FROM t WHERE at IS NOT NULL ORDER BY date_trunc(:v, at)";
    check(&mut live, sql, &[("v text", "\"year\"")], "[{\"id\":1}]");
}

#[test]
fn what_the_server_cannot_infer_is_declared_and_nothing_else() {
    let mut live = Live::new(SCHEMA);
    let mut check = |sql: &str, params: &[(&str, &str)], reply: &str| {
        let rows = live.run(&query(sql, params)).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(serde_json::to_string(&rows).unwrap(), reply, "{sql}");
    };
    let text = [("v text", "\"ADA@example.com\"")];
    // `concat` takes anything; the citext must not be compared as text for that.
    check("SELECT concat(:v, id) AS v FROM t WHERE address = :v", &text, "[{\"v\":\"ADA@example.com1\"}]");
    check(
        "SELECT json_build_object('a', :v) AS v FROM t WHERE address = :v",
        &text,
        "[{\"v\":{\"a\":\"ADA@example.com\"}}]",
    );
    check("SELECT num_nulls(:v, :v) AS v", &[("v text", "null")], "[{\"v\":2}]");
    check("SELECT concat(:a, :b) AS v", &[("a text", "\"x\""), ("b json", "{}")], "[{\"v\":\"x{}\"}]");
    check("SELECT to_json(:v) AS v", &[("v json", "[1]")], "[{\"v\":[1]}]");
    check("SELECT :v AS v, :v::jsonb AS w", &[("v json", "[1]")], "[{\"v\":\"[1]\",\"w\":[1]}]");
    check("SELECT pg_typeof(:v)::text AS v", &[("v text", "\"\"")], "[{\"v\":\"text\"}]");
}

#[test]
fn text_that_is_taken_for_something_else_is_refused_with_what_to_write() {
    let mut live = Live::new(SCHEMA);
    for (column, type_name, declare) in [
        ("id", "int4", "declare it `int`"),
        ("at", "timestamptz", "declare it `timestamptz`"),
        ("born", "date", "declare it `date`"),
        ("key", "uuid", "declare it `uuid`"),
        ("data", "bytea", "declare it `bytes`"),
        ("doc", "jsonb", "declare it `json`"),
        ("ip", "inet", ""),
        ("span", "interval", ""),
        ("place", "point", ""),
        ("code", "\"char\"", ""),
        ("tags", "text[]", ""),
        ("labels", "citext[]", ""),
    ] {
        // As many bytes as each of the types has, so that they could be taken for one.
        for value in ["\"1234\"", "\"12345678\"", "\"1234567890123456\"", "\"1\"", "null"] {
            let sql = format!("UPDATE t SET {column} = :v WHERE id = 1 RETURNING id");
            let error = run(&mut live, &sql, &[("v text", value)]).unwrap_err();
            assert_eq!(error.fault(), Fault::QueryFailed, "{sql}: {error}");
            let detail = error.detail();
            assert!(detail.contains("`v`") && detail.contains(declare), "{detail}");
            assert!(detail.contains(&format!(":v::text::{type_name}`")), "{detail}");
            assert!(!error.message().contains("`v`"), "{error}");
        }
    }
    check(
        &mut live,
        "UPDATE t SET ip = :v::text::inet RETURNING ip",
        &[("v text", "\"::1\"")],
        "[{\"ip\":\"::1\"},{\"ip\":\"::1\"}]",
    );
    check(
        &mut live,
        "SELECT 1 AS v WHERE 'AB'::citext = ANY(:v::citext[])",
        &[("v text[]", "[\"ab\"]")],
        "[{\"v\":1}]",
    );
    check(
        &mut live,
        "SELECT id FROM t WHERE mood = ANY(:v::mood[])",
        &[("v text[]", "[\"happy\"]")],
        "[{\"id\":1}]",
    );
}
