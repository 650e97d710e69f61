//! Exactly once: a write with an idempotency key is done once, however often it is sent, and its reply is kept.
//!
//! Key, hash of the request and reply stand in a table of the database (`Store`), written in the transaction of the
//! write itself. So the record and the effect cannot part, and a lost COMMIT is no riddle: the write runs again, and the
//! key tells whether it was done.
//!
//! ```text
//! PostgreSQL   1   look the key up · claim it (INSERT) · BEGIN · the steps
//!              2   sweep a few expired keys · keep the reply (UPDATE), or fail · COMMIT
//! MySQL        1   BEGIN · look the key up · claim it · COMMIT unless it is claimed
//!              2   the steps
//!              3   sweep · keep the reply · COMMIT if it is kept
//! ```
//!
//! The claim is a unique key's: whoever comes second waits for the first at it, and is refused once that is committed. What
//! it finds then is the reply. A replay is one flight, whoever asks: on PostgreSQL the server passes over everything behind
//! the refused claim, which stands before BEGIN. MySQL would run the steps, so they wait for the answer; there the server
//! itself ends what it has begun, and commits only what has its reply.
//!
//! The key of a row is a hash over what is called, who calls (the verified identity), and the caller's key: nobody meets
//! another's reply. Times are the server's.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::answers::GONE;
use crate::backend::{Session, Statement};
use crate::config::{Engine, Table};
use crate::describe::Described;
use crate::error::{Error, Fault, Result};
use crate::execute::Step;
use crate::queries::{BoundFrom, Dialect, Idempotency, KeyFrom};
use crate::value::{Argument, Given, Kind, Origin, Scalar, Value};

/// The table of keys, as one function uses it.
#[derive(Debug)]
pub(crate) struct Store {
    dialect: Dialect,
    engine: Engine,
    table: Table,
    /// How many bytes of reply are kept.
    most: usize,
    sql: Texts,
}

/// The statements.
#[derive(Debug)]
struct Texts {
    look_up: Arc<str>,
    claim: Arc<str>,
    drop_expired: Arc<str>,
    keep: Arc<str>,
    sweep: Arc<str>,
}

/// A key, as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Over what is called, by whom, and the caller's key.
    id: [u8; 32],
    /// Over the parameters.
    request: [u8; 32],
    /// How long it holds.
    keep: Duration,
}

/// A key's row.
#[derive(Debug)]
pub(crate) struct Row {
    /// The hash of the request.
    pub(crate) request: Vec<u8>,
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) expired: bool,
}

/// The same as an engine writes it into a body.
#[derive(Debug, Deserialize)]
struct Stored {
    request: String,
    reply: Option<String>,
    expired: Truth,
}

/// Engines have it as a boolean or as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Truth {
    Bool(bool),
    Number(i64),
}

/// What follows from what the table has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was done, and this was its reply.
    Reply(Vec<u8>),
    /// It holds no longer.
    Expired,
    /// Nothing.
    Nothing,
}

impl Store {
    pub(crate) fn new(engine: Engine, dialect: Dialect, table: &Table, most: usize) -> Self {
        let sql = Texts::of(dialect, &table.quoted(dialect));
        Self { dialect, engine, table: table.clone(), most, sql }
    }

    #[cfg(feature = "sea-orm")]
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What every write with a key sends, whatever it is.
    pub(crate) fn texts(&self) -> [Arc<str>; 4] {
        [&self.sql.look_up, &self.sql.claim, &self.sql.sweep, &self.sql.keep].map(Arc::clone)
    }

    /// Looks a key up.
    pub(crate) fn look_up(&self, key: &Key) -> Statement {
        statement(&self.sql.look_up, vec![self.hash("id", &key.id)])
    }

    /// Claims a key that is not there.
    pub(crate) fn claim(&self, key: &Key) -> Statement {
        let seconds = i64::try_from(key.keep.as_secs().max(1)).unwrap_or(i64::MAX);
        let keep = argument("keep", Scalar::Int, Value::Int(seconds));
        statement(&self.sql.claim, vec![self.hash("id", &key.id), self.hash("request", &key.request), keep])
    }

    /// Drops the key, if it has expired.
    pub(crate) fn drop_expired(&self, key: &Key) -> Statement {
        statement(&self.sql.drop_expired, vec![self.hash("id", &key.id)])
    }

    /// Keeps the reply of a key that this transaction has claimed. It changes that one row; on PostgreSQL it fails where it does
    /// not. If the claim was undone, the key may be another's by now, who has a reply or is waited for.
    pub(crate) fn keep(&self, key: &Key, reply: &[u8]) -> Statement {
        // The order is that of MySQL's placeholders, and of the others' numbers.
        statement(&self.sql.keep, vec![self.reply(reply), self.hash("id", &key.id)])
    }

    /// Drops a few keys that have expired: so many writes drop more than they make. This one is still needed, also where the
    /// write took longer than it holds.
    pub(crate) fn sweep(&self, key: &Key) -> Statement {
        statement(&self.sql.sweep, vec![self.hash("id", &key.id)])
    }

    /// A hash as a value. MySQL gets it as text: its list of processes shows the values of what runs, and an error where one
    /// is no text (3854).
    fn hash(&self, name: &str, hash: &[u8; 32]) -> Argument {
        if self.dialect == Dialect::Mysql {
            let mut hex = String::with_capacity(64);
            for byte in hash {
                let _ = write!(hex, "{byte:02x}");
            }
            return argument(name, Scalar::Text, Value::Text(hex));
        }
        argument(name, Scalar::Bytes, Value::Bytes(hash.to_vec()))
    }

    /// A reply as a value.
    fn reply(&self, reply: &[u8]) -> Argument {
        match std::str::from_utf8(reply) {
            Ok(text) if self.dialect == Dialect::Mysql => {
                argument("reply", Scalar::Text, Value::Text(text.to_owned()))
            }
            _ => argument("reply", Scalar::Bytes, Value::Bytes(reply.to_vec())),
        }
    }

    /// # Errors
    /// [`Fault::ResultTooLarge`] if a reply cannot be kept.
    pub(crate) fn fits(&self, reply: &[u8]) -> Result<()> {
        if reply.len() <= self.most {
            return Ok(());
        }
        Err(Error::new(
            Fault::ResultTooLarge,
            format!(
                "the reply has {} bytes, and is kept with its idempotency key up to {} (DB_IDEMPOTENCY_REPLY): let the \
                 query return less, such as an id. Nothing was written",
                reply.len(),
                self.most
            ),
        ))
    }

    /// What follows from what a lookup gave, for a request.
    ///
    /// # Errors
    /// [`Fault::KeyReused`] if the key is another request's.
    pub(crate) fn found(&self, key: &Key, rows: &[u8]) -> Result<Found> {
        let wrong = |why: String| Error::new(Fault::Internal, format!("the table {}: {why}", self.table));
        let rows: Vec<Stored> = serde_json::from_slice(rows).map_err(|error| wrong(error.to_string()))?;
        let Some(stored) = rows.into_iter().next() else { return Ok(Found::Nothing) };
        let decode = |text: &String| BASE64.decode(text).map_err(|error| wrong(error.to_string()));
        let expired = matches!(stored.expired, Truth::Bool(true) | Truth::Number(1..));
        let reply = stored.reply.as_ref().map(decode).transpose()?;
        self.judge(key, Row { request: decode(&stored.request)?, reply, expired })
    }

    /// The same of a row that has been read.
    ///
    /// # Errors
    /// Those of [`Self::found`].
    pub(crate) fn judge(&self, key: &Key, row: Row) -> Result<Found> {
        if row.expired {
            return Ok(Found::Expired);
        }
        if row.request != key.request {
            return Err(Error::new(Fault::KeyReused, "the key's row has another request's hash"));
        }
        row.reply.map(Found::Reply).ok_or_else(|| {
            let detail = format!("the table {}: a key that was committed has no reply", self.table);
            Error::new(Fault::Internal, detail)
        })
    }

    /// The error of one of our own statements, told as what it is.
    pub(crate) fn trouble(&self, error: Error) -> Error {
        if error.fault() != Fault::QueryFailed {
            return error;
        }
        let detail = format!(
            "the table {} of idempotency keys is missing, or not as it must be, or this user may not SELECT, INSERT, \
             UPDATE and DELETE in it (DB_IDEMPOTENCY_TABLE): `lambda-rds tables --engine {}` prints what makes it, which is \
             {} The server says: {}",
            self.table,
            self.engine.name(),
            // As a line of the log.
            ddl(self.dialect, &self.table).split_whitespace().collect::<Vec<_>>().join(" "),
            error.detail()
        );
        error.with_detail(detail)
    }

    /// The error of the statement that keeps the reply: what the server does not take as a value is that.
    pub(crate) fn unkept(&self, error: Error, reply: &[u8]) -> Error {
        if self.dialect == Dialect::Postgres && error.sqlstate() == Some(DIVISION_BY_ZERO) {
            return Error::new(Fault::QueryFailed, GONE);
        }
        if error.fault() != Fault::BadParameter {
            return self.trouble(error);
        }
        let detail = format!(
            "the reply has {} bytes, and the server does not take it to be kept with its idempotency key in the table {}: \
             let the query return less, such as an id. Nothing was written. {}",
            reply.len(),
            self.table,
            error.detail()
        );
        error.into_fault(Fault::ResultTooLarge).with_detail(detail)
    }

    /// What is wrong with the table, says the server, to which the statements are shown and nothing is run.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn missing(&self, session: &mut dyn Session) -> Result<Option<String>> {
        let key = Key { id: [0; 32], request: [0; 32], keep: Duration::ZERO };
        for statement in [self.look_up(&key), self.claim(&key), self.keep(&key, b""), self.sweep(&key)] {
            if let Described::Refused(refused) = session.describe(&statement).await? {
                let error = self.trouble(Error::new(Fault::QueryFailed, refused.reason));
                return Ok(Some(error.detail().to_owned()));
            }
        }
        Ok(None)
    }

    /// It cannot be had that this is done once.
    pub(crate) fn stays(&self, name: Option<&str>) -> Error {
        let what = match name {
            Some(name) => format!(
                "the query `{name}` has an idempotency key, and no rollback undoes what it does: it writes to a table \
                 without transactions, or runs a routine that may commit by itself"
            ),
            None => {
                format!("the table {} of idempotency keys has no transactions: make it InnoDB", self.table)
            }
        };
        Error::new(Fault::QueryFailed, format!("{what}. Nothing was run"))
    }
}

/// Somebody else has been running with this key for as long as may be waited.
pub(crate) fn still_running() -> Error {
    Error::told(Fault::LockTimeout, "A request with this idempotency key is still running. Try again.")
}

/// The body without what it has where it stands inside a JSON string.
pub(crate) fn plain(body: Vec<u8>, escaped: bool) -> Result<Vec<u8>> {
    if !escaped {
        return Ok(body);
    }
    let quoted = [b"\"", &*body, b"\""].concat();
    let plain: Result<String, _> = serde_json::from_slice(&quoted);
    plain.map(String::into_bytes).map_err(|error| Error::new(Fault::Internal, format!("the body: {error}")))
}

/// The stored body as the reply carries it.
///
/// # Errors
/// [`Fault::ResultTooLarge`]: it may have been stored for another source.
pub(crate) fn carried(body: Vec<u8>, escaped: bool, most: usize) -> Result<Vec<u8>> {
    let body = if escaped {
        let text = String::from_utf8(body);
        let text = text.map_err(|error| Error::new(Fault::Internal, format!("the stored reply: {error}")))?;
        let mut quoted = serde_json::Value::String(text).to_string().into_bytes();
        quoted.pop();
        quoted.remove(0);
        quoted
    } else {
        body
    };
    if body.len() > most {
        return Err(Error::new(Fault::ResultTooLarge, "the reply that was stored with the idempotency key"));
    }
    Ok(body)
}

impl Texts {
    fn of(dialect: Dialect, table: &str) -> Self {
        let place = |number: usize| match dialect {
            Dialect::Postgres => format!("${number}"),
            Dialect::Mysql => "?".to_owned(),
            Dialect::Sqlite => format!("?{number}"),
        };
        let (now, later) = match dialect {
            Dialect::Postgres => ("now()", "now() + make_interval(secs => $3)".to_owned()),
            Dialect::Mysql => ("UTC_TIMESTAMP(6)", "UTC_TIMESTAMP(6) + INTERVAL ? SECOND".to_owned()),
            Dialect::Sqlite => ("unixepoch()", "unixepoch() + ?3".to_owned()),
        };
        let hash = |number: usize| match dialect {
            Dialect::Mysql => "UNHEX(?)".to_owned(),
            Dialect::Postgres | Dialect::Sqlite => place(number),
        };
        let (first, second) = (hash(1), hash(2));
        // MySQL takes `<>` for two ranges of the primary key, and to say how long they are reads ten of its pages at random,
        // each time: more than all the rest of a write.
        let another = match dialect {
            Dialect::Mysql => format!("NOT (id <=> {first})"),
            Dialect::Postgres | Dialect::Sqlite => format!("id <> {first}"),
        };
        // Nobody waits for another's sweep.
        let expired = format!(
            "SELECT id FROM {table} WHERE expires_at <= {now} AND {another} ORDER BY expires_at LIMIT {SWEPT}"
        );
        let sweep = match dialect {
            // The array is read by the primary key, whatever the statistics say.
            Dialect::Postgres => {
                format!("DELETE FROM {table} WHERE id = ANY (ARRAY({expired} FOR UPDATE SKIP LOCKED))")
            }
            Dialect::Mysql => format!(
                "DELETE swept FROM {table} AS swept JOIN ({expired} FOR UPDATE SKIP LOCKED) AS gone \
                 ON gone.id = swept.id"
            ),
            Dialect::Sqlite => format!("DELETE FROM {table} WHERE id IN ({expired})"),
        };
        let keep = format!("UPDATE {table} SET reply = {} WHERE id = {second} AND reply IS NULL", place(1));
        let keep = match dialect {
            // COMMIT is sent with it, and may be done only if it has its row.
            Dialect::Postgres => format!("WITH kept AS ({keep} RETURNING id) SELECT 1 / count(*) FROM kept"),
            Dialect::Mysql | Dialect::Sqlite => keep,
        };
        Self {
            look_up: format!(
                "SELECT request, reply, expires_at <= {now} AS expired FROM {table} WHERE id = {first}"
            )
            .into(),
            claim: format!(
                "INSERT INTO {table} (id, request, created_at, expires_at) VALUES ({first}, {second}, {now}, {later})"
            )
            .into(),
            drop_expired: format!("DELETE FROM {table} WHERE id = {first} AND expires_at <= {now}").into(),
            keep: keep.into(),
            sweep: sweep.into(),
        }
    }
}

/// The DDL of the table. Running it twice is no mistake.
#[must_use]
pub fn ddl(dialect: Dialect, table: &Table) -> String {
    let name = table.quoted(dialect);
    let index = table.index().quoted(dialect);
    match dialect {
        Dialect::Postgres => format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n    id bytea PRIMARY KEY,\n    request bytea NOT NULL,\n    \
             reply bytea,\n    created_at timestamptz NOT NULL,\n    expires_at timestamptz NOT NULL\n);\n\
             CREATE INDEX IF NOT EXISTS {index} ON {name} (expires_at);\n"
        ),
        Dialect::Mysql => format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n    id binary(32) NOT NULL PRIMARY KEY,\n    \
             request binary(32) NOT NULL,\n    reply mediumblob,\n    created_at datetime(6) NOT NULL,\n    \
             expires_at datetime(6) NOT NULL,\n    INDEX {index} (expires_at)\n) ENGINE = InnoDB;\n"
        ),
        Dialect::Sqlite => format!(
            "CREATE TABLE IF NOT EXISTS {name} (\n    id BLOB NOT NULL PRIMARY KEY,\n    request BLOB NOT NULL,\n    \
             reply BLOB,\n    created_at INTEGER NOT NULL,\n    expires_at INTEGER NOT NULL\n);\n\
             CREATE INDEX IF NOT EXISTS {} ON {} (expires_at);\n",
            table.index_with_schema().quoted(dialect),
            table.alone().quoted(dialect)
        ),
    }
}

fn statement(sql: &Arc<str>, arguments: Vec<Argument>) -> Statement {
    Statement { sql: Arc::clone(sql), arguments }
}

fn argument(name: &str, scalar: Scalar, value: Value) -> Argument {
    Argument { name: name.into(), kind: Kind { scalar, array: false }, value }
}

impl Key {
    /// The key of an application's own, in a scope of its own.
    #[cfg(feature = "sea-orm")]
    pub(crate) fn own(key: &str, keep: Duration) -> Result<Self> {
        not_empty(key)?;
        Ok(Self { id: hash(&[b"db.once", key.as_bytes()]), request: [0; 32], keep })
    }

    /// The key of a call: of its query, its caller and what the caller sent. `None` where its query has none, or has an
    /// optional one that was not sent.
    ///
    /// # Errors
    /// [`Fault::BadEvent`], [`Fault::BadParameter`] if it is missing, or empty, or there is one for a query that has none.
    pub(crate) fn of_call(step: &Step<'_>, origin: &Origin, param: Option<&Value>) -> Result<Option<Self>> {
        let Some(idempotency) = step.query.idempotency() else {
            return match origin.idempotency_key {
                None => Ok(None),
                Some(_) => Err(not_wanted(step.query.name())),
            };
        };
        if origin.idempotency_key.is_some() && !matches!(idempotency.from, KeyFrom::Header(_)) {
            return Err(Error::told(
                Fault::BadEvent,
                format!(
                    "The query `{}` takes its idempotency key from {}; `idempotencyKey` is not for it.",
                    step.query.name(),
                    idempotency.from
                ),
            ));
        }
        let given = match &idempotency.from {
            KeyFrom::Param(name) => match param {
                None | Some(Value::Null) => None,
                Some(Value::Text(text)) => Some(text.clone()),
                Some(value) => Some(canonical(value)),
            }
            .map_or_else(
                || Err(missing(Fault::BadParameter, &format!("parameter `{name}`"))),
                |key| not_empty(&key).map(|()| key),
            ),
            from => sent(from, origin)?.ok_or_else(|| missing_from(from)),
        };
        let key = match given {
            Ok(key) => key,
            Err(error) if idempotency.optional && is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = hash(&[b"query", step.query.name().as_bytes(), &identity(origin), key.as_bytes()]);
        Ok(Some(Self { id, request: requested(std::slice::from_ref(step)), keep: idempotency.keep }))
    }

    /// The key of a list: one for all of its steps. `None` if none of them has one.
    ///
    /// # Errors
    /// Those of [`Self::of_call`].
    pub(crate) fn of_list(steps: &[Step<'_>], origin: &Origin) -> Result<Option<Self>> {
        let with: Vec<&Idempotency> = steps.iter().filter_map(|step| step.query.idempotency()).collect();
        if with.is_empty() {
            return match (&origin.idempotency_key, steps.first()) {
                (Some(_), Some(step)) => Err(not_wanted(step.query.name())),
                _ => Ok(None),
            };
        }
        let mut key = origin.idempotency_key.clone();
        if let Some(key) = &key {
            not_empty(key)?;
        }
        for idempotency in &with {
            if key.is_none() && !matches!(idempotency.from, KeyFrom::Param(_)) {
                key = sent(&idempotency.from, origin)?;
            }
        }
        let Some(key) = key else {
            if with.iter().all(|idempotency| idempotency.optional) {
                return Ok(None);
            }
            return Err(missing(Fault::BadEvent, "the event's `idempotencyKey`, one for the whole list"));
        };
        let keep = with.iter().map(|idempotency| idempotency.keep).max().unwrap_or_default();
        let id = hash(&[b"list", b"", &identity(origin), key.as_bytes()]);
        Ok(Some(Self { id, request: requested(steps), keep }))
    }
}

/// The key that the invocation brings.
fn sent(from: &KeyFrom, origin: &Origin) -> Result<Option<String>> {
    let key = match from {
        KeyFrom::Header(_) if origin.idempotency_key.is_some() => origin.idempotency_key.clone(),
        KeyFrom::Header(name) => {
            let mut values =
                origin.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value);
            let first = values.next().cloned();
            // Of two keys neither is the right one; and one that was doubled on its way would be another key.
            if values.next().is_some() || origin.repeated_headers.contains(name) {
                return Err(Error::told(Fault::BadEvent, format!("The header `{name}` is there twice.")));
            }
            first
        }
        KeyFrom::MessageId => origin.message_id.clone(),
        KeyFrom::RequestId => Some(origin.request_id.clone()).filter(|id| !id.is_empty()),
        KeyFrom::Param(_) => None,
    };
    if let Some(key) = &key {
        not_empty(key)?;
    }
    Ok(key)
}

fn not_empty(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::told(Fault::BadEvent, "The idempotency key is empty."));
    }
    Ok(())
}

const MISSING: &str = "The idempotency key is missing: ";

fn missing(fault: Fault, what: &str) -> Error {
    Error::told(fault, format!("{MISSING}{what}."))
}

fn missing_from(from: &KeyFrom) -> Error {
    match from {
        KeyFrom::Header(name) => {
            missing(Fault::BadEvent, &format!("the header `{name}`, or `idempotencyKey` of a direct event"))
        }
        from => missing(Fault::BadEvent, &from.to_string()),
    }
}

fn is_missing(error: &Error) -> bool {
    error.message().starts_with(MISSING)
}

fn not_wanted(name: &str) -> Error {
    Error::told(
        Fault::BadEvent,
        format!("The query `{name}` has no idempotency key, so `idempotencyKey` would not be heeded."),
    )
    .with_detail("`-- idempotency_key: header.Idempotency-Key` in its file gives it one")
}

/// Who calls, as far as it was verified: the subject and its issuer, or the IAM principal. Where a gateway tells neither,
/// all that it tells but what changes from token to token.
fn identity(origin: &Origin) -> Vec<u8> {
    let claims = origin.claims.as_deref().unwrap_or_default();
    let find = |name: &str| claims.iter().find(|(claim, _)| claim == name).map(|(_, given)| shown(given));
    let mut parts: Vec<(String, String)> = Vec::new();
    if let Some(subject) = find("sub") {
        parts.push(("iss".to_owned(), find("iss").unwrap_or_default()));
        parts.push(("sub".to_owned(), subject));
    } else if let Some(principal) = find("userArn") {
        parts.push(("userArn".to_owned(), principal));
    } else {
        let lasting = claims.iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
        parts.extend(lasting.map(|(name, given)| (name.clone(), shown(given))));
        parts.sort();
    }
    let flat: Vec<&[u8]> =
        parts.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    hash(&flat).to_vec()
}

/// PostgreSQL's number of that.
const DIVISION_BY_ZERO: &str = "22012";
/// Claims that are of the token and not of whom it stands for.
const OF_THE_TOKEN: [&str; 8] =
    ["exp", "iat", "nbf", "jti", "auth_time", "origin_jti", "event_id", "integrationLatency"];

/// A claim's text, whether it came as JSON or as text.
fn shown(given: &Given) -> String {
    match given {
        Given::Text(text) => text.clone(),
        Given::Texts(texts) => texts.join("\u{0}"),
        Given::Json(raw) => {
            crate::value::string(raw.get()).map_or_else(|_| raw.get().to_owned(), |it| it.into_owned())
        }
    }
}

/// The hash of what is asked: queries and parameters as they were read, whatever order and form they were sent in. Without
/// what names the delivery, which is another one each time.
fn requested(steps: &[Step<'_>]) -> [u8; 32] {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for step in steps {
        parts.push(b"query".to_vec());
        parts.push(step.query.name().as_bytes().to_vec());
        for Argument { name, value, .. } in &step.statement.arguments {
            let param = step.query.params().iter().find(|param| param.name() == &**name);
            let from = param.and_then(|param| param.bound_from());
            if matches!(from, Some(BoundFrom::RequestId | BoundFrom::MessageId)) {
                continue;
            }
            parts.push(name.as_bytes().to_vec());
            parts.push(canonical(value).into_bytes());
        }
    }
    hash(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A value's text, of which equal values have the same.
fn canonical(value: &Value) -> String {
    match value {
        Value::Json(text) => format!("Json({})", sorted(text)),
        Value::Array(elements) => {
            let mut text = "[".to_owned();
            for element in elements {
                let _ = write!(text, "{:?},", canonical(element));
            }
            text + "]"
        }
        Value::Decimal(digits) => format!("Decimal({})", significant(digits)),
        // It equals 0.0.
        Value::Float(float) if *float == 0.0 => format!("{:?}", Value::Float(0.0)),
        other => format!("{other:?}"),
    }
}

/// A decimal's digits without zeros that say nothing: one client writes 1.50 where the other one writes 1.5.
fn significant(digits: &str) -> &str {
    if !digits.contains('.') {
        return digits;
    }
    digits.trim_end_matches('0').trim_end_matches('.')
}

/// JSON with the members of its objects in order and without blanks; numbers keep their digits.
fn sorted(json: &str) -> String {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<BTreeMap<String, &RawValue>>(json) {
            Ok(members) => {
                let member =
                    |(name, value): (&String, &&RawValue)| format!("{name:?}:{}", sorted(value.get()));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
            Err(_) => json.to_owned(),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(json) {
            Ok(elements) => {
                let elements: Vec<String> = elements.iter().map(|value| sorted(value.get())).collect();
                format!("[{}]", elements.join(","))
            }
            Err(_) => json.to_owned(),
        },
        Some(b'"') => {
            serde_json::from_str::<String>(json).map_or_else(|_| json.to_owned(), |it| format!("{it:?}"))
        }
        _ => json.to_owned(),
    }
}

/// Each part with its length before it, so that no two lists of parts are one.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// How many expired keys a write drops.
const SWEPT: usize = 10;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::value::RawValue;

    use super::*;
    use crate::queries::{Caller, Queries};
    use crate::value::Params;

    const ENGINES: [(Engine, Dialect); 3] = [
        (Engine::Postgres, Dialect::Postgres),
        (Engine::Mysql, Dialect::Mysql),
        (Engine::Sqlite, Dialect::Sqlite),
    ];

    fn parse(engine: (Engine, Dialect), text: &str) -> Result<Queries, String> {
        let files = [("q.sql".to_owned(), text.to_owned())];
        Queries::parse(&files, engine.0, engine.1).map_err(|error| error.to_string())
    }

    #[test]
    fn lines() {
        let check = |line: &str, from: &str, optional: bool, hours: u64| {
            let text = format!(
                "-- name: q :exec\n-- idempotency_key: {line}\n-- param: id text\nDELETE FROM t WHERE a = :id"
            );
            let queries = parse(ENGINES[0], &text).unwrap();
            let it = queries.get("q").unwrap().idempotency().unwrap().clone();
            let hours = Duration::from_secs(hours * 3600);
            assert_eq!(
                (it.from.to_string().as_str(), it.optional, it.keep),
                (from, optional, hours),
                "{line}"
            );
        };
        check("header.Idempotency-Key", "header.idempotency-key", false, 24);
        check("header.Idempotency-Key? for 1h", "header.idempotency-key", true, 1);
        check("sqs.messageId for 14d", "sqs.messageId", false, 14 * 24);
        check("context.requestId  for  2h", "context.requestId", false, 2);
        check("param.id?", "param.id", true, 24);
    }

    #[test]
    fn mistakes() {
        let check = |engine: usize, text: &str, expected: &str| {
            let error = parse(ENGINES[engine], &format!("-- name: q {text}")).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        for line in [
            "",
            "header.",
            "header.a b",
            "claims.sub",
            "header.X forever",
            "header.X for",
            "header.X for 1h 2",
            "param.1",
            "sqs.body",
            "header.X for 24",
            "x",
        ] {
            check(0, &format!(":exec\n-- idempotency_key: {line}\nDELETE FROM t"), "q.sql:2: ");
        }
        for span in ["0s", "1ms", "400d"] {
            let text = format!(":exec\n-- idempotency_key: header.X for {span}\nDELETE FROM t");
            check(0, &text, "whole seconds, up to 366 days");
        }
        check(0, ":many\n-- idempotency_key: header.X\nSELECT 1", "for writes");
        check(0, ":exec\n-- read\n-- idempotency_key: header.X\nSELECT 1", "for writes");
        check(
            0,
            ":exec\n-- transaction: none\n-- idempotency_key: header.X\nDELETE FROM t",
            "transaction: none",
        );
        check(
            0,
            ":exec\n-- idempotency_key: header.X\n-- idempotency_key: header.Y\nDELETE FROM t",
            "said twice",
        );
        check(0, ":exec\n-- idempotency_key: param.id\nDELETE FROM t", "`id` is not declared");
        check(0, ":exec\n-- idempotency-key: header.X\nDELETE FROM t", "did you mean `-- idempotency_key:`");
        check(1, ":exec\n-- idempotency_key: header.X\nDROP TABLE t", "commits this by itself");
        for engine in [0, 2] {
            check(engine, ":exec\n-- idempotency_key: header.X\nCREATE TABLE t (a int)", "defines objects");
        }
        check(1, ":exec\n-- idempotency_key: header.X\nCALL p()", "commits this by itself");
        // A parameter that the key alone needs is used; another one is not.
        let unused = ":exec\n-- idempotency_key: param.id\n-- param: id text\n-- param: n int\nDELETE FROM t";
        check(0, unused, "`n` is declared");
        assert!(
            parse(ENGINES[0], &format!("-- name: q {}", unused.replace("-- param: n int\n", ""))).is_ok()
        );
    }

    fn given(json: &str) -> Params {
        let members: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
        Params(members.into_iter().map(|(name, raw)| (name, Given::Json(raw))).collect())
    }

    fn claims(json: &str) -> Option<Vec<(String, Given)>> {
        Some(given(json).0)
    }

    /// The key of a call with these parameters by somebody.
    fn key(params: &str, key: &str, claimed: Option<&str>) -> Key {
        let text = "-- name: q :exec\n-- idempotency_key: header.X\n-- param: a int\n-- param: b json? = null\n\
                    -- param: c text from context.requestId\nINSERT INTO t VALUES (:a, :b, :c)";
        let queries = parse(ENGINES[0], text).unwrap();
        let query = queries.get("q").unwrap();
        let origin = Origin {
            idempotency_key: Some(key.to_owned()),
            request_id: format!("{}", fastrand::u64(..)),
            claims: claimed.and_then(claims),
            ..Origin::default()
        };
        let step = Step::new(query, query.bind(&given(params), &origin).unwrap(), Caller::nobody());
        Key::of_call(&step, &origin, None).unwrap().unwrap()
    }

    #[test]
    fn the_request_is_what_was_read() {
        let one = key(r#"{"a": 1, "b": {"x": [1.10, "é"], "y": null}}"#, "k", None);
        assert_eq!(one, key(r#"{"b":{"y":null,"x":[ 1.10,"\u00e9" ]},"a":"1"}"#, "k", None));
        for other in [r#"{"a": 2}"#, r#"{"a": 1}"#, r#"{"a": 1, "b": {"x": [1.1, "é"], "y": null}}"#] {
            let other = key(other, "k", None);
            assert!(one.id == other.id && one.request != other.request);
        }
        assert_ne!(one.id, key(r#"{"a": 1}"#, "K", None).id);
    }

    #[test]
    fn equal_values_are_one_request() {
        let text = |kind: &str, json: &str| {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            canonical(&Kind::from_name(kind).unwrap().read(&Given::Json(raw)).unwrap())
        };
        for (kind, same) in [
            ("decimal", &["1", "1.0", "1.00", "\"1\"", "\"+1.\"", "1e0", "10e-1", "0.1e1", "\"01.0\""][..]),
            ("decimal", &["0", "0.0", "-0", "-0.00", "0e9"]),
            ("decimal", &["100", "1e2", "100.0", "\"0100\""]),
            ("decimal", &["-1.5", "-1.50", "-15e-1"]),
            ("decimal", &["0.000000000000000000010", "1e-20"]),
            ("float", &["1", "1.0", "1e0", "\"1\""]),
            ("float", &["0", "-0.0", "0e5"]),
            ("int", &["7", "\"7\"", "\"+7\""]),
            ("decimal[]", &["[1, 2.50]", "[1.0,2.5]"]),
            ("timestamptz", &["\"2026-01-31T13:37:00Z\"", "\"2026-01-31T14:37:00.000+01:00\""]),
            ("uuid", &["\"01234567-89AB-cdef-0123-456789abcdef\"", "\"0123456789abcdef0123456789abcdef\""]),
        ] {
            for other in same {
                assert_eq!(text(kind, same[0]), text(kind, other), "{kind} {other}");
            }
        }
        for (kind, one, other) in [
            ("decimal", "1", "10"),
            ("decimal", "100", "1"),
            ("decimal", "1", "-1"),
            ("decimal", "12345678901234567890.1", "12345678901234567890.2"),
            ("decimal", "\"NaN\"", "\"Infinity\""),
            ("float", "1", "1.0000000000000002"),
            ("text", "\"1\"", "\"1.0\""),
            ("json", "1", "1.0"),
            ("json", "{\"a\": [1, 2]}", "{\"a\": [2, 1]}"),
            ("decimal[]", "[1, 2]", "[2, 1]"),
            ("text[]", "[\"a\", \"b\"]", "[\"a,b\"]"),
            ("text", "null", "\"\""),
        ] {
            assert_ne!(text(kind, one), text(kind, other), "{kind} {one} {other}");
        }
    }

    /// No clock of the function's own is in what it asks or writes: nothing but the hashes, and how long a key holds. So a
    /// clock that jumps, or that of another environment, changes nothing.
    #[test]
    fn times_are_the_servers() {
        let table = Table::parse("keys").unwrap();
        for (engine, dialect) in ENGINES {
            let store = Store::new(engine, dialect, &table, 100);
            let now = match dialect {
                Dialect::Postgres => "now()",
                Dialect::Mysql => "UTC_TIMESTAMP(6)",
                Dialect::Sqlite => "unixepoch()",
            };
            let key = Key { id: [1; 32], request: [2; 32], keep: Duration::from_secs(3600) };
            for (statement, times, sent) in [
                (store.look_up(&key), 1, &["id"][..]),
                (store.claim(&key), 2, &["id", "request", "keep"]),
                (store.drop_expired(&key), 1, &["id"]),
                (store.keep(&key, b"{}"), 0, &["reply", "id"]),
                (store.sweep(&key), 1, &["id"]),
            ] {
                assert_eq!(statement.sql.matches(now).count(), times, "{}", statement.sql);
                let names: Vec<&str> = statement.arguments.iter().map(|argument| &*argument.name).collect();
                assert_eq!(names, sent, "{}", statement.sql);
            }
            let claim = store.claim(&key);
            assert_eq!(claim.arguments.last().map(|keep| keep.value.clone()), Some(Value::Int(3600)));
        }
    }

    /// See `what_is_swept_is_found_by_its_expiry_alone` for what the server makes of it.
    #[test]
    fn mysqls_sweep_has_one_range_and_that_is_by_expiry() {
        let table = Table::parse("keys").unwrap();
        let store = Store::new(Engine::Mysql, Dialect::Mysql, &table, 100);
        let sweep = store.sweep(&Key { id: [1; 32], request: [2; 32], keep: Duration::from_secs(3600) }).sql;
        assert!(sweep.contains("AND NOT (id <=> UNHEX(?)) ORDER BY"), "{sweep}");
        assert!(!sweep.contains("<>"), "{sweep}");
    }

    #[test]
    fn a_header_that_is_there_twice_is_no_key() {
        let of = |headers: &[(&str, &str)], repeated: &[&str]| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let origin = Origin {
                headers: headers.iter().map(pair).collect(),
                repeated_headers: repeated.iter().map(|name| (*name).to_owned()).collect(),
                ..Origin::default()
            };
            sent(&KeyFrom::Header("x".to_owned()), &origin).map_err(|error| error.message().to_owned())
        };
        assert_eq!(of(&[("x", "a"), ("y", "b")], &["y"]), Ok(Some("a".to_owned())));
        assert_eq!(of(&[("y", "b")], &[]), Ok(None));
        let twice = Err("The header `x` is there twice.".to_owned());
        assert_eq!(of(&[("x", "a, a")], &["x"]), twice);
        assert_eq!(of(&[("x", "a"), ("x", "b")], &[]), twice);
    }

    #[test]
    fn a_key_is_of_whoever_was_verified() {
        let of = |claims: Option<&str>| key(r#"{"a": 1}"#, "k", claims).id;
        let ada = of(Some(r#"{"sub": "ada", "iat": 1, "exp": 5}"#));
        assert_eq!(ada, of(Some(r#"{"exp": 9, "iat": 2, "sub": "ada"}"#)));
        let principal = r#"{"userArn": "arn:aws:iam::1:user/ada"}"#;
        let all = [
            ada,
            of(None),
            of(Some(r#"{"sub": "bob"}"#)),
            of(Some(r#"{"sub": "ada", "iss": "https://other"}"#)),
            of(Some(principal)),
            of(Some(r#"{"email": "ada@example.com"}"#)),
            of(Some(r#"{"email": "bob@example.com"}"#)),
        ];
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        let email = r#"{"email": "ada@example.com", "jti": "7", "iat": 3}"#;
        assert_eq!(of(Some(email)), of(Some(r#"{"email": "ada@example.com"}"#)));
    }

    #[test]
    fn a_body_is_kept_plain_and_carried_as_it_was() {
        for text in ["{\"a\":\"é\\\"\\\\\"}", "[]", "{\"a\":\"\\n\\u0000\"}"] {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            let kept = plain(escaped.clone().into_bytes(), true).unwrap();
            assert_eq!(String::from_utf8(kept.clone()).unwrap(), text);
            assert_eq!(String::from_utf8(carried(kept.clone(), true, 100).unwrap()).unwrap(), escaped);
            assert_eq!(String::from_utf8(carried(kept, false, 100).unwrap()).unwrap(), text);
        }
        let error = carried(b"{\"a\":1}".to_vec(), true, 8).unwrap_err();
        assert_eq!(error.fault(), Fault::ResultTooLarge);
    }

    #[test]
    fn tables() {
        for (text, quoted) in [
            ("keys", Some("\"keys\"")),
            ("App.Keys", Some("\"App\".\"Keys\"")),
            ("_k$1", Some("\"_k$1\"")),
            ("", None),
            ("a.b.c", None),
            ("a.", None),
            (".b", None),
            ("1a", None),
            ("a b", None),
            ("a\"b", None),
            ("a;drop", None),
            ("é", None),
        ] {
            let table = Table::parse(text).map(|table| table.quoted(Dialect::Postgres));
            assert_eq!(table.as_deref(), quoted, "{text}");
        }
        assert!(Table::parse(&"a".repeat(63)).is_some() && Table::parse(&"a".repeat(64)).is_none());
        let long = Table::parse(&"a".repeat(63)).unwrap();
        assert!(long.index().quoted(Dialect::Mysql).len() <= 65);
        let table = Table::parse("app.keys").unwrap();
        assert!(
            ddl(Dialect::Postgres, &table)
                .contains("INDEX IF NOT EXISTS \"keys_expires_at\" ON \"app\".\"keys\"")
        );
        assert!(ddl(Dialect::Sqlite, &table).contains("EXISTS \"app\".\"keys_expires_at\" ON \"keys\""));
        assert!(ddl(Dialect::Mysql, &table).contains("`app`.`keys`"));
    }
}
