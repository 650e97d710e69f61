//! The C library of an image: the loader, and the libraries that it finds for the function.
//!
//! They are this machine's, as those of other images are their distribution's; those of the other processor are those that
//! its cross compiler links with, unpacked into a folder of the workspace where the machine has none. A static executable
//! would need none, but it would be another one than that of the zip, with another allocator and another resolver than what
//! was measured and tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lambda_rds_package::elf::Needs;
use lambda_rds_package::{Arch, Entry};

use crate::apt;

/// The files that these executables need from the system.
///
/// # Errors
/// If one is not on this machine, and cannot be had.
pub(super) fn libraries<'a>(
    workspace: &Path,
    executables: impl IntoIterator<Item = &'a [u8]>,
    arch: Arch,
) -> Result<Vec<Entry>> {
    let roots = roots(workspace, arch);
    let mut found = BTreeMap::new();
    let mut wanted = Vec::new();
    for executable in executables {
        let needs = Needs::of(executable)?;
        wanted.extend(needs.loader);
        wanted.extend(needs.libraries);
    }
    while let Some(name) = wanted.pop() {
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        if found.contains_key(&name) {
            continue;
        }
        let (place, file) = locate(&name, arch, &roots)?;
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        wanted.extend(Needs::of(&bytes).with_context(|| file.display().to_string())?.libraries);
        found.insert(name, Entry::program(place, bytes));
    }
    let mut entries: Vec<Entry> = found.into_values().collect();
    // Names are looked up as Lambda's own images do: it writes the files of `/etc` that this speaks of.
    entries.push(Entry::file("etc/nsswitch.conf", "hosts: files dns\n"));
    // Their licences, where the distribution has them.
    for package in ["libc6", "libgcc-s1"] {
        let file = format!("usr/share/doc/{package}/copyright");
        if let Ok(text) = fs::read(Path::new("/").join(&file)) {
            entries.push(Entry::file(file, text));
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Looks whether images for a processor could be made here.
///
/// # Errors
/// If a library that every one of ours needs is not on this machine, and cannot be had.
pub(super) fn at_hand(workspace: &Path, arch: Arch) -> Result<()> {
    let roots = roots(workspace, arch);
    for name in ["libc.so.6", "libgcc_s.so.1"] {
        locate(name, arch, &roots)?;
    }
    Ok(())
}

/// The folders that have the processor's libraries in the place that a distribution gives them: the root of this machine,
/// or where packages are unpacked in the workspace.
fn roots(workspace: &Path, arch: Arch) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/")];
    let cross = format!("usr/{}-linux-gnu/lib/libgcc_s.so.1", arch.machine());
    if std::env::consts::ARCH != arch.machine() && !Path::new("/").join(&cross).is_file() {
        let home = workspace.join("target/release-libc");
        let unpacked = home.join(arch.name());
        if !unpacked.join(&cross).is_file() {
            let package = match arch {
                Arch::X86 => "libgcc-s1-amd64-cross",
                Arch::Arm => "libgcc-s1-arm64-cross",
            };
            if let Err(error) = apt::unpack(package, None, &home, &unpacked) {
                println!("The package {package} cannot be had: {error:#}");
            }
        }
        roots.push(unpacked);
    }
    roots
}

/// Where the image has a library, and where one of these roots does.
fn locate(name: &str, arch: Arch, roots: &[PathBuf]) -> Result<(String, PathBuf)> {
    let machine = arch.machine();
    let home = std::env::consts::ARCH == machine;
    // The loader of the executable is named by its path, and in this folder on every distribution.
    let loader = name.starts_with("ld-linux");
    let folders = if loader && machine == "x86_64" {
        vec!["lib64".to_owned()]
    } else if loader {
        vec!["lib".to_owned()]
    } else {
        let debian = [format!("lib/{machine}-linux-gnu"), format!("usr/lib/{machine}-linux-gnu")];
        debian.into_iter().chain(["lib64", "usr/lib64", "lib", "usr/lib"].map(str::to_owned)).collect()
    };
    // Another processor's library comes with the cross compiler for it.
    let cross = format!("usr/{machine}-linux-gnu/lib");
    roots
        .iter()
        .flat_map(|root| folders.iter().map(move |folder| (root, folder)))
        .map(|(root, folder)| {
            let file = root.join(if home { folder } else { &cross }).join(name);
            (format!("{folder}/{name}"), file)
        })
        .find(|(_, file)| file.is_file())
        .with_context(|| {
            format!(
                "no {name} for {} on this machine, which an image needs: install the GNU cross compiler of the \
                 processor, or leave its images out with --without-images {}",
                arch.name(),
                arch.name()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_all_that_it_needs_are_found() {
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        let entries = libraries(Path::new("nowhere"), [this.as_slice()], Arch::this().unwrap()).unwrap();
        let has = |part: &str| entries.iter().any(|entry| entry.name.contains(part));
        assert!(has("/ld-linux") && has("/libc.so.6") && has("/libgcc_s.so.1") && has("etc/nsswitch.conf"));
        assert!(entries.is_sorted_by(|a, b| a.name < b.name), "once each, in order");
    }

    #[test]
    fn what_the_machine_lacks_is_told_with_the_way_out() {
        let error = locate("libnothing.so.1", Arch::Arm, &[PathBuf::from("/")]).unwrap_err().to_string();
        assert!(error.contains("--without-images arm64"), "{error}");
    }
}
