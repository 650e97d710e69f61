//! From a target to a session: dial, encrypt, log in, send one `SET`, and hand the connection to the driver.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lambda_rds_core::backend::{Pooling, Session, Target};
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::guard::{Guard, Guarded};
use lambda_rds_core::connect::relay::Relay;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};

use crate::cancel::MySqlCancel;
use crate::classify;
use crate::guard::Packets;
use crate::login::{Greeted, LoggedIn, Who};
use crate::packet::Refusal;
use crate::session::{MySqlSession, lock_wait};
use crate::wire::Introduced;

/// Opens one session. After the TCP handshake: three flights with TLS 1.3 and a login that the server has cached.
pub(crate) async fn connect(to: &Target) -> Result<Box<dyn Session>> {
    let tcp = dial::dial(&to.endpoint, to.by, &to.progress).await?;
    let peer = tcp.peer_addr().map_err(|error| {
        // The server has hung up already.
        let text = format!("{} took the connection and hung up: {error}", to.endpoint);
        Error::new(Fault::ConnectionLost, text).with_phase(Phase::Tcp)
    })?;
    let greeted = Greeted::open(tcp, &to.tls, &to.progress, to.by).await?;
    let server = to.endpoint.to_string();
    let who = Who {
        server: &server,
        login: &to.login,
        database: Some(&to.database),
        application_name: &to.application_name,
    };
    let mut connection = greeted.log_in(who, &to.progress, to.by).await?;
    to.progress.enter(Phase::Ready);
    set(&mut connection, to).await?;
    let thread = connection.thread();
    let cancel =
        MySqlCancel::new(peer, Arc::clone(&to.tls), to.relogin.clone(), thread, &to.application_name);
    hand_over(connection, cancel, to).await
}

/// Tells the server what every session is like.
async fn set(connection: &mut LoggedIn, to: &Target) -> Result<()> {
    match to.by.bound(connection.run(&settings(to))).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(Refusal { number, message }))) => {
            let fault = classify::of_connection(number);
            let text = format!("{} refused the session's settings: {message}.", to.endpoint);
            Err(Error::new(fault, text).with_sqlstate(number.to_string()).with_phase(Phase::Ready))
        }
        // Not a word of why: another try may fare better.
        Ok(Err(error)) => {
            let text = format!("{} hung up on the session's settings: {error}", to.endpoint);
            Err(Error::new(Fault::ConnectionLost, text).with_phase(Phase::Ready))
        }
        Err(_) => {
            let text = format!("{} did not take the session's settings in time", to.endpoint);
            Err(Error::new(Fault::Unreachable, text).with_phase(Phase::Ready))
        }
    }
}

/// Lets the driver in, which believes that it speaks to a server without TLS and with one user: it is greeted by us,
/// and its answer goes nowhere. From then on all bytes pass as they are.
async fn hand_over(connection: LoggedIn, cancel: MySqlCancel, to: &Target) -> Result<Box<dyn Session>> {
    let (wire, greeting, spoken) = connection.into_parts();
    let guard = Arc::new(Guard::default());
    let relay = wire.tcp().and_then(|tcp| {
        let stream = Introduced::new(Guarded::new(wire, Packets::new(spoken), &guard), greeting);
        Relay::start(stream, &tcp, SOCKET, Box::new(<[u8]>::to_vec), Box::new(|_| false))
    });
    let relay =
        relay.map_err(|error| internal(format!("no private socket in the temporary folder: {error}")))?;
    let pool = MySqlPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        // Ours comes first, and knows more.
        .acquire_timeout(to.by.remaining() + Duration::from_secs(1))
        .connect_lazy_with(options(&relay));
    match to.by.bound(pool.acquire()).await {
        Ok(Ok(connection)) => {
            Ok(Box::new(MySqlSession::new(pool, connection, relay.into_wire(), guard, cancel, to)))
        }
        // The server has hung up before the driver was through the door.
        Ok(Err(sqlx::Error::Io(error))) => {
            let text = format!("{} let us in and hung up: {error}", to.endpoint);
            Err(Error::new(Fault::ConnectionLost, text).with_phase(Phase::Ready))
        }
        Ok(Err(error)) => Err(internal(format!("the driver did not take the connection: {error}"))),
        Err(_) => {
            let text = format!("{} let us in, but no time was left", to.endpoint);
            Err(Error::new(Fault::Unreachable, text).with_phase(Phase::Ready))
        }
    }
}

/// The driver's options: everything that it would do by itself is off. User and password it need not know.
fn options(relay: &Relay) -> MySqlConnectOptions {
    MySqlConnectOptions::new()
        .socket(relay.folder().join(SOCKET))
        .ssl_mode(MySqlSslMode::Disabled)
        // These four make the driver send a `SET` of its own. We have sent ours.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        // The driver would log statements by itself, with other rules than ours.
        .disable_statement_logging()
}

/// The settings of a session in one statement, which each of the two servers reads in its own way: `/*!50720 … */`
/// is for MySQL, `/*M! … */` for MariaDB.
///
/// The server's `sql_mode` stays, but for what would change the meaning of quotes and backslashes under our
/// lexer, and with strictness, without which the server stores what it likes instead of refusing it.
fn settings(to: &Target) -> String {
    match to.pooling {
        Pooling::None => session_settings(to.statement_timeout),
        Pooling::Transaction | Pooling::RdsProxy => POOLED_SETTINGS.to_owned(),
    }
}

fn session_settings(statement_timeout: Duration) -> String {
    let millis = statement_timeout.as_millis().clamp(1, u128::from(u32::MAX));
    let seconds = statement_timeout.as_secs().clamp(1, LONGEST_IDLE);
    let lock = lock_wait(statement_timeout);
    let mut set = String::with_capacity(640);
    // Writing to a `String` cannot fail.
    let _ = write!(
        set,
        "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', \
         sql_mode = CONCAT(REPLACE(REPLACE(REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', ''), 'ANSI_QUOTES', ''), \
         'ANSI', ''), ',STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'), \
         innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock} \
         /*!50720 , transaction_read_only = 1, max_execution_time = {millis} */ \
         /*M! , tx_read_only = 1, max_statement_time = {}.{:03}, idle_transaction_timeout = {seconds} */",
        millis / 1000,
        millis % 1000
    );
    set
}

fn internal(detail: String) -> Error {
    Error::new(Fault::Internal, detail).with_phase(Phase::Ready)
}

/// Where a cancel request goes.
pub(crate) type Peer = SocketAddr;

/// The socket's name in the relay's folder.
const SOCKET: &str = "mysql.sock";
/// A year.
const LONGEST_IDLE: u64 = 31_536_000;
/// Behind a pooler: only what poolers know to give to each client anew, as plain values, without which they would
/// keep the connection for us alone.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>
const POOLED_SETTINGS: &str = "SET NAMES utf8mb4, autocommit = 1, time_zone = '+00:00', \
     sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_wait_ends_before_the_statement_does() {
        let check = |millis, lock: &str, mysql: &str, mariadb: &str| {
            let set = session_settings(Duration::from_millis(millis));
            for want in [
                format!("innodb_lock_wait_timeout = {lock}, lock_wait_timeout = {lock} "),
                format!("max_execution_time = {mysql} "),
                format!("max_statement_time = {mariadb},"),
            ] {
                assert!(set.contains(&want), "{want} is not in {set}");
            }
        };
        check(10_000, "9", "10000", "10.000");
        check(2_500, "2", "2500", "2.500");
        check(1_000, "1", "1000", "1.000");
        // Zero would mean no limit.
        check(0, "1", "1", "0.001");
    }
}
