//! Recorders: each lane and each observer owns one; they are merged when the trial has ended.

use super::Latency;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The measured part of a trial, in nanoseconds of the clock. Events are counted by their intended instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The start of the schedule, warm-up included.
    pub start_ns: u64,
    /// From here on intended instants are measured.
    pub measure_from_ns: u64,
    /// Up to here.
    pub measure_until_ns: u64,
}

impl Window {
    /// Whether an intended instant is measured.
    #[inline]
    pub fn measures(&self, intended_ns: u64) -> bool {
        intended_ns >= self.measure_from_ns && intended_ns < self.measure_until_ns
    }

    /// Length of the measured part in seconds.
    pub fn seconds(&self) -> f64 {
        (self.measure_until_ns - self.measure_from_ns) as f64 / 1e9
    }
}

const INTERVAL_NS: u64 = 1_000_000_000;
/// How finely the rate of done events is kept, to tell when a system is back at the rate of before.
pub const SLICE_NS: u64 = 100_000_000;
/// Slices beyond the end of the window; what is done later than that, in the drain, counts in the last one.
const SPARE_SLICES: u64 = 100;

/// An interval as it is kept while the run goes on: a few hundred bytes.
#[derive(Debug, Clone)]
struct Kept {
    index: u32,
    sent: u64,
    done: u64,
    late_max_ns: u64,
    histogram: Vec<u8>,
}

/// What one lane or observer recorded.
#[derive(Debug)]
pub struct Recorder {
    window: Window,
    /// Intended → done, up to the running interval.
    response: Latency,
    /// Sent → done.
    pub service: Latency,
    /// Intended → sent.
    pub lateness: Latency,
    /// Intended → refused or given up.
    refused: Latency,
    /// Events done in each [`SLICE_NS`] since the start of the schedule.
    slices: Vec<u32>,
    /// Measured events done, by the instant at which they were done: (first, last).
    done_span: Option<(u64, u64)>,
    /// The running interval's measured events; they join `response` when it closes, so that each is recorded once.
    current: Latency,
    /// Its other events.
    current_other: Latency,
    sent: u64,
    done: u64,
    late_max_ns: u64,
    index: u32,
    next_ns: u64,
    kept: Vec<Kept>,
    /// p50 and p99 of the last whole interval; a live display asks for them with every batch, and a quantile costs a walk
    /// over the buckets.
    last_ns: (u64, u64),
}

impl Recorder {
    /// An empty recorder for a window.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            response: Latency::new(),
            service: Latency::new(),
            lateness: Latency::new(),
            refused: Latency::new(),
            slices: vec![0; ((window.measure_until_ns - window.start_ns) / SLICE_NS + SPARE_SLICES) as usize],
            done_span: None,
            current: Latency::new(),
            current_other: Latency::new(),
            sent: 0,
            done: 0,
            late_max_ns: 0,
            index: 0,
            next_ns: window.start_ns + INTERVAL_NS,
            kept: Vec::new(),
            last_ns: (0, 0),
        }
    }

    /// The window it records for.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Notes that an event was sent.
    #[inline]
    pub fn sent(&mut self, intended_ns: u64, sent_ns: u64) {
        self.roll(sent_ns);
        self.sent += 1;
        self.late_max_ns = self.late_max_ns.max(sent_ns.saturating_sub(intended_ns));
        if self.window.measures(intended_ns) {
            self.lateness.record_between(intended_ns, sent_ns);
        }
    }

    /// Notes that an event was done.
    #[inline]
    pub fn done(&mut self, intended_ns: u64, sent_ns: u64, done_ns: u64) {
        self.roll(done_ns);
        self.done += 1;
        let slice = (done_ns.saturating_sub(self.window.start_ns) / SLICE_NS) as usize;
        let last = self.slices.len() - 1;
        self.slices[slice.min(last)] += 1;
        if !self.window.measures(intended_ns) {
            self.current_other.record_between(intended_ns, done_ns);
        } else {
            self.current.record_between(intended_ns, done_ns);
            self.service.record_between(sent_ns, done_ns);
            self.done_span = Some(match self.done_span {
                Some((first, last)) => (first.min(done_ns), last.max(done_ns)),
                None => (done_ns, done_ns),
            });
        }
    }

    /// Notes that an event was refused, or given up.
    #[inline]
    pub fn refused(&mut self, intended_ns: u64, at_ns: u64) {
        if self.window.measures(intended_ns) {
            self.refused.record_between(intended_ns, at_ns);
        }
    }

    /// Closes the interval under way when `now_ns` lies beyond it.
    #[inline]
    pub fn roll(&mut self, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.close_interval(now_ns);
        }
    }

    #[cold]
    fn close_interval(&mut self, now_ns: u64) {
        self.keep();
        let ahead = (now_ns - self.next_ns) / INTERVAL_NS + 1;
        self.index += ahead as u32;
        self.next_ns += ahead * INTERVAL_NS;
    }

    fn keep(&mut self) {
        if self.sent == 0 && self.done == 0 {
            return;
        }
        let quantile = |q| self.current.quantile_ns(q).unwrap_or(0.0) as u64;
        self.last_ns = (quantile(0.5), quantile(0.99));
        self.response.merge(&self.current);
        self.current_other.merge(&self.current);
        let mut histogram = Vec::new();
        // Writing into memory cannot fail for a histogram of our own bounds; an empty one would only lose the interval's curve.
        if V2Serializer::new()
            .serialize(self.current_other.histogram(), &mut histogram)
            .is_err()
        {
            histogram.clear();
        }
        self.kept.push(Kept {
            index: self.index,
            sent: self.sent,
            done: self.done,
            late_max_ns: self.late_max_ns,
            histogram,
        });
        self.current.reset();
        self.current_other.reset();
        self.sent = 0;
        self.done = 0;
        self.late_max_ns = 0;
    }

    /// The median and the p99 of the last whole interval in nanoseconds, for a live display; 0 before one has ended.
    pub fn recent_ns(&self) -> (u64, u64) {
        self.last_ns
    }
}

/// One second of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds from the start of the schedule, warm-up included.
    pub second: u32,
    /// Events sent in it.
    pub sent: u64,
    /// Events done in it.
    pub done: u64,
    /// The most that an event sent in it was late.
    pub late_max_ns: u64,
    /// Median response time of the events done in it; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<f64>,
    /// 99th percentile, whatever the number of samples: a point of a picture, not a figure to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<f64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ns: Option<f64>,
    /// Base64 of the reference V2 encoding of the interval's histogram.
    pub hdr_v2: String,
}

/// Everything recorded in a trial, merged.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Intended → done.
    pub response: Latency,
    /// Sent → done.
    pub service: Latency,
    /// Intended → sent.
    pub lateness: Latency,
    /// Intended → refused or given up.
    pub refused: Latency,
    /// Events done in each [`SLICE_NS`] since the start of the schedule.
    pub slices: Vec<u64>,
    /// The instants at which the first and the last measured event were done.
    pub done_span: Option<(u64, u64)>,
    /// Second by second.
    pub intervals: Vec<Interval>,
}

impl Timeline {
    /// Merges what lanes and observers recorded: the only place where recorders are put together.
    pub fn merge(recorders: impl IntoIterator<Item = Recorder>) -> Timeline {
        let mut whole = Timeline {
            response: Latency::new(),
            service: Latency::new(),
            lateness: Latency::new(),
            refused: Latency::new(),
            slices: Vec::new(),
            done_span: None,
            intervals: Vec::new(),
        };
        let mut by_second: BTreeMap<u32, Vec<Kept>> = BTreeMap::new();
        for mut recorder in recorders {
            recorder.keep();
            whole.response.merge(&recorder.response);
            whole.service.merge(&recorder.service);
            whole.lateness.merge(&recorder.lateness);
            whole.refused.merge(&recorder.refused);
            whole.slices.resize(whole.slices.len().max(recorder.slices.len()), 0);
            for (sum, n) in whole.slices.iter_mut().zip(&recorder.slices) {
                *sum += u64::from(*n);
            }
            if let Some((first, last)) = recorder.done_span {
                let span = whole.done_span.get_or_insert((first, last));
                *span = (span.0.min(first), span.1.max(last));
            }
            for kept in recorder.kept {
                by_second.entry(kept.index).or_default().push(kept);
            }
        }
        // One second at a time, so that an hour's histograms are never all unpacked at once.
        whole.intervals = by_second
            .into_iter()
            .map(|(second, parts)| interval(second, &parts))
            .collect();
        whole
    }
}

fn interval(second: u32, parts: &[Kept]) -> Interval {
    let mut latency: hdrhistogram::Histogram<u64> = Latency::new().histogram().clone();
    for part in parts {
        if let Ok(histogram) =
            hdrhistogram::serialization::Deserializer::new().deserialize::<u64, _>(&mut part.histogram.as_slice())
        {
            let added = latency.add(histogram);
            debug_assert!(added.is_ok());
        }
    }
    let mut bytes = Vec::new();
    if V2Serializer::new().serialize(&latency, &mut bytes).is_err() {
        bytes.clear();
    }
    let quantile = |q: f64| (!latency.is_empty()).then(|| latency.value_at_quantile(q) as f64);
    Interval {
        second,
        sent: parts.iter().map(|p| p.sent).sum(),
        done: parts.iter().map(|p| p.done).sum(),
        late_max_ns: parts.iter().map(|p| p.late_max_ns).max().unwrap_or(0),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        max_ns: quantile(1.0),
        hdr_v2: STANDARD.encode(bytes),
    }
}

impl Timeline {
    /// How long after `since_ns` the events done per slice were again, for three slices in a row, at least nine tenths of
    /// what they had been on average from `from_ns` to `since_ns`; in steps of a slice. `None` when they never were, or
    /// when there is no whole second before to compare with.
    pub fn back_at_rate(&self, window: &Window, from_ns: u64, since_ns: u64) -> Option<u64> {
        let slice = |at_ns: u64| (at_ns.saturating_sub(window.start_ns) / SLICE_NS) as usize;
        let (from, since) = (slice(from_ns + SLICE_NS - 1), slice(since_ns));
        let end = slice(window.measure_until_ns).min(self.slices.len());
        let before = self.slices.get(from..since).filter(|before| before.len() >= 10)?;
        let enough = before.iter().sum::<u64>() as f64 / before.len() as f64 * 0.9;
        let after = self.slices.get(since + 1..end)?;
        let back = after.windows(3).position(|w| w.iter().all(|n| *n as f64 >= enough))?;
        let back_ns = window.start_ns + (since + 1 + back) as u64 * SLICE_NS;
        Some(back_ns - since_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn events_fall_into_their_phase_and_their_second() {
        let window = Window {
            start_ns: 10 * S,
            measure_from_ns: 11 * S,
            measure_until_ns: 13 * S,
        };
        let (mut a, mut b) = (Recorder::new(window), Recorder::new(window));
        a.sent(10 * S, 10 * S + 5); // warm-up
        a.done(10 * S, 10 * S + 5, 10 * S + 100);
        a.sent(11 * S, 11 * S + 7);
        b.done(11 * S, 11 * S + 7, 11 * S + 1_000);
        b.done(12 * S, 12 * S, 14 * S + 500); // two seconds in which nothing was done
        let whole = Timeline::merge([a, b]);
        assert_eq!((whole.response.count(), whole.lateness.count()), (2, 1));
        assert_eq!(whole.response.max_ns(), Some((2 * S + 500) as f64));
        let seconds: Vec<_> = whole.intervals.iter().map(|i| (i.second, i.sent, i.done)).collect();
        assert_eq!(seconds, [(0, 1, 1), (1, 1, 1), (4, 0, 1)]);
        // The warm-up's event is in the picture of its second, though not in the figures.
        assert_eq!(whole.intervals[0].max_ns, Some(100.0));
        assert_eq!(whole.done_span, Some((11 * S + 1_000, 14 * S + 500)));
    }

    #[test]
    fn a_rate_is_back_when_it_stays() {
        let window = Window {
            start_ns: S,
            measure_from_ns: S,
            measure_until_ns: 5 * S,
        };
        let mut recorder = Recorder::new(window);
        let mut done = |from_ms: u64, until_ms: u64, every_ms: u64| {
            for ms in (from_ms..until_ms).step_by(every_ms as usize) {
                let at = S + ms * 1_000_000;
                recorder.done(at, at, at);
            }
        };
        done(0, 2_000, 1); // 100 a slice
        done(2_300, 2_400, 1); // one slice that did not last
        done(2_400, 3_000, 2);
        done(3_000, 4_000, 1);
        let whole = Timeline::merge([recorder]);
        let back = |from_ns, since_ns| whole.back_at_rate(&window, from_ns, since_ns);
        assert_eq!(back(S, 3 * S), Some(S));
        // Too little before to compare with, and nothing after.
        assert_eq!(back(2 * S + S / 2, 3 * S), None);
        assert_eq!(back(S, 5 * S - 1), None);
    }
}
