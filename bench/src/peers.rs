//! Who is measured, and how each is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::ValueEnum;
use lambda_rds_testbed::{Function, FunctionBuilder};
use serde::{Deserialize, Serialize};

use crate::place::{Network, Place};

/// A database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Postgres,
    Mysql,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Postgres, Self::Mysql];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }
}

/// What `cargo xtask bench` has built and installed, as it writes it down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prepared {
    #[serde(skip)]
    pub(crate) folder: PathBuf,
    node: PathBuf,
    python: PathBuf,
    /// Name → version, of all that is compared and compares.
    pub(crate) versions: BTreeMap<String, String>,
    /// The commit that is measured.
    pub(crate) commit: String,
}

impl Prepared {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join("prepared.json"))
            .with_context(|| format!("nothing is prepared in {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), ..serde_json::from_str(&text)? })
    }

    /// All peers of an engine, in the order in which they take their turns.
    pub(crate) fn peers(&self, engine: Engine, builds: &[Build]) -> Vec<Peer> {
        let bin = self.folder.join("bin");
        let own = |name: &str, file: String| Peer::new(name, engine, bin.join(file));
        let script = |name: &str, program: &Path, script: &str| {
            let script = self.folder.join(script);
            Peer { script: Some(script), ..Peer::new(name, engine, program.to_owned()) }
        };
        let name = engine.name();
        let mut peers = vec![
            own(OURS, format!("lambda-rds-{name}")),
            own(OBVIOUS, format!("obvious-{name}")),
            script(NODE, &self.node, "node/index.mjs"),
            script(PYTHON, &self.python, "python/bootstrap.py"),
            own(FLOOR, format!("floor-{name}")),
            own(HELLO, "hello".to_owned()),
        ];
        let builds = builds.iter().filter(|build| build.engine == engine);
        peers.extend(builds.map(|build| Peer::new(&build.name, engine, build.program.clone())));
        peers
    }

    /// The handler on our library, which is measured beside itself alone.
    pub(crate) fn library(&self) -> PathBuf {
        self.folder.join("bin/library-postgres")
    }
}

/// Somebody who is measured.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) engine: Engine,
    pub(crate) program: PathBuf,
    pub(crate) script: Option<PathBuf>,
}

impl Peer {
    fn new(name: &str, engine: Engine, program: PathBuf) -> Self {
        Self { name: name.to_owned(), engine, program, script: None }
    }

    /// Whether it asks the database at all.
    pub(crate) fn queries(&self) -> bool {
        self.name != HELLO
    }

    /// Whether it is a handler that one would deploy: it fetches its secret, and knows more than one query.
    pub(crate) fn serves(&self) -> bool {
        self.queries() && self.name != FLOOR
    }

    /// Whether it is lambda-rds, in this build or another.
    pub(crate) fn is_ours(&self) -> bool {
        ![OBVIOUS, NODE, PYTHON, FLOOR, HELLO].contains(&self.name.as_str())
    }

    /// An execution environment of it that is about to be started, behind this network.
    pub(crate) fn environment(&self, place: &Place, network: &Network) -> FunctionBuilder {
        let builder = self.environment_of(&self.program, place, network);
        match &self.script {
            Some(script) => builder.arg(script),
            None => builder,
        }
    }

    /// The same with another program, which is given the peer's as an argument.
    pub(crate) fn environment_of(&self, program: &Path, place: &Place, network: &Network) -> FunctionBuilder {
        let builder = Function::builder(program)
            .secrets(&place.secrets)
            .env("DB_ENGINE", self.engine.name())
            .env("DB_TLS_CA", place.server.ca_pem_path());
        // The floor fetches no secret, and so has it from its environment.
        match self.name.as_str() {
            HELLO => builder,
            FLOOR => builder
                .env("DB_HOST", place.server.host())
                .env("DB_PORT", network.port.to_string())
                .env("DB_USER", &place.database.user)
                .env("DB_PASSWORD", &place.database.password)
                .env("DB_NAME", &place.database.name),
            _ => builder.env("DB_SECRET_ID", &network.secret).queries(place.queries.path()),
        }
    }
}

/// Another build of lambda-rds.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    engine: Engine,
    name: String,
    program: PathBuf,
}

impl FromStr for Build {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || "it must be ENGINE:NAME=EXECUTABLE".to_owned();
        let (engine, rest) = text.split_once(':').ok_or_else(wanted)?;
        let (name, program) = rest.split_once('=').ok_or_else(wanted)?;
        let engine = <Engine as ValueEnum>::from_str(engine, false)?;
        let program = std::path::absolute(program).map_err(|error| error.to_string())?;
        Ok(Self { engine, name: name.to_owned(), program })
    }
}

pub(crate) const OURS: &str = "lambda-rds";
pub(crate) const OBVIOUS: &str = "obvious";
pub(crate) const NODE: &str = "node";
pub(crate) const PYTHON: &str = "python";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const HELLO: &str = "hello";

/// The peers' names for people, in the order of the tables.
pub(crate) const TITLES: [(&str, &str); 6] = [
    (OURS, "lambda-rds"),
    (OBVIOUS, "obvious Rust"),
    (NODE, "Node"),
    (PYTHON, "Python"),
    (FLOOR, "floor with TLS"),
    (HELLO, "hello world"),
];
