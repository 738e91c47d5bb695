//! Runs of each workflow, the health and the metrics.

use crate::client::{connect, request, send};
use crate::fixture::{NEVER_MS, Service, now_ns, until};
use crate::verify::{unstamped, verify};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const WORKFLOWS: [&str; 4] = ["account_analysis", "daily_review", "risk_assessment", "reference"];

/// A RunAgentInput.
fn input(thread_id: &str, run_id: &str, message: &str, forwarded: &Value) -> Value {
    json!({
        "threadId": thread_id, "runId": run_id, "state": {}, "tools": [], "context": [],
        "messages": [{ "id": "u1", "role": "user", "content": message }],
        "forwardedProps": forwarded,
    })
}

#[test]
fn every_workflow_keeps_to_the_protocol() {
    let service = Service::start(&[]);
    for workflow in WORKFLOWS {
        for account in 1..=5 {
            let body = json!({
                "account_id": format!("ACC-{account:06}"), "workflow": workflow,
                "thread_id": "thread-1", "run_id": format!("run-{account}"), "options": {},
            });
            let events = service.post(&body).events();
            let run = verify(&events, "thread-1", &format!("run-{account}")).unwrap();
            assert!(
                run.finished && !run.text.is_empty() && !run.tools.is_empty(),
                "{workflow}: {run:?}"
            );
            if workflow == "reference" {
                assert_eq!(
                    run.state,
                    json!({ "account_id": format!("ACC-{account:06}"), "status": "done" })
                );
                assert_eq!(events.len(), 20);
                continue;
            }
            assert_eq!(run.state["completed_steps"], json!(run.steps), "{workflow}");
            assert!(["approved", "review"].contains(&run.state["approval"]["decision"].as_str().unwrap()));
            let scores = run.state["findings"].as_object().unwrap();
            assert_eq!(scores.len(), run.state["accounts"].as_array().unwrap().len());
            let first = run.state["accounts"][0]["id"].as_str().unwrap();
            assert_eq!(scores[first].get("risk").is_some(), workflow == "risk_assessment");
            for advice in run.state["recommendations"].as_array().unwrap() {
                assert!(run.text.contains(advice["text"].as_str().unwrap()), "{advice}");
            }
        }
    }
}

#[test]
fn a_run_agent_input_gives_the_same_events_as_the_plain_body() {
    let service = Service::start(&[]);
    for (workflow, message) in [
        ("account_analysis", "Tell me about ACC-000002"),
        ("daily_review", "Daily review around ACC-000002, please"),
        ("risk_assessment", "How risky is acc-000002?"),
        ("reference", "The reference run for ACC-000002"),
    ] {
        let plain = json!({ "account_id": "ACC-000002", "workflow": workflow, "thread_id": "t ü", "run_id": "r\"1\"" });
        let plain = service.post(&plain).events();
        verify(&plain, "t ü", "r\"1\"").unwrap();
        let spoken = service.post(&input("t ü", "r\"1\"", message, &json!(null))).events();
        let forwarded = json!({ "workflow": workflow, "account_id": "ACC-000002" });
        let forwarded = service.post(&input("t ü", "r\"1\"", "Hello", &forwarded)).events();
        assert_eq!(unstamped(&plain), unstamped(&spoken), "{workflow}");
        assert_eq!(unstamped(&plain), unstamped(&forwarded), "{workflow}");
    }
}

#[test]
fn runs_without_ids_are_given_different_ones() {
    let service = Service::start(&[]);
    let mut ids: Vec<String> = (0..4)
        .map(|_| {
            let events = service.post(&json!({ "workflow": "reference" })).events();
            let [thread_id, run_id] = ["threadId", "runId"].map(|field| events[0][field].as_str().unwrap().to_owned());
            verify(&events, &thread_id, &run_id).unwrap();
            run_id
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn an_unknown_account_is_an_error_of_the_run() {
    let service = Service::start(&[]);
    for workflow in WORKFLOWS {
        let body = json!({ "account_id": "ACC-999999", "workflow": workflow, "thread_id": "t", "run_id": "r" });
        let events = service.post(&body).events();
        assert!(!verify(&events, "t", "r").unwrap().finished);
        let last = events.last().unwrap();
        assert_eq!(
            (&last["type"], &last["code"]),
            (&json!("RUN_ERROR"), &json!("unknown_account"))
        );
    }
    assert_eq!(
        service.metric("ag_ui_runs_total{workflow=\"reference\",outcome=\"error\"}"),
        1.0
    );
}

#[test]
fn a_pace_lies_between_all_events() {
    const PACE_MS: u64 = 3;
    let service = Service::start(&["--pace", "1h"]);
    let body = json!({
        "account_id": "ACC-000001", "workflow": "reference", "thread_id": "t", "run_id": "r",
        "options": { "pace_ms": PACE_MS },
    });
    let sent_ns = now_ns();
    let events = service.post(&body).events();
    verify(&events, "t", "r").unwrap();
    // Never early; how late is the machine's business.
    for (event, place) in events.iter().zip(0..) {
        let after_ns = event["rawEvent"]["emitNs"].as_u64().unwrap() - sent_ns;
        assert!(after_ns >= place * PACE_MS * 1_000_000, "{place}: {after_ns} ns");
    }
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let service = Service::start(&["--heartbeat", "20ms"]);
    let body = json!({ "workflow": "reference", "options": { "pace_ms": NEVER_MS } });
    let mut response = service.post(&body);
    assert!(response.event().is_some());
    for _ in 0..3 {
        assert_eq!(response.line().as_deref(), Some(": keep-alive"));
        assert_eq!(response.line().as_deref(), Some(""));
    }
}

#[test]
fn metrics_count_what_was_received() {
    let service = Service::start(&["--threads", "2"]);
    let mut received: BTreeMap<String, f64> = BTreeMap::new();
    let mut total = 0.0;
    for round in 0..8 {
        for workflow in WORKFLOWS {
            let body = json!({ "account_id": format!("ACC-{:06}", round + 1), "workflow": workflow });
            for event in service.post(&body).events() {
                *received.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1.0;
                total += 1.0;
            }
        }
    }
    for (kind, count) in &received {
        let name = format!("ag_ui_events_total{{type=\"{kind}\"}}");
        assert_eq!(service.metric(&name), *count, "{kind}");
    }
    assert_eq!(received.len(), 14);
    assert_eq!(service.metric("ag_ui_events_total{type=\"RUN_ERROR\"}"), 0.0);
    assert_eq!(service.metric("ag_ui_event_latency_seconds_count"), total);
    assert_eq!(service.metric("ag_ui_event_latency_seconds_bucket{le=\"+Inf\"}"), total);
    // A run is over a moment after its last byte has come.
    until("all streams are closed", || {
        service.metric("ag_ui_concurrent_streams") == 0.0
    });
    for workflow in WORKFLOWS {
        let name = format!("ag_ui_runs_total{{workflow=\"{workflow}\",outcome=\"finished\"}}");
        assert_eq!(service.metric(&name), 8.0);
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_run() {
    let service = Service::start(&[]);
    let body = json!({ "workflow": "reference", "options": { "pace_ms": NEVER_MS } });
    let mut response = service.post(&body);
    assert_eq!(response.event().unwrap().1["type"], "RUN_STARTED");
    assert_eq!(service.metric("ag_ui_concurrent_streams"), 1.0);
    let cancelled = "ag_ui_runs_total{workflow=\"reference\",outcome=\"cancelled\"}";
    assert_eq!(service.metric(cancelled), 0.0);
    drop(response);
    until("the run is cancelled", || service.metric(cancelled) == 1.0);
    until("its stream is closed", || {
        service.metric("ag_ui_concurrent_streams") == 0.0
    });
    assert_eq!(service.metric("ag_ui_events_total{type=\"RUN_STARTED\"}"), 1.0);
    assert_eq!(service.metric("ag_ui_events_total{type=\"STATE_SNAPSHOT\"}"), 0.0);
}

#[test]
fn health_tells_how_it_stands() {
    let service = Service::start(&[]);
    let response = service.get("/api/copilotkit/health");
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        response.json(),
        json!({ "status": "ok", "open_runs": 0, "accounts": 40 })
    );
    assert_eq!(
        request(service.address, "HEAD", "/api/copilotkit/health", &[], b"").status,
        200
    );
}

#[test]
fn a_connection_serves_many_runs() {
    let service = Service::start(&["--threads", "1"]);
    let body = json!({ "workflow": "reference", "thread_id": "t", "run_id": "r" }).to_string();
    let headers = [("Content-Type", "application/json")];
    let stream = connect(service.address);
    for _ in 0..50 {
        let copy = stream.try_clone().unwrap();
        let copy = send(copy, "POST", "/api/copilotkit", &headers, body.as_bytes());
        let events = crate::client::Response::read(copy).events();
        verify(&events, "t", "r").unwrap();
    }
}
