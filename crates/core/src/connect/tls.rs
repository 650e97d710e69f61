//! TLS as we want it: exactly the roots that the configuration names, and one round trip less.
//!
//! The roots of Amazon RDS and of Amazon Trust Services (which RDS Proxy uses) are built in as data; nothing
//! else is trusted, no public web root included. Of RDS's roots, which are three per region, only those of the
//! host's region are trusted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::roots as built_in;
use crate::config::{Tls, TlsMode};
use crate::error::{Error, Fault, Phase, Result};

/// How the connections to one host are protected. Made once and kept: it remembers TLS sessions, so that a
/// reconnect resumes instead of handshaking in full, where the server lets it. MySQL does; PostgreSQL itself never does (it
/// turns both tickets and its session cache off), nor MariaDB; what stands before them may.
pub struct TlsClient {
    mode: TlsMode,
    name: String,
    /// The file of the roots, where it is not the built-in ones.
    ca: Option<PathBuf>,
    config: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl TlsClient {
    /// Prepares for connections to `host`.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] with [`Phase::Tls`] if the CA file cannot be read or holds no certificate, or if
    /// there is no name to verify.
    pub fn new(settings: &Tls, host: &str) -> Result<Self> {
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let mode = settings.mode;
        if mode == TlsMode::Disable {
            return Ok(Self { mode, name, ca: None, config: None });
        }
        let server_name = ServerName::try_from(name.clone()).map_err(|_| {
            failure(format!("`{name}` is no name that a certificate could carry: set DB_TLS_SERVER_NAME"))
                .with_hint("DB_TLS_SERVER_NAME: the name that the server's certificate carries")
        })?;
        let provider = Arc::new(provider());
        let verifier: Arc<dyn ServerCertVerifier> = if mode == TlsMode::Require {
            Arc::new(Unverified(provider.signature_verification_algorithms))
        } else {
            let roots = Arc::new(roots(settings.ca.as_deref(), host)?);
            let full = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| failure(format!("the CA certificates cannot be used: {error}")))?;
            if mode == TlsMode::VerifyCa {
                let algorithms = provider.signature_verification_algorithms;
                Arc::new(AnyName { roots, signatures: Unverified(algorithms) })
            } else {
                full
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failure(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_SESSIONS);
        let config = Some((Arc::new(config), server_name));
        Ok(Self { mode, name, ca: settings.ca.clone(), config })
    }

    /// What is verified.
    #[must_use]
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// rustls's configuration and the name to verify; `None` where TLS is off.
    #[must_use]
    pub fn config(&self) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        self.config.clone()
    }

    /// The name that the server's certificate must carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says in words why a handshake failed, and what to look at: [`Fault::Unreachable`], or, where it was not
    /// TLS that failed but the connection under it, [`Fault::ConnectionLost`].
    #[must_use]
    pub fn explain(&self, error: &io::Error) -> Error {
        let name = &self.name;
        let Some(reason) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            let detail = format!("`{name}` hung up during the TLS handshake: {error}");
            return Error::new(Fault::ConnectionLost, detail).with_phase(Phase::Tls);
        };
        let (detail, hint) = match reason {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
                format!(
                    "the certificate of `{name}` was not issued by a CA that we trust (certificate verify failed: \
                     unknown issuer). Built in are the roots of Amazon RDS and Amazon Trust Services; for another \
                     server name its CA's PEM file in DB_TLS_CA"
                ),
                match &self.ca {
                    None => "DB_TLS_CA: name the PEM file of the CA that issued the server's certificate"
                        .to_owned(),
                    Some(path) => format!(
                        "DB_TLS_CA: {} does not hold the CA that issued the server's certificate",
                        path.display()
                    ),
                },
            ),
            rustls::Error::InvalidCertificate(
                error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            ) => {
                let (carried, hint) = match presented(error) {
                    Some(names) => (
                        format!("; it is for {names}"),
                        format!("DB_TLS_SERVER_NAME: the certificate is for {names}, and not for `{name}`"),
                    ),
                    None => (
                        String::new(),
                        format!(
                            "DB_TLS_SERVER_NAME: give the name that the certificate carries, not `{name}`"
                        ),
                    ),
                };
                (
                    format!(
                        "the server's certificate is not for the name `{name}` (certificate verify failed: name \
                         mismatch){carried}. Connect by the name that the certificate carries, or give that name in \
                         DB_TLS_SERVER_NAME"
                    ),
                    hint,
                )
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => (
                format!(
                    "the certificate of `{name}` has expired (certificate verify failed: expired). Renew it on \
                     the server; on RDS, rotate to a current CA"
                ),
                "the server's certificate: renew it; on RDS, rotate the instance to a current CA".to_owned(),
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => (
                format!("the certificate of `{name}` is not valid yet: compare the clocks"),
                "the clock: by ours, the server's certificate is not valid yet".to_owned(),
            ),
            _ => (
                format!("the TLS handshake with `{name}` failed: {error}"),
                "the server's TLS: it must speak TLS 1.2 or 1.3 with a certificate that can be verified"
                    .to_owned(),
            ),
        };
        failure(detail).with_hint(hint)
    }
}

/// What a handshake has agreed on, for diagnose: `TLSv1_3, TLS13_AES_256_GCM_SHA384`.
#[must_use]
pub fn agreed(connection: &rustls::ClientConnection) -> String {
    let version = connection.protocol_version().and_then(|version| version.as_str().map(str::to_owned));
    let suite =
        connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str().map(str::to_owned));
    [version, suite].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The names that a certificate carries, for people.
fn presented(error: &CertificateError) -> Option<String> {
    let CertificateError::NotValidForNameContext { presented, .. } = error else { return None };
    // As rustls has them: `DnsName("db.example")`.
    let name = |text: &String| text.split('"').nth(1).unwrap_or(text).to_owned();
    let shown: Vec<String> =
        presented.iter().take(SHOWN_NAMES).map(|text| format!("`{}`", name(text))).collect();
    let more = if presented.len() > SHOWN_NAMES { " and others" } else { "" };
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("mode", &self.mode)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// ring, with P-256 first: RDS's PostgreSQL and MySQL both answer the usual first choice, X25519, with a
/// HelloRetryRequest, which is a round trip.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![ring::kx_group::SECP256R1, ring::kx_group::X25519, ring::kx_group::SECP384R1],
        ..ring::default_provider()
    }
}

fn read(ca: &Path) -> Result<Vec<u8>> {
    std::fs::read(ca).map_err(|error| {
        failure(format!("the file {} (DB_TLS_CA) cannot be read: {error}", ca.display())).with_hint(NO_ROOTS)
    })
}

fn roots(ca: Option<&Path>, host: &str) -> Result<RootCertStore> {
    let Some(path) = ca else {
        return Ok(built_in::rds(region(host)).chain(built_in::amazon()).collect());
    };
    let mut store = RootCertStore::empty();
    let origin = format!("the file {} (DB_TLS_CA)", path.display());
    for certificate in CertificateDer::pem_slice_iter(&read(path)?) {
        let certificate = certificate
            .map_err(|error| failure(format!("{origin} is not PEM: {error}")).with_hint(NO_ROOTS))?;
        store.add(certificate).map_err(|error| {
            failure(format!("{origin} holds a certificate that cannot be a root: {error}"))
                .with_hint(NO_ROOTS)
        })?;
    }
    if store.is_empty() {
        return Err(failure(format!("{origin} holds no certificate")).with_hint(NO_ROOTS));
    }
    Ok(store)
}

/// The region in an RDS host name: `db.c9akciq32.eu-west-1.rds.amazonaws.com`, or `….rds.amazonaws.com.cn`.
fn region(host: &str) -> Option<&str> {
    let host = host.trim_end_matches('.');
    let host = host.strip_suffix(".cn").unwrap_or(host);
    host.strip_suffix(".rds.amazonaws.com")?.rsplit('.').next()
}

fn failure(detail: String) -> Error {
    Error::new(Fault::Unreachable, detail).with_phase(Phase::Tls)
}

/// `verify-ca`: the chain is verified, the name is not asked for.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    signatures: Unverified,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.signatures.0.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_verify_schemes()
    }
}

/// `require`: any certificate, as long as the server holds its key.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

const NO_ROOTS: &str = "DB_TLS_CA: it must name a readable PEM file with the CA of the server's certificate";
/// How many names of a certificate are shown.
const SHOWN_NAMES: usize = 5;
// One host, a handful of sessions: the default of 256 is for browsers.
const REMEMBERED_SESSIONS: usize = 8;

/// What to change where a server does not offer the TLS that we want, for the engines.
pub const NOT_OFFERED: &str = "the server's TLS: turn it on there (PostgreSQL: ssl = on; MySQL: ssl_cert and ssl_key). RDS \
                               always has it, so is this the database's own endpoint? Where the network is trusted, \
                               DB_TLS=disable does without";

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rustls::HandshakeKind;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[test]
    fn the_region_is_read_from_rds_names_only() {
        let check = |host: &str, want: Option<&str>| assert_eq!(region(host), want, "{host}");
        check("db.c9akciq32.eu-west-1.rds.amazonaws.com", Some("eu-west-1"));
        check("c.cluster-ro-c9akciq32.us-gov-west-1.rds.amazonaws.com.", Some("us-gov-west-1"));
        check("db.x.rds.cn-north-1.amazonaws.com.cn", None);
        check("db.internal.example", None);
    }

    #[test]
    fn of_rds_only_the_roots_of_the_hosts_region_are_trusted() {
        assert_eq!(roots(None, "db.abc.eu-west-1.rds.amazonaws.com").unwrap().len(), 3 + 5);
        let all = roots(None, "db.internal.example").unwrap().len();
        assert!(all > 80, "{all}");
        assert_eq!(roots(None, "db.abc.mars-north-1.rds.amazonaws.com").unwrap().len(), all);
    }

    /// A TLS server for the name `db.example`, and the PEM file that a client must trust.
    async fn server(folder: &Path) -> (TcpListener, TlsAcceptor, PathBuf) {
        let issued = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, issued.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener, TlsAcceptor::from(Arc::new(config)), ca)
    }

    #[tokio::test]
    async fn the_first_handshake_needs_no_retry_and_the_second_resumes() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, acceptor, ca) = server(folder.path()).await;
        let settings =
            Tls { mode: TlsMode::VerifyFull, ca: Some(ca), server_name: Some("db.example".into()) };
        let tls = TlsClient::new(&settings, "127.0.0.1").unwrap();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let serving = async {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(tcp).await.unwrap();
                stream.write_all(b"!").await.unwrap();
                stream.shutdown().await.unwrap();
            };
            let connecting = async {
                let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (config, name) = tls.config().unwrap();
                let mut stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
                // The tickets come after the handshake, before the first byte.
                stream.read_exact(&mut [0]).await.unwrap();
                stream.get_ref().1.handshake_kind()
            };
            let ((), kind) = tokio::join!(serving, connecting);
            assert_eq!(kind, Some(expected));
        }
    }

    #[test]
    fn a_ca_file_replaces_the_built_in_roots_and_its_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let settings = Tls { mode: TlsMode::VerifyFull, ca: Some(path.clone()), server_name: None };
        let error = TlsClient::new(&settings, "db").unwrap_err();
        assert!(error.detail().contains("DB_TLS_CA"), "{error}");
        std::fs::write(&path, "no certificate here").unwrap();
        let error = TlsClient::new(&settings, "db").unwrap_err();
        assert!(error.detail().contains("holds no certificate"), "{error}");
        let one = include_str!("roots/rds-roots.pem").split_inclusive("-----END CERTIFICATE-----").next();
        std::fs::write(&path, one.unwrap()).unwrap();
        assert_eq!(roots(settings.ca.as_deref(), "db").unwrap().len(), 1);
    }
}
