//! The command as a user runs it: arguments in; stdout, stderr and an exit code out.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

mod check;
mod docs;
mod init;
mod invoke;
mod openapi;
mod serve;
mod server;
mod user;
