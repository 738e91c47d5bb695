//! A distribution of times: the whole histogram with exact count, sum, minimum and maximum beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest time that is told apart: one hour.
pub const HIGHEST_NS: u64 = 3_600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A histogram could not be read back.
#[derive(Debug, thiserror::Error)]
#[error("a stored histogram cannot be read: {0}")]
pub struct LatencyError(String);

/// A distribution of times in nanoseconds, three significant digits from 1 ns to 1 h.
///
/// Mean and deviation come from exact sums, not from the buckets. Negative readings (an event seen before its
/// intended instant, which two clocks' edges can give) are kept as zero and counted, never thrown away.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
    sum_ns: u128,
    sum_of_squares_ns2: u128,
    min_ns: u64,
    max_ns: u64,
    negative: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// An empty distribution.
    pub fn new() -> Self {
        // Bounds and digits are constants inside the range that the library accepts.
        let histogram = match Histogram::new_with_bounds(1, HIGHEST_NS, SIGNIFICANT_DIGITS) {
            Ok(histogram) => histogram,
            Err(_) => unreachable!("constant bounds of a histogram"),
        };
        Self {
            histogram,
            sum_ns: 0,
            sum_of_squares_ns2: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            negative: 0,
        }
    }

    /// Records the time from one instant to another.
    #[inline]
    pub fn record_between(&mut self, from_ns: u64, to_ns: u64) {
        if to_ns < from_ns {
            self.negative += 1;
        }
        self.record(to_ns.saturating_sub(from_ns));
    }

    /// Records one time.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.min(HIGHEST_NS));
        self.sum_ns += u128::from(ns);
        self.sum_of_squares_ns2 += u128::from(ns) * u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Records the same time `n` times.
    #[inline]
    pub fn record_n(&mut self, ns: u64, n: u64) {
        self.histogram.saturating_record_n(ns.min(HIGHEST_NS), n);
        self.sum_ns += u128::from(ns) * u128::from(n);
        self.sum_of_squares_ns2 += u128::from(ns) * u128::from(ns) * u128::from(n);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds another distribution: the only place where two are put together.
    pub fn merge(&mut self, other: &Latency) {
        // Both were made by `new`, so the bounds agree and the addition cannot fail.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok());
        self.sum_ns += other.sum_ns;
        self.sum_of_squares_ns2 += other.sum_of_squares_ns2;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.negative += other.negative;
    }

    /// Forgets everything, keeping the memory.
    pub fn reset(&mut self) {
        self.histogram.reset();
        self.sum_ns = 0;
        self.sum_of_squares_ns2 = 0;
        self.min_ns = u64::MAX;
        self.max_ns = 0;
        self.negative = 0;
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many readings were negative.
    pub fn negative(&self) -> u64 {
        self.negative
    }

    /// The exact mean in nanoseconds; `None` when empty.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum_ns as f64 / self.count() as f64)
    }

    /// The standard deviation of the recorded times (n in the denominator); `None` when empty.
    pub fn stddev_ns(&self) -> Option<f64> {
        let mean = self.mean_ns()?;
        let n = self.count() as f64;
        // The mean of the squares less the square of the mean; the sums are exact, the difference is not, so no less than 0.
        Some((self.sum_of_squares_ns2 as f64 / n - mean * mean).max(0.0).sqrt())
    }

    /// The shortest time; `None` when empty.
    pub fn min_ns(&self) -> Option<f64> {
        (self.count() > 0).then_some(self.min_ns as f64)
    }

    /// The longest time; `None` when empty.
    pub fn max_ns(&self) -> Option<f64> {
        (self.count() > 0).then_some(self.max_ns as f64)
    }

    /// The time at or below which a share `q` (0 to 1) of all lie, to three digits; `None` when empty.
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        (self.count() > 0)
            .then(|| (self.histogram.value_at_quantile(q) as f64).clamp(self.min_ns as f64, self.max_ns as f64))
    }

    /// Whether `q` has enough times behind it: at least three beyond it are expected (p99: 300, p99.9: 3,000).
    pub fn supports(&self, q: f64) -> bool {
        self.count() as f64 * (1.0 - q) >= 3.0 - 1e-9
    }

    /// The share of times above `ns`.
    pub fn share_above(&self, ns: u64) -> f64 {
        if self.count() == 0 {
            return 0.0;
        }
        1.0 - self.histogram.count_between(0, ns) as f64 / self.count() as f64
    }

    /// Non-empty buckets as (highest time of the bucket in ns, count), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.histogram
            .iter_recorded()
            .map(|b| (b.value_iterated_to(), b.count_at_value()))
    }

    /// The histogram in the reference V2 encoding, uncompressed, for tools that read HdrHistogram.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

/// How a distribution stands in a record: exact sums, and the histogram in base64 of its reference V2 encoding.
#[derive(Serialize, Deserialize)]
struct Stored {
    count: u64,
    sum_ns: String,
    sum_of_squares_ns2: String,
    min_ns: u64,
    max_ns: u64,
    negative: u64,
    hdr_v2: String,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.histogram, &mut bytes)
            .map_err(|e| serde::ser::Error::custom(format!("{e:?}")))?;
        Stored {
            count: self.count(),
            sum_ns: self.sum_ns.to_string(),
            sum_of_squares_ns2: self.sum_of_squares_ns2.to_string(),
            min_ns: self.min_ns,
            max_ns: self.max_ns,
            negative: self.negative,
            hdr_v2: STANDARD.encode(bytes),
        }
        .serialize(serializer)
    }
}

impl TryFrom<Stored> for Latency {
    type Error = LatencyError;
    fn try_from(stored: Stored) -> Result<Self, LatencyError> {
        let wrong = |what: &str| LatencyError(what.to_owned());
        let bytes = STANDARD
            .decode(&stored.hdr_v2)
            .map_err(|e| LatencyError(e.to_string()))?;
        let read: Histogram<u64> = HdrDeserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|e| LatencyError(format!("{e:?}")))?;
        let mut latency = Latency::new();
        // Into our own bounds, whatever the stored ones are.
        latency
            .histogram
            .add(&read)
            .map_err(|_| wrong("its range is larger than one hour"))?;
        if latency.count() != stored.count {
            return Err(wrong("its count does not agree with its buckets"));
        }
        latency.sum_ns = stored
            .sum_ns
            .parse()
            .map_err(|_| wrong("`sum_ns` is not a whole number"))?;
        latency.sum_of_squares_ns2 = stored
            .sum_of_squares_ns2
            .parse()
            .map_err(|_| wrong("`sum_of_squares_ns2` is not a whole number"))?;
        latency.min_ns = stored.min_ns;
        latency.max_ns = stored.max_ns;
        latency.negative = stored.negative;
        Ok(latency)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Latency::try_from(Stored::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_the_parts_gives_the_whole_bit_for_bit(times in proptest::collection::vec(0u64..HIGHEST_NS * 2, 0..300), split in 0usize..300) {
            let mut whole = Latency::new();
            let mut parts = [Latency::new(), Latency::new()];
            for (i, t) in times.iter().enumerate() {
                whole.record(*t);
                parts[usize::from(i >= split)].record(*t);
            }
            let [mut left, right] = parts;
            left.merge(&right);
            prop_assert_eq!(&left, &whole);
            let json = serde_json::to_string(&whole).unwrap();
            let back: Latency = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(serde_json::to_string(&back).unwrap(), json);
            prop_assert_eq!(&back, &whole);
        }

        #[test]
        fn figures_agree_with_the_plain_arithmetic(times in proptest::collection::vec(0u64..10_000_000_000, 1..300)) {
            let mut latency = Latency::new();
            times.iter().for_each(|t| latency.record(*t));
            let n = times.len() as f64;
            let mean = times.iter().map(|t| *t as f64).sum::<f64>() / n;
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert!((latency.mean_ns().unwrap() - mean).abs() <= 1e-9 * mean + 1e-6);
            prop_assert_eq!(latency.min_ns().unwrap(), sorted[0] as f64);
            prop_assert_eq!(latency.max_ns().unwrap(), sorted[sorted.len() - 1] as f64);
            for q in [0.5, 0.95, 0.99] {
                let exact = sorted[((q * n).ceil() as usize).clamp(1, sorted.len()) - 1] as f64;
                let shown = latency.quantile_ns(q).unwrap();
                prop_assert!((shown - exact).abs() <= exact * 0.001 + 1.0, "q{q}: {shown} against {exact}");
            }
        }
    }

    #[test]
    fn negative_readings_are_kept_and_counted() {
        let mut latency = Latency::new();
        latency.record_between(100, 40);
        latency.record_between(100, 160);
        assert_eq!(
            (latency.count(), latency.negative(), latency.min_ns()),
            (2, 1, Some(0.0))
        );
    }

    #[test]
    fn a_percentile_needs_samples_behind_it() {
        let mut latency = Latency::new();
        latency.record_n(5, 299);
        assert!(!latency.supports(0.99));
        latency.record(5);
        assert!(latency.supports(0.99) && !latency.supports(0.999));
    }

    #[test]
    fn a_damaged_histogram_is_an_error() {
        let mut latency = Latency::new();
        latency.record(5);
        let json = serde_json::to_string(&latency).unwrap();
        assert!(serde_json::from_str::<Latency>(&json.replace("\"count\":1", "\"count\":2")).is_err());
        assert!(serde_json::from_str::<Latency>(&json.replace("\"hdr_v2\":\"", "\"hdr_v2\":\"!!")).is_err());
    }
}
