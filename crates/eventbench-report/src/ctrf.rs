//! CTRF, the Common Test Report Format: the same cases as in JUnit XML, as JSON for tools that read it.
//!
//! The format has no word for what could not be judged, and what it calls "other" does not fail a build, so such a case is
//! "failed", with its true word in `rawStatus`.

use crate::cases::{Case, Status, cases};
use crate::text::printable;
use crate::view::View;
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;
use serde::Serialize;
use serde_json::{Value, json};

/// The version of the format that is written.
const SPEC_VERSION: &str = "0.0.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Test<'a> {
    name: &'a str,
    status: &'static str,
    duration: u64,
    suite: [String; 2],
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    raw_status: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let cases = cases(record, &view);
    let suite = printable(&record.run.suite);
    let tests: Vec<Test<'_>> = cases.iter().map(|case| test(&suite, case)).collect();
    let count = |status: &str| tests.iter().filter(|t| t.status == status).count();
    let started = u64::try_from(record.run.started_unix_ms).unwrap_or(0);
    let length = milliseconds(
        record
            .run
            .seconds
            .unwrap_or_else(|| cases.iter().map(|c| c.seconds).sum()),
    );
    let document = json!({
        "reportFormat": "CTRF",
        "specVersion": SPEC_VERSION,
        "generatedBy": "eventbench",
        "results": {
            "tool": { "name": "eventbench", "version": tool_version(record) },
            "summary": {
                "tests": tests.len(),
                "passed": count("passed"),
                "failed": count("failed"),
                "skipped": count("skipped"),
                "pending": 0,
                "other": 0,
                "suites": 1,
                "start": started,
                "stop": started + length,
                "duration": length,
                "extra": { "verdict": view.word },
            },
            "tests": tests,
            "environment": environment(record),
        },
    });
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn test<'a>(suite: &str, case: &'a Case) -> Test<'a> {
    let own = case.class.strip_prefix(suite).and_then(|rest| rest.strip_prefix('.'));
    Test {
        name: &case.name,
        status: match case.status {
            Status::Passed | Status::Warned => "passed",
            Status::Skipped => "skipped",
            Status::Failed | Status::Error => "failed",
        },
        duration: milliseconds(case.seconds),
        suite: [suite.to_owned(), own.unwrap_or(&case.class).to_owned()],
        message: &case.message,
        raw_status: case.word,
        tags: &case.tags,
        kind: "performance",
    }
}

fn environment(record: &RunRecord) -> Value {
    let run = &record.run;
    let e = &run.environment;
    let mut environment = json!({
        "appName": printable(&run.suite),
        "osPlatform": printable(&e.os),
        "osRelease": printable(&e.kernel),
        "testEnvironment": printable(&run.profile),
        "extra": {
            "run": run.id,
            "cpu": printable(&e.cpu),
            "cores": e.cores,
            "memory_bytes": e.memory_bytes,
            "versions": e.versions,
        },
    });
    if let Some(source) = &run.source {
        environment["commit"] = json!(printable(&source.commit));
        if let Some(branch) = &source.branch {
            environment["branchName"] = json!(printable(branch));
        }
    }
    environment
}

fn tool_version(record: &RunRecord) -> &str {
    let version = record.run.environment.versions.get("eventbench");
    version.map_or("unknown", String::as_str)
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn read(record: &RunRecord) -> Value {
        serde_json::from_slice(&render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    #[test]
    fn the_summary_is_that_of_the_tests() {
        for (name, record) in golden::records() {
            let file = read(&record);
            let (summary, tests) = (
                &file["results"]["summary"],
                file["results"]["tests"].as_array().unwrap(),
            );
            let mut sum = 0;
            for status in ["passed", "failed", "skipped", "pending", "other"] {
                let n = tests.iter().filter(|t| t["status"] == status).count();
                assert_eq!(summary[status], n, "{name}: {status}");
                sum += n;
            }
            assert_eq!(summary["tests"], sum, "{name}");
            assert!(summary["stop"].as_u64() >= summary["start"].as_u64(), "{name}");
            let red = cases(&record, &View::of(&record)).iter().any(|c| c.status.is_red());
            assert_eq!(summary["failed"] != 0, red, "{name}");
        }
    }

    #[test]
    fn what_has_no_word_of_its_own_keeps_its_true_one() {
        let of = |record: &RunRecord, raw: &str| {
            let file = read(record);
            let tests = file["results"]["tests"].as_array().unwrap();
            let found = tests.iter().find(|t| t["rawStatus"] == raw).cloned();
            found.map(|t| t["status"].as_str().unwrap().to_owned())
        };
        assert_eq!(of(&golden::warn(), "WARN").as_deref(), Some("passed"));
        assert_eq!(of(&golden::no_data(), "NO DATA").as_deref(), Some("failed"));
        assert_eq!(of(&golden::invalid(), "INVALID").as_deref(), Some("failed"));
        let file = read(&golden::all_pass());
        let first = &file["results"]["tests"][0];
        assert_eq!(first["suite"], json!(["event-bus", "single-event-latency"]));
        assert_eq!(first["name"], "mean < 5ms");
        let durations = file["results"]["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["duration"].as_u64().unwrap());
        let whole = file["results"]["summary"]["duration"].as_u64().unwrap();
        assert!(durations.sum::<u64>() <= whole + 1, "{file:#}");
    }
}
