//! A comparison as CSV: one row a figure, in base units, ratios of one.

use crate::csv::safe;
use crate::{RenderOptions, ReportError};
use eventbench_core::judge::compare::RunComparison;
use serde_json::Value;

pub(super) const HEADER: [&str; 24] = [
    "run_a",
    "run_b",
    "label_a",
    "label_b",
    "benchmark",
    "metric",
    "tags",
    "stat",
    "unit",
    "better",
    "role",
    "a",
    "b",
    "trials_a",
    "trials_b",
    "scale",
    "effect",
    "low",
    "high",
    "margin",
    "margin_source",
    "visible",
    "p",
    "decision",
];

pub(super) fn render(comparison: &RunComparison, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for row in &comparison.rows {
        let tags: Vec<String> = row.tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let number = |n: Option<f64>| n.map(|n| n.to_string()).unwrap_or_default();
        let (low, high) = row.interval.unzip();
        let cells = [
            comparison.a.run.clone(),
            comparison.b.run.clone(),
            comparison.a.label.clone(),
            comparison.b.label.clone(),
            row.benchmark.clone(),
            row.metric.clone(),
            tags.join(","),
            row.stat.clone(),
            row.unit.symbol().to_owned(),
            word(&row.better)?,
            word(&row.role)?,
            number(row.a),
            number(row.b),
            row.trials_a.to_string(),
            row.trials_b.to_string(),
            word(&row.scale)?,
            number(row.effect),
            number(low),
            number(high),
            number(row.margin),
            word(&row.margin_source)?,
            number(row.visible),
            number(row.p),
            word(&row.decision)?,
        ];
        writer.write_record(cells.iter().map(|cell| safe(cell).into_owned()))?;
    }
    writer.into_inner().map_err(|e| ReportError::Csv(e.into_error().into()))
}

/// The word that JSON has for it.
fn word(value: &impl serde::Serialize) -> Result<String, ReportError> {
    Ok(match serde_json::to_value(value)? {
        Value::String(word) => word,
        other => other["is"].as_str().unwrap_or_default().to_owned(),
    })
}
