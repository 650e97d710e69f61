//! The topology alone, on a fleet whose servers do as they are told, in a time that passes by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use lambda_rds_core::answers::Answers;
use lambda_rds_core::backend::{self, CancelHandle, Effect, Frame, Statement};
use lambda_rds_core::config::{Config, Sources};
use lambda_rds_core::describe::Described;
use tokio::time::Instant;

use super::*;

const CLUSTER: &str = "app.cluster-c9.eu-west-1.rds.amazonaws.com";
const READERS: &str = "app.cluster-ro-c9.eu-west-1.rds.amazonaws.com";

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Write,
    Read,
    /// A server that knows of no cluster.
    Single,
    Refuse,
    /// Packets are lost.
    Drop,
    /// Connections are accepted, and then nothing.
    Nothing,
    Mistrusted,
    NoSuchName,
    Reject,
    /// Too many connections.
    Full,
    /// It has no such database.
    Without,
}

use Does::{
    Drop as Lose, Full, Mistrusted, NoSuchName, Nothing, Read, Refuse, Reject, Single, Without, Write,
};

/// The servers, and what their names lead to.
#[derive(Debug, Clone)]
struct Fleet(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    configured: String,
    servers: BTreeMap<String, Server>,
    /// What names other than the servers' own lead to.
    dns: HashMap<String, String>,
    /// Whom the servers know, and who of them was the writer.
    list: Vec<(String, bool)>,
    alive: Option<SystemTime>,
    /// Names that are in nobody's certificate.
    mistrusted: HashSet<String>,
    /// How long a login takes on the first server.
    slow: Duration,
    connects: usize,
    questions: usize,
}

#[derive(Debug)]
struct Server {
    does: Does,
    sessions: usize,
    /// Connections that there have been, and those that there are: also before they are sessions.
    connections: usize,
    open: usize,
    /// The most of them that there were at a time.
    most: usize,
}

impl Fleet {
    /// A cluster with these members, the first of which is listed as the writer and has the cluster's endpoint; the
    /// readers' endpoint leads to the second.
    fn new(members: &[Does]) -> Self {
        let name = |at: usize| format!("app-{}", at + 1);
        let servers = members.iter().enumerate();
        let state = State {
            configured: CLUSTER.to_owned(),
            servers: servers
                .map(|(at, does)| {
                    (name(at), Server { does: *does, sessions: 0, connections: 0, open: 0, most: 0 })
                })
                .collect(),
            dns: [(CLUSTER.to_owned(), name(0)), (READERS.to_owned(), name(1))].into(),
            list: (0..members.len()).map(|at| (name(at), at == 0)).collect(),
            alive: None,
            mistrusted: HashSet::new(),
            slow: Duration::ZERO,
            connects: 0,
            questions: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn at(host: &str) -> Self {
        let fleet = Self::new(&[Single]);
        fleet.state().configured = host.to_owned();
        fleet.state().dns.insert(host.to_owned(), "app-1".to_owned());
        fleet
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn set(&self, member: usize, does: Does) {
        self.state().servers.get_mut(&format!("app-{member}")).unwrap().does = does;
    }

    /// How many sessions each member has.
    fn sessions(&self) -> Vec<usize> {
        self.state().servers.values().map(|server| server.sessions).collect()
    }

    /// How many connections each member has had, and the most at a time, since this was asked last.
    fn connections(&self) -> Vec<(usize, usize)> {
        let mut state = self.state();
        let of = |server: &mut Server| {
            (std::mem::take(&mut server.connections), std::mem::replace(&mut server.most, server.open))
        };
        state.servers.values_mut().map(of).collect()
    }

    /// What a host's name leads to.
    fn server(&self, host: &str) -> String {
        let own = host.strip_suffix(".c9.eu-west-1.rds.amazonaws.com").map(str::to_owned);
        let state = self.state();
        own.filter(|own| !own.contains('.')).or_else(|| state.dns.get(host).cloned()).unwrap_or_default()
    }

    /// Connects and questions so far.
    fn cost(&self) -> (usize, usize) {
        let state = self.state();
        (state.connects, state.questions)
    }

    async fn open(&self, aurora: &Aurora, want: Access, within: Duration) -> Result<Opened> {
        let endpoint = Endpoint { host: self.state().configured.clone(), port: 5432 };
        let servers = Servers { fleet: self.clone(), configured: endpoint };
        let by = Deadline::after(within);
        let outcome = aurora.open(&servers, want, by).await;
        assert!(Instant::now() <= tokio_end(by), "{want:?} took too long");
        outcome
    }
}

/// A little later than the deadline: the one who is late need not be early.
fn tokio_end(by: Deadline) -> Instant {
    Instant::now() + by.remaining() + Duration::from_millis(10)
}

struct Servers {
    fleet: Fleet,
    configured: Endpoint,
}

impl Connect for Servers {
    fn configured(&self) -> &Endpoint {
        &self.configured
    }

    fn connect(&self, endpoint: Endpoint, by: Deadline) -> BoxFuture<'_, Result<Box<dyn Session>>> {
        Box::pin(async move {
            // No two connects take as long.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..25))).await;
            let name = self.fleet.server(&endpoint.host);
            let (does, slow) = {
                let mut state = self.fleet.state();
                state.connects += 1;
                let does = state.servers.get(&name).map_or(NoSuchName, |server| server.does);
                let does = if state.mistrusted.contains(&endpoint.host) { Mistrusted } else { does };
                (does, if name == "app-1" { state.slow } else { Duration::ZERO })
            };
            let connection = Connection::open(&self.fleet, &name);
            tokio::time::sleep(slow).await;
            let fails =
                |fault, phase| Err(Error::new(fault, format!("{endpoint} {does:?}")).with_phase(phase));
            match does {
                Refuse => return fails(Fault::Unreachable, Phase::Tcp),
                Mistrusted => return fails(Fault::Unreachable, Phase::Tls),
                NoSuchName => return fails(Fault::Unreachable, Phase::Resolve),
                Without => {
                    return fails(Fault::Unreachable, Phase::Ready)
                        .map_err(|error| error.with_sqlstate("3D000"));
                }
                Full => return fails(Fault::TooManyConnections, Phase::Auth),
                Reject => return fails(Fault::CredentialsRejected, Phase::Auth),
                Lose | Nothing => {
                    let phase = if does == Lose { Phase::Tcp } else { Phase::Auth };
                    let _ = by.bound(std::future::pending::<()>()).await;
                    return fails(Fault::Unreachable, phase);
                }
                Write | Read | Single => {}
            }
            self.fleet.state().servers.get_mut(&name).unwrap().sessions += 1;
            let scripted = Scripted { fleet: self.fleet.clone(), server: name, _connection: connection };
            Ok(Box::new(scripted) as Box<dyn Session>)
        })
    }

    fn addresses(&self, endpoint: Endpoint, _: Deadline) -> BoxFuture<'_, Vec<SocketAddr>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..5))).await;
            let name = self.fleet.server(&endpoint.host);
            let at = self.fleet.state().servers.keys().position(|server| *server == name);
            let at = at.and_then(|at| u8::try_from(at).ok());
            at.map(|at| SocketAddr::from(([10, 0, 0, at], endpoint.port))).into_iter().collect()
        })
    }

    fn last_alive(&self) -> Option<SystemTime> {
        self.fleet.state().alive
    }
}

/// A connection to a server, if there is one of that name.
#[derive(Debug)]
struct Connection {
    fleet: Fleet,
    server: String,
}

impl Connection {
    fn open(fleet: &Fleet, server: &str) -> Self {
        if let Some(server) = fleet.state().servers.get_mut(server) {
            server.connections += 1;
            server.open += 1;
            server.most = server.most.max(server.open);
        }
        Self { fleet: fleet.clone(), server: server.to_owned() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(server) = self.fleet.state().servers.get_mut(&self.server) {
            server.open -= 1;
        }
    }
}

#[derive(Debug)]
struct Scripted {
    fleet: Fleet,
    server: String,
    _connection: Connection,
}

impl Scripted {
    fn answer(&self) -> Result<Vec<Vec<Option<String>>>> {
        let mut state = self.fleet.state();
        state.questions += 1;
        let Server { does, sessions, .. } = &state.servers[&self.server];
        if !matches!(does, Write | Read) {
            let absent = *does == Single;
            let fault = if absent { Fault::QueryFailed } else { Fault::ConnectionLost };
            return Err(Error::new(fault, "scripted").with_sqlstate(if absent { "42883" } else { "08006" }));
        }
        let answer = |member: &(String, bool)| {
            let texts =
                [(*does == Read).to_string(), sessions.to_string(), member.0.clone(), member.1.to_string()];
            texts.map(Some).to_vec()
        };
        Ok(state.list.iter().map(answer).collect())
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.fleet.state().servers.get_mut(&self.server).unwrap().sessions -= 1;
    }
}

impl Session for Scripted {
    fn run<'a>(
        &'a mut self,
        _: Frame,
        _: &'a [&'a Statement],
        _: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        unreachable!("nothing is run")
    }

    fn ask<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Vec<Vec<Option<String>>>>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.answer()
        })
    }

    fn announce<'a>(
        &'a mut self,
        _: &'a [&'a Statement],
        _: Access,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<Effect>>> {
        unreachable!("nothing is run")
    }

    fn effect<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<Effect>> {
        unreachable!("nothing is run")
    }

    fn pins(&self, _: &Statement) -> bool {
        unreachable!("nothing is run")
    }

    fn describe<'a>(&'a mut self, _: &'a Statement) -> BoxFuture<'a, Result<Described>> {
        unreachable!("nothing is run")
    }

    fn begin(&mut self, _: Access) -> BoxFuture<'_, Result<()>> {
        unreachable!("nothing is run")
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        unreachable!("nothing is run")
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        unreachable!("nothing is run")
    }

    fn autocommit(&mut self, _: bool) -> BoxFuture<'_, Result<()>> {
        unreachable!("nothing is run")
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        unreachable!("nothing is run")
    }

    fn flights(&self) -> Option<u64> {
        None
    }

    fn state(&self) -> backend::State {
        backend::State::Idle
    }

    fn cancel_handle(&self) -> Option<Box<dyn CancelHandle>> {
        None
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn db(more: &[(&str, &str)]) -> Db {
    let base = [("DB_ENGINE", "aurora-postgres"), ("DB_SECRET_ID", "app")];
    let env = base.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::read(&Sources { env, ..Sources::default() }, &Engine::ALL).unwrap().db
}

fn aurora(more: &[(&str, &str)]) -> Aurora {
    Aurora::new(&db(more))
}

fn host(opened: &Opened) -> &str {
    opened.endpoint.host.split('.').next().unwrap()
}

const TO_READERS: [(&str, &str); 1] = [("DB_READ_FROM", "reader")];
const FIVE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_hundred_environments_are_spread_over_the_readers() {
    let even = |sessions: &[usize]| {
        let share = sessions.iter().sum::<usize>() / sessions.len();
        sessions.iter().all(|held| held.abs_diff(share) * 10 <= share * 3)
    };
    for _ in 0..5 {
        let fleet = Fleet::new(&[Write, Read, Read, Read]);
        let topologies: Vec<_> = (0..100).map(|_| aurora(&TO_READERS)).collect();
        let mut held = Vec::new();
        for topology in &topologies {
            held.push(fleet.open(topology, Access::Read, FIVE).await.unwrap());
        }
        assert!(held.iter().all(|opened| opened.makeshift.is_none()));
        let sessions = fleet.sessions();
        assert!(sessions[0] == 0 && even(&sessions[1..]), "one after the other: {sessions:?}");

        // A reader goes; those who had it go elsewhere, and not all to the same one.
        fleet.set(4, Refuse);
        let (gone, mut held): (Vec<_>, Vec<_>) = held.into_iter().partition(|one| host(one) == "app-4");
        let count = gone.len();
        drop(gone);
        for topology in topologies.iter().take(count) {
            held.push(fleet.open(topology, Access::Read, FIVE).await.unwrap());
        }
        let sessions = fleet.sessions();
        assert_eq!((sessions[0], sessions[3], held.len()), (0, 0, 100));
        assert!(even(&sessions[1..3]), "{sessions:?}");

        // It comes back, and new ones use it.
        fleet.set(4, Read);
        let new: Vec<_> = (0..30).map(|_| aurora(&TO_READERS)).collect();
        for topology in &new {
            held.push(fleet.open(topology, Access::Read, FIVE).await.unwrap());
        }
        // Whoever asks it takes it, and two of three ask it: twenty are expected, less than eight once in a million.
        assert!(fleet.sessions()[3] >= 8, "{:?}", fleet.sessions());
    }

    // All at the same time, as after a deployment: none has yet heard of the others.
    for _ in 0..5 {
        let fleet = Fleet::new(&[Write, Read, Read, Read]);
        let topologies: Vec<_> = (0..100).map(|_| aurora(&TO_READERS)).collect();
        let held = join_all(topologies.iter().map(|one| fleet.open(one, Access::Read, FIVE))).await;
        assert!(held.iter().all(Result::is_ok));
        let sessions = fleet.sessions();
        assert!(sessions[0] == 0 && sessions[1..].iter().all(|held| *held >= 15), "{sessions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_writer_is_found_wherever_the_name_leads() {
    for (members, writer) in [
        // As it should be; DNS at a reader; DNS at a dead server, with the readers' endpoint to learn from.
        (&[Write, Read, Read][..], "app"),
        (&[Read, Read, Write], "app-3"),
        (&[Refuse, Read, Write], "app-3"),
        (&[Lose, Read, Write], "app-3"),
        (&[Nothing, Read, Write], "app-3"),
        // And members that are gone or silent beside.
        (&[Lose, Read, Lose, Refuse, NoSuchName, Mistrusted, Write], "app-7"),
    ] {
        let fleet = Fleet::new(members);
        let topology = aurora(&[]);
        let started = Instant::now();
        let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
        assert_eq!((host(&opened), opened.makeshift), (writer, None), "{members:?}");
        assert!(started.elapsed() < Duration::from_millis(800), "{members:?}: {:?}", started.elapsed());
        assert_eq!(fleet.sessions().iter().sum::<usize>(), 1, "the others are closed: {members:?}");
        // The next session goes straight there, for one question.
        let before = fleet.cost();
        let next = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
        assert_eq!(host(&next), writer, "{members:?}");
        assert_eq!(fleet.cost(), (before.0 + 1, before.1 + 1), "{members:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_writer_is_found_soon_after_it_is_one() {
    for _ in 0..50 {
        let fleet = Fleet::new(&[Write, Read, Read]);
        let topology = aurora(&[]);
        let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
        fleet.set(1, Refuse);
        topology.blame(&opened.endpoint, Fault::ConnectionLost);
        let promoted = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            fleet.set(3, Write);
            Instant::now()
        };
        let (found, promoted) = tokio::join!(fleet.open(&topology, Access::Write, FIVE), promoted);
        assert_eq!(host(&found.unwrap()), "app-3");
        assert!(promoted.elapsed() < Duration::from_millis(300), "{:?}", promoted.elapsed());
    }
}

/// The cluster's name, and that of its readers, lead to members; each of them is asked by one of its names.
#[tokio::test(start_paused = true)]
async fn a_server_is_asked_once_whatever_names_it_has() {
    for _ in 0..20 {
        let fleet = Fleet::new(&[Write, Read, Read]);
        fleet.state().slow = 2 * HEDGE;
        let topology = aurora(&[]);
        // The members are learned from a reader, while the cluster's name is being asked; and then they are known.
        for known in [false, true] {
            let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
            assert_eq!(fleet.connections(), [(1, 1); 3], "known: {known}");
            drop(opened);
            fleet.connections();
        }
        // It is lost, and nobody is the writer for a while: what is asked again is asked on one connection at a time, or on
        // the session that there is.
        let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
        fleet.set(1, Refuse);
        topology.blame(&opened.endpoint, Fault::ConnectionLost);
        drop(opened);
        fleet.connections();
        let promoted = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            fleet.set(3, Write);
        };
        let (found, ()) = tokio::join!(fleet.open(&topology, Access::Write, FIVE), promoted);
        assert_eq!(host(&found.unwrap()), "app-3");
        let connections = fleet.connections();
        assert_eq!((connections[0].1, &connections[1..]), (1, &[(1, 1); 2][..]), "{connections:?}");
    }
}

/// The cluster's name leads to a member that is asked by its own name, until it leads elsewhere: to one whom nobody knows
/// of yet.
#[tokio::test(start_paused = true)]
async fn a_name_that_was_put_aside_is_followed_when_it_moves() {
    for _ in 0..20 {
        let fleet = Fleet::new(&[Read, Read, Write]);
        fleet.state().list.truncate(2);
        let moved = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            fleet.state().dns.insert(CLUSTER.to_owned(), "app-3".to_owned());
            Instant::now()
        };
        let topology = aurora(&[]);
        let (opened, moved) = tokio::join!(fleet.open(&topology, Access::Write, FIVE), moved);
        assert_eq!((host(&opened.unwrap()), moved.elapsed() < Duration::from_millis(300)), ("app", true));
        assert!(fleet.connections().iter().all(|(_, most)| *most <= 1));
    }
}

/// A certificate may have one of its names and not the other.
#[tokio::test(start_paused = true)]
async fn a_server_is_asked_by_another_name_where_one_will_not_do() {
    let fleet = Fleet::new(&[Write, Read]);
    let topology = aurora(&[]);
    drop(fleet.open(&topology, Access::Write, FIVE).await.unwrap());
    let own = "app-1.c9.eu-west-1.rds.amazonaws.com";
    topology.found(&Endpoint { host: own.to_owned(), port: 5432 });
    fleet.state().mistrusted.insert(own.to_owned());
    let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
    assert_eq!(opened.endpoint.host, CLUSTER);
}

#[tokio::test(start_paused = true)]
async fn whoever_refuses_a_write_is_not_believed() {
    // Cut off from the others, the old writer does not know that it is none.
    let fleet = Fleet::new(&[Write, Read, Write]);
    let topology = aurora(&[]);
    let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
    assert_eq!(host(&opened), "app");
    topology.blame(&opened.endpoint, Fault::NotTheWriter);
    topology.blame(
        &Endpoint { host: "app-1.c9.eu-west-1.rds.amazonaws.com".into(), port: 5432 },
        Fault::NotTheWriter,
    );
    let opened = fleet.open(&topology, Access::Write, FIVE).await.unwrap();
    assert_eq!(host(&opened), "app-3");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_when_there_is_no_writer() {
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    let just_now = SystemTime::now();
    for (members, alive, want, soon) in [
        (&[Read, Read, Refuse][..], Some(just_now), Fault::NotTheWriter, false),
        (&[Refuse, Refuse], Some(just_now), Fault::Unreachable, false),
        // A writer without room is one, and a reader without room is none.
        (&[Full, Read, Read], None, Fault::TooManyConnections, false),
        (&[Full, Full], None, Fault::TooManyConnections, false),
        (&[Refuse, Read, Full], None, Fault::NotTheWriter, false),
        (&[Lose, Lose], None, Fault::Unreachable, false),
        // A paused cluster cannot have had a session of ours a moment ago.
        (&[Nothing, Nothing], Some(just_now), Fault::Unreachable, false),
        (&[Nothing, Nothing], Some(long_ago), Fault::Resuming, false),
        (&[Nothing, Nothing], None, Fault::Resuming, false),
        // What one of them says counts for more than the other's silence.
        (&[Without, Nothing], None, Fault::Unreachable, false),
        // What cannot pass is not waited for.
        (&[Mistrusted, Mistrusted], None, Fault::Unreachable, true),
        (&[NoSuchName, NoSuchName], None, Fault::Unreachable, true),
        (&[Without, Without], None, Fault::Unreachable, true),
        (&[Reject, Reject], None, Fault::CredentialsRejected, true),
    ] {
        for topology in [aurora(&[]), aurora(&TO_READERS)] {
            let fleet = Fleet::new(members);
            fleet.state().alive = alive;
            let started = Instant::now();
            let error = fleet.open(&topology, Access::Write, FIVE).await.unwrap_err();
            assert_eq!(error.fault(), want, "{members:?} {error}");
            let waited = started.elapsed();
            assert_eq!(waited < Duration::from_secs(1), soon, "{members:?} took {waited:?}");
            assert_eq!(fleet.sessions().iter().sum::<usize>(), 0);
            let read = fleet.open(&topology, Access::Read, FIVE).await.map_err(|error| error.fault());
            let want = if members.contains(&Read) { None } else { Some(want) };
            assert_eq!(read.err(), want, "{members:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_without_a_writer_and_without_readers() {
    let fleet = Fleet::new(&[Refuse, Read, Lose]);
    let topology = aurora(&[]);
    let started = Instant::now();
    let opened = fleet.open(&topology, Access::Read, FIVE).await.unwrap();
    assert_eq!((host(&opened), opened.makeshift), ("app", Some(MAKESHIFT)));
    assert!(opened.endpoint.host.contains("cluster-ro") && started.elapsed() < Duration::from_secs(1));
    // Nothing is wrong with a cluster of readers alone, such as a global database's second one.
    let fleet = Fleet::new(&[Read, Read]);
    let opened = fleet.open(&aurora(&[]), Access::Read, FIVE).await.unwrap();
    assert_eq!(opened.makeshift, Some(MAKESHIFT_IN_PEACE));

    let fleet = Fleet::new(&[Write, Refuse, Lose]);
    let started = Instant::now();
    let opened = fleet.open(&aurora(&TO_READERS), Access::Read, FIVE).await.unwrap();
    assert!(opened.makeshift.is_some() && started.elapsed() < Duration::from_secs(3), "{opened:?}");
    assert_eq!(fleet.sessions(), [1, 0, 0]);
    // A writer that has no readers is where reads belong.
    let fleet = Fleet::new(&[Write]);
    fleet.state().dns.insert(READERS.to_owned(), "app-1".to_owned());
    let opened = fleet.open(&aurora(&TO_READERS), Access::Read, FIVE).await.unwrap();
    assert_eq!((opened.makeshift, fleet.sessions()), (None, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_cluster_is_left_alone() {
    // Asked once, where the name does not tell; never, where it does.
    for (host, questions) in [
        ("db.example.com", 2),
        ("app.proxy-c9.eu-west-1.rds.amazonaws.com", 0),
        ("reports.cluster-custom-c9.eu-west-1.rds.amazonaws.com", 0),
        ("app-1.c9.eu-west-1.rds.amazonaws.com", 0),
    ] {
        for more in [&[][..], &TO_READERS] {
            let fleet = Fleet::at(host);
            let topology = aurora(more);
            for _ in 0..3 {
                for want in [Access::Write, Access::Read] {
                    let opened = fleet.open(&topology, want, FIVE).await.unwrap();
                    assert_eq!((opened.endpoint.host.as_str(), opened.makeshift), (host, None));
                }
            }
            assert_eq!(fleet.cost(), (6, questions), "{host} {more:?}");
        }
    }
    // A replica of a single server: its host is named, and found there.
    let fleet = Fleet::at("db.example.com");
    fleet.state().dns.insert("replica.example.com".to_owned(), "app-1".to_owned());
    let topology = aurora(&[("DB_READ_FROM", "reader"), ("DB_READER_HOST", "replica.example.com")]);
    for (want, at) in [
        (Access::Read, "replica.example.com"),
        (Access::Write, "db.example.com"),
        (Access::Read, "replica.example.com"),
    ] {
        assert_eq!(fleet.open(&topology, want, FIVE).await.unwrap().endpoint.host, at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chosen_endpoint_of_readers_is_taken_at_its_word() {
    let fleet = Fleet::new(&[Write, Read, Read, Read]);
    let custom = "reports.cluster-custom-c9.eu-west-1.rds.amazonaws.com";
    fleet.state().dns.insert(custom.to_owned(), "app-3".to_owned());
    let topology = aurora(&[("DB_READ_FROM", "reader"), ("DB_READER_HOST", custom)]);
    for _ in 0..5 {
        assert_eq!(fleet.open(&topology, Access::Read, FIVE).await.unwrap().endpoint.host, custom);
    }
    assert_eq!(host(&fleet.open(&topology, Access::Write, FIVE).await.unwrap()), "app");
    fleet.set(3, Refuse);
    let opened = fleet.open(&topology, Access::Read, FIVE).await.unwrap();
    assert!(host(&opened) == "app" && opened.makeshift.is_some(), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn the_names_behind_a_cname_tell_the_members() {
    for more in [
        &[("DB_TLS_SERVER_NAME", CLUSTER)][..],
        &[("DB_INSTANCE_PATTERN", "?.c9.eu-west-1.rds.amazonaws.com")],
    ] {
        let fleet = Fleet::new(&[Read, Read, Write]);
        fleet.state().configured = "db.example.com".to_owned();
        fleet.state().dns.insert("db.example.com".to_owned(), "app-1".to_owned());
        let opened = fleet.open(&aurora(more), Access::Write, FIVE).await.unwrap();
        assert_eq!(host(&opened), "app-3", "{more:?}");
    }
    // Nothing tells them: the name is asked again until it leads to the writer.
    let fleet = Fleet::new(&[Read, Read, Write]);
    fleet.state().configured = "db.example.com".to_owned();
    fleet.state().dns.insert("db.example.com".to_owned(), "app-1".to_owned());
    let moved = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        fleet.state().dns.insert("db.example.com".to_owned(), "app-3".to_owned());
    };
    let topology = aurora(&[]);
    let (opened, ()) = tokio::join!(fleet.open(&topology, Access::Write, FIVE), moved);
    assert_eq!(opened.unwrap().endpoint.host, "db.example.com");
}
