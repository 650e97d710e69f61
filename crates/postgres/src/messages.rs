//! PostgreSQL's messages as they come: where one ends, and what an error in one says.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use lambda_rds_core::connect::wire::Wire;
use lambda_rds_core::error::{Error, Fault};

use crate::classify::Told;

/// One message of the server's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
}

/// What stands at the front of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Front<'a> {
    /// A whole message, so many bytes long with its header.
    Whole(Message<'a>, usize),
    /// The beginning of one.
    Part,
    /// The beginning of a row of so many bytes, which is too large to be held.
    LongRow(usize),
}

/// Looks at the front of the input.
///
/// # Errors
/// [`Fault::ConnectionLost`] for bytes that are no message: what comes after them makes no sense either.
#[inline]
pub(crate) fn front(input: &[u8]) -> Result<Front<'_>, Error> {
    let Some(&[kind, a, b, c, d]) = input.first_chunk::<HEADER>() else { return Ok(Front::Part) };
    // The length counts its own four bytes, and not the kind.
    let length = 1 + u64::from(u32::from_be_bytes([a, b, c, d]));
    let most = if kind == DATA_ROW { MOST_OF_ROW } else { MOST };
    match usize::try_from(length) {
        Ok(length) if length >= HEADER && length <= most => Ok(match input.get(HEADER..length) {
            Some(body) => Front::Whole(Message { kind, body }, length),
            None => Front::Part,
        }),
        Ok(length) if length >= HEADER && kind == DATA_ROW && length <= MOST_OF_VALUE => {
            Ok(Front::LongRow(length))
        }
        _ => Err(garbage(&format!("a message of kind {kind:#04x} and of {length} bytes"))),
    }
}

/// Waits for the next message and hands it over; for where messages come one by one.
pub(crate) async fn next<T>(
    wire: &mut Wire,
    read: impl FnOnce(Message<'_>) -> Result<T, Error>,
) -> Result<T, Trouble> {
    loop {
        match front(wire.input()).map_err(Trouble::Told)? {
            Front::Whole(message, length) => {
                let outcome = read(message);
                wire.take(length);
                return outcome.map_err(Trouble::Told);
            }
            Front::Part => {
                wire.turn(false).await.map_err(Trouble::Wire)?;
            }
            Front::LongRow(_) => return Err(Trouble::Told(garbage("a row"))),
        }
    }
}

/// Why there was no message to be read.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke.
    Wire(std::io::Error),
    /// What came makes no sense, or is a refusal.
    Told(Error),
}

/// What came is not what PostgreSQL says there.
#[cold]
pub(crate) fn garbage(what: &str) -> Error {
    Error::new(Fault::ConnectionLost, format!("the server sent what is out of place: {what}"))
}

/// An ErrorResponse or a NoticeResponse.
#[derive(Debug, Clone)]
pub(crate) struct Notice(Vec<(u8, String)>);

impl Notice {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let fields = body.split(|&byte| byte == 0).filter_map(|field| {
            let (&kind, text) = field.split_first()?;
            Some((kind, String::from_utf8_lossy(text).into_owned()))
        });
        Self(fields.collect())
    }

    fn find(&self, kind: u8) -> Option<&str> {
        self.0.iter().find(|(other, _)| *other == kind).map(|(_, text)| text.as_str())
    }

    /// <https://www.postgresql.org/docs/current/protocol-error-fields.html>
    pub(crate) fn told(&self) -> Told<'_> {
        let place = |kind| self.find(kind).and_then(|text| text.parse().ok());
        Told {
            severity: self.find(b'V').or_else(|| self.find(b'S')).unwrap_or_default(),
            code: self.find(b'C').unwrap_or_default(),
            message: self.find(b'M').unwrap_or_default(),
            detail: self.find(b'D'),
            hint: self.find(b'H'),
            context: self.find(b'W'),
            position: place(b'P'),
            inside: place(b'p').zip(self.find(b'q')),
            schema: self.find(b's'),
            table: self.find(b't'),
            column: self.find(b'c'),
            data_type: self.find(b'd'),
            constraint: self.find(b'n'),
            routine: self.find(b'R'),
            file: self.find(b'F'),
        }
    }
}

/// What is left of a message's body; each method takes one part off its front, and is `None` where that is cut short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl<'a> Rest<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// A count that is never negative.
    pub(crate) fn count(&mut self) -> Option<usize> {
        self.array().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
    }

    pub(crate) fn bytes(&mut self, length: i32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// Up to the next zero byte, which is passed over.
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (taken, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(taken)
    }

    /// The same, as UTF-8; what is not is replaced.
    pub(crate) fn string(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.text()?).into_owned())
    }
}

/// The failure of a statement whose row is not held.
#[cold]
pub(crate) fn too_large() -> Error {
    Error::told(
        Fault::ResultTooLarge,
        "A row of the result is larger than the 12 MiB that are read at once. Ask for a part of it at a time.",
    )
    .with_detail("select a part of a long value, such as `substr(data, :start::int, 100000)` or `tags[1:100]`")
}

// Kinds of messages.
pub(crate) const AUTHENTICATION: u8 = b'R';
pub(crate) const BACKEND_KEY_DATA: u8 = b'K';
pub(crate) const BIND_COMPLETE: u8 = b'2';
pub(crate) const CLOSE_COMPLETE: u8 = b'3';
pub(crate) const COMMAND_COMPLETE: u8 = b'C';
pub(crate) const COPY_BOTH: u8 = b'W';
pub(crate) const COPY_IN: u8 = b'G';
pub(crate) const COPY_OUT: u8 = b'H';
pub(crate) const DATA_ROW: u8 = b'D';
pub(crate) const EMPTY_QUERY: u8 = b'I';
pub(crate) const ERROR: u8 = b'E';
pub(crate) const NO_DATA: u8 = b'n';
pub(crate) const NOTICE: u8 = b'N';
pub(crate) const NOTIFICATION: u8 = b'A';
pub(crate) const PARAMETER_DESCRIPTION: u8 = b't';
pub(crate) const PARAMETER_STATUS: u8 = b'S';
pub(crate) const PARSE_COMPLETE: u8 = b'1';
pub(crate) const READY: u8 = b'Z';
pub(crate) const ROW_DESCRIPTION: u8 = b'T';

/// A kind and a length.
const HEADER: usize = 5;
/// A row comes as one message and is held whole. Twice what the largest reply takes, as base64 is longer than its bytes.
const MOST_OF_ROW: usize = 12 << 20;
/// The server has no value longer than 1 GiB, and no row that is much longer (`MaxAllocSize` in its `utils/memutils.h`).
const MOST_OF_VALUE: usize = 1 << 30;
/// Of anything else: an error quotes the statement, which may be large; a result has 1,664 columns at the most.
const MOST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_that_lie_are_no_messages() {
        for (bytes, fine) in [
            (&b"Z\0\0\0\x05I"[..], true),
            (b"Z\0\0\0\x04", true),
            (b"Z\0\0\0\x03", false),
            (b"Z\0\0\0\0", false),
            (b"Z\xff\xff\xff\xff", false),
            (b"Z\x7f\xff\xff\xff", false),
            (b"D\x7f\xff\xff\xff", false),
            (b"D\x3f\xff\xff\xff", true),
            (b"HTTP/1.1 400", false),
            (b"SSH-2.0-OpenSSH_9", false),
            (b"Z\0\0", true),
        ] {
            assert_eq!(front(bytes).is_ok(), fine, "{bytes:?}");
        }
        assert!(matches!(front(b"D\x3f\xff\xff\xff").unwrap(), Front::LongRow(0x4000_0000)));
    }

    #[test]
    fn an_error_says_what_it_says() {
        let body =
            b"SFEHLER\0VERROR\0C22P02\0Mbad\0P7\0p3\0qSELECT\0Wunnamed portal parameter $1 = '...'\0\0";
        let notice = Notice::parse(body);
        let told = notice.told();
        assert_eq!((told.severity, told.code, told.message), ("ERROR", "22P02", "bad"));
        assert_eq!((told.position, told.inside), (Some(7), Some((3, "SELECT"))));
        assert_eq!(Notice::parse(b"SFATAL\0C53300\0\0").told().severity, "FATAL");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Front::Whole(message, length)) = front(&bytes) {
                prop_assert_eq!(message.body.len() + HEADER, length);
                let _ = Notice::parse(message.body).told();
                let mut rest = Rest(message.body);
                while rest.string().is_some() {}
                let _ = (rest.count(), rest.i32(), rest.bytes(3));
            }
        }
    }
}
