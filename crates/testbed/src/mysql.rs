//! A private MySQL or MariaDB server: TLS with our own authority, a free port, a folder of its own.

mod client;
mod replication;

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::background::{self, lock};
use crate::certs::{Authority, SERVER_NAMES, WRONG_NAME};
use crate::folder::{self, Account, Folder, free_port};
use crate::postgres::{Certificate, Database, Login, Membership};
use crate::process::{self, Process};
use client::Client;

/// How long an initialisation, a start or a stop may take. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a starting server is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What MySQL and MariaDB log of a port that somebody has.
const PORT_TAKEN: &str = "Address already in use";

/// Which of the two servers. They share a protocol and most of their SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MysqlKind {
    /// Oracle's.
    Mysql,
    /// The MariaDB Foundation's.
    MariaDb,
}

/// A running server. Dropped: killed, its folder removed.
///
/// A start costs two seconds, after some six for the first of a process; a database a few milliseconds: a test
/// binary usually shares one server in a `OnceLock` and takes a [`Self::database`] per test. All methods block.
#[derive(Debug)]
pub struct Mysql {
    kind: MysqlKind,
    installation: Installation,
    account: Account,
    port: u16,
    superuser: Login,
    settings: Vec<String>,
    server: Mutex<Option<Process>>,
    folder: Folder,
}

impl Mysql {
    /// Starts a server with a good certificate and no unusual settings.
    ///
    /// # Errors
    /// If there is no such server on the machine, or it does not start; the error shows its log.
    pub fn start(kind: MysqlKind) -> Result<Self> {
        Self::builder(kind).start()
    }

    /// Describes a server.
    #[must_use]
    pub fn builder(kind: MysqlKind) -> Builder {
        Builder { kind, certificate: Certificate::Good, settings: Vec::new(), member: None }
    }

    /// Which of the two it is.
    #[must_use]
    pub fn kind(&self) -> MysqlKind {
        self.kind
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

    /// The superuser, who gets in over TCP.
    #[must_use]
    pub fn superuser(&self) -> &Login {
        &self.superuser
    }

    /// Creates a fresh database and a user who owns it, in place of those that were there before. The user has
    /// the server's usual authentication plugin: `caching_sha2_password` or, on MariaDB, `mysql_native_password`.
    ///
    /// # Errors
    /// If the name is not made of lower-case letters, digits and `_`, or the server refuses.
    pub fn database(&self, name: &str) -> Result<Database> {
        ensure!(is_plain(name), "not a plain name: {name:?}");
        let Login { user, password } = self.user(&format!("{name}_owner"), None)?;
        self.sql(&format!("DROP DATABASE IF EXISTS {name}"))?;
        self.sql(&format!("CREATE DATABASE {name}"))?;
        self.sql(&format!("GRANT ALL ON {name}.* TO '{user}'@'%'"))?;
        Ok(Database { name: name.to_owned(), user, password })
    }

    /// Creates a user without any rights, in place of one that was there before; `plugin` authenticates it.
    ///
    /// # Errors
    /// As [`Self::database`], or if the server has no such plugin.
    pub fn user(&self, name: &str, plugin: Option<&str>) -> Result<Login> {
        ensure!(is_plain(name), "not a plain name: {name:?}");
        // Every character that somebody might forget to quote: SQL, URLs, JSON and connection strings.
        let password = format!("{:x}-'\"\\%41@:/?#&= $;", background::random());
        let quoted = password.replace('\\', "\\\\").replace('\'', "''");
        let identified = match (self.kind, plugin) {
            (_, None) => format!("BY '{quoted}'"),
            (MysqlKind::Mysql, Some(plugin)) => format!("WITH {plugin} BY '{quoted}'"),
            (MysqlKind::MariaDb, Some(plugin)) => format!("VIA {plugin} USING PASSWORD('{quoted}')"),
        };
        self.sql(&format!("DROP USER IF EXISTS '{name}'@'%'"))?;
        self.sql(&format!("CREATE USER '{name}'@'%' IDENTIFIED {identified}"))?;
        Ok(Login { user: name.to_owned(), password })
    }

    /// Runs one statement as the superuser and returns the rows: `|` between columns, one row a line, NULL empty,
    /// no newline at the end.
    ///
    /// # Errors
    /// The server's message.
    pub fn sql(&self, statement: &str) -> Result<String> {
        Ok(lines(&self.client()?.query(statement).with_context(|| format!("failed: {statement}"))?))
    }

    /// Runs a script in a database as the superuser: statements that end with `;` at the end of a line. Returns
    /// the rows of the last one, as [`Self::sql`] does.
    ///
    /// # Errors
    /// The server's message about the first statement that fails.
    pub fn script(&self, database: &str, script: &str) -> Result<String> {
        let mut client = self.client()?;
        client.query(&format!("USE {database}"))?;
        let mut rows = Vec::new();
        for statement in script.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            let statement = statement.trim_end_matches(';');
            rows = client.query(statement).with_context(|| format!("failed: {statement}"))?;
        }
        Ok(lines(&rows))
    }

    /// Stops the server in order, as a reboot of RDS does, and waits until it has ended. Does nothing if it does
    /// not run.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// Kills the server: connections are cut without a word.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn crash(&self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// Starts a server that was stopped, on the same port.
    ///
    /// # Errors
    /// If it runs already or does not start; the error shows its log.
    pub fn start_again(&self) -> Result<()> {
        self.start_again_with(&[])
    }

    /// The same with settings that last until it is stopped, such as `("innodb-read-only", "ON")`.
    ///
    /// # Errors
    /// As [`Self::start_again`].
    pub fn start_again_with(&self, settings: &[(&str, &str)]) -> Result<()> {
        let mut server = lock(&self.server);
        ensure!(server.is_none(), "the server runs already");
        let until = Instant::now() + PATIENCE;
        loop {
            let logged = self.log()?.len();
            match self.launch_with(settings) {
                Ok(started) => {
                    *server = Some(started);
                    return Ok(());
                }
                // Somebody may have the port for a moment.
                Err(_) if Instant::now() < until && self.log()?[logged..].contains(PORT_TAKEN) => {
                    thread::sleep(LOOK_AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stops the time for the server: connections stay open and nothing answers.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        lock(&self.server).as_ref().context("the server does not run")?.signal(Signal::STOP)
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        lock(&self.server).as_ref().context("the server does not run")?.signal(Signal::CONT)
    }

    /// The server's log so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.log_path()).context("cannot read the server's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it was started and neither stopped nor crashed since.
    pub(crate) fn runs(&self) -> bool {
        lock(&self.server).is_some()
    }

    fn end(&self, signal: Signal) -> Result<()> {
        let mut server = lock(&self.server);
        let Some(running) = server.as_ref() else { return Ok(()) };
        if running.exited().is_none() {
            // A paused one would not hear it.
            running.signal(Signal::CONT)?;
            running.signal(signal)?;
            ensure!(running.wait(PATIENCE).is_some(), "the server did not stop within {PATIENCE:?}");
        }
        *server = None;
        Ok(())
    }

    /// As root of the server, who has no password but can only come through the socket in the private folder.
    fn client(&self) -> Result<Client> {
        Client::connect(&self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn launch(&self) -> Result<Process> {
        self.launch_with(&[])
    }

    /// Runs the server and waits until it accepts connections.
    fn launch_with(&self, settings: &[(&str, &str)]) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let folder = self.folder.path();
        let mut command = self.installation.command(self.kind, &folder.join("data"));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--pid-file={}", folder.join("pid").display()));
        // A server that starts clears its folder of temporary tables, whoever they belong to.
        command.arg(format!("--tmpdir={}", folder.display()));
        command.arg(format!("--port={}", self.port)).args(&self.settings);
        command.args(settings.iter().map(|(name, value)| format!("--{name}={value}")));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder);
        let (process, _) = Process::spawn(self.account.run(&mut command), Signal::KILL)?;

        let until = Instant::now() + PATIENCE;
        loop {
            let ended = process.exited();
            if ended.is_none() && self.client().and_then(|mut client| client.query("SELECT 1")).is_ok() {
                return Ok(process);
            }
            if ended.is_none() && Instant::now() < until {
                thread::sleep(LOOK_AGAIN);
                continue;
            }
            let how = ended
                .map_or_else(|| format!("it is not ready after {PATIENCE:?}"), |status| status.to_string());
            bail!("{:?} did not start: {how}\nits log:\n{}", self.kind, self.log()?);
        }
    }
}

/// A server that is about to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    kind: MysqlKind,
    certificate: Certificate,
    settings: Vec<String>,
    member: Option<Membership>,
}

impl Builder {
    /// What it shows to clients who ask for TLS.
    #[must_use]
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Settings, such as `("max-connections", "5")`.
    #[must_use]
    pub fn config(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(name, value)| format!("--{name}={value}")));
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
    /// If there is no such server on the machine, or it does not start; the error shows its log.
    pub fn start(self) -> Result<Mysql> {
        let template = Template::get(self.kind)?;
        let (installation, account) = (template.installation.clone(), template.account);
        let folder = Folder::new(account)?;
        template.copy_to(&folder.path().join("data"))?;
        self.write_certificates(&folder, account)?;

        let path = |name: &str| folder.path().join(name).display().to_string();
        // What is given replaces ours: to some settings, such as `skip-name-resolve`, a later value means nothing.
        let name = |setting: &str| setting.split('=').next().unwrap_or(setting).to_owned();
        let given: Vec<String> = self.settings.iter().map(|setting| name(setting)).collect();
        let ours = COMMON.iter().filter(|setting| !given.contains(&name(setting)));
        let mut settings: Vec<String> = ours.map(|&setting| setting.to_owned()).collect();
        settings.extend(own_settings(self.kind).map(str::to_owned));
        if self.certificate == Certificate::None {
            let off = if self.kind == MysqlKind::Mysql { "--tls-version=" } else { "--skip-ssl" };
            settings.push(off.to_owned());
        } else {
            for (name, file) in [("ssl-ca", "ca.pem"), ("ssl-cert", "server.pem"), ("ssl-key", "server.key")]
            {
                settings.push(format!("--{name}={}", path(file)));
            }
        }
        settings.extend(self.settings);
        let superuser =
            Login { user: "root".to_owned(), password: format!("superuser-{:x}", background::random()) };
        let (kind, server) = (self.kind, Mutex::new(None));
        let mut mysql = Mysql { kind, installation, account, port: 0, superuser, settings, server, folder };
        for _ in 0..10 {
            mysql.port = free_port()?;
            match mysql.launch() {
                Ok(process) => {
                    *lock(&mysql.server) = Some(process);
                    mysql.sql("DROP USER IF EXISTS 'root'@'%'")?;
                    mysql.sql(&format!(
                        "CREATE USER 'root'@'%' IDENTIFIED BY '{}'",
                        mysql.superuser.password
                    ))?;
                    mysql.sql("GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION")?;
                    return Ok(mysql);
                }
                // Another process was faster.
                Err(_) if TcpListener::bind((Ipv4Addr::LOCALHOST, mysql.port)).is_err() => {}
                Err(error) => return Err(error),
            }
        }
        bail!("other processes took every port before the server did")
    }

    fn write_certificates(&self, folder: &Folder, account: Account) -> Result<()> {
        let own = || Authority::new("lambda-rds testbed CA").map(Arc::new);
        let good = self.member.as_ref().map_or_else(own, |of| Ok(Arc::clone(&of.authority)))?;
        let addresses = self.member.iter().flat_map(|of| &of.addresses).map(String::as_str);
        let names: Vec<&str> = SERVER_NAMES.into_iter().chain(addresses).collect();
        let other = Authority::new("lambda-rds testbed CA of somebody else")?;
        let issued = match self.certificate {
            Certificate::Good | Certificate::None => good.issue(&names)?,
            Certificate::WrongAuthority => other.issue(&names)?,
            Certificate::WrongName => good.issue(&[WRONG_NAME])?,
            Certificate::Expired => good.issue_expired(&names)?,
        };
        folder.write(account, "ca.pem", good.pem())?;
        folder.write(account, "other-ca.pem", other.pem())?;
        folder.write(account, "server.pem", &issued.certificate_pem)?;
        folder.write(account, "server.key", &issued.key_pem)?;
        Ok(())
    }
}

/// Fast and small, for data that nobody keeps.
const COMMON: [&str; 8] = [
    "--bind-address=127.0.0.1",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=32M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--max-connections=50",
    // MariaDB's is latin1 still.
    "--character-set-server=utf8mb4",
];

/// What the two have different names for: the last lets recursive queries make as many rows as PostgreSQL's.
fn own_settings(kind: MysqlKind) -> [&'static str; 3] {
    match kind {
        MysqlKind::Mysql => {
            ["--mysqlx=OFF", "--performance-schema=OFF", "--cte-max-recursion-depth=10000000"]
        }
        MysqlKind::MariaDb => {
            ["--skip-feedback", "--skip-performance-schema", "--max-recursive-iterations=10000000"]
        }
    }
}

/// A data folder as the server's own initialisation leaves it, made once per process.
#[derive(Debug)]
struct Template {
    installation: Installation,
    account: Account,
    folder: Folder,
}

impl Template {
    fn get(kind: MysqlKind) -> Result<&'static Self> {
        static MYSQL: OnceLock<Result<Template>> = OnceLock::new();
        static MARIADB: OnceLock<Result<Template>> = OnceLock::new();
        let template = match kind {
            MysqlKind::Mysql => &MYSQL,
            MysqlKind::MariaDb => &MARIADB,
        };
        match template.get_or_init(|| Self::make(kind)) {
            Ok(template) => Ok(template),
            Err(error) => bail!("{error:#}"),
        }
    }

    fn copy_to(&self, data: &Path) -> Result<()> {
        let mut copy = Command::new("cp");
        copy.args(["-R", "-p"]).arg(self.folder.path().join("data")).arg(data);
        process::run(&mut copy, "", PATIENCE).context("cannot copy the template of the data folder")?;
        // The server's identity, which it makes anew.
        let _ = fs::remove_file(data.join("auto.cnf"));
        Ok(())
    }

    fn make(kind: MysqlKind) -> Result<Self> {
        let account = Account::for_servers()?;
        let installation = Installation::find(kind, account)?;
        let folder = Folder::new(account)?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        account.own(&data)?;
        let mut command = installation.command(kind, &data);
        command.current_dir(folder.path());
        command.arg(format!("--tmpdir={}", folder.path().display()));
        let script = match kind {
            MysqlKind::Mysql => {
                command.args(["--initialize-insecure", "--innodb-redo-log-capacity=8M"]);
                String::new()
            }
            MysqlKind::MariaDb => {
                command.args(["--bootstrap", "--innodb-log-file-size=8M", "--log-warnings=0"]);
                installation.mariadb_script()?
            }
        };
        process::run(account.run(&mut command), &script, PATIENCE)
            .with_context(|| format!("cannot make a data folder of {kind:?}"))?;
        Ok(Self { installation, account, folder })
    }
}

/// The program of a server, and the folder that the files it needs are below.
#[derive(Debug, Clone)]
struct Installation {
    program: PathBuf,
    base: PathBuf,
}

impl Installation {
    /// Looks where `cargo xtask test` looks: in `MYSQL_BIN` or `MARIADB_BIN`, in the system's usual place, in
    /// `PATH`, and among the private servers that it unpacks.
    fn find(kind: MysqlKind, account: Account) -> Result<Self> {
        let (variable, name, private) = match kind {
            MysqlKind::Mysql => ("MYSQL_BIN", "mysqld", "mysql"),
            MysqlKind::MariaDb => ("MARIADB_BIN", "mariadbd", "mariadb"),
        };
        // MariaDB's packages bring a link by the name of MySQL's server.
        let is_server = |folder: &PathBuf| {
            let file = folder.join(name).canonicalize();
            file.is_ok_and(|file| file.is_file() && (name == "mariadbd" || !file.ends_with("mariadbd")))
        };
        let named = std::env::var_os(variable).map(PathBuf::from);
        if let Some(folder) = named.as_ref().filter(|folder| !is_server(folder)) {
            bail!("{variable} is {}, where no {name} is", folder.display());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let private = folder::unpacked_servers().join(private).join("usr/sbin");
        let mut usual = std::iter::once(PathBuf::from("/usr/sbin")).chain(std::env::split_paths(&path));
        let found =
            named.or_else(|| usual.find(is_server)).or_else(|| Some(private.clone()).filter(is_server));
        let Some(folder) = found else {
            bail!(
                "no {name} in {variable}, /usr/sbin, PATH or {}; `cargo xtask test` brings one",
                private.display()
            );
        };
        ensure!(
            account.can_enter(&folder),
            "{} cannot be entered by the user that servers run as, since they must not run as root; \
             `cargo xtask test` keeps them where they can be reached",
            folder.display()
        );
        let base = folder.parent().context("the server has no folder above it")?.canonicalize()?;
        Ok(Self { program: folder.join(name), base })
    }

    /// The server's program with what it must be told of its files, since it knows only the system's places.
    fn command(&self, kind: MysqlKind, data: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C");
        // It counts only as the first option.
        command.arg("--no-defaults");
        let mut option = |name: &str, path: &Path| {
            command.arg(format!("--{name}={}", path.display()));
        };
        option("basedir", &self.base);
        option("datadir", data);
        let messages = self.share();
        let plugins = self.base.join("lib/mysql/plugin");
        for (name, folder) in [("lc-messages-dir", messages), ("plugin-dir", plugins)] {
            if folder.is_dir() {
                option(name, &folder);
            }
        }
        if kind == MysqlKind::Mysql {
            command.arg("--secure-file-priv=NULL");
        }
        command
    }

    fn share(&self) -> PathBuf {
        let new = self.base.join("share/mariadb");
        if new.is_dir() && self.program.ends_with("mariadbd") { new } else { self.base.join("share/mysql") }
    }

    /// What MariaDB's own installer feeds the server with.
    fn mariadb_script(&self) -> Result<String> {
        let share = self.share();
        // The users of the system are none here: root has no password, and only comes through the socket.
        let mut script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n".to_owned();
        for name in ["system_tables", "performance_tables", "system_tables_data"] {
            let files = ["mysql", "mariadb"].map(|prefix| share.join(format!("{prefix}_{name}.sql")));
            let file = files.iter().find(|file| file.is_file()).with_context(|| {
                format!("no {name}.sql in {}, where MariaDB's installer has it", share.display())
            })?;
            script.push_str(&fs::read_to_string(file)?);
        }
        Ok(script)
    }
}

fn lines(rows: &[Vec<String>]) -> String {
    let lines: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    lines.join("\n")
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // A user's name has 32 characters at most, and `_owner` is put to it.
    !name.is_empty() && name.len() <= 32 && name.chars().all(plain)
}

#[cfg(test)]
mod tests;
