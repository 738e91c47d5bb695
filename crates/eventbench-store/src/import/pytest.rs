//! pytest-benchmark JSON: one run a file, one trial a benchmark.
//!
//! A round is the mean of its iterations. Where there is one iteration a round, the rounds are the durations of single
//! operations, and their distribution is kept and asked for percentiles; otherwise percentiles of operations cannot be
//! known, and there are none. Mean, median, extremes and deviation are those of the file, to its full precision.

use super::error::ImportError;
use super::foreign::{self, DURATION, Origin};
use super::identity::identify;
use super::instant::unix_ms;
use super::quantity::FromSeconds;
use eventbench_core::judge::standard_figures;
use eventbench_core::metric::Values;
use eventbench_core::observe::Latency;
use eventbench_core::record::{BenchmarkRecord, Environment, Revision, RunRecord};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    machine_info: Option<Machine>,
    #[serde(default)]
    commit_info: Option<Commit>,
    benchmarks: Vec<Entry>,
    datetime: String,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Machine {
    system: Option<String>,
    release: Option<String>,
    machine: Option<String>,
    python_version: Option<String>,
    python_implementation: Option<String>,
    #[serde(default)]
    cpu: Option<Cpu>,
    #[serde(default)]
    memory_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Cpu {
    #[serde(alias = "brand")]
    brand_raw: Option<String>,
    count: Option<u32>,
}

#[derive(Deserialize)]
struct Commit {
    id: Option<String>,
    branch: Option<String>,
    dirty: Option<bool>,
}

#[derive(Deserialize)]
struct Entry {
    group: Option<String>,
    name: String,
    fullname: Option<String>,
    #[serde(default)]
    options: Options,
    stats: Stats,
}

/// What our own files say of the load; pytest-benchmark repeats a function in a closed loop.
#[derive(Default, Deserialize)]
struct Options {
    closed_loop: Option<bool>,
}

#[derive(Deserialize)]
struct RawStats {
    min: FromSeconds,
    max: FromSeconds,
    mean: FromSeconds,
    stddev: FromSeconds,
    median: FromSeconds,
    rounds: u64,
    #[serde(default = "one")]
    iterations: u64,
    #[serde(default)]
    data: Option<Vec<FromSeconds>>,
}

fn one() -> u64 {
    1
}

/// Statistics that agree with each other.
#[derive(Deserialize)]
#[serde(try_from = "RawStats")]
struct Stats(RawStats);

impl TryFrom<RawStats> for Stats {
    type Error = String;

    fn try_from(raw: RawStats) -> Result<Self, String> {
        if raw.rounds == 0 || raw.iterations == 0 {
            return Err("statistics of no rounds".to_owned());
        }
        // A mean of equal numbers may differ from them in the last digits.
        let slack = raw.max.0 * 1e-9;
        let within = |x: FromSeconds| x.0 >= raw.min.0 - slack && x.0 <= raw.max.0 + slack;
        if raw.min > raw.max || !within(raw.mean) || !within(raw.median) {
            return Err("statistics that cannot be: mean and median lie between min and max".to_owned());
        }
        match &raw.data {
            Some(data) if data.len() as u64 != raw.rounds => {
                Err(format!("{} rounds, and data of {}", raw.rounds, data.len()))
            }
            Some(data) if !data.iter().all(|x| within(*x)) => Err("data outside of its min and max".to_owned()),
            _ => Ok(Stats(raw)),
        }
    }
}

/// The run of a file.
pub(crate) fn read(text: &str, origin: &Origin) -> Result<Vec<RunRecord>, ImportError> {
    let document: Document = serde_json::from_str(text)?;
    let started = unix_ms(&document.datetime).ok_or_else(|| {
        ImportError::whole(format!(
            "datetime: {:?} is no instant such as 2025-11-03T14:25:36+00:00",
            document.datetime
        ))
    })?;
    if document.benchmarks.is_empty() {
        return Err(ImportError::whole("it holds no benchmarks"));
    }
    let mut record = foreign::run("pytest-benchmark", started, origin);
    let version = document.version.unwrap_or_else(|| "of unknown version".to_owned());
    record.run.notes.push(format!(
        "Imported from {}, written by pytest-benchmark {version}. Its durations of calls stand as response times of a \
         closed loop; nothing was judged.",
        origin.name
    ));
    record.run.environment = environment(document.machine_info.as_ref(), &version);
    if let Some(commit) = &document.commit_info {
        if let Some(id) = foreign::known(commit.id.as_deref()) {
            record.run.source = Some(Revision {
                commit: id,
                branch: foreign::known(commit.branch.as_deref()),
            });
        }
        if commit.dirty == Some(true) {
            let note = "The source had changes that were not committed.";
            record.run.notes.push(note.to_owned());
        }
    }
    let mut names = BTreeSet::new();
    for entry in document.benchmarks {
        let benchmark = benchmark(entry);
        if !names.insert(benchmark.name.clone()) {
            return Err(ImportError::whole(format!("two benchmarks named {:?}", benchmark.name)));
        }
        record.run.planned.push(benchmark.name.clone());
        record.benchmarks.push(benchmark);
    }
    identify(&mut record, true);
    Ok(vec![record])
}

fn benchmark(entry: Entry) -> BenchmarkRecord {
    let Stats(stats) = entry.stats;
    let n = stats.rounds;
    // Its deviation has n − 1 in the denominator, ours n.
    let stddev = stats.stddev.0 * ((n - 1) as f64 / n as f64).sqrt();
    let exact = [
        ("mean", stats.mean.0),
        ("med", stats.median.0),
        ("min", stats.min.0),
        ("max", stats.max.0),
        ("stddev", stddev),
    ];
    let mut figures = vec![foreign::count(n)];
    figures.extend(exact.map(|(stat, ns)| foreign::duration(stat, ns, None, n)));
    let mut values = Values::default();
    let single = stats.iterations == 1;
    if let Some(data) = stats.data.as_ref().filter(|_| single) {
        let mut latency = Latency::new();
        data.iter().for_each(|ns| latency.record(ns.0.round() as u64));
        values.latency(DURATION, latency);
        let asked = standard_figures(&[&values]);
        figures.extend(asked.into_iter().filter(|f| f.stat.starts_with("p(")));
    }
    let mut benchmark = foreign::benchmark(entry.fullname.unwrap_or(entry.name), figures);
    benchmark.closed_loop = entry.options.closed_loop.unwrap_or(true);
    benchmark.load = format!("{n} rounds of {}, one after another", stats.iterations);
    if let Some(group) = entry.group.filter(|g| !g.trim().is_empty()) {
        benchmark.category = group;
    }
    if !single {
        benchmark.warnings.push(format!(
            "each round is the mean of {} iterations: extremes and deviation are those of such means, and percentiles \
             of single operations are not known",
            stats.iterations
        ));
    }
    benchmark.trials[0].values = values;
    benchmark.trials[0].measured_s = stats.mean.0 * n as f64 * stats.iterations as f64 / 1e9;
    benchmark
}

fn environment(machine: Option<&Machine>, version: &str) -> Environment {
    let mut environment = Environment::default();
    let versions = &mut environment.versions;
    versions.insert("pytest-benchmark".to_owned(), version.to_owned());
    let Some(machine) = machine else {
        return environment;
    };
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    if let Some(python) = &machine.python_version {
        let name = machine.python_implementation.as_deref().unwrap_or("python");
        versions.insert(name.to_lowercase(), python.clone());
    }
    environment.os = text(&machine.system);
    environment.kernel = text(&machine.release);
    environment.memory_bytes = machine.memory_bytes.unwrap_or(0);
    if let Some(cpu) = &machine.cpu {
        environment.cpu = text(&cpu.brand_raw);
        environment.cores = cpu.count.unwrap_or(0);
    }
    if let Some(kind) = machine.machine.as_ref().filter(|m| !m.is_empty()) {
        environment.facts.insert("machine".to_owned(), kind.clone());
    }
    environment
}
