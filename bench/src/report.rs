//! The summary of a run in Markdown, and the pages of the documentation that are filled from it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cost;
use crate::measure::{Outcome, Quartiles, grouped, short};
use crate::peers::{Engine, FLOOR, NODE, OBVIOUS, OURS, PYTHON, TITLES};
use crate::plot::{Bar, bars};
use crate::run::{Run, Section};
use crate::sections::{Aim, COUNTED, Kind, LARGEST, PHASES, Pair, ROW_COUNTS};

const DELAYS: [&str; 3] = ["0 ms", "1 ms", "5 ms"];

/// The tables of all sections that the run has.
pub(crate) fn summary(run: &Run) -> String {
    let mut text = String::new();
    targets(run, &mut text);
    for (kind, table) in [
        (Kind::Cold, cold as fn(&Run, &mut String)),
        (Kind::Warm, warm),
        (Kind::Rows, rows),
        (Kind::Batch, batch),
        (Kind::Features, features),
        (Kind::Instructions, instructions),
        (Kind::Reconnect, reconnect),
        (Kind::Freeze, freeze),
        (Kind::Fleet, fleet),
        (Kind::Sizes, sizes),
    ] {
        if run.section(kind).is_some() {
            table(run, &mut text);
        }
    }
    text
}

/// The summary as a page of its own, with where it comes from.
pub(crate) fn page(run: &Run, summary: &str) -> String {
    format!("# Run {}\n\n{}\n{summary}", run.name, provenance(run))
}

/// Fills the generated blocks of the documentation, and draws its plots.
pub(crate) fn write_docs(repository: &Path, run: &Run, summary: &str) -> Result<()> {
    let folder = repository.join("docs/explanation");
    let plots = folder.join("plots");
    fs::create_dir_all(&plots)?;
    let plot = |kind: Kind, measure: &str, title: &str, peers: &[&str]| {
        let bars_of = Engine::ALL.iter().flat_map(|engine| {
            peers.iter().filter_map(move |peer| {
                let engine = engine.name();
                let value = run.median(kind, engine, peer, DELAYS[0], measure)?;
                Some(Bar {
                    group: title_of_engine(engine),
                    name: title_of(peer).to_owned(),
                    value,
                    ours: *peer == OURS,
                })
            })
        });
        bars(title, "ms", &bars_of.collect::<Vec<_>>())
    };
    let served = [OURS, OBVIOUS, PYTHON, NODE];
    for (file, kind, measure, title, peers) in [
        ("cold.svg", Kind::Cold, "wall_ms", "Cold start: spawn to first reply, milliseconds", &served[..]),
        (
            "warm.svg",
            Kind::Warm,
            "p50_ms",
            "Warm call, median, milliseconds",
            &[OURS, FLOOR, OBVIOUS, NODE, PYTHON][..],
        ),
    ] {
        if run.section(kind).is_some() {
            fs::write(plots.join(file), plot(kind, measure, title, peers))?;
        }
    }
    fill(&folder.join("size-and-speed.md"), &format!("{}\n{summary}", provenance(run)))?;
    fill(&folder.join("cost.md"), &cost::page(run))
}

/// Replaces what stands between the two marks of a page.
fn fill(path: &Path, text: &str) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let marks = || format!("{} has no {BEGIN} before {END}", path.display());
    let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    let page = format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim());
    fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

const BEGIN: &str = "<!-- From `cargo xtask bench --docs`: do not edit. -->";
const END: &str = "<!-- End of what the bench wrote. -->";

/// Where, with what and when.
fn provenance(run: &Run) -> String {
    let Some(first) = run.sections.first() else { return "Nothing has been measured.\n".to_owned() };
    let versions: Vec<_> = first.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let machine = &first.machine;
    let loads: Vec<_> =
        run.sections.iter().map(|section| format!("{} {}", section.name, section.machine.load)).collect();
    let minutes = run.sections.iter().map(|section| section.seconds).sum::<f64>() / 60.0;
    format!(
        "Run `{}` of `{}` at commit {}, {} minutes: {} cores of {}, {}, Linux {}; load at the start of each section: \
         {}. {}.\n\nMedians, in parentheses the middle half of the samples; *ratio* is lambda-rds ÷ peer, so that \
         less than 1 is better. The raw data is in `bench/runs/{}`.\n",
        run.name,
        first.command,
        first.commit,
        short(minutes),
        machine.cores,
        machine.processor,
        machine.memory,
        machine.kernel,
        loads.join(", "),
        versions.join(", "),
        run.name,
    )
}

/// What was promised before it was measured.
fn targets(run: &Run, text: &mut String) {
    let mut rows = Vec::new();
    let mut target = |what: &str, engine: &str, found: Option<f64>, limit: f64, at_least: bool| {
        let Some(found) = found else { return };
        let reached = if at_least { found >= limit } else { found <= limit };
        rows.push(format!(
            "| {what} | {} | {} {} | {} | {} |",
            title_of_engine(engine),
            if at_least { "≥" } else { "≤" },
            short(limit),
            short(found),
            if reached { "yes" } else { "**no**" }
        ));
    };
    for engine in Engine::ALL.map(Engine::name) {
        let zero = DELAYS[0];
        let ratio = |kind, measure: &str, peer: &str| {
            Some(
                run.median(kind, engine, OURS, zero, measure)?
                    / run.median(kind, engine, peer, zero, measure)?,
            )
        };
        let ours = |kind, setting: &str, measure: &str| run.median(kind, engine, OURS, setting, measure);
        let obvious = if engine == "postgres" { 1.0 / 5.0 } else { 1.0 / 3.0 };
        target("cold ÷ Node", engine, ratio(Kind::Cold, "wall_ms", NODE), 1.0 / 20.0, false);
        target("cold ÷ Python", engine, ratio(Kind::Cold, "wall_ms", PYTHON), 1.0 / 25.0, false);
        target("cold ÷ obvious Rust", engine, ratio(Kind::Cold, "wall_ms", OBVIOUS), obvious, false);
        target("CPU of a cold start, ms", engine, ours(Kind::Cold, zero, "cpu_ms"), 8.0, false);
        target("warm p50 ÷ Node", engine, ratio(Kind::Warm, "p50_ms", NODE), 1.0 / 4.0, false);
        target("warm p50 ÷ Python", engine, ratio(Kind::Warm, "p50_ms", PYTHON), 1.0 / 5.0, false);
        target("warm p50 ÷ obvious Rust", engine, ratio(Kind::Warm, "p50_ms", OBVIOUS), 0.75, false);
        target("warm p50 ÷ floor with TLS", engine, ratio(Kind::Warm, "p50_ms", FLOOR), 1.25, false);
        let spread = ours(Kind::Warm, zero, "p99_ms").zip(ours(Kind::Warm, zero, "p50_ms"));
        target("warm p99 ÷ p50", engine, spread.map(|(p99, p50)| p99 / p50), 2.0, false);
        target("CPU of a warm call ÷ Node", engine, ratio(Kind::Warm, "cpu_ms", NODE), 1.0 / 6.0, false);
        target("memory of a small read, MiB", engine, ours(Kind::Warm, zero, "memory_mib"), 12.0, false);
        let largest = format!("{LARGEST} rows");
        target("memory of a 6 MB reply, MiB", engine, ours(Kind::Rows, &largest, "memory_mib"), 32.0, false);
        target("zip, MB", engine, ours(Kind::Sizes, "", "zip_bytes").map(|bytes| bytes / 1e6), 3.5, false);
        let faster = |peer: &str| {
            let cpu = |peer: &str| run.median(Kind::Rows, engine, peer, "10000 rows", "cpu_ms");
            Some(cpu(peer)? / cpu(OURS)?)
        };
        target("rows per second of CPU ÷ Node", engine, faster(NODE), 5.0, true);
        target("rows per second of CPU ÷ Python", engine, faster(PYTHON), 15.0, true);
    }
    if !rows.is_empty() {
        head(text, "What was aimed at", &["", "engine", "target", "measured", "reached"]);
        text.extend(rows.into_iter().map(|row| row + "\n"));
        text.push('\n');
    }
}

fn cold(run: &Run, text: &mut String) {
    let columns =
        ["", "0 ms", "ratio", "1 ms", "ratio", "5 ms", "ratio", "CPU at 0 ms", "ratio", "memory, MiB"];
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!(
            "Cold start on {}: spawn to first reply, by what a round trip to the database takes longer",
            title_of_engine(engine)
        );
        per_peer(run, text, Kind::Cold, engine, &title, &columns, |line, peer| {
            for delay in DELAYS {
                with_ratio(run, line, Kind::Cold, engine, peer, delay, "wall_ms");
            }
            with_ratio(run, line, Kind::Cold, engine, peer, DELAYS[0], "cpu_ms");
            cell(line, run.get(Kind::Cold, engine, peer, DELAYS[0], "memory_mib"));
        });
    }
    let mut columns = vec!["ms", "delay", "spawn to INIT's end"];
    columns.extend(PHASES);
    let mut lines = String::new();
    for engine in Engine::ALL.map(Engine::name) {
        for delay in DELAYS {
            if run.get(Kind::Cold, engine, OURS, delay, "init_ms").is_none() {
                continue;
            }
            let mut line = format!("| {} | {delay} |", title_of_engine(engine));
            for measure in ["init"].iter().chain(&PHASES) {
                let median = run.median(Kind::Cold, engine, OURS, delay, &format!("{measure}_ms"));
                let _ = write!(line, " {} |", median.map_or_else(String::new, short));
            }
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    if !lines.is_empty() {
        head(
            text,
            "Phases of lambda-rds' first call, from its log line, with `DB_CONNECT_AT=first-use`",
            &columns,
        );
        text.push_str(&lines);
        text.push('\n');
    }
}

fn warm(run: &Run, text: &mut String) {
    let columns = [
        "",
        "p50 at 0 ms",
        "ratio",
        "1 ms",
        "ratio",
        "5 ms",
        "ratio",
        "p99 at 0 ms",
        "ratio",
        "CPU",
        "ratio",
        "memory, MiB",
    ];
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!("Warm call on {}, ms", title_of_engine(engine));
        per_peer(run, text, Kind::Warm, engine, &title, &columns, |line, peer| {
            for delay in DELAYS {
                with_ratio(run, line, Kind::Warm, engine, peer, delay, "p50_ms");
            }
            with_ratio(run, line, Kind::Warm, engine, peer, DELAYS[0], "p99_ms");
            with_ratio(run, line, Kind::Warm, engine, peer, DELAYS[0], "cpu_ms");
            cell(line, run.get(Kind::Warm, engine, peer, DELAYS[0], "memory_mib"));
        });
    }
}

fn rows(run: &Run, text: &mut String) {
    let columns =
        ["", "rows", "call, ms", "CPU, ms", "ratio", "rows/s", "rows/s of CPU", "MB/s of CPU", "memory, MiB"];
    head(text, "Rows to JSON, the database and TLS included", &columns);
    for engine in Engine::ALL.map(Engine::name) {
        for count in ROW_COUNTS {
            let setting = format!("{count} rows");
            for peer in names(run, Kind::Rows, engine) {
                let median = |measure| run.median(Kind::Rows, engine, &peer, &setting, measure);
                let (Some(wall), Some(cpu), Some(bytes)) =
                    (median("wall_ms"), median("cpu_ms"), median("bytes"))
                else {
                    continue;
                };
                #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
                let count_f = count as f64;
                let mut line =
                    format!("| {}, {} | {} |", title_of(&peer), title_of_engine(engine), whole(count_f));
                cell(&mut line, run.get(Kind::Rows, engine, &peer, &setting, "wall_ms"));
                with_ratio(run, &mut line, Kind::Rows, engine, &peer, &setting, "cpu_ms");
                let _ = writeln!(
                    text,
                    "{line} {} | {} | {} | {} |",
                    short(count_f / wall * 1e3),
                    short(count_f / cpu * 1e3),
                    short(bytes / cpu / 1e3),
                    median("memory_mib").map_or_else(String::new, short),
                );
            }
        }
    }
    text.push('\n');
}

fn batch(run: &Run, text: &mut String) {
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!(
            "A write with 1,000 parameter sets in one transaction on {}, ms",
            title_of_engine(engine)
        );
        per_peer(
            run,
            text,
            Kind::Batch,
            engine,
            &title,
            &["", "call", "ratio", "CPU", "ratio"],
            |line, peer| {
                with_ratio(run, line, Kind::Batch, engine, peer, "1000 sets", "wall_ms");
                with_ratio(run, line, Kind::Batch, engine, peer, "1000 sets", "cpu_ms");
            },
        );
    }
}

fn features(run: &Run, text: &mut String) {
    let columns = ["", "engine", "without, ms", "with, ms", "difference, ms", "ratio", "aimed at", "reached"];
    head(text, "What a feature costs: a call with it beside one without, in turn", &columns);
    for pair in Pair::ALL {
        for engine in Engine::ALL.map(Engine::name) {
            let get = |measure| run.get(Kind::Features, engine, OURS, pair.name(), measure);
            let (Some(more), Some(ratio), Some(with)) = (get("more_ms"), get("ratio"), get("with_ms")) else {
                continue;
            };
            let (aim, reached) = match pair.aim() {
                Aim::More(limit) => (format!("≤ {} ms more", short(limit)), Some(more.median <= limit)),
                Aim::Times(limit) => (format!("≤ {} ×", short(limit)), Some(ratio.median <= limit)),
                Aim::Within(limit) => (format!("≤ {} ms", short(limit)), Some(with.median <= limit)),
                Aim::None => (String::new(), None),
            };
            let mut line = format!("| {} | {} |", pair.name(), title_of_engine(engine));
            for measure in ["without_ms", "with_ms", "more_ms", "ratio"] {
                cell(&mut line, get(measure));
            }
            let reached = reached.map_or("", |reached| if reached { "yes" } else { "**no**" });
            let _ = writeln!(text, "{line} {aim} | {reached} |");
        }
    }
    text.push('\n');
    shared_processors(run, text);
}

/// What two processors could give at most, where the machine has no third.
fn shared_processors(run: &Run, text: &mut String) {
    let busy = |engine: &str| {
        let of = |measure| run.median(Kind::Features, engine, OURS, Pair::Processors.name(), measure);
        let (one, two) = (of("without_busy")?, of("with_busy")?);
        Some(format!("{} and {} on {}", short(one), short(two), title_of_engine(engine)))
    };
    let busy: Vec<_> = Engine::ALL.into_iter().filter_map(|engine| busy(engine.name())).collect();
    let cores = run.section(Kind::Features).map_or(0, |section| section.machine.cores);
    if !busy.is_empty() {
        let _ = writeln!(
            text,
            "Of the calls at once: the server and whoever calls run on the same {cores} processors as the function, which \
             so got its one alone, or part of two: {} were busy with it. One thread cannot use more than one.\n",
            busy.join(", "),
        );
    }
}

fn instructions(run: &Run, text: &mut String) {
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!(
            "Instructions of a warm call in user mode on {}, thousands, by callgrind",
            title_of_engine(engine)
        );
        let columns: Vec<&str> =
            [""].into_iter().chain(COUNTED.iter().flat_map(|(it, _)| [it, "ratio"])).collect();
        per_peer(run, text, Kind::Instructions, engine, &title, &columns, |line, peer| {
            for (setting, _) in COUNTED {
                let count = |peer| {
                    run.median(Kind::Instructions, engine, peer, setting, "instructions").map(|it| it / 1e3)
                };
                let found = count(peer);
                let _ = write!(line, " {} |", found.map_or_else(String::new, short));
                ratio(line, peer, found, count(OURS));
            }
        });
    }
}

fn reconnect(run: &Run, text: &mut String) {
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!(
            "The next call after the connection was dropped on {}, until it is answered",
            title_of_engine(engine)
        );
        let columns = ["", "FIN, ms", "ratio", "calls failed", "RST, ms", "ratio", "calls failed"];
        per_peer(run, text, Kind::Reconnect, engine, &title, &columns, |line, peer| {
            for cut in ["FIN", "RST"] {
                with_ratio(run, line, Kind::Reconnect, engine, peer, cut, "wall_ms");
                let failed = run.median(Kind::Reconnect, engine, peer, cut, "failed_calls");
                // Five tries were made.
                let failed =
                    failed.map(|failed| if failed >= 5.0 { "all".to_owned() } else { whole(failed) });
                let _ = write!(line, " {} |", failed.unwrap_or_default());
            }
        });
    }
}

fn freeze(run: &Run, text: &mut String) {
    let Some(section) = run.section(Kind::Freeze) else { return };
    for engine in Engine::ALL.map(Engine::name) {
        let mut scenarios: Vec<&str> = Vec::new();
        for outcome in of_engine(section, engine) {
            if let Some((scenario, _)) = outcome.setting.split_once(", call")
                && !scenarios.contains(&scenario)
            {
                scenarios.push(scenario);
            }
        }
        if scenarios.is_empty() {
            continue;
        }
        let title =
            format!("The first and the second call after a freeze in which … on {}", title_of_engine(engine));
        let mut columns = vec![""];
        columns.extend(&scenarios);
        head(text, &title, &columns);
        let mut peers: Vec<&str> = Vec::new();
        for outcome in of_engine(section, engine) {
            if !peers.contains(&outcome.peer.as_str()) {
                peers.push(&outcome.peer);
            }
        }
        for peer in peers {
            let mut line = format!("| {} |", title_of(peer));
            for scenario in &scenarios {
                let calls: Vec<_> = of_engine(section, engine)
                    .filter(|outcome| {
                        outcome.peer == peer && outcome.setting.starts_with(&format!("{scenario}, call"))
                    })
                    .map(|outcome| format!("{}, {} ms", plain(&outcome.result), short(outcome.ms)))
                    .collect();
                let _ = write!(line, " {} |", calls.join("; then "));
            }
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
    }
}

fn fleet(run: &Run, text: &mut String) {
    let Some(section) = run.section(Kind::Fleet) else { return };
    head(
        text,
        "A fleet against a server with `max_connections` of 50",
        &["", "engine", "calls", "answered", "p50, ms", "p99, ms", "errors"],
    );
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for outcome in &section.outcomes {
        let key = (outcome.setting.as_str(), outcome.engine.as_str(), outcome.peer.as_str());
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    for (setting, engine, peer) in seen {
        let calls: Vec<&Outcome> = of_engine(section, engine)
            .filter(|outcome| outcome.setting == setting && outcome.peer == peer)
            .collect();
        let good: Vec<f64> = calls.iter().filter(|call| call.result == "ok").map(|call| call.ms).collect();
        let mut errors: BTreeMap<String, usize> = BTreeMap::new();
        for call in calls.iter().filter(|call| call.result != "ok") {
            *errors.entry(plain(&call.result)).or_default() += 1;
        }
        let errors: Vec<_> = errors.into_iter().map(|(what, count)| format!("{count} × {what}")).collect();
        #[expect(clippy::cast_precision_loss, reason = "hundreds")]
        let share = good.len() as f64 / calls.len() as f64 * 100.0;
        let _ = writeln!(
            text,
            "| {}: {setting} | {} | {} | {} % | {} | {} | {} |",
            title_of(peer),
            title_of_engine(engine),
            calls.len(),
            short(share),
            Quartiles::of(&good).map_or_else(String::new, |good| short(good.median)),
            if good.is_empty() { String::new() } else { short(crate::measure::percentile(&good, 99)) },
            errors.join("; "),
        );
    }
    text.push('\n');
}

fn sizes(run: &Run, text: &mut String) {
    for engine in Engine::ALL.map(Engine::name) {
        let title = format!(
            "Size on {}, bytes; for Node and Python, what is uploaded beside the interpreter",
            title_of_engine(engine)
        );
        per_peer(
            run,
            text,
            Kind::Sizes,
            engine,
            &title,
            &["", "unpacked", "zipped", "ratio"],
            |line, peer| {
                let size = |measure| run.median(Kind::Sizes, engine, peer, "", measure);
                let _ = write!(line, " {} |", size("bytes").map_or_else(String::new, whole));
                let _ = write!(line, " {} |", size("zip_bytes").map_or_else(String::new, whole));
                ratio(line, peer, size("zip_bytes"), run.median(Kind::Sizes, engine, OURS, "", "zip_bytes"));
            },
        );
    }
}

/// A table with a line per peer.
fn per_peer(
    run: &Run,
    text: &mut String,
    kind: Kind,
    engine: &str,
    title: &str,
    columns: &[&str],
    cells: impl Fn(&mut String, &str),
) {
    let peers = names(run, kind, engine);
    if peers.is_empty() {
        return;
    }
    head(text, title, columns);
    for peer in peers {
        let mut line = format!("| {} |", title_of(&peer));
        cells(&mut line, &peer);
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}

fn with_ratio(
    run: &Run,
    line: &mut String,
    kind: Kind,
    engine: &str,
    peer: &str,
    setting: &str,
    measure: &str,
) {
    let found = run.get(kind, engine, peer, setting, measure);
    cell(line, found);
    ratio(line, peer, found.map(|found| found.median), run.median(kind, engine, OURS, setting, measure));
}

fn ratio(line: &mut String, peer: &str, found: Option<f64>, ours: Option<f64>) {
    let ratio = ours.zip(found).filter(|_| peer != OURS).map(|(ours, found)| short(ours / found));
    let _ = write!(line, " {} |", ratio.unwrap_or_default());
}

fn cell(line: &mut String, value: Option<Quartiles>) {
    let _ = write!(line, " {} |", value.map_or_else(String::new, |value| value.to_string()));
}

fn head(text: &mut String, title: &str, columns: &[&str]) {
    let _ = writeln!(text, "**{title}**\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

/// The peers that a section has measured: the known ones in their order, other builds after them.
fn names(run: &Run, kind: Kind, engine: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let series = run.section(kind).map(|section| section.series.as_slice()).unwrap_or_default();
    let measured: Vec<&str> =
        series.iter().filter(|series| series.engine == engine).map(|series| series.peer.as_str()).collect();
    for name in TITLES.iter().map(|(name, _)| *name).chain(measured.iter().copied()) {
        if measured.contains(&name) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn of_engine<'a>(section: &'a Section, engine: &'a str) -> impl Iterator<Item = &'a Outcome> {
    section.outcomes.iter().filter(move |outcome| outcome.engine == engine)
}

fn title_of(peer: &str) -> &str {
    TITLES.iter().find(|(name, _)| *name == peer).map_or(peer, |(_, title)| *title)
}

pub(crate) fn title_of_engine(engine: &str) -> &'static str {
    if engine == "mysql" { "MySQL" } else { "PostgreSQL" }
}

/// A text that may stand in a cell, without what differs from call to call.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().replace('|', "/");
    let line = line.split(" (").next().unwrap_or_default().to_owned();
    line.chars().take(90).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "sizes and counts, far from 2^53")]
fn whole(value: f64) -> String {
    grouped(value.round() as i64)
}
