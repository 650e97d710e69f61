//! The walk of `{"diagnose": true}` and `lambda-rds doctor`: everything that a call needs, one step after the other,
//! and for the step that fails the one thing to change.
//!
//! ```text
//! config ─▶ credentials ─▶ resolve ─▶ tcp ─▶ tls ─▶ auth ─▶ query
//! ```
//!
//! The walk takes nothing that is cached: the secret is asked for, the host looked up, and the session is one of its
//! own, closed at the end. So it finds what is broken now, and not what was fine an hour ago. It tries nothing twice,
//! save the other version of a secret that is being rotated, since calls do that, too.

mod facts;
mod hints;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use self::facts::Facts;

use self::facts::Known;
use self::hints::{At, hint};
use crate::backend::{Access, Phases, Pooling, Session, Target};
use crate::check::policies;
use crate::config::{Auth, ConfigError, Db, Engine, Platform, TlsMode};
use crate::connect::sessions::Sessions;
use crate::connect::tls::TlsClient;
use crate::credentials::{Credentials, Relogin, Resolved};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};
use crate::once::Store;
use crate::queries::Queries;

/// What the walk found. Serialized, it is the body of the reply to `{"diagnose": true}`.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Whether every step was taken.
    pub ok: bool,
    /// The configured engine.
    pub engine: Option<&'static str>,
    /// Host and port, once they are known.
    pub endpoint: Option<String>,
    /// All steps, in order, whether they were reached or not.
    pub steps: Vec<Step>,
    /// What works and should be changed all the same: one sentence each.
    pub warnings: Vec<String>,
    /// What there is to know about a server that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// One step of the walk.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Its name: `config`, `credentials`, `resolve`, `tcp`, `tls`, `auth` or `query`.
    pub step: &'static str,
    /// Whether it was taken; `None` if it was not reached.
    pub ok: Option<bool>,
    /// Whether it was not reached.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// What was found, or what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of the failed step: the one thing to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnosis {
    /// The walk that ended before it began, since the configuration is wrong.
    #[must_use]
    pub fn of_config(error: &ConfigError) -> Self {
        Self::unusable(&error.to_string())
    }

    /// The same for any other reason why the function would not start.
    #[must_use]
    pub fn unusable(reason: &str) -> Self {
        let mut walked = Walked::default();
        let hint = "the settings that are named: every key with what it allows is in docs/reference/configuration.md";
        walked.fail("config", None, reason, hint.to_owned());
        walked.finish(None, None, None)
    }

    /// The body of the reply.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Fails only for maps with keys that are no strings and for writers that fail; here is neither.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The step that failed.
    #[must_use]
    pub fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.ok == Some(false))
    }
}

/// What is walked through.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) db: &'a Db,
    pub(crate) platform: &'a Platform,
    pub(crate) queries: &'a Queries,
    pub(crate) sessions: &'a Sessions,
    /// The table of idempotency keys, where a query has one.
    pub(crate) store: Option<&'a Store>,
}

/// Walks, and is done by the deadline.
///
/// # Cancel safety
/// A dropped future closes what it had opened.
pub(crate) async fn walk(subject: &Subject<'_>, by: Deadline) -> Diagnosis {
    let mut walked = Walked::default();
    let mut at = At::new(subject);
    let facts = match subject.take(&mut walked, &mut at, by.less(REPLY)).await {
        Ok(facts) => Some(facts),
        Err(Failed { step, ms, error }) => {
            if error.fault() == Fault::CredentialsRejected && matches!(subject.db.auth, Auth::Iam { .. }) {
                at.clock_ahead = crate::credentials::clock_ahead(subject.platform, by.less(REPLY)).await;
            }
            let hint = hint(step, &error, &at);
            tracing::warn!(step, hint, "diagnose: {error}");
            walked.fail(step, ms, &told(&error), hint);
            None
        }
    };
    let endpoint = at.endpoint.as_ref().filter(|endpoint| !endpoint.host.is_empty()).map(ToString::to_string);
    walked.finish(Some(subject.db.engine), endpoint, facts)
}

/// A step that failed.
struct Failed {
    step: &'static str,
    ms: Option<f64>,
    error: Error,
}

impl Subject<'_> {
    /// Takes one step after the other.
    async fn take(&self, walked: &mut Walked, at: &mut At<'_>, by: Deadline) -> Result<Facts, Failed> {
        walked.ok("config", Some(0.0), Some(self.configured()));
        self.warn_of_settings(walked);

        let asked = Instant::now();
        let credentials = Arc::new(Credentials::new(self.db, self.platform));
        let refused = |error| Failed { step: "credentials", ms: Some(millis(asked.elapsed())), error };
        let resolved = credentials.get(by).await.map_err(refused)?;
        at.endpoint = Some(resolved.endpoint.clone());
        at.resolved = Some(resolved.clone());
        let target = self.target(&credentials, &resolved, by).await;
        let ms = Some(millis(asked.elapsed()));
        let step = target.as_ref().err().map(|error| step_of(error.phase().unwrap_or(Phase::Credentials)));
        if step != Some("credentials") {
            walked.ok("credentials", ms, Some(self.logging_in(&resolved)));
        }
        let mut target =
            target.map_err(|error| Failed { step: step.unwrap_or("credentials"), ms: None, error })?;
        at.endpoint = Some(target.endpoint.clone());

        let mut session = match self.connect(&target).await {
            Err(error) if error.fault() == Fault::CredentialsRejected => {
                let other = credentials.rejected(&resolved, &error, by).await;
                let other = match other {
                    Some(other) => self.target(&credentials, &other, by).await.ok(),
                    None => None,
                };
                let Some(other) = other else { return Err(walked.connecting(&target, Err(error))) };
                match self.connect(&other).await {
                    Ok(session) => {
                        walked.warnings.push(ROTATING.to_owned());
                        target = other;
                        session
                    }
                    Err(_) => return Err(walked.connecting(&target, Err(error))),
                }
            }
            Err(error) => return Err(walked.connecting(&target, Err(error))),
            Ok(session) => session,
        };
        walked.connected(&target);

        let began = Instant::now();
        let looked = self.look(&mut *session, walked, by).await;
        let ms = Some(millis(began.elapsed()));
        // The server may be slow to answer, and the reply is not to wait for that.
        let _ = by.within(GOODBYE).bound(session.close()).await;
        let known = looked.map_err(|error| Failed { step: "query", ms, error })?;
        walked.ok("query", ms, Some(known.answered()));
        let known = self.server_defaults(known, &target, by).await;
        known.warn(self.db, &target, &mut walked.warnings);
        Ok(known.facts(&target))
    }

    /// The target of one session, as calls have it; nothing of it is kept from an earlier one.
    async fn target(
        &self,
        credentials: &Arc<Credentials>,
        resolved: &Resolved,
        by: Deadline,
    ) -> Result<Target> {
        let settings = self.sessions.settings();
        // Of a cluster the endpoint that is configured, whoever is behind it: it is what the network lets through or
        // does not.
        let endpoint = resolved.endpoint.clone();
        let login = credentials.login(resolved, &endpoint, by).await?;
        Ok(Target {
            database: resolved.database.clone(),
            login,
            relogin: Relogin::new(credentials, resolved.clone(), endpoint.clone()),
            tls: TlsClient::new(&settings.tls, &endpoint.host)?.into(),
            application_name: settings.application_name.clone(),
            statement_timeout: settings.statement_timeout,
            pooling: settings.pooler.at(&endpoint.host),
            pipeline: settings.pipeline,
            log_values: false,
            by: by.within(settings.connect_timeout),
            progress: Phases::default(),
            endpoint,
        })
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Session>> {
        // The dialer's own words about what came too late say more, so they get the time for it.
        let connected = target.by.plus(LAST_WORD).bound(self.sessions.backend().connect(target)).await;
        connected.unwrap_or_else(|_| {
            let phase = target.progress.current().unwrap_or(Phase::Resolve);
            let detail = format!("{} did not get past the phase `{phase}` in time", target.endpoint);
            Err(Error::new(Fault::Unreachable, detail).with_phase(phase))
        })
    }

    /// Runs a statement, asks the server about itself, and whether it takes writes.
    async fn look(&self, session: &mut dyn Session, walked: &mut Walked, by: Deadline) -> Result<Known> {
        let by = by.within(self.db.query_timeout);
        let late = |_| Error::new(Fault::Timeout, "the server did not answer a short statement in time");
        let dialect = self.sessions.backend().dialect();
        let known = by.bound(Known::ask(dialect, session, &mut walked.warnings)).await.map_err(late)??;
        if let Some(store) = self.store {
            walked.warnings.extend(by.bound(store.missing(session)).await.map_err(late)??);
        }
        for role in policies::roles(self.queries.iter()) {
            walked.warnings.extend(by.bound(policies::unfit(session, role)).await.map_err(late)??);
        }
        match by.bound(session.begin(Access::Write)).await.map_err(late)? {
            Ok(()) => by.bound(session.rollback()).await.map_err(late)??,
            // Somebody else is writing into the file.
            Err(error) if error.fault() == Fault::LockTimeout => {}
            Err(error) if self.writes() => return Err(error),
            Err(_) => return Ok(known.takes_no_writes()),
        }
        Ok(known)
    }

    /// What holds for a session that sets nothing for itself, where ours hides that: PostgreSQL shows a session only its
    /// own settings. One more connection, which may fail without harm.
    async fn server_defaults(&self, known: Known, target: &Target, by: Deadline) -> Known {
        let dialect = self.sessions.backend().dialect();
        if target.pooling != Pooling::None || !facts::hidden(dialect) {
            return known;
        }
        // Behind RDS Proxy a session sets nothing.
        let by = by.within(self.sessions.settings().connect_timeout);
        let bare = Target { pooling: Pooling::RdsProxy, by, progress: Phases::default(), ..target.clone() };
        let Ok(Ok(mut session)) = by.bound(self.sessions.backend().connect(&bare)).await else {
            return known;
        };
        let limits = by.bound(known.with_defaults(dialect, &mut *session)).await;
        let _ = by.within(GOODBYE).bound(session.close()).await;
        limits.unwrap_or(known)
    }

    fn writes(&self) -> bool {
        self.queries.iter().any(|query| query.access() == Access::Write)
    }

    /// The configuration in one line.
    fn configured(&self) -> String {
        let db = self.db;
        let auth = match &db.auth {
            Auth::Secret { id, .. } => format!("secret {id}"),
            Auth::Iam { .. } => "IAM tokens".to_owned(),
            Auth::Password(_) => format!("{}PASSWORD", db.prefix),
            Auth::Embedded => return format!("engine {}, {}", db.engine, self.counted()),
        };
        let tls = tls_mode(db.tls.mode);
        let roots = match (&db.tls.ca, db.tls.mode) {
            (Some(path), TlsMode::VerifyFull | TlsMode::VerifyCa) => format!(" with {}", path.display()),
            _ => String::new(),
        };
        format!("engine {}, login by {auth}, TLS {tls}{roots}, {}", db.engine, self.counted())
    }

    fn counted(&self) -> String {
        let all = self.queries.iter().count();
        let writes = self.queries.iter().filter(|query| query.access() == Access::Write).count();
        let queries = if all == 1 { "query" } else { "queries" };
        format!("{all} {queries}, {writes} of them writing")
    }

    /// As whom, and by what.
    fn logging_in(&self, resolved: &Resolved) -> String {
        let user = &resolved.login.user;
        match &self.db.auth {
            Auth::Secret { id, .. } => {
                let version = resolved.version.as_deref().unwrap_or("unknown");
                format!("secret {id}, version {version}, user `{user}`")
            }
            Auth::Iam { host } => {
                let host = host.as_deref().unwrap_or(&resolved.endpoint.host);
                format!("a token signed for user `{user}` at {host}")
            }
            Auth::Password(_) => format!("{}PASSWORD, user `{user}`", self.db.prefix),
            Auth::Embedded => "none are needed for a file".to_owned(),
        }
    }

    fn warn_of_settings(&self, walked: &mut Walked) {
        let prefix = &self.db.prefix;
        let warning = match self.db.tls.mode {
            TlsMode::Disable => "disable: everything, data included, goes over the network in the clear",
            TlsMode::Require => "require: the connection is encrypted, but with whoever answers",
            TlsMode::VerifyFull | TlsMode::VerifyCa => return,
        };
        if self.db.engine != Engine::Sqlite {
            walked.warnings.push(format!("{prefix}TLS is {warning}. Set {prefix}TLS=verify-full"));
        }
    }
}

/// The steps so far.
#[derive(Debug, Default)]
struct Walked {
    steps: Vec<Step>,
    warnings: Vec<String>,
}

impl Walked {
    fn ok(&mut self, step: &'static str, ms: Option<f64>, detail: Option<String>) {
        let detail = detail.map(|detail| short(&detail));
        self.steps.push(Step { step, ok: Some(true), skipped: false, ms, detail, hint: None });
    }

    fn fail(&mut self, step: &'static str, ms: Option<f64>, detail: &str, hint: String) {
        self.skip_until(step);
        let detail = Some(short(detail)).filter(|detail| !detail.is_empty());
        self.steps.push(Step { step, ok: Some(false), skipped: false, ms, detail, hint: Some(short(&hint)) });
    }

    /// Notes what lies between the last step and this one as not reached.
    fn skip_until(&mut self, step: &str) {
        let next = self.steps.len();
        for step in STEPS.iter().skip(next).take_while(|known| **known != step) {
            self.steps.push(Step { step, ok: None, skipped: true, ms: None, detail: None, hint: None });
        }
    }

    /// The steps of a connection that stands.
    fn connected(&mut self, target: &Target) {
        for phase in CONNECTING {
            let took = took(target, phase);
            let found = target.progress.found(phase).or_else(|| known(target, phase));
            self.ok(phase.name(), took, found);
        }
    }

    /// The steps of a connection that did not come about: those before the one that failed. Gives that one.
    fn connecting(&mut self, target: &Target, outcome: Result<(), Error>) -> Failed {
        let error = outcome.err().unwrap_or_else(|| Error::new(Fault::Internal, "a bug: nothing failed"));
        let current = target.progress.current().unwrap_or(Phase::Resolve);
        let failed = error.phase().unwrap_or(current);
        let step = step_of(failed);
        for phase in CONNECTING.into_iter().take_while(|phase| phase.name() != step) {
            // A server may say no before it was asked to encrypt; what was begun then was not done.
            if phase >= current && current < failed || took(target, phase).is_none() && phase > current {
                break;
            }
            self.ok(phase.name(), took(target, phase), target.progress.found(phase));
        }
        let ms =
            CONNECTING.into_iter().find(|phase| phase.name() == step).and_then(|phase| took(target, phase));
        let ms = ms.or_else(|| took(target, current));
        Failed { step, ms, error }
    }

    fn finish(mut self, engine: Option<Engine>, endpoint: Option<String>, facts: Option<Facts>) -> Diagnosis {
        self.skip_until("");
        self.warnings.iter_mut().for_each(|warning| *warning = short(warning));
        self.warnings.truncate(MOST_WARNINGS);
        Diagnosis {
            ok: self.steps.iter().all(|step| step.ok == Some(true)),
            engine: engine.map(Engine::name),
            endpoint,
            steps: self.steps,
            warnings: self.warnings,
            facts,
        }
    }
}

/// How long a phase took, where it was entered; the login goes on until the session takes a statement.
fn took(target: &Target, phase: Phase) -> Option<f64> {
    let of = |wanted: Phase| wanted == phase || (phase == Phase::Auth && wanted == Phase::Ready);
    let durations = target.progress.durations();
    let mut entered = durations.iter().filter(|(phase, _)| of(*phase)).map(|(_, took)| *took).peekable();
    entered.peek()?;
    Some(millis(entered.sum()))
}

/// What is known of a step that has found out nothing.
fn known(target: &Target, phase: Phase) -> Option<String> {
    let file = target.endpoint.host.is_empty();
    match phase {
        Phase::Resolve | Phase::Tcp | Phase::Tls | Phase::Auth if file => {
            Some("none is needed for a file".to_owned())
        }
        Phase::Tls => Some(tls_mode(target.tls.mode()).to_owned()),
        Phase::Auth => Some(format!("user `{}`, database `{}`", target.login.user, target.database)),
        _ => None,
    }
}

/// What is demanded of the server, as the configuration has it.
fn tls_mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::VerifyFull => "verify-full",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::Require => "require",
        TlsMode::Disable => "disable",
    }
}

/// The step that a phase belongs to.
fn step_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Ready => Phase::Auth.name(),
        other => other.name(),
    }
}

/// What went wrong, for the owner of the function: never less than the caller would be told.
fn told(error: &Error) -> String {
    let text = if error.detail().is_empty() { error.message() } else { error.detail() };
    match error.sqlstate() {
        Some(code) => format!("{text} [{code}]"),
        None => text.to_owned(),
    }
}

/// A text of bounded length, on one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Milliseconds with three digits.
fn millis(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

const STEPS: [&str; 7] = ["config", "credentials", "resolve", "tcp", "tls", "auth", "query"];
const CONNECTING: [Phase; 4] = [Phase::Resolve, Phase::Tcp, Phase::Tls, Phase::Auth];
const ROTATING: &str = "the secret's current version is rejected and its pending one works: a rotation is under way, and \
                        calls use the pending one";
/// What is kept of the time for the reply.
const REPLY: Duration = Duration::from_millis(150);
/// How long the dialer may speak after its time is up.
const LAST_WORD: Duration = Duration::from_millis(50);
/// How long the server is given to take leave.
const GOODBYE: Duration = Duration::from_millis(300);
/// Enough for every sentence of ours with what servers add.
const LONGEST_TEXT: usize = 1_000;
const MOST_WARNINGS: usize = 10;
