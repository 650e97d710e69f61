//! From arguments to the driver: each in its type's binary form, the only one that sqlx sends.
//!
//! Every argument is declared as the type that its query file names, but two. `text` and `json` are left for
//! the server to infer (*unknown*), as it does for a quoted literal, so that `text` goes into an enum, a citext
//! or a varchar, and `json` into a jsonb column or a function that takes jsonb. The price: the server may infer
//! a type whose binary form is not text at all, an `int4` or a `uuid`, and would take the bytes for one. So the
//! types that it inferred are looked at before anything is sent; they come with preparing.

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Kind, Scalar, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, PgTypeKind};
use sqlx::{Arguments as _, Encode, Postgres, Type};

use crate::decode::{
    NUMERIC_INFINITY, NUMERIC_MINUS_INFINITY, NUMERIC_NAN, NUMERIC_NEGATIVE, NUMERIC_POSITIVE, is_citext,
    is_mystery, type_name,
};

/// The types that the arguments are declared as when the statement is prepared.
pub(crate) fn declared(arguments: &[Argument]) -> Vec<PgTypeInfo> {
    arguments.iter().map(|argument| declared_as(argument.kind)).collect()
}

/// Whether the server infers the type of any of them.
pub(crate) fn inferred(arguments: &[Argument]) -> bool {
    arguments.iter().any(|argument| is_inferred(argument.kind))
}

/// Refuses arguments for which the server inferred a type that they are not: `resolved` are the prepared
/// statement's parameters.
///
/// # Errors
/// [`Fault::QueryFailed`], which names the parameter, the type and the cast to write.
pub(crate) fn check(arguments: &[Argument], resolved: &[PgTypeInfo]) -> Result<()> {
    for (argument, type_info) in arguments.iter().zip(resolved) {
        let fits = match argument.kind {
            Kind { scalar: Scalar::Text, array: false } => {
                matches!(target(type_info), Target::Text | Target::Json)
            }
            Kind { scalar: Scalar::Json, array: false } => target(type_info) != Target::Other,
            _ => true,
        };
        if !fits {
            return Err(mistaken(argument, type_info));
        }
    }
    Ok(())
}

/// Encodes the arguments. `resolved` are the prepared statement's parameters; they may be left out where none
/// is [`inferred`].
///
/// # Errors
/// Those of [`check`]; [`Fault::BadParameter`] for a decimal of more digits than the server takes.
pub(crate) fn bind(arguments: &[Argument], resolved: &[PgTypeInfo]) -> Result<PgArguments> {
    check(arguments, resolved)?;
    let mut bound = PgArguments::default();
    bound.reserve(arguments.len(), arguments.len() * 16);
    for (index, argument) in arguments.iter().enumerate() {
        let jsonb = match resolved.get(index) {
            Some(type_info) => target(type_info) == Target::Jsonb,
            None if is_inferred(argument.kind) => {
                return Err(bug(argument, "its type was not asked for"));
            }
            None => false,
        };
        bound.add(Encoder { argument, jsonb }).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => bug(argument, &error.to_string()),
        })?;
    }
    Ok(bound)
}

fn is_inferred(kind: Kind) -> bool {
    matches!(kind, Kind { scalar: Scalar::Text | Scalar::Json, array: false })
}

/// What an inferred type is in binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// The text itself.
    Text,
    /// The text itself, if it is JSON.
    Json,
    /// A version byte and then the text.
    Jsonb,
    /// Anything else.
    Other,
}

fn target(type_info: &PgTypeInfo) -> Target {
    match type_info.oid() {
        // text, name, unknown, bpchar, varchar, xml
        Some(Oid(25 | 19 | 705 | 1042 | 1043 | 142)) => return Target::Text,
        Some(Oid(114)) => return Target::Json,
        Some(Oid(3802)) => return Target::Jsonb,
        _ if is_mystery(type_info) => return Target::Other,
        _ => {}
    }
    match type_info.kind() {
        PgTypeKind::Enum(_) => Target::Text,
        PgTypeKind::Domain(base) => target(base),
        PgTypeKind::Simple if is_citext(type_info) => Target::Text,
        _ => Target::Other,
    }
}

fn mistaken(argument: &Argument, type_info: &PgTypeInfo) -> Error {
    let name = &argument.name;
    let kind = if argument.kind.scalar == Scalar::Json { "json" } else { "text" };
    let type_name = type_name(type_info);
    // What to declare instead, where a query file can say so.
    let scalar = match type_info.oid().map_or(0, |oid| oid.0) {
        16 => Some("bool"),
        17 => Some("bytes"),
        20 | 21 | 23 => Some("int"),
        700 | 701 => Some("float"),
        1700 => Some("decimal"),
        1082 => Some("date"),
        1083 => Some("time"),
        1114 => Some("timestamp"),
        1184 => Some("timestamptz"),
        2950 => Some("uuid"),
        3802 => Some("json"),
        _ => None,
    };
    let declare = scalar.map_or_else(String::new, |scalar| format!("declare it `{scalar}`, or "));
    Error::new(
        Fault::QueryFailed,
        format!(
            "parameter `{name}` is declared `{kind}`, and the statement takes it as `{type_name}`: {declare}write \
             the cast `:{name}::text::{type_name}`"
        ),
    )
}

fn bug(argument: &Argument, what: &str) -> Error {
    Error::new(Fault::Internal, format!("bug: parameter `{}`: {what}", argument.name))
}

fn declared_as(kind: Kind) -> PgTypeInfo {
    const UNKNOWN: u32 = 705;

    let oid = match kind.array {
        true => array_oid(kind.scalar),
        false if is_inferred(kind) => UNKNOWN,
        false => scalar_oid(kind.scalar),
    };
    PgTypeInfo::with_oid(Oid(oid))
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

/// One argument, as sqlx asks for it.
struct Encoder<'a> {
    argument: &'a Argument,
    /// Whether it goes into a jsonb.
    jsonb: bool,
}

impl Type<Postgres> for Encoder<'_> {
    fn type_info() -> PgTypeInfo {
        // Never asked for, since `produces` always says.
        PgTypeInfo::with_oid(Oid(705))
    }
}

impl<'q> Encode<'q, Postgres> for Encoder<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Argument { kind, value, .. } = self.argument;
        match value {
            Value::Null => return Ok(IsNull::Yes),
            Value::Array(elements) if kind.array => array(self.argument, elements, buffer)?,
            _ => {
                if self.jsonb {
                    buffer.push(1);
                }
                scalar(self.argument, value, buffer)?;
            }
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(declared_as(self.argument.kind))
    }
}

/// The binary form of one value, that of the `recv` functions in the server's `src/backend/utils/adt`.
fn scalar(argument: &Argument, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match (argument.kind.scalar, value) {
        (Scalar::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (Scalar::Int, Value::Int(value))
        | (Scalar::Time, Value::Time(value))
        | (Scalar::Timestamp, Value::Timestamp(value))
        | (Scalar::Timestamptz, Value::Timestamptz(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Scalar::Float, Value::Float(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Scalar::Date, Value::Date(value)) => out.extend_from_slice(&value.to_be_bytes()),
        (Scalar::Decimal, Value::Decimal(value)) => numeric(argument, value, out)?,
        (Scalar::Text, Value::Text(value)) | (Scalar::Json, Value::Json(value)) => {
            out.extend_from_slice(value.as_bytes());
        }
        (Scalar::Uuid, Value::Uuid(value)) => out.extend_from_slice(value),
        (Scalar::Bytes, Value::Bytes(value)) => out.extend_from_slice(value),
        _ => return Err(bug(argument, "its value is not of its type")),
    }
    Ok(())
}

/// `array_recv`: one dimension from 1, or none for an empty array.
fn array(argument: &Argument, elements: &[Value], out: &mut Vec<u8>) -> Result<()> {
    let too_long = |_| bug(argument, "more elements than an array may have");
    let length = i32::try_from(elements.len()).map_err(too_long)?;
    out.extend_from_slice(&i32::from(length > 0).to_be_bytes());
    out.extend_from_slice(&i32::from(elements.contains(&Value::Null)).to_be_bytes());
    out.extend_from_slice(&scalar_oid(argument.kind.scalar).to_be_bytes());
    if length > 0 {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    for element in elements {
        let start = out.len();
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        if *element != Value::Null {
            scalar(argument, element, out)?;
            let length = i32::try_from(out.len() - start - 4).map_err(too_long)?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

/// `numeric_recv`: see [`crate::decode`]. The scale is that of the text, so `1.50` stays `1.50`.
fn numeric(argument: &Argument, text: &str, out: &mut Vec<u8>) -> Result<()> {
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
        return Err(bug(argument, "its value is no decimal"));
    }
    if whole.len() > BEFORE_POINT || fraction.len() > AFTER_POINT {
        return Err(Error::told(
            Fault::BadParameter,
            format!(
                "Parameter `{}` must have at most {BEFORE_POINT} digits before the decimal point and \
                 {AFTER_POINT} after it.",
                argument.name
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
    let overflow = |_| bug(argument, "a decimal beyond its limits");
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
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

fn write_header(groups: u16, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&groups.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

/// Up to four digits, with so many zeros after them.
fn four(digits: &str, zeros: usize) -> u16 {
    let value = digits.bytes().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'));
    (0..zeros).fold(value, |value, _| value * 10)
}
