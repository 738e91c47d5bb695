//! The same names as `linux.rs` for systems that are not Linux: what the system offers, and an honest `None` or
//! `Unsupported` for what it does not.

use std::io;
use std::num::NonZeroU64;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::ClockId;

/// Whether per-process readings from `/proc` exist on this system.
pub const HAS_PROC: bool = false;

fn to_ns(t: rustix::time::Timespec) -> u64 {
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{what} is read and set on Linux only"),
    )
}

/// The present instant of the monotonic clock in nanoseconds, shared by all processes of the machine.
#[inline]
pub fn monotonic_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// How long the machine has been suspended: not known here.
pub fn suspended_ns() -> Option<u64> {
    None
}

/// The resolution of the monotonic clock in nanoseconds, as the system states it.
pub fn clock_resolution_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place to write a timespec to for the length of the call.
    let answer = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC, &mut t) };
    if answer == 0 {
        u64::try_from(t.tv_nsec).unwrap_or(0)
    } else {
        0
    }
}

/// Sleeps to the absolute instant `at_ns` of the monotonic clock; returns at once when it has passed.
pub fn sleep_until_ns(at_ns: u64) {
    let now = monotonic_ns();
    if at_ns > now {
        std::thread::sleep(Duration::from_nanos(at_ns - now));
    }
}

/// CPU time that the calling thread has used, user and system together, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of another process: not known here.
pub fn process_cpu_ns(_pid: u32) -> Option<u64> {
    None
}

/// Timer slack is Linux's own.
///
/// # Errors
/// Always `Unsupported`.
pub fn set_timer_slack_ns(_slack_ns: Option<NonZeroU64>) -> io::Result<()> {
    Err(unsupported("timer slack"))
}

/// Timer slack is Linux's own.
///
/// # Errors
/// Always `Unsupported`.
pub fn timer_slack_ns() -> io::Result<u64> {
    Err(unsupported("timer slack"))
}

/// CPU affinity is not offered here.
///
/// # Errors
/// Always `Unsupported`.
pub fn affinity() -> io::Result<Vec<usize>> {
    Err(unsupported("CPU affinity"))
}

/// CPU affinity is not offered here.
///
/// # Errors
/// Always `Unsupported`.
pub fn set_affinity(_cpus: &[usize]) -> io::Result<()> {
    Err(unsupported("CPU affinity"))
}

/// The number of a thread is known on Linux only; this is the process's.
pub fn thread_id() -> Pid {
    rustix::process::getpid()
}

/// Idle priority is not offered here.
///
/// # Errors
/// Always `Unsupported`.
pub fn set_idle_priority(_thread: Option<Pid>) -> io::Result<()> {
    Err(unsupported("idle priority"))
}

/// Sessions do not share cores here.
///
/// # Errors
/// None.
pub fn give_way_as_session() -> io::Result<()> {
    Ok(())
}

/// Makes `command` start its process in a group of its own. The death of this process by SIGKILL does not reach the
/// child here: only an orderly end stops it.
///
/// # Errors
/// `Unsupported` when CPUs are given.
pub fn tie_to_this_process(command: &mut Command, cpus: Option<&[usize]>, _own_session: bool) -> io::Result<()> {
    if cpus.is_some() {
        return Err(unsupported("CPU affinity"));
    }
    command.process_group(0);
    Ok(())
}

/// A handle that wakes at the end of a process: not offered here.
#[derive(Debug)]
pub enum ExitFd {}

impl ExitFd {
    /// Always `None`: the process guard then asks in short steps.
    pub fn open(_pid: Pid) -> Option<Self> {
        None
    }

    /// Never called: there is no value of this type.
    pub fn sleep(&self, _limit_ns: u64) {
        match *self {}
    }
}
