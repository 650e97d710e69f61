use std::path::Path;
use std::time::Duration;

use lambda_rds_testbed::{Answer, Function, FunctionBuilder, RuntimeApi, Secrets};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

fn function() -> FunctionBuilder {
    Function::builder(env!("CARGO_BIN_EXE_testbed-function"))
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn answers_events_and_is_gone_on_drop() {
    let api = RuntimeApi::start().unwrap();
    let function = function().start(&api).unwrap();
    function.ready().await.unwrap();
    let event = json!({"query": "q", "params": {"name": "Zoë"}});
    assert_eq!(function.invoke(&event).await.unwrap().json().unwrap(), event);
    assert!(matches!(function.invoke("fail").await.unwrap().answer, Answer::Error { error_type: None, .. }));
    let raw = function.invoke_raw(&b"{not json"[..]).await.unwrap();
    assert_eq!(raw.answer, Answer::Response("{not json".into()));

    let line = function.wait_for_log(|line| line.contains("not json"), LIMIT).await.unwrap();
    assert_eq!(line, "event {not json");
    assert!(function.logs().contains(&"starting".to_owned()));
    assert!(function.wait_for_log(|line| line == "never", Duration::from_millis(10)).await.is_err());
    let peak = function.peak_rss_bytes().unwrap();
    assert!((100_000..100_000_000).contains(&peak), "{peak}");

    let (pid, folder) = (function.pid(), function.folder().to_owned());
    assert!(runs(pid) && folder.exists());
    drop(function);
    assert!(!runs(pid) && !folder.exists());
}

#[tokio::test]
async fn has_a_clean_environment() {
    let api = RuntimeApi::start().unwrap();
    let secrets = Secrets::start().unwrap();
    let function =
        function().queries("queries").secrets(&secrets).env("DB_HOST", "db.example").start(&api).unwrap();
    let vars = function.invoke("env").await.unwrap().json().unwrap();
    assert_eq!(vars["AWS_LAMBDA_RUNTIME_API"], api.address().to_string());
    assert_eq!(vars["AWS_ENDPOINT_URL_SECRETS_MANAGER"], secrets.endpoint());
    assert_eq!(vars["DB_HOST"], "db.example");
    assert!(Path::new(vars["LAMBDA_RDS_QUERIES"].as_str().unwrap()).is_absolute());
    assert_eq!(vars["CARGO_MANIFEST_DIR"], Value::Null, "nothing of ours gets in");
}

#[tokio::test]
async fn has_files_beside_it() {
    let api = RuntimeApi::start().unwrap();
    let function =
        function().file("lambda-rds.toml", "[db]\n").file("queries/a.sql", "").start(&api).unwrap();
    assert_eq!(function.invoke("beside").await.unwrap().answer, Answer::Response("[db]\n".into()));
}

#[tokio::test]
async fn its_end_is_noticed() {
    let api = RuntimeApi::start().unwrap();
    let ended = function().start(&api).unwrap();
    let error = format!("{:#}", ended.invoke("exit").await.unwrap_err());
    assert!(error.contains("exit status: 7") && error.contains("starting"), "{error}");
    assert!(ended.wait_for_log(|line| line == "never", LIMIT).await.is_err());
    assert!(ended.kill().is_err());

    let api = RuntimeApi::start().unwrap();
    let failing = function().env("INIT", "exit").start(&api).unwrap();
    assert!(format!("{:#}", failing.ready().await.unwrap_err()).contains("ended during INIT"));
    assert!(failing.init_error().await.is_err());

    let api = RuntimeApi::start().unwrap();
    let failing = function().env("INIT", "fail").start(&api).unwrap();
    assert_eq!(failing.init_error().await.unwrap().body, r#"{"errorMessage":"as told"}"#);
    assert_eq!(failing.wait_exit(LIMIT).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn freezes_thaws_and_terminates() {
    let api = RuntimeApi::start().unwrap();
    let function = function().start(&api).unwrap();
    function.ready().await.unwrap();
    function.pause().unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), function.invoke(1)).await;
    assert!(early.is_err(), "a frozen function answers nothing");
    function.resume().unwrap();
    function.terminate().unwrap();
    let status = function.wait_exit(LIMIT).await.unwrap();
    assert!(!status.success());
}

#[test]
fn says_so_if_there_is_no_program() {
    let api = RuntimeApi::start().unwrap();
    let error = Function::builder("/nowhere/bootstrap").start(&api).unwrap_err();
    assert!(format!("{error:#}").contains("cannot run /nowhere/bootstrap"), "{error:#}");
}
