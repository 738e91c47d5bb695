//! The noise passport: what A against A looks like on this machine, and so the smallest change that can be seen here.

use super::Scale;
use super::effect::Sample;
use super::resample::{Resampler, Stream, quantile};
use crate::judge::statistics::median;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which figure: the key of a noise passport.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FigureId {
    /// The suite.
    pub suite: String,
    /// The benchmark.
    pub benchmark: String,
    /// The metric's id.
    pub metric: String,
    /// Tags as `key=value` joined by commas, in order of the key; empty without tags.
    pub tags: String,
    /// The statistic.
    pub stat: String,
}

/// One calibration: trials of the same thing on both sides, run in turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: i64,
    /// Values of the first side, by pair.
    pub a: Vec<f64>,
    /// Values of the second side, by pair.
    pub b: Vec<f64>,
    /// What one pair took in seconds, start and end of broker and services included; 0 where it is not known.
    #[serde(default)]
    pub pair_s: f64,
}

/// What is known of the noise of one figure on one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Calibrations, oldest first.
    pub sessions: Vec<Session>,
}

/// All that is known of the noise of a machine.
pub type NoiseBook = BTreeMap<FigureId, Noise>;

/// Pairs below which a passport says nothing.
const FEWEST_PAIRS: usize = 5;

/// Share of A/A comparisons whose effect stays below what is called visible.
pub(super) const VISIBLE: f64 = 0.99;

/// Resamples behind a bound, and their seed.
const DRAWS: u32 = 10_000;
const SEED: u64 = 0x6e6f_6973_6521;

/// More pairs than this are not a proposal.
const MOST_PAIRS: u32 = 1000;

impl Noise {
    /// The smallest change that so many pairs show, as a ratio: 99 in 100 comparisons of A with A stay below it. `None`
    /// below five pairs of calibration, or where a ratio means nothing.
    pub fn visible(&self, pairs: u32) -> Option<f64> {
        self.bound(Scale::Ratio, Design::Pairs(pairs), VISIBLE)
    }

    /// The same of so many trials of two runs at different times. What runs at different times differ by besides is known
    /// from two calibrations on; before that only the variation within a run is in it.
    pub fn visible_unpaired(&self, trials_a: u32, trials_b: u32) -> Option<f64> {
        self.bound(Scale::Ratio, Design::Apart(trials_a, trials_b), VISIBLE)
    }

    /// The least number of pairs that shows a change of this ratio; `None` where a thousand do not.
    pub fn pairs_for(&self, effect: f64) -> Option<u32> {
        let enough = |pairs: u32| self.visible(pairs).is_some_and(|v| v <= effect);
        // Doubled until it suffices, then halved in between: the bound falls with the number of pairs but for the last digit.
        let mut high = 1;
        while !enough(high) {
            if high >= MOST_PAIRS {
                return None;
            }
            high = (high * 2).min(MOST_PAIRS);
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }

    /// The bound below which a share of A/A effects of this design stays, on the scale.
    pub(super) fn bound(&self, scale: Scale, design: Design, share: f64) -> Option<f64> {
        let sessions: Vec<Sample> = self.sessions.iter().filter_map(|s| s.sample(scale)).collect();
        if sessions.iter().map(Sample::size).sum::<usize>() < FEWEST_PAIRS || design.trials() == 0 {
            return None;
        }
        let mut stream = Stream::new(SEED);
        let inner = match design {
            Design::Pairs(n) => {
                // Both sides were the same thing, so each pair might as well have been the other way round.
                let pairs: Vec<f64> = sessions.iter().flat_map(Sample::inner_pairs).collect();
                let both: Vec<f64> = pairs.iter().flat_map(|d| [*d, -*d]).collect();
                let mut resampler = Resampler::new(&both);
                // Resampling cannot look between the values that it has. For more pairs than were calibrated the bound
                // falls with the root of their number, as that of any median does.
                let drawn = (n as usize).min(pairs.len());
                let bound = quantile(DRAWS, share, || resampler.median(drawn, &mut stream).abs());
                bound * (drawn as f64 / f64::from(n)).sqrt()
            }
            Design::Apart(n_a, n_b) => {
                let (within, centres) = apart(&sessions, scale);
                let mut resampler = Resampler::new(&within);
                quantile(DRAWS, share, || {
                    let drift = drift(&centres, &mut stream);
                    let a = resampler.median(n_a as usize, &mut stream);
                    let b = resampler.median(n_b as usize, &mut stream);
                    (b - a + drift).abs()
                })
            }
        };
        Some(scale.outward(inner))
    }
}

/// How a comparison is made that the noise is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Design {
    /// So many pairs.
    Pairs(u32),
    /// So many trials of two runs.
    Apart(u32, u32),
}

impl Design {
    fn trials(self) -> u32 {
        match self {
            Design::Pairs(n) => n,
            Design::Apart(a, b) => a.min(b),
        }
    }
}

impl Session {
    /// Its pairs whose values mean something on this scale.
    fn sample(&self, scale: Scale) -> Option<Sample> {
        let good = |v: f64| v.is_finite() && (scale == Scale::Difference || v > 0.0);
        let pairs = self.a.iter().zip(&self.b).filter(|(a, b)| good(**a) && good(**b));
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.map(|(a, b)| (*a, *b)).unzip();
        (!a.is_empty()).then_some(Sample {
            a,
            b,
            paired: true,
            scale,
        })
    }
}

/// Every trial as its distance from its session's median, and those medians.
fn apart(sessions: &[Sample], scale: Scale) -> (Vec<f64>, Vec<f64>) {
    let (mut within, mut centres) = (Vec::new(), Vec::new());
    for session in sessions {
        let values = session.a.iter().chain(&session.b);
        let values: Vec<f64> = values.map(|v| scale.of_value(*v)).collect();
        if let Some(centre) = median(&values) {
            within.extend(values.iter().map(|v| v - centre));
            centres.push(centre);
        }
    }
    (within, centres)
}

/// The distance of two different sessions drawn at random, either way round; nothing where there is only one.
fn drift(centres: &[f64], stream: &mut Stream) -> f64 {
    if centres.len() < 2 {
        return 0.0;
    }
    let first = stream.below(centres.len());
    let second = (first + 1 + stream.below(centres.len() - 1)) % centres.len();
    centres[second] - centres[first]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{mix2, unit};

    fn normal(seed: u64, i: u64) -> f64 {
        (-2.0 * unit(mix2(seed, 2 * i)).ln()).sqrt() * (std::f64::consts::TAU * unit(mix2(seed, 2 * i + 1))).cos()
    }

    /// A calibration around `centre` whose values vary by `spread`.
    fn session(seed: u64, pairs: u64, centre: f64, spread: f64) -> Session {
        let values = |side| {
            (0..pairs)
                .map(|i| centre * (spread * normal(seed, 2 * i + side)).exp())
                .collect()
        };
        Session {
            at_unix_ms: 0,
            pair_s: 0.0,
            a: values(0),
            b: values(1),
        }
    }

    #[test]
    fn the_bound_is_that_of_the_noise() {
        // Pairs of values that vary by 5 % vary by 7.1 %, their median of 10 by 7.1 % × 1.2 / √10, 99 in 100 of which stay
        // within 2.58 of that: about 7 %. From 200 pairs that is known to a tenth or so.
        let noise = Noise {
            sessions: vec![session(1, 200, 1e6, 0.05)],
        };
        let visible = noise.visible(10).unwrap();
        assert!((0.055..0.085).contains(&visible), "{visible}");
        let apart = noise.visible_unpaired(10, 10).unwrap();
        assert!((0.055..0.085).contains(&apart), "{apart}");
        let (one, many) = (noise.visible(1).unwrap(), noise.visible(40).unwrap());
        assert!(one > 2.0 * visible && many < 0.7 * visible, "{one} {visible} {many}");
    }

    #[test]
    fn the_unit_does_not_matter() {
        let (ns, s) = (session(2, 20, 1e6, 0.04), session(2, 20, 1e-3, 0.04));
        let (ns, s) = (Noise { sessions: vec![ns] }, Noise { sessions: vec![s] });
        assert!((ns.visible(7).unwrap() - s.visible(7).unwrap()).abs() < 1e-9);
        assert!((ns.visible_unpaired(4, 7).unwrap() - s.visible_unpaired(4, 7).unwrap()).abs() < 1e-9);
    }

    #[test]
    fn as_many_pairs_as_it_takes_and_not_one_less() {
        let noise = Noise {
            sessions: vec![session(3, 30, 1e6, 0.06)],
        };
        for effect in [0.02, 0.03, 0.1] {
            let pairs = noise.pairs_for(effect).unwrap();
            assert!(noise.visible(pairs).unwrap() <= effect);
            assert!(
                pairs == 1 || noise.visible(pairs - 1).unwrap() > effect,
                "{pairs} for {effect}"
            );
        }
        assert_eq!(noise.pairs_for(1e-6), None);
        assert_eq!(noise.pairs_for(10.0), Some(1));
    }

    #[test]
    fn what_sessions_differ_by_concerns_only_runs_apart() {
        let of = |second: f64| Noise {
            sessions: vec![session(4, 15, 1e6, 0.02), session(5, 15, second, 0.02)],
        };
        let (steady, drifting) = (of(1e6), of(1.4e6));
        assert!(drifting.visible(10).unwrap() < 0.05);
        assert!(steady.visible_unpaired(10, 10).unwrap() < 0.05);
        assert!(drifting.visible_unpaired(10, 10).unwrap() > 0.3);
    }

    #[test]
    fn too_little_calibration_says_nothing() {
        let four = Noise {
            sessions: vec![session(6, 2, 1e6, 0.02), session(7, 2, 1e6, 0.02)],
        };
        assert_eq!(
            (four.visible(10), four.visible_unpaired(5, 5), four.pairs_for(0.1)),
            (None, None, None)
        );
        let mut zeros = session(8, 9, 1e6, 0.02);
        zeros.a.fill(0.0);
        let zeros = Noise { sessions: vec![zeros] };
        assert_eq!(zeros.visible(10), None);
        assert!(zeros.bound(Scale::Difference, Design::Pairs(10), VISIBLE).is_some());
        let five = Noise {
            sessions: vec![session(9, 5, 1e6, 0.02)],
        };
        assert!(five.visible(10).is_some() && five.visible(0).is_none());
    }
}
