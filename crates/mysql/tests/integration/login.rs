//! The login: each plugin, each way of it, and what it costs; what the server is told; and how far it came.

use std::time::Duration;

use lambda_rds_core::config::TlsMode;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Fault, Phase};
use lambda_rds_testbed::{
    After, Cut, Database, Direction, Fault as WireFault, Login, Mysql, MysqlKind, MysqlTokens, Proxy,
};

use crate::fixture::{Opening, database, failure, rows, server, session};
use crate::on_both_servers;

on_both_servers!(
    only_the_roots_that_are_named_are_trusted,
    each_phase_is_the_one_in_which_the_server_falls_silent_or_hangs_up,
    one_statement_is_one_statement,
    a_token_is_brought_to_a_server_that_is_verified_and_to_no_other,
    a_cancel_brings_a_token_as_well,
);

const MODES: [TlsMode; 4] = [TlsMode::VerifyFull, TlsMode::VerifyCa, TlsMode::Require, TlsMode::Disable];

/// A user with this plugin, and how it logs in.
fn user(server: &Mysql, own: &Database, plugin: &str) -> Opening {
    let Login { user, password } = server.user(&format!("by_{plugin}"), Some(plugin)).unwrap();
    server.sql(&format!("GRANT SELECT ON {}.* TO '{user}'@'%'", own.name)).unwrap();
    Opening { user, password, ..Opening::new(server, own) }
}

/// The flights of one login, or what the log is told of why there was none.
async fn flights(server: &Mysql, opening: &Opening) -> Result<u64, String> {
    // Its own: the goodbyes of others come when they come.
    let proxy = Proxy::start(server.address()).unwrap();
    match (Opening { port: proxy.port(), ..opening.clone() }).connect().await {
        Ok(mut session) => {
            let flights = proxy.flights();
            let who = rows(&mut session, "SELECT CURRENT_USER() AS who", &[]).await.unwrap();
            assert_eq!(who[0]["who"], format!("{}@%", opening.user));
            Ok(flights)
        }
        Err(error) => {
            assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Auth)), "{error}");
            Err(error.detail().to_owned())
        }
    }
}

#[tokio::test]
async fn caching_sha2_costs_a_flight_more_only_where_the_server_has_not_cached_the_user() {
    // Its own: what it flushes, others would miss.
    let server = &Mysql::start(MysqlKind::Mysql).unwrap();
    let opening = user(server, &database(server), "caching_sha2_password");
    for mode in MODES {
        let opening = Opening { mode, ..opening.clone() };
        server.sql("FLUSH PRIVILEGES").unwrap();
        let cold = flights(server, &opening).await;
        if mode == TlsMode::Disable {
            let detail = cold.unwrap_err();
            assert!(detail.contains("only sent over TLS"), "{detail}");
            Opening { mode: TlsMode::VerifyFull, ..opening.clone() }.connect().await.unwrap();
            assert_eq!(flights(server, &opening).await, Ok(2));
        } else {
            assert_eq!(cold, Ok(4), "{mode:?}");
            assert_eq!(flights(server, &opening).await, Ok(3), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn sha256_is_switched_to_and_sends_the_password_over_tls_alone() {
    let server = server(MysqlKind::Mysql);
    let opening = user(server, &database(server), "sha256_password");
    for mode in MODES {
        let outcome = flights(server, &Opening { mode, ..opening.clone() }).await;
        if mode == TlsMode::Disable {
            let detail = outcome.unwrap_err();
            assert!(detail.contains("only sent over TLS"), "{detail}");
        } else {
            assert_eq!(outcome, Ok(4), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn native_never_costs_more() {
    // MySQL 9 has it no more.
    let server = server(MysqlKind::MariaDb);
    let opening = user(server, &database(server), "mysql_native_password");
    for mode in MODES {
        let expected = if mode == TlsMode::Disable { 2 } else { 3 };
        assert_eq!(flights(server, &Opening { mode, ..opening.clone() }).await, Ok(expected), "{mode:?}");
    }
}

#[tokio::test]
async fn no_password_and_the_longest_one_log_in() {
    for kind in [MysqlKind::Mysql, MysqlKind::MariaDb] {
        let server = server(kind);
        let good = Opening::new(server, &database(server));
        for password in [String::new(), "ä".repeat(100)] {
            server.sql(&format!("ALTER USER '{}'@'%' IDENTIFIED BY '{password}'", good.user)).unwrap();
            for _ in 0..2 {
                Opening { password: password.clone(), ..good.clone() }.connect().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_locked_user_is_told_as_such() {
    for (kind, number) in [(MysqlKind::Mysql, 3118), (MysqlKind::MariaDb, 4151)] {
        let server = server(kind);
        let opening = Opening::new(server, &database(server));
        server.sql(&format!("ALTER USER '{}'@'%' ACCOUNT LOCK", opening.user)).unwrap();
        let error = opening.connect().await.unwrap_err();
        assert_eq!(
            (error.fault(), error.phase()),
            (Fault::CredentialsRejected, Some(Phase::Auth)),
            "{error}"
        );
        assert_eq!(error.sqlstate(), Some(number.to_string().as_str()), "{error}");
        assert!(error.detail().contains("Unlock it"), "{error}");
    }
}

#[tokio::test]
async fn the_server_knows_which_function_it_serves() {
    let server = Mysql::builder(MysqlKind::Mysql).config(&[("performance-schema", "ON")]).start().unwrap();
    let mut session = Opening::new(&server, &database(&server)).connect().await.unwrap();
    let sql = "SELECT attr_name AS name, attr_value AS value FROM performance_schema.session_account_connect_attrs \
               WHERE processlist_id = CONNECTION_ID() ORDER BY attr_name";
    let attributes = rows(&mut session, sql, &[]).await.unwrap();
    assert_eq!(
        attributes,
        serde_json::json!([
            {"name": "_client_name", "value": "lambda-rds"},
            {"name": "program_name", "value": "test"},
        ])
    );
}

async fn only_the_roots_that_are_named_are_trusted(kind: MysqlKind) {
    let server = server(kind);
    let opening = Opening::new(server, &database(server));
    for ca in [None, Some(server.other_ca_pem_path())] {
        for mode in [TlsMode::VerifyFull, TlsMode::VerifyCa] {
            let error = Opening { ca: ca.clone(), mode, ..opening.clone() }.connect().await.unwrap_err();
            assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Tls)), "{error}");
            assert!(error.detail().contains("not issued by a CA that we trust"), "{error}");
        }
    }
}

/// MariaDB 10.11 lets nobody resume.
#[tokio::test]
async fn a_reconnect_resumes_the_tls_session() {
    let server = server(MysqlKind::Mysql);
    let opening = Opening::new(server, &database(server));
    let tls = opening.tls().unwrap();
    for resumed in ["0", "1", "1"] {
        let mut session = opening.connect_over(&tls).await.unwrap();
        let status = rows(&mut session, "SHOW STATUS LIKE 'Ssl_sessions_reused'", &[]).await.unwrap();
        assert_eq!(status[0]["Value"], resumed);
    }
}

async fn each_phase_is_the_one_in_which_the_server_falls_silent_or_hangs_up(kind: MysqlKind) {
    // Its own: whoever makes or drops a user empties the cache of logins, and a full one has more words.
    let server = &Mysql::start(kind).unwrap();
    let good = Opening::new(server, &database(server));
    good.connect().await.unwrap();
    // The server's words: its greeting, its part of TLS, who is let in, what is set.
    for (said, phase) in [(0, Phase::Tls), (1, Phase::Tls), (2, Phase::Auth), (3, Phase::Ready)] {
        for cut in [None, Some(Cut::Fin), Some(Cut::Rst)] {
            let after = After::Flights(said);
            // Its own: a connection that is on its way out would take the fault with it.
            let proxy = Proxy::start(server.address()).unwrap();
            let opening = Opening { port: proxy.port(), time: Duration::from_secs(3), ..good.clone() };
            proxy.inject(match cut {
                None => WireFault::stall(Direction::ToClient, after),
                Some(cut) => WireFault::cut(Direction::ToClient, after, cut),
            });
            let error = opening.connect().await.unwrap_err();
            let fault = if cut.is_some() { Fault::ConnectionLost } else { Fault::Unreachable };
            assert_eq!((error.fault(), error.phase()), (fault, Some(phase)), "{said} {cut:?}: {error}");
            assert_eq!(opening.progress.current(), Some(phase), "{said} {cut:?}");
        }
    }
}

/// Whatever the login agreed upon for the sake of the driver.
async fn one_statement_is_one_statement(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    assert_eq!(failure(rows(&mut session, "SELECT 1; SELECT 2", &[]).await), (Fault::QueryFailed, 1064));
}

/// A user whom the door before the server lets in with any token, or with none.
fn by_token(server: &Mysql, door: &MysqlTokens) -> Opening {
    let own = database(server);
    server.sql(&format!("ALTER USER '{}'@'%' IDENTIFIED BY ''", own.user)).unwrap();
    Opening {
        port: door.address().port(),
        ca: Some(door.ca_pem_path()),
        password: "db:3306/?Action=connect&X-Amz-Signature=".to_owned() + &"0".repeat(1500),
        ..Opening::new(server, &own)
    }
}

async fn a_token_is_brought_to_a_server_that_is_verified_and_to_no_other(kind: MysqlKind) {
    let server = server(kind);
    let door = MysqlTokens::start(server, true).unwrap();
    let opening = by_token(server, &door);
    for mode in [TlsMode::VerifyFull, TlsMode::VerifyCa] {
        let mut session = Opening { mode, ..opening.clone() }.connect().await.unwrap();
        assert_eq!(rows(&mut session, "SELECT 1 AS one", &[]).await.unwrap()[0]["one"], 1);
    }
    let brought = (opening.user.clone(), opening.password.clone());
    assert_eq!(door.seen(), [brought.clone(), brought.clone()]);

    let error = Opening { mode: TlsMode::Require, ..opening.clone() }.connect().await.unwrap_err();
    assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Auth)), "{error}");
    assert!(error.detail().contains("a server that is verified"), "{error}");
    assert_eq!(door.seen().len(), 2);

    let door = MysqlTokens::start(server, false).unwrap();
    let opening = Opening { port: door.address().port(), ca: Some(door.ca_pem_path()), ..opening };
    let error = opening.connect().await.unwrap_err();
    assert!(!error.to_string().contains("X-Amz"), "{error}");
    assert_eq!(failure::<()>(Err(error)), (Fault::CredentialsRejected, 1045));
    assert_eq!(door.seen(), [brought]);
}

async fn a_cancel_brings_a_token_as_well(kind: MysqlKind) {
    let server = server(kind);
    let door = MysqlTokens::start(server, true).unwrap();
    let mut session = by_token(server, &door).connect().await.unwrap();
    let cancel = session.cancel_handle().unwrap();
    let sql = "SELECT SLEEP(60) AS stopped";
    let (slept, cancelled) = tokio::join!(rows(&mut session, sql, &[]), async {
        while server.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(60) AS stopped%'").unwrap() == "0" {
            tokio::task::yield_now().await;
        }
        cancel.cancel(Deadline::after(Duration::from_secs(10))).await
    });
    cancelled.unwrap();
    // A sleep that is stopped gives a row, on MariaDB an error.
    match slept {
        Ok(rows) => assert_eq!(rows[0]["stopped"], 1),
        Err(error) => assert_eq!(error.sqlstate(), Some("1317"), "{error}"),
    }
    assert_eq!(door.seen().len(), 2);
}
