//! `eventbench history`: what it says of forty runs whose levels are known, which runs it leaves out, and when it fails.

use crate::common::*;
use eventbench_core::judge::{Figure, Verdict};
use eventbench_core::record::{Ended, Revision, RunRecord};
use eventbench_core::units::Unit;
use eventbench_store::History;
use eventbench_testkit::golden;
use serde_json::Value;
use std::sync::LazyLock;

const DAY_MS: i64 = 86_400_000;
const BENCH: &str = "single-event-latency";

/// A run of the golden suite in which everything takes `factor` of its time; a day after the one before it.
fn run(number: usize, factor: f64) -> RunRecord {
    static GOLDEN: LazyLock<RunRecord> = LazyLock::new(golden::all_pass);
    let mut record = GOLDEN.clone();
    record.run.id = format!("2026{number:04}-060000-abcd");
    record.run.started_unix_ms = 1_767_247_200_000 + number as i64 * DAY_MS;
    record.run.source = Some(Revision {
        commit: format!("{number:040x}"),
        branch: Some("main".to_owned()),
    });
    let times = |f: &&mut Figure| f.unit == Unit::Nanoseconds;
    for figure in record.benchmarks.iter_mut().flat_map(|b| &mut b.figures).filter(times) {
        figure.value = figure.value.map(|v| v * factor);
        figure.range = figure.range.map(|(low, high)| (low * factor, high * factor));
        figure.interval = figure.interval.map(|(low, high)| (low * factor, high * factor));
        figure.trials.iter_mut().flatten().for_each(|v| *v *= factor);
    }
    record
}

/// Runs at these levels with a noise of 2 %: multiples of the golden ratio, which have neither ties nor a trend.
fn at_levels(levels: &[(usize, f64)]) -> Vec<RunRecord> {
    let levels = levels.iter().flat_map(|(n, level)| std::iter::repeat_n(*level, *n));
    let noise = |i: usize| 1.0 + 0.02 * (i as f64 * 0.618_033_988_75).fract();
    levels.enumerate().map(|(i, level)| run(i, level * noise(i))).collect()
}

fn history(place: &Place, records: &[RunRecord]) {
    let mut history = History::open(&place.history()).unwrap();
    for record in records {
        history.begin(&record.run).unwrap();
        for (index, benchmark) in record.benchmarks.iter().enumerate() {
            history.put(&record.run.id, index, benchmark).unwrap();
        }
        history.finish(&record.run).unwrap();
    }
}

/// A place with forty runs, the last ten of which are slower by an eighth.
fn slower() -> Place {
    let place = Place::new();
    history(&place, &at_levels(&[(30, 1.0), (10, 1.125)]));
    place
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", ran.out, ran.err))
}

#[test]
fn a_step_is_told_with_its_run_its_commit_and_its_size() {
    let place = slower();
    let text = place.run(&["history", BENCH]).exits(0).out;
    let since = "since run 20260030-060000-abcd (2026-01-31, commit 0000000000): 12.";
    assert!(flat(&text).contains(since), "{text}");
    assert!(
        text.contains("% slower, ") && text.contains("response_time p(50) *"),
        "{text}"
    );
    assert!(
        text.contains("event-bus (standard), branch main: 40 runs, 2026-01-01 to 2026-02-09"),
        "{text}"
    );

    let found = json(&place.run(&["history", BENCH, "--json"]).exits(0));
    let found = &found["histories"][0];
    assert_eq!(found["series"]["runs"].as_array().unwrap().len(), 40);
    let trend = found["trends"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["stat"] == "p(50)")
        .unwrap();
    let changes = trend["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert_eq!(
        (&changes[0]["index"], &changes[0]["direction"]),
        (&30.into(), &"worse".into())
    );
    let effect = changes[0]["effect"].as_f64().unwrap();
    assert!((0.11..0.14).contains(&effect), "{effect}");
    assert_eq!(trend["points"][39]["trials"], 3);
    // What did not change is not said to have.
    let rate = found["trends"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["metric"] == "delivered.rate")
        .unwrap();
    assert_eq!(rate["changes"], Value::Array(Vec::new()));
}

#[test]
fn the_overview_shows_every_benchmark_and_a_figure_every_run() {
    let place = slower();
    let text = place.run(&["history"]).exits(0).out;
    for benchmark in &run(0, 1.0).benchmarks {
        assert!(text.contains(&benchmark.name), "{} is not in\n{text}", benchmark.name);
    }
    let text = place.run(&["history", BENCH, "response_time p(95)"]).exits(0).out;
    assert_eq!(text.lines().filter(|l| l.contains(" UTC ")).count(), 40, "{text}");
    let mark = text.lines().position(|l| l.starts_with("--- ")).unwrap();
    assert!(
        text.lines().nth(mark + 1).unwrap().contains("20260030-060000-abcd"),
        "{text}"
    );
    // A percentile that is not kept is worked out from the distributions, whose times nobody has changed.
    let text = place.run(&["history", BENCH, "p(90)"]).exits(0).out;
    assert_eq!(text.lines().filter(|l| l.contains(" UTC ")).count(), 40, "{text}");
    assert!(!text.contains("---"), "{text}");
    // With the last few only there is no change to see.
    let text = place.run(&["history", BENCH, "p(50)", "--last", "8"]).exits(0).out;
    assert_eq!(text.lines().filter(|l| l.contains(" UTC ")).count(), 8, "{text}");
    assert!(text.contains("32 earlier") && !text.contains("---"), "{text}");
}

#[test]
fn an_alert_is_a_new_change_for_the_worse() {
    let place = slower();
    let text = place.run(&["history", "--alert"]).exits(1).out;
    assert!(
        text.contains(&format!("WORSE  {BENCH}  response_time p(50)  since run 20260030")),
        "{text}"
    );
    let found = json(&place.run(&["history", BENCH, "p(50)", "--alert", "--json"]).exits(1));
    assert_eq!(
        (&found["verdict"], &found["worse"][0]["change"]["index"]),
        (&"fail".into(), &30.into())
    );
    // Too small for those who ask for more, and no news within fewer runs.
    let calm = place.run(&["history", "--alert", "--min-change", "20%"]).exits(0).out;
    assert!(calm.starts_with("No change for the worse of 20 % or more"), "{calm}");
    place.run(&["history", "--alert", "--within", "6"]).exits(0);
}

#[test]
fn better_or_steady_is_no_alert() {
    for levels in [[(30, 1.0), (10, 0.85)], [(30, 1.0), (10, 1.0)]] {
        let place = Place::new();
        history(&place, &at_levels(&levels));
        let text = place.run(&["history", "--alert"]).exits(0).out;
        assert!(
            text.starts_with("No change for the worse of 5 % or more in the newest 10 runs"),
            "{text}"
        );
    }
    // A single bad run, even the newest one.
    let place = Place::new();
    history(&place, &at_levels(&[(20, 1.0), (1, 3.0), (18, 1.0), (1, 2.0)]));
    place.run(&["history", "--alert"]).exits(0);
}

#[test]
fn too_few_runs_are_no_data_and_never_a_pass() {
    let place = Place::new();
    history(&place, &at_levels(&[(6, 1.0)]));
    let text = place.run(&["history", "--alert"]).exits(4).out;
    assert!(
        text.contains("NO DATA") && text.contains("6 runs") && text.contains("at least 16 are needed"),
        "{text}"
    );
    let found = json(&place.run(&["history", "--alert", "--json"]).exits(4));
    assert_eq!(found["verdict"], "no_data");
    // A figure that decides and that no run has.
    let place = Place::new();
    let mut records = at_levels(&[(30, 1.0)]);
    for record in &mut records {
        record.run.plan["suite"]["gate"] = serde_json::json!(["restart value"]);
    }
    history(&place, &records);
    place.run(&["history", "--alert"]).exits(4);
}

#[test]
fn only_runs_that_are_alike_are_compared() {
    let place = Place::new();
    let mut records = at_levels(&[(30, 1.0), (12, 2.0)]);
    let others = &mut records[30..];
    others[0].run.overrides = vec!["--rate 5/s".to_owned()];
    others[1].run.environment.cpu = "Another CPU".to_owned();
    others[2].run.profile = "quick".to_owned();
    others[3].benchmarks[0].verdict = Verdict::Invalid;
    others[4].benchmarks[0].verdict = Verdict::NoData;
    others[5].run.ended = Ended::Interrupted;
    for other in &mut others[6..] {
        other.run.source = None;
    }
    history(&place, &records);
    let text = place
        .run(&["history", BENCH, "--branch", "main", "--profile", "standard"])
        .exits(0)
        .out;
    for left_out in [
        "1 interrupted",
        "1 of another machine or placement",
        "1 of another profile",
        "1 with other overrides",
        "6 of another branch",
        "1 invalid",
        "1 without data",
    ] {
        assert!(flat(&text).contains(left_out), "{left_out} is not in\n{text}");
    }
    assert!(!text.contains("since run"), "{text}");
    // All branches together are slower by half.
    let text = place.run(&["history", BENCH, "--branch", "all"]).exits(0).out;
    assert!(text.contains("since run"), "{text}");
    // Without a branch, runs without a branch: six of them.
    let found = json(&place.run(&["history", BENCH, "--json"]).exits(0));
    assert_eq!(found["histories"][0]["series"]["runs"].as_array().unwrap().len(), 6);
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    place.run(&["history"]).exits(3).complains(&["there is no history"]);
    history(&place, &at_levels(&[(3, 1.0)]));
    place
        .run(&["history", "nonsense"])
        .exits(2)
        .complains(&["no benchmark \"nonsense\"", "there are", BENCH]);
    place
        .run(&["history", BENCH, "respons_time p(50)"])
        .exits(2)
        .complains(&["did you mean"]);
    place
        .run(&["history", BENCH, "cpu.per_event"])
        .exits(2)
        .complains(&["no run of", "there are cpu.per_event{process:"]);
    place
        .run(&["history", "--suite", "other"])
        .exits(4)
        .complains(&["no run that was finished of suite other"]);
    place
        .run(&["history", BENCH, "--branch", "x"])
        .exits(4)
        .complains(&["of branch x"]);
    place
        .run(&["history", BENCH, "offered value", "--alert"])
        .exits(2)
        .complains(&["cannot decide"]);
    place
        .run(&["history", "--within", "5"])
        .exits(2)
        .complains(&["--alert"]);
    place
        .run(&["history", "--alert", "--within", "3"])
        .exits(2)
        .complains(&["--within"]);
}

#[test]
fn colour_width_and_locale_are_kept_to() {
    let place = slower();
    let text = place.run(&["history", BENCH, "--color", "always"]).exits(0).out;
    assert!(text.contains("\u{1b}[31m"), "{text}");
    let text = place.run(&["history", BENCH]).exits(0).out;
    assert!(!text.contains('\u{1b}') && text.contains('→'), "{text}");
    for args in [
        vec!["history"],
        vec!["history", BENCH],
        vec!["history", BENCH, "p(50)"],
        vec!["history", "--alert"],
    ] {
        let mut command = place.tool(&args);
        command.env("LC_ALL", "C");
        let text = place.finish(command).out;
        assert!(text.is_ascii() && text.len() > 50, "{text}");
    }
}

#[test]
fn a_csv_of_ones_own_is_searched_too() {
    let place = Place::new();
    let mut text = "time,latency,note,rate\n".to_owned();
    for i in 0..60 {
        let level = if i < 40 { 5.0 } else { 6.0 };
        let noise = 1.0 + 0.02 * (f64::from(i) * 0.618_033_988_75).fract();
        let rate = if i == 7 {
            String::new()
        } else {
            format!("{}", 100.0 * noise)
        };
        text.push_str(&format!("day {i},{},n/a,{rate}\n", level * noise));
    }
    place.write("series.csv", text);
    let said = place.run(&["history", "--series", "series.csv"]).exits(0).out;
    assert!(
        said.contains("since value 41 (day 40): ") && said.contains("% more, "),
        "{said}"
    );
    let found = json(&place.run(&["history", "--series", "series.csv", "--json"]).exits(0));
    let series = found["series"].as_array().unwrap();
    let names: Vec<&str> = series.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["latency", "rate"]);
    assert_eq!(series[0]["changes"][0]["index"], 40);
    assert_eq!(
        (&series[1]["values"], series[1]["changes"].as_array().unwrap().len()),
        (&59.into(), 0)
    );
    // What `history export` writes is read as well: one series a figure.
    history(&place, &at_levels(&[(30, 1.0), (10, 1.125)]));
    place.run(&["history", "export", "-o", "runs.csv"]).exits(0);
    let found = json(&place.run(&["history", "--series", "runs.csv", "--json"]).exits(0));
    let median = format!("event-bus standard {BENCH} response_time med");
    let series = found["series"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["name"] == median.as_str());
    assert_eq!(series.unwrap()["changes"][0]["index"], 30, "{found:#}");

    place.write("words.csv", "a,b\nx,y\n");
    place
        .run(&["history", "--series", "words.csv"])
        .exits(2)
        .complains(&["words.csv", "numbers"]);
    place
        .run(&["history", "--series", "missing.csv"])
        .exits(2)
        .complains(&["missing.csv"]);
}

#[test]
fn a_run_knows_the_commit_that_it_was_made_from() {
    let (_load, place) = (load(), Place::new());
    let commit = "0123456789abcdef0123456789abcdef01234567";
    std::fs::create_dir_all(place.path(".git/refs/heads")).unwrap();
    place.write(".git/HEAD", "ref: refs/heads/trunk\n");
    place.write(".git/refs/heads/trunk", commit);
    place.write(
        "suite.toml",
        "[suite]\nname = \"t\"\nmax_lateness = \"10s\"\n[[benchmark]]\nname = \"one\"\ntrials = 1\n\
         drive = { driver = \"fake\", latency = \"1ms\" }\nload = { arrival = \"constant\", rate = \"100/s\", duration = \"200ms\" }\n",
    );
    let mut command = place.tool(&["run", "suite.toml", "-o", "json=run.json"]);
    for name in ["GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"] {
        command.env_remove(name);
    }
    place.finish(command);
    let record: Value = serde_json::from_str(&place.read("run.json")).unwrap();
    assert_eq!(
        record["run"]["source"],
        serde_json::json!({ "commit": commit, "branch": "trunk" })
    );
}
