//! Who the caller is: only what the gateway in front has verified, from the place where only it can write.

use crate::error::Result;
use crate::value::Given;

use super::Source;
use super::json::{Object, string};

/// The verified claims in an HTTP request's `requestContext`, by name; `None` where there are none.
///
/// - API Gateway v1 puts a Cognito (or JWT) authorizer's claims into `authorizer.claims`, and a Lambda
///   authorizer's context flat into `authorizer`; with IAM the principal is `identity.userArn`.
/// - API Gateway v2 has `authorizer.jwt.claims`, `authorizer.lambda` and `authorizer.iam`; so has a function
///   URL, of these only `iam`.
/// - A load balancer passes the claims on as `x-amzn-oidc-*` headers, which are signed but which we do not
///   verify, and which reach us as sent where its rule has no authentication: nobody's word.
///
/// Text stays text, so that a claim is read like a query string's value: authorizers make strings of numbers.
///
/// # Errors
/// `bad_event` where a claim stands twice.
pub(super) fn verified(source: &Source, context: &Object<'_>) -> Result<Option<Vec<(String, Given)>>> {
    let mut claims = Vec::new();
    let authorizer = context.object("authorizer")?;
    match source {
        Source::RestApi { .. } => {
            if let Some(authorizer) = authorizer {
                match authorizer.some("claims").filter(|claims| claims.get().starts_with('{')) {
                    Some(_) => add(&mut claims, authorizer.object("claims")?, |_| true),
                    None => add(&mut claims, Some(authorizer), |name| name != "claims" && name != "scopes"),
                }
            }
            add(&mut claims, context.object("identity")?, |name| name == PRINCIPAL);
        }
        Source::HttpApi { .. } | Source::FunctionUrl { .. } => {
            if let Some(authorizer) = authorizer {
                if let Some(jwt) = authorizer.object("jwt")? {
                    add(&mut claims, jwt.object("claims")?, |_| true);
                }
                add(&mut claims, authorizer.object("lambda")?, |_| true);
                add(&mut claims, authorizer.object("iam")?, |name| name == PRINCIPAL);
            }
        }
        Source::Alb { .. }
        | Source::Direct { .. }
        | Source::EventBridge
        | Source::Sqs
        | Source::AgentCore { .. }
        | Source::Bedrock(_)
        | Source::Mcp(_)
        | Source::Unserved => {}
    }
    Ok(Some(claims).filter(|claims| !claims.is_empty()))
}

/// Adds those members that are wanted, are not null and are not there yet.
fn add(claims: &mut Vec<(String, Given)>, from: Option<Object<'_>>, wanted: impl Fn(&str) -> bool) {
    for (name, value) in from.iter().flat_map(Object::iter) {
        if wanted(name) && value.get() != "null" && !claims.iter().any(|(other, _)| other == name) {
            let value = match string(value) {
                Some(text) => Given::Text(text.into_owned()),
                None => Given::Json(value.to_owned()),
            };
            claims.push((name.to_owned(), value));
        }
    }
}

/// The claim under which an IAM principal's ARN is bound.
const PRINCIPAL: &str = "userArn";

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::super::testing::show_given;
    use super::*;

    fn check(source: Source, context: &str, expected: &str) {
        let context = Object::parse(context, "It").unwrap();
        let found = verified(&source, &context).unwrap();
        let found: Option<Vec<String>> = found.map(|claims| {
            claims.iter().map(|(name, value)| format!("{name}={}", show_given(value))).collect()
        });
        assert_eq!(found.map_or("none".to_owned(), |claims| claims.join(" ")), expected);
    }

    const V1: Source = Source::RestApi { multi_value: true, http_api: false, method: Method::Get };
    const V2: Source = Source::HttpApi { method: Method::Get };
    const URL: Source = Source::FunctionUrl { method: Method::Get };

    #[test]
    fn api_gateway_v1() {
        check(V1, "{}", "none");
        check(V1, r#"{"authorizer":null,"identity":{"userArn":null}}"#, "none");
        check(V1, r#"{"authorizer":{"claims":null,"scopes":null}}"#, "none");
        check(V1, r#"{"authorizer":{"claims":{"sub":"u1","exp":"1"}}}"#, "sub='u1' exp='1'");
        // A Lambda authorizer's context is flat; a key of its own called `claims` is a string, and nobody's.
        check(
            V1,
            r#"{"authorizer":{"principalId":"p","tenant":7,"claims":"{\"sub\":\"x\"}"}}"#,
            "principalId='p' tenant=7",
        );
        check(V1, r#"{"authorizer":{"claims":{"sub":"u1"},"sub":"other"}}"#, "sub='u1'");
        check(V1, r#"{"identity":{"userArn":"arn:a","user":"u"}}"#, "userArn='arn:a'");
        // v2's places mean nothing here.
        check(V1, r#"{"identity":{"claims":{"sub":"x"}}}"#, "none");
    }

    #[test]
    fn api_gateway_v2_and_function_urls() {
        check(V2, r#"{"authorizer":{"jwt":{"claims":{"sub":"u1","n":1},"scopes":["a"]}}}"#, "sub='u1' n=1");
        check(V2, r#"{"authorizer":{"lambda":{"sub":"u1","o":{"a":1}}}}"#, r#"sub='u1' o={"a":1}"#);
        check(V2, r#"{"authorizer":{"lambda":null}}"#, "none");
        check(V2, r#"{"authorizer":{"iam":{"userArn":"arn:a","accessKey":"k"}}}"#, "userArn='arn:a'");
        check(URL, r#"{"authorizer":{"iam":{"userArn":"arn:a"}}}"#, "userArn='arn:a'");
        check(V2, r#"{"authorizer":{"claims":{"sub":"u1"}}}"#, "none");
        check(V2, r#"{"identity":{"userArn":"arn:a"}}"#, "none");
    }

    #[test]
    fn a_load_balancer_verifies_nothing() {
        let alb = Source::Alb { multi_value: false, method: Method::Get };
        check(alb, r#"{"elb":{},"authorizer":{"claims":{"sub":"u1"}}}"#, "none");
    }
}
