//! The parts of a record that every import fills in the same way.

use eventbench_core::judge::{Figure, Verdict};
use eventbench_core::metric::{Better, Values};
use eventbench_core::observe::Ledger;
use eventbench_core::record::{
    BenchmarkRecord, Ended, Environment, RECORD_VERSION, Revision, RunHead, RunRecord, TrialRecord,
};
use eventbench_core::units::Unit;
use std::collections::BTreeMap;

/// What is known of a text beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// What the file is called, for the notes.
    pub name: String,
    /// The suite that its runs are to be counted to; the format's own name if absent.
    pub suite: Option<String>,
    /// The benchmark that its rows belong to, where the format has none; the name of the file if absent.
    pub benchmark: Option<String>,
    /// The state of the source, where the file has none.
    pub source: Option<Revision>,
}

/// The metric of an operation's duration.
///
/// Tools that call a function again and again time from the call to its end, and call as soon as the last has ended: the
/// call is the intended instant, which makes it a response time of a closed loop, and the benchmark says so.
pub(crate) const DURATION: &str = "response_time";

/// A run as it stands before its benchmarks and its id.
pub(crate) fn run(suite: &str, started_unix_ms: i64, origin: &Origin) -> RunRecord {
    RunRecord {
        version: RECORD_VERSION,
        run: RunHead {
            id: String::new(),
            suite: origin.suite.clone().unwrap_or_else(|| suite.to_owned()),
            about: None,
            profile: "imported".to_owned(),
            started_unix_ms,
            seconds: None,
            ended: Ended::Complete,
            overrides: Vec::new(),
            seed: 0,
            warn_margin: 0.0,
            planned: Vec::new(),
            plan: serde_json::Value::Null,
            environment: Environment::default(),
            source: origin.source.clone(),
            placement: None,
            pair: None,
            notes: Vec::new(),
        },
        benchmarks: Vec::new(),
        comparison: None,
    }
}

/// A benchmark of one trial. Nothing was judged, so there is no verdict to take over.
pub(crate) fn benchmark(name: String, figures: Vec<Figure>) -> BenchmarkRecord {
    BenchmarkRecord {
        name,
        about: None,
        requirement: None,
        category: "imported".to_owned(),
        tags: Vec::new(),
        load: "imported".to_owned(),
        closed_loop: false,
        observed_by: Vec::new(),
        verdict: Verdict::NoData,
        figures,
        baseline: None,
        limits: Vec::new(),
        checks: Vec::new(),
        warnings: Vec::new(),
        trials: vec![trial("", 1)],
        error: None,
        interrupted: false,
        grade: None,
    }
}

/// A trial of which nothing is known but that there was one.
pub(crate) fn trial(variant: &str, number: u32) -> TrialRecord {
    TrialRecord {
        variant: variant.to_owned(),
        number,
        warmup_s: 0.0,
        measured_s: 0.0,
        drain_s: 0.0,
        values: Values::default(),
        ledger: Ledger::default(),
        timeline: Vec::new(),
        marks: Vec::new(),
        errors: Vec::new(),
        causes: Vec::new(),
        hops: Vec::new(),
    }
}

/// A figure of one trial, whose value is known though not the values that it was computed from.
pub(crate) fn duration(stat: &str, value_ns: f64, interval_ns: Option<(f64, f64)>, samples: u64) -> Figure {
    Figure {
        metric: DURATION.to_owned(),
        tags: BTreeMap::new(),
        stat: stat.to_owned(),
        unit: Unit::Nanoseconds,
        better: Better::Lower,
        value: Some(value_ns),
        range: None,
        spread: None,
        interval: interval_ns,
        trials: vec![Some(value_ns)],
        samples,
    }
}

/// How many operations there were, as a figure.
pub(crate) fn count(n: u64) -> Figure {
    Figure {
        unit: Unit::Count,
        better: Better::Higher,
        ..duration("count", n as f64, None, n)
    }
}

/// Whether a revision control's answer is a name, and not a word for none.
pub(crate) fn known(name: Option<&str>) -> Option<String> {
    const NONE: [&str; 6] = ["", "unversioned", "unknown", "(unknown)", "(detached head)", "HEAD"];
    name.map(str::trim).filter(|n| !NONE.contains(n)).map(str::to_owned)
}
