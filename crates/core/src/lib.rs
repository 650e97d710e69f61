//! The heart of lambda-rds: from the bytes of one event to the bytes of one reply, and everything around a
//! database connection that lives, waits or fails on the way.
//!
//! ```text
//! bytes ─▶ event ─▶ call ─▶ plan ─▶ session ─▶ rows ─▶ JSON body ─▶ reply
//! ```
//!
//! One direction, each step a module with one public type in and one out. The front half ([`event`],
//! [`queries`], [`reply`]) is pure: no I/O, no clock, no driver. Engines plug in behind [`backend`].

pub mod answers;
pub mod app;
pub mod backend;
pub mod check;
pub mod config;
pub mod connect;
pub mod credentials;
#[cfg(feature = "sea-orm")]
pub mod db;
pub mod deadline;
pub mod describe;
pub mod diagnose;
pub mod error;
pub mod event;
mod execute;
pub mod form;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod observe;
pub mod once;
pub mod openapi;
mod page;
pub mod queries;
pub mod reply;
pub mod retry;
pub mod rows;
mod schema;
pub mod stream;
pub mod tools;
pub mod value;

#[cfg(feature = "sea-orm")]
pub use db::Db;
#[cfg(feature = "sea-orm")]
pub use sea_orm;
