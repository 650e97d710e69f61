//! Private database servers, stand-ins for AWS at its HTTP interface, and faults on the wire.
//!
//! Only for tests. Everything starts on a free port of the loopback interface, keeps its files in a private
//! temporary folder, and is gone on drop; what is still there when the test process ends, however it ends, a
//! keeper removes. So any number of test processes may run at once, as root or not, with or without a terminal.
//!
//! - [`Postgres`]: a PostgreSQL server with TLS and SCRAM-SHA-256
//! - [`Mysql`]: the same for MySQL and MariaDB
//! - [`Cluster`]: a writer and its readers, of either, with the endpoints and the failures of Aurora
//! - [`MysqlTokens`]: stands before one of those and asks for tokens, as RDS does with IAM
//! - [`Pgbouncer`]: PgBouncer in transaction mode in front of a PostgreSQL server
//! - [`Proxy`]: stands in front of a server, counts round trips, breaks connections on demand
//! - [`RuntimeApi`] and [`Secrets`]: the Lambda Runtime API and Secrets Manager
//! - [`Function`]: the built `bootstrap`, run as Lambda would run it
//! - [`Stalls`]: what the machine takes for itself while something is measured
//! - [`certs`]: certificate authorities and server certificates, good and bad ones
//!
//! Servers and stand-ins run in processes and threads of their own, so a test may block, or use tokio's
//! current-thread runtime. Nothing here sleeps for a fixed time: every wait is for a condition, with an end.

mod background;
pub mod certs;
mod cluster;
mod folder;
mod function;
mod mysql;
mod pgbouncer;
mod postgres;
mod process;
mod proxy;
mod runtime_api;
mod secrets;
mod stalls;
mod standin;
mod tokens;

pub use cluster::{Approach, Cluster};
pub use folder::free_port;
pub use function::{Builder as FunctionBuilder, Function};
pub use mysql::{Builder as MysqlBuilder, Mysql, MysqlKind};
pub use pgbouncer::Pgbouncer;
pub use postgres::{Builder as PostgresBuilder, Certificate, Database, Login, Postgres, Stop};
pub use proxy::{After, Cut, Direction, Fault, Proxy, Unanswered};
pub use runtime_api::{
    Answer, Begun, FUNCTION_ARN, HTTP_RESPONSE, InitError, Outcome, Piece, RESPONSE_LIMIT, RuntimeApi,
    Streamed, Streaming,
};
pub use secrets::{Fault as SecretsFault, Secret, SecretRequest, Secrets};
pub use stalls::{Attempts, Stalls, unless_stalled};
pub use tokens::MysqlTokens;
