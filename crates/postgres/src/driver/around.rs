//! The transaction around a statement of the driver's, which knows nothing of it: what is said in front of the statement and
//! behind it, and which of the server's answers are to that.

use bytes::BytesMut;
use lambda_rds_core::backend::{Access, Alone, Statement};
use lambda_rds_core::error::Result;

use super::{Turn, hash};
use crate::classify::Doing;
use crate::messages::{
    BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, ERROR, NOTICE, NOTIFICATION, Notice, PARAMETER_STATUS,
    READY, Rest,
};
use crate::session::{Control, Pg, Refused, Unit, committed, said_once};

/// What is around one statement.
///
/// The beginning goes in front of whatever the driver says first, so that even that is said for the caller. COMMIT goes
/// behind the statement only where the driver says nothing else until its next Sync: what it asks of the catalog in between
/// would else be taken for the statement, which would then run outside.
#[derive(Debug)]
pub(super) struct Around {
    /// What is said first, until it is.
    front: Option<BytesMut>,
    /// What that consists of, and how many of those have been answered.
    units: Vec<Unit>,
    answered: usize,
    /// Whether the values of the next one have been read.
    bound: bool,
    before: Vec<Statement>,
    /// The statement behind which COMMIT is said, by the hash of its text, and that.
    last: Option<(u64, BytesMut)>,
    commit: Commit,
    refused: Option<Refused>,
    /// An error has come: nothing more is answered, but the Sync.
    over: bool,
}

/// How far COMMIT is.
#[derive(Debug, PartialEq, Eq)]
enum Commit {
    Unsaid,
    /// The driver's answers come before its own.
    Said,
    Next,
    /// It was answered with this.
    Answered(String),
}

impl Around {
    /// # Errors
    /// What of it cannot be sent.
    pub(super) fn new(protocol: &mut Pg, alone: &Alone) -> Result<Self> {
        let Alone { access, before, statement } = alone;
        protocol.doing = if *access == Access::Read { Doing::Read } else { Doing::Write };
        let mut front = BytesMut::new();
        let mut units = Vec::new();
        for control in protocol.beginning(*access) {
            said_once(&protocol.text(control), &[], &mut front)?;
            units.push(Unit::Control(control));
        }
        for (at, Statement { sql, arguments }) in before.iter().enumerate() {
            said_once(sql, arguments, &mut front)?;
            units.push(Unit::Step(at));
        }
        let last = match access {
            // Sent when every answer before it is known.
            Access::Write => None,
            Access::Read => {
                let mut commit = BytesMut::new();
                said_once(&protocol.text(Control::Commit), &[], &mut commit)?;
                Some((hash(&statement.sql), commit))
            }
        };
        Ok(Self {
            front: Some(front),
            units,
            answered: 0,
            bound: false,
            before: before.clone(),
            last,
            commit: Commit::Unsaid,
            refused: None,
            over: false,
        })
    }

    /// Says what belongs in front of a message of the driver's, which has said this before it.
    pub(super) fn before(&mut self, kind: u8, turn: &Turn, out: &mut BytesMut) {
        match kind {
            // A question about types. It stands for itself, since behind a failure before it nobody would answer it.
            b'Q' => {}
            b'S' if self.commit == Commit::Unsaid
                && let Some((statement, commit)) = &self.last
                && turn.runs(*statement) =>
            {
                out.extend_from_slice(commit);
                self.commit = Commit::Said;
            }
            _ => out.extend_from_slice(&self.front.take().unwrap_or_default()),
        }
    }

    /// Whether a message of this kind, that the server says now, is for the driver.
    pub(super) fn is_drivers(&self, kind: u8) -> bool {
        match kind {
            NOTICE | NOTIFICATION | PARAMETER_STATUS | ERROR | READY => true,
            _ => !self.is_ours(),
        }
    }

    fn is_ours(&self) -> bool {
        !self.over
            && (self.front.is_none() && self.answered < self.units.len() || self.commit == Commit::Next)
    }

    /// Takes in a message of the server's.
    pub(super) fn heard(&mut self, kind: u8, body: &[u8]) {
        match kind {
            ERROR => {
                if self.is_ours()
                    && let Some(unit) = self.units.get(self.answered)
                {
                    self.refused =
                        Some(Refused { unit: *unit, bound: self.bound, notice: Notice::parse(body) });
                }
                self.over = true;
            }
            BIND_COMPLETE => self.bound = true,
            COMMAND_COMPLETE if self.is_ours() => {
                self.bound = false;
                if self.answered < self.units.len() {
                    self.answered += 1;
                } else {
                    self.commit = Commit::Answered(Rest(body).string().unwrap_or_default());
                }
            }
            CLOSE_COMPLETE if self.commit == Commit::Said => self.commit = Commit::Next,
            _ => {}
        }
    }

    /// What came of it.
    ///
    /// # Errors
    /// What the server has refused of it.
    pub(super) fn outcome(self, protocol: &mut Pg) -> Result<()> {
        if let Some(refused) = &self.refused {
            return Err(protocol.refusal(refused, &self.before.iter().collect::<Vec<_>>(), false));
        }
        match &self.commit {
            Commit::Answered(tag) => committed(tag),
            Commit::Unsaid | Commit::Said | Commit::Next => Ok(()),
        }
    }
}
