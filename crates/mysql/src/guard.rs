//! Where MySQL's packets begin, so that a row too large to be held is not let in.

use lambda_rds_core::connect::guard;
use lambda_rds_core::error::{Error, Fault};

use crate::packet::HEADER;

/// The failure of a statement whose row was not let in.
pub(crate) fn too_large() -> Error {
    Error::told(
        Fault::ResultTooLarge,
        "A row of the result is larger than the 12 MiB that are read at once. Ask for a part of it at a time.",
    )
    .with_detail("select a part of a long value, such as `SUBSTRING(data, :start, 100000)`")
}

/// Where the packets are: each three bytes of its length, one of its number, and the rest. A row of 16 MiB or more
/// comes in several, of which the first says that it is full.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// What has come of the next header.
    header: [u8; HEADER],
    come: usize,
    /// How much of the current packet is yet to come.
    rest: usize,
}

impl guard::Messages for Packets {
    fn follow(&mut self, mut bytes: &[u8]) -> u32 {
        let mut largest = 0;
        while !bytes.is_empty() {
            let of_packet = bytes.len().min(self.rest);
            bytes = &bytes[of_packet..];
            self.rest -= of_packet;
            let of_header = bytes.len().min(HEADER - self.come);
            self.header[self.come..self.come + of_header].copy_from_slice(&bytes[..of_header]);
            self.come += of_header;
            bytes = &bytes[of_header..];
            if self.come == HEADER {
                let [a, b, c, _] = self.header;
                self.rest = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
                self.come = 0;
                largest = largest.max(u32::from_le_bytes([a, b, c, 0]));
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::guard::Messages as _;
    use super::*;
    use crate::packet::frame;

    #[test]
    fn packets_are_followed_however_they_are_cut() {
        let mut bytes = Vec::new();
        for (number, length) in [(0, 4), (1, 0), (2, 4000), (3, 1), (4, 77)] {
            // Bytes that would be large packets, were they taken for headers.
            bytes.extend(frame(number, &vec![0xff; length]));
        }
        for step in 1..50 {
            let mut packets = Packets::default();
            let largest = bytes.chunks(step).map(|chunk| packets.follow(chunk)).max();
            assert_eq!(largest, Some(4000), "{step}");
            assert_eq!((packets.rest, packets.come), (0, 0));
        }
    }
}
