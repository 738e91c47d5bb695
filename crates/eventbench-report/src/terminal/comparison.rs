//! A comparison for a terminal: the verdict first, the figures worst first, then what to do about those that decide.

use super::Page;
use crate::comparison::{ComparedRowView, ComparisonView};
use crate::text::printable;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::compare::RunComparison;

/// A comparison by itself.
pub(crate) fn render(comparison: &RunComparison, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let mut page = Page::new(options);
    page.compared(&ComparisonView::of(comparison), options.verbose);
    Ok(page.out.into_bytes())
}

impl Page {
    /// The section of a run's report.
    pub(super) fn comparison(&mut self, view: &ComparisonView, verbose: bool) {
        self.heading(&format!("Compared with {}", printable(&view.a.label)));
        self.compared(view, verbose);
    }

    fn compared(&mut self, view: &ComparisonView, verbose: bool) {
        self.judged("", view.word, "  ", "      ", &view.sentence);
        for (side, of) in [("a", &view.a), ("b", &view.b)] {
            self.paragraph(&format!("{side}: "), "   ", &of.whole);
        }
        let therefore = if view.paired {
            ""
        } else {
            ", so the figures may differ for that alone"
        };
        for (what, a, b) in &view.mismatches {
            let text = format!("Not the same: {what} is {a} with a and {b} with b{therefore}.");
            self.paragraph("", "  ", &text);
        }
        for note in &view.notes {
            self.paragraph("", "  ", &format!("Note: {note}"));
        }
        let shown: Vec<&ComparedRowView> = view.rows.iter().filter(|r| verbose || r.remarkable).collect();
        if !shown.is_empty() {
            self.table(
                &["figure", "a", "b", "change", "margin", "visible", "decision"],
                shown.iter().map(|r| cells(r)).collect(),
                1..6,
                20,
                true,
            );
        }
        for row in shown.iter().filter(|r| r.decides && r.word != "SAME") {
            self.judged(
                "  ",
                row.word,
                "  ",
                "    ",
                &format!("{}, {}: {}", row.benchmark, row.figure, row.words),
            );
        }
        if !view.unremarkable.is_empty() && !verbose {
            self.paragraph("", "  ", &format!("And {} (-v shows them).", view.unremarkable));
        }
        self.paragraph("", "  ", &view.method);
        if shown.iter().any(|r| !r.visible.is_empty()) {
            self.paragraph(
                "",
                "  ",
                "Visible: the smallest change that so many trials show on this machine, as `eventbench calibrate` has found.",
            );
        }
    }
}

fn cells(row: &ComparedRowView) -> Vec<String> {
    // Each text for itself, so that a line break inside a name does not look like a line of its own.
    let lines = |texts: &[&str]| {
        let texts = texts.iter().filter(|t| !t.is_empty());
        texts.map(|t| printable(t)).collect::<Vec<_>>().join("\n")
    };
    vec![
        lines(&[&row.benchmark, &row.figure]),
        lines(&[&row.a, &row.trials.0]),
        lines(&[&row.b, &row.trials.1]),
        lines(&[&row.change, &row.interval]),
        lines(&[&row.margin, row.margin_source]),
        row.visible.clone(),
        lines(&[row.word, if row.role == "gate" { "" } else { row.role }]),
    ]
}
