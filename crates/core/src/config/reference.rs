//! The reference page of all keys, made from the table.

use std::fmt::Write as _;

use super::keys::{DB, FUNCTION, KEYS, PLATFORM, Preset, Section};

/// The page `docs/reference/configuration.md`. A test keeps the file equal to it.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    section(&mut page, DB, "The database", DB_HEAD);
    section(&mut page, FUNCTION, "The function", FUNCTION_HEAD);
    page.push_str(PLATFORM_HEAD);
    for (name, doc) in PLATFORM {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{name}` | {doc} |");
    }
    page
}

fn section(page: &mut String, section: Section, title: &str, head: &str) {
    let _ = write!(page, "\n## {title}\n\n{head}\n");
    for key in KEYS.iter().filter(|key| key.section() == section) {
        let default = match key.default {
            Preset::Is(value) => format!("`{value}`"),
            Preset::Told(words) => words.to_owned(),
        };
        let _ = write!(
            page,
            "\n### `{}`\n\n{}\n\n- In the file: `[{}] {}`\n- Default: {default}\n- Allowed: {}\n",
            key.env,
            key.doc,
            section.name,
            key.name(),
            key.allowed,
        );
    }
}

const HEAD: &str = "\
# Configuration

<!-- Made from crates/core/src/config/keys.rs. To write it anew: UPDATE_DOCS=1 cargo test -p lambda-rds-core reference -->

Three sources, the later wins: the defaults below, the file `lambda-rds.toml` beside the binary, the environment.
The file says the same keys in lower case and without their prefix, in two tables:

```toml
[db]
secret_id = \"prod/app\"
query_timeout = \"2s\"

[function]
queries = \"sql/\"
```

A value that is not allowed, an unknown `LAMBDA_RDS_*` variable and an unknown key in the file stop the function at
INIT; the error lists every mistake with its key, its source and what is allowed. An unknown `DB_*` variable is only
warned of, since it may be another program's. An empty value is a mistake, except where \"or nothing\" is allowed.
The drivers' own variables (`PGHOST`, `.pgpass` and the like) are not read.

A second database in a program of one's own (`Config::from_env_prefix(\"REPORTING_DB_\")`) has the database's
variables under its own prefix: `REPORTING_DB_HOST`.
";

const DB_HEAD: &str = "Variables `DB_*`, in the file `[db]`.";

const FUNCTION_HEAD: &str = "Variables `LAMBDA_RDS_*`, in the file `[function]`.";

const PLATFORM_HEAD: &str = "
## Variables of AWS

These are read and not ours. A value that cannot be read is ignored, with a warning where it matters.

| variable | what follows from it |
|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_page_is_what_the_keys_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, reference()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == reference(),
            "docs/reference/configuration.md is out of date; this command writes it anew: \
             UPDATE_DOCS=1 cargo test -p lambda-rds-core reference"
        );
    }

    #[test]
    fn every_key_of_the_contract_is_there() {
        let contract = "DB_ENGINE DB_SECRET_ID DB_HOST DB_PORT DB_NAME DB_USER DB_AUTH DB_IAM_HOST DB_PASSWORD \
             DB_ALLOW_PASSWORD DB_SECRET_TTL DB_TLS DB_TLS_CA DB_TLS_SERVER_NAME DB_POOLER DB_PIPELINE \
             DB_CONNECT_TIMEOUT DB_QUERY_TIMEOUT DB_DEADLINE_RESERVE DB_MAX_CONNECTIONS DB_CONNECT_AT DB_READER_HOST DB_READ_FROM \
             DB_INSTANCE_PATTERN DB_IDEMPOTENCY_TABLE DB_IDEMPOTENCY_REPLY LAMBDA_RDS_QUERIES LAMBDA_RDS_DEFAULT_QUERY \
             LAMBDA_RDS_INT64 LAMBDA_RDS_COMPRESS LAMBDA_RDS_LOG \
             LAMBDA_RDS_LOG_VALUES LAMBDA_RDS_DIAGNOSE LAMBDA_RDS_HTTP_BATCH LAMBDA_RDS_HTTP_TIMEOUT \
             LAMBDA_RDS_BASE_PATH LAMBDA_RDS_CORS_ORIGIN LAMBDA_RDS_DIRECT_ERRORS LAMBDA_RDS_OPENAPI \
             LAMBDA_RDS_MCP LAMBDA_RDS_MCP_AUTHORIZATION_SERVER LAMBDA_RDS_TOOL_BYTES LAMBDA_RDS_SET LAMBDA_RDS_ROLE \
             LAMBDA_RDS_STREAM LAMBDA_RDS_STREAM_BYTES";
        let mut contract: Vec<_> = contract.split_whitespace().collect();
        let mut keys: Vec<_> = KEYS.iter().map(|key| key.env).collect();
        contract.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, contract);
    }
}
