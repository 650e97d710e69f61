//! From the bytes of one event to what it asks: which source sent it, and which query it calls with which
//! parameters, as whom.
//!
//! The source is recognised by what only its events say, where `null` says nothing, and only then are its pieces
//! read; nothing is tried and retried. What comes out does not tell which source it was, save for what the reply needs
//! ([`Source`]). Pure: no I/O, no clock, no driver.
//!
//! ```text
//! (client context)     AgentCore Gateway: the event is a tool's arguments, whatever keys they have
//! actionGroup          Bedrock agent
//! Records              SQS, or a source that we do not serve
//! a list of objects    EventBridge Pipes: SQS, or a source that we do not serve
//! requestContext.elb   Application Load Balancer
//! requestContext.http  API Gateway v2, function URL
//! httpMethod           API Gateway v1
//! detail-type, detail  EventBridge
//! anything else        a direct event: ours, or nobody's
//! ```

mod accept;
mod agent;
mod claims;
mod direct;
mod http;
mod json;
mod mcp;
mod queue;
mod source;
mod unserved;

use std::sync::Arc;

use crate::config::Function;
use crate::error::{Error, Fault, Result};
use crate::reply::Body;
use crate::value::{Origin, Params};

pub use self::accept::Wanted;
pub(crate) use self::accept::no_coding;
pub(crate) use self::agent::Place;
pub use self::agent::{Action, tool_gate, unknown_tool};
pub use self::http::{gate, refusal, stray_body};
pub use self::mcp::Exchange;
pub(crate) use self::mcp::What;
pub use self::source::Source;

use self::json::{Object, bad_event, must_be, quoted};

/// One event, understood as far as it could be.
#[derive(Debug)]
pub struct Event {
    /// Who sent it, and so what the reply must look like: also where the request is wrong.
    pub source: Source,
    /// What it asks.
    pub request: Result<Request>,
    /// What the body of the reply may be.
    pub wanted: Wanted,
}

/// What an event asks.
#[derive(Debug)]
pub enum Request {
    /// One query.
    Call(Call),
    /// Several queries, all or nothing.
    Transaction(Vec<Call>),
    /// One query with many parameter sets, all or nothing.
    Batch(Batch),
    /// The messages of a queue, each for itself.
    Records(Vec<Record>),
    /// A walk through everything that a call needs.
    Diagnose,
    /// A sign of life, without the database.
    Health,
    /// A browser's question before the request itself (CORS).
    Preflight,
    /// The OpenAPI document.
    OpenApi,
    /// The tools for agents.
    Tools,
    /// Nothing: the answer is known already.
    Told(Body),
}

/// One query and its parameters.
#[derive(Debug, Clone)]
pub struct Call {
    /// The query's name; `None` is the default query.
    pub query: Option<String>,
    /// What the caller gave.
    pub params: Params,
    /// The method, if the call came over HTTP: then [`gate`] must be passed.
    pub method: Option<Method>,
    /// Whether it is a GET with a body of JSON: refused, if the method is not.
    pub stray_body: bool,
    /// Whether an agent calls: then only what is a tool is there ([`tool_gate`]).
    pub agent: bool,
    /// What the invocation brings besides. The calls of one event share it.
    pub origin: Arc<Origin>,
}

impl Request {
    /// The parameters that the caller gave, for the log of whoever wants them there.
    #[must_use]
    pub fn values(&self) -> String {
        let sets: Vec<&Params> = match self {
            Self::Call(call) => vec![&call.params],
            Self::Transaction(calls) => calls.iter().map(|call| &call.params).collect(),
            Self::Batch(batch) => batch.params.iter().collect(),
            Self::Records(_)
            | Self::Diagnose
            | Self::Health
            | Self::Preflight
            | Self::OpenApi
            | Self::Tools
            | Self::Told(_) => Vec::new(),
        };
        sets.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl Call {
    /// The name of the query to run, where this is the default.
    ///
    /// # Errors
    /// If the call names none and there is no default: `bad_event`, over HTTP `unknown_query`.
    pub fn name<'a>(&'a self, default: Option<&'a str>) -> Result<&'a str> {
        self.query.as_deref().or(default).ok_or_else(|| match self.method {
            None => bad_event("There is no default query. Send {\"query\": …, \"params\": {…}}."),
            Some(_) => http::nothing_here(),
        })
    }
}

/// One query and many parameter sets.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The query's name.
    pub query: String,
    /// The parameters of each run.
    pub params: Vec<Params>,
    /// The method, if the batch came over HTTP: then [`gate`] must be passed.
    pub method: Option<Method>,
    /// What the invocation brings besides.
    pub origin: Arc<Origin>,
}

/// One message of a queue.
#[derive(Debug)]
pub struct Record {
    /// SQS's id of the message, by which a failure is reported.
    pub message_id: String,
    /// The message group, of a FIFO queue: after a failure the rest of the group must not run.
    pub group: Option<String>,
    /// What it asks: a call, a transaction or a batch.
    pub request: Result<Request>,
}

/// An HTTP method, as far as we tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD: as GET, without the body.
    Head,
    /// POST
    Post,
    /// OPTIONS
    Options,
    /// Any other. No query can be called with it.
    Other,
}

/// What Lambda tells about one invocation.
#[derive(Debug, Clone, Default)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// The tenant that Lambda runs this environment for, where the function has tenant isolation.
    pub tenant_id: Option<String>,
    /// The X-Ray trace header.
    pub trace_id: Option<String>,
    /// When Lambda stops the invocation, in milliseconds since 1970-01-01; `None` where nobody stops it.
    pub deadline_ms: Option<u64>,
    /// Where an AgentCore Gateway calls: what it tells beside the event.
    pub gateway: Option<Gateway>,
}

/// What an AgentCore Gateway tells in the client context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateway {
    /// The tool, as `target___tool`.
    pub tool: String,
    /// The headers of its client that it was set up to hand on, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Invocation {
    /// What it brings by itself to every call in its event.
    pub(crate) fn origin(&self) -> Origin {
        Origin { request_id: self.request_id.clone(), tenant_id: self.tenant_id.clone(), ..Origin::default() }
    }

    /// The same with the client context of the invocation, which is JSON: in its member `custom` an AgentCore Gateway
    /// tells that it calls, and which tool. Any other says nothing to us.
    /// <https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-add-target-lambda.html>
    #[must_use]
    pub fn with_client_context(self, context: &str) -> Self {
        Self { gateway: agent::told(context), ..self }
    }
}

/// Understands one event. Never panics, and never recurses deeper than a few calls, whatever the bytes.
#[must_use]
pub fn parse(event: &[u8], function: &Function, invocation: &Invocation) -> Event {
    // Its arguments may have any key, so nothing else is looked at.
    if let Some(gateway) = &invocation.gateway {
        return agent::gateway(event, gateway, function, invocation);
    }
    let text = match std::str::from_utf8(event) {
        Ok(text) => text,
        Err(error) => return Event::unknown(bad_event(format!("The event is not valid UTF-8: {error}."))),
    };
    let checked = json::check_depth(text, "The event");
    // EventBridge Pipes hands over the records themselves. Any other list is nobody's.
    if checked.is_ok()
        && let Some(records) = queue::piped(text)
    {
        return queue::parse(records, invocation);
    }
    let event = match checked.and_then(|()| Object::parse(text, "The event")) {
        Ok(event) => event,
        Err(error) if text.trim_ascii_start().starts_with('{') => return Event::unknown(error),
        Err(error) => {
            return Event::unknown(bad_event(format!("{} {}", error.message(), direct::SHAPES)));
        }
    };
    let whole = event;
    let event = whole.clone().without_nulls();
    if let Some(event) = agent::bedrock(&event, function, invocation) {
        return event;
    }
    if let Some(records) = event.get("Records") {
        return match json::elements(records, "Records") {
            Ok(records) => queue::parse(records, invocation),
            Err(error) => Event::unserved(error),
        };
    }
    if let Some(source) = unserved::source(&event) {
        return Event::unserved(queue::unserved(&source));
    }
    if let Some(event) = http::parse(&event, function, invocation) {
        return event;
    }
    let origin = Arc::new(invocation.origin());
    if let Some(detail) = eventbridge(&event) {
        let request = detail.and_then(|detail| direct::parse(&detail, &origin).1);
        return Event::new(Source::EventBridge, request);
    }
    let (source, request, wanted) = direct::parse(&whole, &origin);
    Event { source, request, wanted }
}

/// Understands one message of the Model Context Protocol that came through a pipe.
#[must_use]
pub fn message(message: &str, function: &Function, origin: Origin) -> Event {
    mcp::read(message, None, function, Arc::new(origin))
}

/// The error for a query that does not exist, or not for this caller.
#[must_use]
pub fn unknown_query(name: &str) -> Error {
    Error::told(Fault::UnknownQuery, format!("There is no query {}.", quoted(name)))
}

impl Event {
    /// An event whose sender takes JSON.
    fn new(source: Source, request: Result<Request>) -> Self {
        Self { source, request, wanted: Wanted::default() }
    }

    /// An event of no source that we know.
    fn unknown(error: Error) -> Self {
        Self::new(Source::DIRECT, Err(error))
    }

    /// An event of a source that we do not serve and that would take a reply for success.
    fn unserved(error: Error) -> Self {
        Self::new(Source::Unserved, Err(error))
    }
}

/// The `detail` of EventBridge's envelope, if this is one:
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>.
fn eventbridge<'a>(event: &Object<'a>) -> Option<Result<Object<'a>>> {
    event.some("detail-type")?;
    Some(match event.get("detail") {
        Some(detail) => Object::parse(detail.get(), "`detail`"),
        None => Err(must_be("detail", "a JSON object")),
    })
}

/// What the tests of this module and of [`crate::reply`] share.
#[cfg(test)]
pub(crate) mod testing {
    use std::time::Duration;

    use crate::config::{DirectErrors, Int64, OpenApi};
    use crate::value::Given;

    use super::*;

    /// The settings that every test starts from: nothing set.
    pub(crate) fn settings() -> Function {
        Function {
            queries: "queries".into(),
            default_query: None,
            base_path: String::new(),
            http_timeout: Duration::from_secs(28),
            http_batch: false,
            cors_origin: None,
            direct_errors: DirectErrors::Reply,
            int64: Int64::Number,
            openapi: OpenApi::Off,
            mcp: false,
            mcp_authorization_server: None,
            tool_bytes: 65_536,
            compress: true,
            stream: false,
            stream_bytes: 200 << 20,
            identity: crate::queries::Identity::default(),
            diagnose: false,
            log_values: false,
            log: tracing_subscriber::filter::Targets::new(),
        }
    }

    /// A request on one line.
    pub(crate) fn show(request: &Request) -> String {
        let call = |call: &Call| {
            let kind = if call.agent { "tool" } else { "call" };
            format!("{kind} {}({})", call.query.as_deref().unwrap_or("default"), list(&call.params))
        };
        match request {
            Request::Call(one) => call(one),
            Request::Transaction(steps) => {
                let steps: Vec<String> = steps.iter().map(call).collect();
                format!("transaction: {}", steps.join("; "))
            }
            Request::Batch(batch) => {
                let sets: Vec<String> = batch.params.iter().map(|set| format!("({})", list(set))).collect();
                format!("batch {}: {}", batch.query, sets.join("; "))
            }
            Request::Records(records) => format!("{} records", records.len()),
            Request::Diagnose => "diagnose".to_owned(),
            Request::Health => "health".to_owned(),
            Request::Preflight => "preflight".to_owned(),
            Request::OpenApi => "openapi".to_owned(),
            Request::Tools => "tools".to_owned(),
            Request::Told(body) => String::from_utf8_lossy(&body.json).into_owned(),
        }
    }

    fn list(params: &Params) -> String {
        let params: Vec<String> =
            params.0.iter().map(|(name, value)| format!("{name}={}", show_given(value))).collect();
        params.join(", ")
    }

    /// A value: JSON as it stands, text in quotes.
    pub(crate) fn show_given(value: &Given) -> String {
        match value {
            Given::Json(json) => json.get().to_owned(),
            Given::Text(text) => format!("'{text}'"),
            Given::Texts(texts) => format!("{texts:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{settings, show};
    use super::*;

    fn parse_default(event: &[u8]) -> Event {
        parse(event, &settings(), &Invocation::default())
    }

    #[test]
    fn what_is_no_event() {
        fn check(event: &[u8], expected: &str) {
            let event = parse_default(event);
            let error = event.request.unwrap_err();
            assert_eq!(event.source, Source::DIRECT);
            assert_eq!(error.fault(), Fault::BadEvent);
            assert!(error.message().contains(expected), "{error}");
        }
        check(b"", "The event is not valid JSON: EOF while parsing a value at line 1 column 0.");
        check(b"null", "The event must be a JSON object.");
        check(b"[]", "The event must be a JSON object.");
        check(
            b"\"x\"",
            "The event must be a JSON object. Send {\"query\": …, \"params\": {…}}, {\"transaction\": […]}",
        );
        check(b"{\"query\":}", "The event is not valid JSON: expected value at line 1 column 10.");
        check(
            b"{\"query\":\"\xff\"}",
            "The event is not valid UTF-8: invalid utf-8 sequence of 1 bytes from index 10.",
        );
        check(&b"[".repeat(1_000_000), "The event is nested deeper than 128 levels.");
        let deep = format!(r#"{{"query":"a","params":{{"x":{}}}}}"#, "[".repeat(1000) + &"]".repeat(1000));
        check(deep.as_bytes(), "The event is nested deeper than 128 levels.");
        // A WebSocket's event has a requestContext that is none of ours, an authorizer's is none to answer.
        check(
            br#"{"requestContext":{"connectionId":"c","eventType":"MESSAGE"},"body":"x"}"#,
            "This function does not know this event.",
        );
        check(
            br#"{"type":"REQUEST","methodArn":"arn","httpMethod":"GET","path":"/a","requestContext":{}}"#,
            "This function does not know this event.",
        );
        check(br#"{"requestContext":7,"httpMethod":"GET"}"#, "This function does not know this event.");
        // What EventBridge Pipes sends is a list of objects.
        check(b"[1]", "The event must be a JSON object.");
        check(b"[{},1]", "The event must be a JSON object.");
    }

    #[test]
    fn null_says_nothing() {
        fn check(event: &str, source: &str, expected: &str) {
            let event = parse_default(event.as_bytes());
            let asked = event.request.map_or_else(|error| error.to_string(), |request| show(&request));
            assert_eq!((event.source.name(), &*asked), (source, expected));
        }
        check(
            r#"{"query":"a","params":null,"transaction":null,"batch":null,"reply":null,"Records":null,
                "requestContext":null,"detail":null,"detail-type":null,"awslogs":null,"eventSource":null}"#,
            "direct",
            "call a()",
        );
        check(
            r#"{"detail-type":"T","source":"s","detail":{"query":"a","batch":null},"Records":null}"#,
            "eventbridge",
            "call a()",
        );
        check(
            r#"{"Records":[{"messageId":"m","eventSource":"aws:sqs","EventSource":null,"body":"{\"query\":\"a\"}"}]}"#,
            "sqs",
            "1 records",
        );
        // As cargo-lambda writes a request of format 2.0.
        let url = |more: &str| {
            format!(
                r#"{{{more},"httpMethod":"GET","resource":null,"version":"2.0","routeKey":"$default","rawPath":"/a",
                    "rawQueryString":"n=1","headers":{{}},"body":null,"isBase64Encoded":false,
                    "requestContext":{{"elb":null,"authorizer":null,"stage":"$default","http":{{"method":"GET"}}}}}}"#
            )
        };
        for more in [
            r#""type":null,"methodArn":null,"routeArn":null"#,
            r#""type":"","methodArn":"","identitySource":[]"#,
            r#""methodArn":"arn:aws:execute-api:eu-west-1:1:a/b/GET/a""#,
        ] {
            check(&url(more), "api-gateway-v2", "call a(n='1')");
        }
        let authorizer = url(r#""type":"REQUEST","routeArn":"arn:aws:execute-api:eu-west-1:1:a/b/GET/a""#);
        let event = parse_default(authorizer.as_bytes());
        assert_eq!(event.source, Source::DIRECT, "an authorizer is not answered like a request");
    }

    #[test]
    fn what_would_take_a_reply_for_success_is_raised() {
        fn check(event: &str, expected: &str) {
            let parsed = parse_default(event.as_bytes());
            assert_eq!(parsed.source, Source::Unserved, "{event}");
            let message = parsed.request.unwrap_err().to_string();
            assert!(message.contains(expected), "{event}: {message}");
        }
        check(r#"{"awslogs":{"data":"H4sI"}}"#, "`awslogs`");
        check(r#"{"eventSource":"aws:kafka","records":{}}"#, "`aws:kafka`");
        check(
            r#"{"version":"1.0","timestamp":"2026-01-31T13:37:00Z","requestContext":{"requestId":"r",
                "functionArn":"arn:aws:lambda:eu-west-1:1:function:f","condition":"RetriesExhausted",
                "approximateInvokeCount":3},"requestPayload":{"query":"a"},"responsePayload":null}"#,
            "`Lambda destinations`",
        );
        check(
            r#"{"source":"aws.cloudwatch","alarmArn":"arn:aws:cloudwatch:eu-west-1:1:alarm:a","accountId":"1",
                "alarmData":{"alarmName":"a"}}"#,
            "`CloudWatch alarms`",
        );
        check(r#"{"CodePipeline.job":{"id":"1","data":{}}}"#, "`CodePipeline`");
        check(
            r#"{"version":"1.0","invokingEvent":"{}","ruleParameters":"{}","resultToken":"t","configRuleName":"r"}"#,
            "`AWS Config`",
        );
        check(
            r#"{"RequestType":"Create","ResponseURL":"https://x","StackId":"s","LogicalResourceId":"l"}"#,
            "`CloudFormation`",
        );
        check(
            r#"{"Step":"createSecret","SecretId":"s","ClientRequestToken":"t"}"#,
            "`Secrets Manager rotation`",
        );
        check(
            r#"{"clientId":"c","timestamp":1,"eventType":"connected","sessionIdentifier":"s",
                "principalIdentifier":"p","versionNumber":0}"#,
            "`IoT`",
        );
        check(r#"{"state":{"reported":{"t":1}},"metadata":{},"version":1,"clientToken":"t"}"#, "`IoT`");
        check(r#"{"topic":"a/b","clientid":"c","temperature":21}"#, "`IoT`");
        // EventBridge Pipes, from whatever it reads.
        check(r#"[{"eventSource":"aws:kinesis","data":"e30=","partitionKey":"k"}]"#, "`aws:kinesis`");
        check(r#"[{"topic":"t","partition":0,"value":"e30=","eventSource":"aws:kafka"}]"#, "`aws:kafka`");
        check(r#"[{"query":"a"},{"query":"b"}]"#, "`unknown`");
    }

    #[test]
    fn messages_that_a_pipe_hands_over() {
        let event = r#"[{"messageId":"m1","eventSource":"aws:sqs","body":"{\"query\":\"a\"}"},
            {"messageId":"m2","eventSource":"aws:sqs","body":"x"}]"#;
        let event = parse_default(event.as_bytes());
        assert_eq!(event.source, Source::Sqs);
        let Ok(Request::Records(records)) = event.request else { panic!() };
        let asked: Vec<_> =
            records.iter().map(|record| (&*record.message_id, record.request.is_ok())).collect();
        assert_eq!(asked, [("m1", true), ("m2", false)]);
    }

    #[test]
    fn eventbridge_details() {
        fn check(detail: &str, expected: &str) {
            let event =
                format!(r#"{{"version":"0","id":"i","detail-type":"T","source":"s","detail":{detail}}}"#);
            let event = parse_default(event.as_bytes());
            assert_eq!(event.source, Source::EventBridge);
            let asked = event.request.map_or_else(|error| error.to_string(), |request| show(&request));
            assert!(asked.starts_with(expected), "{detail}: {asked}");
        }
        check("{}", "call default()");
        check(r#"{"query":"a","params":{"n":1}}"#, "call a(n=1)");
        check(r#"{"batch":{"query":"a","params":[{}]}}"#, "batch a: ()");
        check(r#"{"instance-id":"i-1","state":"pending"}"#, "bad_event: This function does not know");
        check("null", "bad_event: `detail` must be a JSON object.");
        check(r#"{"query":"a","query":"b"}"#, "bad_event: `detail` has the key `query` twice.");
    }

    #[test]
    fn the_default_query() {
        let call = |method| Call {
            query: None,
            params: Params::default(),
            method,
            stray_body: false,
            agent: false,
            origin: Arc::default(),
        };
        assert_eq!(call(None).name(Some("a")).unwrap(), "a");
        assert_eq!(call(None).name(None).unwrap_err().fault(), Fault::BadEvent);
        assert_eq!(call(Some(Method::Get)).name(None).unwrap_err().fault(), Fault::UnknownQuery);
        let named = Call { query: Some("b".into()), ..call(None) };
        assert_eq!(named.name(Some("a")).unwrap(), "b");
    }

    /// Keys that lead somewhere, so that random events get past the first line.
    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => prop::sample::select(vec![
                "query", "params", "transaction", "batch", "diagnose", "reply", "onError", "limit", "Records",
                "eventSource", "messageId", "body", "attributes", "MessageGroupId", "SequenceNumber", "TopicArn",
                "Message", "detail", "detail-type", "requestContext", "http", "elb", "method", "httpMethod", "path",
                "rawPath", "rawQueryString", "stage", "headers", "multiValueHeaders", "queryStringParameters",
                "multiValueQueryStringParameters", "isBase64Encoded", "authorizer", "claims", "jwt", "lambda",
                "iam", "identity", "userArn", "content-type", "domainName",
            ]).prop_map(str::to_owned),
            1 => any::<String>(),
        ]
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            prop::sample::select(vec![
                "GET",
                "POST",
                "aws:sqs",
                "raise",
                "raw",
                "/a",
                "/%ff",
                "a=1&a=%zz&b+c",
                "{}",
                "$default",
                "{\"transaction\":[{}]}",
                "application/json",
                "x.lambda-url.eu-central-1.on.aws",
            ])
            .prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                3 => prop::collection::vec((key(), inner.clone()), 0..8)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
                1 => prop::collection::vec(inner, 0..4).prop_map(Into::into),
            ]
        })
    }

    /// Each source's event as AWS documents it.
    const SAMPLES: [&str; 12] = [
        include_str!("../../tests/events/alb.json"),
        include_str!("../../tests/events/alb-multi-value.json"),
        include_str!("../../tests/events/apigw-v1.json"),
        include_str!("../../tests/events/apigw-v1-cognito.json"),
        include_str!("../../tests/events/apigw-v2.json"),
        include_str!("../../tests/events/apigw-v2-iam.json"),
        include_str!("../../tests/events/function-url.json"),
        include_str!("../../tests/events/eventbridge-custom.json"),
        include_str!("../../tests/events/sns.json"),
        include_str!("../../tests/events/sqs.json"),
        include_str!("../../tests/events/sqs-fifo.json"),
        include_str!("../../tests/events/sqs-sns.json"),
    ];

    /// An event of a known source, in which up to three values are others, or missing.
    fn damaged() -> impl Strategy<Value = serde_json::Value> {
        let change =
            (prop::collection::vec(any::<prop::sample::Index>(), 1..6), prop::option::weighted(0.8, value()));
        (prop::sample::select(&SAMPLES[..]), prop::collection::vec(change, 0..4)).prop_map(
            |(sample, changes)| {
                let mut event = serde_json::from_str(sample).unwrap();
                for (path, new) in changes {
                    change_at(&mut event, &path, new);
                }
                event
            },
        )
    }

    /// Follows a path into the event, as deep as both go, and replaces or removes what is there.
    fn change_at(at: &mut serde_json::Value, path: &[prop::sample::Index], new: Option<serde_json::Value>) {
        let Some((step, rest)) = path.split_first() else {
            *at = new.unwrap_or_default();
            return;
        };
        match at {
            serde_json::Value::Object(members) if !members.is_empty() => {
                let key = members.keys().nth(step.index(members.len())).unwrap().clone();
                if rest.is_empty() && new.is_none() {
                    members.remove(&key);
                } else {
                    change_at(&mut members[&key], rest, new);
                }
            }
            serde_json::Value::Array(items) if !items.is_empty() => {
                let index = step.index(items.len());
                change_at(&mut items[index], rest, new);
            }
            leaf => *leaf = new.unwrap_or_default(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// Whatever an agent writes, and whatever else stands in its event, it is one call of the tool that is named,
        /// as nobody, or it is refused.
        #[test]
        fn an_agents_event_is_one_call_of_one_tool(written in value(), beside in value()) {
            let members = beside.as_object().cloned().unwrap_or_default();
            let with_members = |mut event: serde_json::Value| {
                for (key, value) in &members {
                    if event.get(key).is_none() {
                        event[key] = value.clone();
                    }
                }
                event.to_string()
            };
            let gateway = r#"{"custom":{"bedrockAgentCoreToolName":"t___a"}}"#;
            let gateway = Invocation::default().with_client_context(gateway);
            let parameter = serde_json::json!({"name": "x", "type": "string", "value": written});
            let bedrock = with_members(serde_json::json!({
                "messageVersion": "1.0", "actionGroup": "g", "function": "a", "parameters": [parameter],
                "apiPath": null, "requestContext": null,
            }));
            let message = with_members(serde_json::json!({
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": with_members(serde_json::json!({"name": "a", "arguments": written}))
                    .parse::<serde_json::Value>().unwrap(),
            }));
            let function = Function { mcp: true, http_batch: true, ..settings() };
            let plain = Invocation::default();
            for event in [
                parse(written.to_string().as_bytes(), &function, &gateway),
                parse(bedrock.as_bytes(), &function, &plain),
                self::message(&message, &function, Origin::default()),
            ] {
                match event.request {
                    Ok(Request::Call(call)) => {
                        prop_assert!(call.agent, "{call:?}");
                        prop_assert_eq!(call.query.as_deref(), Some("a"));
                        prop_assert!(call.origin.claims.is_none() && call.origin.headers.is_empty(), "{call:?}");
                        prop_assert!(call.origin.message_id.is_none(), "{call:?}");
                    }
                    // MCP's answer to what is no message.
                    Ok(Request::Told(body)) => prop_assert!(body.json.starts_with(b"{\"jsonrpc\":\"2.0\","), "{body:?}"),
                    Ok(other) => prop_assert!(false, "{other:?}"),
                    Err(error) => {
                        prop_assert!(matches!(error.fault(), Fault::BadEvent | Fault::BadParameter), "{error}");
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever is wrong in it, an event is read to its end, and the failure is told in its source's shape.
        #[test]
        fn a_damaged_event_is_answered(event in damaged(), query in "\\PC{0,20}|[a-c=&+%0-9]{0,20}", body: Vec<u8>, encoded: bool) {
            let mut event = event;
            if let Some(place) = event.get_mut("rawQueryString") {
                *place = query.into();
            }
            if encoded && let Some(place) = event.get_mut("isBase64Encoded") {
                use base64::Engine as _;
                *place = true.into();
                event["body"] = base64::engine::general_purpose::STANDARD.encode(&body).into();
            }
            let mut function = settings();
            function.http_batch = true;
            function.base_path = "/v1".to_owned();
            function.cors_origin = Some("*".to_owned());
            let event = parse(event.to_string().as_bytes(), &function, &Invocation::default());
            let outcome = event.request.and(Err(Error::new(Fault::Internal, "a detail")));
            match event.source.reply(outcome, "id", &function) {
                Ok(reply) => {
                    let reply = serde_json::to_string(&reply).unwrap();
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&reply).is_ok(), "{}", reply);
                    prop_assert!(!reply.contains("a detail"), "{}", reply);
                }
                Err(raised) => prop_assert!(!raised.message.contains("a detail"), "{}", raised.message),
            }
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_default(&bytes);
        }

        #[test]
        fn json_never_panics(event in value()) {
            let mut function = settings();
            function.http_batch = true;
            let event = parse(event.to_string().as_bytes(), &function, &Invocation::default());
            let _ = event.source.limits();
        }

        /// Whatever a caller puts into a call, nobody vouches for it.
        #[test]
        fn a_direct_event_never_has_claims(params in value()) {
            let event = serde_json::json!({"query": "a", "params": {"claims": params}});
            let event = parse_default(event.to_string().as_bytes());
            if let Ok(Request::Call(call)) = event.request {
                prop_assert!(call.origin.claims.is_none());
            }
        }
    }
}
