//! From the server's and the driver's errors to faults: a table, and what log and caller are told.

use lambda_rds_core::error::{Error, Fault};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

/// What was being done when an error came, where the same error means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Opening the session.
    Connect,
    /// Beginning a transaction that may write.
    Begin,
    /// Running a statement that only reads.
    Read,
    /// Running a statement that may write, or undoing its transaction.
    Write,
    /// Ending a transaction that may have written.
    Commit,
}

/// The kind of failure. What follows from it is core's.
pub(crate) fn classify(error: &sqlx::Error, doing: Doing) -> Fault {
    let lost = if doing == Doing::Connect { Fault::Unreachable } else { Fault::ConnectionLost };
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(_) if server(error.as_ref()).is_some_and(is_stale) => Fault::ConnectionLost,
            Some(code) => told(&code, error.message(), doing),
            None => Fault::QueryFailed,
        },
        // What comes after bytes that make no sense makes none either.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => lost,
        sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => Fault::Unreachable,
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

fn server(error: &dyn DatabaseError) -> Option<&PgDatabaseError> {
    error.try_downcast_ref()
}

/// Whether the server refused a prepared statement because the world has moved on since: a table has other
/// columns or a type is another one after a migration, or something dropped the session's statements. sqlx would send it again for
/// as long as the connection lives; a fresh session prepares it anew.
fn is_stale(error: &PgDatabaseError) -> bool {
    match error.code() {
        INVALID_SQL_STATEMENT_NAME => true,
        // A type that the statement was prepared with is another one by now, as after the recreation of an enum. Such
        // messages are not translated. The server says so while it reads the parameters, or before it runs the
        // statement; what a function of the statement's does has a context.
        INTERNAL_ERROR if error.message().starts_with("cache lookup failed for type") => {
            error.routine() == Some("getTypeBinaryInputInfo") || error.r#where().is_none()
        }
        // "cached plan must not change result type", told by the server's function: the text is translated.
        FEATURE_NOT_SUPPORTED => error.routine() == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// Whether the server refused a statement, before it ran, because the types do not go together any more that it had
/// once inferred: a column was text and is an enum now, or jsonb. A fresh session infers them anew, and finds out if
/// the query is wrong instead.
pub(crate) fn is_outgrown(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error().and_then(server) else { return false };
    // What is met while the statement is read has a position in it; what is met while it runs has none.
    matches!(error.code(), UNDEFINED_FUNCTION | DATATYPE_MISMATCH | AMBIGUOUS_FUNCTION)
        && matches!(error.position(), Some(PgErrorPosition::Original(_)))
        && error.r#where().is_none()
}

/// The parameters whose type the server could not tell, of those that were left for it to infer; `None` for
/// any other error.
pub(crate) fn uninferred(error: &sqlx::Error) -> Option<Uninferred> {
    let error = error.as_database_error()?;
    match error.code().as_deref() {
        Some(AMBIGUOUS_FUNCTION | AMBIGUOUS_PARAMETER | INDETERMINATE_DATATYPE | DATATYPE_MISMATCH) => {
            Some(Uninferred::named(error.message()))
        }
        _ => None,
    }
}

/// Which parameters it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uninferred {
    /// The one at this place, counted from 0.
    One(usize),
    /// The server does not say, as where it cannot choose among functions of one name.
    Any,
}

impl Uninferred {
    /// The messages are translated, but their `$1` is not.
    fn named(message: &str) -> Self {
        let digits = message.split_once('$').map_or("", |(_, rest)| rest);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        match digits[..end].parse::<usize>() {
            Ok(number) if number > 0 => Self::One(number - 1),
            _ => Self::Any,
        }
    }

    /// Whether it is about the parameter at this place.
    pub(crate) fn is(self, at: usize) -> bool {
        self == Self::Any || self == Self::One(at)
    }
}

/// What was told with this code and these words.
pub(crate) fn told(code: &str, message: &str, doing: Doing) -> Fault {
    let pooler = (code == PROTOCOL_VIOLATION).then(|| pooler(message, doing)).flatten();
    match pooler.unwrap_or_else(|| sqlstate(code, doing)) {
        // The first word of a connection that could be lost has not been said yet.
        Fault::ConnectionLost if doing == Doing::Connect => Fault::Unreachable,
        fault => fault,
    }
}

/// PgBouncer speaks for itself with one code for everything (newer versions have some of PostgreSQL's), and in words
/// that it does not translate.
fn pooler(message: &str, doing: Doing) -> Option<Fault> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["authentication failed", "no such user"]) {
        Some(Fault::CredentialsRejected)
    } else if says(&["query_wait_timeout", "no more connections allowed"]) {
        Some(Fault::TooManyConnections)
    } else if says(&["idle_transaction_timeout", "idle transaction timeout", "idle_timeout", "idle timeout"])
    {
        Some(Fault::ConnectionLost)
    } else if says(&["query_timeout", "query timeout", "transaction_timeout", "transaction timeout"]) {
        // The server was not asked to stop but hung up on, and may have committed by then.
        Some(if doing == Doing::Commit { Fault::ConnectionLost } else { Fault::Timeout })
    } else if says(&["cannot connect to server", "server login", "server down", "shutting down"]) {
        Some(Fault::ServerUnavailable)
    } else if says(&["server conn crashed", "invalid server parameter"]) {
        // The second one: the server went while it was told the client's settings, before anything of ours.
        Some(Fault::ConnectionLost)
    } else {
        None
    }
}

/// The table by SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn sqlstate(code: &str, doing: Doing) -> Fault {
    match code {
        READ_ONLY_SQL_TRANSACTION => match doing {
            Doing::Begin | Doing::Write | Doing::Commit => Fault::NotTheWriter,
            Doing::Connect | Doing::Read => Fault::QueryFailed,
        },
        // "cannot set transaction read-write mode during recovery": a standby says so.
        FEATURE_NOT_SUPPORTED if doing == Doing::Begin => Fault::NotTheWriter,

        INVALID_PASSWORD | INVALID_AUTHORIZATION_SPECIFICATION => Fault::CredentialsRejected,
        TOO_MANY_CONNECTIONS => Fault::TooManyConnections,
        ADMIN_SHUTDOWN | CRASH_SHUTDOWN | CANNOT_CONNECT_NOW | DATABASE_DROPPED => Fault::ServerUnavailable,
        // No query can be at fault for these.
        PROTOCOL_VIOLATION | INVALID_CATALOG_NAME => Fault::Unreachable,
        IDLE_SESSION_TIMEOUT | IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Fault::ConnectionLost,
        SERIALIZATION_FAILURE | DEADLOCK_DETECTED => Fault::Conflict,
        LOCK_NOT_AVAILABLE => Fault::LockTimeout,
        QUERY_CANCELED | TRANSACTION_TIMEOUT => Fault::Timeout,
        STRING_DATA_RIGHT_TRUNCATION
        | NUMERIC_VALUE_OUT_OF_RANGE
        | INVALID_DATETIME_FORMAT
        | DATETIME_FIELD_OVERFLOW
        | CHARACTER_NOT_IN_REPERTOIRE
        | INVALID_TEXT_REPRESENTATION
        // `\u0000` in a jsonb, or a character that the database's encoding does not have.
        | UNTRANSLATABLE_CHARACTER => Fault::BadParameter,
        RAISE_EXCEPTION => Fault::Rejected,
        _ if code.starts_with(CONNECTION_EXCEPTION) => Fault::ConnectionLost,
        _ if code.starts_with(INTEGRITY_CONSTRAINT_VIOLATION) => Fault::Constraint,
        _ => Fault::QueryFailed,
    }
}

// Names and codes as in the server's `src/backend/utils/errcodes.txt`.
const CONNECTION_EXCEPTION: &str = "08";
const PROTOCOL_VIOLATION: &str = "08P01";
const FEATURE_NOT_SUPPORTED: &str = "0A000";
const STRING_DATA_RIGHT_TRUNCATION: &str = "22001";
const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";
const INVALID_DATETIME_FORMAT: &str = "22007";
const DATETIME_FIELD_OVERFLOW: &str = "22008";
const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
const INVALID_TEXT_REPRESENTATION: &str = "22P02";
const UNTRANSLATABLE_CHARACTER: &str = "22P05";
const DATA_EXCEPTION: &str = "22";
const INTEGRITY_CONSTRAINT_VIOLATION: &str = "23";
const READ_ONLY_SQL_TRANSACTION: &str = "25006";
const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: &str = "25P03";
const TRANSACTION_TIMEOUT: &str = "25P04";
const INVALID_SQL_STATEMENT_NAME: &str = "26000";
const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
const INVALID_PASSWORD: &str = "28P01";
const INVALID_CATALOG_NAME: &str = "3D000";
const SERIALIZATION_FAILURE: &str = "40001";
const DEADLOCK_DETECTED: &str = "40P01";
const AMBIGUOUS_FUNCTION: &str = "42725";
const UNDEFINED_FUNCTION: &str = "42883";
const AMBIGUOUS_PARAMETER: &str = "42P08";
// Of a function such as `to_json`, whose result depends on the type of what it is given.
const DATATYPE_MISMATCH: &str = "42804";
const INDETERMINATE_DATATYPE: &str = "42P18";
const TOO_MANY_CONNECTIONS: &str = "53300";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const QUERY_CANCELED: &str = "57014";
const ADMIN_SHUTDOWN: &str = "57P01";
const CRASH_SHUTDOWN: &str = "57P02";
const CANNOT_CONNECT_NOW: &str = "57P03";
const DATABASE_DROPPED: &str = "57P04";
const IDLE_SESSION_TIMEOUT: &str = "57P05";
const RAISE_EXCEPTION: &str = "P0001";
const INTERNAL_ERROR: &str = "XX000";

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which the server's DETAIL and some of its messages hold.
pub(crate) fn to_error(error: &sqlx::Error, doing: Doing, log_values: bool) -> Error {
    let fault = classify(error, doing);
    let Some(server) = error.as_database_error().and_then(server) else {
        return Error::new(fault, driver_detail(error));
    };
    let detail = server_detail(server, log_values);
    let told = if fault == Fault::Rejected {
        Error::told(fault, server.message().to_owned())
    } else if fault == Fault::QueryFailed && server.code() == READ_ONLY_SQL_TRANSACTION {
        Error::told(
            fault,
            "The query is declared as a read and tries to write: declare this query `-- write`.",
        )
    } else {
        Error::new(fault, "")
    };
    let told = told.with_detail(detail).with_sqlstate(server.code());
    if is_stale(server) { told.as_refused() } else { told }
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

/// One line: the message, then whatever else the server tells of the place.
fn server_detail(error: &PgDatabaseError, log_values: bool) -> String {
    // A function may have put values into the text of its statement (`EXECUTE format(…)`).
    let inside = match error.position() {
        Some(PgErrorPosition::Internal { position, query }) => Some((position, query)),
        Some(PgErrorPosition::Original(_)) | None => None,
    };
    // The messages of bad values quote the value, those about a statement its words, and so may the hints.
    let shows_value = error.code().starts_with(DATA_EXCEPTION) || inside.is_some();
    let mut detail = format!("{:?}: ", error.severity()).to_uppercase();
    if shows_value && !log_values {
        detail.push_str(&without_quotation(error.message()));
    } else {
        detail.push_str(error.message());
    }
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            detail.push_str("; ");
            detail.push_str(name);
            detail.push_str(value);
        }
    };
    add("detail: ", error.detail().filter(|_| log_values));
    add("hint: ", error.hint().filter(|_| log_values || !shows_value));
    add("schema ", error.schema());
    add("table ", error.table());
    add("column ", error.column());
    add("type ", error.data_type());
    add("constraint ", error.constraint());
    if let Some(PgErrorPosition::Original(position)) = error.position() {
        add("at character ", Some(&position.to_string()));
    }
    if let Some((position, query)) = inside {
        let text = if log_values { format!(": {query}") } else { String::new() };
        add("at character ", Some(&format!("{position} of the function's statement{text}")));
    }
    detail
}

/// A message with all from its first to its last quotation mark replaced: the value may hold one itself. A server
/// that speaks another language (`lc_messages`) uses that language's marks.
fn without_quotation(message: &str) -> String {
    const MARKS: &[char] = &['"', '«', '»', '“', '”', '„', '「', '」'];
    match (message.find(MARKS), message.rmatch_indices(MARKS).next()) {
        (Some(first), Some((last, mark))) if first < last => {
            format!("{}\"…\"{}", &message[..first], &message[last + mark.len()..])
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_table_by_sqlstate() {
        use Doing::{Begin, Commit, Connect, Read, Write};
        for (code, expected) in [
            ("28P01", Fault::CredentialsRejected),
            ("28000", Fault::CredentialsRejected),
            ("53300", Fault::TooManyConnections),
            ("57P01", Fault::ServerUnavailable),
            ("57P02", Fault::ServerUnavailable),
            ("57P03", Fault::ServerUnavailable),
            ("57P04", Fault::ServerUnavailable),
            ("08000", Fault::ConnectionLost),
            ("08006", Fault::ConnectionLost),
            ("08P01", Fault::Unreachable),
            ("3D000", Fault::Unreachable),
            ("57P05", Fault::ConnectionLost),
            ("25P03", Fault::ConnectionLost),
            ("40001", Fault::Conflict),
            ("40P01", Fault::Conflict),
            ("55P03", Fault::LockTimeout),
            ("23502", Fault::Constraint),
            ("23505", Fault::Constraint),
            ("23P01", Fault::Constraint),
            ("57014", Fault::Timeout),
            ("25P04", Fault::Timeout),
            ("22001", Fault::BadParameter),
            ("22003", Fault::BadParameter),
            ("22007", Fault::BadParameter),
            ("22008", Fault::BadParameter),
            ("22021", Fault::BadParameter),
            ("22P02", Fault::BadParameter),
            ("22P05", Fault::BadParameter),
            ("22012", Fault::QueryFailed),
            ("P0001", Fault::Rejected),
            ("P0002", Fault::QueryFailed),
            ("42601", Fault::QueryFailed),
            ("42P01", Fault::QueryFailed),
            ("42501", Fault::QueryFailed),
            ("XX000", Fault::QueryFailed),
            ("", Fault::QueryFailed),
        ] {
            for doing in [Connect, Begin, Read, Write, Commit] {
                assert_eq!(sqlstate(code, doing), expected, "{code} {doing:?}");
            }
        }
        for (code, doing, expected) in [
            ("25006", Read, Fault::QueryFailed),
            ("25006", Write, Fault::NotTheWriter),
            ("25006", Commit, Fault::NotTheWriter),
            ("25006", Begin, Fault::NotTheWriter),
            ("0A000", Begin, Fault::NotTheWriter),
            ("0A000", Write, Fault::QueryFailed),
            ("0A000", Read, Fault::QueryFailed),
        ] {
            assert_eq!(sqlstate(code, doing), expected, "{code} {doing:?}");
        }
    }

    #[test]
    fn what_pgbouncer_says_for_itself() {
        for (message, connecting, running) in [
            ("SASL authentication failed", Fault::CredentialsRejected, Fault::CredentialsRejected),
            ("no such user: app", Fault::CredentialsRejected, Fault::CredentialsRejected),
            ("query_wait_timeout", Fault::TooManyConnections, Fault::TooManyConnections),
            (
                "no more connections allowed (max_client_conn)",
                Fault::TooManyConnections,
                Fault::TooManyConnections,
            ),
            ("query timeout", Fault::Timeout, Fault::Timeout),
            ("query_timeout", Fault::Timeout, Fault::Timeout),
            ("transaction timeout", Fault::Timeout, Fault::Timeout),
            ("idle transaction timeout", Fault::Unreachable, Fault::ConnectionLost),
            ("client_idle_timeout", Fault::Unreachable, Fault::ConnectionLost),
            ("pgbouncer cannot connect to server", Fault::ServerUnavailable, Fault::ServerUnavailable),
            ("server conn crashed?", Fault::Unreachable, Fault::ConnectionLost),
            ("invalid server parameter", Fault::Unreachable, Fault::ConnectionLost),
            ("invalid frontend message type 0", Fault::Unreachable, Fault::Unreachable),
        ] {
            assert_eq!(told("08P01", message, Doing::Connect), connecting, "{message}");
            assert_eq!(told("08P01", message, Doing::Write), running, "{message}");
        }
        assert_eq!(told("42601", "query_timeout", Doing::Read), Fault::QueryFailed, "a server's own");
        // What becomes of a COMMIT that the pooler hung up on, nobody knows.
        assert_eq!(told("08P01", "query timeout", Doing::Commit), Fault::ConnectionLost);
    }

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
            assert_eq!(classify(&error, doing), expected, "{error:?}");
            assert_eq!(to_error(&error, doing, false).message(), expected.advice());
        }
    }

    #[test]
    fn a_parameter_is_named_by_its_number() {
        for (message, expected) in [
            ("could not determine data type of parameter $1", Uninferred::One(0)),
            ("konnte Datentyp von Parameter $12 nicht ermitteln", Uninferred::One(11)),
            ("function f(unknown) is not unique", Uninferred::Any),
            ("operator is not unique: unknown $ unknown", Uninferred::Any),
            ("$0", Uninferred::Any),
        ] {
            assert_eq!(Uninferred::named(message), expected, "{message}");
        }
    }

    #[test]
    fn values_are_cut_out_of_messages() {
        for (message, expected) in [
            (
                r#"invalid input syntax for type integer: "secret""#,
                r#"invalid input syntax for type integer: "…""#,
            ),
            (r#"invalid input syntax for type uuid: "a"b""#, r#"invalid input syntax for type uuid: "…""#),
            (
                r#"value "99999999999" is out of range for type integer"#,
                r#"value "…" is out of range for type integer"#,
            ),
            (
                "ungültige Eingabesyntax für Typ integer: »secret«",
                "ungültige Eingabesyntax für Typ integer: \"…\"",
            ),
            ("syntaxe en entrée invalide : « secret »", "syntaxe en entrée invalide : \"…\""),
            ("integer out of range", "integer out of range"),
            ("odd \" one", "odd \" one"),
        ] {
            assert_eq!(without_quotation(message), expected);
        }
    }
}
