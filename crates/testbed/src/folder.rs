//! A private folder for a server, the account it runs as, and a port for it.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{background, process};

/// Whom a server runs as. PostgreSQL and MySQL refuse to run as root, so root lends them an account that exists
/// on every machine and owns nothing; everybody else runs them as themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    pub(crate) fn for_servers() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let found = ["nobody", "postgres", "daemon"].iter().find_map(|name| ids_of(&passwd, name));
        match found {
            Some(ids) => Ok(Self(Some(ids))),
            None => bail!(
                "a server must not run as root, and /etc/passwd has neither `nobody`, `postgres` nor `daemon`"
            ),
        }
    }

    /// Makes `command` run as this account. Supplementary groups are dropped with the user.
    pub(crate) fn run(self, command: &mut Command) -> &mut Command {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self.0 {
            Some((user, group)) => chown(path, Some(user), Some(group))
                .with_context(|| format!("cannot give {} to user {user}", path.display())),
            None => Ok(()),
        }
    }

    /// Whether this account may enter `folder` and read in it: every folder above must let it through.
    pub(crate) fn can_enter(self, folder: &Path) -> bool {
        let Some((user, group)) = self.0 else { return true };
        let Ok(folder) = folder.canonicalize() else { return false };
        folder.ancestors().all(|folder| {
            fs::metadata(folder).is_ok_and(|of| {
                let shift = if of.uid() == user {
                    6
                } else if of.gid() == group {
                    3
                } else {
                    0
                };
                of.mode() >> shift & 0o1 != 0
            })
        })
    }
}

/// User and group of `name` in a passwd file.
fn ids_of(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2);
    let ids = (ids.next()?.parse().ok()?, ids.next()?.parse().ok()?);
    (ids.0 != 0).then_some(ids)
}

/// A folder with mode 0700 in the system's temporary folder, owned by an account, removed on drop or, at the
/// latest, when the test process has ended.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(account: Account) -> Result<Self> {
        let base = base(account)?;
        let folder = tempfile::Builder::new()
            .prefix("lambda-rds-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&base)
            .with_context(|| format!("cannot make a folder in {}", base.display()))?;
        let folder = Self(folder);
        process::remove_at_end(folder.path())?;
        account.own(folder.path())?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file that belongs to `account` and that nobody else may read.
    pub(crate) fn write(&self, account: Account, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        // In this order: a secret is never readable by others, not even for a moment.
        fs::write(&path, "")
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        account.own(&path)?;
        Ok(path)
    }
}

/// The system's temporary folder, or another one where that will not do: the account must get in, and the path
/// of a Unix socket in it must fit into the 107 bytes that the kernel allows.
fn base(account: Account) -> Result<PathBuf> {
    let wanted = std::env::temp_dir();
    let others = ["/tmp", "/var/tmp"].map(PathBuf::from);
    let fits = |base: &Path| base.is_dir() && base.as_os_str().len() <= 60 && account.can_enter(base);
    match std::iter::once(&wanted).chain(&others).find(|base| fits(base)) {
        Some(base) => Ok(base.clone()),
        None => bail!(
            "no temporary folder for a server: {} and the system's usual ones are missing, have too long a path \
             for a socket, or cannot be entered by the user that the server runs as; set TMPDIR to one that will do",
            wanted.display()
        ),
    }
}

/// Where `cargo xtask test` unpacks the servers that the machine lacks: `TESTBED_SERVERS`, else `target/servers`
/// of the workspace, else the folder that root uses when the workspace is closed to others.
pub(crate) fn unpacked_servers() -> PathBuf {
    if let Some(named) = std::env::var_os("TESTBED_SERVERS") {
        return named.into();
    }
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let usual = crates.and_then(Path::parent).unwrap_or(Path::new("/")).join("target/servers");
    let of_root = Path::new("/var/cache/lambda-rds/servers");
    if !usual.exists() && of_root.exists() { of_root.to_owned() } else { usual }
}

/// A port of 127.0.0.1 that is free now, for a server that cannot choose one itself.
///
/// Below the range from which the kernel serves outgoing connections (32768 on Linux), so that a server which
/// is restarted gets its port back.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let Ok(offset) = u16::try_from(background::random() % 17_000) else { continue };
        let port = 15_000 + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between 15000 and 32000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ids_of_an_account() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nnobody2:x:7:7::/:\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(ids_of(passwd, "nobody"), Some((65534, 65533)));
        assert_eq!(ids_of(passwd, "postgres"), None);
        assert_eq!(ids_of(passwd, "root"), None, "root is what we want to get away from");
    }

    #[test]
    fn folder_is_private_and_gone_on_drop() {
        let account = Account::for_servers().unwrap();
        let folder = Folder::new(account).unwrap();
        let path = folder.path().to_owned();
        let key = folder.write(account, "key", "secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&key).unwrap().uid(), fs::metadata(&path).unwrap().uid());
        drop(folder);
        assert!(!path.exists());
    }
}
