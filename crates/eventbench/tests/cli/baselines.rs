//! Baselines and comparisons at the command line: on records that lie in the history, and once from end to end.

use crate::common::*;
use eventbench_core::judge::Verdict;
use eventbench_core::record::{Pair, RunRecord};
use eventbench_report::SCHEMA;
use eventbench_store::History;
use eventbench_testkit::golden;
use serde_json::Value;

const BASE: &str = "20251101-100000-base";
const NEXT: &str = "20251102-100000-next";

/// A run as it should be, and one that is so many times slower, in the history of a place.
fn two_runs(slower: f64) -> Place {
    let place = Place::new();
    put(&place, &golden::latency(BASE, 1_761_991_200_000, 1.0, 10));
    put(&place, &golden::latency(NEXT, 1_762_077_600_000, slower, 10));
    place
}

fn put(place: &Place, record: &RunRecord) {
    History::open(&place.history()).unwrap().put_record(record).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON ({e}):\n{text}"))
}

#[test]
fn what_is_slower_fails_and_says_by_how_much() {
    let place = two_runs(1.3);
    let ran = place.run(&["compare", BASE, NEXT]).exits(1);
    assert!(ran.out.starts_with("FAIL  slower: "), "{}", ran.out);
    let said = flat(&ran.out);
    for text in [
        "response_time p(50)",
        "WORSE",
        "single-event-latency",
        &format!("a: run {BASE} of 2025-11-01"),
        "margin 5 %",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{}", ran.out);
    }
    let turned = place.run(&["compare", NEXT, BASE]).exits(0);
    assert!(turned.out.starts_with("PASS  faster: "), "{}", turned.out);
    let same = place.run(&["compare", BASE, BASE, "--quiet", "--quiet"]).exits(0);
    assert_eq!(same.out, "");
    assert!(
        place
            .run(&["compare", BASE, BASE])
            .exits(0)
            .out
            .starts_with("PASS  no change")
    );
}

#[test]
fn flags_say_what_decides() {
    let place = two_runs(1.3);
    // So much is tolerated.
    place.run(&["compare", BASE, NEXT, "--margin", "60%"]).exits(0);
    // A figure that has not changed decides alone.
    place
        .run(&["compare", BASE, NEXT, "--gate", "delivered.rate value"])
        .exits(0);
    let plain = ["compare", BASE, NEXT, "--margin", "60%", "--fail-on"];
    let with = |thresholds: &str| {
        let mut args = plain.to_vec();
        args.push(thresholds);
        place.run(&args)
    };
    with("mean:100%,p(95):1s").exits(0);
    let ran = with("mean:10%").exits(1);
    assert!(flat(&ran.out).contains("threshold"), "{}", ran.out);
    with("nonsense:10%")
        .exits(2)
        .complains(&["threshold \"nonsense:10%\"", "mean:10%"]);
    let four = ["p(50)", "p(95)", "p(99)", "mean"].map(|g| ["--gate", g]).concat();
    let args = [vec!["compare", BASE, NEXT], four].concat();
    place
        .run(&args)
        .exits(2)
        .complains(&["--gate was given 4 times", "3 figures decide"]);
    place
        .run(&["compare", BASE, NEXT, "--gate", "offered value"])
        .exits(2)
        .complains(&["cannot decide"]);
    place.run(&["compare", BASE, NEXT, "--margin", "0%"]).exits(2);
    place.run(&["compare", BASE]).exits(2).complains(&["two runs"]);
}

#[test]
fn a_benchmark_that_is_gone_is_no_data_and_never_a_pass() {
    let place = two_runs(1.0);
    let mut gone = golden::latency("20251103-100000-gone", 1_762_164_000_000, 1.0, 10);
    gone.benchmarks.pop();
    put(&place, &gone);
    let ran = place.run(&["compare", BASE, &gone.run.id]).exits(4);
    assert!(ran.out.starts_with("NO DATA  no data: "), "{}", ran.out);
    assert!(flat(&ran.out).contains("does not have this benchmark"), "{}", ran.out);
}

#[test]
fn a_comparison_is_written_in_every_format() {
    let place = two_runs(1.3);
    let ran = place
        .run(&[
            "compare",
            BASE,
            NEXT,
            "-o",
            "markdown=c.md",
            "-o",
            "json=c.json",
            "-o",
            "csv=c.csv",
        ])
        .exits(1);
    assert!(ran.out.contains("WORSE"), "{}", ran.out);
    assert!(
        place
            .read("c.md")
            .starts_with(&format!("# Comparison: {NEXT} with {BASE}"))
    );
    let document = json(&place.read("c.json"));
    assert_eq!(document["verdict"], "fail");
    assert_eq!(document["comparison"]["a"]["run"], BASE);
    let mut schema = json(SCHEMA);
    schema["required"] = serde_json::json!(["version", "verdict", "comparison"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&document).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let rows = document["comparison"]["rows"].as_array().unwrap().len();
    assert_eq!(place.read("c.csv").lines().count(), rows + 1);
    // To standard output: that and nothing else.
    let printed = place.run(&["compare", BASE, NEXT, "-o", "json"]).exits(1);
    assert_eq!(printed.out, place.read("c.json"));
    place
        .run(&["compare", BASE, NEXT, "-o", "log"])
        .exits(2)
        .complains(&["terminal, markdown, json, csv"]);
    place
        .run(&["compare", BASE, NEXT, "-o", "json=no/such/file"])
        .exits(2)
        .complains(&["no/such"]);
}

#[test]
fn runs_that_are_not_alike_are_refused_with_what_differs() {
    let place = two_runs(1.0);
    let mut other = golden::latency("20251104-100000-othr", 1_762_250_400_000, 1.0, 10);
    other.run.environment.cpu = "Another CPU".to_owned();
    other
        .run
        .environment
        .versions
        .insert("nats-server".to_owned(), "2.9.0".to_owned());
    put(&place, &other);
    place.run(&["compare", BASE, &other.run.id]).exits(2).complains(&[
        "cannot be compared",
        "Example CPU @ 2.60GHz, here Another CPU",
        "nats-server: 2.15.1, here 2.9.0",
        "--allow-mismatch",
    ]);
    let ran = place
        .run(&["compare", BASE, &other.run.id, "--allow-mismatch", "-o", "json"])
        .exits(0);
    let comparison = &json(&ran.out)["comparison"];
    assert_eq!(comparison["mismatches"].as_array().unwrap().len(), 2);
    for row in comparison["rows"].as_array().unwrap() {
        let words = row["words"].as_str().unwrap();
        assert!(
            words.contains("CPU model") || row["decision"]["is"] == "no_data",
            "{words}"
        );
    }
    let shown = place
        .run(&["compare", BASE, &other.run.id, "--allow-mismatch"])
        .exits(0);
    assert!(flat(&shown.out).contains("Not the same: CPU model"), "{}", shown.out);
}

#[test]
fn the_two_sides_of_a_duel_are_compared_pair_by_pair() {
    let place = Place::new();
    let [mut a, mut b] = [golden::latency(BASE, 1, 1.0, 5), golden::latency(NEXT, 2, 1.0, 5)];
    let pair = |partner: &RunRecord, label: &str, first| {
        Some(Pair {
            partner: partner.run.id.clone(),
            label: label.to_owned(),
            first,
            settings: Vec::new(),
        })
    };
    (a.run.pair, b.run.pair) = (pair(&b, "old queue", true), pair(&a, "new queue", false));
    // What differs between the variants is what is compared, and no reason to refuse it.
    b.run
        .environment
        .versions
        .insert("nats-server".to_owned(), "2.9.0".to_owned());
    put(&place, &a);
    put(&place, &b);
    let ran = place.run(&["compare", BASE, NEXT, "-o", "json"]).exits(0);
    let comparison = &json(&ran.out)["comparison"];
    assert_eq!(comparison["paired"], true);
    assert_eq!(
        (&comparison["a"]["label"], &comparison["b"]["label"]),
        (&"old queue".into(), &"new queue".into())
    );
}

#[test]
fn a_name_stands_for_a_run() {
    let place = two_runs(1.3);
    let list = place.run(&["baseline", "list"]).exits(0);
    assert!(list.out.contains("no baselines yet"), "{}", list.out);
    place
        .run(&["baseline", "save", "main", BASE])
        .exits(0)
        .complains(&[&format!("run {BASE} is baseline \"main\" of suite event-bus")]);
    let list = place.run(&["baseline", "list"]).exits(0);
    assert!(
        list.out.starts_with(&format!(
            "main  event-bus  standard  {BASE}  2025-11-01 10:00:00 UTC  saved 2"
        )),
        "{}",
        list.out
    );
    let shown = place.run(&["baseline", "show", "main"]).exits(0);
    for text in ["Example CPU @ 2.60GHz", "nats-server", "2.15.1", BASE] {
        assert!(shown.out.contains(text), "{text} is not in\n{}", shown.out);
    }
    // Wherever a run is asked for, the name will do.
    let ran = place.run(&["compare", "main", "latest"]).exits(1);
    assert!(ran.out.contains(&format!("a: main, run {BASE}")), "{}", ran.out);
    let by_flag = place.run(&["compare", "--baseline", "main"]).exits(1);
    assert_eq!(by_flag.out, ran.out);
    assert_eq!(
        place.run(&["compare", "--baseline", "main", NEXT]).exits(1).out,
        ran.out
    );
    assert_eq!(
        place.run(&["report", "main", "-o", "json"]).exits(0).out,
        place.run(&["report", BASE, "-o", "json"]).exits(0).out
    );
    // It can stand for another run, and for none.
    place
        .run(&["baseline", "save", "main"])
        .exits(0)
        .complains(&[NEXT, "in place of", BASE]);
    place.run(&["compare", "--baseline", "main"]).exits(0);
    place.run(&["baseline", "delete", "main"]).exits(0);
    place
        .run(&["baseline", "delete", "main"])
        .exits(2)
        .complains(&["no baseline \"main\""]);
    place
        .run(&["compare", "main", "latest"])
        .exits(3)
        .complains(&["main", "no baselines yet"]);
    place.run(&["report", BASE]).exits(0);
}

#[test]
fn what_will_not_do_as_a_baseline_is_refused() {
    let place = two_runs(1.0);
    for name in ["", "-x", "a b", "latest", "=1+1|<b>", "../../etc"] {
        let ran = place.run(&["baseline", "save", name, BASE]);
        assert_eq!(ran.code, Some(2), "{name}: {}", ran.err);
    }
    for (record, says) in [
        (golden::invalid(), "could not be trusted"),
        (golden::no_data(), "no data for a limit"),
        (golden::interrupted(), "interrupted"),
        (golden::empty(), "not come to its end"),
    ] {
        put(&place, &record);
        place
            .run(&["baseline", "save", "bad", &record.run.id])
            .exits(2)
            .complains(&["was not saved", says]);
    }
    let failed = golden::fail_with_losses();
    put(&place, &failed);
    place
        .run(&["baseline", "save", "doubtful", &failed.run.id])
        .exits(0)
        .complains(&["warning: baseline \"doubtful\": burst failed a limit"]);
    place
        .run(&["baseline", "save", "x", "19990101"])
        .exits(3)
        .complains(&["no run \"19990101\""]);
    let list = place.run(&["baseline", "list"]).exits(0).out;
    assert!(list.starts_with("doubtful") && list.lines().count() == 1, "{list}");
}

#[test]
fn a_baseline_travels_as_a_file() {
    let place = two_runs(1.3);
    place.run(&["baseline", "save", "main", BASE]).exits(0);
    place.run(&["baseline", "export", "main", "main.json"]).exits(0);
    assert_eq!(
        place.read("main.json"),
        place.run(&["report", "main", "-o", "json"]).exits(0).out
    );
    assert_eq!(
        place.read("main.json"),
        place.run(&["baseline", "export", "main", "-"]).exits(0).out
    );
    place
        .run(&["baseline", "export", "other", "x.json"])
        .exits(2)
        .complains(&["no baseline \"other\"", "baselines main"]);

    // A file will do where a run is asked for, without any history.
    let far = Place::new();
    far.write("main.json", place.read("main.json"));
    far.write("next.json", place.run(&["report", NEXT, "-o", "json"]).exits(0).out);
    let ran = far.run(&["compare", "main.json", "next.json"]).exits(1);
    assert!(ran.out.contains(&format!("a: main.json, run {BASE}")), "{}", ran.out);
    assert_eq!(
        far.run(&["report", "main.json", "-o", "json"]).exits(0).out,
        far.read("main.json")
    );
    assert!(!far.history().exists());

    // The name is that of the file, unless another is given; the same file may come again.
    far.run(&["baseline", "import", "main.json"]).exits(0);
    far.run(&["baseline", "import", "main.json", "--name", "v1.2"]).exits(0);
    let list = far.run(&["baseline", "list"]).exits(0).out;
    assert!(
        list.contains("main ") && list.contains("v1.2 ") && list.matches(BASE).count() == 2,
        "{list}"
    );
    assert_eq!(
        far.run(&["report", "v1.2", "-o", "json"]).exits(0).out,
        far.read("main.json")
    );

    let mut changed = json(&far.read("main.json"));
    changed["run"]["seed"] = 7.into();
    far.write("main.json", changed.to_string());
    far.run(&["baseline", "import", "main.json"])
        .exits(3)
        .complains(&[BASE, "with other content"]);
    for (text, says) in [
        ("{", "no JSON"),
        ("{\"machine_info\": {}}", "no record of eventbench"),
        ("{\"version\": 99}", "version 99"),
        ("{\"version\": 1, \"run\": {}}", "missing field"),
    ] {
        far.write("bad.json", text);
        far.run(&["baseline", "import", "bad.json"])
            .exits(3)
            .complains(&["bad.json", says]);
        far.run(&["compare", "bad.json", "next.json"])
            .exits(3)
            .complains(&["bad.json", says]);
    }
    far.run(&["compare", "none.json", "next.json"])
        .exits(3)
        .complains(&["no file none.json"]);
    far.write("no name.json", place.read("main.json"));
    far.run(&["baseline", "import", "no name.json"])
        .exits(2)
        .complains(&["--name"]);
}

#[test]
fn a_name_that_stands_for_runs_of_two_suites_is_told_apart_by_the_other_side() {
    let place = two_runs(1.3);
    let mut rpc = golden::latency("20251105-100000-rpc0", 1_762_336_800_000, 1.0, 10);
    rpc.run.suite = "rpc".to_owned();
    put(&place, &rpc);
    for run in [BASE, &rpc.run.id] {
        place.run(&["baseline", "save", "main", run]).exits(0);
    }
    let ran = place.run(&["compare", "main", NEXT]).exits(1);
    assert!(ran.out.contains(&format!("a: main, run {BASE}")), "{}", ran.out);
    let turned = place.run(&["compare", NEXT, "main"]).exits(0);
    assert!(turned.out.contains(&format!("b: main, run {BASE}")), "{}", turned.out);
    place
        .run(&["report", "main"])
        .exits(2)
        .complains(&["several suites", BASE, &rpc.run.id]);
    place
        .run(&["baseline", "export", "main", "-"])
        .exits(2)
        .complains(&["--suite", "event-bus, rpc"]);
    place
        .run(&["baseline", "export", "main", "-", "--suite", "rpc"])
        .exits(0);
}

#[test]
fn no_name_acts_in_a_comparison() {
    let place = Place::new();
    let (mut a, mut b) = (golden::hostile(), golden::hostile());
    for (i, record) in [&mut a, &mut b].into_iter().enumerate() {
        record.run.id = format!("2025110{i}-=1+1|<b>`x`\u{1b}[31m");
        record.comparison = None;
        record.benchmarks[0].verdict = Verdict::Pass;
        record.benchmarks[0].checks.clear();
        record.benchmarks[0].error = None;
        put(&place, record);
    }
    for args in [
        ["compare", "20251100", "20251101", "--allow-mismatch"].as_slice(),
        &["compare", "20251100", "20251101", "-v"],
        &["compare", "20251100", "20251101", "-o", "markdown"],
    ] {
        let ran = place.run(args);
        assert!([Some(0), Some(4)].contains(&ran.code), "{ran:?}");
        let acts = (ran.out + &ran.err)
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(acts, None, "{args:?}");
    }
}

/// Two benchmarks that take a moment, of which the second fails a limit where it is asked to.
fn suite(second_limit: &str) -> String {
    let benchmark = |name: &str, limit: &str| {
        format!(
            r#"
[[benchmark]]
name = "{name}"
trials = 2
drive = {{ driver = "nats", subject = "{name}", payload = "{{stamp}}" }}
observe = {{ driver = "nats", subject = "{name}" }}
load = {{ arrival = "constant", rate = "200/s", duration = "300ms" }}
limits = ["{limit}"]
"#
        )
    };
    format!(
        "{HEAD}{}{}",
        benchmark("one", "lost == 0"),
        benchmark("two", second_limit)
    )
}

#[test]
fn a_run_is_compared_with_the_one_that_was_saved() {
    let (_load, place) = (load(), Place::new());
    place.write("suite.toml", suite("lost == 0"));
    // Before there is any.
    let ran = place.run(&["run", "suite.toml", "--baseline", "main"]).exits(2);
    ran.complains(&["no baseline \"main\" of suite t", "--save-baseline"]);
    place
        .run(&["run", "suite.toml", "--save-baseline", "main", "-o", "json=main.json"])
        .exits(0)
        .complains(&["is baseline \"main\" of suite t"]);
    let ran = place.run(&["run", "suite.toml", "--baseline", "mian"]).exits(2);
    assert!(!ran.err.contains("benchmarks, about"), "something was run: {}", ran.err);
    ran.complains(&["no baseline \"mian\"", "there are the baselines main"]);

    // Every event arrives in both runs, however slow the machine is; that alone decides here.
    let gate = ["--gate", "delivered.ratio value"];
    let args = [
        ["run", "suite.toml", "--baseline", "main"].as_slice(),
        &gate,
        &["-o", "json=next.json"],
    ]
    .concat();
    let ran = place.run(&args).exits(0);
    assert!(flat(&ran.out).contains("Compared with main PASS"), "{}", ran.out);
    let next = json(&place.read("next.json"));
    let rows = next["comparison"]["rows"].as_array().unwrap();
    let gates: Vec<&Value> = rows.iter().filter(|r| r["role"] == "gate").collect();
    assert_eq!(gates.len(), 2, "{rows:#?}");
    assert!(
        gates
            .iter()
            .all(|r| r["decision"]["is"] == "same" && r["a"] == 1.0 && r["b"] == 1.0),
        "{gates:#?}"
    );
    // The comparison is part of the record: it is shown again, and says the same by itself.
    for format in ["terminal", "markdown", "json"] {
        let again = |run: &str| place.run(&["report", run, "-o", format]).exits(0).out;
        assert_eq!(again("latest"), again("next.json"), "{format}");
    }
    assert!(flat(&place.run(&["report"]).exits(0).out).contains("Compared with main"));
    let by_hand = [["compare", "main", "latest"].as_slice(), &gate, &["-o", "json"]].concat();
    assert_eq!(
        json(&place.run(&by_hand).exits(0).out)["comparison"],
        next["comparison"]
    );

    // Against a baseline that was a thousand times faster, any machine is slower.
    let mut fast: RunRecord = serde_json::from_str(&place.read("main.json")).unwrap();
    fast.run.id = "20250101-000000-fast".to_owned();
    for figure in fast
        .benchmarks
        .iter_mut()
        .flat_map(|b| &mut b.figures)
        .filter(|f| f.metric == "response_time")
    {
        figure.value = figure.value.map(|v| v / 1e3);
        figure.interval = figure.interval.map(|(low, high)| (low / 1e3, high / 1e3));
        figure.trials.iter_mut().flatten().for_each(|v| *v /= 1e3);
    }
    put(&place, &fast);
    place.run(&["baseline", "save", "fast", &fast.run.id]).exits(0);
    let ran = place
        .run(&["run", "suite.toml", "--baseline", "fast", "--fail-on", "mean:100%"])
        .exits(1);
    assert!(
        ran.out.starts_with("FAIL") && flat(&ran.out).contains("Compared with fast FAIL slower:"),
        "{}",
        ran.out
    );
    let listed = place.run(&["report", "--list"]).exits(0).out;
    assert!(listed.lines().next().unwrap().contains("FAIL"), "{listed}");

    // Another plan, which is known before the load.
    let ran = place
        .run(&["run", "suite.toml", "--baseline", "main", "--rate", "100/s"])
        .exits(2);
    assert!(!ran.err.contains("benchmarks, about"), "something was run: {}", ran.err);
    ran.complains(&["cannot be compared with main", "plan of one", "--allow-mismatch"]);
    let mut args = args.clone();
    args.extend(["--rate", "100/s", "--allow-mismatch", "--no-history"]);
    let ran = place.run(&args).exits(0);
    assert!(flat(&ran.out).contains("Not the same: plan of one"), "{}", ran.out);

    // A benchmark that is gone from the suite is no data.
    let whole = place.read("suite.toml");
    let (only_one, _) = whole.rsplit_once("\n[[benchmark]]").unwrap();
    place.write("suite.toml", only_one);
    let mut args = args.clone();
    args.retain(|a| !["--rate", "100/s"].contains(a));
    let ran = place.run(&args).exits(4);
    assert!(flat(&ran.out).contains("Compared with main NO DATA"), "{}", ran.out);
}

#[test]
fn a_run_that_failed_often_enough_stops_and_is_no_baseline() {
    let (_load, place) = (load(), Place::new());
    let text = suite("lost == 0").replace("limits = [\"lost == 0\"]", "limits = [\"delivered == 0\"]");
    place.write("suite.toml", text);
    let ran = place
        .run(&[
            "run",
            "suite.toml",
            "--max-fail",
            "1",
            "--save-baseline",
            "bad",
            "-o",
            "json=run.json",
        ])
        .exits(1)
        .complains(&["was not saved", "broke off"]);
    assert!(
        flat(&ran.out).contains("stopped after 1 failed") && flat(&ran.out).contains("Not run: two"),
        "{}",
        ran.out
    );
    let record = json(&place.read("run.json"));
    assert_eq!(
        (&record["run"]["ended"], record["benchmarks"].as_array().unwrap().len()),
        (&"broken_off".into(), 1)
    );
    // The last one that was left to run: then all were run.
    place
        .run(&["run", "suite.toml", "--max-fail", "2", "-o", "json=run.json"])
        .exits(1);
    let record = json(&place.read("run.json"));
    assert_eq!(
        (&record["run"]["ended"], record["benchmarks"].as_array().unwrap().len()),
        (&"complete".into(), 2)
    );
}

#[test]
fn flags_of_a_comparison_need_something_to_compare_with() {
    let place = Place::new();
    place.write("suite.toml", suite("lost == 0"));
    for flags in [["--margin", "5%"], ["--gate", "p(50)"], ["--fail-on", "mean:10%"]] {
        let args = [["run", "suite.toml"].as_slice(), &flags].concat();
        place.run(&args).exits(2).complains(&[flags[0], "--baseline"]);
    }
    place
        .run(&["run", "suite.toml", "--allow-mismatch"])
        .exits(2)
        .complains(&["--baseline"]);
    place
        .run(&["run", "suite.toml", "--save-baseline", "a b"])
        .exits(2)
        .complains(&["letters, digits"]);
    place
        .run(&["run", "suite.toml", "--save-baseline", "x", "--no-history"])
        .exits(2)
        .complains(&["--no-history"]);
    place.run(&["run", "suite.toml", "--max-fail", "0"]).exits(2);
}
