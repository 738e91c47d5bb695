//! What a run tells GitHub Actions by itself: the summary of the step, and annotations beside the lines of the suite.

use crate::cli::report::{Output, options};
use crate::cli::{Failure, error, out, report};
use eventbench_core::host::Host;
use eventbench_core::record::RunRecord;
use eventbench_report::{MOST_SUMMARY_BYTES, step_summary};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// With less room than this left in a step's summary, a page of it would say nothing.
const LEAST_BYTES: usize = 2_000;

/// Writes both where the environment asks for them and no output names them already. What cannot be written is named and
/// makes no run fail, since the figures are as good without it.
///
/// # Errors
/// When a report cannot be rendered at all.
pub(super) fn tell(host: &dyn Host, outputs: &[Output], quiet: u8, record: &RunRecord) -> Result<(), Failure> {
    let asked = |format: &str| outputs.iter().any(|o| o.format() == format);
    if let Some(path) = host.env("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty())
        && !asked("github-summary")
        && let Err(why) = append(Path::new(&path), record)
    {
        error(&format!("warning: no summary for GitHub in {path}: {why}"));
    }
    if host.env("GITHUB_ACTIONS").as_deref() == Some("true") && quiet < 2 && !asked("github-annotations") {
        let commands = report::render("github-annotations", record, &options(false, false))?;
        // The runner reads both streams, and a report that goes to standard output must stay whole.
        if outputs.iter().any(Output::is_stdout) {
            error(&String::from_utf8_lossy(&commands));
        } else {
            out(commands);
        }
    }
    Ok(())
}

/// Appends the summary in what the steps before have left of the room.
fn append(path: &Path, record: &RunRecord) -> Result<(), String> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|e| e.to_string())?;
    let there = file.metadata().map_err(|e| e.to_string())?.len();
    let room = MOST_SUMMARY_BYTES.saturating_sub(1 + usize::try_from(there).unwrap_or(usize::MAX));
    if room < LEAST_BYTES {
        return Err(format!(
            "{there} bytes are there already, and a step may write {MOST_SUMMARY_BYTES}"
        ));
    }
    let gap = if there > 0 { "\n" } else { "" };
    let text = step_summary(record, &options(false, false), room - gap.len());
    // In one piece, so that no other process of the step writes between.
    file.write_all(format!("{gap}{text}").as_bytes())
        .map_err(|e| e.to_string())
}
