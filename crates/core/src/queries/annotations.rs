//! The head of an entry: the comment lines between `-- name:` and the SQL.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::bounds::{Bounds, Choice};
use super::identity::{Identity, Role, Setting};
use super::page::{self, OrderColumn};
use super::{BoundFrom, HttpMethods, Idempotency, KeyFrom, Param, Verb};
use crate::backend::Access;
use crate::value::{Given, Kind, Refusal, Scalar, Value};

/// The lines of one entry's head, read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) verb: Verb,
    pub(super) access: Access,
    pub(super) http: Option<HttpMethods>,
    /// The title, where it is a tool for agents.
    pub(super) tool: Option<String>,
    /// With the line of each.
    pub(super) params: Vec<(Param, usize)>,
    pub(super) timeout: Option<Duration>,
    pub(super) max_rows: Option<u64>,
    pub(super) transaction: bool,
    /// The order of its pages, with the line, and the parameter that says how many rows one has.
    pub(super) page: Option<(Vec<OrderColumn>, usize, Param)>,
    /// With the line that says it.
    pub(super) cache: Option<(Duration, usize)>,
    pub(super) identity: Identity,
    /// The lines of its settings and of its role.
    pub(super) identity_lines: (Vec<usize>, Option<usize>),
    /// With its line.
    pub(super) idempotency: Option<(Idempotency, usize)>,
    pub(super) description: String,
}

/// A mistake and its line.
pub(super) type Mistake = (usize, String);

/// One comment line, as far as its form tells.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `key: value` with a key of ours; `read` and `write` have no value.
    Annotation(&'a str, &'a str),
    /// Nearly a key of ours, which this one is.
    Misspelled(&'a str, &'static str),
    Prose(&'a str),
}

/// What a line of the head can begin with.
const KEYS: [&str; 16] = [
    "name",
    "http",
    "tool",
    "param",
    "read",
    "write",
    "timeout",
    "max_rows",
    "page",
    "page_size",
    "transaction",
    "engine",
    "cache",
    "idempotency_key",
    "set",
    "role",
];

/// What a `-- name:` line says after the colon, if the line is one.
pub(super) fn name_line(line: &str) -> Option<&str> {
    let (key, value) = line.trim_start().strip_prefix("--")?.split_once(':')?;
    (key.trim() == "name").then(|| value.trim())
}

/// Whether a comment inside the SQL is an annotation that has lost its way.
pub(super) fn is_annotation(comment: &str) -> bool {
    let Some(comment) = comment.strip_prefix("--") else { return false };
    matches!(classify(comment), Line::Annotation(key, value) if !value.is_empty() && key != "read" && key != "write")
}

/// A comment before the first entry that seems to be meant as the beginning of one.
pub(super) fn misspelled(line: &str) -> Option<String> {
    match classify(line.trim_start().strip_prefix("--")?) {
        Line::Annotation(key, _) => Some(format!("`-- {key}:` stands before the first `-- name:` line")),
        Line::Misspelled(word, key) => Some(unknown(word, key)),
        Line::Prose(_) => None,
    }
}

/// The engines that an entry is limited to, as its `-- engine:` lines have them: the words and the line.
pub(super) fn engines<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> impl Iterator<Item = (usize, Vec<&'a str>)> {
    lines.filter_map(|(number, line)| match classify(line.trim_start().strip_prefix("--")?) {
        Line::Annotation("engine", value) => Some((number, value.split(',').map(str::trim).collect())),
        _ => None,
    })
}

impl Head {
    /// Reads the `-- name:` line's value, and the lines below it: each a comment or blank. `routine` is what the SQL runs
    /// that is no query ([`routine`](super::routine::routine)).
    ///
    /// # Errors
    /// Every mistake; beside them what could be read, so that the SQL is judged all the same. Nothing if there
    /// is not even a name and a verb.
    pub(super) fn parse<'a>(
        name: (usize, &str),
        lines: impl Iterator<Item = (usize, &'a str)>,
        routine: Option<&'static str>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let named = parse_name(name.1).map_err(|reason| mistakes.push((name.0, reason))).ok();
        let mut reader = Reader { routine, ..Reader::default() };
        for (number, line) in lines {
            let comment = line.trim().strip_prefix("--").unwrap_or_default();
            match classify(comment) {
                Line::Prose(text) => reader.prose.push(text),
                Line::Misspelled(word, key) => mistakes.push((number, unknown(word, key))),
                Line::Annotation(key, value) => {
                    if let Err(reason) = reader.annotation(key, value, number) {
                        mistakes.push((number, reason));
                    }
                }
            }
        }
        let (name, verb) = named?;
        Some(reader.finish(name, verb, mistakes))
    }
}

/// What the lines read so far have said, each with its line.
#[derive(Default)]
struct Reader<'a> {
    routine: Option<&'static str>,
    http: Option<(HttpMethods, usize)>,
    tool: Option<(String, usize)>,
    access: Option<Access>,
    params: Vec<(Param, usize)>,
    timeout: Option<Duration>,
    max_rows: Option<(u64, usize)>,
    no_transaction: Option<usize>,
    engine: bool,
    cache: Option<(Duration, usize)>,
    page: Option<(Vec<OrderColumn>, usize)>,
    page_size: Option<(Param, usize)>,
    idempotency: Option<(Idempotency, usize)>,
    identity: Identity,
    identity_lines: (Vec<usize>, Option<usize>),
    prose: Vec<&'a str>,
}

impl Reader<'_> {
    fn annotation(&mut self, key: &str, value: &str, line: usize) -> Result<(), String> {
        match key {
            "http" => once(key, &mut self.http, || Ok((http(value)?, line))),
            "tool" => once(key, &mut self.tool, || match value {
                "" => Err("behind `-- tool:` belongs its title for people, such as `-- tool: Open orders`"
                    .to_owned()),
                title => Ok((title.to_owned(), line)),
            }),
            "read" | "write" => {
                if !value.is_empty() {
                    return Err(format!("`-- {key}` stands alone, without a value"));
                }
                if let (Some(word), "read") = (self.routine, key) {
                    return Err(format!(
                        "`-- read` cannot be said of {word}: what it runs may begin transactions of its own, and write"
                    ));
                }
                let access = if key == "read" { Access::Read } else { Access::Write };
                match self.access.replace(access) {
                    None => Ok(()),
                    Some(_) => Err("`-- read` or `-- write` is said once".to_owned()),
                }
            }
            "param" => self.param(value, line),
            "timeout" => once(key, &mut self.timeout, || duration(key, value)),
            "max_rows" => once(key, &mut self.max_rows, || match value.parse() {
                Ok(rows) if rows > 0 => Ok((rows, line)),
                _ => Err("`-- max_rows:` takes a whole number from 1, such as 1000".to_owned()),
            }),
            "page" => once(key, &mut self.page, || Ok((page::parse_order(value)?, line))),
            "page_size" => once(key, &mut self.page_size, || Ok((page_size(value)?, line))),
            "transaction" => once(key, &mut self.no_transaction, || match value {
                "none" => Ok(line),
                _ => Err("`-- transaction:` takes only `none`; without it a write has one".to_owned()),
            }),
            "cache" => once(key, &mut self.cache, || {
                let span = duration(key, value)?;
                if span.subsec_nanos() > 0 {
                    return Err("`-- cache:` takes whole seconds, as HTTP does".to_owned());
                }
                Ok((span, line))
            }),
            "idempotency_key" => once(key, &mut self.idempotency, || Ok((idempotency(value)?, line))),
            "set" => {
                self.identity.set(Setting::parse(value)?)?;
                self.identity_lines.0.push(line);
                Ok(())
            }
            "role" => {
                self.identity.assume(Role::parse(value)?)?;
                self.identity_lines.1 = Some(line);
                Ok(())
            }
            // Its value was read when the entry was chosen, see `engines`.
            "engine" if !self.engine => {
                self.engine = true;
                Ok(())
            }
            "engine" => Err("`-- engine:` is said once; several go in one line, with commas".to_owned()),
            // A `-- name:` line begins the next entry and never comes here.
            _ => Ok(()),
        }
    }

    fn param(&mut self, value: &str, line: usize) -> Result<(), String> {
        let (name, rest) = value.split_at(value.find(char::is_whitespace).unwrap_or(value.len()));
        if !is_name(name) {
            return Err("`-- param:` takes a name, of letters a to z, digits and _, and a type: \
                        `-- param: limit int = 50 in 1..=500`"
                .to_owned());
        }
        if let Some((_, first)) = self.params.iter().find(|(param, _)| &*param.name == name) {
            return Err(format!("`{name}` is already declared in line {first}"));
        }
        let mut param = Param {
            name: Arc::from(name),
            kind: Kind { scalar: Scalar::Text, array: false },
            nullable: false,
            default: None,
            bounds: None,
            choice: None,
            from: None,
            description: Arc::from(""),
            beside: false,
        };
        let result = parse_param(&mut param, rest).map_err(|reason| format!("`{name}`: {reason}"));
        // Even a broken one is declared, so that its uses are not reported as well.
        self.params.push((param, line));
        result
    }

    /// Puts together what belongs together, and finds what does not.
    fn finish(self, name: String, verb: Verb, mistakes: &mut Vec<Mistake>) -> Head {
        let access = self.access.unwrap_or(match (verb, self.routine) {
            (Verb::Many | Verb::One, None) => Access::Read,
            (Verb::Exec, _) | (_, Some(_)) => Access::Write,
        });
        if let Some((methods, line)) = self.http
            && methods.get
            && access == Access::Write
        {
            let reason = match self.routine {
                None => {
                    "GET is for reads, and this query writes: say `-- http: POST`, or `-- read`".to_owned()
                }
                Some(word) => format!("GET is for reads, and {word} counts as a write: say `-- http: POST`"),
            };
            mistakes.push((line, reason));
        }
        if let Some((_, line)) = self.max_rows
            && verb != Verb::Many
        {
            mistakes.push((line, "`-- max_rows:` is for `:many`".to_owned()));
        }
        if let Some(line) = self.no_transaction
            && access == Access::Read
        {
            mistakes
                .push((line, "`-- transaction: none` is for writes; a read has no transaction".to_owned()));
        }
        if let Some((_, line)) = self.cache {
            let from = self.params.iter().find(|(param, _)| param.from.is_some());
            if access == Access::Write || !self.http.is_some_and(|(methods, _)| methods.get) {
                mistakes.push((line, "`-- cache:` is for a read with `-- http: GET`".to_owned()));
            } else if let Some((Param { name, from: Some(from), .. }, _)) = from {
                let reason = format!(
                    "the reply depends on more than its URL, on `{name}` from {from}, so a cache would give it \
                     to others: drop `-- cache:`"
                );
                mistakes.push((line, reason));
            }
        }
        if let Some((_, line)) = &self.page {
            let mut mistake = |reason: &str| mistakes.push((*line, reason.to_owned()));
            if verb != Verb::Many {
                mistake("`-- page:` is for `:many`");
            } else if access == Access::Write {
                mistake("`-- page:` is for a read: a write would be done again for each page");
            }
            if self.max_rows.is_some() {
                mistake(
                    "`-- max_rows:` and `-- page:` do not go together: `-- page_size:` says how many rows there are",
                );
            }
            for (param, line) in &self.params {
                if matches!(&*param.name, "page" | "page_size") {
                    let reason = format!(
                        "`{}` is a parameter that pages have anyway: take it away, or give yours another name",
                        param.name
                    );
                    mistakes.push((*line, reason));
                }
            }
        } else if let Some((_, line)) = &self.page_size {
            mistakes.push((*line, "`-- page_size:` goes with `-- page:`, which names the order".to_owned()));
        }
        let page = self.page.and_then(|(order, line)| {
            let size = self.page_size.map(|(size, _)| size).or_else(|| page_size("100").ok())?;
            Some((order, line, size))
        });
        if let Some((Idempotency { from, .. }, line)) = &self.idempotency {
            if access == Access::Read {
                let reason = "`-- idempotency_key:` is for writes; a read may be sent as often as one likes";
                mistakes.push((*line, reason.to_owned()));
            } else if self.no_transaction.is_some() {
                let reason = "`-- idempotency_key:` needs the write's transaction, in which the key is kept: drop \
                              `-- transaction: none`";
                mistakes.push((*line, reason.to_owned()));
            }
            if let KeyFrom::Param(name) = from
                && !self.params.iter().any(|(param, _)| *param.name == **name)
            {
                let reason = format!("`{name}` is not declared; add `-- param: {name} text`");
                mistakes.push((*line, reason));
            }
        }
        let description = self.prose.join("\n").trim().to_owned();
        if let Some((_, line)) = self.tool
            && description.is_empty()
        {
            let reason = "a tool needs a description, by which agents choose it: comment lines of its own below \
                          `-- name:` that say what it gives and when to use it";
            mistakes.push((line, reason.to_owned()));
        }
        Head {
            name,
            verb,
            access,
            http: self.http.map(|(methods, _)| methods),
            tool: self.tool.map(|(title, _)| title),
            params: self.params,
            timeout: self.timeout,
            max_rows: self.max_rows.map(|(rows, _)| rows),
            transaction: self.no_transaction.is_none(),
            page,
            cache: self.cache,
            identity: self.identity,
            identity_lines: self.identity_lines,
            idempotency: self.idempotency,
            description,
        }
    }
}

/// The parameter that says how many rows a page has, as its line has it: `100 in 1..=1000`.
fn page_size(value: &str) -> Result<Param, String> {
    const FORM: &str = "`-- page_size:` takes a number of rows and how many a caller may ask for, from 1 to 10000: \
                        `-- page_size: 100 in 1..=1000`";
    let mut param = page::parameter(Kind { scalar: Scalar::Int, array: false });
    param.name = Arc::from("page_size");
    let bounded = match value.parse::<u32>() {
        Ok(rows) => format!("{rows} in 1..={}", rows.max(1000)),
        Err(_) => value.to_owned(),
    };
    parse_param(&mut param, &format!("int = {bounded}")).map_err(|_| FORM)?;
    // A number that is no count of rows has got no bounds above.
    let holds = |rows| param.bounds.as_ref().is_none_or(|bounds| bounds.contain(&Value::Int(rows)));
    if param.choice.is_some() || param.from.is_some() || holds(0) || holds(10_001) {
        return Err(FORM.to_owned());
    }
    if param.description.is_empty() {
        param.description = Arc::from("how many rows a page has at most");
    }
    Ok(param)
}

/// Sets what may be said once.
fn once<T>(key: &str, slot: &mut Option<T>, value: impl FnOnce() -> Result<T, String>) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("`-- {key}:` is said twice"));
    }
    *slot = Some(value()?);
    Ok(())
}

/// What stands behind the dashes. Prose may have colons: only one word before the first colon makes a line look
/// like an annotation, and only a word that is nearly ours makes it a mistake.
fn classify(comment: &str) -> Line<'_> {
    let text = comment.trim();
    if text == "read" || text == "write" {
        return Line::Annotation(text, "");
    }
    let Some((word, value)) = text.split_once(':') else { return without_colon(text) };
    let (word, value) = (word.trim_end(), value.trim());
    // An address: "http://…" is no annotation.
    if value.starts_with("//") {
        return Line::Prose(text);
    }
    if KEYS.contains(&word) {
        // `-- read:` with nothing behind it would otherwise count as `-- read`.
        let alone = matches!(word, "read" | "write") && value.is_empty();
        return Line::Annotation(word, if alone { ":" } else { value });
    }
    let looks_like_a_key = word.len() <= 16
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-');
    // `read` and `write` have no colon, so before one they are prose; and so are "Names: …".
    let meant = |key: &&str| match *key {
        "read" | "write" => false,
        "name" => value.contains(" :"),
        // `age:`, `use:`.
        "page" => word.len() > 3,
        "set" => Setting::parse(value).is_ok(),
        "role" => Role::parse(value).is_ok(),
        _ => true,
    };
    let shouted = |key: &&str| meant(key) && word.eq_ignore_ascii_case(key);
    let near = |key: &&str| {
        // Prose begins with `note:`, `date:`, `case:`; short words are near each other by chance.
        let slips = if key.len() < 5 || word.len() < 5 { 1 } else { 2 };
        looks_like_a_key && meant(key) && distance(word, key) <= slips
    };
    match KEYS.into_iter().find(shouted).or_else(|| KEYS.into_iter().find(near)) {
        Some(key) => Line::Misspelled(word, key),
        None => Line::Prose(text),
    }
}

/// Prose; but a line that says who a query is for, and has lost its colon, must not be taken for that.
fn without_colon(text: &str) -> Line<'_> {
    let mut words = text.split_whitespace();
    let (first, second, behind) = (words.next(), words.next().unwrap_or_default(), words.next());
    match first {
        Some(word @ "set") if second.contains('.') && text.contains('=') => Line::Misspelled(word, "set"),
        Some(word @ "role") if Role::parse(second).is_ok() && behind.is_none() => {
            Line::Misspelled(word, "role")
        }
        _ => Line::Prose(text),
    }
}

fn unknown(word: &str, key: &str) -> String {
    format!("`-- {word}:` is unknown; did you mean `-- {key}:`?")
}

/// How many letters to insert, drop, change, or swap with their neighbour, to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = (last[j] + usize::from(a[i] != b[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

fn parse_name(value: &str) -> Result<(String, Verb), String> {
    let mut words = value.split_whitespace();
    let (name, verb) = (words.next().unwrap_or_default(), words.next());
    if !is_name(name) {
        return Err(
            "`-- name:` takes a name of letters a to z, digits and _, not beginning with a digit".to_owned()
        );
    }
    let verb = match verb {
        Some(":many") => Verb::Many,
        Some(":one") => Verb::One,
        Some(":exec") => Verb::Exec,
        Some(other) if other.starts_with(":exec") => {
            return Err(format!("`{other}` is unknown; `:exec` gives the number of rows affected"));
        }
        _ => return Err(format!("behind the name `{name}` belongs `:many`, `:one` or `:exec`")),
    };
    match words.next() {
        None => Ok((name.to_owned(), verb)),
        Some(_) => Err(format!("nothing belongs behind the verb in the `-- name: {name}` line")),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn http(value: &str) -> Result<HttpMethods, String> {
    let mut methods = HttpMethods { get: false, post: false };
    for method in value.split(',').map(str::trim) {
        let seen = match method {
            _ if method.eq_ignore_ascii_case("GET") => &mut methods.get,
            _ if method.eq_ignore_ascii_case("POST") => &mut methods.post,
            _ => return Err("`-- http:` takes `GET` (HEAD included), `POST`, or `GET, POST`".to_owned()),
        };
        if std::mem::replace(seen, true) {
            return Err(format!("`-- http:` has {} twice", method.to_ascii_uppercase()));
        }
    }
    Ok(methods)
}

fn duration(key: &str, value: &str) -> Result<Duration, String> {
    match humantime::parse_duration(value) {
        // Servers count milliseconds, and to them 0 means no limit.
        Ok(span) if span.as_millis() > 0 => Ok(span),
        _ => Err(format!("`-- {key}:` takes a duration such as 500ms, 30s or 1m")),
    }
}

/// Reads `header.Idempotency-Key? for 24h`.
fn idempotency(value: &str) -> Result<Idempotency, String> {
    const FORM: &str = "`-- idempotency_key:` takes header.NAME, sqs.messageId, context.requestId or param.NAME, with `?` \
                        behind it if it may be missing, and for how long it is kept: \
                        `-- idempotency_key: header.Idempotency-Key for 24h`";
    let mut words = value.split_whitespace();
    let source = words.next().ok_or(FORM)?;
    let (source, optional) = match source.strip_suffix('?') {
        Some(source) => (source, true),
        None => (source, false),
    };
    let token = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let from = match source.split_once('.') {
        Some(("header", name)) if token(name) => KeyFrom::Header(name.to_ascii_lowercase()),
        Some(("sqs", "messageId")) => KeyFrom::MessageId,
        Some(("context", "requestId")) => KeyFrom::RequestId,
        Some(("param", name)) if is_name(name) => KeyFrom::Param(name.to_owned()),
        _ => return Err(FORM.to_owned()),
    };
    let keep = match (words.next(), words.next()) {
        (None, _) => Duration::from_secs(24 * 3600),
        (Some("for"), Some(span)) => match humantime::parse_duration(span) {
            Ok(span) if span.as_secs() > 0 && span.subsec_nanos() == 0 && span <= LONGEST_KEPT => span,
            _ => return Err("a key is kept for whole seconds, up to 366 days: `for 24h`".to_owned()),
        },
        _ => return Err(FORM.to_owned()),
    };
    match words.next() {
        None => Ok(Idempotency { from, optional, keep }),
        Some(_) => Err(FORM.to_owned()),
    }
}

const LONGEST_KEPT: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads what stands behind the parameter's name.
fn parse_param(param: &mut Param, text: &str) -> Result<(), String> {
    let text = text.trim();
    let (kind, mut rest) =
        text.split_at(text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len()));
    let (kind, nullable) = match kind.strip_suffix('?') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    param.kind = Kind::from_name(kind).ok_or_else(|| unknown_type(kind))?;
    param.nullable = nullable;

    // The default is judged last, since bounds may follow it.
    let mut default = None;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        if let Some(value) = rest.strip_prefix('=') {
            refuse_second(default.is_some(), "default")?;
            let (value, behind) = take_default(value.trim_start())?;
            default = Some(value);
            rest = behind;
            continue;
        }
        if let Some(text) = rest.strip_prefix("--") {
            param.description = match text.trim() {
                "" => return Err("behind `--` belongs what the parameter means".to_owned()),
                text => Arc::from(text),
            };
            break;
        }
        let (word, behind) = split_word(rest);
        // A choice may follow at once: `in{1, 2}`.
        let (word, behind) = match word.find('{') {
            Some(at) => rest.split_at(at),
            None => (word, behind),
        };
        match word {
            "in" => {
                refuse_second(param.bounds.is_some() || param.choice.is_some(), "`in`")?;
                if let Some(list) = behind.trim_start().strip_prefix('{') {
                    let (given, behind) = take_choice(list)?;
                    param.choice = Some(Choice::parse(given, param.kind)?);
                    rest = behind;
                } else {
                    let end = end_of_range(behind);
                    param.bounds = Some(Bounds::parse(behind[..end].trim(), param.kind)?);
                    rest = &behind[end..];
                }
            }
            "from" => {
                refuse_second(param.from.is_some(), "source")?;
                let (source, behind) = split_word(behind.trim_start());
                param.from = Some(bound_from(source)?);
                rest = behind;
            }
            _ => {
                return Err(
                    "behind the type belong `= default`, `in a..=b` or `in {a, b}`, `from source` and `-- \
                     description`, each if wanted"
                        .to_owned(),
                );
            }
        }
    }
    if let Some(default) = default {
        if let Some(BoundFrom::Claim(_)) = &param.from {
            return Err("what comes from claims has no default: a caller without it is not let in".to_owned());
        }
        param.default = Some(check_default(param, &default)?);
    }
    Ok(())
}

fn refuse_second(second: bool, what: &str) -> Result<(), String> {
    if second { Err(format!("has a second {what}")) } else { Ok(()) }
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Where a range ends: before what may follow it.
fn end_of_range(text: &str) -> usize {
    let mut at = 0;
    while let Some(space) = text[at..].find(char::is_whitespace) {
        at += space;
        let rest = text[at..].trim_start();
        if rest.starts_with('=') || rest.starts_with("--") || matches!(split_word(rest).0, "from" | "in") {
            return at;
        }
        at = text.len() - rest.len();
    }
    text.len()
}

/// A default as it is written: a word, or with quotes or brackets around it.
fn take_default(text: &str) -> Result<(Given, &str), String> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => take_quoted(text).ok_or("the quote of the default is never closed")?,
        Some('"' | '[' | '{') => {
            let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
            let Some(Ok(value)) = values.next() else {
                return Err("the default begins like JSON and is none; text goes in single quotes".to_owned());
            };
            (Given::Json(value.to_owned()), &text[values.byte_offset()..])
        }
        Some(_) => {
            let (word, rest) = split_word(text);
            let value = match word {
                "null" => Given::Json(RawValue::NULL.to_owned()),
                _ => Given::Text(word.to_owned()),
            };
            (value, rest)
        }
        None => return Err("behind `=` belongs the default".to_owned()),
    };
    if rest.starts_with(|c: char| !c.is_whitespace()) {
        return Err("something stands directly behind the default".to_owned());
    }
    Ok((value, rest))
}

/// The values of a choice, and what stands behind the brace that closes it.
pub(super) fn take_choice(list: &str) -> Result<(Vec<Given>, &str), String> {
    const UNENDED: &str = "the choice is never closed: `in {'open', 'closed'}`";
    let mut given = Vec::new();
    let mut rest = list.trim_start();
    if rest.starts_with('}') {
        return Err("the choice has nothing in it".to_owned());
    }
    loop {
        let (value, behind) = match rest.chars().next() {
            Some('\'') => take_quoted(rest).ok_or("a quote in the choice is never closed")?,
            Some(',' | '}') => return Err("a value is missing between the commas of the choice".to_owned()),
            Some(_) => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '}')).ok_or(UNENDED)?;
                (Given::Text(rest[..end].to_owned()), &rest[end..])
            }
            None => return Err(UNENDED.to_owned()),
        };
        given.push(value);
        let behind = behind.trim_start();
        rest = match behind.chars().next() {
            Some(',') => behind[1..].trim_start(),
            Some('}') => return Ok((given, &behind[1..])),
            Some(_) => return Err("the values of a choice are parted by commas".to_owned()),
            None => return Err(UNENDED.to_owned()),
        };
    }
}

/// The text in the quotes at the beginning, and what stands behind them.
fn take_quoted(text: &str) -> Option<(Given, &str)> {
    let end = end_of_quote(text)?;
    Some((Given::Text(text[1..end - 1].replace("''", "'")), &text[end..]))
}

/// Behind the quote that closes the one at the beginning; a quote inside is written twice.
fn end_of_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        at += text.get(at..)?.find('\'')? + 1;
        if bytes.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1;
    }
}

fn check_default(param: &Param, default: &Given) -> Result<Value, String> {
    if param.kind.array && matches!(default, Given::Text(_)) {
        return Err("the default of an array is written as JSON, such as [1, 2]".to_owned());
    }
    let value = param.kind.read(default).map_err(|Refusal { reason, element }| match element {
        None => format!("the default {reason}"),
        Some(index) => format!("the default's element at index {index} {reason}"),
    })?;
    if matches!(value, Value::Null) && !param.nullable {
        return Err(format!(
            "the default is null, so the type must be nullable: `{}?`; the text is written 'null'",
            param.kind
        ));
    }
    match param.misfit(&value) {
        Some(reason) => Err(format!("the default {reason}")),
        None => Ok(value),
    }
}

fn unknown_type(name: &str) -> String {
    if name.is_empty() {
        return format!("needs a type: {}", type_names());
    }
    let (element, array) = match name.strip_suffix("[]") {
        Some(element) => (element, "[]"),
        None => (name, ""),
    };
    let ours = match element.to_ascii_lowercase().as_str() {
        "boolean" => "bool",
        "integer" | "int2" | "int4" | "int8" | "smallint" | "bigint" | "long" | "i64" => "int",
        "double" | "real" | "float4" | "float8" | "f64" => "float",
        "numeric" | "number" | "money" => "decimal",
        "string" | "str" | "varchar" | "char" | "citext" => "text",
        "guid" => "uuid",
        "datetime" => "timestamp",
        "instant" => "timestamptz",
        "jsonb" | "object" => "json",
        "bytea" | "blob" | "binary" => "bytes",
        other => Scalar::ALL
            .into_iter()
            .find(|scalar| distance(other, scalar.name()) <= 1)
            .map_or("", Scalar::name),
    };
    if ours.is_empty() {
        format!("`{name}` is no type; there are {}, each also with []", type_names())
    } else {
        format!("`{name}` is no type; did you mean `{ours}{array}`?")
    }
}

fn type_names() -> String {
    Scalar::ALL.map(Scalar::name).join(" ")
}

pub(super) fn bound_from(source: &str) -> Result<BoundFrom, String> {
    let (place, path) = source.split_once('.').unwrap_or((source, ""));
    match (place, path) {
        ("claims", path) if !path.is_empty() => Ok(BoundFrom::Claim(path.to_owned())),
        ("header", name) if !name.is_empty() => Ok(BoundFrom::Header(name.to_ascii_lowercase())),
        ("context", "requestId") => Ok(BoundFrom::RequestId),
        ("context", "tenantId") => Ok(BoundFrom::TenantId),
        ("sqs", "messageId") => Ok(BoundFrom::MessageId),
        _ => Err("behind `from` belongs claims.NAME, header.NAME, context.requestId, context.tenantId or \
                 sqs.messageId"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a head of these lines; line 1 is the `-- name:` line.
    fn head(name: &str, lines: &[&str]) -> Result<Head, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let lines = lines.iter().enumerate().map(|(at, &line)| (at + 2, line));
        let head = Head::parse((1, name), lines, None, &mut mistakes);
        if mistakes.is_empty() { Ok(head.unwrap()) } else { Err(mistakes) }
    }

    fn param(text: &str) -> Result<Param, String> {
        let mut head = head("q :one", &[&format!("-- param: {text}")]).map_err(|mut all| all.remove(0).1)?;
        Ok(head.params.remove(0).0)
    }

    #[test]
    fn everything_at_once() {
        let head = head(
            "active_users :many",
            &[
                "-- http: GET, post",
                "  --timeout:2s",
                "--",
                "-- Users who are active: lowest id first.",
                "-- See https://example.com/a:b.",
                "",
                "-- max_rows : 1000",
                "-- cache: 1m",
                "-- read",
                "-- engine: mysql",
                "-- param: a bool",
            ],
        )
        .unwrap();
        assert_eq!((head.name.as_str(), head.verb, head.access), ("active_users", Verb::Many, Access::Read));
        assert_eq!(head.http, Some(HttpMethods { get: true, post: true }));
        assert_eq!(head.timeout, Some(Duration::from_secs(2)));
        assert_eq!(head.cache, Some((Duration::from_secs(60), 9)));
        assert_eq!(head.max_rows, Some(1000));
        assert!(head.transaction);
        assert_eq!(head.description, "Users who are active: lowest id first.\nSee https://example.com/a:b.");
        assert_eq!(head.params.len(), 1);
    }

    #[test]
    fn read_or_write() {
        for (name, lines, access) in [
            ("a :many", vec![], Access::Read),
            ("a :one", vec![], Access::Read),
            ("a :exec", vec![], Access::Write),
            ("a :many", vec!["-- write"], Access::Write),
            ("a :exec", vec!["-- read"], Access::Read),
            ("a :many", vec!["-- write down what the users said"], Access::Read),
        ] {
            assert_eq!(head(name, &lines).unwrap().access, access, "{name} {lines:?}");
        }
        assert!(!head("a :exec", &["-- transaction: none"]).unwrap().transaction);
    }

    #[test]
    fn mistakes() {
        for (name, lines, line, says) in [
            ("", vec![], 1, "takes a name"),
            ("1a :one", vec![], 1, "takes a name"),
            ("a-b :one", vec![], 1, "takes a name"),
            ("a", vec![], 1, "behind the name `a` belongs `:many`"),
            ("a one", vec![], 1, "behind the name `a` belongs `:many`"),
            ("a :execrows", vec![], 1, "`:exec` gives the number of rows"),
            ("a :one x", vec![], 1, "nothing belongs behind"),
            ("a :one", vec!["-- x", "-- tiemout: 2s"], 3, "did you mean `-- timeout:`?"),
            ("a :one", vec!["-- params: x int"], 2, "did you mean `-- param:`?"),
            ("a :one", vec!["-- HTTP: GET"], 2, "did you mean `-- http:`?"),
            ("a :one", vec!["-- max-rows: 5"], 2, "did you mean `-- max_rows:`?"),
            ("a :one", vec!["-- timeout: 2"], 2, "a duration such as"),
            ("a :one", vec!["-- timeout: 0s"], 2, "a duration such as"),
            ("a :one", vec!["-- timeout: 999us"], 2, "a duration such as"),
            ("a :one", vec!["-- timeout: 2s", "-- timeout: 3s"], 3, "said twice"),
            ("a :many", vec!["-- max_rows: 0"], 2, "a whole number from 1"),
            ("a :one", vec!["-- max_rows: 5"], 2, "is for `:many`"),
            ("a :one", vec!["-- http: PUT"], 2, "takes `GET`"),
            ("a :one", vec!["-- About it.", "-- tool:"], 3, "belongs its title"),
            ("a :one", vec!["-- tool: A"], 2, "a tool needs a description"),
            ("a :one", vec!["-- About it.", "-- tool: A", "-- tool: B"], 4, "said twice"),
            ("a :one", vec!["-- tools: A"], 2, "did you mean `-- tool:`?"),
            ("a :one", vec!["-- Tool: A"], 2, "did you mean `-- tool:`?"),
            ("a :one", vec!["-- http:"], 2, "takes `GET`"),
            ("a :one", vec!["-- http: GET, GET"], 2, "GET twice"),
            ("a :exec", vec!["-- http: GET, POST"], 2, "GET is for reads"),
            ("a :one", vec!["-- http: GET", "-- write"], 2, "GET is for reads"),
            ("a :one", vec!["-- read", "-- write"], 3, "said once"),
            ("a :one", vec!["-- read: yes"], 2, "stands alone"),
            ("a :one", vec!["-- read:"], 2, "stands alone"),
            ("a :one", vec!["-- transaction: none"], 2, "is for writes"),
            ("a :exec", vec!["-- transaction: all"], 2, "takes only `none`"),
            ("a :one", vec!["-- cache: 30s"], 2, "a read with `-- http: GET`"),
            ("a :one", vec!["-- http: GET", "-- cache: 500ms"], 3, "whole seconds"),
            (
                "a :one",
                vec!["-- http: GET", "-- cache: 5s", "-- param: u uuid from claims.sub"],
                3,
                "`u` from claims.sub",
            ),
            ("a :one", vec!["-- engine: mysql", "-- engine: sqlite"], 3, "said once"),
            ("a :one", vec!["-- param: x int", "-- param: x int"], 3, "already declared in line 2"),
            ("a :one", vec!["-- param:"], 2, "takes a name"),
            ("a :one", vec!["-- param: :x int"], 2, "takes a name"),
        ] {
            let mistakes = head(name, &lines).expect_err(name);
            let (found, reason) = &mistakes[0];
            assert!(reason.contains(says) && *found == line, "{name} {lines:?}: {mistakes:?}");
        }
    }

    #[test]
    fn prose_is_left_alone() {
        for line in [
            "-- note: lowest id first",
            "-- Note: x",
            "-- see: x",
            "-- todo: x",
            "-- date: x",
            "-- case: x",
            "-- time: x",
            "-- example: x",
            "-- Name: x",
            "-- returns: x",
            "-- this one writes: beware",
            "-- https://x",
            "-- http://x",
            "--- x",
            "-- 12:30",
            "-- :",
            "-- warning: x",
            "-- limit: the most",
            "-- usage: x",
            "-- author: x",
            "-- reads: users",
            "-- names: first, last",
        ] {
            assert!(head("a :one", &[line]).is_ok(), "{line}");
        }
    }

    #[test]
    fn params() {
        let int = |value| Some(Value::Int(value));
        let text = |value: &str| Some(Value::Text(value.to_owned()));
        for (written, kind, nullable, default) in [
            ("a int", "int", false, None),
            ("a_1 int[]?", "int[]", true, None),
            ("a int = 50 in 1..=500", "int", false, int(50)),
            ("a int=50", "int", false, int(50)),
            ("a int in 1..=500 = 50", "int", false, int(50)),
            ("a int in 1 ..= 500 =50", "int", false, int(50)),
            ("a int? = null", "int", true, Some(Value::Null)),
            ("a int = \"5\"", "int", false, int(5)),
            ("a text = asc", "text", false, text("asc")),
            ("a text = ''", "text", false, text("")),
            ("a text = 'it''s from in = here' in 1..=40", "text", false, text("it's from in = here")),
            ("a text = 'null'", "text", false, text("null")),
            (r#"a text = "a\nb""#, "text", false, text("a\nb")),
            ("a text = 'é' from header.X-Lang", "text", false, text("é")),
            ("a bool = true", "bool", false, Some(Value::Bool(true))),
            ("a int[] = [1, 2]", "int[]", false, Some(Value::Array(vec![Value::Int(1), Value::Int(2)]))),
            ("a int[] = [] in ..=9", "int[]", false, Some(Value::Array(vec![]))),
            (r#"a json = {"a": [1]} "#, "json", false, Some(Value::Json(r#"{"a": [1]}"#.to_owned()))),
            (r#"a json = "x""#, "json", false, Some(Value::Json(r#""x""#.to_owned()))),
            ("a json = 5", "json", false, Some(Value::Json("5".to_owned()))),
            ("a date = 2000-01-02 in 2000-01-01..2001-01-01", "date", false, Some(Value::Date(1))),
            ("a timestamp = '2000-01-01 00:00:01'", "timestamp", false, Some(Value::Timestamp(1_000_000))),
            ("a decimal = 1.50", "decimal", false, Some(Value::Decimal("1.50".to_owned()))),
        ] {
            let param = param(written).unwrap_or_else(|reason| panic!("{written}: {reason}"));
            assert_eq!(param.kind.to_string(), kind, "{written}");
            assert_eq!(param.nullable, nullable, "{written}");
            assert_eq!(param.default, default, "{written}");
            assert_eq!(
                param.bounds.is_some(),
                written.contains(" in ") && written.contains(".."),
                "{written}"
            );
            assert!(param.choice.is_none() && param.description().is_empty(), "{written}");
        }
        for (written, from) in [
            ("a uuid from claims.sub", BoundFrom::Claim("sub".to_owned())),
            ("a text from claims.a.b", BoundFrom::Claim("a.b".to_owned())),
            ("a text from claims.cognito:groups", BoundFrom::Claim("cognito:groups".to_owned())),
            ("a text from header.X-Tenant", BoundFrom::Header("x-tenant".to_owned())),
            ("a text in 1..=9 from context.requestId", BoundFrom::RequestId),
            ("a text from sqs.messageId in 1..=99", BoundFrom::MessageId),
        ] {
            assert_eq!(param(written).unwrap().from, Some(from), "{written}");
        }
    }

    #[test]
    fn descriptions_and_choices_of_params() {
        let check = |written: &str, default: Option<Value>, choice: &str, description: &str| {
            let param = param(written).unwrap_or_else(|reason| panic!("{written}: {reason}"));
            assert_eq!(param.default, default, "{written}");
            assert_eq!(param.choice().map(ToString::to_string).unwrap_or_default(), choice, "{written}");
            assert_eq!(param.description(), description, "{written}");
        };
        let text = |value: &str| Some(Value::Text(value.to_owned()));
        check("a int -- how many", None, "", "how many");
        check("a int --how many", None, "", "how many");
        check("a int = 5 in 1..=9 -- how many: 1 -- 9", Some(Value::Int(5)), "", "how many: 1 -- 9");
        check("a text = '--' -- what", text("--"), "", "what");
        check("a text = '-- x' in 1..=9 from header.X -- what", text("-- x"), "", "what");
        check("a text in {'open', 'closed'}", None, "must be one of 'open', 'closed'", "");
        check("a text in{open,closed} = open", text("open"), "must be one of 'open', 'closed'", "");
        check(
            "a text? = null in { 'it''s', '}, {' } -- what",
            Some(Value::Null),
            "must be one of 'it''s', '}, {'",
            "what",
        );
        check("a int = 2 in {1, 2, 5}", Some(Value::Int(2)), "must be one of 1, 2, 5", "");
        check(
            "a decimal = 1.0 in {1.00, 2}",
            Some(Value::Decimal("1.0".to_owned())),
            "must be one of 1.00, 2",
            "",
        );
        check("a date in {2026-01-31}", None, "must be 2026-01-31", "");
        check("a text[] in {'a', 'b'}", None, "must have only elements that are one of 'a', 'b'", "");
    }

    #[test]
    fn tools() {
        let lines = ["-- tool: Open orders", "-- The orders that wait."];
        let head = head("a :many", &lines).unwrap();
        assert_eq!(head.tool.as_deref(), Some("Open orders"));
        assert_eq!(head.description, "The orders that wait.");
    }

    #[test]
    fn broken_params() {
        for (written, says) in [
            ("a", "needs a type: bool int"),
            ("a ?", "needs a type"),
            ("a string", "did you mean `text`?"),
            ("a jsonb[]", "did you mean `json[]`?"),
            ("a Int", "did you mean `int`?"),
            ("a imt", "did you mean `int`?"),
            ("a point", "`point` is no type; there are bool int"),
            ("a int[][]", "is no type"),
            ("a int =", "behind `=` belongs the default"),
            ("a int = x", "`a`: the default must be an integer"),
            ("a int = 0 in 1..=5", "`a`: the default must be between 1 and 5"),
            ("a int = 1 = 2", "a second default"),
            ("a int in 1..=2 in 1..=2", "a second `in`"),
            ("a int in 1..=2 in {1}", "a second `in`"),
            ("a int in {1} in {1}", "a second `in`"),
            ("a int in {}", "the choice has nothing in it"),
            ("a int in { }", "the choice has nothing in it"),
            ("a int in {1", "the choice is never closed"),
            ("a int in {1,", "the choice is never closed"),
            ("a text in {'a", "a quote in the choice is never closed"),
            ("a int in {1,,2}", "a value is missing"),
            ("a int in {1,}", "a value is missing"),
            ("a int in {1 2}", "parted by commas"),
            ("a text in {'a'b}", "parted by commas"),
            ("a int in {1, x}", "`a`: the choice `x` must be an integer"),
            ("a int in {1, 01}", "twice"),
            ("a json in {1}", "a json has no choice"),
            ("a int = 3 in {1, 2}", "`a`: the default must be one of 1, 2"),
            (
                "a text[] = [\"c\"] in {a, b}",
                "`a`: the default must have only elements that are one of 'a', 'b'",
            ),
            ("a int --", "behind `--` belongs what the parameter means"),
            ("a int = 1 x -- about it", "behind the type belong"),
            ("a int = null", "must be nullable: `int?`"),
            ("a int[] = 1", "written as JSON"),
            ("a int[] = [1, x]", "begins like JSON"),
            ("a int[] = [1, true]", "element at index 1 must be an integer"),
            ("a text = 'x", "never closed"),
            ("a text = 'x'y", "directly behind the default"),
            ("a text = two words", "behind the type belong"),
            ("a int in 5", "a range such as"),
            ("a int between 1 and 5", "behind the type belong"),
            ("a text from claims", "behind `from` belongs"),
            ("a text from cookie.x", "behind `from` belongs"),
            ("a text from context.requestid", "behind `from` belongs"),
            ("a text from", "behind `from` belongs"),
            ("a text = x from claims.sub", "no default"),
        ] {
            let reason = param(written).expect_err(written);
            assert!(reason.contains(says), "{written}: {reason}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("timeout", "tiemout", 1),
            ("note", "name", 2),
            ("ab", "ba", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            name in "\\PC{0,20}|[a-c:]{0,4} :(one|exec)",
            lines in proptest::collection::vec(
                prop_oneof![
                    "-- (param|http|cache): \\PC{0,30}",
                    "-- param: [a-c]{1,2} (int|text|json)[\\[\\]?]{0,3} [=infrom.,0-9'\"{}é -]{0,20}",
                    "-- param: a text in ?\\{[ab',} -]{0,20}",
                    "\\PC{0,30}",
                ],
                0..6,
            ),
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let _ = head(&name, &lines);
            for line in lines {
                let _ = (name_line(line), is_annotation(line), misspelled(line));
            }
        }
    }
}
