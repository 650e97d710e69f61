//! A write with 1,000 parameter sets, in one transaction.

use anyhow::{Context, Result};
use lambda_rds_testbed::RuntimeApi;

use super::times;
use crate::measure::{cpu_ms, millis};
use crate::peers::Peer;
use crate::place::{Place, batch, tap};
use crate::run::Section;

const SETS: usize = 1_000;
const ROUNDS: u32 = 3;
const CALLS: usize = 3;

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    let event = batch(SETS);
    for _ in 0..times(ROUNDS, effort) {
        for (place, peers) in places {
            for peer in peers.iter().filter(|peer| peer.serves()) {
                let function = peer.environment(place, place.direct()).start(&RuntimeApi::start()?)?;
                let context = || format!("a batch of {}", peer.name);
                tap(&function, &event).await.with_context(context)?;
                for _ in 0..CALLS {
                    let cpu = cpu_ms(&function)?;
                    let (took, _) = tap(&function, &event).await.with_context(context)?;
                    section.sample(peer, "1000 sets", "wall_ms", millis(took));
                    section.sample(peer, "1000 sets", "cpu_ms", cpu_ms(&function)? - cpu);
                }
            }
        }
    }
    Ok(())
}
