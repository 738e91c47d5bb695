//! `--open`: the HTML report of a run, in the browser.

use super::report::{Output, write_outputs};
use super::{Global, error, stderr_is_terminal};
use crate::host::variable;
use eventbench_core::record::RunRecord;
use std::path::{Path, PathBuf};

/// The format that a browser shows.
const FORMAT: &str = "html";

/// Whether the report is to be opened, and by whose wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nobody's.
    No,
    /// The project's configuration: only for somebody who sits before it.
    FromTerminal,
    /// The command line's.
    Yes,
}

impl Wish {
    /// The wish of a flag and of the project's configuration.
    pub fn of(flag: bool, configured: bool) -> Wish {
        match (flag, configured) {
            (true, _) => Wish::Yes,
            (false, true) => Wish::FromTerminal,
            (false, false) => Wish::No,
        }
    }
}

/// Opens the HTML report of a record: the one among the outputs, else one that is written beside the history, or to the
/// directory of temporary files where nothing is kept. What goes wrong is told with the report's place and fails nothing:
/// the run has been measured.
pub fn open(wish: Wish, outputs: &[Output], record: &RunRecord, global: &Global, kept: bool) {
    // A pipeline has no browser, and one that it found would stay open.
    let automatic = variable("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
    match wish {
        Wish::No => return,
        Wish::FromTerminal if automatic || !stderr_is_terminal() => return,
        Wish::FromTerminal | Wish::Yes => {}
    }
    let written = outputs
        .iter()
        .find(|o| o.format() == FORMAT && !o.is_stdout())
        .and_then(Output::path);
    let path = match written {
        Some(path) => path.to_owned(),
        None => match write(record, global, kept) {
            Ok(path) => path,
            Err(why) => return error(&format!("warning: there is no HTML report to open: {why}")),
        },
    };
    let shown = path.display();
    if automatic {
        return error(&format!(
            "note: CI is set, so the HTML report is written and not opened: {shown}"
        ));
    }
    match open::that_detached(&path) {
        // Standard output may be a report itself.
        Ok(()) if global.quiet == 0 => error(&format!("the HTML report is opened: {shown}")),
        Ok(()) => {}
        Err(e) => error(&format!(
            "warning: nothing here opens an HTML file ({}); it is {shown}",
            e.to_string().trim_end_matches('.')
        )),
    }
}

/// Writes the report to a place of its own.
fn write(record: &RunRecord, global: &Global, kept: bool) -> Result<PathBuf, String> {
    let directory = match global.history.parent().filter(|_| kept) {
        Some(beside) => beside.join("reports"),
        None => std::env::temp_dir(),
    };
    // The id of a record that was read from a file is whatever its writer took for one.
    let id: String = record
        .run
        .id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(64)
        .collect();
    let path = directory.join(format!("eventbench-{id}.html"));
    let failed = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    std::fs::create_dir_all(&directory).map_err(|e| failed(&directory, &e))?;
    write_outputs(&[Output::file(FORMAT, &path)], record).map_err(|e| e.report.to_string())?;
    // A browser takes a relative path for something else.
    std::path::absolute(&path).map_err(|e| failed(&path, &e))
}
