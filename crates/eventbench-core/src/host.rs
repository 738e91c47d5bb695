//! The one door out: clock and environment, and the absolute sleep that pacing needs.
//!
//! All instants are nanoseconds of `CLOCK_MONOTONIC`, which the processes of one machine share, so that an instant
//! taken by a service and one taken by the instrument can be subtracted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the tool asks of the machine it runs on; the tests put a virtual one in its place.
pub trait Host: Send + Sync {
    /// The clock by which everything is timed.
    fn clock(&self) -> Clock;
    /// Milliseconds since the Unix epoch, for dates only: intervals never come from it.
    fn wall_unix_ms(&self) -> i64;
    /// An environment variable; unset and not Unicode are both `None`.
    fn env(&self, name: &str) -> Option<String>;
}

/// A monotonic clock in nanoseconds: the real one, or one that only sleeping moves.
#[derive(Debug, Clone)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// Virtual time: `sleep_until` jumps there at once, nothing else moves it.
    Virtual(Arc<AtomicU64>),
}

impl Clock {
    /// A virtual clock that starts at one second, so that an instant of zero is visibly a mistake.
    pub fn virtual_time() -> Self {
        Clock::Virtual(Arc::new(AtomicU64::new(1_000_000_000)))
    }

    /// The present instant in nanoseconds.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match self {
            Clock::Monotonic => monotonic_ns(),
            Clock::Virtual(now) => now.load(Ordering::Acquire),
        }
    }

    /// Sleeps to the absolute instant `at_ns`; returns at once when it has passed.
    pub fn sleep_until(&self, at_ns: u64) {
        match self {
            Clock::Monotonic => sleep_until_ns(at_ns),
            Clock::Virtual(now) => {
                now.fetch_max(at_ns, Ordering::AcqRel);
            }
        }
    }

    /// Whether instants come from the machine rather than from a test.
    pub fn is_real(&self) -> bool {
        matches!(self, Clock::Monotonic)
    }
}

/// The present instant of `CLOCK_MONOTONIC` in nanoseconds.
#[inline]
pub fn monotonic_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[cfg(target_os = "linux")]
fn sleep_until_ns(at_ns: u64) {
    let at = rustix::time::Timespec {
        tv_sec: (at_ns / 1_000_000_000) as i64,
        tv_nsec: (at_ns % 1_000_000_000) as _,
    };
    // A signal may end the sleep early; an absolute sleep is simply taken up again.
    while let Err(rustix::io::Errno::INTR) =
        rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &at)
    {}
}

#[cfg(not(target_os = "linux"))]
fn sleep_until_ns(at_ns: u64) {
    let now = monotonic_ns();
    if at_ns > now {
        std::thread::sleep(std::time::Duration::from_nanos(at_ns - now));
    }
}

/// Asks the kernel to wake this thread when its timer is due rather than up to 50 µs later.
///
/// Pacing threads call it once; elsewhere than on Linux it does nothing.
pub fn precise_timers() {
    #[cfg(target_os = "linux")]
    {
        // A failure only means coarser wake-ups, which the recorded lateness shows.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_moves_only_by_sleeping_and_never_back() {
        let clock = Clock::virtual_time();
        let start = clock.now_ns();
        clock.sleep_until(start + 500);
        assert_eq!(clock.now_ns(), start + 500);
        clock.sleep_until(start);
        assert_eq!(clock.now_ns(), start + 500);
    }

    #[test]
    fn an_absolute_sleep_never_ends_early() {
        let clock = Clock::Monotonic;
        let until = clock.now_ns() + 2_000_000;
        clock.sleep_until(until);
        assert!(clock.now_ns() >= until);
    }
}
