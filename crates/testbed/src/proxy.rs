//! A TCP proxy in front of a server, which counts round trips and breaks connections on demand.
//!
//! It sees bytes, not a protocol, and so serves every engine, with or without TLS.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::{AbortHandle, JoinHandle};

use crate::background::{self, lock};

/// How long a connection that was cut with FIN is still read from, so that the kernel does not make it an RST.
const LINGER: Duration = Duration::from_secs(30);

/// A proxy, usually on a free port of 127.0.0.1. It runs on threads of its own, so it also forwards while the test's
/// runtime is busy. Dropped: port closed, connections cut.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    door: AsyncMutex<Door>,
}

impl Proxy {
    /// Starts a proxy that forwards to `target`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target)
    }

    /// Starts a proxy at an address of one's own choice: any of 127.0.0.0/8, where port 0 stands for a free one.
    ///
    /// # Errors
    /// If the address is taken.
    pub fn start_at(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(target)),
            flow: watch::channel(true).0,
            changed: watch::channel(()).0,
        });
        let runtime = background::handle()?;
        let _entered = runtime.enter();
        let socket = bind(address)?;
        let address = socket.local_addr()?;
        // With the port reusable, another proxy may have bound it as well: who listens second is told here.
        let listening = socket.listen(1024).with_context(|| format!("cannot listen on {address}"))?;
        let accepting = runtime.spawn(accept(listening, Arc::clone(&shared)));
        Ok(Self { shared, address, door: AsyncMutex::new(Door::Open(accepting)) })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Flights from clients to the server so far: a flight is a run of client bytes after the server has last
    /// spoken on that connection. For a client that waits for each answer, that is the number of round trips
    /// after TCP's own. A flight counts once its first byte is on its way to the server.
    #[must_use]
    pub fn flights(&self) -> u64 {
        lock(&self.shared.state).counts.flights
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        lock(&self.shared.state).counts.connections
    }

    /// Connections that are open now, those that hang included.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        lock(&self.shared.state).links.len()
    }

    /// Bytes forwarded so far in one direction.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        lock(&self.shared.state).counts.bytes[direction.index()]
    }

    /// Sets all counters to zero. Open connections stay, and who spoke last on them is not forgotten.
    pub fn reset(&self) {
        lock(&self.shared.state).counts = Counts::default();
    }

    /// Waits until at least `count` flights have passed since the last reset.
    ///
    /// # Errors
    /// If there were fewer by `limit`.
    pub async fn reached(&self, count: u64, limit: Duration) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let waiting = async move {
            let mut changed = shared.changed.subscribe();
            while lock(&shared.state).counts.flights < count && changed.changed().await.is_ok() {}
        };
        background::within(limit, &format!("flight {count}"), waiting).await
    }

    /// Forwards new connections to another server. Open ones stay where they are; see [`Self::cut`].
    pub fn retarget(&self, target: SocketAddr) {
        lock(&self.shared.state).targets = VecDeque::from([target]);
    }

    /// Forwards new connections to these servers in turn, as a name with several addresses does. None of them: new
    /// connections are cut. Open ones stay where they are.
    pub fn spread(&self, targets: impl IntoIterator<Item = SocketAddr>) {
        lock(&self.shared.state).targets = targets.into_iter().collect();
    }

    /// Connects to the server from this address of the loopback interface from now on: servers take 127.0.0.1 for
    /// their own host, and every other one for a client's.
    pub fn come_from(&self, source: Ipv4Addr) {
        lock(&self.shared.state).source = Some(source);
    }

    /// Holds back what is read in `direction` by `delay`, on all connections from now on; zero ends it.
    ///
    /// Each read of up to 64 KiB waits by itself: large transfers are slowed down as well.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        lock(&self.shared.state).delay[direction.index()] = delay;
    }

    /// Arms a fault, in place of the one that was armed. Each connection counts from now, or from its start.
    pub fn inject(&self, fault: Fault) {
        let mut state = lock(&self.shared.state);
        state.fault = Some(fault);
        for link in state.links.values_mut() {
            link.since = Since::default();
        }
    }

    /// Whether a fault is armed that has not struck yet.
    #[must_use]
    pub fn armed(&self) -> bool {
        lock(&self.shared.state).fault.is_some()
    }

    /// Disarms the fault, and says whether it had still been armed: whether it has not struck. What it has done
    /// stays done.
    pub fn disarm(&self) -> bool {
        lock(&self.shared.state).fault.take().is_some()
    }

    /// Cuts all open connections now, those that hang included. One that is forgotten is reset either way.
    pub fn cut(&self, cut: Cut) {
        self.order(Order::Cut(cut));
    }

    /// Forgets all open connections: from now on their packets are dropped in both directions, and not even
    /// acknowledged, as by a firewall that no longer knows them, or where a host has vanished. New connections
    /// work.
    pub fn forget(&self) {
        self.order(Order::Forget);
    }

    fn order(&self, order: Order) {
        for link in lock(&self.shared.state).links.values() {
            link.order.send_replace(Some(order));
        }
    }

    /// Forwards nothing more, neither bytes nor the end of a connection, until [`Self::flow`]. New connections
    /// are accepted, and then silent too: what a firewall does that drops packets of connections it knows.
    pub fn black_hole(&self) {
        self.shared.flow.send_replace(false);
    }

    /// Ends a black hole. What was held back is delivered.
    pub fn flow(&self) {
        self.shared.flow.send_replace(true);
    }

    /// Refuses new connections from now on, as a host without a server does. Open ones stay. The port remains
    /// the proxy's.
    ///
    /// # Errors
    /// If another process took the port in the instant between closing and keeping it, and does not give it back.
    pub async fn refuse(&self) -> Result<()> {
        let mut door = self.door.lock().await;
        if let Door::Open(accepting) = &mut *door {
            accepting.abort();
            // The listener is closed when the task has ended, not before. Its error is that it was aborted.
            let _ = accepting.await;
            // A socket that is bound but does not listen keeps the port and refuses connections.
            *door = Door::Closed(bind_again(self.address)?);
        }
        Ok(())
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Errors
    /// If the system does not let it listen.
    pub async fn accept(&self) -> Result<()> {
        let mut door = self.door.lock().await;
        if let Door::Closed(_) = &*door {
            let Door::Closed(mut socket) = std::mem::replace(&mut *door, Door::Gone) else { return Ok(()) };
            let runtime = background::handle()?;
            let _entered = runtime.enter();
            let until = Instant::now() + LINGER;
            // Somebody may have the port for a moment, at this or at every address.
            let listening = loop {
                match socket.listen(1024) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(20));
                        socket = bind_again(self.address)?;
                    }
                    listening => {
                        break listening.with_context(|| format!("cannot listen on {}", self.address))?;
                    }
                }
            };
            *door = Door::Open(runtime.spawn(accept(listening, Arc::clone(&self.shared))));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Door::Open(accepting) = self.door.get_mut() {
            accepting.abort();
        }
        // Collected first: a task that ends takes its entry out, for which it needs the lock.
        let tasks: Vec<AbortHandle> =
            lock(&self.shared.state).links.values().map(|link| link.task.clone()).collect();
        tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A direction on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// How a connection is cut, on both of its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// In order, as a process that exits or a pooler that closes does.
    Fin,
    /// With a reset, as a crashed host or a load balancer that forgot the connection does.
    Rst,
}

/// When a fault strikes on a connection, counted in the fault's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// When this many bytes have been forwarded. With 0, when the first byte arrives.
    Bytes(u64),
    /// When this many runs of bytes have been forwarded, and the first byte of the next has arrived, which is
    /// not forwarded. A run ends when the other side speaks.
    ///
    /// So for a client that asks and waits, `ToServer` with 0 loses the question, and `ToClient` with 0 loses the
    /// answer of a server that has done its work.
    Flights(u64),
}

/// A fault that strikes once a connection has come to a certain point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    direction: Direction,
    after: After,
    action: Action,
    always: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Cut(Cut),
    Stall,
    Forget,
}

impl Fault {
    /// Cuts the first connection that comes to that point.
    #[must_use]
    pub fn cut(direction: Direction, after: After, cut: Cut) -> Self {
        Self { direction, after, action: Action::Cut(cut), always: false }
    }

    /// Lets the first connection that comes to that point hang: open on both sides, and silent for ever.
    #[must_use]
    pub fn stall(direction: Direction, after: After) -> Self {
        Self { direction, after, action: Action::Stall, always: false }
    }

    /// Forgets the first connection that comes to that point; see [`Proxy::forget`]. What arrived there is lost.
    #[must_use]
    pub fn forget(direction: Direction, after: After) -> Self {
        Self { direction, after, action: Action::Forget, always: false }
    }

    /// The same for every connection that comes to that point, not for the first alone.
    #[must_use]
    pub fn always(self) -> Self {
        Self { always: true, ..self }
    }
}

/// A port of 127.0.0.1 on which connecting neither succeeds nor fails, as behind a firewall that drops packets.
///
/// The kernel drops the SYN of a connection for which a full backlog has no room.
#[derive(Debug)]
pub struct Unanswered {
    listener: std::net::TcpListener,
    fillers: Vec<JoinHandle<()>>,
}

impl Unanswered {
    /// Opens such a port.
    ///
    /// # Errors
    /// If there is no free port, or the backlog cannot be filled.
    pub async fn start() -> Result<Self> {
        let listener = {
            let _entered = background::handle()?.enter();
            bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.listen(1)?.into_std()?
        };
        let address = listener.local_addr()?;
        let mut fillers = Vec::new();
        // Linux admits one or two more than the backlog says: filled is when a connect does not come back.
        for _ in 0..16 {
            let (connected, connecting) = tokio::sync::oneshot::channel();
            fillers.push(background::handle()?.spawn(async move {
                let stream = TcpStream::connect(address).await;
                let _ = connected.send(());
                let _held = stream;
                std::future::pending::<()>().await;
            }));
            let what = "a connection of the testbed to itself";
            if background::within(Duration::from_millis(200), what, connecting).await.is_err() {
                return Ok(Self { listener, fillers });
            }
        }
        anyhow::bail!("the backlog of {address} is never full")
    }

    /// Where nobody answers.
    ///
    /// # Errors
    /// If the system does not know, which it does.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("a socket without an address")
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        for filler in &self.fillers {
            filler.abort();
        }
    }
}

#[derive(Debug)]
enum Door {
    Open(JoinHandle<()>),
    Closed(TcpSocket),
    /// Listening again has failed.
    Gone,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// False in a black hole.
    flow: watch::Sender<bool>,
    /// Told whenever a flight was counted.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    /// Where the next connections go; the first is next.
    targets: VecDeque<SocketAddr>,
    source: Option<Ipv4Addr>,
    delay: [Duration; 2],
    fault: Option<Fault>,
    counts: Counts,
    next_link: u64,
    links: HashMap<u64, Link>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    flights: u64,
    bytes: [u64; 2],
}

/// One open connection.
#[derive(Debug)]
struct Link {
    task: AbortHandle,
    order: watch::Sender<Option<Order>>,
    last: Option<Direction>,
    since: Since,
}

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Cut(Cut),
    Forget,
}

/// What passed on a connection since the fault was armed.
#[derive(Debug, Default)]
struct Since {
    bytes: [u64; 2],
    flights: [u64; 2],
}

/// What to do with bytes that were read.
struct Verdict {
    /// How many of them to forward.
    pass: usize,
    delay: Duration,
    then: Option<Action>,
}

impl State {
    fn new(target: SocketAddr) -> Self {
        let counts = Counts::default();
        let targets = VecDeque::from([target]);
        Self {
            targets,
            source: None,
            delay: [Duration::ZERO; 2],
            fault: None,
            counts,
            next_link: 0,
            links: HashMap::new(),
        }
    }

    fn next_target(&mut self) -> Option<SocketAddr> {
        self.targets.rotate_left(usize::from(self.targets.len() > 1));
        self.targets.back().copied()
    }

    /// Counts `read` bytes that arrived on a link, and decides about them.
    fn arrived(&mut self, link: u64, direction: Direction, read: usize) -> Verdict {
        let at = direction.index();
        let delay = self.delay[at];
        let Some(link) = self.links.get_mut(&link) else { return Verdict { pass: 0, delay, then: None } };
        let starts = link.last != Some(direction);
        if starts {
            link.last = Some(direction);
            link.since.flights[at] += 1;
        }
        let mut verdict = Verdict { pass: read, delay, then: None };
        if let Some(fault) = self.fault.filter(|fault| fault.direction == direction) {
            let pass = match fault.after {
                After::Bytes(limit) => {
                    let left = limit.saturating_sub(link.since.bytes[at]);
                    usize::try_from(left).ok().filter(|&left| left <= read)
                }
                After::Flights(limit) => (link.since.flights[at] > limit).then_some(0),
            };
            if let Some(pass) = pass {
                verdict = Verdict { pass, delay, then: Some(fault.action) };
                if !fault.always {
                    self.fault = None;
                }
            }
        }
        let passed = u64::try_from(verdict.pass).unwrap_or(u64::MAX);
        link.since.bytes[at] += passed;
        self.counts.bytes[at] += passed;
        if starts && direction == Direction::ToServer && verdict.pass > 0 {
            self.counts.flights += 1;
        }
        verdict
    }
}

impl Shared {
    /// Returns once bytes may flow.
    async fn flowing(&self) {
        if *self.flow.borrow() {
            return;
        }
        // An error would mean that the sender is gone, and we hold it.
        let _ = self.flow.subscribe().wait_for(|&flowing| flowing).await;
    }
}

/// Binds an address that was ours a moment ago. A process that is just being started has all of our sockets until it is
/// another program: the one that was closed here listens until then.
fn bind_again(address: SocketAddr) -> Result<TcpSocket> {
    let until = Instant::now() + LINGER;
    loop {
        match bind(address) {
            Err(error) if is_in_use(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            bound => return bound,
        }
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::AddrInUse)
}

fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that linger on this port must not keep us from it.
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let (order, orders) = watch::channel(None);
        let mut state = lock(&shared.state);
        let id = state.next_link;
        state.next_link += 1;
        state.counts.connections += 1;
        let link = Registered { shared: Arc::clone(&shared), id };
        // The task cannot look for its entry before the lock is released.
        let task = tokio::spawn(carry(client, orders, link)).abort_handle();
        state.links.insert(id, Link { task, order, last: None, since: Since::default() });
    }
}

/// A link's entry in the state, removed when its task ends, however it ends.
struct Registered {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.shared.state).links.remove(&self.id);
    }
}

/// Why a connection ends.
enum End {
    /// Both sides have said all they had to say.
    Done,
    /// One side is broken, so the other shall be.
    Broken,
    Cut(Cut),
    /// It does not end: it hangs until it is cut.
    Stalled,
    /// Nor does this, but its packets are dropped.
    Forgotten,
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        match order {
            Order::Cut(cut) => Self::Cut(cut),
            Order::Forget => Self::Forgotten,
        }
    }
}

async fn carry(mut client: TcpStream, mut orders: watch::Receiver<Option<Order>>, link: Registered) {
    let mut later = orders.clone();
    let order = async {
        // An error means that the entry is gone, and this task with it.
        let order = orders.wait_for(Option::is_some).await;
        order.ok().and_then(|order| *order).map_or(End::Broken, End::from)
    };
    tokio::pin!(order);

    let shared = &link.shared;
    let connect = async {
        shared.flowing().await;
        let (target, source) = {
            let mut state = lock(&shared.state);
            (state.next_target()?, state.source)
        };
        let Some(source) = source else { return TcpStream::connect(target).await.ok() };
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::from((source, 0))).ok()?;
        socket.connect(target).await.ok()
    };
    let server = tokio::select! { server = connect => server, _ = &mut order => None };
    let Some(mut server) = server else {
        let _ = client.set_zero_linger();
        drop(client);
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);

    let mut end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(&link, Direction::ToServer, from_client, to_server);
        let down = pump(&link, Direction::ToClient, from_server, to_client);
        tokio::select! {
            both = async { tokio::try_join!(up, down) } => both.map_or_else(|end| end, |_| End::Done),
            end = &mut order => end,
        }
    };
    if matches!(end, End::Stalled) {
        end = order.await;
    }
    if matches!(end, End::Forgotten) {
        // Without the filters it would be a connection that hangs, which a test might take for what it wanted.
        if drop_packets(&client).and_then(|()| drop_packets(&server)).is_ok() {
            let _ = later.wait_for(|order| matches!(order, Some(Order::Cut(_)))).await;
        }
        // However it is cut: the answer to a FIN would be dropped, and until the kernel gives up on it, so would be
        // the first packet of a new connection that comes from the same port.
        end = End::Broken;
    }
    // The connection counts as open until the kernel has been told of its end.
    match end {
        End::Done | End::Stalled | End::Forgotten => {}
        End::Broken | End::Cut(Cut::Rst) => {
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
        End::Cut(Cut::Fin) => {
            let _ = tokio::join!(client.shutdown(), server.shutdown());
            drop(link);
            let ends = async { tokio::join!(drain(&mut client), drain(&mut server)) };
            let _ = tokio::time::timeout(LINGER, ends).await;
            return;
        }
    }
    drop((client, server));
    drop(link);
}

/// Makes the kernel drop every packet that comes in for a socket, before anything in it is acknowledged.
fn drop_packets(stream: &TcpStream) -> std::io::Result<()> {
    // The classic BPF program of one instruction, "return 0": of this packet, nothing.
    const RETURN: u16 = 0x06;
    SockRef::from(stream).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
}

/// Forwards one direction until its sender has ended.
async fn pump(
    link: &Registered,
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> Result<(), End> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| End::Broken)?;
        link.shared.flowing().await;
        if read == 0 {
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        let verdict = lock(&link.shared.state).arrived(link.id, direction, read);
        link.shared.changed.send_replace(());
        if !verdict.delay.is_zero() {
            // tokio's timers round up to whole milliseconds, which would double a delay of half of one. An error
            // would mean that the runtime ends, and this task with it.
            let _ = tokio::task::spawn_blocking(move || std::thread::sleep(verdict.delay)).await;
        }
        to.write_all(&buffer[..verdict.pass]).await.map_err(|_| End::Broken)?;
        match verdict.then {
            None => {}
            Some(Action::Cut(cut)) => return Err(End::Cut(cut)),
            Some(Action::Stall) => return Err(End::Stalled),
            Some(Action::Forget) => return Err(End::Forgotten),
        }
    }
}

/// Reads to the end of what the other side still sends: a socket that is closed with bytes unread would send RST.
async fn drain(stream: &mut TcpStream) {
    let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
}
