//! A frozen environment, and what befalls its connection meanwhile: the call after the thaw does not notice.
//!
//! Lambda freezes an environment between two invocations, for a moment or for an hour. Its timers stop, and nothing
//! in it sees that the server has restarted, or that a firewall has forgotten the connection.

use std::time::Duration;

use lambda_rds_testbed::{After, Attempts, Direction, Fault};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{CANCEL, Engine, SECRET, Setup, World, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    for_a_moment_without_an_event,
    while_the_server_restarts_or_finds_it_idle,
    while_the_server_ends_the_session,
    while_the_password_rotates,
);
on_clusters!(
    for_a_moment_without_an_event,
    while_the_server_restarts_or_finds_it_idle,
    while_the_server_ends_the_session,
    while_the_password_rotates,
);

/// All that waits for time to pass, on all engines at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn for_long_or_without_a_word() {
    let mut all = JoinSet::new();
    for engine in
        [Engine::Postgres, Engine::Mysql, Engine::MariaDb, Engine::AuroraPostgres, Engine::AuroraMysql]
    {
        all.spawn(for_longer_than_a_connection_is_trusted(engine));
        all.spawn(a_connection_that_was_forgotten_a_moment_ago(engine));
        all.spawn(a_connection_that_is_forgotten_with_an_answer_on_it(engine));
    }
    all.join_all().await;
}

const SCHEMA: &str = "CREATE TABLE notes (n INTEGER NOT NULL);";

const QUERIES: &str = "
-- name: read :one
-- param: n int
SELECT count(*) AS notes FROM notes WHERE n = :n;

-- name: write :exec
-- param: n int
INSERT INTO notes (n) VALUES (:n);
";

fn setup(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES)
}

async fn for_a_moment_without_an_event(engine: Engine) {
    let world = setup(engine).start().await;
    frozen(&world, async || {}, 0).await;
}

async fn while_the_server_ends_the_session(engine: Engine) {
    let world = setup(engine).start().await;
    let end = async || {
        world.hang_up();
        until("the end of the session", || world.sessions() == 0).await;
    };
    frozen(&world, end, 1).await;
}

/// PostgreSQL and MySQL say why before they close an idle session (57P05, 4031), MariaDB does not.
async fn while_the_server_restarts_or_finds_it_idle(engine: Engine) {
    let world = setup(engine).own_server().start().await;
    frozen(&world, async || world.restart(), 1).await;

    let user = world.database().user.clone();
    // Longer than a busy machine may stand still between a login and the statement behind it.
    world.sql(&match engine.plain() {
        Engine::Postgres => format!("ALTER ROLE {user} SET idle_session_timeout = '4s'"),
        _ => "SET GLOBAL wait_timeout = 4".to_owned(),
    });
    // It holds for sessions that begin now.
    world.hang_up();
    until("the end of the session", || world.sessions() == 0).await;
    world.sql("DELETE FROM notes");
    frozen(&world, async || until("the end of an idle session", || world.sessions() == 0).await, 1).await;
}

/// The thawed environment knows the old password, is rejected, and asks: of its two connections one is a session.
async fn while_the_password_rotates(engine: Engine) {
    let world = setup(engine).start().await;
    let mut rotations = 0;
    for pending in [false, true] {
        rotations += 1;
        let password = format!("rotated-{rotations}");
        let asked = world.secrets.count();
        let rotate = async || {
            if pending {
                world.secrets.put_pending(SECRET, world.secret_with(&password));
                world.set_password(&password);
            } else {
                world.set_password(&password);
                world.secrets.put(SECRET, world.secret_with(&password));
            }
            world.hang_up();
            until("the end of the session", || world.sessions() == 0).await;
        };
        thaw(&world, "read", rotate, 2).await;
        assert!(world.secrets.count() - asked <= 2);
        if pending {
            world.secrets.promote(SECRET).unwrap();
        }
    }
}

/// Thirty seconds of wall time after which a connection is asked whether it is alive, three tenths of a second at
/// most, before a statement is sent on it. The age of a session is what this is about, and no clock but the world's
/// tells that, so the test waits that long.
async fn for_longer_than_a_connection_is_trusted(engine: Engine) {
    let mut attempts = Attempts::new(ASKED);
    loop {
        let attempt = longer_than_trusted(engine, &mut attempts).await;
        if attempts.end(attempt).await.is_some() {
            break;
        }
    }
}

async fn longer_than_trusted(engine: Engine, attempts: &mut Attempts) -> Result<(), String> {
    let alive = setup(engine).start().await;
    let swallowed = setup(engine).start().await;
    let forgotten = setup(engine).start().await;
    let worlds = [&alive, &swallowed, &forgotten];
    for world in worlds {
        warm(world).await;
        world.function.pause().unwrap();
    }
    // Open, acknowledged by something on the way, and never answered.
    swallowed.wire().inject(Fault::stall(Direction::ToServer, After::Bytes(0)));
    forgotten.wire().forget();
    tokio::time::sleep(TRUSTED_IDLE + Duration::from_secs(1)).await;
    attempts.begin_here();
    for (world, reconnects) in [(&alive, 0), (&swallowed, 1), (&forgotten, 1)] {
        let connections = world.wire().connections();
        world.function.resume().unwrap();
        let outcome = world.invoke(json!({"query": "read", "params": {"n": 0}})).await;
        assert_eq!(outcome.reply().unwrap(), (200, json!({"notes": 1})));
        // No statement was lost on the way.
        assert_eq!(world.last_log(&outcome.request_id).await["retries"], 0);
        let reconnected = world.wire().connections() - connections;
        if reconnected != reconnects || outcome.elapsed > ASKED + Duration::from_secs(1) {
            return Err(format!("{reconnected} of {reconnects} connections in {:?}", outcome.elapsed));
        }
    }
    Ok(())
}

/// How long a connection has to say that it is alive.
const ASKED: Duration = Duration::from_millis(300);
const TRUSTED_IDLE: Duration = Duration::from_secs(30);

/// Too young to be asked, so the statement itself goes into nothing. Its bytes are not acknowledged, and after three
/// seconds the kernel gives the connection up; nothing of the statement was done.
async fn a_connection_that_was_forgotten_a_moment_ago(engine: Engine) {
    let world = setup(engine).start().await;
    let mut n = 0;
    for query in ["read", "write"] {
        let mut attempts = Attempts::new(CANCEL);
        loop {
            n += 1;
            if attempts.end(forgotten(&world, query, n).await).await.is_some() {
                break;
            }
        }
    }
}

async fn forgotten(world: &World, query: &str, n: u32) -> Result<(), String> {
    warm(world).await;
    let connections = world.wire().connections();
    world.wire().forget();
    let outcome = world.invoke(json!({"query": query, "params": {"n": n}})).await;
    let reply = outcome.reply().unwrap();
    let success = if query == "read" { json!({"notes": 0}) } else { json!({"rowsAffected": 1}) };
    assert_eq!(reply, (200, success), "{query}\n{}", world.function.logs().join("\n"));
    assert_eq!(world.last_log(&outcome.request_id).await["retries"], 1);
    assert_eq!(world.count(&format!("notes WHERE n = {n}")), u64::from(query == "write"));
    // One for the new session, and one that stops what may still run of the old one, for which there is a fifth of a
    // second.
    let opened = world.wire().connections() - connections;
    if opened == 2 { Ok(()) } else { Err(format!("{query}: {opened} connections")) }
}

/// The statement was done and its answer is lost: the kernel's probes are not answered either. A read runs again; of
/// a write only its COMMIT knows, and that is not repeated.
async fn a_connection_that_is_forgotten_with_an_answer_on_it(engine: Engine) {
    let world = setup(engine).start().await;
    let warm = async || {
        world.rows("read", json!({"n": 0})).await;
        world.rows("write", json!({"n": 0})).await;
    };
    warm().await;
    world.wire().inject(Fault::forget(Direction::ToClient, After::Flights(0)));
    assert_eq!(world.rows("read", json!({"n": 0})).await, json!({"notes": 1}));

    let (insert, commit) = (0, 1);
    warm().await;
    world.wire().inject(Fault::forget(Direction::ToClient, After::Flights(insert)));
    assert_eq!(world.rows("write", json!({"n": 1})).await, json!({"rowsAffected": 1}));
    warm().await;
    world.wire().inject(Fault::forget(Direction::ToClient, After::Flights(commit)));
    assert_eq!(world.failure("write", json!({"n": 2})).await, (500, "outcome_unknown".into()));
    // The server does not know yet that the first one's client is gone.
    world.hang_up();
    until("the end of the sessions", || world.sessions() == 0).await;
    assert_eq!((world.count("notes WHERE n = 1"), world.count("notes WHERE n = 2")), (1, 1));
}

/// Freezes the environment twice while something happens, and sees the read and the write after the thaw work, on so
/// many connections more each.
async fn frozen(world: &World, meanwhile: impl AsyncFn(), reconnects: u64) {
    for query in ["read", "write"] {
        thaw(world, query, &meanwhile, reconnects).await;
    }
    // One to warm up, each time, and the one after the thaw.
    assert_eq!((world.count("notes WHERE n = 0"), world.count("notes WHERE n = 1")), (1, 1));
}

async fn thaw(world: &World, query: &str, meanwhile: impl AsyncFn(), reconnects: u64) {
    warm(world).await;
    let connections = world.wire().connections();
    world.function.pause().unwrap();
    meanwhile().await;
    world.function.resume().unwrap();
    let outcome = world.invoke(json!({"query": query, "params": {"n": 1}})).await;
    let reply = outcome.reply().unwrap();
    assert_eq!(reply.0, 200, "{query}: {}\n{}", reply.1, world.function.logs().join("\n"));
    assert_eq!(world.wire().connections() - connections, reconnects, "{query}");
}

/// A session, with both statements prepared, and exactly one note 0.
async fn warm(world: &World) {
    let zero = json!({"n": 0});
    world.rows("write", zero.clone()).await;
    let notes: Value = world.rows("read", zero.clone()).await;
    if notes != json!({"notes": 1}) {
        world.sql("DELETE FROM notes WHERE n = 0");
        world.rows("write", zero).await;
    }
}
