//! `search`: the highest rate at which given limits still hold, found by halving.

use super::LimitEntry;
use crate::judge::Limit;
use crate::units::{Rate, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A search for the highest rate, in place of one rate. Each step is a whole measurement on a fresh stage.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The lowest rate; it must hold there.
    pub from: Rate,
    /// The highest rate that is tried.
    pub to: Rate,
    /// The search ends when the rates that hold and do not hold lie this close together; 5 % if absent.
    pub precision: Option<Ratio>,
    /// What must hold at a rate for it to count; the instrument must have kept up as well, and the books must balance.
    pub holds: Vec<LimitEntry>,
}

/// No search goes on for more steps than this, whatever its precision.
pub const MOST_STEPS: u32 = 24;

impl Search {
    /// The precision as a ratio.
    pub fn precision(&self) -> f64 {
        self.precision.map_or(0.05, |p| p.0)
    }

    /// About how many steps it takes.
    pub fn steps(&self) -> u32 {
        let span = (self.to.0 / self.from.0).ln() / self.precision().ln_1p();
        // Both ends, and then halves.
        (2.0 + span.max(1.0).log2().ceil()).min(f64::from(MOST_STEPS)) as u32
    }

    /// What a suite can have wrong here.
    ///
    /// # Errors
    /// In words for the user.
    pub fn check(&self, arrival: &str) -> Result<(), String> {
        if arrival != "constant" && arrival != "poisson" {
            return Err(format!(
                "a search sets the rate of an open load, so `arrival` must be constant or poisson, not {arrival}"
            ));
        }
        if !(self.from.0 > 0.0 && self.from.0 < self.to.0) {
            return Err(format!(
                "expected a rate `from` above zero and below `to`, not {} and {}",
                self.from, self.to
            ));
        }
        if !(0.001..=1.0).contains(&self.precision()) {
            return Err("expected a precision between 0.1 % and 100 %".to_owned());
        }
        if self.holds.is_empty() {
            return Err("`holds` names no limit, so every rate would hold; add one such as \"p(99) < 5ms\"".to_owned());
        }
        self.holds.iter().try_for_each(|entry| Limit::parse(entry).map(drop))
    }
}

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Halving {
    /// The highest rate that held, per second.
    pub holds: Option<f64>,
    /// The lowest rate that did not, per second.
    pub fails: Option<f64>,
    from: f64,
    to: f64,
    precision: f64,
    steps: u32,
}

impl Halving {
    /// The beginning of a search.
    pub fn of(search: &Search) -> Halving {
        Halving {
            holds: None,
            fails: None,
            from: search.from.0,
            to: search.to.0,
            precision: search.precision(),
            steps: 0,
        }
    }

    /// The rate to try next; `None` when the search has ended. First the lowest, then the highest, then the geometric
    /// middle of what holds and what does not.
    pub fn next(&self) -> Option<f64> {
        if self.steps >= MOST_STEPS {
            return None;
        }
        match (self.holds, self.fails) {
            (None, None) => Some(self.from),
            (None, Some(_)) => None,
            (Some(holds), None) => (holds < self.to).then_some(self.to),
            (Some(holds), Some(fails)) => (fails / holds > 1.0 + self.precision).then(|| (holds * fails).sqrt()),
        }
    }

    /// Notes what came of a rate.
    pub fn note(&mut self, rate: f64, held: bool) {
        self.steps += 1;
        if held {
            self.holds = Some(rate);
        } else {
            self.fails = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(from: f64, to: f64, precision: f64) -> Search {
        let limit = LimitEntry {
            that: "p(99) < 5ms".to_owned(),
            severity: super::super::Severity::Must,
            min_samples: None,
        };
        Search {
            from: Rate(from),
            to: Rate(to),
            precision: Some(Ratio(precision)),
            holds: vec![limit],
        }
    }

    proptest! {
        #[test]
        fn the_knee_lies_between_what_holds_and_what_does_not(knee in 1.0e3..1.0e6_f64, precision in 0.01..0.5_f64) {
            let plan = search(1e3, 1e6, precision);
            let mut halving = Halving::of(&plan);
            let mut steps = 0;
            while let Some(rate) = halving.next() {
                halving.note(rate, rate <= knee);
                steps += 1;
            }
            let (holds, fails) = (halving.holds.unwrap(), halving.fails.unwrap_or(f64::INFINITY));
            prop_assert!(holds <= knee && knee < fails);
            prop_assert!(fails / holds <= (1.0 + precision) * 1.000_001);
            prop_assert!(steps <= plan.steps(), "{} {}", steps, plan.steps());
        }
    }

    #[test]
    fn what_does_not_hold_at_the_lowest_rate_has_no_knee_and_what_always_holds_ends_at_the_highest() {
        let plan = search(10.0, 100.0, 0.05);
        let mut never = Halving::of(&plan);
        never.note(never.next().unwrap(), false);
        assert_eq!((never.next(), never.holds), (None, None));
        let mut always = Halving::of(&plan);
        while let Some(rate) = always.next() {
            always.note(rate, true);
        }
        assert_eq!((always.holds, always.fails), (Some(100.0), None));
    }

    #[test]
    fn refusals_say_what_was_expected() {
        assert!(search(10.0, 100.0, 0.05).check("constant").is_ok());
        for (plan, arrival, part) in [
            (search(10.0, 100.0, 0.05), "closed", "open load"),
            (search(100.0, 100.0, 0.05), "constant", "below `to`"),
            (search(10.0, 100.0, 0.0), "constant", "precision"),
            (
                Search {
                    holds: Vec::new(),
                    ..search(10.0, 100.0, 0.05)
                },
                "poisson",
                "names no limit",
            ),
        ] {
            let message = plan.check(arrival).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
