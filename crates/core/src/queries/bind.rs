//! A call's parameters, checked against the declared ones and bound to the statement.

use std::borrow::Cow;

use super::{BoundFrom, Dialect, Param, Query};
use crate::backend::Statement;
use crate::error::{Error, Fault, Result};
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
        for param in &self.params {
            values.push(param.value(params, origin, self.dialect)?);
        }
        self.template.fill(&self.params, values).map_err(|too_long| {
            let Param { name, .. } = &self.params[too_long.index];
            bad(format!("Parameter `{name}` must have at most {} elements.", too_long.longest))
        })
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
    fn value(&self, params: &Params, origin: &Origin, dialect: Dialect) -> Result<Value> {
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
        if let Some(bounds) = &self.bounds
            && !bounds.contain(&value)
        {
            return Err(bad(format!("Parameter `{}` {bounds}.", self.name)));
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
        let text = |text: &str| Some(Cow::Owned(Given::Text(text.to_owned())));
        Ok(match from {
            BoundFrom::Claim(name) => {
                let claims = origin.claims.as_deref().unwrap_or_default();
                let claim = claims.iter().find(|(claim, _)| claim == name).map(|(_, given)| given);
                match claim {
                    Some(given) if !is_null(given) => Some(self.claim(given)),
                    _ => {
                        let detail = format!("parameter `{}` comes from {from}, which is not there", self.name);
                        return Err(Error::new(Fault::Unauthenticated, detail));
                    }
                }
            }
            BoundFrom::Header(name) => {
                let mut values = origin
                    .headers
                    .iter()
                    .filter(|(header, _)| header == name)
                    .map(|(_, value)| value.clone());
                match (values.next(), values.next()) {
                    (Some(first), Some(second)) => {
                        let texts = [first, second].into_iter().chain(values).collect();
                        Some(Cow::Owned(Given::Texts(texts)))
                    }
                    (first, _) => first.map(|value| Cow::Owned(Given::Text(value))),
                }
            }
            BoundFrom::RequestId if origin.request_id.is_empty() => None,
            BoundFrom::RequestId => text(&origin.request_id),
            BoundFrom::MessageId => origin.message_id.as_deref().and_then(text),
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

fn bad(message: String) -> Error {
    Error::told(Fault::BadParameter, message)
}

fn is_null(given: &Given) -> bool {
    matches!(given, Given::Json(raw) if raw.get() == "null")
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        _ => false,
    }
}
