//! What is said of a statement that is not run.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

use lambda_rds_core::backend::Session;
use lambda_rds_core::backend::State;
use lambda_rds_core::describe::{Described, Description, Form, JsonType, Writes};

use crate::fixture::{Database, read, statement};

async fn described(session: &mut Box<dyn Session>, sql: &str) -> Described {
    session.describe(&statement(sql, &[])).await.unwrap()
}

async fn taken(session: &mut Box<dyn Session>, sql: &str) -> Description {
    match described(session, sql).await {
        Described::Statement(description) => description,
        Described::Refused(refused) => panic!("{refused:?}"),
    }
}

const TABLES: [&str; 2] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(9) NOT NULL, note TEXT, ok BOOLEAN, at DATETIME NOT NULL)",
    "CREATE TABLE pair (a INTEGER, b INTEGER, PRIMARY KEY (a, b))",
];

#[tokio::test]
async fn columns_are_what_their_table_declares() {
    let database = Database::new(&TABLES).await;
    let mut session = database.session().await;
    let description = taken(&mut session, "SELECT *, count(*) AS n FROM t").await;
    let columns: Vec<_> = description
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.type_name.as_str(), column.form.clone(), column.nullable))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "integer", Form::Value(JsonType::Int64), Some(false)),
            ("name", "varchar(9)", Form::Value(JsonType::Text), Some(false)),
            ("note", "text", Form::Value(JsonType::Text), Some(true)),
            ("ok", "boolean", Form::Value(JsonType::BoolOrInt), Some(true)),
            ("at", "datetime", Form::Any, Some(false)),
            ("n", "any", Form::Any, None),
        ]
    );
    // Of two columns neither is the row's number, and SQLite lets both be null.
    let pair = taken(&mut session, "SELECT a FROM pair").await;
    assert_eq!(pair.columns[0].nullable, Some(true));
}

#[tokio::test]
async fn through_a_view_nothing_is_known_to_hold_no_null() {
    let view = "CREATE VIEW v AS SELECT x.id, y.name FROM t x LEFT JOIN t y ON y.id = x.id + 1";
    let database = Database::new(&[TABLES[0], view]).await;
    let mut session = database.session().await;
    let description = taken(&mut session, "SELECT id, name FROM v").await;
    assert!(description.columns.iter().all(|column| column.nullable != Some(false)), "{description:?}");
}

#[tokio::test]
async fn what_writes_is_known_and_nothing_is_run() {
    let database = Database::new(&TABLES).await;
    let mut session = database.session().await;
    for (sql, writes) in [
        ("SELECT * FROM t", false),
        ("WITH a AS (SELECT 1) SELECT * FROM a", false),
        ("INSERT INTO pair VALUES (1, 2)", true),
        ("WITH a AS (SELECT 1 AS x) INSERT INTO pair SELECT x, x FROM a", true),
        ("DROP TABLE pair", true),
    ] {
        let found = matches!(taken(&mut session, sql).await.writes, Writes::Yes(_));
        assert_eq!(found, writes, "{sql}");
    }
    assert_eq!(read(&mut session, "SELECT a FROM pair", &[]).await.unwrap(), serde_json::json!([]));
}

#[tokio::test]
async fn what_is_refused_leaves_the_session_usable() {
    let database = Database::new(&TABLES).await;
    let mut session = database.session().await;
    let Described::Refused(refused) = described(&mut session, "SELECT missing FROM t").await else {
        panic!("it was taken")
    };
    assert_eq!(refused.reason, "no such column: missing");
    assert_ne!(session.state(), State::Closed);
    taken(&mut session, "SELECT 1").await;
}
