//! `cargo xtask order`: writes `xtask/hot.ld`, by which lld puts the functions that a cold start, a read and a batch execute
//! beside each other.
//!
//! They are half of the code, and stand everywhere in it. The kernel maps pages of an executable by sixteen, so that without
//! an order nearly all of it is read at a cold start and counts as memory. Those of a read come first, a quarter of them: so a
//! warm call touches fewer pages, which a processor that has done something else since must find again. A function that is
//! not in the list is only further away, so the list need not be of today; names are without the hashes that change with
//! each version.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder with callgrind's counts, as the bench's section `instructions` keeps them
    #[arg(value_name = "FOLDER")]
    counts: PathBuf,
}

/// Reads what was executed, and writes the script.
pub(crate) fn order(workspace: &Path, options: &Options) -> Result<()> {
    let mut hot = BTreeMap::new();
    for entry in fs::read_dir(&options.counts)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let heat = Heat::of(&path.to_string_lossy());
        for name in executed(&text).map(without_hashes) {
            hot.entry(name).and_modify(|known: &mut Heat| *known = heat.min(*known)).or_insert(heat);
        }
    }
    ensure!(hot.len() > 1_000, "no names there: was the executable stripped?");
    fs::write(script(workspace), text(&hot))?;
    println!("{} functions", hot.len());
    Ok(())
}

/// How often what a file counts is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heat {
    /// A small read: what nearly every call is.
    Read,
    /// Many rows, or many sets.
    Large,
    /// Once in an environment.
    Start,
}

impl Heat {
    fn of(file: &str) -> Self {
        match file {
            _ if file.ends_with("-1-row") || file.ends_with("-50-rows") => Self::Read,
            _ if file.ends_with("-start") => Self::Start,
            _ => Self::Large,
        }
    }
}

/// Where the script is.
pub(crate) fn script(workspace: &Path) -> PathBuf {
    workspace.join("xtask/hot.ld")
}

/// The functions of Rust's in a file of callgrind's, which names each where it first comes: `fn=(17) _ZN4core…E`.
fn executed(counts: &str) -> impl Iterator<Item = &str> {
    let lines = counts.lines().filter(|line| line.starts_with("fn=(") || line.starts_with("cfn=("));
    let names = lines.filter_map(|line| line.split_once(") ")).map(|(_, name)| name);
    names.filter(|name| name.starts_with("_ZN") || name.starts_with("_R"))
}

/// A pattern for the symbol of whatever version. The older kind ends in a hash, in the newer each crate's name begins with one.
fn without_hashes(symbol: &str) -> String {
    if symbol.starts_with("_ZN") {
        return symbol.rfind("17h").map_or_else(|| symbol.to_owned(), |at| format!("{}17h*", &symbol[..at]));
    }
    // Behind the name, a number of the compiler's where there are several of it, and callgrind's for a recursion.
    let symbol = symbol.split(['.', '\'']).next().unwrap_or_default();
    let mut pattern = String::new();
    let mut parts = symbol.split("Cs");
    pattern.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_once('_') {
            Some((hash, rest)) if hash.chars().all(|c| c.is_ascii_alphanumeric()) => {
                pattern.push_str("Cs*_");
                pattern.push_str(rest);
            }
            _ => {
                pattern.push_str("Cs");
                pattern.push_str(part);
            }
        }
    }
    pattern
}

/// A function is a section of its own, `.text.NAME`, or `.text.unlikely.NAME` where its author said that it is cold; with
/// `.NUMBER` behind it where there are several of one name.
fn text(hot: &BTreeMap<String, Heat>) -> String {
    let mut ordered: Vec<(&str, Heat)> = hot.iter().map(|(name, heat)| (name.as_str(), *heat)).collect();
    // Stable: by name among those of one heat, which keeps crates together.
    ordered.sort_by_key(|(_, heat)| *heat);
    let mut text =
        String::from("/* From `cargo xtask order`: do not edit. */\nSECTIONS {\n  .text.hot : {\n");
    for (pattern, _) in ordered {
        text.push_str("    *(\".text*.");
        text.push_str(pattern);
        if !pattern.ends_with('*') {
            text.push_str("\" \".text*.");
            text.push_str(pattern);
            text.push_str(".*");
        }
        text.push_str("\")\n");
    }
    text.push_str("  }\n} INSERT BEFORE .text;\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_executed_is_found_in_whatever_version() {
        let counts = "ob=(1) /bootstrap\nfn=(1) _ZN5tokio4poll17h0123456789abcdefE\n16 3\ncfn=(2) malloc\ncalls=1 0\n\
                      cfn=(3) _RNvNtCs6d7GoaNTBIz_3std2fs4read\nfn=(1)\nfn=(4) _ZN3fmt17h0123456789abcdefE.llvm.17\n\
                      fn=(5) _RNvCs1_3std4read.5348\nfn=(6) _RNvCs1_3std4sort'2";
        let found: Vec<_> = executed(counts).map(without_hashes).collect();
        assert_eq!(
            found,
            [
                "_ZN5tokio4poll17h*",
                "_RNvNtCs*_3std2fs4read",
                "_ZN3fmt17h*",
                "_RNvCs*_3std4read",
                "_RNvCs*_3std4sort",
            ]
        );
    }

    #[test]
    fn the_list_is_the_one_that_links() {
        let hot = BTreeMap::from([
            ("_RNvCs*_1a".to_owned(), Heat::of("postgres-lambda-rds-start")),
            ("_RNvCs*_1b".to_owned(), Heat::of("postgres-lambda-rds-1000-sets")),
            ("_ZN1a17h*".to_owned(), Heat::of("mysql-lambda-rds-1-row")),
        ]);
        let text = text(&hot);
        let at = |name: &str| text.find(name);
        assert!(at("_ZN1a17h*") < at("Cs*_1b") && at("Cs*_1b") < at("Cs*_1a"), "{text}");
        assert!(text.contains("\n    *(\".text*._ZN1a17h*\")\n"), "{text}");
        assert!(text.contains("\n    *(\".text*._RNvCs*_1b\" \".text*._RNvCs*_1b.*\")\n"), "{text}");
        let kept = fs::read_to_string(script(&crate::workspace().unwrap())).unwrap();
        assert!(kept.ends_with("  }\n} INSERT BEFORE .text;\n"), "{kept:.100}");
        assert!(kept.lines().count() > 1_000);
    }
}
