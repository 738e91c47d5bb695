//! The eventbench binary: command line, the real host, exit codes.

mod cli;
mod exit;
mod host;
mod revision;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
