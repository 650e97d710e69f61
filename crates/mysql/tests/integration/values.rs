//! Every type of the table, both ways.

use lambda_rds_core::backend::{Frame, Session, State};
use lambda_rds_core::error::Fault;
use lambda_rds_core::queries::Verb;
use lambda_rds_core::value::{Scalar, Value, time};
use lambda_rds_testbed::MysqlKind;
use serde_json::{Value as Json, json};

use crate::fixture::{alone, argument, int, rows, run, session, text, write};
use crate::on_both_servers;

on_both_servers!(
    every_type_is_replied_as_the_table_says,
    values_come_back_as_they_were_bound,
    a_decimal_is_compared_digit_for_digit,
    arithmetic_of_decimals_is_exact,
    dates_that_are_none_are_null,
    the_session_is_utc_and_utf8,
    geometry_is_its_bytes_with_its_reference_system,
    two_columns_of_one_name_are_refused,
    a_procedure_gives_one_result,
);

/// The row that a statement gives, once or several times: the first one comes by another way than the others.
async fn one(session: &mut Box<dyn lambda_rds_core::backend::Session>, sql: &str) -> Json {
    let mut rows = rows(session, sql, &[]).await.unwrap();
    let all = rows.as_array_mut().unwrap();
    let row = all.pop().unwrap();
    for other in all {
        assert_eq!(*other, row);
    }
    row
}

async fn every_type_is_replied_as_the_table_says(kind: MysqlKind) {
    let (_, mut session) = session(
        kind,
        &[
            "CREATE TABLE t (
                yes BOOL, odd TINYINT(1), odd_u TINYINT(1) UNSIGNED, i1 TINYINT, u1 TINYINT UNSIGNED, i2 SMALLINT,
                u2 SMALLINT UNSIGNED, i3 MEDIUMINT, u3 MEDIUMINT UNSIGNED, i4 INT, u4 INT UNSIGNED, i8 BIGINT,
                u8 BIGINT UNSIGNED, f4 FLOAT, f8 DOUBLE, d DECIMAL(65,30), b1 BIT(1), b64 BIT(64), y YEAR,
                c CHAR(5), v VARCHAR(20), vb VARCHAR(20) COLLATE utf8mb4_bin, latin VARCHAR(20) CHARACTER SET latin1,
                t TEXT, e ENUM('a','b'), s SET('x','y','z'), eb ENUM('a','b') COLLATE utf8mb4_bin,
                bin BINARY(3), varbin VARBINARY(20), bl BLOB, j JSON,
                da DATE, ti TIME(6), neg TIME, dt DATETIME(6), ts TIMESTAMP(6) NULL, nothing INT)",
            "INSERT INTO t VALUES (
                TRUE, -5, 200, -128, 255, -32768,
                65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
                18446744073709551615, 1.5, 0.1, 12345678901234567890123456789012345.012345678901234567890123456789,
                b'1', b'1111111111111111111111111111111111111111111111111111111111111111', 2026,
                'char', 'a \"quote\"', 'Ünï', 'é', 'text', 'b', 'x,z', 'a',
                x'000102', x'ff', x'00', '{\"a\": [1, 2.50]}',
                '2026-01-31', '13:37:00.5', '-838:59:59', '2026-01-31 13:37:00.5', '2026-01-31 13:37:00.5', NULL)",
            "INSERT INTO t SELECT * FROM t",
            "INSERT INTO t SELECT * FROM t",
        ],
    )
    .await;
    let row = one(&mut session, "SELECT * FROM t").await;
    let json = match kind {
        MysqlKind::Mysql => json!({"a": [1, 2.5]}),
        // Its JSON is text by another name.
        MysqlKind::MariaDb => json!("{\"a\": [1, 2.50]}"),
    };
    let want = json!({
        "yes": true, "odd": -5, "odd_u": 200, "i1": -128, "u1": 255, "i2": -32768,
        "u2": 65535, "i3": -8_388_608, "u3": 16_777_215, "i4": -2_147_483_648_i64, "u4": 4_294_967_295_u32,
        "i8": i64::MIN, "u8": u64::MAX, "f4": 1.5, "f8": 0.1,
        "d": "12345678901234567890123456789012345.012345678901234567890123456789",
        "b1": 1, "b64": u64::MAX, "y": 2026,
        "c": "char", "v": "a \"quote\"", "vb": "Ünï", "latin": "é", "t": "text", "e": "b", "s": "x,z", "eb": "a",
        "bin": "AAEC", "varbin": "/w==", "bl": "AA==", "j": json,
        "da": "2026-01-31", "ti": "13:37:00.5", "neg": "-838:59:59",
        "dt": "2026-01-31T13:37:00.5", "ts": "2026-01-31T13:37:00.5Z", "nothing": null,
    });
    for (name, want) in want.as_object().unwrap() {
        assert_eq!(&row[name], want, "column {name}");
    }
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), want.as_object().unwrap().len());
}

async fn values_come_back_as_they_were_bound(kind: MysqlKind) {
    let (_, mut session) = session(
        kind,
        &["CREATE TABLE t (b BOOL, i BIGINT, f DOUBLE, d DECIMAL(65,30), t TEXT, u CHAR(36), da DATE, ti TIME(6), \
           ts DATETIME(6), tz TIMESTAMP(6) NULL, j JSON, by_ LONGBLOB, n INT)"],
    )
    .await;
    let decimal = format!("-{}.{}", "9".repeat(35), "1".repeat(30));
    let long = "é".repeat(40_000);
    let arguments = [
        argument(Scalar::Bool, Value::Bool(true)),
        int(i64::MIN),
        argument(Scalar::Float, Value::Float(-0.1)),
        argument(Scalar::Decimal, Value::Decimal(decimal.clone())),
        text(&long[..60_000]),
        argument(Scalar::Uuid, Value::Uuid([0x1f; 16])),
        argument(Scalar::Date, Value::Date(time::parse_date("9999-12-31").unwrap())),
        argument(Scalar::Time, Value::Time(time::parse_time("24:00:00").unwrap())),
        argument(
            Scalar::Timestamp,
            Value::Timestamp(time::parse_timestamp("1000-01-01T00:00:00.000001").unwrap()),
        ),
        argument(
            Scalar::Timestamptz,
            Value::Timestamptz(time::parse_timestamptz("2026-01-31T13:37:00.5+02:00").unwrap()),
        ),
        argument(Scalar::Json, Value::Json("{\"k\":[1,\"é\"]}".into())),
        argument(Scalar::Bytes, Value::Bytes(vec![0, 255])),
        argument(Scalar::Int, Value::Null),
    ];
    let insert = "INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)";
    for _ in 0..2 {
        assert_eq!(write(&mut session, insert, &arguments).await.unwrap().rows_affected, 1);
    }
    let row = one(&mut session, "SELECT * FROM t").await;
    let json = match kind {
        MysqlKind::Mysql => json!({"k": [1, "é"]}),
        MysqlKind::MariaDb => json!("{\"k\":[1,\"é\"]}"),
    };
    assert_eq!(
        row,
        json!({
            "b": true, "i": i64::MIN, "f": -0.1, "d": decimal, "t": long[..60_000],
            "u": "1f1f1f1f-1f1f-1f1f-1f1f-1f1f1f1f1f1f", "da": "9999-12-31", "ti": "24:00:00",
            "ts": "1000-01-01T00:00:00.000001", "tz": "2026-01-31T11:37:00.5Z", "j": json, "by_": "AP8=", "n": null,
        })
    );
    // The same values find the row again.
    let find = "SELECT COUNT(*) AS n FROM t WHERE b = ? AND i = ? AND f = ? AND d = ? AND t = ? AND u = ? \
                AND da = ? AND ti = ? AND ts = ? AND tz = ?";
    assert_eq!(rows(&mut session, find, &arguments[..10]).await.unwrap(), json!([{"n": 2}]));
}

async fn a_decimal_is_compared_digit_for_digit(kind: MysqlKind) {
    let (_, mut session) = session(
        kind,
        &[
            "CREATE TABLE t (d DECIMAL(65,0))",
            "INSERT INTO t VALUES (90071992547409931), (90071992547409932)",
        ],
    )
    .await;
    // As doubles the two are one.
    let wanted = argument(Scalar::Decimal, Value::Decimal("90071992547409931".into()));
    let found = rows(&mut session, "SELECT d FROM t WHERE d = ?", &[wanted]).await.unwrap();
    assert_eq!(found, json!([{"d": "90071992547409931"}]));
}

/// MySQL resolves a statement before it knows what the parameters are, and takes those that stand among themselves for
/// doubles; beside anything that has a type of its own they have that.
async fn arithmetic_of_decimals_is_exact(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let decimal = |text: &str| argument(Scalar::Decimal, Value::Decimal(text.into()));
    for (sql, arguments, want) in [
        ("? * ?", [decimal("0.10"), int(3)], "0.30"),
        ("? * ?", [int(3), decimal("0.10")], "0.30"),
        ("? + ?", [decimal("0.1"), decimal("0.2")], "0.3"),
        ("? + ?", [decimal("90071992547409931"), decimal("0.5")], "90071992547409931.5"),
        ("? * ?", [decimal("-12345678901234567890.12345"), int(2)], "-24691357802469135780.2469"),
    ] {
        let cast = sql.replacen('?', "CAST(? AS DECIMAL(60, 10))", 1);
        let texts: &[&str] = if kind == MysqlKind::MariaDb { &[sql, &cast] } else { &[&cast] };
        for text in texts {
            let found = rows(&mut session, &format!("SELECT {text} AS v"), &arguments).await.unwrap();
            let value = found[0]["v"].as_str().unwrap_or_else(|| panic!("{text}: {found} is no decimal"));
            assert_eq!(value.trim_end_matches('0'), want.trim_end_matches('0'), "{text} of {arguments:?}");
        }
    }
}

async fn dates_that_are_none_are_null(kind: MysqlKind) {
    let (_, mut session) = session(kind, &["CREATE TABLE t (d DATE, dt DATETIME, part DATE)"]).await;
    write(
        &mut session,
        "INSERT IGNORE INTO t VALUES ('0000-00-00', '0000-00-00 00:00:00', '2026-00-00'), \
         ('0000-00-00', '0000-00-00 00:00:00', '2026-00-00')",
        &[],
    )
    .await
    .unwrap();
    assert_eq!(one(&mut session, "SELECT d, dt FROM t").await, json!({"d": null, "dt": null}));
}

async fn the_session_is_utc_and_utf8(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let row = one(
        &mut session,
        "SELECT @@time_zone AS zone, @@character_set_client AS client, @@character_set_results AS results, \
         @@autocommit AS autocommit, @@innodb_lock_wait_timeout AS lock_wait, @@sql_mode AS mode",
    )
    .await;
    assert_eq!(row["zone"], "+00:00");
    assert_eq!((&row["client"], &row["results"]), (&json!("utf8mb4"), &json!("utf8mb4")));
    assert_eq!(row["autocommit"], 1);
    assert_eq!(row["lock_wait"], 9);
    assert!(row["mode"].as_str().unwrap().contains("STRICT_TRANS_TABLES"), "{row}");
    let limit = match kind {
        MysqlKind::Mysql => "SELECT @@max_execution_time = 10000 AS ok",
        MysqlKind::MariaDb => "SELECT @@max_statement_time = 10 AS ok",
    };
    assert_eq!(one(&mut session, limit).await, json!({"ok": 1}));
    let echoed = rows(&mut session, "SELECT ? AS echo", &[text("🦀 \\ ' \" \0")]).await.unwrap();
    assert_eq!(echoed, json!([{"echo": "🦀 \\ ' \" \0"}]));
}

async fn geometry_is_its_bytes_with_its_reference_system(kind: MysqlKind) {
    let (_, mut session) = session(kind, &["CREATE TABLE t (place GEOMETRY)"]).await;
    alone(&mut session, "INSERT INTO t VALUES (ST_GeomFromText('POINT(1 2)', 4326))").await.unwrap();
    let place = one(&mut session, "SELECT place FROM t").await["place"].take();
    // SRID 4326, little-endian, a point; then the two numbers.
    let hex = one(&mut session, "SELECT HEX(place) AS hex, TO_BASE64(place) AS base64 FROM t").await;
    assert!(hex["hex"].as_str().unwrap().starts_with("E61000000101000000"), "{hex}");
    assert_eq!(place, hex["base64"]);
}

async fn two_columns_of_one_name_are_refused(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let error = rows(&mut session, "SELECT 1 AS n, 2 AS n", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::QueryFailed);
    assert!(error.detail().contains("`n`"), "{error}");
}

async fn a_procedure_gives_one_result(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &["CREATE TABLE t (n INT)"]).await;
    let server = crate::fixture::server(kind);
    let name = &opening.database;
    server.sql(&format!("CREATE PROCEDURE {name}.one() SELECT 1 AS n")).unwrap();
    server.sql(&format!("CREATE PROCEDURE {name}.two() BEGIN SELECT 1 AS n; SELECT 2 AS m; END")).unwrap();
    server.sql(&format!("GRANT EXECUTE ON {name}.* TO '{}'@'%'", opening.user)).unwrap();
    for create in [
        "many() BEGIN SELECT 1 AS n UNION ALL SELECT 2; END",
        "empty_first() BEGIN SELECT n FROM t; SELECT 2 AS n; END",
        "too_many() BEGIN SELECT 1 AS n UNION ALL SELECT 2; SELECT 3 AS n; END",
    ] {
        server.sql(&format!("CREATE PROCEDURE {name}.{create}")).unwrap();
    }
    let call = async |session: &mut Box<dyn Session>, sql: &str| {
        let (_, body) = run(session, Frame::Alone, Verb::Many, sql, &[]).await?;
        Ok::<Json, lambda_rds_core::error::Error>(serde_json::from_slice(&body).unwrap())
    };
    assert_eq!(call(&mut session, "CALL one()").await.unwrap(), json!([{"n": 1}]));
    assert_eq!(call(&mut session, "CALL many()").await.unwrap(), json!([{"n": 1}, {"n": 2}]));
    for sql in ["CALL two()", "CALL empty_first()", "CALL too_many()"] {
        let error = call(&mut session, sql).await.unwrap_err();
        assert_eq!(error.fault(), Fault::QueryFailed);
        assert!(error.detail().contains("second result"), "{sql}: {error}");
        // It was read to its end.
        assert_eq!(session.state(), State::Idle);
        assert_eq!(rows(&mut session, "SELECT 4 AS m", &[]).await.unwrap(), json!([{"m": 4}]));
    }
}

#[tokio::test]
async fn mysqls_vector_is_an_array_of_numbers() {
    let (_, mut session) = session(MysqlKind::Mysql, &["CREATE TABLE t (v VECTOR(3))"]).await;
    alone(&mut session, "INSERT INTO t VALUES (STRING_TO_VECTOR('[1,-2.5,3e10]')), (NULL)").await.unwrap();
    let found = rows(&mut session, "SELECT v FROM t", &[]).await.unwrap();
    assert_eq!(found, json!([{"v": [1.0, -2.5, 3e10]}, {"v": null}]));
}
