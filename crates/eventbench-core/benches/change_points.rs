//! How long the change points of a long history take: 20 metrics of 10,000 runs each, with a step every 500 runs, without
//! any, and with a drift, for which nearly every place is a candidate.

// A benchmark prints its figures, and reads its own clock.
#![allow(clippy::disallowed_macros, clippy::disallowed_methods)]

use eventbench_core::judge::change_points::{ChangeOptions, change_points};
use eventbench_core::mix::{mix3, unit};
use std::time::Instant;

const METRICS: u64 = 20;
const RUNS: u64 = 10_000;

/// A series as a function of its index.
type Shape = fn(u64) -> f64;

fn main() {
    let shapes: [(&str, Shape); 3] = [
        ("a step of 10 % every 500 runs", |run| {
            100.0 + 10.0 * ((run / 500) % 2) as f64
        }),
        ("noise alone", |_| 100.0),
        ("a drift of 1 % every 50 runs", |run| {
            100.0 * (1.0 + run as f64 / 5_000.0)
        }),
    ];
    for (name, level) in shapes {
        let metrics: Vec<Vec<f64>> = (0..METRICS)
            .map(|metric| {
                // The sum of six uniform values is normal enough.
                let noise = |run| (0..6).map(|k| unit(mix3(metric, run, k)) - 0.5).sum::<f64>();
                (0..RUNS).map(|run| level(run) + 2.0 * noise(run)).collect()
            })
            .collect();
        let begun = Instant::now();
        let changes: usize = metrics
            .iter()
            .map(|values| change_points(values, &ChangeOptions::default()).len())
            .sum();
        println!(
            "{name}: {METRICS} metrics of {RUNS} runs: {:.3} s, {changes} changes",
            begun.elapsed().as_secs_f64()
        );
    }
}
