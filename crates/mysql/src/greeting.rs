//! The first packet of a connection, which the server sends before TLS: which thread serves us, what it can, and the
//! nonce for the login.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>

use crate::capability::Capabilities;
use crate::packet::{Refusal, Rest};

/// What the server greets with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// It is ready for a login.
    Welcome(Welcome),
    /// It has no time or no liking for us: an error in place of the greeting.
    Refusal(Refusal),
}

/// What a server that greets tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// Its version, which may be a proxy's.
    pub(crate) version: Vec<u8>,
    /// The thread that serves this connection, as `KILL QUERY` takes it.
    pub(crate) thread: u32,
    pub(crate) capabilities: Capabilities,
    /// What passwords are scrambled with.
    pub(crate) nonce: Vec<u8>,
    /// The authentication plugin that most of its users have; empty if it does not say.
    pub(crate) plugin: String,
}

impl Greeting {
    /// Reads what is in the first packet; `None` if it is no greeting.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        if let Some(refusal) = Refusal::parse(content) {
            return Some(Self::Refusal(refusal));
        }
        let mut rest = Rest(content);
        if rest.array()? != [VERSION_10] {
            return None;
        }
        let version = rest.text()?.to_vec();
        let thread = u32::from_le_bytes(rest.array()?);
        let mut nonce = rest.take(8)?.to_vec();
        let [_filling, a, b] = rest.array()?;
        let (mut c, mut d) = (0, 0);
        let mut plugin = String::new();
        // Servers older than 4.1 end here, and are told so when it comes to the login.
        if let Some([_character_set, _status_1, _status_2, low, high, length]) = rest.array() {
            (c, d) = (low, high);
            rest.take(10)?;
            // However long the nonce is said to be, 13 bytes are left for it, and the last one is zero.
            let left = usize::from(length).saturating_sub(8).max(13).min(rest.0.len());
            let more = rest.take(left)?;
            nonce.extend_from_slice(more.strip_suffix(b"\0").unwrap_or(more));
            plugin = String::from_utf8_lossy(rest.last_text()).into_owned();
        }
        let capabilities = u32::from_le_bytes([a, b, c, d]);
        Some(Self::Welcome(Welcome { version, thread, capabilities, nonce, plugin }))
    }
}

impl Welcome {
    /// Whether a server that greets so takes a command before it has answered the last one. Aurora MySQL 2, which says 5.7,
    /// hangs, and ProxySQL hangs up.
    pub(crate) fn pipelines(&self) -> bool {
        // MariaDB says that it is 5.5.5, and then what it is.
        let old = self.version.starts_with(b"5.") && !self.version.starts_with(b"5.5.5-");
        let proxy = self.version.windows(PROXYSQL.len()).any(|part| part.eq_ignore_ascii_case(PROXYSQL));
        !old && !proxy
    }
}

const PROXYSQL: &[u8] = b"ProxySQL";
pub(crate) const VERSION_10: u8 = 10;
/// utf8mb4_general_ci, which both servers have by this number.
pub(crate) const UTF8MB4: u8 = 45;
/// The status of a session outside a transaction.
pub(crate) const AUTOCOMMIT: u16 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn welcome(version: &str, capabilities: u32) -> Vec<u8> {
        let [a, b, c, d] = capabilities.to_le_bytes();
        let mut content = vec![VERSION_10];
        content.extend_from_slice(version.as_bytes());
        content.push(0);
        content.extend_from_slice(&0x0102_0304_u32.to_le_bytes());
        content.extend_from_slice(b"12345678\0");
        content.extend_from_slice(&[a, b, 255, 2, 0, c, d, 21]);
        content.extend_from_slice(&[0; 10]);
        content.extend_from_slice(b"abcdefghijkl\0caching_sha2_password\0");
        content
    }

    #[test]
    fn all_that_a_login_needs_is_read_whatever_the_version() {
        for version in ["9.7.4-2", "8.0.39", "5.5.5-10.11.19-MariaDB-0+deb12u1"] {
            let want = Greeting::Welcome(Welcome {
                version: version.into(),
                thread: 0x0102_0304,
                capabilities: 0x8123_4567,
                nonce: b"12345678abcdefghijkl".to_vec(),
                plugin: "caching_sha2_password".into(),
            });
            assert_eq!(Greeting::parse(&welcome(version, 0x8123_4567)), Some(want));
        }
    }

    #[test]
    fn who_may_not_be_told_more_before_it_has_answered_is_known_by_its_greeting() {
        for (version, want) in [
            ("9.7.4", true),
            ("8.0.39", true),
            ("8.0.28-aurora", true),
            ("5.5.5-10.11.19-MariaDB-0+deb12u1", true),
            ("11.8.2-MariaDB", true),
            ("5.7.12", false),
            ("5.7.44-log", false),
            ("5.6.10", false),
            ("8.0.30 (ProxySQL)", false),
            ("5.5.30-proxysql", false),
        ] {
            let Some(Greeting::Welcome(welcome)) = Greeting::parse(&welcome(version, 0)) else { panic!() };
            assert_eq!(welcome.pipelines(), want, "{version}");
        }
    }

    #[test]
    fn a_refusal_in_place_of_the_greeting_is_one() {
        let want = Greeting::Refusal(Refusal {
            number: 1040,
            sqlstate: "08004".into(),
            message: "Too many connections".into(),
        });
        assert_eq!(Greeting::parse(b"\xff\x10\x04#08004Too many connections"), Some(want));
    }

    #[test]
    fn what_is_cut_short_or_not_mysql_is_no_greeting() {
        let whole = welcome("9.7.4", 0);
        // Up to the capabilities' lower half: older servers say no more.
        for length in 0..1 + 6 + 4 + 8 + 3 {
            assert_eq!(Greeting::parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(Greeting::parse(b"SSH-2.0-OpenSSH_9.2"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Greeting::parse(&bytes);
            let _ = Greeting::parse(&[&[VERSION_10], &bytes[..]].concat());
        }

        #[test]
        fn a_greeting_that_is_cut_or_bent_is_read_without_a_panic(
            cut in 0_usize..90,
            at in 0_usize..90,
            byte in any::<u8>(),
        ) {
            let mut content = welcome("9.7.4", u32::MAX);
            if let Some(bent) = content.get_mut(at) {
                *bent = byte;
            }
            content.truncate(cut);
            if let Some(Greeting::Welcome(seen)) = Greeting::parse(&content) {
                prop_assert!(seen.version.len() + seen.nonce.len() + seen.plugin.len() <= 3 * content.len());
            }
        }
    }
}
