//! `lambda-rds serve`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::user::User;

/// A server of a user's.
struct Served {
    child: Child,
    address: String,
    announced: Value,
}

/// What it answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    fn start(user: &User, env: &[(&str, &str)], args: &[&str]) -> Self {
        let args: Vec<&str> =
            ["serve", "--listen", "0", "--json"].into_iter().chain(args.iter().copied()).collect();
        let mut command = user.command(env, &args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("{stderr}");
        }
        let announced: Value = serde_json::from_str(&line).unwrap();
        let address = announced["url"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Self { child, address, announced }
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "")
    }

    /// Interrupts it, and gives what it ended with and had said on stderr.
    fn interrupt(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, stderr)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    #[track_caller]
    fn has(&self, header: &str) {
        assert!(self.head.contains(&format!("\r\n{header}")), "{header} is not in {}", self.head);
    }
}

#[test]
fn requests_are_answered_as_the_function_would() {
    let user = User::new();
    let served = Served::start(&user, &[("LAMBDA_RDS_CORS_ORIGIN", "https://app.example.com")], &[]);
    let urls: Vec<&str> = served.announced["queries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|query| query["url"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(urls, ["active_users", "add_user", "rename_user", "user"]);

    let users = served.get("/active_users?limit=1");
    assert_eq!(
        (users.status, users.json()),
        (200, json!([{"id": 1, "name": "Ada", "email": "ada@example.com"}]))
    );
    users.has("content-type: application/json");
    users.has("cache-control: no-store");
    users.has("access-control-allow-origin: https://app.example.com");

    let json = [("content-type", "application/json")];
    let added = served.send("POST", "/add_user", &json, r#"{"name": "Zoë", "email": "zoe@example.com"}"#);
    assert_eq!((added.status, added.json()["rowsAffected"].clone()), (200, json!(1)));
    let again = served.send("POST", "/add_user?name=Zo%C3%AB", &json, r#"{"email": "zoe@example.com"}"#);
    assert_eq!((again.status, again.json()["error"]["code"].clone()), (409, json!("constraint")));

    let head = served.send("HEAD", "/user?id=1", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(served.get("/user?id=99").status, 404);
    assert_eq!(served.get("/user?id=x").json()["error"]["code"], "bad_parameter");
    assert_eq!(served.get("/nothing").json()["error"]["code"], "unknown_query");
    assert_eq!(served.get("/health").json(), json!({"status": "ok"}));
    let refused = served.send("DELETE", "/user?id=1", &[], "");
    assert_eq!(refused.status, 405);
    refused.has("allow: get, head");
    assert_eq!(served.send("POST", "/add_user", &[("content-type", "text/plain")], "x").status, 415);
    assert_eq!(served.send("OPTIONS", "/user", &[], "").status, 204);

    let (code, stderr) = served.interrupt();
    assert_eq!(code, Some(0), "{stderr}");
    let line: Value = stderr.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!((&line["method"], &line["url"]), (&json!("GET"), &json!("/active_users?limit=1")));
}

#[test]
fn claims_and_headers_reach_the_queries() {
    let user = User::new();
    user.write(
        "queries/a.sql",
        "-- name: mine :one\n-- http: GET\n-- param: owner int from claims.sub\n-- param: key text from header.X-Key\n\
         SELECT :owner AS owner, :key AS key;\n",
    );
    let served = Served::start(&user, &[("LAMBDA_RDS_CORS_ORIGIN", "*")], &["--claim", "sub=42"]);
    let mine = served.send("GET", "/mine", &[("X-Key", "k")], "");
    assert_eq!(mine.json(), json!({"owner": 42, "key": "k"}));
    assert_eq!(served.get("/mine").status, 400);
    served
        .send("OPTIONS", "/mine", &[], "")
        .has("access-control-allow-headers: content-type, authorization, x-key");

    let nobody = Served::start(&user, &[], &[]);
    assert_eq!(nobody.send("GET", "/mine", &[("X-Key", "k")], "").json()["error"]["code"], "unauthenticated");
}

#[test]
fn a_tenant_is_the_command_lines_or_that_of_an_invoke() {
    let user = User::new();
    user.write(
        "queries/a.sql",
        "-- name: whose :one\n-- http: GET\n-- param: tenant text from context.tenantId\n\
         -- param: groups json from claims.groups\nSELECT :tenant AS tenant, :groups AS groups;\n\
         -- name: tenant :one\n-- param: tenant text from context.tenantId\nSELECT :tenant AS tenant;\n",
    );
    const INVOKE: &str = "/2015-03-31/functions/any/invocations";
    let event = r#"{"query": "tenant", "reply": "raw"}"#;
    let red = [("X-Amz-Tenant-Id", "red")];

    let said = ["--tenant", "blue", "--claims", r#"{"groups": ["staff"]}"#];
    let served = Served::start(&user, &[], &said);
    // Over HTTP no header says it.
    let answer = served.send("GET", "/whose", &red, "");
    assert_eq!(answer.json(), json!({"tenant": "blue", "groups": "[\"staff\"]"}));
    assert_eq!(served.send("POST", INVOKE, &[], event).json(), json!({"tenant": "blue"}));
    assert_eq!(served.send("POST", INVOKE, &red, event).json(), json!({"tenant": "red"}));
    drop(served);

    let served = Served::start(&user, &[], &[]);
    assert_eq!(served.send("GET", "/whose", &red, "").status, 400);
    assert_eq!(served.send("POST", INVOKE, &red, event).json(), json!({"tenant": "red"}));
}

#[test]
fn lambdas_own_invoke_answers() {
    let user = User::new();
    let served = Served::start(&user, &[], &[]);
    let invoke = |event: &str, kind: &str| {
        let path = "/2015-03-31/functions/any/invocations";
        served.send("POST", path, &[("x-amz-invocation-type", kind)], event)
    };
    let direct = invoke(r#"{"query": "user", "params": {"id": 1}}"#, "RequestResponse");
    assert_eq!((direct.status, direct.json()["statusCode"].clone()), (200, json!(200)));
    direct.has("x-amz-executed-version: $latest");
    let raised = invoke(r#"{"query": "user", "params": {"id": 99}, "onError": "raise"}"#, "RequestResponse");
    assert_eq!((raised.status, raised.json()["errorType"].clone()), (200, json!("not_found")));
    raised.has("x-amz-function-error: unhandled");
    let raw = invoke(r#"{"query": "user", "params": {"id": 1}, "reply": "raw"}"#, "RequestResponse");
    assert_eq!(raw.body, r#"{"id":1,"name":"Ada","email":"ada@example.com","active":true}"#, "byte for byte");
    assert_eq!(invoke("{}", "DryRun").status, 204);

    let add = r#"{"query": "add_user", "params": {"name": "Eve", "email": "eve@example.com"}}"#;
    assert_eq!(invoke(add, "Event").status, 202);
    let until = Instant::now() + Duration::from_secs(30);
    while served.get("/user?id=9").status != 200 {
        assert!(Instant::now() < until, "what runs by itself did not come to its end");
    }
}

#[test]
fn query_files_that_change_are_read_again() {
    let user = User::new();
    let query = |one: &str| format!("-- name: a :one\n-- http: GET\nSELECT {one} AS one;\n");
    user.write("queries/a.sql", &query("1"));
    let served = Served::start(&user, &[], &[]);
    assert_eq!(served.get("/a").json(), json!({"one": 1}));
    user.write("queries/a.sql", &query("22"));
    assert_eq!(served.get("/a").json(), json!({"one": 22}));
    user.write("queries/a.sql", "-- name: a :one\n-- http: GET\nSELECT :nothing AS one;\n");
    assert_eq!(served.get("/a").json(), json!({"one": 22}), "the last ones go on");
    user.write("queries/a.sql", &query("333"));
    assert_eq!(served.get("/a").json(), json!({"one": 333}));
    let (_, stderr) = served.interrupt();
    assert!(stderr.contains("queries/a.sql:3: "), "{stderr}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let user = User::new();
    let served = Served::start(&user, &[], &[]);
    let run = user.run(&["serve", "--listen", &served.address]);
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
    assert!(run.stderr.contains(&served.address), "{}", run.stderr);
    assert_eq!(user.run(&["serve", "--listen", "everywhere"]).code, 2);
}

#[test]
fn the_openapi_document_is_served_where_it_is_switched_on() {
    let user = User::new();
    let off = Served::start(&user, &[], &[]);
    assert_eq!(off.get("/openapi.json").status, 404);

    let on = Served::start(&user, &[("LAMBDA_RDS_OPENAPI", "true"), ("LAMBDA_RDS_BASE_PATH", "/api")], &[]);
    let document = on.get("/api/openapi.json");
    assert_eq!(document.status, 200);
    assert!(document.json()["paths"].get("/api/active_users").is_some());
    assert_eq!(on.get("/openapi.json").status, 404);

    assert_eq!(user.run(&["openapi", "-o", "o.json"]).code, 0);
    let file = Served::start(&user, &[("LAMBDA_RDS_OPENAPI", "o.json")], &[]);
    assert!(file.get("/openapi.json").json()["components"]["schemas"].get("user_row").is_some());

    user.write("broken.json", "{");
    let run = user.run_with(&[("LAMBDA_RDS_OPENAPI", "broken.json")], &["serve"], "");
    assert_eq!(run.code, 3);
    assert!(
        run.stderr.contains("LAMBDA_RDS_OPENAPI") && run.stderr.contains("broken.json"),
        "{}",
        run.stderr
    );
}

/// What the page does, `cargo xtask page` tries in a browser.
#[test]
fn a_browser_gets_a_page_and_nobody_else_does() {
    let user = User::new();
    user.write(
        "queries/a.sql",
        "-- name: a :one\n-- http: GET\n-- Not </script><b>bold</b>.\nSELECT 1 AS one;\n\
         -- name: mine :one\n-- http: GET\n-- param: sub text from claims.sub\nSELECT :sub AS sub;\n",
    );
    let served = Served::start(&user, &[("LAMBDA_RDS_DEFAULT_QUERY", "a")], &["--claim", "sub=42"]);
    let browser = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    let page = served.send("GET", "/", &[browser], "");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    assert!(page.body.contains("\"/a\"") && !page.body.contains("</script><b>"), "{}", page.body);
    let again = served.send("GET", "/", &[browser], "");
    assert_ne!(again.head, page.head, "what may run is told by a word that nobody can know before");

    // The default query, as ever.
    for headers in [&[][..], &[("accept", "*/*")], &[("accept", "application/json")]] {
        let reply = served.send("GET", "/", headers, "");
        assert_eq!((reply.status, reply.body.as_str()), (200, "{\"one\":1}"), "{headers:?}");
    }
    assert_eq!(served.send("GET", "/a", &[browser], "").body, "{\"one\":1}");

    // Who the page pretends to be, and where the time went.
    let mine = |headers: &[(&str, &str)]| served.send("GET", "/mine", headers, "");
    assert_eq!(mine(&[]).body, "{\"sub\":\"42\"}");
    assert_eq!(mine(&[("lambda-rds-claims", "%7B%22sub%22%3A%227%22%7D")]).body, "{\"sub\":\"7\"}");
    assert_eq!(mine(&[("lambda-rds-claims", "%7B%7D")]).status, 401);
    let reply = mine(&[]);
    assert!(reply.head.contains("server-timing: total;dur="), "{}", reply.head);
    assert!(reply.head.contains("db;dur="), "{}", reply.head);
}
