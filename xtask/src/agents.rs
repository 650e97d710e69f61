//! `cargo xtask agents`: the official clients of the Model Context Protocol understand the function.
//!
//! Those of both generations in Python and TypeScript, and the inspector's command line, list the tools of a PostgreSQL
//! and call them, over HTTP of `lambda-rds serve` and over stdio of `lambda-rds mcp`: every type of parameter, and every
//! way in which a call fails. Each schema is judged by a validator of JSON Schema, and each result by its schema.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::clients::Node;
use crate::openapi::{COMMAND, built, python, started};
use crate::{run, servers, shown};

/// Tries all of them.
pub(crate) fn agents(workspace: &Path) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let target = workspace.join("target/agents");
    let first = python(&target.join("python-1"), &["mcp==1.30.0", "jsonschema==4.26.0"])?.join("python3");
    let second = python(&target.join("python-2"), &["mcp==2.3.0"])?.join("python3");
    let node = node(workspace, &target.join("node"))?;
    let [command, sample] = &built(workspace, [COMMAND, "sample_postgres"])?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let queries = folder.path().join("queries");
    fs::create_dir(&queries)?;
    let ours = workspace.join("xtask/agents");
    fs::copy(ours.join("tools.sql"), queries.join("tools.sql"))?;

    let mut sample = Command::new(sample);
    sample.arg(workspace.join("xtask/openapi/schema.sql")).env(servers::FOLDER_VARIABLE, servers);
    let (mut server, settings) = started(sample.stdin(Stdio::piped()))?;
    let place = Place { folder: folder.path(), settings: &settings };

    let mut serve = place.command(command);
    serve
        .args(["serve", "--listen", "0", "--json", "--quiet", "--claim", "sub=42"])
        .env("LAMBDA_RDS_MCP", "true");
    let (_serving, announced) = started(&mut serve)?;
    let url = announced.get("mcp").and_then(Value::as_str).context("`serve` names no URL of MCP")?;
    // Clients start it in an environment of their own making.
    let script = folder.path().join("mcp");
    write_script(&script, command, &place)?;
    let pipe = script.display().to_string();

    let calls = ours.join("calls.json");
    let tried = || -> Result<()> {
        for target in [url, pipe.as_str()] {
            for (python, script) in [(&first, "first.py"), (&second, "second.py")] {
                run(place.command(python).arg(ours.join(script)).arg(&calls).arg(target))?;
            }
            for generation in ["sdk", "client"] {
                let mut client = place.command(&node.program);
                client.arg(node.folder.join("client.mjs")).arg(generation).arg(&calls).arg(target);
                run(&mut client)?;
            }
        }
        inspected(&place, &node, url)
    };
    let outcome = tried();
    // It ends, and its server with it, when there is nothing more to read.
    drop(server.0.stdin.take());
    let _ = server.0.wait();
    outcome
}

/// What runs beside the sample's database.
struct Place<'a> {
    folder: &'a Path,
    settings: &'a Map<String, Value>,
}

impl Place<'_> {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder).env_clear().env("HOME", self.folder).env("NO_COLOR", "1");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.settings());
        command
    }

    fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }
}

/// A program without arguments and without an environment that is the command `mcp`.
fn write_script(script: &Path, command: &Path, place: &Place<'_>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut text = format!("#!/bin/sh\ncd '{}'\n", place.folder.display());
    for (name, value) in place.settings() {
        // The password has every character that means something.
        text.push_str(&format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    }
    text.push_str(&format!("exec '{}' mcp --claim sub=42\n", command.display()));
    fs::write(script, text)?;
    fs::set_permissions(script, PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// The inspector's command line lists and calls.
fn inspected(place: &Place<'_>, node: &Node, url: &str) -> Result<()> {
    let ask = |words: &[&str]| -> Result<Value> {
        let mut inspector = place.command(&node.program);
        inspector.arg(node.folder.join("node_modules/.bin/mcp-inspector"));
        inspector.args(["--cli", url, "--transport", "http"]).args(words);
        let said = inspector.stderr(Stdio::inherit()).output()?;
        ensure!(said.status.success(), "{} failed ({})", shown(&inspector), said.status);
        serde_json::from_slice(&said.stdout).context("the inspector says no JSON")
    };
    let tools = ask(&["--method", "tools/list"])?;
    ensure!(tools["tools"].as_array().map(Vec::len) == Some(6), "the inspector lists {tools}");
    let called = ask(&["--method", "tools/call", "--tool-name", "numbers", "--tool-arg", "count=2"])?;
    ensure!(called["structuredContent"]["rows"][1]["n"] == 2, "the inspector got {called}");
    Ok(())
}

/// The clients in TypeScript, and our script beside them.
fn node(workspace: &Path, folder: &Path) -> Result<Node> {
    let node = Node::with(folder, &CLIENTS)?;
    // Modules are looked for beside the script.
    fs::copy(workspace.join("xtask/agents/client.mjs"), folder.join("client.mjs"))?;
    Ok(node)
}

const CLIENTS: [&str; 3] = [
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/client@2.4.0",
    "@modelcontextprotocol/inspector@0.15.0",
];
