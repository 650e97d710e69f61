//! What a release has beside executables: the sample's files, the licences, and what is inside of others'.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lambda_rds_package::{Arch, Entry, archive};
use serde_json::{Value, json};

use crate::build::answer;
use crate::cargo;

/// The files.
#[derive(Debug)]
pub(super) struct Contents {
    /// The workspace's version.
    pub(super) version: String,
    /// What a function has beside its executable.
    pub(super) function: Vec<Entry>,
    /// What registries show.
    pub(super) readme: String,
    /// Our own licences.
    pub(super) licences: Vec<Entry>,
    /// The bill of materials, in CycloneDX's JSON.
    pub(super) sbom: Vec<u8>,
    /// The licences of what is inside of others'.
    pub(super) third_party: Vec<u8>,
}

impl Contents {
    /// Those of the workspace.
    pub(super) fn of(workspace: &Path) -> Result<Self> {
        let inside = Inside::of(workspace)?;
        let licences = ["LICENSE-APACHE", "LICENSE-MIT"];
        Ok(Self {
            version: inside.version.clone(),
            function: archive::function(&workspace.join("queries"), workspace)?,
            readme: fs::read_to_string(workspace.join(README))
                .with_context(|| format!("cannot read {README}"))?,
            licences: licences
                .into_iter()
                .map(|name| Entry::read(name, &workspace.join(name)))
                .collect::<Result<_>>()?,
            sbom: inside.sbom()?,
            third_party: inside.licences()?.into_bytes(),
        })
    }

    /// All licences, under this folder.
    pub(super) fn licences(&self, folder: &str) -> Vec<Entry> {
        let others = Entry::file("THIRD-PARTY.txt", self.third_party.clone());
        let all = self.licences.iter().chain([&others]);
        all.map(|entry| Entry { name: format!("{folder}{}", entry.name), ..entry.clone() }).collect()
    }
}

/// For who gets the command without having a clone.
const README: &str = "docs/how-to/without-rust.md";

/// The packages that are linked into the function and the command, build scripts' and tests' left out.
struct Inside {
    version: String,
    packages: BTreeMap<String, Package>,
}

struct Package {
    name: String,
    version: String,
    license: String,
    /// Those that it is linked with.
    needs: Vec<String>,
    folder: std::path::PathBuf,
    /// The digest of what the registry gives; none of our own packages.
    checksum: Option<String>,
}

impl Inside {
    fn of(workspace: &Path) -> Result<Self> {
        let mut metadata = cargo();
        metadata.current_dir(workspace).args(["metadata", "--locked", "--format-version", "1"]);
        let metadata = serde_json::from_str(&answer(&mut metadata)?)?;
        let lock = fs::read_to_string(workspace.join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let mut linked = BTreeSet::new();
        for arch in [Arch::X86, Arch::Arm] {
            // With the features of what is built: metadata has those of the whole workspace, tests and examples too.
            let mut tree = cargo();
            tree.current_dir(workspace).args(["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
            tree.args(["--format", "{p}", "--target", &format!("{}-unknown-linux-gnu", arch.machine())]);
            for root in ROOTS {
                tree.args(["--package", root]);
            }
            tree.args(["--no-default-features", "--features", "lambda-rds/aurora"]);
            linked.extend(answer(&mut tree)?.lines().filter_map(name_and_version));
        }
        Self::read(&metadata, &linked, &checksums(&lock))
    }

    /// Of the workspace's packages those that are linked, and what each is linked with.
    fn read(
        metadata: &Value,
        linked: &BTreeSet<(String, String)>,
        checksums: &BTreeMap<(String, String), String>,
    ) -> Result<Self> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut packages: BTreeMap<String, Package> = list(&metadata["packages"])
            .iter()
            .map(|package| {
                let (name, version) = (word(&package["name"]), word(&package["version"]));
                let folder = Path::new(&word(&package["manifest_path"])).parent().map(Path::to_owned);
                let checksum = checksums.get(&(name.clone(), version.clone())).cloned();
                // An older notation of the same.
                let license = word(&package["license"]).replace(" / ", " OR ").replace('/', " OR ");
                let folder = folder.unwrap_or_default();
                (
                    word(&package["id"]),
                    Package { name, version, license, needs: Vec::new(), folder, checksum },
                )
            })
            .filter(|(_, package)| linked.contains(&(package.name.clone(), package.version.clone())))
            .collect();
        ensure!(packages.len() == linked.len(), "cargo's metadata and its tree have different packages");
        let root = packages.values().find(|package| package.name == ROOTS[0]);
        let version = root.with_context(|| format!("cargo's tree has no {}", ROOTS[0]))?.version.clone();
        for node in list(&metadata["resolve"]["nodes"]) {
            let id = word(&node["id"]);
            let normal = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let needs: BTreeSet<String> =
                list(&node["deps"]).iter().filter(|dep| normal(dep)).map(|dep| word(&dep["pkg"])).collect();
            let needs = needs.into_iter().filter(|id| packages.contains_key(id)).collect();
            if let Some(package) = packages.get_mut(&id) {
                package.needs = needs;
            }
        }
        Ok(Self { version, packages })
    }

    /// <https://cyclonedx.org/docs/1.6/json/>, without the time and the number of a run.
    fn sbom(&self) -> Result<Vec<u8>> {
        let component = |package: &Package| {
            let mut component = json!({
                "type": "library",
                "bom-ref": package.url(),
                "purl": package.url(),
                "name": package.name,
                "version": package.version,
                "licenses": [{"expression": package.license}],
            });
            if let Some(checksum) = &package.checksum {
                component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            }
            component
        };
        let mut packages: Vec<&Package> = self.packages.values().collect();
        packages.sort_by_key(|package| package.url());
        let needs = |package: &Package| {
            let mut needs: Vec<String> = package.needs.iter().map(|id| self.packages[id].url()).collect();
            needs.sort();
            json!({"ref": package.url(), "dependsOn": needs})
        };
        let release = format!("lambda-rds-release@{}", self.version);
        let roots: Vec<String> =
            ROOTS.iter().map(|root| format!("pkg:cargo/{root}@{}", self.version)).collect();
        let mut dependencies = vec![json!({"ref": release, "dependsOn": roots})];
        dependencies.extend(packages.iter().map(|package| needs(package)));
        let document = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": release,
                    "name": "lambda-rds",
                    "version": self.version,
                    "licenses": [{"expression": "MIT OR Apache-2.0"}],
                },
            },
            "components": packages.iter().map(|package| component(package)).collect::<Vec<_>>(),
            "dependencies": dependencies,
        });
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The licences of what is not ours, each text once.
    fn licences(&self) -> Result<String> {
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut list = String::new();
        let mut others: Vec<&Package> =
            self.packages.values().filter(|package| package.checksum.is_some()).collect();
        others.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        for package in others {
            let called = format!("{} {}", package.name, package.version);
            writeln!(list, "{called}: {}", package.license)?;
            let mut files: Vec<_> = fs::read_dir(&package.folder)
                .with_context(|| format!("cannot read the sources of {called}"))?
                .collect::<std::io::Result<Vec<_>>>()?;
            files.sort_by_key(fs::DirEntry::file_name);
            for file in files {
                let name = file.file_name().to_string_lossy().to_uppercase();
                let is_one = ["LICEN", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"];
                if is_one.iter().any(|beginning| name.starts_with(beginning)) && file.path().is_file() {
                    let text = String::from_utf8_lossy(&fs::read(file.path())?).replace("\r\n", "\n");
                    texts.entry(text.trim().to_owned()).or_default().insert(called.clone());
                }
            }
        }
        let mut all = format!("In the function and the command are, beside code of their own:\n\n{list}");
        for (text, packages) in texts {
            let packages: Vec<String> = packages.into_iter().collect();
            write!(all, "\n{}\n{}\n\n{text}\n", "-".repeat(80), packages.join(", "))?;
        }
        Ok(all)
    }
}

impl Package {
    /// <https://github.com/package-url/purl-spec>
    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// Of a line of cargo's tree: `name v1.2.3`, and what else it says.
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
}

/// What is given away.
const ROOTS: [&str; 2] = ["lambda-rds", "lambda-rds-cli"];

/// The digests that the lock file has, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|line| line.trim_end_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|package| {
            Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_inside_and_what_only_tests_need_is_not() {
        let inside = Inside::of(&crate::workspace().unwrap()).unwrap();
        let names: BTreeSet<&str> = inside.packages.values().map(|package| package.name.as_str()).collect();
        for name in ["lambda-rds-core", "lambda-rds-postgres", "lambda-rds-mysql", "rustls", "tokio", "clap"]
        {
            assert!(names.contains(name), "{name}");
        }
        for name in
            ["lambda-rds-testbed", "xtask", "insta", "rcgen", "proptest", "lambda-rds-examples", "sea-orm"]
        {
            assert!(!names.contains(name), "{name}");
        }
        for package in inside.packages.values() {
            let own = package.name.starts_with("lambda-rds");
            assert_eq!(package.checksum.is_none(), own, "{}", package.name);
            assert!(!package.license.is_empty() && !package.license.contains('/'), "{}", package.name);
        }
        assert_eq!(inside.sbom().unwrap(), inside.sbom().unwrap());
        let licences = inside.licences().unwrap();
        assert!(licences.contains("\nrustls 0."), "{}", &licences[..500]);
        assert!(licences.contains("Permission is hereby granted"));
    }
}
