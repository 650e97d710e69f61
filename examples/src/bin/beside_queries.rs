//! The function with its named queries, and an event of one's own beside them: `{"order": {…}}` places an order by
//! code, everything else goes the way of the queries.

use lambda_rds::app::App;
use lambda_rds::config::Config;
use lambda_rds::deadline::Deadline;
use lambda_rds::event::Invocation;
use lambda_rds_examples::orders::{self, Order};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let config = Config::load(lambda_rds::ENGINES)?;
    let backend = lambda_rds::backend(config.db.engine);
    let topology = lambda_rds::topology(&config.db);
    let app = App::start(config, backend, topology)?;
    app.warm().await;
    lambda_runtime::run(service_fn(|event| handle(&app, event))).await
}

async fn handle(app: &App, event: LambdaEvent<Box<RawValue>>) -> Result<Value, Diagnostic> {
    let LambdaEvent { payload, context } = event;
    if let Ok(Own { order }) = serde_json::from_str(payload.get()) {
        let db = app.database().until(Deadline::at(context.deadline()));
        let placed = orders::place(&db, &order).await?;
        return serde_json::to_value(placed).map_err(unwritable);
    }
    // Nothing of the reply is left to do: it has the shape that the event's source wants.
    let reply = app.handle(payload.get().as_bytes(), &Invocation::from(&context)).await?;
    serde_json::to_value(reply).map_err(unwritable)
}

/// Our own event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    order: Order,
}

fn unwritable(error: serde_json::Error) -> Diagnostic {
    Diagnostic { error_type: "internal".to_owned(), error_message: error.to_string() }
}
