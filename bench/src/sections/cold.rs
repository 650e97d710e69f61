//! A cold start: from the spawn of the process to its first reply, the secret, TLS and the login included.

use std::time::Duration;

use anyhow::{Context, Result};
use lambda_rds_testbed::RuntimeApi;
use serde_json::Value;

use super::times;
use crate::measure::{cpu_ms, millis};
use crate::peers::Peer;
use crate::place::{ACTIVE_USERS, Network, Place, USERS, call, tap};
use crate::run::Section;

const ROUNDS: u32 = 21;
/// Behind a simulated network, where less varies.
const DELAYED_ROUNDS: u32 = 9;
const PHASE_ROUNDS: u32 = 9;

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    for round in 0..times(ROUNDS, effort) {
        for (place, peers) in places {
            for network in &place.networks {
                if network.delay_ms > 0 && round >= times(DELAYED_ROUNDS, effort) {
                    continue;
                }
                for peer in peers {
                    let (wall, cpu, memory) = start_cold(place, network, peer).await?;
                    section.sample(peer, &network.name(), "wall_ms", wall);
                    section.sample(peer, &network.name(), "cpu_ms", cpu);
                    section.sample(peer, &network.name(), "memory_mib", memory);
                }
            }
        }
    }
    for _ in 0..times(PHASE_ROUNDS, effort) {
        for (place, peers) in places {
            for network in &place.networks {
                for peer in peers.iter().filter(|peer| peer.is_ours()) {
                    phases(place, network, peer, section).await?;
                }
            }
        }
    }
    Ok(())
}

/// Wall and CPU time in milliseconds, and peak memory in MiB.
pub(crate) async fn start_cold(place: &Place, network: &Network, peer: &Peer) -> Result<(f64, f64, f64)> {
    let function = peer.environment(place, network).start(&RuntimeApi::start()?)?;
    let answered = if peer.queries() {
        call(&function, ACTIVE_USERS, USERS).await.map(drop)
    } else {
        tap(&function, ACTIVE_USERS).await.map(drop)
    };
    let wall = millis(function.started().elapsed());
    answered.with_context(|| format!("a cold start of {}", peer.name))?;
    Ok((wall, cpu_ms(&function)?, memory_mib(&function)?))
}

/// What our own log says of the parts of a cold start. Opened by the first call, since the log line of a call has
/// what that call has opened.
async fn phases(place: &Place, network: &Network, peer: &Peer, section: &mut Section) -> Result<()> {
    let builder = peer.environment(place, network).env("DB_CONNECT_AT", "first-use");
    let function = builder.start(&RuntimeApi::start()?)?;
    function.ready().await?;
    section.sample(peer, &network.name(), "init_ms", millis(function.started().elapsed()));
    call(&function, ACTIVE_USERS, USERS).await?;
    let line =
        function.wait_for_log(|line| line.contains(r#""outcome":"ok""#), Duration::from_secs(10)).await?;
    let line: Value = serde_json::from_str(&line)?;
    for phase in PHASES {
        if let Some(took) = line[format!("{phase}Millis")].as_f64() {
            section.sample(peer, &network.name(), &format!("{phase}_ms"), took);
        }
    }
    Ok(())
}

pub(crate) const PHASES: [&str; 8] =
    ["credentials", "resolve", "tcp", "tls", "auth", "ready", "query", "total"];

#[expect(clippy::cast_precision_loss, reason = "memory is far from 2^53 bytes")]
pub(super) fn memory_mib(function: &lambda_rds_testbed::Function) -> Result<f64> {
    Ok(function.peak_rss_bytes()? as f64 / (1024.0 * 1024.0))
}
