//! Whatever ends the tool ends all that it has started, and an interruption keeps what was measured.
#![cfg(target_os = "linux")]

use crate::common::*;
use rustix::process::Signal;
use std::time::Duration;

/// A short benchmark and one that lasts longer than any test.
fn two_benchmarks(place: &Place) -> String {
    let first = StoreSuite {
        place,
        store: &[],
        drive: CHAT,
        load: r#"arrival = "constant", rate = "100/s", duration = "400ms""#,
        more: "limits = [\"lost == 0\"]\n",
    };
    let text = first.text();
    let (head, one) = text.split_once("[[benchmark]]").unwrap();
    let long = one.replace("\"one\"", "\"long\"").replace("400ms", "50s");
    format!("{head}[[benchmark]]{one}\n[[benchmark]]{long}")
}

/// The tool in the middle of the long benchmark, with what it has started.
fn in_mid_run(place: &Place) -> (Running, Vec<Started>) {
    place.write("suite.toml", two_benchmarks(place));
    let running = Running::start(place, place.tool(&["run", "suite.toml"]));
    let mut started = Vec::new();
    let rows = || rusqlite::Connection::open(place.path("events.db")).unwrap();
    let count = |db: &rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM messages", [], |r| r.get::<_, i64>(0))
            .unwrap_or(0)
    };
    let ready = within(Duration::from_secs(20), || {
        started = children(running.pid());
        // The first benchmark stores 40 rows; more of them are of the second.
        started.len() == 2 && count(&rows()) > 60
    });
    assert!(ready, "not in mid-run: {started:?}\n{}", running.err());
    assert!(started.iter().any(|p| p.name == "nats-server"), "{started:?}");
    assert!(started.iter().any(|p| p.name == "eventbench"), "{started:?}");
    (running, started)
}

#[track_caller]
fn all_gone(started: &[Started]) {
    let gone = within(Duration::from_secs(5), || !started.iter().any(lives));
    assert!(
        gone,
        "still alive: {:?}",
        started.iter().filter(|p| lives(p)).collect::<Vec<_>>()
    );
}

#[test]
fn a_killed_tool_leaves_no_process_behind() {
    let (_load, place) = (load(), Place::new());
    let (running, started) = in_mid_run(&place);
    running.signal(Signal::KILL);
    all_gone(&started);
    assert_eq!(running.wait().code, None);
    // What was finished before is kept, and the run does not pass for a finished one.
    let report = place.run(&["report", "latest"]).exits(0);
    assert!(
        report.out.contains("one") && flat(&report.out).contains("The run was not finished"),
        "{}",
        report.out
    );
}

#[test]
fn an_ended_tool_leaves_no_process_and_no_file_behind() {
    let (_load, place) = (load(), Place::new());
    let (running, started) = in_mid_run(&place);
    running.signal(Signal::TERM);
    running.wait().exits(130);
    all_gone(&started);
    assert_eq!(place.left_behind(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_interrupted_run_keeps_what_was_measured_and_says_so() {
    let (_load, place) = (load(), Place::new());
    let (running, started) = in_mid_run(&place);
    running.signal(Signal::INT);
    let ran = running.wait().exits(130);
    all_gone(&started);
    assert_eq!(place.left_behind(), Vec::<std::path::PathBuf>::new());
    assert!(ran.out.to_lowercase().contains("interrupted"), "{}", ran.out);
    let report = place.run(&["report", "latest"]).exits(0);
    assert!(
        report.out.contains("one") && report.out.to_lowercase().contains("interrupted"),
        "{}",
        report.out
    );
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["report", "latest", "-o", "json"]).exits(0).out).unwrap();
    assert_eq!(json["run"]["ended"], "interrupted");
    let (one, long) = (benchmark(&json, "one"), benchmark(&json, "long"));
    assert_eq!((&one["verdict"], &one["interrupted"]), (&"pass".into(), &false.into()));
    assert_eq!(books(&json, "delivered"), 40);
    assert_eq!(long["interrupted"], true);
    // What it had sent until then is in the books and in the database.
    let total = &long["trials"][0]["ledger"]["total"];
    assert_eq!(
        total["sent"].as_u64().unwrap(),
        total["delivered"].as_u64().unwrap()
            + total["lost_before_ack"].as_u64().unwrap()
            + total["lost_after_ack"].as_u64().unwrap()
    );
    let listed = place.run(&["report", "--list"]).exits(0).out;
    assert!(listed.contains("interrupted"), "{listed}");
}

#[test]
fn an_interruption_while_a_service_is_awaited_ends_at_once() {
    let (_load, place) = (load(), Place::new());
    let text = two_benchmarks(&place).replace(
        "ready = { subject = \"bus.health\" }",
        "ready = { subject = \"nobody.answers\" }\nready_within = \"50s\"",
    );
    place.write("suite.toml", text);
    let running = Running::start(&place, place.tool(&["run", "suite.toml"]));
    let mut started = Vec::new();
    let up = within(Duration::from_secs(20), || {
        started = children(running.pid());
        started.len() == 2
    });
    assert!(up, "{started:?}\n{}", running.err());
    running.signal(Signal::INT);
    running.wait().exits(130);
    all_gone(&started);
    assert_eq!(place.left_behind(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_second_signal_ends_the_tool_at_once_and_what_it_started() {
    let (_load, place) = (load(), Place::new());
    let (running, started) = in_mid_run(&place);
    // A frozen service cannot answer the first request to end, so the tool would wait for it.
    let store = started.iter().find(|p| p.name == "eventbench").unwrap();
    rustix::process::kill_process(pid(store.pid), Signal::STOP).unwrap();
    running.signal(Signal::INT);
    let noticed = within(Duration::from_secs(3), || {
        running.signal(Signal::INT);
        !lives_still(running.pid())
    });
    assert!(noticed, "{}", running.err());
    running.wait().exits(130);
    all_gone(&started);
}

/// Whether a child of this process still runs: a child that has ended stays as its exit status until it is waited for.
fn lives_still(pid: u32) -> bool {
    children(std::process::id()).iter().any(|p| p.pid == pid)
}

#[test]
fn a_service_that_will_not_end_is_killed_with_what_it_started() {
    let (_load, place) = (load(), Place::new());
    let script = "trap '' TERM; sleep 4711 & echo $! > grandchild.pid; while :; do wait; done";
    let suite = format!(
        r#"{HEAD}
[service.mine]
run = ["sh", "-c", "{script}"]
stop_within = "200ms"
[[benchmark]]
name = "one"
trials = 1
drive = {{ driver = "nats", subject = "a", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a" }}
load = {{ arrival = "constant", rate = "100/s", duration = "500ms" }}
limits = ["lost == 0"]
"#
    );
    place.write("suite.toml", suite);
    let running = Running::start(&place, place.tool(&["run", "suite.toml"]));
    let mut grandchild = Vec::new();
    let up = within(Duration::from_secs(20), || {
        let shells: Vec<Started> = children(running.pid()).into_iter().filter(|p| p.name == "sh").collect();
        grandchild = shells.iter().flat_map(|sh| children(sh.pid)).collect();
        grandchild.len() == 1 && !place.read("grandchild.pid").is_empty()
    });
    assert!(up, "{grandchild:?}\n{}", running.err());
    let ran = running.wait().exits(1);
    assert!(
        flat(&ran.out).contains("did not end within 0.2 s of SIGTERM and was killed"),
        "{}",
        ran.out
    );
    all_gone(&grandchild);
}
