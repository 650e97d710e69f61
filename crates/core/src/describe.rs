//! What a server says of a statement that it was shown and did not run: what it takes its parameters for, and
//! what columns its rows have.
//!
//! Engines say what is so; [`crate::check`] judges it, and [`crate::openapi`] tells callers.

use std::sync::Arc;

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// It takes the statement.
    Statement(Description),
    /// It refuses the statement as such, and would each time.
    Refused(Refused),
}

/// A statement that the server takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// One for each placeholder, where the server or its driver tells; else empty.
    pub parameters: Vec<Parameter>,
    /// The columns of its rows; empty for a statement that has none.
    pub columns: Vec<Column>,
    /// Whether running it changes data, as far as the server itself tells.
    pub writes: Writes,
}

/// What the server takes one placeholder for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The parameter that is bound there.
    pub name: Arc<str>,
    /// The server's name for the type.
    pub type_name: String,
    /// Why the declared type does not go there, and what to write instead: a sentence for the author.
    pub trouble: Option<String>,
}

/// One column of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, which the reply's objects have.
    pub name: String,
    /// The server's name for its type.
    pub type_name: String,
    /// What its values are in a reply.
    pub form: Form,
    /// `Some(false)`: it is a column of a table that holds no NULL, which an outer join may still make of it.
    pub nullable: Option<bool>,
    /// The column of a table that it is as it stands there; `None` for an expression, and where nobody tells.
    pub origin: Option<Origin>,
}

/// A column of a table, by the server's own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The schema of the table; on MySQL the database, on SQLite nothing.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
}

/// What the values of a column are in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One value each.
    Value(JsonType),
    /// An array of them, of any depth, with nulls in it.
    Array(JsonType),
    /// Anything: the engine looks at each value.
    Any,
    /// Nothing: the type has no JSON form here. With the cast to write instead.
    Outside {
        /// An expression for the select list.
        cast: String,
    },
}

/// One scalar of the contract's table of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonType {
    /// `true` or `false`.
    Bool,
    /// The same where the column's values are 0 and 1, and a number for another one (MySQL's `tinyint(1)`, SQLite's
    /// `BOOLEAN`).
    BoolOrInt,
    /// A number of at most 32 bits.
    Int32,
    /// A number of at most 32 bits, without a sign.
    Uint32,
    /// A signed 64-bit integer: a number, or a string where `LAMBDA_RDS_INT64` says so.
    Int64,
    /// The same without a sign.
    Uint64,
    /// A number; `NaN`, `Infinity` and `-Infinity` as strings.
    Float,
    /// Exact digits, in a string.
    Decimal,
    /// A string.
    Text,
    /// A string with a UUID.
    Uuid,
    /// A string: `2026-01-31`.
    Date,
    /// A string: `13:37:00.5`.
    Time,
    /// A string: `2026-01-31T13:37:00.5`.
    Timestamp,
    /// A string: `2026-01-31T13:37:00.5Z`.
    Timestamptz,
    /// A string in ISO 8601: `P1DT2H`.
    Interval,
    /// A string in base64.
    Bytes,
    /// Itself.
    Json,
    /// Only ever null.
    Null,
}

/// Whether a statement changes data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Writes {
    /// The server does not tell.
    #[default]
    Unknown,
    /// It cannot be told before it runs; this is why it might.
    Perhaps(String),
    /// It does, and this is how.
    Yes(String),
}

/// A statement that the server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The server's words.
    pub reason: String,
    /// The server's code (SQLSTATE or errno).
    pub code: Option<String>,
    /// The line of the statement that the server points at, counted from 1.
    pub line: Option<usize>,
}

impl Description {
    /// Whether the columns are known that a `:one` or a `:many` replies.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.columns.is_empty()
    }
}
