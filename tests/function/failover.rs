//! A cluster whose writer goes, comes back, and is cut off: what callers see of it.
//!
//! The cluster endpoint never moves in these tests unless they say so, as if DNS lagged for ever: so whoever trusts
//! it never finds the new writer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lambda_rds_testbed::{After, Cluster, Cut, Direction, Fault, Function, unless_stalled};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::on_clusters;
use crate::once::until_done_but_for;
use crate::world::{Engine, Setup, World, last_log, until};

on_clusters!(
    a_crash_of_the_writer_under_load,
    a_writer_that_vanishes_without_a_word,
    a_switchover_under_load,
    a_writer_that_is_fenced_off_under_load,
    an_environment_that_slept_through_it,
    members_that_are_gone_or_silent,
    nobody_is_left,
    a_cluster_that_was_paused_resumes,
    a_slow_writer_is_connected_to_once,
    reads_are_spread_and_follow_the_readers,
    a_read_after_a_write_of_the_same_call_sees_it,
    a_key_goes_with_its_transaction,
    writes_with_a_key_through_failovers,
);

/// Several failovers in a row, each with the endpoint at the first writer: which is dead, and later a reader.
async fn a_crash_of_the_writer_under_load(engine: Engine) {
    let cluster = cluster(engine, 3);
    let world = world(engine, &cluster).start().await;
    let writes = Load::start("mark", vec![world.another().await, world.another().await]);
    let from_reader = [("DB_READ_FROM", "reader")];
    let reads = Load::start("marks", vec![world.another().await, world.another_with(&from_reader).await]);

    let mut latencies = Vec::new();
    for _ in 0..3 {
        let latency = unless_stalled(FAILOVER, async || {
            let old = cluster.writer();
            let new = (old + 1) % cluster.len();
            writes.each_succeeds_after(Instant::now()).await;
            reads.each_succeeds_after(Instant::now()).await;
            cluster.change(move |cluster| cluster.crash(old)).await;
            // There is no writer now, and reads go on.
            reads.each_succeeds_after(Instant::now()).await;
            let accepted = cluster.change(move |cluster| cluster.promote(new)).await;
            let first = writes.each_succeeds_after(accepted).await;
            reads.each_succeeds_after(accepted).await;
            cluster.change(move |cluster| cluster.restart(old)).await;
            in_time(first.duration_since(accepted))
        });
        latencies.push(latency.await);
    }
    let reads = reads.stop().await;
    let writes = writes.stop().await;

    println!("{engine:?}: the last environment's first write after the new writer accepts: {latencies:?}");
    assert!(reads.iter().all(|call| call.status == 200), "{:?}", failed(&reads));
    for call in failed(&writes) {
        // Neither is a lie: nothing was written, or we cannot know.
        let known = ["failing_over", "unreachable", "outcome_unknown"];
        assert!(known.contains(&call.code.as_str()), "{call:?}");
    }
    check_marks(&world, &writes);
}

/// From the moment on that the new writer accepts writes until the last environment has written.
const FAILOVER: Duration = Duration::from_millis(1_300);

fn in_time(latency: Duration) -> Result<Duration, String> {
    if latency < FAILOVER { Ok(latency) } else { Err(format!("the first write after {latency:?}")) }
}

/// A host that is cut off before it dies: its connections stay open, and nothing comes back on them.
async fn a_writer_that_vanishes_without_a_word(engine: Engine) {
    let cluster = cluster(engine, 2);
    let world = world(engine, &cluster).env("DB_QUERY_TIMEOUT", "3s").start().await;
    let writes = Load::start("mark", vec![world.another().await, world.another().await]);
    writes.each_succeeds_after(Instant::now()).await;
    cluster.partition(0);
    cluster.change(|cluster| cluster.crash(0)).await;
    let accepted = cluster.change(|cluster| cluster.promote(1)).await;
    writes.each_succeeds_after(accepted).await;
    assert_eq!(mark(&world.function, "idle").await.0, 504, "the session that it had says nothing");
    assert_eq!(mark(&world.function, "again").await, (200, json!({"rowsAffected": 1})));

    let writes = writes.stop().await;
    for call in failed(&writes) {
        let known = ["timeout", "outcome_unknown", "failing_over", "unreachable"];
        assert!(known.contains(&call.code.as_str()), "{call:?}");
    }
    check_marks(&world, &writes);
    assert!(marks(&world).contains_key("again") && !marks(&world).contains_key("idle"));
}

/// Writes go on, nobody is refused, and no session stays on the old writer, which is a reader now; there and back.
async fn a_switchover_under_load(engine: Engine) {
    const ENVIRONMENTS: usize = 2;
    let cluster = cluster(engine, 2);
    let world = world(engine, &cluster).start().await;
    let writes = Load::start("mark", vec![world.another().await, world.another().await]);
    let mut switchovers = 0;
    for (old, new) in [(0, 1), (1, 0)] {
        writes.each_succeeds_after(Instant::now()).await;
        let accepted = cluster.change(move |cluster| cluster.switchover(new)).await;
        switchovers += 1;
        writes.each_succeeds_after(accepted).await;
        // A new environment is led to the first writer, which is there, whatever it is by now.
        assert_eq!(
            mark(&world.another().await, &format!("new {old}")).await,
            (200, json!({"rowsAffected": 1}))
        );
        // The one that has had no call since is not to be asked for its session.
        assert_eq!(mark(&world.function, &format!("idle {old}")).await, (200, json!({"rowsAffected": 1})));
        until("the sessions on the old writer to be dropped", || cluster.wire(old).open_connections() == 0)
            .await;
        assert!(cluster.connections(new) > ENVIRONMENTS, "{}", cluster.connections(new));

        // The old writer serves reads.
        let reader = world.another_with(&[("DB_READ_FROM", "reader")]).await;
        let id = format!("{}", 11 + old);
        assert_eq!(call(&reader, "who", json!({})).await.1["id"], json!(id));
    }

    let writes = writes.stop().await;
    let failed = failed(&writes);
    println!("{engine:?}: of {} writes during {switchovers} switchovers failed: {failed:?}", writes.len());
    // PostgreSQL ends a session whose commit waits for the standbys, and then nobody can know: so of each environment the
    // one COMMIT that was under way, at most. MySQL refuses it, or lets it through. Nobody is told to come again.
    assert!(failed.iter().all(|call| call.code == "outcome_unknown"), "{failed:?}");
    let most = if engine == Engine::AuroraPostgres { ENVIRONMENTS * switchovers } else { 0 };
    assert!(failed.len() <= most, "{failed:?}");
    check_marks(&world, &writes);
}

/// A partition that leaves the old writer where it is, reachable, and led to by the endpoint: only that it takes no more
/// writes, while another one has been promoted.
async fn a_writer_that_is_fenced_off_under_load(engine: Engine) {
    let latency = unless_stalled(FAILOVER, async || a_writer_that_is_fenced_off(engine).await).await;
    println!("{engine:?}: the last environment's first write: {latency:?}");
}

async fn a_writer_that_is_fenced_off(engine: Engine) -> Result<Duration, String> {
    let cluster = cluster(engine, 3);
    let world = world(engine, &cluster).start().await;
    assert_eq!(mark(&world.function, "before").await.0, 200);
    let writes = Load::start("mark", vec![world.another().await, world.another().await]);
    let reads = Load::start("marks", vec![world.another().await]);
    writes.each_succeeds_after(Instant::now()).await;

    cluster.change(Cluster::fence).await;
    let refuses = cluster.sql(0, &world.database().name, "INSERT INTO marks VALUES ('too late')");
    assert!(format!("{:#}", refuses.unwrap_err()).contains("read-only"));
    let accepted = cluster.change(|cluster| cluster.promote(1)).await;
    let first = writes.each_succeeds_after(accepted).await;
    reads.each_succeeds_after(accepted).await;

    // It is reached, and left: by one who had a session there all the time, and by one who is led there.
    assert_eq!(mark(&world.function, "idle").await, (200, json!({"rowsAffected": 1})));
    let led = cluster.wire(0).connections();
    assert_eq!(mark(&world.another().await, "new").await, (200, json!({"rowsAffected": 1})));
    assert!(cluster.wire(0).connections() > led, "the endpoint leads to it");
    let reads = reads.stop().await;
    let writes = writes.stop().await;
    assert!(reads.iter().all(|call| call.status == 200), "{:?}", failed(&reads));
    for call in failed(&writes) {
        // MySQL's fence waits for a COMMIT and refuses all else; PostgreSQL's does not. Longer than DB_CONNECT_TIMEOUT
        // nobody waits for a writer.
        let known = ["failing_over", "outcome_unknown"];
        assert!(known.contains(&call.code.as_str()), "{call:?}");
        assert!(engine == Engine::AuroraPostgres || call.code == "failing_over", "{call:?}");
    }
    check_marks(&world, &writes);
    let marks = marks(&world);
    assert!(["before", "idle", "new"].iter().all(|id| marks.get(*id) == Some(&1)), "{marks:?}");
    in_time(first.duration_since(accepted))
}

/// Once while the old writer is dead, once while it is a reader that would still take the session.
async fn an_environment_that_slept_through_it(engine: Engine) {
    let cluster = cluster(engine, 3);
    let world = world(engine, &cluster).start().await;
    assert_eq!(mark(&world.function, "before").await.0, 200);
    let total = |cluster: &Cluster| (0..3).map(|member| cluster.connections(member)).sum::<usize>();

    world.function.pause().unwrap();
    cluster.change(|cluster| cluster.crash(0)).await;
    cluster.change(|cluster| cluster.promote(1)).await;
    world.function.resume().unwrap();
    check_first_call(&world, "crashed").await;
    until("one session to be left", || total(&cluster) == 1 && cluster.connections(1) == 1).await;

    world.function.pause().unwrap();
    cluster.change(|cluster| cluster.switchover(2)).await;
    world.function.resume().unwrap();
    check_first_call(&world, "switched").await;
    until("one session to be left", || total(&cluster) == 1 && cluster.connections(2) == 1).await;
    assert_eq!(marks(&world), ["before", "crashed", "switched"].map(|id| (id.to_owned(), 1)).into());
}

async fn check_first_call(world: &World, id: &str) {
    let outcome = world.invoke(json!({"query": "mark", "params": {"id": id}})).await;
    assert_eq!(outcome.reply().unwrap(), (200, json!({"rowsAffected": 1})));
    let log = last_log(&world.function, &outcome.request_id).await;
    assert!(log["connectMillis"].is_number(), "it had to reconnect: {log}");
    // And that was all: the next one has a session.
    let outcome = world.invoke(json!({"query": "marks"})).await;
    assert_eq!(outcome.reply().unwrap().0, 200);
    let log = last_log(&world.function, &outcome.request_id).await;
    assert!(log["connectMillis"].is_null() && log["retries"] == 0, "{log}");
}

/// The list names members that are no more, and half of those that are do not answer.
async fn members_that_are_gone_or_silent(engine: Engine) {
    let cluster = cluster(engine, 4);
    cluster.change(|cluster| cluster.list(&["98", "11", "12", "99", "13", "14"])).await;
    let world = world(engine, &cluster).env("DB_QUERY_TIMEOUT", "3s").start().await;
    assert_eq!(mark(&world.function, "before").await.0, 200);
    let reader = world.another_with(&[("DB_READ_FROM", "reader")]).await;
    assert_eq!(call(&reader, "marks", json!({})).await.0, 200);

    cluster.partition(1);
    cluster.partition(2);
    // Its session may be on one of them, and hangs; that costs it one call.
    let hung = call(&reader, "marks", json!({})).await.0;
    assert!([200, 504].contains(&hung), "{hung}");
    assert_eq!(call(&reader, "who", json!({})).await, (200, json!({"id": "14"})), "the last reader");
    // Members that are cut off are no hindrance while the writer is there.
    assert_eq!(mark(&world.another().await, "cut").await.0, 200);
    cluster.change(|cluster| cluster.crash(0)).await;
    cluster.change(|cluster| cluster.promote(3)).await;
    assert_eq!(mark(&world.function, "after").await, (200, json!({"rowsAffected": 1})));
    // The endpoint leads to the dead one, so a new environment has nothing but the reader endpoint.
    cluster.move_readers(&[3]);
    assert_eq!(mark(&world.another().await, "new").await, (200, json!({"rowsAffected": 1})));
    // Of the readers none is left: the writer is the last resort.
    let fresh = world.another_with(&[("DB_READ_FROM", "reader")]).await;
    assert_eq!(call(&fresh, "who", json!({})).await, (200, json!({"id": "14"})));
    assert_eq!(marks(&world), ["before", "cut", "after", "new"].map(|id| (id.to_owned(), 1)).into());
}

/// First no writer, then no reader either, then members that are there and say nothing.
async fn nobody_is_left(engine: Engine) {
    let cluster = cluster(engine, 2);
    let timeout = Duration::from_secs(20);
    let setup = world(engine, &cluster).timeout(timeout).env("DB_QUERY_TIMEOUT", "3s");
    let world = setup.env("DB_CONNECT_TIMEOUT", "3s").start().await;
    assert_eq!(mark(&world.function, "before").await.0, 200);
    let refused = async |id: &str| {
        unless_stalled(Duration::from_secs(1), async || {
            let outcome = world.invoke(json!({"query": "mark", "params": {"id": id}})).await;
            let (status, body) = outcome.reply().unwrap();
            assert_eq!((status, &body["error"]["retryable"]), (503, &json!(true)), "{body}");
            // DB_CONNECT_TIMEOUT, and what the invocation is beside that.
            let in_time = outcome.elapsed < Duration::from_secs(4);
            let code = body["error"]["code"].as_str().unwrap().to_owned();
            if in_time { Ok(code) } else { Err(format!("{:?}: {body}", outcome.elapsed)) }
        })
        .await
    };

    cluster.change(|cluster| cluster.crash(0)).await;
    assert_eq!(refused("no writer").await, "failing_over");
    assert_eq!(call(&world.function, "marks", json!({})).await.0, 200, "a reader is there");
    cluster.change(|cluster| cluster.crash(1)).await;
    assert_eq!(refused("nobody").await, "unreachable");
    assert_eq!(world.failure("marks", json!({})).await, (503, "unreachable".into()));

    cluster.change(|cluster| cluster.restart(1)).await;
    cluster.change(|cluster| cluster.promote(1)).await;
    assert_eq!(mark(&world.function, "again").await.0, 200);
    // Silence: whatever session there was hangs, and new ones are accepted and get no answer.
    cluster.partition(0);
    cluster.partition(1);
    let (status, body) = mark(&world.function, "silent").await;
    assert_eq!((status, &body["error"]["code"]), (504, &json!("timeout")), "undone, for COMMIT was not sent");
    assert_eq!(refused("still silent").await, "unreachable");
    cluster.heal(0);
    cluster.heal(1);
    assert_eq!(mark(&world.function, "healed").await.0, 200);
    assert_eq!(marks(&world), ["before", "again", "healed"].map(|id| (id.to_owned(), 1)).into());
}

/// The cluster's name leads to a member that has a name of its own, by which the others know it.
async fn a_slow_writer_is_connected_to_once(engine: Engine) {
    let world = Setup::new(engine).schema(SCHEMA).queries(queries(engine)).start().await;
    // Another way to write its address, which only a resolver understands.
    let host = world.host();
    let octets: Vec<u32> = host.split('.').map(|octet| octet.parse().unwrap()).collect();
    let name = format!("{}.{}.{}", octets[0], octets[1], octets[2] * 256 + octets[3]);
    unless_stalled(Duration::from_millis(400), async || {
        let wire = world.another_wire();
        // Of its answers to a login there are four or five: when the first half has come, the others are asked.
        wire.delay(Direction::ToClient, Duration::from_millis(200));
        let port = wire.to();
        let there = [("DB_HOST", name.as_str()), ("DB_PORT", &port), ("DB_TLS_SERVER_NAME", &host)];
        let function = world.another_with(&[&there[..], &[("DB_CONNECT_AT", "first-use")]].concat()).await;
        assert_eq!(mark(&function, "slow").await.0, 200, "{:?}", function.logs());
        let connections: Vec<u64> = wire.all().iter().map(|wire| wire.connections()).collect();
        if connections == [1, 1] { Ok(()) } else { Err(format!("{connections:?} connections")) }
    })
    .await;
}

/// Aurora pauses when nobody is connected: then connections are accepted, and nothing is said until it has resumed.
async fn a_cluster_that_was_paused_resumes(engine: Engine) {
    let cluster = cluster(engine, 2);
    let setup = world(engine, &cluster).env("DB_CONNECT_AT", "first-use");
    let world = setup.env("DB_CONNECT_TIMEOUT", "15s").start().await;
    let impatient = world.another_with(&[("DB_CONNECT_TIMEOUT", "3s")]).await;
    cluster.partition(0);
    cluster.partition(1);
    let outcome = impatient.invoke(json!({"query": "marks"})).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (503, &json!("resuming")), "{body}");
    assert!(outcome.json().unwrap()["headers"]["retry-after"].is_string());

    let resumes = async {
        until("the call to wait", || cluster.endpoint_wire().open_connections() > 0).await;
        cluster.heal(0);
        cluster.heal(1);
    };
    let (answer, ()) = tokio::join!(mark(&world.function, "patient"), resumes);
    assert_eq!(answer, (200, json!({"rowsAffected": 1})));
}

/// Two writers die under a COMMIT. Of the first the new writer has the transaction, so it has its key and gives its reply; of the
/// second it has not, so the call runs again, there and only there. The caller notices neither.
async fn a_key_goes_with_its_transaction(engine: Engine) {
    let cluster = cluster(engine, 3);
    let world = keyed_world(engine, &cluster).start().await;
    let answer = if engine == Engine::AuroraPostgres { 1 } else { 2 };
    // By its own name it is reached as well, once it is known.
    let wires = [cluster.endpoint_wire(), cluster.wire(0)];
    let mut all = Vec::new();
    // Its answer to COMMIT is held up, and then it is gone.
    let (kept_id, replayed, kept) = loop {
        let tries = all.len() / 3;
        assert!(tries < 20, "COMMIT's answer is never what is held up");
        for warm in ["one", "two"] {
            all.push(format!("{warm} {tries}"));
            assert!(!pay(&world.function, &all[all.len() - 1]).await.0);
        }
        let id = format!("kept {tries}");
        all.push(id.clone());
        for wire in wires {
            wire.inject(Fault::stall(Direction::ToClient, After::Flights(answer)));
        }
        let dies = async {
            until("COMMIT's answer", || wires.iter().any(|wire| !wire.armed())).await;
            for wire in wires {
                wire.disarm();
            }
            let kept = format!("SELECT count(*) FROM marks WHERE id = '{id}'");
            if cluster.sql(0, &world.database().name, &kept).unwrap().trim() != "1" {
                // On a busy machine it may be the answer to somebody else on this wire, who looks for the writer.
                for wire in wires {
                    wire.cut(Cut::Rst);
                }
                return false;
            }
            cluster.change(|cluster| cluster.crash(0)).await;
            cluster.change(|cluster| cluster.promote(1)).await;
            true
        };
        let ((replayed, body), died) = tokio::join!(pay(&world.function, &id), dies);
        if died {
            break (id, replayed, body);
        }
    };
    assert!(replayed, "{kept}");
    for warm in ["three", "four"] {
        all.push(warm.to_owned());
        assert!(!pay(&world.function, warm).await.0);
    }

    // Nobody gets the next one's transactions any more, so that COMMIT waits in the server for ever.
    match engine {
        Engine::AuroraPostgres => {
            cluster.sql(2, "postgres", "ALTER SYSTEM SET primary_conninfo = ''").unwrap();
            cluster.sql(2, "postgres", "SELECT pg_reload_conf()").unwrap();
            until("the standby to be alone", || {
                cluster.sql(1, "postgres", "SELECT count(*) FROM pg_stat_replication").unwrap() == "0"
            })
            .await;
        }
        _ => {
            cluster.sql(1, "mysql", "SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON").unwrap();
            cluster.sql(2, "mysql", "STOP REPLICA IO_THREAD").unwrap();
        }
    }
    let waiting = match engine {
        Engine::AuroraPostgres => "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
        _ => {
            "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%'"
        }
    };
    let dies = async {
        until("COMMIT to wait for the readers", || {
            cluster.sql(1, &world.database().name, waiting).unwrap().trim() == "1"
        })
        .await;
        cluster.change(|cluster| cluster.crash(1)).await;
        cluster.change(|cluster| cluster.promote(2)).await;
    };
    let ((replayed, lost), ()) = tokio::join!(pay(&world.function, "lost"), dies);
    assert!(!replayed, "the new writer has nothing of it: {lost}");

    all.push("lost".to_owned());
    let once: BTreeMap<String, u32> = all.into_iter().map(|id| (id, 1)).collect();
    assert_eq!(marks(&world), once);
    assert_eq!(world.count("lambda_rds_idempotency"), once.len() as u64);
    let other = world.another().await;
    for (id, body) in [(&*kept_id, kept), ("lost", lost)] {
        assert_eq!(pay(&world.function, id).await, (true, body.clone()));
        assert_eq!(pay(&other, id).await, (true, body));
    }
    assert_eq!(marks(&world), once);
}

/// Environments that write with a key, and repeat each call until it is done, while the writer crashes, hands over, and is
/// fenced off. `cargo xtask soak` has more of it.
async fn writes_with_a_key_through_failovers(engine: Engine) {
    let rounds = crate::cuts::setting("TESTBED_CUTS").map_or(1, |cuts| cuts / 1_000).max(1);
    let soaks = rounds > 1;
    let cluster = cluster(engine, 2);
    let world = keyed_world(engine, &cluster).timeout(Duration::from_secs(60)).start().await;
    let load = Keyed::start(vec![world.another().await, world.another().await, world.another().await]);
    let mut failovers = 0;
    for round in 0..rounds {
        let (old, new) = (cluster.writer(), 1 - cluster.writer());
        load.go_on().await;
        cluster.change(move |cluster| cluster.crash(old)).await;
        cluster.change(move |cluster| cluster.promote(new)).await;
        load.go_on().await;
        cluster.change(move |cluster| cluster.restart(old)).await;
        load.go_on().await;
        cluster.change(move |cluster| cluster.switchover(old)).await;
        load.go_on().await;
        failovers += 2;
        if soaks && round % 2 == 0 {
            cluster.change(Cluster::fence).await;
            cluster.change(move |cluster| cluster.promote(new)).await;
            load.go_on().await;
            cluster.change(move |cluster| cluster.crash(old)).await;
            cluster.change(move |cluster| cluster.restart(old)).await;
            failovers += 1;
        }
    }
    let done = load.stop().await;
    println!(
        "{engine:?}: {} writes with a key through {failovers} failovers: lost 0, doubled 0; told {:?}",
        done.bodies.len(),
        done.faults
    );
    let once: BTreeMap<String, u32> = done.bodies.keys().map(|id| (id.clone(), 1)).collect();
    assert_eq!(marks(&world), once);
    assert_eq!(world.count("lambda_rds_idempotency"), done.bodies.len() as u64);
    // From an environment that was not there: what each caller was told is what is kept.
    let other = world.another().await;
    for (id, body) in done.bodies.iter().rev().take(100) {
        assert_eq!(pay(&other, id).await, (true, body.clone()), "{id}");
    }
    assert_eq!(marks(&world), once);
}

fn keyed_world(engine: Engine, cluster: &Arc<Cluster>) -> Setup {
    let run = if engine == Engine::AuroraMysql { "UUID()" } else { "CAST(gen_random_uuid() AS text)" };
    world(engine, cluster).schema(format!("{SCHEMA}{}", crate::once::table(engine))).queries(format!(
        "{MARKS}\n-- name: pay :exec\n-- idempotency_key: header.Idempotency-Key\n-- param: id text\n\
         INSERT INTO marks (id) VALUES (:id);\n\n-- name: run :one\nSELECT {run} AS run;\n"
    ))
}

/// Marks with a key, and again until it is done. The reply is another one of each run; it is told whether it was kept.
async fn pay(function: &Function, id: &str) -> (bool, String) {
    pay_and_count(function, id, &Mutex::default()).await
}

async fn pay_and_count(
    function: &Function,
    id: &str,
    faults: &Mutex<BTreeMap<String, u64>>,
) -> (bool, String) {
    let steps = json!([{"query": "pay", "params": {"id": id}}, {"query": "run"}]);
    let event = json!({"transaction": steps, "idempotencyKey": id});
    let count = |code: &str| *faults.lock().unwrap().entry(code.to_owned()).or_default() += 1;
    until_done_but_for(function, event, count).await
}

/// Writes with a key, which environments make one after the other.
struct Keyed {
    stopped: Arc<AtomicBool>,
    counts: Vec<Arc<AtomicU32>>,
    faults: Arc<Mutex<BTreeMap<String, u64>>>,
    running: Vec<JoinHandle<BTreeMap<String, String>>>,
}

/// What they were told.
struct Done {
    bodies: BTreeMap<String, String>,
    faults: BTreeMap<String, u64>,
}

impl Keyed {
    fn start(environments: Vec<Function>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let faults = Arc::new(Mutex::default());
        let counts: Vec<Arc<AtomicU32>> = environments.iter().map(|_| Arc::default()).collect();
        let running =
            environments.into_iter().zip(&counts).enumerate().map(|(environment, (function, count))| {
                let (stopped, count, faults) = (Arc::clone(&stopped), Arc::clone(count), Arc::clone(&faults));
                tokio::spawn(async move {
                    let mut bodies = BTreeMap::new();
                    while !stopped.load(Ordering::Relaxed) {
                        let id = format!("{environment}-{}", bodies.len());
                        let (_, body) = pay_and_count(&function, &id, &faults).await;
                        if bodies.len() % 8 == 0 {
                            assert_eq!(
                                pay_and_count(&function, &id, &faults).await,
                                (true, body.clone()),
                                "{id}"
                            );
                        }
                        bodies.insert(id, body);
                        count.fetch_add(1, Ordering::Relaxed);
                        // Leaves the servers some of the machine.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    bodies
                })
            });
        let running = running.collect();
        Self { stopped, counts, faults, running }
    }

    /// Waits until each environment has done some more.
    async fn go_on(&self) {
        let now = |count: &Arc<AtomicU32>| count.load(Ordering::Relaxed);
        let before: Vec<u32> = self.counts.iter().map(now).collect();
        until("some more writes of each environment", || {
            assert!(self.running.iter().all(|task| !task.is_finished()), "an environment is gone");
            self.counts.iter().zip(&before).all(|(count, before)| now(count) >= before + 3)
        })
        .await;
    }

    async fn stop(self) -> Done {
        self.stopped.store(true, Ordering::Relaxed);
        let mut bodies = BTreeMap::new();
        for task in self.running {
            bodies.extend(task.await.unwrap());
        }
        let faults = std::mem::take(&mut *self.faults.lock().unwrap());
        Done { bodies, faults }
    }
}

/// Multi-AZ DB clusters of RDS tell their members by another function.
#[tokio::test]
async fn a_crash_in_a_multi_az_cluster_of_postgres() {
    let cluster = Arc::new(Cluster::postgres_multi_az(3).unwrap());
    let world = world(Engine::AuroraPostgres, &cluster).queries(MARKS).start().await;
    let reader = world.another_with(&[("DB_READ_FROM", "reader")]).await;
    assert_eq!(mark(&world.function, "before").await.0, 200);
    assert_eq!(call(&reader, "marks", json!({})).await, (200, json!({"n": 1})));
    assert_eq!(cluster.connections(0), 1, "the other one is on a reader");
    cluster.change(|cluster| cluster.crash(0)).await;
    cluster.change(|cluster| cluster.promote(2)).await;
    assert_eq!(mark(&world.function, "after").await, (200, json!({"rowsAffected": 1})));
    assert_eq!(call(&reader, "marks", json!({})).await, (200, json!({"n": 2})));
}

/// A hundred environments, each a process of its own with a session of its own.
async fn reads_are_spread_and_follow_the_readers(engine: Engine) {
    const FLEET: usize = 100;
    const ADDED: usize = 30;
    let cluster = cluster(engine, 4);
    let world = world(engine, &cluster).env("DB_READ_FROM", "reader").start().await;
    let began = Instant::now();
    // The first environment has opened a session, too: to a reader, for nothing has been written.
    let mut fleet = start(&world, FLEET - 1).await;
    let read = async |functions: &[Function]| {
        for function in functions {
            let (status, body) = call(function, "who", json!({})).await;
            assert_eq!(status, 200, "{body}");
        }
    };
    read(&fleet).await;
    world.rows("who", json!({})).await;
    let held = || [0, 1, 2, 3].map(|member| cluster.connections(member));
    until("a session of each environment", || held().iter().sum::<usize>() == FLEET).await;
    println!("{engine:?}: {FLEET} environments, sessions on the writer and the readers: {:?}", held());
    assert_eq!(held()[0], 0, "the writer has none");
    check_even(&held()[1..], FLEET);

    // A reader that is taken away: its load moves to the others, and evenly.
    cluster.change(|cluster| cluster.remove(3)).await;
    read(&fleet).await;
    world.rows("who", json!({})).await;
    until("a session of each environment", || held().iter().sum::<usize>() == FLEET).await;
    println!("{engine:?}: without the third reader: {:?}", held());
    assert_eq!((held()[0], held()[3]), (0, 0), "{:?}", held());
    check_even(&held()[1..3], FLEET);

    // And one that is added is used by new sessions. It has the fewest, so it gets whoever asks it, which are two of
    // three who ask two of three. An even share would be a third of them.
    cluster.change(|cluster| cluster.restart(3)).await;
    fleet.extend(start(&world, ADDED).await);
    read(&fleet[FLEET - 1..]).await;
    until("a session of each environment", || held().iter().sum::<usize>() == FLEET + ADDED).await;
    println!("{engine:?}: {ADDED} more, with the third reader back: {:?}, {:?}", held(), began.elapsed());
    // Twenty are expected; less than ten are once in 40,000 runs.
    assert!(held()[3] >= ADDED / 3, "{:?}", held());
    assert_eq!(held()[0], 0, "{:?}", held());
}

/// Starts environments, a few at a time.
async fn start(world: &World, count: usize) -> Vec<Function> {
    let starting = futures_util::stream::iter(0..count).map(|_| world.another());
    starting.buffer_unordered(8).collect().await
}

/// Within 30 % of the same for all.
#[track_caller]
fn check_even(held: &[usize], sessions: usize) {
    let even = sessions / held.len();
    assert!(held.iter().all(|held| held.abs_diff(even) * 10 <= even * 3), "{held:?}");
}

/// `DB_READ_FROM=reader` sends nothing there but reads.
async fn a_read_after_a_write_of_the_same_call_sees_it(engine: Engine) {
    let world = Setup::new(engine)
        .schema(SCHEMA)
        .queries(queries(engine))
        .env("DB_READ_FROM", "reader")
        .start()
        .await;
    for n in 1..=20 {
        let steps = json!({"transaction": [
            {"query": "mark", "params": {"id": format!("{n}")}},
            {"query": "marks"},
            {"query": "who"},
        ]});
        let (status, body) = world.call(steps).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body, json!([{"rowsAffected": 1}, {"n": n}, {"id": "11"}]));
        assert_eq!(world.rows("who", json!({})).await, json!({"id": "12"}));
    }
}

/// Where nothing is a cluster, the engines of clusters are the plain ones.
#[tokio::test]
async fn a_plain_server_is_served_as_by_the_plain_engine() {
    for (plain, aurora) in [(Engine::Postgres, "aurora-postgres"), (Engine::Mysql, "aurora-mysql")] {
        for read_from in ["writer", "reader"] {
            let setup = Setup::new(plain).env("DB_ENGINE", aurora).env("DB_READ_FROM", read_from);
            let world = setup.schema(SCHEMA).queries(MARKS).start().await;
            assert_eq!(mark(&world.function, "one").await.0, 200);
            world.wire().reset();
            for _ in 0..10 {
                assert_eq!(world.rows("marks", json!({})).await, json!({"n": 1}));
            }
            assert_eq!(world.wire().connections(), 0, "one session serves both");
            assert!(world.wire().flights() <= 11, "{}", world.wire().flights());
            let complaints = world.function.logs().into_iter().filter(|line| line.contains("\"WARN\""));
            assert_eq!(complaints.collect::<Vec<_>>(), Vec::<String>::new());
        }
    }
}

/// Blue/green: the name moves to another server, and the old one turns read-only. That needs no topology.
#[tokio::test]
async fn a_name_that_moves_to_another_server_is_followed_by_the_plain_engine() {
    for engine in [Engine::AuroraPostgres, Engine::AuroraMysql] {
        let cluster = cluster(engine, 2);
        let plain = if engine == Engine::AuroraPostgres { "postgres" } else { "mysql" };
        let world = world(engine, &cluster).env("DB_ENGINE", plain).start().await;
        assert_eq!(mark(&world.function, "blue").await.0, 200);
        cluster
            .change(|cluster| {
                cluster.switchover(1)?;
                cluster.move_endpoint(1)
            })
            .await;
        assert_eq!(mark(&world.function, "green").await, (200, json!({"rowsAffected": 1})));
        assert_eq!(call(&world.function, "who", json!({})).await.1, json!({"id": "12"}));
    }
}

/// Calls that environments make one after the other, each as fast as it can.
struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    environments: usize,
    stopped: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

/// One call and what became of it.
#[derive(Debug, Clone)]
struct Call {
    environment: usize,
    id: String,
    status: u64,
    /// Of the failure, else empty.
    code: String,
    ended: Instant,
}

impl Load {
    fn start(query: &'static str, environments: Vec<Function>) -> Self {
        static LOADS: AtomicU32 = AtomicU32::new(0);
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let count = environments.len();
        let running = environments.into_iter().enumerate().map(|(environment, function)| {
            let (calls, stopped) = (Arc::clone(&calls), Arc::clone(&stopped));
            tokio::spawn(async move {
                for n in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("{load}-{environment}-{n}");
                    let params = if query == "mark" { json!({ "id": id }) } else { json!({}) };
                    let started = Instant::now();
                    let outcome = function.invoke(json!({"query": query, "params": params})).await.unwrap();
                    let ended = started + outcome.elapsed;
                    let (status, body) = outcome.reply().unwrap();
                    let code = body["error"]["code"].as_str().unwrap_or_default().to_owned();
                    calls.lock().unwrap().push(Call { environment, id, status, code, ended });
                    // Leaves the servers some of the machine.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        });
        let running = running.collect();
        Self { calls, environments: count, stopped, running }
    }

    /// Waits until each environment has had a success that ended after `moment`, and gives when the last had its
    /// first.
    async fn each_succeeds_after(&self, moment: Instant) -> Instant {
        let firsts = || {
            let calls = self.calls.lock().unwrap();
            let mut firsts = BTreeMap::new();
            for call in calls.iter().filter(|call| call.status == 200 && call.ended > moment) {
                firsts.entry(call.environment).or_insert(call.ended);
            }
            firsts
        };
        until("a success of each environment", || {
            assert!(self.running.iter().all(|task| !task.is_finished()), "an environment is gone");
            firsts().len() == self.environments
        })
        .await;
        firsts().into_values().max().unwrap()
    }

    /// Lets the last calls end, and gives all there were.
    async fn stop(self) -> Vec<Call> {
        self.stopped.store(true, Ordering::Relaxed);
        for task in self.running {
            task.await.unwrap();
        }
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

/// What is done to a cluster beside what goes on.
trait Change {
    async fn change<T, E>(&self, change: impl FnOnce(&Cluster) -> Result<T, E> + Send + 'static) -> T
    where
        T: Send + 'static,
        E: Debug + Send + 'static;
}

impl Change for Arc<Cluster> {
    async fn change<T, E>(&self, change: impl FnOnce(&Cluster) -> Result<T, E> + Send + 'static) -> T
    where
        T: Send + 'static,
        E: Debug + Send + 'static,
    {
        let cluster = Arc::clone(self);
        tokio::task::spawn_blocking(move || change(&cluster)).await.unwrap().unwrap()
    }
}

fn failed(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.status != 200).collect()
}

/// What was acknowledged is there once, what was refused is not there, and nothing is there twice.
fn check_marks(world: &World, writes: &[Call]) {
    let marks = marks(world);
    assert!(marks.values().all(|times| *times == 1), "{marks:?}");
    for call in writes {
        let there = marks.contains_key(&call.id);
        match call.status {
            200 => assert!(there, "lost: {call:?}"),
            _ => assert!(!there || call.code == "outcome_unknown", "refused, and yet done: {call:?}"),
        }
    }
    assert!(writes.iter().any(|call| call.status == 200));
}

/// The marks that the writer has, and how many times.
fn marks(world: &World) -> BTreeMap<String, u32> {
    let (cluster, database) = (world.cluster(), &world.database().name);
    let rows = "SELECT id, count(*) FROM marks GROUP BY id";
    let rows = cluster.sql(cluster.writer(), database, rows).unwrap();
    let counted = rows.lines().map(|row| {
        let (id, times) = row.split_once('|').unwrap();
        (id.to_owned(), times.parse().unwrap())
    });
    counted.collect()
}

async fn mark(function: &Function, id: &str) -> (u64, Value) {
    call(function, "mark", json!({ "id": id })).await
}

async fn call(function: &Function, query: &str, params: Value) -> (u64, Value) {
    function.invoke(json!({"query": query, "params": params})).await.unwrap().reply().unwrap()
}

fn cluster(engine: Engine, members: usize) -> Arc<Cluster> {
    let cluster = match engine {
        Engine::AuroraMysql => Cluster::mysql(members),
        _ => Cluster::postgres(members),
    };
    Arc::new(cluster.unwrap())
}

fn world(engine: Engine, cluster: &Arc<Cluster>) -> Setup {
    Setup::new(engine).on_cluster(cluster).schema(SCHEMA).queries(queries(engine))
}

/// Without a key: what is done twice shall be there twice.
const SCHEMA: &str = "CREATE TABLE marks (id VARCHAR(40) NOT NULL);\n";

fn queries(engine: Engine) -> String {
    let who = match engine {
        Engine::AuroraMysql => "CAST(@@server_id AS CHAR)",
        _ => "aurora_db_instance_identifier()",
    };
    format!("{MARKS}\n-- name: who :one\nSELECT {who} AS id;\n")
}

const MARKS: &str = "
-- name: mark :exec
-- write
-- param: id text
INSERT INTO marks (id) VALUES (:id);

-- name: marks :one
SELECT count(*) AS n FROM marks;
";
