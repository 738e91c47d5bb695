//! Reports: pure functions of the record. A further format is one file and one line of [`REPORTS`].

mod advice;
mod breakdown;
mod cases;
mod chart;
pub mod comparison;
mod csv;
mod ctrf;
mod github_annotations;
mod github_benchmark;
mod github_summary;
mod hgrm;
pub mod history;
mod hlog;
mod html;
mod json;
mod junit;
mod log;
mod markdown;
pub mod otava;
mod page;
mod pr_comment;
mod prometheus;
mod pytest_benchmark;
mod rows;
mod svg;
mod terminal;
mod text;
pub mod tidy;
pub mod view;

pub use advice::{Advice, advise};
pub use comparison::COMPARISON_REPORTS;
pub use github_summary::{MOST_SUMMARY_BYTES, step_summary};
pub use json::SCHEMA;
pub use text::{ascii as ascii_text, duration, printable, utc};

use eventbench_core::record::RunRecord;

/// How a report is drawn; never what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderOptions {
    /// Colours, as escape sequences of a terminal.
    pub color: bool,
    /// Columns that a line may take.
    pub width: u16,
    /// Nothing but ASCII characters.
    pub ascii: bool,
    /// Everything of every benchmark, not only of those that need a look.
    pub verbose: bool,
    /// Where the record is kept, to be told at the end.
    pub history: Option<String>,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            color: false,
            width: 100,
            ascii: false,
            verbose: false,
            history: None,
        }
    }
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The template is wrong, which no record can cause.
    #[error("the {report} report could not be made: {cause}; this is a mistake in eventbench, please report it")]
    Template {
        /// The report's name.
        report: &'static str,
        /// What is wrong.
        cause: minijinja::Error,
    },
    /// The record could not be written as JSON.
    #[error("the record could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The rows could not be written as CSV.
    #[error("the figures could not be written as CSV: {0}")]
    Csv(#[from] ::csv::Error),
    /// The cases could not be written as XML.
    #[error("the test cases could not be written as XML: {0}")]
    Xml(String),
}

/// A format.
pub struct ReportDef {
    /// The name that `-o NAME=FILE` takes.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The usual end of its files' names.
    pub extension: &'static str,
    /// Renders a record: the same bytes for the same record and options, wherever and whenever.
    pub render: fn(&RunRecord, &RenderOptions) -> Result<Vec<u8>, ReportError>,
}

const fn report(
    name: &'static str,
    extension: &'static str,
    render: fn(&RunRecord, &RenderOptions) -> Result<Vec<u8>, ReportError>,
    about: &'static str,
) -> ReportDef {
    ReportDef {
        name,
        about,
        extension,
        render,
    }
}

/// Every format. One line each.
pub const REPORTS: &[ReportDef] = &[
    report(
        "terminal",
        "txt",
        terminal::render,
        "tables for people: verdict, figures, what needs a look, what to do",
    ),
    report(
        "markdown",
        "md",
        markdown::render,
        "the whole report: summary, a section a category, analysis, baseline, environment",
    ),
    report(
        "html",
        "html",
        html::render,
        "the whole report as one page with charts, for a browser, without network",
    ),
    report(
        "json",
        "json",
        json::render,
        "the record itself with its verdict, for programs; `schema` says what it holds",
    ),
    report(
        "csv",
        "csv",
        csv::render,
        "every figure in a row of its own, for spreadsheets and data frames",
    ),
    report("log", "log", log::render, "a few lines for a log of results"),
    report(
        "pytest-benchmark",
        "json",
        pytest_benchmark::render,
        "response times as pytest-benchmark writes them, for `pytest-benchmark compare`",
    ),
    report(
        "github-benchmark-smaller",
        "json",
        github_benchmark::smaller,
        "latency, CPU, memory for github-action-benchmark's customSmallerIsBetter",
    ),
    report(
        "github-benchmark-bigger",
        "json",
        github_benchmark::bigger,
        "rates and ratios for github-action-benchmark's customBiggerIsBetter",
    ),
    report(
        "otava",
        "csv",
        otava::render,
        "a row of figures for Apache Otava; `history export` writes a row a run",
    ),
    report(
        "junit",
        "xml",
        junit::render,
        "a test case a limit, as JUnit XML for Jenkins, GitLab and others",
    ),
    report(
        "ctrf",
        "json",
        ctrf::render,
        "the same cases as CTRF, the Common Test Report Format",
    ),
    report(
        "github-summary",
        "md",
        github_summary::render,
        "the summary of a step on GitHub Actions, below 1 MiB; a run writes it by itself there",
    ),
    report(
        "github-annotations",
        "txt",
        github_annotations::render,
        "::error and ::warning commands for GitHub Actions, at the limit's line of the suite file",
    ),
    report(
        "pr-comment",
        "md",
        pr_comment::render,
        "the body of a pull request's comment, below 64 kB, with a marker to find it again",
    ),
    report(
        "hlog",
        "hlog",
        hlog::render,
        "an HdrHistogram log 1.3: a histogram a second, a tag a benchmark",
    ),
    report(
        "prometheus",
        "prom",
        prometheus::render,
        "figures and verdicts for Prometheus' node exporter (textfile collector)",
    ),
];

/// Files of a directory: names without a directory, and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// A format whose report is a directory of files.
pub struct DirectoryReportDef {
    /// The name that `-o NAME=DIR` takes.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Renders a record: the same files for the same record and options, their names safe on every file system and none
    /// of them twice.
    pub files: fn(&RunRecord, &RenderOptions) -> Result<Files, ReportError>,
}

/// Every format that writes a directory. One entry each; no name is one of [`REPORTS`] as well.
pub const DIRECTORY_REPORTS: &[DirectoryReportDef] = &[
    DirectoryReportDef {
        name: "svg",
        about: "every chart as a picture, for Markdown and slides; histogram.svg shows all benchmarks side by side",
        files: svg::files,
    },
    DirectoryReportDef {
        name: "hgrm",
        about: "percentile distributions as HdrHistogram prints them, a file a benchmark",
        files: hgrm::files,
    },
];

/// A format that writes a directory, by its name.
pub fn find_directory(name: &str) -> Option<&'static DirectoryReportDef> {
    DIRECTORY_REPORTS.iter().find(|r| r.name == name)
}

/// A format by its name.
pub fn find(name: &str) -> Option<&'static ReportDef> {
    REPORTS.iter().find(|r| r.name == name)
}

#[cfg(test)]
mod tests;
