//! What can go wrong, what the caller is told, and what the log is told.
//!
//! A [`Fault`] is the kind of a failure: one row of the contract's table. What follows from a kind (status,
//! code, whether a caller may try again) is decided here and nowhere else; engines only classify.

pub mod quotes;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The event has a shape that we do not serve, or its body cannot be read.
    BadEvent,
    /// A parameter is missing, unknown, of another type, out of bounds, or refused by the database as a value.
    BadParameter,
    /// There is no query of that name, or none that may be called this way.
    UnknownQuery,
    /// The query exists, but not for this HTTP method.
    MethodNotAllowed,
    /// The caller takes the result in no form that there is.
    NotAcceptable,
    /// The body of an HTTP request is not JSON.
    UnsupportedMediaType,
    /// Something comes from the caller's verified identity, and there is none.
    Unauthenticated,
    /// What the caller's identity says is outside what the query lets in: a role, a schema.
    Forbidden,
    /// A `:one` query found no row.
    NotFound,
    /// A `:one` query found more than one row.
    NotUnique,
    /// The encoded reply would be larger than the event source takes, or than the query's `max_rows`.
    ResultTooLarge,
    /// The database rejected user or password.
    CredentialsRejected,
    /// The server has no connection left for us.
    TooManyConnections,
    /// The server is starting up or shutting down.
    ServerUnavailable,
    /// The connection broke, and nothing was written or the statement may run again.
    ConnectionLost,
    /// The connection broke after a write may have taken effect; nobody knows whether it did.
    OutcomeUnknown,
    /// A statement that commits by itself has been done, and its result cannot be given: it has too many rows, or too few,
    /// or is too large.
    DoneUnread,
    /// A write reached a server that is read-only: not, or no longer, the writer.
    NotTheWriter,
    /// The server could not be reached, or refused to speak: see the phase.
    Unreachable,
    /// The database was paused and is resuming.
    Resuming,
    /// A deadlock or a serialization failure; the server undid the whole transaction.
    Conflict,
    /// A lock was not granted in time.
    LockTimeout,
    /// A constraint of the schema refused the data.
    Constraint,
    /// The statement ran longer than it may, and was cancelled.
    Timeout,
    /// The query's author raised this error for the caller (`RAISE EXCEPTION`, `SIGNAL`).
    Rejected,
    /// The idempotency key was sent before with other parameters.
    KeyReused,
    /// Whoever took the reply, a stream, has left in the middle of it. Nobody is told but the log.
    ClientClosedRequest,
    /// The query itself is wrong.
    QueryFailed,
    /// A bug of ours.
    Internal,
}

impl Fault {
    /// All of them, in the order of their statuses.
    pub const ALL: [Self; 29] = [
        Self::BadEvent,
        Self::BadParameter,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::UnknownQuery,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Conflict,
        Self::LockTimeout,
        Self::Constraint,
        Self::ResultTooLarge,
        Self::UnsupportedMediaType,
        Self::Rejected,
        Self::KeyReused,
        Self::ClientClosedRequest,
        Self::NotUnique,
        Self::OutcomeUnknown,
        Self::DoneUnread,
        Self::QueryFailed,
        Self::Internal,
        Self::CredentialsRejected,
        Self::TooManyConnections,
        Self::ServerUnavailable,
        Self::ConnectionLost,
        Self::NotTheWriter,
        Self::Unreachable,
        Self::Resuming,
        Self::Timeout,
    ];

    /// The HTTP status that this fault is replied with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadEvent | Self::BadParameter => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::UnknownQuery | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::Conflict | Self::LockTimeout | Self::Constraint => 409,
            Self::ResultTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Rejected | Self::KeyReused => 422,
            // No registered status is about this. It is nginx's.
            Self::ClientClosedRequest => 499,
            Self::NotUnique
            | Self::OutcomeUnknown
            | Self::DoneUnread
            | Self::QueryFailed
            | Self::Internal => 500,
            Self::CredentialsRejected
            | Self::TooManyConnections
            | Self::ServerUnavailable
            | Self::ConnectionLost
            | Self::NotTheWriter
            | Self::Unreachable
            | Self::Resuming => 503,
            Self::Timeout => 504,
        }
    }

    /// The stable word that callers match on: `error.code` of the body, and the error type when raised.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BadEvent => "bad_event",
            Self::BadParameter => "bad_parameter",
            Self::UnknownQuery => "unknown_query",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotAcceptable => "not_acceptable",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::NotUnique => "not_unique",
            Self::ResultTooLarge => "result_too_large",
            Self::CredentialsRejected => "credentials_rejected",
            Self::TooManyConnections => "database_busy",
            Self::ServerUnavailable => "database_unavailable",
            Self::ConnectionLost => "connection_lost",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::DoneUnread => "done_unread",
            Self::NotTheWriter => "failing_over",
            Self::Unreachable => "unreachable",
            Self::Resuming => "resuming",
            Self::Conflict | Self::LockTimeout => "conflict",
            Self::Constraint => "constraint",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::KeyReused => "idempotency_key_reused",
            Self::ClientClosedRequest => "client_closed_request",
            Self::QueryFailed => "query_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call, made again later and unchanged, may succeed without harm.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::CredentialsRejected
            | Self::TooManyConnections
            | Self::ServerUnavailable
            | Self::ConnectionLost
            | Self::NotTheWriter
            | Self::Unreachable
            | Self::Resuming
            | Self::Conflict
            | Self::LockTimeout
            | Self::Timeout => true,
            Self::BadEvent
            | Self::BadParameter
            | Self::UnknownQuery
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::UnsupportedMediaType
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::NotUnique
            | Self::ResultTooLarge
            | Self::OutcomeUnknown
            | Self::DoneUnread
            | Self::Constraint
            | Self::Rejected
            | Self::KeyReused
            | Self::ClientClosedRequest
            | Self::QueryFailed
            | Self::Internal => false,
        }
    }

    /// Whether a reply may have it: not, where there is nobody left to read one.
    #[must_use]
    pub fn is_told(self) -> bool {
        self != Self::ClientClosedRequest
    }

    /// When a caller may try again, for faults that pass by themselves: the `Retry-After` of their replies.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        matches!(self, Self::TooManyConnections | Self::Resuming).then_some(Duration::from_secs(1))
    }

    /// What the caller is told where nothing more precise is known: what to do, and nothing about the inside.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::BadEvent => "The event has no shape that this function serves.",
            Self::BadParameter => "A parameter has a value that the database does not take.",
            Self::UnknownQuery => "There is no such query.",
            Self::MethodNotAllowed => "This query cannot be called with this method.",
            Self::NotAcceptable => "The result is in no form that the `Accept` header takes.",
            Self::UnsupportedMediaType => "Send the parameters as application/json.",
            Self::Unauthenticated => "This query needs an authenticated caller.",
            Self::Forbidden => "This query is not for this caller.",
            Self::NotFound => "No row matches.",
            Self::NotUnique => "More than one row matches a query that returns one.",
            Self::ResultTooLarge => {
                "The result is larger than a reply can be. Ask for fewer rows, for example page by page."
            }
            Self::CredentialsRejected => "The database does not accept this function. Try again later.",
            Self::TooManyConnections => "The database is busy. Try again later.",
            Self::ServerUnavailable => "The database is restarting. Try again later.",
            Self::ConnectionLost => "The connection to the database broke. Try again.",
            Self::OutcomeUnknown => {
                "The connection broke while the change was being made, and it may or may not have happened. \
                 Look before you send it again."
            }
            Self::DoneUnread => {
                "The statement has been done, and its result cannot be given. Do not send it again."
            }
            Self::NotTheWriter => "The database is changing its writer. Try again later.",
            Self::Unreachable => "The database cannot be reached. Try again later.",
            Self::Resuming => "The database is waking up. Try again later.",
            Self::Conflict | Self::LockTimeout => "Another change was in the way. Try again.",
            Self::Constraint => "The change would break a rule of the data.",
            Self::Timeout => "The query took too long and was stopped.",
            Self::Rejected => "The database rejected the call.",
            Self::KeyReused => {
                "This idempotency key was sent before with other parameters. Send a new key with a new request."
            }
            Self::ClientClosedRequest => "Whoever took the reply has left in the middle of it.",
            Self::QueryFailed => "The query failed. Its author finds the reason in the function's log.",
            Self::Internal => "The function failed. Its owner finds the reason in the function's log.",
        }
    }
}

/// How far a connection had come when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Reading user and password.
    Credentials,
    /// Looking up the host's addresses.
    Resolve,
    /// Opening the TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// Logging in.
    Auth,
    /// After the login, until the session took its first statement.
    Ready,
    /// Running a statement.
    Query,
}

impl Phase {
    /// The phase's name in the log and in diagnose.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Resolve => "resolve",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Ready => "ready",
            Self::Query => "query",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure: its kind, one message for the caller and one for the log.
///
/// `Display` gives what a log may have of the message for the caller, followed by the detail for the log, so it
/// belongs in a log and not in a reply. Neither holds a secret.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    fault: Fault,
    message: Cow<'static, str>,
    /// Whether the message is the query author's own text, which may quote values.
    quoted: bool,
    detail: String,
    phase: Option<Phase>,
    sqlstate: Option<String>,
    step: Option<usize>,
    refused: bool,
    #[cfg_attr(
        not(feature = "sea-orm"),
        expect(dead_code, reason = "only sea-orm's errors come unclassified")
    )]
    unclassified: bool,
    retry_after: Option<Duration>,
    allow: Option<String>,
    hint: Option<Cow<'static, str>>,
}

#[cfg(feature = "sea-orm")]
impl Error {
    /// A driver's failure whose kind has not been found out.
    pub(crate) fn unclassified(detail: impl Into<String>) -> Self {
        let mut error = Self::new(Fault::QueryFailed, detail);
        error.0.unclassified = true;
        error
    }

    /// Whether nobody has found out its kind yet.
    pub(crate) fn is_unclassified(&self) -> bool {
        self.0.unclassified
    }
}

impl Error {
    /// A failure whose message for the caller is the fault's own advice; `detail` is for the log.
    #[must_use]
    pub fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            fault,
            message: Cow::Borrowed(fault.advice()),
            quoted: false,
            detail: detail.into(),
            phase: None,
            sqlstate: None,
            step: None,
            refused: false,
            unclassified: false,
            retry_after: None,
            allow: None,
            hint: None,
        }))
    }

    /// A failure that the caller can mend: `message` is what the caller reads, and the log too.
    #[must_use]
    pub fn told(fault: Fault, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(fault, "");
        error.0.message = message.into();
        error
    }

    /// A failure that the query's author tells the caller of: `message` is what the caller reads. The log has it
    /// only as part of a detail, since it may quote a value.
    #[must_use]
    pub fn quoted(fault: Fault, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::told(fault, message);
        error.0.quoted = true;
        error
    }

    /// The same failure with something more for the log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// The same failure, met in this phase.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.0.phase = Some(phase);
        self
    }

    /// The same failure with the server's own code (SQLSTATE or errno).
    #[must_use]
    pub fn with_sqlstate(mut self, code: impl Into<String>) -> Self {
        self.0.sqlstate = Some(code.into());
        self
    }

    /// The same failure, where the server provably did not begin to run the statement, whatever the kind leaves
    /// open.
    #[must_use]
    pub fn as_refused(mut self) -> Self {
        self.0.refused = true;
        self
    }

    /// The same failure, met in this step of a transaction or batch, counted from 0.
    #[must_use]
    pub fn at_step(mut self, step: usize) -> Self {
        self.0.step = Some(step);
        self
    }

    /// The same failure, with the time after which a caller may try again (`Retry-After`).
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// The same failure, with the methods that would do (`Allow`), as the header is written.
    #[must_use]
    pub fn with_allow(mut self, methods: impl Into<String>) -> Self {
        self.0.allow = Some(methods.into());
        self
    }

    /// The same failure with what its owner should change, for diagnose: one thing, named.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same failure under another kind, with that kind's advice; the detail stays.
    #[must_use]
    pub fn into_fault(mut self, fault: Fault) -> Self {
        self.0.fault = fault;
        self.0.message = Cow::Borrowed(fault.advice());
        self.0.quoted = false;
        self
    }

    /// The kind.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// What the caller is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the log is told of that: the same, unless it may quote a value.
    #[must_use]
    pub fn logged(&self) -> &str {
        if self.0.quoted { self.0.fault.advice() } else { self.message() }
    }

    /// What the log is told besides; may name hosts, users and SQL, never a secret.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// How far the connection had come.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The server's own code.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// The failing step of a transaction or batch, counted from 0.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        self.0.step
    }

    /// Whether the server provably did not begin to run the statement.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.refused
    }

    /// When a caller may try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after.or(self.0.fault.retry_after())
    }

    /// What its owner should change, where that is known at the place of the failure.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The methods that would do, for a [`Fault::MethodNotAllowed`].
    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        self.0.allow.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.fault.code(), self.logged())?;
        if let Some(phase) = self.0.phase {
            write!(f, " [phase {phase}]")?;
        }
        if let Some(code) = &self.0.sqlstate {
            write!(f, " [{code}]")?;
        }
        if !self.0.detail.is_empty() {
            write!(f, " ({})", self.0.detail)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
