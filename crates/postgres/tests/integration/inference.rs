//! What the server takes a `text` or `json` parameter for: what stands beside it, at each of its places.

use lambda_rds_core::error::Fault;

use crate::fixture::{Live, query, undone};

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

#[track_caller]
fn check(live: &mut Live, sql: &str, params: &[(&str, &str)], reply: &str) {
    let outcome = undone(live, sql, params).unwrap_or_else(|error| panic!("{sql}: {error}"));
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
fn text_goes_into_everything_that_the_server_reads_it_as() {
    let mut live = Live::new(SCHEMA);
    for (column, given, reply) in [
        ("id", "7", "7"),
        ("at", "2026-01-31T01:00+01", "\"2026-01-31T00:00:00Z\""),
        ("born", "2026-01-31", "\"2026-01-31\""),
        ("key", "00112233445566778899aabbccddeeff", "\"00112233-4455-6677-8899-aabbccddeeff\""),
        ("data", "\\\\x00ff", "\"AP8=\""),
        ("doc", "[1, 2]", "[1,2]"),
        ("ip", "::1", "\"::1\""),
        ("span", "1 day", "\"P1D\""),
        ("place", "(1,2)", "\"(1,2)\""),
        ("code", "x", "\"x\""),
        ("tags", "{a,b}", "[\"a\",\"b\"]"),
        ("labels", "{a,B}", "[\"a\",\"B\"]"),
    ] {
        let sql = format!("UPDATE t SET {column} = :v WHERE id = 1 RETURNING {column} AS v");
        let reply = format!("[{{\"v\":{reply}}}]");
        check(&mut live, &sql, &[("v text", &format!("\"{given}\""))], &reply);
        if column != "id" {
            check(&mut live, &sql, &[("v text", "null")], "[{\"v\":null}]");
        }
    }
    let sql = "SELECT id FROM t WHERE id + 0 = :v LIMIT :n";
    check(&mut live, sql, &[("v text", "\"1\""), ("n text", "\"5\"")], "[{\"id\":1}]");
}

#[test]
fn text_that_the_place_does_not_take_is_the_callers_and_named() {
    let mut live = Live::new(SCHEMA);
    live.psql(
        "CREATE EXTENSION ltree; CREATE DOMAIN positive AS int CHECK (VALUE > 0); \
         ALTER TABLE t ADD tree ltree, ADD flags bit(3), ADD count positive, ADD price numeric(4,2)",
    );
    for (column, value, fault) in [
        ("id", "one", Fault::BadParameter),
        ("id", "99999999999", Fault::BadParameter),
        ("at", "soon", Fault::BadParameter),
        ("born", "2026-13-01", Fault::BadParameter),
        ("key", "00", Fault::BadParameter),
        ("data", "\\\\xzz", Fault::BadParameter),
        ("doc", "{", Fault::BadParameter),
        ("ip", "10.0.0", Fault::BadParameter),
        ("span", "a while", Fault::BadParameter),
        ("place", "here", Fault::BadParameter),
        ("tags", "{a", Fault::BadParameter),
        ("page", "<a>", Fault::BadParameter),
        ("tree", "a..b", Fault::BadParameter),
        ("flags", "10", Fault::BadParameter),
        ("price", "1000", Fault::BadParameter),
        ("mood", "glad", Fault::BadParameter),
        ("short", "much too long for it", Fault::BadParameter),
        // A rule of the schema.
        ("count", "-1", Fault::Constraint),
    ] {
        let sql = format!("UPDATE t SET {column} = :v WHERE id = 1 RETURNING id");
        let error = undone(&mut live, &sql, &[("v text", &format!("\"{value}\""))]).unwrap_err();
        assert_eq!(error.fault(), fault, "{sql} {value}: {error}");
        assert!(!error.detail().contains("glad") && !error.message().contains("glad"), "{error}");
        if matches!(column, "id" | "key" | "tree" | "page") {
            assert!(error.message().contains("`v`"), "{column}: {}", error.message());
        }
    }
    // A value that is fine where it stands, and a query that is not.
    let error = undone(&mut live, "SELECT 10 / :v::int AS v", &[("v text", "\"0\"")]).unwrap_err();
    assert_eq!(error.fault(), Fault::BadParameter, "{error}");
}
