//! How many connections a server takes, and how many are taken.

use std::fmt;

use crate::backend::Session;
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Result};
use crate::queries::Dialect;

/// What a server has for connections, or the tightest of the limits that ours come under: the server's own, those of the
/// database and of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    taken: u64,
    most: u64,
}

impl Places {
    /// Asks the server, by this session, which counts as taken. `None` where there is no such limit.
    ///
    /// # Errors
    /// The server's error, or that it did not answer by then.
    pub(super) async fn ask(
        dialect: Dialect,
        session: &mut dyn Session,
        by: Deadline,
    ) -> Result<Option<Self>> {
        let mut told: Vec<i64> = Vec::new();
        for sql in questions(dialect) {
            let rows = by.bound(session.ask(sql)).await.map_err(|_| {
                Error::new(Fault::Timeout, "the server did not tell in time how many connections it has")
            })??;
            // The name of what `SHOW` shows is no number.
            told.extend(rows.iter().flatten().filter_map(|text| text.as_ref()?.parse::<i64>().ok()));
        }
        let (limits, _) = told.as_chunks::<2>();
        Ok(limits
            .iter()
            .filter_map(|&[taken, most]| {
                Some(Self {
                    taken: u32::try_from(taken).ok()?.into(),
                    most: u32::try_from(most).ok()?.into(),
                })
            })
            .filter(|limit| limit.most > 0)
            .max_by(|one, other| (one.taken * other.most).cmp(&(other.taken * one.most))))
    }

    /// Whether more than half are taken: what nobody uses leaves the other half to those who are called.
    pub(super) fn scarce(self) -> bool {
        self.taken * 2 > self.most
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connections", self.taken, self.most)
    }
}

/// What is asked, in this order: each answer is pairs of how many are taken and how many there are, no limit as 0 or less.
/// Every user may read what is asked here.
fn questions(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => &["SELECT sum(s.numbackends), current_setting('max_connections')::int \
             - current_setting('superuser_reserved_connections')::int FROM pg_catalog.pg_stat_database AS s \
             UNION ALL SELECT s.numbackends, d.datconnlimit FROM pg_catalog.pg_stat_database AS s \
             JOIN pg_catalog.pg_database AS d ON d.oid = s.datid WHERE d.datname = current_database() \
             UNION ALL SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.usesysid = r.oid), \
             r.rolconnlimit FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user"],
        // Of processes a user without a further right is shown their own.
        Dialect::Mysql => &[
            "SHOW GLOBAL STATUS LIKE 'Threads_connected'",
            "SELECT @@max_connections",
            "SELECT COUNT(*), @@max_user_connections FROM information_schema.PROCESSLIST \
             WHERE USER = SUBSTRING_INDEX(USER(), '@', 1)",
        ],
        Dialect::Sqlite => &[],
    }
}
