//! `lambda-rds init`: a folder to begin in.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::{Failure, note};
use crate::sample;

/// Make a folder with a sample query, its configuration and what git must not take
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  lambda-rds init shop && cd shop
  lambda-rds invoke active_users limit=2")]
pub(crate) struct Init {
    /// The folder; it is made if it is not there, and no file in it is overwritten
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

impl Init {
    /// Writes the files, all or none.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let there: Vec<&str> =
            FILES.iter().map(|(name, _)| *name).filter(|name| self.folder.join(name).exists()).collect();
        if !there.is_empty() {
            return Err(Failure::Setup(format!(
                "{} has {} already, and nothing is overwritten: name another folder, as in `lambda-rds init shop`",
                self.folder.display(),
                there.join(" and "),
            )));
        }
        let mut made: Vec<PathBuf> = Vec::new();
        for (name, text) in FILES {
            let file = self.folder.join(name);
            if let Err(error) = create(&file, text) {
                // Ours, made a moment ago.
                made.iter().for_each(|file| drop(std::fs::remove_file(file)));
                return Err(Failure::Setup(format!("{} cannot be made: {error}", file.display())));
            }
            made.push(file);
        }
        for file in &made {
            note(&format!("made {}", file.display()));
        }
        let there = if self.folder == Path::new(".") {
            String::new()
        } else {
            format!("cd {} && ", word(&self.folder.display().to_string()))
        };
        note(&format!("try it: {there}lambda-rds invoke active_users limit=2"));
        note("for Lambda: lambda-rds pack --engine postgres --arch arm64");
        Ok(())
    }
}

/// A path as a word of a shell's line.
fn word(text: &str) -> String {
    if text.starts_with('-') {
        // Quoted it would be an option as well.
        return word(&format!("./{text}"));
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn create(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // What came into being since we looked is not overwritten either.
    match std::fs::File::create_new(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(std::io::Error::new(ErrorKind::AlreadyExists, "it is there already"))
        }
        made => made?.write_all(text.as_bytes()),
    }
}

/// What is made. Nothing of it names a database: the sample is used until something does, and the same folder is
/// packed for Lambda as it is.
const FILES: [(&str, &str); 3] = [
    ("queries/users.sql", sample::QUERIES),
    (
        "lambda-rds.toml",
        "\
# The function's configuration: packed beside it, and read by `lambda-rds` in this folder. The environment wins
# over it, so that what differs between stages (DB_SECRET_ID, DB_HOST) is set there. Every key:
# docs/reference/configuration.md.

[db]
# query_timeout = \"10s\"

[function]
# default_query = \"active_users\"
# cors_origin = \"https://app.example.com\"
",
    ),
    (
        ".gitignore",
        "\
# Local databases, and files with passwords in them.
*.db
*.db-shm
*.db-wal
.env
*.zip
",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        for (text, expected) in [
            ("shop", "shop"),
            ("../a-b.c", "../a-b.c"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("-x", "./-x"),
            ("-x y", "'./-x y'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
