//! A row in plain words: by how much, how sure, what is tolerated, and what to do next.

use super::decide::Margin;
use super::effect::Effect;
use super::{Decision, MarginSource, Scale};
use crate::metric::MetricKey;
use crate::units::Unit;

/// What a row's words speak of.
pub(super) struct Subject<'a> {
    /// The metric.
    pub(super) key: &'a MetricKey,
    /// The unit of a difference.
    pub(super) unit: Unit,
    /// What the effect is counted in.
    pub(super) scale: Scale,
    /// Whether trials are pairs.
    pub(super) paired: bool,
    /// Trials of the side that has fewer.
    pub(super) trials: usize,
}

impl Subject<'_> {
    /// The words of a gating row. `needed` is how many pairs would show what the user asked for.
    pub(super) fn gate(&self, effect: Effect, margin: &Margin, decision: Decision, needed: Option<u32>) -> String {
        let (bound, source) = margin.effective();
        let (change, bound) = (self.change(effect), self.amount(bound));
        let beyond = match source {
            MarginSource::Noise => format!("the {bound} that noise alone makes here"),
            MarginSource::User | MarginSource::Default => format!("the {bound} that is tolerated"),
        };
        let mut words = match decision {
            Decision::Worse => format!("{change}, beyond {beyond}"),
            Decision::Better => format!("{change}, beyond {beyond} either way"),
            Decision::Same => format!("{change}, within {beyond}"),
            Decision::Inconclusive { more_trials } => format!("{change}: {}", self.more(more_trials, &beyond)),
            Decision::Underpowered => format!(
                "{change}: {} was asked for, which is less than can be seen here; {}",
                self.amount(margin.asked),
                match needed {
                    Some(n) => format!("it takes {n} pairs, run in turn, or pinned cores"),
                    None => "tolerate more, pin the cores, or run on a quieter machine".to_owned(),
                }
            ),
            Decision::NoData => "there is nothing to compare".to_owned(),
        };
        if let Some(visible) = margin.visible {
            words.push_str(&format!("; smallest change visible here: {}", self.amount(visible)));
        }
        words
    }

    /// The words of an advisory row.
    pub(super) fn advisory(&self, effect: Effect, p: Option<f64>, decision: Decision) -> String {
        let change = self.change(effect);
        let p = p.map(p_value).unwrap_or_default();
        match decision {
            Decision::Worse | Decision::Better => format!("{change}; not by chance ({p} after correction)"),
            Decision::Same => format!("{change}; too little to matter"),
            _ => format!("{change}; may be chance ({p} after correction)"),
        }
    }

    /// The words of a plain threshold.
    pub(super) fn threshold(
        &self,
        effect: f64,
        tolerated: f64,
        visible: Option<f64>,
        named: &str,
        decision: Decision,
    ) -> String {
        let change = if effect.is_finite() {
            self.change(Effect {
                value: effect,
                interval: None,
            })
        } else {
            format!("{} from nothing", self.direction(effect > 0.0))
        };
        let how = if decision == Decision::Worse {
            "more than"
        } else {
            "no more than"
        };
        let mut words = format!("{change}, {how} {named} lets pass");
        if let Some(visible) = visible.filter(|v| *v > tolerated) {
            words.push_str(&format!(
                "; so small a threshold fails by chance, the smallest change visible here being {}",
                self.amount(visible)
            ));
        }
        words
    }

    /// "slower by 9.8 % (8.1 to 11.4 %)", in the direction in which it went.
    pub(super) fn change(&self, effect: Effect) -> String {
        if effect.value == 0.0 {
            let interval = effect
                .interval
                .filter(|i| *i != (0.0, 0.0))
                .map(|(low, high)| format!(" ({})", self.span(low, high)))
                .unwrap_or_default();
            return format!("no change{interval}");
        }
        let sign = effect.value.signum();
        let size = self.amount(effect.value.abs());
        let interval = effect
            .interval
            .map(|(low, high)| if sign < 0.0 { (-high, -low) } else { (low, high) })
            .map(|(low, high)| format!(" ({})", self.span(low, high)))
            .unwrap_or_default();
        format!("{} by {size}{interval}", self.direction(sign > 0.0))
    }

    fn direction(&self, more: bool) -> &'static str {
        // Time that is waited for is slow or fast; everything else, CPU time too, goes up or down.
        let waited = self.unit == Unit::Nanoseconds && !self.key.metric.starts_with("cpu");
        match (waited, more) {
            (true, true) => "slower",
            (true, false) => "faster",
            (false, true) => "up",
            (false, false) => "down",
        }
    }

    fn more(&self, more_trials: Option<u32>, beyond: &str) -> String {
        let (one, many) = if self.paired {
            ("pair", "pairs")
        } else {
            ("trial a side", "trials a side")
        };
        match more_trials {
            _ if self.trials < 2 => format!("one {one} cannot tell a change from chance; run five at least"),
            Some(1) => format!("too uncertain to tell from {beyond}; about one more {one} would decide"),
            Some(n) => format!("too uncertain to tell from {beyond}; about {n} more {many} would decide"),
            None => format!("as large as {beyond}, so that more {many} hardly decide it; another margin would"),
        }
    }

    fn amount(&self, amount: f64) -> String {
        match self.scale {
            Scale::Ratio => format!("{} %", percent(amount)),
            Scale::Difference => self.unit.show(amount).replace('-', "−"),
        }
    }

    fn span(&self, low: f64, high: f64) -> String {
        match self.scale {
            Scale::Ratio => format!("{} to {} %", percent(low), percent(high)),
            Scale::Difference => format!("{} to {}", self.amount(low), self.amount(high)),
        }
    }
}

/// A ratio in percent: one decimal, two below a tenth of a percent.
fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let text = match percent.abs() {
        p if p >= 99.95 => format!("{percent:.0}"),
        p if p >= 0.095 || p == 0.0 => format!("{percent:.1}"),
        _ => format!("{percent:.2}"),
    };
    let text = text.strip_suffix(".0").unwrap_or(&text);
    match text.strip_prefix('-') {
        Some(zero) if zero.bytes().all(|b| b"0.".contains(&b)) => zero.to_owned(),
        Some(size) => format!("−{size}"),
        None => text.to_owned(),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {}", crate::units::digits((p * 1000.0).round() / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(metric: &MetricKey, unit: Unit, scale: Scale) -> Subject<'_> {
        Subject {
            key: metric,
            unit,
            scale,
            paired: true,
            trials: 10,
        }
    }

    #[test]
    fn a_row_reads_as_a_sentence() {
        let time = MetricKey::plain("response_time");
        let rate = MetricKey::plain("delivered.rate");
        let effect = |value, low, high| Effect {
            value,
            interval: Some((low, high)),
        };
        let margin = |asked, by_user, visible| Margin {
            asked,
            by_user,
            visible,
        };
        let slower = subject(&time, Unit::Nanoseconds, Scale::Ratio);
        let five = margin(0.05, false, Some(0.03));
        for (got, expected) in [
            (
                slower.gate(effect(0.098, 0.081, 0.114), &five, Decision::Worse, None),
                "slower by 9.8 % (8.1 to 11.4 %), beyond the 5 % that is tolerated; smallest change visible here: 3 %",
            ),
            (
                slower.gate(
                    effect(-0.012, -0.03, 0.004),
                    &margin(0.05, true, None),
                    Decision::Same,
                    None,
                ),
                "faster by 1.2 % (−0.4 to 3 %), within the 5 % that is tolerated",
            ),
            (
                slower.gate(
                    effect(0.0, -0.03, 0.2),
                    &margin(0.01, true, Some(0.06)),
                    Decision::Underpowered,
                    Some(40),
                ),
                "no change (−3 to 20 %): 1 % was asked for, which is less than can be seen here; it takes 40 pairs, run in \
                 turn, or pinned cores; smallest change visible here: 6 %",
            ),
            (
                subject(&rate, Unit::PerSecond, Scale::Ratio).gate(
                    effect(-0.2, -0.3, -0.01),
                    &margin(0.05, false, Some(0.1)),
                    Decision::Inconclusive { more_trials: Some(3) },
                    None,
                ),
                "down by 20 % (1 to 30 %): too uncertain to tell from the 10 % that noise alone makes here; about 3 more \
                 pairs would decide; smallest change visible here: 10 %",
            ),
            (
                subject(&time, Unit::Nanoseconds, Scale::Difference).gate(
                    effect(2e6, 1e6, 3e6),
                    &margin(1e5, false, None),
                    Decision::Worse,
                    None,
                ),
                "slower by 2 ms (1 ms to 3 ms), beyond the 100 µs that is tolerated",
            ),
        ] {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn percentages() {
        for (ratio, text) in [
            (0.0, "0"),
            (-0.000001, "0.00"),
            (0.0004, "0.04"),
            (0.05, "5"),
            (-0.0312, "−3.1"),
            (2.5, "250"),
        ] {
            assert_eq!(percent(ratio), text);
        }
    }
}
