//! What a statement of code of one's own does, judged by its words.

use super::Dialect;
use super::lexer::{self, Token};
use super::routine::routine;
use super::template;

/// What a statement may do to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It reads. If it calls something that writes, the server refuses that on a read-only session.
    Reads,
    /// It may write, and takes part in a transaction.
    Writes,
    /// It commits by itself, or calls what may.
    Commits,
}

impl Effect {
    /// Judges a statement. What cannot be read is taken for a write: the server will say what is wrong with it.
    pub(crate) fn of(dialect: Dialect, sql: &str) -> Self {
        let Ok(tokens) = lexer::tokens(dialect, sql) else { return Self::Writes };
        let is_one_of = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is_word(word));
        let Some(first) = template::first_word(&tokens) else { return Self::Reads };
        if template::commits_by_itself(dialect, &tokens) || routine(dialect, &tokens) == Some("CALL") {
            return Self::Commits;
        }
        // A word that may stand for a table's name, too, only costs a transaction.
        if is_one_of(first, &READING) && !tokens.iter().any(|token| is_one_of(token, &WRITING)) {
            return Self::Reads;
        }
        Self::Writes
    }
}

const READING: [&str; 8] = ["SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"];
/// What makes a write of something that begins like a read: a WITH that changes data, EXPLAIN ANALYZE of one,
/// SELECT INTO, and the locks of FOR UPDATE and FOR SHARE.
const WRITING: [&str; 7] = ["INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "SHARE", "LOCK"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_tell() {
        use Dialect::{Mysql, Postgres, Sqlite};
        let check = |dialect, sql, effect| assert_eq!(Effect::of(dialect, sql), effect, "{sql}");
        for dialect in [Postgres, Mysql, Sqlite] {
            check(dialect, "SELECT 1", Effect::Reads);
            check(dialect, " /* INSERT */ (select 'UPDATE')", Effect::Reads);
            check(dialect, "WITH a AS (SELECT 1) SELECT * FROM a", Effect::Reads);
            check(dialect, "WITH a AS (SELECT 1) DELETE FROM b", Effect::Writes);
            check(dialect, "INSERT INTO a VALUES (1)", Effect::Writes);
            check(dialect, "SELECT 'never closed", Effect::Writes);
            check(dialect, "", Effect::Reads);
        }
        check(Postgres, "SELECT 1 FROM a FOR NO KEY UPDATE", Effect::Writes);
        check(Mysql, "SELECT 1 FROM a FOR SHARE", Effect::Writes);
        check(Mysql, "SELECT 1 FROM a LOCK IN SHARE MODE", Effect::Writes);
        check(Postgres, "SELECT 1 INTO b", Effect::Writes);
        check(Postgres, "CREATE TABLE a (b int)", Effect::Writes);
        check(Mysql, "CREATE TABLE a (b int)", Effect::Commits);
        check(Mysql, "CALL a()", Effect::Commits);
        check(Postgres, "CALL a()", Effect::Commits);
        check(Mysql, "/*!50000 CALL a() */", Effect::Commits);
        check(Mysql, "DO a()", Effect::Writes);
        check(Postgres, "DO $$ BEGIN END $$", Effect::Writes);
    }
}
