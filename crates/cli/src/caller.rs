//! Whom a call is for: what in the cloud an authorizer verifies, and Lambda itself tells. On a developer's machine the
//! command line says it, and nobody else does.

use clap::Args;
use lambda_rds::value::Given;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Who calls. Nobody, unless it is said.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Who calls")]
pub(crate) struct Caller {
    /// A claim that an authorizer would have verified, for `from claims.NAME`, settings and roles; may be given several times
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, String)>,
    /// The same as one JSON object, for claims that are no text: '{"sub": "42", "groups": ["staff"]}'
    #[arg(long = "claims", value_name = "JSON", value_parser = object)]
    object: Option<Object>,
    /// The tenant that Lambda would run the function for, for `from context.tenantId`
    #[arg(long, value_name = "ID", value_parser = filled)]
    tenant: Option<String>,
}

/// Claims by their names, as JSON.
pub(crate) type Object = Map<String, Value>;

impl Caller {
    /// The claims.
    ///
    /// # Errors
    /// [`Failure::Usage`], if one is said twice.
    pub(crate) fn claims(&self) -> Result<Object, Failure> {
        let mut claims = self.object.clone().unwrap_or_default();
        for (name, value) in &self.claims {
            if claims.insert(name.clone(), value.as_str().into()).is_some() {
                return Err(Failure::Usage(format!("the claim `{name}` is given twice: say it once")));
            }
        }
        Ok(claims)
    }

    /// Lambda's tenant id.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

/// The claims as a call has them: text stays text, so that it is read like a query string's value.
pub(crate) fn given(claims: &Object) -> Result<Vec<(String, Given)>, Failure> {
    let given = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => Given::Text(text.clone()),
            other => Given::Json(
                RawValue::from_string(other.to_string())
                    .map_err(|error| Failure::Setup(format!("a bug: the claim `{name}`: {error}")))?,
            ),
        };
        Ok((name.clone(), value))
    };
    claims.iter().filter(|(_, value)| !value.is_null()).map(given).collect()
}

/// Reads `name=value`.
fn claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value, such as sub=42".to_owned()),
    }
}

fn object(text: &str) -> Result<Object, String> {
    let form = r#"write a JSON object, such as '{"sub": "42"}'"#;
    serde_json::from_str(text).map_err(|error| format!("{form}; it is none: {error}"))
}

/// Reads what must say something.
pub(crate) fn filled(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        caller: Caller,
    }

    fn typed(words: &[&str]) -> Result<Caller, String> {
        let words = ["it"].iter().chain(words);
        Typed::try_parse_from(words).map(|typed| typed.caller).map_err(|error| error.to_string())
    }

    #[test]
    fn claims_are_text_unless_they_come_as_json() {
        let caller =
            typed(&["--claim", "sub=4=2", "--claims", r#"{"n": 7, "none": null, "t": "7"}"#]).unwrap();
        let given = given(&caller.claims().unwrap()).unwrap();
        let shown: Vec<String> = given.iter().map(|(name, value)| format!("{name} {value:?}")).collect();
        assert_eq!(shown, [r#"n Json(RawValue(7))"#, r#"sub Text("4=2")"#, r#"t Text("7")"#]);
        assert!(typed(&[]).unwrap().claims().unwrap().is_empty());
        assert_eq!(typed(&["--tenant", "blue"]).unwrap().tenant(), Some("blue"));
    }

    #[test]
    fn what_is_none_is_told() {
        for (words, expected) in [
            (&["--claim", "sub"] as &[&str], "write name=value"),
            (&["--claim", "=1"], "write name=value"),
            (&["--claims", "sub=42"], "write a JSON object"),
            (&["--claims", "[1]"], "write a JSON object"),
            (&["--tenant", ""], "it is empty"),
        ] {
            let told = typed(words).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
        for words in [["--claim", "a=1", "--claim", "a=2"], ["--claims", r#"{"a": 1}"#, "--claim", "a=1"]] {
            let Err(Failure::Usage(told)) = typed(&words).unwrap().claims() else { panic!("{words:?}") };
            assert!(told.contains("`a` is given twice"), "{told}");
        }
    }
}
