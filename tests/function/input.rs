//! Bad input: each kind of it has its code, names what is wrong, and nothing of it is executed.

use lambda_rds_testbed::Proxy;
use serde_json::{Value, json};

use crate::events::{changed, get, post, request, sample};
use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    unknown_queries_and_bad_parameters,
    events_that_are_none,
    requests_that_are_none,
    metacharacters_change_nothing,
    metacharacters_in_an_array,
    metacharacters_where_another_type_is_wanted,
    a_result_too_large_for_its_source,
    more_rows_than_the_query_allows,
    two_columns_of_one_name,
    two_columns_of_one_name_without_a_row,
    a_read_that_writes,
);
on_clusters!(
    unknown_queries_and_bad_parameters,
    events_that_are_none,
    requests_that_are_none,
    metacharacters_change_nothing,
    metacharacters_in_an_array,
    metacharacters_where_another_type_is_wanted,
    a_result_too_large_for_its_source,
    more_rows_than_the_query_allows,
    two_columns_of_one_name,
    two_columns_of_one_name_without_a_row,
    a_read_that_writes,
);

async fn unknown_queries_and_bad_parameters(engine: Engine) {
    let world = notes(engine).start().await;
    let call = |query: &str, params: Value| json!({"query": query, "params": params}).to_string();

    for (query, says) in [
        ("nope", "There is no query `nope`."),
        ("NOTE", "There is no query `NOTE`."),
        ("note ", "There is no query `note `."),
        ("note; DROP TABLE notes", "There is no query `note; DROP TABLE notes`."),
    ] {
        refused(&world, call(query, json!({"n": 1})), 404, "unknown_query", says).await;
    }
    for (params, says) in [
        (json!({}), "Parameter `n` is missing."),
        (json!({"n": 1, "m": 2}), "Parameter `m` is unknown; this query has `n`, `t`, `id`."),
        (json!({"N": 1}), "Parameter `N` is unknown; this query has `n`, `t`, `id`."),
        (json!({"n": null}), "Parameter `n` must not be null."),
        (json!({"n": 0}), "Parameter `n` must be between 1 and 10."),
        (json!({"n": 11}), "Parameter `n` must be between 1 and 10."),
        (json!({"n": "eleven"}), "Parameter `n` must be an integer"),
        (json!({"n": 1.5}), "Parameter `n` must be an integer"),
        (json!({"n": true}), "Parameter `n` must be an integer"),
        (json!({"n": [1]}), "Parameter `n` must be an integer"),
        (json!({"n": {"x": 1}}), "Parameter `n` must be an integer"),
        (json!({"n": 9_223_372_036_854_775_808_u64}), "Parameter `n` is out of the 64-bit range."),
        (json!({"n": 1, "t": null}), "Parameter `t` must not be null."),
        (json!({"n": 1, "t": 5}), "Parameter `t` must be"),
        (json!({"n": 1, "id": "5a3d"}), "Parameter `id` must be a UUID"),
    ] {
        refused(&world, call("note", params), 400, "bad_parameter", says).await;
    }
    for params in ["[]", "\"n\"", "1", "true"] {
        let event = format!(r#"{{"query": "note", "params": {params}}}"#);
        refused(&world, event, 400, "bad_event", "`params` must be a JSON object.").await;
    }
    nothing_was_executed(&world).await;
}

async fn events_that_are_none(engine: Engine) {
    let world = notes(engine).start().await;
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let event = |params: &str| format!(r#"{{"query": "note", "params": {params}}}"#);

    for (bytes, says) in [
        ("[]".to_owned(), "The event must be a JSON object."),
        ("null".into(), "The event must be a JSON object."),
        ("7".into(), "The event must be a JSON object."),
        (r#""note""#.into(), "The event must be a JSON object."),
        (deep(100_000), "The event is nested deeper than 128 levels."),
        (event(&format!(r#"{{"n": {}}}"#, deep(100_000))), "The event is nested deeper than 128 levels."),
        (event(r#"{"n": 1, "n": 2}"#), "`params` has the key `n` twice."),
        (r#"{"query": "nope", "query": "note"}"#.into(), "The event has the key `query` twice."),
        // The same key, differently written.
        (r#"{"query": "nope", "quer\u0079": "note"}"#.into(), "The event has the key `query` twice."),
        (r#"{"query": 7}"#.into(), "`query` must be the name of a query."),
        (r#"{"query": ""}"#.into(), "`query` must be the name of a query."),
        (r#"{"query": "note", "parms": {"n": 1}}"#.into(), "Unknown key `parms`; did you mean `params`?"),
        (r#"{"query": "note", "reply": "xml"}"#.into(), "`reply` must be"),
        (r#"{"query": "note", "diagnose": true}"#.into(), "The event has both"),
        ("{}".into(), "There is no default query."),
        (sample("cognito-pre-signup").to_string(), "This function does not know this event."),
    ] {
        refused(&world, bytes, 400, "bad_event", says).await;
    }
    // Lambda refuses bytes that are no JSON; whoever stands in for it may not.
    for bytes in [
        b"".as_slice(),
        b"{\"query\": \"note\", \"params\": {\"n\": 1}",
        b"\xff\xfe\x00",
        b"{\"query\": \"note\", \"params\": {\"n\": 1, \"t\": \"\xff\"}}",
    ] {
        refused(&world, bytes, 400, "bad_event", "The event").await;
    }
    nothing_was_executed(&world).await;
}

async fn requests_that_are_none(engine: Engine) {
    let world = notes(engine).start().await;
    let deep = format!(r#"{{"n": {}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    let base64 = |text: &str| {
        let mut event = post("/note", text);
        event["isBase64Encoded"] = json!(true);
        event
    };
    for (event, says) in [
        (post("/note", r#"{"n": 1"#), "The body is not valid JSON: EOF while parsing"),
        (post("/note", "n=1"), "The body is not valid JSON"),
        (post("/note", "[1]"), "The body must be a JSON object."),
        (post("/note", r#"{"n": 1, "n": 1}"#), "The body has the key `n` twice."),
        (post("/note", deep), "The body is nested deeper than 128 levels."),
        (base64("n = 1"), "The body is not valid base64."),
        // `{"n": 1, "t": "<FF>"}`
        (base64("eyJuIjogMSwgInQiOiAi/yJ9"), "The body is not valid UTF-8"),
        (post("/note?t=%ff", r#"{"n": 1}"#), "The query string is not valid UTF-8."),
        (
            request("GET", "/active", json!({"content-type": "application/json"}), Some("{}".into())),
            "A GET has its parameters in the query string, not in a body.",
        ),
    ] {
        refused(&world, event.to_string(), 400, "bad_event", says).await;
    }
    for (event, says) in [
        (post("/note?n=1", r#"{"n": 1}"#), "Parameter `n` is both in the query string and in the body"),
        (post("/note?n=1&n=1", "{}"), "Parameter `n` must be"),
        (post("/note?n=1%00", "{}"), "Parameter `n` must be an integer"),
        (get("/active?admin=true"), "Parameter `admin` is unknown"),
    ] {
        refused(&world, event.to_string(), 400, "bad_parameter", says).await;
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let event = request("POST", "/note", json!({"Content-Type": media}), Some(r#"{"n": 1}"#.into()));
        let says = "Send the parameters as application/json.";
        refused(&world, event.to_string(), 415, "unsupported_media_type", says).await;
    }
    for target in ["/nope", "/", "/note/1", "/x/note", "/note%2F", "/inner", "/%6eote%00"] {
        refused(&world, post(target, r#"{"n": 1}"#).to_string(), 404, "unknown_query", "There is no query")
            .await;
    }
    nothing_was_executed(&world).await;
}

async fn metacharacters_change_nothing(engine: Engine) {
    let world = notes(engine).start().await;
    for (n, &text) in NASTY.iter().enumerate() {
        assert_eq!(world.rows("echo_text", json!({"x": text})).await, json!({"x": text}));
        // Through a URL, where nothing is decoded twice.
        let (status, body) = world.call(get(&format!("/echo_text?x={}", encoded(text)))).await;
        assert_eq!((status, &body), (200, &json!({"x": text})));

        // Stored and read back. What is nasty in bytes is the bytes, base64 of them has nothing left of it.
        let stored = json!({"t": text, "j": {text: [text]}, "b": base64(text.as_bytes())});
        let mut params = stored.clone();
        params["n"] = json!(n);
        assert_eq!(world.rows("keep", params).await["rowsAffected"], 1, "{text:?}");
        let mut kept = world.rows("kept", json!({"n": n})).await;
        if engine == Engine::MariaDb {
            // Its JSON is a text, and is replied as one.
            kept["j"] = serde_json::from_str(kept["j"].as_str().unwrap()).unwrap();
        }
        assert_eq!(kept, stored, "{text:?}");
    }
    // What is asked for and what a parameter is called are no SQL either.
    for &text in NASTY {
        let event = json!({"query": text}).to_string();
        refused(&world, event, 404, "unknown_query", "There is no query").await;
        let event = json!({"query": "note", "params": {text: 1}}).to_string();
        refused(&world, event, 400, "bad_parameter", "Parameter `").await;
    }
    assert_eq!(world.count("users"), 3);
    assert_eq!(world.count("notes"), NASTY.len() as u64);
}

async fn metacharacters_in_an_array(engine: Engine) {
    let world = notes(engine).start().await;
    for &text in NASTY {
        world.rows("insert_text", json!({"x": text})).await;
    }
    let found = world.rows("find", json!({"xs": NASTY})).await;
    assert_eq!(found.as_array().unwrap().len(), NASTY.len());
    for &text in NASTY {
        let found = world.rows("find", json!({"xs": [text, "nobody has this"]})).await;
        assert_eq!(found, json!([{"x": text}]));
    }
    assert_eq!(world.rows("find", json!({"xs": []})).await, json!([]));
}

async fn metacharacters_where_another_type_is_wanted(engine: Engine) {
    let world = notes(engine).start().await;
    for kind in
        ["bool", "int", "float", "decimal", "uuid", "date", "time", "timestamp", "timestamptz", "bytes"]
    {
        for &text in NASTY {
            // Four letters are base64 as well.
            if (kind, text) == ("bytes", "NULL") {
                continue;
            }
            let event = json!({"query": format!("insert_{kind}"), "params": {"x": text}}).to_string();
            refused(&world, event, 400, "bad_parameter", "Parameter `x` must be").await;
        }
    }
    nothing_was_executed(&world).await;
}

#[tokio::test]
async fn postgres_cannot_store_nul_and_is_not_asked_to() {
    let world = notes(Engine::Postgres).start().await;
    for (query, params) in [
        ("insert_text", json!({"x": "a\0b"})),
        ("find", json!({"xs": ["a\0b"]})),
        ("note", json!({"n": 1, "t": "\0"})),
    ] {
        let event = json!({"query": query, "params": params}).to_string();
        refused(&world, event, 400, "bad_parameter", "must not contain U+0000").await;
    }
    nothing_was_executed(&world).await;
}

async fn a_result_too_large_for_its_source(engine: Engine) {
    const FITS: Option<u64> = None;
    const DIRECT_OR_API: &str = "6 MB";
    let world = notes(engine).start().await;
    let direct = |n: u32, c: &str| json!({"query": "big", "params": {"n": n, "c": c}});
    let with = |mut event: Value, key: &str, value: &str| {
        event[key] = json!(value);
        event
    };
    let url = |n: u32| {
        changed("function-url", &[("/rawPath", json!("/big")), ("/rawQueryString", json!(format!("n={n}")))])
    };
    let rest = |n: u32| {
        let query = json!({"n": [n.to_string()]});
        changed("apigw-v1", &[("/path", json!("/big")), ("/multiValueQueryStringParameters", query)])
    };
    let alb = |n: u32| {
        let query = json!({"n": n.to_string()});
        changed("alb", &[("/path", json!("/big")), ("/queryStringParameters", query)])
    };
    // A row of a thousand letters is `{"x":"…"},`, in which each quote is escaped once more inside the reply:
    // 1,013 bytes. Of a letter that must be escaped itself, there are four bytes, or two in a raw reply.
    for (event, limit, refused) in [
        (direct(6_100, "x"), DIRECT_OR_API, FITS),
        (direct(6_300, "x"), DIRECT_OR_API, Some(6_300)),
        (direct(1_500, "\""), DIRECT_OR_API, FITS),
        (direct(1_600, "\""), DIRECT_OR_API, Some(1_600)),
        (with(direct(3_000, "\""), "reply", "raw"), DIRECT_OR_API, FITS),
        (with(direct(3_200, "\""), "reply", "raw"), DIRECT_OR_API, Some(3_200)),
        (with(direct(250, "x"), "limit", "states"), "256 KB", FITS),
        (with(direct(260, "x"), "limit", "states"), "256 KB", Some(260)),
        (get("/big?n=6300"), DIRECT_OR_API, Some(6_300)),
        (url(6_300), DIRECT_OR_API, Some(6_300)),
        (rest(6_300), DIRECT_OR_API, Some(6_300)),
        (alb(1_000), "1 MB", FITS),
        (alb(1_040), "1 MB", Some(1_040)),
    ] {
        let outcome = world.invoke(event.clone()).await;
        let reply = outcome.json().unwrap();
        let Some(rows) = refused else {
            assert!(reply["body"].is_null() || reply["statusCode"] == 200, "{limit}: {event}");
            continue;
        };
        let body = match reply["body"].as_str() {
            Some(body) => serde_json::from_str(body).unwrap(),
            None => reply,
        };
        assert_eq!(body["error"]["code"], "result_too_large", "{limit}, {rows} rows");
        assert_eq!(body["error"]["retryable"], false);
        // Whatever was left unread, the next call gets its own rows.
        assert_eq!(world.rows("big", json!({"n": 1, "c": "y"})).await.as_array().unwrap().len(), 1);
    }
    let (status, body) = world.call(direct(7_000, "x")).await;
    assert_eq!(status, 413);
    assert_eq!(
        body["error"]["message"],
        "The result does not fit into a reply, whose body may take 6290532 bytes. Ask for fewer rows, page by \
         page: in the order of a key, each time those after the last key seen."
    );
}

async fn more_rows_than_the_query_allows(engine: Engine) {
    let world = notes(engine).start().await;
    assert_eq!(world.rows("few", json!({"n": 3})).await.as_array().unwrap().len(), 3);
    assert_eq!(world.failure("few", json!({"n": 4})).await, (413, "result_too_large".into()));
    assert_eq!(world.failure("few", json!({"n": 100_000})).await, (413, "result_too_large".into()));
    assert_eq!(world.rows("few", json!({"n": 1})).await.as_array().unwrap().len(), 1);
    let step = json!({"query": "few", "params": {"n": 4}});
    let (status, body) = world.call(json!({"transaction": [{"query": "clear"}, step]})).await;
    assert_eq!((status, &body["error"]["step"]), (413, &json!(1)));
}

async fn two_columns_of_one_name(engine: Engine) {
    let world = notes(engine).start().await;
    let outcome = world.invoke(json!({"query": "twins"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (500, Some("query_failed")));
    let detail = world.last_log(&outcome.request_id).await["detail"].to_string();
    assert!(detail.contains("`id`"), "{detail}");
    assert_eq!(world.rows("few", json!({"n": 1})).await.as_array().unwrap().len(), 1);
}

/// Whether a query can be answered does not depend on whether there are rows today.
async fn two_columns_of_one_name_without_a_row(engine: Engine) {
    let queries = "-- name: none :many\nSELECT id, id FROM users WHERE 1 = 0;\n\
                   -- name: fine :many\nSELECT id, name FROM users WHERE 1 = 0;\n";
    let world = Setup::new(engine).queries(queries).start().await;
    for _ in 0..2 {
        assert_eq!(world.failure("none", json!({})).await, (500, "query_failed".to_owned()));
        assert_eq!(world.rows("fine", json!({})).await, json!([]));
    }
}

async fn a_read_that_writes(engine: Engine) {
    let world = notes(engine).start().await;
    let outcome = world.invoke(json!({"query": "sneaky"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (500, Some("query_failed")));
    let told =
        format!("{} {}", body["error"]["message"], world.last_log(&outcome.request_id).await["detail"]);
    assert!(told.contains("declare this query `-- write`"), "{told}");
    assert_eq!(world.count("notes"), 0);

    assert_eq!(world.rows("honest", json!({})).await, json!({"n": 7}));
    assert_eq!(world.count("notes"), 1);
}

#[tokio::test]
async fn types_outside_the_table() {
    let queries = "
        -- name: point :one
        SELECT 1 AS id, point(1, 2) AS spot;
        -- name: composite :one
        SELECT u AS person FROM users u LIMIT 1;
        -- name: insert_point :one
        -- write
        INSERT INTO spots VALUES (point(1, 2)) RETURNING spot;
        -- name: good :one
        SELECT 1 AS id;";
    let schema = format!("{}CREATE TABLE spots (spot point);", crate::world::USERS);
    let world = Setup::new(Engine::Postgres).schema(schema).queries(unindented(queries)).start().await;
    for _ in 0..2 {
        assert_eq!(world.rows("point", json!({})).await, json!({"id": 1, "spot": "(1,2)"}));
        let person = world.rows("composite", json!({})).await["person"].to_string();
        assert!(person.starts_with("\"(") && person.ends_with(")\""), "{person}");
        assert_eq!(world.rows("insert_point", json!({})).await, json!({"spot": "(1,2)"}));
        assert_eq!(world.rows("good", json!({})).await, json!({"id": 1}));
    }
    assert_eq!(world.count("spots"), 2);
}

/// Sends an event that is refused before anything of it reaches the database.
async fn refused(world: &World, event: impl Into<Vec<u8>>, status: u64, code: &str, says: &str) {
    let event = event.into();
    let shown = String::from_utf8_lossy(&event[..event.len().min(300)]).into_owned();
    let flights = world.own_wire().map(Proxy::flights);
    let outcome = world.invoke_raw(event).await;
    let (actual, body) = outcome.reply().unwrap();
    let error = &body["error"];
    assert_eq!((actual, error["code"].as_str()), (status, Some(code)), "{shown}: {body}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(says), "{shown}: {message}");
    assert_eq!(error["retryable"], false);
    assert_eq!(error["requestId"], outcome.request_id);
    if let Some(flights) = flights {
        assert_eq!(world.wire().flights(), flights, "{shown}: something was sent to the server");
    }
}

/// Proves it by a table that every query of these tests would have written to, and that a good call writes to it.
async fn nothing_was_executed(world: &World) {
    assert_eq!(world.count("notes"), 0);
    assert_eq!(world.count("users"), 3);
    assert_eq!(world.rows("note", json!({"n": 10})).await["rowsAffected"], 1);
    assert_eq!(world.count("notes"), 1);
}

/// A table with a column of each type, and queries that write and read it.
fn notes(engine: Engine) -> Setup {
    let mut columns = vec!["n BIGINT".to_owned()];
    let mut queries = String::from(
        "
        -- name: note :exec
        -- http: POST
        -- param: n int in 1..=10
        -- param: t text = ''
        -- param: id uuid? = null
        INSERT INTO notes (n, c_text, c_uuid) VALUES (:n, :t, :id);
        -- name: inner :exec
        INSERT INTO notes (n) VALUES (1);
        -- name: clear :exec
        DELETE FROM notes;
        -- name: active :many
        -- http: GET
        SELECT id FROM users WHERE active = TRUE;
        -- name: echo_text :one
        -- http: GET
        -- param: x text
        SELECT :x AS x;
        -- name: keep :exec
        -- param: n int
        -- param: t text
        -- param: j json
        -- param: b bytes
        INSERT INTO notes (n, c_text, c_json, c_bytes) VALUES (:n, :t, :j, :b);
        -- name: kept :one
        -- param: n int
        SELECT c_text AS t, c_json AS j, c_bytes AS b FROM notes WHERE n = :n;
        -- name: twins :many
        SELECT id, name, id FROM users;
        ",
    );
    queries.push_str(match engine.plain() {
        Engine::Postgres => {
            "
            -- name: find :many
            -- param: xs text[]
            SELECT c_text AS x FROM notes WHERE c_text = ANY(:xs);
            -- name: big :many
            -- http: GET
            -- param: n int
            -- param: c text = 'x'
            SELECT repeat(:c, 1000) AS x FROM generate_series(1, :n);
            -- name: few :many
            -- max_rows: 3
            -- param: n int
            SELECT i FROM generate_series(1, :n) AS i;
            -- name: sneaky :one
            SELECT write_a_note() AS n;
            -- name: honest :one
            -- write
            INSERT INTO notes (n) VALUES (7) RETURNING n;
            "
        }
        Engine::Mysql | Engine::MariaDb => {
            "
            -- name: find :many
            -- param: xs text[]
            SELECT c_text AS x FROM notes WHERE c_text IN (:xs);
            -- name: big :many
            -- http: GET
            -- param: n int
            -- param: c text = 'x'
            SELECT repeat(:c, 1000) AS x FROM information_schema.collations a, information_schema.collations b
            LIMIT :n;
            -- name: few :many
            -- max_rows: 3
            -- param: n int
            WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < :n) SELECT i FROM r;
            -- name: sneaky :one
            SELECT write_a_note() AS n;
            -- name: honest :one
            -- write
            SELECT write_a_note() AS n;
            "
        }
        _ => {
            "
            -- name: find :many
            -- param: xs text[]
            SELECT c_text AS x FROM notes WHERE c_text IN (:xs);
            -- name: big :many
            -- http: GET
            -- param: n int
            -- param: c text = 'x'
            WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < :n)
            SELECT replace(hex(zeroblob(500)), '0', :c) AS x FROM r;
            -- name: few :many
            -- max_rows: 3
            -- param: n int
            WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < :n) SELECT i FROM r;
            -- name: sneaky :one
            -- read
            INSERT INTO notes (n) VALUES (7) RETURNING n;
            -- name: honest :one
            -- write
            INSERT INTO notes (n) VALUES (7) RETURNING n;
            "
        }
    });
    for (kind, postgres, other) in [
        ("bool", "BOOLEAN", "BOOLEAN"),
        ("int", "BIGINT", "BIGINT"),
        ("float", "DOUBLE PRECISION", "DOUBLE PRECISION"),
        ("decimal", "NUMERIC", "DECIMAL(30, 6)"),
        ("text", "TEXT", "TEXT"),
        ("uuid", "UUID", "CHAR(36)"),
        ("date", "DATE", "DATE"),
        ("time", "TIME", "TIME"),
        ("timestamp", "TIMESTAMP", "DATETIME"),
        ("timestamptz", "TIMESTAMPTZ", "TIMESTAMP"),
        ("json", "JSONB", "JSON"),
        ("bytes", "BYTEA", "BLOB"),
    ] {
        let column = match (engine.plain(), kind) {
            (Engine::Postgres, _) => postgres.to_owned(),
            // To the microsecond: without, they are rounded to the second.
            (Engine::Mysql | Engine::MariaDb, "time" | "timestamp" | "timestamptz") => format!("{other}(6)"),
            // The usual collations take characters for equal that are not.
            (Engine::Mysql | Engine::MariaDb, "text") => format!("{other} COLLATE utf8mb4_bin"),
            _ => other.to_owned(),
        };
        columns.push(format!("c_{kind} {column}"));
        queries.push_str(&format!(
            "
            -- name: insert_{kind} :exec
            -- param: x {kind}
            INSERT INTO notes (c_{kind}) VALUES (:x);
            "
        ));
    }
    let mut schema = format!("{}\nCREATE TABLE notes ({});\n", crate::world::USERS, columns.join(", "));
    if engine.plain() == Engine::Postgres {
        schema.push_str(
            "CREATE FUNCTION write_a_note() RETURNS bigint LANGUAGE sql
             AS 'INSERT INTO notes (n) VALUES (7) RETURNING n';",
        );
    }
    if matches!(engine.plain(), Engine::Mysql | Engine::MariaDb) {
        schema.push_str(
            "CREATE FUNCTION write_a_note() RETURNS BIGINT MODIFIES SQL DATA \
             BEGIN INSERT INTO notes (n) VALUES (7); RETURN 7; END;\n",
        );
    }
    Setup::new(engine).schema(schema).queries(unindented(&queries))
}

/// The lines without their indentation.
fn unindented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            (0..4).map(move |i| {
                if i > chunk.len() { '=' } else { char::from(LETTERS[(word >> (18 - 6 * i) & 63) as usize]) }
            })
        })
        .collect()
}

/// What means something to SQL, to a driver, to a shell, to a format, to a URL, to JSON.
const NASTY: &[&str] = &[
    "'",
    "''",
    "\"",
    "`",
    "';DROP TABLE users;--",
    "'; DELETE FROM notes; COMMIT; --",
    "\"; DROP TABLE users; --",
    "1 OR 1=1",
    "' OR ''='",
    "') UNION SELECT email FROM users --",
    "-- comment",
    "/* comment */",
    "# comment",
    "\\",
    "\\'; DROP TABLE users; --",
    "\\x00",
    "\\0",
    "$1",
    "?",
    "?1",
    ":x",
    "@x",
    "::text",
    ":=",
    "$$",
    "$tag$'$tag$",
    "E'\\''",
    "%s",
    "%27",
    "%",
    "_",
    "+",
    "&x=2",
    "{}",
    "{\"x\": \"y\"}",
    "NULL",
    "'||pg_sleep(10)||'",
    "\u{1F600}",
    "\u{FEFF}'",
    "\u{2019}\u{FF07}",
    "\u{202E}\u{200B}",
    "\r\n\t\u{1}\u{7F}",
    "\u{10FFFF}",
];
