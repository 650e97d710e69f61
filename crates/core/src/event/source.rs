//! Where an event came from: what its reply looks like, and how large it may be.

use std::sync::Arc;

use crate::config::DirectErrors;
use crate::rows::Limits;

use super::{Action, Exchange, Method};

/// The source of an event, with everything of it that the reply depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `aws lambda invoke`, EventBridge Scheduler, Step Functions, a rule's constant input: nothing in the
    /// event tells which. An event that nobody knows counts as this too.
    Direct {
        /// Whether the reply is the body alone: `"reply": "raw"`.
        raw: bool,
        /// How a failure is told, where the event says so: `"onError"`.
        on_error: Option<DirectErrors>,
        /// Whether the reply must fit into a state of Step Functions: `"limit": "states"`.
        states: bool,
    },
    /// API Gateway, payload format 1.0: a REST API, or an HTTP API that was set to it.
    RestApi {
        /// Whether the event had `multiValueHeaders`.
        multi_value: bool,
        /// Whether it was an HTTP API.
        http_api: bool,
        /// The request's method.
        method: Method,
    },
    /// API Gateway, payload format 2.0: an HTTP API.
    HttpApi {
        /// The request's method.
        method: Method,
    },
    /// A function URL.
    FunctionUrl {
        /// The request's method.
        method: Method,
    },
    /// An Application Load Balancer.
    Alb {
        /// Whether the target group has multi-value headers switched on.
        multi_value: bool,
        /// The request's method.
        method: Method,
    },
    /// EventBridge's envelope.
    EventBridge,
    /// A batch of SQS messages.
    Sqs,
    /// A tool's call by an AgentCore Gateway.
    AgentCore {
        /// How many bytes of result there may be.
        bytes: usize,
    },
    /// An action of a Bedrock agent.
    Bedrock(Arc<Action>),
    /// A message of the Model Context Protocol.
    Mcp(Arc<Exchange>),
    /// A source that we do not serve and that takes any reply for success.
    Unserved,
}

impl Source {
    /// A direct invoke that says nothing about its reply.
    pub const DIRECT: Self = Self::Direct { raw: false, on_error: None, states: false };

    /// The source's name in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Direct { .. } => "direct",
            Self::RestApi { .. } => "api-gateway-v1",
            Self::HttpApi { .. } => "api-gateway-v2",
            Self::FunctionUrl { .. } => "function-url",
            Self::Alb { .. } => "alb",
            Self::EventBridge => "eventbridge",
            Self::Sqs => "sqs",
            Self::AgentCore { .. } => "agentcore",
            Self::Bedrock(_) => "bedrock-agent",
            Self::Mcp(_) => "mcp",
            Self::Unserved => "unserved",
        }
    }

    /// The request's method, for a source that speaks HTTP.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        match self {
            Self::RestApi { method, .. }
            | Self::HttpApi { method }
            | Self::FunctionUrl { method }
            | Self::Alb { method, .. } => Some(*method),
            Self::Mcp(exchange) => exchange.http().and_then(Self::method),
            Self::Direct { .. }
            | Self::EventBridge
            | Self::Sqs
            | Self::AgentCore { .. }
            | Self::Bedrock(_)
            | Self::Unserved => None,
        }
    }

    /// Whether a function that is invoked with a response stream is by this source. Of the HTTP sources an HTTP API and
    /// a load balancer never do; one that stands in for an HTTP API may (`http_apis`).
    #[must_use]
    pub fn streams(&self, http_apis: bool) -> bool {
        match self {
            Self::Direct { .. } | Self::FunctionUrl { .. } => true,
            Self::RestApi { http_api, .. } => http_apis || !http_api,
            Self::HttpApi { .. } => http_apis,
            Self::Mcp(exchange) => exchange.http().is_some_and(|http| http.streams(http_apis)),
            Self::Alb { .. }
            | Self::EventBridge
            | Self::Sqs
            | Self::AgentCore { .. }
            | Self::Bedrock(_)
            | Self::Unserved => false,
        }
    }

    /// How much room a reply to this source has for its body.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let (whole, envelope) = match self {
            Self::Direct { states: true, .. } => (STATES, STATES_ENVELOPE),
            Self::Alb { .. } => (ALB, ENVELOPE),
            Self::AgentCore { bytes } => {
                return Limits { bytes: (*bytes).min(LAMBDA - ENVELOPE), escaped: false, max_rows: None };
            }
            Self::Bedrock(action) => return action.limits(),
            Self::Mcp(exchange) => return exchange.limits(),
            Self::Direct { .. }
            | Self::RestApi { .. }
            | Self::HttpApi { .. }
            | Self::FunctionUrl { .. }
            | Self::EventBridge
            | Self::Sqs
            | Self::Unserved => (LAMBDA, ENVELOPE),
        };
        let escaped = match self {
            Self::Direct { raw, .. } => !raw,
            Self::EventBridge | Self::Sqs | Self::Unserved => false,
            Self::AgentCore { .. } | Self::Bedrock(_) | Self::Mcp(_) => false,
            Self::RestApi { .. } | Self::HttpApi { .. } | Self::FunctionUrl { .. } | Self::Alb { .. } => true,
        };
        Limits { bytes: whole - envelope, escaped, max_rows: None }
    }
}

/// What the Runtime API takes as a response: its 413 says "Exceeded maximum allowed payload size (6291556
/// bytes)". The documentation says 6 MB:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
/// API Gateway's own limit is 10 MB, so that this one is met first.
const LAMBDA: usize = 6_291_556;

/// "The maximum size of the response JSON that the Lambda function can send is 1 MB":
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>.
const ALB: usize = 1024 * 1024;

/// "Maximum input or output size for a task, state, or execution: 256 KiB of data as a UTF-8 encoded string":
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>.
const STATES: usize = 256 * 1024;

/// What is kept for the envelope and its headers.
const ENVELOPE: usize = 1024;

/// The same where Step Functions' `lambda:invoke` wraps the reply in about a kilobyte of its own: status,
/// version and the HTTP headers of the invocation.
const STATES_ENVELOPE: usize = 3 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_stream() {
        let method = Method::Get;
        let rest = |http_api| Source::RestApi { multi_value: true, http_api, method };
        for (source, aws, any) in [
            (Source::DIRECT, true, true),
            (Source::FunctionUrl { method }, true, true),
            (rest(false), true, true),
            (rest(true), false, true),
            (Source::HttpApi { method }, false, true),
            (Source::Alb { multi_value: false, method }, false, false),
            (Source::EventBridge, false, false),
            (Source::Sqs, false, false),
            (Source::AgentCore { bytes: 1 }, false, false),
            (Source::Unserved, false, false),
        ] {
            assert_eq!((source.streams(false), source.streams(true)), (aws, any), "{source:?}");
        }
    }

    #[test]
    fn limits() {
        fn check(source: Source, bytes: usize, escaped: bool) {
            assert_eq!(source.limits(), Limits { bytes, escaped, max_rows: None }, "{source:?}");
        }
        let method = Method::Get;
        check(Source::DIRECT, 6_290_532, true);
        check(Source::Direct { raw: true, on_error: None, states: false }, 6_290_532, false);
        check(Source::Direct { raw: false, on_error: None, states: true }, 259_072, true);
        check(Source::RestApi { multi_value: true, http_api: false, method }, 6_290_532, true);
        check(Source::HttpApi { method }, 6_290_532, true);
        check(Source::FunctionUrl { method }, 6_290_532, true);
        check(Source::Alb { multi_value: false, method }, 1_047_552, true);
        check(Source::EventBridge, 6_290_532, false);
        check(Source::Sqs, 6_290_532, false);
    }
}
