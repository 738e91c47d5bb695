//! Several at once: response times of all benchmarks as boxes, hops of an event's path as bars.

use super::plot::{Chart, Panel, cut, tick_label, width_of};
use super::scale::Axis;
use super::writer::Drawing;
use crate::breakdown::HopRow;
use crate::chart::responses;
use eventbench_core::record::RunRecord;
use eventbench_core::units::Unit;

const WIDTH: f64 = 960.0;
const RIGHT: f64 = 930.0;
const ROW: f64 = 34.0;
const TOP: f64 = 40.0;
const NAME: usize = 34;

/// Response times of every benchmark as a box from the first to the third quartile, with whiskers to p1 and p99, the
/// median as a stroke and the longest time as a dot. `None` where no benchmark has any.
pub(crate) fn boxes(record: &RunRecord) -> Option<Chart> {
    let rows: Vec<(&str, [f64; 6])> = record
        .benchmarks
        .iter()
        .filter_map(|b| {
            let all = responses(b)?;
            let q = |q| all.quantile_ns(q).unwrap_or(0.0).max(1.0);
            let max = all.max_ns()?.max(1.0);
            Some((b.name.as_str(), [q(0.01), q(0.25), q(0.5), q(0.75), q(0.99), max]))
        })
        .collect();
    let values = rows.iter().flat_map(|r| r.1);
    let longest = rows.iter().map(|r| width_of(&cut(r.0, NAME))).fold(80.0, f64::max);
    let left = longest + 16.0;
    let x = Axis::fitting(values, left, RIGHT)?;
    let bottom = TOP + rows.len() as f64 * ROW;
    let mut d = Drawing::default();
    d.text("name", 0.0, 16.0, "response time");
    d.text(
        "note",
        width_of("response time") + 18.0,
        16.0,
        "box p25–p75, stroke p50, whiskers p1–p99, dot max",
    );
    grid(&mut d, &x, bottom);
    for (i, (name, [p1, p25, p50, p75, p99, max])) in rows.iter().enumerate() {
        let y = TOP + (i as f64 + 0.5) * ROW;
        d.text("end", left - 12.0, y + 4.5, &cut(name, NAME));
        d.line("whisker", (x.at(*p1), y), (x.at(*p25), y));
        d.line("whisker", (x.at(*p75), y), (x.at(*p99), y));
        for end in [p1, p99] {
            d.line("whisker", (x.at(*end), y - 5.0), (x.at(*end), y + 5.0));
        }
        let show = |v: &f64| Unit::Nanoseconds.show(*v);
        let said = format!(
            "{name}: p1 {}, p25 {}, p50 {}, p75 {}, p99 {}, max {}",
            show(p1),
            show(p25),
            show(p50),
            show(p75),
            show(p99),
            show(max)
        );
        d.rect(
            "box",
            x.at(*p25),
            y - 8.0,
            (x.at(*p75) - x.at(*p25)).max(1.0),
            16.0,
            Some(&said),
        );
        d.line("middle", (x.at(*p50), y - 8.0), (x.at(*p50), y + 8.0));
        let (cx, cy) = (super::writer::px(x.at(*max)), super::writer::px(y));
        d.empty("circle", &[("class", "f2"), ("cx", &cx), ("cy", &cy), ("r", "3")]);
    }
    Some(Chart {
        kind: "boxes",
        about: "response times of all benchmarks: quartiles, p1, p99 and the longest".to_owned(),
        width: WIDTH,
        height: bottom + 28.0,
        body: d.finish(),
        notes: Vec::new(),
    })
}

fn grid(d: &mut Drawing, x: &Axis, bottom: f64) {
    let mut before = f64::MIN;
    for value in x.ticks(9) {
        let (at, text) = (x.at(value), tick_label(Unit::Nanoseconds, value));
        d.line("grid", (at, TOP - 8.0), (at, bottom));
        if at - before > width_of(&text) + 4.0 {
            d.text("tick mid", at, bottom + 19.0, &text);
            before = at;
        }
    }
    d.line("axis", (x.low, bottom), (x.high, bottom));
}

/// The path of an event as a waterfall: each hop from its mean beginning to its mean end, its parts under it.
pub(crate) fn waterfall(hops: &[HopRow]) -> Option<Chart> {
    let end = hops.iter().map(|h| h.end_ns).fold(0.0, f64::max);
    if end <= 0.0 {
        return None;
    }
    let label = |h: &HopRow| cut(&h.name, NAME);
    let longest = hops
        .iter()
        .map(|h| width_of(&label(h)) + indent(h))
        .fold(80.0, f64::max);
    let left = longest + 18.0;
    let right = RIGHT - 160.0;
    let x = Axis::from_zero(end, left, right);
    let bottom = TOP + hops.len() as f64 * (ROW - 6.0);
    let panel = Panel {
        x,
        y: Axis::from_zero(1.0, bottom, TOP),
        unit: Unit::Count,
        head: super::plot::HEAD,
    };
    let mut d = Drawing::default();
    d.text("name", 0.0, 16.0, "from the intended instant");
    d.text("note", right + 18.0, 16.0, "mean");
    d.text("note", right + 96.0, 16.0, "p99");
    grid(&mut d, &panel.x, bottom);
    for (i, hop) in hops.iter().enumerate() {
        let y = TOP + i as f64 * (ROW - 6.0);
        d.text("", indent(hop), y + 16.0, &label(hop));
        let (from, to) = (x.at(hop.begin_ns), x.at(hop.end_ns));
        let said = format!("{}: {} to {}", hop.name, show(hop.begin_ns), show(hop.end_ns));
        let class = if hop.part { "part" } else { "f1" };
        let height = if hop.part { 12.0 } else { 18.0 };
        let top = y + 12.0 - height / 2.0;
        d.rect(class, from, top, (to - from).max(1.5), height, Some(&said));
        d.text("note", right + 18.0, y + 16.0, &show(hop.end_ns - hop.begin_ns));
        d.text("note", right + 96.0, y + 16.0, &show(hop.p99_ns));
    }
    Some(Chart {
        kind: "hops",
        about: "where the time of an event goes, on average".to_owned(),
        width: WIDTH,
        height: bottom + 28.0,
        body: d.finish(),
        notes: Vec::new(),
    })
}

fn show(ns: f64) -> String {
    Unit::Nanoseconds.show(ns)
}

fn indent(hop: &HopRow) -> f64 {
    if hop.part { 16.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    #[test]
    fn every_benchmark_with_times_has_a_box() {
        let record = golden::all_pass();
        let chart = boxes(&record).unwrap();
        assert_eq!(chart.body.matches("class=\"box\"").count(), record.benchmarks.len());
        assert!(boxes(&golden::empty()).is_none());
    }
}
