//! From an endpoint to a leased session: the life of a connection.
//!
//! [`dial`] opens the TCP connection, [`tls`] encrypts it with exactly the roots we trust, [`relay`] hands it to
//! the driver through a private socket and keeps an eye on the wire, [`guard`] keeps rows out that are too large to be
//! held, and [`sessions`] opens, lends, checks and replaces the sessions that an engine makes of it.

pub mod dial;
pub mod door;
pub mod guard;
pub mod live;
pub mod relay;
pub mod sessions;
pub mod tls;
pub mod wire;
