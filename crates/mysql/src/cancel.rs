//! `KILL QUERY`: a second connection with the same login, which asks the server to stop what the first one runs.
//! <https://dev.mysql.com/doc/refman/8.4/en/kill.html>

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::CancelHandle;
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::Login;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::connect::{Door, Peer};

/// Cancels what one session runs.
#[derive(Debug, Clone)]
pub(crate) struct MySqlCancel {
    peer: Peer,
    tls: Arc<TlsClient>,
    login: Login,
    /// The session's thread on the server.
    thread: u32,
}

impl MySqlCancel {
    pub(crate) fn new(peer: Peer, tls: Arc<TlsClient>, login: Login, thread: u32) -> Self {
        Self { peer, tls, login, thread }
    }

    async fn request(&self, by: Deadline) -> Result<()> {
        // The very server of the session: its name may lead elsewhere by now.
        let tcp = dial::redial(self.peer, by).await?;
        // Lives until the answer has come; then it closes the connection, and nobody waits for a goodbye.
        let door = Door::open(tcp, &self.tls, by).await?;
        let options = door.options(&self.login, &self.tls)?;
        let kill = async {
            let mut connection = options.connect().await?;
            connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("KILL QUERY {}", self.thread)))).await
        };
        match by.bound(kill).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if is_gone(&error) => Ok(()),
            Ok(Err(error)) => Err(failure(&error.to_string())),
            Err(_) => Err(failure("the server did not answer in time")),
        }
    }
}

/// Whether the session that was to be stopped has ended.
fn is_gone(error: &sqlx::Error) -> bool {
    let server = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    server.is_some_and(|error| error.number() == ER_NO_SUCH_THREAD)
}

const ER_NO_SUCH_THREAD: u16 = 1094;

impl CancelHandle for MySqlCancel {
    fn cancel(&self, by: Deadline) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.request(by))
    }
}

fn failure(detail: &str) -> Error {
    Error::new(Fault::Unreachable, format!("the cancel request failed: {detail}")).with_phase(Phase::Query)
}
