//! The connection to the server: plain at first, and TLS from where the server has greeted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use lambda_rds_core::connect::tls::{self, TlsClient};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::packet::HEADER;

/// A connection, as the server lets us have it.
#[derive(Debug)]
pub(crate) enum Wire {
    Tls(Box<TlsStream<Corked>>),
    Plain(TcpStream),
}

impl Wire {
    /// Ends TLS here, on the wire's side of the driver. `request` is the packet that asks for it; it goes out with
    /// TLS's own first words.
    ///
    /// # Errors
    /// That TLS failed, or the connection under it, or that there was no answer in time.
    pub(crate) async fn encrypt(
        tcp: TcpStream,
        request: &[u8],
        tls: &TlsClient,
        (config, name): (Arc<ClientConfig>, ServerName<'static>),
        by: Deadline,
    ) -> Result<Self> {
        let mut corked = Corked { tcp, held: request.to_vec(), corked: true };
        corked.held.reserve(1024);
        let handshake = TlsConnector::from(config).connect(name, corked).into_fallible();
        match by.bound(handshake).await {
            Ok(Ok(stream)) => Ok(Self::Tls(Box::new(stream))),
            Ok(Err((error, mut corked))) => {
                // The server's log tells what we did not like, if it gets the alert.
                corked.corked = false;
                let _ = by.bound(corked.flush()).await;
                Err(tls.explain(&error))
            }
            Err(_) => Err(Error::new(
                Fault::Unreachable,
                format!("`{}` greeted but did not answer the TLS handshake in time", tls.name()),
            )
            .with_phase(Phase::Tls)),
        }
    }

    /// What the handshake has agreed on; `None` without TLS.
    pub(crate) fn agreed(&self) -> Option<String> {
        match self {
            Self::Tls(stream) => Some(tls::agreed(stream.get_ref().1)),
            Self::Plain(_) => None,
        }
    }

    /// Sends what is written from now on at once: what follows the login does not wait for an answer before it
    /// says more.
    pub(crate) fn uncork(&mut self) {
        if let Self::Tls(stream) = self {
            stream.get_mut().0.corked = false;
        }
    }

    /// A handle on the TCP connection below.
    ///
    /// # Errors
    /// If the process has no more of them.
    pub(crate) fn tcp(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tls(stream) => stream.get_ref().0.tcp.as_fd().try_clone_to_owned(),
            Self::Plain(tcp) => tcp.as_fd().try_clone_to_owned(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
        }
    }
}

/// A TCP connection that holds back what is written until an answer is waited for. So the request for TLS goes out
/// with its first words, and its last words with the login: the server, which says something between (TLS's
/// tickets), is never waited for.
#[derive(Debug)]
pub(crate) struct Corked {
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

/// A connection that is logged in, for a driver that wants to log in: it reads our greeting first, and the first
/// packet that it sends, in which it answers that and says who it is, goes nowhere.
#[derive(Debug)]
pub(crate) struct Introduced<S> {
    stream: S,
    /// What is left of the greeting.
    greeting: Vec<u8>,
    /// The header of that packet, as far as it has come.
    header: Vec<u8>,
    /// How much of the packet is yet to come.
    rest: usize,
}

impl<S> Introduced<S> {
    pub(crate) fn new(stream: S, greeting: Vec<u8>) -> Self {
        Self { stream, greeting, header: Vec::with_capacity(HEADER), rest: 0 }
    }

    /// How many of these bytes belong to the packet.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        let of_header = bytes.len().min(HEADER - self.header.len());
        self.header.extend_from_slice(&bytes[..of_header]);
        if of_header > 0 && self.header.len() == HEADER {
            self.rest = usize::from(self.header[0])
                | usize::from(self.header[1]) << 8
                | usize::from(self.header[2]) << 16;
        }
        let of_rest = self.rest.min(bytes.len() - of_header);
        self.rest -= of_rest;
        of_header + of_rest
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Introduced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.greeting.len().min(buffer.remaining());
        buffer.put_slice(&self.greeting[..length]);
        self.greeting.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Introduced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let swallowed = self.swallow(bytes);
        if swallowed > 0 {
            return Poll::Ready(Ok(swallowed));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::packet::frame;

    #[tokio::test]
    async fn only_the_drivers_first_packet_is_kept_from_the_server_however_it_is_cut() {
        let bytes = [frame(1, b"who I am"), frame(0, b"\x03SELECT 1"), frame(0, b"\x01")].concat();
        for step in 1..bytes.len() {
            let mut introduced = Introduced::new(Vec::new(), Vec::new());
            for chunk in bytes.chunks(step) {
                introduced.write_all(chunk).await.unwrap();
            }
            assert_eq!(introduced.stream, bytes[12..], "{step}");
        }
    }

    #[tokio::test]
    async fn the_greeting_is_read_before_what_the_server_sends() {
        for step in 1..12 {
            let mut introduced = Introduced::new(&b" server"[..], b"hello".to_vec());
            let mut heard = Vec::new();
            let mut buffer = vec![0; step];
            loop {
                let length = introduced.read(&mut buffer).await.unwrap();
                if length == 0 {
                    break;
                }
                heard.extend_from_slice(&buffer[..length]);
            }
            assert_eq!(heard, b"hello server", "{step}");
        }
    }

    #[tokio::test]
    async fn what_is_written_waits_for_a_read_and_goes_out_in_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
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
}
