//! A transaction that is done once per key: see [`crate::once`].

use std::time::Duration;

use sea_orm::{DbErr, QueryResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::running::Running;
use super::transaction::Transaction;
use super::{Db, Limits, database_backend, rows};
use crate::answers::GONE;
use crate::backend::{Access, Item, Sql, State, Statement};
use crate::error::{Error, Fault, Result};
use crate::execute::{Attempts, Trace};
use crate::once::{self, Found, Key, Row};
use crate::queries::Dialect;
use crate::retry::{self, Progress};
use crate::value::Value;

/// What an attempt came to.
enum Came<T> {
    Done(T),
    /// It had been done, with this result.
    Stored(Vec<u8>),
    /// Another has the key; or has had it, until it expired.
    Taken {
        expired: bool,
    },
}

impl Db {
    /// Runs `f` in one READ WRITE transaction, once per key: what it returns is kept with the key in the same transaction,
    /// and whoever comes with that key again within 24 hours gets it, and `f` is not run. So a lost COMMIT is not
    /// [`Fault::OutcomeUnknown`]: it runs again, and the key tells whether it was done.
    ///
    /// The key is the application's own: one per thing that is to happen once, and per caller where callers choose keys.
    /// The table of keys is made by what `lambda-rds tables` prints.
    ///
    /// ```
    /// use lambda_rds_core::sea_orm::{ConnectionTrait, Statement};
    /// use lambda_rds_core::{Db, error::Result};
    ///
    /// async fn pay(db: &Db, order: &str) -> Result<u64> {
    ///     db.once(&format!("pay {order}"), async |tx| {
    ///         let backend = ConnectionTrait::get_database_backend(&tx);
    ///         let sql = "UPDATE accounts SET balance = balance - 1 WHERE id = 1";
    ///         Ok(tx.execute_raw(Statement::from_string(backend, sql)).await?.rows_affected())
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// # Errors
    /// What `f` returned, of which nothing is kept; or why there was no session or no COMMIT. [`Fault::BadEvent`] if the key
    /// is empty, [`Fault::ResultTooLarge`] if the result is larger than is kept (`DB_IDEMPOTENCY_REPLY`).
    /// [`Fault::LockTimeout`] if another transaction with the key has not ended in time.
    ///
    /// # Cancel safety
    /// As [`Db::transaction`]'s.
    pub async fn once<T, F, Fut>(&self, key: &str, f: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let key = Key::own(key, KEPT)?;
        let by = self.limits.by();
        let limits = Limits { until: Some(by), ..self.limits };
        let (mut attempts, mut trace) = (Attempts::new(&self.sessions, Access::Write, by), Trace::default());
        let (mut expired, mut taken) = (false, 0);
        loop {
            let lease = attempts.lease(&mut trace).await?;
            let transaction = Transaction::new(lease, Access::Write, limits, &self.caller);
            let outcome = transaction.once(self, &key, expired, &f).await;
            let mut running = transaction.into_running()?;
            if !matches!(outcome, Ok(Came::Done(_)) | Err(_))
                && running.lease.session().state() != State::Idle
            {
                // Nothing has been done in it; what cannot be undone is closed.
                let _ = running.rollback(limits).await;
            }
            match outcome {
                Ok(Came::Done(value)) => {
                    running.lease.park();
                    return Ok(value);
                }
                Ok(Came::Stored(json)) => {
                    running.lease.park();
                    return serde_json::from_slice(&json).map_err(|error| {
                        let detail =
                            format!("the result that was kept with the key is another type's: {error}");
                        Error::new(Fault::QueryFailed, detail)
                    });
                }
                Ok(Came::Taken { expired: again }) => {
                    running.lease.park();
                    let pause = retry::backoff(taken);
                    if taken >= MOST_TAKEN || by.remaining() <= pause {
                        return Err(once::still_running());
                    }
                    tokio::time::sleep(pause).await;
                    (expired, taken) = (again, taken + 1);
                }
                Err(error) => {
                    let Running { lease, progress, .. } = running;
                    attempts.failed(error, progress, lease, limits.statement().0, &mut trace).await?;
                }
            }
        }
    }
}

impl Transaction {
    /// Begins, claims the key, runs `f`, keeps what it gave, and commits.
    async fn once<T, F, Fut>(&self, db: &Db, key: &Key, expired: bool, f: &F) -> Result<Came<T>>
    where
        T: Serialize,
        F: Fn(Self) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let (store, limits) = (&db.store, db.limits);
        {
            let mut running = self.settled().await?;
            running.keyed = true;
            // The table of keys is the function's own, whoever this is for.
            let begun = running.begin_as_nobody(limits).await;
            begun.map_err(|driver| running.told(driver.into()))?;
            if expired {
                running.ours(db, &store.drop_expired(key)).await.map_err(|error| store.trouble(error))?;
            }
            let looked = running.ours(db, &store.look_up(key)).await.map_err(|error| store.trouble(error))?;
            if let Some(row) = looked.into_iter().next() {
                match store.judge(key, stored(db, &row).map_err(Error::from)?)? {
                    Found::Reply(json) => return Ok(Came::Stored(json)),
                    Found::Expired => return Ok(Came::Taken { expired: true }),
                    Found::Nothing => {}
                }
            }
            match running.ours(db, &store.claim(key)).await {
                Ok(_) => {}
                Err(error) if error.fault() == Fault::Constraint => {
                    return Ok(Came::Taken { expired: false });
                }
                Err(error) if matches!(error.fault(), Fault::Timeout | Fault::LockTimeout) => {
                    return Err(once::still_running());
                }
                Err(error) => return Err(store.trouble(error)),
            }
            let told = running.introduce(limits).await;
            told.map_err(|driver| running.told(driver.into()))?;
        }
        let outcome = f(self.lent()).await;
        let mut running = self.settled().await?;
        let value = outcome.map_err(|error| running.told(error))?;
        if running.progress == Progress::Autocommitted {
            let detail = "what runs once per key has written what no rollback undoes, to a table without transactions or \
                          by what commits by itself: that is done, and the key is not kept";
            return Err(Error::new(Fault::OutcomeUnknown, detail));
        }
        let json = serde_json::to_vec(&value).map_err(|error| {
            Error::new(Fault::QueryFailed, format!("the result has no JSON, which is kept: {error}"))
        })?;
        store.fits(&json)?;
        let taken_back = running.take_back(limits).await;
        taken_back.map_err(|driver| running.told(driver.into()))?;
        let kept = running.items(db, &store.keep(key, &json)).await;
        let kept = kept.map_err(|error| store.unkept(error, &json))?;
        let changed = kept.iter().any(|item| matches!(item, Item::Done(done) if done.rows_affected() == 1));
        // PostgreSQL has said so by itself.
        if !changed && store.dialect() != Dialect::Postgres {
            return Err(Error::new(Fault::QueryFailed, GONE));
        }
        running.ours(db, &store.sweep(key)).await.map_err(|error| store.trouble(error))?;
        let committed = running.commit(limits).await;
        committed.map_err(|driver| running.told(driver.into()))?;
        Ok(Came::Done(value))
    }
}

impl Running {
    /// Runs a statement of ours, and gives its rows.
    async fn ours(&mut self, db: &Db, statement: &Statement) -> Result<Vec<QueryResult>> {
        Ok(rows(self.items(db, statement).await?).collect())
    }

    async fn items(&mut self, db: &Db, statement: &Statement) -> Result<Vec<Item>> {
        let value = |argument: &crate::value::Argument| match &argument.value {
            Value::Bytes(bytes) => sea_orm::Value::Bytes(Some(bytes.clone())),
            Value::Text(text) => sea_orm::Value::String(Some(text.clone())),
            Value::Int(number) => sea_orm::Value::BigInt(Some(*number)),
            _ => sea_orm::Value::BigInt(None),
        };
        let values: Vec<sea_orm::Value> = statement.arguments.iter().map(value).collect();
        let backend = database_backend(&db.sessions);
        let sql = sea_orm::Statement::from_sql_and_values(backend, &*statement.sql, values);
        let mut items = Vec::new();
        let outcome = self.statement(Sql::Prepared(sql), db.limits, &mut items).await;
        outcome.map_err(|driver| self.told(driver.into()))?;
        Ok(items)
    }
}

/// What a row of the table says: the hash of the request, the result, and whether it has expired.
fn stored(db: &Db, row: &QueryResult) -> Result<Row, DbErr> {
    let expired = match db.sessions.backend().dialect() {
        Dialect::Postgres => row.try_get_by("expired")?,
        Dialect::Mysql | Dialect::Sqlite => row.try_get_by::<i64, _>("expired")? != 0,
    };
    Ok(Row { request: row.try_get_by("request")?, reply: row.try_get_by("reply")?, expired })
}

/// How long a key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often another may have had the key, and then not.
const MOST_TAKEN: u32 = 10;
