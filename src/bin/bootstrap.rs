//! The function: load the configuration, build the application, serve.

use std::process::ExitCode;

use lambda_rds::app::{App, StartError};
use lambda_rds::config::Config;

fn main() -> ExitCode {
    lambda_rds::lambda::main(start)
}

fn start() -> Result<App, StartError> {
    let config = Config::load(lambda_rds::ENGINES)?;
    let backend = lambda_rds::backend(config.db.engine);
    let topology = lambda_rds::topology(&config.db);
    App::start(config, backend, topology)
}
