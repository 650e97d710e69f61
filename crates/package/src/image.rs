//! An image of a container, as an archive in the layout of OCI: <https://github.com/opencontainers/image-spec>.
//!
//! It is made without Docker: layers are put on top of each other, and written. The same layers give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{Arch, Entry};

/// An image: what a function in a container starts with, and its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    arch: Arch,
    layers: Vec<Layer>,
}

/// Files that stand over those of the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    /// As it is kept: a compressed tar.
    compressed: Vec<u8>,
    /// The digest of the tar.
    diff_id: String,
}

impl Image {
    /// An image without files, for this processor.
    #[must_use]
    pub fn new(arch: Arch) -> Self {
        Self { arch, layers: Vec::new() }
    }

    /// Puts these files over those that are there. Names have no slash in front.
    ///
    /// # Errors
    /// If a name is too long for a tar.
    pub fn layer(mut self, entries: &[Entry]) -> Result<Self> {
        let tar = tar(entries)?;
        let diff_id = digest(&tar);
        self.layers.push(Layer { compressed: gzip(&tar)?, diff_id });
        Ok(self)
    }

    /// The processor that it is for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The image as one file, which is a tar of OCI's layout. `name` is what it is called where it is loaded.
    ///
    /// # Errors
    /// None that depends on the files.
    pub fn archive(&self, name: &str) -> Result<Vec<u8>> {
        let config = json!({
            "architecture": self.arch.oci(),
            "os": "linux",
            "config": {
                "Entrypoint": [BOOTSTRAP],
                "WorkingDir": TASK_ROOT,
                "Env": ["PATH=/usr/bin:/bin", format!("LAMBDA_TASK_ROOT={TASK_ROOT}")],
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": self.layers.iter().map(|layer| layer.diff_id.as_str()).collect::<Vec<_>>(),
            },
        });
        let config = serde_json::to_vec(&config)?;
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| descriptor(LAYER, &layer.compressed)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let mut described = descriptor(MANIFEST, &manifest);
        described["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        described["platform"] = json!({"architecture": self.arch.oci(), "os": "linux"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]});

        let mut files = vec![
            Entry::file("oci-layout", serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?),
            Entry::file("index.json", serde_json::to_vec(&index)?),
        ];
        // Two layers may be one blob.
        let layers = self.layers.iter().map(|layer| layer.compressed.clone());
        let blobs: BTreeMap<String, Vec<u8>> = [config, manifest]
            .into_iter()
            .chain(layers)
            .map(|blob| (digest(&blob).replace(':', "/"), blob))
            .collect();
        files.extend(blobs.into_iter().map(|(path, blob)| Entry::file(format!("blobs/{path}"), blob)));
        tar(&files)
    }

    /// Reads what [`Self::archive`] has written.
    ///
    /// # Errors
    /// If it is another kind of file or image, or is not whole.
    pub fn read(archive: &[u8]) -> Result<Self> {
        let files = Files::of(archive)?;
        let index: Value = serde_json::from_slice(files.get("index.json")?)?;
        let manifest: Value = serde_json::from_slice(files.blob(&index["manifests"][0])?)?;
        let config: Value = serde_json::from_slice(files.blob(&manifest["config"])?)?;
        ensure!(
            config["config"]["Entrypoint"] == json!([BOOTSTRAP]),
            "it is not an image of lambda-rds: its entry point is not {BOOTSTRAP}"
        );
        let arch = [Arch::X86, Arch::Arm].into_iter().find(|arch| config["architecture"] == arch.oci());
        let arch = arch.with_context(|| format!("Lambda has no {}", config["architecture"]))?;
        let mut image = Self::new(arch);
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let compressed = files.blob(layer)?.to_vec();
            let mut tar = Vec::new();
            GzDecoder::new(compressed.as_slice()).read_to_end(&mut tar).context("a layer is broken")?;
            image.layers.push(Layer { diff_id: digest(&tar), compressed });
        }
        Ok(image)
    }
}

/// The function's executable in an image, where Lambda's own images have their runtime.
pub const BOOTSTRAP: &str = "/var/runtime/bootstrap";
/// Where an image has the queries and the configuration.
pub const TASK_ROOT: &str = "/var/task";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of an archive that is read.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(archive: &[u8]) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(Cursor::new(archive)).entries()? {
            let mut entry = entry.context("it is no archive of an image")?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).context("it is not whole")?;
            files.insert(name, bytes);
        }
        Ok(Self(files))
    }

    fn get(&self, name: &str) -> Result<&[u8]> {
        self.0
            .get(name)
            .map(Vec::as_slice)
            .with_context(|| format!("it is no archive of an image: no {name}"))
    }

    fn blob(&self, descriptor: &Value) -> Result<&[u8]> {
        let named = descriptor["digest"].as_str().context("it is no archive of an image")?;
        let blob = self.get(&format!("blobs/{}", named.replace(':', "/")))?;
        ensure!(digest(blob) == named, "it is not whole: {named} is another");
        Ok(blob)
    }
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn digest(blob: &[u8]) -> String {
    let hex: String = Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Packs files into a tar: the same ones into the same bytes. The folders come along, since not every reader makes them.
///
/// # Errors
/// If a name is too long for a tar.
pub fn tar(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut folders = BTreeSet::new();
    for entry in entries {
        folders.extend(entry.name.match_indices('/').map(|(end, _)| &entry.name[..=end]));
    }
    let mut archive = Builder::new(Vec::new());
    for folder in folders {
        append(&mut archive, folder, EntryType::Directory, 0o755, &[])?;
    }
    for entry in entries {
        append(&mut archive, &entry.name, EntryType::Regular, entry.mode, &entry.bytes)?;
    }
    Ok(archive.into_inner()?)
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name).with_context(|| format!("the name {name} does not fit into a tar"))?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(bytes.len())?);
    header.set_cksum();
    archive.append(&header, bytes)?;
    Ok(())
}

/// Compresses, and says nothing of when and where.
///
/// # Errors
/// None that depends on the bytes.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let base = Image::new(Arch::Arm).layer(&[Entry::program("var/runtime/bootstrap", "ELF")]).unwrap();
        base.layer(&[Entry::file("var/task/queries/users.sql", "SELECT 1;")]).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_image_and_it_is_read_again() {
        let archive = image().archive("shop").unwrap();
        assert_eq!(archive, image().archive("shop").unwrap());
        assert_eq!(Image::read(&archive).unwrap(), image());
    }

    #[test]
    fn what_the_specification_asks_for_is_there() {
        let archive = image().archive("shop").unwrap();
        let files = Files::of(&archive).unwrap();
        assert_eq!(files.get("oci-layout").unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index: Value = serde_json::from_slice(files.get("index.json").unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["platform"], json!({"architecture": "arm64", "os": "linux"}));
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "shop");
        let manifest: Value = serde_json::from_slice(files.blob(&index["manifests"][0]).unwrap()).unwrap();
        let config: Value = serde_json::from_slice(files.blob(&manifest["config"]).unwrap()).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/var/runtime/bootstrap"]));
        assert_eq!(config["config"]["WorkingDir"], "/var/task");

        let mut names = Vec::new();
        for (layer, diff_id) in manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
        {
            let mut tar = Vec::new();
            GzDecoder::new(files.blob(layer).unwrap()).read_to_end(&mut tar).unwrap();
            assert_eq!(digest(&tar), *diff_id);
            for entry in tar::Archive::new(Cursor::new(tar)).entries().unwrap() {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
                names.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
            }
        }
        let expected = [
            ("var/", 0o755),
            ("var/runtime/", 0o755),
            ("var/runtime/bootstrap", 0o755),
            ("var/", 0o755),
            ("var/task/", 0o755),
            ("var/task/queries/", 0o755),
            ("var/task/queries/users.sql", 0o644),
        ];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn what_is_no_image_of_ours_is_told() {
        let check = |bytes: &[u8], expected: &str| {
            let error = format!("{:#}", Image::read(bytes).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(b"no tar at all", "it is no archive of an image");
        check(&tar(&[Entry::file("a", "b")]).unwrap(), "it is no archive of an image: no index.json");
        let mut broken = image().archive("shop").unwrap();
        let at = broken.windows(4).position(|bytes| bytes == [0x1f, 0x8b, 8, 0]).unwrap();
        broken[at + 12] ^= 1;
        check(&broken, "it is not whole");
    }
}
