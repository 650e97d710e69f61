//! One live connection to PostgreSQL.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Access, CancelHandle, Done, Session, Statement};
use lambda_rds_core::connect::relay::Wire;
use lambda_rds_core::error::{Error, Result};
use lambda_rds_core::rows::RowWriter;
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor as _, SqlSafeStr as _, Statement as _};

use crate::bind;
use crate::cancel::PgCancel;
use crate::classify;
use crate::decode::Columns;

/// One live connection.
///
/// The pool holds exactly this connection and exists for sea-orm, which takes nothing else. The session keeps
/// it checked out, because the pool pings whatever is given back to it: one more round trip, and one that a
/// freeze would catch in mid-flight.
pub(crate) struct PgSession {
    pool: PgPool,
    connection: Option<PoolConnection<sqlx::Postgres>>,
    wire: Arc<Wire>,
    cancel: Option<PgCancel>,
    /// Statements whose parameters have been checked against what the server made of them.
    checked: HashSet<Arc<str>>,
    /// A statement is running, or was left half read.
    busy: bool,
    /// What the running transaction, or the statement outside one, may do.
    access: Access,
    in_transaction: bool,
}

impl PgSession {
    pub(crate) fn new(
        pool: PgPool,
        connection: PoolConnection<sqlx::Postgres>,
        wire: Arc<Wire>,
        cancel: Option<PgCancel>,
    ) -> Self {
        Self {
            pool,
            connection: Some(connection),
            wire,
            cancel,
            checked: HashSet::new(),
            busy: false,
            access: Access::Read,
            in_transaction: false,
        }
    }

    /// The connection, taken back from sea-orm if it has it.
    async fn connection(&mut self) -> Result<&mut PgConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await.map_err(|error| classify::to_error(error, self.access))?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn run(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done> {
        let unchecked = bind::needs_check(&statement.arguments) && !self.checked.contains(&statement.sql);
        let access = self.access;
        self.busy = true;
        let connection = self.connection().await?;
        let outcome = if unchecked {
            check(connection, statement, access).await
        } else {
            Ok(())
        };
        let outcome = match outcome {
            Ok(()) => execute(connection, statement, rows, access).await,
            Err(error) => Err((error, true)),
        };
        match outcome {
            Ok(done) => {
                self.busy = false;
                if unchecked {
                    self.checked.insert(Arc::clone(&statement.sql));
                }
                Ok(done)
            }
            Err((error, complete)) => {
                self.busy = !complete;
                Err(error)
            }
        }
    }

    fn end_transaction(&mut self) {
        self.access = Access::Read;
        self.in_transaction = false;
    }

    /// Runs a statement that has no parameters and gives no rows, in one round trip.
    async fn simple(&mut self, sql: &'static str) -> Result<()> {
        let access = self.access;
        self.busy = true;
        let connection = self.connection().await?;
        let outcome = connection.execute(sqlx::raw_sql(sql)).await;
        self.busy = matches!(&outcome, Err(error) if !answered(error));
        outcome.map(|_| ()).map_err(|error| classify::to_error(error, access))
    }

    async fn ping(&mut self) -> Result<()> {
        self.busy = true;
        let access = self.access;
        let outcome = self.connection().await?.ping().await;
        self.busy = outcome.is_err();
        outcome.map_err(|error| classify::to_error(error, access))
    }
}

/// Refuses a parameter that the server takes for something else than was declared; once per statement and
/// session, since preparing is a round trip of its own.
async fn check(connection: &mut PgConnection, statement: &Statement, access: Access) -> Result<()> {
    let types: Vec<PgTypeInfo> = statement.arguments.iter().map(|a| bind::declared(a.kind)).collect();
    let sql = AssertSqlSafe(Arc::clone(&statement.sql)).into_sql_str();
    let prepared = connection
        .prepare_with(sql, &types)
        .await
        .map_err(|error| classify::to_error(error, access))?;
    match prepared.parameters() {
        Some(Either::Left(resolved)) => bind::check(&statement.arguments, resolved),
        _ => Ok(()),
    }
}

/// Runs a statement and writes its rows. On an error, also says whether the server's answer was read to its
/// end, so that the session can go on.
async fn execute(
    connection: &mut PgConnection,
    statement: &Statement,
    rows: &mut RowWriter,
    access: Access,
) -> Result<Done, (Error, bool)> {
    let arguments = bind::arguments(&statement.arguments).map_err(|error| (error, true))?;
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&statement.sql)), arguments);
    let mut stream = connection.fetch_many(query);
    let mut columns: Option<Columns> = None;
    let mut done = Done::default();
    loop {
        match stream.try_next().await {
            Ok(Some(Either::Right(row))) => {
                let columns = match &columns {
                    Some(columns) => columns,
                    None => columns
                        .insert(Columns::prepare(&row, rows).map_err(|error| (error, false))?),
                };
                columns.write(&row, rows).map_err(|error| (error, false))?;
            }
            Ok(Some(Either::Left(result))) => done.rows_affected += result.rows_affected(),
            Ok(None) => return Ok(done),
            Err(error) => {
                let complete = answered(&error);
                return Err((classify::to_error(error, access), complete));
            }
        }
    }
}

/// Whether an error is the server's own answer, after which it waits for the next statement.
fn answered(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}

impl Session for PgSession {
    fn database(&mut self) -> BoxFuture<'_, Result<DatabaseConnection>> {
        // Given back to the pool, from which sea-orm takes it for each statement.
        drop(self.connection.take());
        let database = SqlxPostgresConnector::from_sqlx_postgres_pool(self.pool.clone());
        Box::pin(std::future::ready(Ok(database)))
    }

    fn run<'a>(
        &'a mut self,
        statement: &'a Statement,
        rows: &'a mut RowWriter,
    ) -> BoxFuture<'a, Result<Done>> {
        Box::pin(self.run(statement, rows))
    }

    fn begin(&mut self, access: Access) -> BoxFuture<'_, Result<()>> {
        self.access = access;
        self.in_transaction = true;
        Box::pin(self.simple(match access {
            Access::Read => "BEGIN READ ONLY",
            Access::Write => "BEGIN READ WRITE",
        }))
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let outcome = self.simple("COMMIT").await;
            self.end_transaction();
            outcome
        })
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let outcome = self.simple("ROLLBACK").await;
            self.end_transaction();
            outcome
        })
    }

    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>> {
        self.access = if write { Access::Write } else { Access::Read };
        Box::pin(self.simple(if write {
            "SET default_transaction_read_only = off"
        } else {
            "SET default_transaction_read_only = on"
        }))
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ping())
    }

    fn usable(&self) -> bool {
        !self.busy && !self.wire.peer_closed()
    }

    fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        self.cancel.clone().map(|cancel| Box::new(cancel) as Box<dyn CancelHandle>)
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let connection = self.connection.take().map(PoolConnection::detach);
        Box::pin(async move {
            if let Some(connection) = connection {
                // The server may be gone already, and then there is nobody to take leave of.
                let _ = connection.close().await;
            }
        })
    }
}

impl Drop for PgSession {
    fn drop(&mut self) {
        // Given back, the pool would ping a connection that may hang; detached, it just closes.
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl fmt::Debug for PgSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgSession")
            .field("busy", &self.busy)
            .field("access", &self.access)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}
