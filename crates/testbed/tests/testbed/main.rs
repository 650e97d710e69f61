//! What the testbed promises to the tests that use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy takes functions that tests call for no tests"
)]

mod cleanup;
mod function;
mod proxy;
mod raw_http;
mod runtime_api;
mod secrets;
mod stalls;
