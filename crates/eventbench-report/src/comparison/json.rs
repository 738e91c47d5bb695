//! A comparison as JSON: the comparison itself with its verdict, as it stands in a record.

use crate::{RenderOptions, ReportError};
use eventbench_core::judge::Verdict;
use eventbench_core::judge::compare::RunComparison;
use eventbench_core::record::RECORD_VERSION;
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    verdict: Verdict,
    comparison: &'a RunComparison,
}

pub(super) fn render(comparison: &RunComparison, _: &RenderOptions) -> Result<Vec<u8>, ReportError> {
    let document = Document {
        version: RECORD_VERSION,
        verdict: comparison.verdict(),
        comparison,
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}
