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

    /// Writes it in packets, and tells in how many.
    ///
    /// # Errors
    /// [`bind::execute`]'s. Nothing was written.
    pub(crate) fn put(&self, out: &mut BytesMut) -> Result<u8> {
        let start = out.len();
        out.put_bytes(0, HEADER);
        if let Err(error) = self.write(out) {
            out.truncate(start);
            return Err(error);
        }
        let length = out.len() - start - HEADER;
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
                match commands[said].put(self.wire.output()) {
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
            if !asked.is_empty() {
                listener.pause().await;
                let more = self.ahead && !enough && said < commands.len();
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
/// A row from this length on is not held.
const LARGEST_ROW: usize = 12 << 20;
/// No other packet is longer: the longest are messages and names.
const LONGEST: usize = 1 << 20;
