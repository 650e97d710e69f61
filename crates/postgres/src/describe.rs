//! What the server says of a statement that it has parsed and not run.

use std::collections::HashMap;
use std::slice;

use lambda_rds_core::backend::Statement;
use lambda_rds_core::describe::{Column, Described, Description, JsonType, Parameter, Refused, Writes};
use lambda_rds_core::queries::Dialect;
use sqlx::postgres::{PgColumn, PgConnection, PgDatabaseError, PgErrorPosition, PgTypeInfo};
use sqlx::{AssertSqlSafe, Column as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _};

use crate::bind::{self, Preparing};
use crate::decode::{self, Form, type_name};

/// Shows the statement to the server.
///
/// # Errors
/// The server's that are not about the statement, and the wire's.
pub(crate) async fn describe(
    connection: &mut PgConnection,
    statement: &Statement,
    preparing: Preparing,
) -> Result<Described, sqlx::Error> {
    let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
    let prepared = match bind::prepare(connection, sql, &statement.arguments, preparing).await {
        Ok(prepared) => prepared,
        Err(sqlx::Error::Database(error)) => match error.try_downcast::<PgDatabaseError>() {
            Ok(error) if is_about_the_statement(error.code()) => {
                return Ok(Described::Refused(refused(&error, &statement.sql)));
            }
            Ok(error) => return Err(sqlx::Error::Database(error)),
            Err(error) => return Err(sqlx::Error::Database(error)),
        },
        Err(error) => return Err(error),
    };
    let resolved: Vec<PgTypeInfo> = match prepared.parameters() {
        Some(Either::Left(parameters)) => parameters.to_vec(),
        _ => Vec::new(),
    };
    let parameter = |(argument, type_info)| {
        let trouble = bind::check(slice::from_ref(argument), slice::from_ref(type_info)).err();
        Parameter {
            name: argument.name.clone(),
            type_name: type_name(type_info),
            trouble: trouble.map(|error| error.detail().to_owned()),
        }
    };
    let parameters = statement.arguments.iter().zip(&resolved).map(parameter).collect();
    let not_null = not_null(connection, prepared.columns()).await?;
    let column = |column: &PgColumn| Column {
        name: column.name().to_owned(),
        type_name: type_name(column.type_info()),
        form: form(column),
        nullable: origin(column).and_then(|origin| not_null.get(&origin)).map(|not_null| !not_null),
    };
    let columns = prepared.columns().iter().map(column).collect();
    let writes = writes(connection, &statement.sql).await?;
    Ok(Described::Statement(Description { parameters, columns, writes }))
}

/// Classes 42 (syntax, names, types) and 22 (values) and 0A (what it does not support) are about the text of the
/// statement; anything else is about the server or the session.
fn is_about_the_statement(code: &str) -> bool {
    ["42", "22", "0A", "2B", "3F", "26"].iter().any(|class| code.starts_with(class))
}

fn refused(error: &PgDatabaseError, sql: &str) -> Refused {
    let line = match error.position() {
        Some(PgErrorPosition::Original(at)) => Some(line_at(sql, at)),
        _ => None,
    };
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Refused { reason: format!("{}{hint}", error.message()), code: Some(error.code().to_owned()), line }
}

/// The line of the character at this place, which the server counts from 1.
fn line_at(sql: &str, place: usize) -> usize {
    1 + sql.chars().take(place.saturating_sub(1)).filter(|character| *character == '\n').count()
}

/// What a column becomes in a reply.
fn form(column: &PgColumn) -> lambda_rds_core::describe::Form {
    use lambda_rds_core::describe::Form as Described;
    match decode::form(column.type_info()) {
        Some((form, true)) => Described::Array(json_type(form)),
        Some((form, false)) => Described::Value(json_type(form)),
        None => {
            let name = column.name();
            Described::Outside { cast: format!("{name}::text AS {name}") }
        }
    }
}

fn json_type(form: Form) -> JsonType {
    match form {
        Form::Bool => JsonType::Bool,
        Form::Int2 | Form::Int4 => JsonType::Int32,
        Form::Oid => JsonType::Uint32,
        Form::Int8 => JsonType::Int64,
        Form::Xid8 => JsonType::Uint64,
        Form::Float4 | Form::Float8 => JsonType::Float,
        Form::Numeric | Form::Money => JsonType::Decimal,
        Form::Uuid => JsonType::Uuid,
        Form::Date => JsonType::Date,
        Form::Time => JsonType::Time,
        Form::Timestamp => JsonType::Timestamp,
        Form::Timestamptz => JsonType::Timestamptz,
        Form::Interval => JsonType::Interval,
        Form::Bytes => JsonType::Bytes,
        Form::Json | Form::Jsonb => JsonType::Json,
        // A time with an offset, and the text forms.
        Form::Text
        | Form::Char
        | Form::Timetz
        | Form::Network
        | Form::Macaddr
        | Form::Bits
        | Form::Range(_) => JsonType::Text,
        Form::Void => JsonType::Null,
    }
}

/// The table's column that a result's column is.
fn origin(column: &PgColumn) -> Option<(u32, i16)> {
    Some((column.relation_id()?.0, column.relation_attribute_no()?))
}

/// Whether the tables' columns hold no NULL. Views, whose columns never say so, and foreign tables, where nobody
/// enforces it, are left out.
async fn not_null(
    connection: &mut PgConnection,
    columns: &[PgColumn],
) -> Result<HashMap<(u32, i16), bool>, sqlx::Error> {
    let mut relations: Vec<String> =
        columns.iter().filter_map(|column| Some(column.relation_id()?.0.to_string())).collect();
    relations.sort();
    relations.dedup();
    if relations.is_empty() {
        return Ok(HashMap::new());
    }
    // Numbers only, and no statement that a pooler's next client would meet.
    let sql = format!(
        "SELECT attrelid::int8 AS relation, attnum::int4 AS number, attnotnull AS not_null \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.attrelid IN ({})",
        relations.join(", ")
    );
    let mut found = HashMap::new();
    for row in connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await? {
        let (relation, number): (i64, i32) = (row.try_get("relation")?, row.try_get("number")?);
        if let (Ok(relation), Ok(number)) = (u32::try_from(relation), i16::try_from(number)) {
            found.insert((relation, number), row.try_get("not_null")?);
        }
    }
    Ok(found)
}

/// Whether the statement calls a function that the server lets no read run, or one that may be such. A function
/// that is declared VOLATILE, or declared nothing, may do anything. Its text proves that it writes where every way
/// through it does; that it does not, only running it shows: it may call others, and put statements together.
/// Nor would asking the server in a read-only transaction: it looks into a function when it runs it, and neither
/// PREPARE nor EXPLAIN does.
async fn writes(connection: &mut PgConnection, sql: &str) -> Result<Writes, sqlx::Error> {
    if let Some(function) = REFUSED_TO_READS.iter().find(|function| calls(sql, function)) {
        return Ok(Writes::Yes(format!("calls {function}()")));
    }
    let volatile = "SELECT DISTINCT p.proname::text AS name FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         WHERE p.provolatile = 'v' AND p.prokind = 'f' AND l.lanname NOT IN ('internal', 'c') ORDER BY 1";
    let mut perhaps = Writes::Unknown;
    for row in connection.fetch_all(sqlx::raw_sql(volatile)).await? {
        let name: String = row.try_get("name")?;
        if !calls(sql, &name) {
            continue;
        }
        if let Some(how) = always_writes(connection, &name).await? {
            return Ok(Writes::Yes(format!("calls the function {name}, which {how}")));
        }
        perhaps = Writes::Perhaps(format!(
            "calls the function {name}, which is declared VOLATILE: if it only reads, declare it STABLE"
        ));
    }
    Ok(perhaps)
}

/// How each function of this name writes, if each does so whichever way it takes. By the name alone nobody knows
/// which of several is called.
async fn always_writes(connection: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    // The text of a body in standard SQL is nowhere but in the whole definition.
    let sql = format!(
        "SELECT l.lanname::text AS language, \
                CASE WHEN l.lanname IN ('sql', 'plpgsql') \
                     THEN coalesce(nullif(p.prosrc, ''), pg_catalog.pg_get_functiondef(p.oid)) ELSE '' END AS body \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         WHERE p.proname = '{}' AND p.prokind = 'f'",
        name.replace('\'', "''")
    );
    let mut how = None;
    for row in connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await? {
        let (language, body): (String, String) = (row.try_get("language")?, row.try_get("body")?);
        let body = body.split_once("BEGIN ATOMIC").map_or(&*body, |(_, statements)| statements);
        match Dialect::Postgres.body_writes(body, language != "sql") {
            Some(word) => how = Some(format!("always writes ({word})")),
            None => return Ok(None),
        }
    }
    Ok(how)
}

/// Whether this name stands before a parenthesis.
fn calls(sql: &str, name: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_' || character == '$';
    let folded = sql.to_lowercase();
    let name = name.to_lowercase();
    folded.match_indices(&name).any(|(at, _)| {
        let before = folded[..at].chars().next_back();
        !before.is_some_and(is_name)
            && folded[at + name.len()..].trim_start_matches('"').trim_start().starts_with('(')
    })
}

/// `PreventCommandIfReadOnly` in the server's `commands/sequence.c` and `libpq/be-fsstubs.c`.
const REFUSED_TO_READS: [&str; 9] = [
    "nextval",
    "setval",
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_put",
    "lo_unlink",
    "lo_truncate",
    "lowrite",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_name_before_a_parenthesis() {
        for (sql, expected) in [
            ("SELECT nextval('s')", true),
            ("SELECT pg_catalog.NEXTVAL ('s')", true),
            ("SELECT \"nextval\"('s')", true),
            ("SELECT my_nextval('s')", false),
            ("SELECT nextval FROM t WHERE (a = 1)", false),
            ("SELECT nextvalue('s')", false),
        ] {
            assert_eq!(calls(sql, "nextval"), expected, "{sql}");
        }
    }

    #[test]
    fn places_are_lines() {
        let sql = "SELECT é,\n  x\nFROM t";
        assert_eq!([1, 9, 11, 13, 15, 99].map(|place| line_at(sql, place)), [1, 1, 2, 2, 3, 3]);
    }
}
