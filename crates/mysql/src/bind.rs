//! From arguments to the wire: each in its type's binary form, declared as that type.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>
//!
//! What MySQL has no type for goes as text: a uuid, and json, which a JSON column parses. A decimal is declared
//! as one: as text, the server would compare it as a double.

use bytes::{BufMut, BytesMut};
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Scalar, Value, time};

use crate::decode::types;
use crate::packet::put_counted;

/// Writes the command that runs a prepared statement with these arguments.
///
/// # Errors
/// [`Fault::BadParameter`] for a value that MySQL cannot hold: an infinity, a NaN, a year beyond 9999, a decimal
/// of too many digits. Then what was written makes no sense.
pub(crate) fn execute(id: u32, arguments: &[Argument], out: &mut BytesMut) -> Result<()> {
    out.put_u8(COM_STMT_EXECUTE);
    out.put_u32_le(id);
    // No cursor, and one run.
    out.put_u8(0);
    out.put_u32_le(1);
    if arguments.is_empty() {
        return Ok(());
    }
    let nulls = out.len();
    out.put_bytes(0, arguments.len().div_ceil(8));
    // The types follow.
    out.put_u8(1);
    for (index, argument) in arguments.iter().enumerate() {
        if argument.value == Value::Null {
            out[nulls + index / 8] |= 1 << (index % 8);
        }
        out.put_slice(&[declared_as(argument.kind.scalar), 0]);
    }
    arguments.iter().filter(|argument| argument.value != Value::Null).try_for_each(|it| encode(it, out))
}

fn bug(argument: &Argument, what: &str) -> Error {
    Error::new(Fault::Internal, format!("bug: parameter `{}`: {what}", argument.name))
}

fn refused(argument: &Argument, must: &str) -> Error {
    Error::told(Fault::BadParameter, format!("Parameter `{}` must {must}.", argument.name))
}

fn declared_as(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::Bool => types::TINY,
        Scalar::Int => types::LONGLONG,
        Scalar::Float => types::DOUBLE,
        Scalar::Decimal => types::NEWDECIMAL,
        Scalar::Text | Scalar::Uuid | Scalar::Json => types::VAR_STRING,
        Scalar::Date => types::DATE,
        Scalar::Time => types::TIME,
        // In a session whose time zone is UTC, a column of either type takes either.
        Scalar::Timestamp | Scalar::Timestamptz => types::DATETIME,
        Scalar::Bytes => types::BLOB,
    }
}

fn encode(argument: &Argument, out: &mut BytesMut) -> Result<()> {
    match (argument.kind.scalar, &argument.value) {
        (Scalar::Bool, Value::Bool(value)) => out.put_u8(u8::from(*value)),
        (Scalar::Int, Value::Int(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Scalar::Float, Value::Float(value)) if value.is_finite() => {
            out.extend_from_slice(&value.to_le_bytes());
        }
        (Scalar::Float, Value::Float(_)) => {
            return Err(refused(argument, "be a finite number: this database has no NaN and no infinity"));
        }
        (Scalar::Decimal, Value::Decimal(value)) => decimal(argument, value, out)?,
        (Scalar::Text, Value::Text(value)) | (Scalar::Json, Value::Json(value)) => {
            put_counted(out, value.as_bytes());
        }
        (Scalar::Uuid, Value::Uuid(value)) => put_counted(out, &hyphenated(value)),
        (Scalar::Bytes, Value::Bytes(value)) => put_counted(out, value),
        (Scalar::Date, Value::Date(value)) => {
            let date = date(argument, i64::from(*value))?;
            out.put_u8(4);
            out.extend_from_slice(&date);
        }
        (Scalar::Time, Value::Time(value)) => time_of_day(argument, *value, out)?,
        (Scalar::Timestamp, Value::Timestamp(value)) | (Scalar::Timestamptz, Value::Timestamptz(value)) => {
            let date = date(argument, value.div_euclid(DAY))?;
            let (hour, minute, second, micros) = clock(argument, value.rem_euclid(DAY))?;
            out.put_u8(11);
            out.extend_from_slice(&date);
            out.extend_from_slice(&[hour, minute, second]);
            out.extend_from_slice(&micros.to_le_bytes());
        }
        _ => return Err(bug(argument, "its value is not of its type, or is a list that was not expanded")),
    }
    Ok(())
}

/// The digits as they are, which the server reads as they are up to its limits.
/// <https://dev.mysql.com/doc/refman/8.4/en/precision-math-decimal-characteristics.html>
fn decimal(argument: &Argument, text: &str, out: &mut BytesMut) -> Result<()> {
    const DIGITS: usize = 65;
    const AFTER_POINT: usize = 30;

    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(refused(argument, "be a finite number: this database has no NaN and no infinity"));
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() + fraction.len() > DIGITS || fraction.len() > AFTER_POINT {
        return Err(refused(argument, "have at most 65 digits, 30 of them after the decimal point"));
    }
    put_counted(out, text.as_bytes());
    Ok(())
}

/// Year, month and day of a day counted from 2000-01-01.
fn date(argument: &Argument, days: i64) -> Result<[u8; 4]> {
    let (year, month, day) = time::civil(days);
    match u16::try_from(year) {
        Ok(year @ ..=9999) => {
            let [low, high] = year.to_le_bytes();
            Ok([low, high, month, day])
        }
        _ => Err(refused(argument, "be in the years 0000 to 9999: this database has no others")),
    }
}

/// Microseconds since midnight, up to and including 24:00:00: the sign, days, hours, minutes, seconds, micros.
fn time_of_day(argument: &Argument, micros: i64, out: &mut BytesMut) -> Result<()> {
    let day = u32::from(micros >= DAY);
    let (hour, minute, second, micros) = clock(argument, micros - i64::from(day) * DAY)?;
    out.extend_from_slice(&[12, 0]);
    out.extend_from_slice(&day.to_le_bytes());
    out.extend_from_slice(&[hour, minute, second]);
    out.extend_from_slice(&micros.to_le_bytes());
    Ok(())
}

/// Hour, minute, second and microsecond of a day.
fn clock(argument: &Argument, micros: i64) -> Result<(u8, u8, u8, u32)> {
    let part = |unit: i64, of: i64| u8::try_from(micros / unit % of);
    match (
        part(3_600_000_000, 24),
        part(60_000_000, 60),
        part(1_000_000, 60),
        u32::try_from(micros % 1_000_000),
    ) {
        (Ok(hour), Ok(minute), Ok(second), Ok(micros)) => Ok((hour, minute, second, micros)),
        _ => Err(bug(argument, "a time before midnight")),
    }
}

/// `123e4567-e89b-12d3-a456-426614174000`, as the server's own `UUID()` writes it.
fn hyphenated(uuid: &[u8; 16]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(36);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    text
}

pub(crate) const COM_STMT_EXECUTE: u8 = 0x17;
const DAY: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use lambda_rds_core::value::Kind;

    use super::*;

    fn argument(scalar: Scalar, value: Value) -> Argument {
        Argument { name: "it".into(), kind: Kind { scalar, array: false }, value }
    }

    #[test]
    fn each_value_is_encoded_as_its_type() {
        let check = |scalar, value, want: &[u8]| {
            let mut out = BytesMut::new();
            encode(&argument(scalar, value), &mut out).unwrap();
            assert_eq!(out, want, "{scalar:?}");
        };
        check(Scalar::Bool, Value::Bool(true), &[1]);
        check(Scalar::Int, Value::Int(-2), &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        check(Scalar::Float, Value::Float(1.5), &1.5_f64.to_le_bytes());
        check(Scalar::Decimal, Value::Decimal("-1.50".into()), b"\x05-1.50");
        check(Scalar::Text, Value::Text("é".into()), b"\x02\xc3\xa9");
        check(Scalar::Uuid, Value::Uuid([0xab; 16]), b"\x24abababab-abab-abab-abab-abababababab");
        check(Scalar::Date, Value::Date(0), &[4, 0xd0, 7, 1, 1]);
        check(Scalar::Time, Value::Time(DAY), &[12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(
            Scalar::Timestamp,
            Value::Timestamp(-1),
            &[11, 0xcf, 7, 12, 31, 23, 59, 59, 0x3f, 0x42, 0x0f, 0],
        );
    }

    #[test]
    fn a_command_has_its_nulls_and_types_before_its_values() {
        let mut out = BytesMut::new();
        let arguments = [
            argument(Scalar::Int, Value::Int(1)),
            argument(Scalar::Text, Value::Null),
            argument(Scalar::Bool, Value::Bool(true)),
        ];
        execute(7, &arguments, &mut out).unwrap();
        let mut want = vec![COM_STMT_EXECUTE, 7, 0, 0, 0, 0, 1, 0, 0, 0, 0b10, 1];
        want.extend_from_slice(&[types::LONGLONG, 0, types::VAR_STRING, 0, types::TINY, 0]);
        want.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(out, want);
        let nine = vec![argument(Scalar::Int, Value::Null); 9];
        out.clear();
        execute(7, &nine, &mut out).unwrap();
        assert_eq!(out[10..13], [0xff, 1, 1]);
        out.clear();
        execute(7, &[], &mut out).unwrap();
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn what_mysql_cannot_hold_is_refused_by_name() {
        let check = |scalar, value| {
            let error = encode(&argument(scalar, value), &mut BytesMut::new()).unwrap_err();
            assert_eq!(error.fault(), Fault::BadParameter, "{error}");
            assert!(error.message().starts_with("Parameter `it` must "), "{error}");
        };
        check(Scalar::Float, Value::Float(f64::NAN));
        check(Scalar::Float, Value::Float(f64::INFINITY));
        check(Scalar::Decimal, Value::Decimal("NaN".into()));
        check(Scalar::Decimal, Value::Decimal("-Infinity".into()));
        check(Scalar::Decimal, Value::Decimal("9".repeat(66)));
        check(Scalar::Decimal, Value::Decimal(format!("0.{}", "1".repeat(31))));
        check(Scalar::Date, Value::Date(i32::MAX));
        check(Scalar::Timestamp, Value::Timestamp(i64::MIN));
        check(Scalar::Timestamptz, Value::Timestamptz(i64::MAX));
    }

    #[test]
    fn zeros_do_not_count_as_digits() {
        let text = format!("{}{}.{}{}", "0".repeat(50), "9".repeat(35), "1".repeat(30), "0".repeat(50));
        let mut out = BytesMut::new();
        encode(&argument(Scalar::Decimal, Value::Decimal(text)), &mut out).unwrap();
    }
}
