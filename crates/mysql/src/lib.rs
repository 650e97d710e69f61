//! The MySQL and MariaDB backend of lambda-rds: connect, bind, decode, classify, cancel.
//!
//! sea-orm and sqlx speak to the server, and sqlx does TLS through the relay: the server's greeting, which comes
//! before TLS, tells us the thread id to cancel by and which of the two servers it is.

mod bind;
mod cancel;
mod classify;
mod connect;
mod decode;
mod effects;
mod greeting;
mod session;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Backend, Session, Target};
use lambda_rds_core::config::Engine;
use lambda_rds_core::error::{Fault, Result};
use lambda_rds_core::queries::Dialect;
use sea_orm::{DbErr, RuntimeErr};

/// How to speak to MySQL and MariaDB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mysql;

impl Backend for Mysql {
    fn engine(&self) -> Engine {
        Engine::Mysql
    }

    fn dialect(&self) -> Dialect {
        Dialect::Mysql
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
