//! Whether a query can be read page by page: what the server says of a page of it, and whether its order is total, so
//! that no two rows share a place in it.

use crate::backend::Session;
use crate::describe::{Described, Description, Origin};
use crate::error::Result;
use crate::queries::{Dialect, Query};

use super::Severity;

/// What is wrong with the pages of a query, of which the server says this.
///
/// # Errors
/// If the connection is gone.
pub(super) async fn trouble(
    session: &mut dyn Session,
    query: &Query,
    description: &Description,
    page: Described,
) -> Result<Option<(Severity, String)>> {
    Ok(match page {
        Described::Refused(refused) => {
            let code = refused.code.map(|code| format!(" [{code}]")).unwrap_or_default();
            Some((
                Severity::Error,
                format!("its pages, as `-- page:` has them, are refused: {}{code}", refused.reason),
            ))
        }
        Described::Statement(_) => {
            not_total(session, query, description).await?.map(|message| (Severity::Warning, message))
        }
    })
}

/// Why two rows may share a place in the order, as far as that is sure: no unique index is within its columns, and the
/// last one is of a table. Of what the statement groups, and of views, nobody knows.
async fn not_total(
    session: &mut dyn Session,
    query: &Query,
    description: &Description,
) -> Result<Option<String>> {
    let Some(pages) = query.pages().filter(|_| !query.groups()) else { return Ok(None) };
    let origin = |name: &str| {
        let column = description.columns.iter().find(|column| column.name == name);
        column.and_then(|column| column.origin.as_ref())
    };
    let order: Vec<&str> = pages.order().iter().map(|column| column.name.as_str()).collect();
    let Some(last) = order.last().and_then(|name| origin(name)) else { return Ok(None) };
    let columns: Vec<&Origin> = order.iter().filter_map(|name| origin(name)).collect();
    let mut cure = None;
    for (at, column) in columns.iter().enumerate() {
        let of_table = |other: &Origin| (&other.schema, &other.table) == (&column.schema, &column.table);
        if columns[..at].iter().any(|other| of_table(other)) {
            continue;
        }
        if !query.names(&column.table) {
            return Ok(None);
        }
        let keys = keys(session, query.dialect(), column).await?;
        let has = |name: &String| columns.iter().any(|other| of_table(other) && other.column == *name);
        if keys.iter().any(|key| key.iter().all(has)) {
            return Ok(None);
        }
        if of_table(last) {
            cure = keys.into_iter().next();
        }
    }
    let (order, table) = (order.join(", "), &last.table);
    let cure = match cure {
        Some(key) => format!("Put the key of `{table}` behind it: `{}`", key.join(", ")),
        None => format!("Give `{table}` a primary key, and put that behind it"),
    };
    Ok(Some(format!(
        "no unique index is within the columns `{order}` of `-- page:`, so two rows may be alike in all of them; where a page \
         ends between such rows, the others are left out. {cure}"
    )))
}

/// The columns of each unique index of the table that has this column, the primary key's first. Those that hold for a part
/// of the rows alone, and those of expressions, are left out.
async fn keys(session: &mut dyn Session, dialect: Dialect, of: &Origin) -> Result<Vec<Vec<String>>> {
    let (schema, table) = (literal(dialect, &of.schema), literal(dialect, &of.table));
    let sql = match dialect {
        Dialect::Postgres => format!(
            "SELECT i.indexrelid::text, a.attname::text FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND a.attnum > 0 \
             WHERE n.nspname = {schema} AND c.relname = {table} AND i.indisunique AND i.indisvalid \
             AND i.indpred IS NULL AND k.place <= i.indnkeyatts ORDER BY i.indisprimary DESC, i.indexrelid, k.place"
        ),
        Dialect::Mysql => format!(
            "SELECT index_name, column_name FROM information_schema.statistics WHERE table_schema = {schema} \
             AND table_name = {table} AND non_unique = 0 ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index"
        ),
        // The number of a row has no index.
        Dialect::Sqlite => format!(
            "SELECT '' AS index_name, name AS column_name, 0 AS rank, 0 AS place FROM pragma_table_info({table}) \
             WHERE pk = 1 AND type = 'INTEGER' COLLATE NOCASE \
             AND (SELECT count(*) FROM pragma_table_info({table}) WHERE pk > 0) = 1 \
             UNION ALL SELECT l.name, i.name, l.origin <> 'pk', i.seqno \
             FROM pragma_index_list({table}) AS l, pragma_index_info(l.name) AS i \
             WHERE l.\"unique\" AND NOT l.partial ORDER BY 3, 1, 4"
        ),
    };
    let mut keys: Vec<(String, Vec<Option<String>>)> = Vec::new();
    for row in session.ask(&sql).await? {
        let mut row = row.into_iter();
        let (Some(Some(index)), Some(column)) = (row.next(), row.next()) else { continue };
        match keys.last_mut().filter(|(last, _)| *last == index) {
            Some((_, columns)) => columns.push(column),
            None => keys.push((index, vec![column])),
        }
    }
    Ok(keys.into_iter().filter_map(|(_, columns)| columns.into_iter().collect()).collect())
}

/// A text in SQL. Only on MySQL a backslash is more than one.
fn literal(dialect: Dialect, text: &str) -> String {
    let text = match dialect {
        Dialect::Mysql => text.replace('\\', "\\\\"),
        Dialect::Postgres | Dialect::Sqlite => text.to_owned(),
    };
    format!("'{}'", text.replace('\'', "''"))
}
