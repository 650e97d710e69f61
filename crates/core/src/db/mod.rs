//! The library's way in: a database for code of one's own, with sea-orm's traits, under the same rules as the queries.
//!
//! A [`Db`] is cheap to clone and connects to nothing until it is used. It implements sea-orm's
//! [`ConnectionTrait`], [`StreamTrait`] and [`TransactionTrait`], so entities and queries run on it as they do on a
//! `DatabaseConnection`; and whatever runs on it has a live session, a deadline, and the retry rule of
//! [`crate::retry`].
//!
//! | what | on which session | runs again |
//! |---|---|---|
//! | a SELECT | read-only, one round trip | after a lost connection |
//! | another statement | a READ WRITE transaction of its own, two round trips on PostgreSQL, else three | if the server undid it, or never had it |
//! | [`Db::read`] | read-only | after a lost connection, from its beginning |
//! | [`Db::transaction`] | one READ WRITE transaction | if the server undid it, or never had its COMMIT |
//! | [`Db::once`] | the same, once per key | after any loss: the key tells whether it was done |
//! | [`TransactionTrait::begin`], a stream | as the transaction or statement says | no, since its rows are out |
//! | any of these on [`Db::as_caller`] | in a transaction that the server is told the caller of | as above |
//! | [`Db::connection`], [`Db::writer`] | as sea-orm drives it | no |

mod once;
mod running;
mod transaction;

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, IsolationLevel,
    QueryResult, Statement, StreamTrait, TransactionError, TransactionOptions, TransactionTrait,
};

use crate::backend::{Access, Backend, Item, Orm, Session, Sql, Topology};
use crate::config;
use crate::connect::sessions::{Cost, Lease, Sessions};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Result};
use crate::execute::{Attempts, Trace, limited};
use crate::once::Store;
use crate::queries::{Caller, Dialect, Effect};
use crate::retry::Progress;

use running::Running;
pub use transaction::Transaction;

/// A database. Clones share its sessions.
#[derive(Debug, Clone)]
pub struct Db {
    sessions: Arc<Sessions>,
    /// The table of idempotency keys.
    store: Arc<Store>,
    limits: Limits,
    /// Who everything is for.
    caller: Arc<Caller>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// One statement.
    statement: Duration,
    /// What is kept for stopping the server after the deadline.
    reserve: Duration,
    /// Everything.
    until: Option<Deadline>,
}

impl Db {
    /// The database of this configuration; connects at the first use. `backend` says how to speak to its server,
    /// `topology` where it is ([`Fixed`](crate::backend::Fixed) for one server).
    ///
    /// The facade's `lambda_rds::db` picks both by the features that are built in.
    #[must_use]
    pub fn new(
        config: &config::Db,
        platform: &config::Platform,
        backend: Arc<dyn Backend>,
        topology: Arc<dyn Topology>,
    ) -> Self {
        let sessions = Sessions::configured(config, platform, config.query_timeout, false, backend, topology);
        Self::on(Arc::new(sessions), config)
    }

    /// A database on sessions that are there already.
    pub(crate) fn on(sessions: Arc<Sessions>, config: &config::Db) -> Self {
        let limits =
            Limits { statement: config.query_timeout, reserve: config.deadline_reserve, until: None };
        let dialect = sessions.backend().dialect();
        let store =
            Store::new(config.engine, dialect, &config.idempotency_table, config.idempotency_reply).into();
        Self { sessions, store, limits, caller: Arc::default() }
    }

    /// The same database, where everything must be over by this deadline: Lambda's own for the invocation, say. What
    /// runs when it is near is cancelled on the server, for which the reserve (`DB_DEADLINE_RESERVE`) is kept. Each
    /// statement has its own limit (`DB_QUERY_TIMEOUT`) besides.
    #[must_use]
    pub fn until(&self, deadline: Deadline) -> Self {
        let deadline = deadline.less(self.limits.reserve);
        let until = Some(self.limits.until.map_or(deadline, |earlier| earlier.min(deadline)));
        Self { limits: Limits { until, ..self.limits }, ..self.clone() }
    }

    /// The same database for this caller: each statement and each transaction begins with what the server is told of them,
    /// and ends with it, so that row-level security gives them their rows and nobody else's. PostgreSQL only.
    ///
    /// A SELECT has a transaction of its own then, as behind a pooler, and is one round trip as ever: all that belongs
    /// around it travels with it. What commits by itself cannot be run, nor sea-orm's own connection be had, since there is
    /// no transaction to tell.
    ///
    /// ```
    /// use lambda_rds_core::sea_orm::{ConnectionTrait, Statement};
    /// use lambda_rds_core::queries::Caller;
    /// use lambda_rds_core::{Db, error::Result};
    ///
    /// async fn notes(db: &Db, tenant: &str) -> Result<usize> {
    ///     let caller = Caller::nobody().setting("app.tenant", tenant)?.role("member")?;
    ///     let db = db.as_caller(caller)?;
    ///     let backend = ConnectionTrait::get_database_backend(&db);
    ///     Ok(db.query_all_raw(Statement::from_string(backend, "SELECT id FROM notes")).await?.len())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] on an engine that knows no such settings.
    pub fn as_caller(&self, caller: Caller) -> Result<Self> {
        if self.sessions.backend().dialect() != Dialect::Postgres && !caller.is_nobody() {
            return Err(Error::new(
                Fault::QueryFailed,
                "only PostgreSQL can be told whom a transaction is for: compare with the caller in each WHERE",
            ));
        }
        Ok(Self { caller: caller.into(), ..self.clone() })
    }

    /// # Errors
    /// Where everything is for a caller, and this is for nobody in particular.
    fn of_nobody(&self) -> Result<()> {
        match self.caller.is_nobody() {
            true => Ok(()),
            false => Err(Error::new(
                Fault::QueryFailed,
                "this has no transaction that could be told of the caller (`Db::as_caller`): use `read` or `transaction`",
            )),
        }
    }

    /// Opens a session ahead of its first use; during INIT, say.
    ///
    /// # Errors
    /// Why it could not be opened. The first use tries again.
    pub async fn warm(&self) -> Result<()> {
        self.sessions.warm(self.limits.by()).await
    }

    /// Says goodbye to the server; takes 300 ms at most. Nothing can be run afterwards.
    pub async fn close(&self) {
        self.sessions.close().await;
    }

    /// Runs `f` on a read-only session, and again from its beginning on a fresh one if the connection was lost.
    ///
    /// Each statement is one round trip and sees what is committed when it begins; for one snapshot of several,
    /// begin a transaction with `AccessMode::ReadOnly` and an isolation level.
    ///
    /// ```
    /// use lambda_rds_core::sea_orm::{ConnectionTrait, Statement};
    /// use lambda_rds_core::{Db, error::Result};
    ///
    /// async fn first_user(db: &Db) -> Result<Option<String>> {
    ///     db.read(async |tx| {
    ///         let backend = ConnectionTrait::get_database_backend(&tx);
    ///         let sql = "SELECT name FROM users ORDER BY id LIMIT 1";
    ///         let row = tx.query_one_raw(Statement::from_string(backend, sql)).await?;
    ///         Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// # Errors
    /// What `f` returned, or why there was no session. A [`DbErr`] that `f` passes on with `?` comes back
    /// classified.
    ///
    /// # Cancel safety
    /// A dropped future closes the session.
    pub async fn read<T, F, Fut>(&self, f: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.attempts(Access::Read, f).await
    }

    /// Runs `f` in one READ WRITE transaction and commits what it did, or undoes it if it returns an error. It
    /// runs again from its beginning if the server provably undid it or never had its COMMIT: so `f` may run
    /// several times, and does nothing outside the database that must not happen twice.
    ///
    /// # Errors
    /// What `f` returned; or why there was no session or no COMMIT. [`Fault::OutcomeUnknown`] if the connection
    /// was lost after COMMIT had been sent.
    ///
    /// # Cancel safety
    /// A dropped future closes the session, with which the server undoes the transaction.
    pub async fn transaction<T, F, Fut>(&self, f: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        self.attempts(Access::Write, f).await
    }

    /// sea-orm's own connection, on one session that is held for as long as the guard lives. It is read-only. Its
    /// statements have no deadline but the server's, are not run again, and cost a second round trip, since sqlx's
    /// pool pings.
    ///
    /// # Errors
    /// Why there was no session.
    pub async fn connection(&self) -> Result<Connection> {
        self.of_nobody()?;
        let mut lease = self.sessions.lease(Access::Read, self.limits.by(), &mut Cost::default()).await?;
        let database = orm(lease.session())?.database().await?;
        Ok(Connection { lease: Some(lease), database })
    }

    /// The same, but it may write, and its session is closed with it: for migrations, which take locks and change
    /// settings.
    ///
    /// # Errors
    /// Why there was no session, or not the writer's.
    pub async fn writer(&self) -> Result<Connection> {
        self.of_nobody()?;
        let mut lease = self.sessions.lease(Access::Write, self.limits.by(), &mut Cost::default()).await?;
        lease.spoil();
        let session = lease.session();
        let cancel = session.cancel_handle();
        limited(cancel, self.limits.statement(), Progress::Unsent, session.autocommit(true)).await?;
        let database = orm(session)?.database().await?;
        Ok(Connection { lease: Some(lease), database })
    }

    /// A failure that sea-orm reported, classified: [`Error::fault`] says what kind it is.
    #[must_use]
    pub fn error(&self, error: &DbErr) -> Error {
        recovered(error)
            .unwrap_or_else(|| Error::new(self.sessions.backend().classify(error), error.to_string()))
    }

    async fn attempts<T, F, Fut>(&self, access: Access, f: F) -> Result<T>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let by = self.limits.by();
        let limits = Limits { until: Some(by), ..self.limits };
        let (mut attempts, mut trace) = (Attempts::new(&self.sessions, access, by), Trace::default());
        loop {
            let lease = attempts.lease(&mut trace).await?;
            let transaction = Transaction::new(lease, access, limits, &self.caller);
            let outcome = transaction.whole(&f).await;
            let running = transaction.into_running()?;
            match outcome {
                Ok(value) => {
                    running.lease.park();
                    return Ok(value);
                }
                Err(error) => {
                    let Running { lease, progress, .. } = running;
                    attempts.failed(error, progress, lease, limits.statement().0, &mut trace).await?;
                }
            }
        }
    }

    /// Runs one statement by itself and gives all that it gave.
    async fn alone(&self, sql: Sql) -> Result<Vec<Item>, DbErr> {
        let by = self.limits.by();
        let limits = Limits { until: Some(by), ..self.limits };
        let effect = self.effect(&sql);
        if effect == Effect::Commits {
            self.of_nobody()?;
        }
        let access = if effect == Effect::Reads { Access::Read } else { Access::Write };
        let (mut attempts, mut trace) = (Attempts::new(&self.sessions, access, by), Trace::default());
        loop {
            let lease = attempts.lease(&mut trace).await?;
            let mut running = Running::new(lease, access, &self.caller);
            let mut items = Vec::new();
            let outcome = running.alone(effect, sql.clone(), limits, &mut items).await;
            let Running { mut lease, progress, failed, spoilt, .. } = running;
            if spoilt {
                lease.spoil();
            }
            match outcome {
                Ok(()) => {
                    lease.park();
                    return Ok(items);
                }
                Err(driver) => {
                    let error = failed.unwrap_or_else(|| self.error(&driver));
                    let kind = error.fault();
                    let settled = limits.statement().0;
                    if let Err(standing) = attempts.failed(error, progress, lease, settled, &mut trace).await
                    {
                        // The driver's own words, unless more follows from them than they say.
                        return Err(if standing.fault() == kind { driver } else { standing.into() });
                    }
                }
            }
        }
    }

    fn effect(&self, sql: &Sql) -> Effect {
        let (Sql::Prepared(Statement { sql, .. }) | Sql::Script(sql)) = sql;
        Effect::of(self.sessions.backend().dialect(), sql)
    }
}

#[async_trait]
impl ConnectionTrait for Db {
    fn get_database_backend(&self) -> DbBackend {
        database_backend(&self.sessions)
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        done(self.alone(Sql::Prepared(statement)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        done(self.alone(Sql::Script(sql.to_owned())).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(rows(self.alone(Sql::Prepared(statement)).await?).next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(rows(self.alone(Sql::Prepared(statement)).await?).collect())
    }
}

impl StreamTrait for Db {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        database_backend(&self.sessions)
    }

    /// Streams the rows of a read. What else gives rows (`INSERT … RETURNING`) is streamed in a transaction.
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let sql = Sql::Prepared(statement);
            if self.effect(&sql) != Effect::Reads {
                return Err(Error::new(
                    Fault::QueryFailed,
                    "a statement that writes is streamed in a transaction: begin one, and stream on it",
                )
                .into());
            }
            let limits = Limits { until: Some(self.limits.by()), ..self.limits };
            let mut trace = Trace::default();
            let lease = Attempts::new(&self.sessions, Access::Read, limits.by()).lease(&mut trace).await?;
            let mut running = Running::new(lease, Access::Read, &self.caller);
            let stream: Self::Stream<'a> = Box::pin(async_stream::stream! {
                let mut failed = None;
                {
                    if running.framed() {
                        failed = running.begin(limits).await.err();
                    }
                    let mut items = running.stream(sql, limits);
                    while failed.is_none() && let Some(item) = items.next().await {
                        match item {
                            Ok(Item::Row(row)) => yield Ok(row),
                            Ok(Item::Done(_)) => {}
                            Err(error) => failed = Some(error),
                        }
                    }
                }
                match failed {
                    Some(error) => yield Err(error),
                    None if running.framed() => match running.commit(limits).await {
                        Ok(()) => running.lease.park(),
                        Err(error) => yield Err(error),
                    },
                    None => running.lease.park(),
                }
            });
            Ok(stream)
        })
    }
}

#[async_trait]
impl TransactionTrait for Db {
    type Transaction = Transaction;

    async fn begin(&self) -> Result<Transaction, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Transaction, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, sqlite_transaction_mode: None };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        let by = self.limits.by();
        let limits = Limits { until: Some(by), ..self.limits };
        let access = match options.access_mode {
            Some(AccessMode::ReadOnly) => Access::Read,
            Some(AccessMode::ReadWrite) | None => Access::Write,
        };
        let (mut attempts, mut trace) = (Attempts::new(&self.sessions, access, by), Trace::default());
        loop {
            let mut running = Running::new(attempts.lease(&mut trace).await?, access, &self.caller);
            match running.begin_isolated(options.isolation_level, limits).await {
                Ok(()) => return Ok(Transaction::of(running, limits)),
                Err(driver) => {
                    let Running { lease, failed, .. } = running;
                    let error = failed.unwrap_or_else(|| self.error(&driver));
                    let settled = limits.statement().0;
                    attempts.failed(error, Progress::Unsent, lease, settled, &mut trace).await?;
                }
            }
        }
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Transaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
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
        F: for<'c> FnOnce(&'c Transaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

/// sea-orm's connection on a session of ours, which is given back when this is dropped.
#[derive(Debug)]
pub struct Connection {
    lease: Option<Lease>,
    database: DatabaseConnection,
}

impl Deref for Connection {
    type Target = DatabaseConnection;

    fn deref(&self) -> &DatabaseConnection {
        &self.database
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.park();
        }
    }
}

impl Limits {
    /// When all must be done.
    fn by(self) -> Deadline {
        self.until.unwrap_or_else(|| Deadline::after(UNLIMITED))
    }

    /// When a statement that begins now must be done, and when the server must have been told to stop.
    fn statement(self) -> (Deadline, Deadline) {
        let by = self.by().within(self.statement);
        (by, self.by().into_reserve(self.reserve))
    }
}

impl From<Error> for DbErr {
    /// Kept whole inside, so that [`Error::from`] and [`Db::error`] give it back; sea-orm has no variant for the
    /// errors of others but this one.
    fn from(error: Error) -> Self {
        Self::TryIntoErr { from: "the call", into: "a result", source: Arc::new(error) }
    }
}

impl From<DbErr> for Error {
    /// One of ours is given back as it was. A driver's is not classified yet: [`Db::read`] and [`Db::transaction`]
    /// do that to what their closures pass on, [`Db::error`] anywhere.
    fn from(error: DbErr) -> Self {
        recovered(&error).unwrap_or_else(|| Self::unclassified(error.to_string()))
    }
}

fn recovered(error: &DbErr) -> Option<Error> {
    match error {
        DbErr::TryIntoErr { source, .. } => source.downcast_ref::<Error>().cloned(),
        _ => None,
    }
}

/// The session as sea-orm's driver takes it.
///
/// # Errors
/// If its engine was built without the driver.
fn orm(session: &mut dyn Session) -> Result<&mut dyn Orm> {
    let without = "this engine was built without sea-orm's driver: build it with the feature `sea-orm`";
    session.orm().ok_or_else(|| Error::new(Fault::Internal, without))
}

fn database_backend(sessions: &Sessions) -> DbBackend {
    match sessions.backend().dialect() {
        Dialect::Postgres => DbBackend::Postgres,
        Dialect::Mysql => DbBackend::MySql,
        Dialect::Sqlite => DbBackend::Sqlite,
    }
}

fn rows(items: Vec<Item>) -> impl Iterator<Item = QueryResult> {
    items.into_iter().filter_map(|item| match item {
        Item::Row(row) => Some(row),
        Item::Done(_) => None,
    })
}

/// What the last statement did.
fn done(items: Vec<Item>) -> Result<ExecResult, DbErr> {
    let done = items.into_iter().rev().find_map(|item| match item {
        Item::Done(done) => Some(done),
        Item::Row(_) => None,
    });
    done.ok_or_else(|| Error::new(Fault::Internal, "the driver did not say what the statement did").into())
}

/// Without a deadline of the caller's: as long as an invocation of Lambda's can take.
const UNLIMITED: Duration = Duration::from_secs(15 * 60);
