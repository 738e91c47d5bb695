//! What a process uses: CPU time, memory, descriptors, threads, context switches.
//!
//! The readings of Linux come from `/proc/PID` and from the process CPU clock. A process that has ended is no error:
//! it reads as `None`.

use std::io;

use crate::linux;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// CPU, memory, descriptors and thread count: about 30 µs, whatever the size of the process.
    Light,
    /// Also PSS and context switches, which make the kernel walk all pages and all threads of the process: about
    /// 20 ms for 1 GiB, during which it cannot change its memory map.
    Full,
}

/// One reading of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessReading {
    /// When it was taken, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// CPU time of all its threads since its start, in nanoseconds; exact, from the process CPU clock.
    pub cpu_ns: u64,
    /// The part of `cpu_ns` spent in the program. The kernel keeps the ratio only in steps of its tick (1–10 ms), so
    /// this part may step back between close readings; `cpu_ns` never does.
    pub user_ns: u64,
    /// The part of `cpu_ns` spent in the kernel: `cpu_ns` less `user_ns`.
    pub system_ns: u64,
    /// Resident memory, shared pages counted in full. The kernel's own sum: exact to some 100 KiB a core.
    pub rss_bytes: u64,
    /// Proportional memory: a page shared by n processes counts 1/n. `None` in a light reading and where the kernel
    /// does not tell it (another user's process, a kernel without `smaps_rollup`).
    pub pss_bytes: Option<u64>,
    /// Address space.
    pub vms_bytes: u64,
    /// Open file descriptors; `None` for another user's process.
    pub fds: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// Times that its living threads gave up the CPU to wait; `None` in a light reading. Falls when a thread ends.
    pub voluntary_switches: Option<u64>,
    /// Times that the CPU was taken from its living threads; `None` in a light reading. Falls when a thread ends.
    pub involuntary_switches: Option<u64>,
}

/// Why a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessReadError {
    /// The file is there and cannot be read.
    #[error("cannot read {path} of a process: {cause}")]
    Read {
        /// The file.
        path: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// The file says something else than Linux documents.
    #[error("{path} is not of the form that is documented for Linux")]
    Format {
        /// The file.
        path: String,
    },
    /// There is no such reading on this system.
    #[error("processes are read on Linux only")]
    Unsupported,
}

/// A process that is read again and again, told from a later one with the same number by its start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessProbe {
    pid: u32,
    start_ticks: u64,
}

impl ProcessProbe {
    /// The process `pid`, if it runs.
    ///
    /// # Errors
    /// [`ProcessReadError`].
    pub fn attach(pid: u32) -> Result<Option<Self>, ProcessReadError> {
        Ok(read_stat(pid)?.map(|stat| Self {
            pid,
            start_ticks: stat.start_ticks,
        }))
    }

    /// This process itself.
    ///
    /// # Errors
    /// [`ProcessReadError`].
    pub fn of_self() -> Result<Option<Self>, ProcessReadError> {
        Self::attach(std::process::id())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A reading; `None` when the process has ended, also when its number has been given to another since.
    ///
    /// # Errors
    /// [`ProcessReadError`].
    pub fn read(&self, depth: Depth) -> Result<Option<ProcessReading>, ProcessReadError> {
        Ok(ProcessReading::take(self.pid, depth)?
            .filter(|(_, start)| *start == self.start_ticks)
            .map(|(r, _)| r))
    }
}

impl ProcessReading {
    /// One reading of whatever process has the number `pid` now; `None` without one. For more than one reading use
    /// [`ProcessProbe`], which is not deceived by a number that is given anew.
    ///
    /// # Errors
    /// [`ProcessReadError`].
    pub fn read(pid: u32, depth: Depth) -> Result<Option<Self>, ProcessReadError> {
        Ok(Self::take(pid, depth)?.map(|(reading, _)| reading))
    }

    /// The reading and the start time that was valid around all of it.
    fn take(pid: u32, depth: Depth) -> Result<Option<(Self, u64)>, ProcessReadError> {
        let at_ns = linux::monotonic_ns();
        let cpu_ns = linux::process_cpu_ns(pid);
        let Some(stat) = read_stat(pid)? else { return Ok(None) };
        let Some(cpu_ns) = cpu_ns else { return Ok(None) };
        let Some(memory) = read_file(pid, "statm")? else {
            return Ok(None);
        };
        let memory = parse_statm(&memory, page_bytes()).ok_or_else(|| format_error(pid, "statm"))?;
        let fds = count_fds(pid);
        let (pss_bytes, switches) = match depth {
            Depth::Light => (None, None),
            Depth::Full => {
                // Not told for another user's process, and gone for one that ends just now: both are "not known".
                let rollup = read_file(pid, "smaps_rollup").ok().flatten();
                (
                    rollup.and_then(|text| parse_kib_field(&text, "Pss")),
                    count_switches(pid),
                )
            }
        };
        // What was read in between belongs to this process only if it still is the same.
        match read_stat(pid)? {
            Some(again) if again.start_ticks == stat.start_ticks => {}
            _ => return Ok(None),
        }
        let user_ns = user_part_ns(cpu_ns, stat.user_ticks, stat.system_ticks);
        let reading = Self {
            at_ns,
            cpu_ns,
            user_ns,
            system_ns: cpu_ns - user_ns,
            rss_bytes: memory.rss_bytes,
            pss_bytes,
            vms_bytes: memory.vms_bytes,
            fds,
            threads: stat.threads,
            voluntary_switches: switches.map(|s| s.0),
            involuntary_switches: switches.map(|s| s.1),
        };
        Ok(Some((reading, stat.start_ticks)))
    }
}

/// The user part of a CPU time, by the ratio of the ticks. Without any tick all counts as user time.
fn user_part_ns(cpu_ns: u64, user_ticks: u64, system_ticks: u64) -> u64 {
    let all = u128::from(user_ticks) + u128::from(system_ticks);
    if all == 0 {
        return cpu_ns;
    }
    // The quotient is at most cpu_ns, so it fits.
    u64::try_from(u128::from(cpu_ns) * u128::from(user_ticks) / all).unwrap_or(cpu_ns)
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

fn format_error(pid: u32, file: &str) -> ProcessReadError {
    ProcessReadError::Format {
        path: format!("/proc/{pid}/{file}"),
    }
}

/// A file of the process; `None` when the process has ended.
fn read_file(pid: u32, file: &str) -> Result<Option<String>, ProcessReadError> {
    if !linux::HAS_PROC {
        return Err(ProcessReadError::Unsupported);
    }
    let path = format!("/proc/{pid}/{file}");
    match std::fs::read(&path) {
        // A process name may hold any bytes.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(cause) => Err(ProcessReadError::Read { path, cause }),
    }
}

/// The state of the process; `None` when it has ended, also when only its exit status is left (a zombie).
fn read_stat(pid: u32) -> Result<Option<Stat>, ProcessReadError> {
    let Some(text) = read_file(pid, "stat")? else {
        return Ok(None);
    };
    let stat = parse_stat(&text).ok_or_else(|| format_error(pid, "stat"))?;
    Ok((!matches!(stat.state, 'Z' | 'X' | 'x')).then_some(stat))
}

/// Open descriptors: since Linux 6.2 the size of `/proc/PID/fd` tells them, else its entries are counted.
fn count_fds(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > 0 => Some(meta.len()),
        _ => std::fs::read_dir(&path).ok().map(|entries| entries.count() as u64),
    }
}

/// Voluntary and involuntary context switches of all living threads: `/proc/PID/status` alone tells those of the first.
fn count_switches(pid: u32) -> Option<(u64, u64)> {
    let mut sums = (0u64, 0u64);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread that has just ended is not there to be counted.
        let Ok(bytes) = std::fs::read(task.path().join("status")) else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        sums.0 += parse_field(&text, "voluntary_ctxt_switches").unwrap_or(0);
        sums.1 += parse_field(&text, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    Some(sums)
}

/// What is used of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: char,
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

/// Reads `PID (NAME) STATE …`. The name is the process's own choice and may hold spaces, parentheses and line ends, so
/// the fields begin after the *last* closing parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first field here is the third of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let mut state = fields.first()?.chars();
    let stat = Stat {
        state: state.next()?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: number(20)?,
        start_ticks: number(22)?,
    };
    state.next().is_none().then_some(stat)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    vms_bytes: u64,
    rss_bytes: u64,
}

/// Reads the first two fields of `/proc/PID/statm`, which count pages.
fn parse_statm(text: &str, page_bytes: u64) -> Option<Memory> {
    let mut pages = text
        .split_ascii_whitespace()
        .map(|field| field.parse::<u64>().ok()?.checked_mul(page_bytes));
    Some(Memory {
        vms_bytes: pages.next()??,
        rss_bytes: pages.next()??,
    })
}

/// The number of the line `NAME: number` in a text like `/proc/PID/status`.
fn parse_field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.split_ascii_whitespace().next()?.parse().ok())
}

/// The number of the line `NAME: number kB` in bytes.
pub(super) fn parse_kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = line.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    (words.next() == Some("kB")).then(|| number.checked_mul(1024)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "20524 (nats-server) S 1 20523 20500 0 -1 4194560 2113 0 0 0 7 3 0 0 20 0 9 0 86157 1264271360 4022 \
        18446744073709551615 4194304 12312313 140733 0 0 0 0 2 3 0 0 0 17 1 0 0 0 0 0 1 2 3 4 5 6 7 0\n";

    #[test]
    fn a_recorded_stat_is_read() {
        let expected = Stat {
            state: 'S',
            user_ticks: 7,
            system_ticks: 3,
            threads: 9,
            start_ticks: 86157,
        };
        assert_eq!(parse_stat(STAT), Some(expected));
    }

    #[test]
    fn a_name_with_spaces_parentheses_and_line_ends_does_not_move_the_fields() {
        let expected = parse_stat(STAT);
        for name in ["a b", ") R 1 1 1 1", "((", "x) S 0 (y", "", "a\nb) Z 1", "\u{fffd}"] {
            assert_eq!(parse_stat(&STAT.replace("nats-server", name)), expected, "{name:?}");
        }
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        for text in [
            "",
            "1",
            "1 (a",
            "1 (a)",
            "1 (a) S",
            "1 (a) SS 1",
            &STAT[..60],
            &STAT.replace(" 86157 ", " -1 "),
        ] {
            assert_eq!(parse_stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn memory_texts_are_read_and_hostile_ones_refused() {
        let memory = Memory {
            vms_bytes: 308660 * 4096,
            rss_bytes: 4022 * 4096,
        };
        assert_eq!(parse_statm("308660 4022 2913 1 0 9832 0\n", 4096), Some(memory));
        for text in ["", "1", "1 x", "-1 2", "18446744073709551615 1"] {
            assert_eq!(parse_statm(text, 4096), None, "{text:?}");
        }
        let rollup =
            "55a1-7fff ---p 00000000 00:00 0    [rollup]\nRss:    1736 kB\nPss:     391 kB\nPss_Dirty:  112 kB\n";
        assert_eq!(parse_kib_field(rollup, "Pss"), Some(391 * 1024));
        assert_eq!(parse_kib_field("Pss: 3 MB", "Pss"), None);
        assert_eq!(parse_kib_field("Pss: 99999999999999999 kB", "Pss"), None);
        assert_eq!(parse_kib_field("", "Pss"), None);
    }

    #[test]
    fn context_switches_are_not_mistaken_for_one_another() {
        let text = "Name:\tx\nnonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t12\n";
        assert_eq!(parse_field(text, "voluntary_ctxt_switches"), Some(12));
        assert_eq!(parse_field(text, "nonvoluntary_ctxt_switches"), Some(5));
        assert_eq!(parse_field(text, "Threads"), None);
    }

    proptest::proptest! {
        #[test]
        fn the_parts_of_a_cpu_time_are_its_sum(cpu in proptest::prelude::any::<u64>(), u in proptest::prelude::any::<u64>(), s in proptest::prelude::any::<u64>()) {
            proptest::prop_assert!(user_part_ns(cpu, u, s) <= cpu);
        }

        #[test]
        fn parsers_survive_any_text(text in ".*") {
            let _ = (parse_stat(&text), parse_statm(&text, 4096), parse_kib_field(&text, "Pss"), parse_field(&text, "a"));
        }
    }

    #[cfg(target_os = "linux")]
    mod on_linux {
        use super::*;

        #[test]
        fn this_process_reads_as_what_it_is() {
            let probe = ProcessProbe::of_self().unwrap().unwrap();
            let light = probe.read(Depth::Light).unwrap().unwrap();
            assert_eq!((light.pss_bytes, light.voluntary_switches), (None, None));
            let block = vec![1u8; 32 * 1024 * 1024];
            let files: Vec<_> = (0..7).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
            let full = probe.read(Depth::Full).unwrap().unwrap();
            std::hint::black_box((&block, &files));
            assert!(
                full.rss_bytes >= light.rss_bytes + 24 * 1024 * 1024,
                "{light:?} {full:?}"
            );
            assert!(full.pss_bytes.unwrap() >= 24 * 1024 * 1024 && full.vms_bytes >= full.rss_bytes);
            assert!(full.fds.unwrap() >= 7 && full.threads >= 1);
            assert!(full.cpu_ns >= light.cpu_ns && full.user_ns + full.system_ns == full.cpu_ns);
            assert!(full.voluntary_switches.unwrap() + full.involuntary_switches.unwrap() > 0);
        }

        #[test]
        fn descriptors_are_counted_one_by_one() {
            let me = std::process::id();
            let listed = std::fs::read_dir(format!("/proc/{me}/fd")).unwrap().count() as u64;
            // Other tests open and close files meanwhile; the size and the list agree but for those.
            assert!(count_fds(me).unwrap().abs_diff(listed) < 64);
        }

        #[test]
        fn an_ended_process_is_none_and_so_is_another_with_its_number() {
            assert_eq!(ProcessReading::read(4_194_305, Depth::Full).unwrap(), None);
            assert_eq!(ProcessProbe::attach(4_194_305).unwrap(), None);
            let me = ProcessProbe::of_self().unwrap().unwrap();
            let earlier = ProcessProbe {
                start_ticks: me.start_ticks - 1,
                ..me
            };
            assert_eq!(earlier.read(Depth::Light).unwrap(), None);
        }
    }
}
