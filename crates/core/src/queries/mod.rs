//! The queries that this function serves: `queries/*.sql`, read once, and a call's parameters bound to one.
//!
//! ```sql
//! -- name: active_users :many
//! -- http: GET
//! -- Users who are active, lowest id first.
//! -- param: active bool = true
//! -- param: limit int = 50 in 1..=500 -- how many at most
//! SELECT id, name, email FROM users WHERE active = :active ORDER BY id LIMIT :limit;
//! ```
//!
//! An entry is a `-- name:` line, comment lines, and one statement up to the next `-- name:` line.
//!
//! | line | meaning |
//! |---|---|
//! | `-- name: ident :many` | the name, and `:many`, `:one` or `:exec`. Several entries may share a name if each is for another engine |
//! | `-- http: GET, POST` | callable over HTTP; GET (and HEAD) only if it reads |
//! | `-- tool: Title` | a tool that agents may call; then it needs a description |
//! | `-- param: name type` | a parameter, with `?` behind the type if it may be NULL; then, each if wanted, `= default`, `in a..=b` or `in {a, b}`, `from source`, `-- description` |
//! | `-- read` `-- write` | what it does to data; otherwise `:many` and `:one` read and `:exec` writes |
//! | `-- timeout: 2s` | the longest it may run |
//! | `-- max_rows: 1000` | more rows are an error |
//! | `-- page: name, id desc` | read page by page, in the order of these columns of the result, the last of which makes it total; for a read without ORDER BY and LIMIT of its own |
//! | `-- page_size: 100 in 1..=1000` | how many rows a page has, and how many a caller may ask for; this is the default |
//! | `-- idempotency_key: header.Idempotency-Key for 24h` | a write that is done once per key: see [`crate::once`] |
//! | `-- transaction: none` | a write that cannot run inside a transaction |
//! | `-- engine: mysql, sqlite` | for these engines only; `mysql` and `postgres` include Aurora |
//! | `-- cache: 30s` | what the reply's `Cache-Control` says; for a read with GET |
//! | `-- set: app.tenant = claims.tenant` | a setting of its transaction, by which the database's policies decide; PostgreSQL only |
//! | `-- role: member` | the role of its transaction, or `-- role: claims.role in {member, auditor}`; PostgreSQL only |
//!
//! Any other comment line is the description. A default is a word, SQL's `'text'`, or JSON (an array's always,
//! as in `= [1, 2]`). A range counts the characters of a `text`, the bytes of `bytes`, the elements of an array.
//! A parameter comes from the caller, or `from claims.NAME` (the verified identity), `header.NAME`,
//! `context.requestId`, `context.tenantId`, `sqs.messageId`, and then never from the caller.
//!
//! In the SQL, `:name` is a parameter where a name follows the colon at once and neither a colon nor a word
//! stands directly before it, outside strings, comments and quoted names. So in an array slice `a[:n]` is a
//! parameter, `a[1:n]` and `a[: n]` have the column `n`, and `a[1: :n]` has the parameter again.
//!
//! An array is one value on PostgreSQL (`= ANY(:ids)`). MySQL and SQLite have none: there it expands in
//! `IN (:ids)`, to at most 16,384 elements, padded to a power of two so that the server sees few different texts.

mod annotations;
mod bind;
mod bounds;
#[cfg(feature = "sea-orm")]
mod effect;
mod identity;
mod lexer;
mod load;
pub(crate) mod page;
mod routine;
mod template;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Access;
use crate::value::{Kind, Value};
pub use bounds::{Bounds, Choice};
#[cfg(feature = "sea-orm")]
pub(crate) use effect::Effect;
pub(crate) use identity::Part;
pub use identity::{Caller, Identity, Role, Setting, Source};
pub use load::LoadError;
use template::Template;

/// How SQL is written: its strings, comments and placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL: dollar quotes, `E''`, nested comments, `$1`.
    Postgres,
    /// MySQL and MariaDB: backticks, backslashes, `#` comments, `?`.
    Mysql,
    /// SQLite: `[brackets]`, `?1`.
    Sqlite,
}

impl Dialect {
    /// The product's name, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// What a query replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `:many`: an array of rows.
    Many,
    /// `:one`: one row, no fewer and no more.
    One,
    /// `:exec`: how many rows were affected.
    Exec,
}

/// The HTTP methods that a query may be called with, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HttpMethods {
    /// GET, and with it HEAD.
    pub get: bool,
    /// POST.
    pub post: bool,
}

impl HttpMethods {
    /// The methods as the `Allow` header lists them.
    #[must_use]
    pub fn allow(self) -> String {
        match (self.get, self.post) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            (false, true) => "POST",
            (false, false) => "",
        }
        .to_owned()
    }
}

/// All queries, by name.
#[derive(Debug, Default)]
pub struct Queries {
    /// Sorted by name.
    queries: Vec<Query>,
    /// What holds for each of them.
    identity: Identity,
}

impl Queries {
    /// The query of this name, in exactly this spelling.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Query> {
        let at = self.queries.binary_search_by(|query| (*query.name).cmp(name)).ok()?;
        self.queries.get(at)
    }

    /// What each of them is told of the caller, whatever its own lines say.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Query> {
        self.queries.iter()
    }
}

impl<'a> IntoIterator for &'a Queries {
    type Item = &'a Query;
    type IntoIter = std::slice::Iter<'a, Query>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One named query.
#[derive(Debug)]
pub struct Query {
    name: Arc<str>,
    verb: Verb,
    access: Access,
    http: Option<HttpMethods>,
    tool: Option<String>,
    params: Vec<Param>,
    timeout: Option<Duration>,
    max_rows: Option<u64>,
    transaction: bool,
    cache: Option<Duration>,
    idempotency: Option<Idempotency>,
    identity: Identity,
    description: String,
    place: String,
    lines: Lines,
    dialect: Dialect,
    template: Template,
    pages: Option<page::Pages>,
}

/// Where the parts of an entry are, in lines of its file, counted from 1.
#[derive(Debug)]
struct Lines {
    /// The `-- name:` line, which [`Query::place`] names too.
    name: usize,
    /// The first line of the SQL.
    sql: usize,
    /// The declaration of each parameter.
    params: Vec<usize>,
}

impl Query {
    /// Its name, which calls use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it replies.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Whether it may write.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The methods it may be called with over HTTP; `None` if it may not be called over HTTP.
    #[must_use]
    pub fn http(&self) -> Option<&HttpMethods> {
        self.http.as_ref()
    }

    /// Its title as a tool; `None` if agents may not call it.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// Its parameters, in the order declared.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The longest it may run, if its file says so.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// More rows than this are an error.
    #[must_use]
    pub fn max_rows(&self) -> Option<u64> {
        self.max_rows
    }

    /// Whether a write runs in a transaction; false for `-- transaction: none`, and for what commits by itself
    /// whatever is asked, as MySQL's DDL does.
    #[must_use]
    pub fn transaction(&self) -> bool {
        self.transaction
    }

    /// How long a reply over HTTP may be kept, in whole seconds.
    #[must_use]
    pub fn cache(&self) -> Option<Duration> {
        self.cache
    }

    /// Where its idempotency key comes from, if it has one.
    #[must_use]
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    /// The comment lines that are no annotation.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Where it is written: `file:line`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The file that it is written in, as its folder was named.
    #[must_use]
    pub fn file(&self) -> &str {
        // The line stands behind the last colon.
        self.place.rsplit_once(':').map_or(&*self.place, |(file, _)| file)
    }

    /// The line of its `-- name:`, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.lines.name
    }

    /// The line of its file in which this line of its SQL stands; both are counted from 1.
    #[must_use]
    pub fn line_of_sql(&self, line: usize) -> usize {
        self.lines.sql + line.saturating_sub(1)
    }

    /// The line that declares this parameter.
    #[must_use]
    pub fn line_of_param(&self, name: &str) -> Option<usize> {
        let at = self.params.iter().position(|param| &*param.name == name)?;
        self.lines.params.get(at).copied()
    }

    /// Whether it is read page by page (`-- page:`).
    #[must_use]
    pub fn is_paged(&self) -> bool {
        self.pages.is_some()
    }

    /// How it is read page by page.
    pub(crate) fn pages(&self) -> Option<&page::Pages> {
        self.pages.as_ref()
    }

    /// The dialect that its SQL is written in.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The SQL as it is sent; where a list expands, with one element.
    #[must_use]
    pub fn sql(&self) -> &str {
        self.template.sql()
    }
}

/// One declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    name: Arc<str>,
    kind: Kind,
    nullable: bool,
    default: Option<Value>,
    bounds: Option<Bounds>,
    choice: Option<Choice>,
    from: Option<BoundFrom>,
    description: Arc<str>,
    /// Whether it is used beside the SQL, which then need not use it.
    beside: bool,
}

impl Param {
    /// Its name, which calls and the SQL use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it may be NULL.
    #[must_use]
    pub fn nullable(&self) -> bool {
        self.nullable
    }

    /// What it is when the caller does not give it.
    #[must_use]
    pub fn default(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// What `in a..=b` allows.
    #[must_use]
    pub fn bounds(&self) -> Option<&Bounds> {
        self.bounds.as_ref()
    }

    /// What `in {a, b}` allows.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// What it means, as its line says behind `--`; empty where it says nothing.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Why it cannot have this value of its type: the rest of a sentence that begins with its name.
    fn misfit(&self, value: &Value) -> Option<String> {
        let bounds = self.bounds.as_ref().filter(|bounds| !bounds.contain(value)).map(Bounds::to_string);
        bounds.or_else(|| self.choice.as_ref().filter(|choice| !choice.contain(value)).map(Choice::to_string))
    }

    /// Where it comes from, if not from the caller.
    #[must_use]
    pub fn bound_from(&self) -> Option<&BoundFrom> {
        self.from.as_ref()
    }
}

/// That a write is done once per key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Where the key comes from.
    pub from: KeyFrom,
    /// Whether it may be missing: then the write is done as one without a key.
    pub optional: bool,
    /// How long the key and the reply are kept.
    pub keep: Duration,
}

/// Where an idempotency key comes from. Displays as the query file writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    /// `header.NAME`: a header of the HTTP request, or `idempotencyKey` of a direct event; the name is in lower case.
    Header(String),
    /// `sqs.messageId`: the id of the SQS message.
    MessageId,
    /// `context.requestId`: Lambda's request id, which asynchronous retries keep.
    RequestId,
    /// `param.NAME`: a parameter.
    Param(String),
}

impl fmt::Display for KeyFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header.{name}"),
            Self::MessageId => f.write_str("sqs.messageId"),
            Self::RequestId => f.write_str("context.requestId"),
            Self::Param(name) => write!(f, "param.{name}"),
        }
    }
}

/// Where a parameter comes from that the caller cannot give. Displays as the query file writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundFrom {
    /// `claims.NAME`: the caller's verified identity.
    Claim(String),
    /// `header.NAME`: a header of the HTTP request; the name is in lower case.
    Header(String),
    /// `context.requestId`: Lambda's request id.
    RequestId,
    /// `context.tenantId`: the tenant of an invocation of a function with tenant isolation.
    TenantId,
    /// `sqs.messageId`: the id of the SQS message.
    MessageId,
}

impl fmt::Display for BoundFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(name) => write!(f, "claims.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::RequestId => f.write_str("context.requestId"),
            Self::TenantId => f.write_str("context.tenantId"),
            Self::MessageId => f.write_str("sqs.messageId"),
        }
    }
}
