//! `grade`: how good a figure is by the suite's own scale, beside the limits that decide.

use crate::judge::{Figure, figure};
use crate::metric::{MetricKey, Statistic, Values, definition};
use crate::record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A scale of three grades: A below one bound, B below the other, C else; above, where more is better.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grading {
    /// The metric; response_time if absent.
    pub metric: Option<String>,
    /// What is asked of it, such as "mean" or "p(95)"; mean if absent.
    pub stat: Option<String>,
    /// The bound of A, with its unit.
    pub a: String,
    /// The bound of B, with its unit.
    pub b: String,
}

/// A scale whose parts are understood.
struct Scale {
    metric: String,
    statistic: Statistic,
    a: f64,
    b: f64,
    more_is_better: bool,
}

impl Grading {
    /// Refuses a metric or statistic that does not exist, bounds of another unit, and bounds in the wrong order.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        self.scale().map(drop)
    }

    fn scale(&self) -> Result<Scale, String> {
        let metric = self.metric.as_deref().unwrap_or("response_time");
        let stat = self.stat.as_deref().unwrap_or("mean");
        let definition = definition(metric).ok_or_else(|| format!("grade: there is no metric \"{metric}\""))?;
        let statistic = Statistic::parse(stat).ok_or_else(|| format!("grade: there is no statistic \"{stat}\""))?;
        let row = statistic
            .definition()
            .filter(|row| row.kinds.contains(&definition.kind))
            .ok_or_else(|| format!("grade: \"{stat}\" cannot be asked of {metric}"))?;
        let unit = (row.unit)(definition.unit);
        let bound = |key: &str, text: &str| unit.parse(text).map_err(|e| format!("grade.{key}: {e}"));
        let (a, b) = (bound("a", &self.a)?, bound("b", &self.b)?);
        let more_is_better = definition.better == crate::metric::Better::Higher;
        if a == b || (a > b) != more_is_better {
            return Err(format!(
                "grade: {} must be the stricter bound, beside {}",
                self.a, self.b
            ));
        }
        Ok(Scale {
            metric: metric.to_owned(),
            statistic,
            a,
            b,
            more_is_better,
        })
    }

    /// The grade of a benchmark by its trials.
    pub fn judge(&self, trials: &[&Values]) -> Option<record::Grade> {
        let scale = self.scale().ok()?;
        let figure = figure(trials, &MetricKey::plain(&scale.metric), &scale.statistic);
        let value = figure.as_ref().and_then(|f: &Figure| f.value);
        let sign = if scale.more_is_better { ">" } else { "<" };
        Some(record::Grade {
            grade: value.map(|v| scale.letter(v).to_owned()),
            of: format!("{} {}", scale.metric, scale.statistic),
            scale: format!("A {sign} {}, B {sign} {}", self.a, self.b),
        })
    }
}

impl Scale {
    fn letter(&self, value: f64) -> &'static str {
        let within = |bound: f64| {
            if self.more_is_better {
                value > bound
            } else {
                value < bound
            }
        };
        match () {
            () if within(self.a) => "A",
            () if within(self.b) => "B",
            () => "C",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grading(text: &str) -> Grading {
        toml::from_str(text).unwrap()
    }

    fn letter(text: &str, value: Option<f64>) -> Option<String> {
        let mut values = Values::default();
        for metric in ["makespan", "delivered.rate"] {
            if let Some(value) = value {
                values.gauge(metric, value);
            }
        }
        let grade = grading(text).judge(&[&values]).unwrap();
        grade.grade
    }

    #[test]
    fn a_value_is_graded_by_the_bounds_of_its_scale() {
        let less = "metric = \"makespan\"\nstat = \"value\"\na = \"1ms\"\nb = \"2ms\"";
        let more = "metric = \"delivered.rate\"\nstat = \"value\"\na = \"1000/s\"\nb = \"100/s\"";
        for (text, value, expected) in [
            (less, Some(999_999.0), Some("A")),
            (less, Some(1e6), Some("B")),
            (less, Some(2e6), Some("C")),
            (less, None, None),
            (more, Some(1001.0), Some("A")),
            (more, Some(1000.0), Some("B")),
            (more, Some(99.0), Some("C")),
        ] {
            assert_eq!(letter(text, value).as_deref(), expected, "{text} {value:?}");
        }
    }

    #[test]
    fn a_scale_that_makes_no_sense_is_refused() {
        for (text, word) in [
            ("a = \"1ms\"\nb = \"1ms\"", "stricter"),
            ("a = \"2ms\"\nb = \"1ms\"", "stricter"),
            ("a = \"1MB\"\nb = \"2ms\"", "grade.a"),
            ("metric = \"speed\"\na = \"1ms\"\nb = \"2ms\"", "speed"),
            ("stat = \"slope\"\na = \"1ms\"\nb = \"2ms\"", "slope"),
        ] {
            let error = grading(text).check().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        grading("a = \"1ms\"\nb = \"2ms\"").check().unwrap();
    }
}
