//! What the machine takes for itself is noticed, and excuses a failure; nothing else does.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lambda_rds_testbed::{Stalls, unless_stalled};
use rustix::process::{Pid, Signal, kill_process};

/// A process with a watch, which tells how long it has stalled whenever it is asked.
struct Watcher {
    child: Child,
    ask: ChildStdin,
    told: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed-watcher"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let ask = child.stdin.take().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, ask, told }
    }

    fn stalled(&mut self) -> Duration {
        self.ask.write_all(b"?\n").unwrap();
        Duration::from_micros(self.told.next().unwrap().unwrap().parse().unwrap())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A process that is stopped sees of it what one sees whose machine stops.
#[test]
fn a_stop_is_noticed() {
    let mut watcher = Watcher::start();
    let before = watcher.stalled();
    let pid = Pid::from_child(&watcher.child);
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = Instant::now();
    std::thread::sleep(Duration::from_millis(400));
    let stopped = stopped.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    let noticed = watcher.stalled() - before;
    // It was asleep for a moment when it was stopped.
    assert!(noticed >= stopped - Duration::from_millis(50), "{noticed:?} of {stopped:?}");
}

/// Who sleeps is woken soon on a busy machine, and who works waits: that the kernel tells.
#[test]
fn a_busy_machine_is_noticed() {
    if !std::path::Path::new("/proc/pressure/cpu").exists() {
        return;
    }
    let over = Arc::new(AtomicBool::new(false));
    let stalls = Stalls::watch();
    let busy: Vec<_> = (0..20 * std::thread::available_parallelism().unwrap().get())
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || while !over.load(Ordering::Relaxed) {})
        })
        .collect();
    let end = Instant::now() + Duration::from_secs(60);
    while stalls.so_far() < Duration::from_millis(500) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    over.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(stalls.so_far() >= Duration::from_millis(500), "{:?}", stalls.so_far());
}

/// A limit that no machine stalls a quarter of.
const HOURS: Duration = Duration::from_secs(100 * 3600);

#[tokio::test]
async fn an_attempt_that_holds_is_the_last() {
    let attempts = Cell::new(0);
    let held = unless_stalled(HOURS, async || {
        attempts.set(attempts.get() + 1);
        Ok::<_, String>(7)
    });
    assert_eq!((held.await, attempts.get()), (7, 1));
}

#[tokio::test]
#[should_panic = "the second would hold"]
async fn one_that_counts_and_does_not_hold_fails() {
    let attempts = Cell::new(0);
    unless_stalled(HOURS, async || {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 { Err("the second would hold".to_owned()) } else { Ok(()) }
    })
    .await;
}

/// Makes the machine busy enough for a limit of nothing.
async fn stall() {
    let stalls = Stalls::watch();
    while stalls.so_far() == Duration::ZERO {
        // This runtime has one thread: nobody else is kept from anything.
        let begun = Instant::now();
        let threads: Vec<_> = (0..4 * std::thread::available_parallelism().unwrap().get())
            .map(|_| std::thread::spawn(move || while begun.elapsed() < Duration::from_millis(50) {}))
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[tokio::test]
async fn one_that_the_machine_spoils_is_made_again() {
    let attempts = Cell::new(0);
    let held = unless_stalled(Duration::ZERO, async || {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 3 {
            return Ok(());
        }
        stall().await;
        Err("late".to_owned())
    });
    held.await;
    assert_eq!(attempts.get(), 3);
}

#[tokio::test]
#[should_panic = "the machine stalled too much, in each of 10 attempts"]
async fn one_that_the_machine_always_spoils_fails() {
    unless_stalled(Duration::ZERO, async || {
        stall().await;
        Err::<(), _>("late".to_owned())
    })
    .await;
}
