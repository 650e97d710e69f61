//! From a body, or an error, to the reply in the shape that the event's source understands.
//!
//! What a platform takes for success must be one: sources that look at nothing but whether the function failed
//! are [`Raised`] to; the others get a status or a list of failures. Pure.

mod agent;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde::ser::{Error as _, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::config::{DirectErrors, Function};
use crate::error::{Error, Fault, Result};
use crate::event::{Method, Source};
use crate::form::{Coding, Form};
use crate::queries::{BoundFrom, KeyFrom, Queries, Query};
use crate::rows::compress;
use crate::stream;

/// What a successful reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// JSON in UTF-8; or nothing, for a reply without content.
    pub json: Vec<u8>,
    /// Whether the JSON is written as it stands inside a JSON string, as
    /// [`RowWriter::inside_string`](crate::rows::RowWriter::inside_string) does.
    pub inside_string: bool,
    /// What the body is, if it is not JSON: then it is text.
    pub form: Form,
    /// What the bytes are compressed by; then they are no text, and a reply has them in base64.
    pub coding: Option<Coding>,
    /// Whether it depends on the request's `Accept`, and on its `Accept-Encoding`.
    pub negotiated: Negotiated,
    /// The HTTP status.
    pub status: u16,
    /// How long a GET's reply may be kept by whoever sees it; `None` is not at all.
    pub cache: Option<Duration>,
    /// The headers that a browser may send, where that was asked; with commas.
    pub allow_headers: Option<Arc<str>>,
    /// Further headers, with their values.
    pub headers: Vec<(&'static str, String)>,
}

/// On which headers of its request a reply depends that caches must know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// `Accept`
    pub form: bool,
    /// `Accept-Encoding`
    pub coding: bool,
}

impl Body {
    /// A result, which nobody keeps.
    #[must_use]
    pub fn new(json: Vec<u8>) -> Self {
        Self {
            json,
            inside_string: false,
            form: Form::Json,
            coding: None,
            negotiated: Negotiated::default(),
            status: 200,
            cache: None,
            allow_headers: None,
            headers: Vec::new(),
        }
    }

    /// The same, to be kept this long.
    #[must_use]
    pub fn cached(self, cache: Option<Duration>) -> Self {
        Self { cache, ..self }
    }

    /// The reply to [`crate::event::Request::Health`].
    #[must_use]
    pub fn health() -> Self {
        Self::new(br#"{"status":"ok"}"#.to_vec())
    }

    /// The reply to [`crate::event::Request::Preflight`], for a function whose queries read these headers
    /// ([`cors_headers`]).
    #[must_use]
    pub fn preflight(headers: Arc<str>) -> Self {
        Self { status: 204, allow_headers: Some(headers), ..Self::new(Vec::new()) }
    }

    /// The reply to [`crate::event::Request::Records`]: the ids of the messages that are to come again.
    ///
    /// The source must be mapped with `ReportBatchItemFailures`, or SQS takes this for success:
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.
    #[must_use]
    pub fn failures<'a>(message_ids: impl IntoIterator<Item = &'a str>) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Failures<'a> {
            batch_item_failures: Vec<Failure<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Failure<'a> {
            item_identifier: &'a str,
        }
        let failures = message_ids.into_iter().map(|item_identifier| Failure { item_identifier });
        Self::new(json(&Failures { batch_item_failures: failures.collect() }).into_bytes())
    }

    /// The same, compressed if that is wanted and gains. It must not be written for the inside of a string.
    ///
    /// # Errors
    /// [`Fault::Internal`].
    pub(crate) fn compressed(self, coding: Option<Coding>, identity: bool) -> Result<Self> {
        let Some(coding) = coding.filter(|_| self.coding.is_none() && !self.inside_string) else {
            return Ok(self);
        };
        if identity && self.json.len() < compress::LEAST {
            return Ok(self);
        }
        let bytes = compress::whole(coding, &self.json)?;
        if identity && compress::encoded(bytes.len()) >= self.json.len() {
            return Ok(self);
        }
        Ok(Self { json: bytes, coding: Some(coding), ..self })
    }

    /// The same, written as it is itself.
    ///
    /// # Errors
    /// [`Fault::Internal`] if what is to be inside a JSON string could not be.
    pub fn plain(self) -> Result<Self> {
        if !self.inside_string {
            return Ok(self);
        }
        let json = Text::Inside(self.json).plain().map(|json| json.into_owned().into_bytes());
        let json = json
            .map_err(|error| Error::new(Fault::Internal, format!("the body is no JSON string: {error}")))?;
        Ok(Self { json, inside_string: false, ..self })
    }

    fn text(self) -> Result<Text> {
        if self.coding.is_some() {
            return Ok(Text::Base64(self.json));
        }
        if self.inside_string {
            debug_assert!(std::str::from_utf8(&self.json).is_ok(), "the body is not UTF-8");
            return Ok(Text::Inside(self.json));
        }
        utf8(self.json).map(Text::Plain)
    }
}

fn utf8(json: Vec<u8>) -> Result<String> {
    String::from_utf8(json)
        .map_err(|error| Error::new(Fault::Internal, format!("the body is not UTF-8: {error}")))
}

/// The text of a response's body.
#[derive(Debug)]
enum Text {
    Plain(String),
    /// As it stands inside a JSON string. What writes it has looked at each text, and to look at all of it again would
    /// take a thirtieth of a large call.
    Inside(Vec<u8>),
    /// Bytes that are no text.
    Base64(Vec<u8>),
}

impl Text {
    /// How many bytes it has here.
    fn length(&self) -> usize {
        match self {
            Self::Plain(text) => text.len(),
            Self::Inside(bytes) | Self::Base64(bytes) => bytes.len(),
        }
    }

    fn plain(&self) -> serde_json::Result<Cow<'_, str>> {
        match self {
            Self::Plain(text) => Ok(text.into()),
            Self::Inside(text) => {
                serde_json::from_slice(&[b"\"", text.as_slice(), b"\""].concat()).map(Cow::Owned)
            }
            Self::Base64(bytes) => Ok(BASE64.encode(bytes).into()),
        }
    }

    /// The JSON string that it is, between these two.
    fn between(self, before: &[u8], behind: &[u8]) -> Vec<u8> {
        match self.pieces(before, behind) {
            (None, whole) => whole,
            // Moved within its memory: new memory costs more.
            (Some(before), mut rest) => {
                rest.reserve_exact(before.len());
                rest.splice(..0, before);
                rest
            }
        }
    }

    /// The same; what stands before a text that is there already, and then that with what stands behind, are pieces.
    fn pieces(self, before: &[u8], behind: &[u8]) -> (Option<Vec<u8>>, Vec<u8>) {
        let whole = match self {
            Self::Plain(text) => [before, json(&text).as_bytes(), behind].concat(),
            Self::Inside(mut out) => {
                out.reserve_exact(before.len() + behind.len() + 2);
                out.push(b'"');
                out.extend_from_slice(behind);
                return (Some([before, b"\""].concat()), out);
            }
            Self::Base64(bytes) => {
                let mut out =
                    String::with_capacity(before.len() + compress::encoded(bytes.len()) + behind.len() + 2);
                out.push_str(&String::from_utf8_lossy(before));
                out.push('"');
                BASE64.encode_string(bytes, &mut out);
                out.push('"');
                out.push_str(&String::from_utf8_lossy(behind));
                out.into_bytes()
            }
        };
        (None, whole)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.plain().map_err(S::Error::custom)?)
    }
}

/// What is posted to the Runtime API as the invocation's response: [`Reply::into_json`].
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The body alone.
    Raw(Box<RawValue>),
    /// An HTTP response, as the gateways and a direct caller read it.
    Response(Response),
}

impl Reply {
    /// The JSON that `serde_json` makes of it, with a large body not looked at again.
    #[must_use]
    pub fn into_json(self) -> Vec<u8> {
        match self {
            Self::Raw(json) => String::from(Box::<str>::from(json)).into_bytes(),
            Self::Response(response) => response.into_json(),
        }
    }

    /// The same in one piece or in two, for who can send them one behind the other: so a large body is not moved to make
    /// room before it.
    pub(crate) fn into_pieces(self) -> (Option<Vec<u8>>, Vec<u8>) {
        match self {
            Self::Response(response) if response.body.length() >= LARGE => response.into_pieces(),
            small => (None, small.into_json()),
        }
    }
}

/// From which length on a body is worth a piece of its own.
const LARGE: usize = 64 * 1024;

/// An HTTP response in JSON. The source decides which fields there are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    #[serde(flatten)]
    head: Head,
    body: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_base64_encoded: Option<bool>,
}

/// What stands before the body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    status_code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "single")]
    headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "multi")]
    multi_value_headers: Option<Headers>,
    /// Ours sets none; some readers of format 2.0 want the list (`cargo lambda`).
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[&'static str; 0]>,
}

impl Response {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status_code
    }

    /// The head and the body by themselves: <https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html>
    fn into_stream(self) -> Result<(stream::Head, Vec<u8>)> {
        let Head { status_code, headers, .. } = self.head;
        let prelude = Head {
            status_code,
            status_description: None,
            headers,
            multi_value_headers: None,
            cookies: Some([]),
        };
        let body = match self.body {
            Text::Base64(bytes) => bytes,
            text => {
                let plain = text.plain().map_err(|error| {
                    Error::new(Fault::Internal, format!("the body is no JSON string: {error}"))
                })?;
                plain.into_owned().into_bytes()
            }
        };
        let head = stream::Head { prelude: Some(json(&prelude).into_bytes()), content_type: HTTP_RESPONSE };
        Ok((head, body))
    }

    fn into_json(self) -> Vec<u8> {
        let (before, behind) = self.around();
        self.body.between(&before, behind)
    }

    fn into_pieces(self) -> (Option<Vec<u8>>, Vec<u8>) {
        let (before, behind) = self.around();
        self.body.pieces(&before, behind)
    }

    /// What stands before the body's text, and behind it.
    fn around(&self) -> (Vec<u8>, &'static [u8]) {
        let mut before = json(&self.head).into_bytes();
        // The end of the head's object, which goes on.
        before.pop();
        before.extend_from_slice(b",\"body\":");
        let behind: &[u8] = match self.is_base64_encoded {
            None => b"}",
            Some(false) => b",\"isBase64Encoded\":false}",
            Some(true) => b",\"isBase64Encoded\":true}",
        };
        (before, behind)
    }
}

/// A failure that goes to the Runtime API as one: the platform's retries and dead-letter queue take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The stable code of the fault: Lambda's `errorType`.
    pub code: &'static str,
    /// The caller's message with the request id: Lambda's `errorMessage`.
    pub message: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Raised {}

impl Source {
    /// Shapes the reply to an event of this source.
    ///
    /// # Errors
    /// [`Raised`], where this source, or this event, is told of a failure by failing.
    pub fn reply(
        &self,
        outcome: Result<Body>,
        request_id: &str,
        function: &Function,
    ) -> Result<Reply, Raised> {
        match self {
            Self::Direct { raw, on_error, .. } => {
                let raises = on_error.unwrap_or(function.direct_errors) == DirectErrors::Raise;
                match outcome {
                    Err(error) if raises => Err(raised(&error, request_id)),
                    outcome if *raw => {
                        Ok(bare(outcome).unwrap_or_else(|error| Reply::Raw(error_value(&error, request_id))))
                    }
                    outcome => Ok(Reply::Response(response(self, outcome, request_id, function))),
                }
            }
            Self::EventBridge | Self::Sqs | Self::Unserved => {
                bare(outcome).map_err(|error| raised(&error, request_id))
            }
            Self::RestApi { .. } | Self::HttpApi { .. } | Self::FunctionUrl { .. } | Self::Alb { .. } => {
                Ok(Reply::Response(response(self, outcome, request_id, function)))
            }
            // An agent is told, and never by failing: then it could mend nothing.
            Self::AgentCore { .. } => {
                Ok(bare(outcome).unwrap_or_else(|error| Reply::Raw(error_value(&error, request_id))))
            }
            Self::Bedrock(action) => bare(Ok(agent::acted(action, outcome, request_id)))
                .map_err(|error| raised(&error, request_id)),
            Self::Mcp(exchange) => {
                let body = agent::exchanged(exchange, outcome, request_id);
                match exchange.http() {
                    Some(http) => http.reply(Ok(body), request_id, function),
                    None => bare(Ok(body)).map_err(|error| raised(&error, request_id)),
                }
            }
        }
    }
}

impl Source {
    /// Shapes the reply to an event of this source for whoever takes a stream: what stands before the body, and the body.
    ///
    /// # Errors
    /// [`Raised`], as [`reply`](Self::reply).
    pub(crate) fn streamed(
        &self,
        outcome: Result<Body>,
        request_id: &str,
        function: &Function,
    ) -> Result<(stream::Head, Vec<u8>), Raised> {
        let bare = |outcome: Result<Body>| {
            let body = outcome?.plain()?;
            Ok((stream::Head { prelude: None, content_type: body.form.content_type() }, body.json))
        };
        match self {
            Self::Direct { on_error, .. } => {
                let raises = on_error.unwrap_or(function.direct_errors) == DirectErrors::Raise;
                match outcome.and_then(|body| bare(Ok(body))) {
                    Err(error) if raises => Err(raised(&error, request_id)),
                    Err(error) => {
                        let failed = Body::new(error_text(&error, request_id).into_bytes());
                        bare(Ok(failed)).map_err(|error: Error| raised(&error, request_id))
                    }
                    Ok(streamed) => Ok(streamed),
                }
            }
            Self::Mcp(exchange) if let Some(http) = exchange.http() => {
                http.streamed(Ok(agent::exchanged(exchange, outcome, request_id)), request_id, function)
            }
            Self::RestApi { .. } | Self::HttpApi { .. } | Self::FunctionUrl { .. } | Self::Alb { .. } => {
                response(self, outcome, request_id, function)
                    .into_stream()
                    .map_err(|error| raised(&error, request_id))
            }
            Self::EventBridge
            | Self::Sqs
            | Self::Unserved
            | Self::AgentCore { .. }
            | Self::Bedrock(_)
            | Self::Mcp(_) => bare(outcome).map_err(|error| raised(&error, request_id)),
        }
    }
}

/// A failure in the midst of a stream, as the platform is told of it.
pub(crate) fn broken_off(error: &Error, request_id: &str) -> Raised {
    raised(error, request_id)
}

type Headers = Vec<(&'static str, Cow<'static, str>)>;

/// The body as the whole reply.
fn bare(outcome: Result<Body>) -> Result<Reply> {
    let body = outcome?;
    // What is no JSON is a JSON string: who reads this reads JSON.
    let text = match body.form {
        Form::Json => utf8(body.plain()?.json)?,
        Form::Ndjson | Form::Csv => utf8(body.text()?.between(b"", b""))?,
    };
    RawValue::from_string(text)
        .map(Reply::Raw)
        .map_err(|error| Error::new(Fault::Internal, format!("the body is not JSON: {error}")))
}

fn raised(error: &Error, request_id: &str) -> Raised {
    Raised { code: error.fault().code(), message: format!("{} (request id {request_id})", error.message()) }
}

fn response(source: &Source, outcome: Result<Body>, request_id: &str, function: &Function) -> Response {
    let method = source.method();
    let read = matches!(method, Some(Method::Get | Method::Head));
    let mut headers = Headers::with_capacity(6);
    let outcome = outcome.and_then(|mut body| {
        let more = std::mem::take(&mut body.headers);
        headers.extend(more.into_iter().map(|(name, value)| (name, value.into())));
        let told = (body.form, body.coding, body.negotiated);
        let (status, cache, allow) = (body.status, body.cache, body.allow_headers.clone());
        Ok((status, cache, allow, told, body.text()?))
    });
    let mut allow_headers = None;
    let (mut form, mut coding, mut negotiated) = (Form::Json, None, Negotiated::default());
    let (status, max_age, mut body) = match outcome {
        Ok((status, cache, allow, told, body)) => {
            // Less than a second is nothing that the header could say.
            let max_age = cache.map(|cache| cache.as_secs()).filter(|seconds| read && *seconds > 0);
            allow_headers = allow;
            (form, coding, negotiated) = told;
            (status, max_age, body)
        }
        Err(error) => {
            if let Some(after) = error.retry_after() {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                headers.push(("retry-after", seconds.max(1).to_string().into()));
            }
            if let Some(methods) = error.allow() {
                headers.push(("allow", methods.to_owned().into()));
            }
            (error.fault().status(), None, Text::Plain(error_text(&error, request_id)))
        }
    };
    if !WITHOUT_CONTENT.contains(&status) {
        headers.insert(0, ("content-type", form.content_type().into()));
    }
    if let Some(coding) = coding {
        headers.push(("content-encoding", coding.name().into()));
    }
    if method.is_some() {
        let mut vary: Vec<&str> = Vec::new();
        vary.extend(negotiated.form.then_some("accept"));
        vary.extend(negotiated.coding.then_some("accept-encoding"));
        let cache = max_age.map_or("no-store".into(), |seconds| format!("max-age={seconds}").into());
        headers.push(("cache-control", cache));
        if let Some(origin) = &function.cors_origin {
            headers.push(("access-control-allow-origin", origin.clone().into()));
            vary.push("origin");
            if headers.iter().any(|(name, _)| *name == "link") {
                headers.push(("access-control-expose-headers", "link".into()));
            }
        }
        if !vary.is_empty() {
            headers.push(("vary", vary.join(", ").into()));
        }
        if function.cors_origin.is_some() && method == Some(Method::Options) {
            headers.push(("access-control-allow-methods", "GET, HEAD, POST".into()));
            if let Some(allow) = allow_headers {
                headers.push(("access-control-allow-headers", allow.to_string().into()));
            }
            headers.push(("access-control-max-age", "86400".into()));
        }
    }
    if method == Some(Method::Head) {
        body = Text::Plain(String::new());
    }
    let encoded = matches!(body, Text::Base64(_));
    let (single, multi) = match source {
        // A load balancer wants the one that it is set to.
        Source::Alb { multi_value: true, .. } => (None, Some(headers)),
        // API Gateway takes both and keeps one of each pair; who reads the reply in between finds either.
        Source::RestApi { multi_value: true, .. } => (Some(headers.clone()), Some(headers)),
        _ => (Some(headers), None),
    };
    let (alb, rest) = (matches!(source, Source::Alb { .. }), matches!(source, Source::RestApi { .. }));
    Response {
        head: Head {
            status_code: status,
            status_description: alb.then(|| description(status)),
            headers: single,
            multi_value_headers: multi,
            cookies: matches!(source, Source::HttpApi { .. } | Source::FunctionUrl { .. }).then_some([]),
        },
        body,
        is_base64_encoded: (alb || rest || encoded).then_some(encoded),
    }
}

/// The headers that a browser may send to a function of these queries: what a call over HTTP has anyway, and what
/// the queries read (`from header.X`).
#[must_use]
pub fn cors_headers(queries: &Queries, function: &Function) -> Arc<str> {
    let bound = queries.iter().filter(|query| query.http().is_some()).flat_map(Query::params);
    let keys = queries.iter().filter(|query| query.http().is_some()).filter_map(Query::idempotency);
    let keys = keys.filter_map(|idempotency| match &idempotency.from {
        KeyFrom::Header(name) => Some(name.as_str()),
        _ => None,
    });
    let bound = bound.filter_map(|param| match param.bound_from() {
        Some(BoundFrom::Header(name)) => Some(name.as_str()),
        _ => None,
    });
    let mut names: Vec<&str> = bound.chain(keys).filter(|name| !SENT_ANYWAY.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    let mcp = MCP_HEADERS.into_iter().filter(|_| function.mcp);
    SENT_ANYWAY.into_iter().chain(mcp).chain(names).collect::<Vec<_>>().join(", ").into()
}

/// The status line as a load balancer wants it: `200 OK`.
fn description(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!("{status} {}", reason.unwrap_or_default()).trim_end().to_owned()
}

/// The body of every failure, from every source: JSON.
#[must_use]
pub fn error_text(error: &Error, request_id: &str) -> String {
    #[derive(Serialize)]
    struct Outer<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner<'a> {
        code: &'static str,
        message: &'a str,
        retryable: bool,
        request_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<usize>,
    }
    json(&Outer {
        error: Inner {
            code: error.fault().code(),
            message: error.message(),
            retryable: error.fault().retryable(),
            request_id,
            step: error.step(),
        },
    })
}

fn error_value(error: &Error, request_id: &str) -> Box<RawValue> {
    // What serde_json has just written is JSON.
    RawValue::from_string(error_text(error, request_id)).unwrap_or_default()
}

/// JSON of a structure of our own.
fn json(value: &impl Serialize) -> String {
    // Fails only for maps with keys that are no strings and for writers that fail; here is neither.
    serde_json::to_string(value).unwrap_or_default()
}

fn single<S: Serializer>(headers: &Option<Headers>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().flatten().map(|(name, value)| (name, value)))
}

fn multi<S: Serializer>(headers: &Option<Headers>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, value) in headers.iter().flatten() {
        map.serialize_entry(name, &[value])?;
    }
    map.end()
}

/// What a stream is that begins with a prelude.
const HTTP_RESPONSE: &str = "application/vnd.awslambda.http-integration-response";
/// What every function allows: the type of a POST's body, and who the caller is.
const SENT_ANYWAY: [&str; 2] = ["content-type", "authorization"];
/// What clients of the Model Context Protocol send besides.
const MCP_HEADERS: [&str; 3] = ["mcp-protocol-version", "mcp-method", "mcp-name"];
/// A reply without content has no content type either.
const WITHOUT_CONTENT: [u16; 2] = [202, 204];

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use insta::assert_snapshot;

    use crate::config::Engine;
    use crate::event::testing::{settings, show, show_given};
    use crate::event::{Invocation, Record, Request, parse};
    use crate::queries::Dialect;

    use super::*;

    fn written(reply: Result<Reply, Raised>) -> String {
        match reply {
            Ok(reply) => {
                let json = serde_json::to_string(&reply).unwrap();
                assert_eq!(String::from_utf8(reply.into_json()).unwrap(), json);
                json
            }
            Err(raised) => format!("RAISED {raised}"),
        }
    }

    /// What a sample event asks, as whom, and what it gets: a result, and a failure.
    fn sample(event: &str) -> String {
        let invocation = Invocation { request_id: "r-1".into(), ..Invocation::default() };
        let event = parse(event.as_bytes(), &settings(), &invocation);
        let mut lines = format!("{}\n", event.source.name());
        let claims = |call: &crate::value::Origin| match &call.claims {
            Some(claims) => {
                let claims: Vec<String> =
                    claims.iter().map(|(name, value)| format!("{name}={}", show_given(value))).collect();
                format!(" as {}", claims.join(" "))
            }
            None => String::new(),
        };
        let ok = match &event.request {
            Err(error) => {
                let _ = writeln!(lines, "{error}");
                Err(Error::told(error.fault(), error.message().to_owned()))
            }
            Ok(Request::Records(records)) => {
                for Record { message_id, group, request } in records {
                    let asked = request.as_ref().map_or_else(ToString::to_string, show);
                    let _ = writeln!(lines, "{message_id} {group:?} {asked}");
                }
                Ok(Body::failures(records.iter().map(|record| record.message_id.as_str())))
            }
            Ok(request) => {
                let origin =
                    if let Request::Call(call) = request { claims(&call.origin) } else { String::new() };
                let _ = writeln!(lines, "{}{origin}", show(request));
                Ok(match request {
                    Request::Health => Body::health(),
                    Request::Preflight => Body::preflight(cors_headers(&Queries::default(), &settings())),
                    _ => Body::new(br#"[{"id":1,"name":"Zo\u00eb"}]"#.to_vec()),
                })
            }
        };
        if let Ok(body) = ok {
            let _ = writeln!(lines, "{}", written(event.source.reply(Ok(body), "r-1", &settings())));
            let busy = Error::new(Fault::TooManyConnections, "host db.internal")
                .with_retry_after(Duration::from_millis(1200));
            let _ = writeln!(lines, "{}", written(event.source.reply(Err(busy), "r-1", &settings())));
        } else if let Err(error) = ok {
            let _ = writeln!(lines, "{}", written(event.source.reply(Err(error), "r-1", &settings())));
        }
        lines
    }

    macro_rules! sample {
        ($file:literal) => {
            sample(include_str!(concat!("../../tests/events/", $file, ".json")))
        };
    }

    #[test]
    fn api_gateway_v1() {
        assert_snapshot!(sample!("apigw-v1"), @r#"
        api-gateway-v1
        call active_users(active='true', name='100% Zoë+1')
        {"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"]},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]","isBase64Encoded":false}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"multiValueHeaders":{"content-type":["application/json"],"retry-after":["2"],"cache-control":["no-store"]},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}","isBase64Encoded":false}
        "#);
        assert_snapshot!(sample!("apigw-v1-cognito"), @r#"
        api-gateway-v1
        call create_user(name="Zoë") as sub='50d1f8c2-3d4e-4f4b-9f9d-0c8e3a1f7b66' email_verified='true' cognito:username='zoe' exp='Tue Mar 10 00:33:59 UTC 2020'
        {"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"]},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]","isBase64Encoded":false}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"multiValueHeaders":{"content-type":["application/json"],"retry-after":["2"],"cache-control":["no-store"]},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}","isBase64Encoded":false}
        "#);
    }

    #[test]
    fn api_gateway_v2() {
        assert_snapshot!(sample!("apigw-v2"), @r#"
        api-gateway-v2
        call active_users(active='true', tag=["a+b", "c d"]) as claim1='value1' claim2='value2'
        {"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"cookies":[],"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]"}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"cookies":[],"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}"}
        "#);
        assert_snapshot!(sample!("apigw-v2-iam"), @r#"
        api-gateway-v2
        call create_user(name="Zoë") as userArn='arn:aws:iam::1234567890:user/Admin'
        {"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"cookies":[],"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]"}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"cookies":[],"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}"}
        "#);
    }

    #[test]
    fn function_url() {
        assert_snapshot!(sample!("function-url"), @r#"
        function-url
        call active_users(active='true', limit='2') as userArn='arn:aws:iam::111122223333:user/example-user'
        {"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"cookies":[],"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]"}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"cookies":[],"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}"}
        "#);
    }

    #[test]
    fn load_balancer() {
        assert_snapshot!(sample!("alb"), @r#"
        alb
        call active_users(active='true', name='100% Zoë+1')
        {"statusCode":200,"statusDescription":"200 OK","headers":{"content-type":"application/json","cache-control":"no-store"},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]","isBase64Encoded":false}
        {"statusCode":503,"statusDescription":"503 Service Unavailable","headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}","isBase64Encoded":false}
        "#);
        assert_snapshot!(sample!("alb-multi-value"), @r#"
        alb
        call active_users(active='true', tag=["a+b", "c d"])
        {"statusCode":200,"statusDescription":"200 OK","multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"]},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]","isBase64Encoded":false}
        {"statusCode":503,"statusDescription":"503 Service Unavailable","multiValueHeaders":{"content-type":["application/json"],"retry-after":["2"],"cache-control":["no-store"]},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}","isBase64Encoded":false}
        "#);
        assert_snapshot!(sample!("alb-health-check"), @r#"
        alb
        health
        {"statusCode":200,"statusDescription":"200 OK","headers":{"content-type":"application/json","cache-control":"no-store"},"body":"{\"status\":\"ok\"}","isBase64Encoded":false}
        {"statusCode":503,"statusDescription":"503 Service Unavailable","headers":{"content-type":"application/json","retry-after":"2","cache-control":"no-store"},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}","isBase64Encoded":false}
        "#);
    }

    #[test]
    fn queues() {
        assert_snapshot!(sample!("sqs"), @r#"
        sqs
        059f36b4-87a3-44ab-83d2-661975830a7d None call create_user(name="Zoë")
        2e1424d4-f796-459a-8184-9c92662be6da None bad_event: The message is not valid JSON: expected value at line 1 column 1.
        {"batchItemFailures":[{"itemIdentifier":"059f36b4-87a3-44ab-83d2-661975830a7d"},{"itemIdentifier":"2e1424d4-f796-459a-8184-9c92662be6da"}]}
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("sqs-fifo"), @r#"
        sqs
        11d6ee51-4cc7-4302-9e22-7cd8afdaadf5 Some("1") call create_user(name="Zoë")
        {"batchItemFailures":[{"itemIdentifier":"11d6ee51-4cc7-4302-9e22-7cd8afdaadf5"}]}
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("sqs-sns"), @r#"
        sqs
        6b2f4a62-6c6c-4b5f-9d4e-7d1f2f0f8a11 None call create_user(name="Zoë")
        {"batchItemFailures":[{"itemIdentifier":"6b2f4a62-6c6c-4b5f-9d4e-7d1f2f0f8a11"}]}
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("sqs-eventbridge"), @r#"
        sqs
        9f0a2d3c-58cf-4b49-8f4e-2a9b5a6c1d70 None call create_user(name="Zoë")
        {"batchItemFailures":[{"itemIdentifier":"9f0a2d3c-58cf-4b49-8f4e-2a9b5a6c1d70"}]}
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
    }

    #[test]
    fn eventbridge() {
        assert_snapshot!(sample!("eventbridge-scheduled"), @r#"
        eventbridge
        call default()
        [{"id":1,"name":"Zo\u00eb"}]
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("eventbridge-custom"), @r#"
        eventbridge
        call create_user(name="Zoë")
        [{"id":1,"name":"Zo\u00eb"}]
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("eventbridge-ec2"), @r#"
        eventbridge
        bad_event: This function does not know this event. Send {"query": …, "params": {…}}, {"transaction": […]} or {"batch": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge. (its keys: `instance-id`, `state`)
        RAISED bad_event: This function does not know this event. Send {"query": …, "params": {…}}, {"transaction": […]} or {"batch": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge. (request id r-1)
        "#);
    }

    #[test]
    fn direct() {
        assert_snapshot!(sample("{}"), @r#"
        direct
        call default()
        {"statusCode":200,"headers":{"content-type":"application/json"},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]"}
        {"statusCode":503,"headers":{"content-type":"application/json","retry-after":"2"},"body":"{\"error\":{\"code\":\"database_busy\",\"message\":\"The database is busy. Try again later.\",\"retryable\":true,\"requestId\":\"r-1\"}}"}
        "#);
        assert_snapshot!(sample(r#"{"query":"a","reply":"raw"}"#), @r#"
        direct
        call a()
        [{"id":1,"name":"Zo\u00eb"}]
        {"error":{"code":"database_busy","message":"The database is busy. Try again later.","retryable":true,"requestId":"r-1"}}
        "#);
        assert_snapshot!(sample(r#"{"query":"a","reply":"raw","onError":"raise"}"#), @r#"
        direct
        call a()
        [{"id":1,"name":"Zo\u00eb"}]
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
        assert_snapshot!(sample!("scheduler"), @r#"
        direct
        call purge_expired(scheduled="2022-03-22T18:59:43Z")
        {"statusCode":200,"headers":{"content-type":"application/json"},"body":"[{\"id\":1,\"name\":\"Zo\\u00eb\"}]"}
        RAISED database_busy: The database is busy. Try again later. (request id r-1)
        "#);
    }

    #[test]
    fn not_served() {
        assert_snapshot!(sample!("s3"), @r#"
        unserved
        bad_event: Events of `aws:s3` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are.
        RAISED bad_event: Events of `aws:s3` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id r-1)
        "#);
        assert_snapshot!(sample!("sns"), @r#"
        unserved
        bad_event: Events of `aws:sns` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are.
        RAISED bad_event: Events of `aws:sns` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id r-1)
        "#);
        assert_snapshot!(sample!("dynamodb"), @r#"
        unserved
        bad_event: Events of `aws:dynamodb` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are.
        RAISED bad_event: Events of `aws:dynamodb` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id r-1)
        "#);
        assert_snapshot!(sample!("kinesis"), @r#"
        unserved
        bad_event: Events of `aws:kinesis` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are.
        RAISED bad_event: Events of `aws:kinesis` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id r-1)
        "#);
        assert_snapshot!(sample!("cognito-pre-signup"), @r#"
        direct
        bad_event: This function does not know this event. Send {"query": …, "params": {…}}, {"transaction": […]} or {"batch": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge. (its keys: `version`, `triggerSource`, `region`, `userPoolId`, `userName`, `callerContext`, `request`, `response`)
        {"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"This function does not know this event. Send {\\\"query\\\": …, \\\"params\\\": {…}}, {\\\"transaction\\\": […]} or {\\\"batch\\\": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge.\",\"retryable\":false,\"requestId\":\"r-1\"}}"}
        "#);
    }

    #[test]
    fn a_preflight() {
        let function = Function { cors_origin: Some("https://app.example".into()), ..settings() };
        let source = Source::HttpApi { method: Method::Options };
        let text = "-- name: a :one\n-- http: GET\n-- param: x text from header.X-Trace\n\
                    -- param: y text from header.Authorization\nSELECT :x, :y;\n\
                    -- name: b :one\n-- http: GET\n-- param: x text from header.x-trace\nSELECT :x;\n\
                    -- name: hidden :one\n-- param: x text from header.X-Inside\nSELECT :x;\n";
        let files = [("q.sql".to_owned(), text.to_owned())];
        let queries = Queries::parse(&files, Engine::Postgres, Dialect::Postgres).unwrap();
        let reply = |function| {
            written(source.reply(Ok(Body::preflight(cors_headers(&queries, function))), "r-1", function))
        };
        assert_snapshot!(reply(&function), @r#"{"statusCode":204,"headers":{"cache-control":"no-store","access-control-allow-origin":"https://app.example","vary":"origin","access-control-allow-methods":"GET, HEAD, POST","access-control-allow-headers":"content-type, authorization, x-trace","access-control-max-age":"86400"},"cookies":[],"body":""}"#);
        assert_snapshot!(reply(&settings()), @r#"{"statusCode":204,"headers":{"cache-control":"no-store"},"cookies":[],"body":""}"#);
    }

    #[test]
    fn headers() {
        fn check(source: Source, outcome: Result<Body>, name: &str, expected: Option<&str>) {
            let function = Function { cors_origin: Some("https://app.example".into()), ..settings() };
            let reply = written(source.reply(outcome, "r-1", &function));
            let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
            assert_eq!(reply["headers"][name].as_str(), expected, "{reply}");
        }
        let ok = || Body::new(b"[]".to_vec());
        let get = || Source::HttpApi { method: Method::Get };
        let post = || Source::HttpApi { method: Method::Post };
        let kept = |millis| Ok(ok().cached(Some(Duration::from_millis(millis))));
        check(get(), kept(30_000), "cache-control", Some("max-age=30"));
        check(get(), kept(999), "cache-control", Some("no-store"));
        check(get(), Ok(ok()), "cache-control", Some("no-store"));
        check(post(), kept(30_000), "cache-control", Some("no-store"));
        check(Source::HttpApi { method: Method::Head }, kept(30_000), "cache-control", Some("max-age=30"));
        check(Source::DIRECT, kept(30_000), "cache-control", None);
        let error = || Error::new(Fault::TooManyConnections, "");
        check(get(), Err(error()), "cache-control", Some("no-store"));
        check(get(), Err(error()), "retry-after", Some("1"));
        check(get(), Err(Error::new(Fault::Unreachable, "")), "retry-after", None);
        let after = |millis| Err(error().with_retry_after(Duration::from_millis(millis)));
        check(get(), after(0), "retry-after", Some("1"));
        check(get(), after(1001), "retry-after", Some("2"));
        check(Source::DIRECT, after(3000), "retry-after", Some("3"));
        let method = || Err(Error::new(Fault::MethodNotAllowed, "").with_allow("GET, HEAD"));
        check(post(), method(), "allow", Some("GET, HEAD"));
        check(get(), Ok(ok()), "access-control-allow-origin", Some("https://app.example"));
        check(get(), Err(error()), "access-control-allow-origin", Some("https://app.example"));
        check(get(), Ok(ok()), "vary", Some("origin"));
        check(get(), Ok(ok()), "access-control-allow-methods", None);
        check(Source::DIRECT, Ok(ok()), "access-control-allow-origin", None);
    }

    #[test]
    fn forms_and_codings() {
        let csv = || Body { form: Form::Csv, ..Body::new(b"a\r\n\"x\"\r\n".to_vec()) };
        let raw = Source::Direct { raw: true, on_error: None, states: false };
        let reply = |source: Source, body| written(source.reply(Ok(body), "r-1", &settings()));
        assert_snapshot!(reply(Source::DIRECT, csv()), @r#"{"statusCode":200,"headers":{"content-type":"text/csv; charset=utf-8; header=present"},"body":"a\r\n\"x\"\r\n"}"#);
        assert_snapshot!(reply(raw, csv()), @r#""a\r\n\"x\"\r\n""#);
        let negotiated = Negotiated { form: true, coding: true };
        let packed = || Body { coding: Some(Coding::Gzip), negotiated, ..csv() };
        let get = Method::Get;
        assert_snapshot!(reply(Source::HttpApi { method: get }, packed()), @r#"{"statusCode":200,"headers":{"content-type":"text/csv; charset=utf-8; header=present","content-encoding":"gzip","cache-control":"no-store","vary":"accept, accept-encoding"},"cookies":[],"body":"YQ0KIngiDQo=","isBase64Encoded":true}"#);
        assert_snapshot!(reply(Source::RestApi { multi_value: false, http_api: false, method: Method::Head }, packed()), @r#"{"statusCode":200,"headers":{"content-type":"text/csv; charset=utf-8; header=present","content-encoding":"gzip","cache-control":"no-store","vary":"accept, accept-encoding"},"body":"","isBase64Encoded":false}"#);
        let function = Function { cors_origin: Some("*".into()), ..settings() };
        let cors = written(Source::HttpApi { method: get }.reply(Ok(packed()), "r-1", &function));
        assert!(cors.contains(r#""vary":"accept, accept-encoding, origin""#), "{cors}");
    }

    #[test]
    fn failures_of_direct_events() {
        fn check(on_error: Option<DirectErrors>, default: DirectErrors, raises: bool) {
            for raw in [false, true] {
                let source = Source::Direct { raw, on_error, states: false };
                let function = Function { direct_errors: default, ..settings() };
                let reply = source.reply(Err(Error::new(Fault::NotFound, "")), "r-1", &function);
                assert_eq!(reply.is_err(), raises, "{on_error:?} {default:?}");
            }
        }
        check(None, DirectErrors::Reply, false);
        check(None, DirectErrors::Raise, true);
        check(Some(DirectErrors::Reply), DirectErrors::Raise, false);
        check(Some(DirectErrors::Raise), DirectErrors::Reply, true);
    }

    #[test]
    fn errors_tell_the_caller_nothing_of_the_inside() {
        let error = Error::new(Fault::Conflict, "SELECT secret FROM db.internal").at_step(2);
        let text = written(Source::DIRECT.reply(Err(error), "r-1", &settings()));
        assert_snapshot!(text, @r#"{"statusCode":409,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"conflict\",\"message\":\"Another change was in the way. Try again.\",\"retryable\":true,\"requestId\":\"r-1\",\"step\":2}}"}"#);
    }

    #[test]
    fn a_head_has_the_status_and_no_body() {
        let source = Source::FunctionUrl { method: Method::Head };
        let reply = |outcome| written(source.reply(outcome, "r-1", &settings()));
        assert_snapshot!(reply(Ok(Body::new(b"[]".to_vec()))), @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store"},"cookies":[],"body":""}"#);
        assert_snapshot!(reply(Err(Error::new(Fault::NotFound, ""))), @r#"{"statusCode":404,"headers":{"content-type":"application/json","cache-control":"no-store"},"cookies":[],"body":""}"#);
    }

    #[test]
    fn a_body_that_is_no_json_is_a_bug_and_not_a_reply() {
        let raw = Source::Direct { raw: true, on_error: None, states: false };
        let reply = |source: Source, json: &[u8]| {
            written(source.reply(Ok(Body::new(json.to_vec())), "r-1", &settings()))
        };
        for reply in [reply(raw.clone(), b"\xff"), reply(raw, b"[1"), reply(Source::DIRECT, b"\xff")] {
            assert!(reply.contains("internal"), "{reply}");
        }
        assert!(reply(Source::EventBridge, b"[1").starts_with("RAISED internal: "));
    }

    #[test]
    fn a_body_that_is_written_for_the_reply_gives_the_same_one() {
        let json = r#"[{"a \"b\"":"c\\d\n€"}]"#;
        let inside = serde_json::to_string(json).unwrap();
        let inside =
            Body { inside_string: true, ..Body::new(inside.as_bytes()[1..inside.len() - 1].to_vec()) };
        for source in [
            Source::DIRECT,
            Source::Direct { raw: true, on_error: None, states: false },
            Source::Alb { multi_value: true, method: Method::Get },
            Source::Alb { multi_value: false, method: Method::Head },
        ] {
            let reply = |body| written(source.reply(Ok(body), "r-1", &settings()));
            assert_eq!(reply(inside.clone()), reply(Body::new(json.as_bytes().to_vec())));
        }
        assert_eq!(inside.plain().unwrap(), Body::new(json.as_bytes().to_vec()));
    }

    #[test]
    fn a_large_body_is_a_piece_of_its_own_and_the_pieces_are_the_reply() {
        for (length, in_pieces) in [(10, false), (LARGE - 1, false), (LARGE, true), (LARGE + 70_000, true)] {
            for inside_string in [true, false] {
                let reply = || {
                    let body = Body { inside_string, ..Body::new(vec![b'1'; length]) };
                    Source::Alb { multi_value: false, method: Method::Get }.reply(
                        Ok(body),
                        "r-1",
                        &settings(),
                    )
                };
                let (before, mut rest) = reply().unwrap().into_pieces();
                assert_eq!(before.is_some(), in_pieces && inside_string, "{length}");
                rest.splice(..0, before.unwrap_or_default());
                assert_eq!(rest, reply().unwrap().into_json(), "{length}");
            }
        }
    }

    /// The limit counts the body as it will be embedded, and the envelope fits into what is kept for it.
    #[test]
    fn a_full_reply_fits() {
        let function = Function {
            cors_origin: Some("https://a-rather-long-name.of-an.app.example".into()),
            ..settings()
        };
        let method = Method::Get;
        for (source, whole) in [
            (Source::DIRECT, 6_291_556),
            (Source::Direct { raw: true, on_error: None, states: false }, 6_291_556),
            (Source::Direct { raw: false, on_error: None, states: true }, 262_144),
            (Source::RestApi { multi_value: true, http_api: false, method }, 6_291_556),
            (Source::HttpApi { method }, 6_291_556),
            (Source::Alb { multi_value: true, method }, 1_048_576),
        ] {
            let limits = source.limits();
            // Two quotes, and letters; escaped, each quote is a byte more.
            let letters = limits.bytes - 2 - if limits.escaped { 2 } else { 0 };
            let body = Body::new(format!("\"{}\"", "x".repeat(letters)).into_bytes());
            let length = written(source.reply(Ok(body), &"r".repeat(36), &function)).len();
            assert!(length <= whole, "{source:?}: {length}");
        }
    }
}
