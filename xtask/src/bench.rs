//! Prepares what the bench compares, and runs it: the function, the peers beside it, and the measuring tool, each
//! built once into `target/bench`. What is measured, and how, stands in the workspace `bench`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::json;

use lambda_rds_package::Engine;

use crate::build::{self, answer};
use crate::{cargo, on_path, run, servers};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The short version: beside the obvious Rust handler and the floor, fails where bench/limits.json is not kept
    #[arg(long, conflicts_with_all = ["only", "report", "docs"])]
    quick: bool,
    /// With --quick: set bench/limits.json by what is measured
    #[arg(long, requires = "quick")]
    accept: bool,
    /// The name of the run, a folder in bench/runs; an old one is gone on with [default: today's date]
    #[arg(long)]
    run: Option<String>,
    /// Only these sections: sizes,cold,warm,rows,batch,features,instructions,reconnect,freeze,fleet
    #[arg(long)]
    only: Option<String>,
    /// Only these engines: postgres,mysql
    #[arg(long)]
    engines: Option<String>,
    /// Only these peers: lambda-rds,obvious,node,python,floor,hello and those of --build
    #[arg(long)]
    peers: Option<String>,
    /// Another build of the function as one more peer
    #[arg(long, value_name = "ENGINE:NAME=EXECUTABLE")]
    build: Vec<String>,
    /// How many samples: 1 is a full run of about ten minutes, 0.2 a quick look
    #[arg(long)]
    effort: Option<f64>,
    /// Fill the pages of the documentation from the run
    #[arg(long)]
    docs: bool,
    /// Measure nothing: make the summary anew from the raw data
    #[arg(long)]
    report: bool,
    /// Measure what is in target/bench already
    #[arg(long)]
    no_build: bool,
}

/// Builds, prepares, measures.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let workspace = crate::workspace()?;
    let place = workspace.join("target/bench");
    let build = !options.no_build && !options.report;
    let servers = servers::ready(&workspace, false)?;
    if build {
        fs::create_dir_all(place.join("bin")).context("cannot create target/bench")?;
        // First what may be missing, since the builds take minutes.
        let scripts =
            if options.quick { None } else { Some((node(&workspace, &place)?, python(&workspace, &place)?)) };
        function(&workspace, &place)?;
        rust(&workspace, &place, options.quick)?;
        record(&workspace, &place, scripts)?;
    }
    let mut command = Command::new(tool(&workspace, &place, build)?);
    command.env(servers::FOLDER_VARIABLE, servers).current_dir(&workspace);
    command.arg("--prepared").arg(&place).arg("--repository").arg(&workspace);
    let name = match &options.run {
        Some(name) => name.clone(),
        None => answer(Command::new("date").args(["-u", "+%Y-%m-%d"]))?,
    };
    command.args(["--run", &name, "--command"]).arg(typed());
    for (name, value) in
        [("--only", &options.only), ("--engines", &options.engines), ("--peers", &options.peers)]
    {
        if let Some(value) = value {
            command.args([name, value]);
        }
    }
    for build in &options.build {
        command.args(["--build", build]);
    }
    if let Some(effort) = options.effort {
        command.args(["--effort", &effort.to_string()]);
    }
    let switches = [
        ("--quick", options.quick),
        ("--accept", options.accept),
        ("--docs", options.docs),
        ("--report", options.report),
    ];
    command.args(switches.iter().filter(|(_, on)| *on).map(|(name, _)| name));
    run(&mut command)
}

/// The command as it was typed, but for paths, which are this machine's.
fn typed() -> String {
    let words = std::env::args().skip(1).map(|word| if word.contains('/') { "…".to_owned() } else { word });
    std::iter::once("cargo xtask".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// The executables that the zips have.
fn function(workspace: &Path, place: &Path) -> Result<()> {
    for engine in [Engine::Postgres, Engine::Mysql] {
        let bootstrap = build::bootstrap(workspace, engine, build::this_arch()?)?;
        install(&place.join(format!("bin/lambda-rds-{}", engine.name())), bootstrap.bytes())?;
    }
    Ok(())
}

/// The handlers in Rust, each with what it needs alone.
fn rust(workspace: &Path, place: &Path, quick: bool) -> Result<()> {
    let all =
        ["obvious-postgres", "obvious-mysql", "floor-postgres", "floor-mysql", "hello", "library-postgres"];
    for name in &all[..if quick { 4 } else { all.len() }] {
        let mut command = cargo();
        command.args(["build", "--release", "--package", "lambda-rds-bench-peers", "--bin", name]);
        if *name != "hello" {
            command.args(["--features", name]);
        }
        let target = in_bench(&mut command, workspace, place);
        run(&mut command)?;
        let built = target.join("release").join(name);
        let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        install(&place.join("bin").join(name), &bytes)?;
    }
    Ok(())
}

/// The measuring tool.
fn tool(workspace: &Path, place: &Path, build: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", "tool", "--package", "lambda-rds-bench"]);
    let target = in_bench(&mut command, workspace, place);
    let tool = target.join("tool/lambda-rds-bench");
    if build || !tool.is_file() {
        run(&mut command)?;
    }
    Ok(tool)
}

/// Lets cargo work in the workspace `bench`; returns its target folder.
fn in_bench(command: &mut Command, workspace: &Path, place: &Path) -> PathBuf {
    let target = place.join("cargo");
    // Not `--locked`: the testbed is in this lock file as well, and a change of its dependencies shall not stop us.
    command.arg("--manifest-path").arg(workspace.join("bench/Cargo.toml"));
    command.arg("--target-dir").arg(&target);
    target
}

/// The handler in Node with its packages, as its lock file has them.
fn node(workspace: &Path, place: &Path) -> Result<PathBuf> {
    let (Some(node), Some(npm)) = (on_path("node"), on_path("npm")) else {
        bail!(
            "the Node handler needs node and npm (version 20 is what Lambda has): install them, or use --quick"
        );
    };
    let folder = place.join("node");
    copy(&workspace.join("bench/peers/node"), &folder)?;
    if is_new(&folder, "package-lock.json")? {
        run(Command::new(npm).args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&folder))?;
        done(&folder, "package-lock.json")?;
    }
    Ok(node)
}

/// The handler in Python with its packages, in an environment of its own.
fn python(workspace: &Path, place: &Path) -> Result<PathBuf> {
    let Some(python) = on_path("python3") else {
        bail!("the Python handler needs python3 with venv (3.11 or newer): install them, or use --quick");
    };
    let folder = place.join("python");
    copy(&workspace.join("bench/peers/python"), &folder)?;
    let environment = folder.join("venv");
    let own = environment.join("bin/python3");
    if is_new(&folder, "requirements.txt")? || !own.is_file() {
        run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment)).context(
            "python3 cannot make a virtual environment (on Debian and Ubuntu: install python3-venv)",
        )?;
        let mut pip = Command::new(&own);
        pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(folder.join("requirements.txt"));
        run(&mut pip)?;
        done(&folder, "requirements.txt")?;
    }
    Ok(own)
}

/// Writes down what was prepared, for the measuring tool.
fn record(workspace: &Path, place: &Path, scripts: Option<(PathBuf, PathBuf)>) -> Result<()> {
    let mut versions = BTreeMap::new();
    let mut version = |name: &str, command: &mut Command| -> Result<()> {
        versions.insert(
            name.to_owned(),
            answer(command)?.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        );
        Ok(())
    };
    version("rustc", Command::new("rustc").arg("--version"))?;
    let (node, python) = scripts.unwrap_or_default();
    if !node.as_os_str().is_empty() {
        version("Python", Command::new(&python).arg("--version"))?;
        versions.insert("Node".to_owned(), answer(Command::new(&node).arg("--version"))?);
        for package in ["pg", "mysql2", "@aws-sdk/client-secrets-manager"] {
            let text =
                fs::read_to_string(place.join("node/node_modules").join(package).join("package.json"))?;
            let package_json: serde_json::Value = serde_json::from_str(&text)?;
            versions
                .insert(package.to_owned(), package_json["version"].as_str().unwrap_or_default().to_owned());
        }
        for line in fs::read_to_string(place.join("python/requirements.txt"))?.lines() {
            if let Some((package, version)) = line.split_once("==") {
                versions.insert(package.to_owned(), version.to_owned());
            }
        }
    }
    for line in locked(&fs::read_to_string(workspace.join("bench/Cargo.lock"))?) {
        versions.insert(line.0, line.1);
    }
    let git = |args: &[&str]| answer(Command::new("git").args(args).current_dir(workspace));
    let changed =
        if git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() { "" } else { " and changes" };
    let prepared = json!({
        "node": node,
        "python": python,
        "versions": versions,
        "commit": format!("{}{changed}", git(&["rev-parse", "--short=10", "HEAD"])?),
    });
    fs::write(place.join("prepared.json"), prepared.to_string())
        .context("cannot write target/bench/prepared.json")
}

/// The versions that a lock file has of what the peers are made of.
fn locked(lock: &str) -> Vec<(String, String)> {
    const WANTED: [&str; 4] = ["lambda_runtime", "sqlx", "tokio-postgres", "mysql_async"];
    let value = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    lock.split("[[package]]")
        .filter_map(|package| {
            let mut lines = package.trim().lines();
            let (name, version) = (value(lines.next()?), value(lines.next()?));
            WANTED.contains(&name.as_str()).then_some((name, version))
        })
        .collect()
}

/// Copies the files of a folder, no folders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Whether a file lists other packages than those that are installed beside it.
fn is_new(folder: &Path, list: &str) -> Result<bool> {
    let wanted = fs::read(folder.join(list))?;
    // Written last, so that an interrupted installation is made again.
    Ok(fs::read(folder.join("installed")).ok() != Some(wanted))
}

fn done(folder: &Path, list: &str) -> Result<()> {
    fs::copy(folder.join(list), folder.join("installed"))?;
    Ok(())
}

/// Writes an executable, unless it is there already.
fn install(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    read_from_disk(path)
}

/// Has an executable be read from the disk when it starts, as in Lambda: of what has just been written in one piece the
/// kernel maps larger parts, which one that was read has not. That is up to 0.9 MiB of what is measured
/// as memory.
fn read_from_disk(path: &Path) -> Result<()> {
    let file = fs::File::open(path)?;
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"sqlx\"\nversion = \"0.9.0\"\n\n\
                    [[package]]\nname = \"sqlx-core\"\nversion = \"0.9.0\"\n";
        assert_eq!(locked(lock), [("sqlx".to_owned(), "0.9.0".to_owned())]);
    }
}
