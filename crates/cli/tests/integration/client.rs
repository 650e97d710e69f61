//! `lambda-rds client`; that the clients pass type checks and call the function, `cargo xtask clients` shows.

use crate::user::User;

#[test]
fn the_same_queries_make_the_same_file_and_others_another() {
    let user = User::new();
    let text = "-- name: a :one\nSELECT id FROM users;\n";
    user.write("queries/a.sql", text);
    for (language, row) in [("typescript", "id: bigint;"), ("python", "\"id\": \"int\",")] {
        let run = user.run(&["client", "--lang", language]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(row), "{}", run.stdout);
        let run = user.run(&["client", "--lang", language, "--out", "made"]);
        assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);

        let check = ["client", "--lang", language, "--output", "made", "--check"];
        assert_eq!(user.run(&check).code, 0);
        user.write("queries/a.sql", "-- name: a :one\nSELECT id, name FROM users;\n");
        let stale = user.run(&check);
        assert_eq!((stale.code, stale.stdout.as_str()), (1, ""));
        assert!(stale.stderr.contains("made is not what the queries make now"), "{}", stale.stderr);
        user.write("queries/a.sql", text);
        assert_eq!(user.run(&check).code, 0, "it was not written");
    }
    assert_eq!(user.run(&["client", "--lang", "python", "--output", "none", "--check"]).code, 1);
    assert_eq!(user.run(&["client", "--lang", "python", "--check"]).code, 2, "which file?");
}

#[test]
fn without_a_database_rows_are_anything() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: a :one\n-- http: GET\nSELECT 1 AS one;\n");
    let run = user.run(&["client", "--lang", "python", "--db", "missing.db"]);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""));
    assert!(run.stderr.contains("--offline"), "{}", run.stderr);
    for (language, row) in
        [("typescript", "type ARow = Record<string, unknown>;"), ("python", "ARow = Dict[str, Any]")]
    {
        let run = user.run(&["client", "--lang", language, "--db", "missing.db", "--offline"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(row), "{}", run.stdout);
    }
}
