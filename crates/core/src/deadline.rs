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
struct Timer(Option<Kept>);

/// A timer, and whose it is: no other runtime would wake for it.
type Kept = (runtime::Id, Pin<Box<Sleep>>);

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

impl Timer {
    fn until(deadline: Instant) -> Self {
        let runtime = runtime::Handle::current().id();
        let mut sleep = match KEPT.try_with(Cell::take) {
            Ok(Some((its, sleep))) if its == runtime => sleep,
            _ => return Self(Some((runtime, Box::pin(sleep_until(deadline))))),
        };
        sleep.as_mut().reset(deadline);
        Self(Some((runtime, sleep)))
    }

    /// Whether it is time, however much the task has done since it last waited.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some((_, sleep)) => pin!(unconstrained(sleep.as_mut())).poll(context),
            // Until it is dropped it is there.
            None => Poll::Pending,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            // A thread that ends keeps nothing.
            let _ = KEPT.try_with(|place| place.set(Some(kept)));
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
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let busy = async {
            loop {
                sender.send(()).unwrap();
                receiver.recv().await;
            }
        };
        assert_eq!(Deadline::after(Duration::from_millis(20)).bound(busy).await, Err::<(), _>(Elapsed));
    }
}
