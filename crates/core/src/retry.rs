//! When a statement runs a second time. One place, one rule:
//!
//! A statement runs again only if it is a read, or if it provably never reached the server, or if the server
//! provably undid or refused it, or if it has an idempotency key, which tells whether it was done ([`crate::once`]).
//!
//! [`decide`] is that rule as a function of the fault, what the statement does, and how far it had come;
//! [`truth_table`] prints it, and `docs/reference/retries.md` is that print.

use std::fmt::Write as _;
use std::time::Duration;

use crate::backend::Access;
use crate::error::Fault;

/// How far a statement, or the transaction around it, had come when a fault was met. The further it has come, the
/// less can be undone: the greatest that was reached counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// Nothing of it reached the server.
    Unsent,
    /// A read was sent.
    Sent,
    /// Inside a transaction whose COMMIT has not been sent: without one, the server undoes it.
    InTransaction,
    /// Inside a transaction that has an idempotency key, whether or not its COMMIT has been sent: the key stands in the
    /// transaction itself, so whoever runs it again finds out whether it was committed.
    Keyed,
    /// COMMIT was sent.
    Committing,
    /// A write was sent that commits by itself, or that no rollback undoes: outside a transaction, or in one.
    Autocommitted,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// It is reported, as this fault.
    Fail(Fault),
    /// The whole call runs again on the same session, after a back-off.
    Again {
        /// How many times at most.
        times: u32,
    },
    /// The whole call runs again on a fresh session.
    Reconnect {
        /// How many times at most.
        times: u32,
    },
}

/// Decides what follows from a fault. The caller counts the times and minds the deadline.
///
/// A fault that the server *answered* COMMIT with proves the transaction undone and counts as itself; only a
/// connection lost, or a server gone, leaves the outcome unknown.
#[must_use]
pub fn decide(fault: Fault, access: Access, progress: Progress) -> Next {
    let undecided =
        access == Access::Write && matches!(progress, Progress::Committing | Progress::Autocommitted);
    match fault {
        // The last two are a pooler's words: a server answers COMMIT with neither.
        Fault::ConnectionLost | Fault::ServerUnavailable | Fault::Unreachable | Fault::TooManyConnections
            if undecided =>
        {
            Next::Fail(Fault::OutcomeUnknown)
        }
        // Outside a transaction a statement may have committed half of its work by itself: a procedure's COMMIT,
        // the parts of CREATE INDEX CONCURRENTLY. So it is not run again, and being stopped does not undo it.
        Fault::Timeout if progress == Progress::Autocommitted => Next::Fail(Fault::OutcomeUnknown),
        Fault::NotTheWriter | Fault::Conflict | Fault::LockTimeout if progress == Progress::Autocommitted => {
            Next::Fail(fault)
        }
        Fault::ConnectionLost => Next::Reconnect { times: 1 },
        Fault::ServerUnavailable => Next::Reconnect { times: 3 },
        // A read-only server refuses a write before anything happens.
        Fault::NotTheWriter => Next::Reconnect { times: 3 },
        // The server undid the whole transaction, and says so.
        Fault::Conflict => Next::Again { times: 3 },
        Fault::LockTimeout => Next::Again { times: 1 },
        // Opening a session has its own rule: see [`reopen`]. By the time a statement meets one of these, that
        // rule is spent.
        Fault::CredentialsRejected | Fault::TooManyConnections | Fault::Unreachable | Fault::Resuming => {
            Next::Fail(fault)
        }
        Fault::BadEvent
        | Fault::BadParameter
        | Fault::UnknownQuery
        | Fault::MethodNotAllowed
        | Fault::NotAcceptable
        | Fault::UnsupportedMediaType
        | Fault::Unauthenticated
        | Fault::Forbidden
        | Fault::NotFound
        | Fault::NotUnique
        | Fault::ResultTooLarge
        | Fault::OutcomeUnknown
        | Fault::DoneUnread
        | Fault::Constraint
        | Fault::Timeout
        | Fault::Rejected
        | Fault::KeyReused
        // Whatever it was for, nobody waits for it any more.
        | Fault::ClientClosedRequest
        | Fault::QueryFailed
        | Fault::Internal => Next::Fail(fault),
    }
}

/// Whether a session that could not be opened is tried again inside the deadline, and how many times at most.
///
/// Nothing was sent, so nothing can be done twice: the only question is whether it can help.
#[must_use]
pub fn reopen(fault: Fault) -> u32 {
    match fault {
        // A slot may come free any moment; the deadline ends it.
        Fault::TooManyConnections | Fault::ServerUnavailable | Fault::Resuming => u32::MAX,
        Fault::NotTheWriter => 3,
        Fault::ConnectionLost | Fault::Unreachable => 1,
        _ => 0,
    }
}

/// How long to wait before try number `attempt`, counted from 0: a random time below a ceiling that doubles
/// from 25 ms to 1 s ("full jitter"), so that a fleet that failed together does not come back together.
#[must_use]
pub fn backoff(attempt: u32) -> Duration {
    const FIRST_MS: u64 = 25;
    const CEILING_MS: u64 = 1_000;
    let ceiling = FIRST_MS.saturating_mul(1 << attempt.min(10)).min(CEILING_MS);
    Duration::from_millis(fastrand::u64(0..=ceiling))
}

/// The whole rule as a Markdown table.
#[must_use]
pub fn truth_table() -> String {
    const FAULTS: [Fault; 13] = [
        Fault::ConnectionLost,
        Fault::ServerUnavailable,
        Fault::NotTheWriter,
        Fault::Conflict,
        Fault::LockTimeout,
        Fault::Timeout,
        Fault::Constraint,
        Fault::Rejected,
        Fault::QueryFailed,
        Fault::CredentialsRejected,
        Fault::TooManyConnections,
        Fault::Unreachable,
        Fault::Resuming,
    ];
    const STATES: [(&str, Access, Progress); 7] = [
        ("read, unsent", Access::Read, Progress::Unsent),
        ("read, sent", Access::Read, Progress::Sent),
        ("write, unsent", Access::Write, Progress::Unsent),
        ("write, in transaction", Access::Write, Progress::InTransaction),
        ("write, COMMIT sent", Access::Write, Progress::Committing),
        ("write with a key, COMMIT sent or not", Access::Write, Progress::Keyed),
        ("write that commits by itself, sent", Access::Write, Progress::Autocommitted),
    ];
    let mut table = String::from("| fault |");
    for (name, ..) in STATES {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(STATES.len()));
    table.push('\n');
    for fault in FAULTS {
        let _ = write!(table, "| {fault:?} |");
        for (_, access, progress) in STATES {
            let cell = match decide(fault, access, progress) {
                Next::Fail(as_fault) => format!("{} `{}`", as_fault.status(), as_fault.code()),
                Next::Again { times } => format!("again, {times}× at most"),
                Next::Reconnect { times } => format!("reconnect, again, {times}× at most"),
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_write_runs_again_only_while_commit_has_not_been_sent() {
        let check = |fault, progress, want| assert_eq!(decide(fault, Access::Write, progress), want);
        for lost in [Fault::ConnectionLost, Fault::ServerUnavailable] {
            check(lost, Progress::Committing, Next::Fail(Fault::OutcomeUnknown));
            check(lost, Progress::Autocommitted, Next::Fail(Fault::OutcomeUnknown));
            for safe in [Progress::Unsent, Progress::InTransaction, Progress::Keyed] {
                assert!(matches!(decide(lost, Access::Write, safe), Next::Reconnect { .. }));
            }
            assert!(matches!(decide(lost, Access::Read, Progress::Sent), Next::Reconnect { .. }));
        }
        check(Fault::Conflict, Progress::Committing, Next::Again { times: 3 });
        check(Fault::Conflict, Progress::Autocommitted, Next::Fail(Fault::Conflict));
        check(Fault::Timeout, Progress::InTransaction, Next::Fail(Fault::Timeout));
    }

    #[test]
    fn with_a_key_nothing_is_unknown() {
        for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::OutcomeUnknown) {
            let next = decide(fault, Access::Write, Progress::Keyed);
            assert_ne!(next, Next::Fail(Fault::OutcomeUnknown), "{fault:?}");
        }
    }

    #[test]
    fn what_cannot_be_undone_stays_so() {
        let steps = [Progress::Unsent, Progress::Keyed, Progress::Autocommitted, Progress::Committing];
        assert_eq!(steps.into_iter().max(), Some(Progress::Autocommitted));
        assert_eq!(Progress::Sent.max(Progress::InTransaction), Progress::InTransaction);
    }

    #[test]
    fn the_published_truth_table_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/retries.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(&truth_table()), "put this into docs/reference/retries.md:\n{}", truth_table());
    }

    #[test]
    fn the_back_off_stays_below_its_ceiling() {
        for attempt in 0..40 {
            assert!(backoff(attempt) <= Duration::from_secs(1));
        }
    }
}
