//! What a feature costs: calls that use it and the same without, one after the other, so that each pair has the same
//! machine and the same moment. A sample is of one environment: the medians of its calls.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use lambda_rds_testbed::{Answer, Begun, Function, Outcome, Piece, RuntimeApi};
use serde_json::{Value, json};

use super::{times, which};
use crate::measure::{Quartiles, cpu_ms, millis};
use crate::peers::{Engine, OURS, Peer, Prepared};
use crate::place::{ACTIVE_USERS, Place};
use crate::run::Section;

const ROUNDS: u32 = 5;
const CALLS: u32 = 300;
const BEFORE: usize = 50;
const ZIPPED_CALLS: u32 = 10;
/// What a reply has in it that has the bench's read.
const USERS: &str = r#"\"id\":50,\"#;
/// More than this of a page is on the next one.
const PAGE: usize = 990;
const PAGES: usize = 1_000;
/// As a page of a list on a screen.
const SMALL_PAGE: usize = 20;
const ZIPPED_ROWS: usize = 40_000;
const STREAMED_CALLS: usize = 3;
/// Of two kilobytes each: 202 MB as a stream, and as replies of 4 MB.
const STREAMED_ROWS: usize = 100_000;
const WHOLE_ROWS: usize = 2_000;
/// Even, so that each table is back at its name in the end.
const KEYS_TURNS: usize = 10;
const FEW: usize = 0;
const MANY: usize = 1;
const AT_ONCE: usize = 16;
const CALLS_AT_ONCE: usize = 4;
const TURNS_AT_ONCE: usize = 5;

/// What is measured, and what it is measured beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    Keys,
    Keyed,
    Gateway,
    Mcp,
    List,
    Caller,
    LibraryCaller,
    Pages,
    SmallPages,
    Gzip,
    FirstByte,
    Stream,
    Processors,
}

/// What was aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    /// No more milliseconds than without.
    More(f64),
    /// Not so many times as long.
    Times(f64),
    /// In all.
    Within(f64),
    /// Nothing: it is told.
    None,
}

impl Pair {
    pub(crate) const ALL: [Self; 13] = [
        Self::Keyed,
        Self::Keys,
        Self::Gateway,
        Self::Mcp,
        Self::List,
        Self::Caller,
        Self::LibraryCaller,
        Self::Pages,
        Self::SmallPages,
        Self::Gzip,
        Self::FirstByte,
        Self::Stream,
        Self::Processors,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keyed => "a write with an idempotency key, beside one without",
            Self::Keys => "the same with 1,000,000 keys in the table, beside 10,000",
            Self::Gateway => "a read as a tool by AgentCore Gateway, beside the direct call",
            Self::Mcp => "a read as a tool by MCP, beside the same over HTTP",
            Self::List => "MCP's `tools/list` of 200 tools, beside its `ping`",
            Self::Caller => "a read with two settings and a role, beside one without",
            Self::LibraryCaller => {
                "the library: a read by `as_caller` with two settings and a role, beside one without"
            }
            Self::Pages => "page 1,000 of a million rows, beside page 1",
            Self::SmallPages => "20 rows from the end of a million, beside the first 20",
            Self::Gzip => {
                "40,000 rows compressed and sent at 10 MB/s, beside sent as they are, at 256 MB of memory"
            }
            Self::FirstByte => "the first bytes of a stream of 202 MB, beside a reply of its first row",
            Self::Stream => "202 MB as a stream, beside replies of 4 MB",
            Self::Processors => {
                "each of 16 calls at once for 5,000 hashes compressed, on two processors beside one"
            }
        }
    }

    /// What the issue that brought it has asked for.
    pub(crate) fn aim(self) -> Aim {
        match self {
            Self::Keyed | Self::Processors => Aim::None,
            Self::Keys => Aim::Times(1.1),
            Self::Gateway | Self::Mcp => Aim::More(0.1),
            Self::List => Aim::Within(1.0),
            Self::Caller | Self::LibraryCaller => Aim::More(0.06),
            Self::Pages | Self::SmallPages => Aim::Times(1.2),
            Self::Gzip => Aim::Times(1.0),
            Self::FirstByte => Aim::More(5.0),
            // 100 MB in a second.
            Self::Stream => Aim::Within(2_020.0),
        }
    }
}

/// A call that can be made any number of times.
struct Side<'a> {
    function: &'a Function,
    next: Box<dyn FnMut() -> Event + 'a>,
    /// What each reply has in it.
    expected: &'static str,
}

struct Event {
    body: String,
    context: Option<String>,
}

pub(super) async fn measure(
    prepared: &Prepared,
    places: &[(Place, Vec<Peer>)],
    effort: f64,
    section: &mut Section,
) -> Result<()> {
    for (place, _) in places {
        prepare(place)?;
    }
    for _ in 0..times(ROUNDS, effort.sqrt()) {
        for (place, peers) in places {
            let calls = times(CALLS, effort.sqrt());
            for peer in peers.iter().filter(|peer| peer.is_ours()) {
                round(place, peer, calls, section)
                    .await
                    .with_context(|| format!("features of {}", peer.name))?;
                // Its library is of one build.
                if place.engine == Engine::Postgres && peer.name == OURS {
                    library(place, peer, &prepared.library(), calls, section).await?;
                }
            }
        }
    }
    Ok(())
}

async fn round(place: &Place, peer: &Peer, calls: usize, section: &mut Section) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("features.sql"), queries(place.engine))?;
    let environment = peer.environment(place, place.direct()).queries(folder.path());
    let function = environment
        .env("LAMBDA_RDS_MCP", "true")
        .env("DB_IDEMPOTENCY_TABLE", "idempotency")
        .start(&RuntimeApi::start()?)?;
    let direct = || Event { body: ACTIVE_USERS.to_owned(), context: None };

    let mut unkeyed = Side::new(&function, "rowsAffected", || note("write_note", false));
    let mut keyed = Side::new(&function, "rowsAffected", || note("keyed_note", true));
    pair(Pair::Keyed, peer, [&mut unkeyed, &mut keyed], calls, section).await?;
    keys(place, peer, &mut keyed, calls, section).await?;

    let mut read = Side::new(&function, USERS, direct);
    let mut gateway = Side::new(&function, r#""id":50,"#, gateway_event);
    pair(Pair::Gateway, peer, [&mut read, &mut gateway], calls, section).await?;
    let mut get = Side::new(&function, USERS, || http("GET", "/active_users", "active=true", None, None));
    let call = json!({"name": "active_users", "arguments": {"active": true}});
    let mut tool = Side::new(&function, r#"structuredContent"#, move || mcp("tools/call", &call));
    pair(Pair::Mcp, peer, [&mut get, &mut tool], calls, section).await?;
    let mut ping = Side::new(&function, "jsonrpc", || mcp("ping", &json!({})));
    let mut list = Side::new(&function, "tool_199", || mcp("tools/list", &json!({})));
    pair(Pair::List, peer, [&mut ping, &mut list], calls, section).await?;

    // MySQL has no such settings.
    if place.engine == Engine::Postgres {
        let mut told = Side::new(&function, USERS, || Event { body: told_users(), context: None });
        pair(Pair::Caller, peer, [&mut read, &mut told], calls, section).await?;
    }

    let token = thousandth(&function).await?;
    for (of, size, calls) in [(Pair::Pages, PAGE, calls.div_ceil(4)), (Pair::SmallPages, SMALL_PAGE, calls)] {
        let mut first = Side::new(&function, "next", || page(size, None));
        let mut last = Side::new(&function, "next", || page(size, Some(&token)));
        pair(of, peer, [&mut first, &mut last], calls, section).await?;
    }
    gzip(&function, peer, calls, section).await?;
    let streams = peer.environment(place, place.direct()).queries(folder.path());
    let streams = streams.env("LAMBDA_RDS_STREAM", "true").start(&RuntimeApi::start()?)?;
    stream(&function, &streams, peer, calls, section).await?;
    processors(place, peer, folder.path(), section).await
}

/// A handler on the library, of one environment, that reads for nobody in particular and for a caller.
async fn library(
    place: &Place,
    peer: &Peer,
    program: &Path,
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    let function = peer.environment_of(program, place, place.direct()).start(&RuntimeApi::start()?)?;
    let read =
        |body: String| Side::new(&function, USERS, move || Event { body: body.clone(), context: None });
    let (mut plain, mut told) = (read(ACTIVE_USERS.to_owned()), read(told_users()));
    pair(Pair::LibraryCaller, peer, [&mut plain, &mut told], calls, section).await
}

/// Calls both sides in turn: a sample of each median, and of what lies between them.
async fn pair(
    pair: Pair,
    peer: &Peer,
    mut sides: [&mut Side<'_>; 2],
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    let context = || pair.name().to_owned();
    for _ in 0..BEFORE {
        for side in &mut sides {
            side.call().await.with_context(context)?;
        }
    }
    let mut walls = [Vec::with_capacity(calls), Vec::with_capacity(calls)];
    for _ in 0..calls {
        for (side, walls) in sides.iter_mut().zip(&mut walls) {
            walls.push(side.call().await.with_context(context)?);
        }
    }
    let median = |walls: &[f64]| Some(Quartiles::of(walls)?.median);
    let (without, with) = (median(&walls[0]).context("no calls")?, median(&walls[1]).context("no calls")?);
    keep(pair, peer, without, with, section);
    Ok(())
}

/// Writes with a key while the table has few keys and while it has many, in turn. It is one environment whose table is
/// exchanged: two environments differ by more than is looked for here, also where both have the same table.
async fn keys(
    place: &Place,
    peer: &Peer,
    keyed: &mut Side<'_>,
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    let mut walls = [Vec::with_capacity(calls), Vec::with_capacity(calls)];
    for turn in 0..KEYS_TURNS {
        // Whichever is first in one turn is second in the next, so there is an exchange in the middle of each alone.
        let order = if turn % 2 == 0 { [FEW, MANY] } else { [MANY, FEW] };
        for (half, table) in order.into_iter().enumerate() {
            if half == 1 {
                exchange(place)?;
            }
            for _ in 0..BEFORE {
                keyed.call().await.context(Pair::Keys.name())?;
            }
            for _ in 0..calls.div_ceil(KEYS_TURNS) {
                walls[table].push(keyed.call().await.context(Pair::Keys.name())?);
            }
        }
    }
    let median = |walls: &[f64]| Some(Quartiles::of(walls)?.median);
    let (few, many) = (median(&walls[0]).context("no calls")?, median(&walls[1]).context("no calls")?);
    keep(Pair::Keys, peer, few, many, section);
    Ok(())
}

/// Gives the table whose turn it is not the name that the function knows. What it has prepared is prepared anew by the server.
fn exchange(place: &Place) -> Result<()> {
    let script = match place.engine {
        Engine::Postgres => {
            "BEGIN;\nALTER TABLE idempotency RENAME TO keys_between;\nALTER TABLE keys_other RENAME TO idempotency;\n\
             ALTER TABLE keys_between RENAME TO keys_other;\nCOMMIT;\n"
        }
        Engine::Mysql => {
            "RENAME TABLE idempotency TO keys_between, keys_other TO idempotency, keys_between TO keys_other;\n"
        }
    };
    place.server.run(&place.database.name, script)
}

fn keep(pair: Pair, peer: &Peer, without: f64, with: f64, section: &mut Section) {
    section.sample(peer, pair.name(), "without_ms", without);
    section.sample(peer, pair.name(), "with_ms", with);
    section.sample(peer, pair.name(), "more_ms", with - without);
    section.sample(peer, pair.name(), "ratio", with / without);
}

impl<'a> Side<'a> {
    fn new(function: &'a Function, expected: &'static str, next: impl FnMut() -> Event + 'a) -> Self {
        Self { function, next: Box::new(next), expected }
    }

    /// Milliseconds.
    async fn call(&mut self) -> Result<f64> {
        let Event { body, context } = (self.next)();
        let outcome = self.function.invoke_with(body, context).await?;
        ensure!(has(&outcome, self.expected), "answered was {:.300?}", outcome.answer);
        Ok(millis(outcome.elapsed))
    }
}

/// Whether it is an answer with this in it.
fn has(outcome: &Outcome, expected: &str) -> bool {
    let Answer::Response(body) = &outcome.answer else { return false };
    let finder = expected.as_bytes();
    body.windows(finder.len()).any(|part| part == finder)
}

/// What sending takes off by compressing, and what compressing adds: CPU time, of which 256 MB of memory have a share.
async fn gzip(function: &Function, peer: &Peer, calls: usize, section: &mut Section) -> Result<()> {
    /// Megabytes for which a function gets one whole vCPU, and bytes that go out in a millisecond.
    const SHARE: f64 = 256.0 / 1_769.0;
    const PER_MS: f64 = 10_000.0;
    let calls = calls.min(ZIPPED_CALLS as usize).max(3);
    let mut took = [Vec::new(), Vec::new()];
    let mut sizes = [0.0, 0.0];
    for turn in 0..=calls {
        for (at, coding) in [None, Some("gzip")].into_iter().enumerate() {
            let query = format!("count={ZIPPED_ROWS}");
            let Event { body, .. } = http("GET", "/some_rows", &query, coding, None);
            let cpu = cpu_ms(function)?;
            let outcome = function.invoke_raw(body).await?;
            let cpu = cpu_ms(function)? - cpu;
            let reply = outcome.json()?;
            let size = sent(&reply)?;
            ensure!(
                reply["headers"]["content-encoding"].as_str() == coding,
                "asked for was {coding:?}: {:.300}",
                reply
            );
            // The first of each is not what the others are.
            if turn > 0 {
                took[at].push(cpu / SHARE + size / PER_MS);
            }
            sizes[at] = size;
        }
    }
    let median = |took: &[f64]| Some(Quartiles::of(took)?.median);
    let (plain, zipped) = (median(&took[0]).context("no calls")?, median(&took[1]).context("no calls")?);
    keep(Pair::Gzip, peer, plain, zipped, section);
    section.sample(peer, Pair::Gzip.name(), "plain_bytes", sizes[0]);
    section.sample(peer, Pair::Gzip.name(), "zipped_bytes", sizes[1]);
    Ok(())
}

/// When a stream's first bytes come, and its last.
async fn stream(
    whole: &Function,
    streams: &Function,
    peer: &Peer,
    calls: usize,
    section: &mut Section,
) -> Result<()> {
    for turn in 0..=calls.min(STREAMED_CALLS) {
        let row = whole.invoke(wide(1)).await?;
        ensure!(has(&row, "xxxx"), "answered was {:.300?}", row.answer);
        let mut replies = 0.0;
        for _ in 0..STREAMED_ROWS / WHOLE_ROWS {
            let reply = whole.invoke(wide(WHOLE_ROWS)).await?;
            ensure!(has(&reply, "xxxx"), "answered was {:.300?}", reply.answer);
            replies += millis(reply.elapsed);
        }
        let (first, last) = streamed(streams).await?;
        // The first of each is not what the others are.
        if turn > 0 {
            keep(Pair::FirstByte, peer, millis(row.elapsed), first, section);
            keep(Pair::Stream, peer, replies, last, section);
        }
    }
    Ok(())
}

/// Many calls at once, as under Managed Instances: of an environment held to one processor, where one thread serves all,
/// and of one that has two. What compresses badly takes the function longest, and the server, which needs them as well,
/// not at all.
async fn processors(place: &Place, peer: &Peer, queries: &Path, section: &mut Section) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Ok(());
    }
    // Before it starts, since it looks once how many there are.
    let one = peer.environment_of(&which("taskset")?, place, place.direct());
    let one = one.arg("--cpu-list").arg(first_processor()?).arg(&peer.program);
    let two = peer.environment(place, place.direct());
    let mut environments = Vec::new();
    for environment in [one, two] {
        let api = RuntimeApi::start()?;
        let environment = environment.queries(queries).env("AWS_LAMBDA_MAX_CONCURRENCY", AT_ONCE.to_string());
        environments.push((environment.start(&api)?, api));
    }
    let event = http("GET", "/hashes", "", Some("gzip"), None).body;
    let mut took = [Vec::new(), Vec::new()];
    let mut busy = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS_AT_ONCE {
        for (at, (function, api)) in environments.iter().enumerate() {
            let cpu = cpu_ms(function)?;
            let started = Instant::now();
            let caller = async || {
                for _ in 0..CALLS_AT_ONCE {
                    let outcome = api.invoke(event.clone()).await?;
                    ensure!(
                        has(&outcome, r#""isBase64Encoded":true"#),
                        "answered was {:.300?}",
                        outcome.answer
                    );
                }
                Ok(())
            };
            join_all((0..AT_ONCE).map(|_| caller())).await.into_iter().collect::<Result<()>>()?;
            let wall = millis(started.elapsed());
            // The first of each opens the sessions.
            if turn > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a handful")]
                took[at].push(wall / (AT_ONCE * CALLS_AT_ONCE) as f64);
                busy[at].push((cpu_ms(function)? - cpu) / wall);
            }
        }
    }
    let median = |samples: &[f64]| Some(Quartiles::of(samples)?.median);
    let (one, two) = (median(&took[0]).context("no calls")?, median(&took[1]).context("no calls")?);
    keep(Pair::Processors, peer, one, two, section);
    for (measure, busy) in ["without_busy", "with_busy"].into_iter().zip(&busy) {
        section.sample(peer, Pair::Processors.name(), measure, median(busy).context("no calls")?);
    }
    Ok(())
}

/// The first processor that this process may run on.
fn first_processor() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first.context("the kernel tells of no processor")?.to_owned())
}

/// The milliseconds until the first bytes and until the end.
async fn streamed(function: &Function) -> Result<(f64, f64)> {
    let started = Instant::now();
    let Begun::Streaming(mut streaming) = function.begin(wide(STREAMED_ROWS)).await? else {
        bail!("the function does not stream");
    };
    let (mut first, mut bytes) = (None, 0);
    loop {
        match streaming.next(Duration::from_secs(60)).await? {
            Some(Piece::Bytes(part)) => {
                first.get_or_insert(started.elapsed());
                bytes += part.len();
            }
            Some(Piece::End) => break,
            other => bail!("behind {bytes} bytes came {other:?}"),
        }
    }
    ensure!(bytes > 2_000 * STREAMED_ROWS, "the stream has {bytes} bytes");
    Ok((millis(first.context("an empty stream")?), millis(started.elapsed())))
}

/// The call for rows of two kilobytes.
fn wide(count: usize) -> Value {
    json!({"query": "wide", "params": {"count": count}, "reply": "raw"})
}

/// How many bytes of body go out to the client: three of every four in base64.
#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn sent(reply: &Value) -> Result<f64> {
    let body = reply["body"].as_str().context("a reply without a body")?;
    Ok(if reply["isBase64Encoded"] == true { body.len() as f64 * 0.75 } else { body.len() as f64 })
}

/// Walks to the token of page 1,000, as a caller does.
async fn thousandth(function: &Function) -> Result<String> {
    let mut token: Option<String> = None;
    for _ in 1..PAGES {
        let outcome = function.invoke_raw(page(PAGE, token.as_deref()).body).await?;
        let (status, body) = outcome.reply()?;
        ensure!(status == 200, "a page was answered with {status} {body:.300}");
        token = body["next"].as_str().map(str::to_owned);
    }
    token.context("there is no page 1,000")
}

/// The bench's read with what the server is told of its caller.
fn told_users() -> String {
    ACTIVE_USERS.replace("active_users", "told_users")
}

fn page(size: usize, token: Option<&str>) -> Event {
    let body = json!({"query": "page_of", "params": {"page_size": size, "page": token}});
    Event { body: body.to_string(), context: None }
}

fn note(query: &str, keyed: bool) -> Event {
    let id = fastrand::u32(0..1_000_000);
    let mut event = json!({"query": query, "params": {"id": id, "text": "a note"}});
    if keyed {
        event["idempotencyKey"] = format!("{:032x}", fastrand::u128(..)).into();
    }
    Event { body: event.to_string(), context: None }
}

/// The arguments, and the tool in the client context.
fn gateway_event() -> Event {
    let context = json!({"custom": {
        "bedrockAgentCoreMessageVersion": "1.0",
        "bedrockAgentCoreAwsRequestId": "r",
        "bedrockAgentCoreMcpMessageId": "1",
        "bedrockAgentCoreGatewayId": "g",
        "bedrockAgentCoreTargetId": "t",
        "bedrockAgentCoreToolName": "bench___active_users",
    }});
    Event { body: r#"{"active":true}"#.to_owned(), context: Some(context.to_string()) }
}

/// A message as a client of the version that keeps no session sends it.
fn mcp(method: &str, params: &Value) -> Event {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    http("POST", "/mcp", "", None, Some(body.to_string()))
}

/// The event of a function URL.
fn http(method: &str, path: &str, query: &str, coding: Option<&str>, body: Option<String>) -> Event {
    let mut headers = json!({
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "host": "abcdefghij.lambda-url.eu-central-1.on.aws",
        "mcp-protocol-version": "2025-11-25",
        "user-agent": "bench",
    });
    if let Some(coding) = coding {
        headers["accept-encoding"] = coding.into();
    }
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.lambda-url.eu-central-1.on.aws",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "bench",
            },
            "requestId": "r",
            "routeKey": "$default",
            "stage": "$default",
            "time": "29/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_796_000_000_000_u64,
        },
        "isBase64Encoded": false,
    });
    if let Some(body) = body {
        event["body"] = body.into();
    }
    Event { body: event.to_string(), context: None }
}

/// The bench's queries as tools and over HTTP, and what the features need beside them.
fn queries(engine: Engine) -> String {
    let read =
        "-- param: active bool\nSELECT id, name, email FROM users WHERE active = :active ORDER BY id;\n\n";
    let upsert = crate::place::upsert(engine);
    let write = format!(
        "-- param: id int\n-- param: text text\nINSERT INTO notes (id, text) VALUES (:id, :text) {upsert};\n\n"
    );
    let mut parts = vec![
        format!(
            "-- name: active_users :many\n-- http: GET\n-- tool: Users\n-- Users, active or not.\n{read}"
        ),
        format!("-- name: write_note :exec\n{write}"),
        format!("-- name: keyed_note :exec\n-- idempotency_key: header.Idempotency-Key\n{write}"),
        "-- name: some_rows :many\n-- http: GET\n-- param: count int\n\
         SELECT id, name, email FROM many ORDER BY id LIMIT :count;\n\n"
            .to_owned(),
        "-- name: wide :many\n-- timeout: 60s\n-- param: count int\n\
         SELECT id, repeat('x', 2000) AS v FROM million WHERE id <= :count ORDER BY id;\n\n"
            .to_owned(),
        "-- name: hashes :many\n-- http: GET\nSELECT id, hash FROM hashes ORDER BY id;\n\n".to_owned(),
        "-- name: page_of :many\n-- page: name, id\nSELECT id, name, email FROM million;\n\n".to_owned(),
    ];
    if engine == Engine::Postgres {
        parts.push(format!(
            "-- name: told_users :many\n-- set: app.request = context.requestId\n\
             -- set: app.active = param.active\n-- role: bench_member\n{read}"
        ));
    }
    // With the first, 200.
    parts.extend((1..200).map(|number| {
        format!(
            "-- name: tool_{number} :many\n-- tool: Tool {number}\n-- Users by their id, one of many tools.\n\
             -- param: id int in 1.. -- the user's number\n-- param: name text? = null in ..=100\n\
             SELECT id, name, email FROM users WHERE id = :id OR name = :name;\n\n"
        )
    }));
    parts.concat()
}

/// Makes what only this section needs.
fn prepare(place: &Place) -> Result<()> {
    let script = match place.engine {
        Engine::Postgres => POSTGRES.replace("{user}", &place.database.user),
        Engine::Mysql => MYSQL.to_owned(),
    };
    place.server.run(&place.database.name, &script)
}

const POSTGRES: &str = "
CREATE ROLE bench_member;
GRANT bench_member TO {user};
CREATE TABLE idempotency (id bytea PRIMARY KEY, request bytea NOT NULL, reply bytea, created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL);
CREATE INDEX ON idempotency (expires_at);
CREATE TABLE keys_other (LIKE idempotency INCLUDING ALL);
INSERT INTO idempotency SELECT sha256(int8send(n)), sha256(int8send(n)), '{\"rowsAffected\":1}', now(),
    now() + interval '1 day' + n % 1000 * interval '90 s' FROM generate_series(1, 10000) AS n;
INSERT INTO keys_other SELECT sha256(int8send(n)), sha256(int8send(n)), '{\"rowsAffected\":1}', now(),
    now() + interval '1 day' + n % 1000 * interval '90 s' FROM generate_series(1, 1000000) AS n;
GRANT ALL ON idempotency, keys_other TO PUBLIC;
CREATE TABLE million (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
INSERT INTO million SELECT n, 'user ' || n % 50000, 'user' || n || '@example.com' FROM generate_series(1, 1000000) AS n;
CREATE INDEX ON million (name, id);
CREATE TABLE hashes (id int PRIMARY KEY, hash text NOT NULL);
INSERT INTO hashes SELECT id, md5(name || id) FROM million WHERE id <= 5000;
GRANT SELECT ON million, hashes TO PUBLIC;
VACUUM ANALYZE;
";

const MYSQL: &str = "
CREATE TABLE million (id int PRIMARY KEY, name varchar(100) NOT NULL, email varchar(100) NOT NULL, INDEX (name, id));
INSERT INTO million SELECT a.id + 100000 * (b.id - 1), concat('user ', a.id % 50000),
    concat('user', a.id + 100000 * (b.id - 1), '@example.com') FROM users b, many a WHERE b.id <= 10;
CREATE TABLE hashes (id int PRIMARY KEY, hash varchar(32) NOT NULL);
INSERT INTO hashes SELECT id, left(sha2(concat(name, id), 256), 32) FROM million WHERE id <= 5000;
CREATE TABLE idempotency (id binary(32) NOT NULL PRIMARY KEY, request binary(32) NOT NULL, reply mediumblob,
    created_at datetime(6) NOT NULL, expires_at datetime(6) NOT NULL, INDEX (expires_at)) ENGINE = InnoDB;
CREATE TABLE keys_other LIKE idempotency;
INSERT INTO idempotency SELECT unhex(sha2(id, 256)) AS hash, unhex(sha2(id, 256)), '{\"rowsAffected\":1}',
    utc_timestamp(6), utc_timestamp(6) + INTERVAL 86400 + 90 * (id % 1000) SECOND FROM million WHERE id <= 10000
    ORDER BY hash;
INSERT INTO keys_other SELECT unhex(sha2(id, 256)) AS hash, unhex(sha2(id, 256)), '{\"rowsAffected\":1}',
    utc_timestamp(6), utc_timestamp(6) + INTERVAL 86400 + 90 * (id % 1000) SECOND FROM million ORDER BY hash;
ANALYZE TABLE million, hashes, idempotency, keys_other;
";
