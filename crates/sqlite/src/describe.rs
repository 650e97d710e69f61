//! What SQLite says of a statement that it has compiled and not run. Parameters have no types there; a column has
//! the one that its table declares, which SQLite itself follows as far as a value allows.

use lambda_rds_core::backend::Statement;
use lambda_rds_core::describe::{Column, Described, Description, Form, JsonType, Origin, Refused, Writes};
use sqlx::{
    AssertSqlSafe, Column as _, ColumnOrigin, Executor as _, Row as _, SqlSafeStr as _, SqliteConnection,
    Statement as _,
};

/// Shows the statement to SQLite.
///
/// # Errors
/// Those that are not about the statement.
pub(crate) async fn describe(
    connection: Result<&mut SqliteConnection, sqlx::Error>,
    statement: &Statement,
) -> Result<Described, sqlx::Error> {
    let connection = connection?;
    let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
    let prepared = match connection.prepare(sql).await {
        Ok(prepared) => prepared,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(ERROR) => {
            return Ok(Described::Refused(Refused {
                reason: error.message().to_owned(),
                code: error.code().map(Into::into),
                line: None,
            }));
        }
        Err(error) => return Err(error),
    };
    // Through a view, SQLite names the table behind it, whose columns may be joined in any way.
    let views: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'view'")
        .fetch_one(&mut *connection)
        .await?;
    let mut columns = Vec::with_capacity(prepared.columns().len());
    for column in prepared.columns() {
        let (declared, origin) = match column.origin() {
            ColumnOrigin::Table(origin) => {
                let (table, column) = (origin.table.to_string(), origin.name.to_string());
                let declared = declared(connection, &table, &column).await?;
                (declared, Some(Origin { schema: String::new(), table, column }))
            }
            _ => (None, None),
        };
        let (type_name, form, nullable) = match declared {
            Some(Declared { type_name, not_null }) => {
                let form = form(&type_name);
                (type_name.to_lowercase(), form, Some(!not_null).filter(|nullable| *nullable || views == 0))
            }
            None => ("any".to_owned(), Form::Any, None),
        };
        columns.push(Column { name: column.name().to_owned(), type_name, form, nullable, origin });
    }
    let writes = writes(connection, &statement.sql).await?;
    Ok(Described::Statement(Description { parameters: Vec::new(), columns, writes }))
}

/// A column as its table declares it.
struct Declared {
    type_name: String,
    not_null: bool,
}

async fn declared(
    connection: &mut SqliteConnection,
    table: &str,
    column: &str,
) -> Result<Option<Declared>, sqlx::Error> {
    // The only INTEGER PRIMARY KEY is the row's own number: it holds integers alone, and no NULL.
    let row = sqlx::query(
        "SELECT type, \"notnull\" OR (pk = 1 AND type = 'INTEGER' COLLATE NOCASE \
             AND (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) = 1) AS not_null \
         FROM pragma_table_info(?1) WHERE name = ?2",
    )
    .bind(table)
    .bind(column)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (type_name, not_null): (String, i64) = (row.try_get("type")?, row.try_get("not_null")?);
    Ok(Some(Declared { type_name, not_null: not_null != 0 }))
}

/// What the values of a column are that is declared so: by the rules of affinity,
/// <https://sqlite.org/datatype3.html#determination_of_column_affinity>.
fn form(declared: &str) -> Form {
    let declared = declared.to_ascii_uppercase();
    let has = |word: &str| declared.contains(word);
    match declared.as_str() {
        "BOOLEAN" | "BOOL" => Form::Value(JsonType::BoolOrInt),
        _ if has("INT") => Form::Value(JsonType::Int64),
        _ if has("CHAR") || has("CLOB") || has("TEXT") => Form::Value(JsonType::Text),
        _ if has("REAL") || has("FLOA") || has("DOUB") => Form::Value(JsonType::Float),
        "BLOB" => Form::Value(JsonType::Bytes),
        // Dates, decimals and JSON are whatever was stored.
        _ => Form::Any,
    }
}

/// Whether the program that SQLite makes of the statement opens a transaction that writes: exact, without running
/// anything. <https://sqlite.org/opcode.html#Transaction>
async fn writes(connection: &mut SqliteConnection, sql: &str) -> Result<Writes, sqlx::Error> {
    let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN {sql}")))).await?;
    for row in rows {
        let (opcode, p2): (String, i64) = (row.try_get("opcode")?, row.try_get("p2")?);
        if opcode == "Transaction" && p2 != 0 {
            return Ok(Writes::Yes("writes".to_owned()));
        }
    }
    Ok(Writes::Unknown)
}

/// `SQLITE_ERROR`: <https://sqlite.org/rescode.html#error>.
const ERROR: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_follow_the_rules_of_affinity() {
        for (declared, expected) in [
            ("boolean", Form::Value(JsonType::BoolOrInt)),
            ("UNSIGNED BIG INT", Form::Value(JsonType::Int64)),
            ("varchar(20)", Form::Value(JsonType::Text)),
            ("DOUBLE PRECISION", Form::Value(JsonType::Float)),
            ("BLOB", Form::Value(JsonType::Bytes)),
            ("DATETIME", Form::Any),
            ("DECIMAL(10,2)", Form::Any),
            ("", Form::Any),
        ] {
            assert_eq!(form(declared), expected, "{declared}");
        }
    }
}
