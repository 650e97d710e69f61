//! `cargo xtask soak`: the wire is cut at random places under all kinds of calls, thousands of times on each engine, and
//! environments are killed.
//!
//! The tests are those of the whole function's suite, which an ordinary run gives a few cuts each: `cuts::at_random`, there
//! also behind PgBouncer; fifty callers of one idempotency key under cuts; and on clusters writes with keys through failovers,
//! one in a thousand cuts. No write may be lost or doubled, and no read may fail. A write with a key is repeated by its caller
//! until it is told as done: then it is there once, and nothing of it was unknown. SQLite has no wire.

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

impl Engine {
    /// Its tests in the function's suite.
    fn tests(self) -> Vec<String> {
        let name =
            self.to_possible_value().map(|value| value.get_name().replace('-', "_")).unwrap_or_default();
        let cluster = matches!(self, Self::AuroraPostgres | Self::AuroraMysql);
        let group = if cluster { "clusters" } else { "servers" };
        let mut tests = vec![
            format!("cuts::{name}::at_random"),
            format!("once::{group}::{name}::callers_of_one_key_under_cuts"),
        ];
        if cluster {
            tests.push(format!("failover::{name}::writes_with_a_key_through_failovers"));
        }
        if self == Self::Postgres {
            tests.push("cuts::behind_pgbouncer_at_random".to_owned());
        }
        tests
    }
}

/// Builds the suite and runs those tests of it, their output shown.
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
            cargo.args(engine.tests());
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

    /// A name that no test has would be passed over in silence: each is a function of the suite's, in a list for its engine.
    #[test]
    fn each_engine_has_the_tests_of_its_name() {
        let tests = |engine| {
            let words = words(&Options { cuts: 1, seed: None, engine });
            words.into_iter().filter(|word| word.contains("::")).collect::<Vec<_>>()
        };
        assert_eq!(
            tests(Some(Engine::Mariadb)),
            ["cuts::mariadb::at_random", "once::servers::mariadb::callers_of_one_key_under_cuts"]
        );
        assert_eq!(
            tests(Some(Engine::AuroraMysql)),
            [
                "cuts::aurora_mysql::at_random",
                "once::clusters::aurora_mysql::callers_of_one_key_under_cuts",
                "failover::aurora_mysql::writes_with_a_key_through_failovers",
            ]
        );
        let all = tests(None);
        assert_eq!(all.len(), 3 * 2 + 2 * 3 + 1);
        for test in all {
            let (module, name) = (test.split("::").next().unwrap(), test.rsplit("::").next().unwrap());
            let file = format!("{}/../tests/function/{module}.rs", env!("CARGO_MANIFEST_DIR"));
            let suite = std::fs::read_to_string(file).unwrap();
            assert!(suite.contains(&format!("async fn {name}(")), "{test}");
        }
    }

    #[test]
    fn the_test_is_told_how_often_and_with_which_dice() {
        let command = command(&Options { cuts: 5, seed: Some(7), engine: None });
        let envs: Vec<_> = command.get_envs().filter_map(|(name, value)| Some((name, value?))).collect();
        assert_eq!(envs, [("TESTBED_CUTS".as_ref(), "5".as_ref()), ("TESTBED_SEED".as_ref(), "7".as_ref())]);
    }
}
