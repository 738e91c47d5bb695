//! A run as a test report sees it: each limit is a case, and whatever else must hold is one too. Formats of test reports
//! only write these down, so that none of them can be greener than the verdict.

use crate::comparison::ComparisonView;
use crate::text::printable;
use crate::view::{LimitRow, Row, View};
use eventbench_core::judge::compare::{Role, RunComparison};
use eventbench_core::judge::{LimitResult, Verdict};
use eventbench_core::record::{BenchmarkRecord, Ended, RunRecord};
use std::collections::BTreeSet;

/// What became of a case, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// It holds.
    Passed,
    /// It was not looked at, or it may lack data.
    Skipped,
    /// It was missed without failing the run.
    Warned,
    /// It was missed.
    Failed,
    /// It could not be judged: no data, an instrument that cannot be trusted, a run that was cut off.
    Error,
}

impl Status {
    fn of(verdict: Verdict) -> Status {
        match verdict {
            Verdict::Pass => Status::Passed,
            Verdict::Warn => Status::Warned,
            Verdict::Fail => Status::Failed,
            Verdict::NoData | Verdict::Invalid => Status::Error,
        }
    }

    /// Whether it makes a build fail.
    #[cfg(test)]
    pub fn is_red(self) -> bool {
        self >= Status::Failed
    }
}

/// One case. All texts are single lines that no terminal obeys.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The suite and the benchmark, or "comparison" or "run" in its place.
    pub class: String,
    /// The limit's text, or what else must hold; once in its class.
    pub name: String,
    /// What became of it.
    pub status: Status,
    /// The word for that: PASS, WARN, FAIL, NO DATA, INVALID, ERROR, SKIPPED or WORSE.
    pub word: &'static str,
    /// Value, bound and how sure the value is; empty where there is nothing to say.
    pub message: String,
    /// The place of the benchmark in the record and of the limit in the benchmark, where it is one.
    pub limit: Option<(usize, usize)>,
    /// The benchmark's name; empty for the run's own cases.
    pub benchmark: String,
    /// Tags of the benchmark.
    pub tags: Vec<String>,
    /// Seconds that it took: those of the benchmark for its first case, 0 for the others, so that sums are right.
    pub seconds: f64,
}

/// Every case of a run: benchmark by benchmark, then the comparison, then the run itself.
pub(crate) fn cases(record: &RunRecord, view: &View) -> Vec<Case> {
    let suite = printable(&record.run.suite);
    let mut cases = Vec::new();
    for (place, (benchmark, row)) in record.benchmarks.iter().zip(&view.rows).enumerate() {
        cases.extend(of_benchmark(&suite, place, benchmark, row));
    }
    for name in &view.not_run {
        let message = "planned and not run".to_owned();
        cases.push(Case {
            benchmark: printable(name),
            ..case(&suite, name, "verdict", Status::Skipped, "SKIPPED", message)
        });
    }
    cases.extend(record.comparison.iter().flat_map(|c| of_comparison(&suite, c)));
    let run = |word, message| case(&suite, "run", "the run ends as planned", Status::Error, word, message);
    match (view.ended, record.run.ended) {
        (Some(how), ended) if ended != Ended::Complete => {
            let why = record.run.notes.last().filter(|_| ended == Ended::BrokenOff);
            let why = why.map(|note| format!(" ({})", printable(note))).unwrap_or_default();
            cases.push(run("ERROR", format!("the run was {how}{why}")));
        }
        _ if record.benchmarks.is_empty() => cases.push(run("NO DATA", "no benchmark was run".to_owned())),
        _ => {}
    }
    apart(&mut cases);
    cases
}

fn case(suite: &str, of: &str, name: &str, status: Status, word: &'static str, message: String) -> Case {
    Case {
        class: format!("{suite}.{}", printable(of)),
        name: printable(name),
        status,
        word,
        message,
        limit: None,
        benchmark: String::new(),
        tags: Vec::new(),
        seconds: 0.0,
    }
}

fn of_benchmark(suite: &str, place: usize, b: &BenchmarkRecord, row: &Row) -> Vec<Case> {
    let case = |name: &str, status, word, message| case(suite, &b.name, name, status, word, message);
    let mut cases = Vec::new();
    for (number, (limit, shown)) in b.limits.iter().zip(&row.limits).enumerate() {
        let (status, word) = of_limit(b, limit);
        cases.push(Case {
            limit: Some((place, number)),
            ..case(&limit.that, status, word, limit_in_words(b, limit, shown))
        });
    }
    for check in b.checks.iter().filter(|c| c.holds == Some(false)) {
        let message = printable(&check.detail);
        cases.push(case(
            &format!("check: {}", check.name),
            Status::Error,
            "INVALID",
            message,
        ));
    }
    if let Some(error) = &b.error {
        cases.push(case("runs to its end", Status::Error, "ERROR", printable(error)));
    }
    // What the cases above do not tell: a benchmark without limits, or a verdict with another reason.
    let own = Status::of(b.verdict);
    let told = cases.iter().map(|c: &Case| c.status).max();
    if told.is_none_or(|worst| worst < own) {
        let message = b.warnings.first().map(|w| printable(w)).unwrap_or_default();
        cases.push(case("verdict", own, b.verdict.word(), message));
    }
    let seconds: f64 = b.trials.iter().map(|t| t.warmup_s + t.measured_s + t.drain_s).sum();
    for (i, case) in cases.iter_mut().enumerate() {
        case.benchmark = printable(&b.name);
        case.tags = b.tags.iter().map(|t| printable(t)).collect();
        case.seconds = if i == 0 { seconds } else { 0.0 };
    }
    cases
}

fn of_limit(b: &BenchmarkRecord, limit: &LimitResult) -> (Status, &'static str) {
    // A value that an untrustworthy instrument gives holds nothing.
    if b.verdict == Verdict::Invalid {
        return (Status::Error, Verdict::Invalid.word());
    }
    match (limit.counts_as, limit.outcome) {
        // What only may hold does not fail, but without data it has not passed either.
        (Verdict::Pass, Verdict::NoData) => (Status::Skipped, Verdict::NoData.word()),
        (Verdict::Pass, outcome) => (Status::Passed, outcome.word()),
        (counts_as, _) => (Status::of(counts_as), limit.outcome.word()),
    }
}

/// The limit with its value, its certainty and its remarks, in one line.
fn limit_in_words(b: &BenchmarkRecord, limit: &LimitResult, shown: &LimitRow) -> String {
    let mut text = format!("{} {}: {}", shown.severity, limit.that, shown.value);
    if !shown.interval.is_empty() {
        text.push_str(&format!(" ({})", shown.interval));
    }
    for remark in &shown.remarks {
        text.push_str(&format!("; {remark}"));
    }
    if b.verdict == Verdict::Invalid {
        text.push_str("; the instrument could not be trusted, so this value says nothing of the system");
    }
    printable(&text)
}

/// The figures that decide a comparison.
fn of_comparison(suite: &str, comparison: &RunComparison) -> Vec<Case> {
    let view = ComparisonView::of(comparison);
    let deciding = comparison.rows.iter().filter(|r| r.role != Role::Advisory);
    let mut cases: Vec<Case> = deciding
        .zip(view.rows.iter().filter(|r| r.decides))
        .map(|(row, shown)| {
            let mut message = format!("{}: {} to {}, {}", shown.figure, shown.a, shown.b, shown.change);
            if !shown.interval.is_empty() {
                message.push_str(&format!(" ({})", shown.interval));
            }
            message.push_str(&format!(", tolerated {}: {}", shown.margin, shown.words));
            let name = format!("{} of {} against {}", shown.figure, shown.benchmark, view.a.label);
            let status = Status::of(row.decision.verdict());
            Case {
                benchmark: printable(&shown.benchmark),
                ..case(suite, "comparison", &name, status, shown.word, printable(&message))
            }
        })
        .collect();
    if cases.is_empty() {
        let name = format!("against {}", view.a.label);
        let message = printable(&view.sentence);
        let status = Status::of(view.verdict);
        cases.push(case(suite, "comparison", &name, status, view.verdict.word(), message));
    }
    cases
}

/// Numbers names that stand twice in a class, since a reader would take them for one.
fn apart(cases: &mut [Case]) {
    let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
    for case in cases {
        let plain = case.name.clone();
        let mut n = 1;
        while !taken.insert((case.class.clone(), case.name.clone())) {
            n += 1;
            case.name = format!("{plain} ({n})");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn of(record: &RunRecord) -> Vec<Case> {
        cases(record, &View::of(record))
    }

    #[test]
    fn no_report_is_greener_or_redder_than_the_run() {
        for (name, record) in golden::records() {
            let cases = of(&record);
            let red = matches!(record.verdict(), Verdict::NoData | Verdict::Fail | Verdict::Invalid);
            let cut = record.run.ended != Ended::Complete || record.benchmarks.iter().any(|b| b.error.is_some());
            assert_eq!(
                cases.iter().any(|c| c.status.is_red()),
                red || cut,
                "{name}: {cases:#?}"
            );
            let warned = cases.iter().any(|c| c.status == Status::Warned);
            assert!(record.verdict() != Verdict::Warn || warned, "{name}: {cases:#?}");
            let names: BTreeSet<(&str, &str)> = cases.iter().map(|c| (&*c.class, &*c.name)).collect();
            assert_eq!(names.len(), cases.len(), "{name}");
            assert!(
                cases
                    .iter()
                    .all(|c| !c.message.contains('\n') && !c.name.contains('\n'))
            );
        }
    }

    #[test]
    fn every_limit_is_a_case() {
        for (name, record) in golden::records() {
            let cases = of(&record);
            let told = cases.iter().filter(|c| c.limit.is_some()).count();
            let limits: usize = record.benchmarks.iter().map(|b| b.limits.len()).sum();
            assert_eq!(told, limits, "{name}");
        }
    }

    #[test]
    fn outcomes_become_what_a_build_does_with_them() {
        let status = |record: &RunRecord, name: &str| {
            let found = of(record).into_iter().find(|c| c.name == name);
            found.map(|c| (c.status, c.word))
        };
        let warn = golden::warn();
        assert_eq!(status(&warn, "mean < 10ms"), Some((Status::Warned, "WARN")));
        // Missed, but it only may hold.
        assert_eq!(status(&warn, "max < 30ms"), Some((Status::Passed, "FAIL")));
        let fail = golden::fail_with_losses();
        assert_eq!(status(&fail, "lost.acked == 0"), Some((Status::Failed, "FAIL")));
        assert_eq!(
            status(&golden::no_data(), "p(99) < 5ms"),
            Some((Status::Error, "NO DATA"))
        );
        let invalid = golden::invalid();
        assert_eq!(
            status(&invalid, "delivered.rate >= 100/s"),
            Some((Status::Error, "INVALID"))
        );
        assert_eq!(
            status(&invalid, "check: pacer on time"),
            Some((Status::Error, "INVALID"))
        );
        assert_eq!(status(&invalid, "check: broker's count agrees"), None);
        let cut = golden::interrupted();
        assert_eq!(status(&cut, "runs to its end"), Some((Status::Error, "ERROR")));
        assert_eq!(status(&cut, "the run ends as planned"), Some((Status::Error, "ERROR")));
        let skipped = of(&cut).into_iter().find(|c| c.status == Status::Skipped).unwrap();
        assert_eq!(skipped.class, "event-bus.memory-stability");
    }

    #[test]
    fn what_is_not_told_by_limits_is_told() {
        let mut record = golden::all_pass();
        record.benchmarks.truncate(1);
        record.run.planned.truncate(1);
        record.benchmarks[0].limits.clear();
        let plain = of(&record);
        assert_eq!(
            (plain.len(), plain[0].status, &*plain[0].name),
            (1, Status::Passed, "verdict")
        );
        record.benchmarks[0].verdict = Verdict::Fail;
        assert_eq!(of(&record)[0].status, Status::Failed);
        // The same limit with two severities is two cases.
        let mut twice = golden::all_pass();
        let limit = twice.benchmarks[0].limits[0].clone();
        twice.benchmarks[0].limits.push(limit);
        assert!(of(&twice).iter().any(|c| c.name == "mean < 5ms (2)"));
    }
}
