//! The sessions of one environment: opened, lent to one call at a time, checked, replaced.
//!
//! No pool policy, no background task: what a frozen process cannot do while it is frozen is not planned. A
//! session is looked at when it is lent, which is the only moment that matters.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::{BoxFuture, join, join_all};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backend::{
    Access, Backend, CancelHandle, Connect, Endpoint, Opened, Phases, Pooling, Role, Session, State, Target,
    Topology,
};
use crate::config;
use crate::connect::dial;
use crate::connect::places::Places;
use crate::connect::tls::TlsClient;
use crate::credentials::{Credentials, Login, Relogin, Resolved};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};
use crate::retry;

/// What an environment connects to, and how.
pub struct Sessions {
    backend: Arc<dyn Backend>,
    topology: Arc<dyn Topology>,
    credentials: Arc<Credentials>,
    settings: Settings,
    /// How connections to each host are protected, those used last at the end.
    tls: Mutex<Vec<(String, Arc<TlsClient>)>>,
    parked: Mutex<Vec<Parked>>,
    /// When one was last parked.
    alive: Mutex<Option<SystemTime>>,
    /// How to stop what the lent sessions run, under the number of the lease.
    running: Mutex<HashMap<u64, Arc<dyn CancelHandle>>>,
    leases: AtomicU64,
    /// For the sessions on the writer, and for those on readers.
    permits: [Arc<Semaphore>; 2],
}

/// What every session of an environment has in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How connections are protected.
    pub tls: config::Tls,
    /// The longest that opening one session may take.
    pub connect_timeout: Duration,
    /// The longest that any one statement may run.
    pub statement_timeout: Duration,
    /// What stands between us and the server.
    pub pooler: config::Pooler,
    /// Whether statements may be sent ahead.
    pub pipeline: bool,
    /// What the server shows the sessions as.
    pub application_name: String,
    /// Whether the log may show values.
    pub log_values: bool,
    /// How many sessions there may be at once on the writer, and as many on readers; at least 1.
    pub max_connections: usize,
}

/// A session between two calls.
struct Parked {
    session: Box<dyn Session>,
    at: Place,
    /// Wall time: the timers of a frozen process tell nothing.
    since: SystemTime,
}

/// Where a session is, and what for.
#[derive(Debug, Clone)]
struct Place {
    endpoint: Endpoint,
    /// Whom it stands in for, if it is makeshift; else what the server is.
    role: Role,
    /// It is not where it should be: it serves reads until then.
    makeshift: Option<SystemTime>,
}

impl Place {
    fn new(endpoint: Endpoint, role: Role, makeshift: Option<Duration>) -> Self {
        Self { endpoint, role, makeshift: makeshift.map(|span| SystemTime::now() + span) }
    }

    /// Whether it was to be used until now only.
    fn outlived(&self) -> bool {
        self.makeshift.is_some_and(|until| until <= SystemTime::now())
    }

    fn serves(&self, want: Access, role: Role) -> bool {
        self.role == role && (self.makeshift.is_none() || want == Access::Read) && !self.outlived()
    }
}

/// What lending a session cost.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Time spent on opening sessions.
    pub connect: Duration,
    /// Sessions opened, or tried.
    pub connects: u32,
    /// How long each phase of the last try took.
    pub phases: Vec<(Phase, Duration)>,
}

impl Sessions {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        topology: Arc<dyn Topology>,
        credentials: Credentials,
        settings: Settings,
    ) -> Self {
        let max_connections = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let permits = [max_connections; 2].map(|permits| Arc::new(Semaphore::new(permits)));
        Self {
            backend,
            topology,
            credentials: Arc::new(credentials),
            settings,
            tls: Mutex::default(),
            parked: Mutex::default(),
            alive: Mutex::default(),
            running: Mutex::default(),
            leases: AtomicU64::new(0),
            permits,
        }
    }

    /// The sessions of one database, as it is configured. `statement_timeout` is the longest that any statement may
    /// run on the server.
    #[must_use]
    pub fn configured(
        db: &config::Db,
        platform: &config::Platform,
        statement_timeout: Duration,
        log_values: bool,
        backend: Arc<dyn Backend>,
        topology: Arc<dyn Topology>,
    ) -> Self {
        let settings = Settings {
            tls: db.tls.clone(),
            connect_timeout: db.connect_timeout,
            statement_timeout,
            pooler: db.pooler,
            pipeline: db.pipeline,
            application_name: application_name(platform),
            log_values,
            max_connections: db.max_connections,
        };
        Self::new(backend, topology, Credentials::new(db, platform), settings)
    }

    /// The engine behind the sessions.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What the sessions have in common.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lends a session: one that is parked and alive, else a new one. A connection known to be dead is never
    /// lent.
    ///
    /// # Errors
    /// Why none could be opened before the deadline. No statement was sent.
    ///
    /// # Cancel safety
    /// A dropped future closes what it was opening.
    pub async fn lease(self: &Arc<Self>, want: Access, by: Deadline, cost: &mut Cost) -> Result<Lease> {
        let asked = Instant::now();
        let role = self.topology.role(want);
        let permits = match role {
            Role::Writer => &self.permits[0],
            Role::Reader => &self.permits[1],
        };
        let (permit, waited) = match Arc::clone(permits).try_acquire_owned() {
            Ok(permit) => (permit, Duration::ZERO),
            Err(_) => (self.permit(permits, by).await?, asked.elapsed()),
        };
        let mut asks = true;
        while let Some(parked) = self.take(want, role) {
            match revive(parked, asks, by).await {
                Revived::Alive(session, at) => return Ok(self.lend(session, at, permit)),
                Revived::Closed => {}
                // What has been forgotten on the way was forgotten for all that were idle as long: one question
                // is enough.
                Revived::Silent => asks = false,
            }
        }
        // Boxed, because opening is rare and its future is large: the SDK's is in it.
        match Box::pin(self.open(want, by, cost)).await {
            Ok(Opened { session, endpoint, makeshift }) => {
                Ok(self.lend(session, Place::new(endpoint, role, makeshift), permit))
            }
            // The time went by with waiting for the others, and the server never had a chance.
            Err(_) if by.passed() && waited > asked.elapsed() / 2 => Err(self.all_busy()),
            Err(error) => Err(error),
        }
    }

    /// Waits for its turn.
    async fn permit(&self, permits: &Arc<Semaphore>, by: Deadline) -> Result<OwnedSemaphorePermit> {
        match by.bound(Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::new(Fault::Internal, "the sessions are closed")),
            Err(_) => Err(self.all_busy()),
        }
    }

    fn all_busy(&self) -> Error {
        Error::new(
            Fault::TooManyConnections,
            format!(
                "all {} sessions of this environment are busy (DB_MAX_CONNECTIONS)",
                self.settings.max_connections
            ),
        )
    }

    /// Opens one session ahead of the first call and parks it.
    ///
    /// # Errors
    /// Why it could not be opened. The first call will try again.
    pub async fn warm(self: &Arc<Self>, by: Deadline) -> Result<()> {
        self.first(by).await?.park();
        Ok(())
    }

    /// As [`warm`](Self::warm), where nobody waits for the first call: the session is kept only if no more than half of the
    /// server's places are taken with it, so that sessions which nobody has used leave the other half to those who are called.
    ///
    /// # Errors
    /// Why it could not be opened, or the server not be asked. The first call will try again.
    pub async fn warm_ahead(self: &Arc<Self>, by: Deadline) -> Result<()> {
        let mut lease = self.first(by).await?;
        // A pooler's connections to the server are not ours while no transaction is open.
        if !lease.pooled()
            && let Some(places) = Places::ask(self.backend.dialect(), lease.session(), by).await?
            && places.scarce()
        {
            tracing::info!(
                "the session of INIT is given back: {places} are taken, and nobody has called this environment yet"
            );
            lease.close().await;
            return Ok(());
        }
        lease.park();
        Ok(())
    }

    /// The session of INIT.
    async fn first(self: &Arc<Self>, by: Deadline) -> Result<Lease> {
        // For the secret INIT has more time than a connect, which finds it cached then.
        self.credentials.get(by).await?;
        self.lease(Access::Read, by, &mut Cost::default()).await
    }

    /// Ends everything, within 300 ms: cancels what runs, says goodbye to the server on every parked session, and
    /// lends none from now on.
    ///
    /// A session that is lent stays with its call, which learns that its statement was cancelled.
    pub async fn close(&self) {
        self.permits.iter().for_each(|permits| permits.close());
        let running: Vec<_> = self.running().values().cloned().collect();
        let parked = std::mem::take(&mut *self.parked());
        let by = Deadline::after(CLOSE_TIMEOUT);
        let cancels = join_all(running.iter().map(|cancel| cancel.cancel(by)));
        let goodbyes = join_all(parked.into_iter().map(|parked| parked.session.close()));
        match by.bound(join(cancels, goodbyes)).await {
            Ok((cancels, _)) => {
                for error in cancels.into_iter().filter_map(Result::err) {
                    tracing::warn!("a statement may run on: {error}");
                }
            }
            Err(_) => tracing::warn!("the server did not answer the goodbye in time"),
        }
    }

    /// Tells the topology what a session on its endpoint met, and closes the sessions parked there: whatever
    /// befell this one has befallen them, and what follows wants a fresh one. With a writer that is none any more,
    /// those under another of its names go, too.
    pub fn blame(&self, lease: &Lease, fault: Fault) {
        let Place { endpoint, role, .. } = &lease.at;
        let deposed = fault == Fault::NotTheWriter;
        self.parked()
            .retain(|parked| parked.at.endpoint != *endpoint && !(deposed && parked.at.role == *role));
        self.topology.blame(endpoint, fault);
    }

    fn take(&self, want: Access, role: Role) -> Option<Parked> {
        let mut parked = self.parked();
        parked.retain(|parked| !parked.at.outlived());
        let last = parked.iter().rposition(|parked| parked.at.serves(want, role))?;
        Some(parked.remove(last))
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<u64, Arc<dyn CancelHandle>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(self: &Arc<Self>, session: Box<dyn Session>, at: Place, permit: OwnedSemaphorePermit) -> Lease {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        if let Some(cancel) = session.cancel_handle() {
            self.running().insert(number, cancel.into());
        }
        let sessions = Arc::clone(self);
        Lease { session: Some(session), at, sessions, number, spoilt: false, _permit: permit }
    }

    /// Opens a session, as often as [`retry::reopen`] says and the deadline allows.
    async fn open(&self, want: Access, by: Deadline, cost: &mut Cost) -> Result<Opened> {
        let started = Instant::now();
        let by = by.within(self.settings.connect_timeout);
        let outcome = self.open_until(want, by, cost).await;
        cost.connect += started.elapsed();
        outcome
    }

    async fn open_until(&self, want: Access, by: Deadline, cost: &mut Cost) -> Result<Opened> {
        let asked = Instant::now();
        let mut resolved = self.credentials.get(by).await?;
        let credentials = (Phase::Credentials, asked.elapsed());
        let mut rejections = 0;
        let mut attempt = 0;
        let mut told: Option<Error> = None;
        loop {
            let servers = Servers { sessions: self, resolved: &resolved, phases: Mutex::default() };
            cost.connects += 1;
            let opened = self.topology.open(&servers, want, by).await;
            cost.phases = servers.phases.into_inner().unwrap_or_else(PoisonError::into_inner);
            cost.phases.insert(0, credentials);
            let error = match opened {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            if error.fault() == Fault::CredentialsRejected {
                // Perhaps the password was rotated since the secret was read. Only another version of the
                // secret is worth another try: the same one would be rejected again, and lock the user out.
                let detail = format!("{} {}", error.detail(), self.credentials.hint());
                let error = error.with_detail(detail);
                let other = self.credentials.rejected(&resolved, &error, by).await;
                match other.filter(|_| rejections < MAX_REJECTIONS) {
                    Some(other) => resolved = other,
                    None => return Err(error),
                }
                rejections += 1;
                continue;
            }
            let error = match told.take() {
                // The server itself has said why it takes nobody now. That it then refuses, hangs up, or has not
                // answered when the time is up adds nothing, and does not make it less worth waiting for.
                Some(told) if by.passed() || (silent(&error) && !hopeless(&error)) => told,
                _ => error,
            };
            let pause = retry::backoff(attempt);
            if attempt >= retry::reopen(error.fault()) || hopeless(&error) || by.remaining() <= pause {
                return Err(given_up(error));
            }
            attempt += 1;
            told = Some(error).filter(|error| !silent(error));
            tokio::time::sleep(pause).await;
        }
    }

    fn target(&self, resolved: &Resolved, login: Login, endpoint: &Endpoint, by: Deadline) -> Result<Target> {
        Ok(Target {
            endpoint: endpoint.clone(),
            database: resolved.database.clone(),
            login,
            relogin: Relogin::new(&self.credentials, resolved.clone(), endpoint.clone()),
            tls: self.tls(&endpoint.host)?,
            application_name: self.settings.application_name.clone(),
            statement_timeout: self.settings.statement_timeout,
            pooling: self.settings.pooler.at(&endpoint.host),
            pipeline: self.settings.pipeline,
            log_values: self.settings.log_values,
            by,
            progress: Phases::default(),
        })
    }

    /// The TLS set-up for a host; kept, so that a reconnect may resume the TLS session.
    fn tls(&self, host: &str) -> Result<Arc<TlsClient>> {
        let mut kept = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match kept.iter().position(|(known, _)| known == host) {
            Some(at) => kept.remove(at),
            None => (host.to_owned(), Arc::new(TlsClient::new(&self.settings.tls, host)?)),
        };
        let client = Arc::clone(&known.1);
        kept.push(known);
        let beyond = kept.len().saturating_sub(KEPT_HOSTS);
        kept.drain(..beyond);
        Ok(client)
    }
}

/// What the topology opens sessions with: as whom, once that is known.
struct Servers<'a> {
    sessions: &'a Sessions,
    resolved: &'a Resolved,
    /// How long each phase of the connect took that ended last.
    phases: Mutex<Vec<(Phase, Duration)>>,
}

impl Servers<'_> {
    async fn open(&self, endpoint: &Endpoint, by: Deadline) -> Result<Box<dyn Session>> {
        let Self { sessions, resolved, phases } = self;
        let login = sessions.credentials.login(resolved, endpoint, by).await?;
        let target = sessions.target(resolved, login, endpoint, by)?;
        let connected = by.bound(sessions.backend.connect(&target)).await;
        *phases.lock().unwrap_or_else(PoisonError::into_inner) = target.progress.durations();
        connected.unwrap_or_else(|_| Err(late(endpoint, target.progress.current())))
    }
}

impl Connect for Servers<'_> {
    fn configured(&self) -> &Endpoint {
        &self.resolved.endpoint
    }

    fn connect(&self, endpoint: Endpoint, by: Deadline) -> BoxFuture<'_, Result<Box<dyn Session>>> {
        Box::pin(async move { self.open(&endpoint, by).await })
    }

    fn addresses(&self, endpoint: Endpoint, by: Deadline) -> BoxFuture<'_, Vec<SocketAddr>> {
        Box::pin(async move { dial::addresses(&endpoint, by).await })
    }

    fn last_alive(&self) -> Option<SystemTime> {
        *self.sessions.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("backend", &self.backend)
            .field("topology", &self.topology)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A session lent to one call. Dropped, it is closed; [`Lease::park`] keeps it for the next call.
pub struct Lease {
    session: Option<Box<dyn Session>>,
    at: Place,
    sessions: Arc<Sessions>,
    number: u64,
    spoilt: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The session.
    #[expect(clippy::missing_panics_doc, reason = "the session is there until the lease is consumed")]
    pub fn session(&mut self) -> &mut dyn Session {
        #[expect(
            clippy::expect_used,
            reason = "only `park`, which consumes the lease, takes the session out"
        )]
        self.session.as_deref_mut().expect("a lease has a session until it is parked")
    }

    /// Where the session is connected to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.at.endpoint
    }

    /// The sessions that it was lent from.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Whether something between us and the server shares its connections, so that no state outlives a transaction.
    #[must_use]
    pub fn pooled(&self) -> bool {
        self.sessions.settings.pooler.at(&self.at.endpoint.host) != Pooling::None
    }

    /// Sees to it that the session is closed, not parked, however it looks.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Says goodbye to the server.
    async fn close(mut self) {
        if let Some(session) = self.session.take() {
            let _ = Deadline::after(CLOSE_TIMEOUT).bound(session.close()).await;
        }
    }

    /// Gives the session back for the next call, if it can take one.
    pub fn park(mut self) {
        if let Some(session) = self.session.take()
            // Whether the server is still there is looked at when it is lent again.
            && session.heard() == State::Idle
            && !self.spoilt
        {
            let since = SystemTime::now();
            *self.sessions.alive.lock().unwrap_or_else(PoisonError::into_inner) = Some(since);
            self.sessions.parked().push(Parked { session, at: self.at.clone(), since });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.sessions.running().remove(&self.number);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("at", &self.at).field("session", &self.session).finish()
    }
}

fn application_name(platform: &config::Platform) -> String {
    match (&platform.function_name, &platform.function_version) {
        (Some(name), Some(version)) => format!("{name}:{version}"),
        (Some(name), None) => name.clone(),
        _ => "lambda-rds".to_owned(),
    }
}

/// Makes sure that a parked session is alive: by a look at its socket, and after a long time by a ping.
async fn revive(parked: Parked, asks: bool, by: Deadline) -> Revived {
    let Parked { mut session, at, since } = parked;
    if session.state() != State::Idle {
        return Revived::Closed;
    }
    // A clock that went backwards tells nothing about the age, so ask.
    let idle = since.elapsed().unwrap_or(Duration::MAX);
    if idle > TRUSTED_IDLE {
        if !asks || !matches!(by.within(PING_TIMEOUT).bound(session.ping()).await, Ok(Ok(()))) {
            return Revived::Silent;
        }
        if session.state() != State::Idle {
            return Revived::Closed;
        }
    }
    Revived::Alive(session, at)
}

/// What became of a parked session.
enum Revived {
    Alive(Box<dyn Session>, Place),
    /// The server has hung up.
    Closed,
    /// It did not answer, or there was no use in asking.
    Silent,
}

fn late(endpoint: &Endpoint, phase: Option<Phase>) -> Error {
    let phase = phase.unwrap_or(Phase::Auth);
    Error::new(Fault::Unreachable, format!("{endpoint} did not get past the phase `{phase}` in time"))
        .with_phase(phase)
}

/// Whether trying again cannot help: the server's certificate, or its idea of the protocol, stays the same.
fn hopeless(error: &Error) -> bool {
    error.fault() == Fault::Unreachable && !matches!(error.phase(), Some(Phase::Resolve | Phase::Tcp))
}

/// Whether it was the wire that failed, with no word from the server.
fn silent(error: &Error) -> bool {
    matches!(error.fault(), Fault::ConnectionLost | Fault::Unreachable)
}

/// The error as it is reported: a connection that broke before it was a session is a server that cannot be reached.
fn given_up(error: Error) -> Error {
    match error.fault() {
        Fault::ConnectionLost => error.into_fault(Fault::Unreachable),
        _ => error,
    }
}

// AWSCURRENT again, then AWSPENDING.
const MAX_REJECTIONS: u32 = 2;
// A cluster has a writer, up to 15 readers, and three names more.
const KEPT_HOSTS: usize = 20;
// A connection may die without a word: NAT gateways and firewalls forget silent ones.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_millis(300);
// After SIGTERM, Lambda waits that long.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::answers::Answers;
    use crate::backend::{Effect, Fixed, Frame, Statement};
    use crate::config::{Config, Engine, Sources};
    use crate::describe::Described;
    use crate::queries::Dialect;

    /// What a server does with a connection, one after the other; after the last it lets everybody in.
    #[derive(Debug)]
    struct Scripted(Mutex<Vec<Answer>>);

    #[derive(Debug, Clone, Copy)]
    enum Answer {
        Fails(Fault, Phase),
        Hangs,
        Opens,
    }

    impl Backend for Scripted {
        fn engine(&self) -> Engine {
            Engine::Sqlite
        }

        fn dialect(&self) -> Dialect {
            Dialect::Sqlite
        }

        fn connect<'a>(&'a self, _to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
            let mut script = self.0.lock().unwrap();
            let answer = if script.is_empty() { Answer::Opens } else { script.remove(0) };
            Box::pin(async move {
                match answer {
                    Answer::Fails(fault, phase) => Err(Error::new(fault, "scripted").with_phase(phase)),
                    Answer::Hangs => std::future::pending().await,
                    Answer::Opens => Ok(Box::new(Idle { answers: true }) as Box<dyn Session>),
                }
            })
        }
    }

    /// A session on which nothing is run.
    #[derive(Debug)]
    struct Idle {
        answers: bool,
    }

    impl Session for Idle {
        fn run<'a>(
            &'a mut self,
            _: Frame,
            _: &'a [&'a Statement],
            _: &'a mut Answers<'_>,
        ) -> BoxFuture<'a, Result<()>> {
            unreachable!("nothing is run")
        }

        fn ask<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
            unreachable!("nothing is run")
        }

        fn announce<'a>(
            &'a mut self,
            _: &'a [&'a Statement],
            _: Access,
            _: Duration,
        ) -> BoxFuture<'a, Result<Vec<Effect>>> {
            unreachable!("nothing is run")
        }

        fn effect<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Effect>> {
            unreachable!("nothing is run")
        }

        fn pins(&self, _: &Statement) -> bool {
            unreachable!("nothing is run")
        }

        fn describe<'a>(&'a mut self, _: &'a Statement) -> BoxFuture<'a, Result<Described>> {
            unreachable!("nothing is run")
        }

        fn begin(&mut self, _: Access) -> BoxFuture<'_, Result<()>> {
            unreachable!("nothing is run")
        }

        fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
            unreachable!("nothing is run")
        }

        fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
            unreachable!("nothing is run")
        }

        fn autocommit(&mut self, _: bool) -> BoxFuture<'_, Result<()>> {
            unreachable!("nothing is run")
        }

        fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
            let answers = self.answers;
            Box::pin(async move { if answers { Ok(()) } else { std::future::pending().await } })
        }

        fn flights(&self) -> Option<u64> {
            None
        }

        fn state(&self) -> State {
            State::Idle
        }

        fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
            None
        }

        fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    fn sessions(script: &[Answer], connect_timeout: Duration) -> Arc<Sessions> {
        let env = [("DB_ENGINE", "sqlite"), ("DB_NAME", "x")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let config = Config::read(&Sources { env, ..Sources::default() }, &Engine::ALL).unwrap();
        let settings = Settings {
            tls: config.db.tls.clone(),
            connect_timeout,
            statement_timeout: Duration::from_secs(10),
            pooler: config.db.pooler,
            pipeline: config.db.pipeline,
            application_name: "test".to_owned(),
            log_values: false,
            max_connections: 1,
        };
        let credentials = Credentials::new(&config.db, &config.platform);
        let backend = Arc::new(Scripted(Mutex::new(script.to_vec())));
        Arc::new(Sessions::new(backend, Arc::new(Fixed), credentials, settings))
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_pass_is_waited_for_and_what_the_server_said_is_reported() {
        use Answer::{Fails, Hangs, Opens};
        const BUSY: Answer = Fails(Fault::TooManyConnections, Phase::Auth);
        const GOING: Answer = Fails(Fault::ServerUnavailable, Phase::Auth);
        const REFUSED: Answer = Fails(Fault::Unreachable, Phase::Tcp);
        const HUNG_UP: Answer = Fails(Fault::ConnectionLost, Phase::Auth);
        const UNTRUSTED: Answer = Fails(Fault::Unreachable, Phase::Tls);

        let check = async |script: &[Answer], expected: Result<(), (Fault, Phase)>, connects: u32| {
            // Long enough for the pauses between the tries, unless the script itself waits for it to be over.
            let hangs = script.iter().any(|answer| matches!(answer, Hangs));
            let timeout = Duration::from_millis(if hangs { 500 } else { 20_000 });
            let sessions = sessions(script, timeout);
            let mut cost = Cost::default();
            let by = Deadline::after(Duration::from_secs(60));
            let leased = sessions.lease(Access::Read, by, &mut cost).await;
            let outcome = leased.map(drop).map_err(|error| (error.fault(), error.phase().unwrap()));
            assert_eq!((outcome, cost.connects), (expected, connects), "{script:?}");
        };
        check(&[BUSY, BUSY, GOING, Opens], Ok(()), 4).await;
        // On its way down and up again, it may hang up and refuse in between.
        check(&[GOING, HUNG_UP, REFUSED, REFUSED, GOING, Opens], Ok(()), 6).await;
        check(&[BUSY, Hangs], Err((Fault::TooManyConnections, Phase::Auth)), 2).await;
        check(&[GOING, REFUSED, Hangs], Err((Fault::ServerUnavailable, Phase::Auth)), 3).await;
        check(&[Hangs], Err((Fault::Unreachable, Phase::Auth)), 1).await;
        // Silence without a word before is tried once more, and no certificate is looked at twice.
        check(&[REFUSED, Opens], Ok(()), 2).await;
        check(&[REFUSED, REFUSED, Opens], Err((Fault::Unreachable, Phase::Tcp)), 2).await;
        check(&[HUNG_UP, Opens], Ok(()), 2).await;
        check(&[HUNG_UP, HUNG_UP, Opens], Err((Fault::Unreachable, Phase::Auth)), 2).await;
        check(&[UNTRUSTED, Opens], Err((Fault::Unreachable, Phase::Tls)), 1).await;
        check(&[GOING, UNTRUSTED, Opens], Err((Fault::Unreachable, Phase::Tls)), 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_idle_for_long_is_asked_and_one_that_is_silent_replaced() {
        let now = SystemTime::now();
        let long = TRUSTED_IDLE + Duration::from_secs(1);
        for (since, answers, connects) in [
            (now, true, 0),
            // A wire that was silent for a moment only is trusted without asking.
            (now, false, 0),
            (now - long, true, 0),
            (now - long, false, 1),
            // The clock went backwards.
            (now + long, true, 0),
            (now + long, false, 1),
        ] {
            let sessions = sessions(&[], Duration::from_secs(20));
            let endpoint = Endpoint { host: String::new(), port: 0 };
            let at = Place::new(endpoint, Role::Writer, None);
            sessions.parked().push(Parked { session: Box::new(Idle { answers }), at, since });
            let mut cost = Cost::default();
            let by = Deadline::after(Duration::from_secs(60));
            sessions.lease(Access::Read, by, &mut cost).await.unwrap();
            assert_eq!(cost.connects, connects, "{since:?} {answers}");
        }
    }
}
