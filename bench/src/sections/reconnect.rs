//! The first call after the connection was dropped, by an orderly end and by a reset.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lambda_rds_testbed::{Cut, RuntimeApi};

use super::times;
use crate::measure::millis;
use crate::peers::Peer;
use crate::place::{ACTIVE_USERS, Place, USERS, call};
use crate::run::Section;

const ROUNDS: u32 = 7;
/// A peer that has not come back by then, will not.
const TRIES: usize = 5;

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    for (place, peers) in places {
        for peer in peers.iter().filter(|peer| peer.serves()) {
            let network = place.network(0, true)?;
            let Some(proxy) = &network.proxy else { continue };
            let api = RuntimeApi::start()?.with_timeout(Duration::from_secs(10));
            for (cut, setting) in [(Cut::Fin, "FIN"), (Cut::Rst, "RST")] {
                for _ in 0..times(ROUNDS, effort) {
                    // A new environment for each: some peers do not survive it.
                    let function = peer.environment(place, &network).start(&api)?;
                    call(&function, ACTIVE_USERS, USERS).await?;
                    proxy.cut(cut);
                    gone(proxy).await?;
                    let started = Instant::now();
                    let mut failed = 0_u32;
                    let mut answered = false;
                    for _ in 0..TRIES {
                        if call(&function, ACTIVE_USERS, USERS).await.is_ok() {
                            answered = true;
                            break;
                        }
                        failed += 1;
                    }
                    if answered {
                        section.sample(peer, setting, "wall_ms", millis(started.elapsed()));
                    }
                    section.sample(peer, setting, "failed_calls", f64::from(failed));
                }
            }
        }
    }
    Ok(())
}

/// Waits until no connection is left of those that were cut.
async fn gone(proxy: &lambda_rds_testbed::Proxy) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while proxy.open_connections() > 0 {
        ensure!(Instant::now() < until, "a connection that was cut is still there");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
