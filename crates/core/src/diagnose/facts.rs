//! What a server says about itself: one table of statements by dialect, and what to warn of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::answers;
use crate::backend::{Pooling, Session, State, Target};
use crate::config::{Auth, Db};
use crate::credentials;
use crate::error::{Error, Fault, Phase, Result};
use crate::queries::{Dialect, Verb};

/// What there is to know about a server that was reached.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Product and version.
    pub server: String,
    /// The address that was connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Version and cipher of TLS, where it is on and they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The database's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What the server shows our sessions as.
    pub application_name: String,
    /// What stands before the server: `none`, `transaction` or `rds-proxy`.
    pub pooler: &'static str,
    /// How many connections the server takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// How many of them are taken, ours included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_connections: Option<u64>,
    /// Whether the session was read-only, as calls have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_session: Option<bool>,
    /// Whether the server takes writes.
    pub takes_writes: bool,
    /// The longest that a statement of our sessions may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<String>,
    /// The same for sessions that set nothing: the server's, the role's or the database's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_statement_timeout: Option<String>,
    /// How long an idle session may stay, by the server's, the role's or the database's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_idle_timeout: Option<String>,
}

/// What the server has told, by the names in [`statements`].
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    told: Map<String, Value>,
    dialect: Option<Dialect>,
    read_only_server: bool,
    /// Whether the limits of a session without settings of ours are known.
    bare: bool,
    /// When it told its clock.
    heard: Option<SystemTime>,
}

/// What bounds a session of PostgreSQL's that sets nothing itself, in milliseconds: what it has begun with, so that
/// `SET LOCAL` does not matter; but settings in the startup message do.
const POSTGRES_LIMITS: &str = "SELECT (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'statement_timeout') AS \
     statement_limit, (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout') AS idle_limit";

/// Whether a session's own settings hide those of the server.
pub(super) fn hidden(dialect: Dialect) -> bool {
    dialect == Dialect::Postgres
}

/// What is asked: the first statement must be answered, and the rest is good to know. A row either has its facts as
/// columns, or is a name and a value (`SHOW`).
fn statements(dialect: Dialect) -> Vec<(Verb, String)> {
    match dialect {
        Dialect::Postgres => vec![
            (Verb::One, "SELECT version() AS version".to_owned()),
            (
                Verb::One,
                    "SELECT extract(epoch FROM clock_timestamp())::text AS clock, current_database()::text AS \
                     database, session_user::text AS \"user\", current_setting('transaction_read_only') AS read_only, \
                     current_setting('max_connections') AS max_connections, \
                     (SELECT sum(numbackends) FROM pg_catalog.pg_stat_database)::text AS used_connections".to_owned(),
            ),
            (Verb::One, POSTGRES_LIMITS.to_owned()),
        ],
        Dialect::Mysql => vec![
            (
                Verb::One,
                "SELECT VERSION() AS version, CAST(UNIX_TIMESTAMP(NOW(3)) AS CHAR) AS clock, DATABASE() AS `database`, \
                 CURRENT_USER() AS `user`"
                    .to_owned(),
            ),
            (
                Verb::Many,
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('max_connections', 'wait_timeout', \
                 'max_execution_time', 'max_statement_time', 'version_comment')"
                    .to_owned(),
            ),
            (
                Verb::Many,
                "SHOW SESSION STATUS WHERE Variable_name IN ('Threads_connected')"
                    .to_owned(),
            ),
            (
                Verb::Many,
                "SHOW SESSION VARIABLES WHERE Variable_name IN ('transaction_read_only', 'tx_read_only')".to_owned(),
            ),
        ],
        Dialect::Sqlite => vec![
            (Verb::One, "SELECT sqlite_version() AS version".to_owned()),
            (Verb::One, "SELECT query_only AS read_only FROM pragma_query_only".to_owned()),
        ],
    }
}

impl Known {
    /// Asks all of it. What the server refuses to tell, beside the first, is a warning.
    ///
    /// # Errors
    /// The first statement's.
    pub(super) async fn ask(
        dialect: Dialect,
        session: &mut dyn Session,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut known = Self { dialect: Some(dialect), ..Self::default() };
        for (nth, (verb, sql)) in statements(dialect).into_iter().enumerate() {
            match known.learn(session, verb, &sql).await {
                Ok(()) => {}
                Err(error) if nth == 0 => return Err(error),
                Err(error) => {
                    let reason = if error.detail().is_empty() { error.message() } else { error.detail() };
                    warnings.push(format!("the server does not tell all about itself: {reason}"));
                    return if session.state() == State::Idle { Ok(known) } else { Err(error) };
                }
            }
        }
        Ok(known)
    }

    /// The same, with the limits that a session without settings has.
    pub(super) async fn with_defaults(&self, dialect: Dialect, session: &mut dyn Session) -> Self {
        let mut known = self.clone();
        known.bare = hidden(dialect) && known.learn(session, Verb::One, POSTGRES_LIMITS).await.is_ok();
        known
    }

    pub(super) fn takes_no_writes(self) -> Self {
        Self { read_only_server: true, ..self }
    }

    async fn learn(&mut self, session: &mut dyn Session, verb: Verb, sql: &str) -> Result<()> {
        let body = answers::read(session, verb, sql).await?;
        let parsed = serde_json::from_slice(&body).map_err(|error| {
            Error::new(
                Fault::Internal,
                format!("a bug: the server's answer about itself is no JSON: {error}"),
            )
            .with_phase(Phase::Query)
        })?;
        match parsed {
            Value::Object(row) => self.told.extend(row),
            Value::Array(rows) => {
                for row in rows {
                    if let (Some(name), Some(value)) = (row["Variable_name"].as_str(), row.get("Value")) {
                        self.told.insert(name.to_owned(), value.clone());
                    }
                }
            }
            _ => {}
        }
        if self.heard.is_none() && self.told.contains_key("clock") {
            self.heard = Some(SystemTime::now());
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.told.get(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn is_mariadb(&self) -> bool {
        self.text("version").is_some_and(|version| version.contains("MariaDB"))
    }

    /// The product and its version, in short.
    fn server(&self) -> String {
        let version = self.text("version").unwrap_or_else(|| "unknown".to_owned());
        match self.dialect {
            // `PostgreSQL 15.18 (Debian …) on x86_64-pc-linux-gnu, compiled by …`
            Some(Dialect::Postgres) => version.split_whitespace().take(2).collect::<Vec<_>>().join(" "),
            Some(Dialect::Mysql) if self.is_mariadb() => format!("MariaDB {version}"),
            Some(dialect) => format!("{} {version}", dialect.name()),
            None => version,
        }
    }

    /// What the step `query` has found.
    pub(super) fn answered(&self) -> String {
        format!("{} answers", self.server())
    }

    /// By how many seconds our clock is ahead of the server's.
    fn clock_ahead(&self) -> Option<i64> {
        let seconds: f64 = self.text("clock")?.parse().ok()?;
        let theirs = UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?;
        Some(credentials::ahead(self.heard?, theirs))
    }

    /// The server's own limit of statements and of idle sessions, `None` where it has none. The outer `None` where that
    /// is not known.
    fn limits(&self, pooled: bool) -> Option<(Option<String>, Option<String>)> {
        match self.dialect? {
            Dialect::Postgres => {
                let set = |name: &str| Some(format!("{}ms", self.number(name).filter(|limit| *limit > 0)?));
                (pooled || self.bare).then(|| (set("statement_limit"), set("idle_limit")))
            }
            Dialect::Mysql => {
                let statement = if self.is_mariadb() {
                    let seconds: f64 = self.text("max_statement_time")?.parse().ok()?;
                    (seconds > 0.0).then(|| format!("{seconds}s"))
                } else {
                    let millis = self.number("max_execution_time")?;
                    (millis > 0).then(|| format!("{millis}ms"))
                };
                Some((statement, self.number("wait_timeout").map(|seconds| format!("{seconds}s"))))
            }
            Dialect::Sqlite => None,
        }
    }

    /// Warns of what works today.
    pub(super) fn warn(&self, db: &Db, target: &Target, warnings: &mut Vec<String>) {
        let pooled = target.pooling != Pooling::None;
        if self.read_only_server {
            warnings.push(
                "the server is read-only: a replica or a reader. That will do, since no query is declared to write"
                    .to_owned(),
            );
        }
        if let (Some(used), Some(most)) = (self.used(), self.number("max_connections"))
            && used * 10 >= most * 8
        {
            warnings.push(format!(
                "{used} of the server's {most} connections are taken (max_connections): lower the function's reserved \
                 concurrency, or put RDS Proxy between"
            ));
        }
        if let Some(ahead) = self.clock_ahead().filter(|ahead| ahead.abs() > TOLERATED_SKEW) {
            let which = if ahead > 0 { "ahead" } else { "behind" };
            let because = match db.auth {
                Auth::Iam { .. } => "IAM tokens are refused when their time is wrong",
                _ => "certificates, tokens and timestamps depend on it",
            };
            warnings.push(format!(
                "this machine's clock is {} s {which} of the server's: {because}. Set the clock by NTP",
                ahead.abs()
            ));
        }
        self.warn_of_limits(target, pooled, warnings);
    }

    fn warn_of_limits(&self, target: &Target, pooled: bool, warnings: &mut Vec<String>) {
        let Some((statement, idle)) = self.limits(pooled) else { return };
        let limit = target.statement_timeout.as_millis();
        let user = &target.login.user;
        if statement.is_none() {
            let why = if target.pooling == Pooling::RdsProxy {
                "behind RDS Proxy our sessions set none either, so nothing stops a statement there"
            } else {
                "our sessions set their own, but nothing stops the statements of others"
            };
            let set = match self.dialect {
                Some(Dialect::Postgres) => {
                    format!("ALTER ROLE \"{user}\" SET statement_timeout = '{limit}ms'")
                }
                _ if self.is_mariadb() => {
                    format!("SET GLOBAL max_statement_time = {}", target.statement_timeout.as_secs().max(1))
                }
                _ => format!("SET GLOBAL max_execution_time = {limit}"),
            };
            warnings.push(format!(
                "no statement limit on the server: {why}. {set}, or the same in its parameter group"
            ));
        }
        match (self.dialect, idle) {
            // A pooler's connections are idle by design.
            (Some(Dialect::Postgres), None) if !pooled => warnings.push(format!(
                "no idle limit on the server: the session of a function that was killed stays for ever and keeps its \
                 connection. ALTER ROLE \"{user}\" SET idle_session_timeout = '{IDLE_SECONDS}s', or the same in its \
                 parameter group"
            )),
            (Some(Dialect::Mysql), Some(_)) if self.number("wait_timeout") > Some(IDLE_SECONDS * 2) => {
                warnings.push(format!(
                    "the server's idle limit is long (wait_timeout is {} s): the session of a function that was killed \
                     keeps its connection so long. SET GLOBAL wait_timeout = {IDLE_SECONDS}, or the same in its \
                     parameter group",
                    self.number("wait_timeout").unwrap_or_default()
                ));
            }
            _ => {}
        }
    }

    fn used(&self) -> Option<u64> {
        self.number("used_connections").or_else(|| self.number("Threads_connected"))
    }

    /// All of it, for the reply.
    pub(super) fn facts(&self, target: &Target) -> Facts {
        let pooled = target.pooling != Pooling::None;
        let (server_statement_timeout, server_idle_timeout) = self.limits(pooled).unwrap_or_default();
        let read_only = ["read_only", "transaction_read_only", "tx_read_only"];
        let read_only = read_only.iter().find_map(|name| self.text(name));
        let own = match self.dialect {
            Some(Dialect::Postgres) if target.pooling == Pooling::RdsProxy => {
                server_statement_timeout.clone()
            }
            Some(Dialect::Postgres | Dialect::Mysql) => {
                Some(format!("{}ms", target.statement_timeout.as_millis()))
            }
            _ => None,
        };
        Facts {
            server: self.server(),
            address: target.progress.found(Phase::Tcp),
            tls: target.progress.found(Phase::Tls),
            user: self.text("user"),
            database: self.text("database"),
            application_name: target.application_name.clone(),
            pooler: match target.pooling {
                Pooling::None => "none",
                Pooling::Transaction => "transaction",
                Pooling::RdsProxy => "rds-proxy",
            },
            max_connections: self.number("max_connections"),
            used_connections: self.used(),
            read_only_session: read_only.map(|text| ["on", "ON", "1"].contains(&text.as_str())),
            takes_writes: !self.read_only_server,
            statement_timeout: own,
            server_statement_timeout,
            server_idle_timeout,
        }
    }
}

/// The server's answers are a few hundred bytes.
/// Below a minute a difference tells of a slow answer, and nothing depends on it.
const TOLERATED_SKEW: i64 = 60;
/// An idle limit that outlives no frozen environment for long.
const IDLE_SECONDS: u64 = 900;
