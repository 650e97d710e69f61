//! sea-orm's driver, for code of one's own: sqlx, on a session of ours. See [`lambda_rds_core::connect::door`].

mod around;
mod errors;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::backend::{Alone, Failure, Item, Pooling, Sql, State};
use lambda_rds_core::connect::door::{Driver, Follower, Greeting};
use lambda_rds_core::error::{Error, Fault, Result};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxPostgresConnector};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgQueryResult, PgRow, PgSslMode,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Either, Executor as _};

use crate::classify::At;
use crate::messages::{PARAMETER_STATUS, PARSE_COMPLETE, READY, Rest};
use crate::session::{Pg, state};
use crate::settings::Reported;
use around::Around;

pub(crate) use errors::classify;

/// The driver's connection.
///
/// The pool holds exactly this connection, since sea-orm takes nothing else. It is kept checked out, because the pool
/// pings whatever is given back to it: one more round trip.
pub(crate) struct PgDriver {
    pool: PgPool,
    connection: Option<PoolConnection<sqlx::Postgres>>,
}

impl PgDriver {
    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn send(
        &mut self,
        sql: Sql,
    ) -> Result<BoxStream<'_, sqlx::Result<Either<PgQueryResult, PgRow>>>, sqlx::Error> {
        let connection = self.connection().await?;
        Ok(match sql {
            Sql::Prepared(statement) => {
                let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                connection.fetch_many(sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)))
            }
            Sql::Script(sql) => connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql))),
        })
    }
}

impl Driver<Pg> for PgDriver {
    type Follower = Reader;

    fn greeting(protocol: &Pg) -> Greeting {
        let mut then = b"R\0\0\0\x08\0\0\0\0".to_vec();
        for (name, value) in protocol.reported.iter() {
            let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
            let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
            then.extend_from_slice(&[&b"S"[..], &length.to_be_bytes(), &body].concat());
        }
        // The driver has no use for a key.
        then.extend_from_slice(b"K\0\0\0\x0c\0\0\0\0\0\0\0\0");
        then.extend_from_slice(&[b'Z', 0, 0, 0, 5, protocol.status]);
        Greeting { first: Vec::new(), length: startup_length, then }
    }

    fn socket(_: &Pg) -> String {
        // The name that libpq, and so sqlx, looks for in a socket folder.
        format!(".s.PGSQL.{PORT}")
    }

    async fn connect(_: &Pg, folder: &Path) -> Result<Self> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(folder)
            .port(PORT)
            .username("session")
            .database("session")
            // The wire is encrypted already, on our side of the private socket.
            .ssl_mode(PgSslMode::Disable)
            // The driver would log statements by itself, with other rules than ours.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let connection = pool.acquire().await.map_err(|error| {
            Error::new(Fault::Internal, format!("the driver did not take the connection: {error}"))
        })?;
        Ok(Self { pool, connection: Some(connection) })
    }

    fn database(&mut self) -> DatabaseConnection {
        // Given back to the pool, from which sea-orm takes it for each statement.
        drop(self.connection.take());
        SqlxPostgresConnector::from_sqlx_postgres_pool(self.pool.clone())
    }

    fn stream<'a>(&'a mut self, protocol: &'a Pg, sql: Sql) -> BoxStream<'a, Result<Item, Failure>> {
        let (at, log_values) = (At::ours(protocol.doing), protocol.log_values);
        Box::pin(async_stream::stream! {
            let mut failed = None;
            let parameters = matches!(&sql, Sql::Prepared(statement) if statement.values.is_some());
            match self.send(sql).await {
                Ok(mut items) => while let Some(item) = items.next().await {
                    match item {
                        Ok(Either::Right(row)) => yield Ok(Item::Row(row.into())),
                        Ok(Either::Left(done)) => yield Ok(Item::Done(done.into())),
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                },
                Err(error) => failed = Some(error),
            }
            if let Some(error) = failed {
                yield Err(Failure {
                    error: errors::to_error(&error, At { parameters, ..at }, log_values),
                    driver: DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))),
                    around: false,
                });
            }
        })
    }

    fn follower(protocol: &Pg) -> Reader {
        Reader {
            status: protocol.status,
            owed: 0,
            reported: protocol.reported.clone(),
            login: protocol.login.clone(),
            pooling: protocol.pooling,
            ours: Messages { whole: if protocol.pooled() { b"PB" } else { b"P" }, ..Messages::default() },
            servers: Messages::default(),
            turn: Turn::default(),
            named: HashMap::new(),
            around: None,
        }
    }

    fn lent(protocol: &Pg, follower: &mut Reader) {
        // Only what has a name outlives a lending.
        let named = std::mem::take(&mut follower.named);
        *follower = Reader { named, around: follower.around.take(), ..Self::follower(protocol) };
    }

    fn caught_up(protocol: &mut Pg, follower: &Reader) {
        (protocol.status, protocol.owed) = (follower.status, follower.owed);
        protocol.reported = follower.reported.clone();
    }

    fn goes_around(protocol: &Pg) -> bool {
        protocol.pipeline
    }

    fn lay_around(protocol: &mut Pg, follower: &mut Reader, alone: &Alone) -> Result<()> {
        follower.around = Some(Around::new(protocol, alone)?);
        Ok(())
    }

    fn came_of_it(protocol: &mut Pg, follower: &mut Reader) -> Result<()> {
        follower.around.take().map_or(Ok(()), |around| around.outcome(protocol))
    }
}

impl Drop for PgDriver {
    fn drop(&mut self) {
        // Given back, the pool would ping a connection that may hang; detached, it just closes.
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// The startup message's length stands at its front.
fn startup_length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()
}

/// Reads along, and keeps what the server says of the session's state.
#[derive(Debug)]
pub(crate) struct Reader {
    status: u8,
    /// How many ReadyForQuery are yet to come.
    owed: u32,
    reported: Reported,
    login: Reported,
    pooling: Pooling,
    ours: Messages,
    servers: Messages,
    turn: Turn,
    /// The statements that the driver has given a name: what of each its Parse says behind that.
    named: Named,
    /// What is around the driver's statement, if anything is.
    around: Option<Around>,
}

type Named = HashMap<Vec<u8>, Arc<[u8]>>;

/// What the driver has said since its last Sync.
#[derive(Debug, Default)]
struct Turn {
    kinds: Vec<u8>,
    /// A name, and what of the statement that is to have it its Parse says behind that.
    parsed: Option<(Vec<u8>, Arc<[u8]>)>,
    /// The same of the statement that was bound last.
    bound: Option<Arc<[u8]>>,
}

/// Where messages begin, of bytes that come in pieces.
#[derive(Debug, Default)]
struct Messages {
    /// The front of the current message, as far as it is kept.
    kept: Vec<u8>,
    /// How much of the current message is yet to come, once its header is there.
    rest: Option<usize>,
    /// The kinds that are kept whole.
    whole: &'static [u8],
}

/// A piece of a message.
#[derive(Debug)]
struct Piece<'a> {
    kind: u8,
    bytes: &'a [u8],
    begins: bool,
    /// The message's body, if it ends here; of one that is long and not to be kept whole, its front.
    body: Option<&'a [u8]>,
}

impl Messages {
    /// Hands over each piece of a message.
    fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            let begins = self.kept.is_empty();
            let of_header = HEADER.saturating_sub(self.kept.len()).min(bytes.len());
            self.kept.extend_from_slice(&bytes[..of_header]);
            let kind = self.kept[0];
            if self.rest.is_none() {
                let Some(&[_, a, b, c, d]) = self.kept.first_chunk::<HEADER>() else {
                    each(Piece { kind, bytes, begins, body: None });
                    return;
                };
                let length = u32::from_be_bytes([a, b, c, d]);
                self.rest = Some(usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4));
            }
            let rest = self.rest.unwrap_or_default();
            let end = of_header + rest.min(bytes.len() - of_header);
            let (piece, next) = bytes.split_at(end);
            let most = if self.whole.contains(&kind) { usize::MAX } else { HEADER + SHORT };
            let room = most.saturating_sub(self.kept.len()).min(end - of_header);
            self.kept.extend_from_slice(&piece[of_header..][..room]);
            bytes = next;
            let rest = rest - (end - of_header);
            let body = (rest == 0).then(|| &self.kept[HEADER..]);
            each(Piece { kind, bytes: piece, begins, body });
            self.rest = Some(rest);
            if rest == 0 {
                self.kept.clear();
                self.kept.shrink_to(HEADER + SHORT);
                self.rest = None;
            }
        }
    }
}

impl Turn {
    /// Whether it runs this statement, which it has been described before, and nothing else.
    fn runs(&self, sql: &str) -> bool {
        let bound = self.bound.as_ref().and_then(|shown| Rest(shown).text());
        // Bind, Execute, Close.
        self.kinds == *b"BEC" && bound == Some(sql.as_bytes())
    }

    /// The driver has said this.
    fn said(&mut self, kind: u8, body: &[u8], named: &mut Named) {
        let mut rest = Rest(body);
        match kind {
            b'P' => self.parsed = rest.text().map(|name| (name.to_vec(), rest.0.into())),
            b'B' => {
                let statement = rest.text().and_then(|_portal| rest.text());
                self.bound = statement.and_then(|name| named.get(name).cloned());
            }
            b'C' if rest.array() == Some(*b"S") => {
                named.remove(rest.text().unwrap_or_default());
            }
            b'Q' | b'S' => return *self = Self { parsed: self.parsed.take(), ..Self::default() },
            _ => {}
        }
        self.kinds.push(kind);
    }
}

impl Follower for Reader {
    fn sent(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let Self { owed, pooling, ours, turn, named, around, .. } = self;
        ours.read(bytes, |Piece { kind, bytes, begins, body }| {
            if begins && let Some(around) = around {
                around.before(kind, turn, out);
            }
            match body {
                _ if *pooling == Pooling::None || !matches!(kind, b'P' | b'D' | b'B' | b'C') => {
                    out.extend_from_slice(bytes);
                }
                Some(body) => without_name(kind, body, named, out),
                None => {}
            }
            if let Some(body) = body {
                // Query, Sync.
                *owed += u32::from(matches!(kind, b'Q' | b'S'));
                turn.said(kind, body, named);
            }
        });
    }

    fn heard(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self { status, owed, reported, servers, turn, named, around, .. } = self;
        servers.read(bytes, |Piece { kind, bytes, body, .. }| {
            let drivers = around.as_ref().is_none_or(|around| around.is_drivers(kind));
            if drivers {
                out.extend_from_slice(bytes);
            }
            let Some(body) = body else { return };
            match (kind, body) {
                (READY, [told]) => (*status, *owed) = (*told, owed.saturating_sub(1)),
                (PARAMETER_STATUS, body) => reported.hear(body),
                (PARSE_COMPLETE, _) if drivers => named.extend(turn.parsed.take()),
                _ => {}
            }
            if let Some(around) = around {
                around.heard(kind, body);
            }
        });
    }

    fn state(&self) -> State {
        state(self.status, self.reported.differs(&self.login, self.pooling))
    }

    fn owed(&self) -> bool {
        self.owed > 0
    }
}

/// Says a message that is about a statement's name without that, for poolers: a name would stay on a connection that somebody
/// else gets next, or this one loses between two turns. So a statement is shown once more in front of its values, and since
/// its columns may be others by now than the driver was told, it is told them behind.
fn without_name(kind: u8, body: &[u8], named: &Named, out: &mut BytesMut) {
    let mut say = |kind: u8, parts: &[&[u8]]| {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        out.put_u8(kind);
        out.put_u32(u32::try_from(length + 4).unwrap_or(u32::MAX));
        parts.iter().for_each(|part| out.extend_from_slice(part));
    };
    let mut rest = Rest(body);
    match (kind, body.first()) {
        (b'P', _) if rest.text().is_some() => say(b'P', &[b"\0", rest.0]),
        (b'D' | b'C', Some(b'S')) => say(kind, &[b"S\0"]),
        (b'B', _)
            if let Some((portal, name)) = rest.text().zip(rest.text())
                && let Some(shown) = named.get(name) =>
        {
            say(b'P', &[b"\0", shown]);
            say(b'B', &[portal, b"\0\0", rest.0]);
            say(b'D', &[b"P", portal, b"\0"]);
        }
        _ => say(kind, &[body]),
    }
}

/// By which the driver finds the socket, whatever the server's port is.
const PORT: u16 = 5432;
const HEADER: usize = 5;
/// No setting's value that is watched is longer.
const SHORT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn reader() -> Reader {
        Reader {
            status: b'I',
            owed: 0,
            reported: Reported::default(),
            login: Reported::default(),
            pooling: Pooling::None,
            ours: Messages::default(),
            servers: Messages::default(),
            turn: Turn::default(),
            named: HashMap::new(),
            around: None,
        }
    }

    /// Behind a pooler the server hears of no name, whatever the driver believes.
    #[test]
    fn a_statement_is_shown_with_its_values_instead_of_a_name() {
        let shown = b"P\0\0\0\x13s1\0SELECT $1\0\0\0D\0\0\0\x08Ss1\0S\0\0\0\x04";
        let taken = b"1\0\0\0\x04t\0\0\0\x06\0\0n\0\0\0\x04Z\0\0\0\x05I";
        let run = b"B\0\0\0\x11\0s1\0\0\0values\0E\0\0\0\x09\0\0\0\0\0C\0\0\0\x06P\0S\0\0\0\x04";
        let closed = b"C\0\0\0\x08Ss1\0S\0\0\0\x04";
        for step in (1..60).chain([4096]) {
            let mut reader = Reader {
                pooling: Pooling::Transaction,
                ours: Messages { whole: b"PB", ..Messages::default() },
                ..reader()
            };
            let mut back = Vec::new();
            let say = |reader: &mut Reader, said: &[u8]| {
                let mut out = BytesMut::new();
                said.chunks(step).for_each(|piece| reader.sent(piece, &mut out));
                out.to_vec()
            };
            let parse = b"P\0\0\0\x11\0SELECT $1\0\0\0";
            assert_eq!(say(&mut reader, shown), [&parse[..], b"D\0\0\0\x06S\0S\0\0\0\x04"].concat());
            reader.heard(taken, &mut back);
            let bind = b"B\0\0\0\x0f\0\0\0\0values\0D\0\0\0\x06P\0";
            assert_eq!(say(&mut reader, run), [&parse[..], bind, &run[18..]].concat(), "{step}");
            assert_eq!(say(&mut reader, closed), b"C\0\0\0\x06S\0S\0\0\0\x04");
            assert!(reader.named.is_empty());
        }
    }

    #[test]
    fn the_servers_word_is_read_however_it_is_cut() {
        let said = b"Q\0\0\0\x0aBEGIN\0P\0\0\0\x05\0S\0\0\0\x04";
        let mut heard = b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T1\0\0\0\x04S\0\0\0\x11TimeZone\0PST\0".to_vec();
        heard.extend_from_slice(b"D\0\x01\0\x04");
        heard.resize(heard.len() + 0x1_0000, b'Z');
        heard.extend_from_slice(b"Z\0\0\0\x05E");
        for step in (1..said.len()).chain([4096]) {
            let mut reader = reader();
            let (mut out, mut back) = (BytesMut::new(), Vec::new());
            said.chunks(step).for_each(|piece| reader.sent(piece, &mut out));
            assert_eq!(reader.owed, 2, "{step}");
            heard.chunks(step).for_each(|piece| reader.heard(piece, &mut back));
            assert_eq!((&out[..], &back), (&said[..], &heard), "{step}");
            assert_eq!((reader.owed, reader.state()), (0, State::Failed), "{step}");
            assert_eq!(reader.reported.get("TimeZone"), Some("PST"), "{step}");
        }
    }
}
