//! The door through which sea-orm's driver comes to a session of ours, for code of one's own.
//!
//! sqlx opens its own connections, and the only way in that it has for one of ours is a Unix socket's path. So it finds a
//! socket in a private folder, is greeted there by us, and believes that it has logged in. Whenever it has something to
//! say, the wire is lent to it; what the server answers is read along, since only the server knows what state the session
//! is in. Around a statement that has a transaction to itself, whoever reads along says BEGIN and COMMIT in the driver's own
//! flight, and keeps the answers to that from it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sea_orm::DatabaseConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::backend::{Alone, Failure, Item, Orm, Sql, State};
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

    /// What reads along, for as long as the driver is there.
    fn follower(protocol: &P) -> Self::Follower;

    /// The wire is lent to the driver in the state that the session is in.
    fn lent(protocol: &P, follower: &mut Self::Follower);

    /// What was read along is what the session is like now.
    fn caught_up(protocol: &mut P, follower: &Self::Follower);

    /// Whether the beginning of a transaction can go to the server in the flight of its statement. Where it cannot, the
    /// next two are never asked for.
    fn goes_around(_protocol: &P) -> bool {
        false
    }

    /// Lays around the driver's next statement what it is alone in.
    ///
    /// # Errors
    /// What of it cannot be said. Nothing was.
    fn lay_around(_protocol: &mut P, _follower: &mut Self::Follower, _alone: &Alone) -> Result<()> {
        Ok(())
    }

    /// What came of that, once the statement's answer has been read. Nothing is around the next one.
    ///
    /// # Errors
    /// What the server has refused of it.
    fn came_of_it(_protocol: &mut P, _follower: &mut Self::Follower) -> Result<()> {
        Ok(())
    }
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
    /// The driver says these bytes. What goes to the server is put behind `out`.
    fn sent(&mut self, bytes: &[u8], out: &mut BytesMut);

    /// The server says these bytes. What the driver is to hear of it is put behind `out`.
    fn heard(&mut self, bytes: &[u8], out: &mut Vec<u8>);

    /// What the server has said last of the session's state.
    fn state(&self) -> State;

    /// Whether an answer of the server's is outstanding.
    fn owed(&self) -> bool;
}

/// A wire, and the door to it where the driver has come through.
pub struct Door<P: Protocol, D: Driver<P>> {
    wire: Option<Wire>,
    driver: Option<D>,
    /// What reads along, once the driver has come through.
    follower: Option<Arc<Mutex<<D as Driver<P>>::Follower>>>,
    /// Our end of the private socket, while the wire is ours.
    inside: Option<UnixStream>,
    lent: Option<Lent>,
    /// The driver is in the middle of a statement of ours: if nobody waits for its end any more, what the server still
    /// says would be taken for the answer to the next one.
    streaming: bool,
}

/// The wire, while it is the driver's.
struct Lent {
    back: Option<oneshot::Sender<()>>,
    task: JoinHandle<(Wire, UnixStream)>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // With the task the wire goes, unless it has been given back.
        self.task.abort();
    }
}

impl<P: Protocol, D: Driver<P>> From<Wire> for Door<P, D> {
    fn from(wire: Wire) -> Self {
        Self { wire: Some(wire), driver: None, follower: None, inside: None, lent: None, streaming: false }
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
        match &self.follower {
            Some(follower) if self.lent.is_some() => reading(follower).state(),
            _ => protocol.state(),
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

    fn alone(&mut self, alone: Alone) -> Option<BoxStream<'_, Result<Item, Failure>>> {
        D::goes_around(&self.protocol).then(|| self.wire.alone(&mut self.protocol, alone))
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
            if let Some(follower) = &self.follower {
                D::caught_up(protocol, &reading(follower));
            }
        }
    }

    /// Runs a statement with what it is alone in.
    fn alone<'a>(&'a mut self, protocol: &'a mut P, alone: Alone) -> BoxStream<'a, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            let mut failed = self.lay_around(protocol, &alone).await.err().map(Failure::own);
            if failed.is_none() {
                let mut items = self.stream(protocol, Sql::Prepared(alone.statement));
                while let Some(item) = items.next().await {
                    match item {
                        Ok(item) => yield Ok(item),
                        Err(failure) => failed = Some(failure),
                    }
                }
            }
            if let Some(follower) = &self.follower
                && let Err(error) = D::came_of_it(protocol, &mut reading(follower))
            {
                failed = Some(Failure { around: true, ..Failure::own(error) });
            }
            if let Some(failure) = failed {
                yield Err(failure);
            }
        })
    }

    async fn lay_around(&mut self, protocol: &mut P, alone: &Alone) -> Result<()> {
        self.take_back(protocol).await;
        self.open(protocol).await?;
        let Some(follower) = &self.follower else { return Err(gone()) };
        D::lay_around(protocol, &mut reading(follower), alone)
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
                Err(error) => failed = Some(Failure::own(error)),
            }
            // Before the failure is told, behind which nobody may ask for more.
            self.streaming = false;
            self.take_back(protocol).await;
            if let Some(failure) = failed {
                yield Err(failure);
            }
        })
    }

    /// Lets the driver in, if it has not come through the door yet.
    ///
    /// # Errors
    /// Why it could not.
    async fn open(&mut self, protocol: &P) -> Result<()> {
        if self.driver.is_none() {
            let (driver, inside) = open::<P, D>(protocol).await?;
            (self.driver, self.inside) = (Some(driver), Some(inside));
            self.follower = Some(Arc::new(Mutex::new(D::follower(protocol))));
        }
        Ok(())
    }

    /// Lends the wire to the driver.
    ///
    /// # Errors
    /// Why the driver could not come through the door.
    async fn lend(&mut self, protocol: &P) -> Result<&mut D> {
        self.open(protocol).await?;
        let (Some(driver), Some(follower)) = (&mut self.driver, &self.follower) else { return Err(gone()) };
        if self.lent.is_none() {
            let (Some(wire), Some(inside)) = (self.wire.take(), self.inside.take()) else {
                return Err(gone());
            };
            D::lent(protocol, &mut reading(follower));
            let (back, asked) = oneshot::channel();
            let task = tokio::spawn(pass(wire, inside, Arc::clone(follower), asked));
            self.lent = Some(Lent { back: Some(back), task });
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

fn reading<F>(follower: &Mutex<F>) -> MutexGuard<'_, F> {
    follower.lock().unwrap_or_else(PoisonError::into_inner)
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
    let mut heard = Vec::with_capacity(CHUNK);
    let mut returning = false;
    loop {
        if returning && !reading(&follower).owed() {
            return (wire, inside);
        }
        let outcome = tokio::select! {
            biased;
            turned = wire.turn(false) => match turned {
                Ok(_) => {
                    reading(&follower).heard(wire.input(), &mut heard);
                    wire.take(wire.input().len());
                    let outcome = inside.write_all(&heard).await;
                    heard.clear();
                    outcome
                }
                Err(error) => Err(error),
            },
            read = inside.read_buf(&mut said) => match read {
                Ok(read) if read > 0 => {
                    reading(&follower).sent(&said, wire.output());
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
