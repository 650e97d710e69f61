//! From the driver's errors to faults: what the server told, by the engine's own table, and what is the driver's word.

use lambda_rds_core::error::{Error, Fault};
use sea_orm::{DbErr, RuntimeErr};
use sqlx::mysql::MySqlDatabaseError;

use crate::classify::{At, Doing, Told, error_of, of_told};

/// The fields that sqlx keeps.
fn of_driver(error: &sqlx::Error) -> Option<Told<'_>> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(Told {
        number: error.number(),
        sqlstate: error.code().unwrap_or_default(),
        message: error.message(),
    })
}

/// The kind of a failure that came through sea-orm. What was being done is not known then, nor whether there were
/// parameters.
pub(crate) fn classify(error: &DbErr) -> Fault {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => kind(error, Doing::Write),
        DbErr::ConnectionAcquire(_) => Fault::ConnectionLost,
        _ => Fault::QueryFailed,
    }
}

fn kind(error: &sqlx::Error, doing: Doing) -> Fault {
    match of_driver(error) {
        Some(told) => of_told(told, At { doing, parameters: true, sql: "" }),
        None => of_drivers(error, doing),
    }
}

/// The kind of a failure that is the driver's own word.
fn of_drivers(error: &sqlx::Error, doing: Doing) -> Fault {
    let lost = if doing == Doing::Connect { Fault::Unreachable } else { Fault::ConnectionLost };
    match error {
        sqlx::Error::Protocol(text) if is_unknown_type(text) || is_miscount(text) => Fault::QueryFailed,
        // What comes after bytes that make no sense makes none either.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => lost,
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Configuration(_) => Fault::Unreachable,
        sqlx::Error::PoolClosed => Fault::ConnectionLost,
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::InvalidSavePointStatement
        | sqlx::Error::BeginFailed => Fault::QueryFailed,
        _ => Fault::Internal,
    }
}

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which the server's words may quote.
pub(crate) fn to_error(error: &sqlx::Error, at: At<'_>, log_values: bool) -> Error {
    match of_driver(error) {
        Some(told) => error_of(told, at, log_values),
        None => Error::new(of_drivers(error, at.doing), driver_detail(error)),
    }
}

/// What the driver itself says.
fn driver_detail(error: &sqlx::Error) -> String {
    let mut detail = error.to_string();
    if let sqlx::Error::Protocol(text) = error
        && is_unknown_type(text)
    {
        detail.push_str(
            ": the result has a column of a type that the driver does not know, such as VECTOR. Convert it, for \
             example with `VECTOR_TO_STRING(column)`",
        );
    }
    detail
}

/// sqlx knows no column type newer than its own table, MySQL's VECTOR for one.
fn is_unknown_type(text: &str) -> bool {
    text.starts_with("unknown column type")
}

/// The statement has another number of parameters than the query file.
fn is_miscount(text: &str) -> bool {
    text.starts_with("prepared statement expected")
}
