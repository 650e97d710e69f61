//! The function in Lambda: INIT, the loop of invocations, and how a failed INIT is told.
//!
//! Runtime API: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, LambdaInvocation, Runtime, service_fn};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, Client};
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, StartError};
use crate::deadline::Deadline;
use crate::event::Invocation;
use crate::reply::Raised;

/// Runs the function: builds the application with `start`, opens its first session, serves invocations until
/// Lambda ends the environment.
///
/// What `start` says went wrong is printed and posted to Lambda as the INIT error.
pub fn main(start: impl FnOnce() -> Result<App, StartError>) -> ExitCode {
    // One invocation at a time, and all waiting is for sockets: a second thread would only cost.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no async runtime: {error}")),
    };
    runtime.block_on(async {
        match start() {
            Ok(app) => serve(app).await,
            Err(error) => {
                let printed = fail(&error.to_string());
                // Outside Lambda there is nobody to post it to, and it has been printed.
                let _ = post_init_error(&error).await;
                printed
            }
        }
    })
}

async fn serve(app: App) -> ExitCode {
    if !app.platform().lambda {
        return fail(
            "this program is a Lambda function's `bootstrap`, and there is no Lambda here \
             (AWS_LAMBDA_RUNTIME_API). On your own machine run the command `lambda-rds invoke`",
        );
    }
    let app = Arc::new(app);
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return fail(&format!("SIGTERM cannot be listened for: {error}")),
    };
    // Not dropped before the sessions are closed: what it runs is to be cancelled, not abandoned.
    let mut served = pin!(invocations(Arc::clone(&app)));
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

/// INIT, and then one invocation after the other, for ever.
async fn invocations(app: Arc<App>) -> Result<(), BoxError> {
    // Lambda ends INIT when the runtime and every extension have asked for their first event.
    let register = Deadline::after(REGISTER_TIMEOUT).bound(register());
    let (registered, ()) = tokio::join!(register, app.warm());
    match registered.unwrap_or_else(|_| Err("registering as an extension was not answered".into())) {
        Ok(extension) => drop(tokio::spawn(extension)),
        Err(error) => {
            tracing::warn!("Lambda will not send SIGTERM, so sessions end with the process: {error}");
        }
    }
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let app = Arc::clone(&app);
        async move {
            let LambdaEvent { payload, context } = event;
            app.handle(payload.get().as_bytes(), &invocation(context)).await
        }
    });
    Runtime::new(handler).layer(MapRequestLayer::new(quote_garbage)).run_concurrent().await
}

/// Registers an extension that listens for nothing: Lambda sends SIGTERM only to environments that have one.
/// Costs one question to a local address, asked while the first session opens. Gives what the extension has to
/// do, which is to wait for an event that never comes.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>
async fn register() -> Result<impl Future<Output = ()>, BoxError> {
    let client = Client::builder().build()?;
    let request = lambda_runtime_api_client::build_request()
        .method("POST")
        .uri("/2020-01-01/extension/register")
        .header("lambda-extension-name", "lambda-rds")
        .body(Body::from(r#"{"events":[]}"#))?;
    let answer = client.call(request).await?;
    if !answer.status().is_success() {
        return Err(format!("registering as an extension was answered with {}", answer.status()).into());
    }
    let id = answer.headers().get(EXTENSION_ID).ok_or("an extension was registered without an id")?;
    let next = lambda_runtime_api_client::build_request()
        .method("GET")
        .uri("/2020-01-01/extension/event/next")
        .header(EXTENSION_ID, id)
        .body(Body::empty())?;
    Ok(async move {
        if let Err(error) = client.call(next).await {
            tracing::debug!("the extension's wait ended: {error}");
        }
    })
}

fn invocation(context: Context) -> Invocation {
    Invocation {
        request_id: context.request_id,
        trace_id: context.xray_trace_id,
        deadline_ms: Some(context.deadline),
    }
}

/// Turns an event that is not JSON into a JSON string, which is an unknown event like any other and gets our
/// reply; the runtime would answer it with a Rust type's name.
fn quote_garbage(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if serde_json::from_slice::<&RawValue>(&invocation.body).is_err() {
        let text = String::from_utf8_lossy(&invocation.body);
        if let Ok(quoted) = serde_json::to_vec(&text) {
            invocation.body = Bytes::from(quoted);
        }
    }
    invocation
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
        .header("lambda-runtime-function-error-type", INIT_ERROR)
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
const REGISTER_TIMEOUT: Duration = Duration::from_secs(1);
const EXTENSION_ID: &str = "lambda-extension-identifier";

/// Lambda's convention is `Category.Reason`.
const INIT_ERROR: &str = "Runtime.InitError";
