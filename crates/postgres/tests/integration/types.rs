//! Values out of the server: each type of the table, exact, at its edges.

use lambda_rds_core::backend::State;
use lambda_rds_core::error::Fault;
use serde_json::Value as Json;

use crate::fixture::Live;

const SCHEMA: &str = r#"
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE SCHEMA elsewhere;
CREATE TYPE mood AS ENUM ('sad', 'o"k, then', 'happy', '');
CREATE TYPE elsewhere.color AS ENUM ('red');
CREATE DOMAIN posint AS integer CHECK (value > 0);
CREATE DOMAIN smallpos AS posint;
CREATE DOMAIN email AS citext;
CREATE DOMAIN doc AS jsonb;
CREATE DOMAIN ints AS integer[];
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE TYPE timerange AS RANGE (subtype = time);
CREATE TYPE floatrange AS RANGE (subtype = float8);
GRANT USAGE ON SCHEMA elsewhere TO PUBLIC;
"#;

/// Selects each expression and compares it with the JSON expected, digit for digit. In several rows, and again: the
/// first row of a statement comes by another way than the others, and those so only once it is prepared.
fn check(live: &mut Live, cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        for time in ["first", "second"] {
            let rows = live.read(&format!("SELECT {expression} AS v FROM generate_series(1, 3)"), &[]);
            let rows = rows.unwrap_or_else(|error| panic!("{expression}: {error}"));
            let values: Vec<&str> = rows.iter().map(|row| row["v"].get()).collect();
            assert_eq!(values, [*expected; 3], "{expression}, the {time} time");
        }
    }
}

/// Selects each expression and compares it with the server's own text for it, which the contract promises.
fn check_as_text(live: &mut Live, expressions: &[&str]) {
    for expression in expressions {
        let sql = format!("SELECT v, format('%s', v) AS t FROM (SELECT {expression} AS v) AS s");
        let rows = live.read(&sql, &[]).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(rows[0]["v"].get(), rows[0]["t"].get(), "{expression}");
    }
}

#[test]
fn numbers() {
    let mut live = Live::new("");
    check(
        &mut live,
        &[
            ("true", "true"),
            ("false", "false"),
            ("NULL::boolean", "null"),
            ("'-32768'::int2", "-32768"),
            ("'32767'::int2", "32767"),
            ("'-2147483648'::int4", "-2147483648"),
            ("'2147483647'::int4", "2147483647"),
            ("'-9223372036854775808'::int8", "-9223372036854775808"),
            ("'9223372036854775807'::int8", "9223372036854775807"),
            ("NULL::int8", "null"),
            ("'4294967295'::oid", "4294967295"),
            ("'4294967295'::xid", "4294967295"),
            ("'18446744073709551615'::xid8", "18446744073709551615"),
            ("0.1::float4", "0.1"),
            ("'3.4028235e38'::float4", "3.4028235e+38"),
            ("'1.4e-45'::float4", "1e-45"),
            ("'NaN'::float4", "\"NaN\""),
            ("'-Infinity'::float4", "\"-Infinity\""),
            ("0.1::float8", "0.1"),
            ("1::float8", "1.0"),
            ("'-0'::float8", "-0.0"),
            ("'1.7976931348623157e308'::float8", "1.7976931348623157e+308"),
            ("'5e-324'::float8", "5e-324"),
            ("'NaN'::float8", "\"NaN\""),
            ("'Infinity'::float8", "\"Infinity\""),
            ("'-Infinity'::float8", "\"-Infinity\""),
            ("1234.56::numeric", "\"1234.56\""),
            ("'0.00'::numeric(5,2)", "\"0.00\""),
            ("NULL::numeric", "null"),
            ("1234.5::money", "\"1234.50\""),
            ("'-0.05'::money", "\"-0.05\""),
            ("'-92233720368547758.08'::money", "\"-92233720368547758.08\""),
            ("'92233720368547758.07'::money", "\"92233720368547758.07\""),
        ],
    );
    let long = format!("'{}.{}'::numeric", "123456789 ".repeat(100).replace(' ', "0"), "9".repeat(1000));
    let first = format!("'1{}'::numeric", "0".repeat(131_071));
    check_as_text(
        &mut live,
        &[
            "'NaN'::numeric",
            "'Infinity'::numeric",
            "'-Infinity'::numeric",
            "'99999999999999999999999999999999999999'::numeric(38)",
            "'-0.00000000000000000000000000000000000001'::numeric(38,38)",
            "'12345678901234567890.123456789012345678'::numeric(38,18)",
            "'10000'::numeric",
            "'100000000'::numeric",
            "'0.0001'::numeric",
            "'0.00010000'::numeric",
            "'123000000000000000000'::numeric(21,-3)",
            "1e-16383::numeric",
            &first,
            &long,
        ],
    );
}

#[test]
fn texts() {
    let mut live = Live::new(SCHEMA);
    check(
        &mut live,
        &[
            ("''::text", r#""""#),
            ("E'a\"b\\\\c/\\n\\t\\x01'::text", r#""a\"b\\c/\n\t\u0001""#),
            ("U&'\\+01F980 \\2028 \\00E4'", "\"🦀 \u{2028} ä\""),
            ("'ab'::varchar(5)", r#""ab""#),
            ("'ab'::char(4)", r#""ab  ""#),
            ("'x'::\"char\"", r#""x""#),
            ("''::\"char\"", r#""""#),
            ("'name'::name", r#""name""#),
            ("'AbC'::citext", r#""AbC""#),
            ("'AbC'::email", r#""AbC""#),
            ("'<a b=\"c\"/>'::xml", r#""<a b=\"c\"/>""#),
            ("'o\"k, then'::mood", r#""o\"k, then""#),
            ("''::mood", r#""""#),
            ("'red'::elsewhere.color", r#""red""#),
            ("NULL::mood", "null"),
            ("'literal'", r#""literal""#),
            ("NULL", "null"),
            ("'7'::smallpos", "7"),
            ("'{\"a\":1}'::doc", r#"{"a":1}"#),
            ("'00112233-4455-6677-8899-AABBCCDDEEFF'::uuid", r#""00112233-4455-6677-8899-aabbccddeeff""#),
            ("'\\x'::bytea", r#""""#),
            ("'\\x00ff10'::bytea", r#""AP8Q""#),
            ("decode(repeat('00ff', 3), 'hex')", r#""AP8A/wD/""#),
            ("void_in('')", "null"),
        ],
    );
    // JSON keeps its digits, its duplicate keys and its order; jsonb is the server's.
    check(
        &mut live,
        &[
            (
                "E'{\"b\" : [1.0,\\r\\n\\t2.50e+2 ], \"a\":\" \\\\\" \" , \"b\":null}'::json",
                r#"{"b":[1.0,2.50e+2],"a":" \" ","b":null}"#,
            ),
            ("'12345678901234567890.10'::json", "12345678901234567890.10"),
            ("'\" \\u00e4 \"'::json", r#"" \u00e4 ""#),
            ("'{\"b\" : [1.0, 2.50], \"a\": \"x y\", \"b\": {}}'::jsonb", r#"{"a":"x y","b":{}}"#),
            ("'1e400'::jsonb", &format!("1{}", "0".repeat(400))),
            ("'null'::jsonb", "null"),
            ("' [ ] '::json", "[]"),
        ],
    );
}

#[test]
fn times() {
    let mut live = Live::new("");
    check(
        &mut live,
        &[
            ("'2026-01-31'::date", r#""2026-01-31""#),
            ("'0001-01-01'::date", r#""0001-01-01""#),
            ("'0001-12-31 BC'::date", r#""0000-12-31""#),
            ("'0044-03-15 BC'::date", r#""-000043-03-15""#),
            ("'4714-11-24 BC'::date", r#""-004713-11-24""#),
            ("'9999-12-31'::date", r#""9999-12-31""#),
            ("'10000-01-01'::date", r#""+010000-01-01""#),
            ("'5874897-12-31'::date", r#""+5874897-12-31""#),
            ("'infinity'::date", r#""infinity""#),
            ("'-infinity'::date", r#""-infinity""#),
            ("NULL::date", "null"),
            ("'00:00'::time", r#""00:00:00""#),
            ("'24:00'::time", r#""24:00:00""#),
            ("'13:37:00.50'::time", r#""13:37:00.5""#),
            ("'23:59:59.999999'::time", r#""23:59:59.999999""#),
            ("'2026-01-31 13:37:00.5'::timestamp", r#""2026-01-31T13:37:00.5""#),
            ("'4714-11-24 00:00:00 BC'::timestamp", r#""-004713-11-24T00:00:00""#),
            ("'294276-12-31 23:59:59.999999'::timestamp", r#""+294276-12-31T23:59:59.999999""#),
            ("'1999-12-31 23:59:59.999999'::timestamp", r#""1999-12-31T23:59:59.999999""#),
            ("'infinity'::timestamp", r#""infinity""#),
            ("'-infinity'::timestamp", r#""-infinity""#),
            ("'2026-01-31 13:37:00.5+02'::timestamptz", r#""2026-01-31T11:37:00.5Z""#),
            ("'4714-11-24 00:00:00+00 BC'::timestamptz", r#""-004713-11-24T00:00:00Z""#),
            ("'294276-12-31 23:59:59.999999+00'::timestamptz", r#""+294276-12-31T23:59:59.999999Z""#),
            ("'infinity'::timestamptz", r#""infinity""#),
            ("'-infinity'::timestamptz", r#""-infinity""#),
        ],
    );
    check_as_text(
        &mut live,
        &[
            "'13:37:00+02'::timetz",
            "'13:37:00.5-05:30:15'::timetz",
            "'24:00:00-15:59:59'::timetz",
            "'0:0Z'::timetz",
        ],
    );
    // The server's own ISO 8601, which is that of JSON, in the years that need no sign.
    let sql = "SELECT d, t, z, to_json(d) #>> '{}' AS jd, to_json(t) #>> '{}' AS jt, \
               replace(to_json(z) #>> '{}', '+00:00', 'Z') AS jz \
               FROM (SELECT at::date AS d, at AS t, at AT TIME ZONE 'UTC' AS z \
               FROM (SELECT '0001-01-01'::timestamp + random() * interval '9998 years' AS at \
               FROM generate_series(1, 2000)) AS a OFFSET 0) AS b";
    for row in live.read(sql, &[]).unwrap() {
        for (ours, theirs) in [("d", "jd"), ("t", "jt"), ("z", "jz")] {
            assert_eq!(row[ours].get(), row[theirs].get());
        }
    }
}

#[test]
fn intervals_are_what_the_server_writes_in_iso_8601() {
    let mut live = Live::new("");
    live.psql("ALTER ROLE CURRENT_USER RESET ALL; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET intervalstyle = iso_8601', current_database()); END $$");
    live.reconnect();
    let mut expressions: Vec<String> = [
        "0",
        "1 year",
        "-1 year",
        "1 mon",
        "-13 mons",
        "1 day",
        "-1 day",
        "1 hour",
        "-1 minute",
        "0.5 seconds",
        "-0.5 seconds",
        "0.000001 seconds",
        "-0.000001 seconds",
        "59.999999 seconds",
        "1 year -1 mon",
        "-1 year 1 day",
        "1 mon -1 day 1 hour",
        "-1 mon 1 day -1 hour",
        "1 year 2 mons 3 days 04:05:06.789",
        "-1 year -2 mons -3 days -04:05:06.789",
        "2147483647 mons 2147483647 days",
        "-2147483648 mons -2147483648 days",
        "2562047788 hours 54.775806 seconds",
        "-2562047788 hours -54.775807 seconds",
        "100:00:00",
    ]
    .iter()
    .map(|text| format!("'{text}'::interval"))
    .collect();
    expressions.push("NULL::interval".to_owned());
    for expression in &expressions {
        let sql = format!("SELECT v, v::text AS t FROM (SELECT {expression} AS v) AS s");
        let rows = live.read(&sql, &[]).unwrap();
        assert_eq!(rows[0]["v"].get(), rows[0]["t"].get(), "{expression}");
    }
    let random = "SELECT v, v::text AS t FROM (SELECT make_interval( \
                  years => (random() * 20 - 10)::int, months => (random() * 30 - 15)::int, \
                  days => (random() * 60 - 30)::int, hours => (random() * 4 - 2)::int, \
                  mins => (random() * 4 - 2)::int, secs => round((random() * 4 - 2)::numeric, (random() * 6)::int)) AS v \
                  FROM generate_series(1, 2000) OFFSET 0) AS s";
    for row in live.read(random, &[]).unwrap() {
        assert_eq!(row["v"].get(), row["t"].get());
    }
}

#[test]
fn what_is_written_as_postgresql_writes_it() {
    let mut live = Live::new(SCHEMA);
    check_as_text(
        &mut live,
        &[
            "'0.0.0.0'::inet",
            "'255.255.255.255'::inet",
            "'10.0.0.1/8'::inet",
            "'::'::inet",
            "'::1'::inet",
            "'::ffff:1.2.3.4'::inet",
            "'::1.2.3.4'::inet",
            "'2001:db8::1/64'::inet",
            "'1:0:0:2:0:0:0:3'::inet",
            "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0'::inet",
            "'10/8'::cidr",
            "'10.1.2.3/32'::cidr",
            "'0.0.0.0/0'::cidr",
            "'fe80::/10'::cidr",
            "'::1/128'::cidr",
            "'08:00:2b:01:02:03'::macaddr",
            "'ff:ff:ff:ff:ff:ff:ff:ff'::macaddr8",
            "B'101'",
            "B'1'::bit(9)",
            "''::varbit",
            "repeat('10110', 200)::varbit",
            "'empty'::int4range",
            "int4range(NULL, NULL)",
            "int4range(-2147483648, NULL, '[]')",
            "int8range(-9223372036854775808, 9223372036854775807)",
            "numrange('-Infinity', 1.50, '(]')",
            "numrange(NULL, 'NaN')",
            "daterange('0044-03-15 BC', '10000-01-01', '[]')",
            "daterange('-infinity', 'infinity')",
            "daterange(NULL, '2026-01-31')",
            "tsrange('2026-01-31 00:00', '2026-01-31 13:37:00.5', '[]')",
            "tsrange('0044-03-15 01:02:03.000001 BC', '294276-12-31 23:59:59.999999')",
            "tsrange('-infinity', 'infinity', '()')",
            "tstzrange('0044-03-15 12:00+00 BC', '2026-01-31 13:37+02')",
            "textrange('', 'a \"b\" \\ (c)', '[]')",
            "textrange('plain', NULL)",
            "textrange(E'\\t', E'\\u00a0')",
            "timerange('00:00', '24:00', '[]')",
        ],
    );
    let random = [
        "(random() * power(10, random() * 30 - 15))::numeric * sign(random() - 0.5)::numeric",
        "round((random() * power(10, random() * 30))::numeric, (random() * 20)::int)",
        "(repeat('0', (random() * 20)::int) || '.' || repeat('0', (random() * 20)::int) || (random() * 1e9)::int)::numeric",
        "set_masklen('0.0.0.0'::inet + (random() * 4294967295)::int8, (random() * 32)::int)",
        "network(set_masklen('0.0.0.0'::inet + (random() * 4294967295)::int8, (random() * 32)::int))",
        "set_masklen((SELECT string_agg(CASE WHEN random() < 0.7 THEN '0' ELSE to_hex((random() * 65535)::int) END, ':') \
         FROM generate_series(1, 8) WHERE g > 0)::inet, (random() * 128)::int)",
        "substring((random() * 2147483647)::int::bit(32)::varbit, 1, (random() * 32)::int)",
        "numrange((random() * 100)::numeric, 100 + (random() * 100)::numeric, (ARRAY['[]', '()', '[)', '(]'])[1 + (random() * 3)::int])",
        "tstzrange('epoch'::timestamptz - random() * interval '6000 years', now() + random() * interval '200000 years')",
        "textrange(chr(1 + (random() * 126)::int), chr(127) || chr(1 + (random() * 126)::int), '[]')",
        "(('12:00:' || (random() * 59)::int || '.' || (random() * 999999)::int || (ARRAY['+', '-'])[1 + random()::int] \
         || (random() * 14)::int || ':' || (random() * 59)::int || ':' || (random() * 59)::int))::timetz",
        "substring(md5(g::text), 1, 12)::macaddr",
    ];
    for expression in random {
        let sql = format!(
            "SELECT v, format('%s', v) AS t FROM (SELECT {expression} AS v FROM generate_series(1, 500) AS g OFFSET 0) AS s"
        );
        for row in live.read(&sql, &[]).unwrap_or_else(|error| panic!("{expression}: {error}")) {
            assert_eq!(row["v"].get(), row["t"].get(), "{expression}");
        }
    }
}

#[test]
fn arrays() {
    let mut live = Live::new(SCHEMA);
    check(
        &mut live,
        &[
            ("'{}'::int[]", "[]"),
            ("NULL::int[]", "null"),
            ("'{1,NULL,-3}'::int[]", "[1,null,-3]"),
            ("'{NULL}'::text[]", "[null]"),
            ("ARRAY['', 'NULL', 'a\"b\\c', 'ä🦀']", r#"["","NULL","a\"b\\c","ä🦀"]"#),
            ("'{{1,2},{3,NULL}}'::int8[]", "[[1,2],[3,null]]"),
            ("'{{{{{{1}}}}}}'::int[]", "[[[[[[1]]]]]]"),
            ("'[-1:0][5:6]={{1,2},{3,4}}'::int[]", "[[1,2],[3,4]]"),
            ("'[0:1]={true,false}'::bool[]", "[true,false]"),
            ("ARRAY[1.50, 'NaN']::numeric[]", r#"["1.50","NaN"]"#),
            ("ARRAY['NaN', 0.5]::float8[]", r#"["NaN",0.5]"#),
            ("ARRAY['\\x00ff'::bytea, NULL]", r#"["AP8=",null]"#),
            ("ARRAY['{\"a\": [1]}'::jsonb, 'null', NULL]", r#"[{"a":[1]},null,null]"#),
            ("ARRAY['{\"a\" : 1}'::json]", r#"[{"a":1}]"#),
            ("ARRAY['2026-01-31', 'infinity']::date[]", r#"["2026-01-31","infinity"]"#),
            ("ARRAY['2026-01-31 01:00+01']::timestamptz[]", r#"["2026-01-31T00:00:00Z"]"#),
            ("ARRAY['1 day']::interval[]", r#"["P1D"]"#),
            ("ARRAY[int4range(1, 2), 'empty', NULL]", r#"["[1,2)","empty",null]"#),
            ("ARRAY['sad', NULL]::mood[]", r#"["sad",null]"#),
            ("ARRAY['A'::citext, 'b']", r#"["A","b"]"#),
            ("ARRAY[1::posint]", "[1]"),
            ("'{1,2}'::ints", "[1,2]"),
            ("ARRAY['1.50'::money]", r#"["1.50"]"#),
            ("ARRAY['10.0.0.1'::inet, '::1']", r#"["10.0.0.1","::1"]"#),
            ("'1 2 3'::int2vector", "[1,2,3]"),
            ("'1 2'::oidvector", "[1,2]"),
            ("ARRAY(SELECT generate_series(1, 3))", "[1,2,3]"),
        ],
    );
    // 100,000 elements, and none is lost.
    let rows =
        live.read("SELECT array_agg(g ORDER BY g) AS v FROM generate_series(1, 100000) AS g", &[]).unwrap();
    let numbers: Vec<u32> = serde_json::from_str(rows[0]["v"].get()).unwrap();
    assert!(numbers.into_iter().eq(1..=100_000));
}

#[test]
fn types_outside_the_table_come_as_the_server_writes_them() {
    let mut live = Live::new(SCHEMA);
    for (expression, reply) in [
        ("point(1, 2)", r#""(1,2)""#),
        ("'a=>1'::hstore", r#""\"a\"=>\"1\"""#),
        ("'a b'::tsvector", r#""'a' 'b'""#),
        ("'$.a'::jsonpath", r#""$.\"a\"""#),
        ("'0/0'::pg_lsn", r#""0/0""#),
        ("row(1, 2)", r#""(1,2)""#),
        ("row(1, 'a b')::pair", r#""(1,\"a b\")""#),
        ("ARRAY[row(1, 'a')::pair, NULL]", r#"["(1,a)",null]"#),
        ("ARRAY[point(1, 2)]", r#"["(1,2)"]"#),
        ("ARRAY[box(point(1, 1), point(0, 0)), NULL]", r#"["(1,1),(0,0)",null]"#),
        ("ARRAY['{1}'::ints]", r#"["{1}"]"#),
        ("floatrange(1, 2)", r#""[1,2)""#),
        ("'pg_class'::regclass", r#""pg_class""#),
        ("'{[1,2)}'::int4multirange", r#""{[1,2)}""#),
        ("NULL::point", "null"),
        ("makeaclitem(10, 10, 'SELECT', false)", r#""postgres=r/postgres""#),
    ] {
        let sql = format!("SELECT 1 AS before, {expression} AS v FROM generate_series(1, 3)");
        for _ in 0..2 {
            let rows = live.read(&sql, &[]).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(rows.len(), 3, "{expression}");
            assert_eq!(rows[2]["v"].get(), reply, "{expression}");
        }
    }
    let twice = live.read("SELECT 1 AS a, 2 AS a", &[]).unwrap_err();
    assert_eq!(twice.fault(), Fault::QueryFailed);
    assert!(twice.detail().contains("`a`"), "{twice}");
    assert_eq!(live.session().state(), State::Idle, "what is wrong with the names costs no session");
}

#[test]
fn floats_read_back_to_the_same_bits() {
    let mut live = Live::new("");
    let sql = "SELECT v, v::text AS t, s, s::text AS u FROM (SELECT \
               (random() * power(10::float8, random() * 600 - 300)) AS v, \
               (random() * power(10::float8, random() * 70 - 35))::float4 AS s FROM generate_series(1, 2000) OFFSET 0) AS x";
    for row in live.read(sql, &[]).unwrap() {
        let text = |column: &str| serde_json::from_str::<String>(row[column].get()).unwrap();
        let (ours, theirs): (f64, f64) = (row["v"].get().parse().unwrap(), text("t").parse().unwrap());
        assert_eq!(ours.to_bits(), theirs.to_bits());
        let (ours, theirs): (f32, f32) = (row["s"].get().parse().unwrap(), text("u").parse().unwrap());
        assert_eq!(ours.to_bits(), theirs.to_bits());
    }
}

#[test]
fn every_column_is_there_in_order() {
    let mut live = Live::new("");
    let columns: Vec<String> = (0..1600).map(|at| format!("{at} AS c{at}")).collect();
    let rows = live.read(&format!("SELECT {}", columns.join(", ")), &[]).unwrap();
    assert_eq!(rows[0].len(), 1600);
    assert!((0..1600).all(|at| rows[0][&format!("c{at}")].get() == at.to_string()));
    let rows = live.read("SELECT FROM generate_series(1, 2)", &[]).unwrap();
    assert_eq!(rows.len(), 2);
    let rows = live.read("SELECT 1 AS \"a\"\"b\\\n\"", &[]).unwrap();
    assert_eq!(serde_json::to_value(&rows).unwrap(), Json::from(vec![serde_json::json!({"a\"b\\\n": 1})]));
}
