//! Whose rows: `-- set:` and `-- role:`, and what of them the server still knows afterwards.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::future::join_all;
use lambda_rds::config::Table;
use lambda_rds::queries::Dialect;
use lambda_rds_testbed::{After, Cut, Direction, Fault, Function, RuntimeApi, unless_stalled};
use serde_json::{Value, json};

use crate::identity::{code, v2};
use crate::rotation::login;
use crate::world::{CANCEL, Engine, PATIENCE, SECRET, Setup, World, until};

/// Roles are the whole server's, so another test may have made them a moment ago.
const SCHEMA: &str = r"
RESET ROLE;
DO $$ DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['rds_member', 'rds_auditor', 'rds_stranger'] LOOP
    BEGIN EXECUTE format('CREATE ROLE %I', name);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END;
  END LOOP;
  EXECUTE format('GRANT rds_member, rds_auditor TO %I', current_database() || '_owner');
  EXECUTE format('SET ROLE %I', current_database() || '_owner');
END $$;
CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL DEFAULT current_setting('app.tenant'),
    text text NOT NULL
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO rds_member USING (tenant = nullif(current_setting('app.tenant', true), ''));
CREATE POLICY audit ON notes FOR SELECT TO rds_auditor USING (true);
GRANT SELECT, INSERT, UPDATE ON notes TO rds_member;
GRANT SELECT ON notes TO rds_auditor;
CREATE SCHEMA tenant_a;
CREATE TABLE tenant_a.things (name text, n int);
INSERT INTO tenant_a.things VALUES ('a', 1);
CREATE SCHEMA tenant_b;
CREATE TABLE tenant_b.things (name text, n int);
INSERT INTO tenant_b.things VALUES ('b', 2);
CREATE SCHEMA tenant_c;
CREATE TABLE tenant_c.things (n bigint, name varchar(9));
INSERT INTO tenant_c.things VALUES (3, 'c');
";

const QUERIES: &str = "
-- name: notes :many
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
SELECT tenant, text FROM notes ORDER BY id;

-- name: plain :many
-- http: GET, POST
SELECT 'x' AS tenant, 'y' AS text;

-- name: add :exec
-- http: POST
-- set: app.tenant = claims.tenant
-- role: rds_member
-- param: text text
INSERT INTO notes (text) VALUES (:text);

-- name: all :many
-- http: GET, POST
-- role: claims.role in {rds_member, rds_auditor}
SELECT tenant FROM notes ORDER BY id;

-- name: who :one
-- http: GET, POST
-- param: seconds float = 0
SELECT current_user::text AS name, coalesce(current_setting('app.tenant', true), '') AS tenant,
       coalesce(current_setting('request.jwt.claims', true), '') AS claims, current_setting('search_path') AS path,
       pg_backend_pid() AS pid
FROM pg_sleep(:seconds);

-- name: told :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- set: request.jwt.claims = claims
-- set: app.sub = claims.sub
SELECT current_setting('app.tenant') AS tenant, current_setting('request.jwt.claims') AS claims,
       current_setting('app.sub') AS sub;

-- name: bad :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
SELECT 1 / (SELECT count(*) FROM notes WHERE id < 0) AS never;

-- name: none :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
SELECT text FROM notes WHERE id < 0;

-- name: two :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
SELECT generate_series(1, 2) AS n;

-- name: slow :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
-- timeout: 200ms
SELECT pg_sleep(30)::text AS never;

-- name: slow_write :exec
-- http: POST
-- set: app.tenant = claims.tenant
-- role: rds_member
-- timeout: 200ms
UPDATE notes SET text = pg_sleep(30)::text WHERE tenant IS NOT NULL OR pg_sleep(30) IS NULL;

-- name: stranger :one
-- http: GET, POST
-- role: rds_stranger
SELECT 1 AS n;

-- name: nobody :one
-- http: GET, POST
-- role: no_such_role
SELECT 1 AS n;

-- name: things :many
-- http: GET, POST
-- set: search_path = claims.schema in {tenant_a, tenant_b, tenant_c}
-- param: least int = 0
SELECT * FROM things WHERE n > :least;

-- name: isolated :one
-- set: app.tenant = context.tenantId
-- param: tenant text from context.tenantId
SELECT current_setting('app.tenant') AS setting, :tenant AS parameter;

-- name: by_header :one
-- http: GET, POST
-- set: app.tenant = header.X-Tenant
SELECT current_setting('app.tenant') AS tenant;

-- name: escape :one
-- http: GET, POST
-- set: app.tenant = claims.tenant
-- role: rds_member
SELECT set_config('role', 'none', true) AS role, current_user::text AS name;
";

fn setup() -> Setup {
    Setup::new(Engine::Postgres).schema(SCHEMA).queries(QUERIES).env("LAMBDA_RDS_HTTP_BATCH", "true")
}

fn claims(claims: &Value) -> Value {
    json!({"authorizer": {"jwt": {"claims": claims, "scopes": null}}})
}

pub(crate) fn get(query: &str, who: &Value) -> Value {
    v2(&format!("/{query}"), claims(who))
}

pub(crate) fn post(path: &str, body: &Value, who: &Value) -> Value {
    let mut event = get(path, who);
    event["requestContext"]["http"]["method"] = json!("POST");
    event["headers"]["content-type"] = json!("application/json");
    event["body"] = json!(body.to_string());
    event
}

fn tenant(tenant: impl Into<Value>) -> Value {
    json!({"sub": "u", "tenant": tenant.into()})
}

async fn add(world: &World, who: &Value, text: &str) {
    let (status, body) = world.call(post("add", &json!({"text": text}), who)).await;
    assert_eq!((status, body), (200, json!({"rowsAffected": 1})));
}

/// Nothing of a caller is left on a session: as the server itself says.
async fn nothing_left(world: &World) -> Value {
    nobody(world, world.call(get("who", &json!({}))).await)
}

/// The server process behind an answer of `who`, which knows of nobody.
fn nobody(world: &World, (status, mut who): (u64, Value)) -> Value {
    assert_eq!(status, 200, "{who}");
    let pid = who.as_object_mut().unwrap().remove("pid").unwrap();
    let user = &world.database().user;
    assert_eq!(who, json!({"name": user, "tenant": "", "claims": "", "path": "\"$user\", public"}));
    pid
}

#[tokio::test]
async fn a_read_is_one_flight_and_a_write_two() {
    for setup in [setup(), setup().pooler(1)] {
        let world = setup.start().await;
        let blue = tenant("blue");
        add(&world, &blue, "first").await;
        add(&world, &tenant("red"), "other").await;
        let read = get("notes", &blue);
        assert_eq!(world.call(read.clone()).await, (200, json!([{"tenant": "blue", "text": "first"}])));
        for (event, flights) in [
            (read, 1),
            (post("add", &json!({"text": "second"}), &blue), 2),
            (get("notes", &tenant("red")), 1),
            (get("all", &json!({"role": "rds_auditor"})), 1),
            (
                post(
                    "",
                    &json!({"transaction": [{"query": "add", "params": {"text": "x"}}, {"query": "notes"}]}),
                    &blue,
                ),
                2,
            ),
        ] {
            world.call(event.clone()).await;
            world.wire().reset();
            let (status, body) = world.call(event.clone()).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(world.wire().flights(), flights, "{event}");
        }
    }
}

#[tokio::test]
async fn nothing_is_left_after_any_outcome() {
    let world = setup().start().await;
    let blue = tenant("blue");
    add(&world, &blue, "first").await;
    let mut pid = nothing_left(&world).await;
    let text = json!({"text": "x"});
    for (event, status) in [
        (get("notes", &blue), 200),
        (get("told", &blue), 200),
        (get("things", &json!({"schema": "tenant_a"})), 200),
        (post("add", &text, &blue), 200),
        (get("none", &blue), 404),
        (get("two", &blue), 500),
        (get("bad", &blue), 500),
        (get("escape", &blue), 200),
        (get("stranger", &blue), 500),
        (get("nobody", &blue), 500),
        (get("slow", &blue), 504),
        (post("slow_write", &json!({}), &blue), 504),
        (
            post("", &json!({"transaction": [{"query": "add", "params": text}, {"query": "notes"}]}), &blue),
            200,
        ),
        (post("", &json!({"transaction": [{"query": "add", "params": text}, {"query": "bad"}]}), &blue), 500),
        (post("", &json!({"batch": {"query": "add", "params": [text, text]}}), &blue), 200),
    ] {
        unless_stalled(CANCEL, async || {
            let (told, body) = world.call(event.clone()).await;
            assert!(told == status || (told == 400 && status == 500), "{event}: {told} {body}");
            let now = nothing_left(&world).await;
            let before = std::mem::replace(&mut pid, now.clone());
            // A statement that is not stopped within its fifth of a second takes its session with it.
            assert!(now == before || status == 504, "{event}: another session");
            if now == before { Ok(()) } else { Err(event.to_string()) }
        })
        .await;
    }
    for cut in [Cut::Fin, Cut::Rst] {
        for direction in [Direction::ToServer, Direction::ToClient] {
            for flight in 0..2 {
                world.wire().inject(Fault::cut(direction, After::Flights(flight), cut));
                world.call(post("add", &json!({"text": "cut"}), &blue)).await;
                world.wire().disarm();
                nothing_left(&world).await;
            }
        }
    }
    let log = world.function.logs().join("\n");
    assert!(log.contains("rds_stranger") && log.contains("no_such_role"), "{log}");
    assert_eq!(world.sql("SELECT count(*) FROM notes WHERE tenant <> 'blue'"), "0");
}

/// A superuser's session tells of `is_superuser` within a transaction, and is good for the next call all the same.
#[tokio::test]
async fn a_session_whose_settings_come_back_goes_on() {
    let world = setup().own_server().start_unchecked();
    let user = &world.database().user;
    world.sql(&format!("ALTER ROLE {user} SUPERUSER"));
    world.function.ready().await.unwrap();
    world.hang_up();
    let blue = tenant("blue");
    add(&world, &blue, "first").await;
    let pid = nothing_left(&world).await;
    for _ in 0..3 {
        add(&world, &blue, "more").await;
        let (status, body) = world.call(get("notes", &tenant("red"))).await;
        assert_eq!((status, body), (200, json!([])));
        assert_eq!(world.call(get("bad", &blue)).await.0, 500);
        assert_eq!(nothing_left(&world).await, pid);
    }
}

#[tokio::test]
async fn what_a_claim_is_reaches_the_server_as_it_is_or_not_at_all() {
    let world = setup().start().await;
    let long = "x".repeat(60_000);
    for (claim, told) in [
        (json!("it's \"q\" \\ ; -- $1"), "it's \"q\" \\ ; -- $1".to_owned()),
        (json!(long), long.clone()),
        (json!("ünï\u{1F600}"), "ünï\u{1F600}".to_owned()),
        (json!(7), "7".to_owned()),
        (json!(true), "true".to_owned()),
        (json!({"a": [1, null]}), "{\"a\":[1,null]}".to_owned()),
        (json!([1, 2]), "[1,2]".to_owned()),
    ] {
        let who = tenant(claim);
        let (status, body) = world.call(get("told", &who)).await;
        assert_eq!((status, &body["tenant"], &body["sub"]), (200, &json!(told), &json!("u")), "{body}");
        let whole: Value = serde_json::from_str(body["claims"].as_str().unwrap()).unwrap();
        assert_eq!(whole, who);
    }
    nothing_left(&world).await;

    let log = world.server_log().len();
    world.wire().reset();
    for (event, expected) in [
        (get("told", &json!({})), (401, "unauthenticated")),
        (get("told", &json!({"sub": "u"})), (401, "unauthenticated")),
        (get("notes", &tenant(Value::Null)), (401, "unauthenticated")),
        (v2("/notes", json!({})), (401, "unauthenticated")),
        (json!({"query": "notes"}), (401, "unauthenticated")),
        (get("notes", &tenant("a\0b")), (400, "bad_parameter")),
        (get("all", &json!({"role": "rds_stranger"})), (403, "forbidden")),
        (get("all", &json!({"role": "RDS_AUDITOR"})), (403, "forbidden")),
        (get("all", &json!({"role": "none"})), (403, "forbidden")),
        (get("all", &json!({"role": ["rds_auditor"]})), (403, "forbidden")),
        (get("all", &json!({"role": ""})), (403, "forbidden")),
        (get("all", &tenant("blue")), (401, "unauthenticated")),
        (get("things", &json!({"schema": "pg_catalog"})), (403, "forbidden")),
        (get("things", &json!({"schema": "tenant_a, tenant_b"})), (403, "forbidden")),
        (get("by_header", &tenant("blue")), (400, "bad_parameter")),
        (json!({"query": "isolated"}), (400, "bad_parameter")),
        (
            post("", &json!({"transaction": [{"query": "who"}, {"query": "all"}]}), &tenant("t")),
            (401, "unauthenticated"),
        ),
    ] {
        let (status, told) = code(world.call(event.clone()).await);
        assert_eq!((status, told.as_str()), expected, "{event}");
    }
    assert_eq!(world.wire().flights(), 0);
    assert!(!world.server_log()[log..].contains("stranger"));
}

#[tokio::test]
async fn each_step_of_a_list_has_its_own() {
    let world = setup().start().await;
    for name in ["blue", "red"] {
        add(&world, &tenant(name), name).await;
    }
    let who = json!({"tenant": "blue", "role": "rds_auditor", "schema": "tenant_b"});
    let steps: Vec<Value> = ["who", "notes", "who", "all", "who", "things", "notes", "escape", "all", "who"]
        .map(|query| json!({"query": query}))
        .into();
    let (status, body) = world.call(post("", &json!({"transaction": steps}), &who)).await;
    assert_eq!(status, 200, "{body}");
    let blue = json!([{"tenant": "blue", "text": "blue"}]);
    let both = json!([{"tenant": "blue"}, {"tenant": "red"}]);
    for (step, expected) in [(1, &blue), (3, &both), (6, &blue), (8, &both)] {
        assert_eq!(&body[step], expected, "{step}");
    }
    assert_eq!(body[5], json!([{"name": "b", "n": 2}]));
    for step in [0, 2, 4, 9] {
        let user = &world.database().user;
        let own = json!({"name": user, "tenant": "", "claims": "", "path": "\"$user\", public", "pid": body[step]["pid"]});
        assert_eq!(body[step], own, "{step}");
    }
    // The step that fails is the query's, not what was said before it.
    let failing = json!({"transaction": [{"query": "notes"}, {"query": "stranger"}, {"query": "bad"}]});
    let (_, body) = world.call(post("", &failing, &who)).await;
    assert_eq!(body["error"]["code"], "query_failed", "{body}");
    let failing = json!({"transaction": [{"query": "notes"}, {"query": "bad"}]});
    let (_, body) = world.call(post("", &failing, &who)).await;
    assert_eq!(body["error"]["step"], 1, "{body}");
    nothing_left(&world).await;
}

/// Tables that only the caller's schema has: what they are is learned where the path leads to them.
#[tokio::test]
async fn a_schema_is_chosen_by_the_caller() {
    for setup in [setup(), setup().pooler(1)] {
        let world = setup.start().await;
        for _ in 0..3 {
            for (schema, rows) in [
                ("tenant_a", json!([{"name": "a", "n": 1}])),
                ("tenant_b", json!([{"name": "b", "n": 2}])),
                // Its table has other columns.
                ("tenant_c", json!([{"n": 3, "name": "c"}])),
            ] {
                let event = get("things", &json!({ "schema": schema }));
                assert_eq!(world.call(event.clone()).await, (200, rows.clone()), "{schema}");
                world.wire().reset();
                assert_eq!(world.call(event).await, (200, rows), "{schema}");
                assert_eq!(world.wire().flights(), 1, "{schema}");
            }
        }
        nothing_left(&world).await;
    }
}

#[tokio::test]
async fn lambdas_tenant_is_a_source() {
    let world = setup().start().await;
    let blue = world.api.clone().for_tenant("blue");
    let outcome = blue.invoke(json!({"query": "isolated"}).to_string()).await.unwrap();
    assert_eq!(outcome.reply().unwrap(), (200, json!({"setting": "blue", "parameter": "blue"})));
    // No caller can say it.
    let event = json!({"query": "isolated", "params": {"tenant": "red"}, "tenantId": "red"});
    let (status, _) = blue.invoke(event.to_string()).await.unwrap().reply().unwrap();
    assert_eq!(status, 400);
    let mut event = get("by_header", &tenant("x"));
    event["headers"]["x-tenant"] = json!("red");
    assert_eq!(world.call(event).await, (200, json!({"tenant": "red"})));
}

#[tokio::test]
async fn what_holds_for_every_query_cannot_be_dropped() {
    let plain = "-- name: who :one\n-- http: GET\nSELECT current_user::text AS name, current_setting('app.tenant') AS tenant;";
    let with = |queries: &str| {
        setup()
            .queries(queries)
            .env("LAMBDA_RDS_SET", "app.tenant = claims.tenant; request.jwt.claims = claims")
            .env("LAMBDA_RDS_ROLE", "claims.role in {rds_member, rds_auditor}")
    };
    let world = with(plain).start().await;
    let who = json!({"tenant": "blue", "role": "rds_auditor"});
    assert_eq!(world.call(get("who", &who)).await, (200, json!({"name": "rds_auditor", "tenant": "blue"})));
    assert_eq!(world.call(get("who", &tenant("blue"))).await.0, 401);
    assert_eq!(world.call(get("who", &json!({"tenant": "b", "role": "postgres"}))).await.0, 403);

    for (lines, says) in [
        ("-- set: app.tenant = param.t\n-- param: t text\n", "LAMBDA_RDS_SET"),
        ("-- role: rds_stranger\n", "LAMBDA_RDS_ROLE"),
        ("-- http: GET\n-- cache: 5s\n", "`-- cache:`"),
        ("-- write\n-- transaction: none\n", "`-- transaction: none`"),
    ] {
        let world = with(&format!("-- name: q :one\n{lines}SELECT 1 AS n;")).start_unchecked();
        let error = world.function.init_error().await.unwrap().body;
        assert!(error.contains(says), "{lines}: {error}");
    }
    for engine in [Engine::Mysql, Engine::Sqlite] {
        let world = Setup::new(engine).env("LAMBDA_RDS_ROLE", "member").start_unchecked();
        let error = world.function.init_error().await.unwrap().body;
        assert!(error.contains("LAMBDA_RDS_ROLE") && error.contains("from claims.NAME"), "{error}");
    }
}

const TENANTS: usize = 50;

/// Calls of fifty tenants, one after the other or many at once, while connections are cut, statements stopped and passwords
/// rotated.
async fn tenants_meet(world: &World, functions: &[&Function], api: Option<&RuntimeApi>, rounds: usize) {
    for tenant in 0..TENANTS {
        add(world, &self::tenant(format!("t{tenant}")), &format!("t{tenant}")).await;
    }
    let call = async |worker: usize, event: &Value| {
        let function = functions[worker % functions.len()];
        let outcome = match api {
            Some(api) => api.invoke(event.to_string()).await,
            None => function.invoke(event.clone()).await,
        };
        outcome.unwrap().reply().unwrap()
    };
    let one = async |worker: usize, round: usize| {
        let dice = worker.wrapping_mul(31).wrapping_add(round.wrapping_mul(2_654_435_761));
        let name = format!("t{}", (worker + round * 7) % TENANTS);
        let who = self::tenant(name.clone());
        let text = json!({"text": name});
        let event = match dice % 11 {
            0..=4 => get("notes", &who),
            5 | 6 => post("add", &text, &who),
            7 => post(
                "",
                &json!({"transaction": [{"query": "notes"}, {"query": "who"}, {"query": "notes"}]}),
                &who,
            ),
            8 => get("who", &json!({})),
            9 if round.is_multiple_of(25) => get("slow", &who),
            _ => get("bad", &who),
        };
        let (status, body) = call(worker, &event).await;
        let mine = |rows: &Value| {
            for row in rows.as_array().unwrap() {
                assert_eq!(row["tenant"], *name, "{event}");
            }
            assert!(!rows.as_array().unwrap().is_empty(), "{event}");
        };
        match (dice % 11, status) {
            (0..=4, 200) => mine(&body),
            (7, 200) => {
                mine(&body[0]);
                mine(&body[2]);
                assert_eq!(
                    (&body[1]["name"], &body[1]["tenant"]),
                    (&json!(world.database().user), &json!(""))
                );
            }
            (8, 200) => {
                assert_eq!((&body["name"], &body["tenant"]), (&json!(world.database().user), &json!("")));
            }
            _ => {}
        }
        usize::from(status == 200)
    };
    let workers = if api.is_some() { 8 } else { functions.len() };
    let (mut good, mut asked) = (0, 0);
    for round in 0..rounds {
        // What is cut may be any call's, in either direction.
        if round % 20 == 7 {
            let direction = if round % 40 == 7 { Direction::ToServer } else { Direction::ToClient };
            world.wire().inject(Fault::cut(direction, After::Flights(round as u64 % 3), Cut::Rst));
        }
        if round % 200 == 150 {
            world.hang_up();
        }
        // In the steps of a rotation: every session ends while the current version is the wrong one, and so does every
        // login at a pooler, which has a list of its own.
        if round % 200 == 50 {
            let user = &world.database().user;
            let password = format!("rotated-{round}");
            world.secrets.put_pending(SECRET, login(world, user, &password));
            world.set_password_of(user, &password);
            world.hang_up();
            world.wire().cut(Cut::Fin);
            asked = world.secrets.count();
        }
        if round % 200 == 60 {
            assert!(world.secrets.count() >= asked + functions.len(), "who logged in with which password?");
            world.secrets.promote(SECRET).unwrap();
        }
        good += join_all((0..workers).map(|worker| one(worker, round))).await.into_iter().sum::<usize>();
        world.wire().disarm();
    }
    assert!(good * 2 > rounds * workers, "{good} of {}", rounds * workers);
    let strange = "SELECT count(*) FROM notes WHERE tenant <> text";
    assert_eq!(world.sql(strange), "0");
    // Every session that the server has, also of those that a pooler lends, says so itself.
    let sessions =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let waits = post("who", &json!({"seconds": 0.1}), &json!({}));
    let mut seen = HashSet::new();
    let end = Instant::now() + PATIENCE;
    while !world.rows_of(sessions).iter().all(|pid| seen.contains(pid)) {
        assert!(Instant::now() < end, "only {seen:?} answer of {:?}", world.rows_of(sessions));
        let answers = join_all((0..workers).map(|worker| call(worker, &waits))).await;
        seen.extend(answers.into_iter().map(|answer| nobody(world, answer).to_string()));
    }
    assert!(!seen.is_empty());
    let busy = format!("{sessions} AND state <> 'idle'");
    until("the end of all transactions", || world.rows_of(&busy).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_tenant_meets_another_directly() {
    let world = setup().start().await;
    tenants_meet(&world, &[&world.function], None, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_tenant_meets_another_behind_a_pooler() {
    let world = setup().pooler(2).start().await;
    let (second, third) = (world.another().await, world.another().await);
    tenants_meet(&world, &[&world.function, &second, &third], None, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_tenant_meets_another_at_once() {
    let world = setup().env("AWS_LAMBDA_MAX_CONCURRENCY", "8").start().await;
    world.api.idle(8, PATIENCE).await.unwrap();
    tenants_meet(&world, &[&world.function], Some(&world.api), 650).await;
}

/// The page's blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    page.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The settings of a block, as a shell would have them.
fn settings(block: &str) -> Vec<(&str, &str)> {
    block
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .map(|(key, value)| (key, value.trim_matches('"')))
        .collect()
}

/// The guide's database, as the Terraform example has it.
const TENANTS_SCHEMA: &str = include_str!("../../terraform/examples/http-api/schema.sql");

/// It, for a server of one's own, where the function's user is not called `app`.
pub(crate) fn tenants_schema() -> String {
    format!("RESET ROLE;\n{}", TENANTS_SCHEMA.replace("GRANT member TO app;", &granted("member")))
}

/// Makes the function's user a member of the role.
fn granted(role: &str) -> String {
    format!("DO $$ BEGIN EXECUTE format('GRANT {role} TO %I', current_database() || '_owner'); END $$;")
}

/// `docs/how-to/multi-tenant.md`, and the query of `docs/reference/queries.md`.
#[tokio::test]
async fn the_guide_gives_each_tenant_its_rows() {
    let page = include_str!("../../docs/how-to/multi-tenant.md");
    let sql = blocks(page, "sql");
    let [database, queries] = sql.as_slice() else { panic!("{sql:?}") };
    let reference = include_str!("../../docs/reference/queries.md");
    let shown = blocks(reference, "sql").into_iter().find(|block| block.contains("-- role: member")).unwrap();
    let shells = blocks(page, "sh");
    assert_eq!(*database, TENANTS_SCHEMA, "the Terraform example's schema.sql");
    assert_eq!(*queries, include_str!("../../terraform/examples/http-api/queries/notes.sql"));
    let schema = format!(
        "{}\nCREATE ROLE auditor;\nGRANT SELECT ON notes TO auditor;\n{}",
        tenants_schema(),
        granted("auditor"),
    );
    let mut setup =
        Setup::new(Engine::Postgres).own_server().schema(schema).queries(format!("{queries}\n{shown}"));
    for (key, value) in settings(&shells[0]) {
        setup = setup.env(key, value);
    }
    let world = setup.start().await;
    let who = |sub: &str, tenant: &str| json!({"sub": sub, "tenant": tenant});
    let (ada, bob, eve) = (who("ada", "acme"), who("bob", "acme"), who("eve", "globex"));
    for (caller, text) in [(&ada, "a"), (&bob, "b"), (&eve, "e")] {
        let (status, body) = world.call(post("add_note", &json!({"text": text}), caller)).await;
        assert_eq!(status, 200, "{body}");
    }
    let acme = json!([{"id": 1, "author": "ada", "text": "a"}, {"id": 2, "author": "bob", "text": "b"}]);
    assert_eq!(world.call(get("notes", &ada)).await, (200, acme));
    assert_eq!(world.call(get("notes", &eve)).await, (200, json!([{"id": 3, "author": "eve", "text": "e"}])));
    assert_eq!(world.call(get("my_notes", &eve)).await, (200, json!([{"id": 3, "text": "e"}])));
    for (caller, id, rows) in [(&ada, 1, 1), (&ada, 2, 0), (&ada, 3, 0), (&eve, 3, 1)] {
        let event = post("edit_note", &json!({"id": id, "text": "new"}), caller);
        assert_eq!(world.call(event).await, (200, json!({"rowsAffected": rows})), "{id}");
    }
    assert_eq!(world.call(get("notes", &json!({"sub": "ada"}))).await.0, 401);

    // With roles in the token: the auditor has no policy, and so sees nothing.
    let roles = world.another_with(&settings(&shells[1])).await;
    for (role, expected) in [("member", (200, 2)), ("auditor", (200, 0)), ("postgres", (403, 0))] {
        let event = get("notes", &json!({"sub": "ada", "tenant": "acme", "role": role}));
        let (status, body) = roles.invoke(event).await.unwrap().reply().unwrap();
        assert_eq!((status, body.as_array().map_or(0, Vec::len)), expected, "{role}");
    }
}

/// A key is the function's to keep, whoever the write runs as.
#[tokio::test]
async fn a_write_as_somebody_is_done_once() {
    let add = "
-- name: add_once :one
-- http: POST
-- write
-- set: app.tenant = claims.tenant
-- role: rds_member
-- idempotency_key: header.Idempotency-Key
-- param: text text
INSERT INTO notes (text) VALUES (:text) RETURNING tenant, text;
";
    let table = Table::parse("lambda_rds_idempotency").unwrap();
    let table = lambda_rds::once::ddl(Dialect::Postgres, &table);
    let schema = format!("{SCHEMA}\n{table}");
    let world = setup().schema(schema).queries(format!("{QUERIES}{add}")).start().await;
    let blue = tenant("blue");
    let event = |key: &str| {
        let mut event = post("add_once", &json!({"text": "x"}), &blue);
        event["headers"]["idempotency-key"] = json!(key);
        event
    };
    let reply = (200, json!({"tenant": "blue", "text": "x"}));
    for _ in 0..3 {
        assert_eq!(world.call(event("k1")).await, reply);
        nothing_left(&world).await;
    }
    world.call(event("k2")).await;
    world.wire().reset();
    assert_eq!(world.call(event("k3")).await, reply);
    assert_eq!(world.wire().flights(), 2);
    assert_eq!(world.count("notes"), 3);
}
