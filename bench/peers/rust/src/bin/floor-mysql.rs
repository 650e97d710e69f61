//! The floor with TLS: lambda_runtime and a lean driver, one connection, one prepared query, text by hand.
//! No secret is fetched, nothing is checked, nothing is retried.

use std::fmt::Write;

use lambda_rds_bench_peers::{Event, Reply};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts, Statement};
use tokio::sync::Mutex;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let ca = std::path::PathBuf::from(std::env::var("DB_TLS_CA")?);
    let options = OptsBuilder::default()
        .ip_or_hostname(std::env::var("DB_HOST")?)
        .tcp_port(std::env::var("DB_PORT")?.parse()?)
        .user(Some(std::env::var("DB_USER")?))
        .pass(Some(std::env::var("DB_PASSWORD")?))
        .db_name(Some(std::env::var("DB_NAME")?))
        .prefer_socket(false)
        // Asking for them costs a round trip.
        .max_allowed_packet(Some(64 << 20))
        .wait_timeout(Some(28_800))
        .ssl_opts(SslOpts::default().with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true));
    let mut connection = Conn::new(options).await?;
    let statement = connection.prep("SELECT id, name, email FROM users WHERE active = ? ORDER BY id").await?;
    let connection = Mutex::new(connection);
    run(service_fn(async |event: LambdaEvent<Event>| {
        users(&mut *connection.lock().await, &statement, event.payload).await
    }))
    .await
}

async fn users(connection: &mut Conn, statement: &Statement, event: Event) -> Result<Reply, Error> {
    let mut body = String::from("[");
    let mut rows = connection.exec_iter(statement, (event.params.active,)).await?;
    while let Some(row) = rows.next().await? {
        let (id, name, email): (i32, String, String) = mysql_async::from_row(row);
        let comma = if body.len() > 1 { "," } else { "" };
        write!(body, r#"{comma}{{"id":{id},"name":"{name}","email":"{email}"}}"#)?;
    }
    body.push(']');
    Ok(Reply::new(body))
}
