//! User and password of the database, and where the server is.
//!
//! Consulted only when a session opens. What was fetched is kept for as long as the configuration says, measured
//! on the wall clock, since a frozen process's timers tell nothing. Whoever comes while one is asking waits for
//! that answer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::backend::Endpoint;
use crate::config::{Auth, Db, Platform, is_rds_name};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};

mod fetch;
mod http;
mod iam;
mod keys;

pub(crate) use fetch::region_of;
use fetch::{Stage, Unreadable};

/// The credentials of one database.
#[derive(Debug)]
pub struct Credentials {
    db: Db,
    secret: Option<Secret>,
    signer: Option<iam::Signer>,
}

/// What a session needs to log in, and where.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// As whom.
    pub login: Login,
    /// Where the configuration, else the secret, says that the server is.
    pub endpoint: Endpoint,
    /// The database; for the embedded engine, the file.
    pub database: String,
    /// The secret's version, where there is a secret.
    pub version: Option<String>,
}

/// A user and that user's password; the two always travel together.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password: a type that cannot print.
    pub password: SecretString,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The credentials that this configuration describes. Nothing is asked yet, and no client is built.
    #[must_use]
    pub fn new(db: &Db, platform: &Platform) -> Self {
        let secret = match &db.auth {
            Auth::Secret { id, ttl } => Some(Secret {
                asker: fetch::Asker::new(id, platform),
                ttl: *ttl,
                state: Mutex::default(),
                flight: tokio::sync::Mutex::default(),
            }),
            Auth::Iam { .. } | Auth::Password(_) | Auth::Embedded => None,
        };
        let signer = match &db.auth {
            Auth::Iam { host } => Some(iam::Signer::new(host.clone(), platform)),
            Auth::Secret { .. } | Auth::Password(_) | Auth::Embedded => None,
        };
        Self { db: db.clone(), secret, signer }
    }

    /// What to log in with now: cached if it is younger than the TTL, else fetched; if that fails, what was
    /// cached all the same. Never what the server has rejected within the last 30 s.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] in [`Phase::Credentials`] if nothing is known and nothing can be fetched, or if the
    /// secret lacks a piece that the configuration does not give either. [`Fault::CredentialsRejected`] if the
    /// server has just rejected everything that the secret has.
    ///
    /// # Cancel safety
    /// A dropped future leaves the cache as it was; whoever waited for its answer asks anew.
    pub async fn get(&self, by: Deadline) -> Result<Resolved> {
        let Some(secret) = &self.secret else { return fixed(&self.db) };
        if let Some(fresh) = secret.fresh(SystemTime::now()) {
            return Ok(fresh);
        }
        secret.ask(&self.db, by).await
    }

    /// The login for one connection to this endpoint: the resolved one, or a token that is signed for it.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] in [`Phase::Credentials`] if there is nothing to sign with.
    pub async fn login(&self, resolved: &Resolved, endpoint: &Endpoint, by: Deadline) -> Result<Login> {
        match &self.signer {
            Some(signer) => {
                // RDS knows the members of a cluster by their own names.
                let by_its_name = endpoint != &resolved.endpoint && is_rds_name(&endpoint.host);
                signer.login(&resolved.login.user, endpoint, by_its_name, by).await
            }
            None => Ok(resolved.login.clone()),
        }
    }

    /// Tells that the server has rejected these credentials, and with which words. Gives others if the secret has any: those of
    /// AWSCURRENT, asked for at once, however fresh the cached ones are, else those of AWSPENDING, which is what
    /// the server knows between the steps of a rotation. The rejected ones are not given again for 30 s, since
    /// servers lock out who insists. `None` means that there is nothing better to try.
    ///
    /// # Cancel safety
    /// As [`Credentials::get`].
    pub async fn rejected(&self, rejected: &Resolved, why: &Error, by: Deadline) -> Option<Resolved> {
        let secret = self.secret.as_ref()?;
        secret.note(rejected, why);
        if let Some(other) = secret.state().usable() {
            // Another session's rejection has brought this one.
            return Some(other);
        }
        // Why there is none has been logged; what the server said says more.
        secret.ask(&self.db, by).await.ok()
    }

    /// What to look at when the server has rejected them, as a sentence.
    #[must_use]
    pub fn hint(&self) -> String {
        let prefix = &self.db.prefix;
        match &self.db.auth {
            Auth::Secret { id, .. } => format!("Compare the secret {id} with the database user's password."),
            Auth::Iam { .. } => iam::HINT.to_owned(),
            Auth::Password(_) | Auth::Embedded => {
                format!("Compare {prefix}PASSWORD with the database user's.")
            }
        }
    }
}

/// By how much this machine's clock is ahead of AWS's, in seconds; negative if it is behind. `None` where AWS cannot be
/// asked. For diagnose: signatures and tokens are good for minutes.
pub(crate) async fn clock_ahead(platform: &Platform, by: Deadline) -> Option<i64> {
    let theirs = by.within(CLOCK_PATIENCE).bound(fetch::clock(platform)).await.ok()??;
    Some(ahead(SystemTime::now(), theirs))
}

/// By how many seconds one time is ahead of another.
pub(crate) fn ahead(one: SystemTime, other: SystemTime) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match one.duration_since(other) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    }
}

/// How to log in beside a session, later: the connection that cancels what a session runs needs a login of its own,
/// and by then the session's may have been rotated away, or be a token that is no longer good.
#[derive(Debug, Clone)]
pub struct Relogin {
    resolved: Resolved,
    /// Where the session is; the other connection goes to the same server.
    endpoint: Endpoint,
    /// `None` where there is one login and no other.
    credentials: Option<Arc<Credentials>>,
}

impl Relogin {
    /// With what the credentials have by then; `resolved` is what the session at `endpoint` was opened with.
    #[must_use]
    pub fn new(credentials: &Arc<Credentials>, resolved: Resolved, endpoint: Endpoint) -> Self {
        Self { resolved, endpoint, credentials: Some(Arc::clone(credentials)) }
    }

    /// With this login, whatever happens.
    #[must_use]
    pub fn fixed(login: Login) -> Self {
        let endpoint = Endpoint { host: String::new(), port: 0 };
        let resolved = Resolved { login, endpoint: endpoint.clone(), database: String::new(), version: None };
        Self { resolved, endpoint, credentials: None }
    }

    /// The newest login that is known, or a token signed now. Asks nobody, save for keys to sign with outside Lambda.
    ///
    /// # Errors
    /// As [`Credentials::login`].
    pub async fn login(&mut self, by: Deadline) -> Result<Login> {
        let Some(credentials) = &self.credentials else { return Ok(self.resolved.login.clone()) };
        if let Some(newest) = credentials.secret.as_ref().and_then(|secret| secret.state().usable()) {
            self.resolved = newest;
        }
        credentials.login(&self.resolved, &self.endpoint, by).await
    }

    /// Tells that the server has rejected the last one, and with which words. Gives whether there is another to try.
    ///
    /// # Cancel safety
    /// As [`Credentials::get`].
    pub async fn rejected(&mut self, why: &Error, by: Deadline) -> bool {
        let Some(credentials) = &self.credentials else { return false };
        match credentials.rejected(&self.resolved, why, by).await {
            Some(other) => {
                self.resolved = other;
                true
            }
            None => false,
        }
    }
}

/// A secret, and what is known of it.
#[derive(Debug)]
struct Secret {
    asker: fetch::Asker,
    ttl: Duration,
    state: Mutex<State>,
    /// Held by the one who asks.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    cached: Option<Cached>,
    /// How many times asking has come to an end, so that those who waited know that it has.
    answers: u64,
    /// Why the last answer was none.
    failure: Option<Unreadable>,
    /// When AWSCURRENT was last told.
    current_told: Option<SystemTime>,
    /// What is not to be tried again for a while.
    rejected: Vec<Rejection>,
}

/// What the server has rejected, when, and with which words.
#[derive(Debug)]
struct Rejection {
    of: Resolved,
    when: SystemTime,
    detail: String,
    sqlstate: Option<String>,
}

#[derive(Debug)]
struct Cached {
    resolved: Resolved,
    fetched: SystemTime,
}

impl State {
    /// What is cached, however old, unless the server has just rejected it.
    fn usable(&self) -> Option<Resolved> {
        let cached = &self.cached.as_ref()?.resolved;
        (!self.is_rejected(cached)).then(|| cached.clone())
    }

    fn is_rejected(&self, one: &Resolved) -> bool {
        let now = SystemTime::now();
        self.rejected.iter().any(|rejection| rejection.holds(now) && same(one, &rejection.of))
    }
}

impl Rejection {
    fn holds(&self, now: SystemTime) -> bool {
        younger(self.when, now, REJECTED_PAUSE)
    }

    /// What to tell those who come while it holds.
    fn to_error(&self) -> Error {
        let pause = REJECTED_PAUSE.as_secs();
        let detail = format!(
            "{} This was told less than {pause} s ago; each version of the secret is tried once in that time.",
            self.detail
        );
        let error = Error::new(Fault::CredentialsRejected, detail).with_phase(Phase::Auth);
        match &self.sqlstate {
            Some(code) => error.with_sqlstate(code),
            None => error,
        }
    }
}

impl Secret {
    /// The cached value, if it may be used without asking.
    fn fresh(&self, now: SystemTime) -> Option<Resolved> {
        let state = self.state();
        let fetched = state.cached.as_ref()?.fetched;
        if younger(fetched, now, self.ttl) { state.usable() } else { None }
    }

    /// Notes that the server has rejected this.
    fn note(&self, rejected: &Resolved, why: &Error) {
        let when = SystemTime::now();
        let mut state = self.state();
        state.rejected.retain(|rejection| rejection.holds(when) && !same(&rejection.of, rejected));
        state.rejected.push(Rejection {
            of: rejected.clone(),
            when,
            detail: why.detail().to_owned(),
            sqlstate: why.sqlstate().map(str::to_owned),
        });
    }

    /// Asks, or waits for the one who does; falls back on the cached value.
    async fn ask(&self, db: &Db, by: Deadline) -> Result<Resolved> {
        let (before, stale) = {
            let state = self.state();
            (state.answers, state.usable().is_some())
        };
        // Where there is something to fall back on, half of the time is kept for logging in with it.
        let by = if stale { by.within(by.remaining() / 2) } else { by };
        let Ok(_flight) = by.bound(self.flight.lock()).await else {
            return self
                .settle(Some(&Unreadable::late("another session's question was not answered in time")));
        };
        if self.state().answers == before {
            let failure = self.search(db, by).await.err();
            let mut state = self.state();
            state.answers += 1;
            state.failure = failure;
        }
        let failure = self.state().failure.clone();
        self.settle(failure.as_ref())
    }

    /// Asks for AWSCURRENT, and if the server has rejected that, for AWSPENDING; keeps the first that it has not.
    ///
    /// # Errors
    /// What is wrong, without any of the secret's values.
    async fn search(&self, db: &Db, by: Deadline) -> Result<(), Unreadable> {
        // Whoever was told AWSCURRENT a moment ago, and is rejected with it, need not hear it again first.
        let told = {
            let state = self.state();
            let told = state.current_told.is_some_and(|at| younger(at, SystemTime::now(), JUST_NOW));
            told && state.usable().is_none()
        };
        let stages = if told { [Stage::Pending, Stage::Current] } else { [Stage::Current, Stage::Pending] };
        for stage in stages {
            let fall_back = self.state().usable().is_some();
            let fetched = match by.bound(self.asker.fetch(db, stage, by, fall_back)).await {
                Ok(Err(failure)) if stage == Stage::Pending => {
                    // Half made, or none of our business: it is not what we were told to use.
                    tracing::warn!(reason = failure.said, "the secret's pending version cannot be used");
                    None
                }
                Ok(fetched) => fetched?,
                Err(_) => {
                    let said = format!(
                        "secret {}: no answer from Secrets Manager before the deadline",
                        self.asker.id()
                    );
                    return Err(Unreadable::late(said));
                }
            };
            let mut state = self.state();
            let now = SystemTime::now();
            if stage == Stage::Current {
                state.current_told = Some(now);
            }
            if let Some(resolved) = fetched.filter(|found| !state.is_rejected(found)) {
                state.cached = Some(Cached { resolved, fetched: now });
                return Ok(());
            }
        }
        Ok(())
    }

    /// What there is after asking: the cached value, or the reason why there is none to use.
    fn settle(&self, failure: Option<&Unreadable>) -> Result<Resolved> {
        let state = self.state();
        match (state.usable(), failure) {
            (Some(resolved), None) => Ok(resolved),
            (Some(resolved), Some(failure)) => {
                tracing::warn!(reason = failure.said, "the secret cannot be read; the cached one is used");
                Ok(resolved)
            }
            (None, failure) => Err(match state.rejected.last() {
                Some(rejection) if state.cached.is_some() => {
                    if let Some(failure) = failure {
                        tracing::warn!(
                            reason = failure.said,
                            "the secret cannot be read, and the cached one was rejected"
                        );
                    }
                    rejection.to_error()
                }
                _ => {
                    let said = failure.map_or("the secret was not told", |failure| &failure.said);
                    let error = Error::new(Fault::Unreachable, said).with_phase(Phase::Credentials);
                    match failure.and_then(|failure| failure.hint.clone()) {
                        Some(hint) => error.with_hint(hint),
                        None => error,
                    }
                }
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the configuration gives without a secret.
fn fixed(db: &Db) -> Result<Resolved> {
    let lacking = |what: &str| {
        Error::new(Fault::Unreachable, format!("{}{what} is not set", db.prefix))
            .with_phase(Phase::Credentials)
    };
    let (login, host) = match &db.auth {
        Auth::Password(login) => (login.clone(), db.host.clone().ok_or_else(|| lacking("HOST"))?),
        Auth::Iam { .. } => {
            // The password is signed per connection.
            let user = db.user.clone().ok_or_else(|| lacking("USER"))?;
            let login = Login { user, password: SecretString::from("") };
            (login, db.host.clone().ok_or_else(|| lacking("HOST"))?)
        }
        Auth::Embedded | Auth::Secret { .. } => {
            (Login { user: String::new(), password: SecretString::from("") }, String::new())
        }
    };
    Ok(Resolved {
        login,
        endpoint: Endpoint { host, port: db.port.unwrap_or(db.engine.default_port()) },
        database: db.name.clone().ok_or_else(|| lacking("NAME"))?,
        version: None,
    })
}

/// Whether a server that has rejected the one would reject the other.
fn same(one: &Resolved, other: &Resolved) -> bool {
    // The version alone would do with AWS; stand-ins for it keep one version and change what is in it.
    one.version == other.version
        && one.login.user == other.login.user
        && one.login.password.expose_secret() == other.login.password.expose_secret()
}

/// Whether something happened less than this long ago. After the clock has gone back nobody knows: no.
fn younger(when: SystemTime, now: SystemTime, span: Duration) -> bool {
    now.duration_since(when).is_ok_and(|age| age < span)
}

/// How long AWS is waited for where only its clock is wanted.
const CLOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a rejected version is not tried again.
const REJECTED_PAUSE: Duration = Duration::from_secs(30);
/// Long enough for a login to have failed since, too short for a rotation to have taken a step.
const JUST_NOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
