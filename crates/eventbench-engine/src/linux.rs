//! All that is Linux's own: scheduling, clocks of other processes, the tie between parent and child, exit watching.
//!
//! `portable.rs` offers the same names where the system is another; everything outside these two files is common.
//! The project's unsafe code for system calls is here and nowhere else.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CpuSet;
use rustix::time::ClockId;

/// Whether per-process readings from `/proc` exist on this system.
pub const HAS_PROC: bool = true;

/// The kernel's usual timer slack in nanoseconds, which a started process gets back whatever its parent has set.
const USUAL_TIMER_SLACK_NS: Option<NonZeroU64> = NonZeroU64::new(50_000);

fn to_ns(t: rustix::time::Timespec) -> u64 {
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

fn to_timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as _,
    }
}

/// The present instant of `CLOCK_MONOTONIC` in nanoseconds, shared by all processes of the machine.
#[inline]
pub fn monotonic_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// How long the machine has been suspended since it started, in nanoseconds: `CLOCK_BOOTTIME` less
/// `CLOCK_MONOTONIC`. A change between two readings means that the machine slept in between.
pub fn suspended_ns() -> Option<u64> {
    let monotonic = monotonic_ns();
    let boot = to_ns(rustix::time::clock_gettime(ClockId::Boottime));
    // The two clocks are read one after the other; a difference below a millisecond is that gap and not a sleep.
    let gap = boot.saturating_sub(monotonic);
    Some(if gap < 1_000_000 { 0 } else { gap })
}

/// What the kernel says the resolution of `CLOCK_MONOTONIC` is, in nanoseconds.
pub fn clock_resolution_ns() -> u64 {
    to_ns(rustix::time::clock_getres(ClockId::Monotonic))
}

/// Sleeps to the absolute instant `at_ns` of `CLOCK_MONOTONIC`; returns at once when it has passed.
pub fn sleep_until_ns(at_ns: u64) {
    let at = to_timespec(at_ns);
    // A signal may end the sleep early; an absolute sleep is simply taken up again.
    while let Err(rustix::io::Errno::INTR) =
        rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &at)
    {}
}

/// CPU time that the calling thread has used, user and system together, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time that the process `pid` has used in all its threads, dead ones included, in nanoseconds; `None` when there
/// is no such process.
///
/// Source: the process CPU clock (`clock_getcpuclockid`), which counts nanoseconds where `/proc/PID/stat` counts
/// ticks of 10 ms.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|p| *p > 0)?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place to write a clockid_t to for the length of the call.
    if unsafe { libc::clock_getcpuclockid(pid, &mut clock) } != 0 {
        return None;
    }
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place to write a timespec to; an unknown clock id is answered by an error.
    if unsafe { libc::clock_gettime(clock, &mut t) } != 0 {
        return None;
    }
    Some(u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0))
}

/// Sets the timer slack of the calling thread: how many nanoseconds late the kernel may wake it in order to save
/// wake-ups. `None` restores the thread's own default.
///
/// Threads and processes that this thread starts afterwards inherit it (those of the process guard do not).
///
/// # Errors
/// Those of `prctl(PR_SET_TIMERSLACK)`; ordinary threads get none.
pub fn set_timer_slack_ns(slack_ns: Option<NonZeroU64>) -> io::Result<()> {
    Ok(rustix::thread::set_current_timer_slack(slack_ns)?)
}

/// The timer slack of the calling thread in nanoseconds.
///
/// # Errors
/// Those of `prctl(PR_GET_TIMERSLACK)`.
pub fn timer_slack_ns() -> io::Result<u64> {
    Ok(rustix::thread::current_timer_slack()?)
}

/// The CPUs that the calling thread may run on, in ascending order.
///
/// # Errors
/// Those of `sched_getaffinity`; a machine with more than 1,024 CPUs is refused by it.
pub fn affinity() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Binds the calling thread to `cpus`. Threads that it starts afterwards inherit the binding.
///
/// # Errors
/// `InvalidInput` when `cpus` is empty, names a CPU beyond 1,023, or holds none that exists and is allowed.
pub fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    Ok(rustix::thread::sched_setaffinity(None, &cpu_set(cpus)?)?)
}

/// The calling thread, by the kernel's number.
pub fn thread_id() -> Pid {
    rustix::thread::gettid()
}

/// Gives a thread of this process, or the calling one, idle priority (`SCHED_IDLE`): it runs while nobody else wants its
/// core, and gives way at once to whoever wakes up there. Threads that it starts afterwards inherit it.
///
/// # Errors
/// Those of `sched_setscheduler`; a sandbox may forbid it.
pub fn set_idle_priority(thread: Option<Pid>) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    let thread = thread.map_or(0, |t| t.as_raw_nonzero().get());
    // The system call itself, since some C libraries offer the function of this name only in order to refuse.
    // SAFETY: `parameters` is a valid sched_param for the length of the call, which only reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            thread,
            libc::SCHED_IDLE,
            &raw const parameters,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the session of this process give way to all others: where the kernel shares a core among sessions before it looks
/// at their threads (autogroup), idle priority counts within the session only. Does nothing where it does not share so.
///
/// # Errors
/// Those of writing `/proc/self/autogroup`.
pub fn give_way_as_session() -> io::Result<()> {
    /// The kernel takes one such change in a tenth of a second, from all processes together.
    const ATTEMPTS: u32 = 100;
    const PAUSE_NS: u64 = 20_000_000;
    let mut attempt = 1;
    loop {
        match std::fs::write("/proc/self/autogroup", "19") {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && attempt < ATTEMPTS => {
                sleep_until_ns(monotonic_ns() + PAUSE_NS);
                attempt += 1;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

fn cpu_set(cpus: &[usize]) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    if cpus.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty list of CPUs"));
    }
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no CPU {cpu}: the highest is 1023"),
            ));
        }
        set.set(*cpu);
    }
    Ok(set)
}

/// Makes `command` start its process tied to this one: in a process group of its own, killed by the kernel when the
/// thread that spawns it ends (also by SIGKILL), with the usual timer slack, bound to `cpus` when given, and in a session of
/// its own when `own_session` says so (which makes the group as well).
///
/// `PR_SET_PDEATHSIG` follows the *thread*, so the spawning thread must outlive the child, and the kernel forgets it
/// when the child executes a set-user-id program.
///
/// # Errors
/// `InvalidInput` for an impossible list of CPUs.
pub fn tie_to_this_process(command: &mut Command, cpus: Option<&[usize]>, own_session: bool) -> io::Result<()> {
    let parent = rustix::process::getpid();
    let cpus = cpus.map(cpu_set).transpose()?;
    if !own_session {
        command.process_group(0);
    }
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the parent died before the line above, nobody is left to send the signal: the child must end itself.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        rustix::thread::set_current_timer_slack(USUAL_TIMER_SLACK_NS)?;
        if own_session {
            rustix::process::setsid()?;
        }
        if let Some(set) = &cpus {
            rustix::thread::sched_setaffinity(None, set)?;
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec. It makes five system calls on values copied beforehand, takes no
    // lock and allocates nothing (`from_raw_os_error` stores a number), so it is safe after a fork of a process with
    // several threads.
    unsafe { command.pre_exec(in_child) };
    Ok(())
}

/// A handle that becomes readable at the instant its process ends (a pidfd).
#[derive(Debug)]
pub struct ExitFd(OwnedFd);

impl ExitFd {
    /// A handle for `pid`, which must be an unreaped child of this process: that keeps the number from being given
    /// anew. `None` where the kernel has no such handles (before 5.3).
    pub fn open(pid: Pid) -> Option<Self> {
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok().map(ExitFd)
    }

    /// Sleeps until the process has ended, `limit_ns` has passed or a signal came, whichever is first.
    pub fn sleep(&self, limit_ns: u64) {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        // One hour at a time keeps the timespec within what every kernel takes. An error (a signal) only means that
        // the caller looks again.
        let _ = rustix::event::poll(&mut fds, Some(&to_timespec(limit_ns.min(3_600_000_000_000))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_clock_of_this_process_advances_with_work_and_an_unknown_pid_has_none() {
        let me = std::process::id();
        let before = process_cpu_ns(me).unwrap();
        let thread_before = thread_cpu_ns();
        let mut x = 1u64;
        while thread_cpu_ns() - thread_before < 2_000_000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005));
        }
        assert!(process_cpu_ns(me).unwrap() - before >= 2_000_000);
        assert_eq!(process_cpu_ns(0), None);
        assert_eq!(process_cpu_ns(u32::MAX), None);
        assert_eq!(process_cpu_ns(4_194_305), None, "above the highest pid of Linux");
    }

    #[test]
    fn timer_slack_is_set_and_restored() {
        std::thread::spawn(|| {
            let usual = timer_slack_ns().unwrap();
            set_timer_slack_ns(NonZeroU64::new(1)).unwrap();
            assert_eq!(timer_slack_ns().unwrap(), 1);
            set_timer_slack_ns(None).unwrap();
            assert_eq!(timer_slack_ns().unwrap(), usual);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn affinity_is_read_back_as_set_and_nonsense_is_refused() {
        std::thread::spawn(|| {
            let allowed = affinity().unwrap();
            let last = *allowed.last().unwrap();
            set_affinity(&[last]).unwrap();
            assert_eq!(affinity().unwrap(), [last]);
            assert_eq!(set_affinity(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(set_affinity(&[1024]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(set_affinity(&[1023]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_absolute_sleep_never_returns_early_and_a_past_one_at_once() {
        let at = monotonic_ns() + 3_000_000;
        sleep_until_ns(at);
        assert!(monotonic_ns() >= at);
        sleep_until_ns(0);
    }
}
