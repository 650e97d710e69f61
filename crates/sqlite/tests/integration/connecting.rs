//! Opening, pinging, closing, and sea-orm's handle.

use std::time::Duration;

use lambda_rds_core::backend::{Access, Backend, State};
use lambda_rds_core::error::{Fault, Phase};
use lambda_rds_core::sea_orm::{ConnectionTrait, Statement, TransactionTrait};
use lambda_rds_sqlite::Sqlite;
use serde_json::json;

use crate::fixture::{Database, read, target, write};

#[tokio::test]
async fn a_missing_file_is_not_created_and_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing.db");
    let error = Sqlite.connect(&target(&file, Duration::from_secs(1))).await.unwrap_err();
    assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Resolve)));
    assert!(error.detail().contains("DB_NAME") && error.detail().contains("missing.db"), "{error}");
    assert!(!error.message().contains("missing.db"), "the caller is told nothing about the inside: {error}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_folder_or_another_kind_of_file_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let error = Sqlite.connect(&target(folder.path(), Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unreachable);
    assert!(error.detail().contains("is a folder"), "{error}");

    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "not a database, but long enough to look like one ".repeat(20)).unwrap();
    let error = Sqlite.connect(&target(&file, Duration::from_secs(1))).await.unwrap_err();
    assert_eq!((error.fault(), error.sqlstate()), (Fault::Unreachable, Some("26")));
    assert!(error.detail().contains("not a database") && error.detail().contains("notes.txt"), "{error}");
}

#[tokio::test]
async fn a_session_answers_a_ping_and_closes() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    session.ping().await.unwrap();
    assert_ne!(session.state(), State::Closed);
    session.close().await;
}

#[test]
fn a_session_can_be_dropped_without_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, session) = runtime.block_on(async {
        let database = Database::new(&[]).await;
        let session = database.session().await;
        (database, session)
    });
    drop(runtime);
    drop(session);
    drop(database);
}

#[tokio::test]
async fn sea_orm_and_the_session_take_turns_on_one_connection() {
    let database = Database::new(&["CREATE TABLE t (id INTEGER PRIMARY KEY)"]).await;
    let mut session = database.session().await;
    for id in 0..3 {
        let orm = session.orm().unwrap().database().await.unwrap();
        let row = orm.query_one_raw(statement(&format!("SELECT {id} AS id"))).await.unwrap().unwrap();
        assert_eq!(row.try_get::<i64>("", "id").unwrap(), id);
        let refused = orm.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap_err();
        assert_eq!(Sqlite.classify(&refused), Fault::QueryFailed, "read-only is the default here too");
        assert_eq!(
            read(&mut session, "SELECT count(*) AS n FROM t", &[]).await.unwrap(),
            json!([{ "n": 0 }])
        );
    }

    session.begin(Access::Write).await.unwrap();
    let orm = session.orm().unwrap().database().await.unwrap();
    orm.execute_unprepared("INSERT INTO t VALUES (7)").await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(read(&mut session, "SELECT id FROM t", &[]).await.unwrap(), json!([{ "id": 7 }]));

    let orm = session.orm().unwrap().database().await.unwrap();
    orm.begin().await.unwrap().rollback().await.unwrap();
    write(&mut session, "DELETE FROM t", &[]).await.unwrap();
    session.close().await;
}

fn statement(sql: &str) -> Statement {
    Statement::from_string(lambda_rds_core::sea_orm::DatabaseBackend::Sqlite, sql)
}
