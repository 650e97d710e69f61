//! What no rollback undoes, on MySQL and MariaDB: procedures that commit, and tables without transactions, written to
//! by a query or by a trigger. It is never done twice, and never called undone.

use std::collections::BTreeMap;

use lambda_rds_testbed::{After, Cut, Direction, Fault, unless_stalled};
use serde_json::{Value, json};

use crate::world::{CANCEL, Engine, PATIENCE, Setup, World, last_log, mysql, until};

macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod of_mysql {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::Mysql).await; })+
        }
        mod of_mariadb {
            $(#[tokio::test] async fn $name() { super::$name($crate::world::Engine::MariaDb).await; })+
        }
    };
}

on_both_servers!(
    a_cut_anywhere_writes_once_at_most_and_says_so,
    a_list_that_is_cut_behind_such_a_step_is_not_run_again,
    what_is_stopped_in_its_middle_is_an_unknown_outcome,
    only_the_first_write_of_a_session_asks_for_tables_without_transactions,
    what_the_user_cannot_see_is_told_by_the_server_when_it_undoes,
);

const SCHEMA: &str = "
CREATE TABLE plain (token BIGINT, step INT, KEY (token)) ENGINE=InnoDB;
CREATE TABLE old (token BIGINT, step INT) ENGINE=MyISAM;
CREATE TABLE fast (token BIGINT, step INT) ENGINE=MEMORY;
CREATE TABLE orders (token BIGINT, step INT) ENGINE=InnoDB;
CREATE TABLE audit (token BIGINT, step INT) ENGINE=MyISAM;
CREATE TRIGGER audited AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit VALUES (NEW.token, NEW.step);
CREATE TABLE called (token BIGINT, step INT) ENGINE=InnoDB;
CREATE PROCEDURE note(t BIGINT, s INT) BEGIN INSERT INTO called VALUES (t, s); COMMIT; END;
CREATE PROCEDURE note_and_wait(t BIGINT) BEGIN INSERT INTO called VALUES (t, 0); COMMIT; DO SLEEP(60); END;
CREATE TABLE through (token BIGINT, step INT) ENGINE=MyISAM;
CREATE VIEW seen AS SELECT token, step FROM through;
CREATE TABLE numbers (n INT) ENGINE=InnoDB;
INSERT INTO numbers VALUES (1), (2), (3), (4), (5), (6), (7), (8);
";

/// On MariaDB alone.
const ARIA: &str = "CREATE TABLE crash_safe (token BIGINT, step INT) ENGINE=Aria TRANSACTIONAL=1;\n";

/// The queries, and the tables that tell whether they have written.
fn writers(engine: Engine) -> Vec<(&'static str, &'static str)> {
    let mut writers =
        vec![("old", "old"), ("fast", "fast"), ("orders", "audit"), ("note", "called"), ("seen", "through")];
    if engine == Engine::MariaDb {
        writers.push(("crash_safe", "crash_safe"));
    }
    writers
}

fn world(engine: Engine) -> Setup {
    let mut queries = "
-- name: count :one
SELECT COUNT(*) AS n FROM plain;

-- name: note :exec
-- write
-- param: token int
-- param: step int
CALL note(:token, :step);

-- name: note_and_wait :exec
-- write
-- timeout: 500ms
-- param: token int
CALL note_and_wait(:token);
"
    .to_owned();
    for table in ["plain", "old", "fast", "orders", "seen", "crash_safe"] {
        queries.push_str(&format!(
            "
-- name: {table} :exec
-- param: token int
-- param: step int
INSERT INTO {table} (token, step) VALUES (:token, :step);

-- name: slow_{table} :exec
-- timeout: 900ms
-- param: token int
INSERT INTO {table} (token, step) SELECT :token, SLEEP(0.2) FROM numbers CROSS JOIN numbers AS more;
"
        ));
    }
    let schema = if engine == Engine::MariaDb { format!("{SCHEMA}{ARIA}") } else { SCHEMA.to_owned() };
    Setup::new(engine).schema(schema).queries(queries)
}

fn write(query: &str, token: u64) -> Value {
    json!({"query": query, "params": {"token": token, "step": 0}})
}

/// The error's code, or `done`.
fn said((status, body): &(u64, Value)) -> String {
    if *status == 200 { "done".to_owned() } else { body["error"]["code"].as_str().unwrap().to_owned() }
}

async fn a_cut_anywhere_writes_once_at_most_and_says_so(engine: Engine) {
    let world = world(engine).start().await;
    let mut token = 1_000;
    for (query, table) in writers(engine).into_iter().chain([("plain", "plain")]) {
        let mut seen = BTreeMap::new();
        // With a session that has run the query before, two flights, and one of a procedure; and with a fresh one, which
        // asks what it has to know.
        for (warm, flights) in [(true, 0..3), (false, 0..8)] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                for flight in flights.clone() {
                    let cut = if flight % 2 == 0 { Cut::Rst } else { Cut::Fin };
                    if warm {
                        assert_eq!(world.call(write(query, 1)).await.0, 200);
                    } else {
                        world.wire().cut(Cut::Rst);
                        assert_eq!(world.call(json!({"query": "count"})).await.0, 200);
                    }
                    world.wire().inject(Fault::cut(direction, After::Flights(flight), cut));
                    let reply = world.call(write(query, token)).await;
                    world.wire().disarm();
                    let said = said(&reply);
                    let rows = settled(&world, table, token, &said).await;
                    let at =
                        format!("{query}, warm: {warm}, {direction:?}, flight {flight}: {said}, {rows} rows");
                    let right = match said.as_str() {
                        "done" => rows == 1,
                        "outcome_unknown" => rows <= 1,
                        _ => false,
                    };
                    assert!(right, "{at}");
                    *seen.entry((said, rows)).or_insert(0) += 1;
                    // Before COMMIT, what can be undone is undone, and runs again.
                    if query == "plain" && warm && flight < 1 {
                        assert!(at.contains("done"), "{at}");
                    }
                    // The answer to the statement itself is lost: it has been done, or not.
                    if query != "plain" && warm && flight == 0 {
                        assert!(at.contains("outcome_unknown"), "{at}");
                    }
                    token += 1;
                }
            }
        }
        for outcome in [("done", 1), ("outcome_unknown", 1)] {
            assert!(
                seen.contains_key(&(outcome.0.to_owned(), outcome.1)),
                "{query}: {outcome:?} of {seen:?}"
            );
        }
    }
}

/// How many rows the table has of this token, once nothing of ours runs any more.
async fn settled(world: &World, table: &str, token: u64, said: &str) -> u64 {
    if said != "done" {
        // The session that was cut may still be at work; ours is none.
        let of_us = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND command <> 'Sleep'",
            world.database().user
        );
        until("the end of the statement", || world.sql(&of_us) == "0").await;
    }
    world.count(&format!("{table} WHERE token = {token}"))
}

async fn a_list_that_is_cut_behind_such_a_step_is_not_run_again(engine: Engine) {
    let world = world(engine).start().await;
    // A procedure may commit whatever it stands in, and so is no step.
    let broken = json!({"transaction": [write("plain", 50), write("note", 50)]});
    assert_eq!(said(&world.call(broken).await), "bad_event");
    assert_eq!((world.count("called"), world.count("plain")), (0, 0));
    for (token, (query, table)) in (1..).zip(writers(engine)).filter(|(_, (query, _))| *query != "note") {
        let event =
            json!({"transaction": [write("plain", token), write(query, token), write("plain", token)]});
        assert_eq!(world.call(event.clone()).await.0, 200);
        // BEGIN with the first, and the others one by one.
        for (flight, direction, code, rows) in [
            (0, Direction::ToClient, "done", 2),
            (1, Direction::ToClient, "outcome_unknown", 3),
            (2, Direction::ToServer, "outcome_unknown", 4),
            (3, Direction::ToServer, "outcome_unknown", 5),
        ] {
            world.wire().inject(Fault::cut(direction, After::Flights(flight), Cut::Rst));
            let reply = world.call(event.clone()).await;
            world.wire().disarm();
            assert_eq!(said(&reply), code, "{query} {flight}: {reply:?}");
            assert_eq!(settled(&world, table, token, code).await, rows, "{query} {flight}");
            // Warm again.
            assert_eq!(world.call(write("plain", 0)).await.0, 200);
            let again = json!({"transaction": [write("plain", 0), write(query, 0), write("plain", 0)]});
            assert_eq!(world.call(again).await.0, 200);
        }
        assert_eq!(world.count(&format!("plain WHERE token = {token}")), 4, "{query}");
        assert_eq!(world.call(write(query, 0)).await.0, 200);
        // A batch of it, cut in its middle.
        let token = 100 + token;
        let sets =
            json!([{"token": token, "step": 0}, {"token": token, "step": 1}, {"token": token, "step": 2}]);
        world.wire().inject(Fault::cut(Direction::ToClient, After::Flights(1), Cut::Rst));
        let reply = world.call(json!({"batch": {"query": query, "params": sets}})).await;
        assert_eq!(said(&reply), "outcome_unknown", "{query}: {reply:?}");
        assert_eq!(settled(&world, table, token, "").await, 2, "{query}");
    }
}

async fn what_is_stopped_in_its_middle_is_an_unknown_outcome(engine: Engine) {
    let world = world(engine).start().await;
    // What is to be known of tables known.
    assert_eq!(world.call(write("note", 0)).await.0, 200);
    let mut token = 10_000;
    unless_stalled(CANCEL, async || {
        token += 1;
        let reply = world.call(json!({"query": "note_and_wait", "params": {"token": token}})).await;
        assert_eq!((reply.0, said(&reply)), (500, "outcome_unknown".to_owned()));
        world.at_rest().await?;
        let rows = world.count(&format!("called WHERE token = {token}"));
        if rows == 1 { Ok(()) } else { Err("it was stopped before it had begun".to_owned()) }
    })
    .await;

    for (query, table) in writers(engine).into_iter().filter(|(query, _)| *query != "note") {
        let query = format!("slow_{query}");
        let mut token = 2;
        unless_stalled(CANCEL, async || {
            token += 1_000;
            let reply = world.call(json!({"query": query, "params": {"token": token}})).await;
            assert_eq!((reply.0, said(&reply)), (500, "outcome_unknown".to_owned()), "{query}");
            let rows = settled(&world, table, token, "").await;
            // A row each fifth of a second, for nine tenths and what a cancel may take.
            if rows < 7 { Ok(()) } else { Err(format!("{query}: {rows}")) }
        })
        .await;
    }
    // What can be undone is.
    unless_stalled(CANCEL, async || {
        let reply = world.call(json!({"query": "slow_plain", "params": {"token": 2}})).await;
        assert_eq!((reply.0, said(&reply)), (504, "timeout".to_owned()));
        world.at_rest().await
    })
    .await;
    assert_eq!(world.count("plain WHERE token = 2"), 0);

    // A message of a queue is such a call as well, and comes again: what it has done stays done.
    unless_stalled(CANCEL, async || {
        token += 1;
        let (id, body) = (format!("m{token}"), json!({"query": "note_and_wait", "params": {"token": token}}));
        let record = json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string(), "attributes": {},
            "eventSourceARN": "arn:aws:sqs:eu-west-1:1:q"});
        let outcome = world.invoke(json!({"Records": [record]})).await;
        assert_eq!(outcome.json().unwrap()["batchItemFailures"][0]["itemIdentifier"], json!(id));
        let told = |line: &str| line.contains(&id) && line.contains("outcome_unknown");
        world.function.wait_for_log(told, PATIENCE).await.unwrap();
        world.at_rest().await?;
        let rows = world.count(&format!("called WHERE token = {token}"));
        if rows == 1 { Ok(()) } else { Err("it was stopped before it had begun".to_owned()) }
    })
    .await;
}

async fn only_the_first_write_of_a_session_asks_for_tables_without_transactions(engine: Engine) {
    let world = world(engine).start().await;
    world.wire().reset();
    let flights = async |query: &str| {
        let before = world.wire().flights();
        assert_eq!(world.call(write(query, 1)).await.0, 200);
        world.wire().flights() - before
    };
    // What has no transactions, and what leads there; BEGIN and EXECUTE, COMMIT. INIT has prepared both.
    assert_eq!(flights("plain").await, 4);
    assert_eq!(flights("plain").await, 2);
    assert_eq!(flights("old").await, 2);

    let world =
        Setup::new(engine).queries("-- name: rename :exec\nUPDATE users SET name = 'x';").start().await;
    world.wire().reset();
    for flights in [3, 2, 2] {
        let before = world.wire().flights();
        assert_eq!(world.call(json!({"query": "rename"})).await.0, 200);
        // Other tests of this server have such tables, but this user does not see them.
        assert_eq!(world.wire().flights() - before, flights);
    }
}

/// A trigger of somebody else's, which writes where the user sees nothing. The query fails in a way that lets it run
/// again, and the server says that it could not undo it.
async fn what_the_user_cannot_see_is_told_by_the_server_when_it_undoes(engine: Engine) {
    let queries = "
-- name: order :exec
-- param: token int
INSERT INTO orders (token) VALUES (:token);

-- name: collide :exec
INSERT INTO collisions (n) VALUES (1);
";
    let schema = "
CREATE TABLE orders (token BIGINT) ENGINE=InnoDB;
CREATE TABLE plain (token BIGINT) ENGINE=InnoDB;
CREATE TABLE collisions (n INT) ENGINE=InnoDB;
CREATE TRIGGER collide BEFORE INSERT ON collisions FOR EACH ROW \
SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'a deadlock';
";
    let world = Setup::new(engine).schema(schema).queries(queries).start().await;
    let event = |token: u64| json!({"transaction": [{"query": "order", "params": {"token": token}}, {"query": "collide"}]});
    // Tried again, four times in all, and each time undone.
    let outcome = world.invoke(event(1)).await;
    assert_eq!(said(&outcome.reply().unwrap()), "conflict");
    assert_eq!(world.last_log(&outcome.request_id).await["retries"], 3);
    assert_eq!(world.count("orders"), 0);

    let name = &world.database().name;
    let server = mysql(engine);
    let vault = format!("{name}_vault");
    for statement in [
        format!("CREATE DATABASE {vault}"),
        format!("CREATE TABLE {vault}.audit (token BIGINT) ENGINE=MyISAM"),
        format!("REVOKE TRIGGER ON {name}.* FROM '{}'@'%'", world.database().user),
    ] {
        server.sql(&statement).unwrap();
    }
    world.sql(&format!("CREATE TRIGGER audited AFTER INSERT ON orders FOR EACH ROW INSERT INTO {vault}.audit VALUES (NEW.token)"));
    // A session that has looked at what there is now.
    let function = world.another().await;
    let outcome = function.invoke(event(2)).await.unwrap();
    assert_eq!(said(&outcome.reply().unwrap()), "outcome_unknown");
    assert_eq!(last_log(&function, &outcome.request_id).await["retries"], 0);
    assert_eq!((world.count("orders"), world.count(&format!("{vault}.audit"))), (0, 1));
    // The session goes on.
    let order = json!({"query": "order", "params": {"token": 3}});
    assert_eq!(function.invoke(order).await.unwrap().reply().unwrap().0, 200);
    server.sql(&format!("DROP DATABASE {vault}")).unwrap();
}
