//! Resampling: seeded draws with replacement and the medians of what was drawn, without an allocation a draw.

use crate::mix::mix;

/// A stream of words that depends on nothing but its seed: SplitMix64.
pub(super) struct Stream(u64);

impl Stream {
    /// The stream of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A whole number below `n`. The upper half of a word times n: what is uneven about it is below n / 2³².
    pub(super) fn below(&mut self, n: usize) -> usize {
        (((self.word() >> 32) * n as u64) >> 32) as usize
    }
}

/// Draws from a set of values with replacement and takes the median of what was drawn.
pub(super) struct Resampler {
    sorted: Vec<f64>,
    times: Vec<u32>,
}

impl Resampler {
    /// A resampler of these values, of which there must be one at least.
    pub(super) fn new(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            times: vec![0; sorted.len()],
            sorted,
        }
    }

    /// The median of `n` draws. Since the values are sorted it suffices to count how often each was drawn.
    pub(super) fn median(&mut self, n: usize, stream: &mut Stream) -> f64 {
        self.times.fill(0);
        for _ in 0..n {
            self.times[stream.below(self.sorted.len())] += 1;
        }
        let (lower, upper) = (n.saturating_sub(1) / 2, n / 2);
        let (mut seen, mut first) = (0, None);
        for (value, times) in self.sorted.iter().zip(&self.times) {
            seen += *times as usize;
            if seen > lower && first.is_none() {
                first = Some(*value);
            }
            if seen > upper {
                return (first.unwrap_or(*value) + value) / 2.0;
            }
        }
        f64::NAN
    }
}

/// The percentile interval of `draws` values of a statistic: as many are cut off below as above.
pub(super) fn percentile_interval(draws: u32, confidence: f64, mut next: impl FnMut() -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = (0..draws.max(1)).map(|_| next()).collect();
    let last = values.len() - 1;
    let cut = ((values.len() as f64 * (1.0 - confidence) / 2.0) as usize).min(last / 2);
    let low = *values.select_nth_unstable_by(cut, f64::total_cmp).1;
    let high = *values.select_nth_unstable_by(last - cut, f64::total_cmp).1;
    (low, high)
}

/// The bound below which a share of `draws` values lies.
pub(super) fn quantile(draws: u32, share: f64, mut next: impl FnMut() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..draws.max(1)).map(|_| next()).collect();
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::statistics::median;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_median_of_a_resample_is_that_of_its_values(values in proptest::collection::vec(-1e3f64..1e3, 1..30), n in 1usize..40, seed: u64) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let mut stream = Stream::new(seed);
            let drawn: Vec<f64> = (0..n).map(|_| sorted[stream.below(sorted.len())]).collect();
            let again = Resampler::new(&values).median(n, &mut Stream::new(seed));
            prop_assert_eq!(Some(again), median(&drawn));
        }
    }

    #[test]
    fn draws_are_even() {
        let mut stream = Stream::new(3);
        let mut seen = [0u32; 7];
        (0..70_000).for_each(|_| seen[stream.below(7)] += 1);
        // 10,000 each are expected with a deviation of 93.
        assert!(seen.iter().all(|n| (9_600..10_400).contains(n)), "{seen:?}");
    }

    #[test]
    fn as_much_is_cut_off_below_as_above() {
        let mut i = 0.0;
        let interval = percentile_interval(1000, 0.95, || {
            i += 1.0;
            i
        });
        assert_eq!(interval, (26.0, 975.0));
        let mut i = 0.0;
        let bound = quantile(100, 0.99, || {
            i += 1.0;
            i
        });
        assert_eq!(bound, 99.0);
    }
}
