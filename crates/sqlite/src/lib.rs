//! The embedded engine: SQLite in a file, for first steps, local runs and tests without a server.
//!
//! It keeps the contract of the servers' engines: sessions are read-only unless a write was declared, a statement
//! that runs too long is stopped, and whatever the engine says becomes a fault.
//!
//! # What is SQLite's own
//! - A value is written as what it *is*, not as what its column declares: SQLite stores any kind of value in any
//!   column. Two declarations are followed where the value agrees with them: `BOOLEAN` or `BOOL` with 0 or 1 is a
//!   truth value, and `JSON` or `JSONB` holding valid JSON text is that JSON.
//! - Dates, times, UUIDs and decimals are bound as text, in the same form in which the other engines reply them.
//!   So a timestamp has a `T` between date and time, where SQLite's own `CURRENT_TIMESTAMP` has a space: compare
//!   with `datetime(:since)`.
//! - There is no NaN: SQLite would store NULL instead, so it is refused.

mod bind;
mod cancel;
mod classify;
mod connect;
mod decode;
mod describe;
#[cfg(feature = "sea-orm")]
mod orm;
mod session;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Backend, Session, Target};
use lambda_rds_core::config::Engine;
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::Dialect;

/// How to speak to SQLite.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

impl Backend for Sqlite {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    #[cfg(feature = "sea-orm")]
    fn classify(&self, error: &sea_orm::DbErr) -> lambda_rds_core::error::Fault {
        orm::classify(error)
    }

    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
        Box::pin(async move {
            let session: Box<dyn Session> = Box::new(connect::connect(to).await?);
            Ok(session)
        })
    }
}
