//! Where PostgreSQL's messages begin, so that one too large to be held is not let in.

use lambda_rds_core::connect::guard;
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
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// What has come of the next header.
    header: [u8; HEADER],
    come: usize,
    /// How much of the current message is yet to come.
    rest: u32,
}

const HEADER: usize = 5;

impl guard::Messages for Messages {
    fn follow(&mut self, mut bytes: &[u8]) -> u32 {
        let mut largest = 0;
        while !bytes.is_empty() {
            let of_message = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
            bytes = &bytes[of_message..];
            // No more than `rest`.
            self.rest -= u32::try_from(of_message).unwrap_or(self.rest);
            let of_header = bytes.len().min(HEADER - self.come);
            self.header[self.come..self.come + of_header].copy_from_slice(&bytes[..of_header]);
            self.come += of_header;
            bytes = &bytes[of_header..];
            if self.come == HEADER {
                let [_, a, b, c, d] = self.header;
                let length = u32::from_be_bytes([a, b, c, d]);
                largest = largest.max(length);
                // The length counts its own four bytes; what says less is no message, and the driver says so.
                self.rest = length.saturating_sub(4);
                self.come = 0;
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::guard::Messages as _;
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut bytes = Vec::new();
        for length in [4_u32, 5, 4000, 4, 77] {
            bytes.push(b'D');
            bytes.extend_from_slice(&length.to_be_bytes());
            // Bytes that would be large messages, were they taken for headers.
            bytes.resize(bytes.len() + length as usize - 4, 0xff);
        }
        for step in 1..50 {
            let mut messages = Messages::default();
            let largest = bytes.chunks(step).map(|chunk| messages.follow(chunk)).max();
            assert_eq!(largest, Some(4000), "{step}");
            assert_eq!((messages.rest, messages.come), (0, 0));
        }
    }
}
