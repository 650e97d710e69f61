//! `cargo xtask soak`: the wire is cut at random places under all kinds of calls, thousands of times on each engine.
//!
//! The test is `cuts::at_random` of the whole function's suite, which an ordinary run gives a few hundred cuts. No
//! write may be lost or doubled, and no read may fail. A write with an idempotency key is repeated by its caller until it is
//! told as done: then it is there once, and nothing of it was unknown.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many cuts each engine gets
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    cuts: u64,
    /// Repeat the dice of an earlier run: the TESTBED_SEED that it has printed
    #[arg(long)]
    seed: Option<u64>,
    /// Only on this engine; else on all of them at once
    #[arg(long)]
    engine: Option<Engine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Postgres,
    Mysql,
    Mariadb,
    AuroraPostgres,
    AuroraMysql,
}

/// Builds the suite and runs that one test of it, its output shown.
pub(crate) fn soak(workspace: &Path, options: &Options) -> Result<()> {
    let servers = super::servers::ready(workspace, false)?;
    super::run(command(options).current_dir(workspace).env(super::servers::FOLDER_VARIABLE, servers))
}

fn command(options: &Options) -> Command {
    let mut cargo = super::cargo();
    cargo.args([
        "test",
        "-p",
        "lambda-rds",
        "--features",
        "postgres,mysql,sqlite,aurora",
        "--test",
        "function",
        "--",
    ]);
    for engine in Engine::value_variants() {
        if options.engine.is_none_or(|only| only == *engine) {
            let name = engine.to_possible_value().map(|value| value.get_name().replace('-', "_"));
            cargo.arg(format!("cuts::{}::at_random", name.unwrap_or_default()));
        }
    }
    cargo.args(["--exact", "--nocapture", "--test-threads", "3"]);
    cargo.env("TESTBED_CUTS", options.cuts.to_string());
    if let Some(seed) = options.seed {
        cargo.env("TESTBED_SEED", seed.to_string());
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &Options) -> Vec<String> {
        command(options).get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn each_engine_is_a_test_of_its_name() {
        let all = words(&Options { cuts: 1, seed: None, engine: None });
        let tests: Vec<_> = all.into_iter().filter(|word| word.starts_with("cuts::")).collect();
        assert_eq!(
            tests,
            ["postgres", "mysql", "mariadb", "aurora_postgres", "aurora_mysql"]
                .map(|engine| format!("cuts::{engine}::at_random"))
        );
        let one = words(&Options { cuts: 1, seed: Some(7), engine: Some(Engine::Mariadb) });
        assert_eq!(one.iter().filter(|word| word.starts_with("cuts::")).count(), 1);
    }

    #[test]
    fn the_test_is_told_how_often_and_with_which_dice() {
        let command = command(&Options { cuts: 5, seed: Some(7), engine: None });
        let envs: Vec<_> = command.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        assert_eq!(envs, [("TESTBED_CUTS".as_ref(), "5".as_ref()), ("TESTBED_SEED".as_ref(), "7".as_ref())]);
    }
}
