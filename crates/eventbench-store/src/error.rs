//! What can go wrong with a history, with the file it concerns and what to do next.

use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// SQLite's extended codes of failures to make or grow the shared index beside a history: a full or odd file system.
const SHARED_MEMORY: [i32; 4] = [
    rusqlite::ffi::SQLITE_IOERR_SHMOPEN,
    rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
    rusqlite::ffi::SQLITE_IOERR_SHMMAP,
    rusqlite::ffi::SQLITE_IOERR_SHMLOCK,
];

/// Why a history could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is none yet.
    #[error("there is no history at {}; `eventbench run` makes one", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory of the file could not be made.
    #[error("cannot create the directory {} for the history: {cause}; choose another place with --history, or allow writing there", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// The path is a directory or may not be opened.
    #[error("cannot open the history {}: {cause}; check that it is a file and that you may write it and its directory", path.display())]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        cause: rusqlite::Error,
    },
    /// The file is something else.
    #[error("{} is not a history of eventbench ({what}); it is left as it is: move it away, or choose another place with --history", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The file is damaged.
    #[error(
        "the history {} is damaged: {cause}; it is left as it is: move it away (`mv {0} {0}.damaged`, with its -wal and -shm files) and run again; `sqlite3 {0}.damaged .recover` may save what is in it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        cause: rusqlite::Error,
    },
    /// A newer eventbench wrote it.
    #[error("the history {} has version {found}, and this eventbench knows up to {known}; use a newer eventbench, or choose another place with --history", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The highest version that is understood.
        known: i64,
    },
    /// The disk is full.
    #[error("the disk is full: the history {} could not be written; free some space on its file system. What was committed before is kept", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds it.
    #[error("the history {} is locked by another process: gave up after {waited_ms} ms; wait for the other run to end, or choose another place with --history", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// It can only be read.
    #[error("the history {} is read-only; allow writing to it and its directory, or choose another place with --history", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// A run or benchmark is there already.
    #[error("the history {} already has {what}; a record is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// The run, or the benchmark of it.
        what: String,
    },
    /// No run has been recorded.
    #[error("the history {} has no runs yet; `eventbench run` records one", path.display())]
    NoRuns {
        /// The file.
        path: PathBuf,
    },
    /// No run of that name.
    #[error("no run \"{wanted}\" in the history {}; `eventbench report --list` lists the runs (also: latest, latest~1, the beginning of an id)", path.display())]
    UnknownRun {
        /// What was asked for.
        wanted: String,
        /// The file.
        path: PathBuf,
    },
    /// More than one run of that beginning.
    #[error("\"{wanted}\" could be {}; write more of the id", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Some of the runs that begin so, in order.
        candidates: Vec<String>,
    },
    /// A name that no baseline can have.
    #[error("\"{name}\" cannot name a baseline: {why}")]
    BaselineName {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A stored record cannot be understood.
    #[error("run {run} in the history {} cannot be read: {cause}; it may have been written by another version of eventbench", path.display())]
    Record {
        /// The run.
        run: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A stored calibration cannot be understood.
    #[error("a calibration in the history {} cannot be read: {cause}; it may have been written by another version of eventbench", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Anything else that SQLite reports.
    #[error("the history {} could not be read or written: {cause}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        cause: rusqlite::Error,
    },
}

impl HistoryError {
    /// Gives SQLite's answer its meaning for a history.
    pub(crate) fn of(path: &Path, waited_ms: u128, cause: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let Some(failure) = cause.sqlite_error().copied() else {
            return HistoryError::Sqlite { path, cause };
        };
        match failure.code {
            ErrorCode::DiskFull => HistoryError::Full { path },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => HistoryError::Locked { path, waited_ms },
            ErrorCode::ReadOnly => HistoryError::ReadOnly { path },
            ErrorCode::NotADatabase => HistoryError::Foreign {
                path,
                what: "no SQLite database".to_owned(),
            },
            ErrorCode::DatabaseCorrupt => HistoryError::Damaged { path, cause },
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => HistoryError::CannotOpen { path, cause },
            ErrorCode::SystemIoFailure if SHARED_MEMORY.contains(&failure.extended_code) => {
                HistoryError::CannotOpen { path, cause }
            }
            _ => HistoryError::Sqlite { path, cause },
        }
    }
}
