use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lambda_rds_testbed::{After, Cut, Direction, Fault, Proxy, Unanswered};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long to wait for what shall not come.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How long to wait for what shall come, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that answers each 4-byte question with `answer` and itself: a protocol with round trips.
async fn echo(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut question = [0; 4];
                while stream.read_exact(&mut question).await.is_ok() {
                    let answer = [answer, &question].concat();
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

async fn proxied(answer: &'static [u8]) -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo(answer).await).unwrap();
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

/// Asks once; the answer is what arrives of 8 bytes, or why none did.
async fn ask(client: &mut TcpStream) -> Result<String, ErrorKind> {
    ask_for(LIMIT, client).await
}

async fn ask_for(limit: Duration, client: &mut TcpStream) -> Result<String, ErrorKind> {
    let mut answer = [0; 8];
    let mut length = 0;
    client.write_all(b"ping").await.map_err(|error| error.kind())?;
    while length < answer.len() {
        match tokio::time::timeout(limit, client.read(&mut answer[length..])).await {
            Err(_) if length == 0 => return Err(ErrorKind::TimedOut),
            Err(_) => break,
            Ok(Ok(0)) if length == 0 => return Err(ErrorKind::UnexpectedEof),
            Ok(Ok(0)) => break,
            Ok(Ok(read)) => length += read,
            Ok(Err(error)) if length == 0 => return Err(error.kind()),
            Ok(Err(_)) => break,
        }
    }
    Ok(String::from_utf8(answer[..length].to_vec()).unwrap())
}

fn answered() -> Result<String, ErrorKind> {
    Ok("pongping".to_owned())
}

#[tokio::test]
async fn counts_flights_connections_and_bytes() {
    let (proxy, mut client) = proxied(b"pong").await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client).await, answered());
    }
    assert_eq!((proxy.flights(), proxy.connections(), proxy.open_connections()), (3, 1, 1));
    assert_eq!((proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)), (12, 24));

    // A question in pieces, over which the server stays silent, is one flight.
    proxy.reset();
    client.set_nodelay(true).unwrap();
    client.write_all(b"pi").await.unwrap();
    proxy.reached(1, LIMIT).await.unwrap();
    assert_eq!(proxy.bytes(Direction::ToServer), 2);
    client.write_all(b"ng").await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    assert_eq!((proxy.flights(), proxy.bytes(Direction::ToServer)), (1, 4));

    // Each connection has flights of its own.
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other).await, answered());
    assert_eq!((proxy.flights(), proxy.connections()), (2, 1));
    assert!(proxy.reached(3, Duration::from_millis(10)).await.is_err());

    drop((client, other));
    let until = Instant::now() + LIMIT;
    while proxy.open_connections() > 0 {
        assert!(Instant::now() < until);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_transfer_arrives_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let expected = sent.clone();
    tokio::spawn(async move { server.write_all(&sent).await });
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
    assert_eq!(proxy.bytes(Direction::ToClient), 3_000_000);
}

#[tokio::test]
async fn cuts_where_it_was_told_to() {
    use After::{Bytes, Flights};
    use Direction::{ToClient, ToServer};
    let check = async |limit: Duration, fault: Fault, expected: &[Result<&str, ErrorKind>]| {
        let (proxy, mut client) = proxied(b"pong").await;
        proxy.inject(fault);
        for expected in expected {
            let expected = expected.map(str::to_owned);
            assert_eq!(ask_for(limit, &mut client).await, expected, "{fault:?}");
        }
        // It strikes once: the next connection is well.
        assert_eq!(
            ask(&mut TcpStream::connect(proxy.address()).await.unwrap()).await,
            answered(),
            "{fault:?}"
        );
    };
    let (answer, eof, reset) =
        (Ok("pongping"), Err(ErrorKind::UnexpectedEof), Err(ErrorKind::ConnectionReset));
    check(LIMIT, Fault::cut(ToServer, Flights(0), Cut::Fin), &[eof]).await;
    check(LIMIT, Fault::cut(ToServer, Flights(0), Cut::Rst), &[reset]).await;
    check(LIMIT, Fault::cut(ToServer, Flights(2), Cut::Fin), &[answer, answer, eof]).await;
    check(LIMIT, Fault::cut(ToClient, Flights(0), Cut::Rst), &[reset]).await;
    check(LIMIT, Fault::cut(ToClient, Flights(1), Cut::Fin), &[answer, eof]).await;
    check(LIMIT, Fault::cut(ToServer, Bytes(6), Cut::Fin), &[answer, eof]).await;
    check(LIMIT, Fault::cut(ToClient, Bytes(3), Cut::Fin), &[Ok("pon")]).await;
    check(LIMIT, Fault::cut(ToClient, Bytes(8), Cut::Fin), &[answer, eof]).await;
    check(LIMIT, Fault::cut(ToClient, Bytes(11), Cut::Fin), &[answer, Ok("pon")]).await;
    check(
        A_MOMENT,
        Fault::stall(ToServer, Flights(0)),
        &[Err(ErrorKind::TimedOut), Err(ErrorKind::TimedOut)],
    )
    .await;
    check(A_MOMENT, Fault::stall(ToClient, Bytes(3)), &[Ok("pon"), Err(ErrorKind::TimedOut)]).await;
}

#[tokio::test]
async fn a_lost_question_never_reaches_the_server_and_a_lost_answer_was_given() {
    let (proxy, mut client) = proxied(b"pong").await;
    assert_eq!(ask(&mut client).await, answered());
    proxy.reset();
    proxy.inject(Fault::cut(Direction::ToServer, After::Flights(0), Cut::Rst));
    assert!(ask(&mut client).await.is_err());
    assert_eq!((proxy.flights(), proxy.bytes(Direction::ToServer)), (0, 0));

    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.inject(Fault::cut(Direction::ToClient, After::Flights(0), Cut::Rst));
    assert!(ask(&mut client).await.is_err());
    assert_eq!(
        (proxy.flights(), proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)),
        (1, 4, 0)
    );
}

#[tokio::test]
async fn a_fault_counts_from_its_arming_and_strikes_always_if_told_so() {
    let (proxy, mut client) = proxied(b"pong").await;
    assert_eq!(ask(&mut client).await, answered());
    proxy.inject(Fault::cut(Direction::ToClient, After::Flights(1), Cut::Fin).always());
    assert_eq!(ask(&mut client).await, answered());
    assert_eq!(ask(&mut client).await, Err(ErrorKind::UnexpectedEof));
    for _ in 0..2 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client).await, answered());
        assert_eq!(ask(&mut client).await, Err(ErrorKind::UnexpectedEof));
    }
    proxy.disarm();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut client).await, answered());
    assert_eq!(ask(&mut client).await, answered());
}

#[tokio::test]
async fn cuts_idle_connections_at_once() {
    for (cut, kind) in [(Cut::Fin, None), (Cut::Rst, Some(ErrorKind::ConnectionReset))] {
        let (proxy, mut client) = proxied(b"pong").await;
        assert_eq!(ask(&mut client).await, answered());
        proxy.cut(cut);
        let read = tokio::time::timeout(LIMIT, client.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.map_err(|error| Some(error.kind())), kind.map_or(Ok(0), |kind| Err(Some(kind))));
    }
}

#[tokio::test]
async fn a_black_hole_is_silent_and_can_end() {
    let (proxy, mut client) = proxied(b"pong").await;
    assert_eq!(ask(&mut client).await, answered());
    proxy.black_hole();
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask_for(A_MOMENT, &mut client).await, Err(ErrorKind::TimedOut));
    assert_eq!(ask_for(A_MOMENT, &mut new).await, Err(ErrorKind::TimedOut));
    proxy.flow();
    for client in [&mut client, &mut new] {
        let mut answer = [0; 8];
        tokio::time::timeout(LIMIT, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"pongping");
    }
}

/// Its kernel gives up on it as on a host that vanished: nothing that it sends is acknowledged.
#[tokio::test]
async fn a_forgotten_connection_is_gone_without_a_word() {
    let limit = Duration::from_millis(500);
    for fault in [None, Some(Fault::forget(Direction::ToServer, After::Flights(0)))] {
        let (proxy, mut client) = proxied(b"pong").await;
        assert_eq!(ask(&mut client).await, answered());
        let socket = socket2::SockRef::from(&client);
        socket.set_tcp_user_timeout(Some(limit)).unwrap();
        socket.set_keepalive(true).unwrap();
        let second = Duration::from_secs(1);
        let probes = socket2::TcpKeepalive::new().with_time(second).with_interval(second);
        socket.set_tcp_keepalive(&probes).unwrap();
        match fault {
            None => proxy.forget(),
            Some(fault) => proxy.inject(fault),
        }
        // Either it has been forgotten, or the question makes it so.
        let until = Instant::now() + LIMIT;
        let error = loop {
            match ask(&mut client).await {
                Err(error) => break error,
                Ok(_) => assert!(Instant::now() < until),
            }
        };
        assert_eq!(error, ErrorKind::TimedOut, "{fault:?}");
        let end = tokio::time::timeout(LIMIT, client.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "the kernel still believes in it: {end:?}");
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client).await, answered());
        assert!(!proxy.disarm());
        // It can still be cut.
        proxy.cut(Cut::Rst);
        while proxy.open_connections() > 0 {
            assert!(Instant::now() < until + LIMIT);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn refuses_and_accepts_again_on_the_same_port() {
    let (proxy, mut client) = proxied(b"pong").await;
    assert_eq!(ask(&mut client).await, answered());
    proxy.refuse().await.unwrap();
    proxy.refuse().await.unwrap();
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ask(&mut client).await, answered(), "open connections stay");
    proxy.accept().await.unwrap();
    proxy.accept().await.unwrap();
    assert_eq!(ask(&mut TcpStream::connect(proxy.address()).await.unwrap()).await, answered());
}

#[tokio::test]
async fn delays_each_direction() {
    let (proxy, mut client) = proxied(b"pong").await;
    let delay = Duration::from_millis(30);
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.delay(direction, delay);
        let started = Instant::now();
        assert_eq!(ask(&mut client).await, answered());
        assert!(started.elapsed() >= delay, "{direction:?}");
        proxy.delay(direction, Duration::ZERO);
    }
}

#[tokio::test]
async fn retargets_new_connections() {
    let (proxy, mut client) = proxied(b"pong").await;
    proxy.retarget(echo(b"PONG").await);
    assert_eq!(ask(&mut TcpStream::connect(proxy.address()).await.unwrap()).await, Ok("PONGping".to_owned()));
    // The first connection may have been taken to either: it was open before its target was asked for.
    assert!(ask(&mut client).await.is_ok());
    // A target where nobody listens. The client may hear of it as early as in its connect.
    // Bound, so that nobody else is given the port.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    proxy.retarget(bound.local_addr().unwrap());
    if let Ok(mut client) = TcpStream::connect(proxy.address()).await {
        assert!(ask(&mut client).await.is_err());
    }
}

#[tokio::test]
async fn forwards_while_the_tests_runtime_is_busy() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    // Blocking calls on the only thread of this runtime.
    use std::io::{Read, Write};
    let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"ping").unwrap();
    let mut question = [0; 4];
    server.read_exact(&mut question).unwrap();
    assert_eq!(&question, b"ping");
}

#[tokio::test]
async fn nobody_answers_where_nobody_shall() {
    let unanswered = Unanswered::start().await.unwrap();
    let connecting = TcpStream::connect(unanswered.address().unwrap());
    assert!(tokio::time::timeout(A_MOMENT, connecting).await.is_err());
}
