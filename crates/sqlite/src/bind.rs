//! From values to SQLite's arguments.

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Value, time};
use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// The arguments in the form in which SQLite stores such values: it has integers, doubles, text and blobs.
pub(crate) fn arguments(arguments: &[Argument]) -> Result<SqliteArguments> {
    let mut bound = SqliteArguments::default();
    for argument in arguments {
        match &argument.value {
            Value::Null => bound.add(None::<i64>),
            Value::Bool(value) => bound.add(i64::from(*value)),
            Value::Int(value) => bound.add(*value),
            Value::Float(value) if value.is_nan() => {
                return Err(Error::told(
                    Fault::BadParameter,
                    format!("Parameter `{}` must be a number; SQLite has no NaN.", argument.name),
                ));
            }
            Value::Float(value) => bound.add(*value),
            Value::Decimal(value) | Value::Text(value) | Value::Json(value) => bound.add(value.as_str()),
            Value::Uuid(value) => bound.add(hyphenated(value)),
            Value::Date(days) => bound.add(written(|out| time::write_date(out, *days))?),
            Value::Time(micros) => bound.add(written(|out| time::write_time(out, *micros))?),
            Value::Timestamp(micros) => bound.add(written(|out| time::write_timestamp(out, *micros, false))?),
            Value::Timestamptz(micros) => {
                bound.add(written(|out| time::write_timestamp(out, *micros, true))?)
            }
            Value::Bytes(value) => bound.add(value.as_slice()),
            Value::Array(_) => {
                return Err(Error::new(
                    Fault::Internal,
                    format!("the array `{}` was not expanded for SQLite", argument.name),
                ));
            }
        }
        .map_err(|error| Error::new(Fault::Internal, format!("`{}`: {error}", argument.name)))?;
    }
    Ok(bound)
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Result<String> {
    let mut out = Vec::with_capacity(32);
    write(&mut out);
    String::from_utf8(out).map_err(|error| Error::new(Fault::Internal, error.to_string()))
}

/// `123e4567-e89b-12d3-a456-426614174000`
fn hyphenated(uuid: &[u8; 16]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}
