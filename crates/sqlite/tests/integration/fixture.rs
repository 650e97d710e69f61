//! A database file of its own for each test, and short ways to speak to it.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lambda_rds_core::answers::{Answers, Expected};
use lambda_rds_core::backend::{
    Access, Backend, Done, Endpoint, Frame, Phases, Pooling, Session, State, Statement, Target,
};
use lambda_rds_core::config::{Int64, Tls, TlsMode};
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::Verb;
use lambda_rds_core::rows::{Limits, RowWriter};
use lambda_rds_core::value::{Argument, Kind, Scalar, Value};
use lambda_rds_sqlite::Sqlite;
use serde_json::Value as Json;
use tempfile::TempDir;

/// A file that goes away with this value.
pub(crate) struct Database {
    folder: TempDir,
}

impl Database {
    /// A new file in which these statements have been run.
    pub(crate) async fn new(statements: &[&str]) -> Self {
        let database = Self { folder: tempfile::tempdir().unwrap() };
        // SQLite takes an empty file for an empty database.
        std::fs::write(database.path(), "").unwrap();
        let mut session = database.session().await;
        for sql in statements {
            write(&mut session, sql, &[]).await.unwrap();
        }
        session.close().await;
        database
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    pub(crate) async fn session(&self) -> Box<dyn Session> {
        self.session_within(Duration::from_secs(10)).await
    }

    /// A session whose statements may run this long.
    pub(crate) async fn session_within(&self, statement_timeout: Duration) -> Box<dyn Session> {
        Sqlite.connect(&target(&self.path(), statement_timeout)).await.unwrap()
    }
}

pub(crate) fn target(file: &Path, statement_timeout: Duration) -> Target {
    let off = Tls { mode: TlsMode::Disable, ca: None, server_name: None };
    let login = Login { user: String::new(), password: String::new().into() };
    Target {
        endpoint: Endpoint { host: String::new(), port: 0 },
        database: file.to_str().unwrap().to_owned(),
        relogin: Relogin::fixed(login.clone()),
        login,
        tls: Arc::new(TlsClient::new(&off, "").unwrap()),
        application_name: "test".to_owned(),
        statement_timeout,
        pooling: Pooling::None,
        pipeline: true,
        log_values: false,
        by: Deadline::after(Duration::from_secs(5)),
        progress: Phases::default(),
    }
}

/// Runs a statement as the session is, and gives its rows.
pub(crate) async fn read(session: &mut Box<dyn Session>, sql: &str, values: &[Value]) -> Result<Json> {
    let mut rows = writer(None);
    run_into(session, &statement(sql, values), &mut rows).await?;
    Ok(serde_json::from_slice(&rows.finish()?).unwrap())
}

/// Runs a statement in a transaction of its own.
pub(crate) async fn write(session: &mut Box<dyn Session>, sql: &str, values: &[Value]) -> Result<Done> {
    session.begin(Access::Write).await?;
    let outcome = run(session, sql, values).await;
    match outcome {
        Ok(_) => session.commit().await?,
        Err(_) => session.rollback().await?,
    }
    outcome
}

/// Runs a statement as the session is, and gives what it did.
pub(crate) async fn run(session: &mut Box<dyn Session>, sql: &str, values: &[Value]) -> Result<Done> {
    run_into(session, &statement(sql, values), &mut writer(None)).await
}

/// Runs a statement as the session is, and writes its rows there.
pub(crate) async fn run_into(
    session: &mut Box<dyn Session>,
    statement: &Statement,
    rows: &mut RowWriter,
) -> Result<Done> {
    let expected = [Expected { verb: Verb::Many, max_rows: None, limit: Duration::MAX, silent: false }];
    let mut answers = Answers::new(rows, &expected, false);
    let frame = if session.state() == State::InTransaction { Frame::Within } else { Frame::Read };
    session.run(frame, &[statement], &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)?;
    Ok(answers.done())
}

pub(crate) fn writer(max_rows: Option<u64>) -> RowWriter {
    RowWriter::new(Verb::Many, Limits { bytes: 1 << 20, escaped: false, max_rows }, Int64::Number)
}

pub(crate) fn statement(sql: &str, values: &[Value]) -> Statement {
    let arguments = values
        .iter()
        .enumerate()
        .map(|(index, value)| Argument {
            name: format!("p{}", index + 1).into(),
            // The engine goes by the value alone.
            kind: Kind { scalar: Scalar::Text, array: false },
            value: value.clone(),
        })
        .collect();
    Statement { sql: sql.into(), arguments }
}
