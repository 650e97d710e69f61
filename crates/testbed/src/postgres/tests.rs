use super::*;

/// Connects over TCP with psql as a client would, and returns what a query for the connection's nature says.
fn connect(postgres: &Postgres, login: &Login, database: &str, tls: &str) -> Result<String> {
    connect_at(postgres, postgres.port(), login, database, tls)
}

fn connect_at(postgres: &Postgres, port: u16, login: &Login, database: &str, tls: &str) -> Result<String> {
    let mut psql = postgres.installation.command("psql");
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    let target = format!(
        "hostaddr=127.0.0.1 port={port} user={} password={} dbname={database} connect_timeout=5 {tls}",
        login.user,
        quoted(&login.password)
    );
    psql.args(["-X", "-q", "-A", "-t", "-d", &target]);
    let query = "SELECT current_user, current_database(), coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";
    Ok(process::run(&mut psql, query, SCRIPT_LIMIT)?.trim_end().to_owned())
}

fn verify_full(postgres: &Postgres, host: &str) -> String {
    format!("host={host} sslmode=verify-full sslrootcert='{}'", postgres.ca_pem_path().display())
}

fn owner(database: &Database) -> Login {
    Login { user: database.user.clone(), password: database.password.clone() }
}

#[test]
fn speaks_tls_and_scram() {
    let postgres = Postgres::start().unwrap();
    let database = postgres.database("orders").unwrap();
    let owner = owner(&database);

    let over_tls = connect(&postgres, &owner, "orders", &verify_full(&postgres, "localhost")).unwrap();
    assert_eq!(over_tls, "orders_owner|orders|t");
    let plain = connect(&postgres, &owner, "orders", "sslmode=disable").unwrap();
    assert_eq!(plain, "orders_owner|orders|f");
    let superuser =
        connect(&postgres, postgres.superuser(), "orders", &verify_full(&postgres, "localhost")).unwrap();
    assert_eq!(superuser, "postgres|orders|t");
    assert_eq!(postgres.psql("orders", "SHOW password_encryption").unwrap(), "scram-sha-256");

    let check = |login: &Login, tls: &str, says: &str| {
        let error = format!("{:#}", connect(&postgres, login, "orders", tls).unwrap_err());
        assert!(error.contains(says), "{error}");
    };
    let wrong = Login { password: "wrong".to_owned(), ..owner.clone() };
    check(&wrong, "sslmode=disable", "password authentication failed");
    check(&owner, &verify_full(&postgres, "nowhere.example"), "does not match host name");
    let other = format!("sslmode=verify-ca sslrootcert='{}'", postgres.other_ca_pem_path().display());
    check(&owner, &other, "certificate verify failed");
}

#[test]
fn a_proxy_counts_the_round_trips_of_a_real_client() {
    let postgres = Postgres::start().unwrap();
    let proxy = crate::Proxy::start(postgres.address()).unwrap();
    // Startup, SASL's two answers, the query, and the goodbye, which follows an answer as well.
    connect_at(&postgres, proxy.port(), postgres.superuser(), "postgres", "sslmode=disable").unwrap();
    assert_eq!((proxy.flights(), proxy.connections()), (5, 1));
}

#[test]
fn shows_bad_certificates() {
    let check = |certificate, says: &str| {
        let postgres = Postgres::builder().certificate(certificate).start().unwrap();
        let result =
            connect(&postgres, postgres.superuser(), "postgres", &verify_full(&postgres, "localhost"));
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains(says), "{certificate:?}: {error}");
    };
    check(Certificate::WrongAuthority, "certificate verify failed");
    check(Certificate::WrongName, "does not match host name");
    check(Certificate::Expired, "certificate verify failed");
    check(Certificate::None, "server does not support SSL");
}

#[test]
fn takes_settings_and_can_require_tls() {
    let settings = [("max_connections", "7"), ("superuser_reserved_connections", "1")];
    let postgres = Postgres::builder().config(&settings).require_tls().start().unwrap();
    assert_eq!(postgres.psql("postgres", "SHOW max_connections").unwrap(), "7");
    let refused = connect(&postgres, postgres.superuser(), "postgres", "sslmode=disable").unwrap_err();
    assert!(format!("{refused:#}").contains("no encryption"), "{refused:#}");

    let error = Postgres::builder().config(&[("max_connections", "some")]).start().unwrap_err();
    assert!(format!("{error:#}").contains("invalid value for parameter \"max_connections\""), "{error:#}");
}

#[test]
fn two_run_at_once_and_one_is_gone_on_drop() {
    let (one, two) = (Postgres::start().unwrap(), Postgres::start().unwrap());
    assert_ne!(one.port(), two.port());
    assert_ne!(
        one.psql("postgres", "SHOW data_directory").unwrap(),
        two.psql("postgres", "SHOW data_directory").unwrap()
    );

    let folder = one.folder.path().to_owned();
    let pid = lock(&one.server).as_ref().unwrap().pid();
    drop(one);
    assert!(!folder.exists());
    assert!(rustix::process::test_kill_process(pid).is_err());
    assert_eq!(two.psql("postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn is_gone_after_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = thread::spawn(move || {
        let postgres = Postgres::start().unwrap();
        sender
            .send((postgres.folder.path().to_owned(), lock(&postgres.server).as_ref().unwrap().pid()))
            .unwrap();
        panic!("as a test does that fails");
    });
    assert!(test.join().is_err());
    let (folder, pid) = receiver.recv().unwrap();
    assert!(!folder.exists());
    assert!(rustix::process::test_kill_process(pid).is_err());
}

#[test]
fn a_database_is_fresh_each_time() {
    let postgres = Postgres::start().unwrap();
    let first = postgres.database("users").unwrap();
    postgres.psql("users", "CREATE TABLE users (id int); INSERT INTO users VALUES (1), (2);").unwrap();
    assert_eq!(postgres.psql("users", "SELECT id FROM users ORDER BY id").unwrap(), "1\n2");
    let second = postgres.database("users").unwrap();
    assert_ne!(first.password, second.password);
    let error = postgres.psql("users", "SELECT id FROM users").unwrap_err();
    assert!(format!("{error:#}").contains("relation \"users\" does not exist"), "{error:#}");
    assert!(postgres.database("users; DROP").is_err());

    // Tests of one binary ask at the same time.
    let postgres = &postgres;
    thread::scope(|scope| {
        let create = |name| scope.spawn(move || postgres.database(name).map(drop));
        let created = ["a", "b", "c", "d"].map(create);
        created.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

#[test]
fn stops_in_every_way_and_starts_again() {
    let postgres = Postgres::start().unwrap();
    let port = postgres.port();
    for how in [Stop::Smart, Stop::Fast, Stop::Immediate, Stop::Crash] {
        postgres.stop(how).unwrap();
        assert!(postgres.psql("postgres", "SELECT 1").is_err(), "{how:?}");
        postgres.start_again().unwrap();
        assert_eq!(postgres.psql("postgres", "SELECT 1").unwrap(), "1", "{how:?}");
    }
    postgres.restart().unwrap();
    assert_eq!(postgres.port(), port);
    assert!(postgres.log().unwrap().contains("database system is ready to accept connections"));
}

#[test]
fn a_paused_server_is_silent_and_goes_on() {
    let postgres = Postgres::start().unwrap();
    postgres.pause().unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| postgres.psql("postgres", "SELECT 1"));
        thread::sleep(Duration::from_millis(300));
        assert!(!asking.is_finished());
        postgres.resume().unwrap();
        assert_eq!(asking.join().unwrap().unwrap(), "1");
    });
    // And can be dropped while paused.
    postgres.pause().unwrap();
}

#[test]
fn the_newest_version_with_a_server_is_used() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(newest(root.path()), None);
    for (version, programs) in [("9", &["initdb", "postgres", "psql"][..]), ("15", &["psql"]), ("notes", &[])]
    {
        let bin = root.path().join("usr/lib/postgresql").join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        programs.iter().for_each(|program| fs::write(bin.join(program), "").unwrap());
    }
    assert_eq!(newest(root.path()), Some(root.path().join("usr/lib/postgresql/9/bin")));
}
