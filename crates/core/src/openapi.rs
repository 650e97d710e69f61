//! The OpenAPI 3.1 document of the queries that are callable over HTTP: paths, parameters, replies, errors.
//!
//! Pure: made of the parsed queries and the function's settings. What the rows look like only a database knows, so
//! that comes from [`crate::check`] where one was at hand; without it a row is any object.
//! <https://spec.openapis.org/oas/v3.1.1.html>

use std::collections::{BTreeMap, HashSet};

use crate::backend::Access;
use crate::config::{Function, Platform};
use crate::describe::Column;
use crate::error::Fault;
use crate::form::Form;
use crate::queries::{BoundFrom, Idempotency, KeyFrom, Param, Queries, Query, Verb};
use crate::schema::{Map, Node, changes, object, page, parameter_schema, parameters_schema, row};
use crate::value::{Kind, Scalar};

/// What the document says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// `info.title`.
    pub title: String,
    /// `info.version`: that of the API, not of this program.
    pub version: String,
    /// `servers`: the URLs under which the function is called; none is where the document was found.
    pub servers: Vec<String>,
}

impl About {
    /// What a function says that nobody has told more: its name.
    #[must_use]
    pub fn of(platform: &Platform) -> Self {
        let title = platform.function_name.clone().unwrap_or_else(|| "lambda-rds".to_owned());
        Self { title, version: "1".to_owned(), servers: Vec::new() }
    }
}

/// The columns of the rows of queries, by the queries' names, as far as they are known.
pub type Rows = BTreeMap<String, Vec<Column>>;

/// Writes the document, laid out for reading.
#[must_use]
pub fn document(queries: &Queries, function: &Function, rows: &Rows, about: &About) -> String {
    let document = Document { queries, function, rows };
    // Fails only for maps with keys that are no strings and for writers that fail; here is neither.
    serde_json::to_string_pretty(&document.whole(about)).unwrap_or_default()
}

struct Document<'a> {
    queries: &'a Queries,
    function: &'a Function,
    rows: &'a Rows,
}

impl Document<'_> {
    fn whole(&self, about: &About) -> Node {
        let mut paths = Map::new();
        let mut ids = Ids::default();
        let mut schemas = Map::new();
        for query in self.queries {
            if let Some(path) = self.path_item(query, query.name(), &mut ids) {
                paths.put(format!("{}/{}", self.function.base_path, query.name()), path);
                if let Some(columns) = self.columns(query) {
                    schemas.put(row_name(query), row(columns, self.function.int64));
                }
            }
        }
        if let Some(path) = self.base_path_item(&mut ids) {
            let base = &self.function.base_path;
            paths.put(if base.is_empty() { "/" } else { base }, path);
        }
        let health_path = format!("{}/health", self.function.base_path);
        // A query of that name is reached by POST alone.
        let mut item = match paths.take(&health_path) {
            Some(Node::Map(item)) => item,
            _ => Map::new(),
        };
        item.take("head");
        item.put("get", health(&mut ids));
        paths.put(health_path, item);

        let mut components = Map::new();
        schemas.put("Error", error_schema(faults()));
        components.put("schemas", schemas);
        components.put("responses", error_responses());
        let security = self.security_schemes();
        if !security.is_empty() {
            components.put("securitySchemes", security);
        }

        let mut info = Map::new();
        info.put("title", about.title.as_str());
        info.put("version", about.version.as_str());
        info.put("description", "Made by lambda-rds from the query files.");
        let mut document = Map::new();
        document.put("openapi", "3.1.0");
        document.put("info", info);
        if !about.servers.is_empty() {
            let server = |url: &String| Node::from(Map::of([("url", url.as_str().into())]));
            document.put("servers", Node::List(about.servers.iter().map(server).collect()));
        }
        document.put("paths", paths);
        document.put("components", components);
        document.into()
    }

    /// What can be done under the name of a query; `None` if nothing over HTTP.
    fn path_item(&self, query: &Query, id: &str, ids: &mut Ids) -> Option<Node> {
        let methods = query.http()?;
        let mut item = Map::new();
        if methods.get {
            item.put("get", self.operation(query, Method::Get, ids.take(id)));
            item.put("head", self.operation(query, Method::Head, ids.take(&format!("{id}_head"))));
        }
        if methods.post {
            let id = if methods.get { ids.take(&format!("{id}_post")) } else { ids.take(id) };
            item.put("post", self.operation(query, Method::Post, id));
        }
        if self.function.cors_origin.is_some() {
            item.put("options", preflight(ids.take(&format!("{id}_options"))));
        }
        Some(item.into())
    }

    /// What can be done at the base path: the default query, and several queries at once.
    fn base_path_item(&self, ids: &mut Ids) -> Option<Node> {
        let default = self.function.default_query.as_deref().and_then(|name| self.queries.get(name));
        let item = default.and_then(|query| self.path_item(query, "default_query", ids));
        if !self.function.http_batch {
            return item;
        }
        let mut item = match item {
            Some(Node::Map(item)) => item,
            _ => Map::new(),
        };
        let post = default.filter(|query| query.http().is_some_and(|methods| methods.post));
        item.put("post", self.several(post, ids.take("several_queries")));
        Some(item.into())
    }

    fn operation(&self, query: &Query, method: Method, id: String) -> Node {
        let mut operation = Map::new();
        operation.put("operationId", id);
        let description = query.description();
        if let Some(summary) = description.lines().next().filter(|line| !line.is_empty()) {
            operation.put("summary", summary);
        }
        if description.lines().nth(1).is_some() {
            operation.put("description", description);
        }
        let given = query.params().iter().filter(|param| param.bound_from().is_none());
        let mut parameters: Vec<Node> = match method {
            Method::Get | Method::Head => given.clone().map(query_parameter).collect(),
            Method::Post => Vec::new(),
        };
        parameters.extend(query.params().iter().filter_map(header_parameter));
        parameters.extend(query.idempotency().and_then(key_parameter));
        if !parameters.is_empty() {
            operation.put("parameters", Node::List(parameters));
        }
        if method == Method::Post {
            operation.put("requestBody", request_body(query));
        }
        operation.put("responses", self.responses(query, method));
        let schemes = security(query);
        if !schemes.is_empty() {
            let all = schemes.into_iter().map(|scheme| (scheme, Node::List(Vec::new())));
            operation.put("security", Node::List(vec![Map::of(all).into()]));
        }
        operation.into()
    }

    fn responses(&self, query: &Query, method: Method) -> Map {
        let mut responses = Map::new();
        let mut success = Map::of([("description", success_words(query.verb()).into())]);
        if method != Method::Head {
            let mut content = json_content(self.result(query));
            // What is kept with a key is JSON.
            if query.verb() == Verb::Many
                && query.idempotency().is_none()
                && let Node::Map(content) = &mut content
            {
                content.put(Form::Ndjson.media_type(), lines("The rows, an object a line."));
                content.put(
                    Form::Csv.media_type(),
                    lines("The rows (RFC 4180) below a line with the names of the columns."),
                );
            }
            success.put("content", content);
        }
        if query.is_paged() {
            let schema = Map::of([("type", "string".into())]);
            let link = Map::of([
                ("description", "`rel=\"next\"`: the next page, if there is one.".into()),
                ("schema", schema.into()),
            ]);
            success.put("headers", Map::of([("Link", link.into())]));
        }
        responses.put("200", success);
        let faults: Vec<Fault> = faults().filter(|fault| happens(*fault, query, method)).collect();
        for status in statuses(faults.iter().copied()) {
            responses.put(
                status.to_string(),
                match method {
                    // Without a body there is nothing that says which it is.
                    Method::Head => Map::of([("description", told(status).into())]).into(),
                    Method::Get | Method::Post => reference("responses", &response_name(status)),
                },
            );
        }
        responses
    }

    /// The schema of what a query replies.
    fn result(&self, query: &Query) -> Node {
        let row = || match self.columns(query) {
            Some(_) => reference("schemas", &row_name(query)),
            None => Map::of([("type", "object".into())]).into(),
        };
        match query.verb() {
            Verb::One => row(),
            Verb::Many => {
                let mut list = Map::of([("type", "array".into()), ("items", row())]);
                if let Some(rows) = query.max_rows() {
                    list.put("maxItems", rows);
                }
                if query.is_paged() {
                    return page(list.into());
                }
                list.into()
            }
            Verb::Exec => changes(query.dialect(), self.function.int64),
        }
    }

    fn columns(&self, query: &Query) -> Option<&[Column]> {
        self.rows.get(query.name()).map(Vec::as_slice)
    }

    /// A `transaction` or a `batch`, or the parameters of the default query.
    fn several(&self, default: Option<&Query>, id: String) -> Node {
        let names: Vec<Node> = self
            .queries
            .iter()
            .filter(|query| query.http().is_some_and(|methods| methods.post))
            .map(|query| query.name().into())
            .collect();
        let query = Node::from(Map::of([("type", "string".into()), ("enum", Node::List(names))]));
        let params = || Node::from(Map::of([("type", "object".into())]));
        let list = |items| Node::from(Map::of([("type", "array".into()), ("items", items)]));
        let step = object(Map::of([("query", query.clone()), ("params", params())]), ["query"]);
        let runs = object(Map::of([("query", query), ("params", list(params()))]), ["query", "params"]);
        let key = || Node::from(Map::of([("type", "string".into()), ("minLength", 1u64.into())]));
        let mut forms = vec![
            object(Map::of([("transaction", list(step)), ("idempotencyKey", key())]), ["transaction"]),
            object(Map::of([("batch", runs), ("idempotencyKey", key())]), ["batch"]),
        ];
        if let Some(default) = default {
            forms.push(parameters_schema(default));
        }
        let mut responses = Map::new();
        let success = Map::of([
            ("description", "The results, one entry per step; of the default query its own result.".into()),
            ("content", json_content(Map::new().into())),
        ]);
        responses.put("200", success);
        for status in statuses(faults()) {
            responses.put(status.to_string(), reference("responses", &response_name(status)));
        }
        let body = Map::of([
            ("required", true.into()),
            ("content", json_content(Map::of([("anyOf", Node::List(forms))]).into())),
        ]);
        Map::of([
            ("operationId", id.into()),
            ("summary", "Several queries in one transaction: all of them succeed, or none does.".into()),
            ("requestBody", body.into()),
            ("responses", responses.into()),
        ])
        .into()
    }

    fn security_schemes(&self) -> Map {
        let wanted: HashSet<&str> =
            self.queries.iter().filter(|query| query.http().is_some()).flat_map(security).collect();
        let mut schemes = Map::new();
        if wanted.contains(BEARER) {
            schemes.put(
                BEARER,
                Map::of([
                    ("type", "http".into()),
                    ("scheme", "bearer".into()),
                    (
                        "description",
                        "A token that the authorizer in front of the function verifies; the query reads its claims."
                            .into(),
                    ),
                ]),
            );
        }
        if wanted.contains(IAM) {
            schemes.put(
                IAM,
                Map::of([
                    ("type", "apiKey".into()),
                    ("name", "Authorization".into()),
                    ("in", "header".into()),
                    ("description", "AWS Signature Version 4; the query reads the principal's ARN.".into()),
                    // As API Gateway exports it.
                    ("x-amazon-apigateway-authtype", "awsSigv4".into()),
                ]),
            );
        }
        schemes
    }
}

/// The methods that a query is documented with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Post,
}

/// Whether a documented call of this query can meet this fault.
fn happens(fault: Fault, query: &Query, method: Method) -> bool {
    let claims = query.params().iter().any(|param| matches!(param.bound_from(), Some(BoundFrom::Claim(_))));
    match fault {
        // Whoever calls what is documented calls what there is, as it may be called.
        Fault::UnknownQuery | Fault::MethodNotAllowed => false,
        // What is documented of another result is JSON alone.
        Fault::NotAcceptable => query.verb() == Verb::Many,
        Fault::UnsupportedMediaType => method == Method::Post,
        Fault::Unauthenticated => claims || query.identity().needs_claims(),
        Fault::Forbidden => query.identity().may_forbid(),
        Fault::NotFound | Fault::NotUnique => query.verb() == Verb::One,
        Fault::Constraint => query.access() == Access::Write,
        Fault::OutcomeUnknown => {
            query.access() == Access::Write && query.idempotency().is_none_or(|it| it.optional)
        }
        Fault::KeyReused => query.idempotency().is_some(),
        Fault::DoneUnread => query.access() == Access::Write && !query.transaction(),
        _ => true,
    }
}

/// The statuses of these faults, each once, in order.
fn statuses(faults: impl Iterator<Item = Fault>) -> Vec<u16> {
    let mut statuses: Vec<u16> = faults.map(Fault::status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// What a caller may be told of.
fn faults() -> impl Iterator<Item = Fault> + Clone {
    Fault::ALL.into_iter().filter(|fault| fault.is_told())
}

fn of_status(status: u16) -> impl Iterator<Item = Fault> + Clone {
    faults().filter(move |fault| fault.status() == status)
}

/// What the faults of a status tell a caller.
fn told(status: u16) -> String {
    let mut lines: Vec<String> = Vec::new();
    for fault in of_status(status) {
        let line = format!("`{}`: {}", fault.code(), fault.advice());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn response_name(status: u16) -> String {
    format!("Error{status}")
}

fn error_responses() -> Map {
    let mut responses = Map::new();
    for status in statuses(faults()) {
        let mut response = Map::of([("description", told(status).into())]);
        let header = |description: &str| {
            let schema = Map::of([("type", "string".into())]);
            Map::of([("description", description.into()), ("schema", schema.into())])
        };
        if of_status(status).any(|fault| fault.retry_after().is_some()) {
            let header = header("In how many seconds another try is worth it.");
            response.put("headers", Map::of([("Retry-After", header.into())]));
        }
        if of_status(status).any(|fault| fault == Fault::MethodNotAllowed) {
            response.put("headers", Map::of([("Allow", header("The methods that would do.").into())]));
        }
        let codes = Map::of([("code", Map::of([("enum", codes(of_status(status)))]).into())]);
        let error = Map::of([("properties", codes.into())]);
        let narrowed = Map::of([("properties", Map::of([("error", error.into())]).into())]);
        let schema = Map::of([("allOf", Node::List(vec![reference("schemas", "Error"), narrowed.into()]))]);
        response.put("content", json_content(schema.into()));
        responses.put(response_name(status), response);
    }
    responses
}

/// The codes of these faults, each once.
fn codes(faults: impl Iterator<Item = Fault>) -> Node {
    let mut codes: Vec<&str> = Vec::new();
    for fault in faults {
        if !codes.contains(&fault.code()) {
            codes.push(fault.code());
        }
    }
    Node::List(codes.into_iter().map(Node::from).collect())
}

fn error_schema(faults: impl Iterator<Item = Fault>) -> Node {
    let text = |description: &str| {
        Node::from(Map::of([("type", "string".into()), ("description", description.into())]))
    };
    let code = Map::of([
        ("type", "string".into()),
        ("enum", codes(faults)),
        ("description", "What went wrong, for programs.".into()),
    ]);
    let retryable = Map::of([
        ("type", "boolean".into()),
        ("description", "Whether the same call, made again later, may succeed without harm.".into()),
    ]);
    let mut step = Map::of([("type", "integer".into()), ("minimum", 0_u64.into())]);
    step.put("description", "Which step of a transaction or batch failed, counted from 0.");
    let error = object(
        Map::of([
            ("code", code.into()),
            ("message", text("What to do, for people.")),
            ("retryable", retryable.into()),
            ("requestId", text("What the function's log line is found by.")),
            ("step", step.into()),
        ]),
        ["code", "message", "retryable", "requestId"],
    );
    object(Map::of([("error", error)]), ["error"])
}

fn success_words(verb: Verb) -> &'static str {
    match verb {
        Verb::Many => "The rows.",
        Verb::One => "The row.",
        Verb::Exec => "What was changed.",
    }
}

fn health(ids: &mut Ids) -> Node {
    let status = Map::of([("type", "string".into()), ("const", "ok".into())]);
    let schema = object(Map::of([("status", status.into())]), ["status"]);
    let success = Map::of([("description", "It does.".into()), ("content", json_content(schema))]);
    let get = Map::of([
        ("operationId", ids.take("health").into()),
        ("summary", "Whether the function answers. The database is not asked.".into()),
        ("responses", Map::of([("200", success.into())]).into()),
    ]);
    get.into()
}

fn preflight(id: String) -> Node {
    let success = Map::of([("description", "Who may call from a browser, and with which headers.".into())]);
    Map::of([
        ("operationId", id.into()),
        ("summary", "A browser's question before the call (CORS).".into()),
        ("responses", Map::of([("204", success.into())]).into()),
    ])
    .into()
}

/// The schemes that a query's parameters need.
fn security(query: &Query) -> Vec<&'static str> {
    let mut schemes = Vec::new();
    for param in query.params() {
        if let Some(BoundFrom::Claim(name)) = param.bound_from() {
            let scheme = if name == "userArn" { IAM } else { BEARER };
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
    }
    schemes
}

const BEARER: &str = "bearer";
const IAM: &str = "iam";

fn query_parameter(param: &Param) -> Node {
    let mut parameter = Map::of([("name", param.name().into()), ("in", "query".into())]);
    parameter.put("required", param.default().is_none());
    if !param.description().is_empty() {
        parameter.put("description", param.description());
    }
    // A query string has no null.
    let schema = parameter_schema(param, false);
    match param.kind() {
        Kind { scalar: Scalar::Json, array: false } => parameter.put("content", json_content(schema)),
        _ => parameter.put("schema", schema),
    }
    parameter.into()
}

/// A header that a query reads. OpenAPI describes these three otherwise.
fn header_parameter(param: &Param) -> Option<Node> {
    let Some(BoundFrom::Header(name)) = param.bound_from() else { return None };
    if ["accept", "content-type", "authorization"].contains(&name.as_str()) {
        return None;
    }
    let mut parameter = Map::of([("name", name.as_str().into()), ("in", "header".into())]);
    parameter.put("required", param.default().is_none());
    if !param.description().is_empty() {
        parameter.put("description", param.description());
    }
    let schema = parameter_schema(param, false);
    match param.kind() {
        Kind { scalar: Scalar::Json, array: false } => parameter.put("content", json_content(schema)),
        _ => parameter.put("schema", schema),
    }
    Some(parameter.into())
}

/// The header that a write is done once by.
fn key_parameter(idempotency: &Idempotency) -> Option<Node> {
    let KeyFrom::Header(name) = &idempotency.from else { return None };
    let kept = humantime::format_duration(idempotency.keep);
    let description = format!(
        "The call is done once per key: a repeat gets the first one's reply, with the header idempotency-replayed. Kept \
         for {kept}."
    );
    let schema = Map::of([("type", "string".into()), ("minLength", 1u64.into())]);
    let parameter = [
        ("name", name.as_str().into()),
        ("in", "header".into()),
        ("required", (!idempotency.optional).into()),
        ("description", description.into()),
        ("schema", schema.into()),
    ];
    Some(Map::of(parameter).into())
}

fn request_body(query: &Query) -> Node {
    let schema = parameters_schema(query);
    let needed = query.params().iter().any(|param| param.bound_from().is_none() && param.default().is_none());
    Map::of([("required", needed.into()), ("content", json_content(schema))]).into()
}

fn row_name(query: &Query) -> String {
    format!("{}_row", query.name())
}

fn json_content(schema: Node) -> Node {
    let media = Map::of([("schema", schema)]);
    Map::of([("application/json", media.into())]).into()
}

/// Rows in a form that has no schema.
fn lines(description: &str) -> Node {
    let schema = Map::of([("type", "string".into()), ("description", description.into())]);
    Map::of([("schema", schema.into())]).into()
}

fn reference(kind: &str, name: &str) -> Node {
    Map::of([("$ref", format!("#/components/{kind}/{name}").into())]).into()
}

/// Operation ids, each given once.
#[derive(Default)]
struct Ids(HashSet<String>);

impl Ids {
    fn take(&mut self, wanted: &str) -> String {
        let mut id = wanted.to_owned();
        while !self.0.insert(id.clone()) {
            id.push('_');
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Engine, Int64};
    use crate::describe::{Form, JsonType};
    use crate::event::testing::settings;
    use crate::queries::Dialect;

    fn queries(text: &str) -> Queries {
        let files = [("q.sql".to_owned(), text.to_owned())];
        Queries::parse(&files, Engine::Postgres, Dialect::Postgres).unwrap()
    }

    fn made(text: &str, function: &Function, rows: &Rows) -> serde_json::Value {
        let about = About { title: "shop".into(), version: "7".into(), servers: Vec::new() };
        serde_json::from_str(&document(&queries(text), function, rows, &about)).unwrap()
    }

    const USERS: &str = "\
-- name: users :many
-- http: GET
-- Users who are active.
-- With a second line.
-- max_rows: 10
-- param: active bool = true
-- param: limit int = 50 in 1..=500
-- param: ids int[]? = null in 1..=3
-- param: state text? = null in {'open', 'closed'} -- where it stands
-- param: marks text[] = [] in {a, b} -- any of them
SELECT id FROM users WHERE active = :active AND id = ANY(:ids) AND s = :state AND m = :marks LIMIT :limit;
-- name: add :exec
-- http: POST
-- param: name text? in 1..20
-- param: born date in 1900-01-01.. -- the birthday
-- param: owner uuid from claims.sub
-- param: key text from header.X-Key
-- param: request text from context.requestId
INSERT INTO users VALUES (:name, :born, :owner, :key, :request);
-- name: hidden :one
SELECT 1 AS one;
";

    #[test]
    fn only_what_is_open_to_http_has_a_path() {
        let document = made(USERS, &settings(), &Rows::new());
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(paths, ["/add", "/health", "/users"]);
        assert_eq!(document["info"]["title"], "shop");
        let methods: Vec<_> = document["paths"]["/users"].as_object().unwrap().keys().collect();
        assert_eq!(methods, ["get", "head"]);
        assert!(document["paths"]["/users"]["head"]["responses"]["200"].get("content").is_none());
    }

    #[test]
    fn an_idempotency_key_is_a_header_and_has_replies_of_its_own() {
        let of = |line: &str| {
            let text = format!(
                "-- name: pay :exec\n-- http: POST\n{line}-- param: id text\nINSERT INTO payments VALUES (:id);\n"
            );
            let document = made(&text, &settings(), &Rows::new());
            let post = &document["paths"]["/pay"]["post"];
            let codes = |status: &str| {
                let named = post["responses"][status]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                document["components"]["responses"][named].to_string()
            };
            (post["parameters"].clone(), codes("409"), codes("422"))
        };
        let (parameters, conflict, reused) = of("-- idempotency_key: header.Idempotency-Key\n");
        let key = &parameters[0];
        assert_eq!(
            (&key["name"], &key["in"], &key["required"], &key["schema"]),
            (
                &json!("idempotency-key"),
                &json!("header"),
                &json!(true),
                &json!({"type": "string", "minLength": 1})
            )
        );
        let told = key["description"].as_str().unwrap();
        assert!(told.contains("done once per key") && told.contains("1day"), "{told}");
        assert!(conflict.contains("\"conflict\""), "{conflict}");
        assert!(reused.contains("\"idempotency_key_reused\""), "{reused}");
        let (parameters, ..) = of("-- idempotency_key: header.X-Key? for 1h\n");
        assert_eq!((&parameters[0]["name"], &parameters[0]["required"]), (&json!("x-key"), &json!(false)));
        // No header is one where the key comes from elsewhere.
        assert_eq!(of("-- idempotency_key: param.id\n").0, json!(null));
    }

    #[test]
    fn parameters_of_a_get_stand_in_the_query_string() {
        let document = made(USERS, &settings(), &Rows::new());
        let get = &document["paths"]["/users"]["get"];
        assert_eq!(get["summary"], "Users who are active.");
        assert_eq!(get["description"], "Users who are active.\nWith a second line.");
        assert_eq!(
            get["parameters"],
            json!([
                {"name": "active", "in": "query", "required": false,
                 "schema": {"type": "boolean", "default": true}},
                {"name": "limit", "in": "query", "required": false,
                 "schema": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 500, "default": 50}},
                {"name": "ids", "in": "query", "required": false, "schema": {
                    "type": "array", "items": {"type": ["integer", "null"], "format": "int64"},
                    "minItems": 1, "maxItems": 3}},
                {"name": "state", "in": "query", "required": false, "description": "where it stands", "schema": {
                    "type": "string", "enum": ["open", "closed"], "description": "where it stands"}},
                {"name": "marks", "in": "query", "required": false, "description": "any of them", "schema": {
                    "type": "array", "items": {"type": "string", "enum": ["a", "b"]},
                    "description": "any of them", "default": []}},
            ])
        );
        let list = &get["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(*list, json!({"type": "array", "items": {"type": "object"}, "maxItems": 10}));
        let statuses: Vec<_> = get["responses"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(statuses, ["200", "400", "406", "409", "413", "422", "500", "503", "504"]);
        let forms: Vec<_> = get["responses"]["200"]["content"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(forms, ["application/json", "application/x-ndjson", "text/csv"]);
    }

    #[test]
    fn parameters_of_a_post_are_one_object_and_what_the_caller_cannot_give_is_not_in_it() {
        let document = made(USERS, &settings(), &Rows::new());
        let post = &document["paths"]["/add"]["post"];
        assert_eq!(
            post["requestBody"],
            json!({"required": true, "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {
                    "name": {"type": ["string", "null"], "minLength": 1, "maxLength": 19},
                    "born": {"type": "string", "format": "date", "description": "the birthday. It must be at least 1900-01-01."},
                },
                "required": ["name", "born"],
                "additionalProperties": false,
            }}}})
        );
        assert_eq!(
            post["parameters"],
            json!([{"name": "x-key", "in": "header", "required": true, "schema": {"type": "string"}}])
        );
        assert_eq!(post["security"], json!([{"bearer": []}]));
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        let statuses: Vec<_> = post["responses"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(statuses, ["200", "400", "401", "409", "413", "415", "422", "500", "503", "504"]);
        let told = &post["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(told["required"], json!(["rowsAffected"]));
        assert!(told["properties"].get("lastInsertId").is_none(), "PostgreSQL has none");
    }

    #[test]
    fn rows_have_the_columns_that_the_database_told() {
        let column = |name: &str, form: Form, nullable| Column {
            name: name.to_owned(),
            type_name: String::new(),
            form,
            nullable,
            origin: None,
        };
        let columns = vec![
            column("id", Form::Value(JsonType::Int64), Some(false)),
            column("at", Form::Value(JsonType::Timestamptz), None),
            column("f", Form::Value(JsonType::Float), Some(true)),
            column("tags", Form::Array(JsonType::Text), Some(false)),
            column("doc", Form::Value(JsonType::Json), None),
        ];
        let rows = Rows::from([("users".to_owned(), columns)]);
        let check = |int64: Int64, id: serde_json::Value| {
            let document = made(USERS, &Function { int64, ..settings() }, &rows);
            let list = &document["paths"]["/users"]["get"]["responses"]["200"]["content"]["application/json"];
            assert_eq!(list["schema"]["items"]["$ref"], "#/components/schemas/users_row");
            let row = &document["components"]["schemas"]["users_row"];
            assert_eq!(row["required"], json!(["id", "at", "f", "tags", "doc"]));
            assert_eq!(row["properties"]["id"], id);
            assert_eq!(row["properties"]["at"], json!({"type": ["string", "null"], "format": "date-time"}));
            assert_eq!(row["properties"]["f"]["anyOf"][2], json!({"type": "null"}));
            assert_eq!(row["properties"]["tags"]["items"], json!({"type": ["string", "null"]}));
            assert_eq!(row["properties"]["doc"], json!({}));
        };
        check(Int64::Number, json!({"type": "integer", "format": "int64"}));
        check(Int64::String, json!({"type": "string", "format": "int64"}));
    }

    #[test]
    fn settings_change_the_paths() {
        let function = Function {
            base_path: "/api".to_owned(),
            http_batch: true,
            default_query: Some("users".to_owned()),
            cors_origin: Some("*".to_owned()),
            ..settings()
        };
        let document = made(USERS, &function, &Rows::new());
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(paths, ["/api", "/api/add", "/api/health", "/api/users"]);
        let base = &document["paths"]["/api"];
        assert_eq!(base["get"]["operationId"], "default_query");
        assert_eq!(base["post"]["operationId"], "several_queries");
        assert_eq!(document["paths"]["/api/users"]["options"]["operationId"], "users_options");
    }

    #[test]
    fn defaults_are_written_as_a_caller_would() {
        let text = "\
-- name: q :many
-- http: GET, POST
-- param: a decimal = 1.50
-- param: b float = NaN
-- param: c uuid = '01234567-89ab-cdef-0123-456789abcdef'
-- param: d timestamptz = 2026-01-31T13:37:00Z
-- param: e json = {\"x\": [1]}
-- param: f bytes = 'AP8='
-- param: g text[] = [\"x\", null]
-- param: h int? = null
SELECT :a, :b, :c, :d, :e, :f, :g, :h;
";
        let document = made(text, &settings(), &Rows::new());
        let post = &document["paths"]["/q"]["post"];
        assert_eq!(post["operationId"], "q_post");
        let properties = &post["requestBody"]["content"]["application/json"]["schema"]["properties"];
        for (name, default) in [
            ("a", json!("1.50")),
            ("b", json!("NaN")),
            ("c", json!("01234567-89ab-cdef-0123-456789abcdef")),
            ("d", json!("2026-01-31T13:37:00Z")),
            ("e", json!({"x": [1]})),
            ("f", json!("AP8=")),
            ("g", json!(["x", null])),
            ("h", json!(null)),
        ] {
            assert_eq!(properties[name].get("default"), Some(&default), "{name}");
        }
        let json = &document["paths"]["/q"]["get"]["parameters"][4];
        assert_eq!(json["content"]["application/json"]["schema"], json!({"default": {"x": [1]}}));
    }

    #[test]
    fn operation_ids_are_unique() {
        let text = "\
-- name: q :many
-- http: GET, POST
SELECT 1 AS a;
-- name: q_post :many
-- http: GET
SELECT 1 AS a;
-- name: health :many
-- http: POST
SELECT 1 AS a;
";
        let document = made(text, &settings(), &Rows::new());
        let mut seen = HashSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for operation in path.as_object().unwrap().values() {
                assert!(seen.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            }
        }
    }
}
