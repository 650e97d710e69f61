//! From the files to the queries, or to the list of everything that is wrong with them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::annotations::{self, Head};
use super::identity::{Identity, Source, unfit};
use super::page::{self, Pages};
use super::routine;
use super::template::{self, Place, Template};
use super::{Dialect, Idempotency, KeyFrom, Lines, Queries, Query};
use crate::config::Engine;
use crate::value::Kind;

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
    /// Queries that were parsed for other callers than the function's configuration names.
    pub(crate) fn for_others(file: &str) -> Self {
        let reason = "the queries were read without LAMBDA_RDS_SET and LAMBDA_RDS_ROLE: read them by \
                      `Queries::load_for`, with `Function::identity`";
        Self::one(file.to_owned(), 1, reason.to_owned())
    }

    fn one(file: String, line: usize, reason: String) -> Self {
        Self { mistakes: vec![Mistake { file, line, reason }] }
    }

    /// Each mistake: its file, its line, counted from 1, and a sentence.
    pub fn mistakes(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        self.mistakes.iter().map(|Mistake { file, line, reason }| (&**file, *line, &**reason))
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
        Self::load_for(dir, engine, dialect, &Identity::default())
    }

    /// The same where each query is told this of its caller, whatever its own lines say.
    ///
    /// # Errors
    /// As [`Queries::load`], and if a query does otherwise or cannot be told.
    pub fn load_for(
        dir: &Path,
        engine: Engine,
        dialect: Dialect,
        identity: &Identity,
    ) -> Result<Self, LoadError> {
        let unreadable = |path: &Path, error: &std::io::Error| {
            let hint =
                if path == dir { "; LAMBDA_RDS_QUERIES names the folder with the queries" } else { "" };
            LoadError::one(path.display().to_string(), 1, format!("cannot be read: {error}{hint}"))
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
        match Self::parse_for(&files, engine, dialect, identity) {
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
    pub fn parse(files: &[(String, String)], engine: Engine, dialect: Dialect) -> Result<Self, LoadError> {
        Self::parse_for(files, engine, dialect, &Identity::default())
    }

    /// The same where each query is told this of its caller, whatever its own lines say.
    ///
    /// # Errors
    /// As [`Queries::parse`], and if a query does otherwise or cannot be told.
    pub fn parse_for(
        files: &[(String, String)],
        engine: Engine,
        dialect: Dialect,
        identity: &Identity,
    ) -> Result<Self, LoadError> {
        let (mut queries, mut names, mut mistakes) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (file, text) in files {
            let mut reader =
                FileReader { file, dialect, identity, names: &mut names, mistakes: &mut mistakes };
            for entry in reader.entries(text) {
                if reader.is_for(&entry, engine) {
                    queries.extend(reader.query(&entry));
                }
            }
        }
        if mistakes.is_empty() {
            queries.sort_by(|a: &Query, b: &Query| a.name.cmp(&b.name));
            if dialect == Dialect::Mysql {
                keep_apart(&mut queries);
            }
            return Ok(Self { queries, identity: identity.clone() });
        }
        mistakes.sort();
        Err(LoadError { mistakes })
    }
}

/// Gives queries of one text and other types different texts. A session keeps prepared statements by their text,
/// and MySQL takes the values of one for what the first ones were: after an `int`, the text `"é"` in `SELECT ?` is 0.
fn keep_apart(queries: &mut [Query]) {
    let mut known: HashMap<String, Vec<Vec<Kind>>> = HashMap::new();
    for query in queries {
        let kinds = query.template.kinds(&query.params);
        let same_text = known.entry(query.template.sql().to_owned()).or_default();
        let at = same_text.iter().position(|other| *other == kinds).unwrap_or_else(|| {
            same_text.push(kinds);
            same_text.len() - 1
        });
        if at > 0 {
            query.template.mark(at);
            if let Some(pages) = &mut query.pages {
                pages.first.mark(at);
                pages.next.mark(at);
            }
        }
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
    /// What holds for every query.
    identity: &'a Identity,
    /// The names met so far, each with its place.
    names: &'a mut BTreeMap<String, String>,
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
                    self.mistake(
                        number,
                        "before the SQL belongs a line such as `-- name: active_users :many`",
                    );
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

    /// What a query is told of its caller: by what holds for all, and by its own lines. True if something is wrong with
    /// it.
    fn identity(&mut self, head: &mut Head, name_line: usize) -> (Identity, bool) {
        let before = self.mistakes.len();
        let (settings, role) = &head.identity_lines;
        let own = head.identity.clone();
        // The line that says a setting, or the role; the query's first, where it is said for all.
        let line_of = |name: Option<&str>| match name {
            None => role.unwrap_or(name_line),
            Some(name) => {
                let at = own.settings().iter().position(|it| it.name().eq_ignore_ascii_case(name));
                at.and_then(|at| settings.get(at).copied()).unwrap_or(name_line)
            }
        };
        let (identity, wider) = Identity::narrowed(self.identity, &own);
        for (name, reason) in wider {
            self.mistake(line_of(name.as_deref()), reason);
        }
        if identity.is_empty() {
            return (identity, false);
        }
        let first = settings.first().copied().or(*role).unwrap_or(name_line);
        if self.dialect != Dialect::Postgres {
            let reason = format!(
                "{} knows no role and no setting of a transaction that its rows could be chosen by, so `-- set:` and \
                 `-- role:` are for PostgreSQL: declare a parameter `from claims.NAME` and compare with it in the WHERE, or \
                 in a view",
                self.dialect.name()
            );
            self.mistake(first, reason);
        }
        if !head.transaction {
            self.mistake(
                first,
                "a setting and a role last as long as a transaction, and `-- transaction: none` has none",
            );
        }
        if let Some((_, line)) = head.cache {
            self.mistake(
                line,
                "the reply depends on who calls, so a cache would give it to others: drop `-- cache:`",
            );
        }
        let said = identity.settings().iter().map(|it| (Some(it.name()), it.source()));
        let role = identity.role().and_then(|role| role.source()).map(|source| (None, source));
        for (name, source) in said.chain(role) {
            let Source::Param(wanted) = source else { continue };
            let reason = match head.params.iter().find(|(param, _)| param.name == *wanted) {
                None => Some(format!("`param.{wanted}` is not declared; add `-- param: {wanted} type`")),
                Some((param, _)) => unfit(param, head.tool.is_some()),
            };
            if let Some(reason) = reason {
                self.mistake(line_of(name), reason);
            }
        }
        for (param, _) in &mut head.params {
            param.beside |= identity.uses(&param.name);
        }
        (identity, self.mistakes.len() > before)
    }

    fn query(&mut self, entry: &Entry<'_>) -> Option<Query> {
        let mut mistakes = Vec::new();
        let routine = routine::routine_of(self.dialect, entry.sql);
        let head = Head::parse((entry.line, entry.name), entry.lines(), routine, &mut mistakes);
        let wrong_lines: Vec<_> = mistakes.iter().map(|(line, _)| *line).collect();
        for (line, reason) in mistakes {
            self.mistake(line, reason);
        }
        let mut head = head?;
        let (identity, untold) = self.identity(&mut head, entry.line);
        if let Some((Idempotency { from: KeyFrom::Param(name), .. }, _)) = &head.idempotency {
            for (param, _) in &mut head.params {
                param.beside |= *param.name == **name;
            }
        }
        let sql_line = entry.line + 1 + entry.head.len();
        let place = format!("{}:{}", self.file, entry.line);
        if let Some(first) = self.names.get(&head.name) {
            let reason = format!("`{}` is already the name of the query at {first}", head.name);
            self.mistake(entry.line, reason);
        } else {
            self.names.insert(head.name.clone(), place.clone());
        }
        let (mut params, mut lines): (Vec<_>, Vec<_>) = head.params.into_iter().unzip();
        let unpageable = head.page.as_ref().and_then(|_| template::unpageable(self.dialect, entry.sql));
        if let Some((at, reason)) = &unpageable {
            let line = sql_line + entry.sql[..*at].matches('\n').count();
            self.mistake(line, reason.clone());
        }
        let (idempotency, key_line) = head.idempotency.unzip();
        let parsed = Template::parse(self.dialect, entry.sql, &params);
        if let (Some(line), Ok(template)) = (key_line, &parsed)
            && head.transaction
            && (template.commits_by_itself() || template.defines())
        {
            self.mistake(
                line,
                match template.commits_by_itself() {
                    true => {
                        "`-- idempotency_key:` needs a transaction, and the server commits this by itself"
                    }
                    false => "`-- idempotency_key:` is for rows that are written, and this defines objects",
                },
            );
            return None;
        }
        match parsed {
            Ok(template) if wrong_lines.is_empty() && !untold && unpageable.is_none() => Some(Query {
                pages: head.page.map(|(order, line, size)| {
                    params.extend([page::token(), size]);
                    lines.extend([line, line]);
                    Pages::new(&head.name, self.dialect, &template, order, params.len())
                }),
                name: Arc::from(head.name),
                verb: head.verb,
                access: head.access,
                http: head.http,
                tool: head.tool,
                params,
                timeout: head.timeout,
                max_rows: head.max_rows,
                transaction: head.transaction && !template.commits_by_itself(),
                cache: head.cache.map(|(span, _)| span),
                idempotency,
                identity,
                description: head.description,
                place,
                lines: Lines { name: entry.line, sql: sql_line, params: lines },
                dialect: self.dialect,
                template,
            }),
            Ok(_) => None,
            Err(flaws) => {
                for flaw in flaws {
                    let line = match flaw.at {
                        // There is no line of SQL to point at.
                        Place::Sql(_) if entry.sql.is_empty() => entry.line,
                        Place::Sql(at) => sql_line + entry.sql[..at].matches('\n').count(),
                        // One mistake in a declaration is enough.
                        Place::Param(index) if wrong_lines.contains(&lines[index]) => continue,
                        Place::Param(index) => lines[index],
                    };
                    self.mistake(line, flaw.reason);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::backend::Access;
    use crate::queries::{HttpMethods, Verb};

    const ENGINES: [(Engine, Dialect); 3] = [
        (Engine::Postgres, Dialect::Postgres),
        (Engine::AuroraMysql, Dialect::Mysql),
        (Engine::Sqlite, Dialect::Sqlite),
    ];

    fn parse(engine: (Engine, Dialect), files: &[(&str, &str)]) -> Result<Queries, String> {
        let files: Vec<_> = files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect();
        Queries::parse(&files, engine.0, engine.1).map_err(|error| error.to_string())
    }

    const USERS: &str = "\
-- name: active_users :many
-- http: GET
-- Users who are active, lowest id first.
-- param: active bool = true
-- param: limit int = 50 in 1..=500
SELECT id, name, email FROM users WHERE active = :active ORDER BY id LIMIT :limit;

-- name: touch :exec
-- timeout: 2s
-- transaction: none
UPDATE users SET seen = now()
";

    #[test]
    fn the_example() {
        let windows = USERS.replace('\n', "\r\n");
        let bom = format!("\u{feff}{USERS}");
        for text in [USERS, &windows, &bom] {
            let queries = parse(ENGINES[0], &[("q.sql", text)]).unwrap();
            assert_eq!(queries.iter().map(Query::name).collect::<Vec<_>>(), ["active_users", "touch"]);
            let query = queries.get("active_users").unwrap();
            assert_eq!(
                query.sql(),
                "SELECT id, name, email FROM users WHERE active = $1 ORDER BY id LIMIT $2"
            );
            assert_eq!((query.verb(), query.access()), (Verb::Many, Access::Read));
            assert_eq!(query.http().copied().map(HttpMethods::allow).as_deref(), Some("GET, HEAD"));
            assert_eq!(query.description(), "Users who are active, lowest id first.");
            assert_eq!(query.place(), "q.sql:1");
            assert_eq!(query.params().len(), 2);
            let touch = queries.get("touch").unwrap();
            assert_eq!(touch.sql(), "UPDATE users SET seen = now()");
            assert_eq!((touch.timeout(), touch.transaction()), (Some(Duration::from_secs(2)), false));
            assert_eq!((touch.access(), touch.http(), touch.place()), (Access::Write, None, "q.sql:8"));
            assert!(queries.get("Touch").is_none());
        }
    }

    #[test]
    fn every_mistake_at_once() {
        let error = parse(
            ENGINES[0],
            &[
                (
                    "b.sql",
                    "-- name: one :many\n-- tiemout: 2s\n-- param: a int\n-- param: b strnig\nSELECT\n  :b, :c, 'x\n",
                ),
                ("a.sql", "-- a comment\n-- name: two :one\n-- param: a int\n\nSELECT :b,\n:b, $1;\n\nSELECT 2"),
                ("c.sql", "-- name: two :exec\nSET x = 1\n-- name: three\nSELECT 1"),
                ("d.sql", "SELECT 1;"),
                ("e.sql", "-- only a comment\n"),
                ("f.sql", "-- name: empty :one\n-- name: comment :one\n\n-- x\n"),
                ("g.sql", "-- nmae: x :one\nSELECT 1"),
            ],
        )
        .expect_err("mistakes");
        assert_eq!(
            error.lines().collect::<Vec<_>>(),
            [
                "a.sql:3: `a` is declared, but the SQL does not use `:a`",
                "a.sql:5: `:b` is not declared; add `-- param: b type` below the `-- name:` line",
                "a.sql:6: `$1` is PostgreSQL's own placeholder; write `:name` and declare `-- param: name type`",
                "a.sql:8: a second statement; an entry has one, and another one needs its own `-- name:` line",
                "b.sql:2: `-- tiemout:` is unknown; did you mean `-- timeout:`?",
                "b.sql:4: `b`: `strnig` is no type; there are bool int float decimal text uuid date time timestamp \
                 timestamptz json bytes, each also with []",
                "b.sql:6: the quote is never closed",
                "c.sql:1: `two` is already the name of the query at a.sql:2",
                "c.sql:2: SET is refused, because session state does not survive a call: each call may meet another session",
                "c.sql:3: behind the name `three` belongs `:many`, `:one` or `:exec`",
                "d.sql:1: before the SQL belongs a line such as `-- name: active_users :many`",
                "e.sql:1: has no query: no line begins with `-- name:`",
                "f.sql:1: there is no SQL below the `-- name:` line",
                "f.sql:2: there is no SQL below the `-- name:` line",
                "g.sql:1: `-- nmae:` is unknown; did you mean `-- name:`?",
                "g.sql:2: before the SQL belongs a line such as `-- name: active_users :many`",
            ]
        );
    }

    #[test]
    fn one_entry_per_engine() {
        let text = "-- name: q :one\n-- engine: postgres\nSELECT 'p'\n\
                    -- name: q :one\n-- engine: mysql, mariadb\n-- param: broken\nSELECT `m` ?\n\
                    -- name: q :one\n-- engine: sqlite\nSELECT 's'\n-- name: all :one\nSELECT 1";
        for (engine, sql) in [(ENGINES[0], "SELECT 'p'"), (ENGINES[2], "SELECT 's'")] {
            let queries = parse(engine, &[("q.sql", text)]).unwrap();
            assert_eq!(queries.get("q").unwrap().sql(), sql);
            assert!(queries.get("all").is_some());
        }
        let error = parse(ENGINES[1], &[("q.sql", text)]).expect_err("the entry for MySQL is broken");
        assert!(error.starts_with("q.sql:6: ") && error.lines().count() == 2, "{error}");

        let aurora = "-- name: q :one\n-- engine: aurora-postgresql\nSELECT 1";
        assert!(parse(ENGINES[0], &[("q.sql", aurora)]).unwrap().get("q").is_none());
        let aurora_engine = (Engine::AuroraPostgres, Dialect::Postgres);
        assert!(parse(aurora_engine, &[("q.sql", aurora)]).unwrap().get("q").is_some());

        let unknown = "-- name: q :one\n-- engine: oracle\nSELECT 1";
        assert!(
            parse(ENGINES[0], &[("q.sql", unknown)]).unwrap_err().starts_with("q.sql:2: `-- engine:` takes")
        );
        let twice = "-- name: q :one\nSELECT 1\n-- name: q :one\n-- engine: postgres\nSELECT 1";
        assert!(parse(ENGINES[0], &[("q.sql", twice)]).unwrap_err().contains("at q.sql:1"));
    }

    #[test]
    fn what_runs_a_routine_is_never_a_read() {
        for (engine, sql) in [
            (ENGINES[0], "CALL p()"),
            (ENGINES[0], "DO $$ BEGIN END $$"),
            (ENGINES[1], "/* it */ call p()"),
            (ENGINES[1], "/*!50000 CALL p() */"),
            (ENGINES[1], "DO p()"),
        ] {
            for verb in [":one", ":many", ":exec"] {
                let text = |annotation: &str| format!("-- name: q {verb}\n{annotation}\n{sql}");
                let queries = parse(engine, &[("q.sql", &text("-- http: POST"))]).unwrap();
                let query = queries.get("q").unwrap();
                assert_eq!(query.access(), Access::Write, "{sql} {verb}");
                // One of MySQL's procedures may commit whatever transaction it stands in.
                let alone = engine == ENGINES[1] && sql.to_uppercase().contains("CALL");
                assert_eq!(query.transaction(), !alone, "{sql} {verb}");
                let wrong = parse(engine, &[("q.sql", &text("-- read"))]).unwrap_err();
                assert!(wrong.starts_with("q.sql:2: `-- read` cannot be said of "), "{wrong}");
                let wrong = parse(engine, &[("q.sql", &text("-- http: GET"))]).unwrap_err();
                assert!(wrong.starts_with("q.sql:2: GET is for reads, and "), "{wrong}");
            }
        }
        // Only the first word counts, and SQLite has no routines.
        let text = "-- name: q :many\n-- http: GET\nSELECT 'CALL p()'";
        parse(ENGINES[1], &[("q.sql", text)]).unwrap();
    }

    #[test]
    fn mysqls_ddl_has_no_transaction_asked_or_not() {
        let check = |sql: &str, engine, want: bool| {
            let queries = parse(engine, &[("q.sql", &format!("-- name: q :exec\n{sql}"))]).unwrap();
            assert_eq!(queries.get("q").unwrap().transaction(), want, "{sql}");
        };
        for sql in ["CREATE TABLE t (n INT)", "/* it */ alter table t add m int", "TRUNCATE t"] {
            check(sql, ENGINES[1], false);
            check(sql, ENGINES[0], true);
        }
        check("INSERT INTO created VALUES (1)", ENGINES[1], true);
    }

    #[test]
    fn on_mysql_one_text_is_not_prepared_for_other_types() {
        let texts = |engine| {
            let entry =
                |name: &str, params: &str, sql: &str| format!("-- name: {name} :many\n{params}\n{sql};\n");
            let file = [
                entry("a", "-- param: v int", "SELECT :v"),
                entry("b", "-- param: w text", "SELECT :w"),
                entry("c", "-- param: v int?", "SELECT :v"),
                entry("d", "-- param: v json", "SELECT :v"),
                // The order of the placeholders counts, not that of the declarations.
                entry("e", "-- param: m int\n-- param: n text", "SELECT :m, :n"),
                entry("f", "-- param: m text\n-- param: n int", "SELECT :n, :m"),
                entry("g", "-- param: v int[]", "SELECT 1 WHERE 1 IN (:v)"),
                entry("h", "-- param: v text[]", "SELECT 1 WHERE 1 IN (:v)"),
            ];
            let queries = parse(engine, &[("q.sql", &file.concat())]);
            queries.map(|queries| queries.iter().map(|query| query.sql().to_owned()).collect::<Vec<_>>())
        };
        let sent = ["SELECT ?", "SELECT ?\n-- 1", "SELECT ?", "SELECT ?\n-- 2", "SELECT ?, ?", "SELECT ?, ?"];
        let lists = ["SELECT 1 WHERE 1 IN (?)", "SELECT 1 WHERE 1 IN (?)\n-- 1"];
        assert_eq!(texts(ENGINES[1]).unwrap(), [&sent[..], &lists[..]].concat());
    }

    #[test]
    fn folders() {
        let dir = tempfile::tempdir().unwrap();
        let load =
            || Queries::load(dir.path(), ENGINES[0].0, ENGINES[0].1).map_err(|error| error.to_string());
        assert!(load().unwrap_err().contains("holds no *.sql file"));
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("a.sql", b"-- name: a :one\nSELECT 1");
        write("._a.sql", b"\xff");
        write("README.md", b"\xff");
        assert_eq!(load().unwrap().iter().count(), 1);
        write("b.sql", b"-- name: b :one\nSELECT '\xff'");
        write("c.sql", b"SELECT 1");
        let error = load().unwrap_err();
        assert!(
            error.contains("b.sql:2: the file is not UTF-8\n") && error.contains("c.sql:1: before"),
            "{error}"
        );
        let missing = Queries::load(&dir.path().join("missing"), ENGINES[0].0, ENGINES[0].1).unwrap_err();
        assert!(missing.to_string().contains("missing:1: cannot be read: "), "{missing}");
    }

    /// INIT is paid for: a hundred queries are read in well under a hundredth of a second even unoptimised.
    #[tokio::test]
    async fn reading_is_cheap() {
        let files: Vec<_> = (0..50)
            .map(|at| {
                (
                    format!("{at}.sql"),
                    USERS.replace(" touch", &format!(" t{at}")).replace("active_users", &format!("a{at}")),
                )
            })
            .collect();
        let limit = Duration::from_millis(500);
        let took = lambda_rds_testbed::unless_stalled(limit, async || {
            let start = Instant::now();
            let queries = Queries::parse(&files, ENGINES[0].0, ENGINES[0].1).unwrap();
            let took = start.elapsed();
            assert_eq!(queries.iter().count(), 100);
            if took < limit { Ok(took) } else { Err(format!("{took:?}")) }
        });
        println!("100 queries in {:?}", took.await);
    }

    proptest! {
        /// Whatever is in a file, reading it does not panic, and every mistake has a line of that file.
        #[test]
        fn nothing_panics(
            lines in proptest::collection::vec(prop_oneof![
                Just("-- name: a :one".to_owned()),
                Just("-- name: b :exec".to_owned()),
                Just("-- param: a int[] = [1] in 1..=5".to_owned()),
                Just("SELECT :a, x IN (:a) -- :b".to_owned()),
                Just("/*! ; $$ '".to_owned()),
                "-- [a-z]{1,8}: \\PC{0,20}",
                "\\PC{0,30}",
                any::<String>(),
            ], 0..12),
        ) {
            let text = lines.join("\n");
            for engine in ENGINES {
                if let Err(error) = Queries::parse(&[("f".to_owned(), text.clone())], engine.0, engine.1) {
                    prop_assert!(!error.mistakes.is_empty());
                    for mistake in error.mistakes {
                        prop_assert!((1..=text.matches('\n').count() + 1).contains(&mistake.line), "{:?}", mistake);
                    }
                }
            }
        }
    }
}
