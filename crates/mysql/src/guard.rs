//! Where MySQL's packets begin and which are rows: one too large to be held is not let in, and others are taken.

use lambda_rds_core::connect::guard::{self, Front};
use lambda_rds_core::error::{Error, Fault};

use crate::capability::{self, Capabilities};
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
#[derive(Debug)]
pub(crate) struct Packets {
    /// How much of the current packet is yet to come.
    rest: usize,
    /// Whether that one is taken.
    taken: bool,
    place: Place,
    /// Whether rows follow the columns at once, without a packet between them.
    no_eof: bool,
    commands: Commands,
}

/// Where in the answer to an EXECUTE we are. Only in the binary protocol rows can be told by their first byte.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_execute.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In none, or past the end of its first result.
    Outside,
    /// Before its first packet.
    Head,
    /// Before a column, or what follows the columns.
    Columns,
    /// Before the first row.
    Row,
    /// Past the first row.
    Rows,
}

impl Place {
    /// Where we are behind a packet that begins with this byte, and whether the packet is a row, but not the first.
    fn behind(self, first: u8, no_eof: bool) -> (Self, bool) {
        match (self, first) {
            (Self::Head, OK | ERR | LOCAL_FILE) => (Self::Outside, false),
            // How many columns there are.
            (Self::Head, _) => (Self::Columns, false),
            (Self::Columns, EOF) if !no_eof => (Self::Row, false),
            (Self::Columns, ROW) if no_eof => (Self::Rows, false),
            // Every column begins with the length of its catalog, which is `def`.
            (Self::Columns, CATALOG) => (Self::Columns, false),
            (Self::Row, ROW) => (Self::Rows, false),
            (Self::Rows, ROW) => (Self::Rows, true),
            _ => (Self::Outside, false),
        }
    }
}

impl Packets {
    /// For a connection whose sides have agreed on this.
    pub(crate) fn new(spoken: Capabilities) -> Self {
        Self {
            rest: 0,
            taken: false,
            place: Place::Outside,
            no_eof: spoken & capability::DEPRECATE_EOF != 0,
            commands: Commands::default(),
        }
    }
}

impl guard::Messages for Packets {
    fn begin(&mut self) {
        self.place = Place::Outside;
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.commands.follow(bytes, |command| {
            self.place = match command {
                EXECUTE => Place::Head,
                // Is not answered.
                CLOSE => self.place,
                _ => Place::Outside,
            };
        });
    }

    fn front(&mut self, bytes: &[u8], take: bool) -> Front {
        let mut front = Front::default();
        while front.length < bytes.len() {
            if self.rest == 0 {
                let Some((&[a, b, c, _], content)) = bytes[front.length..].split_first_chunk::<HEADER>()
                else {
                    break;
                };
                let length = u32::from_le_bytes([a, b, c, 0]);
                let (place, row) = match content.first() {
                    _ if length == 0 => (self.place, false),
                    Some(first) => self.place.behind(*first, self.no_eof),
                    None => break,
                };
                let taken = take && row;
                if front.length > 0 && taken != front.taken {
                    break;
                }
                self.place = place;
                self.taken = taken;
                self.rest = usize::try_from(length).unwrap_or(usize::MAX);
                front.largest = front.largest.max(length);
                front.length += HEADER;
            }
            front.taken = self.taken;
            let of_packet = self.rest.min(bytes.len() - front.length);
            front.length += of_packet;
            self.rest -= of_packet;
            if self.rest == 0 {
                front.ended = front.length;
            }
        }
        front
    }
}

/// Follows what the driver sends: packets, of which the first of each command has the number 0.
#[derive(Debug, Default)]
struct Commands {
    /// What has come of the next packet's header, and the byte behind it.
    start: [u8; HEADER + 1],
    come: usize,
    /// How much of the current packet is yet to come.
    rest: usize,
}

impl Commands {
    /// Passes on the first byte of each command that begins in these bytes.
    fn follow(&mut self, mut bytes: &[u8], mut command: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let of_packet = self.rest.min(bytes.len());
            bytes = &bytes[of_packet..];
            self.rest -= of_packet;
            let of_start = bytes.len().min(self.start.len() - self.come);
            self.start[self.come..self.come + of_start].copy_from_slice(&bytes[..of_start]);
            self.come += of_start;
            bytes = &bytes[of_start..];
            if self.come == self.start.len() {
                let [a, b, c, number, first] = self.start;
                if number == 0 {
                    command(first);
                }
                let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
                // No packet of a command is empty.
                self.rest = length.saturating_sub(1);
                self.come = 0;
            }
        }
    }
}

/// The first bytes of packets, each in its place.
const OK: u8 = 0;
const ROW: u8 = 0;
const CATALOG: u8 = 3;
const LOCAL_FILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;
/// `COM_STMT_EXECUTE` and `COM_STMT_CLOSE`.
const EXECUTE: u8 = 0x17;
const CLOSE: u8 = 0x19;

#[cfg(test)]
mod tests {
    use super::guard::Messages as _;
    use super::*;
    use crate::packet::frame;

    /// What the wire makes of bytes that come in pieces of this length: what is taken, what is not, the largest length.
    fn sorted(packets: &mut Packets, bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, u32) {
        let (mut taken, mut passed, mut largest) = (Vec::new(), Vec::new(), 0);
        let mut held = Vec::new();
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            while !held.is_empty() {
                let front = packets.front(&held, true);
                if front.length == 0 {
                    break;
                }
                largest = largest.max(front.largest);
                if front.taken { &mut taken } else { &mut passed }.extend(held.drain(..front.length));
            }
        }
        assert_eq!((held.len(), packets.rest), (0, 0));
        (taken, passed, largest)
    }

    #[test]
    fn packets_are_followed_however_they_are_cut() {
        let mut bytes = Vec::new();
        for (number, length) in [(0, 4), (1, 0), (2, 4000), (3, 1), (4, 77)] {
            // Bytes that would be large packets, were they taken for headers.
            bytes.extend(frame(number, &vec![0xff; length]));
        }
        for step in 1..50 {
            assert_eq!(sorted(&mut Packets::new(0), &bytes, step), (vec![], bytes.clone(), 4000), "{step}");
        }
    }

    #[test]
    fn rows_are_taken_but_for_the_first_and_those_of_another_result() {
        let (ok, head, column) =
            (frame(1, &[OK, 0, 0, 2, 0]), frame(1, &[2]), frame(2, b"\x03def and so on"));
        let (row, eof) = (frame(9, b"\0\0 a row"), frame(9, &[EOF, 0, 0, 2, 0]));
        let execute = frame(0, &[EXECUTE, 1, 0, 0, 0]);
        for no_eof in [true, false] {
            let between = if no_eof { &[][..] } else { &eof };
            let result = [&head[..], &column, &column, between, &row, &row, &row, &eof].concat();
            let passed = [&head[..], &column, &column, between, &row, &eof].concat();
            let empty = [&head[..], &column, &column, between, &eof].concat();
            let mut packets = Packets::new(if no_eof { capability::DEPRECATE_EOF } else { 0 });
            for step in 1..60 {
                packets.begin();
                // The answer to a PREPARE has no rows, however it looks.
                packets.sent(&frame(0, b"\x16SELECT"));
                let prepared = [&ok[..], &head, &column, &row, &row, &row].concat();
                assert_eq!(sorted(&mut packets, &prepared, step).0, b"");
                for piece in execute.chunks(step) {
                    packets.sent(piece);
                }
                let (taken, rest, _) = sorted(&mut packets, &result, step);
                assert_eq!((taken, rest), (row.repeat(2), passed.clone()), "{step}");
                // Another result, which is the driver's.
                assert_eq!(sorted(&mut packets, &result, step).0, b"");
                packets.sent(&execute);
                packets.sent(&frame(0, &[CLOSE, 1, 0, 0, 0]));
                assert_eq!(sorted(&mut packets, &result, step).0, row.repeat(2));
                for other in [&empty, &ok, &frame(1, &[ERR, 1, 2])] {
                    packets.sent(&execute);
                    assert_eq!(
                        sorted(&mut packets, &[&other[..], &ok, &row].concat(), step).0,
                        b"",
                        "{step}"
                    );
                }
            }
        }
    }
}
