//! Compares two builds of the function, interleaved in one run: cold start, warm call, CPU, memory, size.
//!
//! ```text
//! cargo run --release -p lambda-rds-testbed --example compare -- BASELINE CANDIDATE
//! ```
//!
//! Each is run as Lambda runs it, against a private PostgreSQL over verified TLS, with its password from the
//! stand-in of Secrets Manager. A call reads 50 rows of three columns. Prints a Markdown table: for each figure
//! the medians, the spread (the middle half of the samples) and the ratio.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measuring tool")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use lambda_rds_testbed::{Function, Postgres, RuntimeApi, Secrets};
use serde_json::json;

/// The clock ticks that `/proc/PID/stat` counts in, on every Linux that Lambda or we run on.
const TICK_MS: f64 = 10.0;
const COLDS: usize = 21;
const WARM_ROUNDS: usize = 4;
const WARM_CALLS: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let builds: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [baseline, candidate] = builds.as_slice() else {
        println!("usage: compare BASELINE CANDIDATE, two executables of the function");
        return;
    };
    let place = Place::new();
    let mut figures = [Figures::default(), Figures::default()];
    for _ in 0..COLDS {
        for (build, figures) in [baseline, candidate].into_iter().zip(&mut figures) {
            place.cold(build, figures).await;
        }
    }
    for _ in 0..WARM_ROUNDS {
        for (build, figures) in [baseline, candidate].into_iter().zip(&mut figures) {
            place.warm(build, figures).await;
        }
    }
    let [a, b] = &figures;
    println!("| | baseline | candidate | ratio |\n|---|---|---|---|");
    println!(
        "| executable, bytes | {} | {} | {:.2} |",
        size(baseline),
        size(candidate),
        size(candidate) as f64 / size(baseline) as f64
    );
    row("cold: spawn to first reply, ms", &a.cold, &b.cold);
    row("warm call, p50, ms", &a.warm, &b.warm);
    row("warm call, p99, ms", &a.warm_p99, &b.warm_p99);
    row("CPU of a warm call, ms", &a.warm_cpu, &b.warm_cpu);
    row("peak memory, MiB", &a.memory, &b.memory);
}

#[derive(Default)]
struct Figures {
    cold: Vec<f64>,
    warm: Vec<f64>,
    warm_p99: Vec<f64>,
    warm_cpu: Vec<f64>,
    memory: Vec<f64>,
}

struct Place {
    server: Postgres,
    secrets: Secrets,
    queries: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let server = Postgres::start().unwrap();
        let database = server.database("compare").unwrap();
        let schema = "CREATE TABLE users (id int PRIMARY KEY, name text, email text, active bool);
            INSERT INTO users SELECT n, 'user ' || n, 'user' || n || '@example.com', true
            FROM generate_series(1, 50) AS n; GRANT SELECT ON users TO PUBLIC;";
        server.psql(&database.name, schema).unwrap();
        let secrets = Secrets::start().unwrap();
        secrets.put("compare", database.secret(server.host(), server.port()));
        let queries = tempfile::tempdir().unwrap();
        let text = "-- name: users :many\n-- param: active bool\n\
                    SELECT id, name, email FROM users WHERE active = :active ORDER BY id;\n";
        std::fs::write(queries.path().join("users.sql"), text).unwrap();
        Self { server, secrets, queries }
    }

    fn start(&self, build: &Path) -> Function {
        Function::builder(build)
            .queries(self.queries.path())
            .secrets(&self.secrets)
            .env("DB_ENGINE", "postgres")
            .env("DB_SECRET_ID", "compare")
            .env("DB_TLS_CA", self.server.ca_pem_path())
            .start(&RuntimeApi::start().unwrap())
            .unwrap()
    }

    async fn cold(&self, build: &Path, figures: &mut Figures) {
        let function = self.start(build);
        call(&function).await;
        figures.cold.push(millis(function.started().elapsed()));
    }

    async fn warm(&self, build: &Path, figures: &mut Figures) {
        let function = self.start(build);
        for _ in 0..100 {
            call(&function).await;
        }
        let before = cpu_ms(&function);
        let mut samples = Vec::with_capacity(WARM_CALLS);
        for _ in 0..WARM_CALLS {
            samples.push(millis(call(&function).await));
        }
        samples.sort_by(f64::total_cmp);
        figures.warm.push(samples[samples.len() / 2]);
        figures.warm_p99.push(samples[samples.len() * 99 / 100]);
        figures.warm_cpu.push((cpu_ms(&function) - before) / WARM_CALLS as f64);
        figures.memory.push(function.peak_rss_bytes().unwrap() as f64 / (1024.0 * 1024.0));
    }
}

async fn call(function: &Function) -> Duration {
    let outcome = function.invoke(json!({"query": "users", "params": {"active": true}})).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body.as_array().map(Vec::len)), (200, Some(50)));
    outcome.elapsed
}

/// User and system time of the process so far.
fn cpu_ms(function: &Function) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", function.pid())).unwrap();
    // The second field is the program's name in parentheses; utime and stime are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * TICK_MS
}

fn size(build: &Path) -> u64 {
    std::fs::metadata(build).unwrap().len()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

fn row(name: &str, baseline: &[f64], candidate: &[f64]) {
    let (a, b) = (Quartiles::of(baseline), Quartiles::of(candidate));
    println!("| {name} | {a} | {b} | {:.2} |", b.median / a.median);
}

struct Quartiles {
    low: f64,
    median: f64,
    high: f64,
}

impl Quartiles {
    fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3}–{:.3})", self.median, self.low, self.high)
    }
}
