//! The PostgreSQL backend of lambda-rds: connect, bind, decode, classify, cancel.
//!
//! The protocol is spoken here, on the messages of `postgres-protocol`; sqlx is there for sea-orm's sake, behind a door of
//! its own and a feature.

mod bind;
mod cancel;
mod classify;
mod connect;
mod decode;
mod describe;
#[cfg(feature = "sea-orm")]
mod driver;
mod learned;
mod messages;
mod session;
mod settings;
mod types;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Backend, Session, Target};
use lambda_rds_core::config::Engine;
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::Dialect;

use crate::learned::Learned;

/// What keeps a session's wire.
#[cfg(feature = "sea-orm")]
type Keeper = lambda_rds_core::connect::door::Door<session::Pg, driver::PgDriver>;
#[cfg(not(feature = "sea-orm"))]
type Keeper = lambda_rds_core::connect::wire::Wire;

/// How to speak to PostgreSQL, and what has been learned of the statements: shared by all sessions that it opens, which
/// are on one database.
#[derive(Debug, Clone, Default)]
pub struct Postgres {
    learned: Arc<Learned>,
}

impl Backend for Postgres {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    #[cfg(feature = "sea-orm")]
    fn classify(&self, error: &sea_orm::DbErr) -> lambda_rds_core::error::Fault {
        driver::classify(error)
    }

    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
        Box::pin(connect::connect(&self.learned, to))
    }
}
