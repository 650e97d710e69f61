//! Where the answers to statements go that were sent together: each step's rows into the body, one after the other.
//!
//! Beside the steps there may be *silent* statements of our own, sent in the same flight: a setting before a step, a
//! key before a write. They are no step: nothing of them is in the body, they count for no `max_rows` and no
//! `error.step`, and what they give is kept aside, for whoever sent them ([`Answers::silent`]). An engine need not tell
//! them from steps. [`Answers::current`] says which statement failed.
//!
//! A failure of ours (a second row of a `:one`, a reply that is full, bytes that are no value) does not end the
//! conversation: the server goes on with what it was sent, and a session is only good for the next call once it has said
//! all. So such a failure is kept, what follows is not written, and [`Answers::outcome`] tells it when the server has
//! done its part.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::backend::{Access, Done, Frame, Session, State, Statement};
use crate::config::Int64;
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Result};
use crate::queries::Verb;
use crate::rows::{Limits, RowWriter};

/// What is expected of one statement.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// What its result is.
    pub verb: Verb,
    /// How many rows it may have.
    pub max_rows: Option<u64>,
    /// The longest that it may take.
    pub limit: Duration,
    /// Whether it is no step of the call but a statement of our own: see the module.
    pub silent: bool,
}

/// One of the statements, as its failure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A step of the call, counted from 0 among the steps alone.
    Step(usize),
    /// A silent one, counted from 0 among those.
    Silent(usize),
}

/// When the step that runs must be done. Shared by who counts the steps and who looks at the time.
#[derive(Debug)]
pub(crate) struct Clock {
    all: Deadline,
    step: Mutex<(Which, Deadline)>,
}

impl Clock {
    pub(crate) fn new(all: Deadline) -> Self {
        Self { all, step: Mutex::new((Which::Step(0), all)) }
    }

    fn begin(&self, step: Which, limit: Duration) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = (step, self.all.within(limit));
    }

    /// The statement that runs now, as far as was heard, and when it must be done.
    pub(crate) fn step(&self) -> (Which, Deadline) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of the answers of one [`Session::run`] into the body.
///
/// An engine calls, for each statement in their order, [`rows`](Self::rows) as often as it has something to write, and
/// [`end`](Self::end).
#[derive(Debug)]
pub struct Answers<'a> {
    rows: &'a mut RowWriter,
    expected: &'a [Expected],
    clock: Option<&'a Clock>,
    /// Whether the body is a list of results.
    list: bool,
    /// How many statements end before one of them is told.
    told_every: u32,
    /// The statement whose answer comes next, counted over the whole work, and how many before it were steps.
    at: usize,
    steps: usize,
    begun: bool,
    /// The first failure of ours, and whose.
    failed: Option<(Which, Error)>,
    /// What the step before did.
    done: Done,
    /// What the silent statements gave, and what writes that of the current one.
    silent: Vec<Vec<u8>>,
    aside: Option<RowWriter>,
}

impl<'a> Answers<'a> {
    /// The answers to all of these statements; with `list`, the body is a list of the results of the steps among them.
    #[must_use]
    pub fn new(rows: &'a mut RowWriter, expected: &'a [Expected], list: bool) -> Self {
        Self {
            rows,
            expected,
            clock: None,
            list,
            told_every: 1,
            at: 0,
            steps: 0,
            begun: false,
            failed: None,
            done: Done::default(),
            silent: Vec::new(),
            aside: None,
        }
    }

    pub(crate) fn timed(mut self, clock: &'a Clock) -> Self {
        self.clock = Some(clock);
        self.start();
        self
    }

    /// Where the rows of the current statement go; `None` where they go nowhere: it is an `:exec`, or something has
    /// failed. What it returns is reported by [`fail`](Self::fail).
    pub fn rows(&mut self) -> Option<&mut RowWriter> {
        self.writer().filter(|rows| rows.wants_rows())
    }

    /// The same for an engine that runs statements one by one and asks the writer itself whether it wants rows; `None` once
    /// something has failed.
    pub fn writer(&mut self) -> Option<&mut RowWriter> {
        self.begin();
        if self.failed.is_some() {
            return None;
        }
        Some(self.aside.as_mut().unwrap_or(&mut *self.rows))
    }

    /// Lets rows leave that have been written, and waits until they have room. Belongs before each wait for the server, who
    /// waits in turn: what is not read is not sent.
    pub async fn drain(&mut self) {
        if self.failed.is_none()
            && self.rows.leaves()
            && let Err(error) = self.rows.drain().await
        {
            self.fail(error);
        }
    }

    /// Keeps a failure of ours, with the current statement. The first one counts.
    #[cold]
    pub fn fail(&mut self, error: Error) {
        let current = self.current();
        self.failed.get_or_insert((current, error));
    }

    /// The current statement has ended, and did this.
    pub fn end(&mut self, done: Done) {
        self.begin();
        if let Some(aside) = self.aside.take() {
            match aside.finish_exec(done) {
                Ok(result) => self.silent.push(result),
                Err(error) => self.fail(error),
            }
        } else {
            if self.failed.is_none()
                && let Err(error) = self.rows.end_result(done)
            {
                self.fail(error);
            }
            self.done = done;
        }
        self.next();
        self.start();
    }

    /// The current statement will have no answer: a later one was refused before anything ran. It is then the current one.
    pub fn skip(&mut self) {
        self.next();
    }

    /// All statements from this one on, which [`at`](Self::at) has told, are run again, and nothing of them has been
    /// done. True if that can be: no step has ended since.
    pub fn again(&mut self, from: usize) -> bool {
        let since = self.expected.get(from..self.at).unwrap_or_default();
        if since.iter().any(|expected| !expected.silent) {
            return false;
        }
        if self.at > from {
            self.silent.truncate(self.silent.len().saturating_sub(since.len()));
            (self.at, self.begun, self.aside) = (from, false, None);
            self.start();
        }
        true
    }

    /// The statement whose answer comes next, counted from 0 over all of them.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The statement whose answer comes next.
    #[must_use]
    pub fn current(&self) -> Which {
        match self.expected.get(self.at) {
            Some(Expected { silent: true, .. }) => Which::Silent(self.at - self.steps),
            _ => Which::Step(self.steps),
        }
    }

    /// The step whose answer comes next, counted from 0 among the steps.
    #[must_use]
    pub fn step(&self) -> usize {
        self.steps
    }

    /// What the silent statements gave that have ended, in their order: each a result as its verb writes it, in JSON.
    #[must_use]
    pub fn silent(&self) -> &[Vec<u8>] {
        &self.silent
    }

    /// From now on the end of a statement is told with those of so many: the time that each may take is for all of them
    /// then.
    pub fn told_every(&mut self, statements: usize) {
        self.told_every = u32::try_from(statements).unwrap_or(u32::MAX);
        self.start();
    }

    /// Whether the steps have different limits: where a server tells the ends of several at once, none of them could be
    /// held to its own.
    #[must_use]
    pub fn limits_differ(&self) -> bool {
        let mut limits = self.expected.iter().filter(|expected| !expected.silent).map(|step| step.limit);
        let first = limits.next();
        limits.any(|limit| Some(limit) != first)
    }

    /// What the last step did that has ended.
    #[must_use]
    pub fn done(&self) -> Done {
        self.done
    }

    /// Whether something of ours has failed: then what comes is of no use any more.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed.is_some()
    }

    /// What came of our part, once the server has done its.
    ///
    /// # Errors
    /// The failure that was kept, and whose it is.
    pub fn outcome(&mut self) -> Result<(), (Which, Error)> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn next(&mut self) {
        self.steps += usize::from(self.expected.get(self.at).is_none_or(|expected| !expected.silent));
        self.at += 1;
        self.begun = false;
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let Some(expected) = self.expected.get(self.at) else { return };
        if expected.silent {
            let limits = Limits { bytes: MOST_ASIDE, escaped: false, max_rows: expected.max_rows };
            self.aside = Some(RowWriter::new(expected.verb, limits, Int64::Number));
        } else if self.list
            && self.failed.is_none()
            && let Err(error) = self.rows.next_result(expected.verb, expected.max_rows)
        {
            self.fail(error);
        }
    }

    fn start(&self) {
        if let (Some(clock), Some(expected)) = (self.clock, self.expected.get(self.at)) {
            clock.begin(self.current(), expected.limit.saturating_mul(self.told_every));
        }
    }
}

/// Why a transaction is not committed behind a last statement that has not changed its one row: see [`Frame::Commit`].
pub const GONE: &str =
    "the row that the transaction is committed by is gone: something in it has removed or changed it";

/// How much a silent statement may give.
const MOST_ASIDE: usize = 16 << 20;

/// A session whose server, or whose driver, takes one statement at a time.
pub trait OneByOne: Send {
    /// Runs one statement and writes its rows, in the transaction that there is, or by itself.
    ///
    /// # Errors
    /// The server's, classified; or the writer's.
    fn step<'a>(
        &'a mut self,
        statement: &'a Statement,
        rows: &'a mut RowWriter,
    ) -> BoxFuture<'a, Result<Done>>;
}

/// Runs statements one after the other, as [`Session::run`] has to, each to its end before the next is sent.
///
/// # Errors
/// Those of [`Session::run`].
pub async fn one_by_one<S: Session + OneByOne>(
    session: &mut S,
    frame: Frame,
    statements: &[&Statement],
    answers: &mut Answers<'_>,
) -> Result<()> {
    match frame {
        Frame::Begin(access) => session.begin(access).await?,
        Frame::Guarded(_) => session.begin(Access::Write).await?,
        Frame::Alone => session.autocommit(true).await?,
        Frame::Read | Frame::Within | Frame::Commit => {}
    }
    let (mut outcome, mut changed) = (Ok(()), 0);
    for statement in statements {
        let Some(rows) = answers.writer() else { break };
        match session.step(statement, rows).await {
            Ok(done) => {
                changed = done.rows_affected;
                answers.end(done);
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if frame == Frame::Commit && outcome.is_ok() && !answers.failed() {
        if changed != 1 {
            return Err(Error::new(Fault::QueryFailed, GONE));
        }
        return session.commit().await;
    }
    // The statement's outcome stands whatever becomes of this: a session that did not turn read-only again says so.
    if frame == Frame::Alone && session.state() != State::Closed {
        let _ = session.autocommit(false).await;
    }
    outcome
}

/// Runs one read of ours by itself and gives its rows as JSON: for questions about the server, beside the calls.
pub(crate) async fn read(session: &mut dyn Session, verb: Verb, sql: &str) -> Result<Vec<u8>> {
    let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
    let expected = [Expected { verb, max_rows: None, limit: Duration::MAX, silent: false }];
    let mut rows = RowWriter::new(verb, limits, Int64::Number);
    let mut answers = Answers::new(&mut rows, &expected, false);
    let statement = Statement { sql: sql.into(), arguments: Vec::new() };
    session.run(Frame::Read, &[&statement], &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)?;
    rows.finish()
}

/// Runs statements of ours that give nothing that is wanted.
#[cfg(feature = "sea-orm")]
pub(crate) async fn silently(
    session: &mut dyn Session,
    frame: Frame,
    statements: &[&Statement],
) -> Result<()> {
    let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
    let ours = Expected { verb: Verb::Exec, max_rows: None, limit: Duration::MAX, silent: true };
    let expected = vec![ours; statements.len()];
    let mut rows = RowWriter::list(limits, Int64::Number);
    let mut answers = Answers::new(&mut rows, &expected, true);
    session.run(frame, statements, &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, escaped: false, max_rows: None };

    fn expected(verb: Verb, silent: bool) -> Expected {
        Expected { verb, max_rows: Some(1), limit: Duration::from_secs(if silent { 1 } else { 2 }), silent }
    }

    fn row(answers: &mut Answers<'_>, value: &str) {
        if let Some(rows) = answers.rows() {
            rows.columns(&["v"]).unwrap();
            rows.begin().unwrap();
            rows.key(0).unwrap();
            rows.text(value).unwrap();
            rows.end().unwrap();
        }
        answers.end(Done { rows_affected: 1, last_insert_id: None });
    }

    #[test]
    fn silent_statements_are_no_steps() {
        let expected = [
            expected(Verb::Many, true),
            expected(Verb::One, false),
            expected(Verb::Exec, true),
            expected(Verb::Many, false),
        ];
        let mut rows = RowWriter::list(LIMITS, Int64::Number);
        let mut answers = Answers::new(&mut rows, &expected, true);
        assert!(!answers.limits_differ());
        assert_eq!((answers.current(), answers.step()), (Which::Silent(0), 0));
        row(&mut answers, "ours");
        assert_eq!((answers.current(), answers.at()), (Which::Step(0), 1));
        assert_eq!(answers.done(), Done::default());
        row(&mut answers, "first");
        assert_eq!(answers.current(), Which::Silent(1));
        row(&mut answers, "not wanted");
        assert_eq!(answers.current(), Which::Step(1));
        row(&mut answers, "second");
        assert_eq!((answers.step(), answers.at()), (2, 4));
        assert_eq!(answers.silent(), [&br#"[{"v":"ours"}]"#[..], br#"{"rowsAffected":1}"#]);
        assert!(answers.outcome().is_ok());
        assert_eq!(rows.rows(), 2);
        assert_eq!(rows.finish().unwrap(), br#"[{"v":"first"},[{"v":"second"}]]"#);
    }

    #[test]
    fn what_is_wrong_with_a_silent_statement_is_no_steps() {
        let expected = [expected(Verb::Exec, false), expected(Verb::One, true)];
        let mut rows = RowWriter::list(LIMITS, Int64::Number);
        let mut answers = Answers::new(&mut rows, &expected, true);
        row(&mut answers, "");
        answers.end(Done::default());
        assert!(matches!(answers.outcome(), Err((Which::Silent(0), _))));
    }

    #[test]
    fn they_are_run_again_while_no_step_has_ended() {
        let expected = [expected(Verb::Many, true), expected(Verb::Many, true), expected(Verb::Many, false)];
        let mut rows = RowWriter::new(Verb::Many, LIMITS, Int64::Number);
        let mut answers = Answers::new(&mut rows, &expected, false);
        for value in ["a", "b"] {
            row(&mut answers, value);
        }
        assert!(answers.again(0) && answers.silent().is_empty());
        for value in ["c", "d", "e"] {
            row(&mut answers, value);
        }
        assert!(!answers.again(0));
        assert_eq!(answers.silent(), [br#"[{"v":"c"}]"#, br#"[{"v":"d"}]"#]);
        assert_eq!(rows.finish().unwrap(), br#"[{"v":"e"}]"#);
    }
}
