//! Figures: one statistic of one metric over the trials of a benchmark. The one accessor that yields value and error together.

use super::statistics::median;
use crate::metric::{Better, Kind, MetricKey, MetricValue, Statistic, Values, definition};
use crate::units::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A figure with all that is known of its certainty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The metric's id.
    pub metric: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What was asked of it, such as `p(95)`.
    pub stat: String,
    /// The unit of all values here.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// The median of the trials; absent when no trial has enough data.
    pub value: Option<f64>,
    /// Smallest and largest trial, when there are at least two.
    pub range: Option<(f64, f64)>,
    /// Half of that range over the median: ±.
    pub spread: Option<f64>,
    /// The 95 % interval of the trial in the middle, where the statistic has one.
    pub interval: Option<(f64, f64)>,
    /// Each trial's own value.
    pub trials: Vec<Option<f64>>,
    /// Samples in all trials together.
    pub samples: u64,
}

impl Figure {
    /// The metric with its tags.
    pub fn key(&self) -> MetricKey {
        MetricKey {
            metric: self.metric.clone(),
            tags: self.tags.clone(),
        }
    }

    /// The value for people; a dash when there is none.
    pub fn show(&self) -> String {
        self.value.map_or_else(|| "–".to_owned(), |v| self.unit.show(v))
    }
}

/// A figure over trials; `None` for a metric that is in no table.
pub fn figure(trials: &[&Values], key: &MetricKey, statistic: &Statistic) -> Option<Figure> {
    let metric = definition(&key.metric)?;
    let stat = statistic.definition()?;
    let estimates: Vec<_> = trials
        .iter()
        .map(|values| values.get(key).and_then(|value| statistic.ask(value)))
        .collect();
    let mut known: Vec<_> = estimates.iter().flatten().copied().collect();
    known.sort_by(|a, b| a.value.total_cmp(&b.value));
    let values: Vec<f64> = known.iter().map(|e| e.value).collect();
    let value = median(&values);
    let range = match (values.first(), values.last()) {
        (Some(low), Some(high)) if values.len() > 1 => Some((*low, *high)),
        _ => None,
    };
    let spread = match (range, value) {
        (Some((low, high)), Some(value)) if value != 0.0 => Some((high - low) / 2.0 / value.abs()),
        _ => None,
    };
    Some(Figure {
        metric: key.metric.clone(),
        tags: key.tags.clone(),
        stat: statistic.to_string(),
        unit: (stat.unit)(metric.unit),
        // More samples are better whatever they are samples of.
        better: if stat.name == "count" && metric.kind != Kind::Count {
            Better::Higher
        } else {
            metric.better
        },
        value,
        range,
        spread,
        interval: known.get(known.len() / 2).and_then(|e| e.interval),
        trials: estimates.iter().map(|e| e.map(|e| e.value)).collect(),
        samples: trials.iter().filter_map(|values| values.get(key)).map(samples).sum(),
    })
}

/// What reports show of each kind of metric.
const STANDARD: &[(Kind, &[&str])] = &[
    (Kind::Count, &["value"]),
    (Kind::Gauge, &["value"]),
    (
        Kind::Latency,
        &[
            "count", "mean", "med", "p(95)", "p(99)", "p(99.9)", "min", "max", "stddev",
        ],
    ),
    (Kind::Series, &["mean", "max", "first", "last", "slope", "increase"]),
];

/// What reports show of readings over the number of events, whose axis is no time.
const OVER_EVENTS: &[&str] = &["first", "last", "per_event"];

/// The standard figures of everything that any trial measured, in the order of the table of metrics.
pub fn standard_figures(trials: &[&Values]) -> Vec<Figure> {
    let mut keys: Vec<&MetricKey> = trials.iter().flat_map(|t| t.0.keys()).collect();
    keys.sort();
    keys.dedup();
    let place = |key: &MetricKey| crate::metric::METRICS.iter().position(|m| m.id == key.metric);
    keys.sort_by_key(|k| place(k));
    let kind_of = |key: &MetricKey| trials.iter().find_map(|t| t.get(key)).map(kind);
    let mut figures = Vec::new();
    for key in keys {
        let Some(kind) = kind_of(key) else { continue };
        for (_, stats) in STANDARD.iter().filter(|row| row.0 == kind) {
            let stats = if key.metric == "rss.events" { OVER_EVENTS } else { stats };
            figures.extend(stats.iter().filter_map(|s| figure(trials, key, &Statistic::parse(s)?)));
        }
    }
    figures
}

/// Samples in a value, whether or not they suffice for what is asked.
fn samples(value: &MetricValue) -> u64 {
    match value {
        MetricValue::Count(_) | MetricValue::Gauge(_) => 1,
        MetricValue::Latency(l) => l.count(),
        MetricValue::Series(s) => s.measured().len() as u64,
    }
}

fn kind(value: &MetricValue) -> Kind {
    match value {
        MetricValue::Count(_) => Kind::Count,
        MetricValue::Gauge(_) => Kind::Gauge,
        MetricValue::Latency(_) => Kind::Latency,
        MetricValue::Series(_) => Kind::Series,
    }
}
