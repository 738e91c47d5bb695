//! The baseline of a run: found and held against the plan before the load, compared with after it.

use super::RunArgs;
use super::head::head;
use crate::cli::compare::noise_of;
use crate::cli::records::{self, Referred};
use crate::cli::{Failure, Global, error};
use crate::exit::Exit;
use eventbench_core::plan::Plan;
use eventbench_core::record::RunRecord;
use eventbench_engine::provision::Found;
use eventbench_report::printable;
use eventbench_store::History;

/// What each plan is compared with, in their order; nothing without `--baseline`.
///
/// # Errors
/// When there is no such baseline of a suite, with those that there are.
pub(super) fn baselines(args: &RunArgs, global: &Global, plans: &[Plan]) -> Result<Vec<Option<Referred>>, Failure> {
    let Some(name) = &args.baseline else {
        return Ok(plans.iter().map(|_| None).collect());
    };
    plans
        .iter()
        .map(|plan| {
            let suite = &plan.suite.name;
            // The run that is to become the baseline of a project's configuration has none to be compared with yet.
            if args.baseline_of_file
                && args.save_baseline.as_ref() == Some(name)
                && records::find(name, Some(suite), global)?.is_none()
            {
                error(&format!(
                    "note: this run of suite {} becomes the baseline \"{}\"; there is none yet to compare it with",
                    printable(suite),
                    printable(name)
                ));
                return Ok(None);
            }
            baseline(name, suite, global).map(Some)
        })
        .collect()
}

fn baseline(name: &str, suite: &str, global: &Global) -> Result<Referred, Failure> {
    let Some(found) = records::find(name, Some(suite), global)? else {
        let history = History::open_existing(&global.history).map_err(Failure::environment)?;
        return Err(Failure::usage(miette::miette!(
            "there is no baseline \"{}\" of suite {suite}; {}",
            printable(name),
            records::there_is(&history, Some(suite))?
        )));
    };
    if found.record.run.suite != suite {
        return Err(Failure::usage(miette::miette!(
            "\"{}\" is a run of suite {}, which says nothing of suite {suite}",
            printable(name),
            printable(&found.record.run.suite)
        )));
    }
    Ok(found)
}

/// Refuses, before any load, to compare what is known not to be alike: another machine, other versions, another plan.
pub(super) fn alike(args: &RunArgs, plan: &Plan, nats: Option<&Found>, base: &Referred) -> Result<(), Failure> {
    let label = base.label.as_deref().unwrap_or(&base.record.run.id);
    args.judging.same(&base.record.run, label, &head(plan, nats))
}

/// Compares a finished run with its baseline and keeps that with the record. The exit code where it could not be done.
pub(super) fn compare(
    args: &RunArgs,
    global: &Global,
    base: &Referred,
    record: &mut RunRecord,
    history: Option<&mut History>,
) -> Result<Option<Exit>, Failure> {
    if record.benchmarks.is_empty() {
        return Ok(None);
    }
    let label = base.label.as_deref();
    // What the load itself has shown, such as the version of a broker that somebody else started.
    if let Err(refused) = args
        .judging
        .same(&base.record.run, label.unwrap_or(&base.record.run.id), &record.run)
    {
        error(&format!("{:?}", refused.report));
        return Ok(Some(refused.exit));
    }
    let comparison = args
        .judging
        .compare((&base.record, label), (record, None), &noise_of(&record.run, global)?);
    let kept = history.map_or(Ok(()), |h| h.put_comparison(&record.run.id, &comparison));
    record.comparison = Some(comparison);
    Ok(kept.err().map(|e| {
        error(&format!("error: {e}"));
        Exit::Environment
    }))
}
