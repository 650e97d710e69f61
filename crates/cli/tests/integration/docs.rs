//! What the documentation shows is what happens: each `console` block is typed in, one after the other.
//!
//! A line with `$ ` is a command for `sh`, what follows it is what it says on stdout and stderr; `…` stands for
//! anything. `lambda-rds serve` goes on beside the commands behind it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::user::User;

/// A command and what it says.
struct Shown {
    line: usize,
    command: String,
    says: Vec<String>,
}

fn blocks(text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line == "```console" {
            inside = true;
        } else if line == "```" {
            inside = false;
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            shown.push(Shown { line: index + 1, command: command.to_owned(), says: Vec::new() });
        } else if inside {
            shown.last_mut().unwrap().says.push(line.to_owned());
        }
    }
    shown
}

/// Whether a line is as shown, where `…` is anything.
fn is_as_shown(shown: &str, said: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = said.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn typed(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(page)).unwrap();
    // The port that the page names may be taken here.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let user = User::new();
    let mut folder: PathBuf = user.folder().to_owned();
    let mut beside = Vec::new();
    let mut code = 0;
    let blocks = blocks(&text);
    assert!(blocks.len() > 3, "{page} shows nothing");
    for Shown { line, command, says } in blocks {
        let at = format!("{page}:{line}: {command}");
        let command = command.replace("9000", &port).replace("$?", &code.to_string());
        let says: Vec<String> = says.iter().map(|said| said.replace("9000", &port)).collect();
        if let Some(to) = command.strip_prefix("cd ") {
            folder.push(to);
            continue;
        }
        let mut shell = user.shell(&folder);
        if command.starts_with("lambda-rds serve") {
            let script = format!("exec {command}");
            let mut child =
                shell.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            beside.push(Beside(child));
            for shown in &says {
                let mut said = String::new();
                stdout.read_line(&mut said).unwrap();
                assert!(is_as_shown(shown, said.trim_end()), "{at}\nshown: {shown}\nsaid:  {said}");
            }
            continue;
        }
        let script = format!("{{ {command}\n}} 2>&1");
        let output = shell.args(["-c", &script]).output().unwrap();
        code = output.status.code().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // Which sample is used is told each time, and shown once.
        let said: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("lambda-rds: using the sample database ")).collect();
        let as_shown =
            said.len() == says.len() && said.iter().zip(&says).all(|(said, shown)| is_as_shown(shown, said));
        assert!(as_shown, "{at}\nshown: {says:#?}\nsaid:  {said:#?}");
    }
}

impl User {
    /// A shell that finds the command.
    fn shell(&self, folder: &Path) -> Command {
        let command = Path::new(env!("CARGO_BIN_EXE_lambda-rds"));
        let path = std::env::var_os("PATH").unwrap();
        let folders = command.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        let mut shell = Command::new("sh");
        shell.env_clear().env("HOME", self.folder()).env("PATH", std::env::join_paths(folders).unwrap());
        shell.current_dir(folder).stdin(Stdio::null());
        shell
    }
}

#[test]
fn the_page_of_the_command() {
    typed("docs/reference/cli.md");
}

#[test]
fn the_page_of_local_development() {
    typed("docs/how-to/local-development.md");
}

#[test]
fn an_ellipsis_is_anything() {
    for (shown, said, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "abc", true),
        ("a…d", "abcd", true),
        ("a…d", "abc", false),
        ("…\"}", "x\"}", true),
    ] {
        assert_eq!(is_as_shown(shown, said), expected, "{shown} {said}");
    }
}

#[test]
fn the_first_tutorial() {
    typed("docs/tutorial/first-query.md");
}
