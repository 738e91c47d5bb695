//! Annotations of GitHub Actions: workflow commands that put each missed limit beside its line of the suite file.
//!
//! GitHub shows ten errors and ten warnings of a step, so that the last one of each counts what is left.

use crate::cases::{Case, Status, cases};
use crate::view::View;
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;

/// One less than GitHub shows of a kind, for the one that counts the rest.
const MOST_OF_A_KIND: usize = 9;

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let cases = cases(record, &view);
    let (mut red, mut warned): (Vec<&Case>, Vec<&Case>) = (Vec::new(), Vec::new());
    for case in &cases {
        // The limits of a benchmark whose instrument cannot be trusted say nothing that its check does not say.
        let repeats = case.word == "INVALID" && case.limit.is_some();
        match case.status {
            Status::Failed | Status::Error if !repeats => red.push(case),
            Status::Warned => warned.push(case),
            _ => {}
        }
    }
    let mut out = String::new();
    for (kind, cases) in [("error", red), ("warning", warned)] {
        for case in cases.iter().take(MOST_OF_A_KIND) {
            let title = format!("{} {}: {}", case.word, case.class, case.name);
            let text = if case.message.is_empty() { &title } else { &case.message };
            out.push_str(&command(kind, place(record, case), &title, text));
        }
        if cases.len() > MOST_OF_A_KIND {
            let text = format!("{} more are in the report", cases.len() - MOST_OF_A_KIND);
            out.push_str(&command(kind, None, "eventbench", &text));
        }
    }
    if out.is_empty() {
        let title = format!("eventbench {}: {}", crate::printable(&view.suite), view.word);
        out = command("notice", None, &title, &crate::printable(&view.summary));
    }
    Ok(out.into_bytes())
}

fn command(kind: &str, place: Option<(String, usize)>, title: &str, text: &str) -> String {
    let mut properties = Vec::new();
    if let Some((file, line)) = place {
        properties.push(format!("file={},line={line}", property(&file)));
    }
    properties.push(format!("title={}", property(title)));
    format!("::{kind} {}::{}\n", properties.join(","), data(text))
}

/// The text of a command: what would end or escape it is percent-encoded.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command, which a colon or a comma would end as well.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// File and line of a case: of its limit, else of its benchmark; nothing for a suite that is built in.
fn place(record: &RunRecord, case: &Case) -> Option<(String, usize)> {
    let text = |key: &str| record.run.plan.get(key).and_then(serde_json::Value::as_str);
    let file = text("source_name").filter(|name| !name.starts_with("built-in:"))?;
    let (benchmark, that) = match case.limit {
        Some((b, l)) => {
            let b = record.benchmarks.get(b)?;
            (&*b.name, b.limits.get(l).map(|l| &*l.that))
        }
        None => (&*case.benchmark, None),
    };
    let line = line(text("source_text")?, benchmark, that)?;
    Some((crate::printable(file), line))
}

/// The line, from 1, on which the suite file states the limit, or else the benchmark's name.
///
/// The record keeps the file's text and not its places, so that it is looked for: the table `[[benchmark]]` with this name,
/// and in it the limit between quotation marks.
fn line(text: &str, benchmark: &str, that: Option<&str>) -> Option<usize> {
    let quoted = |line: &str, what: &str| line.contains(&format!("\"{what}\"")) || line.contains(&format!("'{what}'"));
    let lines: Vec<&str> = text.lines().collect();
    let is_table = |line: &str| line.trim_start().starts_with("[[benchmark]]");
    let begins: Vec<usize> = (0..lines.len()).filter(|i| is_table(lines[*i])).collect();
    let named = |name: &str| {
        begins.iter().find_map(|begin| {
            let end = (begin + 1..lines.len())
                .find(|i| is_table(lines[*i]))
                .unwrap_or(lines.len());
            let is_name = |line: &str| {
                line.trim_start()
                    .strip_prefix("name")
                    .is_some_and(|rest| rest.trim_start().starts_with('='))
                    && quoted(line, name)
            };
            let at = (*begin..end).find(|i| is_name(lines[*i]))?;
            Some((at, *begin, end))
        })
    };
    // A benchmark of a sweep is called after its number of workers.
    let base = || {
        benchmark
            .rsplit_once('-')
            .filter(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()))
            .map(|(base, _)| base)
    };
    let (at, begin, end) = named(benchmark).or_else(|| named(base()?))?;
    let limit = that.and_then(|that| (begin..end).find(|i| quoted(lines[*i], that)));
    Some(limit.unwrap_or(at) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;
    use serde_json::json;

    const SUITE: &str = r#"[suite]
name = "burst"

[[benchmark]]
name = "single-event-latency"
limits = ["mean < 5ms"]

[[benchmark]]
# must lost.acked == 0
name = "burst"
limits = [
  "p(95) < 500ms",
  { that = "lost.acked == 0", severity = "must" },
]

[[benchmark]]
name = "swept"
sweep = { workers = [1, 16] }
limits = ['p(99) < 1ms']
"#;

    fn annotations(record: &RunRecord) -> String {
        String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_limit_is_found_in_its_suite_file() {
        for (benchmark, that, expected) in [
            ("burst", Some("lost.acked == 0"), Some(13)),
            ("burst", Some("p(99) < 1ms"), Some(10)),
            ("burst", None, Some(10)),
            ("single-event-latency", Some("mean < 5ms"), Some(6)),
            ("swept-16", Some("p(99) < 1ms"), Some(19)),
            ("unknown", Some("mean < 5ms"), None),
        ] {
            assert_eq!(line(SUITE, benchmark, that), expected, "{benchmark} {that:?}");
        }
        let mut record = golden::fail_with_losses();
        record.run.plan["source_name"] = json!("perf/a,b:100%.toml");
        record.run.plan["source_text"] = json!(SUITE);
        assert_eq!(
            annotations(&record),
            "::error file=perf/a%2Cb%3A100%25.toml,line=13,title=FAIL event-bus.burst%3A lost.acked == 0::must lost.acked == 0: 27 a trial\n"
        );
        record.run.plan["source_name"] = json!("built-in:event-bus");
        assert!(annotations(&record).starts_with("::error title=FAIL "));
    }

    #[test]
    fn every_line_is_one_command() {
        for (name, record) in golden::records() {
            let text = annotations(&record);
            for line in text.lines() {
                let known = ["::error ", "::warning ", "::notice "]
                    .iter()
                    .any(|k| line.starts_with(k));
                assert!(known, "{name}: {line}");
                let (properties, _) = line[2..].split_once("::").unwrap();
                assert!(properties.contains("title="), "{name}: {line}");
            }
            let red = cases(&record, &View::of(&record)).iter().any(|c| c.status.is_red());
            assert_eq!(text.contains("::error "), red, "{name}: {text}");
        }
        assert!(annotations(&golden::warn()).contains("::warning title=WARN event-bus.concurrent-latency-50%3A"));
        assert_eq!(
            annotations(&golden::all_pass()),
            "::notice title=eventbench event-bus%3A PASS::4 passed\n"
        );
    }

    #[test]
    fn there_are_never_more_than_are_shown() {
        let mut record = golden::fail_with_losses();
        let one = record.benchmarks[1].clone();
        record.benchmarks.extend((0..30).map(|_| one.clone()));
        let text = annotations(&record);
        assert_eq!(text.lines().count(), 10);
        assert!(
            text.ends_with("::error title=eventbench::22 more are in the report\n"),
            "{text}"
        );
    }
}
