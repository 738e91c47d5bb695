//! What a live display hears while a run goes on.

use crate::judge::Verdict;

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
        /// p99 of the running second in nanoseconds; 0 when unknown.
        p99_ns: u64,
        /// Events sent and not yet ended.
        open: u64,
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
    },
    /// Something that the user should know.
    Note(String),
}

/// Whoever listens.
pub trait Sink {
    /// Hears an event; must not block for long.
    fn hear(&mut self, event: Event);
}
