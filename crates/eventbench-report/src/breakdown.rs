//! Where events failed and where their time went, over the trials of a benchmark: causes added up, hops averaged.

use eventbench_core::judge::statistics::median;
use eventbench_core::record::{BenchmarkRecord, Cause, Hop, TrialRecord};
use eventbench_core::units::{Unit, digits};
use serde::Serialize;

/// Events that ended for the same cause, in all trials.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseRow {
    /// The cause.
    pub cause: String,
    /// Which stream or task it befell; empty when there is only one.
    pub stream: String,
    /// How many.
    pub count: String,
    /// When the first ended, with its trial where there are several.
    pub first: String,
    /// The same for the last.
    pub last: String,
    /// The first offender in its own words.
    pub example: String,
}

/// A hop of the path, over all trials.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopRow {
    /// Its name.
    pub name: String,
    /// Whether it is a part of the hop above it.
    pub part: bool,
    /// Mean offset of its beginning in nanoseconds, over the events of all trials.
    pub begin_ns: f64,
    /// The same of its end.
    pub end_ns: f64,
    /// The median trial's 99th percentile of the length in nanoseconds.
    pub p99_ns: f64,
    /// Mean length, the median trial's median and its p99, in words.
    pub shown: [String; 3],
    /// Events behind it.
    pub count: String,
}

fn own(b: &BenchmarkRecord) -> impl Iterator<Item = &TrialRecord> {
    b.trials.iter().filter(|t| t.variant.is_empty())
}

/// The causes of all trials, the most frequent first.
pub(crate) fn causes(b: &BenchmarkRecord) -> Vec<CauseRow> {
    let trials = own(b).count();
    let when = |trial: &TrialRecord, at_s: f64| {
        let of = if trials > 1 {
            format!(" of trial {}", trial.number)
        } else {
            String::new()
        };
        format!("{} s{of}", digits(at_s))
    };
    let mut sums: Vec<(&Cause, u64, String, String)> = Vec::new();
    for (trial, cause) in own(b).flat_map(|t| t.causes.iter().map(move |c| (t, c))) {
        let last = when(trial, cause.last_s);
        match sums
            .iter_mut()
            .find(|s| s.0.cause == cause.cause && s.0.stream == cause.stream)
        {
            Some(sum) => {
                sum.1 += cause.count;
                sum.3 = last;
            }
            None => sums.push((cause, cause.count, when(trial, cause.first_s), last)),
        }
    }
    sums.sort_by_key(|s| std::cmp::Reverse(s.1));
    sums.into_iter()
        .map(|(cause, count, first, last)| CauseRow {
            cause: cause.cause.clone(),
            stream: cause.stream.clone(),
            count: Unit::Count.show(count as f64),
            first,
            last,
            example: cause.example.clone(),
        })
        .collect()
}

/// The hops in the order of the path, parts behind the hop that they belong to.
pub(crate) fn hops(b: &BenchmarkRecord) -> Vec<HopRow> {
    let mut known: Vec<Vec<&Hop>> = Vec::new();
    for hop in own(b).flat_map(|t| &t.hops) {
        match known
            .iter_mut()
            .find(|k| k[0].name == hop.name && k[0].within == hop.within)
        {
            Some(same) => same.push(hop),
            None => known.push(vec![hop]),
        }
    }
    known.iter().map(|trials| hop(trials)).collect()
}

fn hop(trials: &[&Hop]) -> HopRow {
    let n: u64 = trials.iter().map(|h| h.count).sum();
    // Means of trials weighted by their events are the mean of all events.
    let mean = |of: fn(&Hop) -> f64| {
        let sum: f64 = trials.iter().map(|h| of(h) * h.count as f64).sum();
        sum / (n as f64).max(1.0)
    };
    let middle = |of: fn(&Hop) -> f64| {
        let mut values: Vec<f64> = trials.iter().map(|h| of(h)).collect();
        values.sort_by(f64::total_cmp);
        median(&values).unwrap_or(0.0)
    };
    let (begin_ns, end_ns) = (mean(|h| h.begin_ns), mean(|h| h.end_ns));
    let (p50_ns, p99_ns) = (middle(|h| h.p50_ns), middle(|h| h.p99_ns));
    let show = |ns: f64| Unit::Nanoseconds.show(ns);
    HopRow {
        name: trials[0].name.clone(),
        part: trials[0].within.is_some(),
        begin_ns,
        end_ns,
        p99_ns,
        shown: [show(end_ns - begin_ns), show(p50_ns), show(p99_ns)],
        count: Unit::Count.show(n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn hop_of(count: u64, begin_ns: f64, end_ns: f64) -> Hop {
        Hop {
            name: "queue".to_owned(),
            within: None,
            count,
            begin_ns,
            end_ns,
            p50_ns: end_ns - begin_ns,
            p99_ns: 2.0 * (end_ns - begin_ns),
        }
    }

    #[test]
    fn trials_weigh_by_their_events_and_causes_add_up() {
        let mut benchmark = golden::all_pass().benchmarks.swap_remove(0);
        let cause = |count, first_s, last_s| Cause {
            cause: "status 503".to_owned(),
            stream: String::new(),
            count,
            first_s,
            last_s,
            example: format!("{count}"),
        };
        benchmark.trials[0].hops = vec![hop_of(1, 0.0, 4_000.0)];
        benchmark.trials[1].hops = vec![hop_of(3, 0.0, 8_000.0)];
        benchmark.trials[0].causes = vec![cause(2, 0.5, 1.0)];
        benchmark.trials[2].causes = vec![cause(5, 0.25, 3.0)];
        let hops = hops(&benchmark);
        assert_eq!((hops.len(), hops[0].end_ns, hops[0].count.as_str()), (1, 7_000.0, "4"));
        let causes = causes(&benchmark);
        assert_eq!(
            (causes.len(), causes[0].count.as_str(), causes[0].example.as_str()),
            (1, "7", "2")
        );
        assert_eq!(
            (causes[0].first.as_str(), causes[0].last.as_str()),
            ("0.5 s of trial 1", "3 s of trial 3")
        );
    }
}
