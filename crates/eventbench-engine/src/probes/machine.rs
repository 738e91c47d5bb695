//! What the machine is and how quiet it is: for the environment of a record, and for `doctor`.
//!
//! What a system does not tell is `None`, never a guess. The texts of Linux are read by the pure functions of
//! `text`; timers and disks are tried out in `trial`.

mod text;
mod trial;

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::linux;
pub use text::CpuTicks;
pub use trial::{DiskTrial, SleepTrial, TrialError, disk_trial, sleep_trial};

/// What the machine is; cheap to read (below 1 ms).
#[derive(Debug, Clone, PartialEq)]
pub struct MachineReading {
    /// The operating system in its own words, as in `Debian GNU/Linux 12 (bookworm)`.
    pub os: Option<String>,
    /// The kernel's name and release, as in `Linux 6.18.44`.
    pub kernel: String,
    /// The architecture, as in `x86_64`.
    pub architecture: String,
    /// The model of the first CPU.
    pub cpu_model: Option<String>,
    /// CPUs that are on line, hyperthreads counted each.
    pub logical_cpus: Option<u64>,
    /// The CPUs that this thread may run on.
    pub allowed_cpus: Option<Vec<usize>>,
    /// CPUs' worth of time that the control group allows, as in 1.5; `None` without a limit.
    pub cgroup_cpus: Option<f64>,
    /// Memory that the control group allows; `None` without a limit.
    pub cgroup_memory_bytes: Option<u64>,
    /// Memory of the machine.
    pub memory_total_bytes: Option<u64>,
    /// Memory that could be had without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Runnable tasks, mean of the last minute.
    pub load_1m: Option<f64>,
    /// The frequency governors of the CPUs, each once, in order; empty where the machine has none to choose.
    pub governors: Vec<String>,
    /// What the kernel reads the time from, as in `tsc`.
    pub clock_source: Option<String>,
    /// The resolution of the monotonic clock as the kernel states it, in nanoseconds.
    pub clock_resolution_ns: u64,
    /// How many files this process may have open; `None` without a limit.
    pub open_files_limit: Option<u64>,
    /// How far that limit can be raised; `None` without a limit.
    pub open_files_hard_limit: Option<u64>,
    /// How long the machine has been suspended since its start; a change within a run makes the run invalid.
    pub suspended_ns: Option<u64>,
}

impl MachineReading {
    /// Reads the machine.
    pub fn take() -> Self {
        let name = rustix::system::uname();
        let memory = read("/proc/meminfo").unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo").unwrap_or_default();
        let (cgroup_cpus, cgroup_memory_bytes) = cgroup_limits();
        let files = getrlimit(Resource::Nofile);
        let memory_total_bytes = super::process::parse_kib_field(&memory, "MemTotal");
        Self {
            os: ["/etc/os-release", "/usr/lib/os-release"]
                .iter()
                .find_map(|f| text::os_name(&read(f)?)),
            kernel: format!(
                "{} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy()
            ),
            architecture: name.machine().to_string_lossy().into_owned(),
            cpu_model: text::cpu_model(&cpu_info),
            logical_cpus: read("/sys/devices/system/cpu/online")
                .and_then(|list| text::cpu_list_length(&list))
                .or_else(|| std::thread::available_parallelism().ok().map(|n| n.get() as u64)),
            allowed_cpus: linux::affinity().ok(),
            cgroup_cpus,
            // A limit above what the machine has limits nothing.
            cgroup_memory_bytes: cgroup_memory_bytes.filter(|limit| memory_total_bytes.is_none_or(|all| *limit < all)),
            memory_total_bytes,
            memory_available_bytes: super::process::parse_kib_field(&memory, "MemAvailable"),
            load_1m: read("/proc/loadavg").and_then(|t| text::load_1m(&t)),
            governors: governors(),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .map(|t| t.trim().to_owned())
                .filter(|t| !t.is_empty()),
            clock_resolution_ns: linux::clock_resolution_ns(),
            open_files_limit: files.current,
            open_files_hard_limit: files.maximum,
            suspended_ns: linux::suspended_ns(),
        }
    }
}

/// How the machine's CPUs spent a stretch of time, as shares of all of it from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuShares {
    /// The stretch, in nanoseconds.
    pub span_ns: u64,
    /// In programs and in the kernel.
    pub busy: f64,
    /// Taken by the hypervisor for other machines: figures taken meanwhile are not of this machine alone.
    pub steal: f64,
    /// Waiting with nothing to do but for a disk.
    pub io_wait: f64,
}

/// The ticks of all CPUs since the start of the machine; `None` where the system does not tell. Read it before and
/// after a stretch and compare with [`CpuTicks::shares_since`].
pub fn cpu_ticks() -> Option<CpuTicks> {
    text::cpu_ticks(&read("/proc/stat")?)
}

/// The shares over a `window` that begins now; `None` where the system does not tell.
pub fn cpu_shares_over(window: Duration) -> Option<CpuShares> {
    let (before, from_ns) = (cpu_ticks()?, linux::monotonic_ns());
    linux::sleep_until_ns(from_ns.saturating_add(u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)));
    cpu_ticks()?.shares_since(&before, linux::monotonic_ns() - from_ns)
}

/// A text of the system; `None` where there is no such file or it cannot be read: what it says is then not known.
fn read(path: impl AsRef<Path>) -> Option<String> {
    if !linux::HAS_PROC {
        return None;
    }
    std::fs::read(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn governors() -> Vec<String> {
    let Ok(cpus) = std::fs::read_dir("/sys/devices/system/cpu") else {
        return Vec::new();
    };
    let mut all: Vec<String> = cpus
        .flatten()
        .filter_map(|cpu| read(cpu.path().join("cpufreq/scaling_governor")))
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    all.sort();
    all.dedup();
    all
}

/// CPUs' worth of time that the control group allows; `None` without a limit.
pub fn cpu_quota() -> Option<f64> {
    cgroup_limits().0
}

/// The tightest limits of CPU (in CPUs) and memory (in bytes) on the way from this process's control group to the
/// root, of version 2 or 1, whichever is mounted.
fn cgroup_limits() -> (Option<f64>, Option<u64>) {
    let (Some(groups), Some(mounts)) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo")) else {
        return (None, None);
    };
    let (mut cpus, mut memory): (Option<f64>, Option<u64>) = (None, None);
    for dir in text::cgroup_dirs(&groups, &mounts) {
        let file = |name: &str| read(dir.join(name));
        let v2 = file("cpu.max").and_then(|t| text::cpu_max(&t));
        let v1 = || text::cpu_quota(&file("cpu.cfs_quota_us")?, &file("cpu.cfs_period_us")?);
        if let Some(found) = v2.or_else(v1) {
            cpus = Some(cpus.map_or(found, |c| c.min(found)));
        }
        if let Some(found) = file("memory.max")
            .or_else(|| file("memory.limit_in_bytes"))
            .and_then(|t| text::memory_limit(&t))
        {
            memory = Some(memory.map_or(found, |m| m.min(found)));
        }
    }
    (cpus, memory)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_read() {
        let machine = MachineReading::take();
        assert!(machine.kernel.starts_with("Linux "), "{machine:?}");
        assert!(machine.logical_cpus.unwrap() >= machine.allowed_cpus.as_ref().unwrap().len() as u64);
        assert!(machine.memory_available_bytes.unwrap() <= machine.memory_total_bytes.unwrap());
        assert!(machine.open_files_limit.unwrap_or(u64::MAX) <= machine.open_files_hard_limit.unwrap_or(u64::MAX));
        assert!(machine.load_1m.unwrap() >= 0.0 && machine.clock_source.is_some() && machine.suspended_ns.is_some());
        assert!((1..=10_000_000).contains(&machine.clock_resolution_ns));
    }

    #[test]
    fn shares_over_a_window_are_shares() {
        let shares = cpu_shares_over(Duration::from_millis(60)).unwrap();
        assert!(shares.span_ns >= 60_000_000);
        for share in [shares.busy, shares.steal, shares.io_wait] {
            assert!((0.0..=1.0).contains(&share), "{shares:?}");
        }
    }
}
