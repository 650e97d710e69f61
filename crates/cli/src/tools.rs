//! `lambda-rds tools`: the description of the queries that are tools, for who tells agents of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lambda_rds::app::App;
use lambda_rds::deadline::Deadline;
use lambda_rds::openapi::Rows;
use lambda_rds::tools::{self, Reader};

use crate::failure::{Failure, note};
use crate::output;
use crate::settings::Settings;

/// Write the description of the queries that are tools for agents (`-- tool:`)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds tools --url postgres://me@localhost/shop
  lambda-rds tools --format agentcore --output tools.json
  lambda-rds tools --format bedrock --offline | jq '.functions[].name'")]
pub(crate) struct Tools {
    /// Who reads it
    #[arg(long, value_enum, default_value_t = Format::Mcp)]
    format: Format,
    /// Where to write it, instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask no database: of the rows nothing is told then
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The Model Context Protocol: what `tools/list` gives
    Mcp,
    /// AgentCore Gateway: the tool schema of a Lambda target
    #[value(name = "agentcore")]
    AgentCore,
    /// A Bedrock agent: the function schema of an action group
    Bedrock,
}

impl Tools {
    /// Writes the description.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.config(true, "warn").await?;
        let int64 = config.function.int64;
        let backend = lambda_rds::backend(config.db.engine);
        let topology = lambda_rds::topology(&config.db);
        let app = App::start(config, backend, topology).map_err(|error| Failure::Setup(error.to_string()))?;
        let reader = match self.format {
            Format::Mcp => Reader::Mcp,
            Format::AgentCore => Reader::AgentCore,
            Format::Bedrock => Reader::Bedrock,
        };
        let known = match self.offline || reader == Reader::Bedrock {
            // Bedrock takes no word about results.
            true => Ok(Rows::new()),
            false => tools::known(&app, Deadline::after(TIMEOUT)).await,
        };
        app.close().await;
        let rows = known.map_err(|error| {
            note("without a database nothing is told of the rows: --offline does without");
            Failure::unreached(&error, false)
        })?;
        if app.queries().iter().all(|query| query.tool().is_none()) {
            note("no query is a tool: `-- tool: Title` in its file makes it one");
        }
        for trouble in tools::troubles(app.queries(), reader) {
            note(&trouble);
        }
        let document = tools::document(app.queries(), int64, &rows, reader);
        output::write(self.output.as_deref(), document.as_bytes())
    }
}

const TIMEOUT: Duration = Duration::from_secs(120);
