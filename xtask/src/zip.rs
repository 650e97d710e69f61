//! `cargo xtask zip`: builds the function and packs it for Lambda.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use lambda_rds_package::{Arch, Engine, archive};

use crate::build;

/// What to pack.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The engine that the function speaks to
    #[arg(long, value_enum)]
    engine: Engine,
    /// The processor of the Lambda function
    #[arg(long, value_enum)]
    arch: Arch,
    /// The folder with the function's query files
    #[arg(long, value_name = "DIR", default_value = "queries")]
    queries: PathBuf,
}

/// Builds and packs the function, and prints what came out.
pub(crate) fn zip(options: &Options) -> Result<()> {
    let workspace = crate::workspace()?;
    // Read before the build, which takes minutes: a wrong folder should be told at once.
    let mut entries = archive::function(&workspace.join(&options.queries), &workspace)?;
    let bootstrap = build::bootstrap(&workspace, options.engine, options.arch)?;
    entries.push(bootstrap.entry());

    let archive = lambda_rds_package::zip(&mut entries)?;
    let name = archive::file_name(options.engine, options.arch);
    let path = folder(&workspace).join(&name);
    fs::create_dir_all(folder(&workspace)).with_context(|| format!("cannot create {FOLDER}"))?;
    fs::write(&path, &archive).with_context(|| format!("cannot write {}", path.display()))?;

    let (size, glibc) = (bootstrap.bytes().len(), bootstrap.glibc());
    println!("bootstrap  {size:>9} bytes, {}, needs glibc {glibc}", options.arch.name());
    for entry in entries.iter().filter(|entry| entry.name != "bootstrap") {
        println!("{}", entry.name);
    }
    println!("{FOLDER}/{name}  {} bytes", archive.len());
    Ok(())
}

/// Where the zips are.
pub(crate) fn folder(workspace: &Path) -> PathBuf {
    workspace.join(FOLDER)
}

const FOLDER: &str = "target/lambda";
