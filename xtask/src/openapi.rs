//! `cargo xtask openapi`: the OpenAPI document is valid, and the function does what it says.
//!
//! The document of the sample queries, and of one query per type, is judged by openapi-spec-validator; then
//! schemathesis calls `lambda-rds serve` with what the document allows and with what it does not. No reply may be a
//! status 500, or one that the document does not have, or of another shape.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};

use crate::{cargo, on_path, run, servers, shown};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many calls of each operation are made up, besides those at the edges of its types
    #[arg(long, default_value_t = 20)]
    examples: u32,
    /// What the calls are made up from; the same seed gives the same calls
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Tries both engines.
pub(crate) fn openapi(workspace: &Path, options: &Options) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let tools = tools(workspace)?;
    let [command, sample] = &built(workspace, [COMMAND, "sample_postgres"])?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let queries = folder.path().join("queries");
    fs::create_dir(&queries)?;
    fs::copy(workspace.join("queries/users.sql"), queries.join("users.sql"))?;
    fs::copy(workspace.join("xtask/openapi/every.sql"), queries.join("every.sql"))?;
    let place = Place { folder: folder.path(), command, tools: &tools };

    // Without a word about a database, it makes one.
    place.tried("sqlite", &Map::new(), options)?;

    let mut sample = Command::new(sample);
    sample.arg(workspace.join("xtask/openapi/schema.sql")).env(servers::FOLDER_VARIABLE, servers);
    let (mut server, settings) = started(sample.stdin(Stdio::piped()))?;
    let outcome = place.tried("postgres", &settings, options);
    // It ends, and its server with it, when there is nothing more to read.
    drop(server.0.stdin.take());
    let _ = server.0.wait();
    outcome
}

/// Where one engine is tried, and with what.
struct Place<'a> {
    folder: &'a Path,
    command: &'a Path,
    /// The programs of the Python environment.
    tools: &'a Path,
}

impl Place<'_> {
    fn tried(&self, engine: &str, settings: &Map<String, Value>, options: &Options) -> Result<()> {
        let document = format!("{engine}.json");
        run(self.lambda_rds(settings).args(["openapi", "--output", &document]))?;
        run(self.tool("openapi-spec-validator").args(["--schema", "3.1", &document]))?;
        let mut serve = self.lambda_rds(settings);
        serve.args(["serve", "--listen", "0", "--json", "--quiet"]);
        // What the authorizer would have verified.
        serve.args(["--claim", "sub=01234567-89ab-cdef-0123-456789abcdef"]);
        let (_server, announced) = started(&mut serve)?;
        let url = announced.get("url").and_then(Value::as_str).context("`serve` names no URL")?;
        let mut schemathesis = self.tool("schemathesis");
        schemathesis.args(["run", &document, "--url", url]);
        schemathesis.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"]);
        schemathesis.args(["--max-examples", &options.examples.to_string()]);
        schemathesis.args(["--seed", &options.seed.to_string()]);
        // What is slow is the machine, and how odd the calls are is what they are made for.
        schemathesis.args(["--suppress-health-check", "all", "--warnings", "off"]);
        run(&mut schemathesis).with_context(|| format!("the document and the function differ on {engine}"))
    }

    /// The command, as a user without any settings but these runs it.
    fn lambda_rds(&self, settings: &Map<String, Value>) -> Command {
        let mut command = Command::new(self.command);
        command.current_dir(self.folder).env_clear().env("HOME", self.folder);
        command.envs(settings.iter().filter_map(|(name, value)| Some((name, value.as_str()?))));
        command.envs(FUNCTION);
        command
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        command.current_dir(self.folder).env("NO_COLOR", "1");
        command
    }
}

/// Settings that add to the document.
const FUNCTION: [(&str, &str); 4] = [
    ("LAMBDA_RDS_BASE_PATH", "/api/v1"),
    ("LAMBDA_RDS_DEFAULT_QUERY", "active_users"),
    ("LAMBDA_RDS_HTTP_BATCH", "true"),
    ("LAMBDA_RDS_CORS_ORIGIN", "https://app.example.com"),
];

/// Not `negative_data_rejection`: more is accepted than the document says, a number in quotes for example. Not
/// `positive_data_acceptance`: JSON Schema takes 1.0 for an integer, and an integer is read digit for digit. Not
/// `missing_required_header` and `ignored_auth`: the authorizer is not there that would ask for one. Not those of
/// resources that come and go, since the document links none.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method";

/// A process that does not outlive its use.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts what says by one line of JSON that it is ready.
pub(crate) fn started(command: &mut Command) -> Result<(Running, Map<String, Value>)> {
    let name = shown(command);
    let child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().with_context(|| format!("{name} has no output"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Value::Object(said)) => Ok((running, said)),
        _ => bail!("{name} did not start: {line:?}"),
    }
}

/// Builds the command and examples of the testbed, and gives their executables by these names; the command's is
/// `lambda-rds`.
///
/// Chosen as the tests are, for the whole workspace and with an example, which brings what only tests depend on: so
/// every dependency has the features that it has there, and what `cargo xtask test` has built is built no second time.
pub(crate) fn built<const N: usize>(workspace: &Path, names: [&str; N]) -> Result<[PathBuf; N]> {
    let mut build = cargo();
    build.current_dir(workspace).args(["build", "--message-format=json-render-diagnostics"]);
    build.args(["--locked", "--workspace", "--bin", COMMAND, "--examples"]);
    let built = build.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(built.status.success(), "{} failed ({})", shown(&build), built.status);
    let messages = String::from_utf8(built.stdout).context("cargo's messages are not UTF-8")?;
    let executable = |name: &str| {
        let named = messages.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
        });
        named.with_context(|| format!("cargo names no executable for {name}"))
    };
    let executables: Vec<PathBuf> = names.into_iter().map(executable).collect::<Result<_>>()?;
    executables.try_into().map_err(|_| anyhow!("a name has no executable"))
}

/// The command's name, as [`built`] takes it.
pub(crate) const COMMAND: &str = "lambda-rds";

/// The Python tools.
fn tools(workspace: &Path) -> Result<PathBuf> {
    python(&workspace.join("target/openapi"), &TOOLS)
}

/// A Python with these packages, got from PyPI into this folder. Gives the folder of its programs.
pub(crate) fn python(folder: &Path, packages: &[&str]) -> Result<PathBuf> {
    let programs = folder.join("bin");
    // Written last, so that an interrupted installation is made again.
    let complete = folder.join("complete");
    let wanted = packages.join(" ");
    if fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    let Some(python) = on_path("python3") else { bail!("python3 is needed, for {wanted}") };
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))
        .context("python3 cannot make a virtual environment (on Debian and Ubuntu: install python3-venv)")?;
    run(Command::new(programs.join("python3")).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
    fs::write(complete, wanted)?;
    Ok(programs)
}

const TOOLS: [&str; 2] = ["openapi-spec-validator==0.9.0", "schemathesis==4.32.5"];
