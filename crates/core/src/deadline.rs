//! A point in time by which something must be done, passed down by value.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::runtime;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A point on the monotonic clock. Copy it freely; the earlier of two always wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        // A span too long for the clock is as good as a year.
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        Self(Instant::now() + span.min(YEAR))
    }

    /// This point on the wall clock, as Lambda states an invocation's deadline. Now, if it has passed.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        Self::after(time.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
    }

    /// The earlier of this one and a span from now.
    #[must_use]
    pub fn within(self, span: Duration) -> Self {
        self.min(Self::after(span))
    }

    /// How long is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The same deadline, this much earlier.
    #[must_use]
    pub fn less(self, span: Duration) -> Self {
        Self(self.0.checked_sub(span).unwrap_or_else(Instant::now))
    }

    /// The same deadline, this much later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.checked_add(span).unwrap_or(self.0))
    }

    /// What is reserved behind this deadline, less what the reply takes of it: until then the server may be told to
    /// stop. A hundred milliseconds stay, since a function with little memory has a fourteenth of a processor; half,
    /// where less than twice that is reserved.
    #[must_use]
    pub(crate) fn into_reserve(self, reserve: Duration) -> Self {
        const REPLY: Duration = Duration::from_millis(100);
        self.plus(reserve - REPLY.min(reserve / 2))
    }

    /// Drives `work` until it is done or the deadline has passed.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline came first.
    ///
    /// # Cancel safety
    /// On `Elapsed`, `work` has been dropped where it stood.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Elapsed> {
        let mut work = pin!(work);
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            // Most work is done at once.
            timer.get_or_insert_with(|| Timer::until(self.0)).poll(context).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// A timer that is kept, and stays set, for the next deadline on this thread.
///
/// A call's deadline is mostly later than that of the call before. To set a timer later is a write to memory, where a new
/// one has tokio wake its driver: two of the 15 system calls of a warm call. The task before may be woken for nothing, once.
struct Timer {
    until: Instant,
    /// Until it is dropped it is there.
    kept: Option<Kept>,
}

/// A timer, and whose it is: no other runtime would wake for it.
type Kept = (runtime::Id, Set);

enum Set {
    Sleep(Pin<Box<Sleep>>),
    #[cfg(target_os = "linux")]
    Alarm(alarm::Alarm),
}

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// Keeps one of the system's timers for the deadlines on this thread, where the system has them: with none of tokio's,
/// tokio waits without a limit. A limit is set and taken back by the system with each wait, three times in a warm call.
pub(crate) fn keep_alarm() {
    #[cfg(target_os = "linux")]
    if let Ok(alarm) = alarm::Alarm::new() {
        KEPT.set(Some((runtime::Handle::current().id(), Set::Alarm(alarm))));
    }
}

impl Timer {
    fn until(until: Instant) -> Self {
        let runtime = runtime::Handle::current().id();
        let set = match KEPT.try_with(Cell::take) {
            Ok(Some((its, mut set))) if its == runtime => {
                match &mut set {
                    Set::Sleep(sleep) => sleep.as_mut().reset(until),
                    #[cfg(target_os = "linux")]
                    Set::Alarm(alarm) => alarm.not_after(until),
                }
                set
            }
            _ => Set::Sleep(Box::pin(sleep_until(until))),
        };
        Self { until, kept: Some((runtime, set)) }
    }

    /// Whether it is time, however much the task has done since it last waited.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.kept {
            Some((_, Set::Sleep(sleep))) => pin!(unconstrained(sleep.as_mut())).poll(context),
            #[cfg(target_os = "linux")]
            Some((_, Set::Alarm(alarm))) => {
                pin!(unconstrained(poll_fn(|context| alarm.poll(self.until, context)))).poll(context)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|place| match place.take() {
            // Several have waited at once.
            #[cfg(target_os = "linux")]
            Some(alarm @ (_, Set::Alarm(_))) => place.set(Some(alarm)),
            _ => place.set(Some(kept)),
        });
    }
}

/// A timer of Linux's: <https://man7.org/linux/man-pages/man2/timerfd_create.2.html>.
#[cfg(target_os = "linux")]
mod alarm {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    pub(super) struct Alarm {
        fd: AsyncFd<OwnedFd>,
        /// When it goes off, or has gone off; `None` if it is not set.
        set: Option<Instant>,
    }

    impl Alarm {
        /// One on this runtime, by the clock that [`Instant`] has.
        #[allow(
            deprecated,
            reason = "its successor, unsafe, asks for what an `OwnedFd` is: open and the same to the end"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self { fd: AsyncFd::new(fd)?, set: None })
        }

        /// Sees to it that it goes off by then. Where it does so earlier, it is set again only once it has.
        pub(super) fn not_after(&mut self, until: Instant) {
            if self.set.is_none_or(|set| until < set) {
                self.set(until);
            }
        }

        fn set(&mut self, until: Instant) {
            // Zero would be never.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let spec = Itimerspec {
                it_interval: never,
                it_value: Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
            };
            // It fails for no timer that is one, and for no span of these.
            let set = timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec);
            debug_assert!(set.is_ok(), "{set:?}");
            self.set = Some(until);
        }

        /// Whether it is that time.
        pub(super) fn poll(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
            loop {
                let gone_off = ready!(self.fd.poll_read_ready(context));
                // A runtime that ends wakes nobody any more.
                let Ok(mut gone_off) = gone_off else { return Poll::Ready(()) };
                if until <= Instant::now() {
                    return Poll::Ready(());
                }
                // It was for an earlier one. Set again, it has not gone off.
                gone_off.clear_ready();
                self.set(until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_has_a_hundred_milliseconds() {
        let by = Deadline::after(Duration::from_secs(1));
        for (reserve, used) in [(250, 150), (200, 100), (150, 75), (0, 0), (5_000, 4_900)] {
            let millis = Duration::from_millis;
            assert_eq!(by.into_reserve(millis(reserve)), by.plus(millis(used)), "{reserve}");
        }
    }

    /// Whatever the kept timer was set for, one after the other and one in the other.
    #[tokio::test(start_paused = true)]
    async fn a_kept_timer_keeps_every_deadline() {
        let begun = Instant::now();
        let seconds = Duration::from_secs;
        let bound = |by, work| async move {
            Deadline::after(seconds(by)).bound(tokio::time::sleep(seconds(work))).await
        };
        for (by, work, outcome, passed) in [
            // Set, and kept while it is set.
            (20, 1, Ok(()), 1),
            // Later, earlier, and earlier than what it was set for.
            (50, 30, Ok(()), 31),
            (5, 4, Ok(()), 35),
            (5, 6, Err(Elapsed), 40),
            // One that has gone off.
            (2, 3, Err(Elapsed), 42),
            (60, 59, Ok(()), 101),
        ] {
            assert_eq!(bound(by, work).await, outcome);
            assert_eq!(begun.elapsed().as_secs(), passed);
        }
        // One waits in the other, so that there are two.
        let within = Deadline::after(seconds(9)).bound(async {
            tokio::join!(bound(3, 30), bound(30, 4), bound(2, 1), async { bound(100, 50).await })
        });
        assert_eq!(within.await, Err(Elapsed));
        assert_eq!(begun.elapsed().as_secs(), 110);
        // It goes off once, whoever waited for it, and stops nobody.
        tokio::time::sleep(seconds(1_000)).await;
        assert_eq!(bound(1, 2).await, Err(Elapsed));
    }

    /// A timer wakes whoever waits now, on whatever runtime that is.
    #[test]
    fn each_runtime_has_its_own() {
        for _ in 0..3 {
            let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let ready = Deadline::after(Duration::from_secs(600)).bound(tokio::task::yield_now());
                assert_eq!(ready.await, Ok(()));
                let late = Deadline::after(Duration::from_millis(5)).bound(std::future::pending::<()>());
                assert_eq!(late.await, Err(Elapsed));
            });
        }
    }

    /// As with tokio's own: who never waits for long is late all the same.
    #[tokio::test]
    async fn a_task_that_is_always_busy_is_late() {
        assert_eq!(Deadline::after(Duration::from_millis(20)).bound(always_busy()).await, Err(Elapsed));
    }

    async fn always_busy() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        loop {
            sender.send(()).unwrap();
            receiver.recv().await;
        }
    }

    /// The same with the system's timer, in real time.
    #[cfg(target_os = "linux")]
    mod with_an_alarm {
        use super::*;

        async fn bound<F: Future>(by: u64, work: F) -> Result<F::Output, Elapsed> {
            Deadline::after(Duration::from_millis(by)).bound(work).await
        }

        /// Ends after so many milliseconds, with none of tokio's timers.
        async fn work(millis: u64) {
            let (done, end) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(millis));
                let _ = done.send(());
            });
            end.await.unwrap();
        }

        fn keeps_an_alarm() -> bool {
            let kept = KEPT.take();
            let alarm = matches!(kept, Some((_, Set::Alarm(_))));
            KEPT.set(kept);
            alarm
        }

        /// On a runtime that has no timers: to ask for one would be a panic.
        #[test]
        fn it_keeps_every_deadline() {
            let runtime = runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                keep_alarm();
                let far = 600_000;
                for (by, takes, outcome) in [
                    // Set, and kept while it is set.
                    (far, Some(5), Ok(())),
                    // Earlier, and earlier than what it was set for.
                    (20, None, Err(Elapsed)),
                    // One that has gone off, and is set again.
                    (20, None, Err(Elapsed)),
                    (far, Some(5), Ok(())),
                    (10, Some(600), Err(Elapsed)),
                    // It goes off for an earlier one while a later one waits.
                    (40, Some(1), Ok(())),
                    (150, None, Err(Elapsed)),
                    (30, Some(1), Ok(())),
                    (far, Some(100), Ok(())),
                    (0, None, Err(Elapsed)),
                ] {
                    let begun = Instant::now();
                    let ended = bound(by, async {
                        match takes {
                            Some(millis) => work(millis).await,
                            None => std::future::pending().await,
                        }
                    });
                    assert_eq!(ended.await, outcome, "{by} {takes:?}");
                    let (passed, due) = (begun.elapsed(), if outcome.is_ok() { takes.unwrap() } else { by });
                    let due = Duration::from_millis(due);
                    // Much sooner than what is far or long; whoever shares the machine may take the rest.
                    assert!(
                        due <= passed && passed < due + Duration::from_secs(60),
                        "{by} {takes:?}: {passed:?}"
                    );
                    assert!(keeps_an_alarm());
                }
                // Nobody waits, and it goes off: the next one waits as long as it says.
                assert_eq!(bound(5, work(0)).await, Ok(()));
                std::thread::sleep(Duration::from_millis(10));
                tokio::task::yield_now().await;
                let begun = Instant::now();
                assert_eq!(bound(50, std::future::pending::<()>()).await, Err(Elapsed));
                assert!(begun.elapsed() >= Duration::from_millis(50));
            });
        }

        /// Whichever of them ends last, the system's is the one that is kept.
        #[tokio::test]
        async fn several_at_once_keep_it() {
            keep_alarm();
            let far = 600_000;
            for (outer, inner) in [(far, far), (far, 20)] {
                let late = bound(outer, async { tokio::join!(bound(inner, work(40)), bound(far, work(1))) });
                let expected = if inner == far { Ok(()) } else { Err(Elapsed) };
                assert_eq!(late.await, Ok((expected, Ok(()))));
                assert!(keeps_an_alarm());
            }
            assert_eq!(bound(20, bound(far, std::future::pending::<()>())).await, Err(Elapsed));
            assert!(keeps_an_alarm());
            // The first to end is the one with the alarm.
            let (first, second) = tokio::join!(bound(far, work(1)), bound(far, work(30)));
            assert_eq!((first, second), (Ok(()), Ok(())));
            assert!(keeps_an_alarm());
        }

        #[test]
        fn a_task_that_is_always_busy_is_late() {
            let runtime = runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                keep_alarm();
                assert_eq!(bound(20, always_busy()).await, Err(Elapsed));
            });
        }
    }
}
