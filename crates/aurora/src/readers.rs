//! The choice of a reader: two of them, taken at random, are asked, and the one with fewer sessions is taken.
//!
//! DNS would give a fleet that starts together the same reader for as long as it remembers one. Random choice alone
//! is off by a third where some dozens choose among three; the better of two is off by a few.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lambda_rds_core::backend::{Access, Connect, Endpoint, Opened, Session};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Fault, Result};

use crate::members::Answer;
use crate::{
    Aurora, Failures, GRACE, HEDGE, LOST_FOR, Places, has_no_address, hopeless, noted, patience, pause,
    plain, writer,
};

/// Opens a session on a reader; where there is none, on the writer.
pub(crate) async fn open(
    aurora: &Aurora,
    servers: &dyn Connect,
    places: &Places,
    by: Deadline,
) -> Result<Opened> {
    match &places.readers {
        Some(readers) if places.pinned || aurora.is_plain(places) => {
            let half = by.within(by.remaining() / 2);
            match servers.connect(readers.clone(), half).await {
                Ok(session) => Ok(Opened { session, endpoint: readers.clone(), makeshift: None }),
                Err(error) if error.fault() == Fault::CredentialsRejected => Err(error),
                Err(error) => {
                    tracing::warn!("no session on {readers}, reads go to the writer: {error}");
                    let opened = writer::open(aurora, servers, places, Access::Read, by).await?;
                    Ok(Opened { makeshift: Some(WITHOUT_READERS), ..opened })
                }
            }
        }
        None if aurora.is_plain(places) => plain(servers, by).await,
        _ => Choice::new(aurora, servers, places, by).run().await,
    }
}

struct Choice<'a> {
    aurora: &'a Aurora,
    servers: &'a dyn Connect,
    places: &'a Places,
    by: Deadline,
    running: FuturesUnordered<BoxFuture<'a, Asked>>,
    asked: HashSet<Endpoint>,
    /// The readers that have answered, with their number of sessions.
    readers: Vec<(Opened, u64)>,
    /// A reader to which DNS has led. It is one of the members, and not to be counted twice.
    spare: Option<Opened>,
    /// A server that has answered and is none.
    writer: Option<Opened>,
    failures: Failures,
    /// Nobody is worth asking again.
    hopeless: bool,
}

/// What came of asking.
struct Asked {
    endpoint: Endpoint,
    outcome: Result<(Box<dyn Session>, Option<Answer>)>,
    late: bool,
}

impl<'a> Choice<'a> {
    fn new(aurora: &'a Aurora, servers: &'a dyn Connect, places: &'a Places, by: Deadline) -> Self {
        Self {
            aurora,
            servers,
            places,
            by,
            running: FuturesUnordered::new(),
            asked: HashSet::new(),
            readers: Vec::new(),
            spare: None,
            writer: None,
            failures: Failures::default(),
            hopeless: true,
        }
    }

    async fn run(mut self) -> Result<Opened> {
        let mut rounds = 0;
        let mut hedge = Deadline::after(HEDGE);
        let mut grace = None;
        loop {
            if self.next(false).is_some() {
                // Not kept while others are asked: a fleet that starts would make its server look busy.
                self.spare = None;
            } else if self.nobody()
                && let Some(opened) = self.spare.take()
            {
                return Ok(opened);
            }
            let wanted = self.wanted();
            while self.running.len() + self.readers.len() < wanted && self.ask_next(rounds, self.nobody()) {}
            let enough = self.readers.len() >= wanted || self.running.is_empty();
            if !self.readers.is_empty() && (enough || grace.is_some_and(Deadline::passed)) {
                return Ok(self.choose());
            }
            if self.running.is_empty() {
                // Everybody has been asked.
                if let Some(opened) = self.spare.take().or_else(|| self.writer.take()) {
                    return Ok(opened);
                }
                let pause = pause();
                if self.hopeless || self.by.remaining() <= pause {
                    break;
                }
                tokio::time::sleep(pause).await;
                rounds += 1;
                self.asked.clear();
                self.hopeless = true;
                continue;
            }
            let until = grace.unwrap_or(hedge).min(self.by);
            match until.bound(self.running.next()).await {
                Ok(Some(asked)) => {
                    if let Some(opened) = self.take(asked, rounds)? {
                        return Ok(opened);
                    }
                    if !self.readers.is_empty() && grace.is_none() {
                        grace = Some(Deadline::after(GRACE));
                    }
                }
                Ok(None) => {}
                Err(_) if self.by.passed() => break,
                Err(_) if grace.is_none() => {
                    self.ask_next(rounds, true);
                    hedge = Deadline::after(HEDGE);
                }
                Err(_) => {}
            }
        }
        match self.spare.or(self.writer) {
            Some(opened) => Ok(opened),
            None => Err(self.failures.into_error(self.servers.last_alive(), None)),
        }
    }

    /// How many answers there should be to choose from. Whoever knows nobody asks one who knows.
    fn wanted(&self) -> usize {
        let known = self.aurora.known();
        known.members.iter().filter(|member| !member.writer).count().clamp(1, 2)
    }

    /// Whether there is neither an answer nor one to come.
    fn nobody(&self) -> bool {
        self.running.is_empty() && self.readers.is_empty()
    }

    /// Asks one more; false if there is nobody else. `anybody`: not only readers that are sound.
    fn ask_next(&mut self, rounds: u32, anybody: bool) -> bool {
        let Some(endpoint) = self.next(anybody) else { return false };
        self.asked.insert(endpoint.clone());
        let (aurora, servers, places, by) = (self.aurora, self.servers, self.places, self.by);
        let by = by.within(patience(rounds));
        self.running.push(Box::pin(async move {
            let outcome = aurora.greet(servers, places, &endpoint, by).await;
            Asked { endpoint, late: by.passed() && outcome.is_err(), outcome }
        }));
        true
    }

    /// Whom to ask next: a reader, at random, those that were lost last; the readers' endpoint; the writer.
    fn next(&self, anybody: bool) -> Option<Endpoint> {
        let known = self.aurora.known();
        let fresh = |endpoint: &Endpoint| !self.asked.contains(endpoint);
        let lost = |endpoint: &Endpoint| noted(&known.lost, endpoint, LOST_FOR);
        let (lost, sound): (Vec<_>, Vec<_>) = known
            .members
            .iter()
            .filter(|member| !member.writer && fresh(&member.endpoint))
            .map(|member| &member.endpoint)
            .partition(|endpoint| lost(endpoint));
        let any = |of: &[&Endpoint]| (!of.is_empty()).then(|| of[fastrand::usize(..of.len())].clone());
        let readers = self.places.readers.iter();
        let writers = known.writer.iter().chain([&self.places.configured]);
        // Two names of the writer are one too many.
        let writers = writers.filter(|_| self.writer.is_none());
        let others =
            || any(&lost).or_else(|| readers.chain(writers).find(|endpoint| fresh(endpoint)).cloned());
        any(&sound).or_else(|| if anybody { others() } else { None })
    }

    fn take(&mut self, asked: Asked, rounds: u32) -> Result<Option<Opened>> {
        let Asked { endpoint, outcome, late } = asked;
        match outcome {
            // No cluster: wherever this is, there is no better place.
            Ok((session, None)) => {
                let aside = self.places.readers.as_ref().is_some_and(|readers| *readers != endpoint);
                let makeshift = aside.then_some(WITHOUT_READERS);
                Ok(Some(Opened { session, endpoint, makeshift }))
            }
            Ok((session, Some(answer))) if answer.reader => {
                let member = answer.members.iter().any(|member| member.endpoint == endpoint);
                let opened = Opened { session, endpoint, makeshift: None };
                if member {
                    self.readers.push((opened, answer.sessions));
                } else {
                    self.spare = Some(opened);
                }
                Ok(None)
            }
            Ok((session, Some(answer))) => {
                self.aurora.found(&endpoint);
                // Where there are no readers, this is where reads belong.
                let alone = answer.members.iter().all(|member| member.writer || member.endpoint == endpoint);
                let unknown = answer.nameless > 0 && self.places.readers.is_some();
                let makeshift = (!alone || unknown).then_some(WITHOUT_READERS);
                self.writer = Some(Opened { session, endpoint, makeshift });
                Ok(None)
            }
            Err(error) if error.fault() == Fault::CredentialsRejected => Err(error),
            Err(error) => {
                self.aurora.lost(&endpoint);
                self.hopeless &= hopeless(&error, late) || (has_no_address(&error) && rounds > 0);
                self.failures.add(&endpoint, error, late);
                Ok(None)
            }
        }
    }

    fn choose(mut self) -> Opened {
        // Those that answered at the same time are in no order; the first of equals is as good as any.
        let least = self.readers.iter().enumerate().min_by_key(|(_, (_, sessions))| *sessions);
        let least = least.map_or(0, |(at, _)| at);
        self.readers.swap_remove(least).0
    }
}

/// For so long reads stay on the writer because no reader could be reached.
const WITHOUT_READERS: Duration = Duration::from_secs(10);
