//! Child processes that cannot outlive the test process.
//!
//! Each child leads a process group of its own and is told to the *keeper*: a shell that does nothing but read a
//! pipe from us. When the pipe closes, because the test process ended, panicked or was killed, the keeper stops
//! what is still running and removes the folders. That needs no `unsafe`, as `PR_SET_PDEATHSIG` would, and it
//! also serves values in statics, which Rust never drops.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::watch;

use crate::background::lock;

/// How often a blocking wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running child and its process group. Dropped: killed, and waited for.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// Set by the thread that waits for the child. Its lock is held while a signal is sent, so that no signal
    /// goes to a process that happens to have got the pid of a reaped child.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command` in a process group of its own. `stop` is what the keeper sends it if we cannot.
    ///
    /// Pipes that the command asked for are in the returned [`Pipes`].
    pub(crate) fn spawn(command: &mut Command, stop: Signal) -> Result<(Self, Pipes)> {
        let program = command.get_program().to_owned();
        let mut child =
            command.process_group(0).spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let pid = Pid::from_child(&child);
        keeper(&format!("run {}:{}\n", pid.as_raw_nonzero(), stop.as_raw()))?;
        let pipes =
            Pipes { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take() };

        let reaped = Arc::new(Mutex::new(false));
        let (told, exit) = watch::channel(None);
        let flag = Arc::clone(&reaped);
        thread::Builder::new()
            .name(format!("wait {}", pid.as_raw_nonzero()))
            .spawn(move || wait_for(pid, child, &flag, &told))
            .context("cannot start a thread")?;
        Ok((Self { pid, reaped, exit }, pipes))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.unless_reaped(|| rustix::process::kill_process(self.pid, signal))
    }

    /// Signals the child and all who are still in its group.
    pub(crate) fn signal_group(&self, signal: Signal) -> Result<()> {
        self.unless_reaped(|| rustix::process::kill_process_group(self.pid, signal))
    }

    /// A view of the exit that can be awaited: `None` while the child runs.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.exit.clone()
    }

    /// How the child ended, if it has.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Blocks until the child has ended, `limit` at most.
    pub(crate) fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        while self.exited().is_none() && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
        self.exited()
    }

    fn unless_reaped(&self, signal: impl FnOnce() -> rustix::io::Result<()>) -> Result<()> {
        let reaped = lock(&self.reaped);
        if *reaped {
            bail!("process {} has ended", self.pid.as_raw_nonzero());
        }
        signal().with_context(|| format!("cannot signal process {}", self.pid.as_raw_nonzero()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.signal_group(Signal::KILL);
        self.wait(Duration::from_secs(10));
    }
}

/// The ends that we hold of a child's pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<std::process::ChildStdout>,
    pub(crate) stderr: Option<std::process::ChildStderr>,
}

fn wait_for(pid: Pid, mut child: Child, reaped: &Mutex<bool>, told: &watch::Sender<Option<ExitStatus>>) {
    // Waits without reaping, so that the pid stays ours until the lock is held.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // An error leaves the waiting to `wait` below.
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), options));
    let mut reaped = lock(reaped);
    let status = child.wait().unwrap_or_default();
    *reaped = true;
    // If the keeper is gone, so is the whole test process.
    let _ = keeper(&format!("end {}\n", pid.as_raw_nonzero()));
    drop(reaped);
    told.send_replace(Some(status));
}

/// Runs `command` to its end with `input` on its stdin, and returns its stdout.
///
/// # Errors
/// If it cannot be run, takes longer than `limit` (it is killed then), or fails; the error carries its stderr.
pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Result<String> {
    let name = command.get_program().display().to_string();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (process, pipes) = Process::spawn(command, Signal::KILL)?;
    let (status, stdout, stderr) = thread::scope(|scope| {
        // A child that fails early closes its end; its stderr says more than our EPIPE would.
        scope.spawn(|| pipes.stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let stdout = scope.spawn(|| read_all(pipes.stdout));
        let stderr = scope.spawn(|| read_all(pipes.stderr));
        let status = process.wait(limit);
        if status.is_none() {
            let _ = process.signal_group(Signal::KILL);
        }
        (status, stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
    });
    match status {
        None => bail!("{name} did not end within {limit:?}\n{stderr}"),
        Some(status) if !status.success() => bail!("{name} failed: {status}\n{stderr}{stdout}"),
        Some(_) => Ok(stdout),
    }
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks the keeper to remove `folder` when this process has ended.
pub(crate) fn remove_at_end(folder: &Path) -> Result<()> {
    keeper(&format!("folder {}\n", folder.display()))
}

/// Says one line to the keeper, which is started by the first.
fn keeper(line: &str) -> Result<()> {
    static KEEPER: OnceLock<std::io::Result<Mutex<ChildStdin>>> = OnceLock::new();
    let pipe = KEEPER.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", KEEPER_SCRIPT])
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // It ends after us by design, so nobody waits for it.
        child.stdin.take().map(Mutex::new).ok_or_else(|| std::io::Error::other("no pipe"))
    });
    match pipe {
        Ok(pipe) => lock(pipe).write_all(line.as_bytes()).context("the testbed's keeper is gone"),
        Err(error) => bail!("cannot start the testbed's keeper, a shell: {error}"),
    }
}

/// Ended politely within 7 s, else killed. PostgreSQL itself kills children that do not quit after 5 s.
const KEEPER_SCRIPT: &str = r#"
trap '' HUP INT TERM
pids=
while read -r word rest; do
    case $word in
    run) pids="$pids $rest" ;;
    end)
        left=
        for p in $pids; do [ "${p%:*}" = "$rest" ] || left="$left $p"; done
        pids=$left
        ;;
    folder) set -- "$@" "$rest" ;;
    esac
done
for p in $pids; do
    kill -CONT -- "-${p%:*}"
    kill "-${p#*:}" "${p%:*}"
done
ticks=0
while [ "$ticks" -lt 70 ]; do
    alive=
    for p in $pids; do
        # A zombie whose new parent does not reap it counts as ended.
        read -r pid name state more <"/proc/${p%:*}/stat" && [ "$state" != Z ] && alive=1
    done
    [ -n "$alive" ] || break
    ticks=$((ticks + 1))
    sleep 0.1
done
for p in $pids; do kill -KILL -- "-${p%:*}"; done
[ $# -eq 0 ] || rm -rf -- "$@"
"#;
