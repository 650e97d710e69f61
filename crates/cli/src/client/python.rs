//! The client in Python.

use std::fmt::Write as _;

use lambda_rds::backend::Access;
use lambda_rds::config::Function;
use lambda_rds::describe::{Column, Form, JsonType};
use lambda_rds::openapi::Rows;
use lambda_rds::queries::{Dialect, Param, Queries, Verb};
use lambda_rds::value::{Scalar, Value};

use super::{Call, codes, header, quoted};

/// Writes the file.
pub(super) fn written(queries: &Queries, function: &Function, rows: &Rows) -> String {
    let taken = TAKEN.iter().map(|word| (*word).to_owned()).chain(declared()).collect();
    let calls = Call::all(queries, rows, taken, |query| (query.to_owned(), type_name(query)), rows_name);
    let mut out = format!("# {}\n", header("python"));
    out.push_str(IMPORTS);
    let codes: Vec<String> = codes().into_iter().map(quoted).collect();
    let codes = codes.join(",\n    ");
    let _ = writeln!(out, "Code = Literal[\n    {codes},\n]");
    out.push_str(
        "\"\"\"What can go wrong. `no_reply`: nothing came back that the function itself said. `other`: it said what this\n\
         client does not know yet.\"\"\"\n\n",
    );
    let _ = writeln!(out, "CODES: Final = (\n    {codes},\n)\n");
    out.push_str(match queries.iter().next().map(|query| query.dialect()) {
        None | Some(Dialect::Postgres) => "\nclass Changes(TypedDict):\n",
        Some(_) => "\nclass _Inserted(TypedDict, total=False):\n    lastInsertId: int\n\n\nclass Changes(_Inserted):\n",
    });
    out.push_str("    \"\"\"What a query did that gives no rows.\"\"\"\n\n    rowsAffected: int\n\n\n");
    out.push_str(RUNTIME);
    let several = if function.http_batch { "Union[Http, Invoke]" } else { "Invoke" };
    let _ = writeln!(out, "\n\nSeveral = {several}\n\"\"\"What several steps at once may go through.\"\"\"");
    for call in &calls {
        if call.query.verb() != Verb::Exec {
            put_row(&mut out, call);
        }
        if call.query.is_paged() {
            let name = &call.type_name;
            let _ = writeln!(
                out,
                "\n{name}Page = TypedDict(\"{name}Page\", {{\"rows\": \"List[{name}Row]\", \"next\": \"Optional[str]\"}})"
            );
        }
    }
    for call in &calls {
        put_table(&mut out, call);
    }
    out.push_str("\n\nclass steps:\n    \"\"\"The queries as steps of a `transaction` or a `batch`.\"\"\"\n");
    for call in calls.iter().filter(|call| call.is_step()) {
        let _ = writeln!(
            out,
            "\n    @staticmethod\n    def {}({}) -> Step[{}]:\n        return {}",
            call.name,
            parameters(call, false).trim_start_matches(", "),
            result(call),
            step(call)
        );
    }
    for call in &calls {
        put_function(&mut out, call);
    }
    out
}

fn put_row(out: &mut String, call: &Call<'_>) {
    let name = &call.type_name;
    let Some(columns) = call.columns else {
        let _ = writeln!(out, "\n{name}Row = Dict[str, Any]");
        return;
    };
    let _ = writeln!(out, "\n{name}Row = TypedDict(\n    \"{name}Row\",\n    {{");
    for column in columns {
        let _ = writeln!(out, "        {}: {},", quoted(&column.name), quoted(&column_type(column)));
    }
    out.push_str("    },\n)\n");
}

/// What the runtime knows of the query.
fn put_table(out: &mut String, call: &Call<'_>) {
    let dict = |pairs: Vec<(&str, &str)>| {
        let pairs: Vec<String> =
            pairs.into_iter().map(|(name, kind)| format!("{}: {}", quoted(name), quoted(kind))).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let gives = match call.query.verb() {
        _ if call.query.is_paged() => "page",
        Verb::Many => "rows",
        Verb::One => "row",
        Verb::Exec => "changes",
    };
    let methods: String = call.methods().into_iter().map(|method| format!("\"{method}\", ")).collect();
    let methods = if methods.is_empty() { "()".to_owned() } else { format!("({})", methods.trim_end()) };
    let params = call.params();
    let params = params.iter().map(|param| (param.name(), param_kind(param.kind().scalar)));
    let columns = call.columns.unwrap_or_default();
    let columns = columns.iter().filter_map(|column| Some((column.name.as_str(), column_kind(column)?)));
    let key = call.key().map(|(kind, name)| format!("({}, {})", quoted(kind), quoted(name)));
    let key = key.unwrap_or_else(|| "None".to_owned());
    let _ = writeln!(
        out,
        "\n_{}_query: Final = _Query(\n    name={},\n    gives=\"{gives}\",\n    reads={},\n    methods={methods},\n    key={key},\n    \
         params={},\n    headers={},\n    columns={},\n)",
        call.name,
        quoted(call.query.name()),
        if call.query.access() == Access::Read { "True" } else { "False" },
        dict(params.collect()),
        dict(call.headers()),
        dict(columns.collect()),
    );
}

fn put_function(out: &mut String, call: &Call<'_>) {
    let via = match (call.http, call.invoke) {
        (true, true) => "Union[Http, Invoke]",
        (true, false) => "Http",
        (false, _) => "Invoke",
    };
    let _ = writeln!(out, "\n\ndef {}(via: {via}{}) -> {}:", call.name, parameters(call, true), result(call));
    let mut words = call.query.description().to_owned();
    let about: Vec<String> = call.params().iter().filter_map(|param| about(call, param)).collect();
    if !about.is_empty() {
        let _ = write!(words, "{}{}", if words.is_empty() { "" } else { "\n\n" }, about.join("\n"));
    }
    if !words.is_empty() {
        let words = words.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\n    ");
        let lines: Vec<&str> = words.lines().map(str::trim_end).collect();
        let end = if lines.len() > 1 { "\n    " } else { "" };
        let _ = writeln!(out, "    \"\"\"{}{end}\"\"\"", lines.join("\n"));
    }
    let key = if call.is_keyed() { ", idempotency_key" } else { "" };
    let _ = writeln!(out, "    return _run(via, {}, attempts{key})", step(call));
    if call.query.is_paged() {
        let _ = writeln!(
            out,
            "\n\ndef {}(via: {via}{}) -> Iterator[{}Row]:\n    \
             \"\"\"The rows of all pages of `{}`, each page asked for when it is needed.\"\"\"\n    \
             while True:\n        told: {} = _run(via, {}, attempts)\n        yield from told[\"rows\"]\n        \
             if told[\"next\"] is None:\n            return\n        page = told[\"next\"]",
            rows_name(&call.name),
            parameters(call, true),
            call.type_name,
            call.name,
            result(call),
            step(call)
        );
    }
}

/// A line on a parameter, if there is something to say.
fn about(call: &Call<'_>, param: &Param) -> Option<String> {
    let mut words = param.description().to_owned();
    if let Some((_, header)) = call.headers().iter().find(|(name, _)| *name == param.name()) {
        let _ =
            write!(words, "{}It is sent as the header {header}.", if words.is_empty() { "" } else { " " });
    }
    (!words.is_empty()).then(|| format!("`{}`: {words}", argument(param.name())))
}

/// The function that goes through the pages.
fn rows_name(name: &str) -> String {
    format!("{name}_rows")
}

fn parameters(call: &Call<'_>, attempts: bool) -> String {
    let mut all: Vec<String> = Vec::new();
    for param in call.params() {
        let of = param_type(param);
        all.push(match param.default() {
            Some(_) => format!("{}: Union[{of}, _Unset] = UNSET", argument(param.name())),
            None => format!("{}: {of}", argument(param.name())),
        });
    }
    if attempts {
        all.push("attempts: int = 3".to_owned());
        if call.is_keyed() {
            all.push("idempotency_key: Optional[str] = None".to_owned());
        }
    }
    if all.is_empty() { String::new() } else { format!(", *, {}", all.join(", ")) }
}

fn step(call: &Call<'_>) -> String {
    let pairs: Vec<String> = call
        .params()
        .iter()
        .map(|param| format!("{}: {}", quoted(param.name()), argument(param.name())))
        .collect();
    format!("Step(_{}_query, {{{}}})", call.name, pairs.join(", "))
}

fn result(call: &Call<'_>) -> String {
    match call.query.verb() {
        _ if call.query.is_paged() => format!("{}Page", call.type_name),
        Verb::Many => format!("List[{}Row]", call.type_name),
        Verb::One => format!("{}Row", call.type_name),
        Verb::Exec => "Changes".to_owned(),
    }
}

fn column_type(column: &Column) -> String {
    let of = match &column.form {
        Form::Value(of) => json_type(*of).to_owned(),
        Form::Array(of) => format!("List[{}]", optional(json_type(*of))),
        Form::Any | Form::Outside { .. } => "Any".to_owned(),
    };
    if column.nullable == Some(false) { of } else { optional(&of) }
}

fn optional(of: &str) -> String {
    if of == "Any" || of == "None" { of.to_owned() } else { format!("Optional[{of}]") }
}

fn json_type(of: JsonType) -> &'static str {
    match of {
        JsonType::Bool => "bool",
        JsonType::BoolOrInt => "Union[bool, int]",
        JsonType::Int32 | JsonType::Uint32 | JsonType::Int64 | JsonType::Uint64 => "int",
        JsonType::Float => "float",
        JsonType::Decimal => "Decimal",
        JsonType::Text
        | JsonType::Uuid
        | JsonType::Date
        | JsonType::Time
        | JsonType::Timestamp
        | JsonType::Timestamptz
        | JsonType::Interval => "str",
        JsonType::Bytes => "bytes",
        JsonType::Json => "Any",
        JsonType::Null => "None",
    }
}

/// How a column is converted, if it is. A 64-bit integer may be a string in the reply.
fn column_kind(column: &Column) -> Option<&'static str> {
    match &column.form {
        Form::Value(of) | Form::Array(of) => match of {
            JsonType::Int64 | JsonType::Uint64 => Some("int"),
            JsonType::Float => Some("float"),
            JsonType::Decimal => Some("decimal"),
            JsonType::Bytes => Some("bytes"),
            _ => None,
        },
        Form::Any | Form::Outside { .. } => None,
    }
}

fn param_type(param: &Param) -> String {
    let literal = |value: &Value| match value {
        Value::Text(text) => Some(quoted(text)),
        Value::Int(value) => Some(value.to_string()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        _ => None,
    };
    let literals =
        param.choice().and_then(|choice| choice.values().iter().map(literal).collect::<Option<Vec<_>>>());
    let of = match literals {
        Some(literals) => format!("Literal[{}]", literals.join(", ")),
        None => given_type(param.kind().scalar).to_owned(),
    };
    let of = match param.kind().array {
        true if param.choice().is_some() => format!("Sequence[{of}]"),
        true => format!("Sequence[{}]", optional(&of)),
        false => of,
    };
    if param.nullable() { optional(&of) } else { of }
}

fn given_type(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::Int => "int",
        Scalar::Float => "float",
        Scalar::Decimal => "Union[Decimal, int, str]",
        Scalar::Bytes => "bytes",
        Scalar::Json => "Any",
        Scalar::Text
        | Scalar::Uuid
        | Scalar::Date
        | Scalar::Time
        | Scalar::Timestamp
        | Scalar::Timestamptz => "str",
    }
}

fn param_kind(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Float => "float",
        Scalar::Decimal => "decimal",
        Scalar::Bytes => "bytes",
        Scalar::Json => "json",
        _ => "plain",
    }
}

/// `active_users` has the types `ActiveUsersRow` and so on.
fn type_name(query: &str) -> String {
    let mut name = String::new();
    for part in query.split('_').filter(|part| !part.is_empty()) {
        name.push_str(&part[..1].to_ascii_uppercase());
        name.push_str(&part[1..]);
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.insert(0, '_');
    }
    name
}

/// A parameter as an argument of a function.
fn argument(name: &str) -> String {
    let taken = KEYWORDS.contains(&name)
        || ["via", "attempts", "idempotency_key"].contains(&name)
        || name.starts_with("__");
    if taken { format!("{name}_") } else { name.to_owned() }
}

/// What the file declares besides the queries.
fn declared() -> impl Iterator<Item = String> {
    let lines = IMPORTS.lines().chain(RUNTIME.lines());
    let words =
        lines.filter(|line| line.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_'));
    words
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned))
        .chain(["CODES", "Code", "Changes", "Several", "steps"].map(str::to_owned))
}

const IMPORTS: &str = "\
from __future__ import annotations

import base64
import json
import math
import random
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from decimal import Decimal
from typing import Any, Callable, Dict, Final, Generic, Iterator, List, Literal, Mapping, NamedTuple, Optional, Sequence, Tuple
from typing import TypedDict, TypeVar, Union, cast, overload

_R = TypeVar(\"_R\")
_S = TypeVar(\"_S\")
_T = TypeVar(\"_T\")
_U = TypeVar(\"_U\")

";

const RUNTIME: &str = include_str!("runtime.py");

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Keywords, and what the runtime uses of Python's own.
const TAKEN: [&str; 56] = [
    "False",
    "None",
    "True",
    "and",
    "as",
    "assert",
    "async",
    "await",
    "break",
    "class",
    "continue",
    "def",
    "del",
    "elif",
    "else",
    "except",
    "finally",
    "for",
    "from",
    "global",
    "if",
    "import",
    "in",
    "is",
    "lambda",
    "nonlocal",
    "not",
    "or",
    "pass",
    "raise",
    "return",
    "try",
    "while",
    "with",
    "yield",
    "all",
    "any",
    "bool",
    "bytes",
    "callable",
    "dict",
    "float",
    "getattr",
    "int",
    "isinstance",
    "list",
    "len",
    "max",
    "min",
    "str",
    "super",
    "tuple",
    "type",
    "staticmethod",
    "zip",
    "object",
];
