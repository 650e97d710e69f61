//! Where the answers to statements go that were sent together: each step's rows into the body, one after the other.
//!
//! A failure of ours (a second row of a `:one`, a reply that is full, bytes that are no value) does not end the
//! conversation: the server goes on with what it was sent, and a session is only good for the next call once it has said
//! all. So such a failure is kept, what follows is not written, and [`Answers::outcome`] tells it when the server has
//! done its part.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::backend::{Done, Frame, Session, State, Statement};
use crate::config::Int64;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
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
}

/// When the step that runs must be done. Shared by who counts the steps and who looks at the time.
#[derive(Debug)]
pub(crate) struct Clock {
    all: Deadline,
    step: Mutex<(usize, Deadline)>,
}

impl Clock {
    pub(crate) fn new(all: Deadline) -> Self {
        Self { all, step: Mutex::new((0, all)) }
    }

    fn begin(&self, step: usize, limit: Duration) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = (step, self.all.within(limit));
    }

    /// The step that runs now, as far as was heard, and when it must be done.
    pub(crate) fn step(&self) -> (usize, Deadline) {
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
    /// How many steps end before one of them is told.
    told_every: u32,
    /// The step whose answer comes next, counted over the whole work.
    step: usize,
    begun: bool,
    /// The first failure of ours, and its step.
    failed: Option<(usize, Error)>,
    /// What the step before did.
    done: Done,
}

impl<'a> Answers<'a> {
    /// The answers to all of these statements; with `list`, the body is a list of their results.
    #[must_use]
    pub fn new(rows: &'a mut RowWriter, expected: &'a [Expected], list: bool) -> Self {
        Self {
            rows,
            expected,
            clock: None,
            list,
            told_every: 1,
            step: 0,
            begun: false,
            failed: None,
            done: Done::default(),
        }
    }

    pub(crate) fn timed(mut self, clock: &'a Clock) -> Self {
        self.clock = Some(clock);
        self.start();
        self
    }

    /// Where the rows of the current step go; `None` where they go nowhere: the step is an `:exec`, or something has
    /// failed. What it returns is reported by [`fail`](Self::fail).
    pub fn rows(&mut self) -> Option<&mut RowWriter> {
        self.begin();
        (self.failed.is_none() && self.rows.wants_rows()).then_some(&mut *self.rows)
    }

    /// The same for an engine that runs statements one by one and asks the writer itself whether it wants rows; `None` once
    /// something has failed.
    pub fn writer(&mut self) -> Option<&mut RowWriter> {
        self.begin();
        self.failed.is_none().then_some(&mut *self.rows)
    }

    /// Keeps a failure of ours, with the current step. The first one counts.
    #[cold]
    pub fn fail(&mut self, error: Error) {
        let step = self.step;
        self.failed.get_or_insert((step, error));
    }

    /// The current step has ended, and did this.
    pub fn end(&mut self, done: Done) {
        self.begin();
        if self.failed.is_none()
            && let Err(error) = self.rows.end_result(done)
        {
            self.fail(error);
        }
        self.done = done;
        self.step += 1;
        self.begun = false;
        self.start();
    }

    /// The current step will have no answer: a later one was refused before anything ran. It is then the current one.
    pub fn skip(&mut self) {
        self.step += 1;
        self.begun = false;
    }

    /// The step whose answer comes next, counted from 0.
    #[must_use]
    pub fn step(&self) -> usize {
        self.step
    }

    /// From now on the end of a step is told with those of so many: the time that each may take is for all of them then.
    pub fn told_every(&mut self, steps: usize) {
        self.told_every = u32::try_from(steps).unwrap_or(u32::MAX);
        self.start();
    }

    /// Whether the steps have different limits: where a server tells the ends of several at once, none of them could be
    /// held to its own.
    #[must_use]
    pub fn limits_differ(&self) -> bool {
        self.expected.windows(2).any(|two| two[0].limit != two[1].limit)
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
    /// The failure that was kept, with its step.
    pub fn outcome(&mut self) -> Result<(), (usize, Error)> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        if self.list
            && self.failed.is_none()
            && let Some(expected) = self.expected.get(self.step)
            && let Err(error) = self.rows.next_result(expected.verb, expected.max_rows)
        {
            self.fail(error);
        }
    }

    fn start(&self) {
        if let (Some(clock), Some(expected)) = (self.clock, self.expected.get(self.step)) {
            clock.begin(self.step, expected.limit.saturating_mul(self.told_every));
        }
    }
}

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
        Frame::Alone => session.autocommit(true).await?,
        Frame::Read | Frame::Within => {}
    }
    let mut outcome = Ok(());
    for statement in statements {
        let Some(rows) = answers.writer() else { break };
        match session.step(statement, rows).await {
            Ok(done) => answers.end(done),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
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
    let expected = [Expected { verb, max_rows: None, limit: Duration::MAX }];
    let mut rows = RowWriter::new(verb, limits, Int64::Number);
    let mut answers = Answers::new(&mut rows, &expected, false);
    let statement = Statement { sql: sql.into(), arguments: Vec::new() };
    session.run(Frame::Read, &[&statement], &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)?;
    rows.finish()
}
