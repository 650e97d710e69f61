//! `cargo xtask fuzz`: the property tests of whatever reads foreign text, with millions of cases instead of hundreds.
//!
//! A failing case is shown as small as it can be made, and kept in `proptest-regressions`, where every later run of
//! the tests finds it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Run only the targets with this in their name
    filter: Option<String>,
}

/// Package and test. Those in `peers` are among the integration tests, all others among the unit tests.
const TARGETS: [(&str, &str); 37] = [
    ("lambda-rds-core", "config::read::tests::nothing_that_is_written_panics"),
    ("lambda-rds-core", "credentials::tests::no_secret_makes_it_panic_or_talk"),
    ("lambda-rds-core", "event::accept::tests::no_header_panics"),
    ("lambda-rds-core", "event::tests::a_damaged_event_is_answered"),
    ("lambda-rds-core", "event::tests::a_direct_event_never_has_claims"),
    ("lambda-rds-core", "event::tests::an_agents_event_is_one_call_of_one_tool"),
    ("lambda-rds-core", "event::tests::bytes_never_panic"),
    ("lambda-rds-core", "event::tests::json_never_panics"),
    ("lambda-rds-core", "page::tests::a_token_reads_back"),
    ("lambda-rds-core", "page::tests::no_bytes_panic"),
    ("lambda-rds-core", "page::tests::what_is_no_token_is_refused"),
    ("lambda-rds-core", "queries::annotations::tests::nothing_panics"),
    ("lambda-rds-core", "queries::bind::tests::values_never_change_the_sql"),
    ("lambda-rds-core", "queries::lexer::tests::tokens_tile_the_text"),
    ("lambda-rds-core", "queries::load::tests::nothing_panics"),
    ("lambda-rds-core", "queries::template::tests::text_comes_out_unchanged"),
    ("lambda-rds-core", "rows::csv::tests::texts_read_back"),
    ("lambda-rds-core", "rows::tests::bytes_are_text_if_they_are_utf8"),
    ("lambda-rds-core", "rows::tests::json_keeps_its_meaning"),
    ("lambda-rds-core", "rows::tests::text_is_written_as_serde_json_writes_it"),
    ("lambda-rds-core", "rows::tests::text_reads_back"),
    ("lambda-rds-core", "value::parse::tests::decimals_keep_their_digits"),
    ("lambda-rds-core", "value::parse::tests::nothing_panics"),
    ("lambda-rds-core", "value::time::tests::nothing_panics"),
    ("lambda-rds-mysql", "answer::tests::whatever_comes_is_read_without_a_panic"),
    ("lambda-rds-mysql", "decode::tests::no_row_makes_it_panic"),
    ("lambda-rds-mysql", "greeting::tests::a_greeting_that_is_cut_or_bent_is_read_without_a_panic"),
    ("lambda-rds-mysql", "greeting::tests::whatever_comes_is_read_without_a_panic"),
    ("lambda-rds-mysql", "login::tests::whatever_a_server_says_ends_the_login_without_a_panic"),
    ("lambda-rds-mysql", "packet::tests::whatever_comes_is_read_within_its_bounds"),
    ("lambda-rds-mysql", "peers::whatever_a_server_says_ends_one_call"),
    ("lambda-rds-postgres", "decode::tests::decimals_come_back_digit_for_digit"),
    ("lambda-rds-postgres", "decode::tests::no_bytes_make_it_panic"),
    ("lambda-rds-postgres", "decode::tests::no_row_makes_it_panic"),
    ("lambda-rds-postgres", "decode::tests::no_text_of_an_array_makes_it_panic"),
    ("lambda-rds-postgres", "messages::tests::no_bytes_make_it_panic"),
    ("lambda-rds-postgres", "peers::whatever_a_server_says_ends_one_call"),
];

/// Builds the tests and runs the targets, as many at once as there are processors.
pub(crate) fn fuzz(workspace: &Path, options: &Options) -> Result<()> {
    let wanted = |name: &str| options.filter.as_deref().is_none_or(|part| name.contains(part));
    let targets: Vec<_> = TARGETS.into_iter().filter(|(_, name)| wanted(name)).collect();
    ensure!(!targets.is_empty(), "no target has {:?} in its name", options.filter);
    let mut programs = BTreeMap::new();
    for (package, name) in &targets {
        let of = (*package, is_integration(name));
        if !programs.contains_key(&of) {
            programs.insert(of, program(workspace, of)?);
        }
    }
    let time = Duration::from_secs(options.seconds);
    let queue = Mutex::new(targets.into_iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((package, name)) = next else { return };
                    match run(&programs[&(package, is_integration(name))], workspace, package, name, time) {
                        Ok(cases) => println!("{package} {name}: {cases} cases"),
                        Err(error) => {
                            println!("{package} {name}: FAILED");
                            failures
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(format!("{error:#}"));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failures.is_empty(), "{} targets failed\n\n{}", failures.len(), failures.join("\n\n"));
    Ok(())
}

fn is_integration(name: &str) -> bool {
    name.starts_with("peers::")
}

/// Builds the unit tests of a package, or its integration tests, and gives their executable.
fn program(workspace: &Path, (package, integration): (&str, bool)) -> Result<PathBuf> {
    let mut cargo = super::cargo();
    cargo.current_dir(workspace).args(["test", "--no-run", "--message-format=json", "-p", package]);
    cargo.args(if integration { &["--test", "integration"][..] } else { &["--lib"] });
    let built = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(built.status.success(), "{} failed ({})", super::shown(&cargo), built.status);
    let messages = String::from_utf8(built.stdout).context("cargo's messages are not UTF-8")?;
    let executable = messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.with_context(|| format!("cargo names no executable for the tests of {package}"))
}

/// Runs one target for about this long, in rounds, since a property test is told a number of cases and no time.
/// Gives the number of cases.
fn run(program: &Path, workspace: &Path, package: &str, name: &str, time: Duration) -> Result<u64> {
    let folder = workspace.join("crates").join(package.trim_start_matches("lambda-rds-"));
    let started = Instant::now();
    let (mut round, mut cases) = (FIRST_ROUND, 0);
    loop {
        let mut test = Command::new(program);
        // Where cargo runs it, or it would not find the cases that have failed before.
        test.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder).args([name, "--exact"]);
        test.env("PROPTEST_CASES", round.to_string());
        for limit in ["PROPTEST_MAX_LOCAL_REJECTS", "PROPTEST_MAX_GLOBAL_REJECTS"] {
            test.env(limit, u32::MAX.to_string());
        }
        let output = test.output().with_context(|| format!("cannot start {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{package} {name}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        if !text.contains("test result: ok. 1 passed") {
            bail!("{package} has no test {name}");
        }
        cases += round;
        let spent = started.elapsed();
        let left = time.saturating_sub(spent);
        if left.is_zero() {
            return Ok(cases);
        }
        round = next_round(cases, spent, left);
    }
}

/// As many cases as fill the time that is left, at the pace so far, and no more than are counted in 32 bits.
fn next_round(cases: u64, spent: Duration, left: Duration) -> u64 {
    let filling = u128::from(cases) * left.as_millis() / spent.as_millis().max(1);
    u64::try_from(filling).unwrap_or(u64::MAX).clamp(FIRST_ROUND, u32::MAX.into())
}

const FIRST_ROUND: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that has been renamed would end the run, after minutes; one that nobody lists would not be in it.
    #[test]
    fn the_targets_are_the_property_tests_that_there_are() {
        // What is no reading of foreign text: its values are all tried in the tests as they are.
        const ROUND_TRIPS: [&str; 6] = [
            "agrees_with_jiff",
            "every_date_comes_back",
            "every_time_comes_back",
            "every_timestamp_comes_back",
            "intervals_have_every_field",
            "numbers_read_back",
        ];
        let crates = crate::workspace().unwrap().join("crates");
        let mut found = Vec::new();
        for package in ["core", "mysql", "postgres"] {
            for (folder, below) in [("src", true), ("tests/integration", false)] {
                let folder = crates.join(package).join(folder);
                for file in files(&folder) {
                    let module = file.strip_prefix(&folder).unwrap().with_extension("");
                    let module = module.to_str().unwrap().replace('/', "::");
                    let module = module.trim_end_matches("::mod").trim_end_matches("::tests");
                    let module = if below { format!("{module}::tests") } else { module.to_owned() };
                    for test in property_tests(&std::fs::read_to_string(&file).unwrap()) {
                        if !ROUND_TRIPS.contains(&test.as_str()) {
                            found.push((format!("lambda-rds-{package}"), format!("{module}::{test}")));
                        }
                    }
                }
            }
        }
        found.sort();
        let listed: Vec<(String, String)> =
            TARGETS.iter().map(|(package, name)| ((*package).to_owned(), (*name).to_owned())).collect();
        assert_eq!(found, listed);
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
            .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
            .collect()
    }

    /// The tests inside `proptest! { … }`, which ends with a brace that stands as far left as it began.
    fn property_tests(source: &str) -> Vec<String> {
        let mut tests = Vec::new();
        let mut end = None;
        for line in source.lines() {
            let indent = line.len() - line.trim_start().len();
            if line.trim_end().ends_with("proptest! {") {
                end = Some(indent);
            } else if end == Some(indent) && line.trim() == "}" {
                end = None;
            } else if end.is_some()
                && let Some(rest) = line.trim_start().strip_prefix("fn ")
            {
                tests.push(rest.split('(').next().unwrap().to_owned());
            }
        }
        tests
    }

    #[test]
    fn rounds_fill_the_time() {
        let check = |cases, spent_ms, left_ms, expected| {
            let (spent, left) = (Duration::from_millis(spent_ms), Duration::from_millis(left_ms));
            assert_eq!(next_round(cases, spent, left), expected, "{cases} {spent_ms} {left_ms}");
        };
        check(1_000, 500, 59_500, 119_000);
        check(1_000_000, 59_999, 1, FIRST_ROUND);
        check(u64::MAX, 0, 60_000, u32::MAX.into());
    }
}
