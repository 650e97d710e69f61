//! An AWS Lambda function, and the library under it, that runs SQL on RDS and gets the hard parts right.
//!
//! This crate is the facade: it re-exports [`lambda_rds_core`] and picks the engines by feature. The binary
//! `bootstrap` is the function.
//!
//! | feature | engine |
//! |---|---|
//! | `postgres` | PostgreSQL, on RDS or anywhere |
//! | `mysql` | MySQL and MariaDB, the same |
//! | `sqlite` | SQLite, embedded: for first steps and tests |
//! | `aurora-postgres` | `postgres`, and Aurora PostgreSQL with its failover |
//! | `aurora-mysql` | `mysql`, and Aurora MySQL with its failover |
//! | `aurora` | both |
//!
//! and `sea-orm`, which is on by default: `Db`, for code of one's own. The zip is built without it.
//!
//! Features add up; with several engines built in, `DB_ENGINE` picks.

#[cfg(not(any(feature = "postgres", feature = "mysql", feature = "sqlite")))]
compile_error!(
    "lambda-rds needs an engine: build with `--features postgres` (or `mysql`, `sqlite`, or several)"
);

pub use lambda_rds_core::*;

use std::sync::Arc;

use lambda_rds_core::backend::{Backend, Topology};
use lambda_rds_core::config::{Db as Database, Engine};

/// The engines that are built in.
pub const ENGINES: &[Engine] = &[
    #[cfg(feature = "postgres")]
    Engine::Postgres,
    #[cfg(feature = "mysql")]
    Engine::Mysql,
    #[cfg(feature = "aurora-postgres")]
    Engine::AuroraPostgres,
    #[cfg(feature = "aurora-mysql")]
    Engine::AuroraMysql,
    #[cfg(feature = "sqlite")]
    Engine::Sqlite,
];

/// The backend of an engine; `None` if that engine is not built in.
///
/// This and [`topology`] are the one place that knows features.
#[must_use]
pub fn backend(engine: Engine) -> Option<Arc<dyn Backend>> {
    match engine {
        #[cfg(feature = "postgres")]
        Engine::Postgres => Some(Arc::new(lambda_rds_postgres::Postgres::default())),
        #[cfg(feature = "mysql")]
        Engine::Mysql => Some(Arc::new(lambda_rds_mysql::Mysql::default())),
        #[cfg(feature = "aurora-postgres")]
        Engine::AuroraPostgres => Some(Arc::new(lambda_rds_postgres::Postgres::default())),
        #[cfg(feature = "aurora-mysql")]
        Engine::AuroraMysql => Some(Arc::new(lambda_rds_mysql::Mysql::default())),
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => Some(Arc::new(lambda_rds_sqlite::Sqlite)),
        #[cfg(not(all(feature = "aurora-postgres", feature = "aurora-mysql", feature = "sqlite")))]
        _ => None,
    }
}

/// Where this database's servers are: for the engines of Aurora, a cluster whose writer is looked for.
#[must_use]
pub fn topology(db: &Database) -> Arc<dyn Topology> {
    match db.engine {
        #[cfg(any(feature = "aurora-postgres", feature = "aurora-mysql"))]
        engine if engine.is_aurora() => Arc::new(lambda_rds_aurora::Aurora::new(db)),
        _ => Arc::new(lambda_rds_core::backend::Fixed),
    }
}

/// A database for code of one's own, on the engine that its configuration names; connects at the first use.
///
/// # Errors
/// [`StartError::NotBuiltIn`].
#[cfg(feature = "sea-orm")]
pub fn db(config: &Database, platform: &config::Platform) -> Result<Db, app::StartError> {
    let backend = backend(config.engine).ok_or(app::StartError::NotBuiltIn(config.engine))?;
    Ok(Db::new(config, platform, backend, topology(config)))
}
