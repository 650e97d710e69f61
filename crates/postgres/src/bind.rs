//! From arguments to the wire.
//!
//! Every argument is declared as the type that its query file names and sent in that type's binary form, but two: `text`
//! and `json` are left for the server to infer, as it does for a quoted literal, and travel as text. So the server itself
//! reads them as what the place is: `text` goes into a uuid, a number, an enum or a date, and what does not fit is the
//! server's to say. Those whose type it cannot infer (`concat(:name)`, and whatever else takes any type) are declared after
//! all, and only those.

use bytes::{BufMut, BytesMut};
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Kind, Scalar, Value};

use crate::classify::Uninferred;
use crate::decode::{
    NUMERIC_INFINITY, NUMERIC_MINUS_INFINITY, NUMERIC_NAN, NUMERIC_NEGATIVE, NUMERIC_POSITIVE,
};
use crate::types::{BINARY, TEXT};

/// What the parameters are declared as at first.
pub(crate) fn declared(arguments: &[Argument]) -> Vec<u32> {
    let declared = |argument: &Argument| match argument.kind {
        kind if is_inferred(kind) => UNKNOWN,
        kind => oid(kind),
    };
    arguments.iter().map(declared).collect()
}

/// Declares the parameters whose type the server could not infer. False if there are none to declare.
pub(crate) fn declare(types: &mut [u32], arguments: &[Argument], uninferred: Uninferred) -> bool {
    let mut declared = false;
    for (at, argument) in arguments.iter().enumerate() {
        if types[at] == UNKNOWN && uninferred.is(at) {
            types[at] = oid(argument.kind);
            declared = true;
        }
    }
    declared
}

/// The format that an argument is sent in.
pub(crate) fn format(argument: &Argument) -> i16 {
    if is_inferred(argument.kind) { TEXT } else { BINARY }
}

/// Writes an argument's value. False for NULL, of which nothing is written.
///
/// # Errors
/// [`Fault::BadParameter`] for a decimal of more digits than the server takes.
pub(crate) fn encode(argument: &Argument, out: &mut BytesMut) -> Result<bool> {
    let Argument { kind, value, .. } = argument;
    match value {
        Value::Null => return Ok(false),
        Value::Array(elements) if kind.array => array(argument, elements, out)?,
        _ if kind.array => return Err(bug(&argument.name, "its value is no array")),
        _ => scalar(argument, value, out)?,
    }
    Ok(true)
}

fn is_inferred(kind: Kind) -> bool {
    matches!(kind, Kind { scalar: Scalar::Text | Scalar::Json, array: false })
}

fn bug(name: &str, what: &str) -> Error {
    Error::new(Fault::Internal, format!("bug: parameter `{name}`: {what}"))
}

/// The type that the server is to infer.
pub(crate) const UNKNOWN: u32 = 0;

fn oid(kind: Kind) -> u32 {
    if kind.array { array_oid(kind.scalar) } else { scalar_oid(kind.scalar) }
}

/// The OIDs of the server's `catalog/pg_type.dat`.
fn scalar_oid(scalar: Scalar) -> u32 {
    match scalar {
        Scalar::Bool => 16,
        Scalar::Int => 20,
        Scalar::Float => 701,
        Scalar::Decimal => 1700,
        Scalar::Text => 25,
        Scalar::Uuid => 2950,
        Scalar::Date => 1082,
        Scalar::Time => 1083,
        Scalar::Timestamp => 1114,
        Scalar::Timestamptz => 1184,
        Scalar::Json => 114,
        Scalar::Bytes => 17,
    }
}

/// The same for arrays of them.
fn array_oid(scalar: Scalar) -> u32 {
    match scalar {
        Scalar::Bool => 1000,
        Scalar::Int => 1016,
        Scalar::Float => 1022,
        Scalar::Decimal => 1231,
        Scalar::Text => 1009,
        Scalar::Uuid => 2951,
        Scalar::Date => 1182,
        Scalar::Time => 1183,
        Scalar::Timestamp => 1115,
        Scalar::Timestamptz => 1185,
        Scalar::Json => 199,
        Scalar::Bytes => 1001,
    }
}

/// The binary form of one value, that of the `recv` functions in the server's `src/backend/utils/adt`.
fn scalar(argument: &Argument, value: &Value, out: &mut impl BufMut) -> Result<()> {
    match (argument.kind.scalar, value) {
        (Scalar::Bool, Value::Bool(value)) => out.put_u8(u8::from(*value)),
        (Scalar::Int, Value::Int(value))
        | (Scalar::Time, Value::Time(value))
        | (Scalar::Timestamp, Value::Timestamp(value))
        | (Scalar::Timestamptz, Value::Timestamptz(value)) => out.put_slice(&value.to_be_bytes()),
        (Scalar::Float, Value::Float(value)) => out.put_slice(&value.to_be_bytes()),
        (Scalar::Date, Value::Date(value)) => out.put_slice(&value.to_be_bytes()),
        (Scalar::Decimal, Value::Decimal(value)) => numeric(&argument.name, value, out)?,
        (Scalar::Text, Value::Text(value)) | (Scalar::Json, Value::Json(value)) => {
            out.put_slice(value.as_bytes());
        }
        (Scalar::Uuid, Value::Uuid(value)) => out.put_slice(value),
        (Scalar::Bytes, Value::Bytes(value)) => out.put_slice(value),
        _ => return Err(bug(&argument.name, "its value is not of its type")),
    }
    Ok(())
}

/// `array_recv`: one dimension from 1, or none for an empty array.
fn array(argument: &Argument, elements: &[Value], out: &mut BytesMut) -> Result<()> {
    let too_long = |_| bug(&argument.name, "more elements than an array may have");
    let length = i32::try_from(elements.len()).map_err(too_long)?;
    out.put_slice(&i32::from(length > 0).to_be_bytes());
    out.put_slice(&i32::from(elements.contains(&Value::Null)).to_be_bytes());
    out.put_slice(&scalar_oid(argument.kind.scalar).to_be_bytes());
    if length > 0 {
        out.put_slice(&length.to_be_bytes());
        out.put_slice(&1_i32.to_be_bytes());
    }
    for element in elements {
        let start = out.len();
        out.put_slice(&(-1_i32).to_be_bytes());
        if *element != Value::Null {
            scalar(argument, element, out)?;
            let length = i32::try_from(out.len() - start - 4).map_err(too_long)?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

/// `numeric_recv`: see [`crate::decode`]. The scale is that of the text, so `1.50` stays `1.50`.
pub(crate) fn numeric(name: &str, text: &str, out: &mut impl BufMut) -> Result<()> {
    // The server's limits, <https://www.postgresql.org/docs/current/datatype-numeric.html>.
    const BEFORE_POINT: usize = 131_072;
    const AFTER_POINT: usize = 16_383;

    let special = match text {
        "NaN" => Some(NUMERIC_NAN),
        "Infinity" => Some(NUMERIC_INFINITY),
        "-Infinity" => Some(NUMERIC_MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        write_header(0, 0, sign, 0, out);
        return Ok(());
    }
    let (sign, digits) =
        text.strip_prefix('-').map_or((NUMERIC_POSITIVE, text), |rest| (NUMERIC_NEGATIVE, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(bug(name, "its value is no decimal"));
    }
    if whole.len() > BEFORE_POINT || fraction.len() > AFTER_POINT {
        return Err(Error::told(
            Fault::BadParameter,
            format!(
                "Parameter `{name}` must have at most {BEFORE_POINT} digits before the decimal point and \
                 {AFTER_POINT} after it."
            ),
        ));
    }

    // Groups of four digits, counted from the point; the outermost are filled up with zeros.
    let groups_before = whole.len().div_ceil(4);
    let groups: Vec<u16> = (0..groups_before)
        .map(|group| {
            let end = whole.len() - (groups_before - group - 1) * 4;
            four(&whole[end.saturating_sub(4)..end], 0)
        })
        .chain((0..fraction.len().div_ceil(4)).map(|group| {
            let part = &fraction[group * 4..fraction.len().min(group * 4 + 4)];
            four(part, 4 - part.len())
        }))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let end = groups.iter().rposition(|group| *group != 0).map_or(leading, |last| last + 1);
    let groups = &groups[leading..end];
    let overflow = |_| bug(name, "a decimal beyond its limits");
    let weight =
        i32::try_from(groups_before).map_err(overflow)? - 1 - i32::try_from(leading).map_err(overflow)?;
    let (sign, weight) = if groups.is_empty() { (NUMERIC_POSITIVE, 0) } else { (sign, weight) };
    write_header(
        u16::try_from(groups.len()).map_err(overflow)?,
        i16::try_from(weight).map_err(overflow)?,
        sign,
        u16::try_from(fraction.len()).map_err(overflow)?,
        out,
    );
    for group in groups {
        out.put_slice(&group.to_be_bytes());
    }
    Ok(())
}

fn write_header(groups: u16, weight: i16, sign: u16, scale: u16, out: &mut impl BufMut) {
    out.put_slice(&groups.to_be_bytes());
    out.put_slice(&weight.to_be_bytes());
    out.put_slice(&sign.to_be_bytes());
    out.put_slice(&scale.to_be_bytes());
}

/// Up to four digits, with so many zeros after them.
fn four(digits: &str, zeros: usize) -> u16 {
    let value = digits.bytes().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    (0..zeros).fold(value, |value, _| value * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(scalar: Scalar, array: bool, value: Value) -> Argument {
        Argument { name: "p".into(), kind: Kind { scalar, array }, value }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of one argument, or none for NULL.
    fn encoded(argument: &Argument) -> Option<String> {
        let mut bytes = BytesMut::new();
        encode(argument, &mut bytes).unwrap().then(|| hex(&bytes))
    }

    /// Expected are the bytes that PostgreSQL 15's own `send` functions give for the same values.
    #[test]
    fn values_are_encoded_as_the_server_sends_them() {
        for (scalar, value, expected) in [
            (Scalar::Bool, Value::Bool(true), "01"),
            (Scalar::Int, Value::Int(i64::MIN), "8000000000000000"),
            (Scalar::Float, Value::Float(0.1), "3fb999999999999a"),
            (Scalar::Decimal, Value::Decimal("1.50".to_owned()), "000200000000000200011388"),
            (Scalar::Text, Value::Text("a\"b€".to_owned()), "612262e282ac"),
            (Scalar::Uuid, Value::Uuid([7; 16]), "07070707070707070707070707070707"),
            (Scalar::Date, Value::Date(9_527), "00002537"),
            (Scalar::Time, Value::Time(86_400_000_000), "000000141dd76000"),
            (Scalar::Timestamp, Value::Timestamp(i64::MIN), "8000000000000000"),
            (Scalar::Timestamptz, Value::Timestamptz(9_223_371_331_199_999_999), "7fffff5bb3b29fff"),
            (Scalar::Json, Value::Json("{}".to_owned()), "7b7d"),
            (Scalar::Bytes, Value::Bytes(vec![0, 255]), "00ff"),
        ] {
            let given = argument(scalar, false, value.clone());
            assert_eq!(encoded(&given).as_deref(), Some(expected), "{given:?}");
            assert_eq!(encoded(&argument(scalar, false, Value::Null)), None);
            assert_eq!(encoded(&argument(scalar, true, Value::Null)), None);

            let element = format!("{:08x}{expected}", expected.len() / 2);
            let array = argument(scalar, true, Value::Array(vec![value, Value::Null]));
            let header = format!("0000000100000001{:08x}0000000200000001", scalar_oid(scalar));
            assert_eq!(encoded(&array), Some(format!("{header}{element}ffffffff")));
            let empty = argument(scalar, true, Value::Array(vec![]));
            assert_eq!(encoded(&empty), Some(format!("0000000000000000{:08x}", scalar_oid(scalar))));
        }
    }

    #[test]
    fn decimals_are_encoded_as_the_server_sends_them() {
        for (text, expected) in [
            ("0", "0000000000000000"),
            ("-0.00", "0000000000000002"),
            ("0.0000", "0000000000000004"),
            ("10000", "00010001000000000001"),
            ("0010000", "00010001000000000001"),
            ("-0.00012300", "0002ffff40000008000108fc"),
            (
                "12345678901234567890123456789012345678.000000001",
                "000d000900000009000c0d801ed204d2162e23340d801ed204d2162e0000000003e8",
            ),
            ("NaN", "00000000c0000000"),
            // The server itself sends a scale of 0x20 with infinities, and does not look at it.
            ("Infinity", "00000000d0000000"),
            ("-Infinity", "00000000f0000000"),
        ] {
            let mut bytes = Vec::new();
            numeric("p", text, &mut bytes).unwrap();
            assert_eq!(hex(&bytes), expected, "{text}");
        }
        for (text, fault) in [
            (format!("1{}", "0".repeat(131_071)), None),
            (format!("1{}", "0".repeat(131_072)), Some(Fault::BadParameter)),
            (format!("0.{}1", "0".repeat(16_382)), None),
            (format!("0.{}1", "0".repeat(16_383)), Some(Fault::BadParameter)),
            ("1e5".to_owned(), Some(Fault::Internal)),
            ("--1".to_owned(), Some(Fault::Internal)),
        ] {
            let result = numeric("p", &text, &mut Vec::new());
            assert_eq!(result.as_ref().err().map(Error::fault), fault, "{:.9}", text);
            if let Err(error) = result {
                assert!(error.message().contains("`p`") || fault == Some(Fault::Internal), "{error}");
            }
        }
    }

    #[test]
    fn only_text_and_json_are_inferred_unless_they_cannot_be() {
        let given = [
            argument(Scalar::Int, false, Value::Int(1)),
            argument(Scalar::Text, false, Value::Null),
            argument(Scalar::Json, false, Value::Null),
            argument(Scalar::Text, true, Value::Null),
        ];
        let mut types = declared(&given);
        assert_eq!(types, [20, 0, 0, 1009]);
        assert_eq!(given.each_ref().map(format), [1, 0, 0, 1]);
        assert!(declare(&mut types, &given, Uninferred::One(2)));
        assert_eq!(types, [20, 0, 114, 1009]);
        assert!(declare(&mut types, &given, Uninferred::Any));
        assert_eq!(types, [20, 25, 114, 1009]);
        assert!(!declare(&mut types, &given, Uninferred::Any));
    }

    #[test]
    fn a_value_of_another_type_is_our_bug() {
        for (scalar, array, value) in [
            (Scalar::Int, false, Value::Text("1".to_owned())),
            (Scalar::Int, false, Value::Array(vec![])),
            (Scalar::Int, true, Value::Int(1)),
            (Scalar::Int, true, Value::Array(vec![Value::Bool(true)])),
        ] {
            let given = argument(scalar, array, value);
            assert_eq!(encode(&given, &mut BytesMut::new()).unwrap_err().fault(), Fault::Internal);
        }
    }
}
