//! A search for the highest rate at which limits hold: one trial is a whole search, each step a measurement of its own on
//! a fresh stage.

use crate::engine::Engine;
use crate::trial::{RunError, TrialResult, run_trial};
use eventbench_core::event::{Event, Sink};
use eventbench_core::judge::{Limit, Verdict, judge_limit};
use eventbench_core::plan::{Benchmark, Halving, Plan, Search};
use eventbench_core::units::{Rate, Unit};

/// Runs one search. The result is the measurement at the highest rate that held, with that rate as `knee.rate`; where the
/// lowest did not hold, it is that one, without the figure.
pub fn search_trial(
    engine: &Engine<'_>,
    plan: &Plan,
    benchmark: &Benchmark,
    search: &Search,
    number: u32,
    sink: &mut dyn Sink,
) -> Result<TrialResult, RunError> {
    let limits: Vec<Limit> = search
        .holds
        .iter()
        .map(Limit::parse)
        .collect::<Result<_, _>>()
        .map_err(|cause| RunError::Load {
            benchmark: benchmark.name.value.clone(),
            cause,
        })?;
    let mut halving = Halving::of(search);
    let mut best: Option<TrialResult> = None;
    let mut tried = Vec::new();
    while let Some(rate) = halving.next() {
        let mut step = benchmark.clone();
        step.load.value.rate = Some(Rate(rate));
        let mut result = run_trial(engine, plan, &step, "", number, sink)?;
        let mut held = holds(&limits, &result);
        if !held && !result.interrupted && !engine.stopped() {
            // A stall of the machine is not the knee of the system: a rate fails when it fails twice.
            result = run_trial(engine, plan, &step, "", number, sink)?;
            held = holds(&limits, &result);
        }
        let shown = Unit::PerSecond.show(rate);
        tried.push(format!("{shown} {}", if held { "held" } else { "did not hold" }));
        sink.hear(Event::Note(format!("{}: {}", benchmark.name.value, tried.join(", "))));
        let interrupted = result.interrupted;
        halving.note(rate, held);
        if held || best.is_none() {
            // What failed at this rate, the generator among it, is the answer of the search and no fault of the run.
            if !held {
                result.checks.retain(|c| c.holds != Some(false));
                result.record.errors.clear();
            }
            best = Some(result);
        }
        if interrupted || engine.stopped() {
            if let Some(best) = &mut best {
                best.interrupted = true;
            }
            break;
        }
    }
    let mut best = best.ok_or_else(|| RunError::Load {
        benchmark: benchmark.name.value.clone(),
        cause: "the search has no rate to try".to_owned(),
    })?;
    if let Some(knee) = halving.holds.filter(|_| !best.interrupted) {
        best.record.values.gauge("knee.rate", knee);
    }
    Ok(best)
}

/// Whether everything held: the limits, the instrument, the books.
fn holds(limits: &[Limit], result: &TrialResult) -> bool {
    let values = &result.record.values;
    result.record.errors.is_empty()
        && !result.interrupted
        && result.checks.iter().all(|c| c.holds != Some(false))
        && limits
            .iter()
            .all(|limit| judge_limit(limit, &[values], 0.0, None).outcome == Verdict::Pass)
}
