//! `lambda-rds tables`: the DDL of the tables that the function itself needs.

use clap::Args;
use lambda_rds::config::{Engine, Table};
use lambda_rds::once;
use lambda_rds::queries::Dialect;

use crate::failure::Failure;
use crate::output;
use crate::settings::Settings;

/// Print what makes the tables that the function needs: that of idempotency keys
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is made by this command, nor by the function: put it where your migrations are. The function's user needs
SELECT, INSERT, UPDATE and DELETE on the table. DB_IDEMPOTENCY_TABLE gives it another name.

Examples:
  lambda-rds tables --engine postgres | psql shop
  DB_IDEMPOTENCY_TABLE=private.keys lambda-rds tables --engine postgres")]
pub(crate) struct Tables {
    #[command(flatten)]
    settings: Settings,
}

impl Tables {
    /// Prints the DDL.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let sources = self.settings.sources()?;
        let (engine, table) = self.settings.engine_and_table(&sources)?;
        output::print(once::ddl(dialect(engine), &table).as_bytes())
    }
}

fn dialect(engine: Engine) -> Dialect {
    match engine {
        Engine::Postgres | Engine::AuroraPostgres => Dialect::Postgres,
        Engine::Mysql | Engine::AuroraMysql => Dialect::Mysql,
        Engine::Sqlite => Dialect::Sqlite,
    }
}

/// The name of the table that a text is.
pub(crate) fn table(text: &str) -> Result<Table, Failure> {
    Table::parse(text).ok_or_else(|| {
        Failure::Setup(format!(
            "DB_IDEMPOTENCY_TABLE is `{text}`, which is no name of a table, with its schema or without: letters, digits, \
             `_` and `$`, up to 63 each"
        ))
    })
}
