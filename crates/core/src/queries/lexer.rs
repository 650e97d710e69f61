//! One lexer for three dialects: cuts SQL into tokens, so that what looks like a parameter inside a string, a
//! comment or a cast is not taken for one.
//!
//! It knows where things begin and end, not what they mean. The tokens tile the text: put one behind the other,
//! they are the text again.
//!
//! Sources: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>,
//! <https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>, <https://sqlite.org/lang_expr.html>.

use super::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// White space.
    Space,
    /// `-- …`, without the end of the line; on MySQL `# …` too.
    LineComment,
    /// `/* … */`
    BlockComment,
    /// A keyword, an unquoted identifier or a number.
    Word,
    /// A string or a quoted identifier.
    Quoted,
    /// `:name`
    Parameter,
    /// A placeholder of the engine's own, such as `$1`.
    Native,
    /// `/*!80000` or `/*M!`: MySQL runs what is inside this comment.
    CodeOpen,
    /// The `*/` after it.
    CodeClose,
    /// `;`
    Semicolon,
    /// Any other single character, and `::`.
    Other,
}

/// A part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// Whether it means anything to the server.
    pub(super) fn is_significant(&self) -> bool {
        !matches!(self.kind, TokenKind::Space | TokenKind::LineComment | TokenKind::BlockComment)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

/// What the text cannot be cut at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Where, in bytes.
    pub(super) at: usize,
    pub(super) reason: &'static str,
}

/// Cuts the text into its tokens.
///
/// # Errors
/// If something is opened and never closed, or a parameter's name has letters that names do not have.
pub(super) fn tokens(dialect: Dialect, sql: &str) -> Result<Vec<Token<'_>>, Unreadable> {
    let mut lexer = Lexer {
        dialect,
        sql,
        bytes: sql.as_bytes(),
        at: 0,
        code: None,
        escapes: Escapes::No,
        open: Vec::new(),
        operand: false,
    };
    let mut tokens = Vec::with_capacity(sql.len() / 4);
    while lexer.at < sql.len() {
        let start = lexer.at;
        let kind = lexer.next()?;
        let text = &sql[start..lexer.at];
        lexer.escapes = lexer.escapes.after(kind, text);
        lexer.follow(kind, text);
        tokens.push(Token { kind, start, text });
    }
    match lexer.code {
        Some(at) => Err(Unreadable { at, reason: "the comment `/*!` is never closed" }),
        None => Ok(tokens),
    }
}

/// Whether a name or keyword can go on with this byte; `$` may be inside an identifier on all three.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

struct Lexer<'a> {
    dialect: Dialect,
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where a `/*!` was opened that has not been closed.
    code: Option<usize>,
    escapes: Escapes,
    /// The brackets and parentheses that are open; true for a bracket.
    open: Vec<bool>,
    /// Whether the last significant token ends an operand.
    operand: bool,
}

/// PostgreSQL joins strings with a line end between them, and the second of `E'a'` ⏎ `'b\'c'` has escapes too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    No,
    /// The `E` before a string.
    Prefix,
    /// A string with escapes has ended on this line.
    Ended,
    /// And a line end has followed.
    Continue,
}

impl Escapes {
    fn after(self, kind: TokenKind, text: &str) -> Self {
        match (self, kind) {
            (_, TokenKind::Word) if text.eq_ignore_ascii_case("e") => Self::Prefix,
            (Self::Prefix | Self::Continue, TokenKind::Quoted) if text.starts_with('\'') => Self::Ended,
            (Self::Ended, TokenKind::Space) if text.contains(['\n', '\r']) => Self::Continue,
            (Self::Ended | Self::Continue, TokenKind::Space | TokenKind::LineComment) => self,
            _ => Self::No,
        }
    }
}

impl Lexer<'_> {
    /// Moves behind the next token. There is one.
    fn next(&mut self) -> Result<TokenKind, Unreadable> {
        use Dialect::{Mysql, Postgres, Sqlite};
        use TokenKind::{
            BlockComment, CodeClose, CodeOpen, LineComment, Native, Other, Parameter, Quoted, Semicolon,
            Space, Word,
        };
        let start = self.at;
        let kind = match (self.bytes[start], self.dialect) {
            (byte, _) if is_space(byte) => {
                self.skip(is_space);
                Space
            }
            (b'-', _) if self.is_dash_comment() => {
                self.skip(|byte| byte != b'\n' && byte != b'\r');
                LineComment
            }
            (b'#', Mysql) => {
                self.skip(|byte| byte != b'\n' && byte != b'\r');
                LineComment
            }
            (b'/', Mysql) if self.rest().starts_with(b"/*!") || self.rest().starts_with(b"/*M!") => {
                if self.code.is_some() {
                    return Err(self.unreadable(start, "a comment `/*!` inside another one"));
                }
                self.code = Some(start);
                self.at += if self.bytes[start + 2] == b'!' { 3 } else { 4 };
                self.skip(|byte| byte.is_ascii_digit());
                CodeOpen
            }
            (b'*', Mysql) if self.code.is_some() && self.rest().starts_with(b"*/") => {
                self.code = None;
                self.at += 2;
                CodeClose
            }
            (b'/', _) if self.rest().starts_with(b"/*") => {
                self.block_comment()?;
                BlockComment
            }
            (b'\'', Postgres) => {
                let escapes = matches!(self.escapes, Escapes::Prefix | Escapes::Continue);
                self.quoted(b'\'', escapes)?;
                Quoted
            }
            (quote @ (b'\'' | b'"'), Mysql) => {
                self.quoted(quote, true)?;
                Quoted
            }
            (quote @ (b'\'' | b'"'), Postgres | Sqlite) | (quote @ b'`', Mysql | Sqlite) => {
                self.quoted(quote, false)?;
                Quoted
            }
            (b'[', Sqlite) => {
                self.until(b"]", "the identifier in brackets is never closed")?;
                Quoted
            }
            (b'$', Postgres) => self.dollar()?,
            (b'$' | b'@', Sqlite) if self.bytes.get(start + 1).copied().is_some_and(is_word) => {
                self.at += 1;
                self.skip(is_word);
                Native
            }
            // sqlc's way to write a parameter. PostgreSQL takes it for the absolute value of a column, so that
            // `id = @id` is true for every row that is not negative; as part of a longer operator it is none.
            (b'@', Postgres) if self.is_at_name(b"<^@?~-!&|#") => {
                self.at += 1;
                self.skip(is_word);
                Native
            }
            // A variable of the session's. Behind a quote or a name it is a user's host.
            (b'@', Mysql) if self.is_at_name(b"@'\"`") => {
                self.at += 1;
                self.skip(|byte| is_word(byte) || byte == b'.');
                Word
            }
            (b'?', Mysql | Sqlite) => {
                self.at += 1;
                self.skip(|byte| byte.is_ascii_digit());
                Native
            }
            (b':', _) => {
                if self.colon()? {
                    Parameter
                } else {
                    Other
                }
            }
            (b';', _) => {
                self.at += 1;
                Semicolon
            }
            (byte, _) if is_word(byte) => {
                self.skip(is_word);
                Word
            }
            _ => {
                self.at += 1;
                Other
            }
        };
        Ok(kind)
    }

    /// Remembers what decides about a later colon.
    fn follow(&mut self, kind: TokenKind, text: &str) {
        match (kind, text) {
            (TokenKind::Space | TokenKind::LineComment | TokenKind::BlockComment, _) => return,
            (TokenKind::Other, "[" | "(") => self.open.push(text == "["),
            (TokenKind::Other, "]" | ")") => {
                self.open.pop();
            }
            _ => {}
        }
        self.operand = match kind {
            TokenKind::Word => !BEFORE_OPERANDS.iter().any(|word| text.eq_ignore_ascii_case(word)),
            TokenKind::Other => matches!(text, "]" | ")"),
            _ => matches!(kind, TokenKind::Quoted | TokenKind::Parameter | TokenKind::Native),
        };
    }

    /// Whether the `@` here stands before a name, and behind none of these, nor behind a word.
    fn is_at_name(&self, not_behind: &[u8]) -> bool {
        let before = self.at.checked_sub(1).map(|before| self.bytes[before]);
        let name =
            self.bytes.get(self.at + 1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        name && !before.is_some_and(|byte| is_word(byte) || not_behind.contains(&byte))
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn skip(&mut self, of: impl Fn(u8) -> bool) {
        self.at += self.rest().iter().take_while(|&&byte| of(byte)).count();
    }

    /// Two dashes; MySQL wants white space behind them, so that `5--3` stays arithmetic.
    fn is_dash_comment(&self) -> bool {
        let rest = self.rest();
        rest.starts_with(b"--")
            && (self.dialect != Dialect::Mysql || rest.get(2).is_none_or(|&byte| byte <= b' '))
    }

    /// PostgreSQL's block comments nest.
    fn block_comment(&mut self) -> Result<(), Unreadable> {
        let start = self.at;
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            if self.rest().starts_with(b"/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else {
                self.at += 1;
            }
        }
        Err(self.unreadable(start, "the comment is never closed"))
    }

    /// A string or identifier; its quote is written twice inside it, or behind a backslash if there are escapes.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<(), Unreadable> {
        let start = self.at;
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            if byte == b'\\' && escapes {
                // A character of several bytes behind it is passed over in the next rounds.
                self.at += 1;
            } else if byte == quote {
                if self.bytes.get(self.at) != Some(&quote) {
                    return Ok(());
                }
                self.at += 1;
            }
        }
        Err(self.unreadable(start, "the quote is never closed"))
    }

    fn until(&mut self, end: &[u8], reason: &'static str) -> Result<(), Unreadable> {
        match self.rest().windows(end.len()).position(|window| window == end) {
            Some(length) => {
                self.at += length + end.len();
                Ok(())
            }
            None => Err(self.unreadable(self.at, reason)),
        }
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$`, or a dollar that is nothing of these. One inside an identifier never comes
    /// here.
    fn dollar(&mut self) -> Result<TokenKind, Unreadable> {
        let start = self.at;
        self.at += 1;
        if self.rest().first().is_some_and(u8::is_ascii_digit) {
            self.skip(|byte| byte.is_ascii_digit());
            return Ok(TokenKind::Native);
        }
        self.skip(|byte| is_word(byte) && byte != b'$');
        if self.rest().first() != Some(&b'$') {
            self.at = start + 1;
            return Ok(TokenKind::Other);
        }
        self.at += 1;
        let tag = &self.bytes[start..self.at];
        self.until(tag, "the dollar quote is never closed")
            .map_err(|error| Unreadable { at: start, ..error })?;
        Ok(TokenKind::Quoted)
    }

    /// Whether the colon begins a parameter: a name follows at once, and neither a colon nor a word stands
    /// directly before. So `::type`, `:=`, and the slices `a[1:2]` and `a[i:n]` are left alone, while `a[:n]` has
    /// a parameter. In brackets no operand can follow an operand, so that the colon of `a[(i):n]` and `a["I" :n]` is
    /// the slice's, too.
    fn colon(&mut self) -> Result<bool, Unreadable> {
        let start = self.at;
        let before = start.checked_sub(1).map(|before| self.bytes[before]);
        self.at += 1;
        if self.rest().first() == Some(&b':') {
            self.at += 1;
            return Ok(false);
        }
        let begins = self.rest().first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'_');
        let slices = self.operand && self.open.last() == Some(&true);
        if !begins || slices || before.is_some_and(|byte| byte == b':' || is_word(byte)) {
            return Ok(false);
        }
        self.skip(is_word);
        match self.bytes[start + 1..self.at].iter().any(|&byte| byte >= 0x80 || byte == b'$') {
            true => Err(self.unreadable(start, "a parameter's name has letters a to z, digits and _ only")),
            false => Ok(true),
        }
    }

    fn unreadable(&self, at: usize, reason: &'static str) -> Unreadable {
        debug_assert!(self.sql.is_char_boundary(at));
        Unreadable { at, reason }
    }
}

/// Words of an expression that are no operands: behind them one begins.
const BEFORE_OPERANDS: [&str; 20] = [
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "FROM",
    "LIKE",
    "ILIKE",
    "TO",
    "ESCAPE",
    "BETWEEN",
    "SYMMETRIC",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "ZONE",
    "ANY",
    "ALL",
    "SOME",
];

fn is_space(byte: u8) -> bool {
    // As C's isspace, which all three follow: vertical tab included.
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Dialect::{Mysql, Postgres, Sqlite};

    const ALL: [Dialect; 3] = [Postgres, Mysql, Sqlite];

    /// The parameters that a text has in a dialect, in order.
    fn parameters(dialect: Dialect, sql: &str) -> Vec<&str> {
        kinds(dialect, sql, TokenKind::Parameter)
    }

    fn kinds(dialect: Dialect, sql: &str, kind: TokenKind) -> Vec<&str> {
        let tokens = tokens(dialect, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        tokens.iter().filter(|token| token.kind == kind).map(|token| token.text).collect()
    }

    #[test]
    fn the_same_everywhere() {
        for (sql, expected) in [
            ("a = :a AND b=:b_1", vec![":a", ":b_1"]),
            (":a", vec![":a"]),
            ("(:a,:a)", vec![":a", ":a"]),
            ("':a' 'it''s :a' \"x:a\" \"x\"\" :a\" :b", vec![":b"]),
            ("-- :a\n:b -- :c", vec![":b"]),
            ("-- :a\r\n:b", vec![":b"]),
            ("/* :a ' */ :b", vec![":b"]),
            ("x::int, :a::int, ::b, :::c", vec![":a"]),
            ("x := 1, y :=:a", vec![":a"]),
            ("b[1:2] b[i:n] b[:n]", vec![":n"]),
            ("b[1: n], b[1: :n]", vec![":n"]),
            ("12:30", vec![]),
            (": a :1 :", vec![]),
            ("+:a-:b*:c/:d||:e", vec![":a", ":b", ":c", ":d", ":e"]),
            ("é:a, e :a", vec![":a"]),
        ] {
            for dialect in ALL {
                // On SQLite a bracket quotes.
                if dialect == Sqlite && sql.contains('[') {
                    continue;
                }
                assert_eq!(parameters(dialect, sql), expected, "{dialect:?} {sql}");
            }
        }
    }

    #[test]
    fn each_dialect_has_its_own() {
        for (dialect, sql, expected) in [
            // Backslashes: escapes in MySQL, and in E'' on PostgreSQL, the joined string after it included.
            (Postgres, r"'\' :a", vec![":a"]),
            (Postgres, r"E'\' :a' e'\\' :b", vec![":b"]),
            (Postgres, "E'x'\n '\\' :a' :b", vec![":b"]),
            (Postgres, "E'x' -- joined\n '\\' :a' :b", vec![":b"]),
            (Postgres, r"E'x' '\' :b", vec![":b"]),
            (Postgres, r"the'\' :b", vec![":b"]),
            (Postgres, r#"U&"\" :b"#, vec![":b"]),
            (Mysql, r#"'\' :a' "\" :a" '\\' :b"#, vec![":b"]),
            (Mysql, r"`\` :b", vec![":b"]),
            (Sqlite, r"'\' :b", vec![":b"]),
            // Comments.
            (Postgres, "/* /* :a */ :a */ :b", vec![":b"]),
            (Mysql, "/* /* :a */ :b", vec![":b"]),
            (Sqlite, "/* /* :a */ :b", vec![":b"]),
            (Mysql, "# :a\n:b", vec![":b"]),
            (Postgres, "a #:b", vec![":b"]),
            (Mysql, "5--:a", vec![":a"]),
            (Mysql, "5-- :a\n:b--", vec![":b"]),
            (Postgres, "5--:a\n:b", vec![":b"]),
            (Mysql, "/*+ MAX_EXECUTION_TIME(:a) */ :b", vec![":b"]),
            (Postgres, "/*! :a */ :b", vec![":b"]),
            // Quotes.
            (Postgres, "$$ :a ' $$ :b $x$ :a $$ $y$ $x$ :c", vec![":b", ":c"]),
            (Postgres, "a$$ :b", vec![":b"]),
            (Postgres, "$é$ :a $é$ :b", vec![":b"]),
            (Mysql, "`:a` `x`` :b`", vec![]),
            (Sqlite, "`:a` [:a ' ] :b", vec![":b"]),
            (Postgres, "` :b", vec![":b"]),
            // Operators and variables.
            (Postgres, "j ? 'x' AND j ?| :a AND j ?& :b AND j @? :c", vec![":a", ":b", ":c"]),
            (Mysql, "@x := @@session.y + :b", vec![":b"]),
            // In a slice a colon behind an operand is the slice's.
            (Postgres, "a[(lo):hi] a[f(x):g(y)] a[\"Lo\":hi] a[b[1]:hi] a[lo :hi]", vec![]),
            (Postgres, "a[:lo:hi] a[(lo): :hi] a[(:lo):hi]", vec![":lo", ":hi", ":lo"]),
            (Postgres, "a[CASE WHEN :a THEN :b ELSE :c END:hi]", vec![":a", ":b", ":c"]),
            (Postgres, "ARRAY[1, :a, x + :b]", vec![":a", ":b"]),
            (Postgres, "SELECT DISTINCT ON (x) :a", vec![":a"]),
            (Postgres, "a[(SELECT DISTINCT ON (x) :a)]", vec![":a"]),
        ] {
            assert_eq!(parameters(dialect, sql), expected, "{dialect:?} {sql}");
        }
    }

    #[test]
    fn native_placeholders() {
        for (dialect, sql, expected) in [
            (Postgres, "a = $1 AND b$2 = $34", vec!["$1", "$34"]),
            (Postgres, "j ? 'x'", vec![]),
            (Postgres, "id = @id AND n=@n_1 AND (@x)", vec!["@id", "@n_1", "@x"]),
            (Postgres, "@ x, @(x), @-5, a <@b, a @>b, a @@b, a ^@b, @-@p, 'a@b'", vec![]),
            (Mysql, "@x, a@localhost, 'a'@b, @@version", vec![]),
            (Mysql, "a = ? AND b = '?'", vec!["?"]),
            (Sqlite, "? ?12 @a $b", vec!["?", "?12", "@a", "$b"]),
        ] {
            assert_eq!(kinds(dialect, sql, TokenKind::Native), expected, "{dialect:?} {sql}");
        }
    }

    #[test]
    fn code_in_comments() {
        for (sql, expected) in [
            ("/*!80000 SELECT ':a */' */ :b", vec!["/*!80000"]),
            ("/*M!100100 x */ /*! y */", vec!["/*M!100100", "/*!"]),
        ] {
            assert_eq!(kinds(Mysql, sql, TokenKind::CodeOpen), expected, "{sql}");
            assert_eq!(kinds(Mysql, sql, TokenKind::CodeClose).len(), expected.len(), "{sql}");
        }
    }

    #[test]
    fn unreadable() {
        for (dialect, sql, at, reason) in [
            (Postgres, "x 'a", 2, "quote is never closed"),
            (Postgres, "x \"a\"\"", 2, "quote is never closed"),
            (Mysql, r"'\'", 0, "quote is never closed"),
            (Mysql, r"'\", 0, "quote is never closed"),
            (Postgres, "x /* /* */", 2, "comment is never closed"),
            (Mysql, "x /*! 'a'", 2, "comment `/*!` is never closed"),
            (Mysql, "/*! /*! */ */", 4, "inside another"),
            (Postgres, "x $a$ $b$ $", 2, "dollar quote is never closed"),
            (Sqlite, "x [a", 2, "brackets is never closed"),
            (Postgres, "x :naïve", 2, "parameter's name"),
        ] {
            let error = tokens(dialect, sql).expect_err(sql);
            assert_eq!(error.at, at, "{sql}");
            assert!(error.reason.contains(reason), "{sql}: {}", error.reason);
        }
    }

    fn sql() -> impl Strategy<Value = String> {
        const PARTS: &[&str] = &[
            "'", "''", "\"", "`", "[", "]", "\\", "$", "$$", "$a$", "--", "/*", "*/", "/*!", "#", ":", "::",
            ":a", ":=", "?", "@", ";", "(", ")", "E", "e'", "IN", "1", "\n", "\r\n", " ", "é", "😀", "x",
        ];
        prop_oneof![
            proptest::collection::vec(proptest::sample::select(PARTS), 0..40)
                .prop_map(|parts| parts.concat()),
            any::<String>(),
        ]
    }

    proptest! {
        /// Whatever the text, cutting it does not panic, and the tokens are the text again.
        #[test]
        fn tokens_tile_the_text(sql in sql()) {
            for dialect in ALL {
                match tokens(dialect, &sql) {
                    Ok(tokens) => {
                        prop_assert_eq!(tokens.iter().map(|token| token.text).collect::<String>(), sql.clone());
                        let mut at = 0;
                        for token in tokens {
                            prop_assert_eq!(token.start, at);
                            prop_assert!(!token.text.is_empty());
                            at += token.text.len();
                        }
                    }
                    Err(error) => prop_assert!(sql.is_char_boundary(error.at)),
                }
            }
        }
    }
}
