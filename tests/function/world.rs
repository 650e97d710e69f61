//! A function with everything around it: a server, a database of its own, a wire that is watched, AWS's
//! stand-ins. The same for every engine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lambda_rds::backend::Statement;
use lambda_rds_testbed::{
    Approach, Cluster, Database, Function, FunctionBuilder, Mysql, MysqlKind, Outcome, Pgbouncer, Postgres,
    Proxy, RuntimeApi, Secrets,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The engines that the suite runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Mysql,
    MariaDb,
    Sqlite,
    /// PostgreSQL through the topology, on a cluster of servers.
    AuroraPostgres,
    /// MySQL likewise.
    AuroraMysql,
}

/// What a test wants.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    engine: Engine,
    server: Option<Arc<Postgres>>,
    cluster: Option<Arc<Cluster>>,
    endpoints: bool,
    own_mysql: Option<Arc<Mysql>>,
    built_in_roots: bool,
    iam: bool,
    named: Option<&'static str>,
    pooler: Option<usize>,
    pooler_settings: Vec<(&'static str, &'static str)>,
    schema: String,
    queries: String,
    env: Vec<(String, String)>,
    files: Vec<(String, String)>,
    timeout: Duration,
}

impl Setup {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            server: None,
            cluster: None,
            endpoints: false,
            own_mysql: None,
            built_in_roots: false,
            iam: false,
            named: None,
            pooler: None,
            pooler_settings: Vec::new(),
            schema: USERS.to_owned(),
            queries: include_str!("../../queries/users.sql").to_owned(),
            env: Vec::new(),
            files: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    /// Uses this PostgreSQL server instead of the one that the tests share.
    pub(crate) fn on(mut self, server: &Arc<Postgres>) -> Self {
        self.server = Some(Arc::clone(server));
        self
    }

    /// Uses this cluster instead of the one that the tests share; its engine must be that of the setup. The function
    /// comes by the cluster's endpoints, without a wire of its own.
    pub(crate) fn on_cluster(mut self, cluster: &Arc<Cluster>) -> Self {
        self.cluster = Some(Arc::clone(cluster));
        self.endpoints = true;
        self
    }

    /// The same, by a wire of its own to each member.
    pub(crate) fn approaching(mut self, cluster: &Arc<Cluster>) -> Self {
        self.cluster = Some(Arc::clone(cluster));
        self
    }

    /// The same with a MySQL or MariaDB server.
    pub(crate) fn on_mysql(mut self, server: &Arc<Mysql>) -> Self {
        self.own_mysql = Some(Arc::clone(server));
        self
    }

    /// Uses a server of its own instead of the one that the tests share: to be restarted, or set up otherwise.
    pub(crate) fn own_server(mut self) -> Self {
        match self.engine {
            Engine::Postgres => self.server = Some(Arc::new(Postgres::start().unwrap())),
            Engine::Mysql => self.own_mysql = Some(Arc::new(Mysql::start(MysqlKind::Mysql).unwrap())),
            Engine::MariaDb => self.own_mysql = Some(Arc::new(Mysql::start(MysqlKind::MariaDb).unwrap())),
            Engine::Sqlite => {}
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                self.cluster = Some(Arc::new(start_cluster(self.engine)));
            }
        }
        self
    }

    /// Leaves out `DB_TLS_CA`.
    pub(crate) fn built_in_roots(mut self) -> Self {
        self.built_in_roots = true;
        self
    }

    /// Logs in by IAM instead of by a secret.
    pub(crate) fn iam(mut self) -> Self {
        self.iam = true;
        self
    }

    /// Tells the function this name of the server's, or its pooler's, instead of an address; `LD_PRELOAD` makes it lead there.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.named = Some(name);
        self
    }

    /// Puts a PgBouncer before the server that lends this many of its connections.
    pub(crate) fn pooler(mut self, connections: usize) -> Self {
        self.pooler = Some(connections);
        self
    }

    /// One of PgBouncer's settings.
    pub(crate) fn pooler_setting(mut self, name: &'static str, value: &'static str) -> Self {
        self.pooler_settings.push((name, value));
        self
    }

    /// Replaces the schema: statements that the engine runs before the function starts.
    pub(crate) fn schema(mut self, sql: impl Into<String>) -> Self {
        self.schema = sql.into();
        self
    }

    /// Replaces the queries.
    pub(crate) fn queries(mut self, text: impl Into<String>) -> Self {
        self.queries = text.into();
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Puts a file beside the program.
    pub(crate) fn file(mut self, path: &str, text: impl Into<String>) -> Self {
        self.files.push((path.to_owned(), text.into()));
        self
    }

    /// The function's timeout.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) async fn start(self) -> World {
        let world = self.start_unchecked();
        world.function.ready().await.unwrap();
        world
    }

    /// Starts the function without waiting for its INIT to be over, which may fail.
    pub(crate) fn start_unchecked(self) -> World {
        let api = RuntimeApi::start().unwrap().with_timeout(self.timeout);
        let secrets = Secrets::start().unwrap();
        let queries = tempfile::tempdir().unwrap();
        std::fs::write(queries.path().join("queries.sql"), &self.queries).unwrap();
        let mut function = Function::builder(env!("CARGO_BIN_EXE_bootstrap"))
            .queries(queries.path())
            .secrets(&secrets)
            .env("DB_ENGINE", self.engine.name());
        for (path, text) in self.files {
            function = function.file(path, text);
        }
        let mut pooler = None;
        let mut proxy = None;
        let mut database = None;
        let mut file = None;
        let mut in_cluster = None;
        let mut approach = None;
        match self.engine {
            Engine::Postgres => {
                let server = self.server.as_deref().unwrap_or_else(|| postgres());
                let own = server.database(&unique()).unwrap();
                server.psql(&own.name, &as_owner(&own, &self.schema)).unwrap();
                pooler = self.pooler.map(|connections| {
                    Pgbouncer::start_with(server, &own, connections, &self.pooler_settings).unwrap()
                });
                let (address, ca) = match &pooler {
                    Some(pooler) => {
                        function = function.env("DB_POOLER", "transaction");
                        (pooler.address(), pooler.ca_pem_path())
                    }
                    None => (server.address(), server.ca_pem_path()),
                };
                let wire = Proxy::start(address).unwrap();
                secrets.put(SECRET, own.secret(self.named.unwrap_or(server.host()), wire.port()));
                function = if self.iam {
                    function
                        .env("DB_AUTH", "iam")
                        .env("DB_HOST", server.host())
                        .env("DB_PORT", wire.port().to_string())
                        .env("DB_NAME", &own.name)
                        .env("DB_USER", &own.user)
                } else {
                    function.env("DB_SECRET_ID", SECRET)
                };
                if !self.built_in_roots {
                    function = function.env("DB_TLS_CA", ca);
                }
                proxy = Some(wire);
                database = Some(own);
            }
            Engine::Mysql | Engine::MariaDb => {
                let server = self.own_mysql.as_deref().unwrap_or_else(|| mysql(self.engine));
                let own = server.database(&unique()).unwrap();
                server.script(&own.name, &self.schema).unwrap();
                let wire = Proxy::start(server.address()).unwrap();
                secrets.put(SECRET, own.secret(self.named.unwrap_or(server.host()), wire.port()));
                function = function.env("DB_SECRET_ID", SECRET);
                if !self.built_in_roots {
                    function = function.env("DB_TLS_CA", server.ca_pem_path());
                }
                proxy = Some(wire);
                database = Some(own);
            }
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                let cluster = self.cluster.unwrap_or_else(|| Arc::clone(shared_cluster(self.engine)));
                let own = cluster.database(&unique()).unwrap();
                let schema = match self.engine {
                    Engine::AuroraPostgres => as_owner(&own, &self.schema),
                    _ => self.schema,
                };
                cluster.sql(cluster.writer(), &own.name, &schema).unwrap();
                cluster.catch_up().unwrap();
                let mut reader = cluster.reader_host();
                let (host, port) = if self.endpoints {
                    (cluster.host(), cluster.port())
                } else {
                    let wires = cluster.approach().unwrap();
                    // One wire to the writer, so not two names for it: its own is the cluster's, too.
                    let at = (wires.host(cluster.writer()), wires.port());
                    reader = wires.host(1 - cluster.writer().min(1));
                    approach = Some(wires);
                    at
                };
                secrets.put(SECRET, own.secret(&host, port));
                function = if self.iam {
                    function
                        .env("DB_AUTH", "iam")
                        .env("DB_HOST", host)
                        .env("DB_PORT", port.to_string())
                        .env("DB_NAME", &own.name)
                        .env("DB_USER", &own.user)
                } else {
                    function.env("DB_SECRET_ID", SECRET)
                };
                if !self.built_in_roots {
                    function = function.env("DB_TLS_CA", cluster.ca_pem_path());
                }
                function = function.env("DB_READER_HOST", reader);
                if let Some(pattern) = cluster.instance_pattern() {
                    function = function.env("DB_INSTANCE_PATTERN", pattern);
                }
                in_cluster = Some(cluster);
                database = Some(own);
            }
            Engine::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join(SQLITE_FILE);
                sqlite(&path, &self.schema);
                function = function.env("DB_NAME", &path);
                file = Some(folder);
            }
        }
        let builder = function.envs(self.env);
        let function = builder.clone().start(&api).unwrap();
        World {
            engine: self.engine,
            function,
            api,
            secrets,
            builder,
            timeout: self.timeout,
            server: self.server,
            cluster: in_cluster,
            approach,
            own_mysql: self.own_mysql,
            pooler,
            proxy,
            database,
            file,
            queries,
        }
    }
}

/// A running function and what it runs on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) function: Function,
    pub(crate) api: RuntimeApi,
    pub(crate) secrets: Secrets,
    builder: FunctionBuilder,
    timeout: Duration,
    server: Option<Arc<Postgres>>,
    cluster: Option<Arc<Cluster>>,
    approach: Option<Approach>,
    own_mysql: Option<Arc<Mysql>>,
    pooler: Option<Pgbouncer>,
    proxy: Option<Proxy>,
    database: Option<Database>,
    file: Option<TempDir>,
    queries: TempDir,
}

impl World {
    /// Invokes the function and gives status and body of its reply.
    pub(crate) async fn call(&self, event: Value) -> (u64, Value) {
        self.invoke(event).await.reply().unwrap()
    }

    pub(crate) async fn invoke(&self, event: Value) -> Outcome {
        self.function.invoke(event).await.unwrap()
    }

    /// The same with this much time until the deadline, whatever the function's timeout is.
    pub(crate) async fn invoke_within(&self, timeout: Duration, event: Value) -> Outcome {
        self.function.invoke_within(timeout, event).await.unwrap()
    }

    /// Invokes the function with bytes that need not be JSON.
    pub(crate) async fn invoke_raw(&self, event: impl Into<Vec<u8>>) -> Outcome {
        self.function.invoke_raw(event.into()).await.unwrap()
    }

    /// Runs a query and gives the body of its success.
    pub(crate) async fn rows(&self, query: &str, params: Value) -> Value {
        let (status, body) = self.call(json!({"query": query, "params": params})).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Runs a query and gives status and code of its failure.
    pub(crate) async fn failure(&self, query: &str, params: Value) -> (u64, String) {
        let (status, body) = self.call(json!({"query": query, "params": params})).await;
        (status, body["error"]["code"].as_str().unwrap_or_else(|| panic!("no failure: {body}")).to_owned())
    }

    /// Starts another environment of the same function: its own process, the same database.
    pub(crate) async fn another(&self) -> Function {
        self.another_with(&[]).await
    }

    /// The same with other settings.
    pub(crate) async fn another_with(&self, env: &[(&str, &str)]) -> Function {
        let api = RuntimeApi::start().unwrap().with_timeout(self.timeout);
        let function = self.builder.clone().envs(env.iter().copied()).start(&api).unwrap();
        function.ready().await.unwrap();
        function
    }

    /// The wire to the server; of a cluster, to the writer.
    pub(crate) fn wire(&self) -> &Proxy {
        match (&self.approach, &self.cluster) {
            (Some(approach), Some(cluster)) => approach.wire(cluster.writer()),
            (None, Some(cluster)) => cluster.wire(cluster.writer()),
            _ => self.proxy.as_ref().expect("the embedded engine has no wire"),
        }
    }

    /// The wires to all servers that the function may turn to.
    pub(crate) fn wires(&self) -> Vec<&Proxy> {
        match &self.approach {
            Some(approach) => approach.wires().iter().collect(),
            None => vec![self.wire()],
        }
    }

    /// Another wire to the server or its pooler, and of a cluster to each member: for an environment that is told its
    /// port.
    pub(crate) fn another_wire(&self) -> Wire {
        let pooler = self.pooler.as_ref().map(Pgbouncer::address);
        match &self.cluster {
            Some(cluster) => Wire::Approach(cluster.approach().unwrap(), cluster.writer()),
            None => Wire::Proxy(Proxy::start(pooler.unwrap_or_else(|| self.address())).unwrap()),
        }
    }

    /// What the function connects to.
    pub(crate) fn host(&self) -> String {
        match (&self.approach, &self.cluster) {
            (Some(approach), Some(cluster)) => approach.host(cluster.writer()),
            (None, Some(cluster)) => cluster.host(),
            _ => "127.0.0.1".to_owned(),
        }
    }

    /// The function's secret.
    pub(crate) fn secret(&self) -> Value {
        self.database().secret(&self.host(), self.wire().port())
    }

    /// The servers' logs so far, of all together.
    pub(crate) fn server_log(&self) -> String {
        self.server_logs().concat()
    }

    /// The same of each server.
    pub(crate) fn server_logs(&self) -> Vec<String> {
        match self.engine {
            Engine::Postgres => vec![self.server().log().unwrap()],
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                let cluster = self.cluster();
                (0..cluster.len()).map(|member| cluster.log(member).unwrap()).collect()
            }
            _ => vec![self.mysql().log().unwrap()],
        }
    }

    /// The PostgreSQL server.
    pub(crate) fn server(&self) -> &Postgres {
        self.server.as_deref().unwrap_or_else(|| postgres())
    }

    /// The wire, if there is one and nobody else's traffic is on it.
    pub(crate) fn own_wire(&self) -> Option<&Proxy> {
        (self.approach.is_some() || self.proxy.is_some()).then(|| self.wire())
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        self.cluster.as_ref().expect("the engine is none of a cluster")
    }

    /// The MySQL or MariaDB server.
    pub(crate) fn mysql(&self) -> &Mysql {
        self.own_mysql.as_deref().unwrap_or_else(|| mysql(self.engine))
    }

    /// Where the server listens, without the wire between.
    pub(crate) fn address(&self) -> SocketAddr {
        match self.engine {
            Engine::Postgres => self.server().address(),
            Engine::Mysql | Engine::MariaDb => self.mysql().address(),
            _ => panic!("{:?} has no one address", self.engine),
        }
    }

    /// Stops the server in order and starts it again.
    pub(crate) fn restart(&self) {
        match self.engine {
            Engine::Postgres => self.server().restart().unwrap(),
            Engine::Mysql | Engine::MariaDb => {
                self.mysql().stop().unwrap();
                self.mysql().start_again().unwrap();
            }
            Engine::Sqlite => {}
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                self.cluster().reboot(self.cluster().writer()).unwrap();
            }
        }
    }

    /// The function's database.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("the embedded engine's database is a file")
    }

    /// The folder of the query file `queries.sql`.
    pub(crate) fn queries(&self) -> &std::path::Path {
        self.queries.path()
    }

    /// Runs SQL beside the function, on a server as its superuser, and gives the first column of its last row.
    pub(crate) fn sql(&self, sql: &str) -> String {
        match self.engine {
            Engine::Postgres => self.server().psql(&self.database().name, sql).unwrap().trim().to_owned(),
            Engine::Mysql | Engine::MariaDb => {
                let rows = self.mysql().script(&self.database().name, sql).unwrap();
                rows.lines().last().and_then(|row| row.split('|').next()).unwrap_or_default().to_owned()
            }
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                let rows = self.rows_of(sql);
                rows.last().and_then(|row| row.split('|').next()).unwrap_or_default().to_owned()
            }
            Engine::Sqlite => sqlite(&self.file.as_ref().unwrap().path().join(SQLITE_FILE), sql),
        }
    }

    /// How many instructions SQLite runs for a statement, beside the function.
    pub(crate) fn sqlite_instructions(&self, statement: &Statement) -> i64 {
        sqlite_instructions(&self.file.as_ref().unwrap().path().join(SQLITE_FILE), statement)
    }

    /// How many rows a table has.
    pub(crate) fn count(&self, table: &str) -> u64 {
        let text = if self.engine == Engine::Sqlite { "CAST(count(*) AS TEXT)" } else { "count(*)" };
        self.sql(&format!("SELECT {text} FROM {table}")).parse().unwrap()
    }

    /// Runs a query beside the function, as [`Self::sql`] does, and gives its rows, `|` between the columns.
    pub(crate) fn rows_of(&self, sql: &str) -> Vec<String> {
        let member = self.cluster.as_ref().map_or(0, |cluster| cluster.writer());
        self.rows_on(member, sql)
    }

    /// The same on this member, if there is a cluster.
    fn rows_on(&self, member: usize, sql: &str) -> Vec<String> {
        let rows = match self.engine {
            Engine::Postgres => self.server().psql(&self.database().name, sql),
            Engine::Mysql | Engine::MariaDb => self.mysql().script(&self.database().name, sql),
            Engine::AuroraPostgres | Engine::AuroraMysql => {
                self.cluster().sql(member, &self.database().name, sql)
            }
            Engine::Sqlite => panic!("the embedded engine is asked for one value at a time"),
        };
        rows.unwrap().lines().map(str::to_owned).collect()
    }

    /// The servers: the members of the cluster, or the one.
    pub(crate) fn members(&self) -> std::ops::Range<usize> {
        0..self.cluster.as_ref().map_or(1, |cluster| cluster.len())
    }

    /// Runs SQL that concerns one server alone on each that there is.
    pub(crate) fn everywhere(&self, sql: &str) {
        for member in self.members() {
            self.rows_on(member, sql);
        }
    }

    /// Waits until the readers of a cluster have what its writer has.
    pub(crate) fn catch_up(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.catch_up().unwrap();
        }
    }

    /// Ends all of the database's sessions, as a restart of the server would; of a cluster, on each member.
    pub(crate) fn hang_up(&self) {
        if self.engine == Engine::Sqlite {
            return;
        }
        for member in self.members() {
            if self.engine.plain() == Engine::Postgres {
                self.rows_on(
                    member,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()",
                );
                continue;
            }
            let theirs = "SELECT id FROM information_schema.processlist
                          WHERE db = DATABASE() AND id <> CONNECTION_ID() AND user <> 'system user'";
            let ids = self.rows_on(member, theirs);
            for id in &ids {
                // It may have ended a moment ago.
                let kill = format!("KILL {id}");
                let _ = match &self.cluster {
                    Some(cluster) => cluster.sql(member, "mysql", &kill),
                    None => self.mysql().sql(&kill),
                };
            }
            // KILL only marks a session, which notices by itself.
            let end = Instant::now() + PATIENCE;
            while self.rows_on(member, theirs).iter().any(|id| ids.contains(id)) {
                assert!(Instant::now() < end, "killed sessions go on");
                std::thread::yield_now();
            }
        }
    }

    /// Makes the server, which must be the test's own, one that takes no writes, or takes them again: on PostgreSQL
    /// a standby, which means a restart, on MySQL by its setting.
    pub(crate) fn read_only(&self, read_only: bool) {
        match (self.engine, read_only) {
            (Engine::Postgres, true) => self.server().restart_as_standby().unwrap(),
            (Engine::Postgres, false) => {
                self.sql("SELECT pg_promote()");
            }
            (Engine::Mysql | Engine::MariaDb, read_only) => {
                self.sql(&format!("SET GLOBAL read_only = {}", u8::from(read_only)));
            }
            (Engine::AuroraPostgres | Engine::AuroraMysql, _) => panic!("see `Cluster`"),
            (Engine::Sqlite, _) => {}
        }
    }

    /// How many sessions the function's user has on the server.
    pub(crate) fn sessions(&self) -> u64 {
        self.sessions_that("")
    }

    /// How many of them run a statement.
    pub(crate) fn running(&self) -> u64 {
        match self.engine.plain() {
            Engine::Postgres => self.sessions_that("AND state = 'active'"),
            _ => self.sessions_that("AND command IN ('Query', 'Execute')"),
        }
    }

    /// How many of them have a transaction open.
    pub(crate) fn in_transaction(&self) -> u64 {
        self.sessions_that(match self.engine.plain() {
            Engine::Postgres => "AND xact_start IS NOT NULL",
            _ => "AND id IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx)",
        })
    }

    /// That nothing of the function's runs on the server any more, a cancel's time after an answer. MySQL finds out by
    /// itself that a client is gone, but later: of who waits for a table each second, of who sleeps every five. What is
    /// left is ended, so that another attempt finds nothing of it.
    pub(crate) async fn at_rest(&self) -> Result<(), String> {
        let answered = Instant::now();
        loop {
            let took = answered.elapsed();
            let (running, open) = (self.running(), self.in_transaction());
            if running == 0 && open == 0 {
                return if took < CANCEL { Ok(()) } else { Err(format!("it ran on for {took:?}")) };
            }
            if took > Duration::from_secs(5) {
                self.hang_up();
                return Err(format!("{running} run on, {open} transactions are open"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many of them run a statement with these words in it.
    pub(crate) fn running_that(&self, words: &str) -> u64 {
        self.sessions_that(&match self.engine.plain() {
            Engine::Postgres => format!("AND state = 'active' AND query LIKE '%{words}%'"),
            _ => format!("AND info LIKE '%{words}%'"),
        })
    }

    /// How many of those wait, by the server's word, until somebody takes what they have to say.
    pub(crate) fn waiting_for_a_reader(&self, words: &str) -> u64 {
        self.sessions_that(&match self.engine.plain() {
            Engine::Postgres => {
                format!(
                    "AND wait_event_type = 'Client' AND wait_event = 'ClientWrite' AND query LIKE '%{words}%'"
                )
            }
            // MySQL's word, and MariaDB's.
            _ => format!("AND state IN ('Sending to client', 'Writing to net') AND info LIKE '%{words}%'"),
        })
    }

    /// How many statements and sessions MySQL and MariaDB have been told to end, by whoever.
    pub(crate) fn kills(&self) -> u64 {
        let kills = |member| {
            let status = self.rows_on(member, "SHOW GLOBAL STATUS LIKE 'Com_kill'");
            status[0].split('|').nth(1).unwrap().parse::<u64>().unwrap()
        };
        self.members().map(kills).sum()
    }

    /// By what the server knows the function's sessions.
    pub(crate) fn session_ids(&self) -> Vec<String> {
        let user = &self.database().user;
        let ids = match self.engine.plain() {
            Engine::Postgres => format!("SELECT pid FROM pg_stat_activity WHERE usename = '{user}'"),
            _ => format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'"),
        };
        self.members().flat_map(|member| self.rows_on(member, &ids)).collect()
    }

    fn sessions_that(&self, condition: &str) -> u64 {
        let user = &self.database().user;
        let sessions = match self.engine.plain() {
            Engine::Postgres => "pg_stat_activity WHERE usename",
            _ => "information_schema.processlist WHERE user",
        };
        let count = format!("SELECT count(*) FROM {sessions} = '{user}' {condition}");
        self.members().map(|member| self.rows_on(member, &count)[0].parse::<u64>().unwrap()).sum()
    }

    /// How many sessions of anybody but who asks run a statement with these words in it, in this database.
    pub(crate) fn anybody_running(&self, words: &str) -> u64 {
        self.sql(&format!("SELECT count(*) {}", self.who_runs(words))).parse().unwrap()
    }

    /// Ends those sessions.
    pub(crate) fn end_who_runs(&self, words: &str) {
        let who = self.who_runs(words);
        if self.engine.plain() == Engine::Postgres {
            self.sql(&format!("SELECT pg_terminate_backend(pid) {who}"));
            return;
        }
        for id in self.rows_of(&format!("SELECT id {who}")) {
            self.sql(&format!("KILL {id}"));
        }
    }

    fn who_runs(&self, words: &str) -> String {
        match self.engine.plain() {
            Engine::Postgres => format!(
                "FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                 AND query LIKE '%{words}%' AND pid <> pg_backend_pid()"
            ),
            _ => format!(
                "FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '%{words}%'
                 AND id <> CONNECTION_ID()"
            ),
        }
    }

    /// Runs a script beside the function while the test goes on; tells whether it came to its end.
    pub(crate) fn meanwhile(&self, script: &str) -> JoinHandle<bool> {
        let (engine, name, script) = (self.engine, self.database().name.clone(), script.to_owned());
        let (cluster, server) = (self.cluster.clone(), self.server.clone());
        let own_mysql = self.own_mysql.clone();
        std::thread::spawn(move || {
            let ran = match (engine.plain(), cluster) {
                (_, Some(cluster)) => cluster.sql(cluster.writer(), &name, &script),
                (Engine::Postgres, None) => {
                    server.as_deref().unwrap_or_else(|| postgres()).psql(&name, &script)
                }
                (engine, None) => {
                    own_mysql.as_deref().unwrap_or_else(|| mysql(engine)).script(&name, &script)
                }
            };
            ran.is_ok()
        })
    }

    /// Lets the function's user have one session and no second one; what there was has ended.
    pub(crate) async fn one_session(&self) {
        self.sessions_at_most(1).await;
    }

    /// Lets the function's user have so many sessions and no more; what there was has ended.
    pub(crate) async fn sessions_at_most(&self, most: u64) {
        let user = &self.database().user;
        self.sql(&match self.engine.plain() {
            Engine::Postgres => format!("ALTER ROLE {user} CONNECTION LIMIT {most}"),
            _ => format!("ALTER USER '{user}'@'%' WITH MAX_USER_CONNECTIONS {most}"),
        });
        // MySQL counts the sessions that begin from now on.
        self.hang_up();
        until("the end of the sessions", || self.sessions() == 0).await;
    }

    /// Gives the function's user another password, on the server alone.
    pub(crate) fn set_password(&self, password: &str) {
        self.set_password_of(&self.database().user, password);
    }

    /// Gives a user another password, on the server and at the pooler before it.
    pub(crate) fn set_password_of(&self, user: &str, password: &str) {
        self.sql(&match self.engine.plain() {
            Engine::Postgres => format!("ALTER ROLE {user} PASSWORD '{password}'"),
            _ => format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'"),
        });
        self.catch_up();
        if let Some(pooler) = &self.pooler {
            pooler.set_password(user, password).unwrap();
        }
    }

    /// The function's secret with this password.
    pub(crate) fn secret_with(&self, password: &str) -> Value {
        let mut secret = self.secret();
        secret["password"] = password.into();
        secret
    }

    /// The function's log line about an invocation.
    pub(crate) async fn last_log(&self, request_id: &str) -> Value {
        last_log(&self.function, request_id).await
    }
}

/// Waits for a condition; generous, for machines are busy, and what is not cancelled ends by DB_QUERY_TIMEOUT.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long stopping a statement may take: a fifth of a second.
pub(crate) const CANCEL: Duration = Duration::from_millis(200);

/// How long is waited for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A function's log line about an invocation.
pub(crate) async fn last_log(function: &Function, request_id: &str) -> Value {
    let wanted = |line: &str| line.contains(request_id) && line.contains("\"outcome\"");
    let line = function.wait_for_log(wanted, PATIENCE).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

impl Engine {
    /// The engine without the topology over it: the one whose SQL is spoken.
    pub(crate) fn plain(self) -> Self {
        match self {
            Self::AuroraPostgres => Self::Postgres,
            Self::AuroraMysql => Self::Mysql,
            plain => plain,
        }
    }

    /// How many flights a write is that has been prepared; the last of them is COMMIT.
    pub(crate) fn flights_of_a_write(self) -> u64 {
        // Its beginning goes out with it.
        2
    }

    /// How often the server answers while a session is opened whose login it knows, over TLS.
    pub(crate) fn answers_to_a_connect(self) -> u64 {
        match self.plain() {
            Self::Postgres => 5,
            // The first is its greeting.
            _ => 4,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            // As it is spelt on RDS; both are the engine `mysql`.
            Self::Mysql => "mysql",
            Self::MariaDb => "mariadb",
            Self::Sqlite => "sqlite",
            Self::AuroraPostgres => "aurora-postgres",
            Self::AuroraMysql => "aurora-mysql",
        }
    }
}

/// The server that all tests of this process share; each test has a database of its own.
pub(crate) fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().unwrap())
}

/// The server of this kind that all tests of this process share.
pub(crate) fn mysql(engine: Engine) -> &'static Mysql {
    static MYSQL: OnceLock<Mysql> = OnceLock::new();
    static MARIADB: OnceLock<Mysql> = OnceLock::new();
    match engine {
        Engine::MariaDb => MARIADB.get_or_init(|| Mysql::start(MysqlKind::MariaDb).unwrap()),
        _ => MYSQL.get_or_init(|| Mysql::start(MysqlKind::Mysql).unwrap()),
    }
}

/// The cluster of this kind that all tests of this process share: two members, none of which ever fails.
fn shared_cluster(engine: Engine) -> &'static Arc<Cluster> {
    static POSTGRES: OnceLock<Arc<Cluster>> = OnceLock::new();
    static MYSQL: OnceLock<Arc<Cluster>> = OnceLock::new();
    let shared = if engine == Engine::AuroraMysql { &MYSQL } else { &POSTGRES };
    shared.get_or_init(|| Arc::new(start_cluster(engine)))
}

/// Two members, to which wires of one's own can lead.
fn start_cluster(engine: Engine) -> Cluster {
    match engine {
        Engine::AuroraMysql => Cluster::mysql_behind_names(2).unwrap(),
        _ => Cluster::postgres(2).unwrap(),
    }
}

/// A wire of an environment's own.
#[derive(Debug)]
pub(crate) enum Wire {
    Proxy(Proxy),
    /// With the member that is the writer.
    Approach(Approach, usize),
}

impl Wire {
    /// `DB_PORT` of the environment.
    pub(crate) fn to(&self) -> String {
        self.port().to_string()
    }

    /// The wires to all servers that it may turn to.
    pub(crate) fn all(&self) -> Vec<&Proxy> {
        match self {
            Self::Proxy(proxy) => vec![proxy],
            Self::Approach(approach, _) => approach.wires().iter().collect(),
        }
    }
}

/// To the server, of a cluster to the writer.
impl std::ops::Deref for Wire {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        match self {
            Self::Proxy(proxy) => proxy,
            Self::Approach(approach, writer) => approach.wire(*writer),
        }
    }
}

/// A name that no other test of this process has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Schema objects belong to the function's own role, which has no rights on anybody else's.
fn as_owner(database: &Database, sql: &str) -> String {
    format!("SET ROLE \"{}\";\n{sql}", database.user)
}

/// Runs statements on a file and gives the first column of the last row, as text.
fn sqlite(path: &std::path::Path, script: &str) -> String {
    use sqlx::{ConnectOptions as _, Connection as _, Row as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let work = async {
        let mut connection = options.connect().await.unwrap();
        let script = sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned()));
        let last = script.fetch_all(&mut connection).await.unwrap().pop();
        connection.close().await.unwrap();
        last.map(|row| row.try_get::<String, _>(0).unwrap()).unwrap_or_default()
    };
    // A runtime of its own: the caller's may be the one we are in.
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime.block_on(work)).join().unwrap()
    })
}

/// How many instructions SQLite runs for a statement.
fn sqlite_instructions(path: &std::path::Path, statement: &Statement) -> i64 {
    use sqlx::{ConnectOptions as _, Connection as _};
    let count = Arc::new(AtomicI64::new(0));
    let work = async {
        let mut connection =
            sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let counted = Arc::clone(&count);
        connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            true
        });
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.sql.to_string()));
        for argument in &statement.arguments {
            query = match argument.value.clone() {
                lambda_rds::value::Value::Int(number) => query.bind(number),
                lambda_rds::value::Value::Text(text) => query.bind(text),
                other => panic!("no test counts for {other:?}"),
            };
        }
        query.fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count.load(Ordering::Relaxed)
    };
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime.block_on(work)).join().unwrap()
    })
}

/// The secret's name.
pub(crate) const SECRET: &str = "prod/app";

const SQLITE_FILE: &str = "test.db";

/// The table of the sample queries, in words that every engine understands.
pub(crate) const USERS: &str = "
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    email VARCHAR(100) NOT NULL UNIQUE,
    active BOOLEAN NOT NULL
);
INSERT INTO users (id, name, email, active) VALUES
    (1, 'Ada', 'ada@example.com', TRUE),
    (2, 'Grace', 'grace@example.com', TRUE),
    (3, 'Edsger', 'edsger@example.com', FALSE);
";
