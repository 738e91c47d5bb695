//! The whole report as one HTML page that needs nothing else: no network, no fonts, no other file. Its style and its script
//! stand in it and are the only ones that its content security policy lets act; without the script nothing is missing but
//! reading values off the charts and sorting.

mod section;

use crate::comparison::ComparisonView;
use crate::text::printable;
use crate::view::View;
use crate::{RenderOptions, ReportError, svg};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventbench_core::judge::Verdict;
use eventbench_core::record::RunRecord;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use section::Section;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

const TEMPLATE: &str = include_str!("html/report.html.j2");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

#[derive(Serialize)]
struct Document<'a> {
    view: &'a View,
    tone: &'static str,
    policy: String,
    style: String,
    script: &'static str,
    sections: Vec<Section<'a>>,
    /// Cross-checks and limits that do not hold, which is what a reader looks for first.
    missed: Vec<Missed<'a>>,
    /// What the advice speaks of: number and name of the benchmark, and the finding.
    findings: Vec<(usize, &'a str, &'a str)>,
    boxes: String,
    comparison: Option<Compared>,
    environment: Vec<(String, String)>,
    plan: String,
    suite_file: Option<String>,
    version: u32,
}

#[derive(Serialize)]
struct Missed<'a> {
    number: usize,
    benchmark: &'a str,
    that: &'a str,
    says: String,
    word: &'static str,
    tone: &'static str,
}

#[derive(Serialize)]
struct Compared {
    view: ComparisonView,
    tone: &'static str,
    tones: Vec<&'static str>,
    forest: String,
}

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let style = format!("{STYLE}{}", svg::style());
    let document = Document {
        tone: tone(view.verdict),
        policy: policy(&style, SCRIPT),
        script: SCRIPT,
        sections: view
            .rows
            .iter()
            .zip(&record.benchmarks)
            .map(|(row, benchmark)| Section::of(row, benchmark, &view.advice))
            .collect(),
        missed: missed(record, &view),
        findings: view
            .advice
            .iter()
            .filter_map(|a| {
                let row = view.rows.iter().find(|r| r.name == a.benchmark)?;
                Some((row.number, a.benchmark.as_str(), a.finding.as_str()))
            })
            .collect(),
        boxes: svg::boxes(record).map(|c| c.inline()).unwrap_or_default(),
        comparison: record.comparison.as_ref().map(|comparison| {
            let view = ComparisonView::of(comparison);
            Compared {
                tone: tone(view.verdict),
                tones: view.rows.iter().map(|r| word_tone(r.word)).collect(),
                forest: svg::forest(comparison).map(|c| c.inline()).unwrap_or_default(),
                view,
            }
        }),
        environment: environment(record, &view),
        plan: preformatted(&plan(record)),
        suite_file: record.run.plan["source_text"].as_str().map(preformatted),
        version: record.version,
        style,
        view: &view,
    };
    fill(&document)
        .map(String::into_bytes)
        .map_err(|cause| ReportError::Template { report: "html", cause })
}

/// The template with its values, each of them escaped unless the template calls it safe.
fn fill(document: &Document<'_>) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let written = match value.as_str() {
            _ if value.is_none() => out.write_str("–"),
            Some(text) if value.is_safe() => out.write_str(text),
            Some(text) => out.write_str(&svg::escape(text)),
            None => write!(out, "{value}"),
        };
        written.map_err(Error::from)
    });
    environment.render_str(TEMPLATE, Value::from(Serde(document)))
}

/// What the page may do: use its own style and script, by their hashes, and nothing else.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
    )
}

/// The class that colours a verdict, which always stands beside its word.
fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::NoData => "nodata",
        Verdict::Fail => "fail",
        Verdict::Invalid => "invalid",
    }
}

/// The same for the word of a limit's outcome or of a comparison's decision.
fn word_tone(word: &str) -> &'static str {
    match word {
        "PASS" | "BETTER" | "holds" => "pass",
        "WARN" | "INCONCLUSIVE" | "UNDERPOWERED" => "warn",
        "FAIL" | "WORSE" | "DOES NOT HOLD" => "fail",
        "INVALID" => "invalid",
        _ => "nodata",
    }
}

fn missed<'a>(record: &'a RunRecord, view: &'a View) -> Vec<Missed<'a>> {
    let mut missed: Vec<(Verdict, Missed<'a>)> = Vec::new();
    for (row, benchmark) in view.rows.iter().zip(&record.benchmarks) {
        let mut add = |weight: Verdict, own: Verdict, that: &'a str, says: String| {
            let entry = Missed {
                number: row.number,
                benchmark: &row.name,
                that,
                says,
                word: own.word(),
                tone: tone(own),
            };
            missed.push((weight, entry));
        };
        for check in benchmark.checks.iter().filter(|c| c.holds == Some(false)) {
            let says = format!("does not hold: {}", check.detail);
            add(Verdict::Invalid, Verdict::Invalid, &check.name, says);
        }
        for (limit, result) in row.limits.iter().zip(&benchmark.limits) {
            if result.outcome != Verdict::Pass {
                add(
                    result.counts_as,
                    result.outcome,
                    &limit.that,
                    format!("is {}", limit.value),
                );
            }
        }
    }
    missed.sort_by_key(|m| std::cmp::Reverse(m.0));
    missed.into_iter().map(|m| m.1).collect()
}

fn environment(record: &RunRecord, view: &View) -> Vec<(String, String)> {
    let run = &record.run;
    let mut rows = view.environment.clone();
    if let Some(source) = &run.source {
        rows.push(("commit".to_owned(), source.commit.clone()));
        rows.extend(source.branch.iter().map(|b| ("branch".to_owned(), b.clone())));
    }
    if let Some(placement) = &run.placement {
        let cores = |cores: &[usize]| {
            let all: Vec<String> = cores.iter().map(usize::to_string).collect();
            if all.is_empty() {
                "any".to_owned()
            } else {
                all.join(", ")
            }
        };
        rows.push((
            "cores".to_owned(),
            format!(
                "broker {}; services {}; instrument {}",
                cores(&placement.broker),
                cores(&placement.services),
                cores(&placement.instrument)
            ),
        ));
    }
    if let Some(pair) = &run.pair {
        let settings = pair.settings.join(", ");
        rows.push((
            "variant".to_owned(),
            format!("{} ({settings}), beside run {}", pair.label, pair.partner),
        ));
    }
    rows.push(("seed".to_owned(), run.seed.to_string()));
    rows
}

/// The plan without the suite file's text, which says the same in its own words and stands by itself.
fn plan(record: &RunRecord) -> String {
    let mut plan = record.run.plan.clone();
    if let Some(map) = plan.as_object_mut() {
        map.remove("source_text");
    }
    serde_json::to_string_pretty(&plan).unwrap_or_default()
}

/// A text of several lines, escaped, with its lines and their indentation.
fn preformatted(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            format!("{}{}", &line[..indent], svg::escape(&printable(line)))
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
