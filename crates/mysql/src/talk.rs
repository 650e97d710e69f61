//! Commands and their answers on a wire: sent together where the server takes that, and read while they are written.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;

use bytes::{BufMut as _, BytesMut};
use lambda_rds_core::connect::wire::{FEED, Wire};
use lambda_rds_core::error::{Error, Fault, Result};
use lambda_rds_core::value::Argument;

use crate::answer::{Answer, Garbage, Kind, Part, Prepared, Standing};
use crate::bind;
use crate::capability::Capabilities;
use crate::decode::Described;
use crate::packet::{ERROR, HEADER, Header, Refusal, Rest, SPLIT};

/// What is said to the server.
#[derive(Debug, Clone)]
pub(crate) enum Command<'a> {
    /// Statements of ours, as text.
    Text(Cow<'a, str>),
    Prepare(&'a str),
    /// A prepared statement with its values.
    Execute(u32, &'a [Argument]),
    /// Forgets a prepared statement. Is not answered.
    Close(u32),
    Ping,
}

impl Command<'_> {
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Text(_) | Self::Execute(..) => Some(Kind::Results),
            Self::Prepare(_) => Some(Kind::Prepared),
            Self::Ping => Some(Kind::Plain),
            Self::Close(_) => None,
        }
    }

    fn write(&self, out: &mut BytesMut) -> Result<()> {
        match self {
            Self::Text(sql) => {
                out.put_u8(COM_QUERY);
                out.put_slice(sql.as_bytes());
            }
            Self::Prepare(sql) => {
                out.put_u8(COM_STMT_PREPARE);
                out.put_slice(sql.as_bytes());
            }
            Self::Execute(id, arguments) => bind::execute(*id, arguments, out)?,
            Self::Close(id) => {
                out.put_u8(COM_STMT_CLOSE);
                out.put_u32_le(*id);
            }
            Self::Ping => out.put_u8(COM_PING),
        }
        Ok(())
    }

    fn fits(&self, length: usize, too_long: usize) -> Result<()> {
        if length < too_long {
            return Ok(());
        }
        let detail = format!(
            "a message of {length} bytes, where the server takes fewer than {too_long} (its max_allowed_packet)"
        );
        Err(match self {
            Self::Execute(..) => {
                let message = "The parameters have more bytes than the database takes for one statement.";
                Error::told(Fault::BadParameter, message).with_detail(detail).with_sqlstate(TOO_LONG)
            }
            _ => Error::new(Fault::QueryFailed, detail),
        })
    }

    /// Writes it in packets, and tells in how many.
    ///
    /// # Errors
    /// [`bind::execute`]'s, and that it has [`Talk::too_long`] bytes. Nothing was written.
    pub(crate) fn put(&self, out: &mut BytesMut, too_long: usize) -> Result<u8> {
        let start = out.len();
        out.put_bytes(0, HEADER);
        let written = self.write(out);
        let length = out.len() - start - HEADER;
        if let Err(error) = written.and_then(|()| self.fits(length, too_long)) {
            out.truncate(start);
            return Err(error);
        }
        if length < SPLIT {
            let [a, b, c, ..] = length.to_le_bytes();
            out[start..start + 3].copy_from_slice(&[a, b, c]);
            return Ok(1);
        }
        // What fills a packet goes on in the next one, which may be empty.
        let content = out.split_off(start + HEADER);
        out.truncate(start);
        let mut number = 0_u8;
        for chunk in content.chunks(SPLIT).chain(length.is_multiple_of(SPLIT).then_some(&[][..])) {
            let [a, b, c, ..] = chunk.len().to_le_bytes();
            out.put_slice(&[a, b, c, number]);
            out.put_slice(chunk);
            number = number.wrapping_add(1);
        }
        Ok(number)
    }
}

/// Who hears the answers.
pub(crate) trait Listener {
    /// A packet of the answer to the command of this index.
    fn hear(&mut self, command: usize, part: Part<'_>) -> Heard;

    /// A row of the answer that is too large to be held, and was passed over.
    fn too_large(&mut self, command: usize) -> Heard;

    /// The server is about to be waited for.
    fn pause(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a listener makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Go on.
    Wanted,
    /// Go on, with nothing more to be sent that has not been: something has failed.
    Enough,
}

/// Why a talk ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connection broke.
    Wire(io::Error),
    /// The server breaks the protocol.
    Garbage,
    /// The server's last word before it hangs up, which answers nothing.
    Last(Refusal),
    /// A value cannot be sent. All that was sent before has been answered.
    Ours(Error),
    /// The server has more to say of what nobody wants than is waited for.
    Unread,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Wire(error)
    }
}

impl From<Garbage> for Stop {
    fn from(Garbage: Garbage) -> Self {
        Self::Garbage
    }
}

/// A talk on a wire.
pub(crate) struct Talk<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) standing: &'a mut Standing,
    pub(crate) spoken: Capabilities,
    /// Whether a command may go out before the last one is answered.
    pub(crate) ahead: bool,
    /// A message of so many bytes is one that the server does not take: it hangs up, often before it can be heard why.
    pub(crate) too_long: usize,
    /// How many bytes of an answer are read that nobody wants.
    pub(crate) unread: u64,
}

/// A command that waits for its answer.
struct Asked {
    /// Its index.
    command: usize,
    answer: Answer,
    /// The number of the answer's next packet.
    number: u8,
    ours: bool,
}

impl Talk<'_> {
    /// Says these commands and hears their answers, in their order.
    ///
    /// # Errors
    /// Why not all was said and answered. What the server refuses is no error but an answer.
    ///
    /// # Cancel safety
    /// [`Standing::owed`] counts what was said and not answered.
    pub(crate) async fn say(
        mut self,
        commands: &[Command<'_>],
        listener: &mut impl Listener,
    ) -> Result<(), Stop> {
        let mut asked: VecDeque<Asked> = VecDeque::new();
        let mut said = 0;
        let mut stop = None;
        let mut enough = false;
        loop {
            while said < commands.len()
                && !enough
                && (self.ahead || asked.is_empty())
                && self.wire.output().len() < FEED
            {
                match commands[said].put(self.wire.output(), self.too_long) {
                    Ok(packets) => {
                        if let Some(kind) = commands[said].kind() {
                            let answer = Answer::new(kind, self.spoken);
                            let ours = !matches!(commands[said], Command::Execute(..));
                            asked.push_back(Asked { command: said, answer, number: packets, ours });
                            self.standing.owed += 1;
                        }
                        said += 1;
                    }
                    Err(error) => {
                        stop = Some(Stop::Ours(error));
                        enough = true;
                    }
                }
            }
            if asked.is_empty() && (enough || said == commands.len()) {
                if !self.wire.input().is_empty() {
                    // Nobody has asked for it: the server takes leave, or it would be taken for the next answer.
                    self.standing.owed += 1;
                }
                return stop.map_or(Ok(()), Err);
            }
            while let Some(current) = asked.front_mut() {
                let Some((heard, last)) = self.hear(current, listener).await? else { break };
                enough |= heard == Heard::Enough;
                if last {
                    asked.pop_front();
                    self.standing.owed -= 1;
                }
            }
            // What was refused before all of it had been sent has no answer to come, and may still fill the output.
            let waits = !asked.is_empty();
            if waits {
                listener.pause().await;
            }
            let more = self.ahead && !enough && said < commands.len();
            if waits || more && self.wire.output().len() >= FEED {
                self.wire.turn(more).await?;
            }
        }
    }

    /// Hears the next packet, if all of it is there; and whether it was the last one of its answer.
    async fn hear(
        &mut self,
        asked: &mut Asked,
        listener: &mut impl Listener,
    ) -> Result<Option<(Heard, bool)>, Stop> {
        let Some(header) = Header::read(self.wire.input()) else { return Ok(None) };
        if asked.answer.in_rows() && header.length >= LARGEST_ROW {
            self.in_order(asked, header)?;
            let heard = listener.too_large(asked.command);
            self.pass_over(asked, header).await?;
            return Ok(Some((heard, false)));
        }
        if header.length == 0 || !asked.answer.in_rows() && header.length > LONGEST {
            return Err(Stop::Garbage);
        }
        let Some(content) = self.wire.input().get(HEADER..HEADER + header.length) else { return Ok(None) };
        if header.number != asked.number && content[0] == ERROR {
            return Err(Refusal::parse(content).map_or(Stop::Garbage, Stop::Last));
        }
        if header.number != asked.number {
            return Err(Stop::Garbage);
        }
        asked.number = asked.number.wrapping_add(1);
        let (part, last) = asked.answer.read(content, header.length)?;
        self.standing.note(&part, asked.ours);
        let is_row = matches!(part, Part::Row(_));
        let heard = listener.hear(asked.command, part);
        self.wire.take(HEADER + header.length);
        if is_row && heard == Heard::Enough {
            self.count_unread(header.length)?;
        }
        Ok(Some((heard, last)))
    }

    /// Passes over a row that may fill several packets.
    async fn pass_over(&mut self, asked: &mut Asked, mut header: Header) -> Result<(), Stop> {
        loop {
            self.wire.skip(HEADER + header.length).await?;
            self.count_unread(header.length)?;
            if !header.is_full() {
                return Ok(());
            }
            header = loop {
                match Header::read(self.wire.input()) {
                    Some(header) => break header,
                    None => self.wire.turn(false).await?,
                };
            };
            self.in_order(asked, header)?;
        }
    }

    fn in_order(&self, asked: &mut Asked, header: Header) -> Result<(), Stop> {
        if header.number != asked.number {
            return Err(Stop::Garbage);
        }
        asked.number = asked.number.wrapping_add(1);
        Ok(())
    }

    fn count_unread(&mut self, bytes: usize) -> Result<(), Stop> {
        self.unread = self.unread.checked_sub(bytes as u64).ok_or(Stop::Unread)?;
        Ok(())
    }
}

/// The answers to commands of ours, kept.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) answers: Vec<Collection>,
    /// Whether what follows a refusal is to be said all the same.
    pub(crate) go_on: bool,
}

/// One answer.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) refused: Option<Refusal>,
    pub(crate) prepared: Option<Prepared>,
    pub(crate) columns: Vec<Described>,
    /// Of text, in all its results.
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// How many results have ended well.
    pub(crate) done: usize,
}

impl Collected {
    pub(crate) fn new(commands: usize) -> Self {
        Self { answers: (0..commands).map(|_| Collection::default()).collect(), go_on: false }
    }

    /// The first refusal, and which command it was.
    pub(crate) fn refused(&self) -> Option<(usize, &Refusal)> {
        self.answers
            .iter()
            .enumerate()
            .find_map(|(command, answer)| answer.refused.as_ref().map(|refused| (command, refused)))
    }
}

impl Listener for Collected {
    fn hear(&mut self, command: usize, part: Part<'_>) -> Heard {
        let Some(answer) = self.answers.get_mut(command) else { return Heard::Enough };
        match part {
            Part::Refused(refusal) => {
                answer.refused = Some(refusal);
                return if self.go_on { Heard::Wanted } else { Heard::Enough };
            }
            Part::Prepared(prepared) => answer.prepared = Some(prepared),
            Part::Column(column) => answer.columns.extend(Described::parse(column)),
            Part::Row(row) => answer.rows.extend(text_row(row)),
            Part::Done(_) => answer.done += 1,
            Part::Columns(_) | Part::Other => {}
        }
        Heard::Wanted
    }

    fn too_large(&mut self, _: usize) -> Heard {
        Heard::Wanted
    }
}

/// A row of an answer to text. `None` if it is none.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html>
fn text_row(content: &[u8]) -> Option<Vec<Option<String>>> {
    let mut rest = Rest(content);
    let mut row = Vec::new();
    while let Some(first) = rest.0.first() {
        row.push(if *first == NULL {
            rest.take(1)?;
            None
        } else {
            Some(String::from_utf8_lossy(rest.counted()?).into_owned())
        });
    }
    Some(row)
}

/// The failure of a statement whose row is too large to be held.
#[cold]
pub(crate) fn too_large() -> Error {
    Error::told(
        Fault::ResultTooLarge,
        "A row of the result is larger than the 12 MiB that are read at once. Ask for a part of it at a time.",
    )
    .with_detail("select a part of a long value, such as `SUBSTRING(data, :start, 100000)`")
}

pub(crate) const COM_QUIT: u8 = 1;
pub(crate) const COM_QUERY: u8 = 3;
pub(crate) const COM_PING: u8 = 0x0e;
pub(crate) const COM_STMT_PREPARE: u8 = 0x16;
pub(crate) const COM_STMT_CLOSE: u8 = 0x19;
/// The first byte of a value in text that is none.
const NULL: u8 = 0xfb;
/// The number by which the server tells the same.
const TOO_LONG: &str = "1153";
/// A row from this length on is not held.
const LARGEST_ROW: usize = 12 << 20;
/// No other packet is longer: the longest are messages and names.
const LONGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lambda_rds_core::value::{Kind, Scalar, Value};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn text(length: usize) -> [Argument; 1] {
        let kind = Kind { scalar: Scalar::Text, array: false };
        [Argument { name: "long".into(), kind, value: Value::Text("x".repeat(length)) }]
    }

    /// A server that refuses a message by its front, and takes nothing more.
    #[tokio::test]
    async fn what_is_refused_before_it_is_sent_is_sent_or_broken_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server.read_exact(&mut [0; 100]).await.unwrap();
            server.write_all(b"\x09\0\0\x01\xff\x81\x04#08S01").await.unwrap();
            // The rest stays where it is, until the test has seen that nobody waits for it in vain.
            let _ = stopped.await;
        });
        let (mut wire, mut standing) = (Wire::plain(tcp), Standing::new());
        let spoken = Capabilities::default();
        let talk = Talk {
            wire: &mut wire,
            standing: &mut standing,
            spoken,
            ahead: true,
            too_long: usize::MAX,
            unread: u64::MAX,
        };
        // One packet, and more than a socket holds.
        let long = text(12 << 20);
        let commands = [Command::Execute(1, &long), Command::Text("SELECT 1".into())];
        let mut heard = Collected { go_on: true, ..Collected::new(commands.len()) };
        // The timer runs only where the talk waits.
        let said = tokio::time::timeout(Duration::from_secs(1), talk.say(&commands, &mut heard)).await;
        assert!(said.is_err(), "{said:?}");
        assert_eq!(heard.answers[0].refused.as_ref().map(|refusal| refusal.number), Some(1153));
        drop(stop);
        serving.await.unwrap();
    }

    #[test]
    fn what_the_server_does_not_take_is_not_sent() {
        let (mut out, long) = (BytesMut::new(), text(100));
        let command = Command::Execute(1, &long);
        command.put(&mut out, usize::MAX).unwrap();
        let length = out.len() - HEADER;
        assert_eq!(command.put(&mut out, length + 1).unwrap(), 1);
        let error = command.put(&mut out, length).unwrap_err();
        assert_eq!(error.fault(), Fault::BadParameter);
        assert!(error.detail().contains("max_allowed_packet") && !error.detail().contains("xx"), "{error:?}");
        let error = Command::Prepare("SELECT 1").put(&mut out, 4).unwrap_err();
        assert_eq!((error.fault(), out.len()), (Fault::QueryFailed, 2 * (length + HEADER)));
    }
}
