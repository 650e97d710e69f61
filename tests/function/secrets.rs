//! The secret: by what it is found, what may stand in it, what is told when it cannot be used.

use std::time::Duration;

use lambda_rds_testbed::certs::Authority;
use lambda_rds_testbed::{Function, Secrets, SecretsFault, Unanswered, unless_stalled};
use serde_json::{Value, json};

use crate::world::{Engine, SECRET, Setup, World, last_log, until};
use crate::{on_clusters, on_every_server};

on_every_server!(
    by_name_and_by_arn,
    fields,
    what_is_wrong_with_a_secret_is_told_to_the_log_alone,
    what_secrets_manager_refuses_is_told_with_what_to_do,
    an_address_of_secrets_manager_where_nobody_is_any_more,
    a_slow_secrets_manager_is_not_waited_for_longer_than_the_deadline,
    one_failure_of_secrets_manager_costs_nothing,
    a_slow_secrets_manager_does_not_fail_a_cold_start,
    its_certificate_is_verified,
    the_cached_secret_carries_on_when_secrets_manager_is_down,
);
on_clusters!(
    by_name_and_by_arn,
    fields,
    what_is_wrong_with_a_secret_is_told_to_the_log_alone,
    what_secrets_manager_refuses_is_told_with_what_to_do,
    an_address_of_secrets_manager_where_nobody_is_any_more,
    a_slow_secrets_manager_is_not_waited_for_longer_than_the_deadline,
    one_failure_of_secrets_manager_costs_nothing,
    its_certificate_is_verified,
    the_cached_secret_carries_on_when_secrets_manager_is_down,
);

async fn by_name_and_by_arn(engine: Engine) {
    let world = start(engine).await;
    let arn = world.secrets.put(SECRET, world.secret()).arn;
    for id in [SECRET, &arn] {
        world.secrets.reset();
        works(&world, &[("DB_SECRET_ID", id)]).await;
        let asked = world.secrets.requests();
        assert_eq!(asked.iter().map(|request| request.secret_id.as_str()).collect::<Vec<_>>(), [id]);
        assert_eq!(asked[0].version_stage.as_deref().unwrap_or("AWSCURRENT"), "AWSCURRENT");
    }
    // Where all of AWS is stood in for by one address.
    let endpoint = world.secrets.endpoint();
    works(&world, &[("AWS_ENDPOINT_URL_SECRETS_MANAGER", ""), ("AWS_ENDPOINT_URL", &endpoint)]).await;
}

async fn fields(engine: Engine) {
    let world = start(engine).await;
    let port = world.wire().port();
    let (text, name) = (port.to_string(), world.database().name.clone());
    let host = world.host();
    let place = [("DB_HOST", host.as_str()), ("DB_PORT", &text), ("DB_NAME", &name)];

    let works_with = async |change: &[(&str, Value)], env: &[(&str, &str)]| {
        world.secrets.put(SECRET, changed(&world, change));
        works(&world, env).await;
    };
    works_with(&[("port", json!(text))], &[]).await;
    works_with(&[("port", json!(port))], &[]).await;
    works_with(
        &[
            ("engine", json!(engine.name())),
            ("masterarn", json!("arn:…")),
            ("dbInstanceIdentifier", json!(7)),
        ],
        &[],
    )
    .await;
    // What RDS manages: user and password, and nothing else.
    let gone = ["host", "port", "dbname"].map(|field| (field, Value::Null));
    works_with(&gone, &place).await;
    // What is set wins.
    let wrong = [("host", json!("gone.invalid")), ("port", json!(1)), ("dbname", json!("gone"))];
    works_with(&wrong, &place).await;
    let user = world.database().user.clone();
    works_with(&[("username", json!("gone"))], &[("DB_USER", &user)]).await;
}

async fn what_is_wrong_with_a_secret_is_told_to_the_log_alone(engine: Engine) {
    let world = start(engine).await;
    let none = Value::Null;
    let other = if engine.plain() == Engine::Postgres { "mysql" } else { "postgres" };
    let is_other = format!("field `engine` is \"{other}\"");
    for (change, names) in [
        (vec![("username", none.clone())], "field `username` is missing"),
        (vec![("password", none.clone())], "field `password` is missing"),
        (vec![("host", none.clone())], "field `host` is missing, and DB_HOST is not set"),
        (vec![("dbname", none.clone())], "field `dbname` is missing, and DB_NAME is not set"),
        (vec![("password", json!(""))], "field `password` is missing"),
        (vec![("password", json!(["hunter2"]))], "field `password` is no text"),
        (vec![("port", json!("hunter2"))], "field `port` is no whole number"),
        (vec![("port", json!(70_000))], "field `port` is no whole number"),
        (vec![("engine", json!(other))], is_other.as_str()),
        (vec![("host", json!("https://hunter2"))], "field `host` is no host name"),
        (
            vec![("username", none.clone()), ("password", none)],
            "and DB_USER is not set; field `password` is missing",
        ),
    ] {
        world.secrets.put(SECRET, changed(&world, &change));
        fails(&world, &world.another().await, names).await;
    }
    for text in ["", "hunter2", "[\"hunter2\"]", "{\"username\": \"hunter2\"", "\"hunter2\"", "null"] {
        world.secrets.put(SECRET, text);
        fails(&world, &world.another().await, "it is no JSON object").await;
    }
    // `{"password": "hunter2"}`
    world.secrets.put_binary(SECRET, "eyJwYXNzd29yZCI6ICJodW50ZXIyIn0=");
    fails(&world, &world.another().await, "it is binary").await;
}

async fn what_secrets_manager_refuses_is_told_with_what_to_do(engine: Engine) {
    let world = start(engine).await;
    for (fault, names) in [
        (SecretsFault::AccessDenied, "secretsmanager:GetSecretValue on prod/app"),
        (SecretsFault::NotFound, "there is no such secret"),
        (SecretsFault::Decryption, "kms:Decrypt"),
        (SecretsFault::Throttling, "asked too often"),
        (SecretsFault::Internal, "Secrets Manager failed"),
        (SecretsFault::Malformed, "it is no JSON object"),
        (SecretsFault::Garbage, "the answer is none of Secrets Manager's"),
        (SecretsFault::Close, "no answer from Secrets Manager"),
        (SecretsFault::Hang, "secret prod/app"),
    ] {
        world.secrets.fail(fault);
        let function = world.another().await;
        fails(&world, &function, names).await;
        // Mended, without a restart.
        world.secrets.heal();
        assert_eq!(read(&function).await, 200, "{fault:?}");
    }
    fails(&world, &world.another_with(&[("DB_SECRET_ID", "other")]).await, "there is no such secret").await;
    let nobody = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")];
    fails(&world, &world.another_with(&nobody).await, "it cannot be reached").await;
}

/// The whole of Secrets Manager goes: its port refuses, or nobody answers there at all.
async fn an_address_of_secrets_manager_where_nobody_is_any_more(engine: Engine) {
    let world = start(engine).await;
    let secrets = Secrets::start().unwrap();
    secrets.put(SECRET, world.secret());
    let endpoint = secrets.endpoint();
    let there = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str()), ("DB_SECRET_TTL", "1ms")];
    let warm = world.another_with(&there).await;
    assert_eq!(read(&warm).await, 200);
    drop(secrets);
    world.hang_up();
    assert_eq!(read(&warm).await, 200);
    fails(&world, &world.another_with(&there).await, "it cannot be reached").await;

    let hole = Unanswered::start().await.unwrap();
    let endpoint = format!("http://{}", hole.address().unwrap());
    let silent = world.another_with(&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str())]).await;
    fails(&world, &silent, "secret prod/app").await;
}

/// A cold environment tells before its deadline that Secrets Manager does not answer in time.
async fn a_slow_secrets_manager_is_not_waited_for_longer_than_the_deadline(engine: Engine) {
    for (delay, timeout) in [(10, 8), (10, 2)] {
        let timeout = Duration::from_secs(timeout);
        let setup = Setup::new(engine).env("DB_CONNECT_AT", "first-use").timeout(timeout);
        let world = setup.env("DB_DEADLINE_RESERVE", "1s").start().await;
        world.secrets.fail(SecretsFault::Delay(Duration::from_secs(delay)));
        fails(&world, &world.another().await, "secret prod/app").await;
    }
}

/// A first TLS handshake alone may take seconds at little memory, and nothing is there to fall back on.
async fn a_slow_secrets_manager_does_not_fail_a_cold_start(engine: Engine) {
    let world = start(engine).await;
    for (delay, when) in [(1_500, "first-use"), (3_500, "first-use"), (6_000, "init")] {
        world.secrets.fail(SecretsFault::Delay(Duration::from_millis(delay)));
        // What is left of the time to connect, five seconds, when the slowest has answered.
        unless_stalled(Duration::from_secs(1), async || {
            let cold = world.another_with(&[("DB_CONNECT_AT", when)]).await;
            let status = read(&cold).await;
            if status == 200 { Ok(()) } else { Err(format!("{delay} {when}: {}", cold.logs().join("\n"))) }
        })
        .await;
        world.secrets.heal();
    }
}

async fn one_failure_of_secrets_manager_costs_nothing(engine: Engine) {
    let world = start(engine).await;
    for fault in [SecretsFault::Internal, SecretsFault::Throttling, SecretsFault::Close] {
        world.secrets.fail_next(1, fault);
        assert_eq!(read(&world.another().await).await, 200, "{fault:?}");
    }
}

async fn its_certificate_is_verified(engine: Engine) {
    let world = start(engine).await;
    let authority = Authority::new("a company's own").unwrap();
    let secrets = Secrets::start_tls(&authority).unwrap();
    secrets.put(SECRET, world.secret());
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, authority.pem()).unwrap();

    let endpoint = secrets.endpoint();
    let there = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str());
    works(&world, &[there, ("AWS_CA_BUNDLE", bundle.to_str().unwrap())]).await;
    fails(&world, &world.another_with(&[there]).await, "AWS_CA_BUNDLE names a PEM file").await;
}

/// Each way to be out of order costs a warm environment nothing but a warning, though it has to log in anew and the
/// secret is older than it may be; and the environment recovers without a restart.
async fn the_cached_secret_carries_on_when_secrets_manager_is_down(engine: Engine) {
    // The time that a black hole costs is Secrets Manager's two seconds, and half of what there is for a connection.
    let world = Setup::new(engine).env("DB_SECRET_TTL", "1ms").timeout(TIMEOUT).start().await;
    let asked =
        |least: usize| assert!(world.secrets.count() >= least, "it was asked {}", world.secrets.count());
    assert_eq!(read(&world.function).await, 200);
    asked(1);
    for (fault, reason) in [
        (SecretsFault::AccessDenied, "secretsmanager:GetSecretValue"),
        (SecretsFault::NotFound, "there is no such secret"),
        (SecretsFault::Decryption, "kms:Decrypt"),
        (SecretsFault::Throttling, "asked too often"),
        (SecretsFault::Internal, "Secrets Manager failed"),
        (SecretsFault::Close, "no answer from Secrets Manager"),
        (SecretsFault::Malformed, "no JSON object"),
        (SecretsFault::Garbage, "none of Secrets Manager's"),
        (SecretsFault::Hang, "secret prod/app"),
        (SecretsFault::Delay(Duration::from_secs(10)), "secret prod/app"),
    ] {
        // A question to Secrets Manager has two seconds, and silence is told as that.
        unless_stalled(Duration::from_secs(2), async || {
            world.secrets.reset();
            world.secrets.fail(fault);
            world.hang_up();
            let before = world.function.logs().len();
            let outcome = world.function.invoke(json!({"query": "active_users"})).await.unwrap();
            assert_eq!(outcome.reply().unwrap().0, 200, "{fault:?}");
            assert!(outcome.elapsed < TIMEOUT, "{fault:?}: {:?}", outcome.elapsed);
            asked(1);
            let told = || {
                let logs = &world.function.logs()[before..];
                logs.iter().find(|line| line.contains("the cached one is used")).cloned()
            };
            until(&format!("the warning of {fault:?}"), || told().is_some()).await;
            let told = told().unwrap();
            if told.contains(reason) { Ok(()) } else { Err(told) }
        })
        .await;
    }
    world.secrets.heal();
    world.hang_up();
    assert_eq!(read(&world.function).await, 200);

    // Deleted, which no warm environment minds, and a cold one tells.
    world.secrets.remove(SECRET);
    world.hang_up();
    assert_eq!(read(&world.function).await, 200);
    fails(&world, &world.another_with(&[("DB_CONNECT_AT", "first-use")]).await, "there is no such secret")
        .await;

    // Within the TTL nobody asks.
    let world = Setup::new(engine).start().await;
    assert_eq!(read(&world.function).await, 200);
    world.secrets.reset();
    world.hang_up();
    assert_eq!(read(&world.function).await, 200);
    assert_eq!(world.secrets.count(), 0);
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// A world whose functions log in when they are called, not before.
async fn start(engine: Engine) -> World {
    Setup::new(engine).env("DB_CONNECT_AT", "first-use").start().await
}

/// The secret with some fields replaced; null takes a field out.
fn changed(world: &World, fields: &[(&str, Value)]) -> Value {
    let mut secret = world.secret();
    for (field, value) in fields {
        let fields = secret.as_object_mut().unwrap();
        match value {
            Value::Null => fields.remove(*field),
            value => fields.insert((*field).to_owned(), value.clone()),
        };
    }
    secret
}

/// A function with these settings reads.
async fn works(world: &World, env: &[(&str, &str)]) {
    let function = world.another_with(env).await;
    assert_eq!(read(&function).await, 200, "{env:?}\n{}", function.logs().join("\n"));
}

/// A function's call fails: the reply says nothing of the inside, the log what is wrong, neither a secret.
async fn fails(world: &World, function: &Function, names: &str) {
    let outcome = function.invoke(json!({"query": "active_users"})).await.unwrap();
    assert_eq!(
        outcome.reply().unwrap(),
        (
            503,
            json!({"error": {
                "code": "unreachable",
                "message": "The database cannot be reached. Try again later.",
                "retryable": true,
                "requestId": outcome.request_id,
            }})
        )
    );
    let line = last_log(function, &outcome.request_id).await;
    assert_eq!(line["phase"], "credentials");
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.starts_with("secret ") && detail.contains(names), "{names}: {detail}");
    let logged = function.logs().join("\n");
    assert!(!logged.contains("hunter2") && !logged.contains(&world.database().password), "{logged}");
}

async fn read(function: &Function) -> u64 {
    function.invoke(json!({"query": "active_users"})).await.unwrap().reply().unwrap().0
}
