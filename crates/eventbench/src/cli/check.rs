//! `eventbench check`: suite files, read and checked without being run.

use super::{Failure, error, out, suites};
use crate::exit::Exit;
use clap::Args;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Suite files, or names of built-in suites
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    for file in &args.files {
        match suites::load(file) {
            Ok((suite, _)) => out(format!("{file}: {} benchmarks, nothing wrong\n", suite.benchmark.len())),
            Err(failure) => {
                error(&format!("{:?}", failure.report));
                exit = failure.exit;
            }
        }
    }
    Ok(exit)
}
