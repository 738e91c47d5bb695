//! The effect: by how much b differs from a, and its interval, from one value a trial.
//!
//! Medians over trials carry the effect, since one trial in ten that was disturbed must not. The interval is a seeded
//! percentile bootstrap. Of one sample's median (pairs) that covers too seldom, so it is widened to the interval of order
//! statistics with interpolated ranks (Hettmansperger and Sheather, "Confidence intervals based on interpolated order
//! statistics", Statistics & Probability Letters 4, 1986), which holds its rate from eight pairs on. The difference of two
//! medians needs no such help. Below eight trials a side no resampling can know the tails: there the interval is
//! widened to Student's t, or Welch's with two samples (Biometrika 34, 1947).

use super::Scale;
use super::resample::{Resampler, Stream, percentile_interval};
use crate::judge::statistics::{mean, median};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// Trials a side below which resampling alone is not believed.
pub(super) const FEW: usize = 8;

/// How intervals are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resampling {
    /// Share of intervals that are to hold the true effect.
    pub(super) confidence: f64,
    /// Resamples.
    pub(super) draws: u32,
    /// Seed of the draws.
    pub(super) seed: u64,
}

/// The values of one figure on both sides; a pair stands at the same place of both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Of a.
    pub(super) a: Vec<f64>,
    /// Of b; as many as of a when they are paired.
    pub(super) b: Vec<f64>,
    /// Whether they are pairs.
    pub(super) paired: bool,
    /// What differences are counted in.
    pub(super) scale: Scale,
}

/// By how much b differs from a.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Effect {
    /// The effect.
    pub(super) value: f64,
    /// Its interval; absent with a single trial on either side.
    pub(super) interval: Option<(f64, f64)>,
}

impl Scale {
    /// Where effects add up: the logarithm of a ratio, or the difference itself.
    pub(super) fn inward(self, effect: f64) -> f64 {
        match self {
            Scale::Ratio => effect.ln_1p(),
            Scale::Difference => effect,
        }
    }

    /// Back to what is shown.
    pub(super) fn outward(self, inner: f64) -> f64 {
        match self {
            Scale::Ratio => inner.exp_m1(),
            Scale::Difference => inner,
        }
    }

    /// A value where differences of values are effects.
    pub(super) fn of_value(self, value: f64) -> f64 {
        match self {
            Scale::Ratio => value.ln(),
            Scale::Difference => value,
        }
    }
}

impl Sample {
    /// Trials of the side that has fewer.
    pub(super) fn size(&self) -> usize {
        self.a.len().min(self.b.len())
    }

    /// The effect with its bootstrap interval; `None` without values on both sides.
    pub(super) fn effect(&self, resampling: &Resampling) -> Option<Effect> {
        let inner = self.inner_point()?;
        // Always the same side first, so that swapping the sides mirrors the answer exactly.
        let turned = (inner, self.inner_mean()?) < (0.0, 0.0);
        let sample = if turned { self.swapped() } else { self.clone() };
        let interval = sample.inner_interval(resampling).map(|(low, high)| {
            let (low, high) = if turned { (-high, -low) } else { (low, high) };
            // An interval holds its own estimate, which rounding could otherwise deny it.
            (self.scale.outward(low.min(inner)), self.scale.outward(high.max(inner)))
        });
        Some(Effect {
            value: self.scale.outward(inner),
            interval,
        })
    }

    /// The effect with the interval by Student's t or Welch's alone, which costs next to nothing.
    pub(super) fn quick_effect(&self, confidence: f64) -> Option<Effect> {
        let inner = self.inner_point()?;
        let interval = self
            .student(confidence)
            .map(|(low, high)| (self.scale.outward(low.min(inner)), self.scale.outward(high.max(inner))));
        Some(Effect {
            value: self.scale.outward(inner),
            interval,
        })
    }

    /// b with a in place of a with b.
    pub(super) fn swapped(&self) -> Sample {
        Sample {
            a: self.b.clone(),
            b: self.a.clone(),
            ..*self
        }
    }

    /// The pairs' own effects, where effects add up.
    pub(super) fn inner_pairs(&self) -> Vec<f64> {
        let of = |v: f64| self.scale.of_value(v);
        self.a.iter().zip(&self.b).map(|(a, b)| of(*b) - of(*a)).collect()
    }

    fn inner_point(&self) -> Option<f64> {
        if self.paired {
            return median(&self.inner_pairs());
        }
        Some(self.between(median(&self.a)?, median(&self.b)?))
    }

    fn inner_mean(&self) -> Option<f64> {
        Some(mean(&self.inner_values(&self.b))? - mean(&self.inner_values(&self.a))?)
    }

    fn inner_values(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|v| self.scale.of_value(*v)).collect()
    }

    fn between(&self, a: f64, b: f64) -> f64 {
        match self.scale {
            Scale::Ratio => (b / a).ln(),
            Scale::Difference => b - a,
        }
    }

    fn inner_interval(&self, resampling: &Resampling) -> Option<(f64, f64)> {
        let confidence = resampling.confidence;
        let mut stream = Stream::new(resampling.seed);
        if self.size() < 2 {
            return None;
        }
        let (drawn, second) = if self.paired {
            let pairs = self.inner_pairs();
            let mut resampler = Resampler::new(&pairs);
            let drawn = percentile_interval(resampling.draws, confidence, || {
                resampler.median(pairs.len(), &mut stream)
            });
            let ranks = (pairs.len() >= FEW).then(|| order_interval(&pairs, confidence));
            (drawn, ranks.flatten().or_else(|| self.student(confidence)))
        } else {
            let (mut a, mut b) = (Resampler::new(&self.a), Resampler::new(&self.b));
            let drawn = percentile_interval(resampling.draws, confidence, || {
                let (a, b) = (a.median(self.a.len(), &mut stream), b.median(self.b.len(), &mut stream));
                self.between(a, b)
            });
            let few = self.size() < FEW;
            (drawn, few.then(|| self.student(confidence)).flatten())
        };
        let second = second.unwrap_or(drawn);
        Some((drawn.0.min(second.0), drawn.1.max(second.1)))
    }

    /// Student's interval of the mean of pairs, or Welch's of the difference of two means, where effects add up.
    fn student(&self, confidence: f64) -> Option<(f64, f64)> {
        let (centre, squared_error, freedom) = if self.paired {
            let pairs = self.inner_pairs();
            let (mean, squared) = mean_and_error(&pairs)?;
            (mean, squared, pairs.len() as f64 - 1.0)
        } else {
            let (mean_a, of_a) = mean_and_error(&self.inner_values(&self.a))?;
            let (mean_b, of_b) = mean_and_error(&self.inner_values(&self.b))?;
            let parts = |squared: f64, n: usize| squared * squared / (n as f64 - 1.0);
            let both = of_a + of_b;
            let freedom = both * both / (parts(of_a, self.a.len()) + parts(of_b, self.b.len()));
            // Without any variation the degrees of freedom are nought over nought, and the interval is a point.
            (mean_b - mean_a, both, if freedom.is_finite() { freedom } else { 1.0 })
        };
        let t = StudentsT::new(0.0, 1.0, freedom)
            .ok()?
            .inverse_cdf(0.5 + confidence / 2.0);
        let half = t * squared_error.sqrt();
        half.is_finite().then_some((centre - half, centre + half))
    }
}

/// The mean and the square of its standard error; `None` below two values.
fn mean_and_error(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, variance / n))
}

/// The interval of the median by order statistics with interpolated ranks; `None` where there are too few values for the
/// confidence asked for.
fn order_interval(values: &[f64], confidence: f64) -> Option<(f64, f64)> {
    let n = values.len();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = Binomial::new(0.5, n as u64).ok()?;
    // The interval from the d-th smallest to the d-th largest value holds the median unless fewer than d lie on one side.
    let holds = |d: usize| 1.0 - 2.0 * below.cdf(d as u64 - 1);
    let mut d = 1;
    if holds(d) < confidence {
        return None;
    }
    while holds(d + 1) >= confidence && d + 1 < n / 2 {
        d += 1;
    }
    let (wider, narrower) = (holds(d), holds(d + 1));
    let share = ((wider - confidence) / (wider - narrower)).clamp(0.0, 1.0);
    let (n_f, d_f) = (n as f64, d as f64);
    let weight = (n_f - d_f) * share / (d_f + (n_f - 2.0 * d_f) * share);
    let at = |outer: usize, inner: usize| (1.0 - weight) * sorted[outer] + weight * sorted[inner];
    Some((at(d - 1, d), at(n - d, n - d - 1)))
}

#[cfg(test)]
mod tests;
