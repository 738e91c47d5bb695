//! Machines that are as they should be, and each thing that can be wrong with one.

use super::*;
use std::path::PathBuf;

/// A machine with nothing to complain of.
pub(in crate::cli::doctor) fn quiet() -> Readings {
    let sleep = SleepTrial {
        sleeps: 200,
        p50_ns: 51_000,
        p99_ns: 180_000,
        max_ns: 400_000,
    };
    let disk = |dir: &str| Disk {
        dir: PathBuf::from(dir),
        trial: Ok(DiskTrial {
            writes: 30,
            p50_ns: 400_000,
            max_ns: 2_000_000,
        }),
    };
    Readings {
        machine: MachineReading {
            os: None,
            kernel: "Linux 6".to_owned(),
            architecture: "x86_64".to_owned(),
            cpu_model: None,
            logical_cpus: Some(8),
            allowed_cpus: Some((0..8).collect()),
            cgroup_cpus: None,
            cgroup_memory_bytes: None,
            memory_total_bytes: Some(16 << 30),
            memory_available_bytes: Some(12 << 30),
            load_1m: Some(0.4),
            governors: vec!["performance".to_owned()],
            clock_source: Some("tsc".to_owned()),
            clock_resolution_ns: 1,
            open_files_limit: Some(20_000),
            open_files_hard_limit: Some(20_000),
            suspended_ns: Some(0),
        },
        cpu: Some(CpuShares {
            span_ns: 200_000_000,
            busy: 0.02,
            steal: 0.0,
            io_wait: 0.0,
        }),
        precise_sleep: Ok(sleep),
        default_sleep: Ok(sleep),
        temporary: disk("/scratch"),
        history_disk: disk("."),
        broker: Broker::Found {
            program: "/opt/nats-server".into(),
            version: "2.15.1".to_owned(),
            origin: "PATH",
            notes: vec![],
        },
        history: HistoryState::Readable {
            path: "h.db".into(),
            runs: 1,
        },
    }
}

fn found<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    rows.iter()
        .find(|r| r.name == name)
        .unwrap_or_else(|| panic!("no row {name}"))
}

#[test]
fn a_quiet_machine_is_ok_in_every_row() {
    let rows = rows(&quiet());
    let complaints: Vec<&Row> = rows
        .iter()
        .filter(|r| r.verdict != Mark::Ok || r.prevents_runs)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(rows.iter().all(|r| !r.value.is_empty() && !r.meaning.is_empty()));
}

#[test]
fn each_fault_of_a_machine_is_found_by_its_row_alone() {
    type Break = fn(&mut Readings);
    let faults: &[(&str, Mark, Break, &str)] = &[
        (
            "cores",
            Mark::Bad,
            |r| r.machine.allowed_cpus = Some(vec![3]),
            "1 of 8 by affinity",
        ),
        (
            "cores",
            Mark::Mind,
            |r| r.machine.cgroup_cpus = Some(6.0),
            "the control group allows 6.0",
        ),
        (
            "cores",
            Mark::Mind,
            |r| r.machine.allowed_cpus = Some(vec![0, 1]),
            "compete",
        ),
        (
            "placement",
            Mark::Ok,
            |_| (),
            "broker=0+1, services=2+3+4, instrument=5+6+7, awake",
        ),
        (
            "placement",
            Mark::Mind,
            |r| r.machine.allowed_cpus = None,
            "the kernel moves the roles",
        ),
        ("load average", Mark::Mind, |r| r.machine.load_1m = Some(4.0), "4.00"),
        (
            "load average",
            Mark::Bad,
            |r| r.machine.load_1m = Some(8.0),
            "more wanted to run",
        ),
        (
            "CPU busy",
            Mark::Bad,
            |r| r.cpu.iter_mut().for_each(|c| c.busy = 0.5),
            "50 % in 200 ms",
        ),
        (
            "CPU stolen",
            Mark::Bad,
            |r| r.cpu.iter_mut().for_each(|c| c.steal = 0.14),
            "compare only within one run",
        ),
        (
            "CPU stolen",
            Mark::Mind,
            |r| r.cpu.iter_mut().for_each(|c| c.steal = 0.05),
            "trust medians",
        ),
        (
            "CPU frequency",
            Mark::Mind,
            |r| r.machine.governors = vec!["performance".into(), "powersave".into()],
            "powersave",
        ),
        (
            "clock source",
            Mark::Bad,
            |r| r.machine.clock_source = Some("hpet".into()),
            "hpet",
        ),
        (
            "clock source",
            Mark::Mind,
            |r| r.machine.clock_source = None,
            "not told",
        ),
        (
            "timer resolution",
            Mark::Bad,
            |r| r.machine.clock_resolution_ns = 4_000_000,
            "4.0 ms",
        ),
        (
            "sleep, precise",
            Mark::Mind,
            |r| r.precise_sleep.iter_mut().for_each(|t| t.p99_ns = 900_000),
            "p99 900 µs",
        ),
        (
            "sleep, precise",
            Mark::Bad,
            |r| r.precise_sleep.iter_mut().for_each(|t| t.p99_ns = 5_000_000),
            "invalid",
        ),
        (
            "sleep, precise",
            Mark::Mind,
            |r| r.precise_sleep = Err("no timer slack".into()),
            "no timer slack",
        ),
        (
            "sleep, default",
            Mark::Mind,
            |r| r.default_sleep.iter_mut().for_each(|t| t.p99_ns = 1_100_000),
            "p99 1.1 ms",
        ),
        (
            "open files",
            Mark::Mind,
            |r| r.machine.open_files_limit = Some(1024),
            "`ulimit -n 20000`",
        ),
        (
            "open files",
            Mark::Bad,
            |r| r.machine.open_files_limit = Some(200),
            "100 connections",
        ),
        (
            "memory",
            Mark::Bad,
            |r| r.machine.cgroup_memory_bytes = Some(256 << 20),
            "256 MiB",
        ),
        (
            "memory",
            Mark::Mind,
            |r| r.machine.memory_available_bytes = Some(1 << 30),
            "1.0 GiB",
        ),
        (
            "disk, temporary",
            Mark::Mind,
            |r| {
                r.temporary.trial = Ok(DiskTrial {
                    writes: 30,
                    p50_ns: 900,
                    max_ns: 9_000,
                })
            },
            "memory or a cache",
        ),
        (
            "disk, temporary",
            Mark::Mind,
            |r| r.temporary.trial.iter_mut().for_each(|t| t.max_ns = 300_000_000),
            "300.0 ms",
        ),
        (
            "disk, history",
            Mark::Bad,
            |r| r.history_disk.trial = Err("read-only".into()),
            "--no-history",
        ),
        (
            "history",
            Mark::Bad,
            |r| r.history = HistoryState::Unreadable("h.db is no history".into()),
            "--no-history",
        ),
    ];
    for (name, mark, fault, said) in faults {
        let mut readings = quiet();
        fault(&mut readings);
        let rows = rows(&readings);
        let row = found(&rows, name);
        assert_eq!(row.verdict, *mark, "{row:?}");
        assert!(
            format!("{}: {}", row.value, row.meaning).contains(said),
            "{said:?} is not in {row:?}"
        );
        assert!(
            rows.iter().all(|r| r.name == *name || r.verdict == Mark::Ok),
            "{name}: another row complains too"
        );
        assert!(
            rows.iter().all(|r| !r.prevents_runs),
            "{name} does not keep anyone from running"
        );
    }
}

#[test]
fn placement_says_what_it_cannot_have() {
    let said = |allowed: &[usize], quota| {
        let mut readings = quiet();
        readings.machine.allowed_cpus = Some(allowed.to_vec());
        readings.machine.cgroup_cpus = quota;
        let row = placement::row_of(&readings.machine);
        assert_eq!(row.verdict, Mark::Ok, "{row:?}");
        format!("{}: {}", row.value, row.meaning)
    };
    assert!(said(&[4, 6], None).contains("broker=4, services=6, instrument=6, awake: it keeps"));
    let limited = said(&[4, 6], Some(1.5));
    assert!(
        limited.contains("instrument=6: it keeps") && limited.contains("cannot keep"),
        "{limited}"
    );
    assert!(said(&[4], None).contains("nothing to choose"));
}

#[test]
fn runs_are_impossible_without_a_broker_or_a_place_to_write() {
    let mut readings = quiet();
    readings.broker = Broker::Fetchable {
        with: "uv".into(),
        cache: "/cache".into(),
        why: "no nats-server found; get one".into(),
    };
    let fetchable = rows(&readings);
    let broker = found(&fetchable, "broker");
    assert!(
        broker.verdict == Mark::Mind && !broker.prevents_runs && broker.value.contains("with uv into /cache"),
        "{broker:?}"
    );

    readings.broker = Broker::None {
        why: "no nats-server found; get one".into(),
    };
    let without = rows(&readings);
    assert!(found(&without, "broker").prevents_runs && worst(&without) == Mark::Bad);

    let mut readings = quiet();
    readings.temporary.trial = Err("cannot write to /scratch".into());
    assert!(found(&rows(&readings), "disk, temporary").prevents_runs);
}
