//! The page at `/`, for people with a browser: every query with a form, made from the OpenAPI document. It is no part of
//! the function.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response};
use lambda_rds::app::App;
use lambda_rds::config::Function;
use lambda_rds::observe::Record;
use lambda_rds::openapi::{self, About, Rows};
use serde_json::{Map, Value, json};

use super::{Body, full};

/// Whether a request is somebody's who looks at the address in a browser: `/`, and HTML before JSON.
pub(super) fn is_wanted(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    method == Method::GET && path == "/" && prefers_html(headers)
}

/// What programs send is `*/*` or JSON: that is no wish for HTML.
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0, 0.0);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            let quality = quality.unwrap_or(0.0);
            if name.eq_ignore_ascii_case("text/html") {
                html = quality;
            } else if name.eq_ignore_ascii_case("application/json") {
                json = quality;
            }
        }
    }
    html > json
}

/// The page. Nothing but what is in it runs, and it speaks to nobody but us: the header says so to the browser.
pub(super) fn response(
    app: &App,
    function: &Function,
    claims: &Map<String, Value>,
    nonce: &str,
) -> Response<Body> {
    let document = openapi::document(app.queries(), function, &Rows::new(), &About::of(app.platform()));
    let claims = json!(claims);
    // Inside a script element only `<` could end it.
    let data = format!("{{\"api\":{document},\"claims\":{claims}}}").replace('<', "\\u003c");
    let page = PAGE.replace("{nonce}", nonce).replacen("{document}", &data, 1);
    let mut response = Response::new(full(page));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The claims that the page would have verified, as it sends them. No other page can: a browser asks first, and is told
/// of no such header.
pub(super) fn pretended(headers: &mut HeaderMap) -> Option<Map<String, Value>> {
    let sent = headers.remove(CLAIMS)?;
    let text = percent_encoding::percent_decode(sent.as_bytes()).decode_utf8().ok()?;
    serde_json::from_str(&text).ok()
}

/// Where the time went, as browsers' tools and the page show it. <https://www.w3.org/TR/server-timing/>
pub(super) fn timing(record: &Record) -> String {
    let entry = |name: &str, took: std::time::Duration| format!("{name};dur={:.3}", took.as_secs_f64() * 1e3);
    let mut entries = vec![entry("total", record.total)];
    entries.extend(record.connect.map(|took| entry("connect", took)));
    entries.extend(record.query_time.map(|took| entry("db", took)));
    entries.extend((record.flights > 0).then(|| format!("flights;desc=\"{}\"", record.flights)));
    entries.join(", ")
}

const PAGE: &str = include_str!("page.html");
const CLAIMS: &str = "lambda-rds-claims";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_those_who_ask_for_it() {
        let check = |accept: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(is_wanted(&Method::GET, "/", &headers), expected, "{accept}");
            assert!(!is_wanted(&Method::GET, "/users", &headers) && !is_wanted(&Method::POST, "/", &headers));
        };
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true);
        check("*/*", false);
        check("application/json", false);
        check("application/json, text/html;q=0.9", false);
        check("text/html, application/json;q=0.9", true);
        check("text/html;q=0", false);
        check("text/html;q=x", false);
        assert!(!is_wanted(&Method::GET, "/", &HeaderMap::new()));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        for loaded in ["http://", "https://", "src=", "@import", "url(", "innerHTML"] {
            assert!(!PAGE.contains(loaded), "{loaded}");
        }
    }
}
