//! A duel: two variants of one plan, benchmark by benchmark, their trials in turn, so that whatever changes in the
//! machine meanwhile meets both alike.

use crate::benchmark::{judge, merge_checks};
use crate::engine::Engine;
use crate::trial::{RunError, TrialResult, run_trial};
use eventbench_core::event::{Event, Sink};
use eventbench_core::mix::mix2;
use eventbench_core::plan::{Benchmark, Plan};
use eventbench_core::record::{BenchmarkRecord, CheckResult, TrialRecord};

/// One of the two variants.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// What people call it.
    pub label: &'a str,
    /// With its own program and broker.
    pub engine: &'a Engine<'a>,
    /// The plan with its settings. Both sides' plans have the same benchmarks in the same order.
    pub plan: &'a Plan,
}

/// One benchmark of both sides; trial n of one was run beside trial n of the other.
pub struct Bout {
    /// Of the first side.
    pub a: BenchmarkRecord,
    /// Of the second side.
    pub b: BenchmarkRecord,
    /// Pairs that were finished on both sides without an error.
    pub pairs: u32,
    /// What a pair took in seconds on average, start and end of broker and services included; 0 without pairs.
    pub pair_s: f64,
}

/// What a duel came to, beside the records that were handed over.
#[derive(Debug, Default)]
pub struct Dueled {
    /// Whether every benchmark was run to its end.
    pub complete: bool,
    /// Versions of the two brokers.
    pub broker_versions: [Option<String>; 2],
    /// Which side could not be run at all, and why.
    pub error: Option<(String, RunError)>,
}

/// Runs `pairs` pairs of trials of each benchmark, each trial on a fresh stage. Which side begins is drawn from the seed
/// for every other pair; the pair after it has the opposite order, so that each side begins equally often.
///
/// A trial that fails ends its benchmark on both sides. When the user stops, the pair under way is dropped and the
/// finished ones are kept.
///
/// # Errors
/// Those of `keep`, at once.
pub fn duel<E>(
    sides: [Side<'_>; 2],
    pairs: u32,
    seed: u64,
    sink: &mut dyn Sink,
    mut keep: impl FnMut(usize, Bout) -> Result<(), E>,
) -> Result<Dueled, E> {
    let mut dueled = Dueled::default();
    let both = sides[0].plan.benchmarks.iter().zip(&sides[1].plan.benchmarks);
    for (index, (of_a, of_b)) in both.enumerate() {
        if sides[0].engine.stopped() {
            return Ok(dueled);
        }
        sink.hear(Event::BenchmarkStarted {
            number: index + 1,
            name: of_a.name.value.clone(),
            load: of_a.load.describe(),
            trials: pairs,
        });
        let corners = [Corner::new(sides[0], of_a), Corner::new(sides[1], of_b)];
        match bout(
            corners,
            pairs,
            mix2(seed, index as u64),
            sink,
            &mut dueled.broker_versions,
        ) {
            Ok(bout) => {
                let stopped = sides[0].engine.stopped();
                sink.hear(Event::Note(format!(
                    "{}: {} pairs, {:.1} s each",
                    bout.a.name, bout.pairs, bout.pair_s
                )));
                if !bout.a.trials.is_empty() || !bout.b.trials.is_empty() {
                    keep(index, bout)?;
                }
                if stopped {
                    return Ok(dueled);
                }
            }
            Err(error) => {
                dueled.error = Some(error);
                return Ok(dueled);
            }
        }
    }
    dueled.complete = true;
    Ok(dueled)
}

/// About how long the pairs of a benchmark take, in seconds, before anything has been measured.
pub fn expected_pair_seconds(benchmark: &Benchmark) -> f64 {
    let phases = benchmark.load.warmup.map_or(0.0, |d| d.0) + benchmark.load.duration.map_or(0.0, |d| d.0);
    let trials = if benchmark.against.is_some() { 4.0 } else { 2.0 };
    trials * (phases / 1e9 + 0.4)
}

/// For each pair whether the second side begins: opposite within each two, drawn for each two.
fn begins_with_b(pairs: u32, seed: u64) -> impl Iterator<Item = bool> {
    (0..pairs).map(move |i| {
        let drawn = mix2(seed, u64::from(i / 2)) & 1 == 1;
        drawn != (i % 2 == 1)
    })
}

/// One side of one benchmark.
struct Corner<'a> {
    side: Side<'a>,
    benchmark: &'a Benchmark,
    /// The variant that the benchmark itself has as its baseline, which belongs to each trial.
    baseline: Option<Benchmark>,
    records: Vec<TrialRecord>,
    checks: Vec<CheckResult>,
    error: Option<String>,
}

/// What one side gives in one pair: one trial, or two where the benchmark has a baseline of its own.
#[derive(Default)]
struct Given {
    records: Vec<TrialRecord>,
    checks: Vec<CheckResult>,
    broker_version: Option<String>,
}

impl Given {
    fn failed(&self) -> bool {
        self.records.iter().any(|r| !r.errors.is_empty())
    }
}

impl<'a> Corner<'a> {
    fn new(side: Side<'a>, benchmark: &'a Benchmark) -> Self {
        Corner {
            side,
            benchmark,
            baseline: benchmark.baseline(),
            records: Vec::new(),
            checks: Vec::new(),
            error: None,
        }
    }

    fn baseline_name(&self) -> &str {
        self.benchmark.against.as_ref().map_or("", |a| a.name.as_str())
    }

    /// Runs the trials of pair `number`, counted from 1.
    fn go(&self, number: u32, sink: &mut dyn Sink) -> Result<Given, RunError> {
        let Side { label, engine, plan } = self.side;
        let own = (self.benchmark, "");
        let mut variants = vec![own];
        variants.extend(self.baseline.as_ref().map(|b| (b, self.baseline_name())));
        if number.is_multiple_of(2) {
            variants.reverse();
        }
        let mut given = Given::default();
        for (benchmark, variant) in variants {
            let load = &benchmark.load;
            sink.hear(Event::TrialStarted {
                number,
                variant: if variant.is_empty() {
                    label.to_owned()
                } else {
                    format!("{label}, {variant}")
                },
                expected_s: load.warmup.map_or(0.0, |d| d.0 / 1e9) + load.duration.map_or(0.0, |d| d.0 / 1e9),
            });
            let TrialResult {
                record,
                checks,
                broker_version,
                interrupted: _,
            } = run_trial(engine, plan, benchmark, variant, number, sink)?;
            given.records.push(record);
            given.broker_version = broker_version.or(given.broker_version);
            merge_checks(&mut given.checks, checks);
            if given.failed() || engine.stopped() {
                break;
            }
        }
        Ok(given)
    }

    fn take(&mut self, given: Given) {
        self.records.extend(given.records);
        merge_checks(&mut self.checks, given.checks);
    }

    fn judged(self, interrupted: bool) -> Result<BenchmarkRecord, (String, RunError)> {
        let (label, name) = (self.side.label.to_owned(), self.baseline_name().to_owned());
        judge(
            self.side.engine,
            self.side.plan,
            self.benchmark,
            self.records,
            self.checks,
            self.error,
            interrupted,
            name,
        )
        .map_err(|e| (label, e))
    }
}

fn bout(
    mut corners: [Corner<'_>; 2],
    pairs: u32,
    seed: u64,
    sink: &mut dyn Sink,
    broker_versions: &mut [Option<String>; 2],
) -> Result<Bout, (String, RunError)> {
    let engine = corners[0].side.engine;
    let begun_ns = engine.clock().now_ns();
    let (mut finished, mut ended_ns) = (0, begun_ns);
    'pairs: for (number, b_begins) in (1..).zip(begins_with_b(pairs, seed)) {
        let order = if b_begins { [1, 0] } else { [0, 1] };
        let mut given = [None, None];
        for which in order {
            if engine.stopped() {
                break 'pairs;
            }
            let corner = &mut corners[which];
            let result = corner.go(number, sink);
            if engine.stopped() {
                // Half a trial says nothing, and a pair that lacks one says nothing of the other.
                break 'pairs;
            }
            match result {
                Ok(trial) => given[which] = Some(trial),
                // Nothing was measured of this side yet, and nothing can be: the duel ends here.
                Err(e) if number == 1 => return Err((corner.side.label.to_owned(), e)),
                Err(e) => corner.error = Some(e.to_string()),
            }
            if corner.error.is_some() || given[which].as_ref().is_some_and(Given::failed) {
                break;
            }
        }
        let mut whole = true;
        for ((corner, given), version) in corners.iter_mut().zip(given).zip(&mut *broker_versions) {
            match given {
                Some(mut given) => {
                    whole &= !given.failed();
                    *version = given.broker_version.take().or(version.take());
                    corner.take(given);
                }
                None => whole = false,
            }
        }
        if !whole {
            // A system that broke once will break again; the next benchmark gets its chance.
            break;
        }
        finished += 1;
        ended_ns = engine.clock().now_ns();
    }
    // What was kept are whole trials, so the benchmark counts as far as it goes; the run's head says that it was stopped.
    let short = engine.stopped() && finished < pairs;
    let [a, b] = corners.map(|corner| {
        let mut record = corner.judged(short && finished == 0)?;
        if short {
            record.warnings.push(format!(
                "stopped after {finished} of {pairs} pairs: every interval is wider for that"
            ));
        }
        Ok(record)
    });
    Ok(Bout {
        a: a?,
        b: b?,
        pairs: finished,
        pair_s: if finished == 0 {
            0.0
        } else {
            ended_ns.saturating_sub(begun_ns) as f64 / 1e9 / f64::from(finished)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_begins_equally_often_whatever_the_seed() {
        let mut firsts = 0;
        for seed in 0..64 {
            let order: Vec<bool> = begins_with_b(20, seed).collect();
            assert_eq!(order.iter().filter(|b| **b).count(), 10, "{order:?}");
            assert!(order.chunks(2).all(|two| two[0] != two[1]), "{order:?}");
            assert_eq!(order, begins_with_b(20, seed).collect::<Vec<_>>());
            firsts += usize::from(order[0]);
        }
        assert!((10..54).contains(&firsts), "{firsts} of 64 begin with b");
    }
}
