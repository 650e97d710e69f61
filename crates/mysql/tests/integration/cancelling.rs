//! A statement that runs too long: the server stops it, or we have it stopped.

use std::time::{Duration, Instant};

use lambda_rds_core::backend::{Access, Frame, Session};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Fault;
use lambda_rds_core::queries::Verb;
use lambda_rds_testbed::{MysqlKind, unless_stalled};

use crate::fixture::{
    Opening, alone, database, failure, in_transaction, rows, run, server, session, usable, write,
};
use crate::on_both_servers;

on_both_servers!(
    within_200_ms_of_a_cancel_nothing_runs_for_a_read,
    within_200_ms_of_a_cancel_nothing_runs_for_a_write,
    the_server_ends_a_statement_by_itself,
    a_cancel_that_comes_too_late_is_no_error,
);

const LIMIT: Duration = Duration::from_millis(200);

fn in_time(took: Duration) -> Result<(), String> {
    if took < LIMIT { Ok(()) } else { Err(format!("{took:?}")) }
}

/// Takes some minutes, and unlike `SLEEP` fails when it is stopped.
const SLOW: &str = "SELECT COUNT(*) AS n FROM information_schema.collations a, information_schema.collations b, \
                    information_schema.collations c, information_schema.collations d";

async fn within_200_ms_of_a_cancel_nothing_runs_for_a_read(kind: MysqlKind) {
    for sql in [SLOW, "SELECT SLEEP(60) AS n"] {
        unless_stalled(LIMIT, async || {
            let (opening, session) = session(kind, &[]).await;
            in_time(stop(kind, &opening, session, sql).await)
        })
        .await;
    }
}

async fn within_200_ms_of_a_cancel_nothing_runs_for_a_write(kind: MysqlKind) {
    unless_stalled(LIMIT, async || {
        let (opening, mut session) = session(kind, &["CREATE TABLE t (n INT)"]).await;
        session.begin(Access::Write).await.unwrap();
        let took = stop(kind, &opening, session, &format!("INSERT INTO t {SLOW}")).await;
        let mut other = opening.connect().await.unwrap();
        let left = rows(&mut other, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap();
        assert_eq!(left[0]["n"], 0);
        in_time(took)
    })
    .await;
}

/// Runs a statement too long, cancels it, and tells how long it took until the server had nothing to do any more.
async fn stop(kind: MysqlKind, opening: &Opening, mut session: Box<dyn Session>, sql: &str) -> Duration {
    let cancel = session.cancel_handle().unwrap();
    let frame = if in_transaction(&session) { Frame::Within } else { Frame::Read };
    let running = run(&mut session, frame, Verb::Exec, sql, &[]);
    // It has begun when the server says so; it does not end.
    let begun = async {
        while !has_begun(kind, opening) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = running => panic!("{sql} ended: {ended:?}"),
        () = begun => {}
    }
    let started = Instant::now();
    cancel.cancel(Deadline::after(Duration::from_secs(60))).await.unwrap();
    assert!(!usable(&session));
    // What core does with a session that is not usable.
    drop(session);
    while runs(kind, opening) {
        assert!(started.elapsed() < Duration::from_secs(60), "{sql} still runs");
    }
    started.elapsed()
}

async fn the_server_ends_a_statement_by_itself(kind: MysqlKind) {
    let server = server(kind);
    let own = database(server);
    let opening = Opening { statement_timeout: Duration::from_millis(500), ..Opening::new(server, &own) };
    let mut session = opening.connect().await.unwrap();
    let number = if kind == MysqlKind::Mysql { 3024 } else { 1969 };
    assert_eq!(failure(rows(&mut session, SLOW, &[]).await), (Fault::Timeout, number));
    assert!(usable(&session));
    // MySQL limits reads alone; of MariaDB writes as well.
    if kind == MysqlKind::MariaDb {
        alone(&mut session, "CREATE TABLE t (n INT)").await.unwrap();
        let slow = format!("INSERT INTO t {SLOW}");
        assert_eq!(failure(write(&mut session, &slow, &[]).await), (Fault::Timeout, number));
    }
}

async fn a_cancel_that_comes_too_late_is_no_error(kind: MysqlKind) {
    let (_, session) = session(kind, &[]).await;
    let cancel = session.cancel_handle().unwrap();
    session.close().await;
    cancel.cancel(Deadline::after(Duration::from_secs(60))).await.unwrap();
}

/// Whether the statement that is to be stopped runs: a busy server shows what the session did before for a while.
fn has_begun(kind: MysqlKind, opening: &Opening) -> bool {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND command = 'Execute' AND (info LIKE '%collations%' OR info LIKE '%SLEEP(60)%')",
        opening.user
    );
    server(kind).sql(&sql).unwrap() != "0"
}

/// Whether the server runs a statement of this test's user.
fn runs(kind: MysqlKind, opening: &Opening) -> bool {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND command IN ('Query', 'Execute')",
        opening.user
    );
    server(kind).sql(&sql).unwrap() != "0"
}
