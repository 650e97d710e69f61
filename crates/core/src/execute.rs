//! Runs the steps of one call on a session, and again where the retry rule says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answers::{Answers, Clock, Expected, Which};
use crate::backend::{Access, CancelHandle, Effect, Frame, Session, State, Statement};
use crate::config::Int64;
use crate::connect::sessions::{Cost, Lease, Sessions};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};
use crate::form::{Coding, Form};
use crate::once::{self, Found, Key, Store};
use crate::queries::{Caller, Query, Verb};
use crate::reply::error_text;
use crate::retry::{self, Next, Progress};
use crate::rows::{Exit, Limits, RowWriter};

/// One statement of a call.
#[derive(Debug)]
pub(crate) struct Step<'q> {
    pub(crate) query: &'q Query,
    pub(crate) statement: Statement,
    /// Statements of our own that are sent directly before it, in the same flight and transaction, and are no steps: see
    /// [`crate::answers`]. A step outside a transaction has none.
    pub(crate) before: Vec<Statement>,
    /// Who it is for.
    pub(crate) caller: Caller,
}

impl<'q> Step<'q> {
    pub(crate) fn new(query: &'q Query, statement: Statement, caller: Caller) -> Self {
        Self { query, statement, before: Vec::new(), caller }
    }
}

/// Puts before each step what tells its transaction who it is for. A step without a caller of its own must not see the
/// one's before it.
pub(crate) fn introduce(steps: &mut [Step<'_>]) {
    let mut last = Caller::nobody();
    for step in steps {
        step.before.extend(step.caller.statement(&last));
        last.clone_from(&step.caller);
    }
}

/// What a call does in the database: one statement, or several that succeed or fail together.
#[derive(Debug)]
pub(crate) struct Work<'q> {
    pub(crate) steps: Vec<Step<'q>>,
    /// Whether the reply is a list of results, one per step, and the steps one transaction.
    pub(crate) list: bool,
    /// What it is done once by.
    pub(crate) once: Option<Once<'q>>,
    pub(crate) limits: Limits,
    /// What the rows are written as, if it is the result of one `:many`.
    pub(crate) form: Form,
    /// What the reply is compressed by, and whether it may be left as it is: the rows of one `:many` are compressed while
    /// they are written, whoever has another result does that afterwards.
    pub(crate) coding: Option<(Coding, bool)>,
    /// Where the rows of one `:many`, or the results of a list, leave while they are written, if they do.
    pub(crate) exit: Option<Exit>,
    /// Whose invocation it is, for a failure that is told in the midst of rows.
    pub(crate) request_id: &'q str,
    pub(crate) int64: Int64,
    /// The longest that a statement may take whose query does not say.
    pub(crate) query_timeout: Duration,
    /// When all must be done.
    pub(crate) by: Deadline,
    /// How much later the reply must be on its way.
    pub(crate) reserve: Duration,
}

/// That the work is done once, whatever happens.
#[derive(Debug)]
pub(crate) struct Once<'q> {
    pub(crate) store: &'q Store,
    pub(crate) key: Key,
}

/// The result of a work.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// What they are compressed by.
    pub(crate) coding: Option<Coding>,
    /// By what the next page is asked for, if it is a page and there is one.
    pub(crate) next: Option<String>,
    /// Whether it is the stored one of an earlier call.
    pub(crate) replayed: bool,
}

impl Written {
    fn of(mut rows: RowWriter) -> Result<Self> {
        let (coding, next) = (rows.coding(), rows.next_page());
        Ok(Self { bytes: rows.finish()?, coding, next, replayed: false })
    }

    fn kept(bytes: Vec<u8>, replayed: bool) -> Self {
        Self { bytes, coding: None, next: None, replayed }
    }
}

/// What a call cost, for its log line.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) cost: Cost,
    /// Time spent on statements, all attempts together.
    pub(crate) query: Duration,
    /// How many times something ran again.
    pub(crate) retries: u32,
    /// How many statements made a pooler pin its connection.
    pub(crate) pinned: u32,
    /// Rows in the results.
    pub(crate) rows: u64,
    /// Round trips of statements.
    pub(crate) flights: u64,
}

/// Runs the work and gives the reply's body.
///
/// # Errors
/// The fault that the retry rule left standing, with the index of the failing step if the work is a list.
///
/// # Cancel safety
/// A dropped future closes the session, and with it undoes a transaction that has not been committed. A
/// statement may run on until the server notices.
pub(crate) async fn run(work: &Work<'_>, sessions: &Arc<Sessions>, trace: &mut Trace) -> Result<Written> {
    let access = work.access();
    let mut rows = work.writer();
    if work.steps.is_empty() {
        return Written::of(rows);
    }
    let mut attempts = Attempts::new(sessions, access, work.by);
    let (mut expired, mut taken) = (false, 0);
    loop {
        let mut lease = attempts.lease(trace).await?;
        let started = Instant::now();
        let flown = lease.session().flights();
        let mut progress = Progress::Unsent;
        let outcome = match &work.once {
            None => {
                let done = attempt(work, &mut lease, &mut rows, &mut progress, &mut trace.pinned).await;
                done.map(|()| Came::Done)
            }
            Some(once) => {
                Box::pin(attempt_once(work, once, expired, &mut lease, &mut progress, &mut trace.pinned))
                    .await
            }
        };
        trace.query += started.elapsed();
        let flights = lease.session().flights().zip(flown).map(|(now, then)| now.saturating_sub(then));
        trace.flights += flights.unwrap_or_default();
        let settled_by = work.each().0;
        match outcome {
            Ok(Came::Done) => {
                trace.rows += rows.rows();
                lease.park();
                return Written::of(rows);
            }
            Ok(Came::Kept(json, rows)) => {
                trace.rows += rows;
                lease.park();
                return Ok(Written::kept(json, false));
            }
            Ok(Came::Stored(json)) => {
                settle(lease, settled_by).await;
                return Ok(Written::kept(json, true));
            }
            Ok(Came::Busy) => {
                settle(lease, settled_by).await;
                return Err(once::still_running());
            }
            Ok(Came::Taken { expired: again }) => {
                settle(lease, settled_by).await;
                // Whoever was first has just ended, one way or the other.
                let pause = retry::backoff(taken);
                if taken >= MOST_TAKEN || work.by.remaining() <= pause {
                    return Err(once::still_running());
                }
                if taken > 0 {
                    tokio::time::sleep(pause).await;
                }
                (expired, taken) = (again, taken + 1);
                trace.retries += 1;
            }
            Err(error) => {
                attempts.begun = rows.begun();
                if let Err(error) = attempts.failed(error, progress, lease, settled_by, trace).await {
                    if attempts.begun
                        && let Some(outlet) = work.exit.as_ref().and_then(|exit| exit.outlet.as_ref())
                    {
                        outlet.leave_last_words(rows.broken_off(&error_text(&error, work.request_id)));
                    }
                    return Err(error);
                }
            }
        }
        rows.reset();
    }
}

/// What an attempt came to.
enum Came {
    /// It is done.
    Done,
    /// The same, and its reply is kept: the body, and how many rows it has.
    Kept(Vec<u8>, u64),
    /// It had been done, with this reply.
    Stored(Vec<u8>),
    /// Another call has its key; or has had it, until it expired.
    Taken { expired: bool },
    /// Another call has its key, and runs for longer than may be waited.
    Busy,
}

/// The attempts at one unit of work, counted by the retry rule: whoever runs something on a session asks it what
/// follows from a failure.
pub(crate) struct Attempts<'a> {
    sessions: &'a Arc<Sessions>,
    access: Access,
    by: Deadline,
    /// Why the attempts before this one failed. Each fault has its own number of times: a failover is a lost
    /// connection first, and then another writer.
    met: Vec<Fault>,
    /// How to stop what may still run on the server for the attempt before, whose connection is lost.
    left: Option<Left>,
    /// Whether something of the reply has been given, which ends all attempts.
    begun: bool,
}

/// What a lost connection has left on the server.
struct Left {
    handle: Box<dyn CancelHandle>,
    /// Whether its transaction, too, is in the way of the next attempt: it holds the key.
    whole: bool,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(sessions: &'a Arc<Sessions>, access: Access, by: Deadline) -> Self {
        Self { sessions, access, by, met: Vec::new(), left: None, begun: false }
    }

    /// Lends the session of the next attempt.
    ///
    /// # Errors
    /// [`Sessions::lease`]'s. Opening has a retry rule of its own, which is spent by then.
    pub(crate) async fn lease(&mut self, trace: &mut Trace) -> Result<Lease> {
        let connects = trace.cost.connects;
        let leased = self.sessions.lease(self.access, self.by, &mut trace.cost).await;
        // What was sent may not know yet that nobody waits for it: it would hold its locks against what runs now. Behind
        // the reconnect, which has found out which password is good: an engine whose cancel logs in would try a bad one
        // once more, and servers count that.
        stop(self.left.take(), self.by).await;
        // Opening counts its own tries; the first of them is no retry.
        trace.retries += (trace.cost.connects - connects).saturating_sub(1);
        leased
    }

    /// Settles a failed attempt: leaves its session undone or closed, and waits, if there is to be another one.
    ///
    /// # Errors
    /// What is left standing, where there is not.
    pub(crate) async fn failed(
        &mut self,
        error: Error,
        progress: Progress,
        mut lease: Lease,
        settled_by: Deadline,
        trace: &mut Trace,
    ) -> Result<()> {
        let progress = if error.is_refused() { Progress::Unsent } else { progress };
        let (times, again) = match retry::decide(error.fault(), self.access, progress) {
            Next::Fail(fault) => {
                settle(lease, settled_by).await;
                return Err(if fault == error.fault() { error } else { error.into_fault(fault) });
            }
            Next::Again { times } => {
                if let Effect::Stays = settle(lease, settled_by).await {
                    return Err(error.into_fault(Fault::OutcomeUnknown));
                }
                (times, true)
            }
            Next::Reconnect { times } => {
                self.sessions.blame(&lease, error.fault());
                if error.fault() == Fault::ConnectionLost && progress != Progress::Unsent {
                    let whole = progress == Progress::Keyed;
                    self.left = lease.session().cancel_handle().map(|handle| Left { handle, whole });
                }
                drop(lease);
                (times, false)
            }
        };
        // The first reconnect need not wait: it is the connection that was at fault, not the load.
        let runs = u32::try_from(self.met.len()).unwrap_or(u32::MAX);
        let pause = if again || runs > 0 { retry::backoff(runs) } else { Duration::ZERO };
        // Each fault has its own number of times: a lost connection is not made worse by a conflict before it.
        let same = self.met.iter().filter(|fault| **fault == error.fault());
        let tries = u32::try_from(same.count()).unwrap_or(u32::MAX);
        if self.begun || tries >= times || self.by.remaining() <= pause {
            stop(self.left.take(), self.by).await;
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        self.met.push(error.fault());
        trace.retries += 1;
        Ok(())
    }
}

impl Once<'_> {
    /// What follows from what the lookup gave.
    fn found(&self, rows: &[u8], limits: Limits) -> Result<Option<Came>> {
        Ok(match self.store.found(&self.key, rows)? {
            Found::Reply(body) => Some(Came::Stored(once::carried(body, limits.escaped, limits.bytes)?)),
            Found::Expired => Some(Came::Taken { expired: true }),
            Found::Nothing => None,
        })
    }
}

impl Work<'_> {
    fn access(&self) -> Access {
        if self.steps.iter().any(|step| step.query.access() == Access::Write) {
            Access::Write
        } else {
            Access::Read
        }
    }

    /// When what begins now must be done: what is done around the steps takes no longer than the longest of them
    /// may.
    fn each(&self) -> (Deadline, Deadline) {
        let limits = self.steps.iter().map(|step| step.query.timeout().unwrap_or(self.query_timeout));
        (self.by.within(limits.max().unwrap_or(self.query_timeout)), self.end())
    }

    /// All statements in the order they are sent, the silent ones among them, and what is expected of each.
    fn statements(&self) -> (Vec<&Statement>, Vec<Expected>) {
        let count = self.steps.iter().map(|step| step.before.len() + 1).sum();
        let (mut statements, mut expected) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for Step { query, statement, before, .. } in &self.steps {
            let limit = query.timeout().unwrap_or(self.query_timeout);
            for ours in before {
                statements.push(ours);
                expected.push(Expected { verb: Verb::Exec, max_rows: None, limit, silent: true });
            }
            statements.push(statement);
            let (verb, max_rows) = (query.verb(), query.max_rows());
            expected.push(Expected { verb, max_rows, limit, silent: false });
        }
        (statements, expected)
    }

    /// When the server must have been told to stop: something of the reserve is left for the reply.
    fn end(&self) -> Deadline {
        self.by.into_reserve(self.reserve)
    }

    /// What writes the result, as the reply will carry it.
    fn writer(&self) -> RowWriter {
        let paging = match self.steps.as_slice() {
            [step] if !self.list => step.query.paging(&step.statement),
            _ => None,
        };
        let paged = |rows: RowWriter| match &paging {
            Some(paging) => rows.paged(paging.clone()),
            None => rows,
        };
        let leaving = |rows: RowWriter| match &self.exit {
            Some(exit) => rows.leaving(exit.clone()),
            None => rows,
        };
        let rows = match self.steps.as_slice() {
            [step] if !self.list => {
                let verb = step.query.verb();
                let compressed = self.coding.filter(|_| verb == Verb::Many);
                let escaped = self.limits.escaped && compressed.is_none();
                let limits = Limits { max_rows: step.query.max_rows(), escaped, ..self.limits };
                let rows = RowWriter::new(verb, limits, self.int64);
                if let Some((coding, identity)) = compressed {
                    return leaving(paged(rows.in_form(self.form)).compressed(coding, identity));
                }
                rows
            }
            _ => RowWriter::list(self.limits, self.int64),
        };
        let rows = if self.inside_string() { rows.inside_string() } else { rows };
        leaving(paged(rows.in_form(self.form)))
    }

    /// Whether the result is written as it stands inside a JSON string.
    pub(crate) fn inside_string(&self) -> bool {
        self.limits.escaped && self.coding.is_none()
    }
}

/// One attempt at the whole work; `progress` tells how far it came, `pinned` how often a pooler pinned.
async fn attempt(
    work: &Work<'_>,
    lease: &mut Lease,
    rows: &mut RowWriter,
    progress: &mut Progress,
    pinned: &mut u32,
) -> Result<()> {
    let access = work.access();
    let session = lease.session();
    let (statements, expected) = work.statements();
    let clock = Clock::new(work.by);
    let mut answers = Answers::new(rows, &expected, work.list).timed(&clock);
    *pinned += statements.iter().map(|statement| u32::from(session.pins(statement))).sum::<u32>();
    let mut run = Run::new(session, &clock, work, &mut answers);
    match work.steps.as_slice() {
        // The server refuses it if it writes.
        [_] if !work.list && access == Access::Read => {
            *progress = Progress::Sent;
            run.statements(Frame::Read, &statements, *progress).await?;
            return run.ours();
        }
        [step] if !work.list && !step.query.transaction() => {
            *progress = Progress::Autocommitted;
            run.statements(Frame::Alone, &statements, *progress).await?;
            return run.ours().map_err(done_unread);
        }
        _ => {}
    }
    let shortest = expected.iter().map(|step| step.limit).min().unwrap_or(work.query_timeout);
    let cancel = run.session.cancel_handle();
    let announced = run.session.announce(&statements, access, work.by.remaining().min(shortest));
    let effects = limited(cancel, work.each(), *progress, announced).await?;
    if effects.contains(&Effect::Stays) {
        // One by one, so that what stays is not sent before what comes before it has succeeded.
        for (index, effect) in effects.iter().enumerate() {
            let frame = if index == 0 { Frame::Begin(access) } else { Frame::Within };
            *progress = sent(*effect).max(*progress);
            run.statements(frame, &statements[index..=index], *progress).await?;
            run.ours()?;
        }
    } else {
        *progress = Progress::InTransaction;
        run.statements(Frame::Begin(access), &statements, *progress).await?;
        run.ours()?;
    }
    if run.session.state() == State::Idle && *progress == Progress::Autocommitted {
        // A procedure has committed by itself, and after it nothing is left to be done.
        return Ok(());
    }
    in_transaction(run.session)?;
    if access == Access::Write {
        *progress = Progress::Committing.max(*progress);
    }
    limited(run.session.cancel_handle(), work.each(), *progress, run.session.commit()).await
}

/// One attempt at work that is done once: see [`crate::once`].
async fn attempt_once(
    work: &Work<'_>,
    once: &Once<'_>,
    expired: bool,
    lease: &mut Lease,
    progress: &mut Progress,
    pinned: &mut u32,
) -> Result<Came> {
    let Once { store, key, .. } = once;
    let session = lease.session();
    let (steps, expected) = work.statements();
    *pinned += steps.iter().map(|statement| u32::from(session.pins(statement))).sum::<u32>();
    let limit = expected.iter().map(|step| step.limit).max().unwrap_or(work.query_timeout);
    let silent = |verb| Expected { verb, max_rows: None, limit, silent: true };

    let drop_expired = expired.then(|| store.drop_expired(key));
    let (look_up, claim) = (store.look_up(key), store.claim(key));
    let mut statements: Vec<&Statement> = drop_expired.iter().collect();
    let mut all: Vec<Expected> = drop_expired.iter().map(|_| silent(Verb::Exec)).collect();
    let looking = statements.len();
    statements.extend([&look_up, &claim]);
    all.extend([silent(Verb::Many), silent(Verb::Exec)]);
    let guards = statements.len();
    statements.extend(&steps);
    all.extend(&expected);

    let shortest = expected.iter().map(|step| step.limit).min().unwrap_or(work.query_timeout);
    let cancel = session.cancel_handle();
    let announced = session.announce(&statements, Access::Write, work.by.remaining().min(shortest));
    let effects = limited(cancel, work.each(), *progress, announced).await?;
    if let Some(at) = effects.iter().position(|effect| *effect == Effect::Stays) {
        let step = at.checked_sub(guards).map(|at| {
            let before = expected.iter().take(at).filter(|expected| !expected.silent).count();
            work.steps.get(before).map(|step| step.query.name()).unwrap_or_default()
        });
        return Err(store.stays(step));
    }

    let mut rows = work.writer();
    let clock = Clock::new(work.by);
    let mut answers = Answers::new(&mut rows, &all, work.list).timed(&clock);
    let mut run = Run { guards, ..Run::new(session, &clock, work, &mut answers) };
    *progress = Progress::Keyed;
    let done = run.statements(Frame::Guarded(guards), &statements, *progress).await;
    let done = match done {
        Ok(()) => run.ours(),
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        return match (run.failed, error.fault()) {
            (Some(Which::Silent(at)), fault) if at + 1 == guards => {
                // A refused claim: then the row has been looked up.
                let stored = answers.silent().get(looking).filter(|_| fault != Fault::ConnectionLost);
                if let Some(came) = stored.map(|rows| once.found(rows, work.limits)).transpose()?.flatten() {
                    return Ok(came);
                }
                match fault {
                    Fault::Constraint => Ok(Came::Taken { expired: false }),
                    Fault::Timeout | Fault::LockTimeout => Ok(Came::Busy),
                    _ => Err(store.trouble(error)),
                }
            }
            (Some(Which::Silent(at)), _) if at < guards => Err(store.trouble(error)),
            _ => Err(error),
        };
    }
    in_transaction(session)?;

    let count = rows.rows();
    let body = once::plain(rows.finish()?, work.limits.escaped)?;
    store.fits(&body)?;
    // What follows COMMIT cannot fail: it would be told of a write that is there.
    let carried = once::carried(body.clone(), work.limits.escaped, work.limits.bytes)?;
    // The table is the function's own: its role and schemas are no caller's.
    let reset = work.steps.last().and_then(|step| Caller::nobody().statement(&step.caller));
    let (sweep, keep) = (store.sweep(key), store.keep(key, &body));
    let last: Vec<&Statement> = reset.iter().chain([&sweep, &keep]).collect();
    let expected = vec![silent(Verb::Exec); last.len()];
    let clock = Clock::new(work.by);
    let mut nothing = RowWriter::list(work.limits, work.int64);
    let mut answers = Answers::new(&mut nothing, &expected, true).timed(&clock);
    // What fails at COMMIT is no step's own.
    let run = Run::new(session, &clock, work, &mut answers);
    let mut run = Run { list: false, guards: last.len(), ..run };
    if let Err(error) = run.statements(Frame::Commit, &last, *progress).await {
        return Err(match run.failed {
            Some(Which::Silent(at)) if at + 1 == last.len() => store.unkept(error, &body),
            Some(Which::Silent(_)) => store.trouble(error),
            _ => error,
        });
    }
    run.ours()?;
    Ok(Came::Kept(carried, count))
}

/// That there is something to commit, says the server.
fn in_transaction(session: &dyn Session) -> Result<()> {
    match session.state() {
        State::InTransaction => Ok(()),
        // Known before COMMIT was sent, so the server undoes it, and it may run again.
        State::Closed => {
            Err(Error::new(Fault::ConnectionLost, "the server closed the connection before COMMIT"))
        }
        State::Idle | State::Failed => Err(Error::new(
            Fault::QueryFailed,
            "the server says that the transaction has ended before COMMIT: something in it ends transactions",
        )),
    }
}

/// How far a statement has come once it was sent in a transaction.
fn sent(effect: Effect) -> Progress {
    match effect {
        Effect::Undone => Progress::InTransaction,
        Effect::Stays => Progress::Autocommitted,
    }
}

/// A statement has committed by itself, and its result cannot be given; to whoever has left, it is not missed.
fn done_unread(error: Error) -> Error {
    if error.fault() == Fault::ClientClosedRequest {
        return error;
    }
    let why = if error.detail().is_empty() { error.message() } else { error.detail() };
    Error::new(Fault::DoneUnread, format!("the statement has been done, and then: {why}"))
}

/// Statements of one attempt on its session.
struct Run<'a, 'b> {
    session: &'a mut dyn Session,
    clock: &'a Clock,
    end: Deadline,
    answers: &'a mut Answers<'b>,
    steps: &'a [Step<'a>],
    list: bool,
    /// How many silent statements come first that are none of the steps' callers.
    guards: usize,
    /// The statement that failed last.
    failed: Option<Which>,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(
        session: &'a mut dyn Session,
        clock: &'a Clock,
        work: &'a Work<'_>,
        answers: &'a mut Answers<'b>,
    ) -> Self {
        Self {
            session,
            clock,
            end: work.end(),
            answers,
            steps: &work.steps,
            list: work.list,
            guards: 0,
            failed: None,
        }
    }

    /// Runs statements to the end of their results, each bounded by its own limit; what comes too late is stopped on
    /// the server.
    async fn statements(
        &mut self,
        frame: Frame,
        statements: &[&Statement],
        progress: Progress,
    ) -> Result<()> {
        let cancel = self.session.cancel_handle();
        let (outcome, late) = {
            let mut running = self.session.run(frame, statements, self.answers);
            loop {
                let (step, by) = self.clock.step();
                match by.bound(&mut running).await {
                    Ok(outcome) => break (told(outcome), None),
                    // Another step has begun meanwhile, and has its own time.
                    Err(_) if self.clock.step().1 > by => {}
                    Err(_) => {
                        // What the server says to that tells which step it was, and leaves the session to go on with. That
                        // it is too late is decided.
                        let by = self.end.within(CANCEL_TIMEOUT);
                        let (stopped, told) = futures_util::future::join(
                            stopped(cancel, self.end, progress),
                            by.bound(running),
                        )
                        .await;
                        break (Err(stopped), Some((step, told.map(|outcome| outcome.is_ok()))));
                    }
                }
            }
        };
        let step = match late {
            // Nothing was said to that.
            Some((step, Err(_))) => step,
            // MySQL ends a sleep well that was stopped. It was one of those that have ended since, of which the last that
            // was sent is the likeliest: whoever is slow is seldom followed by many.
            Some((Which::Step(step), Ok(true))) => {
                Which::Step(step.max(self.answers.step().saturating_sub(1)))
            }
            Some((silent, Ok(true))) => silent,
            _ => self.answers.current(),
        };
        outcome.map_err(|error| self.at(step, error))
    }

    /// What came of our part of it.
    fn ours(&mut self) -> Result<()> {
        self.answers.outcome().map_err(|(step, error)| self.at(step, error))
    }

    /// A statement of ours is told as itself, and no step.
    fn at(&mut self, which: Which, error: Error) -> Error {
        self.failed = Some(which);
        match which {
            Which::Step(step) if self.list => error.at_step(step),
            Which::Step(_) => error,
            Which::Silent(at) if at < self.guards => error,
            Which::Silent(_) => {
                let caller = self.steps.get(self.answers.step()).map(|step| &step.caller);
                of_ours(error, caller)
            }
        }
    }
}

/// What the failure of a statement means that is sent before the caller's.
///
/// A role that does not exist is nothing that the caller could mend. The server's words may quote, so that the log has them
/// without names: those of ours it may have.
pub(crate) fn of_ours(error: Error, caller: Option<&Caller>) -> Error {
    if !matches!(error.fault(), Fault::BadParameter | Fault::QueryFailed) {
        return error;
    }
    let told = caller.filter(|caller| !caller.is_nobody()).map(|caller| format!(": {caller:?}"));
    let detail = format!(
        "{}; it is of what was sent before the statement{}",
        error.detail(),
        told.unwrap_or_default()
    );
    error.into_fault(Fault::QueryFailed).with_detail(detail)
}

/// Bounds what a session does; what comes too late is stopped on the server.
pub(crate) async fn limited<T>(
    cancel: Option<Box<dyn CancelHandle>>,
    (by, end): (Deadline, Deadline),
    progress: Progress,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match by.bound(work).await {
        Ok(outcome) => told(outcome),
        Err(_) => Err(stopped(cancel, end, progress).await),
    }
}

/// The server's own limit is the same as ours, and may be the first.
fn told<T>(outcome: Result<T>) -> Result<T> {
    match outcome {
        Err(error) if error.fault() == Fault::Timeout && error.phase().is_none() => {
            Err(error.with_phase(Phase::Query))
        }
        outcome => outcome,
    }
}

/// Stops what a lost connection has left running, if it still runs.
async fn stop(left: Option<Left>, by: Deadline) {
    let stopped = match left {
        Some(Left { handle, whole: true }) => handle.end(by.within(END_TIMEOUT)).await,
        Some(Left { handle, whole: false }) => handle.cancel(by.within(CANCEL_TIMEOUT)).await,
        None => Ok(()),
    };
    if let Err(error) = stopped {
        tracing::debug!("what the lost connection had been sent may still run: {error}");
    }
}

/// Stops on the server what has come too late, and says what that means.
pub(crate) async fn stopped(
    cancel: Option<Box<dyn CancelHandle>>,
    end: Deadline,
    progress: Progress,
) -> Error {
    let stopped = match cancel {
        Some(cancel) => cancel.cancel(end.within(CANCEL_TIMEOUT)).await,
        None => Ok(()),
    };
    let error = late(progress);
    match stopped {
        Ok(()) => error,
        Err(why) => error.with_detail(format!("it may still run on the server: {}", why.detail())),
    }
}

/// The deadline came first. What had been sent to commit may have been committed.
fn late(progress: Progress) -> Error {
    let fault = match progress {
        Progress::Committing | Progress::Autocommitted => Fault::OutcomeUnknown,
        Progress::Unsent | Progress::Sent | Progress::InTransaction | Progress::Keyed => Fault::Timeout,
    };
    Error::new(
        fault,
        "the time for it was up (DB_QUERY_TIMEOUT, `-- timeout:`, or the invocation's deadline)",
    )
    .with_phase(Phase::Query)
}

/// Leaves a session behind after a failure: its transaction undone and itself parked if it can go on, else
/// closed, which undoes the transaction as well. Tells if the server says that something in it stays.
async fn settle(mut lease: Lease, by: Deadline) -> Effect {
    let session = lease.session();
    let mut effect = Effect::Undone;
    if matches!(session.state(), State::InTransaction | State::Failed) {
        match by.bound(session.rollback()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.fault() == Fault::OutcomeUnknown => effect = Effect::Stays,
            _ => return effect,
        }
    }
    lease.park();
    effect
}

/// How often another call may have had the key, and then not.
const MOST_TAKEN: u32 = 10;
/// The next attempt would wait for the key, which is held until then.
const END_TIMEOUT: Duration = Duration::from_secs(2);
// Within it, the server has been told to stop; it is part of the reserve (DB_DEADLINE_RESERVE).
const CANCEL_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_that_the_server_keeps_first_is_told_as_ours() {
        let told = async { Err::<(), _>(Error::new(Fault::Timeout, "the server's words")) };
        let by = Deadline::after(Duration::from_secs(60));
        let error = limited(None, (by, by), Progress::Sent, told).await.unwrap_err();
        assert_eq!((error.fault(), error.phase()), (Fault::Timeout, Some(Phase::Query)));
    }
}
