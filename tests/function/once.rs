//! Exactly once: what is in the server's tables when a write with an idempotency key was sent again, by whomever, and
//! whatever befell the wire, the function or the reply.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lambda_rds::config::Table;
use lambda_rds::queries::Dialect;
use lambda_rds_testbed::certs::RDS_PROXY_NAME;
use lambda_rds_testbed::{After, Cut, Direction, Fault, Function, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, PATIENCE, Setup, World, until};
use crate::{on_clusters, on_every_engine, on_every_server};

on_every_engine!(
    a_repeat_gets_the_first_ones_reply,
    another_request_is_another_key_or_refused,
    what_fails_is_not_kept,
    a_key_holds_for_its_time,
    a_list_has_one_key,
    a_message_that_comes_again_is_done_once,
    a_missing_table_is_named,
    the_table_may_have_another_name,
    a_write_whose_key_is_gone_is_undone,
    every_byte_of_a_key_counts,
    equal_values_are_one_request_however_they_are_spelled,
    expired_keys_go_a_few_with_each_write_under_load,
    killed_it_is_done_once,
);

mod servers {
    use super::*;
    on_every_server!(
        a_write_with_a_key_takes_no_flight_more,
        cut_anywhere_it_is_done_once,
        callers_of_one_key_at_once,
        callers_of_one_key_under_cuts,
        killed_at_any_flight_it_is_done_once,
        an_answer_that_never_comes_is_no_riddle,
        the_session_stays_read_only,
        a_write_may_take_longer_than_its_key_holds,
        who_waits_too_long_for_its_twin_is_told_so,
    );
}

mod clusters {
    use super::*;
    on_clusters!(
        a_repeat_gets_the_first_ones_reply,
        cut_anywhere_it_is_done_once,
        callers_of_one_key_under_cuts,
    );
}

/// The same query on every engine, and its like.
fn queries(engine: Engine) -> String {
    let returning = matches!(engine.plain(), Engine::Postgres | Engine::Sqlite | Engine::MariaDb);
    let (verb, end) = if returning { (":one\n-- write", " RETURNING id, account") } else { (":exec", "") };
    let pay = |name: &str, key: &str| {
        format!(
            "-- name: {name} {verb}\n-- http: POST\n-- idempotency_key: {key}\n-- param: account int\n\
             -- param: note json? = null\n-- param: id text? = null\n\
             INSERT INTO payments (account, note, id_text) VALUES (:account, :note, :id){end};\n\n"
        )
    };
    let mut text = pay("pay", "header.Idempotency-Key for 24h");
    text += &pay("other", "header.Idempotency-Key");
    text += &pay("maybe", "header.Idempotency-Key? for 1h");
    text += &pay("by_message", "sqs.messageId");
    text += &pay("by_request", "context.requestId");
    text += &pay("by_param", "param.id");
    text += &pay("brief", "header.Idempotency-Key for 1s");
    let over = match dialect(engine) {
        Dialect::Sqlite => "abs(:account - 9223372036854775807 - 8)",
        _ => ":account + 9223372036854775807",
    };
    text += &format!(
        "-- name: over :exec\n-- idempotency_key: header.Idempotency-Key\n-- param: account int\n\
         INSERT INTO payments (account) SELECT {over};\n\n\
         -- name: found :one\n-- param: account int\nSELECT account FROM payments WHERE account = :account;\n\n"
    );
    text += &format!(
        "-- name: plain {verb}\n-- param: account int\nINSERT INTO payments (account) VALUES (:account){end};\n\n\
         -- name: unique :exec\n-- idempotency_key: header.Idempotency-Key\n-- param: id int\n\
         INSERT INTO uniques (id) VALUES (:id);\n\n\
         -- name: exact :exec\n-- http: POST\n-- idempotency_key: header.Idempotency-Key\n-- param: account int\n\
         -- param: amount decimal\n-- param: note json? = null\n\
         INSERT INTO payments (account, id_text, note) VALUES (:account, CAST(:amount AS char(40)), :note);\n\n"
    );
    if returning {
        text += "-- name: none :one\n-- write\n-- idempotency_key: header.Idempotency-Key\n-- param: account int\n\
             DELETE FROM payments WHERE account = :account RETURNING account;\n\n\
             -- name: large :many\n-- write\n-- idempotency_key: header.Idempotency-Key\n-- param: account int\n\
             INSERT INTO payments (account) VALUES (:account), (:account), (:account), (:account), (:account), \
             (:account), (:account), (:account), (:account), (:account) RETURNING id, account, note, id_text;\n\n";
    }
    text
}

fn dialect(engine: Engine) -> Dialect {
    match engine.plain() {
        Engine::Postgres => Dialect::Postgres,
        Engine::Sqlite => Dialect::Sqlite,
        _ => Dialect::Mysql,
    }
}

/// What makes the table of keys.
pub(crate) fn table(engine: Engine) -> String {
    lambda_rds::once::ddl(dialect(engine), &Table::parse("lambda_rds_idempotency").unwrap())
}

fn schema(engine: Engine) -> String {
    let (id, json) = match dialect(engine) {
        Dialect::Postgres => ("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "json"),
        Dialect::Mysql => ("bigint AUTO_INCREMENT PRIMARY KEY", "json"),
        Dialect::Sqlite => ("INTEGER PRIMARY KEY", "JSON"),
    };
    format!(
        "CREATE TABLE payments (id {id}, account bigint NOT NULL, note {json}, id_text varchar(100));\n\
         CREATE TABLE uniques (id bigint PRIMARY KEY);\n{}",
        table(engine)
    )
}

fn setup(engine: Engine) -> Setup {
    Setup::new(engine).schema(schema(engine)).queries(queries(engine))
}

fn pay(query: &str, key: &str, account: u64) -> Value {
    json!({"query": query, "params": {"account": account}, "idempotencyKey": key})
}

/// How many payments there are of an account.
fn paid(world: &World, account: u64) -> u64 {
    world.count(&format!("payments WHERE account = {account}"))
}

/// Calls until it is told as done, as whoever has a key may: what else is told is retryable.
async fn until_done(function: &Function, event: Value) -> (bool, String) {
    until_done_but_for(function, event, |_| ()).await
}

/// The same, and tells of each other code.
pub(crate) async fn until_done_but_for(
    function: &Function,
    event: Value,
    mut told: impl FnMut(&str),
) -> (bool, String) {
    loop {
        let reply = function.invoke(event.clone()).await.unwrap().json().unwrap();
        let body = reply["body"].as_str().unwrap();
        if reply["statusCode"] == 200 {
            return (reply["headers"]["idempotency-replayed"] == "true", body.to_owned());
        }
        let failure: Value = serde_json::from_str(body).unwrap();
        assert!(failure["error"]["retryable"] == true, "{body}\n{}", function.logs().join("\n"));
        told(failure["error"]["code"].as_str().unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is over by the server's clock, for a table of keys.
fn over(engine: Engine) -> &'static str {
    match dialect(engine) {
        Dialect::Postgres => "expires_at <= now()",
        Dialect::Mysql => "expires_at <= UTC_TIMESTAMP(6)",
        Dialect::Sqlite => "expires_at <= unixepoch()",
    }
}

fn keys(world: &World) -> u64 {
    world.count("lambda_rds_idempotency")
}

/// The whole reply of a call: status, the header that tells a replay, and the body as it is.
async fn reply(world: &World, event: Value) -> (u64, bool, String) {
    let reply = world.invoke(event).await.json().unwrap();
    let replayed = reply["headers"]["idempotency-replayed"] == "true";
    (reply["statusCode"].as_u64().unwrap(), replayed, reply["body"].as_str().unwrap().to_owned())
}

async fn code(world: &World, event: Value) -> (u64, String) {
    let (status, body) = world.call(event).await;
    (status, body["error"]["code"].as_str().unwrap_or("none").to_owned())
}

/// A POST through an HTTP API, by somebody or nobody.
fn post(query: &str, key: Option<&str>, subject: Option<&str>, body: &str) -> Value {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": format!("/{query}"), "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"stage": "$default", "http": {"method": "POST", "path": format!("/{query}")}},
        "body": body, "isBase64Encoded": false,
    });
    if let Some(key) = key {
        event["headers"]["idempotency-key"] = json!(key);
    }
    if let Some(subject) = subject {
        event["requestContext"]["authorizer"] = json!({"jwt": {"claims": {"sub": subject, "iat": "1"}}});
    }
    event
}

async fn a_repeat_gets_the_first_ones_reply(engine: Engine) {
    let world = setup(engine).start().await;
    let first = reply(&world, pay("pay", "k1", 1)).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    for _ in 0..3 {
        let again = reply(&world, pay("pay", "k1", 1)).await;
        assert_eq!(again, (200, true, first.2.clone()));
    }
    // From another environment, which has not met the key, and another source, with quotes in the body.
    let other = world.another().await;
    let again = other.invoke(pay("pay", "k1", 1)).await.unwrap().json().unwrap();
    assert_eq!(
        (&again["body"], &again["headers"]["idempotency-replayed"]),
        (&json!(first.2), &json!("true"))
    );
    let mut raw = pay("pay", "k1", 1);
    raw["reply"] = json!("raw");
    assert_eq!(world.invoke(raw).await.json().unwrap(), serde_json::from_str::<Value>(&first.2).unwrap());
    assert_eq!((paid(&world, 1), keys(&world)), (1, 1));

    // Over HTTP, too: the header is the key.
    let event = || post("pay", Some("k1"), None, r#"{"account":1,"note":null}"#);
    assert_eq!(reply(&world, event()).await, (200, true, first.2));
    // A key that may be missing.
    for times in 1..=2 {
        assert_eq!(reply(&world, json!({"query": "maybe", "params": {"account": 2}})).await.0, 200);
        assert_eq!(paid(&world, 2), times);
    }
    for _ in 0..2 {
        assert_eq!(reply(&world, pay("maybe", "k", 3)).await.0, 200);
        assert_eq!(paid(&world, 3), 1);
    }
    // By a parameter that the key alone needs.
    for id in ["a", "b", "a", "b"] {
        let event = json!({"query": "by_param", "params": {"account": 4, "id": id}});
        assert_eq!(reply(&world, event).await.0, 200);
    }
    assert_eq!(paid(&world, 4), 2);
    // What runs does so on sessions that are as they were: a read is still a read.
    let refused = world.call(json!({"query": "plain", "params": {"account": 9}})).await;
    assert_eq!(refused.0, 200, "{refused:?}");
}

async fn another_request_is_another_key_or_refused(engine: Engine) {
    let world = setup(engine).start().await;
    assert_eq!(reply(&world, pay("pay", "k", 1)).await.0, 200);
    assert_eq!(code(&world, pay("pay", "k", 2)).await, (422, "idempotency_key_reused".into()));
    // Of another query, or by somebody else, it is another key.
    assert!(!reply(&world, pay("other", "k", 1)).await.1);
    let by = |subject: Option<&str>, account: u64| {
        post("pay", Some("k"), subject, &format!(r#"{{"account":{account}}}"#))
    };
    let ada = reply(&world, by(Some("ada"), 10)).await;
    let bob = reply(&world, by(Some("bob"), 11)).await;
    assert_eq!((ada.0, ada.1, bob.0, bob.1), (200, false, 200, false), "{ada:?} {bob:?}");
    assert_eq!(reply(&world, by(Some("ada"), 10)).await, (200, true, ada.2));
    assert_eq!(reply(&world, by(Some("bob"), 11)).await, (200, true, bob.2));
    assert_eq!((paid(&world, 10), paid(&world, 11)), (1, 1));
    assert_eq!(code(&world, by(Some("ada"), 11)).await.0, 422);
    // A principal that IAM has verified is somebody as well.
    let signed = |user: &str, account: u64| {
        let mut event = post("pay", Some("k"), None, &format!(r#"{{"account":{account}}}"#));
        let arn = format!("arn:aws:iam::123456789012:user/{user}");
        event["requestContext"]["authorizer"] = json!({"iam": {"userArn": arn, "accountId": "123456789012"}});
        event
    };
    for (user, account) in [("ada", 12), ("bob", 13)] {
        let first = reply(&world, signed(user, account)).await;
        assert_eq!((first.0, first.1), (200, false), "{user}: {first:?}");
        assert_eq!(reply(&world, signed(user, account)).await, (200, true, first.2));
        assert_eq!(paid(&world, account), 1);
    }
    // Byte for byte.
    assert!(!reply(&world, pay("pay", "K", 3)).await.1);
    assert!(!reply(&world, pay("pay", "k ", 3)).await.1);

    // The same in another order, with a default given, is the same.
    let body = |text: &str| post("pay", Some("order"), None, text);
    let first = reply(&world, body(r#"{"account":20,"note":{"a":1,"b":[1.50,"x"]}}"#)).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    let again =
        reply(&world, body(r#"{"id":null, "note": {"b": [1.50, "x"], "a": 1}, "account": 20}"#)).await;
    assert_eq!(again, (200, true, first.2));
    assert_eq!(code(&world, body(r#"{"account":20,"note":{"a":1,"b":[1.5,"y"]}}"#)).await.0, 422);
    assert_eq!(paid(&world, 20), 1);

    for (event, expected) in [
        (json!({"query": "pay", "params": {"account": 30}}), "bad_event"),
        (pay("pay", "", 30), "bad_event"),
        (json!({"query": "pay", "params": {"account": 30}, "idempotencyKey": 7}), "bad_event"),
        (post("pay", None, None, r#"{"account":30}"#), "bad_event"),
        (post("pay", Some(""), None, r#"{"account":30}"#), "bad_event"),
        (pay("plain", "k", 30), "bad_event"),
        (pay("by_param", "k", 30), "bad_event"),
        (json!({"query": "by_param", "params": {"account": 30, "id": ""}}), "bad_event"),
        (json!({"query": "by_param", "params": {"account": 30}}), "bad_parameter"),
        (json!({"query": "by_message", "params": {"account": 30}}), "bad_event"),
    ] {
        assert_eq!(code(&world, event.clone()).await, (400, expected.into()), "{event}");
    }
    assert_eq!(paid(&world, 30), 0);
}

async fn what_fails_is_not_kept(engine: Engine) {
    let world = setup(engine).env("DB_IDEMPOTENCY_REPLY", "200").start().await;
    world.sql("INSERT INTO uniques (id) VALUES (7)");
    let unique = json!({"query": "unique", "params": {"id": 7}, "idempotencyKey": "u"});
    for _ in 0..2 {
        assert_eq!(code(&world, unique.clone()).await, (409, "constraint".into()));
    }
    assert_eq!(keys(&world), 0);
    world.sql("DELETE FROM uniques");
    assert!(!reply(&world, unique.clone()).await.1);
    assert!(reply(&world, unique).await.1);

    // A statement that fails while it runs; then with what it does not fail for.
    let over = |account: i64| json!({"query": "over", "params": {"account": account}, "idempotencyKey": "o"});
    for _ in 0..2 {
        let (status, body) = world.call(over(7)).await;
        assert!(status >= 400 && body["error"]["retryable"] == false, "{status} {body}");
        assert_eq!(keys(&world), 1);
    }
    let (status, replayed, body) = reply(&world, over(-7)).await;
    assert_eq!((status, replayed), (200, false), "{body}");

    // A list whose last step finds no row, and one whose reply is too large: what came before is undone.
    let step = |query: &str, account: u64| json!({"query": query, "params": {"account": account}});
    let list = json!({"transaction": [step("pay", 40), step("found", 41)], "idempotencyKey": "f"});
    for _ in 0..2 {
        assert_eq!(code(&world, list.clone()).await, (404, "not_found".into()));
        assert_eq!((paid(&world, 40), keys(&world)), (0, 2));
    }
    assert_eq!(reply(&world, step("plain", 41)).await.0, 200);
    let found = reply(&world, list.clone()).await;
    assert_eq!((found.0, found.1), (200, false), "{found:?}");
    assert_eq!(reply(&world, list).await, (200, true, found.2));
    let batch = |sets: usize| {
        let params = vec![json!({"account": 42}); sets];
        json!({"batch": {"query": "pay", "params": params}, "idempotencyKey": "b"})
    };
    for _ in 0..2 {
        assert_eq!(code(&world, batch(20)).await, (413, "result_too_large".into()));
        assert_eq!((paid(&world, 42), keys(&world)), (0, 3));
    }
    assert_eq!(reply(&world, batch(2)).await.0, 200);
    assert_eq!((paid(&world, 42), keys(&world)), (2, 4));
    if engine.plain() == Engine::Mysql {
        return;
    }
    let none = json!({"query": "none", "params": {"account": 1}, "idempotencyKey": "n"});
    assert_eq!(code(&world, none.clone()).await, (404, "not_found".into()));
    assert_eq!(reply(&world, json!({"query": "plain", "params": {"account": 1}})).await.0, 200);
    assert_eq!(reply(&world, none).await.0, 200);
    // Too large to be kept: nothing was written.
    let large = json!({"query": "large", "params": {"account": 5}, "idempotencyKey": "l"});
    assert_eq!(code(&world, large).await, (413, "result_too_large".into()));
    assert_eq!((paid(&world, 5), keys(&world)), (0, 5));
}

/// The table may have another name; the function uses that, and needs no other.
async fn the_table_may_have_another_name(engine: Engine) {
    let name = Table::parse("Kept_Keys$1").unwrap();
    let quoted = name.quoted(dialect(engine));
    let ddl = lambda_rds::once::ddl(dialect(engine), &name);
    let schema = schema(engine).replace(&table(engine), &ddl);
    let world = setup(engine).schema(schema).env("DB_IDEMPOTENCY_TABLE", "Kept_Keys$1").start().await;
    let first = reply(&world, pay("pay", "k", 1)).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    assert_eq!(reply(&world, pay("pay", "k", 1)).await, (200, true, first.2));
    assert_eq!((paid(&world, 1), world.count(&quoted)), (1, 1));
    world.sql(&format!("DROP TABLE {quoted}"));
    assert_eq!(code(&world, pay("pay", "l", 1)).await, (500, "query_failed".into()));
    let named = |line: &str| line.contains("the table Kept_Keys$1 of idempotency keys is missing");
    world.function.wait_for_log(named, PATIENCE).await.unwrap();
}

async fn a_key_holds_for_its_time(engine: Engine) {
    let world = setup(engine).start().await;
    assert_eq!(reply(&world, pay("pay", "k", 1)).await.0, 200);
    let past = match engine.plain() {
        Engine::Postgres => "now() - interval '1 second'",
        Engine::Sqlite => "unixepoch() - 1",
        _ => "UTC_TIMESTAMP(6) - INTERVAL 1 SECOND",
    };
    world.sql(&format!("UPDATE lambda_rds_idempotency SET expires_at = {past}"));
    // Expired, it is as if it had never been: with other parameters, too.
    let again = reply(&world, pay("pay", "k", 2)).await;
    assert_eq!((again.0, again.1), (200, false), "{again:?}");
    assert_eq!(reply(&world, pay("pay", "k", 2)).await, (200, true, again.2));
    assert_eq!((paid(&world, 1), paid(&world, 2), keys(&world)), (1, 1, 1));

    // Each write drops more than it makes, and not all at once.
    for key in 0..25 {
        assert_eq!(reply(&world, pay("pay", &format!("old {key}"), 3)).await.0, 200);
    }
    assert_eq!(keys(&world), 26);
    world.sql(&format!("UPDATE lambda_rds_idempotency SET expires_at = {past}"));
    for (key, left) in [("a", 17), ("b", 8), ("c", 3)] {
        assert_eq!(reply(&world, pay("pay", key, 4)).await.0, 200);
        assert_eq!(keys(&world), left, "{key}");
    }
}

/// However many there are, and whoever comes: each write drops ten at most, and none that still holds.
async fn expired_keys_go_a_few_with_each_write_under_load(engine: Engine) {
    const EXPIRED: u64 = 300;
    const WRITES: u64 = 16;
    let world = setup(engine).env("AWS_LAMBDA_MAX_CONCURRENCY", "8").start().await;
    let (id, past) = match dialect(engine) {
        Dialect::Postgres => ("sha256(convert_to(n::text, 'UTF8'))", "now() - interval '1 hour'"),
        Dialect::Mysql => ("UNHEX(SHA2(n, 256))", "UTC_TIMESTAMP(6) - INTERVAL 1 HOUR"),
        Dialect::Sqlite => ("randomblob(32)", "unixepoch() - 3600"),
    };
    // One that was used before, and has expired as well, is used by several at once.
    let (_, old) = until_done(&world.function, pay("pay", "old", 1)).await;
    world.sql(&format!("UPDATE lambda_rds_idempotency SET expires_at = {past}"));
    world.sql(&format!(
        "INSERT INTO lambda_rds_idempotency (id, request, reply, created_at, expires_at) \
         WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < {EXPIRED}) \
         SELECT {id}, {id}, {}, {past}, {past} FROM numbers",
        if dialect(engine) == Dialect::Postgres { "'{}'::bytea" } else { "'{}'" }
    ));
    let expired = || world.count(&format!("lambda_rds_idempotency WHERE {}", over(engine)));
    assert_eq!(expired(), EXPIRED);

    let again = join_all((0..WRITES).map(|_| until_done(&world.function, pay("pay", "old", 1)))).await;
    let first = &again[0].1;
    assert!(again.iter().all(|(_, body)| body == first), "{again:?}");
    assert_eq!(paid(&world, 1), 2, "once before it had expired, and once after");
    assert_ne!(*first, old);
    // The key itself is dropped by whoever uses it anew; of the callers one wrote, and so swept.
    assert!((EXPIRED - 11..EXPIRED).contains(&expired()), "{}", expired());

    let before = expired();
    let writes = (0..WRITES).map(|n| until_done(&world.function, pay("pay", &format!("new {n}"), 2)));
    join_all(writes).await;
    assert_eq!(paid(&world, 2), WRITES);
    assert!(before - expired() <= 10 * WRITES, "{before} {}", expired());
    let mut others = 0;
    while expired() > 0 {
        assert!(others < EXPIRED / 10, "they stay");
        let before = expired();
        until_done(&world.function, pay("pay", &format!("other {others}"), 3)).await;
        assert!(before - expired() <= 10, "{before} {}", expired());
        others += 1;
    }
    // What holds is there, and is heeded.
    assert_eq!(keys(&world), 1 + WRITES + others);
    for n in 0..WRITES {
        assert!(until_done(&world.function, pay("pay", &format!("new {n}"), 2)).await.0, "{n}");
    }
    assert_eq!((paid(&world, 1), paid(&world, 2)), (2, WRITES));
}

/// Keys of any script and of any length; what is kept of each is 32 bytes.
async fn every_byte_of_a_key_counts(engine: Engine) {
    let world = setup(engine).start().await;
    let long = |length: usize, last: char| format!("{}{last}", "k".repeat(length - 1));
    let keys_of = [
        "\u{e9}".to_owned(),
        "e\u{301}".to_owned(),
        "K".to_owned(),
        "\u{212a}".to_owned(),
        "k".to_owned(),
        "k\0".to_owned(),
        "\0".to_owned(),
        " k".to_owned(),
        "k\n".to_owned(),
        "stra\u{df}e".to_owned(),
        "strasse".to_owned(),
        "\u{1f980}".to_owned(),
        "\u{1f980}\u{200d}".to_owned(),
        "\u{fffd}".to_owned(),
        "'; DROP TABLE payments; --".to_owned(),
        long(1_000, 'a'),
        long(1_000, 'b'),
        long(64_000, 'a'),
        long(64_000, 'b'),
    ];
    for (account, key) in (1..).zip(&keys_of) {
        assert!(!until_done(&world.function, pay("pay", key, account)).await.0, "{account}");
    }
    for (account, key) in (1..).zip(&keys_of) {
        assert!(until_done(&world.function, pay("pay", key, account)).await.0, "{account}");
        assert_eq!(paid(&world, account), 1, "{account}");
    }
    let kept = keys(&world);
    assert_eq!(kept, keys_of.len() as u64);
    assert_eq!(world.count("lambda_rds_idempotency WHERE length(id) <> 32"), 0);

    // However the JSON writes it, it is the same key; what is no text is none.
    let raw = |key: &str| format!(r#"{{"query":"pay","params":{{"account":1}},"idempotencyKey":{key}}}"#);
    for same in [r#""\u00e9""#, r#""\u00E9""#, "\"\u{e9}\""] {
        let (status, _) = world.invoke_raw(raw(same)).await.reply().unwrap();
        assert_eq!((status, paid(&world, 1)), (200, 1), "{same}");
    }
    for no_text in [r#""\ud83e""#, "7", "true", "[\"k\"]", "{}", "\"\""] {
        let (status, body) = world.invoke_raw(raw(no_text)).await.reply().unwrap();
        assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_event")), "{no_text}");
    }
    assert_eq!(keys(&world), kept);
}

/// What counts is the values as they were read; in a `json` its members in any order, and its numbers digit for digit.
async fn equal_values_are_one_request_however_they_are_spelled(engine: Engine) {
    let world = setup(engine).start().await;
    let send = async |key: &str, body: &str| reply(&world, post("exact", Some(key), None, body)).await;
    let spelled: [(&str, &[&str], &[&str]); 2] = [
        (
            "number",
            &[
                r#"{"account":1,"amount":1.0}"#,
                r#"{"account":1,"amount":1}"#,
                r#"{"amount":"1.00","account":"1"}"#,
                r#" { "amount" : 10e-1 , "account" : 1, "note": null } "#,
            ],
            &[
                r#"{"account":1,"amount":1.01}"#,
                r#"{"account":1,"amount":10}"#,
                r#"{"account":1,"amount":-1}"#,
            ],
        ),
        (
            "json",
            &[
                r#"{"account":2,"amount":0,"note":{"a":[1,{"b":"\u00e9","c":1.50}],"d":null}}"#,
                r#"{"note":{"d":null,"a":[1,{"c":1.50,"b":"é"}]},"amount":-0.00,"account":2}"#,
                "{\"note\":{\n\t\"d\" : null , \"a\" : [ 1, { \"c\":1.50, \"b\":\"\u{e9}\" } ] },\"amount\":0e5,\"account\":2}",
            ],
            &[
                r#"{"account":2,"amount":0,"note":{"a":[1,{"b":"e\u0301","c":1.50}],"d":null}}"#,
                r#"{"account":2,"amount":0,"note":{"a":[1,{"b":"é","c":1.5}],"d":null}}"#,
                r#"{"account":2,"amount":0,"note":{"a":[{"b":"é","c":1.50},1],"d":null}}"#,
                r#"{"account":2,"amount":0,"note":{"a":[1,{"b":"é","c":1.50}]}}"#,
            ],
        ),
    ];
    for (account, (key, same, others)) in (1..).zip(spelled) {
        let first = send(key, same[0]).await;
        assert_eq!((first.0, first.1), (200, false), "{first:?}");
        for again in same {
            assert_eq!(send(key, again).await, (200, true, first.2.clone()), "{again}");
        }
        for other in others {
            assert_eq!(send(key, other).await.0, 422, "{other}");
        }
        assert_eq!(paid(&world, account), 1);
    }
}

/// A header is one in any case; one that is there twice names no key, where that can be seen.
#[tokio::test]
async fn a_header_is_one_key() {
    let world = setup(Engine::Postgres).start().await;
    let rest = |headers: Value| {
        json!({
            "httpMethod": "POST", "path": "/pay", "resource": "/{proxy+}", "body": r#"{"account":1}"#,
            "multiValueHeaders": headers, "requestContext": {"resourcePath": "/{proxy+}", "stage": "prod"},
        })
    };
    let http = |headers: Value| {
        let mut event = post("pay", None, None, r#"{"account":1}"#);
        event["headers"] = headers;
        event
    };
    let first =
        reply(&world, http(json!({"idempotency-key": "k", "content-type": "application/json"}))).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    for same in [
        http(json!({"IDEMPOTENCY-KEY": "k", "content-type": "application/json"})),
        rest(json!({"Idempotency-Key": ["k"], "Content-Type": ["application/json"]})),
        rest(json!({"iDEMPOTENCY-kEY": ["k"], "content-type": ["application/json"]})),
    ] {
        assert_eq!(reply(&world, same.clone()).await, (200, true, first.2.clone()), "{same}");
    }
    for twice in [
        http(json!({"Idempotency-Key": "k", "idempotency-key": "k", "content-type": "application/json"})),
        rest(json!({"Idempotency-Key": ["k", "k"], "Content-Type": ["application/json"]})),
        rest(json!({"Idempotency-Key": ["k", "l"], "Content-Type": ["application/json"]})),
        rest(
            json!({"Idempotency-Key": ["k"], "idempotency-key": ["l"], "content-type": ["application/json"]}),
        ),
        rest(json!({"Idempotency-Key": ["k", ""], "Content-Type": ["application/json"]})),
    ] {
        assert_eq!(code(&world, twice.clone()).await, (400, "bad_event".into()), "{twice}");
    }
    assert_eq!((paid(&world, 1), keys(&world)), (1, 1));
    // Whoever joins them tells nothing of it: that is another key, which holds like any.
    for replayed in [false, true] {
        let joined = http(json!({"idempotency-key": "k,k", "content-type": "application/json"}));
        assert_eq!(reply(&world, joined).await.1, replayed);
    }
    assert_eq!((paid(&world, 1), keys(&world)), (2, 2));
}

async fn a_list_has_one_key(engine: Engine) {
    let world = setup(engine).start().await;
    let step = |query: &str, account: u64| json!({"query": query, "params": {"account": account}});
    let list = |key: &str, second: u64| json!({"transaction": [step("pay", 1), step("plain", second)], "idempotencyKey": key});
    let first = reply(&world, list("k", 1)).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    assert_eq!(reply(&world, list("k", 1)).await, (200, true, first.2));
    assert_eq!(code(&world, list("k", 2)).await, (422, "idempotency_key_reused".into()));
    assert_eq!(paid(&world, 1), 2);

    let batch = json!({
        "batch": {"query": "pay", "params": [{"account": 3}, {"account": 3}, {"account": 3}]},
        "idempotencyKey": "b",
    });
    let first = reply(&world, batch.clone()).await;
    assert_eq!((first.0, first.1), (200, false), "{first:?}");
    assert_eq!(reply(&world, batch).await, (200, true, first.2));
    assert_eq!(paid(&world, 3), 3);

    // Without a key, where a step asks for one; and with one, where none does.
    let without = json!({"transaction": [step("plain", 4), step("pay", 4)]});
    assert_eq!(code(&world, without).await, (400, "bad_event".into()));
    let with = json!({"transaction": [step("plain", 4)], "idempotencyKey": "k"});
    assert_eq!(code(&world, with).await, (400, "bad_event".into()));
    // A step's own failure is told with its number, as ever.
    let failing = json!({
        "transaction": [step("pay", 4), {"query": "unique", "params": {"id": 1}}, {"query": "unique", "params": {"id": 1}}],
        "idempotencyKey": "f",
    });
    let (status, body) = world.call(failing).await;
    assert_eq!(
        (status, &body["error"]["code"], &body["error"]["step"]),
        (409, &json!("constraint"), &json!(2)),
        "{body}"
    );
    assert_eq!(paid(&world, 4), 0);
}

async fn a_message_that_comes_again_is_done_once(engine: Engine) {
    let world = setup(engine).start().await;
    let messages = |count: &str, accounts: &[u64]| {
        let record = |account: &u64| {
            json!({
                "messageId": format!("m{account}"), "eventSource": "aws:sqs",
                "attributes": {"ApproximateReceiveCount": count},
                "body": json!({"query": "by_message", "params": {"account": account}}).to_string(),
            })
        };
        json!({"Records": accounts.iter().map(record).collect::<Vec<_>>()})
    };
    for (count, accounts) in [("1", &[1, 2][..]), ("2", &[1, 2, 3]), ("1", &[3])] {
        let outcome = world.invoke(messages(count, accounts)).await.json().unwrap();
        assert_eq!(outcome, json!({"batchItemFailures": []}));
    }
    for account in 1..=3 {
        assert_eq!(paid(&world, account), 1, "{account}");
    }
}

async fn a_missing_table_is_named(engine: Engine) {
    let world = setup(engine).start().await;
    world.sql("DROP TABLE lambda_rds_idempotency");
    let (status, body) = world.call(pay("pay", "k", 1)).await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("query_failed")), "{body}");
    assert_eq!(body["error"]["retryable"], false);
    // With what makes it, as JSON writes that.
    let ddl = table(engine).split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "\\\"");
    let named = |line: &str| {
        line.contains("lambda-rds tables --engine")
            && line.contains("lambda_rds_idempotency")
            && line.contains(&ddl)
    };
    world.function.wait_for_log(named, PATIENCE).await.unwrap();
    assert_eq!(paid(&world, 1), 0);
}

async fn a_write_with_a_key_takes_no_flight_more(engine: Engine) {
    let world = setup(engine).start().await;
    let wire = world.another_wire();
    let other = world.another_with(&[("DB_PORT", &wire.to())]).await;
    let step = |query: &str| json!({"query": query, "params": {"account": 2}});
    let list =
        |key: &str| json!({"transaction": [step("pay"), step("plain"), step("pay")], "idempotencyKey": key});
    for key in ["a", "b"] {
        for function in [&world.function, &other] {
            until_done(function, pay("pay", key, 1)).await;
            until_done(function, list(key)).await;
        }
    }
    for event in [pay("pay", "c", 1), list("c")] {
        world.wire().reset();
        assert!(!until_done(&world.function, event.clone()).await.0);
        assert_eq!(world.wire().flights(), flights(engine));
        // The reply that is stored is one flight, whether the environment has met the key or not.
        for (function, wire) in [(&world.function, world.wire()), (&other, &*wire), (&other, &*wire)] {
            wire.reset();
            assert!(until_done(function, event.clone()).await.0);
            assert_eq!((wire.flights(), wire.connections()), (1, 0));
        }
    }
}

/// A refused claim: no step has run behind it, and the server has ended all that it began, in the same flight.
#[tokio::test]
async fn a_replay_runs_no_step_and_holds_nothing() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        let world = setup(engine).start().await;
        let other = world.another().await;
        for function in [&world.function, &other] {
            until_done(function, pay("pay", "warm", 1)).await;
        }
        let (_, first) = until_done(&world.function, pay("pay", "k", 2)).await;
        let next = || {
            world.sql("INSERT INTO payments (account) VALUES (9)");
            world.sql("SELECT max(id) FROM payments").parse::<u64>().unwrap()
        };
        let before = next();
        for function in [&world.function, &other, &other] {
            assert_eq!(until_done(function, pay("pay", "k", 2)).await, (true, first.clone()));
            until("no transaction", || world.in_transaction() == 0).await;
            // It would have to wait for whoever holds one of them.
            world.sql("SELECT count(*) FROM lambda_rds_idempotency FOR UPDATE NOWAIT");
        }
        // What is undone leaves a gap in these numbers.
        assert_eq!(next(), before + 1, "a step has run");
        assert_eq!(world.sessions(), 2);
    }
}

/// The reply cannot be kept, while an expired key is swept before it: nothing is committed, and it may be tried again.
#[tokio::test]
async fn what_has_no_reply_is_not_committed() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        let world = setup(engine).start().await;
        let past = "UTC_TIMESTAMP(6) - INTERVAL 1 SECOND";
        for key in ["a", "b", "expired"] {
            until_done(&world.function, pay("pay", key, 1)).await;
        }
        world.sql(&format!(
            "UPDATE lambda_rds_idempotency SET expires_at = {past} ORDER BY created_at DESC LIMIT 1"
        ));
        world.sql(
            "CREATE TRIGGER refuse BEFORE UPDATE ON lambda_rds_idempotency FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'",
        );
        for times in 1..=2 {
            world.wire().reset();
            let (status, body) = world.call(pay("pay", "k", 2)).await;
            assert_eq!((status, &body["error"]["code"]), (422, &json!("rejected")), "{body}");
            assert_eq!((paid(&world, 2), keys(&world)), (0, 3), "{times}");
            assert_eq!((world.wire().flights(), world.wire().connections()), (4, 0), "a ROLLBACK more");
            until("no transaction", || world.in_transaction() == 0).await;
        }
        world.sql("DROP TRIGGER refuse");
        assert!(!until_done(&world.function, pay("pay", "k", 2)).await.0);
        assert_eq!((paid(&world, 2), keys(&world)), (1, 3));
    }
}

/// The row of the key is gone, or has a reply by now, which is somebody else's: nothing is committed.
async fn a_write_whose_key_is_gone_is_undone(engine: Engine) {
    let more = "-- name: usurp :exec\nUPDATE lambda_rds_idempotency SET reply = 'theirs' WHERE reply IS NULL;\n\
                -- name: wipe :exec\nDELETE FROM lambda_rds_idempotency;\n";
    let setup = || setup(engine).queries(queries(engine) + more);
    let mut worlds = vec![setup().start().await];
    if engine != Engine::Sqlite {
        worlds.push(setup().env("DB_PIPELINE", "off").start().await);
    }
    match engine {
        Engine::Postgres => worlds.push(setup().pooler(2).start().await),
        Engine::Sqlite => {}
        _ => worlds.push(setup().env("DB_POOLER", "transaction").start().await),
    }
    for world in worlds {
        assert_eq!(reply(&world, pay("pay", "first", 1)).await.0, 200);
        for query in ["usurp", "wipe", "wipe"] {
            let pay = json!({"query": "pay", "params": {"account": 2}});
            let list = json!({"transaction": [pay, {"query": query}], "idempotencyKey": "k"});
            let outcome = world.invoke(list).await;
            let (status, body) = outcome.reply().unwrap();
            assert_eq!((status, &body["error"]["code"]), (500, &json!("query_failed")), "{query}: {body}");
            let line = world.last_log(&outcome.request_id).await;
            assert!(
                line["detail"].as_str().unwrap().contains("the row that the transaction is committed by")
            );
            assert_eq!((paid(&world, 2), keys(&world)), (0, 1), "{query}");
            if engine != Engine::Sqlite {
                until("no transaction", || world.in_transaction() == 0).await;
            }
        }
        assert!(reply(&world, pay("pay", "first", 1)).await.1);
    }
}

/// A reply that is longer than the server takes in one message (`max_allowed_packet`) cannot be kept: nothing is written, it is
/// told, and the function goes on. So it is with a parameter.
#[tokio::test]
async fn a_reply_that_the_server_does_not_take_is_not_kept() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        what_the_server_does_not_take(setup(engine), engine).await;
    }
}

/// The same behind a pooler, where a session is opened without a question to the server.
#[tokio::test]
async fn a_reply_that_the_server_does_not_take_is_not_kept_behind_a_pooler() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        let world =
            what_the_server_does_not_take(setup(engine).env("DB_POOLER", "transaction"), engine).await;
        // It is asked once in a session how much it takes, and only before what is long.
        let noted = async |function: &Function, bytes: usize| {
            let params = json!({"account": 8, "note": "x".repeat(bytes)});
            let event = json!({"query": "noted", "params": params});
            world.wire().reset();
            assert_eq!(function.invoke(event).await.unwrap().reply().unwrap().0, 200);
            world.wire().flights()
        };
        let other = world.another().await;
        noted(&other, 10).await;
        for (bytes, flights) in [(50_000, 3), (500_000, 4), (500_000, 3), (1_000_000, 3)] {
            assert_eq!(noted(&other, bytes).await, flights, "{bytes}");
        }
        assert_eq!(paid(&world, 8), 5);
    }
}

async fn what_the_server_does_not_take(setup: Setup, engine: Engine) -> World {
    let wide = "-- name: wide :many\n-- param: n int\nSELECT v FROM wide WHERE n <= :n;\n\n\
                -- name: noted :exec\n-- param: account int\n-- param: note json? = null\n\
                INSERT INTO payments (account, note) VALUES (:account, :note);\n\n";
    let world = setup
        .own_server()
        .schema(format!(
            "{};\nCREATE TABLE wide (n bigint, v longtext);\nSET GLOBAL max_allowed_packet = 1048576",
            schema(engine).trim_end().trim_end_matches(';')
        ))
        .queries(queries(engine) + wide)
        .env("DB_IDEMPOTENCY_REPLY", "6000000")
        .start()
        .await;
    for n in 1..=40 {
        world.sql(&format!("INSERT INTO wide VALUES ({n}, repeat('x', 100000))"));
    }
    let list = |key: &str, n: u64| {
        json!({
            "transaction": [
                {"query": "pay", "params": {"account": n}},
                {"query": "wide", "params": {"n": n}},
            ],
            "idempotencyKey": key,
        })
    };
    for key in ["small", "small"] {
        assert_eq!(code(&world, list(key, 9)).await, (200, "none".into()));
    }
    assert_eq!((paid(&world, 9), keys(&world)), (1, 1));
    for _ in 0..2 {
        assert_eq!(code(&world, list("large", 40)).await, (413, "result_too_large".into()));
        assert_eq!((paid(&world, 40), keys(&world)), (0, 1));
        until("no transaction", || world.in_transaction() == 0).await;
    }
    assert_eq!(code(&world, list("large", 5)).await, (200, "none".into()));

    // A parameter, likewise, whatever comes behind it.
    let long = json!({"account": 7, "note": "x".repeat(3_000_000)});
    let pay = json!({"query": "pay", "params": {"account": 7}});
    for event in [
        json!({"transaction": [pay, {"query": "pay", "params": long}, pay], "idempotencyKey": "p"}),
        json!({"transaction": [{"query": "plain", "params": {"account": 7}}, {"query": "noted", "params": long}]}),
        json!({"batch": {"query": "noted", "params": [{"account": 7}, long, {"account": 7}]}}),
        json!({"query": "noted", "params": long}),
    ] {
        assert_eq!(code(&world, event).await, (400, "bad_parameter".into()));
        assert_eq!(paid(&world, 7), 0);
        until("no transaction", || world.in_transaction() == 0).await;
    }
    assert_eq!(code(&world, json!({"query": "plain", "params": {"account": 7}})).await.0, 200);
    assert_eq!(world.sessions(), 1);
    world
}

/// A deadlock at the sweep undoes all of the transaction, and the server goes on; the twin that waited for the key does the write,
/// and its reply is the one for both.
#[tokio::test]
async fn a_sweep_that_deadlocks_undoes_the_write() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        let nap = "-- name: nap :one\nSELECT GET_LOCK(CONCAT('nap ', DATABASE()), 60) AS got, \
                   RELEASE_LOCK(CONCAT('nap ', DATABASE())) AS released;\n";
        let world = setup(engine)
            .schema(format!(
                "{}CREATE TABLE heavy (id INT PRIMARY KEY, n INT NOT NULL);
                 CREATE TABLE held (n INT NOT NULL);
                 INSERT INTO heavy SELECT seq, 0 FROM (WITH RECURSIVE s (seq) AS
                     (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 500) SELECT seq FROM s) AS all_of_them;
                 INSERT INTO held VALUES (0);
                 CREATE TRIGGER swept BEFORE DELETE ON lambda_rds_idempotency FOR EACH ROW UPDATE held SET n = n + 1;",
                schema(engine)
            ))
            .queries(queries(engine) + nap)
            .env("DB_QUERY_TIMEOUT", "90s")
            .timeout(Duration::from_secs(100))
            .start()
            .await;
        let other = world.another().await;
        let unique = |id: u64| json!({"query": "unique", "params": {"id": id}});
        let list = |key: &str, id: u64| {
            let pay = json!({"query": "pay", "params": {"account": id}});
            json!({"transaction": [unique(id), {"query": "nap"}, pay], "idempotencyKey": key})
        };
        for (function, id) in [(&world.function, 11), (&world.function, 12), (&other, 13), (&other, 14)] {
            until_done(function, list(&format!("warm {id}"), id)).await;
        }
        world.sql(
            "UPDATE lambda_rds_idempotency SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND LIMIT 1",
        );

        let sleeper = world.meanwhile("SELECT GET_LOCK(CONCAT('nap ', DATABASE()), 60);\nSELECT SLEEP(100)");
        until("the nap", || world.anybody_running("SLEEP(100)") == 1).await;
        let retries = async |function: &Function| {
            let outcome = function.invoke(list("k", 1)).await.unwrap();
            let reply = outcome.json().unwrap();
            assert_eq!(reply["statusCode"], 200, "{reply}");
            let line = crate::world::last_log(function, &outcome.request_id).await;
            (
                reply["headers"]["idempotency-replayed"] == "true",
                reply["body"].clone(),
                line["retries"].clone(),
            )
        };
        let first = retries(&world.function);
        let twin = async {
            until("the first one's nap", || world.running_that("GET_LOCK") == 1).await;
            let twin = retries(&other);
            let collide = async {
                until("the twin", || world.running_that("(id, request, created_at") == 1).await;
                // The heavier transaction, which the server lets live.
                let heavier = world.meanwhile(
                    "START TRANSACTION;\nUPDATE heavy SET n = n + 1;\nUPDATE held SET n = n + 1;\n\
                     DELETE FROM uniques WHERE id = 1;\nROLLBACK",
                );
                until("the heavier one", || world.anybody_running("DELETE FROM uniques") == 1).await;
                world.end_who_runs("SLEEP(100)");
                assert!(!sleeper.join().unwrap(), "it was to hold the lock for longer");
                assert!(heavier.join().unwrap());
            };
            futures_util::future::join(twin, collide).await.0
        };
        let (first, twin) = futures_util::future::join(first, twin).await;
        assert_eq!((first.0, twin.0, &first.1), (true, false, &twin.1), "{first:?} {twin:?}");
        assert!(first.2.as_u64().unwrap() > 0, "{first:?}");
        assert_eq!((world.count("uniques WHERE id = 1"), paid(&world, 1)), (1, 1));
        assert_eq!(world.sql("SELECT sum(n) FROM heavy"), "0");
        // The twin has swept.
        assert_eq!((keys(&world), world.sql("SELECT n FROM held")), (4, "1".into()));
        until("no transaction", || world.in_transaction() == 0).await;
    }
}

/// The sweep is refused beside COMMIT, which undoes nothing else; and the answers are cut off at bytes all along them: so also
/// behind that refusal, and before the answer to what commits. It is a lost connection, and whoever runs again finds the reply.
#[tokio::test]
async fn a_refused_sweep_says_nothing_of_a_lost_commit() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        let world = setup(engine).start().await;
        for key in ["a", "b"] {
            until_done(&world.function, pay("pay", key, 0)).await;
        }
        world.sql(
            "UPDATE lambda_rds_idempotency SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND LIMIT 1",
        );
        world.sql(
            "CREATE TRIGGER refuse BEFORE DELETE ON lambda_rds_idempotency FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'",
        );
        world.wire().reset();
        until_done(&world.function, pay("pay", "way", 0)).await;
        let (way, wire) = (world.wire().bytes(Direction::ToClient), world.wire());
        assert_eq!(wire.flights(), flights(engine));
        let refused =
            |line: &str| line.contains("not what was to be done beside it") && line.contains("1644");
        world.function.wait_for_log(refused, PATIENCE).await.unwrap();
        let (mut account, mut found, mut ran) = (0, 0, 0);
        // Each answer is longer than a step.
        for bytes in (0..way).step_by(5) {
            account += 1;
            until_done(&world.function, pay("pay", &format!("warm {account}"), 0)).await;
            let event = pay("pay", &format!("key {account}"), account);
            wire.inject(Fault::cut(Direction::ToClient, After::Bytes(bytes), Cut::Fin));
            let (status, replayed, body) = reply(&world, event.clone()).await;
            assert!(!wire.disarm(), "the call is shorter than {bytes} bytes");
            assert_eq!(status, 200, "{bytes} of {way}: {body}");
            found += u64::from(replayed);
            ran += u64::from(!replayed);
            assert_eq!(reply(&world, event).await, (200, true, body), "{bytes} of {way}");
            assert_eq!(paid(&world, account), 1, "{bytes} of {way}");
        }
        // COMMIT was done in some of them, and not reached in others.
        assert!(found > 0 && ran > 0, "{found} {ran}");
        assert_eq!(keys(&world), 3 + 2 * account);
        until("no transaction", || world.in_transaction() == 0).await;
    }
}

/// What it claimed has expired by the time that it has a reply: it is not swept before that is kept.
async fn a_write_may_take_longer_than_its_key_holds(engine: Engine) {
    let nap = match engine {
        Engine::Postgres => "-- name: nap :one\nSELECT 1 AS n FROM pg_sleep(1.5);\n",
        _ => "-- name: nap :one\nSELECT SLEEP(1.5) AS n;\n",
    };
    let world = setup(engine).queries(queries(engine) + nap).start().await;
    let list = |query: &str, key: &str| json!({"transaction": [{"query": query, "params": {"account": 1}}, {"query": "nap"}], "idempotencyKey": key});
    until_done(&world.function, list("brief", "warm")).await;
    for times in 2..=3 {
        assert!(!until_done(&world.function, list("brief", "k")).await.0);
        assert_eq!(paid(&world, 1), times);
    }
}

/// Cuts the wire in each flight of a call, in both directions; the caller repeats it until it is told 200.
async fn cut_anywhere_it_is_done_once(engine: Engine) {
    cut_anywhere(setup(engine).start().await, 4).await;
}

/// The same behind PgBouncer: the wire that is cut is the one to it.
#[tokio::test]
async fn cut_anywhere_behind_a_pooler_it_is_done_once() {
    cut_anywhere(setup(Engine::Postgres).pooler(2).start().await, 4).await;
}

/// As behind RDS Proxy on MySQL, where each statement is a flight of its own.
#[tokio::test]
async fn cut_anywhere_one_by_one_it_is_done_once() {
    cut_anywhere(setup(Engine::Mysql).env("DB_POOLER", "transaction").start().await, 10).await;
}

/// Behind a name of RDS Proxy's: no session has settings there, nothing can be cancelled, and on PostgreSQL no limits are told
/// either. What lends the connections here is PgBouncer, and on MySQL nothing.
#[tokio::test]
async fn cut_anywhere_behind_rds_proxys_name_it_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let library = preloaded("names", folder.path());
    for (engine, flights) in [(Engine::Postgres, 4), (Engine::Mysql, 10), (Engine::MariaDb, 10)] {
        let setup = setup(engine)
            .named(RDS_PROXY_NAME)
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("LAMBDA_RDS_DIAGNOSE", "true");
        let world = if engine == Engine::Postgres { setup.pooler(2) } else { setup }.start().await;
        let (_, told) = world.call(json!({"diagnose": true})).await;
        assert!(told.to_string().contains("rds-proxy"), "{told}");
        for account in [1, 1, 2] {
            assert_eq!(
                reply(&world, pay("pay", "who", account)).await.0,
                if account == 1 { 200 } else { 422 }
            );
        }
        let step = |query: &str| json!({"query": query, "params": {"account": 3}});
        let list = json!({"transaction": [step("pay"), step("plain"), step("pay")], "idempotencyKey": "l"});
        let first = reply(&world, list.clone()).await;
        assert_eq!((first.0, first.1), (200, false), "{first:?}");
        assert_eq!(reply(&world, list).await, (200, true, first.2));
        world.sql("DELETE FROM payments");
        cut_anywhere(world, flights).await;
    }
}

async fn cut_anywhere(world: World, flights: u64) {
    let engine = world.engine;
    for key in ["a", "b"] {
        assert_eq!(reply(&world, pay("pay", key, 0)).await.0, 200);
    }
    let mut account = 0;
    let (mut replays, mut cuts) = (0, 0);
    for always in [false, true] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            for flight in 0..flights {
                for cut in [Cut::Fin, Cut::Rst] {
                    account += 1;
                    assert_eq!(reply(&world, pay("pay", &format!("warm {account}"), 0)).await.0, 200);
                    let key = format!("key {account}");
                    let fault = Fault::cut(direction, After::Flights(flight), cut);
                    for wire in world.wires() {
                        wire.inject(if always { fault.always() } else { fault });
                    }
                    let mut bodies = Vec::new();
                    for attempt in 0..20 {
                        let (status, replayed, body) = reply(&world, pay("pay", &key, account)).await;
                        if attempt == 0 {
                            cuts += u64::from(
                                world.wires().into_iter().filter(|wire| !wire.disarm()).count() > 0,
                            );
                        }
                        if status == 200 {
                            replays += u64::from(replayed);
                            bodies.push(body);
                            if bodies.len() == 2 {
                                break;
                            }
                            continue;
                        }
                        let body: Value = serde_json::from_str(&body).unwrap();
                        assert!(body["error"]["retryable"] == true, "{status} {body}");
                        assert_ne!(body["error"]["code"], "outcome_unknown");
                    }
                    assert!(
                        bodies.len() == 2 && bodies[0] == bodies[1],
                        "{direction:?} {flight}: {bodies:?}"
                    );
                    until("one payment", || paid(&world, account) == 1).await;
                }
            }
        }
    }
    println!("{engine:?}: {cuts} cuts, {replays} replays of {} calls", 2 * account);
    assert!(cuts > 0);
    // Some first replies were the stored ones: COMMIT had been done.
    assert!(replays > account, "{replays} {account}");
}

async fn callers_of_one_key_at_once(engine: Engine) {
    let world = setup(engine)
        .env("AWS_LAMBDA_MAX_CONCURRENCY", "50")
        .env("DB_MAX_CONNECTIONS", "25")
        .timeout(Duration::from_secs(60))
        .start()
        .await;
    for (round, callers) in [(1, 2), (2, 50), (3, 2), (4, 50)] {
        let key = format!("round {round}");
        let calls = (0..callers).map(|_| async {
            loop {
                let (status, replayed, body) = reply(&world, pay("pay", &key, round)).await;
                if status == 200 {
                    return (replayed, body);
                }
                let told: Value = serde_json::from_str(&body).unwrap();
                assert!(told["error"]["retryable"] == true, "{body}");
            }
        });
        let replies = join_all(calls).await;
        assert_eq!(paid(&world, round), 1, "{callers} callers");
        let first = &replies[0].1;
        assert!(replies.iter().all(|(_, body)| body == first), "{replies:?}");
        // One did it; it may have lost its reply to a conflict, and then found it.
        assert!(replies.iter().filter(|(replayed, _)| !replayed).count() <= 1);
    }
}

/// The same while the wires are cut. `cargo xtask soak` has more of it.
async fn callers_of_one_key_under_cuts(engine: Engine) {
    const CALLERS: usize = 50;
    const CUTS_AT_ONCE: u64 = 6;
    let cuts = crate::cuts::setting("TESTBED_CUTS").map_or(12, |cuts| cuts / 20).max(12);
    let world = setup(engine)
        .env("AWS_LAMBDA_MAX_CONCURRENCY", "25")
        .env("DB_MAX_CONNECTIONS", "12")
        .env("DB_CONNECT_TIMEOUT", "20s")
        .timeout(Duration::from_secs(60))
        .start()
        .await;
    let wire = world.another_wire();
    let other = world.another_with(&[("DB_PORT", &wire.to())]).await;
    let struck = AtomicU64::new(0);
    let mut round = 0;
    while struck.load(Ordering::Relaxed) < cuts {
        round += 1;
        assert!(round < 10 * cuts, "the cuts strike nobody");
        let event = pay("pay", &format!("round {round}"), round);
        let callers = (0..CALLERS)
            .map(|caller| until_done(if caller % 2 == 0 { &world.function } else { &other }, event.clone()));
        let cutter = async {
            for cut in 0..CUTS_AT_ONCE {
                let wire = if cut % 2 == 0 { world.wire() } else { &*wire };
                let direction = if fastrand::bool() { Direction::ToServer } else { Direction::ToClient };
                let kind = if fastrand::bool() { Cut::Fin } else { Cut::Rst };
                wire.inject(Fault::cut(direction, After::Flights(fastrand::u64(..3)), kind));
                for _ in 0..50 {
                    if !wire.armed() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                struck.fetch_add(u64::from(!wire.disarm()), Ordering::Relaxed);
            }
        };
        let (replies, ()) = futures_util::future::join(join_all(callers), cutter).await;
        assert_eq!(paid(&world, round), 1, "round {round}");
        let first = &replies[0].1;
        assert!(replies.iter().all(|(_, body)| body == first), "round {round}: {replies:?}");
        assert!(replies.iter().filter(|(replayed, _)| !replayed).count() <= 1, "round {round}");
    }
    assert_eq!((world.count("payments"), keys(&world)), (round, round));
    println!(
        "{engine:?}: {CALLERS} callers of one key, {round} times, under {} cuts: lost 0, doubled 0",
        struck.into_inner()
    );
}

/// The function is killed while its wire stands still at each flight of a call, in both directions; another environment is
/// asked the same.
async fn killed_at_any_flight_it_is_done_once(engine: Engine) {
    let world = setup(engine).start().await;
    let wire = world.another_wire();
    let (mut account, mut before, mut after) = (0, 0, 0);
    for direction in [Direction::ToServer, Direction::ToClient] {
        for flight in 0..flights(engine) {
            account += 1;
            let function = world.another_with(&[("DB_PORT", &wire.to())]).await;
            // What it learns of the statements the first time is behind it.
            for warm in 0..2 {
                until_done(&function, pay("pay", &format!("warm {account} {warm}"), 0)).await;
            }
            let event = pay("pay", &format!("key {account}"), account);
            wire.inject(Fault::stall(direction, After::Flights(flight)));
            tokio::select! {
                outcome = function.invoke(event.clone()) => panic!("{direction:?} {flight}: {outcome:?}"),
                () = until("the wire to stand still", || !wire.armed()) => {}
            }
            function.kill().unwrap();
            // As its kernel does; and the wire is at an end.
            for wire in wire.all() {
                wire.cut(Cut::Rst);
                until("the end of the wire", || wire.open_connections() == 0).await;
            }
            let (replayed, body) = until_done(&world.function, event.clone()).await;
            before += u64::from(replayed);
            after += u64::from(!replayed);
            assert_eq!(until_done(&world.function, event).await, (true, body));
            assert_eq!(paid(&world, account), 1, "{direction:?} {flight}");
        }
    }
    // COMMIT's answer was under way in one of them, and nothing was sent in another.
    assert!(before > 0 && after > 0, "{before} {after}");
    assert_eq!(world.in_transaction(), 0);
}

/// The answer to COMMIT never comes, and nothing tells that the connection is gone: without a key nobody could know. With one the
/// call is too late, which is retryable, and whoever sends it again gets the reply.
async fn an_answer_that_never_comes_is_no_riddle(engine: Engine) {
    let world = setup(engine).env("DB_QUERY_TIMEOUT", "2s").start().await;
    let mut account = 0;
    unless_stalled(Duration::from_secs(2), async || {
        account += 1;
        for warm in 0..2 {
            until_done(&world.function, pay("pay", &format!("warm {account} {warm}"), 0)).await;
        }
        let event = pay("pay", &format!("key {account}"), account);
        world.wire().inject(Fault::stall(Direction::ToClient, After::Flights(flights(engine) - 1)));
        let (status, body) = world.call(event.clone()).await;
        let struck = !world.wire().disarm();
        assert!(!struck || (status, &body["error"]["code"]) == (504, &json!("timeout")), "{status} {body}");
        assert!(status == 200 || body["error"]["retryable"] == true, "{body}");
        let done = paid(&world, account);
        let (replayed, _) = until_done(&world.function, event).await;
        assert_eq!((replayed, paid(&world, account)), (done == 1, 1));
        if struck {
            assert_eq!(done, 1);
            return Ok(());
        }
        Err(format!("the time was up before COMMIT: {body}"))
    })
    .await;
}

/// The flights of a write with a key, the last of which is COMMIT.
fn flights(engine: Engine) -> u64 {
    if engine.plain() == Engine::Postgres { 2 } else { 3 }
}

/// The function is killed at some moment of a call; another environment is asked the same.
async fn killed_it_is_done_once(engine: Engine) {
    let world = setup(engine).start().await;
    reply(&world, pay("pay", "warm", 0)).await;
    for round in 1..=8 {
        let function = world.another().await;
        let key = format!("round {round}");
        function.invoke(pay("pay", "warm", 0)).await.unwrap();
        let call = function.invoke(pay("pay", &key, round));
        let kill = async {
            tokio::time::sleep(Duration::from_micros(700 * round)).await;
            function.kill().unwrap();
        };
        let (_, ()) =
            futures_util::future::join(tokio::time::timeout(Duration::from_millis(300), call), kill).await;
        // Its session, and on SQLite its lock, may outlive it by a moment.
        let (_, first) = until_done(&world.function, pay("pay", &key, round)).await;
        assert_eq!(until_done(&world.function, pay("pay", &key, round)).await, (true, first));
        assert_eq!(paid(&world, round), 1);
    }
}

/// Compiles what stands beside this file, to be loaded before the C library.
fn preloaded(name: &str, into: &Path) -> PathBuf {
    let library = into.join(format!("{name}.so"));
    let source = format!("{}/tests/function/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let compiler = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{compiler:?}");
    library
}

/// The function's clock jumps, two days ahead and twenty hours back: no key is over for that, and none holds longer, for the times
/// of the table are the server's.
#[tokio::test]
async fn a_clock_that_jumps_neither_loses_nor_doubles() {
    const HOUR: i64 = 3600;
    let folder = tempfile::tempdir().unwrap();
    let (library, shift) = (preloaded("clock", folder.path()), folder.path().join("shift"));
    for engine in [Engine::Postgres, Engine::Mysql] {
        std::fs::write(&shift, "0").unwrap();
        let world = setup(engine)
            .env("LD_PRELOAD", library.to_str().unwrap())
            .env("SHIFTED_CLOCK", shift.to_str().unwrap())
            .start()
            .await;
        let (margin, later) = match engine {
            Engine::Postgres => ("interval '1 hour'", "now() + interval '24 hours'"),
            _ => ("INTERVAL 1 HOUR", "UTC_TIMESTAMP(6) + INTERVAL 24 HOUR"),
        };
        let mut bodies = Vec::new();
        for (account, seconds) in (1..).zip([0, 48 * HOUR, -20 * HOUR, 0]) {
            std::fs::write(&shift, seconds.to_string()).unwrap();
            let event = |account: u64| pay("pay", &format!("key {account}"), account);
            // A jump ahead may end the next call before anything was sent, as if its deadline had passed.
            let (replayed, body) = until_done(&world.function, event(account)).await;
            assert!(!replayed, "{body}");
            bodies.push(body);
            let outcome = world.invoke(event(account)).await;
            // It is the function's clock that has jumped.
            let line = world.last_log(&outcome.request_id).await;
            let told = line["timestamp"].as_str().unwrap().trim_end_matches('Z');
            let off = match engine {
                Engine::Postgres => {
                    format!("SELECT extract(epoch FROM '{told}Z'::timestamptz - now())::bigint")
                }
                _ => format!("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), '{told}')"),
            };
            let off: i64 = world.sql(&off).parse().unwrap();
            assert!((off - seconds).abs() < 6 * HOUR, "{off} {line}");
            // Also from an environment that begins with this clock; the servers' certificates are a day old.
            let other = world.another().await;
            for earlier in 1..=account {
                let index = usize::try_from(earlier).unwrap() - 1;
                for function in [&world.function, &other] {
                    assert_eq!(until_done(function, event(earlier)).await, (true, bodies[index].clone()));
                }
                assert_eq!(paid(&world, earlier), 1);
            }
        }
        let table = "lambda_rds_idempotency WHERE expires_at";
        let near = format!("{table} BETWEEN {later} - {margin} AND {later}");
        assert_eq!((world.count(&near), keys(&world)), (4, 4));
    }
}

/// Behind PgBouncer, and without sending ahead, the same.
#[tokio::test]
async fn behind_a_pooler_and_one_by_one() {
    let pooled = setup(Engine::Postgres).pooler(2).start().await;
    let single = setup(Engine::Postgres).env("DB_PIPELINE", "off").start().await;
    let mysql = setup(Engine::Mysql).env("DB_PIPELINE", "off").start().await;
    for world in [&pooled, &single, &mysql] {
        let first = reply(world, pay("pay", "k", 1)).await;
        assert_eq!((first.0, first.1), (200, false), "{first:?}");
        for _ in 0..2 {
            assert_eq!(reply(world, pay("pay", "k", 1)).await, (200, true, first.2.clone()));
        }
        assert_eq!(code(world, pay("pay", "k", 2)).await.0, 422);
        assert_eq!((paid(world, 1), paid(world, 2), keys(world)), (1, 0, 1));
        assert_eq!(reply(world, pay("pay", "another", 3)).await.0, 200);
        assert_eq!(world.in_transaction(), 0);
    }
    reply(&pooled, pay("pay", "warm", 4)).await;
    for (flights, replayed) in [(2, false), (1, true)] {
        pooled.wire().reset();
        assert_eq!(reply(&pooled, pay("pay", "cold", 5)).await.1, replayed);
        assert_eq!(pooled.wire().flights(), flights);
    }
}

/// What makes the session able to write, before BEGIN or with it, leaves nothing behind: a read is refused when it writes,
/// whether the key was claimed, met or refused before it.
async fn the_session_stays_read_only(engine: Engine) {
    let sly = "\n-- name: sly :many\n-- read\nSELECT sneak() AS n;\n";
    let sneak = match engine {
        Engine::Postgres => {
            "LANGUAGE sql VOLATILE AS 'INSERT INTO payments (account) VALUES (77) RETURNING 1'"
        }
        _ => "MODIFIES SQL DATA BEGIN INSERT INTO payments (account) VALUES (77); RETURN 1; END",
    };
    let world = Setup::new(engine)
        .schema(format!("{}\nCREATE FUNCTION sneak() RETURNS int {sneak};", schema(engine)))
        .queries(queries(engine) + sly)
        .start()
        .await;
    // What is used first is told apart below.
    code(&world, json!({"query": "sly"})).await;
    for account in [1, 1, 2, 1] {
        let _ = reply(&world, pay("pay", "k", account)).await;
        assert_eq!(code(&world, json!({"query": "sly"})).await, (500, "query_failed".into()));
        assert_eq!(world.wire().open_connections(), 1);
    }
    assert_eq!((paid(&world, 77), world.sessions()), (0, 1));
}

/// A million keys: what is asked of the table uses its indexes.
#[tokio::test]
async fn a_million_keys_are_found_by_their_index() {
    let world = setup(Engine::Postgres).start().await;
    world.sql(
        "INSERT INTO lambda_rds_idempotency (id, request, reply, created_at, expires_at) \
         SELECT sha256(int8send(n)), sha256('x'), '{}', now(), now() + interval '1 day' + n * interval '1 second' \
         FROM generate_series(1, 1000000) AS n; ANALYZE lambda_rds_idempotency",
    );
    let table = "lambda_rds_idempotency";
    for (sql, index) in [
        (format!("SELECT reply FROM {table} WHERE id = sha256('a')"), "lambda_rds_idempotency_pkey"),
        (
            format!(
                "DELETE FROM {table} WHERE id = ANY (ARRAY(SELECT id FROM {table} WHERE expires_at <= now() \
                 ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED))"
            ),
            "lambda_rds_idempotency_expires_at",
        ),
    ] {
        let plan = world.rows_of(&format!("EXPLAIN {sql}")).join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{plan}");
    }
    let mut times = Vec::new();
    for key in 0..30 {
        let started = std::time::Instant::now();
        assert_eq!(reply(&world, pay("pay", &format!("key {key}"), 1)).await.0, 200);
        times.push(started.elapsed());
    }
    times.sort();
    println!("p50 of a write with a key beside a million: {:?}", times[times.len() / 2]);
    assert_eq!(keys(&world), 1_000_030);
}

/// MySQL has one range to look at when it sweeps. A second one, of the primary key, would have it read ten pages there to
/// estimate how long that is, which among a million keys are cold.
#[tokio::test]
async fn what_is_swept_is_found_by_its_expiry_alone() {
    for (engine, explain) in [(Engine::Mysql, "EXPLAIN FORMAT=TRADITIONAL"), (Engine::MariaDb, "EXPLAIN")] {
        swept_by_expiry(engine, explain).await;
    }
}

async fn swept_by_expiry(engine: Engine, explain: &str) {
    let world = setup(engine).start().await;
    world.sql(
        "INSERT INTO lambda_rds_idempotency (id, request, created_at, expires_at) \
         SELECT UNHEX(SHA2(n, 256)), UNHEX(SHA2(n, 256)), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL n SECOND \
         FROM (SELECT 100 * (a.n + 10 * b.n) AS n FROM \
         (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) AS a, \
         (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) AS b) AS many",
    );
    let considered = |condition: &str| {
        let plan = world.rows_of(&format!(
            "{explain} SELECT id FROM lambda_rds_idempotency WHERE expires_at <= UTC_TIMESTAMP(6) AND {condition} \
             ORDER BY expires_at LIMIT 10 FOR UPDATE"
        ));
        plan.join("\n")
    };
    let plan = considered("NOT (id <=> UNHEX('01'))");
    assert!(plan.contains("expires_at") && !plan.contains("PRIMARY"), "{plan}");
    // If the server comes to make no range of this one, the other is not needed any more.
    let plan = considered("id <> UNHEX('01')");
    assert!(plan.contains("PRIMARY"), "{plan}");
}

/// A call whose key another one has is told so when its time is up, and gets that one's reply later.
async fn who_waits_too_long_for_its_twin_is_told_so(engine: Engine) {
    let (five, holding, holds, waits) = match engine {
        Engine::Postgres => (
            "5 FROM (SELECT pg_advisory_xact_lock(7)) AS waited",
            "SELECT pg_advisory_lock(7); SELECT pg_sleep(100)",
            "pg_sleep(100)",
            "advisory",
        ),
        _ => (
            "4 + GET_LOCK(CONCAT('nap ', DATABASE()), 60) * RELEASE_LOCK(CONCAT('nap ', DATABASE()))",
            "SELECT GET_LOCK(CONCAT('nap ', DATABASE()), 60);\nSELECT SLEEP(100)",
            "SLEEP(100)",
            "GET_LOCK",
        ),
    };
    let slow = format!(
        "\n-- name: slow :exec\n-- http: POST\n-- idempotency_key: header.Idempotency-Key\n\
         INSERT INTO payments (account) SELECT {five};\n"
    );
    let world = setup(engine)
        .queries(queries(engine) + &slow)
        .env("AWS_LAMBDA_MAX_CONCURRENCY", "2")
        .env("LAMBDA_RDS_HTTP_TIMEOUT", "1s")
        .env("DB_QUERY_TIMEOUT", "90s")
        .timeout(Duration::from_secs(100))
        .start()
        .await;
    // The first one waits until it is let through.
    let holder = world.meanwhile(holding);
    until("the lock", || world.anybody_running(holds) == 1).await;
    let direct = json!({"query": "slow", "idempotencyKey": "k"});
    let first = reply(&world, direct.clone());
    let second = async {
        until("the first one", || world.running_that(waits) > 0).await;
        let told = unless_stalled(Duration::from_secs(1), async || {
            let told = code(&world, post("slow", Some("k"), None, "{}")).await;
            if told == (409, "conflict".into()) { Ok(told) } else { Err(format!("{told:?}")) }
        })
        .await;
        world.end_who_runs(holds);
        assert!(!holder.join().unwrap(), "it was to hold the lock for longer");
        told
    };
    let (first, second) = futures_util::future::join(first, second).await;
    assert_eq!((first.0, first.1, second), (200, false, (409, "conflict".into())));
    assert_eq!(reply(&world, post("slow", Some("k"), None, "{}")).await, (200, true, first.2));
    assert_eq!(paid(&world, 5), 1);
}

/// Where no rollback undoes the write, once cannot be had: nothing is run.
#[tokio::test]
async fn a_table_without_transactions_is_refused() {
    let world = setup(Engine::Mysql).start().await;
    assert_eq!(reply(&world, pay("pay", "a", 1)).await.0, 200);
    world.sql("ALTER TABLE uniques ENGINE = MyISAM");
    let other = world.another().await;
    let event = json!({"query": "unique", "params": {"id": 1}, "idempotencyKey": "u"});
    let (status, body) = other.invoke(event).await.unwrap().reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (500, &json!("query_failed")), "{body}");
    let named = |line: &str| line.contains("no rollback undoes") && line.contains("`unique`");
    other.wait_for_log(named, PATIENCE).await.unwrap();
    assert_eq!((world.count("uniques"), keys(&world)), (0, 1));
}

/// What fails at COMMIT is no step's, and nothing is kept.
#[tokio::test]
async fn a_constraint_that_is_checked_at_commit() {
    let schema = schema(Engine::Postgres)
        .replace("id bigint PRIMARY KEY", "id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED");
    let world = Setup::new(Engine::Postgres).schema(schema).queries(queries(Engine::Postgres)).start().await;
    let step = json!({"query": "unique", "params": {"id": 1}});
    let list = json!({"transaction": [step, step], "idempotencyKey": "k"});
    for _ in 0..2 {
        let (status, body) = world.call(list.clone()).await;
        assert_eq!((status, &body["error"]["code"]), (409, &json!("constraint")), "{body}");
        assert_eq!(body["error"].get("step"), None, "{body}");
    }
    assert_eq!((world.count("uniques"), keys(&world)), (0, 0));
    assert_eq!(reply(&world, json!({"transaction": [step], "idempotencyKey": "k"})).await.0, 200);
}

/// `diagnose` names the table where it is missing, and what makes it.
#[tokio::test]
async fn diagnose_tells_of_a_missing_table() {
    for engine in [Engine::Postgres, Engine::Mysql, Engine::Sqlite] {
        let world = setup(engine).env("LAMBDA_RDS_DIAGNOSE", "true").start().await;
        let tells = async || {
            let (_, body) = world.call(json!({"diagnose": true})).await;
            body["warnings"].to_string().contains("lambda-rds tables --engine")
        };
        assert!(!tells().await, "{engine:?}");
        world.sql("DROP TABLE lambda_rds_idempotency");
        assert!(tells().await, "{engine:?}");
    }
}
