//! What sea-orm needs of a session, for code of one's own.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::{DatabaseConnection, DbErr, ExecResult, QueryResult};

use crate::backend::{Access, Statement};
use crate::error::{Error, Result};

/// A session that sea-orm's driver can come to.
pub trait Orm: Send + Debug {
    /// sea-orm's handle on this very connection: a pool of exactly one. Its statements cost a second round
    /// trip, since the pool pings when it takes a connection back.
    ///
    /// # Errors
    /// If the connection is gone.
    fn database(&mut self) -> BoxFuture<'_, Result<DatabaseConnection>>;

    /// Runs a statement that an application made, and streams what it gives: its rows, and after each result what
    /// it did. One round trip once it is prepared.
    ///
    /// # Errors
    /// The server's error, in both forms. The stream ends with it.
    ///
    /// # Cancel safety
    /// As [`Session::run`](crate::backend::Session::run)'s, if the stream is dropped before its end.
    fn stream(&mut self, sql: Sql) -> BoxStream<'_, Result<Item, Failure>>;

    /// Runs one such statement in a transaction of its own, which begins in its flight; one that only reads is committed in
    /// it as well, where the driver says the statement in one piece. [`Session::state`](crate::backend::Session::state)
    /// tells then whether there is anything left to commit.
    ///
    /// `None` where that cannot be, and nothing has been done: what belongs around a statement is sent before it and after
    /// it. Only for servers that undo all that a transaction did which is not committed.
    ///
    /// # Errors
    /// As [`Orm::stream`]'s. What the server refuses of the beginning is a failure of it.
    ///
    /// # Cancel safety
    /// As [`Orm::stream`]'s.
    fn alone(&mut self, _alone: Alone) -> Option<BoxStream<'_, Result<Item, Failure>>> {
        None
    }
}

/// A statement that has a transaction to itself.
#[derive(Debug, Clone)]
pub struct Alone {
    /// What the transaction may do.
    pub access: Access,
    /// Statements of our own that are run before it.
    pub before: Vec<Statement>,
    /// The application's.
    pub statement: sea_orm::Statement,
}

/// What an application runs on a session of its own.
#[derive(Debug, Clone)]
pub enum Sql {
    /// One statement with its values, as sea-orm builds it; prepared at its first use.
    Prepared(sea_orm::Statement),
    /// One or several statements without values, sent as they are.
    Script(String),
}

/// What [`Orm::stream`] gives, as sea-orm takes it.
#[derive(Debug)]
pub enum Item {
    /// A row.
    Row(QueryResult),
    /// The end of a result: how many rows were affected, and the id that was generated.
    Done(ExecResult),
}

/// One failure in two forms.
#[derive(Debug)]
pub struct Failure {
    /// Classified: what decides whether it runs again.
    pub error: Error,
    /// As sea-orm's own connections give it, so that `sql_err()` works on it.
    pub driver: DbErr,
    /// Whether it is none of the statement's own, but of what [`Alone`] has around it.
    pub around: bool,
}

impl Failure {
    /// A failure that the driver knows nothing of.
    pub(crate) fn own(error: Error) -> Self {
        Self { driver: error.clone().into(), error, around: false }
    }
}
