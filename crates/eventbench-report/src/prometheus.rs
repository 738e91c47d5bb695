//! Prometheus' text format, for the textfile collector of its node exporter: what the last run of a suite came to, in base
//! units, with names made of the table of metrics.
//!
//! Everything is a gauge: a run's figures take the place of the last run's and never add up. Labels are the suite, the
//! benchmark, a variant, the tags of a metric and a statistic, all of which the plan bounds; what a system answers is in
//! no label. Verdicts are numbers in the order of their weight: 0 pass, 1 warn, 2 no data, 3 fail, 4 invalid.

use crate::text::printable;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::{Figure, Verdict};
use eventbench_core::metric::{Kind, METRICS, MetricDef, MetricKey, MetricValue, definition};
use eventbench_core::observe::Latency;
use eventbench_core::plan::Severity;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use eventbench_core::units::Unit;
use std::collections::{BTreeMap, BTreeSet};

/// Sets of tags of one metric of a benchmark; a suite with more of them has more series than anybody looks at.
const MOST_TAG_SETS: usize = 50;
/// Bounds of the distribution of response times, in nanoseconds.
const BOUNDS_NS: [u64; 21] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];
const NS_PER_S: f64 = 1e9;
const S_PER_HOUR: f64 = 3600.0;
const VERDICTS: &str = "0 pass, 1 warn, 2 no data, 3 fail, 4 invalid";

type Labels = Vec<(String, String)>;

/// The series of one name, which must stand together.
struct Family {
    name: String,
    kind: &'static str,
    help: String,
    lines: Vec<String>,
}

impl Family {
    fn new(name: &str, kind: &'static str, help: &str) -> Family {
        Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            lines: Vec::new(),
        }
    }

    fn add(&mut self, labels: &[(String, String)], value: f64) {
        let name = self.name.clone();
        self.add_as(&name, labels, value);
    }

    fn add_as(&mut self, name: &str, labels: &[(String, String)], value: f64) {
        if !value.is_finite() {
            return;
        }
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        self.lines.push(format!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn write(&self, out: &mut String) {
        if self.lines.is_empty() {
            return;
        }
        let help = self.help.replace('\\', "\\\\").replace('\n', "\\n");
        out.push_str(&format!(
            "# HELP {} {help}\n# TYPE {} {}\n",
            self.name, self.name, self.kind
        ));
        for line in &self.lines {
            out.push_str(line);
            out.push('\n');
        }
    }
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let mut out = String::new();
    for family in run(record) {
        family.write(&mut out);
    }
    for family in verdicts(record) {
        family.write(&mut out);
    }
    let (families, notes) = figures(record);
    for family in families {
        family.write(&mut out);
    }
    distribution(record).write(&mut out);
    for note in notes {
        out.push_str(&format!("# {note}\n"));
    }
    Ok(out.into_bytes())
}

fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), printable(value))
}

/// A label's value between quotation marks.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is known of the run as a whole.
fn run(record: &RunRecord) -> [Family; 3] {
    let run = &record.run;
    let suite = label("suite", &run.suite);
    let mut info = vec![suite.clone(), label("run", &run.id), label("profile", &run.profile)];
    let versions = &run.environment.versions;
    info.extend(versions.get("eventbench").map(|v| label("version", v)));
    info.extend(versions.get("nats-server").map(|v| label("nats_server_version", v)));
    info.extend(run.source.as_ref().map(|s| label("commit", &s.commit)));
    let mut families = [
        Family::new("eventbench_run_info", "gauge", "the last run of the suite; always 1"),
        Family::new(
            "eventbench_run_start_timestamp_seconds",
            "gauge",
            "start of the run, in seconds since the Unix epoch",
        ),
        Family::new("eventbench_run_duration_seconds", "gauge", "length of the run"),
    ];
    families[0].add(&info, 1.0);
    families[1].add(std::slice::from_ref(&suite), run.started_unix_ms as f64 / 1e3);
    if let Some(seconds) = run.seconds {
        families[2].add(&[suite], seconds);
    }
    families
}

fn number(verdict: Verdict) -> f64 {
    match verdict {
        Verdict::Pass => 0.0,
        Verdict::Warn => 1.0,
        Verdict::NoData => 2.0,
        Verdict::Fail => 3.0,
        Verdict::Invalid => 4.0,
    }
}

fn verdicts(record: &RunRecord) -> [Family; 4] {
    let status = |name: &str, of: &str| Family::new(name, "gauge", &format!("{of}: {VERDICTS}"));
    let mut families = [
        status("eventbench_run_status", "verdict of the run"),
        status("eventbench_benchmark_status", "verdict of a benchmark"),
        status(
            "eventbench_limit_status",
            "what became of a limit, whatever its severity",
        ),
        status(
            "eventbench_comparison_status",
            "verdict of the comparison with a baseline",
        ),
    ];
    let suite = label("suite", &record.run.suite);
    let [run, benchmarks, limits, comparison] = &mut families;
    run.add(std::slice::from_ref(&suite), number(record.verdict()));
    for (benchmark, own) in named(record) {
        benchmarks.add(&own, number(benchmark.verdict));
        let mut taken = BTreeSet::new();
        for limit in &benchmark.limits {
            let severity = match limit.severity {
                Severity::Must => "must",
                Severity::Should => "should",
                Severity::May => "may",
            };
            let (plain, mut n) = (printable(&limit.that), 1);
            let mut that = plain.clone();
            while !taken.insert((that.clone(), severity)) {
                n += 1;
                that = format!("{plain} ({n})");
            }
            let mut labels = own.clone();
            labels.extend([label("limit", &that), label("severity", severity)]);
            let trusted = benchmark.verdict != Verdict::Invalid;
            limits.add(&labels, number(if trusted { limit.outcome } else { Verdict::Invalid }));
        }
    }
    if let Some(compared) = &record.comparison {
        comparison.add(&[suite], number(compared.verdict()));
    }
    families
}

/// The benchmarks with the labels that name them, no two alike.
fn named(record: &RunRecord) -> Vec<(&BenchmarkRecord, Labels)> {
    let mut taken = BTreeSet::new();
    let named = record.benchmarks.iter().map(|b| {
        let (plain, mut n) = (printable(&b.name), 1);
        let mut name = plain.clone();
        while !taken.insert(name.clone()) {
            n += 1;
            name = format!("{plain} ({n})");
        }
        (b, vec![label("suite", &record.run.suite), label("benchmark", &name)])
    });
    named.collect()
}

/// Name and factor of a figure's series: the metric's id, what the statistic makes of it, and the base unit.
fn series(metric: &MetricDef, stat: &str, unit: Unit) -> (String, f64) {
    let mut name = format!("eventbench_{}", metric.id.replace('.', "_"));
    match stat {
        "count" => name.push_str("_samples"),
        "slope" | "increase" => name.push_str(&format!("_{stat}")),
        _ => {}
    }
    let (suffix, scale) = match unit {
        Unit::Nanoseconds => ("_seconds", 1.0 / NS_PER_S),
        Unit::Bytes => ("_bytes", 1.0),
        Unit::BytesPerHour => ("_bytes_per_second", 1.0 / S_PER_HOUR),
        Unit::PerSecond => ("_per_second", 1.0),
        Unit::Ratio => ("_ratio", 1.0),
        Unit::Cores => ("_cores", 1.0),
        // The growth of a bare count is told by the hour.
        Unit::Count if stat == "slope" => ("_per_second", 1.0 / S_PER_HOUR),
        Unit::Count => ("", 1.0),
    };
    if !name.ends_with(suffix) {
        name.push_str(suffix);
    }
    (name, scale)
}

/// Whether several statistics of a metric stand under one name, told apart by a label.
fn has_statistics(kind: Kind, stat: &str) -> bool {
    matches!(kind, Kind::Latency | Kind::Series) && !["count", "slope", "increase"].contains(&stat)
}

/// Every figure, and remarks on what was left out.
fn figures(record: &RunRecord) -> (Vec<Family>, Vec<String>) {
    let mut families: BTreeMap<(usize, String), Family> = BTreeMap::new();
    let mut notes = Vec::new();
    for (benchmark, own) in named(record) {
        let mut sides: Vec<(Labels, &[Figure])> = vec![(own.clone(), &benchmark.figures)];
        if let Some(baseline) = &benchmark.baseline {
            let mut labels = own.clone();
            labels.push(label("variant", &baseline.name));
            sides.push((labels, &baseline.figures));
        }
        for (own, figures) in sides {
            let mut sets: BTreeMap<&str, BTreeSet<&BTreeMap<String, String>>> = BTreeMap::new();
            let mut left_out: BTreeMap<&str, BTreeSet<&BTreeMap<String, String>>> = BTreeMap::new();
            for figure in figures {
                let Some((metric, value)) = definition(&figure.metric).zip(figure.value) else {
                    continue;
                };
                let known = sets.entry(metric.id).or_default();
                if known.len() >= MOST_TAG_SETS && !known.contains(&figure.tags) {
                    left_out.entry(metric.id).or_default().insert(&figure.tags);
                    continue;
                }
                known.insert(&figure.tags);
                let (name, scale) = series(metric, &figure.stat, figure.unit);
                let place = METRICS.iter().position(|m| m.id == metric.id).unwrap_or(METRICS.len());
                let family = families
                    .entry((place, name.clone()))
                    .or_insert_with(|| Family::new(&name, "gauge", &help(metric, &figure.stat)));
                let mut labels = own.clone();
                labels.extend(tag_labels(&figure.tags));
                if has_statistics(metric.kind, &figure.stat) {
                    labels.push(label("stat", &figure.stat.replace(['(', ')'], "")));
                }
                family.add(&labels, value * scale);
            }
            for (metric, sets) in left_out {
                let name = own.iter().find(|l| l.0 == "benchmark").map_or("", |l| l.1.as_str());
                notes.push(format!(
                    "{metric} of {name}: {} further sets of tags are left out",
                    sets.len()
                ));
            }
        }
    }
    (families.into_values().collect(), notes)
}

fn help(metric: &MetricDef, stat: &str) -> String {
    match stat {
        "count" => format!("samples of: {}", metric.help),
        "slope" => format!("growth of: {}", metric.help),
        "increase" => format!("last fifth over first fifth, less one, of: {}", metric.help),
        _ => metric.help.to_owned(),
    }
}

/// The tags of a metric as labels that clash with none of ours.
fn tag_labels(tags: &BTreeMap<String, String>) -> Labels {
    const OURS: [&str; 5] = ["suite", "benchmark", "variant", "stat", "le"];
    let mut labels: Labels = Vec::new();
    for (key, value) in tags {
        let mut name: String = key
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let taken = |name: &str| OURS.contains(&name) || labels.iter().any(|l| l.0 == name);
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || taken(&name) {
            name = format!("tag_{name}");
        }
        while labels.iter().any(|l| l.0 == name) {
            name.push('_');
        }
        labels.push(label(&name, value));
    }
    labels
}

/// Response times of all trials in classic buckets, from which Prometheus itself can compute quantiles.
fn distribution(record: &RunRecord) -> Family {
    const NAME: &str = "eventbench_response_time_distribution_seconds";
    let mut family = Family::new(NAME, "histogram", "response times of all trials of the last run");
    for (benchmark, own) in named(record) {
        let mut all = Latency::new();
        for trial in benchmark.trials.iter().filter(|t| t.variant.is_empty()) {
            if let Some(MetricValue::Latency(part)) = trial.values.get(&MetricKey::plain("response_time")) {
                all.merge(part);
            }
        }
        let Some(mean_ns) = all.mean_ns() else { continue };
        let mut buckets = all.buckets().peekable();
        let mut below = 0;
        for bound in BOUNDS_NS {
            // A bucket of the record spans a thousandth of its time; one that holds the bound counts above it.
            while let Some((_, n)) = buckets.next_if(|(highest_ns, _)| *highest_ns <= bound) {
                below += n;
            }
            let mut labels = own.clone();
            labels.push(label("le", &(bound as f64 / NS_PER_S).to_string()));
            family.add_as(&format!("{NAME}_bucket"), &labels, below as f64);
        }
        let mut labels = own.clone();
        labels.push(label("le", "+Inf"));
        family.add_as(&format!("{NAME}_bucket"), &labels, all.count() as f64);
        family.add_as(&format!("{NAME}_sum"), &own, mean_ns * all.count() as f64 / NS_PER_S);
        family.add_as(&format!("{NAME}_count"), &own, all.count() as f64);
    }
    family
}

#[cfg(test)]
mod tests;
