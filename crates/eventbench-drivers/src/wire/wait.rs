//! Waiting for sockets until an instant of `CLOCK_MONOTONIC`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::connection::Connection;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Until when to wait: an absolute instant of `CLOCK_MONOTONIC`, so that a
/// wait that is resumed does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// Do not wait at all.
    pub const NOW: Self = Self(0);
    /// Wait as long as it takes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Until the clock reads `ns`.
    pub fn at_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Until `timeout` from now; a timeout of zero does not wait.
    pub fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::NOW;
        }
        let ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self(monotonic_ns().saturating_add(ns))
    }

    /// What is left; zero when the instant has passed.
    pub fn remaining(self) -> Duration {
        match self {
            Self::NOW => Duration::ZERO,
            Self::NEVER => Duration::MAX,
            Self(ns) => Duration::from_nanos(ns.saturating_sub(monotonic_ns())),
        }
    }

    /// Whether the instant has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    fn timespec(self) -> Option<Timespec> {
        if self == Self::NEVER {
            return None;
        }
        let left = self.remaining();
        Some(Timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos() as _,
        })
    }
}

impl From<Option<Duration>> for Deadline {
    /// `None` waits as long as it takes.
    fn from(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::NEVER, Self::after)
    }
}

/// Polls until something happens or the deadline passes; signals do not end
/// the wait.
fn poll_until(fds: &mut [PollFd<'_>], until: Deadline) -> io::Result<usize> {
    loop {
        match poll(fds, until.timespec().as_ref()) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Waits for one socket; empty flags when the deadline passed.
pub(super) fn wait_fd(fd: impl AsFd, flags: PollFlags, until: Deadline) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
    poll_until(&mut fds, until)?;
    Ok(fds[0].revents())
}

/// Waits for many connections at once, without allocating after the first
/// calls.
#[derive(Debug, Default)]
pub struct PollSet {
    // Empty between calls: kept for its allocation only.
    fds: Vec<PollFd<'static>>,
    ready: Vec<bool>,
}

impl PollSet {
    /// A set for about `connections` sockets.
    pub fn with_capacity(connections: usize) -> Self {
        Self {
            fds: Vec::with_capacity(connections),
            ready: Vec::with_capacity(connections),
        }
    }

    /// Waits until at least one of the connections has something to read, has
    /// gone, or can send what it still holds; gives the number of them, zero
    /// when the deadline passed. [`Self::is_ready`] and [`Self::ready`] then
    /// speak of the same order. A connection that holds complete operations
    /// already is ready at once.
    ///
    /// # Errors
    ///
    /// The system refuses the wait, for example with more sockets than the
    /// limit of open files.
    pub fn wait<'a>(
        &mut self,
        connections: impl IntoIterator<Item = &'a Connection>,
        until: Deadline,
    ) -> io::Result<usize> {
        self.ready.clear();
        let mut fds: Vec<PollFd<'a>> = std::mem::take(&mut self.fds);
        let mut waiting = 0;
        for connection in connections {
            let buffered = connection.has_buffered();
            waiting += usize::from(buffered);
            self.ready.push(buffered);
            let mut flags = PollFlags::IN;
            if connection.unsent_bytes() > 0 {
                flags |= PollFlags::OUT;
            }
            fds.push(PollFd::from_borrowed_fd(connection.as_fd(), flags));
        }
        let until = if waiting > 0 { Deadline::NOW } else { until };
        let polled = poll_until(&mut fds, until);
        let mut count = 0;
        for (fd, ready) in fds.iter().zip(&mut self.ready) {
            *ready |= !fd.revents().is_empty();
            count += usize::from(*ready);
        }
        self.fds = recycle(fds);
        polled.map(|_| count)
    }

    /// Whether the connection at `index` was ready in the last wait.
    pub fn is_ready(&self, index: usize) -> bool {
        self.ready.get(index).copied().unwrap_or(false)
    }

    /// The indices that were ready in the last wait.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        self.ready
            .iter()
            .enumerate()
            .filter_map(|(index, ready)| ready.then_some(index))
    }
}

/// Gives the empty vector a new lifetime. The standard library collects a
/// mapped vector of the same layout in place, so that the allocation lives on;
/// were it not to, this would allocate, and still be right.
fn recycle(mut fds: Vec<PollFd<'_>>) -> Vec<PollFd<'static>> {
    fds.clear();
    fds.into_iter().map_while(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_absolute_and_saturate() {
        assert!(Deadline::NOW.has_passed());
        assert!(!Deadline::NEVER.has_passed());
        assert_eq!(Deadline::after(Duration::ZERO), Deadline::NOW);
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::from(None), Deadline::NEVER);
        assert!(Deadline::at_ns(monotonic_ns() - 1).has_passed());
        let later = Deadline::after(Duration::from_secs(3600));
        assert!(later.remaining() > Duration::from_secs(3500));
        assert!(later.remaining() <= Duration::from_secs(3600));
    }

    #[test]
    fn a_recycled_vector_keeps_its_allocation() {
        let mut fds: Vec<PollFd<'static>> = Vec::with_capacity(50);
        let place = fds.as_ptr();
        for _ in 0..3 {
            fds = recycle(fds);
        }
        assert_eq!((fds.as_ptr(), fds.capacity()), (place, 50));
    }
}
