//! A warm call: 50 rows by one environment that has been used.

use anyhow::{Context, Result};
use lambda_rds_testbed::{Function, RuntimeApi};

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
                let peers = peers.iter().filter(|peer| peer.queries() || network.delay_ms == 0);
                // Interpreters go on working after their reply, in whoever's turn it is.
                let (scripts, compiled): (Vec<_>, Vec<_>) = peers.partition(|peer| peer.script.is_some());
                let alone = scripts.into_iter().map(|peer| vec![peer]);
                for group in std::iter::once(compiled).chain(alone) {
                    round(place, network, &group, before, times(calls, effort.sqrt()), section).await?;
                }
            }
        }
    }
    Ok(())
}

/// An environment of each peer, called in turn, so that what else the machine does is in all of them alike: for each a
/// sample of p50, p99, CPU per call and peak memory.
pub(crate) async fn round(
    place: &Place,
    network: &Network,
    peers: &[&Peer],
    before: usize,
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    let mut environments = Vec::new();
    for peer in peers {
        let context = || format!("warm calls of {}", peer.name);
        let function = peer.environment(place, network).start(&RuntimeApi::start()?)?;
        if peer.queries() {
            call(&function, ACTIVE_USERS, USERS).await.with_context(context)?;
        }
        for _ in 0..before {
            tap(&function, ACTIVE_USERS).await.with_context(context)?;
        }
        let walls = Vec::with_capacity(calls);
        environments.push(Environment { peer, cpu_before: cpu_ms(&function)?, function, walls });
    }
    for turn in 0..calls {
        // Nobody always comes behind the same one.
        let there_and_back = if turn.is_multiple_of(2) { 1 } else { environments.len().saturating_sub(1) };
        for step in 0..environments.len() {
            let at = (turn + step * there_and_back) % environments.len();
            let Environment { peer, function, walls, .. } = &mut environments[at];
            let took = async {
                // Lambda gives an event to an environment that asks for one.
                function.ready().await?;
                anyhow::Ok(tap(function, ACTIVE_USERS).await?.0)
            };
            walls.push(millis(took.await.with_context(|| format!("warm calls of {}", peer.name))?));
        }
    }
    let network = network.name();
    for Environment { peer, function, cpu_before, walls } in environments {
        let cpu = cpu_ms(&function)? - cpu_before;
        section.sample(peer, &network, "p50_ms", Quartiles::of(&walls).context("no calls")?.median);
        section.sample(peer, &network, "p99_ms", percentile(&walls, 99));
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        section.sample(peer, &network, "cpu_ms", cpu / calls as f64);
        section.sample(peer, &network, "memory_mib", memory_mib(&function)?);
    }
    Ok(())
}

struct Environment<'a> {
    peer: &'a Peer,
    function: Function,
    /// What it had used before the first of the calls.
    cpu_before: f64,
    walls: Vec<f64>,
}
