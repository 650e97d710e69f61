//! What client and server say they can, in the greeting and the answer to it.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html>

/// A set of them, one bit each.
pub(crate) type Capabilities = u32;

/// A database is named in the login.
pub(crate) const CONNECT_WITH_DB: Capabilities = 1 << 3;
pub(crate) const PROTOCOL_41: Capabilities = 1 << 9;
pub(crate) const SSL: Capabilities = 1 << 11;
pub(crate) const SECURE_CONNECTION: Capabilities = 1 << 15;
pub(crate) const PLUGIN_AUTH: Capabilities = 1 << 19;
/// The login says what the client is called.
pub(crate) const CONNECT_ATTRS: Capabilities = 1 << 20;
/// What answers the nonce may be longer than 255 bytes, as IAM's tokens are.
pub(crate) const PLUGIN_AUTH_LENENC_DATA: Capabilities = 1 << 21;
/// Rows that match count, also those that had the value already.
const FOUND_ROWS: Capabilities = 1 << 1;
const IGNORE_SPACE: Capabilities = 1 << 8;
const TRANSACTIONS: Capabilities = 1 << 13;
const MULTI_STATEMENTS: Capabilities = 1 << 16;
const MULTI_RESULTS: Capabilities = 1 << 17;
const PS_MULTI_RESULTS: Capabilities = 1 << 18;
/// The server tells when a setting of the session has changed.
pub(crate) const SESSION_TRACK: Capabilities = 1 << 23;
/// Rows follow their columns at once, and end with an OK.
pub(crate) const DEPRECATE_EOF: Capabilities = 1 << 24;

/// What we ask for: what the driver would (`MySqlStream::with_socket` of sqlx-mysql 0.9.0), which may speak on the session,
/// too, and to be told of settings. Several statements in one message are among it: a query never is, since what is
/// prepared is one statement whatever was agreed upon, but a transaction may begin with its settings. Files of ours are
/// not: a server that asks for one breaks the agreement.
pub(crate) const WANTED: Capabilities = FOUND_ROWS
    | CONNECT_WITH_DB
    | IGNORE_SPACE
    | PROTOCOL_41
    | SSL
    | TRANSACTIONS
    | SECURE_CONNECTION
    | MULTI_STATEMENTS
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | PLUGIN_AUTH
    | CONNECT_ATTRS
    | PLUGIN_AUTH_LENENC_DATA
    | SESSION_TRACK
    | DEPRECATE_EOF;

/// Those without which there is no login that we know.
pub(crate) const NEEDED: Capabilities = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
