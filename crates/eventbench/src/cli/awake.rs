//! `eventbench awake`: keeps cores from falling asleep, as a process of its own. A run with `awake` in its placement starts
//! it and ends it; nobody needs to call it by hand.

use super::{Failure, out};
use clap::Args;
use eventbench_engine::placement::stay_awake;

/// Arguments of `awake`.
#[derive(Debug, Args)]
pub struct AwakeArgs {
    /// The cores: one thread each takes all the time that nobody else wants (SCHED_IDLE)
    #[arg(long, value_name = "CORES", value_delimiter = ',', required = true)]
    cpus: Vec<usize>,
}

/// Runs the command; returns only when it cannot be done.
pub fn run(args: &AwakeArgs) -> Failure {
    let why = stay_awake(&args.cpus, |word| out(format!("{word}\n")));
    Failure::environment(format!(
        "cores {:?} cannot be kept awake at idle priority: {why}",
        args.cpus
    ))
}
