//! Opening a session: what it costs, what is verified, and how each failure is told.

use std::time::{Duration, Instant};

use lambda_rds_core::backend::{Access, Backend as _, Frame};
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::error::{Fault, Phase};
use lambda_rds_core::queries::Verb;
use lambda_rds_mysql::Mysql as Backend;
use lambda_rds_testbed::{Certificate, Mysql, MysqlKind, Proxy};
use serde_json::json;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _};

use crate::fixture::{
    Opening, alone, database, failure, int, rows, run, server, session, usable, within, write,
};
use crate::on_both_servers;

on_both_servers!(
    connecting_takes_two_round_trips_less_than_with_the_drivers_defaults,
    a_warm_read_is_one_round_trip_and_a_write_two,
    what_is_expected_is_prepared_with_the_login,
    a_table_that_is_altered_holds_no_login_up,
    a_server_full_of_statements_has_room_for_whoever_gives_some_back,
    each_mode_of_tls_verifies_what_it_says,
    a_bad_certificate_is_told_in_words,
    a_server_without_tls_is_told_in_words,
    a_wrong_password_is_the_credentials_fault,
    an_unknown_database_is_told,
    too_many_connections_are_told_as_themselves,
    a_closed_connection_is_not_used_again,
);

/// Up to a session that is read-only, limited and in UTC. Flights after the TCP handshake; the server speaks
/// first. The driver's defaults are its own `SET`, and ours would be two more statements there.
async fn connecting_takes_two_round_trips_less_than_with_the_drivers_defaults(kind: MysqlKind) {
    // Its own: whoever makes or drops a user empties the cache of logins, and a full one is a round trip more.
    let server = &Mysql::start(kind).unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let mut opening = Opening::new(server, &database(server));
    opening.port = proxy.port();
    // The first login of a user is a full one.
    opening.connect().await.unwrap().close().await;

    proxy.reset();
    opening.connect().await.unwrap();
    let ours = proxy.flights();
    // TLS asked for and begun; TLS ended and the login; the settings.
    assert_eq!(ours, 3);

    proxy.reset();
    let options = MySqlConnectOptions::new()
        .host("localhost")
        .port(proxy.port())
        .username(&opening.user)
        .password(&opening.password)
        .database(&opening.database)
        .ssl_mode(MySqlSslMode::VerifyIdentity)
        .ssl_ca(server.ca_pem_path());
    let mut connection = options.connect().await.unwrap();
    connection.execute(sqlx::raw_sql("SET SESSION TRANSACTION READ ONLY")).await.unwrap();
    connection
        .execute(sqlx::raw_sql("SET innodb_lock_wait_timeout = 9, lock_wait_timeout = 9"))
        .await
        .unwrap();
    // Nagle's algorithm, which the driver leaves on, may cut one more in two.
    assert!(proxy.flights() >= ours + 2, "ours {ours}, the driver's {}", proxy.flights());
}

async fn a_warm_read_is_one_round_trip_and_a_write_two(kind: MysqlKind) {
    let server = server(kind);
    let proxy = Proxy::start(server.address()).unwrap();
    let mut opening = Opening::new(server, &database(server));
    opening.port = proxy.port();
    let mut session = opening.connect().await.unwrap();
    let read = "SELECT CONNECTION_ID() AS id, ? AS n";
    let first = rows(&mut session, read, &[int(1)]).await.unwrap();
    proxy.reset();
    for _ in 0..20 {
        assert_eq!(rows(&mut session, read, &[int(1)]).await.unwrap(), first);
    }
    assert_eq!(proxy.flights(), 20);

    alone(&mut session, "CREATE TABLE t (n INT)").await.unwrap();
    let insert = "INSERT INTO t VALUES (1)";
    proxy.reset();
    write(&mut session, insert, &[]).await.unwrap();
    assert_eq!(proxy.flights(), 3, "its first use is one more");
    proxy.reset();
    write(&mut session, insert, &[]).await.unwrap();
    assert_eq!(proxy.flights(), 2);
    proxy.reset();
    alone(&mut session, "INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(proxy.flights(), 1);

    // After a reconnect no more, and the login no more either.
    session.close().await;
    proxy.reset();
    let mut session = opening.connect().await.unwrap();
    assert_eq!(proxy.flights(), 3);
    proxy.reset();
    assert_eq!(rows(&mut session, read, &[int(1)]).await.unwrap()[0]["n"], 1);
    assert_eq!(proxy.flights(), 1);
    write(&mut session, insert, &[]).await.unwrap();
    assert_eq!(proxy.flights(), 3);
}

async fn what_is_expected_is_prepared_with_the_login(kind: MysqlKind) {
    let server = server(kind);
    let proxy = Proxy::start(server.address()).unwrap();
    let database = database(server);
    server.script(&database.name, "CREATE TABLE t (n INT)").unwrap();
    let mut opening = Opening::new(server, &database);
    // The first login of a user is a full one.
    opening.connect().await.unwrap().close().await;
    opening.port = proxy.port();
    let (read, insert) = ("SELECT n FROM t WHERE n = ?", "INSERT INTO t VALUES (1)");
    let expected = [read, "SELECT n FROM gone", "no SQL", insert];
    opening.backend.expect(&mut expected.into_iter().map(Into::into));
    proxy.reset();
    let mut session = opening.connect().await.unwrap();
    assert_eq!(proxy.flights(), 3);
    proxy.reset();
    rows(&mut session, read, &[int(1)]).await.unwrap();
    assert_eq!(proxy.flights(), 1);
    write(&mut session, insert, &[]).await.unwrap();
    assert_eq!(proxy.flights(), 3);
    assert_eq!(rows(&mut session, read, &[int(1)]).await.unwrap(), json!([{"n": 1}]));
    // What was refused is told to whoever asks for it.
    let gone = rows(&mut session, "SELECT n FROM gone", &[]).await.unwrap_err();
    assert_eq!((gone.fault(), gone.sqlstate()), (Fault::QueryFailed, Some("1146")), "{gone}");
    let read_only = rows(&mut session, insert, &[]).await.unwrap_err();
    assert_eq!(read_only.sqlstate(), Some("1792"), "{read_only}");
}

/// An `ALTER` that waits for a reader lets nobody else near its table, nor a statement be prepared that reads it.
async fn a_table_that_is_altered_holds_no_login_up(kind: MysqlKind) {
    let server = &Mysql::start(kind).unwrap();
    let database = database(server);
    server.script(&database.name, "CREATE TABLE t (n INT);\nCREATE TABLE other (n INT);").unwrap();
    let opening = Opening::new(server, &database);
    let mut reader = opening.connect().await.unwrap();
    reader.begin(Access::Read).await.unwrap();
    within(&mut reader, "SELECT n FROM t").await.unwrap();
    let mut altering = Opening::new(server, &database).connect().await.unwrap();
    let altering =
        tokio::spawn(async move { alone(&mut altering, "ALTER TABLE t ADD COLUMN more INT").await });
    let waiting = || {
        server.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock'").unwrap()
    };
    until(|| waiting() == "1").await;

    for locked in [1, 3] {
        let texts = (0..locked).map(|n| format!("SELECT n + {n} FROM t").into());
        let own = Opening { backend: Backend::default(), ..opening.clone() };
        own.backend.expect(&mut texts.chain(["SELECT n FROM other".into()]));
        let begun = Instant::now();
        let mut session = own.connect().await.unwrap();
        // A second for each, where a statement would wait for nine.
        assert!(begun.elapsed() < Duration::from_secs(6), "{locked}: {:?}", begun.elapsed());
        assert_eq!(rows(&mut session, "SELECT n FROM other", &[]).await.unwrap(), json!([]));
        let waits = rows(&mut session, "SELECT @@lock_wait_timeout AS n", &[]).await.unwrap();
        assert_eq!(waits, json!([{"n": 9}]));
        // Nobody is left waiting on the server but the ALTER.
        until(|| waiting() == "1").await;
    }
    assert!(!altering.is_finished());
    reader.rollback().await.unwrap();
    altering.await.unwrap().unwrap();
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to be");
}

/// The limit is the server's, for all sessions together.
async fn a_server_full_of_statements_has_room_for_whoever_gives_some_back(kind: MysqlKind) {
    let server = &Mysql::start(kind).unwrap();
    let opening = Opening::new(server, &database(server));
    let (mut first, mut second) = (opening.connect().await.unwrap(), opening.connect().await.unwrap());
    let schema = if kind == MysqlKind::Mysql { "performance_schema" } else { "information_schema" };
    let count = format!(
        "SELECT variable_value FROM {schema}.global_status WHERE variable_name = 'Prepared_stmt_count'"
    );
    let prepared = || server.sql(&count).unwrap();
    for n in 0..40 {
        rows(&mut first, &format!("SELECT {n} AS n"), &[]).await.unwrap();
    }
    // What is dropped is told with what is said next.
    first.ping().await.unwrap();
    assert_eq!(prepared(), "32");
    server.sql("SET GLOBAL max_prepared_stmt_count = 32").unwrap();
    // The second has nothing to give back.
    let refused = rows(&mut second, "SELECT 'none' AS n", &[]).await.unwrap_err();
    assert_eq!((refused.fault(), refused.sqlstate()), (Fault::TooManyConnections, Some("1461")), "{refused}");
    assert_eq!(prepared(), "32");
    for frame in [Frame::Read, Frame::Begin(Access::Write)] {
        let text = format!("SELECT '{frame:?}' AS n");
        let (_, body) = run(&mut first, frame, Verb::Many, &text, &[]).await.unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            json!([{"n": format!("{frame:?}")}])
        );
    }
    first.rollback().await.unwrap();
    // All of them were given back at once, so there is room for others as well.
    assert_eq!(prepared(), "2");
    rows(&mut second, "SELECT 'none' AS n", &[]).await.unwrap();
}

async fn each_mode_of_tls_verifies_what_it_says(kind: MysqlKind) {
    let (good, mut first) = session(kind, &[]).await;
    let other = server(kind).other_ca_pem_path();
    let cipher = "SHOW SESSION STATUS LIKE 'Ssl_cipher'";
    assert_ne!(rows(&mut first, cipher, &[]).await.unwrap()[0]["Value"], "");

    let wrong_name = Opening { server_name: Some("elsewhere.example".into()), ..good.clone() };
    let wrong_ca = Opening { ca: Some(other), ..good.clone() };
    for (what, opening) in [("name", &wrong_name), ("CA", &wrong_ca)] {
        let error = opening.connect().await.unwrap_err();
        assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Tls)), "{what}: {error}");
    }
    Opening { mode: TlsMode::VerifyCa, ..wrong_name.clone() }.connect().await.unwrap();
    let error = Opening { mode: TlsMode::VerifyCa, ..wrong_ca.clone() }.connect().await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Tls), "{error}");
    Opening { mode: TlsMode::Require, ..wrong_ca }.connect().await.unwrap();

    // Without TLS, after a login that has filled the server's cache.
    let mut plain = Opening { mode: TlsMode::Disable, ..good }.connect().await.unwrap();
    assert_eq!(rows(&mut plain, cipher, &[]).await.unwrap()[0]["Value"], "");
}

async fn a_bad_certificate_is_told_in_words(kind: MysqlKind) {
    let server = Mysql::builder(kind).certificate(Certificate::Expired).start().unwrap();
    let error = Opening::new(&server, &database(&server)).connect().await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Tls), "{error}");
    assert!(error.detail().contains("has expired"), "{error}");
}

async fn a_server_without_tls_is_told_in_words(kind: MysqlKind) {
    let server = Mysql::builder(kind).certificate(Certificate::None).start().unwrap();
    let mut opening = Opening::new(&server, &database(&server));
    let error = opening.connect().await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Tls), "{error}");
    assert!(error.detail().contains("does not offer TLS"), "{error}");

    opening.mode = TlsMode::Disable;
    let outcome = opening.connect().await;
    match kind {
        // Its first login of a user wants the password itself.
        MysqlKind::Mysql => {
            let error = outcome.unwrap_err();
            assert_eq!(error.phase(), Some(Phase::Auth), "{error}");
            assert!(error.detail().contains("only sent over TLS"), "{error}");
        }
        MysqlKind::MariaDb => drop(outcome.unwrap()),
    }
}

async fn a_wrong_password_is_the_credentials_fault(kind: MysqlKind) {
    let server = server(kind);
    let good = Opening::new(server, &database(server));
    let nobody = Opening { user: "nobody".into(), ..good.clone() };
    let wrong = Opening { password: "wrong".into(), ..good.clone() };
    let none = Opening { password: String::new(), ..good.clone() };
    for opening in [wrong, none, nobody] {
        let error = opening.connect().await.unwrap_err();
        assert_eq!((error.fault(), error.sqlstate()), (Fault::CredentialsRejected, Some("1045")), "{error}");
        assert_eq!(error.phase(), Some(Phase::Auth));
    }
}

async fn an_unknown_database_is_told(kind: MysqlKind) {
    let server = server(kind);
    let opening = Opening { database: "nowhere".into(), ..Opening::new(server, &database(server)) };
    let error = opening.connect().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unreachable, "{error}");
    assert!(error.detail().contains("nowhere"), "{error}");
}

async fn too_many_connections_are_told_as_themselves(kind: MysqlKind) {
    let server = Mysql::builder(kind).config(&[("max-connections", "12")]).start().unwrap();
    let own = database(&server);
    let opening = Opening::new(&server, &own);
    let mut open = Vec::new();
    let refused = loop {
        match opening.connect().await {
            Ok(session) => open.push(session),
            Err(error) => break error,
        }
        assert!(open.len() < 40, "no end of connections");
    };
    assert_eq!((refused.fault(), refused.sqlstate()), (Fault::TooManyConnections, Some("1040")), "{refused}");
    assert_eq!(refused.phase(), Some(Phase::Auth));
    open.clear();

    server.sql(&format!("ALTER USER '{}'@'%' WITH MAX_USER_CONNECTIONS 1", own.user)).unwrap();
    let _one = retried(&opening).await;
    assert_eq!(failure(opening.connect().await), (Fault::TooManyConnections, 1226));
}

/// The server notices that clients are gone a moment later.
async fn retried(opening: &Opening) -> Box<dyn lambda_rds_core::backend::Session> {
    for _ in 0..6_000 {
        if let Ok(session) = opening.connect().await {
            return session;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    opening.connect().await.unwrap()
}

async fn a_closed_connection_is_not_used_again(kind: MysqlKind) {
    let (_, mut session) = session(kind, &[]).await;
    let id = rows(&mut session, "SELECT CONNECTION_ID() AS id", &[]).await.unwrap()[0]["id"].take();
    assert!(usable(&session));
    server(kind).sql(&format!("KILL {id}")).unwrap();
    for _ in 0..6_000 {
        if !usable(&session) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the end of the connection was not seen");
}
