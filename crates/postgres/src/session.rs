//! One live connection to PostgreSQL.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::backend::{
    Access, CancelHandle, Done, Effect, Failure, Item, Pooling, Session, Sql, Statement, Target,
};
use lambda_rds_core::connect::guard::{Guard, Next, Watch};
use lambda_rds_core::connect::relay::Wire;
use lambda_rds_core::describe::Described;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::rows::RowWriter;
use lambda_rds_core::value::Kind;
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxPostgresConnector};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgQueryResult, PgRow, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _,
};

use crate::bind::{self, Preparing};
use crate::cancel::PgCancel;
use crate::classify::{self, At, Doing};
use crate::decode::Columns;
use crate::describe;
use crate::guard;

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
    guard: Arc<Guard>,
    statements: Statements,
    /// The statements of an application that have run here behind a pooler, by the hash of their text.
    met: HashSet<u64>,
    /// A statement is running, or was left half read.
    busy: bool,
    /// What the running transaction, or the statement outside one, may do.
    access: Access,
    in_transaction: bool,
    /// Whether the log may show values, which some of the server's messages hold.
    log_values: bool,
    /// Whether a pooler lends us a connection of the server's per transaction: then nothing may outlive one.
    pooled: bool,
    /// Whether that pooler is RDS Proxy.
    proxied: bool,
    /// What goes with BEGIN, where no session has the limits.
    limits: String,
}

impl PgSession {
    pub(crate) fn new(
        pool: PgPool,
        connection: PoolConnection<sqlx::Postgres>,
        wire: Arc<Wire>,
        cancel: Option<PgCancel>,
        guard: Arc<Guard>,
        to: &Target,
    ) -> Self {
        let limit = to.statement_timeout.as_millis();
        let limits = match to.pooling {
            Pooling::Transaction => format!(
                "; SET LOCAL statement_timeout = {limit}; \
                 SET LOCAL idle_in_transaction_session_timeout = {limit}"
            ),
            // Told at the start; or not to be told at all, since RDS Proxy would give up sharing the connection.
            Pooling::None | Pooling::RdsProxy => String::new(),
        };
        Self {
            pool,
            connection: Some(connection),
            wire,
            cancel,
            guard,
            statements: Statements::default(),
            met: HashSet::new(),
            log_values: to.log_values,
            pooled: to.pooling != Pooling::None,
            proxied: to.pooling == Pooling::RdsProxy,
            limits,
            busy: false,
            access: Access::Read,
            in_transaction: false,
        }
    }

    /// The connection, taken back from sea-orm if it has it.
    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
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
        self.resolve(statement).await?;
        let known = self.statements.of(statement);
        let arguments =
            bind::bind(&statement.arguments, known.parameters.as_deref()).map_err(Stopped::Ours)?;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&known.sql)), arguments);
        // A statement with a name would stay on a connection that somebody else gets next.
        let query = query.persistent(!self.pooled);
        let mut kept = known.columns.take();
        if rows.wants_rows() {
            watch.take_rows();
        }
        let mut stream = self.connection().await?.fetch_many(query);
        let mut columns: Option<Columns> = None;
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
                            Some(columns) => columns,
                            None => columns.insert(
                                Columns::begin(kept.take(), row.columns(), rows).map_err(Stopped::Unread)?,
                            ),
                        };
                        columns.row(&row, rows).map_err(Stopped::Unread)?;
                    }
                    Either::Right(_) => {}
                    Either::Left(result) => done.rows_affected += result.rows_affected(),
                },
            }
        }
        drop(stream);
        if rows.wants_rows() && columns.is_none() && kept.is_none() && !self.pooled {
            // No row has shown the columns. The driver has them since it prepared the statement, so that asking
            // costs nothing.
            let sql = AssertSqlSafe(Arc::clone(&self.statements.of(statement).sql)).into_sql_str();
            let prepared = self.connection().await?.prepare(sql).await?;
            columns = Some(Columns::begin(None, prepared.columns(), rows).map_err(Stopped::Ours)?);
        }
        self.statements.of(statement).columns = columns.or(kept);
        Ok(done)
    }

    /// Learns what the server takes the parameters for, where it infers them; asked once per statement and
    /// session, since preparing by itself costs a round trip more.
    ///
    /// Behind a pooler every statement is asked about: of a type that it does not know (an enum, a citext) the driver
    /// asks the catalog after it has prepared, and by that the server forgets a statement without a name.
    async fn resolve(&mut self, statement: &Statement) -> Result<(), sqlx::Error> {
        let known = self.statements.of(statement);
        if known.parameters.is_some() || !(self.pooled || bind::inferred(&statement.arguments)) {
            return Ok(());
        }
        let sql = AssertSqlSafe(Arc::clone(&known.sql)).into_sql_str();
        let whole = self.preparing();
        let prepared = bind::prepare(self.connection().await?, sql, &statement.arguments, whole).await?;
        let parameters: Box<[PgTypeInfo]> = match prepared.parameters() {
            Some(Either::Left(parameters)) => parameters.into(),
            _ => Box::default(),
        };
        self.statements.of(statement).parameters = Some(parameters);
        Ok(())
    }

    /// Learns what the server takes the parameters for, before a transaction that a failure would end.
    async fn learn(&mut self, statement: &Statement) -> Result<()> {
        self.busy = true;
        let outcome = self.resolve(statement).await;
        self.busy = matches!(&outcome, Err(error) if !answered(error));
        outcome.map_err(|error| self.failed(&error, statement))
    }

    /// What becomes of a statement that is prepared now.
    fn preparing(&self) -> Preparing {
        match (self.pooled, self.in_transaction) {
            (false, _) => Preparing::Kept,
            (true, true) => Preparing::InTransaction,
            (true, false) => Preparing::Alone,
        }
    }

    /// Runs a statement that has no parameters and gives no rows, in one round trip.
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

    /// Runs a statement in the transaction that there is, or by itself.
    async fn statement(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done> {
        self.busy = true;
        let learned = self.statements.of(statement).parameters.is_some();
        let mut watch = self.guard.watch();
        let outcome = if self.pooled && !self.in_transaction {
            self.execute_unprepared(statement, rows).await
        } else {
            self.execute(statement, rows, &mut watch).await
        };
        drop(watch);
        self.busy = match &outcome {
            Ok(_) | Err(Stopped::Ours(_)) => false,
            Err(Stopped::Driver(error)) => !answered(error),
            Err(Stopped::Unread(_)) => true,
        };
        outcome.map_err(|stopped| match stopped {
            Stopped::Driver(_) if self.guard.tripped() => guard::too_large(),
            Stopped::Driver(error) if learned && classify::is_outgrown(&error) => {
                self.failed(&error, statement).into_fault(Fault::ConnectionLost).as_refused()
            }
            Stopped::Driver(error) => self.failed(&error, statement),
            Stopped::Ours(error) | Stopped::Unread(error) => error,
        })
    }

    /// Runs a statement that cannot run inside a transaction behind a pooler: in one message, since each message
    /// more might reach another connection of the server's.
    async fn execute_unprepared(&mut self, statement: &Statement, rows: &RowWriter) -> Result<Done, Stopped> {
        if !statement.arguments.is_empty() || rows.wants_rows() {
            return Err(Stopped::Ours(Error::new(
                Fault::QueryFailed,
                "behind a pooler (DB_POOLER), a query with `-- transaction: none` has no parameters and is `:exec`: \
                 anything else takes two messages, and the pooler may send them to two connections of the server's",
            )));
        }
        let sql = AssertSqlSafe(Arc::clone(&statement.sql));
        let done = self.connection().await?.execute(sqlx::raw_sql(sql)).await?;
        Ok(Done { rows_affected: done.rows_affected(), ..Done::default() })
    }

    /// Runs a read behind a pooler: a transaction of its own, which is what keeps it read-only and to one
    /// connection of the server's. If it fails, the transaction is left to whoever settles that.
    async fn pooled_read(&mut self, statement: &Statement, rows: &mut RowWriter) -> Result<Done> {
        self.learn(statement).await?;
        self.begin(Access::Read).await?;
        let done = self.statement(statement, rows).await?;
        self.commit().await?;
        Ok(done)
    }

    /// Whether a statement of an application's has not been met in this session. Behind a pooler it gets a name then,
    /// for as long as it runs: of a type that the driver does not know, it asks the catalog after it has prepared, and by
    /// that the server forgets a statement without a name.
    fn is_new(&mut self, sql: &Sql) -> bool {
        const KEPT: usize = 1_000;
        let Sql::Prepared(sea_orm::Statement { sql, .. }) = sql else { return false };
        if self.met.len() >= KEPT {
            self.met.clear();
        }
        let mut text = DefaultHasher::new();
        sql.hash(&mut text);
        self.met.insert(text.finish())
    }

    /// The statements of an application, as sea-orm sends them.
    async fn send(
        &mut self,
        sql: Sql,
        persistent: bool,
    ) -> Result<BoxStream<'_, sqlx::Result<Either<PgQueryResult, PgRow>>>, sqlx::Error> {
        let connection = self.connection().await?;
        Ok(match sql {
            Sql::Prepared(statement) => {
                let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
                connection.fetch_many(query.persistent(persistent))
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
        classify::to_error(error, At::ours(doing), self.log_values)
    }

    /// The error of a query's statement.
    fn failed(&self, error: &sqlx::Error, statement: &Statement) -> Error {
        let at = At { doing: self.doing(), parameters: !statement.arguments.is_empty(), sql: &statement.sql };
        classify::to_error(error, at, self.log_values)
    }

    fn end_transaction(&mut self) {
        self.access = Access::Read;
        self.in_transaction = false;
    }
}

/// What a session has learned of the statements that it ran, by their SQL.
#[derive(Default)]
struct Statements(HashMap<Arc<str>, Vec<Known>>);

/// One statement: an SQL, and what its parameters are declared as.
struct Known {
    kinds: Box<[Kind]>,
    /// The SQL as it is sent. The driver keeps prepared statements by their text alone, and would bind to the
    /// types of the first one; so statements that differ in nothing else differ in a comment.
    sql: Arc<str>,
    /// What the server takes the parameters for, where it infers them.
    parameters: Option<Box<[PgTypeInfo]>>,
    columns: Option<Columns>,
}

impl Statements {
    fn of(&mut self, statement: &Statement) -> &mut Known {
        let Statement { sql, arguments } = statement;
        let same_sql = self.0.entry(Arc::clone(sql)).or_default();
        let kinds = || arguments.iter().map(|argument| argument.kind);
        let at = same_sql.iter().position(|known| known.kinds.iter().copied().eq(kinds()));
        let at = at.unwrap_or_else(|| {
            let sql = match same_sql.len() {
                0 => Arc::clone(sql),
                other => format!("{sql}\n-- {other}").into(),
            };
            same_sql.push(Known { kinds: kinds().collect(), sql, parameters: None, columns: None });
            same_sql.len() - 1
        });
        &mut same_sql[at]
    }
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
        if self.pooled && !self.in_transaction && self.access == Access::Read {
            return Box::pin(self.pooled_read(statement, rows));
        }
        Box::pin(self.statement(statement, rows))
    }

    fn stream(&mut self, sql: Sql) -> BoxStream<'_, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            self.busy = true;
            let mut failed = None;
            let named = self.pooled && self.is_new(&sql);
            match self.send(sql, named || !self.pooled).await {
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
            if named && failed.as_ref().is_none_or(answered) {
                let forgotten = match self.connection().await {
                    Ok(connection) => connection.clear_cached_statements().await,
                    Err(error) => Err(error),
                };
                failed = failed.or(forgotten.err());
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

    fn prepare<'a>(
        &'a mut self,
        statement: &'a Statement,
        _access: Access,
        _limit: Duration,
    ) -> BoxFuture<'a, Result<Effect>> {
        Box::pin(async move {
            self.learn(statement).await?;
            // All of it has transactions, and the server refuses what has to commit by itself.
            Ok(Effect::Undone)
        })
    }

    fn effect<'a>(&'a mut self, _sql: &'a str) -> BoxFuture<'a, Result<Effect>> {
        // See `prepare`.
        Box::pin(std::future::ready(Ok(Effect::Undone)))
    }

    fn pins(&self, statement: &Statement) -> bool {
        self.proxied && pins(&statement.sql)
    }

    fn describe<'a>(&'a mut self, statement: &'a Statement) -> BoxFuture<'a, Result<Described>> {
        Box::pin(async move {
            self.busy = true;
            let preparing = self.preparing();
            let outcome = match self.connection().await {
                Ok(connection) => describe::describe(connection, statement, preparing).await,
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
            Access::Read => self.simple(format!("BEGIN READ ONLY{}", self.limits), Doing::Read),
            Access::Write => self.simple(format!("BEGIN READ WRITE{}", self.limits), Doing::Begin),
        })
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let doing = if self.access == Access::Write { Doing::Commit } else { Doing::Read };
            let outcome = self.simple("COMMIT", doing).await;
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
            if self.pooled {
                // There is no session that could be read-only.
                self.access = if write { Access::Write } else { Access::Read };
            } else if write {
                self.simple("SET default_transaction_read_only = off", Doing::Begin).await?;
                self.access = Access::Write;
            } else {
                self.simple("SET default_transaction_read_only = on", Doing::Read).await?;
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
        self.cancel.clone().map(|cancel| Box::new(cancel) as Box<dyn CancelHandle>)
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
}
