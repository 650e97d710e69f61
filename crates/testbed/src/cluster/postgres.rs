//! A PostgreSQL primary and its standbys, by streaming replication.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;

use super::{Network, Plan, Servers, each, id};
use crate::background::lock;
use crate::postgres::{Database, INCLUDE, Membership, Postgres, Stop};

/// What clients can ask the members about the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Functions {
    Aurora,
    MultiAz,
}

#[derive(Debug)]
pub(super) struct Standbys {
    network: Network,
    functions: Functions,
    servers: Vec<Postgres>,
    roles: Mutex<Vec<Role>>,
    listed: Mutex<Vec<String>>,
    /// Counts what the servers were told.
    edition: AtomicU64,
}

/// What a server is told of its place.
#[derive(Debug, Clone, Default)]
struct Role {
    follows: Option<usize>,
    /// It does not reach the one that it follows.
    cut_off: bool,
    /// Its commits wait until these have applied them.
    waits_for: Vec<usize>,
}

impl Standbys {
    pub(super) fn start(plan: &Plan, functions: Functions, access: &str) -> Result<Self> {
        let servers = each(0..plan.members, |member| {
            let (authority, follows) = (plan.authority.clone(), member != 0);
            let addresses = plan.network.names(plan.members);
            Postgres::builder()
                .member(Membership { authority, addresses, follows })
                .access("local replication postgres trust")
                .access(access)
                .config(&SETTINGS)
                .start()
        })?;
        let roles =
            (0..plan.members).map(|member| Role { follows: (member != 0).then_some(0), ..Role::default() });
        let cluster = Self {
            network: plan.network,
            functions,
            servers,
            roles: Mutex::new(roles.collect()),
            listed: Mutex::new((0..plan.members).map(id).collect()),
            edition: AtomicU64::new(1),
        };
        cluster.tell_all()?;
        let script = match functions {
            Functions::Aurora => AURORA,
            Functions::MultiAz => MULTI_AZ,
        };
        for database in ["template1", "postgres"] {
            cluster.servers[0].psql(database, script)?;
        }
        Ok(cluster)
    }

    fn set_role(&self, member: usize, role: Role) -> Result<()> {
        lock(&self.roles)[member] = role;
        self.tell(member)
    }

    fn tell_all(&self) -> Result<()> {
        each(0..self.servers.len(), |member| self.tell(member)).map(drop)
    }

    /// Tells a server its place, at once if it runs, else when it starts.
    fn tell(&self, member: usize) -> Result<()> {
        let role = lock(&self.roles)[member].clone();
        let writer = role.follows.unwrap_or(member);
        let waits_for: Vec<String> =
            role.waits_for.iter().map(|&reader| format!("\"{}\"", id(reader))).collect();
        let synchronous = match waits_for.len() {
            0 => String::new(),
            all => format!("{all} ({})", waits_for.join(", ")),
        };
        let primary = role.follows.filter(|_| !role.cut_off);
        let primary = primary.map(|primary| self.servers[primary].conninfo(&id(member))).unwrap_or_default();
        let settings = [
            ("testbed.instance_id", id(member)),
            ("testbed.members", lock(&self.listed).join(",")),
            ("testbed.writer", id(writer)),
            ("testbed.network", self.network.prefix()),
            ("testbed.port", self.network.port.to_string()),
            ("primary_conninfo", primary),
            ("synchronous_standby_names", synchronous),
        ];
        self.servers[member].configure(&settings, self.edition.fetch_add(1, Ordering::Relaxed))
    }
}

impl Servers for Standbys {
    fn address(&self, member: usize) -> SocketAddr {
        self.servers[member].address()
    }

    fn ca_pem_path(&self) -> PathBuf {
        self.servers[0].ca_pem_path()
    }

    fn tell_ids(&self) -> bool {
        self.functions == Functions::Aurora
    }

    fn runs(&self, member: usize) -> bool {
        self.servers[member].runs()
    }

    fn database(&self, writer: usize, name: &str) -> Result<Database> {
        self.servers[writer].database(name)
    }

    fn sql(&self, member: usize, database: &str, script: &str) -> Result<String> {
        self.servers[member].psql(database, script)
    }

    fn list(&self, _writer: usize, ids: &[String]) -> Result<()> {
        ids.clone_into(&mut lock(&self.listed));
        self.tell_all()
    }

    fn log(&self, member: usize) -> Result<String> {
        self.servers[member].log()
    }

    fn crash(&self, member: usize) -> Result<()> {
        self.servers[member].stop(Stop::Crash)
    }

    fn stop(&self, member: usize) -> Result<()> {
        self.servers[member].stop(Stop::Fast)
    }

    fn fence(&self, writer: usize, readers: &[usize]) -> Result<()> {
        each(readers.iter().copied(), |reader| {
            self.set_role(reader, Role { follows: Some(writer), cut_off: true, ..Role::default() })
        })?;
        // A standby that follows nobody. Only that refuses whoever asks for a transaction that writes.
        self.servers[writer].stop(Stop::Immediate)?;
        self.set_role(writer, Role::default())?;
        self.servers[writer].start_as_standby()
    }

    fn start_as_it_was(&self, member: usize) -> Result<()> {
        self.servers[member].start_again()
    }

    fn join(&self, member: usize, writer: usize, anew: bool) -> Result<()> {
        self.set_role(member, Role { follows: Some(writer), ..Role::default() })?;
        if anew {
            return self.servers[member].start_as_copy_of(&self.servers[writer]);
        }
        self.servers[member].start_as_standby()
    }

    fn promote(&self, member: usize, others: &[usize]) -> Result<Instant> {
        let received = self.servers[member].received()?;
        let ahead = each(others.iter().copied(), |other| Ok(self.servers[other].received()? > received))?;
        self.set_role(member, Role::default())?;
        self.servers[member].promote()?;
        let accepted = Instant::now();
        each(0..others.len(), |at| {
            let other = others[at];
            self.set_role(other, Role { follows: Some(member), ..Role::default() })?;
            if ahead[at] {
                // It has what no client was told of, and so cannot follow.
                self.servers[other].start_as_copy_of(&self.servers[member])?;
            }
            Ok(())
        })?;
        Ok(accepted)
    }

    fn lay_down(&self, writer: usize, _to: usize) -> Result<()> {
        // It waits until its standbys have all that it has.
        self.servers[writer].stop(Stop::Fast)
    }

    fn take_up(&self, member: usize, writer: usize) -> Result<()> {
        self.join(member, writer, false)
    }

    fn settle(&self, writer: usize, readers: &[usize]) -> Result<()> {
        let mut role = lock(&self.roles)[writer].clone();
        if role.waits_for != readers {
            // Whoever is no longer there is not waited for in the meantime.
            role.waits_for.retain(|waited_for| readers.contains(waited_for));
            self.set_role(writer, role.clone())?;
        }
        let names: Vec<String> = readers.iter().map(|&reader| format!("'{}'", id(reader))).collect();
        let followers = format!(
            "SELECT count(DISTINCT application_name) FROM pg_stat_replication \
             WHERE state = 'streaming' AND application_name = ANY (ARRAY[{}]::text[])",
            names.join(",")
        );
        self.servers[writer].wait_until("the standbys to follow", |server| {
            Ok(server.psql("postgres", &followers)? == readers.len().to_string())
        })?;
        if role.waits_for != readers {
            readers.clone_into(&mut role.waits_for);
            self.set_role(writer, role)?;
        }
        Ok(())
    }

    fn catch_up(&self, writer: usize, readers: &[usize]) -> Result<()> {
        let written = self.servers[writer].psql("postgres", "SELECT pg_current_wal_lsn()")?;
        let applied = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        each(readers.iter().copied(), |reader| {
            self.servers[reader]
                .wait_until("a standby to catch up", |server| Ok(server.psql("postgres", &applied)? == "t"))
        })
        .map(drop)
    }
}

/// What all members have in common, and what a standby must not have less of than its primary.
const SETTINGS: [(&str, &str); 9] = [
    INCLUDE,
    ("max_connections", "150"),
    ("synchronous_commit", "remote_apply"),
    // Nothing that a standby lacks is thrown away while a test runs.
    ("wal_keep_size", "512MB"),
    ("wal_retrieve_retry_interval", "100ms"),
    ("wal_receiver_status_interval", "1s"),
    // A reader's queries hold the writer's vacuum back, and are not cancelled by it.
    ("hot_standby_feedback", "on"),
    // Copies need it.
    ("full_page_writes", "on"),
    ("max_wal_senders", "10"),
];

/// Aurora's functions, where Aurora has them, with the columns that AWS documents:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_replica_status.html>.
///
/// The primary knows itself; a standby names the one that it follows, which after a crash is the old one for a while,
/// as on Aurora.
const AURORA: &str = "
CREATE FUNCTION pg_catalog.aurora_db_instance_identifier() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT current_setting('testbed.instance_id') $$;

CREATE FUNCTION pg_catalog.aurora_replica_status() RETURNS TABLE (
    server_id text, session_id text, durable_lsn bigint, highest_lsn_rcvd bigint, current_read_lsn bigint,
    cur_replay_latency_in_usec bigint, active_txns bigint, is_current boolean, last_transport_error integer,
    last_error_timestamp timestamptz, last_update_timestamp timestamptz, feedback_xmin text, feedback_epoch bigint,
    replica_lag_in_msec double precision, log_stream_speed_in_kib_per_second double precision,
    log_buffer_sequence_number bigint, oldest_read_view_trx_id text, oldest_read_view_lsn bigint,
    pending_read_ios integer, read_ios integer, iops integer, cpu double precision
) LANGUAGE sql STABLE AS $$
    SELECT
        member, CASE WHEN member = writer THEN 'MASTER_SESSION_ID' ELSE md5(member)::uuid::text END, lsn, lsn, lsn,
        NULL::bigint, 0::bigint, true, 0,
        NULL::timestamptz, now(), NULL::text, NULL::bigint,
        CASE WHEN member <> writer THEN 0::double precision END, 0::double precision,
        0::bigint, NULL::text, NULL::bigint,
        0, 0, 0, 0::double precision
    FROM
        unnest(string_to_array(current_setting('testbed.members'), ',')) AS member,
        (SELECT
            current_setting(CASE WHEN pg_is_in_recovery() THEN 'testbed.writer' ELSE 'testbed.instance_id' END) AS writer,
            pg_wal_lsn_diff(
                CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0'
            )::bigint AS lsn
        ) AS here
$$;
";

/// The function of the Multi-AZ DB clusters, which gives whole endpoints.
const MULTI_AZ: &str = "
CREATE SCHEMA rds_tools;
GRANT USAGE ON SCHEMA rds_tools TO PUBLIC;
CREATE FUNCTION rds_tools.show_topology(caller text DEFAULT NULL)
    RETURNS TABLE (id text, endpoint text, port integer) LANGUAGE sql STABLE AS $$
    SELECT member, current_setting('testbed.network') || member, current_setting('testbed.port')::integer
    FROM unnest(string_to_array(current_setting('testbed.members'), ',')) AS member
$$;
";
