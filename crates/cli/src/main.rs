//! The command `lambda-rds`: run the function's queries on a developer's machine.
//!
//! ```text
//! command line ─▶ settings ─▶ the function's own pipeline ─▶ stdout, stderr, exit code
//! ```
//!
//! Results go to stdout and nothing else does; notes and failures go to stderr. What a run ended with is told by
//! its exit code: see [`failure`].

mod doctor;
mod failure;
mod invoke;
mod json;
mod sample;
mod settings;
mod url;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Run the SQL queries of a lambda-rds function on this machine.
#[derive(Debug, Parser)]
#[command(name = "lambda-rds", version, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Invoke(invoke::Invoke),
    Doctor(doctor::Doctor),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    // One call at a time, as in Lambda.
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(async {
            match command {
                Command::Invoke(invoke) => invoke.run().await,
                Command::Doctor(doctor) => doctor.run().await,
            }
        }),
        Err(error) => Err(Failure::Setup(format!("no async runtime: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
