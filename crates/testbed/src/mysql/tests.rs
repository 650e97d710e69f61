use super::*;

fn on_both(check: impl Fn(Mysql)) {
    for kind in [MysqlKind::Mysql, MysqlKind::MariaDb] {
        check(Mysql::start(kind).unwrap());
    }
}

#[test]
fn keeps_its_data_over_a_restart_and_a_crash_and_is_gone_on_drop() {
    on_both(|server| {
        let database = server.database("orders").unwrap();
        let script = "CREATE TABLE t (n INT, s TEXT);\nINSERT INTO t VALUES (1, 'a'), (2, NULL);\n";
        assert_eq!(server.script(&database.name, script).unwrap(), "");
        server.stop().unwrap();
        assert!(server.sql("SELECT 1").is_err());
        server.start_again().unwrap();
        assert_eq!(server.sql("SELECT * FROM orders.t").unwrap(), "1|a\n2|");
        server.crash().unwrap();
        server.start_again().unwrap();
        assert_eq!(server.sql("SELECT COUNT(*) FROM orders.t").unwrap(), "2");

        let (folder, port) = (server.folder.path().to_owned(), server.port());
        drop(server);
        assert!(!folder.exists());
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    });
}

#[test]
fn tells_what_the_server_says() {
    on_both(|server| {
        let error = format!("{:#}", server.sql("SELEC 1").unwrap_err());
        assert!(error.contains("failed: SELEC 1") && error.contains("1064"), "{error}");
        assert!(server.database("no-plain-name").is_err());
        assert!(server.log().unwrap().contains("ready for connections"));
    });
}

#[test]
fn a_setting_that_it_does_not_know_is_told_with_its_log() {
    let error = Mysql::builder(MysqlKind::MariaDb).config(&[("no-such-setting", "1")]).start().unwrap_err();
    assert!(format!("{error:#}").contains("no-such-setting"), "{error:#}");
}
