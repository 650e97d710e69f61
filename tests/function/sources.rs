//! Every event source, as AWS documents its events: one event, one exact answer.
//!
//! An answer is shown as what arrived at the Runtime API: at `response`, or at `error` with its error type.

use insta::{allow_duplicates, assert_snapshot};
use lambda_rds_testbed::{Answer, Outcome};
use serde_json::{Value, json};

use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    gateways,
    queues_and_buses,
    direct_invokes,
    what_is_not_served_runs_nothing,
    failures_are_raised_where_the_configuration_says_so,
    the_gate_of_http,
    several_at_once_over_http,
);
on_clusters!(
    gateways,
    queues_and_buses,
    direct_invokes,
    what_is_not_served_runs_nothing,
    failures_are_raised_where_the_configuration_says_so,
    the_gate_of_http,
    several_at_once_over_http,
);

/// An event as AWS documents it.
macro_rules! sample {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            "../../crates/core/tests/events/",
            $name,
            ".json"
        )))
        .unwrap()
    };
}

/// Compares an answer with its snapshot, which is the same on every engine.
macro_rules! assert_shown {
    ($answer:expr, @$expected:literal) => {
        let answer = $answer;
        allow_duplicates! { assert_snapshot!(answer, @$expected); }
    };
}

async fn gateways(engine: Engine) {
    let world = world(engine).start().await;
    assert_shown!(answer(&world, sample!("apigw-v1")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"],"vary":["accept, accept-encoding"]},"body":"[{\"id\":1,\"name\":\"100% Zoë+1\"}]","isBase64Encoded":false}"#);
    assert_shown!(answer(&world, sample!("apigw-v1-cognito")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"],"vary":["accept, accept-encoding"]},"body":"{\"rowsAffected\":1}","isBase64Encoded":false}"#);
    assert_shown!(answer(&world, sample!("apigw-v2")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"cookies":[],"body":"[{\"id\":2,\"name\":\"a+b\"},{\"id\":3,\"name\":\"c d\"}]"}"#);
    assert_shown!(answer(&world, sample!("apigw-v2-iam")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"cookies":[],"body":"{\"rowsAffected\":1}"}"#);
    assert_shown!(answer(&world, sample!("function-url")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"cookies":[],"body":"[{\"id\":2,\"name\":\"a+b\"}]"}"#);
    assert_shown!(answer(&world, sample!("alb")).await, @r#"{"statusCode":200,"statusDescription":"200 OK","headers":{"content-type":"application/json","cache-control":"no-store","vary":"accept, accept-encoding"},"body":"[{\"id\":1,\"name\":\"100% Zoë+1\"}]","isBase64Encoded":false}"#);
    assert_shown!(answer(&world, sample!("alb-multi-value")).await, @r#"{"statusCode":200,"statusDescription":"200 OK","multiValueHeaders":{"content-type":["application/json"],"cache-control":["no-store"],"vary":["accept, accept-encoding"]},"body":"[{\"id\":2,\"name\":\"a+b\"},{\"id\":3,\"name\":\"c d\"}]","isBase64Encoded":false}"#);
    assert_shown!(answer(&world, sample!("alb-health-check")).await, @r#"{"statusCode":200,"statusDescription":"200 OK","headers":{"content-type":"application/json","cache-control":"no-store"},"body":"{\"status\":\"ok\"}","isBase64Encoded":false}"#);
    assert_eq!(runs(&world).await, 0);
}

async fn queues_and_buses(engine: Engine) {
    let world = world(engine).start().await;
    // Its second message is no call, and comes again.
    assert_shown!(answer(&world, sample!("sqs")).await, @r#"{"batchItemFailures":[{"itemIdentifier":"2e1424d4-f796-459a-8184-9c92662be6da"}]}"#);
    assert_shown!(answer(&world, sample!("sqs-fifo")).await, @r#"{"batchItemFailures":[]}"#);
    assert_shown!(answer(&world, sample!("sqs-sns")).await, @r#"{"batchItemFailures":[]}"#);
    assert_shown!(answer(&world, sample!("sqs-eventbridge")).await, @r#"{"batchItemFailures":[]}"#);
    assert_shown!(answer(&world, sample!("eventbridge-custom")).await, @r#"{"rowsAffected":1}"#);
    assert_eq!(runs(&world).await, 0);
    // Its `detail` is `{}`: the default query.
    assert_shown!(answer(&world, sample!("eventbridge-scheduled")).await, @r#"{"rowsAffected":1}"#);
    assert_eq!(runs(&world).await, 1);
    // Its `detail` is EC2's own, and no call.
    assert_shown!(answer(&world, sample!("eventbridge-ec2")).await, @r#"RAISED bad_event: This function does not know this event. Send {"query": …, "params": {…}}, {"transaction": […]} or {"batch": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge. (request id <id>)"#);
    let failing = json!({
        "version": "0", "id": "i", "detail-type": "T", "source": "s",
        "detail": {"query": "one_user", "params": {"id": 99}},
    });
    assert_shown!(answer(&world, failing).await, @r#"RAISED not_found: No row matches. (request id <id>)"#);
    assert_eq!(runs(&world).await, 1);
}

async fn direct_invokes(engine: Engine) {
    let world = world(engine).start().await;
    assert_shown!(answer(&world, sample!("scheduler")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{\"rowsAffected\":0}"}"#);
    let one = |id: u32, more: Value| {
        let mut event = json!({"query": "one_user", "params": {"id": id}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    assert_shown!(answer(&world, one(1, json!({}))).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{\"id\":1,\"name\":\"100% Zoë+1\",\"email\":\"zoe@example.com\"}"}"#);
    assert_shown!(answer(&world, one(99, json!({}))).await, @r#"{"statusCode":404,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"not_found\",\"message\":\"No row matches.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_shown!(answer(&world, one(1, json!({"reply": "raw"}))).await, @r#"{"id":1,"name":"100% Zoë+1","email":"zoe@example.com"}"#);
    assert_shown!(answer(&world, one(99, json!({"reply": "raw"}))).await, @r#"{"error":{"code":"not_found","message":"No row matches.","retryable":false,"requestId":"<id>"}}"#);
    assert_shown!(answer(&world, one(99, json!({"onError": "raise"}))).await, @r#"RAISED not_found: No row matches. (request id <id>)"#);
    assert_shown!(answer(&world, one(1, json!({"onError": "raise"}))).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json"},"body":"{\"id\":1,\"name\":\"100% Zoë+1\",\"email\":\"zoe@example.com\"}"}"#);
    assert_eq!(runs(&world).await, 0);

    // 256 KiB is what a state of Step Functions takes: half of that fits, the whole does not.
    let many = |copies: u32, more: Value| {
        let mut event = json!({"query": "large", "params": {"copies": copies, "text": "x".repeat(1024)}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for (copies, limit, status) in [(128, "states", 200), (256, "states", 413), (256, "none", 200)] {
        let limit = if limit == "states" { json!({"limit": "states"}) } else { json!({}) };
        assert_eq!(world.call(many(copies, limit)).await.0, status, "{copies} KiB");
    }
    let raised = world.invoke(many(256, json!({"limit": "states", "onError": "raise"}))).await;
    assert_eq!(raised_as(&raised), "result_too_large");
}

/// A platform that takes any reply for success gets an error; whoever reads replies gets 400. None of them runs
/// the default query.
async fn what_is_not_served_runs_nothing(engine: Engine) {
    let world = world(engine).start().await;
    assert_shown!(answer(&world, sample!("sns")).await, @r#"RAISED bad_event: Events of `aws:sns` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id <id>)"#);
    assert_shown!(answer(&world, sample!("s3")).await, @r#"RAISED bad_event: Events of `aws:s3` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id <id>)"#);
    assert_shown!(answer(&world, sample!("dynamodb")).await, @r#"RAISED bad_event: Events of `aws:dynamodb` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id <id>)"#);
    assert_shown!(answer(&world, sample!("kinesis")).await, @r#"RAISED bad_event: Events of `aws:kinesis` are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are. (request id <id>)"#);
    assert_shown!(answer(&world, sample!("cognito-pre-signup")).await, @r#"{"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"This function does not know this event. Send {\\\"query\\\": …, \\\"params\\\": {…}}, {\\\"transaction\\\": […]} or {\\\"batch\\\": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_shown!(answer(&world, json!({"Records": []})).await, @r#"RAISED bad_event: `Records` is empty. (request id <id>)"#);
    assert_shown!(answer(&world, json!(null)).await, @r#"{"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"The event must be a JSON object. Send {\\\"query\\\": …, \\\"params\\\": {…}}, {\\\"transaction\\\": […]} or {\\\"batch\\\": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_shown!(answer(&world, json!([])).await, @r#"{"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"The event must be a JSON object. Send {\\\"query\\\": …, \\\"params\\\": {…}}, {\\\"transaction\\\": […]} or {\\\"batch\\\": {…}}, or {} for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or EventBridge.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    let garbage = world.function.invoke_raw(&b"{\"query\": \"one_user\""[..]).await.unwrap();
    assert_shown!(shown(&garbage), @r#"{"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"The event is not valid JSON: EOF while parsing an object at line 1 column 20.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    let binary = world.function.invoke_raw(&b"{\"query\": \"\xff\"}"[..]).await.unwrap();
    assert_shown!(shown(&binary), @r#"{"statusCode":400,"headers":{"content-type":"application/json"},"body":"{\"error\":{\"code\":\"bad_event\",\"message\":\"The event is not valid UTF-8: invalid utf-8 sequence of 1 bytes from index 11.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_eq!(runs(&world).await, 0);
}

async fn failures_are_raised_where_the_configuration_says_so(engine: Engine) {
    let world = world(engine).env("LAMBDA_RDS_DIRECT_ERRORS", "raise").start().await;
    let missing = json!({"query": "one_user", "params": {"id": 99}});
    assert_shown!(answer(&world, missing.clone()).await, @r#"RAISED not_found: No row matches. (request id <id>)"#);
    let mut replied = missing;
    replied["onError"] = json!("reply");
    assert_eq!(world.call(replied).await.0, 404);
    // An event that nobody knows may be anybody's: raised as well.
    assert_eq!(raised_as(&world.invoke(json!({"quarry": "x"})).await), "bad_event");
    // Gateways read statuses, whatever that setting says.
    let mut url = sample!("function-url");
    url["rawPath"] = json!("/nothing");
    assert_eq!(world.call(url).await.0, 404);
    assert_eq!(runs(&world).await, 0);
}

async fn the_gate_of_http(engine: Engine) {
    let world = world(engine).env("LAMBDA_RDS_CORS_ORIGIN", "https://app.example").start().await;
    let request = |method: &str, path: &str| {
        let mut event = sample!("function-url");
        event["rawPath"] = json!(path);
        event["rawQueryString"] = json!("");
        event["requestContext"]["http"]["method"] = json!(method);
        event
    };
    // Its file does not open it, so it is not there.
    assert_shown!(answer(&world, request("GET", "/one_user")).await, @r#"{"statusCode":404,"headers":{"content-type":"application/json","cache-control":"no-store","access-control-allow-origin":"https://app.example","vary":"origin"},"cookies":[],"body":"{\"error\":{\"code\":\"unknown_query\",\"message\":\"There is no query `one_user`.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_shown!(answer(&world, request("GET", "/create_user")).await, @r#"{"statusCode":405,"headers":{"content-type":"application/json","allow":"POST","cache-control":"no-store","access-control-allow-origin":"https://app.example","vary":"origin"},"cookies":[],"body":"{\"error\":{\"code\":\"method_not_allowed\",\"message\":\"The query `create_user` cannot be called with this method, but with POST.\",\"retryable\":false,\"requestId\":\"<id>\"}}"}"#);
    assert_shown!(answer(&world, request("OPTIONS", "/create_user")).await, @r#"{"statusCode":204,"headers":{"cache-control":"no-store","access-control-allow-origin":"https://app.example","vary":"origin","access-control-allow-methods":"GET, HEAD, POST","access-control-allow-headers":"content-type, authorization","access-control-max-age":"86400"},"cookies":[],"body":""}"#);
    assert_shown!(answer(&world, request("GET", "/kept")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"max-age=30","access-control-allow-origin":"https://app.example","vary":"accept, accept-encoding, origin"},"cookies":[],"body":"{\"n\":3}"}"#);
    assert_shown!(answer(&world, request("HEAD", "/kept")).await, @r#"{"statusCode":200,"headers":{"content-type":"application/json","cache-control":"max-age=30","access-control-allow-origin":"https://app.example","vary":"accept, accept-encoding, origin"},"cookies":[],"body":""}"#);
    assert_eq!(runs(&world).await, 0);
}

async fn several_at_once_over_http(engine: Engine) {
    let post = |body: Value| {
        let mut event = sample!("apigw-v2-iam");
        event["rawPath"] = json!("/");
        event["body"] = json!(body.to_string());
        event["isBase64Encoded"] = json!(false);
        event
    };
    let steps = || {
        post(json!({"transaction": [
            {"query": "create_user", "params": {"name": "a"}},
            {"query": "create_user", "params": {"name": "b"}},
        ]}))
    };
    let batch = || post(json!({"batch": {"query": "create_user", "params": [{"name": "c"}, {"name": "d"}]}}));

    let closed = world(engine).start().await;
    for event in [steps(), batch(), post(json!({"diagnose": true}))] {
        let (status, body) = closed.call(event).await;
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("unknown_query")));
    }

    let open = world(engine).env("LAMBDA_RDS_HTTP_BATCH", "true").start().await;
    let done = json!([{"rowsAffected": 1}, {"rowsAffected": 1}]);
    assert_eq!(open.call(steps()).await, (200, done.clone()));
    assert_eq!(open.call(batch()).await, (200, done));
    // Each query needs its own permission.
    let (status, body) = open
        .call(post(json!({"transaction": [
            {"query": "create_user", "params": {"name": "e"}},
            {"query": "purge_expired", "params": {"scheduled": "x"}},
        ]})))
        .await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["step"]),
        (404, &json!("unknown_query"), &json!(1))
    );
    let (status, body) = open.call(post(json!({"batch": {"query": "kept", "params": [{}]}}))).await;
    assert_eq!((status, &body["error"]["code"]), (405, &json!("method_not_allowed")));
    // Nothing else comes in by this door, and it is only where it is.
    assert_eq!(open.call(post(json!({"diagnose": true}))).await.0, 404);
    let mut elsewhere = steps();
    elsewhere["rawPath"] = json!("/create_user");
    assert_eq!(open.call(elsewhere).await.0, 400);
    assert_eq!(open.rows("one_user", json!({"id": 1})).await["email"], "d");
}

/// A function whose default query leaves a trace.
fn world(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES).env("LAMBDA_RDS_DEFAULT_QUERY", "run")
}

async fn answer(world: &World, event: Value) -> String {
    shown(&world.invoke(event).await)
}

/// What arrived at the Runtime API, with the request id taken out.
fn shown(outcome: &Outcome) -> String {
    let text = match &outcome.answer {
        Answer::Response(body) => String::from_utf8_lossy(body).into_owned(),
        Answer::Error { error_type, body } => {
            let body: Value = serde_json::from_slice(body).unwrap();
            // What Lambda's telemetry has, and what it gives to the caller.
            assert_eq!(error_type.as_deref(), body["errorType"].as_str());
            format!(
                "RAISED {}: {}",
                body["errorType"].as_str().unwrap(),
                body["errorMessage"].as_str().unwrap()
            )
        }
    };
    text.replace(&outcome.request_id, "<id>")
}

fn raised_as(outcome: &Outcome) -> String {
    match &outcome.answer {
        Answer::Error { error_type: Some(code), .. } => code.clone(),
        other => panic!("not raised: {other:?}"),
    }
}

/// How often the default query has run.
async fn runs(world: &World) -> u64 {
    world.rows("runs", json!({})).await["n"].as_u64().unwrap()
}

const SCHEMA: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) NOT NULL, active BOOLEAN NOT NULL);
INSERT INTO users (id, name, email, active) VALUES
    (1, '100% Zoë+1', 'zoe@example.com', TRUE),
    (2, 'a+b', 'ab@example.com', TRUE),
    (3, 'c d', 'cd@example.com', TRUE);
CREATE TABLE runs (n INTEGER NOT NULL);
INSERT INTO runs VALUES (0);
";

/// What the samples call, in such a way that every engine answers alike.
const QUERIES: &str = "
-- name: active_users :many
-- http: GET
-- engine: postgres
-- param: active bool
-- param: name text = 'a+b'
-- param: tag text[] = []
-- param: limit int = 10
SELECT id, name FROM users WHERE active = :active AND (name = :name OR name = ANY(:tag)) ORDER BY id LIMIT :limit;

-- name: active_users :many
-- http: GET
-- engine: mysql, sqlite
-- param: active bool
-- param: name text = 'a+b'
-- param: tag text[] = []
-- param: limit int = 10
SELECT id, name FROM users WHERE active = :active AND (name = :name OR name IN (:tag)) ORDER BY id LIMIT :limit;

-- name: create_user :exec
-- http: POST
-- param: name text
UPDATE users SET email = :name WHERE id = 1;

-- name: one_user :one
-- param: id int
SELECT id, name, email FROM users WHERE id = :id;

-- name: purge_expired :exec
-- param: scheduled text
DELETE FROM users WHERE email = :scheduled;

-- name: kept :one
-- http: GET
-- cache: 30s
SELECT count(*) AS n FROM users;

-- name: run :exec
UPDATE runs SET n = n + 1;

-- name: runs :one
SELECT n FROM runs;

-- name: large :many
-- param: copies int
-- param: text text
WITH RECURSIVE copy (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copy WHERE n < :copies)
SELECT :text AS x FROM copy;
";
