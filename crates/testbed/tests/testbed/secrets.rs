use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_rds_testbed::certs::Authority;
use lambda_rds_testbed::{Secrets, SecretsFault as Fault};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::raw_http::{self, Reply};

const SIGNED: [(&str, &str); 4] = [
    ("x-amz-target", "secretsmanager.GetSecretValue"),
    ("content-type", "application/x-amz-json-1.1"),
    ("x-amz-date", "20260131T133700Z"),
    (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=ASIA/20260131/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, \
         Signature=00",
    ),
];

async fn ask(secrets: &Secrets, body: Value) -> anyhow::Result<Reply> {
    let port = secrets.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    raw_http::send(([127, 0, 0, 1], port).into(), "POST", "/", &SIGNED, &body.to_string()).await
}

async fn value(secrets: &Secrets, body: Value) -> Value {
    ask(secrets, body).await.unwrap().json()
}

#[tokio::test]
async fn answers_as_documented_by_name_and_arn() {
    let secrets = Secrets::start().unwrap();
    let stored = secrets.put("prod/db", json!({"username": "app"}));
    let by_name = ask(&secrets, json!({"SecretId": "prod/db"})).await.unwrap();
    assert_eq!(by_name.status, 200);
    assert_eq!(by_name.header("content-type"), "application/x-amz-json-1.1");
    let mut body = by_name.json();
    assert!(body["CreatedDate"].take().is_f64());
    assert_eq!(
        body,
        json!({
            "ARN": stored.arn,
            "Name": "prod/db",
            "VersionId": stored.version_id,
            "SecretString": r#"{"username":"app"}"#,
            "VersionStages": ["AWSCURRENT"],
            "CreatedDate": null,
        })
    );
    let without_suffix = stored.arn.rsplit_once('-').unwrap().0;
    for id in [stored.arn.as_str(), without_suffix] {
        assert_eq!(value(&secrets, json!({"SecretId": id})).await["Name"], "prod/db");
    }
    let ids: Vec<String> = secrets.requests().into_iter().map(|request| request.secret_id).collect();
    assert_eq!(ids, ["prod/db", &stored.arn, without_suffix]);
}

#[tokio::test]
async fn a_rotation_moves_the_stages() {
    let secrets = Secrets::start().unwrap();
    let ask = async |stage: &str| {
        let body = json!({"SecretId": "db", "VersionStage": stage});
        let body = value(&secrets, body).await;
        body["SecretString"].as_str().or(body["__type"].as_str()).unwrap().to_owned()
    };
    secrets.put("db", "one");
    assert_eq!(ask("AWSCURRENT").await, "one");
    assert_eq!(ask("AWSPENDING").await, "ResourceNotFoundException");
    let two = secrets.put_pending("db", "two");
    assert_eq!((ask("AWSCURRENT").await, ask("AWSPENDING").await), ("one".to_owned(), "two".to_owned()));
    secrets.promote("db").unwrap();
    assert_eq!((ask("AWSCURRENT").await, ask("AWSPREVIOUS").await), ("two".to_owned(), "one".to_owned()));
    assert_eq!(ask("AWSPENDING").await, "ResourceNotFoundException");
    let by_version = value(&secrets, json!({"SecretId": "db", "VersionId": two.version_id})).await;
    assert_eq!(by_version["SecretString"], "two");
    secrets.put("db", "three");
    assert_eq!((ask("AWSCURRENT").await, ask("AWSPREVIOUS").await), ("three".to_owned(), "two".to_owned()));
    assert!(secrets.promote("db").is_err());
}

#[tokio::test]
async fn fails_on_demand() {
    let secrets = Secrets::start().unwrap();
    secrets.put("db", "value");
    let body = || json!({"SecretId": "db"});
    let refused = [
        (Fault::Internal, 500, "InternalServiceError"),
        (Fault::Throttling, 400, "ThrottlingException"),
        (Fault::AccessDenied, 400, "AccessDeniedException"),
        (Fault::NotFound, 400, "ResourceNotFoundException"),
        (Fault::Decryption, 400, "DecryptionFailure"),
    ];
    for (fault, status, error_type) in refused {
        secrets.fail(fault);
        let reply = ask(&secrets, body()).await.unwrap();
        assert_eq!((reply.status, reply.json()["__type"].as_str()), (status, Some(error_type)));
    }
    secrets.fail(Fault::Malformed);
    let malformed = value(&secrets, body()).await;
    assert!(serde_json::from_str::<Value>(malformed["SecretString"].as_str().unwrap()).is_err());
    secrets.fail(Fault::Garbage);
    assert!(serde_json::from_str::<Value>(&ask(&secrets, body()).await.unwrap().body).is_err());
    secrets.fail(Fault::Close);
    assert!(ask(&secrets, body()).await.is_err());
    secrets.fail(Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(50), ask(&secrets, body())).await.is_err());

    secrets.fail(Fault::Delay(Duration::from_millis(50)));
    let started = Instant::now();
    assert_eq!(value(&secrets, body()).await["SecretString"], "value");
    assert!(started.elapsed() >= Duration::from_millis(50));

    secrets.fail_next(2, Fault::Throttling);
    for status in [400, 400, 200, 200] {
        assert_eq!(ask(&secrets, body()).await.unwrap().status, status);
    }
    secrets.reset();
    assert_eq!(secrets.count(), 0);
    secrets.remove("db");
    assert_eq!(value(&secrets, body()).await["__type"], "ResourceNotFoundException");
    assert_eq!(secrets.count(), 1);
}

#[tokio::test]
async fn wants_a_signature() {
    let secrets = Secrets::start().unwrap();
    let port = secrets.endpoint().rsplit_once(':').unwrap().1.parse().unwrap();
    let body = r#"{"SecretId":"db"}"#;
    let reply = raw_http::send(([127, 0, 0, 1], port).into(), "POST", "/", &SIGNED[..3], body).await.unwrap();
    assert_eq!(reply.json()["__type"], "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn speaks_tls_for_those_who_trust_its_authority() {
    let (authority, other) = (Authority::new("one").unwrap(), Authority::new("another").unwrap());
    let secrets = Secrets::start_tls(&authority).unwrap();
    let port: u16 = secrets.endpoint().strip_prefix("https://localhost:").unwrap().parse().unwrap();
    let connect = async |trusted: &Authority| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.map(drop)
    };
    connect(&authority).await.unwrap();
    assert!(connect(&other).await.unwrap_err().to_string().contains("UnknownIssuer"));
}
