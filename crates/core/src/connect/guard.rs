//! What the server says, seen on the wire before the driver sees it.
//!
//! Two things are done with the rows of a statement of ours. Where messages begin, and which of them are rows, is the
//! engine's to say.
//!
//! - One too large to be held is not let in, by its header. A row comes as one message, and the driver holds a message
//!   whole, at times twice, before it shows a part of it. Of a value of 500 MB, which no reply could take, a function
//!   of 128 MB would die.
//! - All but the first are taken off the wire and go straight to the session. The driver would copy each through the
//!   relay's socket and make it a value with allocations of its own, which is three quarters of what a row costs. The
//!   first shows the session what the columns are, and how the statement ended is told by the driver as ever; so the
//!   driver need not know, and a result of one row is as it was.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::stream::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Knows where the messages of one connection begin, and which are rows.
pub trait Messages: Unpin {
    /// A statement is about to be sent whose rows may be taken.
    fn begin(&mut self);

    /// These bytes have gone to the server.
    fn sent(&mut self, bytes: &[u8]);

    /// Passes over the longest front of these bytes, of which there are some, that goes one way. With `take`, the
    /// rows that begin in them are taken, but for the first of the statement. A row is taken whole or not at all.
    fn front(&mut self, bytes: &[u8], take: bool) -> Front;
}

/// The front of some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Front {
    /// How many bytes it has. 0 where those there are do not tell yet which way they go: fewer than [`HELD`], to be
    /// shown again with more behind them.
    pub length: usize,
    /// Whether it is rows that are taken.
    pub taken: bool,
    /// Where the last message ends that ends in it; 0 if none does.
    pub ended: usize,
    /// The length of the largest message that begins in it.
    pub largest: u32,
}

/// What messages are watched for. Two sides share it: the session and the wire.
#[derive(Debug, Default)]
pub struct Guard {
    watching: AtomicBool,
    tripped: AtomicBool,
    /// How many statements have had their rows taken: a new one is seen by its number.
    statements: AtomicU64,
    taken: Mutex<Taken>,
}

/// Rows on their way from the wire to the session, as they came.
#[derive(Debug, Default)]
struct Taken {
    /// A session waits for them, or will.
    wanted: bool,
    bytes: Vec<u8>,
    /// How many of the bytes are whole messages.
    whole: usize,
    session: Option<Waker>,
    wire: Option<Waker>,
}

impl Guard {
    /// Lets no large message in until the watch is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watch {
        self.watching.store(true, Ordering::Relaxed);
        Watch { guard: Arc::clone(self), rows: Vec::new() }
    }

    /// Whether a message was not let in. The connection has ended with it.
    #[must_use]
    pub fn tripped(&self) -> bool {
        self.tripped.load(Ordering::Relaxed)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready, with whether rows are to be taken, once there is room for more of them.
    fn poll_room(&self, context: &Context<'_>) -> Poll<bool> {
        let mut taken = self.taken();
        if taken.whole < ROOM {
            return Poll::Ready(taken.wanted);
        }
        taken.wire = Some(context.waker().clone());
        Poll::Pending
    }

    /// Keeps rows for the session. If it has given up meanwhile, they are nobody's.
    fn take(&self, rows: &[u8], ended: usize) {
        let mut taken = self.taken();
        if !taken.wanted {
            return;
        }
        if ended > 0 {
            taken.whole = taken.bytes.len() + ended;
            if let Some(session) = taken.session.take() {
                session.wake();
            }
        }
        taken.bytes.extend_from_slice(rows);
    }
}

/// The time of one statement of ours; what sea-orm reads on the same connection may be of any size.
#[derive(Debug)]
pub struct Watch {
    guard: Arc<Guard>,
    /// What the session is reading.
    rows: Vec<u8>,
}

/// What comes next of a statement whose rows are taken.
#[derive(Debug)]
pub enum Next<T> {
    /// Rows have come: [`Watch::rows`] has them.
    Rows,
    /// What the driver says.
    Driver(T),
}

impl Watch {
    /// From now on all rows but the first are taken off the wire. Belongs before the statement is sent.
    pub fn take_rows(&mut self) {
        self.guard.taken().wanted = true;
        self.guard.statements.fetch_add(1, Ordering::Release);
    }

    /// Waits for rows, if they are `expected`, and for what the driver says. Before the driver has shown the first row,
    /// there is nothing to expect.
    ///
    /// # Cancel safety
    /// A dropped future has read nothing.
    pub async fn next<S: Stream + Unpin>(&mut self, driver: &mut S, expected: bool) -> Next<Option<S::Item>> {
        std::future::poll_fn(|context| {
            if expected && self.poll_rows(context).is_ready() {
                return Poll::Ready(Next::Rows);
            }
            driver.poll_next_unpin(context).map(Next::Driver)
        })
        .await
    }

    /// The rows that have come since they were last asked for: whole messages, as they came from the server. When the
    /// driver tells the end of the statement, the last of them have come.
    pub fn rows(&mut self) -> &[u8] {
        let mut taken = self.guard.taken();
        self.rows.clear();
        if taken.whole > 0 {
            // What has begun stays, and the buffers are changed.
            self.rows.extend_from_slice(&taken.bytes[taken.whole..]);
            mem::swap(&mut self.rows, &mut taken.bytes);
            self.rows.truncate(mem::take(&mut taken.whole));
            if let Some(wire) = taken.wire.take() {
                wire.wake();
            }
        }
        drop(taken);
        &self.rows
    }

    fn poll_rows(&self, context: &Context<'_>) -> Poll<()> {
        let mut taken = self.guard.taken();
        if taken.whole > 0 {
            return Poll::Ready(());
        }
        if !taken.session.as_ref().is_some_and(|session| session.will_wake(context.waker())) {
            taken.session = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.guard.watching.store(false, Ordering::Relaxed);
        let Taken { wire, .. } = mem::take(&mut *self.guard.taken());
        // There is room again, for nothing: what comes is not kept.
        if let Some(wire) = wire {
            wire.wake();
        }
    }
}

/// The server's side of a connection; reading fails where a message begins that is too large.
///
/// It is read with a buffer of more than [`HELD`] bytes.
#[derive(Debug)]
pub struct Guarded<S, M> {
    stream: S,
    messages: M,
    guard: Arc<Guard>,
    /// The number of the statement whose rows are taken.
    statement: u64,
    /// Bytes that do not tell yet which way they go.
    held: Vec<u8>,
}

impl<S, M: Messages> Guarded<S, M> {
    /// From the message on with which `messages` begin.
    pub fn new(stream: S, messages: M, guard: &Arc<Guard>) -> Self {
        Self { stream, messages, guard: Arc::clone(guard), statement: 0, held: Vec::with_capacity(HELD) }
    }

    /// Notices that another statement is about to be sent.
    fn begin(&mut self) {
        let statement = self.guard.statements.load(Ordering::Acquire);
        if self.statement != statement {
            self.statement = statement;
            self.messages.begin();
        }
    }

    /// Takes from these bytes what does not go to the driver; what does is moved to their front. Returns its length.
    fn sort(&mut self, bytes: &mut [u8], take: bool) -> io::Result<usize> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            let front = self.messages.front(&bytes[at..], take);
            if front.largest > LARGEST && self.guard.watching.load(Ordering::Relaxed) {
                self.guard.tripped.store(true, Ordering::Relaxed);
                return Err(io::Error::other("the server sends a message too large to be held"));
            }
            let end = at + front.length;
            if front.length == 0 {
                self.held.extend_from_slice(&bytes[at..]);
                break;
            }
            if front.taken {
                self.guard.take(&bytes[at..end], front.ended);
            } else {
                bytes.copy_within(at..end, kept);
                kept += front.length;
            }
            at = end;
        }
        Ok(kept)
    }
}

impl<S: AsyncRead + Unpin, M: Messages> AsyncRead for Guarded<S, M> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.begin();
        let before = buffer.filled().len();
        loop {
            let take = ready!(this.guard.poll_room(context));
            if buffer.remaining() <= this.held.len() {
                return Poll::Ready(Err(io::Error::other("bug: read with too small a buffer")));
            }
            buffer.put_slice(&this.held);
            let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
            let come = buffer.filled().len() - before;
            if !matches!(polled, Poll::Ready(Ok(()))) {
                // What is held will be put there again. An error comes without bytes.
                buffer.set_filled(before);
                return polled;
            }
            if come == this.held.len() {
                // The end. What is held is no message, and the driver may say so.
                this.held.clear();
                return Poll::Ready(Ok(()));
            }
            this.held.clear();
            let kept = this.sort(&mut buffer.filled_mut()[before..], take);
            buffer.set_filled(before + kept.as_ref().map_or(0, |kept| *kept));
            // Nothing would be the end: if all of it was taken, there is more to read.
            if !matches!(kept, Ok(0)) {
                return Poll::Ready(kept.map(|_| ()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, M: Messages> AsyncWrite for Guarded<S, M> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.begin();
        let sent = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.messages.sent(&bytes[..sent]);
        Poll::Ready(Ok(sent))
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

/// More than any engine's header, and the byte behind it.
pub const HELD: usize = 8;

/// How many bytes of rows are kept for the session: then the wire waits for it.
const ROOM: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Every message is its length in four bytes, a kind, and so many bytes.
    #[derive(Default)]
    struct Lengths {
        rest: usize,
        taken: bool,
        begun: usize,
        sent: usize,
    }

    impl Messages for Lengths {
        fn begin(&mut self) {
            self.begun += 1;
        }

        fn sent(&mut self, bytes: &[u8]) {
            self.sent += bytes.len();
        }

        fn front(&mut self, bytes: &[u8], take: bool) -> Front {
            let mut front = Front { taken: self.taken, ..Front::default() };
            if self.rest == 0 {
                let Some([a, b, c, d, kind]) = bytes.first_chunk() else { return front };
                front.largest = u32::from_be_bytes([*a, *b, *c, *d]);
                front.length = 5;
                self.rest = front.largest as usize;
                self.taken = take && *kind == b'r';
                front.taken = self.taken;
            }
            let rest = self.rest.min(bytes.len() - front.length);
            self.rest -= rest;
            front.length += rest;
            front.ended = if self.rest == 0 { front.length } else { 0 };
            front
        }
    }

    fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes()[..], &[kind], content].concat()
    }

    #[tokio::test]
    async fn a_large_message_is_let_in_only_when_nobody_watches() {
        for (watched, length, passes) in
            [(true, LARGEST, true), (true, LARGEST + 1, false), (false, u32::MAX, true)]
        {
            let guard = Arc::new(Guard::default());
            let watch = watched.then(|| guard.watch());
            let bytes = [&length.to_be_bytes()[..], b"m"].concat();
            let mut guarded = Guarded::new(&bytes[..], Lengths::default(), &guard);
            assert_eq!(guarded.read_to_end(&mut Vec::new()).await.is_ok(), passes);
            assert_eq!(guard.tripped(), !passes);
            drop(watch);
            assert!(!guard.watching.load(Ordering::Relaxed));
        }
    }

    #[tokio::test]
    async fn rows_go_to_the_session_and_all_else_to_the_driver_however_they_are_cut() {
        let (one, other) = (message(b'r', b"a row"), message(b'r', &[b'x'; 300]));
        let (told, end) = (message(b'm', b"told"), message(b'm', b""));
        let bytes = [&told[..], &one, &other, &told, &one, &end].concat();
        for step in 1..24 {
            let guard = Arc::new(Guard::default());
            let mut watch = guard.watch();
            watch.take_rows();
            let mut guarded = Guarded::new(Pieces(bytes.chunks(step)), Lengths::default(), &guard);
            let mut driver = Vec::new();
            guarded.read_to_end(&mut driver).await.unwrap();
            assert_eq!(driver, [&told[..], &told, &end].concat(), "{step}");
            assert_eq!(guarded.messages.begun, 1);
            let mut silent = stream::pending::<()>();
            assert!(matches!(watch.next(&mut silent, true).await, Next::Rows));
            assert_eq!(watch.rows(), [&one[..], &other, &one].concat(), "{step}");
            assert_eq!(watch.rows(), b"");
        }
    }

    #[tokio::test]
    async fn without_a_session_that_wants_them_rows_go_to_the_driver() {
        let bytes = [message(b'r', b"a row"), message(b'm', b"told")].concat();
        let guard = Arc::new(Guard::default());
        for wanted in [false, true] {
            let mut watch = guard.watch();
            if wanted {
                watch.take_rows();
            }
            drop(watch);
            let mut driver = Vec::new();
            Guarded::new(&bytes[..], Lengths::default(), &guard).read_to_end(&mut driver).await.unwrap();
            assert_eq!(driver, bytes);
        }
    }

    #[tokio::test]
    async fn a_row_that_the_session_gave_up_half_taken_is_nobodys() {
        let row = message(b'r', b"a long row");
        let guard = Arc::new(Guard::default());
        let mut watch = guard.watch();
        watch.take_rows();
        let (mut server, wire) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(wire, Lengths::default(), &guard);
        server.write_all(&row[..8]).await.unwrap();
        let mut buffer = [0; 64];
        assert!(futures_util::poll!(Box::pin(guarded.read(&mut buffer))).is_pending());
        assert_eq!(watch.rows(), b"", "half a row is none");
        drop(watch);
        server.write_all(&row[8..]).await.unwrap();
        server.write_all(&message(b'm', b"end")).await.unwrap();
        let read = guarded.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..read], message(b'm', b"end"));
    }

    #[tokio::test]
    async fn the_wire_waits_for_a_session_that_is_slow() {
        const ROWS: usize = 100;
        let row = message(b'r', &[b'x'; 4000]);
        let bytes = [row.repeat(ROWS), message(b'm', b"end")].concat();
        let guard = Arc::new(Guard::default());
        let mut watch = guard.watch();
        watch.take_rows();
        let mut guarded = Guarded::new(&bytes[..], Lengths::default(), &guard);
        let mut driver = Box::pin(stream::once(async move {
            let mut told = Vec::new();
            guarded.read_to_end(&mut told).await.unwrap();
            told
        }));
        let mut rows = 0;
        let told = loop {
            match watch.next(&mut driver, true).await {
                Next::Rows => {
                    let come = watch.rows();
                    assert!(come.len() < ROOM + 2 * row.len(), "{}", come.len());
                    rows += come.len() / row.len();
                }
                Next::Driver(told) => break told.unwrap(),
            }
        };
        rows += watch.rows().len() / row.len();
        assert_eq!((rows, told), (ROWS, message(b'm', b"end")));
    }

    #[tokio::test]
    async fn what_is_sent_is_shown_and_half_a_header_is_not_kept_at_the_end() {
        let guard = Arc::new(Guard::default());
        let (mut server, wire) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(wire, Lengths::default(), &guard);
        guarded.write_all(b"question").await.unwrap();
        assert_eq!(guarded.messages.sent, 8);
        server.write_all(b"\0\0").await.unwrap();
        drop(server);
        let mut driver = Vec::new();
        guarded.read_to_end(&mut driver).await.unwrap();
        assert_eq!(driver, b"\0\0");
    }

    /// A wire that gives a piece at a time.
    struct Pieces<'a>(std::slice::Chunks<'a, u8>);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(self.0.next().unwrap_or_default());
            Poll::Ready(Ok(()))
        }
    }
}
