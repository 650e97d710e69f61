//! The Runtime API for one function that is no Rust test's: starts a program as Lambda does, has it answer events, and
//! ends it.
//!
//! ```text
//! cargo run -p lambda-rds-testbed --example run_function -- [NAME=VALUE]… PROGRAM [ARGUMENT]… < EVENTS
//! ```
//!
//! An event is a line of JSON on standard input; its reply is a line of JSON on standard output.

#![allow(clippy::print_stdout, reason = "those lines are what it is for")]

use anyhow::{Context, Result};
use lambda_rds_testbed::{Function, RuntimeApi};

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    let mut settings = Vec::new();
    while let Some(setting) = words.next_if(|word| word.contains('=')) {
        let (name, value) = setting.split_once('=').context("no setting")?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    let mut function = Function::builder(words.next().context("no program is named")?).envs(settings);
    for argument in words {
        function = function.arg(argument);
    }
    let api = RuntimeApi::start()?;
    let function = function.start(&api)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for event in std::io::stdin().lines() {
        let outcome = runtime.block_on(function.invoke_raw(event?))?;
        println!("{}", outcome.json()?);
    }
    Ok(())
}
