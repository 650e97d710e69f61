//! Servers that do not speak as PostgreSQL does: whatever one says is the failure of one call, at once, and its session is
//! not used again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_rds_core::answers::{Answers, Expected};
use lambda_rds_core::backend::{
    Backend as _, Endpoint, Frame, Phases, Pooling, Session, State, Statement, Target,
};
use lambda_rds_core::config::{Int64, Tls, TlsMode};
use lambda_rds_core::connect::tls::TlsClient;
use lambda_rds_core::credentials::{Login, Relogin};
use lambda_rds_core::deadline::Deadline;
use lambda_rds_core::error::{Error, Fault, Phase, Result};
use lambda_rds_core::queries::Verb;
use lambda_rds_core::rows::{Limits, RowWriter};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

/// One message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

/// Waits for the startup message.
fn startup(stream: &mut TcpStream) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut rest = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    stream.read_exact(&mut rest).unwrap();
}

/// Waits for the next message of the client's; `None` if it has hung up.
fn heard(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    stream.read_exact(&mut body).ok()?;
    Some((header[0], body))
}

/// Waits until the client has sent so many Sync.
fn synced(stream: &mut TcpStream, mut syncs: usize) {
    while syncs > 0 {
        match heard(stream) {
            Some((b'S', _)) => syncs -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// What lets everybody in.
fn welcome() -> Vec<u8> {
    let mut said = message(b'R', &[0; 4]);
    let settings =
        [("default_transaction_read_only", "on"), ("TimeZone", "UTC"), ("client_encoding", "UTF8")];
    for (name, value) in settings {
        said.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    said.extend(message(b'K', &[1; 8]));
    said.extend(message(b'Z', b"I"));
    said
}

/// Lets everybody in.
fn let_in(stream: &mut TcpStream) {
    startup(stream);
    stream.write_all(&welcome()).unwrap();
}

/// The columns of a result: so many of type int4.
fn columns(count: u16) -> Vec<u8> {
    let mut body = count.to_be_bytes().to_vec();
    for _ in 0..count {
        body.extend_from_slice(b"n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    }
    message(b'T', &body)
}

/// A row of one int4.
fn row(value: i32) -> Vec<u8> {
    message(b'D', &[&[0, 1, 0, 0, 0, 4][..], &value.to_be_bytes()].concat())
}

/// A server that speaks to one client, and then waits until it goes.
fn peer(speaks: impl FnOnce(&mut TcpStream) + Send + 'static) -> Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        speaks(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let login = Login { user: "app".to_owned(), password: "s3cret".into() };
    let tls = Tls { mode: TlsMode::Disable, ca: None, server_name: None };
    Target {
        endpoint: Endpoint { host: Ipv4Addr::LOCALHOST.to_string(), port },
        database: "app".to_owned(),
        relogin: Relogin::fixed(login.clone()),
        login,
        tls: Arc::new(TlsClient::new(&tls, "localhost").unwrap()),
        application_name: "test".to_owned(),
        statement_timeout: LONG,
        pooling: Pooling::None,
        pipeline: true,
        log_values: false,
        by: Deadline::after(LONG),
        progress: Phases::default(),
    }
}

async fn connect(to: &Target) -> Result<Box<dyn Session>> {
    lambda_rds_postgres::Postgres::default().connect(to).await
}

/// Why a server that speaks so is not connected to: at once, whatever it says and however long it stays.
async fn refused(to: Target) -> Error {
    let begun = Instant::now();
    let error = connect(&to).await.unwrap_err();
    assert!(begun.elapsed() < LONG / 2, "{error}");
    assert_eq!(error.fault(), Fault::Unreachable, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    error
}

/// Runs a read on it.
async fn read(session: &mut dyn Session) -> Result<String> {
    let statement = Statement { sql: "SELECT n".into(), arguments: Vec::new() };
    let limits = Limits { bytes: 1 << 20, escaped: false, max_rows: None };
    let mut rows = RowWriter::new(Verb::Many, limits, Int64::Number);
    let expected = [Expected { verb: Verb::Many, max_rows: None, limit: Duration::MAX, silent: false }];
    let mut answers = Answers::new(&mut rows, &expected, false);
    session.run(Frame::Read, &[&statement], &mut answers).await?;
    answers.outcome().map_err(|(_, error)| error)?;
    Ok(String::from_utf8(rows.finish()?).unwrap())
}

/// What a read comes to, and in which state the session is then, where the server answers with these bytes: what the
/// statement is, and what it gives.
async fn outcome(described: Vec<u8>, answered: Vec<u8>) -> (Result<String>, State) {
    let to = peer(move |stream| {
        let_in(stream);
        synced(stream, 1);
        stream.write_all(&described).unwrap();
        // The client may have hung up on the first.
        let _ = stream.write_all(&answered);
    });
    let mut session = connect(&to).await.unwrap();
    let outcome = Deadline::after(LONG).bound(read(&mut *session)).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("it is heard at once"));
    (outcome, session.state())
}

fn described() -> Vec<u8> {
    [message(b'1', &[]), message(b't', &[0, 0]), columns(1)].concat()
}

/// The answer to a read up to the rows.
fn bound() -> Vec<u8> {
    [message(b'1', &[]), message(b'2', &[]), message(b'C', b"BEGIN\0"), message(b'2', &[])].concat()
}

/// The answer to a read behind the rows.
fn ended() -> Vec<u8> {
    let committed = [message(b'1', &[]), message(b'2', &[]), message(b'C', b"COMMIT\0")];
    [message(b'C', b"SELECT 2\0"), committed.concat(), message(b'Z', b"I")].concat()
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_server_as_it_should_be_gives_its_rows_whatever_it_says_between_them() {
    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
    let notification = message(b'A', b"\0\0\0\x01channel\0payload\0");
    let setting = message(b'S', b"application_name\0other\0");
    let between = [notice, notification, setting].concat();
    let answered = [&bound()[..], &between, &row(1), &between, &row(-2), &between, &ended()].concat();
    let (outcome, state) = outcome(described(), answered).await;
    assert_eq!((outcome.unwrap().as_str(), state), (r#"[{"n":1},{"n":-2}]"#, State::Idle));
}

#[tokio::test]
async fn what_is_out_of_place_fails_one_call_and_the_session_is_closed() {
    let length = |length: u32| [&b"D"[..], &length.to_be_bytes(), &[0; 64]].concat();
    let field = |length: i32| message(b'D', &[&[0, 1][..], &length.to_be_bytes(), &[0; 4]].concat());
    for (name, odd) in [
        ("no kind of message", message(b'x', b"")),
        ("a second login", message(b'R', &[0, 0, 0, 0])),
        ("a demand for the password", message(b'R', &[0, 0, 0, 3])),
        ("a key", message(b'K', &[0; 8])),
        ("ready too early", message(b'Z', b"I")),
        ("parameters described", message(b't', &[0, 0])),
        ("another protocol's version", message(b'v', &[0; 8])),
        ("a result of a function call", message(b'V', &[0; 4])),
        ("lines of a file", message(b'd', b"1\n")),
        ("a portal that is suspended", message(b's', b"")),
        ("a length of nothing", length(0)),
        ("a length without itself", length(3)),
        ("a length of 4 GB", length(u32::MAX)),
        ("a length of 2 GB", length(0x8000_0000)),
        ("an end of 100 MB", [&b"C"[..], &100_000_000_u32.to_be_bytes(), &[b'x'; 64]].concat()),
        ("an SSH server", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ] {
        // In front of a row, behind one, and in place of the statement's end.
        let whole = [bound(), row(1), row(2), ended()];
        for at in 1..4 {
            let mut parts = whole.clone().map(Some).to_vec();
            parts.insert(at, Some(odd.clone()));
            let (outcome, state) =
                outcome(described(), parts.into_iter().flatten().flatten().collect()).await;
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.fault(), state),
                (Fault::ConnectionLost, State::Closed),
                "{name} {at}: {error}"
            );
        }
        // In place of the description as well, where parameters are described.
        if odd[0] != b't' {
            let (outcome, state) = outcome(odd, Vec::new()).await;
            assert_eq!(state, State::Closed, "{name}: {outcome:?}");
            assert_eq!(outcome.unwrap_err().fault(), Fault::ConnectionLost, "{name}");
        }
    }
    for (name, odd) in [
        ("a field longer than its row", field(5)),
        ("a field of 2 GB", field(i32::MAX)),
        ("a field of less than nothing", field(-2)),
        ("a field shorter than its type", field(3)),
        ("a row of two", message(b'D', &[0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1])),
        ("a row of none", message(b'D', &[0, 0])),
        ("a row without a count", message(b'D', &[])),
    ] {
        let (outcome, _) = outcome(described(), [bound(), row(1), odd, ended()].concat()).await;
        assert!(outcome.is_err(), "{name}: {outcome:?}");
    }
    // A row before the statement has begun.
    let (outcome, state) = outcome(described(), [row(1), bound(), ended()].concat()).await;
    assert_eq!((outcome.unwrap_err().fault(), state), (Fault::ConnectionLost, State::Closed));
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    let whole = [bound(), row(1), ended()].concat();
    let leave = message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0");
    for (more, state) in [
        // One more row, one more answer, and a farewell: the call has had its answer all the same.
        (row(1), State::Closed),
        (whole.clone(), State::Closed),
        (leave, State::Closed),
        // What may come at any time.
        (message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0"), State::Idle),
        (message(b'S', b"application_name\0other\0"), State::Idle),
        // A setting that somebody has changed for all.
        (message(b'S', b"TimeZone\0PST\0"), State::Closed),
    ] {
        let (outcome, found) = outcome(described(), [&whole[..], &more].concat()).await;
        assert_eq!((outcome.unwrap().as_str(), found), (r#"[{"n":1}]"#, state), "{more:?}");
    }
}

#[tokio::test]
async fn descriptions_that_lie_fail_one_call() {
    for (name, odd) in [
        ("parameters that are not there", vec![message(b't', &[0, 5])]),
        ("columns that are not there", vec![message(b't', &[0, 0]), message(b'T', &[0, 5])]),
        ("a column without an end", vec![message(b't', &[0, 0]), message(b'T', b"\0\x01name")]),
        ("65,535 parameters", vec![message(b't', &[0xff, 0xff])]),
    ] {
        let described = [&[message(b'1', &[])], &odd[..], &[message(b'Z', b"I")]].concat().concat();
        let (outcome, state) = outcome(described, Vec::new()).await;
        assert_eq!(state, State::Closed, "{name}: {outcome:?}");
        assert_eq!(outcome.unwrap_err().fault(), Fault::ConnectionLost, "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_copy_is_the_querys_mistake() {
    for kind in *b"GHW" {
        let answered = [bound(), message(kind, &[0, 0, 0]), message(b'd', b"1\n")].concat();
        let (outcome, state) = outcome(described(), answered).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.fault(), state), (Fault::QueryFailed, State::Closed), "{error}");
        assert!(error.detail().contains("STDIN"), "{error}");
    }
}

#[tokio::test]
async fn whoever_speaks_first_is_no_server_of_ours() {
    for words in [&b"SSH-2.0-OpenSSH_9.2p1\r\n"[..], b"220 mail ESMTP\r\n", &[0xff; 40], b"E", b"N"] {
        for mode in [TlsMode::Disable, TlsMode::Require] {
            let mut to = peer(move |stream| {
                stream.write_all(words).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let tls = Tls { mode, ca: None, server_name: None };
            to.tls = Arc::new(TlsClient::new(&tls, "localhost").unwrap());
            let begun = Instant::now();
            let error = connect(&to).await.unwrap_err();
            assert!(begun.elapsed() < LONG / 2, "{error}");
            assert!(matches!(error.fault(), Fault::Unreachable | Fault::ConnectionLost), "{error}");
        }
    }
}

#[tokio::test]
async fn a_login_of_another_kind_is_refused_at_once() {
    for (said, detail) in [
        // 1 GB that never comes.
        (vec![b'R', 0x40, 0, 0, 0], "out of place"),
        (message(b'R', &[0; 2]), "out of place"),
        (message(b'R', &[0, 0, 0, 7]), "GSSAPI"),
        (message(b'R', &[0, 0, 0, 2]), "number 2"),
        (message(b'R', &[0, 0, 0, 10, 0]), "which is not in this program"),
        (message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0"), "SCRAM-SHA-256-PLUS"),
        (message(b'R', b"\0\0\0\x0br=x,s=c2FsdA==,i=1"), "SCRAM"),
        (message(b'R', b"\0\0\0\x0cv=x"), "SCRAM"),
        // Not encrypted, and asked for as it is.
        (message(b'R', &[0, 0, 0, 3]), "only sent to a server that is verified"),
        (message(b'Z', b"I"), "none of PostgreSQL's words"),
        (message(b'S', b"TimeZone\0UTC\0"), "none of PostgreSQL's words"),
    ] {
        let error = refused(peer(move |stream| {
            startup(stream);
            stream.write_all(&said).unwrap();
        }))
        .await;
        assert!(error.detail().contains(detail), "{error}");
        assert_eq!(error.phase(), Some(Phase::Auth), "{error}");
    }
}

/// Answers the client's first words of SCRAM with these, where `R` is the client's nonce.
fn scram(said: &'static str) -> Target {
    peer(move |stream| {
        startup(stream);
        stream.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).unwrap();
        let (_, first) = heard(stream).unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        let nonce = first.split("r=").nth(1).unwrap();
        let said = said.replace('R', nonce);
        stream.write_all(&message(b'R', &[&[0, 0, 0, 11], said.as_bytes()].concat())).unwrap();
        if heard(stream).is_some() {
            // Lets in without a proof of its own.
            stream.write_all(&message(b'R', &[0; 4])).unwrap();
            stream.write_all(&message(b'Z', b"I")).unwrap();
        }
    })
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_hashing_is_refused_before_any() {
    for (said, detail) in [
        ("r=Rx,s=c2FsdA==,i=2147483648", "2147483648 rounds of hashing (scram_iterations)"),
        ("r=Rx,s=c2FsdA==,i=4294967295", "4294967295 rounds"),
        ("r=Rx,s=c2FsdA==,i=1000001", "of at most 1000000"),
        ("r=other,s=c2FsdA==,i=4096", "nonce"),
        ("r=R,s=c2FsdA==,i=4096", "nonce"),
        // It does not know the password, and lets us in.
        ("r=Rx,s=c2FsdA==,i=4096", "without a proof"),
    ] {
        let error = refused(scram(said)).await;
        assert!(error.detail().contains(detail), "{said}: {error}");
    }
}

#[tokio::test]
async fn hashing_does_not_hold_the_runtime() {
    let to = scram("r=Rx,s=c2FsdA==,i=1000000");
    let ticks = async {
        let mut ticks = 0_u32;
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticks += 1;
            if ticks >= 20 {
                return;
            }
        }
    };
    // The runtime has one thread, which is free long before the hashing is done.
    tokio::select! {
        () = ticks => {}
        error = connect(&to) => panic!("no time was given to others: {error:?}"),
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

    /// What a server says at the login, of a statement or of its rows, with bytes bent, cut out and put in, and then nothing
    /// more: the call is over, with rows or an error.
    #[test]
    fn whatever_a_server_says_ends_one_call(
        part in 0..3_usize,
        splices in prop::collection::vec(
            (any::<Index>(), prop_oneof![0..6_usize, 0..300_usize], prop::collection::vec(any::<u8>(), 0..12)),
            1..4,
        ),
    ) {
        let mut parts = vec![welcome(), described(), [bound(), row(1), row(2), ended()].concat()];
        parts.truncate(part + 1);
        parts[part] = damaged(&parts[part], &splices);
        let to = peer(move |stream| {
            startup(stream);
            for (at, words) in parts.iter().enumerate() {
                // What the statement is, and what it gives, is one answer.
                if at == 1 {
                    synced(stream, 1);
                }
                // The client may have hung up.
                let _ = stream.write_all(words);
            }
            let _ = stream.shutdown(Shutdown::Write);
        });
        let call = async {
            let mut session = connect(&to).await?;
            read(&mut *session).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(Deadline::after(LONG).bound(call)) {
            Ok(Ok(reply)) => prop_assert!(serde_json::from_str::<serde_json::Value>(&reply).is_ok(), "{}", reply),
            Ok(Err(error)) => prop_assert!(!error.to_string().contains("s3cret"), "{}", error),
            Err(_) => prop_assert!(false, "it waits for more"),
        }
    }
}
