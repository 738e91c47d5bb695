//! Poisson arrival: independent events at a mean rate.
//!
//! Given their number, the events of a Poisson process are independent and uniform over the interval, so the number is
//! fixed at the mean (trials then offer the same load) and the places are drawn. To find the k-th place from k alone
//! the interval is halved again and again, the number in the left half being binomial, until few enough events are
//! left to draw and sort. Reference: Devroye, "Non-Uniform Random Variate Generation" (1986), chapters V and VI.

use super::{Arrival, duration, rate};
use crate::mix::{mix2, mix3, unit};
use crate::plan::Load;
use std::cell::RefCell;

/// Events that are drawn and sorted together.
const LEAF: u64 = 256;

/// Independent arrivals at a mean rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Poisson {
    /// Mean events per second.
    pub rate_per_s: f64,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Which of all such schedules.
    pub seed: u64,
}

/// The leaf that was looked up last. A pacer asks for neighbours, so it is nearly always the right one.
struct Leaf {
    of: (u64, u64, u64),
    first: u64,
    due: Vec<u64>,
}

thread_local! {
    static LAST: RefCell<Leaf> = const { RefCell::new(Leaf { of: (0, 0, 0), first: 0, due: Vec::new() }) };
}

impl Poisson {
    /// When event `k` is due.
    pub fn due(&self, k: u64) -> Option<u64> {
        if k >= self.total() {
            return None;
        }
        LAST.with_borrow_mut(|leaf| {
            let of = (self.rate_per_s.to_bits(), self.duration_ns, self.seed);
            if leaf.of != of || k < leaf.first || k - leaf.first >= leaf.due.len() as u64 {
                leaf.of = of;
                leaf.first = self.fill(k, &mut leaf.due);
            }
            leaf.due.get((k - leaf.first) as usize).copied()
        })
    }

    /// How many events there are.
    pub fn total(&self) -> u64 {
        (self.rate_per_s * self.duration_ns as f64 / 1e9).round() as u64
    }

    /// Fills `due` with the leaf that holds event `k` and returns the number of its first event.
    fn fill(&self, k: u64, due: &mut Vec<u64>) -> u64 {
        let (mut low, mut high) = (0.0, self.duration_ns as f64);
        let (mut first, mut n, mut node) = (0, self.total(), 1u64);
        while n > LEAF {
            let middle = (low + high) / 2.0;
            let left = half(n, mix2(self.seed, node));
            if k - first < left {
                (high, n, node) = (middle, left, node << 1);
            } else {
                (low, n, first, node) = (middle, n - left, first + left, node << 1 | 1);
            }
        }
        due.clear();
        due.extend((0..n).map(|i| (low + (high - low) * unit(mix3(self.seed, node, i + 1))) as u64));
        due.sort_unstable();
        first
    }
}

/// A binomial (n, 1/2) number by its normal approximation, which at n > 256 errs by less than one part in a thousand.
fn half(n: u64, word: u64) -> u64 {
    let radius = (-2.0 * unit(word).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * unit(mix2(word, 1))).cos();
    let value = n as f64 / 2.0 + normal * (n as f64).sqrt() / 2.0;
    (value.round().max(0.0) as u64).min(n)
}

pub(super) fn build(load: &Load) -> Result<Arrival, String> {
    Ok(Arrival::Poisson(Poisson {
        rate_per_s: rate(load)?,
        duration_ns: duration(load)?,
        seed: load.seed.unwrap_or(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential() {
        let shape = Poisson {
            rate_per_s: 1_000.0,
            duration_ns: 100_000_000_000,
            seed: 7,
        };
        let due: Vec<u64> = (0..shape.total()).map(|k| shape.due(k).unwrap()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.01, "mean gap {mean}");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.03,
            "an exponential's deviation equals its mean: {}",
            variance.sqrt() / mean
        );
        // Of exponential gaps, exp(-1) are longer than the mean.
        let longer = gaps.iter().filter(|g| **g > mean).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0f64).exp()).abs() < 0.01, "{longer}");
        // Counts in windows of 100 ms have a variance equal to their mean.
        let mut counts = vec![0f64; 1000];
        for d in due {
            counts[(d / 100_000_000) as usize % 1000] += 1.0;
        }
        let m = counts.iter().sum::<f64>() / 1000.0;
        let v = counts.iter().map(|c| (c - m).powi(2)).sum::<f64>() / 1000.0;
        assert!((0.8..1.25).contains(&(v / m)), "dispersion {}", v / m);
    }

    #[test]
    fn the_order_of_asking_does_not_matter() {
        let shape = Poisson {
            rate_per_s: 5_000.0,
            duration_ns: 2_000_000_000,
            seed: 3,
        };
        let forward: Vec<_> = (0..10_000).map(|k| shape.due(k)).collect();
        let mut backward: Vec<_> = (0..10_000).rev().map(|k| shape.due(k)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }
}
