//! From the server's errors to faults: a table, and what log and caller are told.

use lambda_rds_core::error::{Error, Fault, quotes};

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

/// What a server said: the fields of its ERR packet.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) number: u16,
    /// The SQLSTATE; empty before the login, where servers send none.
    pub(crate) sqlstate: &'a str,
    /// May be translated (`lc_messages`).
    pub(crate) message: &'a str,
}

/// The statement that an error is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) doing: Doing,
    /// Whether the statement has parameters: only then can a caller's value be at fault.
    pub(crate) parameters: bool,
    /// The statement's text, as it was sent.
    pub(crate) sql: &'a str,
}

impl At<'_> {
    /// A statement of ours, or none.
    pub(crate) fn ours(doing: Doing) -> Self {
        At { doing, parameters: false, sql: "" }
    }
}

impl Told<'_> {
    /// Whether a `SIGNAL` said so: then the text is the author's, whatever number was given to it.
    fn is_signalled(&self) -> bool {
        matches!(self.number, ER_SIGNAL_EXCEPTION | ER_SIGNAL_NOT_FOUND) || self.sqlstate.starts_with("45")
    }
}

/// The kind of what was told.
pub(crate) fn of_told(told: Told<'_>, at: At<'_>) -> Fault {
    if at.doing == Doing::Connect {
        return of_connection(told.number);
    }
    if told.is_signalled() {
        return Fault::Rejected;
    }
    match means(told) {
        Means::ReadOnly => not_the_writer(at.doing),
        Means::Going => Fault::ServerUnavailable,
        Means::Lost => Fault::ConnectionLost,
        Means::Busy => Fault::TooManyConnections,
        Means::Expired => Fault::CredentialsRejected,
        Means::Conflict => Fault::Conflict,
        Means::Lock => Fault::LockTimeout,
        Means::Constraint => Fault::Constraint,
        Means::Stopped => Fault::Timeout,
        Means::Value if at.parameters => Fault::BadParameter,
        Means::Value | Means::Login | Means::Query => Fault::QueryFailed,
    }
}

/// What it means that a connection is refused or ended with this number: no query can be at fault for that.
pub(crate) fn of_connection(number: u16) -> Fault {
    match means(Told { number, sqlstate: "", message: "" }) {
        Means::Login | Means::Expired => Fault::CredentialsRejected,
        Means::Busy => Fault::TooManyConnections,
        Means::Going => Fault::ServerUnavailable,
        Means::Lost => Fault::ConnectionLost,
        Means::ReadOnly
        | Means::Conflict
        | Means::Lock
        | Means::Constraint
        | Means::Stopped
        | Means::Value
        | Means::Query => Fault::Unreachable,
    }
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// The query is wrong, or what it calls.
    Query,
    /// A value is, where there are any.
    Value,
    /// A rule of the schema refuses the data.
    Constraint,
    /// The server undid the transaction for another one's sake.
    Conflict,
    /// A lock was not granted.
    Lock,
    /// The server has none left of something.
    Busy,
    /// The statement was stopped.
    Stopped,
    /// The transaction is read-only, or the server is.
    ReadOnly,
    /// The server is shutting down or starting up.
    Going,
    /// The server has ended the session.
    Lost,
    /// The server does not let this user in.
    Login,
    /// It has let the user in, who can do nothing before the password is changed.
    Expired,
}

/// The table by error number. The message decides where one number has two meanings, and the SQLSTATE's class where
/// a number is not listed.
///
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>
fn means(told: Told<'_>) -> Means {
    match told.number {
        // Also "running with the --secure-file-priv option" and its like, which are the query's mistake.
        ER_OPTION_PREVENTS_STATEMENT if is_read_only(told.message) => return Means::ReadOnly,
        // InnoDB's reader of a full-text query in BOOLEAN MODE, in words that are not translated.
        ER_PARSE_ERROR if told.message.starts_with("syntax error, unexpected") => return Means::Value,
        // A parameter gives way to a column, so that one among them can hold a character that the column lacks. Two
        // columns are the query's mistake.
        ER_CANT_AGGREGATE_2COLLATIONS | ER_CANT_AGGREGATE_3COLLATIONS
            if told.message.contains("COERCIBLE") =>
        {
            return Means::Value;
        }
        _ => {}
    }
    if let Some((means, _)) = MEANS.iter().find(|(_, numbers)| numbers.contains(&told.number)) {
        return *means;
    }
    match told.sqlstate.get(..2) {
        Some("22") => Means::Value,
        Some("23") => Means::Constraint,
        _ => Means::Query,
    }
}

/// What is no [`Means::Query`], and what is one in spite of its class. Numbers of MySQL's and of MariaDB's list; where
/// the two have one number for two things, the other thing is no statement's that could be ours.
const MEANS: &[(Means, &[u16])] = &[
    // An ambiguous column has a constraint's SQLSTATE.
    (Means::Query, &[1052]),
    (Means::ReadOnly, &[1207, 1792, 1836, 1874]),
    (Means::Going, &[1053, 1077, 3032, 3168]),
    (
        Means::Lost,
        &[
            1080,
            1152,
            1154,
            1155,
            1156,
            1157,
            1158,
            1159,
            1160,
            1161,
            1184,
            1927,
            3169,
            ER_CLIENT_INTERACTION_TIMEOUT,
        ],
    ),
    // Connections, memory, locks, transactions, prepared statements.
    (
        Means::Busy,
        &[1037, 1040, 1041, 1135, 1203, 1206, 1226, ER_MAX_PREPARED_STMT_COUNT_REACHED, 1637, 3015, 6411],
    ),
    (
        Means::Login,
        &[
            ER_ACCESS_DENIED_ERROR,
            ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
            ER_MUST_CHANGE_PASSWORD_LOGIN,
            1873,
            ER_ACCOUNT_HAS_BEEN_LOCKED,
            3955,
            4150,
            ER_MARIADB_ACCOUNT_HAS_BEEN_LOCKED,
        ],
    ),
    (Means::Expired, &[ER_MUST_CHANGE_PASSWORD]),
    // 1020 is MariaDB's word for a row that changed under a snapshot.
    (Means::Conflict, &[1020, 1213, 3058, 3101, 3132]),
    (Means::Lock, &[1205, 1689, 3133, 3572]),
    (Means::Stopped, &[1317, 1969, 3024]),
    (
        Means::Constraint,
        &[
            1022, 1048, 1062, 1169, 1216, 1217, 1369, 1451, 1452, 1526, 1557, 1586, 1761, 1762, 1859, 3673,
            3819, // MySQL has the number for an InnoDB option, which no statement of ours sets.
            4025,
        ],
    ),
    (
        Means::Value,
        &[
            // Larger than `max_allowed_packet`: the server hangs up afterwards.
            1153, 1301, // Not what the place takes.
            1138, 1210, 1256, 1257, 1258, 1259, 1263, 1264, 1265, 1292, 1298, 1299, 1365, 1366, 1367, 1406,
            1411, 1416, 1441, 1470, 1525, 1649, 1690, 1742,
            1882, // Characters that the other side lacks.
            1271, 1300, 1977, 3854, 3988, // MariaDB's.
            1912, 1916, 1917, 1918, 1919, 1921, 1922, 1958, 4024, 4103, 4107,
            // Regular expressions: MariaDB's and the old ones, MySQL's.
            1139, 3684, 3685, 3686, 3687, 3688, 3689, 3690, 3691, 3692, 3693, 3694, 3695, 3696, 3697, 3698,
            3699, 3700, 3852, 3887, 3900, 4007, // Geometry.
            3033, 3034, 3035, 3036, 3037, 3038, 3039, 3040, 3041, 3042, 3043, 3045, 3046, 3047, 3048, 3049,
            3050, 3051, 3055, 3134, 3516, 3520, 3521, 3548, 3616, 3617, 3618, 3643, 3682, 3704, 3705, 3706,
            3726, 3727, 3731, 3732, 3741, 3742, 3743, 3744, 3882, 4032, 4033, 4034, 4048, 4049, 4050,
            4076, // Names of locks.
            3057, 3131, 4163, // JSON: texts, paths, what is taken out of them.
            3064, 3069, 3070, 3071, 3072, 3140, 3141, 3142, 3143, 3144, 3145, 3146, 3147, 3148, 3149, 3150,
            3151, 3153, 3154, 3155, 3156, 3157, 3158, 3165, 3665, 3666, 3669, 3672, 3853, 3903, 3904, 3907,
            3908, 3966, 3967, 4035, 4036, 4037, 4038, 4039, 4040, 4041, 4042, 4043, 4044, 4045, 4046, 4051,
            4176, 4178, 4179, 4183, // Casts, operands, vectors, samples.
            3020, 3513, 3752, 3997, 3998, 4074, 6107, 6136, 6137, 6138, 6527,
        ],
    ),
];

/// The numbers of the servers' lists that were looked at for the table. A new one falls outside, and a test names it.
#[cfg(test)]
const REVIEWED: &[std::ops::RangeInclusive<u16>] = &[1000..=1999, 3000..=4192, 6000..=6579];

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

// Names and numbers as in the servers' lists.
const ER_DBACCESS_DENIED_ERROR: u16 = 1044;
const ER_CON_COUNT_ERROR: u16 = 1040;
const ER_ACCESS_DENIED_ERROR: u16 = 1045;
const ER_BAD_DB_ERROR: u16 = 1049;
const ER_DUP_ENTRY: u16 = 1062;
const ER_PARSE_ERROR: u16 = 1064;
const ER_HOST_IS_BLOCKED: u16 = 1129;
const ER_HOST_NOT_PRIVILEGED: u16 = 1130;
const ER_CANT_DO_THIS_DURING_AN_TRANSACTION: u16 = 1179;
const ER_TOO_MANY_USER_CONNECTIONS: u16 = 1203;
const ER_USER_LIMIT_REACHED: u16 = 1226;
const ER_CANT_AGGREGATE_2COLLATIONS: u16 = 1267;
const ER_CANT_AGGREGATE_3COLLATIONS: u16 = 1270;
const ER_OPTION_PREVENTS_STATEMENT: u16 = 1290;
const ER_TRUNCATED_WRONG_VALUE: u16 = 1292;
const ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: u16 = 1366;
const ER_DATA_TOO_LONG: u16 = 1406;
const ER_WRONG_VALUE_FOR_TYPE: u16 = 1411;
const ER_MAX_PREPARED_STMT_COUNT_REACHED: u16 = 1461;
const ER_CANT_CHANGE_TX_CHARACTERISTICS: u16 = 1568;
const ER_DUP_ENTRY_WITH_KEY_NAME: u16 = 1586;
const ER_SIGNAL_NOT_FOUND: u16 = 1643;
const ER_SIGNAL_EXCEPTION: u16 = 1644;
const ER_ACCESS_DENIED_NO_PASSWORD_ERROR: u16 = 1698;
const ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: u16 = 1792;
const ER_MUST_CHANGE_PASSWORD: u16 = 1820;
const ER_MUST_CHANGE_PASSWORD_LOGIN: u16 = 1862;
const ER_DATA_OVERFLOW: u16 = 1916;
const ER_DATA_TRUNCATED: u16 = 1917;
const ER_BAD_DATA: u16 = 1918;
const ER_ACCOUNT_HAS_BEEN_LOCKED: u16 = 3118;
const ER_SECURE_TRANSPORT_REQUIRED: u16 = 3159;
const ER_LONGITUDE_OUT_OF_RANGE: u16 = 3616;
const ER_LATITUDE_OUT_OF_RANGE: u16 = 3617;
const ER_CHECK_CONSTRAINT_VIOLATED: u16 = 3819;
const ER_CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
const ER_MARIADB_ACCOUNT_HAS_BEEN_LOCKED: u16 = 4151;

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which the server's words may quote.
pub(crate) fn error_of(told: Told<'_>, at: At<'_>, log_values: bool) -> Error {
    let fault = of_told(told, at);
    let error = match (fault, told.number) {
        (Fault::Rejected, _) => Error::quoted(fault, told.message.to_owned()),
        (Fault::QueryFailed, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION) => Error::told(
            fault,
            "The query is declared as a read and tries to write: declare this query `-- write`.",
        ),
        (Fault::QueryFailed, ER_CANT_DO_THIS_DURING_AN_TRANSACTION | ER_CANT_CHANGE_TX_CHARACTERISTICS) => {
            Error::told(
                fault,
                "The query cannot run inside a transaction, or ends it: declare this query \
                 `-- transaction: none`.",
            )
        }
        _ => Error::new(fault, ""),
    };
    let detail = if log_values || at.doing == Doing::Connect {
        told.message.to_owned()
    } else if fault == Fault::Rejected {
        HIDDEN.to_owned()
    } else {
        without_value(told, at.sql)
    };
    error.with_detail(detail).with_sqlstate(told.number.to_string())
}

/// Stands for a text that is an author's and may quote values.
const HIDDEN: &str =
    "… (the text is the query's own, and may quote a value: LAMBDA_RDS_LOG_VALUES=true shows it)";

/// Whether the server has as many prepared statements as it may have, of all sessions together.
pub(crate) fn is_full(told: Told<'_>) -> bool {
    told.number == ER_MAX_PREPARED_STMT_COUNT_REACHED
}

/// Whether the server refused to write in a transaction that may only read.
pub(crate) fn is_read_only_transaction(told: Told<'_>) -> bool {
    told.number == ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION && !told.is_signalled()
}

/// The error for that inside a transaction that may write: it is over, because something in it, a procedure for
/// one, has committed. Not the server is the wrong one, and nothing may run again.
pub(crate) fn committed_midway(error: &Error) -> Error {
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

/// What stands before and after the value in messages that name a column or a key behind it, out of the servers' lists
/// of messages: the name is the schema's.
fn around_value(number: u16) -> Option<(&'static str, &'static str)> {
    Some(match number {
        ER_DUP_ENTRY | ER_DUP_ENTRY_WITH_KEY_NAME => ("'", "' for key "),
        ER_TRUNCATED_WRONG_VALUE | ER_TRUNCATED_WRONG_VALUE_FOR_FIELD => ("'", "' for column "),
        ER_WRONG_VALUE_FOR_TYPE => ("'", "' for function "),
        ER_DATA_OVERFLOW | ER_DATA_TRUNCATED | ER_BAD_DATA => ("'", "' when converting "),
        ER_LONGITUDE_OUT_OF_RANGE | ER_LATITUDE_OUT_OF_RANGE => ("itude ", " is out of range"),
        // No value at all, but a name.
        ER_DATA_TOO_LONG | ER_CHECK_CONSTRAINT_VIOLATED => ("\u{0}", ""),
        _ => return None,
    })
}

/// A message without the value that it may quote: "Duplicate entry '…' for key 'users.email'", "Table '…' doesn't
/// exist".
fn without_value(told: Told<'_>, sql: &str) -> String {
    let hidden = || quotes::hidden(told.message, sql, []);
    let Some((before, after)) = around_value(told.number) else { return hidden() };
    if after.is_empty() {
        return told.message.to_owned();
    }
    // The server may speak another language, and quote in another way.
    let Some(at) = told.message.find(before) else { return hidden() };
    let start = at + before.len();
    // The value may hold quotes and anything else, so what the server wrote after it is looked for from the end.
    match told.message.rfind(after).filter(|rest| *rest >= start) {
        Some(rest) => format!("{}…{}", &told.message[..start], &told.message[rest..]),
        None => hidden(),
    }
}

#[cfg(test)]
mod tests {
    use lambda_rds_testbed::{Mysql, MysqlKind};

    use super::*;

    fn at(doing: Doing, parameters: bool) -> At<'static> {
        At { doing, parameters, sql: "" }
    }

    fn told(number: u16, message: &str) -> Told<'_> {
        Told { number, sqlstate: "HY000", message }
    }

    fn of_number(number: u16, message: &str, doing: Doing) -> Fault {
        of_told(told(number, message), at(doing, true))
    }

    #[test]
    fn each_number_of_the_contract_has_its_fault() {
        let check = |numbers: &[u16], want| {
            for number in numbers {
                assert_eq!(of_number(*number, "", Doing::Write), want, "{number}");
            }
        };
        check(&[1203, 1226, 1461], Fault::TooManyConnections);
        check(&[1053, 1077], Fault::ServerUnavailable);
        check(&[4031, 1152, 1927], Fault::ConnectionLost);
        check(&[1792, 1836], Fault::NotTheWriter);
        check(&[1213], Fault::Conflict);
        check(&[1205, 3572], Fault::LockTimeout);
        check(&[1062, 1451, 1452, 1048, 3819, 4025, 1526, 1369], Fault::Constraint);
        check(&[3024, 1317, 1969], Fault::Timeout);
        check(&[1264, 1292, 1365, 1366, 1406, 3143, 3691, 1139, 3854, 3988], Fault::BadParameter);
        check(&[1153, 1300, 1367, 1411, 1416, 1441, 1525, 1690, 1916, 1918, 3140, 3141], Fault::BadParameter);
        check(&[1644], Fault::Rejected);
        // Whoever is logged in asked for something: LOAD DATA without the right to files is 1045.
        check(&[1064, 1146, 1054, 1305, 1142, 1045, 1129], Fault::QueryFailed);
    }

    #[test]
    fn without_parameters_the_text_alone_is_at_fault() {
        for number in [1264, 1292, 1365, 3143, 3854] {
            let fault = of_told(told(number, ""), at(Doing::Write, false));
            assert_eq!(fault, Fault::QueryFailed, "{number}");
        }
    }

    #[test]
    fn a_class_speaks_for_numbers_that_are_not_listed() {
        for (sqlstate, want) in
            [("22099", Fault::BadParameter), ("23000", Fault::Constraint), ("HY000", Fault::QueryFailed)]
        {
            let told = Told { number: 9_999, sqlstate, message: "" };
            assert_eq!(of_told(told, at(Doing::Read, true)), want, "{sqlstate}");
        }
        let ambiguous = Told { number: 1052, sqlstate: "23000", message: "" };
        assert_eq!(of_told(ambiguous, at(Doing::Read, true)), Fault::QueryFailed);
    }

    #[test]
    fn a_signal_is_the_authors_whatever_its_number() {
        for number in [1644, 5001, 1045, 1040, 1053, 1213, 1792] {
            let told = Told { number, sqlstate: "45000", message: "Sold out: 7" };
            let error = error_of(told, at(Doing::Write, true), false);
            assert_eq!((error.fault(), error.message()), (Fault::Rejected, "Sold out: 7"), "{number}");
            assert!(!error.to_string().contains("Sold out"), "{error}");
            assert_eq!(error_of(told, at(Doing::Write, true), true).detail(), "Sold out: 7");
        }
    }

    #[test]
    fn one_number_two_meanings() {
        let check = |number, message: &str, want| {
            assert_eq!(of_number(number, message, Doing::Read), want, "{message}");
        };
        let mix = |one: &str| {
            format!("Illegal mix of collations (latin1_swedish_ci,IMPLICIT) and (utf8mb4_0900_ai_ci,{one})")
        };
        check(1267, &mix("COERCIBLE"), Fault::BadParameter);
        check(1267, &mix("IMPLICIT"), Fault::QueryFailed);
        check(1064, "syntax error, unexpected $end", Fault::BadParameter);
        check(1064, "You have an error in your SQL syntax", Fault::QueryFailed);
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
        let check = |numbers: &[u16], want| {
            for number in numbers {
                assert_eq!(of_number(*number, "", Doing::Connect), want, "{number}");
            }
        };
        check(&[1044, 1049, 1129, 1130, 1251, 3159, 1064, 1292], Fault::Unreachable);
        check(&[1045, 1698, 1820, 1862, 3118, 4151], Fault::CredentialsRejected);
        check(&[1040, 1203, 1226], Fault::TooManyConnections);
    }

    #[test]
    fn a_query_that_no_transaction_may_hold_says_what_to_declare() {
        for number in [1179, 1568] {
            let error = error_of(told(number, ""), at(Doing::Write, false), false);
            assert!(error.message().contains("`-- transaction: none`"), "{error}");
        }
    }

    /// The table as the page has it.
    fn page() -> String {
        let rows = [
            (Means::Value, "`bad_parameter` if the statement has parameters, else `query_failed`"),
            (Means::Constraint, "`constraint`"),
            (Means::Conflict, "`conflict`"),
            (Means::Lock, "`conflict`, for a lock"),
            (Means::Busy, "`database_busy`"),
            (Means::Stopped, "`timeout`"),
            (Means::ReadOnly, "`failing_over` of a write, `query_failed` of a read"),
            (Means::Going, "`database_unavailable`"),
            (Means::Lost, "`connection_lost`"),
            (Means::Login, "`credentials_rejected` of a login, else `query_failed`"),
            (Means::Expired, "`credentials_rejected`"),
        ];
        assert_eq!(rows.len() + 1, MEANS.len(), "and what is a query's fault in spite of its class");
        let mut page = String::from("| number | code |\n|---|---|\n");
        for (means, told) in rows {
            let (_, numbers) = MEANS.iter().find(|(other, _)| *other == means).unwrap();
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            let numbers: Vec<_> = numbers.iter().map(u16::to_string).collect();
            page.push_str(&format!("| {} | {told} |\n", numbers.join(" ")));
        }
        page
    }

    #[test]
    fn the_published_table_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/faults.md");
        let shown = std::fs::read_to_string(path).unwrap();
        assert!(shown.contains(&page()), "put this into docs/reference/faults.md:\n{}", page());
    }

    /// Both servers' own lists: MySQL tells its in a table, MariaDB has it in a file.
    #[test]
    fn every_number_of_the_servers_lists_is_classified() {
        let mut listed: Vec<u16> = MEANS.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect();
        let count = listed.len();
        listed.sort_unstable();
        listed.dedup();
        assert_eq!(listed.len(), count, "a number stands twice");
        let reviewed = |number: u16| REVIEWED.iter().any(|range| range.contains(&number));

        let settings = &[("performance-schema", "ON")];
        let mysql = Mysql::builder(MysqlKind::Mysql).config(settings).start().unwrap();
        let list = mysql
            .sql(
                "SELECT error_number, sql_state FROM performance_schema.events_errors_summary_global_by_error \
                 WHERE error_number BETWEEN 1000 AND 9999",
            )
            .unwrap();
        assert!(list.lines().count() > 1_500, "{}", list.lines().count());
        for line in list.lines() {
            let (number, sqlstate) = line.split_once('|').unwrap();
            let number: u16 = number.parse().unwrap();
            assert!(reviewed(number), "not classified: {line}");
            let means = means(Told { number, sqlstate, message: "" });
            match &sqlstate[..2] {
                "22" => assert_eq!(means, Means::Value, "{line}"),
                "23" => assert!(means == Means::Constraint || number == 1052, "{line}: {means:?}"),
                "40" => assert_eq!(means, Means::Conflict, "{line}"),
                "28" => assert!(matches!(means, Means::Login | Means::Query), "{line}: {means:?}"),
                _ => {}
            }
        }

        let mariadb = Mysql::start(MysqlKind::MariaDb).unwrap();
        let folder = mariadb.sql("SELECT @@lc_messages_dir").unwrap();
        let folder = std::path::Path::new(&folder);
        let file = ["english/errmsg.sys", "errmsg.sys"].map(|name| folder.join(name));
        let file = std::fs::read(file.iter().find(|file| file.exists()).unwrap()).unwrap();
        // A header of 32 bytes has the number of sections at 14; then stands how many messages each has, a thousand
        // numbers apart.
        let word = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
        let sections: Vec<u16> = (0..usize::from(word(14))).map(|section| word(32 + 2 * section)).collect();
        assert!(sections[0] > 900, "{sections:?}");
        for (section, count) in (1u16..).zip(sections) {
            for number in section * 1_000..section * 1_000 + count {
                assert!(reviewed(number), "not classified: {number}");
            }
        }
    }

    #[test]
    fn the_logs_messages_lose_their_values() {
        let check =
            |number, message, want| assert_eq!(without_value(told(number, message), "SELECT a FRM t"), want);
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
        check(
            3854,
            "Cannot convert string 'x' from utf8mb4 to latin1",
            "Cannot convert string '…' from … to …",
        );
        check(1146, "Table 'shop.secret' doesn't exist", "Table '…' doesn't exist");
        check(1064, "You have an error near 'secret' at line 1", "You have an error near '…' at line 1");
        check(1064, "You have an error near 'FRM t' at line 1", "You have an error near 'FRM t' at line 1");
        check(1062, "Doppelter Eintrag 'x' für Schlüssel 'k'", "Doppelter Eintrag '…'");
        check(1062, "„x“ gibt es schon", "„…“ gibt es schon");
        check(1406, "Data too long for column 'v' at row 1", "Data too long for column 'v' at row 1");
    }
}
