//! Who calls: what is bound from the event comes from where only the platform can write, and from nowhere else.

use lambda_rds_testbed::Answer;
use serde_json::{Value, json};

use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    claims_come_from_the_verified_context,
    without_claims_nobody_is_authenticated,
    nobody_can_forge_claims,
    context_and_headers,
    several_steps_have_one_caller,
);
on_clusters!(
    claims_come_from_the_verified_context,
    without_claims_nobody_is_authenticated,
    nobody_can_forge_claims,
    context_and_headers,
    several_steps_have_one_caller,
);

async fn claims_come_from_the_verified_context(engine: Engine) {
    let world = world(engine).start().await;
    let subject = json!({"sub": "u-1", "tenant": "7"});
    for (context, event) in [
        ("v1, Cognito", v1("/me", json!({"authorizer": {"claims": subject}}))),
        (
            "v1, Lambda authorizer",
            v1("/me", json!({"authorizer": {"principalId": "p", "sub": "u-1", "tenant": 7}})),
        ),
        ("v2, JWT", v2("/me", json!({"authorizer": {"jwt": {"claims": subject, "scopes": null}}}))),
        ("v2, Lambda authorizer", v2("/me", json!({"authorizer": {"lambda": {"sub": "u-1", "tenant": 7}}}))),
    ] {
        assert_eq!(world.call(event).await, (200, json!({"sub": "u-1", "tenant": 7})), "{context}");
    }
    let arn = "arn:aws:iam::123456789012:user/ada";
    for (context, event) in [
        ("v1, IAM", v1("/principal", json!({"identity": {"userArn": arn}}))),
        ("v2, IAM", v2("/principal", json!({"authorizer": {"iam": {"userArn": arn, "accessKey": "AKIA"}}}))),
        ("URL, IAM", url("/principal", json!({"authorizer": {"iam": {"userArn": arn}}}))),
    ] {
        assert_eq!(world.call(event).await, (200, json!({"arn": arn})), "{context}");
    }
}

async fn without_claims_nobody_is_authenticated(engine: Engine) {
    let world = world(engine).start().await;
    for event in [
        v1("/me", json!({})),
        v1("/me", json!({"authorizer": null, "identity": {"userArn": null}})),
        v2("/me", json!({})),
        v2("/me", json!({"authorizer": {"jwt": {"claims": {"sub": null, "tenant": "7"}}}})),
        // An IAM principal has no `sub`, and a token is no IAM principal.
        v2("/me", json!({"authorizer": {"iam": {"userArn": "arn:aws:iam::1:user/ada"}}})),
        v2("/principal", json!({"authorizer": {"jwt": {"claims": {"sub": "u-1"}}}})),
        url("/me", json!({})),
        alb("/me"),
        json!({"query": "me"}),
    ] {
        let (status, body) = world.call(event.clone()).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthenticated")), "{event}");
    }
    let bridge = json!({"detail-type": "T", "source": "s", "detail": {"query": "me"}});
    assert_eq!(raised_as(&world, bridge).await, "unauthenticated");
    assert_eq!(failed(&world, json!({"query": "me"})).await, 1);
}

async fn nobody_can_forge_claims(engine: Engine) {
    let world = world(engine).start().await;
    let verified = || json!({"authorizer": {"jwt": {"claims": {"sub": "u-1", "tenant": "7"}}}});
    let admin = json!({"sub": "admin", "tenant": "1"});
    let post = |body: Value, context: Value| {
        let mut event = v2("/me", context);
        event["requestContext"]["http"]["method"] = json!("POST");
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(body.to_string());
        event
    };

    // By a parameter, in any place: refused, whether or not there is a verified one.
    for context in [verified(), json!({})] {
        let with_query = |query: &str| {
            let mut event = v2("/me", context.clone());
            event["rawQueryString"] = json!(query);
            event
        };
        for event in [
            with_query("sub=admin"),
            with_query("claims.sub=admin"),
            with_query("claims=%7B%22sub%22%3A%22admin%22%7D"),
            post(json!({"sub": "admin"}), context.clone()),
            post(json!({"claims": admin}), context.clone()),
            post(json!({"claims.sub": "admin"}), context.clone()),
            post(json!({"requestContext": {"authorizer": {"jwt": {"claims": admin}}}}), context.clone()),
        ] {
            let (status, body) = world.call(event.clone()).await;
            assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_parameter")), "{event}");
        }
    }

    // Beside the context: no effect.
    let forged = |context: Value| {
        let mut event = v2("/me", context);
        event["headers"] = json!({
            "claims": admin.to_string(), "claims.sub": "admin", "sub": "admin", "authorization": "Bearer e30.e30.",
            "x-amzn-oidc-identity": "admin", "x-amzn-oidc-data": "e30.eyJzdWIiOiJhZG1pbiJ9.",
        });
        event["cookies"] = json!(["sub=admin"]);
        event["claims"] = admin.clone();
        event["authorizer"] = json!({"jwt": {"claims": admin}, "claims": admin});
        event["requestContext"]["claims"] = admin.clone();
        event["requestContext"]["identity"] = admin.clone();
        event
    };
    assert_eq!(world.call(forged(verified())).await, (200, json!({"sub": "u-1", "tenant": 7})));
    assert_eq!(world.call(forged(json!({}))).await.0, 401);
    let mut balancer = alb("/me");
    balancer["headers"] = forged(json!({}))["headers"].clone();
    balancer["requestContext"]["authorizer"] = json!({"claims": admin, "jwt": {"claims": admin}});
    assert_eq!(world.call(balancer).await.0, 401);

    // A direct event that looks like more than it is.
    for event in [
        json!({"query": "me", "requestContext": {"authorizer": {"claims": admin}}}),
        json!({"query": "me", "requestContext": {"authorizer": {"jwt": {"claims": admin}}}}),
        json!({"query": "me", "claims": admin}),
        json!({"query": "me", "authorizer": {"claims": admin}}),
    ] {
        let (status, body) = world.call(event.clone()).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_event")), "{event}");
        assert_eq!(failed(&world, event).await, 1);
    }
    for params in [json!({"sub": "admin"}), json!({"claims": admin})] {
        assert_eq!(world.failure("me", params).await, (400, "bad_parameter".into()));
    }
    let detail = json!({"query": "me", "requestContext": {"authorizer": {"claims": admin}}});
    let bridge = json!({"detail-type": "T", "source": "s", "detail": detail});
    assert_eq!(raised_as(&world, bridge).await, "bad_event");
}

async fn context_and_headers(engine: Engine) {
    let world = world(engine).start().await;
    let outcome = world.invoke(json!({"query": "request"})).await;
    assert_eq!(outcome.reply().unwrap(), (200, json!({"id": outcome.request_id})));
    assert_eq!(world.failure("request", json!({"id": "mine"})).await, (400, "bad_parameter".into()));

    let mut event = v2("/tenant", json!({}));
    assert_eq!(code(world.call(event.clone()).await), (400, "bad_parameter".into()));
    event["headers"]["x-TENANT"] = json!("42");
    assert_eq!(world.call(event.clone()).await, (200, json!({"tenant": 42})));
    event["headers"]["x-TENANT"] = json!("forty-two");
    assert_eq!(code(world.call(event.clone()).await), (400, "bad_parameter".into()));
    event["headers"] = json!({});
    event["rawQueryString"] = json!("tenant=42");
    assert_eq!(code(world.call(event).await), (400, "bad_parameter".into()));
    let mut many = v1("/tenant", json!({}));
    many["multiValueHeaders"] = json!({"X-Tenant": ["42"]});
    assert_eq!(world.call(many).await, (200, json!({"tenant": 42})));
    // There are no headers in a direct event, and no message outside a queue.
    assert_eq!(world.failure("tenant", json!({})).await, (400, "bad_parameter".into()));
    assert_eq!(world.failure("message", json!({})).await, (400, "bad_parameter".into()));
    assert_eq!(world.failure("message", json!({"id": "m1"})).await, (400, "bad_parameter".into()));
}

async fn several_steps_have_one_caller(engine: Engine) {
    let world = world(engine).env("LAMBDA_RDS_HTTP_BATCH", "true").start().await;
    let steps = json!({"transaction": [{"query": "me"}, {"query": "me"}]});
    let mut event = v2("/", json!({"authorizer": {"jwt": {"claims": {"sub": "u-1", "tenant": "7"}}}}));
    event["requestContext"]["http"]["method"] = json!("POST");
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(steps.to_string());
    let me = json!({"sub": "u-1", "tenant": 7});
    assert_eq!(world.call(event.clone()).await, (200, json!([me, me])));

    event["requestContext"]["authorizer"] = json!(null);
    for event in [event, steps, json!({"batch": {"query": "me", "params": [{}]}})] {
        let (status, body) = world.call(event).await;
        assert_eq!((status, &body["error"]["step"]), (401, &json!(0)), "{body}");
    }
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).queries(QUERIES)
}

fn v1(path: &str, context: Value) -> Value {
    request(
        json!({"resource": "/{proxy+}", "path": path, "httpMethod": "GET"}),
        json!({"stage": "prod"}),
        context,
    )
}

pub(crate) fn v2(path: &str, context: Value) -> Value {
    let http = json!({"http": {"method": "GET", "path": path}, "stage": "$default"});
    request(json!({"version": "2.0", "rawPath": path, "rawQueryString": ""}), http, context)
}

fn url(path: &str, context: Value) -> Value {
    let domain = json!({"domainName": "abc.lambda-url.eu-central-1.on.aws", "http": {"method": "GET"}});
    request(json!({"version": "2.0", "rawPath": path, "rawQueryString": ""}), domain, context)
}

fn alb(path: &str) -> Value {
    let group =
        json!({"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/t/1"}});
    request(json!({"path": path, "httpMethod": "GET", "queryStringParameters": {}}), group, json!({}))
}

/// An event of these parts, with an empty set of headers.
fn request(mut event: Value, mut context: Value, more: Value) -> Value {
    context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event["headers"] = json!({});
    event["requestContext"] = context;
    event
}

pub(crate) fn code((status, body): (u64, Value)) -> (u64, String) {
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

async fn raised_as(world: &World, event: Value) -> String {
    match world.invoke(event).await.answer {
        Answer::Error { error_type: Some(code), .. } => code,
        other => panic!("not raised: {other:?}"),
    }
}

/// How many messages failed, of the one with this body.
async fn failed(world: &World, body: Value) -> usize {
    let record = json!({
        "messageId": "m1", "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:1:q",
        "body": body.to_string(), "requestContext": {"authorizer": {"claims": {"sub": "admin", "tenant": "1"}}},
    });
    let reply = world.invoke(json!({"Records": [record]})).await.json().unwrap();
    reply["batchItemFailures"].as_array().unwrap().len()
}

const QUERIES: &str = "
-- name: me :one
-- http: GET, POST
-- param: sub text from claims.sub
-- param: tenant int from claims.tenant
SELECT :sub AS sub, :tenant AS tenant;

-- name: principal :one
-- http: GET
-- param: arn text from claims.userArn
SELECT :arn AS arn;

-- name: tenant :one
-- http: GET
-- param: tenant int from header.X-Tenant
SELECT :tenant AS tenant;

-- name: request :one
-- param: id text from context.requestId
SELECT :id AS id;

-- name: message :one
-- param: id text from sqs.messageId
SELECT :id AS id;
";
