//! `lambda-rds check`: every query is shown to the database, and none is run.

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use lambda_rds::app::{App, StartError};
use lambda_rds::backend::Access;
use lambda_rds::check::{self, Checked, Finding, Report, Severity};
use lambda_rds::deadline::Deadline;
use lambda_rds::describe::{Column, Described, Form};
use lambda_rds::queries::{Choice, LoadError, Param, Verb};
use serde::Serialize;

use crate::failure::{Failure, note};
use crate::output;
use crate::settings::Settings;

/// Show every query to the database, and tell types and mistakes
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is run. Exit code 1 if there is an error; warnings alone are 0.

Examples:
  lambda-rds check
  lambda-rds check --url postgres://me@localhost/shop?sslmode=disable --json")]
pub(crate) struct Check {
    /// Print one JSON object, for machines
    #[arg(long)]
    json: bool,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
    /// Print mistakes only, not the queries' types
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    /// Checks, and prints what was found on stdout.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.config(self.json, if self.json { "off" } else { "warn" }).await?;
        let backend = lambda_rds::backend(config.db.engine);
        let topology = lambda_rds::topology(&config.db);
        let app = match App::start(config, backend, topology) {
            Ok(app) => app,
            // A mistake in a query file is what this command is asked about.
            Err(StartError::Queries(mistakes)) => {
                let findings = of_files(&mistakes);
                return self.finish(&[], &findings.iter().collect::<Vec<_>>());
            }
            Err(error) => return Err(Failure::Setup(error.to_string())),
        };
        let report = check::report(&app, Deadline::after(TIMEOUT)).await;
        let outcome = match &report {
            Ok(report) => self.tell(report),
            Err(error) => Err(Failure::unreached(error, self.json)),
        };
        drop(report);
        app.close().await;
        outcome
    }

    fn tell(&self, report: &Report<'_>) -> Result<(), Failure> {
        self.finish(&report.queries, &report.findings())
    }

    fn finish(&self, queries: &[Checked<'_>], findings: &[&Finding]) -> Result<(), Failure> {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if self.json {
            let queries = queries.iter().map(Told::new).collect();
            let findings = findings.iter().map(|finding| ToldFinding::new(finding)).collect();
            let whole = Whole { queries, findings, errors, warnings };
            let text = serde_json::to_vec(&whole).map_err(|error| Failure::Setup(error.to_string()))?;
            output::print(&text)?;
        } else {
            self.print(queries, findings)?;
            note(&format!(
                "{}: {}, {}",
                counted(queries.len(), "query", "queries"),
                counted(errors, "error", "errors"),
                counted(warnings, "warning", "warnings")
            ));
        }
        if errors > 0 || (self.strict && warnings > 0) { Err(Failure::Told) } else { Ok(()) }
    }

    fn print(&self, queries: &[Checked<'_>], findings: &[&Finding]) -> Result<(), Failure> {
        let mut text = Vec::new();
        if !self.quiet {
            let mut queries: Vec<_> = queries.iter().collect();
            queries.sort_by_key(|checked| (checked.query.file(), checked.query.line()));
            for checked in queries {
                let place = checked.query.place();
                text.extend_from_slice(format!("{place}: {}\n", signature(checked)).as_bytes());
            }
        }
        for Finding { file, line, severity, message } in findings {
            let style = match severity {
                Severity::Error => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
                Severity::Warning => Style::new().bold().fg_color(Some(AnsiColor::Yellow.into())),
            };
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let name = severity.name();
            text.extend_from_slice(format!("{file}{line}: {style}{name}{style:#}: {message}\n").as_bytes());
        }
        if text.is_empty() {
            return Ok(());
        }
        // Colours go to a terminal, and only if nothing says otherwise (NO_COLOR, TERM=dumb).
        let choice = anstream::AutoStream::choice(&std::io::stdout());
        let mut stream = anstream::AutoStream::new(Vec::new(), choice);
        // A vector takes whatever is written to it.
        let _ = stream.write_all(&text);
        output::print(&stream.into_inner())
    }
}

/// The mistakes of files that were not even shown to the database.
fn of_files(mistakes: &LoadError) -> Vec<Finding> {
    let finding = |(file, line, reason): (&str, usize, &str)| Finding {
        file: file.to_owned(),
        line: Some(line),
        severity: Severity::Error,
        message: reason.to_owned(),
    };
    mistakes.mistakes().map(finding).collect()
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `active_users(active bool, limit int) -> [id int8, name text?] (tool: Active users)`
fn signature(checked: &Checked<'_>) -> String {
    let query = checked.query;
    let params: Vec<String> = query.params().iter().map(param).collect();
    let columns: Vec<String> = checked.columns().unwrap_or_default().iter().map(column).collect();
    let gives = match (query.verb(), &checked.described) {
        (_, Described::Refused(_)) => String::new(),
        (Verb::Exec, _) => " -> rowsAffected".to_owned(),
        (Verb::One | Verb::Many, _) if columns.is_empty() => String::new(),
        (Verb::One, _) => format!(" -> {}", columns.join(", ")),
        (Verb::Many, _) => format!(" -> [{}]", columns.join(", ")),
    };
    let tool = query.tool().map(|title| format!(" (tool: {title})")).unwrap_or_default();
    format!("{}({}){gives}{tool}", query.name(), params.join(", "))
}

fn param(param: &Param) -> String {
    let nullable = if param.nullable() { "?" } else { "" };
    let from = param.bound_from().map(|from| format!(" from {from}")).unwrap_or_default();
    let choice = param.choice().map(|choice| format!(" in {{{}}}", choice.written())).unwrap_or_default();
    format!("{} {}{nullable}{choice}{from}", param.name(), param.kind())
}

fn column(column: &Column) -> String {
    let nullable = if column.nullable == Some(false) { "" } else { "?" };
    format!("{} {}{nullable}", column.name, column.type_name)
}

/// The output for machines.
#[derive(Serialize)]
struct Whole<'a> {
    queries: Vec<Told<'a>>,
    findings: Vec<ToldFinding<'a>>,
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    name: &'a str,
    file: &'a str,
    line: usize,
    verb: &'static str,
    access: &'static str,
    /// The title, where it is a tool for agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    params: Vec<ToldParam<'a>>,
    /// Absent where the database does not know them before the statement runs, or refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<ToldColumn>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldParam<'a> {
    name: &'a str,
    r#type: String,
    nullable: bool,
    /// The values that it may have, as the file writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    /// What the server takes it for, where it says so; each place in the statement, if they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    server_types: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldColumn {
    name: String,
    r#type: String,
    /// Absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    nullable: Option<bool>,
    /// Whether it has no form in a reply.
    outside: bool,
}

#[derive(Serialize)]
struct ToldFinding<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    severity: &'static str,
    message: &'a str,
}

impl<'a> Told<'a> {
    fn new(checked: &'a Checked<'a>) -> Self {
        let query = checked.query;
        let parameters = match &checked.described {
            Described::Statement(description) => description.parameters.as_slice(),
            Described::Refused(_) => &[],
        };
        let param = |param: &'a Param| {
            let places = parameters.iter().filter(|parameter| &*parameter.name == param.name());
            let mut server_types: Vec<&str> = places.map(|parameter| &*parameter.type_name).collect();
            server_types.dedup();
            ToldParam {
                name: param.name(),
                r#type: param.kind().to_string(),
                nullable: param.nullable(),
                choice: param.choice().map(Choice::written),
                description: param.description(),
                from: param.bound_from().map(ToString::to_string),
                server_types,
            }
        };
        let column = |column: Column| ToldColumn {
            outside: matches!(column.form, Form::Outside { .. }),
            name: column.name,
            r#type: column.type_name,
            nullable: column.nullable,
        };
        Self {
            name: query.name(),
            file: query.file(),
            line: query.line(),
            verb: match query.verb() {
                Verb::Many => "many",
                Verb::One => "one",
                Verb::Exec => "exec",
            },
            access: match query.access() {
                Access::Read => "read",
                Access::Write => "write",
            },
            tool: query.tool(),
            description: query.description(),
            params: query.params().iter().map(param).collect(),
            columns: checked.columns().map(|columns| columns.into_iter().map(column).collect()),
        }
    }
}

impl<'a> ToldFinding<'a> {
    fn new(finding: &'a Finding) -> Self {
        let Finding { file, line, severity, message } = finding;
        Self { file, line: *line, severity: severity.name(), message }
    }
}

/// For all queries together; a server that prepares nothing for so long is in trouble.
const TIMEOUT: Duration = Duration::from_secs(120);
