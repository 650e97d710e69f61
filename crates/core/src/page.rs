//! The token by which the next page is asked for: the last row's place in the order, and of which query it is.
//!
//! Callers see letters. Inside are a version, the fingerprint of the query's text, and the values of the columns of the
//! order, each with its type, so that it is bound as exactly what the database gave. It is not signed: whoever
//! changes it begins at another place of what they may read anyway, since its values are only bound.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Fault, Result};
use crate::rows::is_decimal;
use crate::value::{Given, Kind, Params, Scalar, Value};

/// Writes the token of this place.
///
/// # Errors
/// [`Fault::QueryFailed`], if the values are too long for one.
pub(crate) fn token(fingerprint: u64, values: &[Value]) -> Result<String> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&fingerprint.to_be_bytes());
    for value in values {
        write(value, &mut bytes)?;
    }
    let token = URL_SAFE_NO_PAD.encode(bytes);
    match token.len() > LONGEST {
        true => Err(Error::new(
            Fault::QueryFailed,
            "the values of the columns of `-- page:` are too long for a page's token: order by shorter columns",
        )),
        false => Ok(token),
    }
}

/// Reads a token: the values of so many columns.
///
/// # Errors
/// [`Fault::BadParameter`] for what is none of this query.
pub(crate) fn values(token: &str, fingerprint: u64, columns: usize) -> Result<Vec<Value>> {
    read(token, fingerprint, columns).ok_or_else(|| {
        Error::told(
            Fault::BadParameter,
            "Parameter `page` is no page of this query: it takes the `next` of an earlier reply, as it is. Begin again \
             without it.",
        )
    })
}

fn read(token: &str, fingerprint: u64, columns: usize) -> Option<Vec<Value>> {
    if token.len() > LONGEST {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (of, mut rest) = rest.split_first_chunk()?;
    if *version != VERSION || u64::from_be_bytes(*of) != fingerprint {
        return None;
    }
    let values: Vec<Value> = (0..columns).map(|_| value(&mut rest)).collect::<Option<_>>()?;
    rest.is_empty().then_some(values)
}

/// Where the next page is: a reference relative to the call's own address, with its query string.
pub(crate) fn link(params: &Params, token: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, given) in params.0.iter().filter(|(name, _)| name != "page") {
        let texts = match given {
            Given::Text(text) => std::slice::from_ref(text),
            Given::Texts(texts) => texts,
            // It is in the body, which is sent again.
            Given::Json(_) => &[],
        };
        for text in texts {
            query.append_pair(name, text);
        }
    }
    query.append_pair("page", token);
    format!("<?{}>; rel=\"next\"", query.finish())
}

/// The type that a value is bound as.
pub(crate) fn kind(value: &Value) -> Kind {
    let scalar = match value {
        Value::Bool(_) => Scalar::Bool,
        Value::Int(_) => Scalar::Int,
        Value::Float(_) => Scalar::Float,
        Value::Decimal(_) => Scalar::Decimal,
        Value::Uuid(_) => Scalar::Uuid,
        Value::Date(_) => Scalar::Date,
        Value::Time(_) => Scalar::Time,
        Value::Timestamp(_) => Scalar::Timestamp,
        Value::Timestamptz(_) => Scalar::Timestamptz,
        Value::Bytes(_) => Scalar::Bytes,
        Value::Null | Value::Text(_) | Value::Json(_) | Value::Array(_) => Scalar::Text,
    };
    Kind { scalar, array: false }
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let mut text = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        // Longer than a token may be is refused as a whole.
        out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Decimal(digits) => text(DECIMAL, digits.as_bytes()),
        Value::Text(value) => text(TEXT, value.as_bytes()),
        Value::Bytes(bytes) => text(BYTES, bytes),
        Value::Bool(value) => out.extend_from_slice(&[BOOL, u8::from(*value)]),
        Value::Int(value) => number(out, INT, *value),
        Value::Float(value) => {
            out.push(FLOAT);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Value::Uuid(bytes) => {
            out.push(UUID);
            out.extend_from_slice(bytes);
        }
        Value::Date(days) => number(out, DATE, i64::from(*days)),
        Value::Time(micros) => number(out, TIME, *micros),
        Value::Timestamp(micros) => number(out, TIMESTAMP, *micros),
        Value::Timestamptz(micros) => number(out, TIMESTAMPTZ, *micros),
        Value::Null | Value::Json(_) | Value::Array(_) => {
            return Err(Error::new(Fault::Internal, "bug: no place in an order"));
        }
    }
    Ok(())
}

fn number(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    out.extend_from_slice(&value.to_be_bytes());
}

fn value(rest: &mut &[u8]) -> Option<Value> {
    fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (chunk, behind) = rest.split_first_chunk()?;
        *rest = behind;
        Some(*chunk)
    }
    fn number(rest: &mut &[u8]) -> Option<i64> {
        chunk(rest).map(i64::from_be_bytes)
    }
    fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length: [u8; 2] = chunk(rest)?;
        rest.split_off(..usize::from(u16::from_be_bytes(length)))
    }
    fn text(rest: &mut &[u8]) -> Option<String> {
        String::from_utf8(bytes(rest)?.to_vec()).ok()
    }
    Some(match *rest.split_off_first()? {
        BOOL => Value::Bool(*rest.split_off_first()? != 0),
        INT => Value::Int(number(rest)?),
        FLOAT => Value::Float(f64::from_bits(u64::from_be_bytes(chunk(rest)?))),
        DECIMAL => {
            let digits = text(rest)?;
            // What an engine's binding relies on.
            if !is_decimal(&digits) {
                return None;
            }
            Value::Decimal(digits)
        }
        TEXT => Value::Text(text(rest)?),
        BYTES => Value::Bytes(bytes(rest)?.to_vec()),
        UUID => Value::Uuid(chunk(rest)?),
        DATE => Value::Date(number(rest)?.try_into().ok()?),
        TIME => Value::Time(number(rest)?),
        TIMESTAMP => Value::Timestamp(number(rest)?),
        TIMESTAMPTZ => Value::Timestamptz(number(rest)?),
        _ => return None,
    })
}

const VERSION: u8 = 1;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const DECIMAL: u8 = 4;
const TEXT: u8 = 5;
const UUID: u8 = 6;
const DATE: u8 = 7;
const TIME: u8 = 8;
const TIMESTAMP: u8 = 9;
const TIMESTAMPTZ: u8 = 10;
const BYTES: u8 = 11;

/// A URL has room for this beside what else there is in it: a load balancer takes 16 KB, API Gateway 10 KB with all
/// headers.
pub(crate) const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop::num::f64::NORMAL.prop_map(Value::Float),
            "-?[0-9]{1,30}(\\.[0-9]{1,9})?".prop_map(Value::Decimal),
            ".{0,40}".prop_map(Value::Text),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::Time),
            any::<i64>().prop_map(Value::Timestamp),
            any::<i64>().prop_map(Value::Timestamptz),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn a_token_reads_back(of: u64, place in prop::collection::vec(any_value(), 1..5)) {
            let token = token(of, &place).unwrap();
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            prop_assert_eq!(values(&token, of, place.len()).unwrap(), place.clone());
            prop_assert!(values(&token, of.wrapping_add(1), place.len()).is_err());
            prop_assert!(values(&token, of, place.len() + 1).is_err());
            prop_assert!(values(&token[..token.len() - 1], of, place.len()).is_err());
        }

        #[test]
        fn what_is_no_token_is_refused(text in "[A-Za-z0-9_-]{0,60}|\\PC{0,20}", columns in 1..4_usize) {
            prop_assert!(values(&text, 7, columns).is_err());
        }

        #[test]
        fn no_bytes_panic(rest in prop::collection::vec(any::<u8>(), 0..40), columns in 1..4_usize) {
            let bytes = [&[VERSION][..], &7_u64.to_be_bytes(), &rest].concat();
            let _ = values(&URL_SAFE_NO_PAD.encode(bytes), 7, columns);
        }
    }

    #[test]
    fn a_link_has_the_rest_of_the_query_string() {
        let text = |text: &str| Given::Text(text.to_owned());
        let params = Params(vec![
            ("name".to_owned(), text("a b&c>")),
            ("page".to_owned(), text("old")),
            ("id".to_owned(), Given::Texts(vec!["1".to_owned(), "2".to_owned()])),
        ]);
        assert_eq!(link(&params, "T-_"), "<?name=a+b%26c%3E&id=1&id=2&page=T-_>; rel=\"next\"");
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = Value::Text("x".repeat(5000));
        assert_eq!(token(1, &[long]).unwrap_err().fault(), Fault::QueryFailed);
        assert!(values(&"A".repeat(LONGEST + 1), 1, 1).is_err());
    }
}
