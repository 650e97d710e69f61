//! The door through which sea-orm's driver comes to a session of ours, for code of one's own.
//!
//! sqlx opens its own connections, and the only way in that it has for one of ours is a Unix socket's path. So it finds a
//! socket in a private folder, is greeted there by us, and believes that it has logged in. Whenever it has something to
//! say, the wire is lent to it; what the server answers is read along, since only the server knows what state the session
//! is in.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::DatabaseConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::backend::{Failure, Item, Orm, Sql, State};
use crate::connect::live::{Keeper, Live, Protocol};
use crate::connect::wire::Wire;
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Result};

/// sea-orm's driver for one engine, on a connection through the door.
pub trait Driver<P>: Send + Sync + Sized + 'static {
    /// What reads along with the server.
    type Follower: Follower;

    /// What the driver is told when it comes, so that it believes to have logged in.
    fn greeting(protocol: &P) -> Greeting;

    /// The name of the socket that the driver looks for in its folder.
    fn socket(protocol: &P) -> String;

    /// Comes through the door, in this folder.
    ///
    /// # Errors
    /// The driver's own.
    fn connect(protocol: &P, folder: &Path) -> impl Future<Output = Result<Self>> + Send;

    /// sea-orm's handle.
    fn database(&mut self) -> DatabaseConnection;

    /// Runs a statement that an application made.
    fn stream<'a>(&'a mut self, protocol: &'a P, sql: Sql) -> BoxStream<'a, Result<Item, Failure>>;

    /// What reads along from the state that the session is in.
    fn follower(protocol: &P) -> Self::Follower;

    /// What was read along is what the session is like now.
    fn caught_up(protocol: &mut P, follower: &Self::Follower);
}

/// What the driver hears before the wire is lent to it.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// At once.
    pub first: Vec<u8>,
    /// How long its first message is, its header included, once enough of it is there to tell. It goes nowhere.
    pub length: fn(&[u8]) -> Option<usize>,
    /// After that message.
    pub then: Vec<u8>,
}

/// Reads along with the server.
pub trait Follower: fmt::Debug + Send + 'static {
    /// These bytes have gone to the server.
    fn sent(&mut self, bytes: &[u8]);

    /// These bytes have come from it.
    fn heard(&mut self, bytes: &[u8]);

    /// What the server has said last of the session's state.
    fn state(&self) -> State;

    /// Whether an answer of the server's is outstanding.
    fn owed(&self) -> bool;
}

/// A wire, and the door to it where the driver has come through.
pub struct Door<P: Protocol, D: Driver<P>> {
    wire: Option<Wire>,
    driver: Option<D>,
    /// Our end of the private socket, while the wire is ours.
    inside: Option<UnixStream>,
    lent: Option<Lent<<D as Driver<P>>::Follower>>,
    /// The driver is in the middle of a statement of ours: if nobody waits for its end any more, what the server still
    /// says would be taken for the answer to the next one.
    streaming: bool,
}

/// The wire, while it is the driver's.
struct Lent<F> {
    follower: Arc<Mutex<F>>,
    back: Option<oneshot::Sender<()>>,
    task: JoinHandle<(Wire, UnixStream)>,
}

impl<F> Drop for Lent<F> {
    fn drop(&mut self) {
        // With the task the wire goes, unless it has been given back.
        self.task.abort();
    }
}

impl<P: Protocol, D: Driver<P>> From<Wire> for Door<P, D> {
    fn from(wire: Wire) -> Self {
        Self { wire: Some(wire), driver: None, inside: None, lent: None, streaming: false }
    }
}

impl<P: Protocol, D: Driver<P>> Keeper<P> for Door<P, D> {
    /// The wire, taken back from the driver if it has it.
    async fn ours(&mut self, protocol: &mut P) -> Result<&mut Wire> {
        if self.streaming {
            return Err(gone());
        }
        self.take_back(protocol).await;
        self.wire.as_mut().ok_or_else(gone)
    }

    async fn into_wire(mut self, protocol: &mut P) -> Option<Wire> {
        if self.streaming {
            return None;
        }
        self.take_back(protocol).await;
        self.wire.take()
    }

    fn closed(&self) -> bool {
        match (&self.wire, &self.lent) {
            _ if self.streaming => true,
            (Some(wire), _) => wire.closed(),
            (None, Some(lent)) => lent.task.is_finished(),
            (None, None) => true,
        }
    }

    fn flights(&self) -> Option<u64> {
        self.wire.as_ref().map(Wire::flights)
    }

    fn state(&self, protocol: &P) -> State {
        match &self.lent {
            Some(lent) => lent.follower.lock().unwrap_or_else(PoisonError::into_inner).state(),
            None => protocol.state(),
        }
    }

    fn orm(live: &mut Live<P, Self>) -> Option<&mut dyn Orm> {
        Some(live)
    }
}

impl<P: Protocol, D: Driver<P>> Orm for Live<P, Door<P, D>> {
    /// The wire stays the driver's until it is needed.
    fn database(&mut self) -> BoxFuture<'_, Result<DatabaseConnection>> {
        Box::pin(async move { Ok(self.wire.lend(&self.protocol).await?.database()) })
    }

    fn stream(&mut self, sql: Sql) -> BoxStream<'_, Result<Item, Failure>> {
        self.wire.stream(&mut self.protocol, sql)
    }
}

impl<P: Protocol, D: Driver<P>> Door<P, D> {
    async fn take_back(&mut self, protocol: &mut P) {
        let Some(mut lent) = self.lent.take() else { return };
        // Its task may have ended by itself, with the connection.
        let _ = lent.back.take().map(|back| back.send(()));
        // What the driver still waits for (its pool pings) comes soon, or never.
        let given_back = Deadline::after(GIVEN_BACK).bound(&mut lent.task).await;
        if let Ok(Ok((wire, inside))) = given_back {
            (self.wire, self.inside) = (Some(wire), Some(inside));
            D::caught_up(protocol, &lent.follower.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn stream<'a>(&'a mut self, protocol: &'a mut P, sql: Sql) -> BoxStream<'a, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            self.streaming = true;
            let mut failed = None;
            match self.lend(protocol).await {
                Ok(driver) => {
                    let mut items = driver.stream(protocol, sql);
                    while let Some(item) = items.next().await {
                        match item {
                            Ok(item) => yield Ok(item),
                            Err(failure) => {
                                failed = Some(failure);
                                break;
                            }
                        }
                    }
                }
                Err(error) => {
                    let driver = error.clone().into();
                    failed = Some(Failure { error, driver });
                }
            }
            // Before the failure is told, behind which nobody may ask for more.
            self.streaming = false;
            self.take_back(protocol).await;
            if let Some(failure) = failed {
                yield Err(failure);
            }
        })
    }

    /// Lends the wire to the driver, which comes through the door if it has not yet.
    ///
    /// # Errors
    /// Why the driver could not come through the door.
    async fn lend(&mut self, protocol: &P) -> Result<&mut D> {
        if self.driver.is_none() {
            let (driver, inside) = open::<P, D>(protocol).await?;
            (self.driver, self.inside) = (Some(driver), Some(inside));
        }
        let Some(driver) = &mut self.driver else { return Err(gone()) };
        if self.lent.is_none() {
            let (Some(wire), Some(inside)) = (self.wire.take(), self.inside.take()) else {
                return Err(gone());
            };
            let follower = Arc::new(Mutex::new(D::follower(protocol)));
            let (back, asked) = oneshot::channel();
            let task = tokio::spawn(pass(wire, inside, Arc::clone(&follower), asked));
            self.lent = Some(Lent { follower, back: Some(back), task });
        }
        Ok(driver)
    }
}

impl<P: Protocol, D: Driver<P>> fmt::Debug for Door<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("wire", &self.wire)
            .field("opened", &self.driver.is_some())
            .field("lent", &self.lent.is_some())
            .finish()
    }
}

/// Lets the driver in. The door exists until it is through.
async fn open<P: Protocol, D: Driver<P>>(protocol: &P) -> Result<(D, UnixStream)> {
    let nowhere = |error: io::Error| {
        Error::new(Fault::Internal, format!("no private socket in the temporary folder: {error}"))
    };
    // mkdtemp gives the folder mode 0700: nobody else can come through the door.
    let folder = tempfile::Builder::new().prefix("lambda-rds-").tempdir().map_err(nowhere)?;
    let listener = UnixListener::bind(folder.path().join(D::socket(protocol))).map_err(nowhere)?;
    let greeted = async {
        let (mut inside, _) = listener.accept().await?;
        let Greeting { first, length, then } = D::greeting(protocol);
        inside.write_all(&first).await?;
        let mut message = Vec::new();
        while length(&message).is_none_or(|length| message.len() < length) {
            if inside.read_buf(&mut message).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        inside.write_all(&then).await?;
        io::Result::Ok(inside)
    };
    let (driver, inside) = futures_util::future::join(D::connect(protocol, folder.path()), greeted).await;
    Ok((driver?, inside.map_err(nowhere)?))
}

/// Passes bytes on, both ways, until the wire is asked back or one side has closed.
async fn pass<F: Follower>(
    mut wire: Wire,
    mut inside: UnixStream,
    follower: Arc<Mutex<F>>,
    mut asked: oneshot::Receiver<()>,
) -> (Wire, UnixStream) {
    let mut said = Vec::with_capacity(CHUNK);
    let mut returning = false;
    loop {
        if returning && !follower.lock().unwrap_or_else(PoisonError::into_inner).owed() {
            return (wire, inside);
        }
        let outcome = tokio::select! {
            biased;
            heard = wire.turn(false) => match heard {
                Ok(_) => {
                    follower.lock().unwrap_or_else(PoisonError::into_inner).heard(wire.input());
                    let outcome = inside.write_all(wire.input()).await;
                    wire.take(wire.input().len());
                    outcome
                }
                Err(error) => Err(error),
            },
            read = inside.read_buf(&mut said) => match read {
                Ok(read) if read > 0 => {
                    follower.lock().unwrap_or_else(PoisonError::into_inner).sent(&said);
                    wire.output().extend_from_slice(&said);
                    said.clear();
                    Ok(())
                }
                Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Err(error),
            },
            _ = &mut asked, if !returning => {
                returning = true;
                Ok(())
            }
        };
        if outcome.is_err() {
            // One side has closed, and the other one learns it.
            let _ = inside.shutdown().await;
            return (wire, inside);
        }
    }
}

#[cold]
fn gone() -> Error {
    Error::new(Fault::ConnectionLost, "the connection to the server is gone")
}

const CHUNK: usize = 16 * 1024;
const GIVEN_BACK: Duration = Duration::from_secs(1);
