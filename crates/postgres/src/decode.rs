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
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgColumn, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

/// How the columns of one statement's rows are decoded.
#[derive(Debug)]
pub(crate) struct Columns {
    columns: Vec<Column>,
    /// Holds one value at a time, for the forms that are put together before they are written.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Column {
    form: Form,
    array: bool,
    name: String,
    type_name: String,
}

impl Columns {
    /// Chooses the decoders, and names the columns to the writer.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] for a type outside the table, or for two columns of one name.
    pub(crate) fn new(columns: &[PgColumn], rows: &mut RowWriter) -> Result<Self> {
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        rows.columns(&names)?;
        let columns = columns.iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { columns, scratch: Vec::new() })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// The writer's; [`Fault::QueryFailed`] for text that is not UTF-8, which only a database of the encoding
    /// `SQL_ASCII` sends.
    pub(crate) fn row(&mut self, row: &PgRow, rows: &mut RowWriter) -> Result<()> {
        rows.begin()?;
        for (index, column) in self.columns.iter().enumerate() {
            rows.key(index)?;
            let value =
                row.try_get_raw(index).map_err(|error| Error::new(Fault::Internal, error.to_string()))?;
            if value.is_null() {
                rows.null()?;
                continue;
            }
            let bytes = value.as_bytes().map_err(|error| Error::new(Fault::Internal, error.to_string()))?;
            column.write(bytes, rows, &mut self.scratch).map_err(|trouble| trouble.in_column(column))?;
        }
        rows.end()
    }
}

impl Column {
    fn new(column: &PgColumn) -> Result<Self> {
        let (name, type_info) = (column.name().to_owned(), column.type_info());
        let type_name = type_name(type_info);
        match form(type_info) {
            Some((form, array)) => Ok(Self { form, array, name, type_name }),
            None => Err(Error::new(
                Fault::QueryFailed,
                format!(
                    "column `{name}` has the type `{type_name}`, which has no JSON form here: cast it, for \
                     example `{name}::text AS {name}`"
                ),
            )),
        }
    }

    fn write(&self, bytes: &[u8], rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Result<(), Trouble> {
        if self.array {
            array(self.form, bytes, rows, scratch)
        } else {
            scalar(self.form, bytes, rows, scratch)
        }
    }
}

/// The type as messages name it.
pub(crate) fn type_name(type_info: &PgTypeInfo) -> String {
    // sqlx shouts the names of the types that it knows.
    match type_info.oid() {
        Some(Oid(oid)) if oid < FIRST_CUSTOM_OID => type_info.name().to_lowercase(),
        _ => type_info.name().to_owned(),
    }
}

/// Whether sqlx could not find out what this type is: then to ask for its kind would panic.
pub(crate) fn is_mystery(type_info: &PgTypeInfo) -> bool {
    type_info.name() == "?"
}

/// The last part of a type's name, without the schema that stands before it off the search path.
pub(crate) fn is_citext(type_info: &PgTypeInfo) -> bool {
    type_info.name().rsplit('.').next() == Some("citext")
}

/// `FirstNormalObjectId` of the server's `access/transam.h`.
const FIRST_CUSTOM_OID: u32 = 16_384;

/// What a value is on the wire, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
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
enum Bound {
    Int2,
    Int4,
    Int8,
    Numeric,
    Text,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

/// The decoder of a type, and whether the value is an array of it. `None` for a type outside the table.
fn form(type_info: &PgTypeInfo) -> Option<(Form, bool)> {
    if let Some(form) = type_info.oid().and_then(|oid| built_in(oid.0)) {
        return Some((form, false));
    }
    if is_mystery(type_info) {
        return None;
    }
    match type_info.kind() {
        PgTypeKind::Enum(_) => Some((Form::Text, false)),
        PgTypeKind::Domain(base) => form(base),
        PgTypeKind::Array(element) => match form(element)? {
            (form, false) => Some((form, true)),
            // A domain over an array: arrays as elements, each with a header of its own.
            (_, true) => None,
        },
        PgTypeKind::Range(subtype) => match form(subtype)? {
            (form, false) => Some((Form::Range(bound(form)?), false)),
            (_, true) => None,
        },
        PgTypeKind::Simple if is_citext(type_info) => Some((Form::Text, false)),
        PgTypeKind::Simple | PgTypeKind::Pseudo | PgTypeKind::Composite(_) => None,
    }
}

/// The OIDs of the server's `catalog/pg_type.dat`, which are the same everywhere.
fn built_in(oid: u32) -> Option<Form> {
    Some(match oid {
        16 => Form::Bool,
        17 => Form::Bytes,
        18 => Form::Char,
        20 => Form::Int8,
        21 => Form::Int2,
        23 => Form::Int4,
        // text, name, unknown, bpchar, varchar, xml
        25 | 19 | 705 | 1042 | 1043 | 142 => Form::Text,
        // oid, xid, cid
        26 | 28 | 29 => Form::Oid,
        114 => Form::Json,
        // inet, cidr
        869 | 650 => Form::Network,
        700 => Form::Float4,
        701 => Form::Float8,
        // macaddr, macaddr8
        829 | 774 => Form::Macaddr,
        790 => Form::Money,
        1082 => Form::Date,
        1083 => Form::Time,
        1114 => Form::Timestamp,
        1184 => Form::Timestamptz,
        1186 => Form::Interval,
        1266 => Form::Timetz,
        // bit, varbit
        1560 | 1562 => Form::Bits,
        1700 => Form::Numeric,
        2278 => Form::Void,
        2950 => Form::Uuid,
        3802 => Form::Jsonb,
        5069 => Form::Xid8,
        _ => return None,
    })
}

/// Those of the forms that are also PostgreSQL's text, and so can stand in a range's.
fn bound(form: Form) -> Option<Bound> {
    Some(match form {
        Form::Int2 => Bound::Int2,
        Form::Int4 => Bound::Int4,
        Form::Int8 => Bound::Int8,
        Form::Numeric => Bound::Numeric,
        Form::Text => Bound::Text,
        Form::Date => Bound::Date,
        Form::Time => Bound::Time,
        Form::Timestamp => Bound::Timestamp,
        Form::Timestamptz => Bound::Timestamptz,
        _ => return None,
    })
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
        let Column { name, type_name, .. } = column;
        match self {
            Self::Writer(error) => error,
            Self::Malformed => Error::new(
                Fault::Internal,
                format!("column `{name}`: the server sent bytes that are no `{type_name}`"),
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
        Form::Text => rows.text(utf8(bytes)?)?,
        Form::Json => rows.json(utf8(bytes)?)?,
        Form::Jsonb => {
            // The version of the format; there has only ever been 1, before the text.
            let [1] = wire.take()? else { return Err(Trouble::Malformed) };
            rows.json(utf8(wire.0)?)?;
        }
        Form::Uuid => rows.uuid(&wire.rest()?)?,
        Form::Date => rows.date(wire.i32()?)?,
        Form::Time => rows.time(wire.i64()?)?,
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
    match sign {
        NUMERIC_POSITIVE => {}
        NUMERIC_NEGATIVE => out.push(b'-'),
        NUMERIC_NAN => return Ok(out.extend_from_slice(b"NaN")),
        NUMERIC_INFINITY => return Ok(out.extend_from_slice(b"Infinity")),
        NUMERIC_MINUS_INFINITY => return Ok(out.extend_from_slice(b"-Infinity")),
        _ => return Err(Trouble::Malformed),
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
    let (micros, zone) = (wire.i64()?, wire.i32()?);
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
    let embedded = length > 0
        && start == 0
        && (length == 6 || (length == 7 && words[7] != 1) || (length == 5 && words[5] == 0xffff));
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
        return Ok(out.extend_from_slice(b"empty"));
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
        Bound::Int2 => signed(wire.i16()?.into(), out),
        Bound::Int4 => signed(wire.i32()?.into(), out),
        Bound::Int8 => signed(wire.i64()?, out),
        Bound::Numeric => numeric(wire, out)?,
        Bound::Text => out.extend_from_slice(bytes),
        Bound::Date => date_text(wire.i32()?, out),
        Bound::Time => time::write_time(out, wire.i64()?),
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
    const DAY: i64 = 86_400_000_000;
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

    fn length(&mut self) -> Result<usize, Trouble> {
        usize::try_from(self.i32()?).map_err(|_| Trouble::Malformed)
    }
}
