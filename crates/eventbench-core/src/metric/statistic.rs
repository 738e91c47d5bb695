//! Statistics: what can be asked of a metric's value. A further one is one row of the table.

use super::{Kind, MetricValue};
use crate::judge::statistics;
use crate::units::Unit;
use serde::{Deserialize, Serialize};

/// An answer: the value, how sure it is, and from how many samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value in the statistic's unit.
    pub value: f64,
    /// A 95 % confidence interval where the statistic has one.
    pub interval: Option<(f64, f64)>,
    /// Samples behind it.
    pub samples: u64,
}

/// One row of [`STATISTICS`].
pub struct StatDef {
    /// Its name in a limit.
    pub name: &'static str,
    /// The kinds of metric that it can be asked of.
    pub kinds: &'static [Kind],
    /// Whether it takes a number in parentheses.
    pub argument: bool,
    /// The unit of the answer for a metric of this unit.
    pub unit: fn(Unit) -> Unit,
    /// The answer; `None` when there is too little behind it.
    pub ask: fn(&MetricValue, f64) -> Option<Estimate>,
    /// What it means.
    pub about: &'static str,
}

const TIMES: &[Kind] = &[Kind::Latency];
const MANY: &[Kind] = &[Kind::Latency, Kind::Series];
const ONE: &[Kind] = &[Kind::Count, Kind::Gauge];
const READINGS: &[Kind] = &[Kind::Series];

const fn stat(
    name: &'static str,
    kinds: &'static [Kind],
    ask: fn(&MetricValue, f64) -> Option<Estimate>,
    about: &'static str,
) -> StatDef {
    StatDef {
        name,
        kinds,
        argument: false,
        unit: |unit| unit,
        ask,
        about,
    }
}

/// Every statistic.
pub const STATISTICS: &[StatDef] = &[
    stat("value", ONE, value, "the number itself"),
    StatDef {
        unit: |_| Unit::Count,
        ..stat("count", &[Kind::Count, Kind::Latency, Kind::Series], count, "how many")
    },
    stat(
        "mean",
        MANY,
        |v, _| many(v, |l| l.mean_ns(), statistics::mean),
        "the arithmetic mean",
    ),
    stat(
        "avg",
        MANY,
        |v, _| many(v, |l| l.mean_ns(), statistics::mean),
        "the same as mean",
    ),
    stat(
        "med",
        MANY,
        |v, _| many(v, |l| l.quantile_ns(0.5), statistics::median),
        "the median",
    ),
    stat(
        "min",
        MANY,
        |v, _| many(v, |l| l.min_ns(), |p| p.iter().copied().reduce(f64::min)),
        "the smallest",
    ),
    stat(
        "max",
        MANY,
        |v, _| many(v, |l| l.max_ns(), |p| p.iter().copied().reduce(f64::max)),
        "the largest",
    ),
    stat(
        "stddev",
        MANY,
        |v, _| many(v, |l| l.stddev_ns(), statistics::stddev),
        "the standard deviation",
    ),
    StatDef {
        argument: true,
        ..stat("p", TIMES, percentile, "the percentile: p(95), p(99), p(99.9)")
    },
    stat(
        "first",
        READINGS,
        |v, _| reading(v, |p| p.first().map(|r| r.1)),
        "the first reading of the measured phase",
    ),
    stat(
        "last",
        READINGS,
        |v, _| reading(v, |p| p.last().map(|r| r.1)),
        "the last reading",
    ),
    StatDef {
        unit: per_hour,
        ..stat(
            "slope",
            READINGS,
            slope,
            "growth per hour (Theil–Sen) with its 95 % interval",
        )
    },
    stat(
        "per_event",
        READINGS,
        |v, _| growth(v, 1.0),
        "growth per event (Theil–Sen) with its 95 % interval, of readings over the number of events",
    ),
    StatDef {
        unit: |_| Unit::Ratio,
        ..stat(
            "increase",
            READINGS,
            increase,
            "the median of the last fifth over that of the first fifth, less one",
        )
    },
];

fn per_hour(unit: Unit) -> Unit {
    match unit {
        Unit::Bytes => Unit::BytesPerHour,
        other => other,
    }
}

fn value(v: &MetricValue, _: f64) -> Option<Estimate> {
    let value = match v {
        MetricValue::Count(n) => *n as f64,
        MetricValue::Gauge(g) => *g,
        _ => return None,
    };
    Some(Estimate {
        value,
        interval: None,
        samples: 1,
    })
}

fn count(v: &MetricValue, _: f64) -> Option<Estimate> {
    let n = match v {
        MetricValue::Count(n) => *n,
        MetricValue::Latency(l) => l.count(),
        MetricValue::Series(s) => s.measured().len() as u64,
        MetricValue::Gauge(_) => return None,
    };
    Some(Estimate {
        value: n as f64,
        interval: None,
        samples: n.max(1),
    })
}

fn many(
    v: &MetricValue,
    times: impl Fn(&crate::observe::Latency) -> Option<f64>,
    readings: impl Fn(&[f64]) -> Option<f64>,
) -> Option<Estimate> {
    match v {
        MetricValue::Latency(l) => times(l).map(|value| Estimate {
            value,
            interval: None,
            samples: l.count(),
        }),
        MetricValue::Series(s) => {
            let values: Vec<f64> = s.measured().iter().map(|p| p.1).collect();
            readings(&values).map(|value| Estimate {
                value,
                interval: None,
                samples: values.len() as u64,
            })
        }
        _ => None,
    }
}

fn percentile(v: &MetricValue, percent: f64) -> Option<Estimate> {
    let MetricValue::Latency(l) = v else { return None };
    let q = percent / 100.0;
    if !l.supports(q) {
        return None;
    }
    let interval = statistics::quantile_ranks(l.count(), q)
        .and_then(|(low, high)| Some((l.quantile_ns(low)?, l.quantile_ns(high)?)));
    l.quantile_ns(q).map(|value| Estimate {
        value,
        interval,
        samples: l.count(),
    })
}

fn reading(v: &MetricValue, of: impl Fn(&[(f64, f64)]) -> Option<f64>) -> Option<Estimate> {
    let MetricValue::Series(s) = v else { return None };
    let points = s.measured();
    of(points).map(|value| Estimate {
        value,
        interval: None,
        samples: points.len() as u64,
    })
}

fn slope(v: &MetricValue, _: f64) -> Option<Estimate> {
    growth(v, 3600.0)
}

/// Growth over so much of the readings' axis: seconds, or events.
fn growth(v: &MetricValue, over: f64) -> Option<Estimate> {
    let MetricValue::Series(s) = v else { return None };
    let points = s.measured();
    let slope = statistics::theil_sen(points)?;
    Some(Estimate {
        value: slope.slope * over,
        interval: Some((slope.low * over, slope.high * over)),
        samples: points.len() as u64,
    })
}

fn increase(v: &MetricValue, _: f64) -> Option<Estimate> {
    let MetricValue::Series(s) = v else { return None };
    let values: Vec<f64> = s.measured().iter().map(|p| p.1).collect();
    if values.len() < 5 {
        return None;
    }
    let part = (values.len() / 5).max(1);
    let first = statistics::median(&values[..part])?;
    let last = statistics::median(&values[values.len() - part..])?;
    (first > 0.0).then(|| Estimate {
        value: last / first - 1.0,
        interval: None,
        samples: values.len() as u64,
    })
}

/// A statistic with its argument, as a limit or a report asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// Its name in the table.
    pub name: String,
    /// The number in parentheses, for those that take one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<f64>,
}

impl Statistic {
    /// Reads `mean`, `p(95)` or `p95`.
    pub fn parse(text: &str) -> Option<Statistic> {
        let (name, argument) = match text.strip_suffix(')').and_then(|t| t.split_once('(')) {
            Some((name, argument)) => (
                name.trim(),
                Some(argument.trim().parse::<f64>().ok().filter(|a| a.is_finite())?),
            ),
            None => match text.strip_prefix('p').and_then(|n| n.parse::<f64>().ok()) {
                Some(percent) if percent.is_finite() => ("p", Some(percent)),
                _ => (text, None),
            },
        };
        let def = STATISTICS.iter().find(|s| s.name == name)?;
        (def.argument == argument.is_some()).then(|| Statistic {
            name: name.to_owned(),
            argument,
        })
    }

    /// Its row of the table.
    pub fn definition(&self) -> Option<&'static StatDef> {
        STATISTICS.iter().find(|s| s.name == self.name)
    }

    /// Asks a value; `None` when there is too little behind the answer.
    pub fn ask(&self, value: &MetricValue) -> Option<Estimate> {
        (self.definition()?.ask)(value, self.argument.unwrap_or(0.0))
    }
}

impl std::fmt::Display for Statistic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.argument {
            Some(argument) => write!(f, "{}({argument})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Series;
    use crate::observe::Latency;

    /// An example of each kind, large enough for every statistic.
    fn example(kind: Kind) -> MetricValue {
        match kind {
            Kind::Count => MetricValue::Count(7),
            Kind::Gauge => MetricValue::Gauge(0.5),
            Kind::Latency => {
                let mut latency = Latency::new();
                (1..=1000).for_each(|i| latency.record(i * 1000));
                MetricValue::Latency(Box::new(latency))
            }
            Kind::Series => MetricValue::Series(Series {
                points: (0..60).map(|i| (f64::from(i), 1e6 + 10.0 * f64::from(i))).collect(),
                measured_from_s: 0.0,
            }),
        }
    }

    #[test]
    fn every_statistic_answers_its_kinds_and_no_others() {
        for def in STATISTICS {
            for kind in [Kind::Count, Kind::Gauge, Kind::Latency, Kind::Series] {
                let answer = (def.ask)(&example(kind), 95.0);
                assert_eq!(answer.is_some(), def.kinds.contains(&kind), "{} of {kind:?}", def.name);
            }
        }
    }

    #[test]
    fn answers_are_right() {
        let ask = |text: &str, kind| Statistic::parse(text).unwrap().ask(&example(kind)).unwrap();
        assert_eq!(ask("mean", Kind::Latency).value, 500_500.0);
        assert!((ask("p(95)", Kind::Latency).value - 950_000.0).abs() < 1_000.0);
        let slope = ask("slope", Kind::Series);
        assert!(
            (slope.value - 36_000.0).abs() < 1.0,
            "10 bytes a second are 36 kB an hour: {slope:?}"
        );
        assert_eq!(ask("count", Kind::Count).value, 7.0);
    }

    #[test]
    fn nothing_empty_answers() {
        let empty = [
            MetricValue::Latency(Box::default()),
            MetricValue::Series(Series::default()),
        ];
        for def in STATISTICS.iter().filter(|d| d.name != "count") {
            for value in &empty {
                assert!((def.ask)(value, 50.0).is_none(), "{}", def.name);
            }
        }
    }
}
