//! What makes a MySQL server a source or the replica of another one: GTIDs, so that every server knows what it lacks.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

use super::{Mysql, Template};
use crate::background::lock;
use crate::postgres::Login;

impl Mysql {
    /// Runs statements as root of the server, none of which becomes part of what replicas get.
    pub(crate) fn locally(&self, statements: &[&str]) -> Result<()> {
        let mut client = self.client()?;
        for statement in ["SET sql_log_bin = OFF"].iter().chain(statements) {
            client.query(statement).with_context(|| format!("failed: {statement}"))?;
        }
        Ok(())
    }

    /// Follows `source` from now on, from whatever it has that this server lacks.
    pub(crate) fn follow(&self, source: &Self, login: &Login) -> Result<()> {
        let Login { user, password } = login;
        let change = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = '{user}', \
             SOURCE_PASSWORD = '{password}', SOURCE_SSL = 1, SOURCE_AUTO_POSITION = 1, \
             SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400",
            source.port
        );
        self.locally(&[
            "STOP REPLICA",
            "SET PERSIST rpl_semi_sync_source_enabled = OFF",
            "SET PERSIST super_read_only = ON",
            &change,
            "START REPLICA",
        ])
    }

    /// What `SHOW REPLICA STATUS` tells, by column; empty for one who follows nobody.
    pub(crate) fn replica_status(&self) -> Result<HashMap<String, String>> {
        let (names, mut rows) = self.client()?.table("SHOW REPLICA STATUS")?;
        Ok(names.into_iter().zip(rows.pop().unwrap_or_default()).collect())
    }

    /// Throws the data away and starts empty: replication will bring everything again.
    pub(crate) fn start_empty(&self) -> Result<()> {
        self.crash()?;
        let data = self.folder.path().join("data");
        fs::remove_dir_all(&data)?;
        Template::get(self.kind)?.copy_to(&data)?;
        let mut server = lock(&self.server);
        *server = Some(self.launch()?);
        Ok(())
    }
}
