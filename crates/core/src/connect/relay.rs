//! The relay between the wire and the driver.
//!
//! sqlx opens its own connections, and the only door it has for one of ours is a Unix socket's path. So each
//! wire gets a socket in a private folder, which exists until the driver has come through it once; then two
//! copy loops run on the driver's own runtime (15 µs per query, measured; threads cost twice that).

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Reads along with what the server says, until it returns false.
pub type Tap = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// May rewrite the first bytes that the driver sends.
pub type Edit = Box<dyn FnOnce(&[u8]) -> Vec<u8> + Send>;

/// A private socket through which the driver finds one wire.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    wire: Arc<Wire>,
    task: AbortHandle,
    in_use: bool,
}

impl Relay {
    /// Starts to relay between `stream` and the first one to connect to the socket named `name`.
    ///
    /// `tcp` is the connection under the stream, which is watched for the peer's closing; `tap` reads along
    /// with the server, and `edit` sees what the driver sends first.
    ///
    /// # Errors
    /// If the folder or the socket cannot be made: the function's temporary folder is full or missing.
    pub fn start<S>(stream: S, tcp: &impl AsFd, name: &str, edit: Edit, tap: Tap) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (running, ended) = watch::channel(());
        let wire = Arc::new(Wire { tcp: tcp.as_fd().try_clone_to_owned()?, sent: AtomicU64::new(0), ended });
        // mkdtemp gives the folder mode 0700: nobody else can come through the door.
        let folder = tempfile::Builder::new().prefix("lambda-rds-").tempdir()?;
        let path = folder.path().to_owned();
        let listener = UnixListener::bind(path.join(name))?;
        let relaying = relay(listener, folder, stream, edit, tap, Arc::clone(&wire));
        let task = tokio::spawn(async move {
            // Dropped with the task, however it ends.
            let _running = running;
            relaying.await;
        });
        Ok(Self { folder: path, wire, task: task.abort_handle(), in_use: false })
    }

    /// The folder with the socket; gone once the driver is through the door.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The wire behind it, once the driver is through the door: from now on the relay ends with the driver's
    /// connection. A relay that is dropped before that closes its wire.
    #[must_use]
    pub fn into_wire(mut self) -> Arc<Wire> {
        self.in_use = true;
        Arc::clone(&self.wire)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.in_use {
            self.task.abort();
        }
    }
}

/// What is known of a connection without asking the server.
pub struct Wire {
    tcp: OwnedFd,
    sent: AtomicU64,
    ended: watch::Receiver<()>,
}

impl Wire {
    /// Whether the peer has closed its side, or the connection broke, judged by the socket itself and without
    /// a round trip: after a thaw the relay may not have run yet.
    #[must_use]
    pub fn peer_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.tcp, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(_) => fds[0]
                .revents()
                .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
            // poll fails for want of memory or by a signal: then the next statement will tell.
            Err(_) => false,
        }
    }

    /// How many bytes the driver has sent to the server. Two equal readings around a failed statement prove
    /// that nothing of it reached the server.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until the relay has ended: all that the driver said before it closed is on its way to the server,
    /// and the connection is closed but for this handle.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent; the error says that the relay is gone.
        let _ = ended.changed().await;
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

async fn relay<S>(
    listener: UnixListener,
    folder: TempDir,
    stream: S,
    edit: Edit,
    mut tap: Tap,
    wire: Arc<Wire>,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let Ok((driver, _)) = listener.accept().await else { return };
    // The door goes as soon as the first one is through. Were its file still there, a driver that tries again by
    // itself, as sqlx's pool does when a server is busy, would be refused until its time is up.
    drop(listener);
    drop(folder);
    let (mut from_driver, mut to_driver) = driver.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let up = async {
        let mut buffer = vec![0; CHUNK];
        let mut edit = Some(edit);
        loop {
            let length = match from_driver.read(&mut buffer).await {
                // The driver has closed; if it left an answer unread, that shows as an error.
                Ok(0) | Err(_) => {
                    let _ = to_server.shutdown().await;
                    return io::Result::Ok(());
                }
                Ok(length) => length,
            };
            wire.sent.fetch_add(length as u64, Ordering::Relaxed);
            match edit.take() {
                Some(edit) => to_server.write_all(&edit(&buffer[..length])).await?,
                None => to_server.write_all(&buffer[..length]).await?,
            }
            to_server.flush().await?;
        }
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        let mut tapping = true;
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 {
                return io::Result::Ok(());
            }
            tapping = tapping && tap(&buffer[..length]);
            to_driver.write_all(&buffer[..length]).await?;
        }
    };
    tokio::pin!(down);
    tokio::select! {
        driver_closed = up => if driver_closed.is_err() {
            // The wire takes nothing more, but may still hold the server's last words: why it hung up.
            let _ = down.await;
        },
        _ = &mut down => {}
    }
}

// A TLS record at its largest.
const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::sync::Notify;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A wire to a peer of its own, and a relay on it.
    async fn wired() -> (TcpStream, Relay) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (peer, _) = server.accept().await.unwrap();
        let fd = client.as_fd().try_clone_to_owned().unwrap();
        let relay = Relay::start(client, &fd, "door", Box::new(<[u8]>::to_vec), Box::new(|_| true)).unwrap();
        (peer, relay)
    }

    async fn closed(mut peer: TcpStream) {
        let end = tokio::time::timeout(PATIENCE, peer.read(&mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }

    #[tokio::test]
    async fn without_a_driver_nothing_is_left() {
        let (peer, relay) = wired().await;
        let folder = relay.folder().to_owned();
        assert!(folder.exists());
        drop(relay);
        closed(peer).await;
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_driver_that_leaves_an_answer_unread_ends_the_relay() {
        let (mut peer, relay) = wired().await;
        let mut driver = UnixStream::connect(relay.folder().join("door")).await.unwrap();
        let wire = relay.into_wire();
        peer.write_all(b"an answer").await.unwrap();
        driver.read_exact(&mut [0]).await.unwrap();
        drop(driver);
        tokio::time::timeout(PATIENCE, wire.ended()).await.unwrap();
        drop(wire);
        closed(peer).await;
    }

    /// Takes nothing, and tells when it was offered something.
    struct Clogged(Arc<Notify>);

    impl AsyncWrite for Clogged {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            self.0.notify_one();
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_last_words_of_a_server_that_takes_nothing_more_are_heard() {
        let offered = Arc::new(Notify::new());
        let (from_server, mut server) = tokio::io::simplex(64);
        let stream = tokio::io::join(from_server, Clogged(Arc::clone(&offered)));
        let any = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(stream, &any, "door", Box::new(<[u8]>::to_vec), Box::new(|_| true)).unwrap();
        let mut driver = UnixStream::connect(relay.folder().join("door")).await.unwrap();
        let wire = relay.into_wire();

        driver.write_all(b"question").await.unwrap();
        offered.notified().await;
        server.write_all(b"shutting down").await.unwrap();
        server.shutdown().await.unwrap();
        let mut heard = String::new();
        tokio::time::timeout(PATIENCE, driver.read_to_string(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, "shutting down");
        tokio::time::timeout(PATIENCE, wire.ended()).await.unwrap();
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_peers_closing_is_seen_without_reading() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        let fd = client.as_fd().try_clone_to_owned().unwrap();
        let (seen, heard) = std::sync::mpsc::channel();
        let tap = Box::new(move |bytes: &[u8]| seen.send(bytes.to_vec()).is_ok());
        let relay =
            Relay::start(client, &fd, "door", Box::new(|bytes| bytes.to_ascii_uppercase()), tap).unwrap();
        let mut driver = UnixStream::connect(relay.folder().join("door")).await.unwrap();
        let folder = relay.folder().to_owned();
        let wire = relay.into_wire();

        driver.write_all(b"question").await.unwrap();
        let mut buffer = [0; 8];
        peer.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"QUESTION");
        assert_eq!(wire.sent(), 8);
        peer.write_all(b"answer").await.unwrap();
        driver.read_exact(&mut buffer[..6]).await.unwrap();
        assert_eq!(heard.recv().unwrap(), b"answer");
        assert!(!folder.exists(), "the door is closed behind the driver");
        assert!(!wire.peer_closed());

        drop(peer);
        // The kernel's FIN takes a moment even on loopback.
        let seen = async {
            while !wire.peer_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
    }
}
