//! The search for the writer: one server is asked, and where that is not it, all of them at the same time.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
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
    running: FuturesUnordered<BoxFuture<'a, Asked>>,
    /// Who is, or was, being asked.
    known: HashSet<Endpoint>,
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
    /// From the last time, to ask once more on.
    session: Option<Box<dyn Session>>,
}

/// What came of asking.
struct Asked {
    endpoint: Endpoint,
    tries: u32,
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
        self.add(first.unwrap_or_else(|| self.places.configured.clone()));
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
                Ok(Some(asked)) => {
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
        for endpoint in members.into_iter().chain(readers).chain([configured]) {
            self.add(endpoint);
        }
    }

    fn add(&mut self, endpoint: Endpoint) {
        if self.known.insert(endpoint.clone()) {
            self.new += 1;
            self.ask(Candidate { endpoint, tries: 0, session: None });
        }
    }

    fn ask(&self, candidate: Candidate) {
        let (aurora, servers, places, by) = (self.aurora, self.servers, self.places, self.by);
        self.running.push(Box::pin(async move {
            let Candidate { endpoint, tries, session } = candidate;
            if tries > 0 {
                tokio::time::sleep(pause()).await;
            }
            let by = by.within(patience(tries));
            let outcome = match session.filter(|session| session.state() == State::Idle) {
                Some(mut session) => {
                    aurora.ask(session.as_mut(), places, by).await.map(|answer| (session, answer))
                }
                None => aurora.greet(servers, places, &endpoint, by).await,
            };
            Asked { endpoint, tries: tries + 1, late: by.passed() && outcome.is_err(), outcome }
        }));
    }

    async fn take(&mut self, asked: Asked) -> Result<Option<Opened>> {
        let Asked { endpoint, tries, outcome, late } = asked;
        if tries == 1 {
            self.new -= 1;
        }
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
                    self.ask(Candidate { endpoint, tries, session: Some(session).filter(|_| member) });
                }
                Ok(None)
            }
            Ok((session, Some(_))) => {
                let refused = noted(&self.aurora.known().refused, &endpoint, REFUSED_FOR);
                if refused && self.want == Access::Write {
                    self.failures.read_only(&endpoint);
                    self.widen();
                    self.ask(Candidate { endpoint, tries, session: None });
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
            self.ask(Candidate { endpoint, tries, session: None });
        }
        Ok(())
    }
}
