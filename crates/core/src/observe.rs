//! What is told about the work: log lines, and per invocation one line of each kind.
//!
//! Inside Lambda a log line is JSON with the keys that Lambda's own have (`timestamp`, `level`, `message`,
//! `requestId`), and metrics are lines in CloudWatch's embedded metric format, which cost no call and no further
//! process. All of it goes to stderr, of which Lambda takes each line, and outside nothing but a command's own output is on
//! stdout. An invocation's two lines go in one write: each write wakes whoever reads them.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Function, Platform};
use crate::error::{Error, Phase};

/// Starts logging. Does nothing where a subscriber has been set, by an earlier call or by the program.
pub fn init(platform: &Platform, function: &Function) {
    let subscriber = tracing_subscriber::registry().with(quiet(&function.log, function.log_values));
    let _ = if platform.log_json {
        tracing::subscriber::set_global_default(subscriber.with(JsonLines(|lines: Vec<u8>| write(&lines))))
    } else {
        let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing::subscriber::set_global_default(subscriber.with(text))
    };
}

/// The span around one invocation. Every log line inside it has the request's id, whatever the filter is.
#[must_use]
pub fn span(request_id: &str) -> Span {
    tracing::error_span!("invocation", requestId = request_id)
}

/// What is told about one invocation.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Lambda's id of the request.
    pub request_id: String,
    /// X-Ray's id.
    pub trace_id: Option<String>,
    /// Where the event came from, in the event module's word.
    pub source: &'static str,
    /// The query, once it is known to be one of ours: a dimension of the metrics must not be the caller's to
    /// write.
    pub query: Option<String>,
    /// The failure, if it was one.
    pub failure: Option<Failure>,
    /// The SQL, told only with a failure.
    pub sql: Option<String>,
    /// The parameters' values, told only with a failure. For whom `LAMBDA_RDS_LOG_VALUES` is not set, leave it.
    pub values: Option<String>,
    /// How long each phase of opening sessions took, where any was opened.
    pub phases: Vec<(Phase, Duration)>,
    /// How long opening sessions took in all, where any was opened.
    pub connect: Option<Duration>,
    /// How long statements took in all, from sending to the last row, where any ran.
    pub query_time: Option<Duration>,
    /// How long the invocation took, until the reply was ready.
    pub total: Duration,
    /// How many times a statement or a connect was tried again.
    pub retries: u32,
    /// How many sessions were opened.
    pub connects: u32,
    /// How many statements made a pooler pin its connection.
    pub pinned: u32,
    /// How many round trips the statements took, where the engine has any; neither those of opening sessions nor what a
    /// failure is undone by.
    pub flights: u64,
    /// Rows in the reply.
    pub rows: u64,
    /// Bytes of the reply's body.
    pub bytes: u64,
    /// How many messages of a queue are to come again.
    pub failed_messages: usize,
    /// For how many of them a failure of ours (5xx) is the reason.
    pub failed_faults: u32,
    /// Whether this was the environment's first invocation.
    pub cold: bool,
}

/// A failure as the log has it. It may name hosts, users and the server's words; never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: u16,
    code: &'static str,
    message: String,
    detail: String,
    phase: Option<Phase>,
    sqlstate: Option<String>,
    step: Option<usize>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            status: error.fault().status(),
            code: error.fault().code(),
            message: error.logged().to_owned(),
            detail: error.detail().to_owned(),
            phase: error.phase(),
            sqlstate: error.sqlstate().map(str::to_owned),
            step: error.step(),
        }
    }
}

impl Record {
    /// Tells it: one log line, and inside Lambda one line of metrics. A failure of ours (5xx) is an error in the
    /// log; one of the caller's is not, since anybody can make those.
    pub fn emit(&self, platform: &Platform) {
        if platform.lambda {
            let function = platform.function_name.as_deref().unwrap_or("unknown");
            METRICS.set(Some(self.metrics(function, SystemTime::now())));
        }
        self.log();
        // Where no line was written, or by somebody else.
        if let Some(metrics) = METRICS.take() {
            write(&metrics);
        }
    }

    fn log(&self) {
        let failure = self.failure.as_ref();
        let phase =
            |phase| self.phases.iter().find(|(known, _)| *known == phase).map(|(_, took)| millis(*took));
        // The level of an event is part of its call site, so there is one for each.
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    name: "invocation",
                    tracing::Level::$level,
                    requestId = self.request_id,
                    traceId = self.trace_id,
                    source = self.source,
                    query = self.query,
                    outcome = failure.map_or("ok", |f| f.code),
                    status = failure.map(|f| f.status),
                    credentialsMillis = phase(Phase::Credentials),
                    resolveMillis = phase(Phase::Resolve),
                    tcpMillis = phase(Phase::Tcp),
                    tlsMillis = phase(Phase::Tls),
                    authMillis = phase(Phase::Auth),
                    readyMillis = phase(Phase::Ready),
                    connectMillis = self.connect.map(millis),
                    queryMillis = self.query_time.map(millis),
                    totalMillis = millis(self.total),
                    retries = self.retries,
                    pinned = (self.pinned > 0).then_some(self.pinned),
                    rows = self.rows,
                    bytes = self.bytes,
                    failedMessages = (self.failed_messages > 0).then_some(self.failed_messages),
                    cold = self.cold,
                    detail = failure.map(|f| f.detail.as_str()).filter(|detail| !detail.is_empty()),
                    phase = failure.and_then(|f| f.phase).map(Phase::name),
                    sqlstate = failure.and_then(|f| f.sqlstate.as_deref()),
                    step = failure.and_then(|f| f.step),
                    sql = failure.and(self.sql.as_deref()),
                    values = failure.and(self.values.as_deref()),
                    "{}",
                    failure.map_or("ok", |f| f.message.as_str()),
                )
            };
        }
        match failure {
            Some(failure) if failure.status >= 500 => event!(ERROR),
            _ => event!(INFO),
        }
    }

    /// The line of metrics. Of what did not happen (no connect, no statement) there is no value: zeros would spoil
    /// the averages.
    ///
    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
    fn metrics(&self, function: &str, now: SystemTime) -> Vec<u8> {
        let faults = self.failed_faults
            + u32::from(self.failure.as_ref().is_some_and(|failure| failure.status >= 500));
        let metrics = [
            ("QueryMillis", "Milliseconds", self.query_time.map(|took| Number::Millis(millis(took)))),
            ("ConnectMillis", "Milliseconds", self.connect.map(|took| Number::Millis(millis(took)))),
            ("Retries", "Count", Some(Number::Whole(self.retries.into()))),
            ("Faults", "Count", Some(Number::Whole(faults.into()))),
            ("ColdConnects", "Count", Some(Number::Whole(self.connects.into()))),
            ("Pinned", "Count", Some(Number::Whole(self.pinned.into()))),
            ("Rows", "Count", Some(Number::Whole(self.rows))),
            ("Bytes", "Bytes", Some(Number::Whole(self.bytes))),
        ];
        let declared =
            metrics.iter().filter(|(_, _, value)| value.is_some()).map(|(name, unit, _)| (*name, *unit));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Line::with_room();
        line.declare(self.query.is_some(), declared, since.as_millis());
        line.set("function", function);
        if let Some(query) = &self.query {
            line.set("query", query);
        }
        line.set("requestId", &self.request_id);
        for (name, _, value) in &metrics {
            if let Some(value) = value {
                line.set(name, value);
            }
        }
        line.finish()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Millis(f64),
    Whole(u64),
}

thread_local! {
    /// The metrics of the invocation whose line is written next on this thread.
    static METRICS: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

fn write(lines: &[u8]) {
    // A log that cannot be written is no reason to fail; there is nowhere to say so either.
    let _ = std::io::stderr().lock().write_all(lines);
}

/// Writes each event as one line of JSON, and behind an invocation's its metrics.
struct JsonLines<W>(W);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(Vec<u8>) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        // An invocation's has its id.
        let mut fields = Line { text: Vec::with_capacity(64), ..Line::default() };
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::with_room();
        line.show("timestamp", &humantime::format_rfc3339_millis(SystemTime::now()));
        line.set("level", event.metadata().level().as_str());
        // Its place; the event's own fields come last.
        line.set("message", "");
        line.set("target", event.metadata().target());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Line>() {
                line.extend(fields);
            }
        }
        event.record(&mut line);
        let mut lines = line.finish();
        if let Some(metrics) = METRICS.take() {
            lines.extend_from_slice(&metrics);
        }
        (self.0)(lines);
    }
}

/// The members of one JSON object, in order. A name that comes twice keeps its place and takes the later value.
///
/// Every call writes two of these, and waits for them; so a member costs no allocation of its own, and is written once.
#[derive(Debug, Default)]
struct Line {
    /// The object without its end.
    text: Vec<u8>,
    /// Where in it the values stand.
    values: Vec<(&'static str, Range<usize>)>,
    /// What is shown, before it is escaped.
    shown: String,
}

impl Line {
    /// With room for what one invocation tells, so that it does not grow by steps.
    fn with_room() -> Self {
        Self {
            text: Vec::with_capacity(1024),
            values: Vec::with_capacity(32),
            shown: String::with_capacity(64),
        }
    }

    fn set(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.put(name, |text| {
            // What is told here are numbers, texts and lists of them, which JSON has, and a vector takes all.
            let written = serde_json::to_writer(text, value);
            debug_assert!(written.is_ok(), "{name}: {written:?}");
        });
    }

    /// The declaration that makes metrics of a line's members: by function for alarms, which cannot sum over queries; by
    /// query for finding the one. Most of it is the same in each call, and nothing of it needs an escape.
    fn declare(
        &mut self,
        by_query: bool,
        metrics: impl Iterator<Item = (&'static str, &'static str)>,
        millis: u128,
    ) {
        self.put("_aws", |text| {
            let mut put = |part: &str| text.extend_from_slice(part.as_bytes());
            put(r#"{"CloudWatchMetrics":[{"Dimensions":[["function"]"#);
            put(if by_query { r#",["function","query"]],"Metrics":["# } else { r#"],"Metrics":["# });
            for (at, (name, unit)) in metrics.enumerate() {
                put(if at == 0 { r#"{"Name":""# } else { r#",{"Name":""# });
                for part in [name, r#"","Unit":""#, unit, r#""}"#] {
                    put(part);
                }
            }
            for part in [r#"],"Namespace":""#, NAMESPACE, r#""}],"Timestamp":"#] {
                put(part);
            }
            // A vector takes all.
            let _ = write!(text, "{millis}}}");
        });
    }

    /// Sets a member to what `value` shows.
    fn show(&mut self, name: &'static str, value: &dyn fmt::Display) {
        let mut shown = std::mem::take(&mut self.shown);
        shown.clear();
        // A text that fails to show itself is told as far as it came.
        let _ = write!(shown, "{value}");
        self.set(name, &shown);
        self.shown = shown;
    }

    /// Adds the members of another line.
    fn extend(&mut self, other: &Self) {
        for (name, value) in &other.values {
            self.put(name, |text| text.extend_from_slice(&other.text[value.clone()]));
        }
    }

    /// Puts a member behind the others, or what `write` writes in the place of its value.
    fn put(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(known) = self.values.iter().position(|(known, _)| *known == name) {
            let mut later = Vec::new();
            write(&mut later);
            self.replace(known, later);
            return;
        }
        self.text.push(if self.text.is_empty() { b'{' } else { b',' });
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
            self.text.push(b'"');
            self.text.extend_from_slice(name.as_bytes());
            self.text.push(b'"');
        } else {
            // Somebody else's field. Nothing but memory could fail.
            let _ = serde_json::to_writer(&mut self.text, name);
        }
        self.text.push(b':');
        let start = self.text.len();
        write(&mut self.text);
        self.values.push((name, start..self.text.len()));
    }

    fn replace(&mut self, known: usize, later: Vec<u8>) {
        let Some((_, place)) = self.values.get_mut(known) else { return };
        let old = place.clone();
        if self.text[old.clone()] == later {
            return;
        }
        place.end = place.start + later.len();
        let (from, to) = (old.end, place.end);
        self.text.splice(old, later);
        for (_, behind) in &mut self.values[known + 1..] {
            *behind = behind.start - from + to..behind.end - from + to;
        }
    }

    /// The object, and the end of the line. JSON escapes line breaks, so one line it is.
    fn finish(mut self) -> Vec<u8> {
        self.text.extend_from_slice(if self.text.is_empty() { b"{}\n" } else { b"}\n" });
        self.text
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.show(field.name(), &format_args!("{value:?}"));
    }
}

/// The user's filter, under which others' crates are heard only from warnings on unless it names them. The driver's
/// own lines would show SQL and values. What a server's functions say beside their results (`RAISE WARNING`) is heard only
/// where `values` may be shown: it is the author's text, a line for each row.
fn quiet(filter: &Targets, values: bool) -> Targets {
    let level = filter.default_level().unwrap_or(LevelFilter::OFF);
    let named = filter.iter().map(|(target, level)| (target.to_owned(), level));
    Targets::new()
        .with_default(level)
        .with_targets(NOISY.iter().map(|target| (*target, level.min(LevelFilter::WARN))))
        .with_targets(named)
        .with_targets((!values).then_some((NOTICES, LevelFilter::OFF)))
}

/// A duration in milliseconds, to the microsecond.
fn millis(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// What others' targets begin with.
const NOISY: &[&str] = &["sqlx", "sea_orm", "hyper", "rustls", "tower", "aws_", "lambda_runtime"];

/// Where the driver tells of notices.
const NOTICES: &str = "sqlx::postgres::notice";

const NAMESPACE: &str = "lambda-rds";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::error::Fault;

    fn record() -> Record {
        Record {
            request_id: "8f5a".to_owned(),
            source: "direct",
            query: Some("active_users".to_owned()),
            phases: vec![(Phase::Tcp, Duration::from_micros(900)), (Phase::Tls, Duration::from_millis(3))],
            connect: Some(Duration::from_micros(8_120)),
            query_time: Some(Duration::from_micros(1_500)),
            total: Duration::from_millis(11),
            connects: 1,
            rows: 2,
            bytes: 120,
            cold: true,
            sql: Some("SELECT 1".to_owned()),
            ..Record::default()
        }
    }

    /// The lines that `work` logs under this filter, with the time taken out.
    fn lines(filter: &str, work: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let layer = JsonLines(move |lines: Vec<u8>| {
            let line = std::str::from_utf8(&lines).unwrap().strip_suffix('\n').unwrap();
            let (time, rest) = line.strip_prefix("{\"timestamp\":\"").unwrap().split_once("\",").unwrap();
            humantime::parse_rfc3339(time).unwrap();
            sink.lock().unwrap().push(format!("{{{rest}"));
        });
        let subscriber =
            tracing_subscriber::registry().with(quiet(&filter.parse().unwrap(), false)).with(layer);
        tracing::subscriber::with_default(subscriber, work);
        std::mem::take(&mut lines.lock().unwrap())
    }

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn one_line_per_invocation() {
        assert_eq!(
            lines("info", || record().log()),
            [concat!(
                r#"{"level":"INFO","message":"ok","target":"lambda_rds_core::observe","requestId":"8f5a","#,
                r#""source":"direct","query":"active_users","outcome":"ok","tcpMillis":0.9,"tlsMillis":3.0,"#,
                r#""connectMillis":8.12,"queryMillis":1.5,"totalMillis":11.0,"retries":0,"rows":2,"bytes":120,"#,
                r#""cold":true}"#
            )]
        );
        let error = Error::new(Fault::QueryFailed, "relation \"x\" does not exist\nat host db")
            .with_sqlstate("42P01")
            .with_phase(Phase::Query)
            .at_step(1);
        let failed = Record {
            failure: Some(Failure::from(&error)),
            trace_id: Some("1-5e".to_owned()),
            values: Some("active=true".to_owned()),
            phases: Vec::new(),
            connect: None,
            cold: false,
            ..record()
        };
        assert_eq!(
            lines("error", || failed.log()),
            [concat!(
                r#"{"level":"ERROR","message":"The query failed. Its author finds the reason in the function's log.","#,
                r#""target":"lambda_rds_core::observe","requestId":"8f5a","traceId":"1-5e","source":"direct","#,
                r#""query":"active_users","outcome":"query_failed","status":500,"queryMillis":1.5,"totalMillis":11.0,"#,
                r#""retries":0,"rows":2,"bytes":120,"cold":false,"#,
                r#""detail":"relation \"x\" does not exist\nat host db","phase":"query","sqlstate":"42P01","step":1,"#,
                r#""sql":"SELECT 1","values":"active=true"}"#
            )]
        );
        let told = Error::told(Fault::BadParameter, "Parameter `limit` must be between 1 and 500.");
        let theirs = Record { failure: Some(Failure::from(&told)), ..record() };
        assert_eq!(lines("warn", || theirs.log()), [""; 0]);
        let line = lines("info", || theirs.log()).remove(0);
        assert!(
            line.starts_with(r#"{"level":"INFO","message":"Parameter `limit` must be between 1 and 500.","#)
        );
    }

    #[test]
    fn metrics_have_the_contracted_names() {
        let now = UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        assert_eq!(
            text(record().metrics("reports", now)),
            concat!(
                r#"{"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function"],["function","query"]],"Metrics":["#,
                r#"{"Name":"QueryMillis","Unit":"Milliseconds"},{"Name":"ConnectMillis","Unit":"Milliseconds"},"#,
                r#"{"Name":"Retries","Unit":"Count"},{"Name":"Faults","Unit":"Count"},"#,
                r#"{"Name":"ColdConnects","Unit":"Count"},{"Name":"Pinned","Unit":"Count"},"#,
                r#"{"Name":"Rows","Unit":"Count"},{"Name":"Bytes","Unit":"Bytes"}],"Namespace":"lambda-rds"}],"#,
                r#""Timestamp":1764000000123},"function":"reports","query":"active_users","requestId":"8f5a","#,
                r#""QueryMillis":1.5,"ConnectMillis":8.12,"Retries":0,"Faults":0,"ColdConnects":1,"Pinned":0,"#,
                r#""Rows":2,"Bytes":120}"#,
                "\n"
            )
        );
        let error = Error::new(Fault::Unreachable, "");
        let failed = Record {
            request_id: "8f5a".to_owned(),
            failure: Some(Failure::from(&error)),
            retries: 2,
            pinned: 3,
            ..Record::default()
        };
        assert_eq!(
            text(failed.metrics("reports", now)),
            concat!(
                r#"{"_aws":{"CloudWatchMetrics":[{"Dimensions":[["function"]],"Metrics":["#,
                r#"{"Name":"Retries","Unit":"Count"},{"Name":"Faults","Unit":"Count"},"#,
                r#"{"Name":"ColdConnects","Unit":"Count"},{"Name":"Pinned","Unit":"Count"},"#,
                r#"{"Name":"Rows","Unit":"Count"},{"Name":"Bytes","Unit":"Bytes"}],"Namespace":"lambda-rds"}],"#,
                r#""Timestamp":1764000000123},"function":"reports","requestId":"8f5a","#,
                r#""Retries":2,"Faults":1,"ColdConnects":0,"Pinned":3,"Rows":0,"Bytes":0}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_invocation_s_lines_go_in_one_write() {
        let platform = Platform { lambda: true, ..Platform::from_env() };
        let written = lines("info", || {
            record().emit(&platform);
            tracing::info!("the next one");
        });
        let [both, next] = &written[..] else { panic!("{written:?}") };
        let (line, metrics) = both.split_once('\n').unwrap();
        assert!(line.starts_with(r#"{"level":"INFO","message":"ok","#) && line.ends_with('}'), "{line}");
        assert!(metrics.starts_with(r#"{"_aws":"#) && metrics.ends_with('}'), "{metrics}");
        assert!(!next.contains("_aws"), "{next}");
        // Without a line they go by themselves, and wait for none.
        assert_eq!(lines("error", || record().emit(&platform)), [""; 0]);
        assert_eq!(METRICS.take(), None);
        // Outside Lambda nobody takes them.
        let outside = lines("info", || record().emit(&Platform { lambda: false, ..platform }));
        assert!(outside.len() == 1 && !outside[0].contains("_aws"), "{outside:?}");
    }

    #[test]
    fn every_line_of_an_invocation_has_its_request() {
        let warned = lines("warn", || {
            span("8f5a").in_scope(|| tracing::warn!(secret = "app", age = 3, "the cached one is used"));
        });
        assert_eq!(
            warned,
            [concat!(
                r#"{"level":"WARN","message":"the cached one is used","target":"lambda_rds_core::observe::tests","#,
                r#""requestId":"8f5a","secret":"app","age":3}"#
            )]
        );
        // Said once, though both the span and the event say it.
        let line = lines("info", || span("8f5a").in_scope(|| record().log())).remove(0);
        assert_eq!(line.matches("requestId").count(), 1, "{line}");
    }

    #[test]
    fn others_are_heard_from_warnings_on() {
        let heard = |filter: &str| {
            lines(filter, || {
                tracing::debug!(target: "sqlx::query", "SELECT 'secret'");
                tracing::info!(target: "aws_smithy_runtime::client", "noise");
                tracing::warn!(target: "sqlx::postgres::notice", "got a value");
                tracing::warn!(target: "sqlx::pool", "trouble");
                tracing::debug!(target: "lambda_rds_core::connect", "ours");
                tracing::info!(target: "somebody::else", "theirs");
            })
            .iter()
            .map(|line| line.split('"').nth(7).unwrap().to_owned())
            .collect::<Vec<_>>()
        };
        assert_eq!(heard("info"), ["trouble", "theirs"]);
        assert_eq!(heard("trace"), ["trouble", "ours", "theirs"]);
        assert_eq!(heard("error"), [""; 0]);
        assert_eq!(heard("lambda_rds_core=debug"), ["ours"]);
        assert_eq!(heard("info,sqlx=debug"), ["SELECT 'secret'", "trouble", "theirs"]);
    }
}
