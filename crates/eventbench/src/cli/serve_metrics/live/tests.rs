use super::*;
use eventbench_testkit::golden;

const S: u64 = 1_000_000_000;

fn tick(elapsed_s: f64, sent: u64, done: u64, failed: u64) -> Event {
    Event::Tick {
        elapsed_s,
        sent_per_s: 0.0,
        done_per_s: 0.0,
        p50_ns: 10,
        p99_ns: 20,
        open: sent - done - failed,
        sent,
        done,
        failed,
    }
}

fn trial(number: u32) -> Event {
    Event::TrialStarted {
        number,
        variant: String::new(),
        expected_s: 2.0,
    }
}

fn started(live: &mut Live) -> RunRecord {
    let record = golden::all_pass();
    live.hear(
        &Event::RunStarted {
            run: record.run.id.clone(),
            suite: record.run.suite.clone(),
            profile: record.run.profile.clone(),
            benchmarks: 2,
            expected_s: 9.0,
            head: Some(Box::new(record.run.clone())),
        },
        S,
    );
    live.hear(
        &Event::BenchmarkStarted {
            number: 1,
            name: record.benchmarks[0].name.clone(),
            load: "100/s".to_owned(),
            trials: 2,
        },
        S,
    );
    record
}

#[test]
fn counts_add_up_over_trials_and_rates_are_of_whole_seconds() {
    let mut live = Live::default();
    let record = started(&mut live);
    live.hear(&trial(1), S);
    live.hear(&tick(0.25, 25, 20, 1), S + S / 4);
    assert_eq!(
        (live.points.len(), live.now.open),
        (0, 4),
        "no rate of a quarter of a second"
    );
    live.hear(&tick(1.25, 125, 110, 1), 2 * S);
    assert_eq!(live.now.sent_per_s, 100.0);
    assert_eq!((live.now.p50_ns, live.now.p99_ns, live.now.open), (10, 20, 14));
    live.hear(&tick(2.25, 200, 199, 1), 3 * S);
    assert_eq!((live.now.sent_per_s, live.now.done_per_s), (75.0, 89.0));
    // The next trial counts from nothing, and so does one that a search starts under the same number.
    live.hear(&trial(2), 4 * S);
    assert_eq!(live.now.sent_per_s, 0.0);
    live.hear(&tick(1.0, 50, 50, 0), 5 * S);
    live.hear(&tick(0.25, 10, 9, 1), 6 * S);
    let counted: Vec<_> = live.counted().map(|(_, totals)| totals).collect();
    let all = Totals {
        sent: 260,
        done: 258,
        failed: 2,
    };
    assert_eq!(counted, [all]);
    live.hear(
        &Event::BenchmarkFinished {
            name: record.benchmarks[0].name.clone(),
            verdict: Verdict::Pass,
            summary: "mean 1 ms".to_owned(),
            outline: Box::new(record.benchmarks[0].outline()),
        },
        7 * S,
    );
    assert_eq!(live.counted().map(|(_, totals)| totals).collect::<Vec<_>>(), [all]);
    assert!(live.current.is_none());
    let finished = live.finished.as_ref().unwrap();
    assert_eq!(finished.record.benchmarks.len(), 1);
    assert!(
        finished.record.benchmarks[0].trials.is_empty(),
        "only the outline is kept"
    );
    live.hear(&trial(1), 8 * S);
    live.hear(&tick(1.0, 5, 5, 0), 9 * S);
    let numbers: Vec<u64> = live.points.iter().map(|p| p.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() == 4, "{numbers:?}");
}

#[test]
fn what_is_kept_has_an_end() {
    let mut live = Live::default();
    started(&mut live);
    live.hear(&trial(1), S);
    for second in 1..2_000u64 {
        live.hear(&tick(second as f64, second, second, 0), second * S);
        live.hear(&Event::Note(format!("remark {second}")), second * S);
    }
    assert_eq!((live.points.len(), live.notes.len()), (MOST_POINTS, MOST_NOTES));
    assert_eq!(live.points.back().unwrap().number, 1_999);
    assert_eq!(live.notes.back().unwrap(), "remark 1999");
}

#[test]
fn the_end_is_the_whole_record_without_its_trials() {
    let mut live = Live::default();
    let record = started(&mut live);
    live.end(&record, 5 * S);
    let finished = live.finished.as_ref().unwrap();
    assert_eq!(finished.record.benchmarks.len(), record.benchmarks.len());
    assert_eq!(live.verdict, Some(record.verdict()));
    assert_eq!(live.elapsed_s(90 * S), 4.0, "the time of a run ends with it");
    assert!(live.current.is_none());
}
