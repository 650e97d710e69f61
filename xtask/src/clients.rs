//! `cargo xtask clients`: the generated clients are what they say.
//!
//! Those of a corpus with every type, in TypeScript and Python, pass the strictest type checks that there are and call a
//! served function, over HTTP and with AWS's own SDKs by Invoke. Then a query changes, and what called it no longer passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::openapi::{COMMAND, built, python, started};
use crate::{on_path, run, servers, shown};

/// Tries both languages.
pub(crate) fn clients(workspace: &Path) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let target = workspace.join("target/clients");
    let python = python(&target.join("python"), &["mypy==2.4.1", "boto3==1.44.8"])?;
    let node = Node::ready(&target.join("node"))?;
    let [command, sample] = built(workspace, [COMMAND, "sample_postgres"])?;
    let ours = workspace.join("xtask/clients");
    let every = workspace.join("xtask/openapi");
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let queries = folder.path().join("queries");
    fs::create_dir(&queries)?;
    fs::copy(workspace.join("queries/users.sql"), queries.join("users.sql"))?;
    fs::copy(every.join("every.sql"), queries.join("every.sql"))?;
    fs::copy(ours.join("queries.sql"), queries.join("queries.sql"))?;
    for file in ["calls.py", "calls.ts", "tsconfig.json"] {
        fs::copy(ours.join(file), folder.path().join(file))?;
    }
    fs::write(folder.path().join("package.json"), "{\"private\": true, \"type\": \"module\"}\n")?;
    std::os::unix::fs::symlink(node.folder.join("node_modules"), folder.path().join("node_modules"))?;

    let mut sample = Command::new(sample);
    sample.arg(every.join("schema.sql")).arg(ours.join("schema.sql"));
    sample.env(servers::FOLDER_VARIABLE, servers);
    let (mut server, settings) = started(sample.stdin(Stdio::piped()))?;
    let page = workspace.join("docs/how-to/clients.md");
    let place = Place {
        folder: folder.path(),
        page: &page,
        command: &command,
        settings: &settings,
        python: &python,
        node: &node,
    };
    let outcome = place.tried();
    // It ends, and its server with it, when there is nothing more to read.
    drop(server.0.stdin.take());
    let _ = server.0.wait();
    outcome
}

struct Place<'a> {
    folder: &'a Path,
    /// The guide.
    page: &'a Path,
    command: &'a Path,
    settings: &'a Map<String, Value>,
    /// The programs of the Python environment.
    python: &'a Path,
    node: &'a Node,
}

impl Place<'_> {
    fn tried(&self) -> Result<()> {
        self.written()?;
        self.judged()?;
        for (language, file) in CLIENTS {
            run(self.lambda_rds().args(["client", "--lang", language, "--output", file, "--check"]))?;
        }
        let mut serve = self.lambda_rds();
        serve.args(["serve", "--listen", "0", "--json", "--quiet"]);
        serve.args(["--claim", "sub=01234567-89ab-cdef-0123-456789abcdef"]);
        let (_serving, announced) = started(&mut serve)?;
        let url = announced.get("url").and_then(Value::as_str).context("`serve` names no URL")?;
        run(self.program(&self.node.tsc()).args(["-p", "."]))?;
        run(self.program(&self.node.program).args(["--no-warnings", "calls.js", url]))?;
        run(self.program(&self.python.join("python3")).args(["calls.py", url]))?;
        self.shown(url)?;
        self.changed()
    }

    fn written(&self) -> Result<()> {
        CLIENTS.iter().try_for_each(|(language, file)| {
            run(self.lambda_rds().args(["client", "--lang", language, "--output", file]))
        })
    }

    /// The type checkers take the clients and who calls them; the one of TypeScript with Node's types and with a browser's.
    fn judged(&self) -> Result<()> {
        run(self.program(&self.node.tsc()).args(["-p", ".", "--noEmit"]))?;
        let mut browser = self.program(&self.node.tsc());
        browser.args(["--ignoreConfig", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext"]);
        run(browser.args(["--lib", "es2022,dom", "--types", "", "shop.ts"]))?;
        let mut mypy = self.program(&self.python.join("mypy"));
        run(mypy.args(["--strict", "--no-incremental", "shop.py", "calls.py"]))
    }

    /// What the guide shows passes the type checks, and runs.
    fn shown(&self, url: &str) -> Result<()> {
        let page = fs::read_to_string(self.page)?;
        let block = |language: &str| {
            let (_, rest) = page.split_once(&format!("```{language}\n"))?;
            Some(rest.split_once("\n```")?.0.replace("https://api.example.com", url))
        };
        fs::write(self.folder.join("example.ts"), block("ts").context("clients.md shows no TypeScript")?)?;
        fs::write(self.folder.join("example.py"), block("python").context("clients.md shows no Python")?)?;
        let config = fs::read_to_string(self.folder.join("tsconfig.json"))?;
        fs::write(self.folder.join("example.json"), config.replace("calls.ts", "example.ts"))?;
        run(self.program(&self.node.tsc()).args(["-p", "example.json"]))?;
        let mut mypy = self.program(&self.python.join("mypy"));
        run(mypy.args(["--strict", "--no-incremental", "--ignore-missing-imports", "example.py"]))?;
        for (program, file) in
            [(&self.node.program, "example.js"), (&self.python.join("python3"), "example.py")]
        {
            let mut example = self.program(program);
            example.arg(file).env("AWS_ENDPOINT_URL", url).env("AWS_REGION", "eu-central-1");
            example.env("AWS_DEFAULT_REGION", "eu-central-1").env("NODE_NO_WARNINGS", "1");
            let said = example.envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")]).output()?;
            let (text, error) =
                (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
            ensure!(said.status.success(), "{} failed: {error}", shown(&example));
            ensure!(text.contains("there is one already\n1 Grace"), "{} says {text}", shown(&example));
        }
        Ok(())
    }

    /// A column that has another name, and a parameter that has another type, are told to who used them.
    fn changed(&self) -> Result<()> {
        let file = self.folder.join("queries/users.sql");
        let text = fs::read_to_string(&file)?;
        for (was, is, typescript, python) in CHANGES {
            ensure!(text.contains(was), "no query has {was:?}");
            fs::write(&file, text.replace(was, is))?;
            for (language, file) in CLIENTS {
                let mut check = self.lambda_rds();
                check.args(["client", "--lang", language, "--output", file, "--check"]).stderr(Stdio::null());
                ensure!(check.status()?.code() == Some(1), "{} saw no change", shown(&check));
            }
            self.written()?;
            let mut tsc = self.program(&self.node.tsc());
            refuses(tsc.args(["-p", ".", "--noEmit"]), typescript)?;
            let mut mypy = self.program(&self.python.join("mypy"));
            refuses(mypy.args(["--strict", "--no-incremental", "calls.py"]), python)?;
            fs::write(&file, &text)?;
            self.written()?;
        }
        self.judged()
    }

    /// The command, as a user without any settings but these runs it.
    fn lambda_rds(&self) -> Command {
        let mut command = self.program(self.command);
        command.envs(self.settings.iter().filter_map(|(name, value)| Some((name, value.as_str()?))));
        command.env("LAMBDA_RDS_HTTP_BATCH", "true");
        command
    }

    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder).env_clear().env("HOME", self.folder);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

/// Runs what must fail, and say why.
fn refuses(command: &mut Command, words: &str) -> Result<()> {
    let said = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(!said.status.success(), "{} took what is no longer true", shown(command));
    ensure!(text.contains(words), "{} says {text}", shown(command));
    Ok(())
}

const CLIENTS: [(&str, &str); 2] = [("typescript", "shop.ts"), ("python", "shop.py")];

/// What changes in the sample queries, and what the two type checkers say of who called them.
const CHANGES: [(&str, &str, &str, &str); 2] = [
    (
        "SELECT id, name, email FROM users WHERE active",
        "SELECT id, name AS nick, email FROM users WHERE active",
        "Property 'name' does not exist on type 'ActiveUsersRow'",
        "has no key \"name\"",
    ),
    (
        "-- param: id int\nSELECT id, name, email, active FROM users WHERE id = :id",
        "-- param: id uuid\nSELECT id, name, email, active FROM users WHERE :id::uuid IS NOT NULL",
        "Type 'bigint' is not assignable to type 'string'",
        "expected \"str\"",
    ),
];

/// Node, and the folder with what npm has put there.
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Node {
    /// Installs from npm's registry what is not there yet.
    fn ready(folder: &Path) -> Result<Self> {
        Self::with(folder, &PACKAGES)
    }

    pub(crate) fn with(folder: &Path, packages: &[&str]) -> Result<Self> {
        let (Some(program), Some(npm)) = (on_path("node"), on_path("npm")) else {
            bail!("node and npm are needed, for {}", packages.join(" "))
        };
        fs::create_dir_all(folder)?;
        // Written last, so that an interrupted installation is made again.
        let complete = folder.join("complete");
        let wanted = packages.join(" ");
        if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
            fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
            let mut install = Command::new(npm);
            install.current_dir(folder).args([
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--save-exact",
            ]);
            run(install.args(packages))?;
            fs::write(complete, wanted)?;
        }
        Ok(Self { program, folder: folder.to_owned() })
    }

    fn tsc(&self) -> PathBuf {
        self.folder.join("node_modules/.bin/tsc")
    }
}

const PACKAGES: [&str; 3] = ["typescript@7.0.2", "@types/node@20.19.43", "@aws-sdk/client-lambda@3.1164.0"];
