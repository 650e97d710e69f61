//! What a failure tells: the caller what to do and nothing of the inside, the log what happened and no secret.

use std::time::Duration;

use insta::assert_snapshot;
use lambda_rds_testbed::{Answer, Function, Outcome};
use serde_json::{Value, json};

use crate::events::get;
use crate::world::{Engine, SECRET, Setup, World, last_log};

/// A failure that a statement provokes: the query, its parameters, the reply's code, the server's.
type Provoked = (&'static str, Value, &'static str, &'static str);

#[tokio::test]
async fn statements_that_fail() {
    let world = accounts().start().await;
    let mut told = String::new();
    for (query, params, code, sqlstate) in provoked() {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        told.push_str(&format!("{query}: {}\n", reply(&world, &outcome)));

        let line = last_log(&world.function, &outcome.request_id).await;
        assert_eq!((line["outcome"].as_str(), line["query"].as_str()), (Some(code), Some(query)), "{line}");
        assert_eq!(line["sqlstate"].as_str().unwrap_or_default(), sqlstate, "{line}");
        assert!(line["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{line}");
        assert!(line["sql"].as_str().is_some_and(|sql| sql.len() > 5), "{line}");
        assert_eq!(line["level"], if line["status"].as_u64() >= Some(500) { "ERROR" } else { "INFO" });
        assert!(!shows_values(&line.to_string()), "{line}");
        assert_eq!(line.get("values"), None);
    }
    assert_snapshot!(told, @"
        open: 409 constraint final The change would break a rule of the data.
        open: 409 constraint final The change would break a rule of the data.
        open: 409 constraint final The change would break a rule of the data.
        open: 409 constraint final The change would break a rule of the data.
        refer: 409 constraint final The change would break a rule of the data.
        rename: 400 bad_parameter final A parameter has a value that the database does not take.
        number: 400 bad_parameter final A parameter has a value that the database does not take.
        number: 400 bad_parameter final A parameter has a value that the database does not take.
        mood: 400 bad_parameter final A parameter has a value that the database does not take.
        day: 400 bad_parameter final A parameter has a value that the database does not take.
        day: 400 bad_parameter final A parameter has a value that the database does not take.
        small: 400 bad_parameter final A parameter has a value that the database does not take.
        divide: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        syntax: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        no_table: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        no_column: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        no_function: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        not_ours: 500 query_failed final The query failed. Its author finds the reason in the function's log.
        sneaky: 500 query_failed final The query is declared as a read and tries to write: declare this query `-- write`.
        refuse: 422 rejected final The balance is too low.
        collide: 409 conflict retryable Another change was in the way. Try again.
        slow: 504 timeout retryable The query took too long and was stopped.
        ");
    no_password(&world, &world.function);
}

#[tokio::test]
async fn values_are_logged_where_that_is_wanted() {
    let world = accounts().env("LAMBDA_RDS_LOG_VALUES", "true").start().await;
    for (query, params, ..) in provoked() {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        reply(&world, &outcome);
        let line = last_log(&world.function, &outcome.request_id).await;
        let values = line["values"].as_str().unwrap();
        for (name, value) in params.as_object().unwrap() {
            assert!(values.contains(&format!("{name}={value}")), "{line}");
        }
    }
    // PostgreSQL's DETAIL and what it quotes.
    let detail = async |query: &str, params: Value| {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        last_log(&world.function, &outcome.request_id).await["detail"].as_str().unwrap().to_owned()
    };
    assert_snapshot!(detail("open", json!({"id": 2, "owner": "Ada v4lue", "balance": "1"})).await, @r#"ERROR: duplicate key value violates unique constraint "accounts_owner_key"; detail: Key (owner)=(Ada v4lue) already exists.; schema public; table accounts; constraint accounts_owner_key"#);
    assert_snapshot!(detail("number", json!({"x": "v4lue"})).await, @r#"ERROR: invalid input syntax for type integer: "v4lue""#);
    assert_snapshot!(detail("refuse", json!({"x": "v4lue"})).await, @"ERROR: The balance is too low.; detail: It is v4lue; hint: Wait.");
    // A call that never got so far, and the step that failed.
    let outcome = world.invoke(json!({"query": "open", "params": {"id": "v4lue"}})).await;
    let line = world.last_log(&outcome.request_id).await;
    assert_eq!((line["query"].as_str(), line["values"].as_str()), (Some("open"), Some("id=\"v4lue\"")));
    let steps = json!([
        {"query": "rename", "params": {"id": 1, "owner": "Bob"}},
        {"query": "refuse", "params": {"x": "v4lue"}},
    ]);
    let outcome = world.invoke(json!({"transaction": steps})).await;
    let line = world.last_log(&outcome.request_id).await;
    assert_eq!(line["values"], "id=1, owner=\"Bob\"; x=\"v4lue\"");
    assert_eq!((line["step"].as_u64(), line["sql"].as_str()), (Some(1), Some("SELECT refuse($1) AS x")));
    // Of a success there is nothing to explain.
    let outcome = world.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await;
    assert!(!shows_values(&world.last_log(&outcome.request_id).await.to_string()));
    no_password(&world, &world.function);
}

/// A function makes a statement of its own, with a value in its text, and that fails.
#[tokio::test]
async fn a_statement_inside_a_function_is_logged_with_values_where_that_is_wanted() {
    let schema = "CREATE FUNCTION pick(x text) RETURNS integer LANGUAGE plpgsql AS $$
        DECLARE n integer; BEGIN EXECUTE 'SELECT ' || x || ' FROM nowhere' INTO n; RETURN n; END $$;";
    let queries = "-- name: pick :one\n-- param: x text\nSELECT pick(:x) AS n;\n";
    let world = Setup::new(Engine::Postgres).schema(schema).queries(queries).start().await;
    let outspoken = world.another_with(&[("LAMBDA_RDS_LOG_VALUES", "true")]).await;
    // The second is at fault for its words, which the message repeats.
    for x in ["'v4lue'", "v4lue v4lue v4lue"] {
        let event = json!({"query": "pick", "params": {"x": x}});
        let outcome = world.invoke(event.clone()).await;
        assert_eq!(outcome.reply().unwrap().1["error"]["code"], "query_failed");
        let line = world.last_log(&outcome.request_id).await;
        assert!(line["detail"].as_str().unwrap().contains("of the function's statement"), "{line}");
        assert!(!shows_values(&line.to_string()), "{line}");

        let outcome = outspoken.invoke(event).await.unwrap();
        let line = last_log(&outspoken, &outcome.request_id).await;
        assert!(line["detail"].as_str().unwrap().contains(&format!("SELECT {x} FROM nowhere")), "{line}");
    }
}

#[tokio::test]
async fn connections_that_fail() {
    let world = accounts().start().await;
    let good = world.database().secret("127.0.0.1", world.wire().port());
    let first_use = ("DB_CONNECT_AT", "first-use");
    let mut told = String::new();
    let mut check = async |what: &str, function: &Function, phase: &str, sqlstate: &str, names: &str| {
        let outcome = function.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await.unwrap();
        told.push_str(&format!("{what}: {}\n", reply(&world, &outcome)));
        let line = last_log(function, &outcome.request_id).await;
        assert_eq!(line["phase"], phase, "{line}");
        assert_eq!(line["sqlstate"].as_str().unwrap_or_default(), sqlstate, "{line}");
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.contains(names), "{what}: {detail}");
        assert!(!shows_values(&line.to_string()), "{line}");
        no_password(&world, function);
    };

    let mut secret = good.clone();
    secret["password"] = json!("hunter2");
    world.secrets.put(SECRET, &secret);
    check("wrong password", &world.another_with(&[first_use]).await, "auth", "28P01", "password").await;
    secret = good.clone();
    secret["dbname"] = json!("hunter2");
    world.secrets.put(SECRET, &secret);
    check("no such database", &world.another_with(&[first_use]).await, "ready", "3D000", "hunter2").await;
    world.secrets.put(SECRET, &good);

    let gone = [first_use, ("DB_HOST", "gone.invalid"), ("DB_CONNECT_TIMEOUT", "2s")];
    check("no such host", &world.another_with(&gone).await, "resolve", "", "gone.invalid").await;
    world.wire().refuse().await.unwrap();
    check("refused", &world.another_with(&[first_use]).await, "tcp", "", "refuses connections").await;
    world.wire().accept().await.unwrap();
    let plain = world.server().other_ca_pem_path();
    let untrusted = [first_use, ("DB_TLS_CA", plain.to_str().unwrap())];
    check("wrong authority", &world.another_with(&untrusted).await, "tls", "", "certificate").await;
    let name = &world.database().name;
    world.server().psql("postgres", &format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 0")).unwrap();
    let hasty = [first_use, ("DB_CONNECT_TIMEOUT", "1s")];
    check(
        "too many connections",
        &world.another_with(&hasty).await,
        "ready",
        "53300",
        "too many connections",
    )
    .await;
    assert_snapshot!(told, @"
        wrong password: 503 credentials_rejected retryable The database does not accept this function. Try again later.
        no such database: 503 unreachable retryable The database cannot be reached. Try again later.
        no such host: 503 unreachable retryable The database cannot be reached. Try again later.
        refused: 503 unreachable retryable The database cannot be reached. Try again later.
        wrong authority: 503 unreachable retryable The database cannot be reached. Try again later.
        too many connections: 503 database_busy retryable The database is busy. Try again later.
        ");
}

#[tokio::test]
async fn failures_over_http_and_raised_ones_say_the_same() {
    let world = accounts().start().await;
    let direct = world.invoke(json!({"query": "number", "params": {"x": "v4lue"}})).await;
    let http = world.invoke(get("/number?x=v4lue")).await;
    assert_eq!(reply(&world, &direct), reply(&world, &http));

    let event = json!({"query": "number", "params": {"x": "v4lue"}, "onError": "raise"});
    let raised = world.invoke(event).await;
    let Answer::Error { error_type, body } = &raised.answer else { panic!("{raised:?}") };
    assert_eq!(error_type.as_deref(), Some("bad_parameter"));
    let body = String::from_utf8(body.to_vec()).unwrap();
    hides(&world, &body);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["errorType"], "bad_parameter");
    let told = direct.reply().unwrap().1["error"]["message"].as_str().unwrap().to_owned();
    assert!(body["errorMessage"].as_str().unwrap().starts_with(&told), "{body}");
}

#[tokio::test]
async fn one_log_line_and_one_line_of_metrics_per_invocation() {
    let world = accounts().env("DB_CONNECT_AT", "first-use").start().await;
    let keys = async |outcome: Outcome| {
        let mine: Vec<Value> = lines(&world.function, &outcome.request_id).await;
        let logged: Vec<&Value> = mine.iter().filter(|line| line.get("outcome").is_some()).collect();
        let metrics: Vec<&Value> = mine.iter().filter(|line| line.get("_aws").is_some()).collect();
        assert_eq!((logged.len(), metrics.len()), (1, 1), "{mine:?}");
        let (logged, metrics) = (logged[0], metrics[0]);
        assert_eq!(logged["requestId"], outcome.request_id);
        let declared = &metrics["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(declared["Namespace"], "lambda-rds");
        let names: Vec<&str> =
            declared["Metrics"].as_array().unwrap().iter().map(|m| m["Name"].as_str().unwrap()).collect();
        for name in &names {
            assert!(metrics[name].is_number(), "{name} of {metrics}");
        }
        format!(
            "log {}\nmetrics {}\nby {}\nof {} {}\n",
            members(logged),
            names.join(" "),
            declared["Dimensions"],
            metrics["function"],
            metrics["query"],
        )
    };
    let cold = keys(world.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await).await;
    assert_snapshot!(cold, @r#"
        log authMillis bytes cold connectMillis credentialsMillis level message outcome query queryMillis requestId resolveMillis retries rows source target tcpMillis timestamp tlsMillis totalMillis traceId
        metrics QueryMillis ConnectMillis Retries Faults ColdConnects Pinned Rows Bytes
        by [["function"],["function","query"]]
        of "lambda-rds-test" "echo"
        "#);
    let warm = keys(world.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await).await;
    assert_snapshot!(warm, @r#"
        log bytes cold level message outcome query queryMillis requestId retries rows source target timestamp totalMillis traceId
        metrics QueryMillis Retries Faults ColdConnects Pinned Rows Bytes
        by [["function"],["function","query"]]
        of "lambda-rds-test" "echo"
        "#);
    let failed = keys(world.invoke(json!({"query": "number", "params": {"x": "v4lue"}})).await).await;
    assert_snapshot!(failed, @r#"
        log bytes cold detail level message outcome query queryMillis requestId retries rows source sql sqlstate status target timestamp totalMillis traceId
        metrics QueryMillis Retries Faults ColdConnects Pinned Rows Bytes
        by [["function"],["function","query"]]
        of "lambda-rds-test" "number"
        "#);
    let refused = keys(world.invoke(json!({"query": "nobody"})).await).await;
    assert_snapshot!(refused, @r#"
        log bytes cold level message outcome requestId retries rows source status target timestamp totalMillis traceId
        metrics Retries Faults ColdConnects Pinned Rows Bytes
        by [["function"]]
        of "lambda-rds-test" null
        "#);
    let health = keys(world.invoke(get("/health")).await).await;
    assert_snapshot!(health, @r#"
        log bytes cold level message outcome requestId retries rows source target timestamp totalMillis traceId
        metrics Retries Faults ColdConnects Pinned Rows Bytes
        by [["function"]]
        of "lambda-rds-test" null
        "#);
}

/// The lines of the log that are about a request, once both are there.
async fn lines(function: &Function, request_id: &str) -> Vec<Value> {
    for kind in ["\"outcome\"", "\"_aws\""] {
        let wanted = |line: &str| line.contains(request_id) && line.contains(kind);
        function.wait_for_log(wanted, Duration::from_secs(10)).await.unwrap();
    }
    let logs = function.logs();
    logs.iter()
        .filter(|line| line.contains(request_id))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn members(line: &Value) -> String {
    line.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// A failure's reply, which has the contract's shape and nothing of the inside, on one line.
fn reply(world: &World, outcome: &Outcome) -> String {
    let whole = outcome.json().unwrap();
    hides(world, &whole.to_string());
    let (status, body) = outcome.reply().unwrap();
    let error = &body["error"];
    assert_eq!(members(&body), "error");
    assert_eq!(members(error), "code message requestId retryable");
    assert_eq!(error["requestId"], outcome.request_id);
    let retryable = if error["retryable"].as_bool().unwrap() { "retryable" } else { "final" };
    format!("{status} {} {retryable} {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

/// Proves that a reply shows nothing of the inside.
fn hides(world: &World, text: &str) {
    let database = world.database();
    let port = world.wire().port().to_string();
    let inside = [
        database.name.as_str(),
        &database.user,
        &database.password,
        "hunter2",
        "127.0.0.1",
        &port,
        "gone.invalid",
        "v4lue",
        "47114711",
        "accounts",
        "owner",
        "SELECT",
        "INSERT",
        "UPDATE",
        "Postgres",
        "postgres",
        "sqlx",
        "SQLSTATE",
        "certificate",
        "password",
        "syntax",
        "relation",
        "at character",
    ];
    for word in inside {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

fn shows_values(text: &str) -> bool {
    text.contains("v4lue") || text.contains("47114711")
}

fn no_password(world: &World, function: &Function) {
    let logged = function.logs().join("\n");
    let quoted = json!(world.database().password).to_string();
    assert!(
        !logged.contains(&world.database().password) && !logged.contains(quoted.trim_matches('"')),
        "{logged}"
    );
    assert!(!logged.contains("\"password\":"), "{logged}");
}

/// Everything that a statement can provoke, each with values that are easily found again.
fn provoked() -> Vec<Provoked> {
    let x = || json!({"x": "v4lue"});
    let open = |id: i64, owner: &str, balance: &str| json!({"id": id, "owner": owner, "balance": balance});
    vec![
        ("open", open(1, "v4lue", "1"), "constraint", "23505"),
        ("open", open(47_114_711, "Ada v4lue", "1"), "constraint", "23505"),
        ("open", open(2, "v4lue", "-47114711"), "constraint", "23514"),
        ("open", json!({"id": 2, "owner": null, "balance": "47114711"}), "constraint", "23502"),
        ("refer", json!({"id": 47_114_711}), "constraint", "23503"),
        ("rename", json!({"id": 1, "owner": "v4lue v4lue v4lue v4lue"}), "bad_parameter", "22001"),
        ("number", x(), "bad_parameter", "22P02"),
        ("number", json!({"x": "v\"4\"lue \"v4lue\""}), "bad_parameter", "22P02"),
        ("mood", x(), "bad_parameter", "22P02"),
        ("day", x(), "bad_parameter", "22007"),
        ("day", json!({"x": "2026-02-47"}), "bad_parameter", "22008"),
        ("small", json!({"n": 47_114_711}), "bad_parameter", "22003"),
        ("divide", json!({"n": 47_114_711}), "query_failed", "22012"),
        ("syntax", x(), "query_failed", "42601"),
        ("no_table", x(), "query_failed", "42P01"),
        ("no_column", x(), "query_failed", "42703"),
        ("no_function", x(), "query_failed", "42883"),
        ("not_ours", x(), "query_failed", "42501"),
        ("sneaky", x(), "query_failed", "25006"),
        ("refuse", x(), "rejected", "P0001"),
        ("collide", x(), "conflict", "40001"),
        ("slow", x(), "timeout", ""),
    ]
}

fn accounts() -> Setup {
    let schema = "
CREATE TYPE mood AS ENUM ('happy');
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    owner varchar(20) NOT NULL UNIQUE,
    balance numeric CHECK (balance >= 0)
);
CREATE TABLE payments (account bigint REFERENCES accounts);
INSERT INTO accounts VALUES (1, 'Ada v4lue', 1);
CREATE FUNCTION refuse(x text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'The balance is too low.' USING DETAIL = 'It is ' || x, HINT = 'Wait.'; END $$;
CREATE FUNCTION collide(x text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not serialize access' USING ERRCODE = '40001', DETAIL = 'It is ' || x; END $$;
CREATE FUNCTION sneak(x text) RETURNS text LANGUAGE sql AS
$$ INSERT INTO accounts VALUES (9, x, 1) RETURNING owner $$;
RESET ROLE;
CREATE TABLE not_ours (x text);
";
    let queries = "\
-- name: echo :one
-- param: x text
SELECT :x AS x;

-- name: open :exec
-- param: id int
-- param: owner text?
-- param: balance decimal
INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance);

-- name: rename :exec
-- param: id int
-- param: owner text
UPDATE accounts SET owner = :owner WHERE id = :id;

-- name: refer :exec
-- param: id int
INSERT INTO payments (account) VALUES (:id);

-- name: number :one
-- http: GET
-- param: x text
SELECT CAST(CAST(:x AS text) AS integer) AS n;

-- name: mood :one
-- param: x text
SELECT CAST(CAST(:x AS text) AS mood) AS m;

-- name: day :one
-- param: x text
SELECT CAST(CAST(:x AS text) AS date) AS d;

-- name: small :one
-- param: n int
SELECT CAST(CAST(:n AS bigint) AS smallint) AS n;

-- name: divide :one
-- param: n int
SELECT :n / 0 AS n;

-- name: syntax :one
-- param: x text
SELECT :x AS x FROM WHERE;

-- name: no_table :one
-- param: x text
SELECT :x AS x FROM nowhere;

-- name: no_column :one
-- param: x text
SELECT :x AS x, missing FROM accounts;

-- name: no_function :one
-- param: x text
SELECT missing(CAST(:x AS text)) AS x;

-- name: not_ours :many
-- param: x text
SELECT x FROM not_ours WHERE x = :x;

-- name: sneaky :one
-- param: x text
SELECT sneak(:x) AS x;

-- name: refuse :one
-- param: x text
SELECT refuse(:x) AS x;

-- name: collide :one
-- param: x text
SELECT collide(:x) AS x;

-- name: slow :many
-- timeout: 100ms
-- param: x text
SELECT :x AS x FROM pg_sleep(20);
";
    Setup::new(Engine::Postgres).schema(schema).queries(queries)
}
