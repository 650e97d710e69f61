//! `lambda-rds mcp`: the queries that are tools, for an agent that starts this command and speaks to it through its
//! stdin and stdout.
//!
//! ```text
//! a line of stdin ─▶ App::converse ─▶ a line of stdout
//! ```
//!
//! The messages are read and answered by the same code as those that reach the function over HTTP, so that no number
//! is rounded on the way: the protocol's SDK would read arguments and results as doubles.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/stdio>

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use clap::Args;
use lambda_rds::event::Invocation;
use lambda_rds::value::Given;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::caller::{self, Caller};
use crate::failure::{Failure, note};
use crate::output;
use crate::serve::{Live, SESSIONS};
use crate::settings::Settings;
use crate::signals;
use crate::uuid::request_id;

/// Offer the queries that are tools (`-- tool:`) to an agent on this machine, by the Model Context Protocol on stdin and
/// stdout
#[derive(Debug, Args)]
#[command(after_help = "\
Query files that change are read again. What goes wrong is told on stderr.

Examples:
  lambda-rds mcp --url postgres://me@localhost/shop
  claude mcp add shop -- lambda-rds mcp --queries ~/shop/queries --db ~/shop/shop.db")]
pub(crate) struct Mcp {
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    settings: Settings,
}

impl Mcp {
    /// Answers until stdin ends.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let claims = caller::given(&self.caller.claims()?)?;
        let defaults = [("LAMBDA_RDS_LOG", "warn"), ("DB_MAX_CONNECTIONS", SESSIONS)];
        let config = self.settings.config_with(true, &defaults).await?;
        let live = Arc::new(Live::start(config)?);
        if live.app().queries().iter().all(|query| query.tool().is_none()) {
            note("no query is a tool: `-- tool: Title` in its file makes it one");
        }
        let outcome = answer(&live, &claims, self.caller.tenant()).await;
        live.app().close().await;
        outcome
    }
}

/// Answers each line; several at once, as they come.
async fn answer(live: &Arc<Live>, claims: &[(String, Given)], tenant: Option<&str>) -> Result<(), Failure> {
    let unheard = |error| Failure::Setup(format!("signals cannot be listened for: {error}"));
    let mut terminate = signals::terminate().map_err(unheard)?;
    let mut interrupt = signals::interrupt().map_err(unheard)?;
    let mut lines = lines();
    let mut running = JoinSet::new();
    let mut cancels: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            Some(done) = running.join_next() => {
                written(done)?;
                continue;
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        let Some(line) = line else { break };
        let seen = Seen::of(&line);
        if let Some(cancelled) = seen.cancelled() {
            if let Some(handle) = cancels.remove(cancelled) {
                handle.abort();
            }
            continue;
        }
        cancels.retain(|_, handle| !handle.is_finished());
        let id = seen.id.map(|id| id.get().to_owned());
        let (app, claims) = (live.current(), claims.to_vec());
        let tenant_id = tenant.map(str::to_owned);
        let invocation = Invocation { request_id: request_id(), tenant_id, ..Invocation::default() };
        let handle = running.spawn(async move { app.converse(&line, claims, &invocation).await });
        if let Some(id) = id {
            cancels.insert(id, handle);
        }
    }
    // Who closes the pipe after a question wants its answer.
    while let Some(done) = running.join_next().await {
        written(done)?;
    }
    Ok(())
}

/// What of a message concerns the pipe.
#[derive(Default, Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl<'a> Seen<'a> {
    fn of(line: &'a str) -> Self {
        // What cannot be read is answered as such.
        serde_json::from_str(line).unwrap_or_default()
    }

    /// The request that is not to be answered any more.
    fn cancelled(&self) -> Option<&'a str> {
        #[derive(Deserialize)]
        struct Cancelled<'a> {
            #[serde(borrow, rename = "requestId")]
            request_id: &'a RawValue,
        }
        if self.method?.get() != "\"notifications/cancelled\"" {
            return None;
        }
        let params: Cancelled<'a> = serde_json::from_str(self.params?.get()).ok()?;
        Some(params.request_id.get())
    }
}

/// Writes the answer of what has run, if it has one.
fn written(done: Result<Option<Vec<u8>>, tokio::task::JoinError>) -> Result<(), Failure> {
    match done {
        Ok(Some(answer)) => output::print(&answer),
        Ok(None) => Ok(()),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(Failure::Setup(format!("a bug: an answer was not given: {error}"))),
    }
}

/// The lines of stdin. They are read by a thread of their own, which ends with the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = match line {
                Ok(line) => String::from_utf8_lossy(&line).into_owned(),
                Err(error) => return note(&format!("stdin cannot be read: {error}")),
            };
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_the_pipe() {
        let check = |line: &str, id: Option<&str>, cancelled: Option<&str>| {
            let seen = Seen::of(line);
            assert_eq!((seen.id.map(RawValue::get), seen.cancelled()), (id, cancelled), "{line}");
        };
        check(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, Some("7"), None);
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        check(cancel, None, Some("\"a\""));
        check(r#"{"method":"notifications/cancelled"}"#, None, None);
        check("[", None, None);
    }
}
