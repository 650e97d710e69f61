//! The function in Lambda: INIT, the loop of invocations, and how a failed INIT is told.
//!
//! Runtime API: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use lambda_runtime::{Context, Diagnostic};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, Client};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::app::{App, StartError};
use crate::config::Platform;
use crate::deadline::Deadline;
use crate::error::{Error, Fault};
use crate::event::Invocation;
use crate::reply::{Raised, Reply};
use crate::stream::{self, Inlet};

/// Runs the function: builds the application with `start`, opens its first session, serves invocations until
/// Lambda ends the environment.
///
/// What `start` says went wrong is printed and posted to Lambda as the INIT error.
pub fn main(start: impl FnOnce() -> Result<App, StartError>) -> ExitCode {
    let runtime = match threads(Platform::from_env().max_concurrency).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no async runtime: {error}")),
    };
    let ended = runtime.block_on(async {
        match start() {
            Ok(app) => serve(app).await,
            Err(error) => {
                let printed = fail(&error.to_string());
                // Outside Lambda there is nobody to post it to; and it has been printed in any case.
                if Platform::from_env().runtime_api {
                    let _ = Deadline::after(ANSWER_TIMEOUT).bound(post_init_error(&error)).await;
                }
                printed
            }
        }
    });
    // Dropped, it would wait for a thread that is still looking up a host name.
    runtime.shutdown_background();
    ended
}

/// With one invocation at a time all waiting is for sockets, and a second thread would only cost. Several at once have
/// as many as there are processors.
fn threads(max_concurrency: usize) -> tokio::runtime::Builder {
    if max_concurrency <= 1 {
        return tokio::runtime::Builder::new_current_thread();
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(processors.min(max_concurrency));
    builder
}

async fn serve(app: App) -> ExitCode {
    let platform = app.platform();
    if !platform.runtime_api {
        return fail(
            "this program is a Lambda function's `bootstrap`, and there is no Lambda here \
             (AWS_LAMBDA_RUNTIME_API). On your own machine run the command `lambda-rds invoke`",
        );
    }
    if platform.function_name.is_none() || platform.function_version.is_none() || platform.memory_mb.is_none()
    {
        return fail(
            "Lambda sets AWS_LAMBDA_FUNCTION_NAME, AWS_LAMBDA_FUNCTION_VERSION and \
             AWS_LAMBDA_FUNCTION_MEMORY_SIZE, and whatever runs this program in its place must do so, too",
        );
    }
    let api = match Client::builder().with_pool_size(app.platform().max_concurrency).build() {
        Ok(client) => Arc::new(client),
        Err(error) => return fail(&format!("no client of the Lambda Runtime API: {error}")),
    };
    let mut terminate = match termination() {
        Ok(terminate) => terminate,
        Err(error) => return fail(&format!("SIGTERM cannot be listened for: {error}")),
    };
    let app = Arc::new(app);
    // Not dropped before the sessions are closed: what it runs is to be cancelled, not abandoned.
    let mut served = pin!(invocations(Arc::clone(&app), api));
    tokio::select! {
        served = &mut served => match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the Lambda Runtime API failed: {error}")),
        },
        _ = terminate.recv() => {
            app.close().await;
            ExitCode::SUCCESS
        }
    }
}

/// What Lambda sends an environment that it ends.
#[cfg(unix)]
fn termination() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
}

/// Its like at a desk; Lambda itself is Linux.
#[cfg(windows)]
fn termination() -> std::io::Result<tokio::signal::windows::CtrlC> {
    tokio::signal::windows::ctrl_c()
}

/// INIT, and then one invocation after the other, for ever; several at once where Lambda says so.
async fn invocations(app: Arc<App>, api: Arc<Client>) -> Result<(), BoxError> {
    // Lambda ends INIT when the runtime and every extension have asked for their first event.
    let register = Deadline::after(ANSWER_TIMEOUT).bound(register(&api));
    let (registered, ()) = tokio::join!(register, app.warm());
    match registered.unwrap_or_else(|_| Err("registering as an extension was not answered".into())) {
        Ok(extension) => drop(tokio::spawn(extension)),
        Err(error) => {
            tracing::warn!("Lambda will not send SIGTERM, so sessions end with the process: {error}");
        }
    }
    let mut workers = JoinSet::new();
    for _ in 0..app.platform().max_concurrency {
        workers.spawn(work(Arc::clone(&app), Arc::clone(&api)));
    }
    // They end only if the Runtime API does.
    match workers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

/// One invocation after the other. The loop of lambda_runtime is not taken: it posts errors as `unhandled` where our code
/// belongs, and it reads the client context as texts. An AgentCore Gateway that hands on headers puts an object there, and
/// what that loop cannot read ends the environment.
async fn work(app: Arc<App>, api: Arc<Client>) -> Result<(), BoxError> {
    loop {
        let next = lambda_runtime_api_client::build_request()
            .method("GET")
            .uri("/2018-06-01/runtime/invocation/next")
            .body(Body::empty())?;
        let (head, mut body) = api.call(next).await?.into_parts();
        // So local stand-ins of Lambda say that there is nothing yet.
        if head.status == http::StatusCode::NO_CONTENT {
            continue;
        }
        if !head.status.is_success() {
            return Err(format!("asking for the next invocation was answered with {}", head.status).into());
        }
        // Into one place as it comes, since an event may be large.
        let mut event = BytesMut::with_capacity(length(&head.headers).min(SET_ASIDE));
        while let Some(frame) = body.frame().await {
            if let Ok(part) = frame?.into_data() {
                event.extend_from_slice(&part);
            }
        }
        invoked(&app, &api, &head.headers, event.freeze()).await?;
    }
}

/// How long a body is, as far as its sender has said.
fn length(headers: &HeaderMap) -> usize {
    let told = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    told.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// Registers an extension that listens for nothing: Lambda sends SIGTERM only to environments that have one.
/// Costs one question to a local address, asked while the first session opens. Gives what the extension has to
/// do, which is to wait for an event that never comes.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>
async fn register(api: &Client) -> Result<impl Future<Output = ()> + use<>, BoxError> {
    let request = lambda_runtime_api_client::build_request()
        .method("POST")
        .uri("/2020-01-01/extension/register")
        .header("lambda-extension-name", "lambda-rds")
        // Nothing else is asked on this connection for a long time.
        .header("connection", "close")
        .body(Body::from(r#"{"events":[]}"#))?;
    let answer = api.call(request).await?;
    if !answer.status().is_success() {
        return Err(format!("registering as an extension was answered with {}", answer.status()).into());
    }
    let id = answer.headers().get(EXTENSION_ID).ok_or("an extension was registered without an id")?;
    let next = lambda_runtime_api_client::build_request()
        .method("GET")
        .uri("/2020-01-01/extension/event/next")
        .header(EXTENSION_ID, id)
        .body(Body::empty())?;
    let waiting = api.call(next);
    Ok(async move {
        if let Err(error) = waiting.await {
            tracing::debug!("the extension's wait ended: {error}");
        }
    })
}

/// Serves one invocation and posts what came of it: a reply as a response, what is raised as an error.
async fn invoked(app: &App, api: &Client, headers: &HeaderMap, event: Bytes) -> Result<(), BoxError> {
    let invocation = told(headers);
    if app.streams() {
        return streamed(app, api, headers, event, &invocation).await;
    }
    let (outcome, untold) = match AssertUnwindSafe(app.answer(event, &invocation)).catch_unwind().await {
        Ok((outcome, untold)) => (outcome.map_err(Diagnostic::from), Some(untold)),
        Err(_) => (Err(internal()), None),
    };
    let request = answer(headers, &invocation, outcome)?;
    let tell = async {
        // The answer goes first: whoever waits for it does not wait for our log. Lambda freezes nothing before we
        // ask for the next invocation.
        tokio::task::yield_now().await;
        if let Some(untold) = untold {
            untold.tell();
        }
    };
    tokio::join!(send(api, request), tell);
    Ok(())
}

/// The same for a function whose replies may be streams. The next invocation is not asked for before one has been taken
/// to its end.
async fn streamed(
    app: &App,
    api: &Client,
    headers: &HeaderMap,
    event: Bytes,
    invocation: &Invocation,
) -> Result<(), BoxError> {
    let (outlet, inlet) = stream::channel();
    let answered = async {
        let answered = AssertUnwindSafe(app.answer_by(event, invocation, outlet)).catch_unwind().await;
        let (outcome, untold) = match answered {
            Ok((outcome, untold)) => (outcome.map_err(Diagnostic::from), Some(untold)),
            Err(_) => (Err(internal()), None),
        };
        // The end of the reply is on its way by now, or nothing is.
        tokio::task::yield_now().await;
        if let Some(untold) = untold {
            untold.tell();
        }
        outcome
    };
    let (outcome, sent) = tokio::join!(answered, send_stream(api, headers, invocation, inlet));
    let request = match (outcome, sent?) {
        // All is said, also of what has failed behind the beginning.
        (Ok(None), _) | (Err(_), true) => return Ok(()),
        (Ok(Some(reply)), _) => answer(headers, invocation, Ok(reply))?,
        (Err(raised), false) => answer(headers, invocation, Err(raised))?,
    };
    send(api, request).await;
    Ok(())
}

/// Posts a reply while it is written, if it is one that is, and tells that.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>
async fn send_stream(
    api: &Client,
    headers: &HeaderMap,
    invocation: &Invocation,
    mut inlet: Inlet,
) -> Result<bool, BoxError> {
    let Some(head) = inlet.head().await else { return Ok(false) };
    let (mut sender, body) = Body::channel();
    let request = post(headers, &invocation.request_id, "response")
        .header("lambda-runtime-function-response-mode", "streaming")
        .header("transfer-encoding", "chunked")
        .header("trailer", ERROR_TYPE)
        .header("trailer", ERROR_BODY)
        .header("content-type", head.content_type)
        .body(body)?;
    let feed = async move {
        if let Some(mut prelude) = head.prelude {
            prelude.extend_from_slice(&PRELUDE_END);
            sender.send_data(prelude.into()).await?;
        }
        while let Some(part) = inlet.next().await {
            match part {
                Ok(bytes) => sender.send_data(bytes).await?,
                Err(raised) => sender.send_trailers(trailers(&Diagnostic::from(raised))?).await?,
            }
        }
        Ok::<_, BoxError>(())
    };
    // Why the rest is not taken any more, the answer says.
    let (_, ()) = tokio::join!(feed, send(api, request));
    Ok(true)
}

/// What tells Lambda that a reply has failed after it had begun.
fn trailers(raised: &Diagnostic) -> Result<HeaderMap, BoxError> {
    let mut trailers = HeaderMap::new();
    trailers.insert(ERROR_TYPE, raised.error_type.parse()?);
    trailers.insert(ERROR_BODY, BASE64.encode(serde_json::to_vec(raised)?).parse()?);
    Ok(trailers)
}

/// The request that tells how an invocation ended which is no stream.
fn answer(
    headers: &HeaderMap,
    invocation: &Invocation,
    outcome: Result<Reply, Diagnostic>,
) -> Result<http::Request<Body>, BoxError> {
    Ok(match outcome {
        Ok(reply) => post(headers, &invocation.request_id, "response").body(whole(reply))?,
        Err(raised) => post(headers, &invocation.request_id, "error")
            .header(ERROR_TYPE, &raised.error_type)
            .body(json(&raised)?)?,
    })
}

/// A reply as the body of the request that posts it.
fn whole(reply: Reply) -> Body {
    match reply.into_pieces() {
        (None, rest) => Body::from(rest),
        (Some(before), rest) => Body::new(Pieces([before.into(), rest.into()].into())),
    }
}

/// A body of known length in pieces. hyper hands the kernel all of them at once.
struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A request that tells how the invocation ended.
fn post(invoked: &HeaderMap, request_id: &str, how: &str) -> http::request::Builder {
    let request = lambda_runtime_api_client::build_request()
        .method("POST")
        .uri(format!("/2018-06-01/runtime/invocation/{request_id}/{how}"));
    // By this Lambda tells an answer that comes too late, and may be another invocation's, from the one it waits
    // for.
    match invoked.get(INVOCATION_ID) {
        Some(id) => request.header(INVOCATION_ID, id),
        None => request,
    }
}

/// Posts it. What goes wrong is logged: the next invocation may go better, and an error would end the environment.
async fn send(api: &Client, request: http::Request<Body>) {
    match api.call(request).await {
        Ok(answer) if answer.status().is_success() => {}
        Ok(answer) => tracing::error!(status = answer.status().as_u16(), "Lambda did not take the answer"),
        Err(error) => tracing::error!("the answer did not reach Lambda: {error}"),
    }
}

fn json(value: &impl Serialize) -> Result<Body, BoxError> {
    Ok(Body::from(serde_json::to_vec(value)?))
}

fn internal() -> Diagnostic {
    let fault = Fault::Internal;
    Diagnostic { error_type: fault.code().to_owned(), error_message: fault.advice().to_owned() }
}

/// What the headers of an event tell of its invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>
fn told(headers: &HeaderMap) -> Invocation {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let invocation = Invocation {
        request_id: text("lambda-runtime-aws-request-id").unwrap_or_default(),
        tenant_id: text("lambda-runtime-aws-tenant-id").filter(|id| !id.is_empty()),
        trace_id: text("lambda-runtime-trace-id"),
        deadline_ms: text("lambda-runtime-deadline-ms").and_then(|millis| millis.parse().ok()),
        ..Invocation::default()
    };
    match text("lambda-runtime-client-context") {
        Some(context) => invocation.with_client_context(&context),
        None => invocation,
    }
}

/// For handlers of one's own that leave the loop to lambda_runtime.
impl From<&Context> for Invocation {
    fn from(context: &Context) -> Self {
        let invocation = Self {
            request_id: context.request_id.clone(),
            tenant_id: context.tenant_id.clone(),
            trace_id: context.xray_trace_id.clone(),
            deadline_ms: Some(context.deadline),
            ..Self::default()
        };
        match context.client_context.as_ref().and_then(|context| serde_json::to_string(context).ok()) {
            Some(context) => invocation.with_client_context(&context),
            None => invocation,
        }
    }
}

/// For handlers of one's own: code and message are for the caller, the details stay behind. Log the error first.
impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.fault().code().to_owned(), error_message: error.message().to_owned() }
    }
}

impl From<Raised> for Diagnostic {
    fn from(raised: Raised) -> Self {
        Self { error_type: raised.code.to_owned(), error_message: raised.message }
    }
}

async fn post_init_error(error: &StartError) -> Result<(), BoxError> {
    let diagnostic = Diagnostic { error_type: INIT_ERROR.to_owned(), error_message: error.to_string() };
    let request = lambda_runtime_api_client::build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header(ERROR_TYPE, INIT_ERROR)
        .body(Body::from(serde_json::to_vec(&diagnostic)?))?;
    Client::builder().build()?.call(request).await?;
    Ok(())
}

fn fail(reason: &str) -> ExitCode {
    // Not by tracing: its subscriber is set up from the very configuration that may have failed.
    #[expect(clippy::print_stderr, reason = "the one place where a failed start is told")]
    {
        eprintln!("lambda-rds: {reason}");
    }
    ExitCode::FAILURE
}

/// Whoever answers is on the same machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// What is set aside at most for an event before it has come. Lambda's are of 6 MB at most.
const SET_ASIDE: usize = 32 << 20;
const EXTENSION_ID: &str = "lambda-extension-identifier";
/// What Lambda shows in its telemetry as the type of an error.
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
/// What stands in a trailer behind that type: an error as JSON, in base64.
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
/// What parts the prelude of a stream from its body.
const PRELUDE_END: [u8; 8] = [0; 8];
/// Newer versions of the Runtime API have it beside the request id.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
/// Lambda's convention is `Category.Reason`.
const INIT_ERROR: &str = "Runtime.InitError";
