//! pytest-benchmark JSON: the distribution of response times of each benchmark, as `pytest-benchmark compare` reads it.
//!
//! A round is one event: all trials are put together, `rounds` is the number of their events, and the quartiles and
//! outliers come from the histogram (three significant digits). Everything else stands in `extra_info` with its unit.
//! A benchmark without such a distribution is left out, since no such file has a place for it.

use crate::text::utc;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Figure;
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::Latency;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use serde::Serialize;
use std::collections::BTreeMap;

/// The version of pytest-benchmark whose form this is.
const FORM: &str = "5.3.1";
const METRIC: &str = "response_time";
const NS_PER_S: f64 = 1e9;

#[derive(Serialize)]
struct Document<'a> {
    machine_info: Machine<'a>,
    commit_info: Commit<'a>,
    benchmarks: Vec<Entry<'a>>,
    datetime: String,
    version: &'static str,
}

#[derive(Serialize)]
struct Machine<'a> {
    node: &'static str,
    processor: &'a str,
    machine: &'static str,
    release: &'a str,
    system: &'a str,
    cpu: Cpu<'a>,
    memory_bytes: u64,
    versions: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Cpu<'a> {
    brand_raw: &'a str,
    count: u32,
}

/// As pytest-benchmark writes it where there is no repository, when nothing is known.
#[derive(Serialize)]
struct Commit<'a> {
    id: &'a str,
    time: Option<&'a str>,
    author_time: Option<&'a str>,
    dirty: bool,
    project: &'a str,
    branch: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    group: &'a str,
    name: String,
    fullname: String,
    params: Option<BTreeMap<&'static str, &'a str>>,
    param: Option<&'a str>,
    extra_info: BTreeMap<String, Quantity<'a>>,
    options: Options<'a>,
    stats: Stats,
}

#[derive(Serialize)]
struct Quantity<'a> {
    value: f64,
    unit: &'a str,
}

/// Not pytest-benchmark's own options, which say how it repeats a function, but how the load was made here.
#[derive(Serialize)]
struct Options<'a> {
    metric: &'static str,
    load: &'a str,
    closed_loop: bool,
    trials: usize,
    run: &'a str,
    suite: &'a str,
    profile: &'a str,
    verdict: &'static str,
}

#[derive(Serialize)]
struct Stats {
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    rounds: u64,
    median: f64,
    iqr: f64,
    q1: f64,
    q3: f64,
    iqr_outliers: u64,
    stddev_outliers: u64,
    outliers: String,
    ld15iqr: f64,
    hd15iqr: f64,
    ops: f64,
    total: f64,
    iterations: u64,
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let run = &record.run;
    let environment = &run.environment;
    let source = run.source.as_ref();
    let document = Document {
        machine_info: Machine {
            node: "",
            processor: &environment.cpu,
            machine: "",
            release: &environment.kernel,
            system: &environment.os,
            cpu: Cpu {
                brand_raw: &environment.cpu,
                count: environment.cores,
            },
            memory_bytes: environment.memory_bytes,
            versions: &environment.versions,
        },
        commit_info: Commit {
            id: source.map_or("unversioned", |s| &s.commit),
            time: None,
            author_time: None,
            dirty: false,
            project: &run.suite,
            branch: source.and_then(|s| s.branch.as_deref()).unwrap_or("(unknown)"),
        },
        benchmarks: record
            .benchmarks
            .iter()
            .flat_map(|benchmark| entries(record, benchmark))
            .collect(),
        datetime: format!(
            "{}.{:03}000+00:00",
            utc(run.started_unix_ms).replace(" UTC", "").replace(' ', "T"),
            run.started_unix_ms.rem_euclid(1000)
        ),
        version: FORM,
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The benchmark itself, and its baseline variant as another parameter of it.
fn entries<'a>(record: &'a RunRecord, b: &'a BenchmarkRecord) -> Vec<Entry<'a>> {
    let mut sides = vec![("", b.figures.as_slice())];
    sides.extend(b.baseline.iter().map(|v| (v.name.as_str(), v.figures.as_slice())));
    let entry = |(variant, figures): (&'a str, &'a [Figure])| {
        let own = || b.trials.iter().filter(move |t| t.variant == variant);
        let mut all = Latency::new();
        for trial in own() {
            if let Some(MetricValue::Latency(part)) = trial.values.get(&MetricKey::plain(METRIC)) {
                all.merge(part);
            }
        }
        let stats = stats(&all)?;
        let named = (!variant.is_empty()).then_some(variant);
        let name = named.map_or_else(|| b.name.clone(), |v| format!("{}[{v}]", b.name));
        Some(Entry {
            group: &b.category,
            fullname: format!("{}::{name}", record.run.suite),
            name,
            params: named.map(|v| BTreeMap::from([("variant", v)])),
            param: named,
            extra_info: extra(figures),
            options: Options {
                metric: METRIC,
                load: &b.load,
                closed_loop: b.closed_loop,
                trials: own().count(),
                run: &record.run.id,
                suite: &record.run.suite,
                profile: &record.run.profile,
                verdict: b.verdict.word(),
            },
            stats,
        })
    };
    sides.into_iter().filter_map(entry).collect()
}

/// What the statistics have no place for, under its own name.
fn extra(figures: &[Figure]) -> BTreeMap<String, Quantity<'_>> {
    const IN_STATS: [&str; 6] = ["mean", "med", "min", "max", "stddev", "count"];
    let rest = figures
        .iter()
        .filter(|f| f.metric != METRIC || !f.tags.is_empty() || !IN_STATS.contains(&f.stat.as_str()));
    rest.filter_map(|f| {
        let value = f.value.filter(|v| v.is_finite())?;
        let unit = f.unit.symbol();
        Some((format!("{} {}", f.key(), f.stat), Quantity { value, unit }))
    })
    .collect()
}

/// pytest-benchmark's statistics, in seconds; `None` of nothing.
///
/// Its standard deviation has n − 1 in the denominator, ours n. Its fences are Tukey's: 1.5 times the distance of the
/// quartiles below the first and above the third.
fn stats(all: &Latency) -> Option<Stats> {
    let n = all.count();
    let (min, max, mean) = (all.min_ns()?, all.max_ns()?, all.mean_ns()?);
    let (q1, median, q3) = (all.quantile_ns(0.25)?, all.quantile_ns(0.5)?, all.quantile_ns(0.75)?);
    let stddev = if n > 1 {
        all.stddev_ns()? * (n as f64 / (n - 1) as f64).sqrt()
    } else {
        0.0
    };
    let iqr = q3 - q1;
    let fences = (q1 - 1.5 * iqr, q3 + 1.5 * iqr);
    // A bucket stands for its highest time, which no time of it exceeds by definition, and the extremes are exact.
    let buckets = || all.buckets().map(|(ns, n)| ((ns as f64).clamp(min, max), n));
    let outside = |(low, high): (f64, f64)| -> u64 {
        buckets()
            .filter(|(ns, _)| *ns < low || *ns > high)
            .map(|(_, n)| n)
            .sum()
    };
    let (iqr_outliers, stddev_outliers) = (outside(fences), outside((mean - stddev, mean + stddev)));
    let within = || buckets().map(|b| b.0).filter(|ns| *ns >= fences.0 && *ns <= fences.1);
    let s = |ns: f64| ns / NS_PER_S;
    Some(Stats {
        min: s(min),
        max: s(max),
        mean: s(mean),
        stddev: s(stddev),
        rounds: n,
        median: s(median),
        iqr: s(iqr),
        q1: s(q1),
        q3: s(q3),
        iqr_outliers,
        stddev_outliers,
        outliers: format!("{stddev_outliers};{iqr_outliers}"),
        ld15iqr: s(within().reduce(f64::min).unwrap_or(q1)),
        hd15iqr: s(within().reduce(f64::max).unwrap_or(q3)),
        ops: if mean > 0.0 { NS_PER_S / mean } else { 0.0 },
        total: s(mean * n as f64),
        iterations: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;
    use serde_json::Value;

    fn read(record: &RunRecord) -> Value {
        serde_json::from_slice(&render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    #[test]
    fn the_statistics_are_those_of_all_trials_in_seconds() {
        let record = golden::all_pass();
        let file = read(&record);
        let entries = file["benchmarks"].as_array().unwrap();
        assert_eq!(entries.len(), record.benchmarks.len());
        for (entry, benchmark) in entries.iter().zip(&record.benchmarks) {
            let stat = |name: &str| entry["stats"][name].as_f64().unwrap();
            let of = |stat: &str| benchmark.figure(METRIC, &[], stat).unwrap();
            assert_eq!(entry["stats"]["rounds"], of("count").samples);
            let (low, high) = of("mean")
                .range
                .unwrap_or((of("mean").value.unwrap(), of("mean").value.unwrap()));
            let mean = stat("mean") * 1e9;
            assert!(
                mean >= low * 0.999_999 && mean <= high * 1.000_001,
                "{mean} of {low}..{high}"
            );
            assert!((stat("ops") * stat("mean") - 1.0).abs() < 1e-12);
            assert!((stat("total") / stat("mean") - stat("rounds")).abs() < 1e-6 * stat("rounds"));
            let order = ["min", "ld15iqr", "q1", "median", "q3", "hd15iqr", "max"].map(stat);
            assert!(order.is_sorted(), "{order:?}");
            assert_eq!(entry["fullname"], format!("event-bus::{}", benchmark.name));
            assert_eq!(entry["extra_info"]["delivered.rate value"]["unit"], "per_s");
            assert_eq!(entry["options"]["closed_loop"], benchmark.closed_loop);
        }
        assert_eq!(file["datetime"], "2025-11-03T14:25:36.000000+00:00");
        assert_eq!(file["commit_info"]["id"], "unversioned");
    }

    #[test]
    fn outliers_are_counted_by_their_definitions() {
        let mut all = Latency::new();
        for ns in [100, 101, 102, 103, 104, 105, 106, 500] {
            all.record(ns);
        }
        let stats = stats(&all).unwrap();
        assert_eq!((stats.iqr_outliers, stats.stddev_outliers), (1, 1));
        assert_eq!(stats.outliers, "1;1");
        assert_eq!((stats.ld15iqr, stats.hd15iqr, stats.max), (1e-7, 1.06e-7, 5e-7));
        // statistics.stdev([100, 101, 102, 103, 104, 105, 106, 500]) of Python.
        assert!(
            (stats.stddev * 1e9 - 140.374_944_345_492).abs() < 1e-6,
            "{}",
            stats.stddev
        );
        let mut one = Latency::new();
        one.record(7);
        assert_eq!(super::stats(&one).unwrap().stddev, 0.0);
        assert!(super::stats(&Latency::new()).is_none());
    }

    #[test]
    fn a_baseline_variant_is_a_parameter() {
        let file = read(&golden::comparison());
        let names: Vec<&str> = file["benchmarks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["name"].as_str().unwrap())
            .collect();
        assert_eq!(names[..2], ["cpu-overhead", "cpu-overhead[direct]"]);
        assert_eq!(file["benchmarks"][1]["params"]["variant"], "direct");
    }
}
