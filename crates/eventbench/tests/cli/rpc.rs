//! Calls and events over the real service: what became of each, codecs, shares, streams, consumers, and what a broker
//! refuses.

use crate::common::*;
use serde_json::Value;

/// The service under a name of its own, ready when that instance answers.
fn service(instance: &str, more: &[&str]) -> String {
    let more: String = more.iter().map(|arg| format!(", {arg:?}")).collect();
    format!(
        r#"
[service.{instance}]
run = ["{{self}}", "service", "rpc", "--nats", "{{broker.nats.url}}", "--instance", "{instance}", "--log", "warn"{more}]
ready = {{ subject = "$SRV.PING.echo.{instance}" }}
"#
    )
}

/// One benchmark of one trial; `more` holds what it drives, its load and its limits.
fn one(name: &str, more: &str) -> String {
    format!("\n[[benchmark]]\nname = \"{name}\"\ntrials = 1\n{more}\n")
}

/// The value of a figure of any benchmark.
#[track_caller]
fn of(json: &Value, name: &str, metric: &str, stat: &str) -> f64 {
    let figures = benchmark(json, name)["figures"].as_array().unwrap();
    let found = figures
        .iter()
        .find(|f| f["metric"] == metric && f["stat"] == stat && f.get("tags").is_none());
    found
        .and_then(|f| f["value"].as_f64())
        .unwrap_or_else(|| panic!("{name}: no {stat} of {metric} in {figures:#?}"))
}

#[test]
fn calls_are_told_apart_by_what_became_of_them() {
    let (_load, place) = (load(), Place::new());
    let load = "load = { arrival = \"constant\", rate = \"200/s\", duration = \"500ms\" }";
    let ask = |subject: &str, payload: &str, more: &str| {
        format!(
            "drive = {{ driver = \"nats-request\", subject = \"{subject}\", payload = '{payload}'{more} }}\n{load}\n"
        )
    };
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        one(
            "reply",
            &(ask("rpc.echo.echo", r#"{"mark":"{stamp}"}"#, "") + "limits = [\"acked.ratio == 100%\"]"),
        ),
        one(
            "error-reply",
            &(ask("rpc.echo.fail", r#"{"code":409}"#, "") + "limits = [\"rejected.error == 100\", \"acked == 0\"]"),
        ),
        one(
            "nobody",
            &(ask("rpc.nobody.home", "{}", "") + "limits = [\"rejected.no_responder == 100\", \"acked == 0\"]"),
        ),
        one(
            "too-late",
            &(ask("rpc.echo.slow", r#"{"delay_ms":2000}"#, ", timeout = \"300ms\"")
                + "limits = [\"timed_out == 100\", \"acked == 0\", \"error_time.min >= 300ms\"]"),
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    for (name, acked, error, nobody, late) in [
        ("reply", 100.0, 0.0, 0.0, 0.0),
        ("error-reply", 0.0, 100.0, 0.0, 0.0),
        ("nobody", 0.0, 0.0, 100.0, 0.0),
        ("too-late", 0.0, 0.0, 0.0, 100.0),
    ] {
        let counts = ["acked", "rejected.error", "rejected.no_responder", "timed_out"];
        let found = counts.map(|metric| of(&json, name, metric, "value"));
        assert_eq!(found, [acked, error, nobody, late], "{name}");
        assert_eq!(of(&json, name, "rejected", "value"), error + nobody, "{name}");
    }
    assert_eq!(of(&json, "nobody", "error_time", "count"), 100.0);
}

/// The same document in two codecs, and a service that answers in neither.
#[test]
fn a_codec_is_spoken_on_both_sides_and_another_one_is_refused() {
    let (_load, place) = (load(), Place::new());
    let ask = |method: &str, codec: &str, payload: &str, limits: &str| {
        format!(
            "drive = {{ driver = \"nats-request\", subject = \"rpc.echo.{method}\", codec = \"{codec}\", payload = '{payload}' }}\n\
             load = {{ arrival = \"closed\", workers = 4, duration = \"500ms\" }}\nlimits = [{limits}]\n"
        )
    };
    let document = r#"{"identifier":123456,"name":"{text:20}","flags":[true,false,null]}"#;
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        one("json", &ask("mirror", "json", document, "\"acked.ratio == 100%\"")),
        one(
            "msgpack",
            &ask("mirror", "msgpack", document, "\"acked.ratio == 100%\""),
        ),
        // An empty request is answered in JSON, which is no MessagePack.
        one(
            "mismatch",
            &ask("whoami", "msgpack", "", "\"rejected >= 1\", \"acked == 0\""),
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    let bytes = |name: &str| of(&json, name, "wire.per_event", "value");
    // Both ways: 77 bytes in JSON and 53 in MessagePack, beside reply subjects whose numbers grow with the calls.
    let saved = bytes("json") - bytes("msgpack");
    assert!((36.0..=60.0).contains(&saved), "{} {}", bytes("json"), bytes("msgpack"));
}

#[test]
fn shares_of_a_queue_group_are_counted_by_the_replies() {
    let (_load, place) = (load(), Place::new());
    let shares = r#"shares = { after = '"instance":"', until = '"', of = 3 }"#;
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        service("b", &[]),
        service("c", &[]),
        one(
            "one",
            &format!(
                "drive = {{ driver = \"nats-request\", subject = \"rpc.echo.whoami\", {shares} }}\n\
                 load = {{ arrival = \"constant\", rate = \"1000/s\", duration = \"1s\" }}\n\
                 limits = [\"fairness >= 80%\", \"acked.ratio == 100%\"]\n"
            ),
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    let answers: Vec<f64> = benchmark(&json, "one")["figures"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["metric"] == "replies")
        .map(|f| f["value"].as_f64().unwrap())
        .collect();
    assert_eq!((answers.len(), answers.iter().sum::<f64>()), (3, 1000.0), "{answers:?}");
    let squares: f64 = answers.iter().map(|n| n * n).sum();
    assert!((figure(&json, "fairness", "value") - 1e6 / (3.0 * squares)).abs() < 1e-9);
    checks_hold(&json);
}

#[test]
fn a_search_ends_at_the_highest_rate_that_holds_or_has_no_answer() {
    let (_load, place) = (load(), Place::new());
    let search = |holds: &str, limits: &str| {
        format!(
            "drive = {{ driver = \"nats-request\", subject = \"rpc.echo.echo\", payload = \"{{stamp}}\" }}\n\
             load = {{ arrival = \"constant\", rate = \"100/s\", duration = \"300ms\" }}\n\
             search = {{ from = \"100/s\", to = \"400/s\", precision = \"100%\", holds = [\"acked.ratio == 100%\"{holds}] }}\n\
             limits = [{limits}]\n"
        )
    };
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        one("easy", &search("", "\"knee.rate == 400/s\"")),
        one("impossible", &search(", \"max < 1ns\"", "\"knee.rate >= 100/s\"")),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(4);
    assert_eq!(of(&json, "easy", "knee.rate", "value"), 400.0);
    assert_eq!(benchmark(&json, "easy")["verdict"], "pass");
    assert_eq!(benchmark(&json, "impossible")["verdict"], "no_data");
}

const EVENTS: &str =
    r#"stream = { name = "EVENTS", subjects = ["events.>"] }, subject = "events.a.b", payload = '{"msg":"{stamp}"}'"#;

#[test]
fn consumers_see_every_acknowledged_event_and_say_what_is_left() {
    let (_load, place) = (load(), Place::new());
    let consume = |name: &str, more: &str| {
        one(
            name,
            &format!(
                "drive = {{ driver = \"jetstream\", ids = true, {EVENTS} }}\n\
                 observe = {{ driver = \"jetstream\", stream = \"EVENTS\"{more} }}\n\
                 load = {{ arrival = \"constant\", rate = \"2000/s\", duration = \"500ms\" }}\n\
                 limits = [\"lost == 0\", \"lost.acked == 0\", \"acked.ratio == 100%\", \"acks.wrong == 0\", \"consumer.pending == 0\"]\n"
            ),
        )
    };
    let suite = [
        HEAD.to_owned() + "jetstream = true\n",
        consume("durable", ", durable = \"d\", batch = 50"),
        consume("ordered", ", ordered = true"),
        consume("filtered", ", subject = \"events.a.*\""),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    for name in ["durable", "ordered", "filtered"] {
        let found = benchmark(&json, name);
        let total = &found["trials"][0]["ledger"]["total"];
        assert_eq!(
            (&total["sent"], &total["acked"], &total["delivered"]),
            (&1000.into(), &1000.into(), &1000.into()),
            "{name}"
        );
        let checks = found["checks"].as_array().unwrap();
        assert!(checks.iter().all(|c| c["holds"] == true), "{name}: {checks:#?}");
    }
    for name in ["durable", "filtered"] {
        assert_eq!(of(&json, name, "consumer.unacked", "value"), 0.0, "{name}");
    }
}

/// A window of acknowledgements is a closed loop; each is of one stream, and no number comes twice.
#[test]
fn a_window_of_acknowledgements_is_kept_full_and_balanced() {
    let (_load, place) = (load(), Place::new());
    let suite = HEAD.to_owned()
        + "jetstream = true\n"
        + &one(
            "one",
            &format!(
                "drive = {{ driver = \"jetstream\", {EVENTS} }}\n\
                 load = {{ arrival = \"closed\", workers = 100, connections = 3, duration = \"1s\" }}\n\
                 limits = [\"acked >= 100\", \"acked.ratio == 100%\", \"acks.wrong == 0\", \"acks.duplicate == 0\"]\n"
            ),
        );
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    checks_hold(&json);
}

#[test]
fn what_the_broker_refuses_is_said_and_counted() {
    let (_load, place) = (load(), Place::new());
    let drive = |stream: &str| {
        format!(
            "drive = {{ driver = \"jetstream\", stream = {{ name = \"EVENTS\", subjects = [\"events.>\"]{stream} }}, subject = \"events.a.b\", payload = \"{{stamp}}{{text:1000}}\" }}\n\
             load = {{ arrival = \"constant\", rate = \"200/s\", duration = \"500ms\" }}\n"
        )
    };
    let run = |head: &str, more: &str| place.measure(&(head.to_owned() + &one("one", more)));
    let with = HEAD.to_owned() + "jetstream = true\n";

    // Off, or not enough servers: nothing is measured.
    run(HEAD, &drive(""))
        .0
        .exits(3)
        .complains(&["JetStream is off", "jetstream = true"]);
    run(&with, &drive(", replicas = 3"))
        .0
        .exits(3)
        .complains(&["stream \"EVENTS\"", "replicas"]);

    // Full: the first events fit, the others are refused with the reason, and nothing waits for them.
    let (ran, json) = run(
        &with,
        &(drive(", max_bytes = \"20kB\"") + "limits = [\"acked.ratio == 100%\"]\n"),
    );
    ran.exits(1);
    let (acked, refused) = (
        figure(&json, "acked", "value"),
        figure(&json, "rejected.error", "value"),
    );
    assert!(
        acked >= 5.0 && refused >= 50.0 && acked + refused == 100.0,
        "{acked} {refused}"
    );

    // Larger than the server takes: it ends the connection, and says why.
    let small = with.clone() + "config = \"max_payload: 500\"\n";
    let (ran, _) = run(&small, &drive(""));
    let ran = ran.exits(1);
    assert!(flat(&ran.out).to_lowercase().contains("maximum payload"), "{}", ran.out);

    // There, but another one: the service has made it with its own settings.
    let other = with + &service("a", &["--jetstream", "--consume"]);
    run(&other, &drive(", storage = \"memory\""))
        .0
        .exits(3)
        .complains(&["another configuration", "storage is \"file\", not \"memory\""]);
}

#[test]
fn wrong_settings_are_refused_where_they_stand() {
    let place = Place::new();
    for (more, said) in [
        (
            "stream = { name = \"a.b\", subjects = [\"x\"] }",
            "cannot be a stream's name",
        ),
        ("stream = { name = \"A\", subjects = [] }", "at least one subject"),
        (
            "stream = { name = \"A\", subjects = [\"x\"], replicas = 2 }",
            "1, 3 or 5",
        ),
        (
            "stream = { name = \"A\", subjects = [\"x\"], storage = \"tape\" }",
            "file",
        ),
    ] {
        let text = HEAD.to_owned()
            + &one(
                "one",
                &format!(
                    "drive = {{ driver = \"jetstream\", {more}, subject = \"x\", payload = \"y\" }}\nload = {{ arrival = \"constant\", rate = \"1/s\", duration = \"1s\" }}\n"
                ),
            );
        place.write("s.toml", text);
        place.run(&["check", "s.toml"]).exits(2).complains(&["s.toml:", said]);
    }
    for (more, said) in [
        ("sweep = { workers = [2, 2] }", "twice"),
        (
            "search = { from = \"2/s\", to = \"1/s\", holds = [\"p(99) < 1s\"] }",
            "constant or poisson",
        ),
        (
            "observe = { driver = \"jetstream\", stream = \"\" }",
            "name of a stream",
        ),
        (
            "observe = { driver = \"jetstream\", stream = \"A\", ordered = true, durable = \"d\" }",
            "no name",
        ),
        ("nodes = 2", "majority"),
    ] {
        let text = HEAD.to_owned()
            + &one(
                "one",
                &format!(
                    "drive = {{ driver = \"nats\", subject = \"x\", payload = \"{{stamp}}\" }}\nload = {{ arrival = \"closed\", workers = 1, duration = \"1s\" }}\n{more}\n"
                ),
            );
        place.write("s.toml", text);
        place.run(&["check", "s.toml"]).exits(2).complains(&["s.toml:", said]);
    }
}

#[test]
fn a_sweep_is_a_benchmark_for_each_number() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        one(
            "calls",
            "drive = { driver = \"nats-request\", subject = \"rpc.echo.echo\", payload = \"{stamp}\" }\n\
             load = { arrival = \"closed\", workers = 1, duration = \"300ms\" }\n\
             sweep = { workers = [1, 8] }\nlimits = [\"acked.ratio == 100%\"]\n",
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    for (name, flight) in [("calls-1", "1 in flight"), ("calls-8", "8 in flight")] {
        let load = benchmark(&json, name)["load"].as_str().unwrap();
        assert!(load.contains(flight), "{load}");
    }
    place
        .run(&["run", "suite.toml", "--only", "calls-8", "--dry-run"])
        .exits(0);
}

/// The floor is a driver like any other: its books balance, and what it costs beside the client is a ratio in the report.
#[test]
fn the_client_is_held_against_a_bare_socket() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        HEAD.to_owned(),
        service("a", &[]),
        one(
            "one",
            "drive = { driver = \"nats-request\", subject = \"rpc.echo.echo\", payload = \"{stamp}\" }\n\
             load = { arrival = \"closed\", workers = 1, duration = \"500ms\" }\n\
             limits = [\"acked.ratio == 100%\", \"latency.ratio > 0%\", \"rate.ratio > 0%\"]\n\
             [benchmark.against]\nname = \"floor\"\n\
             drive = { driver = \"nats-floor\", subject = \"rpc.echo.echo\", payload = \"{stamp}\" }\n",
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    let trials = benchmark(&json, "one")["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2);
    for trial in trials {
        let total = &trial["ledger"]["total"];
        assert!(
            total["acked"].as_u64() > Some(0) && total["acked"] == total["sent"],
            "{total:#}"
        );
    }
    checks_hold(&json);
}

#[test]
fn no_acknowledged_event_is_lost_when_its_consumer_is_killed() {
    let (_load, place) = (load(), Place::new());
    let db = place.path("rows.db").display().to_string();
    let suite = [
        HEAD.to_owned() + "jetstream = true\n",
        service("a", &["--jetstream", "--consume", "events.>", "--db", &db, "--ack-wait", "1s"]),
        one(
            "one",
            &format!(
                "drive = {{ driver = \"jetstream\", ids = true, subject = \"events.a.b\", payload = '{{\"msg\":\"{{stamp}}\"}}' }}\n\
                 observe = {{ driver = \"sqlite\", path = {db:?}, query = \"SELECT id, msg FROM events WHERE id > :last ORDER BY id\" }}\n\
                 load = {{ arrival = \"constant\", rate = \"500/s\", duration = \"2s\" }}\ndrain = \"30s\"\n\
                 fault = [{{ at = \"600ms\", action = \"kill\", service = \"a\" }}, {{ at = \"900ms\", action = \"start\", service = \"a\" }}]\n\
                 limits = [\"lost == 0\", \"lost.acked == 0\", \"acked.ratio == 100%\"]\n"
            ),
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    assert_eq!((books(&json, "sent"), books(&json, "delivered")), (1000, 1000));
    let database = rusqlite::Connection::open(place.path("rows.db")).unwrap();
    let count = |query: &str| -> i64 { database.query_row(query, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(DISTINCT msg) FROM events"), 1000);
    assert_eq!(
        count("SELECT count(*) FROM events"),
        1000 + books(&json, "duplicates") as i64
    );
}

/// A stream of three replicas whose leader is killed: what was acknowledged is there, what was not is named as such, and
/// the books balance.
#[test]
fn no_acknowledged_event_is_lost_with_the_leader_of_its_stream() {
    let (_load, place) = (load(), Place::new());
    let suite = HEAD.to_owned()
        + "jetstream = true\nnodes = 3\n"
        + &one(
            "one",
            "drive = { driver = \"jetstream\", ids = true, reconnect = \"30s\", timeout = \"2s\", stream = { name = \"EVENTS\", subjects = [\"events.>\"], replicas = 3 }, subject = \"events.a.b\", payload = '{\"msg\":\"{stamp}\"}' }\n\
             observe = { driver = \"jetstream\", stream = \"EVENTS\", durable = \"audit\", reconnect = \"30s\", ack_wait = \"2s\" }\n\
             load = { arrival = \"constant\", rate = \"100/s\", duration = \"8s\" }\ndrain = \"20s\"\n\
             fault = [{ at = \"1s\", action = \"kill\", node = \"stream-leader\" }]\n\
             limits = [\"lost.acked == 0\"]\n",
        );
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    let (sent, acked, delivered) = (books(&json, "sent"), books(&json, "acked"), books(&json, "delivered"));
    assert_eq!(sent, 800);
    assert!(acked >= 90 && delivered >= acked, "{acked} {delivered}");
    assert_eq!(sent - delivered, books(&json, "lost_before_ack"));
    assert_eq!(books(&json, "lost_after_ack"), 0);
    let marks = benchmark(&json, "one")["trials"][0]["marks"].to_string();
    assert!(
        marks.contains("kill stream-leader") && marks.contains("leads stream EVENTS"),
        "{marks}"
    );
}
