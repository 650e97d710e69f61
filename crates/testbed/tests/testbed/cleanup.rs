//! Nothing stays behind, not even after a test process that was killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn check(killed: bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed-server"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.next().expect("no line about the server");
    let mut words = line.splitn(3, ' ').skip(1);
    let (process, data) = (format!("/proc/{}", words.next().unwrap()), words.next().unwrap().to_owned());
    let folder = Path::new(&data).parent().unwrap();
    if killed {
        assert!(Path::new(&process).exists() && folder.exists());
        child.kill().unwrap();
    }
    // Closes its standard input first, at which it ends by itself if it has not been killed.
    assert_eq!(child.wait().unwrap().success(), !killed);

    let until = Instant::now() + Duration::from_secs(60);
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
