//! The command as a user runs it: arguments in; stdout, stderr and an exit code out.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

/// What the function is tested with.
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "shared with the tests of the whole function, which use more of it"
)]
#[path = "../../../../tests/function/broken.rs"]
mod broken;
mod check;
mod client;
mod docs;
mod doctor;
mod init;
mod invoke;
mod mcp;
mod openapi;
mod pack;
mod serve;
mod server;
mod tables;
mod user;
