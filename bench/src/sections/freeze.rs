//! What becomes of the first call after a freeze in which something has happened to the connection.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use lambda_rds_testbed::{After, Answer, Direction, Fault, Function, Outcome, RuntimeApi};

use crate::measure::millis;
use crate::peers::Peer;
use crate::place::{ACTIVE_USERS, Network, Place, USERS, call};
use crate::run::Section;

/// The function's timeout. An answer that comes later is none: Lambda has ended the environment.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Longer than the wall time after which lambda-rds trusts no silent connection (30 s).
const LONG: Duration = Duration::from_secs(33);
/// Nobody can see it: the firewall forgets connections within minutes, not seconds.
const SHORT: Duration = Duration::from_secs(1);
/// Calls after the freeze: the first, and whether it goes on.
const CALLS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Nothing,
    Killed,
    Restarted,
    Forgotten,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::Nothing, Self::Killed, Self::Restarted, Self::Forgotten];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Killed => "connection killed by the server",
            Self::Restarted => "server restarted",
            Self::Forgotten => "connection silently dropped",
        }
    }
}

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], section: &mut Section) -> Result<()> {
    for (place, peers) in places {
        for scenario in Scenario::ALL {
            let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.serves()).collect();
            let mut environments = Vec::new();
            for peer in &peers {
                environments.push(Environment::start(place, peer).await?);
            }
            for environment in &environments {
                environment.function.pause()?;
            }
            match scenario {
                Scenario::Nothing => {}
                Scenario::Killed => {
                    place.server.kill_connections(&place.database.user)?;
                }
                Scenario::Restarted => place.server.restart()?,
                Scenario::Forgotten => environments.iter().for_each(Environment::forget),
            }
            // All of them are frozen at once, so that a long freeze is waited for once.
            tokio::time::sleep(if scenario == Scenario::Forgotten { LONG } else { SHORT }).await;
            for environment in &environments {
                environment.function.resume()?;
            }
            // At once where the answer may take until the deadline; what is measured is whether it comes.
            let outcomes = join_all(environments.iter().map(Environment::calls)).await;
            for (peer, calls) in peers.iter().zip(outcomes) {
                for (number, (result, ms)) in calls.into_iter().enumerate() {
                    section.outcome(peer, &format!("{}, call {}", scenario.name(), number + 1), result, ms);
                }
            }
        }
    }
    Ok(())
}

/// A warm environment on a wire of its own.
struct Environment {
    function: Function,
    network: Network,
}

impl Environment {
    async fn start(place: &Place, peer: &Peer) -> Result<Self> {
        let network = place.network(0, true)?;
        let api = RuntimeApi::start()?.with_timeout(TIMEOUT);
        let function = peer.environment(place, &network).env("BENCH_POOL", "default").start(&api)?;
        call(&function, ACTIVE_USERS, USERS)
            .await
            .with_context(|| format!("a first call of {}", peer.name))?;
        Ok(Self { function, network })
    }

    /// The next connection that says something is never answered; others are.
    fn forget(&self) {
        if let Some(proxy) = &self.network.proxy {
            proxy.inject(Fault::stall(Direction::ToServer, After::Bytes(0)));
        }
    }

    async fn calls(&self) -> Vec<(String, f64)> {
        let mut outcomes = Vec::new();
        for _ in 0..CALLS {
            let started = Instant::now();
            let answered = self.function.invoke_raw(ACTIVE_USERS).await;
            let took = millis(started.elapsed());
            let late = took > millis(TIMEOUT);
            outcomes.push((result(answered, late), took));
            if late {
                break;
            }
        }
        outcomes
    }
}

/// `ok`, or the error in the peer's own words.
pub(super) fn result(answered: Result<Outcome>, late: bool) -> String {
    match answered {
        Ok(_) if late => "not in time".to_owned(),
        Ok(outcome) => match &outcome.answer {
            Answer::Response(_) => match outcome.reply() {
                Ok((200, _)) => "ok".to_owned(),
                Ok((status, body)) => {
                    format!("{status} {}", body["error"]["code"].as_str().unwrap_or_default())
                }
                Err(error) => error.to_string(),
            },
            Answer::Error { error_type, body } => {
                let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                let kind = error_type.as_deref().or(body["errorType"].as_str()).unwrap_or_default();
                let message = body["errorMessage"].as_str().unwrap_or_default();
                // A Rust type's name says nothing.
                if kind.contains("::") { message.to_owned() } else { format!("{kind}: {message}") }
            }
        },
        Err(error) if error.to_string().contains("ended") => "the process ended".to_owned(),
        Err(_) => "not in time".to_owned(),
    }
}
