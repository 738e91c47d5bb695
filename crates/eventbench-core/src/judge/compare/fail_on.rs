//! Plain thresholds, as pytest-benchmark's `--benchmark-compare-fail` writes them: `mean:10%`, `p(99):2ms`.
//!
//! They know nothing of noise: a threshold below what is visible on a machine fails by chance, and its row says so.

use crate::judge::limit::asked;
use crate::metric::{Better, MetricKey, Statistic, definition};
use crate::units::Unit;
use serde::{Deserialize, Serialize};

/// A threshold: b may be worse than a by so much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailOn {
    /// The metric's id with its tags.
    pub metric: String,
    /// What is asked of it.
    pub statistic: Statistic,
    /// By how much it may be worse.
    pub by: Tolerated,
}

/// A tolerated change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerated {
    /// In percent of a.
    Percent(f64),
    /// In the base unit of the figure.
    Absolute(f64),
}

const EXAMPLE: &str = "such as \"mean:10%\", \"p(99):2ms\" or \"cpu.per_event{process:system} value:5%\"";

impl FailOn {
    /// Reads thresholds separated by commas: `field:N%` relative, or an absolute amount with its unit, where a bare number
    /// is one of seconds for times. A field is a statistic of the response time, or a metric with its statistic.
    ///
    /// # Errors
    /// Names the part that is wrong, what was expected in its place, and an example.
    pub fn parse_list(text: &str) -> Result<Vec<FailOn>, String> {
        parts(text).into_iter().map(FailOn::parse).collect()
    }

    /// Reads one threshold.
    ///
    /// # Errors
    /// As of [`FailOn::parse_list`].
    pub fn parse(text: &str) -> Result<FailOn, String> {
        let text = text.trim();
        let wrong = |what: String| format!("threshold \"{text}\": {what}, {EXAMPLE}");
        let Some((field, amount)) = text.rsplit_once(':') else {
            return Err(wrong("expected a field, a colon and an amount".to_owned()));
        };
        let (key, statistic) = figure_name(field).map_err(|e| wrong(format!("\"{}\": {e}", field.trim())))?;
        let (Some(metric), Some(stat)) = (definition(&key.metric), statistic.definition()) else {
            return Err(wrong(format!("\"{field}\" is no figure")));
        };
        if metric.better == Better::Neutral {
            return Err(wrong(format!(
                "neither more nor less of `{}` is better, so it cannot be worse; expected another metric",
                metric.id
            )));
        }
        let by = amount_of(amount.trim(), (stat.unit)(metric.unit)).map_err(wrong)?;
        Ok(FailOn {
            metric: key.to_string(),
            statistic,
            by,
        })
    }

    /// The metric with its tags.
    pub fn key(&self) -> Option<MetricKey> {
        asked(&format!("{}.{}", self.metric, self.statistic))
            .ok()
            .map(|(key, _)| key)
    }

    fn unit(&self) -> Option<Unit> {
        let metric = definition(&self.key()?.metric)?;
        Some((self.statistic.definition()?.unit)(metric.unit))
    }
}

impl std::fmt::Display for FailOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.metric != "response_time" {
            write!(f, "{} ", self.metric)?;
        }
        write!(f, "{}:", self.statistic)?;
        match self.by {
            Tolerated::Percent(percent) => write!(f, "{percent}%"),
            Tolerated::Absolute(amount) => {
                let suffix = match self.unit() {
                    Some(Unit::Nanoseconds) => "ns",
                    Some(Unit::Bytes) => "B",
                    Some(Unit::BytesPerHour) => "B/h",
                    Some(Unit::PerSecond) => "/s",
                    Some(Unit::Ratio | Unit::Cores | Unit::Count) | None => "",
                };
                write!(f, "{amount}{suffix}")
            }
        }
    }
}

/// The figure that `metric{tag:value} stat`, `metric.stat` or a bare statistic names.
///
/// # Errors
/// Says what was expected.
pub fn figure_name(text: &str) -> Result<(MetricKey, Statistic), String> {
    let text = text.trim();
    // What pytest-benchmark calls its fields, and tags as they stand in noise passports.
    let (metric, stat) = match text.rsplit_once(char::is_whitespace) {
        Some((metric, stat)) => (Some(metric.trim()), stat),
        None => (None, text),
    };
    let stat = match stat {
        "median" => "med",
        other => other,
    };
    let name = match (metric, stat) {
        (None, "ops" | "rate") => "delivered.rate".to_owned(),
        (None, stat) => stat.to_owned(),
        (Some(metric), stat) => format!("{metric}.{stat}"),
    };
    asked(&name.replace('=', ":"))
}

fn amount_of(text: &str, unit: Unit) -> Result<Tolerated, String> {
    let positive = |n: f64| {
        if n.is_finite() && n >= 0.0 {
            Ok(n)
        } else {
            Err(format!(
                "\"{text}\" is no amount to tolerate; expected one of zero or more"
            ))
        }
    };
    if let Some(number) = text.strip_suffix('%') {
        let percent = number
            .trim()
            .parse()
            .map_err(|_| format!("\"{text}\" is not a percentage"))?;
        return positive(percent).map(Tolerated::Percent);
    }
    if let (Unit::Nanoseconds, Ok(seconds)) = (unit, text.parse::<f64>()) {
        return positive(seconds * 1e9).map(Tolerated::Absolute);
    }
    let amount = unit.parse(text).map_err(|e| format!("{e}, nor a percentage"))?;
    positive(amount).map(Tolerated::Absolute)
}

/// The parts between commas that stand outside parentheses and braces.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{METRICS, STATISTICS};
    use proptest::prelude::*;

    #[test]
    fn the_grammar() {
        use Tolerated::{Absolute, Percent};
        for (text, metric, stat, by) in [
            ("mean:10%", "response_time", "mean", Percent(10.0)),
            ("median:2.5%", "response_time", "med", Percent(2.5)),
            ("p(99):15%", "response_time", "p(99)", Percent(15.0)),
            ("p99.9 : 15 %", "response_time", "p(99.9)", Percent(15.0)),
            ("stddev:100%", "response_time", "stddev", Percent(100.0)),
            ("min:2ms", "response_time", "min", Absolute(2e6)),
            ("max:0.001", "response_time", "max", Absolute(1e6)),
            ("mean:1e-3", "response_time", "mean", Absolute(1e6)),
            ("ops:5%", "delivered.rate", "value", Percent(5.0)),
            ("rate:100/s", "delivered.rate", "value", Absolute(100.0)),
            ("cpu.per_event value:10%", "cpu.per_event", "value", Percent(10.0)),
            ("rss{process:store} max:5MB", "rss{process:store}", "max", Absolute(5e6)),
            ("rss{process=store}.max:5MB", "rss{process:store}", "max", Absolute(5e6)),
            ("lost:0", "lost", "value", Absolute(0.0)),
        ] {
            let got = FailOn::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (got.metric.as_str(), got.statistic.to_string().as_str(), got.by),
                (metric, stat, by),
                "{text}"
            );
        }
        let list = FailOn::parse_list("mean:10%,p(99):15%, rss{process:a,kind:b} max:1MB").unwrap();
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn the_refusals_name_the_part_and_give_an_example() {
        for (text, says) in [
            ("mean:10%,nonsense", "\"nonsense\": expected a field"),
            ("mean:10%,", "\"\": expected a field"),
            ("mena:10%", "\"mena\""),
            ("mean:ten%", "not a percentage"),
            ("mean:-5%", "zero or more"),
            ("mean:NaN", "zero or more"),
            ("mean:10MB", "duration"),
            ("offered:10%", "expected another metric"),
            ("lost.p(95):10%", "counter"),
            ("p(100):10%", "between 0 and 100"),
            ("iqr:10%", "unknown metric or statistic"),
        ] {
            let error = FailOn::parse_list(text).unwrap_err();
            assert!(
                error.contains(says) && error.contains("such as \"mean:10%\""),
                "{text}: {error}"
            );
        }
    }

    /// Every figure that can be worse, by its places in both tables.
    fn figures() -> Vec<(usize, usize)> {
        let all = (0..METRICS.len()).flat_map(|m| (0..STATISTICS.len()).map(move |s| (m, s)));
        all.filter(|(m, s)| STATISTICS[*s].kinds.contains(&METRICS[*m].kind) && METRICS[*m].better != Better::Neutral)
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            (metric, stat) in proptest::sample::select(figures()), percent in 0.001f64..99.999, amount in 0.0f64..1e15, relative: bool, tags in proptest::collection::btree_map("[a-z]{1,6}", "[a-z0-9.-]{1,8}", 0..3),
        ) {
            let (metric, stat) = (&METRICS[metric], &STATISTICS[stat]);
            let fail_on = FailOn {
                metric: MetricKey { metric: metric.id.to_owned(), tags }.to_string(),
                statistic: Statistic { name: stat.name.to_owned(), argument: stat.argument.then_some(percent) },
                by: if relative { Tolerated::Percent(amount) } else { Tolerated::Absolute(amount) },
            };
            prop_assert_eq!(FailOn::parse_list(&fail_on.to_string()), Ok(vec![fail_on]));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}", near in "[a-z(){}:,.%0-9 ]{0,40}") {
            let _ = (FailOn::parse_list(&text), FailOn::parse_list(&near));
        }
    }
}
