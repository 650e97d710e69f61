//! From arguments to the driver: each in its type's binary form, the only one that sqlx sends.
//!
//! Every argument is declared as the type that its query file names, but two. `text` and `json` are left for
//! the server to infer (*unknown*), as it does for a quoted literal, so that `text` goes into an enum, a citext
//! or a varchar, and `json` into a jsonb column or a function that takes jsonb. Those that it cannot infer
//! (`concat(:name)`, and whatever else takes any type) are declared after all, and only those.
//!
//! The price of inferring: the server may find a type whose binary form is not text at all, an `int4` or a
//! `uuid`, and would take the bytes for one. So the types that it found, which come with preparing, are looked
//! at before anything is sent.

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::{Argument, Kind, Scalar, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgStatement, PgTypeInfo, PgTypeKind};
use sqlx::{Arguments as _, Connection as _, Encode, Executor as _, Postgres, SqlStr, Type};

use crate::classify::uninferred;
use crate::decode::{
    NUMERIC_INFINITY, NUMERIC_MINUS_INFINITY, NUMERIC_NAN, NUMERIC_NEGATIVE, NUMERIC_POSITIVE, is_citext,
    is_mystery, type_name,
};

/// Prepares a statement for these arguments, unless the connection has it already.
///
/// # Errors
/// The server's. If it is that it cannot infer a type, it has been asked again with the type declared, and this is
/// its first error: inside a transaction that one has aborted it already.
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    sql: SqlStr,
    arguments: &[Argument],
    preparing: Preparing,
) -> Result<PgStatement, sqlx::Error> {
    let mut types: Vec<u32> = arguments.iter().map(|argument| inferred_oid(argument.kind)).collect();
    let mut first = None;
    loop {
        let given: Vec<PgTypeInfo> = types.iter().map(|oid| PgTypeInfo::with_oid(Oid(*oid))).collect();
        let error = match prepare_once(connection, sql.clone(), &given, preparing).await {
            Ok(prepared) => return Ok(prepared),
            Err(error) => error,
        };
        let mut declared = false;
        if let Some(uninferred) = uninferred(&error) {
            for (at, argument) in arguments.iter().enumerate() {
                if types[at] == UNKNOWN && uninferred.is(at) {
                    types[at] = declared_oid(argument.kind);
                    declared = true;
                }
            }
        }
        if !declared {
            return Err(first.filter(|_| error.as_database_error().is_some()).unwrap_or(error));
        }
        first.get_or_insert(error);
    }
}

/// What becomes of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparing {
    /// The connection keeps it.
    Kept,
    /// It is gone before the running transaction ends.
    InTransaction,
    /// There is no transaction: it gets one and is gone before that ends.
    Alone,
}

/// Prepares a statement. The driver prepares by name alone, and behind a pooler the next one to have the server's
/// connection would meet the name: so it is closed in the transaction in which it was prepared.
async fn prepare_once(
    connection: &mut PgConnection,
    sql: SqlStr,
    types: &[PgTypeInfo],
    preparing: Preparing,
) -> Result<PgStatement, sqlx::Error> {
    if preparing == Preparing::Alone {
        connection.execute(sqlx::raw_sql("BEGIN READ ONLY")).await?;
    }
    let prepared = connection.prepare_with(sql, types).await;
    if preparing != Preparing::Kept {
        connection.clear_cached_statements().await?;
    }
    if preparing == Preparing::Alone {
        connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
    }
    prepared
}

/// Whether the server infers the type of any of them. If not, preparing can be left to sqlx, which does it with a
/// round trip less: asked to prepare, it also looks up from which tables the columns come.
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
            // The session keeps statements of other types apart; what sea-orm prepared on the same connection
            // may still have the very same SQL.
            kind if type_info.oid() != Some(Oid(declared_oid(kind))) => {
                let name = type_name(type_info);
                return Err(bug(
                    &argument.name,
                    &format!("the connection knows the statement with `{name}`"),
                ));
            }
            _ => true,
        };
        if !fits {
            return Err(mistaken(argument, type_info));
        }
    }
    Ok(())
}

/// Encodes the arguments. `resolved` are the prepared statement's parameters; there is no need of them where no
/// type is [`inferred`].
///
/// # Errors
/// [`Fault::QueryFailed`] where the server inferred a type that the argument is not, with the cast to write;
/// [`Fault::BadParameter`] for a decimal of more digits than the server takes.
pub(crate) fn bind(arguments: &[Argument], resolved: Option<&[PgTypeInfo]>) -> Result<PgArguments> {
    let declared: Vec<PgTypeInfo>;
    let types = match resolved {
        Some(resolved) => resolved,
        None => {
            declared = arguments
                .iter()
                .map(|argument| PgTypeInfo::with_oid(Oid(declared_oid(argument.kind))))
                .collect();
            &declared
        }
    };
    if types.len() != arguments.len() {
        let detail = format!("bug: {} arguments for {} parameters", arguments.len(), types.len());
        return Err(Error::new(Fault::Internal, detail));
    }
    check(arguments, types)?;
    let mut bound = PgArguments::default();
    bound.reserve(arguments.len(), arguments.len() * 16);
    for (argument, type_info) in arguments.iter().zip(types) {
        let encoder = Encoder { argument, type_info, jsonb: target(type_info) == Target::Jsonb };
        bound.add(encoder).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => bug(&argument.name, &error.to_string()),
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

fn bug(name: &str, what: &str) -> Error {
    Error::new(Fault::Internal, format!("bug: parameter `{name}`: {what}"))
}

/// What an argument is declared as at first.
fn inferred_oid(kind: Kind) -> u32 {
    if is_inferred(kind) { UNKNOWN } else { declared_oid(kind) }
}

/// The type of which the server infers another one.
const UNKNOWN: u32 = 705;

fn declared_oid(kind: Kind) -> u32 {
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

/// One argument, as sqlx asks for it.
struct Encoder<'a> {
    argument: &'a Argument,
    type_info: &'a PgTypeInfo,
    /// Whether it goes into a jsonb.
    jsonb: bool,
}

impl Type<Postgres> for Encoder<'_> {
    fn type_info() -> PgTypeInfo {
        // Not asked for, since `produces` always says.
        PgTypeInfo::with_oid(Oid(declared_oid(Kind { scalar: Scalar::Text, array: false })))
    }
}

impl<'q> Encode<'q, Postgres> for Encoder<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Argument { kind, value, .. } = self.argument;
        match value {
            Value::Null => return Ok(IsNull::Yes),
            Value::Array(elements) if kind.array => array(self.argument, elements, buffer)?,
            _ if kind.array => return Err(bug(&self.argument.name, "its value is no array").into()),
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
        Some(self.type_info.clone())
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
        (Scalar::Decimal, Value::Decimal(value)) => numeric(&argument.name, value, out)?,
        (Scalar::Text, Value::Text(value)) | (Scalar::Json, Value::Json(value)) => {
            out.extend_from_slice(value.as_bytes());
        }
        (Scalar::Uuid, Value::Uuid(value)) => out.extend_from_slice(value),
        (Scalar::Bytes, Value::Bytes(value)) => out.extend_from_slice(value),
        _ => return Err(bug(&argument.name, "its value is not of its type")),
    }
    Ok(())
}

/// `array_recv`: one dimension from 1, or none for an empty array.
fn array(argument: &Argument, elements: &[Value], out: &mut Vec<u8>) -> Result<()> {
    let too_long = |_| bug(&argument.name, "more elements than an array may have");
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
pub(crate) fn numeric(name: &str, text: &str, out: &mut Vec<u8>) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(scalar: Scalar, array: bool, value: Value) -> Argument {
        Argument { name: "p".into(), kind: Kind { scalar, array }, value }
    }

    fn oid(oid: u32) -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(oid))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of one argument, or none for NULL.
    fn encoded(argument: &Argument, jsonb: bool) -> Option<String> {
        let mut buffer = PgArgumentBuffer::default();
        let type_info = &oid(declared_oid(argument.kind));
        match (Encoder { argument, type_info, jsonb }).encode_by_ref(&mut buffer).unwrap() {
            IsNull::Yes => None,
            IsNull::No => Some(hex(&buffer)),
        }
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
            assert_eq!(encoded(&given, false).as_deref(), Some(expected), "{given:?}");
            assert_eq!(encoded(&argument(scalar, false, Value::Null), false), None);
            assert_eq!(encoded(&argument(scalar, true, Value::Null), false), None);

            let element = format!("{:08x}{expected}", expected.len() / 2);
            let array = argument(scalar, true, Value::Array(vec![value, Value::Null]));
            let header = format!("0000000100000001{:08x}0000000200000001", scalar_oid(scalar));
            assert_eq!(encoded(&array, false), Some(format!("{header}{element}ffffffff")));
            let empty = argument(scalar, true, Value::Array(vec![]));
            assert_eq!(encoded(&empty, false), Some(format!("0000000000000000{:08x}", scalar_oid(scalar))));
        }
        let json = argument(Scalar::Json, false, Value::Json("{}".to_owned()));
        assert_eq!(encoded(&json, true).as_deref(), Some("017b7d"));
        assert_eq!(encoded(&argument(Scalar::Json, false, Value::Null), true), None);
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
    fn inferred_types_that_are_not_text_are_refused() {
        let refused = |scalar, resolved: u32| {
            let given = argument(scalar, false, Value::Null);
            bind(&[given], Some(&[oid(resolved)])).err()
        };
        for resolved in [25, 1043, 1042, 19, 705, 142, 114] {
            assert!(refused(Scalar::Text, resolved).is_none(), "{resolved}");
        }
        for resolved in [114, 3802, 25] {
            assert!(refused(Scalar::Json, resolved).is_none(), "{resolved}");
        }
        for (scalar, resolved, say) in [
            (Scalar::Text, 23, "declare it `int`"),
            (Scalar::Text, 2950, "declare it `uuid`"),
            (Scalar::Text, 1184, "declare it `timestamptz`"),
            (Scalar::Text, 3802, "declare it `json`"),
            (Scalar::Text, 1186, "`:p::text::"),
            (Scalar::Text, 17, "declare it `bytes`"),
            (Scalar::Text, 18, "`:p::text::"),
            (Scalar::Text, 1009, "`:p::text::"),
            (Scalar::Json, 23, "declared `json`"),
        ] {
            let error = refused(scalar, resolved).unwrap();
            assert_eq!(error.fault(), Fault::QueryFailed);
            assert!(error.detail().contains("`p`") && error.detail().contains(say), "{error}");
            assert!(!error.message().contains("`p`"), "{error}");
        }
        assert!(refused(Scalar::Int, 20).is_none());
        assert_eq!(refused(Scalar::Int, 23).unwrap().fault(), Fault::Internal);
    }

    #[test]
    fn arguments_and_parameters_are_as_many() {
        let int = argument(Scalar::Int, false, Value::Int(1));
        assert!(!inferred(std::slice::from_ref(&int)));
        assert!(inferred(&[argument(Scalar::Text, false, Value::Null)]));
        assert_eq!(bind(&[int.clone(), int.clone()], Some(&[oid(20), oid(20)])).unwrap().len(), 2);
        assert_eq!(bind(&[int.clone(), int.clone()], None).unwrap().len(), 2);
        assert_eq!(bind(&[int], Some(&[])).unwrap_err().fault(), Fault::Internal);
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
            assert_eq!(bind(&[given], None).unwrap_err().fault(), Fault::Internal);
        }
    }
}
