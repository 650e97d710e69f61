//! A client of the Lambda Runtime API: one connection, kept from one invocation to the next.
//!
//! The client that comes with lambda_runtime keeps a pool, has a task for each connection, and takes each address apart
//! anew: a fifth of what a small call executed. Here whoever asks drives the connection himself, so an answer is on its
//! way before anything else is done.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::Fuse;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why the Runtime API could not be asked.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is posted: all at once, or while it is written.
pub(super) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;

/// Nothing, or what is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(bytes.into()))
}

/// A reply as it is, or what stands before it and the reply: the kernel is given both at once.
pub(super) fn pieces((before, rest): (Option<Vec<u8>>, Vec<u8>)) -> Body {
    match before {
        None => whole(rest),
        Some(before) => Either::Right(Pieces([before.into(), rest.into()].into()).boxed_unsync()),
    }
}

/// A body of known length in pieces.
struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// Where the Runtime API is.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// Host and port.
    authority: String,
    host: HeaderValue,
    /// What paths begin with. Lambda's own has none, `cargo lambda watch` has one.
    base: String,
}

impl Address {
    /// As Lambda tells it: host and port, or a URL.
    pub(super) fn parse(told: &str) -> Result<Self, String> {
        let uri: Uri = told.parse().map_err(|error: InvalidUri| error.to_string())?;
        if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
            return Err("the Runtime API is asked by plain HTTP".to_owned());
        }
        let host = uri.host().ok_or("it has no host")?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let host = authority.parse().map_err(|_| "no such host".to_owned())?;
        Ok(Self { authority, host, base: uri.path().trim_end_matches('/').to_owned() })
    }

    /// A request, without a body yet.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request<()>, Failure> {
        let target = if self.base.is_empty() { path.parse() } else { format!("{}{path}", self.base).parse() };
        let target: PathAndQuery = target?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.into();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(USER_AGENT, AGENT);
        Ok(request)
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Asks one question after the other.
pub(super) struct Api {
    address: Address,
    open: Option<Connection>,
}

impl Api {
    pub(super) fn new(address: Address) -> Self {
        Self { address, open: None }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks, and reads the answer to its end. Where the kept connection has ended and took nothing of the question, it is
    /// asked on a new one; what may have been taken is not asked twice.
    ///
    /// # Errors
    /// Why there is no answer, or no whole one.
    pub(super) async fn ask(&mut self, mut request: Request<Body>) -> Result<Answer, Failure> {
        loop {
            let kept = self.open.take();
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.address).await?,
            };
            match connection.ask(request).await {
                Ok(answer) => {
                    self.open = Some(connection);
                    return Ok(answer);
                }
                Err((_, Some(untaken))) if !fresh => request = untaken,
                Err((failure, _)) => return Err(failure),
            }
        }
    }
}

struct Connection {
    sender: http1::SendRequest<Body>,
    driver: Pin<Box<Fuse<Driver>>>,
}

/// What has to be polled for anything to be sent or read.
type Driver = http1::Connection<TokioIo<TcpStream>, Body>;

impl Connection {
    async fn open(address: &Address) -> Result<Self, Failure> {
        let refused =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", address.authority));
        let tcp = TcpStream::connect(&address.authority).await.map_err(refused)?;
        // What is written goes out at once: the parts of a stream, above all.
        tcp.set_nodelay(true).map_err(refused)?;
        let (sender, driver) = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(tcp)).await?;
        Ok(Self { sender, driver: Box::pin(driver.fuse()) })
    }

    /// Gives the request back, if nothing of it was taken.
    async fn ask(&mut self, request: Request<Body>) -> Result<Answer, (Failure, Option<Request<Body>>)> {
        let Self { sender, driver } = self;
        let mut work = pin!(async {
            if let Err(error) = sender.ready().await {
                return Err((error.into(), Some(request)));
            }
            let answer = match sender.try_send_request(request).await {
                Ok(answer) => answer,
                Err(mut error) => {
                    let untaken = error.take_message();
                    return Err((error.into_error().into(), untaken));
                }
            };
            let (head, mut body) = answer.into_parts();
            // Into one place as it comes, since an event may be large.
            let mut all = BytesMut::with_capacity(length(&head.headers).min(SET_ASIDE));
            while let Some(frame) = body.frame().await {
                if let Ok(part) = frame.map_err(|error| (error.into(), None))?.into_data() {
                    all.extend_from_slice(&part);
                }
            }
            Ok(Answer { status: head.status, headers: head.headers, body: all.freeze() })
        });
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            // Its end, and why, is told to whoever waits for an answer.
            let _ = driver.as_mut().poll(context);
            work.as_mut().poll(context)
        })
        .await
    }
}

/// How long a body is, as far as its sender has said.
fn length(headers: &HeaderMap) -> usize {
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    told.and_then(|length| length.parse().ok()).unwrap_or_default()
}

/// What is set aside at most for an event before it has come. Lambda's are of 6 MB at most.
const SET_ASIDE: usize = 32 << 20;
/// Lambda's own headers may be as large: the client context is one.
const HEAD: usize = 1 << 20;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("lambda-rds/", env!("CARGO_PKG_VERSION")));

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Reads one request, whose body has `length` bytes.
    async fn heard(stream: &mut TcpStream, length: usize) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        bytes.extend(body);
        String::from_utf8(bytes).unwrap()
    }

    fn post(api: &Api, path: &str, body: &'static str) -> Request<Body> {
        api.address().request(Method::POST, path).unwrap().map(|()| whole(body))
    }

    async fn between() -> (Api, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let told = listener.local_addr().unwrap().to_string();
        (Api::new(Address::parse(&told).unwrap()), listener)
    }

    #[test]
    fn an_address_is_a_host_with_its_port_or_a_url() {
        for (told, authority, target) in [
            ("127.0.0.1:9001", "127.0.0.1:9001", "/next"),
            ("localhost:9001", "localhost:9001", "/next"),
            ("http://127.0.0.1:9055/.rt", "127.0.0.1:9055", "/.rt/next"),
            ("http://[::1]:9055/.rt/", "[::1]:9055", "/.rt/next"),
            ("http://runtime", "runtime:80", "/next"),
        ] {
            let address = Address::parse(told).unwrap();
            let request = address.request(Method::GET, "/next").unwrap();
            assert_eq!(address.authority, authority);
            assert_eq!(
                (request.uri().to_string().as_str(), &request.headers()[HOST]),
                (target, &authority.parse().unwrap())
            );
        }
        for told in ["", "/next", "https://127.0.0.1:9001", "a host"] {
            Address::parse(told).unwrap_err();
        }
    }

    #[tokio::test]
    async fn one_connection_is_kept_and_an_answer_comes_in_parts() {
        let (mut api, listener) = between().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..4 {
                let asked = heard(&mut stream, 2).await;
                assert!(asked.contains("content-length: 2\r\n") && asked.ends_with("\r\n\r\nhi"), "{asked}");
                for part in ["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 5\r\nx-a: b\r\n\r\nhe", "llo"] {
                    stream.write_all(part.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        for before in [None, None, Some("h"), None] {
            let mut request = post(&api, "/x", "hi");
            if let Some(before) = before {
                *request.body_mut() = pieces((Some(before.into()), "i".into()));
            }
            let answer = api.ask(request).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
            assert_eq!(answer.headers["x-a"], "b");
        }
        server.await.unwrap();
    }

    /// What may have been taken is not said twice; what cannot have been is said again.
    #[tokio::test]
    async fn a_connection_that_has_ended_is_opened_again() {
        let (mut api, listener) = between().await;
        let server = tokio::spawn(async move {
            for said in ["", "connection: close\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                heard(&mut stream, 1).await;
                let answer = format!("HTTP/1.1 202 Accepted\r\n{said}content-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            heard(&mut stream, 1).await;
            drop(stream);
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(heard(&mut stream, 1).await.ends_with('4'));
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        for body in ["1", "2"] {
            assert_eq!(api.ask(post(&api, "/x", body)).await.unwrap().status, StatusCode::ACCEPTED);
            // The end arrives.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(api.ask(post(&api, "/x", "3")).await.is_err(), "it was heard, and not answered");
        api.ask(post(&api, "/x", "4")).await.unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_there() {
        let (mut api, listener) = between().await;
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = api.ask(post(&api, "/x", "")).await.err().unwrap().to_string();
        assert!(error.starts_with(&address), "{error}");
    }
}
