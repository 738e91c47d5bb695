//! Workflows over the real services: hops that add up, aggregates that are checked, and what must be named.

use crate::common::*;
use serde_json::Value;

const BROKER: &str = "[suite]\nname = \"workflow\"\nmax_lateness = \"10s\"\n[broker.nats]\n";
const RUN: &str = r#"{"file":"report-{seq}.txt","content":"{text:400}","namespace":"ns{int:0..10}","until":"UNTIL","stamp":"{stamp}"}"#;

fn service(name: &str, kind: &str, more: &str) -> String {
    let of = if kind == "node-host" { "nodes" } else { kind };
    format!(
        r#"
[service.{name}]
run = ["{{self}}", "service", "{kind}", "--nats", "{{broker.nats.url}}", "--instance", "{name}", "--log", "warn"{more}]
ready = {{ subject = "$SRV.PING.{of}.{name}" }}
"#
    )
}

/// Everything that a workflow needs.
fn services() -> String {
    let worker = |name: &str| service(name, "worker", &format!(r#", "--capability", "{name}""#));
    [
        BROKER.to_owned(),
        service("registry", "registry", ""),
        worker("metadata"),
        worker("tree"),
        worker("hook"),
        service("reducer", "reducer", r#", "--db", "{scratch}/reducer.db""#),
        service(
            "orchestrator",
            "orchestrator",
            r#", "--db", "{scratch}/orchestrator.db""#,
        ),
    ]
    .concat()
}

fn figure(json: &Value, name: &str, metric: &str, stat: &str) -> Option<f64> {
    let figures = benchmark(json, name)["figures"].as_array().unwrap();
    let found = figures
        .iter()
        .find(|f| f["metric"] == metric && f["stat"] == stat && f.get("tags").is_none());
    found.and_then(|f| f["value"].as_f64())
}

#[test]
fn a_request_is_followed_to_its_row_hop_by_hop() {
    let (_load, place) = (load(), Place::new());
    let suite = services()
        + &format!(
            r#"
[[benchmark]]
name = "row"
trials = 1
drive = {{ driver = "nats-request", subject = "rpc.orchestrator.run", payload = '{}', expect = '"stored":true', tell = {{ hops = "/hops", times = {{ work_time = "/work_ns", transition_time = "/transition_ns", routing_time = "/routing_ns", calls_time = "/calls_ns" }} }} }}
observe = {{ driver = "sqlite", path = "{{scratch}}/reducer.db", query = "SELECT id, tag FROM stamps WHERE id > :last" }}
load = {{ arrival = "constant", rate = "50/s", duration = "2s" }}
drain = "30s"
limits = ["acked.ratio == 100%", "stored.ratio == 100%", "duplicates == 0"]
grade = {{ a = "1us", b = "60s" }}
"#,
            RUN.replace("UNTIL", "stored")
        );
    let (ran, json) = place.measure(&suite);
    let out = ran.exits(0).out;
    let row = benchmark(&json, "row");
    assert_eq!(figure(&json, "row", "delivered", "value"), Some(100.0));
    let checks = row["checks"].as_array().unwrap();
    let sum = checks
        .iter()
        .find(|c| c["name"] == "the hops add up to the whole way")
        .unwrap();
    assert_eq!(sum["holds"], true, "{sum}");
    // Each hop of the path begins where the last one ended, and every event passed all of them.
    let hops = row["trials"][0]["hops"].as_array().unwrap();
    let path: Vec<&Value> = hops.iter().filter(|h| h.get("within").is_none()).collect();
    assert!(path.len() >= 8, "{path:#?}");
    assert!(path.iter().all(|h| h["count"] == 100), "{path:#?}");
    for pair in path.windows(2) {
        let (end, begin) = (
            pair[0]["end_ns"].as_f64().unwrap(),
            pair[1]["begin_ns"].as_f64().unwrap(),
        );
        assert!((end - begin).abs() < 1_000.0, "{pair:#?}");
    }
    let names: Vec<&str> = path.iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"reducer: row committed"), "{names:?}");
    assert!(hops.iter().any(|h| h["within"] == "services"), "{hops:#?}");
    // The services' own clocks: four transitions at least for a hundred workflows would be two each; three calls each.
    for (metric, least) in [
        ("work_time", 100.0),
        ("transition_time", 200.0),
        ("routing_time", 300.0),
        ("calls_time", 100.0),
    ] {
        let count = figure(&json, "row", metric, "count").unwrap_or(0.0);
        assert!(count >= least, "{metric}: {count}");
    }
    assert_eq!(row["grade"]["grade"], "B", "{}", row["grade"]);
    // The waterfall is shown, since this is where one looks for it.
    assert!(out.contains("reducer: row committed"), "{out}");
}

#[test]
fn an_aggregate_that_is_not_the_one_of_the_items_is_a_refusal() {
    let (_load, place) = (load(), Place::new());
    let ask = |name: &str, tell: &str, limits: &str| {
        format!(
            r#"
[[benchmark]]
name = "{name}"
trials = 1
drive = {{ driver = "nats-request", subject = "rpc.reducer.aggregate", payload = '{{"items":{{items:1000:10}},"tag":"{{stamp}}"}}', tell = {{ {tell} }} }}
load = {{ arrival = "constant", rate = "20/s", duration = "1s" }}
limits = [{limits}]
"#
        )
    };
    let suite = [
        BROKER.to_owned(),
        service("reducer", "reducer", r#", "--db", "{scratch}/reducer.db""#),
        ask(
            "right",
            r#"aggregate = "/by_namespace", times = { work_time = "/work_ns" }"#,
            r#""acked.ratio == 100%""#,
        ),
        // Other groups are no answer to the question.
        ask(
            "wrong",
            r#"aggregate = "/by_file_type""#,
            r#""acked == 0", "rejected == 20""#,
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    assert_eq!(figure(&json, "right", "work_time", "count"), Some(20.0));
    let work = figure(&json, "right", "work_time", "mean").unwrap();
    let whole = figure(&json, "right", "response_time", "mean").unwrap();
    assert!(0.0 < work && work < whole, "{work} {whole}");
    let causes = benchmark(&json, "wrong")["trials"][0]["causes"].as_array().unwrap();
    assert_eq!(
        (causes.len(), causes[0]["count"].as_u64()),
        (1, Some(20)),
        "{causes:#?}"
    );
}

/// Readings that are made where the runtime works block it, and the ticks of the same runtime say so.
#[test]
fn a_runtime_that_is_blocked_is_caught_by_its_own_ticks() {
    let (_load, place) = (load(), Place::new());
    let nodes = |name: &str, more: &str| {
        service(
            name,
            "node-host",
            &format!(r#", "--nodes", "4", "--beat", "off", "--reading-takes", "200ms"{more}"#),
        )
        .replace("ready", "on_request = true\nready")
    };
    let ask = |name: &str| {
        format!(
            r#"
[[benchmark]]
name = "{name}"
trials = 1
services = ["registry", "{name}"]
drive = {{ driver = "nats-request", subject = "rpc.nodes.collect", payload = '{{"nodes":4,"fresh":true,"tag":"{{stamp}}"}}', expect = '"failed":0', timeout = "30s", tell = {{ times = {{ tick_lateness = "/tick_late_ns" }} }} }}
load = {{ arrival = "closed", workers = 1, duration = "3s" }}
drain = "30s"
limits = ["tick_lateness.max < 150ms", "acked.ratio == 100%"]
"#
        )
    };
    let suite = [
        BROKER.to_owned(),
        service("registry", "registry", ""),
        nodes("blocking", r#", "--resources", "blocking""#),
        nodes("aside", r#", "--resources", "fresh""#),
        ask("blocking"),
        ask("aside"),
    ]
    .concat();
    let (_, json) = place.measure(&suite);
    // Whatever else the machine does, a tick that waits for a reading of 200 ms is late by nearly as much.
    assert_eq!(benchmark(&json, "blocking")["verdict"], "fail");
    let blocked = figure(&json, "blocking", "tick_lateness", "max").unwrap();
    let free = figure(&json, "aside", "tick_lateness", "med").unwrap();
    assert!(blocked >= 150e6, "{blocked}");
    assert!(free < blocked / 2.0, "{free} {blocked}");
}

#[test]
fn what_cannot_be_done_is_a_clear_outcome_with_balanced_books() {
    let (_load, place) = (load(), Place::new());
    let ask = |name: &str, payload: &str, limits: &str| {
        format!(
            r#"
[[benchmark]]
name = "{name}"
trials = 1
drive = {{ driver = "nats-request", subject = "rpc.orchestrator.run", payload = '{payload}', expect = '"COMPLETED"', timeout = "30s" }}
load = {{ arrival = "constant", rate = "20/s", duration = "500ms" }}
limits = [{limits}]
"#
        )
    };
    let run = RUN.replace("UNTIL", "completed");
    // No hook service at all: each workflow ends as FAILED, none hangs.
    let without = services()
        .replace(&service("hook", "worker", r#", "--capability", "hook""#), "")
        .replace(r#", "--attempts", "100""#, "");
    let suite = without
        + &ask(
            "unable",
            &run,
            r#""rejected == 10", "timed_out == 0", "abandoned == 0""#,
        )
        + &ask("no-json", "{stamp}", r#""rejected == 10", "abandoned == 0""#);
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    let causes = benchmark(&json, "unable")["trials"][0]["causes"].as_array().unwrap();
    let said = causes[0]["example"].as_str().unwrap();
    assert!(said.contains("FAILED") && said.contains("no-instance"), "{said}");
}
