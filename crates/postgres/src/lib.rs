//! The PostgreSQL backend of lambda-rds: connect, bind, decode, classify, cancel.
//!
//! sea-orm and sqlx speak to the server; TLS ends in our own dialer, so that phases, the cancel key and the
//! peer's closing are known without asking.

mod bind;
mod cancel;
mod classify;
mod connect;
mod decode;
mod describe;
mod guard;
mod session;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Backend, Session, Target};
use lambda_rds_core::config::Engine;
use lambda_rds_core::error::{Fault, Result};
use lambda_rds_core::queries::Dialect;
use sea_orm::{DbErr, RuntimeErr};

/// How to speak to PostgreSQL.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

impl Backend for Postgres {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn classify(&self, error: &DbErr) -> Fault {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => classify::classify(error, classify::Doing::Write),
            DbErr::ConnectionAcquire(_) => Fault::ConnectionLost,
            _ => Fault::QueryFailed,
        }
    }

    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
        Box::pin(connect::connect(to))
    }
}
