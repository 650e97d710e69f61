//! The OpenAPI document that the function serves, and the headers that a browser may send.

use serde_json::{Value, json};

use crate::events::{get, request};
use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    the_document_is_served_where_it_is_switched_on,
    a_document_that_was_packed_is_served_as_it_is,
    a_browser_may_send_the_headers_that_queries_read,
);
on_clusters!(
    the_document_is_served_where_it_is_switched_on,
    a_document_that_was_packed_is_served_as_it_is,
    a_browser_may_send_the_headers_that_queries_read,
);

const QUERIES: &str = "\
-- name: users :many
-- http: GET
-- param: tenant int from header.X-Tenant
SELECT id, name FROM users WHERE id >= :tenant;
-- name: inside :many
-- param: key text from header.X-Inside
SELECT id FROM users WHERE name = :key;
";

async fn the_document_is_served_where_it_is_switched_on(engine: Engine) {
    let world = Setup::new(engine).queries(QUERIES).start().await;
    assert_eq!(world.call(get("/openapi.json")).await.0, 404);
    assert_eq!(world.call(request("POST", "/openapi.json", json!({}), None)).await.0, 404);

    let world = Setup::new(engine)
        .queries(QUERIES)
        .env("LAMBDA_RDS_OPENAPI", "true")
        .env("LAMBDA_RDS_BASE_PATH", "/api")
        .start()
        .await;
    let (status, document) = world.call(get("/api/openapi.json")).await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, ["/api/health", "/api/users"]);
    assert_eq!(document["paths"]["/api/users"]["get"]["parameters"][0]["name"], "x-tenant");
    let head = world.invoke(request("HEAD", "/api/openapi.json", json!({}), None)).await.json().unwrap();
    assert_eq!((&head["statusCode"], &head["body"]), (&json!(200), &json!("")));
    assert_eq!(world.call(request("POST", "/api/openapi.json", json!({}), None)).await.0, 405);
}

async fn a_document_that_was_packed_is_served_as_it_is(engine: Engine) {
    let world = Setup::new(engine)
        .file("openapi.json", "{\"openapi\": \"3.1.0\", \"mine\": 1.50}")
        .env("LAMBDA_RDS_OPENAPI", "openapi.json")
        .start()
        .await;
    let reply = world.invoke(get("/openapi.json")).await.json().unwrap();
    assert_eq!(reply["body"], "{\"openapi\": \"3.1.0\", \"mine\": 1.50}");
}

async fn a_browser_may_send_the_headers_that_queries_read(engine: Engine) {
    let asks = json!({"origin": "https://app.example.com", "access-control-request-headers": "x-tenant"});
    let allowed = async |world: &World| -> Value {
        let event = request("OPTIONS", "/users", asks.clone(), None);
        world.invoke(event).await.json().unwrap()["headers"]["access-control-allow-headers"].take()
    };
    let world = Setup::new(engine).queries(QUERIES).env("LAMBDA_RDS_CORS_ORIGIN", "*").start().await;
    assert_eq!(allowed(&world).await, "content-type, authorization, x-tenant");
    let world = Setup::new(engine).env("LAMBDA_RDS_CORS_ORIGIN", "*").start().await;
    assert_eq!(allowed(&world).await, "content-type, authorization");
}
