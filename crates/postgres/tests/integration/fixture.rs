//! A session on a database of its own for each test, and short ways to speak to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lambda_rds_core::answers::{Answers, Expected};
use lambda_rds_core::backend::{
    Access, Backend, Endpoint, Frame, Phases, Pooling, Session, State, Statement, Target,
};
use lambda_rds_core::config::{Engine, Int64, Tls, TlsMode};
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::{Dialect, Queries, Verb};
use lambda_rds_core::rows::{Limits, RowWriter};
use lambda_rds_core::value::{Argument, Given, Kind, Origin, Params, Value};
use lambda_rds_testbed::{Database, Postgres as Server};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

/// One row, each value as it stands in the reply.
pub(crate) type Row = BTreeMap<String, Box<RawValue>>;

/// A session that blocks, for tests that run many statements one after the other.
pub(crate) struct Live {
    runtime: Runtime,
    backend: lambda_rds_postgres::Postgres,
    session: Option<Box<dyn Session>>,
    database: Database,
    pooling: Pooling,
}

impl Live {
    /// A session on a new database in which the superuser has run this script.
    pub(crate) fn new(script: &str) -> Self {
        Self::pooled(script, Pooling::None)
    }

    /// The same, spoken to as if a pooler were between.
    pub(crate) fn pooled(script: &str, pooling: Pooling) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let database =
            server().database(&format!("engine_{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        server().psql(&database.name, script).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let backend = lambda_rds_postgres::Postgres::default();
        let mut live = Self { runtime, backend, session: None, database, pooling };
        live.reconnect();
        live
    }

    /// Takes a new session.
    pub(crate) fn reconnect(&mut self) {
        let to = Target { pooling: self.pooling, ..target(&self.database) };
        // What one session has learned is the next one's, too.
        let session = self.runtime.block_on(self.backend.connect(&to));
        self.session = Some(session.unwrap());
    }

    /// Runs SQL as the superuser, elsewhere.
    pub(crate) fn psql(&self, script: &str) -> String {
        server().psql(&self.database.name, script).unwrap()
    }

    pub(crate) fn session(&mut self) -> &mut dyn Session {
        &mut **self.session.as_mut().unwrap()
    }

    pub(crate) fn block_on<'a, T>(
        &'a mut self,
        work: impl FnOnce(&'a mut dyn Session) -> futures_util::future::BoxFuture<'a, T>,
    ) -> T {
        let Self { runtime, session, .. } = self;
        runtime.block_on(work(&mut **session.as_mut().unwrap()))
    }

    /// Works with its session and so many others of the same environment, side by side.
    pub(crate) fn beside<T>(
        &mut self,
        others: usize,
        work: impl AsyncFnOnce(&mut dyn Session, Vec<Box<dyn Session>>) -> T,
    ) -> T {
        let to = Target { pooling: self.pooling, ..target(&self.database) };
        let Self { runtime, backend, session, .. } = self;
        runtime.block_on(async {
            let mut sessions = Vec::new();
            for _ in 0..others {
                sessions.push(backend.connect(&to).await.unwrap());
            }
            work(&mut **session.as_mut().unwrap(), sessions).await
        })
    }

    /// Runs a statement as a read.
    pub(crate) fn read(&mut self, sql: &str, arguments: &[Argument]) -> Result<Vec<Row>> {
        self.run(&Statement { sql: sql.into(), arguments: arguments.to_vec() })
    }

    pub(crate) fn run(&mut self, statement: &Statement) -> Result<Vec<Row>> {
        let limits = Limits { bytes: 64 << 20, escaped: false, max_rows: None };
        let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
        let expected = [Expected { verb: Verb::Many, max_rows: None, limit: Duration::MAX, silent: false }];
        let mut answers = Answers::new(&mut rows, &expected, false);
        let Self { runtime, session, .. } = self;
        let session = session.as_mut().unwrap();
        let frame = if session.state() == State::Idle { Frame::Read } else { Frame::Within };
        let ran = runtime.block_on(session.run(frame, &[statement], &mut answers));
        if frame == Frame::Read && session.state() == State::Failed {
            runtime.block_on(session.rollback())?;
        }
        ran?;
        answers.outcome().map_err(|(_, error)| error)?;
        Ok(serde_json::from_slice(&rows.finish()?).unwrap())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.close());
        }
    }
}

/// The server that all tests of this process share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start().unwrap())
}

pub(crate) fn target(database: &Database) -> Target {
    let tls = Tls { mode: TlsMode::VerifyFull, ca: Some(server().ca_pem_path()), server_name: None };
    let login = Login { user: database.user.clone(), password: database.password.clone().into() };
    Target {
        endpoint: Endpoint { host: server().host().to_owned(), port: server().port() },
        database: database.name.clone(),
        relogin: Relogin::fixed(login.clone()),
        login,
        tls: Arc::new(TlsClient::new(&tls, server().host()).unwrap()),
        application_name: "test".to_owned(),
        statement_timeout: Duration::from_secs(60),
        pooling: Pooling::None,
        pipeline: true,
        log_values: false,
        by: Deadline::after(Duration::from_secs(30)),
        progress: Phases::default(),
    }
}

/// What a caller gives as this JSON for a parameter of this type.
pub(crate) fn given(kind: &str, json: &str) -> Argument {
    let kind = Kind::from_name(kind).unwrap();
    let raw = RawValue::from_string(json.to_owned()).unwrap();
    let value = kind.read(&Given::Json(raw)).unwrap_or_else(|refusal| panic!("{json}: {refusal:?}"));
    Argument { name: "p".into(), kind, value }
}

pub(crate) fn argument(kind: &str, value: Value) -> Argument {
    Argument { name: "p".into(), kind: Kind::from_name(kind).unwrap(), value }
}

/// The statement of a query with these declared parameters, each given as JSON.
pub(crate) fn query(sql: &str, params: &[(&str, &str)]) -> Statement {
    let mut text = "-- name: q :many\n".to_owned();
    let mut values = Params::default();
    for (declared, json) in params {
        text.push_str(&format!("-- param: {declared}?\n"));
        let (name, _) = declared.split_once(' ').unwrap();
        let raw = RawValue::from_string((*json).to_owned()).unwrap();
        values.0.push((name.to_owned(), Given::Json(raw)));
    }
    text.push_str(sql);
    let queries = Queries::parse(&[("q.sql".to_owned(), text)], Engine::Postgres, Dialect::Postgres);
    let queries = queries.unwrap_or_else(|error| panic!("{error}"));
    queries.get("q").unwrap().bind(&values, &Origin::default()).unwrap()
}

/// Runs a query inside a transaction, in which it is not known, gives the reply, and undoes it.
pub(crate) fn undone(live: &mut Live, sql: &str, params: &[(&str, &str)]) -> Result<String> {
    let statement = query(sql, params);
    let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
    let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
    let expected = [Expected { verb: Verb::Many, max_rows: None, limit: Duration::MAX, silent: false }];
    let mut answers = Answers::new(&mut rows, &expected, false);
    let statements = [&statement];
    let ran = live.block_on(|session| {
        Box::pin(async {
            let outcome = session.run(Frame::Begin(Access::Write), &statements, &mut answers).await;
            if session.state() != State::Idle {
                session.rollback().await.unwrap();
            }
            outcome
        })
    });
    ran?;
    answers.outcome().map_err(|(_, error)| error)?;
    Ok(String::from_utf8(rows.finish()?).unwrap())
}
