//! The values that cross the seam: what a caller gave, and what an engine binds.
//!
//! One table, both ways: this module reads JSON and text into [`Value`]s; [`crate::rows`] writes what the
//! engines decode as JSON. [`time`] holds the calendar that both share.

mod parse;
pub mod time;

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

pub use parse::Refusal;
pub(crate) use parse::string;

/// The type of one parameter, as `-- param: name type` declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The type of the value, or of each element.
    pub scalar: Scalar,
    /// Whether it is `T[]`.
    pub array: bool,
}

/// The scalar types that a query file can declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `bool`
    Bool,
    /// `int`: a signed 64-bit integer.
    Int,
    /// `float`: an IEEE 754 double.
    Float,
    /// `decimal`: exact, of any length.
    Decimal,
    /// `text`
    Text,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time`: of day, without a zone.
    Time,
    /// `timestamp`: without a zone.
    Timestamp,
    /// `timestamptz`: an instant.
    Timestamptz,
    /// `json`
    Json,
    /// `bytes`: base64 in JSON.
    Bytes,
}

/// One value, ready to be bound. Every variant is exact: nothing was rounded on the way here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A double; may be NaN or infinite.
    Float(f64),
    /// Decimal digits: `-?[0-9]+(\.[0-9]+)?` without an exponent, or `NaN`, `Infinity`, `-Infinity`.
    Decimal(String),
    /// Text.
    Text(String),
    /// The sixteen bytes of a UUID.
    Uuid([u8; 16]),
    /// Days since 2000-01-01, as PostgreSQL counts; `i32::MIN` and `i32::MAX` are `-infinity` and `infinity`.
    Date(i32),
    /// Microseconds since midnight, up to and including 24:00:00.
    Time(i64),
    /// Microseconds since 2000-01-01T00:00:00, as PostgreSQL counts; `i64::MIN` and `i64::MAX` are `-infinity`
    /// and `infinity`.
    Timestamp(i64),
    /// The same in UTC.
    Timestamptz(i64),
    /// JSON text, as the caller wrote it.
    Json(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The elements of a `T[]`; an element may be [`Value::Null`].
    Array(Vec<Value>),
}

/// One bound parameter: its name (for messages), its declared type and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The name in the query file.
    pub name: Arc<str>,
    /// The declared type. Kept beside the value because NULL and an empty array have a type too.
    pub kind: Kind,
    /// The value.
    pub value: Value,
}

/// What a caller gave for one parameter, before its type is known.
#[derive(Debug, Clone)]
pub enum Given {
    /// A JSON value, unparsed, so that a number keeps its digits.
    Json(Box<RawValue>),
    /// Text from a query string, header or command line, URL-decoded.
    Text(String),
    /// A name repeated in a query string: only an array takes it.
    Texts(Vec<String>),
}

/// The parameters of one call by name, in the order given. The event's parser has made names unique.
#[derive(Debug, Clone, Default)]
pub struct Params(pub Vec<(String, Given)>);

impl Params {
    /// What was given under this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Params {
    /// `name=value, name=value`: JSON as it was given, text in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, given)) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{name}=")?;
            match given {
                Given::Json(json) => f.write_str(json.get())?,
                Given::Text(text) => write!(f, "{text:?}")?,
                Given::Texts(texts) => write!(f, "{texts:?}")?,
            }
        }
        Ok(())
    }
}

/// What the invocation itself brings, for parameters declared `from claims.x`, `from context.requestId`,
/// `from context.tenantId`, `from sqs.messageId` and `from header.X`, and for settings and roles. A caller cannot write it.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The verified claims of the caller, flattened by name; `None` where nobody verified anything.
    pub claims: Option<Vec<(String, Given)>>,
    /// Lambda's request id.
    pub request_id: String,
    /// Lambda's tenant id, of a function with tenant isolation.
    pub tenant_id: Option<String>,
    /// The SQS message's id, inside an SQS event.
    pub message_id: Option<String>,
    /// The HTTP request's headers, names in lower case; one that was sent several times is one, with commas.
    pub headers: Vec<(String, String)>,
    /// The names of those that were sent several times, where the gateway tells.
    pub repeated_headers: Vec<String>,
    /// The `idempotencyKey` of a direct event.
    pub idempotency_key: Option<String>,
}
