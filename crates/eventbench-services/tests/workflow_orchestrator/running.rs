//! Workflows that go well.

use crate::fixture::{Broker, call, call_with, known, now_ns, run, stats, until, way, within};
use async_nats::HeaderMap;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_workflow_passes_through_its_states_and_its_stamp_is_stored() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let mut deliveries = client.subscribe("test.hook").await.unwrap();
    let acknowledging = client.clone();
    let delivered = tokio::spawn(async move {
        let delivery = deliveries.next().await.unwrap();
        acknowledging
            .publish(delivery.reply.unwrap(), "thanks".into())
            .await
            .unwrap();
        serde_json::from_slice::<Value>(&delivery.payload).unwrap()
    });
    let _registry = broker.service("registry", "g1", &[]).await;
    let _metadata = broker.service("worker", "w1", &["--capability", "metadata"]).await;
    let _tree = broker.service("worker", "w2", &["--capability", "tree"]).await;
    let hook = [
        "--capability",
        "hook",
        "--hook-subject",
        "test.hook",
        "--hook-timeout",
        "60s",
    ];
    let _hook = broker.service("worker", "w3", &hook).await;
    let _reducer = broker.reducer().await;
    let _orchestrator = broker.orchestrator(&[]).await;
    until("the registry knows all three", || async {
        let stats = stats(&client).await;
        let instances = stats["instances"].as_array().unwrap();
        stats["source"] == "registry" && instances.iter().filter(|known| known["healthy"] == true).count() == 3
    })
    .await;

    let mut events = client.subscribe("workflow.*.state").await.unwrap();
    client.flush().await.unwrap();
    let content = "{\"a\": \"é\"}\n";
    let workflow = json!({
        "file": "a.json", "content": content, "namespace": "ns", "stamp": "eb1.tag", "until": "stored",
    });
    let mut headers = HeaderMap::new();
    let begin_ns = now_ns();
    headers.insert("Eb-Intended-Ns", begin_ns.to_string().as_str());
    let reply = call_with(&client, "run", &workflow, headers).await;
    let end_ns = now_ns();
    let outcome: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(outcome["state"], "COMPLETED", "{outcome}");
    assert_eq!((&outcome["stored"], &outcome["error"]), (&json!(true), &Value::Null));
    let id = outcome["id"].as_str().unwrap();
    let stamp = &outcome["stamp"];
    let hash = blake3::hash(content.as_bytes()).to_hex().to_string();
    assert_eq!(stamp["hash"], hash);
    assert_eq!((&stamp["id"], &stamp["tag"]), (&json!(id), &json!("eb1.tag")));
    assert_eq!(
        (&stamp["bytes"], &stamp["content_type"]),
        (&json!(content.len()), &json!("application/json"))
    );
    assert_eq!(within("the delivery", delivered).await.unwrap(), workflow);

    for state in ["PENDING", "PROCESSING", "COMPLETED"] {
        let event = within("a state", events.next()).await.unwrap();
        assert_eq!(event.subject.as_str(), format!("workflow.{id}.state"));
        let event: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!((&event["id"], &event["state"]), (&json!(id), &json!(state)));
    }

    let way = way(&outcome);
    let names: Vec<&str> = way.iter().map(|(name, _, _)| name.as_str()).collect();
    let begin = [
        "orchestrator: wait",
        "orchestrator: accept",
        "orchestrator: start",
        "services",
    ];
    assert_eq!(names[..4], begin);
    assert_eq!(names[4..6], ["orchestrator: outcome committed", "stamp to the reducer"]);
    assert_eq!(names[names.len() - 2..], ["reducer: way back", "orchestrator: finish"]);
    assert!(names.contains(&"reducer: row committed"), "{names:?}");
    assert!(begin_ns <= way[0].1 && way[way.len() - 1].2 <= end_ns, "{way:?}");
    let parts: BTreeSet<&str> = outcome["hops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hop| hop["within"] == "services")
        .map(|hop| hop["hop"].as_str().unwrap())
        .collect();
    for capability in ["metadata", "tree", "hook"] {
        for what in ["way there", "work", "way back"] {
            assert!(parts.contains(format!("{capability}: {what}").as_str()), "{parts:?}");
        }
    }
    for (times, count) in [("transition_ns", 2), ("calls_ns", 1), ("work_ns", 1)] {
        assert_eq!(outcome[times].as_array().unwrap().len(), count, "{times}");
    }
    // More if a worker that the machine held up seemed to be away at first.
    assert!(outcome["routing_ns"].as_array().unwrap().len() >= 3, "{outcome}");
    let row = format!("SELECT count(*) FROM stamps WHERE stamp_id = '{id}' AND tag = 'eb1.tag' AND hash = '{hash}'");
    assert_eq!(broker.reduced(&row), 1);
    let standing = call(&client, "get", &json!({ "id": id })).await.unwrap();
    assert_eq!(standing, json!({ "id": id, "state": "COMPLETED" }));
}

#[tokio::test]
async fn many_workflows_at_once_end_each_for_itself() {
    const WORKFLOWS: usize = 300;
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _workers = [broker.worker("w1", &[]).await, broker.worker("w2", &[]).await];
    let _reducer = broker.reducer().await;
    let orchestrator = broker.orchestrator(&["--concurrency", "64"]).await;
    known(&client, "w1").await;
    known(&client, "w2").await;
    let workflow =
        |n: usize| json!({"file": format!("{n}.txt"), "content": format!("content {n}"), "stamp": format!("t{n}")});
    let outcomes = futures_util::future::join_all((0..WORKFLOWS).map(|n| {
        let client = client.clone();
        async move { run(&client, &workflow(n)).await }
    }));
    let mut ids = BTreeSet::new();
    for (n, outcome) in outcomes.await.iter().enumerate() {
        assert_eq!(outcome["state"], "COMPLETED", "{outcome}");
        let hash = blake3::hash(format!("content {n}").as_bytes()).to_hex().to_string();
        assert_eq!(
            (&outcome["stamp"]["hash"], &outcome["stamp"]["tag"]),
            (&json!(hash), &json!(format!("t{n}")))
        );
        way(outcome);
        ids.insert(outcome["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), WORKFLOWS);
    let counts = stats(&client).await;
    assert_eq!(
        (&counts["completed"], &counts["processing"]),
        (&json!(WORKFLOWS), &json!(0))
    );
    broker.reduced_to(WORKFLOWS).await;
    orchestrator.stop().await;
    broker.reduced_to(WORKFLOWS).await;
}

#[tokio::test]
async fn a_hash_alone_is_enough() {
    let broker = Broker::start(false).await;
    let client = broker.client().await;
    let _worker = broker.worker("w1", &[]).await;
    let _orchestrator = broker.orchestrator(&["--instances", "w1=metadata+tree+hook"]).await;
    let hash = blake3::hash(b"unseen").to_hex().to_string();
    let outcome = run(&client, &json!({ "file": "a.CSV", "hash": hash.to_uppercase() })).await;
    assert_eq!(outcome["state"], "COMPLETED", "{outcome}");
    let stamp = &outcome["stamp"];
    assert_eq!(
        (&stamp["hash"], &stamp["content_type"]),
        (&json!(hash), &json!("text/csv"))
    );
    assert_eq!((&stamp["bytes"], &stamp["namespace"]), (&json!(0), &json!("default")));
    assert_eq!(stats(&client).await["source"], "list");
    let some = run(
        &client,
        &json!({ "file": "a.csv", "content": "a,b\n1,2\n", "steps": ["tree"] }),
    )
    .await;
    assert_eq!(
        (&some["state"], &some["stamp"]["hash"]),
        (&json!("COMPLETED"), &json!(""))
    );
    assert_eq!(some["routing_ns"].as_array().unwrap().len(), 1);
}
