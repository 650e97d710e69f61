//! Limits, cancelling, locks, and what SQLite's errors become.

use std::time::{Duration, Instant};

use lambda_rds_core::backend::{Access, State};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Fault;
use lambda_rds_core::value::Value;
use serde_json::json;

use crate::fixture::{Database, read, run, run_into, statement, write, writer};

/// Never ends, and gives no row.
const RUNAWAY: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0";

/// Far above what a stop takes, far below what a test may wait.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_runaway_statement_is_stopped_by_the_statement_timeout() {
    let database = Database::new(&[]).await;
    let mut session = database.session_within(Duration::from_millis(100)).await;
    let started = Instant::now();
    let error = read(&mut session, RUNAWAY, &[]).await.unwrap_err();
    assert_eq!((error.fault(), error.sqlstate()), (Fault::Timeout, Some("9")));
    assert!((Duration::from_millis(100)..SOON).contains(&started.elapsed()));
    assert_ne!(session.state(), State::Closed);
    assert_eq!(read(&mut session, "SELECT 1 AS v", &[]).await.unwrap(), json!([{ "v": 1 }]));
}

#[tokio::test]
async fn a_runaway_write_is_stopped_and_undone() {
    let database = Database::new(&["CREATE TABLE t (i INTEGER)"]).await;
    let mut session = database.session_within(Duration::from_millis(100)).await;
    session.begin(Access::Write).await.unwrap();
    run(&mut session, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let error = run(
        &mut session,
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        &[],
    );
    assert_eq!(error.await.unwrap_err().fault(), Fault::Timeout);
    session.rollback().await.unwrap();
    assert_eq!(read(&mut session, "SELECT count(*) AS n FROM t", &[]).await.unwrap(), json!([{ "n": 0 }]));
}

#[tokio::test]
async fn a_cancel_from_outside_stops_the_statement_and_ends_the_session() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    let handle = session.cancel_handle().unwrap();
    let started = Instant::now();
    let (outcome, ()) = tokio::join!(read(&mut session, RUNAWAY, &[]), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        handle.cancel(Deadline::after(SOON)).await.unwrap();
    });
    assert_eq!(outcome.unwrap_err().fault(), Fault::Timeout);
    assert_eq!(session.state(), State::Closed);
    session.close().await;
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_cancelled_write_can_be_rolled_back() {
    let database = Database::new(&["CREATE TABLE t (i INTEGER)"]).await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    run(&mut session, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
    session.cancel_handle().unwrap().cancel(Deadline::after(SOON)).await.unwrap();
    session.rollback().await.unwrap();
    session.close().await;
    let rows = read(&mut database.session().await, "SELECT count(*) AS n FROM t", &[]).await.unwrap();
    assert_eq!(rows, json!([{ "n": 0 }]));
}

#[tokio::test]
async fn a_session_dropped_or_closed_in_mid_statement_stops_it() {
    let database = Database::new(&[]).await;
    for close in [true, false] {
        let mut session = database.session().await;
        let runaway = statement(RUNAWAY, &[]);
        let mut rows = writer(None);
        let elapsed = Deadline::after(Duration::from_millis(50))
            .bound(run_into(&mut session, &runaway, &mut rows))
            .await;
        assert!(elapsed.is_err());
        assert_eq!(session.state(), State::Closed);
        let started = Instant::now();
        if close {
            session.close().await
        } else {
            drop(session)
        }
        assert!(started.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_stops_the_reading() {
    let database = Database::new(&[]).await;
    let mut session = database.session().await;
    let endless =
        statement("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", &[]);
    let error = run_into(&mut session, &endless, &mut writer(Some(10))).await.unwrap_err();
    assert_eq!(error.fault(), Fault::ResultTooLarge);
    assert_eq!(session.state(), State::Closed);
    session.close().await;
}

#[tokio::test]
async fn a_lock_is_waited_for_and_then_given_up() {
    let database = Database::new(&["CREATE TABLE t (i INTEGER)"]).await;
    let mut holder = database.session().await;
    let mut waiter = database.session_within(Duration::from_millis(200)).await;
    holder.begin(Access::Write).await.unwrap();
    let started = Instant::now();
    let error = waiter.begin(Access::Write).await.unwrap_err();
    assert_eq!(error.fault(), Fault::LockTimeout);
    assert!((Duration::from_millis(100)..SOON).contains(&started.elapsed()));
    assert_ne!(waiter.state(), State::Closed);
    let refused = run(&mut waiter, "INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::QueryFailed, "a begin that failed leaves the session read-only");

    holder.commit().await.unwrap();
    write(&mut waiter, "INSERT INTO t VALUES (1)", &[]).await.unwrap();
}

#[tokio::test]
async fn errors_of_sqlite_become_faults() {
    let database = Database::new(&[
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, age INTEGER CHECK (age > 0))",
        "CREATE TABLE orders (user_id INTEGER REFERENCES users)",
        "CREATE TABLE strict (n INTEGER) STRICT",
        "CREATE TRIGGER guard BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'users are kept'); END",
        "INSERT INTO users VALUES (1, 'ada@example.com', 36)",
    ])
    .await;
    let mut session = database.session().await;
    for (sql, fault, code) in [
        ("INSERT INTO users VALUES (2, 'ada@example.com', 1)", Fault::Constraint, "2067"),
        ("INSERT INTO users VALUES (1, 'b', 1)", Fault::Constraint, "1555"),
        ("INSERT INTO users VALUES (2, NULL, 1)", Fault::Constraint, "1299"),
        ("INSERT INTO users VALUES (2, 'b', 0)", Fault::Constraint, "275"),
        ("INSERT INTO orders VALUES (99)", Fault::Constraint, "787"),
        ("INSERT INTO strict VALUES ('text')", Fault::BadParameter, "3091"),
        ("INSERT INTO users VALUES ('text', 'b', 1)", Fault::BadParameter, "20"),
        ("DELETE FROM users", Fault::Rejected, "1811"),
        ("SELECT zeroblob(2000000000)", Fault::BadParameter, "18"),
        ("SELECT nothing FROM users", Fault::QueryFailed, "1"),
        ("SELEC 1", Fault::QueryFailed, "1"),
    ] {
        let error = write(&mut session, sql, &[]).await.unwrap_err();
        assert_eq!((error.fault(), error.sqlstate()), (fault, Some(code)), "{sql}: {error}");
        assert_ne!(session.state(), State::Closed, "{sql}");
    }
    let error = write(&mut session, "DELETE FROM users WHERE id = ?1", &[Value::Int(1)]).await.unwrap_err();
    assert_eq!(error.message(), "users are kept");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;

    let database = Database::new(&["CREATE TABLE t (i INTEGER)"]).await;
    let mut permissions = std::fs::metadata(database.path()).unwrap().permissions();
    permissions.set_mode(0o444);
    std::fs::set_permissions(database.path(), permissions).unwrap();
    // Permissions do not bind root, under whom container builds run.
    if std::fs::OpenOptions::new().append(true).open(database.path()).is_ok() {
        eprintln!("skipped: this user may write to every file");
        return;
    }
    let mut session = database.session().await;
    assert_eq!(read(&mut session, "SELECT * FROM t", &[]).await.unwrap(), json!([]));
    let error = write(&mut session, "INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::QueryFailed);
    assert!(error.detail().contains("does not allow this process to write"), "{error}");
}
