//! JSON Schema of what a query takes and gives: parameters, rows, and what a write did. For the OpenAPI document and
//! for the tools of agents. Pure. <https://json-schema.org/draft/2020-12>

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Number;

use crate::config::Int64;
use crate::describe::{Column, Form, JsonType};
use crate::queries::{Dialect, Param, Query};
use crate::value::{Kind, Scalar, Value, time};

/// The parameters that a caller gives as one object.
pub(crate) fn parameters_schema(query: &Query) -> Node {
    let given = || query.params().iter().filter(|param| param.bound_from().is_none());
    let mut properties = Map::new();
    for param in given() {
        properties.put(param.name(), parameter_schema(param, param.nullable()));
    }
    object(properties, given().filter(|param| param.default().is_none()).map(Param::name))
}

pub(crate) fn parameter_schema(param: &Param, nullable: bool) -> Node {
    let Kind { scalar, array } = param.kind();
    let choice = param.choice().map(|choice| choice.values().iter().map(value).collect::<Vec<_>>());
    let mut description = param.description().to_owned();
    let mut schema = match array {
        true => {
            // No null is among the values of a choice.
            let items = match choice {
                Some(values) => chosen(given_type(scalar), values),
                None => Node::from(given_type(scalar)).or_null(true),
            };
            Map::of([("type", "array".into()), ("items", items)])
        }
        false => {
            let mut schema = given_type(scalar);
            if let Some(mut values) = choice {
                values.extend(nullable.then_some(Node::Null));
                schema.put("enum", Node::List(values));
            }
            schema
        }
    };
    if let Some(bounds) = param.bounds() {
        let (low, high, inclusive) = bounds.ends();
        let length = |text: &str| text.parse::<u64>().ok();
        let last = |text: &str| length(text).map(|end| if inclusive { end } else { end.saturating_sub(1) });
        let lengths = match (scalar, array) {
            (_, true) => Some(("minItems", "maxItems")),
            (Scalar::Text, false) => Some(("minLength", "maxLength")),
            _ => None,
        };
        let upper = if inclusive { "maximum" } else { "exclusiveMaximum" };
        match (lengths, scalar) {
            (Some((least, most)), _) => {
                schema.put_some(least, low.and_then(length));
                schema.put_some(most, high.and_then(last));
            }
            (None, Scalar::Int) => {
                schema.put_some("minimum", low.and_then(|text| text.parse::<i64>().ok()));
                schema.put_some(upper, high.and_then(|text| text.parse::<i64>().ok()));
            }
            (None, Scalar::Float) => {
                let number = |text: &str| Number::from_f64(text.parse().ok()?);
                schema.put_some("minimum", low.and_then(number));
                schema.put_some(upper, high.and_then(number));
            }
            // Of these JSON Schema has no order.
            _ => append(&mut description, &format!("It {bounds}.")),
        }
    }
    if !description.is_empty() {
        schema.put("description", description);
    }
    if let Some(default) = param.default().filter(|default| nullable || **default != Value::Null) {
        schema.put("default", value(default));
    }
    Node::from(schema).or_null(nullable)
}

/// Adds a sentence to a description, which its author may have ended without a full stop.
pub(crate) fn append(description: &mut String, sentence: &str) {
    if description.ends_with(|c: char| c.is_alphanumeric()) {
        description.push('.');
    }
    if !description.is_empty() {
        description.push(' ');
    }
    description.push_str(sentence);
}

/// The same schema for one of these values.
fn chosen(mut schema: Map, values: Vec<Node>) -> Node {
    schema.put("enum", Node::List(values));
    schema.into()
}

/// What a caller gives for a parameter.
fn given_type(scalar: Scalar) -> Map {
    let string = |format: &str| Map::of([("type", "string".into()), ("format", format.into())]);
    match scalar {
        Scalar::Bool => Map::of([("type", "boolean".into())]),
        Scalar::Int => Map::of([("type", "integer".into()), ("format", "int64".into())]),
        Scalar::Float => Map::of([("type", "number".into()), ("format", "double".into())]),
        Scalar::Decimal => Map::of([
            ("type", Node::List(vec!["string".into(), "number".into()])),
            ("format", "decimal".into()),
        ]),
        Scalar::Text => Map::of([("type", "string".into())]),
        Scalar::Uuid => string("uuid"),
        Scalar::Date => string("date"),
        Scalar::Time => string("time-local"),
        Scalar::Timestamp => string("date-time-local"),
        Scalar::Timestamptz => string("date-time"),
        Scalar::Json => Map::new(),
        Scalar::Bytes => base64(),
    }
}

pub(crate) fn row(columns: &[Column], int64: Int64) -> Node {
    let mut properties = Map::new();
    for column in columns {
        let nullable = column.nullable != Some(false);
        let schema = match &column.form {
            Form::Value(of) => json_type(*of, int64).or_null(nullable),
            Form::Array(of) => {
                let items = json_type(*of, int64).or_null(true);
                Node::from(Map::of([("type", "array".into()), ("items", items)])).or_null(nullable)
            }
            Form::Any | Form::Outside { .. } => Map::new().into(),
        };
        properties.put(column.name.as_str(), schema);
    }
    object(properties, columns.iter().map(|column| column.name.as_str()))
}

/// What a reply has for a value of this type.
fn json_type(of: JsonType, int64: Int64) -> Node {
    let formatted = |json: &str, format: &str| Map::of([("type", json.into()), ("format", format.into())]);
    let string = |format: &str| formatted("string", format);
    let wide = |format: &str| match int64 {
        Int64::Number => formatted("integer", format),
        Int64::String => string(format),
    };
    match of {
        JsonType::Bool => Map::of([("type", "boolean".into())]),
        JsonType::BoolOrInt => Map::of([("type", Node::List(vec!["boolean".into(), "integer".into()]))]),
        JsonType::Int32 => formatted("integer", "int32"),
        JsonType::Uint32 => formatted("integer", "uint32"),
        JsonType::Int64 => wide("int64"),
        JsonType::Uint64 => wide("uint64"),
        JsonType::Float => {
            let not_finite = ["NaN", "Infinity", "-Infinity"].map(Node::from).to_vec();
            let forms = vec![
                formatted("number", "double").into(),
                Map::of([("type", "string".into()), ("enum", Node::List(not_finite))]).into(),
            ];
            Map::of([("anyOf", Node::List(forms))])
        }
        JsonType::Decimal => string("decimal"),
        JsonType::Text => Map::of([("type", "string".into())]),
        JsonType::Uuid => string("uuid"),
        JsonType::Date => string("date"),
        JsonType::Time => string("time-local"),
        JsonType::Timestamp => string("date-time-local"),
        JsonType::Timestamptz => string("date-time"),
        JsonType::Interval => string("duration"),
        JsonType::Bytes => base64(),
        JsonType::Json => Map::new(),
        JsonType::Null => Map::of([("type", "null".into())]),
    }
    .into()
}

fn base64() -> Map {
    Map::of([("type", "string".into()), ("contentEncoding", "base64".into())])
}

fn unsigned() -> Node {
    Map::of([("type", "integer".into()), ("format", "uint64".into()), ("minimum", 0_u64.into())]).into()
}

/// The schema of a page of such rows.
pub(crate) fn page(rows: Node) -> Node {
    let types = Node::List(vec!["string".into(), "null".into()]);
    let next = Map::of([("type", types), ("description", NEXT.into())]);
    object(Map::of([("rows", rows), ("next", next.into())]), ["rows", "next"])
}

pub(crate) const NEXT: &str = "The `page` of the next call; null behind the last page.";

/// What a query tells that gives no rows.
pub(crate) fn changes(dialect: Dialect, int64: Int64) -> Node {
    let mut properties = Map::of([("rowsAffected", unsigned())]);
    // On PostgreSQL the statement itself tells: RETURNING.
    if dialect != Dialect::Postgres {
        properties.put("lastInsertId", json_type(JsonType::Int64, int64));
    }
    object(properties, ["rowsAffected"])
}

/// An object of exactly these members.
pub(crate) fn object<'a>(properties: Map, required: impl IntoIterator<Item = &'a str>) -> Node {
    let required: Vec<Node> = required.into_iter().map(Node::from).collect();
    let mut object = Map::of([("type", "object".into())]);
    if !properties.is_empty() {
        object.put("properties", properties);
    }
    if !required.is_empty() {
        object.put("required", Node::List(required));
    }
    object.put("additionalProperties", false);
    object.into()
}

/// A default as a caller would write it in JSON.
pub(crate) fn value(value: &Value) -> Node {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut text = Vec::new();
        write(&mut text);
        Node::from(String::from_utf8_lossy(&text).into_owned())
    };
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => match Number::from_f64(*value) {
            Some(number) => number.into(),
            None => value.to_string().replace("inf", "Infinity").into(),
        },
        Value::Decimal(value) | Value::Text(value) => value.as_str().into(),
        Value::Uuid(value) => uuid(value).into(),
        Value::Date(days) => written(&|out| time::write_date(out, *days)),
        Value::Time(micros) => written(&|out| time::write_time(out, *micros)),
        Value::Timestamp(micros) => written(&|out| time::write_timestamp(out, *micros, false)),
        Value::Timestamptz(micros) => written(&|out| time::write_timestamp(out, *micros, true)),
        // Read when the query file was, so it is JSON.
        Value::Json(text) => serde_json::from_str(text).map(Node::Json).unwrap_or(Node::Null),
        Value::Bytes(bytes) => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        Value::Array(elements) => Node::List(elements.iter().map(self::value).collect()),
    }
}

/// `123e4567-e89b-12d3-a456-426614174000`
fn uuid(bytes: &[u8; 16]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// JSON whose members keep their order: that of the query files, which readers know.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Map),
    Json(serde_json::Value),
}

/// An object's members, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map(Vec<(String, Node)>);

impl Map {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of<'a>(members: impl IntoIterator<Item = (&'a str, Node)>) -> Self {
        Self(members.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
    }

    /// Adds a member, in the place of the one of this name if there is one.
    pub(crate) fn put(&mut self, name: impl Into<String>, node: impl Into<Node>) {
        let (name, node) = (name.into(), node.into());
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = node,
            None => self.0.push((name, node)),
        }
    }

    pub(crate) fn put_some(&mut self, name: &str, node: Option<impl Into<Node>>) {
        if let Some(node) = node {
            self.put(name, node);
        }
    }

    /// The member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, node)| node)
    }

    /// The members, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.0.iter_mut().map(|(name, node)| (name.as_str(), node))
    }

    /// Takes a member out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Node {
    /// The same schema, or null.
    pub(crate) fn or_null(self, nullable: bool) -> Self {
        let Self::Map(mut schema) = self else { return self };
        // Without a word about the type it allows null already.
        if !nullable || schema.is_empty() {
            return schema.into();
        }
        let null = || Node::from("null");
        match schema.0.iter_mut().find(|(name, _)| name == "type" || name == "anyOf") {
            Some((name, of)) if name == "type" => match of {
                Self::List(types) => types.push(null()),
                Self::Text(text) if text == "null" => {}
                one => *one = Self::List(vec![one.clone(), null()]),
            },
            Some((_, Self::List(forms))) => forms.push(Map::of([("type", null())]).into()),
            _ => {}
        }
        schema.into()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(nodes) => serializer.collect_seq(nodes),
            Self::Map(Map(members)) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, node) in members {
                    map.serialize_entry(name, node)?;
                }
                map.end()
            }
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<u64> for Node {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}

impl From<Number> for Node {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

impl From<Map> for Node {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}
