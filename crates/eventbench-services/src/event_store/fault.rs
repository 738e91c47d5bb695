//! Faults that the writer injects into itself, so that a test can see that a measuring tool notices them.

use super::args::FaultArgs;
use crate::platform::{burn, monotonic_ns, nanos, sleep_until};

/// Below this, a slower event burns CPU: a sleep would overshoot by more than it should last.
const BURN_BELOW_NS: u64 = 1_000_000;

/// The faults of one writer. Without any, each call is a branch that is never taken.
#[derive(Debug)]
pub(crate) struct Faults {
    started_ns: u64,
    pause: Option<(u64, u64)>,
    drop_every: Option<u64>,
    seen: u64,
    slow_ns: Option<u64>,
    burn_cpu_ns: Option<u64>,
}

impl Faults {
    pub(crate) fn new(args: &FaultArgs) -> Faults {
        Faults {
            started_ns: monotonic_ns(),
            pause: args
                .pause_every
                .zip(args.pause_for)
                .map(|(every, length)| (nanos(every), nanos(length))),
            drop_every: args.drop_every.map(std::num::NonZeroU64::get),
            seen: 0,
            slow_ns: args.slow.map(nanos),
            burn_cpu_ns: args.burn.map(nanos),
        }
    }

    /// Sleeps if the writer is inside a stall now. Stalls lie on a fixed grid: the first begins one period after the
    /// start, whether or not events arrive.
    pub(crate) fn pause(&self) {
        if let Some(end_ns) = self.stall_end_ns(monotonic_ns()) {
            sleep_until(end_ns);
        }
    }

    fn stall_end_ns(&self, now_ns: u64) -> Option<u64> {
        let (every_ns, length_ns) = self.pause?;
        let elapsed_ns = now_ns.saturating_sub(self.started_ns);
        let phase_ns = elapsed_ns.checked_rem(every_ns)?;
        (elapsed_ns >= every_ns && phase_ns < length_ns).then(|| now_ns - phase_ns + length_ns)
    }

    /// Whether this event is to be dropped without a word.
    pub(crate) fn drops(&mut self) -> bool {
        let Some(every) = self.drop_every else { return false };
        self.seen += 1;
        self.seen.is_multiple_of(every)
    }

    /// Takes the extra CPU time and the extra time of one event.
    pub(crate) fn slow(&self) {
        if let Some(cpu_ns) = self.burn_cpu_ns {
            burn(cpu_ns);
        }
        let Some(slow_ns) = self.slow_ns else { return };
        let end_ns = monotonic_ns() + slow_ns;
        if slow_ns >= BURN_BELOW_NS {
            sleep_until(end_ns);
        }
        while monotonic_ns() < end_ns {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::thread_cpu_ns;
    use std::num::NonZeroU64;
    use std::time::Duration;

    #[test]
    fn each_nth_event_is_dropped() {
        let mut faults = Faults::new(&FaultArgs {
            drop_every: NonZeroU64::new(3),
            ..FaultArgs::default()
        });
        let dropped: Vec<bool> = (0..7).map(|_| faults.drops()).collect();
        assert_eq!(dropped, [false, false, true, false, false, true, false]);
        assert!(!Faults::new(&FaultArgs::default()).drops());
    }

    #[test]
    fn stalls_lie_on_a_grid() {
        let args = FaultArgs {
            pause_every: Some(Duration::from_nanos(1_000)),
            pause_for: Some(Duration::from_nanos(100)),
            ..FaultArgs::default()
        };
        let faults = Faults {
            started_ns: 10_000,
            ..Faults::new(&args)
        };
        for (now_ns, expected) in [
            (10_000, None),
            (10_050, None),
            (11_000, Some(11_100)),
            (11_099, Some(11_100)),
            (11_100, None),
            (13_040, Some(13_100)),
        ] {
            assert_eq!(faults.stall_end_ns(now_ns), expected, "{now_ns}");
        }
        assert_eq!(Faults::new(&FaultArgs::default()).stall_end_ns(5), None);
    }

    #[test]
    fn a_burning_event_takes_at_least_its_cpu_time() {
        let faults = Faults::new(&FaultArgs {
            burn: Some(Duration::from_micros(300)),
            ..FaultArgs::default()
        });
        let before_ns = thread_cpu_ns();
        (0..5).for_each(|_| faults.slow());
        assert!(thread_cpu_ns() - before_ns >= 5 * 300_000);
    }

    #[test]
    fn a_slow_event_takes_at_least_its_time() {
        for slow in [Duration::from_micros(50), Duration::from_millis(2)] {
            let faults = Faults::new(&FaultArgs {
                slow: Some(slow),
                ..FaultArgs::default()
            });
            let started_ns = monotonic_ns();
            faults.slow();
            assert!(monotonic_ns() - started_ns >= nanos(slow));
        }
    }
}
