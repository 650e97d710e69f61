//! Tries a release as somebody without Rust: installs it, types what the page says, and runs what was packed under a
//! stand-in of Lambda's Runtime API, against a PostgreSQL.
//!
//! The functions are those that `cargo xtask zip` has made, the command is the one of the tests: what is tried is how
//! they are packed, and for that nothing need be built once more.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lambda_rds_package::elf::Needs;
use lambda_rds_package::{Arch, Bootstrap, Engine, archive};
use serde_json::{Map, Value, json};

use super::contents::Contents;
use super::{Built, Program, assemble, libc, write};
use crate::openapi::{COMMAND, Running, built, python, started};
use crate::{apt, build, on_path, run, servers, shown, zip};

/// Tries all of it.
pub(super) fn check(workspace: &Path) -> Result<()> {
    let arch = build::this_arch()?;
    let [command, sample, runner] = &built(workspace, [COMMAND, "sample_postgres", "run_function"])?;
    for other in [Arch::X86, Arch::Arm] {
        libc::at_hand(workspace, other)?;
    }
    println!("the C library is at hand for the images of both processors");
    let contents = Contents::of(workspace)?;
    let files = assemble(&from_zips(workspace, command, arch)?, &contents)?;

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let out = folder.path().join("release");
    write(&out, &files)?;
    is_valid(workspace, &out.join("lambda-rds.cdx.json"))?;
    println!("the bill of materials is valid");

    let page = fs::read_to_string(workspace.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0)).collect();
    let [sums, pip, npm, tar, pack, pack_layer, pack_image] = blocks.as_slice() else {
        bail!("{PAGE} has other blocks of `sh` than are tried")
    };
    beside_a_database(workspace, sample, |settings| {
        let lambda = Lambda { runner, settings };
        let desks = [
            by_pip(folder.path(), &out, pip)?,
            by_npm(folder.path(), &out, npm)?,
            by_hand(folder.path(), &out, tar)?,
        ];
        desks[0].at(&out).types(sums)?;
        for desk in &desks {
            desk.begins()?;
            desk.packs_the_same(workspace, arch)?;
            println!("{}: the command serves, and packs what cargo xtask zip packs", desk.home.display());
        }
        // The page is about every engine and processor, and here are some.
        let here = |block: &str| block.replace("arm64", arch.name()).replace("aurora-postgres", "postgres");
        let shop = desks[0].within("shop");
        for (name, bytes) in files.iter().filter(|(name, _)| name.contains("-postgres-")) {
            // (The function's zip is what is to be made.)
            if name.starts_with("lambda-rds-layer") || name.starts_with("lambda-rds-image") {
                fs::write(shop.folder.join(name), bytes)?;
            }
        }
        let zip = shop.folder.join(archive::file_name(Engine::Postgres, arch));
        for block in [pack, pack_layer] {
            shop.types(&here(block))?;
            let task = shop.folder.join("task");
            unzip(&zip, &task)?;
            lambda.answers(&[task.join("bootstrap")], &[("LAMBDA_TASK_ROOT", path(&task)?)])?;
            fs::remove_file(&zip)?;
            fs::remove_dir_all(&task)?;
        }
        println!("what is packed runs");
        lambda.answers_beside_a_layer(&shop, &format!("lambda-rds-layer-postgres-{}.zip", arch.name()))?;
        println!("queries alone run with the layer");
        shop.types(&here(pack_image))?;
        is_an_image(workspace, &shop.folder.join("shop.tar"), arch)?;
        lambda.answers_in_an_image(&shop.folder.join("shop.tar"), &shop.folder.join("root"))?;
        println!("the image runs, and nothing of this machine is in it");
        Ok(())
    })
}

/// Runs this beside a PostgreSQL with the sample's rows, which the settings of a function reach.
pub(super) fn beside_a_database(
    workspace: &Path,
    sample: &Path,
    tried: impl FnOnce(&Map<String, Value>) -> Result<()>,
) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let mut sample = Command::new(sample);
    sample.arg(workspace.join("xtask/openapi/schema.sql")).env(servers::FOLDER_VARIABLE, servers);
    let (mut server, settings) = started(sample.stdin(Stdio::piped()))?;
    let outcome = tried(&settings);
    // It ends, and its server with it, when there is nothing more to read.
    drop(server.0.stdin.take());
    let _ = server.0.wait();
    outcome
}

/// The functions of the zips that have been made, and the command, without what only debuggers read.
fn from_zips(workspace: &Path, command: &Path, arch: Arch) -> Result<Built> {
    let mut built = Built::default();
    for engine in [Engine::Postgres, Engine::Mysql] {
        let zip = zip::folder(workspace).join(archive::file_name(engine, arch));
        ensure!(
            zip.is_file(),
            "{} is not there: make it first, by cargo xtask zip --engine {} --arch {}",
            zip.display(),
            engine.name(),
            arch.name()
        );
        built.bootstraps.insert((engine, arch), Bootstrap::read(&zip, arch)?);
    }
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let stripped = folder.path().join("lambda-rds");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(command))
        .context("strip comes with the linker")?;
    let bytes = fs::read(stripped)?;
    let glibc = Needs::of(&bytes)?.glibc.context("the command is not linked with glibc")?;
    built.commands.insert(arch, Program { bytes, glibc });
    let bootstraps = built.bootstraps.values().map(Bootstrap::bytes);
    built.libraries.insert(arch, libc::libraries(workspace, bootstraps, arch)?);
    Ok(built)
}

/// Has the tools of CycloneDX judge the document by its schema.
fn is_valid(workspace: &Path, sbom: &Path) -> Result<()> {
    let tools =
        python(&workspace.join("target/cyclonedx"), &["cyclonedx-python-lib[json-validation]==11.12.0"])?;
    let script = "import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(str(wrong) if wrong else 0)";
    run(Command::new(tools.join("python3")).args(["-c", script]).arg(sbom))
        .context("the bill of materials is not as CycloneDX wants it")
}

/// The page that tells how.
const PAGE: &str = "docs/how-to/without-rust.md";

/// Has skopeo, which puts images into registries, read the whole of the archive.
fn is_an_image(workspace: &Path, image: &Path, arch: Arch) -> Result<()> {
    let unpacked = apt::unpacked("skopeo", &workspace.join("target/skopeo"))?;
    let copy = image.with_extension("copy");
    let mut skopeo = Command::new(unpacked.join("usr/bin/skopeo"));
    let libraries = ["usr/lib", "lib"].map(|folder| {
        unpacked.join(folder).join(format!("{}-linux-gnu", arch.machine())).display().to_string()
    });
    skopeo.env("LD_LIBRARY_PATH", libraries.join(":"));
    skopeo.args(["copy", "--quiet", "--insecure-policy"]);
    skopeo.arg(format!("oci-archive:{}", image.display())).arg(format!("dir:{}", copy.display()));
    run(&mut skopeo).context("the image is not as OCI wants it")?;
    ensure!(copy.join("manifest.json").is_file(), "skopeo has copied nothing");
    Ok(())
}

/// Installs the wheel, and nothing else, into an environment of its own.
fn by_pip(folder: &Path, release: &Path, block: &str) -> Result<Desk> {
    let environment = folder.join("venv");
    let python = on_path("python3").context("python3 is needed, to install the wheel")?;
    run(Command::new(python).args(["-m", "venv"]).arg(&environment))
        .context("python3 cannot make a virtual environment (on Debian and Ubuntu: install python3-venv)")?;
    let desk = Desk::new(folder.join("pip"), environment.join("bin"))?;
    // Nothing but the file is asked for.
    desk.at(release)
        .types(&format!("export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1\n{block}"))?;
    Ok(desk)
}

/// The same with npm.
fn by_npm(folder: &Path, release: &Path, block: &str) -> Result<Desk> {
    let npm = on_path("npm").context("npm is needed, to install the package")?;
    let place = folder.join("node");
    fs::create_dir(&place)?;
    for file in fs::read_dir(release)?.collect::<std::io::Result<Vec<_>>>()? {
        if file.path().extension().is_some_and(|extension| extension == "tgz") {
            fs::copy(file.path(), place.join(file.file_name()))?;
        }
    }
    let mut desk = Desk::new(folder.join("npm"), place.join("node_modules/.bin"))?;
    // node is beside npm, wherever that is.
    desk.programs.extend(npm.parent().map(Path::to_owned));
    desk.at(&place).types(&format!(
        "export npm_config_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm_config_loglevel=error\n{block}"
    ))?;
    desk.programs.truncate(1);
    Ok(desk)
}

/// Unpacks the archive with the command.
fn by_hand(folder: &Path, release: &Path, block: &str) -> Result<Desk> {
    let home = folder.join("hand");
    let desk = Desk::new(home.clone(), home.join(".local/bin"))?;
    fs::create_dir(home.join(".local"))?;
    desk.at(release).types(block)?;
    Ok(desk)
}

/// Where somebody sits who has the command, and no Rust.
#[derive(Clone)]
struct Desk {
    home: PathBuf,
    folder: PathBuf,
    /// Folders, before those of the system.
    programs: Vec<PathBuf>,
}

impl Desk {
    fn new(home: PathBuf, programs: PathBuf) -> Result<Self> {
        fs::create_dir(&home)?;
        for name in ["cargo", "rustc"] {
            let there = std::env::split_paths(SYSTEM).any(|folder| folder.join(name).exists());
            ensure!(
                !there,
                "{name} is among the system's own programs: there is no machine without Rust here"
            );
        }
        Ok(Self { folder: home.clone(), home, programs: vec![programs] })
    }

    /// The same person, in another folder.
    fn at(&self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self.clone() }
    }

    fn within(&self, folder: &str) -> Self {
        self.at(&self.folder.join(folder))
    }

    /// A shell, which finds what is installed.
    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        let system = std::env::split_paths(SYSTEM);
        let path = std::env::join_paths(self.programs.iter().cloned().chain(system)).unwrap_or_default();
        shell.args(["-euc", script, "sh"]).current_dir(&self.folder);
        shell.env_clear().env("HOME", &self.home).env("PATH", path);
        shell
    }

    /// Types a block of the page.
    fn types(&self, block: &str) -> Result<()> {
        run(&mut self.shell(block))
    }

    /// The command, as the shell finds it.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.shell("exec lambda-rds \"$@\"");
        command.args(words);
        command
    }

    /// Runs it, and gives what it prints.
    fn run(&self, words: &[&str], expected: &str) -> Result<String> {
        let mut command = self.command(words);
        let output = command.output().with_context(|| format!("cannot start {}", shown(&command)))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{words:?}: {} {said}{told}", output.status);
        ensure!(said.contains(expected) || told.contains(expected), "{words:?}: {said}{told}");
        Ok(said)
    }

    /// From nothing to rows of a query of one's own.
    fn begins(&self) -> Result<()> {
        self.run(&["init", "shop"], "lambda-rds pack")?;
        let shop = self.within("shop");
        fs::write(shop.folder.join("queries/find.sql"), FIND)?;
        let mut serve = shop.command(&["serve", "--listen", "0", "--json", "--quiet"]);
        let (_serving, announced): (Running, _) = started(serve.stderr(Stdio::null()))?;
        let url = announced.get("url").and_then(Value::as_str).context("`serve` names no URL")?;
        let rows = get(url, "/find_users?start=G")?;
        ensure!(rows.ends_with(r#"[{"id":2,"name":"Grace"}]"#), "serve answered {rows}");
        Ok(())
    }

    /// With the repository's queries, `pack` makes the very file that `cargo xtask zip` made.
    fn packs_the_same(&self, workspace: &Path, arch: Arch) -> Result<()> {
        let there = self.within("same");
        fs::create_dir_all(there.folder.join("queries"))?;
        for entry in archive::function(&workspace.join("queries"), workspace)? {
            fs::write(there.folder.join(&entry.name), &entry.bytes)?;
        }
        for engine in [Engine::Postgres, Engine::Mysql] {
            there.run(&["pack", "--engine", engine.name(), "--arch", arch.name()], "bytes: ")?;
            let name = archive::file_name(engine, arch);
            let (packed, made) = (there.folder.join(&name), zip::folder(workspace).join(&name));
            ensure!(
                fs::read(&packed)? == fs::read(&made)?,
                "pack and cargo xtask zip make two files of {name}"
            );
        }
        let other = if arch == Arch::X86 { Arch::Arm } else { Arch::X86 };
        let refused = there.command(&["pack", "--engine", "postgres", "--arch", other.name()]).output()?;
        let told = String::from_utf8_lossy(&refused.stderr);
        ensure!(refused.status.code() == Some(3) && told.contains("--bootstrap FILE"), "{told}");
        Ok(())
    }
}

/// What a system has without Rust.
const SYSTEM: &str = "/usr/bin:/bin";

const FIND: &str = "\
-- name: find_users :many
-- http: GET
-- param: start text in 1..=20
SELECT id, name FROM users WHERE name LIKE :start || '%' ORDER BY id;
";

/// What a server at this URL answers.
fn get(url: &str, path: &str) -> Result<String> {
    let host = url.strip_prefix("http://").context("not over HTTP")?;
    let mut stream = TcpStream::connect(host).with_context(|| format!("{host} does not listen"))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

/// The stand-in of the Runtime API, and the settings of a function that reaches a database.
pub(super) struct Lambda<'a> {
    pub(super) runner: &'a Path,
    pub(super) settings: &'a Map<String, Value>,
}

impl Lambda<'_> {
    /// The queries at `/var/task`, the layer at `/opt`: two folders here.
    fn answers_beside_a_layer(&self, shop: &Desk, layer: &str) -> Result<()> {
        shop.run(&["pack", "--engine", "postgres", "--no-bootstrap", "--out", "queries.zip"], "")?;
        let (task, opt) = (shop.folder.join("task-of-queries"), shop.folder.join("opt"));
        unzip(&shop.folder.join("queries.zip"), &task)?;
        ensure!(!task.join("bootstrap").exists(), "the function is in the zip");
        unzip(&shop.folder.join(layer), &opt)?;
        self.answers(&[opt.join("bootstrap")], &[("LAMBDA_TASK_ROOT", path(&task)?)])
    }

    /// The image's entry point, with the image as its root.
    fn answers_in_an_image(&self, image: &Path, root: &Path) -> Result<()> {
        let config = unpack_image(image, root)?;
        let entry = config["config"]["Entrypoint"][0].as_str().context("the image has no entry point")?;
        // What Lambda has in every container.
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost database.internal\n")?;
        let roots = self.settings["DB_TLS_CA"].as_str().context("no CA")?;
        fs::copy(roots, root.join("var/task/ca.pem"))?;

        let mut words: Vec<PathBuf> = Vec::new();
        if !is_root()? {
            words.extend([on_path("unshare").context("unshare is needed")?, "--map-root-user".into()]);
        }
        words.extend([PathBuf::from("/usr/sbin/chroot"), root.to_owned(), PathBuf::from(entry)]);
        let mut settings = vec![("DB_TLS_CA", "/var/task/ca.pem"), ("DB_HOST", "localhost")];
        let env = config["config"]["Env"].as_array().into_iter().flatten();
        settings.extend(env.filter_map(|setting| setting.as_str()?.split_once('=')));
        self.answers(&words, &settings)
    }

    /// Runs the program, and wants the rows that its query has.
    pub(super) fn answers(&self, words: &[PathBuf], more: &[(&str, &str)]) -> Result<()> {
        let mut runner = Command::new(self.runner);
        let all = self.settings.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        for (name, value) in all.chain([("DB_ALLOW_PASSWORD", "true")]).chain(more.iter().copied()) {
            runner.arg(format!("{name}={value}"));
        }
        let mut child = runner.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let event = json!({"query": "active_users", "params": {"limit": 1}, "reply": "raw"});
        let mut stdin = child.stdin.take().context("no input")?;
        writeln!(stdin, "{event}")?;
        drop(stdin);
        let mut reply = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut reply)?;
        let status = child.wait()?;
        ensure!(status.success(), "the function did not answer ({status})");
        let reply: Value = serde_json::from_str(&reply).context("the function did not answer")?;
        ensure!(reply[0]["name"] == "Ada", "the function answered {reply}");
        Ok(())
    }
}

pub(super) fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path is not UTF-8")
}

fn is_root() -> Result<bool> {
    Ok(build::answer(Command::new("id").arg("-u"))? == "0")
}

/// Unpacks a zip as Lambda does, with its permissions: by Python, as not every machine has a program for it.
pub(super) fn unzip(archive: &Path, folder: &Path) -> Result<()> {
    let script = "import os, sys, zipfile
for entry in zipfile.ZipFile(sys.argv[1]).infolist():
    os.chmod(zipfile.ZipFile(sys.argv[1]).extract(entry, sys.argv[2]), entry.external_attr >> 16)";
    run(Command::new("python3").args(["-c", script]).arg(archive).arg(folder))
}

/// Unpacks an image's layers on top of each other, and gives its configuration.
fn unpack_image(archive: &Path, root: &Path) -> Result<Value> {
    let place = root.with_extension("layout");
    for folder in [&place, &root.to_owned()] {
        fs::create_dir(folder)?;
    }
    run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&place))?;
    let read = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default().replace(':', "/");
        place.join("blobs").join(digest)
    };
    let index = read(place.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0]))?;
    let Some(layers) = manifest["layers"].as_array().filter(|layers| layers.len() == 3) else {
        bail!("an image has its library, the function and the queries: {manifest}")
    };
    for layer in layers {
        run(Command::new("tar").arg("-xzf").arg(blob(layer)).arg("-C").arg(root))?;
    }
    read(blob(&manifest["config"]))
}
