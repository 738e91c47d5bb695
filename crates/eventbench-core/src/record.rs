//! The record of a run: self-contained, versioned, and the only input of a report.

use crate::judge::compare::RunComparison;
use crate::judge::{Figure, LimitResult, Verdict};
use crate::metric::Values;
use crate::observe::{Interval, Ledger};
use crate::plan::Placement;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the record's form. A reader refuses a higher one.
pub const RECORD_VERSION: u32 = 1;

/// A run, finished or interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_VERSION`] of its writer.
    pub version: u32,
    /// What stands before and after the benchmarks.
    pub run: RunHead,
    /// What was measured.
    pub benchmarks: Vec<BenchmarkRecord>,
    /// How it compares with a baseline, where it was asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<RunComparison>,
}

impl RunRecord {
    /// The run's verdict: the highest of its benchmarks' and of the comparison's; no data when there are no benchmarks.
    pub fn verdict(&self) -> Verdict {
        if self.benchmarks.is_empty() {
            return Verdict::NoData;
        }
        let compared = self.comparison.iter().map(RunComparison::verdict);
        Verdict::highest(self.benchmarks.iter().map(|b| b.verdict).chain(compared))
    }
}

/// What is known of a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHead {
    /// Its id: date and time of the start and a few random letters, which sorts by time.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// What the suite is about.
    pub about: Option<String>,
    /// The profile.
    pub profile: String,
    /// Start, in milliseconds since the Unix epoch.
    pub started_unix_ms: i64,
    /// Length in seconds; absent while it goes on or when it was cut off.
    pub seconds: Option<f64>,
    /// How it ended.
    pub ended: Ended,
    /// What flags and environment changed in the plan, in words.
    pub overrides: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The suite's warn margin, as a ratio.
    pub warn_margin: f64,
    /// Benchmarks that were meant to be run, in order.
    pub planned: Vec<String>,
    /// The whole plan as it was resolved.
    pub plan: serde_json::Value,
    /// Where it ran.
    pub environment: Environment,
    /// Which state of the source it was run from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Revision>,
    /// Which cores broker, services and instrument were kept to; absent where the kernel chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The other variant's run, where the two were run in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
    /// Remarks that concern the whole run.
    pub notes: Vec<String>,
}

/// A state of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The commit's id.
    pub commit: String,
    /// The branch, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// The tie between the two runs of a duel, whose trials were run in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Id of the other run.
    pub partner: String,
    /// What this variant is called.
    pub label: String,
    /// Whether this is the one that is compared with.
    pub first: bool,
    /// What was set for this variant, as `key=value`.
    pub settings: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All planned benchmarks were run.
    Complete,
    /// Somebody stopped it.
    Interrupted,
    /// It could not go on; the notes say why.
    BrokenOff,
    /// It goes on, or its process was killed.
    Unfinished,
}

/// Where a run took place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Operating system, by its own name.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// Logical cores that the run could use.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Versions by name: eventbench, nats-server, sqlite.
    pub versions: BTreeMap<String, String>,
    /// Anything else worth comparing: governor, limits, load at the start.
    pub facts: BTreeMap<String, String>,
}

/// One benchmark of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkRecord {
    /// Its name.
    pub name: String,
    /// The question it answers.
    pub about: Option<String>,
    /// The id of the requirement it covers.
    pub requirement: Option<String>,
    /// Its section of a report.
    pub category: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The load in words.
    pub load: String,
    /// Whether the load was a closed loop, of which response times mean less.
    pub closed_loop: bool,
    /// Where events ended, in words, such as "sqlite".
    pub observed_by: Vec<String>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Figures over the trials.
    pub figures: Vec<Figure>,
    /// Figures over the trials of the baseline variant, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineRecord>,
    /// Limits.
    pub limits: Vec<LimitResult>,
    /// Cross-checks of the instrument: when one fails the benchmark is invalid.
    pub checks: Vec<CheckResult>,
    /// Remarks: spread, advice, stalls.
    pub warnings: Vec<String>,
    /// Trials in the order in which they were run.
    pub trials: Vec<TrialRecord>,
    /// Why it could not be run to its end, when it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it was cut off by the user.
    #[serde(default)]
    pub interrupted: bool,
    /// Its grade, where the suite grades it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
}

impl BenchmarkRecord {
    /// The record without its trials: figures, limits and verdict, which are small however long the run was.
    pub fn outline(&self) -> BenchmarkRecord {
        BenchmarkRecord {
            name: self.name.clone(),
            about: self.about.clone(),
            requirement: self.requirement.clone(),
            category: self.category.clone(),
            tags: self.tags.clone(),
            load: self.load.clone(),
            closed_loop: self.closed_loop,
            observed_by: self.observed_by.clone(),
            verdict: self.verdict,
            figures: self.figures.clone(),
            baseline: self.baseline.clone(),
            limits: self.limits.clone(),
            checks: self.checks.clone(),
            warnings: self.warnings.clone(),
            trials: Vec::new(),
            error: self.error.clone(),
            interrupted: self.interrupted,
            grade: self.grade.clone(),
        }
    }

    /// A figure by metric, tag and statistic.
    pub fn figure(&self, metric: &str, tags: &[(&str, &str)], stat: &str) -> Option<&Figure> {
        self.figures.iter().find(|f| {
            f.metric == metric
                && f.stat == stat
                && f.tags.len() == tags.len()
                && tags.iter().all(|(k, v)| f.tags.get(*k).is_some_and(|t| t == v))
        })
    }
}

/// The baseline variant of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineRecord {
    /// Its name, such as "direct".
    pub name: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// A cross-check of the instrument by a second way of counting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// What was checked.
    pub name: String,
    /// Whether it holds; `None` where the second way is not to be had.
    pub holds: Option<bool>,
    /// The numbers behind it.
    pub detail: String,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Which variant: empty for the benchmark itself, else the baseline's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Its number of the variant, from 1.
    pub number: u32,
    /// Length of warm-up in seconds.
    pub warmup_s: f64,
    /// Length of the measured phase in seconds.
    pub measured_s: f64,
    /// How long the observers waited after the last event, in seconds.
    pub drain_s: f64,
    /// What was measured.
    pub values: Values,
    /// The books.
    pub ledger: Ledger,
    /// Second by second.
    pub timeline: Vec<Interval>,
    /// What was done to services, and when.
    pub marks: Vec<Mark>,
    /// What went wrong, in words.
    pub errors: Vec<String>,
    /// Events that did not end well, grouped by cause, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Where the time of an event went, where the system told: the hops in the order of the path, parts of a hop behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
}

/// Events that ended for the same cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// The cause, without anything that differs from event to event: "status 503", "rule run-finished-missing".
    pub cause: String,
    /// Which stream or task it befell; empty when there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// How many, warm-up included.
    pub count: u64,
    /// Seconds from the start of the schedule at which the first ended.
    pub first_s: f64,
    /// The same for the last.
    pub last_s: f64,
    /// The first offender in its own words, cut to a few hundred characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub example: String,
}

/// A stretch of an event's path, on average over the measured events of a trial. Offsets count from the intended instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Its name: "orchestrator: wait", "to the reducer".
    pub name: String,
    /// The hop that it is a part of; absent for the hops that make up the path, of which each begins where the last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Events behind the figures.
    pub count: u64,
    /// Mean offset of its beginning, in nanoseconds.
    pub begin_ns: f64,
    /// Mean offset of its end, in nanoseconds.
    pub end_ns: f64,
    /// Median length in nanoseconds.
    pub p50_ns: f64,
    /// 99th percentile of the length in nanoseconds, whatever the number of events.
    pub p99_ns: f64,
}

/// How good a benchmark's figure is by the suite's own scale; it never decides a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// "A", "B" or "C"; absent without data.
    pub grade: Option<String>,
    /// What was graded, such as "response_time mean".
    pub of: String,
    /// The scale in words, such as "A < 1 ms, B < 2 ms".
    pub scale: String,
}

/// Something that happened at an instant of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds from the start of the schedule.
    pub at_s: f64,
    /// What, such as "stop store".
    pub what: String,
}
