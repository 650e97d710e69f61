//! MySQL's side of IAM authentication: asks each user for the password in the clear, over TLS, and judges it itself.
//!
//! On RDS a plugin of the server does that. No server that can be had has one that asks so, PAM being left out of the
//! packages; so this stands before a real one, takes over the login alone, and lets everything else pass.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::background::{self, lock};
use crate::certs::{Authority, SERVER_NAMES};
use crate::mysql::Mysql;
use crate::standin::acceptor;

/// A door before a MySQL or MariaDB server that lets in whoever brings a token. Its users have no password on the
/// server itself. Dropped: port closed, connections cut.
#[derive(Debug)]
pub struct MysqlTokens {
    address: SocketAddr,
    accepting: AbortHandle,
    seen: Seen,
    folder: TempDir,
}

/// Users and their tokens.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

impl MysqlTokens {
    /// Stands before `server` on a free port of 127.0.0.1, with a certificate of its own, and finds all tokens good,
    /// or all bad.
    ///
    /// # Errors
    /// If there is no free port, or no folder for the certificate of its authority.
    pub fn start(server: &Mysql, accepts: bool) -> Result<Self> {
        let authority = Authority::new("lambda-rds testbed CA of the token gate")?;
        let tls = acceptor(&authority.issue(&SERVER_NAMES)?)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = background::handle()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let seen = Seen::default();
        let gate = Gate { server: server.address(), tls, accepts, seen: Arc::clone(&seen) };
        let accepting = runtime.spawn(accept(listener, gate)).abort_handle();
        Ok(Self { address, accepting, seen, folder })
    }

    /// Address and port, to put a [`crate::Proxy`] in front.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file of the authority that a client must trust.
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Users and the tokens that they brought, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, String)> {
        lock(&self.seen).clone()
    }
}

impl Drop for MysqlTokens {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Gate {
    server: SocketAddr,
    tls: TlsAcceptor,
    accepts: bool,
    seen: Seen,
}

async fn accept(listener: TcpListener, gate: Gate) {
    // The connections live in this task's set, and end with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let gate = gate.clone();
        // An error is a client that hung up or that is not ours, and is told by the connection's end.
        connections.spawn(async move {
            let _ = gate.serve(client).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Gate {
    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>
    async fn serve(&self, mut client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        // The server's greeting as it is: version, thread, nonce.
        let greeting = read(&mut server, 0).await?;
        write(&mut client, 0, &greeting).await?;
        let request = read(&mut client, 1).await?;
        ensure!(request.len() == HELLO, "the client does not ask for TLS");
        let mut client = self.tls.accept(client).await?;
        let introduction = read(&mut client, 2).await?;
        ensure!(introduction.get(..HELLO) == Some(&request[..]), "the client has changed its mind");

        let (user, rest) = split_text(introduction.get(HELLO..).unwrap_or_default())?;
        let (&answer, rest) = rest.split_first().context("no answer to the nonce")?;
        let rest = rest.get(usize::from(answer)..).context("the answer to the nonce is cut short")?;
        write(&mut client, 3, b"\xfemysql_clear_password\0").await?;
        let token = read(&mut client, 4).await?;
        let token = token.strip_suffix(b"\0").context("a token that does not end")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        lock(&self.seen).push((text(user), text(token)));
        if !self.accepts {
            write(&mut client, 5, b"\xff\x15\x04#28000Access denied for user (using password: YES)").await?;
            return Ok(());
        }
        // The same introduction without TLS and with no password.
        let mut hello = request;
        hello[1] &= !SSL;
        let login = [&hello[..], user, b"\0\0", rest].concat();
        write(&mut server, 1, &login).await?;
        let verdict = read(&mut server, 2).await?;
        write(&mut client, 5, &verdict).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}

/// Up to a zero byte, and what follows it.
fn split_text(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0).context("a text that does not end")?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

async fn read(stream: &mut (impl AsyncRead + Unpin), number: u8) -> Result<Vec<u8>> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    ensure!(header[3] == number, "packet {} in place of {number}", header[3]);
    let mut content = vec![0; usize::try_from(u32::from_le_bytes([header[0], header[1], header[2], 0]))?];
    stream.read_exact(&mut content).await?;
    Ok(content)
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), number: u8, content: &[u8]) -> Result<()> {
    let length = u32::try_from(content.len())?.to_le_bytes();
    let packet = [&[length[0], length[1], length[2], number], content].concat();
    stream.write_all(&packet).await?;
    Ok(stream.flush().await?)
}

/// A request for TLS, and what an introduction begins with: capabilities, longest packet, character set, filling.
const HELLO: usize = 32;
/// CLIENT_SSL, in the capabilities' second byte.
const SSL: u8 = 0x08;
