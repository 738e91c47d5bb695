//! JUnit XML as Jenkins, GitLab and GitHub's test reporters read it: a suite of tests for the suite of benchmarks, a test
//! case for each limit and for whatever else must hold.
//!
//! The form is that of `junit-10.xsd` of Jenkins' xunit plugin, which is stricter than most writers: no properties within
//! a test case, no `skipped` on the root. A warning is therefore a passed case with a note in its output, and a property
//! of the suite.

use crate::cases::{Case, Status, cases};
use crate::text::{printable, utc};
use crate::view::View;
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let cases = cases(record, &view);
    let seconds = duration(
        record
            .run
            .seconds
            .unwrap_or_else(|| cases.iter().map(|c| c.seconds).sum()),
    );
    let mut suite = TestSuite::new(text(&record.run.suite));
    suite.set_time(seconds);
    let started = utc(record.run.started_unix_ms).replace(" UTC", "").replace(' ', "T");
    suite.extra.insert("timestamp".into(), started.into());
    suite.extra.insert("id".into(), text(&record.run.id).into());
    for (name, value) in properties(record, &view) {
        suite.add_property(Property::new(text(&name), text(&value)));
    }
    for case in cases.iter().filter(|c| c.status == Status::Warned) {
        suite.add_property(Property::new(
            "warning",
            text(&format!("{}: {}", case.class, case.message)),
        ));
    }
    suite.add_test_cases(cases.iter().map(test_case));
    if let Some(errors) = errors(&view) {
        suite.set_system_err(errors);
    }
    let mut report = Report::new("eventbench");
    report.set_time(seconds);
    report.add_test_suite(suite);
    let skipped = report.skipped;
    let xml = report.to_string().map_err(|e| ReportError::Xml(e.to_string()))?;
    // The schema knows this attribute on a suite only. A quotation mark within a value is escaped, so that the first match
    // is the attribute of the root.
    Ok(xml.replacen(&format!(" skipped=\"{skipped}\""), "", 1).into_bytes())
}

fn test_case(case: &Case) -> TestCase {
    let mut status = match case.status {
        Status::Passed | Status::Warned => TestCaseStatus::success(),
        Status::Skipped => TestCaseStatus::skipped(),
        Status::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(text(&case.message)).set_type(case.word);
    let quiet = status == TestCaseStatus::success();
    let mut test = TestCase::new(text(&case.name), status);
    test.set_classname(text(&case.class)).set_time(duration(case.seconds));
    // Of a case that passes nothing but its output is shown.
    if quiet && !case.message.is_empty() {
        test.set_system_out(text(&format!("{}: {}", case.word, case.message)));
    }
    test
}

fn properties(record: &RunRecord, view: &View) -> Vec<(String, String)> {
    let mut properties = vec![
        ("run".to_owned(), view.id.clone()),
        ("profile".to_owned(), view.profile.clone()),
        ("verdict".to_owned(), view.word.to_owned()),
        ("seed".to_owned(), view.seed.to_string()),
    ];
    let source = record.run.source.iter();
    properties.extend(source.map(|s| ("commit".to_owned(), s.commit.clone())));
    properties.extend(view.environment.iter().cloned());
    properties
}

/// Errors of trials, which belong to no limit.
fn errors(view: &View) -> Option<String> {
    let lines = view
        .rows
        .iter()
        .flat_map(|row| row.errors.iter().map(move |e| text(&format!("{}: {e}", row.name))));
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// One line that XML can hold: of what is left after control characters only two code points are forbidden.
fn text(text: &str) -> String {
    printable(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_core::judge::Verdict;
    use eventbench_testkit::golden;

    fn xml(record: &RunRecord) -> String {
        String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    #[test]
    fn another_reader_finds_the_cases() {
        for (name, record) in golden::records() {
            let text = xml(&record);
            let document = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            let root = document.root_element();
            assert_eq!(root.tag_name().name(), "testsuites");
            assert!(root.attribute("skipped").is_none());
            let suites: Vec<_> = root.children().filter(|n| n.is_element()).collect();
            assert_eq!(suites.len(), 1, "{name}");
            let expected = cases(&record, &View::of(&record));
            let found: Vec<_> = suites[0].children().filter(|n| n.has_tag_name("testcase")).collect();
            assert_eq!(found.len(), expected.len(), "{name}");
            let count = |tag: &str| {
                found
                    .iter()
                    .filter(|c| c.children().any(|n| n.has_tag_name(tag)))
                    .count()
            };
            for (attribute, tag) in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")] {
                let told = suites[0].attribute(attribute).unwrap();
                assert_eq!(told, count(tag).to_string(), "{name}: {attribute}");
            }
            for (case, node) in expected.iter().zip(&found) {
                assert_eq!(node.attribute("classname"), Some(&*case.class), "{name}");
                assert_eq!(node.attribute("name"), Some(&*case.name), "{name}");
                assert!(!node.children().any(|n| n.has_tag_name("properties")), "{name}");
            }
            let warned = suites[0]
                .descendants()
                .filter(|n| n.attribute("name") == Some("warning"));
            let expected = expected.iter().filter(|c| c.status == Status::Warned);
            assert_eq!(warned.count(), expected.count(), "{name}");
            assert!(record.verdict() != Verdict::Fail || count("failure") > 0, "{name}");
        }
    }

    #[test]
    fn a_miss_tells_value_bound_and_certainty() {
        let text = xml(&golden::fail_with_losses());
        let document = roxmltree::Document::parse(&text).unwrap();
        let failures: Vec<_> = document.descendants().filter(|n| n.has_tag_name("failure")).collect();
        assert_eq!(failures.len(), 1);
        assert_eq!(
            failures[0].attribute("message"),
            Some("must lost.acked == 0: 27 a trial")
        );
        assert_eq!(failures[0].attribute("type"), Some("FAIL"));
        let warn = xml(&golden::warn());
        assert!(
            warn.contains("WARN: must mean &lt; 10ms: ") && warn.contains("straddles"),
            "{warn}"
        );
    }

    #[test]
    fn forbidden_characters_are_not_there() {
        let mut record = golden::hostile();
        record.run.suite = "a\u{ffff}\u{fffe}\u{0}\u{b} ]]> skipped=\"9\" &amp;".to_owned();
        let text = xml(&record);
        let document = roxmltree::Document::parse(&text).unwrap();
        let suite = document.descendants().find(|n| n.has_tag_name("testsuite")).unwrap();
        assert_eq!(
            suite.attribute("name"),
            Some("a\u{fffd}\u{fffd}\\u{0}\\u{b} ]]> skipped=\"9\" &amp;")
        );
        assert!(suite.attribute("skipped").is_some());
    }
}
