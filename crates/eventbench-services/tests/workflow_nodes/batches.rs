//! Batches and streams: what comes back is what the test computes by itself from the recipe.

use crate::fixture::{Broker, Process, call, refused};
use bytes::Bytes;
use eventbench_services::kit::caller::CallError;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const TYPES: [&str; 8] = [
    "text/plain",
    "application/json",
    "text/csv",
    "text/html",
    "image/png",
    "image/jpeg",
    "application/pdf",
    "application/zip",
];

/// The documented recipe, written a second time: id, namespace, type, bytes, time.
fn items(seed: u64, seq: u64, count: u64, namespaces: u64) -> Vec<(u64, String, &'static str, u64, u64)> {
    let item = |index: u64| {
        let mut hash = (seed ^ (seq << 20) ^ index).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        let file_type = TYPES[usize::try_from((hash >> 32) % 8).unwrap()];
        let namespace = format!("ns{}", index % namespaces);
        let at_ns = (seq * count + index) * 1_000_000;
        ((seq << 20) + index, namespace, file_type, 64 + hash % 1_000_000, at_ns)
    };
    (0..count).map(item).collect()
}

/// Count, bytes, least and most.
type Group = (u64, u64, u64, u64);

fn grouped<'a, K: Ord>(sizes: impl Iterator<Item = (K, &'a u64)>) -> BTreeMap<K, Group> {
    let mut groups = BTreeMap::new();
    for (key, bytes) in sizes {
        let group: &mut Group = groups.entry(key).or_insert((0, 0, u64::MAX, 0));
        *group = (group.0 + 1, group.1 + bytes, group.2.min(*bytes), group.3.max(*bytes));
    }
    groups
}

/// The documented digest.
fn digest(groups: &BTreeMap<&str, Group>) -> String {
    let sum = groups.iter().fold(0_u64, |sum, (name, (count, bytes, min, max))| {
        let text = format!("{name}|{count}|{bytes}|{min}|{max}");
        sum.wrapping_add(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    });
    format!("{sum:016x}")
}

fn told(reply: &Value) -> BTreeMap<&str, Group> {
    let number = |group: &Value, name: &str| group[name].as_u64().unwrap();
    let groups = reply.as_object().unwrap().iter();
    groups
        .map(|(name, group)| {
            let group = (
                number(group, "count"),
                number(group, "bytes"),
                number(group, "min"),
                number(group, "max"),
            );
            (name.as_str(), group)
        })
        .collect()
}

/// Compares an aggregate with the one computed here.
fn assert_aggregate(reply: &Value, items: &[(u64, String, &'static str, u64, u64)]) {
    let bytes: u64 = items.iter().map(|item| item.3).sum();
    assert_eq!(reply["count"], items.len());
    assert_eq!(reply["bytes"], bytes);
    assert_eq!(reply["mean"].as_f64().unwrap(), bytes as f64 / items.len() as f64);
    let by_namespace = grouped(items.iter().map(|item| (item.1.as_str(), &item.3)));
    assert_eq!(told(&reply["by_namespace"]), by_namespace);
    assert_eq!(reply["check"], digest(&by_namespace));
    let by_file_type = grouped(items.iter().map(|item| (item.2, &item.3)));
    assert_eq!(told(&reply["by_file_type"]), by_file_type);
    assert_eq!(reply["content_types"], by_file_type.len());
    let windows = grouped(
        items
            .iter()
            .map(|item| ((item.4 / 1_000_000_000 * 1_000_000_000).to_string(), &item.3)),
    );
    let windows: BTreeMap<&str, Group> = windows.iter().map(|(start, group)| (start.as_str(), *group)).collect();
    assert_eq!(told(&reply["by_window"]), windows);
    let sizes: u64 = told(&reply["by_size"]).values().map(|group| group.0).sum();
    assert_eq!(sizes, items.len() as u64);
    assert_eq!((&reply["duplicates"], &reply["refused"]), (&json!(0), &json!(0)));
}

fn entries(items: &[(u64, String, &'static str, u64, u64)]) -> Value {
    items
        .iter()
        .map(|(id, namespace, file_type, bytes, at_ns)| json!([id, namespace, file_type, bytes, at_ns]))
        .collect()
}

#[tokio::test]
async fn aggregates_are_those_that_the_recipe_gives_however_the_items_come() {
    let broker = Broker::start().await;
    let _reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    for (count, seed, seq, namespaces) in [(1, 0, 0, 1), (100, 1, 0, 3), (1_000, 2, 7, 10), (10_000, 3, 123, 10)] {
        let expected = items(seed, seq, count, namespaces);
        let recipe = json!({ "items": count, "seed": seed, "seq": seq, "namespaces": namespaces });
        let reply = call(
            &caller,
            "reducer",
            "aggregate",
            &json!({ "generate": recipe, "tag": ["t", seq] }),
        )
        .await;
        assert_aggregate(&reply, &expected);
        assert_eq!(reply["tag"], json!(["t", seq]));
        assert_eq!(reply["work_ns"].as_array().unwrap().len(), 1);
        assert!(reply["work_ns"][0].as_u64().unwrap() > 0 && reply["expand_ns"].as_u64().unwrap() > 0);
        if count <= 1_000 {
            let sent = json!({ "items": entries(&expected), "workflow": "w" });
            let reply = call(&caller, "reducer", "aggregate", &sent).await;
            assert_aggregate(&reply, &expected);
            assert_eq!(reply["by_workflow"]["w"]["count"], count);
        }
    }
}

#[tokio::test]
async fn a_batch_larger_than_the_broker_takes_comes_in_parts_and_counts_once() {
    let broker = Broker::start().await;
    let _reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    let long = "n".repeat(120);
    let mut expected = items(5, 1, 10_000, 4);
    expected.iter_mut().for_each(|item| item.1.push_str(&long));
    let whole = json!({ "items": entries(&expected) }).to_string();
    let outcome = caller.call("reducer", "aggregate", Bytes::from(whole)).await;
    assert!(matches!(outcome, Err(CallError::TooLarge(_))), "{outcome:?}");

    let part = |index: usize, items: &[_]| {
        let place = json!({ "batch": "b", "part": index, "of": 10 });
        json!({ "items": entries(items), "parts": place, "tag": index })
    };
    let mut parts: Vec<Value> = expected
        .chunks(1_000)
        .enumerate()
        .map(|(index, items)| part(index, items))
        .collect();
    parts.reverse();
    for (sent, request) in parts.iter().enumerate().take(9) {
        for duplicate in [false, true] {
            let reply = call(&caller, "reducer", "aggregate", request).await;
            assert_eq!(reply["missing"], 9 - sent);
            assert_eq!(
                (&reply["duplicate"], &reply["work_ns"]),
                (&json!(duplicate), &json!([]))
            );
        }
    }
    for duplicate in [false, true] {
        let reply = call(&caller, "reducer", "aggregate", &parts[9]).await;
        assert_aggregate(&reply, &expected);
        assert_eq!((&reply["duplicate"], &reply["tag"]), (&json!(duplicate), &json!(0)));
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_poison_in_a_batch_is_left_out() {
    let broker = Broker::start().await;
    let _reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    for (method, request, word) in [
        ("aggregate", "{}", "neither items nor generate"),
        ("aggregate", r#"{"items":[],"generate":{"items":1}}"#, "both"),
        ("aggregate", r#"{"generate":{"items":1000001}}"#, "1000000"),
        ("aggregate", r#"{"generate":{"items":1,"seeed":1}}"#, "seeed"),
        ("aggregate", r#"{"items":[["a","n"]]}"#, "malformed"),
        (
            "aggregate",
            r#"{"items":[],"parts":{"batch":"b","part":2,"of":2}}"#,
            "part 2 of 2",
        ),
        ("window", r#"{"items":[],"stream":"s"}"#, "no number of the batch"),
        ("window", r#"{"items":[],"batch":0}"#, "stream is empty"),
        ("stats", r#"{"dimension":"colour"}"#, "no dimension"),
    ] {
        let error = refused(&caller, "reducer", method, request).await;
        assert_eq!(error.code, 400, "{request}");
        assert!(error.message.contains(word), "{request}: {error}");
    }
    let batch = json!({ "items": [["a", "ns", "t/x", 5, 1], ["a", "ns", "t/x", 5, 1], ["b", "ns", "t/x", -5, 1], ["c", "", "t/x", 5, 1]] });
    let reply = call(&caller, "reducer", "aggregate", &batch).await;
    assert_eq!(
        (&reply["count"], &reply["duplicates"], &reply["refused"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert!(
        reply["reasons"][0].as_str().unwrap().starts_with("item 2: -5"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_stream_goes_on_in_mid_window_after_a_kill_and_a_batch_that_comes_again_changes_nothing() {
    let broker = Broker::start().await;
    let mut reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    // Batches of 70, so that windows of 100 are open between them.
    let batch = |seq: u64, last: bool| {
        let recipe = json!({ "items": 70, "seed": 9, "seq": seq, "namespaces": 4 });
        json!({ "stream": "s", "batch": seq, "generate": recipe, "last": last, "tag": seq })
    };
    let mut closed: Vec<Value> = Vec::new();
    for seq in 0..30 {
        let reply = call(&caller, "reducer", "window", &batch(seq, seq == 29)).await;
        assert_eq!(
            (&reply["duplicate"], &reply["items"], &reply["late"]),
            (&json!(false), &json!(70), &json!(0))
        );
        assert_eq!(
            (reply["work_ns"].as_array().unwrap().len(), &reply["tag"]),
            (1, &json!(seq))
        );
        if seq % 10 == 7 {
            reducer.kill();
            reducer = Process::reducer(&broker, &[]).await;
        }
        let again = call(&caller, "reducer", "window", &batch(seq, seq == 29)).await;
        assert_eq!((&again["duplicate"], &again["items"]), (&json!(true), &json!(0)));
        assert_eq!(again["closed"], reply["closed"]);
        closed.extend(reply["closed"].as_array().unwrap().iter().cloned());
    }
    let all: Vec<_> = (0..30).flat_map(|seq| items(9, seq, 70, 4)).collect();
    let kind = |name: &str| {
        closed
            .iter()
            .filter(|window| window["kind"] == name)
            .collect::<Vec<_>>()
    };
    let (by_count, by_time) = (kind("count"), kind("time"));
    assert_eq!((by_count.len(), by_time.len(), closed.len()), (21, 3, 24));
    for (window, items) in by_count.iter().zip(all.chunks(100)) {
        let groups = grouped(items.iter().map(|item| (item.1.as_str(), &item.3)));
        assert_eq!(
            (&window["count"], &window["check"]),
            (&json!(100), &json!(digest(&groups)))
        );
    }
    for (window, items) in by_time.iter().zip(all.chunks(1_000)) {
        let groups = grouped(items.iter().map(|item| (item.1.as_str(), &item.3)));
        assert_eq!(told(&window["by_namespace"]), groups);
        assert_eq!(window["key"], items[0].4);
    }
    let error = refused(&caller, "reducer", "window", &batch(30, false).to_string()).await;
    assert_eq!(error.code, 409, "{error}");
}

#[tokio::test]
async fn one_request_may_bring_a_whole_stream_in_groups_that_are_committed_apart() {
    let broker = Broker::start().await;
    let reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    let request = json!({
        "stream": "whole", "batch": 0, "batch_items": 100, "last": true,
        "generate": { "items": 1_000, "seed": 4, "namespaces": 10 },
    });
    let reply = call(&caller, "reducer", "window", &request).await;
    let lengths = ["work_ns", "commit_ns"].map(|name| reply[name].as_array().unwrap().len());
    assert_eq!((lengths, &reply["items"]), ([10, 10], &json!(1_000)));
    let kinds: BTreeSet<&str> = reply["closed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| window["kind"].as_str().unwrap())
        .collect();
    assert_eq!((reply["closed"].as_array().unwrap().len(), kinds.len()), (11, 2));
    let again = call(&caller, "reducer", "window", &request).await;
    assert_eq!(
        (&again["duplicate"], &again["closed"]),
        (&json!(true), &reply["closed"])
    );
    let stats = call(&caller, "reducer", "stats", &json!({})).await;
    assert_eq!(
        (&stats["stored"]["windows"], &stats["stored"]["batches"]),
        (&json!(11), &json!(10))
    );
    assert!(reducer.terminate().await.success());
}
