//! What `eventbench run` takes.

use crate::cli::compare::Judging;
use crate::cli::report::Output;
use crate::cli::settings::Setting;
use clap::Args;
use eventbench_core::plan::PlacementSetting;
use eventbench_core::units::{Duration, Rate, Unit};

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Suites by name, or suite files; event-bus if none is given
    #[arg(value_name = "SUITE|FILE")]
    pub(in crate::cli) suites: Vec<String>,
    /// Only these benchmarks: a name, a tag, a category or a requirement id, with * and ?; may be given again
    #[arg(long, value_name = "NAME|TAG")]
    pub(super) only: Vec<String>,
    /// None of these
    #[arg(long, value_name = "NAME|TAG")]
    pub(super) skip: Vec<String>,
    /// How much of the suite: quick, standard, soak, or one of the suite's own
    #[arg(long, value_name = "PROFILE", default_value = "quick", env = "EVENTBENCH_PROFILE")]
    pub(in crate::cli) profile: String,
    /// Another rate for every benchmark that has one
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Overrides, written into the record")]
    pub(super) rate: Option<Rate>,
    /// Another duration for every benchmark
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Overrides, written into the record")]
    pub(super) duration: Option<Duration>,
    /// Another number of trials for every benchmark
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Overrides, written into the record")]
    pub(super) trials: Option<u32>,
    /// Another number of virtual users for every benchmark that has them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Overrides, written into the record")]
    pub(super) users: Option<u32>,
    /// Another rate at which virtual users come
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Overrides, written into the record")]
    pub(super) spawn_rate: Option<Rate>,
    /// Another seed for payloads and random arrivals
    #[arg(long, value_name = "N", help_heading = "Overrides, written into the record")]
    pub(super) seed: Option<u64>,
    /// Which cores each role is kept to: free (the kernel chooses), pinned, or core lists such as
    /// broker=0,services=1,instrument=1,awake (several cores as 0+2 or 0-3; awake keeps them from falling asleep)
    #[arg(
        long,
        value_name = "CORES",
        env = "EVENTBENCH_PLACEMENT",
        help_heading = "Overrides, written into the record"
    )]
    pub(in crate::cli) placement: Option<PlacementSetting>,
    /// Another value for anything in the suite file, such as benchmark.NAME.load.rate=200/s; KEY+=WORD,WORD adds to a list;
    /// may be given again
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Overrides, written into the record")]
    pub(super) set: Vec<Setting>,
    /// Also write a report, such as markdown=report.md; FORMAT alone writes to standard output; may be given again
    #[arg(short, long = "output", value_name = "FORMAT=PATH")]
    pub(in crate::cli) output: Vec<Output>,
    /// Open the HTML report in the browser, unless CI is set; without -o html=PATH it is written beside the history
    #[arg(long)]
    pub(in crate::cli) open: bool,
    /// The same, but only from a terminal, as the project's configuration asks for it.
    #[arg(skip)]
    pub(in crate::cli) open_from_terminal: bool,
    /// Make warnings fail
    #[arg(long)]
    pub(super) strict: bool,
    /// Show what would be run, and end
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Keep nothing in the history
    #[arg(long, conflicts_with = "save_baseline")]
    pub(super) no_history: bool,
    /// Stop after so many failed benchmarks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_fail: Option<u32>,
    /// Keep the run under this name, for later ones to be compared with
    #[arg(long, value_name = "NAME", value_parser = crate::cli::baseline::name, help_heading = "Comparison")]
    pub(super) save_baseline: Option<String>,
    /// Compare the run with this baseline (or any run or record file, as `compare` takes them); what is worse fails
    #[arg(long, value_name = "NAME", env = "EVENTBENCH_BASELINE", help_heading = "Comparison")]
    pub(in crate::cli) baseline: Option<String>,
    /// Whether the project's configuration names the baseline.
    #[arg(skip)]
    pub(in crate::cli) baseline_of_file: bool,
    #[command(flatten)]
    pub(super) serving: crate::cli::serve_metrics::ServeArgs,
    #[command(flatten)]
    pub(in crate::cli) judging: Judging,
}

const EXAMPLES: &str = "\
Examples:
  eventbench run                                    event-bus, quick: about a minute
  eventbench run --profile standard -o markdown=report.md -o json=run.json
  eventbench run --only latency --only EB-9         by tag, by requirement
  eventbench run --only sustained-throughput --rate 50k/s --duration 20s
  eventbench run --profile soak                     one hour of memory stability
  eventbench run --save-baseline main               keep this run to compare later ones with
  eventbench run --baseline main                    compare with it: what is worse fails
  eventbench run --baseline main --fail-on 'mean:10%,p(99):15%'
  BENCHMARK_LATENCY_MAX=2 eventbench run --strict   a bound from the environment (ms, %, %, events/s:
                                                    BENCHMARK_LATENCY_MAX, _CPU_MAX, _MEMORY_MAX, _THROUGHPUT_MIN)";

fn rate(text: &str) -> Result<Rate, String> {
    Unit::PerSecond.parse(text).and_then(|v| {
        if v > 0.0 {
            Ok(Rate(v))
        } else {
            Err("a rate must be above zero".to_owned())
        }
    })
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    Unit::Nanoseconds.parse(text).and_then(|v| {
        if v > 0.0 {
            Ok(Duration(v))
        } else {
            Err("a duration must be above zero".to_owned())
        }
    })
}
