//! TLS: who is let in, who is refused, and what the log says of it.

use std::sync::Arc;

use lambda_rds_testbed::certs::{Authority, WRONG_NAME};
use lambda_rds_testbed::{Certificate, Function, Mysql, MysqlKind, Postgres};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_server};

on_every_server!(
    verify_full_refuses_another_authority,
    verify_full_refuses_another_name_unless_told_and_verify_ca_takes_it,
    verify_full_and_verify_ca_refuse_an_expired_certificate,
    whatever_wants_tls_refuses_a_server_without,
    the_built_in_roots_are_amazons_alone,
    the_named_roots_are_the_only_ones,
    require_takes_any_certificate_and_warns_once,
    disable_sends_all_in_the_clear_and_warns_once,
    disable_meets_a_server_that_wants_tls,
);

// All members of a cluster have certificates of one authority that hold; whatever is wrong with one is a matter of the
// connection, and the same as above.
on_clusters!(
    the_built_in_roots_are_amazons_alone,
    the_named_roots_are_the_only_ones,
    require_takes_any_certificate_and_warns_once,
    disable_sends_all_in_the_clear_and_warns_once,
);

const QUERIES: &str = "
-- name: tls :one
-- engine: postgres
SELECT version AS \"Value\" FROM pg_stat_ssl WHERE pid = pg_backend_pid();

-- name: tls :one
-- engine: mysql
-- read
SHOW SESSION STATUS LIKE 'Ssl_version';
";

/// A server with this certificate, which the functions of a test share.
enum Server {
    Postgres(Arc<Postgres>),
    Mysql(Engine, Arc<Mysql>),
    /// The cluster that is shared by all tests, whose authority nobody trusts who is not told of it.
    Cluster(Engine),
}

impl Server {
    fn start(engine: Engine, certificate: Certificate) -> Self {
        let mysql = |kind| Arc::new(Mysql::builder(kind).certificate(certificate).start().unwrap());
        match engine {
            Engine::Mysql => Self::Mysql(engine, mysql(MysqlKind::Mysql)),
            Engine::MariaDb => Self::Mysql(engine, mysql(MysqlKind::MariaDb)),
            Engine::AuroraPostgres | Engine::AuroraMysql => Self::Cluster(engine),
            _ => Self::Postgres(Arc::new(Postgres::builder().certificate(certificate).start().unwrap())),
        }
    }

    /// One that lets nobody in without TLS.
    fn strict(engine: Engine) -> Self {
        let strict = [("require-secure-transport", "ON")];
        let mysql = |kind| Arc::new(Mysql::builder(kind).config(&strict).start().unwrap());
        match engine {
            Engine::Mysql => Self::Mysql(engine, mysql(MysqlKind::Mysql)),
            Engine::MariaDb => Self::Mysql(engine, mysql(MysqlKind::MariaDb)),
            _ => Self::Postgres(Arc::new(Postgres::builder().require_tls().start().unwrap())),
        }
    }

    fn setup(&self) -> Setup {
        match self {
            Self::Postgres(server) => Setup::new(Engine::Postgres).on(server),
            Self::Mysql(engine, server) => Setup::new(*engine).on_mysql(server),
            Self::Cluster(engine) => Setup::new(*engine),
        }
        .queries(QUERIES)
    }

    /// An authority that has signed nothing of any server.
    fn other_ca() -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), Authority::new("another one").unwrap().pem()).unwrap();
        file
    }
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
    if world.engine == Engine::Postgres {
        // The startup message, which names user and database, comes before any password.
        let seen = world.server().log().unwrap();
        assert!(seen.contains("connection received: host=127.0.0.1"), "{seen}");
        assert!(!seen.contains(&world.database().user), "{seen}");
    }
}

/// The call succeeds; gives the warnings about TLS.
async fn accepted(function: &Function, encrypted: bool) -> Vec<String> {
    let (status, body) = function.invoke(json!({"query": "tls"})).await.unwrap().reply().unwrap();
    assert_eq!(status, 200, "{body}");
    let version = body["Value"].as_str().unwrap_or_default();
    assert_eq!(version, if encrypted { "TLSv1.3" } else { "" }, "{body}");
    // Lines about a bad certificate would have come by now.
    let warned = |line: &String| line.contains("\"WARN\"") && line.contains("DB_TLS (");
    function.logs().into_iter().filter(warned).collect()
}

async fn verify_full_refuses_another_authority(engine: Engine) {
    let server = Server::start(engine, Certificate::WrongAuthority);
    refused(server.setup().start().await, "not issued by a CA that we trust").await;
}

async fn verify_full_refuses_another_name_unless_told_and_verify_ca_takes_it(engine: Engine) {
    let server = Server::start(engine, Certificate::WrongName);
    refused(server.setup().start().await, "is not for the name `127.0.0.1`").await;

    let named = server.setup().env("DB_TLS_SERVER_NAME", WRONG_NAME).start().await;
    assert!(accepted(&named.function, true).await.is_empty());

    let any_name = server.setup().env("DB_TLS", "verify-ca").start().await;
    assert!(accepted(&any_name.function, true).await.is_empty());
}

async fn verify_full_and_verify_ca_refuse_an_expired_certificate(engine: Engine) {
    let server = Server::start(engine, Certificate::Expired);
    refused(server.setup().start().await, "has expired").await;
    refused(server.setup().env("DB_TLS", "verify-ca").start().await, "has expired").await;
}

async fn whatever_wants_tls_refuses_a_server_without(engine: Engine) {
    let server = Server::start(engine, Certificate::None);
    for mode in ["verify-full", "verify-ca", "require"] {
        refused(server.setup().env("DB_TLS", mode).start().await, "does not offer TLS").await;
    }
}

async fn the_built_in_roots_are_amazons_alone(engine: Engine) {
    let server = Server::start(engine, Certificate::Good);
    refused(server.setup().built_in_roots().start().await, "not issued by a CA that we trust").await;
    let world = server.setup().built_in_roots().env("DB_TLS", "verify-ca").start().await;
    refused(world, "not issued by a CA that we trust").await;
}

async fn the_named_roots_are_the_only_ones(engine: Engine) {
    let server = Server::start(engine, Certificate::Good);
    assert!(accepted(&server.setup().start().await.function, true).await.is_empty());
    let other_ca = Server::other_ca();
    let other = server.setup().env("DB_TLS_CA", other_ca.path().to_str().unwrap()).start().await;
    refused(other, "not issued by a CA that we trust").await;
}

async fn require_takes_any_certificate_and_warns_once(engine: Engine) {
    let server = Server::start(engine, Certificate::WrongAuthority);
    let world = server.setup().built_in_roots().env("DB_TLS", "require").start().await;
    let warnings = accepted(&world.function, true).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DB_TLS (environment) is require"), "{warnings:?}");
}

async fn disable_sends_all_in_the_clear_and_warns_once(engine: Engine) {
    let server = Server::start(engine, Certificate::Good);
    // Over TLS first: MySQL takes a password's proof in the clear only from users whom it remembers.
    let world = server.setup().start().await;
    accepted(&world.function, true).await;
    let function = world.another_with(&[("DB_TLS", "disable")]).await;
    let warnings = accepted(&function, false).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DB_TLS (environment) is disable"), "{warnings:?}");
}

async fn disable_meets_a_server_that_wants_tls(engine: Engine) {
    let server = Server::strict(engine);
    let world = server.setup().built_in_roots().env("DB_TLS", "disable").start().await;
    let outcome = world.invoke(json!({"query": "tls"})).await;
    let (code, says) = match engine {
        Engine::Postgres => ("credentials_rejected", "the server wants TLS"),
        // As it answers a wrong password.
        Engine::MariaDb => ("credentials_rejected", "Access denied"),
        _ => ("unreachable", "remove DB_TLS=disable"),
    };
    assert_eq!(outcome.reply().unwrap().1["error"]["code"], code);
    let log = world.last_log(&outcome.request_id).await;
    assert!(log["detail"].as_str().unwrap().contains(says), "{log}");
}
