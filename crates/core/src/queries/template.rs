//! One statement's SQL: its named parameters found, checked, and turned into the engine's placeholders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::lexer::{self, Token, TokenKind};
use super::words::{self, WholeTable};
use super::{Dialect, Param};
use crate::backend::Statement;
use crate::value::{Argument, Kind, Scalar, Value};

/// Something wrong with the SQL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) at: Place,
    pub(super) reason: String,
}

/// Where a flaw is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the SQL, this many bytes from its beginning.
    Sql(usize),
    /// In the declaration of the parameter of this index.
    Param(usize),
}

/// A list has more elements than the statement can have placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    /// Which parameter.
    pub(super) index: usize,
    /// How many elements it may have.
    pub(super) longest: usize,
}

/// A statement whose parameters can be filled in, any number of times.
///
/// Values never become part of the text: it depends on nothing but the *lengths* of the lists.
#[derive(Debug)]
pub(super) struct Template {
    dialect: Dialect,
    parts: Vec<Part>,
    /// The text; where it has lists, as it is with one element each.
    sql: Arc<str>,
    commits: bool,
    /// Whether it defines, changes or drops an object of the database.
    defines: bool,
    /// Whether its rows are made of several, or may be, so that the first of them takes all.
    aggregates: bool,
    /// The table or view of which it takes all rows, if it does.
    whole_table: Option<WholeTable>,
    /// The parameters that stand in LIMIT, OFFSET or FETCH, by index: a number of rows.
    counts: Vec<usize>,
    /// The parameters that expand into a list, by index.
    lists: Vec<usize>,
    /// How many elements a list can have.
    longest: usize,
    /// The texts for other lengths of the lists.
    shapes: Mutex<HashMap<Vec<usize>, Arc<str>>>,
}

/// A part of what a statement is wrapped in.
#[derive(Debug)]
pub(super) enum Wrapping {
    /// Text.
    Text(String),
    /// The statement itself. It may stand there several times, but on MySQL, whose placeholders have no numbers.
    Statement,
    /// The same, and where it takes all rows of one table, with this hint for MySQL about that.
    Hinted(&'static str),
    /// The value of this number, counted from 0 behind those of the statement.
    Value(usize),
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Parameter {
        /// Which parameter.
        index: usize,
        /// Counts the values that are sent, a list as one; uses with the same slot share one.
        slot: usize,
        /// Whether this is the slot's first use.
        first: bool,
        /// Whether it is the last slot's first use of this parameter.
        last: bool,
        written: Written,
    },
}

/// How a use is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// As its placeholder.
    Alone,
    /// With a cast to text.
    Text,
    /// With nothing added to it, by which it is a number.
    Number,
}

/// More texts than this are not kept: with several lists in one query there could be 16 × 16 × …
const MAX_SHAPES: usize = 256;

impl Template {
    /// Reads the SQL of one entry.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn parse(dialect: Dialect, sql: &str, params: &[Param]) -> Result<Self, Vec<Flaw>> {
        let tokens = match lexer::tokens(dialect, sql) {
            Ok(tokens) => tokens,
            Err(error) => return Err(vec![flaw(error.at, error.reason)]),
        };
        let mut flaws = Vec::new();
        let statement = one_statement(&tokens, &mut flaws);
        refuse_session_statements(dialect, statement, &mut flaws);
        check_tokens(dialect, statement, &mut flaws);
        check_behind(&tokens, statement, &mut flaws);
        let uses = uses(statement, params, &mut flaws);
        check_arrays(dialect, statement, &uses, params, &mut flaws);
        check_orders(statement, &mut flaws);
        check_variables(dialect, statement, &mut flaws);
        if !flaws.is_empty() {
            return Err(flaws);
        }

        let expands = dialect != Dialect::Postgres;
        let lists = (0..params.len()).filter(|&index| expands && params[index].kind.array).collect();
        let parts = parts(dialect, statement, &uses, params);
        let mut template = Self {
            dialect,
            parts,
            sql: Arc::from(""),
            commits: commits_by_itself(dialect, statement),
            defines: defines(statement),
            aggregates: words::aggregates(statement),
            whole_table: words::whole_table(statement),
            counts: counts(statement, &uses),
            lists,
            longest: MAX_LIST,
            shapes: Mutex::default(),
        };
        let limit = max_placeholders(dialect);
        while template.placeholders(template.longest) > limit {
            template.longest /= 2;
            if template.longest == 0 {
                let reason =
                    format!("more placeholders than {} takes in one statement: {limit}", dialect.name());
                return Err(vec![flaw(0, reason)]);
            }
        }
        template.sql = template.text(&vec![1; template.lists.len()]);
        Ok(template)
    }

    /// The statement inside another one. The values in there come behind those of its own `params` parameters.
    pub(super) fn wrapped(&self, params: usize, around: &[Wrapping]) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        // Which slot here is each of the statement's.
        let mut slots: Vec<Option<usize>> = Vec::new();
        let mut next = 0;
        let mut new = || {
            next += 1;
            next - 1
        };
        for part in around {
            match part {
                Wrapping::Text(text) => parts.push(Part::Text(text.clone())),
                Wrapping::Value(number) => parts.push(Part::Parameter {
                    index: params + number,
                    slot: new(),
                    first: true,
                    last: false,
                    written: Written::Alone,
                }),
                Wrapping::Statement | Wrapping::Hinted(_) => {
                    let start = parts.len();
                    // A value that stands there again is in the same place, and so of the same type.
                    for part in &self.parts {
                        let mut part = part.clone();
                        if let Part::Parameter { slot, first, last, .. } = &mut part {
                            slots.resize(slots.len().max(*slot + 1), None);
                            *first = slots[*slot].is_none();
                            *slot = *slots[*slot].get_or_insert_with(&mut new);
                            *last = false;
                        }
                        parts.push(part);
                    }
                    // Before the first placeholder there is text, and SELECT is in it.
                    if let (Wrapping::Hinted(hint), Some(table)) = (part, &self.whole_table)
                        && let Some(Part::Text(text)) = parts.get_mut(start)
                    {
                        text.insert_str(table.select, &format!(" /*+ {hint}({}) */", table.name));
                    }
                }
            }
        }
        mark_last(&mut parts);
        let mut template = Self {
            dialect: self.dialect,
            parts,
            sql: Arc::from(""),
            commits: false,
            defines: false,
            aggregates: self.aggregates,
            whole_table: None,
            counts: self.counts.clone(),
            lists: self.lists.clone(),
            longest: self.longest,
            shapes: Mutex::default(),
        };
        while template.longest > 1 && template.placeholders(template.longest) > max_placeholders(self.dialect)
        {
            template.longest /= 2;
        }
        template.sql = template.text(&vec![1; template.lists.len()]);
        template
    }

    /// Whether the server commits the statement, and what came before it in a transaction, whatever is asked.
    pub(super) fn commits_by_itself(&self) -> bool {
        self.commits
    }

    /// Whether it defines, changes or drops an object of the database.
    pub(super) fn defines(&self) -> bool {
        self.defines
    }

    /// Whether its rows are made of several, or may be, so that the first of them takes all.
    pub(super) fn aggregates(&self) -> bool {
        self.aggregates
    }

    /// Whether the parameter is a number of rows.
    pub(super) fn counts(&self, index: usize) -> bool {
        self.counts.contains(&index)
    }

    /// The text; where it has lists, as it is with one element each.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    /// The types of the values that are sent, in the order of the placeholders.
    pub(super) fn kinds(&self, params: &[Param]) -> Vec<Kind> {
        let sent = self.parts.iter().filter_map(|part| match part {
            Part::Parameter { index, first: true, .. } => Some(params[*index].kind),
            Part::Parameter { .. } | Part::Text(_) => None,
        });
        sent.collect()
    }

    /// Gives the text a comment at its end, by which it differs from those that are the same otherwise.
    pub(super) fn mark(&mut self, number: usize) {
        self.parts.push(Part::Text(format!("\n-- {number}")));
        self.sql = self.text(&vec![1; self.lists.len()]);
    }

    /// The statement with these values, one for each parameter in the order declared.
    ///
    /// # Errors
    /// If a list is longer than a statement can have placeholders.
    pub(super) fn fill(&self, params: &[Param], mut values: Vec<Value>) -> Result<Statement, TooLong> {
        let lengths = self.pad(&mut values)?;
        let mut arguments = Vec::with_capacity(params.len());
        for part in &self.parts {
            let Part::Parameter { index, first: true, last, .. } = *part else { continue };
            let value =
                if last { std::mem::replace(&mut values[index], Value::Null) } else { values[index].clone() };
            let Param { name, kind, .. } = &params[index];
            match value {
                Value::Array(elements) if self.lists.contains(&index) => {
                    let kind = Kind { array: false, ..*kind };
                    let argument = |value| Argument { name: name.clone(), kind, value };
                    arguments.extend(elements.into_iter().map(argument));
                }
                value => arguments.push(Argument { name: name.clone(), kind: *kind, value }),
            }
        }
        Ok(Statement { sql: self.shape(lengths), arguments })
    }

    /// Brings each list to one of the few lengths by repeating its last element, which changes neither `IN` nor
    /// `NOT IN`, and gives the lengths. A NULL in place of a list is a list of one NULL: it matches nothing, and
    /// with `NOT IN` nothing either, as with PostgreSQL's `ANY` and `ALL`.
    fn pad(&self, values: &mut [Value]) -> Result<Vec<usize>, TooLong> {
        let mut lengths = Vec::with_capacity(self.lists.len());
        for &index in &self.lists {
            if matches!(values[index], Value::Null) {
                values[index] = Value::Array(vec![Value::Null]);
            }
            let Value::Array(elements) = &mut values[index] else { continue };
            if elements.len() > self.longest {
                return Err(TooLong { index, longest: self.longest });
            }
            if let Some(last) = elements.last().cloned() {
                elements.resize(elements.len().next_power_of_two(), last);
            }
            lengths.push(elements.len());
        }
        Ok(lengths)
    }

    /// How many placeholders there are when every list has this length.
    fn placeholders(&self, length: usize) -> usize {
        let count = |part: &Part| match part {
            Part::Parameter { index, first: true, .. } if self.lists.contains(index) => length,
            Part::Parameter { first: true, .. } => 1,
            Part::Parameter { .. } | Part::Text(_) => 0,
        };
        self.parts.iter().map(count).sum()
    }

    fn shape(&self, lengths: Vec<usize>) -> Arc<str> {
        if lengths.iter().all(|&length| length == 1) {
            return self.sql.clone();
        }
        // The map is whole whenever the lock is free, even after a panic.
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sql) = shapes.get(&lengths) {
            return sql.clone();
        }
        let sql = self.text(&lengths);
        if shapes.len() < MAX_SHAPES {
            shapes.insert(lengths, sql.clone());
        }
        sql
    }

    /// The text with placeholders, for these lengths of the lists.
    fn text(&self, lengths: &[usize]) -> Arc<str> {
        let mut sql = String::new();
        // The number of each slot's first placeholder.
        let mut numbers: Vec<usize> = Vec::new();
        let mut next = 1;
        for part in &self.parts {
            let (index, slot, written) = match part {
                Part::Text(text) => {
                    sql.push_str(text);
                    continue;
                }
                Part::Parameter { index, slot, written, .. } => (*index, *slot, *written),
            };
            let length = self.lists.iter().position(|&list| list == index).map_or(1, |list| lengths[list]);
            if slot == numbers.len() {
                numbers.push(next);
                next += length;
            }
            let number = numbers[slot];
            if written == Written::Number {
                sql.push('(');
            }
            if length == 0 {
                sql.push_str(EMPTY_LIST);
            }
            for at in 0..length {
                if at > 0 {
                    sql.push(',');
                }
                match self.dialect {
                    Dialect::Mysql => sql.push('?'),
                    Dialect::Postgres => push_number(&mut sql, '$', number + at),
                    Dialect::Sqlite => push_number(&mut sql, '?', number + at),
                }
            }
            match written {
                Written::Alone => {}
                Written::Text => sql.push_str("::text"),
                Written::Number => sql.push_str(" + 0)"),
            }
        }
        Arc::from(sql)
    }
}

/// Stands between the parentheses of `IN ()`, which no engine but SQLite takes: a list without a row, so that
/// `IN` is false and `NOT IN` true for every value, NULL included.
const EMPTY_LIST: &str = "SELECT NULL FROM (SELECT 1) AS no_row WHERE 1=0";

/// The longest list that `IN (:ids)` takes on MySQL and SQLite, where each element is a placeholder; shorter if
/// a query has several. With lengths rounded up to powers of two, one list makes at most 16 different texts.
const MAX_LIST: usize = 16_384;

/// How many placeholders one statement can have: a 16-bit count on the wire, and SQLite's default limit.
fn max_placeholders(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Postgres | Dialect::Mysql => 65_535,
        Dialect::Sqlite => 32_766,
    }
}

fn push_number(sql: &mut String, sign: char, number: usize) {
    sql.push(sign);
    sql.push_str(itoa::Buffer::new().format(number));
}

fn flaw(at: usize, reason: impl Into<String>) -> Flaw {
    Flaw { at: Place::Sql(at), reason: reason.into() }
}

/// Why a statement cannot be wrapped to be read page by page: where, and a sentence.
pub(super) fn unpageable(dialect: Dialect, sql: &str) -> Option<(usize, String)> {
    let tokens = lexer::tokens(dialect, sql).ok()?;
    let significant: Vec<&Token<'_>> = tokens.iter().filter(|token| token.is_significant()).collect();
    let first = first_word(&tokens)?;
    if !["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|word| first.is_word(word)) {
        let reason =
            "what is read page by page begins with SELECT or WITH, since it is put into another SELECT";
        return Some((first.start, reason.to_owned()));
    }
    let mut depth = 0_usize;
    for (at, token) in significant.iter().enumerate() {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > 0 || token.kind != TokenKind::Word {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| significant.get(at));
        let next = |words: &[&str]| {
            significant.get(at + 1).is_some_and(|next| words.iter().any(|word| next.is_word(word)))
        };
        // Where a name stands, a word is one.
        let named = before.is_some_and(|before| {
            matches!(before.text, "." | ",") || ["SELECT", "AS", "BY"].iter().any(|word| before.is_word(word))
        });
        let word = match () {
            () if token.is_word("ORDER") && next(&["BY"]) => "ORDER BY",
            () if token.is_word("LIMIT") && !named => "LIMIT",
            () if token.is_word("OFFSET") && !named => "OFFSET",
            () if token.is_word("FETCH") && next(&["FIRST", "NEXT"]) => "FETCH",
            () if token.is_word("FOR") && next(&["UPDATE", "SHARE", "NO", "KEY"]) => "FOR",
            () if token.is_word("LOCK") && next(&["IN"]) => "LOCK",
            () => continue,
        };
        let reason = format!(
            "a query with `-- page:` is ordered and limited by that, so its own {word} at the end has no place: drop it"
        );
        return Some((token.start, reason));
    }
    None
}

/// The text between the placeholders, and the placeholders.
fn parts(dialect: Dialect, statement: &[Token<'_>], uses: &[Use], params: &[Param]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(uses.len() * 2 + 1);
    let mut text = String::new();
    let slots = slots(dialect, statement, uses, params);
    let mut next = 0;
    for (at, token) in statement.iter().enumerate() {
        let Some(used) = uses.get(next).filter(|used| used.token == at) else {
            text.push_str(token.text);
            continue;
        };
        let (index, slot) = (used.index, slots[next].number);
        parts.push(Part::Text(std::mem::take(&mut text)));
        let first = slots[..next].iter().all(|earlier| earlier.number != slot);
        parts.push(Part::Parameter { index, slot, first, last: false, written: slots[next].written });
        next += 1;
    }
    parts.push(Part::Text(text));
    mark_last(&mut parts);
    parts
}

/// Says of each parameter where its value is sent last.
fn mark_last(parts: &mut [Part]) {
    let mut sent_later: Vec<usize> = Vec::new();
    for part in parts.iter_mut().rev() {
        if let Part::Parameter { index, first: true, last, .. } = part
            && !sent_later.contains(index)
        {
            *last = true;
            sent_later.push(*index);
        }
    }
}

/// Which value a use sends.
struct Slot {
    /// Counted in the order of the first uses.
    number: usize,
    written: Written,
}

/// Tells which uses share a value: on MySQL none, where placeholders have no numbers; on SQLite all of a parameter.
///
/// On PostgreSQL all of a parameter too, but for those whose type the server infers from where they stand, `text`
/// and `json`: a placeholder has one type in the whole statement, so that `:v` in a varchar column and in
/// `lower(:v)` would be an error, and `name = :v OR email = :v` would compare a citext `email` as the text that
/// `name` is. So each use is its own placeholder. Not in a statement that groups: there the server must recognise
/// `date_trunc(:unit, at)` of the SELECT in the GROUP BY, and it does so by the number.
///
/// Of `:v IS NULL` it could not infer anything, so that is a cast of a placeholder of its own.
///
/// MySQL takes a parameter of an arithmetic that has nothing but parameters for a double, before it knows what will be
/// sent; beside a number it is one of the kind that is sent. See [`reckons_alone`].
fn slots(dialect: Dialect, statement: &[Token<'_>], uses: &[Use], params: &[Param]) -> Vec<Slot> {
    let significant: Vec<usize> = (0..statement.len()).filter(|&at| statement[at].is_significant()).collect();
    let groups = groups(statement, &significant);
    // The parameter, and whether it is tested for NULL, of each value that later uses may share.
    let mut shared: Vec<(usize, bool, usize)> = Vec::new();
    let mut next = 0;
    let mut slots = Vec::with_capacity(uses.len());
    for used in uses {
        let kind = params[used.index].kind;
        let inferred = dialect == Dialect::Postgres
            && matches!(kind, Kind { scalar: Scalar::Text | Scalar::Json, array: false });
        let text = inferred && is_null_test(statement, &significant, used.token);
        let shares = match dialect {
            Dialect::Mysql => false,
            Dialect::Sqlite => true,
            Dialect::Postgres => !inferred || text || groups,
        };
        let known = shared.iter().find(|(index, test, _)| (*index, *test) == (used.index, text));
        let number = match known {
            Some((_, _, number)) => *number,
            None => {
                if shares {
                    shared.push((used.index, text, next));
                }
                next += 1;
                next - 1
            }
        };
        let written = match kind {
            _ if text => Written::Text,
            Kind { scalar: Scalar::Int | Scalar::Decimal, array: false }
                if dialect == Dialect::Mysql && reckons_alone(statement, &significant, used.token) =>
            {
                Written::Number
            }
            _ => Written::Alone,
        };
        slots.push(Slot { number, written });
    }
    slots
}

/// Whether the statement has a GROUP BY or a DISTINCT, `IS DISTINCT FROM` aside.
fn groups(statement: &[Token<'_>], significant: &[usize]) -> bool {
    significant.windows(2).any(|pair| {
        let (word, next) = (statement[pair[0]], statement[pair[1]]);
        (word.is_word("GROUP") && next.is_word("BY")) || (word.is_word("DISTINCT") && !next.is_word("FROM"))
    })
}

/// Whether the parameter is reckoned with, and nothing beside it says what it is: the left one of two with an operator
/// between, one behind a minus of its own, or all that a function takes which gives what it gets.
fn reckons_alone(statement: &[Token<'_>], significant: &[usize], parameter: usize) -> bool {
    const OPERATORS: [&str; 5] = ["+", "-", "*", "/", "%"];
    const FUNCTIONS: [&str; 6] = ["ABS", "AVG", "CEIL", "CEILING", "FLOOR", "SUM"];
    const CHOICES: [&str; 6] = ["COALESCE", "GREATEST", "IF", "IFNULL", "LEAST", "NULLIF"];

    let Ok(mut first) = significant.binary_search(&parameter) else { return false };
    let mut last = first;
    let token = |at: usize| significant.get(at).map(|&token| statement[token]);
    let is = |at: Option<usize>, texts: &[&str]| {
        at.and_then(token).is_some_and(|token| texts.iter().any(|text| token.text.eq_ignore_ascii_case(text)))
    };
    let begins = |at: Option<usize>| {
        is(at, &["(", ",", "=", "<", ">"])
            || is(at, &OPERATORS)
            || is(at, &BEFORE_EXPRESSIONS)
            || is(at, &["DIV", "MOD"])
    };
    if is(first.checked_sub(1), &["-"]) && begins(first.checked_sub(2)) {
        return true;
    }
    let called =
        if is(first.checked_sub(1), &["DISTINCT"]) { first.checked_sub(3) } else { first.checked_sub(2) };
    if is(called, &FUNCTIONS) && is(Some(last + 1), &[")"]) {
        return true;
    }
    // In parentheses of its own it is the same.
    while is(first.checked_sub(1), &["("]) && is(Some(last + 1), &[")"]) && begins(first.checked_sub(2)) {
        first -= 1;
        last += 1;
    }
    let modulo = is(first.checked_sub(2), &["MOD"]) && is(Some(last + 1), &[","]);
    if !modulo && !is(Some(last + 1), &OPERATORS) && !is(Some(last + 1), &["DIV", "MOD"]) {
        return false;
    }
    let mut other = last + 2;
    while is(Some(other), &["(", "+", "-"]) || is(Some(other), &CHOICES) {
        other += 1;
    }
    token(other).is_some_and(|token| token.kind == TokenKind::Parameter)
}

/// Words behind which an expression begins, and nothing in it binds closer than what follows.
const BEFORE_EXPRESSIONS: [&str; 12] =
    ["SELECT", "WHERE", "AND", "OR", "NOT", "WHEN", "THEN", "ELSE", "ON", "HAVING", "BY", "RETURNING"];

/// Whether the parameter is all that an `IS NULL` or `IS NOT NULL` tests. What binds closer than `IS` may stand
/// before it, so only what surely does not is taken.
fn is_null_test(statement: &[Token<'_>], significant: &[usize], parameter: usize) -> bool {
    let Ok(at) = significant.binary_search(&parameter) else { return false };
    let token = |at: usize| significant.get(at).map(|&token| statement[token]);
    let is_word = |at, word| token(at).is_some_and(|token| token.is_word(word));
    let Some(before) = at.checked_sub(1).and_then(token) else { return false };
    let alone =
        matches!(before.text, "(" | ",") || BEFORE_EXPRESSIONS.iter().any(|word| before.is_word(word));
    let null = if is_word(at + 2, "NOT") { at + 3 } else { at + 2 };
    alone && is_word(at + 1, "IS") && is_word(null, "NULL")
}

/// The tokens of the one statement, without what surrounds it.
fn one_statement<'a, 'sql>(tokens: &'a [Token<'sql>], flaws: &mut Vec<Flaw>) -> &'a [Token<'sql>] {
    let end = tokens.iter().position(|token| token.kind == TokenKind::Semicolon).unwrap_or(tokens.len());
    let (statement, rest) = tokens.split_at(end);
    let more = rest.iter().find(|token| token.is_significant() && token.kind != TokenKind::Semicolon);
    if let Some(more) = more {
        let reason = "a second statement; an entry has one, and another one needs its own `-- name:` line";
        flaws.push(flaw(more.start, reason));
    }
    let begin = statement.iter().position(|token| token.kind != TokenKind::Space);
    let last = statement.iter().rposition(Token::is_significant);
    match (begin, last) {
        (Some(begin), Some(last)) => &statement[begin..=last],
        _ => {
            flaws.push(flaw(0, "there is no SQL below the `-- name:` line"));
            &[]
        }
    }
}

pub(super) fn first_word<'a, 't>(statement: &'a [Token<'t>]) -> Option<&'a Token<'t>> {
    statement
        .iter()
        .find(|token| token.is_significant() && token.text != "(" && token.kind != TokenKind::CodeOpen)
}

/// Statements that leave something behind in a session, or end the transaction that we have begun.
fn refuse_session_statements(dialect: Dialect, statement: &[Token<'_>], flaws: &mut Vec<Flaw>) {
    let Some(first) = first_word(statement) else { return };
    let is_one_of = |words: &[&str]| words.iter().any(|word| first.is_word(word));
    if let Some(temporary) = temporary(dialect, first, statement) {
        let more = match dialect {
            Dialect::Postgres => {
                "; `CREATE TEMP TABLE … ON COMMIT DROP` is for the steps of one `transaction`"
            }
            Dialect::Mysql | Dialect::Sqlite => "",
        };
        let word = temporary.text.to_ascii_uppercase();
        let reason =
            format!("what is {word} is refused, because session state does not survive a call{more}");
        flaws.push(flaw(temporary.start, reason));
        return;
    }
    let instead = if is_one_of(&TRANSACTION) {
        "a write runs in a transaction anyway, and a call with `transaction` makes several queries one"
    } else if first.is_word("COPY") {
        "read and write rows with SELECT and INSERT"
    } else if is_one_of(&SESSION) {
        "each call may meet another session"
    } else {
        return;
    };
    let word = first.text.to_ascii_uppercase();
    let reason = format!("{word} is refused, because session state does not survive a call: {instead}");
    flaws.push(flaw(first.start, reason));
}

/// The word by which a statement makes what lasts as long as its session.
fn temporary<'a, 't>(
    dialect: Dialect,
    first: &Token<'_>,
    statement: &'a [Token<'t>],
) -> Option<&'a Token<'t>> {
    let significant = || statement.iter().filter(|token| token.is_significant());
    let is_temporary = |token: &&Token<'_>| token.is_word("TEMP") || token.is_word("TEMPORARY");
    if first.is_word("CREATE") {
        // `CREATE OR REPLACE TEMP VIEW`, `CREATE LOCAL TEMPORARY TABLE`; an index may have the word for its name.
        const MADE: [&str; 5] = ["TABLE", "VIEW", "RECURSIVE", "SEQUENCE", "TRIGGER"];
        let words: Vec<_> = significant().collect();
        let made = |token: &Token<'_>| MADE.iter().any(|word| token.is_word(word));
        let found = words.windows(2).take(4).find(|pair| is_temporary(&pair[0]) && made(pair[1]))?[0];
        let dropped = dialect == Dialect::Postgres
            && words.windows(3).any(|three| {
                three[0].is_word("ON") && three[1].is_word("COMMIT") && three[2].is_word("DROP")
            });
        return (!dropped).then_some(found);
    }
    if dialect == Dialect::Postgres && first.is_word("SELECT") {
        return significant().skip_while(|token| !token.is_word("INTO")).nth(1).filter(is_temporary);
    }
    None
}

/// Whether the dialect's server commits before and after such a statement, whatever transaction it stands in; or may, as
/// MySQL's procedures do. (One of PostgreSQL's cannot commit in a transaction of ours.)
/// <https://dev.mysql.com/doc/refman/8.4/en/implicit-commit.html>
pub(super) fn commits_by_itself(dialect: Dialect, statement: &[Token<'_>]) -> bool {
    dialect == Dialect::Mysql
        && first_word(statement).is_some_and(|first| COMMITTING.iter().any(|word| first.is_word(word)))
}

fn defines(statement: &[Token<'_>]) -> bool {
    first_word(statement).is_some_and(|first| DEFINING.iter().any(|word| first.is_word(word)))
}

const DEFINING: [&str; 9] =
    ["ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "REINDEX", "RENAME", "REVOKE", "TRUNCATE"];
const COMMITTING: [&str; 17] = [
    "ALTER",
    "ANALYZE",
    "CACHE",
    "CALL",
    "CHECK",
    "CREATE",
    "DROP",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "INSTALL",
    "OPTIMIZE",
    "RENAME",
    "REPAIR",
    "REVOKE",
    "TRUNCATE",
    "UNINSTALL",
];
const TRANSACTION: [&str; 9] =
    ["BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "ABORT", "END", "XA"];
const SESSION: [&str; 18] = [
    "SET",
    "RESET",
    "LOCK",
    "UNLOCK",
    "LISTEN",
    "UNLISTEN",
    "USE",
    "DISCARD",
    "DEALLOCATE",
    "PREPARE",
    "EXECUTE",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "ATTACH",
    "DETACH",
    "PRAGMA",
];

/// What must not stand anywhere in the statement.
fn check_tokens(dialect: Dialect, statement: &[Token<'_>], flaws: &mut Vec<Flaw>) {
    let mut in_code = false;
    for token in statement {
        let reason = match token.kind {
            TokenKind::CodeOpen => {
                in_code = true;
                continue;
            }
            TokenKind::CodeClose => {
                in_code = false;
                continue;
            }
            TokenKind::Native if dialect == Dialect::Postgres && token.text.starts_with('@') => {
                let (own, name) = (token.text, &token.text[1..]);
                format!(
                    "`{own}` is the absolute value of a column here and no parameter: write `:{name}` and declare \
                     `-- param: {name} type`, or `abs({name})` if it is meant"
                )
            }
            TokenKind::Native => {
                let own = token.text;
                format!(
                    "`{own}` is {}'s own placeholder; write `:name` and declare `-- param: name type`",
                    dialect.name()
                )
            }
            TokenKind::Parameter if in_code => format!(
                "the parameter `{}` stands inside `/*! … */`, which some servers run and some skip",
                token.text
            ),
            TokenKind::LineComment if super::annotations::is_annotation(token.text) => format!(
                "`{}` stands inside the SQL; annotations go between the `-- name:` line and the SQL",
                token.text.trim_end()
            ),
            _ => continue,
        };
        flaws.push(flaw(token.start, reason));
    }
}

/// Finds annotations behind the statement, where they would be lost: of this entry, or too early for the next.
fn check_behind(tokens: &[Token<'_>], statement: &[Token<'_>], flaws: &mut Vec<Flaw>) {
    let end = statement.last().map_or(0, |last| last.start + last.text.len());
    for token in tokens.iter().filter(|token| token.start >= end) {
        if token.kind == TokenKind::LineComment && super::annotations::is_annotation(token.text) {
            let reason = format!(
                "`{}` stands behind the SQL; annotations go between the `-- name:` line and the SQL",
                token.text.trim_end()
            );
            flaws.push(flaw(token.start, reason));
        }
    }
}

/// Where a parameter is used.
struct Use {
    /// The index of the token in the statement.
    token: usize,
    /// The index of the parameter in the declarations.
    index: usize,
}

/// Finds the uses, in order; a parameter that is used and not declared, or the other way round, is a flaw.
fn uses(statement: &[Token<'_>], params: &[Param], flaws: &mut Vec<Flaw>) -> Vec<Use> {
    let mut uses = Vec::new();
    let mut unknown: Vec<&str> = Vec::new();
    for (at, token) in statement.iter().enumerate() {
        if token.kind != TokenKind::Parameter {
            continue;
        }
        let name = &token.text[1..];
        match params.iter().position(|param| &*param.name == name) {
            Some(index) => uses.push(Use { token: at, index }),
            None if unknown.contains(&name) => {}
            None => {
                unknown.push(name);
                let reason = format!(
                    "`:{name}` is not declared; add `-- param: {name} type` below the `-- name:` line"
                );
                flaws.push(flaw(token.start, reason));
            }
        }
    }
    for (index, param) in params.iter().enumerate() {
        if !param.beside && uses.iter().all(|used| used.index != index) {
            let hint = near_use(statement, &param.name);
            let reason = format!("`{0}` is declared, but the SQL does not use `:{0}`{hint}", param.name);
            flaws.push(Flaw { at: Place::Param(index), reason });
        }
    }
    uses
}

/// Why something that looks like a use is none.
fn near_use(statement: &[Token<'_>], name: &str) -> &'static str {
    let glued = |pair: &[Token<'_>]| pair[0].text == ":" && pair[1].text == name;
    if statement.windows(2).any(glued) {
        let slices = statement.iter().any(|token| token.text == "[");
        return match slices {
            true => "; behind the first bound a colon is the slice's, so write `: :name`",
            false => "; directly behind a word a colon begins no parameter, so put a blank between",
        };
    }
    let written = format!(":{name}");
    let hidden = |token: &Token<'_>| {
        (token.kind == TokenKind::Quoted || !token.is_significant()) && token.text.contains(&written)
    };
    match statement.iter().any(hidden) {
        true => "; inside quotes and comments it is only text",
        false => "",
    }
}

/// A parameter that stands alone in ORDER BY, GROUP BY or PARTITION BY is one value for all rows: it orders nothing.
/// What the SELECT has as well may have to be named there again, in GROUP BY and with DISTINCT.
fn check_orders(statement: &[Token<'_>], flaws: &mut Vec<Flaw>) {
    let significant: Vec<&Token<'_>> = statement.iter().filter(|token| token.is_significant()).collect();
    let distinct = significant.iter().any(|token| token.is_word("DISTINCT"));
    for (at, pair) in significant.windows(2).enumerate() {
        if !pair[1].is_word("BY") {
            continue;
        }
        let named = pair[0].is_word("GROUP") || pair[0].is_word("ORDER") && distinct;
        if !named && !pair[0].is_word("ORDER") && !pair[0].is_word("PARTITION") {
            continue;
        }
        for element in elements(&significant[at + 2..]) {
            let Some(alone) = alone(element) else { continue };
            let uses =
                significant.iter().filter(|token| token.text == alone.text && token.kind == alone.kind);
            if named && uses.count() > 1 {
                continue;
            }
            let clause = pair[0].text.to_ascii_uppercase();
            let reason = format!(
                "`{name}` alone in {clause} BY is one value for all rows, and no column's name: choose the column with \
                 `CASE {name} WHEN 'name' THEN name … END`",
                name = alone.text
            );
            flaws.push(flaw(alone.start, reason));
        }
    }
}

/// The elements of a list, which ends with its clause.
fn elements<'a, 't>(list: &'a [&'a Token<'t>]) -> Vec<&'a [&'a Token<'t>]> {
    const ENDS: [&str; 19] = [
        "LIMIT",
        "OFFSET",
        "FETCH",
        "FOR",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "HAVING",
        "WINDOW",
        "ORDER",
        "ROWS",
        "RANGE",
        "GROUPS",
        "RETURNING",
        "INTO",
        "LOCK",
        "SEPARATOR",
        "WITH",
        "ON",
    ];
    let (mut depth, mut begin, mut found) = (0_usize, 0, Vec::new());
    for (at, token) in list.iter().enumerate() {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" if depth == 0 => {
                found.push(&list[begin..at]);
                return found;
            }
            ")" | "]" => depth -= 1,
            "," if depth == 0 => {
                found.push(&list[begin..at]);
                begin = at + 1;
            }
            _ if depth == 0 && ENDS.iter().any(|word| token.is_word(word)) => {
                found.push(&list[begin..at]);
                return found;
            }
            _ => {}
        }
    }
    found.push(&list[begin..]);
    found
}

/// The parameter that is all of an expression, parentheses, casts and directions aside.
fn alone<'a, 't>(element: &'a [&'a Token<'t>]) -> Option<&'a Token<'t>> {
    let mut tokens = element.iter().copied().skip_while(|token| token.text == "(" || token.is_word("CAST"));
    let first = tokens.next().filter(|token| token.kind == TokenKind::Parameter)?;
    tokens
        .all(|token| token.kind == TokenKind::Word || matches!(token.text, "::" | "(" | ")"))
        .then_some(first)
}

/// The parameters that are a number of rows: no server but PostgreSQL refuses each that is negative, and some take it
/// for all rows.
fn counts(statement: &[Token<'_>], uses: &[Use]) -> Vec<usize> {
    let significant: Vec<usize> = (0..statement.len()).filter(|&at| statement[at].is_significant()).collect();
    let tokens: Vec<&Token<'_>> = significant.iter().map(|&at| &statement[at]).collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let fetch =
            at > 0 && tokens[at - 1].is_word("FETCH") && (token.is_word("FIRST") || token.is_word("NEXT"));
        if !fetch && !token.is_word("LIMIT") && !token.is_word("OFFSET") {
            continue;
        }
        for element in elements(&tokens[at + 1..]) {
            let mut inside = element.iter().skip_while(|token| token.text == "(" || token.is_word("CAST"));
            let Some(first) = inside.next().filter(|token| token.kind == TokenKind::Parameter) else {
                continue;
            };
            // Of an arithmetic more than the parameter decides.
            let next = inside.next();
            let alone =
                next.is_none_or(|next| next.kind == TokenKind::Word || matches!(next.text, "::" | ")"));
            let used = uses.iter().find(|used| statement[used.token].start == first.start);
            found.extend(used.filter(|_| alone).map(|used| used.index));
        }
    }
    found
}

/// A variable of the session's that nothing in the statement sets is NULL: what another call has set may be met in one
/// session and not in the next.
fn check_variables(dialect: Dialect, statement: &[Token<'_>], flaws: &mut Vec<Flaw>) {
    if dialect != Dialect::Mysql || first_word(statement).is_some_and(|first| first.is_word("CALL")) {
        return;
    }
    let significant: Vec<&Token<'_>> = statement.iter().filter(|token| token.is_significant()).collect();
    let is_variable = |token: &Token<'_>| token.kind == TokenKind::Word && token.text.starts_with('@');
    let set = |name: &str| {
        significant.windows(3).any(|three| {
            let assigned = three[1].text == ":" && three[2].text == "=";
            three[0].text.eq_ignore_ascii_case(name) && assigned
        }) || significant.iter().any(|token| token.is_word("INTO"))
    };
    for token in significant.iter().filter(|token| is_variable(token)) {
        if !set(token.text) {
            let (own, name) = (token.text, &token.text[1..]);
            let reason = format!(
                "`{own}` is a variable that nothing here sets, and so NULL: write `:{name}` and declare \
                 `-- param: {name} type`"
            );
            flaws.push(flaw(token.start, reason));
        }
    }
}

/// Where an array may stand: anywhere on PostgreSQL but in an `IN` list, and nowhere else on the others.
fn check_arrays(
    dialect: Dialect,
    statement: &[Token<'_>],
    uses: &[Use],
    params: &[Param],
    flaws: &mut Vec<Flaw>,
) {
    if uses.iter().all(|used| !params[used.index].kind.array) {
        return;
    }
    let lists = in_lists(statement);
    for used in uses {
        let param = &params[used.index];
        if !param.kind.array {
            continue;
        }
        let name = &param.name;
        let reason = match dialect {
            Dialect::Postgres if lists[used.token] == InList::No => continue,
            Dialect::Postgres => format!(
                "`:{name}` is an array, which PostgreSQL takes as one value: write `= ANY(:{name})` for \
                 `IN (:{name})`, and `<> ALL(:{name})` for `NOT IN (:{name})`"
            ),
            Dialect::Mysql | Dialect::Sqlite if lists[used.token] == InList::Alone => continue,
            Dialect::Mysql | Dialect::Sqlite => format!(
                "`:{name}` is an array, and {} has none: it can only stand alone in the parentheses of \
                 `IN (:{name})`",
                dialect.name()
            ),
        };
        flaws.push(flaw(statement[used.token].start, reason));
    }
}

/// How a token stands to the parentheses of an `IN`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InList {
    /// Not directly inside them, or they hold a subquery.
    No,
    /// Inside, with others.
    Among,
    /// `IN (` before it, and `)` behind it.
    Alone,
}

fn in_lists(statement: &[Token<'_>]) -> Vec<InList> {
    let mut lists = vec![InList::No; statement.len()];
    let significant: Vec<usize> = (0..statement.len()).filter(|&at| statement[at].is_significant()).collect();
    let text = |at: Option<usize>| at.and_then(|at| significant.get(at)).map_or("", |&at| statement[at].text);
    // For each open parenthesis, whether it is that of an `IN` with a list.
    let mut open = Vec::new();
    for (at, &token) in significant.iter().enumerate() {
        let (before, after) = (text(at.checked_sub(1)), text(Some(at + 1)));
        match statement[token].text {
            "(" => {
                let subquery = ["SELECT", "WITH", "VALUES", "TABLE", "("]
                    .iter()
                    .any(|word| after.eq_ignore_ascii_case(word));
                open.push(before.eq_ignore_ascii_case("IN") && !subquery);
            }
            ")" => {
                open.pop();
            }
            _ if open.last() == Some(&true) => {
                let alone = before == "(" && after == ")";
                lists[token] = if alone { InList::Alone } else { InList::Among };
            }
            _ => {}
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Dialect::{Mysql, Postgres, Sqlite};

    /// Parameters as in `a int, b text[]`.
    fn params(declared: &str) -> Vec<Param> {
        let param = |text: &str| {
            let (name, kind) = text.trim().split_once(' ').unwrap();
            Param {
                name: Arc::from(name),
                kind: Kind::from_name(kind).unwrap(),
                nullable: true,
                default: None,
                bounds: None,
                choice: None,
                from: None,
                description: Arc::from(""),
                beside: false,
            }
        };
        if declared.is_empty() { Vec::new() } else { declared.split(',').map(param).collect() }
    }

    fn list(length: usize) -> Value {
        Value::Array((0..length).map(|at| Value::Int(i64::try_from(at).unwrap())).collect())
    }

    fn numbers(statement: &Statement) -> Vec<i64> {
        let number = |argument: &Argument| match argument.value {
            Value::Int(number) => number,
            _ => -1,
        };
        statement.arguments.iter().map(number).collect()
    }

    #[test]
    fn mysql_is_told_that_a_number_is_one_where_nothing_else_says_it() {
        fn check(dialect: Dialect, sql: &str, want: &str) {
            let all = params("n int, d decimal, f float, t text, ns int[]");
            let used =
                all.into_iter().filter(|param| sql.split(' ').any(|word| word == format!(":{}", param.name)));
            let template = Template::parse(dialect, sql, &used.collect::<Vec<_>>()).unwrap();
            assert_eq!(template.sql(), want);
        }
        check(Mysql, "SELECT :d * :n", "SELECT (? + 0) * ?");
        check(Mysql, "SELECT ( :d ) DIV ( :n )", "SELECT ( (? + 0) ) DIV ( ? )");
        check(Mysql, "SELECT - :d , SUM( :n )", "SELECT - (? + 0) , SUM( (? + 0) )");
        check(Mysql, "SELECT MOD( :d , :n )", "SELECT MOD( (? + 0) , ? )");
        // What has a type beside it has that, and what is no exact number is none.
        check(Mysql, "SELECT :d * price , qty - :n FROM t", "SELECT ? * price , qty - ? FROM t");
        check(Mysql, "SELECT :d + INTERVAL :n DAY", "SELECT ? + INTERVAL ? DAY");
        check(Mysql, "SELECT :f * :n , :t + :n", "SELECT ? * ? , ? + ?");
        check(Mysql, "SELECT 1 WHERE a IN ( :ns ) AND :n = :d", "SELECT 1 WHERE a IN ( ? ) AND ? = ?");
        check(Mysql, "SELECT 1 LIMIT :n", "SELECT 1 LIMIT ?");
        check(Postgres, "SELECT :d * :n", "SELECT $1 * $2");
        check(Sqlite, "SELECT :d * :n", "SELECT ?1 * ?2");
    }

    #[test]
    fn what_would_be_wrong_without_a_word() {
        fn check(dialect: Dialect, sql: &str, expected: Option<&str>) {
            let flaws = Template::parse(dialect, sql, &params("a text, n int")).err().unwrap_or_default();
            let flaws: Vec<_> =
                flaws.into_iter().filter(|flaw| !flaw.reason.contains("is declared, but")).collect();
            match expected {
                None => assert!(flaws.is_empty(), "{sql}: {flaws:?}"),
                Some(expected) => {
                    assert_eq!(flaws.len(), 1, "{sql}: {flaws:?}");
                    assert!(flaws[0].reason.contains(expected), "{sql}: {flaws:?}");
                }
            }
        }
        check(
            Postgres,
            "DELETE FROM authors WHERE id = @id",
            Some("write `:id` and declare `-- param: id type`"),
        );
        check(Postgres, "DELETE FROM authors WHERE id=@id", Some("`:id`"));
        check(Postgres, "SELECT @ id, tags <@other, tags @> :a FROM t", None);
        check(Mysql, "SELECT 1 WHERE id = @id", Some("a variable that nothing here sets"));
        check(Mysql, "SELECT @n := @n + 1", None);
        check(Mysql, "CALL f(:a, @out)", None);
        check(Mysql, "GRANT SELECT ON t TO 'a'@b", None);

        for order in [
            "ORDER BY :a",
            "ORDER BY :a DESC LIMIT :n",
            "ORDER BY x, :a::text NULLS LAST",
            "ORDER BY (:a)",
            "GROUP BY :a",
            "GROUP BY x, :a HAVING true",
            "ORDER BY CAST(:a AS text)",
        ] {
            check(Postgres, &format!("SELECT x FROM t {order}"), Some("alone in"));
        }
        check(Postgres, "SELECT sum(x) OVER (PARTITION BY :a ORDER BY x) FROM t", Some("PARTITION BY"));
        check(Mysql, "SELECT GROUP_CONCAT(x ORDER BY :a SEPARATOR ',') FROM t", Some("ORDER BY"));
        for order in [
            "ORDER BY CASE :a WHEN 'x' THEN x END, x",
            "ORDER BY coalesce(x, :n)",
            "ORDER BY x = :n",
            "ORDER BY x COLLATE \"C\" LIMIT :n",
            "ORDER BY x <-> :a LIMIT :n",
            "ORDER BY (SELECT :n + x)",
        ] {
            check(Postgres, &format!("SELECT x FROM t {order}"), None);
        }
        check(Postgres, "SELECT :a, count(*) FROM t GROUP BY :a", None);
        check(Postgres, "SELECT DISTINCT :a FROM t ORDER BY :a", None);
        check(Postgres, "SELECT string_agg(x, :a ORDER BY x) FROM t", None);
    }

    #[test]
    fn numbers_of_rows() {
        fn check(dialect: Dialect, sql: &str, expected: &[&str]) {
            let params = params("a int, b int, c int");
            let template = match Template::parse(dialect, &format!("{sql} /* */"), &params) {
                Ok(template) => template,
                Err(flaws) => panic!("{sql}: {flaws:?}"),
            };
            let found: Vec<&str> =
                (0..3).filter(|&index| template.counts(index)).map(|index| &*params[index].name).collect();
            assert_eq!(found, expected, "{sql}");
        }
        for dialect in [Postgres, Mysql, Sqlite] {
            check(dialect, "SELECT :c LIMIT :a OFFSET :b", &["a", "b"]);
        }
        check(Mysql, "SELECT :c LIMIT :a, :b", &["a", "b"]);
        check(Postgres, "SELECT :c OFFSET :a ROWS FETCH FIRST :b ROWS ONLY", &["a", "b"]);
        check(Postgres, "SELECT * FROM (SELECT :c LIMIT (:a)) x LIMIT :b::int", &["a", "b"]);
        check(Postgres, "SELECT :c LIMIT :a + 1 OFFSET :b", &["b"]);
        check(Postgres, "SELECT :a, :b, :c", &[]);
    }

    #[test]
    fn placeholders() {
        for (dialect, declared, sql, expected) in [
            (Postgres, "a int, b int", " SELECT :b, :a, :b::int ; ", "SELECT $1, $2, $1::int"),
            (Sqlite, "a int, b int", "SELECT :b, :a, :b", "SELECT ?1, ?2, ?1"),
            (Mysql, "a int, b int", "SELECT :b, :a, :b", "SELECT ?, ?, ?"),
            (Postgres, "a int[]", "SELECT 1 WHERE 2 = ANY(:a)", "SELECT 1 WHERE 2 = ANY($1)"),
            (
                Postgres,
                "a int[]",
                "x IN (SELECT id FROM t WHERE tags && :a)",
                "x IN (SELECT id FROM t WHERE tags && $1)",
            ),
            (Postgres, "a int[]", "x IN (SELECT unnest(:a))", "x IN (SELECT unnest($1))"),
            (Mysql, "a int[]", "x in( :a )", "x in( ? )"),
            (Sqlite, "a int[]", "x NOT IN /* c */ (:a)", "x NOT IN /* c */ (?1)"),
            (Postgres, "", "/* c */ SELECT 1 -- c\n;;\n-- c\n", "/* c */ SELECT 1"),
            (
                Postgres,
                "",
                "SELECT 1 -- a note: nothing of ours\n, 2",
                "SELECT 1 -- a note: nothing of ours\n, 2",
            ),
            (Postgres, "", "SELECT ';', $$;$$", "SELECT ';', $$;$$"),
            (Postgres, "", "NOTIFY x", "NOTIFY x"),
            // What the server infers, it infers for each use,
            (
                Postgres,
                "v text, n int",
                "INSERT INTO t SELECT :v, :n WHERE x = :v AND y = :n",
                "INSERT INTO t SELECT $1, $2 WHERE x = $3 AND y = $2",
            ),
            (Postgres, "v json", ":v, :v::jsonb", "$1, $2::jsonb"),
            (Postgres, "v text[]", ":v, :v", "$1, $1"),
            // but where the server compares expressions, and where there is nothing to infer from.
            (Postgres, "v text", "SELECT :v GROUP BY :v", "SELECT $1 GROUP BY $1"),
            (Postgres, "v text", "SELECT distinct :v ORDER BY :v", "SELECT distinct $1 ORDER BY $1"),
            (Postgres, "v text", ":v is distinct from x OR :v = y", "$1 is distinct from x OR $2 = y"),
            (Postgres, "v text", "(:v IS NULL OR x = :v)", "($1::text IS NULL OR x = $2)"),
            (
                Postgres,
                "v text, w json",
                "WHERE :v is /* c */ not null AND x = :v OR :v IS NULL AND :w IS NULL",
                "WHERE $1::text is /* c */ not null AND x = $2 OR $1::text IS NULL AND $3::text IS NULL",
            ),
            (
                Postgres,
                "v text",
                "SELECT (:v IS NULL), lower(:v) GROUP BY (:v IS NULL), lower(:v)",
                "SELECT ($1::text IS NULL), lower($2) GROUP BY ($1::text IS NULL), lower($2)",
            ),
            (Postgres, "v text", "(x = :v IS NULL)", "(x = $1 IS NULL)"),
            (Postgres, "v text", "(:v IS TRUE)", "($1 IS TRUE)"),
            (Postgres, "v int", "(:v IS NULL OR x = :v)", "($1 IS NULL OR x = $1)"),
            (Mysql, "v text", "(:v IS NULL OR x = :v)", "(? IS NULL OR x = ?)"),
            (Sqlite, "v text", "(:v IS NULL OR x = :v)", "(?1 IS NULL OR x = ?1)"),
            (Mysql, "", "SELECT /*!80000 1 */", "SELECT /*!80000 1 */"),
        ] {
            let template = Template::parse(dialect, sql, &params(declared))
                .unwrap_or_else(|flaws| panic!("{sql}: {flaws:?}"));
            assert_eq!(template.sql(), expected);
        }
    }

    #[test]
    fn a_value_is_sent_once_per_placeholder() {
        let params = params("v text, n int");
        let sql = "(:v IS NULL OR x = :v) AND (:n = 1 OR y = :n) AND (:v IS NULL OR z = :v)";
        let values = || vec![Value::Text("a".to_owned()), Value::Int(1)];
        for (dialect, expected) in [
            (Postgres, &["v", "v", "n", "v"][..]),
            (Sqlite, &["v", "n"]),
            (Mysql, &["v", "v", "n", "n", "v", "v"]),
        ] {
            let template = Template::parse(dialect, sql, &params).unwrap();
            let statement = template.fill(&params, values()).unwrap();
            let names: Vec<&str> = statement.arguments.iter().map(|argument| &*argument.name).collect();
            assert_eq!(names, expected, "{dialect:?}");
            for argument in &statement.arguments {
                let value = &values()[usize::from(&*argument.name == "n")];
                assert_eq!(&argument.value, value, "{dialect:?}");
            }
            assert_eq!(template.placeholders(1), expected.len());
        }
    }

    #[test]
    fn flaws() {
        for (dialect, declared, sql, at, says) in [
            (Postgres, "", "", 0, "there is no SQL"),
            (Postgres, "", " -- c\n ; ", 0, "there is no SQL"),
            (Postgres, "", "SELECT 1; SELECT 2", 10, "a second statement"),
            (Postgres, "", "SELECT 1;; -- c\n x", 17, "a second statement"),
            (Postgres, "", "SELECT :a", 7, "`:a` is not declared"),
            (Postgres, "", "SELECT $1", 7, "PostgreSQL's own placeholder"),
            (Mysql, "", "SELECT ?", 7, "MySQL's own placeholder"),
            (Sqlite, "", "SELECT @a", 7, "SQLite's own placeholder"),
            (Mysql, "a int", "SELECT /*!80000 :a */", 16, "inside `/*! … */`"),
            (Postgres, "", "SELECT 1\n-- timeout: 2s\n, 2", 9, "stands inside the SQL"),
            (Mysql, "", "SELECT 1\n-- timeout: 2s\n;", 9, "stands behind the SQL"),
            (Sqlite, "", "SELECT 1;\n\n-- http: GET\n", 11, "stands behind the SQL"),
            (Postgres, "a int[]", "x IN (:a)", 6, "`= ANY(:a)`"),
            (Postgres, "a int[]", "x NOT IN (1, :a)", 13, "`<> ALL(:a)`"),
            (Postgres, "a int[]", "x IN (:a::int[])", 6, "`= ANY(:a)`"),
            (Mysql, "a int[]", "x = ANY(:a)", 8, "stand alone in the parentheses of `IN (:a)`"),
            (Mysql, "a int[]", "x IN (1, :a)", 9, "stand alone"),
            (Sqlite, "a int[]", "x IN :a", 5, "stand alone"),
            (Sqlite, "a int[]", "x IN (SELECT :a)", 13, "stand alone"),
            (Postgres, "", "-- c\n ( begin", 8, "BEGIN is refused, because session state does not survive"),
            (Mysql, "", "/*!50000 set */ x", 9, "SET is refused"),
            (Postgres, "", "COPY t FROM STDIN", 0, "rows with SELECT and INSERT"),
            (Sqlite, "", "pragma x", 0, "PRAGMA is refused"),
            (
                Postgres,
                "",
                "CREATE TEMP TABLE t (n int)",
                7,
                "what is TEMP is refused, because session state",
            ),
            (
                Postgres,
                "",
                "create /* x */ local temporary table t()",
                21,
                "ON COMMIT DROP` is for the steps",
            ),
            (Postgres, "", "CREATE OR REPLACE TEMP VIEW v AS SELECT 1", 18, "what is TEMP"),
            (Postgres, "", "SELECT 1 AS n INTO TEMPORARY t", 19, "what is TEMPORARY"),
            (Mysql, "", "CREATE TEMPORARY TABLE t (n int)", 7, "what is TEMPORARY is refused"),
            (Sqlite, "", "CREATE TEMP TABLE t (n int)", 7, "what is TEMP is refused"),
            (Sqlite, "", "CREATE TEMP TABLE t AS SELECT 1 ON COMMIT DROP", 7, "what is TEMP is refused"),
        ] {
            let flaws = Template::parse(dialect, sql, &params(declared)).expect_err(sql);
            assert!(flaws[0].reason.contains(says), "{sql}: {flaws:?}");
            assert_eq!(flaws[0].at, Place::Sql(at), "{sql}");
        }
        let flaws = Template::parse(Postgres, "SELECT :b", &params("a int, b int")).unwrap_err();
        assert_eq!(flaws.len(), 1);
        assert_eq!(flaws[0].at, Place::Param(0));
        for (sql, hint) in [
            ("SELECT 1 LIMIT:a", "put a blank between"),
            ("SELECT x LIKE '%:a%'", "only text"),
            ("SELECT 1 -- :a\n", "declared, but the SQL does not use `:a`"),
        ] {
            let flaws = Template::parse(Postgres, sql, &params("a int")).unwrap_err();
            assert!(flaws[0].reason.contains(hint), "{flaws:?}");
        }
        for (dialect, sql) in [
            (Postgres, "CREATE TEMP TABLE t (n int) ON COMMIT DROP"),
            (Postgres, "CREATE TABLE temp (temporary int)"),
            (Postgres, "CREATE INDEX temp ON t (n)"),
            (Postgres, "CREATE FUNCTION temp(view int) RETURNS TABLE (n int) LANGUAGE sql AS 'SELECT 1'"),
            (Postgres, "SELECT temp FROM temporary"),
            (Postgres, "INSERT INTO temp VALUES (1)"),
            (Postgres, "WITH x AS (INSERT INTO temp VALUES (1) RETURNING n) SELECT n FROM x"),
            (Mysql, "CREATE TABLE temporary (n int)"),
            (Sqlite, "CREATE VIEW temp AS SELECT 1"),
        ] {
            assert!(Template::parse(dialect, sql, &[]).is_ok(), "{sql}");
        }
        for word in TRANSACTION.iter().chain(&SESSION) {
            assert!(Template::parse(Postgres, word, &[]).is_err(), "{word}");
            assert!(Template::parse(Postgres, &format!("{word}x"), &[]).is_ok(), "{word}x");
        }
    }

    #[test]
    fn lists_expand() {
        for (dialect, length, sql, arguments) in [
            (Sqlite, 0, "?1 IN (SELECT NULL FROM (SELECT 1) AS no_row WHERE 1=0) ?2", vec![7, 8]),
            (Sqlite, 1, "?1 IN (?2) ?3", vec![7, 0, 8]),
            (Sqlite, 2, "?1 IN (?2,?3) ?4", vec![7, 0, 1, 8]),
            (Sqlite, 3, "?1 IN (?2,?3,?4,?5) ?6", vec![7, 0, 1, 2, 2, 8]),
            (Mysql, 0, "? IN (SELECT NULL FROM (SELECT 1) AS no_row WHERE 1=0) ?", vec![7, 8]),
            (Mysql, 3, "? IN (?,?,?,?) ?", vec![7, 0, 1, 2, 2, 8]),
        ] {
            let params = params("b int, ids int[], a int");
            let template = Template::parse(dialect, ":a IN (:ids) :b", &params).unwrap();
            let fill = || template.fill(&params, vec![Value::Int(8), list(length), Value::Int(7)]).unwrap();
            let statement = fill();
            assert_eq!(&*statement.sql, sql);
            assert_eq!(numbers(&statement), arguments, "{sql}");
            assert!(statement.arguments.iter().all(|argument| !argument.kind.array));
            // The text is made once.
            assert!(Arc::ptr_eq(&statement.sql, &fill().sql));
        }
    }

    #[test]
    fn repeated_parameters() {
        let params = params("a int, ids int[]");
        let sql = ":a IN (:ids) OR :a NOT IN (:ids)";
        for (dialect, expected, arguments) in [
            (Sqlite, "?1 IN (?2,?3) OR ?1 NOT IN (?2,?3)", vec![7, 0, 1]),
            (Mysql, "? IN (?,?) OR ? NOT IN (?,?)", vec![7, 0, 1, 7, 0, 1]),
        ] {
            let template = Template::parse(dialect, sql, &params).unwrap();
            let statement = template.fill(&params, vec![Value::Int(7), list(2)]).unwrap();
            assert_eq!(&*statement.sql, expected);
            assert_eq!(numbers(&statement), arguments);
            // A NULL list is a list of NULL.
            let statement = template.fill(&params, vec![Value::Int(7), Value::Null]).unwrap();
            assert_eq!(&*statement.sql, template.sql());
            assert_eq!(statement.arguments[1].value, Value::Null);
        }
    }

    #[test]
    fn long_lists() {
        let one = params("a int[]");
        let template = Template::parse(Mysql, "x IN (:a)", &one).unwrap();
        assert_eq!(template.fill(&one, vec![list(MAX_LIST)]).unwrap().arguments.len(), MAX_LIST);
        let too_long = template.fill(&one, vec![list(MAX_LIST + 1)]).unwrap_err();
        assert_eq!(too_long, TooLong { index: 0, longest: MAX_LIST });
        // Two lists in SQLite share its placeholders.
        let two = params("a int[], b int[]");
        let template = Template::parse(Sqlite, "x IN (:a) OR x IN (:b)", &two).unwrap();
        assert!(template.fill(&two, vec![list(8192), list(8192)]).is_ok());
        assert_eq!(template.fill(&two, vec![list(1), list(8193)]).unwrap_err().longest, 8192);
        // The texts that are kept have an end, whatever callers send.
        let many = params("a int[], b int[], c int[]");
        let template = Template::parse(Sqlite, "x IN (:a) AND x IN (:b) AND x IN (:c)", &many).unwrap();
        for at in 0..1000_usize {
            let lengths = [1 << (at % 10), 1 << (at / 10 % 10), 1 << (at / 100)];
            template.fill(&many, lengths.map(list).to_vec()).unwrap();
        }
        assert_eq!(template.shapes.lock().unwrap().len(), MAX_SHAPES);
        // PostgreSQL takes an array as one value, of any length.
        let template = Template::parse(Postgres, "x = ANY(:a)", &one).unwrap();
        let statement = template.fill(&one, vec![list(100_000)]).unwrap();
        assert_eq!(statement.arguments.len(), 1);
        assert!(statement.arguments[0].kind.array);
    }

    proptest! {
        /// SQL without a `:name` is sent as it was written, from its first token to its last.
        #[test]
        fn text_comes_out_unchanged(sql in "[^:;?$@]{0,60}|SELECT ([a-z0-9 '\"=<>+*/,()\n-]|::|--|/\\*|\\*/|:=|: ){0,30}") {
            for dialect in [Postgres, Mysql, Sqlite] {
                if let Ok(template) = Template::parse(dialect, &sql, &[]) {
                    prop_assert!(sql.contains(template.sql()));
                    let end = &sql[sql.find(template.sql()).unwrap() + template.sql().len()..];
                    let rest = lexer::tokens(dialect, end);
                    // What was cut off behind it means nothing, if it can be read by itself at all.
                    prop_assert!(rest.is_err() || rest.unwrap().iter().all(|token| !token.is_significant()));
                }
            }
        }
    }
}
