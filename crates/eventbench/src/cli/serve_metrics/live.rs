//! The state of a run as its events tell it, for whoever asks while it goes on.

use eventbench_core::event::Event;
use eventbench_core::judge::Verdict;
use eventbench_core::record::{BenchmarkRecord, RECORD_VERSION, RunHead, RunRecord};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Points of the charts that are kept: a quarter of an hour, a second each.
const MOST_POINTS: usize = 900;
/// Remarks that are kept.
const MOST_NOTES: usize = 20;

/// Counts of a benchmark since it began, over all its trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events sent.
    pub sent: u64,
    /// Events that ended well.
    pub done: u64,
    /// Events that ended otherwise.
    pub failed: u64,
}

impl Totals {
    fn plus(self, other: Totals) -> Totals {
        Totals {
            sent: self.sent + other.sent,
            done: self.done + other.done,
            failed: self.failed + other.failed,
        }
    }
}

/// A benchmark that is being run.
#[derive(Debug, Clone)]
pub struct Current {
    /// Its number from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// The load in words.
    pub load: String,
    /// Trials to come, those of a baseline variant included.
    pub trials: u32,
    /// The number of the one that is being run, from 1; 0 before the first.
    pub trial: u32,
    /// The baseline's name, or empty.
    pub variant: String,
}

/// The figures of one second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Point {
    /// Its number, which only grows.
    pub number: u64,
    /// Seconds since the run began.
    pub at_s: f64,
    /// The benchmark's number.
    pub benchmark: usize,
    /// Events sent per second.
    pub sent_per_s: f64,
    /// Events that ended well per second.
    pub done_per_s: f64,
    /// Median response time in nanoseconds; 0 when unknown.
    pub p50_ns: u64,
    /// 99th percentile in nanoseconds; 0 when unknown.
    pub p99_ns: u64,
    /// Events sent and not yet ended.
    pub open: u64,
    /// Events of the trial that ended otherwise than well.
    pub failed: u64,
}

/// What has been finished, with the text of its figures, which is made when somebody asks for it first.
#[derive(Debug)]
pub struct Finished {
    /// The record so far, without trials.
    pub record: RunRecord,
    /// The figures as Prometheus reads them.
    pub text: OnceLock<String>,
}

impl Finished {
    fn new(record: RunRecord) -> Arc<Finished> {
        Arc::new(Finished {
            record,
            text: OnceLock::new(),
        })
    }
}

/// The state of a run.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// What is done before the first load.
    pub preparing: String,
    /// Benchmarks to be run.
    pub benchmarks: usize,
    /// About how long the run takes, in seconds.
    pub expected_s: f64,
    /// When it began, by the clock.
    begun_ns: u64,
    /// What has been finished; absent before the run has begun.
    pub finished: Option<Arc<Finished>>,
    /// One line for each finished benchmark.
    pub summaries: Vec<(String, Verdict, String)>,
    /// What is being run.
    pub current: Option<Current>,
    /// Counts by benchmark, in the order in which they were run.
    pub totals: Vec<(String, Totals)>,
    /// Counts of the trial that is being run.
    trial: Totals,
    /// Seconds into the trial and its counts when the last point was made.
    marked: (f64, Totals),
    /// When it ended, by the clock; 0 before.
    ended_ns: u64,
    /// The number of the last point.
    last_number: u64,
    /// The figures of the last second.
    pub now: Point,
    /// Second by second.
    pub points: VecDeque<Point>,
    /// Remarks, the newest last.
    pub notes: VecDeque<String>,
    /// What the run has come to, once it has ended.
    pub verdict: Option<Verdict>,
}

impl Live {
    /// Takes in an event that happened at `now_ns`.
    pub fn hear(&mut self, event: &Event, now_ns: u64) {
        match event {
            Event::Preparing(what) => self.preparing.clone_from(what),
            Event::RunStarted {
                benchmarks,
                expected_s,
                head,
                ..
            } => self.start(*benchmarks, *expected_s, head.as_deref(), now_ns),
            Event::BenchmarkStarted {
                number,
                name,
                load,
                trials,
            } => {
                self.current = Some(Current {
                    number: *number,
                    name: name.clone(),
                    load: load.clone(),
                    trials: *trials,
                    trial: 0,
                    variant: String::new(),
                });
                self.totals.push((name.clone(), Totals::default()));
                self.new_trial();
            }
            Event::TrialStarted { number, variant, .. } => {
                self.new_trial();
                if let Some(current) = &mut self.current {
                    current.trial = *number;
                    current.variant.clone_from(variant);
                }
            }
            Event::Tick {
                elapsed_s,
                p50_ns,
                p99_ns,
                open,
                sent,
                done,
                failed,
                ..
            } => {
                let totals = Totals {
                    sent: *sent,
                    done: *done,
                    failed: *failed,
                };
                self.tick(*elapsed_s, totals, (*p50_ns, *p99_ns), *open, now_ns);
            }
            Event::Marked(what) | Event::Note(what) => self.note(what.clone()),
            Event::BenchmarkFinished {
                name,
                verdict,
                summary,
                outline,
            } => {
                self.new_trial();
                self.current = None;
                self.summaries.push((name.clone(), *verdict, summary.clone()));
                self.keep(outline);
            }
        }
    }

    fn start(&mut self, benchmarks: usize, expected_s: f64, head: Option<&RunHead>, now_ns: u64) {
        *self = Live {
            benchmarks,
            expected_s,
            begun_ns: now_ns,
            finished: head.map(|head| {
                Finished::new(RunRecord {
                    version: RECORD_VERSION,
                    run: head.clone(),
                    benchmarks: Vec::new(),
                    comparison: None,
                })
            }),
            // What an earlier suite of the same run showed keeps its numbers, so that no page takes a point twice.
            last_number: self.last_number,
            points: std::mem::take(&mut self.points),
            ..Live::default()
        };
    }

    /// The counts of the trial join those of the benchmark, once.
    fn new_trial(&mut self) {
        let trial = std::mem::take(&mut self.trial);
        if let Some((_, totals)) = self.totals.last_mut() {
            *totals = totals.plus(trial);
        }
        self.marked = (0.0, Totals::default());
        self.now = Point::default();
    }

    fn tick(&mut self, elapsed_s: f64, totals: Totals, (p50_ns, p99_ns): (u64, u64), open: u64, now_ns: u64) {
        // A search runs several trials under one number, and each counts from nothing.
        if totals.sent < self.trial.sent || elapsed_s < self.marked.0 {
            self.new_trial();
        }
        self.trial = totals;
        let (from_s, from) = self.marked;
        let seconds = elapsed_s - from_s;
        if seconds < 1.0 {
            self.now.open = open;
            self.now.failed = totals.failed;
            return;
        }
        self.marked = (elapsed_s, totals);
        self.last_number += 1;
        self.now = Point {
            number: self.last_number,
            at_s: now_ns.saturating_sub(self.begun_ns) as f64 / 1e9,
            benchmark: self.current.as_ref().map_or(0, |c| c.number),
            sent_per_s: totals.sent.saturating_sub(from.sent) as f64 / seconds,
            done_per_s: totals.done.saturating_sub(from.done) as f64 / seconds,
            p50_ns,
            p99_ns,
            open,
            failed: totals.failed,
        };
        self.points.push_back(self.now);
        if self.points.len() > MOST_POINTS {
            self.points.pop_front();
        }
    }

    fn note(&mut self, what: String) {
        self.notes.push_back(what);
        if self.notes.len() > MOST_NOTES {
            self.notes.pop_front();
        }
    }

    fn keep(&mut self, outline: &BenchmarkRecord) {
        if let Some(finished) = &self.finished {
            let mut record = finished.record.clone();
            record.benchmarks.push(outline.clone());
            self.finished = Some(Finished::new(record));
        }
    }

    /// The run has ended at `now_ns`, and this is what it has come to.
    pub fn end(&mut self, record: &RunRecord, now_ns: u64) {
        self.current = None;
        self.ended_ns = now_ns;
        self.verdict = Some(record.verdict());
        self.finished = Some(Finished::new(RunRecord {
            version: record.version,
            run: record.run.clone(),
            benchmarks: record.benchmarks.iter().map(BenchmarkRecord::outline).collect(),
            comparison: record.comparison.clone(),
        }));
    }

    /// The counts of each benchmark, those of the trial that is being run included.
    pub fn counted(&self) -> impl Iterator<Item = (&str, Totals)> {
        let last = self.totals.len().saturating_sub(1);
        self.totals.iter().enumerate().map(move |(index, (name, totals))| {
            let trial = if index == last { self.trial } else { Totals::default() };
            (name.as_str(), totals.plus(trial))
        })
    }

    /// Seconds since the run began, up to its end.
    pub fn elapsed_s(&self, now_ns: u64) -> f64 {
        if self.begun_ns == 0 {
            return 0.0;
        }
        let until_ns = if self.ended_ns > 0 { self.ended_ns } else { now_ns };
        until_ns.saturating_sub(self.begun_ns) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests;
