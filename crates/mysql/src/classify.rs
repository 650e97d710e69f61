//! From the server's and the driver's errors to faults: a table, and what log and caller are told.

use std::borrow::Cow;

use lambda_rds_core::error::{Error, Fault};
use sqlx::mysql::MySqlDatabaseError;

/// What was being done when an error came, where the same error means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Opening the session.
    Connect,
    /// Running a statement that only reads.
    Read,
    /// Running a statement that may write, or beginning or ending its transaction.
    Write,
}

/// The kind of failure. What follows from it is core's.
pub(crate) fn classify(error: &sqlx::Error, doing: Doing) -> Fault {
    let lost = if doing == Doing::Connect { Fault::Unreachable } else { Fault::ConnectionLost };
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => of_number(error.number(), error.message(), doing),
            None => Fault::Internal,
        },
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

/// The table by error number. `message` decides where one number has two meanings.
///
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>
pub(crate) fn of_number(number: u16, message: &str, doing: Doing) -> Fault {
    match number {
        ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION | ER_READ_ONLY_MODE => not_the_writer(doing),
        // Also "running with the --secure-file-priv option" and its like, which are the query's mistake.
        ER_OPTION_PREVENTS_STATEMENT if is_read_only(message) => not_the_writer(doing),

        ER_ACCESS_DENIED_ERROR
        | ER_ACCESS_DENIED_NO_PASSWORD_ERROR
        | ER_MUST_CHANGE_PASSWORD
        | ER_MUST_CHANGE_PASSWORD_LOGIN
        | ER_ACCOUNT_HAS_BEEN_LOCKED
        | ER_MARIADB_ACCOUNT_HAS_BEEN_LOCKED => Fault::CredentialsRejected,
        ER_CON_COUNT_ERROR | ER_TOO_MANY_USER_CONNECTIONS | ER_USER_LIMIT_REACHED => {
            Fault::TooManyConnections
        }
        ER_SERVER_SHUTDOWN | ER_NORMAL_SHUTDOWN => Fault::ServerUnavailable,
        ER_CLIENT_INTERACTION_TIMEOUT
        | ER_ABORTING_CONNECTION
        | ER_NEW_ABORTING_CONNECTION
        | ER_CONNECTION_KILLED
        | ER_NET_READ_INTERRUPTED
        | ER_NET_ERROR_ON_WRITE
        | ER_NET_WRITE_INTERRUPTED => Fault::ConnectionLost,
        ER_HOST_IS_BLOCKED | ER_HOST_NOT_PRIVILEGED => Fault::Unreachable,
        // No query can be at fault for these.
        _ if doing == Doing::Connect => Fault::Unreachable,

        // The second is MariaDB's word for a row that changed under a snapshot.
        ER_LOCK_DEADLOCK | ER_CHECKREAD => Fault::Conflict,
        ER_LOCK_WAIT_TIMEOUT | ER_LOCK_NOWAIT => Fault::LockTimeout,
        ER_BAD_NULL_ERROR
        | ER_DUP_KEY
        | ER_DUP_ENTRY
        | ER_DUP_ENTRY_WITH_KEY_NAME
        | ER_NO_PARTITION_FOR_GIVEN_VALUE
        | ER_NO_REFERENCED_ROW
        | ER_ROW_IS_REFERENCED
        | ER_ROW_IS_REFERENCED_2
        | ER_NO_REFERENCED_ROW_2
        | ER_CHECK_CONSTRAINT_VIOLATED => Fault::Constraint,
        // MySQL has the number for an InnoDB option, which no statement of ours sets.
        ER_CONSTRAINT_FAILED => Fault::Constraint,
        ER_QUERY_TIMEOUT | ER_QUERY_INTERRUPTED | ER_STATEMENT_TIMEOUT => Fault::Timeout,
        // What PostgreSQL has the SQLSTATEs 22001, 22003, 22007, 22008, 22021 and 22P02 for; that of MySQL is HY000 for
        // many of them. The first is a value larger than `max_allowed_packet`, after which the server hangs up.
        ER_NET_PACKET_TOO_LARGE
        | ER_WARN_DATA_OUT_OF_RANGE
        | WARN_DATA_TRUNCATED
        | ER_TRUNCATED_WRONG_VALUE
        | ER_INVALID_CHARACTER_STRING
        | ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
        | ER_ILLEGAL_VALUE_FOR_TYPE
        | ER_DATA_TOO_LONG
        | ER_WRONG_VALUE_FOR_TYPE
        | ER_CANT_CREATE_GEOMETRY_OBJECT
        | ER_DATETIME_FUNCTION_OVERFLOW
        | ER_WRONG_VALUE
        | ER_DATA_OUT_OF_RANGE
        | ER_DATA_OVERFLOW
        | ER_DATA_TRUNCATED
        | ER_BAD_DATA
        | ER_INVALID_JSON_TEXT
        | ER_INVALID_JSON_TEXT_IN_PARAM
        | ER_JSON_DOCUMENT_TOO_DEEP
        | ER_LONGITUDE_OUT_OF_RANGE
        | ER_LATITUDE_OUT_OF_RANGE => Fault::BadParameter,
        ER_SIGNAL_EXCEPTION => Fault::Rejected,
        _ => Fault::QueryFailed,
    }
}

/// A server or a transaction that takes no writes: for a write, the wrong server; for a read, the wrong query.
fn not_the_writer(doing: Doing) -> Fault {
    match doing {
        Doing::Write => Fault::NotTheWriter,
        Doing::Connect | Doing::Read => Fault::QueryFailed,
    }
}

fn is_read_only(message: &str) -> bool {
    message.contains("read-only") || message.contains("read_only")
}

/// sqlx knows no column type newer than its own table, MySQL's VECTOR for one.
fn is_unknown_type(text: &str) -> bool {
    text.starts_with("unknown column type")
}

/// The statement has another number of parameters than the query file.
fn is_miscount(text: &str) -> bool {
    text.starts_with("prepared statement expected")
}

// Names and numbers as in the servers' lists; those from 1900 to 1999 and the 4025 are MariaDB's.
const ER_CHECKREAD: u16 = 1020;
const ER_DUP_KEY: u16 = 1022;
const ER_CON_COUNT_ERROR: u16 = 1040;
const ER_DBACCESS_DENIED_ERROR: u16 = 1044;
const ER_ACCESS_DENIED_ERROR: u16 = 1045;
const ER_BAD_NULL_ERROR: u16 = 1048;
const ER_BAD_DB_ERROR: u16 = 1049;
const ER_SERVER_SHUTDOWN: u16 = 1053;
const ER_DUP_ENTRY: u16 = 1062;
const ER_NORMAL_SHUTDOWN: u16 = 1077;
const ER_UNKNOWN_ERROR: u16 = 1105;
const ER_HOST_IS_BLOCKED: u16 = 1129;
const ER_HOST_NOT_PRIVILEGED: u16 = 1130;
const ER_ABORTING_CONNECTION: u16 = 1152;
const ER_NET_PACKET_TOO_LARGE: u16 = 1153;
const ER_NET_READ_INTERRUPTED: u16 = 1159;
const ER_NET_ERROR_ON_WRITE: u16 = 1160;
const ER_NET_WRITE_INTERRUPTED: u16 = 1161;
const ER_NEW_ABORTING_CONNECTION: u16 = 1184;
const ER_TOO_MANY_USER_CONNECTIONS: u16 = 1203;
const ER_LOCK_WAIT_TIMEOUT: u16 = 1205;
const ER_LOCK_DEADLOCK: u16 = 1213;
const ER_NO_REFERENCED_ROW: u16 = 1216;
const ER_ROW_IS_REFERENCED: u16 = 1217;
const ER_USER_LIMIT_REACHED: u16 = 1226;
const ER_WARN_DATA_OUT_OF_RANGE: u16 = 1264;
const WARN_DATA_TRUNCATED: u16 = 1265;
const ER_OPTION_PREVENTS_STATEMENT: u16 = 1290;
const ER_TRUNCATED_WRONG_VALUE: u16 = 1292;
const ER_INVALID_CHARACTER_STRING: u16 = 1300;
const ER_QUERY_INTERRUPTED: u16 = 1317;
const ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: u16 = 1366;
const ER_ILLEGAL_VALUE_FOR_TYPE: u16 = 1367;
const ER_DATA_TOO_LONG: u16 = 1406;
const ER_WRONG_VALUE_FOR_TYPE: u16 = 1411;
const ER_CANT_CREATE_GEOMETRY_OBJECT: u16 = 1416;
const ER_DATETIME_FUNCTION_OVERFLOW: u16 = 1441;
const ER_ROW_IS_REFERENCED_2: u16 = 1451;
const ER_NO_REFERENCED_ROW_2: u16 = 1452;
const ER_WRONG_VALUE: u16 = 1525;
const ER_NO_PARTITION_FOR_GIVEN_VALUE: u16 = 1526;
const ER_DUP_ENTRY_WITH_KEY_NAME: u16 = 1586;
const ER_SIGNAL_EXCEPTION: u16 = 1644;
const ER_DATA_OUT_OF_RANGE: u16 = 1690;
const ER_ACCESS_DENIED_NO_PASSWORD_ERROR: u16 = 1698;
const ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: u16 = 1792;
const ER_MUST_CHANGE_PASSWORD: u16 = 1820;
const ER_READ_ONLY_MODE: u16 = 1836;
const ER_MUST_CHANGE_PASSWORD_LOGIN: u16 = 1862;
const ER_DATA_OVERFLOW: u16 = 1916;
const ER_DATA_TRUNCATED: u16 = 1917;
const ER_BAD_DATA: u16 = 1918;
const ER_CONNECTION_KILLED: u16 = 1927;
const ER_STATEMENT_TIMEOUT: u16 = 1969;
const ER_QUERY_TIMEOUT: u16 = 3024;
const ER_ACCOUNT_HAS_BEEN_LOCKED: u16 = 3118;
const ER_INVALID_JSON_TEXT: u16 = 3140;
const ER_INVALID_JSON_TEXT_IN_PARAM: u16 = 3141;
const ER_JSON_DOCUMENT_TOO_DEEP: u16 = 3157;
const ER_SECURE_TRANSPORT_REQUIRED: u16 = 3159;
const ER_LOCK_NOWAIT: u16 = 3572;
const ER_LONGITUDE_OUT_OF_RANGE: u16 = 3616;
const ER_LATITUDE_OUT_OF_RANGE: u16 = 3617;
const ER_CHECK_CONSTRAINT_VIOLATED: u16 = 3819;
const ER_CONSTRAINT_FAILED: u16 = 4025;
const ER_CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
const ER_MARIADB_ACCOUNT_HAS_BEEN_LOCKED: u16 = 4151;

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which some of the server's messages hold.
pub(crate) fn to_error(error: &sqlx::Error, doing: Doing, log_values: bool) -> Error {
    let fault = classify(error, doing);
    let server = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    let Some(server) = server else {
        return Error::new(fault, driver_detail(error));
    };
    let refused_write = matches!(server.number(), ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION);
    let told = if fault == Fault::Rejected {
        Error::told(fault, server.message().to_owned())
    } else if fault == Fault::QueryFailed && refused_write {
        Error::told(
            fault,
            "The query is declared as a read and tries to write: declare this query `-- write`.",
        )
    } else {
        Error::new(fault, "")
    };
    let message = server.message();
    let detail =
        if log_values { message.to_owned() } else { without_value(server.number(), message).into_owned() };
    told.with_detail(detail).with_sqlstate(server.number().to_string())
}

/// Whether the server refused to write in a transaction that may only read.
pub(crate) fn is_read_only_transaction(error: &sqlx::Error) -> bool {
    let server = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    server.is_some_and(|error| error.number() == ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION)
}

/// The error for that inside a transaction that may write: it is over, because something in it, a procedure for
/// one, has committed. Not the server is the wrong one, and nothing may run again.
pub(crate) fn committed_midway(error: &sqlx::Error) -> Error {
    let detail = format!(
        "{error}: something in the query has committed, and what came before that stays. Declare the query \
         `-- transaction: none`"
    );
    Error::new(Fault::QueryFailed, detail).with_sqlstate(ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION.to_string())
}

/// What to look at when the server refuses a login with this number; begins with a blank unless it is empty.
pub(crate) fn hint(number: u16) -> &'static str {
    match number {
        ER_ACCESS_DENIED_ERROR => " The user may also be one for other hosts than the function's.",
        ER_MUST_CHANGE_PASSWORD | ER_MUST_CHANGE_PASSWORD_LOGIN => {
            " The password has expired: rotate the secret."
        }
        ER_ACCESS_DENIED_NO_PASSWORD_ERROR => " This user may only log in on the server's own machine.",
        ER_ACCOUNT_HAS_BEEN_LOCKED | ER_MARIADB_ACCOUNT_HAS_BEEN_LOCKED => {
            " Unlock it: `ALTER USER … ACCOUNT UNLOCK`."
        }
        ER_DBACCESS_DENIED_ERROR => " Grant the user its rights on this database.",
        ER_BAD_DB_ERROR => " Is DB_NAME, or `dbname` in the secret, right?",
        ER_CON_COUNT_ERROR | ER_TOO_MANY_USER_CONNECTIONS | ER_USER_LIMIT_REACHED => {
            " Lower the function's reserved concurrency, or put RDS Proxy between."
        }
        ER_HOST_IS_BLOCKED => {
            " Too many connections from this host broke off during their login (max_connect_errors): find out \
             why, then `FLUSH HOSTS` on the server."
        }
        ER_HOST_NOT_PRIVILEGED => " Allow the function's subnets in the database user's host part.",
        ER_SECURE_TRANSPORT_REQUIRED => " The server insists on TLS: remove DB_TLS=disable.",
        _ => "",
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

/// What stands before and after the value in the messages that quote one, out of the servers' lists of messages.
fn around_value(number: u16) -> Option<(&'static str, &'static str)> {
    Some(match number {
        ER_DUP_ENTRY | ER_DUP_ENTRY_WITH_KEY_NAME => ("'", "' for key "),
        ER_TRUNCATED_WRONG_VALUE | ER_TRUNCATED_WRONG_VALUE_FOR_FIELD => ("'", "' for column "),
        ER_WRONG_VALUE_FOR_TYPE => ("'", "' for function "),
        ER_ILLEGAL_VALUE_FOR_TYPE => ("'", "' value found"),
        ER_DATA_OVERFLOW | ER_DATA_TRUNCATED | ER_BAD_DATA => ("'", "' when converting "),
        // The third quotes the expression with the values in it.
        ER_WRONG_VALUE | ER_INVALID_CHARACTER_STRING | ER_DATA_OUT_OF_RANGE | ER_UNKNOWN_ERROR => ("'", ""),
        ER_NO_PARTITION_FOR_GIVEN_VALUE => ("for value ", ""),
        ER_LONGITUDE_OUT_OF_RANGE | ER_LATITUDE_OUT_OF_RANGE => ("itude ", " is out of range"),
        _ => return None,
    })
}

/// A message with the value that it quotes replaced: "Duplicate entry '…' for key 'users.email'",
/// "Incorrect integer value: '…' for column 'age' at row 1".
fn without_value(number: u16, message: &str) -> Cow<'_, str> {
    let Some((before, after)) = around_value(number) else { return message.into() };
    // The server may speak another language, and quote in another way.
    let Some(at) = message.find(before) else { return "… (the server's message shows a value)".into() };
    let start = at + before.len();
    // The value may hold quotes and anything else, so what the server wrote after it is looked for from the end.
    let rest = message.rfind(after).filter(|rest| *rest >= start && !after.is_empty());
    let rest = rest.map_or(if before == "'" { "'" } else { "" }, |rest| &message[rest..]);
    format!("{}…{rest}", &message[..start]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_the_contract_has_its_fault() {
        let check = |numbers: &[u16], want| {
            for number in numbers {
                assert_eq!(of_number(*number, "", Doing::Write), want, "{number}");
            }
        };
        check(&[1045], Fault::CredentialsRejected);
        check(&[1040, 1203, 1226], Fault::TooManyConnections);
        check(&[1053, 1077], Fault::ServerUnavailable);
        check(&[4031, 1152, 1927], Fault::ConnectionLost);
        check(&[1792, 1836], Fault::NotTheWriter);
        check(&[1129], Fault::Unreachable);
        check(&[1213], Fault::Conflict);
        check(&[1205, 3572], Fault::LockTimeout);
        check(&[1062, 1451, 1452, 1048, 3819, 4025, 1526], Fault::Constraint);
        check(&[3024, 1317, 1969], Fault::Timeout);
        check(&[1264, 1292, 1366, 1406], Fault::BadParameter);
        check(&[1153, 1300, 1367, 1411, 1416, 1441, 1525, 1690, 1916, 1918, 3140, 3141], Fault::BadParameter);
        check(&[1644], Fault::Rejected);
        check(&[1064, 1146, 1054, 1305, 1142], Fault::QueryFailed);
    }

    #[test]
    fn a_read_only_server_is_the_wrong_one_for_a_write_and_the_right_one_for_a_read() {
        let check =
            |message: &str, doing, want| assert_eq!(of_number(1290, message, doing), want, "{message}");
        let mysql =
            "The MySQL server is running with the --read-only option so it cannot execute this statement";
        check(mysql, Doing::Write, Fault::NotTheWriter);
        check(mysql, Doing::Read, Fault::QueryFailed);
        check(&mysql.replace("read-only", "super-read-only"), Doing::Write, Fault::NotTheWriter);
        check(&mysql.replace("read-only", "secure-file-priv"), Doing::Write, Fault::QueryFailed);
        assert_eq!(of_number(1792, "", Doing::Read), Fault::QueryFailed);
    }

    #[test]
    fn whatever_ends_a_login_is_no_querys_fault() {
        for number in [1044, 1049, 1251, 3159] {
            assert_eq!(of_number(number, "", Doing::Connect), Fault::Unreachable, "{number}");
        }
        assert_eq!(of_number(1045, "", Doing::Connect), Fault::CredentialsRejected);
    }

    #[test]
    fn the_logs_messages_lose_their_values() {
        let check = |number, message, want| assert_eq!(without_value(number, message), want);
        check(
            1062,
            "Duplicate entry 'a' for key 'b@x.example' for key 'users.email'",
            "Duplicate entry '…' for key 'users.email'",
        );
        check(
            1366,
            "Incorrect integer value: 'o'clock' for column 'age' at row 1",
            "Incorrect integer value: '…' for column 'age' at row 1",
        );
        check(1292, "Incorrect DATE value: 'yesterday'", "Incorrect DATE value: '…'");
        check(1292, "Truncated incorrect DOUBLE value: 'x' for y'", "Truncated incorrect DOUBLE value: '…'");
        check(
            1411,
            "Incorrect date value: 'x' for function str_to_date",
            "Incorrect date value: '…' for function str_to_date",
        );
        check(1525, "Incorrect DATE value: 'it's'", "Incorrect DATE value: '…'");
        check(1690, "BIGINT value is out of range in '(5 - 'x')'", "BIGINT value is out of range in '…'");
        check(1526, "Table has no partition for value 7", "Table has no partition for value …");
        check(
            1918,
            "Encountered illegal value 'x' when converting to INT",
            "Encountered illegal value '…' when converting to INT",
        );
        check(
            3617,
            "Latitude 91.5 is out of range in function st_geomfromtext.",
            "Latitude … is out of range in function st_geomfromtext.",
        );
        check(1062, "Doppelter Eintrag 'x' für Schlüssel 'k'", "Doppelter Eintrag '…'");
        check(1062, "„x“ gibt es schon", "… (the server's message shows a value)");
        check(1406, "Data too long for column 'v' at row 1", "Data too long for column 'v' at row 1");
    }
}
