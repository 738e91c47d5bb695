//! What holds for every chart as a file.

use super::*;
use eventbench_testkit::golden;
use proptest::prelude::*;

fn all(record: &RunRecord) -> Vec<(String, Vec<u8>)> {
    files(record, &RenderOptions::default()).unwrap()
}

#[test]
fn every_chart_of_every_golden_record_is_well_formed_and_the_same_again() {
    for (name, record) in golden::records() {
        let charts = all(&record);
        let stored: RunRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert!(charts == all(&stored), "{name}");
        assert_eq!(charts.is_empty(), record.benchmarks.is_empty(), "{name}");
        for (file, bytes) in &charts {
            let text = std::str::from_utf8(bytes).unwrap();
            let document = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{name}: {file}: {e}\n{text}"));
            let root = document.root_element();
            assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
            assert!(
                root.children()
                    .any(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "title")))
            );
            let acts = |n: &roxmltree::Node| {
                ["script", "image", "foreignObject", "a", "use"].contains(&n.tag_name().name())
                    || n.attributes()
                        .any(|a| a.name().starts_with("on") || a.name().ends_with("href"))
            };
            assert!(
                !document.descendants().any(|n| acts(&n)),
                "{name}: {file} holds something that acts"
            );
            assert!(!text.contains("NaN") && !text.contains("inf"), "{name}: {file}");
            let control = text
                .chars()
                .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(control, None, "{name}: {file}");
        }
    }
}

#[test]
fn every_benchmark_that_ran_has_its_charts() {
    let record = golden::all_pass();
    let names: BTreeSet<String> = all(&record).into_iter().map(|f| f.0).collect();
    for name in [
        "histogram.svg",
        "single-event-latency-percentiles.svg",
        "single-event-latency-histogram.svg",
        "single-event-latency-timeline.svg",
        "single-event-latency-timeline-trial-3.svg",
        "memory-stability-timeline.svg",
    ] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
}

#[test]
fn an_extreme_among_a_hundred_thousand_points_stands_in_the_chart() {
    let mut record = golden::many_intervals();
    let bytes = |record: &RunRecord| {
        let trial = &record.benchmarks[0].trials[0];
        timeline(trial, COLUMNS).unwrap().body
    };
    let (before, peak) = (bytes(&record), golden::MANY_INTERVALS_PEAK);
    assert!(before.len() < 150_000, "{} bytes", before.len());
    // The one slow second decides how far the axis reaches.
    let interval = &mut record.benchmarks[0].trials[0].timeline[peak];
    assert_eq!(interval.max_ns, Some(9e9));
    interval.max_ns = interval.p99_ns;
    assert_ne!(before, bytes(&record));
    let label = |body: &str| body.contains(">10 s<");
    assert!(label(&before) && !label(&bytes(&record)));
}

#[test]
fn names_are_safe_and_told_apart() {
    for (name, expected) in [
        ("single-event-latency", "single-event-latency"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\con", "c-con"),
        ("Ünïcode/β", "n-code"),
        ("", "benchmark"),
        ("\u{0}\n", "benchmark"),
    ] {
        assert_eq!(safe(name), expected);
    }
    let mut record = golden::all_pass();
    for (b, name) in record.benchmarks.iter_mut().zip(["a/b", "A b", "a-b-2", "a-b"]) {
        b.name = name.to_owned();
    }
    let names: Vec<String> = all(&record).into_iter().map(|f| f.0).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

proptest! {
    #[test]
    fn no_name_leaves_the_directory(names in proptest::collection::vec(any::<String>(), 1..6)) {
        let mut record = golden::no_data();
        let benchmark = record.benchmarks.swap_remove(0);
        record.benchmarks = names.iter().map(|name| {
            let mut b = benchmark.clone();
            b.name = name.clone();
            b.trials[0].ledger.streams[0].stream = name.clone();
            b
        }).collect();
        let files = all(&record);
        let distinct: BTreeSet<String> = files.iter().map(|f| f.0.to_lowercase()).collect();
        prop_assert_eq!(distinct.len(), files.len());
        for (name, bytes) in files {
            let fits = name.len() < 100 && name.ends_with(".svg")
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
                && name.matches('.').count() == 1 && !name.starts_with(['-', '.']);
            prop_assert!(fits, "{}", name);
            prop_assert!(roxmltree::Document::parse(std::str::from_utf8(&bytes).unwrap()).is_ok());
        }
    }
}
