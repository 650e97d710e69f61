//! A PostgreSQL server that the tests share, and its databases as a user's settings.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use lambda_rds_testbed::Postgres;

/// Settings that name a new database in which this script has been run as its owner.
pub(crate) fn database(script: &str) -> Vec<(&'static str, String)> {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let server = SERVER.get_or_init(|| Postgres::start().unwrap());
    let database = server.database(&format!("cli_{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
    server.psql(&database.name, &format!("SET ROLE {};\n{script}", database.user)).unwrap();
    vec![
        ("DB_ENGINE", "postgres".to_owned()),
        ("DB_AUTH", "password".to_owned()),
        ("DB_HOST", server.host().to_owned()),
        ("DB_PORT", server.port().to_string()),
        ("DB_NAME", database.name),
        ("DB_USER", database.user),
        ("DB_PASSWORD", database.password),
        ("DB_TLS_CA", server.ca_pem_path().display().to_string()),
    ]
}

/// The settings as a command takes them.
pub(crate) fn env<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
