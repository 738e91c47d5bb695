//! What reports show, computed once: every figure as text beside what it means, in the order in which it is shown.
//! Texts of unknown origin stay as they are; each format makes them safe in its own way.

use crate::advice::{Advice, advise};
use crate::breakdown::{CauseRow, HopRow};
use crate::rows::row;
use crate::text::{duration, utc};
use eventbench_core::judge::Verdict;
use eventbench_core::record::{Ended, RunRecord};
use eventbench_core::units::{Unit, digits};
use serde::Serialize;

/// A run, ready to be shown.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// The run's id.
    pub id: String,
    /// The suite.
    pub suite: String,
    /// What it is about.
    pub about: Option<String>,
    /// The profile.
    pub profile: String,
    /// Start in UTC.
    pub started: String,
    /// Length in words.
    pub duration: String,
    /// How it ended, when not as it should.
    pub ended: Option<&'static str>,
    /// The verdict.
    pub verdict: Verdict,
    /// Its word.
    pub word: &'static str,
    /// Benchmarks by verdict: (word, how many), the best first, every verdict.
    pub counts: Vec<(&'static str, usize)>,
    /// The same in words, such as "3 passed, 1 failed".
    pub summary: String,
    /// Benchmarks that were planned and not run.
    pub not_run: Vec<String>,
    /// What flags and environment changed.
    pub overrides: Vec<String>,
    /// Remarks on the whole run.
    pub notes: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The share of a bound by which a miss is only a warning.
    pub warn_margin: String,
    /// The benchmarks.
    pub rows: Vec<Row>,
    /// What to do.
    pub advice: Vec<Advice>,
    /// Where it ran: (what, value).
    pub environment: Vec<(String, String)>,
    /// The plan as JSON.
    pub plan: String,
}

/// A benchmark, ready to be shown.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its number from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its question.
    pub about: Option<String>,
    /// The requirement, or a dash.
    pub requirement: String,
    /// Its section.
    pub category: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The load in words.
    pub load: String,
    /// Whether the load was a closed loop.
    pub closed_loop: bool,
    /// Where the events ended, in words.
    pub observed_by: String,
    /// How finely the observer sees, in words.
    pub resolution: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Its word.
    pub word: &'static str,
    /// Whether there is nothing to say beyond the figures.
    pub clean: bool,
    /// Response time, service time and lateness, those that were measured.
    pub times: Vec<Times>,
    /// Offered, sent and delivered rate, and further rates: (name, value).
    pub rates: Vec<(&'static str, String)>,
    /// The rate at which events ended.
    pub rate: String,
    /// Events lost in all trials, and sent.
    pub lost: String,
    /// Figures that limits ask for and the columns do not show, and those that the benchmark is about.
    pub key: Vec<(String, String)>,
    /// Limits.
    pub limits: Vec<LimitRow>,
    /// Cross-checks: (what, "holds", "DOES NOT HOLD" or "unknown", numbers).
    pub checks: Vec<(String, &'static str, String)>,
    /// Cross-checks that do not hold.
    pub failed_checks: usize,
    /// Remarks.
    pub warnings: Vec<String>,
    /// Errors of the benchmark and of its trials.
    pub errors: Vec<String>,
    /// What it cost, process by process, the baseline variant's after the benchmark's own.
    pub costs: Vec<Cost>,
    /// CPU of the instrument.
    pub instrument: String,
    /// The grade with what it was given for; absent where the suite does not grade.
    pub grade: Option<String>,
    /// Events that did not end well, by cause.
    pub causes: Vec<CauseRow>,
    /// Where the time of an event went.
    pub hops: Vec<HopRow>,
    /// Lateness of the generator: p99, or its maximum where there are too few events.
    pub lateness: String,
    /// The books by stream over all trials, the total last where there are several.
    pub streams: Vec<Books>,
    /// What was done to services in the first trial.
    pub marks: Vec<String>,
    /// All figures: (metric, statistic, value, range or interval, samples), the baseline's after them.
    pub figures: Vec<FigureRow>,
    /// Trials in words.
    pub trials: String,
}

/// A distribution of times.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// What it is.
    pub of: &'static str,
    /// Samples in all trials.
    pub samples: String,
    /// Mean.
    pub mean: String,
    /// Median.
    pub med: String,
    /// 95th percentile.
    pub p95: String,
    /// 99th percentile.
    pub p99: String,
    /// 99.9th percentile.
    pub p999: String,
    /// Shortest.
    pub min: String,
    /// Longest.
    pub max: String,
    /// Standard deviation.
    pub stddev: String,
    /// Half the range of the trials' means over their median, with its sign.
    pub spread: String,
}

/// A limit.
#[derive(Debug, Clone, Serialize)]
pub struct LimitRow {
    /// As it was written.
    pub that: String,
    /// How much it matters: must, should, may.
    pub severity: &'static str,
    /// The value.
    pub value: String,
    /// Where it lies with confidence, in words.
    pub interval: String,
    /// What it comes to by itself.
    pub outcome: &'static str,
    /// Whether it passed without a doubt.
    pub clean: bool,
    /// "straddles", an override, why there is no data.
    pub remarks: Vec<String>,
}

/// What one process cost.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// The process, with the variant's name where it is not the benchmark's own.
    pub process: String,
    /// CPU of one core.
    pub cpu: String,
    /// CPU time for each event.
    pub per_event: String,
    /// Most resident memory.
    pub rss: String,
    /// Growth of it with its interval.
    pub growth: String,
}

/// The books of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct Books {
    /// The stream's name.
    pub stream: String,
    /// The numbers.
    pub sent: String,
    /// Confirmed.
    pub acked: String,
    /// Seen, each counted once.
    pub delivered: String,
    /// Seen again.
    pub duplicates: String,
    /// Seen after a later one.
    pub reordered: String,
    /// Seen late.
    pub late: String,
    /// Lost without confirmation.
    pub lost_before_ack: String,
    /// Lost after confirmation.
    pub lost_after_ack: String,
    /// Seen and not known.
    pub unexpected: String,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct FigureRow {
    /// The metric's id.
    pub id: String,
    /// The metric with its tags, and the baseline's name where it is the baseline's.
    pub metric: String,
    /// The statistic.
    pub stat: String,
    /// The value.
    pub value: String,
    /// How sure it is, in words.
    pub interval: String,
    /// Samples in all trials.
    pub samples: String,
}

const VERDICTS: [(Verdict, &str); 5] = [
    (Verdict::Pass, "passed"),
    (Verdict::Warn, "warned"),
    (Verdict::Fail, "failed"),
    (Verdict::NoData, "without data"),
    (Verdict::Invalid, "invalid"),
];

/// What a percentile says that too few samples carry.
pub const TOO_SMALL: &str = "n too small";
/// What stands where there is no value.
pub(crate) const DASH: &str = "–";

impl View {
    /// Computes everything.
    pub fn of(record: &RunRecord) -> View {
        let (run, verdict) = (&record.run, record.verdict());
        let count = |v: Verdict| record.benchmarks.iter().filter(|b| b.verdict == v).count();
        let counted: Vec<String> = VERDICTS
            .iter()
            .map(|(v, word)| (count(*v), word))
            .filter(|c| c.0 > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        let e = &run.environment;
        let mut environment = vec![
            ("OS".to_owned(), format!("{} {}", e.os, e.kernel).trim().to_owned()),
            (
                "CPU".to_owned(),
                format!("{}, {} {}", e.cpu, e.cores, if e.cores == 1 { "core" } else { "cores" }),
            ),
            (
                "RAM".to_owned(),
                format!("{} GiB", digits(e.memory_bytes as f64 / 1_073_741_824.0)),
            ),
        ];
        environment.extend(e.versions.iter().map(|(name, version)| (name.clone(), version.clone())));
        environment.extend(e.facts.iter().map(|(name, fact)| (name.clone(), fact.clone())));
        let not_run: Vec<String> = run
            .planned
            .iter()
            .filter(|p| record.benchmarks.iter().all(|b| b.name != **p))
            .cloned()
            .collect();
        View {
            id: run.id.clone(),
            suite: run.suite.clone(),
            about: run.about.clone(),
            profile: run.profile.clone(),
            started: utc(run.started_unix_ms),
            duration: run.seconds.map_or_else(|| DASH.to_owned(), duration),
            ended: match run.ended {
                Ended::Complete => None,
                Ended::Interrupted => Some("interrupted before its end"),
                Ended::BrokenOff => Some("broken off: it could not go on, as the note says"),
                Ended::Unfinished => Some("not finished: it is still running, or its process was killed"),
            },
            verdict,
            word: verdict.word(),
            counts: VERDICTS.iter().map(|(v, _)| (v.word(), count(*v))).collect(),
            summary: match &record.comparison {
                _ if counted.is_empty() => "no benchmark was run".to_owned(),
                Some(c) => format!(
                    "{}; compared with {}: {}",
                    counted.join(", "),
                    c.a.label,
                    c.verdict().word()
                ),
                None => counted.join(", "),
            },
            not_run,
            overrides: run.overrides.clone(),
            notes: run.notes.clone(),
            seed: run.seed,
            warn_margin: Unit::Ratio.show(run.warn_margin),
            rows: record
                .benchmarks
                .iter()
                .enumerate()
                .map(|(i, b)| row(i + 1, b))
                .collect(),
            advice: advise(record),
            environment,
            plan: serde_json::to_string_pretty(&run.plan).unwrap_or_default(),
        }
    }

    /// The categories in the order of their first benchmark, each with its rows.
    pub fn categories(&self) -> Vec<(&str, Vec<&Row>)> {
        let mut categories: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            match categories.iter_mut().find(|c| c.0 == row.category) {
                Some(category) => category.1.push(row),
                None => categories.push((&row.category, vec![row])),
            }
        }
        categories
    }
}
