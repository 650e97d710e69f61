//! Runs every test of the workspace with the servers at hand.
//!
//! Tests talk to real servers, on machines that others use as well, which now and then stand still for seconds. What
//! fails there once is run again, alone and more than once; if it holds, the run is good and its last lines name the
//! test, since it has to be mended all the same: it hangs on the machine, or it has met a fault that is rare.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{cargo, run, servers, shown};

/// Runs the tests that these arguments for `cargo test` choose; all of them without any.
pub(crate) fn test(workspace: &Path, args: &[OsString]) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let command = || {
        let mut cargo = cargo();
        cargo.arg("test").current_dir(workspace).env(servers::FOLDER_VARIABLE, &servers);
        cargo
    };
    if !args.is_empty() {
        let mut cargo = command();
        if !args.iter().any(|arg| arg == "-p" || arg == "--package") {
            cargo.arg("--workspace");
        }
        return run(cargo.args(args));
    }

    whole(command)
}

/// Runs all, and again what fails.
fn whole(command: impl Fn() -> Command) -> Result<()> {
    let mut whole = command();
    let told = told(whole.args(["--workspace", "--no-fail-fast"]))?;
    if told.good {
        return Ok(());
    }
    let Told { failed, targets, .. } = told;
    ensure!(!failed.is_empty() && !targets.is_empty(), "{} failed", shown(&whole));
    let names = failed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    ensure!(failed.len() <= FEW, "{} tests failed: {names}", failed.len());
    println!("\nOnce more, alone: {names}");
    for _ in 0..AGAIN {
        let mut passed = 0;
        for target in &targets {
            let mut alone = command();
            alone.arg("--workspace").args(target).args(["--", "--exact"]).args(&failed);
            let told = self::told(&mut alone)?;
            ensure!(told.good, "failed again, alone: {}", names);
            passed += told.passed;
        }
        ensure!(passed >= failed.len(), "of {names}, only {passed} could be run again");
    }
    println!(
        "\nAll tests pass, but {} of them only when run again, {AGAIN} times, alone: {names}. Mend them.",
        failed.len()
    );
    Ok(())
}

/// So many tests may fail for the machine's sake. More are a fault.
const FEW: usize = 3;
/// How often a test that has failed must hold.
const AGAIN: usize = 3;

/// What a run of `cargo test` has told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    good: bool,
    passed: usize,
    /// The names of tests.
    failed: BTreeSet<String>,
    /// What chooses the targets that they are of, in any package: `--test function`.
    targets: BTreeSet<Vec<String>>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            self.failed.insert(name.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let passed = result.split("; ").next().and_then(|first| first.split(' ').rev().nth(1));
            self.passed += passed.and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
        } else if let Some(target) = line
            .strip_prefix("    `")
            .and_then(|line| line.strip_suffix('`'))
            .filter(|line| line.contains("-p "))
        {
            // Without the package: to choose one chooses its features, and other tests than those that failed.
            let words = target.split(' ').skip_while(|word| *word == "-p").skip(1);
            self.targets.insert(words.map(str::to_owned).collect());
        }
    }
}

/// Runs it, shows what it says, and says what it told.
fn told(command: &mut Command) -> Result<Told> {
    let what = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {what}"))?;
    let stderr = child.stderr.take().context("no standard error")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let other = std::thread::spawn(move || lines(stderr));
    let heard = lines(stdout)?;
    let other = other.join().map_err(|_| anyhow::anyhow!("reading what {what} says"))??;
    let mut told = Told { good: child.wait()?.success(), ..Told::default() };
    heard.iter().chain(&other).for_each(|line| told.hear(line));
    Ok(told)
}

/// Shows the lines as they come, and keeps those that tell something.
fn lines(pipe: impl Read) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for line in BufReader::new(pipe).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if line.starts_with("test ") || line.starts_with("    `") {
            kept.push(line);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of two packages: one test holds, one fails the first time, one fails until the folder has `cure`.
    fn tried(cured: bool) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for package in ["one", "two"] {
            std::fs::create_dir_all(root.join(package).join("src")).unwrap();
            let manifest = format!("[package]\nname = \"{package}\"\nedition = \"2024\"\n");
            std::fs::write(root.join(package).join("Cargo.toml"), manifest).unwrap();
            std::fs::write(root.join(package).join("src/lib.rs"), "#[test] fn holds() {}\n").unwrap();
        }
        std::fs::write(
            root.join("Cargo.toml"),
            "[workspace]\nmembers = [\"one\", \"two\"]\nresolver = \"3\"\n",
        )
        .unwrap();
        std::fs::create_dir(root.join("two/tests")).unwrap();
        let tests = "#[test] fn holds() {}
            #[test] fn once() { assert!(std::fs::exists(\"met\").unwrap_or(false) || std::fs::write(\"met\", \"\").is_err()) }
            #[test] fn cured() { assert!(std::fs::exists(\"cure\").unwrap()) }";
        std::fs::write(root.join("two/tests/some.rs"), tests).unwrap();
        if cured {
            std::fs::write(root.join("two/cure"), "").unwrap();
        }
        whole(|| {
            let mut cargo = cargo();
            cargo.arg("test").current_dir(root).env("CARGO_TARGET_DIR", root.join("target"));
            cargo
        })
    }

    #[test]
    fn a_test_that_fails_once_is_run_again_and_one_that_fails_twice_fails_the_run() {
        tried(true).unwrap();
        let error = tried(false).unwrap_err().to_string();
        assert_eq!(error, "failed again, alone: cured, once");
    }

    #[test]
    fn what_cargo_tells_is_heard() {
        let mut told = Told::default();
        for line in [
            "     Running tests/function/main.rs (target/debug/deps/function-8e437c1d85e7aac3)",
            "test pages::mysql::what_is_no_page ... ok",
            "test pages::mysql::an_index ... FAILED",
            "test crates/core/src/lib.rs - Function (line 12) ... FAILED",
            "---- pages::mysql::an_index stdout ----",
            "    pages::mysql::an_index",
            "test result: FAILED. 1050 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s",
            "error: 2 targets failed:",
            "    `-p lambda-rds --test function`",
            "    `-p lambda-rds-core --lib`",
            "    `-p lambda-rds-core --doc`",
        ] {
            told.hear(line);
        }
        let failed = ["pages::mysql::an_index", "crates/core/src/lib.rs - Function (line 12)"];
        let targets: [&[&str]; 3] = [&["--test", "function"], &["--lib"], &["--doc"]];
        assert_eq!(told.passed, 1053);
        assert_eq!(told.failed, failed.map(str::to_owned).into());
        assert_eq!(
            told.targets,
            targets.map(|words| words.iter().map(|word| (*word).to_owned()).collect()).into()
        );
    }
}
