//! What the server says of a statement that it has prepared and not run. Of parameters it says how many there are,
//! and converts whatever is bound to them.

use lambda_rds_core::backend::Statement;
use lambda_rds_core::describe::{
    Column, Described as Answer, Description, Form as Described, JsonType, Refused, Writes,
};
use sqlx::mysql::{MySqlColumn, MySqlConnection, MySqlDatabaseError, MySqlStatement};
use sqlx::{
    AssertSqlSafe, Column as _, ColumnOrigin, Executor as _, SqlSafeStr as _, Statement as _, TypeInfo as _,
};

use crate::decode::{self, Form};

/// Shows the statement to the server.
///
/// # Errors
/// The server's that are not about the statement, and the wire's.
pub(crate) async fn describe(
    connection: &mut MySqlConnection,
    statement: &Statement,
) -> Result<Answer, sqlx::Error> {
    // The session is read-only, and the server looks at that when it prepares: an exact answer to whether it writes.
    let (prepared, writes) = match prepare(connection, statement).await? {
        Err(error) if error.number() == READ_ONLY_TRANSACTION => {
            connection.execute("START TRANSACTION READ WRITE").await?;
            let prepared = prepare(connection, statement).await;
            connection.execute("ROLLBACK").await?;
            (prepared?, Writes::Yes("writes".to_owned()))
        }
        prepared => (prepared, Writes::Unknown),
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) if is_about_the_statement(&error) => return Ok(Answer::Refused(refused(&error))),
        Err(error) => return Err(sqlx::Error::Database(error)),
    };
    // A merged view's columns say the table behind it, which the view may join in any way.
    let views: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()")
            .fetch_one(&mut *connection)
            .await?;
    let mut columns = Vec::with_capacity(prepared.columns().len());
    for column in prepared.columns() {
        let form = form(column);
        // A zero date is replied as null.
        let dated =
            matches!(form, Described::Value(JsonType::Date | JsonType::Timestamp | JsonType::Timestamptz));
        let nullable = match column.origin() {
            ColumnOrigin::Table(origin) if views == 0 && !dated => {
                nullable(connection, &origin.table, &origin.name).await?
            }
            _ => None,
        };
        let (name, type_name) = (column.name().to_owned(), column.type_info().name().to_lowercase());
        columns.push(Column { name, type_name, form, nullable });
    }
    Ok(Answer::Statement(Description { parameters: Vec::new(), columns, writes }))
}

/// Prepares a statement, and gives the server's own error apart from all others.
async fn prepare(
    connection: &mut MySqlConnection,
    statement: &Statement,
) -> Result<Result<MySqlStatement, Box<MySqlDatabaseError>>, sqlx::Error> {
    let sql = AssertSqlSafe(statement.sql.clone()).into_sql_str();
    match connection.prepare(sql).await {
        Ok(prepared) => Ok(Ok(prepared)),
        Err(sqlx::Error::Database(error)) => {
            error.try_downcast::<MySqlDatabaseError>().map(Err).map_err(sqlx::Error::Database)
        }
        Err(error) => Err(error),
    }
}

/// Whether a column of a table, named with its schema, may hold NULL.
async fn nullable(
    connection: &mut MySqlConnection,
    table: &str,
    column: &str,
) -> Result<Option<bool>, sqlx::Error> {
    let nullable: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(c.is_nullable = 'YES' AS SIGNED) FROM information_schema.columns c \
         JOIN information_schema.tables t USING (table_schema, table_name) \
         WHERE t.table_type = 'BASE TABLE' AND c.table_schema = DATABASE() \
         AND CONCAT(c.table_schema, '.', c.table_name) = ? AND c.column_name = ?",
    )
    .bind(table)
    .bind(column)
    .fetch_optional(connection)
    .await?;
    Ok(nullable.map(|nullable| nullable != 0))
}

/// SQLSTATE class 42 is, and the errors that have no class of their own but can only come from the statement.
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>
fn is_about_the_statement(error: &MySqlDatabaseError) -> bool {
    const UNSUPPORTED_PS: u16 = 1295;
    const NO_SUCH_FUNCTION: u16 = 1305;
    const WRONG_NUMBER_OF_PARAMETERS: u16 = 1318;
    error
        .code()
        .is_some_and(|state| state.starts_with("42") || state.starts_with("21") || state.starts_with("22"))
        || matches!(error.number(), UNSUPPORTED_PS | NO_SUCH_FUNCTION | WRONG_NUMBER_OF_PARAMETERS)
}

fn refused(error: &MySqlDatabaseError) -> Refused {
    Refused {
        reason: error.message().to_owned(),
        code: Some(error.number().to_string()),
        line: line(error.message()),
    }
}

/// The line of the statement that a message ends with: `… near 'x' at line 2`. Only syntax errors have one.
fn line(message: &str) -> Option<usize> {
    message.rsplit_once(" at line ")?.1.parse().ok()
}

/// What a column becomes in a reply.
fn form(column: &MySqlColumn) -> Described {
    match decode::form(column.type_info()) {
        Some(form) => Described::Value(json_type(form)),
        None => {
            let name = column.name();
            Described::Outside { cast: format!("ST_AsText({name}) AS {name}") }
        }
    }
}

fn json_type(form: Form) -> JsonType {
    match form {
        Form::Bool | Form::UnsignedBool => JsonType::BoolOrInt,
        Form::Int1 | Form::Int2 | Form::Int4 => JsonType::Int32,
        Form::Uint1 | Form::Uint2 | Form::Uint4 => JsonType::Uint32,
        Form::Int8 => JsonType::Int64,
        Form::Uint8 | Form::Bit => JsonType::Uint64,
        Form::Float4 | Form::Float8 => JsonType::Float,
        Form::Decimal => JsonType::Decimal,
        // A TIME is a duration of up to 838 hours, with a sign.
        Form::Text | Form::Time => JsonType::Text,
        Form::Bytes => JsonType::Bytes,
        Form::Json => JsonType::Json,
        Form::Date => JsonType::Date,
        Form::Datetime => JsonType::Timestamp,
        Form::Timestamp => JsonType::Timestamptz,
        Form::Null => JsonType::Null,
    }
}

/// `ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION`
const READ_ONLY_TRANSACTION: u16 = 1792;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_name_their_line() {
        assert_eq!(line("You have an error in your SQL syntax; … near 'x' at line 12"), Some(12));
        assert_eq!(line("Unknown column 'at line ' in 'field list'"), None);
        assert_eq!(line("Table 'a.b' doesn't exist"), None);
    }
}
