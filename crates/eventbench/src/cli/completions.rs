//! `eventbench completions`: for the shells that clap knows.

use super::{Failure, out};
use crate::exit::Exit;
use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eventbench completions bash > ~/.local/share/bash-completion/completions/eventbench
  eventbench completions zsh > ~/.zfunc/_eventbench")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs, mut command: Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "eventbench", &mut script);
    out(script);
    Ok(Exit::Ok)
}
