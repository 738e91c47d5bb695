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
