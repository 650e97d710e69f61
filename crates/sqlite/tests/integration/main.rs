//! The embedded engine on real files, through the seam as core uses it.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

mod connecting;
mod describing;
mod failing;
mod fixture;
mod values;
mod writing;
