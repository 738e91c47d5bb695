//! Stamps: stored once, whatever happens to the reducer and however often they come.

use crate::fixture::{Broker, Process, call, refused, until, was_a_service};
use bytes::Bytes;
use eventbench_services::kit::caller::Caller;
use eventbench_services::workflow::stamp::{Stamp, Stored};
use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn stamp(n: u64) -> Stamp {
    Stamp {
        id: format!("stamp-{n}"),
        workflow: format!("workflow-{n}"),
        namespace: format!("ns{}", n % 3),
        file: format!("file-{n}.png"),
        hash: format!("{n:064x}"),
        bytes: 100 + n,
        content_type: "image/png".to_owned(),
        tag: format!("tag-{n}"),
        // Long past, three windows of event time.
        event_ms: 1_700_000_000_000 + n * 15,
    }
}

fn json_of(stamp: &Stamp) -> Value {
    serde_json::to_value(stamp).unwrap()
}

/// Sends a stamp; whether it was a duplicate, or `None` without a confirmation.
async fn send(caller: &Caller, n: u64) -> Option<bool> {
    let payload = Bytes::from(json_of(&stamp(n)).to_string());
    let reply = caller.call("reducer", "stamp", payload).await.ok()?;
    Some(serde_json::from_slice::<Stored>(&reply).unwrap().duplicate)
}

fn reader(broker: &Broker) -> Connection {
    Connection::open_with_flags(broker.file("reducer.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn number(connection: &Connection, sql: &str) -> u64 {
    connection
        .query_row(sql, [], |row| row.get::<_, i64>(0))
        .unwrap()
        .try_into()
        .unwrap()
}

fn tags_after(connection: &Connection, last: i64) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT tag FROM stamps WHERE id > ?1 ORDER BY id")
        .unwrap();
    let tags = statement.query_map([last], |row| row.get(0)).unwrap();
    tags.map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_stamp_is_confirmed_once_its_row_can_be_read_and_tells_where_its_time_went() {
    let broker = Broker::start().await;
    let _reducer = Process::reducer(&broker, &[]).await;
    let caller = broker.caller().await;
    let reader = reader(&broker);
    for n in 0..5 {
        let reply = call(&caller, "reducer", "stamp", &json_of(&stamp(n))).await;
        let last = i64::try_from(n).unwrap();
        assert_eq!(
            tags_after(&reader, last),
            [format!("tag-{n}")],
            "the row is there with the reply"
        );
        assert_eq!((&reply["stored"], &reply["duplicate"]), (&json!(true), &json!(false)));
        assert_eq!(
            (&reply["id"], &reply["tag"]),
            (&json!(format!("stamp-{n}")), &json!(format!("tag-{n}")))
        );
        let hops = reply["hops"].as_array().unwrap();
        let names: Vec<_> = hops.iter().map(|hop| hop["hop"].as_str().unwrap()).collect();
        assert_eq!(names, ["reducer: wait", "reducer: reduce", "reducer: row committed"]);
        assert!(
            hops.windows(2).all(|pair| pair[0]["until"] == pair[1]["from"]),
            "{hops:?}"
        );
        let work_ns = hops[2]["until"].as_u64().unwrap() - hops[1]["from"].as_u64().unwrap();
        assert_eq!(reply["work_ns"], json!([work_ns]));
    }
    // Named as another sender may name them, in the other codec.
    let other = json!({ "id": "m", "file_type": "t/x", "namespace": "ns", "bytes": 1, "hash": "ab", "tag": "mp" });
    let payload = rmp_serde::to_vec_named(&other).unwrap();
    let reply = caller.call("reducer", "stamp", payload.into()).await.unwrap();
    let reply: Value = rmp_serde::from_slice(&reply).unwrap();
    assert_eq!(reply["stored"], true);
    assert_eq!(tags_after(&reader, 5), ["mp"]);
}

#[tokio::test]
async fn stamps_that_come_again_and_poison_count_nowhere() {
    let broker = Broker::start().await;
    let _reducer = Process::reducer(&broker, &["--window-count", "10"]).await;
    let caller = broker.caller().await;
    // All at once, each three times: whichever comes first is stored.
    let sent = join_all((0..300).map(|n| send(&caller, n % 100))).await;
    let stored = sent.iter().filter(|duplicate| **duplicate == Some(false)).count();
    assert_eq!((stored, sent.iter().flatten().count()), (100, 300));
    let future = json!({ "id": "far", "event_ms": 4_000_000_000_000_u64 }).to_string();
    let other = Stamp { bytes: 7, ..stamp(1) };
    let other = json_of(&other).to_string();
    for (payload, word) in [
        ("no stamp at all", "malformed"),
        (r#"{"id":"","bytes":1}"#, "the id is empty"),
        (r#"{"id":"x","hash":"not a hash"}"#, "hexadecimal"),
        (&future, "ahead"),
        (&other, "says something else"),
    ] {
        for _ in 0..2 {
            let error = refused(&caller, "reducer", "stamp", payload).await;
            assert_eq!(
                (error.code, &error.details["refused"]),
                (422, &json!(true)),
                "{payload}"
            );
            assert!(error.message.contains(word), "{error}");
        }
    }
    let stats = call(&caller, "reducer", "stats", &json!({ "dimension": "namespace" })).await;
    let counts = &stats["stored"];
    assert_eq!(
        (&counts["stamps"], &counts["refused"], &counts["refused_deliveries"]),
        (&json!(100), &json!(5), &json!(10))
    );
    assert_eq!((&stats["duplicates"], &stats["refused"]), (&json!(200), &json!(10)));
    let expected: BTreeMap<&str, u64> = BTreeMap::from([("ns0", 34), ("ns1", 33), ("ns2", 33)]);
    for (namespace, count) in expected {
        assert_eq!(stats["totals"][namespace]["count"], count);
    }
    let reader = reader(&broker);
    assert_eq!(
        number(&reader, "SELECT sum(count) FROM windows WHERE kind = 'count'"),
        100
    );
    assert_eq!(number(&reader, "SELECT sum(deliveries) FROM refused"), 10);
}

/// Runs as two: as the test, and, with arguments in the environment, as the process of any service.
#[test]
fn a_killed_reducer_goes_on_where_it_was_and_counts_nothing_twice() {
    if was_a_service() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(killed_in_mid_window());
}

async fn killed_in_mid_window() {
    const ALL: u64 = 1_500;
    let broker = Broker::start().await;
    let options = ["--window-count", "50", "--lateness", "10s"];
    let reducer = Process::reducer(&broker, &options).await;
    let caller = broker.caller().await;
    // Confirmed before the kill: in the middle of the second window.
    for confirmed in join_all((0..70).map(|n| send(&caller, n))).await {
        assert_eq!(confirmed, Some(false));
    }
    // Of these, some are stored and confirmed, some stored only, some not even that.
    let impatient = caller.clone().with_timeout(std::time::Duration::from_secs(2));
    let flood = tokio::spawn(async move { join_all((70..1_400).map(|n| send(&impatient, n))).await });
    let reader = reader(&broker);
    until("the flood is in the database", || async {
        number(&reader, "SELECT count(*) FROM stamps") > 70
    })
    .await;
    reducer.kill();
    let flooded = flood.await.unwrap();
    let reducer = Process::reducer(&broker, &options).await;
    // Whoever got no confirmation sends again, and here everybody does.
    let again = join_all((0..ALL).map(|n| send(&caller, n))).await;
    for (n, duplicate) in (0_u64..).zip(&again) {
        assert!(duplicate.is_some(), "stamp {n} was not taken");
        if n < 70 {
            assert_eq!(*duplicate, Some(true), "stamp {n} was confirmed, and is gone");
        }
    }
    for (n, before) in (70_usize..).zip(flooded) {
        if before.is_some() {
            assert_eq!(again[n], Some(true), "stamp {n} was confirmed, and is gone");
        }
    }
    assert_eq!(number(&reader, "SELECT count(*) FROM stamps"), ALL);
    let bytes: u64 = (0..ALL).map(|n| stamp(n).bytes).sum();
    for dimension in ["all", "namespace", "file_type", "size", "workflow", "window"] {
        let of = |column: &str| format!("SELECT sum({column}) FROM totals WHERE dimension = '{dimension}'");
        assert_eq!(number(&reader, &of("count")), ALL, "{dimension}");
        assert_eq!(number(&reader, &of("bytes")), bytes, "{dimension}");
    }
    // Thirty windows of 50 are closed, each of 50 rows that follow each other.
    assert_eq!(
        number(
            &reader,
            "SELECT count(*) FROM windows WHERE kind = 'count' AND count = 50"
        ),
        30
    );
    let sizes = "SELECT count(*) FROM windows w WHERE kind = 'count' AND bytes = \
        (SELECT sum(bytes) FROM stamps WHERE id > w.through - 50 AND id <= w.through)";
    assert_eq!(number(&reader, sizes), 30);
    assert!(reducer.terminate().await.success());
}
