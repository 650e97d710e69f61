//! The dialer: from a host name to a TCP connection, in two phases with a fault of their own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::backend::{Endpoint, Phases};
use crate::deadline::Deadline;
use crate::error::{Error, Fault, Phase, Result};

/// Opens a TCP connection to the endpoint.
///
/// Each address that the name has is tried in turn, and one that does not answer costs its share of the time
/// that is left, so that a black-holed address leaves time for the next.
///
/// # Errors
/// [`Fault::Unreachable`] with [`Phase::Resolve`] or [`Phase::Tcp`]; nothing was sent.
///
/// # Cancel safety
/// A dropped future leaves nothing open.
pub async fn dial(endpoint: &Endpoint, by: Deadline, progress: &Phases) -> Result<TcpStream> {
    progress.enter(Phase::Resolve);
    let addresses = resolve(endpoint, by).await?;
    progress.note(listed(&addresses));
    progress.enter(Phase::Tcp);
    match dial_each(&addresses, by).await {
        Ok((stream, address)) => {
            progress.note(address.to_string());
            Ok(stream)
        }
        Err(Undialled { failures, hint }) => {
            let detail = format!("no TCP connection to {endpoint}: {}", failures.join("; "));
            Err(unreachable(Phase::Tcp, detail).with_hint(hint))
        }
    }
}

/// Why none of the addresses took a connection: of each, and what to change.
#[derive(Debug)]
struct Undialled {
    failures: Vec<String>,
    hint: &'static str,
}

/// Opens a connection to the first of the addresses that takes one; else says of each why not.
async fn dial_each(addresses: &[SocketAddr], by: Deadline) -> Result<(TcpStream, SocketAddr), Undialled> {
    let mut failures = Vec::new();
    let mut hint = REFUSED;
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = by.within(by.remaining() / left);
        match share.bound(open(*address)).await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(error)) => {
                hint = match error.kind() {
                    io::ErrorKind::ConnectionRefused => hint,
                    io::ErrorKind::TimedOut => SILENT,
                    _ => NO_ROUTE,
                };
                failures.push(refusal(*address, &error));
            }
            Err(_) => {
                hint = SILENT;
                failures.push(silence(*address));
            }
        }
    }
    Err(Undialled { failures, hint })
}

/// Opens a TCP connection to an address that was dialled before, for a cancel request.
///
/// # Errors
/// [`Fault::Unreachable`] with [`Phase::Tcp`].
pub async fn redial(address: SocketAddr, by: Deadline) -> Result<TcpStream> {
    match by.bound(open(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(Phase::Tcp, refusal(address, &error))),
        Err(_) => Err(unreachable(Phase::Tcp, format!("{address} did not answer"))),
    }
}

/// The addresses that the endpoint's name has now, those of one server always written the same; none, if they are not
/// known by then.
pub(crate) async fn addresses(endpoint: &Endpoint, by: Deadline) -> Vec<SocketAddr> {
    let found = resolve(endpoint, by).await.unwrap_or_default();
    found.into_iter().map(|at| SocketAddr::new(at.ip().to_canonical(), at.port())).collect()
}

async fn resolve(endpoint: &Endpoint, by: Deadline) -> Result<Vec<SocketAddr>> {
    // A literal address needs no resolver, and the resolver a thread.
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    let host = endpoint.host.as_str();
    let found: Vec<SocketAddr> = match by.bound(tokio::net::lookup_host((host, endpoint.port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => {
            return Err(unreachable(
                Phase::Resolve,
                format!(
                    "the host `{host}` has no address ({error}): is DB_HOST, or `host` in the secret, \
                         right, and does the VPC resolve DNS names?"
                ),
            ));
        }
        Err(_) => {
            return Err(unreachable(
                Phase::Resolve,
                format!("looking up the host `{host}` took too long: does the VPC resolve DNS names?"),
            ));
        }
    };
    if found.is_empty() {
        return Err(unreachable(Phase::Resolve, format!("the host `{host}` has no address")));
    }
    Ok(found)
}

/// Addresses for people, of a name that may have many.
fn listed(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(SHOWN).map(|address| address.ip().to_string()).collect();
    let more = addresses.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Nagle's algorithm and delayed ACKs together cost a TLS login 40 ms twice.
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    let stream = socket.connect(address).await?;
    // Now, since it would end the handshake as well, whose limit is the caller's.
    limit_silence(&stream, Some(USER_TIMEOUT))?;
    Ok(stream)
}

/// Says whether the peer may be silent for as long as there are more bytes on their way than it may have room for. One
/// that has stopped reading for a while, a busy server, acknowledges nothing new either, and Linux ends such a connection
/// as well when the time for silence is up (`TCP_USER_TIMEOUT`, tcp(7)).
///
/// # Errors
/// The kernel's.
pub(crate) fn set_patience(stream: &TcpStream, patient: bool) -> io::Result<()> {
    // None is the kernel's own: retransmissions for many minutes, so that the caller's deadline comes first.
    limit_silence(stream, if patient { None } else { Some(USER_TIMEOUT) })
}

#[cfg(target_os = "linux")]
fn limit_silence(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(limit)
}

/// Only Linux has it, as Lambda does: on a developer's other machine the keep-alive and the deadline end the wait.
#[cfg(not(target_os = "linux"))]
fn limit_silence(_: &TcpStream, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{address} refuses connections: is DB_PORT right, and does the database listen there?")
        }
        // The kernel has given up before us.
        io::ErrorKind::TimedOut => silence(address),
        _ => format!("{address}: {error}"),
    }
}

fn silence(address: SocketAddr) -> String {
    format!(
        "{address} did not answer: look at the security groups of the function and of the database, the subnet's \
         route and network ACL"
    )
}

fn unreachable(phase: Phase, detail: String) -> Error {
    Error::new(Fault::Unreachable, detail).with_phase(phase)
}

const REFUSED: &str = "the port (DB_PORT, or `port` in the secret): the host is there and nothing listens on this one; if \
                       the port is right, the database is stopped";
const SILENT: &str = "the database's security group: let the function's security group in on this port; if it does, the \
                      subnets' routes and network ACLs";
const NO_ROUTE: &str =
    "the subnet's route table: from the function's subnets there is no way to this address";
/// How many addresses are shown.
const SHOWN: usize = 8;

// A peer that vanished without a word (a host that crashed, a firewall that forgot the connection) answers neither
// bytes nor probes. Its kernel would answer both at once, however long the statement takes, so three seconds of
// silence tell it from a busy one, and leave time for another connection. By then four transmissions of a segment
// have been lost, or two probes; the kernel counts probes by the user timeout where there is one.
//
// The probes also keep a silent connection known to firewalls while a query runs: AWS's forget it after 350 s.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 3;
const USER_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    #[tokio::test]
    async fn a_refused_port_is_reported_as_itself_and_at_once() {
        let (_bound, closed) = closed();
        let by = Deadline::after(Duration::from_secs(90));
        let error = dial(&endpoint("127.0.0.1", closed.port()), by, &Phases::default()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Unreachable);
        assert_eq!(error.phase(), Some(Phase::Tcp));
        assert!(error.detail().contains("refuses connections"), "{error}");
        assert!(by.remaining() > Duration::from_secs(45));
    }

    #[tokio::test]
    async fn a_name_without_an_address_fails_in_resolve() {
        let by = Deadline::after(Duration::from_secs(5));
        let error = dial(&endpoint("no-such-host.invalid", 5432), by, &Phases::default()).await.unwrap_err();
        assert_eq!(error.phase(), Some(Phase::Resolve));
        assert!(error.detail().contains("no-such-host.invalid"), "{error}");
    }

    /// A port where nobody listens, and which nobody else is given as long as the socket is there.
    fn closed() -> (socket2::Socket, SocketAddr) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A port whose kernel takes no packet, and so answers none.
    fn black_hole() -> (std::net::TcpListener, SocketAddr) {
        const RETURN: u16 = 0x06;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).attach_filter(&[socket2::SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_its_share_of_the_time() {
        let (_hole, silent) = black_hole();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let by = Deadline::after(Duration::from_secs(10));
        let started = std::time::Instant::now();
        // A fifth each, until one answers.
        let (stream, address) = dial_each(&[silent, good, silent, silent, silent], by).await.unwrap();
        assert_eq!(address, good);
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(started.elapsed() >= Duration::from_secs(2));
        assert!(!by.passed());
    }

    #[tokio::test]
    async fn each_address_says_why_it_did_not_do() {
        let (_hole, silent) = black_hole();
        let (_bound, closed) = closed();
        let by = Deadline::after(Duration::from_secs(4));
        let Undialled { failures, hint } = dial_each(&[silent, closed], by).await.unwrap_err();
        // What is silent may be mended; the other may be silent for the same reason.
        assert!(hint.contains("security group"), "{hint}");
        assert!(failures[0].contains("security groups"), "{failures:?}");
        assert!(failures[1].contains("refuses connections"), "{failures:?}");
        assert_eq!(hint, SILENT);
    }
}
