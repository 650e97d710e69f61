//! From what the user wrote to what it means, with every mistake at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::keys;
use super::sources::{ConfigError, Reader, Source, Sources, get};
use super::words::{
    DAY, base_path, certificates, filter, host, instance_pattern, issuer, openapi, origin, path, secret_id,
    span, text, whole,
};
use super::{
    AccessKey, Auth, Config, ConnectAt, Db, DirectErrors, Engine, Function, Int64, OpenApi, Platform, Pooler,
    ReadFrom, Tls, TlsMode,
};
use crate::credentials::Login;
use crate::queries::{Identity, Part};

/// Reads all of the configuration.
pub(super) fn config(sources: &Sources, built_in: &[Engine]) -> Result<Config, ConfigError> {
    let mut warnings = Vec::new();
    let platform = platform(&sources.env, &mut warnings);
    let mut reader = Reader::new(sources, keys::DB.prefix);
    reader.warnings = warnings;
    reader.unknown_variables(&sources.env);
    let db = db(&mut reader, built_in, &platform);
    let function = function(&mut reader, db.as_ref().map(|db| db.engine), &platform);
    let (mistakes, warnings) = (reader.mistakes, reader.warnings);
    match (db, function) {
        (Some(db), Some(function)) if mistakes.is_empty() => Ok(Config { db, function, platform, warnings }),
        _ => Err(ConfigError { mistakes }),
    }
}

/// Reads the database whose variables begin with this prefix instead of `DB_`, from the environment alone. Its
/// warnings go beside it.
pub(super) fn second(
    sources: &Sources,
    prefix: &str,
    built_in: &[Engine],
) -> Result<(Db, Vec<String>), ConfigError> {
    if !prefix.ends_with('_') {
        let mistake =
            format!("The prefix {prefix:?} of a database's variables does not end in an underscore.");
        return Err(ConfigError { mistakes: vec![mistake] });
    }
    let sources = Sources { env: sources.env.clone(), file: None, beside: sources.beside.clone() };
    let platform = platform(&sources.env, &mut Vec::new());
    let mut reader = Reader::new(&sources, prefix);
    reader.unknown_variables(&sources.env);
    let db = db(&mut reader, built_in, &platform);
    match db {
        Some(db) if reader.mistakes.is_empty() => Ok((db, reader.warnings)),
        _ => Err(ConfigError { mistakes: reader.mistakes }),
    }
}

/// Reads what AWS tells. A value that cannot be read is warned of: the user has not written it.
pub(super) fn platform(env: &[(String, String)], warnings: &mut Vec<String>) -> Platform {
    let text = |name: &str| get(env, name).map(str::to_owned);
    let mut number = |name: &str| {
        let value = get(env, name)?;
        let number = value.parse::<u32>().ok().filter(|number| *number > 0);
        if number.is_none() {
            warnings.push(format!("{name} (environment) is {value:?} and no whole number above 0: ignored."));
        }
        number
    };
    let memory_mb = number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
    let max_concurrency = number("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|n| usize::try_from(n).ok());
    let lambda = get(env, "AWS_LAMBDA_RUNTIME_API").or(get(env, "AWS_LAMBDA_FUNCTION_NAME")).is_some();
    let text_wanted = get(env, "AWS_LAMBDA_LOG_FORMAT").is_some_and(|f| f.eq_ignore_ascii_case("text"));
    let log_level =
        get(env, "AWS_LAMBDA_LOG_LEVEL").and_then(|level| match level.to_ascii_lowercase().as_str() {
            // Lambda's levels are tracing's and one more.
            "fatal" => Some(LevelFilter::ERROR),
            known => known.parse().ok(),
        });
    let access = text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY")).map(|(id, secret)| AccessKey {
        id,
        secret: SecretString::from(secret),
        token: text("AWS_SESSION_TOKEN").map(SecretString::from),
    });
    Platform {
        lambda,
        runtime_api: text("AWS_LAMBDA_RUNTIME_API"),
        function_name: text("AWS_LAMBDA_FUNCTION_NAME"),
        function_version: text("AWS_LAMBDA_FUNCTION_VERSION"),
        memory_mb,
        max_concurrency: max_concurrency.unwrap_or(1),
        ahead: get(env, "AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|how| how != "on-demand"),
        log_json: lambda && !text_wanted,
        log_level,
        region: text("AWS_REGION").or(text("AWS_DEFAULT_REGION")),
        ca_bundle: text("AWS_CA_BUNDLE").map(PathBuf::from),
        secrets_endpoint: text("AWS_ENDPOINT_URL_SECRETS_MANAGER").or(text("AWS_ENDPOINT_URL")),
        access,
    }
}

/// Reads the database. `None` where something that is needed is missing or wrong; then it has been noted.
fn db(r: &mut Reader<'_>, built_in: &[Engine], platform: &Platform) -> Option<Db> {
    let engine = engine(r, built_in);
    let embedded = engine == Some(Engine::Sqlite);

    let host = r.value(&keys::DB_HOST, host);
    let port = r.value(&keys::DB_PORT, whole::<u16>);
    let name = r.value(&keys::DB_NAME, text);
    let user = r.value(&keys::DB_USER, text);
    let secret_id = r.value(&keys::DB_SECRET_ID, secret_id);
    let password = r.value(&keys::DB_PASSWORD, |text| Some(SecretString::from(text)));
    let allow_password = r.flag(&keys::DB_ALLOW_PASSWORD);
    let iam_host = r.value(&keys::DB_IAM_HOST, self::host);
    let ttl = r.value(&keys::DB_SECRET_TTL, |text| span(text, Duration::ZERO..=DAY));
    let way =
        r.word(&keys::DB_AUTH, &[("secret", Way::Secret), ("iam", Way::Iam), ("password", Way::Password)]);

    let tls_mode = r.word(
        &keys::DB_TLS,
        &[
            ("verify-full", TlsMode::VerifyFull),
            ("verify-ca", TlsMode::VerifyCa),
            ("require", TlsMode::Require),
            ("disable", TlsMode::Disable),
        ],
    );
    let tls_ca = r.value(&keys::DB_TLS_CA, path).map(|path| r.sources.locate(path));
    let tls_server_name = r.value(&keys::DB_TLS_SERVER_NAME, self::host);
    let pooler = r.word(
        &keys::DB_POOLER,
        &[("auto", Pooler::Auto), ("none", Pooler::None), ("transaction", Pooler::Transaction)],
    );
    let pipeline = r.word(&keys::DB_PIPELINE, &[("auto", true), ("off", false)]);
    let connect_timeout = r.limit(&keys::DB_CONNECT_TIMEOUT);
    let query_timeout = r.limit(&keys::DB_QUERY_TIMEOUT);
    let deadline_reserve = r.value(&keys::DB_DEADLINE_RESERVE, |text| span(text, Duration::ZERO..=DAY));
    let idempotency_table = r.value(&keys::DB_IDEMPOTENCY_TABLE, super::Table::parse);
    let idempotency_reply = r.value(&keys::DB_IDEMPOTENCY_REPLY, |text| {
        text.parse().ok().filter(|bytes| (1..=MOST_TOOL_BYTES).contains(bytes))
    });
    let max_connections = r.value(&keys::DB_MAX_CONNECTIONS, whole::<u16>).map(usize::from);
    let connect_at =
        r.word(&keys::DB_CONNECT_AT, &[("init", ConnectAt::Init), ("first-use", ConnectAt::FirstUse)]);

    let reader_host = r.value(&keys::DB_READER_HOST, self::host);
    let read_from =
        r.word(&keys::DB_READ_FROM, &[("writer", ReadFrom::Writer), ("reader", ReadFrom::Reader)]);
    let instance_pattern = r.value(&keys::DB_INSTANCE_PATTERN, instance_pattern);
    r.aurora(engine, read_from, reader_host.is_some(), instance_pattern.is_some());

    if pooler == Some(Pooler::Transaction) && embedded {
        let (label, engine) = (r.label(&keys::DB_POOLER), r.name(&keys::DB_ENGINE));
        r.mistakes.push(format!(
            "{label} is \"transaction\", and {engine} is sqlite: a file has no pooler before it."
        ));
    }

    let auth = if embedded {
        r.need(&keys::DB_NAME, name.is_some(), "It is the file of the SQLite database.");
        Some(Auth::Embedded)
    } else {
        match way {
            Some(Way::Secret) => {
                if password.is_some() && secret_id.is_some() {
                    let (set, auth) = (r.label(&keys::DB_PASSWORD), r.name(&keys::DB_AUTH));
                    r.warnings.push(format!("{set} is set and not used, since {auth} is secret."));
                }
                let advice = if password.is_some() {
                    format!("Set it, or {}=password to log in with the password.", r.name(&keys::DB_AUTH))
                } else {
                    "It is the secret with user and password.".to_owned()
                };
                // The engine that was meant and misspelled may have no use for it.
                let misspelled = engine.is_none() && r.found(&keys::DB_ENGINE).is_some();
                r.need(&keys::DB_SECRET_ID, secret_id.is_some() || misspelled, &advice);
                secret_id.zip(ttl).map(|(id, ttl)| Auth::Secret { id, ttl })
            }
            Some(Way::Password) => {
                if platform.lambda && allow_password == Some(false) {
                    let (auth, allow) = (r.label(&keys::DB_AUTH), r.name(&keys::DB_ALLOW_PASSWORD));
                    r.mistakes.push(format!(
                        "{auth}: \"password\" is refused inside Lambda, where whoever may see the function's \
                         settings sees the password. Use a secret, or set {allow}=true."
                    ));
                }
                for (key, there) in [
                    (&keys::DB_HOST, host.is_some()),
                    (&keys::DB_NAME, name.is_some()),
                    (&keys::DB_USER, user.is_some()),
                    (&keys::DB_PASSWORD, password.is_some()),
                ] {
                    let advice = format!("{}=password needs it.", r.name(&keys::DB_AUTH));
                    r.need(key, there, &advice);
                }
                user.clone().zip(password).map(|(user, password)| Auth::Password(Login { user, password }))
            }
            Some(Way::Iam) => {
                let there = (host.is_some(), name.is_some(), user.is_some());
                for (key, there) in
                    [(&keys::DB_HOST, there.0), (&keys::DB_NAME, there.1), (&keys::DB_USER, there.2)]
                {
                    let advice = format!("{}=iam needs it.", r.name(&keys::DB_AUTH));
                    r.need(key, there, &advice);
                }
                if matches!(tls_mode, Some(TlsMode::Require | TlsMode::Disable)) {
                    let (tls, auth) = (r.label(&keys::DB_TLS), r.name(&keys::DB_AUTH));
                    r.mistakes.push(format!(
                        "{tls}: {auth}=iam needs verify-full or verify-ca. The token is sent as it is, and whoever \
                         gets it can log in with it."
                    ));
                }
                Some(Auth::Iam { host: iam_host.clone() })
            }
            None => None,
        }
    };
    if iam_host.is_some() && way.is_some_and(|way| way != Way::Iam) {
        let (set, auth) = (r.label(&keys::DB_IAM_HOST), r.name(&keys::DB_AUTH));
        r.warnings.push(format!("{set} is set and not used, since {auth} is not iam."));
    }

    if !embedded {
        r.tls(tls_mode, tls_ca.as_deref(), tls_server_name.is_some());
    }
    Some(Db {
        prefix: r.prefix.to_owned(),
        engine: engine?,
        auth: auth?,
        host,
        port,
        name,
        user,
        tls: Tls {
            // A file has no wire that could be protected, nor a host that a certificate could name.
            mode: if embedded { TlsMode::Disable } else { tls_mode? },
            ca: tls_ca,
            server_name: tls_server_name,
        },
        pooler: pooler?,
        pipeline: pipeline?,
        reader_host,
        read_from: read_from?,
        instance_pattern,
        connect_timeout: connect_timeout?,
        query_timeout: query_timeout?,
        deadline_reserve: deadline_reserve?,
        idempotency_table: idempotency_table?,
        idempotency_reply: idempotency_reply?,
        max_connections: max_connections.unwrap_or(platform.max_concurrency),
        connect_at: connect_at?,
    })
}

/// Which engine it is: with one built in, that one.
fn engine(r: &mut Reader<'_>, built_in: &[Engine]) -> Option<Engine> {
    let key = &keys::DB_ENGINE;
    let names = built_in.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(", ");
    match (r.found(key), built_in) {
        (None, [one]) => Some(*one),
        // Whoever builds in Aurora has its plain engine as well, and means Aurora.
        (None, [first, rest @ ..]) if rest.iter().all(|engine| engine.speaks_as(*first)) => {
            built_in.iter().copied().find(|engine| engine.is_aurora())
        }
        (None, _) => {
            r.need(key, false, &format!("Built in are: {names}. Name the one to use."));
            None
        }
        (Some(_), _) => {
            let engine = r.value(key, |text| text.parse::<Engine>().ok())?;
            if !built_in.contains(&engine) {
                let label = r.label(key);
                r.mistakes.push(format!(
                    "{label}: {engine} is not built into this binary. Built in: {names}. Build it with \
                     `--features {engine}`."
                ));
            }
            Some(engine)
        }
    }
}

/// Reads the function's own keys.
fn function(r: &mut Reader<'_>, engine: Option<Engine>, platform: &Platform) -> Option<Function> {
    let queries = r.value(&keys::LAMBDA_RDS_QUERIES, path).map(|path| r.sources.locate(path));
    let default_query = r.value(&keys::LAMBDA_RDS_DEFAULT_QUERY, text);
    let base_path = match r.found(&keys::LAMBDA_RDS_BASE_PATH) {
        // The one key whose empty value means something.
        Some(found) if found.text.is_empty() => Some(String::new()),
        Some(_) => r.value(&keys::LAMBDA_RDS_BASE_PATH, base_path),
        None => Some(String::new()),
    };
    let http_timeout = r.limit(&keys::LAMBDA_RDS_HTTP_TIMEOUT);
    let http_batch = r.flag(&keys::LAMBDA_RDS_HTTP_BATCH);
    let cors_origin = r.value(&keys::LAMBDA_RDS_CORS_ORIGIN, origin);
    let direct_errors = r.word(
        &keys::LAMBDA_RDS_DIRECT_ERRORS,
        &[("reply", DirectErrors::Reply), ("raise", DirectErrors::Raise)],
    );
    let int64 = r.word(&keys::LAMBDA_RDS_INT64, &[("number", Int64::Number), ("string", Int64::String)]);
    let openapi = r.value(&keys::LAMBDA_RDS_OPENAPI, openapi).map(|openapi| match openapi {
        OpenApi::File(file) => OpenApi::File(r.sources.locate(file)),
        other => other,
    });
    let mcp = r.flag(&keys::LAMBDA_RDS_MCP);
    let mcp_authorization_server = r.value(&keys::LAMBDA_RDS_MCP_AUTHORIZATION_SERVER, issuer);
    if mcp_authorization_server.is_some() && mcp == Some(false) {
        let (set, mcp) = (r.label(&keys::LAMBDA_RDS_MCP_AUTHORIZATION_SERVER), r.name(&keys::LAMBDA_RDS_MCP));
        r.warnings.push(format!("{set} is set and not used, since {mcp} is false."));
    }
    let tool_bytes = r.value(&keys::LAMBDA_RDS_TOOL_BYTES, |text| {
        text.parse().ok().filter(|bytes| (1..=MOST_TOOL_BYTES).contains(bytes))
    });
    let compress = r.word(&keys::LAMBDA_RDS_COMPRESS, &[("auto", true), ("off", false)]);
    let stream = r.flag(&keys::LAMBDA_RDS_STREAM);
    let stream_bytes = r.value(&keys::LAMBDA_RDS_STREAM_BYTES, |text| {
        text.parse().ok().filter(|bytes| (1..=MOST_STREAM_BYTES).contains(bytes))
    });
    let identity = r.identity(engine);
    let diagnose = r.flag(&keys::LAMBDA_RDS_DIAGNOSE);
    let log_values = r.flag(&keys::LAMBDA_RDS_LOG_VALUES);
    let written = r.found(&keys::LAMBDA_RDS_LOG).is_some_and(|found| found.source != Source::Default);
    let log = match platform.log_level {
        Some(level) if !written => Some(Targets::new().with_default(level)),
        _ => r.value(&keys::LAMBDA_RDS_LOG, filter),
    };
    Some(Function {
        queries: queries?,
        default_query,
        base_path: base_path?,
        http_timeout: http_timeout?,
        http_batch: http_batch?,
        cors_origin,
        direct_errors: direct_errors?,
        int64: int64?,
        openapi: openapi?,
        mcp: mcp?,
        mcp_authorization_server,
        tool_bytes: tool_bytes?,
        compress: compress?,
        stream: stream?,
        stream_bytes: stream_bytes?,
        identity,
        diagnose: diagnose?,
        log_values: log_values?,
        log: log?,
    })
}

/// How user and password are found, before it is known that everything for it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Secret,
    Iam,
    Password,
}

/// What several keys say together.
impl Reader<'_> {
    /// What the mode and its companions say together.
    fn tls(&mut self, mode: Option<TlsMode>, ca: Option<&Path>, server_name: bool) {
        let label = self.label(&keys::DB_TLS);
        match mode {
            Some(TlsMode::Require) => self.warnings.push(format!(
                "{label} is require: connections are encrypted, but anybody may be at their other end. Use \
                 verify-full."
            )),
            Some(TlsMode::Disable) => self.warnings.push(format!(
                "{label} is disable: passwords and rows cross the network for everybody to read. Use verify-full."
            )),
            Some(TlsMode::VerifyFull | TlsMode::VerifyCa) | None => {}
        }
        let verifies = matches!(mode, Some(TlsMode::VerifyFull | TlsMode::VerifyCa));
        if let (Some(path), true) = (ca, verifies)
            && let Err(reason) = certificates(path)
        {
            let label = self.label(&keys::DB_TLS_CA);
            self.mistakes.push(format!("{label} is {:?}: {reason}.", path.display().to_string()));
        }
        for (key, set, used) in [
            (&keys::DB_TLS_CA, ca.is_some(), verifies),
            (&keys::DB_TLS_SERVER_NAME, server_name, mode == Some(TlsMode::VerifyFull)),
        ] {
            if set && !used && mode.is_some() {
                let (label, tls) = (self.label(key), self.name(&keys::DB_TLS));
                self.warnings.push(format!("{label} is set and not used, since {tls} does not verify it."));
            }
        }
    }

    /// What is for clusters, on an engine that has none.
    fn aurora(&mut self, engine: Option<Engine>, read_from: Option<ReadFrom>, host: bool, pattern: bool) {
        let Some(engine) = engine.filter(|engine| !engine.is_aurora()) else { return };
        let (set, of) = (self.label(&keys::DB_READ_FROM), self.name(&keys::DB_ENGINE));
        if read_from == Some(ReadFrom::Reader) {
            // Refused, not ignored: a user who wrote it relies on it.
            self.mistakes.push(format!(
                "{set}: \"reader\" needs an engine of Aurora, aurora-postgres or aurora-mysql; {of} is {engine}."
            ));
        }
        for (key, there) in [(&keys::DB_READER_HOST, host), (&keys::DB_INSTANCE_PATTERN, pattern)] {
            if there {
                let set = self.label(key);
                self.warnings.push(format!("{set} is set and not used, since {of} is {engine}."));
            }
        }
    }

    /// What every query is told of its caller.
    fn identity(&mut self, engine: Option<Engine>) -> Identity {
        let (set, role) = (&keys::LAMBDA_RDS_SET, &keys::LAMBDA_RDS_ROLE);
        let (settings, name) = (self.value(set, text), self.value(role, text));
        let (identity, wrong) = Identity::parse(settings.as_deref(), name.as_deref());
        for (part, reason) in wrong {
            let label = self.label(if part == Part::Settings { set } else { role });
            self.mistakes.push(format!("{label}: {reason}."));
        }
        if let Some(engine) =
            engine.filter(|engine| !engine.speaks_as(Engine::Postgres) && !identity.is_empty())
        {
            let label = self.label(if identity.settings().is_empty() { role } else { set });
            self.mistakes.push(format!(
                "{label} is for PostgreSQL, and {} is {engine}: declare parameters `from claims.NAME` in the query files \
                 and compare with them.",
                self.name(&keys::DB_ENGINE)
            ));
        }
        identity
    }
}

/// A reply of Lambda's holds no more.
const MOST_TOOL_BYTES: usize = 6_000_000;
/// What Lambda streams at most: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MOST_STREAM_BYTES: usize = 200 << 20;

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::backend::Pooling;

    const PG: &[Engine] = &[Engine::Postgres];

    fn sources(env: &[(&str, &str)]) -> Sources {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { env, ..Sources::default() }
    }

    /// Sources with a file of this text; the folder keeps the file alive.
    fn with_file(env: &[(&str, &str)], text: &str) -> (Sources, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lambda-rds.toml");
        std::fs::write(&file, text).unwrap();
        (Sources { file: Some(file), ..sources(env) }, folder)
    }

    fn good(env: &[(&str, &str)]) -> Config {
        let mut all = vec![("DB_SECRET_ID", "app")];
        all.extend(env);
        config(&sources(&all), PG).unwrap()
    }

    /// The mistakes of an environment in which nothing else is wrong.
    fn check(env: &[(&str, &str)], mistakes: &[&str]) {
        let mut all = env.to_vec();
        if !env.iter().any(|(name, _)| *name == "DB_SECRET_ID" || *name == "DB_AUTH") {
            all.push(("DB_SECRET_ID", "app"));
        }
        check_sources(&sources(&all), PG, mistakes);
    }

    fn check_sources(sources: &Sources, built_in: &[Engine], mistakes: &[&str]) {
        let found = match config(sources, built_in) {
            Ok(_) => Vec::new(),
            Err(error) => error.mistakes().to_vec(),
        };
        assert_eq!(found, mistakes);
    }

    #[test]
    fn defaults() {
        let config = good(&[]);
        let Db { prefix, engine, auth, host, port, name, user, tls, pooler, .. } = &config.db;
        assert_eq!((prefix.as_str(), *engine), ("DB_", Engine::Postgres));
        assert!(matches!(auth, Auth::Secret { id, ttl } if id == "app" && *ttl == Duration::from_secs(300)));
        assert_eq!((host, port, name, user), (&None, &None, &None, &None));
        assert_eq!(*tls, Tls { mode: TlsMode::VerifyFull, ca: None, server_name: None });
        assert_eq!(*pooler, Pooler::Auto);
        assert!(config.db.pipeline);
        let Db { connect_timeout, query_timeout, deadline_reserve, max_connections, connect_at, .. } =
            config.db;
        assert_eq!(connect_timeout, Duration::from_secs(5));
        assert_eq!(query_timeout, Duration::from_secs(10));
        assert_eq!(deadline_reserve, Duration::from_millis(250));
        assert_eq!((max_connections, connect_at), (1, ConnectAt::Init));

        let function = config.function;
        assert_eq!(function.queries, Path::new("queries/"));
        assert_eq!((function.default_query, function.cors_origin), (None, None));
        assert_eq!(function.base_path, "");
        assert_eq!(function.http_timeout, Duration::from_secs(28));
        assert_eq!((function.direct_errors, function.int64), (DirectErrors::Reply, Int64::Number));
        assert!(!function.http_batch && !function.diagnose && !function.log_values);
        assert_eq!(function.log, "info".parse().unwrap());
        assert!(!config.platform.lambda && !config.platform.log_json);
        assert_eq!(config.warnings, [""; 0]);
    }

    #[test]
    fn every_value_is_read() {
        let config = good(&[
            ("DB_ENGINE", "postgresql"),
            ("DB_SECRET_ID", "unused: the first wins"),
            ("DB_HOST", "db.example.com"),
            ("DB_PORT", "6543"),
            ("DB_NAME", "app"),
            ("DB_USER", "123456"),
            ("DB_SECRET_TTL", "0s"),
            ("DB_TLS", "verify-ca"),
            ("DB_POOLER", "none"),
            ("DB_PIPELINE", "off"),
            ("DB_CONNECT_TIMEOUT", "500ms"),
            ("DB_QUERY_TIMEOUT", "1m"),
            ("DB_DEADLINE_RESERVE", "0s"),
            ("DB_MAX_CONNECTIONS", "4"),
            ("DB_CONNECT_AT", "first-use"),
            ("DB_READ_FROM", "writer"),
            ("LAMBDA_RDS_QUERIES", "sql"),
            ("LAMBDA_RDS_DEFAULT_QUERY", "active_users"),
            ("LAMBDA_RDS_BASE_PATH", "/api/v1/"),
            ("LAMBDA_RDS_HTTP_TIMEOUT", "3s"),
            ("LAMBDA_RDS_HTTP_BATCH", "1"),
            ("LAMBDA_RDS_CORS_ORIGIN", "https://app.example.com"),
            ("LAMBDA_RDS_DIRECT_ERRORS", "raise"),
            ("LAMBDA_RDS_INT64", "string"),
            ("LAMBDA_RDS_DIAGNOSE", "true"),
            ("LAMBDA_RDS_LOG", "warn,lambda_rds_core=trace"),
            ("LAMBDA_RDS_LOG_VALUES", "0"),
        ]);
        let db = &config.db;
        assert_eq!((db.host.as_deref(), db.port), (Some("db.example.com"), Some(6543)));
        // figment's own Env would have made a number of it.
        assert_eq!((db.name.as_deref(), db.user.as_deref()), (Some("app"), Some("123456")));
        assert_eq!((db.tls.mode, db.pooler, db.pipeline), (TlsMode::VerifyCa, Pooler::None, false));
        assert_eq!(db.connect_timeout, Duration::from_millis(500));
        assert_eq!(db.query_timeout, Duration::from_secs(60));
        assert_eq!(db.deadline_reserve, Duration::ZERO);
        assert_eq!((db.max_connections, db.connect_at), (4, ConnectAt::FirstUse));
        let function = &config.function;
        assert_eq!(function.queries, Path::new("sql"));
        assert_eq!(function.default_query.as_deref(), Some("active_users"));
        assert_eq!(function.base_path, "/api/v1");
        assert_eq!(function.cors_origin.as_deref(), Some("https://app.example.com"));
        assert_eq!((function.direct_errors, function.int64), (DirectErrors::Raise, Int64::String));
        assert!(function.http_batch && function.diagnose && !function.log_values);
        assert_eq!(good(&[("LAMBDA_RDS_BASE_PATH", "")]).function.base_path, "");
        assert_eq!(good(&[("LAMBDA_RDS_BASE_PATH", "/")]).function.base_path, "");
    }

    #[test]
    fn mistakes_name_key_source_value_and_what_is_allowed() {
        check(
            &[("DB_PORT", "abc")],
            &["DB_PORT (environment) is \"abc\". Allowed: a whole number from 1 to 65535."],
        );
        check(
            &[("DB_PORT", "0")],
            &["DB_PORT (environment) is \"0\". Allowed: a whole number from 1 to 65535."],
        );
        check(
            &[("DB_HOST", "")],
            &["DB_HOST (environment) is empty. Allowed: a host name or an address, without scheme and port."],
        );
        check(
            &[("DB_HOST", "db.example.com:5432")],
            &[
                "DB_HOST (environment) is \"db.example.com:5432\". Allowed: a host name or an address, without scheme \
             and port.",
            ],
        );
        check(
            &[("DB_CONNECT_TIMEOUT", "0s")],
            &[
                "DB_CONNECT_TIMEOUT (environment) is \"0s\". Allowed: a duration from 1ms to 24h, such as 5s, 500ms or \
             1m.",
            ],
        );
        // A server would take less than a millisecond for no limit.
        check(
            &[("DB_QUERY_TIMEOUT", "10ns")],
            &[
                "DB_QUERY_TIMEOUT (environment) is \"10ns\". Allowed: a duration from 1ms to 24h, such as 5s, 500ms or \
             1m.",
            ],
        );
        check(
            &[("LAMBDA_RDS_DIAGNOSE", "yes")],
            &["LAMBDA_RDS_DIAGNOSE (environment) is \"yes\". Allowed: true · false · 1 · 0."],
        );
        check(
            &[("LAMBDA_RDS_CORS_ORIGIN", "https://app.example.com/")],
            &[
                "LAMBDA_RDS_CORS_ORIGIN (environment) is \"https://app.example.com/\". Allowed: `*` or an origin such as \
             https://app.example.com, without a path.",
            ],
        );
        check(
            &[("LAMBDA_RDS_LOG", "loud")],
            &["LAMBDA_RDS_LOG (environment) is \"loud\". Allowed: a filter such as info or \
             info,lambda_rds_core=debug."],
        );
        check(
            &[("LAMBDA_RDS_DEFAULT_QUERY", "")],
            &["LAMBDA_RDS_DEFAULT_QUERY (environment) is empty. Allowed: the name of a query."],
        );
        check(&[("DB_NAME", "a\u{FFFD}")], &["DB_NAME (environment) is no valid UTF-8. Allowed: text."]);
        check(
            &[("DB_SECRET_ID", "arn:aws:ssm:eu-west-1:1:parameter/x")],
            &[
                "DB_SECRET_ID (environment) is \"arn:aws:ssm:eu-west-1:1:parameter/x\". Allowed: the name or the ARN of \
             a secret in Secrets Manager.",
            ],
        );
    }

    #[test]
    fn all_mistakes_at_once() {
        let env =
            [("DB_PORT", "x"), ("DB_TLS", "on"), ("LAMBDA_RDS_QUERYS", "q"), ("LAMBDA_RDS_INT64", "big")];
        let error = config(&sources(&env), PG).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The configuration has 5 mistakes:\n\
             - LAMBDA_RDS_QUERYS (environment) is unknown. Did you mean LAMBDA_RDS_QUERIES?\n\
             - DB_PORT (environment) is \"x\". Allowed: a whole number from 1 to 65535.\n\
             - DB_TLS (environment) is \"on\". Allowed: verify-full · verify-ca · require · disable.\n\
             - DB_SECRET_ID is not set. It is the secret with user and password.\n\
             - LAMBDA_RDS_INT64 (environment) is \"big\". Allowed: number · string."
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let url = "postgres://app:hunter2@db/app";
        let env = [
            ("DB_AUTH", "password"),
            ("DB_HOST", url),
            ("DB_PASSWORD", ""),
            ("DB_SECRET_ID", "{\"p\":\"hunter2\"}"),
        ];
        let error = config(&sources(&env), PG).unwrap_err().to_string();
        assert!(error.contains("DB_HOST (environment) is something else (not shown)"), "{error}");
        assert!(error.contains("DB_PASSWORD (environment) is empty"), "{error}");
        assert!(error.contains("DB_SECRET_ID (environment) is something else (not shown)"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");

        // TOML's own message quotes the line.
        let (broken, _folder) = with_file(&[], "[db]\npassword = \"hunter2\nport = 1\n");
        let error = config(&broken, PG).unwrap_err().to_string();
        assert!(error.contains("lambda-rds.toml is no TOML: TOML parse error at line 2, column"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");

        let env = [("DB_AUTH", "password"), ("DB_HOST", "h"), ("DB_NAME", "n"), ("DB_USER", "u")];
        let mut env = env.to_vec();
        env.extend([
            ("DB_PASSWORD", "hunter2"),
            ("AWS_ACCESS_KEY_ID", "AK"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ]);
        let sources = sources(&env);
        let config = config(&sources, PG).unwrap();
        assert!(
            matches!(&config.db.auth, Auth::Password(login) if login.password.expose_secret() == "hunter2")
        );
        for shown in [format!("{config:?}"), format!("{sources:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn the_file_and_the_environment() {
        let text = "[db]\nsecret_id = \"file\"\nport = 6000\nquery_timeout = \"2s\"\n\
                    [function]\nhttp_batch = true\nqueries = \"sql/\"\n";
        let (from_file, _folder) = with_file(&[("DB_PORT", "7000")], text);
        let read = config(&from_file, PG).unwrap();
        assert!(matches!(&read.db.auth, Auth::Secret { id, .. } if id == "file"));
        assert_eq!((read.db.port, read.db.query_timeout), (Some(7000), Duration::from_secs(2)));
        assert!(read.function.http_batch);
        assert_eq!(read.function.queries, Path::new("sql/"));

        let text = "mode = 1\nport = 1\nfunction = 3\n[db]\nsecret_id = \"s\"\nport = 70000\nprot = 1\n\
                    DB_HOST = \"h\"\nname = [1]\nzzzzzzzz = 1\n";
        let (wrong, _folder) = with_file(&[], text);
        let file = wrong.file.clone().unwrap();
        let file = file.display();
        check_sources(
            &wrong,
            PG,
            &[
                &format!("{file}: unknown key `DB_HOST` in [db]. Did you mean `host`?"),
                &format!("{file}: unknown key `prot` in [db]. Did you mean `port`?"),
                &format!(
                    "{file}: unknown key `zzzzzzzz` in [db]. Allowed: `engine`, `secret_id`, `host`, `port`, `name`, \
                     `user`, `auth`, `password`, `allow_password`, `iam_host`, `secret_ttl`, `tls`, `tls_ca`, \
                     `tls_server_name`, `pooler`, `pipeline`, `connect_timeout`, `query_timeout`, `deadline_reserve`, \
                     `idempotency_table`, `idempotency_reply`, `max_connections`, `connect_at`, `reader_host`, `read_from`, `instance_pattern`."
                ),
                &format!("{file}: `function` is a table: write [function] and the keys below it."),
                &format!("{file}: unknown key `mode`. Keys stand in [db] and [function]."),
                &format!("{file}: unknown key `port`. It belongs below [db]."),
                &format!(
                    "DB_PORT ({file}: [db] port) is \"70000\". Allowed: a whole number from 1 to 65535."
                ),
                &format!("DB_NAME ({file}: [db] name) is a table or a list. Allowed: text."),
            ],
        );

        let missing =
            Sources { file: Some("no/such/lambda-rds.toml".into()), ..sources(&[("DB_SECRET_ID", "s")]) };
        let error = config(&missing, PG).unwrap_err().to_string();
        assert!(error.contains("no/such/lambda-rds.toml cannot be read: No such file"), "{error}");
    }

    #[test]
    fn what_agents_and_streams_need() {
        let function = |name: &str, value: &str| {
            let env = [("DB_ENGINE", "sqlite"), ("DB_NAME", "x"), ("LAMBDA_RDS_MCP", "true"), (name, value)];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            config(&Sources { env, ..Sources::default() }, &Engine::ALL).map(|config| config.function)
        };
        assert_eq!(function("AWS_REGION", "x").unwrap().tool_bytes, 65_536);
        assert_eq!(function("LAMBDA_RDS_TOOL_BYTES", "1000").unwrap().tool_bytes, 1_000);
        let streams = function("LAMBDA_RDS_STREAM", "true").unwrap();
        assert_eq!((streams.stream, streams.stream_bytes), (true, 209_715_200));
        assert_eq!(function("LAMBDA_RDS_STREAM_BYTES", "1000").unwrap().stream_bytes, 1_000);
        for (name, value) in [
            ("LAMBDA_RDS_STREAM", "yes"),
            ("LAMBDA_RDS_STREAM_BYTES", "0"),
            ("LAMBDA_RDS_STREAM_BYTES", "1MB"),
            ("LAMBDA_RDS_STREAM_BYTES", "209715201"),
            ("LAMBDA_RDS_TOOL_BYTES", "0"),
            ("LAMBDA_RDS_TOOL_BYTES", "64k"),
            ("LAMBDA_RDS_TOOL_BYTES", "6000001"),
            ("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", "http://auth.example.com"),
            ("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", "https://"),
            ("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", "https:///x"),
            ("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", "https://a?b"),
            ("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", "https://a\"b"),
        ] {
            let error = function(name, value).unwrap_err();
            assert!(error.to_string().contains(name), "{value}: {error}");
        }
        let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_x";
        let set = function("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", issuer).unwrap();
        assert_eq!(set.mcp_authorization_server.as_deref(), Some(issuer));
    }

    #[test]
    fn unknown_variables_get_a_suggestion() {
        for (name, advice) in [
            ("DB_SECRET_ARN", "Did you mean DB_SECRET_ID?"),
            ("DB_PASS", "Did you mean DB_PASSWORD?"),
            ("DB_USERNAME", "Did you mean DB_USER?"),
            ("DB_HSOT", "Did you mean DB_HOST?"),
            // What others call it.
            ("DB_DATABASE", "Did you mean DB_NAME?"),
            ("DB_SSLMODE", "Did you mean DB_TLS?"),
            ("DB_SSL", "Did you mean DB_TLS?"),
            ("DB_TIMEOUT", "Did you mean DB_QUERY_TIMEOUT?"),
            ("DB_POOL_SIZE", "Did you mean DB_MAX_CONNECTIONS?"),
            ("DB_SECRET_NAME", "Did you mean DB_SECRET_ID?"),
        ] {
            let warnings = good(&[(name, "x")]).warnings;
            assert_eq!(warnings, [format!("{name} (environment) is unknown and ignored. {advice}")]);
        }
        for name in ["DB_CLUSTER_COLOUR", "DB_FOO"] {
            let warning = good(&[(name, "x")]).warnings.concat();
            let all = "is unknown and ignored. Allowed: DB_ENGINE, DB_SECRET_ID, DB_HOST, ";
            assert!(warning.starts_with(&format!("{name} (environment) {all}")), "{warning}");
        }
        for (_, ours) in keys::OTHER_NAMES {
            assert!(keys::SECTIONS.iter().any(|section| keys::find(*section, ours).is_some()), "{ours}");
        }
        check(
            &[("LAMBDA_RDS_FOO", "x")],
            &[
                "LAMBDA_RDS_FOO (environment) is unknown. Allowed: LAMBDA_RDS_QUERIES, LAMBDA_RDS_DEFAULT_QUERY, \
               LAMBDA_RDS_BASE_PATH, LAMBDA_RDS_HTTP_TIMEOUT, LAMBDA_RDS_HTTP_BATCH, LAMBDA_RDS_CORS_ORIGIN, \
               LAMBDA_RDS_DIRECT_ERRORS, LAMBDA_RDS_INT64, LAMBDA_RDS_OPENAPI, LAMBDA_RDS_MCP, \
               LAMBDA_RDS_MCP_AUTHORIZATION_SERVER, LAMBDA_RDS_TOOL_BYTES, LAMBDA_RDS_COMPRESS, LAMBDA_RDS_STREAM, \
               LAMBDA_RDS_STREAM_BYTES, LAMBDA_RDS_SET, \
               LAMBDA_RDS_ROLE, \
               LAMBDA_RDS_DIAGNOSE, LAMBDA_RDS_LOG, LAMBDA_RDS_LOG_VALUES.",
            ],
        );
        check(
            &[("LAMBDA_RDS_DEFAULT", "x"), ("PGHOST", "ignored"), ("DBX", "ignored")],
            &["LAMBDA_RDS_DEFAULT (environment) is unknown. Did you mean LAMBDA_RDS_DEFAULT_QUERY?"],
        );
    }

    #[test]
    fn every_query_is_told_of_its_caller() {
        let env = [
            ("LAMBDA_RDS_SET", "app.tenant = claims.tenant;request.jwt.claims=claims;"),
            ("LAMBDA_RDS_ROLE", "claims.role in {member, auditor}"),
        ];
        let of_env = good(&env).function.identity;
        let names: Vec<&str> = of_env.settings().iter().map(|setting| setting.name()).collect();
        assert_eq!(names, ["app.tenant", "request.jwt.claims"]);
        assert_eq!(of_env.role().map(|role| role.choice().len()), Some(2));
        let file = "[function]\nset = [\"app.tenant = claims.tenant\", \"request.jwt.claims = claims\"]\n\
                    role = \"claims.role in {member, auditor}\"";
        let (sources, _folder) = with_file(&[("DB_SECRET_ID", "app")], file);
        assert_eq!(config(&sources, PG).unwrap().function.identity, of_env);
        check(
            &[("LAMBDA_RDS_SET", "tenant = claims.t"), ("LAMBDA_RDS_ROLE", "claims.role")],
            &[
                "LAMBDA_RDS_SET (environment): `tenant` has no dot: settings of one's own do, such as `app.tenant`, and of \
                 the server's only `search_path` can be set, with a choice.",
                "LAMBDA_RDS_ROLE (environment): a role that comes from the caller needs its choice in braces: \
                 `claims.role in {member, auditor}`.",
            ],
        );
        check_sources(
            &sources_of_mysql(),
            &[Engine::Mysql],
            &["LAMBDA_RDS_ROLE (environment) is for PostgreSQL, and DB_ENGINE is mysql: declare parameters \
               `from claims.NAME` in the query files and compare with them."],
        );
    }

    fn sources_of_mysql() -> Sources {
        sources(&[("DB_SECRET_ID", "app"), ("LAMBDA_RDS_ROLE", "member")])
    }

    #[test]
    fn engines() {
        let both = &[Engine::Postgres, Engine::Sqlite];
        let secret = ("DB_SECRET_ID", "app");
        check_sources(
            &sources(&[secret]),
            both,
            &["DB_ENGINE is not set. Built in are: postgres, sqlite. Name the one to use."],
        );
        check_sources(
            &sources(&[secret, ("DB_ENGINE", "mysql")]),
            both,
            &[
                "DB_ENGINE (environment): mysql is not built into this binary. Built in: postgres, sqlite. Build it with \
             `--features mysql`.",
            ],
        );
        check_sources(
            &sources(&[secret, ("DB_ENGINE", "oracle")]),
            PG,
            &[
                "DB_ENGINE (environment) is \"oracle\". Allowed: postgres · mysql · aurora-postgres · aurora-mysql · \
             sqlite.",
            ],
        );
        for (text, engine) in [
            ("postgresql", Engine::Postgres),
            ("mariadb", Engine::Mysql),
            ("aurora-postgresql", Engine::AuroraPostgres),
            ("aurora-mysql", Engine::AuroraMysql),
        ] {
            assert_eq!(text.parse(), Ok(engine));
        }
        assert!(Engine::ALL.iter().all(|engine| engine.name().parse() == Ok(*engine)));

        // SQLite needs its file and nothing else.
        check_sources(
            &sources(&[("DB_ENGINE", "sqlite")]),
            both,
            &["DB_NAME is not set. It is the file of the SQLite database."],
        );
        let sqlite = config(&sources(&[("DB_NAME", "app.db")]), &[Engine::Sqlite]).unwrap();
        assert!(matches!(sqlite.db.auth, Auth::Embedded));
        assert_eq!((sqlite.db.name.as_deref(), sqlite.warnings), (Some("app.db"), vec![]));
    }

    #[test]
    fn ways_to_log_in() {
        check(
            &[("DB_AUTH", "password")],
            &[
                "DB_HOST is not set. DB_AUTH=password needs it.",
                "DB_NAME is not set. DB_AUTH=password needs it.",
                "DB_USER is not set. DB_AUTH=password needs it.",
                "DB_PASSWORD is not set. DB_AUTH=password needs it.",
            ],
        );
        let password = [
            ("DB_AUTH", "password"),
            ("DB_HOST", "h"),
            ("DB_NAME", "n"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "1"),
        ];
        check(&password, &[]);
        for inside in [("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_RUNTIME_API", "h:1")] {
            let mut env = password.to_vec();
            env.push(inside);
            check(
                &env,
                &[
                    "DB_AUTH (environment): \"password\" is refused inside Lambda, where whoever may see the function's \
                 settings sees the password. Use a secret, or set DB_ALLOW_PASSWORD=true.",
                ],
            );
            env.push(("DB_ALLOW_PASSWORD", "true"));
            check(&env, &[]);
        }
        check_sources(
            &sources(&[("DB_PASSWORD", "p")]),
            PG,
            &["DB_SECRET_ID is not set. Set it, or DB_AUTH=password to log in with the password."],
        );
        assert_eq!(
            good(&[("DB_PASSWORD", "p")]).warnings,
            ["DB_PASSWORD (environment) is set and not used, since DB_AUTH is secret."]
        );
    }

    #[test]
    fn iam_needs_user_host_name_and_a_server_that_is_verified() {
        check(
            &[("DB_AUTH", "iam")],
            &[
                "DB_HOST is not set. DB_AUTH=iam needs it.",
                "DB_NAME is not set. DB_AUTH=iam needs it.",
                "DB_USER is not set. DB_AUTH=iam needs it.",
            ],
        );
        let all = [("DB_AUTH", "iam"), ("DB_HOST", "h"), ("DB_NAME", "n"), ("DB_USER", "u")];
        let with = |more: &[(&'static str, &'static str)]| [&all[..], more].concat();
        for mode in ["require", "disable"] {
            check(
                &with(&[("DB_TLS", mode)]),
                &[
                    "DB_TLS (environment): DB_AUTH=iam needs verify-full or verify-ca. The token is sent as it is, \
                   and whoever gets it can log in with it.",
                ],
            );
        }
        check(&with(&[("DB_TLS", "verify-ca")]), &[]);
        check_sources(&sources(&with(&[("DB_ENGINE", "mysql")])), &[Engine::Mysql], &[]);
        let found = config(&sources(&with(&[("DB_IAM_HOST", "db.example.com")])), PG).unwrap();
        assert!(matches!(found.db.auth, Auth::Iam { host: Some(host) } if host == "db.example.com"));
        assert_eq!(
            good(&[("DB_IAM_HOST", "db.example.com")]).warnings,
            ["DB_IAM_HOST (environment) is set and not used, since DB_AUTH is not iam."]
        );
    }

    #[test]
    fn poolers_are_told_by_name_or_by_the_user() {
        let check = |pooler: &str, host: &str, want: Pooling| {
            assert_eq!(good(&[("DB_POOLER", pooler)]).db.pooler.at(host), want, "{pooler} {host}");
        };
        for proxy in [
            "app.proxy-c9akciq32.eu-west-1.rds.amazonaws.com",
            "readers.endpoint.proxy-c9akciq32.eu-west-1.rds.amazonaws.com.",
            "App.Proxy-C9akciq32.cn-north-1.RDS.amazonaws.com.cn",
        ] {
            check("auto", proxy, Pooling::RdsProxy);
            check("transaction", proxy, Pooling::RdsProxy);
            check("none", proxy, Pooling::None);
        }
        for server in ["app.c9akciq32.eu-west-1.rds.amazonaws.com", "proxy-1.example.com", "127.0.0.1"] {
            check("auto", server, Pooling::None);
            check("transaction", server, Pooling::Transaction);
            check("none", server, Pooling::None);
        }
        let sqlite = sources(&[("DB_ENGINE", "sqlite"), ("DB_NAME", "app.db"), ("DB_POOLER", "transaction")]);
        check_sources(
            &sqlite,
            &[Engine::Sqlite],
            &[
                "DB_POOLER (environment) is \"transaction\", and DB_ENGINE is sqlite: a file has no pooler before it.",
            ],
        );
    }

    #[test]
    fn what_is_for_clusters_is_refused_or_told_where_there_is_none() {
        check(
            &[("DB_READ_FROM", "reader")],
            &[
                "DB_READ_FROM (environment): \"reader\" needs an engine of Aurora, aurora-postgres or aurora-mysql; \
               DB_ENGINE is postgres.",
            ],
        );
        for (name, value) in [("DB_READER_HOST", "h"), ("DB_INSTANCE_PATTERN", "?.example.com")] {
            assert_eq!(
                good(&[(name, value)]).warnings,
                [format!("{name} (environment) is set and not used, since DB_ENGINE is postgres.")]
            );
        }
    }

    #[test]
    fn a_cluster_is_described() {
        let env = |more: &[(&'static str, &'static str)]| {
            sources(&[&[("DB_ENGINE", "aurora-postgresql"), ("DB_SECRET_ID", "app")], more].concat())
        };
        let found = |more: &[(&'static str, &'static str)]| config(&env(more), &Engine::ALL).unwrap();
        let plain = found(&[]).db;
        assert_eq!((plain.engine, plain.read_from), (Engine::AuroraPostgres, ReadFrom::Writer));
        assert_eq!((plain.reader_host, plain.instance_pattern), (None, None));
        let set = found(&[("DB_READ_FROM", "reader"), ("DB_READER_HOST", "ro.example.com")]);
        assert_eq!(set.warnings, [""; 0]);
        assert_eq!(
            (set.db.read_from, set.db.reader_host.as_deref()),
            (ReadFrom::Reader, Some("ro.example.com"))
        );
        for (pattern, member, want) in [
            ("?.db.example.com", "app-1", Some("app-1.db.example.com:5432")),
            ("?.db.example.com:6432", "app-1", Some("app-1.db.example.com:6432")),
            ("127.0.0.?", "7", Some("127.0.0.7:5432")),
            ("db-?", "1", Some("db-1:5432")),
            ("?.db.example.com", "a b", None),
        ] {
            let pattern = found(&[("DB_INSTANCE_PATTERN", pattern)]).db.instance_pattern.unwrap();
            let endpoint = pattern.endpoint(member, 5432).map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), want, "{pattern:?} {member}");
        }
        for wrong in
            ["db.example.com", "?.?.example.com", "?.db.example.com:0", "?.db.example.com:", "?/db", ""]
        {
            let error = config(&env(&[("DB_INSTANCE_PATTERN", wrong)]), &Engine::ALL).unwrap_err();
            assert!(error.to_string().contains("DB_INSTANCE_PATTERN (environment)"), "{wrong}: {error}");
        }
        // A binary with Aurora has the plain engine, too, and nobody need say which.
        let both = [Engine::Postgres, Engine::AuroraPostgres];
        let app = [("DB_SECRET_ID", "app")];
        assert_eq!(config(&sources(&app), &both).unwrap().db.engine, Engine::AuroraPostgres);
        assert!(config(&sources(&app), &[Engine::Postgres, Engine::Mysql, Engine::AuroraPostgres]).is_err());
    }

    #[test]
    fn tls_speaks_up() {
        assert_eq!(
            good(&[("DB_TLS", "require")]).warnings,
            [
                "DB_TLS (environment) is require: connections are encrypted, but anybody may be at their other end. Use \
             verify-full."
            ]
        );
        assert_eq!(
            good(&[("DB_TLS", "disable"), ("DB_TLS_CA", "x"), ("DB_TLS_SERVER_NAME", "db")]).warnings,
            [
                "DB_TLS (environment) is disable: passwords and rows cross the network for everybody to read. Use \
             verify-full.",
                "DB_TLS_CA (environment) is set and not used, since DB_TLS does not verify it.",
                "DB_TLS_SERVER_NAME (environment) is set and not used, since DB_TLS does not verify it.",
            ]
        );
        let (with_text, folder) = with_file(&[], "[db]\nsecret_id = \"s\"\ntls_ca = \"no/such.pem\"\n");
        let file = with_text.file.clone().unwrap();
        check_sources(
            &with_text,
            PG,
            &[&format!(
                "DB_TLS_CA ({}: [db] tls_ca) is \"no/such.pem\": it cannot be read (No such file or directory (os error \
             2)).",
                file.display()
            )],
        );
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "no certificate").unwrap();
        let ca = ca.display().to_string();
        check(
            &[("DB_TLS_CA", &ca)],
            &[&format!("DB_TLS_CA (environment) is {ca:?}: it holds no PEM certificate.")],
        );
        std::fs::write(&ca, include_str!("../connect/roots/amazon-trust-services.pem")).unwrap();
        check(&[("DB_TLS_CA", &ca)], &[]);
    }

    #[test]
    fn what_aws_tells() {
        let platform = good(&[
            ("AWS_LAMBDA_FUNCTION_NAME", "reports"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://localhost:2"),
            ("AWS_CA_BUNDLE", "ca.pem"),
        ])
        .platform;
        assert_eq!(platform.function_name.as_deref(), Some("reports"));
        assert_eq!((platform.function_version.as_deref(), platform.memory_mb), (Some("7"), Some(256)));
        assert_eq!((platform.lambda, platform.log_json), (true, true));
        assert_eq!(platform.region.as_deref(), Some("eu-west-1"));
        assert_eq!(platform.secrets_endpoint.as_deref(), Some("http://localhost:2"));
        assert_eq!(platform.ca_bundle.as_deref(), Some(Path::new("ca.pem")));

        let eight = good(&[("AWS_LAMBDA_MAX_CONCURRENCY", "8")]);
        assert_eq!((eight.platform.max_concurrency, eight.db.max_connections), (8, 8));
        let own = good(&[("AWS_LAMBDA_MAX_CONCURRENCY", "8"), ("DB_MAX_CONNECTIONS", "2")]);
        assert_eq!(own.db.max_connections, 2);
        assert_eq!(
            good(&[("AWS_LAMBDA_MAX_CONCURRENCY", "many")]).warnings,
            ["AWS_LAMBDA_MAX_CONCURRENCY (environment) is \"many\" and no whole number above 0: ignored."]
        );

        let text = good(&[("AWS_LAMBDA_RUNTIME_API", "h:1"), ("AWS_LAMBDA_LOG_FORMAT", "Text")]);
        assert!(text.platform.lambda && !text.platform.log_json);
        let level = [("AWS_LAMBDA_LOG_LEVEL", "FATAL")];
        assert_eq!(good(&level).function.log.default_level(), Some(LevelFilter::ERROR));
        let both = [("AWS_LAMBDA_LOG_LEVEL", "ERROR"), ("LAMBDA_RDS_LOG", "debug")];
        assert_eq!(good(&both).function.log.default_level(), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn a_second_database() {
        let env = [
            ("REPORTING_DB_ENGINE", "mysql"),
            ("REPORTING_DB_SECRET_ID", "reports"),
            ("REPORTING_DB_PORT", "3307"),
            ("REPORTING_DB_SECRET_TLT", "1s"),
            ("DB_PORT", "not looked at"),
            ("LAMBDA_RDS_NONSENSE", "not looked at"),
        ];
        let (db, warnings) = second(&sources(&env), "REPORTING_DB_", &Engine::ALL).unwrap();
        assert_eq!((db.engine, db.port, db.prefix.as_str()), (Engine::Mysql, Some(3307), "REPORTING_DB_"));
        assert_eq!(
            warnings,
            [
                "REPORTING_DB_SECRET_TLT (environment) is unknown and ignored. Did you mean REPORTING_DB_SECRET_TTL?"
            ]
        );
        let error = Config::read_prefix(&sources(&env[2..]), "REPORTING_DB_").unwrap_err();
        assert_eq!(
            error.mistakes(),
            [
                "REPORTING_DB_ENGINE is not set. Built in are: postgres, mysql, aurora-postgres, aurora-mysql, sqlite. \
             Name the one to use.",
                "REPORTING_DB_SECRET_ID is not set. It is the secret with user and password.",
            ]
        );
        let error = Config::read_prefix(&sources(&env), "REPORTING_DB").unwrap_err();
        assert_eq!(
            error.to_string(),
            "The configuration is wrong: The prefix \"REPORTING_DB\" of a database's variables does not end in an \
             underscore."
        );
    }

    proptest::proptest! {
        /// Whatever is written, reading ends, with a list of mistakes at worst, and the password stays where it is.
        #[test]
        fn nothing_that_is_written_panics(
            values in proptest::collection::vec((0..keys::KEYS.len(), ".{0,12}"), 0..12),
            names in proptest::collection::vec("(DB|LAMBDA_RDS)_[A-Z_]{0,12}", 0..4),
            text in "(\\[(db|function)\\]\n)?([a-z_]{1,8} ?=? ?(\"?.{0,8}\"?|[0-9.]{1,4})\n){0,4}",
        ) {
            let mut env: Vec<(String, String)> =
                values.into_iter().map(|(key, value)| (keys::KEYS[key].env.to_owned(), value)).collect();
            env.extend(names.into_iter().map(|name| (name, "x".to_owned())));
            env.insert(0, ("DB_PASSWORD".to_owned(), "hunter2\u{FFFD}".to_owned()));
            let (mut sources, _folder) = with_file(&[], &text);
            sources.env = env;
            if let Err(error) = config(&sources, PG) {
                let shown = error.to_string();
                proptest::prop_assert!(!error.mistakes().is_empty() && !shown.contains("hunter2"), "{}", shown);
            }
        }
    }

    #[test]
    fn a_process_has_sources() {
        // Nothing in the environment of a test run may panic.
        assert!(!Sources::process().env.is_empty());
    }
}
