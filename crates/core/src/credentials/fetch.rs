//! Asking Secrets Manager, and making sense of the answer.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Builder, Region, StalledStreamProtectionConfig};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_secretsmanager::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::http::{
    HttpConnector as _, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use futures_util::future::{Either, select};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::http::Http;
use super::{Login, Resolved, keys};
use crate::backend::Endpoint;
use crate::config::{self, Db, Engine, Platform};
use crate::connect::roots::amazon;
use crate::deadline::Deadline;

/// Asks for one secret. The SDK's client is built at the first question, once.
#[derive(Debug)]
pub(super) struct Asker {
    id: String,
    platform: Platform,
    client: OnceCell<Client>,
}

impl Asker {
    pub(super) fn new(id: &str, platform: &Platform) -> Self {
        Self { id: id.to_owned(), platform: platform.clone(), client: OnceCell::new() }
    }

    fn misshapen(&self, said: String) -> Unreadable {
        let hint = format!("the secret's fields: {} must be a JSON object with {FIELDS}", self.id);
        Unreadable { said, hint: Some(hint) }
    }

    /// The secret's name or ARN.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Asks for the version at this stage and completes it with what the configuration says. `None` if no
    /// version is pending. With something to `fall_back` on there are two short tries; with nothing, an answer is waited
    /// for until the deadline, since at little memory a first TLS handshake alone may take seconds, and what has not
    /// answered for a second is asked on another connection beside.
    ///
    /// # Errors
    /// What is wrong, without any of the secret's values.
    pub(super) async fn fetch(
        &self,
        db: &Db,
        stage: Stage,
        by: Deadline,
        fall_back: bool,
    ) -> Result<Option<Resolved>, Unreadable> {
        if fall_back {
            return self.ask(db, stage, ATTEMPT, IN_ALL).await;
        }
        // A walk of the command's has no deadline of its own.
        let by = by.within(LONGEST);
        let ask = || {
            let left = by.remaining();
            self.ask(db, stage, left, left)
        };
        let mut first = pin!(ask());
        if let Ok(answer) = by.within(ATTEMPT).bound(&mut first).await {
            return answer;
        }
        let second = pin!(ask());
        match select(first, second).await {
            Either::Left((Err(_), other)) => other.await,
            Either::Right((Err(_), other)) => other.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }

    /// Asks, with this much time for each of two tries and for both.
    async fn ask(
        &self,
        db: &Db,
        stage: Stage,
        attempt: Duration,
        in_all: Duration,
    ) -> Result<Option<Resolved>, Unreadable> {
        let client = self.client.get_or_try_init(|| client(&self.id, &self.platform)).await?;
        let mut question = client.get_secret_value().secret_id(&self.id);
        if stage == Stage::Pending {
            question = question.version_stage("AWSPENDING");
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(in_all)
            .build();
        let question = question.customize().config_override(Builder::new().timeout_config(timeouts));
        let answer = match question.send().await {
            Ok(answer) => answer,
            Err(error) if stage == Stage::Pending && is_absent(&error) => return Ok(None),
            Err(error) => return Err(refused(&self.id, &error)),
        };
        let Some(text) = answer.secret_string else {
            let said = format!(
                "secret {}: it is binary; it must be text, a JSON object with the fields {FIELDS}",
                self.id
            );
            return Err(self.misshapen(said));
        };
        let resolved = resolve(&self.id, &text, answer.version_id, db);
        resolved.map(Some).map_err(|said| self.misshapen(said))
    }
}

/// Why a secret could not be read: a sentence for the log, and what to change, if that can be said.
#[derive(Debug, Clone)]
pub(super) struct Unreadable {
    pub(super) said: String,
    pub(super) hint: Option<String>,
}

impl Unreadable {
    /// No answer came in time.
    pub(super) fn late(said: impl Into<String>) -> Self {
        Self { said: said.into(), hint: Some(ENDPOINT.to_owned()) }
    }
}

impl From<String> for Unreadable {
    fn from(said: String) -> Self {
        Self { said, hint: None }
    }
}

/// Which version of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// AWSCURRENT: the one to use.
    Current,
    /// AWSPENDING: the one that a rotation is about to make current.
    Pending,
}

/// The region that a secret's ARN names.
pub(crate) fn region_of(secret_id: &str) -> Option<&str> {
    let parts: Vec<&str> = secret_id.splitn(7, ':').collect();
    match parts.as_slice() {
        ["arn", _, "secretsmanager", region, _, "secret", name] if !region.is_empty() && !name.is_empty() => {
            Some(region)
        }
        _ => None,
    }
}

/// Builds the client. By hand where the environment says all that is needed, as Lambda's does: the SDK's own
/// loader looks for files, and its chain asks the instance's metadata service.
async fn client(id: &str, platform: &Platform) -> Result<Client, String> {
    let http = http_client(platform)?;
    let Some(region) = region(region_of(id), platform).await else {
        return Err(format!(
            "secret {id}: the region is not known; set AWS_REGION, or give the secret's ARN"
        ));
    };
    let mut builder = match &platform.access {
        Some(access) => Builder::new().behavior_version(BehaviorVersion::latest()).credentials_provider(
            aws_sdk_secretsmanager::config::Credentials::new(
                &access.id,
                access.secret.expose_secret(),
                access.token.as_ref().map(|token| token.expose_secret().to_owned()),
                None,
                "environment",
            ),
        ),
        None => Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(keys::elsewhere(region.clone(), http.clone()).await),
    };
    if let Some(url) = &platform.secrets_endpoint {
        builder = builder.endpoint_url(url);
    }
    let config = builder
        .region(region)
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(BACKOFF))
        // A body of a kilobyte inside an attempt of a second needs no watch over its throughput.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(Client::from_conf(config))
}

/// The named region, else the environment's; on a developer's machine the profile may say.
pub(super) async fn region(named: Option<&str>, platform: &Platform) -> Option<Region> {
    match named.or(platform.region.as_deref()) {
        Some(region) => Some(Region::new(region.to_owned())),
        None => keys::region().await,
    }
}

/// An HTTP client that trusts exactly Amazon's roots, or those of `AWS_CA_BUNDLE`.
pub(super) fn http_client(platform: &Platform) -> Result<SharedHttpClient, String> {
    let connector = connector(platform)?;
    Ok(http_client_fn(move |_, _| connector.clone()))
}

fn connector(platform: &Platform) -> Result<SharedHttpConnector, String> {
    let roots = match &platform.ca_bundle {
        None => amazon().collect(),
        Some(path) => {
            let shown = path.display();
            let pem =
                std::fs::read(path).map_err(|e| format!("AWS_CA_BUNDLE: {shown} cannot be read: {e}"))?;
            roots(&pem).map_err(|reason| format!("AWS_CA_BUNDLE: {shown}: {reason}"))?
        }
    };
    Ok(SharedHttpConnector::new(Http::new(roots)?))
}

/// The time by Secrets Manager's clock: the `Date` with which it answers a request that asks nothing. `None` where it
/// cannot be asked, as in a VPC without its endpoint.
pub(super) async fn clock(platform: &Platform) -> Option<SystemTime> {
    let url = match &platform.secrets_endpoint {
        Some(url) => url.clone(),
        None => {
            let region = region(None, platform).await?;
            let suffix = if region.as_ref().starts_with("cn-") { ".cn" } else { "" };
            format!("https://secretsmanager.{region}.amazonaws.com{suffix}/")
        }
    };
    let answer = connector(platform).ok()?.call(HttpRequest::get(url).ok()?).await.ok()?;
    let date = DateTime::from_str(answer.headers().get("date")?, DateTimeFormat::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}

/// The certificates of a file, each of which must be good for a root.
fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no valid PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("it holds a certificate that cannot be a root: {error}"))?;
    }
    if roots.is_empty() { Err("it holds no PEM certificate".to_owned()) } else { Ok(roots) }
}

fn is_absent(error: &SdkError<GetSecretValueError>) -> bool {
    error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception)
}

/// Why there was no answer, with what to look at.
fn refused(id: &str, error: &SdkError<GetSecretValueError>) -> Unreadable {
    let Some(service) = error.as_service_error() else {
        let reason = chain(error);
        // The words of others, so good for a hint and for nothing else.
        let (advice, hint) = if reason.contains("loading credentials") {
            (NO_ACCESS, NO_ACCESS)
        } else if reason.contains("certificate") {
            (UNTRUSTED, UNTRUSTED)
        } else {
            (UNREACHABLE, ENDPOINT)
        };
        let said = format!("secret {id}: no answer from Secrets Manager: {advice} ({reason})");
        return Unreadable { said, hint: Some(hint.to_owned()) };
    };
    let Some(code) = service.code() else {
        // The parser's words may quote what it could not parse.
        return Unreadable { said: format!("secret {id}: {NOT_THERE}"), hint: Some(NOT_THERE.to_owned()) };
    };
    let message = service.message().unwrap_or("no message");
    let permission;
    let advice = match code {
        "AccessDeniedException" if message.contains("KMS") => NO_KEY,
        "AccessDeniedException" => {
            permission = format!("the function's role needs secretsmanager:GetSecretValue on {id}");
            &permission
        }
        "ResourceNotFoundException" => NOT_FOUND,
        "DecryptionFailure" => BAD_KEY,
        "InvalidRequestException" => "it is not in a state to be read; is it scheduled for deletion?",
        "ThrottlingException" | "TooManyRequestsException" | "LimitExceededException" => THROTTLED,
        "RequestTimeTooSkewed" => SKEWED,
        "InvalidSignatureException" if is_about_time(message) => SKEWED,
        "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
            "AWS does not accept the credentials of the environment"
        }
        _ => "Secrets Manager failed",
    };
    let said = format!("secret {id}: {advice} ({code}: {message})");
    Unreadable { said, hint: Some(advice.to_owned()) }
}

/// Whether a signature was refused for its time: "Signature expired: 20260131T120000Z is now earlier than …", "Signature
/// not yet current: …".
fn is_about_time(message: &str) -> bool {
    ["Signature expired", "not yet current"].iter().any(|words| message.contains(words))
}

/// An error and what caused it, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Makes sense of a secret's text. No value of it gets into a message, not even by way of a parser's.
pub(super) fn resolve(id: &str, text: &str, version: Option<String>, db: &Db) -> Result<Resolved, String> {
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        format!(
            "secret {id}: it is no JSON object (line {}, column {}); it must be one with the fields {FIELDS}",
            error.line(),
            error.column()
        )
    })?;
    let mut wrong = Vec::new();
    let mut field = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) if name == "port" => Some(number.to_string()),
        Some(_) => {
            wrong.push(format!("field `{name}` is no text"));
            None
        }
    };
    let (user, password) = (field("username"), field("password"));
    let (host, port) = (field("host"), field("port"));
    let (database, engine) = (field("dbname"), field("engine"));

    if let Some(engine) = engine
        && !speaks_as(&engine, db.engine)
    {
        wrong.push(format!("field `engine` is {engine:?}, and this function speaks to {}", db.engine));
    }
    let host = db.host.clone().or_else(|| {
        let text = host?;
        let host = config::host(&text);
        if host.is_none() {
            wrong.push(
                "field `host` is no host name or address; scheme and port have no place in it".to_owned(),
            );
        }
        host.or(Some(text))
    });
    let port = db.port.or_else(|| {
        let text = port?;
        let port = text.parse().ok().filter(|port| *port > 0);
        if port.is_none() {
            wrong.push("field `port` is no whole number from 1 to 65535".to_owned());
        }
        port
    });
    let mut need = |value: Option<String>, name: &str, setting: &str| {
        // A field that is there and wrong has been noted.
        if value.is_none() && !wrong.iter().any(|mistake| mistake.contains(&format!("`{name}`"))) {
            let or = if setting.is_empty() {
                String::new()
            } else {
                format!(", and {}{setting} is not set", db.prefix)
            };
            wrong.push(format!("field `{name}` is missing{or}"));
        }
        value.unwrap_or_default()
    };
    let user = need(db.user.clone().or(user), "username", "USER");
    let password = need(password, "password", "");
    let host = need(host, "host", "HOST");
    let database = need(db.name.clone().or(database), "dbname", "NAME");
    if !wrong.is_empty() {
        return Err(format!("secret {id}: {}", wrong.join("; ")));
    }
    Ok(Resolved {
        login: Login { user, password: SecretString::from(password) },
        endpoint: Endpoint { host, port: port.unwrap_or(db.engine.default_port()) },
        database,
        version,
    })
}

/// Whether a secret for this engine, as AWS spells it, is for ours.
fn speaks_as(theirs: &str, ours: Engine) -> bool {
    match theirs {
        // What Aurora MySQL was called when there was no other Aurora.
        "aurora" => Engine::AuroraMysql.speaks_as(ours),
        _ => theirs.parse::<Engine>().is_ok_and(|engine| engine.speaks_as(ours)),
    }
}

/// An answer takes milliseconds: a question that hangs is better asked again, on another connection.
const ATTEMPT: Duration = Duration::from_secs(1);
const IN_ALL: Duration = Duration::from_secs(2);
/// What INIT has.
const LONGEST: Duration = Duration::from_secs(8);
const BACKOFF: Duration = Duration::from_millis(50);

const FIELDS: &str = "username, password, host, port, dbname and engine";
const NO_KEY: &str = "the function's role needs kms:Decrypt on the key that encrypts it";
const BAD_KEY: &str = "the KMS key that encrypts it is disabled, deleted, or not for this role, which needs \
                       kms:Decrypt on it";
const NOT_FOUND: &str = "there is no such secret in this account and region, or it has no current version; look at \
                         DB_SECRET_ID";
const THROTTLED: &str = "Secrets Manager is asked too often; a longer DB_SECRET_TTL asks less";
const UNREACHABLE: &str = "it cannot be reached; a function in a VPC needs the interface endpoint for Secrets Manager, \
                           whose security group lets port 443 in, or a route to the internet";
const UNTRUSTED: &str = "the certificate of whoever answers there is not of Amazon's roots; AWS_CA_BUNDLE names a PEM \
                         file of others to trust";
const ENDPOINT: &str = "the VPC endpoint for Secrets Manager: the function's subnets need the interface endpoint \
                        com.amazonaws.<region>.secretsmanager with private DNS, whose security group lets the function in on \
                        port 443, or a route to the internet";
const SKEWED: &str = "this machine's clock is wrong: AWS refuses what is signed with it";
const NOT_THERE: &str = "the answer is none of Secrets Manager's; does a proxy answer in its place, or does \
                         AWS_ENDPOINT_URL_SECRETS_MANAGER lead elsewhere?";
pub(super) const NO_ACCESS: &str = "there are no AWS credentials; outside Lambda, set AWS_ACCESS_KEY_ID and \
                                    AWS_SECRET_ACCESS_KEY, or a profile, which takes the command or the feature \
                                    `profiles`";
