//! Charts as SVG: each a pure function of the record that needs no script, in a page or as a file of its own.

mod distribution;
mod forest;
mod overview;
mod plot;
mod scale;
mod thin;
mod timeline;
mod writer;

pub(crate) use distribution::{histogram, percentiles};
pub(crate) use forest::{bullet, forest};
pub(crate) use overview::{boxes, waterfall};
pub(crate) use plot::{Chart, style};
pub(crate) use timeline::{timeline, told};
pub(crate) use writer::escape;

use crate::breakdown::hops;
use crate::{Files, RenderOptions, ReportError};
use eventbench_core::record::{BenchmarkRecord, RunRecord, TrialRecord};
use std::collections::BTreeSet;

/// Columns of a timeline that has a file to itself.
const COLUMNS: usize = 870;
/// Characters of a benchmark's name that its files' names keep.
const MOST: usize = 60;

/// Every chart of a run as a file: of each benchmark its distribution, its timelines and its hops; of the run the
/// response times of all benchmarks side by side, and the comparison where there is one.
pub(crate) fn files(record: &RunRecord, _: &RenderOptions) -> Result<Files, ReportError> {
    let mut files = Vec::new();
    let whole = format!("{} ({})", record.run.suite, record.run.profile);
    let mut add = |name: String, heading: &str, chart: Option<Chart>| {
        files.extend(chart.map(|chart| (format!("{name}.svg"), chart.standalone(heading))));
    };
    add("histogram".to_owned(), &whole, boxes(record));
    add(
        "comparison".to_owned(),
        &whole,
        record.comparison.as_ref().and_then(forest),
    );
    let mut taken = BTreeSet::new();
    for b in &record.benchmarks {
        let name = unique(&safe(&b.name), &mut taken);
        for chart in [percentiles(b), histogram(b), waterfall(&hops(b))]
            .into_iter()
            .flatten()
        {
            add(format!("{name}-{}", chart.kind), &b.name, Some(chart));
        }
        for (label, trial) in of_trials(b) {
            add(format!("{name}-timeline{label}"), &b.name, timeline(trial, COLUMNS));
        }
    }
    Ok(files)
}

/// The benchmark's own trials, each with what tells its file from the first one's.
fn of_trials(b: &BenchmarkRecord) -> impl Iterator<Item = (String, &TrialRecord)> {
    let own = b.trials.iter().filter(|t| t.variant.is_empty());
    own.enumerate().map(|(i, trial)| match i {
        0 => (String::new(), trial),
        i => (format!("-trial-{}", i + 1), trial),
    })
}

/// A name as a part of a file's name on any file system: lower-case ASCII letters, digits and single dashes.
fn safe(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
        if out.len() >= MOST {
            break;
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() {
        "benchmark".to_owned()
    } else {
        out.to_owned()
    }
}

/// A name that none before it has.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut n = 1;
    while !taken.insert(candidate.clone()) {
        n += 1;
        candidate = format!("{name}-{n}");
    }
    candidate
}

#[cfg(test)]
mod tests;
