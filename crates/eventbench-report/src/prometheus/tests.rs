use super::*;
use eventbench_core::metric::STATISTICS;
use eventbench_testkit::golden;

fn text(record: &RunRecord) -> String {
    String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
}

/// Name and value of a line, and whether its labels are well formed.
fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap();
    let mut rest = labels.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once("=\"").unwrap();
        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => assert!("\\\"n".contains(chars.next().unwrap().1), "{line}"),
                (at, '"') => break at,
                _ => {}
            }
        };
        rest = behind[end + 1..].trim_start_matches(',');
    }
    (name.to_owned(), value.parse().unwrap())
}

#[test]
fn families_stand_together_and_no_series_stands_twice() {
    for (name, record) in golden::records() {
        let text = text(&record);
        assert!(text.ends_with('\n') && !text.contains("# EOF"), "{name}");
        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(families.insert(current.clone()), "{name}: {line}");
            } else if !line.starts_with('#') {
                let (family, value) = sample(line);
                assert!(family.starts_with(&current), "{name}: {line}");
                assert!(value.is_finite(), "{name}: {line}");
                let key = line.rsplit_once(' ').unwrap().0;
                assert!(series.insert(key.to_owned()), "{name}: {line} stands twice");
            }
        }
        assert!(text.contains("eventbench_run_info{"), "{name}");
    }
}

#[test]
fn names_of_the_table_are_base_units_and_apart() {
    let mut taken: BTreeMap<String, (&str, Unit)> = BTreeMap::new();
    for metric in METRICS {
        for stat in STATISTICS.iter().filter(|s| s.kinds.contains(&metric.kind)) {
            let unit = (stat.unit)(metric.unit);
            let (name, _) = series(metric, stat.name, unit);
            let same = taken.entry(name.clone()).or_insert((metric.id, unit));
            assert_eq!(*same, (metric.id, unit), "{name} stands for two things");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            // Endings that only counters, histograms and summaries may have.
            let reserved = ["_total", "_count", "_sum", "_bucket", "_info"];
            assert!(reserved.iter().all(|end| !name.ends_with(end)), "{name}");
        }
    }
    let of = |id: &str, stat: &str, unit| series(definition(id).unwrap(), stat, unit).0;
    assert_eq!(
        of("response_time", "p", Unit::Nanoseconds),
        "eventbench_response_time_seconds"
    );
    assert_eq!(
        of("rss", "slope", Unit::BytesPerHour),
        "eventbench_rss_slope_bytes_per_second"
    );
    assert_eq!(
        of("delivered.ratio", "value", Unit::Ratio),
        "eventbench_delivered_ratio"
    );
}

#[test]
fn values_are_those_of_the_record() {
    let record = golden::fail_with_losses();
    let text = text(&record);
    let value = |series: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(series))
            .unwrap_or_else(|| panic!("no {series} in\n{text}"));
        sample(line).1
    };
    let burst = "suite=\"event-bus\",benchmark=\"burst\"";
    let figure = |metric, stat| record.benchmarks[1].figure(metric, &[], stat).unwrap().value.unwrap();
    let p95 = value(&format!("eventbench_response_time_seconds{{{burst},stat=\"p95\"}}"));
    assert!((p95 - figure("response_time", "p(95)") / 1e9).abs() < 1e-12);
    assert_eq!(
        value(&format!("eventbench_lost_acked{{{burst}}}")),
        figure("lost.acked", "value")
    );
    assert_eq!(
        value(&format!(
            "eventbench_limit_status{{{burst},limit=\"lost.acked == 0\",severity=\"must\"}}"
        )),
        3.0
    );
    assert_eq!(
        value(&format!(
            "eventbench_limit_status{{{burst},limit=\"p(95) < 500ms\",severity=\"must\"}}"
        )),
        0.0
    );
    assert_eq!(value("eventbench_run_status{suite=\"event-bus\"}"), 3.0);
    let samples = record.benchmarks[1]
        .figure("response_time", &[], "count")
        .unwrap()
        .samples as f64;
    let of = |part: &str| value(&format!("eventbench_response_time_distribution_seconds_{part}"));
    assert_eq!(
        value(&format!(
            "eventbench_response_time_distribution_seconds_bucket{{{burst},le=\"+Inf\"}}"
        )),
        samples
    );
    assert!(of(&format!("bucket{{{burst},le=\"0.1\"}}")) <= of(&format!("bucket{{{burst},le=\"0.25\"}}")));
    assert!(text.contains("# TYPE eventbench_response_time_distribution_seconds histogram\n"));
    let invalid = super::render(&golden::invalid(), &RenderOptions::default()).unwrap();
    let invalid = String::from_utf8(invalid).unwrap();
    let limit = invalid
        .lines()
        .find(|l| l.starts_with("eventbench_limit_status{"))
        .unwrap();
    assert_eq!(sample(limit).1, 4.0);
}

#[test]
fn buckets_add_up() {
    for (name, record) in golden::records() {
        let mut last = 0.0;
        for line in text(&record)
            .lines()
            .filter(|l| l.contains("_distribution_seconds_bucket{"))
        {
            let value = sample(line).1;
            if line.contains("le=\"0.00001\"") {
                last = 0.0;
            }
            assert!(value >= last, "{name}: {line}");
            last = value;
        }
    }
}

#[test]
fn tags_are_labels_in_bounds() {
    let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let names = |pairs: &[(&str, &str)]| -> Vec<String> { tag_labels(&tags(pairs)).into_iter().map(|l| l.0).collect() };
    assert_eq!(names(&[("process", "x")]), ["process"]);
    assert_eq!(names(&[("stat", "x")]), ["tag_stat"]);
    assert_eq!(names(&[("1 a", "x")]), ["tag_1_a"]);
    assert_eq!(names(&[("a.b", "x"), ("a_b", "y")]), ["a_b", "tag_a_b"]);
    let mut record = golden::all_pass();
    let one = record.benchmarks[0]
        .figures
        .iter()
        .find(|f| f.metric == "cpu")
        .unwrap()
        .clone();
    for i in 0..200 {
        let mut more = one.clone();
        more.tags = tags(&[("process", &format!("p{i}\"\\\n"))]);
        record.benchmarks[0].figures.push(more);
    }
    let text = text(&record);
    let series = text
        .lines()
        .filter(|l| l.starts_with("eventbench_cpu_cores{") && l.contains("single-event-latency"));
    assert_eq!(series.count(), MOST_TAG_SETS);
    assert!(
        text.contains("# cpu of single-event-latency: 152 further sets of tags are left out\n"),
        "{text}"
    );
}
