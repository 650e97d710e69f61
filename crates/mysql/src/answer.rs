//! What a server answers a command with, packet by packet: where in an answer we are, and what the server says there of the
//! session. No I/O: our own client reads by it, and whoever reads along with the driver.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>

use crate::capability::{self, Capabilities};
use crate::packet::{ERROR, OK, Refusal, Rest, SPLIT};

/// What kind of answer a command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Yes or no.
    Plain,
    /// Results, which may have rows: of `COM_QUERY` and `COM_STMT_EXECUTE`.
    Results,
    /// What was prepared: of `COM_STMT_PREPARE`.
    Prepared,
}

/// Reads one answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    kind: Kind,
    place: Place,
    /// Whether rows follow the columns at once, without a packet between them.
    no_eof: bool,
    /// Whether the server tells of changed settings.
    tracks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first packet of a result.
    Head,
    /// Before a column, of so many.
    Columns(usize),
    /// Before the packet between columns and rows.
    Between,
    /// Before a row or the end.
    Rows,
    /// In what follows `Prepared`: parameters, columns, and a packet behind each of the two if the server sends those.
    Prepared { parameters: usize, columns: usize },
}

/// One packet of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A result with so many columns begins.
    Columns(usize),
    /// One of them.
    Column(&'a [u8]),
    /// A row.
    Row(&'a [u8]),
    /// A result has ended.
    Done(Done),
    /// The statement failed, which ends the answer.
    Refused(Refusal),
    /// A statement is prepared.
    Prepared(Prepared),
    /// Nothing that matters.
    Other,
}

/// What the server says at the end of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Done {
    pub(crate) rows_affected: u64,
    pub(crate) last_insert_id: u64,
    pub(crate) status: u16,
    /// A setting of the session that has changed, if one has.
    pub(crate) changed: Option<String>,
    /// It ends rows, and says nothing of rows affected.
    pub(crate) behind_rows: bool,
}

/// A statement, as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) id: u32,
    pub(crate) parameters: u16,
    pub(crate) columns: u16,
}

/// The server broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Garbage;

impl Answer {
    pub(crate) fn new(kind: Kind, spoken: Capabilities) -> Self {
        Self {
            kind,
            place: Place::Head,
            no_eof: spoken & capability::DEPRECATE_EOF != 0,
            tracks: spoken & capability::SESSION_TRACK != 0,
        }
    }

    /// Whether the next packet may be a row, which can be of any length.
    pub(crate) fn in_rows(&self) -> bool {
        self.place == Place::Rows
    }

    /// Reads the next packet, of which this is the content, and tells whether it was the last one of the answer. Of a
    /// packet in the midst of rows the beginning will do, with the length of the whole.
    ///
    /// # Errors
    /// If it cannot come here.
    pub(crate) fn read<'a>(&mut self, content: &'a [u8], length: usize) -> Result<(Part<'a>, bool), Garbage> {
        let &first = content.first().ok_or(Garbage)?;
        match self.place {
            // A server that is going says so wherever it is.
            _ if first == ERROR && !matches!(self.place, Place::Columns(_)) => {
                Ok((Part::Refused(Refusal::parse(content).ok_or(Garbage)?), true))
            }
            Place::Head => self.head(first, content),
            Place::Columns(left) => {
                self.place = match (left, self.no_eof) {
                    (0 | 1, true) => Place::Rows,
                    (0 | 1, false) => Place::Between,
                    _ => Place::Columns(left - 1),
                };
                Ok((Part::Column(content), false))
            }
            Place::Between if first == EOF && length < 9 => {
                self.place = Place::Rows;
                Ok((Part::Other, false))
            }
            Place::Between => Err(Garbage),
            Place::Rows if first == EOF && length < if self.no_eof { SPLIT } else { 9 } => {
                let done = if self.no_eof { self.ok(content)? } else { eof(content)? };
                Ok(self.done(Done { behind_rows: true, ..done }))
            }
            Place::Rows => Ok((Part::Row(content), false)),
            Place::Prepared { parameters, columns } => {
                let of_columns = parameters == 0;
                let (parameters, columns) =
                    if of_columns { (0, columns - 1) } else { (parameters - 1, columns) };
                self.place = Place::Prepared { parameters, columns };
                let part = if of_columns && first != EOF { Part::Column(content) } else { Part::Other };
                Ok((part, (parameters, columns) == (0, 0)))
            }
        }
    }

    fn head<'a>(&mut self, first: u8, content: &'a [u8]) -> Result<(Part<'a>, bool), Garbage> {
        match (self.kind, first) {
            (Kind::Prepared, OK) => {
                let mut rest = Rest(&content[1..]);
                let id = u32::from_le_bytes(rest.array().ok_or(Garbage)?);
                let columns = u16::from_le_bytes(rest.array().ok_or(Garbage)?);
                let parameters = u16::from_le_bytes(rest.array().ok_or(Garbage)?);
                let packets = |number: u16| {
                    if number == 0 { 0 } else { usize::from(number) + usize::from(!self.no_eof) }
                };
                self.place = Place::Prepared { parameters: packets(parameters), columns: packets(columns) };
                let part = Part::Prepared(Prepared { id, parameters, columns });
                Ok((part, parameters == 0 && columns == 0))
            }
            (Kind::Plain | Kind::Results, OK) => {
                let done = self.ok(content)?;
                Ok(self.done(done))
            }
            (Kind::Plain | Kind::Prepared, _) => Err(Garbage),
            (Kind::Results, _) => {
                let mut rest = Rest(content);
                // A file of ours, for which a server may ask here, is none of these numbers.
                let columns = rest.number().and_then(|number| usize::try_from(number).ok());
                let columns = columns.filter(|columns| (1..=MOST_COLUMNS).contains(columns));
                let columns = columns.filter(|_| rest.0.is_empty()).ok_or(Garbage)?;
                self.place = Place::Columns(columns);
                Ok((Part::Columns(columns), false))
            }
        }
    }

    fn done<'a>(&mut self, done: Done) -> (Part<'a>, bool) {
        let last = done.status & MORE_RESULTS_EXISTS == 0;
        self.place = Place::Head;
        (Part::Done(done), last)
    }

    /// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html>
    fn ok(&self, content: &[u8]) -> Result<Done, Garbage> {
        let mut rest = Rest(&content[1..]);
        let rows_affected = rest.number().ok_or(Garbage)?;
        let last_insert_id = rest.number().ok_or(Garbage)?;
        let status = u16::from_le_bytes(rest.array().ok_or(Garbage)?);
        let _warnings: [u8; 2] = rest.array().ok_or(Garbage)?;
        let mut changed = None;
        if self.tracks && status & SESSION_STATE_CHANGED != 0 {
            // What the server says to a human reader.
            rest.counted().ok_or(Garbage)?;
            changed = changes(rest.counted().ok_or(Garbage)?)?;
        }
        Ok(Done { rows_affected, last_insert_id, status, changed, behind_rows: false })
    }
}

/// The first thing that is not as it was, if anything is: `name=value`.
fn changes(bytes: &[u8]) -> Result<Option<String>, Garbage> {
    let mut rest = Rest(bytes);
    let mut changed = None;
    while let Some([kind]) = rest.array() {
        let mut data = Rest(rest.counted().ok_or(Garbage)?);
        let what = match kind {
            SYSTEM_VARIABLE => {
                let name = String::from_utf8_lossy(data.counted().ok_or(Garbage)?).into_owned();
                let value = String::from_utf8_lossy(data.counted().ok_or(Garbage)?).into_owned();
                (name != STATEMENT_ID).then(|| format!("{name}={value}"))
            }
            SCHEMA => Some("database".to_owned()),
            // Transactions, GTIDs, and what is to come.
            _ => None,
        };
        changed = changed.or(what);
    }
    Ok(changed)
}

/// <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_eof_packet.html>
fn eof(content: &[u8]) -> Result<Done, Garbage> {
    let mut rest = Rest(&content[1..]);
    let _warnings: [u8; 2] = rest.array().ok_or(Garbage)?;
    let status = u16::from_le_bytes(rest.array().ok_or(Garbage)?);
    Ok(Done { status, ..Done::default() })
}

/// What the server has said of the session, to whoever listened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The status in the last answer that had one.
    pub(crate) status: u16,
    /// A setting that a statement has changed, so that the session is not what it was.
    pub(crate) changed: Option<String>,
    /// The number of the error that came after that status, in a transaction. Errors have no status: some end the
    /// transaction, and most do not.
    pub(crate) doubt: Option<u16>,
    /// How many commands have not been answered to their end.
    pub(crate) owed: usize,
}

impl Standing {
    /// What a login ends with.
    pub(crate) fn new() -> Self {
        Self { status: crate::greeting::AUTOCOMMIT, changed: None, doubt: None, owed: 0 }
    }

    /// Notes what a packet says. `ours` is a command that may change what we want changed.
    pub(crate) fn note(&mut self, part: &Part<'_>, ours: bool) {
        match part {
            Part::Done(done) => {
                self.status = done.status;
                self.doubt = None;
                if !ours && self.changed.is_none() {
                    self.changed.clone_from(&done.changed);
                }
            }
            Part::Refused(refusal) if self.in_transaction() => self.doubt = Some(refusal.number),
            _ => {}
        }
    }

    /// Whether a transaction is open, or would be begun by the next statement.
    pub(crate) fn in_transaction(&self) -> bool {
        self.status & IN_TRANSACTION != 0 || self.status & AUTOCOMMIT == 0
    }

    /// Whether the failure after the last status has ended the transaction for all that is known of it: a deadlock, a row
    /// that changed under a snapshot, too many locks.
    pub(crate) fn undone(&self) -> bool {
        matches!(self.doubt, Some(1020 | 1206 | 1213 | 1614))
    }
}

/// Status flags.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html>
pub(crate) const IN_TRANSACTION: u16 = 1;
pub(crate) const AUTOCOMMIT: u16 = 2;
pub(crate) const MORE_RESULTS_EXISTS: u16 = 8;
const SESSION_STATE_CHANGED: u16 = 0x4000;
/// What kinds of things may have changed.
const SYSTEM_VARIABLE: u8 = 0;
const SCHEMA: u8 = 1;
/// What MySQL tells of whatever is done: the number of the statement.
const STATEMENT_ID: &str = "statement_id";
/// The first byte of the packet behind rows.
const EOF: u8 = 0xfe;
/// <https://dev.mysql.com/doc/refman/8.4/en/column-count-limit.html>
const MOST_COLUMNS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEPRECATE_EOF: Capabilities = capability::DEPRECATE_EOF;

    /// What a whole answer is read as; an error if it is not done with the last packet.
    fn read(kind: Kind, spoken: Capabilities, packets: &[&[u8]]) -> Result<Vec<String>, Garbage> {
        let mut answer = Answer::new(kind, spoken);
        let mut parts = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            let (part, last) = answer.read(packet, packet.len())?;
            parts.push(format!("{part:?}").split(['(', ' ', '{']).next().unwrap().to_owned());
            if last != (index + 1 == packets.len()) {
                return Err(Garbage);
            }
        }
        Ok(parts)
    }

    #[test]
    fn answers_are_read_to_their_end_and_not_beyond() {
        let ok: &[u8] = &[OK, 1, 7, 2, 0, 0, 0];
        let more: &[u8] = &[OK, 0, 0, 10, 0, 0, 0];
        let end_ok: &[u8] = &[EOF, 0, 0, 2, 0, 0, 0];
        let end_eof: &[u8] = &[EOF, 0, 0, 2, 0];
        let error: &[u8] = b"\xff\x15\x04#28000no";
        let row: &[u8] = &[0, 0, 1];
        let check = |kind, spoken, packets: &[&[u8]], want: &str| {
            assert_eq!(read(kind, spoken, packets).map(|parts| parts.join(" ")), Ok(want.to_owned()));
        };
        check(Kind::Plain, 0, &[ok], "Done");
        check(Kind::Plain, 0, &[error], "Refused");
        check(Kind::Results, 0, &[ok], "Done");
        check(Kind::Results, 0, &[more, ok], "Done Done");
        check(
            Kind::Results,
            0,
            &[&[2], b"\x03def", b"\x03def", end_eof, row, row, end_eof],
            "Columns Column Column Other Row Row Done",
        );
        check(Kind::Results, DEPRECATE_EOF, &[&[1], b"\x03def", row, end_ok], "Columns Column Row Done");
        check(Kind::Results, DEPRECATE_EOF, &[&[1], b"\x03def", row, error], "Columns Column Row Refused");
        check(Kind::Prepared, 0, &[&[OK, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], "Prepared");
        check(
            Kind::Prepared,
            DEPRECATE_EOF,
            &[&[OK, 1, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0], b"\x03def", b"\x03def", b"\x03def"],
            "Prepared Other Other Column",
        );
        check(
            Kind::Prepared,
            0,
            &[&[OK, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], b"\x03def", end_eof, b"\x03def", end_eof],
            "Prepared Other Other Column Other",
        );
        check(Kind::Prepared, 0, &[error], "Refused");
    }

    #[test]
    fn what_cannot_come_is_refused() {
        let check = |kind, packets: &[&[u8]]| {
            assert_eq!(read(kind, DEPRECATE_EOF, packets), Err(Garbage), "{packets:?}");
        };
        check(Kind::Results, &[b"\xfb/etc/passwd"]);
        check(Kind::Results, &[b""]);
        check(Kind::Results, &[&[0xfd, 0xff, 0xff, 0xff]]);
        check(Kind::Results, &[&[2, 0]]);
        check(Kind::Results, &[&[OK, 1]]);
        check(Kind::Plain, &[&[1]]);
        check(Kind::Prepared, &[&[1]]);
        check(Kind::Prepared, &[&[OK, 1]]);
        // Behind the end of the answer, and before it.
        check(Kind::Plain, &[&[OK, 0, 0, 2, 0, 0, 0], &[OK, 0, 0, 2, 0, 0, 0]]);
        check(Kind::Results, &[&[1], b"\x03def"]);
    }

    #[test]
    fn changed_settings_are_told() {
        let answer = Answer::new(Kind::Plain, capability::SESSION_TRACK);
        let mut ok = vec![OK, 0, 0, 2, 0x40, 0, 0, 0, 18, 0, 16, 9];
        ok.extend_from_slice(b"time_zone\x05+0");
        // Cut short.
        assert_eq!(answer.ok(&ok), Err(Garbage));
        ok.extend_from_slice(b"2:00");
        ok[8] += 0;
        let len = ok.len() - 9;
        ok[8] = u8::try_from(len).unwrap();
        ok[10] = u8::try_from(len - 2).unwrap();
        ok[21] = 6;
        assert_eq!(answer.ok(&ok).unwrap().changed.as_deref(), Some("time_zone=+02:00"));
        let mut standing = Standing::new();
        let part = Part::Done(answer.ok(&ok).unwrap());
        standing.note(&part, true);
        assert_eq!(standing.changed, None);
        standing.note(&part, false);
        assert_eq!(standing.changed.as_deref(), Some("time_zone=+02:00"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            kind in prop::sample::select(&[Kind::Plain, Kind::Results, Kind::Prepared][..]),
            spoken in any::<u32>(),
        ) {
            let mut answer = Answer::new(kind, spoken);
            let mut standing = Standing::new();
            for packet in &packets {
                let Ok((part, last)) = answer.read(packet, packet.len()) else { break };
                standing.note(&part, false);
                if last {
                    break;
                }
            }
        }
    }
}
