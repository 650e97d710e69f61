//! What `in 1..=500` and `in {'open', 'closed'}` allow.

use std::cmp::Ordering;
use std::fmt;

use crate::value::{Given, Kind, Scalar, Value};

/// A range, as Rust writes one: `a..=b` with its end, `a..b` without, either side may be missing.
///
/// Numbers, dates and times are compared by value. Of a `text` the length in characters counts, of `bytes` the
/// length in bytes, of an array the number of its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    low: Option<Bound>,
    high: Option<Bound>,
    /// Whether `high` itself is allowed.
    inclusive: bool,
    unit: Unit,
}

#[derive(Debug, Clone, PartialEq)]
struct Bound {
    value: Value,
    /// As the author wrote it, for the message.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Itself,
    Characters,
    Bytes,
    Elements,
}

impl Bounds {
    /// Reads a range of this type.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the author.
    pub(super) fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        let unit = match kind {
            Kind { array: true, .. } => Unit::Elements,
            Kind { scalar: Scalar::Text, .. } => Unit::Characters,
            Kind { scalar: Scalar::Bytes, .. } => Unit::Bytes,
            Kind { scalar: Scalar::Bool | Scalar::Uuid | Scalar::Json, .. } => {
                return Err(format!("a {kind} has no order, so `in` cannot bound it"));
            }
            _ => Unit::Itself,
        };
        let Some((low, high)) = text.split_once("..") else {
            return Err("behind `in` belongs a range such as 1..=500, or 0..10 without its end".to_owned());
        };
        let (inclusive, high) = match high.strip_prefix('=') {
            Some(high) => (true, high),
            None => (false, high),
        };
        let bound = |text: &str| -> Result<Option<Bound>, String> {
            let text = text.trim();
            if text.is_empty() {
                return Ok(None);
            }
            let scalar = if unit == Unit::Itself { kind.scalar } else { Scalar::Int };
            let value = Kind { scalar, array: false }
                .read(&Given::Text(text.to_owned()))
                .map_err(|refusal| format!("the bound `{text}` {}", refusal.reason))?;
            Ok(Some(Bound { value, text: text.to_owned() }))
        };
        let bounds = Self { low: bound(low)?, high: bound(high)?, inclusive, unit };
        match (&bounds.low, &bounds.high) {
            (None, None) => Err("the range has neither a beginning nor an end".to_owned()),
            (_, None) if inclusive => Err("behind `..=` belongs the end of the range".to_owned()),
            (Some(low), Some(_)) if !bounds.holds(&low.value) => Err("the range is empty".to_owned()),
            _ => Ok(bounds),
        }
    }

    /// The two ends as the author wrote them, where there are such, and whether the upper one is allowed itself.
    #[must_use]
    pub fn ends(&self) -> (Option<&str>, Option<&str>, bool) {
        let low = self.low.as_ref().map(|bound| bound.text.as_str());
        let high = self.high.as_ref().map(|bound| bound.text.as_str());
        (low, high, self.inclusive)
    }

    /// Whether a value is within. NULL is, since nothing is known about it.
    pub(super) fn contain(&self, value: &Value) -> bool {
        let length = match (self.unit, value) {
            (_, Value::Null) => return true,
            (Unit::Characters, Value::Text(text)) => text.chars().count(),
            (Unit::Bytes, Value::Bytes(bytes)) => bytes.len(),
            (Unit::Elements, Value::Array(elements)) => elements.len(),
            _ => return self.holds(value),
        };
        self.holds(&Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
    }

    fn holds(&self, value: &Value) -> bool {
        let above = self.low.as_ref().is_none_or(|low| {
            matches!(compare(value, &low.value), Some(Ordering::Greater | Ordering::Equal))
        });
        let below = self.high.as_ref().is_none_or(|high| match compare(value, &high.value) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => self.inclusive,
            _ => false,
        });
        above && below
    }
}

/// The rest of a sentence that begins with the parameter's name: `must be between 1 and 500`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.unit == Unit::Elements { "must have " } else { "must be " })?;
        match (&self.low, &self.high) {
            (Some(low), Some(high)) if self.inclusive => {
                write!(f, "between {} and {}", low.text, high.text)?;
            }
            (Some(low), Some(high)) => write!(f, "at least {} and less than {}", low.text, high.text)?,
            (Some(low), None) => write!(f, "at least {}", low.text)?,
            (None, Some(high)) if self.inclusive => write!(f, "at most {}", high.text)?,
            (None, Some(high)) => write!(f, "less than {}", high.text)?,
            (None, None) => {}
        }
        f.write_str(match self.unit {
            Unit::Itself => "",
            Unit::Characters => " characters long",
            Unit::Bytes => " bytes long",
            Unit::Elements => " elements",
        })
    }
}

/// A few values, of which one must be given: `in {'open', 'closed'}`. Of an array each element must be one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// At least one, no two of them equal.
    values: Vec<Value>,
    /// The same as the author would write them, for the message.
    text: String,
    elements: bool,
}

impl Choice {
    /// Reads the values of a choice of this type.
    ///
    /// # Errors
    /// What is wrong, as a sentence for the author.
    pub(super) fn parse(given: Vec<Given>, kind: Kind) -> Result<Self, String> {
        if kind.scalar == Scalar::Json {
            return Err(format!("a {kind} has no choice, since there are many ways to write one"));
        }
        let mut values: Vec<Value> = Vec::with_capacity(given.len());
        let mut texts = Vec::with_capacity(given.len());
        for given in given {
            // Quotes and words are all that a choice is made of.
            let Given::Text(written) = &given else { continue };
            let value = Kind { array: false, ..kind }
                .read(&given)
                .map_err(|refusal| format!("the choice `{written}` {}", refusal.reason))?;
            if values.iter().any(|other| equal(other, &value)) {
                return Err(format!("the choice has `{written}` twice"));
            }
            texts.push(match kind.scalar {
                Scalar::Text => format!("'{}'", written.replace('\'', "''")),
                _ => written.clone(),
            });
            values.push(value);
        }
        Ok(Self { values, text: texts.join(", "), elements: kind.array })
    }

    /// The values, at least one.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The same as a query file has them between its braces: `'open', 'closed'`.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.text
    }

    /// Whether a value is one of them. NULL is, since nothing is known about it; but no element of an array may be.
    pub(super) fn contain(&self, value: &Value) -> bool {
        let one = |value: &Value| self.values.iter().any(|other| equal(other, value));
        match value {
            Value::Null => true,
            Value::Array(elements) => elements.iter().all(one),
            value => one(value),
        }
    }
}

/// The rest of a sentence that begins with the parameter's name: `must be one of 'open', 'closed'`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.elements { "must have only elements that are " } else { "must be " })?;
        f.write_str(if self.values.len() > 1 { "one of " } else { "" })?;
        f.write_str(&self.text)
    }
}

/// Whether two values of one type are the same: 1.0 is 1.00.
fn equal(a: &Value, b: &Value) -> bool {
    match compare(a, b) {
        Some(order) => order == Ordering::Equal,
        None => a == b,
    }
}

/// The order of two values of one type; `None` where there is none, as with NaN.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) | (Value::Timestamptz(a), Value::Timestamptz(b)) => {
            Some(a.cmp(b))
        }
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => compare_decimals(a, b),
        _ => None,
    }
}

/// Compares decimals digit by digit, however many there are.
fn compare_decimals(a: &str, b: &str) -> Option<Ordering> {
    /// Sign, the digits before the point, those behind it without trailing zeros.
    fn parts(text: &str) -> Option<(i8, &str, &str)> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        if digits == "NaN" {
            return None;
        }
        // Beyond every number of its sign.
        if digits == "Infinity" {
            return Some((sign * 2, "", ""));
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if whole.is_empty() && fraction.is_empty() {
            Some((0, "", ""))
        } else {
            Some((sign, whole, fraction))
        }
    }
    let (a_sign, a_whole, a_fraction) = parts(a)?;
    let (b_sign, b_whole, b_fraction) = parts(b)?;
    let size = a_whole
        .len()
        .cmp(&b_whole.len())
        .then_with(|| a_whole.cmp(b_whole))
        .then_with(|| a_fraction.cmp(b_fraction));
    Some(a_sign.cmp(&b_sign).then(if a_sign < 0 { size.reverse() } else { size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_and_without() {
        for (kind, range, within, without, says) in [
            ("int", "1..=500", vec!["1", "500"], vec!["0", "501"], "must be between 1 and 500"),
            ("int", "-5..5", vec!["-5", "4"], vec!["-6", "5"], "must be at least -5 and less than 5"),
            ("int", "0..", vec!["0"], vec!["-1"], "must be at least 0"),
            ("int", "..=9", vec!["9"], vec!["10"], "must be at most 9"),
            ("int", "..9", vec!["8"], vec!["9"], "must be less than 9"),
            (
                "float",
                "0.5..=1.5",
                vec!["0.5", "1"],
                vec!["0.4", "NaN", "Infinity"],
                "must be between 0.5 and 1.5",
            ),
            (
                "decimal",
                "-1.5..=100000000000000000000.01",
                vec!["-1.50", "0", "-0.0", "100000000000000000000.0100", "9", "10"],
                vec!["-1.51", "100000000000000000000.011", "NaN", "Infinity", "-Infinity", "-10"],
                "must be between -1.5 and 100000000000000000000.01",
            ),
            (
                "decimal",
                "0..",
                vec!["Infinity", "0", "0.001"],
                vec!["-0.001", "-Infinity"],
                "must be at least 0",
            ),
            (
                "date",
                "2026-01-01..2027-01-01",
                vec!["2026-12-31"],
                vec!["2027-01-01", "infinity"],
                "less than 2027-01-01",
            ),
            ("time", "09:00..=17:30", vec!["17:30:00"], vec!["17:30:00.000001"], "between 09:00 and 17:30"),
            (
                "timestamptz",
                "2026-01-01T00:00:00Z ..",
                vec!["2026-01-01T01:00:00+01"],
                vec!["2026-01-01T00:00:00+01"],
                "must be at least",
            ),
            ("text", "1..=3", vec!["a", "äöü"], vec!["", "abcd"], "must be between 1 and 3 characters long"),
            ("bytes", "..=2", vec!["", "AP8="], vec!["AP8A"], "must be at most 2 bytes long"),
            ("int[]", "1..=2", vec!["5"], vec![], "must have between 1 and 2 elements"),
        ] {
            let kind = Kind::from_name(kind).unwrap();
            let bounds = Bounds::parse(range, kind).unwrap();
            assert!(bounds.to_string().contains(says), "{bounds}");
            let read = |text: &str| kind.read(&Given::Text(text.to_owned())).unwrap();
            for text in within {
                assert!(bounds.contain(&read(text)), "{kind} {text} in {range}");
            }
            for text in without {
                assert!(!bounds.contain(&read(text)), "{kind} {text} in {range}");
            }
            assert!(bounds.contain(&Value::Null));
        }
        let bounds = Bounds::parse("1..=2", Kind::from_name("int[]").unwrap()).unwrap();
        assert!(!bounds.contain(&Value::Array(vec![])));
        assert!(!bounds.contain(&Value::Array(vec![Value::Null; 3])));
    }

    #[test]
    fn choices() {
        let check = |kind: &str, choice: &[&str], within: &[&str], without: &[&str]| {
            let kind = Kind::from_name(kind).unwrap();
            let given = choice.iter().map(|text| Given::Text((*text).to_owned())).collect();
            let choice = Choice::parse(given, kind).unwrap();
            let read = |json: &str| kind.read(&Given::Json(serde_json::from_str(json).unwrap())).unwrap();
            for json in within {
                assert!(choice.contain(&read(json)), "{json} {choice}");
            }
            for json in without {
                assert!(!choice.contain(&read(json)), "{json} {choice}");
            }
        };
        check("text", &["open", "closed"], &["\"open\"", "null"], &["\"Open\"", "\"\"", "\"open \""]);
        check("int", &["1", "2"], &["1", "\"02\""], &["3", "-1"]);
        check("decimal", &["1.50", "NaN"], &["1.5", "\"1.500\"", "\"NaN\""], &["1.51"]);
        check(
            "timestamptz",
            &["2026-01-31T00:00:00Z"],
            &["\"2026-01-31T01:00:00+01\""],
            &["\"2026-01-31T01:00:00Z\""],
        );
        check(
            "text[]",
            &["a", "b"],
            &["[]", "[\"a\"]", "[\"b\",\"a\",\"b\"]", "null"],
            &["[\"c\"]", "[\"a\",null]"],
        );
        check("bool", &["true"], &["true"], &["false"]);
    }

    #[test]
    fn refused() {
        for (kind, range, says) in [
            ("int", "5", "a range such as 1..=500"),
            ("int", "a..5", "the bound `a` must be an integer"),
            ("int", "1..=99999999999999999999", "64-bit range"),
            ("int", "5..=4", "the range is empty"),
            ("int", "5..5", "the range is empty"),
            ("int", "..", "neither a beginning nor an end"),
            ("int", "5..=", "behind `..=` belongs"),
            ("float", "NaN..1", "the range is empty"),
            ("bool", "false..=true", "a bool has no order"),
            ("uuid", "a..b", "a uuid has no order"),
            ("text", "a..=b", "the bound `a` must be an integer"),
        ] {
            let error = Bounds::parse(range, Kind::from_name(kind).unwrap()).expect_err(range);
            assert!(error.contains(says), "{range}: {error}");
        }
    }
}
