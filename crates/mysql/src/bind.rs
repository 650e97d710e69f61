//! From arguments to the driver: each in its type's binary form, declared as that type.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>
//!
//! What MySQL has no type for goes as text: a uuid, and json, which a JSON column parses. A decimal is declared
//! as one: as text, the server would compare it as a double.

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Scalar, Value, time};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::mysql::types::MySqlTime;
use sqlx::mysql::{MySqlArguments, MySqlTypeInfo};
use sqlx::types::Decimal;
use sqlx::types::time::{Date, PrimitiveDateTime};
use sqlx::{Arguments as _, Encode, MySql, Type};

/// Encodes the arguments.
///
/// # Errors
/// [`Fault::BadParameter`] for a value that MySQL cannot hold: an infinity, a NaN, a year beyond 9999, a decimal
/// of too many digits.
pub(crate) fn bind(arguments: &[Argument]) -> Result<MySqlArguments> {
    let mut bound = MySqlArguments::default();
    bound.reserve(arguments.len(), arguments.len() * 16);
    for argument in arguments {
        bound.add(Encoder(argument)).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => bug(argument, &error.to_string()),
        })?;
    }
    Ok(bound)
}

fn bug(argument: &Argument, what: &str) -> Error {
    Error::new(Fault::Internal, format!("bug: parameter `{}`: {what}", argument.name))
}

fn refused(argument: &Argument, must: &str) -> Error {
    Error::told(Fault::BadParameter, format!("Parameter `{}` must {must}.", argument.name))
}

fn declared_as(scalar: Scalar) -> MySqlTypeInfo {
    match scalar {
        Scalar::Bool => <i8 as Type<MySql>>::type_info(),
        Scalar::Int => <i64 as Type<MySql>>::type_info(),
        Scalar::Float => <f64 as Type<MySql>>::type_info(),
        Scalar::Decimal => <Decimal as Type<MySql>>::type_info(),
        Scalar::Text | Scalar::Uuid | Scalar::Json => <str as Type<MySql>>::type_info(),
        Scalar::Date => <Date as Type<MySql>>::type_info(),
        Scalar::Time => <MySqlTime as Type<MySql>>::type_info(),
        // In a session whose time zone is UTC, a column of either type takes either.
        Scalar::Timestamp | Scalar::Timestamptz => <PrimitiveDateTime as Type<MySql>>::type_info(),
        Scalar::Bytes => <[u8] as Type<MySql>>::type_info(),
    }
}

/// One argument, as sqlx asks for it.
struct Encoder<'a>(&'a Argument);

impl Type<MySql> for Encoder<'_> {
    fn type_info() -> MySqlTypeInfo {
        // Never asked for, since `produces` always says.
        <str as Type<MySql>>::type_info()
    }
}

impl<'q> Encode<'q, MySql> for Encoder<'_> {
    fn encode_by_ref(&self, out: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        if self.0.value == Value::Null {
            return Ok(IsNull::Yes);
        }
        encode(self.0, out)?;
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<MySqlTypeInfo> {
        Some(declared_as(self.0.kind.scalar))
    }
}

fn encode(argument: &Argument, out: &mut Vec<u8>) -> Result<()> {
    match (argument.kind.scalar, &argument.value) {
        (Scalar::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (Scalar::Int, Value::Int(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Scalar::Float, Value::Float(value)) if value.is_finite() => {
            out.extend_from_slice(&value.to_le_bytes());
        }
        (Scalar::Float, Value::Float(_)) => {
            return Err(refused(argument, "be a finite number: this database has no NaN and no infinity"));
        }
        (Scalar::Decimal, Value::Decimal(value)) => decimal(argument, value, out)?,
        (Scalar::Text, Value::Text(value)) | (Scalar::Json, Value::Json(value)) => {
            string(value.as_bytes(), out);
        }
        (Scalar::Uuid, Value::Uuid(value)) => string(&hyphenated(value), out),
        (Scalar::Bytes, Value::Bytes(value)) => string(value, out),
        (Scalar::Date, Value::Date(value)) => {
            let date = date(argument, i64::from(*value))?;
            out.push(4);
            out.extend_from_slice(&date);
        }
        (Scalar::Time, Value::Time(value)) => time_of_day(argument, *value, out)?,
        (Scalar::Timestamp, Value::Timestamp(value)) | (Scalar::Timestamptz, Value::Timestamptz(value)) => {
            let date = date(argument, value.div_euclid(DAY))?;
            let (hour, minute, second, micros) = clock(argument, value.rem_euclid(DAY))?;
            out.push(11);
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
fn decimal(argument: &Argument, text: &str, out: &mut Vec<u8>) -> Result<()> {
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
    string(text.as_bytes(), out);
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
fn time_of_day(argument: &Argument, micros: i64, out: &mut Vec<u8>) -> Result<()> {
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

/// A string with its length before it.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let length = (bytes.len() as u64).to_le_bytes();
    match bytes.len() {
        ..0xfb => out.push(length[0]),
        0xfb..0x1_0000 => out.extend_from_slice(&[0xfc, length[0], length[1]]),
        0x1_0000..0x100_0000 => out.extend_from_slice(&[0xfd, length[0], length[1], length[2]]),
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&length);
        }
    }
    out.extend_from_slice(bytes);
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
            let mut out = Vec::new();
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
    fn lengths_have_their_four_forms() {
        let check = |length: usize, want: &[u8]| {
            let mut out = Vec::new();
            string(&vec![b'x'; length], &mut out);
            assert_eq!(&out[..out.len() - length], want, "{length}");
        };
        check(250, &[250]);
        check(251, &[0xfc, 251, 0]);
        check(0xffff, &[0xfc, 0xff, 0xff]);
        check(0x1_0000, &[0xfd, 0, 0, 1]);
        check(0x100_0000, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_mysql_cannot_hold_is_refused_by_name() {
        let check = |scalar, value| {
            let error = encode(&argument(scalar, value), &mut Vec::new()).unwrap_err();
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
        let mut out = Vec::new();
        encode(&argument(Scalar::Decimal, Value::Decimal(text)), &mut out).unwrap();
    }
}
