//! What a result costs in memory: as much as the reply may take, whatever the table holds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Engine, Setup, World};

const LIMIT: u64 = 64 << 20;

const BIG: &str = "CREATE UNLOGGED TABLE big AS SELECT g AS id FROM generate_series(1, 5000000) AS g;";

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

#[tokio::test]
async fn a_table_of_five_million_rows_ends_at_the_limit_and_so_does_the_server() {
    let world = Setup::new(Engine::Postgres).schema(BIG).queries(QUERIES).start().await;
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

#[tokio::test]
async fn the_largest_reply_is_exact_and_within_memory() {
    let world = Setup::new(Engine::Postgres).schema("").queries(QUERIES).start().await;
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
    for (query, length) in [("bytes", 4_700_000), ("list", 800_000)] {
        let (status, _) = world.call(json!({"query": query, "params": {"length": length}})).await;
        assert_eq!(status, 200, "{query}");
    }
    assert_peak(&world, "the largest reply");
    // Six times as long on the wire as in JSON, and there as long as may be.
    let (status, _) = world.call(json!({"query": "ones", "params": {"length": 1_048_000}})).await;
    assert_eq!(status, 200);
    assert_peak(&world, "ones");
}

/// A value is one message on the wire, which the driver would hold whole.
#[tokio::test]
async fn a_value_too_large_for_any_reply_is_not_held_either() {
    let world = Setup::new(Engine::Postgres).schema("").queries(QUERIES).start().await;
    for (query, length) in [("wide", 100_000_000), ("bytes", 50_000_000), ("ones", 1_050_000)] {
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
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' \
                  AND pid <> pg_backend_pid()";
    let until = Instant::now() + Duration::from_secs(10);
    while world.sql(active) != "0" {
        assert!(Instant::now() < until, "a statement runs on after its reply");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
