//! Where the peers run: a private server, the stand-in for Secrets Manager, and the network in between.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lambda_rds_testbed::{Answer, Database, Direction, Function, Mysql, MysqlKind, Postgres, Proxy, Secrets};
use serde_json::json;
use tempfile::TempDir;

use crate::peers::Engine;

/// A server with the bench's tables.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) engine: Engine,
    pub(crate) server: Server,
    pub(crate) database: Database,
    pub(crate) secrets: Secrets,
    pub(crate) queries: TempDir,
    /// One per simulated delay; the first has none, and no proxy either.
    pub(crate) networks: Vec<Network>,
}

/// The way to the server.
#[derive(Debug)]
pub(crate) struct Network {
    /// What a round trip takes longer than on the loopback, in milliseconds.
    pub(crate) delay_ms: u32,
    pub(crate) port: u16,
    /// The secret that leads this way.
    pub(crate) secret: String,
    pub(crate) proxy: Option<Proxy>,
}

impl Network {
    /// What tables call it.
    pub(crate) fn name(&self) -> String {
        format!("{} ms", self.delay_ms)
    }
}

/// A database server of either engine.
#[derive(Debug)]
pub(crate) enum Server {
    Postgres(Postgres),
    Mysql(Mysql),
}

impl Place {
    /// Starts a server with room for everybody.
    pub(crate) async fn start(engine: Engine) -> Result<Self> {
        Self::with(engine, &[]).await
    }

    /// Starts a server with these settings.
    pub(crate) async fn with(engine: Engine, settings: &[(&str, &str)]) -> Result<Self> {
        let server = match engine {
            Engine::Postgres => Server::Postgres(Postgres::builder().config(settings).start()?),
            Engine::Mysql => Server::Mysql(Mysql::builder(MysqlKind::Mysql).config(settings).start()?),
        };
        let database = server.prepare()?;
        let queries = tempfile::tempdir()?;
        std::fs::write(queries.path().join("bench.sql"), queries_text(engine))?;
        let mut place =
            Self { engine, server, database, secrets: Secrets::start()?, queries, networks: Vec::new() };
        for delay_ms in DELAYS_MS {
            let network = place.network(delay_ms, delay_ms > 0)?;
            place.networks.push(network);
        }
        Ok(place)
    }

    /// A way to the server, with a proxy on it or without.
    pub(crate) fn network(&self, delay_ms: u32, proxied: bool) -> Result<Network> {
        let proxy = if proxied { Some(Proxy::start(self.server.address())?) } else { None };
        if let Some(proxy) = &proxy {
            for direction in [Direction::ToServer, Direction::ToClient] {
                proxy.delay(direction, Duration::from_millis(delay_ms.into()) / 2);
            }
        }
        let port = proxy.as_ref().map_or(self.server.address().port(), Proxy::port);
        let secret = format!("bench-{port}");
        self.secrets.put(&secret, self.database.secret(self.server.host(), port));
        Ok(Network { delay_ms, port, secret, proxy })
    }

    /// The way without a proxy.
    pub(crate) fn direct(&self) -> &Network {
        &self.networks[0]
    }
}

impl Server {
    fn prepare(&self) -> Result<Database> {
        let (database, schema) = match self {
            Self::Postgres(server) => (server.database("bench")?, POSTGRES_SCHEMA),
            Self::Mysql(server) => (server.database("bench")?, MYSQL_SCHEMA),
        };
        self.run(&database.name, schema)?;
        Ok(database)
    }

    /// Runs a script in a database as the superuser.
    pub(crate) fn run(&self, database: &str, script: &str) -> Result<()> {
        match self {
            Self::Postgres(server) => server.psql(database, script).map(drop),
            Self::Mysql(server) => server.script(database, script).map(drop),
        }
    }

    pub(crate) fn host(&self) -> &'static str {
        match self {
            Self::Postgres(server) => server.host(),
            Self::Mysql(server) => server.host(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Postgres(server) => server.address(),
            Self::Mysql(server) => server.address(),
        }
    }

    pub(crate) fn ca_pem_path(&self) -> PathBuf {
        match self {
            Self::Postgres(server) => server.ca_pem_path(),
            Self::Mysql(server) => server.ca_pem_path(),
        }
    }

    /// What the server calls itself.
    pub(crate) fn version(&self) -> Result<String> {
        match self {
            Self::Postgres(server) => server.psql("postgres", "SHOW server_version"),
            Self::Mysql(server) => server.sql("SELECT version()"),
        }
    }

    /// Stops the server in order, and starts it again.
    pub(crate) fn restart(&self) -> Result<()> {
        match self {
            Self::Postgres(server) => server.restart(),
            Self::Mysql(server) => {
                server.stop()?;
                server.start_again()
            }
        }
    }

    /// Ends every connection of the bench's user from the server's side, and tells how many.
    pub(crate) fn kill_connections(&self, user: &str) -> Result<usize> {
        match self {
            Self::Postgres(server) => {
                let sql = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"
                );
                Ok(server.psql("postgres", &sql)?.lines().count())
            }
            Self::Mysql(server) => {
                let listed = server
                    .sql(&format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'"))?;
                for id in listed.lines() {
                    // One that is gone already needs no killing.
                    let _ = server.sql(&format!("KILL {id}"));
                }
                Ok(listed.lines().count())
            }
        }
    }
}

/// Invokes a function, and sees to it that it answers with 200 and this many rows.
pub(crate) async fn call(function: &Function, event: &str, rows: usize) -> Result<Duration> {
    let outcome = function.invoke_raw(event.to_owned()).await?;
    let (status, body) = outcome.reply()?;
    let found = body.as_array().map_or(0, Vec::len);
    ensure!(
        status == 200 && found == rows,
        "{rows} rows were asked for, and answered was {status} {body:.300}"
    );
    Ok(outcome.elapsed)
}

/// Invokes a function, and looks only whether it answers: for loops, in which reading the answer would cost.
pub(crate) async fn tap(function: &Function, event: &str) -> Result<(Duration, usize)> {
    let outcome = function.invoke_raw(event.to_owned()).await?;
    match &outcome.answer {
        Answer::Response(body)
            if body.starts_with(b"{\"statusCode\":200") || body.starts_with(b"{\"statusCode\": 200") =>
        {
            Ok((outcome.elapsed, body.len()))
        }
        // The hello world, whose keys are in another order.
        Answer::Response(body) if body.len() < 100 && body.ends_with(b"\"statusCode\":200}") => {
            Ok((outcome.elapsed, body.len()))
        }
        other => bail!("answered was {other:.300?}"),
    }
}

/// The 50 rows that everybody is asked for.
pub(crate) const ACTIVE_USERS: &str = r#"{"query":"active_users","params":{"active":true}}"#;
pub(crate) const USERS: usize = 50;

/// Rows of a table of 100,000.
pub(crate) fn some_rows(count: usize) -> String {
    json!({ "query": "some_rows", "params": { "count": count } }).to_string()
}

/// One query with many parameter sets, in one transaction.
pub(crate) fn batch(sets: usize) -> String {
    let sets: Vec<_> = (0..sets).map(|id| json!({ "id": id, "text": format!("note {id}") })).collect();
    json!({ "batch": { "query": "write_note", "params": sets } }).to_string()
}

/// How each engine writes a note that is there already.
pub(crate) fn upsert(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text",
        Engine::Mysql => "ON DUPLICATE KEY UPDATE text = VALUES(text)",
    }
}

fn queries_text(engine: Engine) -> String {
    let upsert = upsert(engine);
    format!(
        "-- name: active_users :many\n-- param: active bool\n\
         SELECT id, name, email FROM users WHERE active = :active ORDER BY id;\n\n\
         -- name: some_rows :many\n-- param: count int\n\
         SELECT id, name, email FROM many ORDER BY id LIMIT :count;\n\n\
         -- name: write_note :exec\n-- param: id int\n-- param: text text\n\
         INSERT INTO notes (id, text) VALUES (:id, :text) {upsert};\n"
    )
}

/// The delays of a round trip: the loopback alone; a zone away; somebody's VPN.
const DELAYS_MS: [u32; 3] = [0, 1, 5];

const POSTGRES_SCHEMA: &str = "
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, active bool NOT NULL);
CREATE TABLE many (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL);
INSERT INTO users SELECT n, 'user ' || n, 'user' || n || '@example.com', true FROM generate_series(1, 50) AS n;
INSERT INTO many SELECT n, 'user ' || n, 'user' || n || '@example.com' FROM generate_series(1, 100000) AS n;
GRANT SELECT ON users, many TO PUBLIC;
GRANT ALL ON notes TO PUBLIC;
VACUUM ANALYZE;
";

const MYSQL_SCHEMA: &str = "
CREATE TABLE users (id int PRIMARY KEY, name varchar(100) NOT NULL, email varchar(100) NOT NULL, active bool NOT NULL);
CREATE TABLE many (id int PRIMARY KEY, name varchar(100) NOT NULL, email varchar(100) NOT NULL);
CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL);
SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO many WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 100000) \
SELECT n, concat('user ', n), concat('user', n, '@example.com') FROM r;
INSERT INTO users SELECT id, name, email, true FROM many WHERE id <= 50;
ANALYZE TABLE users, many;
";
