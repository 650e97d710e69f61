//! The zip that Lambda takes: the executable, the queries and the configuration, and nothing of the moment or
//! the machine that packed it.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::bootstrap;

/// What to pack.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The engine that the function speaks to
    #[arg(long, value_enum)]
    engine: Engine,
    /// The processor of the Lambda function
    #[arg(long, value_enum)]
    arch: Arch,
    /// The folder with the function's query files
    #[arg(long, value_name = "DIR", default_value = "queries")]
    queries: PathBuf,
}

/// The engines that a zip can hold: features of the root package. SQLite is for the desk only.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Engine {
    Postgres,
    Mysql,
    AuroraPostgres,
    AuroraMysql,
    /// Both, of which `DB_ENGINE` picks one.
    Aurora,
}

impl Engine {
    /// The feature of the root package.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::AuroraPostgres => "aurora-postgres",
            Self::AuroraMysql => "aurora-mysql",
            Self::Aurora => "aurora",
        }
    }
}

/// The processors that Lambda has, in Lambda's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86,
    #[value(name = "arm64")]
    Arm,
}

impl Arch {
    /// This machine's.
    ///
    /// # Errors
    /// If Lambda has no such processor.
    pub(crate) fn this() -> Result<Self> {
        let known = [Self::X86, Self::Arm].into_iter().find(|arch| arch.machine() == std::env::consts::ARCH);
        known.with_context(|| format!("Lambda has no {}", std::env::consts::ARCH))
    }

    /// Lambda's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "arm64",
        }
    }

    /// Rust's and GNU's word for it.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

/// Builds and packs the function, and prints what came out.
pub(crate) fn zip(options: &Options) -> Result<()> {
    let workspace = crate::workspace()?;
    // Read before the build, which takes minutes: a wrong folder should be told at once.
    let mut entries = query_entries(&workspace.join(&options.queries))?;
    for name in BESIDE {
        let file = workspace.join(name);
        if file.is_file() {
            entries.push(Entry::read(name, &file)?);
        }
    }
    let executable = bootstrap::build(&workspace, options.engine, options.arch)?;
    let (size, glibc) = (executable.bytes.len(), executable.glibc);
    entries.push(Entry { name: "bootstrap".into(), mode: 0o755, bytes: executable.bytes });

    let archive = pack(&mut entries)?;
    let name = format!("lambda-rds-{}-{}.zip", options.engine.feature(), options.arch.name());
    let folder = workspace.join("target/lambda");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(&name);
    fs::write(&path, &archive).with_context(|| format!("cannot write {}", path.display()))?;

    println!("bootstrap  {size:>9} bytes, {}, needs glibc {glibc}", options.arch.name());
    for entry in entries.iter().filter(|entry| entry.name != "bootstrap") {
        println!("{}", entry.name);
    }
    println!("target/lambda/{name}  {} bytes", archive.len());
    Ok(())
}

/// What is packed if it is there: the configuration, and the OpenAPI document (`LAMBDA_RDS_OPENAPI`).
const BESIDE: [&str; 2] = ["lambda-rds.toml", "openapi.json"];

/// One file of the archive.
#[derive(Debug)]
struct Entry {
    name: String,
    /// Unix permissions.
    mode: u32,
    bytes: Vec<u8>,
}

impl Entry {
    /// A file that is only read.
    fn read(name: impl Into<String>, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: name.into(), mode: 0o644, bytes })
    }
}

/// The `.sql` files of a folder that the function would read: no hidden ones, and none of folders below.
fn query_entries(folder: &Path) -> Result<Vec<Entry>> {
    let listing = fs::read_dir(folder).with_context(|| {
        format!("cannot read the folder of queries, {}: give another with --queries", folder.display())
    })?;
    let mut entries = Vec::new();
    for file in listing {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "sql") && path.is_file() {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("the name of {} is not UTF-8", path.display()))?;
            if name.starts_with('.') {
                continue;
            }
            entries.push(Entry::read(format!("queries/{name}"), &path)?);
        }
    }
    if entries.is_empty() {
        bail!("there is no .sql file in {}: give the folder with --queries", folder.display());
    }
    Ok(entries)
}

/// Packs the same files into the same bytes, whenever, wherever and in whatever order they come.
fn pack(entries: &mut [Entry]) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .last_modified_time(DateTime::default())
            .unix_permissions(entry.mode);
        archive.start_file(entry.name.as_str(), options)?;
        archive.write_all(&entry.bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use zip::ZipArchive;

    use super::*;

    fn entry(name: &str, mode: u32, text: &str) -> Entry {
        Entry { name: name.into(), mode, bytes: text.into() }
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let mut one = [
            entry("queries/users.sql", 0o644, "SELECT 1;"),
            entry("bootstrap", 0o755, "ELF"),
            entry("lambda-rds.toml", 0o644, "[db]"),
        ];
        let first = pack(&mut one).unwrap();
        one.reverse();
        assert_eq!(pack(&mut one).unwrap(), first);

        let mut archive = ZipArchive::new(Cursor::new(first)).unwrap();
        let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["bootstrap", "lambda-rds.toml", "queries/users.sql"]);
        let mut bootstrap = archive.by_name("bootstrap").unwrap();
        assert_eq!(bootstrap.unix_mode().map(|mode| mode & 0o7777), Some(0o755));
        assert_eq!(bootstrap.last_modified().map(|time| time.year()), Some(1980));
        let mut text = String::new();
        bootstrap.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ELF");
    }

    /// CI and people name them on the command line, and the root package has a feature of each name.
    #[test]
    fn every_engine_of_a_server_has_a_zip() {
        let manifest = include_str!("../../Cargo.toml");
        let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
        for name in ["postgres", "mysql", "aurora-postgres", "aurora-mysql", "aurora"] {
            let engine = Engine::from_str(name, false).unwrap();
            assert_eq!(engine.feature(), name);
            assert!(features.lines().any(|line| line.starts_with(&format!("{name} = "))), "{features}");
        }
        // Nobody runs an embedded database in Lambda.
        for name in ["sqlite", "oracle"] {
            assert!(Engine::from_str(name, false).is_err(), "{name}");
        }
    }

    #[test]
    fn only_query_files_are_packed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users.sql"), "-- users").unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        fs::write(folder.path().join("._users.sql"), "an editor's").unwrap();
        fs::create_dir(folder.path().join("old.sql")).unwrap();
        let entries = query_entries(folder.path()).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["queries/users.sql"]);
    }

    #[test]
    fn a_folder_without_queries_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, beginning: &str| {
            let error = query_entries(path).unwrap_err().to_string();
            assert!(error.starts_with(beginning), "{error}");
        };
        check(folder.path(), "there is no .sql file in ");
        check(&folder.path().join("elsewhere"), "cannot read the folder of queries, ");
    }
}
