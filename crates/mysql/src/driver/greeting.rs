//! What the driver is greeted with, on its side of the door: a server that takes any password.

use crate::capability::{CONNECT_ATTRS, CONNECT_WITH_DB, Capabilities, SESSION_TRACK, SSL};
use crate::greeting::{AUTOCOMMIT, UTF8MB4, VERSION_10};
use crate::packet;

/// The greeting: a server that speaks as the session does, but without TLS, and content with any password.
pub(super) fn greeting(spoken: Capabilities) -> Vec<u8> {
    let [a, b, c, d] = (spoken & !NOT_THE_DRIVERS).to_le_bytes();
    let mut greeting = vec![VERSION_10];
    greeting.extend_from_slice(VERSION);
    greeting.push(0);
    greeting.extend_from_slice(&[0; 4]);
    greeting.extend_from_slice(&[NONCE; 8]);
    let [status, _] = AUTOCOMMIT.to_le_bytes();
    greeting.extend_from_slice(&[0, a, b, UTF8MB4, status, 0, c, d, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(&[NONCE; 12]);
    greeting.extend_from_slice(b"\0mysql_native_password\0");
    packet::frame(0, &greeting)
}

/// What its answer to that is answered with: no rows, no id, the status, no warnings.
pub(super) fn welcome() -> Vec<u8> {
    let [status, _] = AUTOCOMMIT.to_le_bytes();
    packet::frame(2, &[packet::OK, 0, 0, status, 0, 0, 0])
}

/// Those that the driver has no part in: the login's, and what it does not ask for.
const NOT_THE_DRIVERS: Capabilities = SSL | CONNECT_ATTRS | CONNECT_WITH_DB | SESSION_TRACK;
/// The driver only looks whether it is one.
const VERSION: &[u8] = b"8.0.0";
/// Nothing is scrambled with it; zero would end it.
const NONCE: u8 = b'x';

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::WANTED;
    use crate::greeting::Greeting;

    #[test]
    fn the_drivers_greeting_can_all_but_what_the_login_alone_needs() {
        let Some(Greeting::Welcome(seen)) = Greeting::parse(&greeting(WANTED)[packet::HEADER..]) else {
            panic!("no greeting")
        };
        assert_eq!((seen.nonce.len(), seen.plugin.as_str()), (20, "mysql_native_password"));
        assert_eq!(seen.capabilities & NOT_THE_DRIVERS, 0);
        assert_eq!(seen.capabilities | NOT_THE_DRIVERS, WANTED);
        assert_eq!(welcome()[..5], [7, 0, 0, 2, packet::OK]);
    }
}
