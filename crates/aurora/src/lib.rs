//! The topology of a cluster: which server is the writer, which are readers, and what to do when that changes.
//!
//! Aurora, and Multi-AZ DB clusters of RDS. It wraps any engine and imports none: core gives it a way to connect, and
//! a session to ask. A process that freezes can watch nothing, so nothing is watched:
//!
//! - Each new session is asked, in one round trip, what its server is and who else is in the cluster. DNS, which
//!   points to the old writer for a while, is not trusted with that.
//! - Where that is not what is wanted, or a session was lost, all members and the cluster's endpoint are asked at the
//!   same time, until one says yes (`writer`).
//! - Readers are chosen by us, not by DNS (`readers`).
//!
//! Whatever is no cluster (a single server, a proxy, a custom endpoint) is spoken to as if this crate were not there.

mod members;
mod names;
mod readers;
mod writer;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use lambda_rds_core::backend::{Access, Connect, Endpoint, Opened, Pooling, Role, Session, Topology};
use lambda_rds_core::config::{Auth, Db, Engine, InstancePattern, Pooler, ReadFrom};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};

use members::{Answer, Kind, Member, Naming};
use names::Name;

/// The topology of one cluster.
#[derive(Debug)]
pub struct Aurora {
    engine: Engine,
    pooler: Pooler,
    read_from: ReadFrom,
    reader_host: Option<String>,
    pattern: Option<InstancePattern>,
    /// Names of the cluster that the configuration has beside the host's, which may be a CNAME.
    also_known_as: Vec<String>,
    known: Mutex<Known>,
}

/// What has been learned so far.
#[derive(Debug, Default)]
struct Known {
    cluster: Option<Cluster>,
    members: Vec<Member>,
    /// Who proved to be the writer last.
    writer: Option<Endpoint>,
    /// A session on the writer was lost since.
    doubt: bool,
    /// Who refused a write although it says that it is the writer.
    refused: Vec<(Endpoint, SystemTime)>,
    /// Who was lost, or could not be reached.
    lost: Vec<(Endpoint, SystemTime)>,
    /// That the members' hosts cannot be told was told.
    told: bool,
}

/// What is behind the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cluster {
    Of(Kind),
    /// One server, as far as it lets us know.
    None,
}

/// What the names say of a cluster.
#[derive(Debug)]
struct Places {
    configured: Endpoint,
    /// The host is one server, a chosen group of them, or a proxy.
    plain: bool,
    /// The host is the readers' endpoint.
    of_readers: bool,
    /// Where readers are found.
    readers: Option<Endpoint>,
    /// Reads go there and nowhere else.
    pinned: bool,
    naming: Naming,
}

impl Aurora {
    /// The topology of the cluster that this configuration names. Nothing is asked yet.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        let iam_host = match &db.auth {
            Auth::Iam { host } => host.clone(),
            Auth::Secret { .. } | Auth::Password(_) | Auth::Embedded => None,
        };
        Self {
            engine: db.engine,
            pooler: db.pooler,
            read_from: db.read_from,
            reader_host: db.reader_host.clone(),
            pattern: db.instance_pattern.clone(),
            also_known_as: [iam_host, db.tls.server_name.clone()].into_iter().flatten().collect(),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, configured: &Endpoint) -> Places {
        let name = Name::of(&configured.host);
        let behind = || self.also_known_as.iter().map(|host| Name::of(host));
        // The name behind a CNAME says as much as the cluster's own would.
        let told = std::iter::once(name.clone()).chain(behind()).find(|name| name.domain().is_some());
        let domain = told.as_ref().and_then(Name::domain).map(InstancePattern::of_domain);
        let at = |host: &String| Endpoint { host: host.clone(), port: configured.port };
        let readers = match (&self.reader_host, &told) {
            (Some(host), _) => Some(at(host)),
            (None, Some(Name::Cluster { readers, .. })) => Some(at(readers)),
            _ => None,
        };
        let pooled = self.pooler.at(&configured.host) != Pooling::None;
        Places {
            configured: configured.clone(),
            plain: pooled || (name == Name::Chosen && self.pattern.is_none()),
            of_readers: matches!(name, Name::Readers { .. }),
            readers,
            pinned: self.reader_host.as_deref().is_some_and(|host| Name::of(host) == Name::Chosen),
            naming: Naming {
                pattern: self.pattern.clone().or(domain),
                set: self.pattern.is_some(),
                port: configured.port,
            },
        }
    }

    /// Whether there is nobody to ask.
    fn is_plain(&self, places: &Places) -> bool {
        places.plain || self.known().cluster == Some(Cluster::None)
    }

    /// Opens a session and asks it what its server is. No answer: it knows of no cluster.
    async fn greet(
        &self,
        servers: &dyn Connect,
        places: &Places,
        endpoint: &Endpoint,
        by: Deadline,
    ) -> Result<(Box<dyn Session>, Option<Answer>)> {
        let mut session = servers.connect(endpoint.clone(), by).await?;
        let answer = self.ask(session.as_mut(), places, by).await?;
        Ok((session, answer))
    }

    /// Asks a session what its server is, and remembers what it says of the cluster.
    async fn ask(&self, session: &mut dyn Session, places: &Places, by: Deadline) -> Result<Option<Answer>> {
        let cluster = self.known().cluster;
        let kinds = match &cluster {
            Some(Cluster::Of(kind)) => std::slice::from_ref(kind),
            Some(Cluster::None) => &[],
            None => &Kind::ALL[..],
        };
        for kind in kinds {
            if let Some(answer) = members::ask(session, *kind, self.engine, &places.naming, by).await? {
                self.learned(*kind, &answer, places);
                return Ok(Some(answer));
            }
        }
        if cluster.is_none() {
            tracing::debug!("{} is no cluster, or does not let us know its members", places.configured);
            self.known().cluster = Some(Cluster::None);
        }
        Ok(None)
    }

    fn learned(&self, kind: Kind, answer: &Answer, places: &Places) {
        let mut known = self.known();
        known.cluster = Some(Cluster::Of(kind));
        if answer.nameless > 0 && answer.members.is_empty() && !known.told {
            known.told = true;
            tracing::warn!(
                "the hosts of the cluster's members cannot be told from the name {}: set DB_HOST to the cluster's own \
                 endpoint, or DB_INSTANCE_PATTERN. Until then a failover takes as long as DNS does, and reads are not \
                 spread",
                places.configured.host
            );
        }
        if !answer.members.is_empty() {
            known.members.clone_from(&answer.members);
        }
    }

    /// This one is the writer: it has said so.
    fn found(&self, writer: &Endpoint) {
        let mut known = self.known();
        if let Some(before) = known.writer.as_ref().filter(|before| *before != writer) {
            tracing::info!("the cluster's writer is {writer}; it was {before}");
        }
        known.doubt = false;
        known.writer = Some(writer.clone());
    }

    /// This one could not be reached.
    fn lost(&self, endpoint: &Endpoint) {
        note(&mut self.known().lost, endpoint, LOST_FOR);
    }
}

impl Topology for Aurora {
    fn role(&self, want: Access) -> Role {
        match (want, self.read_from) {
            (Access::Read, ReadFrom::Reader) => Role::Reader,
            (Access::Read, ReadFrom::Writer) | (Access::Write, _) => Role::Writer,
        }
    }

    fn open<'a>(
        &'a self,
        servers: &'a dyn Connect,
        want: Access,
        by: Deadline,
    ) -> BoxFuture<'a, Result<Opened>> {
        Box::pin(async move {
            let places = self.places(servers.configured());
            let of_readers = places.of_readers && want == Access::Read;
            if of_readers || self.role(want) == Role::Reader {
                readers::open(self, servers, &places, by).await
            } else {
                writer::open(self, servers, &places, want, by).await
            }
        })
    }

    fn blame(&self, endpoint: &Endpoint, fault: Fault) {
        let mut known = self.known();
        match fault {
            Fault::NotTheWriter => {
                note(&mut known.refused, endpoint, REFUSED_FOR);
                known.doubt = true;
            }
            Fault::ConnectionLost | Fault::ServerUnavailable | Fault::Unreachable => {
                known.doubt |= known.writer.as_ref() == Some(endpoint);
                note(&mut known.lost, endpoint, LOST_FOR);
            }
            _ => {}
        }
    }
}

/// Opens a session where the configuration says, and asks nothing.
async fn plain(servers: &dyn Connect, by: Deadline) -> Result<Opened> {
    let endpoint = servers.configured().clone();
    let session = servers.connect(endpoint.clone(), by).await?;
    Ok(Opened { session, endpoint, makeshift: None })
}

/// Notes that this endpoint has failed just now, and forgets what is older than it counts for.
fn note(list: &mut Vec<(Endpoint, SystemTime)>, endpoint: &Endpoint, counts_for: Duration) {
    list.retain(|(known, since)| known != endpoint && younger(*since, counts_for));
    list.push((endpoint.clone(), SystemTime::now()));
}

fn noted(list: &[(Endpoint, SystemTime)], endpoint: &Endpoint, counts_for: Duration) -> bool {
    list.iter().any(|(known, since)| known == endpoint && younger(*since, counts_for))
}

/// By the wall clock: a frozen process's timers tell nothing.
fn younger(since: SystemTime, span: Duration) -> bool {
    since.elapsed().is_ok_and(|age| age < span)
}

/// What went wrong while servers were asked, and what that comes to.
#[derive(Default)]
struct Failures {
    /// The last one of each.
    last: Vec<(Endpoint, Error)>,
    /// Somebody accepted the connection and then said nothing.
    silent: bool,
    /// Somebody takes no writes.
    readers: Vec<Endpoint>,
}

impl Failures {
    fn add(&mut self, endpoint: &Endpoint, error: Error, late: bool) {
        self.silent |= late && matches!(error.phase(), Some(Phase::Tls | Phase::Auth | Phase::Ready));
        // What a server has said itself is not made void by its having no time for another answer.
        if late && self.last.iter().any(|(known, before)| known == endpoint && told(before)) {
            return;
        }
        self.last.retain(|(known, _)| known != endpoint);
        self.last.push((endpoint.clone(), error));
    }

    fn read_only(&mut self, endpoint: &Endpoint) {
        if !self.readers.contains(endpoint) {
            self.readers.push(endpoint.clone());
        }
    }

    /// The one error that is reported; `alive` is when a session of this environment was last, `writer` who was the writer
    /// last, as far as is known.
    fn into_error(mut self, alive: Option<SystemTime>, writer: Option<&Endpoint>) -> Error {
        let readers = self.readers.iter().map(|endpoint| format!("{endpoint} takes no writes"));
        let failed = self.last.iter().map(|(_, error)| error.detail().to_owned());
        let detail = readers.chain(failed).collect::<Vec<_>>().join("; ");
        // The writer is there and has no room, which is no failover; before anybody was seen to be the writer, it is the
        // one who is left if all others say that they are none.
        let full = |error: &Error| error.fault() == Fault::TooManyConnections;
        let busy = match writer {
            Some(writer) => self.last.iter().any(|(endpoint, error)| endpoint == writer && full(error)),
            None => !self.last.is_empty() && self.last.iter().all(|(_, error)| full(error)),
        };
        if !self.readers.is_empty() && !busy {
            return Error::new(
                Fault::NotTheWriter,
                format!("no member of the cluster is the writer: {detail}"),
            )
            .with_phase(Phase::Ready);
        }
        // What a server said itself comes before what the wire did not say.
        let which = self.last.iter().position(|(_, error)| told(error));
        // Whoever has seen it alive within that time knows that it does not sleep.
        let awake = alive.is_some_and(|since| younger(since, SHORTEST_PAUSE));
        match which.or(self.last.len().checked_sub(1)).map(|which| self.last.swap_remove(which).1) {
            Some(error) if told(&error) => error.with_detail(detail),
            Some(error) if self.silent && !awake => error.into_fault(Fault::Resuming).with_detail(format!(
                "the server accepts connections and says nothing, as an Aurora that was paused does until it has \
                 resumed; DB_CONNECT_TIMEOUT is how long a call waits for that: {detail}"
            )),
            Some(error) => error.into_fault(Fault::Unreachable).with_detail(detail),
            None => Error::new(Fault::Unreachable, "there was no time to ask the cluster").with_phase(Phase::Tcp),
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").field("last", &self.last.len()).finish_non_exhaustive()
    }
}

/// Whether a server has said this itself.
fn told(error: &Error) -> bool {
    match error.fault() {
        Fault::ConnectionLost => false,
        Fault::Unreachable => error.sqlstate().is_some(),
        _ => true,
    }
}

/// A name that is not known is not known a moment later.
fn has_no_address(error: &Error) -> bool {
    error.phase() == Some(Phase::Resolve)
}

/// Whether asking again cannot help: the server's certificate, its idea of the protocol, and what it says itself of a
/// database that there is not, stay the same.
fn hopeless(error: &Error, late: bool) -> bool {
    let before_the_session = matches!(error.phase(), Some(Phase::Tls | Phase::Auth));
    !late && error.fault() == Fault::Unreachable && (before_the_session || told(error))
}

/// Between two questions to the same server: short, since a failover is over when the new writer says so, and random,
/// since a whole fleet asks.
fn pause() -> Duration {
    Duration::from_millis(fastrand::u64(100..=250))
}

/// How long one question may take before it is asked anew; doubled each time, since a slow login is as slow the next
/// time.
fn patience(tries: u32) -> Duration {
    Duration::from_secs(2) * 2_u32.pow(tries.min(5))
}

/// A healthy server has answered by then; from here on the others are asked as well.
const HEDGE: Duration = Duration::from_millis(400);
/// How long the first that would do is kept waiting for a better one.
const GRACE: Duration = Duration::from_millis(250);
/// A server that has just refused a write is not believed to be the writer.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// For so long a reader that was lost is tried after the others.
const LOST_FOR: Duration = Duration::from_secs(30);
/// For so long reads stay where they should not be, if something is wrong with the cluster, and if nothing is.
const MAKESHIFT: Duration = Duration::from_secs(1);
const MAKESHIFT_IN_PEACE: Duration = Duration::from_secs(30);
/// Aurora pauses after 5 minutes without a connection at the earliest.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html>
const SHORTEST_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
