//! The distribution of response times: by percentile on a logarithmic axis, and as a histogram.

use super::plot::{Chart, Panel, tick_label};
use super::scale::Axis;
use super::writer::Drawing;
use crate::chart::responses;
use eventbench_core::judge::{LimitResult, Verdict};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::Latency;
use eventbench_core::record::{BenchmarkRecord, TrialRecord};
use eventbench_core::units::{Unit, digits};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 434.0;
const TOP: f64 = 50.0;
/// Room between a chart's name and its frame, where percentiles are named.
const NAMES: f64 = 26.0;
const BOTTOM: f64 = 266.0;
/// Places of a percentile curve.
const PLACES: usize = 140;
/// Bars of a histogram.
const BARS: usize = 56;

/// How far a share of events lies from the left, in powers of ten of what is left beyond it: p90 at 1, p99 at 2.
fn depth(q: f64) -> f64 {
    -(1.0 - q).max(1e-12).log10()
}

fn share(depth: f64) -> f64 {
    1.0 - 10f64.powf(-depth)
}

/// The values at ascending shares, in one walk over the buckets.
fn values_at(latency: &Latency, shares: &[f64]) -> Vec<f64> {
    let n = latency.count() as f64;
    let (low, high) = (latency.min_ns().unwrap_or(0.0), latency.max_ns().unwrap_or(0.0));
    let mut out = Vec::with_capacity(shares.len());
    let (mut seen, mut buckets) = (0u64, latency.buckets());
    let mut value = low;
    for q in shares {
        // As HdrHistogram counts: the first value that has at least so many events at or below it.
        let wanted = ((q * n).ceil() as u64).clamp(1, latency.count());
        while seen < wanted {
            let Some((next, count)) = buckets.next() else { break };
            value = next as f64;
            seen += count;
        }
        out.push(if *q <= 0.0 { low } else { value.clamp(low, high) });
    }
    out
}

fn latency_of<'a>(trial: &'a TrialRecord, metric: &str) -> Option<&'a Latency> {
    match trial.values.get(&MetricKey::plain(metric)) {
        Some(MetricValue::Latency(l)) if l.count() > 0 => Some(l),
        _ => None,
    }
}

/// All of a metric's times in the trials of a variant.
fn merged(b: &BenchmarkRecord, variant: &str, metric: &str) -> Option<Latency> {
    let mut all = Latency::new();
    for trial in b.trials.iter().filter(|t| t.variant == variant) {
        if let Some(latency) = latency_of(trial, metric) {
            all.merge(latency);
        }
    }
    (all.count() > 0).then_some(all)
}

/// Response time by percentile: all trials together with the band of the single trials around them, service time and the
/// baseline variant as further lines, and the limits of percentiles as strokes.
pub(crate) fn percentiles(b: &BenchmarkRecord) -> Option<Chart> {
    let all = responses(b)?;
    let deepest = |l: &Latency| (l.count().max(2) as f64).log10();
    let end = deepest(&all);
    let places = |end: f64| -> Vec<f64> { (0..=PLACES).map(|i| end * i as f64 / PLACES as f64).collect() };
    let line = |l: &Latency| -> Vec<(f64, f64)> {
        let depths = places(deepest(l).min(end));
        let shares: Vec<f64> = depths.iter().map(|d| share(*d)).collect();
        let mut values = values_at(l, &shares);
        // The end of the line stands for the longest time, which no share below one asks for.
        if let (Some(last), Some(max)) = (values.last_mut(), l.max_ns()) {
            *last = max;
        }
        depths.into_iter().zip(values).collect()
    };
    let response = line(&all);
    let service = merged(b, "", "service_time").map(|l| line(&l));
    let baseline = b.baseline.as_ref().and_then(|base| {
        let latency = merged(b, &base.name, "response_time")?;
        Some((base.name.clone(), line(&latency)))
    });
    let drawn = || {
        let others = service.iter().chain(baseline.iter().map(|b| &b.1)).flatten();
        response.iter().chain(others)
    };
    let most = drawn().map(|p| p.1).fold(0.0, f64::max);
    let marks: Vec<(f64, &LimitResult)> = b
        .limits
        .iter()
        .filter(|l| l.bound > 0.0 && l.bound < most * 4.0)
        .filter_map(|l| Some((limit_depth(l, end)?, l)))
        .collect();
    let values = drawn().map(|p| p.1).chain(marks.iter().map(|m| m.1.bound));
    let y = Axis::fitting(values, BOTTOM, TOP).unwrap_or(Axis::from_zero(1.0, BOTTOM, TOP));
    let x = Axis {
        from: 0.0,
        to: end,
        log: false,
        low: LEFT,
        high: RIGHT,
    };
    let panel = Panel {
        x,
        y,
        unit: Unit::Nanoseconds,
        head: NAMES,
    };
    let place = |p: &(f64, f64)| (x.at(p.0), y.at(p.1));
    let mut d = Drawing::default();
    let mut legend = vec![("s1", "response".to_owned())];
    legend.extend(service.as_ref().map(|_| ("s6 thin dashed", "service".to_owned())));
    legend.extend(
        baseline
            .as_ref()
            .map(|(name, _)| ("s2 dashed", super::plot::cut(name, 14))),
    );
    panel.frame(&mut d, "by percentile", &legend, &percentile_ticks(&x));
    let trials: Vec<&Latency> = b
        .trials
        .iter()
        .filter(|t| t.variant.is_empty())
        .filter_map(|t| latency_of(t, "response_time"))
        .collect();
    if trials.len() > 1 {
        let least = trials.iter().map(|l| deepest(l)).fold(end, f64::min);
        let depths = places(least);
        let shares: Vec<f64> = depths.iter().map(|d| share(*d)).collect();
        let lines: Vec<Vec<f64>> = trials.iter().map(|l| values_at(l, &shares)).collect();
        let edge = |i: usize, of: fn(f64, f64) -> f64, from: f64| lines.iter().map(|l| l[i]).fold(from, of);
        let at = |i: usize, v: f64| (x.at(depths[i]), y.at(v));
        let upper = (0..depths.len()).map(|i| at(i, edge(i, f64::max, 0.0)));
        let lower = (0..depths.len()).rev().map(|i| at(i, edge(i, f64::min, f64::MAX)));
        d.area("area", upper.chain(lower));
    }
    panel.open(&mut d, "percentile");
    if let Some((name, points)) = &baseline {
        d.curve("curve s2 dashed", name, points.iter().map(|p| Some(place(p))));
    }
    if let Some(points) = &service {
        d.curve("curve thin s6 dashed", "service", points.iter().map(|p| Some(place(p))));
    }
    // Beyond the last percentile that has enough events behind it the line is only dotted.
    let sure = depth(1.0 - 3.0 / (all.count() as f64).max(3.0));
    let (firm, loose): (Vec<_>, Vec<_>) = response.iter().partition(|p| p.0 <= sure);
    d.curve("curve s1", "response", firm.iter().map(|p| Some(place(p))));
    let joined = firm.last().into_iter().chain(&loose);
    d.curve("curve s1 dotted", "response", joined.map(|p| Some(place(p))));
    d.close("g");
    for (at, limit) in marks {
        let (px, py) = (x.at(at), y.at(limit.bound));
        let class = match limit.outcome {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            _ => "fail",
        };
        let from = (px - 9.0).max(LEFT);
        let points = format!("M{} {}h18", super::writer::px(from), super::writer::px(py));
        let said = format!("{} ({})", limit.that, limit.outcome.word());
        d.titled("path", &[("class", &format!("bound {class}")), ("d", &points)], &said);
        let text = format!("{} {}", limit.comparison.sign(), Unit::Nanoseconds.show(limit.bound));
        let above = if py - TOP < 14.0 { 16.0 } else { -6.0 };
        d.text("note end", (px + 9.0).min(RIGHT), py + above, &text);
    }
    Some(Chart {
        kind: "percentiles",
        about: format!(
            "response time by percentile, {} events{}",
            Unit::Count.show(all.count() as f64),
            if trials.len() > 1 {
                "; the band spans the single trials"
            } else {
                ""
            }
        ),
        width: WIDTH,
        height: HEIGHT,
        body: d.finish(),
        notes: Vec::new(),
    })
}

/// Where a limit on a percentile of the response time stands; `None` for others.
fn limit_depth(limit: &LimitResult, end: f64) -> Option<f64> {
    if limit.metric != "response_time" {
        return None;
    }
    let q = match limit.stat.as_str() {
        "med" => 0.5,
        "max" => return Some(end),
        stat => stat.strip_prefix("p(")?.strip_suffix(')')?.parse::<f64>().ok()? / 100.0,
    };
    Some(depth(q)).filter(|d| *d <= end)
}

fn percentile_ticks(x: &Axis) -> Vec<(f64, String)> {
    let mut ticks: Vec<(f64, String)> = Vec::new();
    let mut nines = vec![(0.5, "p50".to_owned())];
    for n in 1..=9 {
        let q = 100.0 - 10f64.powi(2 - n);
        let text = match n {
            1 => "p90".to_owned(),
            2 => "p99".to_owned(),
            n => format!("p99.{}", "9".repeat(n as usize - 2)),
        };
        nines.push((q / 100.0, text));
    }
    for (q, text) in nines {
        let (at, before) = (x.at(depth(q)), ticks.last().map_or(f64::MIN, |t| t.0));
        if depth(q) <= x.to && at - before > super::plot::width_of(&text) * 1.2 {
            ticks.push((at, text));
        }
    }
    ticks
}

/// How many events took how long.
pub(crate) fn histogram(b: &BenchmarkRecord) -> Option<Chart> {
    let all = responses(b)?;
    let (min, max) = (all.min_ns()?.max(1.0), all.max_ns()?.max(1.0));
    let x = Axis::around(min, max, LEFT, RIGHT);
    let edges: Vec<f64> = (0..=BARS).map(|i| edge(&x, i as f64 / BARS as f64)).collect();
    let mut bars = vec![0u64; BARS];
    for (value, n) in all.buckets() {
        let at = edges.partition_point(|e| *e <= value as f64).clamp(1, BARS);
        bars[at - 1] += n;
    }
    let total = all.count() as f64;
    let most = bars.iter().copied().max().unwrap_or(0) as f64 / total;
    let y = Axis::from_zero(most, BOTTOM, TOP);
    let panel = Panel {
        x,
        y,
        unit: Unit::Ratio,
        head: NAMES,
    };
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for value in x.ticks(6) {
        let (at, text) = (x.at(value), tick_label(Unit::Nanoseconds, value));
        if ticks
            .last()
            .is_none_or(|t| at - t.0 > super::plot::width_of(&text) + 6.0)
        {
            ticks.push((at, text));
        }
    }
    let mut d = Drawing::default();
    panel.frame(&mut d, "share of events", &[], &ticks);
    for (i, n) in bars.iter().enumerate().filter(|(_, n)| **n > 0) {
        let (left, right) = (x.at(edges[i]), x.at(edges[i + 1]));
        // A single event of millions must still be seen.
        let height = (BOTTOM - y.at(*n as f64 / total)).max(1.5);
        let said = format!(
            "{} – {}: {} ({} %)",
            Unit::Nanoseconds.show(edges[i]),
            Unit::Nanoseconds.show(edges[i + 1]),
            Unit::Count.show(*n as f64),
            digits(100.0 * *n as f64 / total)
        );
        d.rect(
            "f1",
            left + 0.5,
            BOTTOM - height,
            right - left - 1.0,
            height,
            Some(&said),
        );
    }
    let mut taken = f64::MIN;
    for (q, name) in [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")] {
        let Some(value) = all.quantile_ns(q).filter(|_| q == 0.5 || all.supports(q)) else {
            continue;
        };
        let at = x.at(value);
        d.line("rule", (at, TOP), (at, BOTTOM));
        // Percentiles that lie close together would write over each other; the line alone is told by the page's table.
        if at - taken > super::plot::width_of(name) {
            d.text("note mid", at, TOP - 4.0, name);
            taken = at;
        }
    }
    Some(Chart {
        kind: "histogram",
        about: format!(
            "how many of {} events took how long, {} to {}",
            Unit::Count.show(total),
            Unit::Nanoseconds.show(min),
            Unit::Nanoseconds.show(max)
        ),
        width: WIDTH,
        height: HEIGHT,
        body: d.finish(),
        notes: Vec::new(),
    })
}

/// The value at a share of an axis.
fn edge(axis: &Axis, share: f64) -> f64 {
    if axis.log {
        axis.from * (axis.to / axis.from).powf(share)
    } else {
        axis.from + share * (axis.to - axis.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_walk_gives_the_quantiles(times in proptest::collection::vec(0u64..10_000_000_000, 1..400)) {
            let mut latency = Latency::new();
            times.iter().for_each(|t| latency.record(*t));
            let shares: Vec<f64> = (1..=60).map(|i| f64::from(i) / 61.0).collect();
            for (q, value) in shares.iter().zip(values_at(&latency, &shares)) {
                prop_assert_eq!(value, latency.quantile_ns(*q).unwrap(), "{}", q);
            }
        }
    }

    #[test]
    fn the_axis_gives_each_nine_the_same_room() {
        assert!((depth(0.9) - 1.0).abs() < 1e-9 && (depth(0.99) - 2.0).abs() < 1e-9);
        assert!((share(depth(0.75)) - 0.75).abs() < 1e-12);
    }
}
