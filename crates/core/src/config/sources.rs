//! Where the user wrote what: the file and the environment, merged by figment, which remembers where each value came from.
//! Its own deserializer is not used, since it stops at the first mistake; the table of keys says what each text may be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::keys::{self, Key, Preset, SECTIONS, Section};
use super::words::{DAY, span};

/// Where configuration is read from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The environment: names and values.
    pub env: Vec<(String, String)>,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The program's own folders, in which a relative path is looked for that leads nowhere from the working
    /// folder.
    pub beside: Vec<PathBuf>,
}

impl Sources {
    /// This process's environment, and the `lambda-rds.toml` beside its binary (or in `LAMBDA_TASK_ROOT`) if
    /// there is one.
    #[must_use]
    pub fn process() -> Self {
        // Lossy: the character that stands for bytes which are no text is refused where a value is read.
        let env: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
        let root = get(&env, "LAMBDA_TASK_ROOT").map(PathBuf::from);
        let beside: Vec<PathBuf> = [beside, root].into_iter().flatten().collect();
        let file = beside.iter().map(|folder| folder.join("lambda-rds.toml")).find(|file| file.is_file());
        Self { env, file, beside }
    }

    /// A path that the user wrote. Lambda's working folder is the program's, others' need not be.
    pub(super) fn locate(&self, path: PathBuf) -> PathBuf {
        if path.exists() {
            return path;
        }
        self.beside.iter().map(|folder| folder.join(&path)).find(|path| path.exists()).unwrap_or(path)
    }
}

impl fmt::Debug for Sources {
    /// The names only: the values hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("env", &self.env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("file", &self.file)
            .field("beside", &self.beside)
            .finish()
    }
}

/// Everything that is wrong with the configuration. `Display` lists it, a line each, with what to do; no secret
/// is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) mistakes: Vec<String>,
}

impl ConfigError {
    /// One sentence per mistake.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [one] => write!(f, "The configuration is wrong: {one}"),
            all => {
                write!(f, "The configuration has {} mistakes:", all.len())?;
                all.iter().try_for_each(|mistake| write!(f, "\n- {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The merged sources, and what was found wrong in them so far.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    figment: Figment,
    /// All of it as one value. figment merges anew for each question, and there is one per key.
    merged: Option<Value>,
    pub(super) prefix: &'a str,
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// What the user wrote for a key.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) source: Source,
}

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Environment,
    File,
    Default,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources, prefix: &'a str) -> Self {
        let mut reader = Self {
            sources,
            figment: Figment::new(),
            merged: None,
            prefix,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some(path) = &sources.file {
            match std::fs::read_to_string(path) {
                Ok(text) => reader.file(&text),
                Err(error) => reader.mistakes.push(format!("{} cannot be read: {error}.", path.display())),
            }
        }
        let variables = Variables::new(&sources.env, prefix);
        reader.figment = std::mem::take(&mut reader.figment).merge(variables);
        reader.merged = reader.figment.find_value("").ok();
        reader
    }

    /// Takes the file in, and notes what has no place in one.
    fn file(&mut self, text: &str) {
        let path = self.file_name();
        let provider = Toml::string(text);
        let data = match provider.data() {
            Ok(data) => data,
            Err(error) => {
                self.mistakes.push(format!("{path} is no TOML: {}.", without_source(&error.to_string())));
                return;
            }
        };
        for (name, value) in data.values().flatten() {
            let section = SECTIONS.iter().find(|section| section.name == name);
            match (section, value) {
                (Some(section), Value::Dict(_, keys)) => {
                    for name in keys.keys().filter(|name| keys::find(*section, name).is_none()) {
                        let advice = advice(*section, name, |key| format!("`{}`", key.name()));
                        self.mistakes
                            .push(format!("{path}: unknown key `{name}` in [{}]. {advice}", section.name));
                    }
                }
                (Some(section), _) => self.mistakes.push(format!(
                    "{path}: `{name}` is a table: write [{}] and the keys below it.",
                    section.name
                )),
                (None, _) => {
                    let place = SECTIONS.iter().find(|section| keys::find(**section, name).is_some());
                    let advice = match place {
                        Some(section) => format!("It belongs below [{}].", section.name),
                        None => "Keys stand in [db] and [function].".to_owned(),
                    };
                    self.mistakes.push(format!("{path}: unknown key `{name}`. {advice}"));
                }
            }
        }
        self.figment = std::mem::take(&mut self.figment).merge(provider);
    }

    /// Notes the variables that look like ours and are not. Other software may own a `DB_*`, nobody else a
    /// `LAMBDA_RDS_*`.
    pub(super) fn unknown_variables(&mut self, env: &[(String, String)]) {
        for (variable, _) in env {
            for section in SECTIONS {
                // Of a second database only its own variables are looked at.
                let ours = section == keys::DB || self.prefix == keys::DB.prefix;
                let prefix = if section == keys::DB { self.prefix } else { section.prefix };
                let Some(name) = variable.strip_prefix(prefix).filter(|_| ours) else { continue };
                if keys::KEYS.iter().any(|key| key.section() == section && self.name(key) == *variable) {
                    continue;
                }
                let advice = advice(section, name, |key| self.name(key));
                if section == keys::FUNCTION {
                    self.mistakes.push(format!("{variable} (environment) is unknown. {advice}"));
                } else {
                    self.warnings.push(format!("{variable} (environment) is unknown and ignored. {advice}"));
                }
            }
        }
    }

    /// What holds for this key, if anything does.
    pub(super) fn found(&mut self, key: &Key) -> Option<Found> {
        let path = format!("{}.{}", key.section().name, key.name());
        let Some(value) = self.merged.as_ref().and_then(|merged| merged.find_ref(&path)) else {
            return match key.default {
                Preset::Is(text) => Some(Found { text: text.to_owned(), source: Source::Default }),
                Preset::Told(_) => None,
            };
        };
        let environment = self.figment.get_metadata(value.tag()).is_some_and(|m| m.name == ENVIRONMENT);
        let source = if environment { Source::Environment } else { Source::File };
        let text = match value {
            Value::String(_, text) => text.clone(),
            Value::Char(_, c) => c.to_string(),
            Value::Bool(_, truth) => truth.to_string(),
            Value::Num(_, Num::F32(number)) => number.to_string(),
            Value::Num(_, Num::F64(number)) => number.to_string(),
            Value::Num(_, number) => number.to_i128().map(|n| n.to_string()).unwrap_or_default(),
            Value::Empty(..) => String::new(),
            Value::Array(_, entries) if key.env == keys::LAMBDA_RDS_SET.env => {
                let texts: Option<Vec<&str>> = entries.iter().map(Value::as_str).collect();
                texts.map_or_else(|| "\u{0}".to_owned(), |texts| texts.join(";"))
            }
            // A table or a list: no other key takes one, and no text that a key takes looks like this.
            Value::Dict(..) | Value::Array(..) => "\u{0}".to_owned(),
        };
        Some(Found { text, source })
    }

    /// What holds for this key, as `parse` understands it; what it does not is noted.
    pub(super) fn value<T>(&mut self, key: &Key, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let Found { text, source } = self.found(key)?;
        let text_is_plain = !text.is_empty() && !text.contains(['\u{0}', char::REPLACEMENT_CHARACTER]);
        if text_is_plain && let Some(value) = parse(&text) {
            return Some(value);
        }
        let problem = if text.is_empty() {
            "is empty".to_owned()
        } else if text == "\u{0}" {
            "is a table or a list".to_owned()
        } else if text.contains(char::REPLACEMENT_CHARACTER) {
            "is no valid UTF-8".to_owned()
        } else {
            format!("is {}", shown(key, &text))
        };
        let label = self.label_of(key, source);
        self.mistakes.push(format!("{label} {problem}. Allowed: {}.", key.allowed));
        None
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&mut self, key: &Key, words: &[(&str, T)]) -> Option<T> {
        debug_assert!(
            key.allowed.split(" · ").eq(words.iter().map(|(word, _)| *word)),
            "{} allows other words than it is read by",
            key.env
        );
        self.value(key, |text| words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning))
    }

    pub(super) fn flag(&mut self, key: &Key) -> Option<bool> {
        self.word(key, &[("true", true), ("false", false), ("1", true), ("0", false)])
    }

    /// A duration that stops something. Not below a millisecond: servers take whole ones, and 0 for no limit.
    pub(super) fn limit(&mut self, key: &Key) -> Option<Duration> {
        self.value(key, |text| span(text, Duration::from_millis(1)..=DAY))
    }

    /// Notes that a key is needed and missing, unless it is there or what was written for it has been noted.
    pub(super) fn need(&mut self, key: &Key, there: bool, advice: &str) {
        if !there && self.found(key).is_none() {
            self.mistakes.push(format!("{} is not set. {advice}", self.name(key)));
        }
    }

    /// The variable's name, under this prefix.
    pub(super) fn name(&self, key: &Key) -> String {
        match key.env.strip_prefix(keys::DB.prefix) {
            Some(rest) => format!("{}{rest}", self.prefix),
            None => key.env.to_owned(),
        }
    }

    /// The variable's name, and where its value stands.
    pub(super) fn label(&mut self, key: &Key) -> String {
        let source = self.found(key).map_or(Source::Default, |found| found.source);
        self.label_of(key, source)
    }

    pub(super) fn label_of(&self, key: &Key, source: Source) -> String {
        let name = self.name(key);
        match source {
            Source::Environment => format!("{name} (environment)"),
            Source::File => format!("{name} ({}: [{}] {})", self.file_name(), key.section().name, key.name()),
            Source::Default => format!("{name} (default)"),
        }
    }

    fn file_name(&self) -> String {
        self.sources.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// What to write instead of a name that is no key of this table: the key that was probably meant, or all.
fn advice(section: Section, name: &str, shown: impl Fn(&Key) -> String) -> String {
    if let Some(key) = keys::suggest(section, name) {
        return format!("Did you mean {}?", shown(key));
    }
    let all = keys::KEYS.iter().filter(|key| key.section() == section);
    format!("Allowed: {}.", all.map(shown).collect::<Vec<_>>().join(", "))
}

/// The environment as figment's provider: figment's own `Env` would make a number of `DB_PASSWORD=123456`.
struct Variables(Map<Profile, Dict>);

/// What figment knows the environment as.
const ENVIRONMENT: &str = "environment";

impl Variables {
    fn new(env: &[(String, String)], prefix: &str) -> Self {
        let mut sections = Dict::new();
        for section in SECTIONS {
            let prefix = if section == keys::DB { prefix } else { section.prefix };
            let values: Dict = keys::KEYS
                .iter()
                .filter(|key| key.section() == section)
                .filter_map(|key| {
                    let rest = key.env.strip_prefix(section.prefix)?;
                    let (_, value) = env.iter().find(|(name, _)| name.strip_prefix(prefix) == Some(rest))?;
                    Some((key.name(), Value::from(value.clone())))
                })
                .collect();
            sections.insert(section.name.to_owned(), Value::from(values));
        }
        Self(Profile::Default.collect(sections))
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(self.0.clone())
    }
}

/// The value of a variable; an empty one of AWS's is none.
pub(super) fn get<'e>(env: &'e [(String, String)], name: &str) -> Option<&'e str> {
    env.iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// What was found, for an error message. Not a secret, nor what looks as if it held one: a URL with a password
/// in it, or the JSON of a secret.
fn shown(key: &Key, text: &str) -> String {
    if key.secret() || text.contains(['@', '{']) {
        return "something else (not shown)".to_owned();
    }
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A parser's message without the line of the file that it quotes, which may hold a password.
fn without_source(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|'))
        .collect::<Vec<_>>()
        .join(": ")
}
