//! A transaction with sea-orm's traits, and the savepoints inside it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use tokio::sync::{Mutex, MutexGuard};

use super::running::Running;
use super::{Limits, database_backend, done, rows};
use crate::backend::{Access, Item, Sql, State};
use crate::connect::sessions::Lease;
use crate::error::{Error, Fault, Result};
use crate::queries::Caller;
use crate::retry::{self, Next};

/// One session with a transaction open on it, or in [`Db::read`](crate::Db::read) without one: sea-orm's traits again.
///
/// A transaction begun on it is a savepoint. Dropped without `commit` or `rollback`, a savepoint is rolled back
/// before the next statement, and the outermost transaction closes its session, with which the server undoes it.
pub struct Transaction {
    running: Arc<Mutex<Running>>,
    /// The savepoints that were dropped, to be rolled back.
    dropped: Arc<StdMutex<Vec<u64>>>,
    limits: Limits,
    backend: DbBackend,
    /// The number of the savepoint; 0 for the outermost transaction, which is none.
    savepoint: u64,
    /// It belongs to a closure, and the closure's result decides between COMMIT and ROLLBACK.
    lent: bool,
    ended: bool,
}

impl Transaction {
    pub(super) fn new(lease: Lease, access: Access, limits: Limits, caller: &Arc<Caller>) -> Self {
        Self::of(Running::new(lease, access, caller), limits)
    }

    pub(super) fn of(running: Running, limits: Limits) -> Self {
        let backend = database_backend(running.lease.sessions());
        Self {
            running: Arc::new(Mutex::new(running)),
            dropped: Arc::default(),
            limits,
            backend,
            savepoint: 0,
            lent: false,
            ended: false,
        }
    }

    /// Begins, runs `f`, and commits.
    pub(super) async fn whole<T, F, Fut>(&self, f: &F) -> Result<T>
    where
        F: Fn(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        {
            let mut running = self.running.lock().await;
            if running.access == Access::Write || running.framed() {
                let begun = running.begin(self.limits).await;
                begun.map_err(|driver| running.told(driver.into()))?;
            }
        }
        let outcome = f(self.lent()).await;
        let mut running = self.settled().await.map_err(Error::from)?;
        let value = outcome.map_err(|error| running.told(error))?;
        if running.access == Access::Write || running.lease.session().state() != State::Idle {
            let committed = running.commit(self.limits).await;
            committed.map_err(|driver| running.told(driver.into()))?;
        }
        Ok(value)
    }

    /// The same for a closure, whose end decides what becomes of it.
    pub(super) fn lent(&self) -> Self {
        Self {
            running: Arc::clone(&self.running),
            dropped: Arc::clone(&self.dropped),
            limits: self.limits,
            backend: self.backend,
            savepoint: self.savepoint,
            lent: true,
            ended: false,
        }
    }

    /// What is left when all is done.
    pub(super) fn into_running(self) -> Result<Running> {
        // A savepoint that outlives its transaction, or a stream, would share the session with the next call.
        let running = Arc::clone(&self.running);
        drop(self);
        match Arc::try_unwrap(running) {
            Ok(running) => Ok(running.into_inner()),
            Err(_) => Err(Error::new(
                Fault::Internal,
                "a transaction that was begun inside the closure has outlived it: commit it or roll it back inside",
            )),
        }
    }

    /// The session, with nothing left of savepoints that were dropped.
    pub(super) async fn settled(&self) -> Result<MutexGuard<'_, Running>, DbErr> {
        let mut running = self.running.lock().await;
        let dropped = std::mem::take(&mut *self.dropped());
        running.undo_dropped(&dropped, self.limits).await?;
        Ok(running)
    }

    /// # Errors
    /// If it is not for the caller to end it.
    fn owned(&self) -> Result<(), DbErr> {
        if self.lent {
            return Err(Error::new(
                Fault::Internal,
                "the closure's transaction is committed when the closure returns Ok, and undone when it returns Err",
            )
            .into());
        }
        Ok(())
    }

    fn dropped(&self) -> StdMutexGuard<'_, Vec<u64>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn collect(&self, sql: Sql) -> Result<Vec<Item>, DbErr> {
        let mut items = Vec::new();
        self.settled().await?.statement(sql, self.limits, &mut items).await?;
        Ok(items)
    }

    /// Runs the callback of sea-orm's `transaction` to its end.
    pub(super) async fn run<F, T, E>(self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        match callback(&self).await {
            Ok(value) => {
                self.commit().await.map_err(TransactionError::Connection)?;
                Ok(value)
            }
            Err(error) => {
                self.rollback().await.map_err(TransactionError::Connection)?;
                Err(TransactionError::Transaction(error))
            }
        }
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        done(self.collect(Sql::Prepared(statement)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        done(self.collect(Sql::Script(sql.to_owned())).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(rows(self.collect(Sql::Prepared(statement)).await?).next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(rows(self.collect(Sql::Prepared(statement)).await?).collect())
    }
}

impl StreamTrait for Transaction {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    /// Streams the rows. The transaction can run nothing else until the stream is dropped; dropped before its
    /// end, it leaves a session that is closed.
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let mut running = self.settled().await?;
            let limits = self.limits;
            let stream: Self::Stream<'a> = Box::pin(async_stream::stream! {
                let mut items = running.stream(Sql::Prepared(statement), limits);
                while let Some(item) = items.next().await {
                    match item {
                        Ok(Item::Row(row)) => yield Ok(row),
                        Ok(Item::Done(_)) => {}
                        Err(error) => yield Err(error),
                    }
                }
            });
            Ok(stream)
        })
    }
}

#[async_trait]
impl TransactionTrait for Transaction {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        let savepoint = self.settled().await?.save(self.limits).await?;
        Ok(Self {
            running: Arc::clone(&self.running),
            dropped: Arc::clone(&self.dropped),
            limits: self.limits,
            backend: self.backend,
            savepoint,
            lent: false,
            ended: false,
        })
    }

    /// # Errors
    /// If anything is asked for: a savepoint has the isolation and the access of its transaction.
    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Self, DbErr> {
        if isolation_level.is_some() || access_mode.is_some() {
            return Err(Error::new(
                Fault::QueryFailed,
                "a transaction inside another is a savepoint, which has no isolation level or access mode of its own",
            )
            .into());
        }
        self.begin().await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        self.begin_with_config(options.isolation_level, options.access_mode).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.begin().await.map_err(TransactionError::Connection)?.run(callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

#[async_trait]
impl TransactionSession for Transaction {
    async fn commit(mut self) -> Result<(), DbErr> {
        self.owned()?;
        let mut running = self.settled().await?;
        if self.savepoint > 0 {
            running.release(self.savepoint, self.limits).await?;
            drop(running);
            self.ended = true;
            return Ok(());
        }
        let committed = running.commit(self.limits).await;
        drop(running);
        self.ended = true;
        let mut running = self.into_running()?;
        match committed {
            Ok(()) => {
                running.lease.park();
                Ok(())
            }
            // What has been sent to commit may have been committed.
            Err(driver) => Err(match running.failed.take() {
                Some(error) => match retry::decide(error.fault(), running.access, running.progress) {
                    Next::Fail(fault) if fault != error.fault() => error.into_fault(fault).into(),
                    _ => driver,
                },
                None => driver,
            }),
        }
    }

    async fn rollback(mut self) -> Result<(), DbErr> {
        self.owned()?;
        let mut running = self.settled().await?;
        if self.savepoint > 0 {
            running.rollback_to(self.savepoint, self.limits).await?;
            drop(running);
            self.ended = true;
            return Ok(());
        }
        let undone = running.rollback(self.limits).await;
        drop(running);
        self.ended = true;
        let running = self.into_running()?;
        if undone.is_ok() {
            running.lease.park();
        }
        // If it could not be said, the session is closed, and the server undoes the transaction by itself.
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.savepoint > 0 && !self.ended {
            self.dropped().push(self.savepoint);
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("savepoint", &self.savepoint).finish_non_exhaustive()
    }
}
