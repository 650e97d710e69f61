//! `lambda-rds completions`: what a shell needs to complete the command's words.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::Cli;
use crate::failure::Failure;
use crate::output;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lambda-rds completions bash > ~/.local/share/bash-completion/completions/lambda-rds
  lambda-rds completions zsh > ~/.zfunc/_lambda-rds
  lambda-rds completions fish > ~/.config/fish/completions/lambda-rds.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script on stdout.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // Into memory first: the generator panics where it cannot write, and `| head` is no reason to.
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "lambda-rds", &mut script);
        output::print(&script)
    }
}
