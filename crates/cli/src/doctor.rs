//! `lambda-rds doctor`: the walk of `{"diagnose": true}` from this machine.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Args;
use lambda_rds::app::App;
use lambda_rds::config::Config;
use lambda_rds::diagnose::{Diagnosis, Step};
use lambda_rds::queries::Queries;

use crate::failure::{Failure, note};
use crate::output;
use crate::settings::Settings;

/// Find out why the database cannot be reached: one step after the other, from the settings to a query
#[derive(Debug, Args)]
#[command(after_help = "\
The same walk in the deployed function, from inside its VPC, is the event {\"diagnose\": true}.

Exit codes:
  0  every step was taken
  1  a step failed
  2  the settings are wrong")]
pub(crate) struct Doctor {
    /// Print the walk as JSON, as the function replies it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Doctor {
    /// Walks, and prints what was found on stdout.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let sources = self.settings.sources()?;
        let (found, wrong) = match Config::read(&sources, lambda_rds::ENGINES) {
            Ok(config) => match walk(config).await {
                Ok(found) => (found, false),
                Err(reason) => (Diagnosis::unusable(&reason), true),
            },
            Err(error) => (Diagnosis::of_config(&error), true),
        };
        if self.json {
            output::print(&found.to_json())?;
        } else {
            let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            output::print(page(&found, &Paint::new(colours)).as_bytes())?;
            if let Some(advice) = self.settings.advice(&sources).filter(|_| wrong) {
                note(advice);
            }
        }
        if found.ok { Ok(()) } else { Err(Failure::Diagnosed { settings: wrong }) }
    }
}

/// The walk; a reason why the function would not start, if it would not for its settings' sake.
async fn walk(mut config: Config) -> Result<Diagnosis, String> {
    let not_built_in = || format!("the engine {} is not built into this command", config.db.engine);
    let backend = lambda_rds::backend(config.db.engine).ok_or_else(not_built_in)?;
    // Whoever looks for the database's trouble from another machine need not have the queries there.
    let (queries, broken) = match Queries::load(&config.function.queries, config.db.engine, backend.dialect())
    {
        Ok(queries) => (queries, None),
        Err(error) => {
            config.function.default_query = None;
            let warning = format!("the function would not start, for its queries cannot be read: {error}");
            (Queries::default(), Some(warning))
        }
    };
    // No log: the walk is what is said.
    let Config { db, function, platform, warnings } = config;
    let topology = lambda_rds::topology(&db);
    let app = App::assemble(db, function, platform, queries, backend, topology);
    let app = app.map_err(|error| error.to_string())?;
    let mut found = app.diagnose().await;
    found.warnings.extend(warnings.into_iter().chain(broken));
    app.close().await;
    Ok(found)
}

/// The walk for people.
fn page(found: &Diagnosis, paint: &Paint) -> String {
    let mut page = String::new();
    for step in &found.steps {
        line(&mut page, step, paint);
    }
    for warning in &found.warnings {
        let _ = writeln!(page, "{} {warning}", paint.yellow("!"));
    }
    if let Some(Ok(serde_json::Value::Object(facts))) = found.facts.as_ref().map(serde_json::to_value) {
        page.push('\n');
        for (name, value) in facts {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(page, "{name:>22}  {value}");
        }
    }
    let place = match (found.engine, &found.endpoint) {
        (Some(engine), Some(endpoint)) => format!("{engine} at {endpoint}"),
        (Some(engine), None) => engine.to_owned(),
        _ => "the settings".to_owned(),
    };
    let _ = match found.failed() {
        None => writeln!(page, "\n{} {place}", paint.green("ok:")),
        Some(step) => writeln!(page, "\n{} {place}, at the step {}", paint.red("failed:"), step.step),
    };
    page
}

fn line(page: &mut String, step: &Step, paint: &Paint) {
    let mark = match step.ok {
        Some(true) => paint.green("✓"),
        Some(false) => paint.red("✗"),
        None => "·".to_owned(),
    };
    let took = step.ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
    let detail = if step.skipped { "not reached" } else { step.detail.as_deref().unwrap_or_default() };
    let _ = writeln!(page, "{}", format!("{mark} {:<11} {took:>10}  {detail}", step.step).trim_end());
    if let Some(hint) = &step.hint {
        let _ = writeln!(page, "  {} {hint}", paint.red("→"));
    }
}

/// Colours, on a terminal that wants them.
struct Paint {
    on: bool,
}

impl Paint {
    fn new(on: bool) -> Self {
        Self { on }
    }

    fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_line_per_step_and_colours_only_where_they_are_wanted() {
        let found = Diagnosis::unusable("DB_HOST is not set");
        let plain = page(&found, &Paint::new(false));
        let want = "✗ config                  DB_HOST is not set\n  → the settings that are named: every key with what it allows is in \
                    docs/reference/configuration.md\n· credentials             not reached\n";
        assert!(plain.starts_with(want), "{plain}");
        assert!(plain.ends_with("\nfailed: the settings, at the step config\n"), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        assert!(page(&found, &Paint::new(true)).contains("\u{1b}[31m✗\u{1b}[0m config"));
    }
}
