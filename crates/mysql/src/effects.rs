//! What a statement leaves behind that no rollback undoes.
//!
//! Some statements commit by themselves: a procedure may. Others write to tables without transactions (MyISAM, MEMORY,
//! Aria, CSV …), which keep what was written whatever becomes of the transaction around it; and not only the tables
//! that a statement names count, but also those that a trigger, a view or a routine leads to.
//!
//! The server tells of that only afterwards, with the answer that a lost connection never brings. So it is asked
//! before: once per session, by its first write, for the names of all that leads to such tables. In most databases
//! there are none. A statement that mentions one of them counts as one that stays; to mention it in a string is
//! enough, which costs such a statement its retry and nothing else.

use lambda_rds_core::backend::Effect;
use lambda_rds_core::connect::live::Protocol as _;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::error::Result;

use crate::session::MySql;

/// The names of what leads to tables without transactions, in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lasting(Vec<String>);

impl Lasting {
    /// Asks the server: one round trip, and another one where there are such tables.
    ///
    /// The server shows what the user has any right to. What only the owner of a trigger may see stays unknown.
    ///
    /// # Errors
    /// The server's, classified.
    pub(crate) async fn ask(session: &mut MySql, wire: &mut Wire) -> Result<Self> {
        let rows = session.ask(wire, TABLES).await?;
        let tables: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next()?).collect();
        if tables.is_empty() {
            return Ok(Self::default());
        }
        let rows = session.ask(wire, DEFINITIONS).await?;
        Ok(Self::closure(tables, rows.into_iter().filter_map(definition).collect()))
    }

    /// The tables, and whatever leads to one of them, also by way of another.
    fn closure(tables: Vec<String>, definitions: Vec<Definition>) -> Self {
        let mut names: Vec<String> = tables.iter().map(|name| written(name)).collect();
        let mut open: Vec<Definition> = definitions
            .into_iter()
            .map(|it| Definition { name: written(&it.name), body: it.body.map(|body| body.to_lowercase()) })
            .collect();
        loop {
            let known = names.len();
            open.retain(|Definition { name, body }| {
                let leads = body.as_ref().is_none_or(|body| names.iter().any(|name| mentions(body, name)));
                if leads {
                    names.push(name.clone());
                }
                !leads
            });
            if names.len() == known {
                names.sort_unstable();
                names.dedup();
                return Self(names);
            }
        }
    }

    /// What becomes of what this statement does, if it is a plain one (see [`is_plain`]).
    pub(crate) fn effect(&self, sql: &str) -> Effect {
        if self.0.is_empty() {
            return Effect::Undone;
        }
        let sql = sql.to_lowercase();
        if self.0.iter().any(|name| mentions(&sql, name)) { Effect::Stays } else { Effect::Undone }
    }
}

/// Whether the statement is one that cannot commit by itself, wherever its tables are. What is not known to be one
/// may: a procedure may commit, and so may what the server learns tomorrow.
pub(crate) fn is_plain(sql: &str) -> bool {
    const PLAIN: [&str; 9] =
        ["select", "insert", "update", "delete", "replace", "with", "values", "table", "do"];
    PLAIN.iter().any(|word| first_word(sql).eq_ignore_ascii_case(word))
}

/// The first word that the server runs: behind comments, and inside one that it does not skip.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(code) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
            rest = code.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if rest.starts_with('#') || rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else {
            return rest.split(|c: char| !is_word(c)).next().unwrap_or_default();
        }
    }
}

/// Whether the text has this name, both in lower case, by itself and not as a part of another.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// A name as a statement has it, between backticks or not.
fn written(name: &str) -> String {
    name.to_lowercase().replace('`', "``")
}

/// What names without quotes are made of.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A view, a routine, or a table with a trigger: what is written to it is written where its body says.
#[derive(Debug)]
struct Definition {
    name: String,
    /// `None` where it is not known: the user may not see it, or it is a view, all of which count.
    body: Option<String>,
}

fn definition(row: Vec<Option<String>>) -> Option<Definition> {
    let mut row = row.into_iter();
    let name = row.next()??;
    Some(Definition { name, body: row.next()?.filter(|body| !body.is_empty()) })
}

/// Engines that do not say that they have transactions have none. The server's own tables are of such engines on
/// MariaDB; nobody's queries write to them.
const TABLES: &str = "\
SELECT CONVERT(t.table_name USING utf8mb4) FROM information_schema.tables t \
JOIN information_schema.engines e ON e.engine = t.engine AND COALESCE(e.transactions, 'NO') <> 'YES' \
WHERE t.table_type = 'BASE TABLE' \
AND t.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";

/// Of views only the names: to look into those of its own, MariaDB makes temporary tables, and version 10.11.19 dies of it
/// if the connection is lost meanwhile.
const DEFINITIONS: &str = "\
SELECT CONVERT(event_object_table USING utf8mb4), CONVERT(action_statement USING utf8mb4) \
FROM information_schema.triggers \
UNION ALL SELECT CONVERT(table_name USING utf8mb4), NULL FROM information_schema.tables \
WHERE table_type = 'VIEW' AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
UNION ALL SELECT CONVERT(routine_name USING utf8mb4), CONVERT(routine_definition USING utf8mb4) \
FROM information_schema.routines WHERE routine_schema NOT IN ('mysql', 'sys')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_commit_by_itself_is_told_by_its_first_word() {
        let check = |sql: &str, want| assert_eq!(is_plain(sql), want, "{sql}");
        check("INSERT INTO t VALUES (1)", true);
        check("  -- CALL it\n/* CALL */ # CALL\n(select 1)", true);
        check("WITH n AS (SELECT 1) SELECT * FROM n", true);
        check("update`t` set n = 1", true);
        check("CALL p()", false);
        check("/*!50000 CALL p() */", false);
        check("/*M!100000 call p() */", false);
        check("-- it\n/* x */ call`p`()", false);
        check("LOAD DATA INFILE 'x' INTO TABLE t", false);
        check("", false);
        check("/* never ends", false);
    }

    #[test]
    fn whatever_leads_to_a_table_without_transactions_counts() {
        let table = |name: &str| vec![name.to_owned()];
        let of = |name: &str, body: Option<&str>| Definition {
            name: name.to_owned(),
            body: body.map(str::to_owned),
        };
        let definitions = || {
            vec![
                of("place_order", Some("insert into `shop`.`Orders` values (1)")),
                of("orders", Some("INSERT INTO Audit VALUES (NEW.id)")),
                of("count_up", Some("BEGIN UPDATE counters SET n = n + 1; END")),
                of("hidden", None),
                of("audits", Some("select 1")),
            ]
        };
        let lasting = Lasting::closure(table("audit"), definitions());
        assert_eq!(lasting.0, ["audit", "hidden", "orders", "place_order"]);
        let check = |sql: &str, want| assert_eq!(lasting.effect(sql), want, "{sql}");
        check("INSERT INTO orders VALUES (1)", Effect::Stays);
        check("INSERT INTO shop.`ORDERS` VALUES (1)", Effect::Stays);
        check("SELECT place_order()", Effect::Stays);
        check("SELECT hidden(1)", Effect::Stays);
        check("INSERT INTO orders_2 VALUES (1)", Effect::Undone);
        check("INSERT INTO audits SELECT * FROM reorders", Effect::Undone);
        assert_eq!(Lasting::default().effect("INSERT INTO audit VALUES (1)"), Effect::Undone);
        assert_eq!(Lasting::closure(table("a`b"), vec![]).effect("DELETE FROM `A``B`"), Effect::Stays);
    }
}
