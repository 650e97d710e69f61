//! `KILL QUERY` and `KILL CONNECTION`: a second connection of the same user, which asks the server to stop what the first
//! one runs, or to end it.
//! <https://dev.mysql.com/doc/refman/8.4/en/kill.html>

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{CancelHandle, Phases};
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};

use crate::connect::Peer;
use crate::login::{Greeted, Who};

/// Cancels what one session runs.
#[derive(Debug, Clone)]
pub(crate) struct MySqlCancel {
    peer: Peer,
    tls: Arc<TlsClient>,
    relogin: Relogin,
    /// The session's thread on the server.
    thread: u32,
    application_name: Arc<str>,
}

impl MySqlCancel {
    pub(crate) fn new(
        peer: Peer,
        tls: Arc<TlsClient>,
        relogin: Relogin,
        thread: u32,
        application_name: &str,
    ) -> Self {
        Self { peer, tls, relogin, thread, application_name: application_name.into() }
    }

    async fn request(&self, what: &str, by: Deadline) -> Result<()> {
        let mut relogin = self.relogin.clone();
        let mut login = relogin.login(by).await?;
        for _ in 0..MAX_REJECTIONS {
            match self.kill(what, &login, by).await {
                // The password was rotated while the session lived.
                Err(error) if error.fault() == Fault::CredentialsRejected => {
                    if !relogin.rejected(&error, by).await {
                        return Err(failure(error.detail()));
                    }
                    login = relogin.login(by).await?;
                }
                outcome => return outcome,
            }
        }
        self.kill(what, &login, by).await
    }

    async fn kill(&self, what: &str, login: &Login, by: Deadline) -> Result<()> {
        // The very server of the session: its name may lead elsewhere by now.
        let tcp = dial::redial(self.peer, by).await?;
        let phases = Phases::default();
        let who =
            Who { server: "the server", login, database: None, application_name: &self.application_name };
        // Dropped with the answer: it closes the connection, and nobody waits for a goodbye.
        let mut connection =
            Greeted::open(Wire::plain(tcp), &self.tls, &phases, by).await?.log_in(who, &phases, by).await?;
        match by.bound(connection.run(&format!("KILL {what} {}", self.thread))).await {
            Ok(Ok(Ok(()))) => Ok(()),
            // The session that was to be stopped has ended.
            Ok(Ok(Err(refusal))) if refusal.number == ER_NO_SUCH_THREAD => Ok(()),
            Ok(Ok(Err(refusal))) => Err(failure(&refusal.message)),
            Ok(Err(error)) => Err(failure(&error.to_string())),
            Err(_) => Err(failure("the server did not answer in time")),
        }
    }
}

const ER_NO_SUCH_THREAD: u16 = 1094;
// AWSCURRENT again, then AWSPENDING.
const MAX_REJECTIONS: u32 = 2;

impl CancelHandle for MySqlCancel {
    fn cancel(&self, by: Deadline) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.request("QUERY", by))
    }

    fn end(&self, by: Deadline) -> BoxFuture<'_, Result<()>> {
        // A transaction whose client has vanished would keep its locks until `wait_timeout`, eight hours by default.
        Box::pin(self.request("CONNECTION", by))
    }
}

fn failure(detail: &str) -> Error {
    Error::new(Fault::Unreachable, format!("the cancel request failed: {detail}")).with_phase(Phase::Query)
}
