//! A stand-in for Secrets Manager: `GetSecretValue` over AWS JSON 1.1, as
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html> describes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde::Deserialize;
use serde_json::json;

use crate::background::{self, lock};
use crate::certs::{Authority, SERVER_NAMES};
use crate::standin::{self, Handler, Reply, Server};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A Secrets Manager on a free port. Gone on drop.
#[derive(Debug)]
pub struct Secrets {
    store: Arc<Store>,
    server: Server,
    scheme: &'static str,
}

impl Secrets {
    /// Starts it, without a secret and over plain HTTP.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start() -> Result<Self> {
        let store = Arc::new(Store::default());
        let server = Server::start(Arc::clone(&store), None)?;
        Ok(Self { store, server, scheme: "http" })
    }

    /// Starts it over HTTPS, with a certificate from `authority`, to be trusted through `AWS_CA_BUNDLE`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start_tls(authority: &Authority) -> Result<Self> {
        let store = Arc::new(Store::default());
        let server = Server::start(Arc::clone(&store), Some(&authority.issue(&SERVER_NAMES)?))?;
        Ok(Self { store, server, scheme: "https" })
    }

    /// The value for `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.server.address().port())
    }

    /// Stores a version of the secret `name` as AWSCURRENT; the version that was, becomes AWSPREVIOUS.
    pub fn put(&self, name: &str, value: impl ToString) -> Secret {
        self.store.put(name, Value::Text(value.to_string()), CURRENT)
    }

    /// Stores a version of the secret `name` as AWSPENDING, as a rotation does before it changes the password.
    pub fn put_pending(&self, name: &str, value: impl ToString) -> Secret {
        self.store.put(name, Value::Text(value.to_string()), PENDING)
    }

    /// Stores a version as AWSCURRENT that has only bytes, base64-encoded here: `SecretBinary`, no `SecretString`.
    pub fn put_binary(&self, name: &str, base64: &str) -> Secret {
        self.store.put(name, Value::Binary(base64.to_owned()), CURRENT)
    }

    /// Ends a rotation: AWSPENDING becomes AWSCURRENT, and what was current, AWSPREVIOUS.
    ///
    /// # Errors
    /// If the secret has no pending version.
    pub fn promote(&self, name: &str) -> Result<()> {
        let mut state = lock(&self.store.state);
        let Some(stored) = state.secrets.get_mut(name) else { bail!("no secret {name}") };
        let Some(version) = stored.stages.remove(PENDING) else { bail!("{name} has no pending version") };
        stored.make_current(version);
        Ok(())
    }

    /// Deletes a secret with all its versions.
    pub fn remove(&self, name: &str) {
        lock(&self.store.state).secrets.remove(name);
    }

    /// Answers every request with `fault` from now on, until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        lock(&self.store.state).fault = Some((fault, None));
    }

    /// Answers the next `requests` requests with `fault`, and then as before.
    pub fn fail_next(&self, requests: u64, fault: Fault) {
        lock(&self.store.state).fault = Some((fault, Some(requests)));
    }

    /// Sets its clock, which its answers show (`Date`), so much ahead of this machine's.
    pub fn set_ahead(&self, ahead: Duration) {
        lock(&self.store.state).ahead = Some(ahead);
    }

    /// Ends a fault. Requests that hang stay hanging.
    pub fn heal(&self) {
        lock(&self.store.state).fault = None;
    }

    /// All requests for a secret so far, in order of arrival, answered or not.
    #[must_use]
    pub fn requests(&self) -> Vec<SecretRequest> {
        lock(&self.store.state).requests.clone()
    }

    /// How many requests for a secret there were so far, answered or not.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.store.state).requests.len()
    }

    /// Forgets the requests so far.
    pub fn reset(&self) {
        lock(&self.store.state).requests.clear();
    }
}

/// A version of a secret that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The secret's ARN, the same for all of its versions.
    pub arn: String,
    /// The id of this version.
    pub version_id: String,
}

/// A request for a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRequest {
    /// Name or ARN, as asked for.
    pub secret_id: String,
    /// The version asked for, if one was named.
    pub version_id: Option<String>,
    /// The stage asked for, if one was named; AWSCURRENT is meant otherwise.
    pub version_stage: Option<String>,
    /// When it arrived.
    pub at: Instant,
}

/// A way for Secrets Manager to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers properly, but only after this long.
    Delay(Duration),
    /// Never answers, and keeps the connection open.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// 500 InternalServiceError, which an SDK retries.
    Internal,
    /// 400 ThrottlingException, which an SDK retries.
    Throttling,
    /// 400 AccessDeniedException: the role lacks `secretsmanager:GetSecretValue`.
    AccessDenied,
    /// 400 ResourceNotFoundException.
    NotFound,
    /// 400 DecryptionFailure: the role lacks `kms:Decrypt`.
    Decryption,
    /// 200 with a `SecretString` that is cut off, and so no JSON.
    Malformed,
    /// 200 with a body that is no JSON at all.
    Garbage,
}

#[derive(Debug, Default)]
struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    secrets: HashMap<String, Stored>,
    /// The fault and for how many requests more; `None` for all.
    fault: Option<(Fault, Option<u64>)>,
    requests: Vec<SecretRequest>,
    /// How much its clock is ahead, where that was set.
    ahead: Option<Duration>,
}

impl State {
    fn next_fault(&mut self) -> Option<Fault> {
        let (fault, left) = self.fault.as_mut()?;
        let fault = *fault;
        match left {
            None => {}
            Some(0) => {
                self.fault = None;
                return None;
            }
            Some(left) => *left -= 1,
        }
        Some(fault)
    }
}

#[derive(Debug)]
struct Stored {
    arn: String,
    /// Version id → value.
    versions: HashMap<String, Value>,
    /// Stage → version id.
    stages: HashMap<&'static str, String>,
}

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Binary(String),
}

impl Stored {
    fn make_current(&mut self, version: String) {
        if let Some(previous) = self.stages.insert(CURRENT, version) {
            self.stages.insert(PREVIOUS, previous);
        }
    }

    /// By its ARN, or the ARN without the random suffix, as Secrets Manager allows.
    fn is(&self, id: &str) -> bool {
        self.arn == id || self.arn.rsplit_once('-').is_some_and(|(stem, _)| stem == id)
    }
}

impl Store {
    fn put(&self, name: &str, value: Value, stage: &'static str) -> Secret {
        let mut state = lock(&self.state);
        let stored = state.secrets.entry(name.to_owned()).or_insert_with(|| {
            let suffix = background::random() % 0x100_0000;
            let arn = format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-{suffix:06x}");
            Stored { arn, versions: HashMap::new(), stages: HashMap::new() }
        });
        let version_id =
            format!("{:08x}-0000-4000-8000-{:012x}", stored.versions.len(), background::random() >> 16);
        stored.versions.insert(version_id.clone(), value);
        if stage == CURRENT {
            stored.make_current(version_id.clone());
        } else {
            stored.stages.insert(stage, version_id.clone());
        }
        Secret { arn: stored.arn.clone(), version_id }
    }

    fn get(&self, asked: &GetSecretValue) -> Reply {
        let state = lock(&self.state);
        let found = state
            .secrets
            .iter()
            .find(|(name, stored)| **name == asked.secret_id || stored.is(&asked.secret_id));
        let Some((name, stored)) = found else {
            return refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.");
        };
        let stage = asked.version_stage.as_deref();
        let staged = stored.stages.get(stage.unwrap_or(CURRENT));
        // With both a version and a stage, they must belong together.
        let version = match (&asked.version_id, stage) {
            (Some(id), Some(_)) if staged != Some(id) => None,
            (Some(id), _) => Some(id),
            (None, _) => staged,
        };
        let Some((version, value)) = version.and_then(|id| stored.versions.get_key_value(id)) else {
            let wanted = asked.version_id.as_deref().or(stage).unwrap_or(CURRENT);
            let message = format!("Secrets Manager can't find the specified secret value for: {wanted}");
            return refuse("ResourceNotFoundException", &message);
        };
        let mut stages: Vec<&str> =
            stored.stages.iter().filter(|(_, id)| *id == version).map(|(s, _)| *s).collect();
        stages.sort_unstable();
        let (field, value) = match value {
            Value::Text(text) => ("SecretString", text),
            Value::Binary(base64) => ("SecretBinary", base64),
        };
        reply(
            200,
            &json!({
                "ARN": stored.arn,
                "Name": name,
                "VersionId": version,
                field: value,
                "VersionStages": stages,
                "CreatedDate": 1_753_862_400.5,
            }),
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

impl Handler for Store {
    async fn answer(&self, request: Request<Bytes>) -> Reply {
        let mut reply = self.answer_now(request).await?;
        let ahead = lock(&self.state).ahead;
        if let Some(ahead) = ahead {
            // In place of the one that the server would put there.
            let date = http_date(SystemTime::now() + ahead);
            reply.headers_mut().insert(http::header::DATE, HeaderValue::from_str(&date).ok()?);
        }
        Some(reply)
    }
}

impl Store {
    async fn answer_now(&self, request: Request<Bytes>) -> Reply {
        let target = request.headers().get("x-amz-target").map(HeaderValue::as_bytes);
        if request.method() != Method::POST || target != Some(b"secretsmanager.GetSecretValue") {
            return refuse("UnknownOperationException", "only GetSecretValue is stood in for");
        }
        let asked: GetSecretValue = match serde_json::from_slice(request.body()) {
            Ok(asked) => asked,
            Err(error) => return refuse("InvalidParameterException", &error.to_string()),
        };
        let fault = {
            let mut state = lock(&self.state);
            state.requests.push(SecretRequest {
                secret_id: asked.secret_id.clone(),
                version_id: asked.version_id.clone(),
                version_stage: asked.version_stage.clone(),
                at: Instant::now(),
            });
            state.next_fault()
        };
        if !is_signed(request.headers()) {
            return refuse("MissingAuthenticationTokenException", "Missing Authentication Token");
        }
        match fault {
            None => self.get(&asked),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.get(&asked)
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => None,
            Some(Fault::Internal) => {
                let message = "An error occurred on the server side.";
                reply(500, &json!({ "__type": "InternalServiceError", "message": message }))
            }
            Some(Fault::Throttling) => refuse("ThrottlingException", "Rate exceeded"),
            Some(Fault::AccessDenied) => refuse(
                "AccessDeniedException",
                "User: arn:aws:sts::123456789012:assumed-role/lambda-rds-test/lambda-rds-test is not authorized to \
                 perform: secretsmanager:GetSecretValue on resource",
            ),
            Some(Fault::NotFound) => {
                refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
            }
            Some(Fault::Decryption) => refuse(
                "DecryptionFailure",
                "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
            ),
            Some(Fault::Malformed) => reply(
                200,
                &json!({
                    "ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:malformed-abcdef",
                    "Name": "malformed",
                    "VersionId": "00000000-0000-4000-8000-000000000000",
                    "SecretString": r#"{"username": "app", "pass"#,
                    "VersionStages": [CURRENT],
                    "CreatedDate": 1_753_862_400.5,
                }),
            ),
            Some(Fault::Garbage) => standin::json(200, "<html>this is not Secrets Manager</html>"),
        }
    }
}

/// A time as HTTP writes it: `Sat, 31 Jan 2026 12:34:56 GMT`.
fn http_date(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time);
    let day = &time.weekday().to_string()[..3];
    let month = &time.month().to_string()[..3];
    let (date, year, (hour, minute, second)) = (time.day(), time.year(), time.to_hms());
    format!("{day}, {date:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Whether a request carries a Signature Version 4 for this service. The signature itself is not computed: that
/// is the SDK's business, not ours.
fn is_signed(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = text("authorization");
    authorization.starts_with("AWS4-HMAC-SHA256 Credential=")
        && authorization.contains("/secretsmanager/aws4_request,")
        && authorization.contains("SignedHeaders=")
        && authorization.contains("Signature=")
        && !text("x-amz-date").is_empty()
}

fn refuse(error_type: &str, message: &str) -> Reply {
    reply(400, &json!({ "__type": error_type, "message": message }))
}

fn reply(status: u16, body: &serde_json::Value) -> Reply {
    let mut reply = standin::json(status, body.to_string())?;
    reply
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    Some(reply)
}
