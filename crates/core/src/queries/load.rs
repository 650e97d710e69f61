//! From the files to the queries, or to the list of everything that is wrong with them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::annotations::{self, Head};
use super::template::{Place, Template};
use super::{Dialect, Queries, Query};
use crate::config::Engine;

/// Every mistake in the query files, not only the first. Displays one a line, as `file:line: reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    mistakes: Vec<Mistake>,
}

/// Sorted by file and line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    file: String,
    line: usize,
    reason: String,
}

impl LoadError {
    fn one(file: String, line: usize, reason: String) -> Self {
        Self { mistakes: vec![Mistake { file, line, reason }] }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Mistake { file, line, reason }) in self.mistakes.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{file}:{line}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

impl Queries {
    /// Reads the `*.sql` files of a folder, itself only, and not the hidden ones.
    ///
    /// # Errors
    /// If the folder cannot be read or holds no such file, if a file is not UTF-8, and whatever
    /// [`Queries::parse`] finds.
    pub fn load(dir: &Path, engine: Engine, dialect: Dialect) -> Result<Self, LoadError> {
        let unreadable = |path: &Path, error: &std::io::Error| {
            LoadError::one(path.display().to_string(), 1, format!("cannot be read: {error}"))
        };
        let entries = std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(dir, &error))?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|extension| extension == "sql") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let reason = "holds no *.sql file; LAMBDA_RDS_QUERIES names the folder with the queries";
            return Err(LoadError::one(dir.display().to_string(), 1, reason.to_owned()));
        }
        paths.sort();

        let (mut files, mut mistakes) = (Vec::with_capacity(paths.len()), Vec::new());
        for path in paths {
            let file = path.display().to_string();
            match std::fs::read(&path).map(String::from_utf8) {
                Ok(Ok(text)) => files.push((file, text)),
                Ok(Err(error)) => {
                    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
                    mistakes.push(Mistake { file, line, reason: "the file is not UTF-8".to_owned() });
                }
                Err(error) => mistakes.extend(unreadable(&path, &error).mistakes),
            }
        }
        match Self::parse(&files, engine, dialect) {
            Ok(queries) if mistakes.is_empty() => Ok(queries),
            Ok(_) => Err(LoadError { mistakes }),
            Err(mut error) => {
                error.mistakes.append(&mut mistakes);
                error.mistakes.sort();
                Err(error)
            }
        }
    }

    /// Reads the queries out of files, given as name and text. Entries for other engines are passed over.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn parse(
        files: &[(String, String)],
        engine: Engine,
        dialect: Dialect,
    ) -> Result<Self, LoadError> {
        let (mut queries, mut mistakes) = (Vec::new(), Vec::new());
        for (file, text) in files {
            let mut reader = FileReader { file, dialect, mistakes: &mut mistakes };
            for entry in reader.entries(text) {
                if reader.is_for(&entry, engine) {
                    queries.extend(reader.query(&entry));
                }
            }
        }
        // A stable sort: of two with one name, the second is the mistake.
        queries.sort_by(|a: &Query, b: &Query| a.name.cmp(&b.name));
        for pair in queries.windows(2) {
            if pair[0].name == pair[1].name {
                let (name, first, second) = (&pair[0].name, &pair[0].place, &pair[1].place);
                let (file, line) = second.rsplit_once(':').unwrap_or((second, ""));
                mistakes.push(Mistake {
                    file: file.to_owned(),
                    line: line.parse().unwrap_or(1),
                    reason: format!("`{name}` is already the name of the query at {first}"),
                });
            }
        }
        if mistakes.is_empty() {
            return Ok(Self { queries });
        }
        mistakes.sort();
        Err(LoadError { mistakes })
    }
}

/// One entry, cut out of its file.
struct Entry<'a> {
    /// The line of `-- name:`, counted from 1.
    line: usize,
    /// What stands behind `-- name:`.
    name: &'a str,
    /// The comment lines and blank lines below it.
    head: Vec<&'a str>,
    /// The rest.
    sql: &'a str,
}

impl<'a> Entry<'a> {
    /// The head's lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let line = self.line;
        self.head.iter().enumerate().map(move |(at, &text)| (line + 1 + at, text))
    }
}

struct FileReader<'a> {
    file: &'a str,
    dialect: Dialect,
    mistakes: &'a mut Vec<Mistake>,
}

impl FileReader<'_> {
    fn mistake(&mut self, line: usize, reason: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, reason: reason.into() });
    }

    /// Cuts a file into its entries. A line that begins with `-- name:` always begins one, wherever it stands:
    /// what is a string and what a comment depends on the dialect, and the entry may be for another engine.
    fn entries<'a>(&mut self, text: &'a str) -> Vec<Entry<'a>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut entries: Vec<Entry<'a>> = Vec::new();
        let mut sql_from = None;
        let mut at = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let (number, start) = (index + 1, at);
            at += line.len();
            if let Some(name) = annotations::name_line(line) {
                if let (Some(entry), Some(from)) = (entries.last_mut(), sql_from.take()) {
                    entry.sql = &text[from..start];
                }
                entries.push(Entry { line: number, name, head: Vec::new(), sql: "" });
                continue;
            }
            let is_head = line.trim().is_empty() || line.trim_start().starts_with("--");
            match entries.last_mut() {
                Some(entry) if sql_from.is_none() && is_head => entry.head.push(line),
                Some(_) if sql_from.is_none() => sql_from = Some(start),
                Some(_) => {}
                None if is_head => {
                    if let Some(reason) = annotations::misspelled(line) {
                        self.mistake(number, reason);
                    }
                }
                None => {
                    self.mistake(number, "before the SQL belongs a line such as `-- name: active_users :many`");
                    return entries;
                }
            }
        }
        match (entries.last_mut(), sql_from) {
            (Some(entry), Some(from)) => entry.sql = &text[from..],
            (None, _) => self.mistake(1, "has no query: no line begins with `-- name:`"),
            _ => {}
        }
        entries
    }

    /// Whether the entry is for this engine. One that names no engine is for all.
    fn is_for(&mut self, entry: &Entry<'_>, engine: Engine) -> bool {
        // Each word of a `-- engine:` line, and whether it means the engine we are for.
        let means = |word: &str| {
            Some(match word {
                "postgres" | "postgresql" => matches!(engine, Engine::Postgres | Engine::AuroraPostgres),
                "aurora-postgres" | "aurora-postgresql" => matches!(engine, Engine::AuroraPostgres),
                "mysql" | "mariadb" => matches!(engine, Engine::Mysql | Engine::AuroraMysql),
                "aurora-mysql" => matches!(engine, Engine::AuroraMysql),
                "sqlite" => matches!(engine, Engine::Sqlite),
                _ => return None,
            })
        };
        let mut wanted = None;
        for (line, words) in annotations::engines(entry.lines()) {
            for word in words {
                match means(word) {
                    Some(this) => wanted = Some(wanted.unwrap_or(false) || this),
                    None => self.mistake(
                        line,
                        "`-- engine:` takes postgres, mysql, aurora-postgres, aurora-mysql, sqlite, with commas",
                    ),
                }
            }
        }
        wanted.unwrap_or(true)
    }

    fn query(&mut self, entry: &Entry<'_>) -> Option<Query> {
        let mut mistakes = Vec::new();
        let head = Head::parse((entry.line, entry.name), entry.lines(), &mut mistakes);
        let head_is_right = mistakes.is_empty();
        for (line, reason) in mistakes {
            self.mistake(line, reason);
        }
        let head = head?;
        let (params, lines): (Vec<_>, Vec<_>) = head.params.into_iter().unzip();
        match Template::parse(self.dialect, entry.sql, &params) {
            Ok(template) if head_is_right => Some(Query {
                name: Arc::from(head.name),
                verb: head.verb,
                access: head.access,
                http: head.http,
                params,
                timeout: head.timeout,
                max_rows: head.max_rows,
                transaction: head.transaction,
                cache: head.cache,
                description: head.description,
                place: format!("{}:{}", self.file, entry.line),
                dialect: self.dialect,
                template,
            }),
            Ok(_) => None,
            Err(flaws) => {
                let sql_line = entry.line + 1 + entry.head.len();
                for flaw in flaws {
                    let line = match flaw.at {
                        // There is no line of SQL to point at.
                        Place::Sql(_) if entry.sql.is_empty() => entry.line,
                        Place::Sql(at) => sql_line + entry.sql[..at].matches('\n').count(),
                        Place::Param(index) => lines[index],
                    };
                    self.mistake(line, flaw.reason);
                }
                None
            }
        }
    }
}
