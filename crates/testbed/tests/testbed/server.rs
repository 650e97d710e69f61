//! A process that has a server in a static, which Rust never drops: it says where the server is, and ends when
//! its standard input is closed, unless it is killed before.

use std::io::{Read, Write};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use lambda_rds_testbed::Postgres;

static SHARED: OnceLock<Postgres> = OnceLock::new();

fn main() -> Result<()> {
    let started = Postgres::start()?;
    let postgres = SHARED.get_or_init(|| started);
    let data = postgres.psql("postgres", "SHOW data_directory")?;
    let pid_file = std::fs::read_to_string(format!("{data}/postmaster.pid"))?;
    let pid = pid_file.lines().next().context("an empty pid file")?;
    writeln!(std::io::stdout(), "server {pid} {data}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
