//! `eventbench duel`: two variants, run in turn, and which of them is faster.

mod pairs;
mod variant;

pub(super) use pairs::{Fought, fight, place};
pub(super) use variant::{Choice, Common, Variant};

use super::compare::{Judging, gate, margin};
use super::progress::Progress;
use super::report::Output;
use super::run::args::duration;
use super::run::stop_on_signals;
use super::settings::Setting;
use super::{Failure, Global, error, out, stdout_color};
use crate::exit::Exit;
use clap::Args;
use eventbench_core::event::{Event, Sink as _};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::{NoiseBook, RunComparison, machine_key};
use eventbench_core::plan::{At, Overrides, PlacementSetting, Selection};
use eventbench_core::record::RunRecord;
use eventbench_core::units::{Duration, Ratio, Unit};
use eventbench_report::{COMPARISON_REPORTS, RenderOptions};
use eventbench_store::History;
use std::sync::atomic::Ordering;

/// Arguments of `duel`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DuelArgs {
    /// A suite by name, or a suite file
    #[arg(value_name = "SUITE|FILE", default_value = "event-bus")]
    suite: String,
    /// The first variant, which the other is compared with: the suite with this set; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = |text: &str| Choice::parse(text, "--a"))]
    a: Vec<Choice>,
    /// The second variant, which is judged
    #[arg(long, value_name = "KEY=VALUE", value_parser = |text: &str| Choice::parse(text, "--b"))]
    b: Vec<Choice>,
    /// What to call the first variant
    #[arg(long, value_name = "NAME")]
    a_label: Option<String>,
    /// What to call the second variant
    #[arg(long, value_name = "NAME")]
    b_label: Option<String>,
    /// Only these benchmarks: a name, a tag, a category or a requirement id, with * and ?; may be given again
    #[arg(long, value_name = "NAME|TAG")]
    only: Vec<String>,
    /// None of these
    #[arg(long, value_name = "NAME|TAG")]
    skip: Vec<String>,
    /// How much of the suite: quick, standard, soak, or one of the suite's own
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    profile: String,
    /// Trials of each variant
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// The change that is tolerated; the suite's or 5% if absent, and never less than what is visible on this machine
    #[arg(long, value_name = "N%", value_parser = margin)]
    margin: Option<f64>,
    /// A figure that decides, such as 'response_time p(50)'; at most three, the suite's or usual ones if absent
    #[arg(long, value_name = "FIGURE", value_parser = gate)]
    gate: Vec<String>,
    /// Another duration for every benchmark
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Which cores each role is kept to: pinned (the default, where the machine allows it), free, or core lists
    #[arg(long, value_name = "CORES")]
    placement: Option<PlacementSetting>,
    /// Another seed for payloads, random arrivals, the order within pairs and the intervals
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Another value for anything in the suite file, for both variants; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Also write the comparison, such as markdown=duel.md; FORMAT alone writes to standard output; may be given again
    #[arg(short, long = "output", value_name = "FORMAT=PATH")]
    output: Vec<Output>,
    /// Make what cannot be told apart fail
    #[arg(long)]
    strict: bool,
    /// Keep nothing in the history
    #[arg(long)]
    no_history: bool,
}

const EXAMPLES: &str = "\
What can be set for a variant, each with --a or --b:
  program=PATH            the program that {self} stands for in the service commands
  worktree=DIR            the release build in a source directory, as that program
  nats-server=PATH        another nats-server
  nats-version=2.11.3     another version of it, fetched when it is not there
  service.NAME.run=CMD    another command of a service; service.NAME.run+=WORD,WORD adds words to it
  KEY=VALUE               anything else in the suite file, as with --set

Examples:
  eventbench duel --only EB-1 --b service.store.run+=--batch-max,1
  eventbench duel --only latency --a worktree=../main --b worktree=. --pairs 20
  eventbench duel --only EB-1 --a nats-version=2.11.3 --b nats-version=2.15.1 -o markdown=duel.md
  eventbench duel my-suite.toml --b benchmark.query.load.connections=4

Each pair is one trial of either variant on a fresh broker, services and database, in an order drawn
from the seed. Both runs are kept in the history; `eventbench compare A B` gives the same answer again.

Exit codes: 0 when the second variant is not worse, or cannot be told apart (--strict: 1); 1 when it is
worse or a trial of it fails; 3 when a variant could not be run at all; 4 when there is nothing to
compare, as when a trial of the first fails; 5 when the instrument could not be trusted; 130 when
interrupted.";

/// Runs the command.
pub fn run(args: &DuelArgs, global: &Global) -> Result<Exit, Failure> {
    let mut variants = plan(args)?;
    let mut history = preflight(args, global)?;
    let stop = stop_on_signals()?;
    let mut progress = Progress::new(global.quiet);
    place(&mut variants, args.placement.is_some(), &mut progress)?;
    let [first, second] = &mut variants;
    first.provide(&mut progress)?;
    if second.shares_server_with(first) {
        second.nats.clone_from(&first.nats);
    } else {
        second.provide(&mut progress)?;
    }
    if variants[0].same_as(&variants[1]) {
        progress.hear(Event::Note(
            "both variants are the same, so whatever differs below is noise".to_owned(),
        ));
    }
    let fought = fight(&variants, args.pairs, history.as_mut(), &stop, &mut progress)?;
    progress.finish();
    let Fought { a, mut b, mut exit, .. } = fought;
    b.comparison = compared(&a, &b, args, history.as_ref())?;
    if let (Some(history), Some(comparison)) = (&mut history, &b.comparison)
        && let Err(e) = history.put_comparison(&b.run.id, comparison)
    {
        // The page below still tells what was found.
        error(&format!("error: {e}"));
        exit = Some(Exit::Environment);
    }
    report(args, global, &b)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(Exit::Interrupted);
    }
    Ok(exit.unwrap_or_else(|| Exit::of(verdict(&a, &b), args.strict)))
}

/// Both variants' plans, with everything refused that makes them none or no pair.
fn plan(args: &DuelArgs) -> Result<[Variant; 2], Failure> {
    if args.a.is_empty() && args.b.is_empty() {
        return Err(Failure::usage(miette::miette!(
            help = "for example\n  eventbench duel --only EB-1 --b service.store.run+=--batch-max,1\n  \
                    eventbench duel --only EB-1 --a nats-version=2.11.3 --b nats-version=2.15.1\n  \
                    eventbench duel --a worktree=../main --b worktree=.\n\
                    `eventbench duel --help` tells what can be set; `eventbench calibrate` runs the same against itself",
            "a duel needs a difference: give --a KEY=VALUE, --b KEY=VALUE, or both"
        )));
    }
    let common = Common {
        suite: &args.suite,
        profile: &args.profile,
        selection: Selection {
            only: args.only.clone(),
            skip: args.skip.clone(),
        },
        overrides: Overrides {
            duration: args.duration,
            trials: Some(args.pairs),
            seed: args.seed,
            placement: args.placement.clone(),
            ..Overrides::default()
        },
        settings: &args.set,
    };
    let mut variants = [
        Variant::new(&common, &args.a, args.a_label.as_deref())?,
        Variant::new(&common, &args.b, args.b_label.as_deref())?,
    ];
    let names = |v: &Variant| -> Vec<String> { v.plan.benchmarks.iter().map(|b| b.name.value.clone()).collect() };
    let (of_a, of_b) = (names(&variants[0]), names(&variants[1]));
    if of_a != of_b {
        return Err(Failure::usage(miette::miette!(
            "the variants have different benchmarks, {} and {}, so nothing can be compared; leave their names and tags as they are",
            of_a.join(", "),
            of_b.join(", ")
        )));
    }
    if variants[0].label == variants[1].label {
        for (variant, side) in variants.iter_mut().zip(["a", "b"]) {
            variant.label = format!("{side}: {}", variant.label);
        }
    }
    for variant in &mut variants {
        // Written into the plan, so that a later comparison of the two records is made by the same rule.
        let plan = &mut variant.plan;
        if !args.gate.is_empty() {
            let unplaced = |gate: &String| At {
                value: gate.clone(),
                span: 0..0,
            };
            plan.suite.gate = args.gate.iter().map(unplaced).collect();
            plan.overrides.push(format!("gate = {}", args.gate.join(", ")));
        }
        if let Some(margin) = args.margin {
            plan.suite.margin = Some(Ratio(margin));
            plan.overrides.push(format!("margin = {}", Unit::Ratio.show(margin)));
        }
    }
    Ok(variants)
}

/// Refuses outputs that cannot be written and a history that cannot be opened.
fn preflight(args: &DuelArgs, global: &Global) -> Result<Option<History>, Failure> {
    judging(args).check()?;
    for output in &args.output {
        let known: Vec<&str> = COMPARISON_REPORTS.iter().map(|r| r.name).collect();
        if !known.contains(&output.format()) {
            return Err(Failure::usage(miette::miette!(
                "a comparison has no format \"{}\", only {}; `eventbench report RUN -o {}` renders either run",
                output.format(),
                known.join(", "),
                output.format()
            )));
        }
        output.check()?;
    }
    if args.no_history {
        return Ok(None);
    }
    History::open(&global.history).map(Some).map_err(Failure::environment)
}

/// How the two are compared: as `eventbench compare` would.
fn judging(args: &DuelArgs) -> Judging {
    Judging {
        margin: args.margin,
        gate: args.gate.clone(),
        ..Judging::default()
    }
}

/// Compares the two records with what is known of this machine's noise; `None` where no pair was finished.
fn compared(
    a: &RunRecord,
    b: &RunRecord,
    args: &DuelArgs,
    history: Option<&History>,
) -> Result<Option<RunComparison>, Failure> {
    if a.benchmarks.is_empty() || b.benchmarks.is_empty() {
        return Ok(None);
    }
    let noise = match history {
        Some(history) => history.noise(&machine_key(&b.run)).map_err(Failure::environment)?,
        None => NoiseBook::new(),
    };
    Ok(Some(judging(args).compare((a, None), (b, None), &noise)))
}

/// Prints the page and writes the outputs asked for.
fn report(args: &DuelArgs, global: &Global, b: &RunRecord) -> Result<(), Failure> {
    let Some(comparison) = &b.comparison else {
        error("no pair was finished, so there is nothing to compare");
        return Ok(());
    };
    let render = |format: &str, options: &RenderOptions| {
        let report = COMPARISON_REPORTS
            .iter()
            .find(|r| r.name == format)
            .ok_or_else(|| format!("a comparison has no format \"{format}\""))?;
        (report.render)(comparison, options).map_err(|e| e.to_string())
    };
    if global.quiet < 2 && !args.output.iter().any(Output::is_stdout) {
        let options = super::report::options(stdout_color(), global.verbose > 0);
        out(render("terminal", &options).map_err(Failure::environment)?);
    }
    let written = |output: &Output| output.write(render(output.format(), &RenderOptions::default())?);
    let failed: Vec<String> = args.output.iter().filter_map(|o| written(o).err()).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::environment(failed.join("\n")))
    }
}

/// What the duel comes to. Limits have no say in it: the question is which variant is better, not whether either is good.
/// But figures of an instrument that could not be trusted answer nothing, and a variant that breaks is no faster one.
fn verdict(a: &RunRecord, b: &RunRecord) -> Verdict {
    let benchmarks = |record: &RunRecord| {
        record
            .benchmarks
            .iter()
            .map(|x| (x.verdict, x.error.is_some()))
            .collect::<Vec<_>>()
    };
    let both = [benchmarks(a), benchmarks(b)];
    if both.iter().flatten().any(|(verdict, _)| *verdict == Verdict::Invalid) {
        return Verdict::Invalid;
    }
    let compared = b.comparison.as_ref().map_or(Verdict::NoData, RunComparison::verdict);
    let broke = |side: usize| both[side].iter().any(|(_, error)| *error);
    match (broke(0), broke(1)) {
        (_, true) => compared.max(Verdict::Fail),
        (true, false) => compared.max(Verdict::NoData),
        (false, false) => compared,
    }
}
