//! Charts in characters: a distribution as bars, a timeline as a line of blocks.

use crate::breakdown::HopRow;
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::{Interval, Latency};
use eventbench_core::record::BenchmarkRecord;
use eventbench_core::units::Unit;

/// Edges of bars in each decade; the coarser ones where the finer would give too many bars.
const FINE: &[u64] = &[10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
const COARSE: &[u64] = &[10, 20, 50];
const MOST_BARS: usize = 20;
const BAR_WIDTH: u64 = 40;
const LINE_WIDTH: usize = 60;

/// Characters of a chart.
pub struct Ink {
    bar: char,
    levels: &'static [char],
    gap: char,
}

impl Ink {
    /// Blocks, or ASCII.
    pub fn new(ascii: bool) -> Self {
        match ascii {
            true => Ink {
                bar: '#',
                levels: &['_', '.', '-', '=', '+', '*', '%', '#'],
                gap: ' ',
            },
            false => Ink {
                bar: '█',
                levels: &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
                gap: ' ',
            },
        }
    }
}

impl Ink {
    /// The character for a share between 0 and 1 of the height of a line; the lowest one where there is no height.
    pub fn level(&self, share: f64) -> char {
        let top = self.levels.len() - 1;
        self.levels[((share.clamp(0.0, 1.0) * top as f64).round() as usize).min(top)]
    }
}

/// All response times of the benchmark's own trials; `None` without any.
pub fn responses(benchmark: &BenchmarkRecord) -> Option<Latency> {
    let mut all = Latency::new();
    for trial in benchmark.trials.iter().filter(|t| t.variant.is_empty()) {
        if let Some(MetricValue::Latency(latency)) = trial.values.get(&MetricKey::plain("response_time")) {
            all.merge(latency);
        }
    }
    (all.count() > 0).then_some(all)
}

/// A path as a bar for each of its hops, from where it begins to where it ends on a line that is the whole way.
pub fn waterfall(hops: &[HopRow], ink: &Ink) -> Vec<String> {
    let end_ns = hops.iter().map(|h| h.end_ns).fold(0.0, f64::max);
    let name = |h: &HopRow| format!("{}{}", if h.part { "  " } else { "" }, h.name);
    let width = hops.iter().map(|h| name(h).chars().count()).max().unwrap_or(0);
    let at = |ns: f64| (ns.max(0.0) / end_ns.max(1.0) * BAR_WIDTH as f64).round() as usize;
    hops.iter()
        .map(|hop| {
            let from = at(hop.begin_ns).min(BAR_WIDTH as usize - 1);
            let bar: String = std::iter::repeat_n(ink.bar, at(hop.end_ns).saturating_sub(from).max(1)).collect();
            let line = format!("{}{bar}", " ".repeat(from));
            let name = name(hop);
            let gap = width - name.chars().count();
            let [mean, _, p99] = &hop.shown;
            format!("{name}{} {line:<41} {mean} (p99 {p99})", " ".repeat(gap))
        })
        .collect()
}

/// A distribution as one bar for each range of times; every range with any time in it has at least a mark.
pub fn histogram(latency: &Latency, ink: &Ink) -> Vec<String> {
    let (Some(min), Some(max)) = (latency.min_ns(), latency.max_ns()) else {
        return Vec::new();
    };
    let mut bars = bars(latency, FINE, min as u64, max as u64);
    if bars.len() > MOST_BARS {
        bars = self::bars(latency, COARSE, min as u64, max as u64);
    }
    let most = bars.iter().map(|b| b.2).max().unwrap_or(0).max(1);
    let total = latency.count().max(1);
    bars.iter()
        .map(|(low, high, n)| {
            let length = if *n == 0 { 0 } else { (n * BAR_WIDTH).div_ceil(most) };
            let bar: String = std::iter::repeat_n(ink.bar, length as usize).collect();
            let range = format!(
                "{:>7} – {:>7}",
                Unit::Nanoseconds.show(*low as f64),
                Unit::Nanoseconds.show(*high as f64)
            );
            let share = 100.0 * *n as f64 / total as f64;
            format!("{range}  {bar:<width$}  {n} ({share:.1} %)", width = BAR_WIDTH as usize)
        })
        .collect()
}

/// Ranges from the one with the shortest time to the one with the longest: (from, to, how many).
fn bars(latency: &Latency, edges: &[u64], min: u64, max: u64) -> Vec<(u64, u64, u64)> {
    let mut bars: Vec<(u64, u64, u64)> = Vec::new();
    let mut low = 0;
    let ladder = (0..).flat_map(|decade: u32| {
        edges
            .iter()
            .map(move |e| e.saturating_mul(10u64.saturating_pow(decade)))
    });
    for high in ladder {
        if high > min {
            bars.push((low, high, 0));
        }
        low = high;
        if high > max {
            break;
        }
    }
    for (value, n) in latency.buckets() {
        let at = bars.partition_point(|b| b.1 <= value).min(bars.len() - 1);
        bars[at].2 += n;
    }
    bars
}

/// A trial second by second, as lines: events done, and the longest of the p99 of each second. Empty below three seconds.
pub fn timeline(intervals: &[Interval], ink: &Ink) -> Vec<String> {
    let Some(last) = intervals.last().filter(|i| i.second >= 2) else {
        return Vec::new();
    };
    let seconds = last.second as usize + 1;
    let per_column = seconds.div_ceil(LINE_WIDTH);
    let mut done = vec![0.0f64; seconds.div_ceil(per_column)];
    let mut p99: Vec<Option<f64>> = vec![None; done.len()];
    for interval in intervals {
        let column = interval.second as usize / per_column;
        done[column] += interval.done as f64;
        if let Some(ns) = interval.p99_ns {
            p99[column] = Some(p99[column].unwrap_or(0.0).max(ns));
        }
    }
    let done: Vec<Option<f64>> = done.into_iter().map(|n| Some(n / per_column as f64)).collect();
    let most = |values: &[Option<f64>]| values.iter().flatten().copied().fold(0.0, f64::max);
    vec![
        format!(
            "events ended  {}  up to {}",
            line(&done, ink),
            Unit::PerSecond.show(most(&done))
        ),
        format!(
            "p99 response  {}  up to {}",
            line(&p99, ink),
            Unit::Nanoseconds.show(most(&p99))
        ),
        format!("one column is {per_column} s, {seconds} s in all, warm-up included"),
    ]
}

fn line(values: &[Option<f64>], ink: &Ink) -> String {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let top = ink.levels.len() - 1;
    values
        .iter()
        .map(|value| match value {
            Some(v) if most > 0.0 => ink.levels[((v / most * top as f64).round() as usize).min(top)],
            Some(_) => ink.levels[0],
            None => ink.gap,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_stands_in_one_bar(times in proptest::collection::vec(0u64..4_000_000_000_000, 1..200)) {
            let mut latency = Latency::new();
            times.iter().for_each(|t| latency.record(*t));
            for edges in [FINE, COARSE] {
                let bars = bars(&latency, edges, latency.min_ns().unwrap() as u64, latency.max_ns().unwrap() as u64);
                prop_assert_eq!(bars.iter().map(|b| b.2).sum::<u64>(), times.len() as u64);
                prop_assert!(bars.iter().all(|b| b.0 < b.1));
            }
            prop_assert!(histogram(&latency, &Ink::new(true)).iter().all(|l| l.chars().filter(|c| *c == '#').count() <= 40));
        }
    }

    #[test]
    fn a_stall_stands_out_of_the_line() {
        let interval = |second, done, p99: f64| Interval {
            second,
            sent: done,
            done,
            late_max_ns: 0,
            p50_ns: None,
            p99_ns: (done > 0).then_some(p99),
            max_ns: None,
            hdr_v2: String::new(),
        };
        let lines = timeline(
            &[interval(0, 100, 1e6), interval(1, 100, 1e6), interval(3, 50, 8e6)],
            &Ink::new(true),
        );
        assert_eq!(lines[0], "events ended  ##_+  up to 100/s");
        assert_eq!(lines[1], "p99 response  .. #  up to 8 ms");
    }
}
