//! HTTP requests, as API Gateway (v1 and v2), function URLs and load balancers pass them on.
//!
//! They agree on what a request is and differ in where its parts stand and in who has decoded them:
//!
//! | | path | query string |
//! |---|---|---|
//! | HTTP API, format 2.0 | `rawPath`, decoded (!), with the stage | `rawQueryString`, encoded |
//! | function URL | `rawPath`, encoded | `rawQueryString`, encoded |
//! | HTTP API, format 1.0 | `path`, decoded, with the stage | `multiValueQueryStringParameters`, decoded |
//! | REST API | `path`, encoded, without the stage | the same, decoded |
//! | load balancer | `path`, encoded | the same or `queryStringParameters`, encoded |
//!
//! Decoding exactly once is not pedantry: a gateway chooses route and authorizer by the path that it has
//! decoded, and what we decoded once more would be a second, unguarded name for the same query. (That an HTTP
//! API's `rawPath` is decoded is documented nowhere, but seen: <https://github.com/honojs/hono/issues/2156>,
//! <https://github.com/fastify/aws-lambda-fastify/issues/169>.)

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use crate::config::{Function, OpenApi};
use crate::error::{Error, Fault, Result};
use crate::queries::{HttpMethods, Query};
use crate::reply::Body;
use crate::value::{Given, Origin, Params};

use super::json::{self, Object, bad_event, must_be, quoted};
use super::{Call, Event, Invocation, Method, Request, Source, Wanted, claims, direct, mcp, unknown_query};

/// Reads an HTTP request, if the event is one.
pub(super) fn parse(event: &Object<'_>, function: &Function, invocation: &Invocation) -> Option<Event> {
    // What asks an authorizer looks like a request, but must not be answered like one.
    if asks_authorizer(event) {
        return None;
    }
    let recognised = match event.some("requestContext") {
        None => source(event, &Object::default()).map(|source| (source, Object::default())),
        Some(context) if context.get().starts_with('{') => Object::parse(context.get(), "`requestContext`")
            .map(Object::without_nulls)
            .and_then(|context| Ok((source(event, &context)?, context))),
        Some(_) => return None,
    };
    match recognised {
        Ok((source, context)) => {
            let source = source?;
            match message(event, &context, &source, function, invocation) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(error) => return Some(Event::new(source, Err(error))),
            }
            let mut wanted = Wanted::default();
            let request = request(event, &context, &source, function, invocation, &mut wanted);
            Some(Event { source, request, wanted })
        }
        // A gateway never sends this. Whoever did reads a status, which is what this source replies with.
        Err(error) => Some(Event::new(Source::HttpApi { method: Method::Other }, Err(error))),
    }
}

/// Whether API Gateway asks an authorizer, which it names the type and the ARN of what is called. Others write these
/// keys, too, and leave them empty.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>
fn asks_authorizer(event: &Object<'_>) -> bool {
    let says = |key: &str| event.get(key).and_then(json::string).filter(|text| !text.is_empty());
    says("type").is_some_and(|kind| kind == "REQUEST" || kind == "TOKEN")
        && (says("methodArn").is_some() || says("routeArn").is_some())
}

/// Whether a query may be called with this method: HEAD counts as GET.
///
/// # Errors
/// `unknown_query`, the same as for a query that does not exist, if its file does not open it to HTTP at all;
/// `method_not_allowed` if for other methods only.
pub fn gate(query: &Query, method: Method) -> Result<()> {
    allowed(query.name(), query.http(), method)
}

/// The error for a GET whose body says that it has parameters: they must not be lost silently. Any other body of a
/// GET means nothing (RFC 9110, 9.3.1), and is not looked at.
#[must_use]
pub fn stray_body() -> Error {
    bad_event("A GET has its parameters in the query string, not in a body.")
}

/// The error for a call that no query is there for, or none with this method. What is at the path besides queries
/// has methods, too: our own paths those that read, the base path POST where it takes lists.
#[must_use]
pub fn refusal(call: &Call, function: &Function, error: Error) -> Error {
    let refused = |allow: &str| {
        let message = format!("This path cannot be called with this method, but with {allow}.");
        Error::told(Fault::MethodNotAllowed, message).with_allow(allow)
    };
    match (call.method, call.query.as_deref(), error.fault()) {
        (Some(_), Some("health"), Fault::UnknownQuery) => refused(READING),
        (Some(_), Some("openapi.json"), Fault::UnknownQuery) if function.openapi != OpenApi::Off => {
            refused(READING)
        }
        // The query of that name, if there is one, is reached by GET alone.
        (Some(_), Some(mcp::ENDPOINT), Fault::UnknownQuery) if function.mcp => refused("POST"),
        (Some(Method::Get | Method::Head | Method::Other), None, Fault::UnknownQuery)
            if function.http_batch =>
        {
            refused("POST")
        }
        (Some(_), None, Fault::MethodNotAllowed) if function.http_batch => {
            let others = error.allow().filter(|allow| !allow.contains("POST"));
            others.map(|allow| refused(&format!("{allow}, POST"))).unwrap_or(error)
        }
        _ => error,
    }
}

/// The error for a path under which there is nothing.
pub(super) fn nothing_here() -> Error {
    Error::told(Fault::UnknownQuery, "There is no query at this path.")
}

fn allowed(name: &str, methods: Option<&HttpMethods>, method: Method) -> Result<()> {
    let methods = methods.ok_or_else(|| unknown_query(name))?;
    let callable = match method {
        Method::Get | Method::Head => methods.get,
        Method::Post => methods.post,
        Method::Options | Method::Other => false,
    };
    if callable {
        return Ok(());
    }
    let allow = methods.allow();
    let message = format!("The query {} cannot be called with this method, but with {allow}.", quoted(name));
    Err(Error::told(Fault::MethodNotAllowed, message).with_allow(allow))
}

/// The methods of what only reads.
const READING: &str = "GET, HEAD";

/// Which of the sources this request came through.
fn source(event: &Object<'_>, context: &Object<'_>) -> Result<Option<Source>> {
    let multi_value = event.some("multiValueHeaders").is_some();
    if context.some("elb").is_some() {
        let method = method(event.text("httpMethod")?);
        return Ok(Some(Source::Alb { multi_value, method }));
    }
    if let Some(http) = context.object("http")? {
        let method = method(http.text("method")?);
        let url = context.text("domainName")?.is_some_and(|domain| domain.contains(".lambda-url."));
        return Ok(Some(if url { Source::FunctionUrl { method } } else { Source::HttpApi { method } }));
    }
    if event.has("httpMethod") {
        let method = method(event.text("httpMethod")?);
        // Only an HTTP API says the version of the format.
        return Ok(Some(Source::RestApi { multi_value, http_api: event.has("version"), method }));
    }
    Ok(None)
}

fn method(name: Option<Cow<'_, str>>) -> Method {
    match name.as_deref() {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        Some("OPTIONS") => Method::Options,
        _ => Method::Other,
    }
}

fn request(
    event: &Object<'_>,
    context: &Object<'_>,
    source: &Source,
    function: &Function,
    invocation: &Invocation,
    wanted: &mut Wanted,
) -> Result<Request> {
    let method = source.method().unwrap_or(Method::Other);
    if method == Method::Options {
        return Ok(Request::Preflight);
    }
    let (headers, repeated_headers) = headers(event)?;
    *wanted = Wanted::of_headers(
        header(&headers, "accept"),
        header(&headers, "accept-encoding").filter(|_| function.compress),
    );
    // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    let checker = header(&headers, "user-agent").is_some_and(|agent| agent.starts_with("ELB-HealthChecker/"));
    if checker && matches!(source, Source::Alb { .. }) {
        return Ok(Request::Health);
    }
    let path = path(event, context, source)?;
    let reads = matches!(method, Method::Get | Method::Head);
    // Whoever watches over the function need not know the base path.
    if reads && matches!(path.as_slice(), [only] if only == "health") {
        return Ok(Request::Health);
    }
    if reads
        && let Some(issuer) = function.mcp_authorization_server.as_deref().filter(|_| function.mcp)
        && is_metadata(&path, &function.base_path)
    {
        let address = address(event, context, source, &headers)?.ok_or_else(nothing_here)?;
        return Ok(Request::Told(metadata(&address, issuer, function)));
    }
    let query = name(&path, &function.base_path)?;
    if reads && query.as_deref() == Some("health") {
        return Ok(Request::Health);
    }
    // No query has a dot in its name.
    if reads && function.openapi != OpenApi::Off && query.as_deref() == Some("openapi.json") {
        return Ok(Request::OpenApi);
    }
    let query_string =
        if reads || method == Method::Post { query_string(event, source)? } else { Vec::new() };
    let stray_body = reads && has_json(event, &headers)?;
    let body = if method == Method::Post { body(event, &headers)? } else { Cow::Borrowed("") };
    let body = if body.is_empty() {
        Object::default()
    } else {
        json::check_depth(&body, "The body")?;
        Object::parse(&body, "The body")?
    };
    let claims = claims::verified(source, context)?;
    let origin = Arc::new(Origin { claims, headers, repeated_headers, ..invocation.origin() });
    if query.is_none() && ["transaction", "batch", "diagnose"].iter().any(|form| body.has(form)) {
        return several(&body, &query_string, function, &origin);
    }
    let params = merge(query_string, direct::given(body))?;
    Ok(Request::Call(Call { query, params, method: Some(method), stray_body, agent: false, origin }))
}

/// The message of the Model Context Protocol that was posted, if one was.
fn message(
    event: &Object<'_>,
    context: &Object<'_>,
    source: &Source,
    function: &Function,
    invocation: &Invocation,
) -> Result<Option<Event>> {
    if !function.mcp || source.method() != Some(Method::Post) {
        return Ok(None);
    }
    match name(&path(event, context, source)?, &function.base_path) {
        Ok(Some(name)) if name == mcp::ENDPOINT => {}
        _ => return Ok(None),
    }
    let (headers, repeated_headers) = headers(event)?;
    let claims = claims::verified(source, context)?;
    // "Servers MUST validate the Origin header": a page of somebody else's may reach what its reader reaches.
    let ours = function.cors_origin.as_deref();
    if header(&headers, "origin").is_some_and(|origin| ours != Some("*") && ours != Some(origin)) {
        return Ok(Some(mcp::refused(source.clone(), 403, "This origin is not allowed.", Vec::new())));
    }
    if function.mcp_authorization_server.is_some() && claims.is_none() {
        let metadata = address(event, context, source, &headers)?.map(|address| {
            format!(
                "Bearer resource_metadata=\"{address}{METADATA}{}/{}\"",
                function.base_path,
                mcp::ENDPOINT
            )
        });
        let headers = vec![("www-authenticate", metadata.unwrap_or_else(|| "Bearer".to_owned()))];
        return Ok(Some(mcp::refused(
            source.clone(),
            401,
            "This server needs an authenticated caller.",
            headers,
        )));
    }
    let body = body(event, &headers)?;
    let origin = Origin { claims, headers, repeated_headers, ..invocation.origin() };
    let headers = origin.headers.clone();
    Ok(Some(mcp::read(&body, Some((source.clone(), &headers)), function, Arc::new(origin))))
}

/// Whether a path is that of the metadata of our endpoint (RFC 9728, 3.1), which stand at the root of the host, with
/// the endpoint's path behind and without it.
fn is_metadata(path: &[String], base_path: &str) -> bool {
    let [first, second, rest @ ..] = path else { return false };
    let endpoint = base_path.split('/').filter(|part| !part.is_empty()).chain([mcp::ENDPOINT]);
    first == ".well-known"
        && second == "oauth-protected-resource"
        && (rest.is_empty() || rest.iter().map(String::as_str).eq(endpoint))
}

/// Who protects our endpoint: <https://www.rfc-editor.org/rfc/rfc9728.html#section-2>.
fn metadata(address: &str, issuer: &str, function: &Function) -> Body {
    let resource = format!("{address}{}/{}", function.base_path, mcp::ENDPOINT);
    let json = serde_json::json!({
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
    });
    Body::new(json.to_string().into_bytes())
}

/// The URL under which the world finds what we take for the root: with the stage, where that is in the path. `None`
/// where the request does not tell its host.
fn address(
    event: &Object<'_>,
    context: &Object<'_>,
    source: &Source,
    headers: &[(String, String)],
) -> Result<Option<String>> {
    let host = match context.text("domainName")? {
        Some(host) => Some(host.into_owned()),
        None => header(headers, "host").map(str::to_owned),
    };
    let fits = |host: &String| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    let Some(host) = host.filter(fits) else { return Ok(None) };
    let stage = context.text("stage")?.filter(|stage| stage != "$default").unwrap_or_default();
    // A REST API leaves its stage out of `path`, and not out of this.
    let whole = match source {
        Source::RestApi { .. } => context.text("path")?.or(event.text("path")?),
        Source::HttpApi { .. } => event.text("rawPath")?,
        _ => None,
    };
    let staged = whole.is_some_and(|whole| {
        !stage.is_empty()
            && whole.strip_prefix('/').is_some_and(|path| path.split('/').next() == Some(&stage))
    });
    Ok(Some(if staged { format!("https://{host}/{stage}") } else { format!("https://{host}") }))
}

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// A `transaction` or `batch` that was posted to the base path.
fn several(
    body: &Object<'_>,
    query_string: &[(String, Given)],
    function: &Function,
    origin: &Arc<Origin>,
) -> Result<Request> {
    if !function.http_batch || body.has("diagnose") {
        return Err(nothing_here());
    }
    if let Some((name, _)) = query_string.first() {
        return Err(Error::told(
            Fault::BadParameter,
            format!("Unknown parameter {}: here the body has them all.", quoted(name)),
        ));
    }
    if let Some(key) = body.keys().find(|key| !["transaction", "batch", direct::KEY].contains(key)) {
        return Err(bad_event(format!(
            "Unknown key {}; the body has `transaction` or `batch`, and may have `idempotencyKey`.",
            quoted(key)
        )));
    }
    let origin = &direct::keyed(body, origin)?;
    match (body.get("transaction"), body.get("batch")) {
        (Some(steps), None) => {
            direct::transaction(steps, Some(Method::Post), origin).map(Request::Transaction)
        }
        (None, Some(runs)) => direct::batch(runs, Some(Method::Post), origin).map(Request::Batch),
        _ => Err(bad_event("The body has both `transaction` and `batch`; send one of them.")),
    }
}

/// The segments of the path, behind the stage.
fn path(event: &Object<'_>, context: &Object<'_>, source: &Source) -> Result<Vec<String>> {
    let (path, decoded) = match source {
        Source::HttpApi { .. } => (event.text("rawPath")?, true),
        Source::FunctionUrl { .. } => (event.text("rawPath")?, false),
        // Only HTTP APIs tell a version.
        Source::RestApi { http_api, .. } => (event.text("path")?, *http_api),
        _ => (event.text("path")?, false),
    };
    // A stage that is called `$default` is in no path, and a REST API leaves its stage out.
    let stage = if decoded { context.text("stage")?.filter(|stage| stage != "$default") } else { None };
    let path = path.unwrap_or_default();
    let path = path.strip_prefix('/').unwrap_or(&path);
    let mut segments = path.split('/').peekable();
    if let Some(stage) = stage {
        segments.next_if(|first| *first == stage);
    }
    if decoded {
        return Ok(segments.map(str::to_owned).collect());
    }
    // Cut first, decode then: an encoded slash is part of a name.
    segments.map(|segment| decode(segment, "path").map(Cow::into_owned)).collect()
}

/// The name in the path: what stands after the stage and the base path, exactly; `None` for the base path.
fn name(path: &[String], base_path: &str) -> Result<Option<String>> {
    let mut rest = path;
    for part in base_path.split('/').filter(|part| !part.is_empty()) {
        match rest {
            [first, tail @ ..] if first == part => rest = tail,
            _ => return Err(nothing_here()),
        }
    }
    match rest {
        [] => Ok(None),
        [name] if name.is_empty() => Ok(None),
        [name] => Ok(Some(name.clone())),
        _ => Err(nothing_here()),
    }
}

/// The headers, names in lower case; one that was sent several times is one, with commas (RFC 9110, 5.2). And the names of
/// those, which gateways that join them themselves do not tell.
fn headers(event: &Object<'_>) -> Result<(Headers, Vec<String>)> {
    let (mut headers, mut repeated) = (Vec::new(), Vec::new());
    if let Some(all) = event.object("multiValueHeaders")? {
        for (name, values) in all.iter() {
            let values = texts(name, values)?;
            if values.len() > 1 {
                repeated.push(name.to_ascii_lowercase());
            }
            if !values.is_empty() {
                headers.push((name.to_ascii_lowercase(), values.join(", ")));
            }
        }
    } else if let Some(all) = event.object("headers")? {
        for name in all.keys() {
            if let Some(value) = all.text(name)? {
                headers.push((name.to_ascii_lowercase(), value.into_owned()));
            }
        }
    }
    // Format 2.0 has taken the cookies out of the headers.
    if let Some(cookies) = event.some("cookies")
        && header(&headers, "cookie").is_none()
    {
        let cookies = texts("cookies", cookies)?;
        if !cookies.is_empty() {
            headers.push(("cookie".to_owned(), cookies.join("; ")));
        }
    }
    Ok((headers, repeated))
}

type Headers = Vec<(String, String)>;

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// The query string's parameters by name, in the order given.
fn query_string(event: &Object<'_>, source: &Source) -> Result<Vec<(String, Given)>> {
    let mut pairs = Vec::new();
    let encoded = match source {
        Source::HttpApi { .. } | Source::FunctionUrl { .. } => {
            let raw = event.text("rawQueryString")?.unwrap_or_default();
            for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                add(&mut pairs, form(name)?.into_owned(), form(value)?.into_owned());
            }
            return Ok(pairs);
        }
        // "If the query parameters are URL-encoded, the load balancer does not decode them."
        // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
        Source::Alb { .. } => true,
        _ => false,
    };
    let mut each = |name: &str, value: Cow<'_, str>| -> Result<()> {
        let (name, value) = if encoded { (form(name)?, form(&value)?) } else { (Cow::Borrowed(name), value) };
        add(&mut pairs, name.into_owned(), value.into_owned());
        Ok(())
    };
    if let Some(all) = event.object("multiValueQueryStringParameters")? {
        for (name, values) in all.iter() {
            texts(name, values)?.into_iter().try_for_each(|value| each(name, value))?;
        }
    } else if let Some(all) = event.object("queryStringParameters")? {
        for name in all.keys() {
            each(name, all.text(name)?.unwrap_or_default())?;
        }
    }
    Ok(pairs)
}

/// Adds a parameter; a name that is there already becomes one with several values. (A gateway takes a few
/// kilobytes of URL, so that looking through all of them is no cost.)
fn add(pairs: &mut Vec<(String, Given)>, name: String, value: String) {
    let Some((_, given)) = pairs.iter_mut().find(|(other, _)| *other == name) else {
        pairs.push((name, Given::Text(value)));
        return;
    };
    match given {
        Given::Texts(values) => values.push(value),
        Given::Text(first) => *given = Given::Texts(vec![std::mem::take(first), value]),
        Given::Json(_) => {}
    }
}

/// Query string and body together.
fn merge(mut query_string: Vec<(String, Given)>, body: Params) -> Result<Params> {
    if !query_string.is_empty() {
        let names: HashSet<&str> = query_string.iter().map(|(name, _)| name.as_str()).collect();
        if let Some((name, _)) = body.0.iter().find(|(name, _)| names.contains(name.as_str())) {
            let name = quoted(name);
            return Err(Error::told(
                Fault::BadParameter,
                format!("Parameter {name} is both in the query string and in the body; send it once."),
            ));
        }
    }
    query_string.extend(body.0);
    Ok(Params(query_string))
}

/// The body of a POST, decoded; empty if there is none.
fn body<'a>(event: &Object<'a>, headers: &[(String, String)]) -> Result<Cow<'a, str>> {
    let body = event.text("body")?.unwrap_or_default();
    if body.trim_ascii().is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    if header(headers, "content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Error::told(Fault::UnsupportedMediaType, "Send the body without a content-encoding."));
    }
    let encoded = match event.some("isBase64Encoded").map(|value| value.get()) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(must_be("isBase64Encoded", "true or false")),
    };
    // A browser sends a body of another type, or of none, to any site without asking first, and with its cookies.
    let json = || match header(headers, "content-type").is_some_and(is_json) {
        true => Ok(()),
        false => Err(Error::new(Fault::UnsupportedMediaType, "")),
    };
    if !encoded {
        return json().map(|()| body);
    }
    let bytes = BASE64.decode(body.as_bytes()).map_err(|_| bad_event("The body is not valid base64."))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| bad_event(format!("The body is not valid UTF-8: {}.", error.utf8_error())))?;
    if text.trim_ascii().is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    json().map(|()| Cow::Owned(text))
}

/// Whether there is a body of JSON.
fn has_json(event: &Object<'_>, headers: &[(String, String)]) -> Result<bool> {
    let empty = event.text("body")?.is_none_or(|body| body.trim_ascii().is_empty());
    Ok(!empty && header(headers, "content-type").is_some_and(is_json))
}

/// Whether a content type is JSON: `application/json` or `application/…+json` (RFC 6839).
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The values of a multi-value header or parameter.
fn texts<'a>(name: &str, values: &'a RawValue) -> Result<Vec<Cow<'a, str>>> {
    if values.get() == "null" {
        return Ok(Vec::new());
    }
    let values = json::elements(values, name)?;
    values.into_iter().map(|value| json::string(value).ok_or_else(|| must_be(name, "strings"))).collect()
}

/// Decodes a name or value of a query string, where `+` is a space.
fn form(text: &str) -> Result<Cow<'_, str>> {
    if !text.contains('+') {
        return decode(text, "query string");
    }
    decode(&text.replace('+', " "), "query string").map(|text| Cow::Owned(text.into_owned()))
}

fn decode<'a>(text: &'a str, what: &str) -> Result<Cow<'a, str>> {
    percent_decode_str(text).decode_utf8().map_err(|_| bad_event(format!("The {what} is not valid UTF-8.")))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{settings, show};
    use super::*;

    /// A request, from which each source's event is made.
    struct Sent<'a> {
        method: &'a str,
        path: &'a str,
        content_type: Option<&'a str>,
        body: Option<&'a str>,
    }

    const GET: Sent<'_> = Sent { method: "GET", path: "/a", content_type: None, body: None };
    const POST: Sent<'_> =
        Sent { method: "POST", path: "/a", content_type: Some("application/json"), body: None };

    /// The event of an HTTP API with the default stage.
    fn v2(sent: &Sent<'_>, query: &str) -> String {
        serde_json::json!({
            "version": "2.0",
            "rawPath": sent.path,
            "rawQueryString": query,
            "headers": sent.content_type.map(|media| serde_json::json!({"Content-Type": media})),
            "requestContext": {"http": {"method": sent.method}, "stage": "$default"},
            "body": sent.body,
        })
        .to_string()
    }

    /// The event of a load balancer with a path that is encoded.
    fn alb(path: &str, query: serde_json::Value) -> String {
        serde_json::json!({
            "requestContext": {"elb": {"targetGroupArn": "arn"}},
            "httpMethod": "GET",
            "path": path,
            "queryStringParameters": query,
            "headers": {"user-agent": "ELB"},
            "body": "",
        })
        .to_string()
    }

    fn rest(path: &str, query: serde_json::Value) -> String {
        serde_json::json!({
            "httpMethod": "GET",
            "path": path,
            "multiValueQueryStringParameters": query,
            "requestContext": {"stage": "prod"},
        })
        .to_string()
    }

    fn asked_with(event: &str, function: &Function) -> String {
        let event = super::super::parse(event.as_bytes(), function, &Invocation::default());
        assert!(event.source.method().is_some(), "{event:?}");
        event.request.map_or_else(|error| error.to_string(), |request| show(&request))
    }

    fn asked(event: &str) -> String {
        asked_with(event, &settings())
    }

    fn starts(found: &str, expected: &str) {
        assert!(found.starts_with(expected), "{found} is not {expected}…");
    }

    #[test]
    fn paths() {
        fn check(base_path: &str, path: &str, expected: &str) {
            let function = Function { base_path: base_path.to_owned(), ..settings() };
            let found = asked_with(&alb(path, serde_json::json!({})), &function);
            starts(&found, expected);
        }
        const NOTHING: &str = "unknown_query: There is no query at this path.";
        check("", "/a", "call a()");
        check("", "/", "call default()");
        check("", "", "call default()");
        check("", "/a/", NOTHING);
        check("", "//", NOTHING);
        check("", "//a", NOTHING);
        check("", "/a/b", NOTHING);
        check("", "/A", "call A()");
        check("", "/%61", "call a()");
        check("", "/%2561", "call %61()");
        check("", "/a+b", "call a+b()");
        check("", "/x%2Fa", "call x/a()");
        check("", "/%zz", "call %zz()");
        check("", "/%ff", "bad_event: The path is not valid UTF-8.");
        check("/api/v1", "/api/v1/a", "call a()");
        check("/api/v1", "/api/v1/", "call default()");
        check("/api/v1", "/api/v1", "call default()");
        check("/api/v1", "/api/%76%31/a", "call a()");
        check("/api/v1", "/api%2Fv1/a", NOTHING);
        check("/api/v1", "/a", NOTHING);
        check("/api/v1", "/api/a", NOTHING);
        check("/api/v1", "/api/v1/a/b", NOTHING);
        check("", "/health", "health");
        check("/api", "/api/health", "health");
        check("/api", "/health", "health");
        check("/api", "/health/", NOTHING);
        check("/health", "/health", "health");
        check("/health", "/health/a", "call a()");
    }

    #[test]
    fn stages() {
        fn check(source: &str, expected: &str) {
            starts(&asked(source), expected);
        }
        let v2 = |path: &str, stage: &str| {
            format!(
                r#"{{"version":"2.0","rawPath":"{path}","rawQueryString":"",
                    "requestContext":{{"http":{{"method":"GET"}},"stage":"{stage}"}}}}"#
            )
        };
        check(&v2("/prod/a", "prod"), "call a()");
        check(&v2("/prod", "prod"), "call default()");
        check(&v2("/prod/prod", "prod"), "call prod()");
        check(&v2("/prod/prod/a", "prod"), "unknown_query");
        check(&v2("/a", "prod"), "call a()");
        check(&v2("/$default/a", "$default"), "unknown_query");
        // An HTTP API has decoded its path. What still looks encoded was encoded twice, and is another name.
        check(&v2("/%61", "$default"), "call %61()");
        check(&v2("/pr%6Fd/a", "prod"), "unknown_query");
        check(&rest("/a", serde_json::json!({})), "call a()");
        check(&rest("/%61", serde_json::json!({})), "call a()");
        // A REST API's path has no stage, so this one is a resource of two segments.
        check(&rest("/prod/a", serde_json::json!({})), "unknown_query");
        let one =
            r#"{"version":"1.0","httpMethod":"GET","path":"/prod/%61","requestContext":{"stage":"prod"}}"#;
        check(one, "call %61()");
    }

    #[test]
    fn query_strings() {
        fn check(query: &str, expected: &str) {
            starts(&asked(&v2(&GET, query)), expected);
        }
        check("", "call a()");
        check("x=1&y=b+c%2B%26", "call a(x='1', y='b c+&')");
        check("x=1&y=2&x=3&x=", r#"call a(x=["1", "3", ""], y='2')"#);
        check("&x&&y=&", "call a(x='', y='')");
        check("x=%2531", "call a(x='%31')");
        check("x=a=b", "call a(x='a=b')");
        check("x%3D=1", "call a(x=='1')");
        check("x=%C3%AB", "call a(x='ë')");
        check("x=%zz%", "call a(x='%zz%')");
        check("x=%ff", "bad_event: The query string is not valid UTF-8.");
        check("=1", "call a(='1')");
        // API Gateway v1 has decoded; a load balancer has not.
        starts(
            &asked(&rest("/a", serde_json::json!({"x": ["1+%31"], "y": ["a", "b"]}))),
            r#"call a(x='1+%31', y=["a", "b"])"#,
        );
        starts(&asked(&alb("/a", serde_json::json!({"%78": "1+%31"}))), "call a(x='1 1')");
        starts(&asked(&alb("/a", serde_json::json!({"x": null}))), "call a(x='')");
        starts(&asked(&alb("/a", serde_json::json!({"x": 1}))), "bad_event: `x` must be a string.");
        starts(&asked(&rest("/a", serde_json::json!({"x": [1]}))), "bad_event: `x` must be strings.");
    }

    #[test]
    fn bodies() {
        fn check(sent: &Sent<'_>, query: &str, expected: &str) {
            starts(&asked(&v2(sent, query)), expected);
        }
        let post = |body| Sent { body: Some(body), ..POST };
        check(&POST, "", "call a()");
        check(&post(""), "", "call a()");
        check(&post(" \n"), "", "call a()");
        check(&post("{}"), "", "call a()");
        check(&post(r#"{"x":1.50,"y":[1]}"#), "z=2", "call a(z='2', x=1.50, y=[1])");
        check(
            &post(r#"{"x":1}"#),
            "x=2",
            "bad_parameter: Parameter `x` is both in the query string and in the body",
        );
        check(&post(r#"{"x":1,"x":2}"#), "", "bad_event: The body has the key `x` twice.");
        check(&post("[1]"), "", "bad_event: The body must be a JSON object.");
        check(
            &post("{\"x\":}"),
            "",
            "bad_event: The body is not valid JSON: expected value at line 1 column 6.",
        );
        let deep = "[".repeat(9000);
        check(&post(&deep), "", "bad_event: The body is nested deeper than 128 levels.");
        let typed = |media, body| Sent { content_type: media, body: Some(body), ..POST };
        check(&typed(Some("Application/JSON; charset=utf-8"), "{}"), "", "call a()");
        check(&typed(Some("application/merge-patch+json"), "{}"), "", "call a()");
        check(&typed(Some("text/plain"), ""), "", "call a()");
        const TYPE: &str = "unsupported_media_type: Send the parameters as application/json.";
        check(&typed(Some("text/plain"), "{}"), "", TYPE);
        check(&typed(None, "{}"), "", TYPE);
        check(&typed(None, " "), "", "call a()");
        check(&typed(Some("application/x-www-form-urlencoded"), "x=1"), "", TYPE);
        check(&typed(Some("application/jsonp"), "{}"), "", TYPE);
        check(&typed(Some(""), "{}"), "", TYPE);
        // What AWS's own samples send with a GET is ignored; parameters are not.
        let get = |media, body| Sent { content_type: media, body: Some(body), ..GET };
        check(&get(None, "Hello from Lambda!"), "", "call a()");
        check(&get(Some("text/plain"), "request_body"), "", "call a()");
        check(&get(Some("application/json"), " "), "", "call a()");
        let stray = |sent: &Sent<'_>| {
            let event = super::super::parse(v2(sent, "").as_bytes(), &settings(), &Invocation::default());
            matches!(event.request, Ok(Request::Call(Call { stray_body: true, .. })))
        };
        assert!(stray(&get(Some("application/json"), "{}")));
        assert!(!stray(&get(Some("application/json"), " ")) && !stray(&get(Some("text/plain"), "{}")));
        assert!(!stray(&typed(Some("application/json"), "{}")));
        // Never callable, so never read.
        check(&Sent { method: "DELETE", ..post("{") }, "x=%ff", "call a()");
    }

    #[test]
    fn encoded_bodies() {
        fn check(body: &str, encoded: &str, headers: &str, expected: &str) {
            let headers =
                headers.replacen('{', r#"{"Content-Type":"application/json","#, 1).replace(",}", "}");
            let event = format!(
                r#"{{"httpMethod":"POST","path":"/a","headers":{headers},"body":{body},
                    "isBase64Encoded":{encoded}}}"#
            );
            starts(&asked(&event), expected);
        }
        check(r#""eyJ4IjoxfQ==""#, "true", "{}", "call a(x=1)");
        check(r#""eyJ4IjoxfQ==""#, "false", "{}", "bad_event: The body is not valid JSON");
        check(r#""eyJ4IjoxfQ==""#, "1", "{}", "bad_event: `isBase64Encoded` must be true or false.");
        check(r#""eyJ4IjoxfQ""#, "true", "{}", "bad_event: The body is not valid base64.");
        check(r#""/w==""#, "true", "{}", "bad_event: The body is not valid UTF-8: invalid utf-8 sequence");
        check(r#""IA==""#, "true", "null", "call a()");
        check(r#""e30=""#, "true", "null", "unsupported_media_type");
        check(r#""""#, "true", "{}", "call a()");
        check(r#"{"x":1}"#, "false", "{}", "bad_event: `body` must be a string.");
        check(
            r#""H4sI""#,
            "true",
            r#"{"Content-Encoding":"gzip"}"#,
            "unsupported_media_type: Send the body without",
        );
        check(r#""{}""#, "false", r#"{"Content-Encoding":"identity"}"#, "call a()");
    }

    #[test]
    fn several_calls_need_their_switch() {
        fn check(http_batch: bool, path: &str, query: &str, body: &str, expected: &str) {
            let function = Function { http_batch, ..settings() };
            let found = asked_with(&v2(&Sent { path, body: Some(body), ..POST }, query), &function);
            starts(&found, expected);
        }
        const STEPS: &str = r#"{"transaction":[{"query":"a","params":{"n":1}}]}"#;
        const RUNS: &str = r#"{"batch":{"query":"a","params":[{"n":1}]}}"#;
        check(false, "/", "", STEPS, "unknown_query");
        check(false, "/", "", RUNS, "unknown_query");
        check(true, "/", "", STEPS, "transaction: call a(n=1)");
        check(true, "/", "", RUNS, "batch a: (n=1)");
        check(true, "/", "x=1", RUNS, "bad_parameter: Unknown parameter `x`");
        check(true, "/", "", r#"{"batch":{},"transaction":[]}"#, "bad_event: The body has both");
        check(true, "/", "", r#"{"batch":{},"reply":"raw"}"#, "bad_event: Unknown key `reply`");
        // Elsewhere these are parameters like others.
        check(true, "/a", "", r#"{"batch":1}"#, "call a(batch=1)");
        check(true, "/", "", r#"{"diagnose":true}"#, "unknown_query");
        check(false, "/", "", r#"{"diagnose":true}"#, "unknown_query");
        check(true, "/diagnose", "", "", "call diagnose()");
        check(true, "/", "", r#"{"query":"a"}"#, r#"call default(query="a")"#);
    }

    #[test]
    fn several_calls_know_their_method() {
        let function = Function { http_batch: true, ..settings() };
        let body = Some(r#"{"transaction":[{"query":"a"}]}"#);
        let event = v2(&Sent { path: "/", body, ..POST }, "");
        let event = super::super::parse(event.as_bytes(), &function, &Invocation::default());
        let Ok(Request::Transaction(steps)) = event.request else { panic!() };
        assert_eq!(steps[0].method, Some(Method::Post));
    }

    #[test]
    fn methods() {
        fn check(method: &str, expected: &str) {
            assert_eq!(asked(&v2(&Sent { method, ..GET }, "x=1")), expected, "{method}");
        }
        check("GET", "call a(x='1')");
        check("HEAD", "call a(x='1')");
        check("POST", "call a(x='1')");
        check("OPTIONS", "preflight");
        check("PUT", "call a()");
        check("get", "call a()");
        let health = |method| asked(&v2(&Sent { method, path: "/health", ..GET }, ""));
        assert_eq!(health("GET"), "health");
        assert_eq!(health("HEAD"), "health");
        assert_eq!(health("POST"), "call health()");
    }

    #[test]
    fn what_no_gateway_sends() {
        fn check(event: &str, expected: &str) {
            starts(&asked(event), expected);
        }
        check(r#"{"httpMethod":7,"path":"/a"}"#, "bad_event: `httpMethod` must be a string.");
        check(r#"{"httpMethod":"GET","path":7}"#, "bad_event: `path` must be a string.");
        check(
            r#"{"httpMethod":"GET","path":"/a","headers":[]}"#,
            "bad_event: `headers` must be a JSON object.",
        );
        check(
            r#"{"httpMethod":"GET","path":"/a","requestContext":{"stage":"a","stage":"b"}}"#,
            "bad_event: `requestContext` has the key `stage` twice.",
        );
        check(
            r#"{"rawPath":"/a","requestContext":{"http":{"method":"GET"},"authorizer":"x"}}"#,
            "bad_event: `authorizer` must be a JSON object.",
        );
    }

    #[test]
    fn health_checks_of_a_load_balancer() {
        fn check(context: &str, agent: &str, expected: &str) {
            let event = format!(
                r#"{{"requestContext":{context},"httpMethod":"GET","path":"/a/b",
                    "multiValueHeaders":{{"User-Agent":["{agent}"]}}}}"#
            );
            starts(&asked(&event), expected);
        }
        check(r#"{"elb":{}}"#, "ELB-HealthChecker/2.0", "health");
        check(r#"{"elb":{}}"#, "curl ELB-HealthChecker/2.0", "unknown_query");
        check("{}", "ELB-HealthChecker/2.0", "unknown_query");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let event = r#"{"httpMethod":"GET","path":"/a","headers":{"X-One":"ignored"},
            "multiValueHeaders":{"X-One":["1"],"x-TWO":["a","b"],"X-Null":null}}"#;
        let event = super::super::parse(event.as_bytes(), &settings(), &Invocation::default());
        let Ok(Request::Call(call)) = event.request else { panic!() };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(call.origin.headers, [pair("x-one", "1"), pair("x-two", "a, b")]);
        assert_eq!(call.origin.repeated_headers, ["x-two"]);
    }

    #[test]
    fn cookies_are_a_header_again() {
        fn check(more: &str, expected: Option<&str>) {
            let event = format!(
                r#"{{"version":"2.0","rawPath":"/a","rawQueryString":"",{more},
                    "requestContext":{{"http":{{"method":"GET"}}}}}}"#
            );
            let event = super::super::parse(event.as_bytes(), &settings(), &Invocation::default());
            let Ok(Request::Call(call)) = event.request else { panic!("{more}") };
            assert_eq!(header(&call.origin.headers, "cookie"), expected, "{more}");
        }
        check(r#""cookies":["a=1","b=2; c=3"],"headers":{"x":"y"}"#, Some("a=1; b=2; c=3"));
        check(r#""cookies":["a=1"]"#, Some("a=1"));
        check(r#""cookies":["a=1"],"headers":{"Cookie":"z=0"}"#, Some("z=0"));
        check(r#""cookies":[]"#, None);
        check(r#""cookies":null"#, None);
    }

    #[test]
    fn nobody_but_the_authorizer_makes_claims() {
        let event = r#"{
            "version":"2.0","rawPath":"/a","rawQueryString":"claims=x&claims.sub=admin&authorizer=x",
            "headers":{"content-type":"application/json","claims":"{\"sub\":\"admin\"}","claims.sub":"admin","x-amzn-oidc-identity":"admin",
                       "x-amzn-oidc-data":"e30.eyJzdWIiOiJhZG1pbiJ9.","authorization":"Bearer x"},
            "claims":{"sub":"admin"},"authorizer":{"jwt":{"claims":{"sub":"admin"}}},
            "requestContext":{"http":{"method":"POST"},"stage":"$default","claims":{"sub":"admin"}},
            "body":"{\"requestContext\":{\"authorizer\":{\"jwt\":{\"claims\":{\"sub\":\"admin\"}}}}}"}"#;
        let event = super::super::parse(event.as_bytes(), &settings(), &Invocation::default());
        let Ok(Request::Call(call)) = event.request else { panic!("{:?}", event.request) };
        assert!(call.origin.claims.is_none());
    }

    /// What a call is refused with that no query is there for, or none with its method.
    #[test]
    fn our_own_paths_have_methods_too() {
        fn check(batch: bool, method: &str, path: &str, gate: Option<&str>, expected: Option<&str>) {
            let function = Function { http_batch: batch, openapi: OpenApi::Made, ..settings() };
            let event = v2(&Sent { method, path, ..GET }, "");
            let event = super::super::parse(event.as_bytes(), &function, &Invocation::default());
            let Ok(Request::Call(call)) = event.request else { panic!("{method} {path}") };
            let error = match gate {
                Some(allow) => Error::new(Fault::MethodNotAllowed, "").with_allow(allow),
                None => unknown_query("x"),
            };
            let error = refusal(&call, &function, error);
            let refused = (error.fault() == Fault::MethodNotAllowed).then(|| error.allow().unwrap());
            assert_eq!(refused, expected, "{method} {path}");
        }
        for method in ["POST", "TRACE", "DELETE"] {
            check(false, method, "/health", None, Some("GET, HEAD"));
            check(false, method, "/openapi.json", None, Some("GET, HEAD"));
            check(false, method, "/a", None, None);
        }
        check(false, "GET", "/", None, None);
        check(true, "GET", "/", None, Some("POST"));
        check(true, "POST", "/", None, None);
        check(true, "TRACE", "/", Some("GET, HEAD"), Some("GET, HEAD, POST"));
        check(true, "TRACE", "/", Some("GET, HEAD, POST"), Some("GET, HEAD, POST"));
        check(true, "TRACE", "/a", Some("GET, HEAD"), Some("GET, HEAD"));
        // A query of that name, which takes only what we do not.
        check(false, "TRACE", "/health", Some("POST"), Some("POST"));
    }

    #[test]
    fn gates() {
        fn check(methods: Option<HttpMethods>, method: Method, expected: Result<(), (Fault, Option<&str>)>) {
            let found = allowed("a", methods.as_ref(), method);
            let found = found.map_err(|error| (error.fault(), error.allow().map(str::to_owned)));
            let expected = expected.map_err(|(fault, allow)| (fault, allow.map(str::to_owned)));
            assert_eq!(found, expected, "{methods:?} {method:?}");
        }
        let (get, post) = (HttpMethods { get: true, post: false }, HttpMethods { get: false, post: true });
        check(Some(get), Method::Get, Ok(()));
        check(Some(get), Method::Head, Ok(()));
        check(Some(post), Method::Post, Ok(()));
        let refused = |methods: HttpMethods, allow: &str, method| {
            check(Some(methods), method, Err((Fault::MethodNotAllowed, Some(allow))));
        };
        refused(get, &get.allow(), Method::Post);
        refused(post, &post.allow(), Method::Get);
        refused(post, &post.allow(), Method::Head);
        refused(post, &post.allow(), Method::Other);
        for method in [Method::Get, Method::Head, Method::Post, Method::Other] {
            check(None, method, Err((Fault::UnknownQuery, None)));
        }
        let closed = allowed("a", None, Method::Get).unwrap_err();
        assert_eq!(closed.to_string(), unknown_query("a").to_string());
    }
}
