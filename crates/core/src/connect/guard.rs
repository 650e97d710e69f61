//! A message too large to be held, seen by its header and not let in.
//!
//! A row comes as one message, and the driver holds a message whole, at times twice, before it shows a part of
//! it. Of a value of 500 MB, which no reply could take, a function of 128 MB would die. Where messages begin is the
//! engine's to say.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Knows where the messages of one connection begin.
pub trait Messages: Unpin {
    /// Passes over these bytes, and gives the length of the largest message that begins in them.
    fn follow(&mut self, bytes: &[u8]) -> u32;
}

/// Whether messages are watched, and whether one was too large. Two sides share it: the session and the wire.
#[derive(Debug, Default)]
pub struct Guard {
    watching: AtomicBool,
    tripped: AtomicBool,
}

impl Guard {
    /// Lets no large message in until the watch is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watch {
        self.watching.store(true, Ordering::Relaxed);
        Watch(Arc::clone(self))
    }

    /// Whether a message was not let in. The connection has ended with it.
    #[must_use]
    pub fn tripped(&self) -> bool {
        self.tripped.load(Ordering::Relaxed)
    }
}

/// The time of one statement of ours; what sea-orm reads on the same connection may be of any size.
#[derive(Debug)]
pub struct Watch(Arc<Guard>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watching.store(false, Ordering::Relaxed);
    }
}

/// The server's side of a connection; reading fails where a message begins that is too large.
#[derive(Debug)]
pub struct Guarded<S, M> {
    stream: S,
    messages: M,
    guard: Arc<Guard>,
}

impl<S, M> Guarded<S, M> {
    /// From the message on with which `messages` begin.
    pub fn new(stream: S, messages: M, guard: &Arc<Guard>) -> Self {
        Self { stream, messages, guard: Arc::clone(guard) }
    }
}

impl<S: AsyncRead + Unpin, M: Messages> AsyncRead for Guarded<S, M> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let largest = self.messages.follow(&buffer.filled()[before..]);
        if largest > LARGEST && self.guard.watching.load(Ordering::Relaxed) {
            self.guard.tripped.store(true, Ordering::Relaxed);
            // An error comes without bytes.
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other("the server sends a message too large to be held")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, M: Unpin> AsyncWrite for Guarded<S, M> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The largest message that is let in, in bytes: far above the largest reply, since what is on the wire may be
/// longer than its JSON, an array of small numbers up to six times.
pub const LARGEST: u32 = 12 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Every four bytes are a message, and its length.
    struct Lengths;

    impl Messages for Lengths {
        fn follow(&mut self, bytes: &[u8]) -> u32 {
            bytes.chunks(4).map(|length| u32::from_be_bytes(length.try_into().unwrap())).max().unwrap_or(0)
        }
    }

    #[tokio::test]
    async fn a_large_message_is_let_in_only_when_nobody_watches() {
        for (watched, length, passes) in
            [(true, LARGEST, true), (true, LARGEST + 1, false), (false, u32::MAX, true)]
        {
            let guard = Arc::new(Guard::default());
            let watch = watched.then(|| guard.watch());
            let bytes = length.to_be_bytes();
            let mut guarded = Guarded::new(&bytes[..], Lengths, &guard);
            assert_eq!(guarded.read_to_end(&mut Vec::new()).await.is_ok(), passes);
            assert_eq!(guard.tripped(), !passes);
            drop(watch);
            assert!(!guard.watching.load(Ordering::Relaxed));
        }
    }
}
