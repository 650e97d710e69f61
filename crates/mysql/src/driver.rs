//! sea-orm's driver, sqlx, on a session of ours: for code of one's own.

mod errors;
mod greeting;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{BoxStream, StreamExt as _};
use lambda_rds_core::backend::{Failure, Item, Sql, State};
use lambda_rds_core::connect::door::{Driver, Follower, Greeting};
use lambda_rds_core::error::{Error, Fault, Result};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxMySqlConnector};
use sea_query_sqlx::SqlxValues;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPool, MySqlPoolOptions, MySqlSslMode};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Either, Executor as _};

use crate::answer::{Answer, Kind, Standing};
use crate::bind::COM_STMT_EXECUTE;
use crate::capability::Capabilities;
use crate::classify::At;
use crate::packet::{ERROR, HEADER, Header};
use crate::session::{MySql, state};
use crate::talk::{COM_PING, COM_QUERY, COM_QUIT, COM_STMT_CLOSE, COM_STMT_PREPARE};

pub(crate) use errors::classify;

/// The driver, which holds exactly one connection.
///
/// The pool exists for sea-orm, which takes nothing else. The connection is kept checked out, because the pool pings
/// whatever is given back to it: one more round trip, and one that a freeze would catch in mid-flight.
pub(crate) struct MySqlDriver {
    pool: MySqlPool,
    connection: Option<PoolConnection<sqlx::MySql>>,
}

impl MySqlDriver {
    /// The connection, taken back from sea-orm if it has it.
    async fn connection(&mut self) -> Result<&mut MySqlConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Driver<MySql> for MySqlDriver {
    type Follower = Following;

    fn greeting(protocol: &MySql) -> Greeting {
        Greeting {
            first: greeting::greeting(protocol.spoken),
            length: |bytes| Header::read(bytes).map(|header| HEADER + header.length),
            then: greeting::welcome(),
        }
    }

    fn socket(_: &MySql) -> String {
        SOCKET.to_owned()
    }

    async fn connect(_: &MySql, folder: &Path) -> Result<Self> {
        let options = MySqlConnectOptions::new()
            .socket(folder.join(SOCKET))
            .ssl_mode(MySqlSslMode::Disabled)
            // These four make the driver send a `SET` of its own. We have sent ours.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            // The driver would log statements by itself, with other rules than ours.
            .disable_statement_logging();
        let pool = MySqlPoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            // The deadline comes first, and knows more.
            .acquire_timeout(LONG)
            .connect_lazy_with(options);
        let connection = pool.acquire().await.map_err(|error| {
            Error::new(Fault::Internal, format!("the driver did not take the connection: {error}"))
        })?;
        Ok(Self { pool, connection: Some(connection) })
    }

    fn database(&mut self) -> DatabaseConnection {
        // Given back to the pool, from which sea-orm takes it for each statement.
        drop(self.connection.take());
        SqlxMySqlConnector::from_sqlx_mysql_pool(self.pool.clone())
    }

    fn stream<'a>(&'a mut self, protocol: &'a MySql, sql: Sql) -> BoxStream<'a, Result<Item, Failure>> {
        Box::pin(async_stream::stream! {
            let failure = |error: sqlx::Error| {
                let at = At { doing: protocol.doing(), parameters: true, sql: "" };
                Failure {
                    error: errors::to_error(&error, at, protocol.log_values),
                    driver: DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))),
                    around: false,
                }
            };
            let connection = match self.connection().await {
                Ok(connection) => connection,
                Err(error) => {
                    yield Err(failure(error));
                    return;
                }
            };
            let mut items = match sql {
                Sql::Prepared(statement) => {
                    let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
                    connection.fetch_many(sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values)))
                }
                Sql::Script(sql) => connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql))),
            };
            while let Some(item) = items.next().await {
                match item {
                    Ok(Either::Right(row)) => yield Ok(Item::Row(row.into())),
                    Ok(Either::Left(done)) => yield Ok(Item::Done(done.into())),
                    Err(error) => {
                        yield Err(failure(error));
                        return;
                    }
                }
            }
        })
    }

    fn follower(protocol: &MySql) -> Following {
        Following {
            standing: protocol.standing.clone(),
            spoken: protocol.spoken,
            sent: Packets::default(),
            heard: Packets::default(),
            asked: VecDeque::new(),
            lost: false,
        }
    }

    fn lent(protocol: &MySql, follower: &mut Following) {
        *follower = Self::follower(protocol);
    }

    fn caught_up(protocol: &mut MySql, follower: &Following) {
        protocol.standing = follower.standing.clone();
        if follower.lost {
            // Nothing that comes can be understood.
            protocol.standing.owed += 1;
        }
    }
}

impl Drop for MySqlDriver {
    fn drop(&mut self) {
        // Given back, the pool would ping a connection that may hang; detached, it just closes.
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

impl fmt::Debug for MySqlDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlDriver").field("lent", &self.connection.is_none()).finish_non_exhaustive()
    }
}

/// Reads along with the server while the driver speaks.
#[derive(Debug)]
pub(crate) struct Following {
    standing: Standing,
    spoken: Capabilities,
    sent: Packets,
    heard: Packets,
    /// The answers that are outstanding.
    asked: VecDeque<Answer>,
    /// What came cannot be followed.
    lost: bool,
}

impl Follower for Following {
    fn sent(&mut self, bytes: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(bytes);
        let Self { sent, asked, standing, spoken, lost, .. } = self;
        sent.follow(bytes, 1, |header, content| {
            // What goes on from another packet is no command.
            if header.number != 0 {
                return;
            }
            let kind = match content.first() {
                Some(&(COM_QUERY | COM_STMT_EXECUTE)) => Kind::Results,
                Some(&COM_STMT_PREPARE) => Kind::Prepared,
                // Are not answered.
                Some(&(COM_STMT_CLOSE | COM_STMT_SEND_LONG_DATA | COM_QUIT)) => return,
                Some(&COM_PING) => Kind::Plain,
                _ => {
                    *lost = true;
                    return;
                }
            };
            asked.push_back(Answer::new(kind, *spoken));
            standing.owed += 1;
        });
    }

    fn heard(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        let Self { heard, asked, standing, lost, .. } = self;
        heard.follow(bytes, HELD, |header, content| {
            let Some(answer) = asked.front_mut() else {
                *lost = true;
                return;
            };
            // Of a row that fills several packets the first one is told.
            let goes_on = answer.in_rows() && content.first() != Some(&ERROR) && header.is_full();
            match answer.read(content, header.length) {
                Ok((part, last)) => {
                    standing.note(&part, false);
                    if last {
                        asked.pop_front();
                        standing.owed -= 1;
                    }
                    *lost |= goes_on;
                }
                Err(_) => *lost = true,
            }
        });
    }

    fn state(&self) -> State {
        if self.lost { State::Closed } else { state(&self.standing) }
    }

    fn owed(&self) -> bool {
        !self.lost && self.standing.owed > 0
    }
}

/// Follows packets however their bytes are cut.
#[derive(Debug, Default)]
struct Packets {
    /// The current packet as far as it has come, its header included, and no more of it than is looked at.
    begun: Vec<u8>,
    /// How much of it is yet to come that is not looked at.
    rest: usize,
}

impl Packets {
    /// Passes on the beginning of each packet that ends, or of which so many bytes have come.
    fn follow(&mut self, mut bytes: &[u8], most: usize, mut packet: impl FnMut(Header, &[u8])) {
        while !bytes.is_empty() {
            let passed = self.rest.min(bytes.len());
            bytes = &bytes[passed..];
            self.rest -= passed;
            let wanted = Header::read(&self.begun).map_or(HEADER, |header| HEADER + header.length.min(most));
            let taken = bytes.len().min(wanted - self.begun.len());
            self.begun.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Some(header) = Header::read(&self.begun)
                && self.begun.len() == HEADER + header.length.min(most)
            {
                packet(header, &self.begun[HEADER..]);
                self.rest = header.length.saturating_sub(most);
                self.begun.clear();
            }
        }
    }
}

const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
/// The socket's name in the door's folder.
const SOCKET: &str = "mysql.sock";
const LONG: Duration = Duration::from_secs(3600);
/// More than this of a packet is not looked at: the longest that tells of the session are far shorter.
const HELD: usize = 64 * 1024;
