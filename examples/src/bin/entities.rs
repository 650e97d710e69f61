//! A Lambda function with SeaORM's entities: places the order that the event is.
//!
//! `{"id": 1, "product": 7, "quantity": 2}` → `{"left": 3}`

use lambda_rds::Db;
use lambda_rds::config::Config;
use lambda_rds::deadline::Deadline;
use lambda_rds::error::Error;
use lambda_rds_examples::orders::{self, Order, Placed};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    // DB_SECRET_ID and what else configures the connection, as for the function with named queries.
    let config = Config::load(lambda_rds::ENGINES)?;
    lambda_rds::observe::init(&config.platform, &config.function);
    let db = lambda_rds::db(&config.db, &config.platform)?;
    // INIT is the cheapest time to connect. If it fails, the first invocation tries again and says why.
    if let Err(error) = db.warm().await {
        tracing::warn!("no session yet: {error}");
    }
    lambda_runtime::run(service_fn(|event| handle(&db, event))).await
}

async fn handle(db: &Db, event: LambdaEvent<Order>) -> Result<Placed, Error> {
    // Whatever runs when Lambda's time is up is cancelled on the server a little earlier.
    let db = db.until(Deadline::at(event.context.deadline()));
    let placed = orders::place(&db, &event.payload).await;
    if let Err(error) = &placed {
        // The caller reads code and message; the details, which are nothing to the caller, are in the log.
        tracing::error!(requestId = event.context.request_id, "{error}");
    }
    placed
}
