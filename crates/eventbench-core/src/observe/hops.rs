//! Hops: where the time of events went on their path, by instants that the system itself took on the shared clock.

use super::Latency;
use crate::record;

/// Hops of one path, parts included, are few; what is beyond this number is dropped and counted as nothing.
const MOST: usize = 64;

#[derive(Debug, Clone, PartialEq)]
struct Kept {
    name: String,
    within: Option<String>,
    begin_sum_ns: f64,
    end_sum_ns: f64,
    length: Latency,
}

/// The hops of one lane, in the order in which they were first seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HopTimes {
    hops: Vec<Kept>,
    /// Whole ways, and the sum of their lengths.
    ways: u64,
    ways_sum_ns: f64,
}

/// The path's hops together beside whole ways, both on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// Mean length of the hops that make up the path, added up, in nanoseconds.
    pub hops_ns: f64,
    /// Mean length of the whole way, in nanoseconds.
    pub way_ns: f64,
    /// Whole ways behind it.
    pub ways: u64,
    /// Whether every hop of the path was seen on every way.
    pub complete: bool,
}

impl HopTimes {
    /// Notes one event's way through a hop. Instants are nanoseconds of `CLOCK_MONOTONIC`, `within` the hop that this one
    /// is a part of.
    pub fn note(&mut self, name: &str, within: Option<&str>, intended_ns: u64, begin_ns: u64, end_ns: u64) {
        let known = self
            .hops
            .iter()
            .position(|k| k.name == name && k.within.as_deref() == within);
        let index = match known {
            Some(index) => index,
            None if self.hops.len() >= MOST => return,
            None => {
                self.hops.push(Kept {
                    name: name.to_owned(),
                    within: within.map(str::to_owned),
                    begin_sum_ns: 0.0,
                    end_sum_ns: 0.0,
                    length: Latency::new(),
                });
                self.hops.len() - 1
            }
        };
        let kept = &mut self.hops[index];
        // Clocks are shared, yet a bad reply must not turn into an absurd offset: differences are signed.
        kept.begin_sum_ns += begin_ns as f64 - intended_ns as f64;
        kept.end_sum_ns += end_ns as f64 - intended_ns as f64;
        kept.length.record_between(begin_ns, end_ns);
    }

    /// Notes one event's whole way, from its intended instant until its end was known.
    pub fn note_way(&mut self, intended_ns: u64, end_ns: u64) {
        self.ways += 1;
        self.ways_sum_ns += end_ns as f64 - intended_ns as f64;
    }

    /// Whether the parts make up the whole; `None` where no hops were told.
    pub fn sum(&self) -> Option<Sum> {
        let path = || self.hops.iter().filter(|h| h.within.is_none());
        (self.ways > 0).then(|| Sum {
            hops_ns: path().map(|h| (h.end_sum_ns - h.begin_sum_ns) / self.ways as f64).sum(),
            way_ns: self.ways_sum_ns / self.ways as f64,
            ways: self.ways,
            complete: path().all(|h| h.length.count() == self.ways),
        })
    }

    /// Adds another lane's: the only place where two are put together.
    pub fn merge(&mut self, other: HopTimes) {
        self.ways += other.ways;
        self.ways_sum_ns += other.ways_sum_ns;
        for theirs in other.hops {
            let known = self
                .hops
                .iter_mut()
                .find(|k| k.name == theirs.name && k.within == theirs.within);
            match known {
                Some(kept) => {
                    kept.begin_sum_ns += theirs.begin_sum_ns;
                    kept.end_sum_ns += theirs.end_sum_ns;
                    kept.length.merge(&theirs.length);
                }
                None => self.hops.push(theirs),
            }
        }
    }

    /// The lengths by name, for the metric `hop_time`.
    pub fn lengths(&self) -> impl Iterator<Item = (&str, &Latency)> {
        self.hops.iter().map(|k| (k.name.as_str(), &k.length))
    }

    /// For the record: hops in the order of the path by their mean beginning, parts behind the hop they belong to.
    pub fn record(&self) -> Vec<record::Hop> {
        let hops: Vec<record::Hop> = self.hops.iter().map(hop).collect();
        let by_begin = |within: Option<&str>| {
            let mut some: Vec<record::Hop> = hops.iter().filter(|h| h.within.as_deref() == within).cloned().collect();
            some.sort_by(|a, b| a.begin_ns.total_cmp(&b.begin_ns));
            some
        };
        let mut out = Vec::new();
        for path in by_begin(None) {
            let parts = by_begin(Some(&path.name));
            out.push(path);
            out.extend(parts);
        }
        out
    }
}

fn hop(kept: &Kept) -> record::Hop {
    let n = (kept.length.count() as f64).max(1.0);
    record::Hop {
        name: kept.name.clone(),
        within: kept.within.clone(),
        count: kept.length.count(),
        begin_ns: kept.begin_sum_ns / n,
        end_ns: kept.end_sum_ns / n,
        p50_ns: kept.length.quantile_ns(0.5).unwrap_or(0.0),
        p99_ns: kept.length.quantile_ns(0.99).unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_stand_in_the_order_of_the_path_and_add_up() {
        let (mut whole, mut other) = (HopTimes::default(), HopTimes::default());
        other.note("reducer", None, 5_000, 8_000, 14_000);
        for hops in [&mut whole, &mut other] {
            hops.note("call tree", Some("orchestrator"), 1_000, 3_000, 4_000);
            hops.note("orchestrator", None, 1_000, 2_000, 5_000);
        }
        whole.note("reducer", None, 1_000, 5_000, 9_000);
        whole.merge(other);
        let record = whole.record();
        let rows: Vec<_> = record
            .iter()
            .map(|h| (h.name.as_str(), h.within.as_deref(), h.count, h.begin_ns, h.end_ns))
            .collect();
        assert_eq!(
            rows,
            [
                ("orchestrator", None, 2, 1_000.0, 4_000.0),
                ("call tree", Some("orchestrator"), 2, 2_000.0, 3_000.0),
                ("reducer", None, 2, 3_500.0, 8_500.0),
            ]
        );
        assert_eq!(whole.lengths().count(), 3);
        assert_eq!(whole.sum(), None);
        whole.note_way(1_000, 9_000);
        whole.note_way(5_000, 14_000);
        let sum = whole.sum().unwrap();
        // (3 + 3 + 4 + 6) / 2 beside (8 + 9) / 2: half a microsecond lies between the hops and belongs to none.
        assert_eq!((sum.hops_ns, sum.way_ns, sum.complete), (8_000.0, 8_500.0, true));
    }
}
