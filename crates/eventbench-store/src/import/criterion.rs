//! What criterion leaves in `target/criterion`: `new/estimates.json` of each benchmark, with `benchmark.json` and
//! `sample.json` beside it.
//!
//! A sample of criterion is the mean of many iterations, so its samples are no distribution of operations: mean, median
//! and deviation are taken with their intervals, percentiles only where every sample is one iteration.

use super::error::ImportError;
use super::foreign::{self, DURATION, Origin};
use super::identity::identify;
use super::quantity::FromNanoseconds;
use eventbench_core::judge::standard_figures;
use eventbench_core::metric::Values;
use eventbench_core::observe::Latency;
use eventbench_core::record::{BenchmarkRecord, RunRecord};
use serde::Deserialize;

/// The files of one benchmark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CriterionBenchmark {
    /// The path of its directory below criterion's, which names it where `benchmark.json` does not.
    pub path: String,
    /// `estimates.json`.
    pub estimates: String,
    /// `benchmark.json`, where it is there.
    pub benchmark: Option<String>,
    /// `sample.json`, where it is there.
    pub sample: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
    median: Estimate,
    std_dev: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    confidence_interval: Option<Confidence>,
    point_estimate: FromNanoseconds,
}

#[derive(Deserialize)]
struct Confidence {
    confidence_level: f64,
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Identity {
    group_id: Option<String>,
    full_id: Option<String>,
}

#[derive(Deserialize)]
struct RawSample {
    iters: Vec<f64>,
    times: Vec<FromNanoseconds>,
}

/// Iterations and time of each sample.
#[derive(Deserialize)]
#[serde(try_from = "RawSample")]
struct Sample(RawSample);

impl TryFrom<RawSample> for Sample {
    type Error = String;

    fn try_from(raw: RawSample) -> Result<Self, String> {
        if raw.iters.len() != raw.times.len() {
            return Err(format!("{} iters and {} times", raw.iters.len(), raw.times.len()));
        }
        match raw.iters.iter().find(|n| !(1.0..=1e18).contains(*n)) {
            Some(n) => Err(format!("a sample of {n} iterations")),
            None => Ok(Sample(raw)),
        }
    }
}

/// The run of a directory. Criterion keeps no date; the caller gives one, such as that of its newest file.
///
/// # Errors
/// Says in which file at which line what is wrong.
pub fn read_criterion(
    benchmarks: &[CriterionBenchmark],
    started_unix_ms: i64,
    origin: &Origin,
) -> Result<RunRecord, ImportError> {
    if benchmarks.is_empty() {
        return Err(ImportError::whole(
            "no new/estimates.json below it; give the directory that criterion writes, such as target/criterion",
        ));
    }
    let mut record = foreign::run("criterion", started_unix_ms, origin);
    record.run.notes.push(format!(
        "Imported from {}, written by criterion, which keeps no date: the start is that of its newest file. Its times an \
         iteration stand as response times of a closed loop; nothing was judged.",
        origin.name
    ));
    for files in benchmarks {
        let benchmark = benchmark(files)?;
        if record.run.planned.contains(&benchmark.name) {
            return Err(ImportError::whole(format!("two benchmarks named {:?}", benchmark.name)));
        }
        record.run.planned.push(benchmark.name.clone());
        record.benchmarks.push(benchmark);
    }
    identify(&mut record, false);
    Ok(record)
}

fn benchmark(files: &CriterionBenchmark) -> Result<BenchmarkRecord, ImportError> {
    fn parse<T: for<'a> Deserialize<'a>>(path: &str, file: &str, text: &str) -> Result<T, ImportError> {
        serde_json::from_str(super::detect::bare(text))
            .map_err(|e| ImportError::whole(format!("{path}/new/{file}: {}", ImportError::from(e))))
    }
    let path = files.path.as_str();
    let estimates: Estimates = parse(path, "estimates.json", &files.estimates)?;
    let identity: Option<Identity> = match &files.benchmark {
        Some(text) => Some(parse(path, "benchmark.json", text)?),
        None => None,
    };
    let sample: Option<Sample> = match &files.sample {
        Some(text) => Some(parse(path, "sample.json", text)?),
        None => None,
    };
    // A time that criterion measured over `iters` iterations, for one of them.
    let times = |s: &RawSample| -> Vec<f64> { s.times.iter().zip(&s.iters).map(|(t, n)| t.0 / n).collect() };
    let samples = sample.as_ref().map(|s| times(&s.0)).unwrap_or_default();
    let n = samples.len().max(1) as u64;
    let figure = |stat: &str, estimate: &Estimate| {
        let interval = estimate.confidence_interval.as_ref();
        let bounds = interval
            .filter(|i| (i.confidence_level - 0.95).abs() < 1e-9 && i.lower_bound <= i.upper_bound)
            .map(|i| (i.lower_bound, i.upper_bound));
        foreign::duration(stat, estimate.point_estimate.0, bounds, n)
    };
    let mut figures = Vec::new();
    if !samples.is_empty() {
        figures.push(foreign::count(n));
    }
    figures.push(figure("mean", &estimates.mean));
    figures.push(figure("med", &estimates.median));
    for (stat, value) in [
        ("min", samples.iter().copied().reduce(f64::min)),
        ("max", samples.iter().copied().reduce(f64::max)),
    ] {
        figures.extend(value.map(|ns| foreign::duration(stat, ns, None, n)));
    }
    figures.push(figure("stddev", &estimates.std_dev));
    let single = sample.as_ref().is_some_and(|s| s.0.iters.iter().all(|i| *i == 1.0)) && !samples.is_empty();
    let mut values = Values::default();
    if single {
        let mut latency = Latency::new();
        samples.iter().for_each(|ns| latency.record(ns.round() as u64));
        values.latency(DURATION, latency);
        let asked = standard_figures(&[&values]);
        figures.extend(asked.into_iter().filter(|f| f.stat.starts_with("p(")));
    }
    let named = identity.as_ref().and_then(|i| i.full_id.clone());
    let mut benchmark = foreign::benchmark(named.unwrap_or_else(|| files.path.clone()), figures);
    benchmark.closed_loop = true;
    benchmark.load = "iterations, one after another".to_owned();
    if let Some(group) = identity.and_then(|i| i.group_id).filter(|g| !g.trim().is_empty()) {
        benchmark.category = group;
    }
    if !single {
        benchmark.warnings.push(
            "each sample is the mean of many iterations: median, extremes and deviation are those of such means, and \
             percentiles of single operations are not known"
                .to_owned(),
        );
    }
    benchmark.trials[0].values = values;
    Ok(benchmark)
}
