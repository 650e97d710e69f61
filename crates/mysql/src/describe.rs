//! What the server says of a statement that it has prepared and not run. Of parameters it says how many there are,
//! and converts whatever is bound to them.

use lambda_rds_core::backend::Statement;
use lambda_rds_core::connect::live::Protocol as _;
use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::describe::{
    Column, Described as Answer, Description, Form as Described, JsonType, Origin, Refused, Writes,
};
use lambda_rds_core::error::Result;

use crate::classify::{At, Doing};
use crate::decode::{self, Form};
use crate::packet::Refusal;
use crate::session::{MySql, take};
use crate::talk::{Collection, Command};

/// Shows the statement to the server.
///
/// # Errors
/// The server's that are not about the statement, and the wire's.
pub(crate) async fn describe(session: &mut MySql, wire: &mut Wire, statement: &Statement) -> Result<Answer> {
    // The session is read-only, and the server looks at that when it prepares: an exact answer to whether it writes.
    let mut prepared = prepare(session, wire, statement).await?;
    let mut writes = Writes::Unknown;
    if prepared.refused.as_ref().is_some_and(|refusal| refusal.number == READ_ONLY_TRANSACTION) {
        session.ask(wire, "START TRANSACTION READ WRITE").await?;
        let writing = prepare(session, wire, statement).await;
        session.ask(wire, "ROLLBACK").await?;
        prepared = writing?;
        writes = Writes::Yes("writes".to_owned());
    }
    if let Some(refusal) = &prepared.refused {
        if is_about_the_statement(refusal) {
            return Ok(Answer::Refused(refused(refusal)));
        }
        return Err(session.error(refusal, At::ours(Doing::Read)));
    }
    // A merged view's columns say the table behind it, which the view may join in any way.
    let views = "SELECT COUNT(*) FROM information_schema.views WHERE table_schema = DATABASE()";
    let has_views = session.ask(wire, views).await? != [[Some("0".to_owned())]];
    let mut columns = Vec::with_capacity(prepared.columns.len());
    for column in &prepared.columns {
        let form = form(column);
        // A zero date is replied as null.
        let dated =
            matches!(form, Described::Value(JsonType::Date | JsonType::Timestamp | JsonType::Timestamptz));
        let nullable = nullable(session, wire, column).await?;
        let origin = nullable.map(|_| origin(column));
        // What may be NULL in the table may be so behind a view.
        let nullable = nullable.filter(|nullable| *nullable || !(has_views || dated));
        let (name, type_name) = (column.name.clone(), column.type_name().to_owned());
        columns.push(Column { name, type_name, form, nullable, origin });
    }
    Ok(Answer::Statement(Description { parameters: Vec::new(), columns, writes }))
}

/// Prepares a statement and forgets it again.
async fn prepare(session: &mut MySql, wire: &mut Wire, statement: &Statement) -> Result<Collection> {
    let commands = [Command::Prepare(&statement.sql)];
    let [answer] = take(session.collect(wire, &commands, Doing::Read).await?);
    if let Some(prepared) = answer.prepared {
        Command::Close(prepared.id).put(wire.output(), usize::MAX)?;
    }
    Ok(answer)
}

/// Whether a column of a table of this database may hold NULL. `None` if it is none.
async fn nullable(session: &mut MySql, wire: &mut Wire, column: &decode::Described) -> Result<Option<bool>> {
    let [schema, table, name] = &column.origin;
    if table.is_empty() || name.is_empty() {
        return Ok(None);
    }
    let question = format!(
        "SELECT c.is_nullable FROM information_schema.columns c \
         JOIN information_schema.tables t USING (table_schema, table_name) \
         WHERE t.table_type = 'BASE TABLE' AND c.table_schema = DATABASE() \
         AND c.table_schema = {} AND c.table_name = {} AND c.column_name = {}",
        quoted(schema),
        quoted(table),
        quoted(name)
    );
    let rows = session.ask(wire, &question).await?;
    Ok(rows.first().and_then(|row| row.first()?.as_deref()).map(|nullable| nullable != "NO"))
}

/// Where a column of a table stands.
fn origin(column: &decode::Described) -> Origin {
    let [schema, table, column] = column.origin.clone();
    Origin { schema, table, column }
}

/// A text as SQL has it, in a session of ours, where backslashes escape.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// SQLSTATE class 42 is, and the errors that have no class of their own but can only come from the statement.
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>
fn is_about_the_statement(error: &Refusal) -> bool {
    const UNSUPPORTED_PS: u16 = 1295;
    const NO_SUCH_FUNCTION: u16 = 1305;
    const WRONG_NUMBER_OF_PARAMETERS: u16 = 1318;
    ["42", "21", "22"].iter().any(|class| error.sqlstate.starts_with(class))
        || matches!(error.number, UNSUPPORTED_PS | NO_SUCH_FUNCTION | WRONG_NUMBER_OF_PARAMETERS)
}

fn refused(error: &Refusal) -> Refused {
    Refused {
        reason: error.message.clone(),
        code: Some(error.number.to_string()),
        line: line(&error.message),
    }
}

/// The line of the statement that a message ends with: `… near 'x' at line 2`. Only syntax errors have one.
fn line(message: &str) -> Option<usize> {
    message.rsplit_once(" at line ")?.1.parse().ok()
}

/// What a column becomes in a reply.
fn form(column: &decode::Described) -> Described {
    match column.form() {
        Some(Form::Vector) => Described::Array(JsonType::Float),
        Some(form) => Described::Value(json_type(form)),
        None => {
            let name = &column.name;
            Described::Outside { cast: format!("CAST({name} AS CHAR) AS {name}") }
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
        Form::Float4 | Form::Float8 | Form::Vector => JsonType::Float,
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
    fn names_are_quoted() {
        assert_eq!(quoted(r"it's a \\ name"), r"'it''s a \\\\ name'");
    }

    #[test]
    fn syntax_errors_name_their_line() {
        assert_eq!(line("You have an error in your SQL syntax; … near 'x' at line 12"), Some(12));
        assert_eq!(line("Unknown column 'at line ' in 'field list'"), None);
        assert_eq!(line("Table 'a.b' doesn't exist"), None);
    }
}
