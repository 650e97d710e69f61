//! Runs the function for the processor that this machine has not, in QEMU's user mode: it translates the function's
//! instructions, and hands its system calls to this machine's kernel. What it tells is whether the executable loads, links
//! and does its work; nothing of speed, and nothing of Lambda's own kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use lambda_rds_package::{Arch, Engine, archive};

use super::check::{Lambda, beside_a_database, path, unzip};
use super::contents::Contents;
use super::{Built, assemble, libc};
use crate::openapi::built;
use crate::{apt, build, on_path};

/// Builds the function as a release does, packs it, and has it answer from a PostgreSQL.
pub(super) fn emulate(workspace: &Path) -> Result<()> {
    let [sample, runner] = &built(workspace, ["sample_postgres", "run_function"])?;
    let arch = match build::this_arch()? {
        Arch::X86 => Arch::Arm,
        Arch::Arm => Arch::X86,
    };
    let emulator = emulator(workspace, arch)?;
    let engine = Engine::Postgres;
    let bootstrap = build::bootstrap(workspace, engine, arch)?;
    let libraries = libc::libraries(workspace, [bootstrap.bytes()], arch)?;
    let mut made = Built::default();
    made.bootstraps.insert((engine, arch), bootstrap);
    let files = assemble(&made, &Contents::of(workspace)?)?;

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let name = archive::file_name(engine, arch);
    let (zip, task, root) =
        (folder.path().join(&name), folder.path().join("task"), folder.path().join("root"));
    fs::write(&zip, &files[&name])?;
    unzip(&zip, &task)?;
    for library in libraries {
        let place = root.join(&library.name);
        fs::create_dir_all(place.parent().unwrap_or(&root))?;
        fs::write(place, &library.bytes)?;
    }
    beside_a_database(workspace, sample, |settings| {
        // The C library is looked for in this folder first, and is that of the images.
        let words = [emulator.clone(), PathBuf::from("-L"), root.clone(), task.join("bootstrap")];
        Lambda { runner, settings }.answers(&words, &[("LAMBDA_TASK_ROOT", path(&task)?)])
    })?;
    let by = build::answer(Command::new(&emulator).arg("--version"))?;
    println!("{name} answers, emulated: {}", by.lines().next().unwrap_or_default());
    Ok(())
}

/// QEMU for this processor: the machine's own, or else the distribution's package in a folder of the workspace.
fn emulator(workspace: &Path, arch: Arch) -> Result<PathBuf> {
    let name = format!("qemu-{}-static", arch.machine());
    if let Some(there) = on_path(&name) {
        return Ok(there);
    }
    let home = workspace.join("target/qemu");
    let unpacked = apt::unpacked("qemu-user-static", &home)?;
    Ok(unpacked.join("usr/bin").join(name))
}
