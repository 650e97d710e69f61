//! What a result costs in memory: as much as the reply may take, whatever the table holds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Engine, Setup, World, until};
use crate::{on_clusters, on_every_server};

const LIMIT: u64 = 64 << 20;

const BIG: &str = "CREATE UNLOGGED TABLE big AS SELECT g AS id FROM generate_series(1, 5000000) AS g;";
/// Ten million where there is no such function, made while they are read.
const BIG_IN_MYSQL: &str = "
CREATE TABLE digits (n INT);
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE VIEW big AS
SELECT 1 + a.n + 10 * (b.n + 10 * (c.n + 10 * (d.n + 10 * (e.n + 10 * (f.n + 10 * g.n))))) AS id
FROM digits a, digits b, digits c, digits d, digits e, digits f, digits g;
";

const QUERIES: &str = "
-- name: some :many
-- max_rows: 1000
SELECT id, 'row number ' || id AS name FROM big;

-- name: every :many
SELECT id, 'row number ' || id AS name FROM big;

-- name: first :many
-- param: limit int
SELECT id, 'row number ' || id AS name FROM big LIMIT :limit;

-- name: wide :one
-- param: length int
SELECT repeat('x', :length::int) AS v;

-- name: both :one
-- param: v text
SELECT length(:v) AS n, repeat('y', 250000) AS r;

-- name: both_writing :one
-- write
-- param: v text
SELECT length(:v) AS n, repeat('y', 250000) AS r;

-- name: bytes :one
-- param: length int
SELECT decode(repeat('00', :length::int), 'hex') AS v;

-- name: ones :one
-- param: length int
SELECT array_fill(1::bigint, ARRAY[:length::int]) AS v;

-- name: list :one
-- param: length int
SELECT array_agg(g) AS v FROM generate_series(1, :length::int) AS g;
";

const QUERIES_IN_MYSQL: &str = "
-- name: some :many
-- max_rows: 1000
SELECT id, CONCAT('row number ', id) AS name FROM big;

-- name: every :many
SELECT id, CONCAT('row number ', id) AS name FROM big;

-- name: first :many
-- param: limit int
SELECT id, CONCAT('row number ', id) AS name FROM big LIMIT :limit;

-- name: wide :one
-- param: length int
SELECT REPEAT('x', :length) AS v;

-- name: both :one
-- param: v text
SELECT LENGTH(:v) AS n, REPEAT('y', 250000) AS r;

-- name: both_writing :one
-- write
-- param: v text
SELECT LENGTH(:v) AS n, REPEAT('y', 250000) AS r;

-- name: bytes :one
-- param: length int
SELECT UNHEX(REPEAT('00', :length)) AS v;
";

on_every_server!(
    large_parameters_meet_large_results,
    a_table_of_millions_of_rows_ends_at_the_limit_and_so_does_the_server,
    the_largest_reply_is_exact_and_within_memory,
    a_value_too_large_for_any_reply_is_not_held_either,
);

on_clusters!(
    a_table_of_millions_of_rows_ends_at_the_limit_and_so_does_the_server,
    the_largest_reply_is_exact_and_within_memory,
    a_value_too_large_for_any_reply_is_not_held_either,
);

fn setup(engine: Engine) -> Setup {
    // Millions of rows take their time on a busy machine.
    let setup = Setup::new(engine).schema("").env("DB_QUERY_TIMEOUT", "60s").timeout(Duration::from_secs(90));
    setup.queries(if engine.plain() == Engine::Postgres { QUERIES } else { QUERIES_IN_MYSQL })
}

async fn a_table_of_millions_of_rows_ends_at_the_limit_and_so_does_the_server(engine: Engine) {
    let big = if engine.plain() == Engine::Postgres { BIG } else { BIG_IN_MYSQL };
    let world = setup(engine).schema(big).start().await;
    for (query, says) in [("some", "1000 rows"), ("every", "does not fit")] {
        let message = too_large(&world, query, json!({})).await;
        assert!(message.contains(says) && message.contains("page by page"), "{message}");
        none_runs(&world).await;
        assert_peak(&world, query);
        // The function goes on, and takes as much as it may.
        let rows = world.rows("first", json!({"limit": 1000})).await;
        assert_eq!(rows.as_array().unwrap().len(), 1000);
    }
}

/// More parameters than Lambda lets an event hold, against as large a result as it takes, all of it sent together: who does not
/// read while it writes waits for ever, and who keeps the event, what it gave and what was bound of it needs the limit for that.
async fn large_parameters_meet_large_results(engine: Engine) {
    const STEPS: usize = 20;
    const LENGTH: usize = 1_000_000;
    let world = setup(engine).env("DB_QUERY_TIMEOUT", "100s").timeout(Duration::from_secs(200)).start().await;
    let sets: Vec<Value> = (0..STEPS).map(|step| json!({"v": "x".repeat(LENGTH + step)})).collect();
    for query in ["both", "both_writing"] {
        let (status, body) = world.call(json!({"batch": {"query": query, "params": sets}})).await;
        assert_eq!(status, 200, "{query}: {}", body["error"]);
        for (step, done) in body.as_array().unwrap().iter().enumerate() {
            let lengths = (done["n"].as_u64().unwrap(), done["r"].as_str().unwrap().len());
            assert_eq!(lengths, ((LENGTH + step) as u64, 250_000), "{query}");
        }
        assert_eq!(body.as_array().unwrap().len(), STEPS);
    }
    // More than Lambda's 6 MB, so without the pages of the program, of which a build for tests has three times as many.
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.function.pid())).unwrap();
    let program = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    let program = program.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10;
    let peak = world.function.peak_rss_bytes().unwrap() - program;
    assert!(peak < LIMIT, "{} MiB at the peak", peak >> 20);
}

async fn the_largest_reply_is_exact_and_within_memory(engine: Engine) {
    let world = setup(engine).start().await;
    // How much a body may take is in the refusal.
    let message = too_large(&world, "wide", json!({"length": 7_000_000})).await;
    let limit = message.split(' ').find_map(|word| word.parse::<usize>().ok().filter(|n| *n > 1_000_000));
    let limit = limit.unwrap_or_else(|| panic!("no limit in {message}"));
    // `{"v":""}`, four of its quotes escaped once more.
    let longest = limit - 12;
    let outcome = world.invoke(json!({"query": "wide", "params": {"length": longest}})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["v"].as_str().map(str::len)), (200, Some(longest)));
    too_large(&world, "wide", json!({"length": longest + 1})).await;
    let arrays = engine.plain() == Engine::Postgres;
    for (query, length) in [("bytes", 4_700_000), ("list", 800_000)] {
        if query == "list" && !arrays {
            continue;
        }
        let (status, _) = world.call(json!({"query": query, "params": {"length": length}})).await;
        assert_eq!(status, 200, "{query}");
    }
    assert_peak(&world, "the largest reply");
    if !arrays {
        return;
    }
    // Six times as long on the wire as in JSON, and there as long as may be.
    let (status, _) = world.call(json!({"query": "ones", "params": {"length": 1_048_000}})).await;
    assert_eq!(status, 200);
    assert_peak(&world, "ones");
}

/// A value is one message on the wire, which the driver would hold whole; on MySQL several in a row from 16 MiB on.
async fn a_value_too_large_for_any_reply_is_not_held_either(engine: Engine) {
    let setup = match engine.plain() {
        Engine::Postgres => setup(engine),
        // What is longer than this is NULL.
        _ => setup(engine).own_server().schema("SET GLOBAL max_allowed_packet = 1073741824"),
    };
    let world = setup.start().await;
    for (query, length) in
        [("wide", 13_000_000), ("wide", 100_000_000), ("bytes", 50_000_000), ("ones", 1_050_000)]
    {
        if query == "ones" && engine.plain() != Engine::Postgres {
            continue;
        }
        let message = too_large(&world, query, json!({"length": length})).await;
        assert!(message.contains("12 MiB") && message.contains("a part of it"), "{message}");
        none_runs(&world).await;
        assert_peak(&world, query);
        assert_eq!(world.rows("wide", json!({"length": 1})).await, json!({"v": "x"}));
    }
}

/// Calls a query whose result is too large; gives the message.
async fn too_large(world: &World, query: &str, params: Value) -> String {
    let (status, body) = world.call(json!({"query": query, "params": params})).await;
    assert_eq!((status, body["error"]["code"].as_str()), (413, Some("result_too_large")), "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_peak(world: &World, after: &str) {
    let peak = world.function.peak_rss_bytes().unwrap();
    assert!(peak < LIMIT, "{} MiB at the peak after `{after}`", peak >> 20);
}

/// Waits until nothing of ours runs on the server.
async fn none_runs(world: &World) {
    until("the end of the statement", || world.running() == 0).await;
}
