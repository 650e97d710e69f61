//! One live connection to MySQL or MariaDB.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::answers::{self, Answers, OneByOne};
use lambda_rds_core::backend::{
    Access, CancelHandle, Done, Effect, Failure, Frame, Item, Pooling, Session, Sql, State, Statement, Target,
};
use lambda_rds_core::connect::guard::{Guard, Next, Watch};
use lambda_rds_core::connect::relay::Wire;
use lambda_rds_core::describe::Described;
use lambda_rds_core::error::{Error, Fault, Result};
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
use crate::classify::{self, At, Doing};
use crate::decode::Columns;
use crate::describe;
use crate::effects::{self, Lasting};
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
    /// What stands between us and the server: where anything does, a session has no settings of its own.
    pooling: Pooling,
    /// What no rollback undoes, once it is known.
    lasting: Option<Lasting>,
    /// How long the shortest statement of the transaction that is about to begin may take.
    announced: Option<Duration>,
    /// How long the server waits for a lock, in seconds: by default, and now.
    lock_waits: (u64, u64),
}

impl MySqlSession {
    pub(crate) fn new(
        pool: MySqlPool,
        connection: PoolConnection<sqlx::MySql>,
        wire: Arc<Wire>,
        guard: Arc<Guard>,
        cancel: MySqlCancel,
        to: &Target,
    ) -> Self {
        let lock_wait = lock_wait(to.statement_timeout);
        Self {
            pool,
            connection: Some(connection),
            wire,
            guard,
            cancel,
            log_values: to.log_values,
            pooling: to.pooling,
            lasting: None,
            announced: None,
            lock_waits: (lock_wait, lock_wait),
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

    async fn execute(
        &mut self,
        statement: &Statement,
        rows: &mut RowWriter,
        watch: &mut Watch,
    ) -> Result<Done, Stopped> {
        // Prepared even without arguments, so that there is one format of rows, the binary one.
        let arguments = bind::bind(&statement.arguments).map_err(Stopped::Ours)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&statement.sql)), arguments);
        if rows.wants_rows() {
            watch.take_rows();
        }
        let mut stream = self.connection().await?.fetch_many(query);
        let mut columns: Option<Columns> = None;
        let mut results = 0;
        let mut done = Done::default();
        loop {
            let next = watch.next(&mut stream, columns.is_some()).await;
            if let Some(columns) = &mut columns {
                columns.taken(watch.rows(), rows).map_err(Stopped::Unread)?;
            }
            match next {
                Next::Rows => {}
                Next::Driver(None) => break,
                Next::Driver(Some(item)) => match item? {
                    Either::Right(row) if rows.wants_rows() => {
                        let columns = match &mut columns {
                            Some(columns) if results > 0 => {
                                return Err(Stopped::Unread(columns.second_result()));
                            }
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
                        // The server says 0 for none.
                        let id = Some(i128::from(result.last_insert_id())).filter(|id| *id != 0);
                        done.last_insert_id = id.or(done.last_insert_id);
                    }
                },
            }
        }
        drop(stream);
        if let Some(id) = done.last_insert_id
            && id > i128::from(i64::MAX)
            && !self.generated(id).await?
        {
            done.last_insert_id = None;
        }
        if rows.wants_rows() && columns.is_none() {
            // No row has shown the columns. The driver has them since it prepared the statement, so that asking
            // costs nothing.
            let sql = AssertSqlSafe(Arc::clone(&statement.sql)).into_sql_str();
            let prepared = self.connection().await?.prepare(sql).await?;
            Columns::new(prepared.columns(), rows).map_err(Stopped::Ours)?;
        }
        Ok(done)
    }

    /// Whether the server has generated this id. As one so large it also tells a negative one that the statement
    /// gave itself.
    async fn generated(&mut self, id: i128) -> Result<bool, sqlx::Error> {
        let row = self.connection().await?.fetch_one(sqlx::raw_sql("SELECT LAST_INSERT_ID()")).await?;
        Ok(i128::from(row.try_get_unchecked::<u64, _>(0)?) == id)
    }

    /// Runs statements that have no parameters and give no rows, in one round trip.
    async fn simple(&mut self, sql: impl Into<String>, doing: Doing) -> Result<()> {
        self.busy = true;
        let sql = AssertSqlSafe(sql.into());
        let outcome = match self.connection().await {
            Ok(connection) => connection.execute(sqlx::raw_sql(sql)).await,
            Err(error) => Err(error),
        };
        self.busy = matches!(&outcome, Err(error) if !answered(error));
        outcome.map(|_| ()).map_err(|error| self.error(&error, doing))
    }

    /// Runs one statement to the end of its result, in the transaction that there is, or by itself.
    async fn statement(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done> {
        self.busy = true;
        let mut watch = self.guard.watch();
        let outcome = self.execute(statement, rows, &mut watch).await;
        drop(watch);
        self.busy = match &outcome {
            Ok(_) | Err(Stopped::Ours(_)) => false,
            Err(Stopped::Driver(error)) => !answered(error),
            Err(Stopped::Unread(_)) => true,
        };
        outcome.map_err(|stopped| match stopped {
            Stopped::Driver(_) if self.guard.tripped() => guard::too_large(),
            Stopped::Driver(error) => self.failed(&error, statement),
            Stopped::Ours(error) | Stopped::Unread(error) => error,
        })
    }

    /// Runs a read behind a pooler: a transaction of its own, since no session there is read-only. If it fails, the
    /// transaction is left to whoever settles that.
    async fn pooled_read(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done> {
        self.begin(Access::Read).await?;
        let done = self.statement(statement, rows).await?;
        self.commit().await?;
        Ok(done)
    }

    /// What goes before the next statement of ours, in the same message, so that the server waits for a lock this
    /// long: by itself a `SET` would be one more round trip.
    fn set_lock_wait(&mut self, seconds: u64) -> String {
        if self.pooling != Pooling::None || self.lock_waits.1 == seconds {
            return String::new();
        }
        self.lock_waits.1 = seconds;
        format!("SET innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}; ")
    }

    /// Undoes the transaction, and tells whether the server says that something of it stays: with the failure that
    /// made it undo a transaction by itself, or with ROLLBACK.
    async fn undo(&mut self) -> Result<Effect, sqlx::Error> {
        let pooled = self.pooling != Pooling::None;
        let connection = self.connection().await?;
        if pooled {
            // There, several statements in one message are none for everybody.
            connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
            return Ok(Effect::Undone);
        }
        let rows = connection.fetch_all(sqlx::raw_sql("SHOW WARNINGS; ROLLBACK; SHOW WARNINGS")).await?;
        let stays =
            |row: &MySqlRow| row.try_get_unchecked(1).is_ok_and(|code: u32| code == NOT_COMPLETE_ROLLBACK);
        Ok(if rows.iter().any(stays) { Effect::Stays } else { Effect::Undone })
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
        classify::to_error(error, At::ours(doing), self.log_values)
    }

    /// The error of a query's statement.
    fn failed(&self, error: &sqlx::Error, statement: &Statement) -> Error {
        let at = At { doing: self.doing(), parameters: !statement.arguments.is_empty(), sql: &statement.sql };
        if self.in_transaction && at.doing == Doing::Write && classify::is_read_only_transaction(error) {
            return classify::committed_midway(error);
        }
        classify::to_error(error, at, self.log_values)
    }

    fn end_transaction(&mut self) {
        self.access = Access::Read;
        self.in_transaction = false;
    }
}

/// How long the server may wait for a lock, in seconds, under a statement that may take this long: the wait ends
/// first, so that it is told as what it is. The server knows whole seconds, and at least one: a statement that may
/// take less is stopped by our own timer.
pub(crate) fn lock_wait(limit: Duration) -> u64 {
    limit.saturating_sub(LOCK_MARGIN).as_secs().clamp(1, LONGEST_WAIT)
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

impl OneByOne for MySqlSession {
    fn step<'a>(
        &'a mut self,
        statement: &'a Statement,
        rows: &'a mut RowWriter,
    ) -> BoxFuture<'a, Result<Done>> {
        if self.pooling != Pooling::None && !self.in_transaction && self.access == Access::Read {
            return Box::pin(self.pooled_read(statement, rows));
        }
        Box::pin(self.statement(statement, rows))
    }
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
        frame: Frame,
        statements: &'a [&'a Statement],
        answers: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(answers::one_by_one(self, frame, statements, answers))
    }

    fn ask<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
        Box::pin(async move {
            self.busy = true;
            let asked = match self.connection().await {
                Ok(connection) => connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await,
                Err(error) => Err(error),
            };
            let asked = asked.and_then(|rows| {
                let row = |row: &MySqlRow| (0..row.len()).map(|at| row.try_get_unchecked(at)).collect();
                rows.iter().map(row).collect()
            });
            self.busy = matches!(&asked, Err(error) if !answered(error));
            asked.map_err(|error| self.error(&error, Doing::Read))
        })
    }

    fn announce<'a>(
        &'a mut self,
        statements: &'a [&'a Statement],
        access: Access,
        shortest: Duration,
    ) -> BoxFuture<'a, Result<Vec<Effect>>> {
        self.announced = Some(shortest);
        Box::pin(async move {
            let mut effects = Vec::with_capacity(statements.len());
            for statement in statements {
                effects.push(match access {
                    Access::Read => Effect::Undone,
                    Access::Write if !effects::is_plain(&statement.sql) => Effect::Stays,
                    Access::Write => self.effect(&statement.sql).await?,
                });
            }
            Ok(effects)
        })
    }

    fn effect<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Effect>> {
        Box::pin(async move {
            if self.lasting.is_none() {
                self.busy = true;
                let asked = match self.connection().await {
                    Ok(connection) => Lasting::ask(connection).await,
                    Err(error) => Err(error),
                };
                self.busy = matches!(&asked, Err(error) if !answered(error));
                match asked {
                    Ok(lasting) => self.lasting = Some(lasting),
                    Err(error) if self.busy => return Err(self.error(&error, Doing::Read)),
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

    fn pins(&self, _statement: &Statement) -> bool {
        // Values travel in prepared statements alone, and RDS Proxy pins for each.
        self.pooling == Pooling::RdsProxy
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
        let wait = self.announced.take().map_or(self.lock_waits.0, lock_wait);
        let set = self.set_lock_wait(wait);
        Box::pin(match access {
            Access::Read => self.simple(format!("{set}START TRANSACTION READ ONLY"), Doing::Read),
            Access::Write => self.simple(format!("{set}START TRANSACTION READ WRITE"), Doing::Write),
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
            self.busy = true;
            let undone = self.undo().await;
            self.busy = matches!(&undone, Err(error) if !answered(error));
            let undone = undone.map_err(|error| self.error(&error, self.doing()));
            self.end_transaction();
            match undone? {
                Effect::Undone => Ok(()),
                Effect::Stays => Err(Error::new(
                    Fault::OutcomeUnknown,
                    "the server could not undo all of the transaction: it wrote to a table without transactions",
                )),
            }
        })
    }

    fn autocommit(&mut self, write: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.pooling != Pooling::None {
                // There is no session that could be read-only.
                self.access = if write { Access::Write } else { Access::Read };
            } else if write {
                let set = self.set_lock_wait(self.lock_waits.0);
                self.simple(format!("{set}SET SESSION TRANSACTION READ WRITE"), Doing::Write).await?;
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

    fn state(&self) -> State {
        match (self.busy || self.wire.peer_closed(), self.in_transaction) {
            (true, _) => State::Closed,
            (false, true) => State::InTransaction,
            (false, false) => State::Idle,
        }
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        // The thread that RDS Proxy greets with is its own, and it takes no KILL.
        (self.pooling != Pooling::RdsProxy).then(|| Box::new(self.cancel.clone()) as Box<dyn CancelHandle>)
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

/// ER_WARNING_NOT_COMPLETE_ROLLBACK: "Some non-transactional changed tables couldn't be rolled back".
const NOT_COMPLETE_ROLLBACK: u32 = 1196;
/// How much sooner than the statement a wait for a lock must end, for its answer to come in time.
const LOCK_MARGIN: Duration = Duration::from_millis(200);
/// A year, the most that `lock_wait_timeout` takes.
const LONGEST_WAIT: u64 = 31_536_000;

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
