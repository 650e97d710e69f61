//! The wire is cut, everywhere and at random: reads succeed, and a write is there exactly once where the reply says
//! so, at most once where it says that nobody knows, and otherwise not at all.
//!
//! The wire is encrypted, so that flights and bytes are all that can be aimed at. They include every message of the
//! protocols: each is in some flight, and ends at some byte.
//!
//! [`everywhere`] goes through all of a call's flights in both directions, and through bytes all along the way.
//! In [`again_and_again`] every connection is cut, so that running again does not help.
//! [`at_random`] cuts by dice, from several environments at once, and kills one now and then. `cargo xtask soak` throws
//! them ten thousand times; `TESTBED_SEED` repeats the dice of a run, which prints it, and `TESTBED_CUTS` says how often.
//!
//! Whoever writes with an idempotency key repeats the call until it is told as done, under further cuts and by other
//! environments, too: its rows are there once, every reply is the first one, and names the row that is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
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
/// One of so many calls has its environment killed under it.
const KILLS: u64 = 40;

/// What is written with a key has a number that no other run of it gets, were it undone or not.
fn schema(engine: Engine) -> String {
    let id = match engine.plain() {
        Engine::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        _ => "BIGINT AUTO_INCREMENT PRIMARY KEY",
    };
    format!(
        "{SCHEMA}CREATE TABLE payments (id {id}, token BIGINT NOT NULL, step INTEGER NOT NULL);
         CREATE INDEX payments_token ON payments (token);\n{}",
        crate::once::table(engine)
    )
}

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

-- name: latest :one
-- param: token int
SELECT MAX(id) AS id FROM payments WHERE token = :token;

-- name: alone :exec
-- transaction: none
-- param: token int
INSERT INTO notes (token, step) VALUES (:token, 0);
";

/// The write with a key, whose reply names its row: on MySQL and MariaDB as `lastInsertId`.
fn queries(engine: Engine) -> String {
    let (verb, end) = match engine.plain() {
        Engine::Postgres => (":one\n-- write", " RETURNING id"),
        _ => (":exec", ""),
    };
    format!(
        "{QUERIES}\n-- name: pay {verb}\n-- idempotency_key: header.Idempotency-Key\n-- param: token int\n\
         -- param: step int\nINSERT INTO payments (token, step) VALUES (:token, :step){end};\n"
    )
}

/// Cuts the wire under every kind of call, at all places that a call passes: on a session that is there, and on one
/// that the call has to open.
async fn everywhere(engine: Engine) {
    // A busy machine may take longer to open a session than it has by default.
    let setup = world(engine).env("DB_CONNECT_TIMEOUT", "20s").timeout(Duration::from_secs(60));
    let world = Arc::new(setup.start().await);
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
    let world = Arc::new(world(engine).env("DB_CONNECT_TIMEOUT", "5s").start().await);
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

async fn at_random(engine: Engine) {
    throw(&format!("{engine:?}"), engine, world(engine), CUTS).await;
}

/// The same behind PgBouncer, which is what is cut off from its clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_pgbouncer_at_random() {
    throw("PgBouncer", Engine::Postgres, world(Engine::Postgres).pooler(4), CUTS / 4).await;
}

#[expect(
    clippy::print_stdout,
    reason = "the dice of a run that fails must be known, and what one that succeeds has seen"
)]
async fn throw(name: &str, engine: Engine, world: Setup, cuts: u64) {
    let cuts = setting("TESTBED_CUTS").unwrap_or(cuts);
    let seed = setting("TESTBED_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{name}: {cuts} cuts, TESTBED_SEED={seed}");
    let started = Instant::now();
    // A busy machine, and a connection that takes three seconds to be found dead while it is opened.
    let world = world.env("DB_CONNECT_TIMEOUT", "20s").timeout(Duration::from_secs(60));
    let world = Arc::new(world.start().await);
    let paid = Arc::new(Mutex::new(Vec::new()));
    let mut running = JoinSet::new();
    for number in 1..=ENVIRONMENTS {
        let mut environment = Environment::new(&world, number).await;
        environment.paid = Arc::clone(&paid);
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
    let (mut struck, mut kills, mut again, mut slowest) = (0, 0, 0, Duration::ZERO);
    let mut faults: BTreeMap<(&str, String), u64> = BTreeMap::new();
    while let Some(environment) = running.join_next().await {
        let environment = environment.unwrap_or_else(|error| panic!("TESTBED_SEED={seed}: {error}"));
        struck += environment.struck;
        kills += environment.kills;
        again += environment.again;
        slowest = slowest.max(environment.slowest);
        for (fault, times) in environment.faults {
            *faults.entry(fault).or_default() += times;
        }
        ledgers.push(environment.ledger);
    }
    let seen = Ledger::check(&world, ledgers).await;
    let of = |kinds: &dyn Fn(Call) -> bool| -> u64 {
        seen.iter().filter(|((call, ..), _)| kinds(*call)).map(|(_, times)| times).sum()
    };
    println!(
        "{name}: {struck} cuts and {kills} kills in {} reads, {} writes without a key and {} with one, which were sent \
         again {again} times after they were done, and {:?}; the longest call {slowest:?}; lost 0, doubled 0",
        of(&|call| call == Call::Read),
        of(&|call| call != Call::Read && !call.keyed()),
        of(&Call::keyed),
        started.elapsed()
    );
    println!("{name}: faults that were told, by kind of call: {faults:?}");
    for ((call, said, left), count) in seen {
        println!("{name}: {call:?} {said:?}, {}: {count}", if left { "is there" } else { "is not there" });
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    Some(
        text.to_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} is no number: {text:?}")),
    )
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).schema(schema(engine)).queries(queries(engine))
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
    /// That, a read of what it wrote, and a write, with one key.
    KeyedList,
    /// One write, three times, with one key.
    KeyedBatch,
}

impl Call {
    const ALL: [Self; 8] = [
        Self::Read,
        Self::Note,
        Self::Alone,
        Self::Transaction,
        Self::Batch,
        Self::Keyed,
        Self::KeyedList,
        Self::KeyedBatch,
    ];

    fn keyed(self) -> bool {
        matches!(self, Self::Keyed | Self::KeyedList | Self::KeyedBatch)
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
                json!({"query": "pay", "params": note(0), "idempotencyKey": format!("key {token}")})
            }
            Self::KeyedList => json!({"idempotencyKey": format!("key {token}"), "transaction": [
                {"query": "pay", "params": note(0)},
                {"query": "latest", "params": {"token": token}},
                {"query": "note", "params": note(1)},
            ]}),
            Self::KeyedBatch => json!({
                "idempotencyKey": format!("key {token}"),
                "batch": {"query": "pay", "params": [note(0), note(1), note(2)]},
            }),
        }
    }

    /// Whether the body is that of its success; then the numbers of the rows that it names.
    fn told(self, body: &Value) -> Option<Vec<u64>> {
        let done = json!({"rowsAffected": 1});
        let id = |body: &Value| body.get("id").or_else(|| body.get("lastInsertId"))?.as_u64();
        let expected = match self {
            Self::Read => lines(1),
            Self::Note | Self::Alone => done,
            Self::Transaction => json!([done, lines(5), done]),
            Self::Batch => json!([done, done, done]),
            Self::Keyed => return Some(vec![id(body)?]),
            Self::KeyedList => {
                let [paid, latest, note] = body.as_array()?.as_slice() else { return None };
                return (*note == done && id(paid)? == id(latest)?).then_some(vec![id(paid)?]);
            }
            Self::KeyedBatch => return body.as_array()?.iter().map(id).collect(),
        };
        (*body == expected).then(Vec::new)
    }

    /// The steps that it leaves in the table.
    fn steps(self) -> &'static str {
        match self {
            Self::Read => "",
            Self::Note | Self::Alone | Self::Keyed => "0",
            Self::Transaction | Self::KeyedList => "01",
            Self::Batch | Self::KeyedBatch => "012",
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
    /// Nothing: the environment was killed, and there was no key to ask another one with.
    Nothing,
}

/// What was said of each call, by its token, and how: the body of one with a key.
#[derive(Debug, Default)]
struct Ledger(BTreeMap<u64, (Call, Said, Value)>);

impl Ledger {
    /// Compares what was said with what is in the table, and counts: of this kind of call so many times this was
    /// said, and the rows were there or not.
    async fn check(world: &World, ledgers: Vec<Self>) -> BTreeMap<(Call, Said, bool), u64> {
        until("the end of the statements", || world.running() == 0).await;
        // Transactions whose client has vanished without the server's knowing.
        world.hang_up();
        until("the end of the sessions", || world.sessions() == 0).await;
        let mut left: BTreeMap<u64, String> = BTreeMap::new();
        let both =
            "SELECT token, step FROM notes UNION ALL SELECT token, step FROM payments ORDER BY token, step";
        for row in world.rows_of(both) {
            let (token, step) = row.split_once('|').unwrap();
            left.entry(token.parse().unwrap()).or_default().push_str(step);
        }
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for row in world.rows_of("SELECT token, id FROM payments ORDER BY token, step, id") {
            let (token, id) = row.split_once('|').unwrap();
            numbers.entry(token.parse().unwrap()).or_default().push(id.parse().unwrap());
        }
        let rows = || (world.count("notes"), world.count("payments"), world.count("lambda_rds_idempotency"));
        let before = rows();
        let all: Vec<_> = ledgers.into_iter().flat_map(|ledger| ledger.0).collect();
        let mut seen = BTreeMap::new();
        let mut keys = 0;
        for (token, (call, said, body)) in &all {
            let left = left.remove(token).unwrap_or_default();
            let right = match said {
                Said::Done => left == call.steps(),
                Said::Unknown | Said::Nothing => left == call.steps() || left.is_empty(),
                Said::Failed => left.is_empty(),
            };
            assert!(right, "{token}, a {call:?}: said {said:?}, left {left:?}");
            if call.keyed() && *said == Said::Done {
                assert_eq!(call.told(body), numbers.remove(token), "{token}, a {call:?}: {body}");
                keys += 1;
            }
            *seen.entry((*call, *said, !left.is_empty())).or_insert(0) += 1;
        }
        assert!(left.is_empty(), "rows that nobody wrote: {left:?}");
        assert!(numbers.is_empty(), "payments that nobody was told of: {numbers:?}");
        assert_eq!(before.2, keys, "a key of each that was done, and no other");
        // Whoever sends one with a key again gets the same.
        for (token, (call, _, body)) in all.iter().filter(|(_, (call, ..))| call.keyed()).take(MOST_REPEATED)
        {
            assert_eq!(world.call(call.event(*token)).await, (200, body.clone()), "{token}, a {call:?}");
        }
        assert_eq!(rows(), before, "a repeat has done something");
        seen
    }
}

/// An environment with a wire of its own.
struct Environment {
    world: Arc<World>,
    function: Function,
    proxy: Wire,
    ledger: Ledger,
    next_token: u64,
    /// What any of the environments has done with a key.
    paid: Arc<Mutex<Vec<(u64, Call, Value)>>>,
    struck: u64,
    kills: u64,
    again: u64,
    faults: BTreeMap<(&'static str, String), u64>,
    slowest: Duration,
}

impl Environment {
    async fn new(world: &Arc<World>, number: u64) -> Self {
        let proxy = world.another_wire();
        let function = world.another_with(&[("DB_PORT", &proxy.to())]).await;
        Self {
            world: Arc::clone(world),
            function,
            proxy,
            ledger: Ledger::default(),
            next_token: number << 32,
            paid: Arc::default(),
            struck: 0,
            kills: 0,
            again: 0,
            faults: BTreeMap::new(),
            slowest: Duration::ZERO,
        }
    }

    /// Makes a call that is cut once at most: that fails no read, and leaves a write in doubt at worst.
    async fn call(&mut self, call: Call) {
        let said = self.try_call(call).await;
        let told = self.ledger.0.last_key_value();
        assert!(said != Said::Failed, "{call:?}: {told:?}\n{}", self.function.logs().join("\n"));
    }

    /// Makes a call, and notes what was said of it.
    async fn try_call(&mut self, call: Call) -> Said {
        let token = self.token();
        let reply = self.send(call, token).await;
        self.note(call, token, reply)
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token - 1
    }

    /// Sends a call. With a key one may send it again, and does until it is done: nothing is unknown.
    async fn send(&mut self, call: Call, token: u64) -> (u64, Value) {
        let mut tries = 0;
        loop {
            let outcome = self.function.invoke(call.event(token)).await.unwrap();
            self.slowest = self.slowest.max(outcome.elapsed);
            let (status, body) = outcome.reply().unwrap();
            tries += 1;
            if status != 200 {
                let kind = if call.keyed() { "with a key" } else { "without" };
                let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
                *self.faults.entry((kind, code)).or_default() += 1;
            }
            if !call.keyed() || status == 200 || tries == MOST_TRIES {
                return (status, body);
            }
            assert!(body["error"]["retryable"] == true, "{call:?} {token}: {status} {body}");
        }
    }

    /// Notes what was said of a call.
    fn note(&mut self, call: Call, token: u64, (status, body): (u64, Value)) -> Said {
        let code = &body["error"]["code"];
        let said = match status {
            200 if call.told(&body).is_some() => Said::Done,
            500 if call != Call::Read && !call.keyed() && code == "outcome_unknown" => Said::Unknown,
            503 if !call.keyed() && body["error"]["retryable"] == true => Said::Failed,
            _ => panic!("{call:?} {token}: {status} {body}\n{}", self.function.logs().last().unwrap()),
        };
        if call.keyed() {
            self.paid.lock().unwrap().push((token, call, body.clone()));
        }
        self.ledger.0.insert(token, (call, said, body));
        said
    }

    /// Sends once more what has been done with a key, by this or another environment.
    async fn pay_again(&mut self, dice: &mut Rng) {
        let (token, call, body) = {
            let paid = self.paid.lock().unwrap();
            paid[dice.usize(..paid.len())].clone()
        };
        assert_eq!(self.send(call, token).await, (200, body), "{token}, a {call:?}, sent again");
        self.again += 1;
    }

    /// Kills the environment under a call, when the wire has come to a place, or when the time is up; the next one goes
    /// on with its calls.
    async fn die(&mut self, call: Call, (direction, after): (Direction, After), by: Duration) {
        let token = self.token();
        self.proxy.inject(Fault::stall(direction, after));
        let there = async {
            while self.proxy.armed() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let reply = tokio::select! {
            biased;
            outcome = self.function.invoke(call.event(token)) => Some(outcome.unwrap().reply().unwrap()),
            _ = tokio::time::timeout(by, there) => None,
        };
        self.proxy.disarm();
        self.function.kill().unwrap();
        // What its kernel says to the server. A wire that hangs would not pass it on.
        self.cut_idle(Cut::Rst).await;
        self.function = self.world.another_with(&[("DB_PORT", &self.proxy.to())]).await;
        self.kills += 1;
        match reply {
            Some(reply) if !call.keyed() || reply.0 == 200 => drop(self.note(call, token, reply)),
            _ if call.keyed() => {
                let reply = self.send(call, token).await;
                self.note(call, token, reply);
            }
            _ => drop(self.ledger.0.insert(token, (call, Said::Nothing, Value::Null))),
        }
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
        if dice.u64(..KILLS) == 0 {
            let by = if dice.bool() { Duration::from_micros(dice.u64(..10_000)) } else { LONG };
            return self.die(call, (direction, after), by).await;
        }
        let forgets = dice.u64(..FORGETS) == 0;
        let fault =
            if forgets { Fault::forget(direction, after) } else { Fault::cut(direction, after, kind(dice)) };
        self.proxy.inject(fault);
        if call.keyed() && dice.u8(..4) == 0 {
            self.pay_again(dice).await;
        } else {
            self.call(call).await;
        }
        let struck = !self.proxy.disarm();
        self.struck += u64::from(struck);
        if struck && forgets {
            // Forgotten behind its last byte, the call has not noticed. The next one would, and may have a cut of its own.
            self.cut_idle(Cut::Rst).await;
        }
    }
}

/// Longer than any call that is not held up takes.
const LONG: Duration = Duration::from_secs(30);

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
