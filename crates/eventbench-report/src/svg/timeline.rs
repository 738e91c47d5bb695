//! A trial over time: the rate, response times and readings of processes below one another, on one axis of seconds.

use super::plot::{Chart, Entry, Panel, cut, seconds_label, width_of};
use super::scale::Axis;
use super::thin::{Points, peaks, thin};
use super::writer::Drawing;
use eventbench_core::metric::MetricValue;
use eventbench_core::observe::Interval;
use eventbench_core::record::{Mark, TrialRecord};
use eventbench_core::units::Unit;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 936.0;
/// Room above a panel for its name, and below the last for the seconds.
const HEAD: f64 = 46.0;
const FOOT: f64 = 28.0;
const GAP: f64 = 18.0;
/// Points from which on a line is drawn thin.
const DENSE: usize = 250;
/// Marks nearer than this share one flag.
const FLAG: f64 = 20.0;

/// Readings of processes that have a panel: (metric, what the panel is called, its unit, whether a flat line is worth one).
const READINGS: &[(&str, &str, Unit, bool)] = &[
    ("cpu", "CPU", Unit::Cores, true),
    ("rss", "resident memory", Unit::Bytes, true),
    ("fds", "open files", Unit::Count, false),
    ("threads", "threads", Unit::Count, false),
];
const CLASSES: [&str; 6] = ["s1", "s2 dashed", "s3", "s4 dashed", "s5", "s6 dashed"];
/// Processes with a line of their own; more could not be told apart.
const MOST_LINES: usize = 6;

struct Line {
    class: &'static str,
    name: String,
    points: Points,
}

struct Part {
    name: &'static str,
    unit: Unit,
    height: f64,
    lines: Vec<Line>,
    fill: bool,
    wide: bool,
}

/// The timeline of a trial in so many columns; `None` below three seconds, which are no course.
pub(crate) fn timeline(trial: &TrialRecord, columns: usize) -> Option<Chart> {
    let last = trial.timeline.last().filter(|i| i.second >= 2)?;
    let planned = trial.warmup_s + trial.measured_s;
    let end = (f64::from(last.second) + 1.0).max(if planned.is_finite() { planned } else { 0.0 });
    let x = Axis {
        from: 0.0,
        to: end,
        log: false,
        low: LEFT,
        high: RIGHT,
    };
    let mut parts = vec![rate(&trial.timeline, columns), times(&trial.timeline, columns)];
    parts.extend(READINGS.iter().filter_map(|r| readings(trial, r, columns)));
    parts.retain(|p| p.lines.iter().any(|l| l.points.iter().flatten().next().is_some()));
    let flags = if trial.marks.is_empty() { 0.0 } else { 24.0 };
    let mut d = Drawing::default();
    let mut top = HEAD + flags;
    let first = top;
    let bottom = parts.iter().map(|p| p.height + HEAD).sum::<f64>() + GAP * (parts.len() as f64 - 1.0) + flags;
    phases(&mut d, trial, &x, (first, bottom));
    for (i, part) in parts.iter().enumerate() {
        let ticks: Vec<(f64, String)> = x
            .time_ticks(8)
            .into_iter()
            .map(|t| (x.at(t), seconds_label(t, end)))
            .map(|(at, text)| (at, if i + 1 == parts.len() { text } else { String::new() }))
            .collect();
        draw(&mut d, part, x, top, &ticks);
        top += part.height + HEAD + GAP;
    }
    marks(&mut d, trial, &x, (first, bottom));
    Some(Chart {
        kind: "timeline",
        about: format!(
            "trial {} over time: events done and sent a second, response times, readings of processes",
            trial.number
        ),
        width: WIDTH,
        height: bottom + FOOT,
        body: d.finish(),
        notes: trial
            .marks
            .iter()
            .enumerate()
            .map(|(i, mark)| format!("{}. {}", i + 1, told(mark)))
            .collect(),
    })
}

/// Events a second; a second without any stands in no record and is a zero here.
fn rate(intervals: &[Interval], columns: usize) -> Part {
    let of = |count: fn(&Interval) -> u64| -> Points {
        let mut points: Points = Vec::with_capacity(intervals.len());
        let mut next = 0u32;
        for interval in intervals {
            let second = interval.second;
            if second > next {
                points.push(Some((f64::from(next) + 0.5, 0.0)));
                points.push(Some((f64::from(second) - 0.5, 0.0)));
            }
            points.push(Some((f64::from(second) + 0.5, count(interval) as f64)));
            next = second.saturating_add(1);
        }
        points
    };
    Part {
        name: "events",
        unit: Unit::PerSecond,
        height: 104.0,
        lines: vec![
            Line {
                class: "s1",
                name: "done".to_owned(),
                points: thin(&of(|i| i.done), columns),
            },
            Line {
                class: "s6 thin dashed",
                name: "sent".to_owned(),
                points: thin(&of(|i| i.sent), columns),
            },
        ],
        fill: true,
        wide: false,
    }
}

/// Response times of the events done in each second; no line where there were none.
fn times(intervals: &[Interval], columns: usize) -> Part {
    let of = |value: fn(&Interval) -> Option<f64>| -> Points {
        let mut points: Points = Vec::with_capacity(intervals.len());
        let mut next = 0u32;
        for interval in intervals {
            if interval.second > next {
                points.push(None);
            }
            points.push(value(interval).map(|v| (f64::from(interval.second) + 0.5, v)));
            next = interval.second.saturating_add(1);
        }
        points
    };
    let line = |class, name: &str, points| Line {
        class,
        name: name.to_owned(),
        points,
    };
    Part {
        name: "response time",
        unit: Unit::Nanoseconds,
        height: 150.0,
        lines: vec![
            line("s1", "p50", thin(&of(|i| i.p50_ns), columns)),
            line("s2", "p99", thin(&of(|i| i.p99_ns), columns)),
            line("s6 thin dotted", "max", peaks(&of(|i| i.max_ns), columns)),
        ],
        fill: false,
        wide: true,
    }
}

fn readings(trial: &TrialRecord, row: &(&str, &'static str, Unit, bool), columns: usize) -> Option<Part> {
    let (metric, name, unit, flat) = *row;
    let of_processes = trial.values.0.iter().filter_map(|(key, value)| match value {
        MetricValue::Series(series) if key.metric == metric => {
            let process: Vec<&str> = key.tags.values().map(String::as_str).collect();
            Some((process.join(", "), &series.points))
        }
        _ => None,
    });
    let lines: Vec<Line> = of_processes
        .filter(|(_, points)| !points.is_empty())
        .filter(|(_, points)| flat || points.iter().any(|p| p.1 != points[0].1))
        .take(MOST_LINES)
        .zip(CLASSES)
        .map(|((process, points), class)| {
            let points: Points = points.iter().map(|p| Some(*p)).collect();
            Line {
                class,
                name: process,
                points: thin(&points, columns),
            }
        })
        .collect();
    (!lines.is_empty()).then_some(Part {
        name,
        unit,
        height: 92.0,
        lines,
        fill: false,
        wide: false,
    })
}

fn draw(d: &mut Drawing, part: &Part, x: Axis, top: f64, ticks: &[(f64, String)]) {
    let (low, high) = (top + part.height, top);
    let values = || part.lines.iter().flat_map(|l| l.points.iter().flatten()).map(|p| p.1);
    let most = values().fold(0.0, f64::max);
    let y = match Axis::fitting(values(), low, high) {
        Some(axis) if part.wide => axis,
        _ => Axis::from_zero(most, low, high),
    };
    let panel = Panel {
        x,
        y,
        unit: part.unit,
        head: super::plot::HEAD,
    };
    let legend: Vec<Entry> = part.lines.iter().map(|l| (l.class, cut(&l.name, 24))).collect();
    panel.frame(d, part.name, &legend, ticks);
    let place = |p: &Option<(f64, f64)>| p.map(|p| (x.at(p.0), y.at(p.1)));
    if let (true, Some(line)) = (part.fill, part.lines.first()) {
        let known: Vec<(f64, f64)> = line.points.iter().filter_map(place).collect();
        if let (Some(first), Some(last)) = (known.first(), known.last()) {
            let (from, to) = ((first.0, low), (last.0, low));
            d.area("area", std::iter::once(from).chain(known.iter().copied()).chain([to]));
        }
    }
    panel.open(d, "s");
    // The first is the most important one and so lies on top.
    for line in part.lines.iter().rev() {
        // A line that fills every column of pixels would be a blot at its usual width.
        let dense = if line.points.len() > DENSE { " thin" } else { "" };
        let class = format!("curve{dense} {}", line.class);
        d.curve(&class, &line.name, line.points.iter().map(place));
    }
    d.close("g");
}

/// Warm-up and drain as shaded columns behind all panels.
fn phases(d: &mut Drawing, trial: &TrialRecord, x: &Axis, (top, bottom): (f64, f64)) {
    let until = trial.warmup_s + trial.measured_s;
    let spans = [(0.0, trial.warmup_s, "warm-up"), (until, x.to, "drain")];
    for (from, to, name) in spans
        .into_iter()
        .filter(|s| s.1 > s.0 && s.0.is_finite() && s.1.is_finite())
    {
        let (left, right) = (x.at(from), x.at(to));
        d.rect("shade", left, top, right - left, bottom - top, Some(name));
        if right - left > width_of(name) {
            d.text("note", left + 4.0, bottom - 6.0, name);
        }
    }
}

/// A mark in words, to a hundredth of a second however long the trial is.
pub(crate) fn told(mark: &Mark) -> String {
    format!("{} s: {}", (mark.at_s * 100.0).round() / 100.0, mark.what)
}

/// Marks as numbered flags; those too close for two flags share one.
fn marks(d: &mut Drawing, trial: &TrialRecord, x: &Axis, (top, bottom): (f64, f64)) {
    let mut flags: Vec<(f64, usize, usize, Vec<String>)> = Vec::new();
    for (i, mark) in trial.marks.iter().enumerate() {
        let at = x.at(mark.at_s);
        d.line("mark", (at, top - HEAD + 20.0), (at, bottom));
        let said = told(mark);
        match flags.last_mut() {
            Some(flag) if at - flag.0 < FLAG => {
                flag.2 = i + 1;
                flag.3.push(said);
            }
            _ => flags.push((at, i + 1, i + 1, vec![said])),
        }
    }
    for (at, first, last, said) in flags {
        let text = if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        };
        let width = width_of(&text).max(9.0) + 9.0;
        let left = (at - width / 2.0).min(RIGHT - width + 12.0);
        let y = top - HEAD - 2.0;
        d.rect("flag", left, y, width, 19.0, Some(&said.join("; ")));
        d.text("flag-text", left + width / 2.0, y + 14.0, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn trial() -> TrialRecord {
        golden::failure_recovery().benchmarks[0].trials[0].clone()
    }

    #[test]
    fn every_mark_has_its_line_and_stands_in_a_flag() {
        let with = timeline(&trial(), 300).unwrap().body;
        assert_eq!(with.matches("class=\"mark\"").count(), 3);
        assert!(with.contains("3.04 s: start store") && with.contains(">1–3<"), "{with}");
        let file = String::from_utf8(timeline(&trial(), 300).unwrap().standalone("restart")).unwrap();
        assert!(
            file.contains(">2. 3.04 s: start store<"),
            "a file has no page that would say it"
        );
        let mut without = trial();
        without.marks.clear();
        assert!(!timeline(&without, 300).unwrap().body.contains("class=\"mark\""));
    }

    #[test]
    fn the_phases_and_every_process_are_told() {
        let body = timeline(&trial(), 300).unwrap().body;
        for name in [
            "warm-up",
            "data-name=\"p99\"",
            "data-name=\"max\"",
            "data-name=\"nats\"",
            "data-name=\"store\"",
        ] {
            assert!(body.contains(name), "{name}");
        }
        assert!(!body.contains(">drain<"), "the load ends with the timeline");
    }

    #[test]
    fn two_seconds_are_no_course() {
        let mut short = trial();
        short.timeline.truncate(2);
        assert!(timeline(&short, 300).is_none());
    }
}
