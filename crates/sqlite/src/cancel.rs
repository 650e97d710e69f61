//! Stopping a statement.
//!
//! SQLite runs inside this process, on a thread of sqlx's, and asks us every few microseconds whether to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::CancelHandle;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Result;

/// How many of SQLite's instructions run between two questions: some 10 µs, so that asking costs nothing.
pub(crate) const INSTRUCTIONS: i32 = 1_000;

/// Whether the statement of one session may go on.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    cancelled: AtomicBool,
    until: std::sync::Mutex<Option<Deadline>>,
}

impl Watch {
    /// Lets the next statement run this long.
    pub(crate) fn arm(&self, span: Duration) {
        self.set(Some(Deadline::after(span)));
    }

    /// Takes the limit away.
    pub(crate) fn disarm(&self) {
        self.set(None);
    }

    /// Stops what runs, for good: a cancel that comes late must not be forgotten, nor hit a later call's
    /// statement, so the session takes no other one.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether [`Watch::cancel`] was called.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// SQLite's question, asked on its thread.
    pub(crate) fn go_on(&self) -> bool {
        !self.cancelled() && !self.limit().is_some_and(Deadline::passed)
    }

    fn set(&self, until: Option<Deadline>) {
        *self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }

    fn limit(&self) -> Option<Deadline> {
        *self.until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Cancels from outside the session.
#[derive(Debug)]
pub(crate) struct Canceller(pub(crate) Arc<Watch>);

impl CancelHandle for Canceller {
    fn cancel(&self, _by: Deadline) -> BoxFuture<'_, Result<()>> {
        self.0.cancel();
        Box::pin(std::future::ready(Ok(())))
    }
}
