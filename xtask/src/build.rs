//! Builds the function's executable, and the command, so that Lambda's Amazon Linux 2023 can run them.
//!
//! The machine's own linker is tried first. What it makes needs the glibc of the machine, which may be newer
//! than Lambda's; then, or where there is no linker for the processor, zig links against Lambda's. zig comes
//! from PyPI into a folder of the workspace.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lambda_rds_package::elf::{Glibc, Needs};
use lambda_rds_package::{Arch, Bootstrap, Engine};
use serde_json::Value;

use crate::{cargo, on_path, run, shown};

/// cargo-zigbuild and the zig it drives. Fixed, so that the same sources give the same executable.
const ZIG: [&str; 2] = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];

/// Builds the function with one engine, in the release profile.
///
/// # Errors
/// If it does not compile, if the standard library or a linker for the processor is missing and cannot be had,
/// or if the result would not run in Lambda.
pub(crate) fn bootstrap(workspace: &Path, engine: Engine, arch: Arch) -> Result<Bootstrap> {
    let program = Program { package: "lambda-rds", name: "bootstrap", features: Some(features(engine)) };
    Bootstrap::new(program.build(workspace, arch)?, arch)
}

/// Builds the command `lambda-rds`, in the release profile.
///
/// # Errors
/// Those of [`bootstrap`].
pub(crate) fn command(workspace: &Path, arch: Arch) -> Result<Vec<u8>> {
    Program { package: "lambda-rds-cli", name: "lambda-rds", features: None }.build(workspace, arch)
}

/// This machine's processor.
///
/// # Errors
/// If Lambda has no such processor.
pub(crate) fn this_arch() -> Result<Arch> {
    Arch::this().with_context(|| format!("Lambda has no {}", std::env::consts::ARCH))
}

/// Functions that came out the same are one, also where their address is taken: nothing of ours tells functions apart by
/// it. A hundredth of the zip.
const FOLDED: &str = "-Clink-arg=-Wl,--icf=all";

/// What a cold start and a read execute is in one place: `order.rs`.
const ORDERED: [&str; 2] = ["-Clink-arg=-T", "-Clink-arg=xtask/hot.ld"];

/// What is built.
#[derive(Debug, Clone, Copy)]
struct Program {
    package: &'static str,
    /// The binary.
    name: &'static str,
    /// What cargo is told of its features.
    features: Option<[&'static str; 3]>,
}

impl Program {
    fn build(self, workspace: &Path, arch: Arch) -> Result<Vec<u8>> {
        let target = format!("{}-unknown-linux-gnu", arch.machine());
        let home = cfg!(target_os = "linux") && std::env::consts::ARCH == arch.machine();
        if !home {
            require_std(&target)?;
        }
        let local = if home { Some(cargo()) } else { cross_linker(arch, &target) };
        if let Some(mut cargo) = local {
            cargo.args(["rustc"]);
            if !home {
                cargo.args(["--target", &target]);
            }
            // rustc brings its own lld for this target, and for no other of ours.
            let lld = home && arch == Arch::X86;
            let bytes = self.compile(cargo, workspace, lld)?;
            match Needs::of(&bytes)?.glibc {
                Some(glibc) if glibc > Glibc::OF_LAMBDA => println!(
                    "This machine's linker needs glibc {glibc}, Lambda has {}: again, with zig.",
                    Glibc::OF_LAMBDA
                ),
                _ => return Ok(bytes),
            }
        }

        require_std(&target)?;
        let zig = zig(workspace)?;
        let mut cargo = Command::new(zig.join("cargo-zigbuild"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(zig).chain(std::env::split_paths(&path)))?;
        cargo.env("PATH", path).args(["zigbuild", "--target", &format!("{target}.{}", Glibc::OF_LAMBDA)]);
        self.compile(cargo, workspace, false)
    }

    /// Completes a cargo command line, runs it, and reads the executable that it names.
    fn compile(self, mut cargo: Command, workspace: &Path, lld: bool) -> Result<Vec<u8>> {
        let theirs = theirs()?;
        // Words of the user's own for the linker may be for another.
        let ours = lld && !theirs.iter().any(|flag| flag.to_string_lossy().contains("link"));
        cargo
            .args(["--release", "--locked", "--package", self.package, "--bin", self.name])
            .args(self.features.iter().flatten())
            .args(["--message-format", "json-render-diagnostics"])
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, theirs)?)
            .current_dir(workspace)
            .stdout(Stdio::piped());
        if ours {
            cargo.args(["--", FOLDED]).args(ORDERED);
        }
        let mut child = cargo.spawn().with_context(|| format!("cannot start {}", shown(&cargo)))?;
        let messages = child.stdout.take().context("cargo has no standard output")?;
        let mut executable = None;
        for line in BufReader::new(messages).lines() {
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == self.name;
            if let Some(path) = message["executable"].as_str().filter(|_| is_ours) {
                executable = Some(PathBuf::from(path));
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "{} failed ({status})", shown(&cargo));
        let path = executable.with_context(|| format!("cargo built no executable `{}`", self.name))?;
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// An engine, and nothing that only code of one's own has a use for.
fn features(engine: Engine) -> [&'static str; 3] {
    ["--no-default-features", "--features", engine.name()]
}

/// The user's own flags.
fn theirs() -> Result<Vec<OsString>> {
    Ok(match (std::env::var_os("CARGO_ENCODED_RUSTFLAGS"), std::env::var_os("RUSTFLAGS")) {
        (Some(encoded), _) if !encoded.is_empty() => vec![encoded],
        (_, Some(words)) => {
            let words = words.into_string().ok().context("RUSTFLAGS is not UTF-8")?;
            words.split_whitespace().map(OsString::from).collect()
        }
        _ => Vec::new(),
    })
}

/// The user's own flags, and those that keep this machine's folders out of the executable's panic messages: the
/// same sources then give the same bytes in every folder.
fn rustflags(workspace: &Path, theirs: Vec<OsString>) -> Result<OsString> {
    let mut flags = theirs;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let sysroot = answer(Command::new("rustc").args(["--print", "sysroot"]))?;
    let folders = [(Some(workspace.to_owned()), "."), (home, "cargo"), (Some(sysroot.into()), "rust")];
    for (folder, name) in folders {
        if let Some(folder) = folder {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(folder);
            flag.push("=");
            flag.push(name);
            flags.push(flag);
        }
    }
    // cargo's own separator: a path may hold a space.
    Ok(flags.join("\u{1f}".as_ref()))
}

/// Rust's standard library for another processor cannot be built from what is at hand.
fn require_std(target: &str) -> Result<()> {
    let folder = answer(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    ensure!(
        Path::new(&folder).is_dir(),
        "Rust's standard library for {target} is not installed. Install it with: rustup target add {target}"
    );
    Ok(())
}

/// cargo set up for a GNU cross compiler, where the machine has one for this processor.
fn cross_linker(arch: Arch, target: &str) -> Option<Command> {
    let gcc = on_path(&format!("{}-linux-gnu-gcc", arch.machine()))?;
    let target = target.replace('-', "_");
    let mut command = cargo();
    command.env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase()), &gcc);
    command.env(format!("CC_{target}"), &gcc);
    Some(command)
}

/// The folder with cargo-zigbuild and its zig, installed on first use.
fn zig(workspace: &Path) -> Result<PathBuf> {
    let folder = workspace.join("target/zig");
    let programs = folder.join("bin");
    // Written last, so that an interrupted installation is made again.
    let complete = folder.join("complete");
    let wanted = ZIG.join(" ");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    println!("Getting zig from PyPI into {}.", folder.display());
    let Some(python) = on_path("python3") else {
        bail!(
            "no linker for this build: install the GNU cross compiler of the processor (on Debian and Ubuntu \
             gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu), or python3, with which zig can be had"
        );
    };
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))
        .context("python3 cannot make a virtual environment (on Debian and Ubuntu: install python3-venv)")?;
    run(Command::new(programs.join("python3")).args(["-m", "pip", "install", "--quiet"]).args(ZIG))?;
    std::fs::write(complete, wanted)?;
    Ok(programs)
}

/// The one line that a command prints.
pub(crate) fn answer(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        shown(command),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    /// The packages that the executable is made of, as cargo tells them.
    fn packages(features: &[&str]) -> Vec<String> {
        let mut tree = cargo();
        tree.args(["tree", "--locked", "--package", "lambda-rds", "--edges", "normal", "--prefix", "none"]);
        let tree = answer(tree.args(["--format", "{p}"]).args(features)).unwrap();
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// sea-orm and sqlx, whatever part of them.
    fn foreign(packages: &[String]) -> Vec<&String> {
        let roots = ["sea-orm", "sea-query", "sea-schema", "sqlx"];
        packages.iter().filter(|name| roots.iter().any(|root| name.starts_with(root))).collect()
    }

    #[test]
    fn what_is_packed_has_no_driver_but_ours() {
        for engine in Engine::value_variants() {
            let packages = packages(&features(*engine));
            assert!(packages.iter().any(|name| name == "lambda-rds-core"), "{engine:?}: {packages:?}");
            assert_eq!(foreign(&packages), [] as [&String; 0], "{engine:?}");
        }
        // Those who take the library have them, without asking for it.
        for engine in ["postgres", "mysql"] {
            let packages = packages(&["--features", engine]);
            for name in ["sea-orm", &format!("sqlx-{engine}")] {
                assert!(packages.iter().any(|package| package == name), "{engine}: {packages:?}");
            }
        }
    }
}
