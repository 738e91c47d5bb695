//! One side of a row: a benchmark's figure with each trial's value, and why there is none where there is none.

use super::Scale;
use super::effect::Sample;
use crate::judge::{Figure, Verdict, figure};
use crate::metric::{MetricKey, Statistic, Values};
use crate::record::{BenchmarkRecord, TrialRecord};
use crate::units::Unit;
use std::borrow::Cow;

/// A figure with the numbers of its trials.
pub(super) struct Side<'a> {
    /// The figure.
    pub(super) figure: Cow<'a, Figure>,
    numbers: Vec<u32>,
}

/// The benchmark's own trials, without those of a baseline variant.
fn own(benchmark: &BenchmarkRecord) -> impl Iterator<Item = &TrialRecord> {
    benchmark.trials.iter().filter(|t| t.variant.is_empty())
}

/// A statistic under both of its names: the median of times stands in records as `med`.
fn names(statistic: &Statistic) -> Vec<Statistic> {
    let median = |name: &str, argument| Statistic {
        name: name.to_owned(),
        argument,
    };
    match (statistic.name.as_str(), statistic.argument) {
        ("p", Some(50.0)) => vec![statistic.clone(), median("med", None)],
        ("med", None) => vec![statistic.clone(), median("p", Some(50.0))],
        ("avg", None) => vec![statistic.clone(), median("mean", None)],
        _ => vec![statistic.clone()],
    }
}

/// Whether two statistics are one by two names.
pub(super) fn same(a: &str, b: &Statistic) -> bool {
    names(b).iter().any(|name| name.to_string() == a)
}

impl<'a> Side<'a> {
    /// A benchmark's figure: the record's own, else computed from its trials; `None` where no trial has a value.
    pub(super) fn of(benchmark: &'a BenchmarkRecord, key: &MetricKey, statistic: &Statistic) -> Option<Side<'a>> {
        let recorded = names(statistic).into_iter().find_map(|s| {
            let stat = s.to_string();
            let mut figures = benchmark.figures.iter();
            figures.find(|f| f.metric == key.metric && f.tags == key.tags && f.stat == stat && f.value.is_some())
        });
        let computed = || {
            let values: Vec<&Values> = own(benchmark).map(|t| &t.values).collect();
            names(statistic)
                .iter()
                .filter_map(|s| figure(&values, key, s))
                .find(|f| f.value.is_some())
        };
        let figure = match recorded {
            Some(figure) => Cow::Borrowed(figure),
            None => Cow::Owned(computed()?),
        };
        let numbers: Vec<u32> = own(benchmark).map(|t| t.number).collect();
        // Figures without their trials, as of an imported run, count as trials 1, 2, 3 …
        let numbers = if numbers.len() == figure.trials.len() {
            numbers
        } else {
            (1..=figure.trials.len() as u32).collect()
        };
        Some(Side { figure, numbers })
    }

    fn values(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let known = self.numbers.iter().zip(&self.figure.trials);
        known.filter_map(|(number, value)| value.filter(|v| v.is_finite()).map(|v| (*number, v)))
    }
}

/// The values of both sides; pairs are trials of the same number, and a trial without its partner is left out.
pub(super) fn sample(a: &Side<'_>, b: &Side<'_>, paired: bool) -> Sample {
    let (a_values, b_values): (Vec<f64>, Vec<f64>) = if paired {
        let partner = |number: u32| b.values().find(|(n, _)| *n == number).map(|(_, v)| v);
        a.values().filter_map(|(number, v)| Some((v, partner(number)?))).unzip()
    } else {
        (
            a.values().map(|(_, v)| v).collect(),
            b.values().map(|(_, v)| v).collect(),
        )
    };
    // Overheads and ratios are differences already, of which a ratio says nothing.
    let of_differences = a.figure.unit == Unit::Ratio
        || a.figure.metric.contains("overhead")
        || ["slope", "increase"].contains(&a.figure.stat.as_str());
    let positive = a_values.iter().chain(&b_values).all(|v| *v > 0.0);
    Sample {
        scale: if of_differences || !positive {
            Scale::Difference
        } else {
            Scale::Ratio
        },
        a: a_values,
        b: b_values,
        paired,
    }
}

/// Why a benchmark's figures must not be compared, if there is a reason.
pub(super) fn unfit(benchmark: &BenchmarkRecord) -> Option<String> {
    if let Some(error) = &benchmark.error {
        return Some(format!("it could not be run to its end: {error}"));
    }
    if benchmark.interrupted {
        return Some("it was cut off".to_owned());
    }
    if benchmark.verdict == Verdict::Invalid {
        let failed = benchmark.checks.iter().find(|c| c.holds == Some(false));
        let why = failed
            .map(|c| format!(": {} ({})", c.name, c.detail))
            .unwrap_or_default();
        return Some(format!("its instrument cannot be trusted{why}"));
    }
    own(benchmark).next().is_none().then(|| "it has no trials".to_owned())
}
