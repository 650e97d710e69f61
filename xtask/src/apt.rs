//! Packages of the distribution, downloaded and unpacked without installing them: apt with its lists, cache and
//! status in a folder of ours, so that it works without being root and leaves the system as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{on_path, run};

/// Downloads a package with everything that it depends on and unpacks it all into `target`. `home` takes apt's
/// own files, which stay for the next package.
///
/// The sources and keys are the system's own; with a `suite`, that suite of the distribution from the system's own
/// mirror. The status says that nothing is installed, so the dependencies come along, whatever the machine has.
/// The C library is left out: it must fit the machine's loader, and whatever the same sources bring is built
/// against the one that the machine has. Another suite's is not, so it comes with its own loader.
///
/// # Errors
/// If there is no apt, or it cannot get the package.
pub(crate) fn unpack(package: &str, suite: Option<&str>, home: &Path, target: &Path) -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        ensure!(on_path(program).is_some(), "there is no {program} here: install the package yourself");
    }
    let folder = home.join(suite.unwrap_or("apt"));
    let lists = folder.join("state/lists/partial");
    let archives = folder.join("cache/archives");
    if archives.exists() {
        fs::remove_dir_all(&archives)?;
    }
    for needed in [&lists, &archives.join("partial")] {
        fs::create_dir_all(needed).with_context(|| format!("cannot create {}", needed.display()))?;
    }
    let folder = folder.canonicalize()?;
    fs::write(folder.join("status"), "")?;
    let config = folder.join("apt.conf");
    let mut text = settings(&folder.display().to_string());
    if let Some(suite) = suite {
        let sources = folder.join("sources.list");
        fs::write(&sources, source(suite)?)?;
        text.push_str(&format!(
            "Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\n",
            sources.display()
        ));
    }
    fs::write(&config, text)?;

    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.arg("--config-file").arg(&config).arg("-qq").args(arguments);
        run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // A source that does not answer need not be the one that has the package; the download tells.
    let updated = apt(&["update"]);
    let downloaded = apt(&["install", "--download-only", "--no-install-recommends", "--yes", package]);
    match (updated, downloaded) {
        (_, Ok(())) => {}
        (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
    }

    for file in fs::read_dir(&archives)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".deb") && (suite.is_some() || !name.starts_with("libc6_")) {
            run(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(target))?;
        }
    }
    fs::remove_dir_all(&archives)?;
    Ok(())
}

/// The folder with a package of the system's own sources, unpacked on first use below `home`.
///
/// # Errors
/// Those of [`unpack`].
pub(crate) fn unpacked(package: &str, home: &Path) -> Result<PathBuf> {
    let unpacked = home.join("unpacked");
    if !unpacked.exists() {
        println!("{package}: getting the package into {}", home.display());
        // Renamed when complete, so that an interrupted download is made again.
        let unfinished = home.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        unpack(package, None, home, &unfinished)?;
        fs::rename(&unfinished, &unpacked)?;
    }
    Ok(unpacked)
}

/// The line of a suite, at the mirror that the system itself has the distribution from.
fn source(suite: &str) -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(SITE) $(SIGNED_BY)",
        "Created-By: Packages",
        "Component: main",
    ]);
    let found = targets.output().context("cannot start apt-get")?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    // Security updates have a mirror of their own, without the other suites. An unset option is shown as it is.
    let line = text.lines().find(|line| !line.contains("security"));
    let (site, key) = line.and_then(|line| line.split_once(' ')).context("apt has no source")?;
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let key = match key {
        key if key.starts_with('/') => key,
        _ if Path::new(keyring).exists() => keyring,
        _ => return Ok(format!("deb {site} {suite} main\n")),
    };
    Ok(format!("deb [signed-by={key}] {site} {suite} main\n"))
}

/// Read after the system's own configuration, whose hooks would touch the system's caches.
fn settings(folder: &str) -> String {
    format!(
        "#clear APT::Update;\n\
         #clear DPkg;\n\
         Dir::State \"{folder}/state\";\n\
         Dir::State::status \"{folder}/status\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Acquire::Languages \"none\";\n\
         // apt's own unprivileged user may not be able to reach the folder.\n\
         APT::Sandbox::User \"root\";\n"
    )
}
