//! `lambda-rds invoke`: one call, through the very pipeline that runs in Lambda.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use std::sync::Arc;

use clap::Args;
use lambda_rds::app::App;
use lambda_rds::error::{Error, Fault};
use lambda_rds::event::{self, Invocation, Wanted};
use lambda_rds::form::Form;
use lambda_rds::reply::{Body, Reply};
use lambda_rds::stream::{self, Inlet};
use lambda_rds::value::{Given, Origin, Params};

use crate::caller::{self, Caller, filled};
use crate::failure::{Failure, note};
use crate::settings::Settings;
use crate::uuid::request_id;
use crate::{json, output};

/// Run one query, or one event, and print what it replies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds invoke active_users active=true limit=2
  lambda-rds invoke user id=1 --db shop.db
  lambda-rds invoke orders --claim sub=42 --format csv > orders.csv
  lambda-rds invoke pay account=1 amount=9.50 --idempotency-key 7f0c
  lambda-rds invoke --event event.json --url postgres://me@localhost/shop?sslmode=disable")]
pub(crate) struct Invoke {
    /// The query's name; without one the default query runs (LAMBDA_RDS_DEFAULT_QUERY)
    query: Option<String>,
    /// Parameters; the same name again makes a list
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// An event as Lambda would get it, from a file or from stdin (-), instead of a query; what it says by itself stands in it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "params", "format", "idempotency_key", "headers",
        "claims", "object"])]
    event: Option<PathBuf>,
    /// What the rows of a `:many` are written as
    #[arg(long, value_name = "FORM", value_parser = ["json", "ndjson", "csv"], default_value = "json", hide_default_value = true)]
    format: String,
    /// The key by which a write with `-- idempotency_key:` is done once, for one that takes it from a header
    #[arg(long, value_name = "KEY", value_parser = filled)]
    idempotency_key: Option<String>,
    /// A header of the request that a gateway would hand on, for `from header.NAME`; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Lay the JSON out for reading, as on a terminal
    #[arg(long, conflicts_with = "json")]
    pretty: bool,
    /// Print compact JSON and no notes, for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    settings: Settings,
}

impl Invoke {
    /// Runs the call and prints its result on stdout.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // What is wrong with the call is told before anything is opened.
        let call = self.call()?;
        let log = match call {
            _ if self.json => "off",
            // Of a failed query we tell ourselves what its log line would, see `Failure::report`.
            Call::Query(..) => "warn,lambda_rds_core::observe=off",
            Call::Event(_) => "warn",
        };
        let config = self.settings.config(self.json, log).await?;
        let backend = lambda_rds::backend(config.db.engine);
        let topology = lambda_rds::topology(&config.db);
        let app = App::start(config, backend, topology).map_err(|error| Failure::Setup(error.to_string()))?;
        let tenant_id = self.caller.tenant().map(str::to_owned);
        let invocation = Invocation { request_id: request_id(), tenant_id, ..Invocation::default() };
        let outcome = match call {
            // What is laid out must be there first.
            call if app.streams() && !self.lays_out() => self.stream(&app, call, &invocation).await,
            Call::Query(query, params, origin) => {
                let call = asked(query, params, *origin, &invocation);
                self.query(&app, call, &invocation).await
            }
            Call::Event(event) => match app.handle(&event, &invocation).await {
                Ok(reply) => self.print_reply(&reply),
                Err(raised) => Err(Failure::Raised(raised.to_string())),
            },
        };
        app.close().await;
        outcome
    }

    /// Runs one query by name.
    async fn query(&self, app: &App, call: event::Call, invocation: &Invocation) -> Result<(), Failure> {
        let found = app.call(call, &self.wanted(), invocation).await;
        match &found {
            Ok(body) if !self.json => told_beside(body).iter().for_each(|told| note(told)),
            Ok(_) => {}
            Err(error) => self.advise(app, error),
        }
        match found {
            Ok(body) if body.form == Form::Json => self.print(&body.json),
            Ok(body) => output::print_rows(&body.json),
            Err(error) => {
                Err(Failure::Call { error, request_id: invocation.request_id.clone(), json: self.json })
            }
        }
    }

    /// What the rows are to be written as.
    fn wanted(&self) -> Wanted {
        match Form::ALL.into_iter().find(|form| form.name() == self.format) {
            // What a `:one` gives is JSON, which nobody has asked to be something else.
            None | Some(Form::Json) => Wanted::default(),
            Some(form) => Wanted::format(form),
        }
    }

    /// Names the queries that there are, to who has named none of them. Only a call that names no query is a bad one for its
    /// query's sake.
    fn advise(&self, app: &App, error: &Error) {
        let unnamed = self.query.as_ref().is_none_or(|word| word.contains('='));
        if !self.json
            && (error.fault() == Fault::UnknownQuery || (unnamed && error.fault() == Fault::BadEvent))
        {
            note(&there_are(app));
        }
    }

    /// Runs the call and prints its reply while it comes: of an event over HTTP what stands before the body, too, as a line.
    async fn stream(&self, app: &App, call: Call, invocation: &Invocation) -> Result<(), Failure> {
        let (outlet, inlet) = stream::channel_of_any_http();
        let ran = async {
            match call {
                Call::Query(query, params, origin) => {
                    let call = asked(query, params, *origin, invocation);
                    let ran = app.stream_call(call, &self.wanted(), invocation, outlet).await;
                    ran.map(|()| None).map_err(|error| {
                        self.advise(app, &error);
                        Failure::Call { error, request_id: invocation.request_id.clone(), json: self.json }
                    })
                }
                Call::Event(event) => {
                    let (outcome, _) = app.stream(&event, invocation, outlet).await;
                    outcome.map_err(|raised| Failure::Raised(raised.to_string()))
                }
            }
        };
        let (ran, printed) = tokio::join!(ran, print_stream(inlet));
        let whole = ran?;
        printed?;
        whole.map_or(Ok(()), |reply| self.print_reply(&reply))
    }

    fn call(&self) -> Result<Call, Failure> {
        if let Some(file) = &self.event {
            let mut event = Vec::new();
            let read = if file.as_os_str() == "-" {
                std::io::stdin().read_to_end(&mut event).map(|_| ())
            } else {
                std::fs::read(file).map(|bytes| event = bytes)
            };
            read.map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
            return Ok(Call::Event(event));
        }
        // A query's name has no `=`, so a first word that has one is a parameter of the default query.
        let (query, first) = match &self.query {
            Some(word) if word.contains('=') => (None, Some(word)),
            query => (query.clone(), None),
        };
        let claims = caller::given(&self.caller.claims()?)?;
        let origin = Origin {
            claims: Some(claims).filter(|claims| !claims.is_empty()),
            headers: self.headers.clone(),
            idempotency_key: self.idempotency_key.clone(),
            ..Origin::default()
        };
        Ok(Call::Query(query, params(first.into_iter().chain(&self.params))?, Box::new(origin)))
    }

    fn print_reply(&self, reply: &Reply) -> Result<(), Failure> {
        let text = serde_json::to_vec(reply).map_err(|error| Failure::Setup(error.to_string()))?;
        self.print(&text)?;
        match reply {
            Reply::Response(response) if response.status() >= 400 => Err(Failure::Status(response.status())),
            Reply::Raw(body) if tells_failure(body.get()) => Err(Failure::Told),
            Reply::Response(_) | Reply::Raw(_) => Ok(()),
        }
    }

    fn lays_out(&self) -> bool {
        self.pretty || (!self.json && std::io::stdout().is_terminal())
    }

    fn print(&self, json: &[u8]) -> Result<(), Failure> {
        match std::str::from_utf8(json) {
            Ok(text) if self.lays_out() => output::print(json::lay_out(text).as_bytes()),
            _ => output::print(json),
        }
    }
}

/// Prints a reply while it comes, if it is one that does.
async fn print_stream(mut inlet: Inlet) -> Result<(), Failure> {
    let Some(head) = inlet.head().await else { return Ok(()) };
    let mut status = None;
    if let Some(prelude) = &head.prelude {
        let told: serde_json::Value = serde_json::from_slice(prelude).unwrap_or_default();
        status = told["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
        output::print(prelude)?;
    }
    // What tells of a failure is short.
    let (mut begin, mut ends_line) = (Vec::new(), false);
    while let Some(part) = inlet.next().await {
        let part = part.map_err(|raised| Failure::Raised(raised.to_string()))?;
        if begin.len() < SHORT {
            begin.extend_from_slice(&part);
        }
        ends_line = part.ends_with(b"\n");
        if !output::part(&part)? {
            return Ok(());
        }
    }
    if !ends_line && !begin.is_empty() {
        output::part(b"\n")?;
    }
    match status {
        Some(status) if status >= 400 => Err(Failure::Status(status)),
        None if begin.len() < SHORT && std::str::from_utf8(&begin).is_ok_and(tells_failure) => {
            Err(Failure::Told)
        }
        _ => Ok(()),
    }
}

/// No failure that is told takes more.
const SHORT: usize = 64 * 1024;

/// A call of a query by name, from whom the command line says.
fn asked(query: Option<String>, params: Params, origin: Origin, invocation: &Invocation) -> event::Call {
    let request_id = invocation.request_id.clone();
    let tenant_id = invocation.tenant_id.clone();
    event::Call {
        query,
        params,
        method: None,
        stray_body: false,
        agent: false,
        origin: Arc::new(Origin { request_id, tenant_id, ..origin }),
    }
}

/// What is to be run.
enum Call {
    Query(Option<String>, Params, Box<Origin>),
    Event(Vec<u8>),
}

/// What a body's headers say that it does not say itself.
fn told_beside(body: &Body) -> Vec<String> {
    let of = |(name, value): &(&'static str, String)| match *name {
        // The token is the last of the query string.
        "link" => {
            let token = value.split(['?', '&', '>']).rev().find_map(|part| part.strip_prefix("page="))?;
            Some(format!("the next page: page={token}"))
        }
        "idempotency-replayed" => {
            Some("this key has been used: the write was done then, and this is its reply of then".to_owned())
        }
        _ => None,
    };
    body.headers.iter().filter_map(of).collect()
}

/// The queries that there are.
fn there_are(app: &App) -> String {
    let names: Vec<&str> =
        app.queries().iter().map(lambda_rds::queries::Query::name).take(MENTIONED).collect();
    format!("there are: {}", names.join(", "))
}

const MENTIONED: usize = 20;

/// Reads `name=value`, or a header as HTTP writes it.
fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(['=', ':']) {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("write name=value, such as X-Tenant=blue".to_owned()),
    }
}

/// Whether a reply without a status is an error's body, or lists messages of a queue that failed.
fn tells_failure(body: &str) -> bool {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let error = &body["error"];
    let failures = body["batchItemFailures"].as_array();
    (error["code"].is_string() && error["requestId"].is_string())
        || failures.is_some_and(|all| !all.is_empty())
}

/// Parameters as text, each to be read as its declared type; a name given twice is a list.
fn params<'a>(words: impl Iterator<Item = &'a String>) -> Result<Params, Failure> {
    let mut params: Vec<(String, Given)> = Vec::new();
    for word in words {
        let (name, value) = word
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::Usage(format!("`{word}` is no parameter: write name=value")))?;
        let value = value.to_owned();
        match params.iter_mut().find(|(given, _)| given == name) {
            None => params.push((name.to_owned(), Given::Text(value))),
            Some((_, Given::Texts(values))) => values.push(value),
            Some((_, given)) => {
                let Given::Text(first) = given else { continue };
                *given = Given::Texts(vec![std::mem::take(first), value]);
            }
        }
    }
    Ok(Params(params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let found = match params(words.iter()) {
            Ok(Params(params)) => format!("{params:?}"),
            Err(Failure::Usage(reason)) => reason,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_a_body_does_not_say_is_told_beside_it() {
        let body =
            |name, value: &str| Body { headers: vec![(name, value.to_owned())], ..Body::new(Vec::new()) };
        let link = body("link", "<?page_size=2&page=AZ-_>; rel=\"next\"");
        assert_eq!(told_beside(&link), ["the next page: page=AZ-_"]);
        assert_eq!(told_beside(&body("idempotency-replayed", "true")).len(), 1);
        assert!(told_beside(&body("vary", "accept")).is_empty());
    }

    #[test]
    fn a_header_may_be_written_as_in_http() {
        for text in ["X-Tenant=blue", "X-Tenant: blue"] {
            assert_eq!(header(text), Ok(("x-tenant".to_owned(), "blue".to_owned())));
        }
        assert!(header("X-Tenant").is_err() && header("=blue").is_err());
    }

    #[test]
    fn parameters_are_text_and_a_name_given_twice_is_a_list() {
        check(&[], "[]");
        check(&["a=1", "b="], r#"[("a", Text("1")), ("b", Text(""))]"#);
        check(&["a=x=y"], r#"[("a", Text("x=y"))]"#);
        check(&["a=1", "b=2", "a=3", "a=4"], r#"[("a", Texts(["1", "3", "4"])), ("b", Text("2"))]"#);
        check(&["a=1", "active"], "`active` is no parameter: write name=value");
        check(&["=1"], "`=1` is no parameter: write name=value");
    }
}
