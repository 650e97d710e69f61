//! How MySQL and MariaDB are spoken to once a session is logged in: what goes out together, and what the answers say.
//!
//! A server goes on with what it was sent behind a statement that has failed. After a deadlock, which undoes the whole
//! transaction, the first statement behind it would even be committed. So of several statements that are sent together
//! each stands in a session that does not commit by itself: `SET autocommit = 0` goes before them, and back to 1 behind
//! COMMIT or ROLLBACK. Then whatever runs behind a failure is in a transaction, and undone.
//!
//! What ends the frame also decides, on the server: `SET autocommit = 1` commits, and its value may be an expression. So
//! behind a claim the transaction goes on only if the claim was made ([`UNLESS_ONE`]), and behind its last statement it is
//! committed only if that has changed its row ([`IF_ONE`]), without a flight to ask.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lambda_rds_core::answers::{Answers, GONE};
use lambda_rds_core::backend::{
    Access, CancelHandle, Done, Effect, Frame, Pooling, State, Statement, Target,
};
use lambda_rds_core::connect::live::Protocol;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::describe::Described as Answer;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Value};

use crate::answer::{IN_TRANSACTION, MORE_RESULTS_EXISTS, Part, Prepared, Standing};
use crate::cancel::MySqlCancel;
use crate::capability::Capabilities;
use crate::classify::{self, At, Doing};
use crate::decode::{Columns, Described};
use crate::describe;
use crate::effects::{self, Lasting};
use crate::greeting::Welcome;
use crate::known::Known;
use crate::packet::Refusal;
use crate::talk::{Collected, Collection, Command, Heard, Listener, Stop, Talk, too_large};

/// How one session speaks.
pub(crate) struct MySql {
    pub(crate) spoken: Capabilities,
    pub(crate) standing: Standing,
    cancel: MySqlCancel,
    /// Whether the log may show values, which some of the server's messages hold.
    pub(crate) log_values: bool,
    /// What stands between us and the server: where anything does, a session has no settings of its own.
    pooling: Pooling,
    /// Whether a command may go out before the last one is answered.
    pub(crate) pipeline: bool,
    /// Statements of this session.
    prepared: HashMap<Arc<str>, Kept>,
    uses: u64,
    /// Statements of its environment.
    known: Arc<Known>,
    /// What the running transaction, or the statement outside one, may do.
    access: Access,
    /// Whether the transaction stands between `SET autocommit = 0` and `SET autocommit = 1`.
    framed: bool,
    /// What no rollback undoes, once it is known.
    lasting: Option<Lasting>,
    /// How long the shortest statement of the transaction that is about to begin may take.
    announced: Option<Duration>,
    /// How long the server waits for a lock, in seconds: by default, and now.
    lock_waits: (u64, u64),
    /// How long a message may not be any more, once the server has been asked.
    too_long: Option<usize>,
}

/// A prepared statement, and when it was used last.
#[derive(Debug, Clone, Copy)]
struct Kept {
    prepared: Prepared,
    used: u64,
}

impl MySql {
    pub(crate) fn new(
        welcome: &Welcome,
        spoken: Capabilities,
        cancel: MySqlCancel,
        known: &Arc<Known>,
        to: &Target,
    ) -> Self {
        let lock_wait = lock_wait(to.statement_timeout);
        let pipeline = to.pipeline && to.pooling == Pooling::None && welcome.pipelines();
        Self {
            spoken,
            standing: Standing::new(),
            cancel,
            log_values: to.log_values,
            pooling: to.pooling,
            pipeline,
            prepared: HashMap::new(),
            uses: 0,
            known: Arc::clone(known),
            access: Access::Read,
            framed: false,
            lasting: None,
            announced: None,
            lock_waits: (lock_wait, lock_wait),
            too_long: None,
        }
    }

    /// The server takes messages shorter than this, if it says so.
    pub(crate) fn takes(&mut self, max_allowed_packet: Option<usize>) {
        self.too_long = Some(max_allowed_packet.unwrap_or(usize::MAX));
    }

    fn talk<'a>(&'a mut self, wire: &'a mut Wire) -> Talk<'a> {
        Talk {
            wire,
            standing: &mut self.standing,
            spoken: self.spoken,
            ahead: self.pipeline,
            too_long: self.too_long.unwrap_or(usize::MAX),
            unread: u64::MAX,
        }
    }

    /// Says commands of ours and keeps their answers.
    ///
    /// # Errors
    /// That the connection broke, or the server its protocol.
    pub(crate) async fn collect(
        &mut self,
        wire: &mut Wire,
        commands: &[Command<'_>],
        doing: Doing,
    ) -> Result<Vec<Collection>> {
        let mut listener = Collected::new(commands.len());
        let outcome = self.talk(wire).say(commands, &mut listener).await;
        outcome.map_err(|stop| self.stopped(stop, doing))?;
        Ok(listener.answers)
    }

    /// The same, and a refusal is no reason to stop.
    ///
    /// # Errors
    /// Those of [`Self::collect`].
    pub(crate) async fn collect_all(
        &mut self,
        wire: &mut Wire,
        commands: &[Command<'_>],
        doing: Doing,
    ) -> Result<Vec<Collection>> {
        let mut listener = Collected { go_on: true, ..Collected::new(commands.len()) };
        let outcome = self.talk(wire).say(commands, &mut listener).await;
        outcome.map_err(|stop| self.stopped(stop, doing))?;
        Ok(listener.answers)
    }

    /// Runs statements of ours, in one message, and gives the rows of all of them.
    ///
    /// # Errors
    /// The server's refusal, classified.
    async fn text(&mut self, wire: &mut Wire, sql: &str, doing: Doing) -> Result<Vec<Vec<Option<String>>>> {
        let [answer] = take(self.collect(wire, &[Command::Text(sql.into())], doing).await?);
        match answer.refused {
            None => Ok(answer.rows),
            Some(refusal) => Err(self.error(&refusal, At::ours(doing))),
        }
    }

    /// What goes before the next statement of ours, in the same message, so that the server waits for a lock this
    /// long.
    fn set_lock_wait(&mut self, seconds: u64) -> String {
        if self.pooling != Pooling::None || self.lock_waits.1 == seconds {
            return String::new();
        }
        self.lock_waits.1 = seconds;
        format!("SET innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}; ")
    }

    /// What begins a transaction, in one message; `framed` if several statements will be sent in it together.
    fn beginning(&mut self, access: Access, framed: bool) -> String {
        self.access = access;
        let wait = self.announced.take().map_or(self.lock_waits.0, lock_wait);
        let mut sql = self.set_lock_wait(wait);
        if framed {
            sql.push_str("SET autocommit = 0; ");
            self.framed = true;
        }
        sql.push_str(match access {
            Access::Read => "START TRANSACTION READ ONLY",
            Access::Write => "START TRANSACTION READ WRITE",
        });
        sql
    }

    /// Whether the failure before this has ended the transaction, the server is asked: errors do not tell.
    ///
    /// # Errors
    /// [`Fault::Conflict`] if it has.
    async fn ask_after_failure(&mut self, wire: &mut Wire) -> Result<()> {
        let Some(number) = self.standing.doubt else { return Ok(()) };
        self.ping(wire).await?;
        if self.standing.status & IN_TRANSACTION == 0 {
            // So it stays, until it is rolled back: what comes next would be committed by itself.
            self.standing.doubt = Some(number);
            self.standing.status |= IN_TRANSACTION;
            return Err(self.ended(number));
        }
        Ok(())
    }

    fn ended(&self, number: u16) -> Error {
        let fault =
            classify::of_told(classify::Told { number, sqlstate: "", message: "" }, At::ours(self.doing()));
        Error::new(fault, "the server had ended the transaction with the failure of an earlier statement")
            .with_sqlstate(number.to_string())
    }

    /// The statements' numbers on the server, of which those that are not prepared are prepared now, behind `before` in the
    /// same flight if the server takes that.
    ///
    /// # Errors
    /// The first refusal, with the index of the statement that it is about.
    async fn prepare(
        &mut self,
        wire: &mut Wire,
        before: Option<String>,
        statements: &[&Statement],
    ) -> Result<(), (usize, Error)> {
        let mut missing: Vec<(usize, &Arc<str>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (index, statement) in statements.iter().enumerate() {
            if !self.prepared.contains_key(&statement.sql) && seen.insert(&statement.sql) {
                missing.push((index, &statement.sql));
            }
        }
        let begins = usize::from(before.is_some());
        let mut commands: Vec<Command<'_>> =
            before.map(|sql| Command::Text(sql.into())).into_iter().collect();
        commands.extend(missing.iter().map(|(_, sql)| Command::Prepare(sql)));
        let doing = self.doing();
        let mut listener = Collected::new(commands.len());
        let outcome = self.talk(wire).say(&commands, &mut listener).await;
        outcome.map_err(|stop| (0, self.stopped(stop, doing)))?;
        for ((_, sql), answer) in missing.iter().zip(&listener.answers[begins..]) {
            if let Some(prepared) = answer.prepared {
                self.keep(sql, prepared);
            }
        }
        match listener.refused() {
            None => Ok(()),
            Some((command, refusal)) if command < begins => Err((0, self.error(refusal, At::ours(doing)))),
            // The server has no room for more: here is some.
            Some((_, refusal)) if classify::is_full(refusal.told()) && self.make_room(wire, statements) => {
                Box::pin(self.prepare(wire, None, statements)).await
            }
            Some((command, refusal)) => {
                let (index, sql) = missing[command - begins];
                self.forget(sql);
                Err((index, self.error(refusal, self.at(statements[index]))))
            }
        }
    }

    /// Asks how long a message may be before the first one that may be too long, where that was not asked for when the session
    /// was opened: behind a pooler, which keeps the connection of whoever reads a variable by `@@`.
    ///
    /// # Errors
    /// That the connection broke.
    async fn ask_what_it_takes(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
    ) -> Result<(), (usize, Error)> {
        let bytes = |argument: &Argument| match &argument.value {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let is_long = |it: &&Statement| it.arguments.iter().map(bytes).sum::<usize>() >= LONG;
        if self.too_long.is_some() || !statements.iter().any(is_long) {
            return Ok(());
        }
        let question = [Command::Text(LONGEST_MESSAGE.into())];
        let [answer] = take(self.collect(wire, &question, self.doing()).await.map_err(|error| (0, error))?);
        self.takes(answer.rows.first().and_then(|row| row.get(1)?.as_ref()?.parse().ok()));
        Ok(())
    }

    /// Nobody prepares it with the next login: it was refused, and whoever asks for it is told.
    pub(crate) fn forget(&self, sql: &str) {
        self.known.forget(sql);
    }

    pub(crate) fn keep(&mut self, sql: &Arc<str>, prepared: Prepared) {
        self.uses += 1;
        self.known.learn(sql);
        self.prepared.insert(Arc::clone(sql), Kept { prepared, used: self.uses });
    }

    /// Forgets all statements but these, and tells whether there were others. The server hears it with what is said next.
    fn make_room(&mut self, wire: &mut Wire, but: &[&Statement]) -> bool {
        let before = self.prepared.len();
        self.prepared.retain(|sql, kept| {
            let stays = but.iter().any(|statement| statement.sql == *sql);
            if !stays {
                // Nothing in it can be refused.
                let _ = Command::Close(kept.prepared.id).put(wire.output(), usize::MAX);
            }
            stays
        });
        self.prepared.len() < before
    }

    /// Forgets the statements that were used longest ago, if there are too many. The server hears it with what is said
    /// next.
    fn trim(&mut self, wire: &mut Wire) {
        while self.prepared.len() > MOST_PREPARED {
            let oldest = self.prepared.iter().min_by_key(|(_, kept)| kept.used);
            let Some((sql, id)) = oldest.map(|(sql, kept)| (Arc::clone(sql), kept.prepared.id)) else {
                return;
            };
            self.prepared.remove(&sql);
            // Nothing in it can be refused.
            let _ = Command::Close(id).put(wire.output(), usize::MAX);
        }
    }

    /// Runs statements that are prepared, behind `before` and before `after`.
    async fn execute(
        &mut self,
        wire: &mut Wire,
        (before, after): (Option<String>, Option<&'static str>),
        statements: &[&Statement],
        frame: Frame,
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        let mut commands = Vec::with_capacity(statements.len() + 2);
        let begins = usize::from(before.is_some());
        commands.extend(before.map(|sql| Command::Text(Cow::Owned(sql))));
        for statement in statements {
            self.uses += 1;
            let Some(kept) = self.prepared.get_mut(&statement.sql) else {
                return Err(Error::new(Fault::Internal, "bug: a statement is not prepared"));
            };
            kept.used = self.uses;
            commands.push(Command::Execute(kept.prepared.id, &statement.arguments));
        }
        commands.extend(after.map(|sql| Command::Text(Cow::Borrowed(sql))));
        let mut run = Run::new(begins, statements.len(), self.framed, answers);
        let mut talk = self.talk(wire);
        if frame == Frame::Read {
            talk.unread = MOST_UNREAD;
        }
        let outcome = talk.say(&commands, &mut run).await;
        let Run { refused, around, ended, last, changed, restored, .. } = run;
        if after.is_some()
            && !restored
            && self.standing.owed == 0
            && self.text(wire, READ_ONLY, Doing::Read).await.is_err()
        {
            // The session is not read-only any more.
            self.standing.changed = Some(READ_ONLY.to_owned());
        }
        // Nothing but the condition behind them ends the frame.
        let over = self.framed && !self.standing.in_transaction();
        if over && frame == Frame::Commit {
            if let Some((index, refusal)) = refused {
                let error = self.error(&refusal, self.at(statements[index]));
                tracing::warn!("the write is committed, but not what was to be done beside it: {error}");
            }
            return Ok(());
        }
        match outcome {
            Ok(()) => {}
            Err(Stop::Unread) => {
                let ours = answers.outcome().err().map(|(_, error)| error);
                return Err(ours.unwrap_or_else(|| self.stopped(Stop::Unread, self.doing())));
            }
            // What the server has refused before it hung up stands: it is so told of a message that is too long. But behind
            // COMMIT's condition only the last statement, since what failed before that may have been committed beside.
            Err(Stop::Wire(_))
                if refused
                    .as_ref()
                    .is_some_and(|(index, _)| frame != Frame::Commit || index + 1 == statements.len()) => {}
            Err(stop) => return Err(self.stopped(stop, self.doing())),
        }
        if let Some(refusal) = around {
            return Err(self.error(&refusal, At::ours(self.doing())));
        }
        if let Some((index, refusal)) = refused {
            return Err(self.error(&refusal, self.at(statements[index])));
        }
        if ended || over {
            return Err(Error::new(
                Fault::QueryFailed,
                "the server says that the transaction has ended before COMMIT: something in it ends transactions",
            ));
        }
        if frame == Frame::Commit && (self.framed || changed != 1) {
            return Err(Error::new(Fault::QueryFailed, GONE));
        }
        if let Some(mut done) = last {
            if let Some(id) = done.last_insert_id
                && id > i128::from(i64::MAX)
                && !self.generated(wire, id).await?
            {
                done.last_insert_id = None;
            }
            answers.end(done);
        }
        Ok(())
    }

    /// Whether the server has generated this id. As one so large it also tells a negative one that the statement
    /// gave itself.
    async fn generated(&mut self, wire: &mut Wire, id: i128) -> Result<bool> {
        let rows = self.text(wire, "SELECT LAST_INSERT_ID()", self.doing()).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_ref()?.parse().ok()) == Some(id))
    }

    /// Prepares what is not prepared, and runs the statements with what stands around them. What guards others is run first:
    /// a server that went on behind a refused guard would do their work in vain, and have to undo it.
    async fn statements(
        &mut self,
        wire: &mut Wire,
        (mut before, after): (Option<String>, Option<&'static str>),
        statements: &[&Statement],
        frame: Frame,
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        let is_missing = |statement: &&Statement| !self.prepared.contains_key(&statement.sql);
        let prepared = match statements.iter().any(is_missing) {
            true => self.prepare(wire, before.take(), statements).await,
            false => Ok(()),
        };
        let prepared = match prepared {
            Ok(()) => self.ask_what_it_takes(wire, statements).await,
            refused => refused,
        };
        // What ends a session while it is told of statements ends it before any of them has run.
        let gone = self.standing.owed > 0 || wire.closed();
        let prepared = prepared.map_err(|(index, error)| match frame {
            Frame::Begin(_) | Frame::Alone if gone => (index, error.as_refused()),
            _ => (index, error),
        });
        if let Err((index, error)) = prepared.and_then(|()| self.counted(statements)) {
            if before.is_some() {
                // Nothing has been sent.
                self.framed = false;
            } else if frame == Frame::Alone && after.is_some() && self.standing.owed == 0 {
                self.text(wire, READ_ONLY, Doing::Read).await?;
            }
            for _ in 0..index {
                answers.skip();
            }
            return Err(error);
        }
        let outcome = match frame {
            Frame::Guarded(guards) if self.framed => {
                let (guards, steps) = statements.split_at(guards);
                let around = (before, Some(UNLESS_ONE));
                answers.told_every(guards.len());
                match self.execute(wire, around, guards, frame, answers).await {
                    Ok(()) => {
                        self.together(steps.len(), answers);
                        self.execute(wire, (None, None), steps, Frame::Within, answers).await
                    }
                    refused => refused,
                }
            }
            _ => self.execute(wire, (before, after), statements, frame, answers).await,
        };
        self.trim(wire);
        outcome
    }

    /// # Errors
    /// If a statement has another number of parameters than the query file says: the server would misread the command.
    fn counted(&self, statements: &[&Statement]) -> Result<(), (usize, Error)> {
        for (index, statement) in statements.iter().enumerate() {
            let wanted = self.prepared.get(&statement.sql).map_or(0, |kept| kept.prepared.parameters);
            if usize::from(wanted) != statement.arguments.len() {
                let text = format!(
                    "the statement has {wanted} parameters, says the server, and the query file {}",
                    statement.arguments.len()
                );
                return Err((index, Error::new(Fault::QueryFailed, text)));
            }
        }
        Ok(())
    }

    pub(crate) fn doing(&self) -> Doing {
        match self.access {
            Access::Read => Doing::Read,
            Access::Write => Doing::Write,
        }
    }

    fn at<'a>(&self, statement: &'a Statement) -> At<'a> {
        At { doing: self.doing(), parameters: !statement.arguments.is_empty(), sql: &statement.sql }
    }

    /// The error of what the server refuses.
    pub(crate) fn error(&self, refusal: &Refusal, at: At<'_>) -> Error {
        let error = classify::error_of(refusal.told(), at, self.log_values);
        if self.standing.in_transaction()
            && at.doing == Doing::Write
            && classify::is_read_only_transaction(refusal.told())
        {
            return classify::committed_midway(&error);
        }
        error
    }

    /// The error of a talk that ended early.
    fn stopped(&self, stop: Stop, doing: Doing) -> Error {
        match stop {
            Stop::Ours(error) => error,
            Stop::Wire(error) => Error::new(Fault::ConnectionLost, format!("the connection broke: {error}")),
            Stop::Garbage => {
                Error::new(Fault::ConnectionLost, "the server answers with what is none of MySQL's words")
            }
            Stop::Unread => Error::new(Fault::ConnectionLost, "the server's answer was not read to its end"),
            Stop::Last(refusal) => {
                let error = classify::error_of(refusal.told(), At::ours(doing), self.log_values);
                match error.fault() {
                    Fault::ServerUnavailable | Fault::TooManyConnections => error,
                    _ => error.into_fault(Fault::ConnectionLost),
                }
            }
        }
    }

    /// A read behind a pooler: a transaction of its own, since no session there is read-only. If it fails, the transaction
    /// is left to whoever settles that.
    async fn pooled_read(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        self.begin(wire, Access::Read).await?;
        self.statements(wire, (None, None), statements, Frame::Within, answers).await?;
        self.commit(wire).await
    }

    /// So many statements come now. MySQL keeps the answers to what came together until it has run all of it (seen on 9.7,
    /// where the end of a step before one that sleeps is not heard until that ends), so that only the whole has a limit that
    /// can be kept.
    fn together(&mut self, statements: usize, answers: &mut Answers<'_>) {
        self.pipeline &= statements == 1 || !answers.limits_differ();
        answers.told_every(if self.pipeline { statements } else { 1 });
    }

    /// What ends the transaction's frame, if it has one.
    fn unframe(&mut self) -> &'static str {
        if std::mem::take(&mut self.framed) { "; SET autocommit = 1" } else { "" }
    }
}

impl Protocol for MySql {
    async fn run(
        &mut self,
        wire: &mut Wire,
        frame: Frame,
        statements: &[&Statement],
        answers: &mut Answers<'_>,
    ) -> Result<()> {
        let pooled = self.pooling != Pooling::None;
        let pipeline = self.pipeline;
        if !matches!(frame, Frame::Guarded(_)) {
            self.together(statements.len(), answers);
        }
        let around = match frame {
            Frame::Read if pooled => {
                self.pipeline = pipeline;
                return self.pooled_read(wire, statements, answers).await;
            }
            Frame::Read => {
                self.access = Access::Read;
                (None, None)
            }
            Frame::Begin(access) => {
                let framed = self.pipeline && access == Access::Write && statements.len() > 1;
                (Some(self.beginning(access, framed)), None)
            }
            Frame::Guarded(_) => (Some(self.beginning(Access::Write, self.pipeline)), None),
            Frame::Within | Frame::Commit => {
                if let Err(error) = self.ask_after_failure(wire).await {
                    self.pipeline = pipeline;
                    return Err(error);
                }
                (None, (frame == Frame::Commit && self.framed).then_some(IF_ONE))
            }
            Frame::Alone => {
                self.access = Access::Write;
                let set = self.set_lock_wait(self.lock_waits.0);
                let before = (!pooled).then(|| format!("{set}{READ_WRITE}"));
                (before, (!pooled).then_some(READ_ONLY))
            }
        };
        // Behind a failing statement nothing may run that would stay: see the module.
        if matches!(frame, Frame::Within | Frame::Commit) && !self.framed {
            self.pipeline = false;
        }
        let outcome = self.statements(wire, around, statements, frame, answers).await;
        self.pipeline = pipeline;
        // What follows a failure is done all the same, so COMMIT waits where it has no condition.
        if frame == Frame::Commit && !self.framed && outcome.is_ok() && !answers.failed() {
            return self.commit(wire).await;
        }
        if frame == Frame::Alone || self.framed && !self.standing.in_transaction() {
            (self.access, self.framed) = (Access::Read, false);
        }
        outcome
    }

    async fn ask(&mut self, wire: &mut Wire, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.text(wire, sql, Doing::Read).await
    }

    async fn announce(
        &mut self,
        wire: &mut Wire,
        statements: &[&Statement],
        access: Access,
        shortest: Duration,
    ) -> Result<Vec<Effect>> {
        self.announced = Some(shortest);
        let mut effects = Vec::with_capacity(statements.len());
        for statement in statements {
            effects.push(match access {
                Access::Read => Effect::Undone,
                Access::Write if !effects::is_plain(&statement.sql) => Effect::Stays,
                Access::Write => self.effect(wire, &statement.sql).await?,
            });
        }
        Ok(effects)
    }

    async fn effect(&mut self, wire: &mut Wire, sql: &str) -> Result<Effect> {
        self.ask_after_failure(wire).await?;
        if self.lasting.is_none() {
            match Lasting::ask(self, wire).await {
                Ok(lasting) => self.lasting = Some(lasting),
                Err(error) if self.owed() => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        "the server does not say which tables have no transactions, so that no write is tried \
                         again: {error}"
                    );
                    return Ok(Effect::Stays);
                }
            }
        }
        Ok(self.lasting.as_ref().map_or(Effect::Stays, |lasting| lasting.effect(sql)))
    }

    async fn describe(&mut self, wire: &mut Wire, statement: &Statement) -> Result<Answer> {
        describe::describe(self, wire, statement).await
    }

    async fn begin(&mut self, wire: &mut Wire, access: Access) -> Result<()> {
        let sql = self.beginning(access, false);
        self.text(wire, &sql, self.doing()).await.map(|_| ())
    }

    async fn commit(&mut self, wire: &mut Wire) -> Result<()> {
        self.ask_after_failure(wire).await?;
        let doing = self.doing();
        let sql = if self.pooling == Pooling::None {
            Cow::from(format!("COMMIT{ONLY}{}", self.unframe()))
        } else {
            Cow::from("COMMIT")
        };
        let mut listener = Collected::new(1);
        let outcome = self.talk(wire).say(&[Command::Text(sql)], &mut listener).await;
        self.access = Access::Read;
        let [answer] = take(listener.answers);
        match (outcome, answer.refused) {
            // What comes behind COMMIT is for the next one on this session, if there is one.
            _ if answer.done > 0 => Ok(()),
            (Err(stop), _) => Err(self.stopped(stop, doing)),
            (Ok(()), Some(refusal)) => Err(self.error(&refusal, At::ours(doing))),
            (Ok(()), None) => Ok(()),
        }
    }

    async fn rollback(&mut self, wire: &mut Wire) -> Result<()> {
        let doing = self.doing();
        // Without it, what was not committed would be by the end of the frame: the server stops at the first failure.
        let unframe = self.unframe();
        let sql = if self.pooling == Pooling::None {
            Cow::from(format!("SHOW WARNINGS; ROLLBACK{ONLY}; SHOW WARNINGS{unframe}"))
        } else {
            // There, several statements in one message are none for everybody.
            Cow::from("ROLLBACK")
        };
        let rows = self.text(wire, &sql, doing).await;
        self.access = Access::Read;
        let stays = |row: &Vec<Option<String>>| {
            row.get(1).and_then(Option::as_deref).is_some_and(|code| code == NOT_COMPLETE_ROLLBACK)
        };
        if rows?.iter().any(stays) {
            return Err(Error::new(
                Fault::OutcomeUnknown,
                "the server could not undo all of the transaction: it wrote to a table without transactions",
            ));
        }
        Ok(())
    }

    async fn autocommit(&mut self, wire: &mut Wire, write: bool) -> Result<()> {
        let (access, sql, doing) = match write {
            true => (Access::Write, READ_WRITE, Doing::Write),
            false => (Access::Read, READ_ONLY, Doing::Read),
        };
        if self.pooling == Pooling::None {
            let set = if write { self.set_lock_wait(self.lock_waits.0) } else { String::new() };
            self.text(wire, &format!("{set}{sql}"), doing).await?;
        }
        // Else there is no session that could be read-only.
        self.access = access;
        Ok(())
    }

    async fn ping(&mut self, wire: &mut Wire) -> Result<()> {
        let [answer] = take(self.collect(wire, &[Command::Ping], Doing::Read).await?);
        match answer.refused {
            None => Ok(()),
            Some(refusal) => Err(self.error(&refusal, At::ours(Doing::Read))),
        }
    }

    fn pins(&self, _statement: &Statement) -> bool {
        // Values travel in prepared statements alone, and RDS Proxy pins for each.
        self.pooling == Pooling::RdsProxy
    }

    fn state(&self) -> State {
        state(&self.standing)
    }

    fn owed(&self) -> bool {
        self.standing.owed > 0
    }

    fn goodbye(&self) -> &'static [u8] {
        &[1, 0, 0, 0, crate::talk::COM_QUIT]
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        // The thread that RDS Proxy greets with is its own, and it takes no KILL.
        (self.pooling != Pooling::RdsProxy).then(|| Box::new(self.cancel.clone()) as Box<dyn CancelHandle>)
    }
}

/// What a session is good for, by what the server has said of it.
pub(crate) fn state(standing: &Standing) -> State {
    if standing.in_transaction() {
        if standing.undone() { State::Failed } else { State::InTransaction }
    } else if standing.changed.is_some() {
        State::Closed
    } else {
        State::Idle
    }
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql")
            .field("standing", &self.standing)
            .field("access", &self.access)
            .field("framed", &self.framed)
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

/// The answers to the statements of one run, on their way into the reply.
struct Run<'a, 'b> {
    /// How many commands stand before the first statement.
    begins: usize,
    statements: usize,
    framed: bool,
    answers: &'a mut Answers<'b>,
    /// The columns of the current result, as far as they have come.
    described: Vec<Described>,
    wanted: usize,
    columns: Option<Columns>,
    /// How many results with rows the current statement has given.
    results: usize,
    done: Done,
    /// The first statement that the server refused.
    refused: Option<(usize, Refusal)>,
    /// That it refused what stands before them.
    around: Option<Refusal>,
    /// A statement has ended the transaction.
    ended: bool,
    /// What the only statement did, which is not told yet.
    last: Option<Done>,
    /// How many rows the statement has changed that ended last.
    changed: u64,
    /// What stands behind them has been done.
    restored: bool,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(begins: usize, statements: usize, framed: bool, answers: &'a mut Answers<'b>) -> Self {
        Self {
            begins,
            statements,
            framed,
            answers,
            described: Vec::new(),
            wanted: 0,
            columns: None,
            results: 0,
            done: Done::default(),
            refused: None,
            around: None,
            ended: false,
            last: None,
            changed: 0,
            restored: false,
        }
    }

    /// A result's columns are all there.
    fn begin_result(&mut self) {
        let described = std::mem::take(&mut self.described);
        self.results += 1;
        let Some(rows) = self.answers.rows() else { return };
        let outcome = match &self.columns {
            Some(columns) => Err(columns.second_result()),
            None => Columns::new(&described, rows).map(|columns| self.columns = Some(columns)),
        };
        if let Err(error) = outcome {
            self.answers.fail(error);
        }
    }

    fn row(&mut self, row: &[u8]) {
        if let (Some(columns), Some(rows)) = (&mut self.columns, self.answers.rows())
            && let Err(error) = columns.row(row, rows)
        {
            self.answers.fail(error);
        }
    }

    /// The current statement has ended.
    fn end(&mut self) {
        if self.results == 0
            && let Some(rows) = self.answers.rows()
            && let Err(error) = Columns::new(&[], rows)
        {
            self.answers.fail(error);
        }
        let done = std::mem::take(&mut self.done);
        self.changed = done.rows_affected;
        self.columns = None;
        self.results = 0;
        if self.statements == 1 {
            self.last = Some(done);
        } else {
            self.answers.end(done);
        }
    }

    fn hear_around(&mut self, command: usize, part: &Part<'_>) -> Heard {
        match part {
            Part::Refused(refusal) if command < self.begins || self.framed => {
                self.around = Some(refusal.clone());
                Heard::Enough
            }
            Part::Done(done) if command >= self.begins => {
                self.restored = done.status & MORE_RESULTS_EXISTS == 0;
                Heard::Wanted
            }
            _ => Heard::Wanted,
        }
    }

    /// Nothing more is of any use.
    fn over(&self) -> bool {
        self.refused.is_some() || self.around.is_some() || self.ended
    }

    fn heard(&self) -> Heard {
        if self.over() || self.answers.failed() { Heard::Enough } else { Heard::Wanted }
    }
}

impl Listener for Run<'_, '_> {
    fn hear(&mut self, command: usize, part: Part<'_>) -> Heard {
        let Some(index) = command.checked_sub(self.begins).filter(|index| *index < self.statements) else {
            return self.hear_around(command, &part);
        };
        if self.over() {
            return Heard::Enough;
        }
        match part {
            Part::Columns(columns) => {
                self.wanted = columns;
                self.described.clear();
            }
            Part::Column(column) => {
                match Described::parse(column) {
                    Some(column) => self.described.push(column),
                    None => self.answers.fail(no_column()),
                }
                self.wanted -= 1;
                if self.wanted == 0 {
                    self.begin_result();
                }
            }
            Part::Row(row) => self.row(row),
            Part::Done(done) => {
                if !done.behind_rows {
                    self.done.rows_affected += done.rows_affected;
                    // The server says 0 for none.
                    let id = Some(i128::from(done.last_insert_id)).filter(|id| *id != 0);
                    self.done.last_insert_id = id.or(self.done.last_insert_id);
                }
                if done.status & MORE_RESULTS_EXISTS == 0 {
                    if self.framed && done.status & IN_FRAME != IN_TRANSACTION {
                        self.ended = true;
                    } else {
                        self.end();
                    }
                }
            }
            Part::Refused(refusal) => self.refused = Some((index, refusal)),
            Part::Prepared(_) | Part::Other => {}
        }
        self.heard()
    }

    fn too_large(&mut self, _: usize) -> Heard {
        if !self.over() && self.answers.rows().is_some() {
            self.answers.fail(too_large());
        }
        self.heard()
    }

    async fn pause(&mut self) {
        self.answers.drain().await;
    }
}

/// How long the server may wait for a lock, in seconds, under a statement that may take this long: the wait ends
/// first, so that it is told as what it is. The server knows whole seconds, and at least one: a statement that may
/// take less is stopped by our own timer.
pub(crate) fn lock_wait(limit: Duration) -> u64 {
    limit.saturating_sub(LOCK_MARGIN).as_secs().clamp(1, LONGEST_WAIT)
}

/// The answers to so many commands.
pub(crate) fn take<const N: usize>(answers: Vec<Collection>) -> [Collection; N] {
    let mut answers = answers.into_iter();
    std::array::from_fn(|_| answers.next().unwrap_or_default())
}

#[cold]
fn no_column() -> Error {
    Error::new(Fault::Internal, "the server sent bytes that are no column of the result")
}

/// What is looked at in the status of what was sent together with others, and must be [`IN_TRANSACTION`] alone.
const IN_FRAME: u16 = IN_TRANSACTION | crate::answer::AUTOCOMMIT;
/// Of COMMIT and ROLLBACK, whatever `completion_type` says: neither begins another transaction nor ends the session.
const ONLY: &str = " AND NO CHAIN NO RELEASE";
/// Ends the transaction, unless the statement before it has changed one row: ROW_COUNT() is -1 behind a failure. Of what ends it
/// that way, START TRANSACTION READ WRITE would outlive it (seen on MySQL 9.7 and MariaDB 10.11), until somebody says otherwise.
const UNLESS_ONE: &str = "SET autocommit = IF(ROW_COUNT() = 1, 0, 1); SET SESSION TRANSACTION READ ONLY";
/// Commits it, if the statement before it has changed one row.
const IF_ONE: &str = "SET autocommit = IF(ROW_COUNT() = 1, 1, 0); SET SESSION TRANSACTION READ ONLY";
const READ_WRITE: &str = "SET SESSION TRANSACTION READ WRITE";
pub(crate) const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";
/// How long a message may be. Nothing in it makes a pooler keep the connection.
const LONGEST_MESSAGE: &str = "SHOW VARIABLES LIKE 'max_allowed_packet'";
/// What is shorter is taken: the smallest default of any server's is sixteen times as much.
const LONG: usize = 64 << 10;
/// ER_WARNING_NOT_COMPLETE_ROLLBACK: "Some non-transactional changed tables couldn't be rolled back".
const NOT_COMPLETE_ROLLBACK: &str = "1196";
/// How much sooner than the statement a wait for a lock must end, for its answer to come in time.
const LOCK_MARGIN: Duration = Duration::from_millis(200);
/// A year, the most that `lock_wait_timeout` takes.
const LONGEST_WAIT: u64 = 31_536_000;
/// The server has one limit for all sessions (`max_prepared_stmt_count`): by default it is reached by 511 that are full.
const MOST_PREPARED: usize = 32;
/// How much of a read's answer is passed over, once it is of no use, for the session's sake. What takes longer than to
/// open another one is not.
const MOST_UNREAD: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_lock_ends_before_the_statement_does() {
        let check = |millis, want| assert_eq!(lock_wait(Duration::from_millis(millis)), want, "{millis}");
        check(10_000, 9);
        check(10_200, 10);
        check(2_500, 2);
        check(2_000, 1);
        // The least that there is; zero would mean none at all.
        check(1_000, 1);
        check(0, 1);
        check(u64::MAX, LONGEST_WAIT);
    }
}
