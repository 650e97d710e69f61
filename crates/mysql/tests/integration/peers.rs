//! Servers that greet or speak as others do: nothing is sent ahead to those that take it badly, and whatever one says out
//! of place is the failure of one call, at once.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lambda_rds_core::backend::{Access, Frame, State, Statement};
use lambda_rds_core::config::TlsMode;
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_mysql::Mysql as Backend;
use lambda_rds_testbed::{MysqlKind, Proxy};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;
use serde_json::{Value, json};

use crate::fixture::{Opening, alone, database, int, list, rows, server, statement};
use crate::on_both_servers;

on_both_servers!(nothing_is_sent_ahead_to_a_server_that_greets_as_one_that_hangs_on_it);

const LONG: Duration = Duration::from_secs(20);

/// A packet.
fn packet(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], content].concat()
}

/// Reads a packet's content; `None` if the other side has hung up.
fn heard(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let mut content = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut content).ok()?;
    Some(content)
}

/// A door before a real server, which greets with another version in the server's name.
fn greeting_as(version: &'static str, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let greeting = heard(&mut server).unwrap();
            let end = greeting.iter().position(|byte| *byte == 0).unwrap();
            let greeting = [&greeting[..1], version.as_bytes(), &greeting[end..]].concat();
            client.write_all(&packet(0, &greeting)).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

async fn nothing_is_sent_ahead_to_a_server_that_greets_as_one_that_hangs_on_it(kind: MysqlKind) {
    let server = server(kind);
    for (version, ahead) in [
        ("8.0.39", true),
        ("5.5.5-10.11.6-MariaDB-log", true),
        // Aurora 2, and one that is older.
        ("5.7.12", false),
        ("5.6.10", false),
        ("8.0.30-ProxySQL", false),
        ("5.5.30", false),
    ] {
        let proxy = Proxy::start(greeting_as(version, server.address())).unwrap();
        let opening = Opening { port: proxy.port(), ..Opening::new(server, &database(server)) };
        let mut session = opening.connect().await.unwrap();
        alone(&mut session, "CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
        let steps = |from: i64| -> Vec<Statement> {
            (from..from + 3).map(|id| statement("INSERT INTO t VALUES (?)", &[int(id)])).collect()
        };
        for round in 0..2 {
            proxy.reset();
            list(&mut session, Frame::Begin(Access::Write), &steps(3 * round)).await.unwrap();
            session.commit().await.unwrap();
        }
        assert_eq!(proxy.flights(), if ahead { 2 } else { 5 }, "{version}");
        let count = rows(&mut session, "SELECT COUNT(*) AS n FROM t", &[]).await.unwrap();
        assert_eq!(count, json!([{"n": 6}]), "{version}");
    }
}

/// What a server greets with that takes any password.
fn greeting() -> Vec<u8> {
    let mut content = b"\x0a9.0.0\0\x01\0\0\0".to_vec();
    content.extend_from_slice(b"12345678\0");
    // All that it can say it can, but for compression.
    content.extend_from_slice(&[0xdf, 0xff, 45, 2, 0, 0xff, 0x81, 21]);
    content.extend_from_slice(&[0; 10]);
    content.extend_from_slice(b"abcdefghijkl\0mysql_native_password\0");
    packet(0, &content)
}

/// An OK, or with 0xfe the end of rows.
fn ok(number: u8, header: u8, status: u8) -> Vec<u8> {
    packet(number, &[header, 0, 0, status, 0, 0, 0])
}

/// The packet of a column of this type.
fn column(number: u8, of_type: u8) -> Vec<u8> {
    let mut content = b"\x03def\0\0\0\x01n\0\x0c".to_vec();
    content.extend_from_slice(&[63, 0, 11, 0, 0, 0, of_type, 0, 0, 0, 0, 0]);
    packet(number, &content)
}

/// A row of one BIGINT, as prepared statements give it.
fn row(number: u8, value: i64) -> Vec<u8> {
    packet(number, &[&[0, 0][..], &value.to_le_bytes()].concat())
}

const VAR_STRING: u8 = 0xfd;
const LONGLONG: u8 = 8;
const MORE: u8 = 2 | 8;

/// What lets everybody in, and takes every setting: each as the client has spoken, but the first.
fn welcome() -> [Vec<u8>; 3] {
    let values = [
        "1",
        "+00:00",
        "NO_CHAIN",
        "STRICT_TRANS_TABLES",
        "0",
        "18446744073709551615",
        "utf8mb4",
        "utf8mb4",
        "1",
    ];
    let count = u8::try_from(values.len()).unwrap();
    let mut said = [ok(1, 0, MORE), ok(2, 0, MORE), packet(3, &[count])].concat();
    for at in 0..count {
        said.extend(column(4 + at, VAR_STRING));
    }
    let mut told = Vec::new();
    for value in values {
        told.push(u8::try_from(value.len()).unwrap());
        told.extend_from_slice(value.as_bytes());
    }
    said.extend(packet(4 + count, &told));
    said.extend(ok(5 + count, 0xfe, 2));
    [greeting(), ok(2, 0, 2), said]
}

/// Lets everybody in.
fn let_in(stream: &mut TcpStream) {
    let [greeting, ok, settings] = welcome();
    stream.write_all(&greeting).unwrap();
    heard(stream).unwrap();
    stream.write_all(&ok).unwrap();
    // The settings, and the question whether they took.
    heard(stream).unwrap();
    stream.write_all(&settings).unwrap();
}

/// A server that speaks to one client, and then waits until it goes.
fn peer(speaks: impl FnOnce(&mut TcpStream) + Send + 'static) -> Opening {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        speaks(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    Opening {
        port,
        database: "app".to_owned(),
        user: "app".to_owned(),
        password: "s3cret".to_owned(),
        mode: TlsMode::Disable,
        ca: None,
        server_name: None,
        statement_timeout: LONG,
        log_values: false,
        time: LONG,
        progress: Default::default(),
        pooling: Default::default(),
        pipeline: true,
        backend: Backend::default(),
    }
}

/// What a read comes to, and in which state the session is then, where the server answers the preparing and the running of
/// the statement with these bytes.
async fn outcome(prepared: Vec<u8>, answered: Vec<u8>) -> (Result<Value>, State) {
    let opening = peer(move |stream| {
        let_in(stream);
        if heard(stream).is_some() {
            let _ = stream.write_all(&prepared);
        }
        if heard(stream).is_some() {
            let _ = stream.write_all(&answered);
        }
    });
    let mut session = opening.connect().await.unwrap();
    let outcome = Deadline::after(LONG).bound(rows(&mut session, "SELECT n", &[])).await;
    (outcome.expect("it is heard at once"), session.state())
}

/// The answer to the preparing: a statement with one column.
fn prepared() -> Vec<u8> {
    [packet(1, &[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), column(2, LONGLONG)].concat()
}

fn columns() -> Vec<u8> {
    [packet(1, &[1]), column(2, LONGLONG)].concat()
}

#[tokio::test]
async fn a_server_as_it_should_be_gives_its_rows() {
    let answered = [columns(), row(3, 1), row(4, -2), ok(5, 0xfe, 2)].concat();
    let (outcome, state) = outcome(prepared(), answered).await;
    assert_eq!((outcome.unwrap(), state), (json!([{"n": 1}, {"n": -2}]), State::Idle));
}

#[tokio::test]
async fn what_is_out_of_place_fails_one_call_and_the_session_is_closed() {
    let lost = |name: &str, (outcome, state): (Result<Value>, State)| {
        let error: Error = outcome.unwrap_err();
        assert_eq!((error.fault(), state), (Fault::ConnectionLost, State::Closed), "{name}: {error}");
    };
    let answer = |parts: &[Vec<u8>]| parts.concat();
    for (name, answered) in [
        ("a file of ours is asked for", packet(1, b"\xfb/etc/passwd")),
        ("a file with the name of a column's count", packet(1, b"\xfb\x01")),
        ("an empty packet", packet(1, &[])),
        ("an empty packet among the columns", answer(&[packet(1, &[1]), packet(2, &[])])),
        ("no columns", packet(1, &[0xfc, 0, 0])),
        ("too many columns", packet(1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("a count that is cut short", packet(1, &[0xfd, 1])),
        ("a packet out of order", packet(5, &[1])),
        ("a row out of order", answer(&[columns(), row(9, 1)])),
        ("an OK that is cut short", packet(1, &[0, 0])),
        ("an OK whose numbers lie", packet(1, &[0, 0xfe, 1])),
        (
            "a head of 16 MB",
            packet(1, &[1]).into_iter().zip([0xff; 3]).map(|(_, byte)| byte).chain([1, 1]).collect(),
        ),
        ("an SSH server", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ] {
        lost(name, outcome(prepared(), answered.clone()).await);
        if !name.contains("row") && !name.contains("columns") {
            lost(name, outcome(answered, Vec::new()).await);
        }
    }
    for (name, odd) in [
        ("a row of nothing", packet(3, &[0])),
        ("a row that is cut short", packet(3, &[0, 0, 1, 2, 3])),
        ("a row with too much", packet(3, &[&[0, 0][..], &[1; 9]].concat())),
        ("a row with another's header", packet(3, &[&[9, 0][..], &[1; 8]].concat())),
    ] {
        let (outcome, _) = outcome(prepared(), answer(&[columns(), odd, ok(4, 0xfe, 2)])).await;
        assert!(outcome.is_err(), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    let whole = [columns(), row(3, 1), ok(4, 0xfe, 2)].concat();
    // One more answer, to nothing.
    for more in [ok(1, 0, 2), ok(5, 0, 2), [columns(), row(3, 9), ok(4, 0xfe, 2)].concat()] {
        let answered = [whole.clone(), more].concat();
        let opening = peer(move |stream| {
            let_in(stream);
            for said in [prepared(), answered, whole_again()] {
                if heard(stream).is_none() || stream.write_all(&said).is_err() {
                    return;
                }
            }
        });
        let mut session = opening.connect().await.unwrap();
        assert_eq!(rows(&mut session, "SELECT n", &[]).await.unwrap(), json!([{"n": 1}]));
        // Where nobody knows what belongs to what, the session is not lent again.
        assert_eq!(session.state(), State::Closed);
    }
}

fn whole_again() -> Vec<u8> {
    [columns(), row(3, 2), ok(4, 0xfe, 2)].concat()
}

#[tokio::test]
async fn whoever_is_no_mysql_is_told_so_at_once() {
    for (words, closes) in [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), false),
        (b"220 mail ESMTP\r\n".to_vec(), false),
        (b"E\0\0\0".to_vec(), true),
        (packet(0, &[]), false),
        (packet(0, b"\x0a"), false),
        (packet(0, b"\x09 3.20\0\x01\0\0\0"), false),
        (vec![0xff, 0xff, 0xff, 0, 0x0a], false),
        (packet(1, &greeting()[4..]), false),
        (Vec::new(), true),
    ] {
        for mode in [TlsMode::Disable, TlsMode::Require] {
            let words = words.clone();
            let opening = peer(move |stream| {
                stream.write_all(&words).unwrap();
                if closes {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
            });
            let begun = Instant::now();
            let error = Opening { mode, ..opening }.connect().await.unwrap_err();
            assert!(begun.elapsed() < LONG / 2, "{error}");
            assert!(matches!(error.fault(), Fault::Unreachable | Fault::ConnectionLost), "{error}");
        }
    }
}

#[tokio::test]
async fn a_login_that_asks_for_something_else_is_refused_at_once() {
    for (said, detail) in [
        // The password as it is, by its plugin and by the full login of another.
        (b"\xfemysql_clear_password\0".to_vec(), "only sent to a server that is verified"),
        (b"\xfesha256_password\0abcdefghijklmnopqrst\0".to_vec(), "only sent over TLS"),
        (b"\xfe".to_vec(), "mysql_old_password"),
        (b"\xfedialog\0".to_vec(), "`dialog`"),
        // A file, rows, and what is none of these.
        (b"\xfb/etc/passwd".to_vec(), "none of MySQL's words"),
        (b"\x01\x04".to_vec(), "none of MySQL's words"),
        (b"\xff".to_vec(), "none of MySQL's words"),
        (vec![1; 100_000], "none of MySQL's words"),
    ] {
        let opening = peer(move |stream| {
            stream.write_all(&greeting()).unwrap();
            heard(stream).unwrap();
            stream.write_all(&packet(2, &said)).unwrap();
        });
        let begun = Instant::now();
        let error = opening.connect().await.unwrap_err();
        assert!(begun.elapsed() < LONG / 2, "{error}");
        assert!(error.detail().contains(detail), "{detail}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

/// Some bytes, at a place, taken out and others put in.
type Splice = (Index, usize, Vec<u8>);

fn damaged(words: &[u8], splices: &[Splice]) -> Vec<u8> {
    splices.iter().fold(words.to_vec(), |mut words, (at, out, put)| {
        let from = at.index(words.len() + 1);
        words.splice(from..words.len().min(from + out), put.iter().copied());
        words
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// What a server greets with, says at the login, of a statement or of its rows, with bytes bent, cut out and put in, and then
    /// nothing more: the call is over, with rows or an error.
    #[test]
    fn whatever_a_server_says_ends_one_call(
        part in 0..5_usize,
        splices in prop::collection::vec(
            (any::<Index>(), prop_oneof![0..6_usize, 0..300_usize], prop::collection::vec(any::<u8>(), 0..12)),
            1..4,
        ),
    ) {
        let mut parts = welcome().to_vec();
        parts.push(prepared());
        parts.push([columns(), row(3, 1), row(4, -2), ok(5, 0xfe, 2)].concat());
        parts.truncate(part + 1);
        parts[part] = damaged(&parts[part], &splices);
        let opening = peer(move |stream| {
            for (at, words) in parts.iter().enumerate() {
                if at > 0 && heard(stream).is_none() {
                    return;
                }
                // The client may have hung up.
                let _ = stream.write_all(words);
            }
            let _ = stream.shutdown(Shutdown::Write);
        });
        let call = async {
            let mut session = opening.connect().await?;
            rows(&mut session, "SELECT n", &[]).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(Deadline::after(LONG).bound(call)) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => prop_assert!(!error.to_string().contains("s3cret"), "{}", error),
            Err(_) => prop_assert!(false, "it waits for more"),
        }
    }
}
