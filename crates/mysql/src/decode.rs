//! From a row's wire bytes to the writer: each column has its decoder chosen once, from its type.
//!
//! The bytes are those of the binary protocol, which every statement of ours is run with.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html>

use std::io::Write as _;

use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::rows::RowWriter;
use lambda_rds_core::value::time;

use crate::packet::Rest;

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
    name: String,
    type_name: String,
    /// A zero date was met in it, and told.
    told: bool,
}

impl Columns {
    /// Chooses the decoders, and names the columns to the writer.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] for a type outside the table, or for two columns of one name.
    pub(crate) fn new(columns: &[Described], rows: &mut RowWriter) -> Result<Self> {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        rows.columns(&names)?;
        let columns = columns.iter().map(Column::new).collect::<Result<_>>()?;
        Ok(Self { columns, scratch: Vec::new() })
    }

    /// Writes one row as the server sent it: the content of its packet.
    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html#sect_protocol_binary_resultset_row>
    ///
    /// # Errors
    /// The writer's; [`Fault::QueryFailed`] for text that is not UTF-8; [`Fault::Internal`] for what is no row.
    pub(crate) fn row(&mut self, packet: &[u8], rows: &mut RowWriter) -> Result<()> {
        let mut row = Rest(packet);
        // The packet's first byte, and a bit for each column, of which the first two are nobody's.
        let nulls = row.take(1 + (self.columns.len() + 9) / 8).ok_or_else(no_row)?;
        if nulls[0] != 0 {
            return Err(no_row());
        }
        rows.begin()?;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let is_null = nulls[1 + (index + 2) / 8] & 1 << ((index + 2) % 8) != 0;
            let value =
                if is_null { None } else { Some(value(&mut row, column.form.width()).ok_or_else(no_row)?) };
            column.write(index, value, rows, &mut self.scratch)?;
        }
        if !row.0.is_empty() {
            return Err(no_row());
        }
        rows.end()
    }

    /// A call gave another result with rows. A reply has room for one.
    pub(crate) fn second_result(&self) -> Error {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        Error::new(
            Fault::QueryFailed,
            format!(
                "the procedure gives a second result after the one with the columns `{}`: a query has one result",
                names.join("`, `")
            ),
        )
    }
}

impl Column {
    fn new(column: &Described) -> Result<Self> {
        let (name, type_name) = (column.name.clone(), column.type_name());
        match column.form() {
            Some(form) => Ok(Self { form, name, type_name: type_name.to_owned(), told: false }),
            None => Err(Error::new(
                Fault::QueryFailed,
                format!(
                    "column `{name}` has the type `{type_name}`, which has no JSON form here: convert it, for \
                     example `CAST({name} AS CHAR) AS {name}`"
                ),
            )),
        }
    }

    /// Writes the value under its name, as the `index`th of the row; `None` is NULL.
    fn write(
        &mut self,
        index: usize,
        bytes: Option<&[u8]>,
        rows: &mut RowWriter,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        rows.key(index)?;
        let Some(bytes) = bytes else { return rows.null() };
        match write(self.form, bytes, rows, scratch) {
            Ok(Written::Value) => {}
            Ok(Written::ZeroDate) => self.tell_zero_date(),
            Err(trouble) => return Err(trouble.in_column(self)),
        }
        Ok(())
    }

    /// Once per statement, since a column that has one has many.
    fn tell_zero_date(&mut self) {
        if !self.told {
            self.told = true;
            tracing::warn!(column = self.name, "a zero date, which is no date, is replied as null");
        }
    }
}

/// What a value is on the wire, and what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `TINYINT(1)`, which is what `BOOL` makes.
    Bool,
    UnsignedBool,
    Int1,
    Int2,
    /// INT and MEDIUMINT, which are the same on the wire.
    Int4,
    Int8,
    Uint1,
    Uint2,
    Uint4,
    Uint8,
    Float4,
    Float8,
    Decimal,
    Bit,
    Text,
    Bytes,
    Json,
    /// MySQL's VECTOR: numbers of four bytes.
    Vector,
    Date,
    Time,
    Datetime,
    Timestamp,
    Null,
}

/// How a row tells where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Each is as long.
    Fixed(usize),
    /// Its length stands before it, and belongs to it.
    Short,
    /// Its length stands before it, in as many bytes as that takes.
    Any,
}

impl Form {
    fn width(self) -> Width {
        match self {
            Self::Bool | Self::UnsignedBool | Self::Int1 | Self::Uint1 => Width::Fixed(1),
            Self::Int2 | Self::Uint2 => Width::Fixed(2),
            Self::Int4 | Self::Uint4 | Self::Float4 => Width::Fixed(4),
            Self::Int8 | Self::Uint8 | Self::Float8 => Width::Fixed(8),
            Self::Date | Self::Time | Self::Datetime | Self::Timestamp => Width::Short,
            Self::Decimal | Self::Bit | Self::Text | Self::Bytes | Self::Json | Self::Vector => Width::Any,
            // Always NULL.
            Self::Null => Width::Fixed(0),
        }
    }
}

/// The bytes of one value, with its length if that belongs to it; `None` where there are too few.
fn value<'a>(row: &mut Rest<'a>, width: Width) -> Option<&'a [u8]> {
    match width {
        Width::Fixed(length) => row.take(length),
        Width::Short => row.take(1 + usize::from(*row.0.first()?)),
        Width::Any => row.counted(),
    }
}

#[cold]
fn no_row() -> Error {
    Error::new(Fault::Internal, "the server sent bytes that are no row of the result")
}

/// A column, as the server describes it.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_column_definition.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// The schema, table and column that it comes from; empty if it is computed.
    pub(crate) origin: [String; 3],
    character_set: u16,
    length: u32,
    kind: u8,
    flags: u16,
}

impl Described {
    /// Reads a column; `None` if it is none.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let mut rest = Rest(packet);
        let mut text = || rest.counted().map(|text| String::from_utf8_lossy(text).into_owned());
        let [_catalog, schema, _alias, table, name, column] =
            [text()?, text()?, text()?, text()?, text()?, text()?];
        let _length_of_the_rest = rest.number()?;
        let character_set = u16::from_le_bytes(rest.array()?);
        let length = u32::from_le_bytes(rest.array()?);
        let [kind] = rest.array()?;
        let flags = u16::from_le_bytes(rest.array()?);
        Some(Self { name, origin: [schema, table, column], character_set, length, kind, flags })
    }

    fn is_binary(&self) -> bool {
        self.character_set == BINARY
    }

    fn is_unsigned(&self) -> bool {
        self.flags & UNSIGNED != 0
    }

    /// The decoder of its type. `None` for a type outside the table.
    pub(crate) fn form(&self) -> Option<Form> {
        let sign = |signed, unsigned| if self.is_unsigned() { unsigned } else { signed };
        Some(match self.kind {
            types::TINY if self.length == 1 => sign(Form::Bool, Form::UnsignedBool),
            types::TINY => sign(Form::Int1, Form::Uint1),
            types::SHORT => sign(Form::Int2, Form::Uint2),
            types::YEAR => Form::Uint2,
            types::LONG | types::INT24 => sign(Form::Int4, Form::Uint4),
            types::LONGLONG => sign(Form::Int8, Form::Uint8),
            types::FLOAT => Form::Float4,
            types::DOUBLE => Form::Float8,
            types::DECIMAL | types::NEWDECIMAL => Form::Decimal,
            types::NULL => Form::Null,
            types::TIMESTAMP => Form::Timestamp,
            types::DATETIME => Form::Datetime,
            types::DATE | types::NEWDATE => Form::Date,
            types::TIME => Form::Time,
            types::BIT => Form::Bit,
            types::JSON => Form::Json,
            types::ENUM | types::SET => Form::Text,
            types::VARCHAR
            | types::VAR_STRING
            | types::STRING
            | types::TINY_BLOB
            | types::MEDIUM_BLOB
            | types::LONG_BLOB
            | types::BLOB => {
                if self.is_binary() && self.flags & (ENUM | SET) == 0 {
                    Form::Bytes
                } else {
                    Form::Text
                }
            }
            types::GEOMETRY => Form::Bytes,
            types::VECTOR => Form::Vector,
            _ => return None,
        })
    }

    /// The server's name of its type, as near as the wire tells.
    pub(crate) fn type_name(&self) -> &'static str {
        let sign = |signed, unsigned| if self.is_unsigned() { unsigned } else { signed };
        let sort = |text, binary| if self.is_binary() { binary } else { text };
        match self.kind {
            types::TINY if self.length == 1 => "boolean",
            types::TINY => sign("tinyint", "tinyint unsigned"),
            types::SHORT => sign("smallint", "smallint unsigned"),
            types::LONG => sign("int", "int unsigned"),
            types::INT24 => sign("mediumint", "mediumint unsigned"),
            types::LONGLONG => sign("bigint", "bigint unsigned"),
            types::YEAR => "year",
            types::FLOAT => "float",
            types::DOUBLE => "double",
            types::DECIMAL | types::NEWDECIMAL => "decimal",
            types::NULL => "null",
            types::TIMESTAMP => "timestamp",
            types::DATETIME => "datetime",
            types::DATE | types::NEWDATE => "date",
            types::TIME => "time",
            types::BIT => "bit",
            types::JSON => "json",
            types::STRING if self.flags & ENUM != 0 => "enum",
            types::STRING if self.flags & SET != 0 => "set",
            types::ENUM => "enum",
            types::SET => "set",
            types::STRING => sort("char", "binary"),
            types::VARCHAR | types::VAR_STRING => sort("varchar", "varbinary"),
            types::TINY_BLOB => sort("tinytext", "tinyblob"),
            types::BLOB => sort("text", "blob"),
            types::MEDIUM_BLOB => sort("mediumtext", "mediumblob"),
            types::LONG_BLOB => sort("longtext", "longblob"),
            types::GEOMETRY => "geometry",
            types::VECTOR => "vector",
            _ => "unknown",
        }
    }
}

/// <https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html>
pub(crate) mod types {
    pub(crate) const DECIMAL: u8 = 0;
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const NULL: u8 = 6;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const MEDIUM_BLOB: u8 = 250;
    pub(crate) const LONG_BLOB: u8 = 251;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// The character set of what is no text.
const BINARY: u16 = 63;
/// Flags of columns.
const UNSIGNED: u16 = 1 << 5;
const ENUM: u16 = 1 << 8;
const SET: u16 = 1 << 11;

/// Whether a value was written as itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Value,
    /// As null, since it is no date.
    ZeroDate,
}

/// Why a value was not written.
#[derive(Debug)]
enum Trouble {
    /// The writer's error.
    Writer(Error),
    /// Text that is not UTF-8.
    NotUtf8,
    /// Bytes that are no value of the type.
    Malformed,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Writer(error)
    }
}

impl Trouble {
    fn in_column(self, column: &Column) -> Error {
        let (name, type_name) = (&column.name, &column.type_name);
        match self {
            Self::Writer(error) => error,
            Self::NotUtf8 => Error::new(
                Fault::QueryFailed,
                format!("column `{name}` of type `{type_name}` holds text that is not UTF-8"),
            ),
            Self::Malformed => Error::new(
                Fault::Internal,
                format!("column `{name}`: the server sent bytes that are no `{type_name}`"),
            ),
        }
    }
}

fn write(form: Form, bytes: &[u8], rows: &mut RowWriter, scratch: &mut Vec<u8>) -> Result<Written, Trouble> {
    match form {
        Form::Bool | Form::UnsignedBool => match fixed(bytes)? {
            [0] => rows.bool(false)?,
            [1] => rows.bool(true)?,
            [other] if form == Form::UnsignedBool => rows.uint32(other.into())?,
            other => rows.int32(i8::from_le_bytes(other).into())?,
        },
        Form::Int1 => rows.int32(i8::from_le_bytes(fixed(bytes)?).into())?,
        Form::Int2 => rows.int32(i16::from_le_bytes(fixed(bytes)?).into())?,
        Form::Int4 => rows.int32(i32::from_le_bytes(fixed(bytes)?))?,
        Form::Int8 => rows.int(i64::from_le_bytes(fixed(bytes)?))?,
        Form::Uint1 => rows.uint32(u8::from_le_bytes(fixed(bytes)?).into())?,
        Form::Uint2 => rows.uint32(u16::from_le_bytes(fixed(bytes)?).into())?,
        Form::Uint4 => rows.uint32(u32::from_le_bytes(fixed(bytes)?))?,
        Form::Uint8 => rows.uint(u64::from_le_bytes(fixed(bytes)?))?,
        Form::Float4 => rows.float32(f32::from_le_bytes(fixed(bytes)?))?,
        Form::Float8 => rows.float(f64::from_le_bytes(fixed(bytes)?))?,
        Form::Decimal => rows.decimal(utf8(bytes)?)?,
        Form::Text => {
            if !rows.text_of(bytes)? {
                return Err(Trouble::NotUtf8);
            }
        }
        Form::Bit => rows.uint(bits(bytes)?)?,
        Form::Bytes => rows.bytes(bytes)?,
        Form::Json => rows.json(utf8(bytes)?)?,
        Form::Vector => vector(bytes, rows)?,
        Form::Null => rows.null()?,
        Form::Date => match Moment::read(bytes)?.days() {
            Some(days) => rows.date(i32::try_from(days).map_err(|_| Trouble::Malformed)?)?,
            None => return zero_date(rows),
        },
        Form::Datetime | Form::Timestamp => {
            let moment = Moment::read(bytes)?;
            match moment.days().map(|days| days * DAY + moment.micros) {
                Some(micros) if form == Form::Timestamp => rows.timestamptz(micros)?,
                Some(micros) => rows.timestamp(micros)?,
                None => return zero_date(rows),
            }
        }
        Form::Time => {
            scratch.clear();
            duration(bytes, scratch)?;
            rows.decimal(utf8(scratch)?)?;
        }
    }
    Ok(Written::Value)
}

fn zero_date(rows: &mut RowWriter) -> Result<Written, Trouble> {
    rows.null()?;
    Ok(Written::ZeroDate)
}

/// An array of numbers.
fn vector(bytes: &[u8], rows: &mut RowWriter) -> Result<(), Trouble> {
    let (numbers, []) = bytes.as_chunks() else { return Err(Trouble::Malformed) };
    rows.array_begin()?;
    for number in numbers {
        rows.float32(f32::from_le_bytes(*number))?;
    }
    rows.array_end()?;
    Ok(())
}

/// `BIT(n)`: as many bytes as it takes, the highest first.
fn bits(bytes: &[u8]) -> Result<u64, Trouble> {
    let mut whole = [0; 8];
    let start = 8_usize.checked_sub(bytes.len()).ok_or(Trouble::Malformed)?;
    whole[start..].copy_from_slice(bytes);
    Ok(u64::from_be_bytes(whole))
}

/// A date, with or without a time of day. The wire leaves off what is zero at its end.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    year: u16,
    month: u8,
    day: u8,
    /// Microseconds since midnight.
    micros: i64,
}

impl Moment {
    fn read(bytes: &[u8]) -> Result<Self, Trouble> {
        let (&length, bytes) = bytes.split_first().ok_or(Trouble::Malformed)?;
        if bytes.len() != usize::from(length) {
            return Err(Trouble::Malformed);
        }
        let (date, clock) = match *bytes {
            [] => return Ok(Self::default()),
            [a, b, c, d] => ([a, b, c, d], [0; 7]),
            [a, b, c, d, hour, minute, second] => ([a, b, c, d], [hour, minute, second, 0, 0, 0, 0]),
            [a, b, c, d, hour, minute, second, e, f, g, h] => {
                ([a, b, c, d], [hour, minute, second, e, f, g, h])
            }
            _ => return Err(Trouble::Malformed),
        };
        let [low, high, month, day] = date;
        Ok(Self { year: u16::from_le_bytes([low, high]), month, day, micros: clock_micros(clock) })
    }

    /// Days since 2000-01-01; `None` for `0000-00-00`, and for dates with a month or a day 0, which some
    /// settings of the server let in.
    fn days(self) -> Option<i64> {
        (self.month > 0 && self.day > 0).then(|| time::days(i64::from(self.year), self.month, self.day))
    }
}

/// A duration from `-838:59:59` to `838:59:59`, written as the server does but for zeros at the fraction's end.
fn duration(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
    let (&length, bytes) = bytes.split_first().ok_or(Trouble::Malformed)?;
    if bytes.len() != usize::from(length) {
        return Err(Trouble::Malformed);
    }
    let (negative, days, clock) = match *bytes {
        [] => (0, [0; 4], [0; 7]),
        [sign, a, b, c, d, hour, minute, second] => (sign, [a, b, c, d], [hour, minute, second, 0, 0, 0, 0]),
        [sign, a, b, c, d, hour, minute, second, e, f, g, h] => {
            (sign, [a, b, c, d], [hour, minute, second, e, f, g, h])
        }
        _ => return Err(Trouble::Malformed),
    };
    let micros = clock_micros(clock);
    let hours = i64::from(u32::from_le_bytes(days)) * 24 + micros / HOUR;
    if negative != 0 {
        out.push(b'-');
    }
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{hours:02}");
    let start = out.len();
    time::write_time(out, micros % HOUR);
    // The hour that was just written is 00.
    out.drain(start..start + 2);
    Ok(())
}

/// Hour, minute, second, and four bytes of microseconds.
fn clock_micros([hour, minute, second, a, b, c, d]: [u8; 7]) -> i64 {
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    seconds * 1_000_000 + i64::from(u32::from_le_bytes([a, b, c, d]))
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Trouble> {
    bytes.try_into().map_err(|_| Trouble::Malformed)
}

fn utf8(bytes: &[u8]) -> Result<&str, Trouble> {
    std::str::from_utf8(bytes).map_err(|_| Trouble::NotUtf8)
}

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use lambda_rds_core::config::Int64;
    use lambda_rds_core::queries::Verb;
    use lambda_rds_core::rows::Limits;
    use proptest::prelude::*;

    use super::*;
    fn written(form: Form, bytes: &[u8]) -> (String, Written) {
        let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
        let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
        rows.columns(&["v"]).unwrap();
        rows.begin().unwrap();
        rows.key(0).unwrap();
        let written = write(form, bytes, &mut rows, &mut Vec::new()).unwrap();
        rows.end().unwrap();
        let body = String::from_utf8(rows.finish().unwrap()).unwrap();
        (body["{\"v\":".len()..body.len() - 1].to_owned(), written)
    }

    #[test]
    fn each_form_is_written_as_its_json() {
        let check = |form, bytes: &[u8], want: &str| assert_eq!(written(form, bytes).0, want, "{form:?}");
        check(Form::Bool, &[0], "false");
        check(Form::Bool, &[1], "true");
        check(Form::Bool, &[0xff], "-1");
        check(Form::UnsignedBool, &[0xff], "255");
        check(Form::Uint8, &[0xff; 8], "18446744073709551615");
        check(Form::Int8, &[0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808");
        check(Form::Int4, &[0xff; 4], "-1");
        check(Form::Uint2, &2026_u16.to_le_bytes(), "2026");
        check(Form::Bit, &[1, 0], "256");
        check(Form::Bit, &[0xff; 8], "18446744073709551615");
        check(Form::Decimal, b"-1234.560", "\"-1234.560\"");
        check(Form::Json, b"{\"a\": [1, 2]}", "{\"a\":[1,2]}");
        check(Form::Bytes, b"\x00\x01", "\"AAE=\"");
        check(Form::Vector, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], "[1.0,-2.0]");
        check(Form::Vector, &[], "[]");
        check(Form::Date, &[4, 0xea, 7, 1, 31], "\"2026-01-31\"");
        check(Form::Datetime, &[4, 0xea, 7, 1, 31], "\"2026-01-31T00:00:00\"");
        check(Form::Datetime, &[7, 0xea, 7, 1, 31, 13, 37, 0], "\"2026-01-31T13:37:00\"");
        check(
            Form::Timestamp,
            &[11, 0xea, 7, 1, 31, 13, 37, 0, 0x20, 0xa1, 7, 0],
            "\"2026-01-31T13:37:00.5Z\"",
        );
        check(Form::Datetime, &[7, 0x0f, 0x27, 12, 31, 23, 59, 59], "\"9999-12-31T23:59:59\"");
        check(Form::Time, &[0], "\"00:00:00\"");
        check(Form::Time, &[8, 1, 34, 0, 0, 0, 22, 59, 59], "\"-838:59:59\"");
        check(Form::Time, &[12, 0, 0, 0, 0, 0, 13, 37, 0, 0x20, 0xa1, 7, 0], "\"13:37:00.5\"");
    }

    #[test]
    fn a_date_that_is_none_becomes_null_and_says_so() {
        let check = |form, bytes: &[u8]| {
            assert_eq!(written(form, bytes), ("null".to_owned(), Written::ZeroDate), "{bytes:?}");
        };
        check(Form::Date, &[0]);
        check(Form::Datetime, &[0]);
        check(Form::Timestamp, &[0]);
        check(Form::Date, &[4, 0xea, 7, 0, 0]);
        check(Form::Date, &[4, 0xea, 7, 2, 0]);
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        let check = |form, bytes: &[u8]| {
            let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
            let mut rows = RowWriter::new(Verb::One, limits, Int64::Number);
            rows.columns(&["v"]).unwrap();
            rows.begin().unwrap();
            rows.key(0).unwrap();
            assert!(write(form, bytes, &mut rows, &mut Vec::new()).is_err(), "{form:?} {bytes:?}");
        };
        check(Form::Int4, &[1, 2, 3]);
        check(Form::Bit, &[0; 9]);
        check(Form::Vector, &[0; 6]);
        check(Form::Date, &[]);
        check(Form::Date, &[4, 1, 2, 3]);
        check(Form::Date, &[5, 1, 2, 3, 4, 5]);
        check(Form::Time, &[3, 1, 2, 3]);
        check(Form::Text, &[0xff]);
    }

    fn columns(forms: &[Form]) -> (Columns, RowWriter) {
        let column = |(at, form): (usize, &Form)| Column {
            form: *form,
            name: format!("c{at}"),
            type_name: "test".into(),
            told: false,
        };
        let columns: Vec<Column> = forms.iter().enumerate().map(column).collect();
        let limits = Limits { bytes: 1 << 20, escaped: true, max_rows: None };
        let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
        rows.columns(&columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>()).unwrap();
        (Columns { columns, scratch: Vec::new() }, rows)
    }

    /// What packets become, all of which are rows of columns of these forms.
    fn written_rows(forms: &[Form], packets: &[&[u8]]) -> Result<String> {
        let (mut columns, mut rows) = columns(forms);
        for packet in packets {
            columns.row(packet, &mut rows)?;
        }
        Ok(String::from_utf8(rows.finish().unwrap()).unwrap())
    }

    #[test]
    fn rows_are_read_as_the_server_sends_them() {
        let long = [&[0, 0, 0xfc, 0x2c, 1][..], &[b'x'; 300], &[7, 0, 0, 0, 4, 0xea, 7, 1, 31]].concat();
        let nulls = [0, 0b0001_1100];
        let forms = [Form::Text, Form::Int4, Form::Date];
        assert_eq!(
            written_rows(&forms, &[&long, &nulls]).unwrap(),
            format!(
                "[{{\"c0\":\"{}\",\"c1\":7,\"c2\":\"2026-01-31\"}},{{\"c0\":null,\"c1\":null,\"c2\":null}}]",
                "x".repeat(300)
            )
        );
        // The bit of the eleventh column is in a second byte.
        let row = [&[0, 0, 0b0001_0000][..], &[1; 10]].concat();
        assert!(written_rows(&[Form::Int1; 11], &[&row]).unwrap().ends_with("\"c9\":1,\"c10\":null}]"));
        for bad in [&[][..], &[0, 0, 1], &[0, 0, 1, 1, 1], &[0], &[1, 0, 1, 1]] {
            assert_eq!(written_rows(&[Form::Int2], &[bad]).unwrap_err().fault(), Fault::Internal, "{bad:?}");
        }
    }

    #[test]
    fn a_column_says_what_it_is() {
        let column = |kind: u8, character_set: u16, length: u32, flags: u16| {
            let mut packet = b"\x03def\x04shop\x01o\x06orders\x01i\x02id\x0c".to_vec();
            packet.extend_from_slice(&character_set.to_le_bytes());
            packet.extend_from_slice(&length.to_le_bytes());
            packet.push(kind);
            packet.extend_from_slice(&flags.to_le_bytes());
            packet.extend_from_slice(&[0, 0, 0]);
            packet
        };
        let check = |packet: &[u8], type_name, form| {
            let described = Described::parse(packet).unwrap();
            assert_eq!((described.type_name(), described.form()), (type_name, form));
            assert_eq!(described.name, "i");
            assert_eq!(described.origin, ["shop", "orders", "id"]);
            for length in 0..packet.len() - 3 {
                assert_eq!(Described::parse(&packet[..length]), None, "{length}");
            }
        };
        check(&column(types::TINY, 63, 1, 0), "boolean", Some(Form::Bool));
        check(&column(types::TINY, 63, 1, UNSIGNED), "boolean", Some(Form::UnsignedBool));
        check(&column(types::TINY, 63, 4, 0), "tinyint", Some(Form::Int1));
        check(&column(types::LONGLONG, 63, 20, UNSIGNED), "bigint unsigned", Some(Form::Uint8));
        check(&column(types::VAR_STRING, 45, 80, 128), "varchar", Some(Form::Text));
        check(&column(types::VAR_STRING, 63, 80, 128), "varbinary", Some(Form::Bytes));
        check(&column(types::STRING, 63, 4, ENUM), "enum", Some(Form::Text));
        check(&column(types::GEOMETRY, 63, 80, 128), "geometry", Some(Form::Bytes));
        check(&column(types::VECTOR, 63, 80, 128), "vector", Some(Form::Vector));
        check(&column(99, 63, 80, 0), "unknown", None);
    }

    const FORMS: [Form; 9] = [
        Form::Vector,
        Form::Bool,
        Form::Int8,
        Form::Text,
        Form::Json,
        Form::Bit,
        Form::Time,
        Form::Timestamp,
        Form::Null,
    ];

    proptest! {
        #[test]
        fn no_row_makes_it_panic(bytes: Vec<u8>, forms in prop::collection::vec(prop::sample::select(&FORMS[..]), 0..20)) {
            let _ = written_rows(&forms, &[&bytes]);
            let _ = Described::parse(&bytes);
        }
    }
}
