//! Replies that are sent while they are read: what each source gets, that nothing which has failed looks whole, and what
//! becomes of the server's statement when nobody reads.

use std::io::Read as _;
use std::time::Duration;

use lambda_rds_testbed::{After, Answer, Begun, Cut, Direction, Fault, Outcome, Piece, Streamed, Streaming};
use serde_json::{Value, json};

use crate::events::{changed, request, sample};
use crate::told::metric;
use crate::world::{Engine, Setup, World, until};
use crate::{on_clusters, on_every_engine, on_every_server};

on_every_engine!(
    rows_go_out_while_they_are_read,
    every_form_and_coding,
    everything_else_is_simply_sent,
    what_takes_no_stream_is_answered_as_ever,
    what_fails_before_its_first_byte_is_an_error_of_its_source,
    what_fails_behind_it_never_looks_whole,
    what_is_too_much_is_a_failure_in_the_midst,
    a_write_is_whole_when_it_is_committed,
    a_list_goes_out_while_it_is_read,
    a_list_that_fails_never_looks_whole,
);
on_clusters!(rows_go_out_while_they_are_read, what_fails_behind_it_never_looks_whole);

mod servers {
    use super::*;

    on_every_server!(
        who_stops_reading_holds_a_statement_no_longer_than_its_limit,
        who_leaves_takes_the_statement_along,
        a_killed_session_and_a_cut_wire,
        it_runs_again_before_the_first_byte_alone,
        two_hundred_megabytes_in_the_memory_of_a_small_reply,
    );
}

/// Machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(100));
INSERT INTO items VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE digits (n INT);
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE made (id INT PRIMARY KEY, text VARCHAR(100));
";

fn queries(engine: Engine) -> String {
    let number = "a.n + 10*b.n + 100*c.n + 1000*d.n";
    let (key, text, fails) = match engine.plain() {
        Engine::Postgres => ("CAST(:n AS int)", "REPEAT('x', 400)", "1 / (a.n - 7)"),
        Engine::Sqlite => (":n", "printf('%.400c', 'x')", "abs(-9223372036854775807 - a.n / 7)"),
        _ => (":n", "REPEAT('x', 400)", "18446744073709551615 + a.n"),
    };
    let returning = match engine.plain() {
        // There is none.
        Engine::Mysql => String::new(),
        _ => format!(
            "-- name: make :many\n-- write\n-- http: POST\n-- param: n int\n-- timeout: 25s\n\
             INSERT INTO made (id, text) SELECT {number}, 'made' FROM digits a, digits b, digits c, digits d \
             WHERE {number} < {key} RETURNING id, text, {text} AS more;\n"
        ),
    };
    format!(
        "-- name: items :many
-- http: GET, POST
SELECT id, name FROM items ORDER BY id;
-- name: item :one
-- http: GET
SELECT id, name FROM items WHERE id = 1;
-- name: nobody :one
-- http: GET
SELECT id, name FROM items WHERE id = -1;
-- name: add :exec
-- param: id int
INSERT INTO made (id, text) VALUES (:id, 'added');
-- name: touch :exec
-- http: POST
UPDATE items SET name = name WHERE id = 1;
-- name: paged :many
-- http: GET
-- page: id
-- page_size: 2 in 1..=10
SELECT id, name FROM items;
-- name: wrong :many
-- http: GET
SELECT id FROM no_such_table;
-- name: many :many
-- http: GET, POST
-- param: n int
SELECT {number} AS id, {text} AS more FROM digits a, digits b, digits c, digits d, digits e WHERE {number} < {key};
-- name: breaks :many
-- http: GET
SELECT {number} AS id, {text} AS more, CASE WHEN {number} = 7777 THEN {fails} ELSE 1 END AS one
FROM digits a, digits b, digits c, digits d;
-- name: find :many
-- tool: Find items
-- All items there are, lowest id first.
SELECT id, name FROM items ORDER BY id;
-- name: capped :many
-- http: GET
-- max_rows: 5000
SELECT {number} AS id, {text} AS more FROM digits a, digits b, digits c, digits d;
-- name: endless :many
-- http: GET
-- timeout: 3s
SELECT {number} AS endless, {text} AS more
FROM digits a, digits b, digits c, digits d, digits e, digits f, digits g;
-- name: patient :many
-- http: GET
-- timeout: 50s
SELECT {number} AS patient, {text} AS more
FROM digits a, digits b, digits c, digits d, digits e, digits f, digits g;
-- name: wide :many
-- timeout: 50s
-- param: n int
SELECT {wide} AS more FROM digits a, digits b, digits c, digits d, digits e WHERE {number} + 10000*e.n < {key};
{returning}",
        wide = text.replace("400", "10000"),
    )
}

fn setup(engine: Engine) -> Setup {
    Setup::new(engine)
        .schema(SCHEMA)
        .queries(queries(engine))
        .timeout(Duration::from_secs(60))
        .env("LAMBDA_RDS_STREAM", "true")
        .env("LAMBDA_RDS_HTTP_TIMEOUT", "55s")
        .env("DB_QUERY_TIMEOUT", "50s")
}

async fn world(engine: Engine) -> World {
    setup(engine).start().await
}

/// A request to a function URL.
fn url(method: &str, target: &str, headers: Value) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    changed(
        "function-url",
        &[
            ("/rawPath", json!(path)),
            ("/rawQueryString", json!(query)),
            ("/headers", headers),
            ("/requestContext/http/method", json!(method)),
            ("/requestContext/http/path", json!(path)),
        ],
    )
}

fn post(target: &str, body: Value) -> Value {
    let mut event = url("POST", target, json!({"content-type": "application/json"}));
    event["body"] = json!(body.to_string());
    event
}

fn rest(target: &str) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let n: Value = query.strip_prefix("n=").map_or(Value::Null, |n| json!({"n": n}));
    let ns: Value = query.strip_prefix("n=").map_or(Value::Null, |n| json!({"n": [n]}));
    changed(
        "apigw-v1",
        &[
            ("/path", json!(path)),
            ("/httpMethod", json!("GET")),
            ("/headers", json!({})),
            ("/multiValueHeaders", json!({})),
            ("/queryStringParameters", n),
            ("/multiValueQueryStringParameters", ns),
        ],
    )
}

async fn begin(world: &World, event: Value) -> Streaming {
    match world.function.begin(event.clone()).await.unwrap() {
        Begun::Streaming(streaming) => streaming,
        Begun::Whole(outcome) => panic!("{event} is not answered by a stream: {:?}", outcome.answer),
    }
}

async fn ever(world: &World, event: Value) -> Outcome {
    match world.function.begin(event.clone()).await.unwrap() {
        Begun::Whole(outcome) => outcome,
        Begun::Streaming(streaming) => panic!("{event} is answered by a stream: {streaming:?}"),
    }
}

/// All of a stream.
async fn streamed(world: &World, event: Value) -> Streamed {
    begin(world, event).await.collect(PATIENCE).await.unwrap()
}

/// All of a stream that ends well: what stands before the body, and the body.
async fn response(world: &World, event: Value) -> (Value, Vec<u8>) {
    let streamed = streamed(world, event.clone()).await;
    assert!(streamed.whole && streamed.trailers.is_none(), "{event}: {streamed:?}");
    let (head, body) = streamed.response().unwrap();
    (head, body.to_vec())
}

async fn first_piece(streaming: &mut Streaming) -> Vec<u8> {
    match streaming.next(PATIENCE).await.unwrap() {
        Some(Piece::Bytes(bytes)) => bytes.into(),
        other => panic!("{other:?}"),
    }
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

async fn rows_go_out_while_they_are_read(engine: Engine) {
    let world = world(engine).await;
    // More than a reply takes that is no stream: every number comes ten times.
    let check = |body: &[u8], rows: usize| {
        assert!(body.len() > 8_000_000, "{}", body.len());
        let all: Vec<Value> = serde_json::from_slice(body).unwrap();
        assert_eq!(all.len(), rows);
        assert_eq!(all.iter().map(|row| row["id"].as_u64().unwrap()).sum::<u64>() % 10, 0);
    };
    for event in [url("GET", "/many?n=2000", json!({})), rest("/many?n=2000")] {
        let streamed = streamed(&world, event).await;
        assert!(streamed.whole && streamed.trailers.is_none());
        assert!(streamed.pieces > 10, "{}", streamed.pieces);
        let (head, body) = streamed.response().unwrap();
        assert_eq!((&head["statusCode"], &head["cookies"]), (&json!(200), &json!([])));
        assert_eq!(head["headers"]["content-type"], "application/json");
        assert_eq!(head["headers"]["vary"], "accept, accept-encoding");
        check(body, 20_000);
        let log = world.last_log(&streamed.request_id).await;
        assert_eq!((&log["outcome"], &log["rows"]), (&json!("ok"), &json!(20_000)));
        assert_eq!(log["bytes"], json!(body.len()));
    }
    for event in [
        json!({"query": "many", "params": {"n": 2000}}),
        json!({"query": "many", "params": {"n": 2000}, "reply": "raw"}),
    ] {
        let streamed = streamed(&world, event).await;
        assert!(streamed.whole && streamed.trailers.is_none());
        assert_eq!(streamed.content_type.as_deref(), Some("application/json"));
        check(&streamed.bytes, 20_000);
    }
    // One session has done it all, and a small result is as whole.
    let small = streamed(&world, json!({"query": "items"})).await;
    assert_eq!(parsed(&small.bytes).as_array().unwrap().len(), 3);
    if engine != Engine::Sqlite {
        assert_eq!(world.sessions(), 1);
    }
}

/// What a program makes of these bytes, and whether it takes them for whole.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> (Vec<u8>, bool) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may have had enough before the end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writer.join().unwrap();
    (out, child.wait().unwrap().success())
}

/// As much as can be read of it, and whether that is all.
fn expanded(coding: &str, bytes: &[u8]) -> (Vec<u8>, bool) {
    if coding == "gzip" {
        return through("gzip", &["-dc"], bytes);
    }
    let mut out = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::new(bytes).unwrap();
    let mut piece = [0; 4096];
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return (out, true),
            Ok(read) => out.extend_from_slice(&piece[..read]),
            Err(_) => return (out, false),
        }
    }
}

const COUNT_CSV: &str = "
import csv, io, sys
text = io.TextIOWrapper(sys.stdin.buffer, 'utf-8', newline='')
print(sum(1 for _ in csv.DictReader(text, strict=True)))";

async fn every_form_and_coding(engine: Engine) {
    let world = world(engine).await;
    for coding in [None, Some("gzip"), Some("zstd")] {
        for form in ["application/json", "application/x-ndjson", "text/csv"] {
            for rows in [0, 1000] {
                let mut headers = json!({"accept": form});
                if let Some(coding) = coding {
                    headers["accept-encoding"] = coding.into();
                }
                let target = format!("/many?n={}", rows / 10);
                let (head, body) = response(&world, url("GET", &target, headers.clone())).await;
                let used = coding.filter(|_| rows > 0);
                let kind = head["headers"]["content-type"].as_str().unwrap();
                assert!(kind.starts_with(form), "{head}");
                assert_eq!(
                    head["headers"].get("content-encoding").and_then(Value::as_str),
                    used,
                    "{headers}"
                );
                assert_eq!(head.get("isBase64Encoded"), None);
                let (body, whole) = used.map_or((body.clone(), true), |coding| expanded(coding, &body));
                assert!(whole, "{headers}");
                let found = match form {
                    "application/json" => parsed(&body).as_array().unwrap().len(),
                    "text/csv" => {
                        let (count, whole) = through("python3", &["-c", COUNT_CSV], &body);
                        assert!(whole);
                        String::from_utf8(count).unwrap().trim().parse().unwrap()
                    }
                    _ => body.split_inclusive(|byte| *byte == b'\n').map(parsed).count(),
                };
                assert_eq!(found, rows, "{headers}");
                // A HEAD has the same head.
                let (same, nothing) = response(&world, url("HEAD", &target, headers)).await;
                assert_eq!((same, nothing.len()), (head, 0));
            }
        }
    }
    // A direct event names its form, and the body is that.
    let lines = streamed(&world, json!({"query": "items", "format": "ndjson"})).await;
    assert_eq!(lines.content_type.as_deref(), Some("application/x-ndjson"));
    assert_eq!(
        lines.bytes,
        b"{\"id\":1,\"name\":\"one\"}\n{\"id\":2,\"name\":\"two\"}\n{\"id\":3,\"name\":\"three\"}\n"
    );
    let raw = streamed(&world, json!({"query": "items", "format": "csv", "reply": "raw"})).await;
    assert_eq!(raw.bytes, b"id,name\r\n1,one\r\n2,two\r\n3,three\r\n");
}

async fn everything_else_is_simply_sent(engine: Engine) {
    let world = setup(engine).env("LAMBDA_RDS_CORS_ORIGIN", "*").env("LAMBDA_RDS_MCP", "true").start().await;
    for (event, status, body) in [
        (url("GET", "/item", json!({})), 200, json!({"id": 1, "name": "one"})),
        (rest("/item"), 200, json!({"id": 1, "name": "one"})),
        (post("/touch", json!({})), 200, json!({"rowsAffected": 1})),
        (url("GET", "/health", json!({})), 200, json!({"status": "ok"})),
    ] {
        let (head, found) = response(&world, event).await;
        assert_eq!((&head["statusCode"], parsed(&found)), (&json!(status), body));
        assert_eq!(head["headers"]["access-control-allow-origin"], "*");
    }
    let (head, body) = response(&world, url("OPTIONS", "/item", json!({}))).await;
    assert_eq!((&head["statusCode"], body.len()), (&json!(204), 0));
    // What the next page is asked for by stands before its rows.
    let (head, body) = response(&world, url("GET", "/paged", json!({}))).await;
    assert!(head["headers"]["link"].as_str().unwrap().contains("rel=\"next\""), "{head}");
    assert_eq!(parsed(&body)["rows"].as_array().unwrap().len(), 2);
    // An agent at a function URL is answered as others are there.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let (head, body) = response(&world, post("/mcp", message)).await;
    assert_eq!(
        (&head["statusCode"], parsed(&body)),
        (&json!(200), json!({"jsonrpc": "2.0", "id": 1, "result": {}}))
    );
    let params = json!({"name": "find", "arguments": {}});
    let message = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let (_, body) = response(&world, post("/mcp", message)).await;
    let result = &parsed(&body)["result"];
    assert_eq!(result["structuredContent"]["rows"].as_array().unwrap().len(), 3, "{result}");
    // Who says how much they take is told before the first row that it is too much.
    let told = streamed(&world, json!({"query": "many", "params": {"n": 100}, "limit": "states"})).await;
    assert!(told.whole && told.trailers.is_none());
    assert_eq!(parsed(&told.bytes)["error"]["code"], "result_too_large");
    for (event, body) in [
        (json!({"query": "item"}), json!({"id": 1, "name": "one"})),
        (json!({"query": "item", "reply": "raw"}), json!({"id": 1, "name": "one"})),
        (json!({"query": "touch"}), json!({"rowsAffected": 1})),
        (
            json!({"transaction": [{"query": "item"}, {"query": "touch"}]}),
            json!([{"id": 1, "name": "one"}, {"rowsAffected": 1}]),
        ),
    ] {
        let found = streamed(&world, event).await;
        assert!(found.whole && found.trailers.is_none());
        assert_eq!(parsed(&found.bytes), body);
    }
}

async fn what_takes_no_stream_is_answered_as_ever(engine: Engine) {
    let world = world(engine).await;
    let mut version_1 = rest("/items");
    version_1["version"] = json!("1.0");
    let alb = changed(
        "alb",
        &[("/path", json!("/items")), ("/httpMethod", json!("GET")), ("/queryStringParameters", json!({}))],
    );
    for event in [request("GET", "/items", json!({}), None), version_1, alb] {
        let (status, body) = ever(&world, event).await.reply().unwrap();
        assert_eq!((status, body.as_array().unwrap().len()), (200, 3));
    }
    // A reply to those takes what it takes.
    assert_eq!(ever(&world, request("GET", "/many?n=2000", json!({}), None)).await.reply().unwrap().0, 413);
    let mut queue = sample("sqs");
    for record in queue["Records"].as_array_mut().unwrap() {
        record["body"] = json!(json!({"query": "items"}).to_string());
    }
    assert_eq!(ever(&world, queue).await.json().unwrap(), json!({"batchItemFailures": []}));
    let rule = changed("eventbridge-custom", &[("/detail", json!({"query": "items"}))]);
    assert_eq!(ever(&world, rule).await.json().unwrap().as_array().unwrap().len(), 3);

    // And where nothing is said, nothing is a stream.
    let plain = world.another_with(&[("LAMBDA_RDS_STREAM", "false")]).await;
    for event in [url("GET", "/items", json!({})), rest("/items"), json!({"query": "items"})] {
        let Begun::Whole(outcome) = plain.begin(event).await.unwrap() else { panic!("a stream") };
        assert_eq!(outcome.reply().unwrap().0, 200);
    }
}

async fn what_fails_before_its_first_byte_is_an_error_of_its_source(engine: Engine) {
    let world = world(engine).await;
    for (event, status, code) in [
        (url("GET", "/wrong", json!({})), 500, "query_failed"),
        (rest("/wrong"), 500, "query_failed"),
        (url("GET", "/nobody", json!({})), 404, "not_found"),
        (
            url("GET", "/many?n=x", json!({"accept": "text/csv", "accept-encoding": "gzip"})),
            400,
            "bad_parameter",
        ),
        (url("GET", "/no_such_query", json!({})), 404, "unknown_query"),
        (url("GET", "/items", json!({"accept": "text/html"})), 406, "not_acceptable"),
    ] {
        let (head, body) = response(&world, event).await;
        assert_eq!(head["statusCode"], status, "{head}");
        assert_eq!(head["headers"]["content-type"], "application/json");
        assert_eq!(parsed(&body)["error"]["code"], code);
    }
    for reply in ["raw", "response"] {
        let event = json!({"query": "wrong", "reply": reply});
        let event = if reply == "raw" { event } else { json!({"query": "wrong"}) };
        let told = streamed(&world, event).await;
        assert!(told.whole && told.trailers.is_none());
        assert_eq!(parsed(&told.bytes)["error"]["code"], "query_failed");
    }
    let raised = ever(&world, json!({"query": "wrong", "onError": "raise"})).await;
    let Answer::Error { error_type, .. } = raised.answer else { panic!("{raised:?}") };
    assert_eq!(error_type.as_deref(), Some("query_failed"));
}

/// That a stream has failed in the midst, with this code; gives what stands before the body, if anything does, and the
/// body.
#[track_caller]
fn broken(streamed: &Streamed, code: &str) -> (Value, Vec<u8>) {
    let (error_type, error) =
        streamed.failure().unwrap().unwrap_or_else(|| panic!("no trailers: {streamed:?}"));
    assert_eq!((error_type.as_str(), &error["errorType"]), (code, &json!(code)));
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains(&streamed.request_id), "{message}");
    match streamed.response() {
        Ok((head, body)) => (head, body.to_vec()),
        Err(_) => (Value::Null, streamed.bytes.clone()),
    }
}

async fn what_fails_behind_it_never_looks_whole(engine: Engine) {
    let world = world(engine).await;
    for coding in [None, Some("gzip"), Some("zstd")] {
        for form in ["application/json", "application/x-ndjson", "text/csv"] {
            let mut headers = json!({"accept": form});
            if let Some(coding) = coding {
                headers["accept-encoding"] = coding.into();
            }
            let found = streamed(&world, url("GET", "/breaks", headers.clone())).await;
            let (head, mut body) = broken(&found, "query_failed");
            assert_eq!(head["statusCode"], 200);
            if let Some(coding) = coding {
                assert_eq!(head["headers"]["content-encoding"], coding);
                let (text, whole) = expanded(coding, &body);
                assert!(!whole, "{headers}");
                if coding == "gzip" {
                    assert!(gzip_says(&body).contains("unexpected end of file"), "{}", gzip_says(&body));
                }
                body = text;
            }
            never_whole(form, &body, "query_failed");
            if form == "text/csv" && engine == Engine::Postgres {
                refused_by_copy(&world, &body);
            }
            let log = world.last_log(&found.request_id).await;
            assert_eq!((&log["outcome"], &log["retries"]), (&json!("query_failed"), &json!(0)), "{log}");
        }
    }
    for event in [json!({"query": "breaks"}), json!({"query": "breaks", "onError": "raise", "reply": "raw"})]
    {
        let (_, body) = broken(&streamed(&world, event).await, "query_failed");
        never_whole("application/json", &body, "query_failed");
    }
    // The session goes on.
    response(&world, url("GET", "/items", json!({}))).await;
}

/// What gzip says of a file that it does not take for whole.
fn gzip_says(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let gzip = std::process::Command::new("gzip").arg("-tv").stdin(file.reopen().unwrap()).output().unwrap();
    String::from_utf8_lossy(&gzip.stderr).into_owned()
}

/// That PostgreSQL takes nothing of it: not even the rows that are whole.
fn refused_by_copy(world: &World, csv: &[u8]) {
    let text = std::str::from_utf8(csv).unwrap();
    world.sql("CREATE TABLE IF NOT EXISTS copied (id int, more text, one int)");
    let copy = |body: &str| {
        let script = format!("COPY copied FROM STDIN (FORMAT csv, HEADER);\n{body}\\.\r\n");
        world.server().psql(&world.database().name, &script)
    };
    let error = format!("{:#}", copy(&format!("{text}\n")).unwrap_err());
    assert!(error.contains("unterminated CSV quoted field"), "{error}");
    assert_eq!(world.count("copied"), 0);
    // But for its last line it is a file.
    let rows = &text[..=text.rfind('\n').unwrap()];
    copy(rows).unwrap();
    assert_eq!(world.count("copied"), rows.lines().count() as u64 - 1);
    world.sql("DROP TABLE copied");
}

/// That no reader of this form takes it for whole, and that it has rows.
#[track_caller]
fn never_whole(form: &str, body: &[u8], code: &str) {
    let text = std::str::from_utf8(body).unwrap();
    match form {
        "application/json" => {
            serde_json::from_str::<Value>(text).unwrap_err();
            // But it is all rows, and wants no more than its end.
            let closed: Vec<Value> = serde_json::from_str(&format!("{text}]")).unwrap();
            assert!(!closed.is_empty());
        }
        "application/x-ndjson" => {
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let (last, rows) = lines.split_last().unwrap();
            assert_eq!(last["error"]["code"], code);
            assert!(!rows.is_empty() && rows.iter().all(|row| row["id"].is_number()));
        }
        _ => {
            let (_, whole) = through("python3", &["-c", COUNT_CSV], body);
            assert!(!whole);
            assert!(
                text.lines().last().unwrap().starts_with("\"{\"\"error\"\""),
                "{:?}",
                text.lines().last()
            );
        }
    }
}

async fn what_is_too_much_is_a_failure_in_the_midst(engine: Engine) {
    let world = setup(engine).env("LAMBDA_RDS_STREAM_BYTES", "1000000").start().await;
    for (target, says) in [("/many?n=5000", "1000000 bytes"), ("/capped", "5000 rows")] {
        let found = streamed(&world, url("GET", target, json!({}))).await;
        if target == "/capped" {
            // Of what is said first that counts.
            let (_, body) = broken(&found, "result_too_large");
            assert!(body.len() <= 1_000_000);
            continue;
        }
        let (_, body) = broken(&found, "result_too_large");
        assert!(body.len() <= 1_000_000, "{}", body.len());
        never_whole("application/json", &body, "result_too_large");
        let (_, error) = found.failure().unwrap().unwrap();
        assert!(error["errorMessage"].as_str().unwrap().contains(says), "{error}");
    }
    // Compressed, as much goes into it as is sent.
    let packed = url("GET", "/many?n=5000", json!({"accept-encoding": "gzip"}));
    let (_, body) = response(&world, packed).await;
    assert!(expanded("gzip", &body).0.len() > 10_000_000);
    if engine != Engine::Sqlite {
        until("the end of the statement", || world.running() == 0).await;
    }

    let wide = world.another_with(&[("LAMBDA_RDS_STREAM_BYTES", "100000000")]).await;
    let Begun::Streaming(streaming) = wide.begin(url("GET", "/capped", json!({}))).await.unwrap() else {
        panic!("no stream")
    };
    let found = streaming.collect(PATIENCE).await.unwrap();
    let (_, body) = broken(&found, "result_too_large");
    never_whole("application/json", &body, "result_too_large");
    assert!(found.failure().unwrap().unwrap().1.to_string().contains("5000 rows"));
}

async fn a_write_is_whole_when_it_is_committed(engine: Engine) {
    // No RETURNING there.
    if engine.plain() == Engine::Mysql {
        return;
    }
    let world = world(engine).await;
    // A small one has its status.
    let (head, body) = response(&world, post("/make", json!({"n": 10}))).await;
    assert_eq!((&head["statusCode"], parsed(&body).as_array().unwrap().len()), (&json!(200), 10));
    let (head, body) = response(&world, post("/make", json!({"n": 10}))).await;
    assert_eq!((&head["statusCode"], &parsed(&body)["error"]["code"]), (&json!(409), &json!("constraint")));
    world.sql("DELETE FROM made");

    // A large one goes out before its COMMIT, and has its end behind it.
    let mut streaming = begin(&world, post("/make", json!({"n": 10_000}))).await;
    first_piece(&mut streaming).await;
    let found = streaming.collect(PATIENCE).await.unwrap();
    assert!(found.whole && found.trailers.is_none());
    assert_eq!(world.count("made"), 10_000);
    if engine != Engine::Postgres {
        return;
    }
    // It fails at COMMIT, when all rows have been read.
    world.sql(
        "DELETE FROM made;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.id = 5 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END IF; RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON made DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION refuse();",
    );
    let found = streamed(&world, post("/make", json!({"n": 10_000}))).await;
    let (head, body) = broken(&found, "constraint");
    assert_eq!(head["statusCode"], 200);
    never_whole("application/json", &body, "constraint");
    assert_eq!(world.count("made"), 0);
    // A small one is told as it is.
    let (head, _) = response(&world, post("/make", json!({"n": 10}))).await;
    assert_eq!(head["statusCode"], 409);
    assert_eq!(world.count("made"), 0);
}

/// What a list is told to do.
fn list(steps: &[(&str, Value)]) -> Value {
    let steps = steps.iter().map(|(query, params)| json!({"query": query, "params": params}));
    json!({"transaction": steps.collect::<Vec<_>>()})
}

async fn a_list_goes_out_while_it_is_read(engine: Engine) {
    let world = setup(engine).env("LAMBDA_RDS_HTTP_BATCH", "true").start().await;
    let many = || ("many", json!({"n": 1000}));
    let steps = [many(), ("item", json!({})), ("add", json!({"id": 1})), ("many", json!({"n": 0})), many()];
    for (steps, writes) in [(&steps[..2], false), (&steps[..], true), (&[many(), many()][..], false)] {
        let found = streamed(&world, list(steps)).await;
        assert!(found.whole && found.trailers.is_none());
        assert_eq!(found.content_type.as_deref(), Some("application/json"));
        let results: Vec<Value> = serde_json::from_slice(&found.bytes).unwrap();
        assert_eq!(results.len(), steps.len());
        let mut rows = 0;
        for ((query, params), result) in steps.iter().zip(&results) {
            match *query {
                "many" => {
                    let n = params["n"].as_u64().unwrap() * 10;
                    assert_eq!(result.as_array().unwrap().len() as u64, n);
                    rows += n;
                }
                "item" => {
                    assert_eq!(result, &json!({"id": 1, "name": "one"}));
                    rows += 1;
                }
                _ => assert_eq!(result["rowsAffected"], 1),
            }
        }
        assert!(found.pieces > 10, "{}", found.pieces);
        assert!(found.bytes.len() > 4_000_000, "{}", found.bytes.len());
        assert_eq!(world.count("made"), u64::from(writes));
        world.sql("DELETE FROM made");
        let log = world.last_log(&found.request_id).await;
        assert_eq!((&log["outcome"], &log["rows"]), (&json!("ok"), &json!(rows)), "{log}");
        assert_eq!(log["bytes"], json!(found.bytes.len()));
    }
    // More than a reply takes that is no stream, over HTTP as well; but what is compressed is whole before it leaves, and then takes what other replies take.
    let steps = [many(), many()];
    let (head, body) = response(&world, post("/", list(&steps))).await;
    assert_eq!(head["statusCode"], 200);
    assert_eq!(parsed(&body).as_array().unwrap().len(), 2);
    assert!(body.len() > 8_000_000, "{}", body.len());
    let mut compressed = post("/", list(&steps));
    compressed["headers"]["accept-encoding"] = json!("gzip");
    let found = streamed(&world, compressed).await;
    let (head, body) = found.response().unwrap();
    assert_eq!(head["statusCode"], 413, "{head}");
    assert_eq!(parsed(body)["error"]["code"], "result_too_large");
}

async fn a_list_that_fails_never_looks_whole(engine: Engine) {
    let world = world(engine).await;
    // A small one is told as it is, whichever step it was.
    let small = |last| list(&[("add", json!({"id": 1})), ("items", json!({})), (last, json!({}))]);
    for (last, code) in [("nobody", "not_found"), ("wrong", "query_failed")] {
        let told = streamed(&world, small(last)).await;
        assert!(told.whole && told.trailers.is_none());
        assert_eq!(parsed(&told.bytes)["error"]["code"], code);
        let mut event = small(last);
        event["onError"] = json!("raise");
        let raised = ever(&world, event).await;
        let Answer::Error { error_type, .. } = raised.answer else { panic!("{raised:?}") };
        assert_eq!(error_type.as_deref(), Some(code));
    }
    let large = list(&[("add", json!({"id": 1})), ("many", json!({"n": 2000})), ("breaks", json!({}))]);
    let found = streamed(&world, large).await;
    let (_, body) = broken(&found, "query_failed");
    open_list(&body);
    let log = world.last_log(&found.request_id).await;
    assert_eq!((&log["outcome"], &log["step"]), (&json!("query_failed"), &json!(2)), "{log}");
    assert_eq!(log["retries"], 0, "{log}");
    assert_eq!(world.count("made"), 0);
    if engine != Engine::Postgres {
        return;
    }
    // What fails at COMMIT has all its rows, and no end.
    world.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation';
         END $$;
         CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON made DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION refuse();",
    );
    let found = streamed(&world, list(&[("many", json!({"n": 2000})), ("add", json!({"id": 1}))])).await;
    let (_, body) = broken(&found, "constraint");
    open_list(&body);
    assert_eq!(world.count("made"), 0);
}

/// The beginning of a list of results: more than nothing, and nothing that a parser takes.
#[track_caller]
fn open_list(body: &[u8]) {
    assert!(body.len() > 64 * 1024 && body.starts_with(b"["), "{}", body.len());
    serde_json::from_slice::<Value>(body).unwrap_err();
}

async fn who_stops_reading_holds_a_statement_no_longer_than_its_limit(engine: Engine) {
    let world = world(engine).await;
    let mut streaming =
        begin(&world, url("GET", "/endless", json!({"accept": "application/x-ndjson"}))).await;
    first_piece(&mut streaming).await;
    let [session] = &world.session_ids()[..] else { panic!("{:?}", world.session_ids()) };
    // Nobody reads on, and the server has more to say than fits between. Until its limit the statement waits.
    until("the end of the statement", || world.running_that("endless") == 0).await;
    until("the end of the session", || !world.session_ids().contains(session)).await;
    // The reply has not been taken, so that nothing else is asked for.
    world.api.idle(1, Duration::from_millis(200)).await.unwrap_err();
    let found = streaming.collect(PATIENCE).await.unwrap();
    let log = world.last_log(&found.request_id).await;
    assert_eq!(log["outcome"], "timeout", "{log}");
    let (error_type, _) = found.failure().unwrap().unwrap();
    assert_eq!(error_type, "timeout");
    let last = found.bytes.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    assert_eq!(parsed(last)["error"]["code"], "timeout");
    world.function.ready().await.unwrap();
    response(&world, url("GET", "/items", json!({}))).await;
    until("the end of the session", || world.sessions() == 1).await;
}

async fn who_leaves_takes_the_statement_along(engine: Engine) {
    let world = world(engine).await;
    let mut streaming = begin(&world, url("GET", "/patient", json!({}))).await;
    first_piece(&mut streaming).await;
    let request_id = streaming.request_id.clone();
    assert_eq!(world.running_that("patient"), 1);
    // Nobody reads on, and so the server waits: what is between is bounded.
    until("the server waits for a reader", || world.waiting_for_a_reader("patient") == 1).await;
    drop(streaming);
    until("the end of the statement", || world.running_that("patient") == 0).await;
    // It is nobody's fault.
    let log = world.last_log(&request_id).await;
    assert_eq!((&log["outcome"], &log["status"]), (&json!("client_closed_request"), &json!(499)), "{log}");
    assert_eq!((&log["level"], &log["retries"]), (&json!("INFO"), &json!(0)), "{log}");
    assert!(log["message"].as_str().unwrap().contains("has left"), "{log}");
    assert_eq!(metric(&world, &request_id, "Faults").await, 0);
    response(&world, url("GET", "/items", json!({}))).await;
    until("the end of the session", || world.sessions() == 1).await;
}

async fn a_killed_session_and_a_cut_wire(engine: Engine) {
    let world = world(engine).await;
    let one = || url("GET", "/patient", json!({}));
    let several = || list(&[("add", json!({"id": 1})), ("patient", json!({}))]);
    for (event, cut) in [(one(), false), (one(), true), (several(), false), (several(), true)] {
        let mut streaming = begin(&world, event.clone()).await;
        let first = first_piece(&mut streaming).await;
        if cut {
            world.wire().cut(Cut::Rst)
        } else {
            world.hang_up()
        }
        let mut found = streaming.collect(PATIENCE).await.unwrap();
        found.bytes.splice(..0, first);
        let (error_type, _) = found.failure().unwrap().unwrap();
        assert!(matches!(error_type.as_str(), "connection_lost" | "database_unavailable"), "{error_type}");
        if event.get("transaction").is_some() {
            open_list(&broken(&found, &error_type).1);
        } else {
            let (head, _) = broken_as_ever(&found);
            assert_eq!(head["statusCode"], 200);
        }
        let log = world.last_log(&found.request_id).await;
        assert_eq!((&log["outcome"], &log["retries"]), (&json!(error_type), &json!(0)), "{log}");
        until("the end of the statement", || world.running_that("patient") == 0).await;
        response(&world, url("GET", "/items", json!({}))).await;
        assert_eq!(world.count("made"), 0);
    }
}

/// The same as [`broken`] whatever the code.
#[track_caller]
fn broken_as_ever(found: &Streamed) -> (Value, Vec<u8>) {
    let (code, _) = found.failure().unwrap().unwrap();
    let (head, body) = broken(found, &code);
    never_whole_rows(&body);
    (head, body)
}

/// The beginning of an array of rows.
#[track_caller]
fn never_whole_rows(body: &[u8]) {
    assert!(
        body.starts_with(b"[{") && body.ends_with(b"}"),
        "{:?}",
        String::from_utf8_lossy(&body[body.len() - 50..])
    );
}

async fn it_runs_again_before_the_first_byte_alone(engine: Engine) {
    let world = world(engine).await;
    response(&world, url("GET", "/many?n=100", json!({}))).await;
    // The answer is lost with its first byte.
    world.wire().inject(Fault::cut(Direction::ToClient, After::Bytes(0), Cut::Rst));
    let found = streamed(&world, url("GET", "/many?n=100", json!({}))).await;
    assert!(found.whole && found.trailers.is_none());
    assert_eq!(parsed(found.response().unwrap().1).as_array().unwrap().len(), 1000);
    let log = world.last_log(&found.request_id).await;
    assert_eq!((&log["outcome"], &log["retries"]), (&json!("ok"), &json!(1)), "{log}");
}

async fn two_hundred_megabytes_in_the_memory_of_a_small_reply(engine: Engine) {
    const GROWTH: u64 = 16 << 20;
    let world = world(engine).await;
    streamed(&world, json!({"query": "items"})).await;
    let before = world.function.peak_rss_bytes().unwrap();
    let half = || ("wide", json!({"n": 10_000}));
    for event in [json!({"query": "wide", "params": {"n": 20_000}}), list(&[half(), half()])] {
        let mut streaming = begin(&world, event).await;
        let mut bytes = 0;
        let mut ended = false;
        while let Some(piece) = streaming.next(PATIENCE).await.unwrap() {
            match piece {
                Piece::Bytes(piece) => bytes += piece.len(),
                Piece::End => ended = true,
                Piece::Trailers(trailers) => panic!("{trailers:?}"),
            }
        }
        assert!(ended && bytes > 200_000_000, "{bytes}");
    }
    let growth = world.function.peak_rss_bytes().unwrap() - before;
    assert!(growth <= GROWTH, "{} KiB more", growth >> 10);
}
