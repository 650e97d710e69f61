use super::*;

const TABLE: &str = "CREATE TABLE t (n INTEGER PRIMARY KEY);\nINSERT INTO t VALUES (0);\n";

fn on_both(check: impl Fn(Cluster, Which)) {
    check(Cluster::postgres(3).unwrap(), Which::Postgres);
    check(Cluster::mysql(3).unwrap(), Which::Mysql);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Postgres,
    Mysql,
}

/// What a member says of itself: whether it is a reader, and whom it takes for the writer.
fn says(cluster: &Cluster, which: Which, member: usize) -> (bool, String) {
    match which {
        Which::Postgres => {
            let own = "SELECT pg_is_in_recovery(), aurora_db_instance_identifier()";
            let row = cluster.sql(member, "postgres", own).unwrap();
            let (reader, own_id) = row.split_once('|').unwrap();
            assert_eq!(own_id, id(member));
            let writer =
                "SELECT server_id FROM aurora_replica_status() WHERE session_id = 'MASTER_SESSION_ID'";
            (reader == "t", cluster.sql(member, "postgres", writer).unwrap())
        }
        Which::Mysql => {
            let own = "SELECT @@read_only AND @@super_read_only, @@server_id";
            let row = cluster.sql(member, "mysql", own).unwrap();
            let (reader, own_id) = row.split_once('|').unwrap();
            assert_eq!(own_id, id(member));
            let listed = "SELECT endpoint, port FROM rds_topology WHERE id = @@server_id";
            let endpoint = format!("{}|{}", cluster.member_host(member), cluster.port());
            assert_eq!(cluster.sql(member, "mysql", listed).unwrap(), endpoint);
            let status = cluster.sql(member, "mysql", "SHOW REPLICA STATUS").unwrap();
            let writer = if status.is_empty() { own_id.to_owned() } else { id(cluster.writer()) };
            (reader == "1", writer)
        }
    }
}

fn check_roles(cluster: &Cluster, which: Which, running: &[usize]) {
    let writer = cluster.writer();
    for &member in running {
        assert_eq!(says(cluster, which, member), (member != writer, id(writer)), "member {}", id(member));
    }
}

fn write(cluster: &Cluster, n: u32) {
    cluster.sql(cluster.writer(), "app", &format!("INSERT INTO t VALUES ({n});\n")).unwrap();
}

/// What the members have, all of which must have the same.
fn rows(cluster: &Cluster, running: &[usize]) -> String {
    cluster.catch_up().unwrap();
    let mut all =
        running.iter().map(|&member| cluster.sql(member, "app", "SELECT n FROM t ORDER BY n").unwrap());
    let first = all.next().unwrap();
    assert!(all.all(|rows| rows == first));
    first.replace('\n', " ")
}

#[test]
fn a_failover_and_a_switchover_lose_nothing_and_everybody_knows_the_writer() {
    on_both(|cluster, which| {
        cluster.database("app").unwrap();
        cluster.sql(0, "app", TABLE).unwrap();
        check_roles(&cluster, which, &[0, 1, 2]);
        assert_eq!(rows(&cluster, &[0, 1, 2]), "0");
        for reader in [1, 2] {
            let refused = cluster.sql(reader, "app", "INSERT INTO t VALUES (99)").unwrap_err();
            let refused = format!("{refused:#}");
            assert!(refused.contains("read-only"), "{refused}");
        }

        cluster.crash(0).unwrap();
        assert!(cluster.sql(0, "app", "SELECT 1").is_err());
        cluster.promote(1).unwrap();
        check_roles(&cluster, which, &[1, 2]);
        write(&cluster, 1);
        assert_eq!(rows(&cluster, &[1, 2]), "0 1");

        cluster.restart(0).unwrap();
        check_roles(&cluster, which, &[0, 1, 2]);
        write(&cluster, 2);
        assert_eq!(rows(&cluster, &[0, 1, 2]), "0 1 2");

        cluster.switchover(2).unwrap();
        check_roles(&cluster, which, &[0, 1, 2]);
        write(&cluster, 3);
        assert_eq!(rows(&cluster, &[0, 1, 2]), "0 1 2 3");

        // A reader comes and goes, and the writer without a failover.
        cluster.crash(0).unwrap();
        write(&cluster, 4);
        cluster.restart(0).unwrap();
        cluster.crash(2).unwrap();
        cluster.restart(2).unwrap();
        check_roles(&cluster, which, &[0, 1, 2]);
        write(&cluster, 5);
        assert_eq!(rows(&cluster, &[0, 1, 2]), "0 1 2 3 4 5");
    });
}

#[test]
fn a_writer_that_is_fenced_off_is_there_and_takes_no_writes() {
    on_both(|cluster, which| {
        cluster.database("app").unwrap();
        cluster.sql(0, "app", TABLE).unwrap();
        assert!(cluster.promote(1).is_err(), "it runs");
        cluster.fence().unwrap();
        let refused = format!("{:#}", cluster.sql(0, "app", "INSERT INTO t VALUES (99)").unwrap_err());
        assert!(refused.contains("read-only"), "{refused}");
        cluster.promote(1).unwrap();
        write(&cluster, 1);
        assert_eq!(rows(&cluster, &[1, 2]), "0 1");
        assert_eq!(cluster.sql(0, "app", "SELECT n FROM t").unwrap(), "0", "it follows nobody");

        cluster.crash(0).unwrap();
        cluster.restart(0).unwrap();
        check_roles(&cluster, which, &[0, 1, 2]);
        assert_eq!(rows(&cluster, &[0, 1, 2]), "0 1");
    });
}

#[test]
fn wires_of_a_clients_own_lead_to_the_same_members() {
    let cluster = Cluster::postgres(2).unwrap();
    let approach = cluster.approach().unwrap();
    for member in [0, 1] {
        assert_eq!(approach.host(member), cluster.member_host(member));
        assert!(answers(SocketAddr::new(approach.host(member).parse().unwrap(), approach.port())));
        assert_eq!((approach.wire(member).connections(), cluster.wire(member).connections()), (1, 0));
    }
    let names = Cluster::mysql_behind_names(1).unwrap();
    assert_eq!(names.sql(0, "mysql", "SELECT endpoint FROM rds_topology").unwrap(), "11.cluster.invalid");
    assert!(names.instance_pattern().unwrap().ends_with(".?"));
}

#[test]
fn a_list_may_name_who_is_gone_and_a_reader_may_be_taken_off_it() {
    on_both(|cluster, which| {
        let listed = |member: usize| match which {
            Which::Postgres => {
                cluster.sql(member, "postgres", "SELECT server_id FROM aurora_replica_status() ORDER BY 1")
            }
            Which::Mysql => cluster.sql(member, "mysql", "SELECT id FROM rds_topology ORDER BY 1"),
        };
        let all = |ids: &str| {
            for member in (0..3).filter(|&member| cluster.servers.runs(member)) {
                assert_eq!(listed(member).unwrap().replace('\n', " "), ids);
            }
        };
        all("11 12 13");
        cluster.remove(2).unwrap();
        all("11 12");
        assert!(cluster.sql(2, "postgres", "SELECT 1").is_err());
        cluster.restart(2).unwrap();
        all("11 12 13");
        cluster.list(&["11", "12", "13", "99"]).unwrap();
        all("11 12 13 99");
    });
}

#[test]
fn multi_az_clusters_of_postgres_tell_whole_endpoints() {
    let cluster = Cluster::postgres_multi_az(2).unwrap();
    let endpoints =
        [0, 1].map(|at| format!("{}|{}|{}", id(at), cluster.member_host(at), cluster.port())).join("\n");
    for member in [0, 1] {
        let shown =
            cluster.sql(member, "postgres", "SELECT * FROM rds_tools.show_topology('test') ORDER BY 1");
        assert_eq!(shown.unwrap(), endpoints);
        let none = cluster.sql(member, "postgres", "SELECT aurora_replica_status()").unwrap_err();
        assert!(format!("{none:#}").contains("does not exist"), "{none:#}");
    }
}

/// Whether a connection is accepted, and lives.
fn answers(address: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    // PostgreSQL's question whether the server does TLS, to which the answer is one byte.
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    stream.read_exact(&mut [0]).is_ok()
}

#[test]
fn endpoints_lead_where_they_were_moved_and_to_none_that_is_down_or_cut_off() {
    let cluster = Cluster::postgres(2).unwrap();
    let address = |host: String| SocketAddr::new(host.parse().unwrap(), cluster.port());
    let endpoint = address(cluster.host());
    let members = [0, 1].map(|member| address(cluster.member_host(member)));
    assert!(answers(endpoint) && answers(address(cluster.reader_host())) && members.into_iter().all(answers));
    assert_eq!([0, 1].map(|member| cluster.wire(member).connections()), [2, 2]);

    cluster.partition(1);
    assert!(!answers(members[1]) && answers(members[0]));
    cluster.heal(1);
    assert!(answers(members[1]));

    cluster.crash(0).unwrap();
    for refused in [endpoint, members[0]] {
        let error = std::net::TcpStream::connect(refused).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    cluster.promote(1).unwrap();
    cluster.move_endpoint(1).unwrap();
    assert!(answers(endpoint));
}
