//! `eventbench compare`: one run held against another.

use super::report::{Output, options};
use super::{Failure, Global, out, records, stdout_color};
use crate::exit::Exit;
use clap::Args;
use eventbench_core::judge::compare::{
    CompareOptions, FailOn, Gate, MOST_GATES, Mismatch, NoiseBook, RunComparison, compare, machine_key, mismatches,
};
use eventbench_core::record::{RunHead, RunRecord};
use eventbench_core::units::Unit;
use eventbench_report::{COMPARISON_REPORTS, RenderOptions, printable};
use eventbench_store::{History, HistoryError};
use records::Referred;
use std::str::FromStr;

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 when nothing is worse or it cannot be told, 1 when something is worse beyond its margin, 4 when a figure that
decides has no data on one side.

Examples:
  eventbench compare latest~1 latest               the last run with the one before
  eventbench compare --baseline main               the last run with a baseline
  eventbench compare main.json run.json -o markdown=comparison.md
  eventbench compare main latest --gate 'response_time p(50)' --margin 3%
  eventbench compare main latest --fail-on 'mean:10%,p(99):15%'")]
pub struct CompareArgs {
    /// What is compared with, and what is judged: each a run's id or its beginning, latest, latest~N, a baseline's name,
    /// or a record's JSON file
    #[arg(value_name = "RUN", num_args = 0..=2)]
    runs: Vec<String>,
    /// Compare with this baseline; then RUN is what is judged, the latest if none is given
    #[arg(long, value_name = "NAME")]
    pub(super) baseline: Option<String>,
    #[command(flatten)]
    pub(super) judging: Judging,
    /// Write it as terminal, markdown, json or csv, such as markdown=comparison.md; FORMAT alone writes to standard output;
    /// may be given again
    #[arg(short, long = "output", value_name = "FORMAT=PATH")]
    output: Vec<Output>,
    /// Make what cannot be told fail
    #[arg(long)]
    strict: bool,
}

/// How a comparison is judged, wherever one is made.
#[derive(Debug, Args, Clone, Default)]
pub struct Judging {
    /// The change that is tolerated; the suite's or 5% if absent, and never less than what is visible on this machine
    #[arg(long, value_name = "N%", value_parser = margin, help_heading = "Comparison")]
    pub(super) margin: Option<f64>,
    /// A figure that decides, such as 'response_time p(50)'; at most three, the suite's or usual ones if absent
    #[arg(long, value_name = "FIGURE", value_parser = gate, help_heading = "Comparison")]
    pub(super) gate: Vec<String>,
    /// Plain thresholds beside them, such as 'mean:10%,p(99):2ms', whatever the noise
    #[arg(long, value_name = "FIELD:N%", help_heading = "Comparison")]
    pub(super) fail_on: Vec<Thresholds>,
    /// Compare although machine, versions or plan are not the same, with a warning on every figure
    #[arg(long, help_heading = "Comparison")]
    pub(super) allow_mismatch: bool,
}

/// The thresholds of one `--fail-on`.
#[derive(Debug, Clone)]
pub struct Thresholds(Vec<FailOn>);

pub(super) fn margin(text: &str) -> Result<f64, String> {
    Unit::Ratio.parse(text).and_then(|v| {
        if v > 0.0 && v < 10.0 {
            Ok(v)
        } else {
            Err("a margin is above zero, such as \"5%\"".to_owned())
        }
    })
}

pub(super) fn gate(text: &str) -> Result<String, String> {
    Gate::parse(text).map(|_| text.to_owned())
}

impl FromStr for Thresholds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        FailOn::parse_list(text).map(Thresholds)
    }
}

impl CompareArgs {
    /// Whether the second side of the comparison is still to be told.
    pub fn compares_nothing_yet(&self) -> bool {
        self.baseline.is_none() && self.runs.len() < 2
    }
}

impl Judging {
    /// The flag that was given first of those that make sense only with something to compare with.
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.margin.is_some(), "--margin"),
            (!self.gate.is_empty(), "--gate"),
            (!self.fail_on.is_empty(), "--fail-on"),
            (self.allow_mismatch, "--allow-mismatch"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Refuses more gates than there may be.
    pub fn check(&self) -> Result<(), Failure> {
        if self.gate.len() > MOST_GATES {
            return Err(Failure::usage(miette::miette!(
                "--gate was given {} times: {MOST_GATES} figures decide at most, since each is a chance of a false alarm; all others are shown as advice",
                self.gate.len()
            )));
        }
        Ok(())
    }

    /// Refuses to compare what differs in more than what is measured, unless that is allowed.
    ///
    /// # Errors
    /// With every difference.
    pub fn same(&self, a: &RunHead, label: &str, b: &RunHead) -> Result<(), Failure> {
        let differences = mismatches(a, b);
        if differences.is_empty() || self.allow_mismatch {
            return Ok(());
        }
        let rows: Vec<String> = differences.iter().map(difference).collect();
        Err(Failure::usage(miette::miette!(
            help = "compare like with like, or take the figures with a warning by --allow-mismatch",
            "this run cannot be compared with {}, since these are not the same:\n{}",
            printable(label),
            rows.join("\n")
        )))
    }

    /// Compares b with a, each with what people call it.
    pub fn compare(
        &self,
        a: (&RunRecord, Option<&str>),
        b: (&RunRecord, Option<&str>),
        noise: &NoiseBook,
    ) -> RunComparison {
        let paired = paired(a.0, b.0);
        let label = |(record, label): (&RunRecord, Option<&str>)| {
            let variant = record.run.pair.as_ref().filter(|_| paired).map(|p| p.label.clone());
            label.map(str::to_owned).or(variant)
        };
        let options = CompareOptions {
            labels: (label(a), label(b)),
            paired,
            margin: self.margin,
            gate: self.gate.clone(),
            fail_on: self.fail_on.iter().flat_map(|t| t.0.clone()).collect(),
            ..CompareOptions::default()
        };
        compare(a.0, b.0, noise, &options)
    }
}

fn difference(m: &Mismatch) -> String {
    format!(
        "  {}: {}, here {}",
        printable(&m.what),
        printable(&m.a),
        printable(&m.b)
    )
}

/// Whether two runs are the two sides of a duel, whose trials were run in turn; what differs between them is then what is
/// compared.
fn paired(a: &RunRecord, b: &RunRecord) -> bool {
    let of = |x: &RunRecord, y: &RunRecord| x.run.pair.as_ref().is_some_and(|p| p.partner == y.run.id);
    of(a, b) && of(b, a)
}

/// What is known of the noise of the machine that a run was measured on; nothing where there is no history.
///
/// # Errors
/// When the history cannot be read.
pub fn noise_of(head: &RunHead, global: &Global) -> Result<NoiseBook, Failure> {
    match History::open_existing(&global.history) {
        Err(HistoryError::Missing { .. }) => Ok(NoiseBook::new()),
        opened => opened
            .and_then(|h| h.noise(&machine_key(head)))
            .map_err(Failure::environment),
    }
}

/// Runs the command.
pub fn run(args: &CompareArgs, global: &Global) -> Result<Exit, Failure> {
    args.judging.check()?;
    for output in &args.output {
        if !COMPARISON_REPORTS.iter().any(|r| r.name == output.format()) {
            let known: Vec<&str> = COMPARISON_REPORTS.iter().map(|r| r.name).collect();
            return Err(Failure::usage(miette::miette!(
                "a comparison cannot be written as {}; expected one of {}",
                output.format(),
                known.join(", ")
            )));
        }
        output.check()?;
    }
    let (a, b) = sides(args, global)?;
    if !paired(&a.record, &b.record) {
        let label = a.label.as_deref().unwrap_or(&a.record.run.id);
        args.judging.same(&a.record.run, label, &b.record.run)?;
    }
    let comparison = args.judging.compare(
        (&a.record, a.label.as_deref()),
        (&b.record, b.label.as_deref()),
        &noise_of(&b.record.run, global)?,
    );
    if args.output.iter().all(|o| !o.is_stdout()) && global.quiet < 2 {
        out(render(
            "terminal",
            &comparison,
            &options(stdout_color(), global.verbose > 0),
        )?);
    }
    for output in &args.output {
        let bytes = render(output.format(), &comparison, &RenderOptions::default())?;
        output.write(bytes).map_err(Failure::environment)?;
    }
    Ok(Exit::of(comparison.verdict(), args.strict))
}

fn render(format: &str, comparison: &RunComparison, options: &RenderOptions) -> Result<Vec<u8>, Failure> {
    let report = COMPARISON_REPORTS
        .iter()
        .find(|r| r.name == format)
        .ok_or_else(|| Failure::usage(miette::miette!("unknown format \"{format}\"")))?;
    (report.render)(comparison, options).map_err(Failure::environment)
}

/// The two records that the arguments stand for.
fn sides(args: &CompareArgs, global: &Global) -> Result<(Referred, Referred), Failure> {
    let (a, b) = match (&args.baseline, args.runs.as_slice()) {
        (Some(name), []) => (name.as_str(), "latest"),
        (Some(name), [run]) => (name.as_str(), run.as_str()),
        (None, [a, b]) => (a.as_str(), b.as_str()),
        (Some(_), _) => {
            return Err(Failure::usage(miette::miette!(
                "with --baseline there is one RUN at most: the one that is judged"
            )));
        }
        (None, _) => {
            return Err(Failure::usage(miette::miette!(
                "compare takes two runs, or --baseline NAME and one; such as `eventbench compare latest~1 latest`"
            )));
        }
    };
    // A name may stand for runs of several suites: the other side then says which one is meant.
    let suite = |side: &Referred| side.record.run.suite.clone();
    match records::load(b, None, global) {
        Ok(judged) => Ok((records::load(a, Some(&suite(&judged)), global)?, judged)),
        Err(failure) => {
            let Ok(base) = records::load(a, None, global) else {
                return Err(failure);
            };
            let judged = records::load(b, Some(&suite(&base)), global)?;
            Ok((base, judged))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    #[test]
    fn the_two_sides_of_a_duel_are_known_by_each_other() {
        let second = golden::compared();
        let mut first = golden::latency("20251114-192019-base", 1_763_148_019_000, 1.0, 5);
        assert!(!paired(&first, &second), "only one names the other");
        first.run.pair = second.run.pair.clone().map(|mut p| {
            p.partner = second.run.id.clone();
            p.first = true;
            p
        });
        assert!(paired(&first, &second) && paired(&second, &first));
        assert!(!paired(&first, &first) && !paired(&golden::all_pass(), &second));
    }

    #[test]
    fn margins_are_shares_above_zero() {
        assert_eq!(margin("5%"), Ok(0.05));
        assert_eq!(margin("0.03"), Ok(0.03));
        for wrong in ["0%", "-5%", "5ms", "many"] {
            margin(wrong).unwrap_err();
        }
    }
}
