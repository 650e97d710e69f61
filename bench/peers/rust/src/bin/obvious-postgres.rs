//! The obvious handler for PostgreSQL: lambda_runtime, the SDK, a pool of sqlx's made once, rows as structs.

use lambda_rds_bench_peers::{Batch, Event, Reply, Secret, default_pool};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let secret = Secret::fetch().await?;
    let options = PgConnectOptions::new_without_pgpass()
        .host(&secret.host)
        .port(secret.port.parse()?)
        .username(&secret.username)
        .password(&secret.password)
        .database(&secret.dbname)
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(std::env::var("DB_TLS_CA")?);
    // For Lambda: one connection, and no question whether it is alive before each query.
    let pool = match default_pool() {
        true => PgPoolOptions::new(),
        false => PgPoolOptions::new().max_connections(1).test_before_acquire(false),
    };
    let pool = pool.connect_lazy_with(options);
    run(service_fn(async |event: LambdaEvent<Event>| handle(&pool, event.payload).await)).await
}

async fn handle(pool: &PgPool, event: Event) -> Result<Reply, Error> {
    if let Some(batch) = event.batch {
        return insert(pool, batch).await;
    }
    let users: Vec<User> = match event.query.as_deref() {
        Some("some_rows") => {
            sqlx::query_as("SELECT id, name, email FROM many ORDER BY id LIMIT $1")
                .bind(event.params.count)
                .fetch_all(pool)
                .await?
        }
        _ => {
            sqlx::query_as("SELECT id, name, email FROM users WHERE active = $1 ORDER BY id")
                .bind(event.params.active)
                .fetch_all(pool)
                .await?
        }
    };
    Reply::json(&users)
}

async fn insert(pool: &PgPool, batch: Batch) -> Result<Reply, Error> {
    let mut transaction = pool.begin().await?;
    for entry in &batch.params {
        sqlx::query(
            "INSERT INTO notes (id, text) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text",
        )
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
