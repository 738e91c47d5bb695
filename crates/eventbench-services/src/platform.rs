//! The operating system as the services need it: the monotonic clock, sleeping to a point of it, and this process's
//! memory. What is Linux's own stays in here.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// `CLOCK_MONOTONIC` in nanoseconds: the clock that all processes of a machine share.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// CPU time that the calling thread has used, user and system together, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(used.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(used.tv_nsec).unwrap_or(0)
}

/// Takes `cpu_ns` of the calling thread's CPU time, and at most the time of one reading of that clock more, well below a
/// microsecond. How long that lasts on the clock is up to the scheduler.
pub(crate) fn burn(cpu_ns: u64) {
    let until_ns = thread_cpu_ns().saturating_add(cpu_ns);
    while thread_cpu_ns() < until_ns {
        std::hint::spin_loop();
    }
}

/// A duration in nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps until `CLOCK_MONOTONIC` shows `due_ns`; returns at once if it does already.
#[cfg(target_os = "linux")]
pub(crate) fn sleep_until(due_ns: u64) {
    use rustix::thread::clock_nanosleep_absolute;
    use rustix::time::Timespec;
    let (Ok(tv_sec), Ok(tv_nsec)) = ((due_ns / 1_000_000_000).try_into(), (due_ns % 1_000_000_000).try_into()) else {
        return;
    };
    let due = Timespec { tv_sec, tv_nsec };
    while clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &due) == Err(rustix::io::Errno::INTR) {}
}

/// Sleeps until `CLOCK_MONOTONIC` shows `due_ns`; returns at once if it does already.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sleep_until(due_ns: u64) {
    std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns())));
}

/// Asks the kernel to wake the calling thread at the time asked for: by default it may add 50 µs to save power.
pub(crate) fn wake_precisely() {
    #[cfg(target_os = "linux")]
    if let Err(cause) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!("timer slack stays as it is: {cause}");
    }
}

/// Resident memory of this process in bytes, where the system tells.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Resident memory of this process in bytes, where the system tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_never_ends_before_it_is_due() {
        let due_ns = monotonic_ns() + 2_000_000;
        sleep_until(due_ns);
        assert!(monotonic_ns() >= due_ns);
        sleep_until(0);
    }

    #[test]
    fn burning_takes_cpu_time_and_not_only_time() {
        for cpu_ns in [0, 10_000, 3_000_000] {
            let before_ns = thread_cpu_ns();
            burn(cpu_ns);
            assert!(thread_cpu_ns() - before_ns >= cpu_ns);
        }
        // Sleeping is no burning: the clock above does not count it.
        let before_ns = thread_cpu_ns();
        sleep_until(monotonic_ns() + 50_000_000);
        assert!(thread_cpu_ns() - before_ns < 50_000_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_of_a_plausible_size() {
        let bytes = resident_bytes().unwrap();
        assert!((100_000..100_000_000_000).contains(&bytes), "{bytes}");
    }
}
