//! SQS: each message for itself, order where the queue promises it, and no harm in what comes twice.

use std::time::Duration;

use lambda_rds_testbed::unless_stalled;
use serde_json::{Value, json};

use crate::world::{CANCEL, Engine, Setup, World, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    a_poisoned_message_does_not_fail_its_neighbours,
    a_failure_holds_up_its_group_and_no_other,
    a_message_may_be_wrapped,
    what_is_delivered_again_is_done_once,
    a_message_is_all_or_nothing,
);
on_clusters!(
    a_poisoned_message_does_not_fail_its_neighbours,
    a_failure_holds_up_its_group_and_no_other,
    a_message_may_be_wrapped,
    what_is_delivered_again_is_done_once,
    a_message_is_all_or_nothing,
);

async fn a_poisoned_message_does_not_fail_its_neighbours(engine: Engine) {
    let world = world(engine).start().await;
    let batch = [
        message("m1", order("a")),
        message("m2", "no JSON".into()),
        message("m3", order("b")),
        message("m4", json!({"query": "unheard_of"}).to_string()),
        message("m5", json!({"query": "order", "params": {"item": 7}}).to_string()),
        message("m6", order("a")),
        message("m7", json!({"diagnose": true}).to_string()),
        message("m8", order("c")),
    ];
    let outcome = world.invoke(json!({ "Records": batch })).await;
    assert_eq!(failed(&outcome.json().unwrap()), ["m2", "m4", "m5", "m6", "m7"]);
    assert_eq!(orders(&world).await, json!([["m1", "a"], ["m3", "b"], ["m8", "c"]]));

    // One line about the invocation, and one about each message that failed, by which to find it.
    let line = world.last_log(&outcome.request_id).await;
    assert_eq!((&line["outcome"], &line["failedMessages"]), (&json!("ok"), &json!(5)));
    let mut failures = Vec::new();
    for line in world.function.logs() {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["messageId"].is_string() {
            assert_eq!((&line["level"], &line["requestId"]), (&json!("ERROR"), &json!(outcome.request_id)));
            failures.push(format!(
                "{} {}",
                line["messageId"].as_str().unwrap(),
                line["code"].as_str().unwrap()
            ));
        }
    }
    assert_eq!(
        failures,
        ["m2 bad_event", "m4 unknown_query", "m5 bad_parameter", "m6 constraint", "m7 bad_event"]
    );
}

async fn a_failure_holds_up_its_group_and_no_other(engine: Engine) {
    let world = world(engine).start().await;
    world.rows("take", json!({"item": "taken"})).await;
    let batch = [
        in_group("g", message("g1", order("g1"))),
        in_group("h", message("h1", order("h1"))),
        in_group("g", message("g2", order("taken"))),
        in_group("g", message("g3", order("g3"))),
        in_group("h", message("h2", order("h2"))),
        in_group("g", message("g4", order("g4"))),
        in_group("i", message("i1", "no JSON".into())),
        in_group("i", message("i2", order("i2"))),
    ];
    let reply = world.invoke(json!({ "Records": batch })).await.json().unwrap();
    assert_eq!(failed(&reply), ["g2", "g3", "g4", "i1", "i2"]);
    let taken = ["taken", "taken"];
    assert_eq!(orders(&world).await, json!([taken, ["g1", "g1"], ["h1", "h1"], ["h2", "h2"]]));

    // The reason is gone, and what was held up comes again, in order.
    world.rows("free", json!({"item": "taken"})).await;
    let again: Vec<&Value> = [2, 3, 5].map(|index| &batch[index]).into();
    let reply = world.invoke(json!({ "Records": again })).await.json().unwrap();
    assert_eq!(failed(&reply), [""; 0]);
    assert_eq!(
        orders(&world).await,
        json!([["g1", "g1"], ["h1", "h1"], ["h2", "h2"], ["g2", "taken"], ["g3", "g3"], ["g4", "g4"]])
    );
}

/// By SNS, by EventBridge, or by both; the id is SQS's in any case.
async fn a_message_may_be_wrapped(engine: Engine) {
    let world = world(engine).start().await;
    let sns = |message: &str| {
        json!({"Type": "Notification", "MessageId": "of SNS", "TopicArn": "arn:aws:sns:eu-central-1:1:t",
               "Message": message, "Timestamp": "2026-01-31T13:37:00.000Z"})
        .to_string()
    };
    let bridge = |detail: String| {
        json!({"version": "0", "id": "of EventBridge", "detail-type": "T", "source": "shop",
               "detail": serde_json::from_str::<Value>(&detail).unwrap()})
        .to_string()
    };
    let batch = [
        message("m1", sns(&order("sns"))),
        message("m2", bridge(order("bridge"))),
        message("m3", sns(&bridge(order("both")))),
        message("m4", sns("no JSON")),
    ];
    let reply = world.invoke(json!({ "Records": batch })).await.json().unwrap();
    assert_eq!(failed(&reply), ["m4"]);
    assert_eq!(orders(&world).await, json!([["m1", "sns"], ["m2", "bridge"], ["m3", "both"]]));
}

async fn what_is_delivered_again_is_done_once(engine: Engine) {
    let world = world(engine).start().await;
    let batch = [message("m1", order("a")), message("m2", order("b")), message("m1", order("a"))];
    for _ in 0..5 {
        let reply = world.invoke(json!({ "Records": batch })).await.json().unwrap();
        assert_eq!(failed(&reply), [""; 0]);
    }
    assert_eq!(orders(&world).await, json!([["m1", "a"], ["m2", "b"]]));
}

async fn a_message_is_all_or_nothing(engine: Engine) {
    let world = world(engine).start().await;
    let items = |items: &[&str]| -> String {
        let steps: Vec<Value> =
            items.iter().map(|item| json!({"query": "take", "params": {"item": item}})).collect();
        json!({ "transaction": steps }).to_string()
    };
    let sets = json!({"batch": {"query": "take", "params": [{"item": "e"}, {"item": "e"}]}}).to_string();
    let batch = [
        message("m1", items(&["a", "b"])),
        message("m2", items(&["c", "a"])),
        message("m3", sets),
        message("m4", items(&["d"])),
    ];
    let reply = world.invoke(json!({ "Records": batch })).await.json().unwrap();
    assert_eq!(failed(&reply), ["m2", "m3"]);
    assert_eq!(orders(&world).await, json!([["a", "a"], ["b", "b"], ["d", "d"]]));
}

mod with_time {
    use super::{
        five_deliveries_with_crashes_between_leave_one_row_a_message,
        what_the_time_does_not_reach_is_reported_failed,
    };

    crate::on_every_server!(
        what_the_time_does_not_reach_is_reported_failed,
        five_deliveries_with_crashes_between_leave_one_row_a_message,
    );
}

/// The time is up in the middle of a batch: what runs is cancelled, what has not been started is not.
async fn what_the_time_does_not_reach_is_reported_failed(engine: Engine) {
    const MESSAGES: usize = 10;
    // The server's own limit is longer than anybody here waits.
    let world = world(engine).env("DB_QUERY_TIMEOUT", "600s").start().await;
    let batch: Vec<Value> = (0..MESSAGES)
        .map(|n| {
            // Two that there is time for, and then one that does not end.
            let seconds = if n < 2 { 0.7 } else { 600.0 };
            let call = json!({"query": "slow_order", "params": {"item": n.to_string(), "seconds": seconds}});
            message(&format!("m{n}"), call.to_string())
        })
        .collect();
    unless_stalled(CANCEL, async || {
        world.sql("DELETE FROM orders");
        let logged = world.function.logs().len();
        let outcome = world.invoke_within(Duration::from_secs(3), json!({ "Records": batch })).await;
        let at_rest = world.at_rest().await;
        let failed = failed(&outcome.json().unwrap());

        // What was not reported is done, what was is not.
        let done = orders(&world).await;
        let done: Vec<&str> = done.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
        let all: Vec<String> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
        assert_eq!([done.clone(), failed.iter().map(String::as_str).collect()].concat(), all);
        let not_run =
            world.function.logs()[logged..].iter().filter(|line| line.contains("message not run")).count();
        assert!(not_run >= failed.len() - 1, "{not_run} of {failed:?}");
        if done.len() == 2 { at_rest } else { Err(format!("of two that there is time for, {done:?}")) }
    })
    .await;
}

/// The pattern of docs/how-to/sqs.md: five deliveries of one batch, four of which end in a crash, one later than
/// the other.
async fn five_deliveries_with_crashes_between_leave_one_row_a_message(engine: Engine) {
    const MESSAGES: u64 = 6;
    let world = world(engine).start().await;
    let batch: Vec<Value> = (0..MESSAGES)
        .map(|n| {
            let call = json!({"query": "slow_order", "params": {"item": n.to_string(), "seconds": 0.1}});
            message(&format!("m{n}"), call.to_string())
        })
        .collect();
    let event = json!({ "Records": batch });
    for delivery in 1..=4 {
        let environment = world.another().await;
        let crash = async {
            // Done when this many messages are: the next one is on its way.
            until("as many messages", || world.count("orders") >= delivery).await;
            environment.kill().unwrap();
        };
        let (outcome, ()) = tokio::join!(environment.invoke(&event), crash);
        assert!(outcome.is_err(), "delivery {delivery} was answered: {outcome:?}");
    }
    let partly = world.count("orders");
    assert!((4..MESSAGES).contains(&partly), "{partly}");

    let reply = world.invoke(event).await.json().unwrap();
    assert_eq!(failed(&reply), [""; 0]);
    let rows = world.rows_of("SELECT message_id, item FROM orders ORDER BY message_id");
    assert_eq!(rows, ["m0|0", "m1|1", "m2|2", "m3|3", "m4|4", "m5|5"]);
}

/// The queries of docs/how-to/sqs.md.
#[tokio::test]
async fn the_guides_queries_do_what_it_says() {
    let guide = include_str!("../../docs/how-to/sqs.md");
    let blocks = |opening: &str| -> Vec<&str> {
        guide.split(opening).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
    };
    let (queries, events) = (blocks("```sql\n"), blocks("```json\n"));
    assert_eq!((queries.len(), events.len()), (2, 1));
    let schema = format!(
        "CREATE TABLE orders (amount NUMERIC NOT NULL);
         CREATE TABLE stock (item INTEGER PRIMARY KEY, n INTEGER NOT NULL);
         INSERT INTO stock VALUES (7, 0);\n{}",
        crate::once::table(Engine::Postgres)
    );
    let world = Setup::new(Engine::Postgres).schema(schema).queries(queries.concat()).start().await;
    let add = json!({"query": "add_to_stock", "params": {"item": 7, "n": 3}});
    let list = json!({"transaction": [add, add]});
    let batch = [
        message("m1", add.to_string()),
        message("m2", events[0].to_owned()),
        // The sender's second try.
        message("m3", events[0].to_owned()),
        message("m4", list.to_string()),
    ];
    for _ in 0..3 {
        let reply = world.invoke(json!({ "Records": batch })).await.json().unwrap();
        assert_eq!(failed(&reply), [""; 0]);
        assert_eq!(world.sql("SELECT n FROM stock"), "9");
        assert_eq!(world.sql("SELECT count(*) FROM orders"), "1");
    }
}

fn world(engine: Engine) -> Setup {
    Setup::new(engine).schema(SCHEMA).queries(QUERIES)
}

fn order(item: &str) -> String {
    json!({"query": "order", "params": {"item": item}}).to_string()
}

/// A record as SQS hands it over.
fn message(id: &str, body: String) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders",
        "awsRegion": "eu-central-1",
    })
}

/// The same from a FIFO queue.
fn in_group(group: &str, mut message: Value) -> Value {
    message["attributes"]["MessageGroupId"] = json!(group);
    message["attributes"]["SequenceNumber"] = json!("18849496460467696128");
    message["eventSourceARN"] = json!("arn:aws:sqs:eu-central-1:123456789012:orders.fifo");
    message
}

/// The ids that a reply reports.
fn failed(reply: &Value) -> Vec<String> {
    let failures = reply["batchItemFailures"].as_array().unwrap_or_else(|| panic!("no such reply: {reply}"));
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

/// What was done, by message id, in the order in which it was.
async fn orders(world: &World) -> Value {
    let rows = world.rows("orders", json!({})).await;
    rows.as_array().unwrap().iter().map(|row| json!([row["message_id"], row["item"]])).collect()
}

const SCHEMA: &str = "
CREATE TABLE orders (
    message_id VARCHAR(100) PRIMARY KEY,
    place INTEGER NOT NULL,
    item VARCHAR(100) NOT NULL UNIQUE
);
";

const QUERIES: &str = "
-- name: order :exec
-- engine: postgres, sqlite
-- param: message_id text from sqs.messageId
-- param: item text
INSERT INTO orders (message_id, place, item)
VALUES (:message_id, (SELECT coalesce(max(place), 0) + 1 FROM orders), :item)
ON CONFLICT (message_id) DO NOTHING;

-- name: order :exec
-- engine: mysql
-- param: message_id text from sqs.messageId
-- param: item text
INSERT INTO orders (message_id, place, item)
SELECT :message_id, coalesce(max(place), 0) + 1, :item FROM orders
HAVING coalesce(sum(message_id = :message_id), 0) = 0;

-- name: slow_order :exec
-- engine: postgres
-- param: message_id text from sqs.messageId
-- param: item text
-- param: seconds float
INSERT INTO orders (message_id, place, item)
SELECT :message_id, (SELECT coalesce(max(place), 0) + 1 FROM orders), :item FROM pg_sleep(:seconds)
ON CONFLICT (message_id) DO NOTHING;

-- name: slow_order :exec
-- engine: mysql
-- param: message_id text from sqs.messageId
-- param: item text
-- param: seconds float
INSERT INTO orders (message_id, place, item)
SELECT :message_id, coalesce(max(place), 0) + 1, :item FROM orders
HAVING coalesce(sum(message_id = :message_id), 0) = 0 AND SLEEP(:seconds) = 0;

-- name: take :exec
-- param: item text
INSERT INTO orders (message_id, place, item) SELECT :item, coalesce(max(place), 0) + 1, :item FROM orders;

-- name: free :exec
-- param: item text
DELETE FROM orders WHERE message_id = :item;

-- name: orders :many
SELECT message_id, item FROM orders ORDER BY place;
";
