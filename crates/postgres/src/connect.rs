//! From a target to a session: dial, encrypt, log in; five flights with TLS 1.3 and SCRAM.
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>

use std::net::SocketAddr;
use std::sync::Arc;

use lambda_rds_core::backend::{Pooling, Session, Target};
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::live::{Live, Protocol as _};
use lambda_rds_core::connect::tls::{NOT_OFFERED, TlsClient};
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::credentials::ExposeSecret as _;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use crate::Keeper;
use crate::cancel::PgCancel;
use crate::classify::{self, Doing};
use crate::learned::Learned;
use crate::messages::{
    AUTHENTICATION, BACKEND_KEY_DATA, ERROR, NOTICE, Notice, PARAMETER_STATUS, READY, Rest, Trouble, garbage,
    next,
};
use crate::session::Pg;
use crate::settings::{READ_ONLY, Reported};

/// Opens one session.
pub(crate) async fn connect(learned: &Arc<Learned>, to: &Target) -> Result<Box<dyn Session>> {
    let tcp = dial::dial(&to.endpoint, to.by, &to.progress).await?;
    let peer = tcp.peer_addr().map_err(|error| hung_up(Phase::Tcp, error.to_string()))?;
    if to.tls.mode() != TlsMode::Disable {
        to.progress.enter(Phase::Tls);
    }
    let mut wire = encrypt(Wire::plain(tcp), &to.tls, to.by).await?;
    if let Some(agreed) = wire.agreed() {
        to.progress.note(agreed);
    }
    to.progress.enter(Phase::Auth);
    let mut opening = Opening::default();
    let opened = to.by.bound(opening.log_in(&mut wire, to)).await;
    match opened {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) => return Err(opening.explain(trouble, to)),
        Err(_) => {
            let text =
                format!("{} accepted the connection but did not answer the login in time", to.endpoint);
            return Err(unreachable(text).with_phase(opening.phase()));
        }
    }
    wire.uncork();
    let key = opening.key.filter(|_| to.pooling != Pooling::RdsProxy);
    let cancel = key.map(|key| PgCancel::new(peer, Arc::clone(&to.tls), key));
    let mut protocol = Pg::new(Arc::clone(learned), opening.reported, cancel, to);
    took(&mut protocol, &mut wire, to).await?;
    Ok(Box::new(Live::<_, Keeper>::new(protocol, wire)))
}

/// Asks for TLS, and ends it here.
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
pub(crate) async fn encrypt(mut wire: Wire, tls: &TlsClient, by: Deadline) -> Result<Wire> {
    if tls.mode() == TlsMode::Disable {
        return Ok(wire);
    }
    frontend::ssl_request(wire.output());
    let answer = async {
        while wire.input().is_empty() {
            wire.turn(false).await?;
        }
        std::io::Result::Ok(wire.input().first().copied().unwrap_or_default())
    };
    let failure = |detail: String| unreachable(detail).with_phase(Phase::Tls);
    let answer = by.bound(answer).await.map_err(|_| {
        failure("the server accepted the connection but did not answer the TLS handshake".to_owned())
    })?;
    match answer {
        Ok(b'S') => {
            wire.take(1);
            wire.encrypt(tls, by).await
        }
        Ok(b'N') => Err(failure(
            "the server does not offer TLS. Turn it on there (`ssl = on`), or set DB_TLS=disable where the network is \
             trusted"
                .to_owned(),
        )
        .with_hint(NOT_OFFERED)),
        Ok(other) => {
            Err(failure(format!("the server answered the TLS request with byte {other:#04x}: is it PostgreSQL?")))
        }
        Err(error) => Err(hung_up(Phase::Tls, format!("the server hung up on the TLS request: {error}"))),
    }
}

/// Makes sure that what was asked for at the start is what the session has: something in between may have passed it
/// over.
async fn took(protocol: &mut Pg, wire: &mut Wire, to: &Target) -> Result<()> {
    let not_taken = |name: &str, value: &str| {
        Err(unreachable(format!(
            "{} let us in without the setting `{name}` that was asked for (it is `{value}`). A pooler answers there that \
             passes settings over, and without them nothing keeps reads from writing: set DB_POOLER=transaction",
            to.endpoint
        ))
        .with_phase(Phase::Ready)
        .with_hint("DB_POOLER=transaction: a pooler stands before the server"))
    };
    if let Some((name, value)) = protocol.reported.unwanted(to.pooling) {
        return not_taken(name, value);
    }
    if to.pooling != Pooling::None || protocol.reported.get(READ_ONLY).is_some() {
        return Ok(());
    }
    // Servers before PostgreSQL 14 do not report it.
    to.progress.enter(Phase::Ready);
    let question = "SELECT pg_catalog.current_setting('default_transaction_read_only')";
    let asked = to.by.bound(protocol.ask(wire, question)).await.map_err(|_| {
        unreachable(format!("{} let us in and did not answer in time", to.endpoint)).with_phase(Phase::Ready)
    })?;
    let rows = asked.map_err(|error| error.with_phase(Phase::Ready))?;
    match rows.first().and_then(|row| row.first()).and_then(Option::as_deref) {
        Some("on") => Ok(()),
        other => not_taken(READ_ONLY, other.unwrap_or_default()),
    }
}

/// What the server said while the session was opened.
#[derive(Debug, Default)]
struct Opening {
    /// AuthenticationOk was seen.
    authenticated: bool,
    /// BackendKeyData: the process id and its secret.
    key: Option<Key>,
    reported: Reported,
}

/// BackendKeyData: what a CancelRequest must show.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What comes next of a login.
enum Asked {
    /// The password as it is.
    Cleartext,
    /// MD5 of the password, with this salt.
    Md5([u8; 4]),
    /// One of these mechanisms.
    Sasl(Vec<String>),
    /// The next message of the mechanism.
    SaslContinue(Vec<u8>),
    SaslFinal(Vec<u8>),
    /// Nothing to be answered.
    Nothing,
    /// The session is ready.
    Ready,
}

impl Opening {
    async fn log_in(&mut self, wire: &mut Wire, to: &Target) -> Result<(), Trouble> {
        let settings = options(to);
        let mut parameters = vec![
            ("user", to.login.user.as_str()),
            ("database", to.database.as_str()),
            ("application_name", to.application_name.as_str()),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
        ];
        if let Some(settings) = &settings {
            parameters.push(("options", settings));
        }
        frontend::startup_message(parameters, wire.output()).map_err(|_| Trouble::Told(nul()))?;
        let password = to.login.password.expose_secret().as_bytes();
        let mut scram = None;
        loop {
            let told = next(wire, |message| self.hear(message, to)).await?;
            match told {
                Asked::Nothing => {}
                Asked::Ready => return Ok(()),
                Asked::Cleartext => {
                    if !matches!(to.tls.mode(), TlsMode::VerifyFull | TlsMode::VerifyCa) {
                        return Err(Trouble::Told(in_the_clear(to)));
                    }
                    frontend::password_message(password, wire.output()).map_err(|_| Trouble::Told(nul()))?;
                }
                Asked::Md5(salt) => {
                    let hash = md5_hash(to.login.user.as_bytes(), password, salt);
                    frontend::password_message(hash.as_bytes(), wire.output())
                        .map_err(|_| Trouble::Told(nul()))?;
                }
                Asked::Sasl(mechanisms) => {
                    if !mechanisms.iter().any(|mechanism| mechanism == SCRAM_SHA_256) {
                        return Err(Trouble::Told(unknown_method(to, &mechanisms.join(", "))));
                    }
                    let first = ScramSha256::new(password, ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, first.message(), wire.output())
                        .map_err(|_| Trouble::Told(nul()))?;
                    scram = Some(first);
                }
                Asked::SaslContinue(data) => {
                    let mut hashing = scram.take().ok_or_else(|| Trouble::Told(garbage("SCRAM")))?;
                    // Thousands of rounds of hashing, by the server's word; the protocol's crate takes no more than
                    // 100,000. On a thread of its own, since the runtime may have other sessions to serve.
                    let hashed = tokio::task::spawn_blocking(move || {
                        let outcome = hashing.update(&data);
                        (hashing, outcome)
                    });
                    let (hashed, outcome) = hashed.await.map_err(|_| Trouble::Told(garbage("SCRAM")))?;
                    outcome.map_err(|error| Trouble::Told(no_scram(to, &error)))?;
                    frontend::sasl_response(hashed.message(), wire.output())
                        .map_err(|_| Trouble::Told(nul()))?;
                    scram = Some(hashed);
                }
                Asked::SaslFinal(data) => {
                    let mut hashed = scram.take().ok_or_else(|| Trouble::Told(garbage("SCRAM")))?;
                    hashed.finish(&data).map_err(|error| Trouble::Told(no_scram(to, &error)))?;
                }
            }
        }
    }

    fn hear(&mut self, message: crate::messages::Message<'_>, to: &Target) -> Result<Asked> {
        let mut rest = Rest(message.body);
        match message.kind {
            AUTHENTICATION if !self.authenticated => {
                let code = rest.i32().ok_or_else(|| garbage("an authentication request"))?;
                Ok(match code {
                    0 => {
                        self.authenticated = true;
                        Asked::Nothing
                    }
                    3 => Asked::Cleartext,
                    5 => Asked::Md5(rest.array().ok_or_else(|| garbage("an MD5 salt"))?),
                    10 => {
                        let mut mechanisms = Vec::new();
                        while let Some(mechanism) = rest.string().filter(|text| !text.is_empty()) {
                            mechanisms.push(mechanism);
                        }
                        Asked::Sasl(mechanisms)
                    }
                    11 => Asked::SaslContinue(rest.0.to_vec()),
                    12 => Asked::SaslFinal(rest.0.to_vec()),
                    7 => return Err(unknown_method(to, "GSSAPI")),
                    9 => return Err(unknown_method(to, "SSPI")),
                    other => return Err(unknown_method(to, &format!("number {other}"))),
                })
            }
            ERROR => Err(explain_refusal(&Notice::parse(message.body), to)),
            NOTICE => Ok(Asked::Nothing),
            BACKEND_KEY_DATA if self.authenticated => {
                self.key = Some(Key(message.body.to_vec()));
                Ok(Asked::Nothing)
            }
            PARAMETER_STATUS if self.authenticated => {
                self.reported.hear(message.body);
                Ok(Asked::Nothing)
            }
            READY if self.authenticated && message.body == b"I" => Ok(Asked::Ready),
            other => Err(unreachable(format!(
                "{} answers the login with what is none of PostgreSQL's words (a message of kind {other:#04x})",
                to.endpoint
            ))),
        }
    }

    fn phase(&self) -> Phase {
        if self.authenticated { Phase::Ready } else { Phase::Auth }
    }

    /// Why the session could not be opened.
    fn explain(&self, trouble: Trouble, to: &Target) -> Error {
        match trouble {
            Trouble::Wire(error) => {
                hung_up(self.phase(), format!("{} hung up during the login: {error}", to.endpoint))
            }
            // What cannot be a message will not be one the next time.
            Trouble::Told(error) if error.fault() == Fault::ConnectionLost => {
                error.into_fault(Fault::Unreachable).with_phase(self.phase())
            }
            Trouble::Told(error) => error.with_phase(self.phase()),
        }
    }
}

/// The settings of a session, as the startup message's `options` carries them: they cost no round trip. A pooler
/// has sessions of its own with the server, and refuses options.
fn options(to: &Target) -> Option<String> {
    let limit = to.statement_timeout.as_millis();
    (to.pooling == Pooling::None).then(|| {
        format!(
            "-c default_transaction_read_only=on -c statement_timeout={limit} \
             -c idle_in_transaction_session_timeout={limit} -c standard_conforming_strings=on \
             -c extra_float_digits=3"
        )
    })
}

fn explain_refusal(notice: &Notice, to: &Target) -> Error {
    let told = notice.told();
    let (code, message) = (told.code, told.message);
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

fn unknown_method(to: &Target, method: &str) -> Error {
    unreachable(format!(
        "{} wants user `{}` to log in by {method}, which is not in this program. Known are SCRAM-SHA-256, md5 and, over \
         verified TLS, the password itself, as IAM has it: change the method in pg_hba.conf",
        to.endpoint, to.login.user
    ))
}

fn in_the_clear(to: &Target) -> Error {
    unreachable(format!(
        "{} wants the password of `{}` as it is, which is only sent to a server that is verified: set DB_TLS to \
         verify-full or verify-ca, or the method in pg_hba.conf to scram-sha-256",
        to.endpoint, to.login.user
    ))
}

/// The crate's own words hold nothing of the password.
fn no_scram(to: &Target, error: &std::io::Error) -> Error {
    unreachable(format!("{} does not log `{}` in by SCRAM as it should: {error}", to.endpoint, to.login.user))
}

fn nul() -> Error {
    Error::new(Fault::Unreachable, "user, database or password holds a zero byte, which no login can carry")
}

fn unreachable(detail: String) -> Error {
    Error::new(Fault::Unreachable, detail)
}

/// Not a word of why: another try may fare better.
fn hung_up(phase: Phase, detail: String) -> Error {
    Error::new(Fault::ConnectionLost, detail).with_phase(phase)
}

/// Where a cancel request goes, beside the key.
pub(crate) type Peer = SocketAddr;

/// As in [`classify`]'s table.
const INVALID_CATALOG_NAME: &str = "3D000";
