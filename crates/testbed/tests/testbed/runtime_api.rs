use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_rds_testbed::{Answer, FUNCTION_ARN, RESPONSE_LIMIT, RuntimeApi};

use crate::raw_http::{Reply, send};

const NEXT: &str = "/2018-06-01/runtime/invocation/next";

async fn next(api: &RuntimeApi) -> Reply {
    send(api.address(), "GET", NEXT, &[], "").await.unwrap()
}

async fn post(api: &RuntimeApi, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    send(api.address(), "POST", &format!("/2018-06-01/runtime/{path}"), headers, body).await.unwrap().status
}

#[tokio::test]
async fn an_event_goes_out_and_its_response_comes_back() {
    let api = RuntimeApi::start().unwrap().with_timeout(Duration::from_secs(3));
    let function = async {
        let event = next(&api).await;
        assert_eq!((event.status, event.body.as_str()), (200, r#"{"query":"q"}"#));
        assert_eq!(event.header("lambda-runtime-invoked-function-arn"), FUNCTION_ARN);
        assert!(event.header("lambda-runtime-trace-id").starts_with("Root=1-"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let deadline = Duration::from_millis(event.header("lambda-runtime-deadline-ms").parse().unwrap());
        let left = deadline - now;
        assert!(left > Duration::from_secs(2) && left <= Duration::from_secs(3), "{left:?}");

        let id = event.header("lambda-runtime-aws-request-id").to_owned();
        assert_eq!(post(&api, "invocation/another/response", &[], "{}").await, 400);
        let body = r#"{"statusCode":200,"body":"[1]"}"#;
        assert_eq!(post(&api, &format!("invocation/{id}/response"), &[], body).await, 202);
        assert_eq!(post(&api, &format!("invocation/{id}/response"), &[], body).await, 400, "only once");
        id
    };
    let (outcome, id) = tokio::join!(api.invoke(r#"{"query":"q"}"#), function);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.request_id, id);
    assert_eq!(outcome.reply().unwrap(), (200, serde_json::json!([1])));
    assert!(outcome.elapsed < Duration::from_secs(3));
}

#[tokio::test]
async fn errors_come_back_with_their_type() {
    let api = RuntimeApi::start().unwrap();
    let function = async {
        let id = next(&api).await.header("lambda-runtime-aws-request-id").to_owned();
        let headers = [("Lambda-Runtime-Function-Error-Type", "connection_lost")];
        post(&api, &format!("invocation/{id}/error"), &headers, r#"{"errorMessage":"…"}"#).await
    };
    let (outcome, status) = tokio::join!(api.invoke("{}"), function);
    assert_eq!(status, 202);
    let Answer::Error { error_type, body } = outcome.unwrap().answer else { panic!("no error") };
    assert_eq!(error_type.as_deref(), Some("connection_lost"));
    assert_eq!(body, r#"{"errorMessage":"…"}"#);
}

#[tokio::test]
async fn eight_pollers_get_eight_events() {
    let api = RuntimeApi::start().unwrap();
    let poller = || async {
        let event = next(&api).await;
        // Nobody answers before all have an event.
        api.idle(0, Duration::from_secs(5)).await.unwrap();
        let id = event.header("lambda-runtime-aws-request-id");
        post(&api, &format!("invocation/{id}/response"), &[], &event.body).await;
    };
    let pollers = async {
        tokio::join!(poller(), poller(), poller(), poller(), poller(), poller(), poller(), poller());
    };
    let invoke = async {
        api.idle(8, Duration::from_secs(60)).await.unwrap();
        let invoke = |n: u8| api.invoke(n.to_string());
        let all = tokio::join!(
            invoke(0),
            invoke(1),
            invoke(2),
            invoke(3),
            invoke(4),
            invoke(5),
            invoke(6),
            invoke(7)
        );
        let all = [all.0, all.1, all.2, all.3, all.4, all.5, all.6, all.7];
        for (n, outcome) in all.into_iter().enumerate() {
            assert_eq!(outcome.unwrap().json().unwrap(), n);
        }
    };
    tokio::join!(pollers, invoke);
}

#[tokio::test]
async fn too_large_a_response_is_refused() {
    let api = RuntimeApi::start().unwrap();
    let function = async {
        let id = next(&api).await.header("lambda-runtime-aws-request-id").to_owned();
        let body = "x".repeat(RESPONSE_LIMIT + 1);
        post(&api, &format!("invocation/{id}/response"), &[], &body).await
    };
    let (outcome, status) = tokio::join!(api.invoke("{}"), function);
    assert_eq!(status, 413);
    let answer = outcome.unwrap().answer;
    assert!(
        matches!(&answer, Answer::Error { error_type, .. } if error_type.as_deref() == Some("Function.ResponseSizeTooLarge"))
    );
}

#[tokio::test]
async fn an_error_of_init_is_waited_for() {
    let api = RuntimeApi::start().unwrap();
    assert_eq!(api.reported_init_error(), None);
    let (error, status) = tokio::join!(
        api.init_error(Duration::from_secs(5)),
        post(
            &api,
            "init/error",
            &[("Lambda-Runtime-Function-Error-Type", "config")],
            r#"{"errorMessage":"m"}"#
        ),
    );
    assert_eq!(status, 202);
    let error = error.unwrap();
    assert_eq!(
        (error.error_type.as_deref(), error.body.as_str()),
        (Some("config"), r#"{"errorMessage":"m"}"#)
    );
    assert_eq!(api.reported_init_error(), Some(error));
}

#[tokio::test]
async fn waits_have_an_end() {
    let api = RuntimeApi::start().unwrap();
    let limit = Duration::from_millis(20);
    assert!(format!("{:#}", api.init_error(limit).await.unwrap_err()).contains("an error of INIT"));
    assert!(format!("{:#}", api.idle(1, limit).await.unwrap_err()).contains("to ask for an event"));
}

#[tokio::test]
async fn extensions_may_register() {
    let api = RuntimeApi::start().unwrap();
    let headers = [("Lambda-Extension-Name", "graceful-shutdown")];
    let reply = send(api.address(), "POST", "/2020-01-01/extension/register", &headers, r#"{"events":[]}"#)
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    assert!(!reply.header("lambda-extension-identifier").is_empty());
    assert_eq!(send(api.address(), "GET", "/nothing", &[], "").await.unwrap().status, 404);
}
