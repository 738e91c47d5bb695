//! A trial as those who open drivers and observers see it, and what its threads share.

use crate::host::{Clock, Host};
use crate::observe::Recorder;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The values that `{name}` stands for in settings and commands: `broker.nats.url`, `scratch`, `self` …
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Sets one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Its value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Replaces every `{name}` whose name contains a dot or is known; other braces stand for themselves.
    ///
    /// # Errors
    /// Names a dotted variable that is not known and lists those that are.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let tail = &rest[open..];
            let name = tail.find('}').map(|close| &tail[1..close]);
            match name {
                Some(name) if self.0.contains_key(name) => {
                    out.push_str(&self.0[name]);
                    rest = &tail[name.len() + 2..];
                }
                Some(name)
                    if name.contains('.')
                        && !name.contains("..")
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) =>
                {
                    let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                    return Err(format!("{{{name}}} is not known here; known are {}", known.join(", ")));
                }
                _ => {
                    out.push('{');
                    rest = &tail[1..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Flags and counters that the conductor, the lanes and the observers of one trial share. Everything here is touched
/// once a batch at most.
#[derive(Debug, Default)]
pub struct Signals {
    /// Stop now and keep what there is.
    pub stop: AtomicBool,
    /// Observers may end: the books balance or the drain limit has passed.
    pub close: AtomicBool,
    /// Events sent so far.
    pub sent: AtomicU64,
    /// Events settled as acked so far.
    pub acked: AtomicU64,
    /// Distinct events seen so far.
    pub delivered: AtomicU64,
    /// Events settled as anything else so far.
    pub failed: AtomicU64,
    /// Median of the last whole second, for a display.
    pub recent_p50_ns: AtomicU64,
    /// p99 of the last whole second, for a display.
    pub recent_p99_ns: AtomicU64,
    /// Instants after which the first event intended later is wanted; 0 when unset.
    pub marks: [AtomicU64; MARKS],
    /// For each mark: when that first event was seen; 0 until then.
    pub first_after: [AtomicU64; MARKS],
    /// For each mark: when the first event intended later was confirmed to its sender; 0 until then.
    pub first_acked_after: [AtomicU64; MARKS],
}

/// How many faults of one benchmark can be followed to their recovery.
pub const MARKS: usize = 8;

impl Signals {
    /// Notes, for every mark that is set, the first event that was meant to be sent after it.
    #[inline]
    pub fn note_first(&self, firsts: &[AtomicU64; MARKS], intended_ns: u64, at_ns: u64) {
        for (mark, first) in self.marks.iter().zip(firsts) {
            let mark = mark.load(Ordering::Relaxed);
            if mark == 0 {
                break;
            }
            if intended_ns >= mark && first.load(Ordering::Relaxed) == 0 {
                first.store(at_ns, Ordering::Relaxed);
            }
        }
    }

    /// Shows a display what a recorder knows of its last whole second; of several recorders, the last to tell is shown.
    pub fn show_recent(&self, recorder: &Recorder) {
        let (p50_ns, p99_ns) = recorder.recent_ns();
        self.recent_p50_ns.store(p50_ns, Ordering::Relaxed);
        self.recent_p99_ns.store(p99_ns, Ordering::Relaxed);
    }

    /// Whether to stop now.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One stream of events that a driver sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The name under which its books are kept; streams may share one.
    pub name: String,
}

/// Where and when a trial takes place, for those who open drivers and observers.
#[derive(Clone)]
pub struct Trial {
    /// The run's 24-bit number of this trial, part of every stamp.
    pub number: u32,
    /// The seed of payloads.
    pub seed: u64,
    /// Milliseconds since the Unix epoch at the monotonic instant zero.
    pub epoch_ms: i64,
    /// The clock.
    pub clock: Clock,
    /// What variables stand for.
    pub variables: Variables,
    /// Connections that the load asks for.
    pub connections: u32,
    /// Lanes that share them.
    pub lanes: u32,
    /// The name under which connections present themselves to a broker.
    pub name: String,
}

/// The milliseconds since the Unix epoch at the monotonic instant zero, by which `{now_ms}` is made and made again.
pub fn epoch_ms(host: &dyn Host) -> i64 {
    host.wall_unix_ms() - (host.clock().now_ns() / 1_000_000) as i64
}
