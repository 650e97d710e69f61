//! Every type that a column can have on the two servers: out, and in as text, right and wrong; and every character set.

use lambda_rds_core::error::Fault;
use lambda_rds_testbed::MysqlKind;
use serde_json::{Value as Json, json};

use crate::fixture::{in_transaction, int, rows, server, session, text, usable, write};
use crate::on_both_servers;

on_both_servers!(
    every_type_comes_out_and_takes_text,
    a_place_in_a_geometry_takes_what_it_is,
    what_is_computed_comes_out,
    whatever_the_server_tells_of_itself_comes_out,
    every_character_set_comes_out_as_it_went_in,
    a_number_that_does_not_fit_is_the_callers,
);

/// A column's type, a value of it as text, the reply, and a text that is no value of it.
type Sample = (&'static str, &'static str, Json, Option<String>);

fn samples(kind: MysqlKind) -> Vec<Sample> {
    let no = |text: &str| Some(text.to_owned());
    let mut samples = vec![
        ("BOOL", "1", json!(true), no("maybe")),
        ("TINYINT", "-128", json!(-128), no("128")),
        ("TINYINT UNSIGNED", "255", json!(255), no("-1")),
        ("SMALLINT", "-32768", json!(-32768), no("32768")),
        ("SMALLINT UNSIGNED", "65535", json!(65535), no("65536")),
        ("MEDIUMINT", "-8388608", json!(-8_388_608), no("8388608")),
        ("MEDIUMINT UNSIGNED", "16777215", json!(16_777_215), no("-1")),
        ("INT", "-2147483648", json!(i32::MIN), no("ten")),
        ("INT UNSIGNED", "4294967295", json!(u32::MAX), no("4294967296")),
        ("INT(5) ZEROFILL", "7", json!(7), no("seven")),
        ("BIGINT", "-9223372036854775808", json!(i64::MIN), no("9223372036854775808")),
        ("BIGINT UNSIGNED", "18446744073709551615", json!(u64::MAX), no("18446744073709551616")),
        ("FLOAT", "1.5", json!(1.5), no("1e39")),
        ("FLOAT(7,3)", "-1.125", json!(-1.125), no("99999")),
        ("DOUBLE", "0.1", json!(0.1), no("ten")),
        ("REAL", "1e300", json!(1e300), no("1.5.1")),
        ("DECIMAL(10,2)", "1.50", json!("1.50"), no("123456789")),
        (
            "DECIMAL(65,30)",
            "-0.000000000000000000000000000001",
            json!("-0.000000000000000000000000000001"),
            no("ten"),
        ),
        ("DECIMAL(5)", "7", json!("7"), no("123456")),
        ("BIT(1)", "\u{1}", json!(1), no("ab")),
        ("BIT(64)", "\u{5}", json!(5), no("123456789")),
        ("YEAR", "2026", json!(2026), no("1800")),
        ("DATE", "2026-01-31", json!("2026-01-31"), no("2026-02-30")),
        ("TIME", "-838:59:59", json!("-838:59:59"), no("839:00:00")),
        ("TIME(6)", "13:37:00.000001", json!("13:37:00.000001"), no("soon")),
        ("DATETIME", "2026-01-31 13:37:00", json!("2026-01-31T13:37:00"), no("2026-13-01")),
        ("DATETIME(3)", "2026-01-31 13:37:00.5", json!("2026-01-31T13:37:00.5"), no("soon")),
        ("TIMESTAMP NULL", "2026-01-31 13:37:00", json!("2026-01-31T13:37:00Z"), no("1960-01-01 00:00:00")),
        (
            "TIMESTAMP(6) NULL",
            "2026-01-31 13:37:00.000001",
            json!("2026-01-31T13:37:00.000001Z"),
            no("2026-02-30"),
        ),
        ("CHAR(3)", "ab", json!("ab"), no("abcd")),
        ("VARCHAR(3)", "ab ", json!("ab "), no("abcd")),
        ("NATIONAL VARCHAR(3)", "äöü", json!("äöü"), no("abcd")),
        ("BINARY(3)", "ab", json!("YWIA"), no("abcd")),
        ("VARBINARY(3)", "ab", json!("YWI="), no("abcd")),
        ("TINYTEXT", "ä", json!("ä"), Some("x".repeat(256))),
        ("TEXT", "ä", json!("ä"), Some("x".repeat(65_536))),
        ("MEDIUMTEXT", "ä", json!("ä"), None),
        ("LONGTEXT", "ä", json!("ä"), None),
        ("TINYBLOB", "ab", json!("YWI="), Some("x".repeat(256))),
        ("BLOB", "ab", json!("YWI="), Some("x".repeat(65_536))),
        ("MEDIUMBLOB", "ab", json!("YWI="), None),
        ("LONGBLOB", "ab", json!("YWI="), None),
        ("ENUM('a','o\"k')", "o\"k", json!("o\"k"), no("z")),
        ("SET('x','y','z')", "x,z", json!("x,z"), no("x,q")),
    ];
    match kind {
        MysqlKind::Mysql => samples.extend([
            ("JSON", "{\"a\": [1, 2.5]}", json!({"a": [1, 2.5]}), no("{")),
            ("VECTOR(2)", "\0\0\0\0\0\0\0\0", json!([0.0, 0.0]), no("ten")),
        ]),
        MysqlKind::MariaDb => samples.extend([
            ("INET4", "10.0.0.1", json!("10.0.0.1"), no("10.0.0.256")),
            ("INET6", "::1", json!("::1"), no("::g")),
            (
                "UUID",
                "00112233-4455-6677-8899-aabbccddeeff",
                json!("00112233-4455-6677-8899-aabbccddeeff"),
                no("0011"),
            ),
            // Which takes longer ones than it says.
            ("VARCHAR(20) COMPRESSED", "ab", json!("ab"), None),
            ("BLOB COMPRESSED", "ab", json!("YWI="), None),
            // Its JSON is text by another name.
            ("JSON", "{\"a\" : 1}", json!("{\"a\" : 1}"), None),
        ]),
    }
    samples
}

async fn every_type_comes_out_and_takes_text(kind: MysqlKind) {
    let samples = samples(kind);
    let columns: Vec<String> =
        samples.iter().enumerate().map(|(at, (of, ..))| format!("c{at} {of}")).collect();
    let (_, mut session) = session(kind, &[&format!("CREATE TABLE t ({})", columns.join(", "))]).await;
    let mut wrong = Vec::new();
    for (at, (of, given, reply, not)) in samples.iter().enumerate() {
        let insert = format!("INSERT INTO t (c{at}) VALUES (?)");
        if let Err(error) = write(&mut session, &insert, &[text(given)]).await {
            wrong.push(format!("{of} {given}: {error}"));
            continue;
        }
        if let Some(not) = not {
            let outcome = write(&mut session, &insert, &[text(not)]).await;
            match outcome {
                Err(error)
                    if error.fault() == Fault::BadParameter
                        && (not.len() < 4 || !error.detail().contains(not.as_str())) => {}
                got => wrong.push(format!("{of} {:.40}: {got:?}", not)),
            }
            assert!(usable(&session) && !in_transaction(&session), "{of}");
        }
        // Alone, and beside all others: in several rows.
        for columns in [format!("c{at}"), "*".to_owned()] {
            let found =
                rows(&mut session, &format!("SELECT {columns} FROM t WHERE c{at} IS NOT NULL"), &[]).await;
            match found.as_ref().map(|found| (found.as_array().unwrap().len(), &found[0][format!("c{at}")])) {
                Ok((1, found)) if found == reply => {}
                _ => wrong.push(format!("{of} {columns}: {found:?}, not {reply}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The server's own list of the types that are none of the standard's, where it has one.
    if kind == MysqlKind::MariaDb {
        let known = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_type = 'DATA TYPE' \
                     AND plugin_name NOT IN ('inet4', 'inet6', 'uuid')";
        assert_eq!(server(kind).sql(known).unwrap(), "", "types that are not among the samples");
    }
}

async fn a_place_in_a_geometry_takes_what_it_is(kind: MysqlKind) {
    let kinds = [
        ("GEOMETRY", "POINT(1 2)"),
        ("POINT", "POINT(1 2)"),
        ("LINESTRING", "LINESTRING(0 0,1 1)"),
        ("POLYGON", "POLYGON((0 0,0 1,1 1,0 0))"),
        ("MULTIPOINT", "MULTIPOINT(0 0,1 1)"),
        ("MULTILINESTRING", "MULTILINESTRING((0 0,1 1))"),
        ("MULTIPOLYGON", "MULTIPOLYGON(((0 0,0 1,1 1,0 0)))"),
        ("GEOMETRYCOLLECTION", "GEOMETRYCOLLECTION(POINT(1 2))"),
    ];
    let columns: Vec<String> = kinds.iter().map(|(of, _)| format!("c_{of} {of}")).collect();
    let (_, mut session) = session(kind, &[&format!("CREATE TABLE t ({})", columns.join(", "))]).await;
    for (of, given) in kinds {
        let insert = format!("INSERT INTO t (c_{of}) VALUES (ST_GeomFromText(?))");
        write(&mut session, &insert, &[text(given)]).await.unwrap_or_else(|error| panic!("{of}: {error}"));
        let sql = format!("SELECT c_{of} AS v, HEX(c_{of}) AS hex FROM t WHERE c_{of} IS NOT NULL");
        let found = rows(&mut session, &sql, &[]).await.unwrap();
        let hex = found[0]["hex"].as_str().unwrap_or_else(|| panic!("{of}: {found}"));
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let echo = rows(&mut session, &format!("SELECT X'{hex}' AS v"), &[]).await.unwrap();
        assert_eq!(found[0]["v"], echo[0]["v"], "{of}");
        assert!(bytes.len() > 9, "{of}");
        // Whatever is none, and a geometry of another kind.
        let other = if given.starts_with("POINT") { "LINESTRING(0 0,1 1)" } else { "POINT(1 2)" };
        for (sql, given) in [(format!("INSERT INTO t (c_{of}) VALUES (?)"), "v4lue"), (insert, other)] {
            // MariaDB takes any geometry for a collection.
            if given == other && ["GEOMETRY", "GEOMETRYCOLLECTION"].contains(&of) {
                continue;
            }
            let outcome = write(&mut session, &sql, &[text(given)]).await;
            let error = outcome.err().unwrap_or_else(|| panic!("{of} took {given}"));
            assert_eq!(error.fault(), Fault::BadParameter, "{of} {given}: {error}");
            assert!(!error.detail().contains("v4lue"), "{error}");
        }
    }
}

async fn what_is_computed_comes_out(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let here = |mysql: Json, mariadb: Json| if kind == MysqlKind::Mysql { mysql } else { mariadb };
    for (expression, reply) in [
        ("NULL", json!(null)),
        ("1 = 1", json!(1)),
        ("1 + 1", json!(2)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("18446744073709551615", json!(u64::MAX)),
        ("0.10 + 0.20", json!("0.30")),
        ("1e0 / 3e0 * 3e0", json!(1.0)),
        ("'a'", json!("a")),
        ("_binary'a'", json!("YQ==")),
        ("x'ff'", json!("/w==")),
        ("_latin1 x'e9'", json!("é")),
        ("CAST('7' AS SIGNED)", json!(7)),
        ("CAST('7' AS UNSIGNED)", json!(7)),
        ("CAST('7' AS DECIMAL(5,2))", json!("7.00")),
        ("CAST('7' AS DOUBLE)", json!(7.0)),
        ("CAST('7' AS CHAR)", json!("7")),
        ("CAST('7' AS BINARY)", json!("Nw==")),
        ("CAST('2026-01-31' AS DATE)", json!("2026-01-31")),
        ("CAST('13:37' AS TIME)", json!("13:37:00")),
        ("CAST('2026-01-31 13:37' AS DATETIME(3))", json!("2026-01-31T13:37:00")),
        ("TIMEDIFF('10:00:00', '12:30:00')", json!("-02:30:00")),
        ("COALESCE(NULL, 7)", json!(7)),
        ("IF(1, 'a', 1)", json!("a")),
        ("(SELECT 7)", json!(7)),
        ("COUNT(*)", json!(1)),
        ("SUM(7)", json!("7")),
        ("AVG(7)", json!("7.0000")),
        ("BIT_OR(5)", json!(5)),
        ("GROUP_CONCAT('a')", json!("a")),
        ("REPEAT('ab', 3)", json!("ababab")),
        ("JSON_ARRAY(1, 'a')", here(json!([1, "a"]), json!("[1, \"a\"]"))),
        ("JSON_EXTRACT('{\"a\": 1}', '$.a')", here(json!(1), json!("1"))),
        ("INET6_ATON('::1')", json!("AAAAAAAAAAAAAAAAAAAAAQ==")),
        ("STR_TO_DATE('31.01.2026', '%d.%m.%Y')", json!("2026-01-31")),
        ("FROM_UNIXTIME(0)", json!("1970-01-01T00:00:00")),
        ("@@session.autocommit", json!(1)),
    ] {
        let sql = format!("SELECT {expression} AS v");
        for _ in 0..2 {
            let found = rows(&mut session, &sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(found, json!([{"v": reply}]), "{sql}");
        }
    }
}

/// Types that nobody thinks of stand in the server's own tables.
async fn whatever_the_server_tells_of_itself_comes_out(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let all = "SELECT table_schema AS s, table_name AS t FROM information_schema.tables \
               WHERE table_schema IN ('information_schema', 'performance_schema', 'sys')";
    let all = rows(&mut session, all, &[]).await.unwrap();
    let tables = all.as_array().unwrap();
    assert!(tables.len() > 50, "{}", tables.len());
    for table in tables {
        let sql = format!(
            "SELECT * FROM `{}`.`{}` LIMIT 5",
            table["s"].as_str().unwrap(),
            table["t"].as_str().unwrap()
        );
        if let Err(error) = rows(&mut session, &sql, &[]).await {
            // Refused by the server, which is its right; nothing of ours.
            assert!(error.sqlstate().is_some(), "{sql}: {error}");
        }
        assert!(usable(&session), "{sql}");
    }
}

async fn every_character_set_comes_out_as_it_went_in(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let sets = "SELECT character_set_name AS name FROM information_schema.character_sets WHERE character_set_name <> 'binary'";
    let sets = rows(&mut session, sets, &[]).await.unwrap();
    let names: Vec<&str> = sets.as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert!(names.len() > 30, "{names:?}");
    let columns: Vec<String> =
        names.iter().map(|name| format!("c_{name} VARCHAR(20) CHARACTER SET {name}")).collect();
    crate::fixture::alone(&mut session, &format!("CREATE TABLE t ({})", columns.join(", "))).await.unwrap();
    for name in names {
        let insert = format!("INSERT INTO t (c_{name}) VALUES (?)");
        write(&mut session, &insert, &[text("abc")]).await.unwrap();
        let found =
            rows(&mut session, &format!("SELECT c_{name} AS v FROM t WHERE c_{name} = ?"), &[text("abc")])
                .await;
        assert_eq!(found.unwrap(), json!([{"v": "abc"}]), "{name}");
        // A character that it has, or lacks: it comes back, or is the caller's.
        for character in ["é", "я", "日", "😅"] {
            match write(&mut session, &insert, &[text(character)]).await {
                Ok(_) => {
                    let sql =
                        format!("SELECT c_{name} AS v FROM t WHERE c_{name} IS NOT NULL AND c_{name} = ?");
                    let found = rows(&mut session, &sql, &[text(character)]).await;
                    let found = found.unwrap_or_else(|error| panic!("{name} {character}: {error}"));
                    let all = found.as_array().unwrap();
                    assert!(all.iter().any(|row| row["v"] == character), "{name} {character}: {found}");
                }
                Err(error) => {
                    assert_eq!(error.fault(), Fault::BadParameter, "{name} {character}: {error}");
                    // Compared with it, it is none either.
                    let sql = format!("SELECT c_{name} AS v FROM t WHERE c_{name} = ?");
                    if let Err(error) = rows(&mut session, &sql, &[text(character)]).await {
                        assert_eq!(error.fault(), Fault::BadParameter, "{name} {character}: {error}");
                    }
                }
            }
        }
    }
}

async fn a_number_that_does_not_fit_is_the_callers(kind: MysqlKind) {
    let (_, mut session) = session(
        kind,
        &["CREATE TABLE t (a TINYINT, b SMALLINT UNSIGNED, c DECIMAL(4,2), d YEAR, e BIT(3), f DATE, g TIMESTAMP NULL, \
           h ENUM('a'), i CHAR(2), j BIGINT UNSIGNED)"],
    )
    .await;
    for (column, value) in [
        ("a", 128),
        ("b", -1),
        ("c", 100),
        ("d", 1800),
        ("e", 8),
        ("f", 20_260_230),
        ("g", 19_600_101),
        ("h", 2),
        ("i", 4711),
        ("j", -1),
    ] {
        let error = write(&mut session, &format!("INSERT INTO t ({column}) VALUES (?)"), &[int(value)]).await;
        let error = error.unwrap_err();
        assert_eq!(error.fault(), Fault::BadParameter, "{column} {value}: {error}");
        assert!(!error.detail().contains("4711"), "{error}");
    }
    assert_eq!(rows(&mut session, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap(), json!([{"n": 0}]));
}
