//! `cargo xtask release`: everything that a release has, made from the executables and a few files, the same bytes from
//! the same ones.
//!
//! | file | what it is |
//! |---|---|
//! | `lambda-rds-ENGINE-ARCH.zip` | the function with the sample's queries, as `cargo xtask zip` packs it |
//! | `lambda-rds-layer-ENGINE-ARCH.zip` | the function alone, for a layer: `/opt/bootstrap` |
//! | `lambda-rds-image-ENGINE-ARCH.tar` | an image of the function, into which `lambda-rds pack --image` puts queries |
//! | `lambda-rds-VERSION-ARCH-linux.tar.gz` | the command, and the functions that it packs |
//! | `lambda_rds-VERSION-py3-none-manylinux….whl` | the same for pip |
//! | `lambda-rds-VERSION-linux-ARCH.tgz` | the same for npm |
//! | `lambda-rds.cdx.json`, `THIRD-PARTY.txt` | what is inside of others' (CycloneDX), and their licences |
//! | `SHA256SUMS` | the digests of all of them |

mod check;
mod contents;
mod emulate;
mod libc;
mod npm;
mod wheel;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use lambda_rds_package::elf::{Glibc, Needs};
use lambda_rds_package::{Arch, Bootstrap, Engine, Entry, Image, archive, carried, image};
use sha2::{Digest, Sha256};

use crate::build;
use contents::Contents;

/// What a release is made of.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder that takes it; what is in it from an earlier run is removed
    #[arg(long, value_name = "DIR", default_value = "target/release-files")]
    out: PathBuf,
    /// Only these engines, with commas between them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Engine::Postgres, Engine::Mysql,
        Engine::AuroraPostgres, Engine::AuroraMysql, Engine::Aurora])]
    engines: Vec<Engine>,
    /// Only these processors, with commas between them
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Arch::X86, Arch::Arm])]
    archs: Vec<Arch>,
    /// Leave the images out for these processors, whose C library this machine may not have
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ARCHS")]
    without_images: Vec<Arch>,
    /// Build nothing in the release profile, but pack what `cargo xtask zip` has made and the command of the tests, and
    /// try all of it as somebody without Rust
    #[arg(long, conflicts_with_all = ["out", "engines", "archs", "without_images"])]
    check: bool,
    /// Make no release, but build the function with PostgreSQL for the processor that this machine has not, and have it
    /// answer in QEMU
    #[arg(long, conflicts_with_all = ["out", "engines", "archs", "without_images", "check"])]
    emulate: bool,
}

/// Makes a release, or tries one.
pub(crate) fn release(workspace: &Path, options: &Options) -> Result<()> {
    if options.check {
        return check::check(workspace);
    }
    if options.emulate {
        return emulate::emulate(workspace);
    }
    let mut built = Built::default();
    for arch in &options.archs {
        let command = build::command(workspace, *arch)?;
        let glibc = Needs::of(&command)?.glibc.context("the command is not linked with glibc")?;
        built.commands.insert(*arch, Program { bytes: command, glibc });
        for engine in &options.engines {
            let bootstrap = build::bootstrap(workspace, *engine, *arch)?;
            built.bootstraps.insert((*engine, *arch), bootstrap);
        }
        if !options.without_images.contains(arch) {
            let bootstraps = built.bootstraps.iter().filter(|((_, of), _)| of == arch);
            let libraries =
                libc::libraries(workspace, bootstraps.map(|(_, bootstrap)| bootstrap.bytes()), *arch)?;
            built.libraries.insert(*arch, libraries);
        }
    }
    let files = assemble(&built, &Contents::of(workspace)?)?;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".whl")) {
        ensure!(bytes.len() <= WHEEL, "{name} has {} bytes, and {WHEEL} are the most", bytes.len());
    }
    let out = workspace.join(&options.out);
    write(&out, &files)?;
    for (name, bytes) in &files {
        println!("{:>9}  {name}", bytes.len());
    }
    println!("in {}", options.out.display());
    Ok(())
}

/// What a wheel may have, in bytes: who installs one waits for it.
const WHEEL: usize = 15_000_000;

/// The executables that a release is made of.
#[derive(Debug, Default)]
struct Built {
    commands: BTreeMap<Arch, Program>,
    bootstraps: BTreeMap<(Engine, Arch), Bootstrap>,
    /// What an image has beside the function, where images are made.
    libraries: BTreeMap<Arch, Vec<Entry>>,
}

/// The command `lambda-rds`.
#[derive(Debug)]
struct Program {
    bytes: Vec<u8>,
    glibc: Glibc,
}

/// All files of a release, by name.
fn assemble(built: &Built, contents: &Contents) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for ((engine, arch), bootstrap) in &built.bootstraps {
        let mut function = contents.function.clone();
        function.push(bootstrap.entry());
        files.insert(archive::file_name(*engine, *arch), lambda_rds_package::zip(&mut function)?);
        let place = format!("{}-{}", engine.name(), arch.name());
        let layer = lambda_rds_package::zip(&mut [bootstrap.entry()])?;
        files.insert(format!("lambda-rds-layer-{place}.zip"), layer);
        if let Some(libraries) = built.libraries.get(arch) {
            let program = Entry::program(image::BOOTSTRAP.trim_start_matches('/'), bootstrap.bytes());
            let image = Image::new(*arch).layer(libraries)?.layer(&[program])?;
            let name = format!("lambda-rds-{}", engine.name());
            files.insert(format!("lambda-rds-image-{place}.tar"), image.archive(&name)?);
        }
    }
    let share = share(built)?;
    for (arch, command) in &built.commands {
        let kit = Kit { arch: *arch, command, share: &share, contents };
        files.insert(kit.tarball_name(), kit.tarball()?);
        files.insert(wheel::file_name(&kit), wheel::wheel(&kit)?);
        files.insert(npm::file_name(&kit), npm::package(&kit)?);
    }
    files.insert("lambda-rds.cdx.json".to_owned(), contents.sbom.clone());
    files.insert("THIRD-PARTY.txt".to_owned(), contents.third_party.clone());
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", hex(bytes))).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into_bytes());
    Ok(files)
}

/// The functions that come with the command, for every processor: where it is packed says nothing of where it will run.
/// Those for one kind of cluster alone are in the release's zips and layers, which `pack` takes as well.
fn share(built: &Built) -> Result<Vec<Entry>> {
    let archs: BTreeSet<Arch> = built.bootstraps.keys().map(|(_, arch)| *arch).collect();
    let file = |arch: Arch| {
        let functions =
            built.bootstraps.iter().filter(|((engine, of), _)| *of == arch && CARRIED.contains(engine));
        let functions = functions.map(|((engine, _), bootstrap)| (*engine, bootstrap));
        Ok(Entry::file(carried::file_name(arch), carried::write(functions)?))
    };
    archs.into_iter().map(file).collect()
}

const CARRIED: [Engine; 3] = [Engine::Postgres, Engine::Mysql, Engine::Aurora];

/// The command for a processor, and what belongs to it.
#[derive(Debug)]
struct Kit<'a> {
    arch: Arch,
    command: &'a Program,
    /// The files of `share/lambda-rds`.
    share: &'a [Entry],
    contents: &'a Contents,
}

impl Kit<'_> {
    /// The command and its share under a folder, as they are below a prefix.
    fn placed(&self, folder: &str) -> Vec<Entry> {
        let mut entries = vec![Entry::program(format!("{folder}bin/lambda-rds"), self.command.bytes.clone())];
        entries.extend(self.share.iter().map(|entry| Entry {
            name: format!("{folder}share/lambda-rds/{}", entry.name),
            ..entry.clone()
        }));
        entries
    }

    fn tarball_name(&self) -> String {
        format!("{}.tar.gz", self.tarball_folder())
    }

    fn tarball_folder(&self) -> String {
        format!("lambda-rds-{}-{}-linux", self.contents.version, self.arch.name())
    }

    fn tarball(&self) -> Result<Vec<u8>> {
        let folder = format!("{}/", self.tarball_folder());
        let mut entries = self.placed(&folder);
        entries.extend(self.contents.licences(&format!("{folder}share/doc/lambda-rds/")));
        image::gzip(&image::tar(&entries)?)
    }
}

/// Writes the files into a folder of their own.
fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    if folder.exists() {
        let made_here = folder.join("SHA256SUMS").is_file();
        ensure!(made_here, "{} is there, and no release is in it: name another with --out", folder.display());
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A release of programs that are there: this test stands for the command.
    fn built() -> Built {
        let arch = Arch::this().unwrap();
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let glibc = Needs::of(&bytes).unwrap().glibc.unwrap();
        let commands = BTreeMap::from([(arch, Program { bytes: bytes[..4096].to_vec(), glibc })]);
        let libraries = BTreeMap::from([(
            arch,
            libc::libraries(Path::new("nowhere"), [bytes.as_slice()], arch).unwrap(),
        )]);
        Built { commands, bootstraps: BTreeMap::new(), libraries }
    }

    pub(super) fn contents() -> Contents {
        Contents {
            version: "1.2.3".to_owned(),
            function: vec![Entry::file("queries/users.sql", "SELECT 1;")],
            readme: "# lambda-rds\n".to_owned(),
            licences: vec![Entry::file("LICENSE-MIT", "MIT")],
            sbom: b"{}".to_vec(),
            third_party: b"none".to_vec(),
        }
    }

    #[test]
    fn the_same_executables_give_the_same_release() {
        let files = assemble(&built(), &contents()).unwrap();
        assert_eq!(files, assemble(&built(), &contents()).unwrap());
        let sums = String::from_utf8(files["SHA256SUMS"].clone()).unwrap();
        assert_eq!(sums.lines().count(), files.len() - 1);
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            assert_eq!(sum, hex(&files[name]), "{name}");
        }
    }

    #[test]
    fn only_a_release_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "mine").unwrap();
        let files = assemble(&built(), &contents()).unwrap();
        let error = write(folder.path(), &files).unwrap_err().to_string();
        assert!(error.contains("no release is in it"), "{error}");
        let out = folder.path().join("out");
        write(&out, &files).unwrap();
        write(&out, &BTreeMap::from([("SHA256SUMS".to_owned(), Vec::new())])).unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "what was there before is gone");
    }

    #[test]
    fn all_engines_and_processors_are_made_unless_some_are_named() {
        use clap::{Parser, ValueEnum as _};
        #[derive(Debug, Parser)]
        struct Typed {
            #[command(flatten)]
            options: Options,
        }
        let typed = |words: &[&str]| Typed::parse_from(["release"].iter().chain(words)).options;
        let all = typed(&[]);
        assert_eq!((all.engines.len(), all.archs.len()), (Engine::value_variants().len(), 2));
        assert!(all.without_images.is_empty() && !all.check && !all.emulate);
        let some = typed(&["--engines", "postgres,mysql", "--archs", "x86_64"]);
        assert_eq!((some.engines.len(), some.archs), (2, vec![Arch::X86]));
    }
}
