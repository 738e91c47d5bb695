//! Duels and calibrations as a user runs them: what they say, what they keep, and that nothing is left of them.

use crate::common::*;
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A suite without any system, whose events take as long as is said.
const FAKE: &str = r#"[suite]
name = "t"
max_lateness = "30s"
max_spread = "100000%"

[[benchmark]]
name = "one"
drive = { driver = "fake", latency = "1ms" }
load = { arrival = "constant", rate = "200/s", duration = "200ms" }
limits = ["abandoned == 0"]
"#;

/// The two records of a duel as JSON, the first variant's and the second's.
fn both(place: &Place) -> (Value, Value) {
    let read =
        |run: &str| -> Value { serde_json::from_str(&place.run(&["report", run, "-o", "json"]).exits(0).out).unwrap() };
    let (a, b) = (read("latest~1"), read("latest"));
    assert_eq!(
        (&a["run"]["pair"]["first"], &b["run"]["pair"]["first"]),
        (&true.into(), &false.into())
    );
    assert_eq!(a["run"]["pair"]["partner"], b["run"]["id"]);
    assert_eq!(b["run"]["pair"]["partner"], a["run"]["id"]);
    (a, b)
}

/// The row of a figure in a comparison.
#[track_caller]
fn row<'a>(comparison: &'a Value, metric: &str, stat: &str) -> &'a Value {
    comparison["rows"]
        .as_array()
        .and_then(|rows| rows.iter().find(|r| r["metric"] == metric && r["stat"] == stat))
        .unwrap_or_else(|| panic!("no {stat} of {metric} in {comparison:#}"))
}

/// The comparison that was written to a file as JSON.
#[track_caller]
fn written(place: &Place, name: &str) -> Value {
    let text = place.read(name);
    let mut json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text:?}"));
    json["comparison"].take()
}

#[test]
fn a_duel_needs_a_difference_and_says_how_to_give_one() {
    let place = Place::new();
    place.run(&["duel", "event-bus"]).exits(2).complains(&[
        "give --a KEY=VALUE, --b KEY=VALUE",
        "eventbench duel --only EB-1 --b",
        "worktree=",
    ]);
    assert!(!place.history().exists());
}

#[test]
fn what_cannot_be_set_is_refused_before_anything_is_run() {
    let place = Place::new();
    place.write("suite.toml", FAKE);
    let duel = |b: &str| place.run(&["duel", "suite.toml", "--b", b]).exits(2);
    duel("benchmark.one.drive.latensy=2ms").complains(&["--b benchmark.one.drive.latensy=2ms", "unknown field"]);
    duel("benchmark.two.trials=2").complains(&["there is no entry \"two\"; there is one"]);
    duel("benchmark.one.name=other").complains(&["different benchmarks, one and other"]);
    duel("worktree=absent").complains(&["no release build", "cargo build --release"]);
    duel("program=/bin/sh").complains(&["would not be used"]);
    duel("nats-version=2.15.1").complains(&["starts no nats-server"]);
    duel("nonsense").complains(&["expected KEY=VALUE"]);
    place
        .run(&["run", "suite.toml", "--set", "suite.sead=7"])
        .exits(2)
        .complains(&["--set suite.sead=7: unknown field"]);
    place
        .run(&["duel", "suite.toml", "--b", "suite.seed=2", "-o", "log=x.log"])
        .exits(2)
        .complains(&["a comparison has no format \"log\""]);
    assert!(!place.history().exists());
}

#[test]
fn a_setting_reaches_the_run_and_its_record() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", FAKE);
    let set = [
        "--set",
        "benchmark.one.load.rate=50/s",
        "--set",
        "benchmark.one.trials=1",
    ];
    let mut args = vec!["run", "suite.toml", "-o", "json=run.json"];
    args.extend(set);
    place.run(&args).exits(0);
    let json: Value = serde_json::from_str(&place.read("run.json")).unwrap();
    assert_eq!(books(&json, "sent"), 10);
    let overrides = json["run"]["overrides"].as_array().unwrap();
    assert!(
        overrides.contains(&"benchmark.one.load.rate=50/s".into()),
        "{overrides:?}"
    );
}

#[test]
fn a_variant_two_seconds_slower_is_worse_and_its_mirror_image_better() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", FAKE);
    // No machine is so busy that events of one millisecond take two seconds in trial after trial.
    let slow = "benchmark.one.drive.latency=2s";
    let duel = |side: &str, output: &str| {
        let fixed = [
            "duel",
            "suite.toml",
            "--pairs",
            "4",
            "--placement",
            "free",
            "--b-label",
            "new",
        ];
        let own = [side, slow, "--gate", "response_time p(50)", "-o", output];
        place.run(&[fixed.as_slice(), own.as_slice()].concat())
    };
    let ran = duel("--b", "json=worse.json").exits(1);
    assert!(flat(&ran.out).contains("new"), "{}", ran.out);
    let worse = written(&place, "worse.json");
    let (a, b) = both(&place);
    let decided = row(&b["comparison"], "response_time", "p(50)");
    assert_eq!(decided["decision"]["is"], "worse", "{decided:#}");
    assert_eq!(b["comparison"]["paired"], true);
    assert_eq!(b["run"]["pair"]["settings"], serde_json::json!([slow]));
    for record in [&a, &b] {
        assert!(
            record["run"].get("placement").is_none(),
            "{}",
            record["run"]["placement"]
        );
        assert_eq!(benchmark(record, "one")["trials"].as_array().unwrap().len(), 4);
    }
    // What was written is what was kept.
    assert_eq!(row(&worse, "response_time", "p(50)")["decision"]["is"], "worse");

    duel("--a", "json=better.json").exits(0);
    let better = written(&place, "better.json");
    assert_eq!(row(&better, "response_time", "p(50)")["decision"]["is"], "better");
}

#[test]
fn the_two_records_compared_again_give_the_same_rows() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", FAKE);
    let args = [
        "duel",
        "suite.toml",
        "--b",
        "benchmark.one.drive.latency=3ms",
        "--pairs",
        "3",
        "--placement",
        "free",
    ];
    let ran = place.run(&args);
    assert!([Some(0), Some(1)].contains(&ran.code), "{ran:?}");
    let (a, b) = both(&place);
    let id = |record: &Value| record["run"]["id"].as_str().unwrap().to_owned();
    let again = place.run(&["compare", &id(&a), &id(&b), "-o", "json", "--allow-mismatch"]);
    let again: Value = serde_json::from_str(&again.out).unwrap_or_else(|e| panic!("{e}: {again:?}"));
    let again = &again["comparison"];
    let rows = |comparison: &Value| {
        let rows = comparison["rows"].as_array().unwrap();
        assert!(!rows.is_empty());
        rows.clone()
    };
    assert_eq!(rows(again), rows(&b["comparison"]));
}

#[test]
fn a_variant_that_cannot_be_run_is_named() {
    let (_load, place) = (load(), Place::new());
    let suite = StoreSuite {
        place: &place,
        store: &[],
        drive: CHAT,
        load: r#"arrival = "constant", rate = "100/s", duration = "200ms""#,
        more: "",
    };
    place.write("suite.toml", suite.text());
    let broken = "service.store.run=/bin/sh -c 'echo I will not; exit 7'";
    let args = [
        "duel",
        "suite.toml",
        "--b",
        broken,
        "--b-label",
        "broken",
        "--placement",
        "free",
    ];
    place
        .run(&args)
        .exits(3)
        .complains(&["variant \"broken\"", "store", "I will not"]);
    assert_eq!(place.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn an_interrupted_duel_compares_the_finished_pairs_and_leaves_nothing_behind() {
    let (_load, place) = (load(), Place::new());
    let suite = StoreSuite {
        place: &place,
        store: &[],
        drive: CHAT,
        load: r#"arrival = "constant", rate = "100/s", duration = "300ms""#,
        more: "",
    };
    place.write("suite.toml", suite.text());
    // Without a flag for placement, so that what keeps the cores awake is among what must be gone.
    let args = [
        "duel",
        "suite.toml",
        "--b",
        "service.store.run+=--batch-count,900",
        "--pairs",
        "500",
    ];
    let running = Running::start(&place, place.tool(&args));
    let rows = || {
        rusqlite::Connection::open(place.path("events.db"))
            .and_then(|db| db.query_row("SELECT count(*) FROM messages", [], |r| r.get::<_, i64>(0)))
            .unwrap_or(0)
    };
    // A trial stores 30 rows at the same place, so with more than five times as many two pairs are finished.
    let mut started = Vec::new();
    let ready = within(Duration::from_secs(50), || {
        started = children(running.pid());
        rows() > 150 && started.len() >= 2
    });
    assert!(ready, "not in mid-duel: {started:?}\n{}", running.err());
    running.signal(Signal::INT);
    let ran = running.wait().exits(130);
    assert!(
        within(Duration::from_secs(20), || !started.iter().any(lives)),
        "{started:?}"
    );
    assert_eq!(place.left_behind(), Vec::<PathBuf>::new());
    assert!(ran.out.contains("as it is"), "{}", ran.out);
    let (a, b) = both(&place);
    let trials = |record: &Value| benchmark(record, "one")["trials"].as_array().unwrap().len();
    assert!(trials(&a) >= 2, "{}", trials(&a));
    assert_eq!(trials(&a), trials(&b));
    assert_eq!(
        (&a["run"]["ended"], &b["run"]["ended"]),
        (&"interrupted".into(), &"interrupted".into())
    );
    assert!(!b["comparison"]["rows"].as_array().unwrap().is_empty());
}

#[test]
fn a_calibration_is_kept_and_answers_later() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", FAKE);
    let calibrate = |more: &[&str]| {
        let fixed = ["calibrate", "suite.toml", "--placement", "free"];
        place.run(&[fixed.as_slice(), more].concat())
    };
    calibrate(&["--plan", "3%"]).exits(4).complains(&[
        "noise of one is not known",
        "eventbench calibrate suite.toml --only one",
    ]);
    calibrate(&["--list"])
        .exits(4)
        .complains(&["nothing is known of this machine"]);
    assert!(!place.history().exists());
    let ran = calibrate(&["--pairs", "5"]).exits(0);
    assert!(
        ran.out.contains("10 pairs") && ran.out.contains("response_time"),
        "{}",
        ran.out
    );
    let listed = calibrate(&["--list"]).exits(0);
    assert!(
        listed.out.contains("one") && listed.out.contains("5 in 1"),
        "{}",
        listed.out
    );
    let planned = calibrate(&["--plan", "3%"]).exits(0);
    assert!(planned.out.contains("To see a change of 3"), "{}", planned.out);
    // It belongs to the machine as it was placed, and to no run.
    place.run(&["report", "latest"]).exits(3);
    calibrate(&["--pairs", "5"]).exits(0);
    let listed = calibrate(&["--list"]).exits(0);
    assert!(listed.out.contains("10 in 2"), "{}", listed.out);
    place.run(&["calibrate", "suite.toml", "--pairs", "4"]).exits(2);
}
