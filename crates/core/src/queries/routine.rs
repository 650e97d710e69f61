//! What a statement runs that is no query.

use super::Dialect;
use super::lexer::{self, Token};
use super::template;

/// What a statement runs that is no query, and may begin a transaction of its own that writes: a procedure (`CALL`), or a
/// block of code and, on MySQL, expressions (`DO`). No read-only session holds that back on every server.
pub(super) fn routine(dialect: Dialect, statement: &[Token<'_>]) -> Option<&'static str> {
    let first = template::first_word(statement)?;
    // SQLite has neither.
    ["CALL", "DO"].into_iter().find(|word| dialect != Dialect::Sqlite && first.is_word(word))
}

/// [`routine`] of a statement that has not been read yet.
pub(super) fn routine_of(dialect: Dialect, sql: &str) -> Option<&'static str> {
    routine(dialect, &lexer::tokens(dialect, sql).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_query_is_told() {
        use Dialect::{Mysql, Postgres, Sqlite};
        let check = |dialect, sql, want| assert_eq!(routine_of(dialect, sql), want, "{sql}");
        for dialect in [Postgres, Mysql] {
            check(dialect, "CALL a()", Some("CALL"));
            check(dialect, "/* SELECT */ -- SELECT\n call a()", Some("CALL"));
            check(dialect, "SELECT 'CALL a()'", None);
            check(dialect, "SELECT call FROM do", None);
            check(dialect, "", None);
        }
        check(Mysql, "/*!50000 CALL a() */", Some("CALL"));
        check(Mysql, "do a()", Some("DO"));
        check(Postgres, "DO $$ BEGIN END $$", Some("DO"));
        check(Sqlite, "CALL a()", None);
    }
}
