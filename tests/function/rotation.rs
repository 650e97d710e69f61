//! Passwords rotate while the function is under load, and no call fails.
//!
//! Secrets Manager's rotation has four steps: *create* stores the new version as AWSPENDING, *set* tells it to the
//! database, *test* tries it, *finish* makes it AWSCURRENT. With one user, AWSCURRENT is wrong from *set* to
//! *finish*; with two that take turns, it never is, but what an environment has cached may be.
//!
//! In a cluster all members may be asked at the same time who the writer is, and each judges the password by itself: so a
//! version that is wrong is tried once on each at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lambda_rds_testbed::{Function, unless_stalled};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::world::{Engine, SECRET, Setup, World, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    a_single_users_rotation_under_load_fails_no_call,
    alternating_users_rotate_under_load_and_fail_no_call,
    an_environment_that_starts_in_the_window_finds_the_pending_version,
    an_environment_frozen_through_a_rotation_thaws_into_the_new_password,
    a_wrong_password_is_tried_once_however_often_the_function_is_called,
);
on_clusters!(
    a_single_users_rotation_under_load_fails_no_call,
    alternating_users_rotate_under_load_and_fail_no_call,
    an_environment_that_starts_in_the_window_finds_the_pending_version,
    an_environment_frozen_through_a_rotation_thaws_into_the_new_password,
    a_wrong_password_is_tried_once_however_often_the_function_is_called,
);

const ENVIRONMENTS: usize = 3;

async fn a_single_users_rotation_under_load_fails_no_call(engine: Engine) {
    let world = start(engine).await;
    let load = Load::start(&world).await;
    let user = world.database().user.clone();

    let asked = world.secrets.count();
    world.secrets.put_pending(SECRET, login(&world, &user, "second"));
    world.set_password_of(&user, "second");
    // The window: AWSCURRENT is wrong, and everybody has to log in.
    load.everybody_reconnects(&world).await;
    world.secrets.promote(SECRET).unwrap();
    load.everybody_reconnects(&world).await;
    let calls = load.stop().await;

    assert!(calls > 0);
    let asked = world.secrets.count() - asked;
    assert!(asked <= 2 * ENVIRONMENTS, "{asked} questions by {ENVIRONMENTS} environments");
    // Servers lock out who insists: the old version is tried once per environment.
    let rejected = rejections(&world, &user);
    let most = ENVIRONMENTS * world.members().len();
    assert!(rejected <= most, "{rejected} rejected logins by {ENVIRONMENTS} environments");
}

async fn alternating_users_rotate_under_load_and_fail_no_call(engine: Engine) {
    let world = start(engine).await;
    let load = Load::start(&world).await;
    let first = world.database().user.clone();
    let second = format!("{first}_clone");
    match engine.plain() {
        Engine::Postgres => world.sql(&format!("CREATE ROLE {second} LOGIN IN ROLE {first};")),
        _ => {
            world.sql(&format!("CREATE USER '{second}'@'%' IDENTIFIED BY 'one'"));
            world.sql(&format!("GRANT ALL ON {}.* TO '{second}'@'%'", world.database().name))
        }
    };

    // Three rotations: each sets the password of the user that is not current, so it invalidates what an
    // environment may have had in its cache since the rotation before.
    for (user, password) in [(&second, "two"), (&first, "three"), (&second, "four")] {
        let asked = world.secrets.count();
        world.secrets.put_pending(SECRET, login(&world, user, password));
        world.set_password_of(user, password);
        load.everybody_reconnects(&world).await;
        world.secrets.promote(SECRET).unwrap();
        load.everybody_reconnects(&world).await;
        let asked = world.secrets.count() - asked;
        assert!(asked <= 2 * ENVIRONMENTS, "{asked} questions by {ENVIRONMENTS} environments");
    }
    assert!(load.stop().await > 0);
    let rejected = rejections(&world, &first) + rejections(&world, &second);
    let most = 2 * ENVIRONMENTS * world.members().len();
    assert!(rejected <= most, "{rejected} rejected logins by {ENVIRONMENTS} environments");
}

async fn an_environment_that_starts_in_the_window_finds_the_pending_version(engine: Engine) {
    let world = start(engine).await;
    let user = world.database().user.clone();
    world.secrets.put_pending(SECRET, login(&world, &user, "second"));
    world.set_password_of(&user, "second");
    let asked = world.secrets.count();
    let cold = world.another().await;
    assert_eq!(read(&cold).await.0, 200);
    assert_eq!(world.secrets.count() - asked, 2);
}

async fn an_environment_frozen_through_a_rotation_thaws_into_the_new_password(engine: Engine) {
    let world = start(engine).await;
    let user = world.database().user.clone();
    assert_eq!(read(&world.function).await.0, 200);
    world.function.pause().unwrap();
    world.secrets.put_pending(SECRET, login(&world, &user, "second"));
    world.set_password_of(&user, "second");
    world.secrets.promote(SECRET).unwrap();
    world.hang_up();
    let asked = world.secrets.count();
    world.function.resume().unwrap();
    assert_eq!(read(&world.function).await.0, 200);
    assert!(world.secrets.count() - asked <= 2);
}

async fn a_wrong_password_is_tried_once_however_often_the_function_is_called(engine: Engine) {
    let world = start(engine).await;
    let user = world.database().user.clone();
    world.set_password_of(&user, "nobody-knows");
    world.hang_up();
    for _ in 0..5 {
        // A question to Secrets Manager has two seconds.
        unless_stalled(Duration::from_secs(2), async || {
            let (status, body) = read(&world.function).await;
            assert_eq!(status, 503, "{body}");
            let rejected = body["error"]["code"] == "credentials_rejected";
            if rejected { Ok(()) } else { Err(format!("{body}, {:?}", world.function.logs())) }
        })
        .await;
    }
    until("the server's log", || rejections(&world, &user) > 0).await;
    for log in world.server_logs() {
        let times: Vec<u64> = rejected(&log, world.engine, &user).map(time_of_day).collect();
        for pair in times.windows(2) {
            let apart = (pair[1] + DAY - pair[0]) % DAY;
            // MariaDB's times are whole seconds.
            let least = if engine == Engine::MariaDb { 29_000 } else { 30_000 };
            assert!(apart >= least, "one server rejected the same password twice in {apart} ms: {log}");
        }
    }
    // A version that is new is tried at once.
    world.secrets.put(SECRET, login(&world, &user, "nobody-knows"));
    assert_eq!(read(&world.function).await.0, 200);
}

async fn start(engine: Engine) -> World {
    let world = Setup::new(engine).start().await;
    if engine.plain() == Engine::Mysql {
        // MariaDB tells of rejected logins by itself.
        world.everywhere("SET GLOBAL log_error_verbosity = 3");
    }
    world
}

/// Environments that are called without a pause.
struct Load {
    calls: Vec<Arc<AtomicU64>>,
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(world: &World) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let cluster = world.engine != world.engine.plain();
        let (mut calls, mut callers) = (Vec::new(), Vec::new());
        for number in 0..ENVIRONMENTS {
            // The first one logs in to the readers of a cluster.
            let readers = cluster && number == 0;
            let function =
                world.another_with(if readers { &[("DB_READ_FROM", "reader")] } else { &[] }).await;
            let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::clone(&over));
            calls.push(Arc::clone(&count));
            callers.push(tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let (status, body) = read(&function).await;
                    assert_eq!(status, 200, "{body}\n{}", function.logs().join("\n"));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { calls, over, callers }
    }

    /// Ends all sessions, and returns when each environment has been called with a new one.
    async fn everybody_reconnects(&self, world: &World) {
        world.hang_up();
        let before: Vec<u64> = self.calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
        // One call may have been under way; the one after it has begun since.
        let done = || {
            let now = self.calls.iter().map(|calls| calls.load(Ordering::Relaxed));
            now.zip(&before).all(|(now, before)| now >= before + 2)
        };
        for _ in 0..3_000 {
            if done() || self.callers.iter().any(JoinHandle::is_finished) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the environments have not been called within 30 s");
    }

    /// Ends the load and gives the number of calls, none of which has failed.
    async fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.calls.iter().map(|calls| calls.load(Ordering::Relaxed)).sum()
    }
}

async fn read(function: &Function) -> (u64, Value) {
    let event = json!({"query": "user", "params": {"id": 1}});
    function.invoke(event).await.unwrap().reply().unwrap()
}

/// The secret with another login.
pub(crate) fn login(world: &World, user: &str, password: &str) -> Value {
    let mut secret = world.secret();
    secret["username"] = user.into();
    secret["password"] = password.into();
    secret
}

/// How many logins of this user the servers have rejected.
fn rejections(world: &World, user: &str) -> usize {
    world.server_logs().iter().map(|log| rejected(log, world.engine, user).count()).sum()
}

/// A server's lines about them.
fn rejected<'a>(log: &'a str, engine: Engine, user: &str) -> impl Iterator<Item = &'a str> {
    let failed = match engine.plain() {
        Engine::Postgres => format!("password authentication failed for user \"{user}\""),
        _ => format!("Access denied for user '{user}'@"),
    };
    log.lines().filter(move |line| line.contains(&failed))
}

/// In milliseconds, of `2026-01-31 13:37:00.123 UTC [pid]`, as PostgreSQL has it, `2026-01-31T13:37:00.123456Z`, as MySQL
/// does, and ` 2026-01-31  9:37:00`, MariaDB's.
fn time_of_day(line: &str) -> u64 {
    let time = line.trim_start()[11..].trim_start();
    let end = time.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(time.len());
    let (seconds, fraction) = time[..end].split_once('.').unwrap_or((&time[..end], "0"));
    let whole = seconds.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
    let millis = format!("{fraction:0<3}");
    whole * 1000 + millis[..3].parse::<u64>().unwrap()
}

const DAY: u64 = 24 * 60 * 60 * 1000;
