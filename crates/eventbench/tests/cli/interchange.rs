//! Runs go out to other tools and come in from them, whole and once.

use crate::common::*;
use eventbench_core::record::RunRecord;
use eventbench_testkit::golden;

/// As pytest-benchmark writes it: a function timed in rounds of one call.
const PYTEST: &str = r#"{
    "machine_info": { "node": "vm", "system": "Linux", "release": "6.8.0", "cpu": { "brand_raw": "CPU", "count": 2 } },
    "commit_info": { "id": "abc123", "branch": "main", "dirty": false },
    "benchmarks": [
        {
            "group": null,
            "name": "test_sorted",
            "fullname": "test_x.py::test_sorted",
            "params": null,
            "extra_info": {},
            "options": { "disable_gc": false, "timer": "perf_counter", "min_rounds": 5 },
            "stats": { "min": 0.001, "max": 0.004, "mean": 0.0025, "stddev": 0.00129, "median": 0.0025, "rounds": 4,
                "iterations": 1, "q1": 0.0015, "q3": 0.0035, "iqr": 0.002, "data": [0.004, 0.001, 0.002, 0.003] }
        }
    ],
    "datetime": "2026-11-21T15:49:00.950030+00:00",
    "version": "5.3.1"
}"#;

/// A history with every golden record, by way of an import.
fn golden_place() -> (Place, usize) {
    let records: Vec<RunRecord> = golden::records().into_iter().map(|(_, r)| r).collect();
    let place = Place::new();
    place.write("golden.json", serde_json::to_vec(&records).unwrap());
    let ran = place.run(&["history", "import", "golden.json"]).exits(0);
    assert_eq!(ran.out, format!("imported {} runs\n", records.len()));
    (place, records.len())
}

/// A place whose history came from a file of another.
fn imported(file: &str, bytes: &str) -> Place {
    let place = Place::new();
    place.write(file, bytes);
    place.run(&["history", "import", file]).exits(0);
    place
}

#[test]
fn a_tidy_table_comes_back_as_the_same_bytes() {
    let (place, _) = golden_place();
    place.run(&["history", "export", "-o", "tidy.csv"]).exits(0);
    let first = place.read("tidy.csv");
    assert!(first.lines().count() > 1000, "{}", first.lines().count());
    let other = imported("tidy.csv", &first);
    let second = other.run(&["history", "export"]).exits(0).out;
    assert!(first == second, "the table of the imported runs differs");
    // Where the runs are already, nothing happens, and nothing is lost.
    let ran = place.run(&["history", "import", "tidy.csv"]).exits(0);
    assert!(ran.out.starts_with("imported 0 runs; "), "{}", ran.out);
    assert!(place.run(&["history", "export"]).exits(0).out == first);
    // Spreadsheets write a mark in front and two characters at the end of a line.
    let dressed = format!("\u{feff}{}", first.replace("\r\n", "\n").replace('\n', "\r\n"));
    let head = dressed.lines().take(50).collect::<Vec<_>>().join("\r\n");
    imported("head.csv", &head);
}

#[test]
fn whole_records_come_back_as_they_were() {
    let (place, n) = golden_place();
    let export = ["history", "export", "--format", "json"];
    let first = place.run(&export).exits(0).out;
    let records: Vec<RunRecord> = serde_json::from_str(&first).unwrap();
    assert_eq!(records.len(), n);
    for (_, golden) in golden::records() {
        let there = records.iter().find(|r| r.run.id == golden.run.id).unwrap();
        assert!(*there == golden, "{} has changed", golden.run.id);
    }
    let other = imported("all.json", &first);
    assert!(other.run(&export).exits(0).out == first);
    place
        .run(&["history", "export", "--format", "json", "--benchmark", "burst"])
        .exits(2)
        .complains(&["a record is whole"]);
}

#[test]
fn what_is_exported_can_be_chosen() {
    let (place, _) = golden_place();
    let count = |args: &[&str]| {
        let out = place.run(&[&["history", "export"], args].concat()).exits(0).out;
        let runs: std::collections::BTreeSet<&str> = out.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
        runs.len()
    };
    // The last of them was killed before anything was measured, and has no rows.
    assert_eq!(count(&["--suite", "event-bus", "--last", "3"]), 2);
    let burst = place
        .run(&["history", "export", "--benchmark", "burst", "-o", "b.csv"])
        .exits(0);
    assert!(burst.out.is_empty());
    assert!(place.read("b.csv").lines().skip(1).all(|l| l.contains(",burst,")));
    for args in [["--suite", "no-such"], ["--branch", "main"], ["--benchmark", "no-such"]] {
        place
            .run(&[&["history", "export"], &args[..]].concat())
            .exits(4)
            .complains(&["no run of the history"]);
    }
    place
        .run(&["history", "export", "-o", "no/such/file.csv"])
        .exits(3)
        .complains(&["no/such/file.csv"]);
}

#[test]
fn a_file_of_pytest_benchmark_is_a_run_that_can_be_reported() {
    let place = Place::new();
    place.write("bench.json", PYTEST);
    let ran = place.run(&["history", "import", "bench.json"]).exits(0);
    assert_eq!(ran.out, "imported 1 run\n");
    place.write("copy.json", format!("\u{feff}{}", PYTEST.replace('\n', "\r\n")));
    let ran = place.run(&["history", "import", "bench.json", "copy.json"]).exits(0);
    assert_eq!(ran.out, "imported 0 runs; 2 were there already\n");
    let shown = place.run(&["report", "latest", "-v"]).exits(0).out;
    assert!(
        shown.contains("test_x.py::test_sorted") && shown.contains("2.5 ms"),
        "{shown}"
    );
    let table = place.run(&["history", "export", "--branch", "main"]).exits(0).out;
    assert!(
        table.contains(
            ",main,abc123,pytest-benchmark,imported,test_x.py::test_sorted,,1,response_time,,mean,ns,lower,2500000\n"
        ),
        "{table}"
    );

    let ran = place
        .run(&["history", "export", "--format", "pytest-benchmark"])
        .exits(0);
    let back: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let stats = &back["benchmarks"][0]["stats"];
    assert_eq!(
        (stats["rounds"].as_u64(), stats["max"].as_f64()),
        (Some(4), Some(0.004))
    );
    assert_eq!(back["commit_info"]["id"], "abc123");
    place.write("back.json", ran.out);
    place
        .run(&["history", "import", "back.json", "--suite", "back"])
        .exits(0);
    let table = place.run(&["history", "export", "--suite", "back"]).exits(0).out;
    assert!(table.contains(",response_time,,mean,ns,lower,2500000\n"), "{table}");
    // Two runs are two files, named as pytest-benchmark's own storage names them.
    let all = ["history", "export", "--format", "pytest-benchmark"];
    place.run(&all).exits(2).complains(&["one run a file", "-o runs/"]);
    place.run(&[&all[..], &["-o", "runs/"]].concat()).exits(0);
    let mut files: Vec<String> = std::fs::read_dir(place.path("runs"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert!(
        files.len() == 2 && files[0].starts_with("0001_20261121-154900-"),
        "{files:?}"
    );
}

#[test]
fn a_directory_of_criterion_is_a_run() {
    let place = Place::new();
    let estimates = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":9.5,"upper_bound":9.75},"point_estimate":9.625,"standard_error":0.006},"median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":9.6,"upper_bound":9.7},"point_estimate":9.65,"standard_error":0.006},"median_abs_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":0.03,"upper_bound":0.06},"point_estimate":0.05,"standard_error":0.006},"slope":null,"std_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":0.04,"upper_bound":0.09},"point_estimate":0.07,"standard_error":0.01}}"#;
    for (directory, id) in [
        ("fib/20/new", "fib/20"),
        ("fib/30/new", "fib/30"),
        ("fib/30/base", "old"),
    ] {
        let directory = format!("criterion/{directory}");
        std::fs::create_dir_all(place.path(&directory)).unwrap();
        place.write(&format!("{directory}/estimates.json"), estimates);
        place.write(
            &format!("{directory}/benchmark.json"),
            format!(r#"{{"group_id":"fib","function_id":null,"value_str":null,"throughput":null,"full_id":"{id}","directory_name":"{id}","title":"{id}"}}"#),
        );
    }
    std::fs::create_dir_all(place.path("criterion/report")).unwrap();
    let import = ["history", "import", "criterion", "--commit", "abc", "--branch", "main"];
    assert_eq!(place.run(&import).exits(0).out, "imported 1 run\n");
    assert_eq!(
        place.run(&import).exits(0).out,
        "imported 0 runs; 1 was there already\n"
    );
    let table = place.run(&["history", "export", "--branch", "main"]).exits(0).out;
    for name in ["fib/20", "fib/30"] {
        let row = format!(",abc,criterion,imported,{name},,1,response_time,,mean,ns,lower,9.625\n");
        assert!(table.contains(&row), "{table}");
    }
    assert!(!table.contains("old"));
    place.write("criterion/fib/20/new/sample.json", "{\"iters\":[1],");
    place
        .run(&["history", "import", "criterion"])
        .exits(2)
        .complains(&["fib/20/new/sample.json: line 1"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    place
        .run(&["history", "import", "empty"])
        .exits(2)
        .complains(&["target/criterion"]);
}

#[test]
fn a_series_for_otava_is_a_row_a_run_and_comes_back() {
    let place = Place::new();
    let mut records = Vec::new();
    for day in 1..=5_i64 {
        let mut record = golden::all_pass();
        record.run.id = format!("2026010{day}-000000-day");
        record.run.started_unix_ms += day * 86_400_000;
        records.push(record);
    }
    place.write("runs.json", serde_json::to_vec(&records).unwrap());
    place.run(&["history", "import", "runs.json"]).exits(0);
    let otava = ["history", "export", "--format", "otava"];
    place.run(&[&otava[..], &["-o", "otava/"]].concat()).exits(0);
    let file = "otava/event-bus.single-event-latency.csv";
    let text = place.read(file);
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.starts_with("time,run,commit,branch,response_time"), "{text}");
    assert!(place.read("otava/otava.yaml").contains(file));
    let one = place
        .run(&[&otava[..], &["--benchmark", "single-event-latency"]].concat())
        .exits(0)
        .out;
    assert!(one == text);

    let other = imported("single.csv", &text);
    let table = other.run(&["history", "export"]).exits(0).out;
    let p95 = records[0].benchmarks[0]
        .figure("response_time", &[], "p(95)")
        .unwrap()
        .value
        .unwrap();
    let row = format!(",,,otava,imported,single,,,response_time,,p(95),ns,lower,{p95}\n");
    assert_eq!(table.matches(&row).count(), 5, "{row}\n{table}");
    let again = other.run(&["history", "import", "single.csv"]).exits(0).out;
    assert_eq!(again, "imported 0 runs; 5 were there already\n");
}

#[test]
fn what_cannot_be_read_is_refused_by_file_and_line_and_nothing_is_kept() {
    let place = Place::new();
    place.write("good.json", PYTEST);
    let refused = |name: &str, bytes: &[u8], args: &[&str], says: &[&str]| {
        place.write(name, bytes);
        // A good file before it, where the format is not given for both.
        let first: &[&str] = if args.is_empty() { &["good.json"] } else { &[] };
        let ran = place
            .run(&[&["history", "import"], first, &[name], args].concat())
            .exits(2)
            .complains(&[name])
            .complains(says);
        assert!(ran.out.is_empty(), "{}", ran.out);
        assert!(!place.history().exists(), "{name}: something was kept");
    };
    refused(
        "nan.json",
        PYTEST.replace("0.0025", "NaN").as_bytes(),
        &[],
        &["line 12", "nothing was imported"],
    );
    refused(
        "huge.json",
        PYTEST.replace("0.0025", "1e400").as_bytes(),
        &[],
        &["line 12", "out of range"],
    );
    refused(
        "less.json",
        PYTEST.replace("\"mean\": 0.0025,", "").as_bytes(),
        &[],
        &["missing field `mean`"],
    );
    refused(
        "cut.json",
        &PYTEST.as_bytes()[..700],
        &[],
        &["line", "nothing was imported"],
    );
    refused(
        "deep.json",
        format!("[{}", "[".repeat(200_000)).as_bytes(),
        &[],
        &["line 1"],
    );
    refused(
        "latin.csv",
        b"time,a\n2026-01-01,1\n2026-01-02,\xe9\n",
        &[],
        &["line 3", "UTF-8"],
    );
    refused(
        "what.txt",
        b"hello",
        &[],
        &["none of the formats", "pytest-benchmark", "criterion"],
    );
    refused("empty.csv", b"", &["--format", "tidy"], &["nothing in it"]);
    refused(
        "word.csv",
        b"time,a\r\n2026-01-01,1\r\n2026-01-02,x\r\n",
        &[],
        &["line 3", "\"x\" is no number"],
    );
    refused(
        "file.json",
        PYTEST.as_bytes(),
        &["--format", "criterion"],
        &["give the directory"],
    );
    place
        .run(&["history", "import", "good.json", "not-there"])
        .exits(3)
        .complains(&["not-there"]);
    place.run(&["history", "import"]).exits(2);
    place
        .run(&["history", "import", "good.json", "--format", "xml"])
        .exits(2)
        .complains(&["expected one of tidy"]);
}

#[test]
fn a_run_is_never_overwritten() {
    let (place, _) = golden_place();
    let before = place.run(&["history", "export"]).exits(0).out;
    let id = golden::all_pass().run.id;
    let mut record = golden::all_pass();
    record.benchmarks[0].figures[0].value = Some(1.0);
    place.write("other.json", serde_json::to_vec(&record).unwrap());
    place.write("new.json", PYTEST);
    place
        .run(&["history", "import", "new.json", "other.json"])
        .exits(2)
        .complains(&["other.json", &id, "never overwritten", "nothing was imported"]);
    assert!(place.run(&["history", "export"]).exits(0).out == before);
}
