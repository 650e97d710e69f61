//! Reading JSON one level at a time: an object's keys, with each value left as the text it is.
//!
//! An event is scanned once as a whole; after that only the pieces that its source calls for are looked at.
//! Nothing here recurses, and no number is ever converted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, Fault, Result};

/// The members of one JSON object, in the order written. No key stands twice.
#[derive(Debug, Default, Clone)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object; `what` names it at the beginning of a sentence.
    ///
    /// # Errors
    /// `bad_event`: not JSON (with the parser's own reason), not an object, or a key that stands twice.
    pub(super) fn parse(text: &'a str, what: &str) -> Result<Self> {
        let object: Self = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                bad_event(format!("{what} must be a JSON object."))
            } else {
                bad_event(format!("{what} is not valid JSON: {error}."))
            }
        })?;
        match object.duplicate() {
            Some(key) => Err(bad_event(format!("{what} has the key {} twice.", quoted(key)))),
            None => Ok(object),
        }
    }

    /// The same without the keys whose value is `null`: whoever writes records of a fixed form writes all its keys.
    pub(super) fn without_nulls(self) -> Self {
        self.without_nulls_but(|_| false)
    }

    /// The same, keeping those of these keys.
    pub(super) fn without_nulls_but(mut self, kept: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(key, value)| value.get() != "null" || kept(key));
        self
    }

    /// The value under this key, as text; `null` is a value.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The value under this key; `null` is none.
    pub(super) fn some(&self, key: &str) -> Option<&'a RawValue> {
        self.get(key).filter(|value| value.get() != "null")
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The text under this key; `None` without the key and for `null`.
    ///
    /// # Errors
    /// `bad_event` if something else than text stands there.
    pub(super) fn text(&self, key: &str) -> Result<Option<Cow<'a, str>>> {
        self.some(key).map(|value| string(value).ok_or_else(|| must_be(key, "a string"))).transpose()
    }

    /// The object under this key; `None` without the key and for `null`.
    ///
    /// # Errors
    /// `bad_event` if something else than an object stands there, or a key in it stands twice.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>> {
        self.some(key).map(|value| Self::parse(value.get(), &format!("`{key}`"))).transpose()
    }

    /// The members.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// The members, to keep.
    pub(super) fn into_members(self) -> impl Iterator<Item = (String, Box<RawValue>)> {
        self.0.into_iter().map(|(key, value)| (key.into_owned(), value.to_owned()))
    }

    fn duplicate(&self) -> Option<&str> {
        // Events have about a dozen keys, where comparing beats hashing; but a caller may send a million.
        const FEW: usize = 24;
        if self.0.len() <= FEW {
            let mut rest = self.0.as_slice();
            while let [(key, _), tail @ ..] = rest {
                if tail.iter().any(|(other, _)| other == key) {
                    return Some(key);
                }
                rest = tail;
            }
            None
        } else {
            let mut seen = HashSet::with_capacity(self.0.len());
            self.keys().find(|key| !seen.insert(*key))
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Text(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Text that is borrowed where it has no escapes. (serde's own `Cow` always allocates.)
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;

        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(AnyText)
    }
}

/// What a JSON string says; `None` for another value, and for one with half a surrogate pair.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(value.get()).ok().map(|Text(text)| text)
}

/// The elements of the array that is called `name`.
///
/// # Errors
/// `bad_event` for another value.
pub(super) fn elements<'a>(value: &'a RawValue, name: &str) -> Result<Vec<&'a RawValue>> {
    serde_json::from_str(value.get()).map_err(|_| must_be(name, "an array"))
}

/// Refuses JSON text that is nested deeper than any call is, before anything else reads it: neither this
/// program nor the database behind it shall be asked to follow.
///
/// # Errors
/// `bad_event`.
pub(super) fn check_depth(text: &str, what: &str) -> Result<()> {
    // What serde_json allows by itself where it recurses.
    const DEEPEST: u32 = 128;
    let (mut depth, mut inside, mut escaped) = (0_u32, false, false);
    for byte in text.bytes() {
        if inside {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => inside = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => inside = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return Err(bad_event(format!("{what} is nested deeper than {DEEPEST} levels.")));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// A `bad_event` with this message for the caller.
pub(super) fn bad_event(message: impl Into<Cow<'static, str>>) -> Error {
    Error::told(Fault::BadEvent, message)
}

/// A `bad_event` for a key of another type.
pub(super) fn must_be(key: &str, what: &str) -> Error {
    bad_event(format!("{} must be {what}.", quoted(key)))
}

/// A name that a caller gave, fit to be shown: in backticks, on one line, of bounded length.
pub(super) fn quoted(name: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The one of `known` that was probably meant by `word`.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    // Longer words are no misspelling of ours, and comparing costs their length.
    const LONGEST: usize = 32;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&word, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance: how many letters must be put in, left out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
            let found = Object::parse(text, "It");
            match (&found, expected) {
                (Ok(object), Ok(expected)) => {
                    let members: Vec<_> = object.iter().map(|(key, value)| (key, value.get())).collect();
                    assert_eq!(members, expected, "{text}");
                }
                (Err(error), Err(expected)) => assert_eq!(error.message(), expected, "{text}"),
                _ => panic!("{text}: {found:?}"),
            }
        }
        check("{}", Ok(&[]));
        check(r#" {"a":1, "b" : [1, {"c":2}]} "#, Ok(&[("a", "1"), ("b", r#"[1, {"c":2}]"#)]));
        check(r#"{"\u0061":"\n"}"#, Ok(&[("a", r#""\n""#)]));
        // Digits stay as they were written.
        check(
            r#"{"n":1.10000000000000000000000000001e-7}"#,
            Ok(&[("n", "1.10000000000000000000000000001e-7")]),
        );
        check(r#"{"a":1,"\u0061":2}"#, Err("It has the key `a` twice."));
        check("[]", Err("It must be a JSON object."));
        check("null", Err("It must be a JSON object."));
        check(r#""{}""#, Err("It must be a JSON object."));
        check("", Err("It is not valid JSON: EOF while parsing a value at line 1 column 0."));
        check("{\"a\":1,\n}", Err("It is not valid JSON: trailing comma at line 2 column 1."));
        check(r#"{"a":1} x"#, Err("It is not valid JSON: trailing characters at line 1 column 9."));
    }

    #[test]
    fn a_key_that_stands_twice_is_found_among_many() {
        let many: Vec<String> = (0..1000).chain([500]).map(|n| format!("\"k{n}\":0")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(Object::parse(&text, "It").unwrap_err().message(), "It has the key `k500` twice.");
    }

    #[test]
    fn depth() {
        fn check(text: &str, fits: bool) {
            assert_eq!(check_depth(text, "It").is_ok(), fits, "{text}");
        }
        check(&"[".repeat(128), true);
        check(&"[".repeat(129), false);
        check(&format!("{}{}", "{}".repeat(500), "[]".repeat(500)), true);
        check(&format!("\"{}\"", "[".repeat(500)), true);
        check(&format!(r#""\"{}""#, "[".repeat(500)), true);
        check(&format!(r#""\\"{}"#, "[".repeat(500)), false);
    }

    #[test]
    fn suggestions() {
        fn check(word: &str, expected: Option<&str>) {
            assert_eq!(nearest(word, &["query", "params", "onError"]), expected, "{word}");
        }
        check("querry", Some("query"));
        check("Query", Some("query"));
        check("onerror", Some("onError"));
        check("on_error", Some("onError"));
        check("parms", Some("params"));
        check("userName", None);
        check("", None);
        check(&"q".repeat(5000), None);
    }

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(quoted("a\nb"), "`a\\nb`");
        assert_eq!(quoted(&"x".repeat(65)), format!("`{}…`", "x".repeat(64)));
    }
}
