//! The embedded engine on real files, through the seam as core uses it.

mod connecting;
mod describing;
mod failing;
mod fixture;
mod values;
mod writing;
