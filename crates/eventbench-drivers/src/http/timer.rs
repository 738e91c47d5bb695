//! A timer for the runtime that is as exact as the kernel's.

use std::io;

/// Wakes at an instant of `CLOCK_MONOTONIC`.
#[cfg(target_os = "linux")]
pub struct Timer(tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer of the runtime that this is called in.
    pub fn new() -> io::Result<Timer> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let interest = tokio::io::Interest::READABLE;
        // SAFETY: the descriptor belongs to what registers it, which closes it after it has taken it out again.
        let registered = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) };
        Ok(Timer(registered?))
    }

    /// Waits until the instant. May be given up at any time.
    pub async fn until(&self, at_ns: u64) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Timespec {
            tv_sec: (at_ns / 1_000_000_000) as _,
            // All zeros would turn it off.
            tv_nsec: (at_ns % 1_000_000_000).max(1) as _,
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: at,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?));
            if let Ok(read) = read {
                return read.map(drop);
            }
        }
    }
}

/// Wakes at an instant of `CLOCK_MONOTONIC`, to the millisecond.
#[cfg(not(target_os = "linux"))]
pub struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer.
    pub fn new() -> io::Result<Timer> {
        Ok(Timer)
    }

    /// Waits until the instant. May be given up at any time.
    pub async fn until(&self, at_ns: u64) -> io::Result<()> {
        let left = at_ns.saturating_sub(eventbench_core::host::monotonic_ns());
        tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
        Ok(())
    }
}
