//! Replies to agents: what failed is told by a result, so that the agent reads what to change.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Body, Text, error_text, json, utf8};
use crate::error::{Error, Fault, Result};
use crate::event::{Action, Exchange, Place, What};

/// The reply to a Bedrock agent:
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/agents-lambda.html#agents-lambda-response>.
pub(super) fn acted(action: &Action, outcome: Result<Body>, request_id: &str) -> Body {
    let (status, failed, text) = match outcome.and_then(Body::text) {
        Ok(text) => (200, false, text),
        Err(error) => (error.fault().status(), true, Text::Plain(error_text(&error, request_id))),
    };
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        message_version: &'a str,
        response: Response<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response<'a> {
        action_group: &'a str,
        #[serde(flatten)]
        rest: Rest<'a>,
    }
    #[derive(Serialize)]
    #[serde(untagged, rename_all_fields = "camelCase")]
    enum Rest<'a> {
        Function { function: &'a str, function_response: FunctionResponse },
        Api { api_path: &'a str, http_method: &'a str, http_status_code: u16, response_body: ApiBody },
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct FunctionResponse {
        /// `FAILURE` would end the session; with this the agent reads the text and tries again.
        #[serde(skip_serializing_if = "Option::is_none")]
        response_state: Option<&'static str>,
        response_body: TextBody,
    }
    #[derive(Serialize)]
    struct TextBody {
        #[serde(rename = "TEXT")]
        text: Inner,
    }
    #[derive(Serialize)]
    struct ApiBody {
        #[serde(rename = "application/json")]
        json: Inner,
    }
    #[derive(Serialize)]
    struct Inner {
        body: Box<RawValue>,
    }
    // What stands inside a JSON string already is not written again.
    let string = String::from_utf8(text.between(b"", b"")).unwrap_or_default();
    let body = Inner { body: RawValue::from_string(string).unwrap_or_default() };
    let rest = match action.place() {
        Place::Function(function) => Rest::Function {
            function,
            function_response: FunctionResponse {
                response_state: failed.then_some("REPROMPT"),
                response_body: TextBody { text: body },
            },
        },
        Place::Api { path, method } => Rest::Api {
            api_path: path,
            http_method: method,
            http_status_code: status,
            response_body: ApiBody { json: body },
        },
    };
    let whole = Whole { message_version: "1.0", response: Response { action_group: action.group(), rest } };
    Body::new(json(&whole).into_bytes())
}

/// The reply to a message of the Model Context Protocol.
pub(super) fn exchanged(exchange: &Exchange, outcome: Result<Body>, request_id: &str) -> Body {
    let outcome = outcome.and_then(Body::plain);
    match (exchange.what(), outcome) {
        (What::Told, Ok(body)) => body,
        (What::List, Ok(body)) => Body::new(exchange.listed(&body.json)),
        (What::Call, outcome) => {
            let whole = outcome.and_then(|body| utf8(body.json)).and_then(|text| {
                // Written by us; what is no object would break the message around it.
                match text.starts_with('{') {
                    true => Ok(text),
                    false => Err(Error::new(Fault::Internal, "bug: the result of a tool is no object")),
                }
            });
            Body::new(match whole {
                Ok(text) => exchange.called(text.as_bytes(), false),
                Err(error) => exchange.called(error_text(&error, request_id).as_bytes(), true),
            })
        }
        (What::Told | What::List, Err(error)) => Body::new(exchange.failed(error.message())),
    }
}
