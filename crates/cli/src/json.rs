//! JSON for the eye: a list with one row per line, and a space where one reads easier.
//!
//! The text is copied and not parsed: numbers keep their digits, and members their order.

/// Lays out valid JSON text. The members of an outer array stand on lines of their own.
pub(crate) fn lay_out(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let list = json.starts_with('[') && json != "[]";
    for character in json.chars() {
        if quoted {
            out.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                quoted = true;
                out.push('"');
            }
            '[' | '{' => {
                out.push(character);
                if list && depth == 0 {
                    out.push_str("\n  ");
                }
                depth += 1;
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                if list && depth == 0 {
                    out.push('\n');
                }
                out.push(character);
            }
            ',' if list && depth == 1 => out.push_str(",\n  "),
            ',' | ':' => {
                out.push(character);
                out.push(' ');
            }
            ' ' | '\n' | '\r' | '\t' => {}
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        assert_eq!(lay_out(json), expected);
    }

    #[test]
    fn a_list_has_one_row_per_line() {
        check("[]", "[]");
        check("{}", "{}");
        check("[1]", "[\n  1\n]");
        check(
            r#"[{"id":1,"tags":["a","b"]},{"id":2,"tags":[]}]"#,
            "[\n  {\"id\": 1, \"tags\": [\"a\", \"b\"]},\n  {\"id\": 2, \"tags\": []}\n]",
        );
    }

    #[test]
    fn an_object_stays_on_its_line() {
        check(r#"{"rowsAffected":1,"lastInsertId":9}"#, r#"{"rowsAffected": 1, "lastInsertId": 9}"#);
    }

    #[test]
    fn strings_and_numbers_are_left_alone() {
        let body = r#"{"a":"x,y:[z]","b":"\"\\","c":1.50e400,"d":12345678901234567890}"#;
        check(body, r#"{"a": "x,y:[z]", "b": "\"\\", "c": 1.50e400, "d": 12345678901234567890}"#);
    }
}
