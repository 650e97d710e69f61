//! As much of MySQL's protocol as the testbed needs to set up its servers: a login without a password, and the
//! rows of a statement as text.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long a statement may take.
const LIMIT: Duration = Duration::from_secs(120);

/// One connection as root.
#[derive(Debug)]
pub(super) struct Client(UnixStream);

impl Client {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("cannot connect to the server")?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut client = Self(stream);
        let (_, greeting) = client.read()?;
        answer(&greeting)?;
        // HandshakeResponse41: capabilities, longest packet, utf8mb4, 23 bytes of filling, the user, no password.
        let mut login = (PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH).to_le_bytes().to_vec();
        login.extend_from_slice(&(1_u32 << 24).to_le_bytes());
        login.push(45);
        login.extend_from_slice(&[0; 23]);
        login.extend_from_slice(b"root\0\0mysql_native_password\0");
        client.write(1, &login)?;
        loop {
            let (sequence, packet) = client.read()?;
            match answer(&packet)? {
                0 => return Ok(client),
                // Another plugin, for which no password is nothing as well.
                0xfe => client.write(sequence.wrapping_add(1), b"")?,
                // The plugin's own words, with an OK to follow.
                _ => {}
            }
        }
    }

    /// Runs a statement and gives its rows, NULL as nothing.
    pub(super) fn query(&mut self, statement: &str) -> Result<Vec<Vec<String>>> {
        Ok(self.table(statement)?.1)
    }

    /// The same with the names of the columns.
    pub(super) fn table(&mut self, statement: &str) -> Result<(Vec<String>, Vec<Vec<String>>)> {
        let mut command = vec![3];
        command.extend_from_slice(statement.as_bytes());
        self.write(0, &command)?;
        let (_, first) = self.read()?;
        if answer(&first)? == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let columns = length(&mut first.as_slice())?.context("a result without columns")?;
        let mut names = Vec::new();
        for _ in 0..columns {
            // Catalog, schema, table and its original name come before the name.
            let (_, column) = self.read()?;
            names.extend(values(&column, 5)?.pop());
        }
        // An EOF.
        self.read()?;
        let mut rows = Vec::new();
        loop {
            let (_, packet) = self.read()?;
            if answer(&packet)? == 0xfe && packet.len() < 9 {
                return Ok((names, rows));
            }
            rows.push(values(&packet, usize::MAX)?);
        }
    }

    fn read(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).context("the server hung up")?;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut packet = vec![0; usize::try_from(length)?];
        self.0.read_exact(&mut packet).context("the server hung up")?;
        Ok((header[3], packet))
    }

    fn write(&mut self, sequence: u8, packet: &[u8]) -> Result<()> {
        let length = u32::try_from(packet.len())?.to_le_bytes();
        let mut message = vec![length[0], length[1], length[2], sequence];
        message.extend_from_slice(packet);
        self.0.write_all(&message).context("the server hung up")
    }
}

impl Drop for Client {
    /// Takes its leave, so that the server does not count it among the clients that went without a word.
    fn drop(&mut self) {
        let _ = self.write(0, &[1]);
    }
}

/// The packet's first byte, if it is no error.
fn answer(packet: &[u8]) -> Result<u8> {
    match packet {
        [0xff, low, high, text @ ..] => {
            bail!("{}: {}", u16::from_le_bytes([*low, *high]), String::from_utf8_lossy(text))
        }
        [first, ..] => Ok(*first),
        [] => bail!("an empty packet"),
    }
}

/// The first `limit` length-encoded values of a packet as text, NULL as nothing.
fn values(packet: &[u8], limit: usize) -> Result<Vec<String>> {
    let mut rest = packet;
    let mut values = Vec::new();
    while !rest.is_empty() && values.len() < limit {
        values.push(match length(&mut rest)? {
            Some(length) => {
                let (value, left) = rest.split_at_checked(length).context("a value is cut off")?;
                rest = left;
                String::from_utf8_lossy(value).into_owned()
            }
            None => String::new(),
        });
    }
    Ok(values)
}

/// A length-encoded integer; `None` for NULL.
fn length(rest: &mut &[u8]) -> Result<Option<usize>> {
    let (&first, after) = rest.split_first().context("a length is missing")?;
    let bytes = match first {
        0xfb => {
            *rest = after;
            return Ok(None);
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => {
            *rest = after;
            return Ok(Some(first.into()));
        }
    };
    let (encoded, after) = after.split_at_checked(bytes).context("a length is cut off")?;
    let mut whole = [0; 8];
    whole[..bytes].copy_from_slice(encoded);
    *rest = after;
    Ok(Some(usize::try_from(u64::from_le_bytes(whole))?))
}

const PROTOCOL_41: u32 = 0x200;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
