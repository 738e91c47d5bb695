//! CPU time spent on purpose, and the time of day.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Burns `cpu` of CPU time on the calling thread: time in which the system runs something else does not count.
pub fn burn(cpu: Duration) {
    let end = thread_cpu() + cpu;
    while thread_cpu() < end {
        std::hint::spin_loop();
    }
}

/// CPU time that the calling thread has used so far.
pub(crate) fn thread_cpu() -> Duration {
    duration(ClockId::ThreadCPUTime)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(duration(ClockId::Realtime).as_millis()).unwrap_or(u64::MAX)
}

fn duration(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burning_takes_the_cpu_time_that_it_says() {
        let before = thread_cpu();
        burn(Duration::from_millis(3));
        assert!(thread_cpu() - before >= Duration::from_millis(3));
        burn(Duration::ZERO);
    }
}
