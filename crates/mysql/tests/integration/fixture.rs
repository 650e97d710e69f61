//! A server that the tests of this binary share, a database for each of them, and sessions on it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lambda_rds_core::answers::{Answers, Expected};
use lambda_rds_core::backend::{
    Access, Backend as _, Done, Endpoint, Frame, Phases, Pooling, Session, State, Statement, Target,
};
use lambda_rds_core::config::{Int64, Tls, TlsMode};
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::queries::Verb;
use lambda_rds_core::rows::{Limits, RowWriter};
use lambda_rds_core::value::{Argument, Kind, Scalar, Value};
use lambda_rds_mysql::Mysql as Backend;
use lambda_rds_testbed::{Database, Mysql, MysqlKind};

/// The server that all tests of this process share.
pub(crate) fn server(kind: MysqlKind) -> &'static Mysql {
    static MYSQL: OnceLock<Mysql> = OnceLock::new();
    static MARIADB: OnceLock<Mysql> = OnceLock::new();
    let server = match kind {
        MysqlKind::Mysql => &MYSQL,
        MysqlKind::MariaDb => &MARIADB,
    };
    server.get_or_init(|| Mysql::start(kind).unwrap())
}

/// A database that no other test has.
pub(crate) fn database(server: &Mysql) -> Database {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    server.database(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap()
}

/// What a session is opened with; the fields are for tests to change.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) mode: TlsMode,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) statement_timeout: Duration,
    pub(crate) log_values: bool,
    /// How long it may take.
    pub(crate) time: Duration,
    pub(crate) progress: Phases,
    pub(crate) pooling: Pooling,
    pub(crate) pipeline: bool,
    /// What its sessions learn from each other.
    pub(crate) backend: Backend,
}

impl Opening {
    pub(crate) fn new(server: &Mysql, database: &Database) -> Self {
        Self {
            port: server.port(),
            database: database.name.clone(),
            user: database.user.clone(),
            password: database.password.clone(),
            mode: TlsMode::VerifyFull,
            ca: Some(server.ca_pem_path()),
            server_name: Some("localhost".into()),
            statement_timeout: Duration::from_secs(10),
            log_values: false,
            pooling: Pooling::None,
            pipeline: true,
            backend: Backend::default(),
            time: Duration::from_secs(10),
            progress: Phases::default(),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Box<dyn Session>> {
        self.connect_over(&self.tls()?).await
    }

    /// How its connections are protected; whoever keeps it resumes.
    pub(crate) fn tls(&self) -> Result<Arc<TlsClient>> {
        let tls = Tls { mode: self.mode, ca: self.ca.clone(), server_name: self.server_name.clone() };
        Ok(Arc::new(TlsClient::new(&tls, "127.0.0.1")?))
    }

    pub(crate) async fn connect_over(&self, tls: &Arc<TlsClient>) -> Result<Box<dyn Session>> {
        let login = Login { user: self.user.clone(), password: self.password.clone().into() };
        let target = Target {
            endpoint: Endpoint { host: "127.0.0.1".into(), port: self.port },
            database: self.database.clone(),
            relogin: Relogin::fixed(login.clone()),
            login,
            tls: Arc::clone(tls),
            application_name: "test".into(),
            statement_timeout: self.statement_timeout,
            pooling: self.pooling,
            pipeline: self.pipeline,
            log_values: self.log_values,
            by: Deadline::after(self.time),
            progress: self.progress.clone(),
        };
        self.backend.connect(&target).await
    }
}

/// A session on a database of its own, after these statements.
pub(crate) async fn session(kind: MysqlKind, schema: &[&str]) -> (Opening, Box<dyn Session>) {
    let server = server(kind);
    let opening = Opening::new(server, &database(server));
    let mut session = opening.connect().await.unwrap();
    for sql in schema {
        alone(&mut session, sql).await.unwrap();
    }
    (opening, session)
}

/// Runs a write that commits by itself, as DDL does.
pub(crate) async fn alone(session: &mut Box<dyn Session>, sql: &str) -> Result<Done> {
    Ok(run(session, Frame::Alone, Verb::Exec, sql, &[]).await?.0)
}

/// Runs a read, and gives the rows as JSON.
pub(crate) async fn rows(
    session: &mut Box<dyn Session>,
    sql: &str,
    arguments: &[Argument],
) -> Result<serde_json::Value> {
    let (_, body) = run(session, Frame::Read, Verb::Many, sql, arguments).await?;
    Ok(serde_json::from_slice(&body).unwrap())
}

/// Runs a statement in the transaction that there is.
pub(crate) async fn within(session: &mut Box<dyn Session>, sql: &str) -> Result<Done> {
    Ok(run(session, Frame::Within, Verb::Exec, sql, &[]).await?.0)
}

/// Runs one statement, and gives what it did and the reply's body.
pub(crate) async fn run(
    session: &mut Box<dyn Session>,
    frame: Frame,
    verb: Verb,
    sql: &str,
    arguments: &[Argument],
) -> Result<(Done, Vec<u8>)> {
    let mut rows = writer(verb);
    let expected = [expected(verb)];
    let mut answers = Answers::new(&mut rows, &expected, false);
    session.run(frame, &[&statement(sql, arguments)], &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)?;
    let done = answers.done();
    Ok((done, if verb == Verb::Exec { Vec::new() } else { rows.finish()? }))
}

/// Runs a list of writes in one frame and gives their results, or the index of the failing one and why. Nothing is
/// committed.
pub(crate) async fn list(
    session: &mut Box<dyn Session>,
    frame: Frame,
    statements: &[Statement],
) -> Result<serde_json::Value, (usize, Error)> {
    let expected = vec![expected(Verb::Exec); statements.len()];
    let mut rows = RowWriter::list(Limits { bytes: 6 << 20, escaped: false, max_rows: None }, Int64::Number);
    let mut answers = Answers::new(&mut rows, &expected, true);
    let all: Vec<&Statement> = statements.iter().collect();
    let outcome = session.run(frame, &all, &mut answers).await;
    outcome.map_err(|error| (answers.step(), error))?;
    if let Err((_, error)) = answers.outcome() {
        return Err((answers.step(), error));
    }
    Ok(serde_json::from_slice(&rows.finish().unwrap()).unwrap())
}

pub(crate) fn expected(verb: Verb) -> Expected {
    Expected { verb, max_rows: None, limit: Duration::from_secs(60), silent: false }
}

/// Runs a write in a transaction.
pub(crate) async fn write(session: &mut Box<dyn Session>, sql: &str, arguments: &[Argument]) -> Result<Done> {
    match run(session, Frame::Begin(Access::Write), Verb::Exec, sql, arguments).await {
        Ok((done, _)) => session.commit().await.map(|()| done),
        Err(error) => {
            if in_transaction(session) {
                session.rollback().await?;
            }
            Err(error)
        }
    }
}

#[allow(clippy::borrowed_box, reason = "it is what tests have")]
pub(crate) fn usable(session: &Box<dyn Session>) -> bool {
    session.state() != State::Closed
}

#[allow(clippy::borrowed_box, reason = "it is what tests have")]
pub(crate) fn in_transaction(session: &Box<dyn Session>) -> bool {
    matches!(session.state(), State::InTransaction | State::Failed)
}

/// The fault and the server's number of what must fail.
pub(crate) fn failure<T: std::fmt::Debug>(outcome: Result<T>) -> (Fault, u16) {
    let error = outcome.unwrap_err();
    (error.fault(), error.sqlstate().unwrap_or_else(|| panic!("no number: {error}")).parse().unwrap())
}

pub(crate) fn statement(sql: &str, arguments: &[Argument]) -> Statement {
    Statement { sql: sql.into(), arguments: arguments.to_vec() }
}

pub(crate) fn writer(verb: Verb) -> RowWriter {
    RowWriter::new(verb, Limits { bytes: 6 << 20, escaped: false, max_rows: None }, Int64::Number)
}

pub(crate) fn argument(scalar: Scalar, value: Value) -> Argument {
    Argument { name: "it".into(), kind: Kind { scalar, array: false }, value }
}

pub(crate) fn int(value: i64) -> Argument {
    argument(Scalar::Int, Value::Int(value))
}

pub(crate) fn text(value: &str) -> Argument {
    argument(Scalar::Text, Value::Text(value.into()))
}
