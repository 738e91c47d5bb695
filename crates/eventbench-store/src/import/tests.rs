//! Readers against real and damaged files.

use super::*;
use eventbench_core::judge::Verdict;
use eventbench_core::metric::{Better, MetricKey, MetricValue};
use eventbench_core::record::RunRecord;
use eventbench_testkit::golden;
use proptest::prelude::*;

fn origin() -> Origin {
    Origin {
        name: "a.file".to_owned(),
        ..Origin::default()
    }
}

/// As pytest-benchmark 5.3 writes it, with `stats` as given.
fn pytest(stats: &str) -> String {
    format!(
        r#"{{
    "machine_info": {{
        "node": "vm",
        "machine": "x86_64",
        "python_implementation": "CPython",
        "python_version": "3.11.7",
        "python_build": ["main", "May  9 2026 07:35:25"],
        "release": "6.8.0",
        "system": "Linux",
        "cpu": {{ "brand_raw": "AMD EPYC", "count": 2, "hz_actual": [2596096000, 0], "flags": ["aes"] }}
    }},
    "commit_info": {{
        "id": "5bd03898ebca88ce212f59fd5e32259330d4b810",
        "time": "2026-11-21T15:49:00Z",
        "dirty": false,
        "project": "real",
        "branch": "main"
    }},
    "benchmarks": [
        {{
            "group": "sums",
            "name": "test_sum[10]",
            "fullname": "test_x.py::test_sum[10]",
            "params": {{ "n": 10 }},
            "param": "10",
            "extra_info": {{ "foo": ["bar", {{}}] }},
            "options": {{ "disable_gc": false, "timer": "perf_counter", "min_rounds": 5, "warmup": false }},
            "stats": {stats}
        }}
    ],
    "datetime": "2026-11-21T15:49:00.950030+00:00",
    "version": "5.3.1"
}}"#
    )
}

const STATS: &str = r#"{
                "min": 1.61e-07, "max": 3.87e-06, "mean": 1.888e-07, "stddev": 1.027e-07, "rounds": 2169,
                "median": 1.657e-07, "iqr": 2.0e-09, "q1": 1.647e-07, "q3": 1.667e-07, "iqr_outliers": 345,
                "stddev_outliers": 228, "outliers": "228;345", "ld15iqr": 1.617e-07, "hd15iqr": 1.697e-07,
                "ops": 5295494.84, "total": 0.0004095, "iterations": 20
            }"#;

const WITH_DATA: &str = r#"{ "min": 0.001, "max": 0.004, "mean": 0.0025, "stddev": 0.00129, "median": 0.0025,
                "rounds": 4, "iterations": 1, "data": [0.004, 0.001, 0.002, 0.003] }"#;

fn one(format: ImportFormat, text: &str) -> RunRecord {
    let mut runs = read(format, text, &origin()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

fn refused(format: ImportFormat, text: &str) -> String {
    read(format, text, &origin()).expect_err(text).to_string()
}

fn value(record: &RunRecord, stat: &str) -> Option<f64> {
    record.benchmarks[0]
        .figure("response_time", &[], stat)
        .and_then(|f| f.value)
}

#[test]
fn statistics_of_pytest_benchmark_become_figures_of_one_trial() {
    let record = one(ImportFormat::PytestBenchmark, &pytest(STATS));
    let (run, b) = (&record.run, &record.benchmarks[0]);
    assert_eq!(
        (run.suite.as_str(), run.started_unix_ms),
        ("pytest-benchmark", 1_795_276_140_950)
    );
    assert!(run.id.starts_with("20261121-154900-"), "{}", run.id);
    assert!(run.notes[0].contains("a.file") && run.notes[0].contains("response times of a closed loop"));
    let source = run.source.as_ref().unwrap();
    assert_eq!((source.commit.len(), source.branch.as_deref()), (40, Some("main")));
    let environment = &run.environment;
    assert_eq!((environment.cpu.as_str(), environment.cores), ("AMD EPYC", 2));
    assert_eq!(environment.versions["cpython"], "3.11.7");
    assert_eq!(
        (b.name.as_str(), b.category.as_str()),
        ("test_x.py::test_sum[10]", "sums")
    );
    assert_eq!((b.verdict, b.closed_loop, b.trials.len()), (Verdict::NoData, true, 1));
    // To the file's precision, which whole nanoseconds would spoil.
    assert_eq!(value(&record, "mean"), Some(1.888e-07 * 1e9));
    assert_eq!(
        b.figure("response_time", &[], "mean").unwrap().trials,
        [value(&record, "mean")]
    );
    assert_eq!(value(&record, "count"), Some(2169.0));
    assert_eq!(value(&record, "p(95)"), None);
    assert!(b.trials[0].values.0.is_empty() && b.warnings[0].contains("20 iterations"));
}

#[test]
fn rounds_of_one_iteration_are_a_distribution() {
    let record = one(ImportFormat::PytestBenchmark, &pytest(WITH_DATA));
    let b = &record.benchmarks[0];
    let MetricValue::Latency(latency) = b.trials[0].values.get(&MetricKey::plain("response_time")).unwrap() else {
        panic!("no distribution")
    };
    assert_eq!((latency.count(), latency.max_ns()), (4, Some(4e6)));
    // Four rounds are too few for a percentile, and say so by having no value.
    assert!(
        b.figure("response_time", &[], "p(95)")
            .is_some_and(|f| f.value.is_none())
    );
    let n_less_one = 0.00129 * 1e9;
    assert!((value(&record, "stddev").unwrap() - n_less_one * 0.75_f64.sqrt()).abs() < 1e-3);
    assert!(b.warnings.is_empty());
}

#[test]
fn a_run_is_known_again_by_what_it_holds() {
    let text = pytest(STATS);
    let first = one(ImportFormat::PytestBenchmark, &text);
    let crlf = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let mut renamed = origin();
    renamed.name = "b.file".to_owned();
    let again = read(ImportFormat::PytestBenchmark, &crlf, &renamed).unwrap().remove(0);
    assert_eq!(first.run.id, again.run.id);
    let other = one(ImportFormat::PytestBenchmark, &text.replace("1.888e-07", "1.889e-07"));
    assert_ne!(first.run.id, other.run.id);
}

#[test]
fn what_pytest_benchmark_cannot_have_written_is_refused_with_its_line() {
    let good = pytest(STATS);
    for (from, to, says) in [
        ("1.888e-07", "-1e-07", "line 29: a duration of"),
        ("1.888e-07", "NaN", "line 29: expected value"),
        ("1.888e-07", "1e999", "line 29: number out of range"),
        ("1.888e-07", "1e300", "line 29: a duration of"),
        ("1.888e-07", "\"fast\"", "line 29: invalid type"),
        ("1.888e-07", "5e-06", "mean and median lie between min and max"),
        ("\"mean\": 1.888e-07, ", "", "missing field `mean`"),
        ("\"rounds\": 2169", "\"rounds\": -1", "line 29: invalid value"),
        ("\"rounds\": 2169", "\"rounds\": 0", "statistics of no rounds"),
        (
            "\"iterations\": 20",
            "\"iterations\": 1, \"data\": [1e-6]",
            "2169 rounds, and data of 1",
        ),
        (
            "\"datetime\": \"2026-11-21T15:49:00.950030+00:00\"",
            "\"datetime\": \"soon\"",
            "no instant",
        ),
        (
            "\"datetime\": \"2026-11-21T15:49:00.950030+00:00\",",
            "",
            "missing field `datetime`",
        ),
        (
            "\"benchmarks\": [",
            "\"benchmarks\": 7, \"b\": [",
            "line 19: invalid type",
        ),
        ("\"version\": \"5.3.1\"\n}", "\"version\": \"5.3.1\"", "EOF"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = refused(ImportFormat::PytestBenchmark, &good.replace(from, to));
        assert!(error.contains(says), "{to}: {error}");
    }
    let twice = good.replace("    ],\n    \"datetime\"", ",{\"name\": \"test_x.py::test_sum[10]\", \"stats\": {\"min\":0,\"max\":0,\"mean\":0,\"stddev\":0,\"median\":0,\"rounds\":1}}],\"datetime\"");
    assert!(refused(ImportFormat::PytestBenchmark, &twice).contains("two benchmarks named"));
    let deep = format!("{{\"benchmarks\": [], \"machine_info\": {}", "[".repeat(100_000));
    assert!(refused(ImportFormat::PytestBenchmark, &deep).contains("line 1"));
    let deep = format!("{{\"x\": {}", "{\"a\":".repeat(100_000));
    assert!(refused(ImportFormat::Record, &deep).contains("line 1"));
    assert!(refused(ImportFormat::PytestBenchmark, " \n").contains("nothing in it"));
}

const ESTIMATES: &str = r#"{"mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":9.5,"upper_bound":9.75},"point_estimate":9.625,"standard_error":0.006},"median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":9.6,"upper_bound":9.7},"point_estimate":9.65,"standard_error":0.006},"median_abs_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":0.03,"upper_bound":0.06},"point_estimate":0.05,"standard_error":0.006},"slope":null,"std_dev":{"confidence_interval":{"confidence_level":0.95,"lower_bound":0.04,"upper_bound":0.09},"point_estimate":0.07,"standard_error":0.01}}"#;

fn fib(sample: &str) -> CriterionBenchmark {
    CriterionBenchmark {
        path: "fib/20".to_owned(),
        estimates: ESTIMATES.to_owned(),
        benchmark: Some(r#"{"group_id":"fib","function_id":"iterative","value_str":"20","throughput":null,"full_id":"fib/iterative/20","directory_name":"fib/iterative/20","title":"fib/iterative/20"}"#.to_owned()),
        sample: Some(sample.to_owned()),
    }
}

#[test]
fn estimates_of_criterion_come_with_their_intervals() {
    let linear = fib(r#"{"sampling_mode":"Linear","iters":[100.0,200.0],"times":[950.0,1950.0]}"#);
    let record = read_criterion(std::slice::from_ref(&linear), 1_762_179_936_000, &origin()).unwrap();
    let b = &record.benchmarks[0];
    assert_eq!((b.name.as_str(), b.category.as_str()), ("fib/iterative/20", "fib"));
    let mean = b.figure("response_time", &[], "mean").unwrap();
    assert_eq!(
        (mean.value, mean.interval, mean.samples),
        (Some(9.625), Some((9.5, 9.75)), 2)
    );
    assert_eq!((value(&record, "min"), value(&record, "max")), (Some(9.5), Some(9.75)));
    assert!(b.trials[0].values.0.is_empty() && b.warnings[0].contains("mean of many iterations"));
    // Criterion keeps no date: the same figures found at another time are the same run.
    let again = read_criterion(&[linear], 1_800_000_000_000, &origin()).unwrap();
    assert_eq!(record.run.id, again.run.id);

    let flat = fib(r#"{"sampling_mode":"Flat","iters":[1,1,1],"times":[9000000,10000000,11000000]}"#);
    let record = read_criterion(&[flat], 0, &origin()).unwrap();
    assert_eq!(record.benchmarks[0].trials[0].values.0.len(), 1);
    let bare = CriterionBenchmark {
        path: "a b".to_owned(),
        estimates: ESTIMATES.to_owned(),
        ..Default::default()
    };
    assert_eq!(read_criterion(&[bare], 0, &origin()).unwrap().benchmarks[0].name, "a b");
}

#[test]
fn what_criterion_cannot_have_written_is_refused_with_its_file() {
    let says = |benchmark: CriterionBenchmark, text: &str| {
        let error = read_criterion(&[benchmark], 0, &origin()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    says(
        fib(r#"{"iters":[1.0],"times":[1.0,2.0]}"#),
        "fib/20/new/sample.json: 1 iters and 2 times",
    );
    says(fib(r#"{"iters":[0.0],"times":[1.0]}"#), "a sample of 0 iterations");
    says(fib("[]"), "fib/20/new/sample.json");
    let mut bad = fib("{\"iters\":[],\"times\":[]}");
    bad.estimates = ESTIMATES.replace("\"point_estimate\":9.625", "\"point_estimate\":-1");
    says(bad, "fib/20/new/estimates.json: line 1: a duration of");
    let twice = [fib("{\"iters\":[],\"times\":[]}"), fib("{\"iters\":[],\"times\":[]}")];
    assert!(read_criterion(&twice, 0, &origin()).is_err());
    assert!(
        read_criterion(&[], 0, &origin())
            .unwrap_err()
            .to_string()
            .contains("target/criterion")
    );
}

const TIDY: &str = "run,started,branch,commit,suite,profile,benchmark,variant,trial,metric,tags,stat,unit,better,value
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,,response_time,,count,count,higher,100
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,1,response_time,,count,count,higher,90
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,2,response_time,,count,count,higher,110
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,,response_time,,p(95),ns,lower,1500
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,1,response_time,,p(95),ns,lower,1000
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,,2,response_time,,p(95),ns,lower,2000
r1,2025-11-03T14:25:36.000Z,main,abc,s,quick,b,direct,,rss,process:store,max,bytes,lower,
r2,2025-11-04T14:25:36.000Z,,,s,quick,'=b,,,own,\"k\\,1:v\\:2,l:\",value,count,neutral,-0.5
";

#[test]
fn a_tidy_table_becomes_its_runs() {
    let runs = read(ImportFormat::Tidy, TIDY, &origin()).unwrap();
    assert_eq!(runs.iter().map(|r| r.run.id.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
    let b = &runs[0].benchmarks[0];
    let p95 = b.figure("response_time", &[], "p(95)").unwrap();
    assert_eq!(p95.trials, [Some(1000.0), Some(2000.0)]);
    assert_eq!((p95.range, p95.samples), (Some((1000.0, 2000.0)), 200));
    assert_eq!(p95.spread, Some(500.0 / 1500.0));
    assert_eq!(runs[0].run.source.as_ref().unwrap().branch.as_deref(), Some("main"));
    let direct = b.baseline.as_ref().unwrap();
    assert_eq!((direct.name.as_str(), direct.figures[0].value), ("direct", None));
    let other = &runs[1].benchmarks[0];
    assert_eq!((other.name.as_str(), runs[1].run.source.is_none()), ("=b", true));
    assert!(other.figure("own", &[("k,1", "v:2"), ("l", "")], "value").is_some());
    assert_eq!(ImportFormat::of(TIDY), Some(ImportFormat::Tidy));
}

#[test]
fn a_tidy_table_that_is_none_is_refused_with_its_line() {
    for (from, to, says) in [
        (",stat,", ",statistic,", "line 1: no column \"stat\""),
        (
            ",better,value",
            ",better,value,more",
            "line 1: a column that is not known",
        ),
        (
            "p(95),ns,lower,1500",
            "p(95),ns,lower,NaN",
            "line 5: \"NaN\" is no number",
        ),
        (
            "p(95),ns,lower,1500",
            "p(95),ns,lower,inf",
            "line 5: \"inf\" is no number",
        ),
        (
            "p(95),ns,lower,1500",
            "p(95),ns,lower,1e999",
            "line 5: \"1e999\" is no number",
        ),
        (
            "p(95),ns,lower,1500",
            "p(95),bytes,lower,1500",
            "line 5: response_time p(95) is counted in ns, not in bytes",
        ),
        (
            "p(95),ns,lower,1500",
            "p(95),parsec,lower,1500",
            "line 5: a unit that is not known",
        ),
        ("p(95),ns,lower,1500", "p(95),ns,down,1500", "line 5: better"),
        (
            "p(95),ns,lower,1500",
            "p(95),ns,lower,1500,9",
            "line 5: a row of 16 cells in a table of 15 columns",
        ),
        (
            ",1,response_time,,p(95)",
            ",2,response_time,,p(95)",
            "line 7: a second value",
        ),
        (
            ",1,response_time,,p(95)",
            ",x,response_time,,p(95)",
            "line 6: \"x\" is no number of a trial",
        ),
        ("r2,2025-11-04T14:25:36.000Z", "r2,now", "line 9: \"now\" is no instant"),
        ("r2,", "r 2,", "line 9: \"r 2\" is no id"),
        ("r2,2025", "r1,2025", "line 9: run r1 has another start"),
        ("process:store", "store", "line 8: \"store\" are no tags"),
    ] {
        assert!(TIDY.contains(from), "{from}");
        let error = refused(ImportFormat::Tidy, &TIDY.replacen(from, to, 1));
        assert!(error.starts_with(says), "{to}: {error}");
    }
    let cr = TIDY
        .replace('\n', "\r\n")
        .replacen("p(95),ns,lower,1500", "p(95),ns,lower,x", 1);
    assert!(refused(ImportFormat::Tidy, &cr).starts_with("line 5: "));
    let without = TIDY.replacen(",,response_time,,p(95),ns", ",3,response_time,,p(95),ns", 1);
    assert!(refused(ImportFormat::Tidy, &without).starts_with("line 5: a trial's value without"));
    let head = TIDY.lines().next().unwrap();
    assert!(refused(ImportFormat::Tidy, head).contains("without rows"));
}

#[test]
fn a_table_of_otava_becomes_runs_in_order() {
    let text = "time,commit,metric1,response_time p(95) [ns],note,a/b/rss{process:x} max [bytes]\r\n\
                2026.01.01 3:00:00 +0100,aaa0,154023,1e6,first,5\r\n2026.01.02 3:00:00 +0100,aaa1,138455,,second,6\r\n";
    let mut origin = origin();
    origin.benchmark = Some("bus".to_owned());
    let runs = read(ImportFormat::Otava, text, &origin).unwrap();
    assert_eq!(runs.len(), 2);
    assert!(runs[0].run.id.starts_with("20260101-020000-") && runs[0].run.id < runs[1].run.id);
    assert_eq!(runs[0].run.source.as_ref().unwrap().commit, "aaa0");
    assert_eq!(runs[0].run.environment.facts["note"], "first");
    let bus = &runs[0].benchmarks[0];
    assert_eq!(bus.name, "bus");
    assert_eq!(bus.figure("metric1", &[], "value").unwrap().trials, [Some(154_023.0)]);
    assert_eq!(value(&runs[0], "p(95)"), Some(1e6));
    let counted = "time,response_time count [count],lost value [count]\n2026-01-01,7,0\n";
    let counted = read(ImportFormat::Otava, counted, &origin)
        .unwrap()
        .remove(0)
        .benchmarks
        .remove(0);
    assert_eq!(
        counted.figures.iter().map(|f| f.better).collect::<Vec<_>>(),
        [Better::Higher, Better::Lower]
    );
    assert!(runs[1].benchmarks[0].figure("response_time", &[], "p(95)").is_none());
    assert_eq!(runs[0].benchmarks[1].name, "a/b");
    assert!(
        runs[0].benchmarks[1]
            .figure("rss", &[("process", "x")], "max")
            .is_some()
    );
    assert_eq!(ImportFormat::of(text), Some(ImportFormat::Otava));
    for (from, to, says) in [
        ("154023", "many", "line 2: \"many\" is no number"),
        ("2026.01.02", "2026.13.02", "line 3: "),
        ("time,", "when,", "line 1: no column \"time\""),
        ("aaa1,138455", "aaa1", "line 3: a row of 5 cells"),
        ("note", "metric1", "line 1: two columns"),
    ] {
        let error = read(ImportFormat::Otava, &text.replacen(from, to, 1), &origin)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(says), "{to}: {error}");
    }
}

#[test]
fn records_are_read_as_they_are() {
    for (name, record) in golden::records() {
        let text = serde_json::to_string_pretty(&record).unwrap();
        assert_eq!(ImportFormat::of(&text), Some(ImportFormat::Record), "{name}");
        assert_eq!(one(ImportFormat::Record, &text), record, "{name}");
    }
    let all: Vec<RunRecord> = golden::records().into_iter().map(|r| r.1).collect();
    let text = serde_json::to_string(&all).unwrap();
    let distinct: std::collections::BTreeSet<&str> = all.iter().map(|r| r.run.id.as_str()).collect();
    if distinct.len() == all.len() {
        assert_eq!(read(ImportFormat::of(&text).unwrap(), &text, &origin()).unwrap(), all);
    }
    let mut record = golden::empty();
    record.version += 1;
    let newer = serde_json::to_string(&record).unwrap();
    assert!(refused(ImportFormat::Record, &newer).contains("use a newer eventbench"));
    record.version -= 1;
    record.run.id = "../../x".to_owned();
    assert!(refused(ImportFormat::Record, &serde_json::to_string(&record).unwrap()).contains("is no id of a run"));
    assert!(refused(ImportFormat::Record, "[]").contains("empty list"));
    // Sums that would overflow as soon as two trials are put together.
    let good = serde_json::to_string(&golden::all_pass()).unwrap();
    let at = good.find("\"sum_ns\":\"").unwrap() + 10;
    let end = at + good[at..].find('"').unwrap();
    let bad = format!("{}{}{}", &good[..at], u128::MAX, &good[end..]);
    assert!(refused(ImportFormat::Record, &bad).contains("cannot be those of its histogram"));
}

#[test]
fn formats_are_told_apart() {
    for name in ImportFormat::names() {
        assert_eq!(ImportFormat::named(name).map(ImportFormat::name), Some(name));
    }
    assert_eq!(ImportFormat::of(&pytest(STATS)), Some(ImportFormat::PytestBenchmark));
    assert_eq!(ImportFormat::of("\u{feff}\"time\",\"a\"\n"), Some(ImportFormat::Otava));
    for text in ["", "\u{feff}", "{}", "a,b\n1,2\n", "hello"] {
        assert_eq!(ImportFormat::of(text), None, "{text:?}");
    }
}

/// A good text of each format.
fn examples() -> Vec<(ImportFormat, String)> {
    vec![
        (ImportFormat::PytestBenchmark, pytest(STATS)),
        (ImportFormat::PytestBenchmark, pytest(WITH_DATA)),
        (ImportFormat::Tidy, TIDY.to_owned()),
        (
            ImportFormat::Otava,
            "time,commit,m\n2026-01-01,a,1\n2026-01-02,b,2\n".to_owned(),
        ),
        (ImportFormat::Record, serde_json::to_string(&golden::empty()).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics(text in any::<String>(), which in 0usize..5) {
        let format = examples()[which].0;
        let _ = (ImportFormat::of(&text), read(format, &text, &origin()));
    }

    #[test]
    fn no_damage_panics(which in 0usize..5, at in any::<prop::sample::Index>(), n in 0usize..40, put in "[-0-9eE.,:\"{}\\[\\]\\\\\n\r\t a-zé\u{0}]{0,12}") {
        let (format, text) = examples().swap_remove(which);
        let characters: Vec<char> = text.chars().collect();
        let from = at.index(characters.len());
        let to = (from + n).min(characters.len());
        let damaged: String = characters[..from].iter().copied().chain(put.chars()).chain(characters[to..].iter().copied()).collect();
        for run in read(format, &damaged, &origin()).unwrap_or_default() {
            for figure in run.benchmarks.iter().flat_map(|b| &b.figures) {
                prop_assert!(figure.value.into_iter().chain(figure.trials.iter().flatten().copied()).all(f64::is_finite));
            }
        }
        let _ = read_criterion(&[CriterionBenchmark { path: "x".to_owned(), estimates: damaged.clone(), benchmark: Some(damaged.clone()), sample: Some(damaged) }], 0, &origin());
    }

    #[test]
    fn no_damage_to_criterion_panics(at in any::<prop::sample::Index>(), n in 0usize..20, put in "[-0-9eE.,:\"{}\\[\\]a-z]{0,8}") {
        let from = at.index(ESTIMATES.len());
        let to = (from + n).min(ESTIMATES.len());
        let estimates = format!("{}{put}{}", &ESTIMATES[..from], &ESTIMATES[to..]);
        let _ = read_criterion(&[CriterionBenchmark { path: "x".to_owned(), estimates, ..Default::default() }], 0, &origin());
    }
}
