//! `cargo xtask page`: the page of `lambda-rds serve` in a real browser.
//!
//! Chromium, headless: Debian's own, unpacked into `target` where the machine has none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::clients::Node;
use crate::openapi::{COMMAND, built, started};
use crate::{apt, on_path, run, servers};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Put the picture that is taken on the way into the documentation
    #[arg(long)]
    update: bool,
}

/// Calls the queries from the page.
pub(crate) fn page(workspace: &Path, options: &Options) -> Result<()> {
    let servers = servers::ready(workspace, false)?;
    let target = workspace.join("target/page");
    let node = Node::with(&target.join("node"), &["playwright-core@1.65.1"])?;
    let browser = browser(&target.join("chromium"))?;
    let [command, sample] = built(workspace, [COMMAND, "sample_postgres"])?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let queries = folder.path().join("queries");
    fs::create_dir(&queries)?;
    fs::copy(workspace.join("queries/users.sql"), queries.join("users.sql"))?;
    fs::copy(workspace.join("xtask/openapi/every.sql"), queries.join("every.sql"))?;
    fs::copy(workspace.join("xtask/clients/queries.sql"), queries.join("queries.sql"))?;
    fs::copy(workspace.join("xtask/page/queries.sql"), queries.join("page.sql"))?;
    // Modules are looked for beside the script.
    fs::copy(workspace.join("xtask/page/browser.mjs"), node.folder.join("browser.mjs"))?;

    let mut sample = Command::new(sample);
    sample.arg(workspace.join("xtask/openapi/schema.sql")).arg(workspace.join("xtask/clients/schema.sql"));
    sample.env(servers::FOLDER_VARIABLE, servers);
    let (mut server, settings) = started(sample.stdin(Stdio::piped()))?;
    let tried = || -> Result<()> {
        let mut serve = Command::new(&command);
        serve.current_dir(folder.path()).env_clear().env("HOME", folder.path());
        serve.envs(settings.iter().filter_map(|(name, value)| Some((name, value.as_str()?))));
        serve.args(["serve", "--listen", "0", "--json", "--quiet"]);
        serve.args(["--claim", "sub=01234567-89ab-cdef-0123-456789abcdef"]);
        serve.args(["--claims", r#"{"groups": ["staff"]}"#]);
        let (_serving, announced) = started(&mut serve)?;
        let url = announced.get("url").and_then(Value::as_str).context("`serve` names no URL")?;
        let picture = target.join("page.png");
        let mut script = Command::new(&node.program);
        script.current_dir(&node.folder).env("HOME", folder.path());
        run(script.arg("browser.mjs").arg(url).arg(&browser).arg(&picture))?;
        let size = fs::metadata(&picture)?.len();
        ensure!(size < 150_000, "the picture has {size} bytes");
        if options.update {
            fs::copy(&picture, workspace.join("docs/how-to/page.png"))?;
        }
        Ok(())
    };
    let outcome = tried();
    // It ends, and its server with it, when there is nothing more to read.
    drop(server.0.stdin.take());
    let _ = server.0.wait();
    outcome
}

/// The machine's browser, or Debian's, unpacked.
fn browser(folder: &Path) -> Result<PathBuf> {
    if let Some(browser) = on_path("chromium") {
        return Ok(browser);
    }
    let script = folder.join("chromium");
    if script.is_file() {
        return Ok(script);
    }
    let unpacked = folder.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    for package in ["chromium", "fonts-dejavu-core"] {
        apt::unpack(package, None, folder, &unpacked)?;
    }
    // It looks for libraries and fonts where they would be installed. Written last, so that what was interrupted is made
    // again.
    let root = unpacked.display();
    let fonts = unpacked.join("fonts.conf");
    fs::write(
        &fonts,
        format!(
            "<fontconfig><dir>{root}/usr/share/fonts</dir><cachedir>{root}/cache</cachedir></fontconfig>\n"
        ),
    )?;
    let libraries = unpacked.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let pulse = libraries.join("pulseaudio");
    let text = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH='{}:{}' FONTCONFIG_FILE='{}'\nexec '{root}/usr/lib/chromium/chromium' \"$@\"\n",
        libraries.display(),
        pulse.display(),
        fonts.display()
    );
    fs::write(&script, text)?;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}
