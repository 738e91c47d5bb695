//! Instances that come and go under load lose nothing.

use crate::fixture::{ARGUMENTS, Broker, Process, Running, until, value, within};
use async_nats::jetstream;
use bytes::Bytes;
use eventbench_services::kit::caller::CallError;
use eventbench_services::kit::registry::{BUCKET, Beat, Entry, heartbeat_subject};
use eventbench_services::rpc;
use futures_util::StreamExt;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Runs as two: as the test, and, with arguments in the environment, as the process that the test starts.
#[tokio::test]
async fn a_signal_ends_the_process_after_what_it_has_taken() {
    #[allow(clippy::disallowed_methods, reason = "how the test tells its process what to be")]
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        let command = (rpc::SERVICE.command)().no_binary_name(true);
        let matches = command.get_matches_from(arguments.lines());
        let outcome = tokio::task::spawn_blocking(move || (rpc::SERVICE.run)(&matches)).await;
        return outcome.unwrap().unwrap();
    }
    let broker = Broker::start().await;
    for signal in [Signal::TERM, Signal::INT] {
        let process = Process::start(&broker, "p", &["--jetstream"]).await;
        let client = broker.client().await;
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.unwrap();
        let parameters = Bytes::from_static(br#"{"delay_ms":500}"#);
        client
            .publish_with_reply("rpc.echo.slow", inbox, parameters)
            .await
            .unwrap();
        // The broker takes one connection's commands in order: once this is answered, it has routed the slow call.
        client.request("rpc.echo.health", Bytes::new()).await.unwrap();
        process.signal(signal);
        let reply = within("the slow call is answered", replies.next()).await.unwrap();
        assert_eq!(value(&reply.payload), serde_json::json!({ "delay_ms": 500 }));
        let status = process.ended().await;
        assert!(status.success(), "{status}");
        let registry = jetstream::new(client).get_key_value(BUCKET).await.unwrap();
        assert_eq!(registry.get("echo.p").await.unwrap(), None, "the entry is left behind");
        let error = broker
            .caller()
            .await
            .call("echo", "echo", Bytes::new())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::NoResponder(_)), "{error:?}");
    }
}

#[tokio::test]
async fn every_call_is_answered_while_instances_drain() {
    const ROUNDS: u64 = 6;
    const IN_FLIGHT: u64 = 64;
    let broker = Broker::start_with(false).await;
    let steady = Running::rpc(&broker, "steady", &[]).await;
    let caller = broker.caller().await;
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..IN_FLIGHT)
        .map(|stream| {
            let (caller, over, answered) = (caller.clone(), Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                let method = match stream % 8 {
                    0 => "slow",
                    1 => "burn",
                    _ => "echo",
                };
                let parameters = Bytes::from(format!(r#"{{"delay_ms":{},"cpu_us":20}}"#, stream % 16));
                while !over.load(SeqCst) {
                    caller.call("echo", method, parameters.clone()).await?;
                    answered.fetch_add(1, SeqCst);
                }
                Ok::<(), CallError>(())
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let passing = Running::rpc(&broker, &format!("passing-{round}"), &[]).await;
        let before = answered.load(SeqCst);
        until("calls go on", || async { answered.load(SeqCst) >= before + 500 }).await;
        passing.stop().await.unwrap();
    }
    over.store(true, SeqCst);
    for calling in callers {
        within("the last call is answered", calling).await.unwrap().unwrap();
    }
    steady.stop().await.unwrap();
}

#[tokio::test]
async fn entries_of_the_registry_come_and_go() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let mut beats = client.subscribe(heartbeat_subject("echo")).await.unwrap();
    let options = ["--jetstream", "--registry-ttl", "2s"];
    let drained = Running::rpc(&broker, "drained", &options).await;
    let killed = Process::start(&broker, "killed", &options).await;
    let registry = jetstream::new(client.clone()).get_key_value(BUCKET).await.unwrap();
    let entry = async |key: &str| -> Option<Entry> {
        let value = registry.get(key.to_owned()).await.unwrap();
        value.map(|value| serde_json::from_slice(&value).unwrap())
    };
    let last_beats = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for key in ["echo.drained", "echo.killed"] {
        until("the entry is there, and renewed by heartbeats", || async {
            let Some(entry) = entry(key).await else { return false };
            assert_eq!(format!("{}.{}", entry.service, entry.instance), key);
            assert_eq!(
                entry.methods,
                ["echo", "whoami", "sum", "mirror", "fail", "slow", "burn", "health"]
            );
            last_beats.borrow_mut().insert((key, entry.last_beat_ms));
            last_beats.borrow().iter().filter(|(of, _)| *of == key).count() >= 2
        })
        .await;
    }
    let beat = within("a heartbeat", beats.next()).await.unwrap();
    let beat: Beat = serde_json::from_slice(&beat.payload).unwrap();
    assert_eq!((beat.service.as_str(), beat.errors), ("echo", 0));

    drained.stop().await.unwrap();
    assert_eq!(entry("echo.drained").await, None);
    process_killed(killed).await;
    until("the entry of a killed instance is forgotten", || async {
        entry("echo.killed").await.is_none()
    })
    .await;
}

async fn process_killed(process: Process) {
    process.signal(Signal::KILL);
    assert!(!process.ended().await.success());
}
