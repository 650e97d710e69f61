//! The seam between the pipeline and the engines: two small traits, the topology's, and what crosses them.
//!
//! A [`Backend`] says how to speak to a kind of server, a [`Session`] is one live connection, a [`Topology`]
//! says where to connect. Engines say what is so; deadlines, retries, credentials, limits and wording live in
//! core, once. The traits are object safe: the engine is chosen by configuration, and one boxed future per
//! statement is nothing beside a round trip.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;

use crate::answers::Answers;
use crate::config::Engine;
use crate::connect::tls::TlsClient;
use crate::credentials::{Login, Relogin};
use crate::deadline::Deadline;
use crate::describe::Described;
use crate::error::{Fault, Phase, Result};
use crate::queries::Dialect;
use crate::value::Argument;

#[cfg(feature = "sea-orm")]
mod orm;

#[cfg(feature = "sea-orm")]
pub use orm::{Alone, Failure, Item, Orm, Sql};

/// How to speak to one kind of server. A stateless value per engine.
pub trait Backend: Debug + Send + Sync {
    /// Which engine this is.
    fn engine(&self) -> Engine;

    /// The dialect of its SQL: how strings, comments and placeholders are written.
    fn dialect(&self) -> Dialect;

    /// What kind of failure an error of sea-orm's driver is. A table; no policy.
    #[cfg(feature = "sea-orm")]
    fn classify(&self, _error: &sea_orm::DbErr) -> Fault {
        Fault::QueryFailed
    }

    /// Tells what its sessions will be asked for, before the first is opened: where a statement must be prepared before it
    /// can run, that may be done in a flight of the login. The most likely come first, and not all need be heeded.
    fn expect(&self, _statements: &mut dyn Iterator<Item = Arc<str>>) {}

    /// Opens one session: dials, encrypts, logs in, and makes it read-only by default where the server can.
    ///
    /// # Errors
    /// Whatever the dialer or the server said, classified and with its phase. On an error nothing is left
    /// open, and no statement was sent.
    ///
    /// # Cancel safety
    /// A dropped future closes what it had opened.
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>>;
}

/// One live connection, owned by one invocation at a time.
///
/// Whether a session is good for anything after a method has failed, [`Session::state`] tells.
pub trait Session: Send + Debug {
    /// Runs statements in the frame that is said, one after the other, and writes their rows: sent together, where the
    /// server takes that. Of a transaction nothing is committed, whatever happens, but in [`Frame::Commit`].
    ///
    /// In a frame that begins a transaction or is in one, what follows a statement that fails leaves nothing behind; the
    /// transaction is then for [`Session::rollback`], as [`Session::state`] tells. A failure of ours, of the reply's limit
    /// for example, is kept by `answers`, and the call succeeds all the same if the server has done its part. What a server
    /// goes on to send is read to its end, up to a limit; beyond that the session is [`State::Closed`].
    ///
    /// # Errors
    /// The server's error, classified, of the step that [`Answers::step`] then tells; or the failure of ours, where the
    /// answer could not be read to its end.
    ///
    /// # Cancel safety
    /// A dropped future leaves statements running on the server and the session closed: take a
    /// [`Session::cancel_handle`] first.
    fn run<'a>(
        &'a mut self,
        frame: Frame,
        statements: &'a [&'a Statement],
        answers: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Asks the server something in one statement without values, of which nothing is kept: its rows as text. One round
    /// trip, for questions about the server itself.
    ///
    /// # Errors
    /// The server's error, classified.
    fn ask<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>>;

    /// Announces the statements of the transaction that is about to begin: what they may do, and how long the shortest of
    /// them may take.
    ///
    /// Tells of each whether a rollback undoes what it does, and learns what must be known for that, because to ask inside
    /// the transaction would end it. Costs nothing where there is nothing to learn, or once it is known.
    ///
    /// # Errors
    /// The server's error, classified. Nothing was run.
    fn announce<'a>(
        &'a mut self,
        statements: &'a [&'a Statement],
        access: Access,
        shortest: Duration,
    ) -> BoxFuture<'a, Result<Vec<Effect>>>;

    /// Whether a rollback undoes what this statement does, which does not commit by itself and is about to run in a
    /// transaction that has begun: [`Session::announce`] for what comes one by one. Costs a round trip or two where
    /// that is not known yet, and nothing where there is nothing to know.
    ///
    /// # Errors
    /// The server's error, classified; the transaction goes on if the session is usable.
    fn effect<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Effect>>;

    /// Whether running this statement makes the pooler in between keep its connection to the server for this
    /// session alone ("pinning"), so that others cannot share it any more.
    fn pins(&self, statement: &Statement) -> bool;

    /// Asks the server what a statement takes and what it gives, without running it; the values of its arguments do
    /// not matter. For tools, not for calls: it may take several round trips.
    ///
    /// # Errors
    /// If the connection is gone. A statement that the server refuses is no error but an answer.
    fn describe<'a>(&'a mut self, statement: &'a Statement) -> BoxFuture<'a, Result<Described>>;

    /// Begins a transaction that may write, or one that may not. One round trip.
    ///
    /// # Errors
    /// The server's error, classified. Nothing was written.
    fn begin(&mut self, access: Access) -> BoxFuture<'_, Result<()>>;

    /// Commits it. The session is read-only again. One round trip.
    ///
    /// # Errors
    /// An answer of the server proves the transaction undone; a lost connection proves nothing.
    fn commit(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Undoes it. The session is read-only again.
    ///
    /// # Errors
    /// If the connection is gone; then the server undoes the transaction by itself. [`Fault::OutcomeUnknown`], if
    /// the server says that something in it could not be undone; the session can go on.
    fn rollback(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Allows writes outside a transaction, or forbids them again. One round trip.
    ///
    /// # Errors
    /// The server's error, classified.
    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>>;

    /// Asks the server for a sign of life. One round trip.
    ///
    /// # Errors
    /// If there is none.
    fn ping(&mut self) -> BoxFuture<'_, Result<()>>;

    /// What the server itself has said last of the session's state, and whether the connection is still there, without a
    /// round trip.
    fn state(&self) -> State;

    /// The same as far as it has been heard: whether the connection is still there, the system is not asked.
    fn heard(&self) -> State {
        self.state()
    }

    /// A handle that stops what this session runs, from outside; the session itself is busy while it is
    /// needed. `None` where the engine has no such thing.
    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>>;

    /// How often the client has spoken after it had heard something, since the connection was made: its round trips. `None`
    /// where nobody counts.
    fn flights(&self) -> Option<u64>;

    /// The same session as sea-orm's driver takes it; `None` if it does not come to this one.
    #[cfg(feature = "sea-orm")]
    fn orm(&mut self) -> Option<&mut dyn Orm> {
        None
    }

    /// Says goodbye to the server and closes.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What stands around the statements of one [`Session::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// One read by itself. The server holds it to reading, and nothing of it is open afterwards.
    Read,
    /// They begin a transaction, which stays open.
    Begin(Access),
    /// As [`Begin`](Self::Begin) with writing, and the first so many statements guard the rest: where one of them fails,
    /// nothing of what follows is run, and what was begun has ended as well where the server can have it so in the same
    /// flight ([`Session::state`] tells). The last of them changes one row, or fails. The transaction is theirs as well.
    Guarded(usize),
    /// They belong to the transaction that is open.
    Within,
    /// They belong to the transaction that is open and are its last: it is committed behind them, in the same flight where
    /// the server can be told to do that only if the last of them has changed its one row, in this very transaction, or where
    /// that fails by itself if it has not. So a failure that is told proves that nothing was committed, and a lost connection
    /// proves nothing.
    Commit,
    /// One statement that commits by itself, on a session that may write for as long as it runs.
    Alone,
}

/// What a session is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Anything: the server says that no transaction is open, and has answered all that it was asked.
    Idle,
    /// A transaction is open on it, says the server.
    InTransaction,
    /// A transaction is open on it in which a statement has failed, says the server: it can only be undone.
    Failed,
    /// Closing. The connection is gone, an answer was not read to its end, or the session is not what it was any more
    /// (something has changed its settings).
    Closed,
}

/// Stops the statement that a session runs.
pub trait CancelHandle: Send + Sync + Debug {
    /// Asks the server to stop. The statement may have ended a moment earlier, which is no error.
    ///
    /// # Errors
    /// If the server could not be asked in time.
    fn cancel(&self, by: Deadline) -> BoxFuture<'_, Result<()>>;

    /// Asks the server to end the session, whose connection is lost, and with it its transaction: one that waits for its
    /// next statement is stopped by no cancel. Where a server has limits for that, a cancel is enough.
    ///
    /// # Errors
    /// If the server could not be asked in time.
    fn end(&self, by: Deadline) -> BoxFuture<'_, Result<()>> {
        self.cancel(by)
    }
}

/// Where the writer and the readers are: what opens the sessions of an environment.
pub trait Topology: Debug + Send + Sync {
    /// On which kind of server this is done. Sessions on the two are kept apart.
    fn role(&self, want: Access) -> Role;

    /// Opens a session on a server that will do for this. Whether it does is found out before anybody's statement
    /// is sent.
    ///
    /// # Errors
    /// Why there is none by then. What can pass is waited for only where that means to ask again where the server
    /// is; all else is for the caller to try again.
    ///
    /// # Cancel safety
    /// A dropped future closes what it had opened.
    fn open<'a>(
        &'a self,
        servers: &'a dyn Connect,
        want: Access,
        by: Deadline,
    ) -> BoxFuture<'a, Result<Opened>>;

    /// Tells that a session on this endpoint met this fault: not the writer, or lost.
    fn blame(&self, endpoint: &Endpoint, fault: Fault);
}

/// What a topology opens sessions with: credentials, TLS and phases are seen to.
pub trait Connect: Send + Sync {
    /// The endpoint that configuration and secret name.
    fn configured(&self) -> &Endpoint;

    /// Opens a session on this endpoint, at the first try or not at all.
    ///
    /// # Errors
    /// Why it could not be opened by then, with the phase. Nothing was sent.
    ///
    /// # Cancel safety
    /// A dropped future closes what it had opened.
    fn connect(&self, endpoint: Endpoint, by: Deadline) -> BoxFuture<'_, Result<Box<dyn Session>>>;

    /// The addresses that the endpoint's name leads to now, so that a server that has several names can be told. None, if
    /// they are not known by then: connecting says why.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    fn addresses(&self, endpoint: Endpoint, by: Deadline) -> BoxFuture<'_, Vec<SocketAddr>>;

    /// When a session of this environment was last seen alive, by the wall clock.
    fn last_alive(&self) -> Option<SystemTime>;
}

/// What a topology has opened.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Box<dyn Session>,
    /// Where.
    pub endpoint: Endpoint,
    /// It is not where it should be, for want of better: it may serve reads for this long, and is then replaced.
    pub makeshift: Option<Duration>,
}

/// What a server is in its cluster. One that has no cluster is a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that takes writes.
    Writer,
    /// One that only reads.
    Reader,
}

/// What a statement does to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads only; the server enforces it.
    Read,
    /// May write.
    Write,
}

/// What becomes of what a statement in a transaction did, if that is never committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A rollback undoes it.
    Undone,
    /// It stays, or may stay: the statement may commit by itself, or write where there are no transactions.
    Stays,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A DNS name or an address; for the embedded engine, empty.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Everything that a backend needs to open one session.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// The database; for the embedded engine, the file.
    pub database: String,
    /// As whom.
    pub login: Login,
    /// As whom a second connection would log in later, beside the session.
    pub relogin: Relogin,
    /// How the connection is protected.
    pub tls: Arc<TlsClient>,
    /// What the server shows this session as.
    pub application_name: String,
    /// The longest that any one statement may run; the server enforces it too.
    pub statement_timeout: Duration,
    /// What stands between us and the server.
    pub pooling: Pooling,
    /// Whether statements may be sent before the one ahead of them is answered, where the server takes that.
    pub pipeline: bool,
    /// Whether the log may show values, which servers put into some of their messages.
    pub log_values: bool,
    /// When the session must be open.
    pub by: Deadline,
    /// Told by the engine how far it has come.
    pub progress: Phases,
}

/// What stands between us and the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Nothing: a session has a process of the server for itself, and its state stays.
    #[default]
    None,
    /// A pooler that lends a connection of the server's per transaction, as PgBouncer does: no state outlives
    /// one.
    Transaction,
    /// RDS Proxy, which does the same, takes no cancel, and stops sharing the connection of whoever sets anything.
    RdsProxy,
}

/// The phases of opening one session, as they were entered: for the log, and to name the one that took too long.
/// Clones share what they note.
#[derive(Debug, Clone, Default)]
pub struct Phases(Arc<Mutex<Vec<Entered>>>);

/// A phase that was entered.
#[derive(Debug)]
struct Entered {
    phase: Phase,
    at: Instant,
    note: Option<String>,
}

impl Phases {
    /// A phase begins, and with it the one before has ended.
    pub fn enter(&self, phase: Phase) {
        self.noted().push(Entered { phase, at: Instant::now(), note: None });
    }

    /// What the current phase has found out, for diagnose: an address, a cipher. Never a secret.
    pub fn note(&self, text: impl Into<String>) {
        if let Some(current) = self.noted().last_mut() {
            current.note = Some(text.into());
        }
    }

    /// What a phase has found out.
    #[must_use]
    pub fn found(&self, phase: Phase) -> Option<String> {
        self.noted().iter().rev().find(|entered| entered.phase == phase)?.note.clone()
    }

    /// The phase that was entered last.
    #[must_use]
    pub fn current(&self) -> Option<Phase> {
        self.noted().last().map(|entered| entered.phase)
    }

    /// How long each phase took, the last one until now.
    #[must_use]
    pub fn durations(&self) -> Vec<(Phase, Duration)> {
        let noted = self.noted();
        let ends = noted.iter().skip(1).map(|entered| entered.at).chain([Instant::now()]);
        noted.iter().zip(ends).map(|(entered, end)| (entered.phase, end.duration_since(entered.at))).collect()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Entered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One statement with its parameters, ready to be sent.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The SQL, with the dialect's placeholders.
    pub sql: Arc<str>,
    /// The parameters, in placeholder order.
    pub arguments: Vec<Argument>,
}

/// What a statement did, beside the rows it gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows written, or read by a query.
    pub rows_affected: u64,
    /// The id that the engine generated last, where it has such a thing. Wider than any engine's, of which one has
    /// negative ids and another those above [`i64::MAX`].
    pub last_insert_id: Option<i128>,
}

/// One server: the endpoint that configuration and secret name, whatever happens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

impl Topology for Fixed {
    fn role(&self, _want: Access) -> Role {
        Role::Writer
    }

    fn open<'a>(
        &'a self,
        servers: &'a dyn Connect,
        _want: Access,
        by: Deadline,
    ) -> BoxFuture<'a, Result<Opened>> {
        Box::pin(async move {
            let endpoint = servers.configured().clone();
            let session = servers.connect(endpoint.clone(), by).await?;
            Ok(Opened { session, endpoint, makeshift: None })
        })
    }

    fn blame(&self, _endpoint: &Endpoint, _fault: Fault) {}
}
