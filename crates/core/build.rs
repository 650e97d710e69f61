//! Takes from Amazon's roots what a chain is verified by: each one's name and key. The rest of a certificate, most of all
//! its signature of itself, is asked for by nobody, and does not compress: 0.04 MB of every zip.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use webpki::anchor_from_trusted_cert;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let rds = read("rds-roots.pem")?;
    let mut regions: Vec<(&str, String)> = Vec::new();
    // Before each certificate is a comment that names it: `# Amazon RDS eu-west-1 Root CA RSA2048 G1, until 2061-05-21`.
    for block in rds.split("# ").filter(|block| !block.is_empty()) {
        let region = block.split(' ').nth(2).ok_or("a root without its region")?;
        let anchor = anchors(block)?;
        match regions.iter_mut().find(|(known, _)| *known == region) {
            Some((_, anchors)) => anchors.push_str(&anchor),
            None => regions.push((region, anchor)),
        }
    }
    let mut source = String::from("static RDS: &[(&str, &[Anchor])] = &[\n");
    for (region, anchors) in regions {
        writeln!(source, "({region:?}, &[\n{anchors}]),")?;
    }
    let amazon = anchors(&read("amazon-trust-services.pem")?)?;
    writeln!(source, "];\nstatic AMAZON: &[Anchor] = &[\n{amazon}];")?;
    #[expect(clippy::disallowed_methods, reason = "what cargo tells a build, and no configuration")]
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("roots.rs"), source)?;
    Ok(())
}

fn read(name: &str) -> Result<String> {
    let path = format!("src/connect/roots/{name}");
    println!("cargo::rerun-if-changed={path}");
    Ok(fs::read_to_string(path)?)
}

/// The certificates of this PEM text, as Rust has them.
fn anchors(pem: &str) -> Result<String> {
    let mut source = String::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate?;
        let anchor = anchor_from_trusted_cert(&certificate)?;
        if anchor.name_constraints.is_some() {
            return Err("a root that is good for some names only, which is not kept".into());
        }
        let (name, key) = (anchor.subject.escape_ascii(), anchor.subject_public_key_info.escape_ascii());
        writeln!(source, "(b\"{name}\", b\"{key}\"),")?;
    }
    Ok(source)
}
