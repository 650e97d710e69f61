//! Each error number of the contract, provoked on the real servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_rds_core::backend::Access;
use lambda_rds_core::error::Fault;
use lambda_rds_testbed::{Mysql, MysqlKind};

use crate::fixture::{
    Opening, alone, database, failure, in_transaction, int, rows, server, session, text, usable, within,
    write,
};
use crate::on_both_servers;

on_both_servers!(
    constraints_are_constraints,
    bad_values_are_the_parameters_fault,
    broken_queries_are_the_querys_fault,
    what_the_author_raises_reaches_the_caller,
    values_stay_out_of_the_log_unless_it_may_show_them,
    values_that_functions_and_types_refuse,
    a_value_larger_than_a_packet_is_the_parameters_fault,
    a_users_own_limits_are_a_busy_server,
    a_server_that_blocks_this_host_is_told_from_one_that_is_gone,
    a_deadlock_is_a_conflict_and_a_lock_a_lock_timeout,
    a_killed_statement_is_a_timeout,
    a_read_only_server_is_not_the_writer,
    a_server_whose_storage_is_read_only_is_not_the_writer,
    a_server_that_stops_is_told,
    a_session_that_the_server_ended_for_idleness_is_lost,
    a_row_too_large_to_be_held_is_not_let_in,
);

async fn constraints_are_constraints(kind: MysqlKind) {
    let (_, mut session) = session(
        kind,
        &[
            "CREATE TABLE p (id INT PRIMARY KEY, email VARCHAR(20) UNIQUE, n INT NOT NULL, CHECK (n < 100))",
            "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))",
            "INSERT INTO p VALUES (1, 'a', 1)",
            "INSERT INTO c VALUES (1, 1)",
        ],
    )
    .await;
    let check = if kind == MysqlKind::Mysql { 3819 } else { 4025 };
    for (sql, number) in [
        ("INSERT INTO p VALUES (1, 'b', 1)", 1062),
        ("DELETE FROM p WHERE id = 1", 1451),
        ("INSERT INTO c VALUES (2, 9)", 1452),
        ("INSERT INTO p VALUES (2, 'b', NULL)", 1048),
        ("INSERT INTO p VALUES (2, 'b', 100)", check),
    ] {
        assert_eq!(failure(write(&mut session, sql, &[]).await), (Fault::Constraint, number), "{sql}");
        assert!(usable(&session) && !in_transaction(&session));
    }
}

async fn bad_values_are_the_parameters_fault(kind: MysqlKind) {
    let (_, mut session) =
        session(kind, &["CREATE TABLE t (n TINYINT, d DATE, v VARCHAR(3), e ENUM('a'), i INT)"]).await;
    for (sql, value, number) in [
        ("INSERT INTO t (n) VALUES (?)", "1000", 1264),
        ("INSERT INTO t (d) VALUES (?)", "2026-02-30", 1292),
        ("INSERT INTO t (i) VALUES (?)", "many", 1366),
        ("INSERT INTO t (v) VALUES (?)", "long", 1406),
        ("INSERT INTO t (e) VALUES (?)", "z", 1265),
    ] {
        let outcome = write(&mut session, sql, &[text(value)]).await;
        assert_eq!(failure(outcome), (Fault::BadParameter, number), "{sql}");
    }
}

async fn broken_queries_are_the_querys_fault(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    for (sql, number) in [
        ("SELEC 1", 1064),
        ("SELECT * FROM nowhere", 1146),
        ("SELECT nothing FROM information_schema.tables", 1054),
        ("SELECT 1; SELECT 2", 1064),
    ] {
        assert_eq!(failure(rows(&mut session, sql, &[]).await), (Fault::QueryFailed, number), "{sql}");
        assert!(usable(&session));
    }
    // Another number of parameters than was bound.
    let error = rows(&mut session, "SELECT ? AS n", &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::QueryFailed, "{error}");
    assert!(usable(&session));
}

async fn what_the_author_raises_reaches_the_caller(kind: MysqlKind) {
    let (opening, mut session) = session(kind, &[]).await;
    let name = &opening.database;
    server(kind)
        .sql(&format!(
            "CREATE PROCEDURE {name}.refuse() SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'Sold out.'"
        ))
        .unwrap();
    let error = write(&mut session, "CALL refuse()", &[]).await.unwrap_err();
    assert_eq!((error.fault(), error.sqlstate()), (Fault::Rejected, Some("1644")), "{error}");
    assert_eq!(error.message(), "Sold out.");
}

async fn values_stay_out_of_the_log_unless_it_may_show_them(kind: MysqlKind) {
    let (mut opening, mut session) = session(
        kind,
        &["CREATE TABLE t (v VARCHAR(20) PRIMARY KEY, i INT)", "INSERT INTO t VALUES ('hush', 1)"],
    )
    .await;
    let duplicate = "INSERT INTO t VALUES ('hush', 2)";
    let wrong = "INSERT INTO t VALUES ('x', 'hush')";
    for sql in [duplicate, wrong] {
        let error = write(&mut session, sql, &[]).await.unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
        assert!(!error.detail().is_empty());
    }
    opening.log_values = true;
    let mut session = opening.connect().await.unwrap();
    for sql in [duplicate, wrong] {
        let error = write(&mut session, sql, &[]).await.unwrap_err();
        assert!(error.detail().contains("hush"), "{error}");
        assert!(!error.message().contains("hush"), "{error}");
    }
}

/// What quotes the value that was refused, each in its own words.
async fn values_that_functions_and_types_refuse(kind: MysqlKind) {
    let schema = [
        "CREATE TABLE t (d DATE, g POINT, j JSON, dt DATETIME)",
        "CREATE TABLE p (n INT) PARTITION BY RANGE (n) (PARTITION few VALUES LESS THAN (10))",
        "INSERT INTO t (d) VALUES ('2026-01-31')",
    ];
    let (mut opening, mut session) = session(kind, &schema).await;
    opening.log_values = true;
    let mut open = opening.connect().await.unwrap();
    let written = [
        ("INSERT INTO t (d) VALUES (STR_TO_DATE(?, '%Y-%m-%d'))", text("v4lue"), 1411, Fault::BadParameter),
        (
            "INSERT INTO t (dt) VALUES (DATE_ADD('2026-01-31', INTERVAL ? YEAR))",
            int(9009),
            1441,
            Fault::BadParameter,
        ),
        ("INSERT INTO t (g) VALUES (?)", text("v4lue"), 1416, Fault::BadParameter),
        ("INSERT INTO p VALUES (?)", int(9009), 1526, Fault::Constraint),
        ("UPDATE t SET dt = ?", text("v4lue"), 1292, Fault::BadParameter),
    ];
    let read = [("SELECT CAST(? AS UNSIGNED) - 9009 AS n", int(7), 1690)];
    let on_mysql = [
        ("SELECT d FROM t WHERE d = CAST(? AS CHAR)", text("v4lue"), 1525),
        ("SELECT JSON_EXTRACT(?, '$.a') AS a", text("{v4lue}"), 3141),
    ];
    let shows = |text: &str| text.contains("v4lue") || text.contains("9009");
    for (sql, value, number, fault) in written {
        let error = write(&mut session, sql, std::slice::from_ref(&value)).await.unwrap_err();
        assert_eq!(
            (error.fault(), error.sqlstate()),
            (fault, Some(number.to_string().as_str())),
            "{sql}: {error}"
        );
        assert!(!shows(&error.to_string()), "{error}");
        let error = write(&mut open, sql, &[value]).await.unwrap_err();
        // Some do not quote it.
        assert_eq!(shows(error.detail()), ![1416, 1441].contains(&number), "{error}");
    }
    for (sql, value, number) in
        read.into_iter().chain(on_mysql.into_iter().filter(|_| kind == MysqlKind::Mysql))
    {
        let error = rows(&mut session, sql, std::slice::from_ref(&value)).await.unwrap_err();
        assert_eq!(
            (error.fault(), error.sqlstate()),
            (Fault::BadParameter, Some(number.to_string().as_str())),
            "{sql}: {error}"
        );
        assert!(!shows(&error.to_string()), "{error}");
        let error = rows(&mut open, sql, &[value]).await.unwrap_err();
        assert_eq!(shows(error.detail()), number != 3141, "{error}");
    }
    if kind == MysqlKind::Mysql {
        let outcome = write(&mut session, "UPDATE t SET j = ?", &[text("{v4lue}")]).await;
        assert_eq!(failure(outcome), (Fault::BadParameter, 3140));
    }
}

async fn a_value_larger_than_a_packet_is_the_parameters_fault(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("max-allowed-packet", "1048576")]).start().unwrap();
    let mut session = Opening::new(&server, &database(&server)).connect().await.unwrap();
    let error = rows(&mut session, "SELECT LENGTH(?) AS n", &[text(&"x".repeat(2 << 20))]).await.unwrap_err();
    // The server would hang up, often before its word is heard.
    assert_eq!((error.fault(), error.sqlstate()), (Fault::BadParameter, Some("1153")), "{error}");
    assert!(usable(&session) && !in_transaction(&session));
    let told = rows(&mut session, "SELECT LENGTH(?) AS n", &[text(&"x".repeat(1_000_000))]).await.unwrap();
    assert_eq!(told, serde_json::json!([{"n": 1_000_000}]));
}

async fn a_users_own_limits_are_a_busy_server(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("max-user-connections", "5")]).start().unwrap();
    let mut held = Vec::new();
    let refused = async |opening: &Opening, held: &mut Vec<_>| loop {
        match opening.connect().await {
            Ok(session) if held.len() < 5 => held.push(session),
            outcome => return failure(outcome),
        }
    };
    let opening = Opening::new(&server, &database(&server));
    assert_eq!(refused(&opening, &mut held).await, (Fault::TooManyConnections, 1203));

    let opening = Opening::new(&server, &database(&server));
    server.sql(&format!("ALTER USER '{}'@'%' WITH MAX_USER_CONNECTIONS 1", opening.user)).unwrap();
    held.clear();
    assert_eq!(refused(&opening, &mut held).await, (Fault::TooManyConnections, 1226));
}

/// The real servers never block a host that is 127.0.0.1, so one is stood in for: its first word is 1129, and its last.
async fn a_server_that_blocks_this_host_is_told_from_one_that_is_gone(kind: MysqlKind) {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut opening = Opening::new(server(kind), &database(server(kind)));
    opening.port = listener.local_addr().unwrap().port();
    let refuse = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let text = b"Host '127.0.0.1' is blocked because of many connection errors";
        let length = u8::try_from(3 + text.len()).unwrap();
        let mut packet = vec![length, 0, 0, 0, 0xff];
        packet.extend_from_slice(&1129_u16.to_le_bytes());
        packet.extend_from_slice(text);
        peer.write_all(&packet).await.unwrap();
        peer.shutdown().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(opening.connect(), refuse);
    let error = outcome.unwrap_err();
    assert_eq!((error.fault(), error.sqlstate()), (Fault::Unreachable, Some("1129")), "{error}");
    assert!(error.detail().contains("max_connect_errors"), "{error}");
}

async fn a_deadlock_is_a_conflict_and_a_lock_a_lock_timeout(kind: MysqlKind) {
    let (mut opening, mut first) =
        session(kind, &["CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 0), (2, 0)"])
            .await;
    // The least that innodb_lock_wait_timeout can be: one second.
    opening.statement_timeout = Duration::from_secs(2);
    let mut second = opening.connect().await.unwrap();
    let update = |id: u32| format!("UPDATE t SET n = n + 1 WHERE id = {id}");

    first.begin(Access::Write).await.unwrap();
    within(&mut first, &update(1)).await.unwrap();
    let outcome = write(&mut second, "UPDATE t SET n = 5 WHERE id = 1", &[]).await;
    assert_eq!(failure(outcome), (Fault::LockTimeout, 1205));
    let nowait = if kind == MysqlKind::Mysql { 3572 } else { 1205 };
    let outcome = write(&mut second, "SELECT n FROM t WHERE id = 1 FOR UPDATE NOWAIT", &[]).await;
    assert_eq!(failure(outcome), (Fault::LockTimeout, nowait));

    // Who waits longer than a machine stops.
    opening.statement_timeout = Duration::from_secs(60);
    let mut second = opening.connect().await.unwrap();
    second.begin(Access::Write).await.unwrap();
    within(&mut second, &update(2)).await.unwrap();
    let (to_2, to_1) = (update(2), update(1));
    let (one, other) = tokio::join!(within(&mut first, &to_2), within(&mut second, &to_1));
    let failed: Vec<_> = [one, other].into_iter().filter(Result::is_err).map(failure).collect();
    assert_eq!(failed, [(Fault::Conflict, 1213)]);
}

async fn a_killed_statement_is_a_timeout(kind: MysqlKind) {
    let (mut opening, first) = session(kind, &[]).await;
    first.close().await;
    // It is killed before its own limit is reached, however slow the machine is.
    opening.statement_timeout = Duration::from_secs(600);
    let mut session = opening.connect().await.unwrap();
    let id = rows(&mut session, "SELECT CONNECTION_ID() AS id", &[]).await.unwrap()[0]["id"].take();
    let slow = "SELECT COUNT(*) AS n FROM information_schema.collations a, information_schema.collations b, \
                information_schema.collations c, information_schema.collations d";
    let kill = async {
        // Not while it is prepared, which would be killed in its place.
        let runs = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id} AND command = 'Execute' AND info LIKE '%collations%'"
        );
        loop {
            if server(kind).sql(&runs).unwrap() != "0" {
                server(kind).sql(&format!("KILL QUERY {id}")).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = rows(&mut session, slow, &[]) => outcome,
        () = kill => panic!("it goes on until the statement has ended"),
    };
    assert_eq!(failure(outcome), (Fault::Timeout, 1317));
    assert!(usable(&session));
}

async fn a_read_only_server_is_not_the_writer(kind: MysqlKind) {
    let server = Mysql::start(kind).unwrap();
    let opening = Opening::new(&server, &database(&server));
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, "CREATE TABLE t (n INT)").await.unwrap();
    server.sql("SET GLOBAL read_only = 1").unwrap();
    let outcome = write(&mut session, "INSERT INTO t VALUES (1)", &[]).await;
    assert_eq!(failure(outcome), (Fault::NotTheWriter, 1290));
    // Reads go on.
    rows(&mut session, "SELECT * FROM t", &[]).await.unwrap();
}

/// As the readers of a cluster whose storage is shared: what the server itself would do, its storage refuses. Of the
/// servers that can be had only MySQL has the contract's number for that, and only for definitions.
async fn a_server_whose_storage_is_read_only_is_not_the_writer(kind: MysqlKind) {
    let server = Mysql::start(kind).unwrap();
    let opening = Opening::new(&server, &database(&server));
    let mut session = opening.connect().await.unwrap();
    alone(&mut session, "CREATE TABLE t (n INT)").await.unwrap();
    server.stop().unwrap();
    server.start_again_with(&[("innodb-read-only", "ON")]).unwrap();

    let mut session = opening.connect().await.unwrap();
    for sql in ["CREATE TABLE u (n INT)", "ALTER TABLE t ADD COLUMN m INT", "CREATE INDEX i ON t (n)"] {
        let outcome = alone(&mut session, sql).await;
        if kind == MysqlKind::Mysql {
            assert_eq!(failure(outcome), (Fault::NotTheWriter, 1836), "{sql}");
        } else {
            assert_eq!(outcome.unwrap_err().fault(), Fault::QueryFailed, "{sql}");
        }
    }
    // Reads go on.
    rows(&mut session, "SELECT * FROM t", &[]).await.unwrap();
}

async fn a_server_that_stops_is_told(kind: MysqlKind) {
    let server = Arc::new(Mysql::start(kind).unwrap());
    let opening = Opening::new(&server, &database(&server));
    let mut session = opening.connect().await.unwrap();
    let slow = "SELECT COUNT(*) AS n FROM information_schema.collations a, information_schema.collations b, \
                information_schema.collations c, information_schema.collations d";
    let stop = async {
        // By another thread: this one has the session to serve.
        let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%collations d'";
        let server = Arc::clone(&server);
        let stopped = tokio::task::spawn_blocking(move || {
            wait("the statement", || server.sql(running).unwrap() == "1");
            server.stop().unwrap();
        });
        stopped.await.unwrap();
    };
    let (outcome, ()) = tokio::join!(rows(&mut session, slow, &[]), stop);
    // They close the connection with no more than a word: MySQL mostly with one, MariaDB mostly without.
    let error = outcome.unwrap_err();
    let known = match error.sqlstate() {
        Some("1053") => error.fault() == Fault::ServerUnavailable,
        Some("1927") | None => error.fault() == Fault::ConnectionLost,
        _ => false,
    };
    assert!(known, "{error}");
    assert!(!usable(&session));
    let error = opening.connect().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unreachable, "{error}");
}

async fn a_session_that_the_server_ended_for_idleness_is_lost(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("wait-timeout", "1")]).start().unwrap();
    let opening = Opening::new(&server, &database(&server));
    let mut session = opening.connect().await.unwrap();
    let sessions =
        format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}'", opening.user);
    // This thread is the only one: as in a frozen environment, nothing of ours runs meanwhile, and the server's last
    // word is still to be heard when the statement is sent.
    wait("the end of the session", || server.sql(&sessions).unwrap() == "0");
    let outcome = rows(&mut session, "SELECT 1 AS n", &[]).await;
    match kind {
        // "The client was disconnected by the server because of inactivity."
        MysqlKind::Mysql => assert_eq!(failure(outcome), (Fault::ConnectionLost, 4031)),
        MysqlKind::MariaDb => {
            let error = outcome.unwrap_err();
            assert_eq!((error.fault(), error.sqlstate()), (Fault::ConnectionLost, None), "{error}");
        }
    }
    // Our look at the socket would have told before.
    assert!(!usable(&session));
}

/// Keeps this thread to itself until a condition holds; generous, for machines are busy.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn a_row_too_large_to_be_held_is_not_let_in(kind: MysqlKind) {
    let (opening, _) = session(kind, &[]).await;
    // The first below, the others above what is let in, and the last in several packets, if the server lets it.
    for (length, held) in [(12_000_000, true), (13_000_000, false), (16_700_000, false), (40_000_000, false)]
    {
        let mut session = opening.connect().await.unwrap();
        if kind == MysqlKind::MariaDb && length > 16_777_000 {
            // Its `max_allowed_packet`.
            continue;
        }
        let sql = format!("SELECT REPEAT('x', {length}) AS v");
        let error = rows(&mut session, &sql, &[]).await.unwrap_err();
        // Too large for a reply is each of them.
        assert_eq!(error.fault(), Fault::ResultTooLarge, "{error}");
        assert_eq!(!error.message().contains("12 MiB"), held, "{length}: {error}");
        // What takes longer to pass over than to open another session is not.
        assert_eq!(usable(&session), length < 16_777_216, "{length}");
    }
}
