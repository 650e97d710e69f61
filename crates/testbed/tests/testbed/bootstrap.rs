//! A Lambda function of a few lines, without lambda_runtime: what it does is in the event.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let env = |key: &str| std::env::var_os(key).map(|value| value.to_string_lossy().into_owned());
    let api = env("AWS_LAMBDA_RUNTIME_API").context("no Runtime API")?;
    writeln!(std::io::stdout(), "starting")?;
    match env("INIT").as_deref() {
        Some("fail") => {
            send(&api, "POST", "runtime/init/error", r#"{"errorMessage":"as told"}"#)?;
            std::process::exit(1);
        }
        Some("exit") => std::process::exit(7),
        _ => {}
    }
    loop {
        let (id, event) = send(&api, "GET", "runtime/invocation/next", "")?;
        writeln!(std::io::stderr(), "event {event}")?;
        let reply = match event.as_str() {
            "\"exit\"" => std::process::exit(7),
            "\"fail\"" => {
                send(&api, "POST", &format!("runtime/invocation/{id}/error"), "{}")?;
                continue;
            }
            "\"env\"" => serde_json::to_string(
                &std::env::vars_os()
                    .map(|(key, value)| {
                        (key.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
                    })
                    .collect::<std::collections::BTreeMap<_, _>>(),
            )?,
            "\"beside\"" => {
                let program = std::env::current_exe()?;
                std::fs::read_to_string(program.with_file_name("lambda-rds.toml"))?
            }
            _ => event,
        };
        send(&api, "POST", &format!("runtime/invocation/{id}/response"), &reply)?;
    }
}

/// Sends a request; gives back the invocation's id, if there is one, and the body.
fn send(api: &str, method: &str, path: &str, body: &str) -> Result<(String, String)> {
    let stream = TcpStream::connect(api)?;
    let length = body.len();
    write!(
        &stream,
        "{method} /2018-06-01/{path} HTTP/1.1\r\nhost: {api}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut stream = BufReader::new(stream);
    let (mut id, mut line) = (String::new(), String::new());
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.strip_prefix("lambda-runtime-aws-request-id: ") {
            id = value.trim().to_owned();
        }
        line.clear();
    }
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    Ok((id, body))
}
