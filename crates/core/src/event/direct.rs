//! The direct event: our own form, in which every other one ends that is no HTTP request.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::config::DirectErrors;
use crate::error::Result;
use crate::form::Form;
use crate::value::{Given, Origin, Params};

use super::json::{self, Object, bad_event, must_be, nearest, quoted};
use super::{Batch, Call, Method, Request, Source, Wanted};

/// Reads a direct event: how it wants its reply, and what it asks. The reply's form is honoured as far as it
/// can be read even when the rest is wrong, since that is when `"onError": "raise"` counts.
pub(super) fn parse(event: &Object<'_>, origin: &Arc<Origin>) -> (Source, Result<Request>, Wanted) {
    let event = &said(event);
    let raw = choice(event, "reply", &[("raw", true)]);
    let on_error =
        choice(event, "onError", &[("reply", DirectErrors::Reply), ("raise", DirectErrors::Raise)]);
    let states = choice(event, "limit", &[("states", true)]);
    let format = format(event);
    let source = Source::Direct {
        raw: matches!(raw, Ok(Some(true))),
        on_error: on_error.as_ref().ok().copied().flatten(),
        states: matches!(states, Ok(Some(true))),
    };
    let wanted = format.as_ref().ok().copied().flatten().map(Wanted::format).unwrap_or_default();
    let said = raw.map(drop).and(on_error.map(drop)).and(states.map(drop)).and(format.map(drop));
    let request = said.and_then(|()| request(event, origin));
    (source, request, wanted)
}

/// The form of the rows that the event asks for: of one query's.
fn format(event: &Object<'_>) -> Result<Option<Form>> {
    let format = choice(event, "format", &Form::ALL.map(|form| (form.name(), form)))?;
    match FORMS.iter().find(|form| **form != "query" && event.has(form)).filter(|_| format.is_some()) {
        Some(form) => Err(bad_event(format!("`format` goes with `query`, not with `{form}`."))),
        None => Ok(format),
    }
}

/// What the event says: keys whose value is `null` say nothing. But that must not make a call of the default query of
/// an event that meant something else, or of a name that its sender has lost.
fn said<'a>(event: &Object<'a>) -> Object<'a> {
    let said = event.clone().without_nulls();
    let lost = |key: &str| key == "query" || !KEYS.contains(&key);
    if event.keys().any(lost) && !said.keys().any(|key| FORMS.contains(&key) || lost(key)) {
        return event.clone().without_nulls_but(lost);
    }
    said
}

/// The steps of a `transaction`.
pub(super) fn transaction(
    steps: &RawValue,
    method: Option<Method>,
    origin: &Arc<Origin>,
) -> Result<Vec<Call>> {
    json::elements(steps, "transaction")?
        .into_iter()
        .enumerate()
        .map(|(index, step)| {
            named(step, &format!("Step {index} of `transaction`"), "params")
                .and_then(|(query, params)| {
                    let params = params.map(self::params).transpose()?.unwrap_or_default();
                    Ok(Call {
                        query: Some(query),
                        params,
                        method,
                        stray_body: false,
                        agent: false,
                        origin: Arc::clone(origin),
                    })
                })
                .map_err(|error| error.at_step(index))
        })
        .collect()
}

/// The one query and the many parameter sets of a `batch`.
pub(super) fn batch(batch: &RawValue, method: Option<Method>, origin: &Arc<Origin>) -> Result<Batch> {
    let (query, sets) = named(batch, "`batch`", "params")?;
    let sets = sets.ok_or_else(|| bad_event("`batch` needs `params`, a list with an object per run."))?;
    let params = json::elements(sets, "params")?
        .into_iter()
        .enumerate()
        .map(|(index, set)| params(set).map_err(|error| error.at_step(index)))
        .collect::<Result<_>>()?;
    Ok(Batch { query, params, method, origin: Arc::clone(origin) })
}

/// The members of an object as parameters.
pub(super) fn given(object: Object<'_>) -> Params {
    Params(object.into_members().map(|(name, value)| (name, Given::Json(value))).collect())
}

/// The origin with the event's `idempotencyKey`, if it has one.
pub(super) fn keyed(event: &Object<'_>, origin: &Arc<Origin>) -> Result<Arc<Origin>> {
    let Some(key) = event.get(KEY) else { return Ok(Arc::clone(origin)) };
    match json::string(key) {
        Some(key) if !key.is_empty() => {
            Ok(Arc::new(Origin { idempotency_key: Some(key.into_owned()), ..(**origin).clone() }))
        }
        _ => Err(must_be(KEY, "a string that is not empty")),
    }
}

fn request(event: &Object<'_>, origin: &Arc<Origin>) -> Result<Request> {
    check_keys(event)?;
    let origin = &keyed(event, origin)?;
    let mut forms = FORMS.iter().filter(|form| event.has(form));
    let form = forms.next();
    if let (Some(form), Some(other)) = (form, forms.next()) {
        return Err(bad_event(format!("The event has both `{form}` and `{other}`; send one of them.")));
    }
    if let Some(form) = form.filter(|form| **form != "query" && event.has("params")) {
        return Err(bad_event(format!("`params` goes with `query`, not with `{form}`.")));
    }
    if let Some(steps) = event.get("transaction") {
        Ok(Request::Transaction(transaction(steps, None, origin)?))
    } else if let Some(runs) = event.get("batch") {
        Ok(Request::Batch(batch(runs, None, origin)?))
    } else if let Some(diagnose) = event.get("diagnose") {
        match diagnose.get() {
            "true" => Ok(Request::Diagnose),
            _ => Err(must_be("diagnose", "true")),
        }
    } else {
        let query = event.get("query").map(name).transpose()?;
        let params = event.get("params").map(params).transpose()?.unwrap_or_default();
        Ok(Request::Call(Call {
            query,
            params,
            method: None,
            stray_body: false,
            agent: false,
            origin: Arc::clone(origin),
        }))
    }
}

/// Refuses what is none of ours. Nothing else marks a direct event, so a key too many may mean an event of a
/// source that nobody here knows.
fn check_keys(event: &Object<'_>) -> Result<()> {
    let Some(unknown) = event.keys().find(|key| !KEYS.contains(key)) else { return Ok(()) };
    if let Some((key, meant)) = event
        .keys()
        .filter(|key| !KEYS.contains(key))
        .find_map(|key| nearest(key, &KEYS).map(|meant| (key, meant)))
    {
        return Err(bad_event(format!("Unknown key {}; did you mean `{meant}`? {SHAPES}", quoted(key))));
    }
    if event.keys().any(|key| KEYS.contains(&key)) {
        return Err(bad_event(format!("Unknown key {}. A direct event has {KNOWN}.", quoted(unknown))));
    }
    let keys: Vec<String> = event.keys().take(MENTIONED).map(quoted).collect();
    Err(bad_event(format!("This function does not know this event. {SHAPES}"))
        .with_detail(format!("its keys: {}", keys.join(", "))))
}

/// Reads `{"query": …, "<second>": …}`.
fn named<'a>(
    value: &'a RawValue,
    what: &str,
    second: &'static str,
) -> Result<(String, Option<&'a RawValue>)> {
    let object = Object::parse(value.get(), what)?;
    let known = ["query", second];
    if let Some(key) = object.keys().find(|key| !known.contains(key)) {
        let hint = nearest(key, &known).map(|meant| format!("; did you mean `{meant}`?"));
        let hint = hint.unwrap_or_else(|| format!("; it takes `query` and `{second}`."));
        return Err(bad_event(format!("{what} has the unknown key {}{hint}", quoted(key))));
    }
    let query = object.get("query").ok_or_else(|| bad_event(format!("{what} needs `query`.")))?;
    Ok((name(query)?, object.get(second)))
}

fn name(query: &RawValue) -> Result<String> {
    json::string(query)
        .filter(|name| !name.is_empty())
        .map(|name| name.into_owned())
        .ok_or_else(|| must_be("query", "the name of a query"))
}

/// `null` is no parameters: callers in languages with typed records send it.
fn params(value: &RawValue) -> Result<Params> {
    if value.get() == "null" {
        return Ok(Params::default());
    }
    Object::parse(value.get(), "`params`").map(given)
}

/// The value under a key that allows few.
fn choice<T: Copy>(event: &Object<'_>, key: &str, allowed: &[(&str, T)]) -> Result<Option<T>> {
    let Some(value) = event.get(key) else { return Ok(None) };
    let word = json::string(value);
    match allowed.iter().find(|(name, _)| word.as_deref() == Some(name)) {
        Some((_, meaning)) => Ok(Some(*meaning)),
        None => {
            let names: Vec<String> = allowed.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            Err(must_be(key, &names.join(" or ")))
        }
    }
}

/// The keys of a direct event.
const KEYS: [&str; 10] =
    ["query", "params", "transaction", "batch", "diagnose", "format", "reply", "onError", "limit", KEY];

/// The key of a write that is done once.
pub(super) const KEY: &str = "idempotencyKey";

/// Of these, the ones that say what to do.
const FORMS: [&str; 4] = ["query", "transaction", "batch", "diagnose"];

/// The same, for people.
const KNOWN: &str = "`query` with `params`, or `transaction`, or `batch`, and may have `idempotencyKey`, `format`, `reply`, `onError` and \
    `limit`";

/// How many keys of an unknown event the log shows.
const MENTIONED: usize = 20;

/// What would do.
pub(super) const SHAPES: &str = "Send {\"query\": …, \"params\": {…}}, {\"transaction\": […]} or {\"batch\": {…}}, or {} \
    for the default query; or send it through API Gateway, a function URL, an Application Load Balancer, SQS or \
    EventBridge.";

#[cfg(test)]
mod tests {
    use super::super::testing::{settings, show};
    use super::super::{Invocation, parse};
    use super::*;

    /// What an event asks, or the message and the step of its refusal.
    fn asked(event: &str) -> String {
        let event = parse(event.as_bytes(), &settings(), &Invocation::default());
        match &event.request {
            Ok(request) => show(request),
            Err(error) => {
                let step = error.step().map(|step| format!(" at {step}")).unwrap_or_default();
                format!("{}{step}: {}", error.fault().code(), error.message())
            }
        }
    }

    #[test]
    fn calls() {
        fn check(event: &str, expected: &str) {
            assert_eq!(asked(event), expected, "{event}");
        }
        check("{}", "call default()");
        check(r#"{"query":"users"}"#, "call users()");
        check(r#"{"query":"users","params":null}"#, "call users()");
        check(
            r#"{"query":null,"transaction":[{"query":"users"}],"limit":null}"#,
            "transaction: call users()",
        );
        check(r#"{"params":null,"reply":null}"#, "call default()");
        check(r#"{"params":{"active":true}}"#, "call default(active=true)");
        check(
            r#"{"query":"users","params":{"a":1.50,"b":"x","c":null,"d":[1,"2"],"e":{"f":1}}}"#,
            r#"call users(a=1.50, b="x", c=null, d=[1,"2"], e={"f":1})"#,
        );
        check(
            r#"{"transaction":[{"query":"a","params":{"n":1}},{"query":"b"}],"reply":"raw"}"#,
            "transaction: call a(n=1); call b()",
        );
        check(r#"{"transaction":[]}"#, "transaction: ");
        check(r#"{"batch":{"query":"a","params":[{"n":1},{"n":2}]}}"#, "batch a: (n=1); (n=2)");
        check(r#"{"batch":{"query":"a","params":[]}}"#, "batch a: ");
        check(r#"{"diagnose":true}"#, "diagnose");
    }

    #[test]
    fn refusals() {
        fn check(event: &str, expected: &str) {
            let found = asked(event);
            assert!(found.starts_with("bad_event") && found.contains(expected), "{event}: {found}");
        }
        check(r#"{"querry":"users"}"#, "Unknown key `querry`; did you mean `query`? Send {\"query\": …");
        check(r#"{"query":"users","parms":{}}"#, "Unknown key `parms`; did you mean `params`?");
        check(r#"{"query":"users","onerror":"raise"}"#, "did you mean `onError`?");
        check(
            r#"{"query":"users","id":1}"#,
            "Unknown key `id`. A direct event has `query` with `params`, or",
        );
        check(r#"{"id":1}"#, "bad_event: This function does not know this event. Send {\"query\": …");
        check(r#"{"query":"a","batch":{}}"#, "both `query` and `batch`");
        check(r#"{"transaction":[],"params":{}}"#, "`params` goes with `query`, not with `transaction`.");
        check(r#"{"query":null}"#, "`query` must be the name of a query.");
        check(r#"{"query":null,"params":{"n":1},"batch":null}"#, "`query` must be the name of a query.");
        check(r#"{"foo":null}"#, "This function does not know this event.");
        check(r#"{"query":""}"#, "`query` must be the name of a query.");
        check(r#"{"query":"\ud800"}"#, "`query` must be the name of a query.");
        check(r#"{"query":"a","params":[1]}"#, "`params` must be a JSON object.");
        check(r#"{"query":"a","query":"b"}"#, "The event has the key `query` twice.");
        check(r#"{"query":"a","params":{"x":1,"x":1}}"#, "`params` has the key `x` twice.");
        check(r#"{"transaction":{}}"#, "`transaction` must be an array.");
        check(r#"{"transaction":[{"query":"a"},{}]}"#, "at 1: Step 1 of `transaction` needs `query`.");
        check(r#"{"transaction":[7]}"#, "at 0: Step 0 of `transaction` must be a JSON object.");
        check(r#"{"transaction":[{"query":"a","param":{}}]}"#, "unknown key `param`; did you mean `params`?");
        check(r#"{"batch":{"query":"a"}}"#, "`batch` needs `params`, a list");
        check(r#"{"batch":{"query":"a","params":{}}}"#, "`params` must be an array.");
        check(r#"{"batch":{"query":"a","params":[{"n":1},1]}}"#, "at 1: `params` must be a JSON object.");
        check(r#"{"batch":[{"query":"a"}]}"#, "`batch` must be a JSON object.");
        check(r#"{"diagnose":false}"#, "`diagnose` must be true.");
        check(r#"{"reply":"body"}"#, "`reply` must be \"raw\".");
        check(r#"{"query":"a","format":"xml"}"#, "`format` must be \"json\" or \"ndjson\" or \"csv\".");
        check(r#"{"query":"a","format":1}"#, "`format` must be");
        check(r#"{"transaction":[],"format":"csv"}"#, "`format` goes with `query`, not with `transaction`.");
        check(r#"{"batch":{"query":"a","params":[]},"format":"json"}"#, "not with `batch`.");
        check(r#"{"onError":true}"#, "`onError` must be \"reply\" or \"raise\".");
    }

    #[test]
    fn the_form_of_the_reply() {
        fn check(event: &str, raw: bool, on_error: Option<DirectErrors>, states: bool) {
            let event = parse(event.as_bytes(), &settings(), &Invocation::default());
            assert_eq!(event.source, Source::Direct { raw, on_error, states });
        }
        check("{}", false, None, false);
        check(r#"{"reply":"raw","limit":"states"}"#, true, None, true);
        check(r#"{"onError":"raise"}"#, false, Some(DirectErrors::Raise), false);
        // A schedule with a misspelt query must still fail as its platform understands it.
        check(r#"{"querry":"x","onError":"raise"}"#, false, Some(DirectErrors::Raise), false);
        check(r#"{"limit":"aws","onError":"reply","reply":1}"#, false, Some(DirectErrors::Reply), false);
    }
}
