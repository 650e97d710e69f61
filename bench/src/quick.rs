//! The short version for CI: lambda-rds beside the obvious Rust handler and the floor, and sizes, against limits that were
//! measured. Ratios, since milliseconds are the machine's; the median of pairs that ran one after the other.
//!
//! The time of a cold start has the floor beside it: the obvious handler spends most of its own in delayed acknowledgements
//! of 40 ms, which a slow machine does not lengthen, so that a ratio to it would be the machine's again.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::measure::{Quartiles, short};
use crate::peers::{Engine, FLOOR, OBVIOUS, OURS, Peer, Prepared};
use crate::place::Place;
use crate::run::Section;
use crate::sections::{Kind, deflated, start_cold, warm_round};

const COLDS: usize = 15;
const WARM_ROUNDS: usize = 5;
const WARM_CALLS: usize = 300;

/// What must hold, and what it was derived from.
#[derive(Debug, Serialize, Deserialize)]
struct Limit {
    /// More is a regression.
    limit: f64,
    /// The median when the limit was set, and the middle half of the samples.
    measured: f64,
    spread: [f64; 2],
}

pub(crate) async fn quick(
    prepared: &Path,
    repository: &Path,
    engines: &[Engine],
    accept: bool,
) -> Result<()> {
    let prepared = Prepared::read(prepared)?;
    let path = repository.join("bench/limits.json");
    if accept {
        return accepted(&path, &measure(&prepared, engines).await?);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let limits: BTreeMap<String, Limit> = serde_json::from_str(&text)?;
    let mut regressions = compare(&limits, &measure(&prepared, engines).await?)?;
    if !regressions.is_empty() {
        // The spread in the limits is of a quiet machine. A neighbour's work shows once, a regression each time.
        println!("Once more, for what is worse than its limit: {}", regressions.join(", "));
        let again = compare(&limits, &measure(&prepared, engines).await?)?;
        regressions.retain(|name| again.contains(name));
    }
    if regressions.is_empty() {
        return Ok(());
    }
    bail!(
        "twice worse than bench/limits.json allows: {}. If that is the price of something worth it, set the limits \
         anew with `cargo xtask bench --quick --accept` on a quiet machine, and say why in the commit",
        regressions.join(", ")
    )
}

/// Measures everything that has a limit.
async fn measure(prepared: &Prepared, engines: &[Engine]) -> Result<BTreeMap<String, Quartiles>> {
    let mut found = BTreeMap::new();
    for &engine in engines {
        let peers = prepared.peers(engine, &[]);
        let named = |name: &str| peers.iter().find(|peer| peer.name == name).context("a peer is missing");
        pairs(engine, [named(OURS)?, named(OBVIOUS)?, named(FLOOR)?], prepared, &mut found).await?;
    }
    Ok(found)
}

/// Shows what was measured beside its limit, and names what is worse.
fn compare(limits: &BTreeMap<String, Limit>, found: &BTreeMap<String, Quartiles>) -> Result<Vec<String>> {
    let mut regressions = Vec::new();
    println!("{:44} {:>12} {:>12} {:>12}", "", "measured", "limit", "when set");
    for (name, found) in found {
        let limit =
            limits.get(name).with_context(|| format!("limits.json has no {name}: run with --accept"))?;
        println!(
            "{name:44} {:>12} {:>12} {:>12}",
            short(found.median),
            short(limit.limit),
            short(limit.measured)
        );
        if found.median > limit.limit {
            regressions.push(name.clone());
        }
    }
    Ok(regressions)
}

async fn pairs(
    engine: Engine,
    [ours, obvious, floor]: [&Peer; 3],
    prepared: &Prepared,
    found: &mut BTreeMap<String, Quartiles>,
) -> Result<()> {
    let place = Place::start(engine).await?;
    let name = engine.name();
    let mut keep = |what: &str, samples: &[f64]| {
        if let Some(quartiles) = Quartiles::of(samples) {
            found.insert(format!("{name}: {what}"), quartiles);
        }
    };
    let program = std::fs::read(&ours.program)?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    {
        keep("executable, bytes", &[program.len() as f64]);
        keep("zipped, bytes", &[deflated(&program)? as f64]);
    }
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..COLDS {
        let mine = start_cold(&place, place.direct(), ours).await?;
        let theirs = start_cold(&place, place.direct(), obvious).await?;
        walls.push(mine.0 / start_cold(&place, place.direct(), floor).await?.0);
        cpus.push(mine.1 / theirs.1);
    }
    keep("cold, time ÷ floor", &walls);
    keep("cold, CPU ÷ obvious Rust", &cpus);

    let mut section = Section::new(Kind::Warm, "", prepared, &[]);
    for _ in 0..WARM_ROUNDS {
        warm_round(&place, place.direct(), &[ours, obvious], 50, WARM_CALLS, &mut section).await?;
    }
    for (measure, what) in [
        ("p50_ms", "warm, p50 ÷ obvious Rust"),
        ("cpu_ms", "warm, CPU ÷ obvious Rust"),
        ("memory_mib", "memory ÷ obvious Rust"),
    ] {
        let values = |peer: &Peer| {
            let series =
                section.series.iter().find(|series| series.peer == peer.name && series.measure == measure);
            series.map(|series| series.values.clone()).unwrap_or_default()
        };
        let ratios: Vec<f64> =
            values(ours).iter().zip(values(obvious)).map(|(mine, theirs)| mine / theirs).collect();
        keep(what, &ratios);
    }
    Ok(())
}

/// Sets the limits: sizes may grow by 2 %, ratios by three times their measured noise. That is at least 42 %: two runs of
/// one commit, with a compiler beside one of them, were up to 32 % apart.
fn accepted(path: &Path, found: &BTreeMap<String, Quartiles>) -> Result<()> {
    let limits: BTreeMap<&String, Limit> = found
        .iter()
        .map(|(name, found)| {
            let noise = (found.high - found.low).max(0.14 * found.median);
            let limit = if name.ends_with("bytes") {
                (found.median * 1.02).round()
            } else {
                found.median + 3.0 * noise
            };
            (name, Limit { limit, measured: found.median, spread: [found.low, found.high] })
        })
        .collect();
    std::fs::write(path, serde_json::to_string_pretty(&limits)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("bench/limits.json is written");
    Ok(())
}
