//! Agents: what an AgentCore Gateway, a Bedrock agent and a client of the Model Context Protocol send, what they get,
//! and that nothing they write reaches further than one call of one tool.

use std::time::Duration;

use fastrand::Rng;
use lambda_rds_testbed::{Answer, Outcome, unless_stalled};
use serde_json::{Value, json};

use crate::events::{changed, get, request};
use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    a_gateway_gets_the_result_itself,
    a_bedrock_agent_is_answered_in_its_form,
    clients_of_every_version_list_and_call,
    who_is_not_let_in,
    a_failed_call_tells_what_to_change,
    what_is_said_to_read_is_held_to_it,
    nothing_an_agent_writes_reaches_further,
);
on_clusters!(
    a_gateway_gets_the_result_itself,
    a_bedrock_agent_is_answered_in_its_form,
    clients_of_every_version_list_and_call,
    a_failed_call_tells_what_to_change,
    what_is_said_to_read_is_held_to_it,
);

const QUERIES: &str = "\
-- name: users :many
-- tool: Find users
-- Users by whether they are active, lowest id first.
-- param: active bool = true -- whether they are
-- param: limit int = 50 in 1..=500 -- how many at most
SELECT id, name FROM users WHERE active = :active ORDER BY id LIMIT :limit;
-- name: user :one
-- tool: One user
-- A user by id.
-- param: id int
SELECT id, name FROM users WHERE id = :id;
-- name: rename :exec
-- tool: Rename a user
-- Gives a user another name.
-- param: id int
-- param: name text in {'Ada', 'Eve'} -- the new name
UPDATE users SET name = :name WHERE id = :id;
-- name: mine :one
-- tool: Me
-- The user that asks.
-- param: sub int from claims.sub
SELECT id, name FROM users WHERE id = :sub;
-- name: sent :one
-- tool: What was sent
-- What a header and the invocation say.
-- param: key int from header.X-Key
-- param: request text from context.requestId
SELECT id, name FROM users WHERE id = :key AND name <> :request;
-- name: asked :many
-- tool: Chosen users
-- Users by id or name.
-- param: ids int[] = [1]
-- param: names text[] = ['Ada'] in {'Ada', 'Grace', 'Edsger'}
SELECT id, name FROM users WHERE USERS_OF ORDER BY id;
-- name: hidden :exec
-- http: POST
UPDATE users SET active = FALSE WHERE active = TRUE;
-- name: hidden_read :many
-- http: GET
SELECT id FROM users;
";

fn setup(engine: Engine) -> Setup {
    let condition = match engine {
        Engine::Postgres | Engine::AuroraPostgres => "(id = ANY(:ids) OR name = ANY(:names))",
        _ => "(id IN (:ids) OR name IN (:names))",
    };
    let queries = QUERIES.replace("USERS_OF", condition).replace("['Ada'] in", "[\"Ada\"] in");
    // Raised or not, and in batches or not, is nothing that an agent's event is asked.
    Setup::new(engine)
        .queries(queries)
        .env("LAMBDA_RDS_MCP", "true")
        .env("LAMBDA_RDS_DEFAULT_QUERY", "hidden")
        .env("LAMBDA_RDS_DIRECT_ERRORS", "raise")
        .env("LAMBDA_RDS_HTTP_BATCH", "true")
        .env("LAMBDA_RDS_DIAGNOSE", "true")
}

async fn gateway(world: &World, tool: &str, arguments: Value) -> Value {
    gateway_raw(world, tool, arguments.to_string()).await.json().unwrap()
}

/// As a gateway invokes it: the event is the arguments, and the client context says the rest.
async fn gateway_raw(world: &World, tool: &str, arguments: String) -> Outcome {
    let context = json!({"custom": {
        "bedrockAgentCoreMessageVersion": "1.0",
        "bedrockAgentCoreAwsRequestId": "r",
        "bedrockAgentCoreMcpMessageId": "1",
        "bedrockAgentCoreGatewayId": "g",
        "bedrockAgentCoreTargetId": "t",
        "bedrockAgentCorePropagatedHeaders": {"X-Other": "1"},
        "bedrockAgentCoreToolName": tool,
    }});
    world.function.invoke_with(arguments, Some(context.to_string())).await.unwrap()
}

/// As a Bedrock agent invokes it whose action group has functions; each value is text.
fn function(name: &str, parameters: &[(&str, &str, &str)]) -> Value {
    let parameters: Vec<_> = parameters
        .iter()
        .map(|(name, kind, value)| json!({"name": name, "type": kind, "value": value}))
        .collect();
    json!({
        "messageVersion": "1.0",
        "agent": {"name": "shop", "id": "A", "alias": "B", "version": "1"},
        "inputText": "rename Ada",
        "sessionId": "s",
        "actionGroup": "shop",
        "function": name,
        "parameters": parameters,
        "sessionAttributes": {"sub": "1"},
        "promptSessionAttributes": {},
    })
}

/// The same of an action group with an API schema.
fn api(method: &str, path: &str, parameters: Value, properties: Value) -> Value {
    let mut event = function("", &[]);
    event.as_object_mut().unwrap().remove("function");
    event["apiPath"] = path.into();
    event["httpMethod"] = method.into();
    event["parameters"] = parameters;
    event["requestBody"] = json!({"content": {"application/json": {"properties": properties}}});
    event
}

/// What the body says that a Bedrock agent gets.
fn body_of(body: &Value) -> Value {
    serde_json::from_str(body["body"].as_str().unwrap()).unwrap()
}

const MODERN: &str = "2026-07-28";

/// A message of the Model Context Protocol over HTTP, in this version.
fn message(version: &str, method: &str, mut params: Value) -> Value {
    let mut headers = json!({
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
    });
    if version == MODERN {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        headers["mcp-method"] = method.into();
        if let Some(name) = params["name"].as_str() {
            headers["mcp-name"] = name.into();
        }
    }
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    request("POST", "/mcp", headers, Some(body.to_string()))
}

async fn call(world: &World, version: &str, tool: &str, arguments: Value) -> Value {
    let (status, answer) =
        world.call(message(version, "tools/call", json!({"name": tool, "arguments": arguments}))).await;
    assert_eq!((status, &answer["id"]), (200, &json!(7)), "{answer}");
    answer["result"].clone()
}

async fn a_gateway_gets_the_result_itself(engine: Engine) {
    let world = setup(engine).start().await;
    let ada = json!({"id": 1, "name": "Ada"});
    assert_eq!(
        gateway(&world, "shop___users", json!({"limit": 2})).await,
        json!({"rows": [ada, {"id": 2, "name": "Grace"}]})
    );
    assert_eq!(gateway(&world, "shop___user", json!({"id": 1})).await, ada);
    assert_eq!(gateway(&world, "user", json!({"id": 1})).await, ada);
    let done = gateway(&world, "shop___rename", json!({"id": 1, "name": "Eve"})).await;
    assert_eq!(done["rowsAffected"], 1);
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 1"), "Eve");
    assert_eq!(
        gateway(&world, "shop___asked", json!({"ids": [2], "names": ["Edsger"]})).await,
        json!({"rows": [{"id": 2, "name": "Grace"}, {"id": 3, "name": "Edsger"}]})
    );
    // Whatever it says, it is one call of that tool.
    for arguments in [
        json!({"transaction": []}),
        json!({"batch": {}}),
        json!({"diagnose": true}),
        json!({"onError": "raise"}),
    ] {
        let told = gateway(&world, "shop___user", arguments.clone()).await;
        assert_eq!(told["error"]["code"], "bad_parameter", "{arguments}: {told}");
    }
    let told = gateway(&world, "shop___mine", json!({})).await;
    assert_eq!(told["error"]["code"], "unauthenticated", "{told}");
    let told = gateway(&world, "shop___mine", json!({"sub": 1})).await;
    assert_eq!(told["error"]["message"], "Parameter `sub` cannot be given by the caller.");
    let told: Value = gateway_raw(&world, "shop___user", "[".to_owned()).await.json().unwrap();
    assert_eq!(told["error"]["code"], "bad_event", "{told}");
    // A header that the gateway was set up to hand on is one; what the agent writes is none.
    let handed_on = async |headers: Value| -> Value {
        let custom =
            json!({"bedrockAgentCoreToolName": "shop___sent", "bedrockAgentCorePropagatedHeaders": headers});
        let context = json!({"custom": custom}).to_string();
        world.function.invoke_with("{}", Some(context)).await.unwrap().json().unwrap()
    };
    assert_eq!(handed_on(json!({"X-Key": "2"})).await, json!({"id": 2, "name": "Grace"}));
    assert_eq!(handed_on(json!({"x-key": ["2"]})).await["error"]["code"], "bad_parameter");
    assert_eq!(gateway(&world, "shop___sent", json!({"X-Key": 2})).await["error"]["code"], "bad_parameter");
    // What is no tool is not there, and the same holds for what is not there.
    let hidden = gateway(&world, "shop___hidden", json!({})).await;
    let missing = gateway(&world, "shop___missin", json!({})).await;
    assert_eq!(hidden["error"]["message"], "There is no tool `hidden`.");
    assert_eq!(missing["error"]["message"], "There is no tool `missin`.");
    assert_eq!(hidden["error"]["code"], missing["error"]["code"]);
    assert_eq!(gateway(&world, "", json!({})).await["error"]["code"], "unknown_query");
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 3 AND active = FALSE"), "Edsger");
}

async fn a_bedrock_agent_is_answered_in_its_form(engine: Engine) {
    let world = setup(engine).start().await;
    let answer = world.invoke(function("user", &[("id", "integer", "2")])).await.json().unwrap();
    assert_eq!(
        answer,
        json!({"messageVersion": "1.0", "response": {
            "actionGroup": "shop",
            "function": "user",
            "functionResponse": {"responseBody": {"TEXT": {"body": "{\"id\":2,\"name\":\"Grace\"}"}}},
        }})
    );
    let lists = [("ids", "array", "[3]"), ("names", "array", "[Ada, Grace]")];
    let answer = world.invoke(function("asked", &lists)).await.json().unwrap();
    let rows = body_of(&answer["response"]["functionResponse"]["responseBody"]["TEXT"]);
    assert_eq!(rows["rows"].as_array().unwrap().len(), 3, "{rows}");

    for (event, code, message) in [
        (
            function("rename", &[("id", "integer", "1"), ("name", "string", "Bob")]),
            "bad_parameter",
            "'Ada', 'Eve'",
        ),
        (function("hidden", &[]), "unknown_query", "There is no tool `hidden`."),
        (function("missin", &[]), "unknown_query", "There is no tool `missin`."),
        (function("user", &[("id", "integer", "99")]), "not_found", "No row matches."),
        (function("mine", &[]), "unauthenticated", "authenticated"),
        (function("mine", &[("sub", "integer", "1")]), "bad_parameter", "cannot be given by the caller"),
        (function("user", &[("id", "integer", "1"), ("id", "integer", "2")]), "bad_parameter", "given twice"),
        (changed_version(), "bad_event", "`messageVersion`"),
    ] {
        let answer = world.invoke(event).await.json().unwrap();
        let response = &answer["response"]["functionResponse"];
        assert_eq!(response["responseState"], "REPROMPT", "{answer}");
        let error = &body_of(&response["responseBody"]["TEXT"])["error"];
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }

    let id = json!([{"name": "id", "type": "integer", "value": "2"}]);
    let named = json!([{"name": "name", "type": "string", "value": "Eve"}]);
    for (event, status, expected) in [
        (api("GET", "/user", id.clone(), json!([])), 200, json!({"id": 2, "name": "Grace"})),
        (api("POST", "/user", json!([]), id.clone()), 200, json!({"id": 2, "name": "Grace"})),
        (api("GET", "/rename", id.clone(), named.clone()), 405, json!("method_not_allowed")),
        (api("DELETE", "/user", id.clone(), json!([])), 405, json!("method_not_allowed")),
        (api("PUT", "/rename", id.clone(), named.clone()), 405, json!("method_not_allowed")),
        (api("GET", "/hidden_read", json!([]), json!([])), 404, json!("unknown_query")),
        (api("GET", "/health", json!([]), json!([])), 404, json!("unknown_query")),
        (api("GET", "user", id.clone(), json!([])), 404, json!("unknown_query")),
        (api("POST", "/rename", id.clone(), named), 200, json!(1)),
    ] {
        let answer = world.invoke(event.clone()).await.json().unwrap();
        let response = &answer["response"];
        assert_eq!(response["httpStatusCode"], status, "{answer}");
        for key in ["actionGroup", "apiPath", "httpMethod"] {
            assert_eq!(response[key], event[key]);
        }
        let body = body_of(&response["responseBody"]["application/json"]);
        let told = [&body, &body["error"]["code"], &body["rowsAffected"]];
        assert!(told.contains(&&expected), "{body} is not {expected}");
    }
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 2"), "Eve");
}

fn changed_version() -> Value {
    let mut event = function("user", &[("id", "integer", "1")]);
    event["messageVersion"] = "2.0".into();
    event
}

async fn clients_of_every_version_list_and_call(engine: Engine) {
    let world = setup(engine).start().await;
    for version in ["2025-06-18", "2025-11-25"] {
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
        let (status, answer) = world.call(message(version, "initialize", params)).await;
        let result = &answer["result"];
        assert_eq!((status, &result["protocolVersion"]), (200, &json!(version)), "{answer}");
        assert_eq!(result["serverInfo"]["name"], "lambda-rds");
        assert!(result["capabilities"]["tools"].is_object());
        assert_eq!(world.call(message(version, "ping", json!({}))).await.1["result"], json!({}));
    }
    let (status, answer) = world.call(message(MODERN, "server/discover", json!({}))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["result"]["supportedVersions"], json!(["2026-07-28", "2025-11-25", "2025-06-18"]));

    // What the database does not tell within two seconds, it is asked when they are listed again.
    unless_stalled(Duration::from_secs(2), async || {
        let (_, answer) = world.call(message(MODERN, "tools/list", json!({}))).await;
        let typed = answer["result"]["tools"][5]["outputSchema"].is_object();
        if typed { Ok(()) } else { Err(world.function.logs().join("\n")) }
    })
    .await;
    for version in ["2025-06-18", "2025-11-25", MODERN] {
        let (_, answer) = world.call(message(version, "tools/list", json!({}))).await;
        let tools = answer["result"]["tools"].as_array().unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["asked", "mine", "rename", "sent", "user", "users"]);
        let users = &tools[5];
        let row = &users["outputSchema"]["properties"]["rows"]["items"];
        assert_eq!(row["required"], json!(["id", "name"]), "{users}");
        assert_eq!(users["annotations"]["readOnlyHint"], true);
        assert_eq!(tools[2]["annotations"]["readOnlyHint"], false);
        assert_eq!(tools[1]["inputSchema"]["properties"], Value::Null, "claims are no argument");
        assert_eq!(answer["result"]["resultType"].is_string(), version == MODERN);

        let result = call(&world, version, "users", json!({"limit": 1})).await;
        let rows = json!({"rows": [{"id": 1, "name": "Ada"}]});
        assert_eq!((&result["structuredContent"], &result["isError"]), (&rows, &json!(false)));
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, rows);
        let result = call(&world, version, "hidden", json!({})).await;
        assert_eq!((&result["isError"], result.get("structuredContent")), (&json!(true), None));
    }
    // A notification has no answer; a client that listens is told that there is nothing to hear.
    let mut event = message("2025-11-25", "x", json!({}));
    event["body"] = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string().into();
    let reply = world.invoke(event).await.json().unwrap();
    assert_eq!((&reply["statusCode"], &reply["body"]), (&json!(202), &json!("")));
    let reply = world.invoke(get("/mcp")).await.json().unwrap();
    assert_eq!((&reply["statusCode"], &reply["headers"]["allow"]), (&json!(405), &json!("POST")));

    // What is wrong with a message is told as JSON-RPC does.
    for (body, status, code) in [
        ("{", 400, -32700),
        ("[]", 400, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, 200, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, 200, -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"user","arguments":[]}}"#,
            200,
            -32602,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, 200, -32602),
    ] {
        let mut event = message("2025-11-25", "x", json!({}));
        event["body"] = body.into();
        let (found, answer) = world.call(event).await;
        assert_eq!((found, answer["error"]["code"].as_i64()), (status, Some(code)), "{body}: {answer}");
    }
    // A version that is not spoken, and headers that say something else than the body.
    let (status, answer) = world.call(message("1999-01-01", "tools/list", json!({}))).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32022)), "{answer}");
    for (header, value) in
        [("mcp-method", "tools/list"), ("mcp-name", "users"), ("mcp-protocol-version", "2025-11-25")]
    {
        let mut event = message(MODERN, "tools/call", json!({"name": "user", "arguments": {"id": 1}}));
        event["headers"][header] = value.into();
        let (status, answer) = world.call(event).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32020)), "{header}: {answer}");
    }
    // It is switched on, or it is not there.
    let plain = world.another_with(&[("LAMBDA_RDS_MCP", "false")]).await;
    let outcome = plain.invoke(message(MODERN, "tools/list", json!({}))).await.unwrap();
    assert_eq!(outcome.reply().unwrap().0, 404);
}

async fn who_is_not_let_in(engine: Engine) {
    let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_x";
    let world = setup(engine)
        .env("LAMBDA_RDS_CORS_ORIGIN", "https://app.example.com")
        .env("LAMBDA_RDS_BASE_PATH", "/api")
        .env("LAMBDA_RDS_MCP_AUTHORIZATION_SERVER", issuer)
        .start()
        .await;
    let with = |origin: Option<&str>, claims: Value| {
        let mut event = message(MODERN, "tools/call", json!({"name": "mine"}));
        event["rawPath"] = "/api/mcp".into();
        if let Some(origin) = origin {
            event["headers"]["origin"] = origin.into();
        }
        event["requestContext"]["domainName"] = "shop.example.com".into();
        event["requestContext"]["authorizer"] = claims;
        event
    };
    let ada = json!({"jwt": {"claims": {"sub": "1"}, "scopes": null}});
    for origin in [None, Some("https://app.example.com")] {
        let (status, answer) = world.call(with(origin, ada.clone())).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["result"]["structuredContent"], json!({"id": 1, "name": "Ada"}));
    }
    for origin in
        ["https://evil.example.com", "null", "https://app.example.com.evil.com", "http://app.example.com"]
    {
        let (status, answer) = world.call(with(Some(origin), ada.clone())).await;
        assert_eq!((status, answer.get("result")), (403, None), "{origin}: {answer}");
    }
    // Who has no token is told where to get one, and gets nothing else.
    let reply = world.invoke(with(None, Value::Null)).await.json().unwrap();
    assert_eq!(reply["statusCode"], 401);
    let metadata = "https://shop.example.com/.well-known/oauth-protected-resource/api/mcp";
    assert_eq!(reply["headers"]["www-authenticate"], format!("Bearer resource_metadata=\"{metadata}\""));
    let document = json!({
        "resource": "https://shop.example.com/api/mcp",
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
    });
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/api/mcp"] {
        let mut event = get(path);
        event["requestContext"]["domainName"] = "shop.example.com".into();
        assert_eq!(world.call(event).await, (200, document.clone()), "{path}");
    }
    for path in ["/.well-known/oauth-protected-resource/other", "/.well-known/openid-configuration"] {
        assert_eq!(world.call(get(path)).await.0, 404, "{path}");
    }
    // A REST API has its stage in the path that the world sees.
    let event = changed(
        "apigw-v1",
        &[
            ("/httpMethod", json!("GET")),
            ("/path", json!("/.well-known/oauth-protected-resource")),
            ("/requestContext/path", json!("/prod/.well-known/oauth-protected-resource")),
            ("/requestContext/stage", json!("prod")),
            ("/requestContext/domainName", json!("x.execute-api.eu-central-1.amazonaws.com")),
        ],
    );
    let (status, found) = world.call(event).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["resource"], "https://x.execute-api.eu-central-1.amazonaws.com/prod/api/mcp");
    let open = world.another_with(&[("LAMBDA_RDS_MCP", "false")]).await;
    let outcome = open.invoke(get("/.well-known/oauth-protected-resource")).await.unwrap();
    assert_eq!(outcome.reply().unwrap().0, 404);
}

async fn a_failed_call_tells_what_to_change(engine: Engine) {
    let world = setup(engine).env("LAMBDA_RDS_TOOL_BYTES", "55").start().await;
    let inside = [world.host(), "password".to_owned(), "SELECT".to_owned(), "users WHERE".to_owned()];
    for (tool, arguments, code, message) in [
        (
            "rename",
            json!({"id": 1, "name": "Bob"}),
            "bad_parameter",
            "Parameter `name` must be one of 'Ada', 'Eve'.",
        ),
        ("users", json!({"limit": 501}), "bad_parameter", "Parameter `limit` must be between 1 and 500."),
        ("users", json!({"limit": "x"}), "bad_parameter", "Parameter `limit` must be an integer."),
        ("users", json!({"offset": 1}), "bad_parameter", "unknown; this query has `active`, `limit`."),
        (
            "asked",
            json!({"names": ["Bob"]}),
            "bad_parameter",
            "only elements that are one of 'Ada', 'Grace', 'Edsger'",
        ),
        ("user", json!({}), "bad_parameter", "Parameter `id` is missing."),
        ("mine", json!({}), "unauthenticated", "authenticated caller"),
        ("users", json!({}), "result_too_large", "`limit` (must be between 1 and 500)"),
        ("sent", json!({}), "bad_parameter", "it comes from header.x-key"),
    ] {
        let told = gateway(&world, &format!("shop___{tool}"), arguments.clone()).await;
        let result = call(&world, MODERN, tool, arguments.clone()).await;
        assert_eq!(result["isError"], true, "{result}");
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        for error in [&told["error"], &text["error"]] {
            assert_eq!(error["code"], code, "{tool} {arguments}: {error}");
            assert!(error["message"].as_str().unwrap().contains(message), "{tool} {arguments}: {error}");
            assert!(inside.iter().all(|inside| !error.to_string().contains(inside)), "{error}");
        }
    }
    assert_eq!(gateway(&world, "shop___users", json!({"limit": 1})).await["rows"][0]["id"], 1);

    // A Bedrock agent takes 25 KB, and the result is told once more inside a string.
    let wide = world.another_with(&[("LAMBDA_RDS_TOOL_BYTES", "100000")]).await;
    world.sql(&format!("UPDATE users SET name = '{}'", "\"".repeat(100)));
    for id in 10..250 {
        world.sql(&format!(
            "INSERT INTO users (id, name, email, active) VALUES ({id}, '{}', '{id}', TRUE)",
            "\"".repeat(100)
        ));
    }
    for (limit, fits) in [("20", true), ("100", false)] {
        let event = function("users", &[("limit", "integer", limit)]);
        let outcome = wide.invoke(event).await.unwrap();
        let Answer::Response(bytes) = &outcome.answer else { panic!("{outcome:?}") };
        assert!(bytes.len() <= 25_000, "{}", bytes.len());
        let response = &outcome.json().unwrap()["response"]["functionResponse"];
        assert_eq!(response.get("responseState").is_none(), fits, "{response}");
    }
    let all =
        wide.invoke(message(MODERN, "tools/call", json!({"name": "users", "arguments": {"limit": 500}})));
    let rows = all.await.unwrap().reply().unwrap().1["result"]["structuredContent"]["rows"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(242), "one can have more than the other");
}

async fn what_is_said_to_read_is_held_to_it(engine: Engine) {
    let (schema, queries) = match engine {
        Engine::Postgres | Engine::AuroraPostgres => (
            "CREATE FUNCTION write_a_note() RETURNS bigint LANGUAGE sql
             AS $$ INSERT INTO notes VALUES (1) RETURNING a::bigint $$;
             CREATE FUNCTION sneak() RETURNS bigint LANGUAGE plpgsql
             AS $$ BEGIN EXECUTE 'INSERT INTO notes VALUES (2)'; RETURN 1; END $$;",
            "SELECT write_a_note() AS a;|SELECT sneak() AS a;",
        ),
        Engine::Mysql | Engine::MariaDb | Engine::AuroraMysql => (
            "CREATE FUNCTION write_a_note() RETURNS BIGINT MODIFIES SQL DATA \
             BEGIN INSERT INTO notes VALUES (1); RETURN 1; END;",
            "SELECT write_a_note() AS a;|INSERT INTO notes VALUES (2);",
        ),
        Engine::Sqlite => ("", "INSERT INTO notes VALUES (1) RETURNING a;|DELETE FROM notes RETURNING a;"),
    };
    let (first, second) = queries.split_once('|').unwrap();
    let queries = format!(
        "-- name: one :many\n-- tool: One\n-- About it.\n-- read\n{first}\n\
         -- name: two :many\n-- tool: Two\n-- About it.\n-- read\n{second}\n"
    );
    let world = Setup::new(engine)
        .schema(format!("CREATE TABLE notes (a INTEGER);\n{schema}"))
        .queries(queries)
        .env("LAMBDA_RDS_MCP", "true")
        .start()
        .await;
    let (_, answer) = world.call(message(MODERN, "tools/list", json!({}))).await;
    for tool in answer["result"]["tools"].as_array().unwrap() {
        assert_eq!(tool["annotations"]["readOnlyHint"], true);
        let name = tool["name"].as_str().unwrap();
        let result = call(&world, MODERN, name, json!({})).await;
        assert_eq!(result["isError"], true, "{result}");
        assert!(result["content"][0]["text"].as_str().unwrap().contains("query_failed"), "{result}");
    }
    assert_eq!(world.count("notes"), 0);
}

/// Ten thousand events by an agent that writes what it likes.
async fn nothing_an_agent_writes_reaches_further(engine: Engine) {
    let world = setup(engine).start().await;
    let mut rng = Rng::with_seed(0x5eed);
    // Debug builds and real servers: the embedded one takes them all.
    let events = if engine == Engine::Sqlite { 10_000 } else { 1_000 };
    for number in 0..events {
        let arguments = object(&mut rng, 3);
        let tool = pick(&mut rng, &NAMES);
        let (answer, asked) = match number % 3 {
            0 => {
                let outcome = gateway_raw(&world, &format!("t___{tool}"), arguments.to_string()).await;
                (outcome.json().unwrap(), arguments)
            }
            1 => {
                let mut event = function(tool, &[]);
                let list = arguments.as_object().unwrap().iter().map(|(name, value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    json!({"name": name, "type": pick(&mut rng, &["string", "integer", "array", "object"]), "value": value})
                });
                event["parameters"] = list.collect();
                for (key, value) in object(&mut rng, 2).as_object().unwrap() {
                    if event.get(key).is_none() {
                        event[key] = value.clone();
                    }
                }
                let answer = world.invoke(event.clone()).await.json().unwrap();
                (body_of(&answer["response"]["functionResponse"]["responseBody"]["TEXT"]), event)
            }
            _ => {
                let mut params = json!({"name": tool, "arguments": arguments});
                for (key, value) in object(&mut rng, 2).as_object().unwrap() {
                    if params.get(key).is_none() {
                        params[key] = value.clone();
                    }
                }
                let event = message(MODERN, "tools/call", params);
                let (status, answer) = world.call(event.clone()).await;
                assert_eq!(status, 200, "{event}: {answer}");
                let text =
                    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
                (serde_json::from_str(text).unwrap(), event)
            }
        };
        // One result of one tool, or one error, and never what is not for it.
        assert!(answer.is_object(), "{asked}: {answer}");
        let code = answer["error"]["code"].as_str();
        match tool {
            "hidden" | "hidden_read" | "none" => assert_eq!(code, Some("unknown_query"), "{asked}: {answer}"),
            "mine" => {
                assert!(matches!(code, Some("unauthenticated" | "bad_parameter")), "{asked}: {answer}");
            }
            "sent" => assert_eq!(code, Some("bad_parameter"), "{asked}: {answer}"),
            _ => assert!(answer.get("steps").is_none() && code != Some("internal"), "{asked}: {answer}"),
        }
    }
    // The hidden write has not run: those who were active still are.
    assert_eq!(world.sql("SELECT name FROM users WHERE id = 2 AND active = TRUE"), "Grace");
    assert_eq!(world.count("users"), 3);
}

const NAMES: [&str; 9] =
    ["users", "user", "rename", "mine", "sent", "asked", "hidden", "hidden_read", "none"];

const KEYS: [&str; 30] = [
    "query",
    "params",
    "transaction",
    "batch",
    "diagnose",
    "reply",
    "onError",
    "limit",
    "Records",
    "eventSource",
    "requestContext",
    "httpMethod",
    "rawPath",
    "headers",
    "authorizer",
    "claims",
    "sub",
    "key",
    "request",
    "id",
    "ids",
    "name",
    "names",
    "active",
    "idempotencyKey",
    "X-Key",
    "x-key",
    "claims.sub",
    "header.X-Key",
    "context",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn object(rng: &mut Rng, depth: usize) -> Value {
    let members = (0..rng.usize(..4)).map(|_| (pick(rng, &KEYS).to_owned(), value(rng, depth)));
    Value::Object(members.collect::<Vec<_>>().into_iter().collect())
}

fn value(rng: &mut Rng, depth: usize) -> Value {
    match rng.usize(..if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.i64(-3..600).into(),
        3 => pick(rng, &NAMES).into(),
        4 => pick(rng, &["1", "Ada", "raise", "raw", "1; DROP TABLE users", "' OR '1'='1", "aws:sqs"]).into(),
        5 => json!([rng.i64(0..9), "Ada"]),
        6 => json!([object(rng, depth - 1)]),
        7 => json!({"query": "hidden", "params": object(rng, depth - 1)}),
        _ => object(rng, depth - 1),
    }
}
