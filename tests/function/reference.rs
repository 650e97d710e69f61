//! The reference scenario: the sample queries, warm and cold, and what they cost.

use serde_json::json;

use crate::world::{Engine, Setup};
use crate::{on_clusters, on_every_engine};

on_every_engine!(the_default_query_answers_the_empty_event, rows_one_row_and_a_write);
on_clusters!(the_default_query_answers_the_empty_event, rows_one_row_and_a_write,);

async fn the_default_query_answers_the_empty_event(engine: Engine) {
    let world = Setup::new(engine).env("LAMBDA_RDS_DEFAULT_QUERY", "active_users").start().await;
    let reply = world.invoke(json!({})).await.json().unwrap();
    assert_eq!(
        reply,
        json!({
            "statusCode": 200,
            "headers": {"content-type": "application/json"},
            "body": "[{\"id\":1,\"name\":\"Ada\",\"email\":\"ada@example.com\"},\
                     {\"id\":2,\"name\":\"Grace\",\"email\":\"grace@example.com\"}]",
        })
    );
}

async fn rows_one_row_and_a_write(engine: Engine) {
    let world = Setup::new(engine).start().await;
    let one = json!([{"id": 1, "name": "Ada", "email": "ada@example.com"}]);
    assert_eq!(world.rows("active_users", json!({"limit": 1})).await, one);
    let user = json!({"id": 3, "name": "Edsger", "email": "edsger@example.com", "active": false});
    assert_eq!(world.rows("user", json!({"id": 3})).await, user);
    assert_eq!(world.failure("user", json!({"id": 99})).await, (404, "not_found".into()));

    assert_eq!(world.rows("rename_user", json!({"id": 3, "name": "Edsger W."})).await["rowsAffected"], 1);
    assert_eq!(world.rows("user", json!({"id": 3})).await["name"], "Edsger W.");
    assert_eq!(world.rows("rename_user", json!({"id": 99, "name": "x"})).await["rowsAffected"], 0);
}

mod on_the_wire {
    use super::{
        a_cold_connect_is_as_short_as_may_be_and_a_write_takes_two_flights,
        a_thousand_warm_reads_use_one_session_one_secret_and_a_round_trip_each,
        a_wrong_password_is_told_without_a_trace_of_the_inside_and_mended_without_a_restart,
    };

    crate::on_every_server!(
        a_thousand_warm_reads_use_one_session_one_secret_and_a_round_trip_each,
        a_cold_connect_is_as_short_as_may_be_and_a_write_takes_two_flights,
        a_wrong_password_is_told_without_a_trace_of_the_inside_and_mended_without_a_restart,
    );
}

async fn a_thousand_warm_reads_use_one_session_one_secret_and_a_round_trip_each(engine: Engine) {
    const CALLS: u64 = 1_000;
    let pid = if engine == Engine::Postgres { "pg_backend_pid()" } else { "CONNECTION_ID()" };
    let queries = format!("-- name: pid :one\n-- param: x int\nSELECT {pid} AS pid, :x AS x;\n");
    let world = Setup::new(engine).queries(queries).start().await;
    let pid = world.rows("pid", json!({"x": 0})).await["pid"].clone();

    world.wire().reset();
    for x in 0..CALLS {
        assert_eq!(world.rows("pid", json!({"x": x})).await, json!({"pid": pid, "x": x}));
    }
    assert_eq!(world.wire().flights(), CALLS);
    assert_eq!((world.secrets.count(), world.wire().open_connections()), (1, 1));
}

async fn a_cold_connect_is_as_short_as_may_be_and_a_write_takes_two_flights(engine: Engine) {
    let world = Setup::new(engine).env("DB_CONNECT_AT", "init").start().await;
    assert_eq!(
        world.wire().flights(),
        match engine {
            // TLS 1.3 without a retry, and SCRAM: see MEASURED in docs/explanation.
            Engine::Postgres => 5,
            // TLS, the login, the password, which the server wants to see once of each user, and the settings.
            Engine::Mysql => 4,
            _ => 3,
        }
    );

    let rename = json!({"id": 1, "name": "Ada L."});
    world.rows("rename_user", rename.clone()).await;
    world.wire().reset();
    world.rows("rename_user", rename).await;
    assert_eq!(world.wire().flights(), engine.flights_of_a_write());
}

async fn a_wrong_password_is_told_without_a_trace_of_the_inside_and_mended_without_a_restart(engine: Engine) {
    let world = Setup::new(engine).start().await;
    let good = world.database().secret("127.0.0.1", world.wire().port());
    let mut bad = good.clone();
    bad["password"] = json!("hunter2-is-wrong");

    let world = Setup::new(engine).env("DB_SECRET_ID", "other").start_unchecked();
    world.secrets.put("other", bad);
    world.function.ready().await.unwrap();
    let outcome = world.invoke(json!({"query": "active_users"})).await;
    let (status, body) = outcome.reply().unwrap();
    assert_eq!(status, 503);
    assert_eq!(
        body,
        json!({"error": {
            "code": "credentials_rejected",
            "message": "The database does not accept this function. Try again later.",
            "retryable": true,
            "requestId": outcome.request_id,
        }})
    );
    let logged = world.function.logs().join("\n");
    assert!(!logged.contains("hunter2"), "the password is in the log");
    assert!(logged.contains(if engine == Engine::Postgres { "28P01" } else { "1045" }), "{logged}");

    world.secrets.put("other", good);
    assert_eq!(world.call(json!({"query": "active_users"})).await.0, 200);
}
