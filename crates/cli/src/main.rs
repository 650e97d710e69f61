//! The command `lambda-rds`: the function and its queries on a developer's machine.
//!
//! ```text
//! command line ─▶ settings ─▶ the function's own pipeline ─▶ stdout, stderr, exit code
//! ```
//!
//! Results go to stdout and nothing else does; notes and failures go to stderr. What a run ended with is told by
//! its exit code: see [`failure`].

mod caller;
mod check;
mod client;
mod completions;
mod doctor;
mod failure;
mod init;
mod invoke;
mod json;
mod mcp;
mod openapi;
mod output;
mod pack;
mod sample;
mod serve;
mod settings;
mod signals;
mod tables;
mod tools;
mod url;
mod uuid;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Run, check and describe the SQL queries of a lambda-rds function on this machine.
#[derive(Debug, Parser)]
#[command(name = "lambda-rds", version, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Invoke(invoke::Invoke),
    Serve(serve::Serve),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Openapi(openapi::Openapi),
    Tools(tools::Tools),
    Client(client::Client),
    Tables(tables::Tables),
    Mcp(mcp::Mcp),
    Pack(pack::Pack),
    Completions(completions::Completions),
}

impl Command {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(),
            Self::Invoke(invoke) => invoke.run().await,
            Self::Serve(serve) => serve.run().await,
            Self::Check(check) => check.run().await,
            Self::Doctor(doctor) => doctor.run().await,
            Self::Openapi(openapi) => openapi.run().await,
            Self::Tools(tools) => tools.run().await,
            Self::Client(client) => client.run().await,
            Self::Tables(tables) => tables.run(),
            Self::Mcp(mcp) => mcp.run().await,
            Self::Pack(pack) => pack.run(),
            Self::Completions(completions) => completions.run(),
        }
    }
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    // One call at a time, as in Lambda.
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command.run()),
        Err(error) => Err(Failure::Setup(format!("no async runtime: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
