//! A private PostgreSQL with a database in which scripts have been run, for tools that are no Rust test.
//!
//! ```text
//! cargo run -p lambda-rds-testbed --example sample_postgres -- SCRIPT…
//! ```
//!
//! Prints one line of JSON, the settings with which the function reaches it, and ends when its standard input is
//! closed.

#![allow(clippy::print_stdout, reason = "that line is what it is for")]

use std::io::Read;

use anyhow::{Context, Result};
use lambda_rds_testbed::Postgres;

fn main() -> Result<()> {
    let postgres = Postgres::start()?;
    let database = postgres.database("sample")?;
    for script in std::env::args_os().skip(1) {
        let text = std::fs::read_to_string(&script).with_context(|| format!("{}", script.display()))?;
        // As its owner, who then owns what the script makes.
        postgres.psql(&database.name, &format!("SET ROLE {};\n{text}", database.user))?;
    }
    let settings = serde_json::json!({
        "DB_ENGINE": "postgres",
        "DB_AUTH": "password",
        "DB_HOST": postgres.host(),
        "DB_PORT": postgres.port().to_string(),
        "DB_NAME": database.name,
        "DB_USER": database.user,
        "DB_PASSWORD": database.password,
        "DB_TLS_CA": postgres.ca_pem_path(),
    });
    println!("{settings}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
