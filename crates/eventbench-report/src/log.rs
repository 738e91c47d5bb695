//! A few lines for a log of results: the verdict, and what each benchmark came to.

use crate::comparison::ComparisonView;
use crate::text::{date, printable};
use crate::view::{Row, TOO_SMALL, View};
use crate::{RenderOptions, ReportError};
use eventbench_core::record::RunRecord;

pub(crate) fn render(record: &RunRecord, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let view = View::of(record);
    let title = format!(
        "{} benchmarks - {}",
        printable(&view.suite),
        date(record.run.started_unix_ms)
    );
    let mut out = format!("{title}\n{}\n", "=".repeat(title.chars().count()));
    let names: Vec<String> = view.rows.iter().map(|r| format!("{}:", printable(&r.name))).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for (name, row) in names.iter().zip(&view.rows) {
        out.push_str(&format!("{name:<width$}  {} {}\n", figures(row), row.word));
    }
    if let Some(ended) = view.ended {
        out.push_str(&format!("The run was {ended}.\n"));
    }
    if let Some(comparison) = &record.comparison {
        let compared = ComparisonView::of(comparison);
        out.push_str(&format!(
            "Compared with {}: {} {}\n",
            printable(&compared.a.label),
            compared.word,
            printable(&compared.sentence)
        ));
    }
    out.push_str(&format!(
        "{}: {} (run {}, {})\n",
        view.word,
        printable(&view.summary),
        printable(&view.id),
        view.duration
    ));
    Ok(out.into_bytes())
}

/// The figures that its limits ask for; else its response time and rate.
fn figures(row: &Row) -> String {
    let mut parts = Vec::new();
    if let Some(times) = row.times.first().filter(|t| t.of == "response time") {
        let p95 = if times.p95 == TOO_SMALL {
            "n too small"
        } else {
            &times.p95
        };
        parts.push(format!(
            "{} mean (p95 {p95}){}",
            times.mean,
            if row.closed_loop { ", closed loop" } else { "" }
        ));
    }
    parts.extend(
        row.key
            .iter()
            .map(|(name, value)| format!("{} {value}", printable(name))),
    );
    if row.rate != "–" {
        parts.push(row.rate.clone());
    }
    if !row.lost.starts_with("0 of") {
        parts.push(format!("{} lost", row.lost));
    }
    if parts.is_empty() {
        "no figures".to_owned()
    } else {
        parts.join(", ")
    }
}
