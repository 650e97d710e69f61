//! Somebody who runs the command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

/// A user with an empty home folder, who stands in it.
#[derive(Debug)]
pub(crate) struct User {
    home: Arc<TempDir>,
    folder: PathBuf,
}

/// What a run gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_owned();
        Self { home: Arc::new(home), folder }
    }

    /// The command, in the user's folder and with nothing else in its environment.
    pub(crate) fn command(&self, env: &[(&str, &str)], args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lambda-rds"));
        command.args(args).env_clear().env("HOME", self.home.path()).envs(env.iter().copied());
        command.current_dir(&self.folder);
        command
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same user, standing in a folder of theirs.
    pub(crate) fn within(&self, folder: &str) -> Self {
        Self { home: Arc::clone(&self.home), folder: self.folder.join(folder) }
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let file = self.folder().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub(crate) fn invoke(&self, args: &[&str]) -> Run {
        self.invoke_with(&[], args, "")
    }

    pub(crate) fn invoke_with(&self, env: &[(&str, &str)], args: &[&str], stdin: &str) -> Run {
        let args: Vec<&str> = ["invoke"].into_iter().chain(args.iter().copied()).collect();
        self.run_with(env, &args, stdin)
    }

    /// Runs SQL on the sample database, which is there once something has run.
    pub(crate) fn sample(&self, sql: &str) {
        let file = self.home.path().join(".cache/lambda-rds/sample.db");
        run_on(&file, sql);
    }

    /// Runs the command with these words.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with(&[], args, "")
    }

    pub(crate) fn run_with(&self, env: &[(&str, &str)], args: &[&str], stdin: &str) -> Run {
        let mut child = self
            .command(env, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A run that reads no stdin may be gone before this is written.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs SQL on an SQLite file, which is made if it is not there.
pub(crate) fn run_on(file: &Path, sql: &str) {
    use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let run = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        connection.close().await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run).unwrap();
}

impl Run {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The body of a failure, which stands on stderr's first line of JSON.
    #[track_caller]
    pub(crate) fn error(&self, code: i32) -> Value {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        let body = self
            .stderr
            .lines()
            .find(|line| line.starts_with('{'))
            .unwrap_or_else(|| panic!("{}", self.stderr));
        serde_json::from_str::<Value>(body).unwrap()["error"].take()
    }
}
