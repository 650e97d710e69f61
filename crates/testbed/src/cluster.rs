//! A cluster of real servers: one writer and its readers, each behind an address of its own, as on Aurora.

mod mysql;
mod postgres;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::background::{self, lock};
use crate::certs::Authority;
use crate::folder::free_port;
use crate::postgres::Database;
use crate::proxy::Proxy;

/// A running cluster: real servers that replicate, and the endpoints that AWS would give them. Dropped: all gone.
///
/// Every commit that a client was told of is on every reader that runs, as with Aurora's shared storage: so
/// whichever is promoted has it.
///
/// Clients meet the members only through proxies, each at its own loopback address and all on one port, so that
/// the address of a member can be formed from its id: in the network `127.a.b.*`, which no other cluster is likely
/// to have, `.1` is the cluster endpoint, `.2` the reader endpoint, and `.11` and on are the members `11` and on.
/// Members are numbered from 0 here; 0 is the writer at first. Three members start within two seconds where nothing
/// else runs. All methods block.
#[derive(Debug)]
pub struct Cluster {
    network: Network,
    endpoint: Proxy,
    readers: Proxy,
    members: Vec<Proxy>,
    state: Mutex<State>,
    servers: Box<dyn Servers>,
}

impl Cluster {
    /// A PostgreSQL primary and its standbys, `members` servers in all, with Aurora's functions.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or a server does not start; the error shows its log.
    pub fn postgres(members: usize) -> Result<Self> {
        Self::postgres_with_access(members, "")
    }

    /// The same with lines of `pg_hba.conf` that come before all others.
    ///
    /// # Errors
    /// As [`Self::postgres`].
    pub fn postgres_with_access(members: usize, lines: &str) -> Result<Self> {
        Self::start(members, |plan| postgres::Standbys::start(plan, postgres::Functions::Aurora, lines))
    }

    /// The same with the function of RDS's Multi-AZ DB clusters, `rds_tools.show_topology()`, instead.
    ///
    /// # Errors
    /// As [`Self::postgres`].
    pub fn postgres_multi_az(members: usize) -> Result<Self> {
        Self::start(members, |plan| postgres::Standbys::start(plan, postgres::Functions::MultiAz, ""))
    }

    /// A MySQL source and its replicas, `members` servers in all, with the table `mysql.rds_topology` of RDS's
    /// Multi-AZ DB clusters. Aurora's own table is one of the `information_schema`, where nobody can make one.
    ///
    /// # Errors
    /// If MySQL is not installed, or a server does not start; the error shows its log.
    pub fn mysql(members: usize) -> Result<Self> {
        Self::start(members, |plan| mysql::Replicas::start(plan, mysql::Hosts::Addresses))
    }

    /// The same, but the table has host names that lead nowhere, as where clients come through a tunnel and have to
    /// be told a pattern for the members: [`Self::instance_pattern`].
    ///
    /// # Errors
    /// As [`Self::mysql`].
    pub fn mysql_behind_names(members: usize) -> Result<Self> {
        Self::start(members, |plan| mysql::Replicas::start(plan, mysql::Hosts::Names))
    }

    fn start<S: Servers + 'static>(members: usize, start: impl FnOnce(&Plan) -> Result<S>) -> Result<Self> {
        ensure!((1..=200).contains(&members), "a cluster of {members} members");
        let (network, proxies) = Network::take(members)?;
        let plan =
            Plan { network, members, authority: Arc::new(Authority::new("lambda-rds testbed, cluster")?) };
        let servers = start(&plan)?;
        let mut proxies = proxies.into_iter();
        let (Some(endpoint), Some(readers)) = (proxies.next(), proxies.next()) else {
            bail!("too few addresses");
        };
        let members: Vec<Proxy> = proxies.collect();
        for (member, proxy) in members.iter().enumerate() {
            proxy.retarget(servers.address(member));
        }
        let listed = (0..members.len()).map(id).collect();
        let state = Mutex::new(State { writer: 0, lost: BTreeSet::new(), fenced: None, endpoint: 0, listed });
        let cluster = Self { network, endpoint, readers, members, state, servers: Box::new(servers) };
        cluster.settle()?;
        cluster.move_endpoint(0)?;
        let readers: Vec<usize> = (1..cluster.len()).collect();
        cluster.move_readers(if readers.is_empty() { &[0] } else { &readers });
        Ok(cluster)
    }

    /// The address of the cluster endpoint.
    #[must_use]
    pub fn host(&self) -> String {
        self.network.host(ENDPOINT)
    }

    /// The address of the reader endpoint.
    #[must_use]
    pub fn reader_host(&self) -> String {
        self.network.host(READERS)
    }

    /// A member's address.
    #[must_use]
    pub fn member_host(&self, member: usize) -> String {
        self.network.member(member).ip().to_string()
    }

    /// The port of all of them.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.network.port
    }

    /// A member's address, with `?` in place of its id, where the members tell no more of each other than ids.
    #[must_use]
    pub fn instance_pattern(&self) -> Option<String> {
        self.servers.tell_ids().then(|| format!("{}?", self.network.prefix()))
    }

    /// The PEM file of the authority that has signed all members' certificates, for all of the cluster's addresses
    /// and [`crate::certs::SERVER_NAMES`].
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.servers.ca_pem_path()
    }

    /// How many members there are, running or not.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Which member is the writer, or was it last.
    #[must_use]
    pub fn writer(&self) -> usize {
        lock(&self.state).writer
    }

    /// The proxy before a member, which all of its clients go through.
    #[must_use]
    pub fn wire(&self, member: usize) -> &Proxy {
        &self.members[member]
    }

    /// The proxy of the cluster endpoint, before that of the member it leads to.
    #[must_use]
    pub fn endpoint_wire(&self) -> &Proxy {
        &self.endpoint
    }

    /// Addresses of a client's own for the members that there are: what is done to these wires is done to nobody
    /// else's.
    ///
    /// # Errors
    /// If no port is free at all of the addresses.
    pub fn approach(&self) -> Result<Approach> {
        let (network, members) = self.network.elsewhere(self.len())?;
        for (member, proxy) in members.iter().enumerate() {
            proxy.retarget(self.servers.address(member));
        }
        Ok(Approach { network, members })
    }

    /// A member's log so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self, member: usize) -> Result<String> {
        self.servers.log(member)
    }

    /// Creates a fresh database and a user who owns it, on the writer, in place of those that were there before;
    /// returns when all running members have them.
    ///
    /// # Errors
    /// If the name is not made of lower-case letters, digits and `_`, or the server refuses.
    pub fn database(&self, name: &str) -> Result<Database> {
        let writer = self.writer();
        let database = self.servers.database(writer, name)?;
        self.catch_up()?;
        Ok(database)
    }

    /// Runs a script on a member as the superuser and returns the rows, as the servers' own methods do.
    ///
    /// # Errors
    /// The server's message, or that the member does not run.
    pub fn sql(&self, member: usize, database: &str, script: &str) -> Result<String> {
        self.servers.sql(member, database, script)
    }

    /// Waits until every running reader has what the writer has committed.
    ///
    /// # Errors
    /// If it does not come to that within a minute.
    pub fn catch_up(&self) -> Result<()> {
        let writer = self.writer();
        self.servers.catch_up(writer, &self.running_readers(writer))
    }

    /// Kills a member: its connections are cut without a word, and new ones refused.
    ///
    /// # Errors
    /// If it does not run, or does not end in time.
    pub fn crash(&self, member: usize) -> Result<()> {
        ensure!(self.servers.runs(member), "member {} does not run", id(member));
        self.servers.crash(member)?;
        self.doors()?;
        {
            let mut state = lock(&self.state);
            let fenced = state.fenced.take_if(|fenced| *fenced == member).is_some();
            if fenced || member == state.writer {
                state.lost.insert(member);
                return Ok(());
            }
        }
        self.settle()
    }

    /// Cuts the writer off from its colleagues, and lets it take no more writes, as a fence does that keeps a cluster from
    /// having two. Clients reach it, and the endpoint leads to it; its data grows old. PostgreSQL ends its sessions for
    /// that, MySQL keeps them. [`Self::promote`] may follow; it comes back by [`Self::crash`] and [`Self::restart`].
    ///
    /// # Errors
    /// If it does not run, or does not come to that.
    pub fn fence(&self) -> Result<()> {
        let writer = self.writer();
        ensure!(self.servers.runs(writer), "member {} does not run", id(writer));
        self.servers.fence(writer, &self.running_readers(writer))?;
        lock(&self.state).fenced = Some(writer);
        self.doors()
    }

    /// Starts a member that was stopped. It comes back as what it was; or as a reader, if another one was promoted.
    /// It is listed again.
    ///
    /// # Errors
    /// If it runs already, does not start, or does not catch up.
    pub fn restart(&self, member: usize) -> Result<()> {
        ensure!(!self.servers.runs(member), "member {} runs already", id(member));
        let (writer, lost) = {
            let state = lock(&self.state);
            (state.writer, state.lost.contains(&member))
        };
        if member == writer {
            self.servers.start_as_it_was(member)?;
        } else {
            self.servers.join(member, writer, lost)?;
        }
        lock(&self.state).lost.remove(&member);
        self.settle()?;
        self.doors()?;
        let mut listed = lock(&self.state).listed.clone();
        if !listed.contains(&id(member)) {
            listed.push(id(member));
            self.list(&listed)?;
        }
        Ok(())
    }

    /// Stops a member in order and starts it again as what it was: all of its connections are lost.
    ///
    /// # Errors
    /// If it does not run, stop, or start.
    pub fn reboot(&self, member: usize) -> Result<()> {
        ensure!(self.servers.runs(member), "member {} does not run", id(member));
        self.servers.stop(member)?;
        self.doors()?;
        self.servers.start_as_it_was(member)?;
        self.settle()?;
        self.doors()
    }

    /// Makes a reader the writer, after the writer has crashed or was fenced off; the other readers follow it. The endpoints stay where
    /// they are. Gives the moment from which on it accepts writes.
    ///
    /// # Errors
    /// If the writer still runs, `member` does not, or something does not succeed in time.
    pub fn promote(&self, member: usize) -> Result<Instant> {
        let writer = self.writer();
        let gone = !self.servers.runs(writer) || lock(&self.state).fenced == Some(writer);
        ensure!(gone, "the writer still runs: see `switchover`");
        let accepted = self.give_over_to(member)?;
        self.settle()?;
        Ok(accepted)
    }

    /// Makes a reader the writer in order: the old writer finishes what it was committing, and comes back as a reader.
    /// PostgreSQL ends its sessions for that, MySQL keeps them. The endpoints stay where they are. Gives the moment
    /// from which on the new writer accepts writes.
    ///
    /// # Errors
    /// If one of them does not run, or something does not succeed in time.
    pub fn switchover(&self, to: usize) -> Result<Instant> {
        let from = self.writer();
        ensure!(from != to && self.servers.runs(from), "a switchover from {} to {}", id(from), id(to));
        self.servers.lay_down(from, to)?;
        self.doors()?;
        let accepted = self.give_over_to(to)?;
        self.servers.take_up(from, to)?;
        self.doors()?;
        self.settle()?;
        Ok(accepted)
    }

    /// Stops a reader in order and takes it off the list, as deleting an instance does. [`Self::restart`] adds it.
    ///
    /// # Errors
    /// If it is the writer, does not run, or does not stop in time.
    pub fn remove(&self, member: usize) -> Result<()> {
        ensure!(member != self.writer() && self.servers.runs(member), "{} is no running reader", id(member));
        let mut listed = lock(&self.state).listed.clone();
        listed.retain(|listed| *listed != id(member));
        self.list(&listed)?;
        self.servers.stop(member)?;
        self.doors()?;
        self.settle()
    }

    /// Lets nothing more through to a member and back, on open and on new connections, until [`Self::heal`]. The
    /// members still reach each other, and clients that member's colleagues.
    pub fn partition(&self, member: usize) {
        self.members[member].black_hole();
    }

    /// Ends a member's partition. What was held back is delivered.
    pub fn heal(&self, member: usize) {
        self.members[member].flow();
    }

    /// Replaces the list of members that they tell their clients: ids, of members or of others that are gone.
    ///
    /// # Errors
    /// If the writer does not run, or does not take it.
    pub fn list(&self, ids: &[impl AsRef<str>]) -> Result<()> {
        let ids: Vec<String> = ids.iter().map(|id| id.as_ref().to_owned()).collect();
        let writer = self.writer();
        self.servers.list(writer, &ids)?;
        lock(&self.state).listed = ids;
        self.catch_up()
    }

    /// Lets the cluster endpoint lead to this member: what AWS's DNS does some time after a failover. Open
    /// connections stay where they are.
    ///
    /// # Errors
    /// If the system does not let the endpoint's port be opened or closed.
    pub fn move_endpoint(&self, member: usize) -> Result<()> {
        lock(&self.state).endpoint = member;
        self.endpoint.retarget(self.members[member].address());
        self.doors()
    }

    /// Lets the reader endpoint lead to these members in turn.
    pub fn move_readers(&self, members: &[usize]) {
        self.readers.spread(members.iter().map(|&member| self.members[member].address()));
    }

    /// How many connections clients have to a member.
    #[must_use]
    pub fn connections(&self, member: usize) -> usize {
        self.members[member].open_connections()
    }

    fn give_over_to(&self, member: usize) -> Result<Instant> {
        let writer = self.writer();
        ensure!(member != writer && self.servers.runs(member), "{} is no running reader", id(member));
        let mut others = self.running_readers(member);
        others.retain(|&other| other != writer);
        let accepted = self.servers.promote(member, &others)?;
        lock(&self.state).writer = member;
        self.doors()?;
        Ok(accepted)
    }

    /// All that run and follow, so not the writer.
    fn running_readers(&self, writer: usize) -> Vec<usize> {
        let fenced = lock(&self.state).fenced;
        let follows =
            |&member: &usize| member != writer && fenced != Some(member) && self.servers.runs(member);
        (0..self.len()).filter(follows).collect()
    }

    /// Waits until all readers that run have caught up; from then on commits wait for them.
    fn settle(&self) -> Result<()> {
        let writer = self.writer();
        if self.servers.runs(writer) {
            self.servers.settle(writer, &self.running_readers(writer))?;
            self.catch_up()?;
        }
        Ok(())
    }

    /// A member that does not run refuses connections, and so does an endpoint that leads to it.
    fn doors(&self) -> Result<()> {
        let endpoint = lock(&self.state).endpoint;
        let members = self.members.iter().enumerate();
        for (proxy, member) in
            members.map(|(member, proxy)| (proxy, member)).chain([(&self.endpoint, endpoint)])
        {
            let runs = self.servers.runs(member);
            now(async { if runs { proxy.accept().await } else { proxy.refuse().await } })?;
        }
        Ok(())
    }
}

/// A client's own way to the members of a cluster: on the hosts of the cluster's addresses, and on a port of its own, so
/// that the members' certificates hold and [`Cluster::instance_pattern`] leads to it. It has no endpoints; the writer's
/// address stands in for the cluster's. It knows of no crash: a member that does not run hangs up.
#[derive(Debug)]
pub struct Approach {
    network: Network,
    members: Vec<Proxy>,
}

impl Approach {
    /// A member's address; the same as [`Cluster::member_host`].
    #[must_use]
    pub fn host(&self, member: usize) -> String {
        self.network.member(member).ip().to_string()
    }

    /// The port of all of them.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.network.port
    }

    /// The wire to a member.
    #[must_use]
    pub fn wire(&self, member: usize) -> &Proxy {
        &self.members[member]
    }

    /// The wires to all members.
    #[must_use]
    pub fn wires(&self) -> &[Proxy] {
        &self.members
    }
}

/// What is going on.
#[derive(Debug)]
struct State {
    writer: usize,
    /// Writers that crashed and have not come back: they may have commits that nobody else has.
    lost: BTreeSet<usize>,
    /// A writer that was fenced off and still runs.
    fenced: Option<usize>,
    /// Where the cluster endpoint leads to.
    endpoint: usize,
    /// The ids of the members that clients are told of.
    listed: Vec<String>,
}

/// What a cluster is made of.
#[derive(Debug)]
struct Plan {
    network: Network,
    members: usize,
    authority: Arc<Authority>,
}

/// The servers of one engine. Members are numbered as in [`Cluster`].
trait Servers: Debug + Send + Sync {
    fn address(&self, member: usize) -> SocketAddr;
    fn ca_pem_path(&self) -> PathBuf;
    /// Whether clients are told of ids, and not of whole addresses.
    fn tell_ids(&self) -> bool;
    fn runs(&self, member: usize) -> bool;
    fn database(&self, writer: usize, name: &str) -> Result<Database>;
    fn sql(&self, member: usize, database: &str, script: &str) -> Result<String>;
    fn list(&self, writer: usize, ids: &[String]) -> Result<()>;
    fn log(&self, member: usize) -> Result<String>;
    fn crash(&self, member: usize) -> Result<()>;
    fn stop(&self, member: usize) -> Result<()>;
    /// Lets the writer take no more writes, and none of the readers follow it.
    fn fence(&self, writer: usize, readers: &[usize]) -> Result<()>;
    fn start_as_it_was(&self, member: usize) -> Result<()>;
    /// Starts a stopped member as a reader; `anew` without the data that it has.
    fn join(&self, member: usize, writer: usize, anew: bool) -> Result<()>;
    /// Makes a reader the writer, and `others` its readers.
    fn promote(&self, member: usize, others: &[usize]) -> Result<Instant>;
    /// The writer ends being one, and `to` has all that it has.
    fn lay_down(&self, writer: usize, to: usize) -> Result<()>;
    /// One who laid it down becomes a reader.
    fn take_up(&self, member: usize, writer: usize) -> Result<()>;
    /// Waits until `readers` follow, and lets the writer's commits wait for all of them from then on.
    fn settle(&self, writer: usize, readers: &[usize]) -> Result<()>;
    /// Waits until `readers` have all that is committed.
    fn catch_up(&self, writer: usize, readers: &[usize]) -> Result<()>;
}

/// The addresses of a cluster.
#[derive(Debug, Clone, Copy)]
struct Network {
    octets: [u8; 2],
    port: u16,
}

impl Network {
    /// Finds a network and a port that are free, and listens at all addresses, which lead nowhere yet.
    fn take(members: usize) -> Result<(Self, Vec<Proxy>)> {
        Self::first_free(|| {
            let [first, second, ..] = background::random().to_le_bytes();
            // Not 127.0, where all the rest of the machine is.
            let network = Self { octets: [first.clamp(1, 254), second], port: free_port()? };
            let hosts = [ENDPOINT, READERS].into_iter().map(|host| network.address(host));
            Ok((network, hosts.chain((0..members).map(|member| network.member(member))).collect()))
        })
    }

    /// Finds another port, and listens at the members' addresses.
    fn elsewhere(self, members: usize) -> Result<(Self, Vec<Proxy>)> {
        Self::first_free(|| {
            let network = Self { port: free_port()?, ..self };
            Ok((network, (0..members).map(|member| network.member(member)).collect()))
        })
    }

    fn first_free(candidate: impl Fn() -> Result<(Self, Vec<SocketAddr>)>) -> Result<(Self, Vec<Proxy>)> {
        let mut last = anyhow!("not tried");
        for _ in 0..10 {
            let (network, addresses) = candidate()?;
            let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            match addresses.into_iter().map(|address| Proxy::start_at(address, nowhere)).collect() {
                Ok(proxies) => return Ok((network, proxies)),
                Err(error) => last = error,
            }
        }
        Err(last.context("ten networks that looked free were not"))
    }

    fn prefix(self) -> String {
        format!("127.{}.{}.", self.octets[0], self.octets[1])
    }

    fn address(self, host: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, self.octets[0], self.octets[1], host), self.port))
    }

    fn member(self, member: usize) -> SocketAddr {
        self.address(number(member))
    }

    fn host(self, host: u8) -> String {
        self.address(host).ip().to_string()
    }

    /// All addresses that a certificate must be valid for.
    fn names(self, members: usize) -> Vec<String> {
        let members = (0..members).map(number);
        [ENDPOINT, READERS].into_iter().chain(members).map(|host| self.host(host)).collect()
    }
}

/// The last octet of a member's address; a cluster has 200 at most.
fn number(member: usize) -> u8 {
    u8::try_from(member).unwrap_or(u8::MAX).saturating_add(FIRST_MEMBER)
}

/// A member's id.
fn id(member: usize) -> String {
    number(member).to_string()
}

/// Does the same for several members at once.
fn each<T: Send>(
    members: impl IntoIterator<Item = usize>,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            members.into_iter().map(|member| (member, scope.spawn(move || work(member)))).collect();
        let ended = running.into_iter().map(|(member, thread)| {
            let ended = thread.join().map_err(|_| anyhow!("a thread of the testbed panicked"))?;
            ended.with_context(|| format!("member {}", id(member)))
        });
        ended.collect()
    })
}

/// Waits for what the proxies do, also where the caller is inside a runtime of its own.
fn now<T: Send>(work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let runtime = background::handle()?;
    let done = thread::scope(|scope| scope.spawn(|| runtime.block_on(work)).join());
    done.map_err(|_| anyhow!("a thread of the testbed panicked"))?
}

const ENDPOINT: u8 = 1;
const READERS: u8 = 2;
const FIRST_MEMBER: u8 = 11;

#[cfg(test)]
mod tests;
