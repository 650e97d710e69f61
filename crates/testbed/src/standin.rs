//! A small HTTP/1 server on the testbed's own runtime, under the stand-ins for AWS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::background;
use crate::certs::Issued;

/// What a handler gives back: `None` closes the connection without a reply.
pub(crate) type Reply = Option<Response<Full<Bytes>>>;

/// Answers the requests of one stand-in.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request whose body has been read. Dropped when the client hangs up.
    fn answer(&self, request: Request<Bytes>) -> impl Future<Output = Reply> + Send;

    /// Answers one request whose body it reads itself, if it is such a one; else gives the request back.
    fn read(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Reply, Request<Incoming>>> + Send {
        async { Err(request) }
    }
}

/// A listening server. Dropped: no longer listening, connections closed.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Server {
    /// Listens on a free port of 127.0.0.1; with a certificate, over TLS.
    pub(crate) fn start<H: Handler>(handler: Arc<H>, certificate: Option<&Issued>) -> Result<Self> {
        let tls = certificate.map(acceptor).transpose()?;
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = background::handle()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let accepting = runtime.spawn(accept(listener, tls, handler)).abort_handle();
        Ok(Self { address, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<H: Handler>(listener: TcpListener, tls: Option<TlsAcceptor>, handler: Arc<H>) {
    // The connections live in this task's set, and end with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&handler);
        match &tls {
            None => connections.spawn(serve(stream, handler)),
            Some(tls) => {
                let handshake = tls.accept(stream);
                connections.spawn(async move {
                    if let Ok(stream) = handshake.await {
                        serve(stream, handler).await;
                    }
                })
            }
        };
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<H: Handler>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: Arc<H>) {
    let service = service_fn(|request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move {
            let request = match handler.read(request).await {
                Ok(reply) => return reply.ok_or(Hangup),
                Err(request) => request,
            };
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Hangup)?.to_bytes();
            handler.answer(Request::from_parts(head, body)).await.ok_or(Hangup)
        }
    });
    // An error is a client that hung up, which clients may do.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Ends a connection without a reply: hyper closes it when the service fails.
#[derive(Debug)]
struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hang up")
    }
}

impl std::error::Error for Hangup {}

/// TLS with this certificate.
pub(crate) fn acceptor(issued: &Issued) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A JSON reply.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Some(response)
}
