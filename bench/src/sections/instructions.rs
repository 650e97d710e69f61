//! What a warm call executes in user mode, by callgrind. The same on a busy machine as on a quiet one, so a change shows
//! by a per mille. The kernel's part is not in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lambda_rds_testbed::RuntimeApi;

use super::{times, which};
use crate::peers::Peer;
use crate::place::{ACTIVE_USERS, Place, batch, some_rows, tap};
use crate::run::Section;

/// What is called, how often after a warming, and how many of the smallest unit are in it.
pub(crate) const CALLS: [(&str, u32); 4] =
    [("1 row", 400), ("50 rows", 400), ("10000 rows", 8), ("1000 sets", 8)];
const BEFORE: usize = 20;
/// callgrind is fifty times slower.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn measure(places: &[(Place, Vec<Peer>)], effort: f64, section: &mut Section) -> Result<()> {
    let version = Command::new("valgrind").arg("--version").output().context(
        "the section `instructions` needs valgrind (on Debian and Ubuntu: install valgrind), or leave it out by --only",
    )?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    section.versions.insert("valgrind".to_owned(), version);
    let valgrind = which("valgrind")?;
    for (place, peers) in places {
        // Interpreters would be counted with what they interpret.
        for peer in peers.iter().filter(|peer| peer.serves() && peer.script.is_none()) {
            count(place, peer, &valgrind, effort, section)
                .await
                .with_context(|| format!("counting the instructions of {}", peer.name))?;
        }
    }
    Ok(())
}

async fn count(
    place: &Place,
    peer: &Peer,
    valgrind: &Path,
    effort: f64,
    section: &mut Section,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let api = RuntimeApi::start()?.with_timeout(TIMEOUT);
    let file = folder.path().join("counts");
    // Where it can be spoken to.
    let doors = format!("--vgdb-prefix={}", folder.path().join("door").display());
    let function = peer
        .environment_of(valgrind, place, place.direct())
        .arg("--tool=callgrind")
        // As the linker knows them: `cargo xtask order` reads them.
        .arg("--demangle=no")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(&doors)
        .arg(&peer.program)
        .env("DB_CONNECT_TIMEOUT", "20s")
        .start(&api)?;
    tap(&function, ACTIVE_USERS).await?;
    control("--dump", function.pid(), &doors)?;
    keep(peer, "start", &PathBuf::from(format!("{}.1", file.display())))?;
    for (dump, (setting, calls)) in CALLS.into_iter().enumerate() {
        let event = match setting {
            "1 row" => some_rows(1),
            "50 rows" => ACTIVE_USERS.to_owned(),
            "10000 rows" => some_rows(10_000),
            _ => batch(1_000),
        };
        let calls = times(calls, effort.min(1.0));
        for _ in 0..BEFORE.min(calls) {
            tap(&function, &event).await?;
        }
        control("--zero", function.pid(), &doors)?;
        for _ in 0..calls {
            tap(&function, &event).await?;
        }
        control("--dump", function.pid(), &doors)?;
        let path = PathBuf::from(format!("{}.{}", file.display(), dump + 2));
        let counted = total(&fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?)?;
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        section.sample(peer, setting, "instructions", counted / calls as f64);
        keep(peer, setting, &path)?;
    }
    Ok(())
}

/// Keeps what callgrind has written, where that is wanted.
fn keep(peer: &Peer, setting: &str, dump: &Path) -> Result<()> {
    if let Some(folder) = std::env::var_os("BENCH_CALLGRIND") {
        let name = format!("{}-{}-{}", peer.engine.name(), peer.name, setting.replace(' ', "-"));
        fs::copy(dump, PathBuf::from(folder).join(name))?;
    }
    Ok(())
}

/// Tells callgrind to count anew, or to write what it has counted.
fn control(what: &str, pid: u32, doors: &str) -> Result<()> {
    let output = Command::new("callgrind_control").args([what, doors]).arg(pid.to_string()).output()?;
    ensure!(output.status.success(), "callgrind_control {what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The sum in a file of callgrind's.
fn total(text: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    Ok(line.context("callgrind wrote no sum")?.split(' ').next().unwrap_or_default().parse()?)
}
