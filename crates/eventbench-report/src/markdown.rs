//! The whole report in Markdown: summary, a section for each category, analysis, baseline, environment.
//! Every value that the template prints is escaped, unless this module made it itself.

use crate::comparison::ComparisonView;
use crate::text::{ascii, printable};
use crate::view::{FigureRow, Row, View};
use crate::{RenderOptions, ReportError, chart};
use eventbench_core::judge::compare::RunComparison;
use eventbench_core::record::RunRecord;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

const TEMPLATE: &str = include_str!("report.md.j2");
const COMPARISON: &str = include_str!("comparison.md.j2");

/// Figures worth keeping for a later comparison.
const BASELINE: &[(&str, &[&str])] = &[
    ("response_time", &["mean", "med", "p(95)", "p(99)", "max"]),
    ("delivered.rate", &["value"]),
    ("delivered.ratio", &["value"]),
    ("cpu", &["value"]),
    ("cpu.per_event", &["value"]),
    ("rss", &["max", "slope"]),
    ("cpu.overhead", &["value"]),
    ("cpu.overhead.per_event", &["value"]),
    ("rss.overhead", &["value"]),
    ("pss.overhead", &["value"]),
    ("recovery", &["value"]),
    ("restart", &["value"]),
    ("downtime", &["value"]),
];

#[derive(Serialize)]
struct Document<'a> {
    view: &'a View,
    categories: Vec<Category<'a>>,
    baseline: Vec<(&'a str, &'a FigureRow)>,
    plan: String,
    attention: Vec<&'a Row>,
    version: u32,
    /// The section that compares, and with what.
    comparison: Option<(String, String)>,
}

#[derive(Serialize)]
struct Category<'a> {
    title: String,
    rows: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Section<'a> {
    row: &'a Row,
    histogram: String,
    timeline: String,
    /// The hops as bars.
    waterfall: String,
}

pub(crate) fn render(record: &RunRecord, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let ink = chart::Ink::new(options.ascii);
    let section = |row| section(record, row, &ink);
    let categories = view.categories();
    let categories = categories.into_iter().map(|(name, rows)| Category {
        title: title(name),
        rows: rows.into_iter().map(section).collect(),
    });
    let baseline = view.rows.iter().flat_map(|row| {
        let kept = row.figures.iter().filter(|f| {
            BASELINE
                .iter()
                .any(|(metric, stats)| *metric == f.id && stats.contains(&f.stat.as_str()))
        });
        kept.map(|f| (row.name.as_str(), f))
    });
    let document = Document {
        categories: categories.collect(),
        baseline: baseline.collect(),
        plan: fenced(&plan(record), "json"),
        attention: view.rows.iter().filter(|r| !r.clean).collect(),
        version: record.version,
        comparison: match &record.comparison {
            Some(comparison) => {
                let compared = ComparisonView::of(comparison);
                Some((fill_comparison(&compared)?, compared.a.label))
            }
            None => None,
        },
        view: &view,
    };
    let text = fill(TEMPLATE, &document)?;
    Ok(finished(text, options))
}

/// A comparison as a page of its own.
pub(crate) fn render_comparison(comparison: &RunComparison, options: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = ComparisonView::of(comparison);
    let title = format!(
        "# Comparison: {} with {}\n\n",
        escape(&view.b.label),
        escape(&view.a.label)
    );
    Ok(finished(title + &fill_comparison(&view)?, options))
}

fn fill_comparison(view: &ComparisonView) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Document<'a> {
        c: &'a ComparisonView,
    }
    fill(COMPARISON, &Document { c: view })
}

/// A template with its values, each of them escaped.
fn fill(template: &str, document: &impl Serialize) -> Result<String, ReportError> {
    let failed = |cause| ReportError::Template {
        report: "markdown",
        cause,
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(failed)?;
    environment.set_syntax(syntax);
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let written = match value.as_str() {
            _ if value.is_none() => out.write_str("–"),
            Some(text) if value.is_safe() => out.write_str(text),
            Some(text) => out.write_str(&escape(text)),
            None => write!(out, "{value}"),
        };
        written.map_err(Error::from)
    });
    environment
        .render_str(template, Value::from(Serde(document)))
        .map_err(failed)
}

fn finished(text: String, options: &RenderOptions) -> Vec<u8> {
    let text = if options.ascii {
        text.lines().map(|l| ascii(l) + "\n").collect()
    } else {
        text
    };
    text.into_bytes()
}

fn section<'a>(record: &RunRecord, row: &'a Row, ink: &chart::Ink) -> Section<'a> {
    let benchmark = record.benchmarks.get(row.number - 1);
    let bars = benchmark
        .and_then(chart::responses)
        .map(|l| chart::histogram(&l, ink))
        .unwrap_or_default();
    let trial = benchmark.and_then(|b| b.trials.iter().find(|t| t.variant.is_empty()));
    let line = trial.map(|t| chart::timeline(&t.timeline, ink)).unwrap_or_default();
    Section {
        row,
        waterfall: match chart::waterfall(&row.hops, ink).join("\n") {
            bars if bars.is_empty() => bars,
            // The names of hops come from services.
            bars => fenced(&bars, "text"),
        },
        histogram: bars.join("\n"),
        timeline: line.join("\n"),
    }
}

/// The plan without the suite file's text, which says the same in its own words.
fn plan(record: &RunRecord) -> String {
    let mut plan = record.run.plan.clone();
    if let Some(map) = plan.as_object_mut() {
        map.remove("source_text");
    }
    serde_json::to_string_pretty(&plan).unwrap_or_default()
}

/// A category as a heading.
fn title(category: &str) -> String {
    const KNOWN: &[(&str, &str)] = &[("cpu", "CPU"), ("rpc", "RPC"), ("concurrent", "Concurrent operations")];
    if let Some((_, title)) = KNOWN.iter().find(|k| k.0 == category) {
        return (*title).to_owned();
    }
    let words = category.replace(['-', '_'], " ");
    let mut chars = words.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// A text of several lines in a code block that it cannot end.
fn fenced(text: &str, language: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            format!("{}{}", &line[..indent], printable(line))
        })
        .collect();
    format!("{fence}{language}\n{}\n{fence}", lines.join("\n"))
}

/// A text of unknown origin as plain words inside a line, a heading or a table cell of Markdown (CommonMark with tables).
pub(crate) fn escape(text: &str) -> String {
    let text = printable(text);
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    let digits = chars.iter().take_while(|c| c.is_ascii_digit()).count();
    for (i, c) in chars.iter().enumerate() {
        let (before, after) = (i.checked_sub(1).map(|i| chars[i]), chars.get(i + 1).copied());
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        match c {
            // Only before these may a tag, a comment or a link begin, and before a backslash readers differ; "p(95) < 10ms"
            // stays readable.
            '<' if after.is_none_or(|a| a.is_ascii_alphabetic() || "/!?\\".contains(a)) => out.push_str("&lt;"),
            '&' if after.is_none_or(|a| a.is_ascii_alphanumeric() || a == '#') => out.push_str("&amp;"),
            '@' if word(after) => out.push_str("&#64;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' | '#' => {
                out.push('\\');
                out.push(*c);
            }
            // Two of these begin the code of page generators that run over Markdown.
            '{' if after.is_some_and(|a| "{%#".contains(a)) => out.push_str("&#123;"),
            '_' if !(word(before) && word(after)) => out.push_str("\\_"),
            // What would begin a list or a quotation where the value stands first.
            '+' | '-' if i == 0 && after.is_none_or(|a| a.is_whitespace() || a == *c) => {
                out.push('\\');
                out.push(*c);
            }
            '=' | '>' | ':' if i == 0 => {
                out.push('\\');
                out.push(*c);
            }
            '.' | ')' if digits > 0 && i == digits && after.is_none_or(char::is_whitespace) => {
                out.push('\\');
                out.push(*c);
            }
            c => out.push(*c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::golden;
    use proptest::prelude::*;

    #[test]
    fn readable_things_stay_readable() {
        for (text, escaped) in [
            ("p(95) < 10ms", "p(95) < 10ms"),
            ("lost_before_ack", "lost_before_ack"),
            ("a|b", "a\\|b"),
            ("<b>", "&lt;b>"),
            ("&lt;", "&amp;lt;"),
            ("_it_ *is* `so`", "\\_it\\_ \\*is\\* \\`so\\`"),
            ("1. first", "1\\. first"),
            ("1.25 ms", "1.25 ms"),
            ("# no heading", "\\# no heading"),
            ("- no list", "\\- no list"),
            ("two\nlines", "two lines"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    /// Nothing of a text may act: no tag, no cell, no code, no link, no line.
    fn harmless(escaped: &str) -> Result<(), TestCaseError> {
        let mut chars = escaped.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => prop_assert!(chars.next().is_some(), "a lone backslash ends {escaped:?}"),
                '<' => prop_assert!(
                    !chars
                        .peek()
                        .is_none_or(|n| n.is_ascii_alphabetic() || "/!?".contains(*n)),
                    "a tag in {escaped:?}"
                ),
                c => prop_assert!(!"|`*[]".contains(c) && !c.is_control(), "{c:?} in {escaped:?}"),
            }
        }
        Ok(())
    }

    /// What a reader of the rendered page sees.
    fn shown(escaped: &str) -> String {
        let mut out = String::new();
        let mut chars = escaped.chars();
        while let Some(c) = chars.next() {
            if c == '\\' {
                out.extend(chars.next())
            } else {
                out.push(c)
            }
        }
        out.replace("&lt;", "<")
            .replace("&#64;", "@")
            .replace("&#123;", "{")
            .replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn no_text_acts_and_none_is_lost(text in any::<String>()) {
            let escaped = escape(&text);
            harmless(&escaped)?;
            prop_assert_eq!(shown(&escaped), printable(&text));
        }

        #[test]
        fn markup_does_not_act(text in "[-<>a-z/!?&#;|`*_\\[\\]()\\\\\n0-9.:=+~$@{} ]{0,40}") {
            harmless(&escape(&text))?;
        }

        #[test]
        fn no_text_ends_its_code_block(text in "[`a\n ]{0,60}") {
            let block = fenced(&text, "");
            let fence = block.lines().next().unwrap();
            let inside: Vec<&str> = block.lines().skip(1).collect();
            prop_assert!(inside[..inside.len() - 1].iter().all(|l| !l.trim().starts_with(fence)));
            prop_assert_eq!(inside.last().copied(), Some(fence));
        }

        #[test]
        fn any_names_leave_the_page_in_shape(name in any::<String>(), stream in "[|<>a`\n\\\\]{0,12}") {
            let mut record = golden::empty();
            let mut benchmark = golden::no_data().benchmarks.swap_remove(0);
            benchmark.trials[0].ledger.streams[0].stream = stream;
            benchmark.name = name.clone();
            benchmark.category = name.clone();
            benchmark.warnings = vec![name];
            record.benchmarks.push(benchmark);
            in_shape(&String::from_utf8(render(&record, &RenderOptions::default()).unwrap()).unwrap())?;
        }
    }

    /// Outside of code blocks: every row of a table has as many cells as its head, and no line holds a tag.
    fn in_shape(page: &str) -> Result<(), TestCaseError> {
        let cells = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        let (mut fence, mut head) = (String::new(), None);
        for line in page.lines() {
            if fence.is_empty() && line.starts_with("```") {
                fence = line.chars().take_while(|c| *c == '`').collect();
            } else if !fence.is_empty() {
                if line == fence {
                    fence.clear();
                }
            } else if line.starts_with('|') {
                let n = *head.get_or_insert(cells(line));
                prop_assert_eq!(cells(line), n, "{}", line);
            } else {
                head = None;
                let plain = line.replace("\\\\", "");
                let tag = plain
                    .match_indices('<')
                    .any(|(i, _)| plain[i + 1..].starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)));
                prop_assert!(!tag, "a tag in {line}");
            }
        }
        prop_assert!(fence.is_empty(), "a code block does not end");
        Ok(())
    }

    #[test]
    fn the_golden_records_leave_the_page_in_shape() {
        for (name, record) in golden::records() {
            let page = String::from_utf8(render(&record, &RenderOptions::default()).unwrap()).unwrap();
            in_shape(&page).unwrap_or_else(|e| panic!("{name}: {e}"));
            for heading in [
                "## Executive Summary",
                "## Analysis & Recommendations",
                "Performance summary",
                "Optimization opportunities",
                "Baseline metrics",
                "Test environment",
                "Raw data",
            ] {
                assert!(page.contains(heading), "{name}: no \"{heading}\"");
            }
            assert!(!page.contains("\n\n\n"), "{name}: two empty lines in\n{page}");
        }
    }
}
