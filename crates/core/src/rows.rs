//! From rows to the JSON body of a reply: engines push values into a [`RowWriter`], which writes them straight
//! into the body's buffer and stops at the reply's limit.
//!
//! Only this module formats. Nothing is allocated per row, and the buffer never grows past what the reply may
//! take, so a result of any size costs a bounded amount of memory.

pub(crate) mod compress;
mod csv;
mod leaving;
mod paging;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::backend::Done;
use crate::config::Int64;
use crate::error::{Error, Fault, Result};
use crate::form::{Coding, Form};
use crate::queries::Verb;
use crate::value::{Value, time};
use compress::Compressor;
use csv::Csv;
pub(crate) use leaving::Exit;
use leaving::Leaving;
use paging::Page;
pub(crate) use paging::Paging;

/// What a reply may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes the body may take, encoded as the reply carries it.
    pub bytes: usize,
    /// Whether the reply carries the body inside a JSON string, where each `"` and `\` takes one byte more.
    pub escaped: bool,
    /// How many rows a `:many` may have.
    pub max_rows: Option<u64>,
}

/// Writes the results of statements as JSON.
///
/// An engine names the [`columns`](Self::columns) once, before the first row. For each row it calls
/// [`begin`](Self::begin), then for each column, in order, [`key`](Self::key) and the method of its value, then
/// [`end`](Self::end). Core calls the rest: [`end_result`](Self::end_result) when the statement is done and, for
/// a list of results, [`next_result`](Self::next_result) before each statement.
///
/// The result is what the verb says: of `:many` an array of objects, of `:one` an object, of `:exec` what the
/// statement did.
///
/// # Errors
/// Every method that writes fails with [`Fault::ResultTooLarge`] rather than pass the limit. After an error the
/// writer is good for [`reset`](Self::reset) only.
#[derive(Debug)]
pub struct RowWriter {
    verb: Verb,
    max_rows: Option<u64>,
    int64: Int64,
    body: Body,
    columns: Vec<Key>,
    /// For a list: how many results have begun.
    list: Option<usize>,
    /// Whether a result has begun and not ended.
    open: bool,
    /// Rows of this result, and of all.
    in_result: u64,
    rows: u64,
    /// How many arrays are open, and whether the next value follows another one in its array.
    depth: usize,
    comma: bool,
    /// What stands around a row of a `:many`: before the first one, before the others, and behind each.
    around: [Piece; 3],
    /// Which column of a page's order the value that comes next is of, counted from 1; 0 for most.
    ordered: u8,
    /// What is done besides; nothing for JSON in one piece, which most results are.
    more: Option<Box<More>>,
}

/// What is done with rows besides writing them as JSON in one piece.
#[derive(Debug, Default)]
struct More {
    form: Form,
    csv: Option<Csv>,
    page: Option<Page>,
    compressed: Option<Compressed>,
    leaving: Option<Leaving>,
}

/// A body that is compressed as it grows.
#[derive(Debug)]
struct Compressed {
    coding: Coding,
    /// How many bytes there may be: of base64, unless they leave as they are.
    limit: usize,
    /// Whether it may stay as it is, where that is smaller.
    identity: bool,
    /// Whether the bytes leave as they are, and how many have left.
    leaves: bool,
    left: usize,
    /// Most is there.
    compressor: Option<Compressor>,
    /// All is there.
    whole: Option<Vec<u8>>,
}

impl RowWriter {
    /// A writer for the result of one statement.
    #[must_use]
    pub fn new(verb: Verb, limits: Limits, int64: Int64) -> Self {
        Self {
            verb,
            max_rows: limits.max_rows,
            int64,
            body: Body::new(limits),
            columns: Vec::new(),
            list: None,
            open: true,
            in_result: 0,
            rows: 0,
            depth: 0,
            comma: false,
            around: [Piece::new(b"[{"), Piece::new(b",{"), Piece::new(b"}")],
            ordered: 0,
            more: None,
        }
    }

    /// A writer for a list of results, each begun with [`next_result`](Self::next_result).
    #[must_use]
    pub fn list(limits: Limits, int64: Int64) -> Self {
        Self { list: Some(0), open: false, ..Self::new(Verb::Exec, limits, int64) }
    }

    /// Writes the body as it stands inside a JSON string: with a `\` before each `"` and `\`. So a reply that carries it
    /// there need not look at each byte of it again.
    #[must_use]
    pub fn inside_string(mut self) -> Self {
        self.body.inside = true;
        self
    }

    /// Writes the rows of a `:many` in this form. Every other result is JSON. Behind
    /// [`inside_string`](Self::inside_string), where the reply carries the body in a JSON string.
    #[must_use]
    pub fn in_form(mut self, form: Form) -> Self {
        if self.verb != Verb::Many || form == Form::Json {
            return self;
        }
        let (before, behind): (&[u8], &[u8]) = match form {
            Form::Csv => (b"", b""),
            Form::Json | Form::Ndjson if self.body.inside => (b"{", b"}\\n"),
            Form::Json | Form::Ndjson => (b"{", b"}\n"),
        };
        self.around = [Piece::new(before), Piece::new(before), Piece::new(behind)];
        let mut more = self.more.take().unwrap_or_default();
        more.form = form;
        if form == Form::Csv {
            let row = Body::new(Limits { bytes: self.body.limit, escaped: false, max_rows: None });
            more.csv = Some(Csv::new(std::mem::replace(&mut self.body, row)));
        }
        self.more = Some(more);
        self
    }

    /// Compresses the rows of a `:many` while they are written, unless all of them are too few to gain by that:
    /// [`coding`](Self::coding) tells. `identity` says whether they may be left as they are. The limit then counts the
    /// compressed bytes in base64.
    #[must_use]
    pub fn compressed(mut self, coding: Coding, identity: bool) -> Self {
        if self.verb == Verb::Many {
            let more = self.more.get_or_insert_default();
            let body = more.csv.as_mut().map_or(&mut self.body, |csv| &mut csv.out);
            let limit = body.told;
            // The buffer holds a piece, and a row that is as large as all of it might be.
            body.limit = body.limit.max(2 * compress::PIECE);
            more.compressed = Some(Compressed {
                coding,
                limit,
                identity,
                leaves: false,
                left: 0,
                compressor: None,
                whole: None,
            });
        }
        self
    }

    /// Makes the rows of a `:many` a page: as many as belong to it and fit, and in JSON an object with what the next one is
    /// asked for by. Belongs behind [`in_form`](Self::in_form) and before [`compressed`](Self::compressed).
    #[must_use]
    pub(crate) fn paged(mut self, paging: Paging) -> Self {
        if self.verb == Verb::Many {
            let more = self.more.get_or_insert_default();
            let body = more.csv.as_mut().map_or(&mut self.body, |csv| &mut csv.out);
            more.page = Some(Page::new(paging, body.limit));
            // A row that does not fit is written before it is taken back.
            body.limit *= 2;
        }
        self
    }

    /// Lets the rows of a `:many` leave while they are written, or the results of a list: [`drain`](Self::drain). What is
    /// left once the last result has ended is the rest of the body. Belongs behind all else; no page leaves so.
    #[must_use]
    pub(crate) fn leaving(mut self, exit: Exit) -> Self {
        if self.verb == Verb::Many || self.list.is_some() {
            let more = self.more.get_or_insert_default();
            if let Some(compressed) = &mut more.compressed {
                compressed.leaves = true;
            }
            more.leaving = Some(Leaving::new(exit, more.compressed.is_some()));
        }
        self
    }

    /// Whether what is written may leave before all of it is there.
    #[must_use]
    #[inline]
    pub fn leaves(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.leaving.is_some())
    }

    /// Whether something has left that cannot be taken back.
    pub(crate) fn begun(&self) -> bool {
        self.more.as_ref().and_then(|more| more.leaving.as_ref()).is_some_and(Leaving::begun)
    }

    /// How many bytes wait to leave.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match self.more.as_deref() {
            Some(More { csv: Some(csv), .. }) => csv.out.end,
            _ => self.body.end,
        }
    }

    /// Lets whole rows leave that have been written, and waits until they have room. Belongs between two rows, before each
    /// wait for the server. What stands behind the last row stays, in a list what stands behind the last result: it is not
    /// known to be well before COMMIT.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`]; [`Fault::ClientClosedRequest`] if nobody takes them any more.
    ///
    /// # Cancel safety
    /// None: what was to leave is lost, and the writer good for nothing.
    pub async fn drain(&mut self) -> Result<()> {
        let whole = match self.list {
            None => self.open && self.in_result > 0,
            // Its end is written by `finish` alone. What is open and has no rows may yet fail as a whole.
            Some(results) => results > 0 && (!self.open || self.verb == Verb::Many),
        };
        if !whole {
            return Ok(());
        }
        let Some(more) = self.more.as_deref_mut() else { return Ok(()) };
        let body = more.csv.as_mut().map_or(&mut self.body, |csv| &mut csv.out);
        let taken = more.compressed.as_ref().map_or(0, Compressed::taken);
        let Some(leaving) = more.leaving.as_mut().filter(|leaving| leaving.may(body.end + taken)) else {
            return Ok(());
        };
        let bytes = match &mut more.compressed {
            None => body.hand_over(),
            Some(compressed) => compressed.hand_over(body, leaving.is_due())?,
        };
        leaving.send(bytes).await
    }

    /// What a body that has begun to leave ends with when it has failed, so that nobody takes it for whole: `error` is an
    /// object in JSON. Rows that have not left are not among it.
    pub(crate) fn broken_off(self, error: &str) -> Vec<u8> {
        let Some(more) = self.more.map(|more| *more) else { return Vec::new() };
        let words = leaving::last_words(more.form, error);
        match more.compressed {
            None => words,
            Some(compressed) => compressed.broken_off(&words),
        }
    }

    /// By what the next page is asked for, if there is one, once the result has ended.
    pub(crate) fn next_page(&mut self) -> Option<String> {
        self.more.as_mut()?.page.as_mut()?.token.take()
    }

    /// What the body is compressed by, once its result has ended.
    #[must_use]
    pub fn coding(&self) -> Option<Coding> {
        let compressed = self.more.as_ref()?.compressed.as_ref()?;
        compressed.whole.is_some().then_some(compressed.coding)
    }

    /// Begins the next result of a list; `max_rows` is its own.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`].
    pub fn next_result(&mut self, verb: Verb, max_rows: Option<u64>) -> Result<()> {
        let results = self.list.unwrap_or(0);
        self.body.write(if results == 0 { b"[" } else { b"," }, 0)?;
        if results == 0 {
            // Room for the `]`: once the last result has ended, all may have been committed, and then nothing must
            // fail any more.
            self.body.take(1, 0)?;
        }
        self.list = Some(results + 1);
        self.verb = verb;
        self.max_rows = max_rows;
        self.columns.clear();
        self.in_result = 0;
        self.open = true;
        Ok(())
    }

    /// Forgets everything written, for a run that starts over: a list from its first result.
    pub fn reset(&mut self) {
        self.body.clear();
        self.columns.clear();
        self.list = self.list.map(|_| 0);
        self.open = self.list.is_none();
        self.in_result = 0;
        self.rows = 0;
        self.depth = 0;
        self.comma = false;
        if let Some(more) = &mut self.more {
            more.clear();
        }
    }

    /// Whether rows are written at all. Of an `:exec` they are not, and an engine need not decode them.
    #[must_use]
    pub fn wants_rows(&self) -> bool {
        self.verb != Verb::Exec
    }

    /// How many rows have been written, of all results.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Names the columns of this result.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] where two have one name, since an object can hold only one of them.
    pub fn columns(&mut self, names: &[&str]) -> Result<()> {
        self.columns.clear();
        let csv = self.more.as_mut().and_then(|more| more.csv.as_mut());
        let lines = csv.is_some();
        if let Some(csv) = csv {
            csv.name(names);
        }
        let page = self.more.as_ref().and_then(|more| more.page.as_ref());
        page.map_or(Ok(()), |page| page.check(names))?;
        // Of many columns only the first ones can be of the order.
        let ordered = |name: &str| page.map_or(0, |page| page.number(name));
        for (index, name) in names.iter().enumerate() {
            if self.wants_rows() && names[..index].contains(name) {
                return Err(Error::new(
                    Fault::QueryFailed,
                    format!(
                        "two columns of the result are named `{name}`: give one another name, as in \
                         `b.{name} AS b_{name}`"
                    ),
                ));
            }
            if lines {
                let chunks = [[csv::VALUE; CHUNK]].into();
                let key = Key { chunks, length: 1, used: 1, ordered: ordered(name) };
                self.columns.push(key);
                continue;
            }
            let mut escapes = 2;
            let mut key = Vec::with_capacity(name.len() + 2 * CHUNK);
            if index > 0 {
                key.push(b',');
            }
            key.extend_from_slice(self.body.quote());
            escape(name, |bytes, more| {
                if more > 0 && self.body.inside {
                    escape_again(bytes, |run| key.extend_from_slice(run));
                } else {
                    key.extend_from_slice(bytes);
                }
                escapes += more;
                Ok(())
            })?;
            key.extend_from_slice(self.body.quote());
            key.push(b':');
            let length = key.len();
            key.resize(length.next_multiple_of(CHUNK), 0);
            let plain = if self.body.inside { length - escapes } else { length };
            let used = plain + escapes * self.body.escape;
            let ordered = ordered(name);
            self.columns.push(Key { chunks: key.as_chunks().0.into(), length, used, ordered });
        }
        Ok(())
    }

    /// Begins a row.
    ///
    /// # Errors
    /// [`Fault::NotUnique`] at the second row of a `:one`, [`Fault::ResultTooLarge`].
    #[inline]
    pub fn begin(&mut self) -> Result<()> {
        match self.verb {
            Verb::Many if self.max_rows.is_some_and(|max| self.in_result >= max) => {
                return Err(too_many_rows(self.in_result));
            }
            Verb::Many => {
                if let Some(more) = &mut self.more {
                    more.begin(&mut self.body, self.in_result == 0)?;
                }
                self.body.write_piece(self.around[usize::from(self.in_result > 0)])?;
            }
            Verb::One if self.in_result > 0 => return Err(Error::new(Fault::NotUnique, "")),
            Verb::One => self.body.write(b"{", 0)?,
            Verb::Exec => self.body.mark(),
        }
        self.in_result += 1;
        self.rows += 1;
        Ok(())
    }

    /// Names the value that comes next: by its column, counted from 0. Columns come in their order.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`]; [`Fault::Internal`] for a column that [`columns`](Self::columns) did not name.
    #[inline]
    pub fn key(&mut self, column: usize) -> Result<()> {
        match self.columns.get(column) {
            Some(key) => {
                self.ordered = key.ordered;
                self.body.write_key(key)
            }
            None => Err(Error::new(Fault::Internal, format!("bug: column {column} was not named"))),
        }
    }

    /// Ends the row.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`].
    #[inline]
    pub fn end(&mut self) -> Result<()> {
        if self.verb == Verb::Exec {
            self.body.back_to_mark();
            return Ok(());
        }
        self.body.write_piece(self.around[2])?;
        match &mut self.more {
            None => Ok(()),
            Some(more) => {
                // What belongs to the next page is not counted.
                self.rows -= u64::from(!more.row(&mut self.body)?);
                Ok(())
            }
        }
    }

    /// Ends the result of a statement that did this. Belongs before COMMIT: a `:one` without its row fails here.
    ///
    /// # Errors
    /// [`Fault::NotFound`] for a `:one` without a row, [`Fault::ResultTooLarge`].
    pub fn end_result(&mut self, done: Done) -> Result<()> {
        self.open = false;
        match self.verb {
            Verb::Many => {
                match self.more.as_deref_mut() {
                    Some(More { csv: Some(csv), .. }) => csv.head()?,
                    Some(More { form: Form::Ndjson, .. }) => {}
                    more => {
                        if let Some(more) = more
                            && self.in_result == 0
                        {
                            more.begin(&mut self.body, true)?;
                        }
                        self.body.write(if self.in_result == 0 { b"[]" } else { b"]" }, 0)?;
                    }
                }
                match &mut self.more {
                    None => Ok(()),
                    Some(more) => more.finish(&mut self.body),
                }
            }
            Verb::One if self.in_result == 0 => Err(Error::new(Fault::NotFound, "")),
            Verb::One => Ok(()),
            Verb::Exec => {
                let mut digits = itoa::Buffer::new();
                self.body.write(b"{\"rowsAffected\":", 2)?;
                self.body.write(digits.format(done.rows_affected).as_bytes(), 0)?;
                if let Some(id) = done.last_insert_id {
                    self.body.write(b",\"lastInsertId\":", 2)?;
                    self.wide(digits.format(id))?;
                }
                self.body.write(b"}", 0)
            }
        }
    }

    /// The body: the result, or the list of results. Ends a result of rows that is still open.
    ///
    /// # Errors
    /// Those of [`end_result`](Self::end_result); [`Fault::Internal`] for an `:exec` that nobody ended.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        if self.open && self.verb == Verb::Exec {
            return Err(Error::new(Fault::Internal, "bug: what the statement did was not told"));
        }
        if self.open {
            self.end_result(Done::default())?;
        }
        match self.list {
            None => {}
            Some(0) => self.body.write(b"[]", 0)?,
            // It was accounted for with the first result.
            Some(_) => self.body.put(b"]"),
        }
        match self.more.map(|more| *more) {
            Some(More { compressed: Some(Compressed { whole: Some(whole), .. }), .. }) => Ok(whole),
            Some(More { csv: Some(csv), .. }) => Ok(csv.out.finish()),
            _ => Ok(self.body.finish()),
        }
    }

    /// The body, after the last statement did this.
    ///
    /// # Errors
    /// Those of [`end_result`](Self::end_result).
    pub fn finish_exec(mut self, done: Done) -> Result<Vec<u8>> {
        self.end_result(done)?;
        self.finish()
    }

    /// Begins an array: the values up to [`array_end`](Self::array_end) are its elements. Arrays nest.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`].
    pub fn array_begin(&mut self) -> Result<()> {
        // Nothing is ordered by one.
        self.ordered = 0;
        self.value()?;
        self.depth += 1;
        self.comma = false;
        self.body.write(b"[", 0)
    }

    /// Ends the innermost array.
    ///
    /// # Errors
    /// [`Fault::ResultTooLarge`].
    pub fn array_end(&mut self) -> Result<()> {
        self.depth = self.depth.saturating_sub(1);
        self.comma = self.depth > 0;
        self.body.write(b"]", 0)
    }

    /// Tells the page of a value in a column of its order.
    #[inline]
    fn place(&mut self, value: impl FnOnce() -> Value) {
        if self.ordered != 0 {
            self.tell(value());
        }
    }

    #[cold]
    fn tell(&mut self, value: Value) {
        let number = std::mem::take(&mut self.ordered);
        if let Some(page) = self.more.as_mut().and_then(|more| more.page.as_mut()) {
            page.tell(number, value);
        }
    }

    /// What stands before a value, if anything does.
    #[inline]
    fn value(&mut self) -> Result<()> {
        if self.comma {
            self.body.write(b",", 0)?;
        }
        self.comma = self.depth > 0;
        Ok(())
    }

    /// A short value in quotes, ASCII that needs no escapes.
    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.value()?;
        self.body.short(write)
    }

    /// A value without quotes, whole.
    fn plain(&mut self, text: &str) -> Result<()> {
        self.value()?;
        self.body.write(text.as_bytes(), 0)
    }
}

/// One method per kind of value.
///
/// # Errors
/// All of them: [`Fault::ResultTooLarge`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl RowWriter {
    /// SQL's NULL.
    pub fn null(&mut self) -> Result<()> {
        self.plain("null")
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> Result<()> {
        self.place(|| Value::Bool(value));
        self.plain(if value { "true" } else { "false" })
    }

    /// A 64-bit integer: a number or, if so configured, a string.
    pub fn int(&mut self, value: i64) -> Result<()> {
        self.place(|| Value::Int(value));
        self.wide(itoa::Buffer::new().format(value))
    }

    /// An unsigned 64-bit integer: a number or, if so configured, a string.
    pub fn uint(&mut self, value: u64) -> Result<()> {
        // It may be larger than what an `int` is bound as.
        self.place(|| Value::Decimal(value.to_string()));
        self.wide(itoa::Buffer::new().format(value))
    }

    /// An integer of at most 32 bits: always a number.
    pub fn int32(&mut self, value: i32) -> Result<()> {
        self.place(|| Value::Int(value.into()));
        self.plain(itoa::Buffer::new().format(value))
    }

    /// An unsigned integer of at most 32 bits: always a number.
    pub fn uint32(&mut self, value: u32) -> Result<()> {
        self.place(|| Value::Int(value.into()));
        self.plain(itoa::Buffer::new().format(value))
    }

    fn wide(&mut self, digits: &str) -> Result<()> {
        match self.int64 {
            Int64::Number => self.plain(digits),
            Int64::String => self.digits(digits),
        }
    }

    /// A double: the shortest number that reads back as the same double, or the string `NaN`, `Infinity`,
    /// `-Infinity`.
    pub fn float(&mut self, value: f64) -> Result<()> {
        self.place(|| Value::Float(value));
        if value.is_finite() {
            self.plain(zmij::Buffer::new().format_finite(value))
        } else {
            self.digits(not_finite(value))
        }
    }

    /// A single: the shortest number that reads back as the same single, or a string as for a double.
    pub fn float32(&mut self, value: f32) -> Result<()> {
        self.place(|| Value::Float(value.into()));
        if value.is_finite() {
            self.plain(zmij::Buffer::new().format_finite(value))
        } else {
            self.digits(not_finite(f64::from(value)))
        }
    }

    /// Decimal digits, or any other text without `"`, `\` and control characters: a string.
    pub fn decimal(&mut self, text: &str) -> Result<()> {
        self.place(|| match is_decimal(text) {
            true => Value::Decimal(text.to_owned()),
            false => Value::Text(text.to_owned()),
        });
        self.digits(text)
    }

    fn digits(&mut self, text: &str) -> Result<()> {
        self.value()?;
        self.body.write(b"\"", 1)?;
        self.body.write(text.as_bytes(), 0)?;
        self.body.write(b"\"", 1)
    }

    /// Text: a string.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.place(|| Value::Text(text.to_owned()));
        self.value()?;
        if self.body.write_plain(text.as_bytes())? {
            return Ok(());
        }
        self.escaped(text)
    }

    /// Text, if the bytes are UTF-8: a string. False if they are not; then no value was written.
    #[inline]
    pub fn text_of(&mut self, bytes: &[u8]) -> Result<bool> {
        self.place(|| Value::Text(String::from_utf8_lossy(bytes).into_owned()));
        self.value()?;
        if self.body.write_plain(bytes)? {
            return Ok(true);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.escaped(text).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    #[cold]
    fn escaped(&mut self, text: &str) -> Result<()> {
        self.body.write(b"\"", 1)?;
        escape(text, |bytes, escapes| self.body.write(bytes, escapes))?;
        self.body.write(b"\"", 1)
    }

    /// Bytes: a string in base64, with padding.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.place(|| Value::Bytes(bytes.to_vec()));
        self.value()?;
        self.body.write(b"\"", 1)?;
        self.body.base64(bytes)?;
        self.body.write(b"\"", 1)
    }

    /// A UUID: a string in lower case, with hyphens.
    pub fn uuid(&mut self, uuid: &[u8; 16]) -> Result<()> {
        self.place(|| Value::Uuid(*uuid));
        self.quoted(|out| {
            for (index, byte) in uuid.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    out.push(b'-');
                }
                out.extend_from_slice(&hex(*byte));
            }
        })
    }

    /// Days since 2000-01-01: a string as [`time::write_date`] has it.
    pub fn date(&mut self, days: i32) -> Result<()> {
        self.place(|| Value::Date(days));
        self.quoted(|out| time::write_date(out, days))
    }

    /// Microseconds since midnight: a string.
    pub fn time(&mut self, micros: i64) -> Result<()> {
        self.place(|| Value::Time(micros));
        self.quoted(|out| time::write_time(out, micros))
    }

    /// Microseconds since 2000-01-01T00:00:00: a string without a zone.
    pub fn timestamp(&mut self, micros: i64) -> Result<()> {
        self.place(|| Value::Timestamp(micros));
        self.quoted(|out| time::write_timestamp(out, micros, false))
    }

    /// Microseconds since 2000-01-01T00:00:00 in UTC: a string that ends in `Z`.
    pub fn timestamptz(&mut self, micros: i64) -> Result<()> {
        self.place(|| Value::Timestamptz(micros));
        self.quoted(|out| time::write_timestamp(out, micros, true))
    }

    /// An interval: a string in ISO 8601, as PostgreSQL writes it with `intervalstyle = iso_8601`.
    pub fn interval(&mut self, months: i32, days: i32, micros: i64) -> Result<()> {
        self.place(|| {
            let mut out = Vec::new();
            write_interval(&mut out, months, days, micros);
            Value::Text(String::from_utf8_lossy(&out).into_owned())
        });
        self.quoted(|out| write_interval(out, months, days, micros))
    }

    /// JSON text, as it is but for the white space between its tokens. It must be valid: it is not parsed.
    pub fn json(&mut self, json: &str) -> Result<()> {
        self.value()?;
        if self.depth == 0
            && let Some(More { csv: Some(_), .. }) = self.more.as_deref()
        {
            self.body.write(&[csv::JSON], 0)?;
        }
        compact(json, |bytes, escapes, controls| self.body.write_json(bytes, escapes, controls))
    }
}

impl More {
    /// A row is about to be written, or the end of a result that has none.
    fn begin(&mut self, body: &mut Body, first: bool) -> Result<()> {
        if self.page.is_some() {
            if first && self.form == Form::Json {
                body.write(b"{\"rows\":", 2)?;
            }
            body.mark();
        }
        Ok(())
    }

    fn clear(&mut self) {
        if let Some(page) = &mut self.page {
            page.clear();
        }
        if let Some(csv) = &mut self.csv {
            csv.clear();
        }
        if let Some(compressed) = &mut self.compressed {
            compressed.compressor = None;
            compressed.whole = None;
            compressed.left = 0;
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.clear();
        }
    }

    /// A row has been written; tells whether it is kept.
    fn row(&mut self, body: &mut Body) -> Result<bool> {
        let body = match &mut self.csv {
            None => body,
            Some(csv) => {
                csv.out.mark();
                csv.row(&body.bytes[..body.end])?;
                body.clear();
                &mut csv.out
            }
        };
        if let Some(page) = &mut self.page {
            let used = match &self.compressed {
                None => body.used,
                // What is not compressed yet will not become more.
                Some(compressed) => compressed.used() + body.end,
            };
            if !page.keeps(used)? {
                body.back_to_mark();
                return Ok(false);
            }
        }
        match &mut self.compressed {
            Some(compressed) if body.end >= compress::PIECE => compressed.take(body)?,
            _ => {}
        }
        Ok(true)
    }

    /// All rows have been written. Belongs before COMMIT, since it may turn out that they are too much.
    fn finish(&mut self, body: &mut Body) -> Result<()> {
        let body = match &mut self.csv {
            None => body,
            Some(csv) => &mut csv.out,
        };
        if let Some(page) = &mut self.page {
            page.end(body, self.form == Form::Json)?;
        }
        match &mut self.compressed {
            Some(compressed) => compressed.finish(body),
            // A page of one row that is too large.
            None if body.used > body.told => Err(too_large(body.told)),
            None => Ok(()),
        }
    }
}

impl Compressed {
    /// What the reply takes by now, and what may be held back of it.
    fn used(&self) -> usize {
        let compressor = self.compressor.as_ref();
        compressor.map_or(0, |compressor| compress::encoded(compressor.length() + compress::HELD))
    }

    /// What so many bytes take in the reply, with those that have left.
    fn counted(&self, length: usize) -> usize {
        if self.leaves { self.left + length } else { compress::encoded(length) }
    }

    /// How much has been taken over, if not less is known of it.
    fn taken(&self) -> usize {
        self.compressor.as_ref().map_or(0, |compressor| compressor.length().max(compress::PIECE))
    }

    /// Takes over what the buffer holds, and gives what is compressed; with `all`, all of it.
    fn hand_over(&mut self, body: &mut Body, all: bool) -> Result<Vec<u8>> {
        self.take(body)?;
        let Some(compressor) = &mut self.compressor else { return Ok(Vec::new()) };
        let bytes = compressor.hand_over(all)?;
        self.left += bytes.len();
        Ok(bytes)
    }

    /// What is compressed with these words behind it, and without an end.
    fn broken_off(mut self, words: &[u8]) -> Vec<u8> {
        let Some(compressor) = &mut self.compressor else { return Vec::new() };
        // What cannot be compressed any more is not missed: there is no end in any case.
        compressor.write(words).and_then(|()| compressor.hand_over(true)).unwrap_or_default()
    }

    /// Takes over what the buffer holds.
    fn take(&mut self, body: &mut Body) -> Result<()> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(self.coding)?),
        };
        compressor.write(&body.bytes[..body.end])?;
        let length = compressor.length();
        body.clear();
        match self.counted(length) > self.limit {
            true => Err(too_large(self.limit)),
            false => Ok(()),
        }
    }

    fn finish(&mut self, body: &mut Body) -> Result<()> {
        if self.compressor.is_none() && self.identity {
            if body.end < compress::LEAST {
                return Ok(());
            }
            let whole = compress::whole(self.coding, &body.bytes[..body.end])?;
            let (gained, without) = (self.counted(whole.len()), body.end);
            if gained < without {
                self.whole = Some(whole);
            }
            return if gained.min(without) > self.limit { Err(too_large(self.limit)) } else { Ok(()) };
        }
        self.take(body)?;
        let Some(compressor) = self.compressor.take() else { return Ok(()) };
        let whole = compressor.finish()?;
        if self.counted(whole.len()) > self.limit {
            return Err(too_large(self.limit));
        }
        self.whole = Some(whole);
        Ok(())
    }
}

/// What stands before the values of a column, `"id":` or `,"name":`, as it stands in the body.
#[derive(Debug)]
struct Key {
    /// In whole chunks, since those are copied in a few instructions, and a few bytes more do no harm.
    chunks: Box<[[u8; CHUNK]]>,
    length: usize,
    /// How much of the reply it takes.
    used: usize,
    /// Which column of a page's order it is, counted from 1; 0 for most.
    ordered: u8,
}

/// A few bytes, in a chunk.
#[derive(Debug, Clone, Copy)]
struct Piece {
    chunk: [u8; CHUNK],
    length: usize,
}

impl Piece {
    /// At most a chunk.
    fn new(bytes: &[u8]) -> Self {
        let mut chunk = [0; CHUNK];
        chunk.iter_mut().zip(bytes).for_each(|(room, byte)| *room = *byte);
        Self { chunk, length: bytes.len() }
    }
}

/// The buffer that never outgrows its limit.
#[derive(Debug)]
struct Body {
    /// What is written, and behind it room.
    bytes: Vec<u8>,
    end: usize,
    /// What is written takes so much in the reply.
    used: usize,
    limit: usize,
    /// The limit that a caller is told.
    told: usize,
    /// What each `"` and `\` costs besides itself: 1 or 0.
    escape: usize,
    /// Whether the bytes are those inside a JSON string, where each `"` and `\` has its `\`.
    inside: bool,
    /// The ends of what is written and used before a row that is not kept.
    mark: (usize, usize),
    /// Holds a short value that is put together before it is written.
    scratch: Vec<u8>,
}

/// A quote inside a JSON string.
const QUOTE_INSIDE: [u8; 2] = *b"\\\"";

/// What is copied at once.
const CHUNK: usize = 16;

/// What there may be more of room than the limit.
const SHORT: usize = 80;

impl Body {
    fn new(limits: Limits) -> Self {
        Self {
            bytes: Vec::new(),
            end: 0,
            used: 0,
            limit: limits.bytes,
            told: limits.bytes,
            escape: usize::from(limits.escaped),
            inside: false,
            mark: (0, 0),
            scratch: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.end = 0;
        self.used = 0;
    }

    /// Gives what is written, which stays accounted for.
    fn hand_over(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.end);
        self.end = 0;
        bytes
    }

    fn mark(&mut self) {
        self.mark = (self.end, self.used);
    }

    fn back_to_mark(&mut self) {
        (self.end, self.used) = self.mark;
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }

    /// A `"` in the body's form.
    fn quote(&self) -> &'static [u8] {
        if self.inside { &QUOTE_INSIDE } else { b"\"" }
    }

    /// Appends bytes in which `escapes` are a `"` or a `\`.
    #[inline]
    fn write(&mut self, bytes: &[u8], escapes: usize) -> Result<()> {
        self.take(bytes.len(), escapes)?;
        if escapes > 0 && self.inside {
            escape_again(bytes, |run| self.put(run));
        } else {
            self.put(bytes);
        }
        Ok(())
    }

    /// Appends bytes in which so many are a `"` or a `\`, and so many a control character, which valid JSON has none of.
    fn write_json(&mut self, bytes: &[u8], escapes: usize, controls: usize) -> Result<()> {
        if !self.inside || escapes + controls == 0 {
            return self.write(bytes, escapes);
        }
        self.take(bytes.len() + controls * (CONTROL - 1), escapes)?;
        escape_again(bytes, |run| self.put(run));
        Ok(())
    }

    /// Appends a piece, which has no `"` and no `\` but those that it has for being inside a string.
    #[inline]
    fn write_piece(&mut self, piece: Piece) -> Result<()> {
        self.take(piece.length, 0)?;
        // There is room for a chunk in any case.
        if let Some(room) = self.room(piece.length).first_chunk_mut() {
            *room = piece.chunk;
        }
        self.end += piece.length;
        Ok(())
    }

    #[inline]
    fn write_key(&mut self, key: &Key) -> Result<()> {
        self.take(key.used, 0)?;
        let room = self.room(key.length);
        // Most keys are one chunk, and there is room for one in any case.
        if let ([chunk], Some(room)) = (&key.chunks[..], room.first_chunk_mut()) {
            *room = *chunk;
        } else {
            for (room, chunk) in room.as_chunks_mut().0.iter_mut().zip(&key.chunks) {
                *room = *chunk;
            }
        }
        self.end += key.length;
        Ok(())
    }

    /// Appends text in quotes if all of it is ASCII that needs no escape; else writes nothing, and false is returned.
    #[inline]
    fn write_plain(&mut self, text: &[u8]) -> Result<bool> {
        let before = self.take(text.len() + 2, 2)?;
        let plain = if self.inside { self.enclose(QUOTE_INSIDE, text) } else { self.enclose(*b"\"", text) };
        if !plain {
            self.used = before;
        }
        Ok(plain)
    }

    #[inline]
    fn enclose<const N: usize>(&mut self, quote: [u8; N], text: &[u8]) -> bool {
        let length = text.len() + 2 * N;
        let room = &mut self.room(length)[..length];
        let plain = room.split_first_chunk_mut().is_some_and(|(opening, room)| {
            room.split_last_chunk_mut().is_some_and(|(room, closing)| {
                (*opening, *closing) = (quote, quote);
                copy_plain(room, text)
            })
        });
        if plain {
            self.end += length;
        }
        plain
    }

    /// Appends in quotes what `write` writes, which needs no escapes and is short.
    fn short(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write(&mut scratch);
        let written = self.write_plain(&scratch);
        self.scratch = scratch;
        if written? { Ok(()) } else { Err(Error::new(Fault::Internal, "bug: a value needs escapes")) }
    }

    fn base64(&mut self, bytes: &[u8]) -> Result<()> {
        let length = bytes.len().div_ceil(3) * 4;
        self.take(length, 0)?;
        match BASE64.encode_slice(bytes, &mut self.room(length)[..length]) {
            Ok(_) => {
                self.end += length;
                Ok(())
            }
            Err(error) => Err(Error::new(Fault::Internal, format!("bug: base64: {error}"))),
        }
    }

    /// Appends bytes that have been accounted for.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        copy(&mut self.room(bytes.len())[..bytes.len()], bytes);
        self.end += bytes.len();
    }

    /// Accounts for so many bytes, of which so many need an escape. Returns what was used before.
    #[inline]
    fn take(&mut self, bytes: usize, escapes: usize) -> Result<usize> {
        let used = self.used + bytes + escapes * self.escape;
        if used > self.limit {
            return Err(too_large(self.told));
        }
        Ok(std::mem::replace(&mut self.used, used))
    }

    /// Room for so many bytes, and a chunk more.
    #[inline]
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = self.end + bytes + CHUNK;
        if wanted > self.bytes.len() {
            self.grow(wanted);
        }
        &mut self.bytes[self.end..]
    }

    /// Grows by steps, of which small results need few: four times as much, and twice as much where that is a lot; while
    /// that stays within the limit.
    #[cold]
    fn grow(&mut self, wanted: usize) {
        let length = self.bytes.len();
        let times = if length < 64 * 1024 { 4 } else { 2 };
        let grown = (length * times).max(1024).min(self.limit + SHORT).max(wanted);
        self.bytes.reserve_exact(grown - length);
        self.bytes.resize(grown, 0);
    }
}

/// Copies bytes to where is room for exactly them: short ones, which most are, without a call. Not byte by byte, and not
/// in a loop: of such a one the compiler makes a call again.
#[inline]
fn copy(room: &mut [u8], bytes: &[u8]) {
    let room = &mut room[..bytes.len()];
    match bytes.len() {
        0 => {}
        1 => room[0] = bytes[0],
        2..4 => copy_ends::<2>(room, bytes),
        4..WORD => copy_ends::<HALF>(room, bytes),
        WORD..=CHUNK => copy_ends::<WORD>(room, bytes),
        _ => room.copy_from_slice(bytes),
    }
}

/// Copies both ends, so many bytes of each, which overlap or are all there is.
#[inline(always)]
fn copy_ends<const N: usize>(room: &mut [u8], bytes: &[u8]) {
    if let (Some(first), Some(room)) = (bytes.first_chunk::<N>(), room.first_chunk_mut::<N>()) {
        *room = *first;
    }
    if let (Some(last), Some(room)) = (bytes.last_chunk::<N>(), room.last_chunk_mut::<N>()) {
        *room = *last;
    }
}

/// Copies text to where is room for exactly it, and tells whether all of it is ASCII that needs no escape. In words: where
/// the whole program is optimised for size, the compiler makes no vectors. And in two words at a time: of a loop that
/// copies one it makes a call of `memcpy` and a loop that looks.
#[inline(always)]
fn copy_plain(room: &mut [u8], bytes: &[u8]) -> bool {
    let room = &mut room[..bytes.len()];
    let mut marks = 0;
    if bytes.len() >= CHUNK {
        // The last pair overlaps the one before it.
        for (room, pair) in room.as_chunks_mut::<CHUNK>().0.iter_mut().zip(bytes.as_chunks::<CHUNK>().0) {
            marks |= copy_pair(room, pair);
        }
        if let (Some(room), Some(pair)) = (room.last_chunk_mut(), bytes.last_chunk()) {
            marks |= copy_pair(room, pair);
        }
    } else if bytes.len() >= WORD {
        copy_ends::<WORD>(room, bytes);
        for end in [bytes.first_chunk(), bytes.last_chunk()] {
            marks |= end.map_or(HIGH, |word| marked(*word));
        }
    } else {
        let mut word = [b' '; WORD];
        if let (Some(first), Some(last)) = (bytes.first_chunk::<HALF>(), bytes.last_chunk::<HALF>()) {
            copy_ends::<HALF>(room, bytes);
            let ([one, two], []) = word.as_chunks_mut::<HALF>() else { return false };
            (*one, *two) = (*first, *last);
        } else {
            copy(room, bytes);
            // At most three: the first, the second, and the last one.
            for (at, byte) in [(0, bytes.first()), (1, bytes.get(1)), (2, bytes.last())] {
                word[at] = byte.copied().unwrap_or(b' ');
            }
        }
        marks = marked(word);
    }
    marks & HIGH == 0
}

/// Copies two words; returns their marks.
#[inline(always)]
fn copy_pair(room: &mut [u8; CHUNK], pair: &[u8; CHUNK]) -> u64 {
    let ([one, two], []) = pair.as_chunks::<WORD>() else { return HIGH };
    let ([one_room, two_room], []) = room.as_chunks_mut::<WORD>() else { return HIGH };
    (*one_room, *two_room) = (*one, *two);
    marked(*one) | marked(*two)
}

/// How many bytes are in a word, and in half of one.
const WORD: usize = size_of::<u64>();
const HALF: usize = WORD / 2;

/// The high bits of a word are set whose bytes are `"`, `\`, below 0x20, or not ASCII; others may be, too, where one of
/// those is, since a subtraction may borrow into the byte above.
#[inline]
fn marked(word: [u8; WORD]) -> u64 {
    let word = u64::from_ne_bytes(word);
    let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
    word.wrapping_sub(ONES * 0x20) | quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES) | word
}

/// The lowest, and the highest bit of each byte.
const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// How a caller comes by the rest: the same advice for both limits, and for the query's author how to allow it.
const PAGING: &str =
    "Ask for fewer rows, page by page: in the order of a key, each time those after the last key seen.";
const HOW_TO_PAGE: &str = "a query pages with `-- page: id`, without ORDER BY and LIMIT of its own";

#[cold]
fn too_large(limit: usize) -> Error {
    too_much(format!("The result does not fit into a reply, whose body may take {limit} bytes. {PAGING}"))
}

#[cold]
fn too_many_rows(max: u64) -> Error {
    too_much(format!("The result has more than the {max} rows that this query may return. {PAGING}"))
}

fn too_much(message: String) -> Error {
    Error::told(Fault::ResultTooLarge, message).with_detail(HOW_TO_PAGE)
}

/// Escapes text for a JSON string: passes on runs of bytes, each with the number of `"` and `\` in it.
/// Other characters than `"`, `\` and the controls below U+0020 are left alone.
#[inline]
fn escape(text: &str, mut write: impl FnMut(&[u8], usize) -> Result<()>) -> Result<()> {
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_length(rest);
        if plain > 0 {
            write(&rest[..plain], 0)?;
        }
        let Some(&byte) = rest.get(plain) else { return Ok(()) };
        match byte {
            b'"' => write(b"\\\"", 2)?,
            b'\\' => write(b"\\\\", 2)?,
            b'\n' => write(b"\\n", 1)?,
            b'\r' => write(b"\\r", 1)?,
            b'\t' => write(b"\\t", 1)?,
            0x08 => write(b"\\b", 1)?,
            0x0c => write(b"\\f", 1)?,
            _ => write(&unicode(byte), 1)?,
        }
        rest = &rest[plain + 1..];
    }
}

/// Passes on JSON as it stands inside a JSON string, in runs.
fn escape_again(json: &[u8], mut write: impl FnMut(&[u8])) {
    let mut rest = json;
    loop {
        let plain = plain_length(rest);
        write(&rest[..plain]);
        match rest.get(plain) {
            None => return,
            Some(byte @ (b'"' | b'\\')) => write(&[b'\\', *byte]),
            Some(control) => write(&unicode(*control)),
        }
        rest = &rest[plain + 1..];
    }
}

/// A control character as JSON writes it where it has no shorter form.
fn unicode(control: u8) -> [u8; CONTROL] {
    let [high, low] = hex(control);
    [b'\\', b'u', b'0', b'0', high, low]
}

/// The length of that.
const CONTROL: usize = 6;

/// How many bytes at the front need no escape.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    // Eight bytes at a time: the high bit of each byte that is `"`, `\` or below 0x20. A subtraction may borrow
    // into the byte above, so the mask only says whether there is one; the loop below finds it.
    for chunk in bytes.as_chunks::<8>().0 {
        let word = u64::from_ne_bytes(*chunk);
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5c);
        let found = (word.wrapping_sub(ONES * 0x20) & !word)
            | (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash);
        if found & HIGH != 0 {
            break;
        }
        length += 8;
    }
    let tail = &bytes[length..];
    length + tail.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')).unwrap_or(tail.len())
}

/// Passes on JSON text without the white space between its tokens, in runs, each with the number of `"` and `\`, and
/// that of control characters.
fn compact(json: &str, mut write: impl FnMut(&[u8], usize, usize) -> Result<()>) -> Result<()> {
    let mut rest = json.as_bytes();
    while let Some(&first) = rest.first() {
        let (length, escapes, controls) = match first {
            b' ' | b'\n' | b'\r' | b'\t' => {
                rest = &rest[1..];
                continue;
            }
            b'"' => string_length(rest),
            _ => {
                let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b'"'));
                let end = end.unwrap_or(rest.len());
                let count = |some: fn(&u8) -> bool| rest[..end].iter().filter(|byte| some(byte)).count();
                (end, count(|byte| *byte == b'\\'), count(|byte| *byte < b' '))
            }
        };
        write(&rest[..length], escapes, controls)?;
        rest = &rest[length..];
    }
    Ok(())
}

/// The length of the JSON string at the front, quotes included, how many `"` and `\` it has, and how many control
/// characters.
fn string_length(bytes: &[u8]) -> (usize, usize, usize) {
    let (mut at, mut escapes, mut controls) = (1, 1, 0);
    loop {
        at += plain_length(&bytes[at.min(bytes.len())..]);
        match bytes.get(at) {
            Some(b'"') => return (at + 1, escapes + 1, controls),
            Some(b'\\') => {
                let escaped = bytes.get(at + 1);
                escapes += 1 + usize::from(matches!(escaped, Some(b'"' | b'\\')));
                controls += usize::from(matches!(escaped, Some(0..b' ')));
                at += 2;
            }
            Some(_) => {
                at += 1;
                controls += 1;
            }
            None => return (bytes.len(), escapes, controls),
        }
    }
}

/// Whether these are decimal digits, as a value that is bound has them.
pub(crate) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all(whole) && all(fraction) || matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// As `EncodeInterval` of PostgreSQL's `interval.c` does for `INTSTYLE_ISO_8601`: each field with its own sign,
/// fields of 0 left out. The extremes of all three are PostgreSQL 17's `infinity`.
fn write_interval(out: &mut Vec<u8>, months: i32, days: i32, micros: i64) {
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => return out.extend_from_slice(b"infinity"),
        (i32::MIN, i32::MIN, i64::MIN) => return out.extend_from_slice(b"-infinity"),
        (0, 0, 0) => return out.extend_from_slice(b"PT0S"),
        _ => {}
    }
    out.push(b'P');
    write_field(out, i64::from(months / 12), b'Y');
    write_field(out, i64::from(months % 12), b'M');
    write_field(out, i64::from(days), b'D');
    if micros == 0 {
        return;
    }
    out.push(b'T');
    write_field(out, micros / 3_600_000_000, b'H');
    write_field(out, micros / 60_000_000 % 60, b'M');
    let rest = micros % 60_000_000;
    if rest != 0 {
        // The sign stands before the seconds even where they are 0 and only the fraction is not.
        if rest < 0 {
            out.push(b'-');
        }
        let (seconds, mut fraction) = (rest.unsigned_abs() / 1_000_000, rest.unsigned_abs() % 1_000_000);
        out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        if fraction > 0 {
            let mut digits = 6;
            while fraction % 10 == 0 {
                fraction /= 10;
                digits -= 1;
            }
            let mut buffer = itoa::Buffer::new();
            let fraction = buffer.format(fraction).as_bytes();
            out.push(b'.');
            out.extend_from_slice(&b"000000"[..digits - fraction.len()]);
            out.extend_from_slice(fraction);
        }
        out.push(b'S');
    }
}

fn write_field(out: &mut Vec<u8>, number: i64, unit: u8) {
    if number != 0 {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.push(unit);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;
    use crate::stream;

    const WIDE: Limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };

    /// What one value becomes.
    fn value(int64: Int64, write: impl Fn(&mut RowWriter) -> Result<()>) -> String {
        let written = |mut rows: RowWriter| {
            rows.columns(&["v"]).unwrap();
            row(&mut rows, &write).unwrap();
            text(rows)
        };
        let body = written(RowWriter::new(Verb::One, WIDE, int64));
        let inside = written(RowWriter::new(Verb::One, WIDE, int64).inside_string());
        assert_eq!(format!("\"{inside}\""), serde_json::to_string(&body).unwrap());
        body.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned()
    }

    fn check(expected: &str, write: impl Fn(&mut RowWriter) -> Result<()>) {
        assert_eq!(value(Int64::Number, write), expected);
    }

    /// Writes one row of one column.
    fn row(rows: &mut RowWriter, write: impl FnOnce(&mut RowWriter) -> Result<()>) -> Result<()> {
        rows.begin()?;
        rows.key(0)?;
        write(rows)?;
        rows.end()
    }

    fn text(rows: RowWriter) -> String {
        String::from_utf8(rows.finish().unwrap()).unwrap()
    }

    fn done(rows_affected: u64) -> Done {
        Done { rows_affected, last_insert_id: None }
    }

    #[test]
    fn values() {
        check("null", RowWriter::null);
        check("true", |rows| rows.bool(true));
        check("false", |rows| rows.bool(false));
        check("-9223372036854775808", |rows| rows.int(i64::MIN));
        check("18446744073709551615", |rows| rows.uint(u64::MAX));
        check("-2147483648", |rows| rows.int32(i32::MIN));
        check("4294967295", |rows| rows.uint32(u32::MAX));
        check("\"1.50\"", |rows| rows.decimal("1.50"));
        check("\"\"", |rows| rows.bytes(b""));
        check("\"AA==\"", |rows| rows.bytes(b"\0"));
        check("\"//79\"", |rows| rows.bytes(b"\xff\xfe\xfd"));
        check("\"00010203-0405-0607-0809-0a0b0c0dfeff\"", |rows| {
            rows.uuid(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255])
        });
        check("\"2000-01-02\"", |rows| rows.date(1));
        check("\"-infinity\"", |rows| rows.date(i32::MIN));
        check("\"24:00:00\"", |rows| rows.time(86_400_000_000));
        check("\"1999-12-31T23:59:59.999999\"", |rows| rows.timestamp(-1));
        check("\"2000-01-01T00:00:00Z\"", |rows| rows.timestamptz(0));
        check("\"+294276-12-31T23:59:59.999999Z\"", |rows| rows.timestamptz(9_223_371_331_199_999_999));
    }

    #[test]
    fn wide_integers_as_strings() {
        assert_eq!(value(Int64::String, |rows| rows.int(i64::MIN)), "\"-9223372036854775808\"");
        assert_eq!(value(Int64::String, |rows| rows.uint(u64::MAX)), "\"18446744073709551615\"");
        assert_eq!(value(Int64::String, |rows| rows.int32(7)), "7");
        assert_eq!(value(Int64::String, |rows| rows.uint32(7)), "7");
    }

    #[test]
    fn floats_are_the_shortest_that_read_back() {
        check("1.0", |rows| rows.float(1.0));
        check("0.1", |rows| rows.float(0.1));
        check("-0.0", |rows| rows.float(-0.0));
        check("5e-324", |rows| rows.float(f64::from_bits(1)));
        check("1.7976931348623157e+308", |rows| rows.float(f64::MAX));
        check("0.1", |rows| rows.float32(0.1));
        check("3.4028235e+38", |rows| rows.float32(f32::MAX));
        check("16777216.0", |rows| rows.float32(16_777_216.0));
        check("\"NaN\"", |rows| rows.float(f64::NAN));
        check("\"Infinity\"", |rows| rows.float(f64::INFINITY));
        check("\"-Infinity\"", |rows| rows.float32(f32::NEG_INFINITY));
    }

    #[test]
    fn texts() {
        for (given, expected) in [
            ("", "\"\""),
            ("plain, and of more than eight bytes", "\"plain, and of more than eight bytes\""),
            ("a\"b\\c/d", "\"a\\\"b\\\\c/d\""),
            ("\u{8}\u{c}\n\r\t", "\"\\b\\f\\n\\r\\t\""),
            ("\0\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""),
            ("ä€😀\u{2028}", "\"ä€😀\u{2028}\""),
        ] {
            check(expected, |rows| rows.text(given));
        }
    }

    #[test]
    fn json_loses_only_white_space_between_tokens() {
        for (given, expected) in [
            ("null", "null"),
            (" 1.50 ", "1.50"),
            ("{\"a\": [1,\t2 ,\r\n 3], \"b c\": \" \\\" \\\\\"}", "{\"a\":[1,2,3],\"b c\":\" \\\" \\\\\"}"),
            ("\"\\u00e4\\n\"", "\"\\u00e4\\n\""),
        ] {
            check(expected, |rows| rows.json(given));
        }
    }

    #[test]
    fn intervals_as_postgres_writes_them() {
        // Each of them as PostgreSQL 15 prints it under `SET intervalstyle = 'iso_8601'`.
        for (months, days, micros, expected) in [
            (0, 0, 0, "PT0S"),
            (14, 3, 14_706_500_000, "P1Y2M3DT4H5M6.5S"),
            (-14, -3, -14_706_500_000, "P-1Y-2M-3DT-4H-5M-6.5S"),
            (-1, 1, 0, "P-1M1D"),
            (0, 0, 1, "PT0.000001S"),
            (0, 0, -1, "PT-0.000001S"),
            (0, 0, -500_000, "PT-0.5S"),
            (0, 0, 60_000_000, "PT1M"),
            (12, 0, 3_600_000_000, "P1YT1H"),
            (i32::MAX, i32::MAX, i64::MAX - 1, "P178956970Y7M2147483647DT2562047788H54.775806S"),
            (i32::MIN, i32::MIN, i64::MIN + 1, "P-178956970Y-8M-2147483648DT-2562047788H-54.775807S"),
            (i32::MAX, i32::MAX, i64::MAX, "infinity"),
            (i32::MIN, i32::MIN, i64::MIN, "-infinity"),
        ] {
            check(&format!("\"{expected}\""), |rows| rows.interval(months, days, micros));
        }
    }

    #[test]
    fn arrays_nest() {
        check("[]", |rows| rows.array_begin().and_then(|()| rows.array_end()));
        check("[[1,null],[],\"x\"]", |rows| {
            rows.array_begin()?;
            rows.array_begin()?;
            rows.int(1)?;
            rows.null()?;
            rows.array_end()?;
            rows.array_begin()?;
            rows.array_end()?;
            rows.text("x")?;
            rows.array_end()
        });
    }

    #[test]
    fn the_body_is_what_the_verb_says() {
        let many = |count: i32| {
            let mut rows = RowWriter::new(Verb::Many, WIDE, Int64::Number);
            rows.columns(&["id", "a \"b\"\n"]).unwrap();
            for id in 0..count {
                rows.begin().unwrap();
                rows.key(0).unwrap();
                rows.int32(id).unwrap();
                rows.key(1).unwrap();
                rows.text("x").unwrap();
                rows.end().unwrap();
            }
            assert_eq!(rows.rows(), u64::try_from(count).unwrap());
            text(rows)
        };
        assert_eq!(many(0), "[]");
        assert_eq!(many(2), "[{\"id\":0,\"a \\\"b\\\"\\n\":\"x\"},{\"id\":1,\"a \\\"b\\\"\\n\":\"x\"}]");

        let mut nothing = RowWriter::new(Verb::Many, WIDE, Int64::Number);
        nothing.columns(&[]).unwrap();
        nothing.begin().unwrap();
        nothing.end().unwrap();
        assert_eq!(text(nothing), "[{}]");

        let one = || {
            let mut rows = RowWriter::new(Verb::One, WIDE, Int64::Number);
            rows.columns(&["id"]).unwrap();
            rows
        };
        assert_eq!(one().finish().unwrap_err().fault(), Fault::NotFound);
        let mut rows = one();
        row(&mut rows, |rows| rows.int32(1)).unwrap();
        assert_eq!(rows.begin().unwrap_err().fault(), Fault::NotUnique);

        let mut exec = RowWriter::new(Verb::Exec, WIDE, Int64::Number);
        assert!(!exec.wants_rows());
        exec.columns(&["id", "id"]).unwrap();
        row(&mut exec, |rows| rows.int32(1)).unwrap();
        assert_eq!(exec.finish_exec(done(3)).unwrap(), b"{\"rowsAffected\":3}");
        let exec = RowWriter::new(Verb::Exec, WIDE, Int64::String);
        assert_eq!(
            exec.finish_exec(Done { rows_affected: 1, last_insert_id: Some(-7) }).unwrap(),
            b"{\"rowsAffected\":1,\"lastInsertId\":\"-7\"}"
        );
        // MySQL's BIGINT UNSIGNED.
        let exec = RowWriter::new(Verb::Exec, WIDE, Int64::Number);
        assert_eq!(
            exec.finish_exec(Done { rows_affected: 1, last_insert_id: Some(u64::MAX.into()) }).unwrap(),
            b"{\"rowsAffected\":1,\"lastInsertId\":18446744073709551615}"
        );
        let exec = RowWriter::new(Verb::Exec, WIDE, Int64::Number);
        assert_eq!(exec.finish().unwrap_err().fault(), Fault::Internal);
    }

    #[test]
    fn a_list_has_one_entry_per_result() {
        let mut list = RowWriter::list(WIDE, Int64::Number);
        for _ in 0..2 {
            list.reset();
            list.next_result(Verb::Many, Some(1)).unwrap();
            list.columns(&["a"]).unwrap();
            row(&mut list, |rows| rows.int32(1)).unwrap();
            list.end_result(done(1)).unwrap();
            list.next_result(Verb::Exec, None).unwrap();
            list.end_result(done(2)).unwrap();
            list.next_result(Verb::One, None).unwrap();
            list.columns(&["b"]).unwrap();
            row(&mut list, |rows| rows.array_begin().and_then(|()| rows.array_end())).unwrap();
            list.end_result(done(1)).unwrap();
            assert_eq!(list.rows(), 2);
        }
        assert_eq!(text(list), "[[{\"a\":1}],{\"rowsAffected\":2},{\"b\":[]}]");
        assert_eq!(text(RowWriter::list(WIDE, Int64::Number)), "[]");

        let mut list = RowWriter::list(WIDE, Int64::Number);
        list.next_result(Verb::One, None).unwrap();
        assert_eq!(list.end_result(done(0)).unwrap_err().fault(), Fault::NotFound);
    }

    /// Results end before COMMIT, the list after it: by then it is too late to be too large.
    #[test]
    fn a_list_whose_results_fit_can_be_finished() {
        let mut fitted = 0;
        for bytes in 0..60 {
            let limits = Limits { bytes, ..WIDE };
            let mut list = RowWriter::list(limits, Int64::Number);
            let results = (0..2).try_for_each(|_| {
                list.next_result(Verb::Exec, None)?;
                list.end_result(done(1))
            });
            if results.is_ok() {
                assert!(text(list).len() <= bytes);
                fitted += 1;
            }
        }
        assert_eq!(fitted, 60 - "[{\"rowsAffected\":1},{\"rowsAffected\":1}]".len());
    }

    #[test]
    fn an_object_a_line() {
        let body = |escaped, count: i32| {
            let limits = Limits { escaped, ..WIDE };
            let rows = RowWriter::new(Verb::Many, limits, Int64::Number);
            let mut rows = if escaped { rows.inside_string() } else { rows }.in_form(Form::Ndjson);
            rows.columns(&["id"]).unwrap();
            (0..count).for_each(|id| row(&mut rows, |rows| rows.int32(id)).unwrap());
            text(rows)
        };
        assert_eq!(body(false, 0), "");
        assert_eq!(body(false, 2), "{\"id\":0}\n{\"id\":1}\n");
        assert_eq!(format!("\"{}\"", body(true, 2)), serde_json::to_string(&body(false, 2)).unwrap());
        // Of other verbs there is but one form.
        let mut rows = RowWriter::new(Verb::One, WIDE, Int64::Number).in_form(Form::Csv);
        rows.columns(&["id"]).unwrap();
        row(&mut rows, |rows| rows.int32(1)).unwrap();
        assert_eq!(text(rows), "{\"id\":1}");
    }

    /// What so many rows become, and by what they are compressed.
    fn compressed(coding: Coding, form: Form, bytes: usize, count: i32) -> Result<(Option<Coding>, Vec<u8>)> {
        let limits = Limits { bytes, ..WIDE };
        let mut rows =
            RowWriter::new(Verb::Many, limits, Int64::Number).in_form(form).compressed(coding, true);
        // A run that is lost on the way.
        rows.columns(&["lost"])?;
        (0..2000).try_for_each(|_| row(&mut rows, |rows| rows.text("lost \"")))?;
        rows.reset();
        rows.columns(&["id"])?;
        (0..count).try_for_each(|id| row(&mut rows, |rows| rows.text(&format!("{id} \"of\" them"))))?;
        rows.end_result(done(0))?;
        let used = rows.coding();
        Ok((used, rows.finish()?))
    }

    fn expanded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        use std::io::Read as _;
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(drop).unwrap(),
            Coding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out).map(drop).unwrap()
            }
        }
        out
    }

    #[test]
    fn a_body_that_is_compressed_as_it_grows_is_the_same() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            for form in Form::ALL {
                for count in [0, 5, 100, 20_000] {
                    let mut rows = RowWriter::new(Verb::Many, WIDE, Int64::Number).in_form(form);
                    rows.columns(&["id"]).unwrap();
                    for id in 0..count {
                        row(&mut rows, |rows| rows.text(&format!("{id} \"of\" them"))).unwrap();
                    }
                    let plain = rows.finish().unwrap();
                    let (used, bytes) = compressed(coding, form, WIDE.bytes, count).unwrap();
                    assert_eq!(used, (count >= 100).then_some(coding), "{form:?} {count}");
                    let found = used.map_or(bytes.clone(), |coding| expanded(coding, &bytes));
                    assert_eq!(found, plain, "{form:?} {count}");
                }
            }
        }
    }

    #[test]
    fn the_limit_counts_the_compressed_bytes_in_base64() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let (_, bytes) = compressed(coding, Form::Json, WIDE.bytes, 20_000).unwrap();
            let size = compress::encoded(bytes.len());
            assert!(size < 400_000 / 2);
            assert!(compressed(coding, Form::Json, size, 20_000).is_ok());
            let error = compressed(coding, Form::Json, size - 1, 20_000).unwrap_err();
            assert_eq!(error.fault(), Fault::ResultTooLarge);
        }
    }

    #[test]
    fn what_gains_nothing_stays_as_it_is() {
        let noise: Vec<u8> = (0..1500).map(|_| fastrand::u8(..)).collect();
        let mut rows = RowWriter::new(Verb::Many, WIDE, Int64::Number).compressed(Coding::Gzip, true);
        rows.columns(&["v"]).unwrap();
        row(&mut rows, |rows| rows.bytes(&noise)).unwrap();
        rows.end_result(done(0)).unwrap();
        assert_eq!(rows.coding(), None);
        assert!(text(rows).starts_with("[{\"v\":\""));
        // But who forbids it as it is gets it otherwise.
        let mut rows = RowWriter::new(Verb::Many, WIDE, Int64::Number).compressed(Coding::Gzip, false);
        rows.end_result(done(0)).unwrap();
        assert_eq!(rows.coding(), Some(Coding::Gzip));
        assert_eq!(expanded(Coding::Gzip, &rows.finish().unwrap()), b"[]");
    }

    /// A writer whose rows leave, and what takes them.
    fn leaving(form: Form, coding: Option<Coding>, bytes: usize, held: bool) -> (RowWriter, stream::Inlet) {
        let (outlet, inlet) = stream::channel();
        let head = stream::Head { prelude: None, content_type: form.content_type() };
        let limits = Limits { bytes, ..WIDE };
        let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number).in_form(form);
        if let Some(coding) = coding {
            rows = rows.compressed(coding, true);
        }
        (rows.leaving(Exit { outlet: Some(outlet), head, held }), inlet)
    }

    /// What has left by now, of which somebody takes each piece.
    async fn taken(inlet: &mut stream::Inlet, into: &mut Vec<u8>) {
        while let Some(Some(Ok(bytes))) = inlet.next().now_or_never() {
            into.extend_from_slice(&bytes);
        }
    }

    #[tokio::test]
    async fn what_has_left_and_the_rest_are_the_body() {
        for coding in [None, Some(Coding::Gzip), Some(Coding::Zstd)] {
            for form in Form::ALL {
                for count in [0, 1, 3000] {
                    let mut whole = RowWriter::new(Verb::Many, WIDE, Int64::Number).in_form(form);
                    let (mut rows, mut inlet) = leaving(form, coding, WIDE.bytes, false);
                    let mut found = Vec::new();
                    whole.columns(&["id"]).unwrap();
                    rows.columns(&["id"]).unwrap();
                    for id in 0..count {
                        let text = format!("{id} \"of\" them, {}", id * 7919);
                        row(&mut whole, |rows| rows.text(&text)).unwrap();
                        row(&mut rows, |rows| rows.text(&text)).unwrap();
                        if id % 7 == 0 {
                            rows.drain().await.unwrap();
                            taken(&mut inlet, &mut found).await;
                        }
                        assert!(rows.waiting() < 64 * 1024);
                    }
                    assert_eq!(rows.begun(), count == 3000 || count == 1 && coding.is_none());
                    let behind = found.len();
                    rows.end_result(done(0)).unwrap();
                    // What closes the body stays until it is known to be well.
                    rows.drain().await.unwrap();
                    taken(&mut inlet, &mut found).await;
                    assert_eq!(found.len(), behind);
                    let used = rows.coding();
                    assert_eq!(used, coding.filter(|_| count == 3000));
                    found.extend(rows.finish().unwrap());
                    let found = used.map_or(found.clone(), |coding| expanded(coding, &found));
                    assert_eq!(found, whole.finish().unwrap(), "{form:?} {coding:?} {count}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_limit_counts_what_has_left() {
        let (mut rows, mut inlet) = leaving(Form::Json, None, 100, false);
        rows.columns(&["v"]).unwrap();
        let mut found = Vec::new();
        let error = loop {
            match row(&mut rows, |rows| rows.int32(1)) {
                Err(error) => break error,
                Ok(()) => rows.drain().await.unwrap(),
            }
            taken(&mut inlet, &mut found).await;
        };
        assert_eq!((error.fault(), found.len()), (Fault::ResultTooLarge, 96));
    }

    #[tokio::test]
    async fn a_write_is_held_back_and_may_start_over() {
        let (mut rows, mut inlet) = leaving(Form::Json, None, WIDE.bytes, true);
        for run in 0..2 {
            rows.columns(&["v"]).unwrap();
            row(&mut rows, |rows| rows.int32(run)).unwrap();
            rows.drain().await.unwrap();
            assert!(!rows.begun());
            if run == 0 {
                rows.reset();
            }
        }
        assert!(inlet.next().now_or_never().is_none());
        assert_eq!(text(rows), "[{\"v\":1}]");
    }

    #[tokio::test]
    async fn a_body_that_is_broken_off_is_not_whole() {
        for coding in [None, Some(Coding::Gzip), Some(Coding::Zstd)] {
            for (form, end) in [
                (Form::Json, "[{\"v\":1}"),
                (Form::Ndjson, "{\"v\":1}\n{\"error\":{}}\n"),
                (Form::Csv, "v\r\n1\r\n\"{\"\"error\"\":{}}"),
            ] {
                use std::io::Read as _;
                let (mut rows, mut inlet) = leaving(form, coding, WIDE.bytes, false);
                rows.columns(&["v"]).unwrap();
                row(&mut rows, |rows| rows.int32(1)).unwrap();
                rows.more.as_mut().unwrap().leaving.as_mut().unwrap().hold = 1;
                rows.drain().await.unwrap();
                let mut found = Vec::new();
                taken(&mut inlet, &mut found).await;
                // Half a row is none.
                rows.begin().unwrap();
                rows.key(0).unwrap();
                found.extend(rows.broken_off("{\"error\":{}}"));
                let Some(coding) = coding else {
                    assert_eq!(String::from_utf8(found).unwrap(), end);
                    continue;
                };
                let mut text = Vec::new();
                let read = match coding {
                    Coding::Gzip => flate2::read::GzDecoder::new(&found[..]).read_to_end(&mut text),
                    Coding::Zstd => {
                        zstd::stream::read::Decoder::new(&found[..]).unwrap().read_to_end(&mut text)
                    }
                };
                read.unwrap_err();
                assert_eq!(String::from_utf8(text).unwrap(), end);
            }
        }
    }

    #[test]
    fn a_second_run_starts_over() {
        let mut rows = RowWriter::new(Verb::One, WIDE, Int64::Number);
        rows.columns(&["a"]).unwrap();
        rows.begin().unwrap();
        rows.key(0).unwrap();
        rows.array_begin().unwrap();
        rows.reset();
        rows.columns(&["b"]).unwrap();
        row(&mut rows, |rows| rows.int32(2)).unwrap();
        assert_eq!(text(rows), "{\"b\":2}");
    }

    #[test]
    fn two_columns_of_one_name_are_refused_by_name() {
        let mut rows = RowWriter::new(Verb::Many, WIDE, Int64::Number);
        let error = rows.columns(&["id", "name", "id"]).unwrap_err();
        assert_eq!(error.fault(), Fault::QueryFailed);
        assert!(error.detail().contains("`id`"), "{error}");
        assert!(!error.message().contains("id`"), "{error}");
        rows.columns(&["id", "ID"]).unwrap();
    }

    #[test]
    fn max_rows_is_the_last_row_that_fits() {
        let limits = Limits { max_rows: Some(2), ..WIDE };
        let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
        rows.columns(&["a"]).unwrap();
        row(&mut rows, RowWriter::null).unwrap();
        row(&mut rows, RowWriter::null).unwrap();
        let error = rows.begin().unwrap_err();
        assert_eq!(error.fault(), Fault::ResultTooLarge);
        assert!(error.message().contains("2 rows"), "{error}");
    }

    /// Every kind of value that may be long, with all that needs an escape.
    fn sample(rows: &mut RowWriter) -> Result<()> {
        rows.columns(&["a\"b", "c"])?;
        for _ in 0..3 {
            rows.begin()?;
            rows.key(0)?;
            rows.text("q\" b\\ n\n c\u{1} e€")?;
            rows.key(1)?;
            rows.array_begin()?;
            rows.json("{\"k\": \"\\\" \\\\ \\n\"}")?;
            rows.bytes(b"\xff\xff\xff\xff")?;
            rows.float(f64::NAN)?;
            rows.date(0)?;
            rows.uuid(&[7; 16])?;
            rows.interval(1, 1, 1)?;
            rows.array_end()?;
            rows.end()?;
        }
        rows.end_result(done(3))
    }

    #[test]
    fn the_limit_is_exact() {
        for escaped in [false, true] {
            let limits = |bytes| Limits { bytes, escaped, max_rows: None };
            let mut rows = RowWriter::new(Verb::Many, limits(usize::MAX / 2), Int64::Number);
            sample(&mut rows).unwrap();
            let body = text(rows);
            let size = if escaped { serde_json::to_string(&body).unwrap().len() - 2 } else { body.len() };
            for inside in [false, escaped] {
                let writer = |bytes| {
                    let rows = RowWriter::new(Verb::Many, limits(bytes), Int64::Number);
                    if inside { rows.inside_string() } else { rows }
                };
                for bytes in 0..size {
                    let mut rows = writer(bytes);
                    let error = sample(&mut rows).unwrap_err();
                    assert_eq!(error.fault(), Fault::ResultTooLarge);
                    assert!(rows.body.end <= bytes && rows.body.bytes.len() <= bytes + SHORT);
                }
                let mut rows = writer(size);
                sample(&mut rows).unwrap();
                let written = text(rows);
                if inside {
                    assert_eq!(serde_json::from_str::<String>(&format!("\"{written}\"")).unwrap(), body);
                    assert_eq!(written.len(), size);
                } else {
                    assert_eq!(written, body);
                }
            }
        }
    }

    #[test]
    fn memory_stays_within_the_limit() {
        let limits = Limits { bytes: 100_000, escaped: true, max_rows: None };
        let huge = "\u{1}".repeat(1_000_000);
        for write in [
            (|rows, text| rows.text(text)) as fn(&mut RowWriter, &str) -> Result<()>,
            |rows, text| rows.decimal(text),
            |rows, text| rows.json(text),
            |rows, text| rows.bytes(text.as_bytes()),
            |rows, _| loop {
                rows.array_begin()?;
                rows.uuid(&[0; 16])?;
            },
        ] {
            let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
            let error = write(&mut rows, &huge).unwrap_err();
            assert_eq!(error.fault(), Fault::ResultTooLarge);
            assert!(error.message().contains("page by page"), "{error}");
            assert!(rows.body.bytes.capacity() <= limits.bytes + SHORT);
        }
    }

    #[test]
    fn json_that_is_not_valid_does_no_harm() {
        for given in ["\"", "\"\\", "\"a\u{1}", "\\\"", "{\"a"] {
            let _ = value(Int64::Number, |rows| rows.json(given));
        }
    }

    #[test]
    fn each_byte_is_copied_and_looked_at() {
        for length in 0..=3 * CHUNK {
            let plain: Vec<u8> = (b' '..).filter(|byte| !b"\"\\".contains(byte)).take(length).collect();
            let mut room = vec![0; length];
            assert!(copy_plain(&mut room, &plain), "{length}");
            assert_eq!(room, plain);
            for at in 0..length {
                for marked in [b'"', b'\\', 0, 0x1f, 0x80, 0xff] {
                    let mut given = plain.clone();
                    given[at] = marked;
                    assert!(!copy_plain(&mut room, &given), "{marked:#04x} at {at} of {length}");
                    assert_eq!(room, given);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(given: String) {
            let written = value(Int64::Number, |rows| rows.text(&given));
            prop_assert_eq!(value(Int64::Number, |rows| rows.text_of(given.as_bytes()).map(|_| ())), written.clone());
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), given);
        }

        #[test]
        fn bytes_are_text_if_they_are_utf8(given in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut rows = RowWriter::new(Verb::One, WIDE, Int64::Number);
            prop_assert_eq!(rows.text_of(&given).unwrap(), std::str::from_utf8(&given).is_ok());
        }

        #[test]
        fn text_is_written_as_serde_json_writes_it(given in "[\u{0}-\u{7f}€]{0,40}") {
            prop_assert_eq!(value(Int64::Number, |rows| rows.text(&given)), serde_json::to_string(&given).unwrap());
        }

        #[test]
        fn numbers_read_back(int: i64, uint: u64, float in prop::num::f64::NORMAL, single in prop::num::f32::NORMAL) {
            let read = |written: String| serde_json::from_str::<Json>(&written).unwrap();
            prop_assert_eq!(read(value(Int64::Number, |rows| rows.int(int))), Json::from(int));
            prop_assert_eq!(read(value(Int64::Number, |rows| rows.uint(uint))), Json::from(uint));
            let written = value(Int64::Number, |rows| rows.float(float));
            prop_assert_eq!(&written, &serde_json::to_string(&float).unwrap());
            prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), float.to_bits());
            let written = value(Int64::Number, |rows| rows.float32(single));
            prop_assert_eq!(written.parse::<f32>().unwrap().to_bits(), single.to_bits());
        }

        #[test]
        fn json_keeps_its_meaning(texts in prop::collection::vec(".{0,12}", 0..5), number: f64, pretty: bool) {
            let given = serde_json::json!({"a": texts, "b": [number, {"c \"\\": null}], "": {}});
            let compact = serde_json::to_string(&given).unwrap();
            let given = if pretty { serde_json::to_string_pretty(&given).unwrap() } else { compact.clone() };
            prop_assert_eq!(value(Int64::Number, |rows| rows.json(&given)), compact);
        }

        #[test]
        fn intervals_have_every_field(months: i32, days: i32, micros: i64) {
            let mut out = Vec::new();
            write_interval(&mut out, months, days, micros);
            prop_assert!(out.is_ascii());
        }
    }
}
