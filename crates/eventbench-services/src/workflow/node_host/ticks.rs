//! A task that wants to run every millisecond and notes how late it does, so that whatever holds up the runtime shows.
//!
//! The due times are absolute and none is left out: after a hold-up of 50 ms come some 50 ticks that are late, from 50 ms
//! down. The runtime's timer works in whole milliseconds, so a tick on an idle runtime is 0 to 2 ms late; what the ticks are
//! for are hold-ups of 10 ms and more. A machine that gives the thread no time makes ticks late too.

use super::sample::Sample;
use crate::platform::nanos;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(1);
/// Latenesses that are kept.
const ROOM: usize = 20_000;

/// A ticking task.
pub(crate) struct Ticks {
    /// When it was told to stop.
    end: Arc<OnceLock<Instant>>,
    task: JoinHandle<Sample>,
}

impl Ticks {
    /// Starts to tick on this runtime, first after a millisecond.
    pub(crate) fn start(runtime: &Handle) -> Ticks {
        let end = Arc::new(OnceLock::new());
        let told = Arc::clone(&end);
        let first = Instant::now() + TICK;
        let task = runtime.spawn(async move {
            let mut late_ns = Sample::new(ROOM);
            let mut due = first;
            // Those that were due before the end are taken even if they come after it: a hold-up that lasts until the end
            // has kept them back.
            while told.get().is_none_or(|end| due <= *end) {
                sleep_until(due).await;
                late_ns.take(nanos(Instant::now().saturating_duration_since(due)));
                due += TICK;
            }
            late_ns
        });
        Ticks { end, task }
    }

    /// Stops; the latenesses of all ticks that were due until now, in nanoseconds.
    pub(crate) async fn stop(self) -> Sample {
        // This is the only place that sets it.
        let _ = self.end.set(Instant::now());
        // The task ends by itself; only the end of its runtime could end it otherwise.
        self.task.await.unwrap_or_else(|_| Sample::new(ROOM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{monotonic_ns, sleep_until};

    #[tokio::test]
    async fn a_hold_up_until_the_very_end_makes_all_the_ticks_late_that_were_due_in_it() {
        let ticks = Ticks::start(&Handle::current());
        // Nothing else runs on this runtime meanwhile.
        sleep_until(monotonic_ns() + 60_000_000);
        let late_ns = ticks.stop().await;
        assert!(late_ns.max >= 58_000_000, "{}", late_ns.max);
        let late = late_ns.into_values();
        assert!(late.len() >= 58, "{}", late.len());
        assert!(late.iter().filter(|ns| **ns >= 20_000_000).count() >= 38);
    }
}
