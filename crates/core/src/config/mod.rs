//! What a user may configure, and what it means.
//!
//! Defaults, then `lambda-rds.toml`, then the environment: the later wins. Every key is declared once, in
//! `keys`; `read` takes what the user wrote and makes a [`Config`] of it, in which nothing is optional that is
//! needed and nothing is a string that has a meaning. Read once, passed by reference: nothing else in this
//! crate reads the environment.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::backend::{Endpoint, Pooling};
use crate::credentials::Login;
use crate::queries::Identity;

mod keys;
mod read;
mod reference;
mod sources;
mod words;

pub use reference::reference;
pub use sources::{ConfigError, Sources};

pub(crate) use words::host;

/// All of the configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database and the connections to it: `DB_*`, `[db]`.
    pub db: Db,
    /// The function: `LAMBDA_RDS_*`, `[function]`.
    pub function: Function,
    /// What AWS tells about where we run.
    pub platform: Platform,
    /// What is allowed but probably not meant: one sentence each, to be logged once.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads this process's environment and the `lambda-rds.toml` beside its binary. `built_in` are the engines
    /// that this binary has.
    ///
    /// # Errors
    /// Every mistake at once: values that are not allowed, keys that are unknown, missing or for a later version.
    pub fn load(built_in: &[Engine]) -> Result<Self, ConfigError> {
        Self::read(&Sources::process(), built_in)
    }

    /// Reads these sources.
    ///
    /// # Errors
    /// As [`Config::load`]; and a file that is named and cannot be read.
    pub fn read(sources: &Sources, built_in: &[Engine]) -> Result<Self, ConfigError> {
        read::config(sources, built_in)
    }

    /// Reads a second database from the environment, with this prefix in the place of `DB_`: with `REPORTING_DB_`
    /// its host is `REPORTING_DB_HOST`. Since nothing tells which engines are built in, its `…ENGINE` must be set.
    /// Warnings are logged.
    ///
    /// # Errors
    /// As [`Config::load`], for the variables with this prefix.
    pub fn from_env_prefix(prefix: &str) -> Result<Db, ConfigError> {
        Self::read_prefix(&Sources::process(), prefix)
    }

    /// [`Config::from_env_prefix`] from these sources; the file is for the first database alone.
    ///
    /// # Errors
    /// As there.
    pub fn read_prefix(sources: &Sources, prefix: &str) -> Result<Db, ConfigError> {
        let (db, warnings) = read::second(sources, prefix, &Engine::ALL)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(db)
    }
}

/// One database and the connections to it.
#[derive(Debug, Clone)]
pub struct Db {
    /// What its variables begin with, for messages that name one: `DB_`.
    pub prefix: String,
    /// The kind of server.
    pub engine: Engine,
    /// Where user and password come from.
    pub auth: Auth,
    /// The host, where it is set; it wins over the secret's.
    pub host: Option<String>,
    /// The TCP port, where it is set; it wins over the secret's.
    pub port: Option<u16>,
    /// The database, where it is set; it wins over the secret's. For SQLite the file, and always set.
    pub name: Option<String>,
    /// The user, where it is set; it wins over the secret's.
    pub user: Option<String>,
    /// How connections are protected.
    pub tls: Tls,
    /// What stands between us and the server.
    pub pooler: Pooler,
    /// Whether statements may be sent before the one ahead of them is answered, where the server takes that.
    pub pipeline: bool,
    /// Where a cluster's readers are found, where that is set.
    pub reader_host: Option<String>,
    /// Where a cluster's reads go.
    pub read_from: ReadFrom,
    /// The hosts of a cluster's members, where the cluster's own name does not tell them.
    pub instance_pattern: Option<InstancePattern>,
    /// The longest that opening one session may take.
    pub connect_timeout: Duration,
    /// The longest that one statement may take, unless its query says otherwise.
    pub query_timeout: Duration,
    /// What is kept of the invocation's time for the reply.
    pub deadline_reserve: Duration,
    /// The table of idempotency keys.
    pub idempotency_table: Table,
    /// How many bytes of reply are kept with an idempotency key.
    pub idempotency_reply: usize,
    /// Sessions per environment and endpoint; at least 1.
    pub max_connections: usize,
    /// When the first session opens.
    pub connect_at: ConnectAt,
}

/// The name of a table, with its schema or without. It is taken as written, and quoted in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    schema: Option<String>,
    name: String,
}

impl Table {
    /// Reads `table` or `schema.table`; `None` if it is neither. Only what needs no escapes in any engine's quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            (1..=LONGEST_NAME).contains(&name.len())
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
        };
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let good = is_name(name) && schema.is_none_or(is_name);
        good.then(|| Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// As it stands in SQL.
    #[must_use]
    pub fn quoted(&self, dialect: crate::queries::Dialect) -> String {
        let quote = if dialect == crate::queries::Dialect::Mysql { '`' } else { '"' };
        let quoted = |name: &String| format!("{quote}{name}{quote}");
        self.schema.iter().chain([&self.name]).map(quoted).collect::<Vec<_>>().join(".")
    }

    /// The name of the index on it, which is in the table's schema without saying so.
    pub(crate) fn index(&self) -> Self {
        const BEHIND: &str = "_expires_at";
        let name = &self.name[..self.name.len().min(LONGEST_NAME - BEHIND.len())];
        Self { schema: None, name: format!("{name}{BEHIND}") }
    }

    /// The same with the schema, as SQLite wants it.
    pub(crate) fn index_with_schema(&self) -> Self {
        Self { schema: self.schema.clone(), ..self.index() }
    }

    /// The table without its schema, as SQLite wants it of an index.
    pub(crate) fn alone(&self) -> Self {
        Self { schema: None, name: self.name.clone() }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// PostgreSQL cuts longer ones off; MySQL takes one letter more.
const LONGEST_NAME: usize = 63;

/// The kind of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    /// PostgreSQL on RDS, or anywhere.
    Postgres,
    /// MySQL or MariaDB on RDS, or anywhere.
    Mysql,
    /// Aurora PostgreSQL.
    AuroraPostgres,
    /// Aurora MySQL.
    AuroraMysql,
    /// SQLite, embedded: a file.
    Sqlite,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Postgres, Self::Mysql, Self::AuroraPostgres, Self::AuroraMysql, Self::Sqlite];

    /// Its name in the configuration, and as a feature of the build.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::AuroraPostgres => "aurora-postgres",
            Self::AuroraMysql => "aurora-mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// The TCP port where such servers listen unless told otherwise; 0 for the embedded engine.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Postgres | Self::AuroraPostgres => 5432,
            Self::Mysql | Self::AuroraMysql => 3306,
            Self::Sqlite => 0,
        }
    }

    /// Whether its servers are the members of a cluster.
    #[must_use]
    pub fn is_aurora(self) -> bool {
        matches!(self, Self::AuroraPostgres | Self::AuroraMysql)
    }

    /// Whether a server of either kind is spoken to in the same way: Aurora differs only in where its members are.
    #[must_use]
    pub fn speaks_as(self, other: Self) -> bool {
        self.default_port() == other.default_port()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEngine;

impl FromStr for Engine {
    type Err = UnknownEngine;

    /// Reads our names and AWS's.
    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text {
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            "aurora-postgres" | "aurora-postgresql" => Ok(Self::AuroraPostgres),
            "aurora-mysql" => Ok(Self::AuroraMysql),
            "sqlite" => Ok(Self::Sqlite),
            _ => Err(UnknownEngine),
        }
    }
}

/// Where user and password come from.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A secret in Secrets Manager.
    Secret {
        /// Its name or ARN.
        id: String,
        /// The age up to which a cached value opens a connection without asking again.
        ttl: Duration,
    },
    /// A token per connection, signed with AWS credentials.
    Iam {
        /// The host that it is signed for, where it is not the endpoint's.
        host: Option<String>,
    },
    /// The configuration itself.
    Password(Login),
    /// Nowhere: the embedded engine has no users.
    Embedded,
}

/// How connections are protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What is demanded of the server.
    pub mode: TlsMode,
    /// A PEM file of roots to trust instead of the built-in ones.
    pub ca: Option<PathBuf>,
    /// The name to verify, where it is not the host's.
    pub server_name: Option<String>,
}

/// What is demanded of a server before anything is told to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// A certificate that chains to a trusted root and names the server.
    VerifyFull,
    /// A certificate that chains to a trusted root.
    VerifyCa,
    /// Encryption with anybody.
    Require,
    /// Nothing: plain text.
    Disable,
}

/// What stands between us and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooler {
    /// Told by the host's name: RDS Proxy's endpoints are known.
    Auto,
    /// Nothing.
    None,
    /// A pooler that gives a server connection per transaction.
    Transaction,
}

impl Pooler {
    /// What stands before the server of this name.
    #[must_use]
    pub fn at(self, host: &str) -> Pooling {
        match (self, is_rds_proxy(host)) {
            (Self::None, _) | (Self::Auto, false) => Pooling::None,
            (Self::Auto | Self::Transaction, true) => Pooling::RdsProxy,
            (Self::Transaction, false) => Pooling::Transaction,
        }
    }
}

/// Whether a name is one of RDS Proxy's: `app.proxy-c9akciq32.eu-west-1.rds.amazonaws.com`, and with more before
/// it for its further endpoints.
fn is_rds_proxy(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let name = host.strip_suffix(".cn").unwrap_or(&host).strip_suffix(".rds.amazonaws.com");
    name.is_some_and(|name| name.split('.').any(|label| label.starts_with("proxy-")))
}

/// Whether RDS has given this name: `db1.c9akciq32.eu-west-1.rds.amazonaws.com`, or `db1.c9akciq32.rds.cn-north-1.amazonaws.com.cn`.
#[must_use]
pub fn is_rds_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let name = host.strip_suffix(".cn").unwrap_or(&host).strip_suffix(".amazonaws.com");
    name.is_some_and(|name| name.split('.').any(|label| label == "rds"))
}

/// Where a cluster's reads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// Where writes go.
    Writer,
    /// To the readers.
    Reader,
}

/// The hosts of a cluster's members: a host name with a gap for the member's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePattern {
    before: String,
    after: String,
    /// The port, where it is not the cluster's.
    port: Option<u16>,
}

impl InstancePattern {
    /// The pattern `?` and what follows it.
    #[must_use]
    pub fn of_domain(domain: &str) -> Self {
        Self { before: String::new(), after: format!(".{domain}"), port: None }
    }

    /// Where this member is; `port` is the cluster's. `None` if its name is none that a host could have.
    #[must_use]
    pub fn endpoint(&self, member: &str, port: u16) -> Option<Endpoint> {
        let host = host(&format!("{}{member}{}", self.before, self.after))?;
        Some(Endpoint { host, port: self.port.unwrap_or(port) })
    }
}

/// When the first session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectAt {
    /// During INIT.
    Init,
    /// When the first call needs it.
    FirstUse,
}

/// What the function serves, and how.
#[derive(Debug, Clone)]
pub struct Function {
    /// The folder of the query files, relative to the working folder.
    pub queries: PathBuf,
    /// The query that `{}` runs.
    pub default_query: Option<String>,
    /// What a URL's path has before the query's name, after the stage: empty, or `/a/b`, without a slash at
    /// its end.
    pub base_path: String,
    /// A further limit for calls over HTTP, since the gateway leaves then.
    pub http_timeout: Duration,
    /// Whether `transaction` and `batch` may come over HTTP.
    pub http_batch: bool,
    /// The value of `Access-Control-Allow-Origin`.
    pub cors_origin: Option<String>,
    /// How a direct invoke that does not say is told of a failure.
    pub direct_errors: DirectErrors,
    /// How 64-bit integers are written in replies.
    pub int64: Int64,
    /// What `GET /openapi.json` is answered with.
    pub openapi: OpenApi,
    /// Whether `POST /mcp` is answered.
    pub mcp: bool,
    /// Who gives the tokens that clients of MCP come with, where they need one.
    pub mcp_authorization_server: Option<String>,
    /// How many bytes of result an agent gets at most.
    pub tool_bytes: usize,
    /// Whether replies over HTTP are compressed for who takes that.
    pub compress: bool,
    /// Whether the function is invoked with a response stream, so that rows are sent while they are read.
    pub stream: bool,
    /// How many bytes of body a stream takes.
    pub stream_bytes: usize,
    /// What every query is told of its caller.
    pub identity: Identity,
    /// Whether `{"diagnose": true}` is answered.
    pub diagnose: bool,
    /// Whether the log may show values of parameters, and what the database says about values.
    pub log_values: bool,
    /// What is logged.
    pub log: Targets,
}

/// What `GET /openapi.json` is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenApi {
    /// Nothing: there is no such path.
    Off,
    /// A document made of the query files.
    Made,
    /// This file, which was made elsewhere.
    File(PathBuf),
}

/// How a direct invoke is told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectErrors {
    /// By a reply with a status.
    Reply,
    /// As a function error.
    Raise,
}

/// How 64-bit integers are written in replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int64 {
    /// As JSON numbers. JavaScript rounds those beyond 2^53.
    Number,
    /// As strings.
    String,
}

/// What AWS tells about where we run, and how its services are reached.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Whether this process is a Lambda function.
    pub lambda: bool,
    /// Where the Runtime API is that is asked for invocations: a host with its port, or a URL.
    pub runtime_api: Option<String>,
    /// The function's name.
    pub function_name: Option<String>,
    /// The function's version.
    pub function_version: Option<String>,
    /// The function's memory in MB.
    pub memory_mb: Option<u32>,
    /// How many invocations this environment serves at a time; at least 1.
    pub max_concurrency: usize,
    /// Whether INIT runs ahead of the first invocation, for which nobody may ever wait: provisioned concurrency, managed
    /// instances. On demand, the invocation that INIT runs for follows it.
    pub ahead: bool,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// What is logged, unless the function's own filter says.
    pub log_level: Option<LevelFilter>,
    /// The region.
    pub region: Option<String>,
    /// A PEM file of roots to trust for AWS's services, instead of the built-in ones.
    pub ca_bundle: Option<PathBuf>,
    /// Where Secrets Manager is, when it is not where AWS has it.
    pub secrets_endpoint: Option<String>,
    /// The credentials that Lambda, or a developer's shell, gives.
    pub access: Option<AccessKey>,
}

impl Platform {
    /// Reads this process's environment, for those who take only [`Config::from_env_prefix`].
    #[must_use]
    pub fn from_env() -> Self {
        read::platform(&Sources::process().env, &mut Vec::new())
    }
}

/// AWS credentials from the environment.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The access key's id.
    pub id: String,
    /// The access key.
    pub secret: SecretString,
    /// The token of a temporary session.
    pub token: Option<SecretString>,
}
