//! From an effect, its interval and a margin to a decision.

use super::effect::Effect;
use super::{Decision, MarginSource, Scale};
use crate::metric::Better;

/// The change that is tolerated in the bad direction, and what is known of the noise. All on the effect's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Margin {
    /// What was asked for.
    pub(super) asked: f64,
    /// Whether the user asked for it.
    pub(super) by_user: bool,
    /// The smallest change that is visible here, where that is known.
    pub(super) visible: Option<f64>,
}

impl Margin {
    /// The larger of what was asked for and the noise, and which of them it is.
    pub(super) fn effective(&self) -> (f64, MarginSource) {
        match self.visible {
            Some(visible) if visible > self.asked => (visible, MarginSource::Noise),
            _ if self.by_user => (self.asked, MarginSource::User),
            _ => (self.asked, MarginSource::Default),
        }
    }

    /// Whether the user asked for more than can be seen here.
    pub(super) fn underpowered(&self) -> bool {
        self.by_user && self.effective().1 == MarginSource::Noise
    }
}

/// More trials than this are not a proposal.
const MANY: f64 = 1000.0;

/// What follows. `trials` is the number a side behind the interval.
///
/// The bad bound is the margin itself. The good bound is its mirror image, so that swapping the sides turns worse into
/// better: of a ratio that is 1 / (1 + margin), a little less than the margin.
pub(super) fn decide(better: Better, scale: Scale, effect: Effect, margin: &Margin, trials: usize) -> Decision {
    let (bound, _) = margin.effective();
    let Some((low, high)) = effect.interval else {
        return if margin.underpowered() {
            Decision::Underpowered
        } else {
            Decision::Inconclusive { more_trials: None }
        };
    };
    // Where effects add up and more is worse.
    let inner = |x: f64| scale.inward(x.max(if scale == Scale::Ratio { -1.0 } else { x }));
    let (value, low, high, bound) = match better {
        Better::Higher => (-inner(effect.value), -inner(high), -inner(low), -inner(-bound)),
        _ => (inner(effect.value), inner(low), inner(high), inner(bound)),
    };
    if low > bound {
        Decision::Worse
    } else if high < -bound {
        Decision::Better
    } else if margin.underpowered() {
        Decision::Underpowered
    } else if high <= bound {
        Decision::Same
    } else {
        Decision::Inconclusive {
            more_trials: more_trials(value, low, high, bound, trials),
        }
    }
}

/// An interval shrinks with the root of the number of trials: as many as bring its near end to the margin.
fn more_trials(value: f64, low: f64, high: f64, bound: f64, trials: usize) -> Option<u32> {
    let (now, wanted) = if value <= bound {
        (high - value, bound - value)
    } else {
        (value - low, value - bound)
    };
    let needed = (trials as f64 * (now / wanted).powi(2)).ceil();
    (needed.is_finite() && needed <= MANY).then(|| (needed as u32).saturating_sub(trials as u32).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verdict;

    fn margin(asked: f64, by_user: bool, visible: Option<f64>) -> Margin {
        Margin {
            asked,
            by_user,
            visible,
        }
    }

    fn of(better: Better, low: f64, value: f64, high: f64, margin: &Margin) -> Decision {
        let effect = Effect {
            value,
            interval: Some((low, high)),
        };
        decide(better, Scale::Ratio, effect, margin, 10)
    }

    #[test]
    fn where_the_interval_lies_decides() {
        let five = margin(0.05, false, None);
        for (low, value, high, expected) in [
            (0.06, 0.10, 0.14, Decision::Worse),
            (-0.01, 0.01, 0.03, Decision::Same),
            (-0.20, -0.03, 0.04, Decision::Same),
            (-0.20, -0.15, -0.06, Decision::Better),
            (0.02, 0.09, 0.16, Decision::Inconclusive { more_trials: Some(22) }),
            (0.04, 0.05, 0.06, Decision::Inconclusive { more_trials: None }),
        ] {
            assert_eq!(of(Better::Lower, low, value, high, &five), expected, "{low} {high}");
        }
        assert_eq!(of(Better::Higher, -0.14, -0.10, -0.06, &five), Decision::Worse);
        assert_eq!(of(Better::Higher, 0.06, 0.10, 0.14, &five), Decision::Better);
        assert_eq!(of(Better::Higher, -0.04, 0.10, 0.14, &five), Decision::Same);
    }

    #[test]
    fn less_than_is_visible_is_underpowered_unless_it_is_beyond_the_noise() {
        let asked = margin(0.02, true, Some(0.06));
        assert_eq!(of(Better::Lower, -0.01, 0.0, 0.01, &asked), Decision::Underpowered);
        assert_eq!(of(Better::Lower, 0.03, 0.04, 0.05, &asked), Decision::Underpowered);
        assert_eq!(of(Better::Lower, 0.07, 0.08, 0.09, &asked), Decision::Worse);
        // Nobody asked for the default: it gives way to the noise.
        let default = margin(0.05, false, Some(0.06));
        assert_eq!(of(Better::Lower, -0.01, 0.0, 0.055, &default), Decision::Same);
        assert_eq!(default.effective(), (0.06, MarginSource::Noise));
        assert_eq!(margin(0.1, true, Some(0.06)).effective(), (0.1, MarginSource::User));
    }

    #[test]
    fn one_trial_a_side_decides_nothing() {
        let effect = Effect {
            value: 3.0,
            interval: None,
        };
        let decision = decide(Better::Lower, Scale::Ratio, effect, &margin(0.05, false, None), 1);
        assert_eq!(decision, Decision::Inconclusive { more_trials: None });
        assert_eq!(decision.verdict(), Verdict::Warn);
    }

    #[test]
    fn what_is_gone_altogether_still_decides() {
        // A throughput that fell to nothing is a ratio of −100 %, and a margin of 100 % and more is never passed.
        let effect = Effect {
            value: -0.999,
            interval: Some((-1.0, -0.99)),
        };
        assert_eq!(
            decide(Better::Higher, Scale::Ratio, effect, &margin(0.05, false, None), 5),
            Decision::Worse
        );
        let all = margin(1.0, true, None);
        assert_eq!(decide(Better::Higher, Scale::Ratio, effect, &all, 5), Decision::Same);
    }
}
