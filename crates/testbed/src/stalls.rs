//! What the machine takes for itself while something is measured.
//!
//! A bound such as 200 ms is a promise of what is tested, on a machine that is there. One that others use stops for as
//! long, now and then. Then the attempt says nothing; but only then: an attempt that fails on a machine that was there
//! fails the test, and nothing ever passes but what has held.
//!
//! Three things tell of a stall, each of which misses some: a thread that sleeps for a moment and is late; Linux's
//! account of the time in which somebody waited for a processor, for the disk or for memory
//! (<https://docs.kernel.org/accounting/psi.html>); and what the hypervisor took (`steal`, proc_stat(5)). The longest
//! counts, for they are mostly of the same time.

use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::background::lock;

/// Makes an attempt that must hold, and gives what it held: see [`Attempts`].
///
/// # Panics
/// As [`Attempts::end`].
pub async fn unless_stalled<T>(limit: Duration, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut attempts = Attempts::new(limit);
    loop {
        if let Some(held) = attempts.end(attempt().await).await {
            return held;
        }
    }
}

/// Attempts at what must hold.
///
/// One that does not hold says why, and counts, unless the machine stalled meanwhile for more than a quarter of the limit,
/// the shortest time that the attempt is about: then it is made again, when the machine has come to rest, ten times in all.
/// One that holds has held, whatever the machine did.
#[derive(Debug)]
pub struct Attempts {
    limit: Duration,
    stalls: Stalls,
    spoilt: Vec<String>,
}

impl Attempts {
    /// The first one begins now.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, stalls: Stalls::watch(), spoilt: Vec::new() }
    }

    /// What the machine did before is of no matter: for an attempt that begins with what takes long.
    pub fn begin_here(&mut self) {
        self.stalls = Stalls::watch();
    }

    /// Ends an attempt. None: another one begins now.
    ///
    /// # Panics
    /// If it counts and does not hold, or if this is the tenth that the machine spoilt.
    pub async fn end<T>(&mut self, attempt: Result<T, String>) -> Option<T> {
        let failure = match attempt {
            Ok(held) => return Some(held),
            Err(failure) => failure,
        };
        match judge(self.limit, self.stalls.so_far(), failure) {
            Verdict::Counts(failure) => panic!("{failure}"),
            Verdict::Spoilt(failure) => self.spoilt.push(failure),
        }
        assert!(
            self.spoilt.len() < ATTEMPTS,
            "the machine stalled too much, in each of {ATTEMPTS} attempts:\n{}",
            self.spoilt.join("\n")
        );
        rest().await;
        self.begin_here();
        None
    }
}

/// A watch over the machine.
#[derive(Debug)]
pub struct Stalls {
    since: Reading,
}

impl Stalls {
    /// Watches from now on.
    #[must_use]
    pub fn watch() -> Self {
        Self { since: Reading::now() }
    }

    /// For how long the machine has stalled.
    #[must_use]
    pub fn so_far(&self) -> Duration {
        Reading::now().since(self.since)
    }
}

/// What a failed attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Counts(String),
    Spoilt(String),
}

fn judge(limit: Duration, stalled: Duration, failure: String) -> Verdict {
    if stalled > limit / 4 {
        Verdict::Spoilt(format!("stalled for {stalled:?}, {failure}"))
    } else {
        Verdict::Counts(format!("{failure}\n(the machine stalled for {stalled:?}, the limit is {limit:?})"))
    }
}

/// Waits until the machine has nothing else to do for a moment; not for ever.
async fn rest() {
    const MOMENT: Duration = Duration::from_millis(200);
    let end = Instant::now() + Duration::from_secs(3);
    loop {
        let moment = Stalls::watch();
        tokio::time::sleep(MOMENT).await;
        if moment.so_far() < MOMENT / 10 || Instant::now() > end {
            return;
        }
    }
}

/// All stalls until a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    late: Duration,
    /// For a processor, for the disk, for memory.
    waited: [Duration; 3],
    stolen: Duration,
}

impl Reading {
    fn now() -> Self {
        // Not everywhere; then the sleeper is alone.
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            late: sleeper().late(Instant::now()),
            waited: ["cpu", "io", "memory"].map(|what| waited(&read(&format!("/proc/pressure/{what}")))),
            stolen: stolen(&read("/proc/stat")),
        }
    }

    fn since(self, before: Self) -> Duration {
        let waited = self.waited.into_iter().zip(before.waited);
        let waited = waited.map(|(now, before)| now.saturating_sub(before)).max().unwrap_or_default();
        let late = self.late.saturating_sub(before.late);
        late.max(waited).max(self.stolen.saturating_sub(before.stolen))
    }
}

/// For how long somebody had to wait: `some avg10=0.10 avg60=0.02 avg300=0.00 total=70318` in microseconds.
fn waited(pressure: &str) -> Duration {
    let some = pressure.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.split("total=").nth(1)).and_then(|total| total.trim().parse().ok());
    Duration::from_micros(total.unwrap_or(0))
}

/// What the hypervisor took of all processors: the eighth number of `cpu 37282 0 7536 22786 870 0 45 92 0 0`, in
/// hundredths of a second, whatever the kernel's own clock is.
fn stolen(stat: &str) -> Duration {
    let all = stat.lines().find(|line| line.starts_with("cpu "));
    let ticks: Option<u64> = all.and_then(|line| line.split_whitespace().nth(8)).and_then(|n| n.parse().ok());
    Duration::from_millis(ticks.unwrap_or(0) * 10)
}

/// A thread that sleeps, and how late it woke up.
#[derive(Debug)]
struct Sleeper {
    awake: Mutex<Awake>,
}

#[derive(Debug)]
struct Awake {
    last: Instant,
    late: Duration,
}

impl Sleeper {
    /// How late it has been in all, until now: it may be late at this very moment.
    fn late(&self, now: Instant) -> Duration {
        let awake = lock(&self.awake);
        awake.late + lateness(now.saturating_duration_since(awake.last))
    }

    fn sleep(&self) -> ! {
        loop {
            thread::sleep(NAP);
            let mut awake = lock(&self.awake);
            let now = Instant::now();
            let took = now.saturating_duration_since(awake.last);
            *awake = Awake { last: now, late: awake.late + lateness(took) };
        }
    }
}

/// Of a nap that took so long. Some milliseconds are how systems sleep.
fn lateness(took: Duration) -> Duration {
    let late = took.saturating_sub(NAP);
    if late > NAP { late } else { Duration::ZERO }
}

fn sleeper() -> &'static Sleeper {
    static SLEEPER: OnceLock<Sleeper> = OnceLock::new();
    static STARTED: OnceLock<bool> = OnceLock::new();
    let sleeper = SLEEPER
        .get_or_init(|| Sleeper { awake: Mutex::new(Awake { last: Instant::now(), late: Duration::ZERO }) });
    let started = STARTED.get_or_init(|| {
        let thread = thread::Builder::new().name("stalls".to_owned());
        thread.spawn(|| sleeper.sleep()).is_ok()
    });
    assert!(started, "no thread can be started");
    sleeper
}

/// How long the thread sleeps at a time.
const NAP: Duration = Duration::from_millis(5);
/// How many attempts there are.
const ATTEMPTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_accounts_are_read() {
        let pressure = "some avg10=69.01 avg60=52.26 avg300=18.97 total=70318502\n\
                        full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(waited(pressure), Duration::from_micros(70_318_502));
        let stat = "cpu  37282 0 7536 22786 870 0 45 92 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(stolen(stat), Duration::from_millis(920));
        // Where there are none, nothing is made up.
        assert_eq!((waited(""), stolen("")), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_nap_is_late_by_more_than_systems_are() {
        let millis = Duration::from_millis;
        for (took, late) in [(0, 0), (5, 0), (9, 0), (10, 0), (11, 6), (300, 295)] {
            assert_eq!(lateness(millis(took)), millis(late), "{took}");
        }
    }

    #[test]
    fn the_longest_of_what_is_told_counts() {
        let millis = Duration::from_millis;
        let reading = |late, waited: [u64; 3], stolen| Reading {
            late: millis(late),
            waited: waited.map(millis),
            stolen: millis(stolen),
        };
        let before = reading(100, [1_000, 50, 0], 10);
        for (now, stalled) in [
            (before, 0),
            (reading(130, [1_000, 50, 0], 10), 30),
            (reading(130, [1_010, 90, 0], 10), 40),
            (reading(130, [1_010, 90, 0], 60), 50),
        ] {
            assert_eq!(now.since(before), millis(stalled), "{now:?}");
        }
    }

    #[test]
    fn a_failure_counts_unless_the_machine_stalled_for_more_than_a_quarter_of_the_limit() {
        let limit = Duration::from_millis(200);
        let verdict = |stalled| judge(limit, Duration::from_millis(stalled), "late".to_owned());
        assert!(matches!(verdict(0), Verdict::Counts(_)));
        assert!(matches!(verdict(50), Verdict::Counts(failure) if failure.starts_with("late\n")));
        assert!(matches!(verdict(51), Verdict::Spoilt(failure) if failure.ends_with("late")));
    }
}
