//! How blocks are executed that are not typed.

use std::collections::BTreeMap;

use figment::Figment;
use figment::providers::{Format, Toml};
use lambda_rds::config::{Config, Engine, Sources};
use lambda_rds::error::Fault;
use lambda_rds_testbed::{Postgres, Secrets};
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use super::page::{Block, repository};
use super::places;
use super::shell::Place;
use crate::server::{database, env};
use crate::user::User;

/// The function would start with these settings, and say nothing about them.
pub(super) fn settings(block: &Block) {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Sources { env: in_lambda(), ..Sources::default() };
    if block.language == "toml" {
        let file = folder.path().join("lambda-rds.toml");
        std::fs::write(&file, &block.text).unwrap();
        sources.file = Some(file);
    } else {
        for line in block.text.lines() {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{}: {line}", block.place));
            let value = value.split(" #").next().unwrap().trim();
            sources.env.push((key.to_owned(), value.to_owned()));
        }
    }
    // The zip's one engine: whoever names a cluster has built that for clusters.
    let engine = if block.text.contains(".cluster-") { Engine::AuroraPostgres } else { Engine::Postgres };
    let config = Config::read(&sources, &[engine]).unwrap_or_else(|error| panic!("{}: {error}", block.place));
    assert_eq!(config.warnings, [""; 0], "{}", block.place);
}

/// `lambda-rds check` finds nothing wrong with these queries on a PostgreSQL with this schema.
pub(super) fn queries(blocks: &[Block], schema: &str) {
    let user = User::new();
    let settings = database(schema);
    for block in blocks {
        // Two pages may show the same query, and one block another's.
        let folder = format!("queries/{}", block.place.replace(['/', ':'], "-"));
        user.write(&format!("{folder}/shown.sql"), &as_queries(block));
        let run = user.run_with(&env(&settings), &["check", "--quiet", "--queries", &folder], "");
        let told: Vec<&str> = run.stdout.lines().filter(|line| !line.contains(": warning: no ")).collect();
        assert_eq!((run.code, told), (0, vec![]), "{}\n{}", block.place, run.stderr);
    }
}

/// A superuser's client takes these statements.
pub(super) fn administrator(block: &Block, before: &str) {
    let server = Postgres::start().unwrap();
    server.psql("postgres", before).unwrap();
    server.psql("postgres", &block.text).unwrap_or_else(|error| panic!("{}: {error}", block.place));
}

/// A page may show whole entries, only their parameters, or only statements.
fn as_queries(block: &Block) -> String {
    if block.text.contains("-- name:") {
        return block.text.clone();
    }
    if block.text.starts_with("-- param:") {
        let names = block.text.lines().map(|line| line.split(' ').nth(2).unwrap());
        let columns: Vec<String> = names.map(|name| format!(":{name} AS {name}")).collect();
        return format!("-- name: shown :many\n{}SELECT {};\n", block.text, columns.join(", "));
    }
    let mut entries = String::new();
    for (index, statement) in block.text.lines().enumerate() {
        let statement = statement.split(" -- ").next().unwrap();
        let verb = if statement.starts_with("SELECT") { "many" } else { "exec" };
        entries.push_str(&format!("-- name: shown_{index} :{verb}\n"));
        for (name, kind) in parameters(statement) {
            entries.push_str(&format!("-- param: {name} {kind}\n"));
        }
        entries.push_str(&format!("{statement}\n"));
    }
    entries
}

/// The parameters of a statement: an `int` where it is cast to one, else a `text`.
fn parameters(statement: &str) -> BTreeMap<&str, &'static str> {
    let mut found = BTreeMap::new();
    for (at, _) in statement.match_indices(':') {
        let name = &statement[at + 1..];
        let name = &name[..name.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(name.len())];
        if !name.is_empty() && !statement[..at].ends_with(':') {
            let cast = statement[at + 1 + name.len()..].starts_with("::int");
            found.insert(name, if cast { "int" } else { "text" });
        }
    }
    found
}

/// Each event succeeds on the sample database, with the reply that comes behind it, if one does.
pub(super) fn events(blocks: &[Block]) {
    let user = User::new();
    let mut last = None;
    for block in blocks {
        let shown: Value =
            serde_json::from_str(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.place));
        if shown.get("statusCode").is_some() {
            assert_eq!(last.take(), Some(shown), "{}", block.place);
            continue;
        }
        let run = user.invoke_with(&[], &["--event", "-", "--json"], &block.text);
        let reply = run.json();
        assert_eq!(reply["statusCode"], 200, "{}: {reply}", block.place);
        last = Some(reply);
    }
}

/// A failure has the advice of its fault.
pub(super) fn failure(block: &Block) {
    let shown: Value = serde_json::from_str(&block.text).unwrap();
    let code = shown["error"]["code"].as_str().unwrap();
    let fault = Fault::ALL.into_iter().find(|fault| fault.code() == code).unwrap();
    let id = &shown["error"]["requestId"];
    assert!(id.is_string(), "{}", block.place);
    let error =
        json!({"code": code, "message": fault.advice(), "retryable": fault.retryable(), "requestId": id});
    assert_eq!(shown, json!({ "error": error }), "{}", block.place);
}

/// The template's function starts, and reads.
pub(super) fn sam(block: &Block) {
    let template =
        YamlLoader::load_from_str(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.place));
    let [template] = &template[..] else { panic!("{template:?}") };
    let text = |yaml: &Yaml| yaml.as_str().unwrap_or_else(|| panic!("no text: {yaml:?}")).to_owned();
    assert_eq!(text(&template["Transform"]), "AWS::Serverless-2016-10-31");
    let resources: Vec<&Yaml> = template["Resources"].as_hash().unwrap().values().collect();
    let [function] = resources[..] else { panic!("{resources:?}") };
    assert_eq!(text(&function["Type"]), "AWS::Serverless::Function");
    let properties = &function["Properties"];
    is_packed_by_us(
        &text(&properties["CodeUri"]),
        &text(&properties["Handler"]),
        &text(&properties["Runtime"]),
    );
    let variables = properties["Environment"]["Variables"].as_hash().unwrap();
    let variables: Vec<_> = variables.iter().map(|(key, value)| (text(key), text(value))).collect();
    let timeout = properties["Timeout"].as_i64().unwrap().unsigned_abs();
    reads(&variables, timeout, &places::in_docker(), &[]);
}

/// The commands make a secret and a function, which starts, and reads.
pub(super) fn localstack(block: &Block) {
    // Each argument of each command on a line of its own, and an empty line behind each command.
    let record = "for word; do printf '%s\\n' \"$word\"; done >>\"$HOME/typed\"; echo >>\"$HOME/typed\"\n";
    let user = User::new();
    let place = Place::home().env("HOME", user.folder().to_str().unwrap()).stand_in("awslocal", record);
    place.types(std::slice::from_ref(block));
    let typed = std::fs::read_to_string(user.folder().join("typed")).unwrap();
    let commands: Vec<Vec<&str>> =
        typed.trim_end().split("\n\n").map(|words| words.lines().collect()).collect();
    let [secret, function, invoke] = &commands[..] else { panic!("{commands:?}") };
    let option = |command: &[&str], name: &str| -> String {
        let at =
            command.iter().position(|word| *word == name).unwrap_or_else(|| panic!("{name}: {command:?}"));
        command[at + 1].to_owned()
    };

    assert_eq!(secret[..2], ["secretsmanager", "create-secret"]);
    let server = places::in_docker();
    let mut value: Value = serde_json::from_str(&option(secret, "--secret-string")).unwrap();
    assert_eq!(value["host"], "host.docker.internal");
    (value["host"], value["port"]) = (json!("127.0.0.1"), json!(server.port()));
    let secrets = Secrets::start().unwrap();
    secrets.put(&option(secret, "--name"), value);

    assert_eq!(function[..2], ["lambda", "create-function"]);
    let zip = option(function, "--zip-file");
    let zip = zip.strip_prefix("fileb://").unwrap();
    is_packed_by_us(zip, &option(function, "--handler"), &option(function, "--runtime"));
    let environment = option(function, "--environment");
    let pairs = environment.strip_prefix("Variables={").unwrap().strip_suffix('}').unwrap().split(',');
    let variables: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    assert!(function.contains(&"--timeout"), "LocalStack's own is 3 s: {function:?}");
    let timeout = option(function, "--timeout").parse().unwrap();

    assert_eq!(invoke[..2], ["lambda", "invoke"]);
    assert_eq!(option(invoke, "--function-name"), option(function, "--function-name"));
    let event: Value = serde_json::from_str(&option(invoke, "--payload")).unwrap();
    assert_eq!(event, json!({"query": "active_users"}));
    let endpoint = ("AWS_ENDPOINT_URL".to_owned(), secrets.endpoint());
    reads(&variables, timeout, &server, &[endpoint]);
    assert!(secrets.count() > 0);
}

/// What both emulators are given is what `cargo xtask zip --engine postgres --arch x86_64` makes.
fn is_packed_by_us(zip: &str, handler: &str, runtime: &str) {
    assert_eq!(zip, "target/lambda/lambda-rds-postgres-x86_64.zip");
    assert_eq!((handler, runtime), ("bootstrap", "provided.al2023"));
}

/// A function with these variables starts in Lambda without a complaint, fits its timeout, and reads from a server
/// that it knows as `host.docker.internal`, at PostgreSQL's own port.
fn reads(variables: &[(String, String)], timeout: u64, server: &Postgres, emulator: &[(String, String)]) {
    let sources = Sources { env: [in_lambda(), variables.to_vec()].concat(), ..Sources::default() };
    let config = Config::read(&sources, &[Engine::Postgres]).unwrap();
    // That TLS is off is said, and is meant.
    assert!(config.warnings.iter().all(|warning| warning.contains("DB_TLS")), "{:?}", config.warnings);
    let needed = config.db.connect_timeout + config.db.query_timeout + config.db.deadline_reserve;
    assert!(needed.as_secs() < timeout, "{timeout}");

    server.psql("postgres", places::USERS).unwrap();
    let port = server.port().to_string();
    let (host, engine) = ("127.0.0.1", "postgres");
    let mut settings: Vec<(&str, &str)> =
        variables.iter().chain(emulator).map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let aws =
        [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    settings.extend(aws);
    settings.push(("DB_ENGINE", engine));
    if variables.iter().any(|(key, _)| key == "DB_HOST") {
        settings.retain(|(key, value)| *key != "DB_HOST" || *value != "host.docker.internal");
        settings.extend([("DB_HOST", host), ("DB_PORT", port.as_str())]);
    }
    let user = User::new();
    user.write("queries/users.sql", include_str!("../../../../../queries/users.sql"));
    let run = user.invoke_with(&settings, &["active_users", "--json"], "");
    assert_eq!(run.json(), json!([{"id": 1, "name": "Ada", "email": "ada@example.com"}]));
}

/// The crates are there in these versions, with these features.
pub(super) fn dependencies(block: &Block) {
    let read = |toml: &str| Figment::from(Toml::string(toml)).extract::<Value>().unwrap();
    let file = |path: &str| read(&std::fs::read_to_string(repository().join(path)).unwrap());
    let (ours, examples, locked) = (file("Cargo.toml"), file("examples/Cargo.toml"), file("Cargo.lock"));
    for (name, shown) in read(&block.text)["dependencies"].as_object().unwrap() {
        let features = shown["features"].as_array().cloned().unwrap_or_default();
        if name == "lambda-rds" {
            let known = |feature: &str| assert!(ours["features"].get(feature).is_some(), "{feature}");
            features.iter().for_each(|feature| known(feature.as_str().unwrap()));
            // The others, in the comment.
            let (_, others) = block.text.lines().find_map(|line| line.split_once("# or ")).unwrap();
            others.split(", ").for_each(known);
            continue;
        }
        // The examples, which are compiled, take no other features.
        assert_eq!(
            features,
            examples["dependencies"][name]["features"].as_array().cloned().unwrap_or_default(),
            "{name}"
        );
        let version = shown.as_str().or(shown["version"].as_str()).unwrap();
        let packages = locked["package"].as_array().unwrap();
        let package = packages.iter().find(|package| package["name"] == name.as_str()).unwrap();
        let is = package["version"].as_str().unwrap();
        assert!(is.starts_with(&format!("{version}.")), "{name} is {is}");
    }
}

/// What Lambda sets.
fn in_lambda() -> Vec<(String, String)> {
    let set = [
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_LAMBDA_FUNCTION_NAME", "shop"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    set.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}
