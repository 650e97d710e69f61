//! The function in Lambda: INIT, the loop of invocations, and how a failed INIT is told.
//!
//! Runtime API: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, LambdaInvocation, Runtime, service_fn};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, Client};
use serde_json::value::RawValue;

use crate::app::{App, StartError};
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
    let ended = runtime.block_on(async {
        match start() {
            Ok(app) => serve(app).await,
            Err(error) => {
                let printed = fail(&error.to_string());
                // Outside Lambda there is nobody to post it to, and it has been printed.
                let _ = post_init_error(&error).await;
                printed
            }
        }
    });
    // Dropped, it would wait for a thread that is still looking up a host name.
    runtime.shutdown_background();
    ended
}

async fn serve(app: App) -> ExitCode {
    if !app.platform().lambda {
        return fail(
            "this program is a Lambda function's `bootstrap`, and there is no Lambda here \
             (AWS_LAMBDA_RUNTIME_API). On your own machine run the command `lambda-rds invoke`",
        );
    }
    app.warm().await;
    let app = Arc::new(app);
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let app = Arc::clone(&app);
        async move {
            let LambdaEvent { payload, context } = event;
            app.handle(payload.get().as_bytes(), &invocation(context)).await
        }
    });
    let served = Runtime::new(handler).layer(MapRequestLayer::new(quote_garbage)).run_concurrent().await;
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the Lambda Runtime API failed: {error}")),
    }
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

/// Lambda's convention is `Category.Reason`.
const INIT_ERROR: &str = "Runtime.InitError";
