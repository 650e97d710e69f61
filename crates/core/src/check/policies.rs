//! Whether the database's policies hold for a query that says who its rows are for: what of it they do not reach.
//!
//! Only PostgreSQL has them. The names come from the statement's words, the rest from the server's catalog.

use crate::backend::Session;
use crate::error::Result;
use crate::queries::{Identity, Query};

use super::Severity;

/// What is wrong, each with how bad it is.
pub(super) type Trouble = (Severity, String);

/// What of a query the policies do not reach.
///
/// # Errors
/// If the connection is gone.
pub(super) async fn troubles(session: &mut dyn Session, query: &Query) -> Result<Vec<Trouble>> {
    let identity = query.identity();
    let mut found = Vec::new();
    if identity.is_empty() {
        return Ok(found);
    }
    let mut roles = Vec::new();
    match identity.role() {
        None => roles.push(None),
        Some(role) => {
            for name in role.choice() {
                match unfit(session, name).await? {
                    Some(reason) => found.push((Severity::Error, reason)),
                    None => roles.push(Some(name.as_str())),
                }
            }
        }
    }
    let (relations, functions) = (candidates(query, identity), query.calls());
    for role in roles {
        for row in session.ask(&reached(&relations, role)).await? {
            let [Some(table), Some(why), who, via] = row.as_slice() else { continue };
            let (who, via) = (who.as_deref().unwrap_or("?"), via.as_deref());
            found.push((Severity::Warning, sentence(why, table, who, via)));
        }
    }
    for row in session.ask(&definers(&functions, &relations)).await? {
        let [Some(function), Some(owner)] = row.as_slice() else { continue };
        found.push((
            Severity::Warning,
            format!(
                "it comes by {function}, which is SECURITY DEFINER: what that does is done as its owner `{owner}`, and \
                 the caller's policies do not hold in it"
            ),
        ));
    }
    found.dedup();
    Ok(found)
}

/// The roles that the queries may set, each once.
pub(crate) fn roles<'q>(queries: impl Iterator<Item = &'q Query>) -> Vec<&'q str> {
    let mut roles: Vec<&str> = Vec::new();
    for role in queries.filter_map(|query| query.identity().role()).flat_map(|role| role.choice()) {
        if !roles.contains(&role.as_str()) {
            roles.push(role);
        }
    }
    roles
}

/// Why the session's user cannot become this role, if that is so.
///
/// # Errors
/// If the connection is gone.
pub(crate) async fn unfit(session: &mut dyn Session, role: &str) -> Result<Option<String>> {
    // The privilege has a name of its own since PostgreSQL 16.
    let sql = format!(
        "SELECT session_user::text, CASE WHEN current_setting('server_version_num')::int >= 160000 \
         THEN pg_catalog.pg_has_role(session_user, oid, 'SET') \
         ELSE pg_catalog.pg_has_role(session_user, oid, 'MEMBER') END \
         FROM pg_catalog.pg_roles WHERE rolname = {}",
        literal(role)
    );
    let rows = session.ask(&sql).await?;
    Ok(match rows.first().map(Vec::as_slice) {
        None => Some(format!(
            "there is no role `{role}`: CREATE ROLE {0}; GRANT {0} TO the function's user",
            name(role)
        )),
        Some([Some(user), Some(may)]) if may == "f" => {
            Some(format!("`{user}` may not become `{role}`: GRANT {} TO {}", name(role), name(user)))
        }
        Some(_) => None,
    })
}

fn sentence(why: &str, table: &str, who: &str, via: Option<&str>) -> String {
    let by = match via {
        Some(view) => format!(
            " by the view {view}, as whose owner `{who}` it is read (`security_invoker` would ask as the caller)"
        ),
        None => String::new(),
    };
    match why {
        "materialized" => {
            format!("{table} is a materialized view{by}, which has no policies: every caller sees all of it")
        }
        "foreign" => {
            format!("{table} is a foreign table{by}, which has no policies here: every caller sees all of it")
        }
        "off" => format!(
            "{table} has no row-level security{by}: every caller sees all of it. ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, \
             and CREATE POLICY"
        ),
        "none" => format!("{table} has no policy for `{who}`{by}: no row of it is ever seen"),
        "superuser" => format!("no policy of {table} holds for `{who}`{by}, which is a superuser"),
        "bypass" => format!("no policy of {table} holds for `{who}`{by}, which has BYPASSRLS"),
        _ => format!(
            "no policy of {table} holds for `{who}`{by}, which owns it: ALTER TABLE {table} FORCE ROW LEVEL SECURITY, or say \
             `-- role:` with one that does not"
        ),
    }
}

/// The names of tables as the server may find them: in each of the schemas that a caller may have, else by its path.
fn candidates(query: &Query, identity: &Identity) -> Vec<String> {
    let schemas = identity.settings().iter().find(|it| it.name().eq_ignore_ascii_case("search_path"));
    let schemas = schemas.and_then(|it| it.choice()).unwrap_or_default();
    let mut names = Vec::new();
    for relation in query.relations() {
        if !relation.contains('.') {
            names.extend(schemas.iter().map(|schema| format!("{}.{relation}", name(schema))));
        }
        names.push(relation);
    }
    names
}

/// Asks for the tables that are reached, by views too, and for whom no policy holds: the table, why, as whom it is read,
/// and by which view.
fn reached(relations: &[String], role: Option<&str>) -> String {
    let who = match role {
        Some(role) => format!("(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})", literal(role)),
        None => "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)".to_owned(),
    };
    format!(
        "WITH RECURSIVE {FOUND}, reached(rel, who, via) AS ( \
           SELECT rel, {who}, NULL::oid FROM found \
           UNION \
           SELECT d.refobjid, \
                  CASE WHEN coalesce(v.reloptions::text ~ 'security_invoker=(true|on|1)', false) THEN r.who ELSE v.relowner END, \
                  CASE WHEN coalesce(v.reloptions::text ~ 'security_invoker=(true|on|1)', false) THEN r.via ELSE v.oid END \
           FROM reached r JOIN pg_catalog.pg_class v ON v.oid = r.rel AND v.relkind = 'v' \
           JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid \
           JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid \
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> v.oid \
         ), judged AS ( \
           SELECT c.oid, r.via, u.rolname, CASE \
             WHEN c.relkind = 'm' THEN 'materialized' \
             WHEN c.relkind = 'f' THEN 'foreign' \
             WHEN NOT c.relrowsecurity THEN 'off' \
             WHEN u.rolsuper THEN 'superuser' \
             WHEN u.rolbypassrls THEN 'bypass' \
             WHEN NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(u.oid, c.relowner, 'USAGE') THEN 'owner' \
             WHEN NOT EXISTS (SELECT 1 FROM pg_catalog.pg_policy p, unnest(p.polroles) AS granted(to_role) \
                              WHERE p.polrelid = c.oid AND p.polpermissive AND (granted.to_role = 0 \
                                OR pg_catalog.pg_has_role(u.oid, granted.to_role, 'USAGE'))) THEN 'none' \
             END AS why \
           FROM reached r JOIN pg_catalog.pg_class c ON c.oid = r.rel AND c.relkind IN ('r', 'p', 'm', 'f') \
           JOIN pg_catalog.pg_roles u ON u.oid = r.who \
           WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) \
         ) \
         SELECT DISTINCT oid::regclass::text, why, rolname::text, via::regclass::text FROM judged WHERE why IS NOT NULL \
         ORDER BY 1, 2, 3, 4",
        FOUND = found(relations)
    )
}

/// The relations that there are of these names.
fn found(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    format!(
        "found(rel) AS (SELECT DISTINCT pg_catalog.to_regclass(name)::oid FROM unnest(ARRAY[{}]::text[]) AS named(name) \
         WHERE pg_catalog.to_regclass(name) IS NOT NULL)",
        names.join(", ")
    )
}

/// Asks for the functions with their owner's rights that these names mean, or that views of these names call.
fn definers(functions: &[String], relations: &[String]) -> String {
    // What is before the last dot is a schema; unquoted names are in lower case on the server.
    let last = |function: &String| {
        let part = function.rsplit('.').next().unwrap_or_default();
        literal(&match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.to_lowercase(),
        })
    };
    let names: Vec<String> = functions.iter().map(last).collect();
    format!(
        "WITH RECURSIVE {FOUND}, views(rel) AS ( \
           SELECT rel FROM found UNION \
           SELECT d.refobjid FROM views v JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.rel \
           JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid \
            AND d.refclassid = 'pg_catalog.pg_class'::regclass \
         ) \
         SELECT DISTINCT p.oid::regprocedure::text, pg_catalog.pg_get_userbyid(p.proowner)::text FROM pg_catalog.pg_proc p \
         WHERE p.prosecdef AND (p.proname = ANY(ARRAY[{}]::text[]) OR EXISTS ( \
           SELECT 1 FROM views v JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.rel \
           JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid \
            AND d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid = p.oid)) ORDER BY 1",
        names.join(", "),
        FOUND = found(relations)
    )
}

/// A text in SQL. The session has standard strings: a backslash is one.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name in SQL.
pub(super) fn name(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
