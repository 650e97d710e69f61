//! What the server says of a statement that it has parsed and not run.

use std::collections::HashMap;

use lambda_rds_core::backend::Statement;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::describe::{
    Column, Described, Description, JsonType, Origin, Parameter, Refused, Writes,
};
use lambda_rds_core::error::Result;
use lambda_rds_core::queries::Dialect;

use crate::classify::{At, Doing, Told};
use crate::decode::Form;
use crate::learned::Field;
use crate::session::Pg;
use crate::types::Decoder;

/// Shows the statement to the server.
///
/// # Errors
/// The server's that are not about the statement, and the wire's.
pub(crate) async fn describe(pg: &mut Pg, wire: &mut Wire, statement: &Statement) -> Result<Described> {
    let known = match pg.look(wire, statement).await? {
        Ok(known) => known,
        Err(notice) => {
            let told = notice.told();
            if is_about_the_statement(told.code) {
                return Ok(Described::Refused(refused(&told, &statement.sql)));
            }
            let at = At { doing: Doing::Read, parameters: false, sql: &statement.sql };
            return Err(crate::classify::error_of(&told, at, pg.log_values));
        }
    };
    let types = known.taken.iter().copied().chain(known.fields.iter().map(|field| field.oid));
    let names = names(pg, wire, &types.collect::<Vec<_>>()).await?;
    let (of_parameters, of_columns) = names.split_at(known.taken.len().min(names.len()));
    let parameters = statement.arguments.iter().zip(of_parameters).map(|(argument, name)| Parameter {
        name: argument.name.clone(),
        type_name: name.clone(),
        trouble: None,
    });
    let parameters = parameters.collect();
    let stored = stored(pg, wire, &known.fields).await?;
    let columns = known.fields.iter().zip(of_columns).map(|(field, type_name)| Column {
        name: field.name.clone(),
        type_name: type_name.clone(),
        form: form(pg.decoder(field.oid)),
        nullable: stored.get(&field.origin).map(|(_, not_null)| !not_null),
        origin: stored.get(&field.origin).map(|(origin, _)| origin.clone()),
    });
    let columns = columns.collect();
    let writes = writes(pg, wire, &statement.sql).await?;
    Ok(Described::Statement(Description { parameters, columns, writes }))
}

/// The server's names of types: short ones for those that are built in, `int8[]`; others with their schema, where it is
/// not on the search path.
async fn names(pg: &mut Pg, wire: &mut Wire, types: &[u32]) -> Result<Vec<String>> {
    if types.is_empty() {
        return Ok(Vec::new());
    }
    // Numbers only.
    let asked: Vec<String> = types
        .iter()
        .map(|oid| {
            if *oid >= FIRST_CUSTOM_OID {
                return format!("pg_catalog.format_type({oid}, NULL)");
            }
            format!(
                "(SELECT coalesce(e.typname || '[]', t.typname) FROM pg_catalog.pg_type t LEFT JOIN \
                 pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' WHERE t.oid = {oid})"
            )
        })
        .collect();
    let rows = pg.simple(wire, &format!("SELECT {}", asked.join(", ")), At::ours(Doing::Read)).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    Ok(row.into_iter().map(Option::unwrap_or_default).collect())
}

/// `FirstNormalObjectId` of the server's `access/transam.h`.
const FIRST_CUSTOM_OID: u32 = 16_384;

/// Classes 42 (syntax, names, types) and 22 (values) and 0A (what it does not support) are about the text of the
/// statement; anything else is about the server or the session.
fn is_about_the_statement(code: &str) -> bool {
    ["42", "22", "0A", "2B", "3F", "26"].iter().any(|class| code.starts_with(class))
}

fn refused(told: &Told<'_>, sql: &str) -> Refused {
    let line = told.position.map(|at| line_at(sql, at));
    let hint = told.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    Refused { reason: format!("{}{hint}", told.message), code: Some(told.code.to_owned()), line }
}

/// The line of the character at this place, which the server counts from 1.
fn line_at(sql: &str, place: usize) -> usize {
    1 + sql.chars().take(place.saturating_sub(1)).filter(|character| *character == '\n').count()
}

/// What a column becomes in a reply.
fn form(decoder: Decoder) -> lambda_rds_core::describe::Form {
    use lambda_rds_core::describe::Form as Described;
    match decoder {
        Decoder::Value(form) => Described::Value(json_type(form)),
        Decoder::Array(form) => Described::Array(json_type(form)),
        Decoder::Text => Described::Value(JsonType::Text),
        Decoder::Numbers => Described::Array(JsonType::Float),
        Decoder::Texts(_) => Described::Array(JsonType::Text),
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

/// The tables' columns, and whether they hold no NULL. Views, whose columns never say so, and foreign tables, where
/// nobody enforces it, are left out.
async fn stored(
    pg: &mut Pg,
    wire: &mut Wire,
    fields: &[Field],
) -> Result<HashMap<(u32, i16), (Origin, bool)>> {
    let mut relations: Vec<String> =
        fields.iter().filter(|field| field.origin.0 != 0).map(|field| field.origin.0.to_string()).collect();
    relations.sort();
    relations.dedup();
    if relations.is_empty() {
        return Ok(HashMap::new());
    }
    // Numbers only, and no statement that a pooler's next client would meet.
    let sql = format!(
        "SELECT attrelid::int8 AS relation, attnum::int4 AS number, attnotnull AS not_null, \
                n.nspname::text AS schema, c.relname::text AS name, attname::text AS column_name \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.attrelid IN ({})",
        relations.join(", ")
    );
    let mut found = HashMap::new();
    for row in pg.simple(wire, &sql, At::ours(Doing::Read)).await? {
        if let Ok([Some(relation), Some(number), Some(not_null), Some(schema), Some(table), Some(column)]) =
            <[Option<String>; 6]>::try_from(row)
            && let (Ok(relation), Ok(number)) = (relation.parse(), number.parse())
        {
            found.insert((relation, number), (Origin { schema, table, column }, not_null == "t"));
        }
    }
    Ok(found)
}

/// Whether the statement calls a function that the server lets no read run, or one that may be such. A function
/// that is declared VOLATILE, or declared nothing, may do anything. Its text proves that it writes where every way
/// through it does; that it does not, only running it shows: it may call others, and put statements together.
/// Nor would asking the server in a read-only transaction: it looks into a function when it runs it, and neither
/// PREPARE nor EXPLAIN does.
async fn writes(pg: &mut Pg, wire: &mut Wire, sql: &str) -> Result<Writes> {
    if let Some(function) = REFUSED_TO_READS.iter().find(|function| calls(sql, function)) {
        return Ok(Writes::Yes(format!("calls {function}()")));
    }
    let volatile = "SELECT DISTINCT p.proname::text AS name FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
         WHERE p.provolatile = 'v' AND p.prokind = 'f' AND l.lanname NOT IN ('internal', 'c') ORDER BY 1";
    let mut perhaps = Writes::Unknown;
    for row in pg.simple(wire, volatile, At::ours(Doing::Read)).await? {
        let [Some(name)] = row.as_slice() else { continue };
        if !calls(sql, name) {
            continue;
        }
        if let Some(how) = always_writes(pg, wire, name).await? {
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
async fn always_writes(pg: &mut Pg, wire: &mut Wire, name: &str) -> Result<Option<String>> {
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
    for row in pg.simple(wire, &sql, At::ours(Doing::Read)).await? {
        let [Some(language), Some(body)] = row.as_slice() else { continue };
        let body = body.split_once("BEGIN ATOMIC").map_or(body.as_str(), |(_, statements)| statements);
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
