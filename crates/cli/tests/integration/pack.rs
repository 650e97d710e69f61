//! `lambda-rds pack`: what is wrong is told before anything is written. That what is packed runs, and is what
//! `cargo xtask zip` packs, `cargo xtask release --check` shows.

use crate::user::User;

const QUERY: &str = "-- name: one :one\nSELECT 1 AS n;\n";

/// Refuses, says this, and leaves no file.
#[track_caller]
fn refuses(user: &User, words: &[&str], code: i32, says: &[&str]) {
    let refused = user.run(&[&["pack", "--engine", "postgres"], words].concat());
    assert_eq!((refused.code, refused.stdout.as_str()), (code, ""), "{}", refused.stderr);
    for said in says {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let zips = std::fs::read_dir(user.folder()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(zips.filter(|path| path.extension().is_some_and(|end| end == "zip")).count(), 0);
}

#[test]
fn what_the_function_would_refuse_at_init_is_told_before_it_is_packed() {
    let user = User::new();
    refuses(&user, &["--no-bootstrap"], 3, &["cannot read the folder of queries, queries", "--queries"]);
    user.write("queries/a.sql", "-- name: one :one\nSELECT :nobody;\n\n-- name: one :one\nSELECT 1;\n");
    refuses(&user, &["--no-bootstrap"], 3, &["queries/a.sql:2: ", "nobody", "queries/a.sql:4: "]);
    user.write("queries/a.sql", QUERY);
    user.write("lambda-rds.toml", "[function]\ndefault_query = \"two\"\n");
    refuses(&user, &["--no-bootstrap"], 3, &["two"]);
    user.write("lambda-rds.toml", "[db]\nquery_timeuot = \"1s\"\n");
    refuses(&user, &["--no-bootstrap"], 3, &["query_timeuot"]);
    user.write("lambda-rds.toml", "[function]\nqueries = \"sql\"\n");
    refuses(&user, &["--no-bootstrap"], 3, &["\"sql\"", "--queries"]);
}

#[test]
fn settings_that_the_environment_brings_need_not_be_there() {
    let check = |file: &str, engine: &str, says: &str| {
        let user = User::new();
        user.write("queries/a.sql", QUERY);
        user.write("lambda-rds.toml", file);
        // The desk's own environment is not the function's.
        let env = [("DB_TLS", "nonsense"), ("DB_HOST", "desk")];
        let packed = user.run_with(&env, &["pack", "--engine", engine, "--no-bootstrap"], "");
        assert_eq!((packed.code, packed.stdout.as_str()), (0, ""), "{file}: {}", packed.stderr);
        assert!(packed.stderr.contains(says), "{file}: {}", packed.stderr);
        assert!(user.folder().join(format!("lambda-rds-{engine}.zip")).is_file());
    };
    check("[db]\n", "mysql", "bytes: lambda-rds.toml, queries/a.sql");
    check("[db]\nauth = \"iam\"\n", "postgres", "made lambda-rds-postgres.zip");
    check("[db]\nengine = \"aurora-mysql\"\n", "aurora", "made lambda-rds-aurora.zip");
    check("[db]\nengine = \"sqlite\"\nname = \"shop.db\"\n", "postgres", "DB_ENGINE");
}

/// A zip with several engines has the queries of one of them.
#[test]
fn queries_of_one_engine_fit_into_a_zip_of_several() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: one :one\n-- read\nCALL one();\n");
    let packed = user.run(&["pack", "--engine", "mysql", "--no-bootstrap"]);
    assert_eq!(packed.code, 3, "a CALL is no read on MySQL: {}", packed.stderr);
    user.write("queries/a.sql", QUERY);
    let packed = user.run(&["pack", "--engine", "aurora", "--no-bootstrap"]);
    assert_eq!(packed.code, 0, "{}", packed.stderr);
}

#[test]
fn a_function_that_is_not_there_is_told_with_where_to_get_one() {
    let user = User::new();
    user.write("queries/a.sql", QUERY);
    let place = "share/lambda-rds/functions-arm64.tar.xz";
    let says = [place, "--bootstrap FILE", "cargo xtask zip --engine postgres --arch arm64"];
    refuses(&user, &["--arch", "arm64"], 3, &says);
    refuses(&user, &[], 2, &["--arch"]);
    user.write("bootstrap", "#!/bin/sh\n");
    let words = ["--arch", "arm64", "--bootstrap", "bootstrap"];
    refuses(&user, &words, 3, &["bootstrap: the executable is no 64-bit ELF file"]);
    refuses(&user, &["--image", "bootstrap"], 3, &["bootstrap: it is no archive of an image"]);
}
