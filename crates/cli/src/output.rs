//! What goes to stdout: the result of a command and nothing else.

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes a result to stdout, with a line end behind it if it has none. A reader that has seen enough (`| head`)
/// is no failure.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let end: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
    match stdout.write_all(text).and_then(|()| stdout.write_all(end)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Setup(format!("stdout cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes rows that are no JSON: their lines are ended, and where there are none, there is nothing.
pub(crate) fn print_rows(text: &[u8]) -> Result<(), Failure> {
    if text.is_empty() { Ok(()) } else { print(text) }
}

/// Writes a part of a result to stdout, at once. False if its reader has seen enough.
pub(crate) fn part(text: &[u8]) -> Result<bool, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Setup(format!("stdout cannot be written: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// Writes a result to this file, or to stdout where there is none.
pub(crate) fn write(file: Option<&Path>, text: &[u8]) -> Result<(), Failure> {
    let Some(file) = file else { return print(text) };
    std::fs::write(file, text)
        .map_err(|error| Failure::Setup(format!("{} cannot be written: {error}", file.display())))
}
