//! Rows to JSON: results from one row up to the largest that fits into a reply.

use anyhow::{Context, Result};
use lambda_rds_testbed::RuntimeApi;

use super::cold::memory_mib;
use super::times;
use crate::measure::{cpu_ms, millis};
use crate::peers::Peer;
use crate::place::{Place, call, some_rows, tap};
use crate::run::Section;

/// The last is about what Lambda takes, 6 MB with every quote escaped, in the most spacious of the encodings.
pub(crate) const COUNTS: [usize; 4] = [1, 100, 10_000, LARGEST];
pub(crate) const LARGEST: usize = 75_000;
const ROUNDS: u32 = 3;

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    for _ in 0..times(ROUNDS, effort) {
        for (place, peers) in places {
            for peer in peers.iter().filter(|peer| peer.serves()) {
                round(place, peer, effort, section)
                    .await
                    .with_context(|| format!("rows of {}", peer.name))?;
            }
        }
    }
    Ok(())
}

async fn round(place: &Place, peer: &Peer, effort: f64, section: &mut Section) -> Result<()> {
    let function = peer.environment(place, place.direct()).start(&RuntimeApi::start()?)?;
    for count in COUNTS {
        let event = some_rows(count);
        let setting = format!("{count} rows");
        call(&function, &event, count).await?;
        let (before, calls) = match count {
            1 | 100 => (100, times(300, effort)),
            10_000 => (4, times(10, effort)),
            _ => (1, times(4, effort)),
        };
        for _ in 0..before {
            tap(&function, &event).await?;
        }
        let cpu = cpu_ms(&function)?;
        let mut bytes = 0;
        for _ in 0..calls {
            let (took, length) = tap(&function, &event).await?;
            section.sample(peer, &setting, "wall_ms", millis(took));
            bytes = length;
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of calls, and megabytes")]
        {
            section.sample(peer, &setting, "cpu_ms", (cpu_ms(&function)? - cpu) / calls as f64);
            section.sample(peer, &setting, "bytes", bytes as f64);
        }
        section.sample(peer, &setting, "memory_mib", memory_mib(&function)?);
    }
    Ok(())
}
