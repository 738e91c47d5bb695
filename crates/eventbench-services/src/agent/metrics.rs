//! What the service counts, and its metrics as Prometheus text.
//!
//! Each worker counts in a shard of its own, so that counting an event never waits for another thread; a scrape adds
//! the shards up.

use super::event::Kind;
use super::workflow::Workflow;
use crate::platform;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Upper bounds of the latency buckets in nanoseconds, with those that limits speak of: 200 and 300 ms.
const BOUNDS_NS: [u64; 16] = [
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    300_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Outcome {
    /// RUN_FINISHED was written.
    Finished,
    /// RUN_ERROR was written.
    Error,
    /// The client went away before the end.
    Cancelled,
    /// A fault took the event that ends the run.
    Truncated,
}

impl Outcome {
    const COUNT: usize = 4;
    const ALL: [Outcome; Outcome::COUNT] = [
        Outcome::Finished,
        Outcome::Error,
        Outcome::Cancelled,
        Outcome::Truncated,
    ];

    fn name(self) -> &'static str {
        match self {
            Outcome::Finished => "finished",
            Outcome::Error => "error",
            Outcome::Cancelled => "cancelled",
            Outcome::Truncated => "truncated",
        }
    }
}

/// Statuses that requests are refused with.
const REFUSED: [u16; 10] = [400, 404, 405, 406, 408, 409, 413, 415, 429, 503];

/// The counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    events: [AtomicU64; Kind::COUNT],
    latency: [AtomicU64; BOUNDS_NS.len() + 1],
    latency_ns: AtomicU64,
    runs: [[AtomicU64; Outcome::COUNT]; Workflow::COUNT],
    refused: [AtomicU64; REFUSED.len()],
}

impl Shard {
    /// Counts a run that has ended.
    pub(crate) fn run(&self, workflow: Workflow, outcome: Outcome) {
        self.runs[workflow as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts a request that was refused.
    pub(crate) fn refused(&self, status: u16) {
        if let Some(place) = REFUSED.iter().position(|known| *known == status) {
            self.refused[place].fetch_add(1, Relaxed);
        }
    }
}

/// Events that are written at once: counted here, and in the shard by a few operations for all of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    events: [u32; Kind::COUNT],
    due_ns: [u64; 32],
    waiting: usize,
    latency: [u32; BOUNDS_NS.len() + 1],
    latency_ns: u64,
}

impl Batch {
    /// Notes an event and when it was to be written, on `CLOCK_MONOTONIC`.
    pub(crate) fn note(&mut self, kind: Kind, due_ns: u64) {
        self.events[kind as usize] += 1;
        if self.waiting == self.due_ns.len() {
            self.written(platform::monotonic_ns());
        }
        self.due_ns[self.waiting] = due_ns;
        self.waiting += 1;
    }

    fn written(&mut self, now_ns: u64) {
        for due_ns in &self.due_ns[..self.waiting] {
            let late_ns = now_ns.saturating_sub(*due_ns);
            let bucket = BOUNDS_NS.iter().position(|bound| late_ns <= *bound);
            self.latency[bucket.unwrap_or(BOUNDS_NS.len())] += 1;
            self.latency_ns += late_ns;
        }
        self.waiting = 0;
    }

    /// Adds the batch to the shard: its events are handed to the connection now.
    pub(crate) fn count(mut self, shard: &Shard) {
        if self.waiting == 0 {
            return;
        }
        self.written(platform::monotonic_ns());
        let add = |counters: &[AtomicU64], numbers: &[u32]| {
            for (counter, number) in counters.iter().zip(numbers).filter(|(_, number)| **number > 0) {
                counter.fetch_add((*number).into(), Relaxed);
            }
        };
        add(&shard.events, &self.events);
        add(&shard.latency, &self.latency);
        shard.latency_ns.fetch_add(self.latency_ns, Relaxed);
    }
}

/// All shards, and the number of open runs.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) open_runs: Arc<AtomicUsize>,
}

/// The registry whose text is served.
pub(crate) fn registry(counters: Counters) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(counters));
    registry
}

/// The metrics as OpenMetrics text.
pub(crate) fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

impl Counters {
    fn sum(&self, of: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(shard).load(Relaxed)).sum()
    }
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(0_u64).metric_type();
        let help = "Events written to streams, by type";
        let mut family = encoder.encode_descriptor("ag_ui_events", help, None, counter)?;
        for kind in Kind::ALL {
            let count = self.sum(|shard| &shard.events[kind as usize]);
            ConstCounter::new(count).encode(family.encode_family(&[("type", kind.name())])?)?;
        }
        let help = "Runs that have ended, by workflow and outcome";
        let mut family = encoder.encode_descriptor("ag_ui_runs", help, None, ConstCounter::new(0_u64).metric_type())?;
        for workflow in Workflow::ALL {
            for outcome in Outcome::ALL {
                let count = self.sum(|shard| &shard.runs[workflow as usize][outcome as usize]);
                let labels = [("workflow", workflow.name()), ("outcome", outcome.name())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Requests refused, by status";
        let name = "ag_ui_requests_refused";
        let mut family = encoder.encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
        for (place, status) in REFUSED.iter().enumerate() {
            let count = self.sum(|shard| &shard.refused[place]);
            ConstCounter::new(count).encode(family.encode_family(&[("status", *status)])?)?;
        }

        let help = "Time from when an event was to be written to when it was handed to its connection";
        let name = "ag_ui_event_latency_seconds";
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        let counts = (0..=BOUNDS_NS.len()).map(|place| self.sum(|shard| &shard.latency[place]));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = self.sum(|shard| &shard.latency_ns) as f64 / 1e9;
        histogram.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;

        let open = self.open_runs.load(Relaxed) as u64;
        let mut gauge = |name: &str, help: &str, value: u64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("ag_ui_concurrent_streams", "Streams that are open now", open)?;
        if let Some(bytes) = platform::resident_bytes() {
            let (name, help) = ("process_resident_memory_bytes", "Resident memory of this process");
            gauge(name, help, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_adds_the_shards_up() {
        let shards = [Arc::new(Shard::default()), Arc::new(Shard::default())];
        for (shard, events) in shards.iter().zip([40, 2]) {
            let mut batch = Batch::default();
            for _ in 0..events {
                batch.note(Kind::StepStarted, 0);
            }
            batch.count(shard);
        }
        shards[1].run(Workflow::DailyReview, Outcome::Cancelled);
        shards[0].refused(429);
        let registry = registry(Counters {
            shards: shards.to_vec(),
            open_runs: Arc::new(AtomicUsize::new(3)),
        });
        let text = text(&registry);
        for line in [
            "ag_ui_events_total{type=\"STEP_STARTED\"} 42\n",
            "ag_ui_events_total{type=\"CUSTOM\"} 0\n",
            "ag_ui_runs_total{workflow=\"daily_review\",outcome=\"cancelled\"} 1\n",
            "ag_ui_requests_refused_total{status=\"429\"} 1\n",
            // Due at the start of the clock: later than any bound.
            "ag_ui_event_latency_seconds_bucket{le=\"5.0\"} 0\n",
            "ag_ui_event_latency_seconds_bucket{le=\"+Inf\"} 42\n",
            "ag_ui_event_latency_seconds_count 42\n",
            "ag_ui_concurrent_streams 3\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(
            text.contains("process_resident_memory_bytes "),
            cfg!(target_os = "linux")
        );
    }

    #[test]
    fn a_latency_is_in_the_first_bucket_that_holds_it() {
        let mut batch = Batch::default();
        batch.note(Kind::Custom, 1_000_000);
        batch.note(Kind::Custom, 1_000_001);
        batch.written(1_010_000 + 1);
        assert_eq!((batch.latency[0], batch.latency[1]), (1, 1));
        assert_eq!(batch.latency_ns, 20_001);
    }
}
