//! The registry and the node host: every beat is received, missing ones are noticed, and whatever holds the nodes up
//! shows.

use crate::fixture::{Broker, Process, call, refused, until};
use bytes::Bytes;
use eventbench_services::kit::caller::Caller;
use serde_json::{Value, json};

async fn states(caller: &Caller) -> Value {
    call(caller, "registry", "nodes", &json!({ "limit": 0 })).await
}

#[tokio::test]
async fn a_node_that_no_longer_beats_is_suspect_then_lost_and_comes_back() {
    let broker = Broker::start().await;
    let options = ["--beat-every", "500ms", "--suspect-after", "1", "--lost-after", "3"];
    let _registry = Process::registry(&broker, &options).await;
    let (caller, client) = (broker.caller().await, broker.client().await);
    let worker = json!({ "id": "w", "capabilities": ["metadata", "tree"], "subject": "rpc.worker.w" });
    call(&caller, "registry", "register", &worker).await;
    let instances = async |capability: &str| {
        let reply = call(&caller, "registry", "instances", &json!({ "capability": capability })).await;
        reply["instances"].as_array().unwrap().clone()
    };
    assert!(instances("absent").await.is_empty());
    // Which states a test sees depends on the machine; that they come in this order does not.
    let order = ["alive", "suspect", "lost"];
    let seen = std::cell::Cell::new(0);
    until("the node is lost", || async {
        let found = instances("tree").await;
        assert_eq!(
            (found[0]["id"].as_str(), found[0]["subject"].as_str()),
            (Some("w"), Some("rpc.worker.w"))
        );
        let state = order.iter().position(|state| found[0]["state"] == *state).unwrap();
        assert_eq!(found[0]["healthy"], json!(state == 0));
        assert!(state >= seen.get(), "from {} back to {state}", seen.get());
        seen.set(state);
        state == 2
    })
    .await;
    assert_eq!(
        states(&caller).await["states"],
        json!({ "alive": 0, "suspect": 0, "lost": 1 })
    );
    let seq = std::cell::Cell::new(0);
    until("a beat brings it back", || async {
        seq.set(seq.get() + 1);
        let beat = json!({ "id": "w", "seq": seq.get(), "at_ns": 1, "load": 0.5, "outstanding": 3 });
        client
            .publish("registry.beat", Bytes::from(beat.to_string()))
            .await
            .unwrap();
        client.flush().await.unwrap();
        let found = instances("metadata").await;
        let healthy = found[0]["healthy"] == true;
        if healthy {
            assert_eq!((&found[0]["load"], &found[0]["outstanding"]), (&json!(0.5), &json!(3)));
        }
        healthy
    })
    .await;
}

#[tokio::test]
async fn a_beat_that_asks_is_answered_and_nonsense_is_refused_and_counted() {
    let broker = Broker::start().await;
    let _registry = Process::registry(&broker, &[]).await;
    let (caller, client) = (broker.caller().await, broker.client().await);
    let ask = async |payload: &str| -> Value {
        let reply = client
            .request("registry.beat", Bytes::from(payload.to_owned()))
            .await
            .unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    };
    let beat = json!({ "id": "n", "seq": 4, "at_ns": 1, "load": 0, "outstanding": 0 }).to_string();
    let (first, again) = (ask(&beat).await, ask(&beat).await);
    assert_eq!(
        (&first["ok"], &first["seq"], &first["duplicate"]),
        (&json!(true), &json!(4), &json!(false))
    );
    assert_eq!(first["registered"], false);
    assert_eq!((&again["ok"], &again["duplicate"]), (&json!(true), &json!(true)));
    assert!(first["received_ns"].as_u64().unwrap() <= again["received_ns"].as_u64().unwrap());
    for wrong in [
        "",
        "{",
        "[]",
        r#"{"id":""}"#,
        r#"{"id":"n","load":-1}"#,
        r#"{"id":"n","seq":-1}"#,
    ] {
        let reply = ask(wrong).await;
        assert_eq!(reply["ok"], false, "{wrong}");
        assert!(!reply["reason"].as_str().unwrap().is_empty());
    }
    let beats = states(&caller).await["beats"].clone();
    assert_eq!(
        (&beats["received"], &beats["duplicates"], &beats["refused"]),
        (&json!(1), &json!(1), &json!(6))
    );
    let error = refused(&caller, "registry", "register", r#"{"id":"a","subject":"a.*"}"#).await;
    assert_eq!(error.code, 422, "{error}");
}

#[tokio::test]
async fn ten_thousand_beats_of_a_thousand_nodes_are_all_received() {
    let broker = Broker::start().await;
    let _registry = Process::registry(&broker, &[]).await;
    let nodes = Process::nodes(&broker, &["--nodes", "1000", "--beat", "off"]).await;
    let caller = broker.caller().await;
    let reply = call(&caller, "nodes", "beat", &json!({ "nodes": 1_000, "rounds": 10 })).await;
    assert_eq!(
        (&reply["sent"], &reply["confirmed"], &reply["error"]),
        (&json!(10_000), &json!(10_000), &Value::Null)
    );
    let lengths = ["beat_ns", "rounds_ns", "work_ns"].map(|name| reply[name].as_array().unwrap().len());
    assert_eq!(lengths, [10_000, 10, 1]);
    assert!(reply["second_half"].as_f64().unwrap() > 0.0);
    let registry = call(&caller, "registry", "nodes", &json!({})).await;
    let beats = &registry["beats"];
    assert_eq!(
        (&beats["received"], &beats["duplicates"], &beats["refused"]),
        (&json!(10_000), &json!(0), &json!(0))
    );
    let per_node = registry["nodes"].as_array().unwrap();
    assert_eq!(per_node.len(), 1_000);
    assert!(
        per_node
            .iter()
            .all(|node| node["beats"] == 10 && node["registered"] == true)
    );
    assert!(nodes.terminate().await.success());
    // They have taken their leave.
    assert_eq!(
        states(&caller).await["states"],
        json!({ "alive": 0, "suspect": 0, "lost": 0 })
    );
}

#[tokio::test]
async fn beats_go_one_after_the_other_or_together_on_one_thread_or_many() {
    let broker = Broker::start().await;
    let _registry = Process::registry(&broker, &[]).await;
    let caller = broker.caller().await;
    for threads in ["1", "2"] {
        let options = ["--nodes", "50", "--beat", "off", "--threads", threads];
        let nodes = Process::nodes(&broker, &options).await;
        for mode in ["parallel", "sequential"] {
            let asked = json!({ "nodes": 40, "rounds": 3, "mode": mode, "resources": true });
            let reply = call(&caller, "nodes", "beat", &asked).await;
            assert_eq!(
                (&reply["sent"], &reply["confirmed"]),
                (&json!(120), &json!(120)),
                "{mode}: {}",
                reply["error"]
            );
        }
        let lasting = call(
            &caller,
            "nodes",
            "beat",
            &json!({ "nodes": 5, "rounds": 0, "for_ms": 300 }),
        )
        .await;
        assert!(lasting["elapsed_ns"].as_u64().unwrap() >= 300_000_000);
        assert_eq!(lasting["sent"], lasting["confirmed"]);
        assert!(lasting["ticks"].as_u64().unwrap() > 0);
        let error = refused(&caller, "nodes", "beat", r#"{"nodes":51}"#).await;
        assert!(
            error.code == 400 && error.message.contains("this host has 50"),
            "{error}"
        );
        refused(&caller, "nodes", "beat", r#"{"rounds":100001}"#).await;
        refused(&caller, "nodes", "collect", r#"{"nodes":0}"#).await;
        assert!(nodes.terminate().await.success());
    }
    let received = states(&caller).await["beats"]["received"].as_u64().unwrap();
    assert!(received >= 480, "{received}");
}

#[tokio::test]
async fn nodes_beat_by_themselves_with_what_they_read_and_register_again_with_a_new_registry() {
    let broker = Broker::start().await;
    let registry = Process::registry(&broker, &[]).await;
    let options = ["--nodes", "20", "--beat-every", "20ms", "--capability", "sense"];
    let _nodes = Process::nodes(&broker, &options).await;
    let caller = broker.caller().await;
    let all_beat = async || {
        let known = call(&caller, "registry", "nodes", &json!({})).await;
        let nodes = known["nodes"].as_array().unwrap();
        let fine = |node: &Value| {
            node["beats"].as_u64().unwrap() >= 5
                && node["registered"] == true
                && node["resources"]["memory_total_bytes"].as_u64().unwrap() > 0
        };
        nodes.len() == 20 && nodes.iter().all(fine)
    };
    until("all nodes beat", all_beat).await;
    registry.kill();
    let _registry = Process::registry(&broker, &[]).await;
    until("all nodes are back", all_beat).await;
    let sensing = call(&caller, "registry", "instances", &json!({ "capability": "sense" })).await;
    assert_eq!(sensing["instances"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn without_a_registry_the_nodes_say_so_and_end() {
    let broker = Broker::start().await;
    let options = ["--nodes", "2", "--registry-limit", "1ms"];
    let nodes = Process::nodes(&broker, &options).await;
    assert!(!nodes.ended().await.success());
}

#[tokio::test]
async fn all_nodes_collect_at_once_and_what_is_cached_is_not_read_again() {
    let broker = Broker::start().await;
    let _registry = Process::registry(&broker, &[]).await;
    let options = [
        "--nodes",
        "100",
        "--beat",
        "off",
        "--ttl",
        "1h",
        "--reading-takes",
        "20ms",
    ];
    let _nodes = Process::nodes(&broker, &options).await;
    let caller = broker.caller().await;
    let numbers = |reply: &Value, name: &str| -> Vec<u64> {
        let list = reply[name].as_array().unwrap();
        list.iter().map(|number| number.as_u64().unwrap()).collect()
    };
    for (fresh, made) in [(true, 100), (false, 0), (true, 100)] {
        let reply = call(&caller, "nodes", "collect", &json!({ "nodes": 100, "fresh": fresh })).await;
        assert_eq!(
            (&reply["collected"], &reply["failed"]),
            (&json!(100), &json!(0)),
            "{}",
            reply["error"]
        );
        let (read, cached) = (numbers(&reply, "read_fresh_ns"), numbers(&reply, "read_cached_ns"));
        assert_eq!((read.len(), cached.len()), (made, 100));
        assert!(
            read.iter().all(|ns| *ns >= 20_000_000),
            "a reading takes as long as it is told to"
        );
        assert!(
            *cached.iter().min().unwrap() < 20_000_000,
            "none of the cached readings was quicker"
        );
    }
}

/// Ticks that were late by 40 ms and more.
fn held_up(reply: &Value) -> usize {
    let late = reply["tick_late_ns"].as_array().unwrap();
    late.iter().filter(|ns| ns.as_u64().unwrap() >= 40_000_000).count()
}

#[tokio::test]
async fn readings_on_the_nodes_own_thread_are_caught_by_the_ticks_and_others_hold_nothing_up() {
    let broker = Broker::start().await;
    let _registry = Process::registry(&broker, &[]).await;
    let caller = broker.caller().await;
    let asked = json!({ "nodes": 2, "fresh": true });
    let options = [
        "--nodes",
        "2",
        "--beat",
        "off",
        "--reading-takes",
        "150ms",
        "--ttl",
        "1h",
    ];
    let with = |how: &'static str| options.into_iter().chain(["--resources", how]).collect::<Vec<_>>();

    let nodes = Process::nodes(&broker, &with("blocking")).await;
    let blocking = call(&caller, "nodes", "collect", &asked).await;
    // Each of four readings keeps the thread for 150 ms, in which 150 ticks are due, and most of them are 40 ms late.
    let held_up_by_blocking = held_up(&blocking);
    assert!(
        held_up_by_blocking >= 100,
        "{held_up_by_blocking} of {}",
        blocking["ticks"]
    );
    assert!(blocking["tick_late_max_ns"].as_u64().unwrap() >= 100_000_000);
    // The heartbeats of such a host are caught as well.
    let beats = call(&caller, "nodes", "beat", &json!({ "resources": true })).await;
    assert!(held_up(&beats) >= 50, "{} of {}", held_up(&beats), beats["ticks"]);
    assert!(nodes.terminate().await.success());

    // A machine that gives the thread no time makes ticks late too, so a busy one may try again.
    let nodes = Process::nodes(&broker, &with("cached")).await;
    let mut tries = Vec::new();
    let fewer = loop {
        let reply = call(&caller, "nodes", "collect", &asked).await;
        assert_eq!((&reply["collected"], &reply["failed"]), (&json!(2), &json!(0)));
        tries.push(held_up(&reply));
        let few = tries.last().is_some_and(|late| late * 4 < held_up_by_blocking);
        if few || tries.len() == 20 {
            break few;
        }
    };
    assert!(
        fewer,
        "blocking: {held_up_by_blocking} late ticks, off the thread: {tries:?}"
    );
    assert!(nodes.terminate().await.success());
}
