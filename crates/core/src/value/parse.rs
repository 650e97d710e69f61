//! What a caller gave, read as the declared type.
//!
//! Exactness decides: a JSON number is read digit for digit and never through a float, and where two readings
//! are possible the value is refused. A refusal is the rest of a sentence that begins with the parameter's
//! name, says what is allowed, and does not repeat the value.

use std::borrow::Cow;
use std::fmt;
use std::num::IntErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

use super::{Given, Kind, Scalar, Value, time};

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, after the subject: `must be an integer`.
    pub reason: Cow<'static, str>,
    /// The element that is meant, counted from 0, where the whole array is not.
    pub element: Option<usize>,
}

impl Refusal {
    fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), element: None }
    }

    /// The sentence about the parameter of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        match self.element {
            None => format!("Parameter `{name}` {}.", self.reason),
            Some(index) => format!("Parameter `{name}`: the element at index {index} {}.", self.reason),
        }
    }
}

impl Kind {
    /// The type as a query file writes it, such as `int[]`; `None` if there is no such type.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (scalar, array) = match name.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (name, false),
        };
        Scalar::from_name(scalar).map(|scalar| Self { scalar, array })
    }

    /// Reads what a caller gave. JSON's `null` is SQL's NULL, whatever the type; whether NULL is allowed is
    /// for the caller of this function to say. Texts of a query string have no NULL.
    ///
    /// # Errors
    /// The [`Refusal`], if the value is not of this type.
    pub fn read(self, given: &Given) -> Result<Value, Refusal> {
        if !self.array {
            return match given {
                Given::Json(raw) => self.scalar.read_json(raw.get()),
                Given::Text(text) => self.scalar.read_text(Cow::Borrowed(text)),
                Given::Texts(_) => Err(Refusal::new("must be given only once")),
            };
        }
        match given {
            Given::Json(raw) => self.scalar.read_json_array(raw.get()),
            Given::Text(text) => {
                self.scalar.read_text(Cow::Borrowed(text)).map(|element| Value::Array(vec![element]))
            }
            Given::Texts(texts) => {
                elements(texts.iter().map(|text| self.scalar.read_text(Cow::Borrowed(text))))
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scalar.name())?;
        f.write_str(if self.array { "[]" } else { "" })
    }
}

impl Scalar {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 12] = [
        Self::Bool,
        Self::Int,
        Self::Float,
        Self::Decimal,
        Self::Text,
        Self::Uuid,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::Timestamptz,
        Self::Json,
        Self::Bytes,
    ];

    /// The word for it in a query file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Decimal => "decimal",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Json => "json",
            Self::Bytes => "bytes",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    /// What a value of this type must be, for a refusal.
    fn wanted(self) -> Refusal {
        Refusal::new(match self {
            Self::Bool => "must be true or false",
            Self::Int => "must be an integer",
            Self::Float | Self::Decimal => "must be a number",
            Self::Text => "must be a string",
            Self::Uuid => "must be a UUID such as 01234567-89ab-cdef-0123-456789abcdef",
            Self::Date => "must be a date such as 2026-01-31",
            Self::Time => "must be a time of day such as 13:37:00, no finer than a microsecond",
            Self::Timestamp => {
                "must be a timestamp such as 2026-01-31T13:37:00, without an offset and no finer than a microsecond"
            }
            Self::Timestamptz => {
                "must be a timestamp with an offset such as 2026-01-31T13:37:00Z, no finer than a microsecond"
            }
            Self::Json => "must be JSON",
            Self::Bytes => "must be base64 with padding",
        })
    }

    fn read_json(self, raw: &str) -> Result<Value, Refusal> {
        let raw = raw.trim_ascii();
        if raw == "null" {
            return Ok(Value::Null);
        }
        if self == Self::Json {
            return json(raw.to_owned());
        }
        match raw.as_bytes().first() {
            Some(b'"') if self != Self::Bool => self.read_text(string(raw)?),
            Some(b'-' | b'0'..=b'9') if matches!(self, Self::Int | Self::Float | Self::Decimal) => {
                self.read_text(Cow::Borrowed(raw))
            }
            Some(b't' | b'f') if self == Self::Bool => Ok(Value::Bool(raw == "true")),
            _ => Err(self.wanted()),
        }
    }

    fn read_json_array(self, raw: &str) -> Result<Value, Refusal> {
        let raw = raw.trim_ascii();
        if raw == "null" {
            return Ok(Value::Null);
        }
        // Elements stay raw, so this does not recurse into them.
        let list: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| Refusal::new("must be an array"))?;
        elements(list.into_iter().map(|element| self.read_json(element.get())))
    }

    fn read_text(self, text: Cow<'_, str>) -> Result<Value, Refusal> {
        let value = match self {
            Self::Bool => match &*text {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Int => return int(&text),
            Self::Float => return float(&text),
            Self::Decimal => return decimal(&text),
            Self::Text => Some(Value::Text(text.into_owned())),
            Self::Uuid => uuid(text.as_bytes()).map(Value::Uuid),
            Self::Date => time::parse_date(&text).map(Value::Date),
            Self::Time => time::parse_time(&text).map(Value::Time),
            Self::Timestamp => time::parse_timestamp(&text).map(Value::Timestamp),
            Self::Timestamptz => time::parse_timestamptz(&text).map(Value::Timestamptz),
            Self::Json => {
                // A raw value is checked without recursion, so that depth is judged by `json` alone.
                if serde_json::from_str::<&RawValue>(&text).is_err() {
                    return Err(self.wanted());
                }
                return json(text.into_owned());
            }
            Self::Bytes => BASE64.decode(text.as_bytes()).ok().map(Value::Bytes),
        };
        value.ok_or_else(|| self.wanted())
    }
}

fn elements(read: impl Iterator<Item = Result<Value, Refusal>>) -> Result<Value, Refusal> {
    read.enumerate()
        .map(|(index, element)| element.map_err(|refusal| Refusal { element: Some(index), ..refusal }))
        .collect::<Result<_, _>>()
        .map(Value::Array)
}

/// The text of a JSON string. A raw value's escapes have been checked, its surrogates have not.
pub(crate) fn string(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    if let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
        && !inner.contains(['\\', '"'])
    {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw)
        .map(Cow::Owned)
        .map_err(|_| Refusal::new("must be valid Unicode, and has half a surrogate pair"))
}

fn int(text: &str) -> Result<Value, Refusal> {
    text.parse().map(Value::Int).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => Refusal::new("is out of the 64-bit range"),
        _ => Scalar::Int.wanted(),
    })
}

fn float(text: &str) -> Result<Value, Refusal> {
    match text {
        "NaN" => return Ok(Value::Float(f64::NAN)),
        "Infinity" => return Ok(Value::Float(f64::INFINITY)),
        "-Infinity" => return Ok(Value::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    // Our grammar first: the standard library's also takes "inf" and "nan".
    let number = Number::parse(text).ok_or_else(|| Scalar::Float.wanted())?;
    let value: f64 = text.parse().map_err(|_| Scalar::Float.wanted())?;
    if value.is_infinite() || (value == 0.0 && !number.is_zero()) {
        return Err(Refusal::new("is out of the range of a 64-bit float"));
    }
    Ok(Value::Float(value))
}

fn decimal(text: &str) -> Result<Value, Refusal> {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return Ok(Value::Decimal(text.to_owned()));
    }
    let number = Number::parse(text).ok_or_else(|| Scalar::Decimal.wanted())?;
    number
        .expand()
        .map(Value::Decimal)
        .ok_or_else(|| Refusal::new("has an exponent that stands for too many digits"))
}

fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let hyphens: &[usize] = match text.len() {
        36 => &[8, 13, 18, 23],
        32 => &[],
        _ => return None,
    };
    if hyphens.iter().any(|&at| text[at] != b'-') {
        return None;
    }
    let mut digits =
        text.iter().enumerate().filter(|(at, _)| !hyphens.contains(at)).map(|(_, &digit)| hex(digit));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(uuid)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// JSON that is already known to be well-formed, if it is not too deep for the parsers behind us.
fn json(text: String) -> Result<Value, Refusal> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return Err(Refusal::new(format!("is nested deeper than {MAX_JSON_DEPTH} levels")));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(Value::Json(text))
}

/// About where JSON parsers stop, serde_json's among them; nobody could read back what is deeper.
const MAX_JSON_DEPTH: usize = 128;

/// A number as it was written.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Number<'a> {
    /// Reads `[+-]?(digits[.digits] | .digits)([eE][+-]?digits)?`: JSON's numbers and what SQL adds to them.
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            None => (unsigned, 0),
            Some((mantissa, exponent)) => {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if !all_digits(digits) || digits.is_empty() {
                    return None;
                }
                // An exponent beyond i64 is as good as the largest: `expand` refuses both.
                let limit = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
                (mantissa, exponent.parse().unwrap_or(limit))
            }
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let empty = whole.is_empty() && fraction.is_empty();
        (!empty && all_digits(whole) && all_digits(fraction)).then_some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    fn is_zero(&self) -> bool {
        self.whole.bytes().chain(self.fraction.bytes()).all(|digit| digit == b'0')
    }

    /// The same number without an exponent, every digit kept; `None` if that takes too many zeros.
    fn expand(&self) -> Option<String> {
        let shift = usize::try_from(self.exponent.unsigned_abs()).ok()?;
        if shift > MAX_SHIFT {
            return None;
        }
        let mut digits = String::with_capacity(self.whole.len() + self.fraction.len() + shift + 2);
        // The digits in a row, and where among them the point belongs.
        let point = if self.exponent >= 0 {
            digits.push_str(self.whole);
            digits.push_str(self.fraction);
            let missing = shift.saturating_sub(self.fraction.len());
            digits.extend(std::iter::repeat_n('0', missing));
            self.whole.len() + shift
        } else {
            let missing = shift.saturating_sub(self.whole.len());
            digits.extend(std::iter::repeat_n('0', missing));
            digits.push_str(self.whole);
            digits.push_str(self.fraction);
            self.whole.len() + missing - shift
        };
        let (whole, fraction) = digits.split_at(point);
        let whole = whole.trim_start_matches('0');
        let sign = if self.negative && !self.is_zero() { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        let dot = if fraction.is_empty() { "" } else { "." };
        Some(format!("{sign}{whole}{dot}{fraction}"))
    }
}

/// More zeros than this an exponent may not stand for; a few bytes must not become a megabyte.
const MAX_SHIFT: usize = 20_000;

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(json: &str) -> Given {
        Given::Json(RawValue::from_string(json.to_owned()).unwrap())
    }

    fn read(kind: &str, given: &Given) -> Result<Value, String> {
        Kind::from_name(kind).unwrap().read(given).map_err(|refusal| refusal.of("p"))
    }

    /// JSON of each type that is taken.
    #[test]
    fn json_taken() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for (kind, json, value) in [
            ("bool", "true", Value::Bool(true)),
            ("bool", "false", Value::Bool(false)),
            ("int", "0", Value::Int(0)),
            ("int", "-0", Value::Int(0)),
            ("int", "9223372036854775807", Value::Int(i64::MAX)),
            ("int", "-9223372036854775808", Value::Int(i64::MIN)),
            ("int", r#""9007199254740993""#, Value::Int(9_007_199_254_740_993)),
            ("float", "1", Value::Float(1.0)),
            ("float", "1.7976931348623157e308", Value::Float(f64::MAX)),
            ("float", "5e-324", Value::Float(5e-324)),
            ("float", "0e-999", Value::Float(0.0)),
            ("float", r#""Infinity""#, Value::Float(f64::INFINITY)),
            ("float", r#""-Infinity""#, Value::Float(f64::NEG_INFINITY)),
            (
                "decimal",
                "12345678901234567890.12345678901234567890",
                Value::Decimal("12345678901234567890.12345678901234567890".into()),
            ),
            ("decimal", r#""1234.50""#, Value::Decimal("1234.50".into())),
            ("decimal", "1.50e1", Value::Decimal("15.0".into())),
            ("decimal", "1e3", Value::Decimal("1000".into())),
            ("decimal", "-1.5E-3", Value::Decimal("-0.0015".into())),
            ("decimal", "125e-2", Value::Decimal("1.25".into())),
            ("decimal", "-0.00", Value::Decimal("0.00".into())),
            ("decimal", r#""+.5""#, Value::Decimal("0.5".into())),
            ("decimal", r#""007""#, Value::Decimal("7".into())),
            ("decimal", r#""NaN""#, Value::Decimal("NaN".into())),
            ("text", r#""""#, Value::Text(String::new())),
            ("text", r#""a\u0000\n\"\ud83d\ude00'; --""#, Value::Text("a\0\n\"😀'; --".into())),
            (
                "uuid",
                r#""01234567-89AB-cdef-0123-456789abcdef""#,
                Value::Uuid([1, 35, 69, 103, 137, 171, 205, 239, 1, 35, 69, 103, 137, 171, 205, 239]),
            ),
            (
                "uuid",
                r#""000000000000000000000000000000ff""#,
                Value::Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]),
            ),
            ("date", r#""2000-01-02""#, Value::Date(1)),
            ("time", r#""00:00:01""#, Value::Time(1_000_000)),
            ("timestamp", r#""2000-01-01T00:00:00.5""#, Value::Timestamp(500_000)),
            ("timestamptz", r#""2000-01-01T01:00:00+01:00""#, Value::Timestamptz(0)),
            ("json", r#"{"a": [1.0, null]}"#, Value::Json(r#"{"a": [1.0, null]}"#.into())),
            ("json", r#""text""#, Value::Json(r#""text""#.into())),
            ("json", &deep, Value::Json(deep.clone())),
            ("bytes", r#""AP8=""#, Value::Bytes(vec![0, 255])),
            ("bytes", r#""""#, Value::Bytes(vec![])),
            ("int", "null", Value::Null),
            ("json", "null", Value::Null),
            ("int[]", "null", Value::Null),
            ("int[]", "[]", Value::Array(vec![])),
            ("int[]", r#"[1, null, "2"]"#, Value::Array(vec![Value::Int(1), Value::Null, Value::Int(2)])),
            ("json[]", "[[1], {}]", Value::Array(vec![Value::Json("[1]".into()), Value::Json("{}".into())])),
        ] {
            assert_eq!(read(kind, &raw(json)), Ok(value), "{kind} {json}");
        }
        assert!(matches!(read("float", &raw(r#""NaN""#)), Ok(Value::Float(value)) if value.is_nan()));
    }

    /// JSON of each type that is refused, with the words the caller reads.
    #[test]
    fn json_refused() {
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        let very_deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for (kind, json, says) in [
            ("bool", r#""true""#, "must be true or false"),
            ("bool", "1", "must be true or false"),
            ("int", "5.0", "must be an integer"),
            ("int", "1e3", "must be an integer"),
            ("int", r#""""#, "must be an integer"),
            ("int", r#"" 5""#, "must be an integer"),
            ("int", "true", "must be an integer"),
            ("int", "[1]", "must be an integer"),
            ("int", "9223372036854775808", "is out of the 64-bit range"),
            ("int", r#""-9223372036854775809""#, "is out of the 64-bit range"),
            ("float", "1e309", "is out of the range of a 64-bit float"),
            ("float", "1e-400", "is out of the range of a 64-bit float"),
            ("float", r#""inf""#, "must be a number"),
            ("float", r#""0x10""#, "must be a number"),
            ("decimal", "1e20001", "has an exponent that stands for too many digits"),
            ("decimal", "1e99999999999999999999", "has an exponent that stands for too many digits"),
            ("decimal", "1e-99999999999999999999", "has an exponent that stands for too many digits"),
            ("decimal", r#"".""#, "must be a number"),
            ("decimal", r#""1e""#, "must be a number"),
            ("decimal", r#""1,5""#, "must be a number"),
            ("decimal", r#""--1""#, "must be a number"),
            ("text", "5", "must be a string"),
            ("text", r#""\ud800""#, "must be valid Unicode"),
            ("uuid", r#""{01234567-89ab-cdef-0123-456789abcdef}""#, "must be a UUID"),
            ("uuid", r#""0123456789abcdef-0123-4567-89abcdef-""#, "must be a UUID"),
            ("uuid", r#""0123456789abcdef0123456789abcdeg""#, "must be a UUID"),
            ("date", r#""2026-02-29""#, "must be a date such as 2026-01-31"),
            ("date", "20260131", "must be a date"),
            ("timestamptz", r#""2026-01-31T13:37:00""#, "with an offset"),
            ("timestamp", r#""2026-01-31T13:37:00Z""#, "without an offset"),
            ("json", &deep, "is nested deeper than 128 levels"),
            ("json", &very_deep, "is nested deeper than 128 levels"),
            ("bytes", r#""AP8""#, "must be base64 with padding"),
            ("bytes", r#""AP9=""#, "must be base64 with padding"),
            ("bytes", r#""_-8=""#, "must be base64 with padding"),
            ("int[]", "5", "must be an array"),
            ("int[]", r#""5""#, "must be an array"),
            ("int[]", "[1, true]", "Parameter `p`: the element at index 1 must be an integer."),
            ("int[]", "[[1]]", "the element at index 0 must be an integer"),
            ("int[]", &very_deep, "the element at index 0 must be an integer"),
        ] {
            let refusal = read(kind, &raw(json)).expect_err(kind);
            assert!(refusal.contains(says), "{kind} {:.60}: {refusal}", json);
            assert!(refusal.contains("`p`"), "{refusal}");
        }
    }

    #[test]
    fn texts() {
        let text = |text: &str| Given::Text(text.to_owned());
        let texts = |texts: &[&str]| Given::Texts(texts.iter().map(|&text| text.to_owned()).collect());
        let taken = |kind, given: &Given, value| assert_eq!(read(kind, given), Ok(value), "{kind} {given:?}");
        taken("bool", &text("true"), Value::Bool(true));
        taken("int", &text("-5"), Value::Int(-5));
        taken("decimal", &text("1.10"), Value::Decimal("1.10".into()));
        taken("text", &text(""), Value::Text(String::new()));
        taken("text", &text("null"), Value::Text("null".into()));
        taken("json", &text(r#"{"a":1}"#), Value::Json(r#"{"a":1}"#.into()));
        taken("json", &text("null"), Value::Json("null".into()));
        taken("int[]", &text("1"), Value::Array(vec![Value::Int(1)]));
        taken(
            "text[]",
            &texts(&["a,b", ""]),
            Value::Array(vec![Value::Text("a,b".into()), Value::Text(String::new())]),
        );
        for (kind, given, says) in [
            ("bool", text("1"), "must be true or false"),
            ("bool", text("TRUE"), "must be true or false"),
            ("int", text(""), "must be an integer"),
            ("int", texts(&["1", "2"]), "must be given only once"),
            ("json", text("{a:1}"), "must be JSON"),
            ("json", text(&"[".repeat(100_000)), "must be JSON"),
            ("int[]", texts(&["1", "x"]), "the element at index 1 must be an integer"),
        ] {
            let refusal = read(kind, &given).expect_err(kind);
            assert!(refusal.contains(says), "{kind}: {refusal}");
        }
    }

    #[test]
    fn names_come_back() {
        for scalar in Scalar::ALL {
            for array in [false, true] {
                let kind = Kind { scalar, array };
                assert_eq!(Kind::from_name(&kind.to_string()), Some(kind));
            }
        }
        for name in ["", "[]", "Int", "int[][]", "int?", "string"] {
            assert_eq!(Kind::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            text in "\\PC{0,40}|[-+0-9.eE]{0,30}|[-+0-9:TZ. a-f]{0,30}",
            which in 0..12_usize,
            array: bool,
        ) {
            let kind = Kind { scalar: Scalar::ALL[which], array };
            let _ = kind.read(&Given::Text(text.clone()));
            let _ = kind.read(&Given::Texts(vec![text.clone(), text.clone()]));
            for json in [serde_json::json!(text), serde_json::json!([text, [text], null, {"a": text}])] {
                let _ = kind.read(&raw(&json.to_string()));
            }
            if let Ok(raw) = RawValue::from_string(text) {
                let _ = kind.read(&Given::Json(raw));
            }
        }

        #[test]
        fn decimals_keep_their_digits(whole in "0|[1-9][0-9]{0,40}", fraction in "[0-9]{0,40}", shift in -60..60_i64) {
            let plain = if fraction.is_empty() { whole.clone() } else { format!("{whole}.{fraction}") };
            prop_assert_eq!(read("decimal", &raw(&plain)), Ok(Value::Decimal(plain.clone())));
            // Moving the point there and back is the same number, up to zeros at either end.
            let Ok(Value::Decimal(moved)) = read("decimal", &raw(&format!("{plain}e{shift}"))) else {
                return Err(TestCaseError::fail(plain));
            };
            let Ok(Value::Decimal(back)) = read("decimal", &Given::Text(format!("{moved}e{}", -shift))) else {
                return Err(TestCaseError::fail(moved));
            };
            let trimmed = |text: &str| match text.split_once('.') {
                Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                None => text.to_owned(),
            };
            prop_assert_eq!(trimmed(&back), trimmed(&plain));
        }
    }
}
