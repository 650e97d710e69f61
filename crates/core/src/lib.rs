//! The heart of lambda-rds: from the bytes of one event to the bytes of one reply, and everything around a
//! database connection that lives, waits or fails on the way.
//!
//! ```text
//! bytes ─▶ event ─▶ call ─▶ plan ─▶ session ─▶ rows ─▶ JSON body ─▶ reply
//! ```
//!
//! One direction, each step a module with one public type in and one out. The front half ([`event`],
//! [`queries`], [`reply`]) is pure: no I/O, no clock, no driver. Engines plug in behind [`backend`].

pub mod event;
pub mod queries;
pub mod value;
pub mod backend;
pub mod config;
pub mod credentials;
pub mod connect;
mod execute;
pub mod app;
pub mod deadline;
pub mod rows;
pub mod reply;
pub mod retry;
pub mod error;
pub mod observe;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use sea_orm;
