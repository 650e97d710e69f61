//! `lambda-rds serve`: the function on a port of this machine.
//!
//! ```text
//! HTTP request ─▶ the event of an HTTP API ─▶ App::handle ─▶ its reply ─▶ HTTP response
//! ```
//!
//! Nothing of a call is decided here: what a gateway would do with a request and a reply is all that this does.

mod event;
mod live;
mod page;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lambda_rds::app::App;
use lambda_rds::error::Fault;
use lambda_rds::event::Invocation;
use lambda_rds::observe::Record;
use lambda_rds::reply::{Raised, Reply};
use lambda_rds::stream::{self, Head, Inlet};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::caller::{Caller, Object};
use crate::failure::{Failure, note};
use crate::output;
pub(crate) use crate::serve::live::Live;
use crate::settings::Settings;
use crate::signals;
use crate::uuid::request_id;

/// Serve the queries over HTTP on this machine, as API Gateway and the function would
#[derive(Debug, Args)]
#[command(after_help = "\
Query files that change are read again. The Lambda API answers as well:
  aws lambda invoke --endpoint-url http://127.0.0.1:9000 --function-name any --payload '{}' out.json

Examples:
  lambda-rds serve
  lambda-rds serve --url postgres://me@localhost/shop?sslmode=disable --claim sub=42")]
pub(crate) struct Serve {
    /// Where to listen: a port, or an address and a port; port 0 takes a free one
    #[arg(long, value_name = "[ADDRESS:]PORT", default_value = "9000")]
    listen: Listen,
    /// Do not tell of each request on stderr
    #[arg(long, short)]
    quiet: bool,
    /// Print the address and the queries as one line of JSON, and requests as lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Serves until it is interrupted.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let claims = self.caller.claims()?;
        let defaults = [("LAMBDA_RDS_LOG", "warn"), ("DB_MAX_CONNECTIONS", SESSIONS)];
        let config = self.settings.config_with(self.json, &defaults).await?;
        let live = Live::start(config)?;
        let unheard = |error| Failure::Setup(format!("{} cannot be listened on: {error}", self.listen.0));
        let listener = TcpListener::bind(self.listen.0).await.map_err(unheard)?;
        let address = listener.local_addr().map_err(unheard)?;
        if !address.ip().is_loopback() {
            note(match claims.is_empty() && self.caller.tenant().is_none() {
                true => "whoever reaches this address may call the queries: nobody is asked who they are",
                false => {
                    "whoever reaches this address may call the queries, and does so as whom --claim, --claims and --tenant \
                     name: nobody is asked who they are"
                }
            });
        }
        self.announce(address, &live.app())?;
        let server = Arc::new(Server {
            live,
            domain: address.to_string(),
            claims,
            tenant: self.caller.tenant().map(str::to_owned),
            quiet: self.quiet,
            json: self.json,
        });
        let served = serve(listener, &server).await;
        server.live.app().close().await;
        served
    }

    /// Says where the queries are, on stdout.
    fn announce(&self, address: SocketAddr, app: &App) -> Result<(), Failure> {
        let url = format!("http://{address}");
        let routes = app.routes();
        let mcp = app.mcp_path().map(|path| format!("{url}{path}"));
        if self.json {
            let queries: Vec<_> = routes
                .iter()
                .map(|route| json!({"query": route.query, "method": route.method, "url": format!("{url}{}", route.path)}))
                .collect();
            let mut whole = json!({"url": url, "queries": queries});
            if let Some(mcp) = mcp {
                whole["mcp"] = mcp.into();
            }
            return output::print(whole.to_string().as_bytes());
        }
        let mut text = format!("{url}\n");
        for route in routes {
            text.push_str(&format!("  {:<4} {url}{}{}\n", route.method, route.path, route.example));
        }
        if let Some(mcp) = mcp {
            text.push_str(&format!("  MCP  {mcp}\n"));
        }
        output::print(text.as_bytes())
    }
}

/// What all connections share.
struct Server {
    live: Live,
    domain: String,
    claims: Object,
    tenant: Option<String>,
    quiet: bool,
    json: bool,
}

/// Accepts connections until somebody interrupts; then lets the requests end that have begun.
async fn serve(listener: TcpListener, server: &Arc<Server>) -> Result<(), Failure> {
    let unheard = |error| Failure::Setup(format!("signals cannot be listened for: {error}"));
    let mut interrupt = signals::interrupt().map_err(unheard)?;
    let mut terminate = signals::terminate().map_err(unheard)?;
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, Arc::clone(server), stopped.clone()));
            }
            // Out of file descriptors, most likely: others must end before there are any.
            Err(error) => {
                note(&format!("a connection cannot be accepted: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drop(stop);
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        // Twice is meant.
        _ = interrupt.recv() => {}
        () = tokio::time::sleep(STOP_TIMEOUT) => {}
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    server: Arc<Server>,
    mut stopped: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, std::convert::Infallible>(server.answer(request, peer.ip()).await) }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    // An error is a client that hung up, which clients may do.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let (method, target) = (head.method.clone(), head.uri.to_string());
        let response = match Limited::new(body, LARGEST).collect().await {
            Ok(_) if page::is_wanted(&method, head.uri.path(), &head.headers) => {
                page::response(&self.live.current(), self.live.function(), &self.claims, &request_id())
            }
            Ok(body) => self.reply(head, &body.to_bytes(), peer).await,
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                gateway(StatusCode::PAYLOAD_TOO_LARGE, &json!({"message": "Request Entity Too Large"}))
            }
            Err(_) => gateway(StatusCode::BAD_REQUEST, &json!({"message": "Bad Request"})),
        };
        self.tell(&method, &target, response.status(), started.elapsed());
        response
    }

    async fn reply(&self, mut head: http::request::Parts, body: &[u8], peer: IpAddr) -> Response<Body> {
        let app = self.live.current();
        let tenant_id = self.tenant.clone();
        let invocation = Invocation { request_id: request_id(), tenant_id, ..Invocation::default() };
        if event::is_invoke(head.uri.path()) {
            return invoke(&app, &head, body, event::with_tenant(invocation, &head)).await;
        }
        let pretended = page::pretended(&mut head.headers);
        let claims = pretended.as_ref().unwrap_or(&self.claims);
        let event = event::http_api(&head, body, peer, &self.domain, claims, &invocation.request_id);
        let event = event.to_string().into_bytes();
        let (outcome, record) = if app.streams() {
            match streamed(&app, event, invocation).await {
                Ok((head, inlet)) => return event::begun(&head, streaming(inlet)).unwrap_or_else(internal),
                Err(answered) => answered,
            }
        } else {
            app.handle_and_tell(&event, &invocation).await
        };
        let mut response = match outcome {
            Ok(reply) => event::response(&reply).unwrap_or_else(internal),
            // The gateway's own words for a function that failed.
            Err(raised) => {
                note(&raised.to_string());
                internal()
            }
        };
        if let Ok(timing) = HeaderValue::from_str(&page::timing(&record)) {
            response.headers_mut().insert(HeaderName::from_static("server-timing"), timing);
        }
        response
    }

    fn tell(&self, method: &Method, target: &str, status: StatusCode, took: Duration) {
        let millis = took.as_secs_f64() * 1e3;
        if self.quiet {
        } else if self.json {
            let line =
                json!({"method": method.as_str(), "url": target, "status": status.as_u16(), "ms": millis});
            crate::failure::tell(&line.to_string());
        } else {
            crate::failure::tell(&format!("{method} {target} {} ({millis:.1} ms)", status.as_u16()));
        }
    }
}

/// Answers Lambda's own API: <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.
async fn invoke(
    app: &Arc<App>,
    head: &http::request::Parts,
    body: &[u8],
    invocation: Invocation,
) -> Response<Body> {
    if head.method != Method::POST {
        return gateway(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "Method Not Allowed"}));
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let Some(invocation) = event::with_client_context(invocation, head) else {
        return gateway(
            StatusCode::BAD_REQUEST,
            &json!({"message": "Client context must be base64 of JSON"}),
        );
    };
    let kind = head.headers.get("x-amz-invocation-type").map_or(&b""[..], HeaderValue::as_bytes);
    let id = invocation.request_id.clone();
    let mut response = match kind {
        b"DryRun" => empty(StatusCode::NO_CONTENT),
        b"Event" => {
            let (app, body) = (Arc::clone(app), body.to_vec());
            tokio::spawn(async move {
                if let Err(raised) = app.handle(&body, &invocation).await {
                    note(&raised.to_string());
                }
            });
            empty(StatusCode::ACCEPTED)
        }
        _ if app.streams() => match streamed(app, body.to_vec(), invocation).await {
            Ok((head, inlet)) => {
                let mut response = Response::new(streaming(inlet));
                let content_type = HeaderValue::from_static(head.content_type);
                response.headers_mut().insert(header::CONTENT_TYPE, content_type);
                response
            }
            Err((outcome, _)) => invoked(outcome),
        },
        _ => invoked(app.handle(body, &invocation).await),
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-amz-executed-version"), HeaderValue::from_static("$LATEST"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}

/// The answer to an invocation that is no stream.
fn invoked(outcome: Result<Reply, Raised>) -> Response<Body> {
    match outcome {
        // As it is: read and written again, its numbers would be others.
        Ok(reply) => json_response(StatusCode::OK, reply.into_json()),
        Err(raised) => {
            let told = json!({"errorType": raised.code, "errorMessage": raised.message});
            let mut response = gateway(StatusCode::OK, &told);
            let unhandled = HeaderValue::from_static("Unhandled");
            response.headers_mut().insert(HeaderName::from_static("x-amz-function-error"), unhandled);
            response
        }
    }
}

/// Lets the function answer, and gives its reply when that begins; or the whole, if it is no stream.
async fn streamed(
    app: &Arc<App>,
    event: Vec<u8>,
    invocation: Invocation,
) -> Result<(Head, Inlet), (Result<Reply, Raised>, Record)> {
    let (outlet, mut inlet) = stream::channel_of_any_http();
    let app = Arc::clone(app);
    // It goes on while the response is sent; nobody there, and it ends by itself.
    let answering = tokio::spawn(async move { app.stream(&event, &invocation, outlet).await });
    if let Some(head) = inlet.head().await {
        return Ok((head, inlet));
    }
    match answering.await {
        Ok((Ok(Some(reply)), record)) => Err((Ok(reply), record)),
        Ok((Err(raised), record)) => Err((Err(raised), record)),
        Ok((Ok(None), record)) => Err((Err(nothing()), record)),
        Err(_) => Err((Err(nothing()), Record::default())),
    }
}

/// The function has not answered, which is a bug of ours.
fn nothing() -> Raised {
    Raised { code: Fault::Internal.code(), message: Fault::Internal.advice().to_owned() }
}

/// A body that comes while it is sent. Broken off, the response has no end.
fn streaming(inlet: Inlet) -> Body {
    let parts = inlet.into_stream().map(|part| {
        if let Err(raised) = &part {
            note(&format!("the response was broken off: {raised}"));
        }
        part.map(Frame::data)
    });
    StreamBody::new(parts).boxed_unsync()
}

/// A body that is there.
fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The body of a response.
type Body = UnsyncBoxBody<Bytes, Raised>;

/// What comes from the gateway, not from the function.
fn gateway(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    json_response(status, body.to_string().into_bytes())
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn internal() -> Response<Body> {
    gateway(StatusCode::INTERNAL_SERVER_ERROR, &json!({"message": "Internal Server Error"}))
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listen(SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(Self(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse()
            .map(Self)
            .map_err(|_| "write a port such as 9000, or an address such as 127.0.0.1:9000".to_owned())
    }
}

/// What Lambda takes as the event of an invocation that is waited for: 6 MB.
const LARGEST: usize = 6 * 1024 * 1024;
/// How many requests are served at once, unless DB_MAX_CONNECTIONS says: each environment of a function has one
/// session, but there are many of them.
pub(crate) const SESSIONS: &str = "8";
/// What has begun may take so long after an interrupt.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                text.parse::<Listen>().ok(),
                expected.map(|text| Listen(text.parse().unwrap())),
                "{text}"
            );
        };
        check("9000", Some("127.0.0.1:9000"));
        check("0", Some("127.0.0.1:0"));
        check("localhost:81", Some("127.0.0.1:81"));
        check("0.0.0.0:81", Some("0.0.0.0:81"));
        check("[::1]:81", Some("[::1]:81"));
        check("127.0.0.1", None);
        check("99999", None);
    }
}
