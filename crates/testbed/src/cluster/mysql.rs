//! A MySQL source and its replicas, by GTIDs and semi-synchronous replication.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Network, Plan, Servers, each, id};
use crate::background;
use crate::mysql::{Mysql, MysqlKind};
use crate::postgres::{Database, Login, Membership};

/// How long anything may take. Generous: machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the members tell of each other's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Where they are.
    Addresses,
    /// Names that nobody can resolve.
    Names,
}

#[derive(Debug)]
pub(super) struct Replicas {
    network: Network,
    hosts: Hosts,
    servers: Vec<Mysql>,
    /// As whom the replicas connect to their source.
    replicator: Login,
}

impl Replicas {
    pub(super) fn start(plan: &Plan, hosts: Hosts) -> Result<Self> {
        let servers = each(0..plan.members, |member| {
            let authority = plan.authority.clone();
            let addresses = plan.network.names(plan.members);
            let server = Mysql::builder(MysqlKind::Mysql)
                .member(Membership { authority, addresses, follows: member != 0 })
                .config(&SETTINGS)
                .config(&[("server-id", &id(member))])
                .start()?;
            // What each did by itself, to let its superuser in, is no part of the cluster's history.
            server.locally(&["RESET BINARY LOGS AND GTIDS"])?;
            Ok(server)
        })?;
        let password = format!("replicator-{:x}", background::random());
        let cluster = Self {
            network: plan.network,
            hosts,
            servers,
            replicator: Login { user: "replicator".to_owned(), password },
        };
        let Login { user, password } = &cluster.replicator;
        let writer = &cluster.servers[0];
        writer.sql(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"))?;
        writer.sql(&format!("GRANT REPLICATION SLAVE ON *.* TO '{user}'@'%'"))?;
        writer.sql(TOPOLOGY)?;
        cluster.list(0, &(0..plan.members).map(id).collect::<Vec<_>>())?;
        each(1..plan.members, |reader| cluster.servers[reader].follow(writer, &cluster.replicator))?;
        Ok(cluster)
    }

    /// Waits until a server has executed these transactions.
    fn wait_for(&self, member: usize, transactions: &str) -> Result<()> {
        let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{transactions}', {})", PATIENCE.as_secs());
        let waited = self.servers[member].sql(&wait)?;
        ensure!(
            waited == "0",
            "member {} did not catch up; its log:\n{}",
            id(member),
            self.servers[member].log()?
        );
        Ok(())
    }

    fn executed(&self, member: usize) -> Result<String> {
        Ok(self.servers[member].sql("SELECT @@gtid_executed")?.replace('\n', ""))
    }

    /// Lets a reader receive nothing more, and tells all the transactions that it has received.
    fn received(&self, member: usize) -> Result<String> {
        self.servers[member].locally(&["STOP REPLICA IO_THREAD"])?;
        let status = self.servers[member].replica_status()?;
        let retrieved = status.get("Retrieved_Gtid_Set").map(|set| set.replace('\n', "")).unwrap_or_default();
        let executed = self.executed(member)?;
        Ok([retrieved, executed].into_iter().filter(|set| !set.is_empty()).collect::<Vec<_>>().join(","))
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !holds()? {
            if Instant::now() > until {
                let states = each(0..self.servers.len(), |member| {
                    let server = &self.servers[member];
                    Ok(server.replica_status().map(|status| format!("{}: {status:?}\n", id(member))))
                })?;
                let states: String = states.into_iter().flatten().collect();
                bail!("waited {PATIENCE:?} for {what}\n{states}");
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Servers for Replicas {
    fn address(&self, member: usize) -> SocketAddr {
        self.servers[member].address()
    }

    fn ca_pem_path(&self) -> PathBuf {
        self.servers[0].ca_pem_path()
    }

    fn tell_ids(&self) -> bool {
        self.hosts == Hosts::Names
    }

    fn runs(&self, member: usize) -> bool {
        self.servers[member].runs()
    }

    fn database(&self, writer: usize, name: &str) -> Result<Database> {
        let server = &self.servers[writer];
        let database = server.database(name)?;
        server.sql(&format!("GRANT SELECT ON mysql.rds_topology TO '{}'@'%'", database.user))?;
        server.sql(&format!("GRANT REPLICATION CLIENT ON *.* TO '{}'@'%'", database.user))?;
        Ok(database)
    }

    fn sql(&self, member: usize, database: &str, script: &str) -> Result<String> {
        self.servers[member].script(database, script)
    }

    fn list(&self, writer: usize, ids: &[String]) -> Result<()> {
        let host = |id: &String| match self.hosts {
            Hosts::Addresses => format!("{}{id}", self.network.prefix()),
            Hosts::Names => format!("{id}.cluster.invalid"),
        };
        let rows = ids.iter().map(|id| format!("('{id}', '{}', {})", host(id), self.network.port));
        let rows: Vec<String> = rows.collect();
        let replace = format!("INSERT INTO rds_topology VALUES {}", rows.join(", "));
        self.servers[writer]
            .script("mysql", &format!("BEGIN;\nDELETE FROM rds_topology;\n{replace};\nCOMMIT;\n"))
            .map(drop)
    }

    fn log(&self, member: usize) -> Result<String> {
        self.servers[member].log()
    }

    fn crash(&self, member: usize) -> Result<()> {
        self.servers[member].crash()
    }

    fn stop(&self, member: usize) -> Result<()> {
        self.servers[member].stop()
    }

    fn fence(&self, writer: usize, _readers: &[usize]) -> Result<()> {
        // Waits for commits that are under way: no replica of theirs would be waited for once it follows another source.
        self.servers[writer].sql("SET PERSIST super_read_only = ON").map(drop)
    }

    fn start_as_it_was(&self, member: usize) -> Result<()> {
        self.servers[member].start_again()
    }

    fn join(&self, member: usize, writer: usize, anew: bool) -> Result<()> {
        if anew {
            self.servers[member].start_empty()?;
        } else {
            self.servers[member].start_again()?;
        }
        self.servers[member].follow(&self.servers[writer], &self.replicator)
    }

    fn promote(&self, member: usize, others: &[usize]) -> Result<Instant> {
        let received = self.received(member)?;
        self.wait_for(member, &received)?;
        self.servers[member].locally(&[
            "STOP REPLICA",
            "RESET REPLICA ALL",
            "SET PERSIST super_read_only = OFF",
            "SET PERSIST read_only = OFF",
        ])?;
        let accepted = Instant::now();
        each(others.iter().copied(), |other| {
            let had = self.received(other)?;
            let subset = format!("SELECT GTID_SUBSET('{had}', @@gtid_executed)");
            if self.servers[member].sql(&subset)? != "1" {
                // It has what no client was told of.
                self.servers[other].start_empty()?;
            }
            self.servers[other].follow(&self.servers[member], &self.replicator)
        })?;
        Ok(accepted)
    }

    fn lay_down(&self, writer: usize, to: usize) -> Result<()> {
        // Waits for commits that are under way, and refuses the ones after.
        self.servers[writer].sql("SET PERSIST super_read_only = ON")?;
        self.wait_for(to, &self.executed(writer)?)
    }

    fn take_up(&self, member: usize, writer: usize) -> Result<()> {
        self.servers[member].follow(&self.servers[writer], &self.replicator)
    }

    fn settle(&self, writer: usize, readers: &[usize]) -> Result<()> {
        let server = &self.servers[writer];
        if readers.is_empty() {
            return server.locally(&["SET PERSIST rpl_semi_sync_source_enabled = OFF"]);
        }
        let count = format!("SET PERSIST rpl_semi_sync_source_wait_for_replica_count = {}", readers.len());
        server.locally(&[&count, "SET PERSIST rpl_semi_sync_source_enabled = ON"])?;
        self.wait_until("the replicas to follow", || {
            let clients = server.sql("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_clients'")?;
            let clients: usize = clients.rsplit('|').next().unwrap_or_default().parse()?;
            Ok(clients >= readers.len())
        })
    }

    fn catch_up(&self, writer: usize, readers: &[usize]) -> Result<()> {
        let executed = self.executed(writer)?;
        each(readers.iter().copied(), |reader| self.wait_for(reader, &executed)).map(drop)
    }
}

const SETTINGS: [(&str, &str); 16] = [
    ("log-bin", "binlog"),
    // Without it no function that writes may be created, since there is a log.
    ("log-bin-trust-function-creators", "ON"),
    ("max-connections", "150"),
    ("gtid-mode", "ON"),
    ("enforce-gtid-consistency", "ON"),
    ("relay-log", "relay"),
    ("relay-log-recovery", "ON"),
    // One who starts anew also takes what it wrote itself before. GTIDs keep it from applying anything twice.
    ("replicate-same-server-id", "ON"),
    ("sync-binlog", "0"),
    // A server that was killed must know what it has told others: it stays with the operating system.
    ("innodb-flush-log-at-trx-commit", "2"),
    ("plugin-load-add", "semisync_source.so;semisync_replica.so"),
    ("rpl-semi-sync-replica-enabled", "ON"),
    ("rpl-semi-sync-source-timeout", "60000"),
    // A replica that is gone is not waited for.
    ("rpl-semi-sync-source-wait-no-replica", "OFF"),
    ("replica-net-timeout", "10"),
    // The replicas apply what concerns different rows at once.
    ("replica-parallel-workers", "2"),
];

/// As AWS's drivers read it; the ids are those of `@@server_id`.
const TOPOLOGY: &str = "CREATE TABLE mysql.rds_topology \
     (id VARCHAR(64) PRIMARY KEY, endpoint VARCHAR(255) NOT NULL, port INT NOT NULL)";
