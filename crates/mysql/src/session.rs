//! One live connection to MySQL or MariaDB.

use std::fmt;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::backend::{Access, CancelHandle, Done, Failure, Item, Session, Sql, Statement};
use lambda_rds_core::connect::guard::Guard;
use lambda_rds_core::connect::relay::Wire;
use lambda_rds_core::describe::Described;
use lambda_rds_core::error::{Error, Result};
use lambda_rds_core::rows::RowWriter;
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxMySqlConnector};
use sea_query_sqlx::SqlxValues;
use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlQueryResult, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _,
};

use crate::bind;
use crate::cancel::MySqlCancel;
use crate::classify::{self, Doing};
use crate::decode::Columns;
use crate::describe;
use crate::guard;

/// One live connection.
///
/// The pool holds exactly this connection and exists for sea-orm, which takes nothing else. The session keeps
/// it checked out, because the pool pings whatever is given back to it: one more round trip, and one that a
/// freeze would catch in mid-flight.
pub(crate) struct MySqlSession {
    pool: MySqlPool,
    connection: Option<PoolConnection<sqlx::MySql>>,
    wire: Arc<Wire>,
    /// Lets no row in that is too large to be held.
    guard: Arc<Guard>,
    cancel: MySqlCancel,
    /// A statement is running, or was left half read.
    busy: bool,
    /// What the running transaction, or the statement outside one, may do.
    access: Access,
    in_transaction: bool,
    /// Whether the log may show values, which some of the server's messages hold.
    log_values: bool,
}

impl MySqlSession {
    pub(crate) fn new(
        pool: MySqlPool,
        connection: PoolConnection<sqlx::MySql>,
        wire: Arc<Wire>,
        guard: Arc<Guard>,
        cancel: MySqlCancel,
        log_values: bool,
    ) -> Self {
        Self {
            pool,
            connection: Some(connection),
            wire,
            guard,
            cancel,
            log_values,
            busy: false,
            access: Access::Read,
            in_transaction: false,
        }
    }

    /// The connection, taken back from sea-orm if it has it.
    async fn connection(&mut self) -> Result<&mut MySqlConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn execute(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done, Stopped> {
        // Prepared even without arguments, so that there is one format of rows, the binary one.
        let arguments = bind::bind(&statement.arguments).map_err(Stopped::Ours)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&statement.sql)), arguments);
        let mut stream = self.connection().await?.fetch_many(query);
        let mut columns: Option<Columns> = None;
        let mut results = 0;
        let mut done = Done::default();
        while let Some(item) = stream.try_next().await? {
            match item {
                Either::Right(row) if rows.wants_rows() => {
                    let columns = match &mut columns {
                        Some(columns) if results > 0 => return Err(Stopped::Unread(columns.second_result())),
                        Some(columns) => columns,
                        None => {
                            results = 0;
                            columns.insert(Columns::new(row.columns(), rows).map_err(Stopped::Unread)?)
                        }
                    };
                    columns.row(&row, rows).map_err(Stopped::Unread)?;
                }
                Either::Right(_) => {}
                // A procedure gives one for each of its results, and one for itself.
                Either::Left(result) => {
                    results += 1;
                    done.rows_affected += result.rows_affected();
                    done.last_insert_id = last_insert_id(result.last_insert_id()).or(done.last_insert_id);
                }
            }
        }
        drop(stream);
        if rows.wants_rows() && columns.is_none() {
            // No row has shown the columns. The driver has them since it prepared the statement, so that asking
            // costs nothing.
            let sql = AssertSqlSafe(Arc::clone(&statement.sql)).into_sql_str();
            let prepared = self.connection().await?.prepare(sql).await?;
            Columns::new(prepared.columns(), rows).map_err(Stopped::Ours)?;
        }
        Ok(done)
    }

    /// Runs a statement that has no parameters and gives no rows, in one round trip.
    async fn simple(&mut self, sql: &'static str, doing: Doing) -> Result<()> {
        self.busy = true;
        let outcome = match self.connection().await {
            Ok(connection) => connection.execute(sqlx::raw_sql(sql)).await,
            Err(error) => Err(error),
        };
        self.busy = matches!(&outcome, Err(error) if !answered(error));
        outcome.map(|_| ()).map_err(|error| self.error(&error, doing))
    }

    /// The statements of an application, as sea-orm sends them.
    async fn send(
        &mut self,
        sql: Sql,
    ) -> Result<BoxStream<'_, sqlx::Result<Either<MySqlQueryResult, MySqlRow>>>, sqlx::Error> {
        let connection = self.connection().await?;
        Ok(match sql {
            Sql::Prepared(statement) => {
                let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                connection.fetch_many(sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)))
            }
            Sql::Script(sql) => connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql))),
        })
    }

    fn doing(&self) -> Doing {
        match self.access {
            Access::Read => Doing::Read,
            Access::Write => Doing::Write,
        }
    }

    fn error(&self, error: &sqlx::Error, doing: Doing) -> Error {
        if self.in_transaction && doing == Doing::Write && classify::is_read_only_transaction(error) {
            return classify::committed_midway(error);
        }
        classify::to_error(error, doing, self.log_values)
    }

    fn end_transaction(&mut self) {
        self.access = Access::Read;
        self.in_transaction = false;
    }
}

/// The id that the statement generated; the server says 0 for none.
fn last_insert_id(id: u64) -> Option<i64> {
    // Above that only a column `BIGINT UNSIGNED` whose counter was set so by hand has ids.
    i64::try_from(id).ok().filter(|id| *id != 0)
}

/// Why a statement ended early.
enum Stopped {
    /// The server or the wire.
    Driver(sqlx::Error),
    /// We, before anything was sent.
    Ours(Error),
    /// We, with the server's answer half read.
    Unread(Error),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

/// Whether an error is the server's own answer, after which it waits for the next statement.
fn answered(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}

impl Session for MySqlSession {
    fn database(&mut self) -> BoxFuture<'_, Result<DatabaseConnection>> {
        // Given back to the pool, from which sea-orm takes it for each statement.
        drop(self.connection.take());
        let database = SqlxMySqlConnector::from_sqlx_mysql_pool(self.pool.clone());
        Box::pin(std::future::ready(Ok(database)))
    }

    fn run<'a>(
        &'a mut self,
        statement: &'a Statement,
        rows: &'a mut RowWriter,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            self.busy = true;
            let watch = self.guard.watch();
            let outcome = self.execute(statement, rows).await;
            drop(watch);
            self.busy = match &outcome {
                Ok(_) | Err(Stopped::Ours(_)) => false,
                Err(Stopped::Driver(error)) => !answered(error),
                Err(Stopped::Unread(_)) => true,
            };
            outcome.map_err(|stopped| match stopped {
                Stopped::Driver(_) if self.guard.tripped() => guard::too_large(),
                Stopped::Driver(error) => self.error(&error, self.doing()),
                Stopped::Ours(error) | Stopped::Unread(error) => error,
            })
        })
    }

    fn stream(&mut self, sql: Sql) -> BoxStream<'_, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            self.busy = true;
            let mut failed = None;
            match self.send(sql).await {
                Ok(mut items) => while let Some(item) = items.next().await {
                    match item {
                        Ok(Either::Right(row)) => yield Ok(Item::Row(row.into())),
                        Ok(Either::Left(done)) => yield Ok(Item::Done(done.into())),
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                },
                Err(error) => failed = Some(error),
            }
            self.busy = failed.as_ref().is_some_and(|error| !answered(error));
            if let Some(error) = failed {
                yield Err(Failure {
                    error: self.error(&error, self.doing()),
                    driver: DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))),
                });
            }
        })
    }

    fn prepare<'a>(&'a mut self, _statement: &'a Statement) -> BoxFuture<'a, Result<()>> {
        // What fails to prepare fails by itself here: a transaction around it goes on.
        Box::pin(std::future::ready(Ok(())))
    }

    fn describe<'a>(&'a mut self, statement: &'a Statement) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async move {
            self.busy = true;
            let outcome = match self.connection().await {
                Ok(connection) => describe::describe(connection, statement).await,
                Err(error) => Err(error),
            };
            self.busy = matches!(&outcome, Err(error) if !answered(error));
            outcome.map_err(|error| self.error(&error, Doing::Read))
        })
    }

    fn begin(&mut self, access: Access) -> BoxFuture<'_, Result<()>> {
        self.access = access;
        self.in_transaction = true;
        Box::pin(match access {
            Access::Read => self.simple("START TRANSACTION READ ONLY", Doing::Read),
            Access::Write => self.simple("START TRANSACTION READ WRITE", Doing::Write),
        })
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let outcome = self.simple("COMMIT", self.doing()).await;
            self.end_transaction();
            outcome
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let outcome = self.simple("ROLLBACK", self.doing()).await;
            self.end_transaction();
            outcome
        })
    }

    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if write {
                self.simple("SET SESSION TRANSACTION READ WRITE", Doing::Write).await?;
                self.access = Access::Write;
            } else {
                self.simple("SET SESSION TRANSACTION READ ONLY", Doing::Read).await?;
                self.access = Access::Read;
            }
            Ok(())
        })
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.busy = true;
            let outcome = match self.connection().await {
                Ok(connection) => connection.ping().await,
                Err(error) => Err(error),
            };
            self.busy = outcome.is_err();
            outcome.map_err(|error| self.error(&error, Doing::Read))
        })
    }

    fn usable(&self) -> bool {
        !self.busy && !self.wire.peer_closed()
    }

    fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        Some(Box::new(self.cancel.clone()))
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let connection = self.connection.take().map(PoolConnection::detach);
        let wire = Arc::clone(&self.wire);
        Box::pin(async move {
            if let Some(connection) = connection {
                // The server may be gone already, and then there is nobody to take leave of.
                let _ = connection.close().await;
                wire.ended().await;
            }
        })
    }
}

impl Drop for MySqlSession {
    fn drop(&mut self) {
        // Given back, the pool would ping a connection that may hang; detached, it just closes.
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl fmt::Debug for MySqlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlSession")
            .field("busy", &self.busy)
            .field("access", &self.access)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}
