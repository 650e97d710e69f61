//! Nothing stays behind, not even after a test process that was killed.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lambda_rds_testbed::Postgres;

/// The other process, to be killed: has a server in a static, says where it is, and waits for the end.
#[test]
#[ignore = "is run by the test below, in a process of its own"]
fn process_with_a_server() {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    let postgres = SHARED.get_or_init(|| Postgres::start().unwrap());
    let data = postgres.psql("postgres", "SHOW data_directory").unwrap();
    let pid = std::fs::read_to_string(format!("{data}/postmaster.pid")).unwrap();
    println!("\nserver {} {data}", pid.lines().next().unwrap());
    if std::env::var_os("WAIT_FOR_THE_END").is_some() {
        // Until the parent closes the pipe, in case that it forgets to kill us.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}

fn check(killed: bool) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["cleanup::process_with_a_server", "--exact", "--ignored", "--nocapture"]);
    if killed {
        command.env("WAIT_FOR_THE_END", "1");
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Read to the end, so that the other process can go on writing.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("server ")).expect("no line about the server");
    let mut words = line.splitn(3, ' ').skip(1);
    let (process, data) = (format!("/proc/{}", words.next().unwrap()), words.next().unwrap().to_owned());
    let folder = Path::new(&data).parent().unwrap();
    if killed {
        assert!(Path::new(&process).exists() && folder.exists());
        child.kill().unwrap();
    }
    lines.for_each(drop);
    child.wait().unwrap();

    let until = Instant::now() + Duration::from_secs(20);
    let is_gone = || {
        // A zombie counts as gone: reaping it is up to the machine's first process.
        let running =
            std::fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        !running && !folder.exists()
    };
    while !is_gone() {
        assert!(Instant::now() < until, "{process} or {} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_process_leaves_nothing() {
    check(true);
}

#[test]
fn a_server_in_a_static_ends_with_the_process() {
    check(false);
}
