//! Pages: whatever others do in between, no row that stays is given twice or left out; and an index leads to each.

use std::collections::BTreeSet;

use lambda_rds::queries::{Dialect, Queries};
use lambda_rds::value::{Given, Origin, Params};
use serde_json::{Value, json};

use crate::events::{get, request};
use crate::world::{Engine, Setup, World};
use crate::{on_clusters, on_every_engine};

on_every_engine!(
    no_row_twice_and_none_left_out,
    every_type_can_be_paged_by,
    a_page_over_http,
    a_page_ends_before_the_reply_does,
    an_index_leads_to_each_page,
    every_page_of_any_order_reads_as_few_rows,
    what_is_given_in_a_query_is_given_for_each_page,
    what_is_no_page,
    a_column_with_nulls_is_told,
);
on_clusters!(no_row_twice_and_none_left_out, a_page_over_http);

/// An order of three columns, of which all but the last have few values, in each combination of directions; and its name.
fn queries() -> (String, Vec<(String, Vec<bool>)>) {
    orders(&["a", "b", "id"])
}

fn orders(columns: &[&str]) -> (String, Vec<(String, Vec<bool>)>) {
    let mut text = String::new();
    let mut all = Vec::new();
    for bits in 0..1_u8 << columns.len() {
        let down: Vec<bool> = (0..columns.len()).map(|at| bits & (1 << at) != 0).collect();
        let name = format!("by{bits}");
        text.push_str(&format!(
            "-- name: {name} :many\n-- http: GET\n-- page: {}\n-- page_size: 7 in 1..=500\n\
             -- param: least int = 0\nSELECT id, b, a FROM things WHERE id >= :least;\n",
            ordered(columns, &down)
        ));
        all.push((name, down));
    }
    (text, all)
}

fn ordered(columns: &[&str], down: &[bool]) -> String {
    let way = |(column, down): (&&str, &bool)| format!("{column}{}", if *down { " desc" } else { "" });
    columns.iter().zip(down).map(way).collect::<Vec<_>>().join(", ")
}

const THINGS: &str = "CREATE TABLE things (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL);
CREATE INDEX things_ab ON things (a, b, id);\n";

/// Reads to the end, and lets others do something after each page.
async fn read(
    world: &World,
    query: &str,
    sizes: &[u32],
    mut between: impl FnMut(usize),
) -> Vec<(i64, String, i64)> {
    let mut rows = Vec::new();
    let mut page = Value::Null;
    for turn in 0.. {
        let size = sizes[turn % sizes.len()];
        let body = world.rows(query, json!({"page": page, "page_size": size})).await;
        let found = body["rows"].as_array().unwrap();
        assert!(found.len() <= size as usize);
        rows.extend(found.iter().map(|row| {
            (row["a"].as_i64().unwrap(), row["b"].as_str().unwrap().to_owned(), row["id"].as_i64().unwrap())
        }));
        page = body["next"].clone();
        if page.is_null() {
            return rows;
        }
        assert_eq!(found.len(), size as usize, "a page that is not the last one is full");
        between(turn);
    }
    unreachable!()
}

/// The ids of a table in an order, as the server has them.
fn ids(world: &World, engine: Engine, table: &str, order: &str) -> Vec<i64> {
    let ids = match engine {
        Engine::Sqlite => {
            let sql = format!("SELECT group_concat(id) FROM (SELECT id FROM {table} ORDER BY {order})");
            world.sql(&sql).split(',').map(str::to_owned).collect()
        }
        _ => world.rows_of(&format!("SELECT id FROM {table} ORDER BY {order}")),
    };
    ids.iter().map(|id| id.trim().parse().unwrap()).collect()
}

async fn no_row_twice_and_none_left_out(engine: Engine) {
    let (text, all) = queries();
    let world = Setup::new(engine).schema(THINGS).queries(text).start().await;
    let values: Vec<String> = (0..60)
        .map(|id| {
            format!("({id}, {}, '{}')", fastrand::i32(0..4), ["x", "y", "Zoë", ""][fastrand::usize(0..4)])
        })
        .collect();
    world.sql(&format!("INSERT INTO things VALUES {}", values.join(", ")));
    for (name, down) in all {
        // While nobody does anything, the pages are the table.
        let sizes = [fastrand::u32(1..20), fastrand::u32(1..20)];
        let still = read(&world, &name, &sizes, |_| {}).await;
        let unique: BTreeSet<i64> = still.iter().map(|row| row.2).collect();
        assert_eq!((still.len() as u64, unique.len() as u64), (world.count("things"), world.count("things")));
        let order = ordered(&["a", "b", "id"], &down);
        let expected = ids(&world, engine, "things", &order);
        assert_eq!(still.iter().map(|row| row.2).collect::<Vec<_>>(), expected, "{name}");

        // While others insert, change keys and delete: those of the first twenty stay as they are.
        let mut next = 1000;
        let found = read(&world, &name, &[3, 5], |turn| {
            let other = 20 + fastrand::i32(0..40);
            let change = match turn % 3 {
                0 => {
                    next += 1;
                    format!("INSERT INTO things VALUES ({next}, {}, 'y')", fastrand::i32(0..4))
                }
                1 => format!("DELETE FROM things WHERE id = {other}"),
                _ => format!("UPDATE things SET a = {}, b = 'x' WHERE id = {other}", fastrand::i32(0..4)),
            };
            world.sql(&change);
        })
        .await;
        for id in 0..20 {
            assert_eq!(found.iter().filter(|row| row.2 == id).count(), 1, "{name}: {id}");
        }
        world.sql("DELETE FROM things WHERE id >= 1000");
    }
}

async fn every_type_can_be_paged_by(engine: Engine) {
    let columns: &[(&str, &str, [&str; 3])] = match engine.plain() {
        Engine::Postgres => &[
            (
                "numeric",
                "numeric(30,10) NOT NULL",
                [
                    "12345678901234567890.0000000001",
                    "12345678901234567890.0000000002",
                    "12345678901234567890.0000000003",
                ],
            ),
            ("real4", "real NOT NULL", ["0.1", "0.2", "'NaN'"]),
            (
                "at",
                "timestamptz NOT NULL",
                ["'2026-01-01 00:00:00.000001+00'", "'2026-01-01 00:00:00.000002+00'", "'infinity'"],
            ),
            (
                "stamp",
                "timestamp NOT NULL",
                ["'0044-03-15 00:00:00 BC'", "'2026-01-01 00:00:00.000002'", "'12026-01-01'"],
            ),
            ("day", "date NOT NULL", ["'-infinity'", "'2026-01-01'", "'12026-01-01'"]),
            ("hour", "time NOT NULL", ["'00:00:00.000001'", "'00:00:00.000002'", "'24:00'"]),
            ("span", "interval NOT NULL", ["'1 day'", "'1 month 1 day 1.5s'", "'2 years'"]),
            ("flag", "boolean NOT NULL", ["false", "true", "true"]),
            (
                "key",
                "uuid NOT NULL",
                [
                    "'00000000-0000-0000-0000-000000000001'",
                    "'00000000-0000-0000-0000-000000000002'",
                    "'ffffffff-0000-0000-0000-000000000001'",
                ],
            ),
            ("bytes", "bytea NOT NULL", ["'\\x00ff'", "'\\x01'", "'\\xff00'"]),
            ("host", "inet NOT NULL", ["'10.0.0.1'", "'10.0.0.2'", "'::1'"]),
            ("price", "money NOT NULL", ["'1.10'", "'1.20'", "'99.99'"]),
            ("word", "varchar(10) NOT NULL", ["''", "'O''Neill'", "'Zoë'"]),
            ("fixed", "char(5) NOT NULL", ["'a'", "'b'", "'c'"]),
            ("mood", "mood NOT NULL", ["'sad'", "'ok'", "'great'"]),
            ("small", "smallint NOT NULL", ["-5", "0", "7"]),
        ],
        Engine::Mysql | Engine::MariaDb => &[
            (
                "number",
                "DECIMAL(30,10) NOT NULL",
                [
                    "12345678901234567890.0000000001",
                    "12345678901234567890.0000000002",
                    "12345678901234567890.0000000003",
                ],
            ),
            ("real4", "FLOAT NOT NULL", ["0.1", "0.2", "0.3"]),
            (
                "at",
                "TIMESTAMP(6) NOT NULL",
                ["'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00.000002'", "'2026-01-02'"],
            ),
            (
                "stamp",
                "DATETIME(6) NOT NULL",
                ["'1000-01-01 00:00:00'", "'2026-01-01 00:00:00.000002'", "'9999-12-31'"],
            ),
            ("day", "DATE NOT NULL", ["'1000-01-01'", "'2026-01-01'", "'9999-12-31'"]),
            ("hour", "TIME(6) NOT NULL", ["'-10:00:00'", "'00:00:00.000002'", "'100:00:00'"]),
            ("flag", "TINYINT(1) NOT NULL", ["0", "1", "7"]),
            ("bytes", "VARBINARY(10) NOT NULL", ["x'00ff'", "x'01'", "x'ff00'"]),
            ("word", "VARCHAR(10) NOT NULL", ["''", "'O''Neill'", "'Zoë'"]),
            ("wide", "BIGINT UNSIGNED NOT NULL", ["1", "18446744073709551614", "18446744073709551615"]),
            ("year4", "YEAR NOT NULL", ["1999", "2000", "2026"]),
            ("bits", "BIT(40) NOT NULL", ["b'1'", "b'10'", "b'1111111111111111111111111111111111'"]),
        ],
        _ => &[
            ("number", "INTEGER NOT NULL", ["-9223372036854775807", "0", "9223372036854775807"]),
            ("real8", "REAL NOT NULL", ["0.1", "0.2", "1e300"]),
            ("word", "TEXT NOT NULL", ["''", "'O''Neill'", "'Zoë'"]),
            ("bytes", "BLOB NOT NULL", ["x'00ff'", "x'01'", "x'ff00'"]),
            ("flag", "BOOLEAN NOT NULL", ["0", "1", "1"]),
        ],
    };
    let mut schema = String::new();
    if engine.plain() == Engine::Postgres {
        schema.push_str("CREATE TYPE mood AS ENUM ('sad', 'ok', 'great');\n");
    }
    let mut queries = String::new();
    for (name, kind, values) in columns {
        schema.push_str(&format!("CREATE TABLE t_{name} (id INT PRIMARY KEY, v {kind});\n"));
        // Each value three times, so that a page ends among equals as well.
        let rows: Vec<String> = (0..9).map(|id| format!("({id}, {})", values[id / 3])).collect();
        schema.push_str(&format!("INSERT INTO t_{name} VALUES {};\n", rows.join(", ")));
        for (way, direction) in [("up", ""), ("down", " desc"), ("mixed", " desc")] {
            let id = if way == "mixed" { "id" } else { &*format!("id{direction}") };
            queries.push_str(&format!(
                "-- name: {name}_{way} :many\n-- page: v{direction}, {id}\n-- page_size: 2\nSELECT * FROM t_{name};\n"
            ));
        }
    }
    let world = Setup::new(engine).schema(schema).queries(queries).start().await;
    for (name, _, _) in columns {
        for (way, direction) in [("up", ""), ("down", " DESC"), ("mixed", " DESC")] {
            let id = if way == "mixed" { "" } else { direction };
            let expected = ids(&world, engine, &format!("t_{name}"), &format!("v{direction}, id{id}"));
            let (mut found, mut page) = (Vec::new(), Value::Null);
            loop {
                let (status, body) =
                    world.call(json!({"query": format!("{name}_{way}"), "params": {"page": page}})).await;
                assert_eq!(status, 200, "{name} {way}: {body}");
                found.extend(body["rows"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()));
                page = body["next"].clone();
                if page.is_null() {
                    break;
                }
                assert!(found.len() < 20, "{name} {way}");
            }
            assert_eq!(found, expected, "{name} {way}");
        }
    }
}

async fn a_page_over_http(engine: Engine) {
    let (text, _) = queries();
    let world = Setup::new(engine).schema(THINGS).queries(text).start().await;
    let values: Vec<String> = (0..20).map(|id| format!("({id}, 1, 'x')")).collect();
    world.sql(&format!("INSERT INTO things VALUES {}", values.join(", ")));
    for accept in ["application/json", "text/csv", "application/x-ndjson"] {
        let mut target = "/by0?least=3".to_owned();
        let mut ids: Vec<i64> = Vec::new();
        loop {
            let ask = |method: &str| request(method, &target, json!({"accept": accept}), None);
            let reply: Value = world.invoke(ask("GET")).await.json().unwrap();
            assert_eq!(reply["statusCode"], 200, "{reply}");
            let body = reply["body"].as_str().unwrap();
            let (next, found): (Option<bool>, Vec<i64>) = match accept {
                "text/csv" => {
                    let lines = body.lines().skip(1);
                    (None, lines.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect())
                }
                "application/x-ndjson" => {
                    let rows = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                    (None, rows.map(|row| row["id"].as_i64().unwrap()).collect())
                }
                _ => {
                    let body: Value = serde_json::from_str(body).unwrap();
                    let rows = body["rows"].as_array().unwrap();
                    (
                        Some(body["next"].is_string()),
                        rows.iter().map(|row| row["id"].as_i64().unwrap()).collect(),
                    )
                }
            };
            assert!(found.len() <= 7);
            ids.extend(found);
            let head: Value = world.invoke(ask("HEAD")).await.json().unwrap();
            assert_eq!(head["headers"], reply["headers"]);
            let link = reply["headers"]["link"].as_str().map(str::to_owned);
            assert!(next.is_none_or(|next| next == link.is_some()));
            let Some(link) = link else { break };
            let query = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
            assert!(query.starts_with("least=3&page="), "{link}");
            target = format!("/by0?{query}");
        }
        assert_eq!(ids, (3..20).collect::<Vec<_>>(), "{accept}");
    }
}

async fn a_page_ends_before_the_reply_does(engine: Engine) {
    let wide = match engine.plain() {
        Engine::Postgres => "repeat('x', 100000)",
        Engine::Sqlite => "hex(zeroblob(50000))",
        _ => "REPEAT('x', 100000)",
    };
    let queries = format!(
        "-- name: wide :many\n-- http: GET\n-- page: id\n-- page_size: 500 in 1..=500\nSELECT id, {wide} AS v FROM things;\n"
    );
    let world = Setup::new(engine).schema(THINGS).queries(queries).start().await;
    let values: Vec<String> = (0..100).map(|id| format!("({id}, 1, 'x')")).collect();
    world.sql(&format!("INSERT INTO things VALUES {}", values.join(", ")));
    for (raw, most) in [(json!(null), 62), (json!("raw"), 62)] {
        let (mut ids, mut page) = (Vec::new(), Value::Null);
        loop {
            let event = json!({"query": "wide", "params": {"page": page}, "reply": raw});
            let reply: Value = world.invoke(event).await.json().unwrap();
            let body = match reply.get("body") {
                Some(body) => serde_json::from_str(body.as_str().unwrap()).unwrap(),
                None => reply,
            };
            let found: Vec<i64> =
                body["rows"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
            assert!((1..=most).contains(&found.len()));
            ids.extend(found);
            page = body["next"].clone();
            if page.is_null() {
                break;
            }
        }
        assert_eq!(ids, (0..100).collect::<Vec<i64>>());
    }
    // Compressed, all of them fit.
    let reply: Value =
        world.invoke(request("GET", "/wide", json!({"accept-encoding": "gzip"}), None)).await.json().unwrap();
    assert_eq!((&reply["statusCode"], reply["headers"].get("link")), (&json!(200), None));
    let reply: Value = world.invoke(get("/wide")).await.json().unwrap();
    assert!(reply["headers"]["link"].is_string());
}

/// The statement of a later page, to be explained: of so many parts.
fn explained(engine: Engine, from: &str, order: &str, conditions: &[&str]) -> String {
    let explain = match engine.plain() {
        Engine::Sqlite => "EXPLAIN QUERY PLAN",
        Engine::Postgres => "EXPLAIN",
        _ => "EXPLAIN FORMAT=JSON",
    };
    let quote = if engine.plain() == Engine::Postgres { "\"" } else { "`" };
    let part = |condition: &&str| format!("SELECT * FROM (\n{from}\n) AS page WHERE {condition}");
    let parts: Vec<String> = conditions.iter().map(part).collect();
    format!("{explain} {} ORDER BY {order} LIMIT 11", parts.join("\nUNION ALL ")).replace('#', quote)
}

/// As many rows as five digits make numbers of, with this for `n`.
fn numbered(values: &str) -> String {
    let n = "(a.n + 10*b.n + 100*c.n + 1000*d.n + 10000*e.n)";
    format!("SELECT {} FROM digits a, digits b, digits c, digits d, digits e", values.replace("(n)", n))
}

const DIGITS: &str = "CREATE TABLE digits (n INT);
    INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);\n";

async fn an_index_leads_to_each_page(engine: Engine) {
    let schema = format!(
        "CREATE TABLE things (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL);
        CREATE INDEX things_a ON things (a, id);
        CREATE TABLE kinds (kind VARCHAR(20) PRIMARY KEY, name VARCHAR(20));
        INSERT INTO kinds VALUES ('x', 'ex');
        {DIGITS}INSERT INTO things {};\n",
        numbered("(n), (n) / 2, 'x'")
    );
    let plain = "SELECT id, a, b FROM things WHERE b <> ''";
    let joined = "SELECT things.id, a, name FROM things JOIN kinds ON kinds.kind = things.b";
    // As the tests of the statements have them.
    let conditions: &[&str] = match engine.plain() {
        Engine::Postgres => &["(#a#, #id#) > (40000, 80000)"],
        Engine::Sqlite => &["#a# = 40000 AND #id# > 80000", "#a# > 40000"],
        _ => &["((#a# > 40000) OR (#a# = 40000 AND #id# > 80000))"],
    };
    let mut text = "-- name: by_name :many\n-- page: a, id\n-- page_size: 10 in 1..=10000\n\
                    SELECT id, a, b FROM things WHERE b <> '';\n"
        .to_owned();
    let cases = [plain, joined];
    for (at, from) in cases.iter().enumerate() {
        let mut plan = explained(engine, from, "#a#, #id#", conditions);
        // In a join, MySQL weighs the index against reading all and sorting, by rows that it guesses from a few of the
        // table's leaves: where a fifth of the table is left the guess decides, near the end it cannot.
        if *from == joined {
            plan = plan.replace("40000", "49900").replace("80000", "99800");
        }
        text.push_str(&format!("-- name: plan{at} :many\n{plan};\n"));
    }
    text.push_str(counted(engine));
    let world = Setup::new(engine).schema(schema).queries(text).start().await;
    world.sql(match engine.plain() {
        Engine::Mysql | Engine::MariaDb => "ANALYZE TABLE things, kinds",
        _ => "ANALYZE",
    });
    for (at, case) in cases.iter().enumerate() {
        let plan = world.rows(&format!("plan{at}"), json!({})).await.to_string();
        assert!(plan.contains("things_a"), "{case:?}: {plan}");
        for scan in
            ["Seq Scan on things", "SCAN things", "Table scan on things", "Sort: a", "filesort", "\"Sort"]
        {
            assert!(!plan.contains(scan) || *case == joined, "{case:?}: {plan}");
        }
    }
    // And so the server reads no more rows for a later page than for the first.
    few_rows_at_any_depth(&world, engine, "by_name", "things").await;
}

/// MySQL asks no entry of the index where the page's condition is the only one; and its session is lent again after that.
#[tokio::test]
async fn a_page_of_a_whole_table_asks_whole_rows() {
    for engine in [Engine::Mysql, Engine::MariaDb] {
        whole_rows(engine).await;
    }
}

async fn whole_rows(engine: Engine) {
    let order = "`a`, `id`";
    let condition = ["((`a` > 40000) OR (`a` = 40000 AND `id` > 80000))"];
    let [plain, hinted] =
        ["", "/*+ NO_ICP(`t`) */ "].map(|hint| format!("SELECT {hint}id, a, b FROM things AS t"));
    let text = format!(
        "-- name: by_a :many\n-- page: a, id\n-- page_size: 10 in 1..=10000\n{plain};\n\
         -- name: plain :many\n{};\n-- name: hinted :many\n{};\n-- name: me :one\nSELECT connection_id() AS id;\n",
        explained(engine, &plain, order, &condition),
        explained(engine, &hinted, order, &condition),
    );
    let schema = format!(
        "CREATE TABLE things (id INT PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL);
        CREATE INDEX things_a ON things (a, id);
        {DIGITS}INSERT INTO things {};\n",
        numbered("(n), (n) / 2, 'x'")
    );
    let world = Setup::new(engine).own_server().schema(schema).queries(text).start().await;
    world.sql("ANALYZE TABLE things");
    for (query, asked) in [("plain", true), ("hinted", false)] {
        let plan = world.rows(query, json!({})).await.to_string();
        if engine == Engine::Mysql {
            assert_eq!(plan.contains("index_condition"), asked, "{query}: {plan}");
        }
        assert!(plan.contains("things_a") && !plan.contains("filesort"), "{query}: {plan}");
    }
    world.sql("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = 1");
    let me = world.rows("me", json!({})).await;
    let (mut page, mut ids) = (Value::Null, 0..);
    for _ in 0..5 {
        let reply: Value =
            world.invoke(json!({"query": "by_a", "params": {"page": page}})).await.json().unwrap();
        let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
        for row in body["rows"].as_array().unwrap() {
            assert_eq!(row["id"].as_i64(), ids.next());
        }
        page = body["next"].clone();
    }
    assert_eq!((world.rows("me", json!({})).await, ids.next()), (me, Some(50)));
    // What the server was asked for the four pages behind the first.
    world.sql("SET GLOBAL general_log = 0");
    let asked = world.rows_of(
        "SELECT REPLACE(CONVERT(argument USING utf8mb4), '\\n', ' ') FROM mysql.general_log
         WHERE command_type = 'Execute' AND CONVERT(argument USING utf8mb4) LIKE '%WHERE ((`a`%'",
    );
    assert!(asked.len() == 4 && asked.iter().all(|sql| sql.contains(&hinted)), "{asked:?}");
}

/// With few values in all columns but the last, so that half of the table, and a sixth of it, share a place but for the
/// rest of the order.
async fn every_page_of_any_order_reads_as_few_rows(engine: Engine) {
    // On SQLite, the number of the row, of which an index has no column.
    let mut schema = format!(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL, word VARCHAR(20));
        {DIGITS}INSERT INTO things {};\n",
        numbered("(n), (n) % 2, CASE WHEN (n) % 6 < 2 THEN 'x' WHEN (n) % 6 < 4 THEN 'y' ELSE 'z' END, 'word'")
    );
    // MySQL guesses what is left of the table, of three such columns more than the whole of it; and what begins in an index
    // of two directions it does not read towards its beginning.
    let mysql = engine.plain() == Engine::Mysql;
    let columns: &[&str] = if mysql { &["a", "id"] } else { &["a", "b", "id"] };
    let (text, mut all) = orders(columns);
    all.retain(|(_, down)| !mysql || down[0] != down[1]);
    // The others are these from their end.
    for (name, down) in all.iter().filter(|(_, down)| mysql || !down[0]) {
        schema.push_str(&format!("CREATE INDEX {name} ON things ({});\n", ordered(columns, down)));
    }
    // Nothing but the order leads to an index.
    let text = text
        .replace(
            "-- param: least int = 0\nSELECT id, b, a FROM things WHERE id >= :least",
            "SELECT * FROM things WHERE word <> ''",
        )
        .replace("7 in 1..=500", "10 in 1..=10000");
    let text = format!("{text}{}", counted(engine));
    let world = Setup::new(engine).schema(schema).queries(text).start().await;
    world.sql(match engine.plain() {
        Engine::Mysql | Engine::MariaDb => "ANALYZE TABLE things",
        _ => "ANALYZE",
    });
    for (name, _) in all {
        few_rows_at_any_depth(&world, engine, &name, "things").await;
    }
}

/// That a page reads few rows of the table, wherever it begins.
async fn few_rows_at_any_depth(world: &World, engine: Engine, query: &str, table: &str) {
    let first = rows_read(world, engine, query, table, &Value::Null).await;
    // The counting itself takes some hundreds.
    assert!(first < 700, "{query}: {first} rows were read for the first page");
    let mut page = Value::Null;
    let mut deep = 0;
    loop {
        page = world.rows(query, json!({"page": page, "page_size": 4900})).await["next"].clone();
        if page.is_null() {
            break;
        }
        deep += 4900;
        // Eleven of each part, some again as what they are sorted by, and PostgreSQL sorts by 32.
        let read = rows_read(world, engine, query, table, &page).await;
        // Where 2,000 rows are left, MySQL may read them all and sort.
        let most = if engine.plain() == Engine::Mysql && deep == 98_000 { 2_200 } else { 200 };
        assert!(
            read < first + most,
            "{query}: {first} rows were read for the first page, {read} behind {deep}"
        );
    }
    assert_eq!(deep, 98_000);
}

/// A query that has the session tell how many rows it has read so far.
fn counted(engine: Engine) -> &'static str {
    match engine.plain() {
        // What the session has counted goes into the view at once.
        Engine::Postgres => "-- name: counted :one\nSELECT pg_stat_force_next_flush()::text;\n",
        Engine::Sqlite => "",
        Engine::MariaDb => {
            "-- name: counted :one\nSELECT CAST(SUM(VARIABLE_VALUE) AS SIGNED) AS n FROM information_schema.SESSION_STATUS
             WHERE VARIABLE_NAME LIKE 'HANDLER_READ%' OR VARIABLE_NAME = 'HANDLER_ICP_ATTEMPTS';\n"
        }
        _ => {
            "-- name: counted :one\nSELECT CAST(SUM(VARIABLE_VALUE) AS SIGNED) AS n FROM performance_schema.session_status
             WHERE VARIABLE_NAME LIKE 'Handler_read%';\n"
        }
    }
}

/// How many rows of a table the server reads for a page, and for the counting itself, which is the same for every page.
async fn rows_read(world: &World, engine: Engine, query: &str, table: &str, page: &Value) -> i64 {
    if engine.plain() == Engine::Sqlite {
        return instructions(world, query, page) / 10;
    }
    let count = async || {
        let row = world.rows("counted", json!({})).await;
        match engine.plain() {
            Engine::Postgres => world
                .sql(&format!(
                    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = '{table}'"
                ))
                .trim()
                .parse()
                .unwrap(),
            _ => row["n"].as_i64().unwrap(),
        }
    };
    let before: i64 = count().await;
    world.rows(query, json!({"page": page})).await;
    count().await - before
}

/// SQLite counts no rows, but calls back after each instruction of a statement, of which a row takes ten at least.
fn instructions(world: &World, query: &str, page: &Value) -> i64 {
    let queries =
        Queries::load(world.queries(), lambda_rds::config::Engine::Sqlite, Dialect::Sqlite).unwrap();
    let page = page.as_str().map(|token| ("page".to_owned(), Given::Text(token.to_owned())));
    let params = Params(page.into_iter().collect());
    let statement = queries.get(query).unwrap().bind(&params, &Origin::default()).unwrap();
    world.sqlite_instructions(&statement)
}

/// What a part of a later page's statement is given, each of them is.
async fn what_is_given_in_a_query_is_given_for_each_page(engine: Engine) {
    let postgres = engine.plain() == Engine::Postgres;
    let (given, listed) =
        if postgres { ("= ANY(:words)", "CAST(:label AS text)") } else { ("IN (:words)", ":label") };
    let types = match engine.plain() {
        Engine::Postgres => "flag boolean, small smallint, price numeric(30,10), real4 real, fixed char(5), note json",
        Engine::Sqlite => "flag BOOLEAN, small SMALLINT, price NUMERIC, real4 REAL, fixed CHAR(5), note JSON",
        Engine::MariaDb => "flag TINYINT(1), small TINYINT UNSIGNED, price DECIMAL(30,10), real4 FLOAT, fixed CHAR(5), note JSON,
            stamp DATETIME(6) DEFAULT '2026-01-01 00:00:00.000002', bytes VARBINARY(9) DEFAULT x'00ff', bits BIT(40) DEFAULT b'101',
            year4 YEAR DEFAULT 2026, mood ENUM('sad', 'ok') DEFAULT 'ok', moods SET('sad', 'ok') DEFAULT 'sad,ok',
            hour TIME(6) DEFAULT '-100:00:00.5', day DATE DEFAULT '2026-01-01', point POINT DEFAULT ST_GeomFromText('POINT(1 2)'),
            key4 UUID DEFAULT '00000000-0000-4000-8000-000000000001', host INET6 DEFAULT '::1', wide BIGINT UNSIGNED DEFAULT 18446744073709551615,
            body LONGTEXT DEFAULT 'Zoë', blob4 LONGBLOB DEFAULT x'00ff', filled INT(5) ZEROFILL DEFAULT 7",
        _ => "flag TINYINT(1), small TINYINT UNSIGNED, price DECIMAL(30,10), real4 FLOAT, fixed CHAR(5), note JSON,
            stamp DATETIME(6) DEFAULT '2026-01-01 00:00:00.000002', bytes VARBINARY(9) DEFAULT x'00ff', bits BIT(40) DEFAULT b'101',
            year4 YEAR DEFAULT 2026, mood ENUM('sad', 'ok') DEFAULT 'ok', moods SET('sad', 'ok') DEFAULT 'sad,ok',
            hour TIME(6) DEFAULT '-100:00:00.5', day DATE DEFAULT '2026-01-01', point POINT DEFAULT (ST_GeomFromText('POINT(1 2)', 4326)),
            wide BIGINT UNSIGNED DEFAULT 18446744073709551615,
            body LONGTEXT DEFAULT ('Zoë'), blob4 LONGBLOB DEFAULT (x'00ff'), filled INT(5) ZEROFILL DEFAULT 7",
    };
    let schema = format!(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL, {types});
        INSERT INTO things (id, a, b, flag, small, price, real4, fixed, note) VALUES {};\n",
        (0..30)
            .map(|id| {
                let (flag, b) = (["true", "false"][id % 2], ["x", "X", "y"][id % 3]);
                format!(
                    "({id}, {}, '{b}', {flag}, 200, 12345678901234567890.5, 0.1, 'abc', '[1, 2.50]')",
                    id % 2
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    );
    // Four columns, of which the third is none of the table.
    let query = |name: &str, page: &str| {
        format!(
            "-- name: {name} :many\n{page}-- param: label text\n-- param: words text[]\n-- param: least int = 0\n\
             SELECT things.*, id % 4 AS c, {listed} AS label, NULL AS blank, 1 AS one, 'é' AS said FROM things\n\
             WHERE b {given} AND id >= :least AND (a <> :least OR lower(b) <> :label)"
        )
    };
    let pages = "-- page: a desc, c, b desc, id\n-- page_size: 2\n";
    let text =
        format!("{};\n{} ORDER BY a DESC, c, b DESC, id;\n", query("paged", pages), query("whole", ""));
    let world = Setup::new(engine).schema(schema).queries(text).start().await;
    let params = json!({"label": "é", "words": ["x", "X", "y"], "least": 1});
    let whole = world.rows("whole", params.clone()).await;
    assert_eq!(whole.as_array().unwrap().len(), 29);
    let (mut found, mut page) = (Vec::new(), Value::Null);
    loop {
        let mut params = params.clone();
        params["page"] = page;
        let body = world.rows("paged", params).await;
        found.extend(body["rows"].as_array().unwrap().iter().cloned());
        page = body["next"].clone();
        if page.is_null() {
            break;
        }
    }
    // Each value in the same form as if it had not come by pages.
    assert_eq!(Value::Array(found), whole);
}

async fn what_is_no_page(engine: Engine) {
    let (text, _) = queries();
    let world = Setup::new(engine).schema(THINGS).queries(text).start().await;
    world.sql("INSERT INTO things VALUES (1, 1, 'x'), (2, 1, 'x'), (3, 1, 'y')");
    let body = world.rows("by0", json!({"page_size": 1})).await;
    let token = body["next"].as_str().unwrap().to_owned();
    // Of another query's, not of this one's, or of nobody's.
    for (query, page) in [
        ("by1", json!(token)),
        ("by0", json!(format!("{token}A"))),
        ("by0", json!("")),
        ("by0", json!("AAAA")),
        ("by0", json!(7)),
        ("by0", json!("x".repeat(100_000))),
    ] {
        let (status, body) = world.call(json!({"query": query, "params": {"page": page}})).await;
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_parameter")), "{query} {page}");
    }
    for size in [json!(0), json!(501), json!(-1), json!("x"), Value::Null] {
        let (status, _) = world.call(json!({"query": "by0", "params": {"page_size": size}})).await;
        assert_eq!(status, 400, "{size}");
    }
    let (status, body) = world.call(json!({"transaction": [{"query": "by0"}]})).await;
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_event")), "{body}");
    // The other parameters are the caller's to repeat.
    let rest = world.rows("by0", json!({"page": token, "least": 3})).await;
    assert_eq!(rest, json!({"rows": [{"id": 3, "b": "y", "a": 1}], "next": null}));
    // A step of a transaction may be a page, too: of what comes in a list.
}

async fn a_column_with_nulls_is_told(engine: Engine) {
    let text = "-- name: by_note :many\n-- page: note, id\n-- page_size: 1\nSELECT id, note FROM notes;\n";
    let schema = "CREATE TABLE notes (id INT PRIMARY KEY, note VARCHAR(10));
        INSERT INTO notes VALUES (1, NULL), (2, NULL);";
    let world = Setup::new(engine).schema(schema).queries(text).start().await;
    assert_eq!(world.failure("by_note", json!({})).await, (500, "query_failed".to_owned()));
}
