//! sea-orm on a session, for code of one's own. Its driver is ours here.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::backend::{Failure, Item, Orm, Sql};
use lambda_rds_core::error::{Fault, Result};
use sea_orm::{ConnAcquireErr, DatabaseConnection, DbErr, RuntimeErr, SqlxSqliteConnector};
use sea_query_sqlx::SqlxValues;
use sqlx::sqlite::{SqliteQueryResult, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Executor as _};

use crate::classify::{fault, to_error};
use crate::session::SqliteSession;

/// The kind of a failure that came through sea-orm.
pub(crate) fn classify(error: &DbErr) -> Fault {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => fault(error),
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Fault::TooManyConnections,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => Fault::ConnectionLost,
        _ => Fault::QueryFailed,
    }
}

impl SqliteSession {
    /// The statements of an application, as sea-orm sends them.
    async fn send(
        &mut self,
        sql: Sql,
    ) -> Result<BoxStream<'_, sqlx::Result<Either<SqliteQueryResult, SqliteRow>>>, sqlx::Error> {
        self.refresh().await?;
        let connection = self.connection().await?;
        Ok(match sql {
            Sql::Prepared(statement) => {
                let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                connection.fetch_many(sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)))
            }
            Sql::Script(sql) => connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql))),
        })
    }
}

impl Orm for SqliteSession {
    fn database(&mut self) -> BoxFuture<'_, Result<DatabaseConnection>> {
        // The pool takes a dropped connection back.
        self.connection = None;
        let database = SqlxSqliteConnector::from_sqlx_sqlite_pool(self.pool.clone());
        Box::pin(std::future::ready(Ok(database)))
    }

    fn stream(&mut self, sql: Sql) -> BoxStream<'_, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            self.busy = true;
            self.watch.arm(self.statement_timeout);
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
            self.watch.disarm();
            self.busy = false;
            if let Some(error) = failed {
                yield Err(Failure {
                    error: self.noted(to_error(&error, self.access)),
                    driver: DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))),
                    around: false,
                });
            }
        })
    }
}
