//! A warm call: 50 rows by one environment that has been used.

use anyhow::{Context, Result};
use lambda_rds_testbed::RuntimeApi;

use super::cold::memory_mib;
use super::times;
use crate::measure::{Quartiles, cpu_ms, millis, percentile};
use crate::peers::Peer;
use crate::place::{ACTIVE_USERS, Network, Place, USERS, call, tap};
use crate::run::Section;

const ROUNDS: u32 = 5;
/// Enough for V8 to have compiled what is hot.
const BEFORE: usize = 300;
const CALLS: u32 = 1_000;
/// Behind a simulated network, where a call takes milliseconds.
const DELAYED_CALLS: u32 = 200;

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    for _ in 0..times(ROUNDS, effort.sqrt()) {
        for (place, peers) in places {
            for network in &place.networks {
                let calls = if network.delay_ms > 0 { DELAYED_CALLS } else { CALLS };
                let before = if network.delay_ms > 0 { BEFORE / 3 } else { BEFORE };
                for peer in peers.iter().filter(|peer| peer.queries() || network.delay_ms == 0) {
                    round(place, network, peer, before, times(calls, effort.sqrt()), section)
                        .await
                        .with_context(|| format!("warm calls of {}", peer.name))?;
                }
            }
        }
    }
    Ok(())
}

/// One environment's calls: a sample each of p50, p99, CPU per call and peak memory.
pub(crate) async fn round(
    place: &Place,
    network: &Network,
    peer: &Peer,
    before: usize,
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    let function = peer.environment(place, network).start(&RuntimeApi::start()?)?;
    if peer.queries() {
        call(&function, ACTIVE_USERS, USERS).await?;
    }
    for _ in 0..before {
        tap(&function, ACTIVE_USERS).await?;
    }
    let cpu_before = cpu_ms(&function)?;
    let mut walls = Vec::with_capacity(calls);
    for _ in 0..calls {
        walls.push(millis(tap(&function, ACTIVE_USERS).await?.0));
    }
    let cpu = cpu_ms(&function)? - cpu_before;
    let median = Quartiles::of(&walls).context("no calls")?.median;
    let network = network.name();
    section.sample(peer, &network, "p50_ms", median);
    section.sample(peer, &network, "p99_ms", percentile(&walls, 99));
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    section.sample(peer, &network, "cpu_ms", cpu / calls as f64);
    section.sample(peer, &network, "memory_mib", memory_mib(&function)?);
    Ok(())
}
