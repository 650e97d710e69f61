//! One open file.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt};
use lambda_rds_core::answers::{self, Answers, OneByOne};
use lambda_rds_core::backend::{Access, CancelHandle, Done, Effect, Frame, Session, State, Statement};
use lambda_rds_core::describe::Described;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::rows::RowWriter;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteOperation, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ColumnOrigin, Connection, Either, Executor, Row as _, SqlSafeStr, Sqlite,
    SqliteConnection, SqlitePool, Statement as _, TypeInfo,
};

use crate::bind;
use crate::cancel::{Canceller, INSTRUCTIONS, Watch};
use crate::classify::{to_error, while_running};
use crate::decode::{Column, Declared, write_row};
use crate::describe;

/// A session: one connection of a pool of one, checked out for as long as nobody asks for sea-orm's handle.
#[derive(Debug)]
pub(crate) struct SqliteSession {
    pub(crate) pool: SqlitePool,
    pub(crate) connection: Option<PoolConnection<Sqlite>>,
    pub(crate) statement_timeout: Duration,
    log_values: bool,
    /// Shared with SQLite's thread: whether the statement may go on.
    pub(crate) watch: Arc<Watch>,
    /// Shared with SQLite's thread: whether the statement has inserted a row.
    inserted: Arc<AtomicBool>,
    /// The columns of the statements prepared so far, by their SQL.
    prepared: HashMap<Arc<str>, Arc<[Column]>>,
    /// The version of the schema under which they were prepared.
    schema: i64,
    /// What the running transaction, or the statement outside one, may do.
    pub(crate) access: Access,
    in_transaction: bool,
    /// Whether a statement is running, or was left half read.
    pub(crate) busy: bool,
    /// Whether SQLite can no longer be reached through this connection.
    lost: bool,
}

impl SqliteSession {
    /// Opens the only connection of this pool and reads from the file, which proves that it is a database.
    ///
    /// # Errors
    /// SQLite's, classified.
    pub(crate) async fn open(
        pool: SqlitePool,
        statement_timeout: Duration,
        log_values: bool,
    ) -> Result<Self> {
        let mut session = Self {
            pool,
            connection: None,
            statement_timeout,
            log_values,
            watch: Arc::default(),
            inserted: Arc::default(),
            prepared: HashMap::new(),
            schema: 0,
            access: Access::Read,
            in_transaction: false,
            busy: false,
            lost: false,
        };
        session.refresh().await.map_err(|error| to_error(&error, Access::Read))?;
        Ok(session)
    }

    async fn execute(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done, Stopped> {
        let arguments = bind::arguments(&statement.arguments)?;
        let columns = self.prepare(&statement.sql).await?;
        if !columns.is_empty() {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            rows.columns(&names)?;
        }
        let inserted = Arc::clone(&self.inserted);
        inserted.store(false, Ordering::Relaxed);
        let before = self.changes().await?;

        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&statement.sql)), arguments);
        let mut stream = self.connection().await?.fetch_many(query);
        let (mut read, mut changed, mut last_insert_id) = (0, 0, None);
        loop {
            if rows.leaves() && rows.waiting() >= PIECE {
                rows.drain().await.map_err(Stopped::Unread)?;
            }
            // While the file is read, what there is may leave.
            let at_once = if rows.leaves() { stream.try_next().now_or_never() } else { None };
            let next = match at_once {
                Some(next) => next,
                None => {
                    rows.drain().await.map_err(Stopped::Unread)?;
                    stream.try_next().await
                }
            };
            let Some(item) = next.map_err(Stopped::Running)? else { break };
            match item {
                Either::Right(row) => {
                    if rows.wants_rows() {
                        write_row(&row, &columns, rows).map_err(Stopped::Unread)?;
                    }
                    read += 1;
                }
                Either::Left(result) => {
                    changed = result.rows_affected();
                    // SQLite keeps the id of the last insert for ever; it is this statement's only if it
                    // inserted.
                    last_insert_id =
                        inserted.load(Ordering::Relaxed).then(|| i128::from(result.last_insert_rowid()));
                }
            }
        }
        drop(stream);

        // Likewise, it keeps the last count of changed rows through a statement that changes none, such as
        // CREATE TABLE.
        let rows_affected = if self.changes().await? == before { read } else { changed };
        Ok(Done { rows_affected, last_insert_id })
    }

    /// The columns of this statement, which is prepared once for as long as the schema stays.
    async fn prepare(&mut self, sql: &Arc<str>) -> Result<Arc<[Column]>, sqlx::Error> {
        // More than the driver keeps prepared, and few enough to forget when `IN` lists of all lengths fill it.
        const MOST: usize = 500;

        self.refresh().await?;
        if let Some(columns) = self.prepared.get(sql) {
            return Ok(Arc::clone(columns));
        }
        let connection = self.connection().await?;
        let prepared = connection.prepare(AssertSqlSafe(Arc::clone(sql)).into_sql_str()).await?;
        let mut columns = Vec::with_capacity(prepared.columns().len());
        for column in prepared.columns() {
            let declared = match (column.type_info().name(), column.origin()) {
                ("BOOLEAN", _) => Declared::Bool,
                // A declaration that sqlx does not know: ask SQLite for its text.
                ("NULL", ColumnOrigin::Table(origin)) => {
                    declared(connection, &origin.table, &origin.name).await?
                }
                _ => Declared::Other,
            };
            columns.push(Column { name: column.name().to_owned(), declared });
        }
        if self.prepared.len() >= MOST {
            self.prepared.clear();
        }
        let columns: Arc<[Column]> = columns.into();
        self.prepared.insert(Arc::clone(sql), Arc::clone(&columns));
        Ok(columns)
    }

    /// Forgets all prepared statements if the schema is another one.
    ///
    /// SQLite would prepare them again by itself, but sqlx keeps the names of the columns that it saw first, and
    /// panics where there are more. The question costs some microseconds and no lock beyond a read's.
    pub(crate) async fn refresh(&mut self) -> Result<(), sqlx::Error> {
        let known = self.schema;
        let connection = self.connection().await?;
        let schema = sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut *connection).await?;
        if schema != known {
            // A statement that reads a table makes SQLite load the new schema; the pragma does not.
            connection.execute(sqlx::raw_sql("SELECT count(*) FROM sqlite_schema")).await?;
            connection.clear_cached_statements().await?;
            self.prepared.clear();
            self.schema = schema;
        }
        Ok(())
    }

    /// How many rows this connection has changed in all, while it may change any.
    async fn changes(&mut self) -> Result<i64, sqlx::Error> {
        if self.access == Access::Read {
            return Ok(0);
        }
        sqlx::query_scalar("SELECT total_changes()").fetch_one(self.connection().await?).await
    }

    /// Runs statements of our own, which give no rows.
    async fn script(&mut self, sql: &'static str) -> Result<()> {
        self.busy = true;
        let outcome = match self.connection().await {
            Ok(connection) => connection.execute(sqlx::raw_sql(sql)).await,
            Err(error) => Err(error),
        };
        self.busy = false;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(self.noted(to_error(&error, Access::Write))),
        }
    }

    /// The connection, taken back from the pool if sea-orm has it.
    pub(crate) async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        {
            let (watch, inserted) = (Arc::clone(&self.watch), Arc::clone(&self.inserted));
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(INSTRUCTIONS, move || watch.go_on());
            handle.set_update_hook(move |change| {
                if change.operation == SqliteOperation::Insert {
                    inserted.store(true, Ordering::Relaxed);
                }
            });
        }
        Ok(connection)
    }

    /// Remembers what an error means for the session.
    pub(crate) fn noted(&mut self, error: Error) -> Error {
        self.lost |= error.fault() == Fault::ConnectionLost;
        error
    }
}

impl OneByOne for SqliteSession {
    fn step<'a>(
        &'a mut self,
        statement: &'a Statement,
        rows: &'a mut RowWriter,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            self.busy = true;
            self.watch.arm(self.statement_timeout);
            let outcome = self.execute(statement, rows).await;
            self.watch.disarm();
            self.busy = matches!(outcome, Err(Stopped::Unread(_)));
            outcome.map_err(|stopped| match stopped {
                Stopped::Driver(error) => self.noted(to_error(&error, self.access)),
                Stopped::Running(error) => {
                    self.noted(while_running(&error, self.access, statement, self.log_values))
                }
                Stopped::Ours(error) | Stopped::Unread(error) => error,
            })
        })
    }
}

impl Session for SqliteSession {
    fn run<'a>(
        &'a mut self,
        frame: Frame,
        statements: &'a [&'a Statement],
        answers: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(answers::one_by_one(self, frame, statements, answers))
    }

    fn ask<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
        Box::pin(async move {
            let asked = match self.connection().await {
                Ok(connection) => connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await,
                Err(error) => Err(error),
            };
            let asked = asked.and_then(|rows| {
                let row = |row: &SqliteRow| (0..row.len()).map(|at| row.try_get_unchecked(at)).collect();
                rows.iter().map(row).collect()
            });
            asked.map_err(|error| self.noted(to_error(&error, Access::Read)))
        })
    }

    fn announce<'a>(
        &'a mut self,
        statements: &'a [&'a Statement],
        _access: Access,
        _shortest: Duration,
    ) -> BoxFuture<'a, Result<Vec<Effect>>> {
        Box::pin(std::future::ready(Ok(vec![Effect::Undone; statements.len()])))
    }

    fn effect<'a>(&'a mut self, _sql: &'a str) -> BoxFuture<'a, Result<Effect>> {
        Box::pin(std::future::ready(Ok(Effect::Undone)))
    }

    fn pins(&self, _statement: &Statement) -> bool {
        false
    }

    fn describe<'a>(&'a mut self, statement: &'a Statement) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async move {
            let described = match self.refresh().await {
                Ok(()) => describe::describe(self.connection().await, statement).await,
                Err(error) => Err(error),
            };
            described.map_err(|error| self.noted(to_error(&error, Access::Read)))
        })
    }

    fn begin(&mut self, access: Access) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let begun = self
                .script(match access {
                    Access::Read => "BEGIN",
                    // IMMEDIATE takes the lock here, where nothing has been done yet, and not at the first write.
                    Access::Write => "PRAGMA query_only = OFF; BEGIN IMMEDIATE",
                })
                .await;
            match begun {
                Ok(()) => (self.access, self.in_transaction) = (access, true),
                Err(_) => self.lost |= self.script("PRAGMA query_only = ON").await.is_err(),
            }
            begun
        })
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let committed = self.script("COMMIT; PRAGMA query_only = ON").await;
            match committed {
                Ok(()) => (self.access, self.in_transaction) = (Access::Read, false),
                // SQLite keeps a transaction open that it could not commit, for another try. Ours is over.
                Err(_) => self.lost |= self.rollback().await.is_err(),
            }
            committed
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            // Some errors undo the transaction by themselves, and ROLLBACK without one is an error. After the
            // savepoint there is one in any case.
            self.script("SAVEPOINT undone; ROLLBACK; PRAGMA query_only = ON").await?;
            (self.access, self.in_transaction) = (Access::Read, false);
            Ok(())
        })
    }

    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.script(if write { "PRAGMA query_only = OFF" } else { "PRAGMA query_only = ON" }).await?;
            self.access = if write { Access::Write } else { Access::Read };
            Ok(())
        })
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let outcome = match self.connection().await {
                Ok(connection) => connection.ping().await,
                Err(error) => Err(error),
            };
            outcome.map_err(|error| self.noted(to_error(&error, self.access)))
        })
    }

    fn flights(&self) -> Option<u64> {
        None
    }

    fn state(&self) -> State {
        match (self.busy || self.lost || self.watch.cancelled(), self.in_transaction) {
            (true, _) => State::Closed,
            (false, true) => State::InTransaction,
            (false, false) => State::Idle,
        }
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        Some(Box::new(Canceller(Arc::clone(&self.watch))))
    }

    #[cfg(feature = "sea-orm")]
    fn orm(&mut self) -> Option<&mut dyn lambda_rds_core::backend::Orm> {
        Some(self)
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // What still runs would keep us waiting.
            self.watch.cancel();
            if let Some(connection) = self.connection.take() {
                // What a file says at closing changes nothing any more.
                let _ = connection.close().await;
            }
            self.pool.close().await;
        })
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        self.watch.cancel();
        if let Some(connection) = self.connection.take() {
            // Returning it to the pool would need a runtime and a task; this closes it at once.
            drop(connection.detach());
        }
    }
}

/// So much of a body leaves at once.
const PIECE: usize = 16 * 1024;

/// Why a statement ended early.
enum Stopped {
    /// The driver's error; SQLite has reset the statement.
    Driver(sqlx::Error),
    /// The same, of a statement that had been prepared.
    Running(sqlx::Error),
    /// Our own, before anything ran.
    Ours(Error),
    /// Our own, with rows left unread.
    Unread(Error),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What the declared type of a table's column adds.
async fn declared(
    connection: &mut SqliteConnection,
    table: &str,
    column: &str,
) -> Result<Declared, sqlx::Error> {
    let declared: Option<String> =
        sqlx::query_scalar("SELECT type FROM pragma_table_info(?1) WHERE name = ?2")
            .bind(table)
            .bind(column)
            .fetch_optional(connection)
            .await?;
    Ok(match declared {
        Some(declared) if ["JSON", "JSONB"].iter().any(|name| declared.eq_ignore_ascii_case(name)) => {
            Declared::Json
        }
        _ => Declared::Other,
    })
}
