//! The body of a comment on a pull request: the verdict, what was missed, what has changed. Its first line is a hidden
//! marker by which a bot finds the comment of an earlier run and puts this one in its place.

use crate::github_summary::{benchmarks, comparison, environment, heading, limits, remarks};
use crate::page::Page;
use crate::text::printable;
use crate::view::View;
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;

/// GitHub takes 65,536 characters and GitLab a million; a byte is a character or less.
const MOST_BYTES: usize = 64_000;

pub(crate) fn render(record: &RunRecord, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let mut page = Page::new(MOST_BYTES, options.ascii);
    page.paragraph("the marker", &marker(&view.suite));
    heading(&mut page, &view, options, "###");
    benchmarks(&mut page, &view, options);
    limits(&mut page, &view, "Limits missed or in doubt", |clean| !clean);
    comparison(&mut page, record, |remarkable| remarkable);
    remarks(&mut page, &view);
    environment(&mut page, &view);
    Ok(page.finish(&printable(&view.id)).into_bytes())
}

/// The comment that names the suite. Within it nothing but letters, digits, points and single dashes stands, since two
/// dashes may end a comment.
fn marker(suite: &str) -> String {
    let mut name = String::new();
    for c in suite.chars().take(100) {
        let c = if c.is_ascii_alphanumeric() || "._".contains(c) {
            c
        } else {
            '-'
        };
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    format!("<!-- eventbench:{} -->", name.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;

    fn comment(record: &RunRecord) -> String {
        String::from_utf8(render(record, &RenderOptions::default()).unwrap()).unwrap()
    }

    #[test]
    fn it_begins_with_its_marker_and_is_small() {
        for (name, record) in golden::records() {
            let text = comment(&record);
            let first = text.lines().next().unwrap();
            assert!(
                first.starts_with("<!-- eventbench:") && first.ends_with(" -->"),
                "{name}: {first}"
            );
            assert_eq!(first.matches("--").count(), 2, "{name}: {first}");
            assert!(text.len() < 65_536, "{name}");
            assert!(text.contains(record.verdict().word()), "{name}");
        }
        assert_eq!(marker("event-bus"), "<!-- eventbench:event-bus -->");
        assert_eq!(marker("--> <script>--"), "<!-- eventbench:script -->");
    }

    #[test]
    fn a_large_run_is_cut_sensibly() {
        let mut record = golden::fail_with_losses();
        let one = record.benchmarks[1].clone();
        for i in 0..1_000 {
            let mut more = one.clone();
            more.name = format!("burst-{i}");
            more.trials.truncate(1);
            record.benchmarks.push(more);
        }
        let text = comment(&record);
        assert!(text.len() < 65_536 && text.contains("**Cut**"), "{}", text.len());
        assert!(text.contains("### ❌ eventbench event-bus: FAIL"), "{}", &text[..300]);
    }

    #[test]
    fn only_what_needs_a_look_is_told_of_limits() {
        let text = comment(&golden::all_pass());
        assert!(!text.contains("Limits missed"), "{text}");
        let text = comment(&golden::fail_with_losses());
        assert!(
            text.contains("must lost.acked == 0") && !text.contains("must p(95) < 500ms"),
            "{text}"
        );
        let text = comment(&golden::compared());
        assert!(text.contains("**Compared with "), "{text}");
    }
}
