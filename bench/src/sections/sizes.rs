//! How large each is: the executable, and the zip that is uploaded.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, write::DeflateEncoder};

use crate::peers::{NODE, PYTHON, Peer};
use crate::place::Place;
use crate::run::Section;

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
pub(super) fn measure(places: &[(Place, Vec<Peer>)], section: &mut Section) -> Result<()> {
    for (_, peers) in places {
        for peer in peers {
            let files = match &peer.script {
                // The interpreter is Lambda's; what it runs, and all that this needs, is in the zip.
                Some(script) => files_beside(script, &peer.name)?,
                None => vec![peer.program.clone()],
            };
            let (mut size, mut zipped) = (0, 0);
            for file in files {
                let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
                size += bytes.len();
                zipped += deflated(&bytes)?;
            }
            section.sample(peer, "", "bytes", size as f64);
            section.sample(peer, "", "zip_bytes", zipped as f64);
        }
    }
    Ok(())
}

fn files_beside(script: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let folder = script.parent().context("a script has a folder")?;
    let mut files = Vec::new();
    let mut folders = match name {
        NODE => vec![folder.to_owned()],
        PYTHON => {
            files.extend([folder.join("handler.py"), script.to_owned()]);
            let libraries = fs::read_dir(folder.join("venv/lib"))?.next().context("no libraries")??;
            vec![libraries.path().join("site-packages")]
        }
        _ => Vec::new(),
    };
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // What installs packages is not deployed, nor are compiled copies.
            if ["pip", "setuptools", "__pycache__", ".bin"].iter().any(|skipped| name == *skipped) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// As many bytes as it takes in a zip, but for the entry's header.
pub(crate) fn deflated(bytes: &[u8]) -> Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}
