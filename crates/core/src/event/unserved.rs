//! Sources that we do not serve and that take any reply for success: what they send must not end as a reply.

use super::json::{self, Object};

/// The source's name, if its events say that it is one of these.
///
/// An IoT rule sends what its SQL selects, and nothing marks that as its: only what the broker itself tells, and what
/// selects a message's topic or a thing's state, is known.
pub(super) fn source(event: &Object<'_>) -> Option<String> {
    // Kafka, MQ and DocumentDB name themselves.
    if let Some(source) = event.get("eventSource").and_then(json::string) {
        return Some(source.into_owned());
    }
    if destination(event) {
        return Some("Lambda destinations".to_owned());
    }
    if shadow(event) {
        return Some("IoT".to_owned());
    }
    let known = MARKS.iter().find(|(_, keys)| keys.iter().all(|key| event.has(key)))?;
    Some(known.0.to_owned())
}

/// The keys that together only this source has.
const MARKS: [(&str, &[&str]); 13] = [
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    ("awslogs", &["awslogs"]),
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
    ("CloudWatch alarms", &["alarmArn", "alarmData"]),
    // https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-invoke-lambda-function.html
    ("CodePipeline", &["CodePipeline.job"]),
    // https://docs.aws.amazon.com/config/latest/developerguide/evaluate-config_develop-rules_example-events.html
    ("AWS Config", &["invokingEvent", "resultToken"]),
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html
    ("CloudFormation", &["RequestType", "ResponseURL", "StackId"]),
    // https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
    ("Secrets Manager rotation", &["Step", "SecretId", "ClientRequestToken"]),
    // https://docs.aws.amazon.com/iot/latest/developerguide/life-cycle-events.html
    ("IoT", &["eventType", "clientId"]),
    ("IoT", &["eventType", "thingName"]),
    ("IoT", &["topic", "clientId"]),
    ("IoT", &["topic", "clientid"]),
    ("IoT", &["topic", "payload"]),
    ("IoT", &["topic", "timestamp"]),
    // https://docs.aws.amazon.com/iotevents/latest/developerguide/iotevents-other-aws-services.html
    ("IoT Events", &["actionExecutionId", "detector"]),
];

/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
fn destination(event: &Object<'_>) -> bool {
    let context = event.object("requestContext").ok().flatten();
    context.is_some_and(|context| context.has("functionArn") && context.has("condition"))
}

/// A thing's state, <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-document.html>.
fn shadow(event: &Object<'_>) -> bool {
    if event.has("previous") && event.has("current") {
        return true;
    }
    let state = event.object("state").ok().flatten();
    state.is_some_and(|state| state.has("reported") || state.has("desired"))
}
