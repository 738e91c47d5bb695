//! `--serve-metrics`: the figures of a run over HTTP while it lasts, and nothing of it before and after.

use crate::common::*;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Far longer than anything takes, even on a machine that does something else.
const LONG: Duration = Duration::from_secs(60);

/// A suite of two benchmarks, of which the second lasts until it is stopped.
fn suite(place: &Place, second: &str) {
    let benchmark = |name: &str, duration: &str| {
        format!(
            r#"
[[benchmark]]
name = "{name}"
trials = 1
drive = {{ driver = "nats", subject = "a.{name}", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "a.>" }}
load = {{ arrival = "constant", rate = "100/s", duration = "{duration}" }}
limits = ["mean < 50s", "lost == 0"]
"#
        )
    };
    place.write(
        "suite.toml",
        format!("{HEAD}{}{}", benchmark("one", "500ms"), benchmark("two", second)),
    );
}

/// A run that serves on a free port, with the base of its addresses.
fn serving(place: &Place, args: &[&str]) -> (Running, String) {
    let all = [&["run", "suite.toml", "--serve-metrics", "127.0.0.1:0"], args].concat();
    let mut running = Running::start(place, place.tool(&all));
    let mut base = None;
    let told = within(LONG, || {
        let said = running.err();
        let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        base = address.map(|a| format!("http://{a}"));
        base.is_some() || running.child.try_wait().unwrap().is_some()
    });
    let base = base
        .filter(|_| told)
        .unwrap_or_else(|| panic!("no address in {:?}", running.err()));
    (running, base)
}

/// What is served, with its content type; `None` where nobody answers.
fn get(url: &str) -> Option<(String, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(LONG)).build().into();
    let mut answer = agent.get(url).call().ok()?;
    let kind = answer.headers().get("content-type")?.to_str().ok()?.to_owned();
    Some((answer.body_mut().read_to_string().ok()?, kind))
}

/// The samples of a text of format 0.0.4 by series; ends the test when it is none.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ').next().unwrap().clone_into(&mut family);
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            assert!(series.starts_with(&family), "{line:?} stands below {family}");
            let before = samples.insert(series.to_owned(), value.parse().unwrap());
            assert!(before.is_none(), "{series} stands twice");
        }
    }
    assert!(text.ends_with('\n') && !samples.is_empty(), "{text:?}");
    samples
}

fn metrics(base: &str) -> Option<BTreeMap<String, f64>> {
    let (text, kind) = get(&format!("{base}/metrics"))?;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    Some(samples(&text))
}

#[test]
fn a_run_tells_what_goes_on_and_what_is_finished() {
    let (_load, place) = (load(), Place::new());
    suite(&place, "300s");
    let (running, base) = serving(&place, &[]);
    let series = |name: &str, labels: &str| format!("{name}{{suite=\"t\"{labels}}}");
    let (one, two) = (",benchmark=\"one\"", ",benchmark=\"two\"");
    let mut seen = BTreeMap::new();
    let under_way = within(LONG, || {
        seen = metrics(&base).unwrap_or_default();
        let p99 = series("eventbench_live_response_time_seconds", &format!("{two},stat=\"p99\""));
        seen.get(&p99).is_some_and(|s| *s > 0.0)
            && seen.get(&series("eventbench_live_done_per_second", two)) > Some(&0.0)
    });
    assert!(under_way, "{seen:#?}\n{}", running.err());
    let value = |name: &str, labels: &str| {
        let key = series(name, labels);
        *seen.get(&key).unwrap_or_else(|| panic!("no {key} in {seen:#?}"))
    };
    assert_eq!(value("eventbench_live_running", ""), 1.0);
    assert_eq!(value("eventbench_live_benchmarks", ",state=\"planned\""), 2.0);
    assert_eq!(value("eventbench_live_benchmarks", ",state=\"finished\""), 1.0);
    assert_eq!(value("eventbench_live_verdicts", ",verdict=\"pass\""), 1.0);
    assert_eq!(value("eventbench_live_benchmark", two), 2.0);
    // The books of what is finished: 100/s for half a second, each of them sent and seen once.
    assert_eq!(value("eventbench_live_sent_total", one), 50.0);
    assert_eq!(value("eventbench_live_done_total", one), 50.0);
    assert_eq!(value("eventbench_live_failed_total", two), 0.0);
    assert!(value("eventbench_live_sent_total", two) >= value("eventbench_live_done_total", two));
    let limit = format!("{one},limit=\"lost == 0\",severity=\"must\"");
    assert_eq!(value("eventbench_limit_status", &limit), 0.0);
    assert!(
        !seen
            .keys()
            .any(|k| k.starts_with("eventbench_limit_status") && k.contains(two))
    );
    let mean = value("eventbench_response_time_seconds", &format!("{one},stat=\"mean\""));
    assert!(mean > 0.0 && mean < 50.0, "{mean}");
    // Counters only grow.
    let sent = series("eventbench_live_sent_total", two);
    let before = seen[&sent];
    assert!(within(LONG, || metrics(&base).is_some_and(|now| now[&sent] > before)));
    the_page_shows_the_same(&base);

    running.signal(Signal::INT);
    let ran = running.wait().exits(130);
    assert!(ran.err.contains("/metrics"), "{}", ran.err);
    assert!(
        get(&format!("{base}/metrics")).is_none(),
        "something is served after the end"
    );
}

fn the_page_shows_the_same(base: &str) {
    let (page, kind) = get(&format!("{base}/")).unwrap();
    assert!(kind.starts_with("text/html"), "{kind}");
    // The policy lets nothing run that is written into the page, so nothing may be.
    assert!(
        !page.contains("<style") && !page.contains("onclick") && !page.contains("style="),
        "{page}"
    );
    for part in ["/live.js", "/live.css"] {
        assert!(page.contains(part), "{page}");
        assert!(!get(&format!("{base}{part}")).unwrap().0.is_empty());
    }
    let agent = ureq::Agent::new_with_defaults();
    let answer = agent.get(&format!("{base}/")).call().unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let mut state = Value::Null;
    let drawn = within(LONG, || {
        state = serde_json::from_str(&get(&format!("{base}/live.json")).unwrap().0).unwrap();
        state["points"].as_array().is_some_and(|points| points.len() > 1)
    });
    assert!(drawn, "{state:#}");
    assert_eq!(
        (&state["suite"], &state["current"]["name"]),
        (&"t".into(), &"two".into())
    );
    assert_eq!(state["finished"][0]["verdict"], "PASS", "{state:#}");
    let last = state["points"].as_array().unwrap().last().unwrap()[0].as_u64().unwrap();
    let (newer, _) = get(&format!("{base}/live.json?after={last}")).unwrap();
    let newer: Value = serde_json::from_str(&newer).unwrap();
    let numbers = newer["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p[0].as_u64().unwrap());
    assert!(numbers.into_iter().all(|n| n > last), "{newer:#}");
    assert!(get(&format!("{base}/nowhere")).is_none());
}

#[test]
fn a_port_that_is_taken_is_refused_before_any_load() {
    let place = Place::new();
    suite(&place, "300s");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let begun = Instant::now();
    place
        .run(&["run", "suite.toml", "--serve-metrics", &address])
        .exits(3)
        .complains(&[&format!("--serve-metrics {address}"), "another port"]);
    assert!(begun.elapsed() < Duration::from_secs(300), "the load came first");
    let runs = place.run(&["report", "--list"]).exits(0).out;
    assert_eq!(runs, "", "a run was begun");
    for (wrong, says) in [("nowhere", "no address to listen on"), ("1.2.3.4:port", "HOST:PORT")] {
        place
            .run(&["run", "suite.toml", "--serve-metrics", wrong])
            .exits(2)
            .complains(&[says]);
    }
    place
        .run(&["run", "suite.toml", "--serve-metrics-linger", "5s"])
        .exits(2)
        .complains(&["--serve-metrics"]);
}

#[test]
fn the_last_state_lingers_until_somebody_has_had_enough() {
    let (_load, place) = (load(), Place::new());
    suite(&place, "500ms");
    let (running, base) = serving(&place, &["--serve-metrics-linger", "3000s", "-o", "json=run.json"]);
    assert!(
        within(LONG, || running.err().contains("the last state is served")),
        "{}",
        running.err()
    );
    let seen = metrics(&base).unwrap();
    assert_eq!(seen["eventbench_live_running{suite=\"t\"}"], 0.0);
    assert_eq!(seen["eventbench_run_status{suite=\"t\"}"], 0.0);
    assert!(
        seen.contains_key("eventbench_run_duration_seconds{suite=\"t\"}"),
        "{seen:#?}"
    );
    // What is shown is what the record holds.
    let json: Value = serde_json::from_str(&place.read("run.json")).unwrap();
    assert_eq!(json["benchmarks"].as_array().map(Vec::len), Some(2));
    // The run has been measured, so Ctrl-C only ends the waiting: the exit code is that of the verdict.
    running.signal(Signal::INT);
    running.wait().exits(0);
    assert!(get(&format!("{base}/metrics")).is_none());

    // A short linger ends by itself.
    let (running, base) = serving(&place, &["--serve-metrics-linger", "10ms"]);
    running.wait().exits(0);
    assert!(get(&format!("{base}/metrics")).is_none());
}
