//! Workflows that go wrong: each has a clear outcome.

use crate::fixture::{Broker, call, known, run, stats, until, way};
use serde_json::{Value, json};

#[tokio::test]
async fn bad_input_is_refused_with_its_cause() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _worker = broker.worker("w1", &["--poison", "venom"]).await;
    let _orchestrator = broker.orchestrator(&["--max-content", "1000"]).await;
    known(&client, "w1").await;

    // What is no workflow never becomes one.
    for (workflow, code, cause) in [
        (json!({ "content": "a" }), 400, "malformed-request"),
        (json!({ "file": "a" }), 400, "invalid-request"),
        (
            json!({ "file": "a", "content": "x".repeat(1_001) }),
            413,
            "content-too-large",
        ),
    ] {
        let refusal = call(&client, "run", &workflow).await.unwrap_err();
        assert_eq!(
            (refusal.code, &refusal.details["cause"]),
            (code, &json!(cause)),
            "{refusal}"
        );
    }
    let counts = stats(&client).await;
    assert_eq!((&counts["pending"], &counts["failed"]), (&json!(0), &json!(0)));

    // What is one fails with a cause.
    let wrong_hash = blake3::hash(b"other").to_hex().to_string();
    for (workflow, cause, words) in [
        (
            json!({ "file": "a", "content": "a", "steps": ["metadata", "translate"] }),
            "unknown-capability",
            "no instance offers the capability 'translate'",
        ),
        (
            json!({ "file": "a", "content": "a", "hash": wrong_hash }),
            "hash-mismatch",
            "422",
        ),
        (
            json!({ "file": "a", "content": "some venom" }),
            "worker-failed",
            "panicked",
        ),
    ] {
        let outcome = run(&client, &workflow).await;
        assert_eq!(
            (&outcome["state"], &outcome["cause"]),
            (&json!("FAILED"), &json!(cause)),
            "{outcome}"
        );
        assert!(outcome["error"].as_str().unwrap().contains(words), "{outcome}");
        assert_eq!(outcome["stamp"], Value::Null);
        way(&outcome);
        let standing = call(&client, "get", &json!({ "id": outcome["id"] })).await.unwrap();
        assert_eq!(
            (&standing["state"], &standing["cause"]),
            (&json!("FAILED"), &json!(cause))
        );
    }
    // Poisonous content is to blame, and not the worker.
    let outcome = run(&client, &json!({ "file": "a", "content": "harmless" })).await;
    assert_eq!(outcome["state"], "COMPLETED", "{outcome}");

    // An illegal transition has a name, and an operator can wish for the failure of what has not ended alone.
    let id = &outcome["id"];
    let refusal = |to: &'static str| {
        let wish = json!({ "id": id, "to": to });
        let client = client.clone();
        async move { call(&client, "transition", &wish).await.unwrap_err() }
    };
    for to in ["PENDING", "PROCESSING", "COMPLETED", "FAILED"] {
        let illegal = refusal(to).await;
        assert_eq!(
            (illegal.code, &illegal.details["cause"]),
            (409, &json!("illegal-transition"))
        );
        assert_eq!(illegal.message, format!("illegal transition from COMPLETED to {to}"));
    }
    assert_eq!(refusal("LOST").await.code, 400);
    let unknown = call(&client, "transition", &json!({ "id": "nobody-1", "to": "FAILED" })).await;
    assert_eq!(unknown.unwrap_err().code, 404);
    assert_eq!(call(&client, "get", &json!({ "id": "" })).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn an_operator_ends_what_takes_too_long() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _worker = broker.worker("w1", &["--slow", "1h"]).await;
    let _orchestrator = broker.orchestrator(&["--call-timeout", "1h"]).await;
    known(&client, "w1").await;
    let submitted = call(&client, "submit", &json!({ "file": "a", "content": "a" }))
        .await
        .unwrap();
    assert_eq!(submitted["state"], "PENDING");
    let id = &submitted["id"];
    until("it is processed", || async {
        call(&client, "get", &json!({ "id": id })).await.unwrap()["state"] == "PROCESSING"
    })
    .await;
    let wish = |to: &str| json!({ "id": id, "to": to, "reason": "enough" });
    let refusal = call(&client, "transition", &wish("COMPLETED")).await.unwrap_err();
    assert_eq!(refusal.code, 403);
    let failed = call(&client, "transition", &wish("FAILED")).await.unwrap();
    let expected = json!({ "id": id, "state": "FAILED", "error": "enough", "cause": "ended-by-operator" });
    assert_eq!(failed, expected);
    let again = call(&client, "transition", &wish("FAILED")).await.unwrap_err();
    assert_eq!(again.message, "illegal transition from FAILED to FAILED");
}

#[tokio::test]
async fn without_workers_a_workflow_fails_and_says_so() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let list = "w1=metadata+tree+hook,w2=metadata+tree+hook";
    let few = ["--attempts", "6", "--backoff", "1ms"];
    let options = [
        &["--instances", list, "--breaker-failures", "1", "--breaker-open", "1h"],
        &few[..],
    ]
    .concat();
    let orchestrator = broker.orchestrator(&options).await;
    // All are listed, and none is there.
    let outcome = run(&client, &json!({ "file": "a", "content": "a" })).await;
    assert_eq!(outcome["state"], "FAILED", "{outcome}");
    assert_eq!(outcome["cause"], "instance-gone", "{outcome}");
    let outcome = run(&client, &json!({ "file": "a", "content": "a" })).await;
    assert_eq!(outcome["cause"], "no-instance", "{outcome}");
    assert!(outcome["error"].as_str().unwrap().contains("2 known"), "{outcome}");
    orchestrator.stop().await;

    // Nobody is even listed.
    let _orchestrator = broker.orchestrator(&few).await;
    let outcome = run(&client, &json!({ "file": "a", "content": "a" })).await;
    assert_eq!(
        (&outcome["state"], &outcome["cause"]),
        (&json!("FAILED"), &json!("no-instance")),
        "{outcome}"
    );
    assert_eq!(stats(&client).await["failed"], 3);
}

#[tokio::test]
async fn a_worker_that_is_killed_in_a_call_is_replaced_by_another() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let doomed = broker.worker("doomed", &["--slow", "1h"]).await;
    let _orchestrator = broker.orchestrator(&["--call-timeout", "3s"]).await;
    known(&client, "doomed").await;
    let running = {
        let client = client.clone();
        tokio::spawn(async move { run(&client, &json!({ "file": "a", "content": "a" })).await })
    };
    until("the calls have begun", || async {
        let stats = stats(&client).await;
        stats["instances"][0]["outstanding"]
            .as_u64()
            .is_some_and(|calls| calls > 0)
    })
    .await;
    doomed.kill().await;
    let _other = broker.worker("other", &[]).await;
    let outcome = crate::fixture::within("the workflow ends", running).await.unwrap();
    assert_eq!(outcome["state"], "COMPLETED", "{outcome}");
    assert!(outcome["retries"].as_u64().unwrap() >= 3, "{outcome}");
    way(&outcome);
    let failed = outcome["hops"].as_array().unwrap().iter();
    assert!(
        failed.clone().any(|hop| hop["hop"] == "metadata: failed attempt"),
        "{outcome}"
    );
}

#[tokio::test]
async fn the_breaker_of_a_worker_that_fails_opens_and_the_work_is_done_elsewhere() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _broken = broker.worker("broken", &["--fail-every", "1"]).await;
    let _sound = broker.worker("sound", &[]).await;
    let options = ["--breaker-failures", "3", "--breaker-open", "1h"];
    let _orchestrator = broker.orchestrator(&options).await;
    known(&client, "broken").await;
    known(&client, "sound").await;
    let breaker = async |instance: &str| {
        let stats = stats(&client).await;
        let all = stats["instances"].as_array().unwrap().clone();
        let one = all.into_iter().find(|known| known["id"] == instance).unwrap();
        one["breaker"].as_str().unwrap().to_owned()
    };
    assert_eq!(breaker("broken").await, "closed");
    until("the breaker opens", || async {
        let outcome = run(&client, &json!({ "file": "a", "content": "a" })).await;
        assert_eq!(outcome["state"], "COMPLETED", "{outcome}");
        breaker("broken").await == "open"
    })
    .await;
    let outcome = run(&client, &json!({ "file": "a", "content": "a" })).await;
    assert_eq!(outcome["retries"], 0, "nobody calls it any more: {outcome}");
    assert_eq!(breaker("sound").await, "closed");
}
