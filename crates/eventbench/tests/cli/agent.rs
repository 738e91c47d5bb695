//! Agent runs over the real service: what must pass, and each way in which a server can be wrong and must be named.

use crate::common::*;
use serde_json::Value;

const REFERENCE: &str = r#"{"threadId":"t-{stamp}","runId":"r-{stamp}","messages":[],"tools":[],"context":[],"forwardedProps":{"workflow":"reference","account_id":"ACC-000{int:100..1000}"}}"#;

/// The agent service under a name of its own, with a fault or none.
fn service(name: &str, fault: &str) -> String {
    let fault = if fault.is_empty() {
        String::new()
    } else {
        format!(r#", "--fault", "{fault}""#)
    };
    format!(
        r#"
[service.{name}]
run = ["{{self}}", "service", "agent", "--listen", "127.0.0.1:{{port.{name}}}", "--db", "{{scratch}}/{name}.db", "--log", "warn"{fault}]
ready = {{ http = "http://127.0.0.1:{{port.{name}}}/api/copilotkit/health" }}
"#
    )
}

/// Reference runs against the service of the same name.
fn runs(name: &str, more: &str, load: &str, limits: &str) -> String {
    format!(
        r#"
[[benchmark]]
name = "{name}"
trials = 1
services = ["{name}"]
drive = {{ driver = "sse", protocol = "ag-ui", url = "http://127.0.0.1:{{port.{name}}}", path = "/api/copilotkit", body = '{REFERENCE}'{more} }}
load = {{ {load} }}
drain = "30s"
limits = [{limits}]
"#
    )
}

const HUNDRED: &str = r#"arrival = "constant", rate = "100/s", duration = "1s""#;

/// A figure with a tag, or without where that is empty.
#[track_caller]
fn figure(json: &Value, name: &str, metric: &str, tag: &str, stat: &str) -> Option<f64> {
    let figures = benchmark(json, name)["figures"].as_array().unwrap();
    let wanted = |f: &Value| match f.get("tags").and_then(Value::as_object) {
        None => tag.is_empty(),
        Some(tags) => tags.values().any(|v| v == tag),
    };
    let found = figures
        .iter()
        .find(|f| f["metric"] == metric && f["stat"] == stat && wanted(f));
    found.and_then(|f| f["value"].as_f64())
}

fn verdict<'a>(json: &'a Value, name: &str) -> &'a str {
    benchmark(json, name)["verdict"].as_str().unwrap()
}

#[test]
fn sound_runs_pass_with_closed_books_and_every_event_counted() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned(),
        service("sound", ""),
        runs(
            "sound",
            ", events = 20",
            HUNDRED,
            r#""acked.ratio == 100%", "violations == 0", "events == 2000""#,
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    assert_eq!(figure(&json, "sound", "events", "", "value"), Some(2000.0));
    assert_eq!(figure(&json, "sound", "events.per_stream", "", "count"), Some(100.0));
    // Each event was emitted before it was read, and read before its stream was done.
    let least = figure(&json, "sound", "event_time", "", "min").unwrap();
    let most = figure(&json, "sound", "event_time", "", "max").unwrap();
    let run = figure(&json, "sound", "response_time", "", "max").unwrap();
    assert!(0.0 <= least && most <= run, "{least} {most} {run}");
    assert_eq!(figure(&json, "sound", "event_time", "", "count"), Some(2000.0));
    let first = figure(&json, "sound", "first_event_time", "", "max").unwrap();
    assert!(first <= run, "{first} {run}");
}

/// Every tenth of a hundred runs breaks one rule, which is counted under its name.
#[test]
fn a_broken_rule_is_counted_by_its_name() {
    let (_load, place) = (load(), Place::new());
    let faults = [
        ("ids", "wrong-ids=10", "run-id"),
        ("result", "unknown-tool-result=10", "tool-result-unknown"),
        ("delta", "bad-delta=10", "state-delta"),
    ];
    let mut suite = "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned();
    for (name, fault, _) in faults {
        suite += &service(name, fault);
        suite += &runs(name, "", HUNDRED, r#""acked.ratio == 100%""#);
    }
    let (ran, json) = place.measure(&suite);
    ran.exits(1);
    for (name, _, rule) in faults {
        assert_eq!(verdict(&json, name), "fail", "{name}");
        assert_eq!(figure(&json, name, "violations", rule, "value"), Some(10.0), "{name}");
        assert_eq!(figure(&json, name, "violations", "", "value"), Some(10.0), "{name}");
        assert_eq!(figure(&json, name, "rejected", "", "value"), Some(10.0), "{name}");
        let causes = benchmark(&json, name)["trials"][0]["causes"].as_array().unwrap();
        let [cause] = causes.as_slice() else {
            panic!("{causes:#?}")
        };
        assert!(cause["cause"].as_str().unwrap().contains(rule), "{cause}");
        assert_eq!(cause["count"], 10);
        // The first offender is kept in its own words.
        assert!(!cause["example"].as_str().unwrap().is_empty(), "{cause}");
    }
}

#[test]
fn streams_that_end_early_or_lack_events_never_pass() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned(),
        service("cut", "truncate=10"),
        runs("cut", "", HUNDRED, r#""acked.ratio == 100%""#),
        // The 20th of 20 events is the one that ends the run.
        service("dropped", "drop-every=10"),
        runs("dropped", "", HUNDRED, r#""acked.ratio == 100%""#),
        // Without the 7th and the 14th, pieces of a text and of a call, the run may look sound; it is too short all the same.
        service("short", "drop-every=7"),
        runs("short", ", events = 20", HUNDRED, r#""acked.ratio == 100%""#),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(1);
    for (name, failed) in [("cut", 10.0), ("dropped", 100.0), ("short", 100.0)] {
        assert_eq!(verdict(&json, name), "fail", "{name}");
        let of = |metric: &str| figure(&json, name, metric, "", "value").unwrap();
        assert_eq!(of("acked"), 100.0 - failed, "{name}");
        assert_eq!(of("rejected") + of("disconnected"), failed, "{name}");
    }
    let of = |metric: &str, tag: &str| figure(&json, "cut", metric, tag, "value").unwrap_or(0.0);
    assert_eq!(of("truncated", "") + of("violations", "run-finished-missing"), 10.0);
}

/// What is slow is seen in the figure of what is slow, whatever else the machine does meanwhile.
#[test]
fn slow_events_and_a_single_stall_show_in_their_figures() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned(),
        service("slow", "slow=50ms"),
        runs(
            "slow",
            "",
            r#"arrival = "constant", rate = "20/s", duration = "1s""#,
            r#""event_time.mean < 10ms""#,
        ),
        service("stall", "stall=2s:1000"),
        runs(
            "stall",
            "",
            r#"arrival = "constant", rate = "500/s", duration = "2s""#,
            r#""stall.max < 1500ms", "acked.ratio == 100%""#,
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(1);
    assert_eq!((verdict(&json, "slow"), verdict(&json, "stall")), ("fail", "fail"));
    let least = figure(&json, "slow", "event_time", "", "min").unwrap();
    assert!(least >= 50e6, "{least}");
    assert_eq!(figure(&json, "stall", "acked", "", "value"), Some(1000.0));
    let longest = figure(&json, "stall", "stall", "", "max").unwrap();
    // The histogram keeps three digits.
    assert!(longest >= 1.99e9, "{longest}");
    let median = figure(&json, "stall", "stall", "", "med").unwrap();
    assert!(median < longest / 2.0, "{median} {longest}");
}

#[test]
fn memory_that_grows_with_every_run_is_named_by_its_slope() {
    let (_load, place) = (load(), Place::new());
    let limit = |name: &str| format!(r#""rss.events{{process:{name}}}.per_event < 300kB", "acked.ratio == 100%""#);
    let load = r#"arrival = "constant", rate = "50/s", duration = "4s""#;
    let suite = [
        "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned(),
        service("leaking", "leak=1MB"),
        runs("leaking", "", load, &limit("leaking")),
        service("tight", ""),
        runs("tight", "", load, &limit("tight")),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(1);
    assert_eq!((verdict(&json, "leaking"), verdict(&json, "tight")), ("fail", "pass"));
}

#[test]
fn virtual_users_do_their_tasks_in_proportion() {
    let (_load, place) = (load(), Place::new());
    let suite = [
        "[suite]\nname = \"agent\"\nmax_lateness = \"10s\"\n".to_owned(),
        service("agent", ""),
        format!(
            r#"
[[benchmark]]
name = "users"
trials = 1
drive = {{ driver = "sse", protocol = "ag-ui", url = "http://127.0.0.1:{{port.agent}}", tasks = [
  {{ name = "analyse", weight = 3, path = "/api/copilotkit", body = '{REFERENCE}' }},
  {{ name = "health", weight = 1, method = "GET", path = "/api/copilotkit/health", stream = false }},
  {{ name = "lost", weight = 1, method = "GET", path = "/nowhere", stream = false }},
] }}
load = {{ arrival = "users", users = 20, spawn_rate = "20/s", duration = "4s", think = {{ uniform = ["20ms", "60ms"] }} }}
limits = ["acked.ratio >= 50%"]
"#
        ),
    ]
    .concat();
    let (ran, json) = place.measure(&suite);
    ran.exits(0);
    assert!(benchmark(&json, "users")["closed_loop"].as_bool().unwrap());
    let of = |metric: &str| figure(&json, "users", metric, "", "value").unwrap();
    let count = |task: &str| figure(&json, "users", "response_time", task, "count").unwrap_or(0.0);
    assert_eq!(of("offered"), of("acked") + of("rejected"));
    assert_eq!(count("analyse") + count("health"), of("acked"));
    assert_eq!(count("lost"), 0.0);
    // Choices are drawn for each user and turn: three, one and one in five.
    let share = of("rejected") / of("offered");
    assert!(
        (0.1..0.3).contains(&share) && of("offered") > 200.0,
        "{share} of {}",
        of("offered")
    );
    let causes = benchmark(&json, "users")["trials"][0]["causes"].as_array().unwrap();
    let [cause] = causes.as_slice() else {
        panic!("{causes:#?}")
    };
    assert!(cause["cause"].as_str().unwrap().contains("404"), "{cause}");
    assert_eq!(
        (cause["stream"].as_str(), cause["count"].as_f64()),
        (Some("lost"), Some(of("rejected")))
    );
    assert!(cause["first_s"].as_f64().unwrap() <= cause["last_s"].as_f64().unwrap());
}
