//! A run that was broken off is taken up again after the last event that the client knows.

use crate::fixture::{NEVER_MS, Service, until};
use crate::verify::{unstamped, verify};
use serde_json::{Value, json};

const NUMBERED: &str = "/api/copilotkit?resume=1";

fn body(run: &str) -> Value {
    json!({ "account_id": "ACC-000006", "workflow": "risk_assessment", "thread_id": "t", "run_id": run })
}

#[test]
fn a_run_goes_on_after_any_event() {
    let service = Service::start(&[]);
    let mut response = service.post_with(NUMBERED, &[], &body("r"));
    let whole: Vec<(Option<u64>, Value)> = std::iter::from_fn(|| response.event()).collect();
    let (ids, whole): (Vec<_>, Vec<_>) = whole.into_iter().unzip();
    let expected: Vec<Option<u64>> = (1..=ids.len() as u64).map(Some).collect();
    assert_eq!(ids, expected);
    verify(&whole, "t", "r").unwrap();
    for after in [0, 1, 7, whole.len() - 1] {
        let last = after.to_string();
        // The ids are enough: the request is kept.
        let ids_only = json!({ "threadId": "t", "runId": "r" });
        let mut rest = service.post_with("/api/copilotkit", &[("Last-Event-ID", &last)], &ids_only);
        let rest: Vec<(Option<u64>, Value)> = std::iter::from_fn(|| rest.event()).collect();
        let (ids, rest): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        assert_eq!(ids, expected[after..]);
        assert_eq!(unstamped(&rest), unstamped(&whole[after..]));
    }
    // After the last there is nothing, which is what tells an EventSource to stop.
    let last = whole.len().to_string();
    assert_eq!(
        service
            .post_with(NUMBERED, &[("Last-Event-ID", &last)], &body("r"))
            .status,
        204
    );
    let finished = "ag_ui_runs_total{workflow=\"risk_assessment\",outcome=\"finished\"}";
    until("the runs are over", || service.metric(finished) == 5.0);
}

#[test]
fn a_run_that_was_cancelled_goes_on() {
    let service = Service::start(&[]);
    let mut paced = body("r");
    paced["options"] = json!({ "pace_ms": NEVER_MS });
    let mut response = service.post_with(NUMBERED, &[], &paced);
    let first = response.event().unwrap();
    assert_eq!(first.0, Some(1));
    drop(response);
    let again = json!({ "thread_id": "t", "run_id": "r", "options": { "pace_ms": 0 } });
    let rest = service
        .post_with("/api/copilotkit", &[("Last-Event-ID", "1")], &again)
        .events();
    let mut whole = vec![first.1];
    whole.extend(rest);
    assert!(verify(&whole, "t", "r").unwrap().finished);
}

#[test]
fn a_run_that_is_not_kept_needs_its_whole_request() {
    let service = Service::start(&["--keep-runs", "1"]);
    let whole = service.post_with(NUMBERED, &[], &body("r")).events();
    service.post_with(NUMBERED, &[], &body("other")).events();
    let after = [("Last-Event-ID", "4")];
    let refused = service.post_with("/api/copilotkit", &after, &json!({ "threadId": "t", "runId": "r" }));
    assert_eq!(refused.status, 404);
    assert_eq!(refused.json()["error"]["code"], "unknown_run");
    let rest = service.post_with("/api/copilotkit", &after, &body("r")).events();
    assert_eq!(unstamped(&rest), unstamped(&whole[4..]));
    let mut wrong = body("r");
    wrong["workflow"] = json!("daily_review");
    let refused = service.post_with("/api/copilotkit", &after, &wrong);
    assert_eq!(refused.status, 409);
    let refused = service.post_with("/api/copilotkit", &after, &json!({ "workflow": "reference" }));
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (400, Some("missing_id"))
    );
}

#[test]
fn events_have_no_numbers_unless_they_are_asked_for() {
    let service = Service::start(&[]);
    let text = service.post(&body("r")).text();
    assert!(
        text.lines().all(|line| line.is_empty() || line.starts_with("data: ")),
        "{text}"
    );
}
