//! Advisory rows: every other figure with a direction. Among so many some move by chance, so their p-values are corrected
//! for their number, and they have no say in the verdict.

use super::decide::{Margin, decide};
use super::effect::Sample;
use super::holm::holm;
use super::rank::{rank_sum, signed_rank};
use super::runs::{Both, Task};
use super::side::{Side, same, sample};
use super::{ComparedRow, Decision, Role};
use crate::judge::Figure;
use crate::metric::{Better, Statistic};

/// Statistics that are no news by themselves, and why.
const NO_NEWS: &[(&str, &str)] = &[
    ("count", "follows the rate and the duration that the plan asks for"),
    ("min", "one sample, and the one that says least of what users wait for"),
    (
        "stddev",
        "moves with the mean and the largest, which have rows of their own",
    ),
    (
        "first",
        "where a reading starts; the mean and the largest have rows of their own",
    ),
    ("last", "where a reading ends; the slope says where it goes"),
];

/// Metrics that say how the instrument fared, not the system.
const OF_THE_INSTRUMENT: &[&str] = &["lateness", "resolution"];

/// The process name under which the instrument's own readings stand.
const INSTRUMENT: &str = "eventbench";

fn wanted(figure: &Figure) -> bool {
    figure.better != Better::Neutral
        && NO_NEWS.iter().all(|(stat, _)| figure.stat != *stat)
        && !OF_THE_INSTRUMENT.contains(&figure.metric.as_str())
        && figure.tags.get("process").is_none_or(|p| p != INSTRUMENT)
}

/// The advisory rows of all benchmarks; `deciding` are the rows that decide, which are not said twice.
pub(super) fn rows(task: &Task<'_>, benchmarks: &[Both<'_>], deciding: &[ComparedRow]) -> Vec<ComparedRow> {
    let mut rows = Vec::new();
    let mut samples: Vec<Option<Sample>> = Vec::new();
    for both in benchmarks.iter().filter(|both| both.unfit.is_none()) {
        let (Some(a), Some(b)) = (both.a, both.b) else { continue };
        for figure in a.figures.iter().filter(|f| wanted(f) && f.value.is_some()) {
            let (key, Some(stat)) = (figure.key(), Statistic::parse(&figure.stat)) else {
                continue;
            };
            let said = |r: &ComparedRow| {
                r.benchmark == both.name && r.metric == figure.metric && r.tags == figure.tags && same(&r.stat, &stat)
            };
            if deciding.iter().any(said) {
                continue;
            }
            let mut row = task.blank(both.name, &key, &stat, Role::Advisory);
            row.better = figure.better;
            let sides = (Side::of(a, &key, &stat), Side::of(b, &key, &stat));
            let (Some(of_a), Some(of_b)) = sides else {
                row.words = format!("{} no longer has it", task.names().1);
                rows.push(row);
                samples.push(None);
                continue;
            };
            let sample = sample(&of_a, &of_b, task.options.paired);
            let mut values = sample.a.iter().chain(&sample.b);
            let first = values.next().copied();
            if values.all(|v| Some(*v) == first) {
                // One value throughout, as of losses that there were none of, informs nobody.
                continue;
            }
            row.fill(&sample);
            row.p = if sample.paired {
                signed_rank(&sample.inner_pairs())
            } else {
                rank_sum(&sample.a, &sample.b)
            };
            rows.push(row);
            samples.push(Some(sample));
        }
    }
    correct(&mut rows);
    for (row, sample) in rows.iter_mut().zip(&samples) {
        if let Some(sample) = sample {
            judge(task, row, sample);
        }
        task.warn(row);
    }
    rows
}

/// Puts the corrected p-value in the place of each.
fn correct(rows: &mut [ComparedRow]) {
    let p_values: Vec<f64> = rows.iter().filter_map(|r| r.p).collect();
    for (row, corrected) in rows.iter_mut().filter(|r| r.p.is_some()).zip(holm(&p_values)) {
        row.p = Some(corrected);
    }
}

fn judge(task: &Task<'_>, row: &mut ComparedRow, sample: &Sample) {
    let confidence = task.resampling.confidence;
    let Some(effect) = sample.quick_effect(confidence) else {
        return;
    };
    let margin = Margin {
        asked: task.margin_on(sample.scale, row.unit, row.a.unwrap_or(0.0)),
        by_user: false,
        visible: None,
    };
    let changed = row.p.is_some_and(|p| p <= 1.0 - confidence);
    // What has changed for sure is judged by its size alone, what has not may still be the same for sure.
    let exactly = super::effect::Effect {
        interval: Some((effect.value, effect.value)),
        ..effect
    };
    row.decision = match (
        changed,
        decide(row.better, sample.scale, exactly, &margin, sample.size()),
    ) {
        (true, decision) => decision,
        (false, _) => match decide(row.better, sample.scale, effect, &margin, sample.size()) {
            Decision::Same => Decision::Same,
            _ => Decision::Inconclusive { more_trials: None },
        },
    };
    row.margin = Some(margin.asked);
    (row.effect, row.interval) = (Some(effect.value), effect.interval);
    let key = crate::metric::MetricKey {
        metric: row.metric.clone(),
        tags: row.tags.clone(),
    };
    row.words = row.subject(&key, sample).advisory(effect, row.p, row.decision);
}
