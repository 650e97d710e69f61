//! Values into the server and out again: each type that a query file can declare.

use std::cell::RefCell;

use lambda_rds_core::backend::State;
use lambda_rds_core::error::Fault;
use lambda_rds_core::value::Value;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value as Json;

use crate::fixture::{Live, Row, argument, given};

/// What the server takes a parameter for, and its own text for it.
fn echo(live: &mut Live, kind: &str, argument: lambda_rds_core::value::Argument) -> Row {
    // Alone, a `json` would be inferred as text.
    let cast = if kind == "json" { "::json" } else { "" };
    let sql = format!("SELECT v, v::text AS t FROM (SELECT $1{cast} AS v) AS s");
    live.read(&sql, &[argument]).unwrap_or_else(|error| panic!("{kind}: {error}")).remove(0)
}

fn text(value: &str) -> String {
    serde_json::from_str(value).unwrap()
}

/// Each: the declared type, what the caller writes, the server's text, and the reply.
fn check(live: &mut Live, kind: &str, cases: &[(&str, &str, &str)]) {
    for (json, stored, reply) in cases {
        let row = echo(live, kind, given(kind, json));
        assert_eq!((text(row["t"].get()).as_str(), row["v"].get()), (*stored, *reply), "{kind} {json}");
    }
    let row = echo(live, kind, given(kind, "null"));
    assert_eq!((row["t"].get(), row["v"].get()), ("null", "null"), "{kind}");
}

#[test]
#[rustfmt::skip]
fn scalars_at_their_edges() {
    let mut live = Live::new("");
    check(&mut live, "bool", &[("true", "true", "true"), ("false", "false", "false")]);
    check(&mut live, "int", &[
        ("0", "0", "0"),
        ("-9223372036854775808", "-9223372036854775808", "-9223372036854775808"),
        ("\"9223372036854775807\"", "9223372036854775807", "9223372036854775807"),
    ]);
    check(&mut live, "float", &[
        ("1.5", "1.5", "1.5"),
        ("1e-3", "0.001", "0.001"),
        ("-0.0", "-0", "-0.0"),
        ("5e-324", "5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308", "1.7976931348623157e+308"),
        ("\"NaN\"", "NaN", "\"NaN\""),
        ("\"Infinity\"", "Infinity", "\"Infinity\""),
        ("\"-Infinity\"", "-Infinity", "\"-Infinity\""),
    ]);
    let digits = format!("-{}.{}", "9876543210".repeat(100), "0123456789".repeat(100));
    let whole = format!("1{}", "0".repeat(131_071));
    let fraction = format!("0.{}1", "0".repeat(16_382));
    check(&mut live, "decimal", &[
        ("1234.56", "1234.56", "\"1234.56\""),
        ("\"0.00\"", "0.00", "\"0.00\""),
        ("-0", "0", "\"0\""),
        ("1e3", "1000", "\"1000\""),
        ("1.50e-3", "0.00150", "\"0.00150\""),
        ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999", "\"99999999999999999999999999999999999999\""),
        ("-0.00000000000000000000000000000000000001", "-0.00000000000000000000000000000000000001", "\"-0.00000000000000000000000000000000000001\""),
        ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678", "\"12345678901234567890.123456789012345678\""),
        ("\"NaN\"", "NaN", "\"NaN\""),
        ("\"Infinity\"", "Infinity", "\"Infinity\""),
        ("\"-Infinity\"", "-Infinity", "\"-Infinity\""),
        (&digits, &digits, &format!("\"{digits}\"")),
        (&whole, &whole, &format!("\"{whole}\"")),
        (&fraction, &fraction, &format!("\"{fraction}\"")),
    ]);
    let long = "é".repeat(1_000_000);
    check(&mut live, "text", &[
        ("\"\"", "", "\"\""),
        (r#""a\"b\\c/\n\t\u0001""#, "a\"b\\c/\n\t\u{1}", r#""a\"b\\c/\n\t\u0001""#),
        (r#""'; DROP TABLE t; -- $1 :p""#, "'; DROP TABLE t; -- $1 :p", r#""'; DROP TABLE t; -- $1 :p""#),
        (r#""\ud83e\udd80 \u2028 \u00e4""#, "🦀 \u{2028} ä", "\"🦀 \u{2028} ä\""),
        ("\"NULL\"", "NULL", "\"NULL\""),
        (&format!("\"{long}\""), &long, &format!("\"{long}\"")),
    ]);
    check(&mut live, "uuid", &[
        ("\"00112233-4455-6677-8899-AABBCCDDEEFF\"", "00112233-4455-6677-8899-aabbccddeeff", "\"00112233-4455-6677-8899-aabbccddeeff\""),
        ("\"ffffffffffffffffffffffffffffffff\"", "ffffffff-ffff-ffff-ffff-ffffffffffff", "\"ffffffff-ffff-ffff-ffff-ffffffffffff\""),
    ]);
    check(&mut live, "date", &[
        ("\"2026-01-31\"", "2026-01-31", "\"2026-01-31\""),
        ("\"0000-12-31\"", "0001-12-31 BC", "\"0000-12-31\""),
        ("\"-004713-11-24\"", "4714-11-24 BC", "\"-004713-11-24\""),
        ("\"+5874897-12-31\"", "5874897-12-31", "\"+5874897-12-31\""),
        ("\"infinity\"", "infinity", "\"infinity\""),
        ("\"-infinity\"", "-infinity", "\"-infinity\""),
    ]);
    check(&mut live, "time", &[
        ("\"13:37\"", "13:37:00", "\"13:37:00\""),
        ("\"23:59:59.999999\"", "23:59:59.999999", "\"23:59:59.999999\""),
        ("\"24:00:00\"", "24:00:00", "\"24:00:00\""),
    ]);
    check(&mut live, "timestamp", &[
        ("\"2026-01-31 13:37:00.50\"", "2026-01-31 13:37:00.5", "\"2026-01-31T13:37:00.5\""),
        ("\"-004713-11-24T00:00:00\"", "4714-11-24 00:00:00 BC", "\"-004713-11-24T00:00:00\""),
        ("\"+294276-12-31T23:59:59.999999\"", "294276-12-31 23:59:59.999999", "\"+294276-12-31T23:59:59.999999\""),
        ("\"infinity\"", "infinity", "\"infinity\""),
        ("\"-infinity\"", "-infinity", "\"-infinity\""),
    ]);
    check(&mut live, "timestamptz", &[
        ("\"2026-01-31T13:37:00+02:00\"", "2026-01-31 11:37:00+00", "\"2026-01-31T11:37:00Z\""),
        ("\"-000043-03-15T12:00:00.5Z\"", "0044-03-15 12:00:00.5+00 BC", "\"-000043-03-15T12:00:00.5Z\""),
        ("\"+294276-12-31T23:59:59.999999Z\"", "294276-12-31 23:59:59.999999+00", "\"+294276-12-31T23:59:59.999999Z\""),
        ("\"infinity\"", "infinity", "\"infinity\""),
        ("\"-infinity\"", "-infinity", "\"-infinity\""),
    ]);
    check(&mut live, "json", &[
        ("{\"b\" : [1.0,\n2.50e2], \"b\": \" \"}", "{\"b\" : [1.0,\n2.50e2], \"b\": \" \"}", "{\"b\":[1.0,2.50e2],\"b\":\" \"}"),
        ("12345678901234567890.10", "12345678901234567890.10", "12345678901234567890.10"),
        ("\"\\u0000\"", "\"\\u0000\"", "\"\\u0000\""),
        ("[]", "[]", "[]"),
    ]);
    check(&mut live, "bytes", &[
        ("\"\"", "\\x", "\"\""),
        ("\"AP8Q\"", "\\x00ff10", "\"AP8Q\""),
        ("\"AA==\"", "\\x00", "\"AA==\""),
    ]);
}

#[test]
#[rustfmt::skip]
fn arrays_at_their_edges() {
    let mut live = Live::new("");
    for (kind, json, stored, reply) in [
        ("bool[]", "[true, null]", "{t,NULL}", "[true,null]"),
        ("int[]", "[]", "{}", "[]"),
        ("int[]", "[null]", "{NULL}", "[null]"),
        ("int[]", "[-9223372036854775808, \"1\"]", "{-9223372036854775808,1}", "[-9223372036854775808,1]"),
        ("float[]", "[0.1, \"NaN\"]", "{0.1,NaN}", "[0.1,\"NaN\"]"),
        ("decimal[]", "[1.50, \"Infinity\", null]", "{1.50,Infinity,NULL}", "[\"1.50\",\"Infinity\",null]"),
        ("text[]", r#"["", "NULL", "a\"b\\,{}", "🦀", null]"#, r#"{"","NULL","a\"b\\,{}",🦀,NULL}"#, r#"["","NULL","a\"b\\,{}","🦀",null]"#),
        ("uuid[]", "[\"00112233445566778899aabbccddeeff\"]", "{00112233-4455-6677-8899-aabbccddeeff}", "[\"00112233-4455-6677-8899-aabbccddeeff\"]"),
        ("date[]", "[\"infinity\", \"0000-12-31\"]", "{infinity,\"0001-12-31 BC\"}", "[\"infinity\",\"0000-12-31\"]"),
        ("time[]", "[\"24:00\"]", "{24:00:00}", "[\"24:00:00\"]"),
        ("timestamp[]", "[\"2026-01-31T13:37:00\", null]", "{\"2026-01-31 13:37:00\",NULL}", "[\"2026-01-31T13:37:00\",null]"),
        ("timestamptz[]", "[\"2026-01-31T13:37:00+02:00\"]", "{\"2026-01-31 11:37:00+00\"}", "[\"2026-01-31T11:37:00Z\"]"),
        ("json[]", "[{\"a\" : 1}, [], null]", r#"{"{\"a\" : 1}",[],NULL}"#, "[{\"a\":1},[],null]"),
        ("bytes[]", "[\"AP8=\", \"\"]", r#"{"\\x00ff","\\x"}"#, "[\"AP8=\",\"\"]"),
    ] {
        check(&mut live, kind, &[(json, stored, reply)]);
    }
    // What the calls are for.
    let rows = live.read("SELECT count(*) AS n FROM generate_series(1, 9) AS g WHERE g = ANY($1)", &[given("int[]", "[3, 4, 77, null]")]);
    assert_eq!(rows.unwrap()[0]["n"].get(), "2");
    let many: Vec<u32> = (0..100_000).collect();
    let rows = live.read("SELECT cardinality($1) AS n", &[given("int[]", &serde_json::to_string(&many).unwrap())]);
    assert_eq!(rows.unwrap()[0]["n"].get(), "100000");
}

/// A NUL never gets this far from a query file's parameter; whatever does, the server answers as a bad value.
#[test]
fn what_the_server_does_not_take_is_a_bad_parameter() {
    let mut live = Live::new("CREATE TYPE mood AS ENUM ('sad')");
    for (sql, argument) in [
        ("SELECT $1 AS v", argument("text", Value::Text("a\0b".to_owned()))),
        ("SELECT $1 AS v", argument("text[]", Value::Array(vec![Value::Text("\0".to_owned())]))),
        ("SELECT $1::jsonb AS v", given("json", "\"\\u0000\"")),
        ("SELECT $1::jsonb AS v", given("json", "\"\\ud800\"")),
        ("SELECT $1::jsonb AS v", given("json", "1e999999")),
        ("SELECT $1::int AS v", given("int", "2147483648")),
        ("SELECT $1::numeric(4,2) AS v", given("decimal", "100")),
        ("SELECT 1 AS v WHERE 'sad'::mood = $1", given("text", "\"glad\"")),
        ("SELECT $1::text::int AS v", given("text", "\"one\"")),
        ("SELECT $1::text::date AS v", given("text", "\"2026-02-30\"")),
        ("SELECT $1::text::inet AS v", given("text", "\"10.0.0\"")),
    ] {
        let error = live.read(sql, std::slice::from_ref(&argument)).unwrap_err();
        assert_eq!(error.fault(), Fault::BadParameter, "{sql} {argument:?}: {error}");
        for value in ["glad", "one", "02-30"] {
            assert!(!error.detail().contains(value), "values stay out of the log: {error}");
        }
        assert_eq!(live.session().state(), State::Idle);
    }
}

/// Sends values as one array, and the first of them by itself; gives the reply and the server's text of each.
fn send(live: &RefCell<Live>, kind: &str, values: &[Value]) -> Vec<Row> {
    let mut live = live.borrow_mut();
    let array = argument(&format!("{kind}[]"), Value::Array(values.to_vec()));
    let sql = "SELECT v, v::text AS t FROM unnest($1) WITH ORDINALITY AS x (v, at) ORDER BY at";
    let rows = live.read(sql, &[array]).unwrap();
    assert_eq!(rows.len(), values.len());
    if let Some(first) = values.first() {
        let alone = echo(&mut live, kind, argument(kind, first.clone()));
        assert_eq!(alone["v"].get(), rows[0]["v"].get());
        assert_eq!(alone["t"].get(), rows[0]["t"].get());
    }
    rows
}

/// Tests many lists of such values; each must come back so.
fn for_all<S: Strategy>(
    kind: &str,
    strategy: S,
    value: fn(&S::Value) -> Value,
    same: fn(&S::Value, &str, &str),
) where
    S::Value: Clone,
{
    let live = RefCell::new(Live::new(""));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let lists = prop::collection::vec(strategy, 0..25);
    let outcome = TestRunner::new(config).run(&lists, |list| {
        let values: Vec<Value> = list.iter().map(value).collect();
        for (given, row) in list.iter().zip(send(&live, kind, &values)) {
            same(given, row["v"].get(), &text(row["t"].get()));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{kind}: {failure}"));
}

#[test]
fn any_int() {
    for_all(
        "int",
        any::<i64>(),
        |int| Value::Int(*int),
        |int, reply, stored| {
            assert_eq!((reply, stored), (int.to_string().as_str(), int.to_string().as_str()));
        },
    );
}

#[test]
fn any_float() {
    for_all(
        "float",
        any::<f64>(),
        |float| Value::Float(*float),
        |float, reply, stored| {
            assert_eq!(stored.parse::<f64>().unwrap().to_bits(), quiet(*float).to_bits());
            let reply = reply.trim_matches('"').parse::<f64>().unwrap();
            assert_eq!(reply.to_bits(), quiet(*float).to_bits());
        },
    );
}

/// Of NaN there is only one in text.
fn quiet(float: f64) -> f64 {
    if float.is_nan() { f64::NAN } else { float }
}

#[test]
fn any_decimal() {
    let digits = "-?(0|[1-9][0-9]{0,60}|[1-9]0{1,40})(\\.(0{0,30}[0-9]{1,40}|[0-9]{1,9}0{1,20}))?";
    for_all(
        "decimal",
        digits,
        |text| Value::Decimal(text.clone()),
        |given, reply, stored| {
            let zero = given.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
            let expected = if zero { given.trim_start_matches('-') } else { given };
            assert_eq!((reply.trim_matches('"'), stored), (expected, expected));
        },
    );
}

#[test]
fn any_text() {
    let any = prop_oneof![".{0,40}", "[\u{1}-\u{7f}]{0,40}", "[\u{10000}-\u{10ffff}\"\\\\]{0,10}"];
    let any = any.prop_map(|text| text.replace('\0', ""));
    for_all(
        "text",
        any,
        |text| Value::Text(text.clone()),
        |given, reply, stored| {
            assert_eq!((text(reply).as_str(), stored), (given.as_str(), given.as_str()));
            assert_eq!(reply, serde_json::to_string(given).unwrap());
        },
    );
}

#[test]
fn any_uuid() {
    for_all(
        "uuid",
        any::<[u8; 16]>(),
        |uuid| Value::Uuid(*uuid),
        |uuid, reply, stored| {
            let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(stored.replace('-', ""), hex);
            assert_eq!(text(reply), stored);
        },
    );
}

#[test]
fn any_bytes() {
    let live = RefCell::new(Live::new(""));
    for_all(
        "bytes",
        any::<Vec<u8>>(),
        |bytes| Value::Bytes(bytes.clone()),
        |bytes, _, stored| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(stored, format!("\\x{hex}"));
        },
    );
    let sql = "SELECT v, replace(encode(v, 'base64'), E'\\n', '') AS t FROM \
               (SELECT decode(repeat(md5(g::text), g % 9), 'hex') || substr('\\x0102030405'::bytea, 1, g % 4) AS v \
               FROM generate_series(0, 500) AS g) AS s";
    for row in live.borrow_mut().read(sql, &[]).unwrap() {
        assert_eq!(row["v"].get(), row["t"].get());
    }
}

/// The server's text of a date or timestamp as ISO 8601 has it: astronomical years, expanded beyond 9999.
fn iso(stored: &str) -> String {
    if stored.ends_with("infinity") {
        return stored.to_owned();
    }
    let (stored, before_christ) = stored.strip_suffix(" BC").map_or((stored, false), |stored| (stored, true));
    let (year, rest) = stored.split_once('-').unwrap();
    let year: i64 = year.parse().unwrap();
    let year = if before_christ { 1 - year } else { year };
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year:06}"),
        _ => format!("-{:06}", -year),
    };
    format!("{year}-{}", rest.replacen(' ', "T", 1).replace("+00", "Z"))
}

/// From the first day that PostgreSQL knows to the last of its type, in days and in microseconds.
const DATES: std::ops::RangeInclusive<i32> = -2_451_545..=2_145_031_948;
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;

#[test]
fn any_date() {
    let any = prop_oneof![DATES, -800_000..3_000_000, Just(i32::MIN), Just(i32::MAX)];
    for_all("date", any, |days| Value::Date(*days), |_, reply, stored| assert_eq!(text(reply), iso(stored)));
}

#[test]
fn any_time() {
    let any = prop_oneof![0..=86_400_000_000_i64, (0..=86_400_i64).prop_map(|second| second * 1_000_000)];
    for_all("time", any, |micros| Value::Time(*micros), |_, reply, stored| assert_eq!(text(reply), stored));
}

#[test]
fn any_timestamp() {
    let near = -70_000_000_000_000_000..300_000_000_000_000_000_i64;
    let any = || prop_oneof![TIMESTAMPS, near.clone(), Just(i64::MIN), Just(i64::MAX)];
    for_all(
        "timestamp",
        any(),
        |micros| Value::Timestamp(*micros),
        |_, reply, stored| {
            assert_eq!(text(reply), iso(stored));
        },
    );
    for_all(
        "timestamptz",
        any(),
        |micros| Value::Timestamptz(*micros),
        |_, reply, stored| {
            assert_eq!(text(reply), iso(stored));
        },
    );
    // That the number of microseconds is the one that was sent.
    let live = RefCell::new(Live::new(""));
    let sql = "SELECT trunc(extract(epoch FROM $1) * 1000000)::text AS v";
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&TIMESTAMPS, |micros| {
        let row = live.borrow_mut().read(sql, &[argument("timestamp", Value::Timestamp(micros))]).unwrap();
        let since_1970: i128 = text(row[0]["v"].get()).parse().unwrap();
        assert_eq!(since_1970, i128::from(micros) + 946_684_800_000_000);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_json() {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        // Read back without loss by serde_json too, which is off by a bit at times.
        any::<i32>().prop_map(|eighths| Json::from(f64::from(eighths) / 8.0)),
        "[^\u{0}]{0,12}".prop_map(Json::from),
    ];
    let any = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[^\u{0}]{0,6}", inner, 0..5)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    });
    for_all(
        "json",
        any.clone(),
        |json| Value::Json(format!("{json:#}")),
        |json, reply, stored| {
            assert_eq!((reply, stored), (json.to_string().as_str(), format!("{json:#}").as_str()));
        },
    );
    let live = RefCell::new(Live::new(""));
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&any, |json| {
        let given = argument("json", Value::Json(json.to_string()));
        let rows = live.borrow_mut().read("SELECT $1::jsonb AS v", &[given]).unwrap();
        assert_eq!(
            numbers_as_floats(serde_json::from_str(rows[0]["v"].get()).unwrap()),
            numbers_as_floats(json)
        );
        Ok(())
    });
    outcome.unwrap();
}

/// jsonb keeps a number's value, and writes it in its own way: `1e2` as `100`.
fn numbers_as_floats(json: Json) -> Json {
    match json {
        Json::Number(number) => Json::from(number.as_f64()),
        Json::Array(elements) => elements.into_iter().map(numbers_as_floats).collect(),
        Json::Object(members) => {
            Json::Object(members.into_iter().map(|(key, value)| (key, numbers_as_floats(value))).collect())
        }
        other => other,
    }
}
