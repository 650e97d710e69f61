//! sea-orm's driver, for code of one's own: sqlx, on a session of ours. See [`lambda_rds_core::connect::door`].

mod around;
mod errors;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
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
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Either, Executor as _};

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
    /// The statements that have run here behind a pooler, by the hash of their text.
    met: HashSet<u64>,
}

impl PgDriver {
    async fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Whether a statement has not been met here. Behind a pooler it gets a name then, for as long as it runs: of a type
    /// that the driver does not know, it asks the catalog after it has prepared, and by that the server forgets a
    /// statement without a name.
    fn is_new(&mut self, sql: &Sql) -> bool {
        const KEPT: usize = 1_000;
        let Sql::Prepared(sea_orm::Statement { sql, .. }) = sql else { return false };
        if self.met.len() >= KEPT {
            self.met.clear();
        }
        self.met.insert(hash(sql))
    }

    async fn send(
        &mut self,
        sql: Sql,
        persistent: bool,
    ) -> Result<BoxStream<'_, sqlx::Result<Either<PgQueryResult, PgRow>>>, sqlx::Error> {
        let connection = self.connection().await?;
        Ok(match sql {
            Sql::Prepared(statement) => {
                let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values));
                connection.fetch_many(query.persistent(persistent))
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
        Ok(Self { pool, connection: Some(connection), met: HashSet::new() })
    }

    fn database(&mut self) -> DatabaseConnection {
        // Given back to the pool, from which sea-orm takes it for each statement.
        drop(self.connection.take());
        SqlxPostgresConnector::from_sqlx_postgres_pool(self.pool.clone())
    }

    fn stream<'a>(&'a mut self, protocol: &'a Pg, sql: Sql) -> BoxStream<'a, Result<Item, Failure>> {
        let pooled = protocol.pooling != Pooling::None;
        let (at, log_values) = (At::ours(protocol.doing), protocol.log_values);
        Box::pin(async_stream::stream! {
            let mut failed = None;
            let parameters = matches!(&sql, Sql::Prepared(statement) if statement.values.is_some());
            let named = pooled && self.is_new(&sql);
            match self.send(sql, named || !pooled).await {
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
            let answered = |error: &sqlx::Error| matches!(error, sqlx::Error::Database(_));
            if named && failed.as_ref().is_none_or(answered) {
                let forgotten = match self.connection().await {
                    Ok(connection) => connection.clear_cached_statements().await,
                    Err(error) => Err(error),
                };
                failed = failed.or(forgotten.err());
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
            ours: Messages::default(),
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
    /// The statements that the driver has given a name, and the hash of the text of each.
    named: HashMap<Vec<u8>, u64>,
    /// What is around the driver's statement, if anything is.
    around: Option<Around>,
}

/// What the driver has said since its last Sync.
#[derive(Debug, Default)]
struct Turn {
    kinds: Vec<u8>,
    /// A name, and the hash of the statement that is to have it.
    parsed: Option<(Vec<u8>, u64)>,
    /// The hash of the statement that was bound last.
    bound: Option<u64>,
}

/// Where messages begin, of bytes that come in pieces.
#[derive(Debug, Default)]
struct Messages {
    /// The front of the current message, as far as it is kept.
    kept: Vec<u8>,
    /// How much of the current message is yet to come, once its header is there.
    rest: Option<usize>,
}

/// A piece of a message.
#[derive(Debug)]
struct Piece<'a> {
    kind: u8,
    bytes: &'a [u8],
    begins: bool,
    /// The message's body, if it ends here: all of it, if it is short or the text of a statement.
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
            let most = if kind == b'P' { usize::MAX } else { HEADER + SHORT };
            let room = most.saturating_sub(self.kept.len()).min(end - of_header);
            self.kept.extend_from_slice(&piece[of_header..][..room]);
            bytes = next;
            let rest = rest - (end - of_header);
            let body = (rest == 0).then(|| &self.kept[HEADER..]);
            each(Piece { kind, bytes: piece, begins, body });
            self.rest = Some(rest);
            if rest == 0 {
                self.kept.clear();
                self.rest = None;
            }
        }
    }
}

impl Turn {
    /// Whether it runs this statement, which it has been described before, and nothing else.
    fn runs(&self, statement: u64) -> bool {
        // Bind, Execute, Close.
        self.kinds == *b"BEC" && self.bound == Some(statement)
    }

    /// The driver has said this.
    fn said(&mut self, kind: u8, body: &[u8], named: &mut HashMap<Vec<u8>, u64>) {
        let mut rest = Rest(body);
        match kind {
            b'P' => self.parsed = rest.text().zip(rest.text()).map(|(name, sql)| (name.to_vec(), hash(sql))),
            b'B' => {
                let statement = rest.text().and_then(|_portal| rest.text());
                self.bound = statement.and_then(|name| named.get(name).copied());
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
        let Self { owed, ours, turn, named, around, .. } = self;
        ours.read(bytes, |Piece { kind, bytes, begins, body }| {
            if begins && let Some(around) = around {
                around.before(kind, turn, out);
            }
            out.extend_from_slice(bytes);
            if let Some(body) = body {
                // Query, Sync.
                *owed += u32::from(matches!(kind, b'Q' | b'S'));
                turn.said(kind, body, named);
            }
        });
    }

    fn heard(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self { status, owed, reported, pooling, servers, turn, named, around, .. } = self;
        servers.read(bytes, |Piece { kind, bytes, body, .. }| {
            let drivers = around.as_ref().is_none_or(|around| around.is_drivers(kind));
            if drivers {
                out.extend_from_slice(bytes);
            }
            let Some(body) = body else { return };
            match (kind, body) {
                (READY, [told]) => (*status, *owed) = (*told, owed.saturating_sub(1)),
                (PARAMETER_STATUS, body) => reported.hear(body),
                // One that has a name behind a pooler is closed in its own transaction, so it is never the last of it.
                (PARSE_COMPLETE, _) if drivers => {
                    let stays = |(name, _): &(Vec<u8>, u64)| *pooling == Pooling::None || name.is_empty();
                    named.extend(turn.parsed.take().filter(stays));
                }
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

/// By which a statement's text is known again.
fn hash(sql: impl AsRef<[u8]>) -> u64 {
    let mut text = DefaultHasher::new();
    sql.as_ref().hash(&mut text);
    text.finish()
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
