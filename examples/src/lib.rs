//! A small shop: products, and orders that take from their stock. The functions in `bin` share it.
//!
//! | binary | shows |
//! |---|---|
//! | `entities` | a function with SeaORM's entities and one transaction |
//! | `beside_queries` | the named queries of `queries/`, and an event of one's own beside them |
//! | `migrate` | a function that migrates the schema, one at a time |
//!
//! `tests/without_aws.rs` tests [`orders::place`] on SQLite, without AWS and without a server.

#[cfg(doctest)]
#[doc = include_str!("../../docs/how-to/library.md")]
mod guide {}

pub mod orders;
