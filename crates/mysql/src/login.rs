//! Logging in, by the protocol itself: greeting, TLS, password. No driver has a part in it or ever holds the password; a
//! cancel request needs no more than this.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
//!
//! Every step waits for the server's word. The settings, which are the next command, could be sent behind the login
//! and save a flight. They are not, since nothing tells beforehand that it is safe: only the server knows whether it wants
//! more than the scramble, because its cache of `caching_sha2_password` is cold or the user has another plugin than the
//! greeting names. Then it takes the command for the rest of the login, and refuses it (1156, measured on MySQL 9.7; no
//! wrong password, so no account is locked). But errors of the protocol are those that count towards
//! `max_connect_errors`, all environments of a subnet share one address, and after a restart they come at once: the server
//! could block that address (1129) until somebody lets it go.
//! <https://dev.mysql.com/doc/refman/8.4/en/performance-schema-host-cache-table.html>
//!
//! After the login commands go out together where the greeting does not speak against it
//! ([`Welcome::pipelines`](crate::greeting::Welcome::pipelines)):
//! - Aurora MySQL 2 hangs on a command that comes before the last one is answered. Two drivers have met it:
//!   <https://mysqlconnector.net/troubleshooting/aurora-freeze/>, CONJ-386 in
//!   <https://mariadb.com/docs/release-notes/connectors/java/mariadb-connector-j-15-release-notes/mariadb-connector-j-155-release-notes>.
//!   It greets as 5.7.
//! - ProxySQL ends the session: <https://github.com/sysown/proxysql/issues/1463>,
//!   <https://github.com/sysown/proxysql/issues/5081>.
//! - Who is told apart by neither has `DB_PIPELINE=off`.

use std::io;

use lambda_rds_core::backend::Phases;
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::connect::tls::{NOT_OFFERED, TlsClient};
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::credentials::{ExposeSecret as _, Login};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::capability::{self, Capabilities};
use crate::classify;
use crate::greeting::{Greeting, UTF8MB4, Welcome};
use crate::packet::{self, Channel, Refusal, Rest};

/// A connection that has been greeted and, where it is wanted, encrypted; the login comes next.
#[derive(Debug)]
pub(crate) struct Greeted {
    channel: Channel,
    welcome: Welcome,
    /// What both sides can.
    spoken: Capabilities,
    trust: Trust,
}

/// What may be sent over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It is the server that was meant: anything.
    Verified,
    /// Nobody but the other side reads it, whoever that is.
    Encrypted,
    /// Anybody may read it.
    Plain,
}

/// A connection that is logged in, and speaks commands.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    channel: Channel,
    welcome: Welcome,
    spoken: Capabilities,
}

/// Who logs in, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    /// Where, for the messages.
    pub(crate) server: &'a str,
    pub(crate) login: &'a Login,
    pub(crate) database: Option<&'a str>,
    /// What the server shows the session as, in `performance_schema.session_connect_attrs`.
    pub(crate) application_name: &'a str,
}

impl Greeted {
    /// Reads the greeting, and ends TLS on this side of the driver.
    ///
    /// # Errors
    /// The server's refusal, classified, or that it did not greet, or does not offer the TLS that we want.
    pub(crate) async fn open(wire: Wire, tls: &TlsClient, progress: &Phases, by: Deadline) -> Result<Self> {
        let phase = if tls.mode() == TlsMode::Disable { Phase::Auth } else { Phase::Tls };
        progress.enter(phase);
        let mut channel = Channel::new(wire, 0);
        let content = match by.bound(channel.read()).await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => return Err(no_greeting(phase)),
            Ok(Err(error)) => {
                return Err(hung_up(phase, format!("the server hung up instead of greeting: {error}")));
            }
            Err(_) => return Err(failure(phase, "the server accepted the connection but did not greet")),
        };
        let welcome = match Greeting::parse(&content).ok_or_else(|| no_greeting(phase))? {
            Greeting::Welcome(welcome) => welcome,
            Greeting::Refusal(Refusal { number, message, .. }) => {
                let fault = classify::of_connection(number);
                let text = format!("the server refused the connection: {message}.{}", classify::hint(number));
                // What it refuses is the login, before it was begun.
                return Err(Error::new(fault, text)
                    .with_sqlstate(number.to_string())
                    .with_phase(Phase::Auth));
            }
        };
        let spoken = capability::WANTED & welcome.capabilities;
        if spoken & capability::NEEDED != capability::NEEDED {
            return Err(failure(phase, "the server is too old: it knows no authentication plugins"));
        }
        let number = channel.next();
        let mut wire = channel.into_inner();
        if tls.mode() == TlsMode::Disable {
            let channel = Channel::new(wire, number);
            return Ok(Self { channel, welcome, spoken: spoken & !capability::SSL, trust: Trust::Plain });
        }
        if spoken & capability::SSL == 0 {
            return Err(failure(
                Phase::Tls,
                "the server does not offer TLS. Turn it on there (`ssl_cert`, `ssl_key`), or set DB_TLS=disable \
                 where the network is trusted",
            )
            .with_hint(NOT_OFFERED));
        }
        wire.output().extend_from_slice(&packet::frame(number, &client_hello(spoken)));
        let wire = wire.encrypt(tls, by).await?;
        if let Some(agreed) = wire.agreed() {
            progress.note(agreed);
        }
        let trust = match tls.mode() {
            TlsMode::VerifyFull | TlsMode::VerifyCa => Trust::Verified,
            TlsMode::Require | TlsMode::Disable => Trust::Encrypted,
        };
        Ok(Self { channel: Channel::new(wire, number.wrapping_add(1)), welcome, spoken, trust })
    }

    /// Logs in. One flight where the server knows the scramble, else one more for each thing that it asks.
    ///
    /// # Errors
    /// The server's refusal, classified, and all that can go wrong on the way to it.
    pub(crate) async fn log_in(mut self, who: Who<'_>, progress: &Phases, by: Deadline) -> Result<LoggedIn> {
        progress.enter(Phase::Auth);
        let server = who.server;
        let outcome = by.bound(authenticate(&mut self.channel, &self.welcome, self.spoken, self.trust, who));
        match outcome.await {
            Ok(Ok(())) => {}
            Ok(Err(stop)) => return Err(stop.explain(who)),
            Err(_) => {
                let text = format!("{server} greeted but did not answer the login in time");
                return Err(failure(Phase::Auth, text));
            }
        }
        Ok(LoggedIn { channel: self.channel, welcome: self.welcome, spoken: self.spoken })
    }
}

impl LoggedIn {
    /// Runs a statement that gives no rows, in one flight.
    ///
    /// # Errors
    /// That the connection broke, or the server's refusal.
    pub(crate) async fn run(&mut self, sql: &str) -> io::Result<Result<(), Refusal>> {
        let mut command = vec![COM_QUERY];
        command.extend_from_slice(sql.as_bytes());
        self.channel.command(&command);
        let answer = self.channel.read().await?;
        match Refusal::parse(&answer) {
            Some(refusal) => Ok(Err(refusal)),
            None if answer.first() == Some(&packet::OK) => Ok(Ok(())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The thread that serves this connection.
    pub(crate) fn thread(&self) -> u32 {
        self.welcome.thread
    }

    /// The connection, on which a command may come next, who greeted, and what both sides can.
    pub(crate) fn into_parts(self) -> (Wire, Welcome, Capabilities) {
        let mut wire = self.channel.into_inner();
        wire.uncork();
        (wire, self.welcome, self.spoken)
    }
}

/// Says who we are, and answers until the server has decided.
async fn authenticate(
    channel: &mut Channel,
    welcome: &Welcome,
    spoken: Capabilities,
    trust: Trust,
    who: Who<'_>,
) -> Result<(), Stop> {
    let password = who.login.password.expose_secret().as_bytes();
    // What the server does not expect of this user it asks for anew, by name.
    let mut plugin = Plugin::named(&welcome.plugin).filter(|plugin| plugin.hides()).unwrap_or(Plugin::Native);
    let first = plugin.answer(password, &welcome.nonce, trust)?;
    channel.write(&introduction(spoken, who, plugin, &first));
    for _ in 0..MOST_QUESTIONS {
        let content = channel.read().await?;
        match content.split_first() {
            Some((&packet::OK, _)) => return Ok(()),
            Some((&AUTH_SWITCH, asked)) => {
                let mut asked = Rest(asked);
                // Without a name it is the plugin of servers before 4.1.
                let name = if asked.0.is_empty() { &b"mysql_old_password"[..] } else { asked.last_text() };
                let name = String::from_utf8_lossy(name);
                plugin = Plugin::named(&name).ok_or_else(|| Stop::Plugin(name.into_owned()))?;
                let nonce = asked.0.strip_suffix(b"\0").unwrap_or(asked.0);
                channel.write(&plugin.answer(password, nonce, trust)?);
            }
            Some((&AUTH_MORE, [FAST_AUTH_SUCCESS])) if plugin == Plugin::CachingSha2 => {}
            // Its cache of this user is empty: after a restart, or when somebody's rights have changed.
            Some((&AUTH_MORE, [FULL_AUTHENTICATION])) if plugin == Plugin::CachingSha2 => {
                channel.write(&in_the_clear(password, trust)?);
            }
            _ => match Refusal::parse(&content) {
                Some(refusal) => return Err(Stop::Refused(refusal)),
                None => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
            },
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData).into())
}

/// How a user proves to be the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    CachingSha2,
    Sha256,
    Clear,
}

impl Plugin {
    fn named(name: &str) -> Option<Self> {
        match name {
            "mysql_native_password" => Some(Self::Native),
            "caching_sha2_password" => Some(Self::CachingSha2),
            "sha256_password" => Some(Self::Sha256),
            "mysql_clear_password" => Some(Self::Clear),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Clear => "mysql_clear_password",
        }
    }

    /// Whether its first answer keeps the password to itself. The others wait until they are asked for.
    fn hides(self) -> bool {
        matches!(self, Self::Native | Self::CachingSha2)
    }

    /// What it answers to the server's nonce.
    fn answer(self, password: &[u8], nonce: &[u8], trust: Trust) -> Result<Vec<u8>, Stop> {
        match self {
            // No password is nothing, which the server would not find in a scramble of it.
            Self::Native | Self::CachingSha2 if password.is_empty() => Ok(Vec::new()),
            Self::Native => Ok(scramble_native(password, nonce)),
            Self::CachingSha2 => Ok(scramble_caching_sha2(password, nonce)),
            Self::Sha256 => in_the_clear(password, trust),
            // Who asks for it gets a token or a password that is good elsewhere, too.
            Self::Clear if trust != Trust::Verified => Err(Stop::Unverified),
            Self::Clear => in_the_clear(password, trust),
        }
    }
}

/// The password itself, with a zero at its end.
fn in_the_clear(password: &[u8], trust: Trust) -> Result<Vec<u8>, Stop> {
    match trust {
        Trust::Verified | Trust::Encrypted => Ok([password, b"\0"].concat()),
        Trust::Plain => Err(Stop::InTheClear),
    }
}

/// `SHA1(password) ^ SHA1(nonce + SHA1(SHA1(password)))`
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>
fn scramble_native(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha1::digest(password);
    let mut mask = Sha1::new();
    mask.update(nonce);
    mask.update(Sha1::digest(once));
    xor(&once, &mask.finalize())
}

/// `SHA256(password) ^ SHA256(SHA256(SHA256(password)) + nonce)`
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>
fn scramble_caching_sha2(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Sha256::digest(password);
    let mut mask = Sha256::new();
    mask.update(Sha256::digest(once));
    mask.update(nonce);
    xor(&once, &mask.finalize())
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// What a request for TLS and the introduction begin with.
fn client_hello(spoken: Capabilities) -> Vec<u8> {
    let mut content = spoken.to_le_bytes().to_vec();
    content.extend_from_slice(&LONGEST_PACKET.to_le_bytes());
    content.push(UTF8MB4);
    content.extend_from_slice(&[0; 23]);
    content
}

/// The answer to the greeting.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html>
fn introduction(spoken: Capabilities, who: Who<'_>, plugin: Plugin, answer: &[u8]) -> Vec<u8> {
    let mut content = client_hello(spoken);
    content.extend_from_slice(who.login.user.as_bytes());
    content.push(0);
    // A scramble is short enough to be counted the same way in either form.
    packet::put_counted(&mut content, answer);
    // The request for TLS has promised a database; an empty name is none.
    if spoken & capability::CONNECT_WITH_DB != 0 {
        content.extend_from_slice(who.database.unwrap_or_default().as_bytes());
        content.push(0);
    }
    content.extend_from_slice(plugin.name().as_bytes());
    content.push(0);
    if spoken & capability::CONNECT_ATTRS != 0 {
        let mut attributes = Vec::new();
        for text in ["_client_name", "lambda-rds", "program_name", who.application_name] {
            packet::put_counted(&mut attributes, text.as_bytes());
        }
        packet::put_counted(&mut content, &attributes);
    }
    content
}

/// Why a login came to nothing.
#[derive(Debug)]
enum Stop {
    /// The connection broke, or what came makes no sense.
    Wire(io::Error),
    /// The server said no.
    Refused(Refusal),
    /// The server wants a plugin that we do not have.
    Plugin(String),
    /// The password is asked for where anybody could read it.
    InTheClear,
    /// A token is asked for by somebody who may not be the server.
    Unverified,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Wire(error)
    }
}

impl Stop {
    fn explain(self, who: Who<'_>) -> Error {
        let Who { server, login: Login { user, .. }, .. } = who;
        match self {
            Self::Wire(error) if error.kind() == io::ErrorKind::InvalidData => {
                failure(Phase::Auth, format!("{server} answers the login with what is none of MySQL's words"))
            }
            Self::Wire(error) => hung_up(Phase::Auth, format!("{server} hung up during the login: {error}")),
            Self::Refused(Refusal { number, message, .. }) => {
                let to = who.database.map(|name| format!(" to database `{name}`")).unwrap_or_default();
                let hint = classify::hint(number);
                let text = format!("{server} refused the login of user `{user}`{to}: {message}.{hint}");
                Error::new(classify::of_connection(number), text)
                    .with_sqlstate(number.to_string())
                    .with_phase(Phase::Auth)
            }
            Self::Plugin(name) => failure(
                Phase::Auth,
                format!(
                    "{server} wants user `{user}` to log in by the plugin `{name}`, which is not in this program. \
                     Known are caching_sha2_password, mysql_native_password, sha256_password and, for IAM, \
                     mysql_clear_password: give the user one of them (`ALTER USER … IDENTIFIED {example}`)",
                    // The words differ, and ed25519 and its like are MariaDB's.
                    example = if is_mariadbs(&name) {
                        "VIA mysql_native_password USING PASSWORD(…)"
                    } else {
                        "WITH caching_sha2_password BY …"
                    }
                ),
            ),
            Self::InTheClear => failure(
                Phase::Auth,
                format!(
                    "{server} wants the password of `{user}` itself (full authentication of \
                     caching_sha2_password or sha256_password), which is only sent over TLS: remove \
                     DB_TLS=disable, or give the user another authentication plugin"
                ),
            ),
            Self::Unverified => failure(
                Phase::Auth,
                format!(
                    "{server} wants the token or password of `{user}` as it is (mysql_clear_password), which is \
                     only sent to a server that is verified: set DB_TLS to verify-full or verify-ca"
                ),
            ),
        }
    }
}

fn is_mariadbs(plugin: &str) -> bool {
    matches!(plugin, "client_ed25519" | "parsec" | "auth_gssapi_client" | "dialog")
}

fn no_greeting(phase: Phase) -> Error {
    failure(phase, "the server's first bytes are no greeting: is it MySQL or MariaDB?")
}

fn failure(phase: Phase, detail: impl Into<String>) -> Error {
    Error::new(Fault::Unreachable, detail).with_phase(phase)
}

/// Not a word of why: another try may fare better.
fn hung_up(phase: Phase, detail: String) -> Error {
    Error::new(Fault::ConnectionLost, detail).with_phase(phase)
}

const COM_QUERY: u8 = 3;
const AUTH_MORE: u8 = 1;
const AUTH_SWITCH: u8 = 0xfe;
const FAST_AUTH_SUCCESS: u8 = 3;
const FULL_AUTHENTICATION: u8 = 4;
/// What we tell the server about the packets that we take: the most there is.
const LONGEST_PACKET: u32 = 1 << 24;
/// A user has one plugin, on MariaDB a few in turn, and the longest exchange with one is two questions.
const MOST_QUESTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const NONCE: &[u8] = b"12345678abcdefghijkl";

    /// What a server's side of a login does.
    #[derive(Debug, Clone)]
    enum Step {
        Says(Vec<u8>),
        Hears(Vec<u8>),
        /// The introduction, of which this is the plugin and its answer.
        Meets(&'static str, Vec<u8>),
    }
    use Step::{Hears, Meets, Says};

    /// Logs in at a server that says and wants exactly this.
    async fn log_in(plugin: &str, trust: Trust, password: &str, steps: &[Step]) -> Result<(), Stop> {
        let (ours, theirs) = pair().await;
        let welcome = Welcome {
            version: b"9.7.4".to_vec(),
            thread: 7,
            capabilities: u32::MAX,
            nonce: NONCE.to_vec(),
            plugin: plugin.to_owned(),
        };
        let login = Login { user: "app".to_owned(), password: password.to_owned().into() };
        let who = Who { server: "db:3306", login: &login, database: None, application_name: "f:1" };
        let mut channel = Channel::new(Wire::plain(ours), 1);
        let server = act(Channel::new(Wire::plain(theirs), 1), steps);
        let (outcome, ()) =
            tokio::join!(authenticate(&mut channel, &welcome, capability::WANTED, trust, who), server);
        outcome
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    async fn act(mut channel: Channel, steps: &[Step]) {
        for step in steps {
            match step {
                Says(content) => channel.write(content),
                Hears(content) => assert_eq!(channel.read().await.unwrap(), *content),
                Meets(plugin, answer) => {
                    let introduction = channel.read().await.unwrap();
                    let mut rest = Rest(&introduction);
                    rest.take(32).unwrap();
                    assert_eq!(rest.text(), Some(&b"app"[..]));
                    let [length] = rest.array().unwrap();
                    assert_eq!(rest.take(length.into()), Some(answer.as_slice()));
                    assert_eq!(rest.text(), Some(&b""[..]), "no database");
                    assert_eq!(rest.text(), Some(plugin.as_bytes()));
                }
            }
        }
        let _ = channel.into_inner().send().await;
    }

    fn ok() -> Step {
        Says(vec![packet::OK, 0, 0, 2, 0, 0, 0])
    }

    fn switch(plugin: &str) -> Step {
        Says([&[AUTH_SWITCH], plugin.as_bytes(), b"\0lkjihgfedcba87654321\0"].concat())
    }

    fn native() -> Step {
        Meets("mysql_native_password", scramble_native(b"secret", NONCE))
    }

    fn sha2() -> Step {
        Meets("caching_sha2_password", scramble_caching_sha2(b"secret", NONCE))
    }

    const OTHER_NONCE: &[u8] = b"lkjihgfedcba87654321";

    #[tokio::test]
    async fn each_plugin_has_its_way() {
        let clear = || Hears(b"secret\0".to_vec());
        let fast = Says(vec![AUTH_MORE, FAST_AUTH_SUCCESS]);
        let full = Says(vec![AUTH_MORE, FULL_AUTHENTICATION]);
        for (plugin, trust, steps) in [
            ("mysql_native_password", Trust::Plain, vec![native(), ok()]),
            ("caching_sha2_password", Trust::Plain, vec![sha2(), fast.clone(), ok()]),
            ("caching_sha2_password", Trust::Verified, vec![sha2(), full.clone(), clear(), ok()]),
            ("caching_sha2_password", Trust::Encrypted, vec![sha2(), full.clone(), clear(), ok()]),
            // The user has another than most have.
            (
                "caching_sha2_password",
                Trust::Plain,
                vec![
                    sha2(),
                    switch("mysql_native_password"),
                    Hears(scramble_native(b"secret", OTHER_NONCE)),
                    ok(),
                ],
            ),
            (
                "mysql_native_password",
                Trust::Verified,
                vec![
                    native(),
                    switch("caching_sha2_password"),
                    Hears(scramble_caching_sha2(b"secret", OTHER_NONCE)),
                    full.clone(),
                    clear(),
                    ok(),
                ],
            ),
            (
                "caching_sha2_password",
                Trust::Encrypted,
                vec![sha2(), switch("sha256_password"), clear(), ok()],
            ),
            (
                "mysql_native_password",
                Trust::Verified,
                vec![native(), switch("mysql_clear_password"), clear(), ok()],
            ),
            // What nobody has, or what would tell the password at once, is not begun with.
            ("sha256_password", Trust::Verified, vec![native(), switch("sha256_password"), clear(), ok()]),
            ("client_ed25519", Trust::Plain, vec![native(), ok()]),
        ] {
            log_in(plugin, trust, "secret", &steps)
                .await
                .unwrap_or_else(|stop| panic!("{steps:?}: {stop:?}"));
        }
    }

    #[tokio::test]
    async fn no_password_is_no_scramble() {
        for plugin in ["mysql_native_password", "caching_sha2_password"] {
            log_in(plugin, Trust::Plain, "", &[Meets(plugin, Vec::new()), ok()]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_password_itself_goes_only_where_it_may() {
        let full = Says(vec![AUTH_MORE, FULL_AUTHENTICATION]);
        for (trust, steps, words) in [
            (Trust::Plain, vec![sha2(), full], "only sent over TLS"),
            (Trust::Plain, vec![sha2(), switch("sha256_password")], "only sent over TLS"),
            (Trust::Plain, vec![sha2(), switch("mysql_clear_password")], "a server that is verified"),
            (Trust::Encrypted, vec![sha2(), switch("mysql_clear_password")], "a server that is verified"),
        ] {
            let stop = log_in("caching_sha2_password", trust, "secret", &steps).await.unwrap_err();
            check(stop, words);
        }
    }

    #[tokio::test]
    async fn a_plugin_that_we_lack_is_named_with_what_to_do() {
        for (plugin, example) in [
            ("client_ed25519", "VIA mysql_native_password"),
            ("parsec", "VIA mysql_native_password"),
            ("authentication_kerberos_client", "WITH caching_sha2_password"),
        ] {
            let steps = [sha2(), switch(plugin)];
            let stop = log_in("caching_sha2_password", Trust::Verified, "secret", &steps).await.unwrap_err();
            let detail = check(stop, example);
            assert!(detail.contains(&format!("by the plugin `{plugin}`")), "{detail}");
        }
        let steps = [sha2(), Says(vec![AUTH_SWITCH])];
        let stop = log_in("caching_sha2_password", Trust::Verified, "secret", &steps).await.unwrap_err();
        check(stop, "mysql_old_password");
    }

    #[tokio::test]
    async fn a_server_that_never_has_enough_is_left() {
        let mut steps = vec![sha2()];
        for _ in 0..MOST_QUESTIONS {
            steps.push(switch("mysql_native_password"));
            steps.push(Hears(scramble_native(b"secret", OTHER_NONCE)));
        }
        // With the last question it has been enough: nothing is said any more.
        steps.pop();
        let stop = log_in("caching_sha2_password", Trust::Verified, "secret", &steps).await.unwrap_err();
        check(stop, "none of MySQL's words");
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_number() {
        let refusal = Says(b"\xff\x15\x04#28000Access denied for user 'app'@'%'".to_vec());
        let stop = log_in("caching_sha2_password", Trust::Plain, "secret", &[sha2(), refusal]).await;
        let login = Login { user: "app".to_owned(), password: "secret".to_owned().into() };
        let who = Who { server: "db:3306", login: &login, database: Some("shop"), application_name: "f:1" };
        let error = stop.unwrap_err().explain(who);
        assert_eq!((error.fault(), error.sqlstate()), (Fault::CredentialsRejected, Some("1045")));
        assert!(error.detail().contains("database `shop`: Access denied"), "{error}");
    }

    /// What the log is told has these words, and nothing of the password.
    fn check(stop: Stop, words: &str) -> String {
        let login = Login { user: "app".to_owned(), password: "secret".to_owned().into() };
        let who = Who { server: "db:3306", login: &login, database: None, application_name: "f:1" };
        let debug = format!("{stop:?}");
        let error = stop.explain(who);
        assert_eq!(error.phase(), Some(Phase::Auth));
        let detail = error.detail().to_owned();
        assert!(detail.contains(words), "{detail}");
        assert!(!debug.contains("secret") && !detail.contains("secret"), "{debug} {detail}");
        detail
    }

    #[test]
    fn scrambles_are_those_of_the_servers() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // What the servers themselves take is shown by the integration tests; these keep the two apart.
        assert_eq!(scramble_native(b"secret", NONCE).len(), 20);
        assert_eq!(scramble_caching_sha2(b"secret", NONCE).len(), 32);
        // SHA1(password) comes back by the mask that the server can compute from the stored SHA1(SHA1(password)).
        let stored = Sha1::digest(Sha1::digest(b"secret"));
        let mask = Sha1::digest([NONCE, &stored[..]].concat());
        let once = xor(&scramble_native(b"secret", NONCE), &mask);
        assert_eq!(hex(Sha1::digest(once).to_vec()), hex(stored.to_vec()));
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_ends_the_login_without_a_panic(
            said in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    Just(vec![AUTH_MORE, FULL_AUTHENTICATION]),
                    Just(vec![AUTH_MORE, FAST_AUTH_SUCCESS]),
                    Just(b"\xfemysql_native_password\0".to_vec()),
                    Just(b"\xfecaching_sha2_password".to_vec()),
                ],
                0..20,
            ),
            noise in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (ours, mut theirs) = pair().await;
                let mut bytes = Vec::new();
                let mut number = 2_u8;
                for content in &said {
                    bytes.extend(packet::frame(number, content));
                    // The answer has a number, too.
                    number = number.wrapping_add(2);
                }
                bytes.extend_from_slice(&noise);
                theirs.write_all(&bytes).await.unwrap();
                theirs.shutdown().await.unwrap();
                let welcome = Welcome {
                    version: Vec::new(),
                    thread: 0,
                    capabilities: u32::MAX,
                    nonce: noise.clone(),
                    plugin: "caching_sha2_password".to_owned(),
                };
                let login = Login { user: "app".to_owned(), password: "secret".to_owned().into() };
                let who = Who { server: "db", login: &login, database: Some("shop"), application_name: "f" };
                let mut channel = Channel::new(Wire::plain(ours), 1);
                let outcome =
                    authenticate(&mut channel, &welcome, capability::WANTED, Trust::Plain, who).await;
                if let Err(stop) = outcome {
                    assert!(!stop.explain(who).to_string().contains("secret"));
                }
            });
        }
    }
}
