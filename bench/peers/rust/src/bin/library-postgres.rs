//! A handler on our library: the same read, for nobody in particular and for a caller.

use lambda_rds::Db;
use lambda_rds::config::Config;
use lambda_rds::deadline::Deadline;
use lambda_rds::queries::Caller;
use lambda_rds::sea_orm::{ConnectionTrait, DbBackend, Statement};
use lambda_rds_bench_peers::{Event, Reply};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Serialize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = Config::load(lambda_rds::ENGINES)?;
    let db = lambda_rds::db(&config.db, &config.platform)?;
    db.warm().await?;
    run(service_fn(async |event| handle(&db, event).await)).await
}

async fn handle(db: &Db, event: LambdaEvent<Event>) -> Result<Reply, Error> {
    let LambdaEvent { payload, context } = event;
    let mut db = db.until(Deadline::at(context.deadline()));
    let active = payload.params.active;
    // What `-- set:` and `-- role:` say for the query of this name.
    if payload.query.as_deref() == Some("told_users") {
        let caller = Caller::nobody()
            .setting("app.request", context.request_id)?
            .setting("app.active", active.to_string())?
            .role("bench_member")?;
        db = db.as_caller(caller)?;
    }
    let sql = "SELECT id, name, email FROM users WHERE active = $1 ORDER BY id";
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [active.into()]);
    let mut users = Vec::new();
    for row in db.query_all_raw(statement).await? {
        users.push(User {
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            email: row.try_get("", "email")?,
        });
    }
    Reply::json(&users)
}

#[derive(Serialize)]
struct User {
    id: i32,
    name: String,
    email: String,
}
