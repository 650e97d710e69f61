//! What went wrong, as a script reads it (the exit code) and as a person does.

use std::process::ExitCode;

use lambda_rds::error::{Error, Fault};
use lambda_rds::reply::error_text;

/// The end of `--help`. It says what [`Failure::code`] does.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  the call succeeded
  1  the query or the function failed, or `check` found an error
  2  the call is wrong: the command line, the query's name, a parameter
  3  the set-up is wrong: a setting, a query file
  4  the database cannot be reached, is busy, or took too long: later it may work
  5  the data says no: no row, a constraint, the query's own refusal, too many rows";

/// Why the command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that does not fit together.
    Usage(String),
    /// A setting or a query file is wrong, or this machine is in the way.
    Setup(String),
    /// The call failed.
    Call {
        /// Why.
        error: Error,
        /// What its log line is found by.
        request_id: String,
        /// Whether machines read what we print.
        json: bool,
    },
    /// The database could not be asked.
    Database {
        /// Why.
        fault: Fault,
        /// The same in words.
        reason: String,
        /// Whether machines read what we print.
        json: bool,
    },
    /// The function raised an error instead of replying.
    Raised(String),
    /// The function replied with this status, and the reply has been printed.
    Status(u16),
    /// The walk of `doctor` ended at a step that failed, and has been printed.
    Diagnosed {
        /// Whether it was the settings that failed.
        settings: bool,
    },
    /// The function's reply, which has no status, tells of a failure, and has been printed.
    Told,
}

impl Failure {
    /// The database could not be asked.
    pub(crate) fn unreached(error: &Error, json: bool) -> Self {
        Self::Database { fault: error.fault(), reason: error.to_string(), json }
    }

    /// Tells the user, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(reason) | Self::Setup(reason) | Self::Raised(reason) => note(reason),
            Self::Call { error, request_id, json } => {
                tell(&error_text(error, request_id));
                if !json && !error.detail().is_empty() {
                    let code = error.sqlstate().map(|code| format!(" [{code}]")).unwrap_or_default();
                    note(&format!("{}{code}", error.detail()));
                }
            }
            Self::Database { fault, reason, json: true } => {
                tell(&serde_json::json!({"error": {"code": fault.code(), "message": reason}}).to_string());
            }
            Self::Database { reason, .. } => note(reason),
            Self::Status(_) | Self::Told | Self::Diagnosed { .. } => {}
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Setup(_) => 3,
            Self::Call { error, .. } => of_fault(error.fault()),
            Self::Database { fault, .. } => of_fault(*fault),
            Self::Raised(_) => 1,
            Self::Status(404 | 409 | 413 | 422) => 5,
            Self::Status(400..=499) => 2,
            Self::Status(503 | 504) => 4,
            Self::Diagnosed { settings: true } => 2,
            Self::Status(_) | Self::Told | Self::Diagnosed { settings: false } => 1,
        }
    }
}

/// Says something to the person at the terminal.
pub(crate) fn note(text: &str) {
    tell(&format!("lambda-rds: {text}"));
}

/// Writes a line to stderr.
#[expect(clippy::print_stderr, reason = "the only place where the command speaks to people")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

fn of_fault(fault: Fault) -> u8 {
    match fault {
        Fault::BadEvent
        | Fault::BadParameter
        | Fault::UnknownQuery
        | Fault::MethodNotAllowed
        | Fault::NotAcceptable
        | Fault::UnsupportedMediaType
        | Fault::Unauthenticated
        | Fault::Forbidden => 2,
        Fault::CredentialsRejected
        | Fault::TooManyConnections
        | Fault::ServerUnavailable
        | Fault::ConnectionLost
        | Fault::NotTheWriter
        | Fault::Unreachable
        | Fault::Resuming
        | Fault::Conflict
        | Fault::LockTimeout
        | Fault::Timeout => 4,
        Fault::NotFound | Fault::Constraint | Fault::Rejected | Fault::KeyReused | Fault::ResultTooLarge => 5,
        Fault::NotUnique
        | Fault::OutcomeUnknown
        | Fault::DoneUnread
        | Fault::ClientClosedRequest
        | Fault::QueryFailed
        | Fault::Internal => 1,
    }
}
