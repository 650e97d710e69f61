//! A message too large to be held, seen by its header and not let in.
//!
//! A row comes as one message, and the driver holds a message whole, at times twice, before it shows a part of
//! it. Of a value of 500 MB, which no reply could take, a function of 128 MB would die.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use lambda_rds_core::error::{Error, Fault};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether messages are watched, and whether one was too large. Two sides share it: the session and the wire.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    watching: AtomicBool,
    tripped: AtomicBool,
}

impl Guard {
    /// Lets no large message in until the watch is dropped.
    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        self.watching.store(true, Ordering::Relaxed);
        Watch(Arc::clone(self))
    }

    /// Whether a message was not let in. The connection has ended with it.
    pub(crate) fn tripped(&self) -> bool {
        self.tripped.load(Ordering::Relaxed)
    }
}

/// The time of one statement of ours; what sea-orm reads on the same connection may be of any size.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Guard>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watching.store(false, Ordering::Relaxed);
    }
}

/// The server's side of a connection; reading fails where a message begins that is too large.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    messages: Messages,
    guard: Arc<Guard>,
}

impl<S> Guarded<S> {
    /// From the first message of the server on.
    pub(crate) fn new(stream: S, guard: &Arc<Guard>) -> Self {
        Self { stream, messages: Messages::default(), guard: Arc::clone(guard) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
const LARGEST: u32 = 12 * 1024 * 1024;

/// The failure of a statement whose row was not let in.
pub(crate) fn too_large() -> Error {
    Error::told(
        Fault::ResultTooLarge,
        "A row of the result is larger than the 12 MiB that are read at once. Ask for a part of it at a time.",
    )
    .with_detail("select a part of a long value, such as `substr(data, :start::int, 100000)` or `tags[1:100]`")
}

/// Where the messages are: each a byte for its kind, and its length without that.
/// <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>
#[derive(Debug, Default)]
struct Messages {
    /// What has come of the next header.
    header: [u8; HEADER],
    come: usize,
    /// How much of the current message is yet to come.
    rest: u32,
}

const HEADER: usize = 5;

impl Messages {
    /// Passes over these bytes, and gives the length of the largest message that begins in them.
    fn follow(&mut self, mut bytes: &[u8]) -> u32 {
        let mut largest = 0;
        while !bytes.is_empty() {
            let of_message = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
            bytes = &bytes[of_message..];
            // No more than `rest`.
            self.rest -= u32::try_from(of_message).unwrap_or(self.rest);
            let of_header = bytes.len().min(HEADER - self.come);
            self.header[self.come..self.come + of_header].copy_from_slice(&bytes[..of_header]);
            self.come += of_header;
            bytes = &bytes[of_header..];
            if self.come == HEADER {
                let [_, a, b, c, d] = self.header;
                let length = u32::from_be_bytes([a, b, c, d]);
                largest = largest.max(length);
                // The length counts its own four bytes; what says less is no message, and the driver says so.
                self.rest = length.saturating_sub(4);
                self.come = 0;
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut bytes = Vec::new();
        for length in [4_u32, 5, 4000, 4, 77] {
            bytes.push(b'D');
            bytes.extend_from_slice(&length.to_be_bytes());
            // Bytes that would be large messages, were they taken for headers.
            bytes.resize(bytes.len() + length as usize - 4, 0xff);
        }
        for step in 1..50 {
            let mut messages = Messages::default();
            let largest = bytes.chunks(step).map(|chunk| messages.follow(chunk)).max();
            assert_eq!(largest, Some(4000), "{step}");
            assert_eq!((messages.rest, messages.come), (0, 0));
        }
    }

    #[tokio::test]
    async fn a_large_message_is_let_in_only_when_nobody_watches() {
        let message = |length: u32| [&b"D"[..], &length.to_be_bytes()].concat();
        for (watched, length, passes) in
            [(true, LARGEST, true), (true, LARGEST + 1, false), (false, u32::MAX, true)]
        {
            let guard = Arc::new(Guard::default());
            let watch = watched.then(|| guard.watch());
            let bytes = message(length);
            let mut guarded = Guarded::new(&bytes[..], &guard);
            assert_eq!(guarded.read_to_end(&mut Vec::new()).await.is_ok(), passes);
            assert_eq!(guard.tripped(), !passes);
            drop(watch);
            assert!(!guard.watching.load(Ordering::Relaxed));
        }
    }
}
