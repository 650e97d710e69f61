//! Against a Secrets Manager of a few lines, over real HTTP.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_rds_testbed::unless_stalled;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Config, Engine, Sources};

const FULL: &str =
    r#"{"username":"app","password":"hunter2","host":"db.example.com","port":"6543","dbname":"shop"}"#;

/// A stand-in for Secrets Manager: answers the nth question, counted from 0, or leaves it hanging.
struct Fake {
    url: String,
    questions: Arc<AtomicUsize>,
}

impl Fake {
    async fn new(answer: impl Fn(usize) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        Self::staged(move |n, stage| (stage == Stage::Current).then(|| answer(n))?).await
    }

    async fn staged(answer: impl Fn(usize, Stage) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let questions = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&questions), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut socket = socket;
                    let request = read(&mut socket).await;
                    assert!(
                        request.to_ascii_lowercase().contains("x-amz-target: secretsmanager.getsecretvalue")
                    );
                    let pending = request.contains(r#""VersionStage":"AWSPENDING""#);
                    let stage = if pending { Stage::Pending } else { Stage::Current };
                    match answer(count.fetch_add(1, Ordering::SeqCst), stage) {
                        Some((status, body)) => reply(&mut socket, status, &body).await,
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, questions }
    }

    /// One that gives this text for ever.
    async fn giving(text: &str) -> Self {
        let body = secret(text, "v1");
        Self::new(move |_| Some((200, body.clone()))).await
    }

    async fn refusing(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "__type": code, "message": message }).to_string();
        Self::new(move |_| Some((status, body.clone()))).await
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    fn credentials(&self, more: &[(&str, &str)]) -> Credentials {
        let (db, platform) =
            settings(&[&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url.as_str())], more].concat());
        Credentials::new(&db, &platform)
    }
}

async fn reply(socket: &mut (impl AsyncWrite + Unpin), status: u16, body: &str) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket.flush().await.unwrap();
}

async fn read(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let n = socket.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
        });
        if n == 0 || whole {
            return text;
        }
    }
}

fn secret(text: &str, version: &str) -> String {
    serde_json::json!({ "Name": "app", "VersionId": version, "SecretString": text }).to_string()
}

fn settings(env: &[(&str, &str)]) -> (Db, Platform) {
    let mut all = vec![
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "hunter2"),
    ];
    if !env.iter().any(|(name, _)| matches!(*name, "DB_SECRET_ID" | "DB_AUTH")) {
        all.push(("DB_SECRET_ID", "app"));
    }
    all.extend(env);
    let env: Vec<_> = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let engine =
        if env.iter().any(|(name, _)| name == "DB_ENGINE") { &Engine::ALL[..] } else { &[Engine::Postgres] };
    let config = Config::read(&Sources { env, ..Sources::default() }, engine).unwrap();
    (config.db, config.platform)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// What a secret of this text resolves to: `user:password@host:port/database`, or the detail of the error.
async fn check(text: &str, more: &[(&str, &str)], expect: &str) {
    let fake = Fake::giving(text).await;
    let found = match fake.credentials(more).get(soon()).await {
        Ok(found) => {
            assert_eq!(found.version.as_deref(), Some("v1"));
            let (login, database) = (found.login, found.database);
            format!("{}:{}@{}/{database}", login.user, login.password.expose_secret(), found.endpoint)
        }
        Err(error) => {
            assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Credentials)));
            assert!(!format!("{error:?}").contains("hunter2"), "{error}");
            error.detail().to_owned()
        }
    };
    assert_eq!(found, expect);
}

#[tokio::test]
async fn every_field_variant() {
    check(FULL, &[], "app:hunter2@db.example.com:6543/shop").await;
    let number = FULL.replace("\"6543\"", "6543");
    check(&number, &[], "app:hunter2@db.example.com:6543/shop").await;
    let no_port =
        FULL.replace(",\"port\":\"6543\"", ",\"engine\":\"postgres\",\"dbClusterIdentifier\":\"x\",\"n\":{}");
    check(&no_port, &[], "app:hunter2@db.example.com:5432/shop").await;
    check(
        FULL,
        &[("DB_HOST", "proxy"), ("DB_PORT", "1"), ("DB_NAME", "n"), ("DB_USER", "u")],
        "u:hunter2@proxy:1/n",
    )
    .await;
    // What RDS manages.
    let managed = r#"{"username":"app","password":"hunter2"}"#;
    check(managed, &[("DB_HOST", "h"), ("DB_NAME", "n")], "app:hunter2@h:5432/n").await;
    check(
        managed,
        &[],
        "secret app: field `host` is missing, and DB_HOST is not set; field `dbname` is missing, and \
                         DB_NAME is not set",
    )
    .await;
    check(
        r#"{"host":"h","dbname":"","username":null}"#,
        &[],
        "secret app: field `username` is missing, and DB_USER is not set; field `password` is missing; field \
         `dbname` is missing, and DB_NAME is not set",
    )
    .await;
    let mysql = FULL.replace(",\"port\":\"6543\"", ",\"engine\":\"mariadb\"");
    let env = [("DB_ENGINE", "mysql")];
    check(&mysql, &env, "app:hunter2@db.example.com:3306/shop").await;
    check(&mysql.replace("mariadb", "aurora"), &env, "app:hunter2@db.example.com:3306/shop").await;
    check(&mysql, &[], "secret app: field `engine` is \"mariadb\", and this function speaks to postgres")
        .await;
}

#[tokio::test]
async fn a_secret_that_is_none_is_told_without_its_value() {
    let object = "it must be one with the fields username, password, host, port, dbname and engine";
    check("hunter2", &[], &format!("secret app: it is no JSON object (line 1, column 1); {object}")).await;
    check("[\"hunter2\"]", &[], &format!("secret app: it is no JSON object (line 1, column 0); {object}"))
        .await;
    check(
        r#"{"username":"app","password":["hunter2"],"host":"postgres://app:hunter2@h","port":"hunter2","dbname":"d"}"#,
        &[],
        "secret app: field `password` is no text; field `host` is no host name or address; scheme and port have no \
         place in it; field `port` is no whole number from 1 to 65535",
    )
    .await;
    let fake = Fake::new(|_| Some((200, r#"{"Name":"app","SecretBinary":"aHVudGVyMg=="}"#.to_owned()))).await;
    let error = fake.credentials(&[]).get(soon()).await.unwrap_err();
    assert_eq!(
        error.detail(),
        "secret app: it is binary; it must be text, a JSON object with the fields username, password, host, port, \
         dbname and engine"
    );
}

#[tokio::test]
async fn each_refusal_says_what_to_look_at() {
    for (status, code, message, advice) in [
        (
            400,
            "AccessDeniedException",
            "User: arn:aws:sts::1:assumed-role/f is not authorized",
            "the function's role needs secretsmanager:GetSecretValue on app",
        ),
        (
            400,
            "AccessDeniedException",
            "Access to KMS is not allowed",
            "the function's role needs kms:Decrypt on the key that encrypts it",
        ),
        (
            400,
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
            "there is no such secret in this account and region, or it has no current version; look at DB_SECRET_ID",
        ),
        (
            400,
            "DecryptionFailure",
            "no",
            "the KMS key that encrypts it is disabled, deleted, or not for this role, which needs kms:Decrypt on it",
        ),
        (
            400,
            "InvalidRequestException",
            "marked for deletion",
            "it is not in a state to be read; is it scheduled for deletion?",
        ),
        (400, "ExpiredTokenException", "expired", "AWS does not accept the credentials of the environment"),
        (
            400,
            "ThrottlingException",
            "Rate exceeded",
            "Secrets Manager is asked too often; a longer DB_SECRET_TTL asks less",
        ),
        (
            400,
            "InvalidSignatureException",
            "Signature expired: 20260131T120000Z is now earlier than 20260131T122500Z",
            "this machine's clock is wrong: AWS refuses what is signed with it",
        ),
        (500, "InternalServiceError", "oops", "Secrets Manager failed"),
    ] {
        let fake = Fake::refusing(status, code, message).await;
        let error = fake.credentials(&[]).get(soon()).await.unwrap_err();
        assert_eq!((error.fault(), error.phase()), (Fault::Unreachable, Some(Phase::Credentials)));
        assert_eq!(error.detail(), format!("secret app: {advice} ({code}: {message})"));
        assert_eq!(error.hint(), Some(advice));
        // Once more where that can help, never oftener.
        let expected = if matches!(code, "ThrottlingException" | "InternalServiceError") { 2 } else { 1 };
        assert_eq!(fake.questions(), expected, "{code}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_told() {
    let (db, platform) = settings(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    let error = Credentials::new(&db, &platform).get(soon()).await.unwrap_err();
    let detail = error.detail();
    assert_eq!(
        detail,
        "secret app: no answer from Secrets Manager: it cannot be reached; a function in a VPC needs the interface \
         endpoint for Secrets Manager, whose security group lets port 443 in, or a route to the internet (dispatch \
         failure: io error: 127.0.0.1:1: Connection refused (os error 111))"
    );
    assert!(!detail.contains("hunter2"), "{detail}");

    let (db, mut platform) = settings(&[]);
    platform.region = None;
    platform.secrets_endpoint = Some("http://127.0.0.1:1".to_owned());
    let db = Db { auth: Auth::Secret { id: ARN.to_owned(), ttl: Duration::ZERO }, ..db };
    let error = Credentials::new(&db, &platform).get(soon()).await.unwrap_err();
    assert!(error.detail().contains("cannot be reached"), "the ARN has a region: {error}");
}

const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/app-AbCdEf";

#[test]
fn an_arn_names_its_region() {
    assert_eq!(region_of(ARN), Some("eu-central-1"));
    assert_eq!(region_of("arn:aws-cn:secretsmanager:cn-north-1:1:secret:a:b"), Some("cn-north-1"));
    for other in
        ["app", "prod/app", "arn:aws:ssm:eu-west-1:1:parameter/x", "arn:aws:secretsmanager::1:secret:x"]
    {
        assert_eq!(region_of(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_fresh_secret_is_not_asked_for_again() {
    let fake = Fake::giving(FULL).await;
    let credentials = fake.credentials(&[]);
    for _ in 0..10 {
        credentials.get(soon()).await.unwrap();
    }
    assert_eq!(fake.questions(), 1);

    let state = |change: &dyn Fn(&mut Cached)| {
        change(credentials.secret.as_ref().unwrap().state().cached.as_mut().unwrap());
    };
    // Older than the TTL, on the wall clock.
    state(&|cached| cached.fetched = SystemTime::now() - Duration::from_secs(301));
    credentials.get(soon()).await.unwrap();
    credentials.get(soon()).await.unwrap();
    assert_eq!(fake.questions(), 2);
    // The clock went back: nobody knows the age.
    state(&|cached| cached.fetched = SystemTime::now() + Duration::from_secs(60));
    credentials.get(soon()).await.unwrap();
    assert_eq!(fake.questions(), 3);

    let always = fake.credentials(&[("DB_SECRET_TTL", "0s")]);
    always.get(soon()).await.unwrap();
    always.get(soon()).await.unwrap();
    assert_eq!(fake.questions(), 5);
}

#[tokio::test]
async fn twenty_at_once_ask_once() {
    let fake = Fake::giving(FULL).await;
    let credentials = fake.credentials(&[]);
    let all = (0..20).map(|_| credentials.get(soon()));
    for found in futures_util::future::join_all(all).await {
        assert_eq!(found.unwrap().login.user, "app");
    }
    assert_eq!(fake.questions(), 1);

    // A failure is shared as well.
    let fake = Fake::refusing(400, "AccessDeniedException", "no").await;
    let credentials = fake.credentials(&[]);
    let all = (0..20).map(|_| credentials.get(soon()));
    for found in futures_util::future::join_all(all).await {
        assert!(found.unwrap_err().detail().contains("secretsmanager:GetSecretValue"));
    }
    assert_eq!(fake.questions(), 1);
}

#[tokio::test]
async fn a_stale_secret_is_better_than_none() {
    let full = secret(FULL, "v1");
    let fake = Fake::new(move |n| match n {
        0 => Some((200, full.clone())),
        1 | 2 => Some((500, "{}".to_owned())),
        3 => Some((200, secret("broken", "v2"))),
        _ => None,
    })
    .await;
    let credentials = fake.credentials(&[("DB_SECRET_TTL", "0s")]);
    for _ in 0..3 {
        let found = credentials.get(soon()).await.unwrap();
        assert_eq!((found.login.user.as_str(), found.version.as_deref()), ("app", Some("v1")));
    }
    assert_eq!(fake.questions(), 4);
    // An endpoint that hangs leaves half of the time for logging in.
    unless_stalled(Duration::from_millis(300), async || {
        let begun = std::time::Instant::now();
        let by = Deadline::after(Duration::from_millis(600));
        let found = credentials.get(by).await;
        let in_time = !by.passed();
        assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
        if !in_time {
            return Err(format!("{:?}", begun.elapsed()));
        }
        assert_eq!(found.unwrap().login.user, "app");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_question_that_hangs_is_asked_again_on_a_new_connection() {
    unless_stalled(Duration::from_secs(1), async || {
        let full = secret(FULL, "v1");
        let fake = Fake::new(move |n| (n > 0).then(|| (200, full.clone()))).await;
        let begun = std::time::Instant::now();
        let found = fake.credentials(&[]).get(soon()).await;
        let waited = begun.elapsed();
        // One second for the first, and two in all.
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
        if waited >= Duration::from_secs(2) {
            return Err(format!("{waited:?}"));
        }
        assert_eq!((found.unwrap().login.user.as_str(), fake.questions()), ("app", 2));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn whoever_gives_up_leaves_nothing_behind() {
    let full = secret(FULL, "v1");
    let fake = Fake::new(move |n| (n > 0).then(|| (200, full.clone()))).await;
    let credentials = fake.credentials(&[]);
    let error = credentials.get(Deadline::after(Duration::from_millis(100))).await.unwrap_err();
    // Whoever of the two notices first says it in its own words.
    assert!(error.detail().starts_with("secret app: no answer from Secrets Manager"), "{error}");
    // Dropped when it has begun, on however quick a machine.
    let dropped = futures_util::FutureExt::now_or_never(credentials.get(soon()));
    assert!(dropped.is_none());
    assert_eq!(credentials.get(soon()).await.unwrap().login.user, "app");
}

/// A Secrets Manager whose current and pending versions are these at the nth question, counted from 0.
async fn rotating(
    versions: impl Fn(usize) -> (&'static str, Option<&'static str>) + Send + Sync + 'static,
) -> Fake {
    Fake::staged(move |n, stage| {
        let (current, pending) = versions(n);
        let Some(version) = (if stage == Stage::Current { Some(current) } else { pending }) else {
            let absent = r#"{"__type":"ResourceNotFoundException","message":"no such version"}"#;
            return Some((400, absent.to_owned()));
        };
        Some((200, secret(&FULL.replace("hunter2", version), version)))
    })
    .await
}

fn version(found: Option<&Resolved>) -> Option<&str> {
    // User and password are always those of the version.
    found.inspect(|found| assert_eq!(found.version.as_deref(), Some(found.login.password.expose_secret())));
    found?.version.as_deref()
}

fn refusal() -> Error {
    Error::new(Fault::CredentialsRejected, "db refused the login.").with_sqlstate("28P01")
}

/// As long ago as makes it history.
fn age(credentials: &Credentials) {
    let mut state = credentials.secret.as_ref().unwrap().state();
    let then = SystemTime::now() - REJECTED_PAUSE;
    state.rejected.iter_mut().for_each(|rejection| rejection.when = then);
    state.current_told = Some(then);
}

#[tokio::test]
async fn between_the_steps_of_a_rotation_the_pending_version_is_found_with_two_questions() {
    let fake = rotating(|_| ("v1", Some("v2"))).await;
    let credentials = fake.credentials(&[]);
    let old = credentials.get(soon()).await.unwrap();
    age(&credentials);
    let new = credentials.rejected(&old, &refusal(), soon()).await;
    assert_eq!((version(new.as_ref()), fake.questions()), (Some("v2"), 3));
    // From now on it is the one, and a session that comes late with the old one gets it, too.
    assert_eq!(version(Some(&credentials.get(soon()).await.unwrap())), Some("v2"));
    assert_eq!(version(credentials.rejected(&old, &refusal(), soon()).await.as_ref()), Some("v2"));
    assert_eq!(fake.questions(), 3);
}

#[tokio::test]
async fn an_environment_that_starts_between_the_steps_asks_twice_as_well() {
    let fake = rotating(|_| ("v1", Some("v2"))).await;
    let credentials = fake.credentials(&[]);
    let old = credentials.get(soon()).await.unwrap();
    assert_eq!(version(credentials.rejected(&old, &refusal(), soon()).await.as_ref()), Some("v2"));
    assert_eq!(fake.questions(), 2);
}

#[tokio::test]
async fn a_rotation_that_ended_is_found_with_one_question_and_one_that_just_ended_with_three() {
    let fake = rotating(|n| (if n == 0 { "v1" } else { "v2" }, None)).await;
    let credentials = fake.credentials(&[]);
    let old = credentials.get(soon()).await.unwrap();
    age(&credentials);
    assert_eq!(version(credentials.rejected(&old, &refusal(), soon()).await.as_ref()), Some("v2"));
    assert_eq!(fake.questions(), 2);

    let fake = rotating(|n| (if n == 0 { "v1" } else { "v2" }, None)).await;
    let credentials = fake.credentials(&[]);
    let old = credentials.get(soon()).await.unwrap();
    assert_eq!(version(credentials.rejected(&old, &refusal(), soon()).await.as_ref()), Some("v2"));
    assert_eq!(fake.questions(), 3);
}

#[tokio::test]
async fn each_version_is_tried_once_in_30_s() {
    let fake = rotating(|n| (if n < 6 { "v1" } else { "v3" }, Some("v2"))).await;
    let credentials = fake.credentials(&[]);
    let current = credentials.get(soon()).await.unwrap();
    let pending = credentials.rejected(&current, &refusal(), soon()).await.unwrap();
    assert_eq!(version(Some(&pending)), Some("v2"));
    assert!(credentials.rejected(&pending, &refusal(), soon()).await.is_none());
    let error = credentials.get(soon()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::CredentialsRejected);
    assert_eq!(
        error.detail(),
        "db refused the login. This was told less than 30 s ago; each version of the secret is tried once in that \
         time."
    );
    assert_eq!((error.sqlstate(), error.phase()), (Some("28P01"), Some(Phase::Auth)));
    assert_eq!(fake.questions(), 6);
    // What is new is tried at once.
    assert_eq!(version(Some(&credentials.get(soon()).await.unwrap())), Some("v3"));

    let fake = rotating(|_| ("v1", None)).await;
    let credentials = fake.credentials(&[]);
    let only = credentials.get(soon()).await.unwrap();
    assert!(credentials.rejected(&only, &refusal(), soon()).await.is_none());
    assert!(credentials.get(soon()).await.is_err());
    age(&credentials);
    assert_eq!(version(Some(&credentials.get(soon()).await.unwrap())), Some("v1"));
}

#[tokio::test]
async fn a_rejection_while_secrets_manager_is_down_ends_with_the_rejection() {
    let full = secret(FULL, "v1");
    let fake =
        Fake::new(move |n| Some(if n == 0 { (200, full.clone()) } else { (400, "{}".to_owned()) })).await;
    let credentials = fake.credentials(&[]);
    let only = credentials.get(soon()).await.unwrap();
    age(&credentials);
    assert!(credentials.rejected(&only, &refusal(), soon()).await.is_none());
    let error = credentials.get(soon()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::CredentialsRejected);
    assert!(error.detail().contains("db refused the login"), "{error}");
}

#[tokio::test]
async fn a_rejection_brings_the_rotated_secret_at_once() {
    let rotated = FULL.replace("hunter2", "hunter3");
    // One version for both, as a careless stand-in would have it.
    let fake = Fake::new(move |n| Some((200, secret(if n == 0 { FULL } else { &rotated }, "v1")))).await;
    let credentials = fake.credentials(&[]);
    let old = credentials.get(soon()).await.unwrap();
    age(&credentials);
    let new = credentials.rejected(&old, &refusal(), soon()).await.unwrap();
    assert_eq!((new.login.password.expose_secret(), fake.questions()), ("hunter3", 2));
}

#[tokio::test]
async fn a_second_connection_logs_in_with_the_newest_login() {
    let fake = rotating(|n| (if n == 0 { "v1" } else { "v2" }, None)).await;
    let credentials = Arc::new(fake.credentials(&[]));
    let old = credentials.get(soon()).await.unwrap();
    age(&credentials);
    let mut first = Relogin::new(&credentials, old.clone(), old.endpoint.clone());
    let mut second = first.clone();
    let password = |login: Result<Login>| login.unwrap().password.expose_secret().to_owned();
    assert_eq!((password(first.login(soon()).await), fake.questions()), ("v1".to_owned(), 1));
    assert!(first.rejected(&refusal(), soon()).await);
    assert_eq!((password(first.login(soon()).await), fake.questions()), ("v2".to_owned(), 2));
    // The other session's handle learns of it without being rejected.
    assert_eq!((password(second.login(soon()).await), fake.questions()), ("v2".to_owned(), 2));
    assert!(!second.rejected(&refusal(), soon()).await);

    let mut fixed = Relogin::fixed(old.login);
    assert!(!fixed.rejected(&refusal(), soon()).await);
    assert_eq!(password(fixed.login(soon()).await), "v1");
}

#[tokio::test]
async fn a_second_connection_has_a_token_of_its_own() {
    let env = [("DB_AUTH", "iam"), ("DB_HOST", "h"), ("DB_NAME", "n"), ("DB_USER", "u")];
    let (db, platform) = settings(&env);
    let credentials = Arc::new(Credentials::new(&db, &platform));
    let resolved = credentials.get(soon()).await.unwrap();
    let endpoint = Endpoint { host: "reader".to_owned(), port: 3306 };
    let mut relogin = Relogin::new(&credentials, resolved, endpoint);
    let token = relogin.login(soon()).await.unwrap();
    // For the server of the session, which may be another than the configured one.
    assert!(token.password.expose_secret().starts_with("reader:3306/?Action=connect&DBUser=u&X-Amz-"));
    assert!(!relogin.rejected(&refusal(), soon()).await);
}

#[tokio::test]
async fn without_a_secret_the_configuration_says_all() {
    let (db, platform) = settings(&[
        ("DB_AUTH", "password"),
        ("DB_USER", "app"),
        ("DB_PASSWORD", "123456"),
        ("DB_HOST", "localhost"),
        ("DB_NAME", "shop"),
    ]);
    let credentials = Credentials::new(&db, &platform);
    let found = credentials.get(soon()).await.unwrap();
    assert_eq!(found.login.password.expose_secret(), "123456");
    assert_eq!((found.endpoint.to_string().as_str(), found.database.as_str()), ("localhost:5432", "shop"));
    assert!(credentials.rejected(&found, &refusal(), soon()).await.is_none());

    let (db, platform) = settings(&[("DB_ENGINE", "sqlite"), ("DB_NAME", "app.db")]);
    let found = Credentials::new(&db, &platform).get(soon()).await.unwrap();
    assert_eq!((found.database.as_str(), found.login.user.as_str()), ("app.db", ""));
}

#[tokio::test]
async fn nothing_prints_a_password() {
    let fake = Fake::giving(FULL).await;
    let credentials = fake.credentials(&[]);
    let found = credentials.get(soon()).await.unwrap();
    for shown in [format!("{found:?}"), format!("{credentials:?}"), format!("{:?}", found.login)] {
        assert!(shown.contains("app") && !shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn another_bundle_of_roots() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.pem");
    let with = |bundle: PathBuf| {
        let (db, mut platform) = settings(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
        platform.ca_bundle = Some(bundle);
        Credentials::new(&db, &platform)
    };
    let detail = async |bundle: PathBuf| with(bundle).get(soon()).await.unwrap_err().detail().to_owned();
    assert!(detail("no/such.pem".into()).await.starts_with("AWS_CA_BUNDLE: no/such.pem cannot be read: "));
    std::fs::write(&file, "nothing").unwrap();
    assert!(detail(file.clone()).await.ends_with("bundle.pem: it holds no PEM certificate"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(
        detail(file.clone()).await.contains("bundle.pem: it holds a certificate that cannot be a root: ")
    );
    std::fs::write(&file, include_bytes!("../connect/roots/amazon-trust-services.pem")).unwrap();
    assert!(detail(file).await.contains("cannot be reached"));
}

#[tokio::test]
async fn only_the_trusted_roots_are_trusted() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // A client that does not trust us leaves here.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            read(&mut socket).await;
            reply(&mut socket, 200, &secret(FULL, "v1")).await;
        }
    });

    let (db, mut platform) = settings(&[("AWS_ENDPOINT_URL", url.as_str())]);
    let error = Credentials::new(&db, &platform).get(soon()).await.unwrap_err();
    assert_eq!(
        error.detail(),
        "secret app: no answer from Secrets Manager: the certificate of whoever answers there is not of Amazon's \
         roots; AWS_CA_BUNDLE names a PEM file of others to trust (dispatch failure: io error: invalid \
         peer certificate: UnknownIssuer)"
    );

    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, own.cert.pem()).unwrap();
    platform.ca_bundle = Some(bundle);
    assert_eq!(Credentials::new(&db, &platform).get(soon()).await.unwrap().login.user, "app");
}

proptest::proptest! {
    /// Whatever a secret holds, it is read or refused, and what is said of it shows none of its values.
    #[test]
    fn no_secret_makes_it_panic_or_talk(
        fields in proptest::collection::vec(
            ("username|password|host|port|dbname|other", "(hunter2)?\\PC{0,10}|[0-9]{0,6}|\\{|null", 0..4_u8),
            0..8,
        ),
        torn in proptest::option::of(0..200_usize),
    ) {
        let fields = fields.into_iter().map(|(name, text, how)| {
            let value = match how {
                0 => serde_json::json!([text]),
                1 => serde_json::from_str(&text).unwrap_or_default(),
                _ => serde_json::json!(text),
            };
            (name, value)
        });
        let mut text = serde_json::Value::Object(fields.collect()).to_string();
        if let Some(torn) = torn {
            text = text.chars().take(torn).collect();
        }
        let (db, _) = settings(&[]);
        if let Err(said) = fetch::resolve("app", &text, None, &db) {
            proptest::prop_assert!(!said.contains("hunter2"), "{}", said);
        }
    }
}
