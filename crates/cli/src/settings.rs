//! From the command line and the environment to the function's configuration.

use std::path::{Path, PathBuf};

use clap::Args;
use figment::Figment;
use figment::providers::{Format, Toml};
use lambda_rds::config::{Config, Engine, Sources, Table};

use crate::failure::{Failure, note};
use crate::sample::Sample;
use crate::tables;
use crate::url;

/// Which database and which queries. The command line wins over the environment, and that over
/// `lambda-rds.toml` in the working folder.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database and queries")]
pub(crate) struct Settings {
    /// The kind of server (DB_ENGINE)
    #[arg(long)]
    engine: Option<String>,
    /// An SQLite file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["engine", "url"])]
    db: Option<String>,
    /// A database, as postgres://user:password@host:port/name, or mysql://…; without the password, DB_PASSWORD is it
    #[arg(long, conflicts_with = "engine")]
    url: Option<String>,
    /// The folder of the query files (LAMBDA_RDS_QUERIES) [default: queries/]
    #[arg(long, value_name = "DIR")]
    queries: Option<PathBuf>,
}

impl Settings {
    /// Reads the configuration. Where nothing names a database, the sample database is made and used; `quiet`
    /// leaves out the note that says so. `log` is what is logged where nothing says: on a terminal, a line for
    /// each call that went well would only be in the way.
    pub(crate) async fn config(&self, quiet: bool, log: &str) -> Result<Config, Failure> {
        self.config_with(quiet, &[("LAMBDA_RDS_LOG", log)]).await
    }

    /// The same with these values for keys that nothing else says anything about.
    pub(crate) async fn config_with(
        &self,
        quiet: bool,
        defaults: &[(&str, &str)],
    ) -> Result<Config, Failure> {
        let mut sources = self.sources()?;
        if !names_database(&sources) {
            use_sample(&mut sources, quiet).await?;
        }
        for (key, value) in defaults {
            if get(&sources, key).is_none() && !in_file(&sources, &file_key(key)) {
                set(&mut sources, key, value);
            }
        }
        Config::read(&sources, lambda_rds::ENGINES).map_err(|error| {
            let advice = self.advice(&sources).map(|advice| format!("\n{advice}")).unwrap_or_default();
            Failure::Setup(format!("{error}{advice}"))
        })
    }

    /// What to do about settings with which no database can be reached, in the words of the command line.
    pub(crate) fn advice(&self, sources: &Sources) -> Option<&'static str> {
        let has = |key: &str| get(sources, key).is_some() || in_file(sources, &file_key(key));
        if !names_database(sources) {
            return Some("No database is named: --url postgres://…, --db FILE or DB_HOST and the like do.");
        }
        let lacks_user = self.url.is_some() && get(sources, "DB_ENGINE") != Some("sqlite") && !has("DB_USER");
        lacks_user.then_some(
            "--url names no user: write postgres://USER@HOST/NAME, and let DB_PASSWORD be the password.",
        )
    }

    /// What the environment, the file in the working folder and the command line say.
    pub(crate) fn sources(&self) -> Result<Sources, Failure> {
        let mut sources = Sources::process();
        // The binary of a command lies in no project; the working folder does.
        if Path::new(FILE).is_file() {
            sources.file = Some(PathBuf::from(FILE));
        }
        self.apply(&mut sources)?;
        Ok(sources)
    }

    /// The engine and the table of idempotency keys, of which alone nothing else need be known.
    pub(crate) fn engine_and_table(&self, sources: &Sources) -> Result<(Engine, Table), Failure> {
        let said = |key: &str| match get(sources, key) {
            Some(text) => Some(text.to_owned()),
            None => {
                let file = sources.file.as_ref()?;
                Figment::from(Toml::file_exact(file)).find_value(&file_key(key)).ok()?.into_string()
            }
        };
        let engine = match said("DB_ENGINE") {
            Some(name) => {
                let names =
                    lambda_rds::ENGINES.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(", ");
                let unknown = format!(
                    "--engine or DB_ENGINE names `{name}`, and there is no such engine. There are: {names}"
                );
                name.parse().map_err(|_| Failure::Setup(unknown))?
            }
            None => {
                return Err(Failure::Usage(
                    "for which engine? Say --engine postgres, mysql or sqlite".to_owned(),
                ));
            }
        };
        let table = said("DB_IDEMPOTENCY_TABLE").unwrap_or_else(|| "lambda_rds_idempotency".to_owned());
        Ok((engine, tables::table(&table)?))
    }

    /// Writes what the command line says over what the environment says.
    fn apply(&self, sources: &mut Sources) -> Result<(), Failure> {
        if let Some(queries) = &self.queries {
            set(sources, "LAMBDA_RDS_QUERIES", &queries.to_string_lossy());
        }
        if let Some(engine) = &self.engine {
            set(sources, "DB_ENGINE", engine);
        }
        let database = match (&self.db, &self.url) {
            (Some(file), _) => vec![("DB_ENGINE", "sqlite".to_owned()), ("DB_NAME", file.clone())],
            (None, Some(url)) => url::settings(url).map_err(Failure::Usage)?,
            (None, None) => return Ok(()),
        };
        // Another database altogether: nothing of the configured one holds for it.
        sources.env.retain(|(key, _)| !PLACE.contains(&key.as_str()));
        for (key, value) in database {
            set(sources, key, &value);
        }
        // What the file says of it cannot be taken away, only said otherwise.
        let engine = get(sources, "DB_ENGINE").and_then(|engine| engine.parse::<Engine>().ok());
        let port = engine.map_or(0, Engine::default_port).to_string();
        let mut others = vec![("DB_READ_FROM", "writer")];
        if engine == Some(Engine::Sqlite) {
            // (A pooler may stand before what a URL names, which cannot say so itself.)
            others.push(("DB_POOLER", "auto"));
            sources.env.retain(|(key, _)| key != "DB_POOLER");
        } else {
            others.push(("DB_PORT", port.as_str()));
        }
        for (key, value) in others {
            if get(sources, key).is_none() && in_file(sources, &file_key(key)) {
                set(sources, key, value);
            }
        }
        Ok(())
    }
}

/// Points the configuration at the sample database, and at the sample queries if there are no others.
async fn use_sample(sources: &mut Sources, quiet: bool) -> Result<(), Failure> {
    let setup = |error: anyhow::Error| Failure::Setup(format!("no sample database: {error:#}"));
    let sample = Sample::open().await.map_err(setup)?;
    set(sources, "DB_ENGINE", "sqlite");
    set(sources, "DB_NAME", &sample.database.to_string_lossy());
    let own = get(sources, "LAMBDA_RDS_QUERIES").is_some()
        || in_file(sources, "function.queries")
        || Path::new("queries").is_dir();
    if !own {
        let folder = sample.queries().map_err(setup)?;
        set(sources, "LAMBDA_RDS_QUERIES", &folder.to_string_lossy());
    }
    if !quiet {
        let verb = if sample.created { "made" } else { "using" };
        let file = sample.database.display();
        note(&format!("{verb} the sample database {file}; --db, --url or DB_* name another"));
    }
    Ok(())
}

/// Whether anything says which database is meant.
fn names_database(sources: &Sources) -> bool {
    let names = |key: &&str| get(sources, key).is_some() || in_file(sources, &file_key(key));
    ["DB_ENGINE", "DB_SECRET_ID", "DB_HOST", "DB_NAME"].iter().any(names)
}

fn in_file(sources: &Sources, key: &str) -> bool {
    // A file that cannot be read is the configuration's to complain about.
    sources.file.as_ref().is_some_and(|file| Figment::from(Toml::file_exact(file)).find_value(key).is_ok())
}

/// What a variable is called in the file.
fn file_key(variable: &str) -> String {
    let key = match variable.strip_prefix("DB_") {
        Some(key) => format!("db.{key}"),
        None => format!("function.{}", variable.strip_prefix("LAMBDA_RDS_").unwrap_or(variable)),
    };
    key.to_ascii_lowercase()
}

fn get<'a>(sources: &'a Sources, key: &str) -> Option<&'a str> {
    sources.env.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn set(sources: &mut Sources, key: &str, value: &str) {
    sources.env.retain(|(name, _)| name != key);
    sources.env.push((key.to_owned(), value.to_owned()));
}

/// The configuration in the working folder.
pub(crate) const FILE: &str = "lambda-rds.toml";

/// What says where a database is and who logs in. Not the password: a URL without one leaves it to be given by
/// the environment, where other users of the machine do not see it.
const PLACE: [&str; 12] = [
    "DB_ENGINE",
    "DB_SECRET_ID",
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
    "DB_AUTH",
    "DB_IAM_HOST",
    "DB_TLS_SERVER_NAME",
    "DB_READER_HOST",
    "DB_READ_FROM",
    "DB_INSTANCE_PATTERN",
];

#[cfg(test)]
mod tests {
    use lambda_rds::config::{Pooler, ReadFrom};

    use super::*;

    fn apply(settings: &Settings, env: &[(&str, &str)]) -> Vec<(String, String)> {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut sources = Sources { env, ..Sources::default() };
        settings.apply(&mut sources).unwrap();
        sources.env
    }

    #[track_caller]
    fn check(settings: &Settings, env: &[(&str, &str)], expected: &[(&str, &str)]) {
        let found = apply(settings, env);
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    const NONE: Settings = Settings { engine: None, db: None, url: None, queries: None };

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let env = [("DB_HOST", "prod"), ("DB_SECRET_ID", "s"), ("DB_PASSWORD", "p"), ("HOME", "/h")];
        check(&NONE, &env, &env);
        check(
            &Settings { queries: Some("sql".into()), engine: Some("postgres".into()), ..NONE },
            &[("LAMBDA_RDS_QUERIES", "other"), ("DB_HOST", "prod")],
            &[("DB_HOST", "prod"), ("LAMBDA_RDS_QUERIES", "sql"), ("DB_ENGINE", "postgres")],
        );
        check(
            &Settings { db: Some("shop.db".into()), ..NONE },
            &env,
            &[("DB_PASSWORD", "p"), ("HOME", "/h"), ("DB_ENGINE", "sqlite"), ("DB_NAME", "shop.db")],
        );
        check(
            &Settings { url: Some("postgres://me@db/shop".into()), ..NONE },
            &env,
            &[
                ("DB_PASSWORD", "p"),
                ("HOME", "/h"),
                ("DB_ENGINE", "postgres"),
                ("DB_AUTH", "password"),
                ("DB_HOST", "db"),
                ("DB_USER", "me"),
                ("DB_NAME", "shop"),
            ],
        );
    }

    #[test]
    fn of_the_configured_database_nothing_holds_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let text = "[db]\nengine = \"aurora-postgres\"\nsecret_id = \"prod\"\nport = 6543\nread_from = \"reader\"\n\
                    pooler = \"transaction\"\n";
        std::fs::write(&file, text).unwrap();
        let read = |settings: &Settings| {
            let env = vec![("DB_READ_FROM".into(), "reader".into()), ("DB_PASSWORD".into(), "p".into())];
            let mut sources = Sources { env, file: Some(file.clone()), ..Sources::default() };
            settings.apply(&mut sources).unwrap();
            Config::read(&sources, &Engine::ALL).unwrap().db
        };
        let by_url = read(&Settings { url: Some("postgres://me@db/shop".into()), ..NONE });
        assert_eq!((by_url.port, by_url.read_from), (Some(5432), ReadFrom::Writer));
        let by_url = read(&Settings { url: Some("mysql://me@db:3307/shop".into()), ..NONE });
        assert_eq!((by_url.port, by_url.read_from), (Some(3307), ReadFrom::Writer));
        let by_file = read(&Settings { db: Some("shop.db".into()), ..NONE });
        assert_eq!(
            (by_file.engine, by_file.read_from, by_file.pooler),
            (Engine::Sqlite, ReadFrom::Writer, Pooler::Auto)
        );
    }

    #[test]
    fn a_database_is_named_by_variables_or_by_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut sources =
            Sources { env: vec![("DB_QUERY_TIMEOUT".into(), "1s".into())], ..Sources::default() };
        assert!(!names_database(&sources));
        std::fs::write(&file, "[function]\nqueries = \"sql\"\n").unwrap();
        sources.file = Some(file.clone());
        assert!(!names_database(&sources) && in_file(&sources, "function.queries"));
        std::fs::write(&file, "[db]\nquery_timeout = \"2s\"\n").unwrap();
        assert!(!names_database(&sources), "a timeout names none");
        std::fs::write(&file, "[db]\nengine = \"sqlite\"\n").unwrap();
        assert!(names_database(&sources));
        let by_variable = Sources { env: vec![("DB_HOST".into(), "db".into())], ..Sources::default() };
        assert!(names_database(&by_variable));
    }
}
