//! A database as a URL, as the tools of each engine write it, and the settings that say the same.
//!
//! Messages never repeat the URL: it may hold a password.

use lambda_rds::config::Engine;

/// The settings that a URL stands for, by their names in the environment.
///
/// ```text
/// postgres://user:password@host:5432/name?sslmode=require&sslrootcert=ca.pem
/// sqlite:file.db
/// ```
pub(crate) fn settings(url: &str) -> Result<Vec<(&'static str, String)>, String> {
    let (scheme, rest) =
        url.split_once(':').ok_or("--url has no scheme: write postgres://…, mysql://… or sqlite:file")?;
    let engine: Engine = scheme.parse().map_err(|_| {
        format!(
            "--url begins with `{scheme}:`, which names no engine: write postgres://, mysql:// or sqlite:"
        )
    })?;
    let mut settings = vec![("DB_ENGINE", engine.name().to_owned())];
    if engine == Engine::Sqlite {
        settings.push(("DB_NAME", decode(rest.strip_prefix("//").unwrap_or(rest))?));
        return Ok(settings);
    }
    let rest = rest.strip_prefix("//").ok_or("--url has no `//` after its scheme")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    // A password may hold an `@`, a host cannot.
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user, None),
    };
    let (host, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (host, ""),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    settings.push(("DB_AUTH", "password".to_owned()));
    for (key, value) in [("DB_HOST", host), ("DB_PORT", port), ("DB_USER", user), ("DB_NAME", name)] {
        if !value.is_empty() {
            settings.push((key, decode(value)?));
        }
    }
    if let Some(password) = password {
        settings.push(("DB_PASSWORD", decode(password)?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let setting = match key {
            "sslmode" => "DB_TLS",
            "sslrootcert" => "DB_TLS_CA",
            _ => return Err(format!("--url has `{key}`, which is not known: sslmode and sslrootcert are")),
        };
        settings.push((setting, decode(value)?));
    }
    Ok(settings)
}

fn decode(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "--url holds %-escapes that are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &[(&str, &str)]) {
        let found = settings(url).unwrap();
        let found: Vec<_> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn check_refused(url: &str, reason: &str) {
        let found = settings(url).unwrap_err();
        assert!(found.contains(reason), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }

    #[test]
    fn a_server() {
        check(
            "postgresql://me:p%40ss@db.example.com:5433/shop?sslmode=verify-ca&sslrootcert=%2Fca.pem",
            &[
                ("DB_ENGINE", "postgres"),
                ("DB_AUTH", "password"),
                ("DB_HOST", "db.example.com"),
                ("DB_PORT", "5433"),
                ("DB_USER", "me"),
                ("DB_NAME", "shop"),
                ("DB_PASSWORD", "p@ss"),
                ("DB_TLS", "verify-ca"),
                ("DB_TLS_CA", "/ca.pem"),
            ],
        );
        check(
            "postgres://me@[::1]/shop",
            &[
                ("DB_ENGINE", "postgres"),
                ("DB_AUTH", "password"),
                ("DB_HOST", "::1"),
                ("DB_USER", "me"),
                ("DB_NAME", "shop"),
            ],
        );
        check(
            "mysql://[::1]:3307",
            &[("DB_ENGINE", "mysql"), ("DB_AUTH", "password"), ("DB_HOST", "::1"), ("DB_PORT", "3307")],
        );
    }

    #[test]
    fn a_file() {
        check("sqlite:shop.db", &[("DB_ENGINE", "sqlite"), ("DB_NAME", "shop.db")]);
        check("sqlite:///srv/shop%20one.db", &[("DB_ENGINE", "sqlite"), ("DB_NAME", "/srv/shop one.db")]);
    }

    #[test]
    fn what_is_no_database() {
        check_refused("shop.db", "no scheme");
        check_refused("oracle://me:hunter2@host/shop", "`oracle:`");
        check_refused("postgres:me:hunter2@host/shop", "no `//`");
        check_refused("postgres://me:hunter2@host/shop?pool=3", "`pool`");
        check_refused("postgres://me:hunter2%ff@host/shop", "UTF-8");
    }
}
