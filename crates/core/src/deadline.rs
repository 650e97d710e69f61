//! A point in time by which something must be done, passed down by value.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

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
        tokio::time::timeout_at(self.0, work).await.map_err(|_| Elapsed)
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
}
