//! Events and commands across failures and crashes.

use crate::fixture::{Broker, LIMIT, Process, Running, in_codec, until, within};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;
use eventbench_services::ServiceError;
use eventbench_services::connection::NatsArgs;
use eventbench_services::kit::codec::Codec;
use eventbench_services::kit::commands;
use eventbench_services::kit::events::{
    self, ConsumerSettings, ConsumerStats, Outcome, PublishError, Publisher, run_consumer,
};
use eventbench_services::kit::pool;
use eventbench_services::kit::service::{Part, Service};
use eventbench_services::kit::streams::{self, StreamSettings};
use eventbench_services::rpc::run_until;
use futures_util::StreamExt;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

async fn publisher(broker: &Broker) -> Publisher {
    Publisher::new(&*broker.pool(3).await, LIMIT)
}

/// Publishes `events` marked events, every second one in each codec, and waits for all acknowledgements.
async fn publish_marked(broker: &Broker, events: u64) {
    let publisher = publisher(broker).await;
    let sequences: Vec<u64> = futures_util::stream::iter(0..events)
        .map(|number| {
            let codec = if number % 2 == 0 {
                Codec::Json
            } else {
                Codec::MessagePack
            };
            let payload = in_codec(codec, &json!({ "msg": format!("mark {number}") }));
            let subject = events::subject(if number % 3 == 0 { "chat" } else { "order" }, "made");
            let publisher = &publisher;
            async move {
                let id = format!("id-{number}");
                let ack = publisher.publish(&subject, payload, Some(&id)).await.unwrap();
                assert_eq!((ack.stream.as_str(), ack.duplicate), ("EVENTS", false));
                ack.sequence
            }
        })
        .buffer_unordered(100)
        .collect()
        .await;
    let distinct: std::collections::BTreeSet<_> = sequences.iter().collect();
    assert_eq!(
        distinct.len() as u64,
        events,
        "each event has a place of its own in the stream"
    );
}

fn count(db: &Path, sql: &str) -> u64 {
    let count: i64 = rusqlite::Connection::open(db)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    u64::try_from(count).unwrap()
}

const DISTINCT: &str = "SELECT count(DISTINCT msg) FROM events";

#[tokio::test]
async fn a_consumer_that_crashes_loses_no_acknowledged_event() {
    const EVENTS: u64 = 3_000;
    let broker = Broker::start().await;
    let db = broker.directory.path().join("events.db");
    let consume = [
        "--jetstream",
        "--consume",
        "--ack-wait",
        "1s",
        "--db",
        db.to_str().unwrap(),
    ];
    let crash: Vec<&str> = consume.iter().copied().chain(["--crash-after", "700"]).collect();
    let doomed = Process::start(&broker, "doomed", &crash).await;
    publish_marked(&broker, EVENTS).await;
    let status = doomed.ended().await;
    assert!(!status.success(), "{status}");
    assert_eq!(
        count(&db, "SELECT count(*) FROM events"),
        700,
        "what was handled before the crash is written"
    );

    let heir = Running::rpc(&broker, "heir", &consume).await;
    until("every event has a row", || async { count(&db, DISTINCT) == EVENTS }).await;
    // The events of the last group before the crash were written, but not acknowledged, so they came again.
    until("the unacknowledged events have come again", || async {
        count(&db, "SELECT count(*) FROM events") > EVENTS
    })
    .await;
    assert!(count(&db, "SELECT count(*) FROM events WHERE delivered > 1") > 0);
    assert_eq!(count(&db, "SELECT count(DISTINCT stream_sequence) FROM events"), EVENTS);
    let marks = "SELECT count(*) FROM (SELECT msg FROM events GROUP BY msg HAVING count(DISTINCT stream_sequence) > 1)";
    assert_eq!(count(&db, marks), 0, "a mark belongs to one event");
    let stream = jetstream::new(broker.client().await)
        .get_stream("EVENTS")
        .await
        .unwrap();
    until("everything is acknowledged", || async {
        let info = stream.consumer_info("echo").await.unwrap();
        (info.num_pending, info.num_ack_pending) == (0, 0)
    })
    .await;
    heir.stop().await.unwrap();
}

#[tokio::test]
async fn events_that_fail_come_again_until_they_are_handled() {
    let broker = Broker::start().await;
    let db = broker.directory.path().join("events.db");
    let db_argument = db.to_str().unwrap();
    let consume = "--jetstream --consume events.chat.* --fail-first 7 --ack-wait 30s --storage memory --metrics-port";
    // A port that is free now may be taken when the service wants it: then another.
    let (service, metrics) = loop {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let arguments: Vec<&str> = consume.split(' ').chain([port.as_str(), "--db", db_argument]).collect();
        let service = Running::rpc(&broker, "a", &arguments).await;
        if !service.has_ended() {
            break (service, port);
        }
        let refusal = service.stop().await.unwrap_err();
        assert!(refusal.starts_with("metrics port"), "{refusal}");
    };
    let publisher = publisher(&broker).await;
    for number in 0..50 {
        let payload = Bytes::from(format!("mark {number}"));
        publisher.publish("events.chat.sent", payload, None).await.unwrap();
    }
    publisher
        .publish("events.chat.sent", Bytes::from_static(b"\xff\xfe"), None)
        .await
        .unwrap();
    until("every event has a row", || async { count(&db, DISTINCT) == 50 }).await;
    assert_eq!(
        count(&db, "SELECT count(*) FROM events"),
        50,
        "none is handled twice without a crash"
    );
    // Seven deliveries failed; on a busy machine one event may be several of them.
    assert_eq!(count(&db, "SELECT sum(delivered - 1) FROM events"), 7);
    let text = std::sync::Mutex::new(String::new());
    until("the metrics show it", || async {
        let port = metrics.clone();
        let scraped = tokio::task::spawn_blocking(move || scrape(&port)).await.unwrap();
        *text.lock().unwrap() = scraped;
        text.lock().unwrap().contains("rpc_events_refused_total 1\n")
    })
    .await;
    let text = text.into_inner().unwrap();
    for line in [
        "rpc_events_received_total 58",
        "rpc_events_redelivered_total 7",
        "rpc_events_failed_total 7",
        "rpc_events_handled_total 50",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
    }
    service.stop().await.unwrap();
}

fn scrape(port: &str) -> String {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    connection
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn an_event_that_always_fails_is_given_up_and_holds_nothing_up() {
    let broker = Broker::start().await;
    let mut service = Service::new(broker.args(), "picky".to_owned(), "p".to_owned(), Vec::new());
    let stats = Arc::<ConsumerStats>::default();
    let (seen, args) = (Arc::clone(&stats), broker.args());
    service.part(Part::new("events", move |signals| async move {
        let client = pool::connect(&args, "picky", &signals.notes).await?;
        let settings = StreamSettings {
            name: events::STREAM.to_owned(),
            subjects: vec![events::SUBJECTS.to_owned()],
            work_queue: false,
            storage: Some(StorageType::Memory),
            replicas: None,
        };
        let stream = streams::open(&jetstream::new(client.clone()), &settings).await?;
        let consumer = ConsumerSettings {
            durable: "picky".to_owned(),
            filter: events::SUBJECTS.to_owned(),
            ack_wait: LIMIT,
            max_deliver: 3,
            batch: events::BATCH,
        };
        run_consumer(signals, client, stream, consumer, seen, |deliveries| {
            let outcome = |poison: bool| if poison { Outcome::Failed } else { Outcome::Handled };
            Ok(deliveries
                .iter()
                .map(|delivery| outcome(delivery.payload == "poison"))
                .collect())
        })
        .await
    }));
    let service = Running::kit(&broker, service).await;
    let publisher = publisher(&broker).await;
    for payload in ["a", "poison", "b", "c"] {
        publisher.publish("events.a.b", payload.into(), None).await.unwrap();
    }
    until("the poison is given up", || async { stats.given_up.load(Relaxed) == 1 }).await;
    until("the others are handled", || async { stats.handled.load(Relaxed) == 3 }).await;
    let counts = [&stats.received, &stats.redelivered, &stats.failed].map(|counter| counter.load(Relaxed));
    assert_eq!(counts, [6, 2, 2]);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_published_twice_under_one_id_is_stored_once() {
    let broker = Broker::start().await;
    let publisher = publisher(&broker).await;
    let error = publisher.publish("events.a.b", Bytes::new(), None).await.unwrap_err();
    assert!(matches!(error, PublishError::NoStream(_)), "{error:?}");
    let service = Running::rpc(&broker, "a", &["--jetstream", "--consume"]).await;
    let first = publisher.publish("events.a.b", "x".into(), Some("one")).await.unwrap();
    let second = publisher.publish("events.a.b", "x".into(), Some("one")).await.unwrap();
    let third = publisher.publish("events.a.b", "x".into(), Some("two")).await.unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((second.sequence, second.duplicate), (1, true));
    assert_eq!((third.sequence, third.duplicate), (2, false));
    let error = publisher
        .publish("events.a.b", Bytes::from(vec![0; (1 << 20) + 1]), None)
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::TooLarge(1_048_576)), "{error:?}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_tells_its_progress_and_its_end_and_is_done_once() {
    let broker = Broker::start().await;
    let service = Running::rpc(&broker, "a", &["--jetstream", "--commands"]).await;
    let (client, publisher) = (broker.client().await, publisher(&broker).await);
    let subject = commands::subject("echo", "count");
    for codec in Codec::ALL {
        let id = codec.name();
        let payload = in_codec(codec, &json!({ "steps": 5 }));
        let sent = commands::send(&client, &publisher, &subject, id, payload.clone())
            .await
            .unwrap();
        let (progress, callback) = within("the end", sent.end(LIMIT)).await.unwrap();
        assert_eq!(
            progress.iter().map(|step| step.done).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5]
        );
        assert!(progress.iter().all(|step| step.total == 5 && step.id == id));
        assert_eq!(
            (callback.id.as_str(), callback.result, callback.error),
            (id, json!({ "steps": 5 }), None)
        );
        // A second time under the same id, the stream takes it for what it is.
        let again = publisher.publish(&subject, payload, Some(id)).await.unwrap();
        assert!(again.duplicate);
    }
    for (id, command, payload, code) in [
        ("fails", "count", r#"{"steps":3,"fail_at":2}"#, 500),
        ("unknown", "fly", "", 404),
        ("malformed", "count", "{", 400),
        ("greedy", "count", r#"{"steps":1000000000}"#, 400),
    ] {
        let subject = commands::subject("echo", command);
        let sent = commands::send(&client, &publisher, &subject, id, payload.into())
            .await
            .unwrap();
        let (progress, callback) = within("the end", sent.end(LIMIT)).await.unwrap();
        assert_eq!(
            callback.error.as_ref().map(|error| error.code),
            Some(code),
            "{callback:?}"
        );
        assert_eq!(progress.len(), usize::from(id == "fails"));
    }
    // A command without an id is refused, not worked on; what follows shows that it holds nothing up.
    publisher.publish(&subject, Bytes::new(), None).await.unwrap();
    let sent = commands::send(&client, &publisher, &subject, "last", Bytes::new())
        .await
        .unwrap();
    let (progress, _) = within("the end", sent.end(LIMIT)).await.unwrap();
    assert_eq!(progress.len(), 10);
    service.stop().await.unwrap();
    let mut stream = jetstream::new(client).get_stream(commands::STREAM).await.unwrap();
    let info = stream.info().await.unwrap();
    assert_eq!(info.state.messages, 0, "every command has left the queue");
    assert_eq!(info.config.subjects, ["commands.echo.*"]);
}

#[tokio::test]
async fn what_cannot_be_had_is_said_at_the_start() {
    let start = async |broker: &Broker, arguments: &[&str]| -> String {
        let args = crate::fixture::rpc_args(broker, "a", arguments);
        let run = tokio::task::spawn_blocking(move || run_until(args, std::future::pending()));
        let outcome: Result<(), ServiceError> = within("the service gives up", run).await.unwrap();
        outcome.unwrap_err().to_string()
    };
    let plain = Broker::start_with(false).await;
    let error = start(&plain, &["--jetstream"]).await;
    assert!(error.contains("is JetStream on"), "{error}");
    let broker = Broker::start().await;
    let context = jetstream::new(broker.client().await);
    let existing = Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.chat.*".to_owned()],
        storage: StorageType::Memory,
        ..Config::default()
    };
    context.create_stream(existing).await.unwrap();
    let error = start(&broker, &["--jetstream", "--consume", "--storage", "file"]).await;
    assert!(
        error.contains("EVENTS") && error.contains("Memory where File"),
        "{error}"
    );
    let error = start(&broker, &["--jetstream", "--consume", "--replicas", "3"]).await;
    assert!(error.contains("replicas"), "{error}");
    let error = start(
        &broker,
        &[
            "--jetstream",
            "--consume",
            "events.other.*",
            "--stream",
            "OTHER",
            "--replicas",
            "3",
        ],
    )
    .await;
    assert!(error.contains("OTHER") && error.contains("replicas"), "{error}");
    // A stream that only lacks the subject is given it.
    let service = Running::rpc(&broker, "a", &["--jetstream", "--consume", "events.order.*"]).await;
    publisher(&broker)
        .await
        .publish("events.order.made", "x".into(), None)
        .await
        .unwrap();
    service.stop().await.unwrap();

    let directory = broker.directory.path().to_str().unwrap().to_owned();
    let error = start(&broker, &["--jetstream", "--consume", "--db", &directory]).await;
    assert!(error.contains("database"), "{error}");
    // Nothing ever listens on this port.
    let nowhere = NatsArgs {
        nats: Some("nats://127.0.0.1:1".to_owned()),
        ..NatsArgs::default()
    };
    let args = eventbench_services::rpc::Args {
        broker: nowhere,
        ..crate::fixture::rpc_args(&plain, "a", &[])
    };
    let run = tokio::task::spawn_blocking(move || run_until(args, std::future::pending()));
    let error = within("the service gives up", run)
        .await
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot connect") && error.contains("--nats"), "{error}");
}
