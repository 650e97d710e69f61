//! `lambda-rds pack`: what Lambda takes, from the function that came with the command and the folder's queries.

use std::path::{Path, PathBuf};

use clap::Args;
use figment::Figment;
use figment::providers::{Format, Toml};
use lambda_rds::app::App;
use lambda_rds::config::{Config, Engine as Database, Sources};
use lambda_rds_package::image::TASK_ROOT;
use lambda_rds_package::{Arch, Bootstrap, Engine, Entry, Image, archive, carried, zip};

use crate::failure::{Failure, note};
use crate::settings::FILE;

/// Make the zip that Lambda takes, from the function that came with this command and the queries: nothing is compiled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds pack --engine postgres --arch arm64
  lambda-rds pack --engine mysql --arch x86_64 --queries sql --out function.zip
  lambda-rds pack --engine postgres --no-bootstrap
  lambda-rds pack --engine postgres --image lambda-rds-image-postgres-arm64.tar")]
pub(crate) struct Pack {
    /// The engine that the function speaks to
    #[arg(long, value_enum)]
    engine: Engine,
    /// The processor of the Lambda function
    #[arg(long, value_enum, required_unless_present_any = ["no_bootstrap", "image"])]
    arch: Option<Arch>,
    /// Where to write it [default: lambda-rds-ENGINE-ARCH.zip, or .tar with --image]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The folder of the query files
    #[arg(long, value_name = "DIR", default_value = "queries")]
    queries: PathBuf,
    /// The function's executable, or a zip that holds it, instead of the one that came with this command
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
    /// Leave the executable out, for a function that has it from a layer
    #[arg(long, conflicts_with = "bootstrap")]
    no_bootstrap: bool,
    /// Put the queries into a copy of this image instead, which has the executable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bootstrap", "no_bootstrap"])]
    image: Option<PathBuf>,
}

impl Pack {
    /// Checks the queries as the function does at INIT, and packs them.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut entries = archive::function(&self.queries, Path::new(".")).map_err(setup)?;
        self.check()?;
        let (arch, bytes) = match &self.image {
            Some(image) => self.image(image, &entries)?,
            None => {
                if let Some(arch) = self.arch.filter(|_| !self.no_bootstrap) {
                    entries.push(self.bootstrap(arch)?.entry());
                }
                (self.arch, zip(&mut entries).map_err(setup)?)
            }
        };
        let out = self.out.clone().unwrap_or_else(|| self.file_name(arch).into());
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&out, &bytes))
            .map_err(|error| Failure::Setup(format!("{} cannot be written: {error}", out.display())))?;
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        note(&format!("made {}, {} bytes: {}", out.display(), bytes.len(), names.join(", ")));
        Ok(())
    }

    fn file_name(&self, arch: Option<Arch>) -> String {
        let name = match arch {
            Some(arch) => archive::file_name(self.engine, arch),
            None => format!("lambda-rds-{}.zip", self.engine.name()),
        };
        match self.image {
            Some(_) => name.replace(".zip", ".tar"),
            None => name,
        }
    }

    /// The image with a layer of the queries on top.
    fn image(&self, file: &Path, entries: &[Entry]) -> Result<(Option<Arch>, Vec<u8>), Failure> {
        let failed = |error| Failure::Setup(format!("{}: {error:#}", file.display()));
        let base = std::fs::read(file).map_err(|error| failed(error.into()))?;
        let image = Image::read(&base).map_err(failed)?;
        if let Some(arch) = self.arch.filter(|arch| *arch != image.arch()) {
            let (wanted, found) = (arch.name(), image.arch().name());
            return Err(Failure::Setup(format!("{} is for {found}, not for {wanted}", file.display())));
        }
        let root = TASK_ROOT.trim_start_matches('/');
        let placed: Vec<Entry> = entries
            .iter()
            .map(|entry| Entry { name: format!("{root}/{}", entry.name), ..entry.clone() })
            .collect();
        let arch = image.arch();
        let image = image.layer(&placed).map_err(failed)?;
        let name = format!("lambda-rds-{}", self.engine.name());
        Ok((Some(arch), image.archive(&name).map_err(failed)?))
    }

    /// The function's executable: the one that is named, or the one that came along.
    fn bootstrap(&self, arch: Arch) -> Result<Bootstrap, Failure> {
        if let Some(file) = &self.bootstrap {
            return Bootstrap::read(file, arch).map_err(setup);
        }
        let places = places(std::env::current_exe().ok().as_deref(), &carried::file_name(arch));
        for file in places.iter().filter(|file| file.is_file()) {
            if let Some(bootstrap) = carried::read(file, self.engine, arch).map_err(setup)? {
                return Ok(bootstrap);
            }
        }
        let looked: Vec<String> = places.iter().map(|file| file.display().to_string()).collect();
        let (engine, arch) = (self.engine.name(), arch.name());
        let other = match self.engine {
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                "--engine aurora is for both kinds of cluster; or "
            }
            _ => "",
        };
        Err(Failure::Setup(format!(
            "no function for {engine} on {arch} came with this command: it is not in {}. {other}--bootstrap FILE names \
             one: the layer or the zip of a release, or in a clone with Rust what `cargo xtask zip --engine {engine} \
             --arch {arch}` makes",
            looked.join(" nor in ")
        )))
    }

    /// Does what the function does at INIT before it meets a database: settings and queries are read, with every mistake
    /// told.
    fn check(&self) -> Result<(), Failure> {
        let file = Path::new(FILE).is_file().then(|| PathBuf::from(FILE));
        let in_file = |key: &str| -> Option<String> {
            file.as_ref().and_then(|file| Figment::from(Toml::file_exact(file)).extract_inner(key).ok())
        };
        // The zip has them where the function looks by default.
        let queries = in_file("function.queries").filter(|folder| folder.trim_end_matches('/') != "queries");
        if let Some(folder) = queries {
            return Err(Failure::Setup(format!(
                "{FILE} says that the queries are in {folder:?}, and in the zip they are in \"queries\": take that \
                 line out, and name the folder here, with --queries"
            )));
        }
        let can = databases(self.engine);
        let said = in_file("db.engine").and_then(|engine| engine.parse::<Database>().ok());
        let wanted: Vec<Database> = match said {
            Some(said) if can.contains(&said) => vec![said],
            said => {
                if let Some(said) = said {
                    note(&format!(
                        "{FILE} says engine = \"{said}\", which is not in this zip: the function's environment must \
                         say DB_ENGINE"
                    ));
                }
                can.to_vec()
            }
        };
        let mut mistakes = None;
        for engine in wanted {
            let mut env = vec![
                ("DB_ENGINE".to_owned(), engine.to_string()),
                ("LAMBDA_RDS_QUERIES".to_owned(), self.queries.to_string_lossy().into_owned()),
                ("LAMBDA_RDS_LOG".to_owned(), "warn".to_owned()),
            ];
            // What differs between stages is said by the environment, and so is not here yet.
            let password = in_file("db.auth").is_some_and(|auth| auth == "password");
            let later = ["DB_SECRET_ID", "DB_HOST", "DB_NAME", "DB_USER"];
            let later = later.iter().chain(password.then_some(&"DB_PASSWORD"));
            let later = later.filter(|key| in_file(&key.to_lowercase().replacen('_', ".", 1)).is_none());
            env.extend(later.map(|key| ((*key).to_owned(), "later".to_owned())));
            let sources = Sources { env, file: file.clone(), beside: Vec::new() };
            let started = Config::read(&sources, lambda_rds::ENGINES)
                .map_err(|error| error.to_string())
                .and_then(|config| {
                    let topology = lambda_rds::topology(&config.db);
                    App::start(config, lambda_rds::backend(engine), topology)
                        .map_err(|error| error.to_string())
                });
            match started {
                // Several engines are in the zip, and the queries are for one of them.
                Ok(_) => return Ok(()),
                Err(error) => mistakes = mistakes.or(Some(error)),
            }
        }
        Err(Failure::Setup(mistakes.unwrap_or_default()))
    }
}

/// Where a function is that came with the command: beside it, or where installers put what belongs to a program.
fn places(command: Option<&Path>, name: &str) -> Vec<PathBuf> {
    let Some(folder) = command.and_then(Path::parent) else { return Vec::new() };
    let mut places = vec![folder.join(name)];
    places.extend(folder.parent().map(|prefix| prefix.join("share/lambda-rds").join(name)));
    places
}

/// The engines that a zip's function speaks to, the one that is meant first.
fn databases(engine: Engine) -> &'static [Database] {
    match engine {
        Engine::Postgres => &[Database::Postgres],
        Engine::Mysql => &[Database::Mysql],
        Engine::AuroraPostgres => &[Database::AuroraPostgres, Database::Postgres],
        Engine::AuroraMysql => &[Database::AuroraMysql, Database::Mysql],
        Engine::Aurora => {
            &[Database::AuroraPostgres, Database::AuroraMysql, Database::Postgres, Database::Mysql]
        }
    }
}

fn setup(error: anyhow::Error) -> Failure {
    Failure::Setup(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_looked_for_beside_the_command_and_in_its_share() {
        let check = |command: Option<&str>, expected: &[&str]| {
            let found = places(command.map(Path::new), "functions-arm64.tar.xz");
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        };
        let expected = ["/venv/bin/functions-arm64.tar.xz", "/venv/share/lambda-rds/functions-arm64.tar.xz"];
        check(Some("/venv/bin/lambda-rds"), &expected);
        check(None, &[]);
    }

    /// The zip of an engine has the engines of its feature, and those of the features that this one brings.
    #[test]
    fn every_zip_has_the_engine_of_its_name() {
        use clap::ValueEnum as _;
        for engine in Engine::value_variants() {
            let named = engine.name().parse::<Database>();
            let databases = databases(*engine);
            assert!(named.map_or(databases.len() == 4, |named| databases[0] == named), "{engine:?}");
        }
    }
}
