//! `lambda-rds client`: the queries as functions of a language that calls them.
//!
//! ```text
//! queries + what the database says of their rows ─▶ calls ─▶ a file: types, a function per query, and one runtime
//! ```
//!
//! The same queries make the same file, byte for byte, so that `--check` can tell one that is no longer true.

mod python;
mod typescript;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lambda_rds::app::App;
use lambda_rds::check;
use lambda_rds::config::Function;
use lambda_rds::deadline::Deadline;
use lambda_rds::describe::Column;
use lambda_rds::error::Fault;
use lambda_rds::openapi::Rows;
use lambda_rds::queries::{BoundFrom, KeyFrom, Param, Queries, Query, Source};

use crate::failure::{Failure, note};
use crate::output;
use crate::settings::Settings;

/// Write a client: the queries as typed functions, in TypeScript or Python
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds client --lang typescript --output src/shop.ts --url postgres://me@localhost/shop
  lambda-rds client --lang python --output shop.py
  lambda-rds client --lang python --output shop.py --check")]
pub(crate) struct Client {
    /// The language
    #[arg(long, value_enum)]
    lang: Language,
    /// Where to write it, instead of stdout
    #[arg(long, short, visible_alias = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write nothing; exit code 1 if the file is not what would be written
    #[arg(long, requires = "output")]
    check: bool,
    /// Ask no database: of rows nothing is known then
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    /// TypeScript, for Node, browsers and everything that has `fetch`
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    /// Python, from 3.9 on
    #[value(alias = "py")]
    Python,
}

impl Client {
    /// Writes the client, or compares it with the one that is there.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.config(true, "warn").await?;
        let function = config.function.clone();
        let backend = lambda_rds::backend(config.db.engine);
        let topology = lambda_rds::topology(&config.db);
        let app = App::start(config, backend, topology).map_err(|error| Failure::Setup(error.to_string()))?;
        let known = if self.offline { Ok(Rows::new()) } else { rows(&app).await };
        app.close().await;
        let rows = known.map_err(|error| {
            note("without a database nothing is known of the rows: --offline does without");
            Failure::unreached(&error, false)
        })?;
        let text = written(self.lang, app.queries(), &function, &rows);
        match &self.output {
            Some(file) if self.check => match std::fs::read_to_string(file) {
                Ok(there) if there == text => Ok(()),
                there => {
                    let file = file.display();
                    note(&match there {
                        Ok(_) => {
                            format!("{file} is not what the queries make now: write it anew, without --check")
                        }
                        Err(error) => format!("{file} cannot be read: {error}"),
                    });
                    Err(Failure::Told)
                }
            },
            file => output::write(file.as_deref(), text.as_bytes()),
        }
    }
}

/// What the database tells of the rows. What is wrong with a query is told on stderr.
async fn rows(app: &App) -> lambda_rds::error::Result<Rows> {
    let report = check::report(app, Deadline::after(TIMEOUT)).await?;
    let mut rows = Rows::new();
    for checked in &report.queries {
        for finding in checked.findings.iter().filter(|finding| finding.severity == check::Severity::Error) {
            note(&finding.to_string());
        }
        rows.extend(checked.columns().map(|columns| (checked.query.name().to_owned(), columns)));
    }
    Ok(rows)
}

fn written(language: Language, queries: &Queries, function: &Function, rows: &Rows) -> String {
    match language {
        Language::TypeScript => typescript::written(queries, function, rows),
        Language::Python => python::written(queries, function, rows),
    }
}

/// One query as a client has it.
struct Call<'q> {
    query: &'q Query,
    /// The columns of its rows, where they are known.
    columns: Option<&'q [Column]>,
    /// Its function's name.
    name: String,
    /// What the names of its types begin with.
    type_name: String,
    /// Whether it can be called over HTTP.
    http: bool,
    /// Whether it can be called by Invoke, where there are no headers and nobody is known.
    invoke: bool,
}

impl<'q> Call<'q> {
    /// The calls that there are, by the queries' names. `named` gives the names that a language would like; what is
    /// taken, by the language or its runtime, gets an underscore.
    fn all(
        queries: &'q Queries,
        rows: &'q Rows,
        mut taken: HashSet<String>,
        named: impl Fn(&str) -> (String, String),
        rows_name: impl Fn(&str) -> String,
    ) -> Vec<Self> {
        let mut calls = Vec::new();
        for query in queries {
            let http = query.http().is_some();
            let mut bound = query.params().iter().filter_map(Param::bound_from);
            // Nobody is known there, and there are no headers.
            let identity = query.identity();
            let settings = identity.settings().iter().map(|setting| setting.source());
            let invoke = bound.clone().all(|from| matches!(from, BoundFrom::RequestId))
                && settings
                    .chain(identity.role().and_then(|role| role.source()))
                    .all(|source| matches!(source, Source::Param(_) | Source::From(BoundFrom::RequestId)));
            // There is none without a queue.
            let key = query.idempotency().filter(|key| !key.optional).map(|key| &key.from);
            let message = bound.any(|from| *from == BoundFrom::MessageId) || key == Some(&KeyFrom::MessageId);
            if message || !(http || invoke) {
                continue;
            }
            let (mut name, mut type_name) = named(query.name());
            // A paged one has a second function.
            while [&name, &rows_name(&name), &format!("{type_name}Row")]
                .iter()
                .any(|name| taken.contains(*name))
            {
                name.push('_');
                type_name.push('_');
            }
            if query.is_paged() {
                taken.insert(rows_name(&name));
            }
            taken.insert(name.clone());
            taken.insert(format!("{type_name}Row"));
            let columns = rows.get(query.name()).map(Vec::as_slice);
            calls.push(Self { query, columns, name, type_name, http, invoke });
        }
        calls
    }

    /// The parameters that a caller gives, the required ones first.
    fn params(&self) -> Vec<&'q Param> {
        let given = |param: &&Param| matches!(param.bound_from(), None | Some(BoundFrom::Header(_)));
        let mut params: Vec<&Param> = self.query.params().iter().filter(given).collect();
        params.sort_by_key(|param| param.default().is_some());
        params
    }

    /// The parameters that travel as headers, with the headers.
    fn headers(&self) -> Vec<(&'q str, &'q str)> {
        let header = |param: &'q Param| match param.bound_from() {
            Some(BoundFrom::Header(header)) => Some((param.name(), header.as_str())),
            _ => None,
        };
        self.query.params().iter().filter_map(header).collect()
    }

    /// Where the idempotency key is that a client sends: in a header, or a parameter.
    fn key(&self) -> Option<(&'static str, &'q str)> {
        match &self.query.idempotency()?.from {
            KeyFrom::Header(name) => Some(("header", name)),
            KeyFrom::Param(name) => Some(("param", name)),
            // Each attempt is another request.
            KeyFrom::RequestId | KeyFrom::MessageId => None,
        }
    }

    /// Whether the key is one that is made for the call, or given beside its parameters.
    fn is_keyed(&self) -> bool {
        matches!(self.key(), Some(("header", _)))
    }

    /// Whether it can be a step of several. Those have one request, and so one set of headers.
    fn is_step(&self) -> bool {
        self.query.transaction() && self.invoke
    }

    /// The methods over HTTP, as a client's table has them.
    fn methods(&self) -> Vec<&'static str> {
        let Some(methods) = self.query.http() else { return Vec::new() };
        [("GET", methods.get), ("POST", methods.post)]
            .iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| *name)
            .collect()
    }
}

/// The words of `error.code`, each once, and the two that a client adds.
fn codes() -> Vec<&'static str> {
    let mut codes: Vec<&str> = Vec::new();
    for fault in Fault::ALL.into_iter().filter(|fault| fault.is_told()) {
        if !codes.contains(&fault.code()) {
            codes.push(fault.code());
        }
    }
    codes.extend(["no_reply", "other"]);
    codes
}

/// A string as JSON has it, which both languages take.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The first line of a file.
fn header(language: &str) -> String {
    format!(
        "Made by lambda-rds {} from the query files. Do not edit: `lambda-rds client --lang {language}` makes it anew.",
        env!("CARGO_PKG_VERSION")
    )
}

const TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use lambda_rds::config::Engine;
    use lambda_rds::queries::Dialect;

    use super::*;

    pub(super) fn made(language: Language, text: &str) -> String {
        let files = [("q.sql".to_owned(), text.to_owned())];
        let queries = Queries::parse(&files, Engine::Postgres, Dialect::Postgres).unwrap();
        let config = lambda_rds::config::Config::read(
            &lambda_rds::config::Sources {
                env: vec![("DB_ENGINE".into(), "sqlite".into()), ("DB_NAME".into(), "x".into())],
                ..Default::default()
            },
            &Engine::ALL,
        );
        written(language, &queries, &config.unwrap().function, &Rows::new())
    }

    const QUERIES: &str = "\
-- name: active_users :many
-- http: GET
-- Users who are active. */ \"\"\"
-- param: state text = 'open' in {'open', 'closed'} -- where it stands
-- param: id int
SELECT id FROM users WHERE state = :state AND id = :id;
-- name: delete :exec
-- param: owner uuid from claims.sub
-- http: POST
DELETE FROM users WHERE owner = :owner;
-- name: of_a_queue :exec
-- param: id text from sqs.messageId
INSERT INTO users VALUES (:id);
-- name: nobody_s :exec
-- param: owner uuid from claims.sub
DELETE FROM users WHERE owner = :owner;
-- name: fetch :one
SELECT 1 AS one;
";

    #[test]
    fn each_query_that_can_be_called_is_a_function() {
        for (language, function, end) in
            [(Language::TypeScript, "export function ", "("), (Language::Python, "\ndef ", "(")]
        {
            let text = made(language, QUERIES);
            let has = |name: &str| text.contains(&format!("{function}{name}{end}"));
            assert!(has(if language == Language::Python { "active_users" } else { "activeUsers" }), "{text}");
            assert!(has(if language == Language::Python { "delete" } else { "delete_" }), "a reserved word");
            assert!(has("fetch"));
            assert!(!text.contains("of_a_queue") && !text.contains("nobody_s"), "nobody can call them");
        }
    }

    #[test]
    fn a_description_does_not_end_its_comment() {
        assert!(made(Language::TypeScript, QUERIES).contains("Users who are active. *\\/ \"\"\""));
        assert!(made(Language::Python, QUERIES).contains(r#"Users who are active. */ \"\"\""#));
    }

    #[test]
    fn names_that_are_taken_get_an_underscore() {
        let text = made(
            Language::TypeScript,
            "-- name: a_b :one\nSELECT 1 AS a;\n-- name: aB :one\nSELECT 1 AS a;\n-- name: run :one\nSELECT 1 AS a;\n",
        );
        for name in ["aB(", "aB_(", "run_("] {
            assert!(text.contains(&format!("export function {name}")), "{name}");
        }
        let text = made(
            Language::Python,
            "-- name: str :one\nSELECT 1 AS a;\n-- name: class :one\n-- param: via int\n-- param: from int\nSELECT :via, :from AS a;\n",
        );
        assert!(text.contains("\ndef str_(") && text.contains("\ndef class_("));
        assert!(text.contains("from_: int") && text.contains("via_: int"));
    }
}
