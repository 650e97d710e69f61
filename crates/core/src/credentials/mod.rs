//! User and password of the database, and where the server is.
//!
//! Consulted only when a session opens. What was fetched is kept for as long as the configuration says, measured
//! on the wall clock, since a frozen process's timers tell nothing. Whoever comes while one is asking waits for
//! that answer.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::backend::Endpoint;
use crate::config::{Auth, Db, Platform};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};

mod fetch;

pub(crate) use fetch::region_of;

/// The credentials of one database.
#[derive(Debug)]
pub struct Credentials {
    db: Db,
    secret: Option<Secret>,
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
            Auth::Password(_) | Auth::Embedded => None,
        };
        Self { db: db.clone(), secret }
    }

    /// What to log in with now: cached if it is younger than the TTL, else fetched; if that fails, what was
    /// cached all the same.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] in [`Phase::Credentials`] if nothing is known and nothing can be fetched, or if the
    /// secret lacks a piece that the configuration does not give either.
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

    /// Tells that the server has rejected these credentials. Gives others if the secret has them by now: it is
    /// asked at once, however fresh the cached value is, but for each version at most once per 30 s. `None` means
    /// that there is nothing better to try.
    ///
    /// # Errors
    /// As [`Credentials::get`].
    ///
    /// # Cancel safety
    /// As [`Credentials::get`].
    pub async fn rejected(&self, rejected: &Resolved, by: Deadline) -> Result<Option<Resolved>> {
        let Some(secret) = &self.secret else { return Ok(None) };
        {
            let mut state = secret.state();
            if let Some(cached) = &mut state.cached {
                if !same(&cached.resolved, rejected) {
                    // Another session's rejection has brought this one.
                    return Ok(Some(cached.resolved.clone()));
                }
                cached.rejected = Some(SystemTime::now());
            }
            if state.asked_again.as_ref().is_some_and(|(version, when)| {
                *version == rejected.version && younger(*when, SystemTime::now(), REJECTED_PAUSE)
            }) {
                return Ok(None);
            }
            state.asked_again = Some((rejected.version.clone(), SystemTime::now()));
        }
        let current = secret.ask(&self.db, by).await?;
        Ok((!same(&current, rejected)).then_some(current))
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
    failure: Option<String>,
    /// The version that was last asked for again because the server had rejected it, and when.
    asked_again: Option<(Option<String>, SystemTime)>,
}

#[derive(Debug)]
struct Cached {
    resolved: Resolved,
    fetched: SystemTime,
    /// When the server rejected it. For a while after that it does not count as fresh, so that the first call
    /// after somebody has mended the secret works.
    rejected: Option<SystemTime>,
}

impl Secret {
    /// The cached value, if it may be used without asking.
    fn fresh(&self, now: SystemTime) -> Option<Resolved> {
        let state = self.state();
        let cached = state.cached.as_ref()?;
        let in_doubt = cached.rejected.is_some_and(|when| younger(when, now, REJECTED_PAUSE));
        (younger(cached.fetched, now, self.ttl) && !in_doubt).then(|| cached.resolved.clone())
    }

    /// Asks, or waits for the one who does; falls back on the cached value.
    async fn ask(&self, db: &Db, by: Deadline) -> Result<Resolved> {
        let (before, stale) = {
            let state = self.state();
            (state.answers, state.cached.is_some())
        };
        // Where there is something to fall back on, half of the time is kept for logging in with it.
        let by = if stale { by.within(by.remaining() / 2) } else { by };
        let Ok(_flight) = by.bound(self.flight.lock()).await else {
            return self.fall_back("another session's question was not answered in time");
        };
        if self.state().answers == before {
            let fetched = match by.bound(self.asker.fetch(db)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(format!("secret {}: the deadline came before an answer", self.asker.id())),
            };
            self.keep(fetched);
        }
        let failure = self.state().failure.clone();
        match failure {
            Some(reason) => self.fall_back(&reason),
            None => self.state().cached.as_ref().map(|cached| cached.resolved.clone()).ok_or_else(|| {
                Error::new(Fault::Internal, "an answered secret is not cached").with_phase(Phase::Credentials)
            }),
        }
    }

    /// Keeps what asking has brought.
    fn keep(&self, fetched: Result<Resolved, String>) {
        let mut state = self.state();
        state.answers += 1;
        match fetched {
            Ok(resolved) => {
                let rejected = state.cached.take().filter(|old| same(&old.resolved, &resolved));
                state.cached = Some(Cached {
                    resolved,
                    fetched: SystemTime::now(),
                    rejected: rejected.and_then(|old| old.rejected),
                });
                state.failure = None;
            }
            Err(reason) => state.failure = Some(reason),
        }
    }

    /// The cached value, however old, or the reason why there is none.
    fn fall_back(&self, reason: &str) -> Result<Resolved> {
        match &self.state().cached {
            Some(cached) => {
                tracing::warn!(reason, "the secret cannot be read; the cached one is used");
                Ok(cached.resolved.clone())
            }
            None => Err(Error::new(Fault::Unreachable, reason).with_phase(Phase::Credentials)),
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

/// How long a rejected version is not asked for again because of a rejection.
const REJECTED_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
