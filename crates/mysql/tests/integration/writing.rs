//! Reads and writes: who may do what, and what a write tells.

use lambda_rds_core::backend::{Access, Frame, Pooling};
use lambda_rds_core::error::Fault;
use lambda_rds_core::queries::Verb;
use lambda_rds_testbed::MysqlKind;
use serde_json::json;

use crate::fixture::{
    alone, failure, in_transaction, int, rows, run, server, session, statement, text, usable, within, write,
};
use crate::on_both_servers;

on_both_servers!(
    a_read_cannot_write,
    a_write_tells_its_rows_and_its_id,
    an_id_is_told_up_to_the_largest,
    what_is_rolled_back_is_gone,
    a_pooler_gets_a_transaction_per_read_and_rds_proxy_no_kill,
    a_write_without_a_transaction_is_allowed_and_forbidden_again,
    a_commit_in_the_middle_is_the_querys_fault_and_runs_once,
    sea_orm_speaks_over_the_same_connection,
);

const TABLE: &str = "CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20))";

async fn a_read_cannot_write(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    let check = async |session: &mut Box<dyn lambda_rds_core::backend::Session>| {
        let error = rows(session, "INSERT INTO t (name) VALUES ('x')", &[]).await.unwrap_err();
        assert_eq!(error.fault(), Fault::QueryFailed, "{error}");
        assert!(error.message().contains("`-- write`"), "{error}");
        assert!(usable(session));
    };
    check(&mut session).await;
    // Also after a write has been.
    write(&mut session, "INSERT INTO t (name) VALUES ('y')", &[]).await.unwrap();
    check(&mut session).await;
    session.begin(Access::Read).await.unwrap();
    assert_eq!(failure(within(&mut session, "INSERT INTO t (name) VALUES ('x')").await).1, 1792);
    session.rollback().await.unwrap();
    assert_eq!(rows(&mut session, "SELECT name FROM t", &[]).await.unwrap(), json!([{"name": "y"}]));
}

async fn a_write_tells_its_rows_and_its_id(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    let insert = "INSERT INTO t (name) VALUES (?)";
    let done = write(&mut session, insert, &[text("a")]).await.unwrap();
    assert_eq!((done.rows_affected, done.last_insert_id), (1, Some(1)));
    let done = write(&mut session, insert, &[text("b")]).await.unwrap();
    assert_eq!((done.rows_affected, done.last_insert_id), (1, Some(2)));
    // Matched rows count, changed or not.
    let done = write(&mut session, "UPDATE t SET name = 'a' WHERE id >= ?", &[int(1)]).await.unwrap();
    assert_eq!((done.rows_affected, done.last_insert_id), (2, None));
    let done = write(&mut session, "DELETE FROM t WHERE id = ?", &[int(9)]).await.unwrap();
    assert_eq!((done.rows_affected, done.last_insert_id), (0, None));
}

async fn an_id_is_told_up_to_the_largest(kind: MysqlKind) {
    let schema = [
        "CREATE TABLE large (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, n INT) AUTO_INCREMENT = 9223372036854775808",
        "CREATE TABLE small (id BIGINT AUTO_INCREMENT PRIMARY KEY, n INT)",
    ];
    let (_, mut session) = session(kind, &schema).await;
    let done = write(&mut session, "INSERT INTO small (n) VALUES (1)", &[]).await.unwrap();
    assert_eq!(done.last_insert_id, Some(1));
    let done = write(&mut session, "INSERT INTO large (n) VALUES (1)", &[]).await.unwrap();
    assert_eq!(done.last_insert_id, Some(9_223_372_036_854_775_808));
    // Not generated, and to the server's answer the same as a very large one.
    let done = write(&mut session, "INSERT INTO small (id, n) VALUES (-5, 1)", &[]).await.unwrap();
    assert_eq!(done.last_insert_id, None);
}

async fn a_pooler_gets_a_transaction_per_read_and_rds_proxy_no_kill(kind: MysqlKind) {
    let (mut opening, mut plain) = session(kind, &[TABLE]).await;
    let one = statement("SELECT 1 AS n", &[]);
    assert!(!plain.pins(&one) && plain.cancel_handle().is_some());
    for (pooling, pins) in [(Pooling::Transaction, false), (Pooling::RdsProxy, true)] {
        opening.pooling = pooling;
        let mut session = opening.connect().await.unwrap();
        assert_eq!((session.pins(&one), session.cancel_handle().is_none()), (pins, pins), "{pooling:?}");
        let state = rows(&mut session, "SELECT @@sql_mode AS mode, @@time_zone AS zone", &[]).await.unwrap();
        assert_eq!(state, json!([{"mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION", "zone": "+00:00"}]));
        assert!(!in_transaction(&session));
        // Enforced by the server, though the session may write.
        let outcome = rows(&mut session, "INSERT INTO t (name) VALUES ('x')", &[]).await;
        assert_eq!(failure(outcome), (Fault::QueryFailed, 1792), "{pooling:?}");
        session.rollback().await.unwrap();
        write(&mut session, "INSERT INTO t (name) VALUES ('x')", &[]).await.unwrap();
    }
    assert_eq!(rows(&mut plain, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap(), json!([{"n": 2}]));
}

async fn what_is_rolled_back_is_gone(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE]).await;
    session.begin(Access::Write).await.unwrap();
    assert!(in_transaction(&session));
    within(&mut session, "INSERT INTO t (name) VALUES ('x')").await.unwrap();
    let mut other = opening.connect().await.unwrap();
    assert_eq!(rows(&mut other, "SELECT * FROM t", &[]).await.unwrap(), json!([]));
    session.rollback().await.unwrap();
    assert!(!in_transaction(&session));
    assert_eq!(rows(&mut session, "SELECT * FROM t", &[]).await.unwrap(), json!([]));
    session.close().await;
}

async fn a_write_without_a_transaction_is_allowed_and_forbidden_again(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[TABLE]).await;
    let insert = "INSERT INTO t (name) VALUES ('x')";
    session.autocommit(true).await.unwrap();
    run(&mut session, Frame::Within, Verb::Exec, insert, &[]).await.unwrap();
    session.autocommit(false).await.unwrap();
    assert_eq!(failure(rows(&mut session, insert, &[]).await), (Fault::QueryFailed, 1792));
    assert_eq!(rows(&mut session, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap(), json!([{"n": 1}]));
}

async fn a_commit_in_the_middle_is_the_querys_fault_and_runs_once(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE]).await;
    let name = &opening.database;
    let body = "BEGIN INSERT INTO t (name) VALUES ('a'); COMMIT; INSERT INTO t (name) VALUES ('b'); END";
    server(kind).sql(&format!("CREATE PROCEDURE {name}.both_ways() {body}")).unwrap();
    // Not `failing_over`, which would run it again.
    let outcome = write(&mut session, "CALL both_ways()", &[]).await;
    assert_eq!(failure(outcome), (Fault::QueryFailed, 1792));
    assert_eq!(rows(&mut session, "SELECT name FROM t", &[]).await.unwrap(), json!([{"name": "a"}]));
    alone(&mut session, "CALL both_ways()").await.unwrap();
}

async fn sea_orm_speaks_over_the_same_connection(kind: MysqlKind) {
    use lambda_rds_core::sea_orm::{ConnectionTrait as _, DbBackend, Statement};
    let (_, mut session) = session(kind, &[]).await;
    let ours = rows(&mut session, "SELECT CONNECTION_ID() AS id", &[]).await.unwrap()[0]["id"].as_u64();
    let database = session.orm().unwrap().database().await.unwrap();
    let query = Statement::from_string(DbBackend::MySql, "SELECT CONNECTION_ID() AS id");
    let row = database.query_one_raw(query).await.unwrap().unwrap();
    assert_eq!(row.try_get::<u64>("", "id").ok(), ours);
    // And back again.
    assert_eq!(
        rows(&mut session, "SELECT CONNECTION_ID() AS id", &[]).await.unwrap()[0]["id"].as_u64(),
        ours
    );
}
