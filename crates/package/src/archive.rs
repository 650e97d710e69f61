//! The zip that Lambda takes: the executable, the queries and the configuration, and nothing of the moment or
//! the machine that packed it.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::{Arch, Engine};

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, with slashes.
    pub name: String,
    /// Unix permissions.
    pub mode: u32,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// A file that is only read.
    #[must_use]
    pub fn file(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), mode: 0o644, bytes: bytes.into() }
    }

    /// A file that is run.
    #[must_use]
    pub fn program(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), mode: 0o755, bytes: bytes.into() }
    }

    /// A file from the disk, that is only read.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(name: impl Into<String>, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::file(name, bytes))
    }
}

/// The name of a function's zip.
#[must_use]
pub fn file_name(engine: Engine, arch: Arch) -> String {
    format!("lambda-rds-{}-{}.zip", engine.name(), arch.name())
}

/// The files of a function beside its executable: the queries of one folder, and from the other what is packed if it is
/// there.
///
/// # Errors
/// If one cannot be read, or if there is no query.
pub fn function(queries: &Path, folder: &Path) -> Result<Vec<Entry>> {
    let mut entries = query_entries(queries)?;
    for name in BESIDE {
        let file = folder.join(name);
        if file.is_file() {
            entries.push(Entry::read(name, &file)?);
        }
    }
    // A folder is listed in any order.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// What is packed if it is there: the configuration, and the OpenAPI document (`LAMBDA_RDS_OPENAPI`).
const BESIDE: [&str; 2] = ["lambda-rds.toml", "openapi.json"];

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
///
/// # Errors
/// If two files have one name, or a file is too large for the format.
pub fn zip(entries: &mut [Entry]) -> Result<Vec<u8>> {
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

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let mut one = [
            Entry::file("queries/users.sql", "SELECT 1;"),
            Entry::program("bootstrap", "ELF"),
            Entry::file("lambda-rds.toml", "[db]"),
        ];
        let first = zip(&mut one).unwrap();
        one.reverse();
        assert_eq!(zip(&mut one).unwrap(), first);

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
