//! PostgreSQL's types: how a column's values come, and what they become.
//!
//! A type whose binary form we know comes in binary. Any other comes as the text that PostgreSQL writes, and becomes a
//! string: enums, composites, ranges of one's own, what extensions bring. Of those only arrays must be told apart, for
//! which the catalog is asked once per type and environment.

use std::collections::HashMap;

use crate::decode::{Bound, Form};

/// How a column's values come, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// In binary.
    Value(Form),
    /// In binary, an array.
    Array(Form),
    /// As text: a string.
    Text,
    /// As text that is JSON: the array of numbers that a `vector` is.
    Numbers,
    /// As text, an array whose elements become strings, parted by this character.
    Texts(u8),
}

impl Decoder {
    /// The format code that it is asked for in.
    pub(crate) fn format(self) -> i16 {
        match self {
            Self::Value(_) | Self::Array(_) => BINARY,
            Self::Text | Self::Numbers | Self::Texts(_) => TEXT,
        }
    }
}

pub(crate) const TEXT: i16 = 0;
pub(crate) const BINARY: i16 = 1;

/// The types of an environment that are not built in, once they were met.
pub(crate) type Types = HashMap<u32, Decoder>;

/// The decoder of a type; `None` where the catalog must be asked.
pub(crate) fn decoder(oid: u32, types: &Types) -> Option<Decoder> {
    if let Some(form) = scalar(oid) {
        return Some(Decoder::Value(form));
    }
    if let Some(form) = array_of(oid).and_then(scalar) {
        return Some(Decoder::Array(form));
    }
    match oid {
        // unknown, record
        705 | 2249 => Some(Decoder::Text),
        // An array of records, which the catalog counts among the pseudo-types.
        2287 => Some(Decoder::Texts(b',')),
        _ => types.get(&oid).copied(),
    }
}

/// The statement that asks for types, for [`learned`]: of an array, its elements' separator and their type, a domain's
/// base in its place; of any other, its name.
pub(crate) fn question(oids: &[u32]) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!(
        "WITH RECURSIVE base AS (SELECT oid AS element, oid, typtype, typbasetype FROM pg_catalog.pg_type \
         UNION ALL SELECT base.element, t.oid, t.typtype, t.typbasetype FROM base \
         JOIN pg_catalog.pg_type t ON base.typtype = 'd' AND t.oid = base.typbasetype) \
         SELECT t.oid, t.typname, e.typdelim, base.oid FROM pg_catalog.pg_type t \
         LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typlen = -1 AND t.typcategory = 'A' \
         LEFT JOIN base ON base.element = e.oid AND base.typtype <> 'd' \
         WHERE t.oid IN ({})",
        oids.join(", ")
    )
}

/// What the catalog's answer to [`question`] says.
pub(crate) fn learned(rows: &[Vec<Option<String>>], types: &mut Types) {
    for row in rows {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let Some(oid) = text(0).and_then(|oid| oid.parse().ok()) else { continue };
        let separator = text(2).and_then(|separator| separator.bytes().next());
        let element = text(3).and_then(|oid| oid.parse().ok()).and_then(scalar);
        let decoder = match (separator, element) {
            (Some(_), Some(form)) => Decoder::Array(form),
            (Some(separator), None) => Decoder::Texts(separator),
            // Of pgvector: `[1,2.5]`.
            (None, _) if matches!(text(1), Some("vector" | "halfvec")) => Decoder::Numbers,
            (None, _) => Decoder::Text,
        };
        types.insert(oid, decoder);
    }
}

/// The OIDs of the server's `catalog/pg_type.dat`, which are the same everywhere.
fn scalar(oid: u32) -> Option<Form> {
    Some(match oid {
        16 => Form::Bool,
        17 => Form::Bytes,
        18 => Form::Char,
        20 => Form::Int8,
        21 => Form::Int2,
        23 => Form::Int4,
        // text, name, bpchar, varchar, xml
        25 | 19 | 1042 | 1043 | 142 => Form::Text,
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
        3904 => Form::Range(Bound::Int4),
        3906 => Form::Range(Bound::Numeric),
        3908 => Form::Range(Bound::Timestamp),
        3910 => Form::Range(Bound::Timestamptz),
        3912 => Form::Range(Bound::Date),
        3926 => Form::Range(Bound::Int8),
        5069 => Form::Xid8,
        _ => return None,
    })
}

/// The type of the elements of a built-in array.
fn array_of(oid: u32) -> Option<u32> {
    Some(match oid {
        // int2vector, oidvector
        22 => 21,
        30 => 26,
        143 => 142,
        199 => 114,
        271 => 5069,
        651 => 650,
        775 => 774,
        791 => 790,
        1000 => 16,
        1001 => 17,
        1002 => 18,
        1003 => 19,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1011 => 28,
        1012 => 29,
        1014 => 1042,
        1015 => 1043,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1028 => 26,
        1040 => 829,
        1041 => 869,
        1115 => 1114,
        1182 => 1082,
        1183 => 1083,
        1185 => 1184,
        1187 => 1186,
        1231 => 1700,
        1270 => 1266,
        1561 => 1560,
        1563 => 1562,
        2951 => 2950,
        3807 => 3802,
        3905 => 3904,
        3907 => 3906,
        3909 => 3908,
        3911 => 3910,
        3913 => 3912,
        3927 => 3926,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_types_are_found_by_oid() {
        let none = Types::new();
        for (oid, expected) in [
            (20, Some(Decoder::Value(Form::Int8))),
            (1016, Some(Decoder::Array(Form::Int8))),
            (3904, Some(Decoder::Value(Form::Range(Bound::Int4)))),
            (3905, Some(Decoder::Array(Form::Range(Bound::Int4)))),
            (142, Some(Decoder::Value(Form::Text))),
            (30, Some(Decoder::Array(Form::Oid))),
            (705, Some(Decoder::Text)),
            (2287, Some(Decoder::Texts(b','))),
            (99_999, None),
        ] {
            assert_eq!(decoder(oid, &none), expected, "{oid}");
        }
    }

    #[test]
    fn what_the_catalog_says_of_other_types() {
        let row = |cells: [Option<&str>; 4]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
        let mut types = Types::new();
        learned(
            &[
                row([Some("20001"), Some("mood"), None, None]),
                row([Some("20002"), Some("_mood"), Some(","), Some("20001")]),
                row([Some("20003"), Some("_id"), Some(","), Some("20")]),
                row([Some("1020"), Some("_box"), Some(";"), Some("603")]),
                row([Some("20004"), Some("vector"), None, None]),
            ],
            &mut types,
        );
        for (oid, expected) in [
            (20_001, Decoder::Text),
            (20_002, Decoder::Texts(b',')),
            (20_003, Decoder::Array(Form::Int8)),
            (1020, Decoder::Texts(b';')),
            (20_004, Decoder::Numbers),
        ] {
            assert_eq!(decoder(oid, &types), Some(expected), "{oid}");
        }
    }
}
