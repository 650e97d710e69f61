//! What is measured, a module each. Within a section the peers take turns, so that whatever else the machine does
//! befalls all of them.

mod batch;
mod cold;
mod features;
mod fleet;
mod freeze;
mod instructions;
mod reconnect;
mod rows;
mod sizes;
mod warm;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::peers::{Peer, Prepared};
use crate::place::Place;
use crate::run::Section;

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sizes,
    Cold,
    Warm,
    Rows,
    Batch,
    Features,
    Instructions,
    Reconnect,
    Freeze,
    Fleet,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Sizes,
        Self::Cold,
        Self::Warm,
        Self::Rows,
        Self::Batch,
        Self::Features,
        Self::Instructions,
        Self::Reconnect,
        Self::Freeze,
        Self::Fleet,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sizes => "sizes",
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Rows => "rows",
            Self::Batch => "batch",
            Self::Features => "features",
            Self::Instructions => "instructions",
            Self::Reconnect => "reconnect",
            Self::Freeze => "freeze",
            Self::Fleet => "fleet",
        }
    }
}

/// Measures a section; `effort` multiplies the number of samples.
pub(crate) async fn measure(
    kind: Kind,
    prepared: &Prepared,
    places: &[(Place, Vec<Peer>)],
    effort: f64,
    section: &mut Section,
) -> Result<()> {
    match kind {
        Kind::Sizes => sizes::measure(places, section),
        Kind::Cold => cold::measure(places, effort, section).await,
        Kind::Warm => warm::measure(places, effort, section).await,
        Kind::Rows => rows::measure(places, effort, section).await,
        Kind::Batch => batch::measure(places, effort, section).await,
        Kind::Features => features::measure(prepared, places, effort, section).await,
        Kind::Instructions => instructions::measure(places, effort, section).await,
        Kind::Reconnect => reconnect::measure(places, effort, section).await,
        Kind::Freeze => freeze::measure(places, section).await,
        Kind::Fleet => fleet::measure(places, section).await,
    }
}

/// How often something is repeated, at least once.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a handful, from a number that a person has typed"
)]
pub(crate) fn times(full: u32, effort: f64) -> usize {
    (f64::from(full) * effort).ceil().max(1.0) as usize
}

/// A program on the PATH.
fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not on the PATH"))
}

pub(crate) use cold::PHASES;
pub(crate) use cold::start_cold;
pub(crate) use features::{Aim, Pair};
pub(crate) use instructions::CALLS as COUNTED;
pub(crate) use rows::{COUNTS as ROW_COUNTS, LARGEST};
pub(crate) use sizes::deflated;
pub(crate) use warm::round as warm_round;
