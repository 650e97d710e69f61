//! What a session keeps of its statements, and what becomes of it when the world moves on.

use std::time::Duration;

use futures_util::future::join_all;
use lambda_rds_core::answers::{Answers, Expected};
use lambda_rds_core::backend::{Access, Frame, Pooling, State, Statement};
use lambda_rds_core::config::Int64;
use lambda_rds_core::error::Fault;
use lambda_rds_core::queries::Verb;
use lambda_rds_core::rows::{Limits, RowWriter};
use lambda_rds_core::value::Value;

use crate::fixture::{Live, argument, given, query};

#[test]
fn statements_of_one_text_and_other_types_do_not_meet() {
    let mut live = Live::new("");
    let sql = "SELECT $1 AS v";
    // Eight bytes each: taken for another, each would be a value.
    let cases = [
        ("int", "7", "7"),
        ("float", "7", "7.0"),
        ("timestamp", "\"2026-01-31T13:37:00\"", "\"2026-01-31T13:37:00\""),
        ("timestamptz", "\"2026-01-31T13:37:00Z\"", "\"2026-01-31T13:37:00Z\""),
        ("time", "\"13:37:00\"", "\"13:37:00\""),
        ("text", "\"12345678\"", "\"12345678\""),
        ("bytes", "\"AAAAAAAAAAA=\"", "\"AAAAAAAAAAA=\""),
        ("int[]", "[7]", "[7]"),
        ("float[]", "[7]", "[7.0]"),
    ];
    for round in 0..3 {
        for (kind, json, reply) in cases {
            let rows = live.read(sql, &[given(kind, json)]).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(rows[0]["v"].get(), reply, "{kind}, round {round}");
        }
    }
    // Each is prepared once.
    let kept = live
        .read("SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE 'SELECT $1 AS v%'", &[]);
    assert_eq!(kept.unwrap()[0]["n"].get(), cases.len().to_string());
}

#[test]
fn a_migration_makes_a_kept_statement_stale_and_it_is_prepared_anew() {
    let mut live =
        Live::new("CREATE TABLE t (a integer); INSERT INTO t VALUES (1); GRANT ALL ON t TO PUBLIC");
    let all = query("SELECT * FROM t", &[]);
    assert_eq!(live.run(&all).unwrap()[0].len(), 1);
    for (change, columns) in [
        ("ALTER TABLE t ADD COLUMN b text", 2),
        ("ALTER TABLE t ALTER COLUMN a TYPE text", 2),
        ("ALTER TABLE t DROP COLUMN b", 1),
    ] {
        live.psql(change);
        assert_eq!(live.run(&all).unwrap()[0].len(), columns, "{change}");
        assert_eq!(live.session().state(), State::Idle);
        // What another session has learned is as old.
        live.psql(&format!(
            "ALTER TABLE t ADD COLUMN c{columns} point; ALTER TABLE t DROP COLUMN c{columns}"
        ));
        live.reconnect();
        assert_eq!(live.run(&all).unwrap()[0].len(), columns, "{change}");
    }
}

/// As a description does, and whoever meets a migration.
#[test]
fn what_another_session_forgets_meanwhile_is_sent_or_learned_anew() {
    for pooling in [Pooling::None, Pooling::Transaction] {
        let mut live = Live::pooled("CREATE TABLE t (a bigint); GRANT ALL ON t TO PUBLIC", pooling);
        let statement = |sql: &str| query(sql, &[("n int", "1")]);
        let all = ["INSERT INTO t VALUES (:n) RETURNING a", "SELECT a FROM t WHERE a = :n"].map(statement);
        live.beside(6, async |session, mut others| {
            let running = async {
                for (frame, some) in [(Frame::Begin(Access::Write), &all[..]), (Frame::Read, &all[1..])] {
                    for _ in 0..150 {
                        let limits = Limits { bytes: 64 << 20, escaped: false, max_rows: None };
                        let mut rows = RowWriter::list(limits, Int64::Number);
                        let one = Expected {
                            verb: Verb::Many,
                            max_rows: None,
                            limit: Duration::MAX,
                            silent: false,
                        };
                        let expected = vec![one; some.len()];
                        let mut answers = Answers::new(&mut rows, &expected, true);
                        let some: Vec<&Statement> = some.iter().collect();
                        session.run(frame, &some, &mut answers).await.unwrap();
                        answers.outcome().unwrap();
                        if frame != Frame::Read {
                            session.rollback().await.unwrap();
                        }
                        assert_eq!(session.state(), State::Idle);
                    }
                }
            };
            let forgetting = others.iter_mut().enumerate().map(async |(number, other)| {
                loop {
                    other.describe(&all[number % all.len()]).await.unwrap();
                }
            });
            tokio::select! {
                () = running => {}
                _ = join_all(forgetting) => {}
            }
        });
    }
}

#[test]
fn what_was_learned_in_another_session_may_be_old() {
    let mut live = Live::new("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1); GRANT ALL ON t TO PUBLIC");
    let all = query("SELECT * FROM t", &[]);
    assert_eq!(live.run(&all).unwrap()[0]["a"].get(), "1");
    for (change, reply) in [
        // As wide as before, and no number.
        ("ALTER TABLE t ALTER COLUMN a TYPE timestamp USING '2026-01-31'", "\"2026-01-31T00:00:00\""),
        ("ALTER TABLE t ALTER COLUMN a TYPE text USING 'two'", "\"two\""),
        // Asked for in binary, of which there is none.
        ("ALTER TABLE t ALTER COLUMN a TYPE point USING '(1,2)'", "\"(1,2)\""),
        ("ALTER TABLE t ALTER COLUMN a TYPE bigint USING 3", "3"),
        // Another number of columns than formats.
        ("ALTER TABLE t ADD COLUMN b int, ADD COLUMN c int", "3"),
        ("ALTER TABLE t DROP COLUMN b", "3"),
        ("ALTER TABLE t ADD COLUMN d text, ADD COLUMN e text", "3"),
    ] {
        live.psql(change);
        live.reconnect();
        assert_eq!(live.run(&all).unwrap_or_else(|error| panic!("{change}: {error}"))[0]["a"].get(), reply);
    }
}

#[test]
fn statements_that_somebody_dropped_are_prepared_anew() {
    let mut live = Live::new("");
    let one = query("SELECT 1 AS v", &[]);
    live.run(&one).unwrap();
    let name =
        live.read("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT 1 AS v%'", &[]);
    let name = name.unwrap()[0]["name"].get().replace('"', "");
    live.run(&query(&format!("DO $$ BEGIN EXECUTE 'DEALLOCATE {name}'; END $$"), &[])).unwrap();
    assert_eq!(live.run(&one).unwrap()[0]["v"].get(), "1");
    // Our own BEGIN, in front of a read that nobody knows.
    live.run(&query("DO $$ BEGIN EXECUTE 'DEALLOCATE br'; END $$", &[])).unwrap();
    for (sql, value) in [("SELECT 2 AS v", "2"), ("SELECT 1 AS v", "1"), ("SELECT 2 AS v", "2")] {
        assert_eq!(live.read(sql, &[]).unwrap()[0]["v"].get(), value);
        assert_eq!(live.session().state(), State::Idle);
    }
}

#[test]
fn a_warm_statement_is_decoded_as_the_cold_one() {
    let mut live = Live::new("");
    let sql = "SELECT $1 AS a, 'x'::text AS b, ARRAY[1.5, NULL] AS c, $2 AS d FROM generate_series(1, 3)";
    let arguments = [given("int", "1"), argument("text", Value::Null)];
    let cold = serde_json::to_string(&live.read(sql, &arguments).unwrap()).unwrap();
    for _ in 0..3 {
        assert_eq!(serde_json::to_string(&live.read(sql, &arguments).unwrap()).unwrap(), cold);
    }
    // A result without rows names no columns, and forgets none.
    let sql = "SELECT generate_series(1, $1) AS a";
    for count in ["2", "0", "3"] {
        let rows = live.read(sql, &[given("int", count)]).unwrap();
        assert_eq!(rows.len().to_string(), count);
    }
}

/// The type of a text's place is inferred where the statement gets its name, and stays: a column that has become text would
/// be given integers for as long as the session lives, and whatever is none would be the caller's mistake.
#[test]
fn a_place_that_takes_what_it_did_not_take_is_asked_about() {
    let mut live =
        Live::new("CREATE TABLE t (v integer); INSERT INTO t VALUES (7); GRANT ALL ON t TO PUBLIC");
    let that = |text: &str| query("SELECT v FROM t WHERE v = :v", &[("v text", &format!("\"{text}\""))]);
    let kept = |live: &mut Live| {
        live.read("SELECT count(*) AS n FROM pg_prepared_statements", &[]).unwrap()[0]["n"].get().to_owned()
    };
    assert_eq!(live.run(&that("7")).unwrap().len(), 1);
    let before = (kept(&mut live), kept(&mut live)).1;
    for _ in 0..3 {
        assert_eq!(live.run(&that("seven")).unwrap_err().fault(), Fault::BadParameter);
        assert_eq!(live.session().state(), State::Idle);
    }
    assert_eq!(kept(&mut live), before, "a value that is refused leaves no statement behind");

    for (becomes, text) in [("text USING 'seven'", "seven"), ("date USING '2026-01-31'", "2026-01-31")] {
        live.psql(&format!("ALTER TABLE t ALTER v TYPE {becomes}"));
        assert_eq!(live.run(&that(text)).unwrap().len(), 1, "{becomes}");
        live.psql("ALTER TABLE t ALTER v TYPE text USING 'a'; ALTER TABLE t ALTER v TYPE integer USING 7");
        assert_eq!(live.run(&that("7")).unwrap().len(), 1);
    }

    // Inside a transaction nothing can be asked any more, and all of it runs again from its beginning.
    live.psql("ALTER TABLE t ALTER v TYPE text USING 'seven'");
    live.block_on(|session| session.begin(Access::Read)).unwrap();
    let error = live.run(&that("seven")).unwrap_err();
    assert_eq!((error.fault(), error.is_refused()), (Fault::ConnectionLost, true), "{error}");
    live.block_on(|session| session.rollback()).unwrap();
    live.block_on(|session| session.begin(Access::Read)).unwrap();
    assert_eq!(live.run(&that("seven")).unwrap().len(), 1);
    live.block_on(|session| session.rollback()).unwrap();
    assert_eq!(live.run(&that("seven")).unwrap().len(), 1);
}

/// What the types are is asked in the statement's own flight, in front of it, so that the answer holds for it; and not where
/// none is inferred. It costs no flight, also where a session is new, and leaves no statement behind.
#[test]
fn inferred_types_are_asked_for_again_at_no_flight() {
    let mut live =
        Live::new("CREATE TABLE t (v integer); INSERT INTO t VALUES (7); GRANT ALL ON t TO PUBLIC");
    let text = query("SELECT v FROM t WHERE v = :v", &[("v text", "\"7\"")]);
    let int = query("SELECT v FROM t WHERE v = :v", &[("v int", "7")]);
    for statement in [&text, &int] {
        live.run(statement).unwrap();
        for another in [false, true, false] {
            if another {
                live.reconnect();
            }
            let before = live.session().flights().unwrap();
            assert_eq!(live.run(statement).unwrap().len(), 1);
            assert_eq!(live.session().flights().unwrap() - before, 1, "another session {another}");
        }
    }
    let kept = "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE 'SELECT v FROM t%'";
    assert_eq!(live.read(kept, &[]).unwrap()[0]["n"].get(), "1", "of the last session, that of `int`");

    // What another session learned, what the column was in between, and what it is again: the name goes with what it was.
    live.psql("ALTER TABLE t ALTER v TYPE text");
    live.reconnect();
    assert_eq!(live.run(&text).unwrap().len(), 1);
    live.psql("ALTER TABLE t ALTER v TYPE integer USING v::integer");
    let padded = query("SELECT v FROM t WHERE v = :v", &[("v text", "\"007\"")]);
    assert_eq!(live.run(&padded).unwrap().len(), 1);
    live.psql("ALTER TABLE t ALTER v TYPE text");
    assert_eq!(live.run(&padded).unwrap().len(), 0);
}

/// 20 MB of parameters against 5 MB of results, all of it sent together: neither side waits for the other.
#[test]
fn large_parameters_meet_large_results() {
    const STEPS: usize = 20;
    let mut live = Live::new("");
    let sql = "SELECT length($1) AS n, repeat('y', 250000) AS r";
    let large = |step| argument("text", Value::Text("x".repeat(1_000_000 + step)));
    let all: Vec<Statement> =
        (0..STEPS).map(|step| Statement { sql: sql.into(), arguments: vec![large(step)] }).collect();
    let all: Vec<&Statement> = all.iter().collect();
    let one = Expected { verb: Verb::One, max_rows: None, limit: Duration::MAX, silent: false };
    let expected = vec![one; STEPS];
    let limits = Limits { bytes: 64 << 20, escaped: false, max_rows: None };
    let mut rows = RowWriter::list(limits, Int64::Number);
    let mut answers = Answers::new(&mut rows, &expected, true);
    live.block_on(|session| session.run(Frame::Begin(Access::Read), &all, &mut answers)).unwrap();
    answers.outcome().unwrap();
    live.block_on(|session| session.commit()).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&rows.finish().unwrap()).unwrap();
    for (step, row) in rows.iter().enumerate() {
        let lengths = (row["n"].as_u64().unwrap(), row["r"].as_str().unwrap().len());
        assert_eq!(lengths, (1_000_000 + step as u64, 250_000));
    }
    assert_eq!(rows.len(), STEPS);
}

/// A read that the environment does not know takes the flight that a known one takes, where its rows come as they are asked
/// for; else what was in vain is undone, and asked about.
#[test]
fn a_read_that_nobody_knows_is_one_flight_with_what_the_server_says_of_it() {
    let script = "CREATE TYPE mood AS ENUM ('fine'); CREATE TABLE t (id bigint, m mood, p point);
                  INSERT INTO t VALUES (1, 'fine', '(1,2)'); GRANT ALL ON t TO PUBLIC";
    let text = |sql: &str| query(sql, &[("v text", "\"7\"")]);
    for pooling in [Pooling::None, Pooling::Transaction, Pooling::RdsProxy] {
        let cases = [
            ("nothing", query("SELECT id FROM t WHERE false", &[]), 1, "[]"),
            ("one row", query("SELECT id, 'a' AS v FROM t", &[]), 1, r#"[{"id":1,"v":"a"}]"#),
            ("no column", query("SELECT FROM t", &[]), 1, "[{}]"),
            ("an inferred place", text("SELECT id FROM t WHERE id + 6 = :v"), 1, r#"[{"id":1}]"#),
            // Shown once more, with the type that could not be inferred.
            ("no type", text("SELECT concat('a', :v) AS v"), 2, r#"[{"v":"a7"}]"#),
            // Comes as text.
            ("a record", query("SELECT row(1, 2) AS v", &[]), 2, r#"[{"v":"(1,2)"}]"#),
            // The catalog is asked, once per type.
            ("an enum", query("SELECT m FROM t", &[]), 3, r#"[{"m":"fine"}]"#),
            ("the enum again", query("SELECT m, id FROM t", &[]), 2, r#"[{"id":1,"m":"fine"}]"#),
            // It has no binary form, and the server says so where the transaction has begun.
            (
                "no binary",
                query("SELECT relacl IS NULL AS v, relacl FROM pg_class WHERE relname = 't'", &[]),
                4,
                "",
            ),
        ];
        let mut live = Live::pooled(script, pooling);
        // Our own BEGIN and COMMIT, which have no name yet, need no flight of their own.
        for (what, statement, flights, rows) in cases {
            for known in [false, true] {
                let before = live.session().flights().unwrap();
                let told = live.run(&statement).unwrap_or_else(|error| panic!("{what}: {error}"));
                let taken = live.session().flights().unwrap() - before;
                assert_eq!(taken, if known { 1 } else { flights }, "{what}, known: {known}, {pooling:?}");
                if !rows.is_empty() {
                    assert_eq!(serde_json::to_string(&told).unwrap(), rows, "{what}");
                }
                assert_eq!(live.session().state(), State::Idle, "{what}");
            }
        }
    }
}

#[test]
fn a_read_that_nobody_knows_fails_as_a_known_one() {
    let mut live =
        Live::new("CREATE TABLE t (id integer); INSERT INTO t VALUES (0); GRANT ALL ON t TO PUBLIC");
    for sql in [
        "SELECT nothing FROM t",
        "SELECT FROM nowhere",
        "SELECT 1 / id FROM t",
        "SELECT 1 / g FROM generate_series(1, 0, -1) AS g",
        "INSERT INTO t VALUES (1)",
        "SELECT set_config('transaction_read_only', 'off', true)",
    ] {
        let tell = |live: &mut Live| {
            let error = live.read(sql, &[]).unwrap_err();
            assert_eq!(live.session().state(), State::Idle, "{sql}");
            (error.fault(), error.sqlstate().map(str::to_owned), error.detail().to_owned())
        };
        let first = tell(&mut live);
        for _ in 0..2 {
            assert_eq!(tell(&mut live), first, "{sql}");
        }
    }
    // The value is at fault, and the statement is known by then.
    let that = |text: &str| query("SELECT id FROM t WHERE id = :v", &[("v text", &format!("\"{text}\""))]);
    for _ in 0..2 {
        assert_eq!(live.run(&that("seven")).unwrap_err().fault(), Fault::BadParameter);
        assert_eq!(live.session().state(), State::Idle);
    }
    assert_eq!(live.run(&that("0")).unwrap().len(), 1);
}
