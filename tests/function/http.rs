//! HTTP: AWS's own samples of each source through the real function, and what the contract says of requests.

use std::time::Duration;

use insta::{allow_duplicates, assert_snapshot};
use serde_json::{Value, json};

use crate::events::{changed, get, post, request, sample};
use crate::world::{Engine, Setup, USERS, World, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    a_rest_api,
    an_http_api,
    a_function_url,
    a_load_balancer,
    the_stage_and_the_base_path,
    values_are_decoded_once,
    health_needs_no_database,
    a_browsers_preflight,
    head_is_get_without_the_body,
    replies_are_kept_only_where_the_query_says_so,
    what_cannot_be_called,
    transactions_only_where_they_are_allowed,
);
on_clusters!(
    a_rest_api,
    an_http_api,
    a_function_url,
    a_load_balancer,
    the_stage_and_the_base_path,
    values_are_decoded_once,
    health_needs_no_database,
    a_browsers_preflight,
    head_is_get_without_the_body,
    replies_are_kept_only_where_the_query_says_so,
    what_cannot_be_called,
    transactions_only_where_they_are_allowed,
);

async fn a_rest_api(engine: Engine) {
    let world = samples(engine).start().await;
    let found = reply(&world, sample("apigw-v1")).await;
    let single = reply(&world, changed("apigw-v1", &[("/multiValueHeaders", Value::Null)])).await;
    let refused = reply(&world, changed("apigw-v1", &[("/httpMethod", json!("POST"))])).await;
    allow_duplicates! {
        assert_snapshot!(found, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"100% Zoë+1\",\"tag\":\"\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"100% Zoë+1\",\"tag\":\"\"}]","headers":{"cache-control":"no-store","content-type":"application/json","vary":"accept, accept-encoding"},"isBase64Encoded":false,"multiValueHeaders":{"cache-control":["no-store"],"content-type":["application/json"],"vary":["accept, accept-encoding"]},"statusCode":200}"#);
        assert_snapshot!(single, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"100% Zoë+1\",\"tag\":\"\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"100% Zoë+1\",\"tag\":\"\"}]","headers":{"cache-control":"no-store","content-type":"application/json","vary":"accept, accept-encoding"},"isBase64Encoded":false,"statusCode":200}"#);
        assert_snapshot!(refused, @r#"{"body":"{\"error\":{\"code\":\"method_not_allowed\",\"message\":\"The query `active_users` cannot be called with this method, but with GET, HEAD.\",\"retryable\":false,\"requestId\":\"<id>\"}}","headers":{"allow":"GET, HEAD","cache-control":"no-store","content-type":"application/json"},"isBase64Encoded":false,"multiValueHeaders":{"allow":["GET, HEAD"],"cache-control":["no-store"],"content-type":["application/json"]},"statusCode":405}"#);
    }
    // Its path is encoded and its body is base64.
    assert_eq!(world.call(sample("apigw-v1-cognito")).await.0, 200);
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 4"), "Zoë");
}

async fn an_http_api(engine: Engine) {
    let world = samples(engine).start().await;
    let found = reply(&world, sample("apigw-v2")).await;
    let refused = reply(&world, changed("apigw-v2", &[("/rawQueryString", json!("limit=0"))])).await;
    allow_duplicates! {
        assert_snapshot!(found, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"\",\"tag\":\"tagged\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"\",\"tag\":\"tagged\"}]","cookies":[],"headers":{"cache-control":"no-store","content-type":"application/json","vary":"accept, accept-encoding"},"statusCode":200}"#);
        assert_snapshot!(refused, @r#"{"body":"{\"error\":{\"code\":\"bad_parameter\",\"message\":\"Parameter `limit` must be between 1 and 500.\",\"retryable\":false,\"requestId\":\"<id>\"}}","cookies":[],"headers":{"cache-control":"no-store","content-type":"application/json"},"statusCode":400}"#);
    }
    assert_eq!(world.call(sample("apigw-v2-iam")).await.0, 200);
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 4"), "Zoë");
}

async fn a_function_url(engine: Engine) {
    let world = samples(engine).start().await;
    let found = reply(&world, sample("function-url")).await;
    let refused = reply(&world, changed("function-url", &[("/rawQueryString", json!("limit=x"))])).await;
    allow_duplicates! {
        assert_snapshot!(found, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"\",\"tag\":\"\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"\",\"tag\":\"\"}]","cookies":[],"headers":{"cache-control":"no-store","content-type":"application/json","vary":"accept, accept-encoding"},"statusCode":200}"#);
        assert_snapshot!(refused, @r#"{"body":"{\"error\":{\"code\":\"bad_parameter\",\"message\":\"Parameter `limit` must be an integer.\",\"retryable\":false,\"requestId\":\"<id>\"}}","cookies":[],"headers":{"cache-control":"no-store","content-type":"application/json"},"statusCode":400}"#);
    }
}

async fn a_load_balancer(engine: Engine) {
    let world = samples(engine).start().await;
    let found = reply(&world, sample("alb")).await;
    let multi = reply(&world, sample("alb-multi-value")).await;
    let refused = reply(&world, changed("alb-multi-value", &[("/path", json!("/nothing"))])).await;
    let health = reply(&world, sample("alb-health-check")).await;
    allow_duplicates! {
        assert_snapshot!(found, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"100% Zoë+1\",\"tag\":\"\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"100% Zoë+1\",\"tag\":\"\"}]","headers":{"cache-control":"no-store","content-type":"application/json","vary":"accept, accept-encoding"},"isBase64Encoded":false,"statusCode":200,"statusDescription":"200 OK"}"#);
        assert_snapshot!(multi, @r#"{"body":"[{\"id\":1,\"name\":\"Ada\",\"given\":\"\",\"tag\":\"tagged\"},{\"id\":2,\"name\":\"Grace\",\"given\":\"\",\"tag\":\"tagged\"}]","isBase64Encoded":false,"multiValueHeaders":{"cache-control":["no-store"],"content-type":["application/json"],"vary":["accept, accept-encoding"]},"statusCode":200,"statusDescription":"200 OK"}"#);
        assert_snapshot!(refused, @r#"{"body":"{\"error\":{\"code\":\"unknown_query\",\"message\":\"There is no query `nothing`.\",\"retryable\":false,\"requestId\":\"<id>\"}}","isBase64Encoded":false,"multiValueHeaders":{"cache-control":["no-store"],"content-type":["application/json"]},"statusCode":404,"statusDescription":"404 Not Found"}"#);
        assert_snapshot!(health, @r#"{"body":"{\"status\":\"ok\"}","headers":{"cache-control":"no-store","content-type":"application/json"},"isBase64Encoded":false,"statusCode":200,"statusDescription":"200 OK"}"#);
    }
}

async fn the_stage_and_the_base_path(engine: Engine) {
    let world = samples(engine).env("LAMBDA_RDS_BASE_PATH", "/shop/v1").start().await;
    let at = |path: &str, stage: &str| {
        changed("apigw-v2", &[("/rawPath", json!(path)), ("/requestContext/stage", json!(stage))])
    };
    for (path, stage, status) in [
        ("/shop/v1/active_users", "$default", 200),
        ("/prod/shop/v1/active_users", "prod", 200),
        // A custom domain leaves the stage out.
        ("/shop/v1/active_users", "prod", 200),
        ("/active_users", "$default", 404),
        ("/shop/active_users", "$default", 404),
        ("/shop/v1/active_users/", "$default", 404),
        ("/shop/v1/x/active_users", "$default", 404),
        ("/shop/v1/Active_users", "$default", 404),
        ("/test/shop/v1/active_users", "prod", 404),
        ("/shop/v1/", "$default", 404),
    ] {
        assert_eq!(world.call(at(path, stage)).await.0, status, "{path} in {stage}");
    }
    // A REST API leaves it out of `path`; a base path of API Gateway's own custom domain is in it.
    let rest = |path: &str| changed("apigw-v1", &[("/path", json!(path))]);
    assert_eq!(world.call(rest("/shop/v1/active_users")).await.0, 200);
    assert_eq!(world.call(rest("/Prod/shop/v1/active_users")).await.0, 404);
}

async fn values_are_decoded_once(engine: Engine) {
    let world = samples(engine).start().await;
    // The same request, `name=100%2525+a%2Bb%26c%20d`, as each source hands it over.
    let raw = "name=100%2525+a%2Bb%26c%20d";
    let value = "100%25 a+b&c d";
    let single = |name: &str| ("/queryStringParameters", json!({"name": name}));
    let multi = |name: &str| ("/multiValueQueryStringParameters", json!({"name": [name]}));
    for event in [
        changed("apigw-v2", &[("/rawQueryString", json!(raw)), single("not looked at")]),
        changed("function-url", &[("/rawQueryString", json!(raw)), single("not looked at")]),
        changed("apigw-v1", &[single(value), multi(value)]),
        changed("alb", &[single("100%2525+a%2Bb%26c%20d")]),
        changed("alb-multi-value", &[multi("100%2525+a%2Bb%26c%20d")]),
    ] {
        let (status, body) = world.call(event).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body[0]["given"], value);
    }
}

async fn health_needs_no_database(engine: Engine) {
    // Neither a secret nor a server nor a file.
    let world = samples(engine)
        .env("DB_SECRET_ID", "nobody-has-put-it-there")
        .env(if engine == Engine::Sqlite { "DB_NAME" } else { "DB_HOST" }, "gone.invalid")
        .env("DB_CONNECT_AT", "first-use")
        .env("DB_CONNECT_TIMEOUT", "2s")
        .start()
        .await;
    let head = request("HEAD", "/health", json!({}), None);
    for event in [
        get("/health"),
        head,
        changed("apigw-v2", &[("/rawPath", json!("/prod/health")), ("/rawQueryString", json!("deep=1"))]),
        changed("apigw-v1", &[("/path", json!("/health"))]),
        changed("function-url", &[("/rawPath", json!("/health"))]),
        changed("alb", &[("/path", json!("/health"))]),
        changed("alb-multi-value", &[("/path", json!("/health"))]),
        // By its user agent, on whatever path it was told to ask.
        sample("alb-health-check"),
        changed("alb-health-check", &[("/path", json!("/status/deep"))]),
    ] {
        assert_eq!(world.call(event).await.0, 200);
    }
    // The user agent makes a health check of a load balancer's request alone.
    let agent = json!({"user-agent": "ELB-HealthChecker/2.0"});
    assert_eq!(world.call(request("GET", "/status", agent, None)).await.0, 404);
    // No query has the name, so the path has the methods of what it is.
    for method in ["POST", "TRACE", "DELETE"] {
        let refused = world.invoke(request(method, "/health", json!({}), None)).await.json().unwrap();
        assert_eq!(
            (&refused["statusCode"], &refused["headers"]["allow"]),
            (&json!(405), &json!("GET, HEAD"))
        );
    }
    assert_eq!(world.secrets.count(), 0);

    let (status, body) = world.call(get("/active_users")).await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unreachable")));
}

async fn a_browsers_preflight(engine: Engine) {
    const ORIGIN: &str = "https://app.example.com";
    let world = samples(engine).env("LAMBDA_RDS_CORS_ORIGIN", ORIGIN).start().await;
    let asks = json!({"origin": ORIGIN, "access-control-request-method": "POST"});
    let preflight = reply(&world, request("OPTIONS", "/create_user", asks.clone(), None)).await;
    let rest = [("/httpMethod", json!("OPTIONS")), ("/path", json!("/create_user"))];
    let rest = reply(&world, changed("apigw-v1", &rest)).await;
    allow_duplicates! {
        assert_snapshot!(preflight, @r#"{"body":"","cookies":[],"headers":{"access-control-allow-headers":"content-type, authorization","access-control-allow-methods":"GET, HEAD, POST","access-control-allow-origin":"https://app.example.com","access-control-max-age":"86400","cache-control":"no-store","vary":"origin"},"statusCode":204}"#);
        assert_snapshot!(rest, @r#"{"body":"","headers":{"access-control-allow-headers":"content-type, authorization","access-control-allow-methods":"GET, HEAD, POST","access-control-allow-origin":"https://app.example.com","access-control-max-age":"86400","cache-control":"no-store","vary":"origin"},"isBase64Encoded":false,"multiValueHeaders":{"access-control-allow-headers":["content-type, authorization"],"access-control-allow-methods":["GET, HEAD, POST"],"access-control-allow-origin":["https://app.example.com"],"access-control-max-age":["86400"],"cache-control":["no-store"],"vary":["origin"]},"statusCode":204}"#);
    }
    for (event, status) in [
        (get("/active_users"), 200),
        (get("/active_users?limit=0"), 400),
        (get("/create_user"), 405),
        (request("GET", "/create_user", json!({"content-type": "application/json"}), Some("{}".into())), 405),
        (get("/nothing"), 404),
        (request("POST", "/create_user", json!({"content-type": "text/xml"}), Some("<a/>".into())), 415),
        (get("/health"), 200),
    ] {
        let reply = world.invoke(event).await.json().unwrap();
        assert_eq!(reply["statusCode"], status);
        assert_eq!(reply["headers"]["access-control-allow-origin"], ORIGIN, "{reply}");
    }
    // Direct callers are no browsers.
    let direct = world.invoke(json!({"query": "active_users"})).await.json().unwrap();
    assert_eq!(direct["headers"], json!({"content-type": "application/json"}));

    let world = samples(engine).start().await;
    let reply = world.invoke(request("OPTIONS", "/create_user", asks, None)).await.json().unwrap();
    assert_eq!(reply["statusCode"], 204);
    let named = |reply: &Value| reply["headers"].to_string().contains("access-control");
    assert!(!named(&reply), "{reply}");
    assert!(!named(&world.invoke(get("/active_users")).await.json().unwrap()));
}

async fn head_is_get_without_the_body(engine: Engine) {
    let world = samples(engine).start().await;
    for target in ["/active_users?limit=1", "/kept", "/active_users?limit=0", "/nothing", "/create_user"] {
        let mut got = world.invoke(get(target)).await.json().unwrap();
        let head = world.invoke(request("HEAD", target, json!({}), None)).await.json().unwrap();
        got["body"] = json!("");
        assert_eq!(head, got, "{target}");
    }
}

async fn replies_are_kept_only_where_the_query_says_so(engine: Engine) {
    let world = samples(engine).start().await;
    for (event, kept) in [
        (get("/kept"), "max-age=30"),
        (request("HEAD", "/kept", json!({}), None), "max-age=30"),
        (post("/kept", "{}"), "no-store"),
        (get("/kept?x=1"), "no-store"),
        (get("/active_users"), "no-store"),
        (get("/nothing"), "no-store"),
        (get("/health"), "no-store"),
    ] {
        let reply = world.invoke(event.clone()).await.json().unwrap();
        assert_eq!(reply["headers"]["cache-control"], kept, "{event}: {reply}");
    }
}

async fn what_cannot_be_called(engine: Engine) {
    let world = samples(engine).start().await;
    let with = |method: &str, target: &str| request(method, target, json!({}), Some("{}".into()));
    for (event, allow) in [
        (get("/create_user?name=x"), "POST"),
        (with("HEAD", "/create_user?name=x"), "POST"),
        (with("PUT", "/create_user?name=x"), "POST"),
        (with("DELETE", "/create_user?name=x"), "POST"),
        (with("PATCH", "/create_user?name=x"), "POST"),
        (with("get", "/create_user?name=x"), "POST"),
        (post("/active_users", "{}"), "GET, HEAD"),
        (with("DELETE", "/active_users"), "GET, HEAD"),
        (with("PUT", "/kept"), "GET, HEAD, POST"),
    ] {
        let reply = world.invoke(event).await.json().unwrap();
        assert_eq!(
            (&reply["statusCode"], &reply["headers"]["allow"]),
            (&json!(405), &json!(allow)),
            "{reply}"
        );
    }
    let rest = changed("apigw-v1", &[("/httpMethod", json!("DELETE"))]);
    let reply = world.invoke(rest).await.json().unwrap();
    assert_eq!(reply["multiValueHeaders"]["allow"], json!(["GET, HEAD"]));

    // One that is not open to HTTP is like one that does not exist, whatever the method.
    for event in [get("/inner"), post("/inner", "{}"), with("DELETE", "/inner"), get("/nothing"), get("/")] {
        let (status, body) = world.call(event).await;
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("unknown_query")));
        assert!(!body.to_string().contains("allow"), "{body}");
    }
    assert_eq!(
        world.rows("inner", json!({})).await["rowsAffected"],
        3,
        "it exists, and can be called directly"
    );
    assert_eq!(world.count("users"), 3);
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 1"), "inner", "the direct call's");
}

async fn transactions_only_where_they_are_allowed(engine: Engine) {
    let create = |name: &str| json!({"query": "create_user", "params": {"name": name}});
    let closed = samples(engine).start().await;
    let open =
        samples(engine).env("LAMBDA_RDS_HTTP_BATCH", "true").env("LAMBDA_RDS_DIAGNOSE", "true").start().await;
    let both = json!({"transaction": [create("x"), create("y")]});
    let batch = json!({"batch": {"query": "create_user", "params": [{"name": "x"}]}});

    for body in [&both, &batch, &json!({"diagnose": true})] {
        let (status, reply) = closed.call(post("/", body)).await;
        assert_eq!((status, reply["error"]["code"].as_str()), (404, Some("unknown_query")), "{body}");
    }
    assert_eq!(open.call(post("/", json!({"diagnose": true}))).await.0, 404);
    assert_eq!(closed.count("users"), 3);

    // All or nothing: the second has the id of the first.
    let (status, reply) = open.call(post("/", &both)).await;
    assert_eq!((status, &reply["error"]["step"]), (409, &json!(1)));
    assert_eq!(open.count("users"), 3);
    // Each step must be open to POST.
    for closed in ["inner", "active_users"] {
        let steps = json!({"transaction": [create("x"), {"query": closed}]});
        let (status, reply) = open.call(post("/", steps)).await;
        assert_eq!((status, &reply["error"]["step"]), (if closed == "inner" { 404 } else { 405 }, &json!(1)));
    }
    assert_eq!(open.call(post("/create_user", &both)).await.0, 400, "a parameter `transaction`");
    assert_eq!(open.count("users"), 3);
    let (status, reply) = open.call(post("/", &batch)).await;
    assert_eq!((status, &reply[0]["rowsAffected"]), (200, &json!(1)));
    assert_eq!(open.count("users"), 4);
}

mod in_time {
    use super::a_request_ends_before_its_gateway_gives_up;

    crate::on_every_server!(a_request_ends_before_its_gateway_gives_up);
}

async fn a_request_ends_before_its_gateway_gives_up(engine: Engine) {
    let slow = match engine {
        Engine::Postgres => "SELECT 1 AS id FROM pg_sleep(:s);",
        _ => "SELECT 1 + SLEEP(:s) AS id;",
    };
    let queries = format!("-- name: slow :one\n-- http: GET\n-- param: s float\n{slow}");
    let world = Setup::new(engine)
        .queries(queries)
        .env("LAMBDA_RDS_HTTP_TIMEOUT", "500ms")
        .env("DB_QUERY_TIMEOUT", "25s")
        .start()
        .await;
    let outcome = world.invoke(get("/slow?s=100")).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (504, Some("timeout")));
    // The query would have taken 100 s, the function has 30 s.
    assert!(outcome.elapsed < Duration::from_secs(10), "{:?}", outcome.elapsed);
    // The server was told to stop, and MySQL wakes up to it.
    until("the end of the statement", || world.running() == 0).await;

    // No gateway waits for a direct call.
    assert_eq!(world.rows("slow", json!({"s": 1})).await, json!({"id": 1}));
}

/// The whole reply to an event, on one line, without what differs from one time to the next.
async fn reply(world: &World, event: Value) -> String {
    let outcome = world.invoke(event).await;
    outcome.json().unwrap().to_string().replace(&outcome.request_id, "<id>")
}

/// Queries that AWS's samples call as they are.
fn samples(engine: Engine) -> Setup {
    let active_users = |engines: &str, tagged: &str| {
        format!(
            "-- name: active_users :many
-- engine: {engines}
-- http: GET
-- param: active bool = true
-- param: limit int = 2 in 1..=500
-- param: name text = ''
-- param: tag text[] = []
SELECT id, name, :name AS given, CASE WHEN {tagged} THEN 'tagged' ELSE '' END AS tag
FROM users WHERE active = :active ORDER BY id LIMIT :limit;

"
        )
    };
    let queries =
        active_users("postgres", "CAST('a+b' AS text) = ANY(:tag) AND CAST('c d' AS text) = ANY(:tag)")
            + &active_users("mysql, sqlite", "'a+b' IN (:tag) AND 'c d' IN (:tag)")
            + "-- name: create_user :exec
-- http: POST
-- param: name text
INSERT INTO users (id, name, email, active) VALUES (4, :name, 'zoe@example.com', TRUE);

-- name: kept :many
-- http: GET, POST
-- cache: 30s
SELECT id FROM users ORDER BY id;

-- name: inner :exec
UPDATE users SET name = 'inner';
";
    Setup::new(engine).schema(USERS).queries(queries)
}
