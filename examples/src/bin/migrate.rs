//! A Lambda function that brings the schema up to date: a function of its own, invoked once per deployment, with a
//! role that may change tables, while the functions that serve have one that may not.
//!
//! Two of them at once take turns: the second waits for PostgreSQL's advisory lock, and finds nothing left to do.
//! Give it time: `DB_QUERY_TIMEOUT` bounds each statement, the wait for the lock too.

use lambda_rds::Db;
use lambda_rds::config::Config;
use lambda_rds::error::{Error, Result};
use lambda_rds::sea_orm::{ConnectionTrait as _, DbErr};
use lambda_runtime::{LambdaEvent, service_fn};
use sea_orm_migration::prelude::*;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config = Config::load(lambda_rds::ENGINES)?;
    lambda_rds::observe::init(&config.platform, &config.function);
    let db = lambda_rds::db(&config.db, &config.platform)?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| {
        let db = db.clone();
        async move { migrate(&db, &event.context.request_id).await }
    }))
    .await
}

async fn migrate(db: &Db, request_id: &str) -> Result<Value, Error> {
    // A session that may write, for as long as this takes; it is closed afterwards, and the lock goes with it.
    let session = db.writer().await?;
    session.execute_unprepared(&format!("SELECT pg_advisory_lock({LOCK})")).await?;
    let pending = Migrator::get_pending_migrations(&*session).await?.len();
    let migrated = Migrator::up(&*session, None).await;
    if let Err(error) = &migrated {
        tracing::error!(requestId = request_id, "{}", db.error(error));
    }
    migrated?;
    Ok(json!({"applied": pending}))
}

/// Any number that nothing else in this database locks.
const LOCK: i64 = 7_203_114;

struct Migrator;

#[sea_orm_migration::async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Products), Box::new(Orders)]
    }
}

struct Products;

impl MigrationName for Products {
    fn name(&self) -> &'static str {
        "m0001_products"
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Products {
    async fn up(&self, schema: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("products")
            .col(ColumnDef::new("id").integer().not_null().primary_key())
            .col(ColumnDef::new("name").text().not_null())
            .col(ColumnDef::new("stock").integer().not_null())
            .to_owned();
        schema.create_table(table).await
    }
}

struct Orders;

impl MigrationName for Orders {
    fn name(&self) -> &'static str {
        "m0002_orders"
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Orders {
    async fn up(&self, schema: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("orders")
            .col(ColumnDef::new("id").integer().not_null().primary_key())
            .col(ColumnDef::new("product").integer().not_null())
            .col(ColumnDef::new("quantity").integer().not_null())
            .foreign_key(ForeignKey::create().from("orders", "product").to("products", "id"))
            .to_owned();
        schema.create_table(table).await
    }
}
