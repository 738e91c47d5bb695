//! The summary of a step on GitHub Actions: the report that a reader of a build sees first, in less than the 1 MiB that a
//! step may write.

use crate::comparison::ComparisonView;
use crate::page::{Page, safe, sign};
use crate::text::printable;
use crate::view::{Row, TOO_SMALL, View};
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;

/// What GitHub takes of one step; more is refused as a whole.
pub const MOST_SUMMARY_BYTES: usize = 1_048_576;

pub(crate) fn render(record: &RunRecord, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    // A byte less, since "up to" and "below" are not told apart by everybody.
    Ok(step_summary(record, options, MOST_SUMMARY_BYTES - 1).into_bytes())
}

/// The summary in at most so many bytes, which steps that run several suites share.
pub fn step_summary(record: &RunRecord, options: &RenderOptions, most_bytes: usize) -> String {
    let view = View::of(record);
    let mut page = Page::new(most_bytes, options.ascii);
    heading(&mut page, &view, options, "##");
    benchmarks(&mut page, &view, options);
    limits(&mut page, &view, "Limits", |_| true);
    comparison(&mut page, record, |_| true);
    remarks(&mut page, &view);
    page.table(
        "What it cost",
        &["benchmark", "process", "CPU of a core", "CPU per event", "most memory"],
        &costs(&view),
    );
    let advice: Vec<Vec<String>> = view
        .advice
        .iter()
        .map(|a| vec![a.benchmark.clone(), a.finding.clone(), a.action.to_owned()])
        .collect();
    page.table("What to do", &["benchmark", "found", "next"], &advice);
    environment(&mut page, &view);
    page.finish(&printable(&view.id))
}

/// The verdict and what it is about.
pub(crate) fn heading(page: &mut Page, view: &View, options: &RenderOptions, level: &str) {
    let title = format!(
        "{level} {}eventbench {}: {}",
        sign(view.verdict, options.ascii),
        safe(&view.suite),
        view.word
    );
    page.paragraph("the verdict", &title);
    let mut text = format!(
        "{} ({} profile, {}).",
        safe(&view.summary),
        safe(&view.profile),
        view.duration
    );
    if let Some(ended) = view.ended {
        text.push_str(&format!(" The run was {ended}."));
    }
    if !view.not_run.is_empty() {
        text.push_str(&format!(" Not run: {}.", safe(&view.not_run.join(", "))));
    }
    page.paragraph("the summary", &text);
}

/// A row a benchmark.
pub(crate) fn benchmarks(page: &mut Page, view: &View, options: &RenderOptions) {
    let rows: Vec<Vec<String>> = view
        .rows
        .iter()
        .map(|row| {
            let times = row.times.first().filter(|t| t.of == "response time");
            let time =
                |pick: fn(&crate::view::Times) -> &String| times.map_or_else(|| "–".to_owned(), |t| pick(t).clone());
            let star = if row.closed_loop { " (closed loop)" } else { "" };
            vec![
                format!("{}{}", sign(row.verdict, options.ascii), row.word),
                row.name.clone(),
                format!("{}{star}", time(|t| &t.mean)),
                time(|t| &t.med),
                time(|t| &t.p95),
                time(|t| &t.p99),
                row.rate.clone(),
                row.lost.clone(),
                told(row),
            ]
        })
        .collect();
    let head = [
        "verdict",
        "benchmark",
        "mean",
        "p50",
        "p95",
        "p99",
        "rate",
        "lost",
        "also",
    ];
    page.table("", &head, &rows);
    if rows.iter().flatten().any(|cell| cell == TOO_SMALL) {
        page.paragraph(
            "a remark",
            &format!("\"{TOO_SMALL}\": fewer samples than the percentile needs."),
        );
    }
}

fn told(row: &Row) -> String {
    let key: Vec<String> = row.key.iter().map(|(name, value)| format!("{name} {value}")).collect();
    key.join(", ")
}

/// A row for each limit that is wanted; by whether it is clean.
pub(crate) fn limits(page: &mut Page, view: &View, title: &str, wanted: fn(bool) -> bool) {
    let rows: Vec<Vec<String>> = view
        .rows
        .iter()
        .flat_map(|row| row.limits.iter().filter(|l| wanted(l.clean)).map(move |l| (row, l)))
        .map(|(row, limit)| {
            let remarks = limit.remarks.join("; ");
            vec![
                limit.outcome.to_owned(),
                row.name.clone(),
                format!("{} {}", limit.severity, limit.that),
                limit.value.clone(),
                limit.interval.clone(),
                remarks,
            ]
        })
        .collect();
    let head = ["verdict", "benchmark", "limit", "value", "certainty", "remarks"];
    page.table(title, &head, &rows);
}

/// The comparison with a baseline, where there is one.
pub(crate) fn comparison(page: &mut Page, record: &RunRecord, wanted: fn(bool) -> bool) {
    let Some(comparison) = &record.comparison else { return };
    let view = ComparisonView::of(comparison);
    page.paragraph(
        "the comparison",
        &format!("**Compared with {}**: {}", safe(&view.a.label), safe(&view.sentence)),
    );
    let rows: Vec<Vec<String>> = view
        .rows
        .iter()
        .filter(|r| wanted(r.remarkable))
        .map(|r| {
            vec![
                r.word.to_owned(),
                r.benchmark.clone(),
                r.figure.clone(),
                r.a.clone(),
                r.b.clone(),
                r.change.clone(),
                r.interval.clone(),
                r.margin.clone(),
            ]
        })
        .collect();
    let head = [
        "",
        "benchmark",
        "figure",
        "before",
        "now",
        "change",
        "95 % interval",
        "tolerated",
    ];
    page.table("Figures compared", &head, &rows);
}

/// Failed checks, errors and warnings.
pub(crate) fn remarks(page: &mut Page, view: &View) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |benchmark: &str, what: &str, text: String| {
        rows.push(vec![benchmark.to_owned(), what.to_owned(), text]);
    };
    for row in &view.rows {
        for (name, holds, detail) in row.checks.iter().filter(|c| c.1 != "holds") {
            add(&row.name, &format!("check {holds}"), format!("{name}: {detail}"));
        }
        row.errors.iter().for_each(|e| add(&row.name, "error", e.clone()));
        row.warnings.iter().for_each(|w| add(&row.name, "warning", w.clone()));
    }
    view.overrides
        .iter()
        .for_each(|o| add("", "changed for this run", o.clone()));
    view.notes.iter().for_each(|n| add("", "note", n.clone()));
    page.table("Remarks", &["benchmark", "what", "text"], &rows);
}

fn costs(view: &View) -> Vec<Vec<String>> {
    let costs = view.rows.iter().flat_map(|row| row.costs.iter().map(move |c| (row, c)));
    costs
        .map(|(row, c)| {
            vec![
                row.name.clone(),
                c.process.clone(),
                c.cpu.clone(),
                c.per_event.clone(),
                c.rss.clone(),
            ]
        })
        .collect()
}

/// Where it ran and what its id is.
pub(crate) fn environment(page: &mut Page, view: &View) {
    let facts: Vec<String> = view
        .environment
        .iter()
        .map(|(what, value)| format!("{} {}", safe(what), safe(value)))
        .collect();
    page.paragraph(
        "the environment",
        &format!(
            "<sub>Run {}, {}; {}</sub>",
            safe(&view.id),
            view.started,
            facts.join("; ")
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn summary(record: &RunRecord) -> String {
        String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    /// Every row of a table has as many cells as its head, and no name acts.
    pub(crate) fn in_shape(name: &str, page: &str) {
        let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        let mut head = None;
        for line in page.lines() {
            let plain = line
                .replace("<!-- -->", "")
                .replace("<sub>", "")
                .replace("</sub>", "")
                .replace("\\\\", "");
            let plain = plain.replace("<!-- eventbench:", "");
            let tag = plain
                .match_indices('<')
                .any(|(i, _)| plain[i + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)));
            assert!(!tag, "{name}: a tag in {line}");
            let mention = line
                .match_indices('@')
                .any(|(i, _)| !line[i + 1..].starts_with("<!-- -->") && !line[i + 1..].starts_with(' '));
            assert!(!mention, "{name}: somebody is called in {line}");
            if line.starts_with('|') {
                let n = *head.get_or_insert(cells(line));
                assert_eq!(cells(line), n, "{name}: {line}");
            } else {
                head = None;
            }
        }
        assert!(!page.contains("\n\n\n"), "{name}");
    }

    #[test]
    fn the_golden_records_keep_their_shape() {
        for (name, record) in golden::records() {
            let page = summary(&record);
            in_shape(name, &page);
            assert!(page.contains(record.verdict().word()), "{name}");
            assert!(!page.contains("**Cut**"), "{name}");
            for b in record.benchmarks.iter().filter(|_| name != "hostile") {
                assert!(page.contains(&b.name), "{name}: {}", b.name);
            }
            let plain = RenderOptions {
                ascii: true,
                ..RenderOptions::default()
            };
            assert!(step_summary(&record, &plain, MOST_SUMMARY_BYTES).is_ascii(), "{name}");
        }
    }

    #[test]
    fn a_run_of_any_size_fits_into_a_step() {
        let mut record = golden::fail_with_losses();
        let one = record.benchmarks[1].clone();
        for i in 0..1_000 {
            let mut more = one.clone();
            more.name = format!("burst-{i}-{}", "x".repeat(300));
            more.trials.truncate(1);
            record.benchmarks.push(more);
        }
        let page = summary(&record);
        assert!(page.len() < MOST_SUMMARY_BYTES, "{}", page.len());
        assert!(
            page.contains("**Cut**") && page.contains("FAIL"),
            "{}",
            &page[page.len() - 400..]
        );
        in_shape("large", &page);
        let little = step_summary(&record, &RenderOptions::default(), 3_000);
        assert!(little.len() <= 3_000 && little.contains("**Cut**"), "{little}");
    }
}
