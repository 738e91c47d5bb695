//! What was accepted is ended, whatever is killed in between, and counts once.

use crate::fixture::{Broker, call, known, run, stats, until};
use async_nats::Client;
use async_nats::jetstream;
use serde_json::json;
use std::collections::BTreeSet;

/// Waits until nothing is left to do.
async fn all_ended(client: &Client, workflows: u32) {
    until("every workflow has ended and every stamp is delivered", || async {
        let stats = stats(client).await;
        let ended = stats["completed"].as_u64().unwrap() + stats["failed"].as_u64().unwrap();
        ended == u64::from(workflows) && stats["stamps"]["waiting"] == 0
    })
    .await;
}

#[tokio::test]
async fn an_orchestrator_that_is_killed_ends_later_what_it_had_accepted() {
    const SUBMITTED: u32 = 60;
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _registry = broker.service("registry", "g1", &[]).await;
    let _workers = [
        broker.worker("w1", &["--slow", "100ms"]).await,
        broker.worker("w2", &["--slow", "100ms"]).await,
    ];
    let _reducer = broker.reducer().await;
    // So few at once that some are pending, some processed and some completed when it is killed.
    let orchestrator = broker.orchestrator(&["--concurrency", "8"]).await;
    known(&client, "w1").await;
    let mut ids = BTreeSet::new();
    for n in 0..SUBMITTED {
        let workflow = json!({ "file": "a", "content": format!("{n}"), "stamp": format!("t{n}") });
        let submitted = call(&client, "submit", &workflow).await.unwrap();
        ids.insert(submitted["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), SUBMITTED as usize);
    until("some have ended", || async {
        stats(&client).await["completed"].as_u64().unwrap() > 0
    })
    .await;
    orchestrator.kill().await;

    let orchestrator = broker.orchestrator(&[]).await;
    all_ended(&client, SUBMITTED).await;
    let counts = stats(&client).await;
    assert_eq!(
        (&counts["pending"], &counts["processing"]),
        (&json!(0), &json!(0)),
        "{counts}"
    );
    assert_eq!(
        (&counts["completed"], &counts["failed"]),
        (&json!(SUBMITTED), &json!(0)),
        "{counts}"
    );
    for id in &ids {
        assert_eq!(
            call(&client, "get", &json!({ "id": id })).await.unwrap()["state"],
            "COMPLETED"
        );
    }
    broker.reduced_to(SUBMITTED as usize).await;
    orchestrator.stop().await;
    broker.reduced_to(SUBMITTED as usize).await;
}

#[tokio::test]
async fn stamps_wait_for_a_reducer_that_is_away() {
    const WORKFLOWS: u32 = 20;
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _worker = broker.worker("w1", &[]).await;
    let orchestrator = broker.orchestrator(&["--stored-limit", "100ms"]).await;
    known(&client, "w1").await;
    for n in 1..WORKFLOWS {
        let outcome = run(
            &client,
            &json!({ "file": "a", "content": "a", "stamp": format!("t{n}") }),
        )
        .await;
        assert_eq!(
            (&outcome["state"], &outcome["stored"]),
            (&json!("COMPLETED"), &json!(false))
        );
    }
    let waited = json!({ "file": "a", "content": "a", "stamp": "t0", "until": "stored" });
    let outcome = run(&client, &waited).await;
    assert_eq!(
        (&outcome["state"], &outcome["cause"]),
        (&json!("COMPLETED"), &json!("not-stored")),
        "{outcome}"
    );
    // The outbox is as durable as the workflows are.
    orchestrator.kill().await;
    let orchestrator = broker.orchestrator(&[]).await;
    assert_eq!(stats(&client).await["stamps"]["delivered"], 0);
    let _reducer = broker.reducer().await;
    all_ended(&client, WORKFLOWS).await;
    until("all are confirmed", || async {
        stats(&client).await["stamps"]["delivered"] == WORKFLOWS
    })
    .await;
    broker.reduced_to(WORKFLOWS as usize).await;
    orchestrator.stop().await;
    let _orchestrator = broker.orchestrator(&[]).await;
    assert_eq!(stats(&client).await["stamps"]["waiting"], 0);
}

#[tokio::test]
async fn workflows_from_jetstream_are_taken_once_and_what_is_none_is_left_out() {
    const PUBLISHED: u32 = 40;
    let broker = Broker::start(true).await;
    let client = broker.client().await;
    let _worker = broker.worker("w1", &["--slow", "50ms"]).await;
    let _reducer = broker.reducer().await;
    let orchestrator = broker.orchestrator(&["--jetstream", "--concurrency", "4"]).await;
    known(&client, "w1").await;
    let context = jetstream::new(client.clone());
    until("the stream is there", || async {
        context.get_stream("WORKFLOWS").await.is_ok()
    })
    .await;
    for n in 0..PUBLISHED {
        let workflow = json!({ "file": "a", "content": format!("{n}"), "stamp": format!("t{n}") }).to_string();
        let acknowledged = context.publish("workflow.submit", workflow.into()).await.unwrap();
        acknowledged.await.unwrap();
    }
    context
        .publish("workflow.submit", "no workflow".into())
        .await
        .unwrap()
        .await
        .unwrap();
    until("some have ended", || async {
        stats(&client).await["completed"].as_u64().unwrap() > 0
    })
    .await;
    orchestrator.kill().await;

    // What was not acknowledged comes again after this time.
    let orchestrator = broker.orchestrator(&["--jetstream", "--ack-wait", "1s"]).await;
    all_ended(&client, PUBLISHED).await;
    until("the stream is empty", || async {
        let stream = context.get_stream("WORKFLOWS").await.unwrap();
        stream.cached_info().state.messages == 0
    })
    .await;
    let counts = stats(&client).await;
    assert_eq!(
        (&counts["completed"], &counts["failed"]),
        (&json!(PUBLISHED), &json!(0)),
        "{counts}"
    );
    broker.reduced_to(PUBLISHED as usize).await;
    orchestrator.stop().await;
    broker.reduced_to(PUBLISHED as usize).await;
}
