//! From the driver's errors to faults: what the server told, by the engine's own table, and what is the driver's word.

use lambda_rds_core::error::{Error, Fault};
use sea_orm::{DbErr, RuntimeErr};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

use crate::classify::{At, Doing, ERROR, Told, error_of, of_told};

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
    match error.as_database_error().and_then(server) {
        Some(error) => of_told(&of_driver(error), At { doing, parameters: true, sql: "" }),
        None => of_drivers(error, doing),
    }
}

/// The kind of a failure that is the driver's own word.
fn of_drivers(error: &sqlx::Error, doing: Doing) -> Fault {
    let lost = if doing == Doing::Connect { Fault::Unreachable } else { Fault::ConnectionLost };
    match error {
        // What comes after bytes that make no sense makes none either.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => lost,
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => Fault::Unreachable,
        sqlx::Error::PoolClosed => Fault::ConnectionLost,
        sqlx::Error::Database(_)
        | sqlx::Error::RowNotFound
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

fn server(error: &dyn DatabaseError) -> Option<&PgDatabaseError> {
    error.try_downcast_ref()
}

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which the server's words may quote.
pub(crate) fn to_error(error: &sqlx::Error, at: At<'_>, log_values: bool) -> Error {
    match error.as_database_error().and_then(server) {
        Some(error) => error_of(&of_driver(error), at, log_values),
        None => Error::new(of_drivers(error, at.doing), driver_detail(error)),
    }
}

/// The fields that sqlx keeps.
fn of_driver(error: &PgDatabaseError) -> Told<'_> {
    let severity = match error.severity() {
        PgSeverity::Panic => "PANIC",
        PgSeverity::Fatal => "FATAL",
        _ => ERROR,
    };
    let (position, inside) = match error.position() {
        Some(PgErrorPosition::Original(position)) => (Some(position), None),
        Some(PgErrorPosition::Internal { position, query }) => (None, Some((position, query))),
        None => (None, None),
    };
    Told {
        severity,
        code: error.code(),
        message: error.message(),
        detail: error.detail(),
        hint: error.hint(),
        context: error.r#where(),
        position,
        inside,
        schema: error.schema(),
        table: error.table(),
        column: error.column(),
        data_type: error.data_type(),
        constraint: error.constraint(),
        routine: error.routine(),
        file: error.file(),
    }
}

/// What the driver itself says, its causes included.
fn driver_detail(error: &sqlx::Error) -> String {
    let mut detail = error.to_string();
    if matches!(error, sqlx::Error::ColumnDecode { .. }) {
        // Met while sqlx reads `pg_type`, whose rows for multiranges it cannot decode.
        detail.push_str(
            "; the statement has a column or parameter of a type that the driver does not know, such as a \
             multirange: cast it, for example `column::text`",
        );
    }
    detail
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_drivers_own_errors() {
        let broken = || sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        for (error, doing, expected) in [
            (broken(), Doing::Read, Fault::ConnectionLost),
            (broken(), Doing::Write, Fault::ConnectionLost),
            (broken(), Doing::Connect, Fault::Unreachable),
            (sqlx::Error::Protocol("?".to_owned()), Doing::Read, Fault::ConnectionLost),
            (sqlx::Error::Tls("no".into()), Doing::Connect, Fault::Unreachable),
            (sqlx::Error::PoolTimedOut, Doing::Read, Fault::Unreachable),
            (sqlx::Error::Decode("no".into()), Doing::Read, Fault::QueryFailed),
            (sqlx::Error::Configuration("no".into()), Doing::Connect, Fault::Internal),
        ] {
            assert_eq!(kind(&error, doing), expected, "{error:?}");
            assert_eq!(to_error(&error, At::ours(doing), false).message(), expected.advice());
        }
    }
}
