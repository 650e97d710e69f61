//! The search for the writer: one server is asked, and where that is not it, all of them at the same time.
//!
//! Each is asked once, whatever names it has: the cluster's own leads to a member, and so does the readers'. Two logins at a
//! time on a writer that is slow make it slower, and a wrong password is counted twice.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use lambda_rds_core::backend::{Access, Connect, Endpoint, Opened, Session, State};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Result};

use crate::members::Answer;
use crate::{
    Aurora, Failures, GRACE, HEDGE, MAKESHIFT, MAKESHIFT_IN_PEACE, Places, REFUSED_FOR, has_no_address,
    hopeless, noted, patience, pause, plain,
};

/// Opens a session on the writer. A read, for which there is none, is given a reader.
pub(crate) async fn open(
    aurora: &Aurora,
    servers: &dyn Connect,
    places: &Places,
    want: Access,
    by: Deadline,
) -> Result<Opened> {
    if aurora.is_plain(places) {
        return plain(servers, by).await;
    }
    Search::new(aurora, servers, places, want, by).run().await
}

struct Search<'a> {
    aurora: &'a Aurora,
    servers: &'a dyn Connect,
    places: &'a Places,
    want: Access,
    by: Deadline,
    running: FuturesUnordered<BoxFuture<'a, Event>>,
    /// Everybody who has turned up.
    known: HashSet<Endpoint>,
    /// Who is being asked, or has answered and is not left, and where that is, as far as is known.
    asked: Vec<(Endpoint, Vec<SocketAddr>)>,
    /// Everybody is being asked.
    wide: bool,
    /// How many are being asked for the first time.
    new: usize,
    /// A reader that a read can do with, and until when there may be something better.
    held: Option<(Opened, Deadline)>,
    failures: Failures,
}

/// Somebody to ask.
struct Candidate {
    endpoint: Endpoint,
    tries: u32,
    /// It is one of those who are asked for the first time.
    new: bool,
    /// From the last time, to ask once more on.
    session: Option<Box<dyn Session>>,
}

enum Event {
    Asked(Asked),
    /// Where somebody is to ask, and where those are who are being asked.
    Found(Vec<Candidate>, Vec<(Endpoint, Vec<SocketAddr>)>),
}

/// What came of asking.
struct Asked {
    endpoint: Endpoint,
    tries: u32,
    new: bool,
    outcome: Result<(Box<dyn Session>, Option<Answer>)>,
    /// It took longer than it may.
    late: bool,
}

impl<'a> Search<'a> {
    fn new(
        aurora: &'a Aurora,
        servers: &'a dyn Connect,
        places: &'a Places,
        want: Access,
        by: Deadline,
    ) -> Self {
        Self {
            aurora,
            servers,
            places,
            want,
            by,
            running: FuturesUnordered::new(),
            known: HashSet::new(),
            asked: Vec::new(),
            wide: false,
            new: 0,
            held: None,
            failures: Failures::default(),
        }
    }

    async fn run(mut self) -> Result<Opened> {
        let (first, doubt) = {
            let known = self.aurora.known();
            (known.writer.clone(), known.doubt)
        };
        // Its name is looked up where others are asked beside it.
        let first = first.unwrap_or_else(|| self.places.configured.clone());
        if let Some(first) = self.candidate(first) {
            self.ask(first, Vec::new());
        }
        if doubt {
            self.widen();
        }
        let hedge = Deadline::after(HEDGE);
        loop {
            if let Some((_, better_until)) = &self.held
                && (self.new == 0 || better_until.passed() || self.by.passed())
            {
                break;
            }
            if !self.wide && hedge.passed() {
                self.widen();
            }
            let mut until = self.by;
            if !self.wide {
                until = until.min(hedge);
            }
            if let Some((_, better_until)) = &self.held {
                until = until.min(*better_until);
            }
            match until.bound(self.running.next()).await {
                Ok(Some(Event::Found(candidates, places))) => self.place(candidates, &places),
                Ok(Some(Event::Asked(asked))) => {
                    if let Some(opened) = self.take(asked).await? {
                        return Ok(opened);
                    }
                }
                // Nobody is worth asking again.
                Ok(None) if self.wide => break,
                Ok(None) => self.widen(),
                Err(_) if self.by.passed() => break,
                Err(_) => {}
            }
        }
        match self.held {
            Some((opened, _)) => Ok(opened),
            None => {
                let writer = self.aurora.known().writer.clone();
                Err(self.failures.into_error(self.servers.last_alive(), writer.as_ref()))
            }
        }
    }

    /// Asks everybody who is not being asked yet, and from now on everybody who turns up.
    fn widen(&mut self) {
        self.wide = true;
        let members: Vec<_> = {
            let known = self.aurora.known();
            known.members.iter().map(|member| member.endpoint.clone()).collect()
        };
        // A reader knows the members, where nobody does yet.
        let readers = self.places.readers.clone().filter(|_| members.is_empty() && !self.places.pinned);
        let configured = self.places.configured.clone();
        let all = members.into_iter().chain(readers).chain([configured]);
        let new: Vec<_> = all.filter_map(|endpoint| self.candidate(endpoint)).collect();
        if !new.is_empty() {
            self.look_up(new, Duration::ZERO);
        }
    }

    /// Somebody who has not turned up before.
    fn candidate(&mut self, endpoint: Endpoint) -> Option<Candidate> {
        let fresh = self.known.insert(endpoint.clone());
        self.new += usize::from(fresh);
        fresh.then_some(Candidate { endpoint, tries: 0, new: true, session: None })
    }

    /// Finds out, after a pause, where these are, and who is being asked already.
    fn look_up(&self, candidates: Vec<Candidate>, pause: Duration) {
        let unplaced =
            self.asked.iter().filter(|(_, at)| at.is_empty()).map(|(endpoint, _)| endpoint.clone());
        let all = candidates.iter().map(|candidate| candidate.endpoint.clone()).chain(unplaced);
        let all: Vec<Endpoint> = all.collect();
        let (servers, by) = (self.servers, self.by);
        self.running.push(Box::pin(async move {
            wait(pause).await;
            let by = by.within(LOOK_UP);
            let places = all.into_iter().map(|endpoint| async move {
                let at = servers.addresses(endpoint.clone(), by).await;
                (endpoint, at)
            });
            let places = join_all(places).await;
            Event::Found(candidates, places)
        }));
    }

    /// Asks those who are where nobody is being asked. The others are looked up again: a name may lead elsewhere later, and a
    /// server be asked by another name where one will not do, which is not in its certificate.
    fn place(&mut self, candidates: Vec<Candidate>, places: &[(Endpoint, Vec<SocketAddr>)]) {
        let place = |endpoint: &Endpoint| {
            let found = places.iter().find(|(known, _)| known == endpoint);
            found.map(|(_, at)| at.clone()).unwrap_or_default()
        };
        for (endpoint, at) in self.asked.iter_mut().filter(|(_, at)| at.is_empty()) {
            *at = place(endpoint);
        }
        for candidate in candidates {
            let at = place(&candidate.endpoint);
            let taken = |at: &SocketAddr| self.asked.iter().any(|(_, taken)| taken.contains(at));
            if !at.is_empty() && at.iter().all(taken) {
                self.new -= usize::from(candidate.new);
                self.look_up(vec![Candidate { new: false, ..candidate }], pause());
            } else {
                self.ask(candidate, at);
            }
        }
    }

    fn ask(&mut self, candidate: Candidate, at: Vec<SocketAddr>) {
        self.asked.push((candidate.endpoint.clone(), at));
        self.question(candidate, Duration::ZERO);
    }

    fn question(&self, candidate: Candidate, pause: Duration) {
        let (aurora, servers, places, by) = (self.aurora, self.servers, self.places, self.by);
        self.running.push(Box::pin(async move {
            let Candidate { endpoint, tries, new, session } = candidate;
            wait(pause).await;
            let by = by.within(patience(tries));
            let outcome = match session.filter(|session| session.state() == State::Idle) {
                Some(mut session) => {
                    aurora.ask(session.as_mut(), places, by).await.map(|answer| (session, answer))
                }
                None => aurora.greet(servers, places, &endpoint, by).await,
            };
            let late = by.passed() && outcome.is_err();
            Event::Asked(Asked { endpoint, tries: tries + 1, new, outcome, late })
        }));
    }

    /// Asks again, after a pause: the same session where there is one; else wherever the name leads by then.
    fn again(&mut self, candidate: Candidate) {
        if candidate.session.is_some() {
            self.question(candidate, pause());
        } else {
            self.leave(&candidate.endpoint);
            self.look_up(vec![candidate], pause());
        }
    }

    /// This one is not being asked any more.
    fn leave(&mut self, endpoint: &Endpoint) {
        self.asked.retain(|(known, _)| known != endpoint);
    }

    async fn take(&mut self, asked: Asked) -> Result<Option<Opened>> {
        let Asked { endpoint, tries, new, outcome, late } = asked;
        self.new -= usize::from(new);
        match outcome {
            Ok((session, None)) if endpoint == self.places.configured => {
                Ok(Some(Opened { session, endpoint, makeshift: None }))
            }
            // There is no cluster, so there is no other place.
            Ok((_, None)) => plain(self.servers, self.by).await.map(Some),
            Ok((session, Some(answer))) if answer.reader => {
                self.failures.read_only(&endpoint);
                self.widen();
                if self.want == Access::Read {
                    let in_doubt = self.aurora.known().doubt || !self.failures.last.is_empty();
                    let makeshift = Some(if in_doubt { MAKESHIFT } else { MAKESHIFT_IN_PEACE });
                    let opened = Opened { session, endpoint, makeshift };
                    self.held.get_or_insert_with(|| (opened, Deadline::after(GRACE)));
                } else {
                    // A member that is promoted keeps its sessions, or hangs up. A name may lead elsewhere later.
                    let member = endpoint != self.places.configured;
                    let session = Some(session).filter(|_| member);
                    self.again(Candidate { endpoint, tries, new: false, session });
                }
                Ok(None)
            }
            Ok((session, Some(_))) => {
                let refused = noted(&self.aurora.known().refused, &endpoint, REFUSED_FOR);
                if refused && self.want == Access::Write {
                    self.failures.read_only(&endpoint);
                    self.widen();
                    self.again(Candidate { endpoint, tries, new: false, session: None });
                    return Ok(None);
                }
                self.aurora.found(&endpoint);
                Ok(Some(Opened { session, endpoint, makeshift: None }))
            }
            Err(error) => {
                self.fail(endpoint, tries, error, late)?;
                Ok(None)
            }
        }
    }

    fn fail(&mut self, endpoint: Endpoint, tries: u32, error: Error, late: bool) -> Result<()> {
        if error.fault() == Fault::CredentialsRejected {
            // The others know the same passwords.
            return Err(error);
        }
        self.aurora.lost(&endpoint);
        let again = !hopeless(&error, late) && (!has_no_address(&error) || tries < 2);
        self.failures.add(&endpoint, error, late);
        self.widen();
        if again {
            self.again(Candidate { endpoint, tries, new: false, session: None });
            return Ok(());
        }
        self.leave(&endpoint);
        Ok(())
    }
}

async fn wait(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// For so long names are looked up before everybody is asked after all.
const LOOK_UP: Duration = Duration::from_millis(100);
