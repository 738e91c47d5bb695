//! The report for a terminal: the verdict first, the figures in one table, then what needs a look and what to do.

mod comparison;

pub(crate) use comparison::render as render_comparison;

use crate::breakdown::CauseRow;
use crate::comparison::ComparisonView;
use crate::text::{ascii, printable, wrap};
use crate::view::{Row, Times, View};
use crate::{RenderOptions, ReportError, chart};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, Width, presets};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::Decision;
use eventbench_core::record::RunRecord;

/// Below this width tables would fall to pieces.
const NARROWEST: u16 = 60;

pub(crate) fn render(record: &RunRecord, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let mut page = Page::new(options);
    page.head(&view);
    if !view.rows.is_empty() {
        page.overview(&view);
        for row in view
            .rows
            .iter()
            .filter(|r| options.verbose || !r.clean || !r.hops.is_empty())
        {
            let charts = record.benchmarks.get(row.number - 1).filter(|_| options.verbose);
            page.benchmark(row, options.verbose);
            if let Some(benchmark) = charts {
                page.charts(benchmark);
            }
        }
        page.cost(&view);
        page.advice(&view);
    }
    if let Some(comparison) = &record.comparison {
        page.comparison(&ComparisonView::of(comparison), options.verbose);
    }
    page.foot(&view, options.history.as_deref());
    Ok(page.out.into_bytes())
}

/// How text becomes characters of a terminal.
struct Pen {
    color: bool,
    ascii: bool,
    width: u16,
}

impl Pen {
    /// A text of unknown origin.
    fn text(&self, text: &str) -> String {
        let text = printable(text);
        if self.ascii { ascii(&text) } else { text }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn word(&self, word: &str) -> String {
        let code = match word {
            "PASS" | "SAME" | "BETTER" => "32",
            "WARN" | "INCONCLUSIVE" | "UNDERPOWERED" => "33",
            "FAIL" | "WORSE" => "1;31",
            "NO DATA" => "35",
            _ => "1;35",
        };
        self.paint(word, code)
    }
}

/// The words that get their colour at the end of a table's line.
fn words() -> impl Iterator<Item = &'static str> {
    let verdicts = [
        Verdict::NoData,
        Verdict::Invalid,
        Verdict::Fail,
        Verdict::Warn,
        Verdict::Pass,
    ];
    let decisions = [
        Decision::Worse,
        Decision::Better,
        Decision::Same,
        Decision::Inconclusive { more_trials: None },
        Decision::Underpowered,
    ];
    verdicts
        .into_iter()
        .map(Verdict::word)
        .chain(decisions.into_iter().map(Decision::word))
}

struct Page {
    pen: Pen,
    out: String,
}

impl Page {
    fn new(options: &RenderOptions) -> Page {
        Page {
            pen: Pen {
                color: options.color,
                ascii: options.ascii,
                width: options.width.max(NARROWEST),
            },
            out: String::new(),
        }
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// A heading with an empty line before it.
    fn heading(&mut self, text: &str) {
        let text = self.pen.bold(text);
        self.line("");
        self.line(&text);
    }

    /// A text of unknown origin, wrapped and indented.
    fn paragraph(&mut self, first: &str, later: &str, text: &str) {
        let wrapped = wrap(&self.pen.text(text), usize::from(self.pen.width), first, later);
        self.out.push_str(&wrapped);
    }

    /// A paragraph that begins with a verdict's word, which gets its colour after the wrapping, since that counts characters.
    fn judged(&mut self, indent: &str, word: &str, gap: &str, later: &str, text: &str) {
        let start = self.out.len();
        self.paragraph(&format!("{indent}{word}{gap}"), later, text);
        let painted = self.out[start..].replacen(word, &self.pen.word(word), 1);
        self.out.truncate(start);
        self.out.push_str(&painted);
    }

    /// Columns of cells of unknown origin. Those in `right` are set to the right and take at most `most`
    /// characters, and a line is drawn between the rows where they are `ruled`; verdicts in the last column get their colour after the layout, so that it knows nothing of them.
    fn table(
        &mut self,
        header: &[&str],
        rows: Vec<Vec<String>>,
        right: std::ops::Range<usize>,
        most: u16,
        ruled: bool,
    ) {
        let mut table = Table::new();
        table
            .force_no_tty()
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.pen.width);
        table.load_style(if self.pen.ascii {
            presets::ASCII_HORIZONTAL_ONLY
        } else {
            presets::UTF8_HORIZONTAL_ONLY
        });
        if !ruled {
            table.style_mut().row_separator = LineStyle::none();
        }
        table.set_header(header.iter().map(|h| self.pen.text(h)));
        for row in rows {
            let cells = row.iter().map(|cell| {
                cell.split('\n')
                    .map(|line| self.pen.text(line))
                    .collect::<Vec<_>>()
                    .join("\n")
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if right.contains(&i) {
                column.set_cell_alignment(CellAlignment::Right);
                column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(most)));
            }
        }
        for line in table.lines() {
            let line = line.trim_end();
            let ending = words().find(|w| line.strip_suffix(w).is_some_and(|before| before.ends_with(' ')));
            let line = match ending {
                Some(word) => format!("{}{}", &line[..line.len() - word.len()], self.pen.word(word)),
                None => line.to_owned(),
            };
            self.line(&line);
        }
    }

    fn head(&mut self, view: &View) {
        let word = self.pen.word(view.word);
        let length = if view.duration == "–" {
            String::new()
        } else {
            format!(", {}", view.duration)
        };
        let head = format!("{} ({}): {}{length}", view.suite, view.profile, view.summary);
        let head = self.pen.text(&head);
        self.line(&format!("{word}  {}", self.pen.bold(&head)));
        if let Some(ended) = view.ended {
            self.paragraph("", "", &format!("The run was {ended}."));
        }
        if !view.not_run.is_empty() {
            self.paragraph("", "  ", &format!("Not run: {}.", view.not_run.join(", ")));
        }
        for change in &view.overrides {
            self.paragraph("", "  ", &format!("Changed for this run: {change}"));
        }
        for note in &view.notes {
            self.paragraph("", "  ", &format!("Note: {note}"));
        }
    }

    fn overview(&mut self, view: &View) {
        let rows = view.rows.iter().map(overview_row).collect();
        self.line("");
        self.table(
            &[
                "benchmark",
                "mean",
                "p50",
                "p95",
                "p99",
                "max",
                "lost",
                "rate",
                "verdict",
            ],
            rows,
            1..8,
            10,
            true,
        );
        self.paragraph(
            "",
            "  ",
            "Times are response times: from the instant at which an event was meant to be sent to its end.",
        );
        if view.rows.iter().any(|r| r.resolution.is_some()) {
            self.paragraph(
                "",
                "  ",
                "Beside who saw the events: how far apart it looks, by which a time may read too long.",
            );
        }
        if view.rows.iter().any(|r| r.closed_loop) {
            self.paragraph(
                "",
                "  ",
                "* closed loop: it sends less when the system is slow, so these times hide what waited.",
            );
        }
    }

    fn benchmark(&mut self, row: &Row, verbose: bool) {
        self.line("");
        self.judged(
            "",
            row.word,
            "  ",
            "      ",
            &format!("{} ({})", row.name, row.requirement),
        );
        if verbose {
            if let Some(about) = &row.about {
                self.paragraph("  ", "  ", about);
            }
            self.paragraph("  ", "    ", &format!("{}; {}", row.load, row.trials));
        }
        for limit in &row.limits {
            let sure = if limit.interval.is_empty() {
                String::new()
            } else {
                format!(" ({})", limit.interval)
            };
            let remarks: String = limit.remarks.iter().map(|r| format!("; {r}")).collect();
            let text = format!("{} {}: {}{sure}{remarks}", limit.severity, limit.that, limit.value);
            let gap = " ".repeat(9 - limit.outcome.len().min(8));
            self.judged("  ", limit.outcome, &gap, "           ", &text);
        }
        for (what, holds, detail) in row.checks.iter().filter(|c| verbose || c.1 != "holds") {
            self.paragraph("  ", "    ", &format!("check {holds}: {what} ({detail})"));
        }
        for warning in &row.warnings {
            self.paragraph("  ", "    ", &format!("warning: {warning}"));
        }
        for error in &row.errors {
            self.paragraph("  ", "    ", &format!("error: {error}"));
        }
        for cause in &row.causes {
            let task = if cause.stream.is_empty() {
                String::new()
            } else {
                format!(" ({})", cause.stream)
            };
            let example = if cause.example.is_empty() {
                String::new()
            } else {
                format!(": {}", cause.example)
            };
            let CauseRow {
                cause,
                count,
                first,
                last,
                ..
            } = cause;
            self.paragraph(
                "  ",
                "    ",
                &format!("{count} × {cause}{task}, first at {first}, last at {last}{example}"),
            );
        }
        if let Some(grade) = row.grade.as_ref().filter(|_| verbose || !row.clean) {
            self.paragraph("  ", "    ", &format!("grade {grade}"));
        }
        if !row.hops.is_empty() {
            self.line("  where the time of an event went, on average:");
            for text in chart::waterfall(&row.hops, &chart::Ink::new(self.pen.ascii)) {
                // Made printable, a text has no blanks at its ends; those in front say what is a part of what.
                let indent = text.len() - text.trim_start_matches(' ').len();
                let text = self.pen.text(&text);
                self.line(&format!("    {}{text}", " ".repeat(indent)));
            }
        }
        for mark in row.marks.iter().filter(|_| verbose || !row.clean) {
            self.paragraph("  ", "    ", &format!("at {mark}"));
        }
        if verbose {
            self.everything(row);
        }
    }

    fn everything(&mut self, row: &Row) {
        let rows = row.times.iter().map(|t| {
            let Times {
                of,
                samples,
                mean,
                med,
                p95,
                p99,
                p999,
                min,
                max,
                stddev,
                ..
            } = t;
            [*of, samples, mean, med, p95, p99, p999, min, max, stddev]
                .map(str::to_owned)
                .to_vec()
        });
        let rows = rows.collect();
        self.table(
            &[
                "", "samples", "mean", "p50", "p95", "p99", "p99.9", "min", "max", "stddev",
            ],
            rows,
            1..10,
            10,
            false,
        );
        let rows = row.streams.iter().map(|s| {
            [
                &s.stream,
                &s.sent,
                &s.acked,
                &s.delivered,
                &s.duplicates,
                &s.reordered,
                &s.lost_before_ack,
                &s.lost_after_ack,
            ]
            .map(String::clone)
            .to_vec()
        });
        let rows = rows.collect();
        self.table(
            &[
                "stream",
                "sent",
                "confirmed",
                "delivered",
                "twice",
                "reordered",
                "lost",
                "lost confirmed",
            ],
            rows,
            1..8,
            12,
            false,
        );
        let rows = row
            .figures
            .iter()
            .map(|f| {
                [&f.metric, &f.stat, &f.value, &f.interval, &f.samples]
                    .map(String::clone)
                    .to_vec()
            })
            .collect();
        self.table(
            &["metric", "statistic", "value", "certainty", "samples"],
            rows,
            2..3,
            24,
            false,
        );
    }

    fn charts(&mut self, benchmark: &eventbench_core::record::BenchmarkRecord) {
        let ink = chart::Ink::new(self.pen.ascii);
        let bars = chart::responses(benchmark)
            .map(|l| chart::histogram(&l, &ink))
            .unwrap_or_default();
        let line = benchmark
            .trials
            .first()
            .map(|t| chart::timeline(&t.timeline, &ink))
            .unwrap_or_default();
        for text in bars.iter().chain(&line) {
            let text = if self.pen.ascii { ascii(text) } else { text.clone() };
            self.line(&format!("  {text}"));
        }
    }

    fn cost(&mut self, view: &View) {
        self.heading("What it cost");
        let rows = view.rows.iter().map(|row| {
            let each = |value: fn(&crate::view::Cost) -> String| {
                row.costs
                    .iter()
                    .map(|c| (&c.process, value(c)))
                    .filter(|(_, shown)| shown != "–")
                    .map(|(process, shown)| format!("{process} {shown}"))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            vec![
                row.name.clone(),
                each(|c| c.cpu.clone()),
                each(|c| c.per_event.clone()),
                each(|c| c.rss.clone()),
                row.instrument.clone(),
                row.lateness.clone(),
            ]
        });
        let rows = rows.collect();
        self.table(
            &[
                "benchmark",
                "CPU of a core",
                "CPU per event",
                "most memory",
                "instrument",
                "late p99",
            ],
            rows,
            6..6,
            0,
            true,
        );
        self.paragraph(
            "",
            "  ",
            "Instrument: its own CPU, of a core. Late: the generator's own delay, contained in every response time.",
        );
    }

    fn advice(&mut self, view: &View) {
        if view.advice.is_empty() {
            return;
        }
        self.heading("What to do");
        for advice in &view.advice {
            self.paragraph(
                "  ",
                "    ",
                &format!("{}: {}. {}", advice.benchmark, advice.finding, advice.action),
            );
        }
    }

    fn foot(&mut self, view: &View, history: Option<&str>) {
        self.line("");
        let environment: Vec<String> = view
            .environment
            .iter()
            .map(|(what, value)| {
                if ["OS", "CPU", "RAM"].contains(&what.as_str()) {
                    value.clone()
                } else {
                    format!("{what} {value}")
                }
            })
            .collect();
        self.paragraph("", "  ", &format!("{}; {}", environment.join(", "), view.started));
        let place = history.map(|h| format!(" in {h}")).unwrap_or_default();
        self.paragraph("", "  ", &format!("Recorded as {}{place}.", view.id));
        self.paragraph(
            "",
            "  ",
            &format!(
                "Next: `eventbench report {} -o markdown=report.md` writes the whole report, -v shows everything here",
                view.id
            ),
        );
    }
}

fn overview_row(row: &Row) -> Vec<String> {
    let mark = if row.closed_loop { "*" } else { "" };
    let response = row.times.iter().find(|t| t.of == "response time");
    let time = |of: fn(&Times) -> &String| response.map_or_else(|| "–".to_owned(), |t| format!("{}{mark}", of(t)));
    let mut name = vec![row.name.clone(), format!("{}: {}", row.requirement, row.load)];
    if let Some(resolution) = &row.resolution {
        name.push(format!("seen by {} ({resolution})", row.observed_by));
    }
    name.extend(
        row.key
            .iter()
            .map(|(what, value)| format!("{} {value}", what.replace("process:", ""))),
    );
    vec![
        // Each line for itself, so that a line break inside a name does not look like a line of its own.
        name.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n"),
        time(|t| &t.mean),
        time(|t| &t.med),
        time(|t| &t.p95),
        time(|t| &t.p99),
        time(|t| &t.max),
        row.lost.clone(),
        row.rate.clone(),
        row.word.to_owned(),
    ]
}
