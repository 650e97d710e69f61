//! The wire is cut, everywhere and at random: reads succeed, and a write is there exactly once where the reply says
//! so, at most once where it says that nobody knows, and otherwise not at all.
//!
//! The wire is encrypted, so that flights and bytes are all that can be aimed at. They include every message of the
//! protocols: each is in some flight, and ends at some byte.
//!
//! [`everywhere`] goes through all of a call's flights in both directions, and through bytes all along the way.
//! In [`again_and_again`] every connection is cut, so that running again does not help.
//! [`at_random`] cuts by dice, from several environments at once. `cargo xtask soak` throws them ten thousand
//! times; `TESTBED_SEED` repeats the dice of a run, which prints it, and `TESTBED_CUTS` says how often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use lambda_rds_testbed::{After, Cut, Direction, Fault, Function};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{Engine, Setup, Wire, World, until};
use crate::{on_clusters, on_every_server};

on_every_server!(everywhere, again_and_again, at_random);
// [`again_and_again`] is left out: where one member is cut off for good another is asked until the time is up, which
// [`crate::failover`] shows, and which would take minutes here.
on_clusters!(everywhere, at_random);

/// The environments that are called at once.
const ENVIRONMENTS: u64 = 3;
/// Cuts at random in an ordinary run, all environments together.
const CUTS: u64 = 240;
/// One cut of so many drops packets instead: it is noticed after three seconds, so there are few.
const FORGETS: u64 = 120;

const SCHEMA: &str = "
CREATE TABLE notes (token BIGINT NOT NULL, step INTEGER NOT NULL);
CREATE TABLE words (id INTEGER PRIMARY KEY, text VARCHAR(200) NOT NULL);
INSERT INTO words (id, text) VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');
";

/// The rows of `read` take several packets.
const QUERIES: &str = "
-- name: read :many
-- param: n int
SELECT a.id * 100 + b.id * 10 + c.id AS id, REPEAT(a.text, 8) AS text
FROM words AS a CROSS JOIN words AS b CROSS JOIN words AS c
WHERE a.id >= :n ORDER BY a.id, b.id, c.id;

-- name: note :exec
-- param: token int
-- param: step int
INSERT INTO notes (token, step) VALUES (:token, :step);

-- name: keyed :exec
-- idempotency_key: header.Idempotency-Key
-- param: token int
-- param: step int
INSERT INTO notes (token, step) VALUES (:token, :step);

-- name: alone :exec
-- transaction: none
-- param: token int
INSERT INTO notes (token, step) VALUES (:token, 0);
";

/// Cuts the wire under every kind of call, at all places that a call passes: on a session that is there, and on one
/// that the call has to open.
async fn everywhere(engine: Engine) {
    // A busy machine may take longer to open a session than it has by default.
    let world = world(engine).env("DB_CONNECT_TIMEOUT", "20s").timeout(Duration::from_secs(60)).start().await;
    let mut environment = Environment::new(&world, 1).await;
    for call in Call::ALL {
        for cold in [false, true] {
            // Opening a session is the same for all; a read and a write are enough.
            if cold && !matches!(call, Call::Read | Call::Note) {
                continue;
            }
            let way = environment.way(call, cold).await;
            for (direction, after, cut) in way.places() {
                environment.get_ready(call, cold).await;
                environment.proxy.inject(Fault::cut(direction, after, cut));
                environment.call(call).await;
                let missed = environment.proxy.disarm();
                // A call may be a few bytes shorter than the one that was measured. In a cluster a read goes to the reader
                // while it is in doubt who the writer is, which it may be after the cut before.
                let elsewhere = engine != engine.plain() && call == Call::Read;
                let must = matches!(after, After::Flights(_)) && !elsewhere;
                assert!(!(missed && must), "{call:?}, cold {cold}: {direction:?} {after:?} was not reached");
            }
        }
    }
    let seen = Ledger::check(&world, vec![environment.ledger]).await;
    // The sweep has been before COMMIT, where a write runs again; between COMMIT and the server; and behind it.
    for (said, left) in [(Said::Done, true), (Said::Unknown, false), (Said::Unknown, true)] {
        assert!(seen.contains_key(&(Call::Note, said, left)), "{said:?}, {left} is not among {seen:?}");
    }
}

/// Every connection is cut at the same place, so that nothing can succeed that goes so far: each call says what it
/// has left, all the same.
async fn again_and_again(engine: Engine) {
    let world = world(engine).env("DB_CONNECT_TIMEOUT", "5s").start().await;
    let mut environment = Environment::new(&world, 1).await;
    let mut failed = 0;
    for call in [Call::Read, Call::Note, Call::Batch] {
        let way = environment.way(call, true).await;
        for direction in [Direction::ToServer, Direction::ToClient] {
            for flight in 0..way.flights {
                environment.get_ready(call, false).await;
                environment.proxy.inject(Fault::cut(direction, After::Flights(flight), Cut::Rst).always());
                let said = environment.try_call(call).await;
                environment.proxy.disarm();
                failed += u64::from(said == Said::Failed);
            }
        }
    }
    let seen = Ledger::check(&world, vec![environment.ledger]).await;
    assert!(failed > 0, "{seen:?}");
    assert!(seen.keys().any(|(_, said, _)| *said == Said::Unknown), "{seen:?}");
}

#[expect(
    clippy::print_stdout,
    reason = "the dice of a run that fails must be known, and what one that succeeds has seen"
)]
async fn at_random(engine: Engine) {
    let cuts = setting("TESTBED_CUTS").unwrap_or(CUTS);
    let seed = setting("TESTBED_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{engine:?}: {cuts} cuts, TESTBED_SEED={seed}");
    let started = Instant::now();
    // A busy machine, and a connection that takes three seconds to be found dead while it is opened.
    let world = world(engine).env("DB_CONNECT_TIMEOUT", "20s").timeout(Duration::from_secs(60)).start().await;
    let mut running = JoinSet::new();
    for number in 1..=ENVIRONMENTS {
        let mut environment = Environment::new(&world, number).await;
        let mut dice = Rng::with_seed(seed ^ (number << 32) ^ ((engine as u64) << 40));
        let cuts = cuts / ENVIRONMENTS + u64::from(number <= cuts % ENVIRONMENTS);
        running.spawn(async move {
            let ways = Ways::of(&mut environment).await;
            while environment.struck < cuts {
                environment.roll(&mut dice, &ways).await;
            }
            environment
        });
    }
    let mut ledgers = Vec::new();
    let (mut struck, mut calls, mut slowest) = (0, 0, Duration::ZERO);
    while let Some(environment) = running.join_next().await {
        let environment = environment.unwrap_or_else(|error| panic!("TESTBED_SEED={seed}: {error}"));
        struck += environment.struck;
        calls += environment.ledger.0.len();
        slowest = slowest.max(environment.slowest);
        ledgers.push(environment.ledger);
    }
    let seen = Ledger::check(&world, ledgers).await;
    println!("{engine:?}: {struck} cuts in {calls} calls and {:?}, {slowest:?} at most", started.elapsed());
    for ((call, said, left), count) in seen {
        println!(
            "{engine:?}: {call:?} {said:?}, {}: {count}",
            if left { "is there" } else { "is not there" }
        );
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    Some(
        text.to_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} is no number: {text:?}")),
    )
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).schema(format!("{SCHEMA}{}", crate::once::table(engine))).queries(QUERIES)
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    /// A read.
    Read,
    /// A write in its transaction.
    Note,
    /// A write without one.
    Alone,
    /// Two writes with a read between.
    Transaction,
    /// One write, three times.
    Batch,
    /// A write with an idempotency key, which is repeated until it is told as done.
    Keyed,
    /// Two of them, with one key.
    KeyedList,
}

impl Call {
    const ALL: [Self; 7] =
        [Self::Read, Self::Note, Self::Alone, Self::Transaction, Self::Batch, Self::Keyed, Self::KeyedList];

    fn keyed(self) -> bool {
        matches!(self, Self::Keyed | Self::KeyedList)
    }

    fn event(self, token: u64) -> Value {
        let note = |step: u64| json!({"token": token, "step": step});
        let read = json!({"query": "read", "params": {"n": 5}});
        match self {
            Self::Read => json!({"query": "read", "params": {"n": 1}}),
            Self::Note => json!({"query": "note", "params": note(0)}),
            Self::Alone => json!({"query": "alone", "params": {"token": token}}),
            Self::Transaction => json!({"transaction": [
                {"query": "note", "params": note(0)}, read, {"query": "note", "params": note(1)},
            ]}),
            Self::Batch => json!({"batch": {"query": "note", "params": [note(0), note(1), note(2)]}}),
            Self::Keyed => {
                json!({"query": "keyed", "params": note(0), "idempotencyKey": format!("key {token}")})
            }
            Self::KeyedList => json!({"idempotencyKey": format!("key {token}"), "transaction": [
                {"query": "keyed", "params": note(0)}, read, {"query": "note", "params": note(1)},
            ]}),
        }
    }

    /// The body of its success.
    fn success(self) -> Value {
        let done = json!({"rowsAffected": 1});
        match self {
            Self::Read => lines(1),
            Self::Note | Self::Alone | Self::Keyed => done,
            Self::Transaction | Self::KeyedList => json!([done, lines(5), done]),
            Self::Batch => json!([done, done, done]),
        }
    }

    /// The steps that it leaves in the table.
    fn steps(self) -> &'static str {
        match self {
            Self::Read => "",
            Self::Note | Self::Alone | Self::Keyed => "0",
            Self::Transaction | Self::KeyedList => "01",
            Self::Batch => "012",
        }
    }
}

fn lines(from: u64) -> Value {
    let text = ["one", "two", "three", "four", "five"];
    let mut lines = Vec::new();
    for (a, text) in (1..).zip(text).filter(|(a, _)| *a >= from) {
        for (b, c) in (1..=5).flat_map(|b| (1..=5).map(move |c| (b, c))) {
            lines.push(json!({"id": a * 100 + b * 10 + c, "text": text.repeat(8)}));
        }
    }
    lines.into()
}

/// What a call's reply says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Done,
    Unknown,
    /// It was not done, and may be sent again.
    Failed,
}

/// What was said of each call, by its token.
#[derive(Debug, Default)]
struct Ledger(BTreeMap<u64, (Call, Said)>);

impl Ledger {
    /// Compares what was said with what is in the table, and counts: of this kind of call so many times this was
    /// said, and the rows were there or not.
    async fn check(world: &World, ledgers: Vec<Self>) -> BTreeMap<(Call, Said, bool), u64> {
        until("the end of the statements", || world.running() == 0).await;
        // Transactions whose client has vanished without the server's knowing.
        world.hang_up();
        until("the end of the sessions", || world.sessions() == 0).await;
        let mut left: BTreeMap<u64, String> = BTreeMap::new();
        for row in world.rows_of("SELECT token, step FROM notes ORDER BY token, step") {
            let (token, step) = row.split_once('|').unwrap();
            left.entry(token.parse().unwrap()).or_default().push_str(step);
        }
        let rows = world.count("notes");
        let keyed = |(token, (call, _)): (&u64, &(Call, Said))| call.keyed().then_some((*token, *call));
        let again: Vec<(u64, Call)> =
            ledgers.iter().flat_map(|ledger| ledger.0.iter().filter_map(keyed)).take(MOST_REPEATED).collect();
        let mut seen = BTreeMap::new();
        for (token, (call, said)) in ledgers.into_iter().flat_map(|ledger| ledger.0) {
            let left = left.remove(&token).unwrap_or_default();
            let right = match said {
                Said::Done => left == call.steps(),
                Said::Unknown => left == call.steps() || left.is_empty(),
                Said::Failed => left.is_empty(),
            };
            assert!(right, "{token}, a {call:?}: said {said:?}, left {left:?}");
            *seen.entry((call, said, !left.is_empty())).or_insert(0) += 1;
        }
        assert!(left.is_empty(), "rows that nobody wrote: {left:?}");
        // Whoever sends one with a key again gets the same.
        for (token, call) in again {
            assert_eq!(world.call(call.event(token)).await, (200, call.success()), "{token}, a {call:?}");
        }
        assert_eq!(world.count("notes"), rows, "a repeat has done something");
        seen
    }
}

/// An environment with a wire of its own.
struct Environment {
    function: Function,
    proxy: Wire,
    ledger: Ledger,
    next_token: u64,
    struck: u64,
    slowest: Duration,
}

impl Environment {
    async fn new(world: &World, number: u64) -> Self {
        let proxy = world.another_wire();
        let function = world.another_with(&[("DB_PORT", &proxy.to())]).await;
        Self {
            function,
            proxy,
            ledger: Ledger::default(),
            next_token: number << 32,
            struck: 0,
            slowest: Duration::ZERO,
        }
    }

    /// Makes a call that is cut once at most: that fails no read, and leaves a write in doubt at worst.
    async fn call(&mut self, call: Call) {
        let said = self.try_call(call).await;
        assert!(said != Said::Failed, "{call:?}\n{}", self.function.logs().join("\n"));
    }

    /// Makes a call, and notes what was said of it.
    async fn try_call(&mut self, call: Call) -> Said {
        let token = self.next_token;
        self.next_token += 1;
        let mut tries = 0;
        let reply = loop {
            let outcome = self.function.invoke(call.event(token)).await.unwrap();
            self.slowest = self.slowest.max(outcome.elapsed);
            let reply = outcome.reply().unwrap();
            tries += 1;
            // With a key one may send it again, and does: nothing is unknown.
            if !call.keyed() || reply.0 == 200 || tries == MOST_TRIES {
                break reply;
            }
            assert!(reply.1["error"]["retryable"] == true, "{call:?} {token}: {reply:?}");
        };
        let said = match &reply {
            (200, body) if *body == call.success() => Said::Done,
            (500, body)
                if call != Call::Read && !call.keyed() && body["error"]["code"] == "outcome_unknown" =>
            {
                Said::Unknown
            }
            (503, body) if body["error"]["retryable"] == true => Said::Failed,
            other => panic!("{call:?} {token}: {other:?}\n{}", self.function.logs().last().unwrap()),
        };
        self.ledger.0.insert(token, (call, said));
        said
    }

    /// Sees to it that there is a session on which this kind of call is prepared, or that there is none.
    async fn get_ready(&mut self, call: Call, cold: bool) {
        if cold {
            self.cut_idle(Cut::Rst).await;
        } else {
            self.call(call).await;
        }
    }

    /// Cuts the connections that are open, and waits until they are closed.
    async fn cut_idle(&self, cut: Cut) {
        // In a cluster a read may have been given a reader for a while.
        for wire in self.proxy.all() {
            wire.cut(cut);
            until("the cut", || wire.open_connections() == 0).await;
        }
    }

    /// How far a call goes.
    async fn way(&mut self, call: Call, cold: bool) -> Way {
        self.call(call).await;
        self.get_ready(call, cold).await;
        self.proxy.reset();
        self.call(call).await;
        let bytes = [Direction::ToServer, Direction::ToClient].map(|direction| self.proxy.bytes(direction));
        Way { flights: self.proxy.flights(), bytes }
    }

    /// One call, and perhaps a cut in it, perhaps one before.
    async fn roll(&mut self, dice: &mut Rng, ways: &Ways) {
        let kind = |dice: &mut Rng| if dice.bool() { Cut::Fin } else { Cut::Rst };
        let call = Call::ALL[dice.usize(..Call::ALL.len())];
        let cold = dice.u8(..4) == 0;
        if cold && self.proxy.open_connections() > 0 {
            self.cut_idle(kind(dice)).await;
            self.struck += 1;
        }
        let way = ways.way(call, cold);
        let direction = if dice.bool() { Direction::ToServer } else { Direction::ToClient };
        let after = if dice.bool() {
            After::Flights(dice.u64(..=way.flights))
        } else {
            let bytes = way.bytes[usize::from(direction == Direction::ToClient)];
            After::Bytes(dice.u64(..=bytes))
        };
        let fault = if dice.u64(..FORGETS) == 0 {
            Fault::forget(direction, after)
        } else {
            Fault::cut(direction, after, kind(dice))
        };
        self.proxy.inject(fault);
        self.call(call).await;
        self.struck += u64::from(!self.proxy.disarm());
    }
}

/// How many calls with a key are sent once more at the end.
const MOST_REPEATED: usize = 500;
/// How often a call with a key is repeated: what is cut by dice is cut once in a call.
const MOST_TRIES: u32 = 20;

/// How far a call goes: its flights, and its bytes to the server and back.
#[derive(Debug, Clone, Copy)]
struct Way {
    flights: u64,
    bytes: [u64; 2],
}

impl Way {
    /// A cut of each kind before every flight, in both directions; and cuts at bytes all along the way.
    fn places(self) -> Vec<(Direction, After, Cut)> {
        const STEPS: u64 = 10;
        let mut places = Vec::new();
        for (direction, bytes) in [Direction::ToServer, Direction::ToClient].into_iter().zip(self.bytes) {
            for flight in 0..self.flights {
                for cut in [Cut::Fin, Cut::Rst] {
                    places.push((direction, After::Flights(flight), cut));
                }
            }
            for step in 0..STEPS {
                let cut = if step % 2 == 0 { Cut::Fin } else { Cut::Rst };
                places.push((direction, After::Bytes(bytes * step / STEPS + step % 7), cut));
            }
        }
        places
    }
}

/// How far each kind of call goes on a session that is there, and how far opening one is.
#[derive(Debug)]
struct Ways {
    warm: BTreeMap<Call, Way>,
    opening: Way,
}

impl Ways {
    async fn of(environment: &mut Environment) -> Self {
        let mut warm = BTreeMap::new();
        for call in Call::ALL {
            warm.insert(call, environment.way(call, false).await);
        }
        let (cold, read) = (environment.way(Call::Read, true).await, warm[&Call::Read]);
        let bytes = [cold.bytes[0] - read.bytes[0], cold.bytes[1] - read.bytes[1]];
        Self { warm, opening: Way { flights: cold.flights - read.flights, bytes } }
    }

    fn way(&self, call: Call, cold: bool) -> Way {
        let way = self.warm[&call];
        if !cold {
            return way;
        }
        let bytes = [way.bytes[0] + self.opening.bytes[0], way.bytes[1] + self.opening.bytes[1]];
        Way { flights: way.flights + self.opening.flights, bytes }
    }
}
