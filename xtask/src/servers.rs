//! The database servers that the tests start: found on the machine, or unpacked into the workspace.
//!
//! Nothing is installed: no service, no user, no file outside the folder of the servers. The testbed looks in
//! the same places in the same order.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{apt, in_ci, on_path, run};

/// Tells the testbed where the private servers are.
pub(crate) const FOLDER_VARIABLE: &str = "TESTBED_SERVERS";

/// One kind of server.
#[derive(Debug)]
struct Server {
    /// Its folder among the private servers, and its name for people.
    name: &'static str,
    /// Names the folder of its programs, before every other place.
    variable: &'static str,
    /// The distribution's package that brings it.
    package: &'static str,
    /// The distribution's suite that has the package, if not the machine's own.
    suite: Option<&'static str>,
    /// The programs that the testbed starts.
    programs: &'static [&'static str],
    /// Where its programs are below `/`, or below the folder that the packages were unpacked into; the best
    /// place first.
    folders: fn(&Path) -> Vec<PathBuf>,
    /// Starts it once for a moment, in an empty folder, as an unprivileged user: do its libraries and data files
    /// suffice?
    try_out: fn(&Path, &Path) -> Result<()>,
}

const SERVERS: &[Server] = &[
    Server {
        name: "postgresql",
        variable: "PG_BIN",
        package: "postgresql",
        suite: None,
        programs: &["initdb", "postgres", "psql"],
        folders: postgresql_folders,
        try_out: try_postgresql,
    },
    Server {
        name: "mysql",
        variable: "MYSQL_BIN",
        package: "mysql-server-core",
        // Debian has it nowhere else.
        suite: Some("unstable"),
        programs: &["mysqld"],
        folders: system_folders,
        try_out: try_mysql,
    },
    Server {
        name: "mariadb",
        variable: "MARIADB_BIN",
        package: "mariadb-server-core",
        suite: None,
        programs: &["mariadbd"],
        folders: system_folders,
        try_out: try_mariadb,
    },
    Server {
        name: "pgbouncer",
        variable: "PGBOUNCER_BIN",
        package: "pgbouncer",
        suite: None,
        programs: &["pgbouncer"],
        folders: system_folders,
        try_out: try_pgbouncer,
    },
];

/// Finds every server, getting those that are missing, and tells what it found. Returns the folder of the
/// private ones. With `private`, the machine's own do not count.
///
/// # Errors
/// In CI, if a server cannot be had; otherwise that is told and the tests that need it will say so.
pub(crate) fn ready(workspace: &Path, private: bool) -> Result<PathBuf> {
    let home = folder(workspace)?;
    let mut missing = Vec::new();
    for server in SERVERS {
        let found = if private { None } else { server.on_machine()? };
        match found.or_else(|| server.unpacked(&home)).map_or_else(|| server.get(&home), Ok) {
            Ok(programs) => println!("{}: {}", server.name, programs.display()),
            Err(error) => {
                println!("{}: cannot be had: {error:#}", server.name);
                missing.push(server.name);
            }
        }
    }
    if !missing.is_empty() && (in_ci() || private) {
        bail!("missing: {}. Install them, or see above what is in the way", missing.join(", "));
    }
    Ok(home)
}

impl Server {
    /// The folder of its programs, where the user names one or the machine has one.
    fn on_machine(&self) -> Result<Option<PathBuf>> {
        if let Some(named) = std::env::var_os(self.variable).map(PathBuf::from) {
            let (variable, folder) = (self.variable, named.display());
            ensure!(self.is_in(&named), "{variable} names {folder}, where {:?} are not all", self.programs);
            return Ok(Some(named));
        }
        let path = on_path(self.programs[0]).and_then(|program| Some(program.parent()?.to_owned()));
        Ok((self.folders)(Path::new("/")).into_iter().chain(path).find(|folder| self.is_in(folder)))
    }

    /// The folder of its programs among the private servers.
    fn unpacked(&self, home: &Path) -> Option<PathBuf> {
        (self.folders)(&home.join(self.name)).into_iter().find(|folder| self.is_in(folder))
    }

    /// Whether a folder has all that the testbed starts. Client packages bring folders of the same name, and
    /// MariaDB's a link to itself by the name of MySQL's server.
    fn is_in(&self, folder: &Path) -> bool {
        self.programs.iter().all(|program| {
            let found = folder.join(program).canonicalize();
            found.is_ok_and(|file| file.is_file() && (!file.ends_with("mariadbd") || *program == "mariadbd"))
        })
    }

    /// Downloads and unpacks it, and starts it once.
    fn get(&self, home: &Path) -> Result<PathBuf> {
        println!("{}: getting the package {} into {}", self.name, self.package, home.display());
        // Renamed when complete, so that an interrupted download is made again.
        let unfinished = home.join(format!("{}.unfinished", self.name));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        apt::unpack(self.package, self.suite, home, &unfinished)?;
        for programs in (self.folders)(&unfinished) {
            wrap(&unfinished, &programs, self.suite.is_some())?;
            with_scratch(|scratch| (self.try_out)(&programs, scratch))?;
        }
        fs::rename(&unfinished, home.join(self.name))?;
        self.unpacked(home).with_context(|| format!("the package {} has no server in it", self.package))
    }
}

/// The folder of the private servers: the variable's, else below `target`.
///
/// Servers refuse to run as root, so root starts them as somebody else, who must be able to reach them: a clone
/// in a home folder closed to others keeps them in root's own cache folder instead.
fn folder(workspace: &Path) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return Ok(folder.into());
    }
    let usual = workspace.join("target/servers");
    if is_root()? && !workspace.ancestors().all(open_to_others) {
        return Ok("/var/cache/lambda-rds/servers".into());
    }
    Ok(usual)
}

/// Whether others may pass through a folder.
fn open_to_others(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
}

/// Whether this process runs as root.
fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata("/proc/self").context("cannot tell who this process runs as")?.uid() == 0)
}

/// Puts a script before each program that gives it the libraries it was unpacked with. A program finds its data
/// files from its own place, so it stays where it was, under another name.
///
/// The C library is the machine's, since it must fit the machine's loader; `foreign` programs bring both.
fn wrap(root: &Path, programs: &Path, foreign: bool) -> Result<()> {
    let depth = programs.strip_prefix(root)?.components().count();
    let above = vec![".."; depth].join("/");
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = format!("$root/usr/lib/{triplet}:$root/lib/{triplet}");
    let run = if foreign {
        let loader = loader(root, &triplet).context("no loader was unpacked")?;
        format!("exec \"$root/{}\" --library-path \"{libraries}\"", loader.display())
    } else {
        format!("LD_LIBRARY_PATH={libraries} exec")
    };
    let script = format!(
        "#!/bin/sh\n\
         # Runs the program beside it with the libraries that it was unpacked with.\n\
         root=${{0%/*}}/{above}\n\
         {run} \"$0.elf\" \"$@\"\n"
    );
    for file in fs::read_dir(programs)? {
        let path = file?.path();
        if is_elf(&path)? {
            let mut renamed = path.clone().into_os_string();
            renamed.push(".elf");
            fs::rename(&path, renamed)?;
            fs::write(&path, &script)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// The dynamic loader among the unpacked files, below `root`.
fn loader(root: &Path, triplet: &str) -> Option<PathBuf> {
    let folders = ["usr/lib64", "usr/lib", &format!("usr/lib/{triplet}")].map(PathBuf::from);
    folders.into_iter().find_map(|folder| {
        let mut files = fs::read_dir(root.join(&folder)).ok()?.filter_map(Result::ok);
        let loader = files.find(|file| file.file_name().to_string_lossy().starts_with("ld-linux"))?;
        Some(folder.join(loader.file_name()))
    })
}

/// Whether a file is an executable of its own, neither a link nor a script.
fn is_elf(path: &Path) -> Result<bool> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut magic = Vec::new();
    fs::File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == *b"\x7fELF")
}

/// Does something in an empty folder that the servers' user owns, gone afterwards.
fn with_scratch(work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    if is_root()? {
        chown(scratch.path(), Some(NOBODY), Some(NOBODY))?;
    }
    work(scratch.path())
}

/// The user that owns nothing; Debian and its kin number it so.
const NOBODY: u32 = 65534;

/// A command that does not run as root.
fn unprivileged(program: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if is_root()? {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

/// Below the folder of each version: the newest first.
fn postgresql_folders(root: &Path) -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir(root.join("usr/lib/postgresql")) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let version = version.ok()?;
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, programs)| programs).collect()
}

/// Makes a cluster and asks its single-user mode for the time in UTC, which the sessions of lambda-rds set.
fn try_postgresql(programs: &Path, scratch: &Path) -> Result<()> {
    let zones = Path::new("/usr/share/zoneinfo/UTC");
    ensure!(zones.exists(), "PostgreSQL reads the time zones of the machine: install the package tzdata");
    let mut initdb = unprivileged(&programs.join("initdb"), scratch)?;
    initdb.args(["--no-locale", "--encoding=UTF8", "--auth=trust", "--username=postgres", "--no-sync"]);
    run(initdb.args(["--pgdata", "data"]).stdout(std::process::Stdio::null()))?;
    let mut postgres = unprivileged(&programs.join("postgres"), scratch)?;
    postgres.args(["-D", "data", "-c", "timezone=UTC", "-C", "timezone"]);
    run(postgres.stdout(std::process::Stdio::null()))
}

/// Where Debian has the servers that come in one version.
fn system_folders(root: &Path) -> Vec<PathBuf> {
    vec![root.join("usr/sbin")]
}

/// Makes a data folder.
fn try_mysql(programs: &Path, scratch: &Path) -> Result<()> {
    let mut mysqld = mysql_server(&programs.join("mysqld"), scratch)?;
    mysqld.args(["--initialize-insecure", "--innodb-redo-log-capacity=8M", "--log-error-verbosity=1"]);
    run(&mut mysqld)
}

/// Makes a data folder, and ends with the end of its input.
fn try_mariadb(programs: &Path, scratch: &Path) -> Result<()> {
    let mut mariadbd = mysql_server(&programs.join("mariadbd"), scratch)?;
    mariadbd.args(["--bootstrap", "--silent-startup", "--log-warnings=0"]);
    run(mariadbd.stdin(std::process::Stdio::null()))
}

/// Has nothing to make: that it runs shows that its libraries are there.
fn try_pgbouncer(programs: &Path, scratch: &Path) -> Result<()> {
    let mut pgbouncer = unprivileged(&programs.join("pgbouncer"), scratch)?;
    run(pgbouncer.arg("--version").stdout(std::process::Stdio::null()))
}

/// A MySQL or MariaDB in an empty data folder. It knows only the machine's places of its files.
fn mysql_server(program: &Path, scratch: &Path) -> Result<Command> {
    let base = program.parent().and_then(Path::parent).context("the server has no folder above it")?;
    let base = base.canonicalize()?;
    let data = scratch.join("data");
    fs::create_dir(&data)?;
    if is_root()? {
        chown(&data, Some(NOBODY), Some(NOBODY))?;
    }
    let mut command = unprivileged(program, scratch)?;
    command.arg("--no-defaults");
    for (option, folder) in
        [("basedir", &base), ("lc-messages-dir", &base.join("share/mysql")), ("datadir", &data)]
    {
        command.arg(format!("--{option}={}", folder.display()));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_postgresql_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "notes"] {
            fs::create_dir_all(root.path().join("usr/lib/postgresql").join(version)).unwrap();
        }
        let base = root.path().join("usr/lib/postgresql");
        assert_eq!(postgresql_folders(root.path()), [base.join("15/bin"), base.join("9/bin")]);
        assert_eq!(postgresql_folders(&root.path().join("nowhere")), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_folder_of_clients_is_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let check = |program: &str, complete: bool| {
            fs::write(folder.path().join(program), "").unwrap();
            assert_eq!(SERVERS[0].is_in(folder.path()), complete, "after {program}");
        };
        check("psql", false);
        check("initdb", false);
        check("postgres", true);
    }

    #[test]
    fn a_wrapped_program_runs_from_its_own_place() {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join("usr/bin");
        fs::create_dir_all(&programs).unwrap();
        fs::copy("/bin/sh", programs.join("sh")).unwrap();
        fs::write(programs.join("script"), "#!/bin/sh\n").unwrap();
        wrap(root.path(), &programs, false).unwrap();
        assert!(!programs.join("script.elf").exists());

        let output = Command::new(programs.join("sh"))
            .args(["-c", "echo \"$LD_LIBRARY_PATH\"; echo \"$1\"", "-", "two words"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let libraries = format!("{}/../../usr/lib/", programs.display());
        assert!(text.starts_with(&libraries) && text.ends_with("\ntwo words\n"), "{text}");
    }
}
