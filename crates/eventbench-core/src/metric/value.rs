//! Values of metrics, and the only place where two are put together.

use crate::observe::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which metric, of what: `rss{process:store}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricKey {
    /// The metric's id.
    pub metric: String,
    /// What it is about, such as process:store.
    pub tags: BTreeMap<String, String>,
}

impl MetricKey {
    /// A metric without tags.
    pub fn plain(metric: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            tags: BTreeMap::new(),
        }
    }

    /// A metric with one tag.
    pub fn tagged(metric: &str, tag: &str, value: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            tags: BTreeMap::from([(tag.to_owned(), value.to_owned())]),
        }
    }
}

impl std::fmt::Display for MetricKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.metric)?;
        if !self.tags.is_empty() {
            let tags: Vec<String> = self.tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            write!(f, "{{{}}}", tags.join(","))?;
        }
        Ok(())
    }
}

/// Readings over time: (seconds from the start of the schedule, value in the metric's unit), ascending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The readings.
    pub points: Vec<(f64, f64)>,
    /// Seconds from the start of the schedule at which the measured phase began.
    pub measured_from_s: f64,
}

impl Series {
    /// The readings of the measured phase; all of them when none falls into it.
    pub fn measured(&self) -> &[(f64, f64)] {
        let from = self.points.partition_point(|p| p.0 < self.measured_from_s);
        if from < self.points.len() {
            &self.points[from..]
        } else {
            &self.points
        }
    }
}

/// The value of a metric in one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricValue {
    /// A number of events.
    Count(u64),
    /// One number.
    Gauge(f64),
    /// A distribution of times.
    Latency(Box<Latency>),
    /// Readings over time.
    Series(Series),
}

impl MetricValue {
    /// Adds another part of the same value: counts and gauges add up, distributions merge, readings are put in order.
    /// `false` when the kinds differ.
    pub fn merge(&mut self, other: &MetricValue) -> bool {
        match (self, other) {
            (MetricValue::Count(a), MetricValue::Count(b)) => *a += b,
            (MetricValue::Gauge(a), MetricValue::Gauge(b)) => *a += b,
            (MetricValue::Latency(a), MetricValue::Latency(b)) => a.merge(b),
            (MetricValue::Series(a), MetricValue::Series(b)) => {
                a.points.extend_from_slice(&b.points);
                a.points.sort_by(|x, y| x.0.total_cmp(&y.0));
            }
            _ => return false,
        }
        true
    }
}

/// All values of one trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(pub BTreeMap<MetricKey, MetricValue>);

impl Values {
    /// Puts a value there, added to what is there already.
    pub fn put(&mut self, key: MetricKey, value: MetricValue) {
        match self.0.get_mut(&key) {
            Some(there) => {
                let merged = there.merge(&value);
                debug_assert!(merged, "{key} has values of two kinds");
            }
            None => {
                self.0.insert(key, value);
            }
        }
    }

    /// A count without tags.
    pub fn count(&mut self, metric: &str, n: u64) {
        self.put(MetricKey::plain(metric), MetricValue::Count(n));
    }

    /// A gauge without tags; what is not a number is left out, so that it shows as no data.
    pub fn gauge(&mut self, metric: &str, value: f64) {
        if value.is_finite() {
            self.put(MetricKey::plain(metric), MetricValue::Gauge(value));
        }
    }

    /// A distribution without tags.
    pub fn latency(&mut self, metric: &str, latency: Latency) {
        self.put(MetricKey::plain(metric), MetricValue::Latency(Box::new(latency)));
    }

    /// A value by key.
    pub fn get(&self, key: &MetricKey) -> Option<&MetricValue> {
        self.0.get(key)
    }

    /// A number by key: a count or a gauge.
    pub fn number(&self, key: &MetricKey) -> Option<f64> {
        match self.get(key)? {
            MetricValue::Count(n) => Some(*n as f64),
            MetricValue::Gauge(v) => Some(*v),
            _ => None,
        }
    }
}

/// In a record values stand as a list, since JSON has no structured keys.
#[derive(Serialize, Deserialize)]
struct StoredValue {
    metric: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    value: MetricValue,
}

impl Serialize for Values {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(key, value)| StoredValue {
            metric: key.metric.clone(),
            tags: key.tags.clone(),
            value: value.clone(),
        }))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Vec::<StoredValue>::deserialize(deserializer)?;
        Ok(Values(
            stored
                .into_iter()
                .map(|s| {
                    (
                        MetricKey {
                            metric: s.metric,
                            tags: s.tags,
                        },
                        s.value,
                    )
                })
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(kind: u8, numbers: &[u32]) -> MetricValue {
        match kind {
            0 => MetricValue::Count(numbers.iter().map(|n| u64::from(*n)).sum()),
            1 => MetricValue::Gauge(numbers.iter().map(|n| f64::from(*n)).sum()),
            2 => {
                let mut latency = Latency::new();
                numbers.iter().for_each(|n| latency.record(u64::from(*n)));
                MetricValue::Latency(Box::new(latency))
            }
            _ => MetricValue::Series(Series {
                points: numbers
                    .iter()
                    .enumerate()
                    .map(|(i, n)| (i as f64, f64::from(*n)))
                    .collect(),
                measured_from_s: 0.0,
            }),
        }
    }

    proptest! {
        #[test]
        fn merging_the_split_gives_the_whole(kind in 0u8..4, numbers in proptest::collection::vec(any::<u32>(), 0..50), split in 0usize..50) {
            let whole = value(kind, &numbers);
            let at = split.min(numbers.len());
            let (mut left, mut right) = (value(kind, &numbers[..at]), value(kind, &numbers[at..]));
            if let MetricValue::Series(s) = &mut right {
                s.points.iter_mut().for_each(|p| p.0 += at as f64);
            }
            prop_assert!(left.merge(&right));
            prop_assert_eq!(left, whole.clone());
            let mut values = Values::default();
            values.put(MetricKey::tagged("rss", "process", "x"), whole);
            let json = serde_json::to_string(&values).unwrap();
            let back: Values = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
            right = value((kind + 1) % 4, &numbers);
            prop_assert!(!right.merge(&value(kind, &numbers)));
        }
    }
}
