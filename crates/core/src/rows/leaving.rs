//! A body that leaves while it is written, and what it ends with when it has failed.

use std::time::{Duration, Instant};

use super::compress;
use crate::error::Result;
use crate::form::Form;
use crate::stream::{Head, Outlet};

/// The way out of a body.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    /// Who takes it; nobody does where the head is all that is wanted.
    pub(crate) outlet: Option<Outlet>,
    pub(crate) head: Head,
    /// Whether it may yet fail or be undone when it has rows: then more is held back before anything leaves.
    pub(crate) held: bool,
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Leaving {
    exit: Exit,
    /// Nothing leaves before there is so much.
    pub(super) hold: usize,
    /// When something has left last.
    last: Option<Instant>,
}

impl Leaving {
    pub(super) fn new(exit: Exit, compressed: bool) -> Self {
        let hold = match (exit.held, compressed) {
            (true, _) => HELD,
            (false, true) => compress::LEAST,
            (false, false) => 1,
        };
        Self { exit, hold, last: None }
    }

    pub(super) fn begun(&self) -> bool {
        self.exit.outlet.as_ref().is_some_and(Outlet::begun)
    }

    /// Whether so much that waits may leave.
    pub(super) fn may(&self, waiting: usize) -> bool {
        waiting > 0 && (self.last.is_some() || waiting >= self.hold)
    }

    /// Whether a reader has waited for so long that even what gains by being held back is to leave.
    pub(super) fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= DUE)
    }

    pub(super) async fn send(&mut self, bytes: Vec<u8>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(outlet) = &self.exit.outlet {
            outlet.send(&self.exit.head, bytes).await?;
        }
        self.last = Some(Instant::now());
        Ok(())
    }

    /// For a run that starts over; nothing has left.
    pub(super) fn clear(&mut self) {
        self.last = None;
    }
}

/// What a body ends with that has failed. JSON is left open. A line of CSV begins with a quote that nobody closes, so that
/// a reader which takes the file for whole does so against its own grammar (RFC 4180).
pub(super) fn last_words(form: Form, error: &str) -> Vec<u8> {
    match form {
        Form::Json => Vec::new(),
        Form::Ndjson => format!("{error}\n").into_bytes(),
        Form::Csv => format!("\"{}", error.replace('"', "\"\"")).into_bytes(),
    }
}

/// So much of a write or a list is held back: one that is small has its status when it has been committed.
const HELD: usize = 64 * 1024;
/// What a compressor holds back waits no longer than this, while rows come.
const DUE: Duration = Duration::from_millis(50);
