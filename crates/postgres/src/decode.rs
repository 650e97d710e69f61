//! From a row's wire bytes to the writer: each column has its decoder chosen once, from its type.
//!
//! The bytes are those of the types' binary `send` functions in the server's `src/backend/utils/adt`; where a
//! type is written in PostgreSQL's own text form, that of its `out` function with `DateStyle = ISO` in UTC.

use std::fmt;
use std::io::Write as _;
use std::net::Ipv4Addr;

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::rows::RowWriter;
use lambda_rds_core::value::time;

use crate::messages::{DATA_ROW, Front, Message, front};
use crate::types::Decoder;

/// How the columns of one statement's rows are decoded.
#[derive(Debug)]
pub(crate) struct Columns {
    columns: Vec<Column>,
    /// Holds one value at a time, for the forms that are put together before they are written.
    scratch: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    decoder: Decoder,
    name: String,
}

impl Columns {
    /// The columns by their names and decoders.
    pub(crate) fn new(columns: impl Iterator<Item = (String, Decoder)>) -> Self {
        let columns = columns.map(|(name, decoder)| Column { decoder, name }).collect();
        Self { columns, scratch: Vec::new() }
    }

    /// Names the columns to the writer.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] for two columns of one name.
    pub(crate) fn name(&self, rows: &mut RowWriter) -> Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        rows.columns(&names)
    }

    /// Writes one row as the server sent it: the body of a DataRow message.
    ///
    /// # Errors
    /// The writer's; [`Fault::QueryFailed`] for text that is not UTF-8, which only a database of the encoding
    /// `SQL_ASCII` sends; [`Fault::Internal`] for bytes that are no row of these columns.
    pub(crate) fn row(&mut self, body: &[u8], rows: &mut RowWriter) -> Result<()> {
        let mut row = Wire(body);
        if usize::from(row.u16().map_err(no_row)?) != self.columns.len() {
            return Err(no_row(Trouble::Malformed));
        }
        rows.begin()?;
        for (index, column) in self.columns.iter().enumerate() {
            let value = match row.i32().map_err(no_row)? {
                -1 => None,
                length => Some(row.bytes(length).map_err(no_row)?),
            };
            column.write(index, value, rows, &mut self.scratch)?;
        }
        if !row.0.is_empty() {
            return Err(no_row(Trouble::Malformed));
        }
        rows.end()
    }

    /// Writes the rows that stand at the front of what the server has sent, as many as are whole, each as
    /// [`row`](Self::row) does; returns how many bytes they take, one that failed included, and why it did. In a loop of
    /// its own: on the way through the conversation a row takes half as long again.
    pub(crate) fn rows(&mut self, input: &[u8], rows: &mut RowWriter) -> (usize, Option<Error>) {
        let mut used = 0;
        // What is no row, or is not understood, is for who hears the rest.
        while let Ok(Front::Whole(Message { kind: DATA_ROW, body }, length)) = front(&input[used..]) {
            used += length;
            if let Err(error) = self.row(body, rows) {
                return (used, Some(error));
            }
        }
        (used, None)
    }
}

impl PartialEq for Columns {
    /// Whether they have the same names and decoders.
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns
    }
}

#[cold]
fn no_row(_: Trouble) -> Error {
    Error::new(Fault::Internal, "the server sent bytes that are no row of the statement")
}

impl Column {
    /// Writes the value under its name, as the `index`th of the row; `None` is NULL.
    fn write(
        &self,
        index: usize,
        bytes: Option<&[u8]>,
        rows: &mut RowWriter,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        rows.key(index)?;
        match bytes {
            None => rows.null(),
            Some(bytes) => self.value(bytes, rows, scratch).map_err(|trouble| trouble.in_column(self)),
        }
    }

    fn value(&self, bytes: &[u8], rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Result<(), Trouble> {
        match self.decoder {
            // Most columns are text, whose way is the longest in any case.
            Decoder::Value(Form::Text) | Decoder::Text => text(bytes, rows),
            Decoder::Value(form) => scalar(form, bytes, rows, scratch),
            Decoder::Array(form) => array(form, bytes, rows, scratch),
            Decoder::Numbers => Ok(rows.json(utf8(bytes)?)?),
            Decoder::Texts(separator) => texts(separator, utf8(bytes)?, rows),
        }
    }
}

/// `array_out`: braces, elements parted by their type's separator, in quotes where they need them, and NULL. Lower bounds
/// other than 1 stand before, and have no place in JSON.
/// <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>
fn texts(separator: u8, text: &str, rows: &mut RowWriter) -> Result<(), Trouble> {
    let text = match text.split_once('=') {
        Some((bounds, array)) if bounds.starts_with('[') => array,
        _ => text,
    };
    let bytes = text.as_bytes();
    let mut element = String::new();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => {
                rows.array_begin()?;
                depth += 1;
                at += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1).ok_or(Trouble::Malformed)?;
                rows.array_end()?;
                at += 1;
            }
            b'"' if depth > 0 => {
                element.clear();
                at += 1;
                loop {
                    let rest = text.get(at..).ok_or(Trouble::Malformed)?;
                    let end = rest.find(['"', '\\']).ok_or(Trouble::Malformed)?;
                    element.push_str(&rest[..end]);
                    at += end + 1;
                    if rest.as_bytes()[end] == b'"' {
                        break;
                    }
                    let escaped =
                        text.get(at..).and_then(|rest| rest.chars().next()).ok_or(Trouble::Malformed)?;
                    element.push(escaped);
                    at += escaped.len_utf8();
                }
                rows.text(&element)?;
            }
            byte if depth > 0 && *byte == separator => at += 1,
            _ if depth > 0 => {
                let rest = &bytes[at..];
                let end = rest.iter().position(|byte| *byte == separator || *byte == b'}');
                let end = at + end.ok_or(Trouble::Malformed)?;
                let plain = text.get(at..end).ok_or(Trouble::Malformed)?;
                if plain.eq_ignore_ascii_case("null") {
                    rows.null()?
                } else {
                    rows.text(plain)?
                }
                at = end;
            }
            _ => return Err(Trouble::Malformed),
        }
    }
    if depth == 0 && !bytes.is_empty() { Ok(()) } else { Err(Trouble::Malformed) }
}

/// What a value is on the wire, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Money,
    Text,
    Char,
    Uuid,
    Date,
    Time,
    Timetz,
    Timestamp,
    Timestamptz,
    Interval,
    Bytes,
    Json,
    Jsonb,
    Network,
    Macaddr,
    Bits,
    Oid,
    Xid8,
    Void,
    Range(Bound),
}

/// What the bounds of a range are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Int4,
    Int8,
    Numeric,
    Date,
    Timestamp,
    Timestamptz,
}

/// Why a value was not written.
#[derive(Debug)]
enum Trouble {
    Writer(Error),
    /// The bytes are not those of the type.
    Malformed,
    NotUtf8,
}

impl Trouble {
    fn in_column(self, column: &Column) -> Error {
        let Column { name, decoder } = column;
        match self {
            Self::Writer(error) => error,
            Self::Malformed => Error::new(
                Fault::Internal,
                format!("column `{name}`: the server sent bytes that are no {decoder:?}"),
            ),
            Self::NotUtf8 => Error::new(
                Fault::QueryFailed,
                format!(
                    "column `{name}` holds text that is not UTF-8, as a database of the encoding SQL_ASCII may: \
                     select it as bytes, `{name}::bytea AS {name}`"
                ),
            ),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Writer(error)
    }
}

#[inline]
fn text(bytes: &[u8], rows: &mut RowWriter) -> Result<(), Trouble> {
    if rows.text_of(bytes)? { Ok(()) } else { Err(Trouble::NotUtf8) }
}

fn scalar(form: Form, bytes: &[u8], rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Result<(), Trouble> {
    scratch.clear();
    let mut wire = Wire(bytes);
    match form {
        Form::Bool => rows.bool(wire.rest::<1>()? != [0])?,
        Form::Int2 => rows.int32(wire.i16()?.into())?,
        Form::Int4 => rows.int32(wire.i32()?)?,
        Form::Int8 => rows.int(wire.i64()?)?,
        Form::Float4 => rows.float32(f32::from_be_bytes(wire.rest()?))?,
        Form::Float8 => rows.float(f64::from_be_bytes(wire.rest()?))?,
        Form::Oid => rows.uint32(u32::from_be_bytes(wire.rest()?))?,
        Form::Xid8 => rows.uint(u64::from_be_bytes(wire.rest()?))?,
        Form::Text => text(bytes, rows)?,
        Form::Json => rows.json(utf8(bytes)?)?,
        Form::Jsonb => {
            // The version of the format; there has only ever been 1, before the text.
            let [1] = wire.take()? else { return Err(Trouble::Malformed) };
            rows.json(utf8(wire.0)?)?;
        }
        Form::Uuid => rows.uuid(&wire.rest()?)?,
        Form::Date => rows.date(wire.i32()?)?,
        Form::Time => rows.time(wire.time()?)?,
        Form::Timestamp => rows.timestamp(wire.i64()?)?,
        Form::Timestamptz => rows.timestamptz(wire.i64()?)?,
        Form::Interval => {
            let (micros, days, months) = (wire.i64()?, wire.i32()?, wire.i32()?);
            rows.interval(months, days, micros)?;
        }
        Form::Bytes => rows.bytes(bytes)?,
        Form::Void => rows.null()?,
        Form::Numeric | Form::Money => {
            if form == Form::Money {
                money(wire.i64()?, scratch);
            } else {
                numeric(wire, scratch)?;
            }
            rows.decimal(utf8(scratch)?)?;
        }
        Form::Char => {
            char(wire.rest()?, scratch);
            rows.text(utf8(scratch)?)?;
        }
        Form::Timetz => {
            timetz(wire, scratch)?;
            rows.decimal(utf8(scratch)?)?;
        }
        Form::Network => {
            network(wire, scratch)?;
            rows.decimal(utf8(scratch)?)?;
        }
        Form::Macaddr => {
            macaddr(bytes, scratch)?;
            rows.decimal(utf8(scratch)?)?;
        }
        Form::Bits => {
            bits(wire, scratch)?;
            rows.decimal(utf8(scratch)?)?;
        }
        Form::Range(bound) => {
            range(bound, wire, scratch)?;
            rows.text(utf8(scratch)?)?;
        }
    }
    Ok(())
}

/// `array_send`: the number of dimensions, whether there are NULLs, the elements' type; for each dimension its
/// length and lower bound; then the elements, each with its length. Lower bounds other than 1 have no place in
/// JSON: the elements are what counts.
fn array(form: Form, bytes: &[u8], rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Result<(), Trouble> {
    /// `MAXDIM` of the server's `utils/array.h`.
    const MAX_DIMENSIONS: usize = 6;

    let mut wire = Wire(bytes);
    let dimensions = wire.length()?;
    let (_has_nulls, _element_type) = (wire.i32()?, wire.i32()?);
    let mut lengths = [0; MAX_DIMENSIONS];
    let lengths = lengths.get_mut(..dimensions).ok_or(Trouble::Malformed)?;
    for length in lengths.iter_mut() {
        *length = wire.length()?;
        let _lower_bound = wire.i32()?;
    }
    if lengths.is_empty() {
        rows.array_begin()?;
        return Ok(rows.array_end()?);
    }
    dimension(form, lengths, &mut wire, rows, scratch)
}

fn dimension(
    form: Form,
    lengths: &[usize],
    wire: &mut Wire<'_>,
    rows: &mut RowWriter,
    scratch: &mut Vec<u8>,
) -> Result<(), Trouble> {
    let Some((length, inner)) = lengths.split_first() else {
        return match wire.i32()? {
            -1 => Ok(rows.null()?),
            length => scalar(form, wire.bytes(length)?, rows, scratch),
        };
    };
    rows.array_begin()?;
    for _ in 0..*length {
        dimension(form, inner, wire, rows, scratch)?;
    }
    Ok(rows.array_end()?)
}

/// `numeric_send`: digits of base 10000, the weight of the first of them, a sign, and how many decimal digits
/// stand after the point, zeros included.
fn numeric(mut wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    let (digits, weight, sign, scale) =
        (usize::from(wire.u16()?), i32::from(wire.i16()?), wire.u16()?, usize::from(wire.u16()?));
    let special: &[u8] = match sign {
        NUMERIC_POSITIVE | NUMERIC_NEGATIVE => b"",
        NUMERIC_NAN => b"NaN",
        NUMERIC_INFINITY => b"Infinity",
        NUMERIC_MINUS_INFINITY => b"-Infinity",
        _ => return Err(Trouble::Malformed),
    };
    if !special.is_empty() {
        out.extend_from_slice(special);
        return Ok(());
    }
    let (groups, []) = wire.0.as_chunks::<2>() else { return Err(Trouble::Malformed) };
    if groups.len() != digits {
        return Err(Trouble::Malformed);
    }
    // The digit of weight `at`; those not sent are 0.
    let group = |at: i32| -> Result<u16, Trouble> {
        let index = usize::try_from(weight - at).ok();
        let digit = index.and_then(|index| groups.get(index)).map_or(0, |group| u16::from_be_bytes(*group));
        if digit < 10_000 { Ok(digit) } else { Err(Trouble::Malformed) }
    };
    if sign == NUMERIC_NEGATIVE {
        out.push(b'-');
    }
    if weight < 0 {
        out.push(b'0');
    }
    for at in (0..=weight).rev() {
        let four = four_digits(group(at)?);
        let zeros =
            if at == weight { four.iter().take(3).take_while(|digit| **digit == b'0').count() } else { 0 };
        out.extend_from_slice(&four[zeros..]);
    }
    if scale > 0 {
        out.push(b'.');
        let (mut left, mut at) = (scale, -1);
        while left > 0 {
            let four = four_digits(group(at)?);
            let used = left.min(4);
            out.extend_from_slice(&four[..used]);
            left -= used;
            at -= 1;
        }
    }
    Ok(())
}

/// The signs of the server's `numeric.c`.
pub(crate) const NUMERIC_POSITIVE: u16 = 0x0000;
pub(crate) const NUMERIC_NEGATIVE: u16 = 0x4000;
pub(crate) const NUMERIC_NAN: u16 = 0xC000;
pub(crate) const NUMERIC_INFINITY: u16 = 0xD000;
pub(crate) const NUMERIC_MINUS_INFINITY: u16 = 0xF000;

/// `cash_send`: the smallest unit of `lc_monetary`'s currency. The wire does not say how many of them make one;
/// 100 do in the locale that servers start with, and in nearly all others.
fn money(cents: i64, out: &mut Vec<u8>) {
    if cents < 0 {
        out.push(b'-');
    }
    decimal(cents.unsigned_abs() / 100, 1, out);
    out.push(b'.');
    decimal(cents.unsigned_abs() % 100, 2, out);
}

/// `charsend`: one byte. `charout` writes byte 0 as nothing and, since PostgreSQL 16, bytes beyond ASCII in
/// octal; before, raw, which is not UTF-8.
fn char([byte]: [u8; 1], out: &mut Vec<u8>) {
    match byte {
        0 => {}
        1..0x80 => out.push(byte),
        _ => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
    }
}

/// `timetz_send`: the time of day, and the seconds that UTC is ahead of it.
fn timetz(mut wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    let (micros, zone) = (wire.time()?, wire.i32()?);
    time::write_time(out, micros);
    out.push(if zone <= 0 { b'+' } else { b'-' });
    let zone = u64::from(zone.unsigned_abs());
    decimal(zone / 3600, 2, out);
    if zone % 3600 != 0 {
        out.push(b':');
        decimal(zone / 60 % 60, 2, out);
    }
    if zone % 60 != 0 {
        out.push(b':');
        decimal(zone % 60, 2, out);
    }
    Ok(())
}

/// `network_send`: the family, the bits of the netmask, whether it is a cidr, and the address. The netmask is
/// written for every cidr, and for an inet where it is not that of a single host.
fn network(mut wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    /// `PGSQL_AF_INET` and `PGSQL_AF_INET6` of the server's `utils/inet.h`.
    const FAMILIES: [u8; 2] = [2, 3];

    let [family, bits, is_cidr, _length] = wire.take()?;
    let single = if family == FAMILIES[0] {
        put(out, format_args!("{}", Ipv4Addr::from(wire.rest()?)));
        32
    } else if family == FAMILIES[1] {
        ipv6(wire.rest()?, out);
        128
    } else {
        return Err(Trouble::Malformed);
    };
    if is_cidr != 0 || bits != single {
        out.push(b'/');
        decimal(bits.into(), 1, out);
    }
    Ok(())
}

/// As the server's `inet_net_ntop.c` writes it, which is not quite how Rust does: the longest run of zeros, the
/// first of several, becomes `::`, and an address that begins with six of them ends like one of IPv4.
fn ipv6(address: [u8; 16], out: &mut Vec<u8>) {
    let mut words = [0; 8];
    for (word, pair) in words.iter_mut().zip(address.as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*pair);
    }
    let (mut start, mut length) = (0, 0);
    for from in 0..8 {
        let run = words[from..].iter().take_while(|word| **word == 0).count();
        if run > length {
            (start, length) = (from, run);
        }
    }
    if length < 2 {
        length = 0;
    }
    let zeros = start..start + length;
    let embedded = start == 0 && (length == 6 || (length == 5 && words[5] == 0xffff));
    for (index, word) in words.iter().enumerate() {
        if zeros.contains(&index) {
            if index == start {
                out.push(b':');
            }
            continue;
        }
        if index > 0 {
            out.push(b':');
        }
        if index == 6 && embedded {
            let [.., a, b, c, d] = address;
            return put(out, format_args!("{}", Ipv4Addr::new(a, b, c, d)));
        }
        put(out, format_args!("{word:x}"));
    }
    if length > 0 && zeros.end == 8 {
        out.push(b':');
    }
}

fn macaddr(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
    if !matches!(bytes.len(), 6 | 8) {
        return Err(Trouble::Malformed);
    }
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        put(out, format_args!("{byte:02x}"));
    }
    Ok(())
}

/// `varbit_send`: the number of bits, then the bits, the first of them highest.
fn bits(mut wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    let length = wire.length()?;
    if wire.0.len() != length.div_ceil(8) {
        return Err(Trouble::Malformed);
    }
    let all = wire.0.iter().flat_map(|byte| (0..8).rev().map(move |bit| b'0' + (byte >> bit & 1)));
    out.extend(all.take(length));
    Ok(())
}

/// `range_send`: flags, then the bounds that there are, each with its length. Written as `range_out` does.
fn range(bound: Bound, mut wire: Wire<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
    // The flags of the server's `utils/rangetypes.h`.
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUSIVE: u8 = 0x02;
    const UPPER_INCLUSIVE: u8 = 0x04;
    const LOWER_INFINITE: u8 = 0x08;
    const UPPER_INFINITE: u8 = 0x10;

    let [flags] = wire.take()?;
    if flags & EMPTY != 0 {
        out.extend_from_slice(b"empty");
        return Ok(());
    }
    out.push(if flags & LOWER_INCLUSIVE != 0 { b'[' } else { b'(' });
    if flags & LOWER_INFINITE == 0 {
        let length = wire.i32()?;
        range_bound(bound, wire.bytes(length)?, out)?;
    }
    out.push(b',');
    if flags & UPPER_INFINITE == 0 {
        let length = wire.i32()?;
        range_bound(bound, wire.bytes(length)?, out)?;
    }
    out.push(if flags & UPPER_INCLUSIVE != 0 { b']' } else { b')' });
    Ok(())
}

/// A bound, in quotes where `range_bound_escape` of the server's `rangetypes.c` sets them.
fn range_bound(bound: Bound, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
    let start = out.len();
    let mut wire = Wire(bytes);
    match bound {
        Bound::Int4 => signed(wire.i32()?.into(), out),
        Bound::Int8 => signed(wire.i64()?, out),
        Bound::Numeric => numeric(wire, out)?,
        Bound::Date => date_text(wire.i32()?, out),
        Bound::Timestamp => timestamp_text(wire.i64()?, "", out),
        Bound::Timestamptz => timestamp_text(wire.i64()?, "+00", out),
    }
    let text = &out[start..];
    let quoted = text.is_empty()
        || text.iter().any(|byte| {
            // The last six are what C's `isspace` holds for space.
            matches!(byte, b'"' | b'\\' | b'(' | b')' | b'[' | b']' | b',' | b' ' | b'\t'..=b'\r')
        });
    if quoted {
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    Ok(())
}

/// `date_out`: years before 1 AD count from 1 BC.
fn date_text(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MIN | i32::MAX => time::write_date(out, days),
        _ => {
            let before_christ = day_text(days.into(), out);
            out.extend_from_slice(before_christ);
        }
    }
}

/// `timestamp_out` and `timestamptz_out`, the zone before the `BC`.
fn timestamp_text(micros: i64, zone: &str, out: &mut Vec<u8>) {
    match micros {
        i64::MIN | i64::MAX => time::write_timestamp(out, micros, false),
        _ => {
            let before_christ = day_text(micros.div_euclid(DAY), out);
            out.push(b' ');
            time::write_time(out, micros.rem_euclid(DAY));
            out.extend_from_slice(zone.as_bytes());
            out.extend_from_slice(before_christ);
        }
    }
}

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// Writes a date but for its ` BC`, and returns that.
fn day_text(days: i64, out: &mut Vec<u8>) -> &'static [u8] {
    let (year, month, day) = time::civil(days);
    let (year, suffix): (i64, &[u8]) = if year > 0 { (year, b"") } else { (1 - year, b" BC") };
    decimal(year.unsigned_abs(), 4, out);
    out.push(b'-');
    decimal(month.into(), 2, out);
    out.push(b'-');
    decimal(day.into(), 2, out);
    suffix
}

fn signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    decimal(number.unsigned_abs(), 1, out);
}

/// A number in decimal, with zeros before it up to so many digits.
fn decimal(number: u64, digits: usize, out: &mut Vec<u8>) {
    put(out, format_args!("{number:0digits$}"));
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = out.write_fmt(text);
}

fn four_digits(number: u16) -> [u8; 4] {
    let digit = |power| u8::try_from(number / power % 10).map_or(b'?', |digit| b'0' + digit);
    [digit(1000), digit(100), digit(10), digit(1)]
}

fn utf8(bytes: &[u8]) -> Result<&str, Trouble> {
    std::str::from_utf8(bytes).map_err(|_| Trouble::NotUtf8)
}

/// What is left of a value's bytes; each method takes one part off their front.
#[derive(Debug, Clone, Copy)]
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Trouble::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// All that is left, which must be of this length.
    fn rest<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        let rest = std::mem::take(&mut self.0);
        rest.try_into().map_err(|_| Trouble::Malformed)
    }

    fn bytes(&mut self, length: i32) -> Result<&'a [u8], Trouble> {
        let length = usize::try_from(length).map_err(|_| Trouble::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Trouble::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16, Trouble> {
        self.take().map(i16::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Trouble> {
        self.take().map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Trouble> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, Trouble> {
        self.take().map(i64::from_be_bytes)
    }

    /// Microseconds since midnight.
    fn time(&mut self) -> Result<i64, Trouble> {
        let micros = self.i64()?;
        if (0..=DAY).contains(&micros) { Ok(micros) } else { Err(Trouble::Malformed) }
    }

    fn length(&mut self) -> Result<usize, Trouble> {
        usize::try_from(self.i32()?).map_err(|_| Trouble::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use lambda_rds_core::config::Int64;
    use lambda_rds_core::queries::Verb;
    use lambda_rds_core::rows::Limits;
    use proptest::prelude::*;

    use super::*;

    /// What a value's bytes become in JSON.
    fn written(form: Form, is_array: bool, bytes: &[u8]) -> Result<String, Trouble> {
        let limits = Limits { bytes: 1 << 20, escaped: true, max_rows: None };
        let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
        let column = column("v", decoder(form, is_array));
        rows.columns(&["v"])?;
        rows.begin()?;
        rows.key(0)?;
        column.value(bytes, &mut rows, &mut Vec::new())?;
        rows.end()?;
        let body = String::from_utf8(rows.finish()?).unwrap();
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        Ok(body.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned())
    }

    fn column(name: &str, decoder: Decoder) -> Column {
        Column { decoder, name: name.to_owned() }
    }

    fn decoder(form: Form, is_array: bool) -> Decoder {
        if is_array { Decoder::Array(form) } else { Decoder::Value(form) }
    }

    /// What rows become of columns of these forms.
    fn read(forms: &[Form], bodies: &[Vec<u8>]) -> Result<String> {
        let named = forms.iter().enumerate().map(|(at, form)| (format!("c{at}"), Decoder::Value(*form)));
        let mut columns = Columns::new(named);
        let limits = Limits { bytes: 1 << 20, escaped: true, max_rows: None };
        let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
        columns.name(&mut rows)?;
        for body in bodies {
            columns.row(body, &mut rows)?;
        }
        Ok(String::from_utf8(rows.finish()?).unwrap())
    }

    #[test]
    fn rows_are_read_as_the_server_sends_them() {
        let forms = [Form::Text, Form::Int4];
        let both = ["0002000000026162000000040000002a", "0002ffffffffffffffff"].map(unhex);
        assert_eq!(read(&forms, &both).unwrap(), "[{\"c0\":\"ab\",\"c1\":42},{\"c0\":null,\"c1\":null}]");
        for bad in ["", "0001ffffffff", "0002ffffffff", "0002ffffffffffffffff00", "0002fffffffeffffffff"] {
            assert_eq!(read(&forms, &[unhex(bad)]).unwrap_err().fault(), Fault::Internal, "{bad:?}");
        }
    }

    #[test]
    fn rows_are_taken_off_the_front_as_far_as_they_are_whole() {
        let row = |value: &str| [&b"D\0\0\0\x0c\0\x01\0\0\0\x02"[..], value.as_bytes()].concat();
        let written = |input: &[&[u8]], max_rows| {
            let mut columns = Columns::new([("c".to_owned(), Decoder::Text)].into_iter());
            let limits = Limits { bytes: 1 << 20, escaped: true, max_rows };
            let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
            columns.name(&mut rows).unwrap();
            let (used, failed) = columns.rows(&input.concat(), &mut rows);
            let body = failed.is_none().then(|| String::from_utf8(rows.finish().unwrap()).unwrap());
            (used, body, failed.map(|error| error.fault()))
        };
        let [one, two] = [row("ab"), row("cd")];
        let both = r#"[{"c":"ab"},{"c":"cd"}]"#.to_owned();
        for behind in [&b""[..], b"D", &two[..12], b"C\0\0\0\x04", b"D\0\0\0\0", b"D\x3f\xff\xff\xff"] {
            assert_eq!(written(&[&one, &two, behind], None), (26, Some(both.clone()), None), "{behind:?}");
        }
        // One that fails is used, and none behind it.
        assert_eq!(written(&[&one, &two, &one], Some(1)), (26, None, Some(Fault::ResultTooLarge)));
        assert_eq!(written(&[&one, b"D\0\0\0\x04", &two], None), (18, None, Some(Fault::Internal)));
    }

    #[test]
    fn arrays_that_come_as_text() {
        let written = |separator, text: &str| {
            let limits = Limits { bytes: 1 << 20, escaped: true, max_rows: None };
            let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
            rows.columns(&["v"])?;
            rows.begin()?;
            rows.key(0)?;
            texts(separator, text, &mut rows)?;
            rows.end()?;
            let body = String::from_utf8(rows.finish()?).unwrap();
            Ok::<_, Trouble>(body.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned())
        };
        for (text, expected) in [
            ("{}", "[]"),
            ("{sad,\"very happy\",NULL,\"NULL\"}", r#"["sad","very happy",null,"NULL"]"#),
            (r#"{"a\"b","c\\d","{}","é,ü"}"#, r#"["a\"b","c\\d","{}","é,ü"]"#),
            ("{{a,b},{c,NULL}}", r#"[["a","b"],["c",null]]"#),
            ("[0:1]={a,b}", r#"["a","b"]"#),
            (r#"{"(1,\"a b\")","(,)"}"#, r#"["(1,\"a b\")","(,)"]"#),
        ] {
            assert_eq!(written(b',', text).unwrap(), expected, "{text}");
        }
        assert_eq!(written(b';', "{(1,1),(0,0);(2,2),(1,1)}").unwrap(), r#"["(1,1),(0,0)","(2,2),(1,1)"]"#);
        for bad in ["", "x", "{", "}", "{\"", "{\"a\\", "{a", "a}"] {
            assert!(matches!(written(b',', bad), Err(Trouble::Malformed)), "{bad}");
        }
    }

    fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn numeric_text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        numeric(Wire(bytes), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The bytes are what PostgreSQL 15's `send` functions gave; the texts of types that are written as
    /// PostgreSQL writes them are what it printed.
    #[test]
    #[rustfmt::skip]
    fn scalars() {
        for (form, hex, expected) in [
            (Form::Bool, "01", "true"),
            (Form::Bool, "00", "false"),
            (Form::Int2, "8000", "-32768"),
            (Form::Int4, "80000000", "-2147483648"),
            (Form::Int8, "8000000000000000", "-9223372036854775808"),
            (Form::Float4, "3dcccccd", "0.1"),
            (Form::Float4, "7fc00000", r#""NaN""#),
            (Form::Float8, "3fb999999999999a", "0.1"),
            (Form::Float8, "fff0000000000000", r#""-Infinity""#),
            (Form::Numeric, "0000000000000000", r#""0""#),
            (Form::Numeric, "000200000000000200011388", r#""1.50""#),
            (Form::Numeric, "0002ffff40000008000108fc", r#""-0.00012300""#),
            (Form::Numeric, "00010001000000000001", r#""10000""#),
            (Form::Numeric, "0000000000000004", r#""0.0000""#),
            (Form::Numeric, "000d000900000009000c0d801ed204d2162e23340d801ed204d2162e0000000003e8", r#""12345678901234567890123456789012345678.000000001""#),
            (Form::Numeric, "00000000c0000000", r#""NaN""#),
            (Form::Numeric, "00000000d0000020", r#""Infinity""#),
            (Form::Numeric, "00000000f0000020", r#""-Infinity""#),
            (Form::Money, "000000000001e240", r#""1234.56""#),
            (Form::Money, "fffffffffffffffb", r#""-0.05""#),
            (Form::Money, "8000000000000000", r#""-92233720368547758.08""#),
            (Form::Text, "612262e282ac", r#""a\"b€""#),
            (Form::Char, "78", r#""x""#),
            (Form::Char, "00", r#""""#),
            (Form::Char, "e9", r#""\\351""#),
            (Form::Uuid, "00112233445566778899aabbccddeeff", r#""00112233-4455-6677-8899-aabbccddeeff""#),
            (Form::Date, "00002537", r#""2026-01-31""#),
            (Form::Date, "7fffffff", r#""infinity""#),
            (Form::Date, "ffda97a7", r#""-004713-11-24""#),
            (Form::Date, "7fda970c", r#""+5874897-12-31""#),
            (Form::Time, "0000000b69d97820", r#""13:37:00.5""#),
            (Form::Time, "000000141dd76000", r#""24:00:00""#),
            (Form::Timetz, "0000000b69d1d700ffffe3e0", r#""13:37:00+02""#),
            (Form::Timetz, "000000000000000100004d67", r#""00:00:00.000001-05:30:15""#),
            (Form::Timetz, "0000000a0eebb00000000000", r#""12:00:00+00""#),
            (Form::Timestamp, "0002ecadf3ff1820", r#""2026-01-31T13:37:00.5""#),
            (Form::Timestamp, "7fffff5bb3b29fff", r#""+294276-12-31T23:59:59.999999""#),
            (Form::Timestamp, "8000000000000000", r#""-infinity""#),
            (Form::Timestamptz, "0002ecac46d02f00", r#""2026-01-31T11:37:00Z""#),
            (Form::Timestamptz, "ff1af9e8fb46d000", r#""-000043-03-15T12:00:00Z""#),
            (Form::Interval, "00000002925e7b00fffffffe0000000c", r#""P1Y-2DT3H4M5.6S""#),
            (Form::Interval, "00000000000000000000000000000000", r#""PT0S""#),
            (Form::Bytes, "deadbeef", r#""3q2+7w==""#),
            (Form::Bytes, "", r#""""#),
            (Form::Json, "7b226122203a205b312c20322e35305d7d", r#"{"a":[1,2.50]}"#),
            (Form::Jsonb, "017b2261223a205b312c20322e35305d7d", r#"{"a":[1,2.50]}"#),
            (Form::Network, "020800040a000001", r#""10.0.0.1/8""#),
            (Form::Network, "022000040a000001", r#""10.0.0.1""#),
            (Form::Network, "020801040a000000", r#""10.0.0.0/8""#),
            (Form::Network, "022001040a000001", r#""10.0.0.1/32""#),
            (Form::Network, "0380001000000000000000000000000000000000", r#""::""#),
            (Form::Network, "0380001000000000000000000000000000000001", r#""::1""#),
            (Form::Network, "0380001000000000000000000000000000000002", r#""::2""#),
            (Form::Network, "0380001000000000000000000000ffff01020304", r#""::ffff:1.2.3.4""#),
            (Form::Network, "0380001000000000000000000000000001020304", r#""::1.2.3.4""#),
            (Form::Network, "0380001000010000000000020000000000000003", r#""1:0:0:2::3""#),
            (Form::Network, "0380001000010000000000020003000000000004", r#""1::2:3:0:0:4""#),
            (Form::Network, "0380001000010000000200030004000500060007", r#""1:0:2:3:4:5:6:7""#),
            (Form::Network, "030a0110fe800000000000000000000000000000", r#""fe80::/10""#),
            (Form::Network, "0380001020010db8000000000000000000000000", r#""2001:db8::""#),
            (Form::Macaddr, "08002b010203", r#""08:00:2b:01:02:03""#),
            (Form::Macaddr, "08002b01020304ff", r#""08:00:2b:01:02:03:04:ff""#),
            (Form::Bits, "00000003a0", r#""101""#),
            (Form::Bits, "00000000", r#""""#),
            (Form::Bits, "0000000ab380", r#""1011001110""#),
            (Form::Oid, "ffffffff", "4294967295"),
            (Form::Xid8, "ffffffffffffffff", "18446744073709551615"),
            (Form::Range(Bound::Int4), "0200000004000000010000000400000005", r#""[1,5)""#),
            (Form::Range(Bound::Int8), "0800000008fffffffffffffffb", r#""(,-5)""#),
            (Form::Range(Bound::Int4), "01", r#""empty""#),
            (Form::Range(Bound::Int8), "18", r#""(,)""#),
            (Form::Range(Bound::Numeric), "040000000c0002000040000002000113880000000c000200000000000200011388", r#""(-1.50,1.50]""#),
            (Form::Range(Bound::Date), "0600000004fff49d7b000000047fffffff", r#""[\"0044-03-15 BC\",infinity]""#),
            (Form::Range(Bound::Timestamp), "02000000080002eca28a25a000000000087fffffffffffffff", r#""[\"2026-01-31 00:00:00\",infinity)""#),
            (Form::Range(Bound::Timestamptz), "0200000008ff1af9e8fb4e7120000000080380e70b913b8000", r#""[\"0044-03-15 12:00:00.5+00 BC\",\"10000-01-01 00:00:00+00\")""#),
            (Form::Void, "", "null"),
        ] {
            assert_eq!(written(form, false, &unhex(hex)).unwrap(), expected, "{form:?} {hex}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn arrays() {
        for (form, hex, expected) in [
            (Form::Int4, "000000000000000000000017", "[]"),
            (Form::Int4, "00000001000000010000001700000003000000010000000400000001ffffffff00000004ffffffff", "[1,null,-1]"),
            (Form::Int4, "00000002000000010000001700000002000000020000000200000000000000040000000100000004000000020000000400000003ffffffff", "[[1,2],[3,null]]"),
            (Form::Text, "00000001000000000000001900000002000000010000000000000003612262", r#"["","a\"b"]"#),
            (Form::Int4, "00000003000000000000001700000001000000010000000200000001000000010000000100000004000000010000000400000002", "[[[1],[2]]]"),
            (Form::Range(Bound::Int4), "000000010000000100000f400000000200000001000000110200000004000000010000000400000002ffffffff", r#"["[1,2)",null]"#),
        ] {
            assert_eq!(written(form, true, &unhex(hex)).unwrap(), expected, "{form:?} {hex}");
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        for (form, is_array, hex) in [
            (Form::Int4, false, ""),
            (Form::Bool, false, "0001"),
            (Form::Uuid, false, "00"),
            (Form::Jsonb, false, "02"),
            (Form::Numeric, false, "0001000000000000"),
            (Form::Numeric, false, "000100000000000027ff"),
            (Form::Numeric, false, "0000000012340000"),
            (Form::Network, false, "04200004"),
            (Form::Bits, false, "00000009ff"),
            (Form::Range(Bound::Int4), false, "02"),
            (Form::Range(Bound::Int4), false, "02ffffffff"),
            (Form::Int4, true, "00000007"),
            (Form::Int4, true, "ffffffff0000000000000017"),
            (Form::Int4, true, "0000000100000000000000177fffffff00000001"),
        ] {
            let trouble = written(form, is_array, &unhex(hex)).unwrap_err();
            assert!(matches!(trouble, Trouble::Malformed), "{form:?} {hex} {trouble:?}");
        }
        assert!(matches!(written(Form::Text, false, b"\xff").unwrap_err(), Trouble::NotUtf8));
    }

    proptest! {
        #[test]
        fn decimals_come_back_digit_for_digit(
            minus: bool,
            whole in "0|[1-9][0-9]{0,45}|[1-9]0{1,30}",
            fraction in "|0{0,12}[0-9]{0,30}0{0,12}",
        ) {
            let mut text = format!("{whole}.{fraction}");
            if fraction.is_empty() {
                text.pop();
            }
            let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
            let expected = if minus && !zero { format!("-{text}") } else { text.clone() };
            let given = if minus { format!("-{text}") } else { text };
            let mut bytes = Vec::new();
            crate::bind::numeric("p", &given, &mut bytes).unwrap();
            prop_assert_eq!(numeric_text(&bytes), &expected[..]);
            let leading = format!("{}00{}", if minus { "-" } else { "" }, given.trim_start_matches('-'));
            let mut again = Vec::new();
            crate::bind::numeric("p", &leading, &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), lead in 0..8usize) {
            let forms = [
                Form::Bool, Form::Int2, Form::Float4, Form::Numeric, Form::Money, Form::Text, Form::Char, Form::Uuid,
                Form::Date, Form::Time, Form::Timetz, Form::Timestamp, Form::Timestamptz, Form::Interval,
                Form::Bytes, Form::Jsonb, Form::Network, Form::Macaddr, Form::Bits, Form::Range(Bound::Int4),
                Form::Range(Bound::Numeric), Form::Range(Bound::Timestamptz),
            ];
            let limits = Limits { bytes: 10_000, escaped: true, max_rows: None };
            // Small numbers at the front, as lengths and counts are.
            let bytes: Vec<u8> = bytes.iter().enumerate().map(|(at, byte)| if at % 4 < 3 && at < lead * 4 { 0 } else { *byte }).collect();
            for form in forms {
                for is_array in [false, true] {
                    let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
                    let column = column("", decoder(form, is_array));
                    let _ = column.value(&bytes, &mut rows, &mut Vec::new());
                }
            }
        }

        #[test]
        fn no_row_makes_it_panic(bytes: Vec<u8>, columns in 0..5_usize) {
            let _ = read(&[Form::Text; 5][..columns], std::slice::from_ref(&bytes));
            let _ = read(&[Form::Int4; 5][..columns], &[bytes]);
        }

        #[test]
        fn no_text_of_an_array_makes_it_panic(text in "[{}\",\\\\a=\\[é]{0,12}") {
            let limits = Limits { bytes: 10_000, escaped: true, max_rows: None };
            let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
            let _ = texts(b',', &text, &mut rows);
        }
    }
}
