//! A database of each engine with a `Db` on it, and the wire between them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lambda_rds::Db;
use lambda_rds::config::{Config, Platform, Sources};
use lambda_rds::sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait as _, QueryResult};
use lambda_rds_testbed::{Database, Mysql, MysqlKind, Pgbouncer, Postgres, Proxy};
use tempfile::TempDir;

use crate::users;

/// The engines that the tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Mysql,
    MariaDb,
    Sqlite,
}

/// A database and a `Db` on it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) db: Db,
    pub(crate) platform: Platform,
    engine: Engine,
    proxy: Option<Proxy>,
    database: Option<Database>,
    settings: Vec<(&'static str, String)>,
    _pooler: Option<Pgbouncer>,
    _file: Option<TempDir>,
}

impl World {
    pub(crate) fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[], None)
    }

    /// PostgreSQL behind PgBouncer, which has so many connections to it.
    pub(crate) fn pooled(connections: usize, more: &[(&'static str, &str)]) -> Self {
        Self::start_with(Engine::Postgres, &[more, &[("POOLER", "transaction")]].concat(), Some(connections))
    }

    /// With settings more.
    pub(crate) fn start_with(engine: Engine, more: &[(&'static str, &str)], pooled: Option<usize>) -> Self {
        let mut settings = vec![("ENGINE", engine.name().to_owned())];
        settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let (mut proxy, mut database, mut file, mut pooler) = (None, None, None, None);
        if engine == Engine::Sqlite {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("test.db");
            std::fs::write(&path, "").unwrap();
            // The driver's own tool, since a test of the library must not need the library to set it up.
            run_sqlite(path.to_str().unwrap(), SCHEMA);
            settings.push(("NAME", path.to_str().unwrap().to_owned()));
            file = Some(folder);
        } else {
            let (own, address, host, ca) = match engine {
                Engine::Postgres => {
                    let own = postgres().database(&unique()).unwrap();
                    let sql = format!("SET ROLE \"{}\";\n{SCHEMA}", own.user);
                    postgres().psql(&own.name, &sql).unwrap();
                    pooler =
                        pooled.map(|connections| Pgbouncer::start(postgres(), &own, connections).unwrap());
                    let (address, ca) = match &pooler {
                        Some(pooler) => (pooler.address(), pooler.ca_pem_path()),
                        None => (postgres().address(), postgres().ca_pem_path()),
                    };
                    (own, address, postgres().host(), ca)
                }
                _ => {
                    let server = mysql(engine);
                    let own = server.database(&unique()).unwrap();
                    server.script(&own.name, SCHEMA).unwrap();
                    (own, server.address(), server.host(), server.ca_pem_path())
                }
            };
            let wire = Proxy::start(address).unwrap();
            settings.extend([
                ("AUTH", "password".to_owned()),
                ("HOST", host.to_owned()),
                ("PORT", wire.port().to_string()),
                ("NAME", own.name.clone()),
                ("USER", own.user.clone()),
                ("PASSWORD", own.password.clone()),
                ("TLS_CA", ca.to_str().unwrap().to_owned()),
            ]);
            (proxy, database) = (Some(wire), Some(own));
        }
        let sources = Sources { env: prefixed(&settings, "DB_"), ..Sources::default() };
        let config = Config::read(&sources, lambda_rds::ENGINES).unwrap();
        let db = lambda_rds::db(&config.db, &config.platform).unwrap();
        Self {
            db,
            platform: config.platform,
            engine,
            proxy,
            database,
            settings,
            _pooler: pooler,
            _file: file,
        }
    }

    /// The wire to the server; the embedded engine has none.
    pub(crate) fn wire(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The settings under this prefix.
    pub(crate) fn env(&self, prefix: &str) -> Vec<(String, String)> {
        prefixed(&self.settings, prefix)
    }

    /// SQL with `?` as placeholders, in the engine's own.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut number = 0;
        let parts = sql.split_inclusive('?').map(|part| match part.strip_suffix('?') {
            Some(before) if self.engine == Engine::Postgres => {
                number += 1;
                format!("{before}${number}")
            }
            _ => part.to_owned(),
        });
        parts.collect()
    }

    /// The first column as a number, whatever width the engine gives it.
    pub(crate) fn integer(&self, row: &QueryResult) -> i64 {
        match self.engine {
            Engine::Postgres => i64::from(row.try_get_by_index::<i32>(0).unwrap()),
            _ => row.try_get_by_index(0).unwrap(),
        }
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    /// How many users have this id.
    pub(crate) async fn count(&self, id: i32) -> usize {
        users::Entity::find_by_id(id).all(&self.db).await.unwrap().len()
    }

    /// Runs SQL on the server, elsewhere and as the superuser.
    pub(crate) fn script(&self, sql: &str) -> String {
        let name = &self.database.as_ref().unwrap().name;
        match self.engine {
            Engine::Postgres => postgres().psql(name, sql).unwrap(),
            _ => mysql(self.engine).script(name, sql).unwrap(),
        }
    }

    /// A statement that takes a minute.
    pub(crate) fn nap(&self) -> &'static str {
        match self.engine {
            Engine::Postgres => "SELECT pg_sleep(60)",
            Engine::Mysql | Engine::MariaDb => "SELECT SLEEP(60)",
            Engine::Sqlite => {
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            }
        }
    }

    /// Who the database's sessions log in as.
    pub(crate) fn user(&self) -> &str {
        &self.database.as_ref().unwrap().user
    }

    /// Waits until the server runs nothing of ours.
    pub(crate) async fn nothing_runs(&self) {
        let Some(Database { user, .. }) = &self.database else { return };
        let running = || {
            match self.engine {
            Engine::Postgres => postgres()
                .psql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND state = 'active'"))
                .unwrap(),
            _ => mysql(self.engine)
                .sql(&format!("SELECT count(*) FROM information_schema.processlist WHERE user = '{user}' AND info IS NOT NULL"))
                .unwrap(),
        }
        };
        let asked = Instant::now();
        while running().trim() != "0" {
            assert!(asked.elapsed() < Duration::from_secs(60), "a statement runs on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::MariaDb => "mariadb",
            Self::Sqlite => "sqlite",
        }
    }
}

fn prefixed(settings: &[(&'static str, String)], prefix: &str) -> Vec<(String, String)> {
    settings.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect()
}

fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().unwrap())
}

fn mysql(engine: Engine) -> &'static Mysql {
    static MYSQL: OnceLock<Mysql> = OnceLock::new();
    static MARIADB: OnceLock<Mysql> = OnceLock::new();
    match engine {
        Engine::MariaDb => MARIADB.get_or_init(|| Mysql::start(MysqlKind::MariaDb).unwrap()),
        _ => MYSQL.get_or_init(|| Mysql::start(MysqlKind::Mysql).unwrap()),
    }
}

fn run_sqlite(path: &str, script: &str) {
    use sqlx::{ConnectOptions as _, Connection as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let work = async {
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    // A runtime of its own: the caller's may be the one we are in.
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime.block_on(work)).join().unwrap();
    });
}

/// A name that no other test of this process has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("library_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

const SCHEMA: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(100) NOT NULL);
INSERT INTO users (id, name) VALUES (1, 'Ada'), (2, 'Grace');
";
