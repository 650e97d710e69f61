//! Measures lambda-rds beside what people use today, interleaved in one run. Started by `cargo xtask bench`, which
//! builds and installs what is run here.
//!
//! - [`place`]: the servers, the stand-ins for AWS, the simulated network
//! - [`peers`]: who is measured
//! - [`measure`]: samples and their medians
//! - [`sections`]: what is measured, a module each
//! - [`run`]: the raw data of a run, on disk
//! - [`report`], [`cost`], [`plot`]: what is made of it
//! - [`quick`]: the short version, with limits that CI holds

mod cost;
mod measure;
mod peers;
mod place;
mod plot;
mod quick;
mod report;
mod run;
mod sections;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use crate::peers::Engine;
use crate::place::Place;
use crate::run::{Run, Section};
use crate::sections::Kind;

/// What is to be measured.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Options {
    /// The folder that `cargo xtask bench` has prepared
    #[arg(long)]
    prepared: PathBuf,
    /// The repository
    #[arg(long)]
    repository: PathBuf,
    /// The command as it was typed, for the record
    #[arg(long)]
    command: String,
    /// The name of the run: a folder in bench/runs. An old one is gone on with
    #[arg(long)]
    run: String,
    /// Only these sections: sizes,cold,warm,rows,batch,features,instructions,reconnect,freeze,fleet
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Only these engines
    #[arg(long, value_delimiter = ',')]
    engines: Vec<Engine>,
    /// Only these peers: lambda-rds,obvious,node,python,floor,hello and the names given with --build
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Another build of the function as a further peer: ENGINE:NAME=EXECUTABLE
    #[arg(long, value_name = "ENGINE:NAME=EXECUTABLE")]
    build: Vec<peers::Build>,
    /// How many samples: 1 is a full run, 0.2 a quick look
    #[arg(long, default_value_t = 1.0)]
    effort: f64,
    /// Measure nothing: only make the summary, the pages and the plots anew
    #[arg(long)]
    report: bool,
    /// Write the summary into the pages in docs/
    #[arg(long)]
    docs: bool,
    /// The short version: against bench/limits.json, nothing is written
    #[arg(long)]
    quick: bool,
    /// With --quick: write bench/limits.json from what is measured
    #[arg(long, requires = "quick")]
    accept: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let engines = if options.engines.is_empty() { Engine::ALL.to_vec() } else { options.engines.clone() };
    if options.quick {
        return quick::quick(&options.prepared, &options.repository, &engines, options.accept).await;
    }
    let folder = options.repository.join("bench/runs").join(&options.run);
    if !options.report {
        measure(&options, &engines, &folder).await?;
    }
    let run = Run::read(&folder)?;
    let summary = report::summary(&run);
    std::fs::write(folder.join("summary.md"), report::page(&run, &summary))?;
    if options.docs {
        report::write_docs(&options.repository, &run, &summary)?;
    }
    println!("{summary}");
    Ok(())
}

async fn measure(options: &Options, engines: &[Engine], folder: &std::path::Path) -> Result<()> {
    let kinds = if options.only.is_empty() { Kind::ALL.to_vec() } else { options.only.clone() };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let prepared = peers::Prepared::read(&options.prepared)?;
    let mut places = Vec::new();
    for &engine in engines {
        let mut all = prepared.peers(engine, &options.build);
        all.retain(|peer| options.peers.is_empty() || options.peers.contains(&peer.name));
        places.push((Place::start(engine).await?, all));
    }
    for kind in kinds {
        let started = Instant::now();
        let mut section = Section::new(kind, &options.command, &prepared, &places);
        let measured = sections::measure(kind, &prepared, &places, options.effort, &mut section).await;
        measured.with_context(|| {
            format!("the section `{}`; what was measured before is kept in {}", kind.name(), folder.display())
        })?;
        section.seconds = started.elapsed().as_secs_f64();
        section.write(folder)?;
        eprintln!("{}: {:.0} s", kind.name(), section.seconds);
    }
    Ok(())
}
