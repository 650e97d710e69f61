//! What a Linux executable needs of the machine that it will run on.

use std::fmt;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};

/// A version of the GNU C library, as its symbols carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Glibc {
    /// Amazon Linux 2023, which is under `provided.al2023`, has this one.
    pub const OF_LAMBDA: Self = Self { major: 2, minor: 34, patch: 0 };

    /// The oldest one that a Python wheel can say that it needs, and that Rust's standard library runs on.
    pub const OLDEST_OF_WHEELS: Self = Self { major: 2, minor: 17, patch: 0 };

    /// Its two numbers.
    #[must_use]
    pub fn version(self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// Of a symbol version like `GLIBC_2.34`; `None` for other libraries' versions.
    ///
    /// A mark without a number (`GLIBC_PRIVATE`, `GLIBC_ABI_DT_RELR`) counts as newer than every version: the
    /// marks that a linker writes today came after 2.34, and the private ones fit one build of glibc only.
    #[must_use]
    pub fn of_symbol(version: &str) -> Option<Self> {
        let number = version.strip_prefix("GLIBC_")?;
        let mut parts = number.split('.').map(str::parse::<u32>);
        let unknown = Self { major: u32::MAX, minor: 0, patch: 0 };
        Some(match (parts.next(), parts.next(), parts.next().unwrap_or(Ok(0)), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Ok(patch), None) => Self { major, minor, patch },
            _ => unknown,
        })
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { major: u32::MAX, .. } => f.write_str("one newer than 2.34"),
            Self { major, minor, patch: 0 } => write!(f, "{major}.{minor}"),
            Self { major, minor, patch } => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// What an executable or a library needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The processor, in the words of `--arch`; `None` for one that Lambda does not have.
    pub arch: Option<&'static str>,
    /// The newest glibc of any symbol; `None` where glibc is not used.
    pub glibc: Option<Glibc>,
    /// The loader that the kernel starts, as a path; none of a library.
    pub loader: Option<String>,
    /// The names of the libraries that the loader looks for.
    pub libraries: Vec<String>,
}

impl Needs {
    /// Reads the header and the symbol versions (`.gnu.version_r`) of an executable.
    ///
    /// # Errors
    /// If the bytes are no 64-bit ELF file.
    pub fn of(executable: &[u8]) -> Result<Self> {
        let header =
            FileHeader64::<Endianness>::parse(executable).context("the executable is no 64-bit ELF file")?;
        let endian = header.endian()?;
        let arch = match header.e_machine(endian) {
            EM_X86_64 => Some("x86_64"),
            EM_AARCH64 => Some("arm64"),
            _ => None,
        };
        let sections = header.sections(endian, executable)?;
        let mut glibc = None;
        if let Some((mut libraries, names)) = sections.gnu_verneed(endian, executable)? {
            let names = sections.strings(endian, executable, names)?;
            while let Some((_, mut versions)) = libraries.next()? {
                while let Some(version) = versions.next()? {
                    let name = version.name(endian, names)?;
                    glibc = glibc.max(Glibc::of_symbol(&String::from_utf8_lossy(name)));
                }
            }
        }
        let loader = match sections.section_by_name(endian, b".interp") {
            Some((_, section)) => Some(text(
                section.data(endian, executable)?.split(|&byte| byte == 0).next().unwrap_or_default(),
            )),
            None => None,
        };
        let dynamic = sections.dynamic_table(endian, executable)?;
        let needed = dynamic.iter().filter(|entry| entry.tag == DT_NEEDED);
        let libraries = needed.map(|entry| Ok(text(dynamic.string(entry)?))).collect::<Result<_>>()?;
        Ok(Self { arch, glibc, loader, libraries })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_versions_compare_by_number() {
        let check = |symbol: &str, shown: &str, runs_in_lambda: bool| {
            let version = Glibc::of_symbol(symbol).unwrap();
            assert_eq!(version.to_string(), shown, "{symbol}");
            assert_eq!(version <= Glibc::OF_LAMBDA, runs_in_lambda, "{symbol}");
        };
        check("GLIBC_2.2.5", "2.2.5", true);
        check("GLIBC_2.9", "2.9", true);
        check("GLIBC_2.34", "2.34", true);
        check("GLIBC_2.34.1", "2.34.1", false);
        check("GLIBC_2.39", "2.39", false);
        check("GLIBC_ABI_DT_RELR", "one newer than 2.34", false);
        check("GLIBC_PRIVATE", "one newer than 2.34", false);
        assert_eq!(Glibc::of_symbol("GCC_3.0"), None);
    }

    #[test]
    fn this_very_test_is_read() {
        let needs = Needs::of(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        let arch = if cfg!(target_arch = "x86_64") { "x86_64" } else { "arm64" };
        assert_eq!(needs.arch, Some(arch));
        assert!(needs.glibc >= Glibc::of_symbol("GLIBC_2.2.5"), "{needs:?}");
        assert!(needs.libraries.iter().any(|library| library == "libc.so.6"), "{needs:?}");
        assert!(
            needs.loader.as_ref().is_some_and(|loader| std::path::Path::new(loader).is_file()),
            "{needs:?}"
        );
    }

    #[test]
    fn something_else_is_refused() {
        let error = Needs::of(b"#!/bin/sh\n").unwrap_err();
        assert_eq!(error.to_string(), "the executable is no 64-bit ELF file");
    }
}
