//! From SQLite's result codes to faults.

use lambda_rds_core::backend::{Access, Statement};
use lambda_rds_core::error::{Error, Fault, quotes};

/// A driver's error as ours, for a statement that had this access.
pub(crate) fn to_error(error: &sqlx::Error, access: Access) -> Error {
    let fault = fault(error);
    let Some(database) = error.as_database_error() else {
        return Error::new(fault, error.to_string());
    };
    let (code, text) = (code(database), database.message());
    let error = match (fault, primary(code), access) {
        (Fault::Rejected, ..) => Error::quoted(fault, text.to_owned()),
        (_, READONLY, Access::Read) => Error::told(
            fault,
            "The query is declared as a read and tries to write: declare this query `-- write`.",
        )
        .with_detail(text.to_owned()),
        (_, READONLY, Access::Write) => Error::new(
            fault,
            format!("{text}: the file or the folder that holds it does not allow this process to write"),
        ),
        _ => Error::new(fault, text.to_owned()),
    };
    error.with_sqlstate(code.to_string())
}

/// The same for a statement that was running, when SQLite had understood its text: what SQLite or one of its functions does not
/// take then is a value, if the statement was given any, and its words may quote it.
pub(crate) fn while_running(
    error: &sqlx::Error,
    access: Access,
    statement: &Statement,
    log_values: bool,
) -> Error {
    let told = to_error(error, access);
    let Some(database) = error.as_database_error() else { return told };
    let code = code(database);
    let error = if code == ERROR && !statement.arguments.is_empty() {
        Error::new(Fault::BadParameter, "").with_sqlstate(code.to_string())
    } else {
        told
    };
    // A constraint's words name what it is about and quote nothing, but a trigger's, which are the author's. Those that are ours
    // say what to do.
    if log_values
        || matches!(primary(code), READONLY)
        || primary(code) == CONSTRAINT && code != CONSTRAINT_TRIGGER
    {
        return match error.detail() {
            "" => error.with_detail(database.message().to_owned()),
            _ => error,
        };
    }
    let shown = match code {
        CONSTRAINT_TRIGGER => HIDDEN.to_owned(),
        _ => quotes::hidden(database.message(), &statement.sql, []),
    };
    error.with_detail(shown)
}

/// The kind of a failure of the driver's.
pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => of_code(code(error.as_ref())),
        // sqlx's thread panicked, which it does where it finds a result of another shape than it had prepared.
        sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => Fault::ConnectionLost,
        // sea-orm keeps the only connection.
        sqlx::Error::PoolTimedOut => Fault::TooManyConnections,
        sqlx::Error::Io(_) => Fault::Unreachable,
        _ => Fault::QueryFailed,
    }
}

fn of_code(code: i32) -> Fault {
    match code {
        CONSTRAINT_TRIGGER => return Fault::Rejected,
        CONSTRAINT_DATATYPE => return Fault::BadParameter,
        _ => {}
    }
    match primary(code) {
        BUSY | LOCKED => Fault::LockTimeout,
        INTERRUPT => Fault::Timeout,
        CONSTRAINT => Fault::Constraint,
        TOOBIG | MISMATCH => Fault::BadParameter,
        CANTOPEN | CORRUPT | NOTADB | PROTOCOL => Fault::Unreachable,
        IOERR => Fault::ConnectionLost,
        NOMEM => Fault::Internal,
        _ => Fault::QueryFailed,
    }
}

/// The extended result code; 0 if the driver has none.
fn code(error: &dyn sqlx::error::DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The primary result code is the low byte of the extended one.
fn primary(code: i32) -> i32 {
    code & 0xff
}

/// Stands for a text that is an author's and may quote values.
const HIDDEN: &str =
    "… (the text is the query's own, and may quote a value: LAMBDA_RDS_LOG_VALUES=true shows it)";

// https://www.sqlite.org/rescode.html
const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const NOTADB: i32 = 26;
/// A trigger's `RAISE(ABORT, 'text')`, or `FAIL` or `ROLLBACK` instead; the message is that text.
const CONSTRAINT_TRIGGER: i32 = 1811;
/// A value of the wrong kind for a column of a `STRICT` table.
const CONSTRAINT_DATATYPE: i32 = 3091;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, expected: Fault) {
        assert_eq!(of_code(code), expected, "code {code}");
    }

    #[test]
    fn every_code_has_its_fault() {
        check(1, Fault::QueryFailed);
        check(5, Fault::LockTimeout);
        check(517, Fault::LockTimeout); // BUSY_SNAPSHOT
        check(6, Fault::LockTimeout);
        check(262, Fault::LockTimeout); // LOCKED_SHAREDCACHE
        check(7, Fault::Internal);
        check(8, Fault::QueryFailed);
        check(9, Fault::Timeout);
        check(522, Fault::ConnectionLost); // IOERR_SHORT_READ
        check(11, Fault::Unreachable);
        check(13, Fault::QueryFailed); // FULL
        check(14, Fault::Unreachable);
        check(18, Fault::BadParameter);
        check(19, Fault::Constraint);
        check(787, Fault::Constraint); // CONSTRAINT_FOREIGNKEY
        check(2067, Fault::Constraint); // CONSTRAINT_UNIQUE
        check(1811, Fault::Rejected);
        check(3091, Fault::BadParameter);
        check(20, Fault::BadParameter);
        check(26, Fault::Unreachable);
    }
}
