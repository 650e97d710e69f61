//! TLS to PostgreSQL: who is let in, who is refused, and what the log says of it.

use std::sync::Arc;

use lambda_rds_testbed::certs::WRONG_NAME;
use lambda_rds_testbed::{Certificate, Postgres};
use serde_json::json;

use crate::world::{Engine, Setup, World};

const QUERIES: &str = "
-- name: tls :one
SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid();
";

fn setup(server: &Arc<Postgres>) -> Setup {
    Setup::new(Engine::Postgres).queries(QUERIES).on(server)
}

fn server(certificate: Certificate) -> Arc<Postgres> {
    Arc::new(Postgres::builder().certificate(certificate).start().unwrap())
}

/// The call is refused in the phase `tls`, the log says why, and the server never saw a login.
async fn refused(world: World, because: &str) {
    let outcome = world.invoke(json!({"query": "tls"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unreachable")), "{body}");
    let log = world.last_log(&outcome.request_id).await;
    assert_eq!(log["phase"], "tls", "{log}");
    let detail = log["detail"].as_str().unwrap();
    assert!(detail.contains(because), "{detail}");
    // The startup message, which names user and database, comes before any password.
    let seen = world.server().log().unwrap();
    assert!(seen.contains("connection received: host=127.0.0.1"), "{seen}");
    assert!(!seen.contains(&world.database().user), "{seen}");
}

/// The call succeeds; gives the warnings about TLS.
async fn accepted(world: &World, encrypted: bool) -> Vec<String> {
    let body = world.rows("tls", json!({})).await;
    assert_eq!(body["ssl"], encrypted, "{body}");
    assert_eq!(body["version"], if encrypted { json!("TLSv1.3") } else { json!(null) });
    // Lines about a bad certificate would have come by now.
    let warned = |line: &String| line.contains("\"WARN\"") && line.contains("DB_TLS");
    world.function.logs().into_iter().filter(warned).collect()
}

#[tokio::test]
async fn verify_full_refuses_another_authority() {
    let server = server(Certificate::WrongAuthority);
    refused(setup(&server).start().await, "not issued by a CA that we trust").await;
}

#[tokio::test]
async fn verify_full_refuses_another_name_unless_told_and_verify_ca_takes_it() {
    let server = server(Certificate::WrongName);
    refused(setup(&server).start().await, "is not for the name `127.0.0.1`").await;

    let named = setup(&server).env("DB_TLS_SERVER_NAME", WRONG_NAME).start().await;
    assert!(accepted(&named, true).await.is_empty());

    let any_name = setup(&server).env("DB_TLS", "verify-ca").start().await;
    assert!(accepted(&any_name, true).await.is_empty());
}

#[tokio::test]
async fn verify_full_and_verify_ca_refuse_an_expired_certificate() {
    let server = server(Certificate::Expired);
    refused(setup(&server).start().await, "has expired").await;
    refused(setup(&server).env("DB_TLS", "verify-ca").start().await, "has expired").await;
}

#[tokio::test]
async fn whatever_wants_tls_refuses_a_server_without() {
    let server = server(Certificate::None);
    for mode in ["verify-full", "verify-ca", "require"] {
        refused(setup(&server).env("DB_TLS", mode).start().await, "does not offer TLS").await;
    }
}

#[tokio::test]
async fn the_built_in_roots_are_amazons_alone() {
    let server = server(Certificate::Good);
    refused(setup(&server).built_in_roots().start().await, "not issued by a CA that we trust").await;
    let world = setup(&server).built_in_roots().env("DB_TLS", "verify-ca").start().await;
    refused(world, "not issued by a CA that we trust").await;
}

#[tokio::test]
async fn require_takes_any_certificate_and_warns_once() {
    let server = server(Certificate::WrongAuthority);
    let world = setup(&server).built_in_roots().env("DB_TLS", "require").start().await;
    let warnings = accepted(&world, true).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DB_TLS (environment) is require"), "{warnings:?}");
}

#[tokio::test]
async fn disable_sends_all_in_the_clear_and_warns_once() {
    let server = server(Certificate::Good);
    let world = setup(&server).built_in_roots().env("DB_TLS", "disable").start().await;
    let warnings = accepted(&world, false).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DB_TLS (environment) is disable"), "{warnings:?}");
}

#[tokio::test]
async fn disable_meets_a_server_that_wants_tls() {
    let server = Arc::new(Postgres::builder().require_tls().start().unwrap());
    let world = setup(&server).built_in_roots().env("DB_TLS", "disable").start().await;
    let outcome = world.invoke(json!({"query": "tls"})).await;
    assert_eq!(outcome.reply().unwrap().1["error"]["code"], "credentials_rejected");
    let log = world.last_log(&outcome.request_id).await;
    assert!(log["detail"].as_str().unwrap().contains("the server wants TLS"), "{log}");
}
