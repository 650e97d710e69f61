//! The built `bootstrap`, run as Lambda would run it: a clean environment, a folder of its own, its output read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::background::{self, lock};
use crate::process::{self, Process};
use crate::runtime_api::{Begun, InitError, Outcome, RuntimeApi};
use crate::secrets::Secrets;

/// How long a function may take to report on its INIT, or to end after a signal. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many lines of the log are shown with an error.
const SHOWN_LINES: usize = 40;

/// A running function: one execution environment. Killed on drop.
#[derive(Debug)]
pub struct Function {
    // Before the folders: the process must be gone when they are removed.
    process: Process,
    folder: TempDir,
    _task: Option<TempDir>,
    api: RuntimeApi,
    log: Log,
    started: Instant,
}

impl Function {
    /// Describes a function that runs the program `bootstrap`: `env!("CARGO_BIN_EXE_bootstrap")`.
    #[must_use]
    pub fn builder(bootstrap: impl Into<PathBuf>) -> Builder {
        Builder { bootstrap: bootstrap.into(), args: Vec::new(), vars: BTreeMap::new(), files: Vec::new() }
    }

    /// Invokes it with a JSON event.
    ///
    /// # Errors
    /// If it does not answer within the function's timeout and 5 s more, or ends instead; with the end of its log.
    pub async fn invoke(&self, event: impl serde::Serialize) -> Result<Outcome> {
        self.invoke_raw(serde_json::to_vec(&event)?).await
    }

    /// Invokes it with these bytes as the event, JSON or not.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_raw(&self, event: impl Into<Bytes>) -> Result<Outcome> {
        self.invoke_with(event, None).await
    }

    /// The same with this function timeout, whatever that of the others is.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_within(&self, timeout: Duration, event: impl serde::Serialize) -> Result<Outcome> {
        let event = serde_json::to_vec(&event)?;
        self.answered(self.api.clone().with_timeout(timeout).invoke(event)).await
    }

    /// The same with a client context: JSON.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_with(
        &self,
        event: impl Into<Bytes>,
        client_context: Option<String>,
    ) -> Result<Outcome> {
        self.answered(self.api.invoke_with(event, client_context)).await
    }

    async fn answered(&self, invoked: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
        tokio::select! {
            // In this order: an answer that was posted before the process ended is an answer.
            biased;
            outcome = invoked => outcome.with_context(|| self.shown_log()),
            status = self.ended() => bail!("the function ended while invoked: {status}{}", self.shown_log()),
        }
    }

    /// Invokes it with a JSON event, for an answer that may be a stream.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn begin(&self, event: impl serde::Serialize) -> Result<Begun> {
        let event = serde_json::to_vec(&event)?;
        tokio::select! {
            biased;
            begun = self.api.begin(event, None) => begun.with_context(|| self.shown_log()),
            status = self.ended() => bail!("the function ended while invoked: {status}{}", self.shown_log()),
        }
    }

    /// Waits until INIT is over: the function asks for its first event.
    ///
    /// # Errors
    /// If it ends instead, or takes longer than 30 s.
    pub async fn ready(&self) -> Result<()> {
        tokio::select! {
            biased;
            idle = self.api.idle(1, PATIENCE) => idle.with_context(|| self.shown_log()),
            status = self.ended() => bail!("the function ended during INIT: {status}{}", self.shown_log()),
        }
    }

    /// Waits for the error with which INIT fails.
    ///
    /// # Errors
    /// If the function ends without having reported one, or takes longer than 30 s.
    pub async fn init_error(&self) -> Result<InitError> {
        tokio::select! {
            biased;
            error = self.api.init_error(PATIENCE) => error.with_context(|| self.shown_log()),
            status = self.ended() => match self.api.reported_init_error() {
                Some(error) => Ok(error),
                None => bail!("the function ended without an error of INIT: {status}{}", self.shown_log()),
            },
        }
    }

    /// All lines that it has written so far, stdout and stderr, in the order in which they were read.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        lock(&self.log.lines).clone()
    }

    /// Waits for a line of the log, old or new, for which `wanted` holds, and returns the first.
    ///
    /// # Errors
    /// If there is none by `limit`, or the function has ended without one; with the end of the log.
    pub async fn wait_for_log(&self, wanted: impl Fn(&str) -> bool, limit: Duration) -> Result<String> {
        let until = Instant::now() + limit;
        let mut seen = 0;
        let mut read = self.log.read.subscribe();
        loop {
            let progress = *read.borrow_and_update();
            let found = {
                let lines = lock(&self.log.lines);
                let found = lines[seen..].iter().find(|line| wanted(line)).cloned();
                seen = lines.len();
                found
            };
            if let Some(line) = found {
                return Ok(line);
            }
            if progress.open_pipes == 0 {
                bail!("the function ended without the line waited for{}", self.shown_log());
            }
            let mut read = read.clone();
            let more = async move { read.changed().await };
            let left = until.saturating_duration_since(Instant::now());
            background::within(left, "a line of the log", more).await.with_context(|| self.shown_log())??;
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// When the process was started, for the time that a cold start takes.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The most memory that it had resident so far, in bytes (`VmHWM`).
    ///
    /// # Errors
    /// If the process has ended.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM: has it ended?")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }

    /// The empty folder in which it was started, which is also its `TMPDIR`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Freezes it, as Lambda does between invocations.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.signal_group(Signal::STOP)
    }

    /// Thaws it.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.signal_group(Signal::CONT)
    }

    /// Sends SIGTERM, as Lambda does before it takes an environment down. See [`Self::wait_exit`].
    ///
    /// # Errors
    /// If the process has ended.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Sends SIGKILL: a crash.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn kill(&self) -> Result<()> {
        self.process.signal_group(Signal::KILL)
    }

    /// Waits until it has ended by itself or by a signal.
    ///
    /// # Errors
    /// If it has not by `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> Result<ExitStatus> {
        let mut exit = self.process.exit();
        let waiting = async move { exit.wait_for(Option::is_some).await.map(|status| *status) };
        let status = background::within(limit, "the function to end", waiting)
            .await
            .with_context(|| self.shown_log())?;
        status?.context("the function has not ended")
    }

    async fn ended(&self) -> ExitStatus {
        let mut exit = self.process.exit();
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        // The thread that waits for the process never goes without having told how it ended.
        status.unwrap_or_default()
    }

    fn shown_log(&self) -> String {
        let lines = lock(&self.log.lines);
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        format!("\nthe end of the function's log:\n{}", shown.join("\n"))
    }
}

/// A function that is about to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    bootstrap: PathBuf,
    args: Vec<OsString>,
    vars: BTreeMap<OsString, OsString>,
    files: Vec<(String, String)>,
}

impl Builder {
    /// Gives the program an argument: `bootstrap` has none, an interpreter has its script.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable of the function; the last value counts.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.vars.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(self, vars: impl IntoIterator<Item = (K, V)>) -> Self {
        vars.into_iter().fold(self, |builder, (key, value)| builder.env(key, value))
    }

    /// Serves the queries of this folder.
    #[must_use]
    pub fn queries(self, folder: impl AsRef<Path>) -> Self {
        // The function runs in a folder of its own, so a relative path must be made absolute here.
        let folder = std::path::absolute(&folder).unwrap_or_else(|_| folder.as_ref().to_owned());
        self.env("LAMBDA_RDS_QUERIES", folder)
    }

    /// Asks these Secrets for secrets.
    #[must_use]
    pub fn secrets(self, secrets: &Secrets) -> Self {
        self.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.endpoint())
    }

    /// Puts a file beside the program, as in the zip: `lambda-rds.toml`, `queries/users.sql`.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    /// Starts the function. INIT goes on when this returns; see [`Function::ready`].
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn start(self, api: &RuntimeApi) -> Result<Function> {
        let folder = temporary(&std::env::temp_dir())?;
        let task = self.task()?;
        let bootstrap = task.as_ref().map_or(self.bootstrap.clone(), |task| task.path().join("bootstrap"));
        let root = bootstrap.parent().context("the function has no folder")?;

        let mut command = Command::new(&bootstrap);
        command.args(&self.args);
        command.env_clear().envs(lambda_vars(api, root)).env("TMPDIR", folder.path()).envs(&self.vars);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let (process, pipes) = loop {
            match Process::spawn(&mut command, Signal::KILL) {
                // A copy made a moment ago may still be open for writing in a child that another thread forked.
                Err(error) if is_busy(&error) && started.elapsed() < PATIENCE => thread::yield_now(),
                spawned => break spawned?,
            }
        };
        let log = Log::default();
        log.follow(pipes.stdout)?;
        log.follow(pipes.stderr)?;
        Ok(Function { process, folder, _task: task, api: api.clone(), log, started })
    }

    /// The folder with the program and the files beside it, if there are any.
    fn task(&self) -> Result<Option<TempDir>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        // A hard link, since `current_exe` follows symbolic ones, and so in the file system of the program; a copy,
        // which is large, only where that is not allowed.
        let beside = temporary(self.bootstrap.parent().unwrap_or(Path::new("/")));
        let task = beside.or_else(|_| temporary(&std::env::temp_dir()))?;
        let program = task.path().join("bootstrap");
        fs::hard_link(&self.bootstrap, &program)
            .or_else(|_| fs::copy(&self.bootstrap, &program).map(drop))
            .with_context(|| format!("cannot use {} as the function", self.bootstrap.display()))?;
        for (path, text) in &self.files {
            let path = task.path().join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        Ok(Some(task))
    }
}

fn is_busy(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy)
}

fn temporary(parent: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("lambda-rds-").tempdir_in(parent);
    let folder = made.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    process::remove_at_end(folder.path())?;
    Ok(folder)
}

/// What Lambda sets: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.
/// `LAMBDA_TASK_ROOT` is where the zip is unpacked. The credentials are fake, and no other source of credentials
/// is ever asked.
fn lambda_vars(api: &RuntimeApi, task_root: &Path) -> Vec<(&'static str, OsString)> {
    let mut vars: Vec<(&'static str, OsString)> = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "en_US.UTF-8"),
        ("TZ", ":UTC"),
        ("_HANDLER", "bootstrap"),
        ("AWS_LAMBDA_FUNCTION_NAME", "lambda-rds-test"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/lambda-rds-test"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/31/[$LATEST]0123456789abcdef0123456789abcdef"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "ASIATESTBEDTESTBED00"),
        ("AWS_SECRET_ACCESS_KEY", "testbed-secret-access-key-that-opens-nothing"),
        ("AWS_SESSION_TOKEN", "testbed-session-token-that-opens-nothing"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(key, value)| (key, value.into()))
    .into();
    vars.push(("AWS_LAMBDA_RUNTIME_API", api.address().to_string().into()));
    vars.push(("LAMBDA_TASK_ROOT", task_root.into()));
    vars
}

/// The lines of both pipes.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    read: Arc<watch::Sender<Progress>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    open_pipes: usize,
}

impl Log {
    /// Reads a pipe to its end, on a thread of its own.
    fn follow(&self, pipe: Option<impl Read + Send + 'static>) -> Result<()> {
        let pipe = pipe.context("a pipe is missing")?;
        let log = self.clone();
        log.read.send_modify(|progress| progress.open_pipes += 1);
        thread::Builder::new().name("function's log".to_owned()).spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line);
                lock(&log.lines).push(text.trim_end_matches(['\n', '\r']).to_owned());
                log.read.send_modify(|_| {});
                line.clear();
            }
            log.read.send_modify(|progress| progress.open_pipes -= 1);
        })?;
        Ok(())
    }
}
