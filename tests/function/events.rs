//! Events as AWS's services send them.

use serde_json::{Value, json};

/// One of the samples of AWS's documentation: see `crates/core/tests/events/README.md`.
pub(crate) fn sample(name: &str) -> Value {
    let path = format!("{}/crates/core/tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A sample with some of its members replaced; a path is a JSON pointer.
pub(crate) fn changed(name: &str, members: &[(&str, Value)]) -> Value {
    let mut event = sample(name);
    for (path, value) in members {
        let (parent, key) = path.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    event
}

/// A GET through an HTTP API; `target` is path and query string as they are sent.
pub(crate) fn get(target: &str) -> Value {
    request("GET", target, json!({}), None)
}

/// A POST of a JSON body through an HTTP API.
pub(crate) fn post(target: &str, body: impl ToString) -> Value {
    request("POST", target, json!({"content-type": "application/json"}), Some(body.to_string()))
}

/// A request through an HTTP API with the stage `$default`.
pub(crate) fn request(method: &str, target: &str, headers: Value, body: Option<String>) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut event = changed(
        "apigw-v2",
        &[
            ("/rawPath", json!(path)),
            ("/rawQueryString", json!(query)),
            ("/headers", headers),
            ("/requestContext/http/method", json!(method)),
            ("/requestContext/http/path", json!(path)),
            ("/requestContext/stage", json!("$default")),
        ],
    );
    if let Some(body) = body {
        event["body"] = json!(body);
    }
    event
}
