//! Logging in with a signed token instead of a password (`DB_AUTH=iam`).
//!
//! The token is a presigned URL without its scheme, good for 15 minutes:
//! <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>. It is signed per
//! connection, which takes no question to AWS and so no way out of the VPC.

use std::time::{Duration, SystemTime};

use aws_sdk_secretsmanager::config::{
    Credentials, ProvideCredentials as _, Region, SharedCredentialsProvider,
};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use super::{Login, fetch, keys};
use crate::backend::Endpoint;
use crate::config::Platform;
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};

/// Signs tokens.
#[derive(Debug)]
pub(super) struct Signer {
    /// The host that tokens are signed for, where it is not the endpoint's: RDS knows itself by its own name only.
    host: Option<String>,
    platform: Platform,
    /// Where to ask for keys, outside Lambda; looked for at the first connection, once.
    elsewhere: OnceCell<SharedCredentialsProvider>,
}

impl Signer {
    pub(super) fn new(host: Option<String>, platform: &Platform) -> Self {
        Self { host, platform: platform.clone(), elsewhere: OnceCell::new() }
    }

    /// User and token for one connection to this endpoint; `by_its_name`: whatever host is configured to sign for.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] in [`Phase::Credentials`] if region or keys are not known.
    pub(super) async fn login(
        &self,
        user: &str,
        endpoint: &Endpoint,
        by_its_name: bool,
        by: Deadline,
    ) -> Result<Login> {
        let host = self.host.as_deref().filter(|_| !by_its_name).unwrap_or(&endpoint.host);
        let signed = by.bound(async {
            let Some(region) = fetch::region(None, &self.platform).await else {
                return Err("the region is not known; set AWS_REGION".to_owned());
            };
            let keys = self.keys(&region).await?;
            token(host, endpoint.port, user, region.as_ref(), keys, SystemTime::now())
        });
        let failure = |reason: &str| {
            Error::new(Fault::Unreachable, format!("no token for {user} at {host}: {reason}"))
                .with_phase(Phase::Credentials)
        };
        match signed.await {
            Ok(Ok(password)) => Ok(Login { user: user.to_owned(), password }),
            Ok(Err(reason)) => Err(failure(&reason)),
            Err(_) => Err(failure("the deadline came before AWS credentials were found")),
        }
    }

    /// The environment's keys, as Lambda gives them, else what the SDK's chain finds.
    async fn keys(&self, region: &Region) -> Result<Credentials, String> {
        if let Some(access) = &self.platform.access {
            let token = access.token.as_ref().map(|token| token.expose_secret().to_owned());
            return Ok(Credentials::new(
                &access.id,
                access.secret.expose_secret(),
                token,
                None,
                "environment",
            ));
        }
        let elsewhere = self.elsewhere.get_or_try_init(async || {
            let http = fetch::http_client(&self.platform)?;
            Ok::<_, String>(keys::elsewhere(region.clone(), http).await)
        });
        let keys = elsewhere.await?.provide_credentials().await;
        keys.map_err(|error| format!("{} ({})", fetch::NO_ACCESS, fetch::chain(&error)))
    }
}

/// The token for `user` at `host:port`.
fn token(
    host: &str,
    port: u16,
    user: &str,
    region: &str,
    keys: Credentials,
    now: SystemTime,
) -> Result<SecretString, String> {
    let user = utf8_percent_encode(user, RESERVED);
    let mut url = format!("https://{host}:{port}/?Action=connect&DBUser={user}");
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(LIFETIME);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = keys.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| fetch::chain(&error))?
        .into();
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| fetch::chain(&error))?;
    let signed = sign(request, &params).map_err(|error| fetch::chain(&error))?;
    let (instructions, _) = signed.into_parts();
    for (name, value) in instructions.params() {
        url.push('&');
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, RESERVED));
    }
    Ok(SecretString::from(url.trim_start_matches("https://")))
}

/// What to look at when the server has rejected a token.
pub(super) const HINT: &str = "Does the function's role allow rds-db:connect on \
                               arn:aws:rds-db:<region>:<account>:dbuser:<resource id of the database>/<user>, does \
                               the user have rds_iam (PostgreSQL) or AWSAuthenticationPlugin (MySQL), and is the \
                               host the database's own name? Behind another name, set DB_IAM_HOST.";

/// As long as RDS allows.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// What a query string must not hold, by RFC 3986, which is what Signature Version 4 goes by.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{AccessKey, Config, Engine, Sources};

    const HOST: &str = "mydb.123456789012.eu-central-1.rds.amazonaws.com";

    /// The tokens were made by botocore 1.44.5's `generate_db_auth_token` at 2026-01-31T12:34:56Z.
    #[test]
    fn a_token_is_what_awss_own_library_makes() {
        let check = |port, user, session: Option<&str>, want| {
            let keys = Credentials::new(
                "AKIDEXAMPLE",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session.map(str::to_owned),
                None,
                "test",
            );
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_862_896);
            let token = token(HOST, port, user, "eu-central-1", keys, now).unwrap();
            // The order of a query's parts is no part of a signature.
            let parts = |token: &str| token.split('&').map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(parts(token.expose_secret()), parts(want));
        };
        check(
            5432,
            "app_iam",
            None,
            "mydb.123456789012.eu-central-1.rds.amazonaws.com:5432/?Action=connect&\
             DBUser=app_iam&\
             X-Amz-Algorithm=AWS4-HMAC-SHA256&\
             X-Amz-Credential=AKIDEXAMPLE%2F20260131%2Feu-central-1%2Frds-db%2Faws4_request&\
             X-Amz-Date=20260131T123456Z&\
             X-Amz-Expires=900&\
             X-Amz-SignedHeaders=host&\
             X-Amz-Signature=a57866a5e209fb7274aa973e7f04eaf917373403aa0d9a3cf98e2ac29cda811c",
        );
        check(
            3306,
            "jane doe+a/b~c@x",
            Some("IQoJb3JpZ2luX2Vj//token+with/slashes=="),
            "mydb.123456789012.eu-central-1.rds.amazonaws.com:3306/?Action=connect&\
             DBUser=jane%20doe%2Ba%2Fb~c%40x&\
             X-Amz-Algorithm=AWS4-HMAC-SHA256&\
             X-Amz-Credential=AKIDEXAMPLE%2F20260131%2Feu-central-1%2Frds-db%2Faws4_request&\
             X-Amz-Date=20260131T123456Z&\
             X-Amz-Expires=900&\
             X-Amz-SignedHeaders=host&\
             X-Amz-Security-Token=IQoJb3JpZ2luX2Vj%2F%2Ftoken%2Bwith%2Fslashes%3D%3D&\
             X-Amz-Signature=6b01e3cd31ef1397a7bb5f0071d5ff18beed5d5e4b8543abe8a62c6ae3048abe",
        );
    }

    fn platform(env: &[(&str, &str)]) -> Platform {
        let all = [("DB_ENGINE", "sqlite"), ("DB_NAME", "x")].iter().chain(env);
        let env = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&Sources { env, ..Sources::default() }, &Engine::ALL).unwrap().platform
    }

    async fn signed(signer: &Signer) -> Result<String> {
        let endpoint = Endpoint { host: "db.internal.example".to_owned(), port: 6543 };
        let by = Deadline::after(Duration::from_secs(10));
        let login = signer.login("app", &endpoint, false, by).await?;
        assert_eq!(login.user, "app");
        Ok(login.password.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_token_is_for_the_endpoint_or_the_host_that_is_set() {
        let access = AccessKey { id: "AKID".to_owned(), secret: "secret".into(), token: None };
        let platform = Platform { access: Some(access), ..platform(&[("AWS_REGION", "eu-west-1")]) };
        let token = signed(&Signer::new(None, &platform)).await.unwrap();
        assert!(token.starts_with("db.internal.example:6543/?Action=connect&DBUser=app&"), "{token}");
        assert!(token.contains("%2Feu-west-1%2Frds-db%2Faws4_request"), "{token}");
        let token = signed(&Signer::new(Some(HOST.to_owned()), &platform)).await.unwrap();
        assert!(token.starts_with(&format!("{HOST}:6543/?Action=connect")), "{token}");
    }
}
