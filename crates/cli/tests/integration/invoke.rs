//! `lambda-rds invoke`

use serde_json::{Value, json};

use crate::server::{database, env};
use crate::user::User;

#[test]
fn the_first_command_of_the_readme_prints_rows_of_a_sample_database() {
    let user = User::new();
    let first = user.invoke(&["active_users", "active=true", "limit=2"]);
    assert_eq!(
        first.json(),
        json!([
            { "id": 1, "name": "Ada", "email": "ada@example.com" },
            { "id": 2, "name": "Grace", "email": "grace@example.com" },
        ]),
    );
    let file = user.folder().join(".cache/lambda-rds/sample.db");
    let note = format!(
        "lambda-rds: made the sample database {}; --db, --url or DB_* name another\n",
        file.display()
    );
    assert_eq!(first.stderr, note);
    assert!(file.is_file());

    let again = user.invoke(&["user", "id=1"]);
    assert_eq!(again.json(), json!({ "id": 1, "name": "Ada", "email": "ada@example.com", "active": true }));
    assert!(again.stderr.contains("using the sample database"), "{}", again.stderr);
    let quiet = user.invoke(&["user", "id=1", "--json"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let entries: Vec<_> =
        std::fs::read_dir(user.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, [".cache"], "nothing is left in the working folder");
}

#[test]
fn what_was_written_is_there_in_the_next_run() {
    let user = User::new();
    let added = user.invoke(&["add_user", "name=Zoë", "email=zoe@example.com"]);
    assert_eq!(added.json(), json!({ "rowsAffected": 1, "lastInsertId": 9 }));
    assert_eq!(user.invoke(&["rename_user", "id=9", "name=Zoe"]).json(), json!({ "rowsAffected": 1 }));
    assert_eq!(user.invoke(&["user", "id=9"]).json()["name"], "Zoe");

    let error = user.invoke(&["add_user", "name=Zoe", "email=zoe@example.com"]).error(5);
    assert_eq!((&error["code"], &error["retryable"]), (&json!("constraint"), &json!(false)));
}

#[test]
fn output_is_compact_for_a_pipe_and_laid_out_on_request() {
    let user = User::new();
    let compact = user.invoke(&["active_users", "limit=1"]);
    assert_eq!(compact.stdout, "[{\"id\":1,\"name\":\"Ada\",\"email\":\"ada@example.com\"}]\n");
    let pretty = user.invoke(&["active_users", "limit=1", "--pretty"]);
    assert_eq!(pretty.stdout, "[\n  {\"id\": 1, \"name\": \"Ada\", \"email\": \"ada@example.com\"}\n]\n");
}

#[test]
fn the_exit_code_tells_whose_mistake_it_was() {
    let user = User::new();
    for (args, code, name) in [
        (&["nothing"] as &[&str], 2, "unknown_query"),
        (&["user", "id=x"], 2, "bad_parameter"),
        (&["user"], 2, "bad_parameter"),
        (&["user", "id=1", "more=1"], 2, "bad_parameter"),
        (&["active_users", "limit=501"], 2, "bad_parameter"),
        (&["user", "id=999"], 5, "not_found"),
        (&["user", "id=1", "--db", "missing.db", "--queries", ".cache/lambda-rds/queries"], 4, "unreachable"),
    ] {
        let run = user.invoke(args);
        let error = run.error(code);
        assert_eq!(error["code"], name, "{args:?}");
        assert_eq!(error["requestId"].as_str().map(str::len), Some(36), "{args:?}");
    }
    assert_eq!(user.invoke(&["user", "id"]).code, 2);
    assert_eq!(user.invoke(&["user", "--nonsense"]).code, 2);
}

#[test]
fn the_developer_is_told_what_the_caller_is_not() {
    let user = User::new();
    user.write("queries/broken.sql", "-- name: broken :many\nSELECT id FROM nowhere;\n");
    let run = user.invoke(&["broken"]);
    assert_eq!(run.error(1)["code"], "query_failed");
    assert!(run.stderr.contains("lambda-rds: no such table: nowhere"), "{}", run.stderr);
    let run = user.invoke(&["broken", "--json"]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);

    let missing = user.invoke(&["broken", "--db", "missing.db"]);
    assert!(
        missing.stderr.contains("missing.db") && missing.stderr.contains("DB_NAME"),
        "{}",
        missing.stderr
    );
}

#[test]
fn mistakes_in_the_set_up_name_the_place() {
    let user = User::new();
    user.write("queries/users.sql", "-- name: users :many\nSELECT :id;\n");
    let run = user.invoke(&["users"]);
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
    assert!(run.stderr.contains("users.sql:"), "{}", run.stderr);

    let user = User::new();
    let run = user.invoke_with(&[("DB_QUERY_TIMEOUT", "soon")], &["active_users"], "");
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("DB_QUERY_TIMEOUT"), "{}", run.stderr);

    let run = user.invoke(&["users", "--url", "oracle://me:hunter2@host/shop"]);
    assert_eq!(run.code, 2);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn an_event_gets_the_reply_that_lambda_would_give() {
    let user = User::new();
    user.write("event.json", r#"{"query": "user", "params": {"id": 2}}"#);
    let reply = user.invoke(&["--event", "event.json"]).json();
    assert_eq!(reply["statusCode"], 200);
    let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["name"], "Grace");

    let raw = r#"{"query": "user", "params": {"id": 2}, "reply": "raw"}"#;
    assert_eq!(user.invoke_with(&[], &["--event", "-"], raw).json()["id"], 2);

    let missing = user.invoke_with(&[], &["--event", "-"], r#"{"query": "user", "params": {"id": 99}}"#);
    assert_eq!(missing.code, 5);
    assert!(missing.stdout.contains("\"statusCode\":404"), "{}", missing.stdout);

    let raw = r#"{"query": "user", "params": {"id": 99}, "reply": "raw"}"#;
    let raw = user.invoke_with(&[], &["--event", "-"], raw);
    assert_eq!(raw.code, 1);
    assert!(raw.stdout.starts_with("{\"error\":{\"code\":\"not_found\""), "{}", raw.stdout);

    let raised = r#"{"query": "user", "params": {"id": 99}, "onError": "raise"}"#;
    let raised = user.invoke_with(&[], &["--event", "-"], raised);
    assert_eq!((raised.code, raised.stdout.as_str()), (1, ""));
    assert!(raised.stderr.contains("not_found"), "{}", raised.stderr);
}

#[test]
fn the_default_query_runs_without_a_name() {
    let user = User::new();
    let env = [("LAMBDA_RDS_DEFAULT_QUERY", "active_users")];
    assert_eq!(user.invoke_with(&env, &["limit=1"], "").json()[0]["id"], 1);
    assert_eq!(user.invoke_with(&env, &[], "").json().as_array().map(Vec::len), Some(6));
    assert_eq!(user.invoke(&["limit=1"]).error(2)["code"], "bad_event");
}

#[test]
fn who_calls_is_said_by_options_and_by_nothing_else() {
    let user = User::new();
    user.write(
        "queries/who.sql",
        "-- name: who :one\n-- param: sub text from claims.sub\n-- param: n int from claims.n\n\
         -- param: tenant text from context.tenantId\n-- param: key text from header.X-Key\n\
         SELECT :sub AS sub, :n AS n, :tenant AS tenant, :key AS key;\n",
    );
    let said = ["--claim", "sub=o'neill=1", "--tenant", "blue", "--header", "X-Key: k"];
    let call = |more: &[&str]| {
        let words: Vec<&str> = ["who"].iter().chain(&said).chain(more).copied().collect();
        user.invoke(&words)
    };
    let who = json!({"sub": "o'neill=1", "n": 9007199254740993_i64, "tenant": "blue", "key": "k"});
    assert_eq!(call(&["--claims", r#"{"n": 9007199254740993}"#]).json(), who);
    // A claim that is missing is told as the function tells it, and a parameter makes none.
    assert_eq!(call(&[]).error(2)["code"], "unauthenticated");
    assert_eq!(call(&["n=7", "--claim", "n=7"]).error(2)["code"], "bad_parameter");
    assert_eq!(user.invoke(&["who"]).error(2)["code"], "unauthenticated");

    // What an event says, it says by itself; the tenant is Lambda's word, which stands in none.
    user.write("event.json", r#"{"query": "who"}"#);
    for more in [["--claim", "sub=1"], ["--claims", "{}"], ["--idempotency-key", "k"], ["--format", "csv"]] {
        let run = user.invoke(&["--event", "event.json", more[0], more[1]]);
        assert_eq!(run.code, 2, "{more:?}");
        assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
    }
    user.write(
        "queries/whose.sql",
        "-- name: whose :one\n-- param: t text from context.tenantId\nSELECT :t AS t;\n",
    );
    let event = r#"{"query": "whose", "reply": "raw"}"#;
    assert_eq!(user.invoke_with(&[], &["--event", "-", "--tenant", "red"], event).json()["t"], "red");
}

#[test]
fn a_key_makes_a_write_happen_once() {
    let user = User::new();
    user.write(
        "queries/pay.sql",
        "-- name: pay :exec\n-- write\n-- idempotency_key: header.Idempotency-Key\n-- param: note text\n\
         INSERT INTO users (name, email) VALUES (:note, :note);\n\
         -- name: paid :one\nSELECT count(*) AS n FROM users;\n",
    );
    let before = user.invoke(&["paid"]).json()["n"].as_i64().unwrap();
    let pay = |note: &str, key: &str| user.invoke(&["pay", note, "--idempotency-key", key]);
    let missing = pay("note=a", "k");
    assert_eq!(missing.error(1)["code"], "query_failed");
    assert!(missing.stderr.contains("lambda-rds tables"), "{}", missing.stderr);
    user.sample(&user.run(&["tables", "--engine", "sqlite"]).stdout);

    let (first, again) = (pay("note=a", "k"), pay("note=a", "k"));
    assert_eq!(first.json(), again.json());
    assert!(!first.stderr.contains("has been used") && again.stderr.contains("has been used"));
    assert_eq!(user.invoke(&["paid"]).json()["n"], before + 1);
    assert_eq!(pay("note=b", "k").error(5)["code"], "idempotency_key_reused");
    assert_eq!(user.invoke(&["pay", "note=c"]).error(2)["code"], "bad_event");
    assert_eq!(pay("note=c", "").code, 2);
    assert_eq!(user.invoke(&["paid", "--idempotency-key", "k"]).error(2)["code"], "bad_event");
    assert_eq!(user.invoke(&["paid"]).json()["n"], before + 1);
}

#[test]
fn rows_come_as_csv_and_as_lines_of_json() {
    let user = User::new();
    user.write(
        "queries/some.sql",
        "-- name: some :many\n-- param: least int = 1\n\
         SELECT id, CASE id WHEN 1 THEN NULL WHEN 2 THEN 'a,\"b\"' ELSE '' END AS t FROM users WHERE id BETWEEN :least AND 3;\n\
         -- name: paged :many\n-- page: id\n-- page_size: 2\nSELECT id FROM users;\n\
         -- name: one :one\nSELECT 1 AS n;\n",
    );
    let csv = user.invoke(&["some", "--format", "csv"]);
    assert_eq!((csv.code, csv.stdout.as_str()), (0, "id,t\r\n1,\r\n2,\"a,\"\"b\"\"\"\r\n3,\"\"\r\n"));
    let lines = user.invoke(&["some", "--format", "ndjson", "--pretty"]);
    assert_eq!(
        lines.stdout,
        "{\"id\":1,\"t\":null}\n{\"id\":2,\"t\":\"a,\\\"b\\\"\"}\n{\"id\":3,\"t\":\"\"}\n"
    );
    assert_eq!(user.invoke(&["some", "--format", "json"]).json()[0], json!({"id": 1, "t": null}));
    assert_eq!(user.invoke(&["some", "least=9", "--format", "ndjson"]).stdout, "");

    // Where the next page begins, such a body cannot say.
    let page = user.invoke(&["paged", "--format", "csv"]);
    assert_eq!(page.stdout, "id\r\n1\r\n2\r\n");
    let next = page.stderr.lines().find_map(|line| line.strip_prefix("lambda-rds: the next page: ")).unwrap();
    assert_eq!(user.invoke(&["paged", next, "--format", "csv"]).stdout, "id\r\n3\r\n4\r\n");

    assert_eq!(user.invoke(&["one", "--format", "csv"]).error(2)["code"], "bad_event");
    let wrong = user.invoke(&["some", "--format", "xml"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("json, ndjson, csv"), "{}", wrong.stderr);
}

#[test]
fn who_mistypes_a_name_sees_those_that_there_are() {
    let user = User::new();
    let names = "lambda-rds: there are: active_users, add_user, rename_user, user";
    for words in [&["active_user"] as &[&str], &[], &["limit=1"]] {
        let run = user.invoke(words);
        assert!(run.code == 2 && run.stderr.contains(names), "{}", run.stderr);
    }
    for words in [&["active_user", "--json"] as &[&str], &["user", "id=x"]] {
        assert!(!user.invoke(words).stderr.contains("there are"), "{words:?}");
    }
}

#[test]
fn settings_that_name_no_database_or_nobody_are_told_with_the_way_out() {
    let user = User::new();
    let run = user.run(&["doctor"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("No database is named: --url postgres://"), "{}", run.stderr);
    assert_eq!(user.run(&["doctor", "--json"]).stderr, "");
    for words in
        [["doctor", "--url", "postgres://localhost/shop"], ["check", "--url", "mysql://localhost/shop"]]
    {
        let run = user.run(&words);
        assert!(run.code == 2 || run.code == 3);
        assert!(run.stderr.contains("write postgres://USER@HOST/NAME"), "{}", run.stderr);
    }
}

#[test]
fn the_servers_policies_hold_for_whom_the_command_line_names() {
    let settings = database(
        "CREATE TABLE notes (tenant text NOT NULL, text text NOT NULL);
         INSERT INTO notes VALUES ('blue', 'b'), ('red', 'r');
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (tenant = current_setting('app.tenant', true));",
    );
    let mut settings = env(&settings);
    settings.push(("LAMBDA_RDS_SET", "app.tenant = claims.tenant"));
    let user = User::new();
    user.write("queries/notes.sql", "-- name: notes :many\nSELECT text FROM notes;\n");
    let notes = |who: &[&str]| user.invoke_with(&settings, &[&["notes"], who].concat(), "");
    assert_eq!(notes(&["--claim", "tenant=blue"]).json(), json!([{"text": "b"}]));
    assert_eq!(notes(&["--claims", r#"{"tenant": "red"}"#]).json(), json!([{"text": "r"}]));
    assert_eq!(notes(&["--claim", "tenant=' OR true --"]).json(), json!([]));
    assert_eq!(notes(&[]).error(2)["code"], "unauthenticated");
    assert_eq!(notes(&["--tenant", "blue"]).error(2)["code"], "unauthenticated");
}
