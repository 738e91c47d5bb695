//! The built-in plans on the fake driver and on virtual time: every benchmark, its books and its judgement, in milliseconds.

// A test may end by panicking.
#![allow(clippy::unwrap_used)]

use eventbench_core::event::{Event, Sink};
use eventbench_core::judge::Verdict;
use eventbench_core::plan::{Against, Overrides, Selection, Settings, Source, Suite, resolve};
use eventbench_core::record::BenchmarkRecord;
use eventbench_drivers::REGISTRY;
use eventbench_engine::Engine;
use eventbench_testkit::host::VirtualHost;
use std::sync::atomic::AtomicBool;

struct Deaf;

impl Sink for Deaf {
    fn hear(&mut self, _: Event) {}
}

/// Runs a suite with every driver replaced by the fake one.
fn run(text: &str, profile: &str, fake: &str, host: &VirtualHost) -> Vec<BenchmarkRecord> {
    let source = Source {
        name: "test".into(),
        text: text.into(),
    };
    let suite = Suite::parse(&source).unwrap();
    let mut plan = resolve(&suite, &source, profile, &Selection::default(), &Overrides::default()).unwrap();
    let drive = Settings::from_table(fake.parse().unwrap());
    for benchmark in &mut plan.benchmarks {
        benchmark.drive = drive.clone();
        benchmark.observe.clear();
        benchmark.fault.clear();
        benchmark.against = benchmark.against.take().map(|a| Against {
            drive: None,
            observe: Vec::new(),
            services: None,
            ..a
        });
    }
    let stop = AtomicBool::new(false);
    let engine = Engine {
        registry: REGISTRY,
        host,
        program: "unused".into(),
        nats_server: None,
        placement: None,
        stop: &stop,
    };
    let mut records = Vec::new();
    let finished = engine
        .run::<()>(&plan, &mut Deaf, |_, record| {
            records.push(record);
            Ok(())
        })
        .unwrap();
    assert!(finished.complete && finished.error.is_none());
    records
}

const EVENT_BUS: &str = include_str!("../../../suites/event-bus.toml");

#[test]
fn the_whole_event_bus_plan_balances() {
    for profile in ["quick", "standard"] {
        let records = run(
            EVENT_BUS,
            profile,
            "driver = \"fake\"\nlatency = \"2ms\"",
            &VirtualHost::new(),
        );
        assert_eq!(records.len(), 13);
        for record in records {
            for trial in &record.trials {
                let t = &trial.ledger.total;
                assert!(t.sent > 0, "{}: nothing was sent", record.name);
                assert_eq!((t.delivered, t.lost()), (t.sent, 0), "{}", record.name);
            }
            let mean = record
                .figure("response_time", &[], "mean")
                .and_then(|f| f.value)
                .unwrap();
            assert_eq!(mean, 2e6, "{}: on virtual time the mean is exact", record.name);
            assert!(
                record.checks.iter().all(|c| c.holds != Some(false)),
                "{}: {:?}",
                record.name,
                record.checks
            );
        }
    }
}

const ONE: &str = r#"
[suite]
name = "one"
[[benchmark]]
name = "b"
trials = 1
drive = { driver = "fake", latency = "1ms" }
load = { arrival = "constant", rate = "1000/s", duration = "10s", warmup = "1s" }
drain = "1s"
limits = ["p(99) < 5ms", "abandoned == 0", "acked.ratio == 100%"]
"#;

fn value(records: &[BenchmarkRecord], metric: &str, stat: &str) -> f64 {
    records[0].figure(metric, &[], stat).and_then(|f| f.value).unwrap()
}

#[test]
fn a_stall_shows_in_response_time_though_the_sender_never_waits() {
    let stall = "driver = \"fake\"\nlatency = \"1ms\"\nstall_at = \"4s\"\nstall_for = \"500ms\"";
    let records = run(ONE, "standard", stall, &VirtualHost::new());
    // 500 of 10,000 events waited for the end of the stall, evenly between 0 and 500 ms: the mean of all rises by 12.5 ms.
    let mean = value(&records, "response_time", "mean");
    assert!((mean - 13.475e6).abs() < 0.1e6, "{mean}");
    assert!(value(&records, "response_time", "p(99)") > 300e6);
    assert!(value(&records, "response_time", "med") < 1.1e6);
    assert_eq!(records[0].verdict, Verdict::Fail);
}

#[test]
fn silence_and_refusal_are_counted_and_fail() {
    let silent = "driver = \"fake\"\nlatency = \"1ms\"\ndrop_every = 10";
    let records = run(ONE, "standard", silent, &VirtualHost::new());
    let count = |metric: &str| value(&records, metric, "value");
    assert_eq!(
        (count("offered"), count("abandoned"), count("acked")),
        (10_000.0, 1_000.0, 9_000.0)
    );
    assert_eq!(records[0].verdict, Verdict::Fail);
    let refusing = "driver = \"fake\"\nlatency = \"1ms\"\nreject_every = 4";
    let records = run(ONE, "standard", refusing, &VirtualHost::new());
    let count = |metric: &str| value(&records, metric, "value");
    assert_eq!((count("rejected"), count("acked")), (2_500.0, 7_500.0));
    assert_eq!(records[0].verdict, Verdict::Fail);
}

#[test]
fn the_environment_moves_a_bound() {
    let text = ONE.replace("p(99) < 5ms", "mean < 5ms");
    let host = VirtualHost::new().with_env("BENCHMARK_LATENCY_MAX", "0.5");
    let records = run(&text, "standard", "driver = \"fake\"\nlatency = \"1ms\"", &host);
    let limit = &records[0].limits[0];
    assert_eq!(
        (limit.outcome, limit.overridden_by.as_deref()),
        (Verdict::Fail, Some("BENCHMARK_LATENCY_MAX=0.5"))
    );
}

fn users(load: &str, fake: &str) -> BenchmarkRecord {
    let suite = format!(
        "[suite]\nname = \"users\"\n[[benchmark]]\nname = \"users\"\ntrials = 1\ndrive = {{ driver = \"fake\", latency = \"1ms\" }}\nload = {{ arrival = \"users\", {load} }}\nlimits = [\"acked.ratio > 0%\"]\n"
    );
    let host = VirtualHost::new();
    run(&suite, "standard", fake, &host).swap_remove(0)
}

fn number(record: &BenchmarkRecord, metric: &str) -> f64 {
    record.figure(metric, &[], "value").and_then(|f| f.value).unwrap()
}

#[test]
fn virtual_users_come_one_by_one_and_each_waits_for_its_own_task() {
    // Who thinks for an hour takes one task: what is sent each second is who has come.
    let record = users(
        "users = 50, spawn_rate = \"10/s\", duration = \"8s\", think = { constant = \"1h\" }",
        "driver = \"fake\"\nlatency = \"100ms\"",
    );
    assert!(record.closed_loop);
    let sent: Vec<_> = record.trials[0].timeline.iter().map(|i| (i.second, i.sent)).collect();
    assert_eq!(sent[..5], [(0, 10), (1, 10), (2, 10), (3, 10), (4, 10)]);
    assert_eq!(number(&record, "offered"), 50.0);

    // 50 users that each take 0.1 s and think for 2 s on average, over 60 s of which the rise takes 5.
    let record = users(
        "users = 50, spawn_rate = \"10/s\", duration = \"60s\", think = { uniform = [\"1s\", \"3s\"] }",
        "driver = \"fake\"\nlatency = \"100ms\"\nreject_every = 10",
    );
    let turns: f64 = (0..50).map(|user| (60.0 - f64::from(user) / 10.0) / 2.1).sum();
    let offered = number(&record, "offered");
    assert!(
        (offered / turns - 1.0).abs() < 0.05,
        "{offered} tasks, about {turns} expected"
    );
    assert_eq!(offered, number(&record, "acked") + number(&record, "rejected"));
    assert!(number(&record, "rejected") > 100.0);
    // A user is never in two tasks at once, so none can begin late because of another.
    assert_eq!(number(&record, "abandoned"), 0.0);
}

#[test]
fn a_thousand_users_without_a_thought_are_all_served() {
    let record = users(
        "users = 1000, spawn_rate = \"1000/s\", duration = \"3s\"",
        "driver = \"fake\"\nlatency = \"100ms\"",
    );
    // 1,000 in flight at 100 ms each: 10,000 a second once all are there, half of it in the first.
    let offered = number(&record, "offered");
    assert!((24_000.0..=26_500.0).contains(&offered), "{offered}");
    assert_eq!(offered, number(&record, "acked"));
}

#[test]
fn a_spike_of_users_is_seen_in_what_is_sent() {
    let record = users(
        "stages = [{ users = 10, over = \"1s\" }, { users = 10, over = \"4s\" }, { users = 100, over = \"1s\" }, { users = 100, over = \"3s\" }, { users = 0, over = \"2s\" }], think = { pacing = \"1s\" }",
        "driver = \"fake\"\nlatency = \"10ms\"",
    );
    let sent = |second: u32| {
        let intervals = &record.trials[0].timeline;
        intervals.iter().find(|i| i.second == second).map_or(0, |i| i.sent)
    };
    assert_eq!((sent(2), sent(3), sent(7), sent(8)), (10, 10, 100, 100));
    assert!(sent(10) < 60, "{}", sent(10));
    assert_eq!(sent(11), 0);
}
