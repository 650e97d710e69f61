//! Certificate authorities and server certificates, good and bad ones.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// The names that a good server certificate of the testbed is valid for: names and addresses.
pub const SERVER_NAMES: [&str; 5] = ["localhost", "db.testbed.example", "127.0.0.1", "::1", RDS_PROXY_NAME];

/// A name as RDS Proxy has them. It leads nowhere by itself.
pub const RDS_PROXY_NAME: &str = "app.proxy-testbed.eu-west-1.rds.amazonaws.com";

/// The only name in a certificate with the wrong name.
pub const WRONG_NAME: &str = "elsewhere.example";

/// A certificate authority of our own. Each one is unrelated to all others.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes an authority with a new key. `name` is its common name.
    ///
    /// # Errors
    /// If the name is no valid text for a certificate, or the system gives no random numbers.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The authority's certificate, PEM: what a client must trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server certificate for `names`, host names or addresses, valid from yesterday for a month.
    ///
    /// # Errors
    /// If a name is neither a host name nor an address.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        let now = OffsetDateTime::now_utc();
        self.issue_for(names, now - Duration::days(1), now + Duration::days(30))
    }

    /// A server certificate for `names` that was valid until yesterday.
    ///
    /// # Errors
    /// If a name is neither a host name nor an address.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Issued> {
        let now = OffsetDateTime::now_utc();
        self.issue_for(names, now - Duration::days(30), now - Duration::days(1))
    }

    fn issue_for(&self, names: &[&str], from: OffsetDateTime, until: OffsetDateTime) -> Result<Issued> {
        let mut params = params("lambda-rds testbed server", names)?;
        (params.not_before, params.not_after) = (from, until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn params(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone())
        .with_context(|| format!("bad names for a certificate: {names:?}"))?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// A server's certificate and private key, both PEM. The key is ECDSA P-256.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}
