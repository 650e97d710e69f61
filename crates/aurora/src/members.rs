//! What a server says of itself and of its cluster, in one round trip.
//!
//! Aurora keeps a table of its members; so does a Multi-AZ DB cluster of RDS. Both may lag behind by seconds, and name
//! members that are gone. So the table only tells whom to ask: whether a server is the writer, it says itself.

use std::net::IpAddr;

use lambda_rds_core::backend::{Endpoint, Session};
use lambda_rds_core::config::{Engine, InstancePattern};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};

/// The kinds of clusters, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Aurora,
    MultiAz,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Aurora, Self::MultiAz];

    /// The question. Four columns of text: whether this server only reads, how many sessions it has; and for each
    /// member its name and whether it was the writer, or its host and port.
    fn sql(self, engine: Engine) -> &'static str {
        match (self, engine) {
            (Self::Aurora, Engine::AuroraMysql) => AURORA_MYSQL,
            (Self::Aurora, _) => AURORA_POSTGRES,
            (Self::MultiAz, Engine::AuroraMysql) => MULTI_AZ_MYSQL,
            (Self::MultiAz, _) => MULTI_AZ_POSTGRES,
        }
    }
}

/// What a server has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// It takes no writes.
    pub(crate) reader: bool,
    /// How many sessions it has, ours included.
    pub(crate) sessions: u64,
    /// The members that it knows of.
    pub(crate) members: Vec<Member>,
    /// How many more there are whose hosts cannot be told.
    pub(crate) nameless: usize,
}

/// A member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    /// It was the writer, when the table was written.
    pub(crate) writer: bool,
}

/// How the hosts of members are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Set by the user, or the cluster's own.
    pub(crate) pattern: Option<InstancePattern>,
    /// It was set by the user, and holds whatever hosts the server names.
    pub(crate) set: bool,
    /// The cluster's port.
    pub(crate) port: u16,
}

impl Naming {
    /// The member that a row names.
    fn member(&self, kind: Kind, name: &str, detail: Option<&str>) -> Option<Member> {
        match kind {
            Kind::Aurora => {
                let endpoint = self.pattern.as_ref()?.endpoint(name, self.port)?;
                Some(Member { endpoint, writer: truth(detail) })
            }
            Kind::MultiAz => {
                let told = Endpoint {
                    host: name.to_owned(),
                    port: detail.and_then(|port| port.parse().ok()).unwrap_or(self.port),
                };
                let own = name.split('.').next().unwrap_or(name);
                // An address has no name of the member's in it.
                let named = self.set && name.parse::<IpAddr>().is_err();
                let set = self.pattern.as_ref().filter(|_| named);
                let endpoint = set.map_or(Some(told), |pattern| pattern.endpoint(own, self.port))?;
                Some(Member { endpoint, writer: false })
            }
        }
    }
}

/// Asks a server. `None` if it knows nothing of a cluster of this kind.
///
/// # Errors
/// Why it did not answer.
pub(crate) async fn ask(
    session: &mut dyn Session,
    kind: Kind,
    engine: Engine,
    naming: &Naming,
    by: Deadline,
) -> Result<Option<Answer>> {
    let failed = |fault: Fault, why: &str| {
        Error::new(fault, format!("the server did not say what it is in its cluster: {why}"))
            .with_phase(Phase::Ready)
    };
    match by.bound(session.ask(kind.sql(engine))).await {
        Ok(Ok(rows)) => Ok(Some(read(&rows, kind, naming))),
        Ok(Err(error)) if is_absent(&error) => Ok(None),
        Ok(Err(error)) => Err(match error.fault() {
            Fault::ConnectionLost | Fault::ServerUnavailable | Fault::TooManyConnections => {
                error.with_phase(Phase::Ready)
            }
            // No statement of a caller's has failed.
            _ => failed(Fault::Unreachable, error.detail()),
        }),
        Err(_) => Err(failed(Fault::Unreachable, "no answer in time")),
    }
}

fn read(rows: &[Vec<Option<String>>], kind: Kind, naming: &Naming) -> Answer {
    let text = |row: &[Option<String>], column: usize| row.get(column).cloned().flatten();
    let mut answer = Answer { reader: false, sessions: 0, members: Vec::new(), nameless: 0 };
    for row in rows {
        answer.reader = truth(text(row, 0).as_deref());
        answer.sessions = text(row, 1).and_then(|count| count.parse().ok()).unwrap_or(0);
        if let Some(name) = text(row, 2) {
            match naming.member(kind, &name, text(row, 3).as_deref()) {
                Some(member) => answer.members.push(member),
                None => answer.nameless += 1,
            }
        }
    }
    answer
}

fn truth(text: Option<&str>) -> bool {
    matches!(text, Some("true" | "t" | "1"))
}

/// Whether the server has no such function or table, or none for us: then it is no cluster of that kind, or not one
/// that lets us know.
fn is_absent(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| ABSENT.contains(&code))
}

/// PostgreSQL: undefined_function, undefined_table, invalid_schema_name, insufficient_privilege. MySQL:
/// ER_DBACCESS_DENIED_ERROR, ER_BAD_DB_ERROR, ER_UNKNOWN_TABLE, ER_TABLEACCESS_DENIED_ERROR, ER_NO_SUCH_TABLE.
const ABSENT: [&str; 9] = ["42883", "42P01", "3F000", "42501", "1044", "1049", "1109", "1142", "1146"];

/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_replica_status.html>
const AURORA_POSTGRES: &str = "\
SELECT own.reader, own.sessions, server_id::text, (session_id = 'MASTER_SESSION_ID')::text
FROM (SELECT pg_is_in_recovery()::text AS reader,
             (SELECT sum(numbackends) FROM pg_stat_database)::text AS sessions) own
LEFT JOIN aurora_replica_status()
    ON session_id = 'MASTER_SESSION_ID' OR extract(epoch FROM now() - last_update_timestamp) <= 300";

const MULTI_AZ_POSTGRES: &str = "\
SELECT own.reader, own.sessions, endpoint::text, port::text
FROM (SELECT pg_is_in_recovery()::text AS reader,
             (SELECT sum(numbackends) FROM pg_stat_database)::text AS sessions) own
LEFT JOIN rds_tools.show_topology('lambda-rds') ON true";

/// Ages are compared with the youngest row's, since nothing says in which time zone they are.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraMySQL.Reference.ISTables.html>
const AURORA_MYSQL: &str = "\
SELECT own.reader, own.sessions, CAST(server_id AS CHAR), CAST(session_id = 'MASTER_SESSION_ID' AS CHAR)
FROM (SELECT CAST(@@innodb_read_only OR @@read_only AS CHAR) AS reader,
             (SELECT CAST(variable_value AS CHAR) FROM performance_schema.global_status
              WHERE variable_name = 'Threads_connected') AS sessions) own
LEFT JOIN information_schema.replica_host_status
    ON session_id = 'MASTER_SESSION_ID' OR last_update_timestamp >=
        (SELECT max(last_update_timestamp) - INTERVAL 300 SECOND FROM information_schema.replica_host_status)";

const MULTI_AZ_MYSQL: &str = "\
SELECT own.reader, own.sessions, CAST(endpoint AS CHAR), CAST(port AS CHAR)
FROM (SELECT CAST(@@innodb_read_only OR @@read_only AS CHAR) AS reader,
             (SELECT CAST(variable_value AS CHAR) FROM performance_schema.global_status
              WHERE variable_name = 'Threads_connected') AS sessions) own
LEFT JOIN mysql.rds_topology ON true";

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(pattern: Option<&str>, set: bool) -> Naming {
        Naming { pattern: pattern.map(InstancePattern::of_domain), set, port: 5432 }
    }

    fn rows(rows: &[[&str; 4]]) -> Vec<Vec<Option<String>>> {
        let cell = |text: &&str| (*text != "NULL").then(|| (*text).to_owned());
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    fn check(
        told: &[[&str; 4]],
        kind: Kind,
        naming: &Naming,
        reader: bool,
        members: &[&str],
        nameless: usize,
    ) {
        let answer = read(&rows(told), kind, naming);
        let found: Vec<String> = answer
            .members
            .iter()
            .map(|member| format!("{}{}", member.endpoint, if member.writer { " writer" } else { "" }))
            .collect();
        assert_eq!(
            (answer.reader, found, answer.nameless),
            (reader, members.iter().map(|text| (*text).to_owned()).collect(), nameless)
        );
    }

    #[test]
    fn members_are_read_and_named() {
        let aurora = naming(Some("c9.eu-west-1.rds.amazonaws.com"), false);
        check(
            &[["true", "7", "app-1", "true"], ["true", "7", "app-2", "false"]],
            Kind::Aurora,
            &aurora,
            true,
            &[
                "app-1.c9.eu-west-1.rds.amazonaws.com:5432 writer",
                "app-2.c9.eu-west-1.rds.amazonaws.com:5432",
            ],
            0,
        );
        // MySQL's truths. A name that no host could have is none of ours.
        check(
            &[["0", "7", "app-1", "1"], ["0", "7", "app 2/", "0"]],
            Kind::Aurora,
            &aurora,
            false,
            &["app-1.c9.eu-west-1.rds.amazonaws.com:5432 writer"],
            1,
        );
        // Nothing known yet, as right after a start; or nothing that tells the hosts.
        check(&[["false", "1", "NULL", "NULL"]], Kind::Aurora, &aurora, false, &[], 0);
        check(&[["false", "1", "app-1", "true"]], Kind::Aurora, &naming(None, false), false, &[], 1);
        // A Multi-AZ DB cluster names hosts; the user's pattern wins over them.
        let told = [["true", "3", "db-1.c9.eu-west-1.rds.amazonaws.com", "5433"]];
        let host = "db-1.c9.eu-west-1.rds.amazonaws.com:5433";
        check(&told, Kind::MultiAz, &naming(None, false), true, &[host], 0);
        check(&told, Kind::MultiAz, &naming(Some("elsewhere"), false), true, &[host], 0);
        check(
            &told,
            Kind::MultiAz,
            &naming(Some("db.example.com"), true),
            true,
            &["db-1.db.example.com:5432"],
            0,
        );
    }
}
