//! Rows as CSV: <https://www.rfc-editor.org/rfc/rfc4180>.
//!
//! A row is written as JSON first, into a buffer of its own, with a mark before each value; its end makes a line of it.
//! So a value is in CSV what it is in JSON, without the quotes, whatever its type.

use super::{Body, escape};
use crate::error::{Error, Fault, Result};

/// Stands before each value of a row. Neither can be in JSON as we write it: control characters are escaped there.
pub(super) const VALUE: u8 = 0x1f;
/// Stands behind that, where the value is JSON itself and not a value of ours in JSON's form.
pub(super) const JSON: u8 = 0x1e;

/// The lines that were written, and the one that comes next.
#[derive(Debug)]
pub(super) struct Csv {
    /// Where the lines go, in the form of the reply.
    pub(super) out: Body,
    /// The names of the columns, as a line.
    names: Vec<u8>,
    /// Whether they were written.
    named: bool,
    line: Vec<u8>,
}

impl Csv {
    pub(super) fn new(out: Body) -> Self {
        Self { out, names: Vec::new(), named: false, line: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.names.clear();
        self.named = false;
    }

    /// The columns have these names.
    pub(super) fn name(&mut self, names: &[&str]) {
        self.names.clear();
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                self.names.push(b',');
            }
            field(&mut self.names, name.as_bytes());
        }
        self.names.extend_from_slice(END);
    }

    /// Writes the line of names, once.
    pub(super) fn head(&mut self) -> Result<()> {
        if self.named {
            return Ok(());
        }
        self.named = true;
        put(&mut self.out, &self.names)
    }

    /// Writes a row, whose values are these.
    pub(super) fn row(&mut self, row: &[u8]) -> Result<()> {
        self.head()?;
        self.line.clear();
        // Before the first one stands a mark, too.
        for (at, value) in row.split(|byte| *byte == VALUE).skip(1).enumerate() {
            if at > 0 {
                self.line.push(b',');
            }
            match value {
                b"null" => {}
                [JSON, json @ ..] | json @ [b'[', ..] => field(&mut self.line, json),
                [b'"', text @ .., b'"'] if !text.contains(&b'\\') => field(&mut self.line, text),
                text @ [b'"', ..] => {
                    let text: String = serde_json::from_slice(text).map_err(|error| {
                        Error::new(Fault::Internal, format!("bug: no JSON string: {error}"))
                    })?;
                    field(&mut self.line, text.as_bytes());
                }
                // A number or a truth value.
                plain => self.line.extend_from_slice(plain),
            }
        }
        self.line.extend_from_slice(END);
        put(&mut self.out, &self.line)
    }
}

/// What ends a line.
const END: &[u8] = b"\r\n";

/// Writes a field: in quotes, where it would be read as another without them. `\.` alone was the end of the data for
/// `COPY` before PostgreSQL 18.
fn field(line: &mut Vec<u8>, text: &[u8]) {
    let special = |byte: &u8| matches!(byte, b'"' | b',' | b'\r' | b'\n');
    if !text.is_empty() && text != br"\." && !text.iter().any(special) {
        line.extend_from_slice(text);
        return;
    }
    line.push(b'"');
    for (at, part) in text.split(|byte| *byte == b'"').enumerate() {
        if at > 0 {
            line.extend_from_slice(b"\"\"");
        }
        line.extend_from_slice(part);
    }
    line.push(b'"');
}

/// Writes text as the reply carries it.
fn put(out: &mut Body, line: &[u8]) -> Result<()> {
    if !out.inside {
        return out.write(line, 0);
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| Error::new(Fault::Internal, format!("bug: CSV that is not UTF-8: {error}")))?;
    escape(text, |run, _| out.write(run, 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::Int64;
    use crate::form::Form;
    use crate::queries::Verb;
    use crate::rows::{Limits, RowWriter};

    use super::*;

    fn writer(bytes: usize, escaped: bool) -> RowWriter {
        let rows = RowWriter::new(Verb::Many, Limits { bytes, escaped, max_rows: None }, Int64::Number);
        if escaped { rows.inside_string() } else { rows }.in_form(Form::Csv)
    }

    /// What rows of these values become, in both ways that a reply has.
    fn written(names: &[&str], write: impl Fn(&mut RowWriter) -> Result<()>) -> String {
        let body = |escaped| {
            let mut rows = writer(1 << 20, escaped);
            rows.columns(names).unwrap();
            write(&mut rows).unwrap();
            String::from_utf8(rows.finish().unwrap()).unwrap()
        };
        let plain = body(false);
        assert_eq!(format!("\"{}\"", body(true)), serde_json::to_string(&plain).unwrap());
        plain
    }

    fn value(write: impl Fn(&mut RowWriter) -> Result<()>) -> String {
        let body = written(&["a", "b"], |rows| {
            rows.begin()?;
            rows.key(0)?;
            write(rows)?;
            rows.key(1)?;
            rows.int(1)?;
            rows.end()
        });
        body.strip_prefix("a,b\r\n").unwrap().strip_suffix(",1\r\n").unwrap().to_owned()
    }

    #[test]
    fn values() {
        assert_eq!(value(RowWriter::null), "");
        assert_eq!(value(|rows| rows.text("")), "\"\"");
        assert_eq!(value(|rows| rows.text("null")), "null");
        assert_eq!(value(|rows| rows.text("a\"b")), "\"a\"\"b\"");
        assert_eq!(value(|rows| rows.text("a,b")), "\"a,b\"");
        assert_eq!(value(|rows| rows.text("a\r\nb")), "\"a\r\nb\"");
        assert_eq!(value(|rows| rows.text("a\tb\\c\u{1}é\u{1f}\u{1e}")), "a\tb\\c\u{1}é\u{1f}\u{1e}");
        assert_eq!(value(|rows| rows.text("=1+1")), "=1+1");
        assert_eq!(value(|rows| rows.text(" a ")), " a ");
        assert_eq!(value(|rows| rows.text("[1]")), "[1]");
        assert_eq!(value(|rows| rows.text("\\.")), "\"\\.\"");
        assert_eq!(value(|rows| rows.bool(true)), "true");
        assert_eq!(value(|rows| rows.int(-5)), "-5");
        assert_eq!(value(|rows| rows.float(1.5)), "1.5");
        assert_eq!(value(|rows| rows.float(f64::NAN)), "NaN");
        assert_eq!(value(|rows| rows.decimal("1.50")), "1.50");
        assert_eq!(value(|rows| rows.bytes(b"\xff\xfe")), "//4=");
        assert_eq!(value(|rows| rows.bytes(b"")), "\"\"");
        assert_eq!(value(|rows| rows.date(0)), "2000-01-01");
        assert_eq!(value(|rows| rows.json("{\"a\": \"b\\n\"}")), "\"{\"\"a\"\":\"\"b\\n\"\"}\"");
        assert_eq!(value(|rows| rows.json("null")), "null");
        assert_eq!(value(|rows| rows.json("\"x\"")), "\"\"\"x\"\"\"");
        assert_eq!(
            value(|rows| {
                rows.array_begin()?;
                rows.int(1)?;
                rows.null()?;
                rows.text("a\"")?;
                rows.json("{}")?;
                rows.array_end()
            }),
            "\"[1,null,\"\"a\\\"\"\"\",{}]\""
        );
        assert_eq!(value(|rows| rows.array_begin().and_then(|()| rows.array_end())), "[]");
    }

    #[test]
    fn there_is_always_a_line_of_names() {
        assert_eq!(written(&["id", "a,\"b\""], |_| Ok(())), "id,\"a,\"\"b\"\"\"\r\n");
        let mut rows = writer(100, false);
        rows.columns(&["a"]).unwrap();
        rows.reset();
        rows.columns(&["b"]).unwrap();
        assert_eq!(rows.finish().unwrap(), b"b\r\n");
    }

    #[test]
    fn the_limit_counts_what_is_sent() {
        for escaped in [false, true] {
            let body = |bytes| {
                let mut rows = writer(bytes, escaped);
                rows.columns(&["a"])?;
                for _ in 0..3 {
                    rows.begin()?;
                    rows.key(0)?;
                    rows.text("q\" b\\")?;
                    rows.end()?;
                }
                rows.finish()
            };
            let size = body(1000).unwrap().len();
            assert_eq!(body(size).unwrap().len(), size);
            for bytes in 0..size {
                assert_eq!(body(bytes).unwrap_err().fault(), Fault::ResultTooLarge, "{bytes} of {size}");
            }
        }
    }

    /// A reader of RFC 4180, as strict as its grammar.
    fn read(text: &str) -> Vec<Vec<Option<String>>> {
        let (mut rows, mut row) = (Vec::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let value;
            if let Some(quoted) = rest.strip_prefix('"') {
                let (mut text, mut at) = (String::new(), quoted);
                loop {
                    let (part, behind) = at.split_once('"').unwrap();
                    text.push_str(part);
                    match behind.strip_prefix('"') {
                        Some(more) => {
                            text.push('"');
                            at = more;
                        }
                        None => {
                            rest = behind;
                            break;
                        }
                    }
                }
                value = Some(text);
            } else {
                let end = rest.find([',', '\r']).unwrap();
                value = (end > 0).then(|| rest[..end].to_owned());
                rest = &rest[end..];
            }
            row.push(value);
            if let Some(more) = rest.strip_prefix(',') {
                rest = more;
            } else {
                rest = rest.strip_prefix("\r\n").unwrap();
                rows.push(std::mem::take(&mut row));
            }
        }
        rows
    }

    proptest! {
        #[test]
        fn texts_read_back(texts in prop::collection::vec(prop::option::of(".{0,8}|[\",\r\n\\\\\u{1}é]{0,6}"), 1..4)) {
            let names: Vec<String> = (0..texts.len()).map(|at| format!("c{at}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let body = written(&names, |rows| {
                rows.begin()?;
                for (at, text) in texts.iter().enumerate() {
                    rows.key(at)?;
                    match text {
                        Some(text) => rows.text(text)?,
                        None => rows.null()?,
                    }
                }
                rows.end()
            });
            prop_assert_eq!(&read(&body)[1], &texts);
        }
    }
}
