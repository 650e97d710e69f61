//! The function in Lambda: INIT, the loop of invocations, and how a failed INIT is told.
//!
//! Runtime API: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::io;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::header::{CONTENT_TYPE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;
use lambda_runtime::{Context, Diagnostic};
use tokio::task::JoinSet;

use self::api::{Address, Api, Body, Failure};
use crate::app::{App, StartError};
use crate::config::Platform;
use crate::deadline::{self, Deadline};
use crate::error::{Error, Fault};
use crate::event::Invocation;
use crate::reply::{Raised, Reply};
use crate::stream::{Inlet, channel};

mod api;

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
        deadline::keep_alarm();
        match start() {
            Ok(app) => serve(app).await,
            Err(error) => {
                let printed = fail(&error.to_string());
                // Outside Lambda there is nobody to post it to; and it has been printed in any case.
                if let Some(api) = Platform::from_env().runtime_api {
                    let _ = Deadline::after(ANSWER_TIMEOUT).bound(post_init_error(&api, &error)).await;
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
    let Some(api) = &platform.runtime_api else {
        return fail(
            "this program is a Lambda function's `bootstrap`, and there is no Lambda here \
             (AWS_LAMBDA_RUNTIME_API). On your own machine run the command `lambda-rds invoke`",
        );
    };
    if platform.function_name.is_none() || platform.function_version.is_none() || platform.memory_mb.is_none()
    {
        return fail(
            "Lambda sets AWS_LAMBDA_FUNCTION_NAME, AWS_LAMBDA_FUNCTION_VERSION and \
             AWS_LAMBDA_FUNCTION_MEMORY_SIZE, and whatever runs this program in its place must do so, too",
        );
    }
    let api = match Address::parse(api) {
        Ok(address) => address,
        Err(why) => return fail(&format!("AWS_LAMBDA_RUNTIME_API is {api:?}: {why}")),
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
async fn invocations(app: Arc<App>, api: Address) -> Result<(), Failure> {
    // Lambda ends INIT when the runtime and every extension have asked for their first event.
    let register = Deadline::after(ANSWER_TIMEOUT).bound(register(Api::new(api.clone())));
    let (registered, ()) = tokio::join!(register, app.warm());
    match registered.unwrap_or_else(|_| Err("registering as an extension was not answered".into())) {
        Ok(extension) => drop(tokio::spawn(extension)),
        Err(error) => {
            tracing::warn!("Lambda will not send SIGTERM, so sessions end with the process: {error}");
        }
    }
    let mut workers = JoinSet::new();
    for _ in 0..app.platform().max_concurrency {
        workers.spawn(work(Arc::clone(&app), Api::new(api.clone())));
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
async fn work(app: Arc<App>, mut api: Api) -> Result<(), Failure> {
    loop {
        let next = api.address().request(Method::GET, "/2018-06-01/runtime/invocation/next")?;
        let event = api.ask(next.map(|()| api::whole(Bytes::new()))).await?;
        // So local stand-ins of Lambda say that there is nothing yet.
        if event.status == StatusCode::NO_CONTENT {
            continue;
        }
        if !event.status.is_success() {
            return Err(format!("asking for the next invocation was answered with {}", event.status).into());
        }
        invoked(&app, &mut api, &event.headers, event.body).await?;
    }
}

/// Registers an extension that listens for nothing: Lambda sends SIGTERM only to environments that have one.
/// Costs one question to a local address, asked while the first session opens. Gives what the extension has to
/// do, which is to wait for an event that never comes.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>
async fn register(mut api: Api) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let mut request = api
        .address()
        .request(Method::POST, "/2020-01-01/extension/register")?
        .map(|()| api::whole(r#"{"events":[]}"#));
    request.headers_mut().insert(EXTENSION_NAME, HeaderValue::from_static("lambda-rds"));
    let answer = api.ask(request).await?;
    if !answer.status.is_success() {
        return Err(format!("registering as an extension was answered with {}", answer.status).into());
    }
    let id = answer.headers.get(EXTENSION_ID).ok_or("an extension was registered without an id")?;
    let mut next = api
        .address()
        .request(Method::GET, "/2020-01-01/extension/event/next")?
        .map(|()| api::whole(Bytes::new()));
    next.headers_mut().insert(EXTENSION_ID, id.clone());
    Ok(async move {
        if let Err(error) = api.ask(next).await {
            tracing::debug!("the extension's wait ended: {error}");
        }
    })
}

/// Serves one invocation and posts what came of it: a reply as a response, what is raised as an error.
async fn invoked(app: &App, api: &mut Api, headers: &HeaderMap, event: Bytes) -> Result<(), Failure> {
    let invocation = told(headers);
    if app.streams() {
        // So that who does not stream has no room for it.
        return Box::pin(streamed(app, api, headers, event, &invocation)).await;
    }
    let (outcome, untold) = {
        // Pinned where it is made: it has kilobytes, which each owner more would copy.
        let answering = pin!(app.answer(event, &invocation));
        match AssertUnwindSafe(answering).catch_unwind().await {
            Ok((outcome, untold)) => (outcome.map_err(Diagnostic::from), Some(untold)),
            Err(_) => (Err(internal()), None),
        }
    };
    let request = answer(api.address(), headers, &invocation, outcome)?;
    let tell = async {
        if let Some(untold) = untold {
            untold.tell();
        }
    };
    // The answer goes first, as far as Lambda takes it at once: whoever waits for it does not wait for our log. Lambda
    // freezes nothing before we ask for the next invocation.
    tokio::join!(biased; send(api, request), tell);
    Ok(())
}

/// The same for a function whose replies may be streams. The next invocation is not asked for before one has been taken
/// to its end.
async fn streamed(
    app: &App,
    api: &mut Api,
    headers: &HeaderMap,
    event: Bytes,
    invocation: &Invocation,
) -> Result<(), Failure> {
    let (outlet, inlet) = channel();
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
        (Ok(Some(reply)), _) => answer(api.address(), headers, invocation, Ok(reply))?,
        (Err(raised), false) => answer(api.address(), headers, invocation, Err(raised))?,
    };
    send(api, request).await;
    Ok(())
}

/// Posts a reply while it is written, if it is one that is, and tells that.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>
async fn send_stream(
    api: &mut Api,
    headers: &HeaderMap,
    invocation: &Invocation,
    mut inlet: Inlet,
) -> Result<bool, Failure> {
    let Some(head) = inlet.head().await else { return Ok(false) };
    let prelude = head.prelude.map(|mut prelude| {
        prelude.extend_from_slice(&PRELUDE_END);
        Ok(Frame::data(prelude.into()))
    });
    let rest = inlet.into_stream().map(|part| match part {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(raised) => trailers(&Diagnostic::from(raised)).map(Frame::trailers).map_err(io::Error::other),
    });
    let body = StreamBody::new(stream::iter(prelude).chain(rest)).boxed_unsync();
    let mut request = post(api.address(), headers, &invocation.request_id, "response", Either::Right(body))?;
    let told = request.headers_mut();
    told.insert(RESPONSE_MODE, HeaderValue::from_static("streaming"));
    told.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    told.insert(TRAILER, ERROR_TYPE.into());
    told.append(TRAILER, ERROR_BODY.into());
    told.insert(CONTENT_TYPE, HeaderValue::from_static(head.content_type));
    // Why the rest is not taken any more, the answer says.
    send(api, request).await;
    Ok(true)
}

/// What tells Lambda that a reply has failed after it had begun.
fn trailers(raised: &Diagnostic) -> Result<HeaderMap, Failure> {
    let mut trailers = HeaderMap::new();
    trailers.insert(ERROR_TYPE, raised.error_type.parse()?);
    trailers.insert(ERROR_BODY, BASE64.encode(serde_json::to_vec(raised)?).parse()?);
    Ok(trailers)
}

/// The request that tells how an invocation ended which is no stream.
fn answer(
    api: &Address,
    headers: &HeaderMap,
    invocation: &Invocation,
    outcome: Result<Reply, Diagnostic>,
) -> Result<Request<Body>, Failure> {
    let id = &invocation.request_id;
    match outcome {
        Ok(reply) => post(api, headers, id, "response", api::pieces(reply.into_pieces())),
        Err(raised) => {
            let body = api::whole(serde_json::to_vec(&raised)?);
            let mut request = post(api, headers, id, "error", body)?;
            request.headers_mut().insert(ERROR_TYPE, raised.error_type.parse()?);
            Ok(request)
        }
    }
}

/// A request that tells how the invocation ended.
fn post(
    api: &Address,
    invoked: &HeaderMap,
    request_id: &str,
    how: &str,
    body: Body,
) -> Result<Request<Body>, Failure> {
    let path = ["/2018-06-01/runtime/invocation/", request_id, "/", how].concat();
    let mut request = api.request(Method::POST, &path)?.map(|()| body);
    // By this Lambda tells an answer that comes too late, and may be another invocation's, from the one it waits
    // for.
    if let Some(id) = invoked.get(INVOCATION_ID) {
        request.headers_mut().insert(INVOCATION_ID, id.clone());
    }
    Ok(request)
}

/// Posts it. What goes wrong is logged: the next invocation may go better, and an error would end the environment.
async fn send(api: &mut Api, request: Request<Body>) {
    match api.ask(request).await {
        Ok(answer) if answer.status.is_success() => {}
        Ok(answer) => tracing::error!(status = answer.status.as_u16(), "Lambda did not take the answer"),
        Err(error) => tracing::error!("the answer did not reach Lambda: {error}"),
    }
}

fn internal() -> Diagnostic {
    let fault = Fault::Internal;
    Diagnostic { error_type: fault.code().to_owned(), error_message: fault.advice().to_owned() }
}

/// What the headers of an event tell of its invocation.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-next>
fn told(headers: &HeaderMap) -> Invocation {
    let text = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let invocation = Invocation {
        request_id: text(REQUEST_ID).unwrap_or_default(),
        tenant_id: text(TENANT_ID).filter(|id| !id.is_empty()),
        trace_id: text(TRACE_ID),
        deadline_ms: text(DEADLINE_MS).and_then(|millis| millis.parse().ok()),
        ..Invocation::default()
    };
    match text(CLIENT_CONTEXT) {
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

async fn post_init_error(api: &str, error: &StartError) -> Result<(), Failure> {
    let diagnostic = Diagnostic { error_type: INIT_ERROR.to_owned(), error_message: error.to_string() };
    let mut api = Api::new(Address::parse(api)?);
    let body = api::whole(serde_json::to_vec(&diagnostic)?);
    let mut request = api.address().request(Method::POST, "/2018-06-01/runtime/init/error")?.map(|()| body);
    request.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(INIT_ERROR));
    api.ask(request).await?;
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
const EXTENSION_NAME: HeaderName = HeaderName::from_static("lambda-extension-name");
const EXTENSION_ID: HeaderName = HeaderName::from_static("lambda-extension-identifier");
const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const TENANT_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-tenant-id");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
/// What Lambda shows in its telemetry as the type of an error.
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
/// What stands in a trailer behind that type: an error as JSON, in base64.
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
/// What parts the prelude of a stream from its body.
const PRELUDE_END: [u8; 8] = [0; 8];
/// Newer versions of the Runtime API have it beside the request id.
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
/// Lambda's convention is `Category.Reason`.
const INIT_ERROR: &str = "Runtime.InitError";
