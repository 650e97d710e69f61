//! Whose rows: what runs on a handle for a caller, how often it speaks to the server, and what is left there of the caller.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use lambda_rds::Db;
use lambda_rds::config::{Config, Sources, Table};
use lambda_rds::deadline::Deadline;
use lambda_rds::error::Fault;
use lambda_rds::queries::{Caller, Dialect};
use lambda_rds::sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IsolationLevel, QueryResult, Set,
    SqlErr, Statement, StreamTrait as _, TransactionSession as _, TransactionTrait as _, Value,
};
use lambda_rds_testbed::{After, Cut, Direction, Fault as Broken, Postgres};

use crate::cut;
use crate::world::{Engine, World};

#[expect(unreachable_pub, reason = "sea-orm's macros want what is public")]
mod notes {
    use lambda_rds::sea_orm;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "notes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub n: i64,
        pub tenant: String,
        pub text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Roles are the whole server's, so another test may have made them a moment ago.
const SCHEMA: &str = "
DO $$ DECLARE name text; BEGIN
  FOREACH name IN ARRAY ARRAY['lib_member', 'lib_auditor', 'lib_stranger'] LOOP
    BEGIN EXECUTE format('CREATE ROLE %I', name);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END;
  END LOOP;
END $$;
GRANT lib_member, lib_auditor TO \"{user}\";
SET ROLE \"{user}\";
CREATE TABLE notes (
    n bigint PRIMARY KEY,
    tenant text NOT NULL DEFAULT current_setting('app.tenant'),
    text text NOT NULL DEFAULT ''
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO lib_member USING (tenant = nullif(current_setting('app.tenant', true), ''));
CREATE POLICY audit ON notes FOR SELECT USING (current_user = 'lib_auditor');
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO lib_member;
GRANT SELECT ON notes TO lib_auditor;
CREATE TYPE mood AS ENUM ('happy', 'sad');
";

fn with_notes(world: World) -> World {
    world.script(&SCHEMA.replace("{user}", world.user()));
    world
}

fn caller(tenant: &str) -> Caller {
    Caller::nobody().setting("app.tenant", tenant).unwrap().role("lib_member").unwrap()
}

fn of(world: &World, tenant: &str) -> Db {
    world.db.as_caller(caller(tenant)).unwrap()
}

async fn query(db: &Db, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
    let backend = ConnectionTrait::get_database_backend(db);
    db.query_all_raw(Statement::from_string(backend, sql)).await
}

async fn run(db: &Db, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, DbErr> {
    let backend = ConnectionTrait::get_database_backend(db);
    Ok(db.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?.rows_affected())
}

async fn tenants(db: &Db) -> Vec<String> {
    let rows = query(db, "SELECT tenant FROM notes ORDER BY n").await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Nothing of a caller is left on the session, and no transaction is open, as the server itself says. Gives the session.
async fn nothing_left(world: &World) -> i32 {
    let who = "SELECT current_user::text, coalesce(current_setting('app.tenant', true), ''),
        current_setting('search_path'), current_setting('transaction_isolation'), pg_backend_pid()";
    let rows = query(&world.db, who).await.unwrap();
    let said: Vec<String> = (0..4).map(|at| rows[0].try_get_by_index(at).unwrap()).collect();
    assert_eq!(said, [world.user(), "", "\"$user\", public", "read committed"]);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND (state ^@ 'idle in' OR backend_xid IS NOT NULL)";
    // A server learns by itself of a connection that is cut off.
    let asked = Instant::now();
    while world.script(&open.replace("{user}", world.user())).trim() != "0" {
        assert!(asked.elapsed() < Duration::from_secs(60), "a transaction is open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rows[0].try_get_by_index(4).unwrap()
}

/// Whatever runs on a handle for a caller sees that caller's rows.
#[tokio::test]
async fn a_handle_for_a_caller_sees_their_rows() {
    let world = with_notes(World::start(Engine::Postgres));
    let db = &world.db;
    db.execute_unprepared(&lambda_rds::once::ddl(
        Dialect::Postgres,
        &Table::parse("lambda_rds_idempotency").unwrap(),
    ))
    .await
    .unwrap();
    let statement = |sql: &str| Statement::from_string(world.backend(), sql);
    let (blue, red) = (of(&world, "it's"), of(&world, "red"));
    run(&blue, "INSERT INTO notes (n) VALUES (1)", []).await.unwrap();
    red.transaction(async |tx| {
        tx.execute_raw(statement("INSERT INTO notes (n) VALUES (2), (3)")).await?;
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..2 {
        let once = red.once("k", async |tx| {
            tx.execute_raw(statement("INSERT INTO notes (n) VALUES (4)")).await?;
            Ok(())
        });
        once.await.unwrap();
    }
    assert_eq!(tenants(&blue).await, ["it's"]);
    assert_eq!((tenants(&red).await.len(), tenants(db).await.len()), (3, 0));
    let read = async |db: &Db| {
        db.read(async |tx| Ok(tx.query_all_raw(statement("SELECT n FROM notes")).await?.len())).await
    };
    assert_eq!((read(&blue).await.unwrap(), read(&red).await.unwrap(), read(db).await.unwrap()), (1, 3, 0));
    let begun = red.begin_with_config(Some(IsolationLevel::RepeatableRead), None).await.unwrap();
    assert_eq!(begun.query_all_raw(statement("SELECT n FROM notes")).await.unwrap().len(), 3);
    let level = begun.query_one_raw(statement("SHOW transaction_isolation")).await.unwrap().unwrap();
    assert_eq!(level.try_get_by_index::<String>(0).unwrap(), "repeatable read");
    begun.rollback().await.unwrap();
    let streamed = red.stream_raw(statement("SELECT n FROM notes")).await.unwrap();
    assert_eq!(streamed.try_collect::<Vec<_>>().await.unwrap().len(), 3);
    red.execute_unprepared("UPDATE notes SET text = 'a'; UPDATE notes SET text = text || 'b'").await.unwrap();
    assert_eq!(world.script("SELECT count(*) FROM notes WHERE text = 'ab'").trim(), "3");
    nothing_left(&world).await;
    // Where there is no transaction to tell, nothing is run.
    assert!(red.connection().await.is_err() && red.writer().await.is_err());
    assert!(red.execute_unprepared("CALL nothing()").await.is_err());
    assert!(Caller::nobody().role("none").is_err());
    let file = World::start(Engine::Sqlite);
    assert!(file.db.as_caller(caller("x")).is_err());
}

/// BEGIN, what is told, the statement and the end of a read are one flight; what is written is committed by another.
#[tokio::test]
async fn a_read_is_one_flight_and_a_write_two() {
    for (world, read, write) in [
        (World::start(Engine::Postgres), 1, 2),
        (World::pooled(1, &[]), 1, 2),
        // Each of them by itself.
        (World::start_with(Engine::Postgres, &[("PIPELINE", "off")], None), 4, 4),
    ] {
        let world = with_notes(world);
        let blue = of(&world, "blue");
        // A statement is learned at its first use.
        flights(&world, &blue).await;
        let expected = [
            ("a read", read),
            ("an insert", write),
            ("a find", read),
            ("an update", write),
            ("a delete", write),
            ("a type of the database's own", read),
            ("a statement without rows", write),
        ];
        assert_eq!(flights(&world, &blue).await, expected);
        nothing_left(&world).await;
    }
}

/// How often each of these speaks to the server.
async fn flights(world: &World, db: &Db) -> Vec<(&'static str, u64)> {
    let wire = world.wire().unwrap();
    let mut counted = Vec::new();
    let mut count = |what| {
        counted.push((what, wire.flights()));
        wire.reset();
    };
    wire.reset();
    tenants(db).await;
    count("a read");
    let note = notes::ActiveModel { n: Set(7), tenant: Set("blue".to_owned()), text: Set("x".to_owned()) };
    assert_eq!(note.insert(db).await.unwrap().text, "x");
    count("an insert");
    assert_eq!(notes::Entity::find_by_id(7).one(db).await.unwrap().unwrap().tenant, "blue");
    count("a find");
    let note = notes::ActiveModel { n: Set(7), text: Set("y".to_owned()), ..Default::default() };
    assert_eq!(note.update(db).await.unwrap().text, "y");
    count("an update");
    assert_eq!(notes::Entity::delete_by_id(7).exec(db).await.unwrap().rows_affected, 1);
    count("a delete");
    assert_eq!(query(db, "SELECT 'sad'::mood AS mood").await.unwrap().len(), 1);
    count("a type of the database's own");
    assert_eq!(run(db, "UPDATE notes SET text = $1", ["z".into()]).await.unwrap(), 0);
    count("a statement without rows");
    counted
}

/// With an isolation level, too, all that stands in front of a transaction is one flight.
#[tokio::test]
async fn a_transaction_begins_in_one_flight() {
    let world = with_notes(World::start(Engine::Postgres));
    let (wire, blue) = (world.wire().unwrap(), of(&world, "blue"));
    let begin = async || blue.begin_with_config(Some(IsolationLevel::Serializable), None).await.unwrap();
    begin().await.rollback().await.unwrap();
    wire.reset();
    let begun = begin().await;
    assert_eq!(wire.flights(), 1);
    begun.execute_unprepared("INSERT INTO notes (n) VALUES (1)").await.unwrap();
    begun.commit().await.unwrap();
    assert_eq!(wire.flights(), 3);
    assert_eq!(tenants(&blue).await, ["blue"]);
    nothing_left(&world).await;
}

/// Whatever becomes of a statement, its session is as it was, and is told what the server said.
#[tokio::test]
async fn nothing_is_left_after_any_outcome() {
    for pooled in [false, true] {
        let world = with_notes(if pooled { World::pooled(1, &[]) } else { World::start(Engine::Postgres) });
        let (db, blue) = (&world.db, of(&world, "blue"));
        run(&blue, "INSERT INTO notes (n) VALUES (1)", []).await.unwrap();
        // What checks the values of its settings.
        run(db, "DO $$ BEGIN END $$", []).await.unwrap();
        let role = |name: &str| db.as_caller(Caller::nobody().role(name).unwrap()).unwrap();
        let wrong = Caller::nobody().setting("plpgsql.variable_conflict", "nonsense").unwrap();
        let wrong = db.as_caller(wrong).unwrap();
        let soon = || blue.until(Deadline::after(Duration::from_millis(800)));
        let mut pid = nothing_left(&world).await;
        for (db, sql, fault) in [
            (&blue, "SELECT n FROM notes", None),
            (&blue, "INSERT INTO notes (n) VALUES (2) RETURNING n", None),
            (&blue, "SELECT n FROM notes WHERE n < 0", None),
            (&blue, "SELECT nothing FROM notes", Some(Fault::QueryFailed)),
            (&blue, "UPDATE notes SET nothing = 1", Some(Fault::QueryFailed)),
            // Behind rows.
            (&blue, "SELECT 1 / (3 - n) FROM generate_series(1, 5) n", Some(Fault::BadParameter)),
            (&blue, "INSERT INTO notes (n) VALUES (1)", Some(Fault::Constraint)),
            // Another's row, by policy.
            (&blue, "INSERT INTO notes (n, tenant) VALUES (9, 'red')", Some(Fault::QueryFailed)),
            (&role("lib_auditor"), "SELECT n FROM notes", None),
            (
                &role("lib_auditor"),
                "INSERT INTO notes (n, tenant) VALUES (9, 'red')",
                Some(Fault::QueryFailed),
            ),
            (&role("lib_stranger"), "SELECT 1", Some(Fault::QueryFailed)),
            (&role("lib_stranger"), "DELETE FROM notes", Some(Fault::QueryFailed)),
            (&role("no_such_role"), "SELECT 1", Some(Fault::QueryFailed)),
            (&role("no_such_role"), "DELETE FROM notes", Some(Fault::QueryFailed)),
            (&wrong, "SELECT 1", Some(Fault::QueryFailed)),
            (&wrong, "INSERT INTO notes (n, tenant) VALUES (9, 'red')", Some(Fault::QueryFailed)),
            (&soon(), "SELECT pg_sleep(60)", Some(Fault::Timeout)),
            (&soon(), "UPDATE notes SET text = pg_sleep(60)::text", Some(Fault::Timeout)),
        ] {
            let outcome = query(db, sql).await;
            let met = outcome.as_ref().err().map(|error| world.db.error(error));
            assert_eq!(met.as_ref().map(|error| error.fault()), fault, "{sql}: {met:?}");
            world.nothing_runs().await;
            let before = std::mem::replace(&mut pid, nothing_left(&world).await);
            assert!(before == pid || pooled || fault == Some(Fault::Timeout), "{sql}: another session");
        }
        assert_eq!(
            world.script("SELECT string_agg(n || tenant, ' ' ORDER BY n) FROM notes").trim(),
            "1blue 2blue"
        );

        // A session that was closed for a timeout knows nothing of it any more.
        run(db, "DO $$ BEGIN END $$", []).await.unwrap();
        // What of it was said before the statement is told as that, and with the server's own code.
        for (db, says) in [(role("no_such_role"), "22023"), (role("lib_stranger"), "42501"), (wrong, "42501")]
        {
            for sql in ["SELECT 1", "DELETE FROM notes"] {
                let refused = world.db.error(&query(&db, sql).await.unwrap_err());
                assert_eq!(
                    (refused.fault(), refused.sqlstate()),
                    (Fault::QueryFailed, Some(says)),
                    "{refused}"
                );
                assert!(refused.detail().contains("sent before the statement"), "{refused:?}");
            }
        }
        // sea-orm's own words for a statement's.
        let taken = run(&blue, "INSERT INTO notes (n) VALUES ($1)", [1_i64.into()]).await.unwrap_err();
        assert!(matches!(taken.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{taken}");
        let note = notes::ActiveModel { n: Set(1), tenant: Set("blue".to_owned()), text: Set(String::new()) };
        let taken = note.insert(&blue).await.unwrap_err();
        assert!(matches!(taken.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{taken}");
        nothing_left(&world).await;
    }
}

/// A statement that is cut off in any of its flights leaves nothing, and a write is done once or is said to be unknown.
#[tokio::test]
async fn nothing_is_left_of_what_is_cut_off() {
    for pooled in [false, true] {
        let world = with_notes(if pooled { World::pooled(1, &[]) } else { World::start(Engine::Postgres) });
        let (wire, blue) = (world.wire().unwrap(), of(&world, "blue"));
        let mut n = 0_i64;
        for how in [Cut::Fin, Cut::Rst] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                for flight in 0..4 {
                    n += 1;
                    tenants(&blue).await;
                    let broken = Broken::cut(direction, After::Flights(flight), how);
                    let told = (direction, flight, how);
                    wire.inject(broken);
                    assert_eq!(
                        query(&blue, "SELECT count(*) FROM notes").await.unwrap().len(),
                        1,
                        "{told:?}"
                    );
                    wire.disarm();
                    nothing_left(&world).await;
                    wire.inject(broken);
                    let outcome = run(&blue, "INSERT INTO notes (n) VALUES ($1)", [n.into()]).await;
                    wire.disarm();
                    nothing_left(&world).await;
                    let there = world.script(&format!("SELECT count(*) FROM notes WHERE n = {n}"));
                    match outcome {
                        Ok(rows) => assert_eq!((rows, there.trim()), (1, "1"), "{told:?}"),
                        Err(error) => {
                            let fault = world.db.error(&error).fault();
                            assert_eq!(fault, Fault::OutcomeUnknown, "{told:?}: {error}");
                        }
                    }
                }
            }
        }
        assert_eq!(world.script("SELECT count(*) FROM notes WHERE tenant <> 'blue'").trim(), "0");
    }
}

/// What a statement says of its own transaction ends with it, and nothing runs behind it.
#[tokio::test]
async fn nobody_gets_out_of_their_transaction() {
    for pooled in [false, true] {
        let world = with_notes(if pooled { World::pooled(1, &[]) } else { World::start(Engine::Postgres) });
        let (blue, red) = (of(&world, "blue"), of(&world, "red"));
        run(&blue, "INSERT INTO notes (n) VALUES (1)", []).await.unwrap();
        run(&red, "INSERT INTO notes (n) VALUES (2)", []).await.unwrap();
        for (sql, goes) in [
            ("COMMIT; SELECT tenant FROM notes", false),
            ("RESET ROLE; SELECT tenant FROM notes", false),
            ("SELECT 1; COMMIT", false),
            ("COMMIT", false),
            ("END", false),
            ("ROLLBACK", false),
            ("ABORT AND CHAIN", true),
            ("COMMIT AND CHAIN", true),
            ("BEGIN", true),
            ("DEALLOCATE ALL", true),
            ("SAVEPOINT s", true),
            ("RESET ROLE", true),
            ("SET LOCAL ROLE lib_auditor", true),
            ("SET LOCAL app.tenant = 'red'", true),
            ("SELECT set_config('role', 'none', true)", true),
            ("SELECT set_config('role', 'lib_auditor', true)", true),
            ("SELECT set_config('app.tenant', 'red', true)", true),
            ("DO $$ BEGIN COMMIT; END $$", false),
            ("CALL nothing()", false),
        ] {
            let outcome = query(&blue, sql).await;
            assert_eq!(outcome.is_ok(), goes, "{sql}: {outcome:?}");
            nothing_left(&world).await;
            assert_eq!(
                (tenants(&blue).await, tenants(&red).await),
                (vec!["blue".to_owned()], vec!["red".to_owned()])
            );
            assert_eq!(tenants(&world.db).await.len(), 0, "{sql}");
        }
    }
}

/// What tells the server of a caller is parsed once in a session, whoever that is; behind a pooler it leaves no name.
#[tokio::test]
async fn what_tells_of_a_caller_is_parsed_once() {
    for pooled in [false, true] {
        let world = with_notes(if pooled { World::pooled(1, &[]) } else { World::start(Engine::Postgres) });
        let kept = "SELECT name, generic_plans + custom_plans FROM pg_prepared_statements \
                    WHERE statement LIKE 'SELECT set\\_config%'";
        for n in 0..3_i64 {
            for (tenant, n) in [("blue", n), ("red", n + 3)] {
                run(&of(&world, tenant), "INSERT INTO notes (n) VALUES ($1)", [n.into()]).await.unwrap();
                tenants(&of(&world, tenant)).await;
            }
        }
        let blue = of(&world, "blue");
        let rows = query(&blue, kept).await.unwrap();
        let told = |row: &QueryResult| {
            (row.try_get_by_index::<String>(0).unwrap(), row.try_get_by_index::<i64>(1).unwrap())
        };
        let named: Vec<_> = rows.iter().map(told).collect();
        if pooled {
            assert_eq!(named, []);
            continue;
        }
        let [(name, 13)] = &named[..] else { panic!("{named:?}") };
        // If somebody drops it, and it alone.
        query(&world.db, &format!("DO $$ BEGIN EXECUTE 'DEALLOCATE {name}'; END $$")).await.unwrap();
        assert_eq!(tenants(&blue).await, ["blue"; 3]);
        nothing_left(&world).await;
        let again: Vec<_> = query(&blue, kept).await.unwrap().iter().map(told).collect();
        assert!(matches!(&again[..], [(_, 2)]), "{again:?}");
    }
}

/// BEGIN is refused in the statement's own flight where the server only reads, and is told as that.
#[tokio::test]
async fn a_server_that_only_reads_is_told_as_not_the_writer() {
    let server = Postgres::start().unwrap();
    let own = server.database("standby").unwrap();
    server.psql(&own.name, &format!("CREATE TABLE t (n int); GRANT ALL ON t TO \"{}\"", own.user)).unwrap();
    server.restart_as_standby().unwrap();
    let (port, ca) = (server.port().to_string(), server.ca_pem_path());
    let env = [
        ("ENGINE", "postgres"),
        ("AUTH", "password"),
        ("HOST", server.host()),
        ("PORT", &port),
        ("NAME", &own.name),
        ("USER", &own.user),
        ("PASSWORD", &own.password),
        ("TLS_CA", ca.to_str().unwrap()),
    ];
    let env = env.map(|(key, value)| (format!("DB_{key}"), value.to_owned())).into();
    let config = Config::read(&Sources { env, ..Sources::default() }, lambda_rds::ENGINES).unwrap();
    let db = lambda_rds::db(&config.db, &config.platform).unwrap();
    let blue = db.as_caller(Caller::nobody().setting("app.tenant", "blue").unwrap()).unwrap();
    assert_eq!(query(&blue, "SELECT n FROM t").await.unwrap().len(), 0);
    for db in [&blue, &db] {
        let refused = run(db, "INSERT INTO t VALUES ($1)", [1.into()]).await.unwrap_err();
        assert_eq!(db.error(&refused).fault(), Fault::NotTheWriter, "{refused}");
    }
    assert_eq!(query(&blue, "SELECT n FROM t").await.unwrap().len(), 0);
}

const TENANTS: usize = 50;

/// Statements and transactions of fifty tenants on one database at once, while connections are cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_tenant_meets_another() {
    for world in [
        World::start_with(Engine::Postgres, &[("MAX_CONNECTIONS", "4")], None),
        World::pooled(2, &[("MAX_CONNECTIONS", "4")]),
    ] {
        let world = with_notes(world);
        let wire = world.wire().unwrap();
        let one = async |tenant: usize, round: usize| {
            let name = format!("t{tenant}");
            let db = of(&world, &name);
            let n = i64::try_from(round * TENANTS + tenant).unwrap();
            let mine = |rows: &[QueryResult]| {
                for row in rows {
                    assert_eq!(row.try_get_by_index::<String>(0).unwrap(), name);
                }
            };
            match (tenant + round) % 6 {
                0 | 1 => query(&db, "SELECT tenant FROM notes").await.map(|rows| mine(&rows)),
                2 => query(&db, &format!("INSERT INTO notes (n) VALUES ({n}) RETURNING tenant"))
                    .await
                    .map(|rows| mine(&rows)),
                3 => notes::Entity::find().all(&db).await.map(|all| {
                    assert!(all.iter().all(|note| note.tenant == name));
                }),
                4 => run(&db, "UPDATE notes SET text = $1", [name.as_str().into()]).await.map(drop),
                _ => db
                    .transaction(async |tx| {
                        let statement =
                            |sql: &str| Statement::from_sql_and_values(world.backend(), sql, [n.into()]);
                        tx.execute_raw(statement("INSERT INTO notes (n) VALUES ($1)")).await?;
                        mine(&tx.query_all_raw(statement("SELECT tenant FROM notes WHERE n <= $1")).await?);
                        Ok(())
                    })
                    .await
                    .map_err(DbErr::from),
            }
        };
        let mut good = 0;
        let rounds = 24;
        for round in 0..rounds {
            if round % 4 == 1 {
                let direction = if round % 8 == 1 { Direction::ToServer } else { Direction::ToClient };
                wire.inject(Broken::cut(direction, After::Flights(round as u64 % 5), Cut::Rst));
            }
            if round % 12 == 11 {
                cut(wire, Cut::Fin).await;
            }
            let outcomes = join_all((0..TENANTS).map(|tenant| one(tenant, round))).await;
            good += outcomes.into_iter().filter(Result::is_ok).count();
            wire.disarm();
        }
        assert!(good * 10 > rounds * TENANTS * 9, "{good} of {}", rounds * TENANTS);
        assert_eq!(world.script("SELECT count(*) FROM notes WHERE text NOT IN ('', tenant)").trim(), "0");
        nothing_left(&world).await;
    }
}
