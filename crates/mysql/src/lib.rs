//! The MySQL and MariaDB backend of lambda-rds: connect, bind, decode, classify, cancel.
//!
//! We speak the protocol ourselves. sea-orm's driver comes in only for code of one's own that asks for it, with the
//! feature `sea-orm`.

mod answer;
mod bind;
mod cancel;
mod capability;
mod classify;
mod connect;
mod decode;
mod describe;
#[cfg(feature = "sea-orm")]
mod driver;
mod effects;
mod greeting;
mod known;
mod login;
mod packet;
mod session;
mod talk;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Backend, Session, Target};
use lambda_rds_core::config::Engine;
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::Dialect;

use std::sync::Arc;

use known::Known;

/// What keeps a session's wire.
#[cfg(feature = "sea-orm")]
type Keeper = lambda_rds_core::connect::door::Door<session::MySql, driver::MySqlDriver>;
#[cfg(not(feature = "sea-orm"))]
type Keeper = lambda_rds_core::connect::wire::Wire;

/// How to speak to MySQL and MariaDB: one for each environment, whose sessions learn from each other which statements
/// they will be asked for.
#[derive(Debug, Clone, Default)]
pub struct Mysql {
    known: Arc<Known>,
}

impl Backend for Mysql {
    fn engine(&self) -> Engine {
        Engine::Mysql
    }

    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    #[cfg(feature = "sea-orm")]
    fn classify(&self, error: &sea_orm::DbErr) -> lambda_rds_core::error::Fault {
        driver::classify(error)
    }

    fn expect(&self, statements: &mut dyn Iterator<Item = Arc<str>>) {
        self.known.expect(statements);
    }

    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
        Box::pin(connect::connect(to, &self.known))
    }
}
