//! The client in TypeScript.

use std::collections::HashSet;
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
    let taken = RESERVED.iter().map(|word| (*word).to_owned()).chain(declared()).collect();
    let calls = Call::all(queries, rows, taken, names, rows_name);
    let mut out = format!("// {}\n\n", header("typescript"));
    let codes: Vec<String> = codes().into_iter().map(quoted).collect();
    let _ = writeln!(out, "const CODES = [\n    {},\n] as const;\n", codes.join(",\n    "));
    out.push_str(CODES_WORDS);
    out.push_str(match queries.iter().next().map(|query| query.dialect()) {
        None | Some(Dialect::Postgres) => "export interface Changes {\n    rowsAffected: number;\n}\n",
        Some(_) => "export interface Changes {\n    rowsAffected: number;\n    lastInsertId?: bigint;\n}\n",
    });
    let _ = writeln!(
        out,
        "\n/** What several steps at once may go through. */\nexport type Several = {};",
        if function.http_batch { "Http | Invoke" } else { "Invoke" }
    );
    for call in &calls {
        put(&mut out, call);
    }
    out.push_str("\n/** The queries as steps of a `transaction` or a `batch`. */\nexport const steps = {\n");
    for call in calls.iter().filter(|call| call.is_step()) {
        let _ = writeln!(
            out,
            "    {}: ({}): Step<{}> => step({}Query, {}),",
            call.name,
            parameters(call),
            result(call),
            call.name,
            if call.params().is_empty() { "{}" } else { "params" }
        );
    }
    out.push_str("};\n\n");
    out.push_str(RUNTIME);
    out
}

/// Types, table and function of a query.
fn put(out: &mut String, call: &Call<'_>) {
    let params = call.params();
    if !params.is_empty() {
        let _ = writeln!(out, "\nexport interface {}Params {{", call.type_name);
        for param in &params {
            let mut words = param.description().to_owned();
            if let Some((_, header)) = call.headers().iter().find(|(name, _)| *name == param.name()) {
                let _ = write!(
                    words,
                    "{}It is sent as the header {header}.",
                    if words.is_empty() { "" } else { " " }
                );
            }
            comment(out, "    ", &words);
            let optional = if param.default().is_some() { "?" } else { "" };
            let _ = writeln!(out, "    {}{optional}: {};", param.name(), param_type(param));
        }
        out.push_str("}\n");
    }
    if call.query.verb() != Verb::Exec {
        let _ = writeln!(out, "\nexport {};", row(call));
    }
    let kinds = |pairs: Vec<(&str, &str)>| {
        let pairs: Vec<String> =
            pairs.into_iter().map(|(name, kind)| format!("{}: {}", quoted(name), quoted(kind))).collect();
        if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
    };
    let columns = call.columns.unwrap_or_default();
    let columns = columns.iter().filter_map(|column| Some((column.name.as_str(), column_kind(column)?)));
    let methods: Vec<String> = call.methods().into_iter().map(quoted).collect();
    let _ = writeln!(out, "\nconst {}Query: Query<{}> = {{", call.name, result(call));
    let _ = writeln!(out, "    name: {},", quoted(call.query.name()));
    let _ = writeln!(out, "    gives: {},", quoted(gives(call)));
    let _ = writeln!(out, "    reads: {},", call.query.access() == Access::Read);
    let _ = writeln!(out, "    methods: [{}],", methods.join(", "));
    if let Some((kind, name)) = call.key() {
        let _ = writeln!(out, "    key: {{ {kind}: {} }},", quoted(name));
    }
    let all = params.iter().map(|param| (param.name(), param_kind(param.kind().scalar)));
    let _ = writeln!(out, "    params: {},", kinds(all.collect()));
    if !call.headers().is_empty() {
        let _ = writeln!(out, "    headers: {},", kinds(call.headers()));
    }
    let _ = writeln!(out, "    columns: {},\n}};\n", kinds(columns.collect()));
    comment(out, "", call.query.description());
    let via = match (call.http, call.invoke) {
        (true, true) => "Http | Invoke",
        (true, false) => "Http",
        (false, _) => "Invoke",
    };
    let parameters = match parameters(call) {
        none if none.is_empty() => none,
        some => format!(", {some}"),
    };
    let given = if params.is_empty() { "{}" } else { "params" };
    let _ = writeln!(
        out,
        "export function {name}(via: {via}{parameters}, options: {} = {{}}): Promise<{}> {{\n    \
         return run(via, step({name}Query, {given}), options);\n}}",
        if call.is_keyed() { "KeyedOptions" } else { "Options" },
        result(call),
        name = call.name,
    );
    if call.query.is_paged() {
        let _ = writeln!(
            out,
            "\n/** The rows of all pages of `{name}`, each page asked for when it is needed. */\n\
             export function {}(via: {via}{parameters}, options: Options = {{}}): AsyncGenerator<{}Row, void, undefined> {{\n    \
             return everyRow(via, {name}Query, {given}, options);\n}}",
            rows_name(&call.name),
            call.type_name,
            name = call.name,
        );
    }
}

/// The function that goes through the pages.
fn rows_name(name: &str) -> String {
    format!("{name}Rows")
}

fn parameters(call: &Call<'_>) -> String {
    let params = call.params();
    match params.iter().any(|param| param.default().is_none()) {
        _ if params.is_empty() => String::new(),
        true => format!("params: {}Params", call.type_name),
        false => format!("params: {}Params = {{}}", call.type_name),
    }
}

fn gives(call: &Call<'_>) -> &'static str {
    match call.query.verb() {
        _ if call.query.is_paged() => "page",
        Verb::Many => "rows",
        Verb::One => "row",
        Verb::Exec => "changes",
    }
}

fn result(call: &Call<'_>) -> String {
    match call.query.verb() {
        _ if call.query.is_paged() => format!("Page<{}Row>", call.type_name),
        Verb::Many => format!("{}Row[]", call.type_name),
        Verb::One => format!("{}Row", call.type_name),
        Verb::Exec => "Changes".to_owned(),
    }
}

fn row(call: &Call<'_>) -> String {
    let Some(columns) = call.columns else {
        return format!("type {}Row = Record<string, unknown>", call.type_name);
    };
    let mut text = format!("type {}Row = {{\n", call.type_name);
    for column in columns {
        let _ = writeln!(text, "    {}: {};", property(&column.name), column_type(column));
    }
    text.push('}');
    text
}

fn column_type(column: &Column) -> String {
    let of = match &column.form {
        Form::Value(of) => json_type(*of).to_owned(),
        Form::Array(of) => format!("({} | null)[]", json_type(*of)),
        Form::Any | Form::Outside { .. } => "unknown".to_owned(),
    };
    // What is unknown may be null already.
    let nullable = column.nullable != Some(false) && of != "unknown" && of != "null";
    if nullable { format!("{of} | null") } else { of }
}

fn json_type(of: JsonType) -> &'static str {
    match of {
        JsonType::Bool => "boolean",
        JsonType::BoolOrInt => "boolean | number",
        JsonType::Int32 | JsonType::Uint32 | JsonType::Float => "number",
        JsonType::Int64 | JsonType::Uint64 => "bigint",
        JsonType::Decimal
        | JsonType::Text
        | JsonType::Uuid
        | JsonType::Date
        | JsonType::Time
        | JsonType::Timestamp
        | JsonType::Timestamptz
        | JsonType::Interval => "string",
        JsonType::Bytes => "Uint8Array",
        JsonType::Json => "unknown",
        JsonType::Null => "null",
    }
}

/// How a column is converted, if it is.
fn column_kind(column: &Column) -> Option<&'static str> {
    match &column.form {
        Form::Value(of) | Form::Array(of) => match of {
            JsonType::Int64 | JsonType::Uint64 => Some("int"),
            JsonType::Float => Some("float"),
            JsonType::Bytes => Some("bytes"),
            _ => None,
        },
        Form::Any | Form::Outside { .. } => None,
    }
}

fn param_type(param: &Param) -> String {
    let scalar = param.kind().scalar;
    let chosen = param.choice().map(|choice| {
        let literal = |value: &Value| match value {
            Value::Text(text) => Some(quoted(text)),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        choice.values().iter().map(literal).collect::<Option<Vec<_>>>()
    });
    let of = match (chosen.flatten(), param.choice()) {
        (Some(literals), _) => literals.join(" | "),
        // Every integer is one of two types, of which each literal is one.
        (None, Some(choice)) if scalar == Scalar::Int => {
            let int = |value: &Value| match value {
                Value::Int(value) if value.unsigned_abs() <= EXACT => format!("{value} | {value}n"),
                Value::Int(value) => format!("{value}n"),
                _ => "Int".to_owned(),
            };
            choice.values().iter().map(int).collect::<Vec<_>>().join(" | ")
        }
        _ => given_type(scalar).to_owned(),
    };
    let of = match param.kind().array {
        true if param.choice().is_some() => format!("readonly ({of})[]"),
        true => format!("readonly ({of} | null)[]"),
        false => of,
    };
    if param.nullable() && of != "unknown" { format!("{of} | null") } else { of }
}

fn given_type(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "boolean",
        Scalar::Int => "Int",
        Scalar::Float => "number",
        Scalar::Bytes => "Uint8Array",
        Scalar::Json => "unknown",
        Scalar::Decimal
        | Scalar::Text
        | Scalar::Uuid
        | Scalar::Date
        | Scalar::Time
        | Scalar::Timestamp
        | Scalar::Timestamptz => "string",
    }
}

fn param_kind(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Int => "int",
        Scalar::Float => "float",
        Scalar::Bytes => "bytes",
        Scalar::Json => "json",
        _ => "plain",
    }
}

/// A name in an object type.
fn property(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { name.to_owned() } else { quoted(name) }
}

fn comment(out: &mut String, indent: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    let text = text.replace("*/", "*\\/");
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let _ = writeln!(out, "{indent}/** {line} */");
        }
        _ => {
            let _ = writeln!(out, "{indent}/**");
            for line in text.lines() {
                let _ = writeln!(out, "{indent}{}", format!(" * {line}").trim_end());
            }
            let _ = writeln!(out, "{indent} */");
        }
    }
}

/// `active_users` is the function `activeUsers`, and its types begin with `ActiveUsers`.
fn names(query: &str) -> (String, String) {
    let mut name = String::new();
    for part in query.split('_').filter(|part| !part.is_empty()) {
        match part.chars().next() {
            Some(first) if !name.is_empty() => {
                name.push(first.to_ascii_uppercase());
                name.push_str(&part[1..]);
            }
            _ => name.push_str(part),
        }
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.insert(0, '_');
    }
    let mut type_name = name.clone();
    type_name[..1].make_ascii_uppercase();
    (name, type_name)
}

/// What the runtime declares.
fn declared() -> impl Iterator<Item = String> {
    let words = RUNTIME.lines().filter(|line| !line.starts_with([' ', '/', '*', '}', ')']));
    let names = words.filter_map(|line| {
        let declared = line.trim_start_matches("export ").trim_start_matches("async ");
        let (_, name) = declared.split_once(' ')?;
        Some(name.split(|c: char| !c.is_ascii_alphanumeric()).next()?.to_owned())
    });
    let ours: HashSet<String> = ["CODES", "Code", "Changes", "Several", "steps"].map(str::to_owned).into();
    names.chain(ours)
}

/// `Number.MAX_SAFE_INTEGER`.
const EXACT: u64 = 9_007_199_254_740_991;

const CODES_WORDS: &str = "\
/**
 * What can go wrong. `no_reply`: nothing came back that the function itself said. `other`: it said what this client does
 * not know yet.
 */
export type Code = (typeof CODES)[number];

/** What a query did that gives no rows. */
";

const RUNTIME: &str = include_str!("runtime.ts");

/// Words that are no names in a module.
const RESERVED: [&str; 53] = [
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "globalThis",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
    "NaN",
    "Infinity",
    "async",
];
