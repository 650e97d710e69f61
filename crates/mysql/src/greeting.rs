//! The first packet of a connection, which the server sends before TLS: which thread serves us, and whether it
//! offers TLS at all.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What the server greets with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// It is ready for a login.
    Welcome(Welcome),
    /// It has no time or no liking for us: an error in place of the greeting.
    Refusal {
        /// The server's error number.
        number: u16,
        /// Its text.
        message: String,
    },
}

/// What we want to know of a server that greets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// The thread that serves this connection, as `KILL QUERY` takes it.
    pub(crate) thread: u32,
    /// Whether it offers TLS.
    pub(crate) tls: bool,
}

impl Greeting {
    /// Reads the greeting off the stream, and gives it with its bytes, which are the driver's to read.
    ///
    /// # Errors
    /// If the server hangs up, or sends something that is no greeting ([`io::ErrorKind::InvalidData`]).
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Self, Vec<u8>)> {
        let mut packet = vec![0; HEADER];
        stream.read_exact(&mut packet).await?;
        let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        packet.resize(HEADER + length, 0);
        stream.read_exact(&mut packet[HEADER..]).await?;
        let greeting = Self::parse(&packet[HEADER..]).ok_or(io::ErrorKind::InvalidData)?;
        Ok((greeting, packet))
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        match payload {
            [ERROR, low, high, text @ ..] => {
                // A SQLSTATE may stand before the text, `#08004`.
                let text = if text.first() == Some(&b'#') { text.get(6..)? } else { text };
                Some(Self::Refusal {
                    number: u16::from_le_bytes([*low, *high]),
                    message: String::from_utf8_lossy(text).into_owned(),
                })
            }
            [VERSION_10, rest @ ..] => {
                let end = rest.iter().position(|byte| *byte == 0)?;
                // The server's version, which may be a proxy's: nothing is made to depend on it.
                let (thread, rest) = rest.get(end + 1..)?.split_first_chunk()?;
                // Eight bytes of nonce and one of filling, then the lower half of the capabilities.
                let capabilities = u16::from_le_bytes(*rest.get(9..)?.first_chunk()?);
                Some(Self::Welcome(Welcome {
                    thread: u32::from_le_bytes(*thread),
                    tls: capabilities & CLIENT_SSL != 0,
                }))
            }
            _ => None,
        }
    }
}

/// Three bytes of length, one of sequence number.
const HEADER: usize = 4;
/// No greeting is longer; whatever claims to be is not MySQL.
const LONGEST: usize = 4096;
const VERSION_10: u8 = 10;
const ERROR: u8 = 0xff;
const CLIENT_SSL: u16 = 0x0800;

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(version: &str, capabilities: u16) -> Vec<u8> {
        let mut payload = vec![VERSION_10];
        payload.extend_from_slice(version.as_bytes());
        payload.push(0);
        payload.extend_from_slice(&0x0102_0304_u32.to_le_bytes());
        payload.extend_from_slice(b"12345678\0");
        payload.extend_from_slice(&capabilities.to_le_bytes());
        payload.extend_from_slice(b"and more");
        payload
    }

    #[test]
    fn thread_and_tls_are_read_whatever_the_version() {
        let check = |version, capabilities, tls| {
            let want = Greeting::Welcome(Welcome { thread: 0x0102_0304, tls });
            assert_eq!(Greeting::parse(&welcome(version, capabilities)), Some(want), "{version}");
        };
        check("9.7.4-2", 0xffff, true);
        check("8.0.39", 0xf7ff, false);
        check("5.5.5-10.11.19-MariaDB-0+deb12u1", 0xffff, true);
    }

    #[test]
    fn a_refusal_in_place_of_the_greeting_is_read_with_and_without_its_sqlstate() {
        let check = |payload: &[u8], number, message: &str| {
            let want = Greeting::Refusal { number, message: message.into() };
            assert_eq!(Greeting::parse(payload), Some(want));
        };
        check(b"\xff\x10\x04Too many connections", 1040, "Too many connections");
        check(b"\xff\x10\x04#08004Too many connections", 1040, "Too many connections");
    }

    #[test]
    fn what_is_cut_short_or_not_mysql_is_no_greeting() {
        let whole = welcome("9.7.4", 0);
        for length in 0..whole.len() - b"and more".len() {
            assert_eq!(Greeting::parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(Greeting::parse(b"SSH-2.0-OpenSSH_9.2"), None);
    }

    #[tokio::test]
    async fn the_bytes_are_kept_for_the_driver_and_nothing_more_is_read() {
        let payload = welcome("9.7.4", 0);
        let mut wire = vec![u8::try_from(payload.len()).unwrap(), 0, 0, 0];
        wire.extend_from_slice(&payload);
        let packet = wire.clone();
        wire.extend_from_slice(b"next");
        let mut stream = wire.as_slice();
        let (_, bytes) = Greeting::read(&mut stream).await.unwrap();
        assert_eq!(bytes, packet);
        assert_eq!(stream, b"next");
        let error = Greeting::read(&mut &b"HTTP/1.1 400 Bad Request"[..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
