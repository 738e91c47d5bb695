//! `eventbench history`: how figures have moved from run to run, and the runs for other tools and from them.

mod alert;
mod export;
mod import;
mod series_file;
mod show;
mod trends;

use super::{Failure, Global};
use crate::exit::Exit;
use clap::{Args, Subcommand};

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct HistoryArgs {
    #[command(subcommand)]
    command: Option<HistoryCommand>,
    #[command(flatten)]
    show: show::ShowArgs,
}

const EXAMPLES: &str = "\
Runs of the same suite, profile, overrides, machine and branch form one series; what is left out is counted.

Examples:
  eventbench history                                          every benchmark in one line
  eventbench history single-event-latency                     its main figures, and since when they are what they are
  eventbench history single-event-latency 'response_time p(50)'   every run
  eventbench history --branch main --alert                    exit 1 on a new change for the worse, for a pipeline
  eventbench history --series nightly.csv                     change points of the columns of any CSV";

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// Write runs for other tools: tidy CSV, Apache Otava, pytest-benchmark, JSON
    Export(export::ExportArgs),
    /// Read runs that were measured elsewhere: tidy CSV, Apache Otava, pytest-benchmark, criterion, JSON
    Import(import::ImportArgs),
}

/// Runs the command.
pub fn run(args: &HistoryArgs, global: &Global) -> Result<Exit, Failure> {
    match &args.command {
        None => show::run(&args.show, global),
        Some(HistoryCommand::Export(args)) => export::run(args, global),
        Some(HistoryCommand::Import(args)) => import::run(args, global),
    }
}
