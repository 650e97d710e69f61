//! One leased session, and how far the work on it has come.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem::discriminant;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sea_orm::{DbErr, IsolationLevel, Statement};

use super::{Limits, orm};
use crate::answers;
use crate::backend::{self, Access, Alone, CancelHandle, Failure, Frame, Item, Sql, State};
use crate::connect::sessions::Lease;
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Result};
use crate::execute::{limited, of_ours, stopped};
use crate::queries::{Caller, Dialect, Effect};
use crate::retry::Progress;

/// Gives statements of one text and values of other types different texts. A session keeps prepared statements by their
/// text, and would bind to the types of the first ones: PostgreSQL reads the bytes of a double as an integer, and to
/// MySQL `"é"` is 0.
fn kept_apart(dialect: Dialect, sql: Sql) -> Sql {
    let Sql::Prepared(mut statement) = sql else { return sql };
    let values = statement.values.as_ref().map_or(&[][..], |values| &values.0);
    // SQLite takes each value as what it is.
    if dialect != Dialect::Sqlite && !values.is_empty() {
        let mut types = DefaultHasher::new();
        values.iter().for_each(|value| discriminant(value).hash(&mut types));
        statement.sql.push_str(&format!("\n-- {:08x}", types.finish() & 0xffff_ffff));
    }
    Sql::Prepared(statement)
}

/// A leased session and what has become of the work on it.
pub(super) struct Running {
    pub(super) lease: Lease,
    pub(super) access: Access,
    pub(super) progress: Progress,
    /// The last failure, classified: what the application has seen of it is the driver's.
    pub(super) failed: Option<Error>,
    /// The session must not be used again.
    pub(super) spoilt: bool,
    /// The transaction has an idempotency key.
    pub(super) keyed: bool,
    /// Who it is for.
    caller: Arc<Caller>,
    /// The savepoints that are open, the innermost last.
    savepoints: Vec<u64>,
    /// How many savepoints there have been: each has a name of its own, since PostgreSQL keeps those of one name beside
    /// each other and MySQL replaces them.
    named: u64,
}

impl Running {
    pub(super) fn new(lease: Lease, access: Access, caller: &Arc<Caller>) -> Self {
        Self {
            caller: Arc::clone(caller),
            lease,
            access,
            progress: Progress::Unsent,
            failed: None,
            spoilt: false,
            keyed: false,
            savepoints: Vec::new(),
            named: 0,
        }
    }

    fn dialect(&self) -> Dialect {
        self.lease.sessions().backend().dialect()
    }

    /// Whether a read needs a transaction around it, too.
    pub(super) fn framed(&self) -> bool {
        self.lease.pooled() || !self.caller.is_nobody()
    }

    /// Tells the transaction whom it is for.
    pub(super) async fn introduce(&mut self, limits: Limits) -> Result<(), DbErr> {
        let statement = self.caller.statement(&Caller::nobody());
        self.say(statement, limits).await
    }

    /// Makes the transaction nobody's in particular again.
    pub(super) async fn take_back(&mut self, limits: Limits) -> Result<(), DbErr> {
        let statement = Caller::nobody().statement(&self.caller);
        self.say(statement, limits).await
    }

    /// Runs a statement of ours in the transaction.
    async fn say(&mut self, statement: Option<backend::Statement>, limits: Limits) -> Result<(), DbErr> {
        let Some(statement) = statement else { return Ok(()) };
        self.silently(Frame::Within, &[&statement], limits).await
    }

    async fn silently(
        &mut self,
        frame: Frame,
        statements: &[&backend::Statement],
        limits: Limits,
    ) -> Result<(), DbErr> {
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let said = answers::silently(session, frame, statements);
        let said = limited(cancel, limits.statement(), self.progress, said).await;
        let caller = Arc::clone(&self.caller);
        self.noted(said.map_err(|error| of_ours(error, Some(&caller))))
    }

    /// One statement with what has to stand around it.
    pub(super) async fn alone(
        &mut self,
        effect: Effect,
        sql: Sql,
        limits: Limits,
        items: &mut Vec<Item>,
    ) -> Result<(), DbErr> {
        match effect {
            Effect::Reads if !self.framed() => self.statement(sql, limits, items).await,
            Effect::Reads | Effect::Writes => {
                if !self.together(&sql, limits, items).await? {
                    self.begin(limits).await?;
                    self.statement(sql, limits, items).await?;
                } else if effect == Effect::Reads && self.lease.session().state() == State::Idle {
                    // COMMIT went with the statement.
                    return Ok(());
                }
                self.commit(limits).await
            }
            Effect::Commits => {
                let session = self.lease.session();
                let cancel = session.cancel_handle();
                let allowed =
                    limited(cancel, limits.statement(), self.progress, session.autocommit(true)).await;
                self.noted(allowed)?;
                let outcome = self.statement(sql, limits, items).await;
                // The statement's outcome stands whatever becomes of this.
                let session = self.lease.session();
                self.spoilt = session.state() == State::Closed
                    || limited(None, limits.statement(), Progress::Sent, session.autocommit(false))
                        .await
                        .is_err();
                outcome
            }
        }
    }

    /// Runs a statement in the flight of its transaction's beginning, if it is a read of its end as well. False, and nothing
    /// has been done, where that cannot be.
    async fn together(&mut self, sql: &Sql, limits: Limits, items: &mut Vec<Item>) -> Result<bool, DbErr> {
        let Sql::Prepared(statement) = kept_apart(self.dialect(), sql.clone()) else { return Ok(false) };
        let before = self.caller.statement(&Caller::nobody()).into_iter().collect();
        let access = self.access;
        let progress = if access == Access::Write { Progress::InTransaction } else { Progress::Sent };
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let Some(running) = orm(session)?.alone(Alone { access, before, statement }) else {
            return Ok(false);
        };
        self.progress = progress;
        let mut running = bounded(running, cancel, limits.statement(), progress);
        let failed = loop {
            match running.next().await {
                Some(Ok(item)) => items.push(item),
                Some(Err(failure)) => break failure,
                None => return Ok(true),
            }
        };
        drop(running);
        let Failure { error, driver, around } = failed;
        if around {
            let caller = Arc::clone(&self.caller);
            return self.noted(Err(of_ours(error, Some(&caller))));
        }
        self.failed = Some(error);
        Err(driver)
    }

    pub(super) async fn begin_isolated(
        &mut self,
        level: Option<IsolationLevel>,
        limits: Limits,
    ) -> Result<(), DbErr> {
        let set = level.map(|level| format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        match (self.dialect(), set) {
            // MySQL takes it before the transaction, PostgreSQL in it; SQLite has but one level.
            (Dialect::Mysql, Some(set)) => {
                self.script(set, limits).await?;
                self.begin(limits).await
            }
            // Before any other statement.
            (Dialect::Postgres, Some(set)) => {
                let set = backend::Statement { sql: set.into(), arguments: Vec::new() };
                self.begin_with(Some(set), limits).await
            }
            (Dialect::Sqlite, _) | (_, None) => self.begin(limits).await,
        }
    }

    pub(super) async fn begin(&mut self, limits: Limits) -> Result<(), DbErr> {
        self.begin_with(None, limits).await
    }

    /// Begins, runs this first, and tells whom it is for: one flight on PostgreSQL, where statements may be sent ahead.
    async fn begin_with(&mut self, first: Option<backend::Statement>, limits: Limits) -> Result<(), DbErr> {
        let told = self.caller.statement(&Caller::nobody());
        let statements: Vec<&backend::Statement> = first.iter().chain(&told).collect();
        if statements.is_empty() {
            return self.begin_as_nobody(limits).await;
        }
        self.silently(Frame::Begin(self.access), &statements, limits).await
    }

    /// Begins, and tells nothing yet of whom it is for.
    pub(super) async fn begin_as_nobody(&mut self, limits: Limits) -> Result<(), DbErr> {
        let access = self.access;
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let begun = limited(cancel, limits.statement(), self.progress, session.begin(access)).await;
        self.noted(begun)
    }

    /// Commits, if the server says that there is something to commit.
    pub(super) async fn commit(&mut self, limits: Limits) -> Result<(), DbErr> {
        match self.lease.session().state() {
            State::InTransaction => {}
            // Known before COMMIT was sent, so the server undoes it, and it may run again.
            State::Closed => {
                let gone =
                    Error::new(Fault::ConnectionLost, "the server closed the connection before COMMIT");
                return self.noted(Err(gone));
            }
            // The application has gone on after a failure that ended the transaction: on PostgreSQL any does, and COMMIT
            // would roll it back without a word; on MySQL a deadlock, and what came after it has been another one.
            State::Failed | State::Idle => {
                let error = self.failed.take().unwrap_or_else(|| {
                    Error::new(Fault::QueryFailed, "something in the transaction ends transactions")
                });
                let detail = format!(
                    "a statement of the transaction had failed, so there is nothing to commit: {}",
                    error.detail()
                );
                return self.noted(Err(error.with_detail(detail)));
            }
        }
        if self.access == Access::Write && self.progress != Progress::Autocommitted {
            self.progress = if self.keyed { Progress::Keyed } else { Progress::Committing };
        }
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let committed = limited(cancel, limits.statement(), self.progress, session.commit()).await;
        self.noted(committed)
    }

    pub(super) async fn rollback(&mut self, limits: Limits) -> Result<(), DbErr> {
        if self.lease.session().state() == State::Closed {
            return Err(DbErr::from(Error::new(Fault::ConnectionLost, "the server closed the connection")));
        }
        let session = self.lease.session();
        let undone = limited(None, limits.statement(), Progress::Sent, session.rollback()).await;
        self.noted(undone)
    }

    /// Sets a savepoint, and gives its number.
    pub(super) async fn save(&mut self, limits: Limits) -> Result<u64, DbErr> {
        let number = self.named + 1;
        self.script(format!("SAVEPOINT {}", savepoint(number)), limits).await?;
        self.named = number;
        self.savepoints.push(number);
        Ok(number)
    }

    /// Keeps what was done since the savepoint, and forgets the savepoint.
    pub(super) async fn release(&mut self, number: u64, limits: Limits) -> Result<(), DbErr> {
        self.innermost(number)?;
        self.script(format!("RELEASE SAVEPOINT {}", savepoint(number)), limits).await?;
        self.savepoints.pop();
        Ok(())
    }

    /// Undoes what was done since the savepoint, and forgets the savepoint.
    pub(super) async fn rollback_to(&mut self, number: u64, limits: Limits) -> Result<(), DbErr> {
        self.innermost(number)?;
        self.undo(number, limits).await
    }

    /// The same for the outermost of these savepoints, which were dropped, and for what was set after it.
    pub(super) async fn undo_dropped(&mut self, dropped: &[u64], limits: Limits) -> Result<(), DbErr> {
        match self.savepoints.iter().find(|number| dropped.contains(number)) {
            Some(number) => self.undo(*number, limits).await,
            // What was around them has been undone already.
            None => Ok(()),
        }
    }

    async fn undo(&mut self, number: u64, limits: Limits) -> Result<(), DbErr> {
        let name = savepoint(number);
        self.script(format!("ROLLBACK TO SAVEPOINT {name}"), limits).await?;
        self.savepoints.retain(|other| *other < number);
        self.script(format!("RELEASE SAVEPOINT {name}"), limits).await
    }

    /// # Errors
    /// If the savepoint is not the innermost that is open: SQL ends the ones inside with it.
    fn innermost(&self, number: u64) -> Result<(), DbErr> {
        let what = match self.savepoints.last() {
            Some(last) if *last == number => return Ok(()),
            _ if self.savepoints.contains(&number) => {
                "a transaction that was begun after this one on the same session is still open: end that one first"
            }
            _ => "what this transaction did has been undone with the one that was begun before it",
        };
        Err(Error::new(Fault::QueryFailed, what).into())
    }

    pub(super) async fn script(&mut self, sql: String, limits: Limits) -> Result<(), DbErr> {
        // Ours, of which it is known what they do.
        collected(self.run(Sql::Script(sql), limits, false), &mut Vec::new()).await
    }

    /// Runs one statement and collects what it gives.
    pub(super) async fn statement(
        &mut self,
        sql: Sql,
        limits: Limits,
        items: &mut Vec<Item>,
    ) -> Result<(), DbErr> {
        collected(self.stream(sql, limits), items).await
    }

    /// Runs one statement of the application's, bounded, and keeps what its failure means.
    pub(super) fn stream(&mut self, sql: Sql, limits: Limits) -> BoxStream<'_, Result<Item, DbErr>> {
        let writes = self.access == Access::Write && self.progress != Progress::Autocommitted;
        self.run(sql, limits, writes)
    }

    /// Runs one statement; asks before what no rollback undoes of it, if that matters.
    fn run(&mut self, sql: Sql, limits: Limits, ask: bool) -> BoxStream<'_, Result<Item, DbErr>> {
        Box::pin(async_stream::stream! {
            let (by, end) = limits.statement();
            let dialect = self.dialect();
            let mut effect = backend::Effect::Undone;
            if ask {
                let (Sql::Prepared(Statement { sql, .. }) | Sql::Script(sql)) = &sql;
                let session = self.lease.session();
                let cancel = session.cancel_handle();
                match limited(cancel, (by, end), self.progress, session.effect(sql)).await {
                    Ok(found) => effect = found,
                    Err(error) => {
                        self.failed = Some(error.clone());
                        yield Err(error.into());
                        return;
                    }
                }
            }
            self.sending(dialect, &sql, effect);
            let progress = self.progress;
            let session = self.lease.session();
            let cancel = session.cancel_handle();
            let mut failure = None;
            {
                let session = match orm(session) {
                    Ok(session) => session,
                    Err(error) => {
                        yield Err(error.into());
                        return;
                    }
                };
                let mut items = bounded(session.stream(kept_apart(dialect, sql)), cancel, (by, end), progress);
                while let Some(item) = items.next().await {
                    match item {
                        Ok(item) => yield Ok(item),
                        Err(failed) => failure = Some(failed),
                    }
                }
            }
            if let Some(Failure { error, driver, .. }) = failure {
                self.failed = Some(error);
                yield Err(driver);
            }
        })
    }

    /// Notes how far things will have come once this is sent.
    fn sending(&mut self, dialect: Dialect, sql: &Sql, effect: backend::Effect) {
        let (Sql::Prepared(Statement { sql, .. }) | Sql::Script(sql)) = sql;
        self.progress = match self.progress {
            Progress::Autocommitted => Progress::Autocommitted,
            _ if effect == backend::Effect::Stays => Progress::Autocommitted,
            _ if self.access == Access::Write && Effect::of(dialect, sql) == Effect::Commits => {
                Progress::Autocommitted
            }
            _ if self.lease.session().state() == State::InTransaction => Progress::InTransaction,
            _ => Progress::Sent,
        };
    }

    fn noted<T>(&mut self, outcome: Result<T>) -> Result<T, DbErr> {
        outcome.map_err(|error| {
            self.failed = Some(error.clone());
            error.into()
        })
    }

    /// The failure as it was classified when it happened, where the application only passed it on.
    pub(super) fn told(&mut self, error: Error) -> Error {
        if error.is_unclassified() { self.failed.take().unwrap_or(error) } else { error }
    }
}

/// Bounds what a statement gives; what comes too late is stopped on the server. It ends with a failure.
fn bounded(
    mut items: BoxStream<'_, Result<Item, Failure>>,
    cancel: Option<Box<dyn CancelHandle>>,
    (by, end): (Deadline, Deadline),
    progress: Progress,
) -> BoxStream<'_, Result<Item, Failure>> {
    Box::pin(async_stream::stream! {
        loop {
            match by.bound(items.next()).await {
                Ok(Some(Ok(item))) => yield Ok(item),
                Ok(Some(Err(failure))) => {
                    yield Err(failure);
                    break;
                }
                Ok(None) => break,
                Err(_) => {
                    yield Err(Failure::own(stopped(cancel, end, progress).await));
                    break;
                }
            }
        }
    })
}

/// Collects what a statement gives.
async fn collected(
    mut stream: BoxStream<'_, Result<Item, DbErr>>,
    items: &mut Vec<Item>,
) -> Result<(), DbErr> {
    while let Some(item) = stream.next().await {
        items.push(item?);
    }
    Ok(())
}

fn savepoint(number: u64) -> String {
    format!("lambda_rds_{number}")
}
