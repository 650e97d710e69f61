//! MySQL's packets, as far as a login and one statement need them.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A stream of packets, which are numbered in both directions together, from 0 for each command.
#[derive(Debug)]
pub(crate) struct Channel<S> {
    stream: S,
    next: u8,
}

impl<S: AsyncRead + Unpin> Channel<S> {
    /// Begins with the packet of this number.
    pub(crate) fn new(stream: S, next: u8) -> Self {
        Self { stream, next }
    }

    /// The number of the next packet, whoever sends it.
    pub(crate) fn next(&self) -> u8 {
        self.next
    }

    /// What is below, with nothing read ahead.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Reads one packet and gives what is in it, which is never nothing. No byte beyond it is read.
    ///
    /// # Errors
    /// If the server hangs up, or sends what cannot be a packet of a login ([`io::ErrorKind::InvalidData`]).
    pub(crate) async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).await?;
        let [a, b, c, number] = header;
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        // A server that breaks the connection off may have lost count.
        let mut content = vec![0; if (1..=LONGEST).contains(&length) { length } else { return garbage() }];
        self.stream.read_exact(&mut content).await?;
        if number != self.next && content.first() != Some(&ERROR) {
            return garbage();
        }
        self.next = number.wrapping_add(1);
        Ok(content)
    }
}

impl<S: AsyncWrite + Unpin> Channel<S> {
    /// Sends one packet.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(self.next, content)).await?;
        self.next = self.next.wrapping_add(1);
        self.stream.flush().await
    }

    /// Sends the packet of a command, with which the numbers begin anew.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn command(&mut self, content: &[u8]) -> io::Result<()> {
        self.next = 0;
        self.write(content).await
    }
}

/// A packet with its header. Nothing that we send is as long as to need a second one.
pub(crate) fn frame(number: u8, content: &[u8]) -> Vec<u8> {
    debug_assert!(content.len() < SPLIT, "one packet cannot hold that");
    let [a, b, c, ..] = content.len().to_le_bytes();
    let mut packet = Vec::with_capacity(HEADER + content.len());
    packet.extend_from_slice(&[a, b, c, number]);
    packet.extend_from_slice(content);
    packet
}

/// An error of the server: its number and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) number: u16,
    pub(crate) message: String,
}

impl Refusal {
    /// Reads an error packet; `None` for any other.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        let [ERROR, low, high, text @ ..] = content else { return None };
        // A SQLSTATE may stand before the text, `#08004`.
        let text = if text.first() == Some(&b'#') { text.get(6..)? } else { text };
        Some(Self {
            number: u16::from_le_bytes([*low, *high]),
            message: String::from_utf8_lossy(text).into_owned(),
        })
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

    /// The same, or all there is: some servers leave the last zero byte out.
    pub(crate) fn last_text(&mut self) -> &'a [u8] {
        self.text().unwrap_or_else(|| std::mem::take(&mut self.0))
    }
}

/// Bytes with their length before them.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>
pub(crate) fn put_counted(packet: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().to_le_bytes();
    match bytes.len() {
        0..=250 => packet.push(length[0]),
        251..=0xffff => {
            packet.push(0xfc);
            packet.extend_from_slice(&length[..2]);
        }
        0x1_0000..SPLIT => {
            packet.push(0xfd);
            packet.extend_from_slice(&length[..3]);
        }
        _ => {
            packet.push(0xfe);
            packet.extend_from_slice(&length);
        }
    }
    packet.extend_from_slice(bytes);
}

fn garbage<T>() -> io::Result<T> {
    Err(io::ErrorKind::InvalidData.into())
}

/// Three bytes of length, one of number.
pub(crate) const HEADER: usize = 4;
pub(crate) const OK: u8 = 0x00;
pub(crate) const ERROR: u8 = 0xff;
/// A packet of this length goes on in the next one.
const SPLIT: usize = 0xff_ffff;
/// Nothing that a server says up to the end of our `SET` is longer; whatever claims to be is not MySQL.
const LONGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_is_read_with_and_without_its_sqlstate() {
        let check = |content: &[u8], number, message: &str| {
            assert_eq!(Refusal::parse(content), Some(Refusal { number, message: message.into() }));
        };
        check(b"\xff\x10\x04Too many connections", 1040, "Too many connections");
        check(b"\xff\x10\x04#08004Too many connections", 1040, "Too many connections");
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

    #[tokio::test]
    async fn no_more_than_a_packet_is_read_and_none_too_long_or_out_of_order() {
        let wire = [frame(3, b"one"), b"next".to_vec()].concat();
        let mut channel = Channel::new(wire.as_slice(), 3);
        assert_eq!(channel.read().await.unwrap(), b"one");
        assert_eq!((channel.next(), channel.into_inner()), (4, &b"next"[..]));

        for (wire, kind) in [
            (frame(4, b"one"), io::ErrorKind::InvalidData),
            (frame(3, b""), io::ErrorKind::InvalidData),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), io::ErrorKind::InvalidData),
            (b"\x01\0\x01\x03".to_vec(), io::ErrorKind::InvalidData),
            (b"\x01\0".to_vec(), io::ErrorKind::UnexpectedEof),
            (b"\x04\0\0\x03one".to_vec(), io::ErrorKind::UnexpectedEof),
        ] {
            let mut channel = Channel::new(wire.as_slice(), 3);
            assert_eq!(channel.read().await.unwrap_err().kind(), kind, "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut channel = Channel::new(bytes.as_slice(), bytes.get(3).copied().unwrap_or(0));
            while let Ok(content) = runtime.block_on(channel.read()) {
                prop_assert!((1..=bytes.len() - HEADER).contains(&content.len()));
                let refusal = Refusal::parse(&content);
                prop_assert!(refusal.is_none() || content[0] == ERROR);
            }
        }
    }
}
