//! The settings that Terraform gives the function, as `terraform/check` takes them from the plan of each example: the
//! configuration accepts them, and the function starts with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use lambda_rds::config::{Auth, Config, Engine, Sources};
use serde_json::{Value, json};

use crate::callers;
use crate::iam::{self, Judge};
use crate::world;
use crate::world::{Setup, World};

/// What belongs to the place and not to the function: the test has its own server, secret and database.
const OF_THE_PLACE: &[&str] = &[
    "DB_ENGINE",
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
    "DB_SECRET_ID",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
];

#[derive(Debug)]
struct Planned {
    /// The function's timeout in seconds.
    timeout: u64,
    environment: BTreeMap<String, String>,
}

#[test]
fn each_examples_settings_are_a_configuration() {
    let examples = examples();
    assert_eq!(examples.len(), 9, "{:?}", examples.keys());
    for (example, planned) in examples {
        let read = Config::read(
            &Sources { env: inside_lambda(&planned.environment), ..Sources::default() },
            &Engine::ALL,
        );
        let config = read.unwrap_or_else(|error| panic!("{example}: {error}"));
        assert_eq!(config.warnings, [""; 0], "{example}");
        assert_eq!(config.db.host.as_ref(), planned.environment.get("DB_HOST"), "{example}");
        assert!(config.db.port.is_some() && config.db.name.is_some(), "{example}");
        assert!(matches!(config.db.auth, Auth::Secret { .. } | Auth::Iam { .. }), "{example}");
        assert_eq!(
            config.platform.secrets_endpoint.is_some(),
            matches!(config.db.auth, Auth::Secret { .. }),
            "{example}: whoever has a secret is told where to ask for it"
        );
        let needed = config.db.connect_timeout + config.db.query_timeout + config.db.deadline_reserve;
        assert!(needed <= Duration::from_secs(planned.timeout), "{example}: {needed:?}");
    }
}

/// The page names each setting once, beside the variable that sets it; and in a golden value the module has set those that
/// have a variable of their own.
#[test]
fn each_setting_has_its_variable() {
    let page = include_str!("../../docs/explanation/terraform.md");
    let table = page.split_once("## Settings\n").unwrap().1.split_once("\n## ").unwrap().0;
    let mut told = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| variable")) {
        let (variable, settings) = row[2..].split_once(" | ").unwrap();
        for setting in settings.split('`').skip(1).step_by(2) {
            let before = told.insert(setting, variable);
            assert_eq!(before, None, "{setting} is told twice");
        }
    }
    let reference = include_str!("../../docs/reference/configuration.md");
    let keys: BTreeSet<_> =
        reference.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), keys);

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/tests/golden");
    let mut set = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let golden: Value =
            serde_json::from_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let environments = golden.pointer("/outputs/outputs/environment").and_then(Value::as_object);
        set.extend(environments.into_iter().flat_map(|environment| environment.keys().cloned()));
    }
    for (setting, variable) in told {
        let typed = !variable.starts_with("none") && variable != "`function.environment`";
        assert!(!typed || set.contains(setting), "no golden environment has {setting}, of {variable}");
    }
}

/// Each of them, on the kind of server that it is for: one of RDS's, a cluster, and one that asks for tokens.
#[tokio::test]
async fn each_examples_settings_start_a_function() {
    for (example, planned) in examples() {
        let setting = |key: &str| planned.environment.get(key).map(String::as_str);
        let judge = (setting("DB_AUTH") == Some("iam")).then(|| Judge::start(true));
        let setup = match (&judge, setting("DB_ENGINE")) {
            (Some(judge), Some("postgres")) => iam::setup(judge),
            (None, Some("postgres")) => Setup::new(world::Engine::Postgres),
            (None, Some("mysql")) => Setup::new(world::Engine::Mysql),
            (None, Some("aurora-postgres")) => Setup::new(world::Engine::AuroraPostgres),
            other => panic!("{example}: no server for {other:?}"),
        };
        // Where whose rows they are is the caller's, the table and the queries are the example's own.
        let tenants = setting("LAMBDA_RDS_SET").is_some();
        let mut setup = setup.timeout(Duration::from_secs(planned.timeout));
        if tenants {
            let queries = include_str!("../../terraform/examples/http-api/queries/notes.sql");
            setup = setup.own_server().schema(callers::tenants_schema()).queries(queries);
        }
        for (key, value) in planned.environment {
            if !OF_THE_PLACE.contains(&key.as_str()) {
                setup = setup.env(&key, value);
            }
        }
        let world = setup.start().await;
        if tenants {
            each_tenant_has_its_rows(&world).await;
            continue;
        }
        let rows = world.rows("active_users", json!({"limit": 1})).await;
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{example}: {rows}");
    }
}

/// Behind an API whose tokens have the claims; without a claim, or a token at all, nothing is asked of the server.
async fn each_tenant_has_its_rows(world: &World) {
    let [ada, bob, eve] = [("ada", "acme"), ("bob", "acme"), ("eve", "globex")]
        .map(|(sub, tenant)| json!({"sub": sub, "tenant": tenant}));
    for (caller, text) in [(&ada, "a"), (&eve, "e")] {
        let (status, body) = world.call(callers::post("add_note", &json!({"text": text}), caller)).await;
        assert_eq!(status, 200, "{body}");
    }
    for (caller, author, id, text) in
        [(&ada, "ada", "1", "a"), (&bob, "ada", "1", "a"), (&eve, "eve", "2", "e")]
    {
        let notes = world.call(callers::get("notes", caller)).await;
        assert_eq!(notes, (200, json!([{"id": id, "author": author, "text": text}])), "{caller}");
    }
    world.wire().reset();
    assert_eq!(world.call(callers::get("notes", &json!({"sub": "ada"}))).await.0, 401);
    assert_eq!(world.invoke(json!({"query": "notes"})).await.reply().unwrap().0, 401);
    assert_eq!(world.wire().flights(), 0);
}

/// The tutorial, from the table to the row.
#[tokio::test]
async fn the_tutorial_ends_with_rows() {
    let page = include_str!("../../docs/tutorial/deploy.md");
    let queries = page.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    let world = Setup::new(world::Engine::Postgres).schema("").queries(queries).start().await;
    let rows = page.split_once("## 5. Rows").unwrap().1.split_once("## What next").unwrap().0;
    let mut last = Value::Null;
    for event in rows.lines().filter_map(|line| line.strip_prefix("$ invoke ")) {
        let event: Value = serde_json::from_str(event.trim_matches('\'')).unwrap();
        last = world.invoke(event).await.json().unwrap();
    }
    // Behind the function's reply comes what the AWS CLI says itself.
    let shown = rows.lines().find(|line| line.starts_with('[')).unwrap().strip_suffix('{').unwrap();
    assert_eq!(last, serde_json::from_str::<Value>(shown).unwrap());
}

/// The examples' settings, by example.
fn examples() -> BTreeMap<String, Planned> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/tests/environments");
    let read = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let planned: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let setting = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap().to_owned());
        let environment = planned["environment"].as_object().unwrap().iter().map(setting).collect();
        (name, Planned { timeout: planned["timeout"].as_u64().unwrap(), environment })
    };
    std::fs::read_dir(folder).unwrap().map(|entry| read(&entry.unwrap().path())).collect()
}

/// With what Lambda adds.
fn inside_lambda(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let lambda = [
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_LAMBDA_FUNCTION_NAME", "shop"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ];
    let lambda = lambda.map(|(name, value)| (name.to_owned(), value.to_owned()));
    environment.clone().into_iter().chain(lambda).collect()
}
