//! CancelRequest: a second connection that asks the server to stop what the first one runs.
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::CancelHandle;
use lambda_rds_core::connect::dial;
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};

use crate::connect::{Key, Peer, encrypt};

/// Cancels what one session runs.
#[derive(Debug, Clone)]
pub(crate) struct PgCancel {
    peer: Peer,
    tls: Arc<TlsClient>,
    key: Key,
}

impl PgCancel {
    pub(crate) fn new(peer: Peer, tls: Arc<TlsClient>, key: Key) -> Self {
        Self { peer, tls, key }
    }

    async fn request(&self, by: Deadline) -> Result<()> {
        // The very server of the session: its name may lead elsewhere by now.
        let tcp = dial::redial(self.peer, by).await?;
        let mut wire = encrypt(Wire::plain(tcp), &self.tls, by).await?;
        // Int32 length, Int32 code 1234.5678, then process id and secret as BackendKeyData gave them.
        let key = &self.key.0;
        let length = u32::try_from(8 + key.len()).map_err(|error| failure(&error.to_string()))?;
        wire.output().extend_from_slice(&length.to_be_bytes());
        wire.output().extend_from_slice(&[4, 210, 22, 46]);
        wire.output().extend_from_slice(key);
        wire.uncork();
        // The server answers by closing, once the signal is sent; it may do so without TLS's goodbye.
        match by.bound(wire.turn(false)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(failure(&error.to_string())),
            },
            Err(_) => Err(failure("the server did not answer in time")),
        }
    }
}

impl CancelHandle for PgCancel {
    fn cancel(&self, by: Deadline) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.request(by))
    }
}

fn failure(detail: &str) -> Error {
    Error::new(Fault::Unreachable, format!("the cancel request failed: {detail}")).with_phase(Phase::Query)
}
