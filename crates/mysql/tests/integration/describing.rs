//! What is said of a statement that is not run.

use lambda_rds_core::backend::Session;
use lambda_rds_core::describe::{Described, Description, Form, JsonType, Writes};
use lambda_rds_testbed::MysqlKind;
use serde_json::json;

use crate::fixture::{rows, session, statement, usable};
use crate::on_both_servers;

on_both_servers!(
    columns_are_told_with_their_types,
    through_a_view_nothing_is_known_to_hold_no_null,
    what_is_refused_is_told_and_leaves_the_session_usable,
    nothing_is_run,
);

const TABLE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(9) NOT NULL, note TEXT, \
    ok BOOL NOT NULL, price DECIMAL(9,2) NOT NULL, at DATETIME NOT NULL, place POINT)";

async fn described(session: &mut Box<dyn Session>, sql: &str) -> Described {
    session.describe(&statement(sql, &[])).await.unwrap()
}

async fn taken(session: &mut Box<dyn Session>, sql: &str) -> Description {
    match described(session, sql).await {
        Described::Statement(description) => description,
        Described::Refused(refused) => panic!("{refused:?}"),
    }
}

async fn columns_are_told_with_their_types(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    let description = taken(&mut session, "SELECT t.*, id + 1 AS next FROM t WHERE id = ?").await;
    let columns: Vec<_> = description
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.form.clone(), column.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", Form::Value(JsonType::Int64), Some(false)),
            ("name", Form::Value(JsonType::Text), Some(false)),
            ("note", Form::Value(JsonType::Text), Some(true)),
            ("ok", Form::Value(JsonType::BoolOrInt), Some(false)),
            ("price", Form::Value(JsonType::Decimal), Some(false)),
            // A zero date is replied as null.
            ("at", Form::Value(JsonType::Timestamp), None),
            ("place", Form::Value(JsonType::Bytes), Some(true)),
            ("next", Form::Value(JsonType::Int64), None),
        ]
    );
}

async fn through_a_view_nothing_is_known_to_hold_no_null(kind: MysqlKind) {
    let view = "CREATE VIEW v AS SELECT x.id, y.name FROM t x LEFT JOIN t y ON y.id = x.id + 1";
    let (_, mut session) = session(kind, &[TABLE, view]).await;
    let description = taken(&mut session, "SELECT id, name FROM v").await;
    assert!(description.columns.iter().all(|column| column.nullable != Some(false)), "{description:?}");
}

async fn what_is_refused_is_told_and_leaves_the_session_usable(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    for (sql, code, line) in [
        ("SELECT missing FROM t", "1054", None),
        ("SELECT 1 FROM nowhere", "1146", None),
        ("SELECT id\nFROM t\nWHERE", "1064", Some(3)),
    ] {
        let Described::Refused(refused) = described(&mut session, sql).await else {
            panic!("{sql} was taken")
        };
        assert_eq!((refused.code.as_deref(), refused.line), (Some(code), line), "{sql}: {}", refused.reason);
        assert!(usable(&session));
    }
    taken(&mut session, "SELECT 1").await;
}

async fn nothing_is_run(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    let insert = "INSERT INTO t (id, name, ok, price, at) VALUES (1, 'a', TRUE, 1, NOW())";
    assert_eq!(taken(&mut session, insert).await.writes, Writes::Yes("writes".to_owned()));
    assert_eq!(taken(&mut session, "SELECT id FROM t").await.writes, Writes::Unknown);
    // A read-only session locks no rows for a write either.
    assert!(matches!(taken(&mut session, "SELECT id FROM t FOR UPDATE").await.writes, Writes::Yes(_)));
    assert!(rows(&mut session, "SELECT id FROM t FOR UPDATE", &[]).await.is_err());
    // Of DDL it tells when it runs; its words are enough.
    assert_eq!(taken(&mut session, "DROP TABLE t").await.writes, Writes::Unknown);
    let Described::Refused(refused) = described(&mut session, "DELETE FROM t WHERE missing = 1").await else {
        panic!("it was taken")
    };
    assert_eq!(refused.code.as_deref(), Some("1054"));
    // And it is a session of reads again.
    assert!(rows(&mut session, insert, &[]).await.is_err());
    assert_eq!(rows(&mut session, "SELECT id FROM t", &[]).await.unwrap(), json!([]));
}
