//! The floor with TLS: lambda_runtime and the leanest driver, one connection, one prepared query, text by hand.
//! No secret is fetched, nothing is checked, nothing is retried.

use std::fmt::Write;
use std::sync::Arc;

use futures_util::TryStreamExt;
use lambda_rds_bench_peers::{Event, Reply};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_postgres::{Client, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(std::env::var("DB_TLS_CA")?)? {
        roots.add(root?)?;
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, connection) = tokio_postgres::Config::new()
        .host(std::env::var("DB_HOST")?)
        .port(std::env::var("DB_PORT")?.parse()?)
        .user(std::env::var("DB_USER")?)
        .password(std::env::var("DB_PASSWORD")?)
        .dbname(std::env::var("DB_NAME")?)
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect(MakeRustlsConnect::new(tls))
        .await?;
    tokio::spawn(connection);
    let statement = client.prepare("SELECT id, name, email FROM users WHERE active = $1 ORDER BY id").await?;
    run(service_fn(async |event: LambdaEvent<Event>| users(&client, &statement, event.payload).await)).await
}

async fn users(client: &Client, statement: &Statement, event: Event) -> Result<Reply, Error> {
    let rows = client.query_raw(statement, [event.params.active]).await?;
    let mut rows = std::pin::pin!(rows);
    let mut body = String::from("[");
    while let Some(row) = rows.try_next().await? {
        let (id, name, email): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let comma = if body.len() > 1 { "," } else { "" };
        write!(body, r#"{comma}{{"id":{id},"name":"{name}","email":"{email}"}}"#)?;
    }
    body.push(']');
    Ok(Reply::new(body))
}
