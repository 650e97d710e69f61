//! Queries as tools for agents: what an agent is told of them, in the forms that the Model Context Protocol, AgentCore
//! Gateway and Bedrock agents take, and what it gets.
//!
//! A query is a tool if its file says so (`-- tool:`). What it tells of itself comes from the query file and from the
//! database; whether it changes anything, from what the server holds it to. Pure, but for [`known`].

use std::borrow::Cow;
use std::time::Duration;

use crate::app::App;
use crate::backend::Access;
use crate::check;
use crate::config::Int64;
use crate::deadline::Deadline;
use crate::describe::{Column, Form, JsonType};
use crate::error::{Error, Fault, Result};
use crate::openapi::Rows;
use crate::queries::{BoundFrom, Idempotency, KeyFrom, Param, Queries, Query, Verb};
use crate::rows::Limits;
use crate::schema::{self, Map, Node, append, object};
use crate::value::{Kind, Scalar, Value};

/// Who reads the description of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A client of the Model Context Protocol: the result of its `tools/list`.
    Mcp,
    /// An AgentCore Gateway: the tool schema of a Lambda target.
    /// <https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_ToolDefinition.html>
    AgentCore,
    /// A Bedrock agent: the function schema of an action group.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent_FunctionSchema.html>
    Bedrock,
}

/// Writes the description of the tools, laid out for reading. `rows` are the columns of their rows, as far as they are
/// known.
#[must_use]
pub fn document(queries: &Queries, int64: Int64, rows: &Rows, reader: Reader) -> String {
    let tools = tools(queries);
    let columns = |query: &Query| rows.get(query.name()).map(Vec::as_slice);
    let document: Node = match reader {
        Reader::Mcp => {
            let list = tools.map(|(query, title)| mcp(query, title, columns(query), int64)).collect();
            Map::of([("tools", Node::List(list))]).into()
        }
        Reader::AgentCore => {
            Node::List(tools.map(|(query, _)| agentcore(query, columns(query), int64)).collect())
        }
        Reader::Bedrock => {
            let list = tools.map(|(query, _)| bedrock(query)).collect();
            Map::of([("functions", Node::List(list))]).into()
        }
    };
    // Fails only for maps with keys that are no strings and for writers that fail; here is neither.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// What this reader will not take, as far as it says so: a sentence each, with the place.
#[must_use]
pub fn troubles(queries: &Queries, reader: Reader) -> Vec<String> {
    let mut troubles = Vec::new();
    if reader != Reader::Bedrock {
        return troubles;
    }
    // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent_Function.html
    for (query, _) in tools(queries) {
        let mut tell = |what: String| troubles.push(format!("{}: {}: {what}", query.place(), query.name()));
        let name = query.name();
        if name.starts_with('_') || name.contains("__") || name.len() > 100 {
            tell("a Bedrock agent takes names of at most 100 letters, digits and single underscores, and none \
                  at the beginning".to_owned());
        }
        let given = given(query).count();
        if given > BEDROCK_PARAMETERS {
            tell(format!(
                "it has {given} parameters; a Bedrock agent takes {BEDROCK_PARAMETERS} unless its quota was raised"
            ));
        }
        if query.description().chars().count() > 1200 {
            tell("a Bedrock agent takes descriptions of at most 1200 characters".to_owned());
        }
        for param in self::given(query) {
            if described(param).chars().count() > 500 {
                tell(format!("the description of `{}` may have 500 characters", param.name()));
            }
        }
    }
    troubles
}

/// Asks the database for the columns of the tools' rows. What it refuses to tell is left out.
///
/// # Errors
/// If the database cannot be reached, or is lost on the way.
///
/// # Cancel safety
/// A dropped future closes the session.
pub async fn known(app: &App, by: Deadline) -> Result<Rows> {
    let mut learned = Learned::default();
    learned.more(app, by, Duration::ZERO).await?;
    Ok(learned.rows)
}

/// What the database has told of the tools' rows so far. To ask about many tools takes longer than a list may wait, so
/// each goes on where the one before has stopped.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    rows: Rows,
    asked: usize,
}

impl Learned {
    /// Asks about further tools, until no more than `spare` is left of the time. True when none is left.
    ///
    /// # Errors
    /// Why nothing more could be had. What was told before that is kept.
    pub(crate) async fn more(&mut self, app: &App, by: Deadline, spare: Duration) -> Result<bool> {
        let with_rows = tools(app.queries()).map(|(query, _)| query).filter(|it| it.verb() != Verb::Exec);
        let left: Vec<&Query> = with_rows.skip(self.asked).collect();
        if left.is_empty() {
            return Ok(true);
        }
        let until = self.asked + left.len();
        check::columns_of(app, &left, by, spare, |query, columns| {
            self.asked += 1;
            self.rows.extend(columns.map(|columns| (query.name().to_owned(), columns)));
        })
        .await?;
        Ok(self.asked == until)
    }

    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }
}

/// The list of the tools as the Model Context Protocol has it.
pub(crate) fn list(queries: &Queries, int64: Int64, rows: &Rows) -> Vec<u8> {
    let columns = |query: &Query| rows.get(query.name()).map(Vec::as_slice);
    let list = tools(queries).map(|(query, title)| mcp(query, title, columns(query), int64)).collect();
    serde_json::to_vec(&Node::List(list)).unwrap_or_default()
}

/// What is left of the room for a result when the object around its rows has its own.
pub(crate) fn room(query: &Query, limits: Limits) -> Limits {
    let around = if query.verb() == Verb::Many && !query.is_paged() {
        ROWS.len() + 1 + if limits.escaped { 2 } else { 0 }
    } else {
        0
    };
    Limits { bytes: limits.bytes.saturating_sub(around), ..limits }
}

/// What an agent gets of a query's result: an object in any case. `inside` says that it is written as it stands inside
/// a JSON string.
///
/// # Errors
/// The call's own. What is too large is told with the parameters that ask for less.
pub(crate) fn result(query: &Query, outcome: Result<Vec<u8>>, inside: bool) -> Result<Vec<u8>> {
    match outcome {
        // A page is such an object already.
        Ok(json) if query.verb() == Verb::Many && !query.is_paged() => {
            let before: &[u8] = if inside { ROWS_INSIDE } else { ROWS };
            Ok([before, &json, b"}"].concat())
        }
        Err(error) if error.fault() == Fault::ResultTooLarge => Err(less(query, &error)),
        outcome => outcome,
    }
}

fn less(query: &Query, error: &Error) -> Error {
    let params: Vec<String> = given(query)
        .map(|param| {
            let limits = limits_of(param).map(|limits| format!(" ({limits})")).unwrap_or_default();
            format!("`{}`{limits}", param.name())
        })
        .collect();
    let hint = match params.as_slice() {
        [] => "It has no parameter by which to ask for less.".to_owned(),
        params => format!("Ask for less by its parameters: {}.", params.join(", ")),
    };
    Error::told(Fault::ResultTooLarge, format!("{} {hint}", error.message())).with_detail(error.detail())
}

/// The tools with their titles, by name.
fn tools(queries: &Queries) -> impl Iterator<Item = (&Query, &str)> {
    queries.iter().filter_map(|query| Some((query, query.tool()?)))
}

/// The parameters that an agent gives.
fn given(query: &Query) -> impl Iterator<Item = &Param> {
    query.params().iter().filter(|param| param.bound_from().is_none())
}

fn mcp(query: &Query, title: &str, columns: Option<&[Column]>, int64: Int64) -> Node {
    let reads = only_reads(query);
    let hints = Map::of([
        ("readOnlyHint", reads.into()),
        ("destructiveHint", (!reads).into()),
        ("idempotentHint", (reads || is_once_per_arguments(query)).into()),
    ]);
    let mut tool = Map::of([
        ("name", query.name().into()),
        ("title", title.into()),
        ("description", query.description().into()),
        ("inputSchema", input(query)),
    ]);
    tool.put_some("outputSchema", output(query, columns, int64));
    tool.put("annotations", hints);
    tool.into()
}

/// Whether a repeat with the same arguments does nothing more: its key is one of them, or the caller's own.
fn is_once_per_arguments(query: &Query) -> bool {
    let Some(Idempotency { from: KeyFrom::Param(name), optional: false, .. }) = query.idempotency() else {
        return false;
    };
    let param = query.params().iter().find(|param| param.name() == name);
    matches!(param.map(Param::bound_from), Some(None | Some(BoundFrom::Claim(_))))
}

/// Whether the server holds it to reading. Nothing that an author writes makes it so: a session is read-only but in a
/// write's transaction, and what could leave it, a procedure or a block of code, is never a read.
fn only_reads(query: &Query) -> bool {
    query.access() == Access::Read
}

/// The schema of the arguments.
fn input(query: &Query) -> Node {
    let mut properties = Map::new();
    for param in given(query) {
        let mut schema = schema::parameter_schema(param, param.nullable());
        if let Node::Map(map) = &mut schema
            && let Some(sentence) = written_as(param.kind().scalar)
        {
            let mut text = match map.take("description") {
                Some(Node::Text(text)) => text,
                _ => String::new(),
            };
            append(&mut text, sentence);
            map.put("description", text);
        }
        strip(&mut schema, &["uuid", "date", "date-time"]);
        properties.put(param.name(), schema);
    }
    object(properties, given(query).filter(|param| param.default().is_none()).map(Param::name))
}

/// How a value is written, where its JSON type says too little.
fn written_as(scalar: Scalar) -> Option<&'static str> {
    match scalar {
        Scalar::Decimal => Some("Exact: best a string of digits such as \"9.99\"."),
        Scalar::Time => Some("A time of day such as 13:37:00."),
        Scalar::Timestamp => Some("A timestamp without an offset, such as 2026-01-31T13:37:00."),
        Scalar::Bytes => Some("In base64."),
        _ => None,
    }
}

/// The schema of the result, where it is known.
fn output(query: &Query, columns: Option<&[Column]>, int64: Int64) -> Option<Node> {
    let mut schema = match (query.verb(), columns) {
        (Verb::Exec, _) => schema::changes(query.dialect(), int64),
        (Verb::One, columns) => schema::row(columns?, int64),
        (Verb::Many, columns) => {
            let mut rows = Map::of([("type", "array".into()), ("items", schema::row(columns?, int64))]);
            rows.put_some("maxItems", query.max_rows());
            match query.is_paged() {
                true => schema::page(rows.into()),
                false => object(Map::of([("rows", rows.into())]), ["rows"]),
            }
        }
    };
    // A date may be `infinity`, and its year may have five digits: what a validator would refuse is not promised.
    strip(&mut schema, &["uuid"]);
    Some(schema)
}

/// Takes away the formats that are not kept: those of our own, which validators do not know.
fn strip(schema: &mut Node, keep: &[&str]) {
    let Node::Map(map) = schema else { return };
    if let Some(Node::Text(format)) = map.get("format")
        && !keep.contains(&format.as_str())
    {
        map.take("format");
    }
    for (key, node) in map.iter_mut() {
        match (key, node) {
            ("properties", Node::Map(properties)) => {
                properties.iter_mut().for_each(|(_, of)| strip(of, keep))
            }
            ("items", node) => strip(node, keep),
            ("anyOf", Node::List(forms)) => forms.iter_mut().for_each(|form| strip(form, keep)),
            _ => {}
        }
    }
}

/// AgentCore knows types, and neither choices nor bounds nor defaults nor null: those are told in words.
fn agentcore(query: &Query, columns: Option<&[Column]>, int64: Int64) -> Node {
    let mut properties = Map::new();
    for param in given(query) {
        let Kind { scalar, array } = param.kind();
        let element = Map::of([("type", plain(scalar).into())]);
        let mut schema = match array {
            true => Map::of([("type", "array".into()), ("items", element.into())]),
            false => element,
        };
        schema.put("description", described(param));
        properties.put(param.name(), schema);
    }
    let mut tool = Map::of([("name", query.name().into()), ("description", query.description().into())]);
    let required = given(query).filter(|param| param.default().is_none()).map(|param| param.name());
    tool.put("inputSchema", plain_object(properties, required));
    let row = |columns: &[Column]| {
        let mut properties = Map::new();
        for column in columns {
            properties.put_some(&column.name, plain_column(column, int64));
        }
        let certain = columns.iter().filter(|column| column.nullable == Some(false));
        let required: Vec<&str> = certain
            .map(|column| column.name.as_str())
            .filter(|name| properties.get(name).is_some())
            .collect();
        plain_object(properties, required)
    };
    let integer = || Node::from(Map::of([("type", "integer".into())]));
    let result = match (query.verb(), columns) {
        (Verb::Exec, _) => Some(plain_object(Map::of([("rowsAffected", integer())]), ["rowsAffected"])),
        (Verb::One, columns) => columns.map(row),
        (Verb::Many, columns) => columns.map(|columns| {
            let rows = Map::of([("type", "array".into()), ("items", row(columns))]);
            let mut properties = Map::of([("rows", rows.into())]);
            if query.is_paged() {
                let next = [("type", "string".into()), ("description", schema::NEXT.into())];
                properties.put("next", Map::of(next));
            }
            plain_object(properties, ["rows"])
        }),
    };
    tool.put_some("outputSchema", result);
    tool.into()
}

fn plain_object<'a>(properties: Map, required: impl IntoIterator<Item = &'a str>) -> Node {
    let required: Vec<Node> = required.into_iter().map(Node::from).collect();
    let mut object = Map::of([("type", "object".into()), ("properties", properties.into())]);
    if !required.is_empty() {
        object.put("required", Node::List(required));
    }
    object.into()
}

/// A column by its type alone; `None` where it has several.
fn plain_column(column: &Column, int64: Int64) -> Option<Node> {
    let (of, array) = match &column.form {
        Form::Value(of) => (*of, false),
        Form::Array(of) => (*of, true),
        Form::Any | Form::Outside { .. } => return None,
    };
    let name = match of {
        JsonType::Bool => "boolean",
        JsonType::Int32 | JsonType::Uint32 => "integer",
        JsonType::Int64 | JsonType::Uint64 => match int64 {
            Int64::Number => "integer",
            Int64::String => "string",
        },
        JsonType::Float => "number",
        JsonType::BoolOrInt | JsonType::Json | JsonType::Null => return None,
        _ => "string",
    };
    let element = Map::of([("type", name.into())]);
    let mut schema = match array {
        true => Map::of([("type", "array".into()), ("items", element.into())]),
        false => element,
    };
    if column.nullable != Some(false) {
        schema.put("description", "It may be null.");
    }
    Some(schema.into())
}

/// Bedrock's functions have flat parameters, whose values are text.
fn bedrock(query: &Query) -> Node {
    let mut parameters = Map::new();
    for param in given(query) {
        let Kind { scalar, array } = param.kind();
        let name = match (array, plain(scalar)) {
            (true, _) => "array",
            (false, "object") => "string",
            (false, name) => name,
        };
        parameters.put(
            param.name(),
            Map::of([
                ("description", described(param).into()),
                ("type", name.into()),
                ("required", param.default().is_none().into()),
            ]),
        );
    }
    Map::of([
        ("name", query.name().into()),
        ("description", query.description().into()),
        ("parameters", parameters.into()),
    ])
    .into()
}

/// A type of JSON for a parameter, one and no more.
fn plain(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "boolean",
        Scalar::Int => "integer",
        Scalar::Float => "number",
        Scalar::Json => "object",
        _ => "string",
    }
}

/// A parameter in words: what it means, what it may be, and what it is if it is not given.
fn described(param: &Param) -> String {
    let mut text = param.description().to_owned();
    let Kind { scalar, array } = param.kind();
    let form: Option<Cow<'_, str>> = match (array, scalar) {
        (true, scalar) => Some(format!("A list of {}.", scalar.name()).into()),
        (false, Scalar::Uuid) => Some("A UUID.".into()),
        (false, Scalar::Date) => Some("A date such as 2026-01-31.".into()),
        (false, Scalar::Timestamptz) => {
            Some("A timestamp with an offset, such as 2026-01-31T13:37:00Z.".into())
        }
        (false, Scalar::Json) => Some("JSON.".into()),
        (false, scalar) => written_as(scalar).map(Cow::from),
    };
    if let Some(form) = form {
        append(&mut text, &form);
    }
    if let Some(limits) = limits_of(param) {
        append(&mut text, &format!("It {limits}."));
    }
    match param.default() {
        None => {}
        Some(Value::Null) => append(&mut text, "It is null if it is not given."),
        Some(default) => {
            let default = serde_json::to_string(&schema::value(default)).unwrap_or_default();
            append(&mut text, &format!("It is {default} if it is not given."));
        }
    }
    if text.is_empty() {
        // Neither reader takes an empty one.
        text.push_str(param.name());
    }
    text
}

/// What it must be, where it is not every value of its type: `must be between 1 and 500`.
fn limits_of(param: &Param) -> Option<String> {
    param.bounds().map(ToString::to_string).or(param.choice().map(ToString::to_string))
}

/// What stands before the rows.
const ROWS: &[u8] = b"{\"rows\":";
/// The same inside a JSON string.
const ROWS_INSIDE: &[u8] = b"{\\\"rows\\\":";

/// What a function of an action group may have unless the quota was raised.
const BEDROCK_PARAMETERS: usize = 5;

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::Engine;
    use crate::queries::Dialect;

    const QUERIES: &str = "\
-- name: orders :many
-- tool: Orders of a customer
-- The orders that a customer has made, the newest first.
-- max_rows: 100
-- param: tenant int from claims.tenant
-- param: customer uuid -- whose orders
-- param: status text? = open in {'open', 'closed'} -- where they stand
-- param: limit int = 20 in 1..=100 -- how many at most
-- param: least decimal = 0 in 0..
-- param: ids int[] = []
SELECT id, at FROM orders WHERE t = :tenant AND c = :customer AND s = :status AND p > :least AND id = ANY(:ids)
LIMIT :limit;
-- name: cancel :exec
-- tool: Cancel an order
-- Cancels an order that has not been sent.
-- param: id int
-- param: why json -- the reason
-- param: at time
UPDATE orders SET s = :why, t = :at WHERE id = :id;
-- name: hidden :one
-- Not for agents.
SELECT 1 AS a;
";

    fn queries(text: &str) -> Queries {
        let files = [("q.sql".to_owned(), text.to_owned())];
        Queries::parse(&files, Engine::Postgres, Dialect::Postgres).unwrap()
    }

    fn rows() -> Rows {
        let column = |name: &str, of, nullable| Column {
            name: name.to_owned(),
            type_name: String::new(),
            form: Form::Value(of),
            nullable,
            origin: None,
        };
        let columns =
            vec![column("id", JsonType::Int64, Some(false)), column("at", JsonType::Timestamptz, None)];
        Rows::from([("orders".to_owned(), columns)])
    }

    fn told(reader: Reader, rows: &Rows) -> Json {
        serde_json::from_str(&document(&queries(QUERIES), Int64::Number, rows, reader)).unwrap()
    }

    #[test]
    fn the_model_context_protocol() {
        let list = told(Reader::Mcp, &rows());
        let [cancel, orders] = list["tools"].as_array().unwrap().as_slice() else { panic!("{list}") };
        assert_eq!((&orders["name"], &orders["title"]), (&json!("orders"), &json!("Orders of a customer")));
        assert_eq!(orders["description"], "The orders that a customer has made, the newest first.");
        assert_eq!(
            orders["inputSchema"],
            json!({
                "type": "object",
                "properties": {
                    "customer": {"type": "string", "format": "uuid", "description": "whose orders"},
                    "status": {"type": ["string", "null"], "enum": ["open", "closed", null],
                               "description": "where they stand", "default": "open"},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "how many at most",
                              "default": 20},
                    "least": {"type": ["string", "number"], "default": "0",
                              "description": "It must be at least 0. Exact: best a string of digits such as \"9.99\"."},
                    "ids": {"type": "array", "items": {"type": ["integer", "null"]}, "default": []},
                },
                "required": ["customer"],
                "additionalProperties": false,
            })
        );
        assert_eq!(
            orders["outputSchema"],
            json!({
                "type": "object",
                "properties": {"rows": {"type": "array", "maxItems": 100, "items": {
                    "type": "object",
                    "properties": {"id": {"type": "integer"}, "at": {"type": ["string", "null"]}},
                    "required": ["id", "at"],
                    "additionalProperties": false,
                }}},
                "required": ["rows"],
                "additionalProperties": false,
            })
        );
        assert_eq!(
            orders["annotations"],
            json!({"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true})
        );
        assert_eq!(
            cancel["annotations"],
            json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": false})
        );
        assert_eq!(cancel["outputSchema"]["required"], json!(["rowsAffected"]));
        assert_eq!(
            cancel["inputSchema"]["properties"]["at"]["description"],
            "A time of day such as 13:37:00."
        );
        // Of rows that nobody knows nothing is promised.
        let list = told(Reader::Mcp, &Rows::new());
        assert!(list["tools"][1].get("outputSchema").is_none());
    }

    #[test]
    fn agentcore_has_types_and_words() {
        let list = told(Reader::AgentCore, &rows());
        let [cancel, orders] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
        assert_eq!(
            orders["inputSchema"],
            json!({
                "type": "object",
                "properties": {
                    "customer": {"type": "string", "description": "whose orders. A UUID."},
                    "status": {"type": "string", "description":
                        "where they stand. It must be one of 'open', 'closed'. It is \"open\" if it is not given."},
                    "limit": {"type": "integer", "description":
                        "how many at most. It must be between 1 and 100. It is 20 if it is not given."},
                    "least": {"type": "string", "description":
                        "Exact: best a string of digits such as \"9.99\". It must be at least 0. It is \"0\" if it is \
                         not given."},
                    "ids": {"type": "array", "items": {"type": "integer"}, "description":
                        "A list of int. It is [] if it is not given."},
                },
                "required": ["customer"],
            })
        );
        assert_eq!(
            orders["outputSchema"]["properties"]["rows"]["items"],
            json!({"type": "object", "properties": {
                "id": {"type": "integer"}, "at": {"type": "string", "description": "It may be null."}},
                "required": ["id"]})
        );
        assert_eq!(
            cancel["inputSchema"]["properties"]["id"],
            json!({"type": "integer", "description": "id"})
        );
        assert_eq!(cancel["outputSchema"]["properties"], json!({"rowsAffected": {"type": "integer"}}));
    }

    #[test]
    fn bedrock_has_flat_functions() {
        let list = told(Reader::Bedrock, &rows());
        assert_eq!(
            list["functions"][0],
            json!({
                "name": "cancel",
                "description": "Cancels an order that has not been sent.",
                "parameters": {
                    "id": {"description": "id", "type": "integer", "required": true},
                    "why": {"description": "the reason. JSON.", "type": "string", "required": true},
                    "at": {"description": "A time of day such as 13:37:00.", "type": "string", "required": true},
                },
            })
        );
        let text = "-- name: _a__b :exec\n-- tool: A\n-- About.\n-- param: a int\n-- param: b int\n-- param: c int\n\
                    -- param: d int\n-- param: e int\n-- param: f int\nDELETE FROM t WHERE a IN (:a,:b,:c,:d,:e,:f)";
        let troubles = super::troubles(&queries(text), Reader::Bedrock);
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles[0].starts_with("q.sql:1: _a__b: a Bedrock agent takes names"), "{troubles:?}");
        assert!(super::troubles(&queries(text), Reader::Mcp).is_empty());
    }

    #[test]
    fn an_agent_is_told_how_to_ask_for_less() {
        let queries = queries(QUERIES);
        let query = |name| queries.get(name).unwrap();
        let large = || Err(Error::told(Fault::ResultTooLarge, "It is large."));
        assert_eq!(
            result(query("orders"), large(), false).unwrap_err().message(),
            "It is large. Ask for less by its parameters: `customer`, `status` (must be one of 'open', 'closed'), \
             `limit` (must be between 1 and 100), `least` (must be at least 0), `ids`."
        );
        assert_eq!(
            result(query("hidden"), large(), false).unwrap_err().message(),
            "It is large. It has no parameter by which to ask for less."
        );
        assert_eq!(result(query("orders"), Ok(b"[1]".to_vec()), false).unwrap(), b"{\"rows\":[1]}");
        assert_eq!(result(query("orders"), Ok(b"[1]".to_vec()), true).unwrap(), b"{\\\"rows\\\":[1]}");
        assert_eq!(result(query("hidden"), Ok(b"{}".to_vec()), false).unwrap(), b"{}");
    }
}
