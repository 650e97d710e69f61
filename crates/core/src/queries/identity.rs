//! Whose rows a query sees: the settings and the role that its transaction has, so that the database's own policies
//! decide, and no author has to remember a `WHERE tenant = …`.
//!
//! `-- set: app.tenant = claims.tenant` and `-- role: member` are read into an [`Identity`]; with the event of one call
//! it makes a [`Caller`], and that the statement which is sent before the query's own.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::annotations::{bound_from, take_choice};
use super::{BoundFrom, Param, Query};
use crate::backend::Statement;
use crate::error::{Error, Fault, Result};
use crate::value::{self, Argument, Given, Kind, Origin, Params, Scalar, Value, time};

/// What is declared of the caller's identity, by a query file (`-- set:`, `-- role:`) or for all queries
/// (`LAMBDA_RDS_SET`, `LAMBDA_RDS_ROLE`). Empty where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    settings: Vec<Setting>,
    role: Option<Role>,
}

/// A setting of the transaction, as `-- set: app.tenant = claims.tenant` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    name: Arc<str>,
    source: Source,
    choice: Option<Vec<String>>,
}

/// The role of the transaction: a fixed one, or one of several, as the caller's identity says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Where it comes from; `None` for the only one of the choice.
    source: Option<Source>,
    choice: Vec<String>,
}

/// Where a setting's value comes from. Displays as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `claims`: all verified claims, as one JSON object.
    Claims,
    /// One claim, a header, or what the invocation brings.
    From(BoundFrom),
    /// `param.NAME`: a parameter of the query.
    Param(Arc<str>),
}

impl Identity {
    /// Reads what holds for every query: settings, parted by `;`, and a role.
    ///
    /// # Errors
    /// What is wrong, as a sentence; and of which of the two it is, the settings first.
    pub(crate) fn parse(settings: Option<&str>, role: Option<&str>) -> (Self, Vec<(Part, String)>) {
        let (mut identity, mut mistakes) = (Self::default(), Vec::new());
        for text in settings.iter().flat_map(|text| entries(text)) {
            if let Err(reason) = Setting::parse(text).and_then(|setting| identity.set(setting)) {
                mistakes.push((Part::Settings, reason));
            }
        }
        match role.map(Role::parse) {
            None => {}
            Some(Ok(role)) => identity.role = Some(role),
            Some(Err(reason)) => mistakes.push((Part::Role, reason)),
        }
        (identity, mistakes)
    }

    /// Whether nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.role.is_none()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// Whether a caller without verified claims is refused.
    #[must_use]
    pub fn needs_claims(&self) -> bool {
        self.sources().any(|source| matches!(source, Source::Claims | Source::From(BoundFrom::Claim(_))))
    }

    /// Whether a caller may be refused although there are claims.
    #[must_use]
    pub fn may_forbid(&self) -> bool {
        self.settings.iter().any(|setting| setting.choice.is_some())
            || self.role.as_ref().is_some_and(|role| role.source.is_some())
    }

    /// Whether a parameter is used here.
    pub(super) fn uses(&self, param: &str) -> bool {
        self.sources().any(|source| matches!(source, Source::Param(name) if **name == *param))
    }

    /// Adds a setting.
    ///
    /// # Errors
    /// If there is one of that name. To the server the case of its letters makes no difference.
    pub(super) fn set(&mut self, setting: Setting) -> Result<(), String> {
        if self.settings.iter().any(|other| other.name.eq_ignore_ascii_case(&setting.name)) {
            return Err(format!("`{}` is set twice", setting.name));
        }
        self.settings.push(setting);
        Ok(())
    }

    /// Says the role.
    ///
    /// # Errors
    /// If one was said.
    pub(super) fn assume(&mut self, role: Role) -> Result<(), String> {
        match self.role.replace(role) {
            None => Ok(()),
            Some(_) => Err("`-- role:` is said twice".to_owned()),
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let role = self.role.iter().filter_map(|role| role.source.as_ref());
        self.settings.iter().map(|setting| &setting.source).chain(role)
    }

    /// What holds for one query: what holds for all, narrowed by its own. Gives what its own lines do that is no
    /// narrowing, each with the setting's name or, for the role, without one.
    pub(super) fn narrowed(all: &Self, own: &Self) -> (Self, Vec<Wider>) {
        let (mut whole, mut mistakes) = (all.clone(), Vec::new());
        for setting in &own.settings {
            let known = whole.settings.iter_mut().find(|it| it.name.eq_ignore_ascii_case(&setting.name));
            match known {
                None => whole.settings.push(setting.clone()),
                Some(known) => {
                    if let Err(reason) = known.narrow(setting) {
                        mistakes.push((Some(Arc::clone(&setting.name)), reason));
                    }
                }
            }
        }
        match (&mut whole.role, &own.role) {
            (_, None) => {}
            (None, Some(role)) => whole.role = Some(role.clone()),
            (Some(known), Some(role)) => {
                if let Err(reason) = known.narrow(role) {
                    mistakes.push((None, reason));
                }
            }
        }
        (whole, mistakes)
    }
}

/// A line of a query's that does not narrow: the setting's name, or none for the role, and why.
type Wider = (Option<Arc<str>>, String);

/// What of the function's own identity a mistake is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Settings,
    Role,
}

impl Setting {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its value comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What its value may be, where that is limited.
    #[must_use]
    pub fn choice(&self) -> Option<&[String]> {
        self.choice.as_deref()
    }

    /// Reads `app.tenant = claims.tenant`, with a choice behind it or without.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "takes a name and its source, such as `app.tenant = claims.tenant`";
        let (name, source) = text.split_once('=').ok_or_else(|| format!("`set` {FORM}"))?;
        let name = name.trim();
        let is_path = name.eq_ignore_ascii_case(SEARCH_PATH);
        if !is_path {
            check_name(name)?;
        }
        let (source, choice) = sourced(source).map_err(|reason| format!("`{name}`: {reason}"))?;
        if is_path && choice.is_none() {
            return Err(format!(
                "`{name}` decides which tables a query reads, so it needs its choice in braces: \
                 `search_path = {source} in {{tenant_a, tenant_b}}`"
            ));
        }
        Ok(Self { name: Arc::from(name), source, choice })
    }

    fn narrow(&mut self, own: &Self) -> Result<(), String> {
        if self.source != own.source {
            return Err(format!(
                "`{}` comes from {} for every query (LAMBDA_RDS_SET), and a query cannot take it from {}",
                self.name, self.source, own.source
            ));
        }
        if let Some(choice) = &own.choice {
            if let Some(known) = &self.choice {
                within(choice, known).map_err(|value| {
                    format!("`{}` is never '{value}' for any query (LAMBDA_RDS_SET)", self.name)
                })?;
            }
            self.choice = Some(choice.clone());
        }
        Ok(())
    }

    /// The value as the server takes it: a schema is a name in a list of names.
    fn written(&self, value: String) -> String {
        if self.name.eq_ignore_ascii_case(SEARCH_PATH) { identifier(value) } else { value }
    }
}

impl Role {
    /// Where it comes from; `None` where it is always the same.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// The roles that it can be, at least one.
    #[must_use]
    pub fn choice(&self) -> &[String] {
        &self.choice
    }

    /// Reads `member`, or `claims.role in {member, auditor}`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$');
        let role = match quoted {
            Some(name) if !name.contains(['"', '\'']) => Self { source: None, choice: vec![name.to_owned()] },
            _ if !text.is_empty() && text != "claims" && text.chars().all(plain) => {
                Self { source: None, choice: vec![text.to_owned()] }
            }
            _ => match sourced(text)? {
                (source, Some(choice)) => Self { source: Some(source), choice },
                (source, None) => {
                    return Err(format!(
                        "a role that comes from the caller needs its choice in braces: `{source} in {{member, auditor}}`"
                    ));
                }
            },
        };
        for name in &role.choice {
            if name.is_empty() || name.len() > LONGEST_NAME {
                return Err(format!("a role's name has 1 to {LONGEST_NAME} bytes"));
            }
            if name == "none" {
                return Err("`none` is no role: it would be the function's own".to_owned());
            }
        }
        Ok(role)
    }

    fn narrow(&mut self, own: &Self) -> Result<(), String> {
        within(&own.choice, &self.choice).map_err(|name| {
            format!(
                "no query runs as `{name}`: for every query the role is one of {} (LAMBDA_RDS_ROLE)",
                names(&self.choice)
            )
        })?;
        match (&self.source, &own.source) {
            // A role that is written down is one that the caller must have, then.
            (_, None) => {}
            (None, Some(source)) => self.source = Some(source.clone()),
            (Some(all), Some(source)) if all == source => {}
            (Some(all), Some(source)) => {
                return Err(format!(
                    "the role comes from {all} for every query (LAMBDA_RDS_ROLE), and a query cannot take it from {source}"
                ));
            }
        }
        self.choice.clone_from(&own.choice);
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claims => f.write_str("claims"),
            Self::From(from) => from.fmt(f),
            Self::Param(name) => write!(f, "param.{name}"),
        }
    }
}

/// The entries of a list that is parted by semicolons; those in quotes part nothing.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = text.split(move |c| {
        quoted ^= c == '\'';
        c == ';' && !quoted
    });
    parts.map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads a source, and the choice behind it if there is one.
fn sourced(text: &str) -> Result<(Source, Option<Vec<String>>), String> {
    let text = text.trim();
    let (source, rest) = text.split_at(text.find(|c: char| c.is_whitespace()).unwrap_or(text.len()));
    let source = match source.split_once('.') {
        _ if source == "claims" => Source::Claims,
        Some(("param", name)) if !name.is_empty() => Source::Param(Arc::from(name)),
        _ => Source::From(bound_from(source).map_err(|_| {
            format!(
                "`{source}` is no source; there are claims, claims.NAME, header.NAME, context.tenantId, \
                 context.requestId, sqs.messageId and param.NAME"
            )
        })?),
    };
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Ok((source, None));
    }
    let list = rest.strip_prefix("in").and_then(|rest| rest.trim_start().strip_prefix('{'));
    let list = list.ok_or("behind the source belongs `in {a, b}`, if anything")?;
    let (given, behind) = take_choice(list)?;
    if !behind.trim().is_empty() {
        return Err("nothing belongs behind the choice".to_owned());
    }
    let mut choice: Vec<String> = Vec::with_capacity(given.len());
    for given in given {
        // Quotes and words are all that a choice is made of.
        let Given::Text(value) = given else { continue };
        if choice.contains(&value) {
            return Err(format!("the choice has `{value}` twice"));
        }
        choice.push(value);
    }
    Ok((source, Some(choice)))
}

/// A name that is ours to set: the server's own have no dot, and decide how statements run and what they mean.
/// <https://www.postgresql.org/docs/current/runtime-config-custom.html>
fn check_name(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case("role") {
        return Err("the role is said by `-- role:` (LAMBDA_RDS_ROLE)".to_owned());
    }
    let simple = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
    };
    if !name.contains('.') {
        return Err(format!(
            "`{name}` has no dot: settings of one's own do, such as `app.tenant`, and of the server's only \
             `search_path` can be set, with a choice"
        ));
    }
    if !name.split('.').all(simple) {
        return Err(format!(
            "`{name}` is no name of a setting: it is made of letters a to z, digits and _, with dots between, such as \
             `app.tenant`"
        ));
    }
    Ok(())
}

/// # Errors
/// The first value that is not among those known.
fn within<'v>(values: &'v [String], known: &[String]) -> Result<(), &'v String> {
    values.iter().find(|value| !known.contains(value)).map_or(Ok(()), Err)
}

fn names(choice: &[String]) -> String {
    choice.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A name as it stands in a list of names.
fn identifier(name: String) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Who one call is for: what its transaction is told, in values of this call.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Caller {
    settings: Vec<(Arc<str>, Option<String>)>,
    role: Option<String>,
}

impl Caller {
    /// Nobody in particular: the role that the session logged in as, and no setting.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The same with a setting, which has a dot in its name (`app.tenant`) or is `search_path`.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] if the name is none that can be set, [`Fault::BadParameter`] if the value has a U+0000,
    /// which the server takes in no text.
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Result<Self> {
        if !name.eq_ignore_ascii_case(SEARCH_PATH) {
            check_name(name).map_err(|reason| Error::new(Fault::QueryFailed, reason))?;
        }
        let value = storable(name, value.into())?;
        self.settings.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.settings.push((Arc::from(name), Some(value)));
        Ok(self)
    }

    /// The same in this role, which the session's user must be a member of. Choose among names of your own: never
    /// hand through what a caller says.
    ///
    /// # Errors
    /// [`Fault::QueryFailed`] if it can be no role's name.
    pub fn role(mut self, name: &str) -> Result<Self> {
        if name.is_empty() || name == "none" || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(Error::new(Fault::QueryFailed, "this is no role's name"));
        }
        self.role = Some(name.to_owned());
        Ok(self)
    }

    /// Whether nothing is told.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.settings.is_empty() && self.role.is_none()
    }

    /// The statement that makes a transaction this caller's which was another's before: what that one had and this one
    /// has not is as at the session's beginning again. `None` where there is nothing to say.
    ///
    /// The role comes last, since the settings may be such that only the session's own user may change; and that of
    /// the one before goes first.
    #[must_use]
    pub fn statement(&self, before: &Self) -> Option<Statement> {
        let mut said: Vec<(Arc<str>, Option<String>)> = Vec::new();
        if before.role.is_some() {
            said.push((Arc::from(ROLE), None));
        }
        let has = |name: &str| self.settings.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        said.extend(
            before.settings.iter().filter(|(name, _)| !has(name)).map(|(name, _)| (name.clone(), None)),
        );
        said.extend(self.settings.iter().cloned());
        said.extend(self.role.iter().map(|role| (Arc::from(ROLE), Some(role.clone()))));
        if said.is_empty() {
            return None;
        }
        let mut sql = String::from("SELECT ");
        let mut arguments = Vec::with_capacity(2 * said.len());
        let kind = Kind { scalar: Scalar::Text, array: false };
        for (at, (name, value)) in said.into_iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            // To NULL: as the session began, by its user's and its database's settings.
            sql.push_str(&format!("{comma}set_config(${}, ${}, true)", 2 * at + 1, 2 * at + 2));
            let value = value.map_or(Value::Null, Value::Text);
            arguments.push(Argument { name: name.clone(), kind, value: Value::Text((*name).to_owned()) });
            arguments.push(Argument { name, kind, value });
        }
        Some(Statement { sql: sql.into(), arguments })
    }
}

/// The names only: the values are a caller's.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.settings.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Caller").field("settings", &names).field("role", &self.role).finish()
    }
}

impl Query {
    /// What its transaction is told of the caller.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who a call is for.
    ///
    /// # Errors
    /// [`Fault::Unauthenticated`] if a claim is missing, [`Fault::Forbidden`] if a value is outside its choice,
    /// [`Fault::BadParameter`] if a header, the tenant's id or a parameter is missing or no text.
    pub fn caller(&self, params: &Params, origin: &Origin) -> Result<Caller> {
        let mut caller = Caller::default();
        for setting in &self.identity.settings {
            let what = format!("`{}`", setting.name);
            let value = self.said(&setting.source, &what, params, origin)?;
            if let Some(choice) = &setting.choice {
                chosen(&what, &setting.source, value.as_deref(), choice)?;
            }
            caller.settings.push((Arc::clone(&setting.name), value.map(|value| setting.written(value))));
        }
        caller.role = match &self.identity.role {
            None => None,
            Some(Role { source: None, choice }) => choice.first().cloned(),
            Some(Role { source: Some(source), choice }) => {
                let value = self.said(source, "the role", params, origin)?;
                chosen("the role", source, value.as_deref(), choice)?;
                value
            }
        };
        Ok(caller)
    }

    /// The text that a source gives; `None` for a parameter that is NULL.
    fn said(&self, source: &Source, what: &str, params: &Params, origin: &Origin) -> Result<Option<String>> {
        let nobody =
            || Error::new(Fault::Unauthenticated, format!("{what} comes from {source}, which is not there"));
        let claims = origin.claims.as_deref().unwrap_or_default();
        let value = match source {
            Source::Claims if claims.is_empty() => return Err(nobody()),
            Source::Claims => object(claims)?,
            Source::From(BoundFrom::Claim(name)) => {
                let claim = claims.iter().find(|(claim, _)| claim == name).map(|(_, given)| given);
                text(claim.ok_or_else(nobody)?, source)?.ok_or_else(nobody)?
            }
            Source::From(from) => match super::bind::brought(from, origin) {
                Some(Given::Text(value)) => value,
                Some(_) => return Err(bad(format!("{} must be given only once.", spoken(from)))),
                None => return Err(bad(format!("{} is missing, and this query needs it.", spoken(from)))),
            },
            Source::Param(name) => {
                let param = self.params.iter().find(|param| param.name == *name);
                let param =
                    param.ok_or_else(|| Error::new(Fault::Internal, "bug: a parameter is not declared"))?;
                match written(param.value(params, origin, self.dialect)?) {
                    Some(value) => value,
                    None => return Ok(None),
                }
            }
        };
        storable(&source.to_string(), value).map(Some)
    }
}

/// Why a parameter cannot be a source, if it cannot.
pub(super) fn unfit(param: &Param, tool: bool) -> Option<String> {
    if param.kind.array || param.kind.scalar == Scalar::Bytes {
        return Some(format!("`{}` is a {}, and a setting is one text", param.name, param.kind));
    }
    (tool && param.from.is_none()).then(|| {
        format!(
            "`{}` is an argument, which an agent's model writes, and so cannot say whose rows a tool sees: take it from \
             claims, or let the parameter come `from` them",
            param.name
        )
    })
}

/// # Errors
/// [`Fault::Forbidden`]. The value is the caller's and not told.
fn chosen(what: &str, source: &Source, value: Option<&str>, choice: &[String]) -> Result<()> {
    if value.is_some_and(|value| choice.iter().any(|other| other == value)) {
        return Ok(());
    }
    let detail = format!("{what} comes from {source}, whose value is none of {}", names(choice));
    Err(Error::new(Fault::Forbidden, detail))
}

/// A claim as a setting has it: text as it is, anything else as its JSON text. `None` for null.
fn text(given: &Given, source: &Source) -> Result<Option<String>> {
    Ok(match given {
        Given::Json(raw) if raw.get() == "null" => None,
        Given::Json(raw) if raw.get().starts_with('"') => match value::string(raw.get()) {
            Ok(text) => Some(text.into_owned()),
            Err(refusal) => return Err(bad(format!("`{source}` {}.", refusal.reason))),
        },
        Given::Json(raw) => Some(raw.get().to_owned()),
        Given::Text(text) => Some(text.clone()),
        Given::Texts(texts) => Some(serde_json::json!(texts).to_string()),
    })
}

/// All claims as one JSON object, numbers with the digits that they came with.
fn object(claims: &[(String, Given)]) -> Result<String> {
    let mut json = String::from("{");
    for (name, given) in claims {
        if json.len() > 1 {
            json.push(',');
        }
        let value: Cow<'_, str> = match given {
            Given::Json(raw) => raw.get().into(),
            Given::Text(text) => string(text)?.into(),
            Given::Texts(texts) => serde_json::json!(texts).to_string().into(),
        };
        json.push_str(&string(name)?);
        json.push(':');
        json.push_str(&value);
    }
    json.push('}');
    Ok(json)
}

fn string(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|error| Error::new(Fault::Internal, error.to_string()))
}

/// A parameter's value as a setting has it; `None` for NULL.
fn written(value: Value) -> Option<String> {
    let timed = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    Some(match value {
        // The last two cannot be declared as a source.
        Value::Null | Value::Bytes(_) | Value::Array(_) => return None,
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => number.to_string(),
            None if number.is_nan() => "NaN".to_owned(),
            None if number > 0.0 => "Infinity".to_owned(),
            None => "-Infinity".to_owned(),
        },
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) => text,
        Value::Uuid(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        Value::Date(days) => timed(&|out| time::write_date(out, days)),
        Value::Time(micros) => timed(&|out| time::write_time(out, micros)),
        Value::Timestamp(micros) => timed(&|out| time::write_timestamp(out, micros, false)),
        Value::Timestamptz(micros) => timed(&|out| time::write_timestamp(out, micros, true)),
    })
}

/// # Errors
/// For a U+0000, which the server takes in no text.
fn storable(what: &str, value: String) -> Result<String> {
    match value.contains('\0') {
        false => Ok(value),
        true => {
            Err(bad(format!("`{what}` must not contain U+0000, which the database cannot store in text.")))
        }
    }
}

fn spoken(from: &BoundFrom) -> String {
    match from {
        BoundFrom::Header(name) => format!("The header `{name}`"),
        other => format!("`{other}`"),
    }
}

fn bad(message: String) -> Error {
    Error::told(Fault::BadParameter, message)
}

const SEARCH_PATH: &str = "search_path";
const ROLE: &str = "role";
/// Longer ones the server cuts off.
const LONGEST_NAME: usize = 63;

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::config::Engine;
    use crate::queries::{Dialect, Queries};

    fn json(text: &str) -> Given {
        Given::Json(RawValue::from_string(text.to_owned()).unwrap())
    }

    fn function(settings: &str, role: &str) -> Identity {
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let (settings, role) = (settings.to_owned().leak(), role.to_owned().leak());
        let (identity, mistakes) = Identity::parse(some(settings), some(role));
        assert_eq!(mistakes, []);
        identity
    }

    /// A query with these lines, in a function with this identity.
    fn parse(identity: &Identity, lines: &str) -> Result<Queries, String> {
        let text = format!("-- name: q :many\n{lines}\nSELECT 1 AS n");
        Queries::parse_for(&[("q.sql".to_owned(), text)], Engine::Postgres, Dialect::Postgres, identity)
            .map_err(|error| error.to_string())
    }

    fn origin() -> Origin {
        Origin {
            claims: Some(vec![
                ("sub".to_owned(), Given::Text("u\"1'".to_owned())),
                ("tenant".to_owned(), json("7")),
                ("big".to_owned(), json("12345678901234567890.10")),
                ("role".to_owned(), Given::Text("auditor".to_owned())),
                ("schema".to_owned(), Given::Text("Tenant B".to_owned())),
                ("all".to_owned(), json(r#"{"a":[1,true]}"#)),
                ("none".to_owned(), json("null")),
                ("nul".to_owned(), Given::Text("a\0b".to_owned())),
                ("lone".to_owned(), json(r#""\ud800""#)),
            ]),
            request_id: "r-1".to_owned(),
            tenant_id: Some("blue".to_owned()),
            message_id: None,
            headers: vec![
                ("x-tenant".to_owned(), "h".to_owned()),
                ("x-twice".to_owned(), "1".to_owned()),
                ("x-twice".to_owned(), "2".to_owned()),
            ],
            ..Origin::default()
        }
    }

    fn caller(lines: &str, params: &[(&str, &str)], origin: &Origin) -> Result<Caller> {
        let queries = parse(&Identity::default(), lines).unwrap();
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect();
        queries.get("q").unwrap().caller(&Params(params), origin)
    }

    /// What the statement says, `name=value` each.
    fn said(statement: Option<Statement>) -> String {
        let Some(statement) = statement else { return "nothing".to_owned() };
        let texts: Vec<_> = statement
            .arguments
            .iter()
            .map(|argument| match &argument.value {
                Value::Text(text) => text.clone(),
                _ => "NULL".to_owned(),
            })
            .collect();
        assert_eq!(statement.sql.matches("set_config").count(), texts.len() / 2);
        texts.chunks(2).map(|pair| pair.join("=")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_said_comes_from_its_source() {
        let check = |lines: &str, params: &[(&str, &str)], expected: &str| {
            let caller = caller(lines, params, &origin()).unwrap_or_else(|error| panic!("{lines}: {error}"));
            assert_eq!(said(caller.statement(&Caller::nobody())), expected, "{lines}");
        };
        check("-- set: app.tenant = claims.tenant", &[], "app.tenant=7");
        check("-- set:app.sub=claims.sub\n-- role: member", &[], "app.sub=u\"1' role=member");
        check("-- set: app.big = claims.big", &[], "app.big=12345678901234567890.10");
        check("-- set: app.all = claims.all", &[], r#"app.all={"a":[1,true]}"#);
        check("-- set: app.t = context.tenantId in {blue, 'gr een'}", &[], "app.t=blue");
        check("-- set: app.t = header.X-Tenant\n-- set: app.r = context.requestId", &[], "app.t=h app.r=r-1");
        check("-- role: claims.role in {member, auditor}", &[], "role=auditor");
        check("-- role: \"Web User\"", &[], "role=Web User");
        check("-- role: 'a.b'", &[], "role=a.b");
        check("-- role: web-anon", &[], "role=web-anon");
        check("-- set: search_path = claims.schema in {a, 'Tenant B'}", &[], "search_path=\"Tenant B\"");
        check(
            "-- set: app.p = param.p\n-- param: p uuid",
            &[("p", "\"00000000-0000-0000-0000-0000000000AB\"")],
            "app.p=00000000-0000-0000-0000-0000000000ab",
        );
        check("-- set: app.p = param.p\n-- param: p int? = 5", &[], "app.p=5");
        check("-- set: app.p = param.p\n-- param: p int?", &[("p", "null")], "app.p=NULL");
        check(
            "-- set: app.p = param.p\n-- param: p timestamptz",
            &[("p", "\"2026-01-31T13:37:00Z\"")],
            "app.p=2026-01-31T13:37:00Z",
        );
        check("-- set: app.p = param.p\n-- param: p int from claims.tenant", &[], "app.p=7");
        let whole = caller(
            "-- set: request.jwt.claims = claims",
            &[],
            &Origin {
                claims: Some(vec![
                    ("sub".to_owned(), Given::Text("a\"\0".to_owned())),
                    ("n".to_owned(), json("1.00")),
                    ("none".to_owned(), json("null")),
                ]),
                ..Origin::default()
            },
        );
        let expected = r#"request.jwt.claims={"sub":"a\"\u0000","n":1.00,"none":null}"#;
        assert_eq!(said(whole.unwrap().statement(&Caller::nobody())), expected);
    }

    #[test]
    fn who_is_not_let_in() {
        use Fault::{BadParameter, Forbidden, Unauthenticated};
        let check = |lines: &str, params: &[(&str, &str)], fault: Fault| {
            let error = caller(lines, params, &origin()).expect_err(lines);
            assert_eq!(error.fault(), fault, "{lines}: {error}");
            // Nothing that a caller wrote is told to anybody.
            assert!(!error.to_string().contains("auditor") || lines.contains("auditor"), "{error}");
        };
        check("-- set: app.x = claims.missing", &[], Unauthenticated);
        check("-- set: app.x = claims.none", &[], Unauthenticated);
        check("-- role: claims.missing in {a}", &[], Unauthenticated);
        check("-- role: claims.role in {member}", &[], Forbidden);
        check("-- set: search_path = claims.schema in {tenant_a}", &[], Forbidden);
        check("-- set: app.t = claims.tenant in {8, 9}", &[], Forbidden);
        check("-- set: app.p = param.p in {a}\n-- param: p text?", &[("p", "null")], Forbidden);
        check("-- role: param.p in {a}\n-- param: p text?", &[("p", "null")], Forbidden);
        check("-- set: app.x = header.X-None", &[], BadParameter);
        check("-- set: app.x = header.x-twice", &[], BadParameter);
        check("-- set: app.x = sqs.messageId", &[], BadParameter);
        check("-- set: app.x = claims.nul", &[], BadParameter);
        check("-- set: app.x = claims.lone", &[], BadParameter);
        check("-- set: app.p = param.p\n-- param: p int", &[("p", "\"x\"")], BadParameter);
        let nobody = |lines: &str| caller(lines, &[], &Origin::default()).unwrap_err().fault();
        assert_eq!(nobody("-- set: request.jwt.claims = claims"), Unauthenticated);
        assert_eq!(nobody("-- set: app.x = context.tenantId"), BadParameter);
    }

    #[test]
    fn nothing_carries_over() {
        let one = |name: &str| Caller::nobody().setting(name, "1").unwrap();
        let member = one("app.a").role("member").unwrap();
        assert_eq!(said(Caller::nobody().statement(&Caller::nobody())), "nothing");
        assert_eq!(said(Caller::nobody().statement(&member)), "role=NULL app.a=NULL");
        assert_eq!(said(one("APP.A").statement(&member)), "role=NULL APP.A=1");
        assert_eq!(said(member.statement(&one("app.b"))), "app.b=NULL app.a=1 role=member");
        assert_eq!(said(member.statement(&member)), "role=NULL app.a=1 role=member");
        assert!(Caller::nobody().setting("tenant", "1").is_err());
        assert!(Caller::nobody().setting("app.a", "\0").is_err());
        assert!(Caller::nobody().role("none").is_err());
        assert_eq!(format!("{member:?}"), r#"Caller { settings: ["app.a"], role: Some("member") }"#);
    }

    #[test]
    fn a_query_narrows_and_never_drops() {
        let all = function(
            "app.tenant = claims.tenant; search_path = claims.s in {a, 'b;c'}",
            "claims.role in {x, y}",
        );
        let check = |lines: &str, says: Option<&str>| match (parse(&all, lines), says) {
            (Ok(_), None) => {}
            (Err(error), Some(says)) => assert!(error.contains(says), "{lines}: {error}"),
            (outcome, _) => panic!("{lines}: {outcome:?}"),
        };
        check("", None);
        check("-- set: app.more = claims.sub", None);
        check("-- set: APP.tenant = claims.tenant in {a}", None);
        check(
            "-- set: app.tenant = header.X",
            Some("q.sql:2: `app.tenant` comes from claims.tenant for every query"),
        );
        check("-- set: app.tenant = claims.tenants", Some("cannot take it from claims.tenants"));
        check("-- set: search_path = claims.s in {a, z}", Some("is never 'z'"));
        check("-- set: search_path = claims.s in {'b;c'}", None);
        check("-- role: claims.role in {y}", None);
        check("-- role: y", None);
        check("-- role: claims.other in {y}", Some("q.sql:2: the role comes from claims.role"));
        check("-- role: z", Some("no query runs as `z`"));
        check("-- http: GET\n-- cache: 5s", Some("q.sql:3: the reply depends on who calls"));
        check("-- write\n-- transaction: none", Some("q.sql:1: a setting and a role last as long"));

        let queries = parse(&all, "-- role: y").unwrap();
        let role = queries.get("q").unwrap().identity().role().unwrap();
        // It is still the caller who must have it.
        assert_eq!(
            (role.source().map(ToString::to_string).as_deref(), role.choice()),
            (Some("claims.role"), &["y".to_owned()][..])
        );
        let fixed = function("", "member");
        assert!(
            parse(&fixed, "-- role: member").is_ok()
                && parse(&fixed, "-- role: claims.role in {member}").is_ok()
        );
        assert!(parse(&fixed, "-- role: admin").is_err());
        let of_param = function("app.p = param.p", "");
        assert!(parse(&of_param, "").unwrap_err().contains("q.sql:1: `param.p` is not declared"));
        assert!(parse(&of_param, "-- param: p int").is_ok());
    }

    #[test]
    fn mistakes() {
        let none = Identity::default();
        for (lines, says) in [
            ("-- set:", "takes a name and its source"),
            ("-- set: tenant = claims.t", "`tenant` has no dot"),
            ("-- set: statement_timeout = claims.t", "has no dot"),
            ("-- set: role = claims.role in {a}", "`-- role:`"),
            ("-- set: app. = claims.t", "no name of a setting"),
            ("-- set: app.a-b = claims.t", "no name of a setting"),
            ("-- set: app.\"x = claims.t", "no name of a setting"),
            ("-- set: search_path = claims.t", "needs its choice in braces"),
            ("-- set: app.t = claim.t", "`claim.t` is no source; there are claims, claims.NAME"),
            ("-- set: app.t = ", "is no source"),
            ("-- set: app.t = claims.t in", "behind the source belongs"),
            ("-- set: app.t = claims.t in {a} x", "nothing belongs behind the choice"),
            ("-- set: app.t = claims.t in {a, a}", "twice"),
            ("-- set: app.t = claims.t in {}", "nothing in it"),
            ("-- set: app.t = claims.t\n-- set: App.T = claims.t", "q.sql:3: `App.T` is set twice"),
            ("-- role:", "is no source"),
            ("-- role: none", "`none` is no role"),
            ("-- role: claims.role in {a, none}", "`none` is no role"),
            ("-- role: claims.role", "needs its choice in braces"),
            ("-- role: a b", "is no source"),
            ("-- role: a\n-- role: b", "said twice"),
            ("-- Role: a", "did you mean `-- role:`?"),
            ("-- roles: a", "did you mean `-- role:`?"),
            ("-- Set: app.t = claims.t", "did you mean `-- set:`?"),
            ("-- sets: app.t = claims.t", "did you mean `-- set:`?"),
            ("-- set app.t = claims.t", "did you mean `-- set:`?"),
            ("-- role member", "did you mean `-- role:`?"),
            ("-- set: app.p = param.p", "q.sql:2: `param.p` is not declared"),
            ("-- set: app.p = param.p\n-- param: p int[]", "a setting is one text"),
            ("-- About it.\n-- tool: T\n-- set: app.p = param.p\n-- param: p int", "an agent's model writes"),
            ("-- http: GET\n-- cache: 5s\n-- role: a", "q.sql:3: the reply depends on who calls"),
            ("-- write\n-- transaction: none\n-- role: a", "q.sql:4: a setting and a role last"),
        ] {
            let error = parse(&none, lines).expect_err(lines);
            assert!(error.contains(says) && error.lines().count() == 1, "{lines}: {error}");
        }
        for prose in [
            "-- rule: first come",
            "-- see: a = b",
            "-- set of rows: a",
            "-- Set: the rows",
            "-- role of x",
            "-- let: x",
        ] {
            assert!(parse(&none, prose).is_ok(), "{prose}");
        }
        for (engine, dialect) in [(Engine::Mysql, Dialect::Mysql), (Engine::Sqlite, Dialect::Sqlite)] {
            let text = "-- name: q :one\n-- set: a.b = claims.x\nSELECT 1".to_owned();
            let error =
                Queries::parse(&[("q.sql".to_owned(), text)], engine, dialect).unwrap_err().to_string();
            assert!(error.starts_with("q.sql:2: ") && error.contains("`from claims.NAME`"), "{error}");
        }
        let (_, mistakes) = Identity::parse(Some("a = claims.b; a.b = claims.c"), Some("claims.role"));
        assert_eq!(mistakes.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [Part::Settings, Part::Role]);
    }
}
