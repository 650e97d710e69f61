//! Set-ups that are broken, each in one way, on real servers: for the function's `{"diagnose": true}` and for
//! `lambda-rds doctor`, whose tests include this file. Each says at which step the walk must end, what must be told,
//! and what must be named as the thing to change.

use std::any::Any;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lambda_rds_testbed::{
    Certificate, Database, Mysql, MysqlKind, MysqlTokens, Pgbouncer, Postgres, Proxy, Secrets, SecretsFault,
    Unanswered,
};
use serde_json::{Value, json};

/// The servers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Mysql,
    MariaDb,
}

/// One way for a set-up to be broken.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) on: &'static [Kind],
    pub(crate) outcome: Outcome,
    /// Texts that the step's detail has, and the function's log of an ordinary call as well; of a warning, none.
    pub(crate) says: &'static [&'static str],
    /// Texts that the hint, or the warning, has.
    pub(crate) hint: &'static [&'static str],
    set_up: fn(&Scene) -> Setup,
}

/// What the walk must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It fails at this step.
    Fails(&'static str),
    /// It succeeds, and warns.
    Warns,
}

/// The settings of the function, and what must live as long as it runs.
pub(crate) struct Setup {
    pub(crate) env: Vec<(String, String)>,
    /// What must not be shown.
    pub(crate) secrets: Vec<String>,
    kept: Vec<Box<dyn Any + Send>>,
}

use Kind::{MariaDb, Mysql as MySql, Postgres as Pg};
use Outcome::{Fails, Warns};

const ALL: &[Kind] = &[Pg, MySql, MariaDb];
const MYSQLS: &[Kind] = &[MySql, MariaDb];

/// The set-ups, those first that need no server of their own.
pub(crate) const BROKEN: &[Broken] = &[
    Broken {
        name: "port closed",
        on: ALL,
        outcome: Fails("tcp"),
        says: &["refuses connections", "is DB_PORT right"],
        hint: &["the port", "DB_PORT"],
        set_up: |scene| {
            // Nobody listens there, and nobody else is given the port as long as it is bound.
            let bound = tokio::net::TcpSocket::new_v4().unwrap();
            bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let port = bound.local_addr().unwrap().port().to_string();
            scene.base().env("DB_PORT", port).keep(bound)
        },
    },
    Broken {
        name: "black-holed",
        on: ALL,
        outcome: Fails("tcp"),
        says: &["did not answer", "security groups"],
        hint: &["security group", "routes"],
        set_up: |scene| {
            let hole = unanswered();
            let port = hole.address().unwrap().port().to_string();
            scene.base().env("DB_PORT", port).env("DB_CONNECT_TIMEOUT", "500ms").keep(hole)
        },
    },
    Broken {
        name: "wrong host name, set",
        on: ALL,
        outcome: Fails("resolve"),
        says: &["the host `db.gone.invalid` has no address"],
        hint: &["DB_HOST", "VPC's DNS"],
        set_up: |scene| scene.base().env("DB_HOST", "db.gone.invalid"),
    },
    Broken {
        name: "wrong host name, in the secret",
        on: &[Pg],
        outcome: Fails("resolve"),
        says: &["the host `db.gone.invalid` has no address"],
        hint: &["the field `host` of the secret prod/app"],
        set_up: |scene| scene.with_secret(|secret| secret["host"] = json!("db.gone.invalid")),
    },
    Broken {
        name: "wrong CA",
        on: ALL,
        outcome: Fails("tls"),
        says: &["certificate verify failed", "unknown issuer"],
        hint: &["DB_TLS_CA", "other-ca.pem"],
        set_up: |scene| scene.base().env("DB_TLS_CA", scene.server.other_ca()),
    },
    Broken {
        name: "built-in roots alone",
        on: ALL,
        outcome: Fails("tls"),
        says: &["certificate verify failed", "unknown issuer"],
        hint: &["DB_TLS_CA: name the PEM file"],
        set_up: |scene| scene.base().without("DB_TLS_CA"),
    },
    Broken {
        name: "wrong password",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["password authentication failed for user", "28P01"],
        hint: &["the fields `username` and `password` of the secret prod/app"],
        set_up: |scene| scene.with_secret(|secret| secret["password"] = json!("hunter2")),
    },
    Broken {
        name: "wrong password",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Access denied for user", "1045"],
        hint: &["the fields `username` and `password` of the secret prod/app"],
        set_up: |scene| scene.with_secret(|secret| secret["password"] = json!("hunter2")),
    },
    Broken {
        name: "unknown user",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["password authentication failed for user \"nobody\""],
        hint: &["knows no user `nobody`"],
        set_up: |scene| scene.with_secret(|secret| secret["username"] = json!("nobody")),
    },
    Broken {
        name: "unknown user",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Access denied for user 'nobody'"],
        hint: &["knows no user `nobody`"],
        set_up: |scene| scene.with_secret(|secret| secret["username"] = json!("nobody")),
    },
    Broken {
        name: "unknown database",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["database \"nowhere\" does not exist", "3D000", "Is DB_NAME"],
        hint: &["the field `dbname` of the secret prod/app", "no database `nowhere`"],
        set_up: |scene| scene.with_secret(|secret| secret["dbname"] = json!("nowhere")),
    },
    Broken {
        name: "unknown database",
        on: MYSQLS,
        outcome: Fails("auth"),
        // The user has no rights on what is not there, and that is said first.
        says: &["to database 'nowhere'", "1044"],
        hint: &["rights", "`nowhere`"],
        set_up: |scene| scene.with_secret(|secret| secret["dbname"] = json!("nowhere")),
    },
    Broken {
        name: "unknown database, and a user with all rights",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Unknown database 'nowhere'", "1049"],
        hint: &["DB_NAME: the server has no database `nowhere`"],
        set_up: |scene| {
            let setup = scene.base();
            scene.sql(&format!("GRANT ALL ON *.* TO '{}'@'%'", setup.user()));
            setup.env("DB_NAME", "nowhere")
        },
    },
    Broken {
        name: "secret missing",
        on: &[Pg, MySql],
        outcome: Fails("credentials"),
        says: &["secret prod/gone: there is no such secret", "ResourceNotFoundException"],
        hint: &["DB_SECRET_ID"],
        set_up: |scene| scene.base().env("DB_SECRET_ID", "prod/gone"),
    },
    Broken {
        name: "secret malformed",
        on: &[Pg, MySql],
        outcome: Fails("credentials"),
        says: &["it is no JSON object"],
        hint: &["the secret's fields", "username, password, host, port, dbname and engine"],
        set_up: |scene| scene.failing(SecretsFault::Malformed),
    },
    Broken {
        name: "secret without a field",
        on: &[Pg],
        outcome: Fails("credentials"),
        says: &["field `password` is missing"],
        hint: &["the secret's fields"],
        set_up: |scene| {
            scene.with_secret(|secret| {
                secret.as_object_mut().unwrap().remove("password");
            })
        },
    },
    Broken {
        name: "secret access denied",
        on: &[Pg, MySql],
        outcome: Fails("credentials"),
        says: &["AccessDeniedException", "is not authorized to perform"],
        hint: &["secretsmanager:GetSecretValue on prod/app"],
        set_up: |scene| scene.failing(SecretsFault::AccessDenied),
    },
    Broken {
        name: "secret's key denied",
        on: &[Pg],
        outcome: Fails("credentials"),
        says: &["DecryptionFailure"],
        hint: &["kms:Decrypt"],
        set_up: |scene| scene.failing(SecretsFault::Decryption),
    },
    Broken {
        name: "secrets endpoint black-holed",
        on: &[Pg, MySql],
        outcome: Fails("credentials"),
        says: &["no answer from Secrets Manager"],
        hint: &["VPC endpoint for Secrets Manager", "port 443"],
        set_up: |scene| {
            let hole = unanswered();
            let url = format!("http://{}", hole.address().unwrap());
            scene.base().env("AWS_ENDPOINT_URL_SECRETS_MANAGER", url).keep(hole)
        },
    },
    Broken {
        name: "secrets endpoint silent",
        on: &[Pg],
        outcome: Fails("credentials"),
        says: &["no answer from Secrets Manager"],
        hint: &["VPC endpoint for Secrets Manager"],
        set_up: |scene| scene.failing(SecretsFault::Hang),
    },
    Broken {
        name: "no statement limit on the server",
        on: ALL,
        outcome: Warns,
        says: &[],
        hint: &["no statement limit on the server", "parameter group"],
        set_up: Scene::base,
    },
    Broken {
        name: "no idle limit on the server",
        on: &[Pg],
        outcome: Warns,
        says: &[],
        hint: &["no idle limit on the server", "SET idle_session_timeout"],
        set_up: Scene::base,
    },
    Broken {
        name: "a long idle limit on the server",
        on: MYSQLS,
        outcome: Warns,
        says: &[],
        hint: &["wait_timeout is 28800 s"],
        set_up: Scene::base,
    },
    Broken {
        name: "no statement limit behind a pooler",
        on: &[Pg],
        outcome: Warns,
        says: &[],
        hint: &["no statement limit on the server", "ALTER ROLE"],
        set_up: |scene| scene.pooled().env("DB_POOLER", "transaction"),
    },
    Broken {
        name: "a pooler that nobody told us of",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["unsupported startup parameter", "set DB_POOLER=transaction"],
        hint: &["DB_POOLER: a pooler answers there"],
        set_up: |scene| scene.pooled().env("DB_POOLER", "none"),
    },
    Broken {
        name: "TLS that verifies nobody",
        on: ALL,
        outcome: Warns,
        says: &[],
        hint: &["DB_TLS is require", "Set DB_TLS=verify-full"],
        set_up: |scene| scene.base().env("DB_TLS", "require"),
    },
    // From here on each has a server of its own.
    Broken {
        name: "expired certificate",
        on: ALL,
        outcome: Fails("tls"),
        says: &["has expired", "certificate verify failed: expired"],
        hint: &["the server's certificate: renew it"],
        set_up: |scene| scene.alone(Certificate::Expired, &[], Scene::base),
    },
    Broken {
        name: "name mismatch",
        on: ALL,
        outcome: Fails("tls"),
        says: &["certificate is not for the name `127.0.0.1`", "certificate verify failed: name mismatch"],
        hint: &["DB_TLS_SERVER_NAME"],
        set_up: |scene| scene.alone(Certificate::WrongName, &[], Scene::base),
    },
    Broken {
        name: "plaintext server",
        on: ALL,
        outcome: Fails("tls"),
        says: &["the server does not offer TLS"],
        hint: &["the server's TLS: turn it on there"],
        set_up: |scene| scene.alone(Certificate::None, &[], Scene::base),
    },
    Broken {
        name: "no pg_hba line",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["no pg_hba.conf entry for host", "28000"],
        hint: &["pg_hba.conf: the server has no line"],
        set_up: |_| {
            let builder = Postgres::builder().access("hostssl all somebody 127.0.0.1/32 scram-sha-256");
            let scene = Scene::of(Server::Postgres(builder.no_usual_access().start().unwrap()));
            scene.base().keep(scene)
        },
    },
    Broken {
        name: "a server that wants TLS, and DB_TLS=disable",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["no pg_hba.conf entry for host", "no encryption"],
        hint: &["DB_TLS", "rds.force_ssl"],
        set_up: |_| {
            let scene = Scene::of(Server::Postgres(Postgres::builder().require_tls().start().unwrap()));
            scene.base().env("DB_TLS", "disable").keep(scene)
        },
    },
    Broken {
        name: "IAM without the right",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["PAM authentication failed for user"],
        hint: &["rds-db:connect", "arn:aws:rds-db:eu-central-1:<account>:dbuser:"],
        set_up: |_| iam(None),
    },
    Broken {
        name: "clock skewed with IAM",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["PAM authentication failed for user"],
        hint: &["the clock", "s behind of AWS's"],
        set_up: |_| iam(Some(Duration::from_secs(1200))),
    },
    Broken {
        name: "IAM without the right",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Access denied for user", "1045"],
        hint: &["rds-db:connect", "AWSAuthenticationPlugin", "arn:aws:rds-db:eu-central-1:<account>:dbuser:"],
        set_up: |scene| iam_on_mysql(scene, None),
    },
    Broken {
        name: "clock skewed with IAM",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Access denied for user", "1045"],
        hint: &["the clock", "s behind of AWS's"],
        set_up: |scene| iam_on_mysql(scene, Some(Duration::from_secs(1200))),
    },
    Broken {
        name: "clock skewed from the server's",
        on: MYSQLS,
        outcome: Warns,
        says: &[],
        hint: &["this machine's clock is", "s behind of the server's"],
        set_up: |scene| {
            let skew = ("init-connect", "SET timestamp = UNIX_TIMESTAMP() + 1200");
            scene.alone(Certificate::Good, &[skew], Scene::base)
        },
    },
    Broken {
        name: "blocked host",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["is blocked because of many connection errors", "1129"],
        hint: &["max_connect_errors", "FLUSH HOSTS"],
        set_up: blocked,
    },
    Broken {
        name: "connections exhausted",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["too many clients already", "53300"],
        hint: &["max_connections", "reserved concurrency"],
        set_up: |scene| {
            let settings = [("max_connections", "3"), ("superuser_reserved_connections", "0")];
            scene.alone(Certificate::Good, &settings, |scene| {
                let setup = scene.base().env("DB_CONNECT_TIMEOUT", "500ms");
                setup.keep(scene.half_logged_in(3))
            })
        },
    },
    Broken {
        name: "connections exhausted",
        on: MYSQLS,
        outcome: Fails("auth"),
        says: &["Too many connections", "1040"],
        hint: &["max_connections", "reserved concurrency"],
        set_up: |scene| {
            let settings = [("max-connections", "10"), ("connect-timeout", "600")];
            scene.alone(Certificate::Good, &settings, |scene| {
                let setup = scene.base().env("DB_CONNECT_TIMEOUT", "500ms");
                // One more than the server says, which it keeps for its superuser.
                setup.keep(scene.half_logged_in(11))
            })
        },
    },
    Broken {
        name: "the user's own limit",
        on: &[Pg],
        outcome: Fails("auth"),
        says: &["too many connections for role", "53300"],
        hint: &["CONNECTION LIMIT"],
        set_up: |scene| {
            let setup = scene.base();
            scene.sql(&format!("ALTER ROLE \"{}\" CONNECTION LIMIT 0", setup.user()));
            setup
        },
    },
    Broken {
        name: "read-only server",
        on: &[Pg],
        outcome: Fails("query"),
        says: &["cannot set transaction read-write mode during recovery", "0A000"],
        hint: &["read-only server", "writer's endpoint", "the field `host` of the secret prod/app"],
        set_up: |scene| {
            scene.alone(Certificate::Good, &[], |scene| {
                let Server::Postgres(server) = &scene.server else { unreachable!("on PostgreSQL") };
                let (secrets, database, secret) = scene.stored(|_| {});
                // What is wrong with the server is told where nothing is wrong with the query.
                let notes = "CREATE TABLE notes (id integer); GRANT ALL ON notes TO PUBLIC";
                server.psql(&database.name, notes).unwrap();
                server.restart_as_standby().unwrap();
                scene.setup(secrets, database, &secret)
            })
        },
    },
    Broken {
        name: "read-only server",
        on: MYSQLS,
        outcome: Fails("query"),
        says: &["read-only", "1290"],
        hint: &["read-only server", "writer's endpoint", "the field `host` of the secret prod/app"],
        set_up: read_only,
    },
    Broken {
        name: "read-only server, and queries that only read",
        on: &[MySql],
        outcome: Warns,
        says: &[],
        hint: &["the server is read-only", "no query is declared to write"],
        set_up: |scene| read_only(scene).env("LAMBDA_RDS_QUERIES", reading_queries()),
    },
];

impl Broken {
    /// The set-ups for this kind of server.
    pub(crate) fn on(kind: Kind) -> impl Iterator<Item = &'static Self> {
        BROKEN.iter().filter(move |broken| broken.on.contains(&kind))
    }

    pub(crate) fn set_up(&self, scene: &Scene) -> Setup {
        (self.set_up)(scene)
    }

    /// What is wrong with a walk through this set-up: nothing, if it came to what it must.
    pub(crate) fn judge(&self, walk: &Value) -> Vec<String> {
        let empty = Vec::new();
        let steps = walk["steps"].as_array().unwrap_or(&empty);
        let failed = steps.iter().position(|step| step["ok"] == false);
        let (good, detail, hint) = match self.outcome {
            Fails(wanted) => {
                let names: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
                let at = failed.and_then(|at| steps.get(at)).unwrap_or(&Value::Null);
                let reached = |step: &Value| step["ok"] != Value::Null && step.get("skipped").is_none();
                let after = failed.map_or(0, |at| at + 1);
                let good = walk["ok"] == false
                    && names == STEPS
                    && at["step"] == wanted
                    && !steps[after..].iter().any(reached);
                (
                    good,
                    at["detail"].as_str().unwrap_or_default(),
                    at["hint"].as_str().unwrap_or_default().to_owned(),
                )
            }
            Warns => (walk["ok"] == true, "", walk["warnings"].to_string()),
        };
        let mut wrong = Vec::new();
        if !good {
            wrong.push(format!("{}: {:?} is wanted of {walk:#}", self.name, self.outcome));
        }
        for want in self.says.iter().filter(|want| !detail.contains(**want)) {
            wrong.push(format!("{}: `{want}` is not in the detail `{detail}`", self.name));
        }
        for want in self.hint.iter().filter(|want| !hint.contains(**want)) {
            wrong.push(format!("{}: `{want}` is not in `{hint}`", self.name));
        }
        wrong
    }
}

impl Setup {
    fn env(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self = self.without(key);
        self.env.push((key.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.env.retain(|(known, _)| known != key);
        self
    }

    fn keep(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    fn user(&self) -> String {
        self.kept.iter().find_map(|kept| kept.downcast_ref::<Database>()).unwrap().user.clone()
    }

    /// What is shown must not hold a secret.
    #[track_caller]
    pub(crate) fn check_silence(&self, shown: &str) {
        for secret in &self.secrets {
            assert!(!shown.contains(secret.as_str()), "a secret is shown: {shown}");
            let quoted = json!(secret).to_string();
            assert!(!shown.contains(quoted.trim_matches('"')), "a secret is shown: {shown}");
        }
    }
}

/// A server, and what a set-up begins with.
pub(crate) struct Scene {
    server: Server,
}

enum Server {
    Postgres(Postgres),
    Mysql(Mysql),
}

impl Scene {
    /// A server in order.
    pub(crate) fn new(kind: Kind) -> Self {
        Self::of(Server::start(kind, Certificate::Good, &[]))
    }

    fn of(server: Server) -> Self {
        Self { server }
    }

    /// A set-up with a server of its own, of the same kind, that shows another certificate or has other settings.
    fn alone(
        &self,
        certificate: Certificate,
        settings: &[(&str, &str)],
        set_up: impl Fn(&Self) -> Setup,
    ) -> Setup {
        let kind = match &self.server {
            Server::Postgres(_) => Pg,
            Server::Mysql(server) if server.kind() == MysqlKind::Mysql => MySql,
            Server::Mysql(_) => MariaDb,
        };
        let scene = Self::of(Server::start(kind, certificate, settings));
        set_up(&scene).keep(scene)
    }

    /// A set-up that works, with a database of its own.
    pub(crate) fn base(&self) -> Setup {
        self.with_secret(|_| {})
    }

    fn with_secret(&self, change: impl Fn(&mut Value)) -> Setup {
        let (secrets, database, secret) = self.stored(change);
        self.setup(secrets, database, &secret)
    }

    fn failing(&self, fault: SecretsFault) -> Setup {
        let (secrets, database, secret) = self.stored(|_| {});
        secrets.fail(fault);
        self.setup(secrets, database, &secret)
    }

    /// A set-up that logs in by IAM and needs to be told where. AWS's clock is so much ahead of ours.
    fn by_token(&self, ahead: Option<Duration>) -> Setup {
        let (secrets, database, secret) = self.stored(|_| {});
        secrets.set_ahead(ahead.unwrap_or_default());
        let (user, name) = (database.user.clone(), database.name.clone());
        let setup = self.setup(secrets, database, &secret).without("DB_SECRET_ID").env("DB_AUTH", "iam");
        setup.env("DB_USER", user).env("DB_NAME", name)
    }

    /// A set-up behind a pooler.
    fn pooled(&self) -> Setup {
        let Server::Postgres(server) = &self.server else { unreachable!("on PostgreSQL") };
        let (secrets, database, secret) = self.stored(|_| {});
        let pooler = Pgbouncer::start(server, &database, 2).unwrap();
        let (port, ca) = (pooler.address().port().to_string(), pooler.ca_pem_path());
        self.setup(secrets, database, &secret).env("DB_PORT", port).env("DB_TLS_CA", ca).keep(pooler)
    }

    fn stored(&self, change: impl Fn(&mut Value)) -> (Secrets, Database, Value) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("broken_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (database, port) = match &self.server {
            Server::Postgres(server) => (server.database(&name).unwrap(), server.port()),
            Server::Mysql(server) => (server.database(&name).unwrap(), server.port()),
        };
        let secrets = Secrets::start().unwrap();
        let mut secret = database.secret("127.0.0.1", port);
        change(&mut secret);
        secrets.put("prod/app", &secret);
        (secrets, database, secret)
    }

    fn setup(&self, secrets: Secrets, database: Database, secret: &Value) -> Setup {
        let engine = if matches!(self.server, Server::Postgres(_)) { "postgres" } else { "mysql" };
        let hidden = [&json!(database.password), &secret["password"]];
        let hidden = hidden.iter().filter_map(|text| text.as_str()).map(str::to_owned).collect();
        Setup { env: Vec::new(), secrets: hidden, kept: Vec::new() }
            .env("DB_ENGINE", engine)
            .env("DB_SECRET_ID", "prod/app")
            .env("DB_TLS_CA", self.server.ca())
            .env("DB_CONNECT_AT", "first-use")
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.endpoint())
            .keep(secrets)
            .keep(database)
    }

    fn sql(&self, sql: &str) {
        match &self.server {
            Server::Postgres(server) => server.psql("postgres", sql).unwrap(),
            Server::Mysql(server) => server.sql(sql).unwrap(),
        };
    }

    /// So many connections that take a place and do not log in. Our own that made the database may be on its way out
    /// and hold one for a moment, so whoever is refused comes again.
    fn half_logged_in(&self, places: usize) -> Vec<TcpStream> {
        let until = Instant::now() + Duration::from_secs(30);
        let mut held = Vec::new();
        while held.len() < places {
            assert!(Instant::now() < until, "{} places are taken, not {places}", held.len());
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.port())).unwrap();
            // What is heard first: of PostgreSQL, a message's kind; of MySQL, a packet's header of four bytes.
            let refusal = if let Server::Postgres(_) = &self.server {
                // <https://www.postgresql.org/docs/current/protocol-message-formats.html> (StartupMessage)
                let fields = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
                let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], fields].concat()).unwrap();
                |heard: &[u8; 5]| heard[0] == b'E'
            } else {
                |heard: &[u8; 5]| heard[4] == 0xff
            };
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap();
            if !refusal(&heard) {
                held.push(stream);
            }
        }
        held
    }
}

impl Server {
    fn start(kind: Kind, certificate: Certificate, settings: &[(&str, &str)]) -> Self {
        let mysql = |kind| Mysql::builder(kind).certificate(certificate).config(settings).start().unwrap();
        match kind {
            Pg => {
                Self::Postgres(Postgres::builder().certificate(certificate).config(settings).start().unwrap())
            }
            MySql => Self::Mysql(mysql(MysqlKind::Mysql)),
            MariaDb => Self::Mysql(mysql(MysqlKind::MariaDb)),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Postgres(server) => server.port(),
            Self::Mysql(server) => server.port(),
        }
    }

    fn ca(&self) -> PathBuf {
        match self {
            Self::Postgres(server) => server.ca_pem_path(),
            Self::Mysql(server) => server.ca_pem_path(),
        }
    }

    fn other_ca(&self) -> PathBuf {
        match self {
            Self::Postgres(server) => server.other_ca_pem_path(),
            Self::Mysql(server) => server.other_ca_pem_path(),
        }
    }
}

/// IAM: the server asks for the password in the clear and has PAM judge it, as on RDS; here PAM knows nobody. AWS's clock
/// is so much ahead of ours.
fn iam(ahead: Option<Duration>) -> Setup {
    let server = Postgres::builder().access("hostssl all all 127.0.0.1/32 pam").start().unwrap();
    let (host, port) = (server.host(), server.port().to_string());
    let scene = Scene::of(Server::Postgres(server));
    scene.by_token(ahead).env("DB_HOST", host).env("DB_PORT", port).keep(scene.server)
}

/// The same before a MySQL or MariaDB server: a door asks for the password in the clear, and knows nobody.
fn iam_on_mysql(scene: &Scene, ahead: Option<Duration>) -> Setup {
    let Server::Mysql(server) = &scene.server else { unreachable!("on MySQL") };
    let door = MysqlTokens::start(server, false).unwrap();
    let (address, ca) = (door.address(), door.ca_pem_path());
    let setup = scene.by_token(ahead).env("DB_HOST", address.ip().to_string());
    setup.env("DB_PORT", address.port().to_string()).env("DB_TLS_CA", ca).keep(door)
}

/// A server that blocks a host after its first broken login.
fn blocked(scene: &Scene) -> Setup {
    let settings = [("skip-name-resolve", "OFF"), ("max-connect-errors", "1")];
    scene.alone(Certificate::Good, &settings, |scene| {
        let setup = scene.base();
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, scene.server.port()).into()).unwrap();
        // No server blocks its own host.
        proxy.come_from(Ipv4Addr::new(127, 0, 0, 2));
        let says = || {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            let mut greeting = [0; 200];
            let read = stream.read(&mut greeting).unwrap();
            String::from_utf8_lossy(&greeting[..read]).into_owned()
        };
        // It counts a login that broke off when it notices.
        let until = Instant::now() + Duration::from_secs(60);
        while !says().contains("is blocked") {
            assert!(Instant::now() < until, "the server blocks nobody");
            std::thread::sleep(Duration::from_millis(20));
        }
        setup.env("DB_PORT", proxy.port().to_string()).keep(proxy)
    })
}

fn read_only(scene: &Scene) -> Setup {
    scene.alone(Certificate::Good, &[], |scene| {
        let setup = scene.base();
        scene.sql("SET GLOBAL read_only = ON");
        setup
    })
}

/// A folder with a query that reads, for as long as the process lives.
fn reading_queries() -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queries.sql"), "-- name: one :one\nSELECT 1 AS one;\n").unwrap();
    folder.keep()
}

/// A port where nobody answers.
fn unanswered() -> Unanswered {
    // On a runtime of its own: the caller may be in one.
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Unanswered::start()).unwrap()
    })
    .join()
    .unwrap()
}

pub(crate) const STEPS: [&str; 7] = ["config", "credentials", "resolve", "tcp", "tls", "auth", "query"];

/// A query that reads and one that writes.
pub(crate) const QUERIES: &str = "
-- name: one :one
SELECT 1 AS one;

-- name: note :exec
-- write
INSERT INTO notes (id) VALUES (1);
";
