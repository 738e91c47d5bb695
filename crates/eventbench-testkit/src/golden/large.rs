//! Records of the sizes that reports must still be quick and small with.

use super::simulate::Simulated;
use super::{mark, run};
use eventbench_core::metric::{MetricKey, MetricValue, Series};
use eventbench_core::mix::{mix3, unit};
use eventbench_core::observe::Interval;
use eventbench_core::record::{BenchmarkRecord, RunRecord, TrialRecord};

/// The place of the one slow second in the timeline of [`many_intervals`].
pub const MANY_INTERVALS_PEAK: usize = 61_803;
const PROCESSES: [&str; 3] = ["nats", "store", "gateway"];

/// Twenty benchmarks of one hour each, with readings of three processes every second and a fault in the middle.
pub fn one_hour() -> RunRecord {
    let benchmarks = (0..20u64).map(|n| {
        let mut benchmark = long(n, 3_600);
        benchmark.name = format!("hour-{:02}", n + 1);
        benchmark
    });
    let mut record = run("20251116-212223-hour", benchmarks.collect());
    record.run.seconds = Some(72_400.0);
    record
}

/// One benchmark with a timeline of 100,000 intervals, one of which holds the longest time by far.
pub fn many_intervals() -> RunRecord {
    let mut benchmark = long(777, 100_000);
    benchmark.trials[0].timeline[MANY_INTERVALS_PEAK].max_ns = Some(9e9);
    run("20251117-222324-many", vec![benchmark])
}

fn long(n: u64, seconds: u32) -> BenchmarkRecord {
    let simulated = Simulated {
        seconds: 8,
        rate: 500,
        trials: 1,
        ..Simulated::new(200 + n)
    };
    let mut benchmark = simulated.benchmark(
        "soak",
        "EB-8",
        "memory",
        &[
            "must mean < 5ms",
            "should p(95) < 10ms",
            "should rss{process:store}.increase < 10%",
            "must lost == 0",
        ],
    );
    benchmark.trials.iter_mut().for_each(|trial| stretch(trial, n, seconds));
    benchmark
}

/// The simulated seconds over and over, each a little different, so that no two columns of a chart are alike.
fn stretch(trial: &mut TrialRecord, n: u64, seconds: u32) {
    let simulated = std::mem::take(&mut trial.timeline);
    trial.timeline = (0..seconds)
        .map(|second| {
            let pattern = &simulated[second as usize % simulated.len()];
            let draw = |what: u64| unit(mix3(n, u64::from(second), what));
            let busy = 0.8 + 0.4 * draw(1);
            Interval {
                second,
                done: (pattern.done as f64 * busy) as u64,
                p50_ns: pattern.p50_ns.map(|v| v * (0.9 + 0.2 * draw(2))),
                p99_ns: pattern.p99_ns.map(|v| v * (0.9 + 0.4 * draw(3))),
                max_ns: pattern.max_ns.map(|v| v * (1.4 + draw(4))),
                ..pattern.clone()
            }
        })
        .collect();
    for process in PROCESSES {
        let points = (0..seconds)
            .map(|s| {
                (
                    f64::from(s),
                    2e7 + 3_000.0 * f64::from(s) + 4096.0 * (64.0 * unit(mix3(n, u64::from(s), 5))).floor(),
                )
            })
            .collect();
        trial.values.0.insert(
            MetricKey::tagged("rss", "process", process),
            MetricValue::Series(Series {
                points,
                measured_from_s: 1.0,
            }),
        );
    }
    trial.measured_s = f64::from(seconds) - 1.0;
    let middle = f64::from(seconds / 2);
    trial.marks = vec![
        mark(middle, "kill store"),
        mark(middle + 0.5, "start store"),
        mark(middle + 1.0, "store ready"),
    ];
}
