//! From the server's errors to faults: a table, and what log and caller are told.

use lambda_rds_core::error::{Error, Fault, quotes};

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

/// What a server or a pooler said: the fields of its ErrorResponse that we go by. The texts may be translated, the
/// others are not. <https://www.postgresql.org/docs/current/protocol-error-fields.html>
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told<'a> {
    /// `ERROR`, `FATAL` or `PANIC` (field `V`, or `S` of those who send no other).
    pub(crate) severity: &'a str,
    /// The SQLSTATE (`C`).
    pub(crate) code: &'a str,
    /// `M`
    pub(crate) message: &'a str,
    /// `D`
    pub(crate) detail: Option<&'a str>,
    /// `H`
    pub(crate) hint: Option<&'a str>,
    /// Where it was met, the innermost place first (`W`).
    pub(crate) context: Option<&'a str>,
    /// The place in the statement's own text, counted in characters from 1 (`P`).
    pub(crate) position: Option<usize>,
    /// The place in a statement that the server made itself, and that statement (`p` and `q`).
    pub(crate) inside: Option<(usize, &'a str)>,
    /// `s`
    pub(crate) schema: Option<&'a str>,
    /// `t`
    pub(crate) table: Option<&'a str>,
    /// `c`
    pub(crate) column: Option<&'a str>,
    /// `d`
    pub(crate) data_type: Option<&'a str>,
    /// `n`
    pub(crate) constraint: Option<&'a str>,
    /// The function of the server's source (`R`). A pooler that speaks for itself has none.
    pub(crate) routine: Option<&'a str>,
    /// The file of the server's source (`F`).
    pub(crate) file: Option<&'a str>,
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
    /// Whether this is about the connection, and not about the statement: it came while connecting, the server ends
    /// the session with it, or it is not a server's word but a pooler's. Anything else is the statement's, whatever
    /// its code: a function raises what it likes, and one that asks another server is told of that server.
    fn is_connections(&self, doing: Doing) -> bool {
        doing == Doing::Connect || self.severity != ERROR || self.routine.is_none()
    }

    /// Whether a `RAISE` said so, in whatever language the server speaks: then the text is the author's.
    fn is_raised(&self) -> bool {
        self.code == RAISE_EXCEPTION || self.routine == Some("exec_stmt_raise")
    }

    /// Whether it was met while the statement was read, when the server had not seen a value: only there has it a
    /// place in the statement's own text.
    fn is_texts(&self) -> bool {
        self.position.is_some()
    }

    /// Whether the server says that it stood before a parameter's value.
    fn names_parameter(&self) -> bool {
        self.parameter().is_some()
    }

    /// The parameter before whose value it stood, counted from 0.
    pub(crate) fn parameter(&self) -> Option<usize> {
        match Uninferred::named(self.context?) {
            Uninferred::One(at) => Some(at),
            Uninferred::Any => None,
        }
    }

    /// Whether a value that is read as something, a name or a query of its own kind, is not one: `'a b'::tsquery`,
    /// `:name::regclass`. Elsewhere these codes have a place: in the statement's text, in a function's statement, or
    /// in a function, which the context names.
    fn is_values(&self) -> bool {
        // "could not identify an equality operator" is met while the statement runs, too.
        if self.code == UNDEFINED_FUNCTION && self.file != Some("regproc.c") && !self.names_parameter() {
            return false;
        }
        let placeless = !self.is_texts() && self.inside.is_none();
        let read = self.context.is_none() || self.names_parameter();
        placeless && (read || self.code == SYNTAX_ERROR && !self.is_from_function())
    }

    /// Whether PL/pgSQL itself complains, of a function's text.
    fn is_from_function(&self) -> bool {
        self.file.is_none_or(|file| file.starts_with("pl_"))
    }
}

/// Whether the server refused a prepared statement because the world has moved on since: a table has other
/// columns or a type is another one after a migration, or something dropped the session's statements. Sent again it
/// would fail for as long as the connection lives; a fresh session prepares it anew.
fn is_stale(told: &Told<'_>) -> bool {
    match told.code {
        INVALID_SQL_STATEMENT_NAME => !told.is_raised(),
        // A type that the statement was prepared with is another one by now, as after the recreation of an enum. Such
        // messages are not translated. The server says so while it reads the parameters, or before it runs the
        // statement; what a function of the statement's does has a context.
        INTERNAL_ERROR if told.message.starts_with("cache lookup failed for type") => {
            matches!(told.routine, Some("getTypeBinaryInputInfo" | "getTypeInputInfo"))
                || told.context.is_none()
        }
        // "bind message has 2 result formats but query has 3 columns": it was learned by another session, and has more
        // columns since, or fewer.
        PROTOCOL_VIOLATION => told.routine == Some("PortalSetResultFormat"),
        // "cached plan must not change result type", told by the server's function: the text is translated.
        FEATURE_NOT_SUPPORTED => told.routine == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// Whether the server refused a statement, before it ran, because the types do not go together any more that it had
/// once inferred: a column was text and is an enum now, or jsonb. A fresh session infers them anew, and finds out if
/// the query is wrong instead.
pub(crate) fn is_outgrown(told: &Told<'_>) -> bool {
    // What is met while the statement is read has a position in it; what is met while it runs has none. That a type
    // cannot be told is met nowhere else, and has none, either.
    let read = match told.code {
        UNDEFINED_FUNCTION | DATATYPE_MISMATCH | AMBIGUOUS_FUNCTION | AMBIGUOUS_PARAMETER => told.is_texts(),
        INDETERMINATE_DATATYPE => told.routine == Some("exec_parse_message"),
        _ => false,
    };
    read && told.context.is_none()
}

/// The parameters whose type the server could not tell, of those that were left for it to infer; `None` for
/// any other error.
pub(crate) fn uninferred(told: &Told<'_>) -> Option<Uninferred> {
    match told.code {
        AMBIGUOUS_FUNCTION | AMBIGUOUS_PARAMETER | INDETERMINATE_DATATYPE | DATATYPE_MISMATCH => {
            Some(Uninferred::named(told.message))
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

/// The kind of what was told. Severity first, then the code.
pub(crate) fn of_told(told: &Told<'_>, at: At<'_>) -> Fault {
    if told.is_connections(at.doing) {
        return of_connection(told.code, told.message, at.doing);
    }
    if is_stale(told) {
        return Fault::ConnectionLost;
    }
    match means(told.code) {
        // The server undid it all, and the author wants it done again.
        Means::Conflict => Fault::Conflict,
        Means::Lock => Fault::LockTimeout,
        Means::Constraint => Fault::Constraint,
        Means::Value if at.parameters => Fault::BadParameter,
        _ if told.is_raised() => Fault::Rejected,
        Means::Read if at.parameters && told.is_values() => Fault::BadParameter,
        Means::ReadOnly => match at.doing {
            Doing::Begin | Doing::Write | Doing::Commit => Fault::NotTheWriter,
            Doing::Connect | Doing::Read => Fault::QueryFailed,
        },
        // "cannot set transaction read-write mode during recovery": a standby says so.
        _ if told.code == FEATURE_NOT_SUPPORTED && at.doing == Doing::Begin => Fault::NotTheWriter,
        Means::Busy => Fault::TooManyConnections,
        Means::Stopped => Fault::Timeout,
        Means::Unknown => Fault::OutcomeUnknown,
        Means::Author => Fault::Rejected,
        Means::Value | Means::Read | Means::Query => Fault::QueryFailed,
    }
}

/// What it means that a connection is refused or ended with this code and these words.
pub(crate) fn of_connection(code: &str, message: &str, doing: Doing) -> Fault {
    let pooler = (code == PROTOCOL_VIOLATION).then(|| pooler(message, doing)).flatten();
    let own = match code {
        INVALID_PASSWORD | INVALID_AUTHORIZATION_SPECIFICATION => Fault::CredentialsRejected,
        TOO_MANY_CONNECTIONS | CONFIGURATION_LIMIT_EXCEEDED => Fault::TooManyConnections,
        ADMIN_SHUTDOWN | CRASH_SHUTDOWN | CANNOT_CONNECT_NOW | DATABASE_DROPPED => Fault::ServerUnavailable,
        // No query can be at fault for these.
        PROTOCOL_VIOLATION | INVALID_CATALOG_NAME => Fault::Unreachable,
        QUERY_CANCELED | TRANSACTION_TIMEOUT => Fault::Timeout,
        // Whatever ends a session has lost it: an idle limit, a standby that must go on (40001), a crash.
        _ => Fault::ConnectionLost,
    };
    let fault = pooler.unwrap_or(own);
    match fault {
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

/// What a code means as the error of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Means {
    /// The query is wrong, or what it calls.
    Query,
    /// A value is, where there are any.
    Value,
    /// The query is wrong, or the value that the server reads as a name or as a query of its own kind.
    Read,
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
    /// The server does not know how it ended.
    Unknown,
    /// The transaction is read-only, or the server is.
    ReadOnly,
    /// The author speaks.
    Author,
}

/// The table. A code that the server's list has not is an author's or an extension's, and goes by its class.
fn means(code: &str) -> Means {
    if let Some((means, _)) = MEANS.iter().find(|(_, codes)| codes.contains(&code)) {
        return *means;
    }
    match code.get(..2) {
        Some("22") => Means::Value,
        Some("23" | "44") => Means::Constraint,
        _ => Means::Query,
    }
}

/// Every code of the server's own list, `src/backend/utils/errcodes.txt`; a test holds it against that.
const MEANS: &[(Means, &[&str])] = &[
    (
        Means::Query,
        &[
            // Class 00 to 03: success, warnings and no data, as errors only if raised.
            "00000", "01000", "0100C", "01008", "01003", "01007", "01006", "01004", "01P01", "02000", "02001",
            "03000", // 08: another server's connection, asked by the statement.
            "08000", "08003", "08006", "08001", "08004", "08007", "08P01", // 09 to 21
            "09000", "0B000", "0F000", "0F001", "0L000", "0LP01", "0Z000", "0Z002", "10608", "20000",
            "21000",
            // A sequence at its end: no other value helps.
            "2200H", // 24 to 3B, but for 25006
            "24000", "25000", "25001", "25002", "25008", "25003", "25004", "25005", "25007", "25P01",
            "25P02", "25P03", "26000", "27000", "28000", "28P01", "2B000", "2BP01", "2D000", "2F000",
            "2F005", "2F002", "2F003", "2F004", "34000", "38000", "38001", "38002", "38003", "38004",
            "39000", "39001", "39004", "39P01", "39P02", "39P03", "3B000", "3B001",
            "3D000", // 42: the text, or what it names.
            "42000", "42501", "42846", "42803", "42P20", "42P19", "42830", "42622", "42939", "42804",
            "42P18", "42P21", "42P22", "428C9", "42P02", "42701", "42P03", "42P04", "42723", "42P05",
            "42P06", "42P07", "42712", "42710", "42702", "42P08", "42P09", "42P10", "42611", "42P11",
            "42P12", "42P13", "42P14", "42P15", "42P16",
            "42P17", // 53: a full disk does not pass by itself; 53300 is another server's.
            "53100", "53300", // 54 and 55
            "54011", "54023", "55000", "55006", "55P02", "55P04", // 57: see 08.
            "57000", "57P01", "57P02", "57P03", "57P04", "57P05", // 58, F0, HV, XX
            "58000", "58030", "58P01", "58P02", "58P03", "F0000", "F0001", "HV000", "HV005", "HV002",
            "HV010", "HV021", "HV024", "HV007", "HV008", "HV004", "HV006", "HV091", "HV00B", "HV00C",
            "HV00D", "HV090", "HV00A", "HV009", "HV014", "HV001", "HV00P", "HV00J", "HV00K", "HV00Q",
            "HV00R", "HV00L", "HV00M", "HV00N", "P0000", "P0002", "P0003", "P0004", "XX000", "XX001",
            "XX002",
        ],
    ),
    (
        Means::Value,
        &[
            "22000", "2202E", "22021", "22008", "22012", "22005", "2200B", "22022", "22015", "2201E",
            "22014", "22016", "2201F", "2201G", "22018", "22007", "22019", "2200D", "22025", "22P06",
            "22010", "22023", "22013", "2201B", "2201W", "2201X", "2202H", "2202G", "22009", "2200C",
            "2200G", "22004", "22002", "22003", "22026", "22001", "22011", "22027", "22024", "2200F",
            "22P01", "22P02", "22P03", "22P04", "22P05", "2200L", "2200M", "2200N", "2200S", "2200T",
            "22030", "22031", "22032", "22033", "22034", "22035", "22036", "22037", "22038", "22039",
            "2203A", "2203B", "2203C", "2203D", "2203E", "2203F",
            "2203G", // Too long for an index's row, for a tsvector, for memory.
            "54000",
        ],
    ),
    (
        Means::Read,
        &[
            // A unit that a type does not have, a name with too many dots.
            "0A000", // A name of a role, schema, relation, function, configuration or setting.
            "0P000", "3F000", "42601", "42602", "42703", "42704", "42725", "42809", "42883", "42P01",
            // Nested too deep.
            "54001",
        ],
    ),
    (Means::Constraint, &["23000", "23001", "23502", "23503", "23505", "23514", "23P01", "40002", "44000"]),
    (Means::Conflict, &["40000", "40001", "40P01", "72000"]),
    (Means::Lock, &["55P03"]),
    (Means::Busy, &["53000", "53200", "53400"]),
    (Means::Stopped, &["57014", "25P04"]),
    (Means::Unknown, &["40003"]),
    (Means::ReadOnly, &["25006"]),
    (Means::Author, &["P0001"]),
];

// Names and codes as in the server's `src/backend/utils/errcodes.txt`.
const PROTOCOL_VIOLATION: &str = "08P01";
const FEATURE_NOT_SUPPORTED: &str = "0A000";
const ACTIVE_SQL_TRANSACTION: &str = "25001";
const READ_ONLY_SQL_TRANSACTION: &str = "25006";
const TRANSACTION_TIMEOUT: &str = "25P04";
pub(crate) const INVALID_SQL_STATEMENT_NAME: &str = "26000";
const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
const INVALID_PASSWORD: &str = "28P01";
const INVALID_TRANSACTION_TERMINATION: &str = "2D000";
const INVALID_CATALOG_NAME: &str = "3D000";
const SYNTAX_ERROR: &str = "42601";
const AMBIGUOUS_FUNCTION: &str = "42725";
const UNDEFINED_FUNCTION: &str = "42883";
const AMBIGUOUS_PARAMETER: &str = "42P08";
// Of a function such as `to_json`, whose result depends on the type of what it is given.
const DATATYPE_MISMATCH: &str = "42804";
const INDETERMINATE_DATATYPE: &str = "42P18";
const TOO_MANY_CONNECTIONS: &str = "53300";
const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
const QUERY_CANCELED: &str = "57014";
const ADMIN_SHUTDOWN: &str = "57P01";
const CRASH_SHUTDOWN: &str = "57P02";
const CANNOT_CONNECT_NOW: &str = "57P03";
const DATABASE_DROPPED: &str = "57P04";
const RAISE_EXCEPTION: &str = "P0001";
const ASSERT_FAILURE: &str = "P0004";
const INTERNAL_ERROR: &str = "XX000";
/// The severity of what ends a statement and leaves the session.
pub(crate) const ERROR: &str = "ERROR";

/// The error for core: its fault, what the caller is told, and what the log is told. `log_values` allows the log
/// to show values, which the server's words may quote.
pub(crate) fn error_of(told: &Told<'_>, at: At<'_>, log_values: bool) -> Error {
    let fault = of_told(told, at);
    let raised = told.is_raised() && !told.is_connections(at.doing);
    let error = match (fault, told.code) {
        (Fault::Rejected | Fault::BadParameter | Fault::Constraint, _) if raised => {
            Error::quoted(fault, told.message.to_owned())
        }
        (Fault::QueryFailed, READ_ONLY_SQL_TRANSACTION) => Error::told(
            fault,
            "The query is declared as a read and tries to write: declare this query `-- write`.",
        ),
        (Fault::QueryFailed, ACTIVE_SQL_TRANSACTION | INVALID_TRANSACTION_TERMINATION) => Error::told(
            fault,
            "The query cannot run inside a transaction, or ends it: declare this query `-- transaction: none`.",
        ),
        _ => Error::new(fault, ""),
    };
    let error = error.with_detail(detail(told, at, log_values)).with_sqlstate(told.code);
    if !told.is_connections(at.doing) && is_stale(told) { error.as_refused() } else { error }
}

/// One line: the message, then whatever else the server tells of the place.
///
/// A message that was met while the server read the statement's own text quotes nothing but that. Any other may quote
/// a value, whatever its code: what it quotes is shown only if it is a word of the statement's or a name of the schema
/// that the server tells apart.
fn detail(told: &Told<'_>, at: At<'_>, log_values: bool) -> String {
    let open = log_values || told.is_texts() || told.is_connections(at.doing);
    let mut detail = format!("{}: ", told.severity);
    if open {
        detail.push_str(told.message);
    } else if told.is_raised() || told.code == ASSERT_FAILURE || is_foreign(told.code) {
        detail.push_str(HIDDEN);
    } else {
        let names = [told.schema, told.table, told.column, told.data_type, told.constraint];
        detail.push_str(&quotes::hidden(told.message, at.sql, names.into_iter().flatten()));
    }
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            detail.push_str("; ");
            detail.push_str(name);
            detail.push_str(value);
        }
    };
    add("detail: ", told.detail.filter(|_| log_values));
    add("hint: ", told.hint.filter(|_| open));
    add("schema ", told.schema);
    add("table ", told.table);
    add("column ", told.column);
    add("type ", told.data_type);
    add("constraint ", told.constraint);
    if let Some(position) = told.position {
        add("at character ", Some(&position.to_string()));
    }
    if let Some((position, query)) = told.inside {
        let text = if log_values { format!(": {query}") } else { String::new() };
        add("at character ", Some(&format!("{position} of the function's statement{text}")));
    }
    detail
}

/// Whether somebody's own language speaks, whose words follow no rule of the server's.
fn is_foreign(code: &str) -> bool {
    code.starts_with("38") || code.starts_with("39")
}

/// Stands for a text that is an author's and may quote values.
const HIDDEN: &str =
    "… (the text is the query's own, and may quote a value: LAMBDA_RDS_LOG_VALUES=true shows it)";

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as a server tells it in the middle of a statement.
    fn error(code: &str) -> Told<'_> {
        Told { severity: ERROR, code, routine: Some("errmsg"), file: Some("elog.c"), ..Told::default() }
    }

    fn at(doing: Doing, parameters: bool) -> At<'static> {
        At { doing, parameters, sql: "SELECT $1" }
    }

    #[test]
    fn the_table_by_sqlstate() {
        for (code, expected) in [
            ("40001", Fault::Conflict),
            ("40P01", Fault::Conflict),
            ("55P03", Fault::LockTimeout),
            ("23502", Fault::Constraint),
            ("23505", Fault::Constraint),
            ("23P01", Fault::Constraint),
            ("44000", Fault::Constraint),
            ("53400", Fault::TooManyConnections),
            ("57014", Fault::Timeout),
            ("22001", Fault::BadParameter),
            ("22003", Fault::BadParameter),
            ("22007", Fault::BadParameter),
            ("22012", Fault::BadParameter),
            ("22023", Fault::BadParameter),
            ("22025", Fault::BadParameter),
            ("2201B", Fault::BadParameter),
            ("2201W", Fault::BadParameter),
            ("22P02", Fault::BadParameter),
            ("22P05", Fault::BadParameter),
            ("22X99", Fault::BadParameter),
            ("2200H", Fault::QueryFailed),
            ("P0001", Fault::Rejected),
            ("P0002", Fault::QueryFailed),
            ("42501", Fault::QueryFailed),
            ("XX000", Fault::QueryFailed),
            ("", Fault::QueryFailed),
        ] {
            for doing in [Doing::Begin, Doing::Read, Doing::Write, Doing::Commit] {
                assert_eq!(of_told(&error(code), at(doing, true)), expected, "{code} {doing:?}");
            }
            let told = of_told(&error(code), at(Doing::Write, false));
            let without = if expected == Fault::BadParameter { Fault::QueryFailed } else { expected };
            assert_eq!(told, without, "{code}: the text alone is at fault");
        }
        for (code, doing, expected) in [
            ("25006", Doing::Read, Fault::QueryFailed),
            ("25006", Doing::Write, Fault::NotTheWriter),
            ("25006", Doing::Commit, Fault::NotTheWriter),
            ("25006", Doing::Begin, Fault::NotTheWriter),
            ("0A000", Doing::Begin, Fault::NotTheWriter),
            ("0A000", Doing::Write, Fault::QueryFailed),
            ("0A000", Doing::Read, Fault::QueryFailed),
        ] {
            assert_eq!(of_told(&error(code), at(doing, false)), expected, "{code} {doing:?}");
        }
    }

    #[test]
    fn a_connections_codes_are_the_statements_where_a_statement_raised_them() {
        for (code, running, connecting) in [
            ("28P01", Fault::CredentialsRejected, Fault::CredentialsRejected),
            ("28000", Fault::CredentialsRejected, Fault::CredentialsRejected),
            ("53300", Fault::TooManyConnections, Fault::TooManyConnections),
            ("57P01", Fault::ServerUnavailable, Fault::ServerUnavailable),
            ("57P02", Fault::ServerUnavailable, Fault::ServerUnavailable),
            ("57P03", Fault::ServerUnavailable, Fault::ServerUnavailable),
            ("57P04", Fault::ServerUnavailable, Fault::ServerUnavailable),
            ("08000", Fault::ConnectionLost, Fault::Unreachable),
            ("08001", Fault::ConnectionLost, Fault::Unreachable),
            ("08006", Fault::ConnectionLost, Fault::Unreachable),
            ("08P01", Fault::Unreachable, Fault::Unreachable),
            ("3D000", Fault::Unreachable, Fault::Unreachable),
            ("57P05", Fault::ConnectionLost, Fault::Unreachable),
            ("25P03", Fault::ConnectionLost, Fault::Unreachable),
            ("25P04", Fault::Timeout, Fault::Timeout),
            // A standby ends sessions that are in the way of what it has to replay.
            ("40001", Fault::ConnectionLost, Fault::Unreachable),
            ("XX000", Fault::ConnectionLost, Fault::Unreachable),
        ] {
            for severity in ["FATAL", "PANIC"] {
                let told = Told { severity, ..error(code) };
                assert_eq!(of_told(&told, at(Doing::Write, true)), running, "{severity} {code}");
            }
            assert_eq!(of_told(&error(code), at(Doing::Connect, false)), connecting, "connecting: {code}");
            if code == "40001" || code == "25P04" {
                continue;
            }
            // `dblink` tells of the server that it asked; a RAISE says what its author likes.
            for doing in [Doing::Read, Doing::Write, Doing::Commit] {
                assert_eq!(of_told(&error(code), at(doing, true)), Fault::QueryFailed, "{code}");
            }
            let raised = Told { routine: Some("exec_stmt_raise"), ..error(code) };
            assert_eq!(of_told(&raised, at(Doing::Write, true)), Fault::Rejected, "{code}");
        }
    }

    #[test]
    fn what_an_author_raises_is_told_in_the_authors_words() {
        let raised = |code| Told {
            message: "no",
            routine: Some("exec_stmt_raise"),
            file: Some("pl_exec.c"),
            ..error(code)
        };
        for (code, expected, message) in [
            ("P0001", Fault::Rejected, "no"),
            ("28P01", Fault::Rejected, "no"),
            ("25006", Fault::Rejected, "no"),
            ("57014", Fault::Rejected, "no"),
            ("U0001", Fault::Rejected, "no"),
            ("23505", Fault::Constraint, "no"),
            ("22023", Fault::BadParameter, "no"),
            ("40001", Fault::Conflict, Fault::Conflict.advice()),
        ] {
            let told = error_of(&raised(code), at(Doing::Write, true), false);
            assert_eq!((told.fault(), told.message()), (expected, message), "{code}");
            assert!(!told.to_string().contains(": no"), "{told}");
            assert!(error_of(&raised(code), at(Doing::Write, true), true).detail().contains(": no"));
        }
        assert_eq!(of_told(&raised("22023"), at(Doing::Write, false)), Fault::Rejected);
    }

    #[test]
    fn a_value_that_is_read_as_a_name_or_a_query() {
        let sql = At { sql: "SELECT to_tsquery($1), x", ..at(Doing::Read, true) };
        let check = |told: Told<'_>, expected| assert_eq!(of_told(&told, sql), expected, "{told:?}");
        for code in ["42601", "42P01", "42704", "3F000", "0A000"] {
            check(error(code), Fault::BadParameter);
            check(Told { position: Some(8), ..error(code) }, Fault::QueryFailed);
            check(Told { inside: Some((8, "SELECT")), ..error(code) }, Fault::QueryFailed);
            check(
                Told { context: Some("unnamed portal parameter $1 = '...'"), ..error(code) },
                Fault::BadParameter,
            );
        }
        let inside = Told { context: Some("PL/pgSQL function f(text) line 3 at RETURN"), ..error("42601") };
        check(inside, Fault::BadParameter);
        check(Told { file: Some("pl_exec.c"), ..inside }, Fault::QueryFailed);
        check(Told { code: "42P01", ..inside }, Fault::QueryFailed);
        // An operator that the query needs is no value's fault.
        check(error("42883"), Fault::QueryFailed);
        check(Told { file: Some("regproc.c"), ..error("42883") }, Fault::BadParameter);
    }

    /// The table as the page has it.
    fn page() -> String {
        let rows = [
            (Means::Value, "`bad_parameter` if the statement has parameters, else `query_failed`"),
            (
                Means::Read,
                "`bad_parameter` if a parameter's value is read as a name or a query, else `query_failed`",
            ),
            (Means::Constraint, "`constraint`"),
            (Means::Conflict, "`conflict`"),
            (Means::Lock, "`conflict`, for a lock"),
            (Means::Busy, "`database_busy`"),
            (Means::Stopped, "`timeout`"),
            (Means::Unknown, "`outcome_unknown`"),
            (Means::ReadOnly, "`failing_over` of a write, `query_failed` of a read"),
            (Means::Author, "`rejected`"),
            (Means::Query, "`query_failed`"),
        ];
        assert_eq!(rows.len(), MEANS.len());
        let mut page = String::from("| SQLSTATE of a statement | code |\n|---|---|\n");
        for (means, told) in rows {
            let (_, codes) = MEANS.iter().find(|(other, _)| *other == means).unwrap();
            let mut codes = codes.to_vec();
            codes.sort_unstable();
            page.push_str(&format!("| {} | {told} |\n", codes.join(" ")));
        }
        page
    }

    #[test]
    fn the_published_table_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/faults.md");
        let shown = std::fs::read_to_string(path).unwrap();
        assert!(shown.contains(&page()), "put this into docs/reference/faults.md:\n{}", page());
    }

    /// The server's list, as each installation of it brings along.
    #[test]
    fn every_code_of_the_servers_list_is_classified() {
        let listed: Vec<&str> = MEANS.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let mut once = listed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), listed.len(), "a code stands twice");

        let server = lambda_rds_testbed::Postgres::start().unwrap();
        let asked = server.psql("postgres", "SELECT 'at ' || setting FROM pg_config WHERE name = 'SHAREDIR'");
        let asked = asked.unwrap();
        let share = asked.lines().find_map(|line| line.trim().strip_prefix("at ")).unwrap();
        let list = std::fs::read_to_string(format!("{share}/errcodes.txt")).unwrap();
        let mut codes = 0;
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let (Some(code), Some("E" | "W" | "S")) = (words.next(), words.next()) else { continue };
            codes += 1;
            assert!(listed.contains(&code), "not classified: {line}");
        }
        assert!(codes > 200, "{codes}");
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
            // Whatever the severity: who has no source file is no server.
            let told = |severity| Told { severity, code: "08P01", message, ..Told::default() };
            for severity in [ERROR, "FATAL"] {
                assert_eq!(of_told(&told(severity), at(Doing::Connect, true)), connecting, "{message}");
                assert_eq!(of_told(&told(severity), at(Doing::Write, true)), running, "{message}");
            }
        }
        let own = Told { message: "query_timeout", ..error("08P01") };
        assert_eq!(of_told(&own, at(Doing::Read, true)), Fault::QueryFailed, "a server's own");
        // What becomes of a COMMIT that the pooler hung up on, nobody knows.
        assert_eq!(of_connection("08P01", "query timeout", Doing::Commit), Fault::ConnectionLost);
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
    fn the_log_has_no_value_unless_it_may() {
        let at = At { doing: Doing::Read, parameters: true, sql: "SELECT a FROM t WHERE b = $1" };
        let told = Told {
            message: "relation \"s3cret\" does not exist",
            detail: Some("s3cret"),
            hint: Some("s3cret"),
            context: Some("s3cret"),
            ..error("42P01")
        };
        assert_eq!(error_of(&told, at, false).detail(), "ERROR: relation \"…\" does not exist");
        assert!(error_of(&told, at, true).detail().contains("detail: s3cret; hint: s3cret"));
        // Met while the statement was read: nothing but its text can be quoted.
        let read = Told { position: Some(15), message: "relation \"t\" does not exist", ..told };
        let detail = "ERROR: relation \"t\" does not exist; hint: s3cret; at character 15";
        assert_eq!(error_of(&read, at, false).detail(), detail);
        let dynamic = Told { inside: Some((3, "SELECT s3cret")), ..told };
        let detail = "ERROR: relation \"…\" does not exist; at character 3 of the function's statement";
        assert_eq!(error_of(&dynamic, at, false).detail(), detail);
        for code in ["P0001", "P0004", "38000"] {
            let told = Told { message: "got s3cret", ..error(code) };
            assert_eq!(error_of(&told, at, false).detail(), format!("ERROR: {HIDDEN}"), "{code}");
        }
        let named = Told {
            message: "null value in column \"a\" of relation \"x\" violates not-null constraint",
            table: Some("x"),
            column: Some("a"),
            ..error("23502")
        };
        assert!(error_of(&named, at, false).detail().contains("of relation \"x\" violates"));
    }

    #[test]
    fn a_query_that_no_transaction_may_hold_says_what_to_declare() {
        for code in ["25001", "2D000"] {
            let told = error_of(&error(code), at(Doing::Write, false), false);
            assert_eq!(told.fault(), Fault::QueryFailed);
            assert!(told.message().contains("`-- transaction: none`"), "{told}");
        }
    }
}
