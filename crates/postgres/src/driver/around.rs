//! The transaction around a statement of the driver's, which knows nothing of it: what is said in front of the statement and
//! behind it, and which of the server's answers are to that.

use std::sync::Arc;

use bytes::BytesMut;
use lambda_rds_core::backend::{Access, Alone, Statement};
use lambda_rds_core::error::Result;

use super::Turn;
use crate::classify::Doing;
use crate::messages::{
    BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, ERROR, NOTICE, NOTIFICATION, Notice, PARAMETER_STATUS,
    READY, Rest,
};
use crate::session::{Control, Pg, Refused, Unit, committed};

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
    /// What of our own has a name by now, where names may live.
    named: Vec<Unit>,
    before: Vec<Statement>,
    /// The name of each of those.
    names: Vec<Arc<str>>,
    /// The text of the statement behind which COMMIT is said, and that.
    last: Option<(String, BytesMut)>,
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
            protocol.encode_control(&mut front, control)?;
            units.push(Unit::Control(control));
        }
        let mut names = Vec::with_capacity(before.len());
        for (at, statement) in before.iter().enumerate() {
            names.push(protocol.encode_around(&mut front, statement)?);
            units.push(Unit::Step(at));
        }
        let last = match access {
            // Sent when every answer before it is known.
            Access::Write => None,
            Access::Read => {
                let mut commit = BytesMut::new();
                protocol.encode_control(&mut commit, Control::Commit)?;
                Some((statement.sql.clone(), commit))
            }
        };
        Ok(Self {
            front: Some(front),
            units,
            answered: 0,
            bound: false,
            named: Vec::new(),
            before: before.clone(),
            names,
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
                && turn.runs(statement) =>
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
            BIND_COMPLETE if self.is_ours() => {
                self.bound = true;
                let unit = self.units.get(self.answered).copied();
                self.named.push(unit.unwrap_or(Unit::Control(Control::Commit)));
            }
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
        for unit in &self.named {
            match unit {
                Unit::Control(control) => protocol.named(*control),
                Unit::Step(at) => protocol.named_around(&self.before[*at], &self.names[*at]),
                _ => {}
            }
        }
        if let Some(refused) = &self.refused {
            return Err(protocol.refusal(refused, &self.before.iter().collect::<Vec<_>>(), false));
        }
        match &self.commit {
            Commit::Answered(tag) => committed(tag),
            Commit::Unsaid | Commit::Said | Commit::Next => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lambda_rds_core::connect::door::Follower as _;

    use super::super::Reader;
    use super::super::tests::reader;
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    /// Messages of these kinds; a body where one is read.
    fn messages(all: &[(u8, &[u8])]) -> Vec<u8> {
        all.iter().flat_map(|(kind, body)| message(*kind, body)).collect()
    }

    fn around(read: bool) -> Around {
        Around {
            front: Some(BytesMut::from(&message(b'P', b"\0the front\0\0\0")[..])),
            units: vec![Unit::Control(Control::BeginRead), Unit::Step(0)],
            answered: 0,
            bound: false,
            named: Vec::new(),
            before: Vec::new(),
            names: Vec::new(),
            last: read
                .then(|| ("SELECT 1".to_owned(), BytesMut::from(&message(b'P', b"\0COMMIT\0\0\0")[..]))),
            commit: Commit::Unsaid,
            refused: None,
            over: false,
        }
    }

    /// What goes to the server and what comes to the driver of a turn, however it is cut.
    fn turn(read: bool, said: &[(u8, &[u8])], heard: &[(u8, &[u8])]) -> (Vec<u8>, Vec<u8>, Reader) {
        let (said, heard) = (messages(said), messages(heard));
        let run = |step: usize| {
            let mut reader = Reader { around: Some(around(read)), ..reader() };
            reader.named.extend([
                (b"s".to_vec(), (*b"SELECT 1\0\0\0").into()),
                (b"t".to_vec(), (*b"SELECT 2\0\0\0").into()),
            ]);
            let (mut out, mut back) = (BytesMut::new(), Vec::new());
            said.chunks(step).for_each(|piece| reader.sent(piece, &mut out));
            assert_eq!(reader.owed, 1);
            heard.chunks(step).for_each(|piece| reader.heard(piece, &mut back));
            assert_eq!(reader.owed, 0);
            (out.to_vec(), back, reader)
        };
        let whole = run(usize::MAX);
        for step in 1..40 {
            let (out, back, reader) = run(step);
            assert_eq!((&out, &back), (&whole.0, &whole.1), "{step}");
            assert_eq!(format!("{:?}", reader.around), format!("{:?}", whole.2.around), "{step}");
        }
        whole
    }

    const RUN: [(u8, &[u8]); 4] =
        [(b'B', b"\0s\0\0\0\0\0\0\0"), (b'E', b"\0\0\0\0\0"), (b'C', b"P\0"), (b'S', b"")];
    const FRONT: [(u8, &[u8]); 7] = [
        (b'1', b""),
        (b'2', b""),
        (b'C', b"BEGIN\0"),
        (b'1', b""),
        (b'2', b""),
        (b'D', b"ours"),
        (b'C', b"SELECT 1\0"),
    ];
    const ANSWER: [(u8, &[u8]); 4] = [(b'2', b""), (b'D', b"theirs"), (b'C', b"SELECT 1\0"), (b'3', b"")];
    const ENDED: [(u8, &[u8]); 4] = [(b'1', b""), (b'2', b""), (b'C', b"COMMIT\0"), (b'Z', b"I")];
    const OPEN: (u8, &[u8]) = (b'Z', b"T");

    #[test]
    fn a_read_is_begun_and_ended_and_the_driver_hears_its_own() {
        let heard = [&FRONT[..], &[(b'S', b"is_superuser\0off\0")], &ANSWER, &ENDED].concat();
        let (out, back, reader) = turn(true, &RUN, &heard);
        let (front, commit) = (message(b'P', b"\0the front\0\0\0"), message(b'P', b"\0COMMIT\0\0\0"));
        assert_eq!(out, [front, messages(&RUN[..3]), commit, messages(&RUN[3..])].concat());
        let theirs = [&[(b'S', &b"is_superuser\0off\0"[..])], &ANSWER[..], &ENDED[3..]].concat();
        assert_eq!(back, messages(&theirs));
        let around = reader.around.unwrap();
        assert_eq!(around.commit, Commit::Answered("COMMIT".to_owned()));
        let controls = [Unit::Control(Control::BeginRead), Unit::Step(0), Unit::Control(Control::Commit)];
        assert_eq!(around.named, controls);
        assert_eq!(reader.status, b'I');
    }

    /// COMMIT stands behind that statement and no other: nothing of the caller's may run behind it.
    #[test]
    fn what_is_not_the_statement_alone_is_not_committed() {
        let answers = [&FRONT[..], &ANSWER, &[OPEN]].concat();
        let another = [(b'B', &b"\0t\0\0\0\0\0\0\0"[..]), RUN[1], RUN[2], RUN[3]];
        let unknown = [(b'B', &b"\0u\0\0\0\0\0\0\0"[..]), RUN[1], RUN[2], RUN[3]];
        let shown = [(b'P', &b"s\0SELECT 1\0\0\0"[..]), RUN[0], RUN[1], RUN[2], RUN[3]];
        let twice = [RUN[0], RUN[1], RUN[1], RUN[2], RUN[3]];
        for (read, said) in
            [(true, &another[..]), (true, &unknown), (true, &shown), (true, &twice), (false, &RUN)]
        {
            let (out, back, reader) = turn(read, said, &answers);
            assert_eq!(out, [message(b'P', b"\0the front\0\0\0"), messages(said)].concat());
            assert_eq!(back, messages(&[&ANSWER[..], &[OPEN]].concat()));
            assert_eq!((reader.around.unwrap().commit, reader.status), (Commit::Unsaid, b'T'));
        }
        // A name is the statement's that was shown last by it, once the server has taken it.
        let again = |text: &[u8], taken: &[(u8, &[u8])]| {
            let mut reader = Reader { around: Some(around(true)), ..reader() };
            let (mut out, mut back) = (BytesMut::new(), Vec::new());
            reader.sent(&messages(&[(b'P', text), (b'D', b"Ss\0"), (b'S', b"")]), &mut out);
            reader.heard(&messages(&[&FRONT[..], taken, &[OPEN]].concat()), &mut back);
            reader.sent(&messages(&RUN), &mut out);
            reader.around.unwrap().commit == Commit::Said
        };
        assert!(again(b"s\0SELECT 1\0\0\0", &[(b'1', b"")]));
        assert!(!again(b"s\0SELECT 2\0\0\0", &[(b'1', b"")]));
        assert!(!again(b"s\0SELECT 1\0\0\0", &[(b'E', b"C42P01\0\0")]));
    }

    #[test]
    fn a_refusal_is_its_that_was_refused() {
        let refused: (u8, &[u8]) = (b'E', b"VERROR\0C22023\0Mno such role\0\0");
        for (answered, heard, theirs) in [
            (0, &[refused, (b'Z', b"I")][..], &[refused, (b'Z', b"I")][..]),
            (1, &[&FRONT[..5], &[refused, (b'Z', b"E")]].concat(), &[refused, (b'Z', b"E")]),
        ] {
            let (_, back, reader) = turn(true, &RUN, heard);
            assert_eq!(back, messages(theirs));
            let refused = reader.around.unwrap().refused.unwrap();
            assert_eq!((refused.unit, refused.bound), (around(true).units[answered], answered == 1));
            assert_eq!(refused.notice.told().code, "22023");
        }
        // The statement's own, and that of COMMIT, are for the driver to tell.
        for heard in [
            [&FRONT[..], &ANSWER[..2], &[refused, (b'Z', b"E")]].concat(),
            [&FRONT[..], &ANSWER, &ENDED[..2], &[refused, (b'Z', b"I")]].concat(),
        ] {
            let (_, back, reader) = turn(true, &RUN, &heard);
            assert!(reader.around.unwrap().refused.is_none());
            assert!(back.windows(refused.1.len()).any(|part| part == refused.1));
        }
    }

    /// A question about types in between stands for itself, and what is around the statement waits for that.
    #[test]
    fn a_question_in_between_stands_for_itself() {
        let question = [(b'Q', &b"SELECT 3\0"[..])];
        let answer = [(b'T', &b"\0\0"[..]), (b'D', b"\0\0"), (b'C', b"SELECT 1\0"), (b'Z', b"I")];
        let (out, back, reader) = turn(true, &question, &answer);
        assert_eq!((out, back), (messages(&question), messages(&answer)));
        let around = reader.around.unwrap();
        assert!(around.front.is_some() && around.refused.is_none());
    }
}
