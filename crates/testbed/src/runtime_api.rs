//! A stand-in for the Lambda Runtime API, as
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html> describes it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::background::{self, lock};
use crate::standin::{Handler, Reply, Server, json};

/// The function's ARN in every invocation.
pub const FUNCTION_ARN: &str = "arn:aws:lambda:eu-central-1:123456789012:function:lambda-rds-test";

/// What Lambda takes as the reply to a synchronous invocation: 6 MB and a little, in bytes.
pub const RESPONSE_LIMIT: usize = 6 * 1024 * 1024 + 100;

/// The type of a stream that begins with a prelude.
pub const HTTP_RESPONSE: &str = "application/vnd.awslambda.http-integration-response";

/// How long after the function's timeout an answer is still waited for, so that a test sees a late one as late.
const GRACE: Duration = Duration::from_secs(5);

/// A Lambda Runtime API on a free port. A clone is another handle; the server stops with the last.
#[derive(Debug, Clone)]
pub struct RuntimeApi {
    api: Arc<Api>,
    server: Arc<Server>,
    timeout: Duration,
    tenant_id: Option<String>,
}

impl RuntimeApi {
    /// Starts the server. Invocations get a function timeout of 30 s until [`Self::with_timeout`].
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start() -> Result<Self> {
        let api = Arc::new(Api::default());
        let server = Arc::new(Server::start(Arc::clone(&api), None)?);
        Ok(Self { api, server, timeout: Duration::from_secs(30), tenant_id: None })
    }

    /// The same server, with this function timeout in the invocations made through the returned handle.
    #[must_use]
    pub fn with_timeout(mut self, function_timeout: Duration) -> Self {
        self.timeout = function_timeout;
        self
    }

    /// The same server, where the function has tenant isolation and the invocations made through the returned handle are
    /// this tenant's.
    #[must_use]
    pub fn for_tenant(mut self, id: impl Into<String>) -> Self {
        self.tenant_id = Some(id.into());
        self
    }

    /// Where it listens: the value of `AWS_LAMBDA_RUNTIME_API` is this as `host:port`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Hands `event` to the next poller and waits for its answer. Any number may wait at once.
    ///
    /// # Errors
    /// If there is no answer by 5 s after the function's timeout. Nothing is killed then; Lambda would.
    pub async fn invoke(&self, event: impl Into<Bytes>) -> Result<Outcome> {
        self.invoke_with(event, None).await
    }

    /// The same with a client context, as the caller of Lambda's Invoke may give one: JSON.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_with(
        &self,
        event: impl Into<Bytes>,
        client_context: Option<String>,
    ) -> Result<Outcome> {
        match self.begin(event, client_context).await? {
            Begun::Whole(outcome) => Ok(outcome),
            Begun::Streaming(streaming) => bail!("the function streams its reply: {streaming:?}"),
        }
    }

    /// Hands `event` to the next poller and waits until its answer begins, which may be a stream.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn begin(&self, event: impl Into<Bytes>, client_context: Option<String>) -> Result<Begun> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let request_id = format!("5a3d1c9e-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let started = Instant::now();
        // Forgotten again however this ends, so that a late answer gets the 400 that Lambda would give.
        let _pending = Pending { api: &self.api, request_id: request_id.clone() };
        lock(&self.api.state).pending.insert(request_id.clone(), answer);
        let deadline = SystemTime::now() + self.timeout;
        let deadline_ms =
            deadline.duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_millis();
        let queued = Queued {
            request_id: request_id.clone(),
            deadline_ms,
            client_context,
            tenant_id: self.tenant_id.clone(),
            event: event.into(),
        };
        lock(&self.api.state).queue.push_back(queued);
        self.api.arrived.notify_one();

        let what = "the function's answer";
        let (answer, at) =
            background::within(self.timeout + GRACE, what, answered).await?.context("no answer")?;
        let elapsed = at.duration_since(started);
        Ok(match answer {
            Sent::Answer(answer) => Begun::Whole(Outcome { answer, elapsed, request_id }),
            Sent::Stream { content_type, pieces } => {
                Begun::Streaming(Streaming { request_id, content_type, pieces })
            }
        })
    }

    /// Waits for the function to report that its INIT failed.
    ///
    /// # Errors
    /// If it has not by `limit`.
    pub async fn init_error(&self, limit: Duration) -> Result<InitError> {
        let mut error = self.api.init_error.subscribe();
        let waiting = async move { error.wait_for(Option::is_some).await.map(|error| error.clone()) };
        background::within(limit, "an error of INIT", waiting).await??.context("no error of INIT")
    }

    /// The error of INIT, if one has been reported.
    #[must_use]
    pub fn reported_init_error(&self) -> Option<InitError> {
        self.api.init_error.borrow().clone()
    }

    /// Waits until `count` pollers wait for an event. Lambda freezes an environment when all of its pollers do;
    /// the first time also says that INIT is over.
    ///
    /// # Errors
    /// If there are fewer by `limit`.
    pub async fn idle(&self, count: usize, limit: Duration) -> Result<()> {
        let mut pollers = self.api.pollers.subscribe();
        let waiting = async move { pollers.wait_for(|&waiting| waiting >= count).await.map(|_| ()) };
        background::within(limit, "the function to ask for an event", waiting).await??;
        Ok(())
    }
}

/// How one invocation ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the function answered.
    pub answer: Answer,
    /// From the moment the event was offered until the answer had arrived.
    pub elapsed: Duration,
    /// The invocation's id, as the function saw it.
    pub request_id: String,
}

impl Outcome {
    /// The response as JSON.
    ///
    /// # Errors
    /// If the function raised an error instead, or the response is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        match &self.answer {
            Answer::Response(body) => serde_json::from_slice(body)
                .with_context(|| format!("the response is not JSON: {}", String::from_utf8_lossy(body))),
            Answer::Error { .. } => bail!("the function raised an error: {:?}", self.answer),
        }
    }

    /// Status and body of a response in an HTTP shape, `{"statusCode": …, "body": "…"}`; the body parsed as JSON,
    /// null if there is none.
    ///
    /// # Errors
    /// If the function raised an error instead, or the response has another shape.
    pub fn reply(&self) -> Result<(u64, serde_json::Value)> {
        let response = self.json()?;
        let status =
            response["statusCode"].as_u64().with_context(|| format!("no statusCode in {response}"))?;
        let body = match response["body"].as_str() {
            None | Some("") => serde_json::Value::Null,
            Some(body) => {
                serde_json::from_str(body).with_context(|| format!("the body is not JSON: {body}"))?
            }
        };
        Ok((status, body))
    }
}

/// An answer that has begun.
#[derive(Debug)]
pub enum Begun {
    /// All of it is there.
    Whole(Outcome),
    /// It comes piece by piece.
    Streaming(Streaming),
}

/// An answer that comes piece by piece, and no faster than its pieces are taken. Dropped, its connection is closed.
#[derive(Debug)]
pub struct Streaming {
    /// The invocation's id, as the function saw it.
    pub request_id: String,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    pieces: mpsc::Receiver<Piece>,
}

/// What comes of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body.
    Bytes(Bytes),
    /// What stands behind the body.
    Trailers(HeaderMap),
    /// The end, in words: all has come that was to come.
    End,
}

impl Streaming {
    /// The next piece. `None` behind the end, or if the connection was closed without one.
    ///
    /// # Errors
    /// If nothing has come by `limit`.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<Piece>> {
        tokio::time::timeout(limit, self.pieces.recv())
            .await
            .with_context(|| format!("waited {limit:?} for a piece of a stream"))
    }

    /// All the rest of it.
    ///
    /// # Errors
    /// If nothing has come for as long as `limit`.
    pub async fn collect(mut self, limit: Duration) -> Result<Streamed> {
        let mut streamed = Streamed {
            request_id: self.request_id.clone(),
            content_type: self.content_type.clone(),
            ..Streamed::default()
        };
        while let Some(piece) = self.next(limit).await? {
            match piece {
                Piece::Bytes(bytes) => {
                    streamed.pieces += 1;
                    streamed.bytes.extend_from_slice(&bytes);
                }
                Piece::Trailers(trailers) => streamed.trailers = Some(trailers),
                Piece::End => streamed.whole = true,
            }
        }
        Ok(streamed)
    }
}

/// A stream that has ended.
#[derive(Debug, Clone, Default)]
pub struct Streamed {
    /// The invocation's id, as the function saw it.
    pub request_id: String,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// All that has come, with the prelude.
    pub bytes: Vec<u8>,
    /// In how many pieces.
    pub pieces: usize,
    /// What stood behind the body.
    pub trailers: Option<HeaderMap>,
    /// Whether the last chunk has come that ends a message of HTTP.
    pub whole: bool,
}

impl Streamed {
    /// The prelude of a response to HTTP and its body: what a gateway makes of it.
    ///
    /// # Errors
    /// If there is no prelude, or not a good one.
    pub fn response(&self) -> Result<(serde_json::Value, &[u8])> {
        if self.content_type.as_deref() != Some(HTTP_RESPONSE) {
            bail!("the stream's type is {:?}", self.content_type);
        }
        let end = self.bytes.windows(8).position(|bytes| bytes == [0; 8]).context("no end of a prelude")?;
        if end > 16 * 1024 {
            bail!("the prelude takes {end} bytes");
        }
        let prelude = serde_json::from_slice(&self.bytes[..end]).context("the prelude is not JSON")?;
        Ok((prelude, &self.bytes[end + 8..]))
    }

    /// What the trailers say went wrong, in the midst of it: the type, and the body as JSON.
    ///
    /// # Errors
    /// If the trailers are not as the Runtime API has them.
    pub fn failure(&self) -> Result<Option<(String, serde_json::Value)>> {
        let Some(trailers) = &self.trailers else { return Ok(None) };
        let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
        let error_type = text("lambda-runtime-function-error-type").context("no type of the error")?;
        let body = text("lambda-runtime-function-error-body").context("no body of the error")?;
        let body = BASE64.decode(body).context("the error's body is not base64")?;
        let body = serde_json::from_slice(&body).context("the error's body is not JSON")?;
        Ok(Some((error_type.to_owned(), body)))
    }
}

/// What a function can answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Posted to the invocation's `response`.
    Response(Bytes),
    /// Posted to the invocation's `error`.
    Error {
        /// The header `Lambda-Runtime-Function-Error-Type`, if there was one.
        error_type: Option<String>,
        /// The body: `{"errorType": …, "errorMessage": …}`.
        body: Bytes,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(body) => f.debug_tuple("Response").field(&String::from_utf8_lossy(body)).finish(),
            Self::Error { error_type, body } => f
                .debug_struct("Error")
                .field("error_type", error_type)
                .field("body", &String::from_utf8_lossy(body))
                .finish(),
        }
    }
}

/// An error of INIT, as the function reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitError {
    /// The header `Lambda-Runtime-Function-Error-Type`, if there was one.
    pub error_type: Option<String>,
    /// The body: `{"errorType": …, "errorMessage": …}`.
    pub body: String,
}

/// The state that server and handles share.
#[derive(Debug, Default)]
struct Api {
    state: Mutex<State>,
    /// Told once for each event that is queued.
    arrived: Notify,
    /// How many requests for the next event are waiting.
    pollers: watch::Sender<usize>,
    init_error: watch::Sender<Option<InitError>>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Queued>,
    pending: HashMap<String, oneshot::Sender<(Sent, Instant)>>,
}

/// How an invocation was answered.
#[derive(Debug)]
enum Sent {
    Answer(Answer),
    Stream { content_type: Option<String>, pieces: mpsc::Receiver<Piece> },
}

#[derive(Debug)]
struct Queued {
    request_id: String,
    deadline_ms: u128,
    client_context: Option<String>,
    tenant_id: Option<String>,
    event: Bytes,
}

/// An invocation that somebody waits for.
struct Pending<'a> {
    api: &'a Api,
    request_id: String,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.api.state);
        state.pending.remove(&self.request_id);
        state.queue.retain(|queued| queued.request_id != self.request_id);
    }
}

/// A poller that waits for an event.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(pollers: &'a watch::Sender<usize>) -> Self {
        pollers.send_modify(|waiting| *waiting += 1);
        Self(pollers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl Handler for Api {
    async fn read(&self, request: Request<Incoming>) -> Result<Reply, Request<Incoming>> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if header("lambda-runtime-function-response-mode") != Some("streaming") {
            return Err(request);
        }
        let content_type = header("content-type").map(str::to_owned);
        let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
        let ["2018-06-01", "runtime", "invocation", id, "response"] = path[..] else { return Err(request) };
        let (sender, pieces) = mpsc::channel(1);
        let taken = self.settle_with(id, Sent::Stream { content_type, pieces });
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(None) };
            let piece = match frame.into_data() {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => Piece::Trailers(trailers),
                    Err(_) => continue,
                },
            };
            if sender.send(piece).await.is_err() {
                return Ok(None);
            }
        }
        let _ = sender.send(Piece::End).await;
        Ok(taken)
    }

    async fn answer(&self, request: Request<Bytes>) -> Reply {
        let (head, body) = request.into_parts();
        let error_type = || {
            let header = head.headers.get("lambda-runtime-function-error-type")?;
            Some(header.to_str().unwrap_or("(not ASCII)").to_owned())
        };
        let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => self.next().await,
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
                self.respond(id, body)
            }
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
                self.settle(id, Answer::Error { error_type: error_type(), body })
            }
            (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
                let body = String::from_utf8_lossy(&body).into_owned();
                self.init_error.send_replace(Some(InitError { error_type: error_type(), body }));
                json(202, r#"{"status":"OK"}"#)
            }
            (&Method::POST, ["2020-01-01", "extension", "register"]) => register(),
            // An extension hears of INVOKE and SHUTDOWN; ours registers for neither and waits for ever.
            (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => std::future::pending().await,
            _ => refuse(404, "NotFound", &format!("no such route: {} {}", head.method, head.uri)),
        }
    }
}

impl Api {
    async fn next(&self) -> Reply {
        let waiting = Waiting::new(&self.pollers);
        loop {
            // Looked for before each wait: one event may have been told to somebody who found another.
            let queued = lock(&self.state).queue.pop_front();
            if let Some(queued) = queued {
                drop(waiting);
                return event(queued);
            }
            self.arrived.notified().await;
        }
    }

    fn respond(&self, id: &str, body: Bytes) -> Reply {
        if body.len() <= RESPONSE_LIMIT {
            return self.settle(id, Answer::Response(body));
        }
        // Lambda's caller then gets this error, whatever the function does next.
        let message =
            format!("Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes).");
        let error_type = "Function.ResponseSizeTooLarge";
        let body = serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string();
        self.settle(id, Answer::Error { error_type: Some(error_type.to_owned()), body: body.into() });
        refuse(413, "RequestEntityTooLarge", &message)
    }

    fn settle(&self, id: &str, answer: Answer) -> Reply {
        self.settle_with(id, Sent::Answer(answer))
    }

    fn settle_with(&self, id: &str, answer: Sent) -> Reply {
        let pending = lock(&self.state).pending.remove(id);
        match pending.map(|pending| pending.send((answer, Instant::now()))) {
            Some(Ok(())) => json(202, r#"{"status":"OK"}"#),
            Some(Err(_)) | None => {
                refuse(400, "InvalidRequestID", "no invocation of that id waits for an answer")
            }
        }
    }
}

fn event(queued: Queued) -> Reply {
    let mut response = Response::builder();
    if let Some(context) = queued.client_context {
        response = response.header("lambda-runtime-client-context", context);
    }
    if let Some(id) = queued.tenant_id {
        response = response.header("lambda-runtime-aws-tenant-id", id);
    }
    let response = response
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", queued.request_id)
        .header("lambda-runtime-deadline-ms", queued.deadline_ms.to_string())
        .header("lambda-runtime-invoked-function-arn", FUNCTION_ARN)
        .header(
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        );
    response.body(Full::new(queued.event)).ok()
}

fn register() -> Reply {
    let body = r#"{"functionName":"lambda-rds-test","functionVersion":"$LATEST","handler":"bootstrap"}"#;
    let mut reply = json(200, body)?;
    let id = http::HeaderValue::from_static("0b9f5ce8-0000-4000-8000-000000000001");
    reply.headers_mut().insert("lambda-extension-identifier", id);
    Some(reply)
}

fn refuse(status: u16, error_type: &str, message: &str) -> Reply {
    json(status, serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string())
}
