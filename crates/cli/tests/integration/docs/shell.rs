//! A reader who types what a page shows.
//!
//! In a `console` block a line with `$ ` is a command for `sh`, what follows it is what it says on stdout and stderr;
//! `…` stands for anything. Directory, exports and aliases last from one command to the next. A block that shows no
//! output at all has commands that succeed and may say what they like. A `sh` block is a script: it succeeds, in the
//! directory in which the reader is, and leaves nothing else behind. `lambda-rds serve` goes on beside what follows.
//!
//! What cannot run in a test is played by [`STAND_INS`], which refuse what they do not know.

use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lambda_rds_testbed::free_port;
use tempfile::TempDir;

use super::page::{Block, repository};
use crate::user::User;

/// Where a page is typed.
#[derive(Debug)]
pub(super) struct Place {
    user: User,
    folder: PathBuf,
    /// The stand-ins, and what the shell remembers.
    tools: TempDir,
    path: Vec<PathBuf>,
    env: Vec<(String, String)>,
    /// What the page says, and what is so here.
    replaced: Vec<(String, String)>,
    /// What must be there as long as this place: servers, programs.
    with: Vec<Box<dyn Debug>>,
}

/// A command and what it says.
#[derive(Debug)]
struct Shown {
    line: usize,
    command: String,
    says: Vec<String>,
    /// Whether what it says is shown.
    told: bool,
}

/// A program that goes on until the page is at its end.
#[derive(Debug)]
pub(super) struct Beside(pub(super) Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// The home folder of somebody who has the command and nothing else.
    pub(super) fn home() -> Self {
        let user = User::new();
        let folder = user.folder().to_owned();
        let tools = tempfile::tempdir().unwrap();
        for (name, script) in STAND_INS {
            write_script(&tools.path().join(name), script);
        }
        // The port that the page names may be taken here.
        let port = free_port().unwrap().to_string();
        let env = vec![("REPOSITORY".to_owned(), repository().display().to_string())];
        let replaced = vec![("9000".to_owned(), port)];
        Self { user, folder, tools, path: Vec::new(), env, replaced, with: Vec::new() }
    }

    /// Starts in this folder.
    pub(super) fn within(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    /// Sets a variable.
    pub(super) fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Types something else than the page says.
    pub(super) fn replace(mut self, shown: &str, typed: impl Into<String>) -> Self {
        self.replaced.push((shown.to_owned(), typed.into()));
        self
    }

    /// Finds the programs of this folder.
    pub(super) fn programs(mut self, folder: &Path) -> Self {
        self.path.push(folder.to_owned());
        self
    }

    /// Keeps something.
    pub(super) fn with(mut self, kept: impl Debug + 'static) -> Self {
        self.with.push(Box::new(kept));
        self
    }

    /// Types these blocks, one after the other.
    pub(super) fn types(mut self, blocks: &[Block]) {
        let mut code = 0;
        for block in blocks {
            if block.language == "sh" {
                self.runs(block);
                continue;
            }
            for shown in commands(block) {
                self.types_command(block, &shown, &mut code);
            }
        }
    }

    fn runs(&self, block: &Block) {
        let script = format!(". {}\nset -eu\n{}", self.state().display(), self.as_here(&block.text));
        let output = self.shell(&script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{said}{complained}", block.place, output.status);
    }

    fn types_command(&mut self, block: &Block, shown: &Shown, code: &mut i32) {
        let page = block.place.split(':').next().unwrap();
        let at = format!("{page}:{}: {}", shown.line, shown.command);
        let state = self.state().display().to_string();
        let command = self.as_here(&shown.command);
        let says: Vec<String> = shown.says.iter().map(|said| self.as_here(said)).collect();
        if command.starts_with("lambda-rds serve") {
            let mut shell = self.shell(&format!(". {state}\nexec {command}"));
            let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            self.with.push(Box::new(Beside(child)));
            for shown in &says {
                let mut said = String::new();
                stdout.read_line(&mut said).unwrap();
                assert!(is_as_shown(shown, said.trim_end()), "{at}\nshown: {shown}\nsaid:  {said}");
            }
            return;
        }
        // What is said of the last command's exit code is said by the shell, and each command has a shell of its own.
        let script = format!(
            ". {state}\n{{\n(exit {code})\n{command}\n}} 2>&1\ncode=$?\n\
             {{ export -p; alias | sed 's/^alias //; s/^/alias /'; printf 'cd \"%s\"\\n' \"$PWD\"; }} >{state}\nexit $code"
        );
        let output = self.shell(&script).output().unwrap();
        *code = output.status.code().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if !shown.told {
            assert_eq!(*code, 0, "{at}\nsaid: {said}");
            return;
        }
        // Which sample is used is told each time, and shown once.
        let said: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("lambda-rds: using the sample database ")).collect();
        let as_shown =
            said.len() == says.len() && said.iter().zip(&says).all(|(said, shown)| is_as_shown(shown, said));
        assert!(as_shown, "{at}\nshown: {says:#?}\nsaid:  {said:#?}");
    }

    fn as_here(&self, text: &str) -> String {
        self.replaced.iter().fold(text.to_owned(), |text, (shown, typed)| text.replace(shown, typed))
    }

    /// What a shell begins with: what the last one ended with.
    fn state(&self) -> PathBuf {
        let state = self.tools.path().join("state");
        if !state.exists() {
            std::fs::write(&state, "").unwrap();
        }
        state
    }

    /// A shell that finds the stand-ins before all else, and the command.
    pub(super) fn shell(&self, script: &str) -> Command {
        let command = Path::new(env!("CARGO_BIN_EXE_lambda-rds"));
        let path = std::env::var_os("PATH").unwrap();
        let folders = [self.tools.path().to_owned(), command.parent().unwrap().to_owned()];
        let folders =
            folders.into_iter().chain(self.path.iter().cloned()).chain(std::env::split_paths(&path));
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env_clear();
        shell.env("HOME", self.user.folder()).env("PATH", std::env::join_paths(folders).unwrap());
        shell.envs(self.env.iter().map(|(key, value)| (key, value)));
        shell.current_dir(&self.folder).stdin(Stdio::null());
        shell
    }

    /// Puts a program before all others.
    pub(super) fn stand_in(self, name: &str, script: &str) -> Self {
        write_script(&self.tools.path().join(name), script);
        self
    }
}

fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\nset -eu\n{text}")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The commands of a block; one that ends with a backslash goes on in the next line.
fn commands(block: &Block) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut goes_on = false;
    for (index, line) in block.text.lines().enumerate() {
        if goes_on {
            let last = shown.last_mut().unwrap();
            last.command.push('\n');
            last.command.push_str(line);
        } else if let Some(command) = line.strip_prefix("$ ") {
            let line = block.line + index;
            shown.push(Shown { line, command: command.to_owned(), says: Vec::new(), told: false });
        } else {
            let last = shown.last_mut().unwrap_or_else(|| panic!("{}: no `$ ` before `{line}`", block.place));
            last.says.push(line.to_owned());
        }
        let said_last = shown.last().is_some_and(|last| !last.says.is_empty());
        goes_on = !said_last && line.ends_with('\\');
    }
    let told = shown.iter().any(|shown| !shown.says.is_empty());
    shown.iter_mut().for_each(|shown| shown.told = told);
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

/// Programs that would need a release build, Docker or an AWS account. Each does what the real one would as far as it
/// can be done here, and fails at what the documentation does not use.
const STAND_INS: [(&str, &str); 6] = [
    // The command is built already. Here is no terminal, on which JSON is laid out for reading unasked.
    // That `cargo xtask` takes the words, a test of xtask shows.
    (
        "cargo",
        r#"
case "$*" in
    'run -p lambda-rds-cli -- invoke '*) shift 4; exec lambda-rds "$@" --pretty ;;
    'run -p lambda-rds-cli -- '*) shift 4; exec lambda-rds "$@" ;;
    'install --path '*) grep -q '^name = "lambda-rds"$' "$REPOSITORY/$3/Cargo.toml" ;;
    'xtask '*) ;;
    *) echo "no stand-in for: cargo $*" >&2; exit 64 ;;
esac
"#,
    ),
    // Invokes a function over Lambda's API: the one at --endpoint-url, or that of the page. A message for a queue is
    // an event of its own.
    (
        "aws",
        r#"
unknown() { echo "no stand-in for: aws $*" >&2; exit 64; }
url=${FUNCTION_URL-} name= payload= out= format=
case "$1 $2" in
    'lambda invoke') ;;
    'sqs send-message') name=queue out=/dev/null format=raw-in-base64-out ;;
    *) unknown "$@" ;;
esac
shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --queue-url) [ "$2" = "$FUNCTION_URL/queue" ]; shift 2 ;;
        --message-body) payload=$2; shift 2 ;;
        --endpoint-url) url=$2; shift 2 ;;
        --function-name) name=$2; shift 2 ;;
        --cli-binary-format) format=$2; shift 2 ;;
        --payload) payload=$2; shift 2 ;;
        -*) unknown "$1" ;;
        *) [ -z "$out" ] || unknown "$1"; out=$1; shift ;;
    esac
done
[ "$format" = raw-in-base64-out ] # or else AWS CLI 2 takes the payload for base64
[ -n "$name" ] && [ -n "$out" ]
! [ -e main.tf ] || [ "$name" = queue ] || grep -q "\"$name\"" ./*.tf
reply=$(mktemp)
curl -sS --fail -o "$reply" --data-binary "$payload" "$url/2015-03-31/functions/$name/invocations"
! grep -q '"statusCode":[^2]' "$reply"
cat "$reply" >"$out"
rm "$reply"
[ "$name" != queue ] || exit 0
printf '{\n    "StatusCode": 200,\n    "ExecutedVersion": "$LATEST"\n}\n'
"#,
    ),
    // The test has started a server as this would.
    (
        "docker",
        r#"
[ "$1" = run ] || { echo "no stand-in for: docker $*" >&2; exit 64; }
"#,
    ),
    (
        "sam",
        r#"
[ "$*" = 'local start-api' ] || { echo "no stand-in for: sam $*" >&2; exit 64; }
"#,
    ),
    // terraform/check plans and applies every example, without an account.
    (
        "terraform",
        r#"
case "$*" in
    init | apply | "apply -var "*) ls ./*.tf >/dev/null ;;
    'output -raw url') grep -q 'output "url"' outputs.tf && printf %s "$FUNCTION_URL" ;;
    'output -json queues') grep -q 'output "queues"' outputs.tf && echo '{"users":{"url":"'"$FUNCTION_URL"'/queue"}}' ;;
    *) echo "no stand-in for: terraform $*" >&2; exit 64 ;;
esac
"#,
    ),
    // Not on every machine.
    (
        "jq",
        r#"
[ "$1" = -r ]
exec python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].strip(".").split("."):
    value = value[name]
print(value)' "$2"
"#,
    ),
];

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
fn the_shell_remembers_what_a_reader_expects() {
    let block = |language: &str, text: &str| Block {
        place: "page.md:1".to_owned(),
        line: 2,
        language: language.to_owned(),
        text: text.to_owned(),
    };
    Place::home().types(&[
        block(
            "console",
            "$ mkdir a && cd a\n$ export X='1 2'\n$ alias say='echo said'\n$ (exit 3)\n$ echo $?\n3\n",
        ),
        block("console", "$ say \"$X\" \\\n    more\nsaid 1 2 more\n$ cd ..\n"),
        block("sh", "X=2; test -d a; test \"$X\" = 2\n"),
        block("console", "$ say \"$X\"\nsaid 1 2\n"),
        block("console", "$ echo what is not shown\n"),
    ]);
    for wrong in ["$ echo a\nb\n", "$ echo a\na\nb\n", "$ false\n", "$ docker rm x\n", "$ aws s3 ls\n"] {
        let typed = std::panic::catch_unwind(|| Place::home().types(&[block("console", wrong)]));
        assert!(typed.is_err(), "{wrong}");
    }
}
