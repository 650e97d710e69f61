//! A server's message without what it may quote of a caller's.
//!
//! Which messages quote a value is no list that could be kept: functions, extensions and new versions add to it. So
//! it is a rule. What stands in quotation marks, after a colon, or has a digit, is shown only if it is a word of the
//! statement's own text, which the log shows anyway, or a name that the server told apart.

/// The message with everything else replaced by `…`. `sql` is the statement's text, `names` are those that the server
/// told apart: a table's, a constraint's.
#[must_use]
pub fn hidden<'a>(message: &str, sql: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let known = Known { sql: sql.to_lowercase(), names: names.into_iter().map(str::to_lowercase).collect() };
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((opening, mark)) = next_mark(message, rest) {
        plain(&rest[..opening], &known, &mut shown);
        let inner = &rest[opening + mark.len_utf8()..];
        shown.push(mark);
        // The nearest end at which it is a word that may be shown, with every later mark having its other half.
        let word = ends(inner).find_map(|end| {
            let whole = ends(&inner[end..]).count() % 2 == 1;
            known.shown(&inner[..end]).filter(|_| whole).map(|word| (word, end))
        });
        // A value may hold marks itself, so that it ends at the last of them.
        let last = || ("…".to_owned(), ends(inner).last().unwrap_or(inner.len()));
        let (text, end) = word.unwrap_or_else(last);
        shown.push_str(&text);
        rest = &inner[end..];
        if let Some(closing) = rest.chars().next() {
            shown.push(closing);
            rest = &rest[closing.len_utf8()..];
        }
    }
    plain(rest, &known, &mut shown);
    shown
}

/// What may be shown.
struct Known {
    sql: String,
    names: Vec<String>,
}

impl Known {
    fn has(&self, text: &str) -> bool {
        let text = text.trim().to_lowercase();
        !text.is_empty() && (self.is_in_sql(&text) || text.split('.').all(|part| self.is_name(part)))
    }

    /// What may be shown of a quoted text: all of it, or of a name with dots the parts that are known, the last one
    /// among them.
    fn shown(&self, text: &str) -> Option<String> {
        if self.has(text) {
            return Some(text.to_owned());
        }
        let (_, last) = text.rsplit_once('.').filter(|_| !text.contains(char::is_whitespace))?;
        let part = |part: &str| if self.has(part) { part.to_owned() } else { "…".to_owned() };
        self.has(last).then(|| text.split('.').map(part).collect::<Vec<_>>().join("."))
    }

    fn is_name(&self, part: &str) -> bool {
        self.names.iter().any(|name| name == part) || self.is_in_sql(part)
    }

    /// Whether the statement has it, as whole words. MySQL quotes a statement from the place that it did not
    /// understand, up to 80 characters, which may end inside a word.
    fn is_in_sql(&self, text: &str) -> bool {
        let cut = text.chars().count() >= 79;
        !text.is_empty()
            && self.sql.match_indices(text).any(|(at, _)| {
                let before = self.sql[..at].chars().next_back();
                let after = self.sql[at + text.len()..].chars().next();
                let joined =
                    |a: Option<char>, b: Option<char>| a.is_some_and(is_word) && b.is_some_and(is_word);
                !joined(before, text.chars().next()) && (cut || !joined(text.chars().next_back(), after))
            })
    }
}

/// What stands outside of quotation marks: a sentence of the server's, but for numbers and for what follows a colon.
fn plain(text: &str, known: &Known, shown: &mut String) {
    let (sentence, told) = match text.split_once(": ") {
        Some((sentence, told)) => (sentence, Some(told)),
        None => (text, None),
    };
    let mut before = "";
    for piece in sentence.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',')) {
        let word =
            piece.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '.' | ':'));
        // A place in the statement or in its rows.
        let place = matches!(before, "row" | "line" | "character" | "position" | "offset");
        if word.contains(|c: char| c.is_numeric()) && !place && !known.has(word) {
            shown.push('…');
            shown.push_str(&piece[word.len()..]);
        } else {
            shown.push_str(piece);
        }
        before = word;
    }
    let Some(told) = told else { return };
    shown.push_str(": ");
    if known.has(told) {
        shown.push_str(told);
    } else if !told.trim().is_empty() {
        shown.push('…');
    }
}

/// The first mark of `rest`, which is the end of `message`. An apostrophe inside a word is none.
fn next_mark(message: &str, rest: &str) -> Option<(usize, char)> {
    let start = message.len() - rest.len();
    rest.char_indices().find(|(at, c)| {
        is_mark(*c) && !(*c == '\'' && message[..start + at].chars().next_back().is_some_and(is_word))
    })
}

/// Where a quotation that begins with `inner` may end.
fn ends(inner: &str) -> impl Iterator<Item = usize> + '_ {
    inner.char_indices().filter_map(move |(at, c)| {
        let after = inner[at + c.len_utf8()..].chars().next();
        (is_mark(c) && !(c == '\'' && after.is_some_and(is_word))).then_some(at)
    })
}

/// A server that speaks another language (`lc_messages`) uses that language's marks. The backquote stands around
/// names alone.
fn is_mark(c: char) -> bool {
    matches!(c, '"' | '\'' | '«' | '»' | '“' | '”' | '„' | '‚' | '‘' | '’' | '「' | '」')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::hidden;

    #[track_caller]
    fn check(message: &str, sql: &str, names: &[&str], expected: &str) {
        assert_eq!(hidden(message, sql, names.iter().copied()), expected, "{message}");
    }

    #[test]
    fn what_the_statement_does_not_say_is_not_shown() {
        const SQL: &str = "SELECT id FROM shop.Users WHERE id = $1::regclass";
        check("relation \"secret\" does not exist", SQL, &[], "relation \"…\" does not exist");
        check("relation \"users\" does not exist", SQL, &[], "relation \"users\" does not exist");
        check("relation \"shop.users\" does not exist", SQL, &[], "relation \"shop.users\" does not exist");
        check("relation \"shop.secret\" does not exist", SQL, &[], "relation \"…\" does not exist");
        // Part of a word is another word.
        check("relation \"user\" does not exist", SQL, &[], "relation \"…\" does not exist");
        check("Table 'shop.users' doesn't exist", SQL, &[], "Table 'shop.users' doesn't exist");
        check("Table 'shop.secret' doesn't exist", SQL, &[], "Table '…' doesn't exist");
        check("syntax error in tsquery: \"a b\"", SQL, &[], "syntax error in tsquery: \"…\"");
        check("value \"a\" b\" is out of range", SQL, &[], "value \"…\" is out of range");
        check("value \"users\" b\" is odd", SQL, &[], "value \"…\" is odd");
        check("Table 'db.users' doesn't exist", SQL, &[], "Table '….users' doesn't exist");
        check("Duplicate entry 'it's' for key 'a'", SQL, &[], "Duplicate entry '…'");
        check("odd \" one", SQL, &[], "odd \"…");
        check("ungültig: »geheim«", SQL, &[], "ungültig: »…«");
        check("« secret » ne va pas", SQL, &[], "«…» ne va pas");
    }

    #[test]
    fn names_that_the_server_tells_apart_are_shown() {
        check(
            "new row for relation \"t\" violates check constraint \"t_chk\"",
            "INSERT INTO v VALUES ($1)",
            &["t", "t_chk"],
            "new row for relation \"t\" violates check constraint \"t_chk\"",
        );
    }

    #[test]
    fn numbers_and_what_follows_a_colon_may_be_values() {
        check("index 5 out of valid range, 0..3", "", &[], "index … out of valid range, …");
        check("too long for type character varying(3)", "", &[], "too long for type character varying(…)");
        check("too long for type varchar(3)", "SELECT $1::varchar(3)", &[], "too long for type varchar(3)");
        check(
            "Data too long for column 'v' at row 1",
            "SET v = ?",
            &[],
            "Data too long for column 'v' at row 1",
        );
        check(
            "improper name (too many dotted names): a.b.c.d",
            "",
            &[],
            "improper name (too many dotted names): …",
        );
        check(
            "invalid byte sequence for encoding \"UTF8\": 0xff",
            "",
            &[],
            "invalid byte sequence for encoding \"…\": …",
        );
        check("integer out of range", "", &[], "integer out of range");
    }

    #[test]
    fn mysqls_place_in_a_statement() {
        let near = |near: &str| format!("You have an error in your SQL syntax near '{near}' at line 1");
        let sql = "SELECT 1 FRM t WHERE a = ?";
        check(&near("FRM t WHERE a = ?"), sql, &[], &near("FRM t WHERE a = ?"));
        check(&near("secret"), sql, &[], &near("…"));
    }
}
