//! The forms of a result, and its compression: read back by readers of others.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::events::{changed, request};
use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    rows_in_every_form,
    what_is_accepted,
    forty_megabytes_in_a_reply,
    nothing_is_compressed_for_who_did_not_ask,
    a_write_that_is_too_large_is_undone,
);
on_clusters!(rows_in_every_form, forty_megabytes_in_a_reply);

const SCHEMA: &str = "
CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(100), price DECIMAL(10,2), note VARCHAR(100));
INSERT INTO items VALUES (1, 'plain', 1.50, NULL), (2, '', 0.00, 'a,b'), (3, 'say \"hi\"', NULL, '=1+1'),
    (4, 'Zoë 😀', -2.25, ' blanks '), (5, 'two
lines', 3.00, 'null');
CREATE TABLE digits (n INT);
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
";

/// Rows of more than 400 bytes.
fn queries(engine: Engine) -> String {
    let number = "a.n + 10*b.n + 100*c.n + 1000*d.n + 10000*e.n";
    let (key, text) = match engine.plain() {
        Engine::Postgres => ("CAST(:n AS int)", "CAST(%s AS text)"),
        Engine::Sqlite => (":n", "CAST(%s AS TEXT)"),
        _ => (":n", "CAST(%s AS CHAR)"),
    };
    let text = text.replace("%s", &format!("{number} + 1000000"));
    format!(
        "-- name: items :many
-- http: GET, POST
SELECT id, name, price, note FROM items ORDER BY id;
-- name: none :many
-- http: GET
SELECT id, name FROM items WHERE id < 0 ORDER BY id;
-- name: item :one
-- http: GET
SELECT id, name FROM items WHERE id = 1;
-- name: clear :exec
-- http: POST
DELETE FROM items WHERE id < 0;
-- name: many :many
-- http: GET
-- param: n int
SELECT {number} AS id, {text} AS customer,
    'an order that was placed by one of the many customers of the shop, and waits to be sent' AS remark,
    'open' AS state, 'some street 17, some town' AS address,
    'what else there is to be said of an order, which is the same of most of them, as it is in life: when it was packed, by whom, what the customer has said on the telephone, and which of the two cats sat on it' AS more
FROM digits a, digits b, digits c, digits d, digits e WHERE {number} < {key};
"
    )
}

async fn world(engine: Engine) -> World {
    // Forty megabytes take their time on a busy machine.
    let setup = Setup::new(engine).schema(SCHEMA).queries(queries(engine)).env("DB_QUERY_TIMEOUT", "60s");
    setup.env("LAMBDA_RDS_HTTP_TIMEOUT", "60s").timeout(Duration::from_secs(90)).start().await
}

fn asking(method: &str, target: &str, headers: Value) -> Value {
    request(method, target, headers, None)
}

async fn reply(world: &World, event: Value) -> Value {
    world.invoke(event).await.json().unwrap()
}

/// What a program makes of this input.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success(), "{program}");
    out
}

const READ_CSV: &str = "
import csv, io, json, sys
text = io.TextIOWrapper(sys.stdin.buffer, 'utf-8', newline='')
json.dump(list(csv.DictReader(text, strict=True)), sys.stdout)";

async fn rows_in_every_form(engine: Engine) {
    let world = world(engine).await;
    let rows = world.rows("items", json!({})).await;
    assert_eq!(rows.as_array().unwrap().len(), 5);
    let csv = reply(&world, asking("GET", "/items", json!({"accept": "text/csv"}))).await;
    assert_eq!(csv["headers"]["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(csv["headers"]["vary"], "accept, accept-encoding");
    let body = csv["body"].as_str().unwrap();
    let zero = if engine == Engine::Sqlite { "0" } else { "0.00" };
    assert!(body.starts_with("id,name,price,note\r\n1,plain,1.5"), "{body}");
    assert!(body.contains(&format!("\r\n2,\"\",{zero},\"a,b\"\r\n3,\"say \"\"hi\"\"\",,=1+1\r\n")), "{body}");

    // Python's reader gives the same texts; it knows no NULL.
    let read: Value =
        serde_json::from_slice(&through("python3", &["-c", READ_CSV], body.as_bytes())).unwrap();
    let texts = rows.as_array().unwrap().iter().map(|row| {
        let text = |value: &Value| match value {
            Value::Null => json!(""),
            Value::String(text) => json!(text),
            other => json!(other.to_string()),
        };
        row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect::<Value>()
    });
    assert_eq!(read, texts.collect::<Value>());
    if engine == Engine::Postgres {
        // PostgreSQL's own reader knows it, and an empty text from it.
        world.sql(&format!(
            "CREATE TABLE copied (LIKE items);\nCOPY copied FROM STDIN (FORMAT csv, HEADER MATCH);\n{body}\\.\r\n"
        ));
        let same = "SELECT count(*) FROM (SELECT * FROM items INTERSECT SELECT * FROM copied) AS same";
        assert_eq!(world.sql(same), "5");
    }

    let lines = reply(&world, asking("GET", "/items", json!({"accept": "application/x-ndjson"}))).await;
    assert_eq!(lines["headers"]["content-type"], "application/x-ndjson");
    let text = lines["body"].as_str().unwrap();
    assert!(text.ends_with("}\n"));
    let read: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(read), rows);

    let none = |accept: &str| asking("GET", "/none", json!({"accept": accept}));
    assert_eq!(reply(&world, none("text/csv")).await["body"], "id,name\r\n");
    assert_eq!(reply(&world, none("application/x-ndjson")).await["body"], "");
    assert_eq!(reply(&world, none("*/*")).await["body"], "[]");

    // A direct event names its form; what is asked for the body alone gets a JSON string.
    for (format, expected) in [("csv", &csv["body"]), ("ndjson", &lines["body"])] {
        let direct = reply(&world, json!({"query": "items", "format": format})).await;
        assert_eq!((&direct["statusCode"], &direct["body"]), (&json!(200), expected));
        let raw = reply(&world, json!({"query": "items", "format": format, "reply": "raw"})).await;
        assert_eq!(&raw, expected);
    }
    let direct = reply(&world, json!({"query": "items", "format": "json", "reply": "raw"})).await;
    assert_eq!(direct, rows);
    for event in [
        json!({"query": "items", "format": "xml"}),
        json!({"query": "item", "format": "csv"}),
        json!({"query": "clear", "format": "ndjson"}),
        json!({"transaction": [{"query": "items"}], "format": "csv"}),
    ] {
        let (status, body) = world.call(event.clone()).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_event")), "{event}");
    }
}

async fn what_is_accepted(engine: Engine) {
    let world = world(engine).await;
    for (accept, status, kind) in [
        (json!({}), 200, "application/json"),
        (json!({"accept": "*/*"}), 200, "application/json"),
        (
            json!({"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}),
            200,
            "application/json",
        ),
        (
            json!({"accept": "application/json;q=0.5, text/csv"}),
            200,
            "text/csv; charset=utf-8; header=present",
        ),
        (json!({"accept": "text/*"}), 200, "text/csv; charset=utf-8; header=present"),
        (json!({"accept": "text/html"}), 406, "application/json"),
        (json!({"accept": "application/json;q=0"}), 200, "application/json"),
    ] {
        let found = reply(&world, asking("GET", "/items", accept.clone())).await;
        if accept["accept"] == "application/json;q=0" {
            // Nothing else is named.
            assert_eq!(found["statusCode"], 406);
            continue;
        }
        assert_eq!(found["statusCode"], status, "{accept}");
        assert_eq!(found["headers"]["content-type"], kind, "{accept}");
        let head = reply(&world, asking("HEAD", "/items", accept.clone())).await;
        assert_eq!((&head["statusCode"], &head["headers"]), (&found["statusCode"], &found["headers"]));
        assert_eq!(head["body"], "");
    }
    let csv = || json!({"accept": "text/csv", "content-type": "application/json"});
    let refused = reply(&world, asking("GET", "/item", csv())).await;
    assert_eq!(refused["statusCode"], 406);
    let body: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "not_acceptable");
    // Nothing has run.
    assert_eq!(reply(&world, asking("POST", "/clear", csv())).await["statusCode"], 406);
    // A failure is JSON, whatever was asked for.
    let unknown = reply(&world, asking("GET", "/items?x=1", csv())).await;
    assert_eq!(
        (&unknown["statusCode"], &unknown["headers"]["content-type"]),
        (&json!(400), &json!("application/json"))
    );
}

/// The body of a response, expanded by a program that is not ours.
fn expanded(reply: &Value) -> Vec<u8> {
    assert_eq!(reply["isBase64Encoded"], true);
    let bytes = BASE64.decode(reply["body"].as_str().unwrap()).unwrap();
    match reply["headers"]["content-encoding"].as_str().unwrap() {
        "gzip" => through("gzip", &["-dc"], &bytes),
        "zstd" => zstd::stream::decode_all(&bytes[..]).unwrap(),
        other => panic!("{other}"),
    }
}

async fn forty_megabytes_in_a_reply(engine: Engine) {
    let world = world(engine).await;
    let v1 = |accept: &str, encoding: &str| {
        changed(
            "apigw-v1",
            &[
                ("/path", json!("/many")),
                ("/httpMethod", json!("GET")),
                ("/headers", json!({"Accept": accept, "Accept-Encoding": encoding})),
                ("/multiValueHeaders", json!({"Accept": [accept], "Accept-Encoding": [encoding]})),
                ("/queryStringParameters", json!({"n": "100000"})),
                ("/multiValueQueryStringParameters", json!({"n": ["100000"]})),
            ],
        )
    };
    let http = |sample: &str, accept: &str, encoding: &str| {
        changed(
            sample,
            &[
                ("/rawPath", json!("/many")),
                ("/rawQueryString", json!("n=100000")),
                ("/headers", json!({"accept": accept, "accept-encoding": encoding})),
                ("/requestContext/http/method", json!("GET")),
                ("/requestContext/stage", json!("$default")),
            ],
        )
    };
    for (event, coding, csv) in [
        (v1("*/*", "gzip, deflate"), "gzip", false),
        (http("apigw-v2", "*/*", "gzip, deflate, br, zstd"), "zstd", false),
        (http("function-url", "text/csv", "gzip"), "gzip", true),
    ] {
        let outcome = world.invoke(event).await;
        let reply: Value = outcome.json().unwrap();
        assert_eq!(reply["statusCode"], 200, "{}", reply["body"]);
        assert_eq!(reply["headers"]["content-encoding"], coding);
        assert!(reply.to_string().len() < 6_291_556);
        let body = expanded(&reply);
        if csv {
            assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 100_001);
        } else {
            assert!(body.len() > 40_000_000, "{}", body.len());
            let rows: Vec<Value> = serde_json::from_slice(&body).unwrap();
            assert_eq!(rows.len(), 100_000);
        }
    }
    // For who did not ask it is too large, and for whom there is no way.
    let plain = http("apigw-v2", "*/*", "br");
    assert_eq!(world.call(plain).await.0, 413);
    let (status, _) = world.call(json!({"query": "many", "params": {"n": 100_000}})).await;
    assert_eq!(status, 413);
}

async fn nothing_is_compressed_for_who_did_not_ask(engine: Engine) {
    let world = world(engine).await;
    let ask = |target: &str, encoding: Option<&str>| {
        let headers = encoding.map_or(json!({}), |encoding| json!({"accept-encoding": encoding}));
        asking("GET", target, headers)
    };
    for encoding in [None, Some(""), Some("identity"), Some("gzip;q=0"), Some("br, deflate")] {
        let found = reply(&world, ask("/many?n=1000", encoding)).await;
        assert_eq!(found["headers"].get("content-encoding"), None, "{encoding:?}");
        assert_eq!(found.get("isBase64Encoded"), None);
        assert_eq!(found["headers"]["vary"], "accept, accept-encoding");
    }
    // What is small gains nothing, unless it must be.
    let small = reply(&world, ask("/item", Some("gzip"))).await;
    assert_eq!(
        (&small["body"], small.get("isBase64Encoded")),
        (&json!("{\"id\":1,\"name\":\"plain\"}"), None)
    );
    let forced = reply(&world, ask("/item", Some("gzip, identity;q=0"))).await;
    assert_eq!(expanded(&forced), b"{\"id\":1,\"name\":\"plain\"}");
    assert_eq!(reply(&world, ask("/item", Some("br, identity;q=0"))).await["statusCode"], 406);
    let full = reply(&world, ask("/many?n=1000", Some("gzip"))).await;
    assert_eq!(full["headers"]["content-encoding"], "gzip");
    let head = reply(&world, request("HEAD", "/many?n=1000", json!({"accept-encoding": "gzip"}), None)).await;
    assert_eq!((&head["headers"], &head["body"]), (&full["headers"], &json!("")));
    // A failure is never compressed.
    let failed = reply(&world, ask("/many?n=x", Some("gzip, identity;q=0"))).await;
    assert_eq!((&failed["statusCode"], failed.get("isBase64Encoded")), (&json!(400), None));

    let off = world.another_with(&[("LAMBDA_RDS_COMPRESS", "off")]).await;
    let found: Value = off.invoke(ask("/many?n=1000", Some("gzip"))).await.unwrap().json().unwrap();
    assert_eq!((&found["headers"]["vary"], found.get("isBase64Encoded")), (&json!("accept"), None));
}

/// What is too large is known before COMMIT, also where it is compressed only then.
async fn a_write_that_is_too_large_is_undone(engine: Engine) {
    // No RETURNING there.
    if engine.plain() == Engine::Mysql {
        return;
    }
    let noise = match engine.plain() {
        Engine::Postgres => {
            "CAST(:x AS text) || md5(random()::text) || md5(random()::text) || md5(random()::text) \
             || md5(random()::text)"
        }
        Engine::MariaDb => "CONCAT(:x, MD5(RAND()), MD5(RAND()), MD5(RAND()), MD5(RAND()))",
        _ => ":x || hex(randomblob(64))",
    };
    let query = format!(
        "-- name: fill :many\n-- write\n-- http: POST\n-- param: x text\n\
         INSERT INTO noise (v) SELECT {noise} FROM digits a, digits b, digits c, digits d, digits e RETURNING v;\n"
    );
    let world = Setup::new(engine)
        .schema(format!("{SCHEMA}\nCREATE TABLE noise (v VARCHAR(200));"))
        .queries(query)
        .start()
        .await;
    let headers = json!({"accept-encoding": "gzip", "content-type": "application/json"});
    let event = request("POST", "/fill", headers, Some(json!({"x": "!"}).to_string()));
    let (status, body) = world.call(event).await;
    assert_eq!((status, body["error"]["code"].as_str()), (413, Some("result_too_large")), "{body}");
    assert_eq!(world.count("noise"), 0);
}
