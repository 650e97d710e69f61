//! Values both ways.

use lambda_rds_core::backend::{Access, State};
use lambda_rds_core::error::Fault;
use lambda_rds_core::value::Value;
use serde_json::json;

use crate::fixture::{Database, read, run, write};

#[track_caller]
fn same(found: serde_json::Value, expected: serde_json::Value) {
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_value_is_written_as_what_it_is() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    let cases = [
        ("NULL", json!(null)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775807 - 1", json!(i64::MIN)),
        ("0.1", json!(0.1)),
        ("-1e300", json!(-1e300)),
        ("''", json!("")),
        ("'Zoë 🦀 \"quoted\" \\'", json!("Zoë 🦀 \"quoted\" \\")),
        ("CAST(x'610062' AS TEXT)", json!("a\u{0}b")),
        ("x''", json!("")),
        ("x'00ff10'", json!("AP8Q")),
        ("1 = 1", json!(1)),
        ("CURRENT_TIMESTAMP IS NOT NULL", json!(1)),
    ];
    for (sql, expected) in cases {
        let rows = read(&mut session, &format!("SELECT {sql} AS v"), &[]).await.unwrap();
        assert_eq!(rows, json!([{ "v": expected }]), "{sql}");
    }
}

#[tokio::test]
async fn the_declared_type_tells_booleans_and_json() {
    let database = Database::new(&[
        "CREATE TABLE t (a BOOLEAN, b bool, c JSON, d jsonb, e TEXT, \"odd name\" JSON)",
        "INSERT INTO t VALUES (1, 0, '{\"k\": [1, 2.50]}', 'not json', '{}', '[true]')",
        "INSERT INTO t VALUES (2, NULL, NULL, '\"text\"', '1', 'null')",
        "CREATE VIEW v AS SELECT a AS yes, c AS doc FROM t",
    ])
    .await;
    let mut session = database.session().await;
    same(
        read(&mut session, "SELECT * FROM t ORDER BY rowid", &[]).await.unwrap(),
        json!([
            { "a": true, "b": false, "c": { "k": [1, 2.50] }, "d": "not json", "e": "{}", "odd name": [true] },
            { "a": 2, "b": null, "c": null, "d": "text", "e": "1", "odd name": null },
        ]),
    );
    same(
        read(&mut session, "SELECT yes, doc FROM v LIMIT 1", &[]).await.unwrap(),
        json!([{ "yes": true, "doc": { "k": [1, 2.50] } }]),
    );
}

#[tokio::test]
async fn parameters_are_bound_in_the_form_in_which_sqlite_stores_them() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    let nasty = "'; DROP TABLE users; -- \u{0} 🦀 ?1 :name";
    let cases = [
        (Value::Null, "null", json!(null)),
        (Value::Bool(true), "integer", json!(1)),
        (Value::Bool(false), "integer", json!(0)),
        (Value::Int(i64::MIN), "integer", json!(i64::MIN)),
        (Value::Float(0.1), "real", json!(0.1)),
        (
            Value::Decimal("1234567890.12345678901234567890".into()),
            "text",
            json!("1234567890.12345678901234567890"),
        ),
        (Value::Text(nasty.into()), "text", json!(nasty)),
        (Value::Text(String::new()), "text", json!("")),
        (
            Value::Uuid([
                0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0,
            ]),
            "text",
            json!("123e4567-e89b-12d3-a456-426614174000"),
        ),
        (Value::Json("{\"a\": 1.50}".into()), "text", json!("{\"a\": 1.50}")),
        (Value::Bytes(vec![0, 255, 16]), "blob", json!("AP8Q")),
        (Value::Bytes(Vec::new()), "blob", json!("")),
        (Value::Time(48_000_000_000 + 1_020_000_000 + 500_000), "text", json!("13:37:00.5")),
    ];
    for (value, storage, expected) in cases {
        let rows = read(&mut session, "SELECT typeof(?1) AS t, ?1 AS v", std::slice::from_ref(&value))
            .await
            .unwrap();
        assert_eq!(rows, json!([{ "t": storage, "v": expected }]), "{value:?}");
    }
}

#[tokio::test]
async fn sqlite_calculates_with_the_dates_that_we_bind() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    let (date, stamp, instant) = (
        lambda_rds_core::value::time::parse_date("2026-01-31").unwrap(),
        lambda_rds_core::value::time::parse_timestamp("2026-01-31T13:37:00.5").unwrap(),
        lambda_rds_core::value::time::parse_timestamptz("2026-01-31T13:37:00Z").unwrap(),
    );
    same(
        read(
            &mut session,
            "SELECT ?1 AS a, ?2 AS b, ?3 AS c, date(?1, '+1 day') AS d, datetime(?2) AS e, datetime(?3) AS f",
            &[Value::Date(date), Value::Timestamp(stamp), Value::Timestamptz(instant)],
        )
        .await
        .unwrap(),
        json!([{
            "a": "2026-01-31", "b": "2026-01-31T13:37:00.5", "c": "2026-01-31T13:37:00Z",
            "d": "2026-02-01", "e": "2026-01-31 13:37:00", "f": "2026-01-31 13:37:00",
        }]),
    );
}

#[tokio::test]
async fn what_sqlite_cannot_hold_is_refused() {
    let database = Database::new(&["CREATE TABLE t (v REAL)"]).await;
    let mut session = database.session().await;
    let error = read(&mut session, "SELECT ?1 AS v", &[Value::Float(f64::NAN)]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::BadParameter);
    assert_eq!(error.message(), "Parameter `p1` must be a number; SQLite has no NaN.");
    assert_ne!(session.state(), State::Closed);

    let error = read(&mut session, "SELECT CAST(x'ff' AS TEXT) AS v", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::QueryFailed);
    assert!(error.detail().contains("column `v`") && error.detail().contains("CAST(v AS BLOB)"), "{error}");
}

#[tokio::test]
async fn two_columns_of_one_name_are_refused_before_the_statement_runs() {
    let database = Database::new(&["CREATE TABLE t (id INTEGER)"]).await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    let error = run(&mut session, "INSERT INTO t VALUES (1) RETURNING id, id", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::QueryFailed);
    assert_ne!(session.state(), State::Closed);
    session.commit().await.unwrap();
    same(read(&mut session, "SELECT * FROM t", &[]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_schema_changed_by_another_process_is_seen_at_once() {
    let database =
        Database::new(&["CREATE TABLE t (id INTEGER, doc TEXT)", "INSERT INTO t VALUES (1, '{}')"]).await;
    let (mut here, mut there) = (database.session().await, database.session().await);
    let all = "SELECT * FROM t";
    same(read(&mut here, all, &[]).await.unwrap(), json!([{ "id": 1, "doc": "{}" }]));
    write(&mut there, "ALTER TABLE t RENAME COLUMN id TO number", &[]).await.unwrap();
    same(read(&mut here, all, &[]).await.unwrap(), json!([{ "number": 1, "doc": "{}" }]));
    write(&mut there, "ALTER TABLE t ADD COLUMN more BOOL DEFAULT 1", &[]).await.unwrap();
    same(read(&mut here, all, &[]).await.unwrap(), json!([{ "number": 1, "doc": "{}", "more": true }]));
    write(&mut there, "ALTER TABLE t DROP COLUMN doc", &[]).await.unwrap();
    write(&mut there, "ALTER TABLE t ADD COLUMN doc JSON DEFAULT '{}'", &[]).await.unwrap();
    same(read(&mut here, all, &[]).await.unwrap(), json!([{ "number": 1, "more": true, "doc": {} }]));
}
