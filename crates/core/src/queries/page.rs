//! Pages of a result: a query wrapped so that it begins behind a row, in an order that no two rows share.
//!
//! What continues is written so that a server begins there in an index on the columns of the order, however many rows
//! share the first of them. Counted on the servers: rows read for a page of ten out of 100,000, with two values in the
//! first column and three in the second.
//!
//! - PostgreSQL takes a comparison of rows for a range, as long as its columns go one way.
//! - SQLite does, too, but not with an `INTEGER PRIMARY KEY` among them, which is the last column of most orders: so
//!   each column is by itself.
//! - MySQL takes no comparison of rows, and makes a range of each part of an OR, one for each column that may differ. It
//!   judges each row by the condition as well, so nothing is said twice there.
//!
//! Where one condition is no range of the whole order, the statement is a `UNION ALL`, never on MySQL: of the rows that
//! differ in the last columns and are the same in those before, and so on to those that differ in the first. No two
//! parts share a row. Each part has ORDER BY and LIMIT on PostgreSQL, which else sorts all of them; SQLite allows none
//! there, and merges the parts row by row. What is made of several rows would be made for each part, so it is one.
//!
//! MySQL asks the entry in the index by the condition before it looks the row up. Where the page's is the only one, the
//! entries of its ranges fulfil it, and a later page of many rows takes some per cent longer for that: there it is told not to.
//!
//! MySQL reads ahead behind the beginning of a range, up to 128 KiB of rows whatever LIMIT says: a page of a few rows costs
//! more there than the first one, and nothing that can be said in a statement has it read less.
//!
//! MySQL's UNION makes another type of some: a `TINYINT(1)` is told as a number and no truth value any more.

use std::ops::Range;
use std::sync::Arc;

use super::template::{Template, Wrapping};
use super::{Dialect, Param};
use crate::value::{Kind, Scalar, Value};

/// A column of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderColumn {
    pub(crate) name: String,
    pub(crate) descending: bool,
}

/// How a query is read page by page.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(super) order: Arc<[OrderColumn]>,
    /// The statement of the first page, and that of every other.
    pub(super) first: Template,
    pub(super) next: Template,
    /// Where the parameters `page` and `page_size` are.
    pub(super) page: usize,
    pub(super) page_size: usize,
    /// Tells the query's text from others.
    pub(super) fingerprint: u64,
}

impl Pages {
    /// Wraps a query of this name, whose parameters have those of pages at their end.
    pub(super) fn new(
        name: &str,
        dialect: Dialect,
        query: &Template,
        order: Vec<OrderColumn>,
        params: usize,
    ) -> Self {
        let mut text = Fnv::default();
        text.write(name.as_bytes());
        text.write(query.sql().as_bytes());
        for column in &order {
            text.write(column.name.as_bytes());
            text.write(&[u8::from(column.descending)]);
        }
        Self {
            first: query.wrapped(params - 2, &wrapping(dialect, query, &order, false)),
            next: query.wrapped(params - 2, &wrapping(dialect, query, &order, true)),
            order: order.into(),
            page: params - 2,
            page_size: params - 1,
            fingerprint: text.0,
        }
    }

    /// The columns by which it is ordered.
    pub(crate) fn order(&self) -> &Arc<[OrderColumn]> {
        &self.order
    }

    /// Which query, and which version of it, a token is of.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// What stands around a query, with the number of the value that stands in between: first those of the last row, then
/// how many rows there may be.
fn wrapping(dialect: Dialect, query: &Template, order: &[OrderColumn], continued: bool) -> Vec<Wrapping> {
    let mut out = Writer { dialect, order, parts: vec![] };
    if !continued {
        out.page(Wrapping::Statement);
        out.ordered(0);
        return out.parts;
    }
    let whole = dialect == Dialect::Mysql || query.aggregates();
    let runs = runs(dialect, order, whole);
    let limited = runs.len() > 1 && dialect == Dialect::Postgres;
    for (at, run) in runs.into_iter().rev().enumerate() {
        out.text(if at > 0 { "\nUNION ALL " } else { "" });
        out.text(if limited { "SELECT * FROM (" } else { "" });
        out.page(match dialect {
            Dialect::Mysql => Wrapping::Hinted(NO_PUSHDOWN),
            Dialect::Postgres | Dialect::Sqlite => Wrapping::Statement,
        });
        out.text(" WHERE ");
        for same in 0..run.start {
            out.compare(same, "=");
            out.text(" AND ");
        }
        out.behind(run);
        if limited {
            out.ordered(order.len());
            out.text(") AS part");
        }
    }
    out.ordered(order.len());
    out.parts
}

/// The columns of which one condition makes a range of an index; with `whole`, all of them.
fn runs(dialect: Dialect, order: &[OrderColumn], whole: bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, column) in order.iter().enumerate() {
        let one_way = |run: &Range<usize>| order[run.start].descending == column.descending;
        match runs.last_mut() {
            Some(run) if whole || (dialect == Dialect::Postgres && one_way(run)) => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// Has MySQL judge a row when it has it whole, not its entry in the index first: where the condition of the page is the
/// only one, the entries of its ranges fulfil it, and MySQL takes longer to ask the entry than to ask the row. MariaDB
/// passes the hint over. It is none that sets a variable: MySQL tells of that as of a setting that stays.
/// <https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-index-level>
const NO_PUSHDOWN: &str = "NO_ICP";

fn strictly(column: &OrderColumn) -> &'static str {
    if column.descending { "<" } else { ">" }
}

struct Writer<'a> {
    dialect: Dialect,
    order: &'a [OrderColumn],
    parts: Vec<Wrapping>,
}

impl Writer<'_> {
    fn text(&mut self, more: &str) {
        match self.parts.last_mut() {
            Some(Wrapping::Text(text)) => text.push_str(more),
            _ => self.parts.push(Wrapping::Text(more.to_owned())),
        }
    }

    fn value(&mut self, number: usize) {
        self.parts.push(Wrapping::Value(number));
    }

    fn name(&mut self, at: usize) {
        self.text(&quoted(self.dialect, &self.order[at].name));
    }

    fn page(&mut self, statement: Wrapping) {
        self.text("SELECT * FROM (\n");
        self.parts.push(statement);
        self.text("\n) AS page");
    }

    fn compare(&mut self, at: usize, how: &str) {
        self.name(at);
        self.text(&format!(" {how} "));
        self.value(at);
    }

    /// That a row is behind the last one, by these columns.
    fn behind(&mut self, columns: Range<usize>) {
        let order = self.order;
        let run = &order[columns.clone()];
        let first = columns.start;
        let one_way = run.windows(2).all(|two| two[0].descending == two[1].descending);
        if run.len() == 1 {
            self.compare(first, strictly(&order[first]));
        } else if one_way && self.dialect != Dialect::Mysql {
            self.text("(");
            for at in columns.clone() {
                self.text(if at > first { ", " } else { "" });
                self.name(at);
            }
            self.text(&format!(") {} (", strictly(&order[first])));
            for at in columns {
                self.text(if at > first { ", " } else { "" });
                self.value(at);
            }
            self.text(")");
        } else {
            // A range for those that make none of an OR. MySQL judges each row by all of it, so nothing is said twice there.
            if self.dialect != Dialect::Mysql {
                self.compare(first, if order[first].descending { "<=" } else { ">=" });
                self.text(" AND ");
            }
            self.text("(");
            for differs in columns {
                self.text(if differs > first { " OR (" } else { "(" });
                for same in first..differs {
                    self.compare(same, "=");
                    self.text(" AND ");
                }
                self.compare(differs, strictly(&order[differs]));
                self.text(")");
            }
            self.text(")");
        }
    }

    /// ORDER BY, and LIMIT with the value of this number.
    fn ordered(&mut self, limit: usize) {
        self.text(" ORDER BY ");
        for (at, column) in self.order.iter().enumerate() {
            self.text(if at > 0 { ", " } else { "" });
            self.name(at);
            self.text(if column.descending { " DESC" } else { "" });
        }
        self.text(" LIMIT ");
        self.value(limit);
    }
}

/// A column's name. SQLite takes one in `"` that is no column for a text, and one in backticks never.
fn quoted(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("\"{name}\""),
        Dialect::Mysql | Dialect::Sqlite => format!("`{name}`"),
    }
}

/// The columns of a `-- page:` line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_order(value: &str) -> Result<Vec<OrderColumn>, String> {
    const FORM: &str = "`-- page:` takes columns of the result, each with `asc` or `desc` behind it if wanted, such as \
                        `-- page: name, id desc`";
    let mut order: Vec<OrderColumn> = Vec::new();
    for part in value.split(',') {
        let mut words = part.split_whitespace();
        let name = words.next().ok_or(FORM)?;
        let descending = match words.next() {
            None => false,
            Some(word) if word.eq_ignore_ascii_case("asc") => false,
            Some(word) if word.eq_ignore_ascii_case("desc") => true,
            Some(_) => return Err(FORM.to_owned()),
        };
        let is_name = |name: &str| {
            !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if words.next().is_some() || !is_name(name) {
            return Err(FORM.to_owned());
        }
        if order.iter().any(|column| column.name == name) {
            return Err(format!("`-- page:` names `{name}` twice"));
        }
        order.push(OrderColumn { name: name.to_owned(), descending });
    }
    Ok(order)
}

/// The parameter that says where a page begins.
pub(super) fn token() -> Param {
    Param {
        nullable: true,
        default: Some(Value::Null),
        description: Arc::from(
            "where the page begins: the `next` of the page before, nothing for the first one",
        ),
        ..parameter(Kind { scalar: Scalar::Text, array: false })
    }
}

/// The type of a value that continues, or counts, and what it is called in messages.
pub(super) fn parameter(kind: Kind) -> Param {
    Param {
        name: Arc::from("page"),
        kind,
        nullable: false,
        default: None,
        bounds: None,
        choice: None,
        from: None,
        beside: false,
        description: Arc::from(""),
    }
}

/// FNV-1a, which is the same in every build: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        // What ends one part, and is in none.
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Engine;
    use crate::queries::{Dialect, Queries};
    use crate::value::{Given, Origin, Params, Value};

    fn load(engine: Engine, dialect: Dialect, text: &str) -> Result<Queries, String> {
        Queries::parse(&[("q.sql".to_owned(), text.to_owned())], engine, dialect)
            .map_err(|error| error.to_string())
    }

    const TEXT: &str = "-- name: q :many\n-- page: name, id desc\n-- page_size: 20 in 1..=50\n-- param: x text\n\
                        SELECT id, name FROM t WHERE x = :x -- end\n";

    /// The statements of the first page and of a later one, where the query is `Q`.
    fn statements(engine: Engine, dialect: Dialect, text: &str) -> [String; 2] {
        let queries = load(engine, dialect, text).unwrap();
        let pages = queries.get("q").unwrap().pages().unwrap();
        let query = queries.get("q").unwrap().sql();
        [&pages.first, &pages.next].map(|template| {
            // Where placeholders have numbers, the statement is the same each time.
            template.sql().replace(query, "Q").replace("(\nQ\n)", "(Q)")
        })
    }

    #[test]
    fn the_statements() {
        let check = |engine, dialect, order: &str, first: &str, next: &str| {
            let text = TEXT.replace("name, id desc", order);
            assert_eq!(statements(engine, dialect, &text), [first, next]);
        };
        let postgres = |order, first, next| check(Engine::Postgres, Dialect::Postgres, order, first, next);
        postgres(
            "id",
            "SELECT * FROM (Q) AS page ORDER BY \"id\" LIMIT $2",
            "SELECT * FROM (Q) AS page WHERE \"id\" > $2 ORDER BY \"id\" LIMIT $3",
        );
        postgres(
            "name desc, id desc",
            "SELECT * FROM (Q) AS page ORDER BY \"name\" DESC, \"id\" DESC LIMIT $2",
            "SELECT * FROM (Q) AS page WHERE (\"name\", \"id\") < ($2, $3) ORDER BY \"name\" DESC, \"id\" DESC LIMIT $4",
        );
        postgres(
            "name, b desc, id DESC",
            "SELECT * FROM (Q) AS page ORDER BY \"name\", \"b\" DESC, \"id\" DESC LIMIT $2",
            "SELECT * FROM (SELECT * FROM (Q) AS page WHERE \"name\" = $2 AND (\"b\", \"id\") < ($3, $4) \
             ORDER BY \"name\", \"b\" DESC, \"id\" DESC LIMIT $5) AS part\n\
             UNION ALL SELECT * FROM (SELECT * FROM (Q) AS page WHERE \"name\" > $6 \
             ORDER BY \"name\", \"b\" DESC, \"id\" DESC LIMIT $7) AS part \
             ORDER BY \"name\", \"b\" DESC, \"id\" DESC LIMIT $8",
        );
        let mysql = |order, first, next| check(Engine::Mysql, Dialect::Mysql, order, first, next);
        mysql(
            "name, id",
            "SELECT * FROM (Q) AS page ORDER BY `name`, `id` LIMIT ?",
            "SELECT * FROM (Q) AS page WHERE ((`name` > ?) OR (`name` = ? AND `id` > ?)) ORDER BY `name`, `id` LIMIT ?",
        );
        mysql(
            "a, b desc, id",
            "SELECT * FROM (Q) AS page ORDER BY `a`, `b` DESC, `id` LIMIT ?",
            "SELECT * FROM (Q) AS page WHERE ((`a` > ?) OR (`a` = ? AND `b` < ?) OR (`a` = ? AND `b` = ? AND `id` > ?)) \
             ORDER BY `a`, `b` DESC, `id` LIMIT ?",
        );
        check(
            Engine::Sqlite,
            Dialect::Sqlite,
            "name, id",
            "SELECT * FROM (Q) AS page ORDER BY `name`, `id` LIMIT ?2",
            "SELECT * FROM (Q) AS page WHERE `name` = ?2 AND `id` > ?3\n\
             UNION ALL SELECT * FROM (Q) AS page WHERE `name` > ?4 ORDER BY `name`, `id` LIMIT ?5",
        );
    }

    #[test]
    fn mysql_asks_whole_rows_where_the_page_alone_chooses() {
        let next = |engine, dialect, query: &str| {
            let text = format!("-- name: q :many\n-- page: name, id\n-- param: x text\n{query}\n");
            let [first, next] = statements(engine, dialect, &text);
            assert!(first.starts_with("SELECT * FROM (Q)"), "{first}");
            let (query, _) = next.split_once("\n) AS page WHERE ").unwrap_or((&next, ""));
            query.strip_prefix("SELECT * FROM (\n").map(str::to_owned)
        };
        let mysql = |query: &str| next(Engine::Mysql, Dialect::Mysql, query);
        for (from, name) in [
            ("t", "t"),
            ("t;", "t"),
            ("shop.t -- all", "t"),
            ("t x", "x"),
            ("t AS x", "x"),
            ("`my shop`.`t` AS `x y`", "x y"),
            ("t AS ```x`", "``x"),
        ] {
            let columns = "id, name, :x AS x";
            let hinted = mysql(&format!("SELECT {columns} FROM {from}")).unwrap();
            assert!(hinted.starts_with(&format!("SELECT /*+ NO_ICP(`{name}`) */ id, name, ")), "{hinted}");
            let query = format!("SELECT {columns} FROM {}", from.replace('`', "\""));
            assert_eq!(next(Engine::Postgres, Dialect::Postgres, &query), None);
            assert_eq!(next(Engine::Sqlite, Dialect::Sqlite, &query), None);
        }
        for query in [
            "SELECT id, name FROM t WHERE a > :x",
            "SELECT id, name, :x AS x FROM t JOIN u",
            "SELECT id, name, :x AS x FROM t, u",
            "SELECT id, name, :x AS x FROM t PARTITION (p)",
            "SELECT id, name FROM (SELECT * FROM t WHERE a > :x) AS x",
            "SELECT id, name, :x AS x FROM t UNION SELECT id, name, 1 FROM u",
            "SELECT /*+ NO_MRR(t) */ id, name, :x AS x FROM t",
            "SELECT id, name, :x AS x FROM t AS `*/ x`",
        ] {
            assert_eq!(mysql(query), None, "{query}");
        }
    }

    #[test]
    fn what_comes_of_several_rows_stands_once() {
        for query in [
            "SELECT name, max(id) AS id FROM t WHERE x = :x GROUP BY name",
            "SELECT DISTINCT name, id FROM t WHERE x = :x",
            "SELECT name, id, rank() OVER (ORDER BY id) FROM t WHERE x = :x",
            "WITH u AS MATERIALIZED (SELECT * FROM t WHERE x = :x) SELECT name, id FROM u",
            "SELECT name, id FROM t WHERE x = :x UNION SELECT name, id FROM u",
        ] {
            let text = TEXT.replace("SELECT id, name FROM t WHERE x = :x -- end", query);
            let [_, next] = statements(Engine::Postgres, Dialect::Postgres, &text);
            assert_eq!(
                next,
                "SELECT * FROM (Q) AS page WHERE \"name\" >= $2 AND ((\"name\" > $3) OR (\"name\" = $4 AND \"id\" < $5)) \
                 ORDER BY \"name\", \"id\" DESC LIMIT $6"
            );
        }
        let text = TEXT.replace(":x -- end", ":x AND name IS DISTINCT FROM x");
        assert!(statements(Engine::Postgres, Dialect::Postgres, &text)[1].contains("UNION ALL"));
    }

    #[test]
    fn what_stands_twice_is_given_once() {
        let text = "-- name: q :many\n-- page: a, b desc, id\n-- page_size: 20\n-- param: x text\n-- param: ids int[]\n\
                    SELECT a, b, id FROM t WHERE x = :x AND id LIST AND y = :x\n";
        let check = |engine, dialect, list: &str, sent: &[&str], part: &str| {
            let queries = load(engine, dialect, &text.replace("LIST", list)).unwrap();
            let query = queries.get("q").unwrap();
            let value = |value: &str| Given::Text(value.to_owned());
            let place = [Value::Int(1), Value::Int(2), Value::Int(3)];
            let token = crate::page::token(query.pages().unwrap().fingerprint(), &place).unwrap();
            let ids = Given::Texts(vec!["7".to_owned(), "8".to_owned()]);
            let params = [("x", value("X")), ("ids", ids), ("page", value(&token))];
            let params = params.map(|(name, value)| (name.to_owned(), value)).to_vec();
            let statement = query.bind(&Params(params), &Origin::default()).unwrap();
            let found: Vec<String> =
                statement.arguments.iter().map(|argument| format!("{:?}", argument.value)).collect();
            assert_eq!(found, sent, "{}", statement.sql);
            assert_eq!(statement.sql.matches(part).count(), 3, "{}", statement.sql);
        };
        let [x, seven, eight] = ["Text(\"X\")", "Int(7)", "Int(8)"];
        let [one, two, three, limit] = ["Int(1)", "Int(2)", "Int(3)", "Int(21)"];
        // The server infers what they are, each by its column; the author's are what they were where they stand again.
        let [a, b, id] = ["Text(\"1\")", "Text(\"2\")", "Text(\"3\")"];
        let postgres = [x, "Array([Int(7), Int(8)])", x, a, b, id, limit, a, b, limit, a, limit, limit];
        let part = "WHERE x = $1 AND id = ANY($2) AND y = $3";
        check(Engine::Postgres, Dialect::Postgres, "= ANY(:ids)", &postgres, part);
        let sqlite = [x, seven, eight, one, two, three, one, two, one, limit];
        check(
            Engine::Sqlite,
            Dialect::Sqlite,
            "IN (:ids)",
            &sqlite,
            "WHERE x = ?1 AND id IN (?2,?3) AND y = ?1",
        );
    }

    #[test]
    fn mistakes() {
        let check = |from: &str, to: &str, reason: &str| {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT);
            let error = load(Engine::Postgres, Dialect::Postgres, &text).unwrap_err();
            assert!(error.contains(reason), "{text}\n{error}");
        };
        check("name, id desc", "", "takes columns of the result");
        check("name, id desc", "name id", "takes columns of the result");
        check("name, id desc", "lower(name)", "takes columns of the result");
        check("name, id desc", "id, id", "names `id` twice");
        check(":many", ":one", "`-- page:` is for `:many`");
        check("-- page: name, id desc\n", "", "`-- page_size:` goes with `-- page:`");
        for size in ["0", "-1", "10001", "99999999999", "2.5", "20 in ..=50", "20 in 1..", "20 in -5..=50"] {
            check("20 in 1..=50", size, "`-- page_size:` takes");
        }
        check("20 in 1..=50", "60 in 1..=50", "`-- page_size:` takes");
        check("20 in 1..=50", "20 in 0..=50", "`-- page_size:` takes");
        check("20 in 1..=50", "20 in {20}", "`-- page_size:` takes");
        check("-- param: x text", "-- max_rows: 5\n-- param: x text", "`-- max_rows:` and `-- page:`");
        check("-- param: x text", "-- write\n-- param: x text", "`-- page:` is for a read");
        check("x text\n", "x text\n-- param: page int\n", "`page` is a parameter that pages have");
        check("x text\n", "x text\n-- param: page_size int\n", "`page_size` is a parameter that pages have");
        for (end, word) in [
            ("ORDER BY id", "ORDER BY"),
            ("LIMIT 5", "LIMIT"),
            ("OFFSET 5", "OFFSET"),
            ("FETCH FIRST 5 ROWS ONLY", "FETCH"),
            ("FOR UPDATE", "FOR"),
        ] {
            check(":x -- end", &format!(":x {end}"), &format!("its own {word}"));
            // Below the top level each has its place.
            let text = TEXT.replace("FROM t", &format!("FROM (SELECT * FROM u {end}) AS t"));
            load(Engine::Postgres, Dialect::Postgres, &text).unwrap();
        }
        check("SELECT id, name FROM t WHERE x =", "EXPLAIN SELECT", "begins with SELECT");
    }

    #[test]
    fn a_page_is_bound() {
        let queries = load(Engine::Postgres, Dialect::Postgres, TEXT).unwrap();
        let query = queries.get("q").unwrap();
        let given = |text: &str| Given::Text(text.to_owned());
        let bind = |more: Vec<(&str, &str)>| {
            let all = std::iter::once(("x", "1")).chain(more);
            let params = all.map(|(name, value)| (name.to_owned(), given(value))).collect();
            query.bind(&Params(params), &Origin::default())
        };
        let first = bind(vec![]).unwrap();
        // One more than is given, which tells whether there is another page.
        assert_eq!(first.arguments[1].value, Value::Int(21));
        assert_eq!(bind(vec![("page_size", "50")]).unwrap().arguments[1].value, Value::Int(51));
        for (name, value) in
            [("page_size", "51"), ("page_size", "0"), ("page", ""), ("page", "x"), ("page", "AAAA")]
        {
            let error = bind(vec![(name, value)]).unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::BadParameter, "{name} {value}");
            assert!(error.message().contains(&format!("`{name}`")), "{error}");
        }
    }
}
