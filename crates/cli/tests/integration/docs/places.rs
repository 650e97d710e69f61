//! Where the pages are typed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use lambda_rds_testbed::Postgres;
use serde_json::Value;

use super::page::{Page, repository as root};
use super::shell::{Beside, Place};
use crate::server::database;

/// A home folder, with nothing but the command.
pub(super) fn home(_: &Page) -> Place {
    Place::home()
}

/// A clone of the repository.
pub(super) fn repository(_: &Page) -> Place {
    Place::home().within(root())
}

/// A clone in which the bench has built what it measures.
pub(super) fn bench(_: &Page) -> Place {
    let clone = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(clone.path().join("target/bench/bin")).unwrap();
    std::fs::write(clone.path().join("target/bench/bin/lambda-rds-postgres"), "").unwrap();
    Place::home().within(clone.path().to_owned()).with(clone)
}

/// A home folder on a machine on which Docker runs what the page starts.
pub(super) fn own_machine(_: &Page) -> Place {
    let server = in_docker();
    let port = server.port().to_string();
    Place::home()
        .programs(server.programs())
        .env("PGPORT", &port)
        .replace("DB_HOST=127.0.0.1", format!("DB_HOST=127.0.0.1 DB_PORT={port}"))
        .replace("@127.0.0.1/", format!("@127.0.0.1:{port}/"))
        .with(server)
}

/// A shell with the settings of a function, which is deployed and may be diagnosed.
pub(super) fn diagnosed(_: &Page) -> Place {
    let settings = database(USERS);
    let setting = |name| settings.iter().find(|(key, _)| *key == name).unwrap().1.as_str();
    let (user, host, port) = (setting("DB_USER"), setting("DB_HOST"), setting("DB_PORT"));
    let url = format!("{user}@{host}:{port}/{}?sslrootcert={}", setting("DB_NAME"), setting("DB_TLS_CA"));
    let mut place = Place::home().replace("me@localhost/shop", url);
    for (key, value) in &settings {
        place = place.env(key, value);
    }
    deploy(place, &format!("--queries '{}'", root().join("queries").display()))
}

/// The folder of somebody's queries, of which one is a tool, and a database of theirs.
pub(super) fn desktop(_: &Page) -> Place {
    let settings = database(USERS);
    let setting = |name| settings.iter().find(|(key, _)| *key == name).unwrap().1.as_str();
    let (user, host, port) = (setting("DB_USER"), setting("DB_HOST"), setting("DB_PORT"));
    let url = format!("{user}@{host}:{port}/{}?sslrootcert={}", setting("DB_NAME"), setting("DB_TLS_CA"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("queries")).unwrap();
    std::fs::write(folder.path().join("queries/tools.sql"), TOOL).unwrap();
    Place::home()
        .within(folder.path().to_owned())
        .replace("me@localhost/shop", url)
        .env("DB_PASSWORD", setting("DB_PASSWORD"))
        .with(folder)
}

/// Accounts, and the table of idempotency keys.
pub(crate) const KEYED: &str = "\
CREATE TABLE accounts (id int PRIMARY KEY, balance numeric NOT NULL);
CREATE TABLE lambda_rds_idempotency (id bytea PRIMARY KEY, request bytea NOT NULL, reply bytea,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL);";

/// A query that is a tool.
pub(crate) const TOOL: &str = "\
-- name: find_users :many
-- tool: Find users
-- Users whose name begins with a text, by name.
-- param: start text in 1..=20 -- the beginning of the name
SELECT id, name FROM users WHERE name LIKE :start || '%' ORDER BY name;
";

/// A clone, and the function that the page makes: that of the tutorial has its own queries, the others the sample's.
pub(super) fn deployed(page: &Page) -> Place {
    let clone = tempfile::tempdir().unwrap();
    // Not the repository itself, for the pages leave replies in the examples' folders.
    for entry in std::fs::read_dir(root().join("terraform/examples")).unwrap() {
        let example = entry.unwrap().path();
        let copy = clone.path().join("terraform/examples").join(example.file_name().unwrap());
        std::fs::create_dir_all(&copy).unwrap();
        for file in std::fs::read_dir(example).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "tf") {
                std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
            }
        }
    }
    let tutorial = page.path.starts_with("docs/");
    let queries = if tutorial {
        page.blocks.iter().find(|block| block.language == "sql").unwrap().text.clone()
    } else {
        std::fs::read_to_string(root().join("queries/users.sql")).unwrap()
    };
    let folder = clone.path().join("shop");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("users.sql"), queries).unwrap();
    let mut place = Place::home().within(clone.path().to_owned()).env("TOKEN", "verified by the gateway");
    for (key, value) in database(if tutorial { "" } else { USERS }) {
        place = place.env(key, value);
    }
    deploy(place, &format!("--queries '{}'", folder.display())).with(clone)
}

/// A clone, and the function of the example with many tenants: its own table, queries and settings, for a caller of one
/// of them.
pub(super) fn tenants(_: &Page) -> Place {
    let example = root().join("terraform/examples/http-api");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let schema = read(&example.join("schema.sql")).replace(
        "GRANT member TO app;",
        "DO $$ BEGIN EXECUTE format('GRANT member TO %I', current_database() || '_owner'); END $$;",
    );
    let mut place = Place::home().within(root()).env("TOKEN", "verified by the gateway");
    for (key, value) in database(&format!("RESET ROLE;\n{schema}")) {
        place = place.env(key, value);
    }
    let planned: Value =
        serde_json::from_str(&read(&root().join("terraform/tests/environments/http-api.json"))).unwrap();
    for (key, value) in planned["environment"].as_object().unwrap() {
        if key.starts_with("LAMBDA_RDS_") {
            place = place.env(key, value.as_str().unwrap());
        }
    }
    let queries = example.join("queries");
    deploy(place, &format!("--queries '{}' --claim tenant=acme --claim sub=ada", queries.display()))
}

/// Serves the function's code with these options, at Lambda's own API, to whoever says `aws lambda invoke`.
fn deploy(place: Place, options: &str) -> Place {
    let serve = format!(
        "LAMBDA_RDS_DIAGNOSE=true LAMBDA_RDS_MCP=true exec lambda-rds serve --listen 0 --quiet --json {options}"
    );
    let mut child = place.shell(&serve).stdout(Stdio::piped()).spawn().unwrap();
    let mut announced = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    let served = Beside(child);
    let announced: Value = serde_json::from_str(&announced).unwrap();
    place.env("FUNCTION_URL", announced["url"].as_str().unwrap()).with(served)
}

/// A server as the image `postgres` starts it with `POSTGRES_PASSWORD=postgres`, but for its port.
pub(super) fn in_docker() -> Postgres {
    let server = Postgres::start().unwrap();
    server.psql("postgres", "ALTER ROLE postgres PASSWORD 'postgres'").unwrap();
    server
}

/// The tables that the pages' queries read and write.
pub(super) const USERS: &str = "
CREATE EXTENSION citext;
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name varchar(100) NOT NULL,
    email citext NOT NULL UNIQUE,
    active bool NOT NULL DEFAULT true
);
INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com');
CREATE TABLE orders (message_id text PRIMARY KEY, amount numeric NOT NULL);
CREATE TABLE tags (id bigint GENERATED ALWAYS AS IDENTITY, name text PRIMARY KEY);
";
