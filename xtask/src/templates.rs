//! `cargo xtask templates`: the templates for SAM and CDK pass their own tools.
//!
//! SAM's is judged by cfn-lint; the CDK app is compiled, synthesized and then judged likewise. Both give the function the
//! same settings, which it reads without a complaint, and which are the Terraform module's. Nothing is deployed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lambda_rds_package::archive::{self, Entry};
use serde_json::{Map, Value};

use crate::clients::Node;
use crate::openapi::{COMMAND, built, python};
use crate::{run, shown};

/// Judges both.
pub(crate) fn templates(workspace: &Path) -> Result<()> {
    let target = workspace.join("target/templates");
    let python = python(&target.join("python"), &["cfn-lint==1.58.0"])?;
    let ours = workspace.join("templates");
    let packages = packages(&ours.join("cdk/package.json"))?;
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let node = Node::with(&target.join("node"), &packages)?;
    let [command] = built(workspace, [COMMAND])?;

    let sam = ours.join("sam/template.yaml");
    run(Command::new(python.join("cfn-lint")).arg(&sam))?;
    let mut script = Command::new(python.join("python3"));
    let said = script.arg(workspace.join("xtask/templates/settings.py")).arg(&sam);
    let said = said.stderr(Stdio::inherit()).output()?;
    ensure!(said.status.success(), "{} failed ({})", shown(&script), said.status);
    let of_sam: Map<String, Value> = serde_json::from_slice(&said.stdout)?;

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let cdk = folder.path().join("templates/cdk");
    fs::create_dir_all(&cdk)?;
    for file in ["app.ts", "cdk.json", "package.json", "tsconfig.json"] {
        fs::copy(ours.join("cdk").join(file), cdk.join(file))?;
    }
    std::os::unix::fs::symlink(node.folder.join("node_modules"), cdk.join("node_modules"))?;
    // What is packed into it is not looked at here.
    let zip = folder.path().join("target/lambda/lambda-rds-postgres-arm64.zip");
    fs::create_dir_all(folder.path().join("target/lambda"))?;
    fs::write(zip, archive::zip(&mut [Entry::program("bootstrap", "stand-in")])?)?;
    let tool = |name: &str| {
        let mut tool = Command::new(&node.program);
        tool.arg(node.folder.join("node_modules/.bin").join(name))
            .current_dir(&cdk)
            .env("HOME", folder.path());
        tool
    };
    run(Command::new(node.folder.join("node_modules/.bin/tsc")).current_dir(&cdk))?;
    run(tool("cdk").args(["synth", "--quiet", "--strict", "--no-notices"]).env("CI", "true"))?;
    let synthesized = cdk.join("cdk.out/LambdaRds.template.json");
    // The dependency on the role is CDK's own.
    run(Command::new(python.join("cfn-lint")).args(["--ignore-checks", "W3005", "--"]).arg(&synthesized))?;
    let template: Value = serde_json::from_slice(&fs::read(&synthesized)?)?;
    let resources = template["Resources"].as_object().context("the app has no resources")?;
    let of_cdk = resources
        .values()
        .find_map(|resource| resource["Properties"]["Environment"]["Variables"].as_object())
        .context("the app has no function with settings")?;

    let module = fs::read_to_string(workspace.join("terraform/main.tf"))?;
    let [of_sam, of_cdk] = [&of_sam, of_cdk].map(settings);
    ensure!(of_sam == of_cdk, "SAM's template has the settings {of_sam:?}, and CDK's {of_cdk:?}");
    for name in of_sam.keys() {
        ensure!(module.contains(name), "{name} is no setting of the Terraform module");
    }
    reads(&command, folder.path(), &of_sam)
}

/// The function's own code takes the settings, and says nothing about them.
fn reads(command: &Path, folder: &Path, settings: &BTreeMap<String, String>) -> Result<()> {
    let queries = folder.join("queries");
    fs::create_dir(&queries)?;
    fs::write(queries.join("one.sql"), "-- name: one :one\n-- http: GET\nSELECT 1 AS one;\n")?;
    let mut openapi = Command::new(command);
    openapi.current_dir(folder).env_clear().env("HOME", folder).envs(settings);
    let said = openapi.args(["openapi", "--offline"]).output()?;
    let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(
        said.status.success() && complaint.is_empty(),
        "with {settings:?} the function says: {complaint}"
    );
    Ok(())
}

/// The settings, with something in the place of what is known only when they are deployed.
fn settings(variables: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |name: &str, value: &Value| match (name, value) {
        ("DB_HOST", _) => "db.example.com".to_owned(),
        ("DB_NAME", _) => "shop".to_owned(),
        ("DB_ENGINE", _) => "postgres".to_owned(),
        ("DB_PORT", _) => "5432".to_owned(),
        ("DB_SECRET_ID", _) => {
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf".to_owned()
        }
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", _) => "https://vpce.example.com".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    variables.iter().map(|(name, value)| (name.clone(), text(name, value))).collect()
}

/// What the app's package file says that it needs, in exactly these versions.
fn packages(file: &Path) -> Result<Vec<String>> {
    let package: Value = serde_json::from_slice(&fs::read(file)?)?;
    let of = |kind: &str| package[kind].as_object().cloned().unwrap_or_default();
    let all = of("dependencies").into_iter().chain(of("devDependencies"));
    all.map(|(name, version)| {
        let version = version.as_str().with_context(|| format!("{name} has no version"))?;
        Ok(format!("{name}@{version}"))
    })
    .collect()
}
