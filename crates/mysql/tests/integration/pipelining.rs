//! What is sent together: how many flights it takes, and what stays when one of the statements fails. Of what stays the
//! server is asked on another connection.

use std::time::Duration;

use lambda_rds_core::backend::{Access, Frame, Session, State, Statement};
use lambda_rds_core::error::Fault;
use lambda_rds_testbed::{Mysql, MysqlKind, Proxy};
use serde_json::json;

use crate::fixture::{
    Opening, alone, database, failure, in_transaction, int, list, rows, server, session, statement, text,
    within, write,
};
use crate::on_both_servers;

on_both_servers!(
    a_list_is_two_flights_and_a_batch_of_a_thousand_no_more_than_six,
    nothing_is_sent_ahead_where_that_is_off,
    nothing_stays_of_what_was_sent_with_a_duplicate_key,
    nothing_stays_of_what_was_sent_behind_a_deadlock,
    nothing_stays_of_what_was_sent_behind_a_wait_that_rolled_back,
    a_transaction_that_a_deadlock_has_ended_takes_nothing_more,
    large_parameters_meet_large_results,
    a_statement_of_several_packets_arrives,
    behind_a_refused_guard_nothing_runs_and_nothing_is_open,
    what_is_last_is_committed_if_it_changed_its_row_and_only_then,
    nothing_is_committed_behind_a_deadlock_or_a_wait_that_rolled_back,
);

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL)";

fn insert(id: i64) -> Statement {
    statement("INSERT INTO t VALUES (?, 1)", &[int(id)])
}

fn update(id: i64) -> Statement {
    statement("UPDATE t SET n = n + 1 WHERE id = ?", &[int(id)])
}

/// What another connection sees.
fn seen(kind: MysqlKind, opening: &Opening) -> String {
    seen_at(server(kind), opening)
}

fn seen_at(server: &Mysql, opening: &Opening) -> String {
    let sql = "SELECT GROUP_CONCAT(id, ':', n ORDER BY id SEPARATOR ' ') FROM";
    server.sql(&format!("{sql} {}.t", opening.database)).unwrap()
}

async fn a_list_is_two_flights_and_a_batch_of_a_thousand_no_more_than_six(kind: MysqlKind) {
    let server = server(kind);
    let proxy = Proxy::start(server.address()).unwrap();
    let mut opening = Opening::new(server, &database(server));
    opening.port = proxy.port();
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, TABLE).await.unwrap();
    let steps: Vec<Statement> = (1..=3).map(insert).collect();
    proxy.reset();
    list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(proxy.flights(), 3, "its first use is one more");
    proxy.reset();
    let steps: Vec<Statement> = (1..=3).map(update).chain([insert(4)]).collect();
    list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap();
    session.rollback().await.unwrap();
    proxy.reset();
    let done = list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap();
    assert_eq!(session.state(), State::InTransaction);
    session.commit().await.unwrap();
    assert_eq!(proxy.flights(), 2);
    assert_eq!(done.as_array().unwrap().len(), 4);
    assert_eq!(session.state(), State::Idle);
    assert_eq!(seen(kind, &opening), "1:2 2:2 3:2 4:1");

    let thousand: Vec<Statement> = (1001..=2000).map(insert).collect();
    proxy.reset();
    let done = list(&mut session, Frame::Begin(Access::Write), &thousand).await.unwrap();
    session.commit().await.unwrap();
    assert!(proxy.flights() <= 6, "{} flights", proxy.flights());
    assert!(done.as_array().unwrap().iter().all(|done| done["rowsAffected"] == 1));
    assert_eq!(done.as_array().unwrap().len(), 1000);
    let count = rows(&mut session, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap();
    assert_eq!(count, json!([{"n": 1004}]));
    // And it is a session of reads again, that commits by itself.
    assert_eq!(failure(rows(&mut session, "DELETE FROM t", &[]).await), (Fault::QueryFailed, 1792));
    assert_eq!(session.state(), State::Idle);
}

async fn nothing_is_sent_ahead_where_that_is_off(kind: MysqlKind) {
    let server = server(kind);
    let proxy = Proxy::start(server.address()).unwrap();
    let mut opening = Opening::new(server, &database(server));
    (opening.port, opening.pipeline) = (proxy.port(), false);
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, TABLE).await.unwrap();
    write(&mut session, "INSERT INTO t VALUES (9, 1)", &[]).await.unwrap();
    proxy.reset();
    write(&mut session, "DELETE FROM t WHERE id = 7", &[]).await.unwrap();
    assert_eq!(proxy.flights(), 4, "begin, prepare, execute, commit");
    proxy.reset();
    let steps: Vec<Statement> = (1..=3).map(insert).collect();
    list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(proxy.flights(), 6);
    let steps = [insert(4), insert(1), insert(5)];
    let (step, error) = list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap_err();
    assert_eq!((step, error.fault()), (1, Fault::Constraint), "{error}");
    session.rollback().await.unwrap();
    assert_eq!(seen(kind, &opening), "1:1 2:1 3:1 9:1");
}

async fn nothing_stays_of_what_was_sent_with_a_duplicate_key(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE, "INSERT INTO t VALUES (3, 0)"]).await;
    for _ in 0..2 {
        let steps: Vec<Statement> = (1..=5).map(insert).collect();
        let (step, error) = list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap_err();
        assert_eq!((step, error.fault()), (2, Fault::Constraint), "{error}");
        assert!(in_transaction(&session));
        session.rollback().await.unwrap();
        assert_eq!(session.state(), State::Idle);
        assert_eq!(seen(kind, &opening), "3:0");
    }
    // A connection that goes away in the middle leaves nothing either.
    let steps: Vec<Statement> = (4..=5).map(insert).collect();
    list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap();
    drop(session);
    let mut other = opening.connect().await.unwrap();
    assert_eq!(rows(&mut other, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap(), json!([{"n": 1}]));
    // Something that does not exist is known before anything runs.
    let steps = [insert(6), statement("INSERT INTO nowhere VALUES (1)", &[]), insert(7)];
    let (step, error) = list(&mut other, Frame::Begin(Access::Write), &steps).await.unwrap_err();
    assert_eq!((step, error.fault()), (1, Fault::QueryFailed), "{error}");
    other.rollback().await.unwrap();
    assert_eq!((other.state(), seen(kind, &opening)), (State::Idle, "3:0".to_owned()));
}

/// On a wire that is counted: the first is what guards.
async fn guarded(kind: MysqlKind) -> (Proxy, Opening, Box<dyn Session>) {
    let server = server(kind);
    let proxy = Proxy::start(server.address()).unwrap();
    let opening = Opening { port: proxy.port(), ..Opening::new(server, &database(server)) };
    let mut session = opening.connect().await.unwrap();
    for sql in [TABLE, "CREATE TABLE tries (id INT AUTO_INCREMENT PRIMARY KEY)"] {
        alone(&mut session, sql).await.unwrap();
    }
    list(&mut session, Frame::Guarded(2), &claim(1)).await.unwrap();
    list(&mut session, Frame::Commit, &[update(7), keep(1)]).await.unwrap();
    assert_eq!((session.state(), seen(kind, &opening)), (State::Idle, "1:2".to_owned()));
    (proxy, opening, session)
}

fn claim(id: i64) -> [Statement; 3] {
    [update(9), insert(id), statement("INSERT INTO tries () VALUES ()", &[])]
}

fn keep(id: i64) -> Statement {
    statement("UPDATE t SET n = n + 1 WHERE id = ? AND n = 1", &[int(id)])
}

async fn behind_a_refused_guard_nothing_runs_and_nothing_is_open(kind: MysqlKind) {
    let (proxy, opening, mut session) = guarded(kind).await;
    for _ in 0..2 {
        proxy.reset();
        let (step, error) = list(&mut session, Frame::Guarded(2), &claim(1)).await.unwrap_err();
        assert_eq!((step, error.fault(), error.sqlstate()), (1, Fault::Constraint, Some("1062")), "{error}");
        assert_eq!((session.state(), proxy.flights()), (State::Idle, 1));
        // Nobody would have to wait, and it is a session of reads.
        server(kind).sql(&format!("SELECT * FROM {}.t FOR UPDATE NOWAIT", opening.database)).unwrap();
        assert_eq!(failure(rows(&mut session, "DELETE FROM t", &[]).await), (Fault::QueryFailed, 1792));
    }
    proxy.reset();
    list(&mut session, Frame::Guarded(2), &claim(2)).await.unwrap();
    assert_eq!((session.state(), proxy.flights()), (State::InTransaction, 2));
    list(&mut session, Frame::Commit, &[update(7), keep(2)]).await.unwrap();
    assert_eq!((session.state(), proxy.flights()), (State::Idle, 3));
    assert_eq!(failure(rows(&mut session, "DELETE FROM t", &[]).await), (Fault::QueryFailed, 1792));
    assert_eq!(seen(kind, &opening), "1:2 2:2");
    // What is undone would leave a gap.
    let tries = format!("SELECT GROUP_CONCAT(id ORDER BY id) FROM {}.tries", opening.database);
    assert_eq!(server(kind).sql(&tries).unwrap(), "1,2");
}

async fn what_is_last_is_committed_if_it_changed_its_row_and_only_then(kind: MysqlKind) {
    let (proxy, opening, mut session) = guarded(kind).await;
    // Each of them is prepared once.
    let taken = insert(1);
    let none = statement("UPDATE t SET n = 9 WHERE id = 3 AND n = 9", &[]);
    let two = statement("UPDATE t SET n = n + 1", &[]);
    for round in 0..2 {
        for (last, fault) in
            [(&none, Fault::QueryFailed), (&two, Fault::QueryFailed), (&taken, Fault::Constraint)]
        {
            list(&mut session, Frame::Guarded(2), &claim(3)).await.unwrap();
            proxy.reset();
            // It is behind what has changed one row.
            let (_, error) = list(&mut session, Frame::Commit, &[update(1), last.clone()]).await.unwrap_err();
            assert_eq!((error.fault(), session.state()), (fault, State::InTransaction), "{error}");
            assert!(round == 0 || proxy.flights() == 1);
            session.rollback().await.unwrap();
            assert_eq!((session.state(), seen(kind, &opening)), (State::Idle, "1:2".to_owned()));
        }
    }
    // What fails before it, and undoes nothing else, is told by nobody: it is committed.
    list(&mut session, Frame::Guarded(2), &claim(3)).await.unwrap();
    list(&mut session, Frame::Commit, &[taken, keep(3)]).await.unwrap();
    assert_eq!((session.state(), seen(kind, &opening)), (State::Idle, "1:2 3:2".to_owned()));
    // And the next list has a frame of its own.
    list(&mut session, Frame::Begin(Access::Write), &[update(1), update(3)]).await.unwrap();
    session.rollback().await.unwrap();
    assert_eq!((session.state(), seen(kind, &opening)), (State::Idle, "1:2 3:2".to_owned()));
}

async fn nothing_is_committed_behind_a_deadlock_or_a_wait_that_rolled_back(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("innodb-rollback-on-timeout", "ON")]).start().unwrap();
    let own = database(&server);
    let opening = Opening { statement_timeout: Duration::from_secs(2), ..Opening::new(&server, &own) };
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, TABLE).await.unwrap();
    alone(&mut session, "CREATE TABLE tries (id INT AUTO_INCREMENT PRIMARY KEY)").await.unwrap();
    write(&mut session, &rows_to_lock(), &[]).await.unwrap();
    list(&mut session, Frame::Guarded(2), &claim(2)).await.unwrap();
    list(&mut session, Frame::Commit, &[update(10), keep(2)]).await.unwrap();
    let before = seen_at(&server, &opening);
    for deadlock in [false, true] {
        let mut other = Opening::new(&server, &own).connect().await.unwrap();
        other.begin(Access::Write).await.unwrap();
        within(&mut other, "UPDATE t SET n = n + 1 WHERE id >= 10").await.unwrap();
        list(&mut session, Frame::Guarded(2), &[update(1), insert(5), update(5)]).await.unwrap();
        let back = async {
            // If it comes second, the cycle is closed by the other.
            if deadlock {
                within(&mut other, "UPDATE t SET n = n + 1 WHERE id = 1").await.map(drop)
            } else {
                Ok(())
            }
        };
        let last = [update(10), statement("UPDATE t SET n = n + 1 WHERE id = ?", &[int(5)])];
        let (outcome, back) = tokio::join!(list(&mut session, Frame::Commit, &last), back);
        back.unwrap();
        let number = if deadlock { "1213" } else { "1205" };
        assert_eq!(outcome.unwrap_err().1.sqlstate(), Some(number));
        session.rollback().await.unwrap();
        other.rollback().await.unwrap();
        assert_eq!((session.state(), seen_at(&server, &opening)), (State::Idle, before.clone()));
    }
}

/// Two transactions that wait for each other; `victim`'s list has the failing step in the middle. Gives the step that failed
/// and why.
async fn deadlocked(
    kind: MysqlKind,
    opening: &Opening,
    victim: &mut Box<dyn Session>,
) -> (usize, lambda_rds_core::error::Error) {
    let mut other = opening.connect().await.unwrap();
    other.begin(Access::Write).await.unwrap();
    // The heavier one, so that it is not the one that the server undoes.
    within(&mut other, "UPDATE t SET n = n + 1 WHERE id >= 10").await.unwrap();
    let steps = [update(1), update(10), insert(5), insert(6), insert(7)];
    let steps = list(victim, Frame::Begin(Access::Write), &steps);
    let back = async {
        until_one_waits(kind, opening).await;
        within(&mut other, "UPDATE t SET n = n + 1 WHERE id = 1").await
    };
    let (outcome, back) = tokio::join!(steps, back);
    back.unwrap();
    other.rollback().await.unwrap();
    outcome.unwrap_err()
}

/// Until one of the user's sessions waits for a lock. What the server tells of that is a tenth of a second old, and as long
/// as it is asked more often, older.
async fn until_one_waits(kind: MysqlKind, opening: &Opening) {
    let waits = format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist ON trx_mysql_thread_id = id \
         WHERE user = '{}' AND trx_state = 'LOCK WAIT'",
        opening.user
    );
    for _ in 0..300 {
        if server(kind).sql(&waits).unwrap() != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("nobody waits for a lock");
}

fn rows_to_lock() -> String {
    let rows: Vec<String> = (10..60).map(|id| format!("({id}, 0)")).collect();
    format!("INSERT INTO t VALUES (1, 0), {}", rows.join(", "))
}

async fn nothing_stays_of_what_was_sent_behind_a_deadlock(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE, &rows_to_lock()]).await;
    let before = seen(kind, &opening);
    // So that all is prepared, and goes out in one flight.
    list(&mut session, Frame::Begin(Access::Write), &[update(1), insert(5)]).await.unwrap();
    session.rollback().await.unwrap();
    let (step, error) = deadlocked(kind, &opening, &mut session).await;
    assert_eq!((step, error.fault(), error.sqlstate()), (1, Fault::Conflict, Some("1213")), "{error}");
    assert!(in_transaction(&session));
    assert_eq!(seen(kind, &opening), before);
    session.rollback().await.unwrap();
    assert_eq!((session.state(), seen(kind, &opening)), (State::Idle, before));
}

async fn nothing_stays_of_what_was_sent_behind_a_wait_that_rolled_back(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("innodb-rollback-on-timeout", "ON")]).start().unwrap();
    let own = database(&server);
    let opening = Opening { statement_timeout: Duration::from_secs(2), ..Opening::new(&server, &own) };
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, TABLE).await.unwrap();
    write(&mut session, "INSERT INTO t VALUES (1, 0), (2, 0)", &[]).await.unwrap();
    // One that MariaDB lets be idle for longer.
    let mut other = Opening::new(&server, &own).connect().await.unwrap();
    other.begin(Access::Write).await.unwrap();
    within(&mut other, "UPDATE t SET n = 5 WHERE id = 2").await.unwrap();
    for _ in 0..2 {
        let steps = [update(1), update(2), insert(5), insert(6)];
        let (step, error) = list(&mut session, Frame::Begin(Access::Write), &steps).await.unwrap_err();
        assert_eq!((step, error.fault(), error.sqlstate()), (1, Fault::LockTimeout, Some("1205")), "{error}");
        session.rollback().await.unwrap();
        assert_eq!(session.state(), State::Idle);
        assert_eq!(seen_at(&server, &opening), "1:0 2:0");
    }
}

/// One after the other, as code of one's own does that goes on after a failure.
async fn a_transaction_that_a_deadlock_has_ended_takes_nothing_more(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[TABLE, &rows_to_lock()]).await;
    let before = seen(kind, &opening);
    let mut other = opening.connect().await.unwrap();
    other.begin(Access::Write).await.unwrap();
    within(&mut other, "UPDATE t SET n = n + 1 WHERE id >= 10").await.unwrap();
    session.begin(Access::Write).await.unwrap();
    within(&mut session, "UPDATE t SET n = 7 WHERE id = 1").await.unwrap();
    let back = async {
        until_one_waits(kind, &opening).await;
        within(&mut other, "UPDATE t SET n = n + 1 WHERE id = 1").await
    };
    let (outcome, back) = tokio::join!(within(&mut session, "UPDATE t SET n = 7 WHERE id = 10"), back);
    back.unwrap();
    assert_eq!(failure(outcome), (Fault::Conflict, 1213));
    assert_eq!(session.state(), State::Failed);
    for _ in 0..2 {
        let outcome = within(&mut session, "INSERT INTO t VALUES (5, 5)").await;
        assert_eq!(failure(outcome), (Fault::Conflict, 1213));
    }
    assert_eq!(failure(session.commit().await), (Fault::Conflict, 1213));
    session.rollback().await.unwrap();
    assert_eq!(session.state(), State::Idle);
    other.rollback().await.unwrap();
    assert_eq!(seen(kind, &opening), before);
    // A duplicate key ends nothing.
    session.begin(Access::Write).await.unwrap();
    assert_eq!(failure(within(&mut session, "INSERT INTO t VALUES (1, 1)").await).1, 1062);
    assert_eq!(session.state(), State::InTransaction);
    within(&mut session, "INSERT INTO t VALUES (2, 2)").await.unwrap();
    session.commit().await.unwrap();
    assert!(seen(kind, &opening).starts_with("1:0 2:2 "));
}

/// 20 MB of parameters against as much of results: neither side waits for the other.
async fn large_parameters_meet_large_results(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let large = "x".repeat(1_000_000);
    let echo = statement("SELECT ? AS v", &[text(&large)]);
    let steps = vec![echo; 20];
    let done = list(&mut session, Frame::Begin(Access::Read), &steps);
    tokio::time::timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
    session.commit().await.unwrap();
    assert_eq!(session.state(), State::Idle);
}

async fn a_statement_of_several_packets_arrives(kind: MysqlKind) {
    let (opening, session) = session(kind, &[]).await;
    server(kind).sql("SET GLOBAL max_allowed_packet = 67108864").unwrap();
    session.close().await;
    let mut session = opening.connect().await.unwrap();
    // Below one packet, one and a little, exactly one with what stands before it, and more than two.
    for length in [16_777_000, 16_777_215 - 18, 16_777_215, 34_000_000] {
        let found = rows(&mut session, "SELECT LENGTH(?) AS n", &[text(&"x".repeat(length))]).await.unwrap();
        assert_eq!(found, json!([{"n": length}]));
    }
}
