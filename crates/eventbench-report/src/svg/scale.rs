//! Axes: from values to places, linear or logarithmic, with ticks at round numbers.

/// An axis: `from` lies at `low`, `to` at `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    pub from: f64,
    pub to: f64,
    pub log: bool,
    pub low: f64,
    pub high: f64,
}

/// Values whose largest is more than so many times the smallest are easier to tell apart by their ratios.
const WIDE: f64 = 12.0;

impl Axis {
    /// From 0, up to the first round number that no value exceeds.
    pub fn from_zero(most: f64, low: f64, high: f64) -> Axis {
        let most = sane(most);
        let step = nice_step(most / 4.0);
        Axis {
            from: 0.0,
            to: step * (most / step - 1e-9).ceil(),
            log: false,
            low,
            high,
        }
    }

    /// Logarithmic between round numbers around the values, which are positive.
    pub fn decades(least: f64, most: f64, low: f64, high: f64) -> Axis {
        let least = sane(least);
        let most = sane(most).max(least);
        let from = round_down(least);
        let to = round_up(most);
        Axis {
            from,
            to: if to > from { to } else { from * 2.0 },
            log: true,
            low,
            high,
        }
    }

    /// Linear from zero for values that lie close together, logarithmic for others; `None` without any positive value.
    pub fn fitting(values: impl Iterator<Item = f64>, low: f64, high: f64) -> Option<Axis> {
        let (least, most) = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .fold((f64::INFINITY, 0.0f64), |(l, m), v| (l.min(v), m.max(v)));
        if most <= 0.0 {
            return None;
        }
        Some(if most / least > WIDE {
            Axis::decades(least, most, low, high)
        } else {
            Axis::from_zero(most, low, high)
        })
    }

    /// Where a value lies; beyond the ends, at the end.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.low + share * (self.high - self.low)
    }

    /// Just around the values, logarithmic where the largest is several times the smallest: for what is drawn where it
    /// is, and not from zero.
    pub fn around(least: f64, most: f64, low: f64, high: f64) -> Axis {
        const SEVERAL: f64 = 4.0;
        let least = sane(least);
        let most = sane(most).max(least);
        let log = most / least > SEVERAL;
        let room = if log { 1.02 } else { 1.0 };
        let pad = if log {
            0.0
        } else {
            ((most - least) * 0.02).max(most * 1e-3)
        };
        Axis {
            from: (least - pad).max(0.0) / room,
            to: (most + pad) * room,
            log,
            low,
            high,
        }
    }

    /// Round numbers on the axis, at most about so many.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.log {
            return log_ticks(self.from, self.to, most);
        }
        self.stepped(nice_step((self.to - self.from) / most.max(1) as f64))
    }

    /// Ticks of seconds: round numbers below a minute, then minutes and hours.
    pub fn time_ticks(&self, most: usize) -> Vec<f64> {
        const STEPS: [f64; 12] = [
            15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0,
        ];
        let wanted = (self.to - self.from) / most.max(1) as f64;
        let step = match STEPS.iter().find(|s| **s >= wanted) {
            Some(step) if wanted > 10.0 => *step,
            Some(_) => nice_step(wanted),
            None => 86_400.0 * nice_step(wanted / 86_400.0),
        };
        self.stepped(step)
    }

    fn stepped(&self, step: f64) -> Vec<f64> {
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last.min(first + 1_000)).map(|k| k as f64 * step).collect()
    }
}

/// A size that some quantity can have in its base unit; 1 for what is none at all.
fn sane(size: f64) -> f64 {
    if size.is_finite() && size > 0.0 {
        size.clamp(1e-12, 1e24)
    } else {
        1.0
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is no less.
fn nice_step(least: f64) -> f64 {
    round_up(sane(least))
}

/// 10 to a whole power, exactly what the digits say.
fn power(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(1.0)
}

/// 1, 2 and 5 times the powers of ten around a value, ascending.
fn around(value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let decade = value.log10().floor() as i32;
    (decade - 1..=decade + 1).flat_map(|d| [1.0, 2.0, 5.0].map(|m| times(m, d)))
}

/// A mantissa times a power of ten; below one by division, which is exact where multiplication by 0.1 is not.
fn times(mantissa: f64, exponent: i32) -> f64 {
    if exponent < 0 {
        mantissa / power(-exponent)
    } else {
        mantissa * power(exponent)
    }
}

fn round_up(value: f64) -> f64 {
    around(value).find(|n| *n >= value * (1.0 - 1e-9)).unwrap_or(value)
}

fn round_down(value: f64) -> f64 {
    around(value)
        .rev()
        .find(|n| *n <= value * (1.0 + 1e-9))
        .unwrap_or(value)
}

fn log_ticks(from: f64, to: f64, most: usize) -> Vec<f64> {
    let (low, high) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let within = |v: &f64| *v >= from * (1.0 - 1e-9) && *v <= to * (1.0 + 1e-9);
    let of = |mantissas: &[f64], every: usize| -> Vec<f64> {
        let decades = (low..=high).step_by(every.max(1));
        decades
            .flat_map(|d| mantissas.iter().map(move |m| times(*m, d)))
            .filter(within)
            .collect()
    };
    for mantissas in [&[1.0, 2.0, 5.0][..], &[1.0, 5.0], &[1.0]] {
        let ticks = of(mantissas, 1);
        if ticks.len() <= most {
            return ticks;
        }
    }
    of(&[1.0], ((high - low) as usize).div_ceil(most.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        let axis = Axis::from_zero(1.87, 0.0, 100.0);
        assert_eq!(axis.ticks(5), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(Axis::decades(2.3e5, 4.1e8, 0.0, 1.0).ticks(6), [1e6, 1e7, 1e8]);
        assert_eq!(Axis::decades(2.3e5, 9e5, 0.0, 1.0).ticks(6), [2e5, 5e5, 1e6]);
        let hour = Axis {
            to: 3_600.0,
            ..Axis::from_zero(4.0, 0.0, 1.0)
        };
        assert_eq!(hour.time_ticks(7), [0.0, 600.0, 1200.0, 1800.0, 2400.0, 3000.0, 3600.0]);
        let short = Axis { to: 6.0, ..hour };
        assert_eq!(short.time_ticks(7), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    proptest! {
        #[test]
        fn every_value_has_its_place_and_order_is_kept(values in proptest::collection::vec(1e-3..1e15f64, 1..50)) {
            let axis = Axis::fitting(values.iter().copied(), 200.0, 0.0).unwrap();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert!(sorted.iter().all(|v| (axis.from..=axis.to).contains(v)), "{axis:?}");
            prop_assert!(sorted.windows(2).all(|w| axis.at(w[0]) >= axis.at(w[1])));
            for most in [2, 4, 8] {
                let ticks = axis.ticks(most);
                prop_assert!(ticks.len() <= most + 2, "{ticks:?}");
                prop_assert!(ticks.iter().all(|t| *t >= axis.from * 0.999 && *t <= axis.to * 1.001));
            }
        }

        #[test]
        fn no_value_breaks_an_axis(a in any::<f64>(), b in any::<f64>()) {
            let around = Axis::around(a, b, 0.0, 100.0);
            for axis in [Axis::from_zero(a, 0.0, 100.0), Axis::decades(a, b, 0.0, 100.0), around] {
                prop_assert!((0.0..=100.0).contains(&axis.at(b)));
                prop_assert!(axis.ticks(6).len() < 1_100 && axis.time_ticks(6).len() < 1_100);
            }
        }
    }
}
