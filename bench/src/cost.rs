//! What a call costs, from the measured CPU time, and how far a database goes. A model: its assumptions are stated
//! on the page that it fills.

use std::fmt::Write;

use crate::measure::{grouped, short};
use crate::peers::{Engine, NODE, OBVIOUS, OURS, PYTHON};
use crate::report::title_of_engine;
use crate::run::Run;
use crate::sections::Kind;

/// Dollars for a GB-second on x86_64, and for a request; us-east-1, first tier.
const GB_SECOND: f64 = 0.000_016_666_7;
const REQUEST: f64 = 0.000_000_2;
/// Megabytes for which a function gets one whole vCPU.
const VCPU_MB: f64 = 1_769.0;
/// A round trip to a database in another zone, in milliseconds.
const ROUND_TRIP_MS: f64 = 1.0;
/// Of a million calls, this many are cold.
const COLD_SHARE: f64 = 0.01;
/// The flights of a cold connect, TCP's own and the first query's two included.
const COLD_ROUND_TRIPS: f64 = 8.0;
/// What Secrets Manager takes to answer behind its VPC endpoint, in milliseconds.
const SECRET_MS: f64 = 10.0;

const MEMORIES_MB: [f64; 3] = [128.0, 256.0, 512.0];
const PEERS: [&str; 4] = [OURS, OBVIOUS, NODE, PYTHON];

/// The generated part of the page.
pub(crate) fn page(run: &Run) -> String {
    let mut text = String::new();
    for engine in Engine::ALL.map(Engine::name) {
        let lines = table(run, engine);
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "**{}**\n\n| | memory | warm call, ms | cold start, ms | $ per million calls | × lambda-rds |\n\
             |---|---|---|---|---|---|\n{lines}",
            title_of_engine(engine)
        );
    }
    text + &fleet(run)
}

fn table(run: &Run, engine: &str) -> String {
    let mut text = String::new();
    for memory in MEMORIES_MB {
        let ours = Estimate::of(run, engine, OURS, memory);
        for peer in PEERS {
            let Some(estimate) = Estimate::of(run, engine, peer, memory) else { continue };
            let title =
                crate::peers::TITLES.iter().find(|(name, _)| *name == peer).map_or(peer, |(_, title)| *title);
            let more = ours.as_ref().map(|ours| short(estimate.dollars / ours.dollars)).unwrap_or_default();
            let tight = if estimate.memory_mib > memory * 0.8 { ", does not fit" } else { "" };
            let _ = writeln!(
                text,
                "| {title} | {memory} MB{tight} | {} | {} | {:.2} | {more} |",
                short(estimate.warm_ms),
                short(estimate.cold_ms),
                estimate.dollars,
            );
        }
    }
    text
}

struct Estimate {
    warm_ms: f64,
    cold_ms: f64,
    dollars: f64,
    memory_mib: f64,
}

impl Estimate {
    /// A function's CPU time stretches as its share of a vCPU shrinks; waiting for the network does not.
    fn of(run: &Run, engine: &str, peer: &str, memory: f64) -> Option<Self> {
        let share = (memory / VCPU_MB).min(1.0);
        let warm_cpu = run.median(Kind::Warm, engine, peer, "0 ms", "cpu_ms")?;
        let warm_wall = run.median(Kind::Warm, engine, peer, "0 ms", "p50_ms")?;
        let cold_cpu = run.median(Kind::Cold, engine, peer, "0 ms", "cpu_ms")?;
        // What the call waits for at no delay: mostly the server.
        let server = (warm_wall - warm_cpu).max(0.0);
        let warm_ms = warm_cpu / share + server + ROUND_TRIP_MS;
        let cold_ms = cold_cpu / share + server + ROUND_TRIP_MS * COLD_ROUND_TRIPS + SECRET_MS;
        // Lambda bills whole milliseconds, INIT included.
        let billed = warm_ms.ceil() * (1.0 - COLD_SHARE) + cold_ms.ceil() * COLD_SHARE;
        let dollars = 1e6 * (billed / 1e3 * memory / 1024.0 * GB_SECOND + REQUEST);
        let memory_mib = run.median(Kind::Warm, engine, peer, "0 ms", "memory_mib")?;
        Some(Self { warm_ms, cold_ms, dollars, memory_mib })
    }
}

/// How many environments a database can carry, and how many calls those can.
fn fleet(run: &Run) -> String {
    let mut text = String::new();
    for engine in Engine::ALL {
        let Some(call) = Estimate::of(run, engine.name(), OURS, 256.0) else { continue };
        let node = Estimate::of(run, engine.name(), NODE, 256.0);
        let _ = writeln!(
            text,
            "**How far a database goes on {}, at 256 MB**\n\n\
             | memory of the database, GiB | `max_connections` | reserved concurrency | calls/s, lambda-rds | calls/s, Node |\n\
             |---|---|---|---|---|",
            title_of_engine(engine.name())
        );
        for gib in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
            let connections = max_connections(engine, gib);
            // Frozen environments of the last deploy still hold theirs; some are left for people and maintenance.
            let environments = ((connections - RESERVED) / 2.0).floor();
            let per_second = |call_ms: f64| short(environments * BUSY / call_ms * 1e3);
            let _ = writeln!(
                text,
                "| {gib} | {} | {} | {} | {} |",
                whole(connections),
                whole(environments),
                per_second(call.warm_ms),
                node.as_ref().map(|node| per_second(node.warm_ms)).unwrap_or_default(),
            );
        }
        text.push('\n');
    }
    text
}

/// RDS's defaults: `LEAST({DBInstanceClassMemory/9531392},5000)` and `{DBInstanceClassMemory/12582880}`. The class
/// memory is a little less than the instance's, since the system and RDS's own processes need theirs.
fn max_connections(engine: Engine, gib: f64) -> f64 {
    let bytes = gib * 1024.0 * 1024.0 * 1024.0 * 0.93;
    match engine {
        Engine::Postgres => (bytes / 9_531_392.0).floor().min(5_000.0),
        Engine::Mysql => (bytes / 12_582_880.0).floor(),
    }
}

/// Connections that the functions leave alone.
const RESERVED: f64 = 10.0;
/// How busy an environment can be kept by a queue of callers without much waiting.
const BUSY: f64 = 0.5;

#[expect(clippy::cast_possible_truncation, reason = "thousands")]
fn whole(value: f64) -> String {
    grouped(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_the_formulas_of_rds_say() {
        assert_eq!(max_connections(Engine::Postgres, 1.0), 104.0);
        assert_eq!(max_connections(Engine::Postgres, 1_000.0), 5_000.0);
        assert_eq!(max_connections(Engine::Mysql, 1.0), 79.0);
    }
}
