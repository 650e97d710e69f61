//! `{"diagnose": true}`: what it answers when all is well, and in each of the [broken set-ups](crate::broken).

use std::time::Duration;

use insta::assert_snapshot;
use lambda_rds_testbed::{Function, RuntimeApi, SecretsFault, unless_stalled};
use serde_json::{Value, json};

use crate::broken::{BROKEN, Broken, Kind, Outcome, QUERIES, STEPS, Scene, Setup};
use crate::world::{self, Engine, SECRET, World, until};
use crate::{on_clusters, on_every_engine};

on_every_engine!(what_there_is_to_know_when_all_is_well, nobody_is_told_unless_it_is_switched_on);
on_clusters!(what_there_is_to_know_when_all_is_well, nobody_is_told_unless_it_is_switched_on,);

mod of_servers {
    use super::{
        a_rotation_under_way_is_no_failure, it_answers_before_the_functions_time_is_up,
        it_asks_for_what_a_warm_function_has_cached,
    };

    crate::on_every_server!(
        a_rotation_under_way_is_no_failure,
        it_answers_before_the_functions_time_is_up,
        it_asks_for_what_a_warm_function_has_cached,
    );
}

async fn what_there_is_to_know_when_all_is_well(engine: Engine) {
    let world = switched_on(engine).start().await;
    // The function's own session is parked, and stays.
    world.rows("active_users", json!({})).await;
    let before = sessions(&world);
    let (status, walk) = world.call(json!({"diagnose": true})).await;
    assert_eq!((status, &walk["ok"]), (200, &json!(true)), "{walk:#}");
    let steps = walk["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["step"].as_str().unwrap()).collect::<Vec<_>>(), STEPS);
    for step in steps {
        assert_eq!(step["ok"], true, "{walk:#}");
        assert!(step["detail"].is_string(), "{walk:#}");
        assert_eq!((step.get("hint"), step.get("skipped")), (None, None), "{walk:#}");
    }
    let facts = &walk["facts"];
    let product = match engine {
        Engine::Postgres | Engine::AuroraPostgres => "PostgreSQL 1",
        Engine::Mysql | Engine::AuroraMysql => "MySQL ",
        Engine::MariaDb => "MariaDB 1",
        Engine::Sqlite => "SQLite 3.",
    };
    assert!(facts["server"].as_str().unwrap().starts_with(product), "{facts}");
    assert_eq!((&facts["readOnlySession"], &facts["takesWrites"]), (&json!(true), &json!(true)), "{facts}");
    assert_eq!(facts["applicationName"], "lambda-rds-test:$LATEST");
    if engine != Engine::Sqlite {
        let at = format!("{}:{}", world.host(), world.wire().port());
        assert_eq!((&walk["endpoint"], &facts["address"]), (&json!(at), &json!(at)));
        let most = if engine == engine.plain() { 50 } else { 150 };
        assert_eq!((&facts["maxConnections"], &facts["pooler"]), (&json!(most), &json!("none")), "{facts}");
        assert!(facts["usedConnections"].as_u64().unwrap() >= 2, "{facts}");
        assert!(facts["tls"].as_str().unwrap().starts_with("TLSv1"), "{facts}");
        assert_eq!(facts["statementTimeout"], "10000ms");
        for step in steps {
            assert!(step["ms"].is_number(), "{walk:#}");
        }
        // Its own session is gone, the function's is there still.
        until("its session to be gone", || sessions(&world) == before).await;
        world.wire().reset();
        world.rows("active_users", json!({})).await;
        assert_eq!(world.wire().connections(), 0);
    }
}

/// How many sessions the function has with its server.
fn sessions(world: &World) -> String {
    match world.engine {
        Engine::Postgres | Engine::AuroraPostgres => world.sql(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'lambda-rds%'",
        ),
        Engine::Mysql | Engine::MariaDb | Engine::AuroraMysql => world.sql(&format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}'",
            world.database().user
        )),
        Engine::Sqlite => String::new(),
    }
}

async fn nobody_is_told_unless_it_is_switched_on(engine: Engine) {
    let world = world::Setup::new(engine).env("DB_CONNECT_AT", "first-use").start().await;
    let outcome = world.invoke(json!({"diagnose": true})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_event")), "{body}");
    let log = world.last_log(&outcome.request_id).await;
    assert!(log["detail"].as_str().unwrap().contains("LAMBDA_RDS_DIAGNOSE=true"), "{log}");
    if engine != Engine::Sqlite {
        assert_eq!(world.wire().connections(), 0);
    }
}

#[tokio::test]
async fn the_reply_when_all_is_well() {
    let world = switched_on(Engine::Postgres).env("DB_CONNECT_AT", "first-use").start().await;
    let user = &world.database().user;
    world.sql(&format!("ALTER ROLE \"{user}\" SET statement_timeout = '15s'"));
    world.sql(&format!("ALTER ROLE \"{user}\" SET idle_session_timeout = '900s'"));
    let outcome = world.invoke(json!({"diagnose": true, "reply": "raw"})).await;
    assert_snapshot!(masked(outcome.json().unwrap(), &world), @r#"
    {
      "endpoint": "127.0.0.1:PORT",
      "engine": "postgres",
      "facts": {
        "address": "127.0.0.1:PORT",
        "applicationName": "lambda-rds-test:$LATEST",
        "database": "NAME",
        "maxConnections": 50,
        "pooler": "none",
        "readOnlySession": true,
        "server": "PostgreSQL …",
        "serverIdleTimeout": "900000ms",
        "serverStatementTimeout": "15000ms",
        "statementTimeout": "10000ms",
        "takesWrites": true,
        "tls": "TLSv1_3, TLS13_AES_256_GCM_SHA384",
        "usedConnections": "…",
        "user": "NAME_owner"
      },
      "ok": true,
      "steps": [
        {
          "detail": "engine postgres, login by secret prod/app, TLS verify-full with ca.pem, 4 queries, 2 of them writing",
          "ms": "…",
          "ok": true,
          "step": "config"
        },
        {
          "detail": "secret prod/app, version …, user `NAME_owner`",
          "ms": "…",
          "ok": true,
          "step": "credentials"
        },
        {
          "detail": "127.0.0.1",
          "ms": "…",
          "ok": true,
          "step": "resolve"
        },
        {
          "detail": "127.0.0.1:PORT",
          "ms": "…",
          "ok": true,
          "step": "tcp"
        },
        {
          "detail": "TLSv1_3, TLS13_AES_256_GCM_SHA384",
          "ms": "…",
          "ok": true,
          "step": "tls"
        },
        {
          "detail": "user `NAME_owner`, database `NAME`",
          "ms": "…",
          "ok": true,
          "step": "auth"
        },
        {
          "detail": "… answers",
          "ms": "…",
          "ok": true,
          "step": "query"
        }
      ],
      "warnings": []
    }
    "#);
}

#[tokio::test]
async fn the_reply_when_the_port_is_closed() {
    let world = switched_on(Engine::Postgres).env("DB_CONNECT_AT", "first-use").start().await;
    world.wire().refuse().await.unwrap();
    let outcome = world.invoke(json!({"diagnose": true, "reply": "raw"})).await;
    assert_snapshot!(masked(outcome.json().unwrap(), &world), @r#"
    {
      "endpoint": "127.0.0.1:PORT",
      "engine": "postgres",
      "ok": false,
      "steps": [
        {
          "detail": "engine postgres, login by secret prod/app, TLS verify-full with ca.pem, 4 queries, 2 of them writing",
          "ms": "…",
          "ok": true,
          "step": "config"
        },
        {
          "detail": "secret prod/app, version …, user `NAME_owner`",
          "ms": "…",
          "ok": true,
          "step": "credentials"
        },
        {
          "detail": "127.0.0.1",
          "ms": "…",
          "ok": true,
          "step": "resolve"
        },
        {
          "detail": "no TCP connection to 127.0.0.1:PORT: 127.0.0.1:PORT refuses connections: is DB_PORT right, and does the database listen there?",
          "hint": "the port (DB_PORT, or `port` in the secret): the host is there and nothing listens on this one; if the port is right, the database is stopped",
          "ms": "…",
          "ok": false,
          "step": "tcp"
        },
        {
          "ok": null,
          "skipped": true,
          "step": "tls"
        },
        {
          "ok": null,
          "skipped": true,
          "step": "auth"
        },
        {
          "ok": null,
          "skipped": true,
          "step": "query"
        }
      ],
      "warnings": []
    }
    "#);
}

async fn it_answers_before_the_functions_time_is_up(engine: Engine) {
    let timeout = Duration::from_secs(3);
    let setup = switched_on(engine).timeout(timeout);
    let setup = setup.env("DB_CONNECT_AT", "first-use").env("DB_CONNECT_TIMEOUT", "60s");
    let world = setup.start().await;
    world.wire().black_hole();
    // The default reserve.
    let walk = unless_stalled(Duration::from_millis(250), async || {
        let outcome = world.invoke(json!({"diagnose": true})).await;
        let (status, walk) = outcome.reply().unwrap();
        assert_eq!((status, &walk["ok"]), (200, &json!(false)), "{walk:#}");
        assert_eq!(walk["steps"][4]["step"], "tls");
        let held = walk["steps"][4]["ok"] == false && outcome.elapsed < timeout;
        if held { Ok(walk) } else { Err(format!("{:?}: {walk:#}", outcome.elapsed)) }
    })
    .await;
    let warned = walk["warnings"].to_string();
    assert!(warned.contains("DB_CONNECT_TIMEOUT + DB_QUERY_TIMEOUT + DB_DEADLINE_RESERVE"), "{warned}");
}

async fn a_rotation_under_way_is_no_failure(engine: Engine) {
    let world = switched_on(engine).env("DB_CONNECT_AT", "first-use").start().await;
    let good = world.database().secret("127.0.0.1", world.wire().port());
    let mut old = good.clone();
    old["password"] = json!("hunter2");
    world.secrets.put(SECRET, &old);
    world.secrets.put_pending(SECRET, &good);
    let (_, walk) = world.call(json!({"diagnose": true})).await;
    assert_eq!(walk["ok"], true, "{walk:#}");
    assert!(walk["warnings"].to_string().contains("a rotation is under way"), "{walk:#}");
    assert!(!walk.to_string().contains("hunter2"));
}

async fn it_asks_for_what_a_warm_function_has_cached(engine: Engine) {
    let world = switched_on(engine).start().await;
    world.rows("active_users", json!({})).await;
    world.secrets.fail(SecretsFault::AccessDenied);
    let (_, walk) = world.call(json!({"diagnose": true})).await;
    assert_eq!((&walk["steps"][1]["step"], &walk["steps"][1]["ok"]), (&json!("credentials"), &json!(false)));
    // Calls go on with what they have.
    world.rows("active_users", json!({})).await;
}

#[tokio::test]
async fn broken_postgres() {
    broken(Kind::Postgres).await;
}

#[tokio::test]
async fn broken_mysql() {
    broken(Kind::Mysql).await;
}

#[tokio::test]
async fn broken_mariadb() {
    broken(Kind::MariaDb).await;
}

/// In every broken set-up the walk ends where it must, with the words that it must, and the log of an ordinary call has
/// the same words. All of them are looked at before one fails the test.
async fn broken(kind: Kind) {
    let scene = Scene::new(kind);
    let mut wrong = Vec::new();
    for broken in Broken::on(kind) {
        let setup = broken.set_up(&scene);
        let (function, _folder) = start(&setup).await;
        let walk = walk(&function).await;
        wrong.extend(broken.judge(&walk));
        setup.check_silence(&walk.to_string());

        if let Outcome::Fails(step) = broken.outcome {
            let query = if step == "query" { "note" } else { "one" };
            let outcome = function.invoke(json!({"query": query})).await.unwrap();
            let log = world::last_log(&function, &outcome.request_id).await;
            let code = log["sqlstate"].as_str().unwrap_or_default();
            let told = format!("{} [{code}]", log["detail"].as_str().unwrap_or_default());
            for want in broken.says.iter().filter(|want| !told.contains(**want)) {
                wrong.push(format!("{}: `{want}` is not in the log's `{told}`", broken.name));
            }
        }
        setup.check_silence(&function.logs().join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn there_are_the_twenty_broken_set_ups() {
    for name in [
        "port closed",
        "black-holed",
        "wrong host name",
        "wrong CA",
        "expired certificate",
        "name mismatch",
        "plaintext server",
        "no pg_hba line",
        "wrong password",
        "unknown database",
        "unknown user",
        "blocked host",
        "connections exhausted",
        "secret missing",
        "secret malformed",
        "secret access denied",
        "secrets endpoint black-holed",
        "read-only server",
        "no statement limit",
        "clock skewed with IAM",
    ] {
        assert!(BROKEN.iter().any(|broken| broken.name.starts_with(name)), "{name}");
    }
}

/// What the page quotes as a symptom is what a server or we have said in one of the broken set-ups.
#[test]
fn the_symptoms_are_quoted_as_they_are_said() {
    // Lambda's own, and the warning that `it_answers_before_the_functions_time_is_up` waits for.
    const OTHERS: [&str; 2] =
        ["Task timed out", "DB_CONNECT_TIMEOUT + DB_QUERY_TIMEOUT + DB_DEADLINE_RESERVE"];
    let said: Vec<&str> =
        BROKEN.iter().flat_map(|broken| broken.says.iter().chain(broken.hint)).copied().collect();
    let page = include_str!("../../docs/how-to/symptoms.md");
    let mut quoted = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let symptom = row.split('|').nth(1).unwrap();
        for quote in symptom.split('`').skip(1).step_by(2) {
            quoted += 1;
            assert!(OTHERS.contains(&quote) || said.iter().any(|said| said.contains(quote)), "{quote}");
        }
    }
    assert!(quoted > 25, "{quoted}");
}

/// The page's reply is one that the function could give.
#[test]
fn the_page_shows_a_reply_as_it_is() {
    let page = include_str!("../../docs/how-to/diagnose.md");
    let shown = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Value = serde_json::from_str(shown).unwrap();
    let black_holed = BROKEN.iter().find(|broken| broken.name == "black-holed").unwrap();
    assert_eq!(black_holed.judge(&shown), Vec::<String>::new());
}

/// A function with the settings of this set-up.
async fn start(setup: &Setup) -> (Function, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queries.sql"), QUERIES).unwrap();
    let api = RuntimeApi::start().unwrap().with_timeout(Duration::from_secs(30));
    let function = Function::builder(env!("CARGO_BIN_EXE_bootstrap"))
        .queries(folder.path())
        .env("LAMBDA_RDS_DIAGNOSE", "true")
        .envs(setup.env.iter().map(|(key, value)| (key, value)))
        .start(&api)
        .unwrap();
    function.ready().await.unwrap();
    (function, folder)
}

/// The walk: its reply is a success, whatever it finds.
async fn walk(function: &Function) -> Value {
    let outcome = function.invoke(json!({"diagnose": true})).await.unwrap();
    let (status, body) = outcome.reply().unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

fn switched_on(engine: Engine) -> world::Setup {
    world::Setup::new(engine).env("LAMBDA_RDS_DIAGNOSE", "true")
}

/// The walk as people see it, without what differs from run to run.
fn masked(mut walk: Value, world: &World) -> String {
    for step in walk["steps"].as_array_mut().unwrap() {
        if step.get("ms").is_some() {
            step["ms"] = json!("…");
        }
    }
    if let Some(facts) = walk.get_mut("facts") {
        let server = facts["server"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        (facts["server"], facts["usedConnections"]) = (json!(format!("{server} …")), json!("…"));
    }
    let version = walk["steps"][1]["detail"].as_str().and_then(|detail| detail.split(", ").nth(1));
    let version = version.unwrap_or_default().to_owned();
    let server = walk["steps"][6]["detail"].as_str().unwrap_or_default().to_owned();
    let mut text = serde_json::to_string_pretty(&walk).unwrap();
    for (what, mask) in [
        (world.wire().port().to_string(), "PORT"),
        (world.database().name.clone(), "NAME"),
        (version, "version …"),
        (server, "… answers"),
        (world.server().ca_pem_path().display().to_string(), "ca.pem"),
    ] {
        if !what.is_empty() {
            text = text.replace(&what, mask);
        }
    }
    text
}
