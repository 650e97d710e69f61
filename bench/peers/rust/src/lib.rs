//! What the Rust handlers share: the event, the reply, the secret.

use lambda_runtime::Error;
use serde::{Deserialize, Serialize};

/// An event in the shape that lambda-rds takes, as far as the bench sends it.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// The query.
    pub query: Option<String>,
    /// Its parameters.
    #[serde(default)]
    pub params: Params,
    /// Many parameter sets for one query, in one transaction.
    pub batch: Option<Batch>,
}

/// The parameters of the bench's queries.
#[derive(Debug, Default, Deserialize)]
pub struct Params {
    /// Of `active_users`.
    #[serde(default)]
    pub active: bool,
    /// Of `some_rows`.
    #[serde(default)]
    pub count: i64,
}

/// A batch of inserts.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// The rows.
    pub params: Vec<Entry>,
}

/// One row of a batch.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// Its text.
    pub text: String,
}

/// The reply that a gateway wants.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    status_code: u16,
    headers: Headers,
    body: String,
}

#[derive(Debug, Serialize)]
struct Headers {
    #[serde(rename = "content-type")]
    content_type: &'static str,
}

impl Reply {
    /// A reply with this body.
    pub fn new(body: String) -> Self {
        Self { status_code: 200, headers: Headers { content_type: "application/json" }, body }
    }

    /// A reply with this value as its body.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::new(serde_json::to_string(value)?))
    }
}

/// The database's secret.
#[derive(Debug, Deserialize)]
pub struct Secret {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// The host.
    pub host: String,
    /// The port, as RDS's users store it.
    pub port: String,
    /// The database.
    pub dbname: String,
}

#[cfg(feature = "obvious")]
impl Secret {
    /// Asks Secrets Manager, with the SDK set up as its guide says.
    pub async fn fetch() -> Result<Self, Error> {
        use aws_smithy_http_client::Builder;
        use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
        // Without the SDK's default features, which bring a second TLS stack, its client has to be named.
        let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(https);
        let config = config.load().await;
        let client = aws_sdk_secretsmanager::Client::new(&config);
        let answer = client.get_secret_value().secret_id(std::env::var("DB_SECRET_ID")?).send().await?;
        Ok(serde_json::from_str(answer.secret_string().ok_or("the secret is not text")?)?)
    }
}

/// Whether the pool is to be as it comes, not tuned for Lambda.
pub fn default_pool() -> bool {
    std::env::var("BENCH_POOL").is_ok_and(|pool| pool == "default")
}
