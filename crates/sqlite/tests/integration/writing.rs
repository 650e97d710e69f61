//! Read-only by default, transactions, and what a write reports.

use lambda_rds_core::backend::{Access, State};
use lambda_rds_core::error::Fault;
use lambda_rds_core::value::Value;
use serde_json::json;

use crate::fixture::{Database, read, run, write};

const USERS: &str = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)";

#[tokio::test]
async fn a_read_that_writes_is_refused_and_the_session_lives_on() {
    let database = Database::new(&[USERS, "INSERT INTO users VALUES (1, 'Ada')"]).await;
    let mut session = database.session().await;
    for sql in [
        "INSERT INTO users VALUES (2, 'Bob')",
        "UPDATE users SET name = 'x'",
        "DELETE FROM users",
        "DROP TABLE users",
        "CREATE TABLE other (id INTEGER)",
        "INSERT INTO users VALUES (2, 'Bob') RETURNING id",
    ] {
        let error = run(&mut session, sql, &[]).await.unwrap_err();
        assert_eq!((error.fault(), error.sqlstate()), (Fault::QueryFailed, Some("8")), "{sql}");
        assert!(error.message().contains("declare this query `-- write`"), "{error}");
        assert_ne!(session.state(), State::Closed);
    }
    let rows = read(&mut session, "SELECT * FROM users", &[]).await.unwrap();
    assert_eq!(rows, json!([{ "id": 1, "name": "Ada" }]));
}

#[tokio::test]
async fn after_commit_and_after_rollback_the_session_is_read_only_again() {
    let database = Database::new(&[USERS]).await;
    let mut session = database.session().await;
    let insert = "INSERT INTO users VALUES (NULL, ?1)";
    for (keep, name) in [(true, "kept"), (false, "undone")] {
        session.begin(Access::Write).await.unwrap();
        run(&mut session, insert, &[Value::Text(name.into())]).await.unwrap();
        if keep {
            session.commit().await.unwrap()
        } else {
            session.rollback().await.unwrap()
        }
        assert_eq!(run(&mut session, insert, &[Value::Null]).await.unwrap_err().fault(), Fault::QueryFailed);
    }
    let rows = read(&mut session, "SELECT name FROM users", &[]).await.unwrap();
    assert_eq!(rows, json!([{ "name": "kept" }]));
}

#[tokio::test]
async fn autocommit_writes_until_it_is_switched_off() {
    let database = Database::new(&[USERS]).await;
    let mut session = database.session().await;
    session.autocommit(true).await.unwrap();
    run(&mut session, "INSERT INTO users VALUES (1, 'Ada')", &[]).await.unwrap();
    // VACUUM is the statement that cannot run inside a transaction.
    run(&mut session, "VACUUM", &[]).await.unwrap();
    session.autocommit(false).await.unwrap();
    assert!(run(&mut session, "DELETE FROM users", &[]).await.is_err());
    let rows = read(&mut database.session().await, "SELECT id FROM users", &[]).await.unwrap();
    assert_eq!(rows, json!([{ "id": 1 }]));
}

#[tokio::test]
async fn a_write_reports_its_own_rows_and_id_and_not_those_of_an_earlier_one() {
    let database = Database::new(&[
        USERS,
        "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)",
        "INSERT INTO log VALUES (70, 'old')",
        "CREATE TABLE keyed (k TEXT PRIMARY KEY) WITHOUT ROWID",
    ])
    .await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    for (sql, rows_affected, last_insert_id) in [
        ("INSERT INTO users VALUES (NULL, 'Ada'), (NULL, 'Bob')", 2, Some(2)),
        ("UPDATE users SET name = 'x'", 2, None),
        ("UPDATE users SET name = 'x' WHERE id = 99", 0, None),
        ("CREATE TABLE t (id INTEGER)", 0, None),
        ("ALTER TABLE t ADD COLUMN more TEXT", 0, None),
        // The same id as the last one, in another table.
        ("INSERT INTO t (id) VALUES (1)", 1, Some(1)),
        ("INSERT INTO users VALUES (1, 'Ada') ON CONFLICT DO NOTHING", 0, None),
        ("INSERT INTO users VALUES (1, 'Ada') ON CONFLICT DO UPDATE SET name = 'y'", 1, None),
        ("INSERT INTO log (what) VALUES ('new')", 1, Some(71)),
        ("INSERT INTO keyed VALUES ('a')", 1, None),
        ("SELECT * FROM users", 2, None),
        ("DELETE FROM users", 2, None),
    ] {
        let done = run(&mut session, sql, &[]).await.unwrap();
        assert_eq!((done.rows_affected, done.last_insert_id), (rows_affected, last_insert_id), "{sql}");
    }
    session.commit().await.unwrap();
}

#[tokio::test]
async fn returning_gives_rows() {
    let database = Database::new(&[USERS]).await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    let ada = [Value::Text("Ada".into())];
    let rows =
        read(&mut session, "INSERT INTO users VALUES (NULL, ?1) RETURNING id, name", &ada).await.unwrap();
    assert_eq!(rows, json!([{ "id": 1, "name": "Ada" }]));
    session.commit().await.unwrap();
    assert_eq!(
        read(&mut session, "SELECT count(*) AS n FROM users", &[]).await.unwrap(),
        json!([{ "n": 1 }])
    );
}

#[tokio::test]
async fn a_commit_that_is_refused_undoes_the_transaction() {
    let database = Database::new(&[
        USERS,
        "CREATE TABLE orders (user_id INTEGER REFERENCES users DEFERRABLE INITIALLY DEFERRED)",
    ])
    .await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    run(&mut session, "INSERT INTO orders VALUES (99)", &[]).await.unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!((error.fault(), error.sqlstate()), (Fault::Constraint, Some("787")));
    assert_ne!(session.state(), State::Closed);
    // Undone and over: the next one begins, and finds nothing.
    write(&mut session, "INSERT INTO users VALUES (1, 'Ada')", &[]).await.unwrap();
    assert_eq!(read(&mut session, "SELECT * FROM orders", &[]).await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_transaction_that_sqlite_undid_by_itself_can_be_rolled_back() {
    let database = Database::new(&[USERS, "INSERT INTO users VALUES (1, 'Ada')"]).await;
    let mut session = database.session().await;
    session.begin(Access::Write).await.unwrap();
    run(&mut session, "INSERT INTO users VALUES (2, 'Bob')", &[]).await.unwrap();
    let error = run(&mut session, "INSERT OR ROLLBACK INTO users VALUES (1, 'Ada')", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Constraint);
    session.rollback().await.unwrap();
    assert!(run(&mut session, "DELETE FROM users", &[]).await.is_err(), "read-only again");
    assert_eq!(
        read(&mut session, "SELECT count(*) AS n FROM users", &[]).await.unwrap(),
        json!([{ "n": 1 }])
    );
}

#[tokio::test]
async fn a_transaction_that_reads_sees_one_state_and_writes_nothing() {
    let database = Database::new(&[USERS]).await;
    let mut reader = database.session().await;
    reader.begin(Access::Read).await.unwrap();
    assert_eq!(reader.state(), State::InTransaction);
    assert_eq!(run(&mut reader, "DELETE FROM users", &[]).await.unwrap_err().fault(), Fault::QueryFailed);
    reader.commit().await.unwrap();
    assert_eq!(reader.state(), State::Idle);
}
