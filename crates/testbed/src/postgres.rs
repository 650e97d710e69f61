//! A private PostgreSQL server: TLS with our own authority, SCRAM-SHA-256, a free port, a folder of its own.

mod replication;

pub(crate) use replication::INCLUDE;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use crate::background::{self, lock};
use crate::certs::{Authority, SERVER_NAMES, WRONG_NAME};
use crate::folder::{self, Account, Folder, free_port};
use crate::process::{self, Process};

/// How long initdb, a start or a stop may take. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a psql script may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(300);

/// How often a starting server is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The superuser.
const SUPERUSER: &str = "postgres";

/// A running server. Dropped: stopped, its folder removed.
///
/// A start costs about a second, a database 50 ms: a test binary usually shares one server in a `OnceLock` and
/// takes a [`Self::database`] per test. All methods block, for they run programs.
#[derive(Debug)]
pub struct Postgres {
    installation: Installation,
    account: Account,
    port: u16,
    superuser: Login,
    server: Mutex<Option<Process>>,
    paused: AtomicBool,
    folder: Folder,
}

impl Postgres {
    /// Starts a server with a good certificate and no unusual settings.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or the server does not start; the error shows its log.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Describes a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            certificate: Certificate::Good,
            require_tls: false,
            access: String::new(),
            usual_access: true,
            settings: Vec::new(),
            member: None,
        }
    }

    /// The address it listens on: 127.0.0.1.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and port, to put a [`crate::Proxy`] in front.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The PEM file of the authority that a client must trust. The server's good certificate is valid for the
    /// names in [`SERVER_NAMES`].
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The PEM file of another authority, which has signed nothing of this server.
    #[must_use]
    pub fn other_ca_pem_path(&self) -> PathBuf {
        self.folder.path().join("other-ca.pem")
    }

    /// The superuser, who gets in over TCP as well.
    #[must_use]
    pub fn superuser(&self) -> &Login {
        &self.superuser
    }

    /// Creates a fresh database and a role that owns it, in place of those that were there before.
    ///
    /// # Errors
    /// If the name is not made of lower-case letters, digits and `_`, or the server refuses.
    pub fn database(&self, name: &str) -> Result<Database> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            !name.is_empty() && name.len() <= 50 && name.chars().all(plain),
            "not a plain name: {name:?}"
        );
        let user = format!("{name}_owner");
        // Every character that somebody might forget to quote: SQL, URLs, JSON and connection strings.
        let password = format!("{:x}-'\"\\%41@:/?#&= $;", background::random());
        let quoted = password.replace('\'', "''");
        self.psql(
            SUPERUSER,
            &format!(
                "DROP DATABASE IF EXISTS {name} WITH (FORCE);\n\
                 DROP ROLE IF EXISTS {user};\n\
                 CREATE ROLE {user} LOGIN PASSWORD '{quoted}';\n\
                 CREATE DATABASE {name} OWNER {user};\n"
            ),
        )?;
        Ok(Database { name: name.to_owned(), user, password })
    }

    /// The folder of PostgreSQL's programs, `psql` among them.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.installation.0
    }

    /// Runs a script in a database as the superuser and returns the rows, unaligned: `|` between columns, no
    /// header, no newline at the end. Each statement commits by itself; the first error ends the script.
    ///
    /// # Errors
    /// If a statement fails, with the server's message, or the script takes longer than 300 s.
    pub fn psql(&self, database: &str, script: &str) -> Result<String> {
        let mut command = self.installation.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", database]);
        command.arg("-h").arg(self.folder.path()).arg("-p").arg(self.port.to_string());
        command.env("PGCONNECT_TIMEOUT", "10").env("PGCLIENTENCODING", "UTF8");
        let rows = process::run(&mut command, script, SCRIPT_LIMIT)?;
        Ok(rows.trim_end_matches('\n').to_owned())
    }

    /// Stops the server and waits until it has ended. Does nothing if it does not run.
    ///
    /// # Errors
    /// If it does not end within 60 s, as with [`Stop::Smart`] and a client that stays.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mut server = lock(&self.server);
        let Some(running) = server.as_ref() else { return Ok(()) };
        if running.exited().is_none() {
            if self.paused.swap(false, Ordering::Relaxed) {
                signal_all(running, Signal::CONT)?;
            }
            match how {
                Stop::Smart => running.signal(Signal::TERM)?,
                Stop::Fast => running.signal(Signal::INT)?,
                Stop::Immediate => running.signal(Signal::QUIT)?,
                Stop::Crash => crash(running, &self.data())?,
            }
            ensure!(
                running.wait(PATIENCE).is_some(),
                "PostgreSQL did not stop within {PATIENCE:?} ({how:?})"
            );
        }
        *server = None;
        Ok(())
    }

    /// Starts a server that was stopped, on the same port.
    ///
    /// # Errors
    /// If it runs already or does not start; the error shows its log.
    pub fn start_again(&self) -> Result<()> {
        let mut server = lock(&self.server);
        ensure!(server.is_none(), "PostgreSQL runs already");
        let until = Instant::now() + PATIENCE;
        loop {
            match self.launch() {
                Ok(started) => {
                    *server = Some(started);
                    return Ok(());
                }
                // Somebody may have the port for a moment.
                Err(Launch::PortTaken) if Instant::now() < until => thread::sleep(LOOK_AGAIN),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stops (fast) and starts again. Every connection is lost.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start_again`].
    pub fn restart(&self) -> Result<()> {
        self.stop(Stop::Fast)?;
        self.start_again()
    }

    /// The same, but it comes back as a standby that follows nobody: it takes no writes until `pg_promote()`.
    ///
    /// # Errors
    /// As [`Self::restart`].
    pub fn restart_as_standby(&self) -> Result<()> {
        self.stop(Stop::Fast)?;
        self.folder.write(self.account, "data/standby.signal", "")?;
        self.start_again()
    }

    /// Stops the time for the server and all of its processes: connections stay open and nothing answers.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        let server = lock(&self.server);
        signal_all(server.as_ref().context("PostgreSQL does not run")?, Signal::STOP)?;
        self.paused.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        let server = lock(&self.server);
        signal_all(server.as_ref().context("PostgreSQL does not run")?, Signal::CONT)?;
        self.paused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The server's log so far, connections included.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.log_path()).context("cannot read PostgreSQL's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it was started and neither stopped nor crashed since.
    pub(crate) fn runs(&self) -> bool {
        lock(&self.server).is_some()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Runs the server and waits until it accepts connections.
    fn launch(&self) -> Result<Process, Launch> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(anyhow::Error::from)?;
        let before = log.metadata().map_err(anyhow::Error::from)?.len();
        let errors = log.try_clone().map_err(anyhow::Error::from)?;
        let mut command = self.installation.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .arg("-p")
            .arg(self.port.to_string());
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(self.folder.path());
        let (process, _) = Process::spawn(self.account.run(&mut command), Signal::QUIT)?;

        let until = Instant::now() + PATIENCE;
        while !is_ready(&self.data(), process.pid()) {
            let ended = process.exited();
            if ended.is_none() && Instant::now() < until {
                thread::sleep(LOOK_AGAIN);
                continue;
            }
            let log = self.log()?;
            // What an earlier server has logged explains nothing.
            let log = log.get(usize::try_from(before).unwrap_or_default()..).unwrap_or(&log);
            if log.contains("could not create any TCP/IP sockets") {
                return Err(Launch::PortTaken);
            }
            let how = ended
                .map_or_else(|| format!("it is not ready after {PATIENCE:?}"), |status| status.to_string());
            return Err(Launch::Failed(anyhow::anyhow!("PostgreSQL did not start: {how}\nits log:\n{log}")));
        }
        Ok(process)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Immediate, for nobody needs the data any more; not killed, since then its System V shared memory would
        // stay. If it does not stop, the process is killed when dropped.
        let _ = self.stop(Stop::Immediate);
    }
}

/// A way to stop the server; see pg_ctl's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Waits for the clients to leave.
    Smart,
    /// Ends connections, with 57P01, and shuts down in order. What a reboot of RDS does.
    Fast,
    /// Ends connections, with 57P02, and leaves recovery to the next start.
    Immediate,
    /// Kills all processes at once: connections are cut without a word.
    Crash,
}

/// A database of its own for a test.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub user: String,
    /// The role's password, full of characters that need quoting.
    pub password: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("user", &self.user).finish_non_exhaustive()
    }
}

impl Database {
    /// The secret for this database in the shape that RDS users store, with the port as a string.
    #[must_use]
    pub fn secret(&self, host: &str, port: u16) -> serde_json::Value {
        serde_json::json!({
            "username": self.user,
            "password": self.password,
            "host": host,
            "port": port.to_string(),
            "dbname": self.name,
        })
    }
}

/// User and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a server shows to clients who ask for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// One from the authority in [`Postgres::ca_pem_path`], for the names in [`SERVER_NAMES`].
    Good,
    /// One from the other authority.
    WrongAuthority,
    /// A good one for [`WRONG_NAME`] only.
    WrongName,
    /// A good one that has expired.
    Expired,
    /// None: the server has TLS switched off.
    None,
}

/// A server that is about to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    certificate: Certificate,
    require_tls: bool,
    access: String,
    usual_access: bool,
    settings: Vec<(String, String)>,
    member: Option<Membership>,
}

/// What makes a server one of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// Signs the certificates of all members.
    pub(crate) authority: Arc<Authority>,
    /// The addresses at which the members are met.
    pub(crate) addresses: Vec<String>,
    /// Whether it starts as one that follows another.
    pub(crate) follows: bool,
}

impl Builder {
    /// What it shows to clients who ask for TLS.
    #[must_use]
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Lets nobody in over TCP without TLS, as `rds.force_ssl` does: 28000. Otherwise both ways are open.
    #[must_use]
    pub fn require_tls(mut self) -> Self {
        self.require_tls = true;
        self
    }

    /// Adds a line to `pg_hba.conf`, before the usual ones: the first that fits a connection counts.
    #[must_use]
    pub fn access(mut self, line: &str) -> Self {
        self.access.push_str(line);
        self.access.push('\n');
        self
    }

    /// Leaves out the usual lines of `pg_hba.conf`, which let everybody in over TCP.
    #[must_use]
    pub fn no_usual_access(mut self) -> Self {
        self.usual_access = false;
        self
    }

    /// Settings of `postgresql.conf`, such as `("max_connections", "5")`.
    #[must_use]
    pub fn config(mut self, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.settings.extend(settings);
        self
    }

    /// Makes it one of a cluster.
    pub(crate) fn member(mut self, of: Membership) -> Self {
        self.member = Some(of);
        self
    }

    /// Starts it, and returns when it accepts connections.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or the server does not start; the error shows its log.
    pub fn start(self) -> Result<Postgres> {
        let template = Template::get()?;
        let (installation, account) = (template.installation.clone(), template.account);
        let folder = Folder::new(account)?;
        let data = folder.path().join("data");
        let mut copy = Command::new("cp");
        copy.args(["-R", "-p"]).arg(template.folder.path().join("data")).arg(&data);
        process::run(&mut copy, "", PATIENCE)
            .context("cannot copy the template of PostgreSQL's data folder")?;
        self.write_certificates(&folder, account)?;
        append(&data.join("postgresql.conf"), &self.config_text(folder.path()))?;
        folder.write(account, "data/pg_hba.conf", &self.access_text())?;
        if self.member.as_ref().is_some_and(|of| of.follows) {
            folder.write(account, replication::STANDBY_SIGNAL, "")?;
        }

        let superuser = template.superuser.clone();
        let (server, paused) = (Mutex::new(None), AtomicBool::new(false));
        let mut postgres = Postgres { installation, account, port: 0, superuser, server, paused, folder };
        for _ in 0..10 {
            postgres.port = free_port()?;
            match postgres.launch() {
                Ok(process) => {
                    *lock(&postgres.server) = Some(process);
                    return Ok(postgres);
                }
                // Another process was faster.
                Err(Launch::PortTaken) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("ten ports that were free were taken when PostgreSQL wanted them")
    }

    fn write_certificates(&self, folder: &Folder, account: Account) -> Result<()> {
        let own = || Authority::new("lambda-rds testbed").map(Arc::new);
        let authority = self.member.as_ref().map_or_else(own, |of| Ok(Arc::clone(&of.authority)))?;
        let addresses = self.member.iter().flat_map(|of| &of.addresses).map(String::as_str);
        let names: Vec<&str> = SERVER_NAMES.into_iter().chain(addresses).collect();
        let other = Authority::new("lambda-rds testbed, another authority")?;
        folder.write(account, "ca.pem", authority.pem())?;
        folder.write(account, "other-ca.pem", other.pem())?;
        let issued = match self.certificate {
            Certificate::Good => authority.issue(&names)?,
            Certificate::WrongAuthority => other.issue(&names)?,
            Certificate::WrongName => authority.issue(&[WRONG_NAME])?,
            Certificate::Expired => authority.issue_expired(&names)?,
            Certificate::None => return Ok(()),
        };
        folder.write(account, "server.pem", &issued.certificate_pem)?;
        folder.write(account, "server.key", &issued.key_pem)?;
        Ok(())
    }

    fn config_text(&self, folder: &Path) -> String {
        let ssl = if self.certificate == Certificate::None { "off" } else { "on" };
        let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
        let mut text = CONFIG.to_owned();
        let mut set = |name: &str, value: &str| {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        };
        set("ssl", ssl);
        set("ssl_cert_file", &certificate.display().to_string());
        set("ssl_key_file", &key.display().to_string());
        for (name, value) in &self.settings {
            set(name, value);
        }
        text
    }

    fn access_text(&self) -> String {
        let kind = if self.require_tls { "hostssl" } else { "host" };
        let usual = format!("{kind} all all 127.0.0.1/32 scram-sha-256\n");
        let usual = if self.usual_access { usual.as_str() } else { "" };
        format!("local all postgres trust\n{}{usual}", self.access)
    }
}

/// Fast and small, for data that nobody keeps. Shared memory lies in the data folder where it can, so that it is
/// gone with it.
const CONFIG: &str = "
# lambda-rds-testbed; the last value of a setting counts
listen_addresses = '127.0.0.1'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = '16MB'
max_connections = 50
dynamic_shared_memory_type = mmap
password_encryption = 'scram-sha-256'
log_connections = on
log_disconnections = on
";

/// A data folder as initdb leaves it, made once per process.
#[derive(Debug)]
struct Template {
    installation: Installation,
    account: Account,
    superuser: Login,
    folder: Folder,
}

impl Template {
    fn get() -> Result<&'static Self> {
        static TEMPLATE: OnceLock<Result<Template>> = OnceLock::new();
        match TEMPLATE.get_or_init(Self::make) {
            Ok(template) => Ok(template),
            Err(error) => bail!("{error:#}"),
        }
    }

    fn make() -> Result<Self> {
        let account = Account::for_servers()?;
        let installation = Installation::find(account)?;
        let folder = Folder::new(account)?;
        let superuser =
            Login { user: SUPERUSER.to_owned(), password: format!("superuser-{:x}", background::random()) };
        let password_file = folder.write(account, "password", &superuser.password)?;
        let mut initdb = installation.command("initdb");
        initdb.args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]).arg("--pwfile").arg(&password_file);
        initdb.arg("-D").arg(folder.path().join("data")).current_dir(folder.path());
        process::run(account.run(&mut initdb), "", PATIENCE)
            .context("cannot make a PostgreSQL data folder")?;
        fs::remove_file(password_file)?;
        Ok(Self { installation, account, superuser, folder })
    }
}

/// Why the server did not start.
enum Launch {
    PortTaken,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Launch {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Launch> for anyhow::Error {
    fn from(launch: Launch) -> Self {
        match launch {
            Launch::PortTaken => anyhow::anyhow!("another process listens on PostgreSQL's port"),
            Launch::Failed(error) => error,
        }
    }
}

/// The server says so itself, in the eighth line of its pid file; that is where pg_ctl looks, too.
fn is_ready(data: &Path, pid: Pid) -> bool {
    let Ok(file) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = file.lines();
    // The pid file of a server that crashed is still there at first.
    lines.next() == Some(&pid.as_raw_nonzero().to_string())
        && lines.nth(6).is_some_and(|status| ["ready", "standby"].contains(&status.trim()))
}

/// Kills the server with all of its processes, and removes the shared memory that it can no longer remove.
fn crash(server: &Process, data: &Path) -> Result<()> {
    // The seventh line of the pid file is key and id of the shared memory segment.
    let pid_file = fs::read_to_string(data.join("postmaster.pid"))?;
    let segment = pid_file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned);
    signal_all(server, Signal::STOP)?;
    signal_all(server, Signal::KILL)?;
    server.wait(PATIENCE);
    if let Some(segment) = segment {
        // It fails if the last process has taken the segment with it.
        let _ = process::run(Command::new("ipcrm").args(["-m", &segment]), "", PATIENCE);
    }
    Ok(())
}

/// Signals the server and all of its processes. Each of them leads a group of its own, so the server's group is
/// not enough. The server comes first: once it is stopped, there will be no new ones.
fn signal_all(server: &Process, signal: Signal) -> Result<()> {
    // Listed before a killed server's children get another parent.
    let children = if signal == Signal::STOP { Vec::new() } else { children_of(server.pid())? };
    server.signal(signal)?;
    let children = if signal == Signal::STOP { children_of(server.pid())? } else { children };
    for child in children {
        // A process that has just ended needs no signal.
        let _ = rustix::process::kill_process(child, signal);
    }
    Ok(())
}

/// The processes whose parent is `parent`.
fn children_of(parent: Pid) -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        // Processes come and go while we look; and most entries are no processes.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // `pid (name) state parent …`, where the name may contain anything.
        let of =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        if let (Some(id), Some(of)) = (id, of)
            && of == parent.as_raw_nonzero().get()
        {
            children.push(id);
        }
    }
    Ok(children)
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let opened = OpenOptions::new().append(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The folder of PostgreSQL's programs.
#[derive(Debug, Clone)]
struct Installation(PathBuf);

impl Installation {
    /// Looks where `cargo xtask test` looks: in `PG_BIN`, in the system's usual place, in `PATH`, and among the
    /// private servers that it unpacks.
    fn find(account: Account) -> Result<Self> {
        let named = std::env::var_os("PG_BIN").map(PathBuf::from);
        if let Some(bin) = named.as_ref().filter(|bin| !is_server(bin)) {
            bail!("PG_BIN is {}, where initdb, postgres and psql are not all", bin.display());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let private = folder::unpacked_servers().join("postgresql");
        let found = named
            .or_else(|| newest(Path::new("/")))
            .or_else(|| std::env::split_paths(&path).find(|bin| is_server(bin)))
            .or_else(|| newest(&private));
        let Some(bin) = found else {
            bail!(
                "no PostgreSQL server in PG_BIN, /usr/lib/postgresql, PATH or {}; `cargo xtask test` brings one",
                private.display()
            );
        };
        ensure!(
            account.can_enter(&bin),
            "{} cannot be entered by the user that servers run as, since they must not run as root; \
             `cargo xtask test` keeps them where they can be reached",
            bin.display()
        );
        Ok(Self(bin))
    }

    /// A program, in an environment without settings of libpq's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
        command
    }
}

/// Whether a folder has all that we run. Packages of clients bring folders of the same name.
fn is_server(bin: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).is_file())
}

/// The programs of the newest version below `root`, in the layout of Debian's packages.
fn newest(root: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(root.join("usr/lib/postgresql")).ok()?;
    let numbered = versions.filter_map(|version| {
        let version = version.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    numbered.filter(|(_, bin)| is_server(bin)).max().map(|(_, bin)| bin)
}

#[cfg(test)]
mod tests;
