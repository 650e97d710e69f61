//! The obvious handler for MySQL: lambda_runtime, the SDK, a pool of sqlx's made once, rows as structs.

use lambda_rds_bench_peers::{Batch, Event, Reply, Secret, default_pool};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Serialize;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlSslMode};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let secret = Secret::fetch().await?;
    let options = MySqlConnectOptions::new()
        .host(&secret.host)
        .port(secret.port.parse()?)
        .username(&secret.username)
        .password(&secret.password)
        .database(&secret.dbname)
        .ssl_mode(MySqlSslMode::VerifyIdentity)
        .ssl_ca(std::env::var("DB_TLS_CA")?);
    // For Lambda: one connection, and no question whether it is alive before each query.
    let pool = match default_pool() {
        true => MySqlPoolOptions::new(),
        false => MySqlPoolOptions::new().max_connections(1).test_before_acquire(false),
    };
    let pool = pool.connect_lazy_with(options);
    run(service_fn(async |event: LambdaEvent<Event>| handle(&pool, event.payload).await)).await
}

async fn handle(pool: &MySqlPool, event: Event) -> Result<Reply, Error> {
    if let Some(batch) = event.batch {
        return insert(pool, batch).await;
    }
    let users: Vec<User> = match event.query.as_deref() {
        Some("some_rows") => {
            sqlx::query_as("SELECT id, name, email FROM many ORDER BY id LIMIT ?")
                .bind(event.params.count)
                .fetch_all(pool)
                .await?
        }
        _ => {
            sqlx::query_as("SELECT id, name, email FROM users WHERE active = ? ORDER BY id")
                .bind(event.params.active)
                .fetch_all(pool)
                .await?
        }
    };
    Reply::json(&users)
}

async fn insert(pool: &MySqlPool, batch: Batch) -> Result<Reply, Error> {
    let mut transaction = pool.begin().await?;
    for entry in &batch.params {
        sqlx::query("INSERT INTO notes (id, text) VALUES (?, ?) ON DUPLICATE KEY UPDATE text = VALUES(text)")
            .bind(entry.id)
            .bind(&entry.text)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Reply::json(&batch.params.len())
}

#[derive(sqlx::FromRow, Serialize)]
struct User {
    id: i32,
    name: String,
    email: String,
}
