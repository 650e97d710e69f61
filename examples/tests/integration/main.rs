//! The examples as Lambda runs them, on a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use lambda_rds_testbed::{Answer, Database, Function, Outcome, Postgres, RuntimeApi, Secrets};
use serde_json::{Value, json};

#[tokio::test]
async fn they_run() {
    let server = Postgres::start().unwrap();
    let database = server.database("shop").unwrap();
    let secrets = Secrets::start().unwrap();
    secrets.put(SECRET, database.secret(server.host(), server.port()));

    // Two migrations at once: one has the lock, the other finds nothing left to do.
    let migrate = env!("CARGO_BIN_EXE_migrate");
    let [first, second] = [start(migrate, &server, &secrets), start(migrate, &server, &secrets)];
    let (first, second) = tokio::join!(first.invoke(json!({})), second.invoke(json!({})));
    let mut applied =
        [first, second].map(|outcome| succeeded(&outcome.unwrap())["applied"].as_u64().unwrap());
    applied.sort_unstable();
    assert_eq!(applied, [0, 2]);
    stock(&server, &database);

    let entities = start(env!("CARGO_BIN_EXE_entities"), &server, &secrets);
    let order = |id: u64, quantity: u64| json!({"id": id, "product": 7, "quantity": quantity});
    assert_eq!(succeeded(&entities.invoke(order(1, 2)).await.unwrap()), json!({"left": 3}));
    let refused = failed(&entities.invoke(order(2, 4)).await.unwrap());
    assert_eq!(refused, ("rejected".to_owned(), "There is not enough of it.".to_owned()));
    assert_eq!(failed(&entities.invoke(order(1, 1)).await.unwrap()).0, "constraint");

    let queries = tempfile::tempdir().unwrap();
    std::fs::write(queries.path().join("stock.sql"), "-- name: stock :many\nSELECT id, stock FROM products;")
        .unwrap();
    let api = RuntimeApi::start().unwrap().with_timeout(TIMEOUT);
    let beside = builder(env!("CARGO_BIN_EXE_beside_queries"), &server, &secrets);
    let beside = beside.queries(queries.path()).start(&api).unwrap();
    assert_eq!(succeeded(&beside.invoke(json!({"order": order(3, 3)})).await.unwrap()), json!({"left": 0}));
    let (status, rows) = beside.invoke(json!({"query": "stock"})).await.unwrap().reply().unwrap();
    assert_eq!((status, rows), (200, json!([{"id": 7, "stock": 0}])));
}

fn builder(binary: &str, server: &Postgres, secrets: &Secrets) -> lambda_rds_testbed::FunctionBuilder {
    Function::builder(binary)
        .secrets(secrets)
        .env("DB_ENGINE", "postgres")
        .env("DB_SECRET_ID", SECRET)
        .env("DB_TLS_CA", server.ca_pem_path())
}

fn start(binary: &str, server: &Postgres, secrets: &Secrets) -> Function {
    builder(binary, server, secrets).start(&RuntimeApi::start().unwrap().with_timeout(TIMEOUT)).unwrap()
}

fn stock(server: &Postgres, database: &Database) {
    server.psql(&database.name, "INSERT INTO products VALUES (7, 'Lamp', 5)").unwrap();
}

fn succeeded(outcome: &Outcome) -> Value {
    outcome.json().unwrap()
}

fn failed(outcome: &Outcome) -> (String, String) {
    let Answer::Error { body, .. } = &outcome.answer else { panic!("no error: {outcome:?}") };
    let body: Value = serde_json::from_slice(body).unwrap();
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    (text("errorType"), text("errorMessage"))
}

const SECRET: &str = "prod/app";
const TIMEOUT: Duration = Duration::from_secs(30);
