//! Every type that the catalog lists, in a database that has all of the contrib extensions that bring types: out, by itself
//! and in arrays, and in as text, right and wrong. A type that is not in the tables here fails: nobody has looked at it.

use std::collections::BTreeMap;

use lambda_rds_core::backend::{Pooling, State};
use lambda_rds_core::error::{Error, Fault};

use crate::fixture::{Live, query, undone};

/// The contrib extensions with types of their own, and types that a database makes itself.
const SCHEMA: &str = "
CREATE EXTENSION btree_gist; CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE EXTENSION dblink;
CREATE EXTENSION earthdistance; CREATE EXTENSION hstore; CREATE EXTENSION intarray; CREATE EXTENSION isn;
CREATE EXTENSION lo; CREATE EXTENSION ltree; CREATE EXTENSION pg_trgm; CREATE EXTENSION seg; CREATE EXTENSION tablefunc;
CREATE SCHEMA \"else where\";
CREATE TYPE \"else where\".\"Mood; no\" AS ENUM ('sad', 'o\"k, {then}');
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE DOMAIN positive AS integer CHECK (value > 0);
CREATE DOMAIN pairs AS pair[];
CREATE DOMAIN numbers AS integer[];
CREATE TABLE st AS SELECT g / 3 AS a, g / 3 AS b FROM generate_series(1, 300) AS g;
CREATE STATISTICS s (ndistinct, dependencies, mcv) ON a, b FROM st;
ANALYZE st;
GRANT SELECT ON pg_statistic_ext_data, st TO PUBLIC;
GRANT USAGE ON SCHEMA \"else where\" TO PUBLIC;
";

/// A type, a value of it as text, the reply if that is not this text as a string, and a text that is no value of it.
type Sample = (&'static str, &'static str, Option<&'static str>, Option<&'static str>);

const SAMPLES: &[Sample] = &[
    ("bool", "t", Some("true"), Some("maybe")),
    ("bytea", "\\x00ff", Some("\"AP8=\""), Some("\\xzz")),
    ("char", "x", None, None),
    ("name", "a name", None, None),
    ("int8", "-9223372036854775808", Some("-9223372036854775808"), Some("9223372036854775808")),
    ("int2", "7", Some("7"), Some("32768")),
    ("int4", "7", Some("7"), Some("one")),
    ("int2vector", "1 2", Some("[1,2]"), Some("1 one")),
    ("oidvector", "1 2", Some("[1,2]"), Some("1 one")),
    ("oid", "4294967295", Some("4294967295"), Some("4294967296")),
    ("xid", "7", Some("7"), None),
    ("cid", "7", Some("7"), None),
    ("xid8", "7", Some("7"), None),
    ("tid", "(1,2)", None, Some("1,2")),
    ("text", "a \"b\" \\ {c}, ü", None, None),
    ("bpchar", "a b", None, None),
    ("varchar", "a, b", None, None),
    ("citext", "A b", None, None),
    ("refcursor", "a cursor", None, None),
    ("float4", "0.1", Some("0.1"), Some("one")),
    ("float8", "0.1", Some("0.1"), Some("1e999")),
    ("numeric", "1.50", None, Some("one")),
    ("money", "1.50", None, Some("ten")),
    ("uuid", "00112233-4455-6677-8899-aabbccddeeff", None, Some("0011")),
    ("json", "{\"a\" : [1.0]}", Some("{\"a\":[1.0]}"), Some("{")),
    ("jsonb", "{\"a\": [1.0]}", Some("{\"a\":[1.0]}"), Some("[1,]")),
    ("jsonpath", "$.\"a\"", None, Some("$[")),
    ("xml", "<a b=\"c\"/>", None, Some("<a>")),
    ("date", "2026-01-31", None, Some("2026-02-30")),
    ("time", "13:37:00", None, Some("25:00")),
    ("timetz", "13:37:00+02", None, Some("13:37+99")),
    ("timestamp", "2026-01-31 13:37:00", Some("\"2026-01-31T13:37:00\""), Some("soon enough")),
    (
        "timestamptz",
        "2026-01-31 13:37:00+00",
        Some("\"2026-01-31T13:37:00Z\""),
        Some("2026-01-31 13:37 Nowhere"),
    ),
    ("interval", "1 day", Some("\"P1D\""), Some("a while")),
    ("bit", "101", None, Some("102")),
    ("varbit", "101", None, Some("102")),
    ("inet", "10.0.0.1/8", None, Some("10.0.0.256")),
    ("cidr", "10.0.0.0/8", None, Some("10.0.0.1/8")),
    ("macaddr", "08:00:2b:01:02:03", None, Some("08:00")),
    ("macaddr8", "08:00:2b:01:02:03:04:05", None, Some("08:00")),
    ("point", "(1,2)", None, Some("1")),
    ("lseg", "[(1,2),(3,4)]", None, Some("[(1,2)]")),
    ("path", "((1,2),(3,4))", None, Some("((1,2)")),
    ("box", "(3,4),(1,2)", None, Some("(3,4)")),
    ("polygon", "((1,2),(3,4))", None, Some("((1,2)")),
    ("line", "{1,2,3}", None, Some("{0,0,0}")),
    ("circle", "<(1,2),3>", None, Some("<(1,2),-3>")),
    ("aclitem", "=r/postgres", None, Some("nobody at all")),
    ("txid_snapshot", "10:20:10,14", None, Some("20:10:")),
    ("pg_snapshot", "10:20:10,14", None, Some("20:10:")),
    ("pg_lsn", "16/B374D848", None, Some("16")),
    ("tsvector", "'a':1 'b c'", None, Some("'a")),
    ("tsquery", "'a' & 'b'", None, Some("a b")),
    ("regproc", "now", None, Some("no_such_function")),
    ("regprocedure", "lower(text)", None, Some("lower(no_such_type)")),
    ("regoper", "||/", None, Some("<no>")),
    ("regoperator", "+(integer,integer)", None, Some("+(integer")),
    ("regclass", "pg_class", None, Some("no_such_table")),
    ("regtype", "integer", None, Some("no_such_type")),
    ("regconfig", "simple", None, Some("no_such_configuration")),
    ("regdictionary", "simple", None, Some("no_such_dictionary")),
    ("regnamespace", "pg_catalog", None, Some("no_such_schema")),
    ("regrole", "postgres", None, Some("no_such_role")),
    ("regcollation", "\"C\"", None, Some("no_such_collation")),
    ("int4range", "[1,2)", None, Some("[2,1)")),
    ("int8range", "[1,2)", None, Some("[1")),
    ("numrange", "[1.50,2]", None, Some("[one,2]")),
    ("daterange", "[2026-01-31,2026-02-01)", None, Some("[2026-02-30,)")),
    ("tsrange", "[\"2026-01-31 13:37:00\",)", None, Some("[soon,)")),
    ("tstzrange", "[\"2026-01-31 13:37:00+00\",)", None, Some("[soon,)")),
    ("textrange", "[a,\"b c\")", None, Some("[b,a)")),
    ("int4multirange", "{[1,2),[3,4)}", None, Some("{[2,1)}")),
    ("int8multirange", "{[1,2)}", None, Some("{[1,2)")),
    ("nummultirange", "{[1.50,2]}", None, Some("{one}")),
    ("datemultirange", "{[2026-01-31,2026-02-01)}", None, Some("{[2026-02-30,)}")),
    ("tsmultirange", "{[\"2026-01-31 13:37:00\",)}", None, Some("{[soon,)}")),
    ("tstzmultirange", "{[\"2026-01-31 13:37:00+00\",)}", None, Some("{[soon,)}")),
    ("textmultirange", "{[a,\"b c\")}", None, Some("{[b,a)}")),
    ("Mood; no", "o\"k, {then}", None, Some("glad")),
    ("pair", "(1,\"a b\")", None, Some("(one,)")),
    ("cube", "(1, 2),(3, 4)", None, Some("(1,")),
    ("hstore", "\"a\"=>\"1\", \"b\"=>NULL", None, Some("a=")),
    ("query_int", "1 & 2", None, Some("1 &")),
    ("ean13", "022-035648348-1", None, Some("022-035648348-2")),
    ("isbn13", "978-0-393-04002-9", None, Some("978-0-393-04002-8")),
    ("isbn", "0-393-04002-X", None, Some("one")),
    ("ismn13", "979-0-060-11561-5", None, Some("one")),
    ("ismn", "M-060-11561-5", None, Some("one")),
    ("issn13", "977-1436-452-00-8", None, Some("one")),
    ("issn", "1436-4522", None, Some("1436-4523")),
    ("upc", "220356483481", None, Some("220356483482")),
    ("ltree", "a.b", None, Some("a..b")),
    ("lquery", "a.*{1,2}", None, Some("a.{")),
    ("ltxtquery", "a & b", None, Some("a &")),
    ("seg", "1 .. 2", None, Some("one")),
    ("_cstring", "{a,\"b c\"}", Some("[\"a\",\"b c\"]"), Some("{a")),
];

/// Domains, whose values are those of their base and no others: the wrong one is a constraint's matter.
const DOMAINS: &[Sample] = &[
    ("positive", "7", Some("7"), Some("-7")),
    ("cardinal_number", "7", Some("7"), Some("-7")),
    ("yes_or_no", "YES", None, None),
    ("character_data", "a b", None, None),
    ("sql_identifier", "a b", None, None),
    ("time_stamp", "2026-01-31 13:37:00+00", Some("\"2026-01-31T13:37:00Z\""), None),
    ("lo", "7", Some("7"), None),
    ("earth", "(6378168, 0, 0)", None, Some("(1, 0, 0)")),
    ("pairs", "{\"(1,\\\"a b\\\")\",NULL}", Some("[\"(1,\\\"a b\\\")\",null]"), None),
    ("numbers", "{1,NULL}", Some("[1,null]"), None),
];

/// Types that the server takes from nobody, and where it has a value of such a type. Of some it has none to give.
const TAKEN_FROM_NOBODY: &[(&str, Option<&str>)] = &[
    ("pg_node_tree", Some("SELECT proargdefaults FROM pg_proc WHERE proargdefaults IS NOT NULL LIMIT 1")),
    ("pg_ndistinct", Some("SELECT stxdndistinct FROM pg_statistic_ext_data")),
    ("pg_dependencies", Some("SELECT stxddependencies FROM pg_statistic_ext_data")),
    ("pg_mcv_list", Some("SELECT stxdmcv FROM pg_statistic_ext_data")),
    ("pg_brin_bloom_summary", None),
    ("pg_brin_minmax_multi_summary", None),
    ("gtsvector", None),
    ("gbtreekey2", None),
    ("gbtreekey4", None),
    ("gbtreekey8", None),
    ("gbtreekey16", None),
    ("gbtreekey32", None),
    ("gbtreekey_var", None),
    ("ghstore", None),
    ("intbig_gkey", None),
    ("ltree_gist", None),
    ("gtrgm", None),
];

/// A type as the catalog has it.
#[derive(Debug)]
struct Type {
    name: String,
    /// Quoted, with its schema.
    quoted: String,
    /// `b`, `c`, `d`, `e`, `m`, `p` or `r`.
    kind: String,
    has_array: bool,
}

/// All types but arrays of others, which are tried with those.
fn types(live: &Live) -> Vec<Type> {
    let rows = live.psql(
        "SELECT t.typname, quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typtype, t.typarray <> 0
         FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
         WHERE n.nspname <> 'pg_toast' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid AND e.typtype <> 'p')
         ORDER BY t.oid",
    );
    let row = |row: &str| {
        let [name, quoted, kind, has_array] =
            row.split('|').collect::<Vec<_>>().try_into().unwrap_or_else(|row| panic!("{row:?}"));
        Type {
            name: name.to_owned(),
            quoted: quoted.to_owned(),
            kind: kind.to_owned(),
            has_array: has_array == "t",
        }
    };
    rows.lines().map(row).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// What is expected of a value: the reply, or the server's own text as a string.
fn expected(sample: &Sample) -> String {
    sample.2.map_or_else(|| json(sample.1), str::to_owned)
}

fn lives() -> [(&'static str, Live); 2] {
    [("direct", Live::new(SCHEMA)), ("pooled", Live::pooled(SCHEMA, Pooling::Transaction))]
}

/// Selects expressions of such types, alone and in arrays, cold and warm; tells what of the replies is not right.
fn select(live: &mut Live, of: &[(Type, String, Right)], wrong: &mut Vec<String>) {
    let column = |(at, (it, expression, _)): (usize, &(Type, String, Right))| {
        let mut columns = format!("v{at}, format('%s', v{at}) AS t{at}");
        if it.has_array {
            let array = format!("{}[]", it.quoted);
            columns += &format!(
                ", ARRAY[v{at}, NULL]::{array} AS a{at}, ARRAY[ARRAY[v{at}], ARRAY[NULL]]::{array} AS aa{at}, \
                 '{{}}'::{array} AS none{at}"
            );
        }
        (columns, format!("{expression} AS v{at}"))
    };
    let (columns, values): (Vec<_>, Vec<_>) = of.iter().enumerate().map(column).unzip();
    let sql = format!("SELECT {}, 1 AS last FROM (SELECT {}) AS s", columns.join(", "), values.join(", "));
    for _ in 0..2 {
        let rows = match live.read(&sql, &[]) {
            Ok(rows) => rows,
            Err(_) if of.len() > 1 => return of.chunks(1).for_each(|one| select(live, one, wrong)),
            Err(error) => return wrong.push(format!("{} {}: {error}", of[0].0.quoted, of[0].1)),
        };
        assert_eq!(rows[0]["last"].get(), "1");
        for (at, (it, expression, right)) in of.iter().enumerate() {
            let get = |column: &str| rows[0][&format!("{column}{at}")].get();
            let mut same = |column: &str, expected: &str| {
                if get(column) != expected {
                    wrong.push(format!(
                        "{} {expression}: `{column}` is {}, not {expected}",
                        it.quoted,
                        get(column)
                    ));
                }
            };
            let (reply, text) = (get("v"), get("t"));
            if it.has_array {
                // What is an array by itself is a text in another one.
                let element = if reply.starts_with('[') { text } else { reply };
                same("a", &format!("[{element},null]"));
                same("aa", &format!("[[{element}],[null]]"));
                same("none", "[]");
            }
            if reply.starts_with('"') && !HAS_A_FORM_OF_ITS_OWN.contains(&it.name.as_str()) {
                same("v", text);
            }
            match right {
                Right::Is(expected) => same("v", expected),
                Right::IsNot(unexpected) if reply != *unexpected => {}
                Right::IsNot(_) => wrong.push(format!("{} {expression}: {reply}", it.quoted)),
            }
        }
    }
}

/// What a reply must be.
#[derive(Debug)]
enum Right {
    Is(String),
    IsNot(&'static str),
}

/// Whose string is not the server's own text.
const HAS_A_FORM_OF_ITS_OWN: [&str; 6] =
    ["bytea", "money", "timestamp", "timestamptz", "interval", "time_stamp"];

#[test]
fn every_type_comes_out_by_itself_and_in_arrays() {
    let samples: BTreeMap<&str, &Sample> =
        SAMPLES.iter().chain(DOMAINS).map(|sample| (sample.0, sample)).collect();
    let given: BTreeMap<&str, &Option<&str>> =
        TAKEN_FROM_NOBODY.iter().map(|(name, from)| (*name, from)).collect();
    for (way, mut live) in lives() {
        let (mut rows, mut wrong, mut all) = (0, Vec::new(), Vec::new());
        for it in types(&live) {
            let null = || Right::Is("null".to_owned());
            let (expression, right) = if let Some(sample) = samples.get(&*it.name) {
                (format!("{}::{}", quoted(sample.1), it.quoted), Right::Is(expected(sample)))
            } else if let Some(from) = given.get(&*it.name) {
                match from {
                    Some(from) => (format!("({from})"), Right::IsNot("null")),
                    None => (format!("NULL::{}", it.quoted), null()),
                }
            } else if it.kind == "c" {
                // A row of a table or a view: of the catalog there are some hundreds.
                rows += 1;
                let expression = format!("json_populate_record(NULL::{}, '{{}}')", it.quoted);
                (expression, Right::IsNot("null"))
            } else if it.kind == "p" {
                continue;
            } else {
                wrong.push(format!("there is no value of the type {} to try", it.quoted));
                continue;
            };
            all.push((it, expression, right));
        }
        all.chunks(40).for_each(|some| select(&mut live, some, &mut wrong));
        assert!(wrong.is_empty(), "{way}:\n{}", wrong.join("\n"));
        assert!(rows > 150, "{way}: {rows}");
        // What has no name of its own, and those of the types that no column has of which there can be a value.
        for (expression, reply) in [
            ("ROW(1, 'a \"b\"', NULL)", r#""(1,\"a \"\"b\"\"\",)""#),
            ("ARRAY[ROW(1, 'a b'), ROW(2, NULL)]", r#"["(1,\"a b\")","(2,)"]"#),
            ("ARRAY[ARRAY[ROW(1)], ARRAY[ROW(2)]]", r#"[["(1)"],["(2)"]]"#),
            ("(SELECT array_agg(s) FROM (SELECT 1 AS n, 'x' AS x) AS s)", r#"["(1,x)"]"#),
            ("(SELECT p FROM (SELECT 1 AS a, point(1, 2) AS b) AS p)", r#""(1,\"(1,2)\")""#),
            ("array_out('{a,b}'::text[])", r#""{a,b}""#),
            ("void_in('')", "null"),
            ("(SELECT most_common_vals FROM pg_stats WHERE tablename = 'nowhere')", "null"),
        ] {
            for _ in 0..2 {
                let replied = live.read(&format!("SELECT {expression} AS v"), &[]);
                let replied = replied.unwrap_or_else(|error| panic!("{way}: {expression}: {error}"));
                assert_eq!(replied[0]["v"].get(), reply, "{way}: {expression}");
            }
        }
        // Of any elements: as the server writes them.
        let bounds = "SELECT most_common_vals AS v, most_common_vals::text AS t FROM pg_stats \
                      WHERE tablename = 'st' AND most_common_vals IS NOT NULL LIMIT 1";
        let rows = live.read(bounds, &[]).unwrap();
        assert_eq!(rows[0]["v"].get(), rows[0]["t"].get(), "{way}");
    }
}

/// Puts a text, as JSON has it, into a column and takes it out again.
fn put(live: &mut Live, column: &str, text: &str) -> Result<String, Error> {
    let sql = format!("INSERT INTO places ({column}) VALUES (:v) RETURNING {column} AS v");
    let outcome = undone(live, &sql, &[("v text", text)]);
    assert_eq!(live.session().state(), State::Idle, "{column} {text}");
    outcome
}

#[test]
fn every_type_takes_text_and_what_is_none_of_its_values_is_the_callers() {
    for (way, mut live) in lives() {
        let mut wrong = Vec::new();
        let types: BTreeMap<String, Type> =
            types(&live).into_iter().map(|it| (it.name.clone(), it)).collect();
        // A place for each of them, and the server's text of an array.
        let all: Vec<(&Sample, &Type, Fault)> = SAMPLES
            .iter()
            .map(|sample| (sample, Fault::BadParameter))
            .chain(DOMAINS.iter().map(|sample| (sample, Fault::Constraint)))
            .filter(|(sample, _)| sample.0 != "_cstring")
            .map(|(sample, fault)| {
                let it = types.get(sample.0).unwrap_or_else(|| panic!("the server has no type {}", sample.0));
                assert!(it.has_array, "{}", it.quoted);
                (sample, it, fault)
            })
            .collect();
        let columns =
            |(at, (_, it, _)): (usize, &(_, &Type, _))| format!("v{at} {0}, a{at} {0}[]", it.quoted);
        let columns: Vec<String> = all.iter().enumerate().map(columns).collect();
        live.psql(&format!("CREATE TABLE places ({}); GRANT ALL ON places TO PUBLIC", columns.join(", ")));
        let array = |(sample, it, _): &(&Sample, &Type, _)| {
            format!("SELECT ARRAY[{}, NULL]::{}[];", quoted(sample.1), it.quoted)
        };
        let arrays = live.psql(&all.iter().map(array).collect::<String>());
        assert_eq!(arrays.lines().count(), all.len());
        for ((at, (sample, it, fault)), array) in all.iter().enumerate().zip(arrays.lines()) {
            let reply = expected(sample);
            let element = if reply.starts_with('[') { json(sample.1) } else { reply.clone() };
            for (column, text, reply) in [
                ("v", json(sample.1), reply),
                ("v", "null".to_owned(), "null".to_owned()),
                ("a", json(array), format!("[{element},null]")),
            ] {
                match put(&mut live, &format!("{column}{at}"), &text) {
                    Ok(got) if got == format!("[{{\"v\":{reply}}}]") => {}
                    got => wrong.push(format!("{} {column} {text}: {got:?}", it.quoted)),
                }
            }
            let refused = sample.3.map(|text| ("v", text, *fault));
            for (column, text, fault) in refused.into_iter().chain([("a", "{one", Fault::BadParameter)]) {
                let named = |error: &Error| fault != Fault::BadParameter || error.message().contains("`v`");
                let hidden = |error: &Error| text.len() < 3 || !error.detail().contains(text);
                match put(&mut live, &format!("{column}{at}"), &json(text)) {
                    Err(error) if error.fault() == fault && named(&error) && hidden(&error) => {}
                    got => wrong.push(format!("{} {column} took or told {text}: {got:?}", it.quoted)),
                }
            }
        }
        for (name, _) in TAKEN_FROM_NOBODY {
            let sql = format!("SELECT CAST(:v AS {}) AS v", types[*name].quoted);
            let error = undone(&mut live, &sql, &[("v text", "\"a value\"")]).unwrap_err();
            if error.fault() != Fault::BadParameter {
                wrong.push(format!("{name}: {error:?}"));
            }
        }
        // What was given as text finds what is there, whatever its type is compared by.
        for sample in SAMPLES.iter().filter(|sample| is_compared(sample.0)) {
            let sql = format!("SELECT 1 AS v WHERE {}::{} = :v", quoted(sample.1), types[sample.0].quoted);
            match live.run(&query(&sql, &[("v text", &json(sample.1))])) {
                Ok(rows) if rows.len() == 1 => {}
                got => wrong.push(format!("{sql}: {got:?}")),
            }
        }
        assert!(wrong.is_empty(), "{way}:\n{}", wrong.join("\n"));
    }
}

/// Whether what is compared with a value of it is of its type. Some have no `=`; those named `reg…` are compared as numbers, and
/// a row with any other.
fn is_compared(name: &str) -> bool {
    const WITHOUT: [&str; 14] = [
        "json",
        "xml",
        "point",
        "polygon",
        "jsonpath",
        "refcursor",
        "txid_snapshot",
        "pg_snapshot",
        "query_int",
        "lquery",
        "ltxtquery",
        "cid",
        "_cstring",
        "pair",
    ];
    !WITHOUT.contains(&name) && !name.starts_with("reg")
}
