//! The sample database and the sample queries of the first steps.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

/// Where the sample is.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The SQLite file.
    pub(crate) database: PathBuf,
    /// Whether it was made just now.
    pub(crate) created: bool,
    folder: PathBuf,
}

impl Sample {
    /// Finds the sample database, and makes it if it is not there or of another edition.
    ///
    /// It stands in the user's cache folder: it outlives a run, so that a user who was added is found again, and
    /// it litters no project. Where there is no such folder that takes it, the system's temporary folder does.
    pub(crate) async fn open() -> anyhow::Result<Self> {
        match cache() {
            Some(folder) => match Self::open_in(folder).await {
                Ok(sample) => Ok(sample),
                Err(_) => Self::open_in(std::env::temp_dir().join("lambda-rds")).await,
            },
            None => Self::open_in(std::env::temp_dir().join("lambda-rds")).await,
        }
    }

    async fn open_in(folder: PathBuf) -> anyhow::Result<Self> {
        let database = folder.join("sample.db");
        let created = !is_current(&database).await;
        if created {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            create(&database).await.with_context(|| format!("{} cannot be made", database.display()))?;
        }
        Ok(Self { database, created, folder })
    }

    /// Writes the sample queries beside the database, and gives their folder.
    pub(crate) fn queries(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("queries");
        let write = || {
            std::fs::create_dir_all(&folder)?;
            replace(&folder.join("users.sql"), |file| std::fs::write(file, QUERIES))
        };
        write().with_context(|| format!("{} cannot be written", folder.display()))?;
        Ok(folder)
    }
}

/// Whether this is the sample database of this edition.
async fn is_current(file: &Path) -> bool {
    let Ok(mut connection) = options(file).connect().await else { return false };
    let edition = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await;
    edition.is_ok_and(|edition: i64| edition == EDITION)
}

async fn create(file: &Path) -> anyhow::Result<()> {
    // Under another name first, so that a run that is cut off or runs beside this one sees all of it or nothing.
    let draft = draft(file);
    // What a run left behind that was cut off.
    let _ = std::fs::remove_file(&draft);
    let mut connection: SqliteConnection = options(&draft).create_if_missing(true).connect().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    connection.close().await?;
    std::fs::rename(&draft, file)?;
    Ok(())
}

/// Writes a file in one step.
fn replace(file: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let draft = draft(file);
    write(&draft)?;
    std::fs::rename(draft, file)
}

fn draft(file: &Path) -> PathBuf {
    file.with_extension(format!("{}.new", std::process::id()))
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).disable_statement_logging()
}

/// Our folder under the user's cache folder.
/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn cache() -> Option<PathBuf> {
    // Not configuration of the function's, but of the user's desktop.
    let configured =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = configured.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    cache.filter(|cache| cache.is_absolute()).map(|cache| cache.join("lambda-rds"))
}

const SCHEMA: &str = include_str!("sample.sql");
/// The `user_version` that [`SCHEMA`] sets.
const EDITION: i64 = 1;
/// The queries that the repository's own `queries/` has.
pub(crate) const QUERIES: &str = include_str!("../../../queries/users.sql");

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_sample_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("not/there/yet");
        let sample = Sample::open_in(home.clone()).await.unwrap();
        assert!(sample.created);
        let again = Sample::open_in(home.clone()).await.unwrap();
        assert!(!again.created, "EDITION is the user_version of sample.sql");

        let mut connection = options(&sample.database).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 0").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        assert!(Sample::open_in(home).await.unwrap().created, "of another edition");
    }

    #[tokio::test]
    async fn the_built_in_queries_are_written_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let sample = Sample::open_in(folder.path().to_owned()).await.unwrap();
        for _ in 0..2 {
            let queries = sample.queries().unwrap();
            assert_eq!(std::fs::read_to_string(queries.join("users.sql")).unwrap(), QUERIES);
        }
        let files = std::fs::read_dir(sample.queries().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside it");
    }
}
