//! Faults that the service injects into its own runs, so that a test can see that a measuring tool notices them.

use crate::duration;
use crate::platform::nanos;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The event of a run that a stall holds back, counted from 1.
const STALLED: u64 = 10;

/// One fault. `N` counts runs from the start of the service, `drop-every` the events of each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every Nth run is cut before the event that ends it.
    Truncate(NonZeroU64),
    /// Every Nth run has another `runId` than was asked for.
    WrongIds(NonZeroU64),
    /// In every Nth run a tool result names a call that was never made.
    UnknownToolResult(NonZeroU64),
    /// In every Nth run a state delta replaces what is not there.
    BadDelta(NonZeroU64),
    /// Every Nth event of each run is dropped.
    DropEvery(NonZeroU64),
    /// Each event is held back for this long after it was stamped.
    Slow(Duration),
    /// The tenth event of every Nth run is held back for this long.
    Stall(Duration, NonZeroU64),
    /// Each run keeps this many bytes for ever.
    Leak(NonZeroU64),
}

impl Fault {
    /// The names on the command line.
    pub const NAMES: [&'static str; 8] = [
        "truncate",
        "wrong-ids",
        "unknown-tool-result",
        "bad-delta",
        "drop-every",
        "slow",
        "stall",
        "leak",
    ];

    /// Parses `name=value`.
    ///
    /// # Errors
    /// A sentence that names the text and what is accepted.
    pub fn parse(text: &str) -> Result<Fault, String> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("'{text}' is no fault: write NAME=VALUE, as in truncate=10"));
        };
        let count = |text: &str| {
            text.parse::<NonZeroU64>()
                .map_err(|_| format!("'{text}' is no count for {name}: write a whole number from 1 on"))
        };
        Ok(match name {
            "truncate" => Fault::Truncate(count(value)?),
            "wrong-ids" => Fault::WrongIds(count(value)?),
            "unknown-tool-result" => Fault::UnknownToolResult(count(value)?),
            "bad-delta" => Fault::BadDelta(count(value)?),
            "drop-every" => Fault::DropEvery(count(value)?),
            "slow" => Fault::Slow(duration::parse(value)?),
            "stall" => {
                let Some((length, every)) = value.split_once(':') else {
                    return Err(format!("'{value}' is no stall: write DURATION:N, as in 2s:1000"));
                };
                Fault::Stall(duration::parse(length)?, count(every)?)
            }
            "leak" => Fault::Leak(size(value)?),
            _ => {
                let known = Fault::NAMES.join(", ");
                return Err(format!("there is no fault '{name}': the faults are {known}"));
            }
        })
    }
}

fn size(text: &str) -> Result<NonZeroU64, String> {
    let refuse = || format!("'{text}' is no size: write a whole number and B, KB or MB, as in 1MB");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        _ => return Err(refuse()),
    };
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    number.checked_mul(factor).and_then(NonZeroU64::new).ok_or_else(refuse)
}

/// The faults of a service, and what they must remember.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    runs: AtomicU64,
    leaked: Mutex<Vec<Vec<u8>>>,
}

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>) -> Faults {
        Faults {
            faults,
            ..Faults::default()
        }
    }

    /// What the next run has to suffer.
    pub(crate) fn next_run(&self) -> RunFaults {
        let mut of_run = RunFaults::default();
        if self.faults.is_empty() {
            return of_run;
        }
        let run = self.runs.fetch_add(1, Relaxed) + 1;
        let hit = |every: NonZeroU64| run.is_multiple_of(every.get());
        for fault in &self.faults {
            match *fault {
                Fault::Truncate(every) => of_run.truncate |= hit(every),
                Fault::WrongIds(every) => of_run.wrong_ids |= hit(every),
                Fault::UnknownToolResult(every) => of_run.unknown_tool_result |= hit(every),
                Fault::BadDelta(every) => of_run.bad_delta |= hit(every),
                Fault::DropEvery(every) => of_run.drop_every = Some(every),
                Fault::Slow(hold) => of_run.slow_ns = nanos(hold),
                Fault::Stall(hold, every) if hit(every) => of_run.stall_ns = nanos(hold),
                Fault::Stall(..) => {}
                Fault::Leak(bytes) => self.leak(bytes),
            }
        }
        of_run
    }

    fn leak(&self, bytes: NonZeroU64) {
        let Ok(mut leaked) = self.leaked.lock() else { return };
        // Not zeros: a page of zeros that was never written takes no memory.
        leaked.push(vec![1; usize::try_from(bytes.get()).unwrap_or(0)]);
    }
}

/// The faults of one run. Without any, each question is a comparison that never holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunFaults {
    pub(crate) truncate: bool,
    pub(crate) wrong_ids: bool,
    pub(crate) unknown_tool_result: bool,
    pub(crate) bad_delta: bool,
    pub(crate) drop_every: Option<NonZeroU64>,
    pub(crate) slow_ns: u64,
    pub(crate) stall_ns: u64,
}

impl RunFaults {
    /// Whether the event with this number, counted from 1, is dropped without a word.
    pub(crate) fn drops(&self, number: u64) -> bool {
        self.drop_every.is_some_and(|every| number.is_multiple_of(every.get()))
    }

    /// How long the event with this number, counted from 1, is held back, in nanoseconds.
    pub(crate) fn hold_ns(&self, number: u64) -> u64 {
        let stall_ns = if number == STALLED { self.stall_ns } else { 0 };
        self.slow_ns.saturating_add(stall_ns)
    }

    /// Whether any event of the run may be held back, so that the run takes time.
    pub(crate) fn holds(&self) -> bool {
        self.slow_ns > 0 || self.stall_ns > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u64) -> NonZeroU64 {
        NonZeroU64::new(n).unwrap()
    }

    #[test]
    fn each_fault_parses() {
        for (text, expected) in [
            ("truncate=10", Fault::Truncate(n(10))),
            ("wrong-ids=1", Fault::WrongIds(n(1))),
            ("unknown-tool-result=2", Fault::UnknownToolResult(n(2))),
            ("bad-delta=3", Fault::BadDelta(n(3))),
            ("drop-every=10", Fault::DropEvery(n(10))),
            ("slow=50ms", Fault::Slow(Duration::from_millis(50))),
            ("stall=2s:1000", Fault::Stall(Duration::from_secs(2), n(1_000))),
            ("leak=1MB", Fault::Leak(n(1_000_000))),
            ("leak=64KB", Fault::Leak(n(64_000))),
        ] {
            assert_eq!(Fault::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in [
            "truncate",
            "truncate=0",
            "truncate=x",
            "crlf=1",
            "stall=2s",
            "stall=2s:0",
            "slow=5",
            "leak=1",
            "leak=0MB",
            "leak=1GB",
        ] {
            let message = Fault::parse(text).unwrap_err();
            assert!(message.contains('\''), "{message}");
        }
        assert!(Fault::parse("fast=1").unwrap_err().contains("unknown-tool-result"));
    }

    #[test]
    fn every_nth_run_is_hit_and_the_others_are_not() {
        let faults = Faults::new(vec![
            Fault::Truncate(n(2)),
            Fault::Stall(Duration::from_secs(2), n(3)),
            Fault::Slow(Duration::from_millis(5)),
            Fault::DropEvery(n(4)),
        ]);
        let runs: Vec<RunFaults> = (0..6).map(|_| faults.next_run()).collect();
        let truncated: Vec<bool> = runs.iter().map(|run| run.truncate).collect();
        assert_eq!(truncated, [false, true, false, true, false, true]);
        let held_ms: Vec<u64> = runs.iter().map(|run| run.hold_ns(STALLED) / 1_000_000).collect();
        assert_eq!(held_ms, [5, 5, 2_005, 5, 5, 2_005]);
        assert_eq!(runs[2].hold_ns(STALLED + 1), 5_000_000);
        let dropped: Vec<u64> = (1..=9).filter(|number| runs[0].drops(*number)).collect();
        assert_eq!(dropped, [4, 8]);
        assert_eq!(Faults::default().next_run(), RunFaults::default());
        assert!(runs[0].holds() && !RunFaults::default().holds());
    }

    #[test]
    fn a_leak_keeps_its_bytes() {
        let faults = Faults::new(vec![Fault::Leak(n(1_000))]);
        for _ in 0..3 {
            let _ = faults.next_run();
        }
        let kept: usize = faults.leaked.lock().unwrap().iter().map(Vec::len).sum();
        assert_eq!(kept, 3_000);
    }
}
