//! Sentences of the contract that no other module has for its own.

use serde_json::{Value, json};

use crate::events::{changed, get};
use crate::world::{Engine, Setup};
use crate::{on_clusters, on_every_engine};

on_every_engine!(queries_of_one_text_and_other_types, health_is_at_the_root_too);
on_clusters!(queries_of_one_text_and_other_types);

/// A session keeps prepared statements by their text. A value must not be taken for what the text had the last time:
/// after an `int`, MySQL made 0 of `"é"`, and a double of a decimal.
async fn queries_of_one_text_and_other_types(engine: Engine) {
    // (PostgreSQL tells the type of a bare parameter by the declared one alone.)
    let queries: String = ["int", "text", "decimal", "float", "date", "timestamp", "uuid"]
        .iter()
        .map(|kind| format!("-- name: a_{kind} :one\n-- param: v {kind}?\nSELECT :v AS v;\n"))
        .collect();
    let world = Setup::new(engine).queries(queries).start().await;
    let long = "123456789012345678901234567890.123456789";
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    for round in 0..2 {
        for (kind, given, expected) in [
            ("int", json!(5), json!(5)),
            ("text", json!("é"), json!("é")),
            ("decimal", json!(long), json!(long)),
            ("float", json!(0.5), json!(0.5)),
            ("date", json!("2026-01-31"), json!("2026-01-31")),
            ("timestamp", json!("2026-01-31T13:37:00.5"), json!("2026-01-31T13:37:00.5")),
            ("uuid", json!(uuid), json!(uuid)),
            ("text", json!("5"), json!("5")),
            ("decimal", Value::Null, Value::Null),
            ("int", json!(i64::MIN), json!(i64::MIN)),
        ] {
            let row = world.rows(&format!("a_{kind}"), json!({"v": given})).await;
            assert_eq!(row, json!({"v": expected}), "{kind} {given}, round {round}");
        }
    }
}

/// Whoever watches over the function need not know its base path.
async fn health_is_at_the_root_too(engine: Engine) {
    let world = Setup::new(engine).env("LAMBDA_RDS_BASE_PATH", "/api/v1").start().await;
    for (event, status) in [
        (get("/health"), 200),
        (get("/api/v1/health"), 200),
        (changed("apigw-v2", &[("/rawPath", json!("/prod/health"))]), 200),
        (changed("alb", &[("/path", json!("/health"))]), 200),
        (get("/api/health"), 404),
        (get("/active_users"), 404),
        (get("/api/v1/active_users"), 200),
    ] {
        assert_eq!(world.call(event.clone()).await.0, status, "{event}");
    }
}
