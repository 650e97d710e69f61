//! HTTP to AWS's services, as much of it as a secret needs: HTTP/1.1 and a connection for each question.
//!
//! The SDK's own client brings HTTP/2, a pool, proxies and the system's roots: a tenth of the zip, and nothing of it is of
//! use here. Questions are minutes apart, with freezes between: a kept connection would be dead by then, and its task
//! would be work left running between invocations. Loading the system's roots costs 4 ms of a cold start, measured.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::deadline::Deadline;

/// Asks whoever these roots vouch for.
#[derive(Debug, Clone)]
pub(super) struct Http {
    tls: Arc<ClientConfig>,
}

impl Http {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, String> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS for AWS's services: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls) })
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let tls = Arc::clone(&self.tls);
        HttpConnectorFuture::new(ask(tls, request))
    }
}

/// What TLS and plain connections have in common, so that there is one client for both.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn ask(tls: Arc<ClientConfig>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let to = To::of(request.uri()).map_err(|why| ConnectorError::user(why.into()))?;
    let stream = to.connect(tls).await.map_err(|error| ConnectorError::io(error.into()))?;
    let (mut head, body) = request.into_parts();
    // It is in memory, since it is a question.
    let body = body.bytes().ok_or_else(|| ConnectorError::user("a question is no stream".into()))?;
    let body = Full::new(Bytes::copy_from_slice(body));
    head.uri = to.target;
    head.headers.entry(HOST).or_insert(to.named);
    exchange(stream, Request::from_parts(head, body)).await
}

/// Where a question goes.
struct To {
    host: String,
    port: u16,
    secure: bool,
    /// The path and the query.
    target: Uri,
    /// As the `Host` header has it, and the signature.
    named: HeaderValue,
}

impl To {
    fn of(uri: &Uri) -> Result<Self, String> {
        let wrong = || format!("{uri} is no address of a service");
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?;
        let usual = if secure { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(usual);
        let named = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            secure,
            target: target.parse().map_err(|_| wrong())?,
            named: named.parse().map_err(|_| wrong())?,
        })
    }

    async fn connect(&self, tls: Arc<ClientConfig>) -> io::Result<Box<dyn Stream>> {
        let by = Deadline::after(CONNECT);
        let tcp = self.dial(by).await?;
        tcp.set_nodelay(true)?;
        if !self.secure {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        match by.bound(TlsConnector::from(tls).connect(name, tcp)).await {
            Ok(stream) => Ok(Box::new(stream?)),
            Err(_) => Err(self.late("the TLS handshake")),
        }
    }

    /// The first that answers. None takes the time of those behind it, which are asked soon: a question is given up and
    /// asked again after a second.
    async fn dial(&self, by: Deadline) -> io::Result<TcpStream> {
        let found = by.bound(tokio::net::lookup_host((self.host.as_str(), self.port))).await;
        let addresses = in_order(found.map_err(|_| self.late("its address"))??.collect());
        self.first_of(&addresses, by).await
    }

    async fn first_of(&self, addresses: &[SocketAddr], by: Deadline) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host));
        for (tried, address) in addresses.iter().enumerate() {
            let limit = if tried + 1 < addresses.len() { SOON } else { by.remaining() };
            match by.within(limit).bound(TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = io::Error::new(error.kind(), format!("{address}: {error}")),
                Err(_) => failure = self.late("a connection"),
            }
        }
        Err(failure)
    }

    fn late(&self, what: &str) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, format!("{} did not give {what} in time", self.host))
    }
}

/// A name may have addresses of a version that leads nowhere from here, and most networks have the older one.
fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
}

/// Asks on a new connection, and reads the answer to its end.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<HttpResponse, ConnectorError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async move {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(ConnectorError::io)?.to_bytes();
        let answer = http::Response::from_parts(head, body.into());
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    };
    // Driven here, so that nothing is left running.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // Whatever became of the connection, the answer tells.
        Either::Right((_, answer)) => answer.await,
    }
}

/// All of it may be asked again: what is asked changes nothing.
fn broken(error: hyper::Error) -> ConnectorError {
    if error.is_user() { ConnectorError::user(error.into()) } else { ConnectorError::io(error.into()) }
}

/// Each question has a limit of its own; this one is for what has none. As long as INIT.
const CONNECT: Duration = Duration::from_secs(8);
/// How long an address is waited for if there is another one: as RFC 8305 has it.
const SOON: Duration = Duration::from_millis(250);
/// A secret has 64 KB.
const MOST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> To {
        To::of(&format!("http://127.0.0.1:{port}/").parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn one_address_of_several_is_enough() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        // Where nobody answers: the queue is full, and what more is asked is dropped.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let nowhere = silent.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = tokio::time::timeout(SOON, TcpStream::connect(nowhere)).await {
            queue.push(stream.unwrap());
        }

        let by = Deadline::after(Duration::from_secs(120));
        let stream = to(1).first_of(&[closed, nowhere, open], by).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        // The half of the time, each, would be a minute.
        assert!(by.remaining() > Duration::from_secs(80), "{:?}", by.remaining());
        let error = to(1).first_of(&[closed], by).await.unwrap_err();
        assert!(error.to_string().starts_with(&closed.to_string()), "{error}");
        let (old, new) = (open, "[2001:db8::1]:443".parse().unwrap());
        assert_eq!(in_order(vec![new, old]), [old, new]);
    }

    /// Nothing is kept: neither a connection, which the server sees ended, nor a task.
    #[tokio::test]
    async fn a_question_leaves_nothing_behind() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
            (String::from_utf8(asked).unwrap(), stream.read(&mut [0]).unwrap())
        });
        let http = Http::new(RootCertStore::empty()).unwrap();
        let mut request = HttpRequest::empty();
        request.set_uri(format!("http://127.0.0.1:{port}/x")).unwrap();
        let answer = http.call(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().bytes()), (200, Some(&b"hi"[..])));
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
        let (asked, more) = server.join().unwrap();
        assert!(asked.starts_with("GET /x HTTP/1.1\r\n"), "{asked}");
        assert_eq!(more, 0, "the connection has ended");
    }

    #[test]
    fn the_host_is_named_as_the_signature_has_it() {
        for (uri, host, port, named, target) in [
            ("https://a.example.com/", "a.example.com", 443, "a.example.com", "/"),
            ("https://a.example.com", "a.example.com", 443, "a.example.com", "/"),
            ("https://a.example.com:443/x?y=1", "a.example.com", 443, "a.example.com", "/x?y=1"),
            ("http://127.0.0.1:4566/", "127.0.0.1", 4566, "127.0.0.1:4566", "/"),
            ("http://[::1]:80/", "::1", 80, "[::1]", "/"),
        ] {
            let to = To::of(&uri.parse().unwrap()).unwrap();
            assert_eq!((to.host.as_str(), to.port, to.named.to_str().unwrap()), (host, port, named), "{uri}");
            assert_eq!(to.target.to_string(), target, "{uri}");
        }
        for uri in ["/", "ftp://a.example.com/", "a.example.com:443"] {
            assert!(To::of(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }
}
