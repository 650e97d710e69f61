//! From SQLite's values to JSON.

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::rows::RowWriter;
use serde::de::IgnoredAny;
use sqlx::sqlite::{SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row, Sqlite, TypeInfo, ValueRef};

/// One column of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name, as the statement gives it.
    pub(crate) name: String,
    /// What its declared type adds to the value's own.
    pub(crate) declared: Declared,
}

/// The declared types that change how a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    /// `BOOLEAN` or `BOOL`: 0 and 1 are truth values.
    Bool,
    /// `JSON` or `JSONB`: text that is JSON is written as itself.
    Json,
    /// Anything else, or an expression, which has no declared type.
    Other,
}

/// Writes one row.
pub(crate) fn write_row(row: &SqliteRow, columns: &[Column], out: &mut RowWriter) -> Result<()> {
    if row.len() != columns.len() {
        return Err(Error::new(Fault::ConnectionLost, "the schema changed while the statement ran"));
    }
    out.begin()?;
    for (index, column) in columns.iter().enumerate() {
        let value = row.try_get_raw(index).map_err(|error| unreadable(column, &error.to_string()))?;
        out.key(index)?;
        write_value(value, column, out)?;
    }
    out.end()
}

fn write_value(value: SqliteValueRef<'_>, column: &Column, out: &mut RowWriter) -> Result<()> {
    if value.is_null() {
        return out.null();
    }
    let storage = value.type_info();
    match storage.name() {
        "INTEGER" => match (decode::<i64>(value, column)?, column.declared) {
            (number @ 0..=1, Declared::Bool) => out.bool(number == 1),
            (number, _) => out.int(number),
        },
        "REAL" => out.float(decode(value, column)?),
        "TEXT" => {
            let text: &str = decode(value, column)?;
            if column.declared == Declared::Json && serde_json::from_str::<IgnoredAny>(text).is_ok() {
                out.json(text)
            } else {
                out.text(text)
            }
        }
        "BLOB" => out.bytes(decode(value, column)?),
        other => Err(unreadable(column, &format!("unknown storage class {other}"))),
    }
}

fn decode<'r, T: Decode<'r, Sqlite>>(value: SqliteValueRef<'r>, column: &Column) -> Result<T> {
    T::decode(value).map_err(|error| unreadable(column, &error.to_string()))
}

/// Text that is not UTF-8 is the only value that gets here.
fn unreadable(column: &Column, reason: &str) -> Error {
    let name = &column.name;
    Error::new(
        Fault::QueryFailed,
        format!("column `{name}`: {reason}; read it as bytes: `CAST({name} AS BLOB) AS {name}`"),
    )
}
