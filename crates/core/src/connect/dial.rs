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
    let mut failures = Vec::new();
    let mut hint = REFUSED;
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = by.within(by.remaining() / left);
        match share.bound(open(*address)).await {
            Ok(Ok(stream)) => {
                progress.note(address.to_string());
                return Ok(stream);
            }
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
                failures.push(format!(
                "{address} did not answer: look at the security groups of the function and of the database, \
                 the subnet's route and network ACL"
                ));
            }
        }
    }
    let detail = format!("no TCP connection to {endpoint}: {}", failures.join("; "));
    Err(unreachable(Phase::Tcp, detail).with_hint(hint))
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
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.connect(address).await
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{address} refuses connections: is DB_PORT right, and does the database listen there?")
        }
        _ => format!("{address}: {error}"),
    }
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

// A query may run for minutes without a byte on the wire; NAT gateways and firewalls forget a silent
// connection after 350 s (AWS's own is that long), so the first probe comes well before.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
// How long sent bytes may stay unacknowledged before the kernel gives the connection up; without it a peer that
// vanished is noticed after some fifteen minutes of retransmissions.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    #[tokio::test]
    async fn a_refused_port_is_reported_as_itself_and_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let by = Deadline::after(Duration::from_secs(30));
        let error = dial(&endpoint("127.0.0.1", port), by, &Phases::default()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Unreachable);
        assert_eq!(error.phase(), Some(Phase::Tcp));
        assert!(error.detail().contains("refuses connections"), "{error}");
        assert!(by.remaining() > Duration::from_secs(25));
    }

    #[tokio::test]
    async fn a_name_without_an_address_fails_in_resolve() {
        let by = Deadline::after(Duration::from_secs(5));
        let error = dial(&endpoint("no-such-host.invalid", 5432), by, &Phases::default()).await.unwrap_err();
        assert_eq!(error.phase(), Some(Phase::Resolve));
        assert!(error.detail().contains("no-such-host.invalid"), "{error}");
    }
}
