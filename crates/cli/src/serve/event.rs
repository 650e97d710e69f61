//! What a gateway makes of a request, and of a reply: the event of an HTTP API, payload format 2.0.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use lambda_rds::event::Invocation;
use lambda_rds::reply::Reply;
use lambda_rds::stream::Head;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{Body, full};

/// Whether a path is that of Lambda's own Invoke.
pub(super) fn is_invoke(path: &str) -> bool {
    let name = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The invocation with the client context that the request brings, as Lambda hands it on; `None` for one that Lambda
/// would not take.
pub(super) fn with_client_context(invocation: Invocation, head: &Parts) -> Option<Invocation> {
    let Some(context) = head.headers.get("x-amz-client-context") else { return Some(invocation) };
    let context = String::from_utf8(BASE64.decode(context.as_bytes()).ok()?).ok()?;
    serde_json::from_str::<IgnoredAny>(&context).ok()?;
    Some(invocation.with_client_context(&context))
}

/// The invocation for the tenant that the request names, as Lambda's Invoke takes it.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
pub(super) fn with_tenant(invocation: Invocation, head: &Parts) -> Invocation {
    let named = head.headers.get("x-amz-tenant-id").and_then(|id| id.to_str().ok());
    let tenant_id = named.filter(|id| !id.is_empty()).map(str::to_owned).or(invocation.tenant_id);
    Invocation { tenant_id, ..invocation }
}

/// The event of a request.
pub(super) fn http_api(
    head: &Parts,
    body: &[u8],
    peer: IpAddr,
    domain: &str,
    claims: &Map<String, Value>,
    request_id: &str,
) -> Value {
    let path = head.uri.path();
    // An HTTP API hands over its path decoded, which is documented nowhere: see `lambda_rds::event`.
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    let raw_path = decoded.as_deref().unwrap_or(path);
    let mut headers = headers(head);
    // A page of our own may speak to us: to the function it is nobody else's.
    if headers.get("origin").and_then(Value::as_str).is_some_and(|origin| is_own(origin, domain)) {
        headers.remove("origin");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut context = json!({
        "accountId": "anonymous",
        "apiId": "local",
        "domainName": domain,
        "domainPrefix": "local",
        "http": {
            "method": head.method.as_str(),
            "path": raw_path,
            "protocol": "HTTP/1.1",
            "sourceIp": peer.to_string(),
            "userAgent": headers.get("user-agent").cloned().unwrap_or_default(),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "timeEpoch": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    });
    if !claims.is_empty() {
        let authorizer = match claims.get("userArn") {
            Some(principal) => json!({"jwt": {"claims": claims}, "iam": {"userArn": principal}}),
            None => json!({"jwt": {"claims": claims, "scopes": null}}),
        };
        context["authorizer"] = authorizer;
    }
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": false,
    });
    if !body.is_empty() {
        match std::str::from_utf8(body) {
            Ok(text) => event["body"] = text.into(),
            Err(_) => {
                event["body"] = BASE64.encode(body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }
    event
}

/// Whether an origin is the address that we listen on.
fn is_own(origin: &str, domain: &str) -> bool {
    let port = domain.rsplit(':').next().unwrap_or_default();
    origin.strip_prefix("http://").is_some_and(|host| host == domain || host == format!("localhost:{port}"))
}

/// The headers, names in lower case; one that was sent several times is one, with commas.
fn headers(head: &Parts) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.as_str().to_owned(), values.join(",").into());
    }
    headers
}

/// The response that a gateway makes of a reply; `None` for a reply that it would not understand.
pub(super) fn response(reply: &Reply) -> Option<Response<Body>> {
    let reply = serde_json::to_value(reply).ok()?;
    let body = reply.get("body")?.as_str()?;
    let encoded = reply.get("isBase64Encoded").and_then(Value::as_bool) == Some(true);
    let body = if encoded { BASE64.decode(body).ok()? } else { body.as_bytes().to_vec() };
    with_head(&reply, full(body))
}

/// The response that a gateway begins to send when a stream begins.
pub(super) fn begun(head: &Head, body: Body) -> Option<Response<Body>> {
    with_head(&serde_json::from_slice(head.prelude.as_ref()?).ok()?, body)
}

fn with_head(reply: &Value, body: Body) -> Option<Response<Body>> {
    let status = u16::try_from(reply.get("statusCode")?.as_u64()?).ok()?;
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for (name, value) in reply.get("headers")?.as_object()? {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        response.headers_mut().insert(name, HeaderValue::from_str(value.as_str()?).ok()?);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::Request;

    use super::*;

    fn event(request: Request<&[u8]>, claims: &Value) -> Value {
        let (head, body) = request.into_parts();
        let claims = claims.as_object().unwrap();
        http_api(&head, body, Ipv4Addr::LOCALHOST.into(), "127.0.0.1:9000", claims, "r-1")
    }

    #[test]
    fn a_request_becomes_the_event_of_an_http_api() {
        let request = Request::post("/a%20b?x=%31&y")
            .header("X-One", "1")
            .header("x-one", "2")
            .header("user-agent", "curl/8")
            .body(&b"{\"a\":1}"[..])
            .unwrap();
        let event = event(request, &json!({}));
        assert_eq!(event["version"], "2.0");
        assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/a b"), &json!("x=%31&y")));
        assert_eq!(event["headers"], json!({"x-one": "1,2", "user-agent": "curl/8"}));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"a\":1}"), &json!(false)));
        let http = &event["requestContext"]["http"];
        assert_eq!((&http["method"], &http["userAgent"]), (&json!("POST"), &json!("curl/8")));
        assert!(event["requestContext"].get("authorizer").is_none());
    }

    #[test]
    fn bytes_that_are_no_text_go_in_base64() {
        let event = event(Request::post("/a").body(&b"\xff\x00"[..]).unwrap(), &json!({}));
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
    }

    #[test]
    fn claims_stand_where_an_authorizer_puts_them() {
        let claims = json!({"sub": "42", "groups": ["staff"]});
        let event = event(Request::get("/a").body(&b""[..]).unwrap(), &claims);
        assert_eq!(event["requestContext"]["authorizer"]["jwt"]["claims"], claims);
        assert!(event.get("body").is_none());
    }

    #[test]
    fn the_path_of_lambdas_invoke() {
        for (path, expected) in [
            ("/2015-03-31/functions/any/invocations", true),
            ("/2015-03-31/functions//invocations", false),
            ("/2015-03-31/functions/a/b/invocations", false),
            ("/2015-03-31/functions/any", false),
            ("/active_users", false),
        ] {
            assert_eq!(is_invoke(path), expected, "{path}");
        }
    }
}
