//! The library as its users take it: sea-orm's entities and traits on a `Db`, on real servers over TLS, with the
//! wire watched and cut.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod callers;
mod pages;
mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use lambda_rds::config::{Config, Sources, Table};
use lambda_rds::deadline::Deadline;
use lambda_rds::error::{Error, Fault, Result};
use lambda_rds::queries::Dialect;
use lambda_rds::sea_orm::{
    AccessMode, ActiveModelTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IsolationLevel,
    QueryOrder as _, Set, SqlErr, Statement, StreamTrait as _, TransactionSession as _,
    TransactionTrait as _, Value,
};
use lambda_rds_testbed::{After, Cut, Direction, Fault as Broken, Proxy};

use pages::an_order_that_is_not_total_is_told;
use world::{Engine, World};

#[expect(unreachable_pub, reason = "sea-orm's macros want what is public")]
mod users {
    use lambda_rds::sea_orm;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Makes a test of each engine out of each function that takes one.
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(super::Engine::Postgres).await; })+
        }
        mod mysql {
            $(#[tokio::test] async fn $name() { super::$name(super::Engine::Mysql).await; })+
        }
        mod mariadb {
            $(#[tokio::test] async fn $name() { super::$name(super::Engine::MariaDb).await; })+
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::Engine::Sqlite).await; })+
        }
    };
}

on_every_engine! {
    entities_are_read_and_written,
    a_transaction_is_all_or_nothing,
    a_failure_says_what_kind_it_is,
    a_transaction_inside_another_is_a_savepoint,
    savepoints_that_stand_beside_each_other_do_not_meet,
    rows_are_streamed,
    what_takes_too_long_is_stopped,
    sea_orms_own_connection_is_lent,
    a_writer_is_lent_and_not_used_again,
    isolation_and_access_can_be_asked_for,
    a_lost_connection_is_replaced,
    statements_of_one_text_and_other_types,
    a_write_is_applied_once,
    with_a_key_it_is_applied_once_and_never_unknown,
    an_order_that_is_not_total_is_told,
}

async fn entities_are_read_and_written(engine: Engine) {
    let world = World::start(engine);
    let db = &world.db;
    users::ActiveModel { id: Set(3), name: Set("Edsger".to_owned()) }.insert(db).await.unwrap();
    let grace = users::Entity::find_by_id(2).one(db).await.unwrap().unwrap();
    users::ActiveModel { id: Set(2), name: Set(grace.name + " H.") }.update(db).await.unwrap();
    users::Entity::delete_by_id(1).exec(db).await.unwrap();
    let all = users::Entity::find().order_by_asc(users::Column::Id).all(db).await.unwrap();
    let names: Vec<_> = all.into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["Grace H.", "Edsger"]);

    let Some(wire) = world.wire() else { return };
    let read = async || drop(users::Entity::find_by_id(2).one(db).await.unwrap());
    read().await;
    wire.reset();
    read().await;
    assert_eq!(wire.flights(), 1, "a read");
    let rename = Statement::from_sql_and_values(
        world.backend(),
        world.sql("UPDATE users SET name = ? WHERE id = ?"),
        ["Hopper".into(), 2.into()],
    );
    db.execute_raw(rename.clone()).await.unwrap();
    wire.reset();
    let done = db.execute_raw(rename).await.unwrap();
    // Only PostgreSQL passes over what stands behind a failure.
    let flights = if engine == Engine::Postgres { 2 } else { 3 };
    assert_eq!((wire.flights(), done.rows_affected()), (flights, 1), "a write");
    assert_eq!(wire.connections(), 0);
}

async fn a_transaction_is_all_or_nothing(engine: Engine) {
    let world = World::start(engine);
    let inserted = world
        .db
        .transaction(async |tx| {
            insert(&tx, 10).await?;
            insert(&tx, 11).await?;
            Ok(users::Entity::find().all(&tx).await?.len())
        })
        .await;
    assert_eq!(inserted.unwrap(), 4);
    let refused: Result<()> = world
        .db
        .transaction(async |tx| {
            insert(&tx, 12).await?;
            Err(Error::told(Fault::Rejected, "Not today."))
        })
        .await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.fault(), refused.message()), (Fault::Rejected, "Not today."));
    assert_eq!(ids(&world).await, [1, 2, 10, 11]);
    // The session is as read-only as before.
    let written = world.db.read(async |tx| Ok(insert(&tx, 13).await?)).await.unwrap_err();
    assert_eq!(written.fault(), Fault::QueryFailed, "{written}");
    assert_eq!(ids(&world).await, [1, 2, 10, 11]);
}

async fn a_failure_says_what_kind_it_is(engine: Engine) {
    let world = World::start(engine);
    let twice = world.db.transaction(async |tx| Ok(insert(&tx, 1).await?)).await.unwrap_err();
    assert_eq!(twice.fault(), Fault::Constraint, "{twice}");
    // Outside a closure the error is sea-orm's own, and can be asked about.
    let twice = insert(&world.db, 1).await.unwrap_err();
    assert!(matches!(twice.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{twice:?}");
    assert_eq!(world.db.error(&twice).fault(), Fault::Constraint);
    let unknown = world.db.execute_unprepared("SELECT nothing FROM nowhere").await.unwrap_err();
    assert_eq!(world.db.error(&unknown).fault(), Fault::QueryFailed);
}

async fn a_transaction_inside_another_is_a_savepoint(engine: Engine) {
    let world = World::start(engine);
    let outer = world.db.begin().await.unwrap();
    insert(&outer, 10).await.unwrap();
    let kept = outer.begin().await.unwrap();
    insert(&kept, 11).await.unwrap();
    kept.commit().await.unwrap();
    let undone = outer.begin().await.unwrap();
    insert(&undone, 12).await.unwrap();
    undone.rollback().await.unwrap();
    let dropped = outer.begin().await.unwrap();
    insert(&dropped, 13).await.unwrap();
    drop(dropped);
    let failed = outer.begin().await.unwrap();
    insert(&failed, 1).await.unwrap_err();
    failed.rollback().await.unwrap();
    outer.commit().await.unwrap();
    assert_eq!(ids(&world).await, [1, 2, 10, 11]);

    let forgotten = world.db.begin().await.unwrap();
    insert(&forgotten, 14).await.unwrap();
    drop(forgotten);
    assert_eq!(ids(&world).await, [1, 2, 10, 11]);
}

/// Two savepoints at once on one session: SQL knows them as one inside the other.
async fn savepoints_that_stand_beside_each_other_do_not_meet(engine: Engine) {
    let world = World::start(engine);
    let outer = world.db.begin().await.unwrap();
    let first = outer.begin().await.unwrap();
    insert(&first, 20).await.unwrap();
    let second = outer.begin().await.unwrap();
    insert(&second, 21).await.unwrap();
    // To undo the first undoes the second as well, and nobody is told that it was kept.
    first.rollback().await.unwrap_err();
    second.commit().await.unwrap_err();
    outer.commit().await.unwrap();
    assert_eq!(ids(&world).await, [1, 2]);
}

/// A transaction that an application has begun in its own words on the bare connection is not the next call's.
async fn a_transaction_left_open_is_not_the_next_ones(engine: Engine) {
    let world = World::start(engine);
    {
        let connection = world.db.connection().await.unwrap();
        connection.execute_unprepared("BEGIN").await.unwrap();
    }
    insert(&world.db, 30).await.unwrap();
    assert_eq!(ids(&world).await, [1, 2, 30]);
    let seen = world.script("SELECT COUNT(*) FROM users WHERE id = 30");
    assert_eq!(seen.trim(), "1", "the server has it for others, too");
}

#[tokio::test]
async fn on_postgresql_a_transaction_left_open_is_not_the_next_ones() {
    a_transaction_left_open_is_not_the_next_ones(Engine::Postgres).await;
}

async fn rows_are_streamed(engine: Engine) {
    let world = World::start(engine);
    for tx in [false, true] {
        let sql =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i FROM n";
        let statement = Statement::from_string(world.backend(), sql);
        let mut sum = 0;
        if tx {
            let tx = world.db.begin().await.unwrap();
            let mut rows = tx.stream_raw(statement).await.unwrap();
            while let Some(row) = rows.try_next().await.unwrap() {
                sum += world.integer(&row);
            }
            drop(rows);
            tx.commit().await.unwrap();
        } else {
            let mut rows = world.db.stream_raw(statement.clone()).await.unwrap();
            while let Some(row) = rows.try_next().await.unwrap() {
                sum += world.integer(&row);
            }
            drop(rows);
            // Left half read, its session is not used again, and the next statement is served all the same.
            let mut rows = world.db.stream_raw(statement).await.unwrap();
            rows.try_next().await.unwrap().unwrap();
        }
        assert_eq!(sum, 500 * 501 / 2);
        assert_eq!(ids(&world).await, [1, 2]);
    }
}

async fn what_takes_too_long_is_stopped(engine: Engine) {
    let world = World::start(engine);
    let db = world.db.until(Deadline::after(Duration::from_millis(800)));
    let late = db.execute_unprepared(world.nap()).await.unwrap_err();
    assert_eq!(world.db.error(&late).fault(), Fault::Timeout, "{late}");
    world.nothing_runs().await;
    assert_eq!(ids(&world).await, [1, 2]);
}

async fn sea_orms_own_connection_is_lent(engine: Engine) {
    let world = World::start(engine);
    {
        let connection = world.db.connection().await.unwrap();
        let two = users::Entity::find().all(&*connection).await.unwrap();
        assert_eq!(two.len(), 2);
        let written = insert(&*connection, 3).await.unwrap_err();
        let fault = if engine == Engine::Sqlite { Fault::QueryFailed } else { Fault::NotTheWriter };
        assert_eq!(world.db.error(&written).fault(), fault, "{written}");
    }
    assert_eq!(ids(&world).await, [1, 2]);
    assert!(world.wire().is_none_or(|wire| wire.connections() == 1), "the session is the same");
}

async fn a_writer_is_lent_and_not_used_again(engine: Engine) {
    let world = World::start(engine);
    {
        let writer = world.db.writer().await.unwrap();
        insert(&*writer, 3).await.unwrap();
    }
    assert_eq!(ids(&world).await, [1, 2, 3]);
    let refused = world.db.read(async |tx| Ok(insert(&tx, 4).await?)).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::QueryFailed);
    assert!(world.wire().is_none_or(|wire| wire.connections() == 2));
}

async fn isolation_and_access_can_be_asked_for(engine: Engine) {
    let world = World::start(engine);
    let level = Some(IsolationLevel::Serializable);
    let tx = world.db.begin_with_config(level, Some(AccessMode::ReadOnly)).await.unwrap();
    assert_eq!(users::Entity::find().all(&tx).await.unwrap().len(), 2);
    insert(&tx, 3).await.unwrap_err();
    tx.rollback().await.unwrap();
    let tx = world.db.begin_with_config(level, None).await.unwrap();
    insert(&tx, 3).await.unwrap();
    tx.begin_with_config(level, None).await.unwrap_err();
    tx.commit().await.unwrap();
    assert_eq!(ids(&world).await, [1, 2, 3]);
}

async fn a_lost_connection_is_replaced(engine: Engine) {
    let world = World::start(engine);
    let Some(wire) = world.wire() else { return };
    assert_eq!(ids(&world).await, [1, 2]);
    // While nothing runs: seen without a round trip.
    cut(wire, Cut::Fin).await;
    assert_eq!(ids(&world).await, [1, 2]);
    // In the middle of a closure: from its beginning.
    let runs = AtomicU32::new(0);
    let read = world.db.read(async |tx| {
        users::Entity::find_by_id(1).one(&tx).await?;
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            cut(wire, Cut::Rst).await;
        }
        Ok(users::Entity::find().all(&tx).await?.len())
    });
    assert_eq!(read.await.unwrap(), 2);
    assert_eq!(runs.into_inner(), 2);
    // sea-orm's own transactions are not run again, and say why they ended.
    let tx = world.db.begin().await.unwrap();
    insert(&tx, 10).await.unwrap();
    cut(wire, Cut::Rst).await;
    let lost = tx.commit().await.unwrap_err();
    assert!(matches!(world.db.error(&lost).fault(), Fault::ConnectionLost | Fault::OutcomeUnknown), "{lost}");
    assert_eq!(ids(&world).await, [1, 2]);
}

/// Cuts the wire, and waits for it: that is done by a task of its own, and a statement that is quicker would be in time.
async fn cut(wire: &Proxy, how: Cut) {
    wire.cut(how);
    while wire.open_connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A transaction cut at every flight: applied once, or unknown and at most once.
async fn a_write_is_applied_once(engine: Engine) {
    let world = World::start(engine);
    let Some(wire) = world.wire() else { return };
    for (id, (direction, flight)) in
        (100..).zip((1..=7).flat_map(|n| [(Direction::ToServer, n), (Direction::ToClient, n)]))
    {
        assert_eq!(world.count(2).await, 1);
        wire.inject(Broken::cut(direction, After::Flights(flight), Cut::Rst));
        let outcome = world
            .db
            .transaction(async |tx| {
                insert(&tx, id).await?;
                Ok(insert(&tx, id + 1_000).await?)
            })
            .await;
        wire.disarm();
        let there = world.count(id).await;
        assert_eq!(there, world.count(id + 1_000).await, "all or nothing");
        match outcome {
            Ok(()) => assert_eq!(there, 1, "{direction:?} {flight}"),
            Err(error) => assert_eq!(error.fault(), Fault::OutcomeUnknown, "{direction:?} {flight}: {error}"),
        }
    }
}

/// A closure with a key, cut everywhere: its caller repeats it until it is told Ok, and it has been done once.
async fn with_a_key_it_is_applied_once_and_never_unknown(engine: Engine) {
    let world = World::start(engine);
    let dialect = match engine {
        Engine::Postgres => Dialect::Postgres,
        Engine::Sqlite => Dialect::Sqlite,
        Engine::Mysql | Engine::MariaDb => Dialect::Mysql,
    };
    for statement in
        lambda_rds::once::ddl(dialect, &Table::parse("lambda_rds_idempotency").unwrap()).split(";\n")
    {
        if !statement.trim().is_empty() {
            world.db.execute_unprepared(statement).await.unwrap();
        }
    }
    let runs = AtomicU32::new(0);
    let once = async |key: &str, id: i32| {
        world
            .db
            .once(key, async |tx| {
                insert(&tx, id).await?;
                let number = runs.fetch_add(1, Ordering::Relaxed);
                Ok((id, format!("run {number}")))
            })
            .await
    };
    let first = once("a", 100).await.unwrap();
    assert_eq!(once("a", 100).await.unwrap(), first);
    assert_eq!((runs.load(Ordering::Relaxed), world.count(100).await), (1, 1));
    // What fails is not kept.
    assert_eq!(once("b", 100).await.unwrap_err().fault(), Fault::Constraint);
    assert_eq!(once("b", 101).await.unwrap().0, 101);
    assert_eq!(once("", 102).await.unwrap_err().fault(), Fault::BadEvent);
    // Nor is anything of a closure that removes its key's row.
    let gone = world.db.once("gone", async |tx| {
        insert(&tx, 103).await?;
        tx.execute_unprepared("DELETE FROM lambda_rds_idempotency").await?;
        Ok(())
    });
    assert_eq!(gone.await.unwrap_err().fault(), Fault::QueryFailed);
    assert_eq!(world.count(103).await, 0);

    let Some(wire) = world.wire() else { return };
    for (id, (direction, flight)) in
        (200..).zip((1..=9).flat_map(|n| [(Direction::ToServer, n), (Direction::ToClient, n)]))
    {
        wire.inject(Broken::cut(direction, After::Flights(flight), Cut::Rst));
        let key = format!("cut {id}");
        let mut told = Vec::new();
        while told.len() < 2 {
            match once(&key, id).await {
                Ok(value) => told.push(value),
                Err(error) => assert!(error.fault().retryable(), "{direction:?} {flight}: {error}"),
            }
        }
        wire.disarm();
        assert_eq!(told[0], told[1]);
        assert_eq!(world.count(id).await, 1, "{direction:?} {flight}");
    }
}

#[tokio::test]
async fn on_mysql_what_no_rollback_undoes_is_not_done_twice() {
    what_no_rollback_undoes_is_not_done_twice(Engine::Mysql).await;
}

#[tokio::test]
async fn on_mariadb_what_no_rollback_undoes_is_not_done_twice() {
    what_no_rollback_undoes_is_not_done_twice(Engine::MariaDb).await;
}

/// A transaction that is lost before its COMMIT runs again, but not if it wrote to a table without transactions, by
/// itself or by way of a trigger.
async fn what_no_rollback_undoes_is_not_done_twice(engine: Engine) {
    let world = World::start(engine);
    world.script(
        "CREATE TABLE noted (id INTEGER) ENGINE=MyISAM;\n\
         CREATE TABLE orders (id INTEGER) ENGINE=InnoDB;\n\
         CREATE TRIGGER notes AFTER INSERT ON orders FOR EACH ROW INSERT INTO noted VALUES (NEW.id);\n\
         CREATE TABLE plain (id INTEGER) ENGINE=InnoDB;",
    );
    let wire = world.wire().unwrap();
    for (table, runs_again) in [("plain", true), ("noted", false), ("orders", false)] {
        let runs = AtomicU32::new(0);
        let done = world.db.transaction(async |tx| {
            tx.execute_unprepared(&format!("INSERT INTO {table} VALUES (1)")).await?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                cut(wire, Cut::Rst).await;
            }
            Ok(tx.execute_unprepared(&format!("INSERT INTO {table} VALUES (2)")).await.map(|_| ())?)
        });
        match done.await {
            Ok(()) => assert!(runs_again, "{table}"),
            Err(error) => assert!(!runs_again && error.fault() == Fault::OutcomeUnknown, "{table}: {error}"),
        }
        assert_eq!(runs.into_inner(), if runs_again { 2 } else { 1 }, "{table}");
    }
    let noted = world.script("SELECT COUNT(*) FROM noted");
    assert_eq!(noted.trim(), "2", "one for each table, and none twice");
    assert_eq!(world.script("SELECT COUNT(*) FROM plain").trim(), "2");
}

/// After a failure PostgreSQL answers COMMIT with a rollback and no error: it must not look like a success.
#[tokio::test]
async fn a_transaction_with_a_failure_in_it_is_not_taken_for_committed() {
    let world = World::start(Engine::Postgres);
    let swallowed = world
        .db
        .transaction(async |tx| {
            insert(&tx, 10).await?;
            insert(&tx, 1).await.unwrap_err();
            Ok(())
        })
        .await;
    assert_eq!(swallowed.unwrap_err().fault(), Fault::Constraint);
    let tx = world.db.begin().await.unwrap();
    insert(&tx, 1).await.unwrap_err();
    let refused = tx.commit().await.unwrap_err();
    assert_eq!(world.db.error(&refused).fault(), Fault::Constraint, "{refused}");
    assert_eq!(ids(&world).await, [1, 2]);
}

/// A handler's future must be `Send`: Lambda's runtime asks for it, and axum's.
#[tokio::test]
async fn what_runs_on_it_can_be_sent_to_another_thread() {
    fn check<T: Send>(future: T) -> T {
        future
    }
    let world = World::start(Engine::Sqlite);
    let db = world.db.clone();
    let read = check(async move {
        let found = db.read(async |tx| Ok(users::Entity::find().all(&tx).await?)).await?;
        db.transaction(async |tx| Ok(insert(&tx, i32::try_from(found.len()).unwrap() + 10).await?)).await?;
        users::Entity::find().all(&db).await.map_err(Error::from)
    });
    assert_eq!(tokio::spawn(read).await.unwrap().unwrap().len(), 3);
}

/// A session keeps prepared statements by their text: a value must not be taken for what the text had the last time.
async fn statements_of_one_text_and_other_types(engine: Engine) {
    let world = World::start(engine);
    let one = async |value: Value| {
        let sql = world.sql("SELECT ? AS v");
        let statement = Statement::from_sql_and_values(world.backend(), sql, [value]);
        world.db.query_one_raw(statement).await.unwrap().unwrap()
    };
    for _ in 0..2 {
        assert_eq!(one(5_i64.into()).await.try_get_by_index::<i64>(0).unwrap(), 5);
        assert_eq!(one("é".into()).await.try_get_by_index::<String>(0).unwrap(), "é");
        assert_eq!(
            one(0.5_f64.into()).await.try_get_by_index::<f64>(0).unwrap().to_bits(),
            0.5_f64.to_bits()
        );
        assert_eq!(one(Value::BigInt(None)).await.try_get_by_index::<Option<i64>>(0).unwrap(), None);
    }
}

/// Behind a pooler the driver's questions about a type that it does not know made the server forget the statement.
#[tokio::test]
async fn types_of_the_databases_own_behind_a_pooler() {
    let world = World::start(Engine::Postgres);
    // (A server takes what a pooler is sent.)
    let mut env = world.env("POOLED_DB_");
    env.push(("POOLED_DB_POOLER".to_owned(), "transaction".to_owned()));
    let sources = Sources { env, ..Sources::default() };
    let config = Config::read_prefix(&sources, "POOLED_DB_").unwrap();
    let db = lambda_rds::db(&config, &world.platform).unwrap();
    let backend = world.backend();
    db.execute_unprepared("CREATE TYPE mood AS ENUM ('happy', 'sad')").await.unwrap();
    let query = |sql: &str, value: i32| Statement::from_sql_and_values(backend, sql, [value.into()]);
    for _ in 0..2 {
        let row = db.query_one_raw(query("SELECT 'sad'::mood AS mood, $1 AS n", 7)).await.unwrap().unwrap();
        assert_eq!(row.try_get::<i32>("", "n").unwrap(), 7);
        let rows = db
            .transaction(async |tx| {
                Ok(tx.query_all_raw(query("SELECT ARRAY['sad']::mood[], $1", 1)).await?.len())
            })
            .await;
        assert_eq!(rows.unwrap(), 1);
    }
    let error = db.query_one_raw(query("SELECT 'angry'::mood, $1", 1)).await.unwrap_err();
    assert_eq!(db.error(&error).fault(), Fault::BadParameter);
    // Columns that are others by now are read as what they are.
    db.execute_unprepared("CREATE TABLE moody (m int); INSERT INTO moody VALUES (7)").await.unwrap();
    let moody = Statement::from_string(backend, "SELECT m FROM moody");
    let first = db.query_one_raw(moody.clone()).await.unwrap().unwrap();
    assert_eq!(first.try_get_by_index::<i32>(0).unwrap(), 7);
    db.execute_unprepared("ALTER TABLE moody ALTER m TYPE text USING 'seven'").await.unwrap();
    let then = db.query_one_raw(moody).await.unwrap().unwrap();
    assert_eq!(then.try_get_by_index::<String>(0).unwrap(), "seven");
    // Values that come in pieces.
    let long = "x".repeat(3 << 20);
    let sql = Statement::from_sql_and_values(backend, "SELECT length($1)", [long.as_str().into()]);
    assert_eq!(db.query_one_raw(sql).await.unwrap().unwrap().try_get_by_index::<i32>(0).unwrap(), 3 << 20);
    // sea-orm's own connection has no transaction around its statements.
    let own = db.connection().await.unwrap();
    for n in [1, 2] {
        let row = own.query_one_raw(query("SELECT 'sad'::mood AS mood, $1 AS n", n)).await.unwrap().unwrap();
        assert_eq!(row.try_get::<i32>("", "n").unwrap(), n);
    }
    drop(own);
    // Nothing has a name.
    let kept =
        Statement::from_string(backend, "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''");
    for _ in 0..2 {
        let row = db.query_one_raw(kept.clone()).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 0);
    }
}

#[tokio::test]
async fn a_second_database_has_variables_of_its_own() {
    let world = World::start(Engine::Postgres);
    let env = world.env("REPORTING_DB_");
    let sources = lambda_rds::config::Sources { env, ..lambda_rds::config::Sources::default() };
    let config = lambda_rds::config::Config::read_prefix(&sources, "REPORTING_DB_").unwrap();
    let db = lambda_rds::db(&config, &world.platform).unwrap();
    db.warm().await.unwrap();
    assert_eq!(users::Entity::find().all(&db).await.unwrap().len(), 2);
    db.close().await;
    let closed = users::Entity::find().all(&db).await.unwrap_err();
    assert_eq!(db.error(&closed).fault(), Fault::Internal);
}

async fn insert(db: &impl ConnectionTrait, id: i32) -> Result<(), DbErr> {
    users::ActiveModel { id: Set(id), name: Set(format!("user {id}")) }.insert(db).await.map(|_| ())
}

async fn ids(world: &World) -> Vec<i32> {
    let all = users::Entity::find().order_by_asc(users::Column::Id).all(&world.db).await.unwrap();
    all.into_iter().map(|user| user.id).collect()
}
