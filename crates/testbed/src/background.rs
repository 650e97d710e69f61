//! The runtime of the stand-ins: its own two threads, so that they answer while the test's runtime is busy,
//! and real time, even where the test has paused tokio's clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::{Builder, Handle, Runtime};

/// The handle of the runtime that all stand-ins of this process share.
pub(crate) fn handle() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).thread_name("testbed").enable_all().build()
    });
    match started {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => bail!("cannot start the testbed's own runtime: {error}"),
    }
}

/// Waits for `future` in real time, `limit` at most; `what` completes the sentence "waited 5s for …".
pub(crate) async fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let waiting = handle()?.spawn(tokio::time::timeout(limit, future));
    // A caller who stops waiting takes the task with it, so that nothing is consumed on its behalf later.
    let abort = AbortOnDrop(waiting.abort_handle());
    let waited = waiting.await.context("a task of the testbed panicked")?;
    drop(abort);
    waited.ok().with_context(|| format!("waited {limit:?} for {what}"))
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Locks, also after another test's panic: the states guarded here are whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that nobody else is likely to get: the standard library's hash keys are the only source needed.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
