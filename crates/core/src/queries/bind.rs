//! A call's parameters, checked against the declared ones and bound to the statement.

use std::borrow::Cow;

use super::page::{self, Pages};
use super::template::Template;
use super::{BoundFrom, Dialect, Param, Query};
use crate::backend::Statement;
use crate::error::{Error, Fault, Result};
use crate::rows::Paging;
use crate::value::{self, Given, Origin, Params, Scalar, Value};

impl Query {
    /// Makes the statement of one call.
    ///
    /// # Errors
    /// [`Fault::BadParameter`], naming the parameter, if one is unknown, missing, of another type, out of bounds,
    /// or not for the caller to give; [`Fault::Unauthenticated`] if one comes from claims that are not there.
    pub fn bind(&self, params: &Params, origin: &Origin) -> Result<Statement> {
        for (name, _) in &params.0 {
            match self.params.iter().find(|param| &*param.name == name) {
                None => return Err(self.unknown(name)),
                Some(param) if param.from.is_some() => {
                    return Err(bad(format!("Parameter `{name}` cannot be given by the caller.")));
                }
                Some(_) => {}
            }
        }
        let mut values = Vec::with_capacity(self.params.len());
        for (index, param) in self.params.iter().enumerate() {
            let value = param.value(params, origin, self.dialect)?;
            if self.template.counts(index) && is_negative(&value) {
                return Err(bad(format!(
                    "Parameter `{}` is a number of rows and must be at least 0.",
                    param.name
                )));
            }
            values.push(value);
        }
        let filled = match &self.pages {
            None => self.template.fill(&self.params, values),
            Some(pages) => {
                let (template, params, values) = self.page(pages, values)?;
                template.fill(&params, values)
            }
        };
        filled.map_err(|too_long| {
            let Param { name, .. } = &self.params[too_long.index];
            bad(format!("Parameter `{name}` must have at most {} elements.", too_long.longest))
        })
    }

    /// What a call of a page runs: its statement, and its parameters with their values, those of the page at the end. One
    /// row more is asked for than the page has: it tells whether there is another page.
    fn page<'a>(
        &'a self,
        pages: &'a Pages,
        mut values: Vec<Value>,
    ) -> Result<(&'a Template, Vec<Param>, Vec<Value>)> {
        let size = match values.get(pages.page_size) {
            Some(Value::Int(rows)) => rows.saturating_add(1),
            _ => return Err(Error::new(Fault::Internal, "bug: a page without a size")),
        };
        let token = std::mem::replace(&mut values[pages.page], Value::Null);
        values.truncate(pages.page);
        let template = match token {
            Value::Text(token) => {
                for value in crate::page::values(&token, pages.fingerprint(), pages.order().len())? {
                    values.push(comparable(self.dialect, value)?);
                }
                &pages.next
            }
            _ => &pages.first,
        };
        values.push(Value::Int(size));
        let mut params = self.params[..pages.page].to_vec();
        let of_page = values[pages.page..].iter().map(|value| page::parameter(crate::page::kind(value)));
        params.extend(of_page);
        Ok((template, params, values))
    }

    /// How the rows of a statement of [`bind`](Self::bind) become a page, if they are one.
    pub(crate) fn paging(&self, statement: &Statement) -> Option<Paging> {
        let pages = self.pages.as_ref()?;
        let Some(Value::Int(limit)) = statement.arguments.last().map(|argument| &argument.value) else {
            return None;
        };
        Some(Paging {
            order: std::sync::Arc::clone(pages.order()),
            size: u64::try_from(limit - 1).ok()?,
            fingerprint: pages.fingerprint(),
        })
    }

    /// The value that a call gives this parameter, which need not stand in the SQL; `None` if there is none of the name.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    pub(crate) fn value_of(&self, name: &str, params: &Params, origin: &Origin) -> Result<Option<Value>> {
        let param = self.params.iter().find(|param| &*param.name == name);
        param.map(|param| param.value(params, origin, self.dialect)).transpose()
    }

    /// The statement with NULL for every parameter and one element in every list: to be shown to a server, not to
    /// be run.
    #[must_use]
    pub fn blank(&self) -> Statement {
        let blank = || self.params.iter().map(|_| Value::Null).collect();
        // A list of one element is never too long.
        self.template
            .fill(&self.params, blank())
            .unwrap_or_else(|_| Statement { sql: self.sql().into(), arguments: Vec::new() })
    }

    /// The same of a page that is not the first, where it has pages.
    pub(crate) fn blank_page(&self) -> Option<Statement> {
        let pages = self.pages.as_ref()?;
        let of_page = pages.order().iter().map(|_| Value::Null).chain([Value::Int(1)]);
        let values: Vec<Value> =
            self.params[..pages.page].iter().map(|_| Value::Null).chain(of_page).collect();
        let mut params = self.params[..pages.page].to_vec();
        let of_page = values[pages.page..].iter().map(|value| page::parameter(crate::page::kind(value)));
        params.extend(of_page);
        pages.next.fill(&params, values).ok()
    }

    fn unknown(&self, name: &str) -> Error {
        // What a caller made up is repeated only as far as a name goes.
        let short: String = name.chars().take(64).filter(|c| !c.is_control()).collect();
        let known: Vec<_> = self
            .params
            .iter()
            .filter(|param| param.from.is_none())
            .map(|param| format!("`{}`", param.name))
            .collect();
        bad(match known.as_slice() {
            [] => format!("Parameter `{short}` is unknown; this query has none."),
            known => format!("Parameter `{short}` is unknown; this query has {}.", known.join(", ")),
        })
    }
}

impl Param {
    /// The value that a call gives this parameter.
    pub(super) fn value(&self, params: &Params, origin: &Origin, dialect: Dialect) -> Result<Value> {
        let given = match &self.from {
            None => params.get(&self.name).map(Cow::Borrowed),
            Some(from) => self.bound(from, origin)?,
        };
        let Some(given) = given else {
            return match (&self.default, &self.from) {
                (Some(default), _) => Ok(default.clone()),
                (None, None) => Err(bad(format!("Parameter `{}` is missing.", self.name))),
                (None, Some(from)) => {
                    Err(bad(format!("Parameter `{}` is missing: it comes from {from}.", self.name)))
                }
            };
        };
        let value = self.kind.read(&given).map_err(|refusal| bad(refusal.of(&self.name)))?;
        if matches!(value, Value::Null) && !self.nullable {
            return Err(bad(format!("Parameter `{}` must not be null.", self.name)));
        }
        if let Some(reason) = self.misfit(&value) {
            return Err(bad(format!("Parameter `{}` {reason}.", self.name)));
        }
        // PostgreSQL has no U+0000 in text, and would refuse it with an error about encodings.
        if dialect == Dialect::Postgres && has_nul(&value) {
            return Err(bad(format!(
                "Parameter `{}` must not contain U+0000, which the database cannot store in text.",
                self.name
            )));
        }
        Ok(value)
    }

    /// What the invocation brings for this parameter; `None` if it is not there.
    fn bound<'a>(&self, from: &BoundFrom, origin: &'a Origin) -> Result<Option<Cow<'a, Given>>> {
        Ok(match from {
            BoundFrom::Claim(name) => {
                let claims = origin.claims.as_deref().unwrap_or_default();
                let claim = claims.iter().find(|(claim, _)| claim == name).map(|(_, given)| given);
                match claim {
                    Some(given) if !is_null(given) => Some(self.claim(given)),
                    _ => {
                        let detail =
                            format!("parameter `{}` comes from {from}, which is not there", self.name);
                        return Err(Error::new(Fault::Unauthenticated, detail));
                    }
                }
            }
            from => brought(from, origin).map(Cow::Owned),
        })
    }

    /// API Gateway hands over claims as strings, whatever their type in the token was: `"true"` for a `bool` is
    /// read as the text it is. JSON stays what it is.
    fn claim<'a>(&self, given: &'a Given) -> Cow<'a, Given> {
        match given {
            Given::Json(raw) if self.kind.scalar != Scalar::Json && raw.get().starts_with('"') => {
                match value::string(raw.get()) {
                    Ok(text) => Cow::Owned(Given::Text(text.into_owned())),
                    Err(_) => Cow::Borrowed(given),
                }
            }
            _ => Cow::Borrowed(given),
        }
    }
}

/// The value of a row's column, as it is compared with that column. On PostgreSQL a text takes the type of its place: so
/// it is the column's own, and the index on it is used.
fn comparable(dialect: Dialect, value: Value) -> Result<Value> {
    let value = match (dialect, value) {
        (Dialect::Postgres, Value::Int(number)) => Value::Text(number.to_string()),
        (Dialect::Postgres, Value::Decimal(digits)) => Value::Text(digits),
        (_, value) => value,
    };
    if dialect == Dialect::Postgres && has_nul(&value) {
        return Err(bad("Parameter `page` is no page of this query.".to_owned()));
    }
    Ok(value)
}

/// What the invocation brings beside claims; `None` if it is not there.
pub(super) fn brought(from: &BoundFrom, origin: &Origin) -> Option<Given> {
    let text =
        |text: Option<&str>| text.filter(|text| !text.is_empty()).map(|text| Given::Text(text.to_owned()));
    match from {
        BoundFrom::Claim(_) => None,
        BoundFrom::Header(name) => {
            let mut values =
                origin.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.clone());
            match (values.next(), values.next()) {
                (Some(first), Some(second)) => {
                    Some(Given::Texts([first, second].into_iter().chain(values).collect()))
                }
                (first, _) => first.map(Given::Text),
            }
        }
        BoundFrom::RequestId => text(Some(&origin.request_id)),
        BoundFrom::TenantId => text(origin.tenant_id.as_deref()),
        BoundFrom::MessageId => text(origin.message_id.as_deref()),
    }
}

fn bad(message: String) -> Error {
    Error::told(Fault::BadParameter, message)
}

fn is_null(given: &Given) -> bool {
    matches!(given, Given::Json(raw) if raw.get() == "null")
}

fn is_negative(value: &Value) -> bool {
    match value {
        Value::Int(number) => *number < 0,
        Value::Float(number) => *number < 0.0,
        Value::Decimal(digits) | Value::Text(digits) => digits.trim_start().starts_with('-'),
        _ => false,
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::config::Engine;
    use crate::queries::Queries;

    const ENGINES: [(Engine, Dialect); 3] = [
        (Engine::Postgres, Dialect::Postgres),
        (Engine::Mysql, Dialect::Mysql),
        (Engine::Sqlite, Dialect::Sqlite),
    ];

    /// A query with these parameters, each used once.
    fn queries(engine: (Engine, Dialect), declared: &[&str]) -> Queries {
        let mut text = "-- name: q :one\n".to_owned();
        let mut used = Vec::new();
        for line in declared {
            text.push_str(&format!("-- param: {line}\n"));
            let (name, kind) = line.split_once(' ').unwrap();
            let list = kind.contains("[]") && engine.1 != Dialect::Postgres;
            used.push(if list { format!("x IN (:{name})") } else { format!(":{name}") });
        }
        text.push_str(&format!("SELECT {}", used.join(", ")));
        Queries::parse(&[("q.sql".to_owned(), text)], engine.0, engine.1).unwrap()
    }

    #[test]
    fn no_engine_takes_a_negative_number_of_rows() {
        let text = "-- name: q :many\n-- param: n int\n-- param: o int?\nSELECT 1 LIMIT :n OFFSET :o";
        for (engine, dialect) in ENGINES {
            let queries = Queries::parse(&[("q.sql".to_owned(), text.to_owned())], engine, dialect).unwrap();
            let bind = |n: &str, o: &str| {
                let given = |text: &str| Given::Json(serde_json::from_str(text).unwrap());
                let params = Params(vec![("n".to_owned(), given(n)), ("o".to_owned(), given(o))]);
                queries.get("q").unwrap().bind(&params, &Origin::default())
            };
            for (n, o, name) in [("-1", "0", "`n`"), ("1", "-1", "`o`")] {
                let error = bind(n, o).unwrap_err();
                assert_eq!(error.fault(), Fault::BadParameter);
                assert!(error.message().contains(name) && error.message().contains("at least 0"), "{error}");
            }
            assert!(bind("0", "0").is_ok() && bind("1", "null").is_ok(), "{engine:?}");
        }
    }

    /// Binds a JSON object on PostgreSQL.
    fn bind(declared: &[&str], params: &str, origin: &Origin) -> Result<Vec<Value>, Error> {
        let queries = queries(ENGINES[0], declared);
        let params: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(params).unwrap();
        let params = Params(params.into_iter().map(|(name, raw)| (name, Given::Json(raw))).collect());
        let statement = queries.get("q").unwrap().bind(&params, origin)?;
        Ok(statement.arguments.into_iter().map(|argument| argument.value).collect())
    }

    fn origin() -> Origin {
        let json = |text: &str| Given::Json(RawValue::from_string(text.to_owned()).unwrap());
        Origin {
            claims: Some(vec![
                ("sub".to_owned(), json(r#""00000000-0000-0000-0000-000000000001""#)),
                ("admin".to_owned(), json(r#""true""#)),
                ("a.b".to_owned(), json("5")),
                ("none".to_owned(), json("null")),
                ("all".to_owned(), json(r#"{"x": "1"}"#)),
            ]),
            request_id: "r-1".to_owned(),
            tenant_id: Some("t-1".to_owned()),
            message_id: Some("m-1".to_owned()),
            headers: vec![
                ("x-tenant".to_owned(), "7".to_owned()),
                ("x-many".to_owned(), "1".to_owned()),
                ("x-many".to_owned(), "2".to_owned()),
            ],
            ..Origin::default()
        }
    }

    #[test]
    fn bound() {
        let uuid = {
            let mut uuid = [0; 16];
            uuid[15] = 1;
            uuid
        };
        for (declared, params, expected) in [
            ("a int", r#"{"a": 1}"#, Value::Int(1)),
            ("a int = 5", "{}", Value::Int(5)),
            ("a int? = null", "{}", Value::Null),
            ("a int?", r#"{"a": null}"#, Value::Null),
            ("a int? = 5 in 1..=9", r#"{"a": null}"#, Value::Null),
            ("a int in 1..=500", r#"{"a": "500"}"#, Value::Int(500)),
            ("a text? in {'open'} -- state", r#"{"a": null}"#, Value::Null),
            (
                "a text = 'open' in {'open', 'closed'} -- state",
                r#"{"a": "closed"}"#,
                Value::Text("closed".to_owned()),
            ),
            ("a text", r#"{"a": ""}"#, Value::Text(String::new())),
            ("a int[] = []", "{}", Value::Array(vec![])),
            ("a uuid from claims.sub", "{}", Value::Uuid(uuid)),
            ("a bool from claims.admin", "{}", Value::Bool(true)),
            ("a int from claims.a.b", "{}", Value::Int(5)),
            ("a json from claims.all", "{}", Value::Json(r#"{"x": "1"}"#.to_owned())),
            ("a json from claims.admin", "{}", Value::Json(r#""true""#.to_owned())),
            ("a int from header.X-Tenant", "{}", Value::Int(7)),
            ("a int[] from header.x-many", "{}", Value::Array(vec![Value::Int(1), Value::Int(2)])),
            ("a int = 3 from header.x-none", "{}", Value::Int(3)),
            ("a text from context.requestId", "{}", Value::Text("r-1".to_owned())),
            ("a text from context.tenantId", "{}", Value::Text("t-1".to_owned())),
            ("a text from sqs.messageId", "{}", Value::Text("m-1".to_owned())),
        ] {
            assert_eq!(bind(&[declared], params, &origin()).unwrap(), [expected], "{declared} {params}");
        }
    }

    #[test]
    fn refused() {
        use Fault::{BadParameter, Unauthenticated};
        for (declared, params, fault, message) in [
            ("a int", "{}", BadParameter, "Parameter `a` is missing."),
            ("a int?", "{}", BadParameter, "Parameter `a` is missing."),
            ("a int", r#"{"a": null}"#, BadParameter, "Parameter `a` must not be null."),
            ("a int", r#"{"a": 1, "b": 2}"#, BadParameter, "Parameter `b` is unknown; this query has `a`."),
            ("a int", r#"{"A": 1}"#, BadParameter, "Parameter `A` is unknown; this query has `a`."),
            ("a int", r#"{"a": "x"}"#, BadParameter, "Parameter `a` must be an integer."),
            (
                "a int",
                r#"{"a": 9223372036854775808}"#,
                BadParameter,
                "Parameter `a` is out of the 64-bit range.",
            ),
            (
                "a int = 5 in 1..=500",
                r#"{"a": 501}"#,
                BadParameter,
                "Parameter `a` must be between 1 and 500.",
            ),
            (
                "a text in {'open', 'closed'}",
                r#"{"a": "x"}"#,
                BadParameter,
                "Parameter `a` must be one of 'open', 'closed'.",
            ),
            (
                "a text",
                "{\"a\": \"x\\u0000\"}",
                BadParameter,
                "Parameter `a` must not contain U+0000, which the database cannot store in text.",
            ),
            (
                "a text[]",
                "{\"a\": [\"x\\u0000\"]}",
                BadParameter,
                "Parameter `a` must not contain U+0000, which the database cannot store in text.",
            ),
            (
                "a uuid from claims.sub",
                r#"{"a": "x"}"#,
                BadParameter,
                "Parameter `a` cannot be given by the caller.",
            ),
            (
                "a uuid from claims.sub",
                r#"{"b": 1}"#,
                BadParameter,
                "Parameter `b` is unknown; this query has none.",
            ),
            ("a uuid from claims.name", "{}", Unauthenticated, "This query needs an authenticated caller."),
            ("a int from claims.none", "{}", Unauthenticated, "This query needs an authenticated caller."),
            ("a int from claims.sub", "{}", BadParameter, "Parameter `a` must be an integer."),
            (
                "a int from header.X-None",
                "{}",
                BadParameter,
                "Parameter `a` is missing: it comes from header.x-none.",
            ),
            ("a int from header.x-many", "{}", BadParameter, "Parameter `a` must be given only once."),
        ] {
            let error = bind(&[declared], params, &origin()).expect_err(declared);
            assert_eq!((error.fault(), error.message()), (fault, message), "{declared} {params}");
        }
        for (declared, fault) in [
            ("a uuid from claims.sub", Unauthenticated),
            ("a text from context.requestId", BadParameter),
            ("a text from context.tenantId", BadParameter),
            ("a text from sqs.messageId", BadParameter),
        ] {
            let error = bind(&[declared], "{}", &Origin::default()).expect_err(declared);
            assert_eq!(error.fault(), fault, "{declared}");
            assert!(fault == Unauthenticated || error.message().contains("`a` is missing"), "{error}");
        }
        // A made-up name is not a way to write into the log or the reply at length.
        let long = format!("{{\"{}\": 1}}", "x\\n".repeat(1000));
        assert!(bind(&["a int"], &long, &origin()).unwrap_err().message().len() < 120);
    }

    /// Outside PostgreSQL text may hold a NUL; and a list that is too long says how long it may be.
    #[test]
    fn other_engines() {
        for engine in &ENGINES[1..] {
            let queries = queries(*engine, &["a text", "b int[]"]);
            let bind = |list: Vec<String>| {
                let params = Params(vec![
                    ("a".to_owned(), Given::Text("\0".to_owned())),
                    ("b".to_owned(), Given::Texts(list)),
                ]);
                queries.get("q").unwrap().bind(&params, &Origin::default())
            };
            assert_eq!(bind(vec!["1".to_owned(); 3]).unwrap().arguments.len(), 5);
            let error = bind(vec!["1".to_owned(); 20_000]).unwrap_err();
            assert_eq!(error.message(), "Parameter `b` must have at most 16384 elements.");
        }
    }

    proptest! {
        /// Values are only ever bound: whatever they are, the SQL is the same.
        #[test]
        fn values_never_change_the_sql(
            text in "\\PC{0,20}|[:'\";$?`\\\\/*-]{0,20}|'; DROP TABLE users; --|:a|\\$1",
            list in proptest::collection::vec("\\PC{0,5}|[':;)(]{0,5}", 4),
        ) {
            for engine in ENGINES {
                let queries = queries(engine, &["a text", "b json", "c text[]", "d bytes"]);
                let query = queries.get("q").unwrap();
                let bind = |a: &str, c: &[String]| {
                    let json = serde_json::to_string(a).unwrap();
                    query.bind(&Params(vec![
                        ("a".to_owned(), Given::Text(a.to_owned())),
                        ("b".to_owned(), Given::Json(RawValue::from_string(json).unwrap())),
                        ("c".to_owned(), Given::Texts(c.to_vec())),
                        ("d".to_owned(), Given::Text("AP8=".to_owned())),
                    ]), &Origin::default())
                };
                let plain = bind("x", &["x", "x", "x", "x"].map(str::to_owned)).unwrap();
                let hostile = bind(&text, &list).unwrap();
                prop_assert_eq!(plain.sql, hostile.sql);
                prop_assert_eq!(&hostile.arguments[0].value, &Value::Text(text.clone()));
            }
        }
    }
}
