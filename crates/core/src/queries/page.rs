//! Pages of a result: a query wrapped so that it begins behind a row, in an order that no two rows share.
//!
//! The condition that continues is written so that an index on the columns of the order is used. PostgreSQL and SQLite
//! take a comparison of rows for a range of such an index, as long as all columns go one way. MySQL takes none, and makes
//! a range of each part of an OR, one for each column that may differ; it judges each row by the condition as well, so
//! nothing is said twice there. Where directions are mixed, PostgreSQL and SQLite get a condition on the first column alone
//! in front of the OR, which is a range: it begins at the first row of the same first column.

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
            first: query.wrapped(params - 2, &wrapping(dialect, &order, false)),
            next: query.wrapped(params - 2, &wrapping(dialect, &order, true)),
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
fn wrapping(dialect: Dialect, order: &[OrderColumn], continued: bool) -> Vec<Wrapping> {
    let mut out = Writer(vec![]);
    out.text("\n) AS page");
    if continued {
        out.text(" WHERE ");
        let one_way = order.windows(2).all(|two| two[0].descending == two[1].descending);
        match (order, dialect) {
            ([only], _) => out.compare(dialect, order, 0, strictly(only)),
            (_, Dialect::Postgres | Dialect::Sqlite) if one_way => {
                out.text("(");
                for (at, column) in order.iter().enumerate() {
                    out.text(if at > 0 { ", " } else { "" });
                    out.text(&quoted(dialect, &column.name));
                }
                out.text(&format!(") {} (", strictly(&order[0])));
                for at in 0..order.len() {
                    out.text(if at > 0 { ", " } else { "" });
                    out.value(at);
                }
                out.text(")");
            }
            _ => {
                if dialect != Dialect::Mysql {
                    out.compare(dialect, order, 0, if order[0].descending { "<=" } else { ">=" });
                    out.text(" AND ");
                }
                out.text("(");
                for differs in 0..order.len() {
                    out.text(if differs > 0 { " OR (" } else { "(" });
                    for same in 0..differs {
                        out.compare(dialect, order, same, "=");
                        out.text(" AND ");
                    }
                    out.compare(dialect, order, differs, strictly(&order[differs]));
                    out.text(")");
                }
                out.text(")");
            }
        }
    }
    out.text(" ORDER BY ");
    for (at, column) in order.iter().enumerate() {
        out.text(if at > 0 { ", " } else { "" });
        out.text(&quoted(dialect, &column.name));
        out.text(if column.descending { " DESC" } else { "" });
    }
    out.text(" LIMIT ");
    out.value(if continued { order.len() } else { 0 });
    out.0
}

fn strictly(column: &OrderColumn) -> &'static str {
    if column.descending { "<" } else { ">" }
}

struct Writer(Vec<Wrapping>);

impl Writer {
    fn text(&mut self, more: &str) {
        match self.0.last_mut() {
            Some(Wrapping::Text(text)) => text.push_str(more),
            _ => self.0.push(Wrapping::Text(more.to_owned())),
        }
    }

    fn value(&mut self, number: usize) {
        self.0.push(Wrapping::Value(number));
    }

    fn compare(&mut self, dialect: Dialect, order: &[OrderColumn], at: usize, how: &str) {
        self.text(&format!("{} {how} ", quoted(dialect, &order[at].name)));
        self.value(at);
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
    use crate::value::{Given, Origin, Params};

    fn load(engine: Engine, dialect: Dialect, text: &str) -> Result<Queries, String> {
        Queries::parse(&[("q.sql".to_owned(), text.to_owned())], engine, dialect)
            .map_err(|error| error.to_string())
    }

    const TEXT: &str = "-- name: q :many\n-- page: name, id desc\n-- page_size: 20 in 1..=50\n-- param: x text\n\
                        SELECT id, name FROM t WHERE x = :x -- end\n";

    #[test]
    fn the_statements() {
        let check = |engine, dialect, order: &str, first: &str, next: &str| {
            let text = TEXT.replace("name, id desc", order);
            let queries = load(engine, dialect, &text).unwrap();
            let pages = queries.get("q").unwrap().pages().unwrap();
            let around = |sql: &str| sql.split_once("AS page").unwrap().1.trim().to_owned();
            assert!(
                pages.first.sql().starts_with("SELECT * FROM (\nSELECT id, name"),
                "{}",
                pages.first.sql()
            );
            assert_eq!(around(pages.first.sql()), first);
            assert_eq!(around(pages.next.sql()), next);
        };
        let postgres = |order, first, next| check(Engine::Postgres, Dialect::Postgres, order, first, next);
        postgres("id", "ORDER BY \"id\" LIMIT $2", "WHERE \"id\" > $2 ORDER BY \"id\" LIMIT $3");
        postgres(
            "name desc, id desc",
            "ORDER BY \"name\" DESC, \"id\" DESC LIMIT $2",
            "WHERE (\"name\", \"id\") < ($2, $3) ORDER BY \"name\" DESC, \"id\" DESC LIMIT $4",
        );
        postgres(
            "name, id DESC",
            "ORDER BY \"name\", \"id\" DESC LIMIT $2",
            "WHERE \"name\" >= $2 AND ((\"name\" > $3) OR (\"name\" = $4 AND \"id\" < $5)) \
             ORDER BY \"name\", \"id\" DESC LIMIT $6",
        );
        check(
            Engine::Mysql,
            Dialect::Mysql,
            "name, id",
            "ORDER BY `name`, `id` LIMIT ?",
            "WHERE ((`name` > ?) OR (`name` = ? AND `id` > ?)) ORDER BY `name`, `id` LIMIT ?",
        );
        check(
            Engine::Sqlite,
            Dialect::Sqlite,
            "name, id",
            "ORDER BY `name`, `id` LIMIT ?2",
            "WHERE (`name`, `id`) > (?2, ?3) ORDER BY `name`, `id` LIMIT ?4",
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
        assert_eq!(first.arguments[1].value, crate::value::Value::Int(21));
        assert_eq!(bind(vec![("page_size", "50")]).unwrap().arguments[1].value, crate::value::Value::Int(51));
        for (name, value) in
            [("page_size", "51"), ("page_size", "0"), ("page", ""), ("page", "x"), ("page", "AAAA")]
        {
            let error = bind(vec![(name, value)]).unwrap_err();
            assert_eq!(error.fault(), crate::error::Fault::BadParameter, "{name} {value}");
            assert!(error.message().contains(&format!("`{name}`")), "{error}");
        }
    }
}
