//! The functions that come with the command, in one file for each processor.
//!
//! Most of their code is the same, and far apart: compressed together, two take a quarter more room than one alone. It is a
//! tar in the format of xz, which the usual tools unpack as well.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use lzma_rust2::{XzOptions, XzReader, XzWriter};

use crate::{Arch, Bootstrap, Engine, Entry, image};

/// The file's name.
#[must_use]
pub fn file_name(arch: Arch) -> String {
    format!("functions-{}.tar.xz", arch.name())
}

/// The file with these functions, which are for one processor.
///
/// # Errors
/// None that depends on the functions.
pub fn write<'a>(functions: impl IntoIterator<Item = (Engine, &'a Bootstrap)>) -> Result<Vec<u8>> {
    let entries =
        functions.into_iter().map(|(engine, bootstrap)| Entry::program(engine.name(), bootstrap.bytes()));
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(FAR))?;
    writer.write_all(&image::tar(&entries.collect::<Vec<_>>())?)?;
    Ok(writer.finish()?)
}

/// Looks back over 64 MiB, and so over all of them.
const FAR: u32 = 9;

/// The function for an engine in this file; `None` if it is not among those.
///
/// # Errors
/// If the file cannot be read, and those of [`Bootstrap::new`].
pub fn read(file: &Path, engine: Engine, arch: Arch) -> Result<Option<Bootstrap>> {
    let read = || -> Result<Option<Bootstrap>> {
        let compressed = std::fs::File::open(file).context("cannot read it")?;
        let reader = XzReader::new(std::io::BufReader::new(compressed), false);
        for entry in tar::Archive::new(reader).entries()? {
            let mut entry = entry.context("it is not whole")?;
            if entry.path()?.as_os_str() == engine.name() {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).context("it is not whole")?;
                return Bootstrap::new(bytes, arch).map(Some);
            }
        }
        Ok(None)
    };
    read().with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file_name(Arch::X86));
        let functions = [Engine::Postgres, Engine::Mysql]
            .map(|engine| (engine, Bootstrap::unchecked(engine.name().as_bytes().repeat(9_999), Arch::X86)));
        let bytes = write(functions.iter().map(|(engine, bootstrap)| (*engine, bootstrap))).unwrap();
        assert_eq!(bytes, write(functions.iter().map(|(engine, bootstrap)| (*engine, bootstrap))).unwrap());
        std::fs::write(&file, &bytes).unwrap();
        // What is found is looked at, and these are no executables.
        for engine in [Engine::Postgres, Engine::Mysql] {
            let error = format!("{:#}", read(&file, engine, Arch::X86).unwrap_err());
            assert!(error.contains("x86_64.tar.xz: the executable is no 64-bit ELF file"), "{error}");
        }
        assert!(read(&file, Engine::Aurora, Arch::X86).unwrap().is_none());
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&file, Engine::Aurora, Arch::X86).is_err());

        let mut tar = Vec::new();
        XzReader::new(bytes.as_slice(), false).read_to_end(&mut tar).unwrap();
        let entries =
            functions.iter().map(|(engine, function)| Entry::program(engine.name(), function.bytes()));
        assert_eq!(tar, image::tar(&entries.collect::<Vec<_>>()).unwrap());
    }
}
