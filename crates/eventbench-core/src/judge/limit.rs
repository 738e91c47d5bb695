//! Limits: `metric{tag:value}.statistic operator bound`, and their judgement.
//!
//! A bare statistic (`p(95) < 10ms`) speaks of the response time. A metric that is one number (`lost == 0`) needs no
//! statistic.

use super::{Figure, Verdict, figure};
use crate::metric::{ALIASES, Kind, METRICS, MetricKey, STATISTICS, Statistic, Values, definition};
use crate::plan::{LimitEntry, Severity};
use crate::units::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a value is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    #[serde(rename = "<")]
    Less,
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `>`
    #[serde(rename = ">")]
    Greater,
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `==`
    #[serde(rename = "==")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
}

/// Longer signs first, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Comparison {
    /// Whether it holds.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Comparison::Less => value < bound,
            Comparison::AtMost => value <= bound,
            Comparison::Greater => value > bound,
            Comparison::AtLeast => value >= bound,
            Comparison::Equal => value == bound,
            Comparison::NotEqual => value != bound,
        }
    }

    /// Its sign.
    pub fn sign(self) -> &'static str {
        COMPARISONS.iter().find(|c| c.1 == self).map_or("?", |c| c.0)
    }

    /// The bound moved outwards by a share of itself; equality has no margin.
    fn relaxed(self, bound: f64, margin: f64) -> f64 {
        match self {
            Comparison::Less | Comparison::AtMost => bound + bound.abs() * margin,
            Comparison::Greater | Comparison::AtLeast => bound - bound.abs() * margin,
            Comparison::Equal | Comparison::NotEqual => bound,
        }
    }
}

/// A parsed limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// As it was written.
    pub that: String,
    /// The metric and its tags.
    pub key: MetricKey,
    /// What is asked of it.
    pub statistic: Statistic,
    /// The comparison.
    pub comparison: Comparison,
    /// The bound in base units.
    pub bound: f64,
    /// The unit of value and bound.
    pub unit: Unit,
    /// How much it matters.
    pub severity: Severity,
    /// Samples below which there is no data.
    pub min_samples: u64,
}

impl Limit {
    /// Parses a limit of a suite.
    ///
    /// # Errors
    /// Says what was expected in place of what is not a metric, a statistic, a comparison or a quantity of the right unit.
    pub fn parse(entry: &LimitEntry) -> Result<Limit, String> {
        let text = entry.that.trim();
        let wrong = |what: String| format!("limit \"{text}\": {what}");
        let Some((at, sign, comparison)) = text.char_indices().find_map(|(at, _)| {
            COMPARISONS
                .iter()
                .find(|c| text[at..].starts_with(c.0))
                .map(|c| (at, c.0, c.1))
        }) else {
            return Err(wrong(
                "expected a comparison (<, <=, >, >=, ==, !=), such as \"p(95) < 10ms\"".to_owned(),
            ));
        };
        let (subject, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
        let (key, statistic) = asked(subject).map_err(wrong)?;
        let (Some(metric), Some(stat)) = (definition(&key.metric), statistic.definition()) else {
            return Err(wrong("neither a metric nor a statistic".to_owned()));
        };
        let unit = (stat.unit)(metric.unit);
        let bound = unit
            .parse(bound)
            .map_err(|e| wrong(format!("{e}, as `{}` of `{}` is measured", statistic, metric.id)))?;
        Ok(Limit {
            that: text.to_owned(),
            key,
            statistic,
            comparison,
            bound,
            unit,
            severity: entry.severity,
            min_samples: entry.min_samples.unwrap_or(0),
        })
    }
}

/// The metric and the statistic that `metric{tags}.stat` asks for, of which the metric must have that statistic.
///
/// # Errors
/// Says what was expected.
pub(super) fn asked(subject: &str) -> Result<(MetricKey, Statistic), String> {
    let (name, tags, stat) = split(subject)?;
    let (metric, statistic) = resolve(&name, stat.as_deref())?;
    let (Some(metric), Some(stat)) = (definition(metric), statistic.definition()) else {
        return Err("neither a metric nor a statistic".to_owned());
    };
    if !stat.kinds.contains(&metric.kind) {
        let fits: Vec<&str> = STATISTICS
            .iter()
            .filter(|s| s.kinds.contains(&metric.kind))
            .map(|s| s.name)
            .collect();
        let what = match metric.kind {
            Kind::Count => "a counter",
            Kind::Gauge => "one number a trial",
            Kind::Latency => "a distribution of times",
            Kind::Series => "a series of readings",
        };
        return Err(format!(
            "`{}` is {what}, of which there is no {statistic}; it has {}",
            metric.id,
            fits.join(", ")
        ));
    }
    if let (true, Some(percent)) = (stat.argument, statistic.argument)
        && !(percent > 0.0 && percent < 100.0)
    {
        return Err(format!("a percentile lies between 0 and 100, not at {percent}"));
    }
    let metric = metric.id.to_owned();
    Ok((MetricKey { metric, tags }, statistic))
}

/// `metric{tags}.stat`, `metric.stat{tags}` or `metric`: the dotted name without its tags, the tags, and a statistic after them.
#[allow(
    clippy::type_complexity,
    reason = "three parts of one text, taken apart again by the only caller"
)]
fn split(subject: &str) -> Result<(String, BTreeMap<String, String>, Option<String>), String> {
    let Some((before, rest)) = subject.split_once('{') else {
        return Ok((subject.to_owned(), BTreeMap::new(), None));
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return Err("the tags' closing brace is missing".to_owned());
    };
    let mut tags = BTreeMap::new();
    for pair in inside.split(',') {
        let Some((key, value)) = pair.split_once(':') else {
            return Err(format!("\"{pair}\" is not a tag such as process:store"));
        };
        tags.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let stat = after.strip_prefix('.').map(|s| s.trim().to_owned());
    if stat.is_none() && !after.trim().is_empty() {
        return Err(format!(
            "\"{}\" after the tags; expected a statistic such as .max",
            after.trim()
        ));
    }
    Ok((before.trim().to_owned(), tags, stat))
}

/// The metric and the statistic that a dotted name means.
fn resolve(name: &str, stat: Option<&str>) -> Result<(&'static str, Statistic), String> {
    let value = || Statistic {
        name: "value".to_owned(),
        argument: None,
    };
    let unknown_stat = |s: &str| {
        let known: Vec<&str> = STATISTICS.iter().map(|s| s.name).collect();
        format!(
            "unknown statistic \"{s}\"; expected one of {} (p as p(95))",
            known.join(", ")
        )
    };
    if let Some(stat) = stat {
        let metric = metric(name)?;
        return Ok((metric, Statistic::parse(stat).ok_or_else(|| unknown_stat(stat))?));
    }
    if let Some(statistic) = Statistic::parse(name) {
        return Ok(("response_time", statistic));
    }
    // `p(99.9)` has a dot of its own, so a dot inside parentheses does not divide.
    let until = name.find('(').unwrap_or(name.len());
    let cut = name[..until].rfind('.');
    if let Ok(metric) = metric(name) {
        let one = definition(metric).is_some_and(|m| matches!(m.kind, Kind::Count | Kind::Gauge));
        return if one {
            Ok((metric, value()))
        } else {
            Err(format!("`{metric}` needs a statistic, such as {metric}.max"))
        };
    }
    match cut {
        Some(cut) => {
            let metric = metric(&name[..cut])?;
            Ok((
                metric,
                Statistic::parse(&name[cut + 1..]).ok_or_else(|| unknown_stat(&name[cut + 1..]))?,
            ))
        }
        None => metric(name).map(|m| (m, value())),
    }
}

/// A metric's id from its name or alias.
fn metric(name: &str) -> Result<&'static str, String> {
    // A metric's own name comes first: `latency.ratio` is no statistic of what `latency` is another name of.
    if let Some(metric) = definition(name) {
        return Ok(metric.id);
    }
    let full = ALIASES
        .iter()
        .find_map(|(alias, id)| {
            let rest = name.strip_prefix(alias)?;
            (rest.is_empty() || rest.starts_with('.')).then(|| format!("{id}{rest}"))
        })
        .unwrap_or_else(|| name.to_owned());
    definition(&full).map(|m| m.id).ok_or_else(|| {
        let near = METRICS
            .iter()
            .map(|m| (strsim::damerau_levenshtein(&full, m.id), m.id))
            .min();
        let hint = near
            .filter(|n| n.0 <= 3)
            .map(|n| format!("; did you mean `{}`?", n.1))
            .unwrap_or_default();
        format!("unknown metric or statistic \"{name}\"{hint} (`eventbench list --metrics` shows all)")
    })
}

/// What became of a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitResult {
    /// As it was written.
    pub that: String,
    /// How much it matters.
    pub severity: Severity,
    /// The metric with its tags.
    pub metric: String,
    /// What was asked of it.
    pub stat: String,
    /// The comparison.
    pub comparison: Comparison,
    /// The bound in base units.
    pub bound: f64,
    /// The unit of bound and value.
    pub unit: Unit,
    /// The value: the median of the trials, or of counts and shares of events the worst trial's.
    pub value: Option<f64>,
    /// Where the value lies with confidence: the statistic's interval, else the range of the trials.
    pub interval: Option<(f64, f64)>,
    /// Samples behind it.
    pub samples: u64,
    /// What it comes to by itself.
    pub outcome: Verdict,
    /// What it adds to the benchmark's verdict, after its severity.
    pub counts_as: Verdict,
    /// Whether the interval contains the bound, so that another run might say otherwise.
    pub straddles: bool,
    /// Where the bound came from, when not from the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<String>,
    /// Why there is no data, or another remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Judges a limit by the trials' values.
pub fn judge_limit(limit: &Limit, trials: &[&Values], warn_margin: f64, overridden_by: Option<String>) -> LimitResult {
    let figure = figure(trials, &limit.key, &limit.statistic);
    let samples = figure.as_ref().map_or(0, |f| f.samples);
    let value = figure
        .as_ref()
        .and_then(|f| judged(f, limit))
        .filter(|_| samples >= limit.min_samples);
    let interval = figure.as_ref().and_then(|f| f.interval.or(f.range));
    let outcome = match value {
        None => Verdict::NoData,
        Some(value) if limit.comparison.holds(value, limit.bound) => Verdict::Pass,
        Some(value)
            if limit
                .comparison
                .holds(value, limit.comparison.relaxed(limit.bound, warn_margin)) =>
        {
            Verdict::Warn
        }
        Some(_) => Verdict::Fail,
    };
    let counts_as = match (limit.severity, outcome) {
        (Severity::Must, outcome) => outcome,
        (Severity::Should, Verdict::Fail) => Verdict::Warn,
        (Severity::Should, outcome) => outcome,
        (Severity::May, _) => Verdict::Pass,
    };
    let note = (outcome == Verdict::NoData).then(|| missing(&figure, limit, samples));
    LimitResult {
        that: limit.that.clone(),
        severity: limit.severity,
        metric: limit.key.to_string(),
        stat: limit.statistic.to_string(),
        comparison: limit.comparison,
        bound: limit.bound,
        unit: limit.unit,
        value,
        interval,
        samples,
        outcome,
        counts_as,
        straddles: value.is_some()
            && interval.is_some_and(|(low, high)| {
                limit.comparison.holds(low, limit.bound) != limit.comparison.holds(high, limit.bound)
            }),
        overridden_by,
        note,
    }
}

/// Gauges that are counts of events in another form.
const SHARES_OF_EVENTS: &[&str] = &["delivered.ratio", "acked.ratio", "gap.recovered"];

/// The value that a limit judges: the median trial's, but of counts and shares of events the worst trial's. A trial that
/// lost an event has lost it, whatever the others did.
fn judged(figure: &Figure, limit: &Limit) -> Option<f64> {
    let books =
        definition(&limit.key.metric).is_some_and(|m| m.kind == Kind::Count || SHARES_OF_EVENTS.contains(&m.id));
    let known = || figure.trials.iter().flatten().copied();
    match limit.comparison {
        _ if !books => figure.value,
        Comparison::Greater | Comparison::AtLeast => known().reduce(f64::min),
        Comparison::Less | Comparison::AtMost => known().reduce(f64::max),
        // The first trial that breaks the equality, else any.
        Comparison::Equal | Comparison::NotEqual => known()
            .find(|v| !limit.comparison.holds(*v, limit.bound))
            .or_else(|| known().next()),
    }
}

fn missing(figure: &Option<Figure>, limit: &Limit, samples: u64) -> String {
    match figure {
        Some(_) if samples > 0 => format!("{samples} samples are too few for {}", limit.statistic),
        _ => format!("nothing was measured of {}", limit.key),
    }
}

/// A bound that the environment gives.
pub struct EnvironmentLimit {
    /// The variable.
    pub variable: &'static str,
    /// The metrics whose limits it replaces, with the statistic (`None` for any).
    pub of: &'static [(&'static str, Option<&'static str>)],
    /// The factor from the variable's plain number to the base unit.
    pub scale: f64,
    /// The unit of that plain number, for messages.
    pub unit: &'static str,
}

/// Every variable that replaces bounds: those that the suites' users know.
pub const ENVIRONMENT: &[EnvironmentLimit] = &[
    EnvironmentLimit {
        variable: "BENCHMARK_LATENCY_MAX",
        of: &[("response_time", Some("mean"))],
        scale: 1e6,
        unit: "milliseconds",
    },
    EnvironmentLimit {
        variable: "BENCHMARK_CPU_MAX",
        of: &[("cpu.overhead", None)],
        scale: 0.01,
        unit: "percentage points of one core",
    },
    EnvironmentLimit {
        variable: "BENCHMARK_MEMORY_MAX",
        of: &[
            ("rss.overhead", None),
            ("pss.overhead", None),
            ("rss", Some("increase")),
        ],
        scale: 0.01,
        unit: "percent",
    },
    EnvironmentLimit {
        variable: "BENCHMARK_THROUGHPUT_MIN",
        of: &[("delivered.rate", None)],
        scale: 1.0,
        unit: "events per second",
    },
];

/// Replaces a limit's bound by what the environment says, and tells which variable did it.
///
/// # Errors
/// When a variable is set to what is not a number.
pub fn from_environment(limit: &mut Limit, env: impl Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    for rule in ENVIRONMENT {
        let applies = rule
            .of
            .iter()
            .any(|(metric, stat)| *metric == limit.key.metric && stat.is_none_or(|s| s == limit.statistic.name));
        let Some(text) = env(rule.variable).filter(|_| applies) else {
            continue;
        };
        let number: f64 = text
            .trim()
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .ok_or_else(|| {
                format!(
                    "{}=\"{text}\": expected a plain number of {}, such as 5.0",
                    rule.variable, rule.unit
                )
            })?;
        limit.bound = number * rule.scale;
        return Ok(Some(format!("{}={text}", rule.variable)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::MetricValue;
    use crate::observe::Latency;
    use proptest::prelude::*;

    fn entry(that: &str) -> LimitEntry {
        LimitEntry {
            that: that.to_owned(),
            severity: Severity::Must,
            min_samples: None,
        }
    }

    #[test]
    fn the_grammar() {
        for (text, metric, stat, bound) in [
            ("p(95) < 10ms", "response_time", "p(95)", 10e6),
            ("p99.9<10ms", "response_time", "p(99.9)", 10e6),
            ("mean <= 5ms", "response_time", "mean", 5e6),
            ("latency.max < 1s", "response_time", "max", 1e9),
            ("latency.ratio < 1.5", "latency.ratio", "value", 1.5),
            ("stored.ratio >= 95%", "delivered.ratio", "value", 0.95),
            ("lost.acked == 0", "lost.acked", "value", 0.0),
            ("lost == 0", "lost", "value", 0.0),
            ("rss.slope < 50MB/h", "rss", "slope", 50e6),
            ("rss{process:store}.max < 80MB", "rss{process:store}", "max", 80e6),
            ("rss.max{process:store} < 80MB", "rss{process:store}", "max", 80e6),
            ("cpu.overhead < 5pp", "cpu.overhead", "value", 0.05),
            ("response_time.p(99.9) < 1s", "response_time", "p(99.9)", 1e9),
            ("delivered.rate >= 100/s", "delivered.rate", "value", 100.0),
            ("response_time.count >= 1000", "response_time", "count", 1000.0),
        ] {
            let limit = Limit::parse(&entry(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (
                    limit.key.to_string().as_str(),
                    limit.statistic.to_string().as_str(),
                    limit.bound
                ),
                (metric, stat, bound),
                "{text}"
            );
        }
    }

    #[test]
    fn the_refusals_say_what_was_expected() {
        for (text, says) in [
            ("p(95) 10ms", "comparison"),
            ("lost.p(95) < 3", "counter"),
            ("p(95) < 10MB", "duration"),
            ("p(101) < 10ms", "between 0 and 100"),
            ("rss < 10MB", "needs a statistic"),
            ("response_tim.mean < 10ms", "did you mean `response_time`"),
            ("response_time.medium < 10ms", "unknown statistic"),
            ("rss{process}.max < 1MB", "not a tag"),
            ("rss{process:a.max < 1MB", "closing brace"),
            ("", "comparison"),
        ] {
            let error = Limit::parse(&entry(text)).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    fn values(ms: u64, n: u64) -> Values {
        let mut values = Values::default();
        let mut latency = Latency::new();
        latency.record_n(ms * 1_000_000, n);
        values.latency("response_time", latency);
        values
    }

    #[test]
    fn a_miss_within_the_margin_warns_beyond_it_fails() {
        for (ms, expected) in [(9, Verdict::Pass), (11, Verdict::Warn), (13, Verdict::Fail)] {
            let (limit, v) = (Limit::parse(&entry("mean < 10ms")).unwrap(), values(ms, 500));
            assert_eq!(judge_limit(&limit, &[&v], 0.2, None).outcome, expected, "{ms}");
        }
        let (mut limit, v) = (Limit::parse(&entry("mean < 10ms")).unwrap(), values(50, 500));
        limit.severity = Severity::Should;
        assert_eq!(judge_limit(&limit, &[&v], 0.2, None).counts_as, Verdict::Warn);
        limit.severity = Severity::May;
        assert_eq!(judge_limit(&limit, &[&v], 0.2, None).counts_as, Verdict::Pass);
        let zero = Limit::parse(&entry("lost == 0")).unwrap();
        let mut v = Values::default();
        v.count("lost", 1);
        assert_eq!(judge_limit(&zero, &[&v], 0.2, None).outcome, Verdict::Fail);
    }

    #[test]
    fn the_median_trial_is_judged() {
        let limit = Limit::parse(&entry("mean < 10ms")).unwrap();
        let (a, b, c) = (values(5, 500), values(6, 500), values(40, 500));
        let result = judge_limit(&limit, &[&a, &b, &c], 0.2, None);
        assert_eq!(
            (result.outcome, result.value, result.straddles),
            (Verdict::Pass, Some(6e6), true)
        );
    }

    #[test]
    fn a_share_of_events_is_judged_by_the_worst_trial() {
        let trial = |share: f64| {
            let mut values = Values::default();
            values.gauge("acked.ratio", share);
            values
        };
        let (good, bad) = (trial(1.0), trial(0.2));
        let limit = Limit::parse(&entry("acked.ratio == 100%")).unwrap();
        let verdict = |trials: &[&Values]| judge_limit(&limit, trials, 0.2, None).outcome;
        assert_eq!(verdict(&[&good, &good, &good]), Verdict::Pass);
        assert_eq!(verdict(&[&good, &bad, &good]), Verdict::Fail);
    }

    #[test]
    fn one_trial_that_lost_an_event_is_enough() {
        let limit = Limit::parse(&entry("lost == 0")).unwrap();
        let with = |n| {
            let mut v = Values::default();
            v.count("lost", n);
            v
        };
        let (clean, bad) = (with(0), with(3));
        let result = judge_limit(&limit, &[&clean, &bad, &clean], 0.2, None);
        assert_eq!((result.outcome, result.value), (Verdict::Fail, Some(3.0)));
    }

    #[test]
    fn too_few_samples_are_told_from_none() {
        let (limit, few) = (Limit::parse(&entry("p(99) < 10ms")).unwrap(), values(1, 50));
        let note = judge_limit(&limit, &[&few], 0.2, None).note.unwrap();
        assert!(note.contains("50 samples"), "{note}");
    }

    #[test]
    fn the_environment_replaces_a_bound_and_says_so() {
        let mut limit = Limit::parse(&entry("mean < 10ms")).unwrap();
        let by = from_environment(&mut limit, |name| {
            (name == "BENCHMARK_LATENCY_MAX").then(|| "2.5".to_owned())
        })
        .unwrap();
        assert_eq!((limit.bound, by.as_deref()), (2.5e6, Some("BENCHMARK_LATENCY_MAX=2.5")));
        let error = from_environment(&mut limit, |_| Some("fast".to_owned())).unwrap_err();
        assert!(error.contains("milliseconds"), "{error}");
        let mut other = Limit::parse(&entry("p(95) < 10ms")).unwrap();
        assert_eq!(from_environment(&mut other, |_| Some("1".to_owned())), Ok(None));
    }

    proptest! {
        #[test]
        fn no_limit_over_nothing_passes(which in 0usize..METRICS.len(), stat in 0usize..STATISTICS.len(), sign in 0usize..6) {
            let (metric, stat) = (&METRICS[which], &STATISTICS[stat]);
            let key = MetricKey::plain(metric.id);
            let limit = Limit {
                that: String::new(), key: key.clone(), statistic: Statistic { name: stat.name.to_owned(), argument: stat.argument.then_some(95.0) },
                comparison: COMPARISONS[sign].1, bound: 0.0, unit: metric.unit, severity: Severity::Must, min_samples: 0,
            };
            prop_assert_eq!(judge_limit(&limit, &[&Values::default()], 0.2, None).outcome, Verdict::NoData);
            let mut empty = Values::default();
            if metric.kind == Kind::Latency && stat.name != "count" {
                empty.put(key, MetricValue::Latency(Box::default()));
                prop_assert_eq!(judge_limit(&limit, &[&empty], 0.2, None).outcome, Verdict::NoData);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Limit::parse(&entry(&text));
        }
    }
}
