//! Where PostgreSQL's messages begin and which are rows: one too large to be held is not let in, and others are taken.

use lambda_rds_core::connect::guard::{self, Front};
use lambda_rds_core::error::{Error, Fault};

/// The failure of a statement whose row was not let in.
pub(crate) fn too_large() -> Error {
    Error::told(
        Fault::ResultTooLarge,
        "A row of the result is larger than the 12 MiB that are read at once. Ask for a part of it at a time.",
    )
    .with_detail("select a part of a long value, such as `substr(data, :start::int, 100000)` or `tags[1:100]`")
}

/// Where the messages are: each a byte for its kind, and its length without that.
/// <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>
///
/// Rows are taken only of a statement that the driver has prepared before: where it prepares one, it may look up types,
/// and then rows are its own.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// How much of the current message is yet to come.
    rest: usize,
    /// Whether that one is taken.
    taken: bool,
    /// Something has been prepared since the statement began.
    prepared: bool,
    /// A row has been shown to the driver since something was bound.
    shown: bool,
}

const HEADER: usize = 5;
const PARSE_COMPLETE: u8 = b'1';
const BIND_COMPLETE: u8 = b'2';
const DATA_ROW: u8 = b'D';

impl guard::Messages for Messages {
    fn begin(&mut self) {
        (self.prepared, self.shown) = (false, false);
    }

    fn sent(&mut self, _bytes: &[u8]) {}

    fn front(&mut self, bytes: &[u8], take: bool) -> Front {
        let mut front = Front::default();
        while front.length < bytes.len() {
            if self.rest == 0 {
                let Some(&[kind, a, b, c, d]) = bytes[front.length..].first_chunk::<HEADER>() else { break };
                let taken = take && kind == DATA_ROW && self.shown && !self.prepared;
                if front.length > 0 && taken != front.taken {
                    break;
                }
                match kind {
                    PARSE_COMPLETE => self.prepared = true,
                    BIND_COMPLETE => self.shown = false,
                    DATA_ROW => self.shown = true,
                    _ => {}
                }
                let length = u32::from_be_bytes([a, b, c, d]);
                front.largest = front.largest.max(length);
                front.length += HEADER;
                self.taken = taken;
                // The length counts its own four bytes; what says less is no message, and the driver says so.
                self.rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
            }
            front.taken = self.taken;
            let of_message = self.rest.min(bytes.len() - front.length);
            front.length += of_message;
            self.rest -= of_message;
            if self.rest == 0 {
                front.ended = front.length;
            }
        }
        front
    }
}

#[cfg(test)]
mod tests {
    use super::guard::Messages as _;
    use super::*;

    fn message(kind: u8, length: u32) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&length.to_be_bytes());
        // Bytes that would be large messages, were they taken for headers.
        bytes.resize(bytes.len() + length as usize - 4, 0xff);
        bytes
    }

    /// What the wire makes of bytes that come in pieces of this length: what is taken, what is not, the largest length.
    fn sorted(messages: &mut Messages, bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, u32) {
        let (mut taken, mut passed, mut largest) = (Vec::new(), Vec::new(), 0);
        let mut held = Vec::new();
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            while !held.is_empty() {
                let front = messages.front(&held, true);
                if front.length == 0 {
                    break;
                }
                largest = largest.max(front.largest);
                if front.taken { &mut taken } else { &mut passed }.extend(held.drain(..front.length));
            }
        }
        assert_eq!((held.len(), messages.rest), (0, 0));
        (taken, passed, largest)
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let bytes = [4, 5, 4000, 4, 77].map(|length| message(b'C', length)).concat();
        for step in 1..50 {
            assert_eq!(
                sorted(&mut Messages::default(), &bytes, step),
                (vec![], bytes.clone(), 4000),
                "{step}"
            );
        }
    }

    #[test]
    fn rows_are_taken_but_for_the_first_and_those_of_what_was_just_prepared() {
        let (row, bound, done) = (message(b'D', 50), message(BIND_COMPLETE, 4), message(b'C', 13));
        let prepared = message(PARSE_COMPLETE, 4);
        let known = [&bound[..], &row, &row, &row, &done].concat();
        let looked_up = [&prepared[..], &bound, &row, &row, &done, &bound, &row, &row, &done].concat();
        for step in 1..80 {
            let mut messages = Messages::default();
            for _ in 0..2 {
                messages.begin();
                let (taken, passed, _) = sorted(&mut messages, &known, step);
                assert_eq!((taken, passed), (row.repeat(2), [&bound[..], &row, &done].concat()), "{step}");
                messages.begin();
                assert_eq!(sorted(&mut messages, &looked_up, step).1, looked_up, "{step}");
            }
        }
    }
}
