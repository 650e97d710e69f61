//! The Model Context Protocol: one JSON-RPC message, and what its reply depends on.
//!
//! Three versions are spoken. Up to 2025-11-25 a client begins with `initialize`, and we keep nothing of it: there is no
//! session. From 2026-07-28 on each request brings its version in `_meta`, over HTTP in headers as well.
//! <https://modelcontextprotocol.io/specification/2026-07-28>

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::config::Function;
use crate::error::Result;
use crate::reply::Body;
use crate::rows::Limits;
use crate::value::{Origin, Params};

use super::json::{self, Object, quoted};
use super::{Event, Request, Source, agent, direct};

/// The last segment of the endpoint's path.
pub(super) const ENDPOINT: &str = "mcp";

/// The versions without a handshake.
const MODERN: [&str; 1] = ["2026-07-28"];
/// Those that begin with one, the newest first.
const LEGACY: [&str; 2] = ["2025-11-25", "2025-06-18"];

/// One message, as far as its reply depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What it came through, if not through a pipe.
    http: Option<Source>,
    /// The request's id, as it was written; a notification has none.
    id: Option<String>,
    /// Whether it is of a version without a handshake.
    modern: bool,
    what: What,
    /// How many bytes of result there may be.
    bytes: usize,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A call of a tool.
    Call,
    /// The list of them.
    List,
    /// Something that was answered as soon as it was read: the answer is the whole message.
    Told,
}

impl Exchange {
    pub(crate) fn http(&self) -> Option<&Source> {
        self.http.as_ref()
    }

    pub(crate) fn what(&self) -> What {
        self.what
    }

    /// How much room there is for a result. It is told twice, as structure and as text, and around it there may be a
    /// reply in which the whole is a JSON string once more: six bytes for one of its quotes.
    pub(super) fn limits(&self) -> Limits {
        let whole = self.http.as_ref().map_or(usize::MAX, |http| http.limits().bytes / 6);
        Limits { bytes: self.bytes.min(whole), escaped: false, max_rows: None }
    }

    /// The answer to a call: this JSON, which is an object.
    pub(crate) fn called(&self, json: &[u8], failed: bool) -> Vec<u8> {
        let text = String::from_utf8_lossy(json);
        let mut members = format!(r#""content":[{{"type":"text","text":{}}}],"#, written(&text));
        if failed {
            // Not as structure: that is what `outputSchema` describes.
            members.push_str(r#""isError":true"#);
        } else {
            members.push_str(r#""structuredContent":"#);
            // A `json` column may be laid out for reading, and through a pipe a message is one line.
            members.push_str(&text.replace(['\n', '\r'], " "));
            members.push_str(r#","isError":false"#);
        }
        self.result(&members)
    }

    /// The answer to a question for the tools: this list.
    pub(crate) fn listed(&self, tools: &[u8]) -> Vec<u8> {
        let tools = String::from_utf8_lossy(tools);
        let caching = if self.modern { self.caching() } else { "" };
        self.result(&format!(r#""tools":{tools}{caching}"#))
    }

    /// The answer where something went wrong that is no call's.
    pub(crate) fn failed(&self, message: &str) -> Vec<u8> {
        error(self.id.as_deref(), &Refusal::new(INTERNAL, message))
    }

    fn result(&self, members: &str) -> Vec<u8> {
        let id = self.id.as_deref().unwrap_or("null");
        let version = env!("CARGO_PKG_VERSION");
        let (kind, about) = match self.modern {
            true => (
                r#""resultType":"complete","#,
                format!(
                    r#","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"lambda-rds","version":"{version}"}}}}"#
                ),
            ),
            false => ("", String::new()),
        };
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{kind}{members}{about}}}}}"#).into_bytes()
    }

    /// How long a client may keep what is the same for each of its requests. Query files on a desk change under way.
    fn caching(&self) -> &'static str {
        match self.http {
            Some(_) => r#","ttlMs":60000,"cacheScope":"private""#,
            None => r#","ttlMs":0,"cacheScope":"private""#,
        }
    }
}

/// Reads one message. `http` is what it came through, with its headers; `None` for a pipe.
pub(super) fn read(
    message: &str,
    http: Option<(Source, &[(String, String)])>,
    function: &Function,
    origin: Arc<Origin>,
) -> Event {
    let headers = http.as_ref().map(|(_, headers)| *headers);
    let mut exchange = Exchange {
        http: http.map(|(source, _)| source),
        id: None,
        modern: false,
        what: What::Told,
        bytes: function.tool_bytes,
    };
    let request = match understand(message, headers, &mut exchange) {
        Ok(Asked::Call { name, params }) => {
            exchange.what = What::Call;
            agent::tool(name, params, None, origin)
        }
        Ok(Asked::List) => {
            exchange.what = What::List;
            Request::Tools
        }
        Ok(Asked::Told(members)) => Request::Told(Body::new(exchange.result(&members))),
        // "The server MUST return HTTP status code 202 Accepted with no body."
        Ok(Asked::Nothing) => Request::Told(Body { status: 202, ..Body::new(Vec::new()) }),
        Err(refusal) => {
            let json = error(exchange.id.as_deref(), &refusal);
            Request::Told(Body { status: refusal.status, ..Body::new(json) })
        }
    };
    Event::new(Source::Mcp(Arc::new(exchange)), Ok(request))
}

/// The answer to a message whose sender is not let in.
pub(super) fn refused(
    http: Source,
    status: u16,
    message: &str,
    headers: Vec<(&'static str, String)>,
) -> Event {
    let json = error(None, &Refusal::new(INVALID_REQUEST, message));
    let exchange = Exchange { http: Some(http), id: None, modern: false, what: What::Told, bytes: 0 };
    let body = Body { status, headers, ..Body::new(json) };
    Event::new(Source::Mcp(Arc::new(exchange)), Ok(Request::Told(body)))
}

/// What a message asks.
enum Asked {
    Call {
        name: String,
        params: Params,
    },
    List,
    /// The members of a result that needs nothing.
    Told(String),
    /// It wants no answer.
    Nothing,
}

/// Why a message is refused, in JSON-RPC's words.
struct Refusal {
    code: i32,
    message: Cow<'static, str>,
    /// JSON.
    data: Option<String>,
    /// The HTTP status.
    status: u16,
}

impl Refusal {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: Cow::Owned(message.into()), data: None, status: 400 }
    }

    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The version is none that we speak.
    fn version(requested: &str) -> Self {
        let all: Vec<&str> = MODERN.into_iter().chain(LEGACY).collect();
        let data = format!(r#"{{"supported":{},"requested":{}}}"#, written(&all), written(requested));
        Self { data: Some(data), ..Self::new(UNSUPPORTED_VERSION, "Unsupported protocol version") }
    }
}

fn understand(
    message: &str,
    headers: Option<&[(String, String)]>,
    exchange: &mut Exchange,
) -> Result<Asked, Refusal> {
    let invalid = |message: String| Refusal::new(INVALID_REQUEST, message);
    if serde_json::from_str::<serde::de::IgnoredAny>(message).is_err() {
        return Err(Refusal::new(PARSE_ERROR, "The message is not valid JSON."));
    }
    let object = json::check_depth(message, "The message")
        .and_then(|()| Object::parse(message, "The message"))
        .map_err(|error| invalid(error.message().to_owned()))?;
    exchange.id = match object.get("id").map(|id| id.get()) {
        Some(id) if id.starts_with('"') || id.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            Some(id.to_owned())
        }
        Some(_) => return Err(invalid("`id` must be a string or a number.".to_owned())),
        None => None,
    };
    if object.get("jsonrpc").and_then(json::string).as_deref() != Some("2.0") {
        return Err(invalid("`jsonrpc` must be \"2.0\".".to_owned()));
    }
    let Some(method) = object.get("method") else {
        // We ask nothing, so nothing is answered to us; but who says so does no harm.
        return match object.has("result") || object.has("error") {
            true => Ok(Asked::Nothing),
            false => Err(invalid("`method` is missing.".to_owned())),
        };
    };
    let method = json::string(method).ok_or_else(|| invalid("`method` must be a string.".to_owned()))?;
    if exchange.id.is_none() {
        return Ok(Asked::Nothing);
    }
    // From here on the status tells less than the error: who asks reads both.
    let wrong = |error: crate::error::Error| Refusal::new(INVALID_PARAMS, error.message()).with_status(200);
    let params = object.object("params").map_err(wrong)?.unwrap_or_default();
    let meta = params.object("_meta").map_err(wrong)?.unwrap_or_default();
    let version = meta.text(VERSION).map_err(wrong)?;
    exchange.modern = match (&version, headers) {
        (Some(version), headers) => {
            let modern = MODERN.contains(&&**version);
            if let Some(headers) = headers
                && modern
            {
                mirrored(headers, version, &method, &params)?;
            }
            if !modern && !LEGACY.contains(&&**version) {
                return Err(Refusal::version(version));
            }
            if modern && !meta.some(CAPABILITIES).is_some_and(|value| value.get().starts_with('{')) {
                let message = format!("`_meta` must have `{CAPABILITIES}`, an object.");
                return Err(Refusal::new(INVALID_PARAMS, message));
            }
            modern
        }
        (None, Some(headers)) if method != "initialize" => match header(headers, VERSION_HEADER) {
            Some(version) if MODERN.contains(&version) => {
                return Err(Refusal::new(INVALID_PARAMS, format!("`_meta` must have `{VERSION}`.")));
            }
            Some(version) if !LEGACY.contains(&version) => return Err(Refusal::version(version)),
            // "If the server does not receive the header, it SHOULD assume" a version before it.
            _ => false,
        },
        (None, _) => false,
    };
    match (&*method, exchange.modern) {
        ("tools/call", _) => {
            let name = params.text("name").map_err(wrong)?;
            let name = name.ok_or_else(|| {
                Refusal::new(INVALID_PARAMS, "`params` must have `name`, that of a tool.").with_status(200)
            })?;
            let arguments = params.object("arguments").map_err(wrong)?.unwrap_or_default();
            Ok(Asked::Call { name: name.into_owned(), params: direct::given(arguments) })
        }
        ("tools/list", _) => match params.some("cursor") {
            None => Ok(Asked::List),
            Some(_) => {
                let message = "There is no further page: the list is told whole.";
                Err(Refusal::new(INVALID_PARAMS, message).with_status(200))
            }
        },
        ("server/discover", true) => {
            let all: Vec<&str> = MODERN.into_iter().chain(LEGACY).collect();
            let caching = exchange.caching();
            Ok(Asked::Told(format!(
                r#""supportedVersions":{},"capabilities":{{"tools":{{}}}}{caching}"#,
                written(&all)
            )))
        }
        ("initialize", false) => {
            let requested = params.text("protocolVersion").map_err(wrong)?;
            // "Otherwise, the server MUST respond with another protocol version it supports."
            let version = LEGACY.into_iter().find(|version| requested.as_deref() == Some(version));
            let version = version.unwrap_or(LEGACY[0]);
            let own = env!("CARGO_PKG_VERSION");
            Ok(Asked::Told(format!(
                r#""protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"lambda-rds","version":"{own}"}}"#
            )))
        }
        ("ping", false) => Ok(Asked::Told(String::new())),
        _ => {
            let message = format!("There is no method {}.", quoted(&method));
            let status = if exchange.modern { 404 } else { 200 };
            Err(Refusal::new(METHOD_NOT_FOUND, message).with_status(status))
        }
    }
}

/// Whether the headers say what the body says, as whoever stands between reads only them.
fn mirrored(
    headers: &[(String, String)],
    version: &str,
    method: &str,
    params: &Object<'_>,
) -> Result<(), Refusal> {
    let name = (method == "tools/call").then(|| params.some("name").and_then(json::string)).flatten();
    let wanted =
        [(VERSION_HEADER, Some(version)), ("mcp-method", Some(method)), ("mcp-name", name.as_deref())];
    for (key, wanted) in wanted {
        let Some(wanted) = wanted else { continue };
        if header(headers, key).map(decoded).as_deref() != Some(wanted) {
            return Err(Refusal::new(
                HEADER_MISMATCH,
                format!("The header {key} must be there and say what the body says."),
            ));
        }
    }
    Ok(())
}

/// A header's value, of which text that no header can hold is base64.
fn decoded(value: &str) -> Cow<'_, str> {
    let inside = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(inside) = inside else { return Cow::Borrowed(value) };
    let text = BASE64.decode(inside).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or(Cow::Borrowed(value), Cow::Owned)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn error(id: Option<&str>, refusal: &Refusal) -> Vec<u8> {
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    let data = refusal.data.as_deref().map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let (code, message) = (refusal.code, written(&refusal.message));
    format!(r#"{{"jsonrpc":"2.0"{id},"error":{{"code":{code},"message":{message}{data}}}}}"#).into_bytes()
}

/// JSON of text or of a list of it.
fn written(value: &(impl Serialize + ?Sized)) -> String {
    // Fails only for maps with keys that are no strings and for writers that fail; here is neither.
    serde_json::to_string(value).unwrap_or_default()
}

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const VERSION_HEADER: &str = "mcp-protocol-version";

/// JSON-RPC's codes: <https://www.jsonrpc.org/specification#error_object>.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL: i32 = -32603;
/// The protocol's own.
const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;

#[cfg(test)]
mod tests {
    use super::super::testing::{settings, show};
    use super::super::{Invocation, parse};
    use super::*;

    /// What a message through a pipe asks, or the answer that it got at once.
    fn asked(message: &str) -> String {
        let event = super::super::message(message, &settings(), Origin::default());
        show(&event.request.unwrap())
    }

    fn modern(method: &str, params: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","id":"a","method":"{method}","params":{{{params}"_meta":{{
                "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        )
    }

    #[test]
    fn what_a_message_asks() {
        let check = |message: &str, expected: &str| {
            let found = asked(message);
            assert!(found.starts_with(expected), "{message}: {found} is not {expected}…");
        };
        check(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, "tools");
        check(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#, "tools");
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1.50}}}"#,
            "tool a(n=1.50)",
        );
        check(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#, "tool a()");
        check(&modern("tools/call", r#""name":"a","arguments":{"query":"b"},"#), r#"tool a(query="b")"#);
        check(&modern("tools/list", ""), "tools");
        check(
            &modern("server/discover", ""),
            r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","supportedVersions":["2026-07-28","#,
        );
        // What the other kind of version has, and a call that wants no answer is none.
        for message in [
            &modern("ping", ""),
            &modern("initialize", ""),
            &modern("subscriptions/listen", ""),
            r#"{"jsonrpc":"2.0","id":"a","method":"server/discover"}"#,
        ] {
            check(message, r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"#);
        }
        check(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, "");
        assert_eq!(asked(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#), "");
        assert_eq!(asked(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), "");
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2099-01-01"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","#,
        );
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":
            {"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        check(bare, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"#);
        check(
            &bare.replace("2026-07-28", "2030-01-01"),
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28","2025-11-25","2025-06-18"],"requested":"2030-01-01"}"#,
        );
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}}}"#,
            "[".repeat(200) + &"]".repeat(200)
        );
        check(&deep, r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"The message is nested"#);
        check(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"#,
        );
    }

    #[test]
    fn a_name_that_no_header_holds_is_base64() {
        assert_eq!(decoded("a"), "a");
        assert_eq!(decoded("=?base64?w6k=?="), "é");
        assert_eq!(decoded("=?base64?!?="), "=?base64?!?=");
    }

    #[test]
    fn answers_are_one_line() {
        let exchange =
            Exchange { http: None, id: Some("1".to_owned()), modern: false, what: What::Call, bytes: 9 };
        let answer = String::from_utf8(exchange.called(b"{\"a\":{\n\"b\": 1\r\n}}", false)).unwrap();
        assert!(!answer.contains(['\n', '\r']), "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["result"]["structuredContent"]["a"]["b"], 1);
    }

    /// A result is told twice, and the longer of it once more inside a string: however it is written, the reply fits.
    #[test]
    fn the_reply_fits_into_that_of_its_source() {
        let alb = Source::Alb { multi_value: false, method: super::super::Method::Post };
        let room = alb.limits().bytes;
        let exchange = Exchange {
            http: Some(alb),
            id: Some("1".to_owned()),
            modern: true,
            what: What::Call,
            bytes: usize::MAX,
        };
        let most = exchange.limits().bytes;
        let json = format!(r#"{{"a":"{}"}}"#, r#"\""#.repeat((most - 8) / 2));
        assert!(json.len() <= most);
        let inside =
            serde_json::to_string(&String::from_utf8(exchange.called(json.as_bytes(), false)).unwrap());
        let inside = inside.unwrap().len();
        assert!(inside <= room + 1024, "{inside} of {room}");
    }

    #[test]
    fn it_is_posted_to_its_path_alone() {
        let event = |method: &str, path: &str| {
            serde_json::json!({
                "version": "2.0",
                "rawPath": path,
                "headers": {"content-type": "application/json"},
                "requestContext": {"http": {"method": method}, "stage": "$default"},
                "body": r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            })
            .to_string()
        };
        let on = Function { mcp: true, base_path: "/api".to_owned(), ..settings() };
        let source = |event: &str, function: &Function| {
            parse(event.as_bytes(), function, &Invocation::default()).source.name()
        };
        assert_eq!(source(&event("POST", "/api/mcp"), &on), "mcp");
        assert_eq!(source(&event("POST", "/mcp"), &on), "api-gateway-v2");
        assert_eq!(source(&event("POST", "/api/mcp/"), &on), "api-gateway-v2");
        assert_eq!(source(&event("GET", "/api/mcp"), &on), "api-gateway-v2");
        let off = Function { mcp: false, ..on.clone() };
        assert_eq!(source(&event("POST", "/api/mcp"), &off), "api-gateway-v2");
    }
}
