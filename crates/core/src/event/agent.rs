//! Calls by agents: an AgentCore Gateway's, and a Bedrock agent's. Both are one call of one tool, and nothing that an
//! agent writes can make them anything else.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::backend::Access;
use crate::config::Function;
use crate::error::{Error, Fault, Result};
use crate::queries::Query;
use crate::rows::Limits;
use crate::value::{Given, Origin, Params};

use super::json::{self, Object, bad_event, must_be, quoted};
use super::{Call, Event, Gateway, Invocation, Method, Request, Source, direct};

/// What the keys of an AgentCore Gateway's client context begin with.
const GATEWAY: &str = "bedrockAgentCore";
/// The one that names the tool.
const GATEWAY_TOOL: &str = "bedrockAgentCoreToolName";
/// The one with the headers that are handed on.
const GATEWAY_HEADERS: &str = "bedrockAgentCorePropagatedHeaders";

/// What an AgentCore Gateway tells in a client context; `None` for anybody else's.
pub(super) fn told(context: &str) -> Option<Gateway> {
    let custom = Object::parse(context, "The client context").and_then(|context| {
        let custom = context.object("custom")?.unwrap_or_default();
        let tool = custom.get(GATEWAY_TOOL).and_then(json::string).unwrap_or_default().into_owned();
        let mut headers = Vec::new();
        for (name, value) in custom.object(GATEWAY_HEADERS)?.iter().flat_map(Object::iter) {
            if let Some(value) = json::string(value) {
                headers.push((name.to_ascii_lowercase(), value.into_owned()));
            }
        }
        Ok(custom.keys().any(|key| key.starts_with(GATEWAY)).then_some(Gateway { tool, headers }))
    });
    match custom {
        Ok(gateway) => gateway,
        // A gateway calls, and what it sends is arguments, even where it cannot be read which tool.
        Err(_) => context.contains(GATEWAY).then(Gateway::default),
    }
}

/// The error for a tool that does not exist, and for a query that is none: which of the two is not told.
#[must_use]
pub fn unknown_tool(name: &str) -> Error {
    Error::told(Fault::UnknownQuery, format!("There is no tool {}.", quoted(name)))
}

/// Whether an agent may call this query, and with this method where its call has one: an action of a Bedrock agent
/// that is described by an API schema.
///
/// # Errors
/// As [`unknown_tool`] if it is no tool; `method_not_allowed`.
pub fn tool_gate(query: &Query, method: Option<Method>) -> Result<()> {
    if query.tool().is_none() {
        return Err(unknown_tool(query.name()));
    }
    let allow = match query.access() {
        Access::Read => "GET, POST",
        Access::Write => "POST",
    };
    match (method, query.access()) {
        (None | Some(Method::Post), _) | (Some(Method::Get), Access::Read) => Ok(()),
        _ => {
            let name = quoted(query.name());
            let message = format!("The tool {name} cannot be called with this method, but with {allow}.");
            Err(Error::told(Fault::MethodNotAllowed, message).with_allow(allow))
        }
    }
}

/// A call of a tool.
pub(super) fn tool(name: String, params: Params, method: Option<Method>, origin: Arc<Origin>) -> Request {
    Request::Call(Call { query: Some(name), params, method, stray_body: false, agent: true, origin })
}

/// Reads an AgentCore Gateway's event, which is the bare arguments of the tool that its client context names.
pub(super) fn gateway(
    event: &[u8],
    gateway: &Gateway,
    function: &Function,
    invocation: &Invocation,
) -> Event {
    // "The tool name is prefixed with the target's name and three underscores"; a target's name has no underscore.
    let name = gateway.tool.split_once("___").map_or(&*gateway.tool, |(_, name)| name);
    let headers = gateway.headers.clone();
    let origin = Origin { headers, ..invocation.origin() };
    let request = std::str::from_utf8(event)
        .map_err(|error| bad_event(format!("The input is not valid UTF-8: {error}.")))
        .and_then(|text| json::check_depth(text, "The input").map(|()| text))
        .and_then(|text| Object::parse(text, "The input"))
        .map(|arguments| tool(name.to_owned(), direct::given(arguments), None, Arc::new(origin)));
    Event::new(Source::AgentCore { bytes: function.tool_bytes }, request)
}

/// What a Bedrock agent wants done, as its reply says it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    group: String,
    place: Place,
    /// How many bytes of result there may be.
    bytes: usize,
}

/// How the action group is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// By functions.
    Function(String),
    /// By an API schema.
    Api {
        /// `/name`
        path: String,
        /// As the agent wrote it.
        method: String,
    },
}

impl Action {
    /// The action group.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The function, or the path and the method.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// How much room there is for the result. The agent takes 25 KB in all, in which the result is a JSON string.
    pub(super) fn limits(&self) -> Limits {
        let names = match &self.place {
            Place::Function(name) => name.len(),
            Place::Api { path, method } => path.len() + method.len(),
        };
        // A name may be made of what takes six bytes.
        let room = BEDROCK.saturating_sub(BEDROCK_ENVELOPE + 6 * (names + self.group.len()));
        // Even if each of its bytes takes two.
        let fits = self.bytes <= room / 2;
        Limits { bytes: self.bytes.min(room), escaped: !fits, max_rows: None }
    }
}

/// Reads a Bedrock agent's event, if this is one:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/agents-lambda.html>.
pub(super) fn bedrock(event: &Object<'_>, function: &Function, invocation: &Invocation) -> Option<Event> {
    if !event.has("messageVersion") || !event.has("actionGroup") {
        return None;
    }
    let text = |key| event.some(key).and_then(json::string).unwrap_or_default().into_owned();
    let (path, method) = (text("apiPath"), text("httpMethod"));
    let place = match event.some("apiPath").is_some() {
        true => Place::Api { path: path.clone(), method: method.clone() },
        false => Place::Function(text("function")),
    };
    let request =
        action(event, &place).map(|(name, method, params)| tool(name, params, method, origin(invocation)));
    let action = Action { group: text("actionGroup"), place, bytes: function.tool_bytes };
    Some(Event::new(Source::Bedrock(Arc::new(action)), request))
}

/// The tool, the method and the parameters of an action.
fn action(event: &Object<'_>, place: &Place) -> Result<(String, Option<Method>, Params)> {
    if event.text("messageVersion")?.as_deref() != Some("1.0") {
        return Err(bad_event("`messageVersion` must be \"1.0\": this function knows no other."));
    }
    let mut params = Vec::new();
    if let Some(list) = event.some("parameters") {
        add(&mut params, list, "parameters")?;
    }
    let (name, method) = match place {
        Place::Function(name) => (name.clone(), None),
        Place::Api { path, method } => {
            let content = match event.object("requestBody")? {
                Some(body) => body.object("content")?,
                None => None,
            };
            for (_, media) in content.iter().flat_map(Object::iter) {
                if let Some(list) = Object::parse(media.get(), "`content`")?.some("properties") {
                    add(&mut params, list, "properties")?;
                }
            }
            let method = match method.as_str() {
                "GET" => Method::Get,
                "POST" => Method::Post,
                _ => Method::Other,
            };
            (path.strip_prefix('/').unwrap_or_default().to_owned(), Some(method))
        }
    };
    Ok((name, method, Params(params)))
}

/// Adds the parameters of a list in which each has a name, a type and a value that is text.
fn add(params: &mut Vec<(String, Given)>, list: &RawValue, key: &str) -> Result<()> {
    for entry in json::elements(list, key)? {
        let entry = Object::parse(entry.get(), &format!("An element of `{key}`"))?;
        let name = entry.text("name")?.ok_or_else(|| must_be("name", "the name of a parameter"))?;
        if params.iter().any(|(other, _)| *other == name) {
            return Err(Error::told(
                Fault::BadParameter,
                format!("Parameter {} is given twice; send it once.", quoted(&name)),
            ));
        }
        let Some(value) = entry.some("value") else { continue };
        let kind = entry.text("type")?.unwrap_or_default();
        let given = match (json::string(value), &*kind) {
            (None, _) => Given::Json(value.to_owned()),
            (Some(text), "array") => array(&text),
            (Some(text), "object") => as_json(&text).unwrap_or(Given::Text(text.into_owned())),
            (Some(text), _) => Given::Text(text.into_owned()),
        };
        params.push((name.into_owned(), given));
    }
    Ok(())
}

/// A list as agents write one: JSON, or words with commas in brackets.
fn array(text: &str) -> Given {
    as_json(text).unwrap_or_else(|| {
        let inside = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inside.unwrap_or(text).trim() {
            "" => Given::Texts(Vec::new()),
            words => Given::Texts(words.split(',').map(|word| word.trim().to_owned()).collect()),
        }
    })
}

/// The text itself, if it is an array or an object of JSON.
fn as_json(text: &str) -> Option<Given> {
    let text = text.trim();
    if !text.starts_with(['[', '{']) || json::check_depth(text, "").is_err() {
        return None;
    }
    RawValue::from_string(text.to_owned()).ok().map(Given::Json)
}

fn origin(invocation: &Invocation) -> Arc<Origin> {
    Arc::new(invocation.origin())
}

/// "Maximum response payload size: 25 KB", and a KB may be a thousand.
const BEDROCK: usize = 25_000;
/// What stands around names and result, the longest of two forms.
const BEDROCK_ENVELOPE: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{settings, show};
    use super::*;

    fn gateway(tool: &str, event: &str) -> Event {
        let context = format!(
            r#"{{"client":null,"custom":{{"bedrockAgentCoreToolName":"{tool}","bedrockAgentCoreTargetId":"T",
                 "bedrockAgentCorePropagatedHeaders":{{"X-Tenant":"7","n":1}}}}}}"#
        );
        parse(event.as_bytes(), &settings(), &Invocation::default().with_client_context(&context))
    }

    fn asked(event: Event) -> String {
        event.request.map_or_else(|error| error.to_string(), |request| show(&request))
    }

    #[test]
    fn a_gateways_event_is_arguments_whatever_its_keys() {
        fn check(tool: &str, event: &str, expected: &str) {
            let event = gateway(tool, event);
            assert_eq!(event.source, Source::AgentCore { bytes: 65_536 });
            let found = asked(event);
            assert!(found.starts_with(expected), "{found} is not {expected}…");
        }
        check("shop___orders", "{}", "tool orders()");
        check("shop____orders", r#"{"a":1.50}"#, "tool _orders(a=1.50)");
        check("shop___a___b", "{}", "tool a___b()");
        check("orders", "{}", "tool orders()");
        check("", "{}", "tool ()");
        for event in [
            r#"{"transaction":[]}"#,
            r#"{"batch":{"query":"a","params":[]}}"#,
            r#"{"diagnose":true}"#,
            r#"{"query":"a","onError":"raise","reply":"raw"}"#,
            r#"{"Records":[{"eventSource":"aws:sqs"}]}"#,
            r#"{"requestContext":{"http":{"method":"GET"}},"rawPath":"/b"}"#,
            r#"{"messageVersion":"1.0","actionGroup":"g","function":"b"}"#,
            r#"{"detail-type":"x","detail":{"query":"b"}}"#,
        ] {
            check("shop___orders", event, "tool orders(");
        }
        check("shop___orders", "[]", "bad_event: The input must be a JSON object.");
        check("shop___orders", r#"{"a":1,"a":2}"#, "bad_event: The input has the key `a` twice.");
        let deep = format!(r#"{{"x":{}}}"#, "[".repeat(1000) + &"]".repeat(1000));
        check("shop___orders", &deep, "bad_event: The input is nested deeper");
    }

    #[test]
    fn a_gateway_that_names_no_tool_is_still_one() {
        for context in [
            r#"{"custom":{"bedrockAgentCoreGatewayId":"g"}}"#,
            r#"{"custom":{"bedrockAgentCoreToolName":7}}"#,
            r#"{"custom":{"bedrockAgentCoreToolName":"a","bedrockAgentCoreToolName":"b"}}"#,
            r#"{"custom":{"bedrockAgentCoreToolName":"#,
        ] {
            let invocation = Invocation::default().with_client_context(context);
            let event = parse(br#"{"diagnose":true}"#, &settings(), &invocation);
            assert_eq!(asked(event), "tool (diagnose=true)", "{context}");
        }
        for context in ["", "{}", "[", r#"{"custom":null}"#, r#"{"custom":{"other":{"x":1}},"env":{"a":[]}}"#]
        {
            let invocation = Invocation::default().with_client_context(context);
            assert_eq!(asked(parse(b"{}", &settings(), &invocation)), "call default()", "{context}");
        }
    }

    #[test]
    fn headers_that_a_gateway_hands_on() {
        let Ok(Request::Call(call)) = gateway("shop___a", "{}").request else { panic!() };
        assert_eq!(call.origin.headers, [("x-tenant".to_owned(), "7".to_owned())]);
        assert!(call.origin.claims.is_none());
    }

    #[test]
    fn actions_of_a_bedrock_agent() {
        fn check(event: &str, expected: &str) {
            let event = parse(event.as_bytes(), &settings(), &Invocation::default());
            assert!(matches!(event.source, Source::Bedrock(_)), "{event:?}");
            let found = asked(event);
            assert!(found.starts_with(expected), "{found} is not {expected}…");
        }
        let function = |parameters: &str| {
            format!(
                r#"{{"messageVersion":"1.0","agent":{{"name":"a"}},"sessionId":"s","actionGroup":"g",
                     "function":"orders","parameters":{parameters},"sessionAttributes":{{"sub":"u"}}}}"#
            )
        };
        check(&function("[]"), "tool orders()");
        check(&function("null"), "tool orders()");
        check(
            &function(
                r#"[{"name":"n","type":"integer","value":"5"},{"name":"t","type":"string","value":"x"}]"#,
            ),
            "tool orders(n='5', t='x')",
        );
        check(
            &function(r#"[{"name":"a","type":"array","value":"[1, \"b\"]"}]"#),
            r#"tool orders(a=[1, "b"])"#,
        );
        check(&function(r#"[{"name":"a","type":"array","value":"[b, c]"}]"#), r#"tool orders(a=["b", "c"])"#);
        check(&function(r#"[{"name":"a","type":"array","value":"[]"}]"#), "tool orders(a=[])");
        check(&function(r#"[{"name":"a","type":"array","value":""}]"#), "tool orders(a=[])");
        check(
            &function(
                r#"[{"name":"n","type":"integer","value":"5"},{"name":"n","type":"integer","value":"6"}]"#,
            ),
            "bad_parameter: Parameter `n` is given twice",
        );
        check(&function("7"), "bad_event: `parameters` must be an array.");
        check(
            r#"{"messageVersion":"2.0","actionGroup":"g","function":"orders"}"#,
            "bad_event: `messageVersion` must be \"1.0\"",
        );
        check(
            r#"{"messageVersion":"1.0","actionGroup":"g","apiPath":"/orders","httpMethod":"POST","parameters":
                [{"name":"n","type":"integer","value":"5"}],"requestBody":{"content":{"application/json":{"properties":
                [{"name":"d","type":"object","value":"{\"x\": 1.50}"}]}}}}"#,
            r#"tool orders(n='5', d={"x": 1.50})"#,
        );
        check(
            r#"{"messageVersion":"1.0","actionGroup":"g","apiPath":"/a/b","httpMethod":"GET"}"#,
            "tool a/b()",
        );
        check(r#"{"messageVersion":"1.0","actionGroup":"g","apiPath":"a","httpMethod":"GET"}"#, "tool ()");
        // Its keys beside are nobody's.
        check(
            r#"{"messageVersion":"1.0","actionGroup":"g","function":"orders","transaction":[],"diagnose":true,
                "Records":[],"onError":"raise"}"#,
            "tool orders()",
        );
    }

    #[test]
    fn the_room_of_a_bedrock_agent() {
        let limits = |bytes| {
            let place = Place::Function("orders".to_owned());
            Action { group: "g".to_owned(), place, bytes }.limits()
        };
        assert_eq!(limits(65_536), Limits { bytes: 24_702, escaped: true, max_rows: None });
        assert_eq!(limits(1_000), Limits { bytes: 1_000, escaped: false, max_rows: None });
    }
}
