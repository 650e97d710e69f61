//! Events that are a list of `Records`: SQS's, which we serve, and everybody else's, which we must not swallow.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::value::Origin;

use super::json::{self, Object, bad_event, must_be, quoted};
use super::{Event, Invocation, Record, Request, Source, direct, eventbridge};

/// The records of EventBridge Pipes, which sends the list itself: none of its other pieces is a list of objects.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html>
pub(super) fn piped(text: &str) -> Option<Vec<&RawValue>> {
    let records: Vec<&RawValue> =
        text.trim_ascii_start().starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()?;
    let objects = records.iter().all(|record| record.get().starts_with('{'));
    (objects && !records.is_empty()).then_some(records)
}

/// Reads a list of records. One that cannot be served is an error of its own record; only what has no message
/// to blame is an error of the whole.
pub(super) fn parse(records: Vec<&RawValue>, invocation: &Invocation) -> Event {
    let all = records.into_iter().map(|record| Object::parse(record.get(), "A record"));
    let all = all.map(|record| record.map(Object::without_nulls)).collect::<Result<Vec<_>>>();
    let all = match all {
        Ok(all) => all,
        Err(error) => return Event::unserved(error),
    };
    if let Some(record) = all.iter().find(|record| origin_of(record) != Some(SQS)) {
        return Event::unserved(unserved(origin_of(record).unwrap_or("unknown")));
    }
    if all.is_empty() {
        return Event::unserved(bad_event("`Records` is empty."));
    }
    let records = all.iter().map(|record| message(record, invocation)).collect::<Result<Vec<_>>>();
    Event::new(Source::Sqs, records.map(Request::Records))
}

/// What is said to a source that we do not serve.
pub(super) fn unserved(source: &str) -> Error {
    bad_event(format!(
        "Events of {} are not served. Of the asynchronous sources, SQS, EventBridge and Scheduler are.",
        quoted(source)
    ))
}

/// One message. It keeps its place in the batch even if it asks for nothing that we can do.
fn message(record: &Object<'_>, invocation: &Invocation) -> Result<Record> {
    let message_id = record.text("messageId")?.ok_or_else(|| must_be("messageId", "a string"))?.into_owned();
    let origin = Arc::new(Origin { message_id: Some(message_id.clone()), ..invocation.origin() });
    let request = record
        .text("body")
        .and_then(|body| body.ok_or_else(|| must_be("body", "a string")))
        .and_then(|body| request(&body, &origin, Wrapping::Any));
    Ok(Record { message_id, group: group(record)?, request })
}

/// How a message may still be wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    /// By SNS, by EventBridge, or by EventBridge in SNS.
    Any,
    /// By EventBridge only: what SNS wraps is not wrapped by SNS again.
    EventBridge,
}

fn request(body: &str, origin: &Arc<Origin>, wrapping: Wrapping) -> Result<Request> {
    json::check_depth(body, "The message")?;
    let message = Object::parse(body, "The message")?;
    // SNS's envelope: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    if wrapping == Wrapping::Any && message.some("TopicArn").is_some() && message.some("Message").is_some() {
        let inner = message.text("Message")?.ok_or_else(|| must_be("Message", "a string"))?;
        return request(&inner, origin, Wrapping::EventBridge);
    }
    let (_, request, _) = match eventbridge(&message) {
        Some(detail) => direct::parse(&detail?, origin),
        None => direct::parse(&message, origin),
    };
    match request? {
        Request::Diagnose => Err(bad_event("`diagnose` answers to a direct invoke only.")),
        request => Ok(request),
    }
}

/// The message group, of a message from a FIFO queue. A standard queue's messages may have one too, since fair
/// queues came, but there it promises no order and a failure must not hold up the rest:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html>.
fn group(record: &Object<'_>) -> Result<Option<String>> {
    let Some(attributes) = record.object("attributes")? else { return Ok(None) };
    let fifo = attributes.has("SequenceNumber")
        || record.text("eventSourceARN")?.is_some_and(|queue| queue.ends_with(".fifo"));
    Ok(attributes.text("MessageGroupId")?.filter(|_| fifo).map(|group| group.into_owned()))
}

/// What sent a record. SNS spells the key with a capital.
fn origin_of<'a>(record: &Object<'a>) -> Option<&'a str> {
    let source = record.get("eventSource").or_else(|| record.get("EventSource"))?;
    source.get().strip_prefix('"')?.strip_suffix('"')
}

const SQS: &str = "aws:sqs";

#[cfg(test)]
mod tests {
    use super::super::testing::{settings, show};
    use super::super::{Invocation, parse};
    use super::*;

    fn records(event: &str) -> Vec<String> {
        let event = parse(event.as_bytes(), &settings(), &Invocation::default());
        assert_eq!(event.source, Source::Sqs);
        let Ok(Request::Records(records)) = event.request else { panic!("{:?}", event.request) };
        records
            .iter()
            .map(|record| {
                let group = record.group.as_ref().map(|group| format!("/{group}")).unwrap_or_default();
                let asked = match &record.request {
                    Ok(request) => show(request),
                    Err(error) => error.to_string(),
                };
                format!("{}{group} {asked}", record.message_id)
            })
            .collect()
    }

    /// An event with one message of this body.
    fn one(body: &str) -> String {
        let body = serde_json::to_string(body).unwrap();
        format!(r#"{{"Records":[{{"messageId":"m1","eventSource":"aws:sqs","body":{body}}}]}}"#)
    }

    #[test]
    fn bodies() {
        fn check(body: &str, expected: &str) {
            let found = records(&one(body));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{body}: {found:?}");
        }
        check(r#"{"query":"a","params":{"n":1}}"#, "m1 call a(n=1)");
        check("{}", "m1 call default()");
        check(r#"{"transaction":[{"query":"a"}]}"#, "m1 transaction: call a()");
        check(r#"{"batch":{"query":"a","params":[{}]}}"#, "m1 batch a: ()");
        // The same payload may be used for a schedule, where these keys mean something.
        check(r#"{"query":"a","onError":"reply","reply":"raw"}"#, "m1 call a()");
        check(r#"{"diagnose":true}"#, "m1 bad_event: `diagnose` answers to a direct invoke only.");
        check("", "m1 bad_event: The message is not valid JSON: EOF");
        check("hello", "m1 bad_event: The message is not valid JSON: expected value at line 1 column 1.");
        check("[]", "m1 bad_event: The message must be a JSON object.");
        check(&"[".repeat(100_000), "m1 bad_event: The message is nested deeper than 128 levels.");
        // A body is no HTTP request, whatever it says of itself.
        check(
            r#"{"httpMethod":"GET","path":"/a","requestContext":{}}"#,
            "m1 bad_event: This function does not know this event.",
        );
        let sns = r#"{"Type":"Notification","TopicArn":"arn:aws:sns:r:1:t","Message":"{\"query\":\"a\"}"}"#;
        check(sns, "m1 call a()");
        let bridge = r#"{"detail-type":"T","source":"s","detail":{"query":"a"}}"#;
        check(bridge, "m1 call a()");
        let both = format!(r#"{{"TopicArn":"t","Message":{}}}"#, serde_json::to_string(bridge).unwrap());
        check(&both, "m1 call a()");
        let twice = format!(r#"{{"TopicArn":"t","Message":{}}}"#, serde_json::to_string(sns).unwrap());
        check(&twice, "m1 bad_event: This function does not know this event.");
        check(r#"{"TopicArn":"t","Message":"hello"}"#, "m1 bad_event: The message is not valid JSON");
    }

    #[test]
    fn the_message_is_the_origin() {
        let event = parse(
            one(r#"{"query":"a"}"#).as_bytes(),
            &settings(),
            &Invocation { request_id: "r1".into(), ..Invocation::default() },
        );
        let Ok(Request::Records(records)) = event.request else { panic!() };
        let Ok(Request::Call(call)) = &records[0].request else { panic!() };
        assert_eq!(call.origin.message_id.as_deref(), Some("m1"));
        assert_eq!(call.origin.request_id, "r1");
        assert!(call.origin.claims.is_none() && call.origin.headers.is_empty());
    }

    #[test]
    fn only_a_fifo_queue_has_groups() {
        fn check(arn: &str, attributes: &str, expected: &str) {
            let event = format!(
                r#"{{"Records":[{{"messageId":"m1","eventSource":"aws:sqs","eventSourceARN":"{arn}",
                    "attributes":{attributes},"body":"{{}}"}}]}}"#
            );
            assert_eq!(records(&event), [expected]);
        }
        let fair = r#"{"MessageGroupId":"tenant"}"#;
        check("arn:aws:sqs:eu-central-1:1:q.fifo", fair, "m1/tenant call default()");
        check("arn:aws:sqs:eu-central-1:1:q", fair, "m1 call default()");
        let numbered = r#"{"MessageGroupId":"g","SequenceNumber":"1"}"#;
        check("arn:aws:sqs:eu-central-1:1:q", numbered, "m1/g call default()");
        check("arn:aws:sqs:eu-central-1:1:q.fifo", "{}", "m1 call default()");
    }

    #[test]
    fn what_is_not_served_is_raised() {
        fn check(event: &str, source: Source, expected: &str) {
            let event = parse(event.as_bytes(), &settings(), &Invocation::default());
            let error = event.request.unwrap_err();
            assert_eq!(event.source, source);
            assert!(error.to_string().contains(expected), "{error}");
        }
        check(r#"{"Records":[{"eventSource":"aws:s3"}]}"#, Source::Unserved, "Events of `aws:s3` are not");
        check(r#"{"Records":[{"EventSource":"aws:sns"}]}"#, Source::Unserved, "Events of `aws:sns` are not");
        check(r#"{"Records":[{}]}"#, Source::Unserved, "Events of `unknown` are not");
        check(r#"{"Records":[]}"#, Source::Unserved, "`Records` is empty.");
        check(r#"{"Records":{}}"#, Source::Unserved, "`Records` must be an array.");
        check(r#"{"Records":[1]}"#, Source::Unserved, "A record must be a JSON object.");
        check(
            r#"{"Records":[{"eventSource":"aws:sqs","messageId":"m","body":"{}"},{"eventSource":"aws:s3"}]}"#,
            Source::Unserved,
            "Events of `aws:s3`",
        );
        // Without an id there is nothing to report as failed: the whole batch comes again.
        check(r#"{"Records":[{"eventSource":"aws:sqs"}]}"#, Source::Sqs, "`messageId` must be a string.");
        check(r#"{"eventSource":"aws:kafka","records":{}}"#, Source::Unserved, "Events of `aws:kafka`");
        check(r#"{"awslogs":{"data":"H4sI"}}"#, Source::Unserved, "Events of `awslogs`");
    }
}
