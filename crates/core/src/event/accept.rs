//! What a caller takes: the forms of `Accept` and the codings of `Accept-Encoding`.
//!
//! <https://www.rfc-editor.org/rfc/rfc9110.html#section-12.5>

use crate::error::{Error, Fault, Result};
use crate::form::{Coding, Form};

/// What the sender of an event takes as the body of its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The forms that will do, the most wanted one first.
    forms: Vec<Form>,
    /// Whether a direct event has named its form.
    named: bool,
    /// What the body is compressed by, the most wanted one first; none where nobody asked.
    coding: Option<Coding>,
    /// Whether it may be left as it is.
    identity: bool,
    /// Whether the reply depends on `Accept`, and on `Accept-Encoding`.
    negotiated: bool,
}

impl Default for Wanted {
    /// JSON, as it is.
    fn default() -> Self {
        Self { forms: vec![Form::Json], named: false, coding: None, identity: true, negotiated: false }
    }
}

impl Wanted {
    /// What these headers of a request say.
    pub(super) fn of_headers(accept: Option<&str>, encoding: Option<&str>) -> Self {
        let forms =
            accept.filter(|accept| !accept.trim().is_empty()).map_or_else(|| Form::ALL.to_vec(), forms);
        let (coding, identity) = encoding.map_or((None, true), codings);
        Self { forms, named: false, coding, identity, negotiated: true }
    }

    /// What a direct event says by its `format`.
    #[must_use]
    pub fn format(form: Form) -> Self {
        Self { forms: vec![form], named: true, ..Self::default() }
    }

    /// The form of the rows of a `:many`.
    ///
    /// # Errors
    /// [`Fault::NotAcceptable`], where none that there is will do.
    pub fn form(&self) -> Result<Form> {
        self.forms.first().copied().ok_or_else(|| not_acceptable(&Form::ALL))
    }

    /// Whether a result of another kind will do: it is JSON.
    ///
    /// # Errors
    /// [`Fault::NotAcceptable`]; for a direct event [`Fault::BadEvent`].
    pub fn json(&self) -> Result<()> {
        if self.forms.contains(&Form::Json) {
            return Ok(());
        }
        Err(match self.named {
            true => Error::told(
                Fault::BadEvent,
                "`format` is for a `:many`: what this query returns is always JSON.",
            ),
            false => not_acceptable(&[Form::Json]),
        })
    }

    /// The same for a body that is not to be compressed.
    pub(crate) fn as_is(&self) -> Self {
        Self { coding: None, ..self.clone() }
    }

    /// Whether the reply depends on headers of the request.
    #[must_use]
    pub fn negotiated(&self) -> bool {
        self.negotiated
    }

    /// What the body may be compressed by.
    #[must_use]
    pub fn coding(&self) -> Option<Coding> {
        self.coding
    }

    /// Whether the body may be left as it is.
    #[must_use]
    pub fn identity(&self) -> bool {
        self.identity
    }
}

fn not_acceptable(forms: &[Form]) -> Error {
    let there: Vec<&str> = forms.iter().map(|form| form.media_type()).collect();
    let there = there.join(", ");
    Error::told(
        Fault::NotAcceptable,
        format!("The `Accept` header takes nothing that there is, which is: {there}."),
    )
}

/// A body must be compressed, or nothing of it is wanted, and in no way that there is.
pub(crate) fn no_coding() -> Error {
    Error::told(
        Fault::NotAcceptable,
        "The `Accept-Encoding` header takes nothing that there is, which is: gzip, zstd, identity.",
    )
}

/// The forms that an `Accept` takes: by weight, then by how closely it names them, then in its own order, then in ours.
/// So `text/csv, */*` is a wish for CSV, and a browser's `text/html, …, */*;q=0.8` gets JSON.
fn forms(accept: &str) -> Vec<Form> {
    let ranges: Vec<Range<'_>> =
        elements(accept).enumerate().filter_map(|(at, text)| range(at, text)).collect();
    let mut found: Vec<(Form, &Range<'_>)> = Form::ALL
        .into_iter()
        .filter_map(|form| {
            // The closest one decides, also where it forbids.
            let closest =
                ranges.iter().filter(|range| range.matches(form)).max_by_key(|range| range.closeness())?;
            (closest.weight > 0).then_some((form, closest))
        })
        .collect();
    // Browsers alone name this one, and some with nothing behind it (AWS's sample of a load balancer's event is one).
    // They show JSON as well as an error.
    if found.is_empty() && ranges.iter().any(|range| range.subtype == "xhtml+xml" && range.weight > 0) {
        return vec![Form::Json];
    }
    // Stable: what is equal stays in our order.
    found.sort_by_key(|(_, range)| (std::cmp::Reverse((range.weight, range.closeness())), range.at));
    found.into_iter().map(|(form, _)| form).collect()
}

/// One media range.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// What it says besides that we can keep or not: a charset, and whether there is a line of names.
    charset: Option<String>,
    header: Option<String>,
    /// In thousandths.
    weight: u16,
    /// Where in the header it stands.
    at: usize,
}

impl Range<'_> {
    fn matches(&self, form: Form) -> bool {
        let (kind, subtype) = form.media_type().split_once('/').unwrap_or_default();
        let named = |wanted: &str, is: &str| wanted == "*" || wanted.eq_ignore_ascii_case(is);
        let utf8 = |charset: &String| matches!(charset.as_str(), "utf-8" | "utf8");
        named(self.kind, kind)
            && named(self.subtype, subtype)
            && (form != Form::Csv || self.charset.as_ref().is_none_or(utf8))
            && (form != Form::Csv || self.header.as_ref().is_none_or(|header| header == "present"))
    }

    fn closeness(&self) -> u8 {
        match (self.kind, self.subtype) {
            ("*", _) => 0,
            (_, "*") => 1,
            _ => 2 + u8::from(self.charset.is_some()) + u8::from(self.header.is_some()),
        }
    }
}

/// Reads a media range; what is none is passed over. Java's `HttpURLConnection` sends a bare `*`.
fn range(at: usize, text: &str) -> Option<Range<'_>> {
    let mut parts = split(text, b';');
    let name = parts.next()?.trim();
    let (kind, subtype) = if name == "*" { ("*", "*") } else { name.split_once('/')? };
    let mut range =
        Range { kind: kind.trim(), subtype: subtype.trim(), charset: None, header: None, weight: 1000, at };
    if range.kind == "*" && range.subtype != "*" {
        return None;
    }
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => range.weight = weight(value)?,
            "charset" => range.charset = Some(value.trim_matches('"').to_ascii_lowercase()),
            "header" => range.header = Some(value.trim_matches('"').to_ascii_lowercase()),
            _ => {}
        }
    }
    Some(range)
}

/// What a body is compressed by, and whether it may be left as it is.
fn codings(header: &str) -> (Option<Coding>, bool) {
    let (mut gzip, mut zstd, mut identity, mut any) = (None, None, None, None);
    for element in elements(header) {
        let mut parts = split(element, b';');
        let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let given = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        let Some(weight) = given.map_or(Some(1000), weight) else { continue };
        let slot = match name.as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "zstd" => &mut zstd,
            "identity" => &mut identity,
            "*" => &mut any,
            _ => continue,
        };
        slot.get_or_insert(weight);
    }
    // Where it is not named it is the least wanted, and will do unless all that is not named is forbidden.
    let left = identity.or_else(|| any.filter(|weight| *weight == 0));
    let of = |named: Option<u16>| named.or(any).unwrap_or(0);
    let (gzip, zstd) = (of(gzip), of(zstd));
    let best = gzip.max(zstd);
    // Of two that are wanted alike: the one that is smaller and costs less.
    let coding = if zstd >= gzip { Coding::Zstd } else { Coding::Gzip };
    let coding = (best > 0 && best >= left.unwrap_or(0)).then_some(coding);
    (coding, left != Some(0))
}

/// A weight in thousandths; some clients leave out the 0 before the point.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" | "" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The elements of a list, the empty ones left out.
fn elements(header: &str) -> impl Iterator<Item = &str> {
    split(header, b',').map(str::trim).filter(|element| !element.is_empty())
}

/// Splits outside quotes.
fn split(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let within = quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !within && c == char::from(at)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Form::{Csv, Json, Ndjson};

    fn taken(accept: &str) -> Vec<Form> {
        Wanted::of_headers(Some(accept), None).forms
    }

    #[test]
    fn forms_by_weight_closeness_and_order() {
        for (accept, expected) in [
            ("", &[Json, Ndjson, Csv][..]),
            (" ", &[Json, Ndjson, Csv]),
            ("*/*", &[Json, Ndjson, Csv]),
            ("application/json", &[Json]),
            ("Application/JSON; charset=UTF-8", &[Json]),
            ("application/json;odata=verbose", &[Json]),
            ("application/x-ndjson", &[Ndjson]),
            ("text/csv", &[Csv]),
            ("TEXT/CSV;header=present;charset=\"utf-8\"", &[Csv]),
            ("text/csv;header=absent", &[]),
            ("text/csv;charset=iso-8859-1", &[]),
            ("text/*", &[Csv]),
            ("application/*", &[Json, Ndjson]),
            ("text/csv, application/json", &[Csv, Json]),
            ("application/json, text/csv", &[Json, Csv]),
            ("text/csv;q=0.5, application/json", &[Json, Csv]),
            ("text/csv, */*", &[Csv, Json, Ndjson]),
            ("text/csv, */*;q=0.1", &[Csv, Json, Ndjson]),
            ("*/*, text/csv;q=0", &[Json, Ndjson]),
            ("text/*;q=0.9, text/csv;q=0, */*;q=0.1", &[Json, Ndjson]),
            ("application/json;q=0, */*", &[Ndjson, Csv]),
            ("application/json;q=0", &[]),
            ("*/*;q=0", &[]),
            ("text/html", &[]),
            ("image/*", &[]),
            ("*/json", &[]),
            (", ,application/json,", &[Json]),
            ("text/csv; x=\"a,b;q=0\"; q=0.3, application/json;q=0.2", &[Csv, Json]),
            ("application/json;q=2", &[]),
            ("application/json;q=1.001", &[]),
            ("application/json;q=x, text/csv", &[Csv]),
            ("application/json;q=0.001", &[Json]),
        ] {
            assert_eq!(taken(accept), expected, "{accept}");
        }
    }

    /// What browsers and clients really send.
    #[test]
    fn who_does_not_ask_gets_json() {
        for accept in [
            // Chrome, Firefox, Safari: a page, a fetch, an image.
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "*/*",
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            // axios, jQuery, got, Java, python-requests and curl, Go and Rust (nothing).
            "application/json, text/plain, */*",
            "application/json, text/javascript, */*; q=0.01",
            "text/html,application/xhtml+xml",
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            "",
        ] {
            assert_eq!(taken(accept).first(), Some(&Json), "{accept}");
        }
        assert_eq!(Wanted::of_headers(None, None).form().unwrap(), Json);
    }

    #[test]
    fn codings_by_weight() {
        use Coding::{Gzip, Zstd};
        for (header, expected) in [
            ("gzip, deflate, br, zstd", (Some(Zstd), true)),
            ("gzip, deflate, br", (Some(Gzip), true)),
            ("gzip, deflate, sdch", (Some(Gzip), true)),
            ("x-gzip", (Some(Gzip), true)),
            ("GZIP;Q=1.0", (Some(Gzip), true)),
            ("gzip;q=1.0, zstd;q=0.5", (Some(Gzip), true)),
            ("gzip;q=0", (None, true)),
            ("gzip;q=0, zstd", (Some(Zstd), true)),
            ("identity", (None, true)),
            ("identity;q=0", (None, false)),
            ("identity;q=0, gzip", (Some(Gzip), false)),
            ("gzip;q=0.5, identity", (None, true)),
            ("gzip, identity;q=0.5", (Some(Gzip), true)),
            ("*", (Some(Zstd), true)),
            ("*;q=0", (None, false)),
            ("gzip, *;q=0", (Some(Gzip), false)),
            ("identity, *;q=0", (None, true)),
            ("*, zstd;q=0", (Some(Gzip), true)),
            ("br", (None, true)),
            ("deflate, gzip;q=.8", (Some(Gzip), true)),
            ("", (None, true)),
        ] {
            assert_eq!(codings(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let error = Wanted::of_headers(Some("text/html"), None).form().unwrap_err();
        assert_eq!(error.fault(), Fault::NotAcceptable);
        assert!(error.message().contains("application/json, application/x-ndjson, text/csv"), "{error}");
        let error = Wanted::of_headers(Some("text/csv"), None).json().unwrap_err();
        assert_eq!(error.fault(), Fault::NotAcceptable);
        assert!(error.message().ends_with("which is: application/json."), "{error}");
        assert_eq!(Wanted::format(Csv).json().unwrap_err().fault(), Fault::BadEvent);
        assert!(Wanted::format(Json).json().is_ok());
    }

    proptest! {
        #[test]
        fn no_header_panics(accept in "[a-z*/;=,q0-9.\" \\\\]{0,60}|\\PC{0,40}") {
            let wanted = Wanted::of_headers(Some(&accept), Some(&accept));
            let _ = (wanted.form(), wanted.json());
        }
    }
}
