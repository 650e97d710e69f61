//! What a text may be, of the kinds of values that keys have.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{InstancePattern, OpenApi};

/// Proves that this file has certificates.
pub(super) fn certificates(path: &Path) -> Result<(), String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let pem = std::fs::read(path).map_err(|error| format!("it cannot be read ({error})"))?;
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    match certificates.next() {
        Some(Ok(_)) if certificates.all(|each| each.is_ok()) => Ok(()),
        _ => Err("it holds no PEM certificate".to_owned()),
    }
}

pub(super) fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

/// A whole number above 0.
pub(super) fn whole<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number >= T::from(1))
}

pub(super) fn span(text: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|span| allowed.contains(span))
}

/// A filter of log lines. A lone word must be a level: tracing would take `wran` for the name of a module, and
/// log nothing else.
pub(super) fn filter(text: &str) -> Option<Targets> {
    let sound = text.split(',').all(|part| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok());
    text.parse().ok().filter(|_| sound)
}

/// A host: what consoles and URLs show with it (a port, a scheme, a path) is refused here, where it can be said.
pub(crate) fn host(text: &str) -> Option<String> {
    let address = text.parse::<std::net::IpAddr>().is_ok();
    let name = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    (!text.is_empty() && (address || name)).then(|| text.to_owned())
}

/// A host with one `?`, and perhaps a port.
pub(super) fn instance_pattern(text: &str) -> Option<InstancePattern> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(whole::<u16>(port)?)),
        None => (text, None),
    };
    let (before, after) = name.split_once('?')?;
    // With any instance's name it must be a host.
    host(&format!("{before}x{after}"))?;
    Some(InstancePattern { before: before.to_owned(), after: after.to_owned(), port })
}

/// A secret's name, or its ARN.
pub(super) fn secret_id(text: &str) -> Option<String> {
    let fits = text.len() <= 2048
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@!:-".contains(&b))
        && (!text.contains(':') || crate::credentials::region_of(text).is_some());
    fits.then(|| text.to_owned())
}

pub(super) fn base_path(text: &str) -> Option<String> {
    let fits = text.starts_with('/') && !text.contains(['?', '#']) && !text.contains("//");
    fits.then(|| text.trim_end_matches('/').to_owned())
}

/// An origin as browsers send it: anything after the host would never match.
pub(super) fn origin(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    });
    (fits || text == "*").then(|| text.to_owned())
}

/// The URL of an authorization server, as it names itself (RFC 8414, 2): without a query or a fragment.
pub(super) fn issuer(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://")?;
    let fits = |b: u8| b.is_ascii_graphic() && !b"\"\\<>^`{|}?#".contains(&b);
    (!rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(fits)).then(|| text.to_owned())
}

/// A word, or a file of the kind that there is no doubt about.
pub(super) fn openapi(text: &str) -> Option<OpenApi> {
    match text {
        "true" | "1" => Some(OpenApi::Made),
        "false" | "0" => Some(OpenApi::Off),
        file => file.ends_with(".json").then(|| OpenApi::File(file.into())),
    }
}

/// The longest that any limit may be.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
