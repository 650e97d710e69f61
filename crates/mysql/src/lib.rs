//! The MySQL and MariaDB backend of lambda-rds: connect, bind, decode, classify, cancel.
//!
//! We dial, encrypt and log in; sea-orm and sqlx speak to the server from then on, through the relay.

mod bind;
mod cancel;
mod capability;
mod classify;
mod connect;
mod decode;
mod describe;
mod effects;
mod greeting;
mod guard;
mod login;
mod packet;
mod session;
mod wire;

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
