//! What makes a PostgreSQL server a primary or the standby of another one.
//!
//! Standbys connect through the primary's Unix socket, which lies in its private folder: so replication needs no
//! password, and whoever else is on the machine cannot take part.

use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::{LOOK_AGAIN, PATIENCE, Postgres, SUPERUSER, Stop};
use crate::background::lock;
use crate::process;

/// The file whose presence makes a server a standby when it starts.
pub(super) const STANDBY_SIGNAL: &str = "data/standby.signal";

/// The file of the settings that change while a cluster lives. It lies beside the data folder, since that is replaced
/// when a server is built anew.
const SETTINGS: &str = "cluster.conf";

/// Read by `postgresql.conf`, whose paths count from the data folder.
pub(crate) const INCLUDE: (&str, &str) = ("include_if_exists", "../cluster.conf");

/// The setting by which a server shows that it has read its settings.
const EDITION: &str = "testbed.edition";

impl Postgres {
    /// How a standby of the name `name` reaches this server.
    pub(crate) fn conninfo(&self, name: &str) -> String {
        let folder = self.folder.path().display();
        format!("host={folder} port={} user={SUPERUSER} application_name={name}", self.port)
    }

    /// Replaces the settings that change while a cluster lives. Returns when the server, if it runs, has them;
    /// `edition` must be another one each time.
    pub(crate) fn configure(&self, settings: &[(&str, String)], edition: u64) -> Result<()> {
        let mut text = format!("{EDITION} = '{edition}'\n");
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        self.folder.write(self.account, SETTINGS, &text)?;
        {
            let server = lock(&self.server);
            let Some(running) = server.as_ref() else { return Ok(()) };
            running.signal(Signal::HUP)?;
        }
        let edition = edition.to_string();
        self.wait_until("the server to read its settings", |server| {
            Ok(server.psql(SUPERUSER, &format!("SHOW {EDITION}"))? == edition)
        })
    }

    /// Waits until `holds`, `PATIENCE` at most.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !holds(self)? {
            if Instant::now() > until {
                bail!("waited {PATIENCE:?} for {what}; the server's log:\n{}", self.log()?);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// How far a standby has received the primary's log, in bytes.
    pub(crate) fn received(&self) -> Result<u64> {
        let bytes =
            "SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')";
        Ok(self.psql(SUPERUSER, bytes)?.parse()?)
    }

    /// Ends a standby's being one. Returns when it accepts writes.
    pub(crate) fn promote(&self) -> Result<()> {
        let promoted = self.psql(SUPERUSER, &format!("SELECT pg_promote(true, {})", PATIENCE.as_secs()))?;
        ensure!(promoted == "t", "the standby was not promoted; its log:\n{}", self.log()?);
        Ok(())
    }

    /// Starts a server that was stopped in order as a standby.
    pub(crate) fn start_as_standby(&self) -> Result<()> {
        self.folder.write(self.account, STANDBY_SIGNAL, "")?;
        self.start_again()
    }

    /// Throws the data away, takes a copy of a running primary's, and starts as its standby.
    pub(crate) fn start_as_copy_of(&self, primary: &Self) -> Result<()> {
        self.stop(Stop::Immediate)?;
        let data = self.data();
        let read = |name: &str| fs::read_to_string(data.join(name)).with_context(|| format!("no {name}"));
        // The server's own files, where the copy brings the primary's.
        let own = ["postgresql.conf", "pg_hba.conf"];
        let own = own.map(|name| read(name).map(|text| (format!("data/{name}"), text)));
        fs::remove_dir_all(&data)?;
        let mut copy = self.installation.command("pg_basebackup");
        copy.arg("-d").arg(primary.conninfo("copy")).arg("-D").arg(&data);
        copy.args(["-X", "stream", "-c", "fast", "--no-sync"]).current_dir(self.folder.path());
        process::run(self.account.run(&mut copy), "", PATIENCE).context("cannot copy the primary")?;
        for file in own {
            let (name, text) = file?;
            self.folder.write(self.account, &name, &text)?;
        }
        self.start_as_standby()
    }
}
