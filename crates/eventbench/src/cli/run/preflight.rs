//! Before any load: the plans of the suites asked for, and the refusal of everything that can be refused.

use super::RunArgs;
use crate::cli::settings::{self, Setting};
use crate::cli::{Failure, Global};
use crate::host::{Machine, laid_by};
use eventbench_core::host::Host as _;
use eventbench_core::judge::{Limit, from_environment};
use eventbench_core::plan::{Overrides, Plan, Selection, resolve};
use eventbench_engine::expected_seconds;
use eventbench_store::History;

/// The plans of all suites asked for.
pub(super) fn plan(args: &RunArgs) -> Result<Vec<Plan>, Failure> {
    let selection = Selection {
        only: args.only.clone(),
        skip: args.skip.clone(),
    };
    let overrides = Overrides {
        rate: args.rate,
        duration: args.duration,
        trials: args.trials,
        users: args.users,
        spawn_rate: args.spawn_rate,
        seed: args.seed,
        placement: args.placement.clone(),
    };
    let names = if args.suites.is_empty() {
        vec!["event-bus".to_owned()]
    } else {
        args.suites.clone()
    };
    let mut plans = Vec::new();
    for name in names {
        plans.push(plan_of(&name, &args.set, &args.profile, &selection, &overrides)?);
    }
    Ok(plans)
}

/// The plan of one suite, with everything refused that makes it none.
pub(crate) fn plan_of(
    name: &str,
    settings: &[Setting],
    profile: &str,
    selection: &Selection,
    overrides: &Overrides,
) -> Result<Plan, Failure> {
    let (suite, source) = settings::load_with(name, settings)?;
    // A file of one's own need not have profiles; its durations are then what they are.
    let profile = if suite.profile.is_empty() && profile == "quick" {
        "standard"
    } else {
        profile
    };
    if suite.profile.is_empty() && profile != "standard" {
        return Err(Failure::usage(miette::miette!(
            "suite \"{}\" has no profile \"{profile}\", nor any other; leave --profile out",
            suite.suite.name
        )));
    }
    let mut plan =
        resolve(&suite, &source, profile, selection, overrides).map_err(|e| Failure::usage(miette::miette!("{e}")))?;
    settings::note(&mut plan, settings);
    faults_in_time(&plan)?;
    eventbench_engine::placement::settle(&plan).map_err(|e| Failure::usage(miette::miette!("{e}")))?;
    let bounds = bounds_of_file(&plan)?;
    plan.overrides.extend(bounds);
    Ok(plan)
}

/// Refuses bounds of the environment that are no numbers. Those that the project's configuration sets are given, to be
/// written into the record: what is in the environment shows beside each limit, but not that a file put it there.
fn bounds_of_file(plan: &Plan) -> Result<Vec<String>, Failure> {
    let mut bounds = Vec::new();
    for entry in plan.benchmarks.iter().flat_map(|b| &b.limits) {
        let replaced = Limit::parse(entry)
            .and_then(|mut limit| from_environment(&mut limit, |name| Machine.env(name)))
            .map_err(|e| Failure::usage(miette::miette!("{e}")))?;
        let named = replaced.as_deref().and_then(|by| by.split_once('='));
        let placed = named.and_then(|(name, value)| Some(format!("{name}={value} ({})", laid_by(name)?)));
        bounds.extend(placed.filter(|bound| !bounds.contains(bound)));
    }
    Ok(bounds)
}

/// Refuses a plan whose profile or flags have put a fault behind the end of its load, where it would never be done.
fn faults_in_time(plan: &Plan) -> Result<(), Failure> {
    for benchmark in &plan.benchmarks {
        let Some(end) = benchmark.load.duration else { continue };
        if let Some(fault) = benchmark.fault.iter().find(|f| f.at.ns() >= end.ns()) {
            return Err(Failure::usage(miette::miette!(
                "benchmark \"{}\": the fault \"{} {}\" at {} comes after the load has ended ({end}); run it longer, or leave it out with --skip",
                benchmark.name.value,
                fault.action.word(),
                fault.target(),
                fault.at,
            )));
        }
    }
    Ok(())
}

/// Refuses what can be refused before any load: outputs that cannot be written, a history that cannot be opened.
pub(super) fn preflight(args: &RunArgs, global: &Global, plans: &[Plan]) -> Result<Option<History>, Failure> {
    if plans.len() > 1 && !args.output.is_empty() {
        return Err(Failure::usage(miette::miette!(
            "each suite has a report of its own, so the last of {} would overwrite the others; run them one at a time, or render each afterwards with `eventbench report`",
            plans.len()
        )));
    }
    for output in &args.output {
        output.check()?;
    }
    args.judging.check()?;
    if let (None, Some(flag)) = (&args.baseline, args.judging.given()) {
        return Err(Failure::usage(miette::miette!(
            "{flag} says how a run is compared, so it needs something to compare with: --baseline NAME"
        )));
    }
    if args.no_history {
        return Ok(None);
    }
    History::open(&global.history).map(Some).map_err(Failure::environment)
}

/// What would be run, for `--dry-run`.
pub(super) fn describe(plan: &Plan) -> String {
    let mut text = format!(
        "{} ({}), about {:.0} s:\n",
        plan.suite.name,
        plan.profile,
        expected_seconds(plan)
    );
    for b in &plan.benchmarks {
        text.push_str(&format!(
            "  {:<28} {:>2} × {}\n",
            b.name.value,
            b.trials.unwrap_or(3),
            b.load.describe()
        ));
        for limit in &b.limits {
            text.push_str(&format!("      {}\n", limit.that));
        }
    }
    text
}
