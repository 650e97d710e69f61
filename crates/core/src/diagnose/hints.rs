//! For a step that failed, the one thing to change.
//!
//! Where the failure was made knows best, and has said so ([`Error::hint`]). What a server answers, by number or
//! SQLSTATE, is worded here, since only here it is known which setting the value came from.

use super::Subject;
use crate::backend::Endpoint;
use crate::config::{Auth, Db, Platform, TlsMode};
use crate::credentials::Resolved;
use crate::error::{Error, Fault};

/// How far the walk had come, and what it had learned.
#[derive(Debug)]
pub(super) struct At<'a> {
    db: &'a Db,
    platform: &'a Platform,
    pub(super) resolved: Option<Resolved>,
    pub(super) endpoint: Option<Endpoint>,
    /// By how many seconds our clock is ahead of AWS's, where that was asked.
    pub(super) clock_ahead: Option<i64>,
}

impl<'a> At<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        Self { db: subject.db, platform: subject.platform, resolved: None, endpoint: None, clock_ahead: None }
    }

    /// A setting by its name in the environment.
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.db.prefix)
    }

    /// Where a value comes from: the setting that is set, else the secret's field.
    fn origin(&self, set: bool, key: &str, field: &str) -> String {
        match &self.db.auth {
            Auth::Secret { id, .. } if !set => format!("the field `{field}` of the secret {id}"),
            _ => self.key(key),
        }
    }

    fn user(&self) -> &str {
        self.resolved.as_ref().map_or("", |resolved| &resolved.login.user)
    }

    fn database(&self) -> &str {
        self.resolved.as_ref().map_or("", |resolved| &resolved.database)
    }

    fn host(&self) -> &str {
        self.endpoint.as_ref().map_or("", |endpoint| &endpoint.host)
    }
}

/// The hint for a step that failed with this error.
pub(super) fn hint(step: &str, error: &Error, at: &At<'_>) -> String {
    if let Some(hint) = error.hint() {
        return hint.to_owned();
    }
    if let Some(hint) = error.sqlstate().and_then(|code| of_code(code, error, at)) {
        return hint;
    }
    match (step, error.fault()) {
        (_, Fault::NotTheWriter) => writer(at),
        (_, Fault::CredentialsRejected) => rejected(error, at),
        ("credentials", _) => "the secret (DB_SECRET_ID) and what the function's role may read".to_owned(),
        ("resolve", _) if at.host().is_empty() => {
            format!("{}: the path of an SQLite file that exists", at.key("NAME"))
        }
        ("resolve", _) => format!(
            "{}: `{}` has no address. If the name is right, the VPC's DNS: it must resolve names (enableDnsSupport), \
             and a private hosted zone must be associated with it",
            at.origin(at.db.host.is_some(), "HOST", "host"),
            at.host()
        ),
        ("tcp", _) => {
            "the database's security group: let the function's security group in on this port".to_owned()
        }
        ("tls", _) => format!(
            "{}: something answers there that does not speak this engine's TLS; is it the database's port?",
            at.origin(at.db.port.is_some(), "PORT", "port")
        ),
        ("auth", Fault::Timeout | Fault::Unreachable | Fault::ConnectionLost) => format!(
            "the server's log: it took the connection of `{}` and did not finish the login",
            at.user()
        ),
        ("query", Fault::Timeout) => {
            "the server's load: it lets us in and does not answer; look for locks and long statements"
                .to_owned()
        }
        _ => "the server's log, at the time of this walk".to_owned(),
    }
}

/// What a server says with a code of its own: SQLSTATEs have five characters, MySQL's numbers fewer.
fn of_code(code: &str, error: &Error, at: &At<'_>) -> Option<String> {
    let detail = error.detail();
    let (user, database) = (at.user(), at.database());
    Some(match code {
        "28000" | "28P01" | "1045" | "1698" if error.fault() == Fault::CredentialsRejected => rejected(error, at),
        "3D000" | "1049" => {
            format!("{}: the server has no database `{database}`", at.origin(at.db.name.is_some(), "NAME", "dbname"))
        }
        "42501" => format!("the database's rights: GRANT CONNECT ON DATABASE \"{database}\" TO \"{user}\""),
        "1044" => format!("the database's rights: GRANT … ON `{database}`.* TO the user `{user}`"),
        "08P01" if detail.contains("startup parameter") => {
            format!("{}: a pooler answers there, so set it to transaction", at.key("POOLER"))
        }
        "53300" if detail.contains("for role") => {
            format!("the user's own limit: ALTER ROLE \"{user}\" CONNECTION LIMIT, or fewer environments")
        }
        "53300" if detail.contains("for database") => {
            format!("the database's own limit: ALTER DATABASE \"{database}\" CONNECTION LIMIT, or fewer environments")
        }
        "1203" | "1226" => format!(
            "the user's own limit, max_user_connections of `{user}`, or fewer environments: the function's reserved \
             concurrency"
        ),
        "53300" | "1040" => "max_connections: all of the server's are taken. Lower the function's reserved \
                             concurrency, put RDS Proxy between, or take a larger instance"
            .to_owned(),
        "1129" => "max_connect_errors: the server has blocked this host after too many broken logins. Run FLUSH HOSTS \
                   (mysqladmin flush-hosts), then find what breaks off its logins: health checks of a load balancer \
                   do"
            .to_owned(),
        "1130" => format!("the host part of the database's user: `{user}` may not come from the function's subnets"),
        "3159" => format!("{}: the server wants TLS, so remove `disable`", at.key("TLS")),
        "1820" | "1862" => format!("the password of `{user}`, which has expired: rotate the secret"),
        "3118" | "4151" => format!("the user's lock: ALTER USER `{user}` ACCOUNT UNLOCK"),
        "57P03" => "nothing: the server is starting or recovering; ask again in a minute".to_owned(),
        _ => return None,
    })
}

/// The server does not let the user in.
fn rejected(error: &Error, at: &At<'_>) -> String {
    let user = at.user();
    if error.detail().contains("pg_hba.conf") {
        if at.db.tls.mode == TlsMode::Disable {
            return format!(
                "{}: the server's pg_hba.conf (on RDS, rds.force_ssl) wants TLS, so remove `disable`",
                at.key("TLS")
            );
        }
        return format!(
            "pg_hba.conf: the server has no line that lets user `{user}` into database `{}` from this network",
            at.database()
        );
    }
    match &at.db.auth {
        Auth::Iam { .. } => match at.clock_ahead {
            Some(ahead) if ahead.abs() > TOLERATED_SKEW => {
                let which = if ahead > 0 { "ahead" } else { "behind" };
                format!(
                    "the clock: this machine's is {} s {which} of AWS's, and an IAM token is refused when its time is \
                     wrong. Set the clock by NTP",
                    ahead.abs()
                )
            }
            _ => format!(
                "rds-db:connect: the role needs it on arn:aws:rds-db:{}:<account>:dbuser:<resource id of the \
                 database>/{user}, and the user must have rds_iam (PostgreSQL) or AWSAuthenticationPlugin (MySQL). \
                 Behind another name than the database's own, set {}",
                at.platform.region.as_deref().unwrap_or("<region>"),
                at.key("IAM_HOST")
            ),
        },
        Auth::Secret { id, .. } => format!(
            "the fields `username` and `password` of the secret {id}: the database knows no user `{user}` with this \
             password. Servers do not say which of the two is wrong"
        ),
        Auth::Password(_) | Auth::Embedded => format!(
            "{} and {}: the database knows no user `{user}` with this password. Servers do not say which of the two is \
             wrong",
            at.key("USER"),
            at.key("PASSWORD")
        ),
    }
}

/// The endpoint takes no writes.
fn writer(at: &At<'_>) -> String {
    format!(
        "{}: `{}` is a read-only server, a replica or a reader, and there are queries that write. Name the writer's \
         endpoint, of a cluster the one without `cluster-ro`",
        at.origin(at.db.host.is_some(), "HOST", "host"),
        at.host()
    )
}

/// Signature Version 4 allows five minutes, <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>.
const TOLERATED_SKEW: i64 = 300;

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::config::{Config, Engine, Sources};
    use crate::credentials::Login;
    use crate::error::Phase;

    /// What is named for an error in this step, where the secret says all but the host.
    fn named(step: &str, error: &Error) -> String {
        let env = [("DB_ENGINE", "postgres"), ("DB_SECRET_ID", "prod/app"), ("DB_HOST", "db.example")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let Config { db, platform, .. } =
            Config::read(&Sources { env, ..Sources::default() }, &Engine::ALL).unwrap();
        let endpoint = Endpoint { host: "db.example".to_owned(), port: 5432 };
        let login = Login { user: "app".to_owned(), password: SecretString::from("hunter2") };
        let resolved =
            Resolved { login, endpoint: endpoint.clone(), database: "shop".to_owned(), version: None };
        let at = At {
            db: &db,
            platform: &platform,
            resolved: Some(resolved),
            endpoint: Some(endpoint),
            clock_ahead: None,
        };
        hint(step, error, &at)
    }

    #[test]
    fn what_a_server_answers_names_one_thing() {
        let check = |code: &str, fault, detail: &str, begins: &str| {
            let named = named("auth", &Error::new(fault, detail).with_sqlstate(code));
            assert!(named.starts_with(begins), "{code}: {named}");
            assert!(!named.contains("hunter2"), "{named}");
        };
        let (rejected, busy, unreachable) =
            (Fault::CredentialsRejected, Fault::TooManyConnections, Fault::Unreachable);
        check("28P01", rejected, "", "the fields `username` and `password` of the secret prod/app");
        check("1045", rejected, "", "the fields `username` and `password` of the secret prod/app");
        check("28000", rejected, "no pg_hba.conf entry for host", "pg_hba.conf: the server has no line");
        check("3D000", unreachable, "", "the field `dbname` of the secret prod/app");
        check("1049", unreachable, "", "the field `dbname` of the secret prod/app");
        check(
            "42501",
            unreachable,
            "",
            "the database's rights: GRANT CONNECT ON DATABASE \"shop\" TO \"app\"",
        );
        check("1044", unreachable, "", "the database's rights: GRANT … ON `shop`.* TO the user `app`");
        check("08P01", unreachable, "unsupported startup parameter: options", "DB_POOLER");
        check("53300", busy, "sorry, too many clients already", "max_connections");
        check("53300", busy, "too many connections for role", "the user's own limit");
        check("53300", busy, "too many connections for database", "the database's own limit");
        check("1040", busy, "", "max_connections");
        check("1203", busy, "", "the user's own limit, max_user_connections");
        check("1226", busy, "", "the user's own limit, max_user_connections");
        check("1129", unreachable, "", "max_connect_errors");
        check("1130", unreachable, "", "the host part of the database's user");
        check("3159", unreachable, "", "DB_TLS");
        check("1862", rejected, "", "the password of `app`, which has expired");
        check("3118", rejected, "", "the user's lock");
        check("57P03", Fault::ServerUnavailable, "", "nothing: the server is starting");
        check("XX000", unreachable, "", "the server's log");
    }

    #[test]
    fn where_nobody_has_said_more_the_step_names_one_thing() {
        let check = |step: &str, fault, begins: &str| {
            let named = named(step, &Error::new(fault, ""));
            assert!(named.starts_with(begins), "{step}: {named}");
        };
        check("credentials", Fault::Unreachable, "the secret (DB_SECRET_ID)");
        check("resolve", Fault::Unreachable, "DB_HOST: `db.example` has no address");
        check("tcp", Fault::Unreachable, "the database's security group");
        check("tls", Fault::ConnectionLost, "the field `port` of the secret prod/app");
        check("auth", Fault::ConnectionLost, "the server's log");
        check("query", Fault::NotTheWriter, "DB_HOST: `db.example` is a read-only server");
        check("query", Fault::Timeout, "the server's load");
        check("query", Fault::QueryFailed, "the server's log");
        // Who made the failure knows best.
        let known = Error::new(Fault::Unreachable, "").with_phase(Phase::Tcp).with_hint("the route");
        assert_eq!(named("tcp", &known), "the route");
    }
}
