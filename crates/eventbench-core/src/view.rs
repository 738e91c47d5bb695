//! The view: what one observer saw, owned by its thread.

use crate::host::Clock;
use crate::observe::{Latency, Recorder, StreamSeen, Window};
use crate::stamp::Stamp;
use crate::trial::{Signals, Trial};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What an observer saw.
pub struct View {
    /// What all share.
    pub signals: Arc<Signals>,
    /// The clock.
    pub clock: Clock,
    /// Times.
    pub recorder: Recorder,
    /// By stream.
    pub seen: Vec<StreamSeen>,
    /// Sightings of another run's events.
    pub foreign: u64,
    /// Sightings without an intact stamp or with content that was not sent.
    pub corrupt: u64,
    /// Everything looked at: rows, messages.
    pub sightings: u64,
    /// How long after the fact an event may have been seen: gaps between two looks.
    pub resolution: Latency,
    number: u32,
    late_after_ns: u64,
    delivered: u64,
}

impl View {
    /// An empty view of a trial with `streams` streams.
    pub fn new(trial: &Trial, window: Window, streams: u32, late_after_ns: u64, signals: Arc<Signals>) -> Self {
        Self {
            signals,
            clock: trial.clock.clone(),
            recorder: Recorder::new(window),
            seen: vec![StreamSeen::default(); streams as usize],
            foreign: 0,
            corrupt: 0,
            sightings: 0,
            resolution: Latency::new(),
            number: trial.number,
            late_after_ns,
            delivered: 0,
        }
    }

    /// Notes what was seen at `at_ns`; returns the stamp when it is one of this trial's.
    #[inline]
    pub fn sight(&mut self, bytes: &[u8], at_ns: u64) -> Option<Stamp> {
        self.sightings += 1;
        let Some((_, stamp)) = Stamp::find(bytes) else {
            self.corrupt += 1;
            return None;
        };
        if stamp.run != self.number || stamp.stream as usize >= self.seen.len() {
            self.foreign += 1;
            return None;
        }
        let late = at_ns.saturating_sub(stamp.intended_ns) > self.late_after_ns;
        if self.seen[stamp.stream as usize].note(stamp.seq, late) {
            self.delivered += 1;
            self.recorder
                .done(stamp.intended_ns, stamp.intended_ns + stamp.late_ns, at_ns);
            self.signals
                .note_first(&self.signals.first_after, stamp.intended_ns, at_ns);
        }
        Some(stamp)
    }

    /// Counts a sighting whose content is not what was sent; its arrival stays in the books.
    pub fn damaged(&mut self) {
        self.corrupt += 1;
    }

    /// Shows the others how far this observer is; call once a look.
    pub fn publish_progress(&mut self) {
        if self.delivered > 0 {
            self.signals
                .delivered
                .fetch_add(std::mem::take(&mut self.delivered), Ordering::Relaxed);
            self.signals.show_recent(&self.recorder);
        }
    }

    /// Whether the observer may end.
    pub fn closing(&self) -> bool {
        self.signals.close.load(Ordering::Acquire)
    }
}
