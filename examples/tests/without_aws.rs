//! Code on a `Db`, tested without AWS and without a server: SQLite is built in, and a test has a file of its own.

#![allow(clippy::unwrap_used, reason = "tests")]

use lambda_rds::Db;
use lambda_rds::config::{Config, Sources};
use lambda_rds::error::Fault;
use lambda_rds::sea_orm::ConnectionTrait as _;
use lambda_rds_examples::orders::{self, Order, Placed};
use tempfile::TempDir;

#[tokio::test]
async fn an_order_takes_from_the_stock() {
    let (db, _file) = shop().await;
    let placed = orders::place(&db, &Order { id: 1, product: 7, quantity: 2 }).await.unwrap();
    assert_eq!(placed, Placed { left: 3 });
}

#[tokio::test]
async fn what_is_not_there_is_not_sold() {
    let (db, _file) = shop().await;
    let refused = orders::place(&db, &Order { id: 1, product: 7, quantity: 6 }).await.unwrap_err();
    assert_eq!((refused.fault(), refused.message()), (Fault::Rejected, "There is not enough of it."));
}

#[tokio::test]
async fn an_order_that_comes_twice_is_placed_once() {
    let (db, _file) = shop().await;
    let order = Order { id: 1, product: 7, quantity: 2 };
    orders::place(&db, &order).await.unwrap();
    let twice = orders::place(&db, &order).await.unwrap_err();
    assert_eq!(twice.fault(), Fault::Constraint);
    // And nothing was taken for it.
    let rest = orders::place(&db, &Order { id: 2, ..order }).await.unwrap();
    assert_eq!(rest, Placed { left: 1 });
}

async fn shop() -> (Db, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    std::fs::write(&file, "").unwrap();
    let env = [("DB_ENGINE", "sqlite"), ("DB_NAME", file.to_str().unwrap())];
    let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let config = Config::read(&Sources { env, ..Sources::default() }, lambda_rds::ENGINES).unwrap();
    let db = lambda_rds::db(&config.db, &config.platform).unwrap();
    for statement in [
        "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, stock INTEGER NOT NULL)",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, product INTEGER NOT NULL REFERENCES products, quantity INTEGER NOT NULL)",
        "INSERT INTO products VALUES (7, 'Lamp', 5)",
    ] {
        db.execute_unprepared(statement).await.unwrap();
    }
    (db, folder)
}
