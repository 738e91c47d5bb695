//! The arrays of github-action-benchmark: `customSmallerIsBetter` and `customBiggerIsBetter`.
//!
//! The action draws one chart a name and compares by name, so names are made of suite, benchmark, metric and statistic
//! alone, each in one fixed unit, and only the rows of one table are written: figures that have a good direction and
//! are the system's, not the instrument's.

use crate::text::printable;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Figure;
use eventbench_core::metric::Better;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use eventbench_core::units::Unit;
use serde::Serialize;

/// What is written: metric and its statistics.
const WRITTEN: &[(&str, &[&str])] = &[
    ("response_time", &["mean", "med", "p(95)", "p(99)"]),
    ("delivered.rate", &["value"]),
    ("delivered.ratio", &["value"]),
    ("acked.ratio", &["value"]),
    ("lost", &["value"]),
    ("cpu", &["value"]),
    ("cpu.per_event", &["value"]),
    ("cpu.overhead", &["value"]),
    ("rss", &["max"]),
    ("pss", &["max"]),
    ("rss.overhead", &["value"]),
    ("pss.overhead", &["value"]),
    ("downtime", &["value"]),
    ("recovery", &["value"]),
    ("gap.recovered", &["value"]),
    ("startup", &["value"]),
];

/// One entry. The action reads a `range` only in the form "± number", in the entry's unit.
#[derive(Serialize)]
struct Entry {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

pub(crate) fn smaller(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    render(record, Better::Lower)
}

pub(crate) fn bigger(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    render(record, Better::Higher)
}

fn render(record: &RunRecord, better: Better) -> Result<Vec<u8>, ReportError> {
    let mut entries = Vec::new();
    for benchmark in &record.benchmarks {
        for (metric, stats) in WRITTEN {
            let figures = benchmark.figures.iter().filter(|f| f.metric == *metric);
            let wanted = figures.filter(|f| f.better == better && stats.contains(&f.stat.as_str()));
            entries.extend(wanted.filter_map(|f| entry(record, benchmark, f)));
        }
    }
    let mut bytes = serde_json::to_vec_pretty(&entries)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn entry(record: &RunRecord, b: &BenchmarkRecord, f: &Figure) -> Option<Entry> {
    let (unit, scale) = unit(f.unit);
    let value = f.value.map(|v| v / scale).filter(|v| v.is_finite())?;
    // With a fraction always: the pattern by which the action finds the number wants two characters.
    let half = f.range.map(|(low, high)| (high - low) / 2.0 / scale);
    let stat = if f.stat == "value" {
        String::new()
    } else {
        format!(" {}", f.stat)
    };
    let name = format!("{}/{}: {}{stat}", record.run.suite, b.name, f.key());
    let mut extra = vec![
        format!("run: {}", record.run.id),
        format!("verdict: {}", b.verdict.word()),
        format!("trials: {}", f.trials.iter().flatten().count()),
        format!("load: {}", printable(&b.load)),
    ];
    if b.closed_loop {
        extra.push("closed loop: it sends less when the system is slow".to_owned());
    }
    Some(Entry {
        name: printable(&name),
        unit,
        value,
        range: half.filter(|h| h.is_finite()).map(|h| format!("± {h:?}")),
        extra: extra.join("\n"),
    })
}

/// A unit for charts, and how many base units it is.
fn unit(unit: Unit) -> (&'static str, f64) {
    match unit {
        Unit::Nanoseconds => ("ms", 1e6),
        Unit::Bytes => ("MB", 1e6),
        Unit::BytesPerHour => ("MB/h", 1e6),
        Unit::PerSecond => ("events/s", 1.0),
        Unit::Ratio => ("%", 0.01),
        Unit::Cores => ("% of a core", 0.01),
        Unit::Count => ("events", 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::metric::{Statistic, definition};
    use eventbench_testkit::golden;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn both(record: &RunRecord) -> [Vec<Value>; 2] {
        [smaller, bigger]
            .map(|render| serde_json::from_slice(&render(record, &RenderOptions::default()).unwrap()).unwrap())
    }

    #[test]
    fn every_row_of_the_table_is_a_figure_with_a_direction() {
        for (metric, stats) in WRITTEN {
            let metric = definition(metric).unwrap();
            assert_ne!(metric.better, Better::Neutral, "{}", metric.id);
            for stat in *stats {
                let stat = Statistic::parse(stat).unwrap();
                assert!(stat.definition().unwrap().kinds.contains(&metric.kind), "{}", metric.id);
            }
        }
    }

    #[test]
    fn entries_have_the_form_that_the_action_reads() {
        for (name, record) in golden::records() {
            let arrays = both(&record);
            let mut names = BTreeSet::new();
            for entry in arrays.iter().flatten() {
                assert!(
                    names.insert(entry["name"].as_str().unwrap().to_owned()),
                    "{name}: {entry}"
                );
                assert!(entry["value"].as_f64().is_some_and(f64::is_finite), "{name}: {entry}");
                assert!(!entry["unit"].as_str().unwrap().is_empty());
                if let Some(range) = entry.get("range") {
                    let half = range.as_str().unwrap().strip_prefix("± ").unwrap();
                    assert!(half.len() > 1 && half.parse::<f64>().unwrap() >= 0.0, "{name}: {entry}");
                }
                assert!(!entry["name"].as_str().unwrap().contains(|c: char| c.is_control()));
            }
        }
    }

    #[test]
    fn each_figure_stands_in_the_array_of_its_direction() {
        let record = golden::all_pass();
        let [smaller, bigger] = both(&record);
        let value = |array: &[Value], name: &str| {
            let found = array.iter().find(|e| e["name"] == name);
            found.map(|e| (e["value"].as_f64().unwrap(), e["unit"].as_str().unwrap().to_owned()))
        };
        let p95 = record.benchmarks[0]
            .figure("response_time", &[], "p(95)")
            .unwrap()
            .value
            .unwrap();
        let latency = "event-bus/single-event-latency: response_time p(95)";
        assert_eq!(value(&smaller, latency), Some((p95 / 1e6, "ms".to_owned())));
        assert_eq!(value(&bigger, latency), None);
        let ratio = "event-bus/single-event-latency: delivered.ratio";
        assert_eq!(value(&bigger, ratio), Some((100.0, "%".to_owned())));
        assert!(value(&smaller, "event-bus/single-event-latency: cpu{process:store}").is_some());
        assert!(
            smaller
                .iter()
                .all(|e| !e["name"].as_str().unwrap().contains("lateness"))
        );
    }
}
