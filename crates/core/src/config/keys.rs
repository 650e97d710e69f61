//! Every key, once: its name, its default, what it may be, what it means. Reading, error messages, suggestions
//! and the reference page all come from here.

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The variable's name in the environment.
    pub(super) env: &'static str,
    /// What holds where the key is not set.
    pub(super) default: Preset,
    /// What a value may be, for error messages and the reference page.
    pub(super) allowed: &'static str,
    /// What the key means, for the reference page.
    pub(super) doc: &'static str,
}

/// What holds where a key is not set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Preset {
    /// This value, read as if the user had written it.
    Is(&'static str),
    /// What these words say.
    Told(&'static str),
}

/// A table of the configuration file, and the prefix of the variables that say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// The table's name in the file.
    pub(super) name: &'static str,
    /// What the variables' names begin with.
    pub(super) prefix: &'static str,
}

/// The database.
pub(super) const DB: Section = Section { name: "db", prefix: "DB_" };
/// The function.
pub(super) const FUNCTION: Section = Section { name: "function", prefix: "LAMBDA_RDS_" };
/// Both.
pub(super) const SECTIONS: [Section; 2] = [DB, FUNCTION];

impl Key {
    /// The table that it stands in.
    pub(super) fn section(&self) -> Section {
        if self.env.starts_with(DB.prefix) { DB } else { FUNCTION }
    }

    /// Its name in the file: the variable's, in lower case and without the prefix.
    pub(super) fn name(&self) -> String {
        self.env.strip_prefix(self.section().prefix).unwrap_or(self.env).to_ascii_lowercase()
    }

    /// Whether its value must never be shown.
    pub(super) fn secret(&self) -> bool {
        self.env == DB_PASSWORD.env
    }
}

/// The key of this name in this table.
pub(super) fn find(section: Section, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section() == section && key.name() == name)
}

/// The key of this table that somebody who wrote `name` most probably meant.
pub(super) fn suggest(section: Section, name: &str) -> Option<&'static Key> {
    let name = name.to_ascii_lowercase();
    let prefix = section.prefix.to_ascii_lowercase();
    let name = name.strip_prefix(prefix.as_str()).unwrap_or(&name);
    if let Some((_, ours)) = OTHER_NAMES.iter().find(|(other, _)| *other == name)
        && let Some(key) = find(section, ours)
    {
        return Some(key);
    }
    // A third of the letters may differ: DB_SECRET_ARN is DB_SECRET_ID, DB_FOO is nothing. Of four letters two may, of
    // fewer only one, since short words are near each other by chance.
    let near = if name.len() < 4 { 1 } else { (name.len() / 3).max(2) };
    KEYS.iter()
        .filter(|key| key.section() == section)
        .map(|key| (distance(name, &key.name()), key))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// How many letters to insert, remove, replace or swap with their neighbour. A word begun and not ended (`PASS`)
/// or ended twice (`USERNAME`) counts as one.
fn distance(a: &str, b: &str) -> usize {
    if a != b && a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a)) {
        return 1;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// What other programs call what a key of ours says, where the two names are not alike.
pub(super) const OTHER_NAMES: [(&str, &str); 31] = [
    ("address", "host"),
    ("arn", "secret_id"),
    ("ca", "tls_ca"),
    ("ca_cert", "tls_ca"),
    ("cert", "tls_ca"),
    ("connection_limit", "max_connections"),
    ("connections", "max_connections"),
    ("database", "name"),
    ("dialect", "engine"),
    ("driver", "engine"),
    ("endpoint", "host"),
    ("login", "user"),
    ("max_conns", "max_connections"),
    ("pool_max", "max_connections"),
    ("pool_size", "max_connections"),
    ("proxy", "pooler"),
    ("pwd", "password"),
    ("replica_host", "reader_host"),
    ("secret_name", "secret_id"),
    ("server", "host"),
    ("server_name", "tls_server_name"),
    ("ssl", "tls"),
    ("ssl_ca", "tls_ca"),
    ("ssl_mode", "tls"),
    ("sslmode", "tls"),
    ("sslrootcert", "tls_ca"),
    ("statement_timeout", "query_timeout"),
    ("timeout", "query_timeout"),
    ("type", "engine"),
    ("query", "queries"),
    ("cors", "cors_origin"),
];

/// Declares the keys: a constant of each, so that reading one that does not exist does not compile, and the list.
macro_rules! keys {
    ($($name:ident: $default:expr, $allowed:expr, $doc:expr;)+) => {
        $(pub(super) const $name: Key =
            Key { env: stringify!($name), default: $default, allowed: $allowed, doc: $doc };)+
        /// All keys, in the order of the reference page.
        pub(super) const KEYS: &[Key] = &[$($name),+];
    };
}

use Preset::{Is, Told};

const BOOL: &str = "true · false · 1 · 0";
const LIMIT: &str = "a duration from 1ms to 24h, such as 5s, 500ms or 1m";
const SPAN: &str = "a duration from 0s to 24h, such as 5s, 500ms or 1m";
const HOST: &str = "a host name or an address, without scheme and port";
const TEXT: &str = "text";

keys! {
    DB_ENGINE: Told("the one built in"),
        "postgres · mysql · aurora-postgres · aurora-mysql · sqlite",
        "The kind of server. AWS's own spellings do too: `postgresql`, `aurora-postgresql`, `mariadb`. With \
         several engines built in it must be set.";
    DB_SECRET_ID: Told("–"),
        "the name or the ARN of a secret in Secrets Manager",
        "The secret with user and password. Its fields are `username`, `password`, `host`, `port` (a number or a \
         string), `dbname` and `engine`; others are ignored. Secrets that RDS manages have only the first two: \
         set `DB_HOST` and `DB_NAME` beside them. An ARN's region is where it is asked for.";
    DB_HOST: Told("the secret's"), HOST,
        "The host of the server, or of a proxy before it. It wins over the secret's.";
    DB_PORT: Told("the secret's, else the engine's own"), "a whole number from 1 to 65535",
        "The TCP port. It wins over the secret's.";
    DB_NAME: Told("the secret's"), TEXT,
        "The database. It wins over the secret's. For SQLite the file, relative to the working folder.";
    DB_USER: Told("the secret's"), TEXT,
        "The user. It wins over the secret's.";
    DB_AUTH: Is("secret"), "secret · iam · password",
        "Where user and password come from: a secret, an IAM token signed per connection, or `DB_PASSWORD`. `iam` \
         needs `DB_HOST`, `DB_NAME` and `DB_USER`, and a `DB_TLS` that verifies the server.";
    DB_PASSWORD: Told("–"), TEXT,
        "The password, with `DB_AUTH=password`. For a developer's machine; never shown.";
    DB_ALLOW_PASSWORD: Is("false"), BOOL,
        "Allows `DB_AUTH=password` inside Lambda, where whoever may see the function's settings sees the password.";
    DB_IAM_HOST: Told("the host"), HOST,
        "The host that tokens of `DB_AUTH=iam` are signed for, where `DB_HOST` is another name, such as a CNAME.";
    DB_SECRET_TTL: Is("5m"), SPAN,
        "The age up to which a cached secret opens a connection without asking again.";
    DB_TLS: Is("verify-full"), "verify-full · verify-ca · require · disable",
        "What is demanded of the server: a certificate that is trusted and names it, one that is trusted, any \
         encryption, or nothing. The last two are warned of.";
    DB_TLS_CA: Told("built-in"), "a PEM file with at least one certificate",
        "Roots to trust instead of the built-in ones, which are those of Amazon RDS and of Amazon Trust Services. \
         Nothing else is trusted. Relative to the working folder or to the program's.";
    DB_TLS_SERVER_NAME: Told("the host"), HOST,
        "The name to verify where the host is another one, such as a CNAME.";
    DB_POOLER: Is("auto"), "auto · none · transaction",
        "What stands between the function and the server: nothing, or a pooler that lends its connections per \
         transaction, such as PgBouncer in that mode, ProxySQL or RDS Proxy, which `auto` tells by its host name. A \
         read behind one takes four round trips instead of one on PostgreSQL, and three on MySQL.";
    DB_PIPELINE: Is("auto"), "auto · off",
        "Whether statements may be sent before the one ahead of them is answered, which saves round trips. `auto` does \
         not behind a pooler that hangs on it, nor on MySQL 5.7; `off` never does.";
    DB_CONNECT_TIMEOUT: Is("5s"), LIMIT,
        "The longest that opening a session may take. The invocation's deadline, less the reserve, always wins.";
    DB_QUERY_TIMEOUT: Is("10s"), LIMIT,
        "The longest that a statement may take where its query does not say (`-- timeout:`). The invocation's \
         deadline, less the reserve, always wins.";
    DB_DEADLINE_RESERVE: Is("250ms"), SPAN,
        "What is kept of the invocation's time for the reply.";
    DB_IDEMPOTENCY_TABLE: Is("lambda_rds_idempotency"),
        "the name of a table, with its schema or without: letters, digits, `_` and `$`, up to 63 each",
        "The table of idempotency keys (`-- idempotency_key:`), which is taken as written, upper case included. \
         `lambda-rds tables` prints what makes it.";
    DB_IDEMPOTENCY_REPLY: Is("65536"), "a whole number from 1 to 6000000",
        "How many bytes of reply are kept with an idempotency key at most. A larger one is `result_too_large`, and \
         nothing is written.";
    DB_MAX_CONNECTIONS: Told("the concurrency of the environment (1)"), "a whole number from 1 to 65535",
        "Sessions per environment and endpoint.";
    DB_CONNECT_AT: Is("init"), "init · first-use",
        "When the first session opens: during INIT, of which a failure is logged and no more, or with the first \
         call that needs it. Where INIT runs ahead of any call (provisioned concurrency, managed instances), the session is \
         given back if more than half of the server's connections are taken.";
    DB_READER_HOST: Told("the cluster's reader endpoint"), HOST,
        "Aurora: where readers are found, on the cluster's port. A custom endpoint, or one instance, is taken at its \
         word: reads go there. Anything else only helps to find the cluster's members.";
    DB_READ_FROM: Is("writer"), "writer · reader",
        "Aurora: where reads go. On `reader` they are spread over the readers and go to the writer only where there is \
         none; a list in which one step writes goes to the writer. Needs an engine of Aurora.";
    DB_INSTANCE_PATTERN: Told("formed from the cluster's host name"),
        "a host name with one `?` for the instance, such as ?.db.example.com, and a port if it is another: \
         ?.db.example.com:6432",
        "Aurora: the hosts of the cluster's members, where the cluster's own host name does not tell them: behind names \
         of your own, or through a tunnel.";
    LAMBDA_RDS_QUERIES: Is("queries/"), "a folder",
        "The folder of the query files, relative to the working folder or to the program's.";
    LAMBDA_RDS_DEFAULT_QUERY: Told("–"), "the name of a query",
        "The query that `{}` runs.";
    LAMBDA_RDS_BASE_PATH: Told("–"), "a path that begins with `/`, or nothing",
        "What a URL's path has before the query's name, after the stage.";
    LAMBDA_RDS_HTTP_TIMEOUT: Is("28s"), LIMIT,
        "A further limit for calls over HTTP: the gateway leaves then.";
    LAMBDA_RDS_HTTP_BATCH: Is("false"), BOOL,
        "Allows `transaction` and `batch` over HTTP, as a POST to the base path.";
    LAMBDA_RDS_CORS_ORIGIN: Told("–"), "`*` or an origin such as https://app.example.com, without a path",
        "The `Access-Control-Allow-Origin` of every reply over HTTP; `OPTIONS` is answered by it.";
    LAMBDA_RDS_DIRECT_ERRORS: Is("reply"), "reply · raise",
        "How a direct invoke that does not say (`onError`) is told of a failure: by a reply with a status, or as a \
         function error, so that the platform retries.";
    LAMBDA_RDS_INT64: Is("number"), "number · string",
        "How 64-bit integers are written in replies. JavaScript rounds numbers beyond 2^53.";
    LAMBDA_RDS_OPENAPI: Is("false"), "true · false · a JSON file",
        "Answers `GET /openapi.json`, below the base path, with the OpenAPI document of the queries that are callable \
         over HTTP: with `true` made of the query files, or a file that `lambda-rds openapi` wrote, which knows the \
         rows too. A relative file is looked for in the working folder and in the program's.";
    LAMBDA_RDS_MCP: Is("false"), BOOL,
        "Answers the Model Context Protocol at `POST /mcp`, below the base path: agents list and call the queries with \
         `-- tool:`.";
    LAMBDA_RDS_MCP_AUTHORIZATION_SERVER: Told("–"), "a URL that begins with https://",
        "Who gives the tokens that the gateway before the function verifies, for clients of MCP: told by \
         `GET /.well-known/oauth-protected-resource`, and to whom comes without a verified identity, by a 401. Needs \
         `LAMBDA_RDS_MCP`.";
    LAMBDA_RDS_TOOL_BYTES: Is("65536"), "a whole number from 1 to 6000000",
        "How many bytes of result an agent gets at most, since all of it goes through a model. More is \
         `result_too_large`. A Bedrock agent takes 25 KB at most, whatever stands here.";
    LAMBDA_RDS_COMPRESS: Is("auto"), "auto · off",
        "Compresses results over HTTP for who takes that (`Accept-Encoding`: gzip, zstd), so that a reply holds many \
         times the rows. A REST API hands on compressed replies only if its `binaryMediaTypes` has `*/*`: without that, \
         say `off`.";
    LAMBDA_RDS_STREAM: Is("false"), BOOL,
        "Says that the function is invoked with a response stream: by a function URL with the invoke mode \
         `RESPONSE_STREAM`, by a REST API with the response transfer mode `STREAM`, or by InvokeWithResponseStream. Then \
         the rows of a `:many` and the results of a list are sent while they are read, and every reply to those sources is \
         a stream: a direct call's is the body itself, with and without `\"reply\": \"raw\"`.";
    LAMBDA_RDS_STREAM_BYTES: Is("209715200"), "a whole number from 1 to 209715200",
        "How many bytes of body a stream takes, as they are sent: Lambda's own limit is 200 MB. More is \
         `result_too_large`, in the midst of the rows.";
    LAMBDA_RDS_SET: Told("–"), "settings such as app.tenant = claims.tenant, parted by ;",
        "What every query's transaction is told of the caller, as by `-- set:` lines in each query file. In the file a \
         list: `set = [\"app.tenant = claims.tenant\"]`. A query may add and narrow, and takes none of them from \
         elsewhere. PostgreSQL only.";
    LAMBDA_RDS_ROLE: Told("the user's own"), "a role, or a claim with its choice: claims.role in {member, auditor}",
        "The role of every query's transaction, as by a `-- role:` line in each query file. A query may narrow it. \
         PostgreSQL only.";
    LAMBDA_RDS_DIAGNOSE: Is("false"), BOOL,
        "Answers `{\"diagnose\": true}`: where calls fail, and what to change. The reply names hosts, users and the \
         server's version, so take it away when all is well.";
    LAMBDA_RDS_LOG: Is("info"), "a filter such as info or info,lambda_rds_core=debug",
        "What is logged. JSON lines inside Lambda, text with `AWS_LAMBDA_LOG_FORMAT=Text` and outside. Where it is \
         not set, `AWS_LAMBDA_LOG_LEVEL` holds.";
    LAMBDA_RDS_LOG_VALUES: Is("false"), BOOL,
        "Lets the log show values of parameters, and what the database says about values.";
}

/// What AWS sets, or its tools know, and we read: the name and what follows from it. A value that cannot be read
/// is warned of and does not fail INIT, since its writer is not the user.
pub(super) const PLATFORM: &[(&str, &str)] = &[
    ("AWS_LAMBDA_RUNTIME_API", "We run inside Lambda."),
    (
        "AWS_LAMBDA_FUNCTION_NAME",
        "We run inside Lambda; the name that the server sees, and that metrics have.",
    ),
    ("AWS_LAMBDA_FUNCTION_VERSION", "The version that the server sees."),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "The function's memory."),
    (
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "How many invocations an environment serves at a time, and the sessions for it.",
    ),
    (
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "Whether INIT runs ahead of the first invocation: everything but `on-demand` does.",
    ),
    ("AWS_LAMBDA_LOG_FORMAT", "`Text` makes the log text."),
    ("AWS_LAMBDA_LOG_LEVEL", "What is logged, where `LAMBDA_RDS_LOG` is not set."),
    ("LAMBDA_TASK_ROOT", "Where `lambda-rds.toml` is looked for, after the binary's own folder."),
    ("AWS_REGION", "The region; else `AWS_DEFAULT_REGION`."),
    (
        "AWS_ACCESS_KEY_ID",
        "With `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`: as whom AWS is asked. Without \
      them the SDK's usual chain is.",
    ),
    ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "Where Secrets Manager is; else `AWS_ENDPOINT_URL`."),
    (
        "AWS_CA_BUNDLE",
        "A PEM file of roots to trust for AWS's services, instead of those of Amazon Trust Services.",
    ),
];
