//! `lambda-rds mcp` and `lambda-rds tools`, and what `serve` adds to MCP over HTTP. That the protocol's own clients
//! understand it, `cargo xtask agents` shows.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::server::database;
use crate::user::User;

const QUERIES: &str = "\
-- name: find_users :many
-- tool: Find users
-- Users whose name begins with a text, by name.
-- param: start text in 1..=20 -- the beginning of the name
SELECT id, name FROM users WHERE name LIKE :start || '%' ORDER BY name;
-- name: echo :one
-- tool: What was said
-- Says again what it got.
-- param: whole int
-- param: exact decimal
SELECT :whole AS whole, :exact AS exact;
-- name: mine :one
-- tool: Me
-- Who asks.
-- param: sub int from claims.sub
SELECT id, name FROM users WHERE id = :sub;
-- name: hidden :many
SELECT id FROM users;
";

fn user() -> User {
    let user = User::new();
    user.write("queries/q.sql", QUERIES);
    user
}

fn call(id: u32, tool: &str, arguments: Value) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// The answers to these lines, by their ids.
fn answers(user: &User, args: &[&str], lines: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["mcp"].into_iter().chain(args.iter().copied()).collect();
    let run = user.run_with(&[], &args, &(lines.join("\n") + "\n"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut answers: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    answers
}

#[test]
fn each_line_is_answered_by_one() {
    let lines = [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        "",
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#,
        &call(3, "find_users", json!({"start": "Ada"})),
        &call(4, "hidden", json!({})),
        &call(5, "mine", json!({})),
        &call(6, "mine", json!({"sub": 1})),
        r#"{"jsonrpc":"2.0","id":7,"method":"resources/list"}"#,
    ];
    let answers = answers(&user(), &["--claim", "sub=2"], &lines);
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-06-18");
    let tools = answers[1]["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "find_users", "mine"]);
    assert!(tools.iter().all(|tool| tool["outputSchema"].is_object()), "{tools:?}");
    assert_eq!(answers[2]["result"]["structuredContent"], json!({"rows": [{"id": 1, "name": "Ada"}]}));
    assert_eq!(answers[3]["result"]["isError"], true);
    assert_eq!(answers[4]["result"]["structuredContent"], json!({"id": 2, "name": "Grace"}));
    let refused = answers[5]["result"]["content"][0]["text"].as_str().unwrap();
    assert!(refused.contains("cannot be given by the caller"), "{refused}");
    assert_eq!(answers[6]["error"]["code"], -32601);
}

/// Read as doubles, as the protocol's SDK would, both were others.
#[test]
fn no_number_is_rounded_on_the_way() {
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"whole":9223372036854775807,"exact":12345678901234567890.123456789}}}"#;
    let run = user().run_with(&[], &["mcp"], &format!("{line}\n"));
    assert!(
        run.stdout.contains(
            r#""structuredContent":{"whole":9223372036854775807,"exact":"12345678901234567890.123456789"}"#
        ),
        "{}",
        run.stdout
    );
}

#[test]
fn query_files_are_read_again_and_what_is_cancelled_is_not_answered() {
    let user = user();
    let mut child = user
        .command(&[], &["mcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = |line: &str| {
        writeln!(stdin, "{line}").unwrap();
        serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()
    };
    let answer = ask(&call(1, "added", json!({})));
    assert_eq!(answer["result"]["isError"], true);
    user.write("queries/new.sql", "-- name: added :one\n-- tool: Added\n-- Later.\nSELECT 1 AS a;\n");
    let answer = ask(&call(2, "added", json!({})));
    assert_eq!(answer["result"]["structuredContent"], json!({"a": 1}));
    // It counts for minutes, unless it is stopped.
    user.write(
        "queries/slow.sql",
        "-- name: slow :one\n-- tool: Slow\n-- Very.\n-- timeout: 5m\nWITH RECURSIVE n(i) AS (SELECT 1 UNION ALL \
         SELECT i + 1 FROM n WHERE i < 10000000000) SELECT count(*) AS n FROM n;\n",
    );
    writeln!(stdin, "{}", call(3, "slow", json!({}))).unwrap();
    writeln!(stdin, r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":3}}}}"#)
        .unwrap();
    drop(stdin);
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn schemas_for_three_readers() {
    let user = user();
    let mcp = user.run(&["tools"]).json();
    assert_eq!(mcp["tools"][1]["name"], "find_users");
    assert_eq!(mcp["tools"][1]["outputSchema"]["required"], json!(["rows"]));
    let offline = user.run(&["tools", "--offline"]).json();
    assert_eq!(offline["tools"][1].get("outputSchema"), None);
    let agentcore = user.run(&["tools", "--format", "agentcore"]).json();
    assert_eq!(agentcore[1]["inputSchema"]["required"], json!(["start"]));
    let bedrock = user.run(&["tools", "--format", "bedrock"]).json();
    assert_eq!(bedrock["functions"][1]["parameters"]["start"]["required"], true);
    user.write("queries/q.sql", "-- name: a :many\nSELECT 1 AS a;\n");
    let none = user.run(&["tools"]);
    assert_eq!((none.code, none.json()), (0, json!({"tools": []})));
    assert!(none.stderr.contains("no query is a tool"), "{}", none.stderr);
}

/// What the page tells a client of the protocol to start, started as it would.
#[test]
fn the_settings_of_a_desktop_client_start_it() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial/desktop-agent.md"));
    let page = page.unwrap();
    let block = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let settings: Value = serde_json::from_str(block).unwrap();
    let server = &settings["mcpServers"]["shop"];
    assert_eq!(
        (&server["command"], &server["env"]),
        (&json!("lambda-rds"), &json!({"DB_PASSWORD": "secret"}))
    );
    let user = user();
    let db = database("CREATE TABLE users (id bigint, name text); INSERT INTO users VALUES (1, 'Ada');");
    let setting = |name: &str| db.iter().find(|(key, _)| *key == name).unwrap().1.as_str();
    let url = format!(
        "{}@{}:{}/{}?sslrootcert={}",
        setting("DB_USER"),
        setting("DB_HOST"),
        setting("DB_PORT"),
        setting("DB_NAME"),
        setting("DB_TLS_CA")
    );
    let folder = user.folder().join("queries").display().to_string();
    let args: Vec<String> = server["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| {
            arg.as_str().unwrap().replace("me@localhost/shop", &url).replace("/home/me/shop/queries", &folder)
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let line = call(1, "find_users", json!({"start": "Ada"}));
    let run = user.run_with(&[("DB_PASSWORD", setting("DB_PASSWORD"))], &args, &format!("{line}\n"));
    let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    assert_eq!(
        answer["result"]["structuredContent"],
        json!({"rows": [{"id": 1, "name": "Ada"}]}),
        "{answer}"
    );
}
