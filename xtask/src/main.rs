//! `cargo xtask`: what is longer than one cargo command.
//!
//! Everything it fetches or makes stays in the workspace's `target` folder.

#![expect(clippy::print_stdout, reason = "a command line tool talks on its standard output")]

mod agents;
mod api;
mod apt;
mod bench;
mod build;
mod clients;
mod fuzz;
mod openapi;
mod order;
mod page;
mod release;
mod servers;
mod soak;
mod suite;
mod templates;
mod zip;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, FromArgMatches, Parser};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about = "Commands of the lambda-rds workspace")]
enum Task {
    /// Build the function and pack it for Lambda: target/lambda/lambda-rds-ENGINE-ARCH.zip
    Zip(zip::Options),
    /// Get the database servers that are missing, and run every test of the workspace
    Test {
        /// Arguments for `cargo test`, such as `-p lambda-rds-core queries::`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Show which database servers the tests will use, getting those that are missing
    Servers {
        /// Get and try private servers even where the machine has its own
        #[arg(long)]
        private: bool,
    },
    /// Measure the function beside what people use today; --help says more
    Bench(bench::Options),
    /// Compare the public items of the crates with those of public-api.txt
    Api(api::Options),
    /// Run the property tests of what reads foreign text for a long time: events, queries, configuration, the wire
    Fuzz(fuzz::Options),
    /// Judge the OpenAPI document, and call a served function with what it allows and what it does not
    Openapi(openapi::Options),
    /// Have the official clients of the Model Context Protocol list and call the tools of a function
    Agents,
    /// Set the order of the functions in the executable by what callgrind has counted
    Order(order::Options),
    /// Make everything that a release has: zips, layers, images, the command, a wheel and an npm package
    Release(release::Options),
    /// Check the types of the generated clients, and call a served function with them
    Clients,
    /// Open the page of `lambda-rds serve` in a browser, and call the queries from it
    Page(page::Options),
    /// Judge the templates for SAM and CDK by cfn-lint and `cdk synth`
    Templates,
    /// Cut the wire at random places, thousands of times on each engine: no write is lost or doubled, no read fails
    Soak(soak::Options),
}

fn main() -> Result<()> {
    // Not `Task::parse()`: its usage line would name the executable instead of the command.
    match Task::from_arg_matches(&Task::command().get_matches())? {
        Task::Zip(options) => zip::zip(&options),
        Task::Test { args } => suite::test(&workspace()?, &args),
        Task::Servers { private } => {
            servers::ready(&workspace()?, private)?;
            Ok(())
        }
        Task::Bench(options) => bench::bench(&options),
        Task::Api(options) => api::api(&workspace()?, &options),
        Task::Fuzz(options) => fuzz::fuzz(&workspace()?, &options),
        Task::Openapi(options) => openapi::openapi(&workspace()?, &options),
        Task::Order(options) => order::order(&workspace()?, &options),
        Task::Clients => clients::clients(&workspace()?),
        Task::Page(options) => page::page(&workspace()?, &options),
        Task::Templates => templates::templates(&workspace()?),
        Task::Agents => agents::agents(&workspace()?),
        Task::Release(options) => release::release(&workspace()?, &options),
        Task::Soak(options) => soak::soak(&workspace()?, &options),
    }
}

/// The workspace's root folder.
fn workspace() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().context("xtask has no folder above it")?.to_owned())
}

/// The cargo that runs us, so that its child is of the same toolchain. It hears nothing of what cargo tells a program
/// of its package: build scripts look at some of it, and whatever is above them would be built anew, here and again
/// by the next plain cargo.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Whether nobody watches, so that what is missing must fail rather than be skipped.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The first executable of this name on the PATH.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs a command to its end, its output shown.
fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "{} failed ({status})", shown(command));
    Ok(())
}

/// The command as a person would type it, without its folder and environment.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_test_reach_cargo_as_they_are() {
        let check = |typed: &[&str], expected: &[&str]| {
            let words = ["cargo xtask", "test"].iter().chain(typed);
            match Task::parse_from(words) {
                Task::Test { args } => assert_eq!(args, expected, "{typed:?}"),
                other => panic!("{typed:?} became {other:?}"),
            }
        };
        check(&[], &[]);
        check(&["value::"], &["value::"]);
        check(&["--", "-p", "lambda-rds-core"], &["-p", "lambda-rds-core"]);
        check(&["-p", "x", "--", "--nocapture"], &["-p", "x", "--", "--nocapture"]);
    }

    /// Every `cargo xtask …` of the pages, in blocks, tables and sentences, as it would be typed. Not of the changelog:
    /// what it tells of may be gone.
    #[test]
    fn the_documentation_shows_commands_that_there_are() {
        let root = workspace().unwrap();
        let mut folders = vec![root.clone()];
        let mut checked = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir()
                    && (folder != root || entry.ends_with("docs") || entry.ends_with("terraform"))
                {
                    folders.push(entry);
                } else if entry.extension() == Some(OsStr::new("md")) && !entry.ends_with("CHANGELOG.md") {
                    let page = std::fs::read_to_string(&entry).unwrap().replace("\\\n", " ");
                    for command in page.split("cargo xtask").skip(1) {
                        let end = command.find(['`', '\n', '#', '&']).unwrap_or(command.len());
                        let words: Vec<&str> = command[..end].split_whitespace().collect();
                        // A sentence may name a command without its arguments, or all of them.
                        let is_name = match words[..] {
                            [] | ["…"] => true,
                            [name] => Task::command().find_subcommand(name).is_some(),
                            _ => false,
                        };
                        let typed = Task::try_parse_from(["cargo xtask"].iter().chain(&words));
                        let page = entry.display();
                        assert!(is_name || typed.is_ok(), "{page}: cargo xtask {words:?}\n{typed:?}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 20, "{checked}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Task::command().debug_assert();
    }
}
