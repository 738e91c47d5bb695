//! What a live display hears while a run goes on.

use crate::judge::Verdict;
use crate::record::{BenchmarkRecord, RunHead};

/// Something worth telling at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A step before the first load: a broker is fetched, a service is started.
    Preparing(String),
    /// A run begins.
    RunStarted {
        /// Its id.
        run: String,
        /// The suite.
        suite: String,
        /// The profile.
        profile: String,
        /// Benchmarks to come.
        benchmarks: usize,
        /// About how long it will take, in seconds.
        expected_s: f64,
        /// The head of its record, for reports that are made while it goes on; absent where two runs go on in turn.
        head: Option<Box<RunHead>>,
    },
    /// A benchmark begins.
    BenchmarkStarted {
        /// Its number from 1.
        number: usize,
        /// Its name.
        name: String,
        /// The load in words.
        load: String,
        /// Trials to come, those of a baseline variant included.
        trials: u32,
    },
    /// A trial begins.
    TrialStarted {
        /// Its number from 1.
        number: u32,
        /// The baseline's name, or empty.
        variant: String,
        /// Its length in seconds, drain not included.
        expected_s: f64,
    },
    /// The running figures, about four times a second.
    Tick {
        /// Seconds since the trial began.
        elapsed_s: f64,
        /// Events sent per second of late.
        sent_per_s: f64,
        /// Events that ended per second of late.
        done_per_s: f64,
        /// Median of the last whole second in nanoseconds; 0 when unknown.
        p50_ns: u64,
        /// p99 of the last whole second in nanoseconds; 0 when unknown.
        p99_ns: u64,
        /// Events sent and not yet ended.
        open: u64,
        /// Events sent since the trial began, warm-up included.
        sent: u64,
        /// Events that ended well since the trial began.
        done: u64,
        /// Events that ended otherwise since the trial began: rejected, timed out, disconnected.
        failed: u64,
    },
    /// Something was done to a service.
    Marked(String),
    /// A benchmark has ended and been judged.
    BenchmarkFinished {
        /// Its name.
        name: String,
        /// Its verdict.
        verdict: Verdict,
        /// Its figures in one line.
        summary: String,
        /// Its record without its trials, which are what is large in it.
        outline: Box<BenchmarkRecord>,
    },
    /// Something that the user should know.
    Note(String),
}

/// Whoever listens.
pub trait Sink {
    /// Hears an event; must not block for long.
    fn hear(&mut self, event: Event);
}
