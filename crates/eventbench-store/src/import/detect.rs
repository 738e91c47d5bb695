//! Which format a text is in, and the reader for it.

use super::error::ImportError;
use super::foreign::Origin;
use super::{otava, pytest, record, tidy};
use eventbench_core::record::RunRecord;

/// A format of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// `history export` as tidy CSV.
    Tidy,
    /// JSON of pytest-benchmark.
    PytestBenchmark,
    /// A record as JSON, or a list of records.
    Record,
    /// CSV as Apache Otava reads it.
    Otava,
}

type Reader = fn(&str, &Origin) -> Result<Vec<RunRecord>, ImportError>;

/// Every format of one file: its name, what reads it, and whether a run's id comes from the file or from its content.
const FORMATS: &[(ImportFormat, &str, Reader, bool)] = &[
    (ImportFormat::Tidy, "tidy", tidy::read, true),
    (ImportFormat::PytestBenchmark, "pytest-benchmark", pytest::read, false),
    (ImportFormat::Record, "json", record::read, true),
    (ImportFormat::Otava, "otava", otava::read, false),
];

impl ImportFormat {
    fn row(self) -> &'static (ImportFormat, &'static str, Reader, bool) {
        // Every format has its row; the first stands in for none, which the test of the table excludes.
        FORMATS.iter().find(|row| row.0 == self).unwrap_or(&FORMATS[0])
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<ImportFormat> {
        FORMATS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMATS.iter().map(|row| row.1)
    }

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether the file itself names its runs. Else their ids are made of what they hold, and one that is known is the
    /// same run.
    pub fn names_runs(self) -> bool {
        self.row().3
    }

    /// The format that a text seems to be in; `None` when it is in none of them.
    pub fn of(text: &str) -> Option<ImportFormat> {
        let text = bare(text);
        match text.trim_start().chars().next()? {
            '[' => Some(ImportFormat::Record),
            // A damaged file is still one of its kind, and its reader says where it is damaged.
            '{' if text.contains("\"machine_info\"") || text.contains("\"commit_info\"") => {
                Some(ImportFormat::PytestBenchmark)
            }
            '{' if text.contains("\"run\"") && text.contains("\"benchmarks\"") => Some(ImportFormat::Record),
            '{' => None,
            _ => {
                let head = text.lines().next()?;
                let cells: Vec<&str> = head.split(',').map(|c| c.trim().trim_matches('"')).collect();
                if ["run", "metric", "stat"].iter().all(|c| cells.contains(c)) {
                    Some(ImportFormat::Tidy)
                } else {
                    cells.iter().any(|c| otava::is_time(c)).then_some(ImportFormat::Otava)
                }
            }
        }
    }
}

/// Reads the runs of a text.
///
/// # Errors
/// Says at which line what is wrong; nothing is read in part.
pub fn read(format: ImportFormat, text: &str, origin: &Origin) -> Result<Vec<RunRecord>, ImportError> {
    let text = bare(text);
    if text.trim().is_empty() {
        return Err(ImportError::whole("there is nothing in it"));
    }
    (format.row().2)(text, origin)
}

/// A text without the mark of its byte order, which some editors and spreadsheets write.
pub(crate) fn bare(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
