//! The built function under the emulators that teams have at their desk: `cargo lambda watch` and moto, from PyPI.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lambda_rds_testbed::{Postgres, free_port};
use serde_json::{Value, json};

/// What the page says is what is done here. Where PyPI cannot be reached there is nothing to try it with.
#[test]
fn the_page_about_cargo_lambda_is_what_happens() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/how-to/cargo-lambda.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```text\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    let [install, watch, settings] = blocks.as_slice() else { panic!("{blocks:?}") };
    let Some(tools) = tools(install.lines().next().unwrap()) else {
        println!("PyPI cannot be reached, so there is no cargo lambda to try");
        return;
    };

    let server = Postgres::start().unwrap();
    let database = server.database("emulated").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (moto, emulator) = (free_port().unwrap(), free_port().unwrap());
    let ports = |text: &str| text.replace("5055", &moto.to_string()).replace("9055", &emulator.to_string());

    let line = ports(install.lines().nth(1).unwrap());
    let _moto = start(Command::new(tools.join("moto_server")).args(line.split_whitespace().skip(1)), moto);
    let secret = database.secret("127.0.0.1", server.port()).to_string();
    let made = Command::new(tools.join("python"))
        .args(["-c", MAKE_SECRET, &format!("http://127.0.0.1:{moto}"), &secret])
        .envs([("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")])
        .status();
    assert!(made.unwrap().success());

    // The emulator wants a package in its folder.
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/main.rs"), "fn main() {}").unwrap();
    let manifest = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    let line = ports(watch.trim());
    let mut words = line.split_whitespace().skip(1);
    let _emulator =
        start(Command::new(tools.join("cargo-lambda")).args(&mut words).current_dir(folder.path()), emulator);

    std::fs::create_dir(folder.path().join("queries")).unwrap();
    std::fs::write(folder.path().join("queries/q.sql"), QUERIES).unwrap();
    let log = folder.path().join("log");
    let mut function = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    function.env_clear();
    for setting in ports(settings).lines() {
        let (name, value) = setting.split_once('=').unwrap();
        function.env(name, value);
    }
    function.env("DB_ENGINE", "postgres").env("DB_TLS", "verify-full").env("DB_TLS_CA", server.ca_pem_path());
    function.env("LAMBDA_RDS_QUERIES", folder.path().join("queries"));
    function.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let _function = Running(function.spawn().unwrap());

    let said = || std::fs::read_to_string(&log).unwrap();
    let get = request(emulator, "GET", "/numbers?limit=2", "");
    assert_eq!(get, (200, json!([{"n": 1}, {"n": 2}])), "{}", said());
    let post = request(emulator, "POST", "/more", r#"{"n": 4}"#);
    assert_eq!(post, (200, json!({"n": 5})), "{}", said());
    let missing = request(emulator, "GET", "/nothing", "");
    assert_eq!((missing.0, &missing.1["error"]["code"]), (404, &json!("unknown_query")), "{}", said());
    let event = json!({"query": "numbers", "params": {"limit": 1}, "reply": "raw"}).to_string();
    let direct = request(emulator, "POST", "/2015-03-31/functions/_/invocations", &event);
    assert_eq!(direct, (200, json!([{"n": 1}])), "{}", said());
    assert_eq!(said().matches("so it is none").count(), 1, "said once: {}", said());
}

const QUERIES: &str = "\
-- name: numbers :many
-- http: GET
-- param: limit int
SELECT n FROM generate_series(1, 9) AS n ORDER BY n LIMIT :limit;

-- name: more :one
-- http: POST
-- write
-- param: n int
SELECT :n + 1 AS n;
";

const MAKE_SECRET: &str = "\
import boto3, sys
client = boto3.client('secretsmanager', endpoint_url=sys.argv[1], region_name='eu-west-1')
client.create_secret(Name='db', SecretString=sys.argv[2])
";

/// The folder of the tools' programs, installed by the page's own line; `None` where PyPI is not reached.
fn tools(install: &str) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/emulators");
    let programs = home.join("bin");
    let there = |name: &str| programs.join(name).exists();
    if !(there("cargo-lambda") && there("moto_server")) {
        assert!(Command::new("python3").args(["-m", "venv"]).arg(&home).status().unwrap().success());
        let packages = install.strip_prefix("pip install ").unwrap().split_whitespace();
        let packages = packages.map(|package| package.trim_matches('\''));
        let pip =
            Command::new(programs.join("pip")).args(["install", "--quiet"]).args(packages).output().unwrap();
        if !pip.status.success() {
            let why = String::from_utf8_lossy(&pip.stderr);
            assert!(why.contains("onnection") || why.contains("resolution"), "{why}");
            return None;
        }
    }
    Some(programs)
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, and waits until it listens.
fn start(command: &mut Command, port: u16) -> Running {
    let running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "{command:?} does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    running
}

/// The status and the body of a response.
fn request(port: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}")))
}
