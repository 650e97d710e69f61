//! From a target to a session: dial, encrypt, log in; five flights with TLS 1.3 and SCRAM.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lambda_rds_core::backend::{Pooling, Session, Target};
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::guard::{Guard, Guarded};
use lambda_rds_core::connect::relay::Relay;
use lambda_rds_core::connect::tls::{NOT_OFFERED, TlsClient, agreed};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cancel::PgCancel;
use crate::classify::{self, Doing};
use crate::guard::Messages;
use crate::session::PgSession;

/// Opens one session.
pub(crate) async fn connect(to: &Target) -> Result<Box<dyn Session>> {
    let tcp = dial::dial(&to.endpoint, to.by, &to.progress).await?;
    let peer = tcp.peer_addr().map_err(|error| hung_up(Phase::Tcp, error.to_string()))?;
    let opening = Arc::new(Mutex::new(Opening::default()));
    let tap = {
        let opening = Arc::clone(&opening);
        Box::new(move |bytes: &[u8]| opening.lock().unwrap_or_else(PoisonError::into_inner).read(bytes))
    };
    // The name that libpq, and so sqlx, looks for in a socket folder.
    let name = format!(".s.PGSQL.{}", to.endpoint.port);
    if to.tls.mode() != TlsMode::Disable {
        to.progress.enter(Phase::Tls);
    }
    let settings = settings(to);
    let edit = Box::new(move |message: &[u8]| with_options(message, settings.as_deref()));
    let guard = Arc::new(Guard::default());
    let relay = match encrypt(tcp, &to.tls, to.by).await? {
        Encrypted::Tls(stream) => {
            to.progress.note(agreed(stream.get_ref().1));
            let tcp = stream.get_ref().0.as_fd().try_clone_to_owned();
            tcp.and_then(|tcp| {
                Relay::start(Guarded::new(*stream, Messages::default(), &guard), &tcp, &name, edit, tap)
            })
        }
        Encrypted::Plain(stream) => {
            let tcp = stream.as_fd().try_clone_to_owned();
            tcp.and_then(|tcp| {
                Relay::start(Guarded::new(stream, Messages::default(), &guard), &tcp, &name, edit, tap)
            })
        }
    }
    .map_err(|error| {
        Error::new(Fault::Internal, format!("no private socket in the temporary folder: {error}"))
    })?;
    to.progress.enter(Phase::Auth);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        // Ours comes first, and knows more.
        .acquire_timeout(to.by.remaining() + Duration::from_secs(1))
        .connect_lazy_with(options(to, &relay));
    let connected = to.by.bound(pool.acquire()).await;
    let opening = std::mem::take(&mut *opening.lock().unwrap_or_else(PoisonError::into_inner));
    let connection = match connected {
        Ok(Ok(connection)) => connection,
        other => {
            let driver = other.ok().and_then(std::result::Result::err);
            return Err(opening.explain(to, driver));
        }
    };
    let key = opening.key.filter(|_| to.pooling != Pooling::RdsProxy);
    let cancel = key.map(|key| PgCancel::new(peer, Arc::clone(&to.tls), key));
    Ok(Box::new(PgSession::new(pool, connection, relay.into_wire(), cancel, guard, to)))
}

/// A connection, as the server lets us have it.
pub(crate) enum Encrypted {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Ends TLS here, on the wire's side of the driver.
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
pub(crate) async fn encrypt(mut tcp: TcpStream, tls: &TlsClient, by: Deadline) -> Result<Encrypted> {
    let Some((config, name)) = tls.config() else { return Ok(Encrypted::Plain(tcp)) };
    let late = || {
        Error::new(
            Fault::Unreachable,
            "the server accepted the connection but did not answer the TLS handshake",
        )
        .with_phase(Phase::Tls)
    };
    let answer = async {
        tcp.write_all(&SSL_REQUEST).await?;
        tcp.read_u8().await
    };
    match by.bound(answer).await.map_err(|_| late())? {
        Ok(b'S') => {}
        Ok(b'N') => {
            return Err(Error::new(
                Fault::Unreachable,
                "the server does not offer TLS. Turn it on there (`ssl = on`), or set DB_TLS=disable where the \
                 network is trusted",
            )
            .with_phase(Phase::Tls)
            .with_hint(NOT_OFFERED));
        }
        Ok(other) => {
            return Err(Error::new(
                Fault::Unreachable,
                format!("the server answered the TLS request with byte {other:#04x}: is it PostgreSQL?"),
            )
            .with_phase(Phase::Tls));
        }
        Err(error) => {
            return Err(hung_up(Phase::Tls, format!("the server hung up on the TLS request: {error}")));
        }
    }
    let handshake = TlsConnector::from(config).connect(name, tcp);
    match by.bound(handshake).await.map_err(|_| late())? {
        Ok(stream) => Ok(Encrypted::Tls(Box::new(stream))),
        Err(error) => Err(tls.explain(&error)),
    }
}

/// The settings of a session, as the startup message's `options` carries them: they cost no round trip. A pooler
/// has sessions of its own with the server, and refuses options.
fn settings(to: &Target) -> Option<String> {
    let limit = to.statement_timeout.as_millis();
    (to.pooling == Pooling::None).then(|| {
        format!(
            "-c default_transaction_read_only=on -c statement_timeout={limit} \
             -c idle_in_transaction_session_timeout={limit}"
        )
    })
}

/// The startup message with exactly these `options`: the driver would put those of `PGOPTIONS` before.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html> (StartupMessage)
fn with_options(message: &[u8], options: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(message.len() + options.map_or(0, str::len) + 16);
    let mut fields = message.get(8..).unwrap_or_default().split(|&byte| byte == 0);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if !name.is_empty() && name != b"options" {
            for part in [name, &b"\0"[..], value, b"\0"] {
                body.extend_from_slice(part);
            }
        }
    }
    if let Some(options) = options {
        for part in [&b"options\0"[..], options.as_bytes(), b"\0"] {
            body.extend_from_slice(part);
        }
    }
    body.push(0);
    // A startup message is a few hundred bytes long.
    let length = u32::try_from(8 + body.len()).unwrap_or(u32::MAX);
    let mut edited = length.to_be_bytes().to_vec();
    edited.extend_from_slice(&PROTOCOL_3_0);
    edited.append(&mut body);
    edited
}

/// The driver's options: everything is said here, so that nothing is taken from `PGHOST` and its like.
fn options(to: &Target, relay: &Relay) -> PgConnectOptions {
    use lambda_rds_core::credentials::ExposeSecret as _;
    let options = PgConnectOptions::new_without_pgpass()
        .socket(relay.folder())
        .host(&to.endpoint.host)
        .port(to.endpoint.port)
        .username(&to.login.user)
        .password(to.login.password.expose_secret())
        .database(&to.database)
        // The wire is encrypted already, on our side of the private socket.
        .ssl_mode(PgSslMode::Disable)
        .application_name(&to.application_name)
        // The driver would log statements by itself, with other rules than ours.
        .disable_statement_logging();
    match to.pooling {
        Pooling::None => options,
        // PgBouncer refuses what it does not follow. Floats come in binary, which this setting is not about.
        Pooling::Transaction | Pooling::RdsProxy => options.extra_float_digits(None),
    }
}

/// What the server said while the session was opened, read along from the wire.
#[derive(Debug, Default)]
struct Opening {
    buffer: Vec<u8>,
    /// AuthenticationOk was seen.
    authenticated: bool,
    /// BackendKeyData: the process id and its secret.
    key: Option<Key>,
    /// The ErrorResponse that ended it. The driver's pool swallows some of them and tries again.
    refusal: Option<Vec<u8>>,
}

/// BackendKeyData: what a CancelRequest must show.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Opening {
    /// Takes in what the server sent; false once the session is ready and there is nothing more to learn.
    ///
    /// Message formats: <https://www.postgresql.org/docs/current/protocol-message-formats.html>
    fn read(&mut self, bytes: &[u8]) -> bool {
        self.buffer.extend_from_slice(bytes);
        loop {
            let Some((&[kind, a, b, c, d], _)) = self.buffer.split_first_chunk::<5>() else { return true };
            let end = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            if !(5..=MAX_OPENING).contains(&end) {
                return false;
            }
            let Some(body) = self.buffer.get(5..end) else { return true };
            match kind {
                b'R' if body == [0, 0, 0, 0] => self.authenticated = true,
                b'K' => self.key = Some(Key(body.to_vec())),
                b'E' => self.refusal = Some(body.to_vec()),
                b'Z' => {
                    self.buffer = Vec::new();
                    return false;
                }
                _ => {}
            }
            self.buffer.drain(..end);
        }
    }

    /// Why the session could not be opened.
    fn explain(&self, to: &Target, driver: Option<sqlx::Error>) -> Error {
        let phase = if self.authenticated { Phase::Ready } else { Phase::Auth };
        if let Some(refusal) = &self.refusal {
            return explain_refusal(&Notice::parse(refusal), to).with_phase(phase);
        }
        match driver {
            None => Error::new(
                Fault::Unreachable,
                format!("{} accepted the connection but did not answer the login in time", to.endpoint),
            )
            .with_phase(phase),
            Some(sqlx::Error::Io(error)) => {
                hung_up(phase, format!("{} hung up during the login: {error}", to.endpoint))
            }
            Some(error) => {
                Error::new(Fault::Unreachable, format!("login at {}: {error}", to.endpoint)).with_phase(phase)
            }
        }
    }
}

fn explain_refusal(notice: &Notice, to: &Target) -> Error {
    let code = notice.field(b'C');
    let message = notice.field(b'M');
    let fault = match classify::of_connection(code, message, Doing::Connect) {
        // There is no query yet that could be at fault.
        Fault::QueryFailed | Fault::ConnectionLost => Fault::Unreachable,
        other => other,
    };
    let user = &to.login.user;
    let hint = match fault {
        Fault::CredentialsRejected if message.contains("pg_hba.conf") => {
            " Allow this user and network in pg_hba.conf; `no encryption` in the text means that the server \
             wants TLS."
        }
        _ if code == INVALID_CATALOG_NAME => " Is DB_NAME, or `dbname` in the secret, right?",
        _ if message.contains("startup parameter") => {
            " A pooler answers there and takes no settings: set DB_POOLER=transaction."
        }
        Fault::TooManyConnections => " Lower the function's reserved concurrency, or put RDS Proxy between.",
        _ => "",
    };
    Error::new(
        fault,
        format!(
            "{} refused the login of user `{user}` to database `{}`: {message}.{hint}",
            to.endpoint, to.database
        ),
    )
    .with_sqlstate(code)
}

/// The fields of an ErrorResponse.
struct Notice(Vec<(u8, String)>);

impl Notice {
    fn parse(body: &[u8]) -> Self {
        let fields = body.split(|&byte| byte == 0).filter_map(|field| {
            let (&kind, text) = field.split_first()?;
            Some((kind, String::from_utf8_lossy(text).into_owned()))
        });
        Self(fields.collect())
    }

    fn field(&self, kind: u8) -> &str {
        self.0.iter().find(|(k, _)| *k == kind).map_or("", |(_, text)| text)
    }
}

/// Not a word of why: another try may fare better.
fn hung_up(phase: Phase, detail: String) -> Error {
    Error::new(Fault::ConnectionLost, detail).with_phase(phase)
}

/// Where a cancel request goes, beside the key.
pub(crate) type Peer = SocketAddr;

/// As in [`classify`]'s table.
const INVALID_CATALOG_NAME: &str = "3D000";
const PROTOCOL_3_0: [u8; 4] = [0, 3, 0, 0];
/// Length 8, then the code 1234.5679.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// No message of a login is longer; whatever claims to be is not PostgreSQL.
const MAX_OPENING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_login_is_read_along_however_it_is_cut() {
        let mut login = Vec::new();
        login.extend_from_slice(b"R\0\0\0\x08\0\0\0\0");
        login.extend_from_slice(b"S\0\0\0\x0dTZ\0UTC\0.\0");
        login.extend_from_slice(b"K\0\0\0\x0c\0\0\x01\x02\0\0\x03\x04");
        login.extend_from_slice(b"Z\0\0\0\x05I");
        for step in 1..login.len() {
            let mut opening = Opening::default();
            let more: Vec<bool> = login.chunks(step).map(|chunk| opening.read(chunk)).collect();
            assert!(opening.authenticated);
            assert_eq!(opening.key.as_ref().unwrap().0, [0, 0, 1, 2, 0, 0, 3, 4]);
            assert!(!more.last().unwrap());
        }
    }

    #[test]
    fn a_refusal_is_kept_though_the_driver_swallows_it() {
        let mut body = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0".to_vec();
        let mut message = vec![b'E'];
        message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.append(&mut body);
        let mut opening = Opening::default();
        assert!(opening.read(&message));
        let notice = Notice::parse(opening.refusal.as_ref().unwrap());
        assert_eq!(notice.field(b'C'), "53300");
        assert_eq!(notice.field(b'M'), "sorry, too many clients already");
    }

    #[test]
    fn the_startup_message_carries_our_options_and_nobody_elses() {
        let mut message = vec![0, 0, 0, 99, 0, 3, 0, 0];
        message.extend_from_slice(b"user\0app\0options\0-c work_mem=1\0TimeZone\0UTC\0\0");
        let edited = with_options(&message, Some("-c a=b"));
        let body = b"user\0app\0TimeZone\0UTC\0options\0-c a=b\0\0";
        assert_eq!(edited[..4], u32::try_from(8 + body.len()).unwrap().to_be_bytes());
        assert_eq!(edited[4..8], PROTOCOL_3_0);
        assert_eq!(&edited[8..], body);
        assert_eq!(&with_options(&message, None)[8..], b"user\0app\0TimeZone\0UTC\0\0");
    }

    #[test]
    fn what_is_not_postgresql_is_not_read_for_long() {
        assert!(!Opening::default().read(b"HTTP/1.1 400 Bad Request\r\n"));
    }

    /// Messages of a login, good and bad ones, cut into pieces.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let message = (
            prop::sample::select(&b"RRKKSEEZN\0"[..]),
            prop_oneof![
                4 => Just(vec![0; 4]),
                4 => prop::collection::vec(any::<u8>(), 0..40),
            ],
            // How much more the length claims than there is: mostly nothing.
            prop_oneof![8 => Just(0), 1 => any::<i32>()],
        )
            .prop_map(|(kind, body, lie)| {
                let length = i32::try_from(body.len() + 4).unwrap().wrapping_add(lie);
                [&[kind][..], &length.to_be_bytes(), &body].concat()
            });
        let bytes = prop::collection::vec(message, 0..8).prop_map(|messages| messages.concat());
        (bytes, prop::collection::vec(1..20_usize, 1..5)).prop_map(|(bytes, sizes)| {
            let (mut rest, mut sizes) = (&bytes[..], sizes.into_iter().cycle());
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                pieces.push(piece.to_vec());
                rest = more;
            }
            pieces
        })
    }

    proptest! {
        /// Whatever a server says, and however it is cut: the same is learnt of it, and no more of it is kept than
        /// one message.
        #[test]
        fn what_a_server_says_is_read_alike_however_it_is_cut(pieces in pieces()) {
            let mut whole = Opening::default();
            whole.read(&pieces.concat());
            let mut cut = Opening::default();
            for piece in &pieces {
                let more = cut.read(piece);
                prop_assert!(cut.buffer.len() <= MAX_OPENING);
                if !more {
                    break;
                }
            }
            prop_assert_eq!(cut.authenticated, whole.authenticated);
            prop_assert_eq!(cut.key.map(|key| key.0), whole.key.map(|key| key.0));
            prop_assert_eq!(&cut.refusal, &whole.refusal);
            if let Some(refusal) = cut.refusal {
                let _ = Notice::parse(&refusal).field(b'C');
            }
        }

        #[test]
        fn a_startup_message_keeps_its_length(message in prop::collection::vec(any::<u8>(), 0..200), options in "[^\0]{0,40}") {
            let edited = with_options(&message, Some(&options));
            prop_assert_eq!(&edited[..4], u32::try_from(edited.len()).unwrap().to_be_bytes());
            let end = ["options", &options, "", ""].join("\0");
            prop_assert!(edited.ends_with(end.as_bytes()));
        }
    }
}
