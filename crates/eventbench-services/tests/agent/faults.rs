//! Each fault shows, and as what it is.

use crate::fixture::{Service, now_ns};
use crate::verify::verify;
use serde_json::{Value, json};

fn body(workflow: &str) -> Value {
    json!({ "account_id": "ACC-000003", "workflow": workflow, "thread_id": "t", "run_id": "r" })
}

#[test]
fn every_second_run_breaks_the_rule_of_its_fault() {
    for (fault, rule) in [
        ("truncate=2", "ends without"),
        ("wrong-ids=2", "another runId"),
        ("unknown-tool-result=2", "unknown call"),
        ("bad-delta=2", "does not apply"),
    ] {
        let service = Service::start(&["--fault", fault]);
        for workflow in crate::runs::WORKFLOWS {
            let sound = service.post(&body(workflow)).events();
            assert!(verify(&sound, "t", "r").unwrap().finished, "{fault}");
            let faulty = service.post(&body(workflow)).events();
            let found = verify(&faulty, "t", "r").unwrap_err();
            assert!(found.contains(rule), "{fault}: {found}");
        }
        let truncated = service.metric("ag_ui_runs_total{workflow=\"reference\",outcome=\"truncated\"}");
        assert_eq!(truncated, if fault == "truncate=2" { 1.0 } else { 0.0 });
    }
}

#[test]
fn dropped_events_are_missing() {
    let service = Service::start(&["--fault", "drop-every=10"]);
    let events = service.post(&body("reference")).events();
    assert_eq!(events.len(), 18);
    assert!(verify(&events, "t", "r").is_err());
    assert_eq!(service.metric("ag_ui_events_total{type=\"RUN_FINISHED\"}"), 0.0);
    assert_eq!(service.metric("ag_ui_events_total{type=\"TEXT_MESSAGE_CONTENT\"}"), 7.0);
}

#[test]
fn a_held_event_comes_late_after_it_was_emitted() {
    // Of each event of each run: how long at least it takes, in ms.
    for (fault, least_ms) in [
        ("slow=20ms", [[20; 20], [20; 20]]),
        (
            "stall=300ms:2",
            [[0; 20], std::array::from_fn(|place| if place == 9 { 300 } else { 0 })],
        ),
    ] {
        let service = Service::start(&["--fault", fault]);
        for least_ms in least_ms {
            let mut response = service.post(&body("reference"));
            let mut events = Vec::new();
            while let Some((_, event)) = response.event() {
                let late_ns = now_ns() - event["rawEvent"]["emitNs"].as_u64().unwrap();
                let least_ms: u64 = least_ms[events.len()];
                assert!(late_ns >= least_ms * 1_000_000, "{fault}: {late_ns} ns, {event}");
                events.push(event);
            }
            assert!(verify(&events, "t", "r").unwrap().finished);
        }
        // The service's own figure tells it as well.
        let held = if fault.starts_with("slow") { 40.0 } else { 1.0 };
        let in_time = service.metric("ag_ui_event_latency_seconds_bucket{le=\"0.01\"}");
        assert!(in_time <= 40.0 - held, "{fault}: {in_time}");
    }
}
