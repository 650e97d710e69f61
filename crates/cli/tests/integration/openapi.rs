//! `lambda-rds openapi`; that the document is valid, and true, `cargo xtask openapi` shows.

use serde_json::{Value, json};

use crate::user::User;

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn with_a_database_the_rows_have_their_columns() {
    let user = User::new();
    let run = user.run(&[
        "openapi",
        "--title",
        "Shop",
        "--api-version",
        "2",
        "--server",
        "https://api.example.com",
    ]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let document = document(&run.stdout);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!((&document["info"]["title"], &document["info"]["version"]), (&json!("Shop"), &json!("2")));
    assert_eq!(document["servers"], json!([{"url": "https://api.example.com"}]));
    assert_eq!(
        document["components"]["schemas"]["user_row"],
        json!({
            "type": "object",
            "properties": {
                "id": {"type": "integer", "format": "int64"},
                "name": {"type": "string"},
                "email": {"type": "string"},
                "active": {"type": ["boolean", "integer"]},
            },
            "required": ["id", "name", "email", "active"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn without_a_database_they_are_any_objects() {
    let user = User::new();
    user.write("queries/a.sql", "-- name: a :one\n-- http: GET\nSELECT 1 AS one;\n");
    let run = user.run(&["openapi", "--db", "missing.db"]);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""));
    assert!(run.stderr.contains("--offline"), "{}", run.stderr);

    let run = user.run(&["openapi", "--db", "missing.db", "--offline", "--output", "o.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let document = document(&std::fs::read_to_string(user.folder().join("o.json")).unwrap());
    let reply = &document["paths"]["/a"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(*reply, json!({"type": "object"}));

    let nowhere = user.run(&["openapi", "--db", "missing.db", "--offline", "--output", "no/where.json"]);
    assert_eq!(nowhere.code, 3, "{}", nowhere.stderr);
}
