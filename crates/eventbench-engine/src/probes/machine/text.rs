//! Pure readers of the texts in which Linux describes a machine. Each gives `None` for what is not of the documented
//! form (proc(5), cgroups(7), os-release(5)).

use std::path::{Path, PathBuf};

use super::CpuShares;

/// Ticks of all CPUs since the start of the machine, by what they were spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTicks {
    busy: u64,
    idle: u64,
    io_wait: u64,
    steal: u64,
}

impl CpuTicks {
    /// How the time since `earlier` was spent; `None` when no tick has passed.
    pub fn shares_since(&self, earlier: &Self, span_ns: u64) -> Option<CpuShares> {
        // The kernel documents that io_wait may step back, so a step back counts as zero.
        let busy = self.busy.saturating_sub(earlier.busy);
        let idle = self.idle.saturating_sub(earlier.idle);
        let io_wait = self.io_wait.saturating_sub(earlier.io_wait);
        let steal = self.steal.saturating_sub(earlier.steal);
        let all = busy as f64 + idle as f64 + io_wait as f64 + steal as f64;
        let share = |part: u64| part as f64 / all;
        (all > 0.0).then(|| CpuShares {
            span_ns,
            busy: share(busy),
            steal: share(steal),
            io_wait: share(io_wait),
        })
    }
}

/// The line `cpu` of `/proc/stat`. Guest time is contained in user time already and is not counted twice.
pub(super) fn cpu_ticks(text: &str) -> Option<CpuTicks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .map(|f| f.parse().ok())
        .collect::<Option<_>>()?;
    let [user, nice, system, idle, io_wait, irq, soft_irq, ..] = ticks[..] else {
        return None;
    };
    let busy = [user, nice, system, irq, soft_irq]
        .into_iter()
        .try_fold(0u64, u64::checked_add)?;
    Some(CpuTicks {
        busy,
        idle,
        io_wait,
        steal: ticks.get(7).copied().unwrap_or(0),
    })
}

/// The model of the first CPU in `/proc/cpuinfo`: `model name` on x86, `Model` or `Hardware` on some ARM boards.
pub(super) fn cpu_model(text: &str) -> Option<String> {
    ["model name", "Model", "Hardware"].iter().find_map(|key| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            (name.trim() == *key && !value.is_empty()).then_some(value)
        })
    })
}

/// The length of a list of CPUs like `0-3,8,10-11`.
pub(super) fn cpu_list_length(text: &str) -> Option<u64> {
    text.trim().split(',').try_fold(0u64, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// The first figure of `/proc/loadavg`.
pub(super) fn load_1m(text: &str) -> Option<f64> {
    text.split_ascii_whitespace()
        .next()?
        .parse::<f64>()
        .ok()
        .filter(|load| load.is_finite() && *load >= 0.0)
}

/// `PRETTY_NAME`, else `NAME`, of an os-release file, without its quotes.
pub(super) fn os_name(text: &str) -> Option<String> {
    ["PRETTY_NAME=", "NAME="].iter().find_map(|key| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key))?.trim();
        let quoted = ['"', '\'']
            .iter()
            .find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        let value: String = quoted
            .unwrap_or(value)
            .chars()
            .filter(|c| !c.is_control() && *c != '\\')
            .collect();
        (!value.is_empty()).then_some(value)
    })
}

/// CPUs' worth of time in `cpu.max` (version 2): `QUOTA PERIOD`, or `max PERIOD` without a limit.
pub(super) fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cpu_quota(quota, period)
}

/// CPUs' worth of time of a quota and its period in microseconds (version 1); a negative quota is none.
pub(super) fn cpu_quota(quota: &str, period: &str) -> Option<f64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// A memory limit in bytes; `max` (version 2) is none. Version 1 writes a number near 2^63 for none, which the caller
/// sees to be more than the machine has.
pub(super) fn memory_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The directories of the control groups that this process is in, up to the root of each mount: for version 2 and for
/// the version 1 controllers `cpu` and `memory`. From `/proc/self/cgroup` and `/proc/self/mountinfo`.
pub(super) fn cgroup_dirs(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let wanted: Vec<&str> = controllers
            .split(',')
            .filter(|c| matches!(*c, "cpu" | "memory"))
            .collect();
        let is_v2 = controllers.is_empty();
        if !is_v2 && wanted.is_empty() {
            continue;
        }
        for (root, mount) in mounts.lines().filter_map(|line| cgroup_mount(line, is_v2, &wanted)) {
            // In a container the mount shows only a part of the tree, which begins at `root`.
            let Ok(inside) = Path::new(group).strip_prefix(&root) else {
                dirs.push(mount);
                continue;
            };
            let full = mount.join(inside);
            dirs.extend(
                full.ancestors()
                    .take_while(|dir| dir.starts_with(&mount))
                    .map(Path::to_owned),
            );
        }
    }
    dirs.sort();
    dirs.dedup();
    dirs
}

/// The root and the place of a control group mount, when `line` of mountinfo is the one looked for.
fn cgroup_mount(line: &str, is_v2: bool, controllers: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let (root, mount) = (left.get(3)?, left.get(4)?);
    let matches = match *right.first()? {
        "cgroup2" => is_v2,
        "cgroup" => !is_v2 && right.get(2)?.split(',').any(|option| controllers.contains(&option)),
        _ => false,
    };
    matches.then(|| (PathBuf::from(root), PathBuf::from(mount)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_shares_and_guest_time_counts_once() {
        let before = cpu_ticks("cpu  100 0 50 1000 10 0 5 20 30 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n").unwrap();
        let after = cpu_ticks("cpu  130 0 60 1040 10 0 5 40 60 0\n").unwrap();
        let shares = after.shares_since(&before, 7).unwrap();
        assert_eq!(
            (shares.span_ns, shares.busy, shares.steal, shares.io_wait),
            (7, 0.4, 0.2, 0.0)
        );
        assert_eq!(before.shares_since(&before, 7), None);
        // io_wait may step back.
        let back = CpuTicks { io_wait: 0, ..after };
        assert_eq!(back.shares_since(&before, 7).unwrap().io_wait, 0.0);
    }

    #[test]
    fn hostile_ticks_are_refused() {
        for text in [
            "",
            "cpu",
            "cpu  1 2 3",
            "cpu  1 2 3 x 5 6 7 8",
            "cpu0 1 2 3 4 5 6 7 8",
            "cpu  -1 2 3 4 5 6 7",
        ] {
            assert_eq!(cpu_ticks(text), None, "{text:?}");
        }
        assert_eq!(
            cpu_ticks("cpu  18446744073709551615 18446744073709551615 1 1 1 1 1 1"),
            None
        );
        // Kernels before 2.6.11 tell no steal time.
        assert_eq!(cpu_ticks("cpu  1 2 3 4 5 6 7").unwrap().steal, 0);
    }

    #[test]
    fn cpu_models_of_several_kinds_are_read() {
        let x86 =
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD  EPYC 9B45 \nmodel name\t: b\n";
        assert_eq!(cpu_model(x86).unwrap(), "AMD EPYC 9B45");
        assert_eq!(
            cpu_model("processor: 0\n\nModel : Raspberry Pi 4: B\n").unwrap(),
            "Raspberry Pi 4: B"
        );
        assert_eq!(cpu_model("model name\t:\n"), None);
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn lists_loads_and_names_are_read_or_refused() {
        assert_eq!(cpu_list_length("0-3,8,10-11\n"), Some(7));
        assert_eq!(cpu_list_length("0\n"), Some(1));
        for text in ["", "3-1", "a", "0-", "0-18446744073709551615"] {
            assert_eq!(cpu_list_length(text), None, "{text:?}");
        }
        assert_eq!(load_1m("1.12 0.30 0.34 1/89 22582\n"), Some(1.12));
        for text in ["", "nan 1", "inf", "-1 0"] {
            assert_eq!(load_1m(text), None, "{text:?}");
        }
        assert_eq!(
            os_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_name("NAME='Alpine'\n").unwrap(), "Alpine");
        assert_eq!(os_name("NAME=\"\u{1b}[31mx\"\n").unwrap(), "[31mx");
        assert_eq!(os_name("ID=x\nNAME=\"\"\n"), None);
        assert_eq!(os_name("NAME=\"\nVERSION=1").unwrap(), "\"");
    }

    #[test]
    fn limits_of_both_versions_are_read() {
        assert_eq!(cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(cpu_max("max 100000\n"), None);
        assert_eq!(cpu_max("100 0"), None);
        assert_eq!(cpu_max(""), None);
        assert_eq!(cpu_quota("-1\n", "100000\n"), None);
        assert_eq!(cpu_quota("50000\n", "100000\n"), Some(0.5));
        assert_eq!(memory_limit("max\n"), None);
        assert_eq!(memory_limit("9223372036854771712\n"), Some(9_223_372_036_854_771_712));
    }

    #[test]
    fn the_groups_of_version_2_are_walked_up_to_the_root() {
        let mounts = "24 1 0:22 / /proc rw - proc proc rw\n31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        let dirs = cgroup_dirs("0::/user.slice/a b:c\n", mounts);
        let expected = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup/user.slice/a b:c",
        ];
        assert_eq!(dirs, expected.map(PathBuf::from));
    }

    #[test]
    fn the_groups_of_version_1_are_found_by_controller_also_inside_a_container() {
        let groups = "4:memory:/docker/abc\n3:cpuset:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n";
        let mounts = "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
            36 31 0:33 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct",
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/memory/docker",
            "/sys/fs/cgroup/memory/docker/abc",
        ];
        assert_eq!(cgroup_dirs(groups, mounts), expected.map(PathBuf::from));
        // A container that sees its own group as the root but is told its path outside.
        let dirs = cgroup_dirs(
            "4:memory:/elsewhere\n",
            "3 1 0:2 /docker /m rw - cgroup cgroup rw,memory\n",
        );
        assert_eq!(dirs, [PathBuf::from("/m")]);
        assert_eq!(cgroup_dirs("rubbish\n1:\n", "rubbish - \n"), Vec::<PathBuf>::new());
    }

    proptest::proptest! {
        #[test]
        fn readers_survive_any_text(text in "[ -~\n\t]*", other in "[ -~\n\t]*") {
            let _ = (cpu_ticks(&text), cpu_model(&text), cpu_list_length(&text), load_1m(&text), os_name(&text));
            let _ = (cpu_max(&text), cpu_quota(&text, &other), memory_limit(&text), cgroup_dirs(&text, &other));
        }
    }
}
