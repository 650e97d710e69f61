//! `lambda-rds check`

use serde_json::{Value, json};

use crate::server::{database, env};
use crate::user::{User, run_on};

/// The findings, in the order told, and the exit code.
fn findings(user: &User, settings: &[(&str, &str)], more: &[&str]) -> (i32, Vec<String>) {
    let args: Vec<&str> = ["check", "--quiet"].into_iter().chain(more.iter().copied()).collect();
    let run = user.run_with(settings, &args, "");
    assert!(run.code <= 1, "{}", run.stderr);
    (run.code, run.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn types_are_told_and_sound_queries_pass() {
    let user = User::new();
    user.run(&["init"]);
    let run = user.run(&["check"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        run.stdout,
        "queries/users.sql:5: active_users(active bool, limit int) -> [id integer, name text, email text]\n\
         queries/users.sql:12: user(id int) -> id integer, name text, email text, active boolean\n\
         queries/users.sql:18: add_user(name text, email text, active bool) -> rowsAffected\n\
         queries/users.sql:26: rename_user(id int, name text) -> rowsAffected\n"
    );
    assert!(run.stderr.ends_with("lambda-rds: 4 queries: 0 errors, 0 warnings\n"), "{}", run.stderr);
}

#[test]
fn mistakes_in_a_file_are_errors_with_their_lines() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: a :many\n-- param: x int\nSELECT :y;\n");
    let (code, found) = findings(&user, &[], &[]);
    assert_eq!(code, 1);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("queries/a.sql:2: error: "), "{found:?}");
    assert!(found[1].starts_with("queries/a.sql:3: error: "), "{found:?}");
}

#[test]
fn on_sqlite() {
    let user = User::new();
    user.write(
        "queries/a.sql",
        "-- name: unknown :many\nSELECT missing FROM users;\n\
         -- name: twice :many\nSELECT id, id FROM users;\n\
         -- name: quiet :one\nINSERT INTO users (name, email) VALUES ('a', 'b');\n\
         -- name: joined :many\nSELECT a.id, b.name FROM users a LEFT JOIN users b ON b.id = a.id + 1;\n",
    );
    let (code, found) = findings(&user, &[], &[]);
    assert_eq!(code, 1);
    assert_eq!(
        found,
        [
            "queries/a.sql:2: error: unknown: no such column: missing [1]",
            "queries/a.sql:4: error: twice: two columns are named `id`: give one another name, as in `b.id AS b_id`",
            "queries/a.sql:6: error: quiet: a read, and INSERT writes: the server will refuse it. Say `-- write`",
            "queries/a.sql:6: error: quiet: the statement gives no rows, so a caller gets `not_found` each time: say \
             `:exec`, or let it return some",
        ]
    );
    let run = user.run(&["check", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&told["errors"], &told["warnings"]), (&json!(4), &json!(0)));
    let joined = &told["queries"][0];
    assert_eq!((&joined["name"], &joined["access"]), (&json!("joined"), &json!("read")));
    assert!(joined["columns"][1].get("nullable").is_none(), "an outer join: {joined}");
}

#[test]
fn on_postgresql() {
    let settings = database(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL, note text, at point); CREATE SEQUENCE s;\n\
         CREATE FUNCTION bump() RETURNS int LANGUAGE sql AS 'SELECT 1';\n\
         CREATE FUNCTION keep() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1, 1) RETURNING n';",
    );
    let user = User::new();
    user.write(
        "queries/a.sql",
        "-- name: fine :many\n-- param: note text\nSELECT id, note FROM t WHERE note = :note;\n\
         -- name: typed :many\n-- param: n text\nSELECT id FROM t\nWHERE n = :n;\n\
         -- name: broken :many\nSELECT id,\n  nothing\nFROM t;\n\
         -- name: shape :many\nSELECT id, at FROM t;\n\
         -- name: next :one\nSELECT nextval('s') AS id;\n\
         -- name: bumped :one\nSELECT bump() AS n;\n\
         -- name: locked :many\nSELECT id FROM t FOR UPDATE;\n\
         -- name: kept :one\nSELECT keep() AS n;\n",
    );
    let (code, found) = findings(&user, &env(&settings), &[]);
    assert_eq!(code, 1);
    let expected = [
        "queries/a.sql:10: error: broken: column \"nothing\" does not exist [42703]",
        "queries/a.sql:15: error: next: a read, and it calls nextval(): the server will refuse it. Say `-- write`",
        "queries/a.sql:17: warning: bumped: a read, and it calls the function bump, which is declared VOLATILE: if it \
         only reads, declare it STABLE; if it writes, say `-- write`, or the server will refuse it",
        "queries/a.sql:19: error: locked: a read, and FOR UPDATE writes: the server will refuse it. Say `-- write`",
        "queries/a.sql:21: error: kept: a read, and it calls the function keep, which always writes (INSERT): the server \
         will refuse it. Say `-- write`",
    ];
    assert_eq!(found[..expected.len()], expected);
    // The server of the tests has no limit for idle sessions; the one for statements is ours.
    let limits = &found[expected.len()..];
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert!(limits[0].contains(": warning: no idle_session_timeout"), "{limits:?}");

    // And so it does.
    let error = user.invoke_with(&env(&settings), &["kept", "--json"], "").error(1);
    assert_eq!(error["code"], "query_failed");

    let run = user.run_with(&env(&settings), &["check", "--json"], "");
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    let fine = told["queries"].as_array().unwrap().iter().find(|query| query["name"] == "fine").unwrap();
    assert_eq!(fine["params"][0]["serverTypes"], json!(["text"]));
    assert_eq!(
        fine["columns"],
        json!([
            {"name": "id", "type": "int8", "nullable": false, "outside": false},
            {"name": "note", "type": "text", "nullable": true, "outside": false},
        ])
    );
}

/// Whose rows a query gives is the policies' matter, and what they do not reach is told.
#[test]
fn what_policies_do_not_reach_is_told() {
    let settings = database(
        "RESET ROLE;
         DO $$ DECLARE name text; own text := current_database() || '_owner'; BEGIN
           FOREACH name IN ARRAY ARRAY['check_member', 'check_bypass', 'check_stranger'] LOOP
             BEGIN EXECUTE format('CREATE ROLE %I', name);
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END;
           END LOOP;
           ALTER ROLE check_bypass BYPASSRLS;
           EXECUTE format('GRANT check_member, check_bypass TO %I', own);
           EXECUTE format('ALTER ROLE %I SET idle_session_timeout = %L', own, '15min');
           EXECUTE format('SET ROLE %I', own);
         END $$;
         CREATE TABLE held (id int, tenant text);
         ALTER TABLE held ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON held USING (tenant = current_setting('app.tenant', true));
         CREATE TABLE forced (id int, tenant text);
         ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
         ALTER TABLE forced FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON forced USING (tenant = current_setting('app.tenant', true));
         CREATE TABLE \"Open\" (id_of int);
         CREATE TABLE barred (id int);
         ALTER TABLE barred ENABLE ROW LEVEL SECURITY;
         CREATE POLICY others ON barred TO check_bypass USING (true);
         CREATE VIEW by_owner AS SELECT id FROM held;
         CREATE VIEW by_caller WITH (security_invoker = true) AS SELECT id FROM held;
         CREATE MATERIALIZED VIEW kept AS SELECT id FROM held;
         CREATE FUNCTION lifted() RETURNS bigint STABLE SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM held';
         CREATE SCHEMA tenant_x; CREATE TABLE tenant_x.things (id int);
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO check_member, check_bypass;",
    );
    let user = User::new();
    let query = |name: &str, lines: &str, sql: &str| format!("-- name: {name} :many\n{lines}\n{sql};\n");
    let member = "-- role: check_member";
    let tenant = "-- set: app.tenant = claims.t";
    let queries = [
        query("a_fine", member, "SELECT h.id FROM held AS h JOIN forced USING (id)"),
        query("b_forced", tenant, "SELECT id FROM forced"),
        query("c_nothing_said", "", "SELECT id FROM held, \"Open\" o WHERE false"),
        query("d_invoker", member, "SELECT id FROM by_caller"),
        query("e_owner", tenant, "SELECT id FROM held"),
        query("f_open", member, "SELECT id FROM held, \"Open\" AS o"),
        query("g_bypass", "-- role: check_bypass", "SELECT id FROM public.held"),
        query("h_view", member, "SELECT id FROM by_owner"),
        query("i_kept", member, "SELECT id FROM kept"),
        query("j_lifted", member, "SELECT lifted() AS n"),
        query("k_barred", member, "SELECT id FROM barred"),
        query("l_stranger", "-- role: claims.role in {check_stranger, check_nobody}", "SELECT 1 AS id"),
        query(
            "m_path",
            "-- set: search_path = claims.t in {tenant_x}\n-- param: id int",
            "SELECT id FROM things WHERE id = :id",
        ),
    ];
    user.write("queries/a.sql", &queries.concat());
    let (code, found) = findings(&user, &env(&settings), &[]);
    let owner = &settings.iter().find(|(name, _)| *name == "DB_USER").unwrap().1;
    let mut told: Vec<(&str, &str)> = Vec::new();
    for line in &found {
        let mut parts = line.splitn(4, ": ").skip(2);
        told.push((parts.next().unwrap(), parts.next().unwrap_or_default()));
    }
    let expected = [
        ("e_owner", format!("no policy of held holds for `{owner}`, which owns it: ALTER TABLE held FORCE")),
        ("f_open", "\"Open\" has no row-level security: every caller sees all of it.".to_owned()),
        ("g_bypass", "no policy of held holds for `check_bypass`, which has BYPASSRLS".to_owned()),
        ("h_view", format!("no policy of held holds for `{owner}` by the view by_owner")),
        ("i_kept", "kept is a materialized view, which has no policies".to_owned()),
        ("j_lifted", "it comes by lifted(), which is SECURITY DEFINER".to_owned()),
        ("k_barred", "barred has no policy for `check_member`: no row of it is ever seen".to_owned()),
        ("l_stranger", format!("`{owner}` may not become `check_stranger`: GRANT check_stranger TO {owner}")),
        ("l_stranger", "there is no role `check_nobody`".to_owned()),
        ("m_path", "tenant_x.things has no row-level security".to_owned()),
    ];
    assert_eq!(told.len(), expected.len(), "{found:#?}");
    for ((name, message), (query, says)) in told.iter().zip(&expected) {
        assert!(name == query && message.starts_with(says), "{query}: {says}\n{name}: {message}");
    }
    // That a role cannot be set is an error, since each call fails.
    assert_eq!(code, 1);
    let run = user.run_with(&env(&settings), &["doctor", "--json"], "");
    assert!(run.stdout.contains("may not become `check_stranger`"), "{}", run.stdout);
}

#[test]
fn warnings_alone_pass_unless_they_must_not() {
    let settings = database("ALTER ROLE CURRENT_USER SET idle_session_timeout = 0;");
    let user = User::new();
    user.write("queries/a.sql", "-- name: one :one\nSELECT 1 AS one;\n");
    let (code, found) = findings(&user, &env(&settings), &[]);
    assert_eq!((code, found.len()), (0, 1), "{found:?}");
    assert_eq!(findings(&user, &env(&settings), &["--strict"]).0, 1);

    let settings = database("ALTER ROLE CURRENT_USER SET idle_session_timeout = '15min';");
    assert_eq!(findings(&user, &env(&settings), &["--strict"]), (0, vec![]));
}

#[test]
fn a_database_that_cannot_be_reached_is_no_mistake_of_the_queries() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: one :one\nSELECT 1 AS one;\n");
    let run = user.run(&["check", "--db", "missing.db"]);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""));
    assert!(run.stderr.contains("missing.db"), "{}", run.stderr);
    let run = user.run(&["check", "--db", "missing.db", "--json"]);
    let told: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!((run.code, &told["error"]["code"]), (4, &json!("unreachable")));
}

#[test]
fn colours_are_for_terminals() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: a :many\nSELECT :y;\n");
    let plain = user.run(&["check"]);
    assert!(!plain.stdout.contains('\u{1b}'), "{}", plain.stdout);
    let forced = user.run_with(&[("CLICOLOR_FORCE", "1")], &["check"], "");
    assert!(forced.stdout.contains("\u{1b}[1m\u{1b}[31merror"), "{:?}", forced.stdout);
    let refused = user.run_with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &["check"], "");
    assert!(!refused.stdout.contains('\u{1b}'), "{}", refused.stdout);
}

#[test]
fn pages_whose_order_is_not_total_are_told() {
    let user = User::new();
    run_on(&user.folder().join("shop.db"), "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
    user.write("queries/p.sql", "-- name: alike :many\n-- page: name\nSELECT id, name FROM t;\n");
    let settings = [("DB_ENGINE", "sqlite"), ("DB_NAME", "shop.db")];
    let (code, found) = findings(&user, &settings, &[]);
    let told = "queries/p.sql:2: warning: alike: no unique index is within the columns `name` of `-- page:`, so two rows may be \
                alike in all of them; where a page ends between such rows, the others are left out. Put the key of `t` behind \
                it: `id`";
    assert_eq!((code, found), (0, vec![told.to_owned()]));
}

#[test]
fn pages_that_the_server_refuses_are_told() {
    let user = User::new();
    let check = |schema: &str, query: &str| {
        user.write("queries/p.sql", query);
        findings(&user, &env(&database(schema)), &[]).1
    };
    let found = check("", "-- name: x :many\n-- page: spot, id\nSELECT 1 AS id, point(1, 2) AS spot;\n");
    let told = "queries/p.sql:2: error: x: its pages, as `-- page:` has them, are refused: ";
    assert!(found[0].starts_with(told), "{found:?}");
    assert!(found[0].contains("operator") && found[0].ends_with(" [42883]"), "{found:?}");
    // In whichever schema a caller chooses.
    let found = check(
        "CREATE SCHEMA a; CREATE TABLE a.there (n int PRIMARY KEY, m int NOT NULL);",
        "-- name: x :many\n-- set: search_path = claims.shop in {a, b}\n-- page: n\nSELECT n FROM there;\n",
    );
    assert!(!found.iter().any(|line| line.contains("page")), "{found:?}");
}
