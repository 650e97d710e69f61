//! What the server says of a session decides whether it is lent again: settings, transactions, and what a pooler keeps.

use futures_util::StreamExt as _;
use lambda_rds_core::backend::{Access, Frame, Item, Session, Sql, State};
use lambda_rds_core::error::Fault;
use lambda_rds_core::queries::Verb;
use lambda_rds_core::sea_orm::{DbBackend, Statement};
use lambda_rds_testbed::{Mysql, MysqlKind};
use serde_json::json;

use crate::fixture::{Opening, alone, database, failure, rows, run, server, session, within, write};
use crate::on_both_servers;

on_both_servers!(
    whoever_changes_a_setting_has_the_session_closed,
    a_procedure_that_leaves_a_transaction_open_is_told_by_the_server,
    what_the_server_wants_of_sessions_is_not_what_they_are,
    the_driver_is_read_along_with,
);

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT)";

fn define(kind: MysqlKind, opening: &Opening, what: &str) {
    let server = server(kind);
    let sql = what.replacen(' ', &format!(" {}.", opening.database), 1);
    server.sql(&format!("CREATE {sql}")).unwrap();
}

async fn whoever_changes_a_setting_has_the_session_closed(kind: MysqlKind) {
    let (opening, mut maker) = session(kind, &[TABLE, "INSERT INTO t VALUES (1, 0)"]).await;
    let function = |name: &str, sets: &str| {
        format!("FUNCTION {name}() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN {sets}; RETURN 1; END")
    };
    for (name, sets) in [
        ("frees", "SET SESSION TRANSACTION READ WRITE"),
        ("zones", "SET time_zone = '+05:00'"),
        ("modes", "SET sql_mode = ''"),
        ("limits", "SET sql_select_limit = 1"),
        ("waits", "SET lock_wait_timeout = 7"),
    ] {
        define(kind, &opening, &function(name, sets));
        let mut session = opening.connect().await.unwrap();
        let found = rows(&mut session, &format!("SELECT {name}() AS n"), &[]).await.unwrap();
        assert_eq!(found, json!([{"n": 1}]), "{name}");
        assert_eq!(session.state(), State::Closed, "{name}");
    }
    // A function that only looks at one, or a variable of its own, changes nothing.
    define(kind, &opening, &function("looks", "SET @seen = @@time_zone"));
    let mut session = opening.connect().await.unwrap();
    rows(&mut session, "SELECT looks() AS n", &[]).await.unwrap();
    assert_eq!(session.state(), State::Idle);
    // In a transaction it is lent to its end.
    session.begin(Access::Write).await.unwrap();
    within(&mut session, "UPDATE t SET n = zones()").await.unwrap();
    assert_eq!(session.state(), State::InTransaction);
    session.commit().await.unwrap();
    assert_eq!(session.state(), State::Closed);
    assert_eq!(rows(&mut maker, "SELECT n FROM t", &[]).await.unwrap(), json!([{"n": 1}]));
}

async fn a_procedure_that_leaves_a_transaction_open_is_told_by_the_server(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE, "INSERT INTO t VALUES (1, 0)"]).await;
    let open = "START TRANSACTION; UPDATE t SET n = n + 1;";
    define(kind, &opening, &format!("PROCEDURE pays() BEGIN {open} SIGNAL SQLSTATE '45000'; END"));
    define(kind, &opening, &format!("PROCEDURE stays() BEGIN {open} END"));
    define(kind, &opening, "PROCEDURE chains() BEGIN SET autocommit = 0; END");
    for (call, refused) in [("CALL pays()", true), ("CALL stays()", false)] {
        let outcome = alone(&mut session, call).await;
        assert_eq!(outcome.is_err(), refused, "{call}");
        assert_eq!(session.state(), State::InTransaction, "{call}");
        // As whoever lent it does.
        session.rollback().await.unwrap();
        assert_eq!(session.state(), State::Idle, "{call}");
        let mut other = opening.connect().await.unwrap();
        assert_eq!(rows(&mut other, "SELECT n FROM t", &[]).await.unwrap(), json!([{"n": 0}]));
        // Nothing is locked.
        write(&mut other, "UPDATE t SET n = 0", &[]).await.unwrap();
    }
    alone(&mut session, "CALL chains()").await.unwrap();
    assert_eq!(session.state(), State::InTransaction);
    session.rollback().await.unwrap();
    assert_ne!(session.state(), State::Idle);
}

/// A server with settings of its own, of which none is our sessions'.
async fn what_the_server_wants_of_sessions_is_not_what_they_are(kind: MysqlKind) {
    let modes = match kind {
        MysqlKind::Mysql => "ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH",
        MysqlKind::MariaDb => "ORACLE,NO_BACKSLASH_ESCAPES,EMPTY_STRING_IS_NULL,PAD_CHAR_TO_FULL_LENGTH",
    };
    let server = Mysql::start(kind).unwrap();
    let opening = Opening::new(&server, &database(&server));
    for setting in [
        "completion_type = 'CHAIN'".to_owned(),
        "group_concat_max_len = 1024".to_owned(),
        "init_connect = 'SET sql_select_limit = 1, sql_auto_is_null = 1'".to_owned(),
        format!("sql_mode = '{modes}'"),
    ] {
        server.sql(&format!("SET GLOBAL {setting}")).unwrap();
    }
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(3), c CHAR(5))")
        .await
        .unwrap();
    write(&mut session, "INSERT INTO t (v, c) VALUES (\"a\", 'it\\'s'), ('', 'c')", &[]).await.unwrap();
    // The transaction has ended with COMMIT, and what was written is there.
    assert_eq!(session.state(), State::Idle);
    let mut other = opening.connect().await.unwrap();
    let found = rows(&mut other, "SELECT v, c FROM t ORDER BY id", &[]).await.unwrap();
    assert_eq!(found, json!([{"v": "a", "c": "it's"}, {"v": "", "c": "c"}]));
    let found = rows(&mut session, "SELECT id FROM t WHERE id IS NULL", &[]).await.unwrap();
    assert_eq!(found, json!([]));
    // Strict.
    assert_eq!(failure(write(&mut session, "INSERT INTO t (v) VALUES ('abcdef')", &[]).await).1, 1406);
    let long = rows(&mut session, "SELECT GROUP_CONCAT(REPEAT(v, 2000)) AS v FROM t", &[]).await.unwrap();
    assert_eq!(long[0]["v"].as_str().unwrap().len(), 2001);
}

async fn the_driver_is_read_along_with(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE]).await;
    let script = async |session: &mut Box<dyn Session>, sql: &str| {
        let mut items = session.orm().unwrap().stream(Sql::Script(sql.to_owned()));
        let mut results = 0;
        while let Some(item) = items.next().await {
            results += usize::from(matches!(item?, Item::Done(_)));
        }
        Ok::<usize, lambda_rds_core::backend::Failure>(results)
    };
    // A transaction that is left open is one, whoever has begun it.
    script(&mut session, "START TRANSACTION READ WRITE").await.unwrap();
    assert_eq!(session.state(), State::InTransaction);
    let sql =
        Statement::from_sql_and_values(DbBackend::MySql, "INSERT INTO t VALUES (?, ?)", [1.into(), 2.into()]);
    {
        let mut items = session.orm().unwrap().stream(Sql::Prepared(sql));
        let Some(Ok(Item::Done(done))) = items.next().await else { panic!() };
        assert_eq!(done.rows_affected(), 1);
        assert!(items.next().await.is_none());
    }
    assert_eq!(session.state(), State::InTransaction);
    // Ours and the driver's in one transaction.
    within(&mut session, "INSERT INTO t VALUES (2, 2)").await.unwrap();
    let failed = script(&mut session, "INSERT INTO t VALUES (2, 2)").await.unwrap_err();
    assert_eq!(failed.error.fault(), Fault::Constraint);
    assert_eq!(session.state(), State::InTransaction);
    session.commit().await.unwrap();
    assert_eq!(session.state(), State::Idle);
    let (_, body) =
        run(&mut session, Frame::Read, Verb::Many, "SELECT id FROM t ORDER BY id", &[]).await.unwrap();
    assert_eq!(body, b"[{\"id\":1},{\"id\":2}]");
    assert_eq!(script(&mut session, "SELECT 1; SELECT 2; SELECT 3").await.unwrap(), 3);
    assert_eq!(session.state(), State::Idle);
    // A setting of the application's own stays on no session.
    script(&mut session, "SET SESSION TRANSACTION READ WRITE").await.unwrap();
    assert_eq!(session.state(), State::Closed);
    drop(session);
    let mut session = opening.connect().await.unwrap();
    assert_eq!(failure(rows(&mut session, "DELETE FROM t", &[]).await).1, 1792);
}
