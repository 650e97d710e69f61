//! The roots that are built in: Amazon RDS's, and those of Amazon Trust Services, which RDS Proxy and AWS's own services
//! use. The build makes them of the PEM files beside this (`build.rs`).

use rustls::pki_types::{Der, TrustAnchor};

/// The name, and the key.
type Anchor = (&'static [u8], &'static [u8]);

include!(concat!(env!("OUT_DIR"), "/roots.rs"));

/// RDS's roots for a region, which are three; those of all regions where there is none of this name.
pub(crate) fn rds(region: Option<&str>) -> impl Iterator<Item = TrustAnchor<'static>> {
    let known = region.filter(|region| RDS.iter().any(|(name, _)| name == region));
    let regions = RDS.iter().filter(move |(name, _)| known.is_none_or(|known| known == *name));
    regions.flat_map(|(_, anchors)| *anchors).map(anchor)
}

/// The roots of Amazon Trust Services.
pub(crate) fn amazon() -> impl Iterator<Item = TrustAnchor<'static>> {
    AMAZON.iter().map(anchor)
}

fn anchor((name, key): &Anchor) -> TrustAnchor<'static> {
    TrustAnchor {
        subject: Der::from_slice(name),
        subject_public_key_info: Der::from_slice(key),
        // The build fails where a root has any.
        name_constraints: None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;

    #[test]
    fn a_region_has_three_roots() {
        assert_eq!(rds(Some("eu-west-1")).count(), 3);
        let all = rds(None).count();
        assert!(all > 80, "{all}");
        assert_eq!(rds(Some("mars-north-1")).count(), all);
        let regions: usize = RDS.iter().map(|(region, _)| rds(Some(region)).count()).sum();
        assert_eq!(regions, all);
    }

    #[test]
    fn what_is_built_in_is_what_the_certificates_say() {
        let check = |pem: &str, built_in: RootCertStore| {
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                store.add(certificate.unwrap()).unwrap();
            }
            // RDS's are by region in one, and as they come in the other.
            let sorted = |mut store: RootCertStore| {
                store.roots.sort_by(|a, b| a.subject.as_ref().cmp(b.subject.as_ref()));
                store.roots
            };
            assert_eq!(sorted(built_in), sorted(store));
        };
        check(include_str!("roots/rds-roots.pem"), rds(None).collect());
        check(include_str!("roots/amazon-trust-services.pem"), amazon().collect());
    }
}
