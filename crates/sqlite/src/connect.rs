//! Opening the file.

use std::path::Path;
use std::time::Duration;

use lambda_rds_core::backend::Target;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::session::SqliteSession;

/// Opens a session on the file that `to.database` names.
pub(crate) async fn connect(to: &Target) -> Result<SqliteSession> {
    to.progress.enter(Phase::Resolve);
    find(&to.database)?;
    to.progress.enter(Phase::Ready);
    let options = SqliteConnectOptions::new()
        .filename(&to.database)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(lock_wait(to.statement_timeout))
        // Read-only by default. It is a pragma of the connection and not a session statement of ours, so that a
        // connection which the pool had to open anew has it too.
        .pragma("query_only", "ON")
        .disable_statement_logging();
    // A container, not a policy: one connection, and nothing that opens, tests or ends it but us.
    let pool = SqlitePoolOptions::new()
        .min_connections(0)
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(to.statement_timeout)
        .connect_lazy_with(options);
    match to.by.bound(SqliteSession::open(pool, to.statement_timeout, to.log_values)).await {
        Ok(session) => session.map_err(|error| {
            let detail = format!("{} (the file is `{}`, from DB_NAME)", error.detail(), to.database);
            error.with_detail(detail).with_phase(Phase::Ready)
        }),
        Err(_elapsed) => {
            Err(Error::new(Fault::Unreachable, format!("`{}` could not be opened in time", to.database))
                .with_phase(Phase::Ready))
        }
    }
}

/// SQLite says "unable to open database file" for every reason there is; the two that happen get a sentence.
fn find(file: &str) -> Result<()> {
    let reason = if file.is_empty() {
        "no database file is configured: set DB_NAME to the path of an SQLite file".to_owned()
    } else {
        match Path::new(file).metadata() {
            Ok(found) if found.is_dir() => {
                format!("`{file}` is a folder: set DB_NAME to the path of an SQLite file")
            }
            Ok(_) => return Ok(()),
            Err(error) => format!(
                "the database file `{file}` cannot be opened: {error}; \
                 set DB_NAME to the path of an SQLite file that exists"
            ),
        }
    };
    Err(Error::new(Fault::Unreachable, reason).with_phase(Phase::Resolve))
}

/// How long SQLite waits for a lock: a little less than a statement may take, so that the reason of a failure is
/// the lock and not the time.
fn lock_wait(statement_timeout: Duration) -> Duration {
    // sqlx passes milliseconds in 32 bits and panics beyond.
    (statement_timeout * 9 / 10).min(Duration::from_secs(24 * 3600))
}
