//! A run: the plan's benchmarks one after the other, each handed over as soon as it is judged.

use crate::benchmark::{BenchmarkResult, run_benchmark};
use crate::engine::Engine;
use crate::trial::RunError;
use eventbench_core::event::{Event, Sink};
use eventbench_core::plan::{Benchmark, Plan};
use eventbench_core::record::BenchmarkRecord;
use eventbench_core::units::Unit;

/// What a run came to, beside the records that were handed over.
#[derive(Debug, Default)]
pub struct Finished {
    /// Whether every planned benchmark was run to its end.
    pub complete: bool,
    /// The broker's version.
    pub broker_version: Option<String>,
    /// Why it broke off, if not by the user.
    pub error: Option<RunError>,
}

impl Engine<'_> {
    /// Runs the plan. Each record is handed to `keep` at once; when that fails, the run ends with its message.
    pub fn run<E>(
        &self,
        plan: &Plan,
        sink: &mut dyn Sink,
        mut keep: impl FnMut(usize, BenchmarkRecord) -> Result<(), E>,
    ) -> Result<Finished, E> {
        let mut finished = Finished::default();
        for (index, benchmark) in plan.benchmarks.iter().enumerate() {
            if self.stopped() {
                return Ok(finished);
            }
            sink.hear(Event::BenchmarkStarted {
                number: index + 1,
                name: benchmark.name.value.clone(),
                load: benchmark.load.describe(),
                trials: trials(benchmark),
            });
            match run_benchmark(self, plan, benchmark, sink) {
                Ok(BenchmarkResult { record, broker_version }) => {
                    finished.broker_version = broker_version.or(finished.broker_version);
                    let interrupted = record.interrupted;
                    sink.hear(Event::BenchmarkFinished {
                        name: record.name.clone(),
                        verdict: record.verdict,
                        summary: summary(&record),
                        outline: Box::new(record.outline()),
                    });
                    keep(index, record)?;
                    if interrupted {
                        return Ok(finished);
                    }
                }
                Err(error) => {
                    finished.error = Some(error);
                    return Ok(finished);
                }
            }
        }
        finished.complete = true;
        Ok(finished)
    }
}

fn trials(benchmark: &Benchmark) -> u32 {
    benchmark.trials.unwrap_or(3) * if benchmark.against.is_some() { 2 } else { 1 }
}

/// About how long a plan takes: its phases, and half a second around each trial.
pub fn expected_seconds(plan: &Plan) -> f64 {
    plan.benchmarks
        .iter()
        .map(|b| {
            let phases = b.load.warmup.map_or(0.0, |d| d.0) + b.load.duration.map_or(0.0, |d| d.0);
            let steps = b.search.as_ref().map_or(1, |search| search.steps());
            f64::from(trials(b) * steps) * (phases / 1e9 + 0.4)
        })
        .sum()
}

/// The figures that a person wants first, in one line.
fn summary(record: &BenchmarkRecord) -> String {
    let mut parts = Vec::new();
    let value = |metric: &str, stat: &str| {
        record
            .figure(metric, &[], stat)
            .and_then(|f| f.value.map(|v| f.unit.show(v)))
    };
    if let Some(error) = &record.error {
        return error.lines().next().unwrap_or_default().to_owned();
    }
    if let Some(mean) = value("response_time", "mean") {
        parts.push(format!("mean {mean}"));
    }
    if let Some(p99) = value("response_time", "p(99)") {
        parts.push(format!("p99 {p99}"));
    }
    if let Some(rate) = value("delivered.rate", "value") {
        parts.push(rate);
    }
    for (metric, label) in [
        ("cpu.overhead", "CPU overhead"),
        ("rss.overhead", "memory overhead"),
        ("downtime", "down"),
        ("restart", "restart"),
    ] {
        if let Some(shown) = value(metric, "value") {
            parts.push(format!("{label} {shown}"));
        }
    }
    let lost = record
        .figure("lost", &[], "value")
        .and_then(|f| f.trials.iter().flatten().copied().reduce(f64::max))
        .unwrap_or(0.0);
    if lost > 0.0 {
        parts.push(format!("{} lost", Unit::Count.show(lost)));
    }
    parts.join(" · ")
}
