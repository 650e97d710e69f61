//! The wire to a server: bytes both ways over TCP or TLS, reading while it writes, and what can be known of it
//! without asking the server.
//!
//! A protocol puts messages into [`Wire::output`] and takes what comes out of [`Wire::input`]; [`Wire::turn`] moves both.
//! So a statement of many megabytes never waits for a server that waits for its answer to be read, and no more than
//! [`FEED`] bytes of what is to be sent are held, where a protocol feeds them in parts.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect::dial;
use crate::connect::tls::{self, TlsClient};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};

/// How many bytes wait to be sent at the most before a protocol that has more to say is asked for it.
pub const FEED: usize = 64 * 1024;

/// A connection, as the server lets us have it.
pub struct Wire {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    /// Why nothing more can be sent. The server's last words may still be read.
    broken: Option<io::Error>,
    /// Nothing more can be read either.
    ended: bool,
    /// Bytes given to the kernel in all.
    sent: u64,
    /// Bytes given to it since something was last heard.
    unanswered: u64,
    flights: u64,
    /// Whether the peer has been given more than it may take at once: see [`dial::set_patience`].
    patient: bool,
}

/// What a [`Wire::turn`] was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is something new in the input.
    Heard,
    /// There is room in the output for more.
    Room,
}

enum Stream {
    Tls(Box<TlsStream<Corked>>),
    Plain(Corked),
}

impl Wire {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn plain(tcp: TcpStream) -> Self {
        Self::new(Stream::Plain(Corked { tcp, held: Vec::new(), corked: false }))
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            broken: None,
            ended: false,
            sent: 0,
            unanswered: 0,
            flights: 0,
            patient: false,
        }
    }

    /// Encrypts the connection, if these settings say so. What is in the output, the request for TLS, goes out with
    /// TLS's own first words; and TLS's last words with what is said next.
    ///
    /// # Errors
    /// That TLS failed, or the connection under it, or that there was no answer in time. [`Fault::Unreachable`] with
    /// [`Phase::Tls`] if bytes have come already: somebody in between has put them there, before the server was known.
    pub async fn encrypt(self, tls: &TlsClient, by: Deadline) -> Result<Self> {
        let Some((config, name)) = tls.config() else { return Ok(self) };
        let refused = |detail: String| Error::new(Fault::Unreachable, detail).with_phase(Phase::Tls);
        let Stream::Plain(Corked { tcp, .. }) = self.stream else {
            return Err(refused("bug: the connection is encrypted already".to_owned()));
        };
        if !self.input.is_empty() {
            return Err(refused(format!("`{}` said something before TLS had begun", tls.name())));
        }
        let mut corked = Corked { tcp, held: self.output.to_vec(), corked: true };
        corked.held.reserve(1024);
        match by.bound(TlsConnector::from(config).connect(name, corked).into_fallible()).await {
            Ok(Ok(stream)) => Ok(Self::new(Stream::Tls(Box::new(stream)))),
            Ok(Err((error, mut corked))) => {
                // The server's log tells what we did not like, if it gets the alert.
                corked.corked = false;
                let _ = by.bound(corked.flush()).await;
                Err(tls.explain(&error))
            }
            Err(_) => Err(refused(format!("`{}` did not answer the TLS handshake in time", tls.name()))),
        }
    }

    /// What the handshake has agreed on; `None` without TLS.
    #[must_use]
    pub fn agreed(&self) -> Option<String> {
        match &self.stream {
            Stream::Tls(stream) => Some(tls::agreed(stream.get_ref().1)),
            Stream::Plain(_) => None,
        }
    }

    /// Sends what is written from now on at once. Belongs after the login.
    pub fn uncork(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.get_mut().0.corked = false;
        }
    }

    /// What has come and has not been taken: [`Wire::take`] takes from its front.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes so many bytes, which are there, off the input.
    pub fn take(&mut self, length: usize) {
        self.input.advance(length);
        if self.input.is_empty() && self.input.capacity() > KEPT {
            // A large result is over.
            self.input = BytesMut::new();
        }
    }

    /// What goes out next. Nothing is sent before the next [`Wire::turn`].
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Sends what is in the output and reads what has come, until there is something new in the input or, if more is
    /// to be said, room in the output.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the peer has closed; else why the connection broke.
    ///
    /// # Cancel safety
    /// What has been read is in the input, and what has not been sent in the output.
    pub async fn turn(&mut self, more: bool) -> io::Result<Turn> {
        std::future::poll_fn(|context| self.poll_turn(context, more)).await
    }

    fn poll_turn(&mut self, context: &mut Context<'_>, more: bool) -> Poll<io::Result<Turn>> {
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_send(context)
        {
            // Why it takes nothing more may have been said.
            self.broken = Some(error);
        }
        if more && self.output.len() < FEED && self.broken.is_none() {
            return Poll::Ready(Ok(Turn::Room));
        }
        ready!(self.poll_hear(context))?;
        Poll::Ready(Ok(Turn::Heard))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            if self.unanswered == 0 {
                self.flights += 1;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            let written = written as u64;
            self.sent += written;
            self.unanswered += written;
            if !self.patient && self.unanswered > AT_ONCE {
                self.be_patient(true);
            }
        }
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Err(self.broken.take().unwrap_or(io::ErrorKind::UnexpectedEof.into())));
        }
        self.input.reserve(CHUNK);
        // A read that is dropped has read nothing.
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(context));
        match read {
            Ok(read) if read > 0 => {
                self.unanswered = 0;
                if self.patient {
                    self.be_patient(false);
                }
                Poll::Ready(Ok(()))
            }
            outcome => {
                self.ended = true;
                let error = outcome.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                Poll::Ready(Err(self.broken.take().unwrap_or(error)))
            }
        }
    }

    /// Passes over so many bytes of the input, those that are still to come included, without keeping them.
    ///
    /// # Errors
    /// As [`Wire::turn`].
    pub async fn skip(&mut self, mut length: usize) -> io::Result<()> {
        loop {
            let here = length.min(self.input.len());
            self.take(here);
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.turn(false).await?;
        }
    }

    /// Sends what is in the output, and no more.
    ///
    /// # Errors
    /// Why the connection broke.
    pub async fn send(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_send(context)).await
    }

    /// Sends what is in the output and closes; the peer's closing is waited for.
    pub async fn close(mut self) {
        // The server may be gone already, and then there is nobody to take leave of.
        if self.send().await.is_ok() && self.stream.shutdown().await.is_ok() {
            while self.turn(false).await.is_ok() {
                self.input.clear();
            }
        }
    }

    /// Whether the peer has closed its side, or the connection broke, judged by the socket itself and without a round
    /// trip: after a thaw nobody has read it yet.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.ended() || hung_up(self.tcp())
    }

    /// The same, if it has been met on the way: the socket is not asked.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended || self.broken.is_some()
    }

    /// How many bytes have been given to the kernel. Two equal readings around a failed statement prove that nothing
    /// of it reached the server.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many times we have spoken after we had heard something, the first time included.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.flights
    }

    /// See [`dial::set_patience`].
    fn be_patient(&mut self, patient: bool) {
        if dial::set_patience(self.tcp(), patient).is_ok() {
            self.patient = patient;
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tls(stream) => &stream.get_ref().0.tcp,
            Stream::Plain(corked) => &corked.tcp,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("sent", &self.sent)
            .field("flights", &self.flights)
            .field("broken", &self.broken)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A TCP connection that holds back what is written until an answer is waited for. So the request for TLS goes out
/// with its first words, and its last words with the login: the server, which may say something between (TLS's
/// tickets), is never waited for.
#[derive(Debug)]
struct Corked {
    tcp: TcpStream,
    held: Vec<u8>,
    corked: bool,
}

impl Corked {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What cannot be sent shows when it is read why: the server may have had a last word.
        if self.corked && self.poll_send(context).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.corked {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.corked { Poll::Ready(Ok(())) } else { self.poll_send(context) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Whether the peer has closed its side: Linux tells that apart, whatever is still to be read.
#[cfg(target_os = "linux")]
fn hung_up(tcp: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = [PollFd::new(tcp, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => {
            fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        }
        // poll fails for want of memory or by a signal: then the next statement will tell.
        Err(_) => false,
    }
}

/// The same at a desk with another system, where it is seen once there is nothing else to be read.
#[cfg(not(target_os = "linux"))]
fn hung_up(tcp: &TcpStream) -> bool {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};

    match recv(tcp, &mut [0_u8; 1], RecvFlags::PEEK) {
        Ok((_, read)) => read == 0,
        Err(error) => ![Errno::WOULDBLOCK, Errno::INTR].contains(&error),
    }
}

/// A TLS record at its largest.
const CHUNK: usize = 16 * 1024;
/// A buffer larger than this is given back once it is empty.
const KEPT: usize = 64 * 1024;
/// What a peer that reads nothing has room for at the least.
const AT_ONCE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        (Wire::plain(tcp), peer)
    }

    #[tokio::test]
    async fn what_is_written_waits_for_a_read_and_goes_out_in_one() {
        let (Wire { stream: Stream::Plain(Corked { tcp, .. }), .. }, mut peer) = pair().await else {
            unreachable!("it is plain")
        };
        let mut corked = Corked { tcp, held: b"one, ".to_vec(), corked: true };
        corked.write_all(b"two, ").await.unwrap();
        corked.flush().await.unwrap();
        corked.write_all(b"three").await.unwrap();
        assert_eq!(corked.held, b"one, two, three");

        let mut heard = [0; 15];
        let (answered, asked) = tokio::join!(corked.read_u8(), async {
            peer.read_exact(&mut heard).await.unwrap();
            peer.write_all(b"!").await
        });
        asked.unwrap();
        assert_eq!((answered.unwrap(), &heard), (b'!', b"one, two, three"));

        corked.write_all(b"four").await.unwrap();
        corked.corked = false;
        corked.write_all(b"five").await.unwrap();
        corked.shutdown().await.unwrap();
        let mut rest = String::new();
        peer.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "fourfive");
    }

    /// Both sides say more than the sockets hold before either has heard all: who did not read while it writes would
    /// wait for ever.
    #[tokio::test]
    async fn it_reads_while_it_writes() {
        const SAID: usize = 20 << 20;
        const ANSWERED: usize = 5 << 20;
        let (mut wire, mut peer) = pair().await;
        let server = tokio::spawn(async move {
            // As a database does: it answers before it reads on.
            peer.write_all(&vec![b'a'; ANSWERED]).await.unwrap();
            let mut left = SAID;
            let mut buffer = vec![0; 1 << 16];
            while left > 0 {
                left -= peer.read(&mut buffer).await.unwrap();
            }
            peer
        });
        let (mut fed, mut heard, mut most) = (0, 0, 0);
        while fed < SAID || heard < ANSWERED {
            if fed < SAID && wire.output.len() < FEED {
                let part = FEED.min(SAID - fed);
                wire.output().extend_from_slice(&vec![b'q'; part]);
                fed += part;
            }
            most = most.max(wire.output.len());
            if heard == ANSWERED {
                wire.send().await.unwrap();
            } else if wire.turn(fed < SAID).await.unwrap() == Turn::Heard {
                let here = wire.input().len();
                heard += here;
                wire.take(here);
            }
        }
        wire.send().await.unwrap();
        server.await.unwrap();
        assert!(most <= 2 * FEED, "{most}");
        assert_eq!(wire.sent(), SAID as u64);
    }

    #[tokio::test]
    async fn a_flight_is_what_is_said_after_something_was_heard() {
        let (mut wire, mut peer) = pair().await;
        for flight in 1..4 {
            wire.output().extend_from_slice(b"one");
            wire.send().await.unwrap();
            wire.output().extend_from_slice(b"two");
            let turn = tokio::join!(wire.turn(false), async {
                peer.read_exact(&mut [0; 6]).await.unwrap();
                peer.write_all(b"answer").await.unwrap();
            });
            assert_eq!(turn.0.unwrap(), Turn::Heard);
            let here = wire.input().len();
            wire.take(here);
            assert_eq!(wire.flights(), flight);
        }
    }

    #[tokio::test]
    async fn the_peers_closing_is_seen_without_reading_and_its_last_words_are_heard() {
        let (mut wire, mut peer) = pair().await;
        assert!(!wire.closed());
        peer.write_all(b"shutting down").await.unwrap();
        drop(peer);
        let seen = async {
            while !wire.closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
        wire.output().extend_from_slice(&[b'x'; 1 << 16]);
        assert_eq!(wire.turn(false).await.unwrap(), Turn::Heard);
        assert_eq!(wire.input(), b"shutting down");
        wire.turn(false).await.unwrap_err();
        wire.turn(false).await.unwrap_err();
        assert!(wire.closed());
    }

    #[tokio::test]
    async fn what_is_skipped_is_not_kept() {
        let (mut wire, mut peer) = pair().await;
        const LONG: usize = 30 << 20;
        let server = tokio::spawn(async move {
            for _ in 0..LONG >> 20 {
                peer.write_all(&vec![0; 1 << 20]).await.unwrap();
            }
            peer.write_all(b"end").await.unwrap();
            peer
        });
        wire.skip(LONG).await.unwrap();
        while wire.input().len() < 3 {
            wire.turn(false).await.unwrap();
        }
        assert_eq!(wire.input(), b"end");
        assert!(wire.input.capacity() <= 4 * KEPT, "{}", wire.input.capacity());
        server.await.unwrap();
    }
}
