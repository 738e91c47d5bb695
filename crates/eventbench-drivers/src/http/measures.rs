//! What a lane measures of its responses and streams, beyond the lane's own books.

use crate::agui::{RULES, Rule, Verifier};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::{Causes, Latency};
use std::collections::BTreeMap;

/// The figures of one lane. Only what belongs to the measured phase is put in.
#[derive(Debug)]
pub struct Measures {
    /// Begin of a connection until it can be written to.
    pub connect: Latency,
    /// Sent → head of the response.
    pub headers: Latency,
    /// The streams' own; `None` where no task reads a stream.
    pub streams: Option<Box<Streams>>,
    /// Responses with another status than was expected.
    pub statuses: BTreeMap<u16, u64>,
    /// What did not end well.
    pub causes: Causes,
    /// Verifiers that wait for a stream.
    #[allow(
        clippy::vec_box,
        reason = "they go into requests under way and back, which a box makes cheap"
    )]
    pub spare: Vec<Box<Verifier>>,
    /// Milliseconds since the Unix epoch at the monotonic instant zero.
    pub epoch_ms: i64,
}

/// The figures of streams of events.
#[derive(Debug, Default)]
pub struct Streams {
    /// Intended → first event.
    pub first_event: Latency,
    /// Intended → first text.
    pub first_text: Latency,
    /// Emission by the server's stamp → read.
    pub event_time: Latency,
    /// From one event to the next.
    pub gap: Latency,
    /// The longest time without an event in each stream.
    pub stall: Latency,
    /// Events of each finished stream.
    pub per_stream: Latency,
    /// Events.
    pub events: u64,
    /// Streams that were cut off.
    pub truncated: u64,
    /// Runs that ended with an error of their own.
    pub run_errors: u64,
    /// Streams that broke a rule.
    violating: u64,
    /// The same by rule.
    violations: [u64; RULES.len()],
    open: u64,
    peak: u64,
}

impl Streams {
    /// A stream is asked for.
    pub fn opened(&mut self) {
        self.open += 1;
        self.peak = self.peak.max(self.open);
    }

    /// A stream has ended.
    pub fn closed(&mut self) {
        self.open -= 1;
    }

    /// Counts a stream that broke these rules.
    pub fn violated(&mut self, rules: impl Iterator<Item = Rule>) {
        let mut any = false;
        for rule in rules {
            self.violations[rule as usize] += 1;
            any = true;
        }
        self.violating += u64::from(any);
    }
}

impl Measures {
    /// Empty figures.
    pub fn new(epoch_ms: i64, with_streams: bool) -> Self {
        Self {
            connect: Latency::new(),
            headers: Latency::new(),
            streams: with_streams.then(Box::default),
            statuses: BTreeMap::new(),
            causes: Causes::default(),
            spare: Vec::new(),
            epoch_ms,
        }
    }

    /// The figures by metric; a distribution without a single time is left out, so that it shows as no data.
    pub fn take(&mut self) -> Vec<(MetricKey, MetricValue)> {
        let mut out = Vec::new();
        let mut times = vec![("connect_time", &self.connect), ("headers_time", &self.headers)];
        if let Some(streams) = &self.streams {
            times.extend([
                ("first_event_time", &streams.first_event),
                ("first_text_time", &streams.first_text),
                ("event_time", &streams.event_time),
                ("event_gap", &streams.gap),
                ("stall", &streams.stall),
                ("events.per_stream", &streams.per_stream),
            ]);
        }
        for (metric, latency) in times {
            if latency.count() > 0 {
                let value = MetricValue::Latency(Box::new(latency.clone()));
                out.push((MetricKey::plain(metric), value));
            }
        }
        let mut count = |key: MetricKey, n: u64| out.push((key, MetricValue::Count(n)));
        count(MetricKey::plain("statuses"), self.statuses.values().sum());
        for (status, n) in &self.statuses {
            count(MetricKey::tagged("statuses", "status", &status.to_string()), *n);
        }
        if let Some(streams) = &self.streams {
            count(MetricKey::plain("events"), streams.events);
            count(MetricKey::plain("truncated"), streams.truncated);
            count(MetricKey::plain("run_errors"), streams.run_errors);
            count(MetricKey::plain("violations"), streams.violating);
            for (rule, n) in RULES.iter().zip(streams.violations).filter(|(_, n)| *n > 0) {
                count(MetricKey::tagged("violations", "rule", rule.name()), n);
            }
            out.push((
                MetricKey::plain("streams.peak"),
                MetricValue::Gauge(streams.peak as f64),
            ));
        }
        out
    }
}
