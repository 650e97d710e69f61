//! The pipeline: from the bytes of one event to its reply.
//!
//! ```text
//! bytes ─▶ event ─▶ call ─▶ plan ─▶ session ─▶ rows ─▶ JSON body ─▶ reply
//! ```

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tracing::Instrument as _;

use crate::backend::{Access, Backend, Topology};
use crate::config::{Config, ConfigError, ConnectAt, Db, Engine, Function, OpenApi, Platform};
use crate::connect::sessions::Sessions;
use crate::deadline::Deadline;
use crate::diagnose::{self, Diagnosis};
use crate::error::{Error, Fault, Result};
use crate::event::{self, Batch, Call, Event, Invocation, Method, Request, Source, Wanted};
use crate::execute::{self, Once, Step, Trace, Work};
use crate::form::Form;
use crate::observe;
use crate::once::{Key, Store};
use crate::openapi::{self, About, Rows};
use crate::page;
use crate::queries::{Dialect, KeyFrom, LoadError, Queries, Query, Verb};
use crate::reply::{self, Body, Negotiated, Raised, Reply, cors_headers};
use crate::rows::{Exit, Limits};
use crate::stream::{Head, Outlet};
use crate::tools;
use crate::value::{Given, Origin, Params};

/// The application: everything that outlives an invocation.
#[derive(Debug)]
pub struct App {
    db: Db,
    function: Function,
    platform: Platform,
    queries: Queries,
    sessions: Arc<Sessions>,
    /// The table of idempotency keys.
    store: Store,
    /// The headers that a browser may send.
    cors_headers: Arc<str>,
    /// The OpenAPI document, where it is served.
    openapi: Option<Vec<u8>>,
    /// The list of the tools for agents, once the database has told of all their rows; and what it has told.
    tools: OnceLock<Vec<u8>>,
    learned: tokio::sync::Mutex<tools::Learned>,
    /// Whether an invocation has been served: the first one is cold.
    warm: AtomicBool,
    /// Whether it has been said that a pooler pins its connections.
    told_of_pins: AtomicBool,
    /// When the last invocation had ended, or the start, in milliseconds since 1970-01-01: no event was asked for
    /// earlier.
    idle_since: AtomicU64,
    /// Whether it has been said that the deadlines are none.
    told_of_deadline: AtomicBool,
}

/// A way to call a query over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The query's name.
    pub query: String,
    /// The method.
    pub method: &'static str,
    /// The path, with the base path.
    pub path: String,
    /// What belongs behind it: a query string with the parameters that must be given, or a body with the types of
    /// all.
    pub example: String,
}

/// Why the application cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration.
    Config(ConfigError),
    /// The query files.
    Queries(LoadError),
    /// The engine is not built into this binary.
    NotBuiltIn(Engine),
    /// `LAMBDA_RDS_DEFAULT_QUERY` names no query.
    NoDefaultQuery {
        /// The name.
        name: String,
        /// The names of the queries that there are.
        known: Vec<String>,
    },
    /// The file that `LAMBDA_RDS_OPENAPI` names cannot be served.
    OpenApi {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl App {
    /// Loads the queries and prepares for connections; opens none.
    ///
    /// # Errors
    /// [`StartError`], which names what to mend.
    pub fn start(
        config: Config,
        backend: Option<Arc<dyn Backend>>,
        topology: Arc<dyn Topology>,
    ) -> Result<Self, StartError> {
        let Config { db, function, platform, warnings } = config;
        observe::init(&platform, &function);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let backend = backend.ok_or(StartError::NotBuiltIn(db.engine))?;
        let queries = Queries::load_for(&function.queries, db.engine, backend.dialect(), &function.identity)
            .map_err(StartError::Queries)?;
        Self::assemble(db, function, platform, queries, backend, topology)
    }

    /// Assembles the application from queries that were parsed elsewhere. Sets up no logging.
    ///
    /// # Errors
    /// [`StartError::NoDefaultQuery`], [`StartError::OpenApi`]; [`StartError::Queries`] if they were parsed for other
    /// callers than `function` names.
    pub fn assemble(
        db: Db,
        function: Function,
        platform: Platform,
        queries: Queries,
        backend: Arc<dyn Backend>,
        topology: Arc<dyn Topology>,
    ) -> Result<Self, StartError> {
        if let Some(default) = &function.default_query
            && queries.get(default).is_none()
        {
            let known = queries.iter().map(|query| query.name().to_owned()).collect();
            return Err(StartError::NoDefaultQuery { name: default.clone(), known });
        }
        // What holds for every query is nothing that code of one's own may drop by accident.
        if *queries.identity() != function.identity {
            let folder = function.queries.display().to_string();
            return Err(StartError::Queries(LoadError::for_others(&folder)));
        }
        let timeout = longest(&queries, db.query_timeout);
        let store = Store::new(db.engine, backend.dialect(), &db.idempotency_table, db.idempotency_reply);
        let keyed = queries.iter().any(|query| query.idempotency().is_some());
        let keys = keyed.then(|| store.texts()).into_iter().flatten();
        backend.expect(&mut keys.chain(queries.iter().map(|query| query.blank().sql)));
        let sessions = Sessions::configured(&db, &platform, timeout, function.log_values, backend, topology);
        let sessions = Arc::new(sessions);
        let openapi = openapi(&function, &platform, &queries)?;
        let cors_headers = cors_headers(&queries, &function);
        let warm = AtomicBool::new(false);
        Ok(Self {
            db,
            function,
            platform,
            queries,
            sessions,
            store,
            cors_headers,
            openapi,
            tools: OnceLock::new(),
            learned: tokio::sync::Mutex::default(),
            warm,
            told_of_pins: AtomicBool::new(false),
            idle_since: AtomicU64::new(millis_now()),
            told_of_deadline: AtomicBool::new(false),
        })
    }

    /// Opens the first session during INIT, if the configuration wants that. A failure is logged and costs
    /// nothing else: the first call tries again, and reports.
    pub async fn warm(&self) {
        if self.db.connect_at == ConnectAt::FirstUse {
            return;
        }
        let by = Deadline::after(INIT_TIMEOUT);
        let warmed = match self.platform.ahead {
            true => self.sessions.warm_ahead(by).await,
            false => self.sessions.warm(by).await,
        };
        if let Err(error) = warmed {
            tracing::warn!("no session at INIT, the first call will try again: {error}");
        }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// [`Raised`], where the source is told of a failure by failing.
    pub async fn handle(&self, event: &[u8], invocation: &Invocation) -> Result<Reply, Raised> {
        let (outcome, untold) = self.answer(event, invocation).await;
        untold.tell();
        outcome
    }

    /// As [`handle`](Self::handle), and gives what the log was told of it.
    ///
    /// # Errors
    /// [`Raised`], where the source is told of a failure by failing.
    pub async fn handle_and_tell(
        &self,
        event: &[u8],
        invocation: &Invocation,
    ) -> (Result<Reply, Raised>, observe::Record) {
        let (outcome, untold) = self.answer(event, invocation).await;
        let record = untold.record.clone();
        untold.tell();
        (outcome, record)
    }

    /// Serves one event whose reply may be sent while it is written, where `LAMBDA_RDS_STREAM` says so and its source takes
    /// that: then it goes by `outlet`, and what is given is `None`. Every other reply is given, as by
    /// [`handle`](Self::handle).
    ///
    /// # Errors
    /// [`Raised`], where the source is told of a failure by failing and nothing has gone by the outlet. A failure after that
    /// is at the outlet's other end.
    ///
    /// # Cancel safety
    /// A dropped future breaks the reply off.
    pub async fn stream(
        &self,
        event: &[u8],
        invocation: &Invocation,
        outlet: Outlet,
    ) -> (Result<Option<Reply>, Raised>, observe::Record) {
        let (outcome, untold) = self.answer_by(event, invocation, outlet).await;
        let record = untold.record.clone();
        untold.tell();
        (outcome, record)
    }

    /// Whether replies are sent while they are written.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.function.stream
    }

    /// As [`stream`](Self::stream); the line in the log and the metrics are left to the caller.
    pub(crate) async fn answer_by(
        &self,
        event: impl AsRef<[u8]>,
        invocation: &Invocation,
        outlet: Outlet,
    ) -> (Result<Option<Reply>, Raised>, Untold<'_>) {
        let span = observe::span(&invocation.request_id);
        let (outcome, record) = self.respond_by(event, invocation, &outlet).instrument(span.clone()).await;
        (outcome, Untold { record, span, platform: &self.platform })
    }

    /// Serves one event, and leaves it to the caller when its line in the log and its metrics are written: who waits
    /// for the reply need not wait for them.
    pub(crate) async fn answer(
        &self,
        event: impl AsRef<[u8]>,
        invocation: &Invocation,
    ) -> (Result<Reply, Raised>, Untold<'_>) {
        let span = observe::span(&invocation.request_id);
        let responding = pin!(self.respond(event, invocation));
        let (outcome, record) = responding.instrument(span.clone()).await;
        (outcome, Untold { record, span, platform: &self.platform })
    }

    async fn respond(
        &self,
        event: impl AsRef<[u8]>,
        invocation: &Invocation,
    ) -> (Result<Reply, Raised>, observe::Record) {
        let invocation = &*self.with_deadline(invocation);
        self.respond_to(self.parsed(event, invocation), invocation).await
    }

    /// What an event asks. Its bytes are not kept beside that.
    fn parsed(&self, event: impl AsRef<[u8]>, invocation: &Invocation) -> Event {
        event::parse(event.as_ref(), &self.function, invocation)
    }

    async fn respond_by(
        &self,
        event: impl AsRef<[u8]>,
        invocation: &Invocation,
        outlet: &Outlet,
    ) -> (Result<Option<Reply>, Raised>, observe::Record) {
        let invocation = &*self.with_deadline(invocation);
        let event = self.parsed(event, invocation);
        let (id, function) = (&invocation.request_id, &self.function);
        if !self.function.stream || !event.source.streams(outlet.http_apis()) {
            let (reply, record) = self.respond_to(event, invocation).await;
            return (reply.map(Some), record);
        }
        let (outcome, source, mut record) = self.outcome(event, invocation, Some(outlet)).await;
        record.bytes += outlet.sent();
        let replied = if outlet.begun() {
            match outcome {
                Ok(body) => outlet.finish(body.json),
                Err(error) => outlet.break_off(reply::broken_off(&error, id)),
            }
            Ok(None)
        } else {
            source.streamed(outcome, id, function).map(|(head, body)| {
                outlet.whole(head, body);
                None
            })
        };
        (replied, record)
    }

    /// The invocation, with its deadline if that is one.
    fn with_deadline<'a>(&self, invocation: &'a Invocation) -> Cow<'a, Invocation> {
        match self.dated(invocation) {
            true => Cow::Borrowed(invocation),
            false => Cow::Owned(Invocation { deadline_ms: None, ..invocation.clone() }),
        }
    }

    async fn respond_to(
        &self,
        event: Event,
        invocation: &Invocation,
    ) -> (Result<Reply, Raised>, observe::Record) {
        let (outcome, source, record) = self.outcome(event, invocation, None).await;
        (source.reply(outcome, &invocation.request_id, &self.function), record)
    }

    /// What becomes of an event; its rows may leave by an outlet.
    async fn outcome(
        &self,
        event: Event,
        invocation: &Invocation,
        outlet: Option<&Outlet>,
    ) -> (Result<Body>, Source, observe::Record) {
        let mut by = self.deadline(invocation);
        let Event { source, request, wanted } = event;
        if source.method().is_some() {
            by = by.within(self.function.http_timeout);
        }
        let mut call = Observed::new(self, source.name(), invocation, by);
        if call.record.cold {
            self.check_timeouts(invocation);
        }
        let outcome = match request {
            Ok(request) => {
                let way = self.way(&source, &wanted, invocation, outlet);
                let served = pin!(self.serve(request, &way, &mut call));
                AssertUnwindSafe(served).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
            }
            Err(error) => Err(error),
        };
        let record = call.finish(&outcome);
        // With several at once, another event may have been asked for long ago.
        if self.platform.max_concurrency <= 1 {
            self.idle_since.store(millis_now(), Ordering::Relaxed);
        }
        (outcome, source, record)
    }

    /// How the reply to an event of this source goes.
    fn way<'a>(
        &self,
        source: &'a Source,
        wanted: &'a Wanted,
        invocation: &'a Invocation,
        outlet: Option<&'a Outlet>,
    ) -> Way<'a> {
        let request_id = &invocation.request_id;
        let limits = source.limits();
        let Some(outlet) = outlet else {
            return Way { limits, wanted, request_id, leaving: None };
        };
        // It stands in no JSON string.
        let limits = Limits { bytes: limits.bytes.min(self.function.stream_bytes), escaped: false, ..limits };
        // Of a HEAD only what stands before the body is sent.
        let outlet = Some(outlet).filter(|_| source.method() != Some(Method::Head));
        Way { limits, wanted, request_id, leaving: Some(Leaving { source, outlet }) }
    }

    /// Whether the invocation's deadline is one. What stands in for Lambda may send a constant (`cargo lambda` sends
    /// 600000, ten minutes after 1970 began): a deadline that had passed before the event was asked for.
    fn dated(&self, invocation: &Invocation) -> bool {
        let Some(deadline) = invocation.deadline_ms else { return true };
        if deadline > self.idle_since.load(Ordering::Relaxed) {
            return true;
        }
        if !self.told_of_deadline.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                deadline,
                "the invocation's deadline had passed before the event was asked for, so it is none: calls are \
                 limited by DB_CONNECT_TIMEOUT and DB_QUERY_TIMEOUT alone"
            );
        }
        false
    }

    /// Runs one call that came in no event, and gives its result as text: the way in for the command line.
    ///
    /// # Errors
    /// As the reply's `error` would say.
    pub async fn call(&self, call: Call, wanted: &Wanted, invocation: &Invocation) -> Result<Body> {
        self.call_by(call, wanted, invocation, None).await
    }

    /// The same, with rows that are sent while they are written, where `LAMBDA_RDS_STREAM` says so: then the body goes by
    /// `outlet`, all of it.
    ///
    /// # Errors
    /// As [`call`](Self::call). The outlet's other end is told as well, of what has begun.
    pub async fn stream_call(
        &self,
        call: Call,
        wanted: &Wanted,
        invocation: &Invocation,
        outlet: Outlet,
    ) -> Result<()> {
        let used = Some(&outlet).filter(|_| self.function.stream);
        match self.call_by(call, wanted, invocation, used).await {
            Ok(body) if outlet.begun() => outlet.finish(body.json),
            Ok(body) => {
                outlet.whole(Head { prelude: None, content_type: body.form.content_type() }, body.json)
            }
            Err(error) => {
                if outlet.begun() {
                    outlet.break_off(reply::broken_off(&error, &invocation.request_id));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn call_by(
        &self,
        call: Call,
        wanted: &Wanted,
        invocation: &Invocation,
        outlet: Option<&Outlet>,
    ) -> Result<Body> {
        let mut observed = Observed::new(self, "command", invocation, self.deadline(invocation));
        let source = Source::DIRECT;
        let way = self.way(&source, wanted, invocation, outlet);
        let outcome = self.serve(Request::Call(call), &way, &mut observed).await;
        let mut record = observed.finish(&outcome);
        record.bytes += outlet.map_or(0, Outlet::sent);
        record.emit(&self.platform);
        outcome?.plain()
    }

    /// Answers one message of the Model Context Protocol that came through a pipe, from somebody with these verified
    /// claims; `None` where it wants no answer.
    pub async fn converse(
        &self,
        message: &str,
        claims: Vec<(String, Given)>,
        invocation: &Invocation,
    ) -> Option<Vec<u8>> {
        let origin =
            Origin { claims: Some(claims).filter(|claims| !claims.is_empty()), ..invocation.origin() };
        let event = event::message(message, &self.function, origin);
        if let Ok(Request::Told(body)) = &event.request
            && body.json.is_empty()
        {
            return None;
        }
        let span = observe::span(&invocation.request_id);
        let (outcome, record) = self.respond_to(event, invocation).instrument(span.clone()).await;
        span.in_scope(|| record.emit(&self.platform));
        // Nothing of it is raised.
        outcome.ok().map(Reply::into_json)
    }

    /// Walks through everything that a call needs, from the configuration to a query, on a session of its own, and
    /// tells of each step. Takes no longer than opening a session and a few short statements may.
    ///
    /// # Cancel safety
    /// A dropped future closes what it had opened.
    pub async fn diagnose(&self) -> Diagnosis {
        self.diagnose_until(Deadline::after(UNLIMITED)).await
    }

    async fn diagnose_until(&self, by: Deadline) -> Diagnosis {
        let Self { db, platform, queries, sessions, .. } = self;
        let left = by.remaining();
        let mut found = Box::pin(diagnose::walk(
            &diagnose::Subject { db, platform, queries, sessions, store: self.store() },
            by,
        ))
        .await;
        found.warnings.extend(self.misfit(left + db.deadline_reserve));
        found
    }

    /// What AWS tells about where we run.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The function's own database, for code beside the queries: it shares their sessions.
    #[must_use]
    #[cfg(feature = "sea-orm")]
    pub fn database(&self) -> crate::Db {
        crate::Db::on(Arc::clone(&self.sessions), &self.db)
    }

    /// The queries.
    #[must_use]
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// What can be called over HTTP, by path, for people who look for it.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        let base = &self.function.base_path;
        let mut routes = Vec::new();
        for query in &self.queries {
            let Some(methods) = query.http() else { continue };
            let given = || query.params().iter().filter(|param| param.bound_from().is_none());
            let route = |method, example| Route {
                query: query.name().to_owned(),
                method,
                path: format!("{base}/{}", query.name()),
                example,
            };
            if methods.get {
                let pairs: Vec<String> = given()
                    .filter(|param| param.default().is_none())
                    .map(|param| format!("{}=…", param.name()))
                    .collect();
                let example = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
                routes.push(route("GET", example));
            }
            if methods.post {
                let members: Vec<String> =
                    given().map(|param| format!("\"{}\": {}", param.name(), param.kind())).collect();
                routes.push(route("POST", format!(" {{{}}}", members.join(", "))));
            }
        }
        routes
    }

    /// The path of the Model Context Protocol, where it is answered.
    #[must_use]
    pub fn mcp_path(&self) -> Option<String> {
        self.function.mcp.then(|| format!("{}/mcp", self.function.base_path))
    }

    /// The dialect of the engine's SQL.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.sessions.backend().dialect()
    }

    /// The sessions, for what is no call: looking at the queries and at the way to the database.
    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Cancels what runs and says goodbye to the server; takes 300 ms at most. Serves nothing afterwards.
    pub async fn close(&self) {
        self.sessions.close().await;
    }

    async fn serve(&self, request: Request, way: &Way<'_>, call: &mut Observed<'_>) -> Result<Body> {
        match request {
            Request::Health => Ok(Body::health()),
            Request::Preflight => Ok(Body::preflight(Arc::clone(&self.cors_headers))),
            Request::OpenApi => self.negotiated(self.openapi(way.limits)?, false, way.wanted),
            Request::Tools => self.list_tools(call.by).await,
            Request::Told(body) => Ok(body),
            Request::Diagnose if !self.function.diagnose => Err(no_diagnose()),
            Request::Diagnose => Ok(Body::new(self.diagnose_until(call.by).await.to_json())),
            // So that a call has no room for it.
            Request::Records(records) => Ok(Box::pin(self.records(records, way, call)).await),
            other => self.execute(other, way, call).await,
        }
    }

    /// The same body as its sender wants it, and on which headers that depends.
    fn negotiated(&self, body: Body, form: bool, wanted: &Wanted) -> Result<Body> {
        let body = body.compressed(wanted.coding(), wanted.identity())?;
        let depends = wanted.negotiated();
        let negotiated = Negotiated { form: depends && form, coding: depends && self.function.compress };
        Ok(Body { negotiated, ..body })
    }

    /// The OpenAPI document.
    fn openapi(&self, limits: Limits) -> Result<Body> {
        match &self.openapi {
            // As long as it is when each of its quotes takes two bytes.
            Some(document) if document.len() + quotes(document) <= limits.bytes => {
                Ok(Body::new(document.clone()))
            }
            Some(_) => Err(Error::new(Fault::ResultTooLarge, "the OpenAPI document")),
            None => Err(event::unknown_query("openapi.json")),
        }
    }

    /// The tools, with what the database tells of their rows; without it where it does not answer.
    async fn list_tools(&self, by: Deadline) -> Result<Body> {
        if let Some(known) = self.tools.get() {
            return Ok(Body::new(known.clone()));
        }
        let by = by.within(LEARN_TIMEOUT);
        let list = |rows: &Rows| tools::list(&self.queries, self.function.int64, rows);
        // Another list may be asking, for as long as its own time lasts.
        let Ok(mut learned) = by.bound(self.learned.lock()).await else {
            return Ok(Body::new(list(&Rows::new())));
        };
        let all = learned.more(self, by, LEARN_SPARE).await;
        let list = list(learned.rows());
        match all {
            // Set already only by a list that has waited for the same.
            Ok(true) => drop(self.tools.set(list.clone())),
            Ok(false) => tracing::info!("the next list of the tools has more types of rows than this one"),
            Err(error) => {
                tracing::warn!("the tools are listed without the types of all their rows: {error}");
            }
        }
        Ok(Body::new(list))
    }

    /// Plans and runs one unit of work, and keeps what its failure is told with.
    async fn execute(&self, request: Request, way: &Way<'_>, call: &mut Observed<'_>) -> Result<Body> {
        if call.record.query.is_none() {
            call.record.query = self.first(&request).map(|query| query.name().to_owned());
        }
        let values = self.function.log_values.then(|| request.values());
        let outcome = self.attempt(request, way, call).await;
        if outcome.is_err() && values.is_some() {
            call.record.values = values;
        }
        outcome
    }

    /// A call, a transaction or a batch.
    async fn attempt(&self, request: Request, way: &Way<'_>, call: &mut Observed<'_>) -> Result<Body> {
        let Way { limits, wanted, .. } = *way;
        let (mut steps, list) = match &request {
            Request::Call(one) => {
                let step = self.plan(one).map_err(|error| match one.agent {
                    true => error,
                    false => event::refusal(one, &self.function, error),
                })?;
                (vec![step], false)
            }
            Request::Transaction(calls) => (numbered(calls.iter().map(|one| joined(self.plan(one)?)))?, true),
            Request::Batch(batch) => (self.plan_batch(batch)?, true),
            Request::Records(_)
            | Request::Diagnose
            | Request::Health
            | Request::Preflight
            | Request::OpenApi
            | Request::Tools
            | Request::Told(_) => {
                return Err(Error::new(Fault::Internal, "not a unit of work"));
            }
        };
        execute::introduce(&mut steps);
        let agents = matches!(&request, Request::Call(Call { agent: true, .. }));
        let limits = match steps.first().filter(|_| agents) {
            Some(step) => tools::room(step.query, limits),
            None => limits,
        };
        let cache = match steps.as_slice() {
            [step] if !list => step.query.cache(),
            _ => None,
        };
        let once = self.key(&request, &steps)?;
        let paged = steps.iter().any(|step| step.query.is_paged());
        // What was given has been bound, and may be large. Only the next page is told in its words.
        let paging = match request {
            Request::Call(call) if paged => Some((call.method, call.params)),
            _ => None,
        };
        // What is kept for a repeat is JSON, whoever asks for it.
        let many =
            once.is_none() && !list && steps.first().is_some_and(|step| step.query.verb() == Verb::Many);
        let form = if many { wanted.form()? } else { wanted.json().map(|()| Form::Json)? };
        let coding = wanted.coding().map(|coding| (coding, wanted.identity())).filter(|_| once.is_none());
        if wanted.coding().is_none() && !wanted.identity() {
            return Err(event::no_coding());
        }
        // A page is whole before it leaves: over HTTP the next one is told before its rows. What an agent gets stands in
        // its message, and who has said how much they take is told before the first row that it was too much.
        let fits = |leaving: &Leaving<'_>| !matches!(leaving.source, Source::Direct { states: true, .. });
        // A list is compressed once it is whole, and its reply may be kept.
        let whole = paged || agents || once.is_some() || (list && wanted.coding().is_some());
        let leaving = way.leaving.filter(|leaving| (many || list) && !whole && fits(leaving));
        let exit = leaving.map(|leaving| -> Result<Exit> {
            let head = Body { form, coding: wanted.coding(), ..Body::new(Vec::new()) }.cached(cache);
            let head = self.negotiated(head, true, &wanted.as_is())?;
            let (head, _) =
                leaving.source.streamed(Ok(head), way.request_id, &self.function).map_err(unsaid)?;
            // A step of a list may fail when others have their results.
            let held = list || steps.iter().any(|step| step.query.access() == Access::Write);
            Ok(Exit { outlet: leaving.outlet.cloned(), head, held })
        });
        let exit: Option<Exit> = exit.transpose()?;
        // What is no JSON is in a JSON string, also where the reply is the body alone.
        let limits = match form {
            _ if exit.is_some() => Limits { bytes: self.function.stream_bytes, ..limits },
            Form::Json => limits,
            _ if limits.escaped || way.leaving.is_some() => limits,
            _ => Limits { bytes: limits.bytes.saturating_sub(2), escaped: true, ..limits },
        };
        let work = Work {
            steps,
            list,
            once,
            limits,
            form,
            coding,
            exit,
            request_id: way.request_id,
            int64: self.function.int64,
            query_timeout: self.db.query_timeout,
            by: call.by,
            reserve: self.db.deadline_reserve,
        };
        let written = execute::run(&work, &self.sessions, &mut call.trace).await;
        if let Err(error) = &written {
            call.failed(&work.steps, error);
        }
        if let Some(step) = work.steps.first().filter(|_| agents) {
            let replayed = written.as_ref().is_ok_and(|written| written.replayed);
            let json = tools::result(step.query, written.map(|written| written.bytes), limits.escaped)?;
            return Ok(marked(Body { inside_string: limits.escaped, ..Body::new(json) }, replayed));
        }
        let execute::Written { bytes, coding, next, replayed } = written?;
        let body = Body { inside_string: work.inside_string(), form, coding, ..Body::new(bytes) };
        let mut body = marked(body.cached(cache), replayed);
        if let (Some(token), Some((method, params))) = (next, paging)
            // A page that is no JSON cannot say it otherwise.
            && (method.is_some() || form != Form::Json)
        {
            body.headers.push(("link", page::link(&params, &token)));
        }
        if many {
            // It was compressed while it was written, or was found not to gain.
            return self.negotiated(body, true, &wanted.as_is());
        }
        if wanted.coding().is_some() {
            body = body.plain()?;
        }
        self.negotiated(body, true, wanted)
    }

    /// The idempotency key of a unit of work, if it has one.
    fn key(&self, request: &Request, steps: &[Step<'_>]) -> Result<Option<Once<'_>>> {
        let key = match (request, steps) {
            (Request::Call(call), [step]) => {
                let param = match step.query.idempotency().map(|it| &it.from) {
                    Some(KeyFrom::Param(name)) => step.query.value_of(name, &call.params, &call.origin)?,
                    _ => None,
                };
                Key::of_call(step, &call.origin, param.as_ref())?
            }
            (Request::Transaction(calls), _) => match calls.first() {
                Some(call) => Key::of_list(steps, &call.origin)?,
                None => None,
            },
            (Request::Batch(batch), _) => Key::of_list(steps, &batch.origin)?,
            _ => None,
        };
        Ok(key.map(|key| Once { store: &self.store, key }))
    }

    /// The table of idempotency keys, where a query has one.
    pub(crate) fn store(&self) -> Option<&Store> {
        let keyed = self.queries.iter().any(|query| query.idempotency().is_some());
        keyed.then_some(&self.store)
    }

    /// The query that is asked for, the first one of several, if there is one of that name.
    fn first(&self, request: &Request) -> Option<&Query> {
        let name = match request {
            Request::Call(call) => call.query.as_deref().or(self.function.default_query.as_deref())?,
            Request::Transaction(calls) => calls.first()?.query.as_deref()?,
            Request::Batch(batch) => &batch.query,
            Request::Records(_)
            | Request::Diagnose
            | Request::Health
            | Request::Preflight
            | Request::OpenApi
            | Request::Tools
            | Request::Told(_) => return None,
        };
        self.queries.get(name)
    }

    /// The query of a call, and its parameters bound.
    fn plan(&self, call: &Call) -> Result<Step<'_>> {
        let name = call.name(self.function.default_query.as_deref())?;
        let query = match call.agent {
            true => self.tool(name, call.method)?,
            false => self.find(name, call.method)?,
        };
        if call.stray_body {
            return Err(event::stray_body());
        }
        step(query, &call.params, &call.origin)
    }

    fn plan_batch(&self, batch: &Batch) -> Result<Vec<Step<'_>>> {
        let query = self.find(&batch.query, batch.method)?;
        numbered(batch.params.iter().map(|params| joined(step(query, params, &batch.origin)?)))
    }

    fn tool(&self, name: &str, method: Option<event::Method>) -> Result<&Query> {
        let query = self.queries.get(name).ok_or_else(|| event::unknown_tool(name))?;
        event::tool_gate(query, method).map(|()| query)
    }

    fn find(&self, name: &str, method: Option<event::Method>) -> Result<&Query> {
        let query = self.queries.get(name).ok_or_else(|| event::unknown_query(name))?;
        if let Some(method) = method {
            event::gate(query, method)?;
        }
        Ok(query)
    }

    /// Runs the messages of a queue, each for itself, and gives the ids of those that are to come again.
    ///
    /// After a failure, the rest of a FIFO group is reported failed and not run, or it would overtake; once the
    /// time is up, so is everything that has not been started.
    async fn records(&self, records: Vec<event::Record>, way: &Way<'_>, call: &mut Observed<'_>) -> Body {
        let mut failed = Vec::new();
        let mut blocked: HashSet<String> = HashSet::new();
        for event::Record { message_id, group, request } in records {
            let not_run = if group.as_ref().is_some_and(|group| blocked.contains(group)) {
                Some("an earlier message of its group failed")
            } else if call.by.remaining() < self.db.query_timeout.min(RECORD_MINIMUM) {
                Some("the invocation's time was up before it was its turn")
            } else {
                None
            };
            if let Some(why) = not_run {
                tracing::warn!(messageId = message_id, "message not run, it will come again: {why}");
            } else {
                let outcome = match request {
                    Ok(request) => {
                        let run = self.execute(request, way, call);
                        AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
                    }
                    Err(error) => Err(error),
                };
                let Err(error) = outcome else { continue };
                call.message_failed(&message_id, &error);
            }
            blocked.extend(group);
            failed.push(message_id);
        }
        call.record.failed_messages = failed.len();
        Body::failures(failed.iter().map(String::as_str))
    }

    /// When an invocation must have its reply, less what the reply itself takes.
    fn deadline(&self, invocation: &Invocation) -> Deadline {
        let left = time_left(invocation).unwrap_or(UNLIMITED);
        Deadline::after(left.saturating_sub(self.db.deadline_reserve))
    }

    /// Warns once if the timeouts do not fit into the function's: only an invocation shows that one.
    fn check_timeouts(&self, invocation: &Invocation) {
        if let Some(warning) = time_left(invocation).and_then(|left| self.misfit(left)) {
            tracing::warn!("{warning}");
        }
    }

    /// What is wrong with timeouts that do not fit into the function's, of which this much is left.
    fn misfit(&self, left: Duration) -> Option<String> {
        // Timeouts are whole seconds, of which a little has gone by.
        let timeout = Duration::from_secs(left.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX));
        let Db { connect_timeout, query_timeout, deadline_reserve, .. } = self.db;
        let sum = connect_timeout + query_timeout + deadline_reserve;
        (sum > timeout).then(|| {
            format!(
                "DB_CONNECT_TIMEOUT + DB_QUERY_TIMEOUT + DB_DEADLINE_RESERVE = {connect_timeout:?} + \
                 {query_timeout:?} + {deadline_reserve:?} = {sum:?}, more than the function's timeout, of \
                 which {timeout:?} are left: a slow call will be cut short by the invocation's deadline. Raise \
                 the function's timeout or lower the others"
            )
        })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Queries(error) => error.fmt(f),
            Self::NotBuiltIn(engine) => {
                write!(f, "the engine {} is not built into this binary", engine.name())
            }
            Self::NoDefaultQuery { name, known } => {
                let more = if known.len() > MENTIONED { " …" } else { "" };
                let known = known.iter().take(MENTIONED).map(|name| format!("`{name}`")).collect::<Vec<_>>();
                let known = known.join(", ");
                write!(
                    f,
                    "LAMBDA_RDS_DEFAULT_QUERY names `{name}`, and there is no such query. Allowed: {known}{more}"
                )
            }
            Self::OpenApi { file, reason } => write!(
                f,
                "LAMBDA_RDS_OPENAPI names {}, which {reason}. `lambda-rds openapi --output FILE` writes one; `true` \
                 makes it of the query files",
                file.display()
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        Self::Queries(error)
    }
}

/// How the reply to an event goes.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    /// What its body may take.
    limits: Limits,
    wanted: &'a Wanted,
    request_id: &'a str,
    /// Whether it is a stream, of which rows may leave while they are written.
    leaving: Option<Leaving<'a>>,
}

/// Where rows leave.
#[derive(Debug, Clone, Copy)]
struct Leaving<'a> {
    source: &'a Source,
    /// `None` where nobody wants them.
    outlet: Option<&'a Outlet>,
}

/// One invocation, watched: what it did and what it cost, for its line in the log.
struct Observed<'a> {
    app: &'a App,
    record: observe::Record,
    started: Instant,
    by: Deadline,
    trace: Trace,
}

impl<'a> Observed<'a> {
    fn new(app: &'a App, source: &'static str, invocation: &Invocation, by: Deadline) -> Self {
        let record = observe::Record {
            request_id: invocation.request_id.clone(),
            trace_id: invocation.trace_id.clone(),
            source,
            cold: !app.warm.swap(true, Ordering::Relaxed),
            ..observe::Record::default()
        };
        Self { app, record, started: Instant::now(), by, trace: Trace::default() }
    }

    /// Keeps the SQL of what failed: of the step that did, or of the first where it was none in particular.
    fn failed(&mut self, steps: &[Step<'_>], error: &Error) {
        let step = steps.get(error.step().unwrap_or(0));
        self.record.sql = step.map(|step| step.query.sql().to_owned());
    }

    /// Tells of a message that failed: the line of the invocation is about all of them.
    fn message_failed(&mut self, message_id: &str, error: &Error) {
        self.record.failed_faults += u32::from(error.fault().status() >= 500);
        tracing::error!(
            messageId = message_id,
            code = error.fault().code(),
            sqlstate = error.sqlstate(),
            step = error.step(),
            sql = self.record.sql.take(),
            values = self.record.values.take(),
            "message failed, it will come again: {error}"
        );
    }

    /// What is to be told of it.
    fn finish(self, outcome: &Result<Body>) -> observe::Record {
        let Trace { cost, query, retries, pinned, rows, flights } = self.trace;
        if pinned > 0 && !self.app.told_of_pins.swap(true, Ordering::Relaxed) {
            tracing::warn!(pinned, "{PINNED}");
        }
        let mut record = self.record;
        record.total = self.started.elapsed();
        if cost.connects > 0 {
            record.connect = Some(cost.connect);
            record.phases = cost.phases;
            record.connects = cost.connects;
        }
        record.query_time = (!query.is_zero()).then_some(query);
        record.retries = retries;
        record.pinned = pinned;
        record.rows = rows;
        record.flights = flights;
        match outcome {
            Ok(body) => record.bytes = body.json.len() as u64,
            Err(error) => record.failure = Some(error.into()),
        }
        record
    }
}

/// What is to be told of an invocation that has its reply.
#[must_use = "an invocation has its line in the log"]
pub(crate) struct Untold<'a> {
    record: observe::Record,
    span: tracing::Span,
    platform: &'a Platform,
}

impl Untold<'_> {
    /// Writes the line in the log and that of the metrics.
    pub(crate) fn tell(self) {
        self.span.in_scope(|| self.record.emit(self.platform));
    }
}

fn millis_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What is left of the invocation's time; `None` where nobody stops it.
fn time_left(invocation: &Invocation) -> Option<Duration> {
    let deadline = UNIX_EPOCH + Duration::from_millis(invocation.deadline_ms?);
    Some(deadline.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
}

/// Plans the steps of a list; a step that cannot be planned is named by its index.
fn numbered<'q>(steps: impl Iterator<Item = Result<Step<'q>>>) -> Result<Vec<Step<'q>>> {
    steps.enumerate().map(|(index, step)| step.map_err(|error| error.at_step(index))).collect()
}

/// The same body, told as one that was given before, if it was.
fn marked(mut body: Body, replayed: bool) -> Body {
    if replayed {
        body.headers.push(("idempotency-replayed", "true".to_owned()));
    }
    body
}

/// A query, who it is for, and its parameters bound.
fn step<'q>(query: &'q Query, params: &Params, origin: &Origin) -> Result<Step<'q>> {
    // Who may not come in is not told what is wrong with what they sent.
    let caller = query.caller(params, origin)?;
    Ok(Step::new(query, query.bind(params, origin)?, caller))
}

/// A step that may stand beside others in one transaction.
fn joined(step: Step<'_>) -> Result<Step<'_>> {
    if step.query.is_paged() {
        return Err(Error::told(
            Fault::BadEvent,
            format!("The query `{}` is read page by page. Call it by itself.", step.query.name()),
        ));
    }
    if step.query.transaction() {
        return Ok(step);
    }
    Err(Error::told(
        Fault::BadEvent,
        format!("The query `{}` cannot be part of a transaction. Call it by itself.", step.query.name()),
    )
    .with_detail("its file says `-- transaction: none`, or the server commits it by itself"))
}

/// The OpenAPI document that the function serves, if it does.
fn openapi(
    function: &Function,
    platform: &Platform,
    queries: &Queries,
) -> Result<Option<Vec<u8>>, StartError> {
    match &function.openapi {
        OpenApi::Off => Ok(None),
        OpenApi::Made => {
            let document = openapi::document(queries, function, &openapi::Rows::new(), &About::of(platform));
            Ok(Some(document.into_bytes()))
        }
        OpenApi::File(file) => {
            let wrong = |reason: String| StartError::OpenApi { file: file.clone(), reason };
            let bytes = std::fs::read(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
                .map_err(|error| wrong(format!("is not JSON: {error}")))?;
            Ok(Some(bytes))
        }
    }
}

fn quotes(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n')).count()
}

/// The longest that any statement may run: a session has one limit on the server, for all of them.
fn longest(queries: &Queries, default: Duration) -> Duration {
    queries.iter().filter_map(Query::timeout).fold(default, Duration::max)
}

fn unsaid(raised: Raised) -> Error {
    Error::new(Fault::Internal, format!("bug: a reply has no head: {raised}"))
}

fn panicked() -> Error {
    Error::new(Fault::Internal, "a bug: the call panicked, see the line above")
}

fn no_diagnose() -> Error {
    Error::told(Fault::BadEvent, "`diagnose` is off.").with_detail("set LAMBDA_RDS_DIAGNOSE=true")
}

/// What is said once, when RDS Proxy has pinned a connection.
const PINNED: &str = "RDS Proxy keeps a database connection for this environment alone (pinning), so that it shares \
     nothing while the environment's session lasts: count one connection per environment, as without a proxy. \
     On MySQL every query does that, since all are prepared statements; then the proxy is of use for failovers and \
     credentials only, and DB_HOST may as well be the database's. On PostgreSQL it is a query with a text above 16 KB, \
     or with state that outlives its transaction: sequences by name, set_config, advisory locks of the session, \
     temporary tables. The metric Pinned counts such statements by query";
/// How many queries an error names.
const MENTIONED: usize = 20;
/// What a list of tools may wait for the database to tell of their rows.
const LEARN_TIMEOUT: Duration = Duration::from_secs(2);
/// Of it, what may be left for one more question: one that is broken off takes its session with it.
const LEARN_SPARE: Duration = Duration::from_millis(500);
/// Lambda gives INIT 10 s; what is not there by then is started over.
const INIT_TIMEOUT: Duration = Duration::from_secs(8);
/// Outside Lambda nobody stops a call; its query's timeout does.
const UNLIMITED: Duration = Duration::from_secs(24 * 3600);
/// A message is not started with less time than this left, so that it is not cut off in the middle.
const RECORD_MINIMUM: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::answers::Answers;
    use crate::backend::{
        Access, CancelHandle, Done, Effect, Fixed, Frame, Session, State, Statement, Target,
    };
    use crate::config::Sources;
    use crate::describe::{Described, Description};
    use crate::queries::Dialect;

    /// An engine with a bug: statements that say so panic.
    #[derive(Debug, Default)]
    struct Buggy {
        connects: AtomicUsize,
        described: Arc<AtomicUsize>,
    }

    #[derive(Debug)]
    struct BuggySession(State, Arc<AtomicUsize>);

    impl Backend for Buggy {
        fn engine(&self) -> Engine {
            Engine::Sqlite
        }

        fn dialect(&self) -> Dialect {
            Dialect::Sqlite
        }

        fn connect<'a>(&'a self, _to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Session>>> {
            self.connects.fetch_add(1, Ordering::Relaxed);
            let described = Arc::clone(&self.described);
            Box::pin(async { Ok(Box::new(BuggySession(State::Idle, described)) as Box<dyn Session>) })
        }
    }

    impl Session for BuggySession {
        fn run<'a>(
            &'a mut self,
            frame: Frame,
            statements: &'a [&'a Statement],
            answers: &'a mut Answers<'_>,
        ) -> BoxFuture<'a, Result<()>> {
            if let Frame::Begin(_) = frame {
                self.0 = State::InTransaction;
            }
            Box::pin(async move {
                for statement in statements {
                    assert!(!statement.sql.contains("bug"), "a bug");
                    answers.end(Done::default());
                }
                Ok(())
            })
        }

        fn ask<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
            unreachable!("nothing is asked")
        }

        fn announce<'a>(
            &'a mut self,
            statements: &'a [&'a Statement],
            _access: Access,
            _shortest: Duration,
        ) -> BoxFuture<'a, Result<Vec<Effect>>> {
            Box::pin(async move { Ok(vec![Effect::Undone; statements.len()]) })
        }

        fn effect<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Effect>> {
            Box::pin(async { Ok(Effect::Undone) })
        }

        fn pins(&self, statement: &Statement) -> bool {
            statement.sql.contains("pinned")
        }

        fn describe<'a>(&'a mut self, _statement: &'a Statement) -> BoxFuture<'a, Result<Described>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(Described::Statement(Description::default())) })
        }

        fn begin(&mut self, _access: Access) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
            self.0 = State::Idle;
            Box::pin(async { Ok(()) })
        }

        fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn autocommit(&mut self, _write: bool) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
            Box::pin(async { Ok(()) })
        }

        fn flights(&self) -> Option<u64> {
            None
        }

        fn state(&self) -> State {
            self.0
        }

        fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
            None
        }

        fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn many_tools_are_asked_about_by_several_lists() {
        let tool = |at| format!("-- name: t{at} :many\n-- tool: Tool {at}\n-- One of many.\nSELECT {at};\n");
        let (app, backend) = buggy(&(0..5).map(tool).collect::<String>());
        let described = || backend.described.load(Ordering::Relaxed);
        let mut learned = tools::Learned::default();
        // There is never time for two.
        let (by, spare) = (Deadline::after(Duration::from_secs(600)), Duration::from_secs(3600));
        for asked in 1..=5 {
            assert_eq!(learned.more(&app, by, spare).await.unwrap(), asked == 5);
            assert_eq!(described(), asked);
        }
        assert!(learned.more(&app, by, spare).await.unwrap());
        // With time for all, the first list asks about all, and the second about none.
        for _ in 0..2 {
            app.list_tools(by).await.unwrap();
            assert_eq!(described(), 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_does_not_wait_for_another_longer_than_for_the_database() {
        let (app, backend) = buggy("-- name: t :many\n-- tool: Tool\n-- A tool.\nSELECT 1;\n");
        let other = app.learned.lock().await;
        let begun = tokio::time::Instant::now();
        let list = app.list_tools(Deadline::after(Duration::from_secs(600))).await.unwrap();
        assert_eq!((begun.elapsed().as_secs(), backend.described.load(Ordering::Relaxed)), (2, 0));
        assert!(std::str::from_utf8(&list.json).unwrap().contains("\"t\""));
        drop(other);
    }

    fn buggy(text: &str) -> (App, Arc<Buggy>) {
        let env = [("DB_ENGINE", "sqlite"), ("DB_NAME", "x")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let Config { db, function, platform, .. } =
            Config::read(&Sources { env, ..Sources::default() }, &Engine::ALL).unwrap();
        let files = [("q.sql".to_owned(), text.to_owned())];
        let queries = Queries::parse(&files, Engine::Sqlite, Dialect::Sqlite).unwrap();
        let backend = Arc::new(Buggy::default());
        let engine = Arc::clone(&backend) as Arc<dyn Backend>;
        (App::assemble(db, function, platform, queries, engine, Arc::new(Fixed)).unwrap(), backend)
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_failure_and_its_session_is_dropped() {
        let text = "-- name: fine :many\nSELECT 1;\n-- name: buggy :many\nSELECT 'bug';\n\
                    -- name: pinned :many\nSELECT 'pinned';\n";
        let (app, backend) = buggy(text);
        let invocation = Invocation { request_id: "r".to_owned(), ..Invocation::default() };
        let check = async |query: &str, want: &str, connects: usize| {
            let event = format!(r#"{{"query":"{query}"}}"#);
            let reply = app.handle(event.as_bytes(), &invocation).await.unwrap();
            let reply = serde_json::to_string(&reply).unwrap();
            assert!(reply.contains(want), "{query}: {reply}");
            assert_eq!(backend.connects.load(Ordering::Relaxed), connects, "{query}");
        };
        check("fine", r#""statusCode":200"#, 1).await;
        check("fine", r#""statusCode":200"#, 1).await;
        check("buggy", r#"\"code\":\"internal\""#, 1).await;
        check("fine", r#""statusCode":200"#, 2).await;
        assert!(!app.told_of_pins.load(Ordering::Relaxed));
        check("pinned", r#""statusCode":200"#, 2).await;
        assert!(app.told_of_pins.load(Ordering::Relaxed));

        // Each statement that pins counts for the metric, wherever in an event it is.
        for (event, pinned) in [
            (r#"{"query":"fine"}"#, 0),
            (r#"{"query":"pinned"}"#, 1),
            (r#"{"transaction":[{"query":"pinned"},{"query":"fine"},{"query":"pinned"}]}"#, 2),
            (r#"{"batch":{"query":"pinned","params":[{},{},{}]}}"#, 3),
        ] {
            let (_, untold) = app.answer(event.as_bytes(), &invocation).await;
            assert_eq!(untold.record.pinned, pinned, "{event}");
        }
    }
}
