//! The public items of the crates that others build on, in one file under review: what changes there is what their
//! users notice.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What `cargo xtask api` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the file anew instead of comparing with it
    #[arg(long)]
    update: bool,
}

/// Compares the public items with those in the file, or writes them there.
///
/// # Errors
/// If they differ, each difference named.
pub(crate) fn api(workspace: &Path, options: &Options) -> Result<()> {
    document(workspace)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let mut found = String::from(HEAD);
    for package in PACKAGES {
        writeln!(found, "\n# {package}\n")?;
        for item in items(&target.join("doc").join(format!("{}.json", package.replace('-', "_"))))? {
            writeln!(found, "{item}")?;
        }
    }
    let file = workspace.join(FILE);
    if options.update {
        return std::fs::write(&file, found).with_context(|| format!("cannot write {}", file.display()));
    }
    let known = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let differences = differences(&known, &found);
    if differences.is_empty() {
        println!("the public items are those of {FILE}");
        return Ok(());
    }
    bail!(
        "the public items are not those of {FILE}:\n{differences}\
         If that is meant, say it in CHANGELOG.md and run `cargo xtask api --update`"
    )
}

/// Has rustdoc write JSON, for the whole workspace: chosen one by one, each package would have its dependencies built
/// anew, with other features. The examples are there for the same reason: they bring what only tests depend on, and the
/// dependencies have the features with which `.ci/run` has examined them already.
fn document(workspace: &Path) -> Result<()> {
    let mut cargo = crate::cargo();
    cargo.current_dir(workspace).args([
        "doc",
        "--quiet",
        "--locked",
        "--workspace",
        "--no-deps",
        "--lib",
        "--examples",
    ]);
    // JSON is not stable yet. Only rustdoc is told that it may use it: told to all, every crate would be built anew.
    cargo.env("RUSTDOC", workspace.join("xtask/rustdoc-json"));
    cargo.env("RUSTDOCFLAGS", "-Zunstable-options --output-format json");
    crate::run(&mut cargo)
}

/// A crate's public items, one per line, sorted.
fn items(json: &Path) -> Result<Vec<String>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("cannot read {}", json.display()))?;
    Ok(api.items().map(ToString::to_string).collect())
}

/// The lines that only one of the two has.
fn differences(known: &str, found: &str) -> String {
    let mut differences = String::new();
    let mut only = |sign: char, these: &str, those: &str| {
        let those: std::collections::HashSet<&str> = those.lines().collect();
        for line in these.lines().filter(|line| !those.contains(line)) {
            differences.push_str(&format!("{sign} {line}\n"));
        }
    };
    only('-', known, found);
    only('+', found, known);
    differences
}

const FILE: &str = "public-api.txt";
const PACKAGES: [&str; 6] = [
    "lambda-rds",
    "lambda-rds-core",
    "lambda-rds-postgres",
    "lambda-rds-mysql",
    "lambda-rds-sqlite",
    "lambda-rds-aurora",
];
const HEAD: &str =
    "# The public items of the crates that others build on. Made by `cargo xtask api --update`.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_on_both_sides() {
        let check = |known, found, expected| assert_eq!(differences(known, found), expected);
        check("a\nb\n", "a\nb\n", "");
        check("a\nb\n", "b\nc\n", "- a\n+ c\n");
    }
}
