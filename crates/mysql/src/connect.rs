//! From a target to a session: dial, read the greeting, let the driver encrypt and log in, and send one `SET`.

use std::fmt::Write as _;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambda_rds_core::backend::{Pooling, Session, Target};
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::relay::Relay;
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::Login;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlPoolOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::cancel::MySqlCancel;
use crate::classify::{self, Doing};
use crate::greeting::{Greeting, Welcome};
use crate::session::{MySqlSession, lock_wait};

/// Opens one session. After the TCP handshake: four flights with TLS 1.3 and a login that the server has cached.
pub(crate) async fn connect(to: &Target) -> Result<Box<dyn Session>> {
    let tcp = dial::dial(&to.endpoint, to.by, &to.progress).await?;
    let peer = tcp.peer_addr().map_err(|error| failure(Phase::Tcp, error.to_string()))?;
    let tls = to.tls.mode() != TlsMode::Disable;
    to.progress.enter(if tls { Phase::Tls } else { Phase::Auth });
    let door = Door::open(tcp, &to.tls, to.by).await?;
    let options = door.options(&to.login, &to.tls)?.database(&to.database);
    let pool = MySqlPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(to.by.remaining().max(Duration::from_millis(1)))
        .connect_lazy_with(options);
    let mut connection = match to.by.bound(pool.acquire()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(door.explain(&error, to)),
        Err(_) => return Err(door.silence(to)),
    };
    to.progress.enter(Phase::Ready);
    match to.by.bound(connection.execute(sqlx::raw_sql(AssertSqlSafe(settings(to))))).await {
        Ok(Ok(_)) => {}
        // Given back to the pool, it would be pinged.
        Ok(Err(error)) => {
            drop(connection.detach());
            if let sqlx::Error::Io(error) = error {
                let text = format!("{} hung up on the session's settings: {error}", to.endpoint);
                return Err(hung_up(Phase::Ready, text));
            }
            let error = classify::to_error(&error, Doing::Connect, to.log_values);
            return Err(error.with_phase(Phase::Ready));
        }
        Err(_) => {
            drop(connection.detach());
            let text = format!("{} did not take the session's settings in time", to.endpoint);
            return Err(failure(Phase::Ready, text));
        }
    }
    let cancel = MySqlCancel::new(peer, Arc::clone(&to.tls), to.login.clone(), door.welcome.thread);
    Ok(Box::new(MySqlSession::new(pool, connection, door.relay.into_wire(), cancel, to)))
}

/// A connection that has been greeted, and the socket through which the driver finds it.
#[derive(Debug)]
pub(crate) struct Door {
    relay: Relay,
    welcome: Welcome,
    /// Whether the server has said anything since its greeting.
    answered: Arc<AtomicBool>,
}

impl Door {
    /// Reads the greeting and starts the relay.
    ///
    /// # Errors
    /// The server's refusal, classified, or that it did not greet, or does not offer the TLS that we want.
    pub(crate) async fn open(mut tcp: TcpStream, tls: &TlsClient, by: Deadline) -> Result<Self> {
        let phase = if tls.mode() == TlsMode::Disable { Phase::Auth } else { Phase::Tls };
        let (greeting, bytes) = match by.bound(Greeting::read(&mut tcp)).await {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(failure(
                    phase,
                    "the server's first bytes are no greeting: is it MySQL or MariaDB?",
                ));
            }
            Ok(Err(error)) => {
                return Err(hung_up(phase, format!("the server hung up instead of greeting: {error}")));
            }
            Err(_) => return Err(failure(phase, "the server accepted the connection but did not greet")),
        };
        let welcome = match greeting {
            Greeting::Welcome(welcome) => welcome,
            Greeting::Refusal { number, message } => {
                let fault = classify::of_number(number, &message, Doing::Connect);
                let text = format!("the server refused the connection: {message}.{}", classify::hint(number));
                return Err(Error::new(fault, text).with_sqlstate(number.to_string()).with_phase(phase));
            }
        };
        if phase == Phase::Tls && !welcome.tls {
            return Err(failure(
                Phase::Tls,
                "the server does not offer TLS. Turn it on there (`ssl_cert`, `ssl_key`), or set DB_TLS=disable \
                 where the network is trusted",
            ));
        }
        let answered = Arc::new(AtomicBool::new(false));
        let tap = {
            let answered = Arc::clone(&answered);
            let greeting = bytes.len();
            let mut seen = 0;
            Box::new(move |bytes: &[u8]| {
                seen += bytes.len();
                answered.store(seen > greeting, Ordering::Relaxed);
                seen <= greeting
            })
        };
        let relay = tcp.as_fd().try_clone_to_owned().and_then(|fd| {
            let (from_server, to_server) = tcp.into_split();
            // The driver is greeted once more, by the bytes that we have read.
            let stream = tokio::io::join(Cursor::new(bytes).chain(from_server), to_server);
            Relay::start(stream, &fd, SOCKET, Box::new(<[u8]>::to_vec), tap)
        });
        let relay = relay.map_err(|error| {
            Error::new(Fault::Internal, format!("no private socket in the temporary folder: {error}"))
        })?;
        Ok(Self { relay, welcome, answered })
    }

    /// The driver's options, but for the database.
    ///
    /// # Errors
    /// If the roots cannot be read.
    pub(crate) fn options(&self, login: &Login, tls: &TlsClient) -> Result<MySqlConnectOptions> {
        use lambda_rds_core::credentials::ExposeSecret as _;
        let mut options = MySqlConnectOptions::new()
            .socket(self.relay.folder().join(SOCKET))
            // Not dialled: the name to verify.
            .host(tls.name())
            .username(&login.user)
            // IAM's tokens are sent so, and full authentication does no other thing. Never without TLS, below.
            .enable_cleartext_plugin(tls.mode() != TlsMode::Disable)
            // These four make the driver send a `SET` of its own. We send ours.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            // The driver would log statements by itself, with other rules than ours.
            .disable_statement_logging()
            .ssl_mode(match tls.mode() {
                TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
                TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
                TlsMode::Require => MySqlSslMode::Required,
                TlsMode::Disable => MySqlSslMode::Disabled,
            });
        // An empty password is none: the server would compare its scramble with nothing.
        let password = login.password.expose_secret();
        if !password.is_empty() {
            options = options.password(password);
        }
        match tls.mode() {
            TlsMode::VerifyFull => options = options.ssl_ca_from_pem(tls.pem()?),
            TlsMode::VerifyCa => {
                // Here alone the driver takes the process's provider, and panics where a program has linked two
                // and named none. One that is named already stays.
                let _ = rustls::crypto::ring::default_provider().install_default();
                options = options.ssl_ca_from_pem(tls.pem()?);
            }
            TlsMode::Require | TlsMode::Disable => {}
        }
        Ok(options)
    }

    /// Why the driver could not log in.
    fn explain(&self, error: &sqlx::Error, to: &Target) -> Error {
        if let sqlx::Error::Io(error) = error
            && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return to.tls.explain(error);
        }
        let (endpoint, user, database) = (&to.endpoint, &to.login.user, &to.database);
        match error {
            sqlx::Error::Database(refusal) => {
                let refusal = refusal.try_downcast_ref::<MySqlDatabaseError>();
                let number = refusal.map_or(0, MySqlDatabaseError::number);
                let message = refusal.map_or("", MySqlDatabaseError::message);
                let text = format!(
                    "{endpoint} refused the login of user `{user}` to database `{database}`: {message}.{}",
                    classify::hint(number)
                );
                Error::new(classify::classify(error, Doing::Connect), text)
                    .with_sqlstate(number.to_string())
                    .with_phase(Phase::Auth)
            }
            sqlx::Error::Configuration(_) if to.tls.mode() == TlsMode::Disable => failure(
                Phase::Auth,
                format!(
                    "{endpoint} wants the password of `{user}` itself (full authentication of \
                     caching_sha2_password or sha256_password), which is only sent over TLS: remove \
                     DB_TLS=disable, or give the user another authentication plugin"
                ),
            ),
            sqlx::Error::PoolTimedOut => self.silence(to),
            sqlx::Error::Tls(error) => {
                failure(Phase::Tls, format!("the TLS handshake with {endpoint} failed: {error}"))
            }
            sqlx::Error::Io(error) => {
                hung_up(self.phase(&to.tls), format!("{endpoint} hung up during the login: {error}"))
            }
            _ => failure(Phase::Auth, format!("login at {endpoint}: {error}")),
        }
    }

    /// The server did not answer before the deadline.
    fn silence(&self, to: &Target) -> Error {
        let phase = self.phase(&to.tls);
        let what = if phase == Phase::Tls { "TLS handshake" } else { "login" };
        failure(phase, format!("{} greeted but did not answer the {what} in time", to.endpoint))
    }

    /// How far it has come, as far as the relay can see: what follows the greeting is encrypted.
    fn phase(&self, tls: &TlsClient) -> Phase {
        if tls.mode() == TlsMode::Disable || self.answered.load(Ordering::Relaxed) {
            Phase::Auth
        } else {
            Phase::Tls
        }
    }
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

fn failure(phase: Phase, detail: impl Into<String>) -> Error {
    Error::new(Fault::Unreachable, detail).with_phase(phase)
}

/// Not a word of why: another try may fare better.
fn hung_up(phase: Phase, detail: String) -> Error {
    Error::new(Fault::ConnectionLost, detail).with_phase(phase)
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
