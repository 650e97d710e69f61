//! One leased session, and how far the work on it has come.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem::discriminant;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sea_orm::{DbErr, IsolationLevel, Statement};

use super::Limits;
use crate::backend::{self, Access, Failure, Item, Sql};
use crate::connect::sessions::Lease;
use crate::error::{Error, Fault, Result};
use crate::execute::{limited, stopped};
use crate::queries::{Dialect, Effect};
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
    /// On PostgreSQL a failure ends the transaction, which can only be rolled back then, and which COMMIT rolls
    /// back without a word.
    pub(super) aborted: bool,
    /// The session must not be used again.
    pub(super) spoilt: bool,
}

impl Running {
    pub(super) fn new(lease: Lease, access: Access) -> Self {
        Self { lease, access, progress: Progress::Unsent, failed: None, aborted: false, spoilt: false }
    }

    fn dialect(&self) -> Dialect {
        self.lease.sessions().backend().dialect()
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
            Effect::Reads if !self.lease.pooled() => self.statement(sql, limits, items).await,
            Effect::Reads | Effect::Writes => {
                self.begin(limits).await?;
                self.statement(sql, limits, items).await?;
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
                self.spoilt = !session.usable()
                    || limited(None, limits.statement(), Progress::Sent, session.autocommit(false))
                        .await
                        .is_err();
                outcome
            }
        }
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
            (Dialect::Postgres, Some(set)) => {
                self.begin(limits).await?;
                self.script(set, limits).await
            }
            (Dialect::Sqlite, _) | (_, None) => self.begin(limits).await,
        }
    }

    pub(super) async fn begin(&mut self, limits: Limits) -> Result<(), DbErr> {
        let access = self.access;
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let begun = limited(cancel, limits.statement(), self.progress, session.begin(access)).await;
        self.noted(begun)
    }

    pub(super) async fn commit(&mut self, limits: Limits) -> Result<(), DbErr> {
        if self.aborted {
            let error = self.failed.take().unwrap_or_else(|| Error::new(Fault::QueryFailed, ""));
            let detail = format!(
                "a statement of the transaction had failed, so there is nothing to commit: {}",
                error.detail()
            );
            return self.noted(Err(error.with_detail(detail)));
        }
        if !self.lease.session().usable() {
            // Known before COMMIT was sent, so the server undoes it, and it may run again.
            let gone = Error::new(Fault::ConnectionLost, "the server closed the connection before COMMIT");
            return self.noted(Err(gone));
        }
        if self.access == Access::Write && self.progress != Progress::Autocommitted {
            self.progress = Progress::Committing;
        }
        let session = self.lease.session();
        let cancel = session.cancel_handle();
        let committed = limited(cancel, limits.statement(), self.progress, session.commit()).await;
        self.noted(committed)
    }

    pub(super) async fn rollback(&mut self, limits: Limits) -> Result<(), DbErr> {
        if !self.lease.session().usable() {
            return Err(DbErr::from(Error::new(Fault::ConnectionLost, "the server closed the connection")));
        }
        let session = self.lease.session();
        let undone = limited(None, limits.statement(), Progress::Sent, session.rollback()).await;
        self.noted(undone)
    }

    /// Undoes what was done since the savepoint, and forgets the savepoint.
    pub(super) async fn rollback_to(&mut self, level: u32, limits: Limits) -> Result<(), DbErr> {
        let name = savepoint(level);
        self.aborted = false;
        self.script(format!("ROLLBACK TO SAVEPOINT {name}"), limits).await?;
        self.script(format!("RELEASE SAVEPOINT {name}"), limits).await
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
                let mut items = session.stream(kept_apart(dialect, sql));
                loop {
                    match by.bound(items.next()).await {
                        Ok(Some(Ok(item))) => yield Ok(item),
                        Ok(Some(Err(failed))) => {
                            failure = Some(failed);
                            break;
                        }
                        Ok(None) => break,
                        Err(_) => {
                            let late = stopped(cancel, end, progress).await;
                            failure = Some(Failure { driver: late.clone().into(), error: late });
                            break;
                        }
                    }
                }
            }
            if let Some(Failure { error, driver }) = failure {
                let in_transaction = self.lease.session().in_transaction();
                self.aborted |= dialect == Dialect::Postgres && in_transaction;
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
            _ if self.lease.session().in_transaction() => Progress::InTransaction,
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

pub(super) fn savepoint(level: u32) -> String {
    format!("lambda_rds_{level}")
}
