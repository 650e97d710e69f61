//! What `check` says of queries that are read page by page: on each engine the same.

use std::time::Duration;

use lambda_rds::app::App;
use lambda_rds::check::{self, Severity};
use lambda_rds::config::{Config, Sources};
use lambda_rds::deadline::Deadline;
use lambda_rds::sea_orm::ConnectionTrait as _;

use crate::world::{Engine, World};

pub(crate) async fn an_order_that_is_not_total_is_told(engine: Engine) {
    let world = World::start(engine);
    for sql in TABLES.split_inclusive(';').map(str::trim).filter(|sql| !sql.is_empty()) {
        world.db.execute_unprepared(sql).await.unwrap();
    }
    if matches!(engine, Engine::Postgres | Engine::Sqlite) {
        // MySQL has no such index.
        let part = "CREATE UNIQUE INDEX part ON pieces (partly) WHERE partly > 0";
        world.db.execute_unprepared(part).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.sql"), QUERIES).unwrap();
    let mut env = world.env("DB_");
    env.push(("LAMBDA_RDS_QUERIES".to_owned(), folder.path().display().to_string()));
    let sources = Sources { env, ..Sources::default() };
    let config = Config::read(&sources, lambda_rds::ENGINES).unwrap();
    let (backend, topology) = (lambda_rds::backend(config.db.engine), lambda_rds::topology(&config.db));
    let app = App::start(config, backend, topology).unwrap();
    let report = check::report(&app, Deadline::after(Duration::from_secs(60))).await.unwrap();

    let mut found = Vec::new();
    for checked in &report.queries {
        for finding in &checked.findings {
            // (A function of MariaDB's or a view may bring others.)
            assert!(finding.message.contains("-- page:"), "{engine:?}: {finding}");
            found.push((checked.query.name(), finding.severity, finding.message.as_str()));
        }
    }
    let expected = [
        ("absent", Severity::Error, "names the column `id`, which the result does not have"),
        ("alike", Severity::Warning, "no unique index is within the columns `name` of `-- page:`"),
        ("half_pair", Severity::Warning, "the columns `name, shop` of `-- page:`"),
        ("in_part", Severity::Warning, "the columns `partly`"),
        ("keyless", Severity::Warning, "Give `heap` a primary key"),
        ("nulls", Severity::Error, "the column `note` of `-- page:` may be NULL"),
        ("of_two", Severity::Warning, "Put the key of `pieces` behind it: `id`"),
        ("padded", Severity::Warning, "where that finds no row of `owners` it is NULL"),
    ];
    let names: Vec<_> = found.iter().map(|(name, severity, _)| (*name, *severity)).collect();
    let wanted: Vec<_> = expected.iter().map(|(name, severity, _)| (*name, *severity)).collect();
    assert_eq!(names, wanted, "{engine:?}: {found:#?}");
    for ((name, _, message), (_, _, part)) in found.iter().zip(expected) {
        assert!(message.contains(part), "{engine:?}: {name}: {message}");
    }
    drop(report);
    app.close().await;
}

const TABLES: &str = "
CREATE TABLE owners (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL);
CREATE TABLE pieces (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL, note VARCHAR(20), code VARCHAR(20) NOT NULL UNIQUE,
    shop INT NOT NULL, place INT NOT NULL, owner INT NOT NULL, partly INT NOT NULL, UNIQUE (shop, place));
CREATE TABLE heap (n INT NOT NULL);
CREATE VIEW seen AS SELECT name FROM pieces;
";

/// First those with nothing wrong, or of which nobody knows.
const QUERIES: &str = "\
-- name: total :many
-- page: name, id desc
SELECT id, name FROM pieces WHERE name <> 'x';
-- name: renamed :many
-- page: what, number
SELECT p.name AS what, p.id AS number FROM pieces p;
-- name: unique_code :many
-- page: code
SELECT code FROM pieces;
-- name: whole_pair :many
-- page: shop, place
SELECT shop, place FROM pieces;
-- name: joined :many
-- page: id
SELECT p.id, o.name FROM pieces p JOIN owners o ON o.id = p.owner;
-- name: grouped :many
-- page: name
SELECT name, count(*) AS n FROM pieces GROUP BY name;
-- name: computed :many
-- page: loud
SELECT upper(name) AS loud FROM pieces;
-- name: of_a_view :many
-- page: name
SELECT name FROM seen;
-- name: alike :many
-- page: name
SELECT id, name FROM pieces;
-- name: half_pair :many
-- page: name, shop
SELECT name, shop FROM pieces;
-- name: of_two :many
-- page: owned, name
SELECT o.name AS owned, p.name FROM pieces p JOIN owners o ON o.id = p.owner;
-- name: keyless :many
-- page: n
SELECT n FROM heap;
-- name: in_part :many
-- page: partly
SELECT partly FROM pieces;
-- name: nulls :many
-- page: note, id
SELECT id, note FROM pieces;
-- name: padded :many
-- page: owned, id
SELECT p.id, o.name AS owned FROM pieces p LEFT JOIN owners o ON o.id = p.owner;
-- name: absent :many
-- page: id
SELECT name FROM pieces;
";
