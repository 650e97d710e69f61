//! The function's executable.

use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use zip::ZipArchive;

use crate::elf::{Glibc, Needs};
use crate::{Arch, Entry};

/// An executable that Lambda can run.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    bytes: Vec<u8>,
    arch: Arch,
    glibc: Glibc,
}

impl Bootstrap {
    /// The executable in these bytes, for this processor.
    ///
    /// # Errors
    /// If it is none, is for another processor, or needs a C library that Lambda does not have.
    pub fn new(bytes: Vec<u8>, arch: Arch) -> Result<Self> {
        let needs = Needs::of(&bytes)?;
        let found = needs.arch.unwrap_or("another processor");
        ensure!(found == arch.name(), "the executable is for {found}, not for {}", arch.name());
        let glibc = needs.glibc.context(
            "the executable is not linked with glibc, with which its size and start-up times were measured",
        )?;
        ensure!(
            glibc <= Glibc::OF_LAMBDA,
            "the executable needs glibc {glibc}, but Lambda has {}",
            Glibc::OF_LAMBDA
        );
        Ok(Self { bytes, arch, glibc })
    }

    /// Any bytes.
    #[cfg(test)]
    pub(crate) fn unchecked(bytes: Vec<u8>, arch: Arch) -> Self {
        Self { bytes, arch, glibc: Glibc::OF_LAMBDA }
    }

    /// The executable in this file, or in the zip that this file is: a function's, or a layer's.
    ///
    /// # Errors
    /// If it cannot be read, and those of [`Self::new`].
    pub fn read(path: &Path, arch: Arch) -> Result<Self> {
        let read = || Self::new(executable(std::fs::read(path).context("cannot read it")?)?, arch);
        read().with_context(|| path.display().to_string())
    }

    /// The processor that it is for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The newest glibc that one of its symbols needs.
    #[must_use]
    pub fn glibc(&self) -> Glibc {
        self.glibc
    }

    /// What the file holds.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file in a function's zip, or in a layer's, which Lambda unpacks at `/opt`.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry::program(NAME, self.bytes.clone())
    }
}

/// The executable of a zip, or what is no zip as it is.
fn executable(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !bytes.starts_with(b"PK\x03\x04") {
        return Ok(bytes);
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("it is no whole zip")?;
    let mut file = archive.by_name(NAME).context("the zip holds no `bootstrap`")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("it is no whole zip")?;
    Ok(bytes)
}

/// What Lambda starts.
const NAME: &str = "bootstrap";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lambda_can_run_is_taken() {
        let error = Bootstrap::new(b"#!/bin/sh\n".to_vec(), Arch::X86).unwrap_err();
        assert_eq!(error.to_string(), "the executable is no 64-bit ELF file");
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let arch = Arch::this().unwrap();
        let other = if arch == Arch::X86 { Arch::Arm } else { Arch::X86 };
        let error = Bootstrap::new(this, other).unwrap_err().to_string();
        assert_eq!(error, format!("the executable is for {}, not for {}", arch.name(), other.name()));
    }

    #[test]
    fn a_zip_is_as_good_as_the_file_in_it() {
        let zip = |entry| crate::zip(&mut [entry]).unwrap();
        assert_eq!(executable(b"ELF".to_vec()).unwrap(), b"ELF");
        assert_eq!(executable(zip(Entry::program(NAME, "ELF"))).unwrap(), b"ELF");
        let error = executable(zip(Entry::file("users.sql", ""))).unwrap_err();
        assert_eq!(error.to_string(), "the zip holds no `bootstrap`");

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("function.zip");
        std::fs::write(&file, zip(Entry::program(NAME, "ELF"))).unwrap();
        let error = format!("{:#}", Bootstrap::read(&file, Arch::X86).unwrap_err());
        assert!(error.contains("function.zip: the executable is no 64-bit ELF file"), "{error}");
    }
}
