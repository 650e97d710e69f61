//! What the words of a statement tell about it, before any server has seen it.

use super::lexer::{self, Token, TokenKind};
use super::{Dialect, Query};

impl Query {
    /// The word by which the statement begins, in capitals.
    #[must_use]
    pub fn first_word(&self) -> String {
        let sql = self.sql();
        let tokens = significant(self.dialect, sql);
        tokens
            .iter()
            .find(|token| token.text != "(" && token.kind != TokenKind::CodeOpen)
            .map(|token| token.text.to_ascii_uppercase())
            .unwrap_or_default()
    }

    /// The words by which the statement says that it changes data, or that it locks rows, where the server refuses
    /// both to a read. What a function does that it calls, its words do not tell.
    #[must_use]
    pub fn writes(&self) -> Option<String> {
        writes(self.dialect, self.sql())
    }

    /// Whether a column that never holds NULL may give NULL all the same, because the statement has an outer
    /// join, a set operation or a grouping set, or (but on PostgreSQL) a second SELECT.
    #[must_use]
    pub fn pads_with_nulls(&self) -> bool {
        pads_with_nulls(self.dialect, self.sql())
    }
}

impl Query {
    /// The names that stand where a statement names its tables and views, as they are written: `notes`, `public.notes`,
    /// `"Notes"`. Those of common table expressions are among them.
    #[must_use]
    pub fn relations(&self) -> Vec<String> {
        relations(self.dialect, self.sql())
    }

    /// Whether one of the names where tables stand is that of this table, in whatever schema and case.
    pub(crate) fn names(&self, table: &str) -> bool {
        self.relations().iter().any(|name| is_of(name, table))
    }

    /// Whether rows are made of several: what is grouped, and what is the union of two.
    pub(crate) fn groups(&self) -> bool {
        groups(&significant(self.dialect, self.sql()))
    }

    /// Whether an outer join may give NULL for every column of this table. Not where the table is named a second time:
    /// then the columns may be of the other one.
    pub(crate) fn joins_outer(&self, table: &str) -> bool {
        joins_outer(self.dialect, self.sql(), table)
    }

    /// The names that stand before a parenthesis, as they are written: functions, and words of the language.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let tokens = significant(self.dialect, self.sql());
        let mut calls: Vec<String> = Vec::new();
        for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "(") {
            let Some(last) = at.checked_sub(1).filter(|last| is_name(&tokens[*last])) else { continue };
            let mut first = last;
            while first >= 2 && tokens[first - 1].text == "." && is_name(&tokens[first - 2]) {
                first -= 2;
            }
            push_new(&mut calls, tokens[first..=last].iter().map(|token| token.text).collect());
        }
        calls
    }
}

/// Whether rows are made of several, so that the first of them takes all; or a common table expression is made as a whole.
pub(super) fn aggregates(statement: &[Token<'_>]) -> bool {
    let tokens: Vec<Token<'_>> = statement.iter().filter(|token| token.is_significant()).copied().collect();
    groups(&tokens) || tokens.iter().any(|token| token.is_word("OVER") || token.is_word("MATERIALIZED"))
}

/// A statement that takes all rows of one table or view: no condition chooses among them, here or where another is joined.
#[derive(Debug, Clone)]
pub(super) struct WholeTable {
    /// What it is called in the statement, in backticks.
    pub(super) name: String,
    /// Where SELECT ends, in bytes. No hint of the author's is there.
    pub(super) select: usize,
}

/// What it is if it is one.
pub(super) fn whole_table(statement: &[Token<'_>]) -> Option<WholeTable> {
    let tokens: Vec<&Token<'_>> = statement.iter().filter(|token| token.is_significant()).collect();
    let is_select = |token: &Token<'_>| token.is_word("SELECT");
    if tokens.iter().filter(|token| is_select(token)).count() != 1 {
        return None;
    }
    let from = tokens.iter().position(|token| token.is_word("FROM"))?;
    // `t`, `shop.t`, `t x`, `t AS x`, and nothing behind it.
    let mut rest = &tokens[from + 1..];
    while let [name, dot, more @ ..] = rest
        && is_name(name)
        && dot.text == "."
    {
        rest = more;
    }
    let name = match rest {
        [table] => table,
        [table, alias] if is_name(table) => alias,
        [table, word, alias] if is_name(table) && word.is_word("AS") => alias,
        _ => return None,
    };
    let select = statement.iter().position(is_select)?;
    let hinted = statement[select + 1..].iter().find(|token| token.kind != TokenKind::Space);
    // A name that would end the hint's comment has none.
    if !is_name(name) || name.text.contains("*/") || hinted.is_some_and(|next| next.text.starts_with("/*+")) {
        return None;
    }
    Some(WholeTable {
        name: if name.text.starts_with('`') { name.text.to_owned() } else { format!("`{}`", name.text) },
        select: statement[..=select].iter().map(|token| token.text.len()).sum(),
    })
}

fn groups(tokens: &[Token<'_>]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        // `a IS DISTINCT FROM b` compares.
        let compares =
            token.is_word("DISTINCT") && tokens.get(at + 1).is_some_and(|next| next.is_word("FROM"));
        !compares && GROUPING.iter().any(|word| token.is_word(word))
    })
}

fn relations(dialect: Dialect, sql: &str) -> Vec<String> {
    let tokens = significant(dialect, sql);
    let is_one_of = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is_word(word));
    let mut found: Vec<String> = Vec::new();
    // For each parenthesis that is open, whether a comma parts tables.
    let mut listing = vec![false];
    let mut expected = false;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        if expected && is_name(token) && !is_one_of(token, &NO_TABLE) {
            let mut name = token.text.to_owned();
            while let [dot, next, ..] = &tokens[at..]
                && dot.text == "."
                && is_name(next)
            {
                name.push('.');
                name.push_str(next.text);
                at += 2;
            }
            push_new(&mut found, name);
            expected = false;
            continue;
        }
        // `FROM ONLY t`, `FROM LATERAL f()`
        expected &= is_one_of(token, &NO_TABLE);
        match token.text {
            "(" => listing.push(false),
            ")" => {
                listing.pop();
                if listing.is_empty() {
                    listing.push(false);
                }
            }
            "," => expected = listing.last().copied().unwrap_or_default(),
            _ if is_one_of(token, &TABLES_FOLLOW) => {
                expected = true;
                if let Some(list) = listing.last_mut() {
                    *list = true;
                }
            }
            _ if is_one_of(token, &NO_TABLES_FOLLOW) => {
                if let Some(list) = listing.last_mut() {
                    *list = false;
                }
            }
            _ => {}
        }
    }
    found
}

fn joins_outer(dialect: Dialect, sql: &str, table: &str) -> bool {
    let tokens = significant(dialect, sql);
    let is_table = |token: &Token<'_>| is_name(token) && is_of(token.text, table);
    let mut named = 0;
    let mut padded = false;
    for (at, token) in tokens.iter().enumerate() {
        // `table.column` is a column.
        named += usize::from(is_table(token) && tokens.get(at + 1).is_none_or(|next| next.text != "."));
        let joins = tokens.get(at + 1).is_some_and(|next| next.is_word("JOIN"))
            || tokens.get(at + 1).is_some_and(|next| next.is_word("OUTER"));
        if joins && (token.is_word("RIGHT") || token.is_word("FULL")) {
            padded = true;
        }
        if joins && token.is_word("LEFT") {
            let behind = tokens[at + 1..].iter().skip_while(|word| {
                ["JOIN", "OUTER", "LATERAL", "ONLY"].iter().any(|skipped| word.is_word(skipped))
            });
            // `schema.table`
            let name: Vec<&Token<'_>> = behind.take_while(|part| is_name(part) || part.text == ".").collect();
            let dots = name.iter().skip(1).step_by(2).take_while(|part| part.text == ".").count();
            padded |= name.get(dots * 2).is_some_and(|last| is_table(last));
        }
    }
    padded && named == 1
}

/// Whether a name, as it is written, is that of this table.
fn is_of(name: &str, table: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let quote = |c: char| matches!(c, '"' | '`' | '[' | ']');
    last.trim_matches(quote).eq_ignore_ascii_case(table)
}

fn is_name(token: &Token<'_>) -> bool {
    match token.kind {
        TokenKind::Word => !token.text.starts_with(|c: char| c.is_ascii_digit()),
        TokenKind::Quoted => token.text.starts_with(['"', '`', '[']),
        _ => false,
    }
}

fn push_new(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

impl Dialect {
    /// The word by which the body of a routine changes data or locks rows on every way through it. `branches` says
    /// whether it is of a procedural language: then it counts only what stands before the first statement that may go
    /// another way, and nothing where an error is caught.
    #[must_use]
    pub fn body_writes(self, body: &str, branches: bool) -> Option<String> {
        let tokens = significant(self, body);
        if branches && tokens.iter().any(|token| token.is_word("EXCEPTION")) {
            return None;
        }
        let ends = |token: &Token<'_>| {
            token.kind == TokenKind::Semicolon || token.is_word("BEGIN") || token.is_word("ATOMIC")
        };
        for statement in tokens.split(ends) {
            let (Some(first), Some(last)) = (statement.first(), statement.last()) else { continue };
            if branches && (first.text == "<" || BRANCHING.iter().any(|word| first.is_word(word))) {
                return None;
            }
            let word = writes(self, &body[first.start..last.start + last.text.len()]);
            // In a procedural language that fills a variable.
            if word.as_deref().is_some_and(|word| !branches || word != "SELECT INTO") {
                return word;
            }
        }
        None
    }
}

fn significant(dialect: Dialect, sql: &str) -> Vec<Token<'_>> {
    // The template was made of the same text, so it can be cut.
    let tokens = lexer::tokens(dialect, sql).unwrap_or_default();
    tokens.into_iter().filter(Token::is_significant).collect()
}

fn writes(dialect: Dialect, sql: &str) -> Option<String> {
    let tokens = significant(dialect, sql);
    let is_one_of = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is_word(word));
    let first = tokens.iter().find(|token| token.text != "(" && token.kind != TokenKind::CodeOpen)?;
    if is_one_of(first, &WRITING) || (dialect != Dialect::Sqlite && is_one_of(first, &ADMINISTERING)) {
        return Some(first.text.to_ascii_uppercase());
    }
    // `WITH … UPDATE`: behind the parenthesis that closes the last of the common table expressions.
    if first.is_word("WITH") {
        let mut depth = 0_usize;
        for pair in tokens.windows(2) {
            match pair[0].text {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            // PostgreSQL's may write themselves: `WITH gone AS (DELETE …)`.
            let inside = dialect == Dialect::Postgres && pair[0].text == "(";
            let behind = pair[0].text == ")" && depth == 0;
            if (inside || behind) && is_one_of(&pair[1], &WRITING) {
                return Some(pair[1].text.to_ascii_uppercase());
            }
        }
    }
    if dialect == Dialect::Postgres {
        for pair in tokens.windows(2) {
            if pair[0].is_word("FOR") && is_one_of(&pair[1], &["UPDATE", "SHARE", "NO", "KEY"]) {
                return Some(format!("FOR {}", pair[1].text.to_ascii_uppercase()));
            }
        }
        if is_one_of(first, &["SELECT", "WITH"]) && tokens.iter().any(|token| token.is_word("INTO")) {
            return Some("SELECT INTO".to_owned());
        }
    }
    None
}

fn pads_with_nulls(dialect: Dialect, sql: &str) -> bool {
    let tokens = significant(dialect, sql);
    let selects = tokens.iter().filter(|token| token.is_word("SELECT")).count();
    // Through a subquery, these tell the column that it reads, not whether there is a row.
    (dialect != Dialect::Postgres && selects > 1)
        || tokens.iter().any(|token| PADDING.iter().any(|word| token.is_word(word)))
}

const WRITING: [&str; 5] = ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"];
const ADMINISTERING: [&str; 11] = [
    "ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "IMPORT", "REFRESH", "REINDEX", "RENAME", "REVOKE",
    "TRUNCATE",
];
/// How statements of PL/pgSQL begin that may leave out what follows, or themselves.
const BRANCHING: [&str; 10] =
    ["IF", "CASE", "LOOP", "WHILE", "FOR", "FOREACH", "RETURN", "RAISE", "EXIT", "CONTINUE"];
/// Behind these stands a table, or a list of them.
const TABLES_FOLLOW: [&str; 6] = ["FROM", "JOIN", "INTO", "UPDATE", "USING", "TABLE"];
/// Words between those and the name.
const NO_TABLE: [&str; 3] = ["ONLY", "LATERAL", "SELECT"];
/// Behind these a comma parts something else again.
const NO_TABLES_FOLLOW: [&str; 12] = [
    "SELECT",
    "WHERE",
    "SET",
    "ON",
    "GROUP",
    "ORDER",
    "HAVING",
    "VALUES",
    "RETURNING",
    "LIMIT",
    "WINDOW",
    "UNION",
];
/// Words by which a row of the result is none of a table's.
const GROUPING: [&str; 6] = ["GROUP", "DISTINCT", "UNION", "INTERSECT", "EXCEPT", "RECURSIVE"];
const PADDING: [&str; 12] = [
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "ROLLUP",
    "CUBE",
    "GROUPING",
    "OLD",
    "MERGE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_says_so() {
        fn check(dialect: Dialect, sql: &str, expected: Option<&str>) {
            assert_eq!(writes(dialect, sql).as_deref(), expected, "{sql}");
        }
        use Dialect::{Mysql, Postgres, Sqlite};
        for dialect in [Postgres, Mysql, Sqlite] {
            check(dialect, "SELECT a, 'DELETE' AS \"update\" FROM t -- INSERT\n WHERE b = 1", None);
            check(dialect, "(SELECT 1)", None);
            check(dialect, "insert INTO t VALUES (1) RETURNING a", Some("INSERT"));
            check(dialect, "/* read */ UPDATE t SET a = 1", Some("UPDATE"));
            check(dialect, "WITH x AS (SELECT 1) SELECT * FROM x", None);
            check(dialect, "WITH x AS (SELECT (1)), y AS (SELECT 2) DELETE FROM t", Some("DELETE"));
        }
        check(Postgres, "WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x", Some("DELETE"));
        check(Postgres, "WITH x AS MATERIALIZED (INSERT INTO t DEFAULT VALUES) SELECT 1", Some("INSERT"));
        check(Postgres, "SELECT a FROM t FOR UPDATE SKIP LOCKED", Some("FOR UPDATE"));
        check(Postgres, "SELECT a FROM t FOR NO KEY UPDATE", Some("FOR NO"));
        check(Postgres, "SELECT substring(a FOR 3) FROM t", None);
        check(Postgres, "SELECT a INTO copy FROM t", Some("SELECT INTO"));
        check(Postgres, "REFRESH MATERIALIZED VIEW v", Some("REFRESH"));
        // Of locks MySQL itself tells, when it prepares.
        check(Mysql, "SELECT a FROM t FOR UPDATE", None);
        check(Mysql, "REPLACE INTO t VALUES (1)", Some("REPLACE"));
        check(Mysql, "SELECT REPLACE(a, 'x', 'y') FROM t", None);
    }

    #[test]
    fn a_body_writes_where_it_must_and_not_where_it_may() {
        fn check(body: &str, plain: Option<&str>, procedural: Option<&str>) {
            assert_eq!(Dialect::Postgres.body_writes(body, false).as_deref(), plain, "{body}");
            assert_eq!(Dialect::Postgres.body_writes(body, true).as_deref(), procedural, "{body}");
        }
        check("SELECT 1", None, None);
        check("SELECT 'INSERT INTO t'; SELECT 2;", None, None);
        check("INSERT INTO t VALUES ($1); SELECT 1", Some("INSERT"), Some("INSERT"));
        check(
            "SELECT 1; WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
            Some("DELETE"),
            Some("DELETE"),
        );
        check("BEGIN ATOMIC\n UPDATE t SET a = 1;\nEND", Some("UPDATE"), Some("UPDATE"));
        check("DECLARE n int := 1; BEGIN PERFORM 1; DELETE FROM t; END", Some("DELETE"), Some("DELETE"));
        check("BEGIN SELECT a INTO n FROM t; RETURN n; END", Some("SELECT INTO"), None);
        check("BEGIN IF $1 > 1 THEN DELETE FROM t; END IF; END", None, None);
        check("BEGIN RETURN 1; DELETE FROM t; END", Some("DELETE"), None);
        check("BEGIN DELETE FROM t; EXCEPTION WHEN others THEN NULL; END", Some("DELETE"), None);
        check("SELECT 'never ends", None, None);
    }

    #[test]
    fn tables_are_what_stands_where_tables_do() {
        let check = |sql: &str, expected: &[&str]| {
            assert_eq!(relations(Dialect::Postgres, sql), expected, "{sql}");
        };
        check(
            "SELECT a, b FROM t, ONLY s.\"U\" AS x JOIN v USING (id) WHERE c IN (1, d) ORDER BY e, f",
            &["t", "s.\"U\"", "v"],
        );
        check("SELECT a FROM (SELECT b, c FROM t) x, u", &["t", "u"]);
        check("INSERT INTO t (a, b) SELECT c, d FROM u", &["t", "u"]);
        check("UPDATE t SET a = 1, b = 2 FROM u WHERE t.id = u.id", &["t", "u"]);
        check("DELETE FROM t USING u RETURNING a, b", &["t", "u"]);
        check("WITH w AS (SELECT a FROM t) SELECT b, c FROM w", &["t", "w"]);
        check("SELECT extract(year FROM at), 'FROM x' -- FROM y\n", &["at"]);
        check("TABLE t", &["t"]);
    }

    #[test]
    fn the_side_of_an_outer_join_that_may_be_missing() {
        let check = |sql: &str, expected: bool| {
            assert_eq!(joins_outer(Dialect::Postgres, sql, "notes"), expected, "{sql}");
        };
        check("SELECT n.a FROM users u LEFT JOIN notes n ON n.u = u.id", true);
        check("SELECT n.a FROM users u LEFT OUTER JOIN public.\"notes\" AS n ON true", true);
        check("SELECT u.a FROM notes u LEFT JOIN users n ON n.u = u.id", false);
        check("SELECT a FROM notes RIGHT JOIN users USING (id)", true);
        check("SELECT a FROM users FULL JOIN notes USING (id)", true);
        check("SELECT left(a, 1) FROM users JOIN notes USING (id)", false);
        // Which of the two a column is of, its table does not tell.
        check("SELECT a.id FROM notes a LEFT JOIN notes b ON b.id = a.id + 1", false);
    }

    #[test]
    fn outer_joins_and_their_like_pad_with_nulls() {
        for sql in [
            "SELECT b.x FROM a LEFT JOIN b USING (id)",
            "SELECT x FROM a UNION ALL SELECT NULL",
            "SELECT x FROM a GROUP BY ROLLUP (x)",
        ] {
            assert!(pads_with_nulls(Dialect::Postgres, sql), "{sql}");
        }
        let inner = "SELECT a.x, 'LEFT' FROM a JOIN (SELECT id FROM b) b USING (id)";
        assert!(!pads_with_nulls(Dialect::Postgres, inner));
        assert!(pads_with_nulls(Dialect::Sqlite, inner));
        assert!(!pads_with_nulls(Dialect::Sqlite, "SELECT x FROM a"));
    }
}
