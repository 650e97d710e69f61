//! `lambda-rds tables`, and what `check` and `doctor` say where the table is missing.

use crate::server::{database, env};
use crate::user::{Run, User};

const KEYED: &str = "-- name: add :exec\n-- idempotency_key: header.Idempotency-Key\n-- param: name text\n\
                     UPDATE users SET name = :name WHERE id = 1;\n";
const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, name text);";

#[test]
fn the_ddl_of_each_engine() {
    let user = User::new();
    for (engine, word) in [
        ("postgres", "bytea PRIMARY KEY"),
        ("aurora-postgres", "bytea PRIMARY KEY"),
        ("mysql", "ENGINE = InnoDB"),
        ("sqlite", "BLOB NOT NULL PRIMARY KEY"),
    ] {
        let run = user.run(&["tables", "--engine", engine]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(word) && run.stdout.contains("lambda_rds_idempotency"), "{}", run.stdout);
        let run = user.run_with(&[("DB_IDEMPOTENCY_TABLE", "app.Keys")], &["tables", "--engine", engine], "");
        assert!(run.stdout.contains("Keys") && run.stdout.contains("app"), "{}", run.stdout);
    }
    assert_eq!(user.run(&["tables"]).code, 2);
    let run = user.run(&["tables", "--engine", "oracle"]);
    assert!(run.code == 3 && run.stderr.contains("There are: postgres, mysql"), "{}", run.stderr);
    let run = user.run_with(&[("DB_IDEMPOTENCY_TABLE", "a b")], &["tables", "--engine", "sqlite"], "");
    assert!(run.code == 3 && run.stderr.contains("DB_IDEMPOTENCY_TABLE is `a b`"), "{}", run.stderr);
    let run = user.run_with(&[("DB_IDEMPOTENCY_TABLE", "a b")], &["check"], "");
    assert!(run.code == 3 && run.stderr.contains("DB_IDEMPOTENCY_TABLE"), "{}", run.stderr);
}

#[test]
fn check_and_doctor_name_a_table_that_is_missing_and_what_makes_it() {
    let user = User::new();
    user.write("queries/a.sql", KEYED);
    let settings = database(USERS);
    let settings = env(&settings);
    let run = user.run_with(&settings, &["check", "--quiet"], "");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(
        run.stdout.contains("error: the table lambda_rds_idempotency of idempotency keys is missing")
            && run.stdout.contains("`lambda-rds tables --engine postgres`"),
        "{}",
        run.stdout
    );
    let ddl = user.run(&["tables", "--engine", "postgres"]).stdout;
    let line = ddl.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(run.stdout.contains(&line), "{}", run.stdout);
    let warnings = |run: Run| {
        assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
        let walk: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        walk["warnings"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let told: Vec<String> = warnings(user.run_with(&settings, &["doctor", "--json"], ""));
    assert!(told.iter().any(|told| told.contains(&line)), "{told:?}");
    let settings = database(&format!("{USERS}\n{ddl}"));
    let run = user.run_with(&env(&settings), &["check", "--quiet"], "");
    assert_eq!(run.code, 0, "{}", run.stdout);
    let told: Vec<String> = warnings(user.run_with(&env(&settings), &["doctor", "--json"], ""));
    assert!(!told.iter().any(|told| told.contains("idempotency keys")), "{told:?}");
}
