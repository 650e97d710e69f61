//! `lambda-rds openapi`: the OpenAPI document of the queries that are callable over HTTP.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lambda_rds::app::App;
use lambda_rds::check;
use lambda_rds::deadline::Deadline;
use lambda_rds::openapi::{self, About, Rows};

use crate::failure::{Failure, note};
use crate::output;
use crate::settings::Settings;

/// Write the OpenAPI document of the queries that are callable over HTTP
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds openapi --output openapi.json --url postgres://me@localhost/shop
  lambda-rds openapi --offline | jq .paths")]
pub(crate) struct Openapi {
    /// Where to write it, instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask no database: rows are any objects then
    #[arg(long)]
    offline: bool,
    /// The title of the API [default: the function's name]
    #[arg(long)]
    title: Option<String>,
    /// The version of the API
    #[arg(long, value_name = "VERSION", default_value = "1")]
    api_version: String,
    /// A URL that the function is called under; may be given several times
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Openapi {
    /// Writes the document.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.config(true, "warn").await?;
        let function = config.function.clone();
        let mut about =
            About { version: self.api_version, servers: self.server, ..About::of(&config.platform) };
        if let Some(title) = self.title {
            about.title = title;
        }
        let backend = lambda_rds::backend(config.db.engine);
        let topology = lambda_rds::topology(&config.db);
        let app = App::start(config, backend, topology).map_err(|error| Failure::Setup(error.to_string()))?;
        let mut rows = Rows::new();
        if !self.offline {
            match check::report(&app, Deadline::after(TIMEOUT)).await {
                Ok(report) => {
                    for checked in &report.queries {
                        let wrong = checked.findings.iter();
                        for finding in wrong.filter(|finding| finding.severity == check::Severity::Error) {
                            note(&finding.to_string());
                        }
                    }
                    let known = report
                        .queries
                        .iter()
                        .filter_map(|checked| Some((checked.query.name().to_owned(), checked.columns()?)));
                    rows.extend(known);
                }
                Err(error) => {
                    app.close().await;
                    note("without a database the document has no rows: --offline does without");
                    return Err(Failure::unreached(&error, false));
                }
            }
        }
        let document = openapi::document(app.queries(), &function, &rows, &about);
        app.close().await;
        output::write(self.output.as_deref(), document.as_bytes())
    }
}

const TIMEOUT: Duration = Duration::from_secs(120);
