//! Percentile distributions as HdrHistogram's reference prints them (`.hgrm`), a file for each benchmark: what the plotter
//! of HdrHistogram and many others read. Values are microseconds; all trials of a benchmark are put together.
//!
//! The rows are the reference's own arithmetic. Mean, deviation and maximum below them are those of the record, which
//! keeps exact sums, so that they agree with every other report.

use crate::{RenderOptions, ReportError};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::Latency;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use std::collections::BTreeSet;

const NS_PER_US: f64 = 1e3;
/// Rows for each halving of the distance to 100 %, as the reference has them if not told otherwise.
const TICKS_PER_HALF_DISTANCE: f64 = 5.0;
/// What is written, and what stands behind the name for it.
const WRITTEN: [(&str, &str); 2] = [("response_time", ""), ("service_time", ".service-time")];
/// Longer names are cut, since file systems end at 255 bytes.
const LONGEST_NAME: usize = 100;

pub(crate) fn files(record: &RunRecord, _: &RenderOptions) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let mut files = Vec::new();
    let mut taken = BTreeSet::new();
    for benchmark in &record.benchmarks {
        let mut variants: Vec<&str> = Vec::new();
        for trial in &benchmark.trials {
            if !variants.contains(&trial.variant.as_str()) {
                variants.push(&trial.variant);
            }
        }
        for variant in variants {
            let stem = free_name(&benchmark.name, variant, &mut taken);
            for (metric, suffix) in WRITTEN {
                let all = merged(benchmark, variant, metric);
                if all.count() > 0 {
                    files.push((format!("{stem}{suffix}.hgrm"), distribution(&all).into_bytes()));
                }
            }
        }
    }
    Ok(files)
}

fn merged(benchmark: &BenchmarkRecord, variant: &str, metric: &str) -> Latency {
    let mut all = Latency::new();
    for trial in benchmark.trials.iter().filter(|t| t.variant == variant) {
        if let Some(MetricValue::Latency(part)) = trial.values.get(&MetricKey::plain(metric)) {
            all.merge(part);
        }
    }
    all
}

/// A name that every file system takes and that stands for nothing else, however it is written.
fn free_name(benchmark: &str, variant: &str, taken: &mut BTreeSet<String>) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    let mut plain: String = benchmark.chars().take(LONGEST_NAME).map(safe).collect();
    if !variant.is_empty() {
        plain.push('.');
        plain.extend(variant.chars().take(LONGEST_NAME).map(safe));
    }
    if plain.trim_matches(['_', '-']).is_empty() || plain.starts_with('-') {
        plain = format!("benchmark{plain}");
    }
    let (mut name, mut n) = (plain.clone(), 1);
    while !taken.insert(name.to_ascii_lowercase()) {
        n += 1;
        name = format!("{plain}.{n}");
    }
    name
}

/// The table, row by row as the reference formats it.
fn distribution(all: &Latency) -> String {
    let histogram = all.histogram();
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for row in rows(all) {
        let (us, share) = (row.highest_ns as f64 / NS_PER_US, row.percent / 100.0);
        out.push_str(&format!("{us:12.3} {share:2.12} {:10}", row.count));
        if row.percent < 100.0 {
            out.push_str(&format!(" {:14.2}", 1.0 / (1.0 - share)));
        }
        out.push('\n');
    }
    let us = |ns: Option<f64>| ns.unwrap_or(0.0) / NS_PER_US;
    out.push_str(&format!(
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {:12.3}, Total count    = {:12}]\n",
        us(all.mean_ns()),
        us(all.stddev_ns()),
        us(all.max_ns()),
        all.count()
    ));
    let sub_buckets = sub_buckets(histogram.sigfig());
    out.push_str(&format!(
        "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]\n",
        buckets(histogram.high(), sub_buckets)
    ));
    out
}

/// One row: so many times are at or below a time, of which a percentage was asked for.
struct Step {
    highest_ns: u64,
    percent: f64,
    count: u64,
}

/// The rows by the reference's arithmetic, in percent: the library's own iterator counts in shares, which round otherwise,
/// and would now and then take the next bucket. The last bucket has one row beside that of 100 %.
fn rows(all: &Latency) -> Vec<Step> {
    let total = all.count();
    let (mut rows, mut percent, mut count) = (Vec::new(), 0.0, 0);
    let mut last_ns = 0;
    for (highest_ns, n) in all.buckets() {
        count += n;
        last_ns = highest_ns;
        while 100.0 * count as f64 / total as f64 >= percent {
            rows.push(Step {
                highest_ns,
                percent,
                count,
            });
            if count == total {
                break;
            }
            // As many rows again for each halving of the distance to 100 %.
            let halvings = ((100.0 / (100.0 - percent)).ln() / 2f64.ln()) as i32;
            percent += 100.0 / (TICKS_PER_HALF_DISTANCE * 2f64.powi(halvings + 1));
        }
    }
    if total > 0 {
        rows.push(Step {
            highest_ns: last_ns,
            percent: 100.0,
            count,
        });
    }
    rows
}

/// The smallest power of two that tells so many significant digits apart (the reference's `subBucketCount`).
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(digits))).next_power_of_two()
}

/// Doublings of the range of the first bucket until it holds the highest value (the reference's `bucketCount`).
fn buckets(highest: u64, sub_buckets: u64) -> u32 {
    let (mut smallest_untrackable, mut buckets) = (sub_buckets, 1);
    while smallest_untrackable <= highest {
        let Some(doubled) = smallest_untrackable.checked_mul(2) else {
            return buckets + 1;
        };
        smallest_untrackable = doubled;
        buckets += 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    /// Value in µs, percentile and count of each row, as a reader of such files takes them.
    fn read(text: &str) -> Vec<(f64, f64, u64)> {
        let rows = text.lines().skip(2).filter(|l| !l.starts_with('#'));
        rows.map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            (
                cells[0].parse().unwrap(),
                cells[1].parse().unwrap(),
                cells[2].parse().unwrap(),
            )
        })
        .collect()
    }

    #[test]
    fn the_form_is_the_references() {
        let mut all = Latency::new();
        (1..2000u64).for_each(|i| all.record(1_000 * i * i));
        let text = distribution(&all);
        let lines: Vec<&str> = text.lines().collect();
        // The first and the last lines of what HdrHistogram 2.1.11 prints of the same times.
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        assert_eq!(lines[3], "   40009.727 0.100000000000        200           1.11");
        let end = &lines[lines.len() - 5..];
        assert_eq!(end[0], " 3997171.711 0.999511718750       1999        2048.00");
        assert_eq!(end[1], " 3997171.711 1.000000000000       1999");
        assert!(
            end[2].starts_with("#[Mean    =  1333000.000, StdDeviation   = "),
            "{}",
            end[2]
        );
        assert_eq!(end[3], "#[Max     =  3996001.000, Total count    =         1999]");
        assert_eq!(end[4], "#[Buckets =           32, SubBuckets     =         2048]");
    }

    #[test]
    fn every_distribution_ends_at_its_count_and_maximum() {
        for (name, record) in golden::records() {
            let files = files(&record, &RenderOptions::default()).unwrap();
            let names: BTreeSet<String> = files.iter().map(|f| f.0.to_ascii_lowercase()).collect();
            assert_eq!(names.len(), files.len(), "{name}");
            for (file, bytes) in &files {
                assert!(
                    !file.contains(['/', '\\', ':', '*', '|', '<', ' ']) && file.is_ascii(),
                    "{name}: {file}"
                );
                let rows = read(std::str::from_utf8(bytes).unwrap());
                assert!(
                    rows.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2),
                    "{name}: {file}"
                );
                assert_eq!(rows.last().unwrap().1, 1.0, "{name}: {file}");
            }
        }
        let record = golden::all_pass();
        let (file, bytes) = &files(&record, &RenderOptions::default()).unwrap()[0];
        assert_eq!(file, "single-event-latency.hgrm");
        let count = record.benchmarks[0]
            .figure("response_time", &[], "count")
            .unwrap()
            .samples;
        assert_eq!(read(std::str::from_utf8(bytes).unwrap()).last().unwrap().2, count);
    }

    #[test]
    fn names_become_files_of_their_own() {
        let mut taken = BTreeSet::new();
        for (benchmark, variant, file) in [
            ("a b", "", "a_b"),
            ("A/b", "", "A_b.2"),
            ("x", "direct", "x.direct"),
            ("..", "", "benchmark__"),
            ("-rf", "", "benchmark-rf"),
            ("", "", "benchmark"),
        ] {
            assert_eq!(free_name(benchmark, variant, &mut taken), file);
        }
    }
}
