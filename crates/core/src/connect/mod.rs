//! From an endpoint to a leased session: the life of a connection.
//!
//! [`dial`] opens the TCP connection and [`tls`] encrypts it with exactly the roots we trust; [`wire`] moves bytes over it
//! both ways. An engine's protocol speaks on that, and is a session with what all engines have in common: [`live`].
//! [`sessions`] opens, lends, checks and replaces them; `places` are what a server has for them. `door` lets sea-orm's driver in, for code of one's own.

pub mod dial;
#[cfg(feature = "sea-orm")]
pub mod door;
pub mod live;
mod places;
pub(crate) mod roots;
pub mod sessions;
pub mod tls;
pub mod wire;
