//! The PostgreSQL engine on a real server, through the seam as core uses it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod describing;
mod every_type;
mod fixture;
mod inference;
mod login;
mod parameters;
mod peers;
mod statements;
mod types;
