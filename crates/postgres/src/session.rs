//! Speaking to PostgreSQL: messages are sent together wherever no decision lies between them, and what the server says
//! of its state is the only thing that is believed.
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY>
//!
//! After an error the server passes over everything up to the next Sync, and says of the transaction that it has failed.
//! So a transaction's statements can go out behind its BEGIN, and only COMMIT waits: it is sent when every answer before
//! it is known.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use lambda_rds_core::answers::Answers;
use lambda_rds_core::backend::{
    Access, CancelHandle, Done, Effect, Frame, Pooling, State, Statement, Target,
};
use lambda_rds_core::connect::live::Protocol;
use lambda_rds_core::connect::wire::{FEED, Wire};
use lambda_rds_core::describe::Described;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Value};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::bind;
use crate::cancel::PgCancel;
use crate::classify::{self, At, Doing};
use crate::decode::Columns;
use crate::describe;
use crate::learned::{ByStatement, Field, Known, Learned};
use crate::messages::{
    BIND_COMPLETE, CLOSE_COMPLETE, COMMAND_COMPLETE, COPY_BOTH, COPY_IN, COPY_OUT, DATA_ROW, EMPTY_QUERY,
    ERROR, Front, Message, NO_DATA, NOTICE, NOTIFICATION, Notice, PARAMETER_DESCRIPTION, PARAMETER_STATUS,
    PARSE_COMPLETE, READY, ROW_DESCRIPTION, Rest, front, garbage, too_large,
};
use crate::settings::Reported;
use crate::types;

/// The protocol of one session.
pub(crate) struct Pg {
    learned: Arc<Learned>,
    /// The statements that have a name in this session.
    prepared: ByStatement<Prepared>,
    /// How many names have been given.
    named: u32,
    /// Those of our own statements that have a name, and how often all names were given anew.
    controls: Vec<Control>,
    generation: u32,
    /// What stands around statements of sea-orm's driver and has a name.
    #[cfg(feature = "sea-orm")]
    around: ByStatement<Arc<str>>,
    /// The status that the server has told last, and how many of its answers are yet to come.
    pub(crate) status: u8,
    pub(crate) owed: u32,
    pub(crate) reported: Reported,
    /// The same after the login.
    pub(crate) login: Reported,
    /// What is known of the statements that are being sent, from each index on: other sessions may find meanwhile that they
    /// know it no more.
    flying: Vec<(usize, Arc<Known>)>,
    /// Those of the statements that were known wrongly, behind the beginning of a transaction.
    moved: Option<std::ops::Range<usize>>,
    /// The statements that have no name because they were learned where they stood, and what had one before.
    in_place: Vec<(Statement, Option<Prepared>)>,
    /// What the transaction, or the statement outside one, may do.
    pub(crate) doing: Doing,
    cancel: Option<PgCancel>,
    pub(crate) pooling: Pooling,
    /// Whether anything may be sent before what comes before it has been answered.
    pub(crate) pipeline: bool,
    limit: Duration,
    pub(crate) log_values: bool,
}

/// A statement that has a name, or one for this once, where it stands.
#[derive(Debug)]
struct Prepared {
    name: Arc<str>,
    known: Arc<Known>,
    /// How rows are read, once the server has said what they are; lent to the statement while it runs.
    columns: Option<Columns>,
}

/// A statement of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    BeginRead,
    BeginWrite,
    Commit,
    /// What is not in a transaction block yet may write.
    WriteNow,
    Writing,
    Reading,
    /// The limits of a transaction, where no session has them.
    Limit,
    IdleLimit,
}

/// Something that is sent, and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Control(Control),
    /// One of the statements, by its index.
    Step(usize),
    /// Parse one of the statements and tell of it.
    Learn(usize),
    /// Say now how those before have ended, which is not answered itself.
    Flush,
    Sync,
}

/// An error that the server told.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) unit: Unit,
    /// Whether it came after the values had been read.
    pub(crate) bound: bool,
    pub(crate) notice: Notice,
}

/// What a conversation came to.
#[derive(Debug, Default)]
struct Heard {
    refused: Option<Refused>,
    /// The errors of statements that were to be learned, each behind a Sync of its own.
    unlearned: Vec<(usize, Notice)>,
    /// What the last of our own statements was answered with.
    tag: String,
    /// A statement gave other columns than it was known to give, or takes its parameters for something else.
    outdated: bool,
    /// What the server says of statements that were tried and whose rows did not come as we read them.
    unread: Vec<(usize, Description)>,
}

/// Why a conversation ended early.
enum Stopped {
    /// The connection broke.
    Wire(io::Error),
    Told(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Pg {
    pub(crate) fn new(
        learned: Arc<Learned>,
        reported: Reported,
        cancel: Option<PgCancel>,
        to: &Target,
    ) -> Self {
        Self {
            learned,
            prepared: ByStatement::default(),
            named: 0,
            controls: Vec::new(),
            generation: 0,
            #[cfg(feature = "sea-orm")]
            around: ByStatement::default(),
            status: IDLE,
            owed: 0,
            login: reported.clone(),
            reported,
            flying: Vec::new(),
            moved: None,
            in_place: Vec::new(),
            doing: Doing::Read,
            cancel,
            pooling: to.pooling,
            pipeline: to.pipeline,
            limit: to.statement_timeout,
            log_values: to.log_values,
        }
    }

    pub(crate) fn decoder(&self, oid: u32) -> types::Decoder {
        self.learned.decoder(oid)
    }

    pub(crate) fn pooled(&self) -> bool {
        self.pooling != Pooling::None
    }

    /// Runs statements, and once more from the beginning if one of them turned out to be known as it is not any more and
    /// nothing else has happened: the world has moved on. If it is so again with all of them learned anew, it is the
    /// transaction that moves, and the last attempt asks about them where they stand.
    async fn run(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        self.doing = match frame {
            Frame::Read | Frame::Begin(Access::Read) => Doing::Read,
            Frame::Begin(Access::Write) | Frame::Guarded(_) | Frame::Alone => Doing::Write,
            Frame::Within | Frame::Commit => self.doing,
        };
        let first = answers.at();
        if within(frame) {
            let outcome = self.attempt(wire, frame, statements, answers, false).await;
            self.moves(statements);
            return outcome;
        }
        for last in [false, true] {
            let Err(error) = self.attempt(wire, frame, statements, answers, !last).await else {
                return Ok(());
            };
            let again = error.is_refused() && answers.again(first);
            if last || !again {
                self.moves(statements);
            }
            if !again {
                return Err(error);
            }
            if self.owed > 0 || wire.closed() {
                // It says nothing about the statements, which other sessions know.
                return Err(error);
            }
            for statement in statements {
                self.forget(statement);
            }
            if self.status != IDLE {
                self.rollback(wire).await?;
            }
        }
        self.attempt(wire, frame, statements, answers, false).await
    }

    /// Remembers that what was known wrongly behind the beginning of a transaction depends on its place there.
    fn moves(&mut self, statements: &[&Statement]) {
        let moved = self.moved.take().and_then(|moved| statements.get(moved));
        moved.unwrap_or_default().iter().for_each(|it| self.learned.depend(it));
    }

    /// Runs a read that the environment does not know yet, in the flight in which the server tells of it: with its rows
    /// asked for in binary, which is how nearly all types are read. False if that was not to be, and nothing was given:
    /// then what was learned is kept, and it runs as any other.
    ///
    /// Only a read, since nothing of it need be taken back where it was in vain.
    async fn attempt_untold(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        mut unknown: Vec<Learning>,
        answers: &mut Answers<'_>,
    ) -> Result<bool> {
        let first = answers.at();
        loop {
            let asked: Vec<Asked<'_>> = unknown
                .iter()
                .map(|it| Asked {
                    index: it.index,
                    sql: &statements[it.index].sql,
                    declared: &it.declared,
                    name: self.name(),
                })
                .collect();
            let outcome = self.fly_untold(wire, statements, &asked, answers).await;
            let names: Vec<String> = asked.into_iter().map(|it| it.name).collect();
            if self.pooled() {
                // What has no name is gone with its flight.
                unknown.iter().for_each(|it| drop(self.prepared.remove(statements[it.index])));
            }
            let Heard { refused, outdated, unread, .. } = outcome?;
            // What is refused as what it is not is no failure, as long as the session goes on.
            let gone = self.owed > 0 || wire.closed();
            let failed = match refused {
                None if !outdated => return Ok(true),
                Some(Refused { unit, bound, notice }) if gone || !outdated => {
                    let asked = unknown.iter_mut().find(|it| !gone && unit == Unit::Learn(it.index));
                    let notice = match asked.map(|it| it.declare(statements[it.index], notice.clone())) {
                        Some(Ok(())) => {
                            answers.again(first);
                            self.undo(wire).await?;
                            continue;
                        }
                        Some(Err(told)) => told,
                        None => notice,
                    };
                    Some(self.refusal(&Refused { unit, bound, notice }, statements, false))
                }
                _ if gone => Some(garbage("the end of the session behind a statement")),
                _ => None,
            };
            if let Some(error) = failed
                && (gone || !error.is_refused() || !answers.again(first))
            {
                return Err(error);
            }
            answers.again(first);
            self.undo(wire).await?;
            for (index, mut description) in unread {
                if let Some(at) = unknown.iter().position(|it| it.index == index) {
                    description.name.clone_from(&names[at]);
                    self.keep(wire, statements[index], &unknown[at], description).await?;
                }
            }
            return Ok(false);
        }
    }

    /// Ends a transaction that was begun in vain, if there is one.
    async fn undo(&mut self, wire: &mut Wire) -> Result<()> {
        if self.status == IDLE { Ok(()) } else { self.rollback(wire).await }
    }

    /// Whether a read may go out before it is known: nothing before one of its statements makes another statement of it.
    fn may_fly_untold(&self, statements: &[&Statement]) -> bool {
        let stays = |(at, it): (usize, &&Statement)| at == 0 || !self.learned.depends(it);
        self.pipeline
            && !statements.iter().any(|it| redefines(&it.sql))
            && statements.iter().enumerate().all(stays)
    }

    /// Sends a read with what is asked about its statements: before it all, where an error begins no transaction; or
    /// behind what stands before the statement, which may depend on it.
    async fn fly_untold(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        asked: &[Asked<'_>],
        answers: &mut Answers<'_>,
    ) -> Result<Heard> {
        let mut units = VecDeque::with_capacity(3 * statements.len() + 4);
        let unknown = |index: usize| asked.iter().any(|it| it.index == index).then_some(Unit::Learn(index));
        units.extend(unknown(0));
        self.push_begin(&mut units, Access::Read);
        for index in 0..statements.len() {
            if index > 0 {
                units.push_back(Unit::Flush);
                units.extend(unknown(index));
            }
            units.push_back(Unit::Step(index));
        }
        units.extend([Unit::Control(Control::Commit), Unit::Sync]);
        answers.told_every(1);
        let sending = Sending::Steps { statements, lasting: false, untold: asked };
        self.talk(wire, units, sending, &mut Hearing::Steps { answers, patience: UNREAD }).await
    }

    /// Takes in what the server says of a statement that it is about to run. Given back if its rows will come otherwise
    /// than we read them.
    fn told(
        &mut self,
        statement: &Statement,
        asked: &Asked<'_>,
        description: Description,
    ) -> Option<Description> {
        if !self.learned.all_binary(&description.fields) {
            return Some(description);
        }
        let Description { taken, mut fields, .. } = description;
        fields.iter_mut().for_each(|field| field.format = types::BINARY);
        let formats = fields.iter().map(|field| field.format).collect();
        let columns = self.learned.columns(&fields);
        let known = Arc::new(Known { declared: asked.declared.into(), taken: taken.into(), fields, formats });
        self.learned.keep(statement, &known);
        self.prepared.insert(statement, Prepared { name: asked.name.as_str().into(), known, columns });
        None
    }

    /// Begins a transaction, with its limits where no session has them.
    fn push_begin(&self, units: &mut VecDeque<Unit>, access: Access) {
        units.extend(self.beginning(access).map(Unit::Control));
    }

    /// Gives the statements that were learned where they stood the names back that they had before.
    fn restore(&mut self) {
        self.moved = None;
        // The first one that was put aside is the one that had a name.
        for (statement, named) in std::mem::take(&mut self.in_place).into_iter().rev() {
            self.prepared.remove(&statement);
            if let Some(named) = named {
                self.prepared.insert(&statement, named);
            }
        }
    }

    async fn attempt(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
        untold: bool,
    ) -> Result<()> {
        self.restore();
        let mut unknown = if within(frame) { Vec::new() } else { self.unknown(statements) };
        if !unknown.is_empty() && untold && frame == Frame::Read && self.may_fly_untold(statements) {
            if self.attempt_untold(wire, statements, unknown, answers).await? {
                return Ok(());
            }
            unknown = self.unknown(statements);
        }
        self.learn_before(wire, statements, unknown).await?;
        let (mut next, mut in_place, mut same) = (0, false, true);
        while next < statements.len() {
            let behind = next > 0 || within(frame);
            self.flying.clear();
            if behind && self.learned.depends(statements[next]) {
                in_place = true;
                same &= self.learn_in_place(wire, statements[next]).await?;
            } else if let Some(known) = self.learned.known(statements[next]) {
                self.flying.push((next, known));
            } else if behind {
                // What it needs has been made by a step before it, or it fails.
                self.learn_one(wire, statements[next]).await?;
                continue;
            } else {
                // Another session has found it outdated meanwhile.
                let unknown = self.unknown(&statements[next..=next]);
                self.learn_before(wire, &statements[next..=next], unknown).await?;
                continue;
            }
            let mut end = next + 1;
            let mut redefined = redefines(&statements[next].sql);
            while end < statements.len() && !redefined {
                // A batch has a thousand of one.
                if !alike(statements[end - 1], statements[end]) {
                    let depends = self.learned.depends(statements[end]);
                    let Some(known) = self.learned.known(statements[end]).filter(|_| !depends) else { break };
                    self.flying.push((end, known));
                    redefined = redefines(&statements[end].sql);
                }
                end += 1;
            }
            self.fly(wire, frame, statements, next..end, answers).await?;
            if answers.failed() {
                // What comes after it is not run.
                return Ok(());
            }
            if redefined {
                // What comes behind it may be another statement by now.
                for statement in &statements[end..] {
                    self.forget(statement);
                }
            }
            next = end;
        }
        if in_place && same {
            // It was the world that had moved on, and not the transaction.
            statements.iter().for_each(|it| self.learned.settle(it));
        }
        Ok(())
    }

    /// Sends some of the statements, the first of them with what stands before them and the last with what stands behind.
    async fn fly(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        part: std::ops::Range<usize>,
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        let pooled = self.pooled();
        let mut units = VecDeque::with_capacity(part.len() + 6);
        // The server keeps its answers to itself until the Sync, or until its buffer is full, and each step has a limit of
        // its own: so it is told to say them sooner. It takes that for a reason to write to the socket, so not each time
        // in a long list.
        let told_every = if part.len() > MOST_FLUSHED { FLUSHED_EVERY } else { 1 };
        answers.told_every(told_every);
        let steps = |of: std::ops::Range<usize>| {
            let part = part.clone();
            of.flat_map(move |step| {
                let last = step + 1 == part.end;
                let flush = !last && (step + 1 - part.start).is_multiple_of(told_every);
                [Some(Unit::Step(step)), flush.then_some(Unit::Flush)].into_iter().flatten()
            })
        };
        let whole = part.end == statements.len();
        match frame {
            // In several parts only where something must be learned of a statement that those before it lead to.
            Frame::Read => {
                if part.start == 0 {
                    self.push_begin(&mut units, Access::Read);
                }
                units.extend(steps(part.clone()));
                if whole {
                    units.push_back(Unit::Control(Control::Commit));
                }
                units.push_back(Unit::Sync);
            }
            Frame::Begin(access) => {
                if part.start == 0 {
                    self.push_begin(&mut units, access);
                }
                units.extend(steps(part.clone()));
                units.push_back(Unit::Sync);
            }
            // BEGIN goes behind what guards it. What was done before it since the last Sync becomes part of its
            // transaction; where that fails, the server undoes it at the Sync, and nothing has begun. A session that is
            // read-only by default may write before BEGIN only if that is said before all else.
            Frame::Guarded(guards) if part.start == 0 && guards <= part.end && self.pipeline => {
                if self.pooling != Pooling::RdsProxy {
                    units.push_back(Unit::Control(Control::WriteNow));
                }
                units.extend(steps(0..guards));
                self.push_begin(&mut units, Access::Write);
                units.extend(steps(guards..part.end));
                units.push_back(Unit::Sync);
            }
            Frame::Guarded(_) => {
                if part.start == 0 {
                    self.push_begin(&mut units, Access::Write);
                }
                units.extend(steps(part.clone()));
                units.push_back(Unit::Sync);
            }
            // After a failure the server passes over COMMIT.
            Frame::Commit if whole => {
                units.extend(steps(part.clone()));
                units.extend([Unit::Control(Control::Commit), Unit::Sync]);
            }
            Frame::Within | Frame::Commit => {
                units.extend(steps(part.clone()));
                units.push_back(Unit::Sync);
            }
            // There is no session that could be read-only behind a pooler.
            Frame::Alone if pooled => {
                units.extend(steps(part.clone()));
                units.push_back(Unit::Sync);
            }
            Frame::Alone => {
                units.extend([Unit::Control(Control::Writing), Unit::Sync]);
                units.extend(steps(part.clone()));
                units.extend([Unit::Sync, Unit::Control(Control::Reading), Unit::Sync]);
            }
        }
        let patience = if frame == Frame::Alone { usize::MAX } else { UNREAD };
        // What such a statement has done stands before its description could be judged.
        let lasting = matches!(frame, Frame::Alone | Frame::Commit);
        let sending = Sending::Steps { statements, lasting, untold: &[] };
        let heard = if self.pipeline {
            let mut hearing = Hearing::Steps { answers, patience };
            self.talk(wire, units, sending, &mut hearing).await?
        } else {
            self.one_by_one(wire, units, sending, answers, patience).await?
        };
        // What a statement by itself did stands, whatever becomes of that: a session that has not turned read-only again
        // says so.
        let stands =
            |refused: &Refused| frame == Frame::Alone && refused.unit == Unit::Control(Control::Reading);
        // It may have been refused as what it is no more.
        let excused = heard.outdated && frame != Frame::Alone && self.owed == 0;
        if let Some(refused) = heard.refused.filter(|refused| !excused && !stands(refused)) {
            return Err(self.refusal(&refused, statements, within(frame)));
        }
        if frame == Frame::Commit && whole {
            committed(&heard.tag)?;
        }
        if heard.outdated {
            self.moved = Some(part.start.max(usize::from(!within(frame)))..part.end);
            for statement in &statements[part] {
                self.forget(statement);
            }
            let why = "the statement gives other columns, or takes other parameters, than it did before";
            if frame != Frame::Alone {
                return Err(Error::new(Fault::ConnectionLost, why).as_refused());
            }
            // It has committed by itself.
            answers.fail(Error::new(Fault::QueryFailed, why));
            answers.end(Done::default());
        }
        Ok(())
    }

    /// What a transaction begins with.
    pub(crate) fn beginning(&self, access: Access) -> impl Iterator<Item = Control> + use<> {
        let begin = match access {
            Access::Read => Control::BeginRead,
            Access::Write => Control::BeginWrite,
        };
        let limits = (self.pooling == Pooling::Transaction).then_some([Control::Limit, Control::IdleLimit]);
        std::iter::once(begin).chain(limits.into_iter().flatten())
    }

    /// The error that a statement's refusal is. `behind` says that the transaction has begun before the first of them.
    pub(crate) fn refusal(&mut self, refused: &Refused, statements: &[&Statement], behind: bool) -> Error {
        let told = refused.notice.told();
        let (doing, statement) = match refused.unit {
            Unit::Step(index) | Unit::Learn(index) => (self.doing, statements.get(index)),
            Unit::Control(Control::BeginWrite | Control::WriteNow | Control::Writing) => (Doing::Begin, None),
            Unit::Control(Control::Commit) if self.doing != Doing::Read => (Doing::Commit, None),
            Unit::Control(_) | Unit::Flush | Unit::Sync => (self.doing, None),
        };
        let Some(statement) = statement else {
            let error = classify::error_of(&told, At::ours(doing), self.log_values);
            self.dropped(&error);
            return error;
        };
        let at = At { doing, parameters: !statement.arguments.is_empty(), sql: &statement.sql };
        let mut error = classify::error_of(&told, at, self.log_values);
        if matches!(refused.unit, Unit::Step(_)) && classify::is_outgrown(&told) {
            error = error.into_fault(Fault::ConnectionLost).as_refused();
        }
        if error.is_refused() {
            if let Unit::Step(index) = refused.unit
                && (index > 0 || behind)
            {
                // And so may be those behind it.
                self.moved = Some(index..statements.len());
            }
            self.forget(statement);
        }
        self.dropped(&error);
        // Its context names the parameter: what the caller gave is not what the place takes, whatever the type's own
        // reader calls that.
        let parameter = told.parameter().filter(|_| !refused.bound);
        match parameter.and_then(|at| statement.arguments.get(at)) {
            Some(argument) if matches!(error.fault(), Fault::QueryFailed | Fault::BadParameter) => {
                Error::told(
                    Fault::BadParameter,
                    format!("Parameter `{}` has a value that the database does not take.", argument.name),
                )
                .with_detail(error.detail().to_owned())
                .with_sqlstate(told.code)
            }
            _ => error,
        }
    }

    /// If somebody has dropped a statement that had a name, hardly that one alone: all get new names. Those that are there
    /// still keep theirs, which must not be given again.
    fn dropped(&mut self, error: &Error) {
        if error.is_refused() && error.sqlstate() == Some(classify::INVALID_SQL_STATEMENT_NAME) {
            self.controls.clear();
            self.prepared = ByStatement::default();
            #[cfg(feature = "sea-orm")]
            {
                self.around = ByStatement::default();
            }
            self.generation += 1;
        }
    }

    fn forget(&mut self, statement: &Statement) {
        self.learned.forget(statement);
        // Its name is never given again, and goes with the session.
        self.prepared.remove(statement);
    }

    /// The same as [`Self::learn`], before any of the statements has run: so whatever ends the session then, none has.
    async fn learn_before(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        learning: Vec<Learning>,
    ) -> Result<()> {
        let learned = self.learn(wire, statements, learning).await;
        learned.map_err(|error| if self.owed > 0 || wire.closed() { error.as_refused() } else { error })
    }

    /// Asks the server about the statements that the environment does not know, in one flight; once more for those with
    /// parameters whose type it cannot infer. Outside a transaction, which a failure would end.
    ///
    /// # Errors
    /// Why the first of them was not learned. The others may need what comes before them.
    async fn learn(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        mut learning: Vec<Learning>,
    ) -> Result<()> {
        while !learning.is_empty() {
            let (learned, refused) = self.ask_about(wire, &learning, statements, true).await?;
            for (at, description) in learned {
                self.keep(wire, statements[learning[at].index], &learning[at], description).await?;
            }
            let mut again = Vec::new();
            for (at, notice) in refused {
                let mut it = learning[at].clone();
                match it.declare(statements[it.index], notice) {
                    Ok(()) => again.push(it),
                    Err(notice) if it.index == 0 => {
                        let refused = Refused { unit: Unit::Learn(0), bound: false, notice };
                        return Err(self.refusal(&refused, statements, false));
                    }
                    Err(_) => {}
                }
            }
            learning = again;
        }
        Ok(())
    }

    /// The statements that the environment does not know, each once. What is known of the others may be sent.
    fn unknown(&mut self, statements: &[&Statement]) -> Vec<Learning> {
        let mut unknown: Vec<Learning> = Vec::new();
        self.flying.clear();
        for (index, statement) in statements.iter().enumerate() {
            if index > 0 && alike(statements[index - 1], statement) {
                continue;
            }
            let met = |other: &Learning| alike(statements[other.index], statement);
            match self.learned.known(statement) {
                Some(known) => self.flying.push((index, known)),
                None if unknown.iter().any(met) => {}
                None => unknown.push(Learning::of(index, statement)),
            }
        }
        unknown
    }

    /// The same for one statement inside a transaction.
    async fn learn_one(&mut self, wire: &mut Wire, statement: &Statement) -> Result<()> {
        let learning = Learning::of(0, statement);
        let (learned, refused) =
            self.ask_about(wire, std::slice::from_ref(&learning), &[statement], true).await?;
        for (_, description) in learned {
            self.keep(wire, statement, &learning, description).await?;
        }
        match refused.into_iter().next() {
            None => Ok(()),
            Some((_, notice)) => {
                let refused = Refused { unit: Unit::Learn(0), bound: false, notice };
                Err(self.refusal(&refused, &[statement], false))
            }
        }
    }

    /// The same for one that may be another statement here than where it was learned, for what stands before it in the
    /// transaction: without a name, and for this once. True if it is the same.
    async fn learn_in_place(&mut self, wire: &mut Wire, statement: &Statement) -> Result<bool> {
        let elsewhere = self.learned.known(statement);
        let mut learning = Learning::of(0, statement);
        if let Some(known) = &elsewhere {
            learning.declared = known.declared.to_vec();
        }
        loop {
            let (learned, refused) =
                self.ask_about(wire, std::slice::from_ref(&learning), &[statement], false).await?;
            if let Some((_, notice)) = refused.into_iter().next() {
                let refused = Refused { unit: Unit::Learn(0), bound: false, notice };
                return Err(self.refusal(&refused, &[statement], false));
            }
            let Some((_, description)) = learned.into_iter().next() else {
                return Err(garbage("no description of a statement"));
            };
            let met = self.learned.unknown_types(&description.fields).is_empty();
            let (known, _, columns) = self.understand(wire, &learning, description).await?;
            if !met {
                // The question about the types has taken the place of what has no name.
                continue;
            }
            let same =
                elsewhere.as_ref().is_some_and(|it| it.fields == known.fields && it.taken == known.taken);
            self.in_place.push((bare(statement), self.prepared.remove(statement)));
            self.prepared.insert(statement, Prepared { name: "".into(), known, columns });
            return Ok(same);
        }
    }

    /// Parses statements and hears what the server makes of them: their descriptions, and the refusals, by their place in
    /// the list. With names, where statements have any, or without.
    async fn ask_about(
        &mut self,
        wire: &mut Wire,
        learning: &[Learning],
        statements: &[&Statement],
        named: bool,
    ) -> Result<(Vec<(usize, Description)>, Vec<(usize, Notice)>)> {
        let asked: Vec<Asked<'_>> = learning
            .iter()
            .enumerate()
            .map(|(at, it)| {
                let name = if named { self.name() } else { String::new() };
                Asked { index: at, sql: &statements[it.index].sql, declared: &it.declared, name }
            })
            .collect();
        let (mut described, mut refused) = (Vec::new(), Vec::new());
        loop {
            let units = self.asking(described.len() + refused.len()..asked.len());
            if units.is_empty() {
                return Ok((described, refused));
            }
            let mut descriptions = Vec::new();
            let mut hearing = Hearing::Learn(&mut descriptions);
            let heard = self.talk(wire, units, Sending::Learn(&asked), &mut hearing).await?;
            if let Some(refused) = heard.refused {
                // The end of the session, which is no answer to the statement.
                return Err(classify::error_of(
                    &refused.notice.told(),
                    At::ours(self.doing),
                    self.log_values,
                ));
            }
            for (at, mut description) in descriptions {
                description.name.clone_from(&asked[at].name);
                described.push((at, description));
            }
            refused.extend(heard.unlearned);
        }
    }

    /// What is said to ask about those statements that have not been answered yet.
    ///
    /// Behind a pooler there is one Sync in a flight: if the client goes away after the answer to a first one, PgBouncer up to
    /// 1.22.0 lends the connection to somebody else, who then gets the answers to what stood behind it. A refusal passes over
    /// what follows it up to the Sync, and so that is asked again.
    fn asking(&self, which: std::ops::Range<usize>) -> VecDeque<Unit> {
        let learn = which.map(Unit::Learn);
        match (self.pipeline, self.pooled()) {
            (true, false) => learn.flat_map(|unit| [unit, Unit::Sync]).collect(),
            (true, true) if learn.len() > 0 => learn.chain([Unit::Sync]).collect(),
            _ => learn.take(1).flat_map(|unit| [unit, Unit::Sync]).collect(),
        }
    }

    /// Keeps what was learned of a statement, once its types are known.
    async fn keep(
        &mut self,
        wire: &mut Wire,
        statement: &Statement,
        learning: &Learning,
        description: Description,
    ) -> Result<()> {
        let (known, name, columns) = self.understand(wire, learning, description).await?;
        self.learned.keep(statement, &known);
        if !name.is_empty() {
            self.prepared.insert(statement, Prepared { name: name.into(), known, columns });
        }
        Ok(())
    }

    /// What a description means: what is known of the statement by it, its name, and how its rows are read.
    async fn understand(
        &mut self,
        wire: &mut Wire,
        learning: &Learning,
        description: Description,
    ) -> Result<(Arc<Known>, String, Option<Columns>)> {
        let Description { taken, mut fields, name } = description;
        let unknown = self.learned.unknown_types(&fields);
        if !unknown.is_empty() {
            let rows = self.simple(wire, &types::question(&unknown), At::ours(self.doing)).await?;
            self.learned.learn_types(&unknown, &rows);
        }
        for field in &mut fields {
            field.format = self.learned.decoder(field.oid).format();
        }
        let formats = fields.iter().map(|field| field.format).collect();
        let columns = self.learned.columns(&fields);
        let known =
            Known { declared: learning.declared.clone().into(), taken: taken.into(), fields, formats };
        Ok((Arc::new(known), name, columns))
    }

    /// A name for a statement; none behind a pooler, where it would stay on a connection that somebody else gets next.
    fn name(&mut self) -> String {
        if self.pooled() {
            return String::new();
        }
        self.named += 1;
        format!("s{}", self.named)
    }

    /// The same without sending anything ahead: each unit is a flight.
    async fn one_by_one(
        &mut self,
        wire: &mut Wire,
        units: VecDeque<Unit>,
        sending: Sending<'_>,
        answers: &mut Answers<'_>,
        patience: usize,
    ) -> Result<Heard> {
        let mut last = Heard::default();
        for unit in units.into_iter().filter(|unit| !matches!(unit, Unit::Flush | Unit::Sync)) {
            let one = VecDeque::from([unit, Unit::Sync]);
            let mut hearing = Hearing::Steps { answers, patience };
            last = self.talk(wire, one, sending, &mut hearing).await?;
            // What belongs behind a statement that has ended, whatever became of it, is said all the same.
            let ends = matches!(unit, Unit::Step(_))
                && (last.refused.is_some() || last.outdated || answers.failed());
            if ends && !self.pooled() && self.status == IDLE && self.doing == Doing::Write {
                self.autocommit(wire, false).await?;
            }
            if ends || last.refused.is_some() {
                break;
            }
        }
        Ok(last)
    }

    /// Sends units that are none of the statements, and hears the answers to them.
    async fn converse(&mut self, wire: &mut Wire, units: VecDeque<Unit>) -> Result<Heard> {
        let sending = Sending::Steps { statements: &[], lasting: false, untold: &[] };
        self.talk(wire, units, sending, &mut Hearing::Nothing).await
    }

    async fn talk(
        &mut self,
        wire: &mut Wire,
        units: VecDeque<Unit>,
        sending: Sending<'_>,
        hearing: &mut Hearing<'_, '_>,
    ) -> Result<Heard> {
        let before = wire.sent();
        let outcome = self.exchange(wire, units, sending, hearing).await;
        if outcome.is_err() {
            // What has come is not understood, or has not been read to its end: it would be taken for the next answer.
            self.owed = self.owed.max(1);
        }
        match outcome {
            Ok(heard) => Ok(heard),
            Err(Stopped::Told(error)) => Err(error),
            Err(Stopped::Wire(error)) => {
                let lost =
                    Error::new(Fault::ConnectionLost, format!("the connection to the server broke: {error}"));
                Err(if wire.sent() == before { lost.as_refused() } else { lost })
            }
        }
    }

    async fn exchange(
        &mut self,
        wire: &mut Wire,
        mut units: VecDeque<Unit>,
        sending: Sending<'_>,
        hearing: &mut Hearing<'_, '_>,
    ) -> Result<Heard, Stopped> {
        let mut heard = Heard::default();
        // How many of the units have been sent: those at the front, of which the first is the one that is answered.
        let mut sent = 0;
        let mut at = Place::default();
        let mut unread = 0;
        self.owed +=
            u32::try_from(units.iter().filter(|unit| **unit == Unit::Sync).count()).unwrap_or(u32::MAX);
        loop {
            while sent < units.len() && wire.output().len() < FEED {
                self.encode(wire, units[sent], &sending)?;
                if units[sent] == Unit::Flush {
                    units.remove(sent);
                } else {
                    sent += 1;
                }
            }
            let mut used = 0;
            loop {
                let (message, length) = match front(&wire.input()[used..])? {
                    Front::Whole(message, length) => (message, length),
                    Front::Part => break,
                    Front::LongRow(length) => {
                        if let Hearing::Steps { answers, .. } = hearing {
                            answers.fail(too_large());
                        }
                        wire.take(std::mem::take(&mut used));
                        unread += length;
                        if let Hearing::Steps { answers, patience } = hearing
                            && unread > *patience
                            && let Err((_, error)) = answers.outcome()
                        {
                            return Err(Stopped::Told(error));
                        }
                        wire.skip(length).await.map_err(|error| lost(&heard, error))?;
                        continue;
                    }
                };
                used += length;
                if self.unasked(message) {
                    continue;
                }
                let Some(unit) = units.front().copied() else {
                    // What was asked is answered. The server may take leave now; anything else would be taken for the next
                    // answer, and either way nothing more is asked here.
                    self.owed = self.owed.max(1);
                    break;
                };
                match (unit, message.kind) {
                    (_, ERROR) => {
                        let notice = Notice::parse(message.body);
                        let ends = notice.told().severity != ERROR_SEVERITY;
                        if let (Unit::Learn(index), Hearing::Learn(_), false) = (unit, &hearing, ends) {
                            heard.unlearned.push((index, notice));
                        } else if heard.refused.is_none() {
                            heard.refused = Some(Refused { unit, bound: at.bound, notice });
                        }
                        if ends {
                            // The server hangs up after it.
                            wire.take(used);
                            return Ok(heard);
                        }
                        to_sync(&mut units, &mut sent);
                        at = Place::default();
                    }
                    (Unit::Sync, READY) => {
                        let [status] = *message.body else { return Err(garbage("a status").into()) };
                        (self.status, self.owed) = (status, self.owed.saturating_sub(1));
                        units.pop_front();
                        sent -= 1;
                        at = Place::default();
                    }
                    (Unit::Control(_) | Unit::Step(_) | Unit::Learn(_), PARSE_COMPLETE | CLOSE_COMPLETE) => {}
                    (Unit::Control(control), BIND_COMPLETE) => self.named(control),
                    (Unit::Control(_), COMMAND_COMPLETE) => {
                        heard.tag = Rest(message.body).string().unwrap_or_default();
                        units.pop_front();
                        sent -= 1;
                    }
                    (Unit::Step(index), kind) => {
                        let (Hearing::Steps { answers, patience }, Sending::Steps { statements, .. }) =
                            (&mut *hearing, &sending)
                        else {
                            return Err(garbage("a row").into());
                        };
                        let ended = self.step(
                            kind,
                            message,
                            statements[index],
                            &mut at,
                            answers,
                            &mut heard.outdated,
                        )?;
                        if kind == DATA_ROW && answers.failed() {
                            unread += length;
                            if unread > *patience {
                                wire.take(used);
                                return Err(answers.outcome().err().map_or_else(
                                    || garbage("a failure").into(),
                                    |(_, error)| Stopped::Told(error),
                                ));
                            }
                        } else if kind == DATA_ROW
                            && !heard.outdated
                            && let Some(columns) = &mut at.columns
                            && let Some(rows) = answers.rows()
                        {
                            let (length, failed) = columns.rows(&wire.input()[used..], rows);
                            used += length;
                            if let Some(error) = failed {
                                answers.fail(error);
                            }
                        }
                        if ended {
                            units.pop_front();
                            sent -= 1;
                            at = Place::default();
                            if answers.failed() {
                                // What has not been sent yet need not be.
                                unsent_to_sync(&mut units, sent);
                            }
                        }
                    }
                    (Unit::Learn(index), kind) => {
                        if !at.learned(kind, message)? {
                            continue;
                        }
                        let description = Description {
                            taken: std::mem::take(&mut at.taken),
                            fields: std::mem::take(&mut at.fields),
                            name: String::new(),
                        };
                        match (&mut *hearing, &sending) {
                            (Hearing::Learn(descriptions), _) => descriptions.push((index, description)),
                            (Hearing::Steps { .. }, Sending::Steps { statements, untold, .. }) => {
                                let asked = untold.iter().find(|it| it.index == index);
                                let asked = asked.ok_or_else(|| garbage("a description"))?;
                                if let Some(unread) = self.told(statements[index], asked, description) {
                                    heard.unread.push((index, unread));
                                    heard.outdated = true;
                                }
                            }
                            _ => return Err(garbage("a description").into()),
                        }
                        units.pop_front();
                        sent -= 1;
                    }
                    (_, kind) => return Err(garbage(&format!("a message of kind {kind:#04x}")).into()),
                }
            }
            wire.take(used);
            if units.is_empty() {
                return Ok(heard);
            }
            if let Hearing::Steps { answers, .. } = hearing {
                answers.drain().await;
            }
            wire.turn(sent < units.len()).await.map_err(|error| lost(&heard, error))?;
        }
    }

    /// Takes in a message that may come at any time. False for all others.
    fn unasked(&mut self, message: Message<'_>) -> bool {
        match message.kind {
            NOTICE => self.notice(message.body),
            NOTIFICATION => {}
            PARAMETER_STATUS => self.reported.hear(message.body),
            _ => return false,
        }
        true
    }

    /// Takes in one message of the answer to a statement. True with its last one.
    fn step(
        &mut self,
        kind: u8,
        message: Message<'_>,
        statement: &Statement,
        at: &mut Place,
        answers: &mut Answers<'_>,
        outdated: &mut bool,
    ) -> Result<bool, Stopped> {
        if *outdated {
            // Of no use any more: it is run again, or told as done.
            return Ok(matches!(kind, COMMAND_COMPLETE | EMPTY_QUERY));
        }
        match kind {
            // What it would be now, before anything of it has run.
            PARAMETER_DESCRIPTION if !at.bound => {
                let taken = taken(message.body).ok_or_else(|| garbage("a description of parameters"))?;
                *outdated = self.prepared.get(statement).is_none_or(|it| *it.known.taken != *taken);
                Ok(false)
            }
            ROW_DESCRIPTION | NO_DATA if !at.bound => Ok(false),
            DATA_ROW if at.bound => {
                if let Some(rows) = answers.rows() {
                    let Some(columns) = &mut at.columns else { return Err(garbage("a row").into()) };
                    if let Err(error) = columns.row(message.body, rows) {
                        answers.fail(error);
                    }
                }
                Ok(false)
            }
            BIND_COMPLETE => {
                at.bound = true;
                at.columns = self.prepared.get(statement).and_then(|it| it.columns.take());
                if let Some(columns) = &at.columns
                    && let Some(rows) = answers.rows()
                    && let Err(error) = columns.name(rows)
                {
                    answers.fail(error);
                }
                Ok(false)
            }
            ROW_DESCRIPTION if at.bound => {
                let fields = fields(message.body).ok_or_else(|| garbage("a description of rows"))?;
                match self.learned.columns(&fields) {
                    Some(columns) => {
                        if let Some(rows) = answers.rows()
                            && let Err(error) = columns.name(rows)
                        {
                            answers.fail(error);
                        }
                        at.columns = Some(columns);
                    }
                    None => *outdated = true,
                }
                Ok(false)
            }
            NO_DATA if at.bound => {
                at.columns = self.learned.columns(&[]);
                Ok(false)
            }
            COMMAND_COMPLETE if at.bound => {
                // Kept for the next time, where the statement has a name.
                if let Some(prepared) = self.prepared.get(statement) {
                    prepared.columns = at.columns.take();
                }
                answers.end(Done { rows_affected: affected(message.body), last_insert_id: None });
                Ok(true)
            }
            EMPTY_QUERY if at.bound => {
                answers.end(Done::default());
                Ok(true)
            }
            // What comes then are lines of a file, or they are waited for: the session is closed.
            COPY_IN | COPY_OUT | COPY_BOTH if at.bound => Err(Error::new(
                Fault::QueryFailed,
                "the statement copies from STDIN or to STDOUT, which gives no rows: write it as INSERT or SELECT",
            )
            .into()),
            kind => {
                Err(garbage(&format!("a message of kind {kind:#04x} in the answer to a statement")).into())
            }
        }
    }

    fn encode(&mut self, wire: &mut Wire, unit: Unit, sending: &Sending<'_>) -> Result<(), Stopped> {
        let written = match (unit, sending) {
            (Unit::Sync, _) => {
                frontend::sync(wire.output());
                Ok(())
            }
            (Unit::Flush, _) => {
                frontend::flush(wire.output());
                Ok(())
            }
            (Unit::Control(control), _) => return Ok(self.encode_control(wire.output(), control)?),
            (Unit::Learn(at), Sending::Learn(asked) | Sending::Steps { untold: asked, .. }) => {
                let it = asked.iter().find(|it| it.index == at);
                let Asked { sql, declared, name, .. } =
                    it.ok_or_else(|| garbage("bug: nothing to ask about"))?;
                frontend::parse(name, sql, declared.iter().copied(), wire.output())
                    .and_then(|()| frontend::describe(b'S', name, wire.output()))
            }
            (Unit::Step(at), Sending::Steps { statements, lasting, untold }) => {
                return match untold.iter().find(|it| alike(statements[it.index], statements[at])) {
                    Some(asked) => Ok(encode_untold(wire.output(), statements[at], asked)?),
                    None => self.encode_step(wire, statements, at, *lasting),
                };
            }
            (Unit::Step(_), _) => return Err(garbage("bug: nothing to send").into()),
        };
        Ok(written.map_err(unsendable)?)
    }

    /// Says one of our own statements.
    pub(crate) fn encode_control(&self, out: &mut BytesMut, control: Control) -> Result<()> {
        let limit = self.limit.as_millis();
        let text = match control {
            Control::Limit => format!("SET LOCAL statement_timeout = {limit}"),
            Control::IdleLimit => format!("SET LOCAL idle_in_transaction_session_timeout = {limit}"),
            control => control.text().to_owned(),
        };
        let name = match (self.pooled(), self.generation) {
            (true, _) => Cow::Borrowed(""),
            (false, 0) => Cow::Borrowed(control.name()),
            (false, generation) => Cow::Owned(format!("{}{generation}", control.name())),
        };
        let name = &*name;
        if !self.controls.contains(&control) {
            frontend::parse(name, &text, std::iter::empty(), out).map_err(unsendable)?;
        }
        bound(name, &[], &[], out)?;
        frontend::execute("", 0, out).map_err(unsendable)
    }

    /// One of our own statements has been bound, and so has a name.
    pub(crate) fn named(&mut self, control: Control) {
        if !self.pooled() && !self.controls.contains(&control) {
            self.controls.push(control);
        }
    }

    /// Says a statement of ours that stands around one of the driver's and gives nothing that is read, and tells its name:
    /// the empty one where names may not live.
    #[cfg(feature = "sea-orm")]
    pub(crate) fn encode_around(&mut self, out: &mut BytesMut, statement: &Statement) -> Result<Arc<str>> {
        let Statement { sql, arguments } = statement;
        let name = match self.around.get(statement) {
            Some(name) => Arc::clone(name),
            None => {
                let name = self.name();
                frontend::parse(&name, sql, bind::declared(arguments), out).map_err(unsendable)?;
                name.into()
            }
        };
        bound(&name, arguments, &[], out)?;
        frontend::execute("", 0, out).map_err(unsendable)?;
        Ok(name)
    }

    /// Such a statement has been bound, and so has this name.
    #[cfg(feature = "sea-orm")]
    pub(crate) fn named_around(&mut self, statement: &Statement, name: &Arc<str>) {
        if !name.is_empty() {
            self.around.insert(statement, Arc::clone(name));
        }
    }

    /// Sends one of the statements.
    ///
    /// The types that the server infers stay with the name of a statement for as long as it has that. If a column has
    /// another type since, the value would be read as the old one and then turned into the new one, often without an
    /// error: `007` into a number and then into a text. So the statement is shown to the server once more, without a name
    /// and in front of itself: what is said there holds until the end of the transaction, since the lock on the tables
    /// does. `lasting` says that nothing could be taken back then: such a statement has no name.
    fn encode_step(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        at: usize,
        lasting: bool,
    ) -> Result<(), Stopped> {
        let out = wire.output();
        let statement = statements[at];
        // A batch has a thousand of one.
        let shown = at > 0 && alike(statements[at - 1], statement);
        let inferred = |known: &Known| known.declared.contains(&bind::UNKNOWN);
        if lasting && self.prepared.get(statement).is_some_and(|it| inferred(&it.known)) {
            self.prepared.remove(statement);
        }
        let (name, known, fresh) = match self.prepared.get(statement) {
            Some(it) => {
                if !it.name.is_empty() && !shown && inferred(&it.known) {
                    frontend::parse("", &statement.sql, it.known.declared.iter().copied(), out)
                        .and_then(|()| frontend::describe(b'S', "", out))
                        .map_err(unsendable)?;
                }
                (Arc::clone(&it.name), Arc::clone(&it.known), it.columns.is_none())
            }
            None => {
                let of = |from: usize| from <= at && alike(statements[from], statement);
                let known = self.flying.iter().rfind(|(from, _)| of(*from));
                let known = known.ok_or_else(|| garbage("bug: a statement was not learned"))?;
                let known = Arc::clone(&known.1);
                let name: Arc<str> = if lasting && inferred(&known) { "".into() } else { self.name().into() };
                frontend::parse(&name, &statement.sql, known.declared.iter().copied(), out)
                    .map_err(unsendable)?;
                if !name.is_empty() {
                    if inferred(&known) {
                        // Another session has learned it, and what its types were then.
                        frontend::describe(b'S', &name, out).map_err(unsendable)?;
                    }
                    let prepared =
                        Prepared { name: Arc::clone(&name), known: Arc::clone(&known), columns: None };
                    self.prepared.insert(statement, prepared);
                }
                (name, known, true)
            }
        };
        bound(&name, &statement.arguments, &known.formats, out)?;
        if fresh {
            frontend::describe(b'P', "", out).map_err(unsendable)?;
        }
        Ok(frontend::execute("", 0, out).map_err(unsendable)?)
    }

    /// Runs statements that have no parameters, in one message, and gives the rows of all as text.
    pub(crate) async fn simple(
        &mut self,
        wire: &mut Wire,
        sql: &str,
        at: At<'_>,
    ) -> Result<Vec<Vec<Option<String>>>> {
        frontend::query(sql, wire.output()).map_err(unsendable)?;
        self.owed += 1;
        let before = wire.sent();
        let (mut rows, mut held) = (Vec::new(), 0);
        let mut refused: Option<Notice> = None;
        loop {
            let told = crate::messages::next(wire, |message| {
                match message.kind {
                    NOTICE => self.notice(message.body),
                    PARAMETER_STATUS => self.reported.hear(message.body),
                    DATA_ROW => {
                        held += message.body.len();
                        let row = (held <= MOST_OF_TEXT).then(|| texts(message.body)).flatten();
                        rows.push(row.ok_or_else(|| garbage("a row"))?);
                    }
                    ERROR => {
                        let notice = Notice::parse(message.body);
                        let ends = notice.told().severity != ERROR_SEVERITY;
                        refused.get_or_insert(notice);
                        return Ok(ends);
                    }
                    READY => {
                        let [status] = *message.body else { return Err(garbage("a status")) };
                        (self.status, self.owed) = (status, self.owed.saturating_sub(1));
                        return Ok(true);
                    }
                    NOTIFICATION | ROW_DESCRIPTION | COMMAND_COMPLETE | EMPTY_QUERY => {}
                    kind => return Err(garbage(&format!("a message of kind {kind:#04x}"))),
                }
                Ok(false)
            });
            match told.await {
                Ok(false) => {}
                Ok(true) => break,
                Err(crate::messages::Trouble::Told(error)) => return Err(error),
                Err(crate::messages::Trouble::Wire(_)) if refused.is_some() => break,
                Err(crate::messages::Trouble::Wire(error)) => {
                    let text = format!("the connection to the server broke: {error}");
                    let lost = Error::new(Fault::ConnectionLost, text);
                    return Err(if wire.sent() == before { lost.as_refused() } else { lost });
                }
            }
        }
        match refused {
            None => Ok(rows),
            Some(notice) => Err(classify::error_of(&notice.told(), at, self.log_values)),
        }
    }

    /// Shows a statement to the server, and gives what it makes of it; for tools.
    pub(crate) async fn look(
        &mut self,
        wire: &mut Wire,
        statement: &Statement,
    ) -> Result<Result<Arc<Known>, Notice>> {
        self.forget(statement);
        let mut learning = Learning::of(0, statement);
        loop {
            let (learned, refused) =
                self.ask_about(wire, std::slice::from_ref(&learning), &[statement], true).await?;
            for (_, description) in learned {
                self.keep(wire, statement, &learning, description).await?;
            }
            let Some((_, notice)) = refused.into_iter().next() else { break };
            if let Err(first) = learning.declare(statement, notice) {
                return Ok(Err(first));
            }
        }
        let known = self.learned.known(statement);
        known.map(Ok).ok_or_else(|| Error::new(Fault::Internal, "bug: nothing was learned"))
    }

    /// What the server says beside an answer. It may quote values.
    fn notice(&self, body: &[u8]) {
        if self.log_values {
            let notice = Notice::parse(body);
            let told = notice.told();
            tracing::info!("the server says: {}: {}", told.severity, told.message);
        }
    }
}

impl Protocol for Pg {
    async fn run(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        Self::run(self, wire, frame, statements, answers).await
    }

    async fn announce(
        &mut self,
        _wire: &mut Wire,
        statements: &[&Statement],
        _access: Access,
        _shortest: Duration,
    ) -> Result<Vec<Effect>> {
        // All of it has transactions, and the server refuses what has to commit by itself.
        Ok(vec![Effect::Undone; statements.len()])
    }

    async fn effect(&mut self, _wire: &mut Wire, _sql: &str) -> Result<Effect> {
        Ok(Effect::Undone)
    }

    async fn ask(&mut self, wire: &mut Wire, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.simple(wire, sql, At::ours(Doing::Read)).await
    }

    async fn describe(&mut self, wire: &mut Wire, statement: &Statement) -> Result<Described> {
        describe::describe(self, wire, statement).await
    }

    async fn begin(&mut self, wire: &mut Wire, access: Access) -> Result<()> {
        let (text, doing) = match access {
            Access::Read => (Control::BeginRead.text(), Doing::Read),
            Access::Write => (Control::BeginWrite.text(), Doing::Begin),
        };
        self.doing = if access == Access::Read { Doing::Read } else { Doing::Write };
        let limit = self.limit.as_millis();
        let text = match self.pooling {
            Pooling::Transaction => format!(
                "{text}; SET LOCAL statement_timeout = {limit}; \
                 SET LOCAL idle_in_transaction_session_timeout = {limit}"
            ),
            // Told at the start; or not to be told at all, since RDS Proxy would give up sharing the connection.
            Pooling::None | Pooling::RdsProxy => text.to_owned(),
        };
        self.simple(wire, &text, At::ours(doing)).await.map(drop)
    }

    async fn commit(&mut self, wire: &mut Wire) -> Result<()> {
        let doing = if self.doing == Doing::Read { Doing::Read } else { Doing::Commit };
        let units = VecDeque::from([Unit::Control(Control::Commit), Unit::Sync]);
        let heard = self.converse(wire, units).await?;
        if let Some(refused) = heard.refused {
            return Err(classify::error_of(&refused.notice.told(), At::ours(doing), self.log_values));
        }
        committed(&heard.tag)
    }

    async fn rollback(&mut self, wire: &mut Wire) -> Result<()> {
        self.simple(wire, "ROLLBACK", At::ours(self.doing)).await.map(drop)
    }

    async fn autocommit(&mut self, wire: &mut Wire, write: bool) -> Result<()> {
        self.doing = if write { Doing::Write } else { Doing::Read };
        if self.pooled() {
            // There is no session that could be read-only.
            return Ok(());
        }
        let (control, doing) =
            if write { (Control::Writing, Doing::Begin) } else { (Control::Reading, Doing::Read) };
        self.simple(wire, control.text(), At::ours(doing)).await.map(drop)
    }

    async fn ping(&mut self, wire: &mut Wire) -> Result<()> {
        let heard = self.converse(wire, VecDeque::from([Unit::Sync])).await?;
        match heard.refused {
            None => Ok(()),
            Some(refused) => {
                Err(classify::error_of(&refused.notice.told(), At::ours(Doing::Read), self.log_values))
            }
        }
    }

    fn pins(&self, statement: &Statement) -> bool {
        self.pooling == Pooling::RdsProxy && pins(&statement.sql)
    }

    fn state(&self) -> State {
        state(self.status, self.reported.differs(&self.login, self.pooling))
    }

    fn owed(&self) -> bool {
        self.owed > 0
    }

    fn goodbye(&self) -> &'static [u8] {
        // Terminate.
        b"X\0\0\0\x04"
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        self.cancel.clone().map(|cancel| Box::new(cancel) as Box<dyn CancelHandle>)
    }
}

/// What a status of ReadyForQuery means for a session, and whether its settings are others.
pub(crate) fn state(status: u8, differs: bool) -> State {
    match status {
        IDLE if differs => State::Closed,
        IDLE => State::Idle,
        b'T' => State::InTransaction,
        b'E' => State::Failed,
        _ => State::Closed,
    }
}

impl fmt::Debug for Pg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pg")
            .field("status", &char::from(self.status))
            .field("owed", &self.owed)
            .field("doing", &self.doing)
            .field("pooling", &self.pooling)
            .finish_non_exhaustive()
    }
}

impl Control {
    fn text(self) -> &'static str {
        match self {
            Self::BeginRead => "BEGIN READ ONLY",
            Self::BeginWrite => "BEGIN READ WRITE",
            Self::Commit => "COMMIT",
            Self::WriteNow => "SET transaction_read_only = off",
            Self::Writing => "SET default_transaction_read_only = off",
            Self::Reading => "SET default_transaction_read_only = on",
            Self::Limit | Self::IdleLimit => "",
        }
    }

    /// The name that it has in a session.
    fn name(self) -> &'static str {
        match self {
            Self::BeginRead => "br",
            Self::BeginWrite => "bw",
            Self::Commit => "c",
            Self::WriteNow => "n",
            Self::Writing => "w",
            Self::Reading => "r",
            Self::Limit | Self::IdleLimit => "",
        }
    }
}

/// What is sent.
#[derive(Clone, Copy)]
enum Sending<'a> {
    /// Statements; `lasting` says that what they have done cannot be taken back once it has been described. Those that
    /// are `untold` are not known, and asked about in the same flight.
    Steps {
        statements: &'a [&'a Statement],
        lasting: bool,
        untold: &'a [Asked<'a>],
    },
    Learn(&'a [Asked<'a>]),
}

/// Where answers go.
enum Hearing<'a, 'b> {
    /// Nowhere.
    Nothing,
    /// To the reply, of which so many bytes are read that nobody wants.
    Steps {
        answers: &'a mut Answers<'b>,
        patience: usize,
    },
    Learn(&'a mut Vec<(usize, Description)>),
}

/// A statement that is shown to the server.
struct Asked<'a> {
    /// The number of its [`Unit::Learn`].
    index: usize,
    sql: &'a str,
    declared: &'a [u32],
    name: String,
}

/// A statement that is to be learned.
#[derive(Debug, Clone)]
struct Learning {
    index: usize,
    declared: Vec<u32>,
    /// What the server refused first.
    first: Option<Notice>,
}

impl Learning {
    fn of(index: usize, statement: &Statement) -> Self {
        Self { index, declared: bind::declared(&statement.arguments), first: None }
    }

    /// Declares what the server, as it says, cannot infer.
    ///
    /// # Errors
    /// What it refused first, if there is nothing to declare.
    fn declare(&mut self, statement: &Statement, notice: Notice) -> Result<(), Notice> {
        let declared = classify::uninferred(&notice.told())
            .is_some_and(|which| bind::declare(&mut self.declared, &statement.arguments, which));
        let first = self.first.get_or_insert(notice);
        if declared { Ok(()) } else { Err(first.clone()) }
    }
}

/// What the server says of a statement.
#[derive(Debug, Default)]
struct Description {
    taken: Vec<u32>,
    fields: Vec<Field>,
    name: String,
}

/// Where the answer to one unit is.
#[derive(Debug, Default)]
struct Place {
    /// The values have been read.
    bound: bool,
    /// How the statement's rows are read.
    columns: Option<Columns>,
    taken: Vec<u32>,
    fields: Vec<Field>,
}

impl Place {
    /// Takes in what the server says of a statement that it was shown. True with the last of it.
    fn learned(&mut self, kind: u8, message: Message<'_>) -> Result<bool, Stopped> {
        match kind {
            PARAMETER_DESCRIPTION => {
                self.taken = taken(message.body).ok_or_else(|| garbage("a description of parameters"))?;
                Ok(false)
            }
            ROW_DESCRIPTION => {
                self.fields = fields(message.body).ok_or_else(|| garbage("a description of rows"))?;
                Ok(true)
            }
            NO_DATA => {
                self.fields = Vec::new();
                Ok(true)
            }
            kind => Err(garbage(&format!("a message of kind {kind:#04x}")).into()),
        }
    }
}

/// A statement without its values, which may be large and are nobody's to keep.
fn bare(statement: &Statement) -> Statement {
    let bare = |it: &Argument| Argument { name: Arc::clone(&it.name), kind: it.kind, value: Value::Null };
    Statement { sql: Arc::clone(&statement.sql), arguments: statement.arguments.iter().map(bare).collect() }
}

/// Whether the server takes both for the same statement.
fn alike(one: &Statement, other: &Statement) -> bool {
    one.sql == other.sql
        && one.arguments.iter().map(|it| it.kind).eq(other.arguments.iter().map(|it| it.kind))
}

/// Whether the transaction has begun before.
fn within(frame: Frame) -> bool {
    matches!(frame, Frame::Within | Frame::Commit)
}

/// COMMIT in a transaction that has failed is answered with ROLLBACK, and no error.
pub(crate) fn committed(tag: &str) -> Result<()> {
    if tag != "COMMIT" {
        return Err(Error::new(
            Fault::QueryFailed,
            format!("COMMIT was answered with {tag}: a statement of the transaction had failed"),
        ));
    }
    Ok(())
}

/// Drops what stands before the next Sync: the server passes over it.
fn to_sync(units: &mut VecDeque<Unit>, sent: &mut usize) {
    while units.front().is_some_and(|unit| *unit != Unit::Sync) {
        units.pop_front();
        *sent = sent.saturating_sub(1);
    }
}

/// Drops what has not been sent, up to the next Sync.
fn unsent_to_sync(units: &mut VecDeque<Unit>, sent: usize) {
    while units.get(sent).is_some_and(|unit| *unit != Unit::Sync) {
        units.remove(sent);
    }
}

/// The connection broke. An error that was told before stands.
fn lost(heard: &Heard, error: io::Error) -> Stopped {
    match &heard.refused {
        Some(refused) => {
            let told = refused.notice.told();
            let at = At::ours(Doing::Read);
            Stopped::Told(classify::error_of(&told, at, false))
        }
        None => Stopped::Wire(error),
    }
}

/// Sends a statement that the server has just been asked about, and has not answered yet.
fn encode_untold(out: &mut BytesMut, statement: &Statement, asked: &Asked<'_>) -> Result<()> {
    if asked.name.is_empty() {
        // What has no name either, BEGIN, has taken its place.
        frontend::parse("", asked.sql, asked.declared.iter().copied(), out).map_err(unsendable)?;
    }
    // One format is that of all columns.
    bound(&asked.name, &statement.arguments, &[types::BINARY], out)?;
    frontend::execute("", 0, out).map_err(unsendable)
}

/// What the protocol's crate refuses to write: a zero byte in a text, more parameters than there can be.
fn unsendable(error: io::Error) -> Error {
    Error::new(Fault::QueryFailed, format!("the statement cannot be sent: {error}"))
}

/// Binds values to a statement.
fn bound(name: &str, arguments: &[Argument], formats: &[i16], out: &mut BytesMut) -> Result<()> {
    let mut trouble = None;
    let written = frontend::bind(
        "",
        name,
        arguments.iter().map(bind::format),
        arguments,
        |argument, out| match bind::encode(argument, out) {
            Ok(true) => Ok(IsNull::No),
            Ok(false) => Ok(IsNull::Yes),
            Err(error) => {
                trouble = Some(error);
                Err("refused".into())
            }
        },
        formats.iter().copied(),
        out,
    );
    match trouble {
        Some(error) => Err(error),
        None => written.map_err(|_| unsendable(io::ErrorKind::InvalidInput.into())),
    }
}

/// The types in a description of parameters.
fn taken(body: &[u8]) -> Option<Vec<u32>> {
    let mut rest = Rest(body);
    let count = rest.count()?;
    (0..count).map(|_| rest.u32()).collect()
}

fn fields(body: &[u8]) -> Option<Vec<Field>> {
    let mut rest = Rest(body);
    let count = rest.count()?;
    let field = |rest: &mut Rest<'_>| {
        let name = rest.string()?;
        let origin = (rest.u32()?, rest.i16()?);
        let oid = rest.u32()?;
        let (_size, _modifier) = (rest.i16()?, rest.i32()?);
        Some(Field { name, origin, oid, format: rest.i16()? })
    };
    (0..count).map(|_| field(&mut rest)).collect()
}

/// The values of a row that came as text.
fn texts(body: &[u8]) -> Option<Vec<Option<String>>> {
    let mut rest = Rest(body);
    let count = rest.count()?;
    let value = |rest: &mut Rest<'_>| match rest.i32()? {
        -1 => Some(None),
        length => Some(Some(String::from_utf8_lossy(rest.bytes(length)?).into_owned())),
    };
    (0..count).map(|_| value(&mut rest)).collect()
}

/// The number at the end of a command's tag: `INSERT 0 5`, `SELECT 3`.
fn affected(body: &[u8]) -> u64 {
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    let digits = text.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Whether what follows a statement in a list may be another statement after it: it may change tables and types.
fn redefines(sql: &str) -> bool {
    const PLAIN: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE"];
    let mut words = sql.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let word = words.next().unwrap_or_default();
    // Of a transaction itself it changes how it reads, and no table.
    let transaction = word.eq_ignore_ascii_case("SET")
        && words.next().is_some_and(|next| next.eq_ignore_ascii_case("TRANSACTION"));
    !transaction && !PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(word))
}

/// Whether RDS Proxy keeps its connection to the server for a session that runs this: what it says of texts, and of
/// state that outlives a transaction. Our own statements are none of those: they have no name, and there is no `SET`.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>
fn pins(sql: &str) -> bool {
    const LONGEST: usize = 16 * 1024;
    const STATE: [&str; 7] = [
        "nextval",
        "setval",
        "set_config",
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "create temp ",
        "create temporary ",
    ];
    let lower = sql.to_ascii_lowercase();
    sql.len() > LONGEST || STATE.iter().any(|word| lower.contains(word))
}

const IDLE: u8 = b'I';
/// The severity of an error after which the session goes on.
const ERROR_SEVERITY: &str = "ERROR";
/// Up to so many steps the server says of each when it has ended; of more, of every so many.
const MOST_FLUSHED: usize = 64;
const FLUSHED_EVERY: usize = 256;
/// How much of a result is read that nobody wants any more; beyond that a new connection costs less.
const UNREAD: usize = 1 << 20;
/// How much a question of our own may be answered with.
const MOST_OF_TEXT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rds_proxy_pins_for() {
        let check = |sql: &str, want| assert_eq!(pins(sql), want, "{sql}");
        check("SELECT id FROM users WHERE id = $1", false);
        check("SELECT pg_advisory_xact_lock($1)", false);
        check("SELECT pg_advisory_lock($1)", true);
        check("SELECT pg_try_advisory_lock_shared($1)", true);
        check("SELECT NEXTVAL('ids')", true);
        check("CREATE TEMP TABLE t (id int)", true);
        check(&format!("SELECT '{}'", "x".repeat(16 * 1024)), true);
    }

    #[test]
    fn the_tag_says_how_many() {
        for (tag, rows) in [("INSERT 0 5", 5), ("SELECT 3", 3), ("CREATE TABLE", 0), ("UPDATE 0", 0), ("", 0)]
        {
            assert_eq!(affected(format!("{tag}\0").as_bytes()), rows, "{tag}");
        }
    }

    #[test]
    fn what_is_not_plain_may_redefine() {
        for (sql, expected) in [
            ("SELECT 1", false),
            (" (select 1)", false),
            ("with a as (select 1) delete from b", false),
            ("ALTER TABLE t ADD c int", true),
            ("DO $$ begin end $$", true),
            ("call p()", true),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", false),
            ("SET search_path = other", true),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", true),
            ("/* SELECT */ DROP TABLE t", false),
            ("", true),
        ] {
            assert_eq!(redefines(sql), expected, "{sql}");
        }
    }

    #[test]
    fn an_error_passes_over_all_up_to_the_sync() {
        let mut units = VecDeque::from([Unit::Step(0), Unit::Step(1), Unit::Sync, Unit::Step(2), Unit::Sync]);
        let mut sent = 2;
        to_sync(&mut units, &mut sent);
        assert_eq!((units.len(), sent), (3, 0));
        let mut units = VecDeque::from([Unit::Step(0), Unit::Step(1), Unit::Step(2), Unit::Sync]);
        unsent_to_sync(&mut units, 1);
        assert_eq!(units, [Unit::Step(0), Unit::Sync]);
    }
}
