//! What a failure tells: the caller what to do and nothing of the inside, the log what happened and no secret.

use lambda_rds_testbed::certs::Authority;
use lambda_rds_testbed::{Answer, Function, Outcome};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::events::{get, post};
use crate::world::{Engine, PATIENCE, SECRET, Setup, World, last_log};
use crate::{on_clusters, on_every_server};

on_every_server!(
    statements_that_fail,
    values_are_logged_where_that_is_wanted,
    connections_that_fail,
    failures_over_http_and_raised_ones_say_the_same,
    one_log_line_and_one_line_of_metrics_per_invocation,
);

on_clusters!(
    statements_that_fail,
    values_are_logged_where_that_is_wanted,
    connections_that_fail,
    failures_over_http_and_raised_ones_say_the_same,
    one_log_line_and_one_line_of_metrics_per_invocation,
);

/// A failure that a statement provokes: the query, its parameters, the reply's code, the server's.
type Provoked = (&'static str, Value, &'static str, &'static str);

async fn statements_that_fail(engine: Engine) {
    let world = accounts(engine).start().await;
    for (query, params, code, sqlstate) in provoked(engine) {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        let told = match (query, code) {
            ("sneaky", _) => {
                "500 query_failed final The query is declared as a read and tries to write: declare this query `-- write`."
            }
            (_, "constraint") => "409 constraint final The change would break a rule of the data.",
            (_, "bad_parameter") => {
                "400 bad_parameter final A parameter has a value that the database does not take."
            }
            (_, "query_failed") => {
                "500 query_failed final The query failed. Its author finds the reason in the function's log."
            }
            (_, "rejected") => "422 rejected final The balance is too low.",
            (_, "conflict") => "409 conflict retryable Another change was in the way. Try again.",
            (_, "timeout") => "504 timeout retryable The query took too long and was stopped.",
            other => panic!("what is told of {other:?}?"),
        };
        let line = last_log(&world.function, &outcome.request_id).await;
        assert_eq!(reply(&world, &outcome), told, "{query} {params}: {line}");

        assert_eq!((line["outcome"].as_str(), line["query"].as_str()), (Some(code), Some(query)), "{line}");
        assert_eq!(line["sqlstate"].as_str().unwrap_or_default(), sqlstate, "{line}");
        assert!(line["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{line}");
        assert!(line["sql"].as_str().is_some_and(|sql| sql.len() > 5), "{line}");
        assert_eq!(line["level"], if line["status"].as_u64() >= Some(500) { "ERROR" } else { "INFO" });
        assert!(!shows_values(&line.to_string()), "{line}");
        assert_eq!(line.get("values"), None);
    }
    no_password(&world, &world.function);
}

async fn values_are_logged_where_that_is_wanted(engine: Engine) {
    let world = accounts(engine).env("LAMBDA_RDS_LOG_VALUES", "true").start().await;
    for (query, params, ..) in provoked(engine) {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        reply(&world, &outcome);
        let line = last_log(&world.function, &outcome.request_id).await;
        let values = line["values"].as_str().unwrap();
        for (name, value) in params.as_object().unwrap() {
            assert!(values.contains(&format!("{name}={value}")), "{line}");
        }
    }
    // What the server says, with what it quotes, PostgreSQL's DETAIL too.
    for (query, params, detail) in outspoken(engine) {
        let outcome = world.invoke(json!({"query": query, "params": params})).await;
        let line = last_log(&world.function, &outcome.request_id).await;
        assert_eq!(line["detail"].as_str().unwrap().replace(&world.database().name, "DATABASE"), detail);
    }
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
    let sql =
        if engine.plain() == Engine::Postgres { "SELECT refuse($1) AS x" } else { "SELECT refuse(?) AS x" };
    assert_eq!((line["step"].as_u64(), line["sql"].as_str()), (Some(1), Some(sql)));
    // Of a success there is nothing to explain.
    let outcome = world.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await;
    assert!(!shows_values(&world.last_log(&outcome.request_id).await.to_string()));
    no_password(&world, &world.function);
}

/// A function makes a statement of its own, with a value in its text, and that fails: of PostgreSQL alone, which tells
/// of that statement.
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

async fn connections_that_fail(engine: Engine) {
    let world = accounts(engine).start().await;
    let good = world.secret();
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
    // The phase and the server's code where there is a login but no database, and where there is no place. MySQL judges
    // of both with the login; the unknown database is one that the user has no right to.
    let (password, database, busy, words) = match engine.plain() {
        Engine::Postgres => ("28P01", ("ready", "3D000"), ("ready", "53300"), "too many connections"),
        _ => ("1045", ("auth", "1044"), ("auth", "1226"), "max_user_connections"),
    };

    let mut secret = good.clone();
    secret["password"] = json!("hunter2");
    world.secrets.put(SECRET, &secret);
    check("wrong password", &world.another_with(&[first_use]).await, "auth", password, "password").await;
    secret = good.clone();
    secret["dbname"] = json!("hunter2");
    world.secrets.put(SECRET, &secret);
    let (phase, number) = database;
    check("no such database", &world.another_with(&[first_use]).await, phase, number, "hunter2").await;
    world.secrets.put(SECRET, &good);

    let mut gone = vec![first_use, ("DB_HOST", "gone.invalid"), ("DB_CONNECT_TIMEOUT", "2s")];
    if engine != engine.plain() {
        gone.push(("DB_READER_HOST", "gone.invalid"));
    }
    check("no such host", &world.another_with(&gone).await, "resolve", "", "gone.invalid").await;
    for wire in world.wires() {
        wire.refuse().await.unwrap();
    }
    check("refused", &world.another_with(&[first_use]).await, "tcp", "", "refuses connections").await;
    for wire in world.wires() {
        wire.accept().await.unwrap();
    }
    let other = NamedTempFile::new().unwrap();
    std::fs::write(other.path(), Authority::new("another one").unwrap().pem()).unwrap();
    let untrusted = [first_use, ("DB_TLS_CA", other.path().to_str().unwrap())];
    check("wrong authority", &world.another_with(&untrusted).await, "tls", "", "certificate").await;
    world.one_session().await;
    world.rows("echo", json!({"x": "v4lue"})).await;
    // In a cluster there is a place on each member, and this one's is taken until the end.
    let mut reader = None;
    if engine != engine.plain() {
        let function = reader.insert(world.another_with(&[("DB_READ_FROM", "reader")]).await);
        let read = function.invoke(json!({"query": "echo", "params": {"x": "v4lue"}})).await.unwrap();
        assert_eq!(read.reply().unwrap().0, 200);
    }
    let hasty = [first_use, ("DB_CONNECT_TIMEOUT", "3s")];
    let (phase, number) = busy;
    check("too many connections", &world.another_with(&hasty).await, phase, number, words).await;
    assert_eq!(
        told,
        "\
wrong password: 503 credentials_rejected retryable The database does not accept this function. Try again later.
no such database: 503 unreachable retryable The database cannot be reached. Try again later.
no such host: 503 unreachable retryable The database cannot be reached. Try again later.
refused: 503 unreachable retryable The database cannot be reached. Try again later.
wrong authority: 503 unreachable retryable The database cannot be reached. Try again later.
too many connections: 503 database_busy retryable The database is busy. Try again later.
"
    );
}

async fn failures_over_http_and_raised_ones_say_the_same(engine: Engine) {
    let world = accounts(engine).start().await;
    let direct = world.invoke(json!({"query": "number", "params": {"x": "v4lue"}})).await;
    let http = world.invoke(post("/number", json!({"x": "v4lue"}))).await;
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

async fn one_log_line_and_one_line_of_metrics_per_invocation(engine: Engine) {
    let world = accounts(engine).env("DB_CONNECT_AT", "first-use").start().await;
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
    let echo = json!({"query": "echo", "params": {"x": "v4lue"}});
    let number = json!({"query": "number", "params": {"x": "v4lue"}});
    // On MySQL the settings are a phase with a round trip of its own.
    let ready = if engine.plain() == Engine::Postgres { "" } else { "readyMillis " };
    assert_eq!(
        keys(world.invoke(echo.clone()).await).await,
        format!(
            "\
log authMillis bytes cold connectMillis credentialsMillis level message outcome query queryMillis {ready}requestId \
resolveMillis retries rows source target tcpMillis timestamp tlsMillis totalMillis traceId
metrics QueryMillis ConnectMillis Retries Faults ColdConnects Pinned Rows Bytes
by [[\"function\"],[\"function\",\"query\"]]
of \"lambda-rds-test\" \"echo\"
"
        )
    );
    assert_eq!(
        keys(world.invoke(echo.clone()).await).await,
        "\
log bytes cold level message outcome query queryMillis requestId retries rows source target timestamp totalMillis traceId
metrics QueryMillis Retries Faults ColdConnects Pinned Rows Bytes
by [[\"function\"],[\"function\",\"query\"]]
of \"lambda-rds-test\" \"echo\"
"
    );
    assert_eq!(
        keys(world.invoke(number).await).await,
        "\
log bytes cold detail level message outcome query queryMillis requestId retries rows source sql sqlstate status target \
timestamp totalMillis traceId
metrics QueryMillis Retries Faults ColdConnects Pinned Rows Bytes
by [[\"function\"],[\"function\",\"query\"]]
of \"lambda-rds-test\" \"number\"
"
    );
    let without_query = "\
metrics Retries Faults ColdConnects Pinned Rows Bytes
by [[\"function\"]]
of \"lambda-rds-test\" null
";
    assert_eq!(
        keys(world.invoke(json!({"query": "nobody"})).await).await,
        format!(
            "log bytes cold level message outcome requestId retries rows source status target timestamp totalMillis \
             traceId\n{without_query}"
        )
    );
    assert_eq!(
        keys(world.invoke(get("/health")).await).await,
        format!(
            "log bytes cold level message outcome requestId retries rows source target timestamp totalMillis traceId\n\
             {without_query}"
        )
    );
}

/// The lines of the log that are about a request, once both are there.
async fn lines(function: &Function, request_id: &str) -> Vec<Value> {
    for kind in ["\"outcome\"", "\"_aws\""] {
        let wanted = |line: &str| line.contains(request_id) && line.contains(kind);
        function.wait_for_log(wanted, PATIENCE).await.unwrap();
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
        "MySQL",
        "MariaDB",
        "mysql",
        "Duplicate",
        "Incorrect",
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
fn provoked(engine: Engine) -> Vec<Provoked> {
    let x = || json!({"x": "v4lue"});
    let open = |id: i64, owner: &str, balance: &str| json!({"id": id, "owner": owner, "balance": balance});
    let code = |postgres, mysql| if engine.plain() == Engine::Postgres { postgres } else { mysql };
    let check = if engine == Engine::MariaDb { "4025" } else { "3819" };
    vec![
        ("open", open(1, "v4lue", "1"), "constraint", code("23505", "1062")),
        ("open", open(47_114_711, "Ada v4lue", "1"), "constraint", code("23505", "1062")),
        ("open", open(2, "v4lue", "-47114711"), "constraint", code("23514", check)),
        ("open", json!({"id": 2, "owner": null, "balance": "47114711"}), "constraint", code("23502", "1048")),
        ("refer", json!({"id": 47_114_711}), "constraint", code("23503", "1452")),
        (
            "rename",
            json!({"id": 1, "owner": "v4lue v4lue v4lue v4lue"}),
            "bad_parameter",
            code("22001", "1406"),
        ),
        ("number", x(), "bad_parameter", code("22P02", "1366")),
        ("number", json!({"x": "v\"4\"lue \"v4lue\""}), "bad_parameter", code("22P02", "1366")),
        ("mood", x(), "bad_parameter", code("22P02", "1265")),
        ("day", x(), "bad_parameter", code("22007", "1292")),
        ("day", json!({"x": "2026-02-47"}), "bad_parameter", code("22008", "1292")),
        ("small", json!({"n": 47_114_711}), "bad_parameter", code("22003", "1264")),
        ("divide", json!({"n": 47_114_711}), "bad_parameter", code("22012", "1365")),
        ("syntax", x(), "query_failed", code("42601", "1064")),
        ("no_table", x(), "query_failed", code("42P01", "1146")),
        ("no_column", x(), "query_failed", code("42703", "1054")),
        ("no_function", x(), "query_failed", code("42883", "1305")),
        ("not_ours", x(), "query_failed", code("42501", "1142")),
        ("sneaky", x(), "query_failed", code("25006", "1792")),
        ("refuse", x(), "rejected", code("P0001", "1644")),
        ("collide", x(), "conflict", code("40001", "1213")),
        ("slow", x(), "timeout", ""),
    ]
}

/// What the log tells of some of them, where it may show values.
fn outspoken(engine: Engine) -> Vec<(&'static str, Value, &'static str)> {
    let twice = json!({"id": 2, "owner": "Ada v4lue", "balance": "1"});
    let x = || json!({"x": "v4lue"});
    match engine.plain() {
        Engine::Postgres => vec![
            (
                "open",
                twice,
                "ERROR: duplicate key value violates unique constraint \"accounts_owner_key\"; detail: Key \
                 (owner)=(Ada v4lue) already exists.; schema public; table accounts; constraint accounts_owner_key",
            ),
            ("number", x(), "ERROR: invalid input syntax for type integer: \"v4lue\""),
            ("refuse", x(), "ERROR: The balance is too low.; detail: It is v4lue; hint: Wait."),
        ],
        Engine::Mysql => vec![
            ("open", twice, "Duplicate entry 'Ada v4lue' for key 'accounts.owner'"),
            ("number", x(), "Incorrect integer value: 'v4lue' for column 'small' at row 1"),
        ],
        _ => vec![
            ("open", twice, "Duplicate entry 'Ada v4lue' for key 'owner'"),
            (
                "number",
                x(),
                "Incorrect integer value: 'v4lue' for column `DATABASE`.`accounts`.`small` at row 1",
            ),
        ],
    }
}

fn accounts(engine: Engine) -> Setup {
    let (schema, queries) = match engine.plain() {
        Engine::Postgres => (IN_POSTGRES, QUERIES_IN_POSTGRES),
        _ => (IN_MYSQL, QUERIES_IN_MYSQL),
    };
    Setup::new(engine).schema(schema).queries(format!("{QUERIES}{queries}"))
}

const IN_POSTGRES: &str = "
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

/// MySQL converts as it likes where nothing is stored, and so these are the columns of a row.
const IN_MYSQL: &str = "
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    owner varchar(20) NOT NULL UNIQUE,
    balance decimal(20, 2) CHECK (balance >= 0),
    mood ENUM ('happy'),
    day DATE,
    small SMALLINT
);
CREATE TABLE payments (account bigint, FOREIGN KEY (account) REFERENCES accounts (id));
INSERT INTO accounts (id, owner, balance) VALUES (1, 'Ada v4lue', 1);
CREATE FUNCTION refuse(x text) RETURNS text DETERMINISTIC
BEGIN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'The balance is too low.'; RETURN x; END;
CREATE FUNCTION collide(x text) RETURNS text DETERMINISTIC
BEGIN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found'; RETURN x; END;
CREATE FUNCTION sneak(x text) RETURNS text DETERMINISTIC
BEGIN INSERT INTO accounts (id, owner, balance) VALUES (9, x, 1); RETURN x; END;
";

const QUERIES: &str = "\
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

-- name: syntax :one
-- param: x text
SELECT :x AS x FROM WHERE;

-- name: no_table :one
-- param: x text
SELECT :x AS x FROM nowhere;

-- name: no_column :one
-- param: x text
SELECT :x AS x, missing FROM accounts;

-- name: sneaky :one
-- param: x text
SELECT sneak(:x) AS x;

-- name: refuse :one
-- param: x text
SELECT refuse(:x) AS x;

-- name: collide :one
-- param: x text
SELECT collide(:x) AS x;
";

const QUERIES_IN_POSTGRES: &str = "
-- name: number :one
-- http: POST
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

-- name: no_function :one
-- param: x text
SELECT missing(CAST(:x AS text)) AS x;

-- name: not_ours :many
-- param: x text
SELECT x FROM not_ours WHERE x = :x;

-- name: slow :many
-- timeout: 100ms
-- param: x text
SELECT :x AS x FROM pg_sleep(20);
";

const QUERIES_IN_MYSQL: &str = "
-- name: number :exec
-- http: POST
-- param: x text
UPDATE accounts SET small = :x;

-- name: mood :exec
-- param: x text
UPDATE accounts SET mood = :x;

-- name: day :exec
-- param: x text
UPDATE accounts SET day = :x;

-- name: small :exec
-- param: n int
UPDATE accounts SET small = :n;

-- name: divide :exec
-- param: n int
UPDATE accounts SET balance = :n / 0;

-- name: no_function :one
-- param: x text
SELECT missing(:x) AS x;

-- name: not_ours :many
-- param: x text
SELECT user FROM mysql.user WHERE user = :x;

-- name: slow :many
-- timeout: 100ms
-- param: x text
SELECT :x AS x, SLEEP(20) AS slept;
";
