//! Golden records: realistic runs of every outcome, built through the core's own types from simulated events.
//!
//! They are pure functions of nothing: the same record every time, on every machine (only additions, multiplications
//! and divisions of floats). They stand for runs in tests of reports and of the history; no figure of them was measured.

mod compared;
mod hops;
mod hostile;
mod large;
mod simulate;

pub use compared::{compared, latency};
pub use hops::hops;
pub use hostile::hostile;
pub use large::{MANY_INTERVALS_PEAK, many_intervals, one_hour};

use eventbench_core::judge::Verdict;
use eventbench_core::metric::Values;
use eventbench_core::record::{
    BaselineRecord, BenchmarkRecord, CheckResult, Ended, Environment, Mark, RECORD_VERSION, RunHead, RunRecord,
    TrialRecord,
};
use simulate::{Simulated, WARN_MARGIN, figures, limits};
use std::collections::BTreeMap;

/// Every golden record with its name.
pub fn records() -> Vec<(&'static str, RunRecord)> {
    vec![
        ("all-pass", all_pass()),
        ("warn", warn()),
        ("fail-with-losses", fail_with_losses()),
        ("no-data", no_data()),
        ("invalid", invalid()),
        ("interrupted", interrupted()),
        ("comparison", comparison()),
        ("failure-recovery", failure_recovery()),
        ("mixed-streams", mixed_streams()),
        ("compared", compared()),
        ("hops", hops()),
        ("hostile", hostile()),
        ("empty", empty()),
    ]
}

/// Latency, request/reply, throughput and memory, all within their limits.
pub fn all_pass() -> RunRecord {
    let single = Simulated {
        trials: 3,
        ..Simulated::new(11)
    };
    let reply = Simulated {
        rate: 200,
        closed: true,
        base_us: 210.0,
        observed: false,
        ..Simulated::new(12)
    };
    let sustained = Simulated {
        rate: 1_000,
        seconds: 4,
        base_us: 900.0,
        ..Simulated::new(13)
    };
    let memory = Simulated {
        seconds: 20,
        trials: 1,
        growth_bytes_per_s: 120.0,
        ..Simulated::new(14)
    };
    run(
        "20251103-142536-kqzv",
        vec![
            single.benchmark(
                "single-event-latency",
                "EB-1",
                "latency",
                &["must mean < 5ms", "should p(95) < 10ms", "must lost == 0"],
            ),
            reply.benchmark("request-reply-latency", "EB-2", "latency", &["must mean < 10ms"]),
            sustained.benchmark(
                "sustained-throughput",
                "EB-4",
                "throughput",
                &["must delivered.rate >= 100/s", "must stored.ratio >= 95%"],
            ),
            memory.benchmark(
                "memory-stability",
                "EB-8",
                "memory",
                &[
                    "should rss{process:store}.increase < 10%",
                    "may rss{process:store}.slope < 50MB/h",
                ],
            ),
        ],
    )
}

/// A limit missed by little, one that only should hold, one whose interval straddles it, and trials that spread.
pub fn warn() -> RunRecord {
    let concurrent = Simulated {
        rate: 500,
        base_us: 10_500.0,
        wander: 0.4,
        tail_us: 45_000.0,
        ..Simulated::new(21)
    };
    let mut benchmark = concurrent.benchmark(
        "concurrent-latency-50",
        "EB-3",
        "latency",
        &[
            "must mean < 10ms",
            "should p(99) < 20ms",
            "may max < 30ms",
            "must med < 10.5ms",
        ],
    );
    benchmark
        .warnings
        .push("the trials spread by ±40 % (more than 10 %): run more trials on a quieter machine".to_owned());
    run("20251104-090102-mbtw", vec![benchmark])
}

/// Events lost before and after their confirmation, duplicates, a store that cannot keep up.
pub fn fail_with_losses() -> RunRecord {
    let burst = Simulated {
        rate: 2_000,
        seconds: 3,
        base_us: 180_000.0,
        tail_us: 2_400_000.0,
        tail_every: 40,
        lose_every: 150,
        acked: true,
        store_cores: 0.98,
        duplicate_every: 400,
        ..Simulated::new(31)
    };
    let single = Simulated::new(32);
    run(
        "20251105-101112-fzdq",
        vec![
            single.benchmark("single-event-latency", "EB-1", "latency", &["must mean < 5ms"]),
            burst.benchmark(
                "burst",
                "EB-5",
                "throughput",
                &["must p(95) < 500ms", "must lost.acked == 0", "must stored.ratio >= 95%"],
            ),
        ],
    )
}

/// Too few samples for a percentile, and an observer that saw nothing.
pub fn no_data() -> RunRecord {
    let few = Simulated {
        rate: 10,
        seconds: 2,
        ..Simulated::new(41)
    };
    let blind = Simulated {
        lose_every: 1,
        ..Simulated::new(42)
    };
    let mut blind = blind.benchmark("wrong-subject", "EB-1", "latency", &["must mean < 5ms"]);
    blind
        .warnings
        .push("no event was seen where it must end: does the service listen to this subject?".to_owned());
    run(
        "20251106-111213-ndta",
        vec![
            few.benchmark("too-short", "EB-1", "latency", &["must p(99) < 5ms"]),
            blind,
        ],
    )
}

/// Cross-checks that fail, a late pacer and an instrument that takes the machine for itself.
pub fn invalid() -> RunRecord {
    let starved = Simulated {
        rate: 5_000,
        seconds: 2,
        late_us: 31_000.0,
        instrument_cores: 1.3,
        ..Simulated::new(51)
    };
    let mut benchmark = starved.benchmark("flood", "EB-4", "throughput", &["must delivered.rate >= 100/s"]);
    benchmark.checks.push(check(
        "pacer on time",
        Some(false),
        "lateness p(99) 46.4 ms, allowed 20 ms",
    ));
    benchmark.checks.push(check(
        "broker's count agrees",
        None,
        "the broker's monitoring did not answer",
    ));
    benchmark.verdict = Verdict::Invalid;
    run("20251107-121314-invd", vec![benchmark])
}

/// Stopped by the user in its second benchmark.
pub fn interrupted() -> RunRecord {
    let first = Simulated::new(61).benchmark("single-event-latency", "EB-1", "latency", &["must mean < 5ms"]);
    let mut second = Simulated {
        trials: 1,
        ..Simulated::new(62)
    }
    .benchmark("burst", "EB-5", "throughput", &["must stored.ratio >= 95%"]);
    second.interrupted = true;
    second.error = Some("interrupted in trial 2 of 3".to_owned());
    let mut record = run("20251108-131415-intr", vec![first, second]);
    record.run.ended = Ended::Interrupted;
    record.run.seconds = None;
    record.run.planned.push("memory-stability".to_owned());
    record
}

/// CPU and memory of the service behind a broker against the same service without one.
pub fn comparison() -> RunRecord {
    let overhead = |trial: u32, values: &mut Values| {
        values.gauge("cpu.overhead", 0.021 + 0.004 * f64::from(trial));
        values.gauge("cpu.overhead.ratio", 0.31 + 0.02 * f64::from(trial));
        values.gauge("cpu.overhead.per_event", 61_000.0 + 1_500.0 * f64::from(trial));
        values.gauge("rss.overhead", 0.061 + 0.002 * f64::from(trial));
        values.gauge("pss.overhead", 0.054 + 0.002 * f64::from(trial));
    };
    let mut cpu = Simulated {
        extra: Some(&overhead),
        ..Simulated::new(71)
    }
    .benchmark("cpu-overhead", "EB-6", "cpu", &["should cpu.overhead < 5pp"]);
    let direct = Simulated {
        base_us: 240.0,
        store_cores: 0.04,
        ..Simulated::new(72)
    };
    let trials: Vec<TrialRecord> = (1..=3)
        .map(|n| TrialRecord {
            variant: "direct".to_owned(),
            ..direct.trial(n)
        })
        .collect();
    cpu.baseline = Some(BaselineRecord {
        name: "direct".to_owned(),
        figures: figures(&trials),
    });
    // Interleaved as they are run: A B B A …
    cpu.trials = cpu
        .trials
        .into_iter()
        .zip(trials)
        .flat_map(|(a, b)| if a.number % 2 == 1 { [a, b] } else { [b, a] })
        .collect();
    let mut memory = cpu.clone();
    memory.name = "memory-overhead".to_owned();
    memory.requirement = Some("EB-7".to_owned());
    memory.category = "memory".to_owned();
    memory.limits = limits(&["should rss.overhead < 10%", "may pss.overhead < 10%"], &memory.trials);
    run("20251109-141516-cmpr", vec![cpu, memory])
}

/// A service stopped and started under load.
pub fn failure_recovery() -> RunRecord {
    let outage = |trial: u32, values: &mut Values| {
        values.gauge("downtime", 72e6 + 3e6 * f64::from(trial));
        values.gauge("restart", 41e6 + 2e6 * f64::from(trial));
        values.gauge("recovery", 80e6 + 3e6 * f64::from(trial));
        values.count("gap.sent", 40);
        values.count("gap.lost", 31);
        values.gauge("gap.recovered", 0.969);
    };
    let core = Simulated {
        rate: 500,
        seconds: 4,
        lose_between: Some((1_500, 1_531)),
        extra: Some(&outage),
        ..Simulated::new(81)
    };
    let mut core = core.benchmark(
        "restart",
        "EB-10",
        "failure-recovery",
        &["must gap.recovered >= 75%", "should restart < 100ms"],
    );
    for trial in &mut core.trials {
        trial.marks = vec![
            mark(3.0, "stop store"),
            mark(3.04, "start store"),
            mark(3.08, "store ready"),
        ];
    }
    let kept = Simulated {
        rate: 500,
        seconds: 4,
        acked: true,
        tail_us: 90_000.0,
        ..Simulated::new(82)
    };
    let mut kept = kept.benchmark(
        "restart-jetstream",
        "EB-10",
        "failure-recovery",
        &["must lost.acked == 0", "must lost == 0"],
    );
    for trial in &mut kept.trials {
        trial.marks = vec![mark(3.0, "kill store"), mark(3.05, "start store")];
    }
    run("20251110-151617-fail", vec![core, kept])
}

/// Four kinds of event at the same time, one of them with a loss; and a closed loop.
pub fn mixed_streams() -> RunRecord {
    let mixed = Simulated {
        rate: 400,
        streams: &["chat", "media", "user", "pm-command"],
        lose_between: Some((70, 72)),
        ..Simulated::new(91)
    };
    let closed = Simulated {
        rate: 2_000,
        seconds: 1,
        closed: true,
        observed: false,
        base_us: 150.0,
        ..Simulated::new(92)
    };
    run(
        "20251111-161718-mixd",
        vec![
            mixed.benchmark(
                "mixed-event-types",
                "EB-9",
                "concurrent",
                &["must delivered.rate >= 100/s", "should lost == 0"],
            ),
            closed.benchmark("closed-loop-calls", "RP-2", "rpc", &["may p(99) < 1ms"]),
        ],
    )
}

/// A run that was killed before anything was measured.
pub fn empty() -> RunRecord {
    let mut record = run("20251113-181920-mpty", Vec::new());
    record.run.planned = vec!["single-event-latency".to_owned(), "burst".to_owned()];
    record.run.ended = Ended::Unfinished;
    record.run.seconds = None;
    record
}

fn check(name: &str, holds: Option<bool>, detail: &str) -> CheckResult {
    CheckResult {
        name: name.to_owned(),
        holds,
        detail: detail.to_owned(),
    }
}

fn mark(at_s: f64, what: &str) -> Mark {
    Mark {
        at_s,
        what: what.to_owned(),
    }
}

fn run(id: &str, benchmarks: Vec<BenchmarkRecord>) -> RunRecord {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let seconds = benchmarks
        .iter()
        .flat_map(|b| &b.trials)
        .map(|t| t.warmup_s + t.measured_s + t.drain_s + 0.25)
        .sum();
    RunRecord {
        version: RECORD_VERSION,
        run: RunHead {
            id: id.to_owned(),
            suite: "event-bus".to_owned(),
            about: Some("A NATS event bus with a database service".to_owned()),
            profile: "standard".to_owned(),
            started_unix_ms: 1_762_179_936_000,
            seconds: Some(seconds),
            ended: Ended::Complete,
            overrides: Vec::new(),
            seed: 1,
            warn_margin: WARN_MARGIN,
            planned: benchmarks.iter().map(|b| b.name.clone()).collect(),
            plan: serde_json::json!({ "suite": { "name": "event-bus", "warn_margin": "0.2", "max_spread": "0.1" }, "profile": "standard" }),
            environment: Environment {
                os: "Linux".to_owned(),
                kernel: "6.8.0-45-generic".to_owned(),
                cpu: "Example CPU @ 2.60GHz".to_owned(),
                cores: 2,
                memory_bytes: 25_769_803_776,
                versions: text(&[("eventbench", "0.1.0"), ("nats-server", "2.15.1"), ("sqlite", "3.50.2")]),
                facts: text(&[
                    ("governor", "performance"),
                    ("load at start", "0.12"),
                    ("open files limit", "20000"),
                ]),
            },
            source: None,
            placement: None,
            pair: None,
            notes: Vec::new(),
        },
        benchmarks,
        comparison: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_every_time_and_of_every_outcome() {
        let (a, b) = (records(), records());
        for ((name, a), (_, b)) in a.iter().zip(&b) {
            assert_eq!(
                serde_json::to_string(a).unwrap(),
                serde_json::to_string(b).unwrap(),
                "{name}"
            );
        }
        let verdict = |name: &str| a.iter().find(|r| r.0 == name).map(|r| r.1.verdict()).unwrap();
        assert_eq!(verdict("all-pass"), Verdict::Pass);
        assert_eq!(verdict("warn"), Verdict::Warn);
        assert_eq!(verdict("fail-with-losses"), Verdict::Fail);
        assert_eq!(verdict("no-data"), Verdict::NoData);
        assert_eq!(verdict("invalid"), Verdict::Invalid);
        assert_eq!(verdict("empty"), Verdict::NoData);
        assert_eq!(verdict("comparison"), Verdict::Pass);
        assert_eq!(verdict("failure-recovery"), Verdict::Pass);
        assert_eq!(verdict("compared"), Verdict::Fail);
        assert_eq!(verdict("hops"), Verdict::Fail);
    }

    #[test]
    fn their_books_balance() {
        for (name, record) in records() {
            for trial in record.benchmarks.iter().flat_map(|b| &b.trials) {
                assert!(trial.ledger.balanced(), "{name}: {:?}", trial.ledger.total);
            }
        }
        let losses = fail_with_losses();
        let book = &losses.benchmarks[1].trials[0].ledger.total;
        assert!(
            book.lost_after_ack > 0 && book.lost_before_ack > 0 && book.duplicates > 0,
            "{book:?}"
        );
    }
}
