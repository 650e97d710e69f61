//! What is wrong with a query, given what the server says of it: what `lambda-rds check` tells before a call does.
//! The judging is pure; [`report`] asks the server.

mod order;
pub(crate) mod policies;

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::answers;
use crate::app::App;
use crate::backend::{Access, Endpoint, Session, Statement};
use crate::connect::sessions::{Cost, Lease};
use crate::deadline::Deadline;
use crate::describe::{Column, Described, Description, Form, JsonType, Writes};
use crate::error::{Error, Fault, Phase, Result};
use crate::queries::{Dialect, Query, Verb};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It may be meant so.
    Warning,
    /// A call fails.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that is wrong, and where. Displays as compilers have it: `file:line: error: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, as its folder was named; the database's address for what is wrong there.
    pub file: String,
    /// The line, counted from 1; `None` for what is in no file.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to write instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}", self.severity.name(), self.message)
    }
}

/// One query and what the server says of it.
#[derive(Debug)]
pub struct Checked<'q> {
    /// The query.
    pub query: &'q Query,
    /// What the server says.
    pub described: Described,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Checked<'_> {
    /// The columns of its rows, as far as they are known; whether one may be NULL is judged by the whole statement.
    #[must_use]
    pub fn columns(&self) -> Option<Vec<Column>> {
        match &self.described {
            Described::Statement(description) if description.has_rows() => {
                Some(columns(self.query, description))
            }
            _ => None,
        }
    }
}

/// The columns of a query's rows, where `nullable` is `Some(false)` only if no row can have a NULL there.
#[must_use]
pub fn columns(query: &Query, description: &Description) -> Vec<Column> {
    let pads = query.pads_with_nulls();
    let judged = |column: &Column| Column {
        nullable: column.nullable.filter(|nullable| *nullable || !pads),
        ..column.clone()
    };
    description.columns.iter().map(judged).collect()
}

/// What is wrong with a query of which the server says this.
#[must_use]
pub fn findings(query: &Query, described: &Described) -> Vec<Finding> {
    let name = query.name();
    let at = |line: usize, severity: Severity, message: String| Finding {
        file: query.file().to_owned(),
        line: Some(line),
        severity,
        message: format!("{name}: {message}"),
    };
    let description = match described {
        Described::Refused(refused) => {
            let code = refused.code.as_deref().map(|code| format!(" [{code}]")).unwrap_or_default();
            let line = query.line_of_sql(refused.line.unwrap_or(1));
            return vec![at(line, Severity::Error, format!("{}{code}", refused.reason))];
        }
        Described::Statement(description) => description,
    };
    let mut findings = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for parameter in &description.parameters {
        if let Some(trouble) = &parameter.trouble
            && !told.contains(&&**trouble)
        {
            told.push(trouble);
            let line = query.line_of_param(&parameter.name).unwrap_or_else(|| query.line());
            findings.push(at(line, Severity::Error, trouble.clone()));
        }
    }
    let first_line = query.line_of_sql(1);
    if query.access() == Access::Read {
        match (query.writes(), &description.writes) {
            (Some(word), _) => findings.push(at(
                first_line,
                Severity::Error,
                format!("a read, and {word} writes: the server will refuse it. Say `-- write`"),
            )),
            (None, Writes::Yes(how)) => findings.push(at(
                first_line,
                Severity::Error,
                format!("a read, and it {how}: the server will refuse it. Say `-- write`"),
            )),
            (None, Writes::Perhaps(why)) => findings.push(at(
                first_line,
                Severity::Warning,
                format!("a read, and it {why}; if it writes, say `-- write`, or the server will refuse it"),
            )),
            (None, Writes::Unknown) => {}
        }
    }
    if let Some(pages) = query.pages() {
        let line = query.line_of_param("page").unwrap_or(first_line);
        for column in pages.order().iter() {
            if let Some((severity, message)) = unpageable(query, description, &column.name) {
                findings.push(at(line, severity, message));
            }
        }
    }
    if query.verb() != Verb::Exec {
        rows(query, description, &mut |severity, message| {
            findings.push(at(first_line, severity, message));
        });
    }
    findings
}

/// Why no page can begin behind the values of this column.
fn unpageable(query: &Query, description: &Description, name: &str) -> Option<(Severity, String)> {
    let columns = columns(query, description);
    if columns.is_empty() {
        return None;
    }
    let wrong = |message: String| Some((Severity::Error, message));
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        return wrong(format!("`-- page:` names the column `{name}`, which the result does not have"));
    };
    let coalesce = format!("select `coalesce({name}, …) AS {name}_or_more` and page by that");
    if column.nullable == Some(true) {
        return wrong(format!(
            "the column `{name}` of `-- page:` may be NULL, and rows with a NULL there would be left out: page by columns \
             that are NOT NULL, or {coalesce}"
        ));
    }
    if let Some(origin) = &column.origin
        && query.joins_outer(&origin.table)
    {
        // Whether one is ever NULL, the condition of the query may say.
        return Some((
            Severity::Warning,
            format!(
                "the column `{name}` of `-- page:` comes by an outer join, and where that finds no row of `{}` it is \
                 NULL: such rows would be left out. Page by columns of the other table, or {coalesce}",
                origin.table
            ),
        ));
    }
    let kind = column.type_name.to_ascii_lowercase();
    // They are ordered by their number and compared by their name.
    if query.dialect() == Dialect::Mysql && (kind.starts_with("enum") || kind.starts_with("set")) {
        return wrong(format!(
            "the column `{name}` of `-- page:` is of the type `{}`, which MySQL orders otherwise than it compares: select \
             `CAST({name} AS CHAR) AS …` and page by that",
            column.type_name
        ));
    }
    match column.form {
        Form::Array(_) | Form::Value(JsonType::Json) => wrong(format!(
            "the column `{name}` of `-- page:` is of the type `{}`, behind which no page can begin",
            column.type_name
        )),
        _ => None,
    }
}

/// What is wrong with the rows that are to be replied.
fn rows(query: &Query, description: &Description, tell: &mut dyn FnMut(Severity, String)) {
    if !description.has_rows() && RETURNS_NOTHING.contains(&query.first_word().as_str()) {
        let (severity, gets) = match query.verb() {
            Verb::One => (Severity::Error, "a caller gets `not_found` each time"),
            Verb::Many | Verb::Exec => (Severity::Warning, "a caller gets an empty list each time"),
        };
        tell(severity, format!("the statement gives no rows, so {gets}: say `:exec`, or let it return some"));
    }
    let names: Vec<&str> = description.columns.iter().map(|column| column.name.as_str()).collect();
    for (index, column) in description.columns.iter().enumerate() {
        let name = &column.name;
        // Each name once, at its second place.
        if names[..index].iter().filter(|earlier| *earlier == name).count() == 1 {
            tell(
                Severity::Error,
                format!(
                    "two columns are named `{name}`: give one another name, as in `b.{name} AS b_{name}`"
                ),
            );
        }
        if let Form::Outside { cast } = &column.form {
            tell(
                Severity::Error,
                format!(
                    "column `{name}` has the type `{}`, which has no JSON form here: cast it, for example `{cast}`",
                    column.type_name
                ),
            );
        }
    }
}

/// What every query of the application is, and what is wrong.
#[derive(Debug)]
pub struct Report<'q> {
    /// The queries, by name.
    pub queries: Vec<Checked<'q>>,
    /// What is wrong with the database's settings.
    pub database: Vec<Finding>,
}

impl Report<'_> {
    /// Everything that is wrong, in the order of the files' lines.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let queries = self.queries.iter().flat_map(|checked| &checked.findings);
        let mut all: Vec<&Finding> = queries.chain(&self.database).collect();
        // What is in no file comes last.
        all.sort_by_key(|finding| (finding.line.is_none(), &finding.file, finding.line));
        all
    }
}

/// Shows every query to the database, and runs none.
///
/// # Errors
/// If the database cannot be reached, or is lost on the way.
///
/// # Cancel safety
/// A dropped future closes the session.
pub async fn report(app: &App, by: Deadline) -> Result<Report<'_>> {
    let mut lease = app.sessions().lease(Access::Read, by, &mut Cost::default()).await?;
    let mut queries = Vec::new();
    for query in app.queries() {
        let described = within(by, shown(&mut lease, query, &query.blank())).await?;
        let mut findings = findings(query, &described);
        if let Described::Statement(description) = &described {
            let first_line = query.line_of_sql(1);
            let at = |line, (severity, message): (Severity, String)| Finding {
                file: query.file().to_owned(),
                line: Some(line),
                severity,
                message: format!("{}: {message}", query.name()),
            };
            // What is wrong with the columns is wrong with each page, too.
            let sound = findings.iter().all(|finding| finding.severity < Severity::Error);
            if let Some(page) = query.blank_page().filter(|_| sound) {
                let page = within(by, shown(&mut lease, query, &page)).await?;
                let trouble = order::trouble(lease.session(), query, description, page);
                let line = query.line_of_param("page").unwrap_or(first_line);
                findings.extend(within(by, trouble).await?.map(|trouble| at(line, trouble)));
            }
            let troubles = within(by, policies::troubles(lease.session(), query)).await?;
            findings.extend(troubles.into_iter().map(|trouble| at(first_line, trouble)));
        }
        queries.push(Checked { query, described, findings });
    }
    let address = lease.endpoint().clone();
    let mut database = Vec::new();
    if let Some(store) = app.store() {
        database.extend(within(by, store.missing(lease.session())).await?.map(|message| Finding {
            file: address.to_string(),
            line: None,
            severity: Severity::Error,
            message,
        }));
    }
    let missing = within(by, missing_limits(lease.session(), app.dialect())).await?;
    database.extend(missing.iter().map(|name| no_limit(&address, name)));
    lease.park();
    Ok(Report { queries, database })
}

/// Asks about the rows of these queries, one after the other, and tells of each what the database tells of its columns.
/// Stops behind the first for which no more than `spare` is left of the time.
///
/// # Errors
/// As [`report`].
pub(crate) async fn columns_of(
    app: &App,
    queries: &[&Query],
    by: Deadline,
    spare: Duration,
    mut told: impl FnMut(&Query, Option<Vec<Column>>),
) -> Result<()> {
    let mut lease = app.sessions().lease(Access::Read, by, &mut Cost::default()).await?;
    for query in queries {
        match within(by, shown(&mut lease, query, &query.blank())).await? {
            Described::Statement(description) if description.has_rows() => {
                told(query, Some(columns(query, &description)));
            }
            _ => told(query, None),
        }
        if by.remaining() <= spare {
            break;
        }
    }
    lease.park();
    Ok(())
}

/// What the server says of a statement of a query; where its tables are in a schema that the caller chooses, in the first
/// of those.
async fn shown(lease: &mut Lease, query: &Query, statement: &Statement) -> Result<Described> {
    let settings = query.identity().settings().iter();
    let mut paths = settings.filter(|setting| setting.name().eq_ignore_ascii_case("search_path"));
    let Some(schema) = paths.next().and_then(|path| path.choice()?.first()) else {
        return lease.session().describe(statement).await;
    };
    let schema = policies::name(schema);
    // A setting of the session would be somebody else's behind a pooler.
    let (before, after) = match lease.pooled() {
        true => (format!("BEGIN READ ONLY; SET LOCAL search_path = {schema}"), "ROLLBACK"),
        false => (format!("SET search_path = {schema}"), "RESET search_path"),
    };
    lease.session().ask(&before).await?;
    let described = lease.session().describe(statement).await;
    lease.session().ask(after).await?;
    described
}

/// The server's own limits that a session of ours does not have, by name.
async fn missing_limits(session: &mut dyn Session, dialect: Dialect) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    let sql = match dialect {
        // Ours are told at the start of a session, except where RDS Proxy would stop sharing it.
        Dialect::Postgres => {
            "SELECT name FROM pg_catalog.pg_settings WHERE setting = '0' \
             AND name IN ('statement_timeout', 'idle_session_timeout') ORDER BY name DESC"
        }
        // The server's default is eight hours.
        Dialect::Mysql => "SELECT 'wait_timeout' AS name FROM DUAL WHERE @@wait_timeout >= 28800",
        Dialect::Sqlite => return Ok(Vec::new()),
    };
    let rows: Vec<Row> = serde_json::from_slice(&answers::read(session, Verb::Many, sql).await?)
        .map_err(|error| Error::new(Fault::Internal, format!("bug: the limits: {error}")))?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

fn no_limit(address: &Endpoint, name: &str) -> Finding {
    let message = match name {
        "statement_timeout" => {
            "no statement_timeout: a statement whose caller is gone runs on. Give the role one, as in \
             ALTER ROLE app SET statement_timeout = '30s', or the proxy's initialization query"
        }
        "idle_session_timeout" => {
            "no idle_session_timeout: sessions that a frozen environment left behind stay for ever. Give the role \
             one, as in ALTER ROLE app SET idle_session_timeout = '15min', or the parameter group"
        }
        _ => {
            "wait_timeout is the default, 8 hours: sessions that a frozen environment left behind stay as long. \
             Lower it in the parameter group, to 900 for example"
        }
    };
    Finding {
        file: address.to_string(),
        line: None,
        severity: Severity::Warning,
        message: message.to_owned(),
    }
}

async fn within<T>(by: Deadline, work: impl Future<Output = Result<T>>) -> Result<T> {
    match by.bound(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(Fault::Timeout, "the time for the check was up").with_phase(Phase::Query)),
    }
}

/// Statements that give rows only if they say RETURNING.
const RETURNS_NOTHING: [&str; 9] =
    ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "CREATE", "ALTER", "DROP", "TRUNCATE"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Engine;
    use crate::describe::{JsonType, Parameter, Refused};
    use crate::queries::Queries;

    fn query(text: &str) -> Queries {
        let files = [("q.sql".to_owned(), format!("\n-- name: q {text}"))];
        Queries::parse(&files, Engine::Postgres, Dialect::Postgres).unwrap()
    }

    #[track_caller]
    fn check(text: &str, described: Described, expected: &[&str]) {
        let queries = query(text);
        let found = findings(queries.get("q").unwrap(), &described);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    fn column(name: &str, form: Form) -> Column {
        let type_name = "box".to_owned();
        Column { name: name.to_owned(), type_name, form, nullable: Some(false), origin: None }
    }

    fn rows(columns: &[Column]) -> Described {
        Described::Statement(Description { columns: columns.to_vec(), ..Description::default() })
    }

    const TEXT: Form = Form::Value(JsonType::Text);

    #[test]
    fn a_sound_query_has_no_findings() {
        check(":many\nSELECT a FROM t", rows(&[column("a", TEXT)]), &[]);
        check(":exec\nDELETE FROM t", rows(&[]), &[]);
        // Of an `:exec` nobody sees the columns.
        check(":exec\nSELECT a, a FROM t", rows(&[column("a", TEXT), column("a", TEXT)]), &[]);
    }

    #[test]
    fn a_page_needs_columns_that_order_all_rows() {
        let text = ":many\n-- page: a, id\nSELECT a, id FROM t";
        let id = || column("id", TEXT);
        let nullable = |nullable| Column { nullable, ..column("a", TEXT) };
        check(text, rows(&[nullable(Some(false)), id()]), &[]);
        // Nobody knows of an expression.
        check(text, rows(&[nullable(None), id()]), &[]);
        let told = |columns: &[Column], expected: &str| {
            let queries = query(text);
            let found = findings(queries.get("q").unwrap(), &rows(columns));
            let [finding] = &found[..] else { panic!("{found:?}") };
            assert_eq!((finding.line, finding.severity), (Some(3), Severity::Error));
            assert!(finding.message.contains(expected), "{finding}");
        };
        told(&[nullable(Some(true)), id()], "the column `a` of `-- page:` may be NULL");
        told(&[id()], "names the column `a`, which the result does not have");
        told(&[column("a", Form::Array(JsonType::Text)), id()], "behind which no page can begin");
    }

    #[test]
    fn what_the_server_refuses_is_told_in_its_line() {
        let refused = |line| {
            Described::Refused(Refused {
                reason: "no such column".to_owned(),
                code: Some("42703".to_owned()),
                line,
            })
        };
        let text = ":many\n-- About it.\nSELECT a,\n b FROM t";
        check(text, refused(Some(2)), &["q.sql:5: error: q: no such column [42703]"]);
        check(text, refused(None), &["q.sql:4: error: q: no such column [42703]"]);
    }

    #[test]
    fn a_parameter_of_another_type_is_told_once_in_its_line() {
        let parameter = Parameter {
            name: "b".into(),
            type_name: "integer".to_owned(),
            trouble: Some("declare it `int`".to_owned()),
        };
        let described = Described::Statement(Description {
            parameters: vec![parameter.clone(), parameter],
            columns: vec![column("a", TEXT)],
            writes: Writes::Unknown,
        });
        let text =
            ":many\n-- param: a int\n-- param: b text\nSELECT a FROM t WHERE x = :b OR y = :b OR z = :a";
        check(text, described, &["q.sql:4: error: q: declare it `int`"]);
    }

    #[test]
    fn columns_need_names_of_their_own_and_types_of_the_table() {
        let outside = Form::Outside { cast: "b::text AS b".to_owned() };
        check(
            ":one\nSELECT a, b, a, a",
            rows(&[column("a", TEXT), column("b", outside), column("a", TEXT), column("a", TEXT)]),
            &[
                "q.sql:3: error: q: column `b` has the type `box`, which has no JSON form here: cast it, for \
                 example `b::text AS b`",
                "q.sql:3: error: q: two columns are named `a`: give one another name, as in `b.a AS b_a`",
            ],
        );
    }

    #[test]
    fn a_read_that_writes_is_told() {
        let with = |writes| {
            Described::Statement(Description {
                parameters: Vec::new(),
                columns: vec![column("a", TEXT)],
                writes,
            })
        };
        let sure = "q.sql:3: error: q: a read, and INSERT writes: the server will refuse it. Say `-- write`";
        check(":one\nINSERT INTO t VALUES (1) RETURNING a", with(Writes::Unknown), &[sure]);
        check(
            ":one\n-- write\nINSERT INTO t VALUES (1) RETURNING a",
            with(Writes::Yes("writes".into())),
            &[],
        );
        check(
            ":one\nSELECT f() AS a",
            with(Writes::Yes("calls nextval()".to_owned())),
            &["q.sql:3: error: q: a read, and it calls nextval(): the server will refuse it. Say `-- write`"],
        );
        check(
            ":one\nSELECT f() AS a",
            with(Writes::Perhaps("calls f".to_owned())),
            &[
                "q.sql:3: warning: q: a read, and it calls f; if it writes, say `-- write`, or the server will \
               refuse it",
            ],
        );
    }

    #[test]
    fn rows_are_asked_of_a_statement_that_has_none() {
        check(
            ":one\n-- write\nINSERT INTO t VALUES (1)",
            rows(&[]),
            &["q.sql:4: error: q: the statement gives no rows, so a caller gets `not_found` each time: say \
               `:exec`, or let it return some"],
        );
        // Whether a procedure gives any shows when it runs.
        check(":many\n-- write\nCALL p()", rows(&[]), &[]);
    }

    #[test]
    fn an_outer_join_makes_a_column_nullable() {
        let nullable = |text: &str| {
            let queries = query(text);
            let Described::Statement(described) = rows(&[column("a", TEXT)]) else { unreachable!() };
            columns(queries.get("q").unwrap(), &described)[0].nullable
        };
        assert_eq!(nullable(":many\nSELECT a FROM t"), Some(false));
        assert_eq!(nullable(":many\nSELECT a FROM s LEFT JOIN t USING (id)"), None);
    }
}
