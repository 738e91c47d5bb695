//! Methods, codecs, errors and the service protocol.

use crate::fixture::{Broker, LIMIT, Running, in_codec, until, value, within};
use async_nats::service::{Info, PingResponse, ServiceExt, Stats};
use bytes::Bytes;
use eventbench_services::kit::caller::{CallError, Caller};
use eventbench_services::kit::codec::Codec;
use eventbench_services::kit::method::Method;
use eventbench_services::kit::reply::ErrorReply;
use eventbench_services::kit::service::Service;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;

const METHODS: [&str; 8] = ["echo", "whoami", "sum", "mirror", "fail", "slow", "burn", "health"];

/// The keys of a JSON object.
fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn refusal(outcome: Result<Bytes, CallError>) -> ErrorReply {
    match outcome {
        Err(CallError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_service_protocol_is_answered_in_the_librarys_own_forms() {
    let broker = Broker::start_with(false).await;
    let a = Running::rpc(&broker, "a", &[]).await;
    let b = Running::rpc(&broker, "b", &[]).await;
    let client = broker.client().await;
    let model = client.add_service(async_nats::service::Config {
        name: "model".to_owned(),
        version: "1.0.0".to_owned(),
        description: Some("the library's own".to_owned()),
        stats_handler: None,
        metadata: None,
        queue_group: None,
    });
    let model = model.await.unwrap();
    let _endpoint = model.endpoint("model.get").await.unwrap();

    // All three answer one request for all, each once.
    let inbox = client.new_inbox();
    let mut pongs = client.subscribe(inbox.clone()).await.unwrap();
    client
        .publish_with_reply("$SRV.PING", inbox, Bytes::new())
        .await
        .unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        let message = within("a pong", pongs.next()).await.unwrap();
        let pong: PingResponse = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(pong.kind, "io.nats.micro.v1.ping_response");
        assert!(seen.insert((pong.name, pong.id)), "an instance answered twice");
    }
    assert!(seen.contains(&("echo".to_owned(), "a".to_owned())), "{seen:?}");

    let info = client.request("$SRV.INFO.echo.a", Bytes::new()).await.unwrap();
    let info: Info = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(
        (info.kind.as_str(), info.name.as_str(), info.id.as_str()),
        ("io.nats.micro.v1.info_response", "echo", "a")
    );
    let endpoints: Vec<_> = info
        .endpoints
        .iter()
        .map(|e| (e.name.as_str(), e.subject.clone(), e.queue_group.as_str()))
        .collect();
    let expected: Vec<_> = METHODS
        .iter()
        .map(|name| (*name, format!("rpc.echo.{name}"), "rpc.echo"))
        .collect();
    assert_eq!(endpoints, expected);

    let caller = broker.caller().await;
    for _ in 0..20 {
        caller.call("echo", "echo", Bytes::from_static(b"x")).await.unwrap();
        refusal(
            caller
                .call("echo", "fail", Bytes::from_static(br#"{"code":422,"message":"so"}"#))
                .await,
        );
    }
    let mut counted = (0, 0, 0);
    for instance in ["a", "b"] {
        let stats = client
            .request(format!("$SRV.STATS.echo.{instance}"), Bytes::new())
            .await
            .unwrap();
        let stats: Stats = serde_json::from_slice(&stats.payload).unwrap();
        assert_eq!(
            (stats.kind.as_str(), stats.id.as_str()),
            ("io.nats.micro.v1.stats_response", instance)
        );
        let of = |name: &str| stats.endpoints.iter().find(|e| e.name == name).unwrap().clone();
        let (echo, fail) = (of("echo"), of("fail"));
        counted = (
            counted.0 + echo.requests,
            counted.1 + fail.requests,
            counted.2 + fail.errors,
        );
        assert_eq!(echo.errors, 0);
        if let Some(error) = fail.last_error {
            assert_eq!((error.code, error.status.as_str()), (422, "so"));
        }
    }
    assert_eq!(counted, (20, 20, 20), "calls and errors over both instances");

    for verb in ["PING", "INFO", "STATS"] {
        let mut forms = Vec::new();
        for name in ["echo", "model"] {
            let reply = client
                .request(format!("$SRV.{verb}.{name}"), Bytes::new())
                .await
                .unwrap();
            forms.push(serde_json::from_slice::<Value>(&reply.payload).unwrap());
        }
        assert_eq!(keys(&forms[0]), keys(&forms[1]), "{verb}");
        if verb != "PING" {
            assert_eq!(
                keys(&forms[0]["endpoints"][0]),
                keys(&forms[1]["endpoints"][0]),
                "{verb}"
            );
        }
    }
    a.stop().await.unwrap();
    b.stop().await.unwrap();
}

#[tokio::test]
async fn a_reply_is_in_the_codec_of_its_request() {
    let broker = Broker::start_with(false).await;
    let service = Running::rpc(&broker, "a", &["--connections", "1"]).await;
    let caller = broker.caller().await;
    for codec in Codec::ALL {
        let reply = caller
            .call("echo", "sum", in_codec(codec, &json!({ "values": [1, 2.5, -7] })))
            .await
            .unwrap();
        assert_eq!(Codec::detect(&reply).unwrap(), Some(codec));
        assert_eq!(value(&reply), json!({ "sum": -3.5, "count": 3 }));
        let nested = in_codec(codec, &json!({ "a": [1, { "b": "c" }, null, -1.5] }));
        assert_eq!(caller.call("echo", "mirror", nested.clone()).await.unwrap(), nested);
        let me = value(
            &caller
                .call("echo", "whoami", in_codec(codec, &json!(null)))
                .await
                .unwrap(),
        );
        assert_eq!((&me["service"], &me["instance"]), (&json!("echo"), &json!("a")));
        let slow = value(
            &caller
                .call("echo", "slow", in_codec(codec, &json!({ "delay_ms": 1 })))
                .await
                .unwrap(),
        );
        assert_eq!(slow, json!({ "delay_ms": 1 }));
        let burn = value(
            &caller
                .call("echo", "burn", in_codec(codec, &json!({ "cpu_us": 50 })))
                .await
                .unwrap(),
        );
        assert_eq!(burn, json!({ "cpu_us": 50 }));
    }
    // An empty request is answered in JSON; echo does not care what it carries.
    let health = caller.call("echo", "health", Bytes::new()).await.unwrap();
    assert_eq!(Codec::detect(&health).unwrap(), Some(Codec::Json));
    assert_eq!(value(&health)["status"], json!("ok"));
    let large = Bytes::from(vec![0xc1; 1 << 20]);
    for payload in [Bytes::new(), Bytes::from_static(b"\xc1\x00"), large] {
        assert_eq!(caller.call("echo", "echo", payload.clone()).await.unwrap(), payload);
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn errors_are_structured_and_end_nothing() {
    let broker = Broker::start_with(false).await;
    let service = Running::rpc(&broker, "a", &[]).await;
    let caller = broker.caller().await;
    let asked = json!({ "code": 409, "message": "no", "details": { "field": "x" } });
    for codec in Codec::ALL {
        let error = refusal(caller.call("echo", "fail", in_codec(codec, &asked)).await);
        assert_eq!(serde_json::to_value(&error).unwrap(), asked);
    }
    assert_eq!(refusal(caller.call("echo", "fail", Bytes::new()).await).code, 500);
    let client = broker.client().await;
    let raw = client
        .request("rpc.echo.fail", in_codec(Codec::Json, &asked))
        .await
        .unwrap();
    let headers = raw.headers.unwrap();
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "409");
    assert_eq!(headers.get("Nats-Service-Error").unwrap().as_str(), "no");

    for payload in [
        &b"{"[..],
        b"\x81",
        b"\xc1",
        b"hello",
        b"\x00\x00",
        b"[1] 2",
        b"\x90\x90",
        b"{\"values\":\"x\"}",
    ] {
        for method in ["sum", "slow", "burn", "fail"] {
            let outcome = caller.call("echo", method, Bytes::from_static(payload)).await;
            if payload == b"{\"values\":\"x\"}" && method != "sum" {
                continue;
            }
            let error = refusal(outcome);
            assert_eq!(error.code, 400, "{method} {payload:?}");
            assert!(error.message.starts_with("malformed request: "), "{error}");
        }
    }
    let greedy = Bytes::from_static(br#"{"cpu_us":3600000000}"#);
    assert_eq!(refusal(caller.call("echo", "burn", greedy).await).code, 400);
    caller.call("echo", "echo", Bytes::new()).await.unwrap();
    service.stop().await.unwrap();
}

/// A service whose methods go wrong in ways that the RPC service's do not.
fn troubled(broker: &Broker) -> Service {
    let methods = vec![
        Method::instant("instant", |_| panic!("at once")),
        Method::blocking("blocking", |_| panic!("on a thread")),
        Method::waiting("waiting", |_| async { panic!("in a task") }),
        Method::instant("large", |_| Ok(Bytes::from(vec![0; (1 << 20) + 1]))),
        Method::waiting("never", |_| std::future::pending()),
        Method::instant("fine", |call| call.answer(&"fine")),
    ];
    let mut service = Service::new(broker.args(), "troubled".to_owned(), "t".to_owned(), methods);
    service.drain_limit = Duration::from_millis(50);
    service
}

#[tokio::test]
async fn panics_and_replies_too_large_become_error_replies() {
    let broker = Broker::start_with(false).await;
    let service = Running::kit(&broker, troubled(&broker)).await;
    let caller = broker.caller().await;
    for method in ["instant", "blocking", "waiting"] {
        for _ in 0..3 {
            let error = refusal(caller.call("troubled", method, Bytes::from_static(b"[]")).await);
            assert_eq!(error, ErrorReply::new(500, format!("the method {method} panicked")));
        }
    }
    let error = refusal(caller.call("troubled", "large", Bytes::new()).await);
    assert_eq!(error.code, 413, "{error}");
    assert_eq!(
        value(&caller.call("troubled", "fine", Bytes::new()).await.unwrap()),
        json!("fine")
    );

    // A request too large is refused before it is sent; one that a client sends all the same costs it its connection.
    let too_large = caller
        .call("troubled", "fine", Bytes::from(vec![b' '; (1 << 20) + 1]))
        .await
        .unwrap_err();
    assert!(matches!(too_large, CallError::TooLarge(1_048_576)), "{too_large:?}");
    let address = broker.url().trim_start_matches("nats://").to_owned();
    let told = tokio::task::spawn_blocking(move || {
        let mut raw = std::net::TcpStream::connect(address).unwrap();
        raw.set_read_timeout(Some(LIMIT)).unwrap();
        raw.write_all(b"CONNECT {}\r\nPUB rpc.troubled.fine reply 1048577\r\n")
            .unwrap();
        let mut told = Vec::new();
        let _ = raw.read_to_end(&mut told);
        String::from_utf8_lossy(&told).into_owned()
    });
    let told = told.await.unwrap();
    assert!(told.contains("Maximum Payload Violation"), "{told}");
    caller.call("troubled", "fine", Bytes::new()).await.unwrap();
    service.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_told_apart_from_one_that_nobody_hears() {
    let broker = Broker::start_with(false).await;
    let service = Running::kit(&broker, troubled(&broker)).await;
    let patient = broker.caller().await;
    for (service, method) in [("nobody", "echo"), ("troubled", "nothing")] {
        let error = patient.call(service, method, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, CallError::NoResponder(_)), "{error:?}");
    }
    let hasty: Caller = patient.clone().with_timeout(Duration::from_millis(100));
    let error = hasty.call("troubled", "never", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    // The call is still in the service; its drain says so instead of hanging.
    let error = service.stop().await.unwrap_err();
    assert!(error.contains("1 calls were not finished"), "{error}");
    let error = patient.call("troubled", "fine", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, CallError::NoResponder(_)), "{error:?}");
}

#[tokio::test]
async fn three_instances_share_the_calls_of_a_queue_group() {
    const CALLS: usize = 3_000;
    let broker = Broker::start_with(false).await;
    let mut services = Vec::new();
    for instance in ["a", "b", "c"] {
        services.push(Running::rpc(&broker, instance, &[]).await);
    }
    let caller = broker.caller().await;
    let replies: Vec<Value> = futures_util::stream::iter(0..CALLS)
        .map(|_| async { value(&caller.call("echo", "whoami", Bytes::new()).await.unwrap()) })
        .buffer_unordered(64)
        .collect()
        .await;
    let client = broker.client().await;
    let mut sum = 0;
    for instance in ["a", "b", "c"] {
        let share = replies.iter().filter(|reply| reply["instance"] == instance).count();
        assert!(share > 0, "{instance} got nothing");
        until("the instance has counted what it answered", || async {
            let stats = client
                .request(format!("$SRV.STATS.echo.{instance}"), Bytes::new())
                .await
                .unwrap();
            let stats: Stats = serde_json::from_slice(&stats.payload).unwrap();
            stats
                .endpoints
                .iter()
                .find(|endpoint| endpoint.name == "whoami")
                .unwrap()
                .requests
                == share
        })
        .await;
        sum += share;
    }
    assert_eq!(sum, CALLS);
    for service in services {
        service.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_made_slower_answers_late_but_all_and_alike() {
    let broker = Broker::start_with(false).await;
    let service = Running::rpc(&broker, "a", &["--slow", "20ms", "--burn", "10us"]).await;
    let caller = broker.caller().await;
    // All at once: an instance that waited for one after the other would need eight seconds for them.
    let calls = (0..400_u32).map(|number| {
        let caller = &caller;
        async move {
            let payload = Bytes::from(number.to_be_bytes().to_vec());
            caller.call("echo", "echo", payload.clone()).await.unwrap() == payload
        }
    });
    let answered = within("all calls are answered", futures_util::future::join_all(calls)).await;
    assert!(answered.into_iter().all(|same| same));
    service.stop().await.unwrap();
}
