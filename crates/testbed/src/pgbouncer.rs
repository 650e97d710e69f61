//! A private PgBouncer in front of a PostgreSQL server: transaction mode, TLS to its clients.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::certs::{Authority, SERVER_NAMES};
use crate::folder::{self, Account, Folder, free_port};
use crate::postgres::{Database, Postgres};
use crate::process::Process;

/// How long a start may take. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file with the list of who may log in.
const USERS: &str = "users.txt";

/// How often a starting pooler is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running PgBouncer. Dropped: stopped, its folder removed.
///
/// It knows the role of one database and lends at most so many connections to it, each for one transaction.
#[derive(Debug)]
pub struct Pgbouncer {
    port: u16,
    // Before the folder: the process must be gone when it is removed.
    process: Process,
    account: Account,
    folder: Folder,
}

impl Pgbouncer {
    /// Starts it before `server`, for the role of `database`, with a pool of `connections`.
    ///
    /// # Errors
    /// If PgBouncer is not installed, or does not start; the error shows its log.
    pub fn start(server: &Postgres, database: &Database, connections: usize) -> Result<Self> {
        Self::start_with(server, database, connections, &[])
    }

    /// The same with settings of `pgbouncer.ini`, such as `("query_timeout", "1")`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        server: &Postgres,
        database: &Database,
        connections: usize,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let account = Account::for_servers()?;
        let program = program(account)?;
        let folder = Folder::new(account)?;
        let authority = Authority::new("lambda-rds testbed, pooler")?;
        let issued = authority.issue(&SERVER_NAMES)?;
        folder.write(account, "ca.pem", authority.pem())?;
        folder.write(account, "server.pem", &issued.certificate_pem)?;
        folder.write(account, "server.key", &issued.key_pem)?;
        folder.write(account, "server-ca.pem", &fs::read_to_string(server.ca_pem_path())?)?;
        folder.write(account, USERS, &users(&database.user, &database.password))?;

        for _ in 0..10 {
            let port = free_port()?;
            let mut config = config(folder.path(), server.port(), port, connections);
            config.extend(settings.iter().map(|(name, value)| format!("{name} = {value}\n")));
            let file = folder.write(account, "pgbouncer.ini", &config)?;
            let log = folder.write(account, "log", "")?;
            let output = OpenOptions::new().append(true).open(&log)?;
            let mut command = Command::new(&program);
            command.arg(file).current_dir(folder.path()).env_clear().env("LC_ALL", "C");
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            let (process, _) = Process::spawn(account.run(&mut command), Signal::INT)?;
            let until = Instant::now() + PATIENCE;
            while process.exited().is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Ok(Self { port, process, account, folder });
                }
                ensure!(Instant::now() < until, "PgBouncer is not ready after {PATIENCE:?}");
                thread::sleep(LOOK_AGAIN);
            }
            let log = fs::read_to_string(&log)?;
            // Another process may have been faster.
            ensure!(log.contains("Address already in use"), "PgBouncer did not start; its log:\n{log}");
        }
        bail!("ten ports that were free were taken when PgBouncer wanted them")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The PEM file of the authority that a client must trust. Its certificate is valid for the names in
    /// [`SERVER_NAMES`].
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Lets its one user log in with another password, here and from here to the server, as whoever runs a pooler does: in
    /// its list, which it then reads again. Who has logged in stays so.
    ///
    /// # Errors
    /// If the list cannot be written, or is not read within half a minute.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        // In one step, since PgBouncer also looks by itself whether the file is another one.
        let new = self.folder.write(self.account, "users.new", &users(user, password))?;
        fs::rename(new, self.folder.path().join(USERS))
            .context("cannot replace PgBouncer's list of users")?;
        let reads = || Ok::<_, anyhow::Error>(self.log()?.matches("re-reading config").count());
        let before = reads()?;
        self.process.signal(Signal::HUP)?;
        let until = Instant::now() + PATIENCE;
        // It says so first, but looks at no client before it has done so.
        while reads()? == before {
            ensure!(Instant::now() < until, "PgBouncer has not read its list after {PATIENCE:?}");
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Its log so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.folder.path().join("log")).context("cannot read PgBouncer's log")
    }
}

/// The list of who may log in.
fn users(user: &str, password: &str) -> String {
    // Doubling the quotes is the only way of quoting that this file has.
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    format!("{} {}\n", quoted(user), quoted(password))
}

fn config(folder: &Path, server: u16, port: u16, connections: usize) -> String {
    let folder = folder.display();
    format!(
        "[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/{USERS}
pool_mode = transaction
default_pool_size = {connections}
client_tls_sslmode = require
client_tls_cert_file = {folder}/server.pem
client_tls_key_file = {folder}/server.key
server_tls_sslmode = verify-full
server_tls_ca_file = {folder}/server-ca.pem
"
    )
}

/// Looks where `cargo xtask test` looks: in `PGBOUNCER_BIN`, in the system's usual place, in `PATH`, and among the
/// private servers that it unpacks.
fn program(account: Account) -> Result<PathBuf> {
    let is_there = |folder: &PathBuf| folder.join("pgbouncer").is_file();
    let named = std::env::var_os("PGBOUNCER_BIN").map(PathBuf::from);
    if let Some(folder) = named.as_ref().filter(|folder| !is_there(folder)) {
        bail!("PGBOUNCER_BIN is {}, where no pgbouncer is", folder.display());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let private = folder::unpacked_servers().join("pgbouncer/usr/sbin");
    let mut usual = std::iter::once(PathBuf::from("/usr/sbin")).chain(std::env::split_paths(&path));
    let found = named.or_else(|| usual.find(is_there)).or_else(|| Some(private.clone()).filter(is_there));
    let Some(folder) = found else {
        bail!(
            "no pgbouncer in PGBOUNCER_BIN, /usr/sbin, PATH or {}; `cargo xtask test` brings one",
            private.display()
        );
    };
    ensure!(
        account.can_enter(&folder),
        "{} cannot be entered by the user that servers run as, since they must not run as root; \
         `cargo xtask test` keeps them where they can be reached",
        folder.display()
    );
    Ok(folder.join("pgbouncer"))
}
