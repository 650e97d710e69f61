//! MySQL's packets, as a login has them: one at a time, numbered in both directions together.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use std::io;

use bytes::BufMut;
use lambda_rds_core::connect::wire::Wire;

use crate::classify::Told;

/// The packets of a login, which are numbered in both directions together, from 0 for each command.
#[derive(Debug)]
pub(crate) struct Channel {
    wire: Wire,
    next: u8,
}

impl Channel {
    /// Begins with the packet of this number.
    pub(crate) fn new(wire: Wire, next: u8) -> Self {
        Self { wire, next }
    }

    /// The number of the next packet, whoever sends it.
    pub(crate) fn next(&self) -> u8 {
        self.next
    }

    /// What is below, with nothing taken but the packets that were read.
    pub(crate) fn into_inner(self) -> Wire {
        self.wire
    }

    /// Reads one packet and gives what is in it, which is never nothing. What was written before goes out first.
    ///
    /// # Errors
    /// If the server hangs up, or sends what cannot be a packet of a login ([`io::ErrorKind::InvalidData`]).
    pub(crate) async fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(header) = Header::read(self.wire.input()) {
                if !(1..=LONGEST).contains(&header.length) {
                    return garbage();
                }
                if let Some(content) = self.wire.input().get(HEADER..HEADER + header.length) {
                    let content = content.to_vec();
                    self.wire.take(HEADER + header.length);
                    // A server that breaks the connection off may have lost count.
                    if header.number != self.next && content.first() != Some(&ERROR) {
                        return garbage();
                    }
                    self.next = header.number.wrapping_add(1);
                    return Ok(content);
                }
            }
            self.wire.turn(false).await?;
        }
    }

    /// Says one packet. It goes out when an answer is read.
    pub(crate) fn write(&mut self, content: &[u8]) {
        self.wire.output().extend_from_slice(&frame(self.next, content));
        self.next = self.next.wrapping_add(1);
    }

    /// Says the packet of a command, with which the numbers begin anew.
    pub(crate) fn command(&mut self, content: &[u8]) {
        self.next = 0;
        self.write(content);
    }
}

/// What stands before the content of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// How long the content is.
    pub(crate) length: usize,
    pub(crate) number: u8,
}

impl Header {
    /// The header that the bytes begin with, if all of it is there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, number] = bytes.first_chunk()?;
        Some(Self { length: usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16, number })
    }

    /// Whether the content goes on in the next packet.
    pub(crate) fn is_full(self) -> bool {
        self.length == SPLIT
    }
}

/// A packet with its header. Nothing that a login says is as long as to need a second one.
pub(crate) fn frame(number: u8, content: &[u8]) -> Vec<u8> {
    debug_assert!(content.len() < SPLIT, "one packet cannot hold that");
    let [a, b, c, ..] = content.len().to_le_bytes();
    let mut packet = Vec::with_capacity(HEADER + content.len());
    packet.extend_from_slice(&[a, b, c, number]);
    packet.extend_from_slice(content);
    packet
}

/// An error of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) number: u16,
    /// Empty where the server gives none.
    pub(crate) sqlstate: String,
    pub(crate) message: String,
}

impl Refusal {
    /// Reads an error packet; `None` for any other.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        let [ERROR, low, high, text @ ..] = content else { return None };
        // A SQLSTATE may stand before the text, `#08004`.
        let (sqlstate, text) = match text.split_first() {
            Some((b'#', rest)) => rest.split_at_checked(5)?,
            _ => text.split_at(0),
        };
        Some(Self {
            number: u16::from_le_bytes([*low, *high]),
            sqlstate: String::from_utf8_lossy(sqlstate).into_owned(),
            message: String::from_utf8_lossy(text).into_owned(),
        })
    }

    pub(crate) fn told(&self) -> Told<'_> {
        Told { number: self.number, sqlstate: &self.sqlstate, message: &self.message }
    }
}

/// What is left to read of a packet. Each step is `None` where the packet is cut short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl<'a> Rest<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Up to the next zero byte, which is passed over.
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.take(end)?;
        self.take(1)?;
        Some(taken)
    }

    /// A number in one byte, or behind a byte that says in how many it is.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let bytes = match self.array()? {
            [0xfb | 0xff] => return None,
            [0xfc] => self.take(2)?,
            [0xfd] => self.take(3)?,
            [0xfe] => self.take(8)?,
            [byte] => return Some(byte.into()),
        };
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Bytes with their length before them.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// The same, or all there is: some servers leave the last zero byte out.
    pub(crate) fn last_text(&mut self) -> &'a [u8] {
        self.text().unwrap_or_else(|| std::mem::take(&mut self.0))
    }
}

/// Bytes with their length before them.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>
pub(crate) fn put_counted(packet: &mut impl BufMut, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    match bytes.len() {
        0..=250 => packet.put_u8(length[0]),
        251..=0xffff => {
            packet.put_u8(0xfc);
            packet.put_slice(&length[..2]);
        }
        0x1_0000..=SPLIT => {
            packet.put_u8(0xfd);
            packet.put_slice(&length[..3]);
        }
        _ => {
            packet.put_u8(0xfe);
            packet.put_slice(&length);
        }
    }
    packet.put_slice(bytes);
}

fn garbage<T>() -> io::Result<T> {
    Err(io::ErrorKind::InvalidData.into())
}

/// Three bytes of length, one of number.
pub(crate) const HEADER: usize = 4;
pub(crate) const OK: u8 = 0x00;
pub(crate) const ERROR: u8 = 0xff;
/// A packet of this length goes on in the next one.
pub(crate) const SPLIT: usize = 0xff_ffff;
/// Nothing that a server says up to the end of our `SET` is longer; whatever claims to be is not MySQL.
const LONGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn a_refusal_is_read_with_and_without_its_sqlstate() {
        let check = |content: &[u8], sqlstate: &str| {
            let (sqlstate, message) = (sqlstate.to_owned(), "Too many connections".to_owned());
            assert_eq!(Refusal::parse(content), Some(Refusal { number: 1040, sqlstate, message }));
        };
        check(b"\xff\x10\x04Too many connections", "");
        check(b"\xff\x10\x04#08004Too many connections", "08004");
        assert_eq!(Refusal::parse(b"\xff\x10\x04#08"), None);
        assert_eq!(Refusal::parse(b"\0\0\0\x02\0\0\0"), None);
    }

    #[test]
    fn a_length_stands_before_what_it_counts() {
        for (length, head) in [
            (0, &b"\0"[..]),
            (250, b"\xfa"),
            (251, b"\xfc\xfb\0"),
            (0xffff, b"\xfc\xff\xff"),
            (0x1_0000, b"\xfd\0\0\x01"),
        ] {
            let mut packet = Vec::new();
            put_counted(&mut packet, &vec![7; length]);
            assert_eq!((&packet[..head.len()], packet.len()), (head, head.len() + length));
        }
    }

    /// A channel that hears these bytes, and then nothing more.
    async fn hearing(bytes: &[u8], next: u8) -> Channel {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(bytes).await.unwrap();
        Channel::new(Wire::plain(tcp), next)
    }

    #[tokio::test]
    async fn no_more_than_a_packet_is_taken_and_none_too_long_or_out_of_order() {
        let mut channel = hearing(&[frame(3, b"one"), b"next".to_vec()].concat(), 3).await;
        assert_eq!(channel.read().await.unwrap(), b"one");
        assert_eq!((channel.next(), channel.into_inner().input()), (4, &b"next"[..]));

        for (bytes, kind) in [
            (frame(4, b"one"), io::ErrorKind::InvalidData),
            (frame(3, b""), io::ErrorKind::InvalidData),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), io::ErrorKind::InvalidData),
            (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), io::ErrorKind::InvalidData),
            (b"\x01\0\x01\x03".to_vec(), io::ErrorKind::InvalidData),
            (b"\x01\0".to_vec(), io::ErrorKind::UnexpectedEof),
            (b"\x04\0\0\x03one".to_vec(), io::ErrorKind::UnexpectedEof),
        ] {
            let mut channel = hearing(&bytes, 3).await;
            assert_eq!(channel.read().await.unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_comes_is_read_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut channel = hearing(&bytes, bytes.get(3).copied().unwrap_or(0)).await;
                while let Ok(content) = channel.read().await {
                    assert!((1..=bytes.len() - HEADER).contains(&content.len()));
                    let refusal = Refusal::parse(&content);
                    assert!(refusal.is_none() || content[0] == ERROR);
                }
            });
        }
    }
}
